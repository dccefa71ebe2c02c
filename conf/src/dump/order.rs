//! The order of blocks that gives every table instance and host its id again.
//! Owns the merge of redirects, relays and routers.
//! Must never change the order within a class.

use crate::model::{Config, Redirect, Relay, Router, TableId};
use std::collections::VecDeque;

/// A block.
pub(crate) enum Object<'a> {
    Redirect(&'a Redirect),
    /// All listeners of a block.
    Relay(Vec<&'a Relay>),
    Router(&'a Router),
}

impl Object<'_> {
    /// Tables in the order in which the block names them.
    fn tables(&self) -> Vec<TableId> {
        match self {
            Object::Redirect(r) => [Some(r.table), r.backup].into_iter().flatten().collect(),
            Object::Relay(listeners) => listeners
                .first()
                .map(|r| r.tables.iter().map(|t| t.table).collect())
                .unwrap_or_default(),
            Object::Router(r) => vec![r.table],
        }
    }

    /// The highest id after this block, if its new tables come in the order of their ids.
    fn fits(&self, highest: u32) -> Option<u32> {
        let mut highest = highest;
        for TableId(id) in self.tables() {
            if id > highest {
                if id != highest + 1 {
                    return None;
                }
                highest = id;
            }
        }
        Some(highest)
    }
}

/// All blocks in such an order.
pub(crate) fn objects(config: &Config) -> Vec<Object<'_>> {
    let mut relays: VecDeque<Object<'_>> = VecDeque::new();
    for relay in &config.relays {
        match relays.back_mut() {
            Some(Object::Relay(block)) if block.first().is_some_and(|r| r.block == relay.block) => {
                block.push(relay);
            }
            _ => relays.push_back(Object::Relay(vec![relay])),
        }
    }
    let mut classes = [
        config.redirects.iter().map(Object::Redirect).collect(),
        relays,
        config
            .routers
            .iter()
            .map(Object::Router)
            .collect::<VecDeque<_>>(),
    ];
    let mut ordered = Vec::new();
    let mut highest = 0;
    loop {
        let fitting = classes
            .iter()
            .position(|class| class.front().is_some_and(|o| o.fits(highest).is_some()))
            .or_else(|| classes.iter().position(|class| !class.is_empty()));
        let Some(object) = fitting
            .and_then(|i| classes.get_mut(i))
            .and_then(VecDeque::pop_front)
        else {
            return ordered;
        };
        highest = object.fits(highest).unwrap_or(highest);
        ordered.push(object);
    }
}
