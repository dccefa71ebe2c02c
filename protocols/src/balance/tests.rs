#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use super::*;
use conf::model::HashKey;
use proptest::prelude::*;
use std::net::IpAddr;

#[derive(Clone, Debug)]
struct Pool(Vec<(bool, u32, u32)>);

impl Hosts for Pool {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn usable(&self, index: usize) -> bool {
        self.0[index].0
    }
    fn weight(&self, index: usize) -> u32 {
        self.0[index].1
    }
    fn connections(&self, index: usize) -> u32 {
        self.0[index].2
    }
    fn share(&self, index: usize) -> u32 {
        self.0[index].1
    }
    fn even(&self) -> bool {
        self.0.iter().all(|h| h.1 == self.0[0].1)
    }
    fn level(&self) -> bool {
        self.even()
    }
}

fn pool(up: &[bool]) -> Pool {
    Pool(up.iter().map(|&u| (u, 1, 0)).collect())
}

fn draw(number: u64) -> Draw {
    Draw {
        hash: number,
        random: number,
    }
}

#[test]
fn round_robin_goes_round_and_steps_over_hosts_that_are_down() {
    let mut cursor = Cursor::default();
    let hosts = pool(&[true, false, true]);
    let got: Vec<_> = (0..5)
        .map(|_| choose(Mode::RoundRobin, &mut cursor, draw(0), &hosts))
        .collect();
    assert_eq!(got, [Some(0), Some(2), Some(0), Some(2), Some(0)]);
    assert_eq!(
        choose(Mode::RoundRobin, &mut cursor, draw(0), &pool(&[])),
        None
    );
    assert_eq!(
        choose(Mode::RoundRobin, &mut cursor, draw(0), &pool(&[false])),
        None
    );
}

