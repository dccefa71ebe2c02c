//! relayd's command line against the recorded answers of the original.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::Scratch;

const MINIMAL: &str = "table <t> { 127.0.0.1 }\nrelay r {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <t> port 80 check tcp\n}\n";
const MACRO: &str = "table <t> { $nope }\nrelay r {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <t> port 80 check tcp\n}\n";
const BOGUS: &str = "frobnicate 1\ntable <t> { 127.0.0.1 }\nrelay r {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <t> port 80 check tcp\n}\n";

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("minimal.conf", MINIMAL);
    scratch.write("mac.conf", MACRO);
    scratch.write("bogus-keyword.conf", BOGUS);
    scratch
}

/// Exit status, standard output, and standard error.
fn relayd(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// The lines that are not the excerpt or the cure below a message.
fn first_lines(stderr: &str) -> Vec<&str> {
    stderr
        .lines()
        .filter(|line| {
            let rest = line
                .trim_start()
                .trim_start_matches(|c: char| c.is_ascii_digit());
            let excerpt = rest.trim_start().starts_with('|') || line.trim_start().starts_with("= ");
            !excerpt
        })
        .collect()
}

#[test]
fn answers_are_those_of_the_original() {
    let scratch = scratch();
    let directory = scratch.path("");
    let oracle = include_str!("oracle/relayd-command-line.txt");
    let mut asked = 0;
    for case in oracle.split("$ relayd").skip(1) {
        let mut lines = case.lines();
        let command = lines.next().unwrap();
        // The rest of the transcript is about a running daemon.
        if command.contains('(') || command.contains("then") || case.contains("processes") {
            continue;
        }
        let status: i32 = lines
            .next()
            .and_then(|l| l.strip_prefix("exit "))
            .unwrap()
            .parse()
            .unwrap();
        let wanted: Vec<&str> = lines.map_while(|l| l.strip_prefix("err: ")).collect();
        if command.trim() == "-n" && Path::new("/etc/relayd.conf").exists() {
            continue;
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        let (code, stdout, stderr) = relayd(&directory, &words);
        assert_eq!(code, status, "relayd{command}: {stderr}");
        let got = first_lines(&stderr);
        assert_eq!(got.first(), wanted.first(), "relayd{command}");
        // The original follows up on its own first error; ours reports mistakes only (COMPAT.md).
        let mistakes: Vec<&str> = wanted
            .iter()
            .enumerate()
            .filter(|(n, line)| {
                let after = line.ends_with(": syntax error") || line.starts_with("no actions");
                *n == 0 || !after
            })
            .map(|(_, line)| *line)
            .collect();
        assert_eq!(got, mistakes, "relayd{command}");
        // With -v ours prints the configuration as understood (COMPAT.md).
        assert_eq!(
            stdout.is_empty(),
            !command.contains("-nv"),
            "relayd{command}"
        );
        asked += 1;
    }
    assert_eq!(asked, 21);
}

#[test]
fn checking_needs_no_root() {
    if !support::root() {
        return;
    }
    let scratch = scratch();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_relayd"))
        .args(["-n", "-f", "minimal.conf"])
        .current_dir(scratch.path(""))
        .output();
    let Ok(output) = output else {
        return support::skip("setpriv(1) is missing");
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "configuration OK\n");
    assert!(output.status.success());
}

#[test]
fn every_error_of_a_file_is_reported_with_its_place() {
    let scratch = scratch();
    scratch.write(
        "many.conf",
        "frobnicate 1\nprefork 99\ntable <t> { 127.0.0.1 }\nrelay r {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <nope> port 80\n}\n",
    );
    let (code, _, stderr) = relayd(&scratch.path(""), &["-n", "-f", "many.conf"]);
    assert_eq!(code, 1);
    for place in ["many.conf:1: ", "many.conf:2: ", "many.conf:6: "] {
        assert!(stderr.contains(place), "{place} in {stderr}");
    }
    assert!(stderr.contains("prefork 99"), "no excerpt in {stderr}");
}

#[test]
fn json_tells_the_same() {
    let scratch = scratch();
    let directory = scratch.path("");
    let (code, stdout, _) = relayd(&directory, &["-n", "-j", "-f", "bogus-keyword.conf"]);
    assert_eq!(code, 1);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["diagnostics"][0]["line"], 1);
    assert_eq!(answer["diagnostics"][0]["text"], "syntax error");
    let (code, stdout, _) = relayd(&directory, &["-nj", "-f", "minimal.conf"]);
    assert_eq!(code, 0);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["configuration"]["relays"][0]["name"], "r");
}

#[test]
fn rules_are_shown_for_any_packet_filter_without_root() {
    let scratch = scratch();
    scratch.write(
        "redirect.conf",
        "table <t> { 192.0.2.7 }\nredirect www {\n\tlisten on 192.0.2.1 port 80\n\tforward to <t> check tcp\n}\n",
    );
    let directory = scratch.path("");
    let (code, stdout, stderr) = relayd(
        &directory,
        &["-n", "--rules", "nftables", "-f", "redirect.conf"],
    );
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("table inet relayd") && stdout.contains("192.0.2.7"),
        "{stdout}"
    );
    let (code, _, _) = relayd(&directory, &["-n", "--rules", "-f", "redirect.conf"]);
    assert_eq!(code, 0);
}

#[test]
fn what_was_understood_can_be_read_again() {
    let scratch = scratch();
    let directory = scratch.path("");
    let (_, full, _) = relayd(&directory, &["-nv", "-f", "minimal.conf"]);
    let (_, modern, stderr) = relayd(&directory, &["-n", "--modern", "-f", "minimal.conf"]);
    assert_eq!(stderr, "");
    assert!(
        full.contains("prefork 3") && !modern.contains("prefork"),
        "{full}\n{modern}"
    );
    for text in [full, modern] {
        scratch.write("again.conf", &text);
        let (code, _, stderr) = relayd(&directory, &["-n", "-f", "again.conf"]);
        assert_eq!((code, stderr.as_str()), (0, "configuration OK\n"), "{text}");
    }
}

#[test]
fn wrong_options_name_their_source_and_key() {
    let scratch = scratch();
    let directory = scratch.path("");
    let check = ["-n", "-f", "minimal.conf"];
    let (code, _, stderr) = relayd(&directory, &[&check[..], &["--metrics", "x"]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("relayd: flag --metrics: metrics: "),
        "{stderr}"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(check)
        .current_dir(&directory)
        .env("RELAYD_METRICS", "x")
        .env("RELAYD_SERVICE_HOST", "10.0.0.1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let wanted = "relayd: environment RELAYD_METRICS: metrics: ";
    assert!(stderr.starts_with(wanted), "{stderr}");
    scratch.write("relayd.toml", "nonsense = 1\n");
    let (code, _, stderr) = relayd(&directory, &check);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("relayd.toml") && stderr.contains("nonsense"),
        "{stderr}"
    );
}

#[test]
fn help_and_version_are_answers_not_errors() {
    let scratch = scratch();
    let (code, stdout, stderr) = relayd(&scratch.path(""), &["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("--single-process"));
    let (code, stdout, _) = relayd(&scratch.path(""), &["--version"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, concat!("relayd ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}
