//! Line: the sessions of a process that wait for one table.
//! Owns their order, and who is asked when there is room: the first of each kind, however many wait.
//! Must never ask a session that cannot have what others of its kind before it could not.

use conf::model::HostId;
use std::collections::{BTreeMap, BTreeSet};

/// Where a table may have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// Somewhere: those who want one host and no other know of it already.
    Any,
    /// At this host.
    Host(HostId),
    /// Anywhere, or none of its hosts is up any more.
    All,
}

/// What a session waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Any host.
    Any,
    /// Any but these, which failed for it.
    Not(Vec<HostId>),
    /// This one only.
    Host(HostId),
}

impl Want {
    /// The first of those that want one host.
    const ONE: Want = Want::Host(HostId(0));

    /// Whether room there may be room for it.
    fn fits(&self, spot: Spot) -> bool {
        match self {
            Want::Host(host) => spot == Spot::All || spot == Spot::Host(*host),
            _ => true,
        }
    }
}

/// A waiting session, as the line sees it.
pub trait Waits {
    /// Number of the hosts it chooses from: the same table may have others in another configuration.
    fn table(&self) -> usize;

    /// What it waits for at this moment.
    fn want(&self) -> Want;

    /// It is about to leave.
    fn leaves(&self) -> bool;
}

/// Sessions of one kind.
type Kind = (usize, Want);

/// See the module.
#[derive(Debug)]
pub struct Line<W> {
    all: BTreeMap<u64, (W, Kind)>,
    kinds: BTreeMap<usize, BTreeMap<Want, BTreeSet<u64>>>,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Line {
            all: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }
}

impl<W: Waits> Line<W> {
    /// Sessions that wait.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The first of them.
    pub fn first(&self) -> Option<&W> {
        self.all.values().next().map(|(waiting, _)| waiting)
    }

    /// One more; numbers grow.
    pub fn push(&mut self, number: u64, waiting: W) {
        let kind = (waiting.table(), waiting.want());
        self.file(number, &kind);
        self.all.insert(number, (waiting, kind));
    }

    /// Takes one out, if it still waits.
    pub fn remove(&mut self, number: u64) -> Option<W> {
        let (waiting, kind) = self.all.remove(&number)?;
        self.unfile(number, &kind);
        Some(waiting)
    }

    fn file(&mut self, number: u64, (table, want): &Kind) {
        let kinds = self.kinds.entry(*table).or_default();
        kinds.entry(want.clone()).or_default().insert(number);
    }

    fn unfile(&mut self, number: u64, (table, want): &Kind) {
        let Some(kinds) = self.kinds.get_mut(table) else {
            return;
        };
        if let Some(kind) = kinds.get_mut(want) {
            kind.remove(&number);
            if kind.is_empty() {
                kinds.remove(want);
            }
        }
        if kinds.is_empty() {
            self.kinds.remove(table);
        }
    }

    /// A session of this kind wants something else now.
    fn refile(&mut self, number: u64, kind: &Kind, new: Kind) {
        self.unfile(number, kind);
        self.file(number, &new);
        if let Some((_, kind)) = self.all.get_mut(&number) {
            *kind = new;
        }
    }

    /// Lets those who wanted one host and now want others have room at these: their host serves no longer. Those who
    /// want the same host change their mind together, so only the first of each is asked.
    pub fn release(&mut self) {
        let mut released = Vec::new();
        for (table, kinds) in &self.kinds {
            for (want, kind) in kinds.range(Want::ONE..) {
                let first = kind.first().and_then(|first| self.all.get(first));
                if first.is_some_and(|(waiting, _)| waiting.want() != *want) {
                    released.push((*table, want.clone()));
                }
            }
        }
        for kind in released {
            let mut last = 0;
            while let Some(number) = self.next(&kind, last) {
                last = number;
                if let Some(want) = self.all.get(&number).map(|(waiting, _)| waiting.want()) {
                    self.refile(number, &kind, (kind.0, want));
                }
            }
        }
    }

    /// The first of a kind after session `number`.
    fn next(&self, (table, want): &Kind, number: u64) -> Option<u64> {
        let kind = self.kinds.get(table)?.get(want)?;
        kind.range(number + 1..).next().copied()
    }

    /// The first of each kind that room at `spot` may be for.
    fn firsts(&self, spot: Spot) -> BTreeSet<(u64, Kind)> {
        let mut firsts = BTreeSet::new();
        for (table, kinds) in &self.kinds {
            let ones = match spot {
                Spot::Any => Want::ONE..Want::ONE,
                Spot::Host(host) => Want::Host(host)..Want::Host(HostId(host.0.saturating_add(1))),
                Spot::All => Want::ONE..Want::Host(HostId(u32::MAX)),
            };
            for (want, kind) in kinds.range(..Want::ONE).chain(kinds.range(ones)) {
                firsts.extend(kind.first().map(|first| (*first, (*table, want.clone()))));
            }
        }
        firsts
    }

