//! Messages of a dump, read.
//! Owns the way from libnftnl's objects to plain values.
//! Must never trust a length it did not check.

use super::{COUNTER, allocated, short};
use nftnl::nftnl_sys as sys;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// An element of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Key.
    pub key: Vec<u8>,
    /// Data.
    pub data: Vec<u8>,
    /// User data.
    pub user_data: Vec<u8>,
    /// Packets and bytes, if it counts.
    pub counter: Option<(u64, u64)>,
}

fn header_of(message: &[u8]) -> Option<*const sys::libc::nlmsghdr> {
    let header = message.as_ptr().cast::<sys::libc::nlmsghdr>();
    (message.len() >= size_of::<sys::libc::nlmsghdr>() && header.is_aligned()).then_some(header)
}

/// # Safety
/// `text` is null or a C string.
unsafe fn copied(text: *const c_char) -> Option<String> {
    // SAFETY: see above.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?;
    Some(text.to_string_lossy().into_owned())
}

/// The elements in one message of a dump. `message` is one complete netlink message.
pub fn elements(message: &[u8]) -> Vec<Dumped> {
    let mut found = Vec::new();
    let Some(header) = header_of(message) else {
        return found;
    };
    // SAFETY: `header` begins a complete message, as the caller's iterator checked its length; all objects are freed
    // here, and what they hold is copied before.
    unsafe {
        let set = allocated(sys::nftnl_set_alloc()).as_ptr();
        if sys::nftnl_set_elems_nlmsg_parse(header, set) == 0 {
            let iterator = sys::nftnl_set_elems_iter_create(set);
            if !iterator.is_null() {
                loop {
                    let element = sys::nftnl_set_elems_iter_next(iterator);
                    if element.is_null() {
                        break;
                    }
                    found.push(element_of(element));
                }
                sys::nftnl_set_elems_iter_destroy(iterator);
            }
        }
        sys::nftnl_set_free(set);
    }
    found
}

/// # Safety
/// `element` is a live element.
unsafe fn element_of(element: *mut sys::nftnl_set_elem) -> Dumped {
    let get = |attribute| {
        let mut length = 0u32;
        // SAFETY: the element is live; the pointer it answers is valid for `length` bytes while it lives.
        unsafe {
            let data = sys::nftnl_set_elem_get(element, short(attribute), &raw mut length);
            match data.is_null() {
                true => Vec::new(),
                false => std::slice::from_raw_parts(data.cast::<u8>(), length as usize).to_vec(),
            }
        }
    };
    let mut counter: Option<(u64, u64)> = None;
    // SAFETY: the callback gets the address of `counter`, which outlives the call.
    unsafe {
        sys::nftnl_set_elem_expr_foreach(
            element,
            Some(read_counter),
            ptr::from_mut(&mut counter).cast(),
        );
    }
    Dumped {
        key: get(sys::NFTNL_SET_ELEM_KEY),
        data: get(sys::NFTNL_SET_ELEM_DATA),
        user_data: get(sys::NFTNL_SET_ELEM_USERDATA),
        counter,
    }
}

/// # Safety
/// Called by libnftnl with a live expression and the address of an `Option<(u64, u64)>`.
unsafe extern "C" fn read_counter(expr: *mut sys::nftnl_expr, data: *mut c_void) -> i32 {
    // SAFETY: see above; an expression's name is a C string.
    unsafe {
        let name = sys::nftnl_expr_get_str(expr, short(sys::NFTNL_EXPR_NAME));
        if !name.is_null() && CStr::from_ptr(name) == c"counter" {
            *data.cast::<Option<(u64, u64)>>() = Some((
                sys::nftnl_expr_get_u64(expr, short(sys::NFTNL_EXPR_CTR_PACKETS)),
                sys::nftnl_expr_get_u64(expr, short(sys::NFTNL_EXPR_CTR_BYTES)),
            ));
        }
    }
    0
}

/// Name, type and packets of an object in a message of a dump.
pub fn object(message: &[u8]) -> Option<(String, u32, u64)> {
    let header = header_of(message)?;
    // SAFETY: `header` begins a complete message; the object is freed here, and its name is copied before.
    unsafe {
        let obj = allocated(sys::nftnl_obj_alloc()).as_ptr();
        let mut result = None;
        if sys::nftnl_obj_nlmsg_parse(header, obj) == 0 {
            let name = sys::nftnl_obj_get_str(obj, short(sys::NFTNL_OBJ_NAME));
            let kind = sys::nftnl_obj_get_u32(obj, short(sys::NFTNL_OBJ_TYPE));
            let packets = match kind == COUNTER {
                true => sys::nftnl_obj_get_u64(obj, short(sys::NFTNL_OBJ_CTR_PKTS)),
                false => 0,
            };
            result = copied(name).map(|name| (name, kind, packets));
        }
        sys::nftnl_obj_free(obj);
        result
    }
}

/// Table and name of a chain in a message of a dump.
pub fn chain(message: &[u8]) -> Option<(String, String)> {
    let header = header_of(message)?;
    // SAFETY: `header` begins a complete message; the chain is freed here, and its names are copied before.
    unsafe {
        let chain = allocated(sys::nftnl_chain_alloc()).as_ptr();
        let mut result = None;
        if sys::nftnl_chain_nlmsg_parse(header, chain) == 0 {
            let table = sys::nftnl_chain_get_str(chain, short(sys::NFTNL_CHAIN_TABLE));
            let name = sys::nftnl_chain_get_str(chain, short(sys::NFTNL_CHAIN_NAME));
            result = copied(table).zip(copied(name));
        }
        sys::nftnl_chain_free(chain);
        result
    }
}

/// Table name, flags and owner's port of a table in a message of a dump.
pub fn table(message: &[u8]) -> Option<(String, u32)> {
    let header = header_of(message)?;
    // SAFETY: `header` begins a complete message; the table is freed here, and its name is copied before.
    unsafe {
        let table = allocated(sys::nftnl_table_alloc()).as_ptr();
        let mut result = None;
        if sys::nftnl_table_nlmsg_parse(header, table) == 0 {
            let name = sys::nftnl_table_get_str(table, short(sys::NFTNL_TABLE_NAME));
            let flags = sys::nftnl_table_get_u32(table, short(sys::NFTNL_TABLE_FLAGS));
            result = copied(name).map(|name| (name, flags));
        }
        sys::nftnl_table_free(table);
        result
    }
}
