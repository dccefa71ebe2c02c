//! DNS messages: ids are exchanged and given back, nothing else changes, and no answer comes without its query.

use protocols::dns::{HEADER, Queries};
use std::collections::HashMap;

/// By our id: client, its id, and the query as it went to the server.
type Sent = HashMap<[u8; 2], (usize, [u8; 2], Vec<u8>)>;

/// Queries under way at once: few, so that a short input fills the table.
const MAX: usize = 4;

/// One input: messages, each after a byte that says what becomes of it and two with its length.
pub fn run(mut input: &[u8]) {
    let mut queries: Queries<usize> = Queries::new([7; 16], MAX);
    let mut sent = Sent::new();
    let mut now = 0;
    while let [what, high, low, rest @ ..] = input {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        match what % 4 {
            0 => ask(&mut queries, &mut sent, message, (rest.len(), now)),
            1 => answer(&mut queries, &mut sent, message.to_vec()),
            2 => {
                // The answer that a server gives, with the bytes of the input in place of its records.
                let Some((_, _, query)) = sent.values().min() else {
                    continue;
                };
                let mut copy = query.clone();
                copy[2] |= 0x80;
                copy.extend(message);
                answer(&mut queries, &mut sent, copy);
            }
            _ => {
                now += 1;
                queries.expire(now, |client| sent.retain(|_, s| s.0 != client));
                assert!(queries.is_empty());
            }
        }
        assert!(queries.len() <= MAX);
        assert_eq!(queries.len(), sent.len());
    }
}

fn ask(queries: &mut Queries<usize>, sent: &mut Sent, message: &[u8], (client, now): (usize, u32)) {
    let mut ours = message.to_vec();
    match queries.query(client, &mut ours, now) {
        Ok(()) => {
            assert!(ours.len() >= HEADER);
            assert_eq!(ours[2..], message[2..]);
            let theirs = [message[0], message[1]];
            let old = sent.insert([ours[0], ours[1]], (client, theirs, ours));
            assert!(old.is_none());
        }
        Err(_) => assert_eq!(ours, message),
    }
}

fn answer(queries: &mut Queries<usize>, sent: &mut Sent, message: Vec<u8>) {
    let mut theirs = message.clone();
    match queries.answer(&mut theirs) {
        Ok(client) => {
            let (asked, id, _) = sent.remove(&message[..2]).expect("a query");
            assert_eq!((client, &theirs[..2]), (asked, &id[..]));
            assert_eq!(theirs[2..], message[2..]);
        }
        Err(_) => assert_eq!(theirs, message),
    }
}
