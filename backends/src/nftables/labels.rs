//! `pftag`: a name an administrator's own rules can match, as a conntrack label.
//! Owns the assignment of names to label bits: those of connlabel.conf first, then free ones from the top.
//! Must never give one bit to two names.

use crate::filter::FilterError;
use std::collections::BTreeMap;

/// Where names of labels are written down, as nft(8) and iptables read them.
const FILES: [&str; 2] = ["/etc/connlabel.conf", "/etc/xtables/connlabel.conf"];
/// Labels a connection can carry.
const LABELS: u8 = 128;

/// Names and bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    bits: BTreeMap<String, u8>,
}

impl Labels {
    /// The system's names.
    pub fn read() -> Labels {
        let text = FILES.iter().find_map(|f| std::fs::read_to_string(f).ok());
        Labels::parse(&text.unwrap_or_default())
    }

    /// Names in the form of connlabel.conf: a number and a name in each line.
    pub fn parse(text: &str) -> Labels {
        let line = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let bit: u8 = words.next()?.parse().ok().filter(|bit| *bit < LABELS)?;
            Some((words.next()?.to_owned(), bit))
        };
        Labels {
            bits: text.lines().filter_map(line).collect(),
        }
    }

    /// Takes over names that somebody wrote down; whether that changed anything. A name that got a free bit keeps it,
    /// unless it is another name's now.
    pub fn learn(&mut self, tags: &BTreeMap<String, u8>) -> bool {
        let before = self.bits.clone();
        self.bits.retain(|_, bit| !tags.values().any(|b| b == bit));
        self.bits.extend(tags.clone());
        self.bits != before
    }

    /// All names with their bits.
    pub fn into_names(self) -> BTreeMap<String, u8> {
        self.bits
    }

    /// The bit of a tag; a name nobody wrote down gets the highest free one.
    ///
    /// # Errors
    /// All bits are taken.
    pub fn bit(&mut self, redirect: &str, tag: &str) -> Result<u8, FilterError> {
        if let Some(bit) = self.bits.get(tag) {
            return Ok(*bit);
        }
        let taken = |bit: &u8| self.bits.values().any(|b| b == bit);
        let bit = (0..LABELS).rev().find(|bit| !taken(bit));
        let bit = bit.ok_or_else(|| FilterError::Unsupported {
            object: format!("redirect {redirect}"),
            what: "more than 128 tags",
            backend: "nftables",
        })?;
        self.bits.insert(tag.to_owned(), bit);
        Ok(bit)
    }
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

    #[test]
    fn a_name_that_is_written_down_later_takes_its_bit() {
        let mut labels = Labels::default();
        assert_eq!(labels.bit("www", "web").unwrap(), 127);
        assert_eq!(labels.bit("www", "mail").unwrap(), 126);
        let tags = BTreeMap::from([("dns".to_owned(), 127)]);
        assert!(labels.learn(&tags));
        assert!(!labels.learn(&tags));
        assert_eq!(labels.bit("www", "dns").unwrap(), 127);
        assert_eq!(labels.bit("www", "mail").unwrap(), 126);
        assert_eq!(labels.bit("www", "web").unwrap(), 125);
    }

    #[test]
    fn names_of_the_file_come_first() {
        let mut labels = Labels::parse("# names\n7 web\n127 old\n200 bad\nx y\n");
        assert_eq!(labels.bit("www", "web").unwrap(), 7);
        assert_eq!(labels.bit("www", "mail").unwrap(), 126);
        assert_eq!(labels.bit("www", "dns").unwrap(), 125);
        assert_eq!(labels.bit("www", "mail").unwrap(), 126);
        for n in 0..124 {
            labels.bit("www", &format!("t{n}")).unwrap();
        }
        assert_eq!(
            labels.bit("www", "more").unwrap_err().to_string(),
            "redirect www: more than 128 tags is not possible with the nftables packet filter"
        );
    }
}
