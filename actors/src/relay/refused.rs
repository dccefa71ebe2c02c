//! Connections that were refused for a limit.
//! Owns their number and the lines about them: few, whatever comes.
//! Must never name a relay, client or limit in a line that has counted others.

use super::clients::{Limit, network};
use conf::limits;
use protocols::log::limit as words;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;

/// Connections that were refused, and what is to be said of them.
#[derive(Debug, Default)]
pub struct Refused {
    counts: [Cell<u64>; Limit::ALL.len()],
    untold: RefCell<Vec<Untold>>,
    told: Cell<Option<u32>>,
}

/// Connections that are told of in one line.
#[derive(Debug)]
struct Untold {
    /// The relay and its limit; `None` = of several.
    cause: Option<(String, Limit)>,
    /// The client; `None` = of several.
    client: Option<IpAddr>,
    count: u64,
}

impl Untold {
    fn cause(&self) -> Option<(&str, Limit)> {
        let (relay, limit) = self.cause.as_ref()?;
        Some((relay, *limit))
    }
}

impl Refused {
    /// Counts a refused connection: in the line of its client, else in that of its relay and limit, else in the last.
    pub fn note(&self, relay: &str, client: IpAddr, limit: Limit) {
        if let Some(count) = self.counts.get(limit as usize) {
            count.set(count.get().wrapping_add(1));
        }
        let mut untold = self.untold.borrow_mut();
        let cause = Some((relay, limit));
        let lines = [(cause, Some(network(client))), (cause, None), (None, None)];
        for (level, (cause, client)) in lines.into_iter().enumerate() {
            let same = |u: &&mut Untold| u.client == client && u.cause() == cause;
            if let Some(known) = untold.iter_mut().find(same) {
                known.count += 1;
                return;
            }
            if untold.len() < limits::REFUSED_LOG_LINES * (level + 1) {
                untold.push(Untold {
                    cause: cause.map(|(relay, limit)| (relay.to_owned(), limit)),
                    client,
                    count: 1,
                });
                return;
            }
        }
    }

    /// How many were refused for a limit.
    pub fn count(&self, limit: Limit) -> u64 {
        self.counts.get(limit as usize).map_or(0, Cell::get)
    }

    /// The lines to be logged at second `now`: the first at once, more of them at intervals.
    pub fn lines(&self, now: u32) -> Vec<String> {
        let interval = limits::REFUSED_LOG_INTERVAL.as_secs() as u32;
        let due = self.told.get().is_none_or(|told| now >= told + interval);
        if !due || self.untold.borrow().is_empty() {
            return Vec::new();
        }
        self.told.set(Some(now));
        self.untold
            .take()
            .iter()
            .map(|u| match u.cause() {
                Some((relay, limit)) => words::refused(relay, u.client, u.count, limit.text()),
                None => words::refused_elsewhere(u.count),
            })
            .collect()
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_is_told_in_few_lines() {
        let refused = Refused::default();
        for n in 0..100 {
            let client = IpAddr::from([192, 0, 2, n]);
            refused.note("www", client, Limit::Client);
            refused.note("www", client, Limit::Client);
        }
        assert_eq!(refused.count(Limit::Client), 200);
        assert_eq!(refused.count(Limit::Relay), 0);
        let lines = refused.lines(5);
        assert_eq!(lines.len(), limits::REFUSED_LOG_LINES + 1);
        assert!(lines[0].contains("2 connections of 192.0.2.0 refused"));
        assert!(lines[8].contains("184 connections of other clients"));
        refused.note("www", ip("192.0.2.1"), Limit::Relay);
        assert!(refused.lines(6).is_empty());
        assert_eq!(refused.lines(15).len(), 1);
        assert!(refused.lines(40).is_empty());
    }

    #[test]
    fn a_line_names_the_relay_and_the_limit_that_refused() {
        let refused = Refused::default();
        let client = |n| IpAddr::from([192, 0, 2, n]);
        for n in 0..20 {
            refused.note("www", client(n), Limit::Client);
        }
        refused.note("mail", client(1), Limit::Relay);
        refused.note("www", client(1), Limit::Relay);
        refused.note("mail", client(2), Limit::Relay);
        let lines = refused.lines(5);
        assert_eq!(
            lines[limits::REFUSED_LOG_LINES..],
            [
                "relay www: 12 connections of other clients refused: too many sessions of the client",
                "relay mail: 2 connections of other clients refused: too many sessions of the relay",
                "relay www: 1 connection of other clients refused: too many sessions of the relay",
            ]
        );
        // However many relays refuse.
        for n in 0..100 {
            refused.note(&format!("r{n}"), client(1), Limit::Relay);
        }
        let lines = refused.lines(100);
        assert_eq!(lines.len(), 2 * limits::REFUSED_LOG_LINES + 1);
        assert_eq!(
            lines.last().unwrap(),
            "84 connections to other relays refused"
        );
    }
}
