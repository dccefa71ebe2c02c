//! Sessions, packets and bytes.

use crate::support::network::Network;
use crate::support::wait;
use crate::{addresses, both, needs_namespaces, replace_filter_engine, wait_all_up};

#[test]
fn sessions_packets_and_bytes_of_each_host_are_counted() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&["--count-traffic", "true"], &both(""));
    wait_all_up(&daemon);
    let show = || {
        let answer = daemon.relayctl(&["-j", "show", "redirects"]);
        serde_json::from_str::<serde_json::Value>(&answer.stdout).unwrap()["redirects"].clone()
    };
    for (number, to) in addresses().into_iter().enumerate() {
        for name in network.held(to).into_iter().map(|mut client| {
            client.bulk(100_000).unwrap();
            client.name
        }) {
            let shares = show()[number]["shares"].clone();
            let at: usize = name.parse().unwrap();
            let share = &shares[at - 1];
            assert!(share["sessions"].as_u64().unwrap() >= 1, "{shares}");
            let traffic = &share["traffic"];
            // Every byte went there and came back, in packets of at most 64 KiB each with headers of their own.
            for way in ["in", "out"] {
                let bytes = traffic[format!("bytes_{way}")].as_u64().unwrap();
                let packets = traffic[format!("packets_{way}")].as_u64().unwrap();
                assert!((100_000..200_000).contains(&bytes), "{way}: {traffic}");
                assert!((4..2000).contains(&packets), "{way}: {traffic}");
            }
        }
        let redirect = &show()[number];
        let shares = redirect["shares"].as_array().unwrap();
        let sum: u64 = shares.iter().map(|s| s["sessions"].as_u64().unwrap()).sum();
        assert_eq!(redirect["statistics"]["total"].as_u64().unwrap(), sum);
    }
    let rows = daemon.relayctl(&["show", "redirects"]).stdout;
    let totals = rows.lines().filter(|l| l.contains(" bytes in, "));
    assert_eq!(totals.count(), 6, "{rows}");
    for line in rows
        .lines()
        .filter(|l| l.contains("total: ") && l.contains("bytes"))
    {
        let numbers: Vec<u64> = line.split(' ').filter_map(|w| w.parse().ok()).collect();
        // Of three connections, in and out.
        assert!((300_000..600_000).contains(&numbers[1]), "{rows}");
        assert!((300_000..600_000).contains(&numbers[3]), "{rows}");
    }
    // The counters go on when the engine is replaced.
    let before = show();
    replace_filter_engine(&daemon, || ());
    daemon.wait_status("redirect", "six", "active");
    let after = wait::until("the counters of the next engine", || {
        let now = show();
        now[0]["shares"][0]["traffic"].is_object().then_some(now)
    });
    for number in 0..2 {
        for host in 0..3 {
            let of = |all: &serde_json::Value| {
                let traffic = &all[number]["shares"][host]["traffic"];
                traffic["bytes_in"].as_u64().unwrap()
            };
            assert!(of(&after) >= of(&before), "{before}\n{after}");
        }
    }
    let words = ["-n", "--count-traffic", "true", "--rules", "nftables", "-f"];
    let file = daemon.file();
    let words = [&words[..], &[file.to_str().unwrap()]].concat();
    let printed = network.balancer.text(env!("CARGO_BIN_EXE_relayd"), &words);
    let listing = network.listing();
    for line in [
        "ct direction reply ct mark @traffic_out",
        "priority -80; policy accept;",
    ] {
        assert!(printed.contains(line), "{printed}");
        assert!(listing.contains(line), "{listing}");
    }
}
