//! Sets, maps and their elements.
//! Owns their messages.
//! Must never put more elements into one message than fit.

use super::{Expr, Message, allocated, length, short};
use nftnl::nftnl_sys as sys;
use std::ffi::CString;
use std::ptr::NonNull;

/// A set or map of any type.
#[derive(Clone, Debug, Default)]
pub struct SetMessage {
    /// Family.
    pub family: u16,
    /// Table.
    pub table: CString,
    /// Name; `__set%d` or `__map%d` for anonymous ones.
    pub name: CString,
    /// Number within the transaction.
    pub id: u32,
    /// `NFT_SET_…`
    pub flags: u32,
    /// Type as nft(8) numbers it, and length.
    pub key: (u32, u32),
    /// Type and length of data.
    pub data: Option<(u32, u32)>,
    /// Lengths of the parts of a concatenated interval key.
    pub concat: Vec<u8>,
    /// Most elements.
    pub size: Option<u32>,
    /// Milliseconds.
    pub timeout: Option<u64>,
    /// User data.
    pub user_data: Vec<u8>,
    /// Every element counts packets.
    pub counter: bool,
    /// `NFT_MSG_…`
    pub kind: u16,
}

impl Message for SetMessage {
    fn kind(&self) -> u16 {
        self.kind
    }
    fn flags(&self) -> u16 {
        match i32::from(self.kind) {
            sys::libc::NFT_MSG_NEWSET => sys::libc::NLM_F_CREATE as u16,
            _ => 0,
        }
    }
    fn family(&self) -> u16 {
        self.family
    }
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr) {
        // SAFETY: the set lives until it is freed here; strings and data are copied, the expression becomes the set's.
        unsafe {
            let set = allocated(sys::nftnl_set_alloc()).as_ptr();
            sys::nftnl_set_set_str(set, short(sys::NFTNL_SET_TABLE), self.table.as_ptr());
            sys::nftnl_set_set_str(set, short(sys::NFTNL_SET_NAME), self.name.as_ptr());
            let put = |attribute, value| sys::nftnl_set_set_u32(set, short(attribute), value);
            let data = |attribute, bytes: &[u8]| {
                sys::nftnl_set_set_data(
                    set,
                    short(attribute),
                    bytes.as_ptr().cast(),
                    length(bytes),
                );
            };
            put(sys::NFTNL_SET_ID, self.id);
            put(sys::NFTNL_SET_FLAGS, self.flags);
            put(sys::NFTNL_SET_KEY_TYPE, self.key.0);
            put(sys::NFTNL_SET_KEY_LEN, self.key.1);
            if let Some((kind, length)) = self.data {
                put(sys::NFTNL_SET_DATA_TYPE, kind);
                put(sys::NFTNL_SET_DATA_LEN, length);
            }
            if let Some(size) = self.size {
                put(sys::NFTNL_SET_DESC_SIZE, size);
            }
            if let Some(timeout) = self.timeout {
                sys::nftnl_set_set_u64(set, short(sys::NFTNL_SET_TIMEOUT), timeout);
            }
            if !self.concat.is_empty() {
                data(sys::NFTNL_SET_DESC_CONCAT, &self.concat);
            }
            if !self.user_data.is_empty() {
                data(sys::NFTNL_SET_USERDATA, &self.user_data);
            }
            if self.counter {
                sys::nftnl_set_add_expr(set, Expr::new(c"counter").allocate().as_ptr());
            }
            sys::nftnl_set_nlmsg_build_payload(header, set);
            sys::nftnl_set_free(set);
        }
    }
}