#[test]
fn round_robin_by_weight_is_smooth() {
    let mut cursor = Cursor::default();
    let hosts = Pool(vec![(true, 5, 0), (true, 1, 0), (true, 1, 0)]);
    let got: Vec<_> = (0..7)
        .filter_map(|_| choose(Mode::RoundRobin, &mut cursor, draw(0), &hosts))
        .collect();
    assert_eq!(got, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn hash_takes_the_remainder_then_shifts_then_goes_on() {
    // 13 mod 4 = 1, 6 mod 4 = 2, 3 mod 4 = 3, 1 mod 4 = 1
    let all = [true; 4];
    let expect = |up: &[bool], host| {
        let mut cursor = Cursor::default();
        assert_eq!(
            choose(Mode::Hash, &mut cursor, draw(13), &pool(up)),
            host,
            "{up:?}"
        );
    };
    expect(&all, Some(1));
    expect(&[true, false, true, true], Some(2));
    expect(&[true, false, false, true], Some(3));
    // The last number tried is 1: hosts after it are down, so the first that is up.
    expect(&[true, false, false, false], Some(0));
    expect(&[false; 4], None);
}

#[test]
fn hash_gives_up_shifting_after_five() {
    // 64 = 0b1000000 mod 7: 1, 4, 2, 1, 4, then on from 4.
    let mut up = [false; 7];
    up[5] = true;
    up[0] = true;
    let got = choose(
        Mode::SourceHash,
        &mut Cursor::default(),
        draw(64),
        &pool(&up),
    );
    assert_eq!(got, Some(5));
}

#[test]
fn hash_follows_weights() {
    let hosts = Pool(vec![(true, 3, 0), (true, 1, 0)]);
    let got: Vec<_> = (0..8)
        .filter_map(|n| choose(Mode::Hash, &mut Cursor::default(), draw(n), &hosts))
        .collect();
    assert_eq!(got, [0, 0, 0, 1, 0, 0, 0, 1]);
}

#[test]
fn least_connections_weighs_and_takes_turns() {
    let mut cursor = Cursor::default();
    let hosts = Pool(vec![
        (true, 1, 4),
        (true, 2, 6),
        (true, 1, 4),
        (false, 1, 0),
    ]);
    assert_eq!(
        choose(Mode::LeastConnections, &mut cursor, draw(0), &hosts),
        Some(1)
    );
    let hosts = Pool(vec![(true, 1, 0); 3]);
    let mut cursor = Cursor::default();
    let got: Vec<_> = (0..4)
        .filter_map(|_| choose(Mode::LeastConnections, &mut cursor, draw(0), &hosts))
        .collect();
    assert_eq!(got, [0, 1, 2, 0]);
}

#[test]
fn least_connections_shares_idle_hosts_by_weight() {
    let mut cursor = Cursor::default();
    let hosts = Pool(vec![(true, 3, 0), (true, 1, 0), (false, 9, 0)]);
    let got: Vec<_> = (0..8)
        .filter_map(|_| choose(Mode::LeastConnections, &mut cursor, draw(0), &hosts))
        .collect();
    assert_eq!(got, [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn random_gives_a_failed_hosts_share_to_all_others() {
    let hosts = Pool(vec![(false, 1, 0), (true, 1, 0), (true, 2, 0)]);
    let got: Vec<_> = (0..6)
        .filter_map(|n| choose(Mode::Random, &mut Cursor::default(), draw(n), &hosts))
        .collect();
    assert_eq!(got, [1, 2, 2, 1, 2, 2]);
}

/// Hosts of weight 1, of which the first starts slowly: its share in thousandths.
struct Slow(u32, Vec<u32>);

impl Hosts for Slow {
    fn len(&self) -> usize {
        self.1.len()
    }
    fn usable(&self, _: usize) -> bool {
        true
    }
    fn weight(&self, _: usize) -> u32 {
        1
    }
    fn share(&self, index: usize) -> u32 {
        if index == 0 { self.0 } else { SHARE_FULL }
    }
    fn connections(&self, index: usize) -> u32 {
        self.1[index]
    }
    fn even(&self) -> bool {
        true
    }
    fn level(&self) -> bool {
        self.0 == SHARE_FULL
    }
}

#[test]
fn a_host_that_starts_slowly_gets_its_share_in_every_mode_but_hashing() {
    for mode in [Mode::RoundRobin, Mode::Random, Mode::LeastConnections] {
        for (share, expected) in [(10, 10), (250, 200), (500, 333), (SHARE_FULL, 500)] {
            let hosts = Slow(share, vec![0, 0]);
            let mut cursor = Cursor::default();
            let first = (0..1000_u64)
                .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11)
                .filter(|&n| choose(mode, &mut cursor, draw(n), &hosts) == Some(0))
                .count();
            let most = if mode == Mode::Random { 60 } else { 1 };
            assert!(
                first.abs_diff(expected) <= most,
                "{mode:?} {share}: {first}"
            );
        }
    }
    for number in 0..100 {
        let choice = |share| {
            let hosts = Slow(share, vec![0; 3]);
            choose(
                Mode::SourceHash,
                &mut Cursor::default(),
                draw(number),
                &hosts,
            )
        };
        assert_eq!(choice(10), choice(SHARE_FULL));
    }
}

#[test]
fn siphash_matches_its_reference_vector() {
    // SipHash-2-4, key 00..0f, input 00..0e (appendix A of the paper).
    let key = HashKey(std::array::from_fn(|i| i as u8));
    let mut hash = Hash::new(&key);
    let input: Vec<u8> = (0..15).collect();
    let (a, b) = input.split_at(4);
    hash.feed(a);
    hash.feed(b);
    assert_eq!(hash.finish(), 0xa129_ca61_49be_45e5);
}

#[test]
fn addresses_and_ports_are_fed_in_network_order() {
    let key = HashKey([7; 16]);
    let mut one = Hash::new(&key);
    one.address("192.0.2.1".parse::<IpAddr>().unwrap());
    one.port(80);
    let mut two = Hash::new(&key);
    two.feed(&[192, 0, 2, 1, 0, 80]);
    assert_eq!(one.finish(), two.finish());
}

#[test]
fn derived_keys_differ_by_name_and_seed_only() {
    assert_eq!(derive_key(&[1; 16], "www"), derive_key(&[1; 16], "www"));
    assert_ne!(derive_key(&[1; 16], "www"), derive_key(&[1; 16], "ftp"));
    assert_ne!(derive_key(&[1; 16], "www"), derive_key(&[2; 16], "www"));
}

fn modes() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![
        Mode::RoundRobin,
        Mode::Random,
        Mode::SourceHash,
        Mode::LoadBalance,
        Mode::Hash,
        Mode::LeastConnections,
    ])
}

proptest! {
    #[test]
    fn a_usable_host_is_found_whenever_there_is_one(
        mode in modes(),
        hosts in prop::collection::vec((any::<bool>(), 0_u32..=256, any::<u32>()), 0..20),
        numbers in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let hosts = Pool(hosts);
        let any_up = hosts.0.iter().any(|h| h.0);
        let mut cursor = Cursor::default();
        for number in numbers {
            let got = choose(mode, &mut cursor, draw(number), &hosts);
            prop_assert_eq!(got.is_some(), any_up);
            if let Some(index) = got {
                prop_assert!(hosts.usable(index));
            }
        }
    }

    #[test]
    fn a_failed_host_moves_only_its_own_clients(
        count in 2_usize..12,
        down in 0_usize..12,
        number in any::<u64>(),
    ) {
        let down = down % count;
        let all = pool(&vec![true; count]);
        let mut some = all.clone();
        some.0[down].0 = false;
        let before = choose(Mode::SourceHash, &mut Cursor::default(), draw(number), &all);
        let after = choose(Mode::SourceHash, &mut Cursor::default(), draw(number), &some);
        if before != Some(down) {
            prop_assert_eq!(before, after);
        } else {
            prop_assert_ne!(before, after);
        }
    }

    #[test]
    fn weighted_round_robin_gives_exact_shares(weights in prop::collection::vec(1_u32..20, 1..6)) {
        let hosts = Pool(weights.iter().map(|&w| (true, w, 0)).collect());
        let total: u32 = weights.iter().sum();
        let mut cursor = Cursor::default();
        let mut got = vec![0; weights.len()];
        for _ in 0..total {
            got[choose(Mode::RoundRobin, &mut cursor, draw(0), &hosts).unwrap()] += 1;
        }
        prop_assert_eq!(got, weights);
    }
}
