//! The kernel side of the nftables backend: adopts what an earlier process left, applies changes, counts and kills.
//! Owns the netlink sockets and the picture of what the kernel holds.
//! Must never delete the table while connections use it, except when told to purge.

mod adopt;
mod change;
mod conntrack;
mod delivery;
mod dump;
mod encode;
mod errors;
mod flows;
mod install;
mod monitor;
mod raw;
mod relays;
mod socket;
mod states;
mod statistics;
mod surroundings;
mod transaction;

use super::labels::Labels;
use super::model::{Family, Fragment, Set};
use super::numbers::Numbers;
use crate::filter::diff::{self, Pair};
use crate::filter::{
    Capabilities, FilterError, PacketFilter, Ruleset, Service, ServiceStatistics, Settings,
    TableChange,
};
use adopt::foreign;
use conf::model::{HostId, RedirectId};
use dump::Counters;
use monitor::Monitor;
use socket::Netlink;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
pub(super) use surroundings::check as check_system;
use transaction::Transaction;

/// Whether this process may use nftables here. Changes nothing.
///
/// # Errors
/// No right, or no nf_tables in the kernel.
pub fn probe() -> Result<(), FilterError> {
    let mut netlink = Netlink::open().map_err(|e| errors::access(&e))?;
    dump::table(&mut netlink, Family::Inet, "")
        .map(|_| ())
        .map_err(|e| errors::access(&e))
}

/// See [`crate::filter::surroundings`].
///
/// # Errors
/// What makes `desired` impossible.
pub fn surroundings(table: &str, desired: &Ruleset) -> Result<Vec<String>, FilterError> {
    let mut netlink = Netlink::open().map_err(|e| errors::access(&e))?;
    foreign(&mut netlink, table)?;
    surroundings::check(desired)?;
    Ok(surroundings::warnings(desired))
}

/// See [`crate::filter::handle`].
///
/// # Errors
/// No right or no kernel support.
pub fn handle() -> Result<OwnedFd, FilterError> {
    let netlink = Netlink::open().map_err(|e| errors::access(&e))?;
    Ok(netlink.into_socket())
}

/// What the kernel holds of one redirect.
#[derive(Debug, Default)]
struct Installed {
    fragment: Fragment,
    balance: Balance,
    /// Limits in its rules, by mark.
    limits: BTreeMap<u32, u32>,
}

/// What the rules of one redirect say because of its connections.
#[derive(Clone, Debug, Default)]
struct Balance {
    /// Pick lists of `least-states`.
    picks: BTreeMap<super::model::Ip, Vec<u32>>,
    /// Limits, and what limited hosts may still get once there was an overflow.
    remaining: BTreeMap<u32, (u32, u32)>,
    /// Sessions at the last tick.
    sessions: u64,
    /// Overflows at the last tick.
    overflows: u64,
}

/// The backend.
pub struct Nftables {
    table: String,
    netlink: Netlink,
    sets: Vec<Set>,
    /// Table flags in force; `None` before adoption.
    flags: Option<u32>,
    numbers: Numbers,
    current: Ruleset,
    base: Fragment,
    installed: BTreeMap<String, Installed>,
    /// The kernel may hold anything: the next transaction writes everything anew, in place.
    resync: bool,
    /// Counters of hosts that have no element now.
    counted: Counters,
    settings: Settings,
    /// Sees foreign changes where the table cannot be owned.
    monitor: Option<Monitor>,
    /// There was a foreign change that is not put right yet.
    disturbed: bool,
    labels: Labels,
    /// The adopted table redirects connections.
    serving: bool,
    /// The netdev table was made.
    netdev: bool,
    /// Lines for the log, delivered by the next tick.
    notices: Vec<String>,
    relays: delivery::State,
}

impl Nftables {
    /// Opens the sockets; `table` is the name of our table.
    ///
    /// # Errors
    /// No right or no kernel support.
    pub fn open(table: &str) -> Result<Nftables, FilterError> {
        Nftables::over(table, handle()?)
    }

    /// The same with the socket that owns the table; as long as any process holds it, the table has its owner.
    ///
    /// # Errors
    /// No right or no kernel support.
    pub fn over(table: &str, handle: OwnedFd) -> Result<Nftables, FilterError> {
        let mut netlink = Netlink::over(handle).map_err(|e| errors::access(&e))?;
        dump::table(&mut netlink, Family::Inet, table).map_err(|e| errors::access(&e))?;
        Ok(Nftables {
            table: table.to_owned(),
            netlink,
            sets: super::sets(),
            flags: None,
            numbers: Numbers::default(),
            current: Ruleset::default(),
            base: Fragment::default(),
            installed: BTreeMap::new(),
            resync: true,
            counted: Counters::new(),
            settings: Settings::default(),
            monitor: None,
            disturbed: false,
            serving: false,
            labels: Labels::read(),
            netdev: false,
            notices: Vec::new(),
            relays: delivery::State::default(),
        })
    }

