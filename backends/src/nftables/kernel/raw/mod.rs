//! Netlink messages of nf_tables that the safe layer of `nftnl` has no type for: any expression, any set, its
//! elements, objects, dumps.
//! Owns every call into `nftnl_sys`; nothing outside this directory is unsafe.
//! Must never hand out a pointer, nor build a message larger than the batch's page.
#![allow(unsafe_code)]

mod dumped;
mod expression;
mod objects;
mod sets;

pub use dumped::{Dumped, chain, elements, object, table};
pub use expression::{Attribute, Expr};
pub use objects::{COUNTER, FlushRules, ObjectMessage, TIMEOUT, TableMessage, put_table_name};
pub use sets::{ELEMENTS_PER_MESSAGE, ElementData, ElementMessage, ElementsMessage, SetMessage};

use nftnl::nftnl_sys as sys;
use nftnl::{MsgType, NlMsg};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;

fn short(attribute: u32) -> u16 {
    u16::try_from(attribute).unwrap_or(u16::MAX)
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// A C string of `text` up to its first NUL.
pub fn text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    // Out of memory for a few bytes: the process can do nothing any more, and std does the same.
    NonNull::new(pointer).unwrap_or_else(|| std::process::abort())
}

/// Something that becomes one netlink message of a batch.
pub trait Message {
    /// `NFT_MSG_…`
    fn kind(&self) -> u16;
    /// Flags besides `NLM_F_REQUEST`.
    fn flags(&self) -> u16;
    /// `NFPROTO_…`
    fn family(&self) -> u16;
    /// Appends the attributes.
    ///
    /// # Safety
    /// `header` begins a message in a buffer with room for the largest netlink message.
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr);
}

/// A [`Message`] for [`nftnl::Batch`]; tells the sequence number it was sent with.
pub struct Numbered<'a, M> {
    /// The message.
    pub message: &'a M,
    /// Filled in by the batch.
    pub sequence: &'a Cell<u32>,
}

// SAFETY: a message's payload is bounded: names by 256 bytes, elements by ELEMENTS_PER_MESSAGE.
unsafe impl<M: Message> NlMsg for Numbered<'_, M> {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, _: MsgType) {
        self.sequence.set(seq);
        // SAFETY: the batch gives a buffer with room for the largest message.
        unsafe {
            let header = sys::nftnl_nlmsg_build_hdr(
                buf.cast::<c_char>(),
                self.message.kind(),
                self.message.family(),
                self.message.flags(),
                seq,
            );
            self.message.payload(header);
        }
    }
}

/// A message of the safe layer without its request for an acknowledgement: thousands of those would overflow the
/// socket's queue, and an error is reported anyway.
pub struct Quiet<'a, M> {
    /// The message.
    pub message: &'a M,
    /// Filled in by the batch.
    pub sequence: &'a Cell<u32>,
}

// SAFETY: writes what the inner message writes.
unsafe impl<M: NlMsg> NlMsg for Quiet<'_, M> {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, kind: MsgType) {
        self.sequence.set(seq);
        // SAFETY: the inner message wrote a netlink header at the start of `buf`, which is aligned for it.
        unsafe {
            self.message.write(buf, seq, kind);
            let header = buf.cast::<sys::libc::nlmsghdr>();
            (*header).nlmsg_flags &= !u16::try_from(sys::libc::NLM_F_ACK).unwrap_or(0);
        }
    }
}

/// One message outside a batch: a request for a dump.
pub fn single(message: &impl Message, flags: u16, sequence: u32) -> Vec<u8> {
    let words = nftnl::nft_nlmsg_maxsize() as usize / size_of::<u64>();
    let mut buffer = vec![0u64; words];
    // SAFETY: the buffer is aligned and as large as the largest message; the header's length stays within it.
    unsafe {
        let start = buffer.as_mut_ptr().cast::<c_char>();
        let header =
            sys::nftnl_nlmsg_build_hdr(start, message.kind(), message.family(), flags, sequence);
        message.payload(header);
        let length = (*header).nlmsg_len as usize;
        std::slice::from_raw_parts(start.cast::<u8>(), length).to_vec()
    }
}

/// The descriptor of a socket.
pub fn borrow(socket: &mnl::Socket) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: the descriptor stays open as long as the socket that is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}
