//! Sessions, packets and bytes.

use crate::support::network::Network;
use crate::support::{Daemon, wait};
use crate::{addresses, both, needs_namespaces, replace_filter_engine, wait_all_up};

/// Packets and bytes in, packets and bytes out, of each redirect.
fn totals(daemon: &Daemon) -> Vec<[u64; 4]> {
    let rows = daemon.relayctl(&["show", "redirects"]).stdout;
    let numbers = |line: &str| {
        let words = line.split(' ').filter_map(|w| w.parse().ok());
        words.collect::<Vec<u64>>().try_into().unwrap()
    };
    rows.lines()
        .filter(|l| l.contains("total: ") && l.contains("bytes"))
        .map(numbers)
        .collect()
}

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
    let counted = rows.lines().filter(|l| l.contains(" bytes in, "));
    assert_eq!(counted.count(), 6, "{rows}");
    for numbers in totals(&daemon) {
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
        let [old, new] = [&before, &after].map(|all| &all[number]["statistics"]);
        assert_eq!(old["total"], new["total"]);
        // What was counted before is no news.
        assert_eq!(new["last_hour"], 0, "{new}");
        for host in 0..3 {
            let of = |all: &serde_json::Value| {
                let traffic = &all[number]["shares"][host]["traffic"];
                traffic["bytes_in"].as_u64().unwrap()
            };
            assert!(of(&after) >= of(&before), "{before}\n{after}");
        }
    }
    network.names(addresses()[0], 1);
    let total = before[0]["statistics"]["total"].as_u64().unwrap() + 1;
    let statistics = wait::until("one session more", || {
        let statistics = show()[0]["statistics"].clone();
        (statistics["total"] == total).then_some(statistics)
    });
    assert_eq!(statistics["last_hour"], 1, "{statistics}");
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

#[test]
fn reloads_that_rename_and_remove_count_nothing_twice() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let config = both("");
    let daemon = network.daemon(&["--count-traffic", "true"], &config);
    wait_all_up(&daemon);
    let send = |to| {
        for mut client in network.held(to) {
            client.bulk(100_000).unwrap();
        }
    };
    addresses().into_iter().for_each(send);
    let first = totals(&daemon);
    assert_eq!(first.len(), 2, "{first:?}");
    let renamed = config
        .replace("<four>", "<vier>")
        .replace("<six>", "<sechs>");
    let fewer = renamed
        .replace(" 192.0.2.50", "")
        .replace(" 2001:db8:3::2", "");
    for (config, hosts) in [(&renamed, 3), (&fewer, 2), (&renamed, 3)] {
        daemon.configure(config);
        assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
        let up = format!("active ({hosts} hosts)");
        daemon.wait_rows(&[
            ("table", "vier:80", &up),
            ("table", "sechs:80", &up),
            ("redirect", "four", "active"),
            ("redirect", "six", "active"),
        ]);
        let now = totals(&daemon);
        assert_eq!(now.len(), 2, "{now:?}");
        for (now, first) in now.iter().zip(&first) {
            for way in [1, 3] {
                // The connections still said that they end.
                let more = now[way].checked_sub(first[way]);
                assert!(more.is_some_and(|more| more < 10_000), "{now:?} {first:?}");
            }
        }
    }
    send(addresses()[0]);
    let more = totals(&daemon)[0][1] - first[0][1];
    assert!((300_000..600_000).contains(&more), "{more}");
}