    fn transaction(&self) -> Transaction {
        Transaction::new(&self.table)
    }

    fn transact(&mut self, transaction: Transaction) -> Result<(), FilterError> {
        let (bytes, names) = transaction.finish();
        self.netlink
            .transact(&bytes)
            .map_err(|refusal| errors::transaction(&self.table, &names, refusal))
    }

    fn asked<T>(&self, answer: io::Result<T>) -> Result<T, FilterError> {
        answer.map_err(|source| FilterError::Refused {
            object: format!("nftables table {}", self.table),
            source,
        })
    }
}

impl PacketFilter for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn capabilities(&self) -> Capabilities {
        super::CAPABILITIES
    }

    fn adopt(&mut self) -> Result<(), FilterError> {
        foreign(&mut self.netlink, &self.table)?;
        self.own()?;
        self.recall()?;
        self.resync = true;
        Ok(())
    }

    fn serving(&self) -> bool {
        self.serving
    }

    fn apply(&mut self, desired: &Ruleset) -> Result<Vec<TableChange>, FilterError> {
        let before = self.current.clone();
        let pairs = diff::pairs(&before, desired);
        super::verify_change(desired, &pairs)?;
        if self.flags.is_none() {
            self.adopt()?;
        }
        self.install_with_relays(desired, &pairs)?;
        self.current = desired.clone();
        let mut changes = diff::described(&pairs);
        self.end_lost(&pairs, &mut changes);
        Ok(changes)
    }

    fn change(
        &mut self,
        desired: &Ruleset,
        changed: &[Arc<Service>],
    ) -> Result<Vec<TableChange>, FilterError> {
        let known = changed.iter().map(|s| self.current.counterpart(s).cloned());
        let before: Option<Vec<Arc<Service>>> = known.collect();
        let (Some(before), true) = (before, self.flags.is_some()) else {
            return self.apply(desired);
        };
        let pairs = before.iter().zip(changed);
        let pairs = pairs.filter(|(before, after)| before != after);
        let pairs: Vec<Pair<'_>> = pairs
            .map(|(before, after)| Pair {
                before: Some(before),
                after: Some(after),
            })
            .collect();
        super::verify_change(desired, &pairs)?;
        self.install_with_relays(desired, &pairs)?;
        for service in changed {
            self.current.replace(service);
        }
        let mut changes = diff::described(&pairs);
        self.end_lost(&pairs, &mut changes);
        Ok(changes)
    }

    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        self.count_all()
    }

    fn configure(&mut self, settings: Settings) {
        // Rules with another label are written anew by the next transaction.
        self.resync |= self.labels.learn(&settings.tags);
        self.settings = settings;
    }

    fn verify(&self, desired: &Ruleset) -> Result<(), FilterError> {
        super::verify(desired)
    }

    fn watch(&self) -> Option<OwnedFd> {
        self.monitor.as_ref()?.descriptor().ok()
    }

    fn restore(&mut self) -> Result<Option<String>, FilterError> {
        self.put_right()
    }

    fn tick(&mut self) -> Result<Vec<String>, FilterError> {
        let restored = self.put_right()?;
        self.notices.extend(restored);
        self.balance_states()?;
        self.balance_limits()?;
        self.look_after_relays()?;
        Ok(std::mem::take(&mut self.notices))
    }

    fn kill(&mut self, service: RedirectId, host: Option<HostId>) -> Result<u32, FilterError> {
        self.kill_states(service, host)
    }

    fn nat_lookup(
        &mut self,
        ip_protocol: u8,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Result<Option<SocketAddr>, FilterError> {
        let found = conntrack::original_destination(&mut self.netlink, ip_protocol, client, local);
        self.asked(found)
    }

    fn release(&mut self) -> Result<(), FilterError> {
        if self.flags.is_none() {
            // The table is not ours, or was purged; policy routing may be left that we could not remove then.
            return match self.relays.touched() {
                true => self.remove_delivery(),
                false => Ok(()),
            };
        }
        self.withdraw()?;
        self.resync = true;
        self.remove_delivery()
    }

    fn purge(&mut self) -> Result<(), FilterError> {
        if self.flags.is_none() {
            self.own()?;
        }
        self.kill_all()?;
        let answer = dump::table(&mut self.netlink, Family::Netdev, &self.table);
        let netdev = self.asked(answer)?.is_some();
        let mut transaction = self.transaction();
        transaction.delete_table();
        if netdev {
            transaction.select(Family::Netdev);
            transaction.delete_table();
        }
        self.transact(transaction)?;
        self.netdev = false;
        self.flags = None;
        self.monitor = None;
        self.resync = true;
        self.numbers = Numbers::default();
        self.counted.clear();
        self.installed.clear();
        self.current = Ruleset::default();
        self.forget_delivery();
        Ok(())
    }

    fn preview(&self, desired: &Ruleset) -> String {
        super::preview_with(
            &self.table,
            desired,
            &mut self.numbers.clone(),
            &mut self.labels.clone(),
        )
    }
}
