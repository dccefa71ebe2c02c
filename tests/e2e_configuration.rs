//! relayd.conf as its reader meets it: what `relayd -n` prints, and what a daemon makes of a bad file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::process::Command;
use support::client::{Answer, run};
use support::{Daemon, Scratch, port};

/// A configuration that serves nobody; `globals` and `listen` options differ.
fn config(globals: &str, options: &str) -> String {
    let at = port();
    format!(
        "{globals}\ntable <t> {{ 127.0.0.1 }}\nrelay www {{\n\tlisten on 127.0.0.1 port {at}{options}\n\tforward to <t> port 1 check tcp\n}}\n"
    )
}

fn check(scratch: &Scratch, words: &[&str]) -> Answer {
    run(Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(words)
        .current_dir(scratch.path("")))
}

fn check_text(text: &[u8]) -> Answer {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("f.conf"), text).unwrap();
    check(&scratch, &["-n", "-f", "f.conf"])
}

#[test]
fn a_bad_file_is_one_list_and_exit_status_1() {
    let long = format!("interval \"{}\"\n", "x".repeat(9000));
    let gigantic = vec![b'#'; 65 * 1024 * 1024];
    for (text, first) in [
        (&b""[..], "no actions, nothing to do"),
        (b"\x00\x01\xff\xfe", "f.conf:1: syntax error"),
        (long.as_bytes(), "f.conf:1: string too long"),
        (&gigantic, "pushfile: f.conf: larger than 64 MiB"),
        (
            b"include \"f.conf\"\n",
            "f.conf:1: failed to include file f.conf",
        ),
    ] {
        let answer = check_text(text);
        assert_eq!(answer.code, 1, "{first}");
        assert_eq!(answer.stderr.lines().next(), Some(first));
        assert_eq!(answer.stdout, "");
    }
    let answer = check(&Scratch::new(), &["-n", "-f", "nosuch.conf"]);
    assert_eq!(answer.code, 1);
    assert_eq!(
        answer.stderr.lines().next(),
        Some("pushfile: nosuch.conf: No such file or directory")
    );
}

#[test]
fn of_a_thousand_mistakes_a_hundred_are_shown_and_the_rest_is_counted() {
    let answer = check_text("bad line\n".repeat(1000).as_bytes());
    assert_eq!(answer.code, 1);
    let shown = answer.stderr.lines().filter(|l| l.starts_with("f.conf:"));
    assert_eq!(shown.count(), 100);
    assert_eq!(answer.stderr.lines().last(), Some("900 more messages"));
}

