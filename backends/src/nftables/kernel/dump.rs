//! What the kernel holds of our table: numbers, counters, left-over chains and objects.
//! Owns the requests for it.
//! Must never change anything.

use super::conntrack::{find, u32_be};
use super::encode;
use super::raw::{self, Dumped, ElementMessage, ElementsMessage, Message, text};
use super::socket::Netlink;
use super::transaction::protocol;
use crate::nftables::layout;
use crate::nftables::model::{Family, Key, Set, Value};
use nftnl::nftnl_sys::libc;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;

/// Packets and bytes by mark.
pub type Counters = BTreeMap<u32, (u64, u64)>;

/// Header and `struct nfgenmsg`.
const ATTRIBUTES: usize = 20;
/// `NFTA_TABLE_NAME`
const TABLE_NAME: u16 = 1;
/// `NFTA_TABLE_USE`: how many chains, sets and objects are in it.
const TABLE_USE: u16 = 3;
/// `NFTA_SET_NAME`
const SET_NAME: u16 = 2;
/// `NFTA_SET_FLAGS`
const SET_FLAGS: u16 = 3;
/// `NFT_SET_ANONYMOUS`
const ANONYMOUS: u32 = 1;
/// `NFTA_TABLE_USERDATA`
const TABLE_USER_DATA: u16 = 6;

const DUMP: u16 = (libc::NLM_F_DUMP) as u16;

/// A request for all objects of one kind (tables, chains, objects).
struct All {
    kind: i32,
    family: u16,
    table: Option<CString>,
}

impl Message for All {
    fn kind(&self) -> u16 {
        self.kind as u16
    }
    fn flags(&self) -> u16 {
        DUMP
    }
    fn family(&self) -> u16 {
        self.family
    }
    #[allow(unsafe_code)]
    unsafe fn payload(&self, header: *mut libc::nlmsghdr) {
        if let Some(table) = &self.table {
            // SAFETY: passed on from the caller.
            unsafe { raw::put_table_name(header, table) };
        }
    }
}

fn all(
    netlink: &mut Netlink,
    family: u16,
    table: Option<&str>,
    kind: i32,
    each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let message = All {
        kind,
        family,
        table: table.map(text),
    };
    let request = raw::single(&message, DUMP, netlink.next_sequence());
    netlink.request(&request, each)
}

/// The flags of a table, if it is there. Any answer but an error means that nf_tables is there and may be used.
///
/// # Errors
/// No right, or no nf_tables.
pub fn table(netlink: &mut Netlink, family: Family, name: &str) -> io::Result<Option<u32>> {
    let mut found = None;
    all(
        netlink,
        protocol(family),
        None,
        libc::NFT_MSG_GETTABLE,
        |message| {
            if let Some((table, flags)) = raw::table(message)
                && table == name
            {
                found = Some(flags);
            }
        },
    )?;
    Ok(found)
}

