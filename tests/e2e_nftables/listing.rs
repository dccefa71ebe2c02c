//! The rules as printed, by the daemon and by nft.

use crate::support::network::Network;
use crate::support::{self, process};
use crate::{both, needs_namespaces, wait_all_up};

/// A listing without what time changes: counters, the place where round robin goes on, order, owner.
fn normalised(listing: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in listing.replace("\n\t\t\t     ", " ").lines() {
        let line = line.split(" # ").next().unwrap();
        if line.trim().is_empty() || line.trim() == "flags owner" {
            continue;
        }
        let (head, rest) = match line.split_once("{ ") {
            Some((head, rest)) if rest.contains(':') || head.contains("elements") => (head, rest),
            _ => {
                lines.push(line.to_owned());
                continue;
            }
        };
        let mut parts: Vec<&str> = rest.trim_end_matches(" }").split(", ").collect();
        if head.contains("numgen inc") {
            for part in &mut parts {
                *part = part.split_once(" : ").unwrap().1;
            }
        }
        let mut parts: Vec<String> = parts.into_iter().map(without_counter).collect();
        parts.sort();
        lines.push(format!("{head}{{ {}", parts.join(", ")));
    }
    lines.sort();
    lines
}

fn without_counter(element: &str) -> String {
    let words: Vec<&str> = element.split(' ').collect();
    match words.iter().position(|w| *w == "packets") {
        Some(at) => [&words[..at - 1], &words[at + 4..]].concat().join(" "),
        None => element.to_owned(),
    }
}

#[test]
fn the_printed_rules_are_those_of_the_kernel_and_can_be_loaded() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let config = both("sticky-address\n\tpftag web\n\tsession timeout 300");
    let daemon = network.daemon(&[], &config);
    wait_all_up(&daemon);
    let table = support::daemon::table();
    let file = daemon.file();
    let file = file.to_str().unwrap();
    let words = ["-n", "--table", &table, "--rules", "nftables", "-f", file];
    let printed = network.balancer.text(env!("CARGO_BIN_EXE_relayd"), &words);
    let listing = network.listing();
    let (left, right) = (normalised(&printed), normalised(&listing));
    for line in &left {
        assert!(right.contains(line), "not in the kernel: {line}\n{listing}");
    }
    for line in &right {
        assert!(left.contains(line), "not printed: {line}\n{printed}");
    }
    // What nft prints of all there is, another system can load. An owner is a process, which nobody can load.
    let ruleset = network.balancer.text("nft", &["list", "ruleset"]);
    let ruleset: String = ruleset
        .lines()
        .filter(|line| !line.trim().starts_with("flags owner"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let saved = daemon.scratch().write("ruleset", &ruleset);
    let other = &network.servers[0];
    other.text("nft", &["-f", saved.to_str().unwrap()]);
    let loaded = other.text("nft", &["list", "ruleset"]);
    assert_eq!(normalised(&loaded), normalised(&ruleset));
    assert!(process::alive(daemon.pid()));
}
