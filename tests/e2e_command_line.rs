//! relayd's command line: the recorded answers of the original, start, stop and daemonizing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::client::{Answer, run};
use support::{Daemon, Scratch, Server, Settings, port, wait};

fn relayd(directory: &Path, words: &[&str]) -> Answer {
    run(Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(words)
        .current_dir(directory))
}

/// The files that the record names.
fn files() -> Scratch {
    let scratch = Scratch::new();
    let minimal = "table <t> { 127.0.0.1 }
relay r {
	listen on 127.0.0.1 port 18001
	forward to <t> port 80 check tcp
}
";
    scratch.write("minimal.conf", minimal);
    scratch.write("bogus-keyword.conf", &format!("bogus\n{minimal}"));
    scratch.write("mac.conf", &minimal.replace("127.0.0.1 }", "$nope }"));
    scratch
}

#[test]
fn the_recorded_command_lines_give_the_recorded_answers() {
    let scratch = files();
    let record = include_str!("oracle/relayd-command-line.txt");
    let mut compared = 0;
    for part in record.split("$ ").skip(1) {
        let mut lines = part.lines();
        let command = lines.next().unwrap();
        let Some(words) = command.strip_prefix("relayd ") else {
            // As nobody: ours needs no root for -n (COMPAT.md); tested below.
            continue;
        };
        if words.contains('(') || words.contains("then") {
            // Daemonizing, signals: tested below.
            continue;
        }
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut code = 0;
        let mut wanted = Vec::new();
        for line in lines {
            if let Some(number) = line.strip_prefix("exit ") {
                code = number.parse().unwrap();
            } else if let Some(text) = line.strip_prefix("err: ") {
                wanted.push(text);
            }
        }
        if words == ["-n"] && Path::new("/etc/relayd.conf").exists() {
            continue;
        }
        let answer = relayd(scratch.path("").as_path(), &words);
        let said: Vec<&str> = answer.stderr.lines().collect();
        assert_eq!(answer.code, code, "relayd {words:?}: {said:#?}");
        assert_eq!(said.first(), wanted.first(), "relayd {words:?}: {said:#?}");
        if wanted.last().is_some_and(|line| line.starts_with("usage")) {
            let usage = said.last().unwrap();
            assert!(
                usage.starts_with("usage: relayd [-dnv] [-D macro=value] [-f file]"),
                "{usage}"
            );
        }
        compared += 1;
    }
    assert!(compared >= 18, "only {compared}");
}

#[test]
fn checking_a_file_needs_no_root() {
    if !support::root() {
        // Then every other test proves it.
        return;
    }
    use std::os::unix::process::CommandExt;
    let scratch = files();
    // A copy that an unprivileged user may reach, wherever the build directory is.
    let program = scratch.path("relayd");
    std::fs::copy(env!("CARGO_BIN_EXE_relayd"), &program).unwrap();
    let answer = run(Command::new(&program)
        .args(["-n", "-f"])
        .arg(scratch.path("minimal.conf"))
        .uid(65_534)
        .gid(65_534));
    assert_eq!(answer.stderr, "configuration OK\n");
    assert_eq!(answer.code, 0);
}

#[test]
fn every_error_of_a_file_is_reported_with_its_place() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "bad.conf",
        "intervall 1
table <t> { 127.0.0.1 }
relay r {
	listen on 127.0.0.1 port 18001
	forward to <nope> port 80 check tcp
}
relay s {
	listen on 127.0.0.1 port 18002
	forward to <t> port 80 check tpc
}
",
    );
    let answer = relayd(scratch.path("").as_path(), &["-n", "-f", "bad.conf"]);
    assert_eq!(answer.code, 1);
    for line in ["bad.conf:1: ", "bad.conf:5: ", "bad.conf:9: "] {
        assert!(
            answer.stderr.lines().any(|said| said.starts_with(line)),
            "nothing for {line}:\n{}",
            answer.stderr
        );
    }
    assert!(answer.stderr.contains("interval"), "{}", answer.stderr);
    assert!(file.exists());
}

