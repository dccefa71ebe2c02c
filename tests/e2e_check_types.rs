//! The checks beyond tcp, http code and icmp, in the language of relayd.conf; parents, intervals, time limits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::servers::Speech;
use support::{Daemon, Scratch, Server, port};

/// An echo server on every address of the loopback interface.
fn everywhere() -> Server {
    let address = (Ipv4Addr::UNSPECIFIED, port()).into();
    Server::at("echo", Speech::Echo, address)
}

/// A relay for each table; each table has one host and its own check.
fn config(checks: &[(&str, u16, String)]) -> String {
    let mut text =
        "interval 1\ntimeout 400\nprefork 1\nlog state changes\nlog host checks\n".to_owned();
    for (index, (host, port, check)) in checks.iter().enumerate() {
        text += &format!(
            "table <t{index}> {{ {host} }}
relay r{index} {{
	listen on 127.0.0.1 port {}
	forward to <t{index}> port {port} {check}
}}
",
            support::port()
        );
    }
    text
}

#[test]
fn digest_and_expect_compare_what_servers_say() {
    let (web, echo) = (Server::http("one"), everywhere());
    // Of "one\n".
    let sha1 = "c7059bb19433cc3cabaa6236c83d56668a843dd2";
    let check = |text: &str| text.to_owned();
    let daemon = Daemon::start(&config(&[
        (
            "127.0.0.1",
            web.port(),
            format!("check http \"/\" digest \"{sha1}\""),
        ),
        (
            "127.0.0.2",
            echo.port(),
            check("check send \"hello\" expect \"echo*he?lo\""),
        ),
        (
            "127.0.0.3",
            echo.port(),
            check("check send \"hello\" expect \"bye*\""),
        ),
        (
            "127.0.0.4",
            echo.port(),
            check("check binary send \"00ff7f\" expect \"6563686f0a00ff\""),
        ),
        (
            "127.0.0.5",
            echo.port(),
            check("check send nothing expect \"echo\\n\""),
        ),
    ]));
    for line in [
        "host 127.0.0.2, check send expect (",
        "host 127.0.0.4, check send expect (",
        "host 127.0.0.5, check send expect (",
    ] {
        let line = daemon.wait_line(line);
        assert!(
            line.ends_with("ms,send/expect ok), state unknown -> up, availability 100.00%"),
            "{line}"
        );
    }
    let line = daemon.wait_line("host 127.0.0.1, check http digest (");
    assert!(
        line.contains("ms,http digest ok), state unknown -> up"),
        "{line}"
    );
    // The echo server says something else, and waits.
    let line = daemon.wait_line("host 127.0.0.3, check send expect (");
    assert!(
        line.ends_with("ms,tcp read timeout), state unknown -> down, availability 0.00%"),
        "{line}"
    );
}

#[test]
fn script_is_asked_with_the_host_as_written() {
    let scratch = Scratch::new();
    let script = scratch.write(
        "check.sh",
        "#!/bin/sh\n[ \"$1\" = localhost ] && exit 1\n[ \"$1\" = 127.0.0.2 ] && exec sleep 60\nexit 0\n",
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let check = format!("check script \"{}\"", script.display());
    let missing = "check script \"/nonexistent/check\"".to_owned();
    let daemon = Daemon::start(&config(&[
        ("localhost", port(), check.clone()),
        ("127.0.0.1", port(), check.clone()),
        ("127.0.0.2", port(), check),
        ("127.0.0.3", port(), missing),
    ]));
    // Greater than 0 is up.
    let line = daemon.wait_line("host localhost, check script (");
    assert!(line.contains("script ok), state unknown -> up"), "{line}");
    for host in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let line = daemon.wait_line(&format!("host {host}, check script ("));
        assert!(
            line.contains("script failed), state unknown -> down"),
            "{line}"
        );
    }
}

#[test]
fn child_hosts_copy_and_table_intervals_are_exact() {
    let mut server = everywhere();
    let text = config(&[
        ("127.0.0.1", server.port(), "check tcp".to_owned()),
        // Port 1 would fail: the state is the parent's.
        ("127.0.0.2 parent 1", 1, "check tcp".to_owned()),
        (
            "127.0.0.3",
            server.port(),
            "check tcp interval 2".to_owned(),
        ),
    ]);
    let daemon = Daemon::start(&text);
    daemon.wait_status("host", "127.0.0.1", "up");
    daemon.wait_line("host 127.0.0.2, check tcp");
    let count = |host: &str| {
        let line = format!("host {host}, check tcp");
        let lines = daemon.lines_since(0);
        lines.iter().filter(|l| l.starts_with(&line)).count()
    };
    support::wait::until_true("the third check with interval 2", || {
        count("127.0.0.3") >= 3
    });
    let start = Instant::now();
    support::wait::until_true("the fifth check with interval 2", || {
        count("127.0.0.3") >= 5
    });
    let took = start.elapsed();
    let range = Duration::from_millis(3500)..Duration::from_millis(4700);
    assert!(range.contains(&took), "two intervals of 2 s took {took:?}");
    let mark = daemon.mark();
    server.stop();
    let line = daemon.wait_line_since(mark, "host 127.0.0.2, check tcp");
    assert!(line.contains("state up -> "), "{line}");
    daemon.wait_line_since(mark, "state up -> down");
}
