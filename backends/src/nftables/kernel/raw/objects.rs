//! Tables, rules that go, and stateful objects.
//! Owns their messages.
//! Must never make anything with a size of its own.

use super::{Message, allocated, length, short};
use nftnl::nftnl_sys as sys;
use std::ffi::{CStr, CString};

/// `NFT_OBJECT_COUNTER`
pub const COUNTER: u32 = 1;
/// `NFT_OBJECT_CT_TIMEOUT`
pub const TIMEOUT: u32 = 7;

/// A table with flags and a comment.
pub struct TableMessage {
    /// Family, name.
    pub family: u16,
    /// Name.
    pub name: CString,
    /// `NFT_TABLE_F_…`
    pub flags: u32,
    /// User data: the comment.
    pub user_data: Vec<u8>,
    /// `NFT_MSG_…`
    pub kind: u16,
    /// Netlink flags.
    pub message_flags: u16,
}

impl Message for TableMessage {
    fn kind(&self) -> u16 {
        self.kind
    }
    fn flags(&self) -> u16 {
        self.message_flags
    }
    fn family(&self) -> u16 {
        self.family
    }
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr) {
        // SAFETY: the table lives until it is freed here; strings and data are copied.
        unsafe {
            let table = allocated(sys::nftnl_table_alloc()).as_ptr();
            sys::nftnl_table_set_str(table, short(sys::NFTNL_TABLE_NAME), self.name.as_ptr());
            sys::nftnl_table_set_u32(table, short(sys::NFTNL_TABLE_FLAGS), self.flags);
            if !self.user_data.is_empty() {
                sys::nftnl_table_set_data(
                    table,
                    short(sys::NFTNL_TABLE_USERDATA),
                    self.user_data.as_ptr().cast(),
                    length(&self.user_data),
                );
            }
            sys::nftnl_table_nlmsg_build_payload(header, table);
            sys::nftnl_table_free(table);
        }
    }
}

/// Deletes the rules of a chain, or of the whole table.
pub struct FlushRules {
    /// Family.
    pub family: u16,
    /// Table.
    pub table: CString,
    /// Chain; none = all.
    pub chain: Option<CString>,
}

impl Message for FlushRules {
    fn kind(&self) -> u16 {
        sys::libc::NFT_MSG_DELRULE as u16
    }
    fn flags(&self) -> u16 {
        0
    }
    fn family(&self) -> u16 {
        self.family
    }
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr) {
        // SAFETY: the rule lives until it is freed here; strings are copied.
        unsafe {
            let rule = allocated(sys::nftnl_rule_alloc()).as_ptr();
            sys::nftnl_rule_set_str(rule, short(sys::NFTNL_RULE_TABLE), self.table.as_ptr());
            if let Some(chain) = &self.chain {
                sys::nftnl_rule_set_str(rule, short(sys::NFTNL_RULE_CHAIN), chain.as_ptr());
            }
            sys::nftnl_rule_nlmsg_build_payload(header, rule);
            sys::nftnl_rule_free(rule);
        }
    }
}

/// A stateful object.
pub struct ObjectMessage {
    /// Family.
    pub family: u16,
    /// Table.
    pub table: CString,
    /// Name.
    pub name: CString,
    /// `NFT_OBJECT_…`
    pub object: u32,
    /// Timeout of a `ct timeout`: layer 3 protocol, seconds of established connections.
    pub timeout: Option<(u16, u32)>,
    /// User data: the comment.
    pub user_data: Vec<u8>,
    /// `NFT_MSG_…`
    pub kind: u16,
}

/// Index of the established state among the timeouts of TCP.
const TCP_ESTABLISHED: usize = 2;
/// The kernel's own timeouts of TCP in seconds, in libnftnl's order (SYN sent, SYN received, established, FIN wait, close
/// wait, last ACK, time wait, close, SYN sent again, retransmission, unacknowledged): libnftnl sends all of them, and a
/// zero would end connections at once. The array is longer than what libnftnl reads.
const TCP_SECONDS: [u32; 16] = [
    120, 60, 432_000, 120, 60, 30, 120, 10, 120, 300, 300, 0, 0, 0, 0, 0,
];

impl Message for ObjectMessage {
    fn kind(&self) -> u16 {
        self.kind
    }
    fn flags(&self) -> u16 {
        sys::libc::NLM_F_CREATE as u16
    }
    fn family(&self) -> u16 {
        self.family
    }
    unsafe fn payload(&self, header: *mut sys::libc::nlmsghdr) {
        // SAFETY: the object lives until it is freed here; strings and data are copied, and the array is longer than
        // what libnftnl reads of it.
        unsafe {
            let obj = allocated(sys::nftnl_obj_alloc()).as_ptr();
            sys::nftnl_obj_set_u32(obj, short(sys::NFTNL_OBJ_TYPE), self.object);
            sys::nftnl_obj_set_str(obj, short(sys::NFTNL_OBJ_TABLE), self.table.as_ptr());
            sys::nftnl_obj_set_str(obj, short(sys::NFTNL_OBJ_NAME), self.name.as_ptr());
            if !self.user_data.is_empty() {
                sys::nftnl_obj_set_data(
                    obj,
                    short(sys::NFTNL_OBJ_USERDATA),
                    self.user_data.as_ptr().cast(),
                    length(&self.user_data),
                );
            }
            if let Some((layer3, seconds)) = self.timeout {
                let mut seconds_of = TCP_SECONDS;
                if let Some(established) = seconds_of.get_mut(TCP_ESTABLISHED) {
                    *established = seconds;
                }
                sys::nftnl_obj_set_u16(obj, short(sys::NFTNL_OBJ_CT_TIMEOUT_L3PROTO), layer3);
                sys::nftnl_obj_set_u8(
                    obj,
                    short(sys::NFTNL_OBJ_CT_TIMEOUT_L4PROTO),
                    sys::libc::IPPROTO_TCP as u8,
                );
                sys::nftnl_obj_set_data(
                    obj,
                    short(sys::NFTNL_OBJ_CT_TIMEOUT_ARRAY),
                    seconds_of.as_ptr().cast(),
                    size_of_val(&seconds_of) as u32,
                );
            }
            sys::nftnl_obj_nlmsg_build_payload(header, obj);
            sys::nftnl_obj_free(obj);
        }
    }
}

/// Appends the name of the table to a request for its objects.
///
/// # Safety
/// As [`Message::payload`].
pub unsafe fn put_table_name(header: *mut sys::libc::nlmsghdr, table: &CStr) {
    // SAFETY: passed on from the caller; the object is freed here and its strings are copied.
    unsafe {
        let obj = allocated(sys::nftnl_obj_alloc()).as_ptr();
        sys::nftnl_obj_set_str(obj, short(sys::NFTNL_OBJ_TABLE), table.as_ptr());
        sys::nftnl_obj_nlmsg_build_payload(header, obj);
        sys::nftnl_obj_free(obj);
    }
}
