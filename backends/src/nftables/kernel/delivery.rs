//! The relays' rules and the policy routing that goes with them, beside redirects that need neither.
//! Owns the order of both changes, what is known to be lacking, and when it is tried again.
//! Must never keep redirects from working because of what only relays need.

use super::transaction::Transaction;
use super::{Nftables, dump};
use crate::filter::diff::Pair;
use crate::filter::{FilterError, Relayed, Ruleset};
use crate::nftables::model::Family;
use crate::nftables::relays::{self, TABLE};
use crate::routing::{Delivery, Families};
use std::borrow::Cow;
use std::io;

/// Ticks (about a second each) between two looks at the policy routing: somebody may have flushed it.
const LOOK_EVERY: u32 = 3;
/// Ticks until what was lacking is tried again.
const RETRY_EVERY: u32 = 60;

/// What relays have in the kernel, as this process left it.
#[derive(Default)]
pub struct State {
    delivery: Option<Delivery>,
    /// Policy routing in the kernel; `None` while it may be anything: before the first change, after a failed one.
    families: Option<Families>,
    /// Policy routing that the rules in the kernel need.
    needed: Families,
    /// Relays that have rules in the kernel.
    pub(super) installed: Vec<Relayed>,
    /// The kernel lacked something when it was asked last: relays are left out, and the operator knows.
    lacking: bool,
    /// The last change of the policy routing was refused, and the operator knows.
    refused: bool,
    ticks: u32,
}

fn families(relays: &[Relayed]) -> Families {
    Families {
        v4: relays.iter().any(|r| r.listen.is_ipv4()),
        v6: relays.iter().any(|r| r.listen.is_ipv6()),
    }
}

fn object() -> String {
    format!("policy routing of relays (table {TABLE})")
}

impl State {
    /// Whether this process changed the policy routing, or would have.
    pub(super) fn touched(&self) -> bool {
        self.delivery.is_some() || self.refused
    }

    /// Makes the policy routing equal to `wanted`; answers how many rules and routes were added.
    fn set(&mut self, wanted: Families) -> io::Result<usize> {
        self.families = None;
        let delivery = match &mut self.delivery {
            Some(delivery) => delivery,
            none => none.insert(Delivery::open()?),
        };
        let added = delivery.set(wanted)?;
        self.families = Some(wanted);
        Ok(added)
    }

    /// The policy routing before rules that need it.
    fn prepare(&mut self, desired: &[Relayed]) -> Result<(), FilterError> {
        let (before, after) = (families(&self.installed), families(desired));
        let both = Families {
            v4: before.v4 || after.v4,
            v6: before.v6 || after.v6,
        };
        if self.families == Some(both) {
            return Ok(());
        }
        let lacking = |error: io::Error| FilterError::Lacking {
            object: object(),
            reason: error.to_string(),
            cure: "look at `ip rule`, `ip route show table 7497068` and the state of the interface lo",
        };
        self.set(both).map(|_| ()).map_err(lacking)
    }
}