    /// Offers room to who waits longest, until one can `take` it: the number of that one and what it took. It goes on
    /// waiting until removed.
    pub fn offer<T>(
        &mut self,
        spot: Spot,
        mut take: impl FnMut(&W) -> Option<T>,
    ) -> Option<(u64, T)> {
        let mut firsts = self.firsts(spot);
        while let Some((number, kind)) = firsts.pop_first() {
            let (waiting, _) = self.all.get(&number)?;
            let want = waiting.want();
            let moves = want != kind.1;
            if !moves && !waiting.leaves() {
                match take(waiting) {
                    Some(taken) => return Some((number, taken)),
                    // What the first of a kind cannot have no other of it can.
                    None => continue,
                }
            }
            if let Some(next) = self.next(&kind, number) {
                firsts.insert((next, kind.clone()));
            }
            if moves {
                // The host that it wants went down or came up.
                let new = (kind.0, want);
                if new.1.fits(spot) {
                    firsts.insert((number, new.clone()));
                }
                self.refile(number, &kind, new);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// What each session wants at the moment.
    type Wants = Rc<RefCell<BTreeMap<u64, Want>>>;

    struct Session(u64, Wants);

    impl Waits for Session {
        fn table(&self) -> usize {
            0
        }

        fn want(&self) -> Want {
            self.1.borrow()[&self.0].clone()
        }

        fn leaves(&self) -> bool {
            self.0 == 99
        }
    }

    fn line(wants: &[(u64, Want)]) -> (Line<Session>, Wants) {
        let shared = Wants::default();
        let mut line = Line::default();
        for (number, want) in wants {
            shared.borrow_mut().insert(*number, want.clone());
            line.push(*number, Session(*number, Rc::clone(&shared)));
        }
        (line, shared)
    }

    const ONE: HostId = HostId(1);
    const TWO: HostId = HostId(2);
    const THREE: HostId = HostId(3);

    /// Who gets room that is at one host only, in this order.
    fn served(line: &mut Line<Session>, spot: Spot, host: HostId) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some((number, ())) = line.offer(spot, |session| match session.want() {
            Want::Any => Some(()),
            Want::Not(hosts) => (!hosts.contains(&host)).then_some(()),
            Want::Host(wanted) => (wanted == host).then_some(()),
        }) {
            order.push(number);
            line.remove(number).unwrap();
        }
        order
    }

    #[test]
    fn who_waits_longest_for_the_host_comes_first() {
        let wants = [
            (1, Want::Host(TWO)),
            (2, Want::Not(vec![ONE])),
            (3, Want::Host(ONE)),
            (4, Want::Any),
            (5, Want::Host(ONE)),
            (6, Want::Not(vec![TWO])),
            (99, Want::Any),
        ];
        let (mut line, _) = line(&wants);
        assert_eq!(served(&mut line, Spot::Host(ONE), ONE), [3, 4, 5, 6]);
        assert_eq!(line.len(), 3);
        // Room that nobody was told of where.
        assert_eq!(served(&mut line, Spot::Any, TWO), [2]);
        assert_eq!(served(&mut line, Spot::All, TWO), [1]);
        assert_eq!(line.first().unwrap().0, 99);
        assert!(line.remove(1).is_none());
        line.remove(99).unwrap();
        assert!(line.all.is_empty() && line.kinds.is_empty());
    }

    #[test]
    fn who_wants_a_host_takes_any_while_it_is_down() {
        let (mut line, wants) = line(&[
            (1, Want::Host(ONE)),
            (2, Want::Any),
            (3, Want::Host(ONE)),
            (4, Want::Host(ONE)),
            (5, Want::Host(TWO)),
        ]);
        line.release();
        assert_eq!(line.firsts(Spot::Host(THREE)).len(), 1);
        for number in [1, 3] {
            wants.borrow_mut().insert(number, Want::Any);
        }
        // This one was refused there before.
        wants.borrow_mut().insert(4, Want::Not(vec![THREE]));
        // The state's change is an event of its own: nobody is offered anything.
        line.release();
        assert_eq!(line.offer(Spot::Host(THREE), |_| Some(())).unwrap().0, 1);
        line.remove(1).unwrap();
        assert_eq!(line.firsts(Spot::Host(THREE)).len(), 2);
        assert_eq!(line.len(), 4);
        // It is up again before the third had its turn.
        wants.borrow_mut().insert(3, Want::Host(ONE));
        assert_eq!(served(&mut line, Spot::Host(TWO), TWO), [2, 4, 5]);
        assert_eq!(served(&mut line, Spot::Host(ONE), ONE), [3]);
    }

    #[test]
    fn room_costs_as_many_questions_as_there_are_kinds() {
        let wants: Vec<_> = (1..=10_000)
            .map(|n| {
                let want = match n % 4 {
                    0 => Want::Any,
                    1 => Want::Not(vec![ONE]),
                    _ => Want::Host(HostId(1 + n as u32 % 50)),
                };
                (n, want)
            })
            .filter(|(n, _)| *n != 99)
            .collect();
        let (mut line, _) = line(&wants);
        let asked = |line: &mut Line<Session>, spot| {
            let mut asked = 0;
            line.offer(spot, |_| {
                asked += 1;
                None::<()>
            });
            asked
        };
        assert_eq!(asked(&mut line, Spot::Any), 2);
        assert_eq!(asked(&mut line, Spot::Host(HostId(3))), 3);
        assert_eq!(asked(&mut line, Spot::All), 2 + 50);
    }
}