fn config(target: u16, at: u16) -> String {
    format!(
        "prefork 3
table <t> {{ 127.0.0.1 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {target} check tcp
}}
"
    )
}

#[test]
fn it_starts_and_stops_with_the_recorded_lines() {
    let server = Server::echo("one");
    for (single, signal) in [
        (false, nix::sys::signal::Signal::SIGTERM),
        (false, nix::sys::signal::Signal::SIGINT),
        (true, nix::sys::signal::Signal::SIGTERM),
    ] {
        let settings = Settings {
            single,
            verbose: 0,
            ..Settings::default()
        };
        let mut daemon = Daemon::with(settings, &config(server.port(), port()));
        let lines = daemon.lines();
        assert!(lines.iter().any(|line| line == "startup"), "{lines:#?}");
        daemon.wait_line(&format!("adding 1 hosts from table t:{}", server.port()));
        daemon.signal(signal);
        let status = daemon.wait_end();
        assert_eq!(status.code(), Some(0), "{:#?}", daemon.lines());
        daemon.wait_line("parent terminating, pid ");
        let lines = daemon.lines();
        for role in ["pfe", "hce", "relay"] {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with(&format!("{role} exiting, pid "))),
                "{role}: {lines:#?}"
            );
        }
        assert!(
            !lines.iter().any(|line| line.contains("lost child")),
            "{lines:#?}"
        );
    }
}

#[test]
fn processes_carry_the_titles_of_their_roles() {
    let server = Server::echo("one");
    let daemon = Daemon::start(&config(server.port(), port()));
    for (title, number) in [
        ("host check engine", 1),
        ("pf update engine", 1),
        ("socket relay engine", 3),
    ] {
        assert_eq!(daemon.role(title).len(), number, "{title}");
    }
}

#[test]
fn unprivileged_processes_have_no_rights() {
    if !support::root() || !cfg!(target_os = "linux") {
        return support::skip("dropping privileges needs root");
    }
    let server = Server::echo("one");
    let daemon = Daemon::start(&config(server.port(), port()));
    for title in [
        "host check engine",
        "socket relay engine",
        "pf update engine",
    ] {
        for process in daemon.role(title) {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert!(
                !field("Uid:").split(' ').any(|id| id == "0"),
                "{title}: {status}"
            );
            let effective = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
            // CAP_NET_ADMIN is number 12; only the packet filter process keeps it.
            let permitted = if title == "pf update engine" {
                1 << 12
            } else {
                0
            };
            assert_eq!(effective & !permitted, 0, "{title}: {effective:x}");
        }
    }
}

#[test]
fn without_d_it_goes_to_the_background() {
    let server = Server::echo("one");
    let scratch = Scratch::new();
    let at = port();
    scratch.write("relayd.conf", &config(server.port(), at));
    std::fs::create_dir(scratch.path("empty")).unwrap();
    let socket = scratch.path("relayd.sock");
    let answer = run(Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(["-f", "relayd.conf"])
        .current_dir(scratch.path(""))
        .env("RELAYD_SOCKET", &socket)
        .env("RELAYD_BACKEND", "userland")
        .env("RELAYD_CHROOT", scratch.path("empty"))
        .env("RELAYD_USER", "nobody")
        .env("RELAYD_STATE_DIRECTORY", scratch.path("state")));
    assert_eq!(answer.code, 0, "{answer:?}");
    wait::until_true("it answers", || {
        support::relayctl(&socket, &["show", "summary"]).code == 0
    });
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert_eq!(support::relayctl(&socket, &["stop"]).code, 0);
    wait::until_true("it ended", || {
        support::relayctl(&socket, &["show", "summary"]).code == 1
    });
}

#[test]
fn the_manual_names_every_flag() {
    let scratch = Scratch::new();
    let help = relayd(scratch.path("").as_path(), &["--help"]).stdout;
    let manual = include_str!("../man/relayd.8");
    let mut flags = 0;
    for word in help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        let Some(name) = word.strip_prefix("--") else {
            continue;
        };
        flags += 1;
        assert!(
            manual.contains(&format!("-{name}")),
            "relayd(8) says nothing about --{name}"
        );
    }
    assert!(flags > 15, "{help}");
}
