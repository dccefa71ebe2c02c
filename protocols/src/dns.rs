//! DNS over UDP as a relay passes it on: with ids of its own, so that nobody can answer in the server's place.
//! Owns ids, the table of queries under way, and what is checked of queries and answers.
//! Must never look beyond the question: records are the server's business.

use siphasher::sip::SipHasher24;
use std::collections::HashMap;
use std::hash::Hasher;

/// Bytes of a message before its question.
pub const HEADER: usize = 12;
/// Ids tried for one query before it is refused: the table is so full that most ids are taken.
const TRIES: usize = 16;

/// Why a message is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Shorter than a header, not the wanted direction, or a question that does not end.
    #[error("malformed DNS message")]
    Malformed,
    /// No query of ours has this id and question.
    #[error("answer to no query")]
    Unknown,
    /// Too many queries wait for answers.
    #[error("too many queries under way")]
    Full,
}

/// A message's id, whether it is an answer, and its question section (empty if it has none).
fn parse(message: &[u8]) -> Result<(u16, bool, &[u8]), Refused> {
    let [a, b, flags, _, q1, q2, _, _, _, _, _, _, rest @ ..] = message else {
        return Err(Refused::Malformed);
    };
    let id = u16::from_be_bytes([*a, *b]);
    let answer = flags & 0x80 != 0;
    let length = match u16::from_be_bytes([*q1, *q2]) {
        0 => 0,
        1 => question_length(rest).ok_or(Refused::Malformed)?,
        // Nobody asks two questions at once; what it would mean is not defined.
        _ => return Err(Refused::Malformed),
    };
    let question = rest.get(..length).ok_or(Refused::Malformed)?;
    Ok((id, answer, question))
}

/// Length of the first question: labels, type and class. Compression cannot occur in it.
fn question_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let label = usize::from(*bytes.get(at)?);
        at += 1 + label;
        match label {
            0 => return (at <= 255 && at + 4 <= bytes.len()).then_some(at + 4),
            1..=63 if at < 255 => {}
            _ => return None,
        }
    }
}

fn set_id(message: &mut [u8], id: u16) {
    for (byte, new) in message.iter_mut().zip(id.to_be_bytes()) {
        *byte = new;
    }
}

/// All 65536 ids in an order nobody can foresee, none twice before all were used; then in another order.
#[derive(Clone, Debug)]
struct Ids {
    key: [u8; 16],
    round: u64,
    next: u32,
}

impl Ids {
    fn next(&mut self) -> u16 {
        if self.next > u32::from(u16::MAX) {
            self.next = 0;
            self.round += 1;
        }
        let [mut left, mut right] = (self.next as u16).to_be_bytes();
        self.next += 1;
        // A Feistel network is a permutation whatever its rounds compute.
        for step in 0..6_u8 {
            let mut hasher = SipHasher24::new_with_key(&self.key);
            hasher.write_u64(self.round);
            hasher.write_u8(step);
            hasher.write_u8(right);
            let mixed = left ^ (hasher.finish() as u8);
            left = right;
            right = mixed;
        }
        u16::from_be_bytes([left, right])
    }
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
struct Waiting<C> {
    client: C,
    id: u16,
    question: u64,
    since: u32,
}

/// Queries under way on one socket towards a server. `C` is whatever the answer needs to find its client.
#[derive(Clone, Debug)]
pub struct Queries<C> {
    ids: Ids,
    waiting: HashMap<u16, Waiting<C>>,
    max: usize,
}

impl<C: Copy> Queries<C> {
    /// An empty table of at most `max` queries. `key` must come from a source of random bytes.
    pub fn new(key: [u8; 16], max: usize) -> Self {
        Queries {
            ids: Ids {
                key,
                round: 0,
                next: 0,
            },
            waiting: HashMap::new(),
            max: max.min(usize::from(u16::MAX) / 2),
        }
    }

    /// Number of queries under way.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes in a client's query at second `now` and gives it an id of ours, in place.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::Full`]; the message is unchanged then.
    pub fn query(&mut self, client: C, message: &mut [u8], now: u32) -> Result<(), Refused> {
        let (id, answer, question) = parse(message)?;
        if answer {
            return Err(Refused::Malformed);
        }
        if self.waiting.len() >= self.max {
            return Err(Refused::Full);
        }
        let question = self.digest(question);
        let ours = (0..TRIES)
            .map(|_| self.ids.next())
            .find(|id| !self.waiting.contains_key(id))
            .ok_or(Refused::Full)?;
        let waiting = Waiting {
            client,
            id,
            question,
            since: now,
        };
        self.waiting.insert(ours, waiting);
        set_id(message, ours);
        Ok(())
    }

    /// Finds the client of a server's answer and restores its id, in place.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::Unknown`]; the message is unchanged then, and the query still waits.
    pub fn answer(&mut self, message: &mut [u8]) -> Result<C, Refused> {
        let (ours, answer, question) = parse(message)?;
        if !answer {
            return Err(Refused::Malformed);
        }
        let waiting = self.waiting.get(&ours).ok_or(Refused::Unknown)?;
        // A server that could not read the question sends none back.
        if !question.is_empty() && self.digest(question) != waiting.question {
            return Err(Refused::Unknown);
        }
        let (client, id) = (waiting.client, waiting.id);
        self.waiting.remove(&ours);
        set_id(message, id);
        Ok(client)
    }

