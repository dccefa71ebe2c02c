//! One transaction: a list of changes that the kernel makes together or not at all.
//! Owns the batch, its order and the names of its messages for error lines.
//! Must never be sent in two parts.

use super::encode::{self, Anonymous};
use super::raw::{
    ELEMENTS_PER_MESSAGE, ElementMessage, ElementsMessage, FlushRules, Message, Numbered,
    ObjectMessage, Quiet, SetMessage, TIMEOUT, TableMessage, text,
};
use crate::nftables::model::{At, Chain, Family, Hook, Key, Kind, Name, Object, Set, SetName};
use nftnl::nftnl_sys::libc;
use nftnl::{Batch, ChainType, MsgType, Policy, ProtoFamily, Rule as NlRule, Table};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CString;

/// A batch for our tables.
pub struct Transaction {
    batch: Batch,
    /// Of the messages that follow.
    family: Family,
    name: CString,
    table: Table,
    sequence: Cell<u32>,
    next_set: u32,
    names: BTreeMap<u32, String>,
}

/// `NFPROTO_…` of a table family.
pub fn protocol(family: Family) -> u16 {
    match family {
        Family::Inet => ProtoFamily::Inet as u16,
        Family::Netdev => ProtoFamily::NetDev as u16,
    }
}

/// `NFT_MSG_DESTROYSETELEM`, younger than libc's list.
const DESTROY_ELEMENTS: i32 = 30;
/// Bytes of one page of a batch; pages are put together before they are sent.
const PAGE: u32 = 256 * 1024;

impl Transaction {
    /// An empty one, for tables of this name.
    pub fn new(table: &str) -> Transaction {
        let name = text(table);
        Transaction {
            batch: Batch::with_page_size(PAGE),
            family: Family::Inet,
            table: Table::new(&name, ProtoFamily::Inet),
            name,
            sequence: Cell::new(0),
            next_set: 1,
            names: BTreeMap::new(),
        }
    }

    /// Chooses the table of the messages that follow.
    pub fn select(&mut self, family: Family) {
        if self.family != family {
            self.family = family;
            let proto = match family {
                Family::Inet => ProtoFamily::Inet,
                Family::Netdev => ProtoFamily::NetDev,
            };
            self.table = Table::new(&self.name, proto);
        }
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn protocol(&self) -> u16 {
        protocol(self.family)
    }

    fn add(&mut self, message: &impl Message, object: impl FnOnce() -> String) {
        let numbered = Numbered {
            message,
            sequence: &self.sequence,
        };
        self.batch.add(&numbered, MsgType::Add);
        self.names.insert(self.sequence.get(), object());
    }

    /// The bytes to be sent, and the names of the messages by sequence number.
    pub fn finish(self) -> (Vec<u8>, BTreeMap<u32, String>) {
        let batch = self.batch.finalize();
        let mut bytes = Vec::new();
        for page in &batch {
            bytes.extend_from_slice(page);
        }
        (bytes, self.names)
    }

    /// Makes the table, or takes it over.
    pub fn declare_table(&mut self, flags: u32, comment: &str) {
        let message = self.table_message(flags, comment, libc::NFT_MSG_NEWTABLE);
        self.add(&message, || "table".to_owned());
    }

    /// Deletes the table with all it holds.
    pub fn delete_table(&mut self) {
        let message = self.table_message(0, "", libc::NFT_MSG_DELTABLE);
        self.add(&message, || "table".to_owned());
    }

    fn table_message(&self, flags: u32, comment: &str, kind: i32) -> TableMessage {
        TableMessage {
            family: self.protocol(),
            name: self.name.clone(),
            flags,
            user_data: match comment {
                "" => Vec::new(),
                _ => encode::comment(comment),
            },
            kind: kind as u16,
            message_flags: match kind {
                libc::NFT_MSG_NEWTABLE => libc::NLM_F_CREATE as u16,
                _ => 0,
            },
        }
    }

    /// Makes a set if it is not there.
    pub fn declare_set(&mut self, set: &Set) {
        self.select(set.family);
        let mut message = encode::set(set, self.protocol(), &self.name);
        message.id = self.next_id();
        self.add(&message, || format!("map {}", set.name));
    }

    /// Deletes a set that no rule refers to any more.
    pub fn delete_set(&mut self, (family, name): &Name) {
        self.select(*family);
        let message = SetMessage {
            family: self.protocol(),
            table: self.name.clone(),
            name: text(name),
            id: 0,
            flags: 0,
            key: (0, 0),
            data: None,
            concat: Vec::new(),
            size: None,
            timeout: None,
            user_data: Vec::new(),
            counter: false,
            kind: libc::NFT_MSG_DELSET as u16,
        };
        self.add(&message, || format!("map {name}"));
    }

    fn next_id(&mut self) -> u32 {
        let id = self.next_set;
        self.next_set += 1;
        id
    }

    /// Deletes all elements of a set.
    pub fn flush_set(&mut self, set: &Set) {
        self.select(set.family);
        let set = set.name;
        let message = ElementsMessage {
            family: self.protocol(),
            table: self.name.clone(),
            set: text(set),
            id: 0,
            elements: &[],
            kind: libc::NFT_MSG_DELSETELEM as u16,
        };
        self.add(&message, || format!("map {set}"));
    }

    fn elements(&mut self, set: &str, id: u32, elements: &[ElementMessage], kind: i32) {
        for elements in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let message = ElementsMessage {
                family: self.protocol(),
                table: self.name.clone(),
                set: text(set),
                id,
                elements,
                kind: kind as u16,
            };
            self.add(&message, || format!("elements of {set}"));
        }
    }

