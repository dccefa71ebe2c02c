//! Netlink messages of nf_tables that the safe layer of `nftnl` has no type for: any expression, any set, its
//! elements, objects, dumps.
//! Owns every call into `nftnl_sys`; nothing outside this file is unsafe.
//! Must never hand out a pointer, nor build a message larger than the batch's page.
#![allow(unsafe_code)]

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;
use nftnl::{MsgType, NlMsg, Rule};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};

/// Value of an expression's attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// Register, number …
    U32(u32),
    /// Two bytes.
    U16(u16),
    /// Eight bytes.
    U64(u64),
    /// Data.
    Bytes(Vec<u8>),
    /// Name.
    Text(CString),
    /// An expression inside.
    Inner(Box<Expr>),
}

/// An expression of any kind: its name and attributes as libnftnl numbers them.
#[derive(Clone, Debug)]
pub struct Expr {
    name: &'static CStr,
    attributes: Vec<(u32, Attribute)>,
}

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

impl Expr {
    /// An expression without attributes.
    pub fn new(name: &'static CStr) -> Expr {
        Expr {
            name,
            attributes: Vec::new(),
        }
    }

    /// Adds an attribute.
    pub fn with(mut self, attribute: u32, value: Attribute) -> Expr {
        self.attributes.push((attribute, value));
        self
    }

    /// Adds a number.
    pub fn u32(self, attribute: u32, value: u32) -> Expr {
        self.with(attribute, Attribute::U32(value))
    }

    /// Adds data.
    pub fn bytes(self, attribute: u32, value: &[u8]) -> Expr {
        self.with(attribute, Attribute::Bytes(value.to_vec()))
    }

    /// Adds a name.
    pub fn text(self, attribute: u32, value: &str) -> Expr {
        self.with(attribute, Attribute::Text(text(value)))
    }

    fn allocate(&self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a C string.
        let expr = allocated(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        let e = expr.as_ptr();
        for (attribute, value) in &self.attributes {
            let a = short(*attribute);
            // SAFETY: `e` is a live expression; libnftnl copies data and strings, and owns an inner expression.
            unsafe {
                match value {
                    Attribute::U16(v) => sys::nftnl_expr_set_u16(e, a, *v),
                    Attribute::U32(v) => sys::nftnl_expr_set_u32(e, a, *v),
                    Attribute::U64(v) => sys::nftnl_expr_set_u64(e, a, *v),
                    Attribute::Bytes(v) => {
                        sys::nftnl_expr_set(e, a, v.as_ptr().cast(), length(v));
                    }
                    Attribute::Text(v) => {
                        sys::nftnl_expr_set_str(e, a, v.as_ptr());
                    }
                    Attribute::Inner(v) => {
                        sys::nftnl_expr_add_expr(e, *attribute, v.allocate().as_ptr());
                    }
                }
            }
        }
        expr
    }
}

impl Expression for Expr {
    fn to_expr(&self, _rule: &Rule) -> NonNull<sys::nftnl_expr> {
        self.allocate()
    }
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
        sys::libc::NLM_F_CREATE as u16
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
            if !name.is_null() {
                let packets = match kind == COUNTER {
                    true => sys::nftnl_obj_get_u64(obj, short(sys::NFTNL_OBJ_CTR_PKTS)),
                    false => 0,
                };
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                result = Some((name, kind, packets));
            }
        }
        sys::nftnl_obj_free(obj);
        result
    }
}

/// `NFT_OBJECT_COUNTER`
pub const COUNTER: u32 = 1;
/// `NFT_OBJECT_CT_TIMEOUT`
pub const TIMEOUT: u32 = 7;

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
            if !table.is_null() && !name.is_null() {
                let copy = |s| CStr::from_ptr(s).to_string_lossy().into_owned();
                result = Some((copy(table), copy(name)));
            }
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
            if !name.is_null() {
                let flags = sys::nftnl_table_get_u32(table, short(sys::NFTNL_TABLE_FLAGS));
                result = Some((CStr::from_ptr(name).to_string_lossy().into_owned(), flags));
            }
        }
        sys::nftnl_table_free(table);
        result
    }
}

/// The descriptor of a socket.
pub fn borrow(socket: &mnl::Socket) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: the descriptor stays open as long as the socket that is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
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
