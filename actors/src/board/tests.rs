//! The board, used as several processes use it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use super::*;
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

const HOST: HostId = HostId(7);

fn board() -> Board {
    Board::map(Board::create().unwrap().as_fd()).unwrap()
}

#[test]
fn a_limit_holds_over_processes_and_the_dead_give_back() {
    let board = board();
    (0..3).for_each(|number| board.join(number));
    assert_eq!(board.connect(0, HOST, 2), Entry::Entered);
    assert_eq!(board.connect(2, HOST, 2), Entry::Entered);
    assert_eq!(board.connect(1, HOST, 2), Entry::Full);
    assert_eq!(board.connect(1, HostId(8), 2), Entry::Entered);
    assert_eq!(board.connections(HOST), 2);
    board.closed(0, HOST);
    assert_eq!(board.connect(1, HOST, 2), Entry::Entered);
    board.clear(2);
    assert_eq!(board.connections(HOST), 1);
    // A cell never goes below nothing, whoever miscounts.
    board.closed(2, HOST);
    assert_eq!(board.connections(HOST), 1);
}

#[test]
fn a_queue_has_one_length_and_the_longest_wait_comes_first() {
    let board = board();
    let table = TableId(3);
    (0..3).for_each(|number| board.join(number));
    for (number, stamp) in [(2, u32::MAX - 5), (0, 4), (1, 4)] {
        assert!(board.wait(number, table, 3));
        board.set_first(number, table, stamp);
    }
    assert!(!board.wait(1, table, 3));
    assert!(!board.wait(0, TableId(u32::MAX), 3));
    assert_eq!(board.waiting(table), 3);
    // The stamps have wrapped between the first and the second.
    assert_eq!(board.longest(table, 10, 0), Some(2));
    assert_eq!(board.longest(table, 10, 0b100), Some(0));
    assert_eq!(board.longest(table, 10, 0b101), Some(1));
    board.clear(2);
    assert_eq!(board.longest(table, 10, 0), Some(0));
    board.waited(0, table);
    assert_eq!(board.longest(table, 10, 0), Some(1));
    assert_eq!(board.waiting(table), 1);
}

#[test]
fn a_restarted_process_learns_when_a_host_returned() {
    let board = board();
    assert_eq!(board.returned_at(HOST), None);
    board.returned(HOST, 0);
    assert_eq!(board.returned_at(HOST), Some(0));
}

#[test]
fn what_is_beyond_the_board_is_refused_and_harmless() {
    let board = board();
    let far = HostId(u32::MAX);
    board.join(u32::MAX);
    assert!(!board.covers(far));
    assert_eq!(board.connect(0, far, 9), Entry::Full);
    assert_eq!(board.connect(u32::MAX, HOST, 9), Entry::Full);
    board.connected(0, far);
    board.closed(u32::MAX, HOST);
    board.clear(u32::MAX);
    assert_eq!(board.connections(far), 0);
}

#[test]
fn threads_never_exceed_the_limit() {
    const MAX: u32 = 3;
    let board = Arc::new(board());
    (0..4).for_each(|number| board.join(number));
    let held = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (board, held) = (Arc::clone(&board), Arc::clone(&held));
            std::thread::spawn(move || {
                let mut entered = 0;
                for _ in 0..20_000 {
                    if board.connect(number, HOST, MAX) == Entry::Entered {
                        assert!(held.fetch_add(1, SeqCst) < MAX);
                        entered += 1;
                        held.fetch_sub(1, SeqCst);
                        board.closed(number, HOST);
                    }
                }
                entered
            })
        })
        .collect();
    let entered: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(entered > 0);
    assert_eq!(board.connections(HOST), 0);
}

#[test]
fn who_steps_back_for_another_at_the_last_place_tries_again() {
    let own = AtomicU32::new(0);
    // What each look at the sum of all finds.
    let fares = |sums: &[u32]| {
        let next = RefCell::new(sums.iter().copied().cycle());
        insist(1, &own, Some(1), || next.borrow_mut().next().unwrap())
    };
    // The other has it, or still has when one tries again.
    assert!(!fares(&[1]));
    assert!(!fares(&[0, 2, 1]));
    // They meet without end.
    assert!(!fares(&[0, 2]));
    assert_eq!(own.load(SeqCst), 0);
    // The other stepped back, too.
    assert!(fares(&[0, 2, 0, 1]));
    assert_eq!(own.load(SeqCst), 1);
}

