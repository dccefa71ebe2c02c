//! Taking the table over: from an earlier process, or as a new one.
//! Owns its flags, and what is read back: numbers and counters.
//! Must never take a table that another process owns.

use super::dump::{self, Counters};
use super::monitor::Monitor;
use super::socket::Netlink;
use super::{Nftables, errors};
use crate::filter::FilterError;
use crate::nftables::layout;
use crate::nftables::model::{Family, Set, SetName};
use nftnl::nftnl_sys::libc;
use std::io;

/// `NFT_TABLE_F_OWNER`: nobody else may change the table, and `flush ruleset` passes it by.
const OWNER: u32 = 2;
/// `NFT_TABLE_F_PERSIST` (Linux 6.9): the table outlives its owner, who may be killed.
const PERSIST: u32 = 4;
/// Flags of a table that nobody else can change.
pub(super) const OWNED: u32 = OWNER | PERSIST;
/// Sets that count sessions by host.
pub(super) const LIVE: [SetName; 5] = [
    (Family::Inet, "live4"),
    (Family::Inet, "live6"),
    (Family::Inet, "keep4"),
    (Family::Inet, "keep6"),
    (Family::Netdev, "sessions"),
];

/// Refuses a table of our name that somebody else filled: adopting it would empty it.
pub(super) fn foreign(netlink: &mut Netlink, table: &str) -> Result<(), FilterError> {
    for family in [Family::Inet, Family::Netdev] {
        let ours = dump::ours(netlink, family, table).map_err(|e| errors::access(&e))?;
        if !ours {
            return Err(FilterError::Unavailable {
                object: format!("nftables table {} {table}", family.keyword()),
                reason: "was not made by relayd".to_owned(),
                cure: "choose another name with the option table, or delete the table with `nft delete table`",
            });
        }
    }
    Ok(())
}

impl Nftables {
    /// Makes the table ours: with owner and persist where the kernel has both, else as a plain table.
    pub(super) fn own(&mut self) -> Result<(), FilterError> {
        let declare = |this: &mut Nftables, flags| {
            let mut transaction = this.transaction();
            transaction.declare_table(flags, layout::COMMENT);
            let (bytes, names) = transaction.finish();
            this.netlink.transact(&bytes).map_err(|r| (r, names))
        };
        let owned = match self.settings.shared {
            true => None,
            false => Some(declare(self, OWNED)),
        };
        match owned {
            Some(Ok(())) => {
                self.flags = Some(OWNED);
                self.monitor = None;
                return Ok(());
            }
            Some(Err((refusal, names)))
                if !matches!(
                    refusal.error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EINVAL)
                ) =>
            {
                return Err(errors::transaction(&self.table, &names, refusal));
            }
            _ => {}
        }
        // A table that outlived its owner keeps that flag for ever.
        let answer = dump::table(&mut self.netlink, Family::Inet, &self.table);
        let flags = self.asked(answer)?.unwrap_or(0) & PERSIST;
        declare(self, flags).map_err(|(r, n)| errors::transaction(&self.table, &n, r))?;
        self.flags = Some(flags);
        if self.monitor.is_none() {
            self.monitor = Monitor::open(&self.table, &self.netlink).ok();
        }
        Ok(())
    }

    /// Reads numbers and counters back from a table that was there before.
    pub(super) fn recall(&mut self) -> Result<(), FilterError> {
        let absent = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        let netlink = &mut self.netlink;
        match dump::ids(netlink, Family::Inet, &self.table) {
            Ok(ids) => self.numbers.recall(ids),
            // A table without our sets: somebody made it empty, or it is new.
            Err(error) if absent(&error) => return Ok(()),
            answer => self.asked(answer.map(|_| ()))?,
        }
        self.counted = self.live_counters()?;
        self.serving = self.has_services()?;
        Ok(())
    }

    fn has_services(&mut self) -> Result<bool, FilterError> {
        Ok(!self.serving_sets()?.is_empty())
    }

    /// Sets that lead connections to redirects in the kernel, whoever filled them.
    fn serving_sets(&mut self) -> Result<Vec<Set>, FilterError> {
        let mut found = Vec::new();
        for set in self.sets.iter().filter(|s| s.name.starts_with("svc")) {
            match dump::elements(&mut self.netlink, set.family, &self.table, set.name) {
                Ok(elements) if elements.is_empty() => {}
                Ok(_) => found.push(set.clone()),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return self.asked(Err(error)),
            }
        }
        Ok(found)
    }

    /// No new connection is led to a redirect or a relay any more. Looks at the kernel, since after a failed change
    /// nobody knows what is there.
    pub(super) fn withdraw(&mut self) -> Result<(), FilterError> {
        let answer = dump::table(&mut self.netlink, Family::Inet, &self.table);
        if self.asked(answer)?.is_none() {
            return Ok(());
        }
        let mut transaction = self.transaction();
        for set in self.serving_sets()? {
            transaction.flush_set(&set);
        }
        transaction.select(Family::Inet);
        match self.numbers.is_empty() {
            // There never was a redirect whose connections live on.
            true => transaction.delete_table(),
            false => self.withdraw_relays(&mut transaction)?,
        }
        match transaction.len() {
            0 => Ok(()),
            _ => self.transact(transaction),
        }
    }

    pub(super) fn live_counters(&mut self) -> Result<Counters, FilterError> {
        let mut all = Counters::new();
        for (family, set) in LIVE {
            match dump::counters(&mut self.netlink, family, &self.table, set) {
                Ok(counters) => all.extend(counters),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return self.asked(Err(error)),
            }
        }
        Ok(all)
    }
}