impl Nftables {
    /// Installs everything. A system that lacks what relays need still gets the redirects.
    pub(super) fn install_with_relays(
        &mut self,
        desired: &Ruleset,
        pairs: &[Pair<'_>],
    ) -> Result<(), FilterError> {
        let known = self.relays.lacking && self.current.relays == desired.relays;
        if !known && !desired.relays.is_empty() {
            match self.install_all(desired, pairs) {
                Err(error @ FilterError::Lacking { .. }) => self.leave_out(&error),
                answer => return answer,
            }
        }
        let without = match desired.relays.is_empty() {
            true => Cow::Borrowed(desired),
            false => Cow::Owned(Ruleset {
                services: desired.services.clone(),
                relays: Vec::new(),
            }),
        };
        self.install_twice(&without, pairs)?;
        self.relays.lacking &= !desired.relays.is_empty();
        self.settle(Families::default());
        Ok(())
    }

    /// Rules and policy routing of redirects and relays; no packet may be marked that would not be delivered.
    fn install_all(&mut self, desired: &Ruleset, pairs: &[Pair<'_>]) -> Result<(), FilterError> {
        self.relays.prepare(&desired.relays)?;
        self.install_twice(desired, pairs)?;
        self.relays.lacking = false;
        self.settle(families(&desired.relays));
        Ok(())
    }

    fn leave_out(&mut self, error: &FilterError) {
        if !std::mem::replace(&mut self.relays.lacking, true) {
            self.notices.push(format!(
                "{error}; until then relays that use other addresses do not work, redirects do"
            ));
        }
    }

    /// The policy routing after rules that need no more than this. The rules are in force: a refusal is told, and the
    /// change is tried again.
    fn settle(&mut self, needed: Families) {
        self.relays.needed = needed;
        if self.relays.families != Some(needed) {
            let answer = self.relays.set(needed);
            self.tell(answer.map(|_| ()));
        }
    }

    /// While something is lacking the operator knows enough.
    fn tell(&mut self, answer: io::Result<()>) {
        if self.relays.lacking {
            return;
        }
        let told = std::mem::replace(&mut self.relays.refused, answer.is_err());
        match answer {
            Err(error) if !told => self
                .notices
                .push(format!("{}: {error}; it is tried again", object())),
            Ok(()) if told => self.notices.push(format!("{} is set now", object())),
            _ => {}
        }
    }

    /// Adds to a transaction that what relays need goes. Their sessions end with us.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub(super) fn withdraw_relays(
        &mut self,
        transaction: &mut Transaction,
    ) -> Result<(), FilterError> {
        let chains = dump::chains(&mut self.netlink, Family::Inet, &self.table);
        let chains = self.asked(chains)?.into_iter();
        let ours: Vec<_> = chains
            .filter(|name| relays::is_ours(name))
            .map(|name| (Family::Inet, name))
            .collect();
        for name in &ours {
            transaction.flush_chain(name);
        }
        for name in &ours {
            transaction.delete_chain(name);
        }
        Ok(())
    }

    /// The rules are gone: the policy routing goes, too. A refusal is told, and tried again.
    pub(super) fn forget_delivery(&mut self) {
        self.relays.installed.clear();
        self.relays.lacking = false;
        self.settle(Families::default());
    }

    /// Removes the policy routing, also that of an earlier process.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn remove_delivery(&mut self) -> Result<(), FilterError> {
        self.relays.installed.clear();
        self.relays.needed = Families::default();
        self.relays.lacking = false;
        if self.relays.families == Some(Families::default()) {
            return Ok(());
        }
        let refused = |source| FilterError::Refused {
            object: object(),
            source,
        };
        self.relays
            .set(Families::default())
            .map(|_| ())
            .map_err(refused)
    }

    /// Restores what somebody else removed from the policy routing; tries again what was refused or lacking.
    ///
    /// # Errors
    /// The kernel refused a change that redirects need, too.
    pub(super) fn look_after_relays(&mut self) -> Result<(), FilterError> {
        self.relays.ticks = self.relays.ticks.wrapping_add(1);
        if self.relays.lacking && self.relays.ticks.is_multiple_of(RETRY_EVERY) {
            return self.try_again();
        }
        let needed = self.relays.needed;
        let before = self.relays.families;
        let nothing = needed == Families::default() && before.is_none_or(|f| f == needed);
        if !self.relays.ticks.is_multiple_of(LOOK_EVERY) || (nothing && !self.relays.refused) {
            return Ok(());
        }
        let answer = self.relays.set(needed);
        if before == Some(needed) && answer.as_ref().is_ok_and(|added| *added > 0) {
            let line = "policy routing of relays was removed by somebody else and is restored";
            self.notices.push(line.to_owned());
        }
        self.tell(answer.map(|_| ()));
        Ok(())
    }

    fn try_again(&mut self) -> Result<(), FilterError> {
        let current = self.current.clone();
        match self.install_all(&current, &[]) {
            Err(FilterError::Lacking { .. }) => {
                self.settle(Families::default());
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                let line =
                    "the system has what relays that use other addresses need: they work now";
                self.notices.push(line.to_owned());
                Ok(())
            }
        }
    }
}