#[test]
fn a_client_is_counted_over_processes_and_forgotten() {
    let board = board();
    (0..3).for_each(|number| board.join(number));
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    let client = board.client(RelayId(1), address);
    assert_ne!(client, board.client(RelayId(2), address));
    let mut places = Vec::new();
    for number in [0, 2, 2] {
        match board.count_client(number, client, 3) {
            Counted::At(place) => places.push((number, place)),
            other => panic!("{other:?}"),
        }
    }
    for number in 0..3 {
        assert_eq!(board.count_client(number, client, 3), Counted::Full);
    }
    assert_eq!(board.of_client(client), 3);
    // What a dead process held is free; the others' places stay.
    board.clear(2);
    assert_eq!(board.of_client(client), 1);
    let (number, place) = places[0];
    board.uncount_client(number, place);
    assert_eq!(board.of_client(client), 0);
    // Nothing goes below nothing, and nothing beyond the board does harm.
    board.uncount_client(number, place);
    board.uncount_client(u32::MAX, u32::MAX);
    assert_eq!(board.of_client(client), 0);
    assert_eq!(board.count_client(u32::MAX, client, 1), Counted::Unseen);
}

#[test]
fn a_full_table_says_so_and_places_are_used_again() {
    let board = board();
    board.join(0);
    let clients = |set: u64| (0..9).map(move |n| Client(set + n * clients::SETS as u64));
    let counted = |client| board.count_client(0, client, 1);
    let places: Vec<_> = clients(5).map(counted).collect();
    let unseen = |place: &&Counted| **place == Counted::Unseen;
    assert_eq!(places.iter().filter(unseen).count(), 1);
    // Others are elsewhere.
    assert!(matches!(counted(Client(6)), Counted::At(_)));
    let Counted::At(place) = places[3] else {
        panic!("{places:?}");
    };
    board.uncount_client(0, place);
    let last = clients(5).next_back().unwrap();
    assert_eq!(board.of_client(last), 0);
    assert_eq!(counted(last), Counted::At(place));
    assert_eq!(board.of_client(last), 1);
}

#[test]
fn sessions_of_a_relay_are_counted_over_processes() {
    let board = board();
    let relay = RelayId(9);
    (0..4).for_each(|number| board.join(number));
    let begun: Vec<_> = (0..8).map(|n| board.begin(n % 4, relay, Some(5))).collect();
    assert_eq!(begun.iter().filter(|begun| **begun).count(), 5);
    board.clear(0);
    assert_eq!(board.sessions(relay), 3);
    board.ended(1, relay);
    assert!(board.begin(3, relay, Some(3)));
    assert!(!board.begin(0, relay, Some(3)));
    // Without a limit they count all the same.
    assert!(board.begin(0, relay, None));
    assert_eq!(board.sessions(relay), 4);
    assert!(!board.begin(0, RelayId(u32::MAX), None));
}

/// Several processes let few clients in, all in one set of places, which so are named anew all the time.
#[test]
fn threads_never_exceed_the_limit_of_a_client() {
    const MAX: u32 = 2;
    let board = Arc::new(board());
    (0..4).for_each(|number| board.join(number));
    let held: Arc<[AtomicU32; 12]> = Arc::default();
    let threads: Vec<_> = (0..4_u32)
        .map(|number| {
            let (board, held) = (Arc::clone(&board), Arc::clone(&held));
            std::thread::spawn(move || {
                let mut entered = 0;
                for round in 0..30_000_u32 {
                    let which = (round * 7 + number) % 12;
                    let client = Client(u64::from(which) * clients::SETS as u64);
                    if let Counted::At(place) = board.count_client(number, client, MAX) {
                        let held = &held[which as usize];
                        assert!(held.fetch_add(1, SeqCst) < MAX);
                        entered += 1;
                        held.fetch_sub(1, SeqCst);
                        board.uncount_client(number, place);
                    }
                }
                entered
            })
        })
        .collect();
    let entered: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(entered > 0);
    assert!((0..12).all(|n| board.of_client(Client(n * clients::SETS as u64)) == 0));
}