/// Data of an element.
#[derive(Clone, Debug)]
pub enum ElementData {
    /// None.
    Nothing,
    /// Goto a chain.
    Goto(CString),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// An element.
#[derive(Clone, Debug)]
pub struct ElementMessage {
    /// Key.
    pub key: Vec<u8>,
    /// Last key of a range.
    pub key_end: Option<Vec<u8>>,
    /// Data.
    pub data: ElementData,
    /// User data: the comment.
    pub user_data: Vec<u8>,
    /// Counter or limit.
    pub expression: Option<Expr>,
}

/// Elements of one message: the attribute that holds them must stay below 64 KiB.
pub const ELEMENTS_PER_MESSAGE: usize = 128;

/// Elements of a set; none together with `NFT_MSG_DELSETELEM` deletes all.
pub struct ElementsMessage<'a> {
    /// Family.
    pub family: u16,
    /// Table.
    pub table: CString,
    /// Set.
    pub set: CString,
    /// Its number within the transaction, if it is made there.
    pub id: u32,
    /// At most [`ELEMENTS_PER_MESSAGE`].
    pub elements: &'a [ElementMessage],
    /// `NFT_MSG_…`
    pub kind: u16,
}

impl Message for ElementsMessage<'_> {
    fn kind(&self) -> u16 {
        self.kind
    }
    fn flags(&self) -> u16 {
        match self.kind == sys::libc::NFT_MSG_NEWSETELEM as u16 {
            true => sys::libc::NLM_F_CREATE as u16,
            false => 0,
        }
    }
    fn family(&self) -> u16 {
        self.family
    }
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr) {
        // SAFETY: the set lives until it is freed here and owns its elements; names are copied.
        unsafe {
            let set = allocated(sys::nftnl_set_alloc()).as_ptr();
            sys::nftnl_set_set_str(set, short(sys::NFTNL_SET_TABLE), self.table.as_ptr());
            sys::nftnl_set_set_str(set, short(sys::NFTNL_SET_NAME), self.set.as_ptr());
            if self.id != 0 {
                sys::nftnl_set_set_u32(set, short(sys::NFTNL_SET_ID), self.id);
            }
            for element in self.elements {
                sys::nftnl_set_elem_add(set, element.allocate().as_ptr());
            }
            sys::nftnl_set_elems_nlmsg_build_payload(header, set);
            sys::nftnl_set_free(set);
        }
    }
}

impl ElementMessage {
    /// Only the key, as the kernel has it.
    pub fn of(key: &[u8]) -> ElementMessage {
        ElementMessage {
            key: key.to_vec(),
            key_end: None,
            data: ElementData::Nothing,
            user_data: Vec::new(),
            expression: None,
        }
    }

    fn allocate(&self) -> NonNull<sys::nftnl_set_elem> {
        // SAFETY: the element is live; libnftnl copies data and strings, the expression becomes the element's.
        unsafe {
            let element = allocated(sys::nftnl_set_elem_alloc());
            let e = element.as_ptr();
            let put = |attribute, bytes: &[u8]| {
                sys::nftnl_set_elem_set(e, short(attribute), bytes.as_ptr().cast(), length(bytes));
            };
            put(sys::NFTNL_SET_ELEM_KEY, &self.key);
            if let Some(end) = &self.key_end {
                put(sys::NFTNL_SET_ELEM_KEY_END, end);
            }
            match &self.data {
                ElementData::Nothing => {}
                ElementData::Bytes(bytes) => put(sys::NFTNL_SET_ELEM_DATA, bytes),
                ElementData::Goto(chain) => {
                    let verdict = sys::libc::NFT_GOTO.cast_unsigned();
                    sys::nftnl_set_elem_set_u32(e, short(sys::NFTNL_SET_ELEM_VERDICT), verdict);
                    sys::nftnl_set_elem_set_str(
                        e,
                        short(sys::NFTNL_SET_ELEM_CHAIN),
                        chain.as_ptr(),
                    );
                }
            }
            if !self.user_data.is_empty() {
                put(sys::NFTNL_SET_ELEM_USERDATA, &self.user_data);
            }
            if let Some(expression) = &self.expression {
                sys::nftnl_set_elem_add_expr(e, expression.allocate().as_ptr());
            }
            element
        }
    }
}