/// Whether a table is ours to fill: absent, empty, or made by an earlier relayd.
///
/// # Errors
/// As [`table`].
pub fn ours(netlink: &mut Netlink, family: Family, name: &str) -> io::Result<bool> {
    let mut strange = false;
    let kind = libc::NFT_MSG_GETTABLE;
    all(netlink, protocol(family), None, kind, |message| {
        let block = message.get(ATTRIBUTES..).unwrap_or_default();
        let found = find(block, TABLE_NAME).and_then(|n| n.strip_suffix(&[0]));
        if found == Some(name.as_bytes()) {
            let comment = find(block, TABLE_USER_DATA).and_then(encode::comment_of);
            let objects = find(block, TABLE_USE).and_then(u32_be);
            strange = comment.as_deref() != Some(layout::COMMENT) && objects != Some(0);
        }
    })?;
    if !strange {
        return Ok(true);
    }
    // A table that was there before us, and empty, never got our comment.
    match elements(netlink, family, name, "ids") {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names of the chains of a table.
///
/// # Errors
/// The kernel could not be asked.
pub fn chains(netlink: &mut Netlink, family: Family, name: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    all(
        netlink,
        protocol(family),
        None,
        libc::NFT_MSG_GETCHAIN,
        |message| {
            if let Some((table, chain)) = raw::chain(message)
                && table == name
            {
                found.push(chain);
            }
        },
    )?;
    Ok(found)
}

/// Name, type and packets of the objects of a table.
///
/// # Errors
/// The kernel could not be asked.
pub fn objects(
    netlink: &mut Netlink,
    family: Family,
    name: &str,
) -> io::Result<Vec<(String, u32, u64)>> {
    let mut found = Vec::new();
    let kind = libc::NFT_MSG_GETOBJ;
    all(netlink, protocol(family), Some(name), kind, |message| {
        found.extend(raw::object(message));
    })?;
    Ok(found)
}

/// Names of the sets and maps of a table, without those inside rules.
///
/// # Errors
/// The kernel could not be asked, or has no such table (`ENOENT`).
pub fn sets(netlink: &mut Netlink, family: Family, table: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let kind = libc::NFT_MSG_GETSET;
    all(netlink, protocol(family), Some(table), kind, |message| {
        let block = message.get(ATTRIBUTES..).unwrap_or_default();
        let flags = find(block, SET_FLAGS).and_then(u32_be).unwrap_or(0);
        let name = find(block, SET_NAME).and_then(|n| n.strip_suffix(&[0]));
        if flags & ANONYMOUS == 0 {
            found.extend(name.map(|n| String::from_utf8_lossy(n).into_owned()));
        }
    })?;
    Ok(found)
}

/// All elements of a set.
///
/// # Errors
/// The kernel could not be asked, or has no such set (`ENOENT`).
pub fn elements(
    netlink: &mut Netlink,
    family: Family,
    name: &str,
    set: &str,
) -> io::Result<Vec<Dumped>> {
    let message = elements_message(family, name, set, &[]);
    let request = raw::single(&message, DUMP, netlink.next_sequence());
    let mut found = Vec::new();
    netlink.request(&request, |message| found.extend(raw::elements(message)))?;
    Ok(found)
}

fn elements_message<'a>(
    family: Family,
    table: &str,
    set: &str,
    elements: &'a [ElementMessage],
) -> ElementsMessage<'a> {
    ElementsMessage {
        family: protocol(family),
        table: text(table),
        set: text(set),
        id: 0,
        elements,
        kind: libc::NFT_MSG_GETSETELEM as u16,
    }
}

fn mark(key: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(key.get(..4)?.try_into().ok()?))
}

/// Marks and comments of the set `ids`.
///
/// # Errors
/// As [`elements`].
pub fn ids(netlink: &mut Netlink, family: Family, name: &str) -> io::Result<Vec<(u32, String)>> {
    let read = |e: Dumped| Some((mark(&e.key)?, encode::comment_of(&e.user_data)?));
    let all = elements(netlink, family, name, "ids")?;
    Ok(all.into_iter().filter_map(read).collect())
}

/// Counters of the elements of a map from marks.
///
/// # Errors
/// As [`elements`].
pub fn counters(
    netlink: &mut Netlink,
    family: Family,
    name: &str,
    set: &str,
) -> io::Result<Counters> {
    let read = |e: Dumped| Some((mark(&e.key)?, e.counter?));
    let all = elements(netlink, family, name, set)?;
    Ok(all.into_iter().filter_map(read).collect())
}

/// Counters of some elements of a map from marks; those that are not there are left out.
///
/// # Errors
/// The kernel could not be asked.
pub fn counters_of(
    netlink: &mut Netlink,
    name: &str,
    set: &Set,
    keys: &[Key],
) -> io::Result<Counters> {
    let mut found = Counters::new();
    for key in keys {
        let element = [encode::element_key(set, key)];
        let message = elements_message(set.family, name, set.name, &element);
        let flags = (libc::NLM_F_REQUEST) as u16;
        let request = raw::single(&message, flags, netlink.next_sequence());
        let answer = netlink.request(&request, |message| {
            for element in raw::elements(message) {
                if let (Some(Value::Mark(mark)), Some(counter)) = (key.first(), element.counter) {
                    found.insert(*mark, counter);
                }
            }
        });
        match answer {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

/// Packets of one named counter; `None` if there is none of this name.
///
/// # Errors
/// The kernel could not be asked.
pub fn packets(
    netlink: &mut Netlink,
    family: Family,
    table: &str,
    counter: &str,
) -> io::Result<Option<u64>> {
    let message = raw::ObjectMessage {
        family: protocol(family),
        table: text(table),
        name: text(counter),
        object: raw::COUNTER,
        timeout: None,
        user_data: Vec::new(),
        kind: libc::NFT_MSG_GETOBJ as u16,
    };
    let flags = libc::NLM_F_REQUEST as u16;
    let request = raw::single(&message, flags, netlink.next_sequence());
    let mut found = None;
    let answer = netlink.request(&request, |message| {
        found = raw::object(message).map(|(_, _, packets)| packets);
    });
    match answer {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}