    /// Adds elements.
    pub fn add_elements(&mut self, set: &Set, elements: &[ElementMessage]) {
        self.select(set.family);
        self.elements(set.name, 0, elements, libc::NFT_MSG_NEWSETELEM);
    }

    /// Gives slots to hosts.
    pub fn add_slots(&mut self, (family, set): SetName, slots: impl Iterator<Item = (u32, u32)>) {
        self.select(family);
        let elements: Vec<ElementMessage> = slots.map(encode::slot).collect();
        self.elements(set, 0, &elements, libc::NFT_MSG_NEWSETELEM);
    }

    /// Deletes elements by key; each must be there.
    pub fn delete_elements<'a>(&mut self, set: &Set, keys: impl Iterator<Item = &'a Key>) {
        let elements: Vec<ElementMessage> = keys.map(|key| encode::element_key(set, key)).collect();
        self.select(set.family);
        self.delete(set.name, &elements);
    }

    /// Deletes elements of a set of the chosen table.
    pub fn delete(&mut self, set: &str, elements: &[ElementMessage]) {
        self.elements(set, 0, elements, libc::NFT_MSG_DELSETELEM);
    }

    /// Deletes elements that may have gone by themselves (Linux 6.3).
    pub fn destroy_elements<'a>(&mut self, set: &Set, keys: impl Iterator<Item = &'a Key>) {
        let elements: Vec<ElementMessage> = keys.map(|key| encode::element_key(set, key)).collect();
        self.select(set.family);
        self.destroy(set.name, &elements);
    }

    /// As [`Transaction::destroy_elements`], of a set of the chosen table.
    pub fn destroy(&mut self, set: &str, elements: &[ElementMessage]) {
        self.elements(set, 0, elements, DESTROY_ELEMENTS);
    }

    /// Makes an object if it is not there.
    pub fn declare_object(&mut self, (family, name): &Name, object: &Object) {
        self.select(*family);
        let message = self.object_message(name, object, libc::NFT_MSG_NEWOBJ);
        self.add(&message, || name.clone());
    }

    /// Deletes an object.
    pub fn delete_object(&mut self, (family, name): &Name, kind: u32) {
        self.select(*family);
        let message = ObjectMessage {
            family: self.protocol(),
            table: self.name.clone(),
            name: text(name),
            object: kind,
            timeout: None,
            user_data: Vec::new(),
            kind: libc::NFT_MSG_DELOBJ as u16,
        };
        self.add(&message, || name.clone());
    }

    fn object_message(&self, name: &str, object: &Object, kind: i32) -> ObjectMessage {
        let (number, timeout, user_data) = match object {
            Object::Counter(comment) => (super::raw::COUNTER, None, encode::comment(comment)),
            Object::Timeout(ip, seconds) => {
                (TIMEOUT, Some((encode::layer3(*ip), *seconds)), Vec::new())
            }
        };
        ObjectMessage {
            family: self.protocol(),
            table: self.name.clone(),
            name: text(name),
            object: number,
            timeout,
            user_data,
            kind: kind as u16,
        }
    }

    /// Makes a chain if it is not there.
    pub fn declare_chain(&mut self, (family, name): &Name, hook: Option<&Hook>) {
        self.select(*family);
        let mut chain = nftnl::Chain::new(text(name), &self.table);
        if let Some(hook) = hook {
            base_chain(&mut chain, hook);
        }
        let quiet = Quiet {
            message: &chain,
            sequence: &self.sequence,
        };
        self.batch.add(&quiet, MsgType::Add);
        self.names
            .insert(self.sequence.get(), format!("chain {name}"));
    }

    /// Deletes a chain that nothing refers to any more.
    pub fn delete_chain(&mut self, (family, name): &Name) {
        self.select(*family);
        let chain = nftnl::Chain::new(text(name), &self.table);
        let quiet = Quiet {
            message: &chain,
            sequence: &self.sequence,
        };
        self.batch.add(&quiet, MsgType::Del);
        self.names
            .insert(self.sequence.get(), format!("chain {name}"));
    }

    /// Deletes the rules of a chain.
    pub fn flush_chain(&mut self, (family, name): &Name) {
        self.select(*family);
        self.flush_rules(Some(name));
    }

    /// Deletes the rules of all chains of the chosen table.
    pub fn flush_table(&mut self) {
        self.flush_rules(None);
    }

    fn flush_rules(&mut self, chain: Option<&str>) {
        let message = FlushRules {
            family: self.protocol(),
            table: self.name.clone(),
            chain: chain.map(text),
        };
        self.add(&message, || {
            format!("rules of {}", chain.unwrap_or("table"))
        });
    }

    /// Appends the rules of a chain.
    pub fn add_rules(&mut self, (family, name): &Name, chain: &Chain) {
        self.select(*family);
        for rule in &chain.rules {
            let mut sets = Vec::new();
            let mut next = self.next_set;
            let exprs = encode::rule(*family, rule, &mut |anonymous: Anonymous| {
                let id = next;
                next += 1;
                sets.push((id, anonymous));
                id
            });
            self.next_set = next;
            for (id, Anonymous { set, elements }) in sets {
                let set = SetMessage {
                    family: self.protocol(),
                    table: self.name.clone(),
                    id,
                    kind: libc::NFT_MSG_NEWSET as u16,
                    ..set
                };
                self.add(&set, || format!("slots of {name}"));
                let set_name = set.name.to_string_lossy().into_owned();
                self.elements(&set_name, id, &elements, libc::NFT_MSG_NEWSETELEM);
            }
            let chain = nftnl::Chain::new(text(name), &self.table);
            let mut message = NlRule::new(&chain);
            exprs.iter().for_each(|expr| message.add_expr(expr));
            let quiet = Quiet {
                message: &message,
                sequence: &self.sequence,
            };
            self.batch.add(&quiet, MsgType::Add);
            self.names.insert(
                self.sequence.get(),
                format!(
                    "rule of {name}: {}",
                    crate::nftables::text::rule_text(*family, rule)
                ),
            );
        }
    }
}

fn base_chain(chain: &mut nftnl::Chain, hook: &Hook) {
    let at = match hook.at {
        At::Prerouting => nftnl::Hook::PreRouting,
        At::Output => nftnl::Hook::Out,
        At::Postrouting => nftnl::Hook::PostRouting,
        // NF_NETDEV_INGRESS is 0, which the safe layer names after the hook of that number in inet tables.
        At::Ingress => nftnl::Hook::PreRouting,
    };
    chain.set_hook(at, hook.priority);
    chain.set_type(match hook.kind {
        Kind::Nat => ChainType::Nat,
        Kind::Filter => ChainType::Filter,
    });
    chain.set_policy(Policy::Accept);
    if let Some(device) = &hook.device {
        chain.set_device(text(device));
    }
}