#[test]
fn warnings_and_errors_are_json_for_editors() {
    let scratch = Scratch::new();
    scratch.write("f.conf", &format!("m=\"x\"\n{}", config("", "")));
    let answer = check(&scratch, &["-n", "-j", "-f", "f.conf"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(json["ok"], true);
    let warning = &json["diagnostics"][0];
    assert_eq!(warning["severity"], "warning");
    assert_eq!(warning["text"], "warning: macro 'm' not used");
    assert_eq!(
        (&warning["line"], &warning["column"]),
        (&1.into(), &1.into())
    );
    // Without -v, too.
    let answer = check(&scratch, &["-n", "-f", "f.conf"]);
    assert_eq!(
        answer.stderr.lines().next(),
        Some("f.conf:1: warning: macro 'm' not used")
    );
    assert_eq!(answer.stderr.lines().last(), Some("configuration OK"));
}

#[test]
fn colour_is_for_terminals_only() {
    let scratch = Scratch::new();
    scratch.write("f.conf", "bad line\n");
    let plain = check(&scratch, &["-n", "-f", "f.conf"]);
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    // script(1) of util-linux runs the command on a terminal of its own.
    let command = format!("{} -n -f f.conf", env!("CARGO_BIN_EXE_relayd"));
    let terminal = || {
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .current_dir(scratch.path(""));
        script
    };
    if !cfg!(target_os = "linux") || Command::new("script").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no script(1)");
        eprintln!("skipped: no script(1) of util-linux");
        return;
    }
    let coloured = run(&mut terminal());
    assert!(coloured.stdout.contains('\u{1b}'), "{}", coloured.stdout);
    let asked_not_to = run(terminal().env("NO_COLOR", "1"));
    assert!(!asked_not_to.stdout.contains('\u{1b}'));
}

#[test]
fn what_is_dumped_and_rewritten_is_read_again_without_a_word() {
    let scratch = Scratch::new();
    let old = config(
        "log all\ndemote carp\nsend trap\n",
        "\n\tsession timeout 30\n",
    );
    scratch.write("old.conf", &old);
    let words = ["-n", "--modern", "-f", "old.conf"];
    let modern = check(&scratch, &words);
    assert_eq!(modern.code, 0, "{}", modern.stderr);
    assert!(
        modern
            .stdout
            .contains("\nlegacy demote \"carp\"\nlegacy trap\n")
    );
    scratch.write("modern.conf", &modern.stdout);
    let again = check(&scratch, &["-n", "--modern", "-f", "modern.conf"]);
    assert_eq!(again.stderr, "");
    assert_eq!(again.stdout, modern.stdout);
    let dump = check(&scratch, &["-nv", "-f", "modern.conf"]);
    scratch.write("dump.conf", &dump.stdout);
    let again = check(&scratch, &["-nv", "-f", "dump.conf"]);
    assert_eq!(again.stderr, "configuration OK\n");
    assert_eq!(again.stdout, dump.stdout);
}

#[test]
fn certificates_are_judged_before_anything_starts() {
    let scratch = Scratch::new();
    let text = config(
        "protocol p {\n\ttls keypair shop cert \"shop.pem\"\n\ttls keypair shop key \"shop.key\"\n}",
        " tls\n\tprotocol p",
    );
    scratch.write("f.conf", &text);
    let words = ["-n", "-f", "f.conf"];
    let missing = check(&scratch, &words);
    assert_eq!(missing.code, 0, "{}", missing.stderr);
    let first = missing.stderr.lines().next().unwrap();
    assert_eq!(
        first,
        "f.conf:10: warning: cannot load keypair shop for relay www"
    );
    assert!(
        missing
            .stderr
            .contains("shop.pem (No such file or directory)")
    );
    // The daemon cannot serve without.
    let daemon = check(&scratch, &["-d", "-f", "f.conf"]);
    assert_eq!(daemon.code, 1);
    assert_eq!(
        daemon.stderr.lines().next(),
        Some("f.conf:10: cannot load keypair shop for relay www")
    );
    scratch.write("shop.pem", "no certificate");
    let wrong = check(&scratch, &words);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.stderr.contains("shop.pem (no certificate in it)"),
        "{}",
        wrong.stderr
    );
    // Served in plain text it must not be.
    let pair = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()]).unwrap();
    scratch.write("shop.pem", &pair.cert.pem());
    scratch.write("shop.key", &pair.signing_key.serialize_pem());
    assert_eq!(check(&scratch, &words).code, 0);
    let daemon = check(&scratch, &["-d", "-f", "f.conf"]);
    assert_eq!(daemon.code, 1);
    assert_eq!(
        daemon.stderr.lines().next(),
        Some("relay www: TLS is not available in this version, leave out 'tls'")
    );
}

#[test]
fn a_running_daemon_does_not_notice_a_bad_file() {
    let good = config("", "");
    let daemon = Daemon::start(&good);
    daemon.wait_status("host", "127.0.0.1", "down");
    let before = daemon.summary();
    for bad in [
        String::new(),
        "\0\u{1}".to_owned(),
        "bad line\n".repeat(1000),
        format!("include \"{}\"\n", daemon.file().display()),
        good.replace("port 1 ", "port nosuch "),
        good.replace("\n\tforward", " tls\n\tforward"),
    ] {
        daemon.configure(&bad);
        let mark = daemon.mark();
        let answer = daemon.relayctl(&["reload", "-w"]);
        assert_eq!(answer.code, 1, "{bad}: {}", answer.stdout);
        assert!(!daemon.lines_since(mark).is_empty());
        assert_eq!(daemon.summary(), before);
    }
    daemon.configure(&good);
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
}

#[test]
fn the_group_of_an_old_demote_is_demoted_while_the_daemon_does_not_run() {
    let daemon = Daemon::start(&config("demote carp", ""));
    let file = daemon.scratch().path("state").join("demote-carp");
    let level = || std::fs::read_to_string(&file).unwrap_or_default();
    support::wait::until_true("level 0", || level() == "0\n");
    daemon.signal(Signal::SIGTERM);
    support::wait::until_true("level 128", || level() == "128\n");
}