    /// Forgets queries that began before second `before`; calls `lost` for each.
    pub fn expire(&mut self, before: u32, mut lost: impl FnMut(C)) {
        self.waiting.retain(|_, waiting| {
            let keep = waiting.since >= before;
            if !keep {
                lost(waiting.client);
            }
            keep
        });
        if self.waiting.is_empty() {
            // Memory of a burst is given back.
            self.waiting.shrink_to_fit();
        }
    }

    fn digest(&self, question: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.ids.key);
        hasher.write(question);
        hasher.finish()
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
    use proptest::prelude::*;

    /// A message about `name` with one question for its address.
    fn message(id: u16, answer: bool, name: &str) -> Vec<u8> {
        let mut m = id.to_be_bytes().to_vec();
        m.extend([if answer { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            m.push(label.len() as u8);
            m.extend(label.as_bytes());
        }
        m.extend([0, 0, 1, 0, 1]);
        m
    }

    fn id(message: &[u8]) -> u16 {
        u16::from_be_bytes([message[0], message[1]])
    }

    #[test]
    fn an_answer_finds_its_client_and_id() {
        let mut queries = Queries::new([3; 16], 100);
        let mut a = message(7, false, "a.example");
        let mut b = message(7, false, "b.example");
        queries.query('a', &mut a, 0).unwrap();
        queries.query('b', &mut b, 0).unwrap();
        assert_ne!(id(&a), id(&b));
        let mut answer = message(id(&b), true, "b.example");
        assert_eq!(queries.answer(&mut answer), Ok('b'));
        assert_eq!(id(&answer), 7);
        assert_eq!(
            queries.answer(&mut message(id(&b), true, "b.example")),
            Err(Refused::Unknown)
        );
        // The right id with another question is a forgery; the true answer still arrives.
        assert_eq!(
            queries.answer(&mut message(id(&a), true, "x.example")),
            Err(Refused::Unknown)
        );
        // An answer without a question, as after a format error.
        let mut short = message(id(&a), true, "a.example");
        short.truncate(HEADER);
        short[5] = 0;
        assert_eq!(queries.answer(&mut short), Ok('a'));
        assert!(queries.is_empty());
    }

    #[test]
    fn ids_come_each_once_in_no_visible_order() {
        let mut ids = Ids {
            key: [1; 16],
            round: 0,
            next: 0,
        };
        let first: Vec<u16> = (0..65536).map(|_| ids.next()).collect();
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert!(
            sorted
                .iter()
                .enumerate()
                .all(|(i, id)| i == usize::from(*id))
        );
        let second: Vec<u16> = (0..65536).map(|_| ids.next()).collect();
        assert_ne!(first, second);
        let close = first
            .windows(2)
            .filter(|w| w[0].abs_diff(w[1]) < 16)
            .count();
        assert!(close < 200, "{close} neighbours are near each other");
    }

    #[test]
    fn wrong_messages_are_refused() {
        let mut queries = Queries::new([0; 16], 2);
        assert_eq!(queries.query((), &mut [0; 11], 0), Err(Refused::Malformed));
        assert_eq!(
            queries.query((), &mut message(1, true, "a"), 0),
            Err(Refused::Malformed)
        );
        let mut cut = message(1, false, "a.example");
        cut.pop();
        assert_eq!(queries.query((), &mut cut, 0), Err(Refused::Malformed));
        let mut two = message(1, false, "a");
        two[5] = 2;
        assert_eq!(queries.query((), &mut two, 0), Err(Refused::Malformed));
        let mut pointer = message(1, false, "a");
        pointer[HEADER] = 0xc0;
        assert_eq!(queries.query((), &mut pointer, 0), Err(Refused::Malformed));
        queries.query((), &mut message(1, false, "a"), 0).unwrap();
        queries.query((), &mut message(2, false, "a"), 0).unwrap();
        assert_eq!(
            queries.query((), &mut message(3, false, "a"), 0),
            Err(Refused::Full)
        );
    }

    #[test]
    fn old_queries_are_forgotten() {
        let mut queries = Queries::new([0; 16], 100);
        queries.query('a', &mut message(1, false, "a"), 10).unwrap();
        queries.query('b', &mut message(2, false, "b"), 20).unwrap();
        let mut lost = Vec::new();
        queries.expire(15, |client| lost.push(client));
        assert_eq!((lost, queries.len()), (vec!['a'], 1));
    }

    proptest! {
        #[test]
        fn nothing_read_from_the_network_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut queries = Queries::new([0; 16], 10);
            let mut copy = bytes.clone();
            if queries.query((), &mut copy, 0).is_ok() {
                prop_assert_eq!(&copy[2..], &bytes[2..]);
                copy[2] |= 0x80;
                queries.answer(&mut copy).unwrap();
                prop_assert_eq!(&copy[..2], &bytes[..2]);
            } else {
                prop_assert_eq!(&copy, &bytes);
            }
            let _ = queries.answer(&mut copy);
        }
    }
}
