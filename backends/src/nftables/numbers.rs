//! The numbers in ct marks: which redirect and which host a connection belongs to, stable over reload and restart.
//! Owns their assignment; the kernel's set `ids` keeps them as long as the flows that carry them.
//! Must never give a number to somebody else while connections may carry it.

use super::model::{HOST_BITS, HOST_MASK};
use crate::filter::{FilterError, Server, Service};
use std::collections::{BTreeMap, BTreeSet};

/// Most hosts of one redirect.
pub const HOSTS_MAX: u32 = HOST_MASK;
/// Most redirects.
pub const REDIRECTS_MAX: u32 = u32::MAX >> HOST_BITS;

/// Numbers of one redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbered {
    /// Upper bits of the mark, shifted into place.
    pub redirect: u32,
    /// Mark of each host, by [`host_label`].
    pub hosts: BTreeMap<String, u32>,
}

impl Numbered {
    /// The mark of a host; 0 if it has none.
    pub fn mark(&self, server: &Server, keep_port: bool) -> u32 {
        self.hosts
            .get(&host_label(server, keep_port))
            .copied()
            .unwrap_or(0)
    }
}

/// All numbers ever given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    by_name: BTreeMap<String, Numbered>,
    used: BTreeSet<u32>,
}

/// What identifies a host within its redirect: address and port (0 = the packet's).
pub fn host_label(server: &Server, keep_port: bool) -> String {
    let port = if keep_port { 0 } else { server.port };
    format!("{} {port}", server.address.ip)
}

impl Numbers {
    /// Numbers of a service; new hosts get new ones.
    ///
    /// # Errors
    /// More redirects or hosts than the mark has room for.
    pub fn assign(&mut self, service: &Service) -> Result<&Numbered, FilterError> {
        let too_many = |what| FilterError::Unsupported {
            object: format!("redirect {}", service.name),
            what,
            backend: "nftables",
        };
        if !self.by_name.contains_key(&service.name) {
            let number = free(&self.used, REDIRECTS_MAX)
                .ok_or_else(|| too_many("more than 1048575 redirects"))?;
            self.used.insert(number);
            let numbered = Numbered {
                redirect: number << HOST_BITS,
                hosts: BTreeMap::new(),
            };
            self.by_name.insert(service.name.clone(), numbered);
        }
        let numbered = self.by_name.entry(service.name.clone()).or_default();
        let wanted: BTreeSet<String> = service
            .servers
            .iter()
            .map(|s| host_label(s, service.keep_port))
            .collect();
        number_hosts(numbered, &wanted).ok_or_else(|| too_many("more than 4095 hosts"))?;
        Ok(numbered)
    }

    /// Whether no redirect ever had a number.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Numbers of a redirect, if it has any.
    pub fn get(&self, name: &str) -> Option<&Numbered> {
        self.by_name.get(name)
    }

    /// The redirect with this mark.
    pub fn redirect_of(&self, mark: u32) -> Option<&str> {
        let upper = mark & !HOST_MASK;
        self.by_name
            .iter()
            .find(|(_, n)| n.redirect == upper)
            .map(|(name, _)| name.as_str())
    }

    /// Takes over an entry of the kernel's set `ids`: its key and its comment.
    pub fn recall(&mut self, entries: impl IntoIterator<Item = (u32, String)>) {
        let (redirects, hosts): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(mark, _)| mark & HOST_MASK == 0);
        let mut names = BTreeMap::new();
        for (mark, name) in redirects {
            self.used.insert(mark >> HOST_BITS);
            names.insert(mark, name.clone());
            self.by_name.entry(name).or_default().redirect = mark;
        }
        for (mark, label) in hosts {
            if let Some(numbered) = names
                .get(&(mark & !HOST_MASK))
                .and_then(|name| self.by_name.get_mut(name))
            {
                numbered.hosts.insert(label, mark);
            }
        }
    }
}

/// The number after the highest one given, else the lowest free one: a number rests as long as possible.
fn free(used: &BTreeSet<u32>, most: u32) -> Option<u32> {
    let next = used.last().map_or(1, |n| n + 1);
    if next <= most {
        return Some(next);
    }
    (1..=most).find(|n| !used.contains(n))
}

fn number_hosts(numbered: &mut Numbered, wanted: &BTreeSet<String>) -> Option<()> {
    if u32::try_from(wanted.len()).ok()? > HOSTS_MAX {
        return None;
    }
    let missing: Vec<&String> = wanted
        .iter()
        .filter(|label| !numbered.hosts.contains_key(*label))
        .collect();
    if missing.is_empty() {
        return Some(());
    }
    let mut used: BTreeSet<u32> = numbered.hosts.values().map(|m| m & HOST_MASK).collect();
    for label in missing {
        if used.len() >= HOSTS_MAX as usize {
            // All numbers were given once: those of hosts that are gone may be used again.
            numbered.hosts.retain(|known, _| wanted.contains(known));
            used = numbered.hosts.values().map(|m| m & HOST_MASK).collect();
        }
        let number = free(&used, HOSTS_MAX)?;
        used.insert(number);
        numbered
            .hosts
            .insert(label.clone(), numbered.redirect | number);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use crate::filter::testing::service;

    #[test]
    fn numbers_are_stable_and_never_reused_soon() {
        let mut numbers = Numbers::default();
        let mut www = service("www", 3);
        let before = numbers.assign(&www).unwrap().clone();
        assert_eq!(before.redirect, 0x1000);
        assert_eq!(before.mark(&www.servers[1], false), 0x1002);
        let gone = www.servers.remove(1);
        www.servers.push(crate::filter::testing::server(9));
        let after = numbers.assign(&www).unwrap();
        assert_eq!(after.mark(&www.servers[1], false), 0x1003);
        assert_eq!(after.mark(&www.servers[2], false), 0x1004);
        assert_eq!(after.mark(&gone, false), 0x1002);
        assert_eq!(numbers.assign(&service("dns", 1)).unwrap().redirect, 0x2000);
    }

    #[test]
    fn recalled_numbers_equal_the_given_ones() {
        let mut numbers = Numbers::default();
        let www = service("www", 3);
        numbers.assign(&service("other", 1)).unwrap();
        let given = numbers.assign(&www).unwrap().clone();
        let entries: Vec<(u32, String)> = ["other", "www"]
            .into_iter()
            .flat_map(|name| {
                let n = numbers.get(name).unwrap();
                let mut all = vec![(n.redirect, name.to_owned())];
                all.extend(n.hosts.iter().map(|(label, mark)| (*mark, label.clone())));
                all
            })
            .collect();
        let mut fresh = Numbers::default();
        fresh.recall(entries);
        assert_eq!(fresh.assign(&www).unwrap(), &given);
        assert_eq!(fresh.redirect_of(0x2003), Some("www"));
    }

    #[test]
    fn exhausted_numbers_are_taken_from_hosts_that_are_gone() {
        let mut numbered = Numbered {
            redirect: 0x1000,
            hosts: BTreeMap::new(),
        };
        let first: BTreeSet<String> = (0..HOSTS_MAX).map(|n| format!("a{n}")).collect();
        number_hosts(&mut numbered, &first).unwrap();
        let second: BTreeSet<String> = (0..10).map(|n| format!("b{n}")).collect();
        number_hosts(&mut numbered, &second).unwrap();
        assert_eq!(numbered.hosts.len(), 10);
        let more: BTreeSet<String> = (0..HOSTS_MAX + 1).map(|n| format!("c{n}")).collect();
        assert!(number_hosts(&mut numbered, &more).is_none());
    }
}
