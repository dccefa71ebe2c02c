//! Where access logs of the real daemon go: rotated files, syslog, journald, and targets that take nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use support::access::{GLOBALS, http_relay, json, lines, wait_lines};
use support::client::{Echo, Http};
use support::daemon::Settings;
use support::{BOUND, Daemon, Scratch, Server, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn a_rotated_file_is_opened_again_on_the_signal_and_on_reload() {
    for single in [false, true] {
        rotate(single);
    }
}

fn rotate(single: bool) {
    let (server, scratch, at) = (Server::http("one"), Scratch::new(), port());
    let file = scratch.path("access.log");
    let log = format!("log access to file \"{}\"", file.display());
    let settings = Settings {
        single,
        ..Settings::default()
    };
    let config = format!(
        "{GLOBALS}prefork 1\n{}",
        http_relay(at, server.port(), &log)
    );
    let daemon = Daemon::with(settings, &config);
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut client = Http::connect(local(at)).unwrap();
    client.ask("GET", "/first", &[]).unwrap();
    wait_lines(&file, 1);
    std::fs::rename(&file, scratch.path("access.log.1")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    wait::until_true("the file is there again", || file.exists());
    client.ask("GET", "/second", &[]).unwrap();
    wait::until_true("a line in the new file", || {
        client.ask("GET", "/second", &[]).unwrap();
        lines(&file).iter().any(|l| l.contains("/second"))
    });
    assert!(!lines(&file).iter().any(|l| l.contains("/first")));
    std::fs::rename(&file, scratch.path("access.log.2")).unwrap();
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    wait::until_true("a line after the reload", || {
        client.ask("GET", "/third", &[]).unwrap();
        lines(&file).iter().any(|l| l.contains("/third"))
    });
    let old = lines(&scratch.path("access.log.1"));
    assert!(old[0].contains("/first"), "{old:#?}");
}

/// The next datagram on a socket.
fn next(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

#[test]
fn syslog_and_journald_get_their_own_forms_and_may_be_restarted() {
    let (server, echo, scratch) = (Server::http("one"), Server::echo("echo"), Scratch::new());
    let (at, tcp) = (port(), port());
    let (syslog, journal) = (scratch.path("log"), scratch.path("journal"));
    let first = UnixDatagram::bind(&syslog).unwrap();
    let journald = UnixDatagram::bind(&journal).unwrap();
    let settings = Settings {
        arguments: &[
            "--syslog-socket",
            syslog.to_str().unwrap(),
            "--journal-socket",
            journal.to_str().unwrap(),
        ],
        ..Settings::default()
    };
    let config = format!(
        "{GLOBALS}prefork 1\n{}
relay plain {{
	listen on 127.0.0.1 port {tcp}
	log access to syslog
	forward to 127.0.0.1 port {}
}}
",
        http_relay(at, server.port(), "log access to journald"),
        echo.port()
    );
    let daemon = Daemon::with(settings, &config);
    daemon.wait_status("host", "127.0.0.1", "up");
    drop(Echo::connect(local(tcp)).unwrap());
    let line = next(&first);
    let pid = daemon.role("socket relay engine")[0].pid;
    assert!(
        line.starts_with(&format!("<30>relayd[{pid}]: 127.0.0.1 - - [")),
        "{line}"
    );
    assert!(
        line.contains(" relay=\"plain\" ") && !line.contains('\n'),
        "{line}"
    );
    support::client::get(local(at), "/x").unwrap();
    let entry = next(&journald);
    assert!(entry.starts_with("MESSAGE=127.0.0.1 - - ["), "{entry}");
    for field in [
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=relayd",
        "RELAYD_STATUS=200",
    ] {
        assert!(entry.lines().any(|l| l == field), "{field}: {entry}");
    }
    assert!(entry.contains("\nRELAYD_REQUEST="), "{entry}");
    // syslogd is started again: its socket is another one.
    drop(first);
    std::fs::remove_file(&syslog).unwrap();
    drop(Echo::connect(local(tcp)).unwrap());
    let second = UnixDatagram::bind(&syslog).unwrap();
    drop(Echo::connect(local(tcp)).unwrap());
    assert!(next(&second).contains(" relay=\"plain\" "));
    assert!(next(&second).contains(" relay=\"plain\" "));
}

/// A value of the metrics page.
fn metric(daemon: &Daemon, name: &str) -> u64 {
    let text = daemon.metrics();
    let values = text.lines().filter(|l| l.starts_with(&format!("{name}{{")));
    let last = values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    last.sum::<f64>() as u64
}

#[test]
fn a_blocked_or_full_target_loses_lines_and_delays_nobody() {
    let (server, echo, scratch) = (Server::http("one"), Server::echo("echo"), Scratch::new());
    let (at, full, metrics) = (port(), port(), port());
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let log = format!("log access json with query to file \"{}\"", pipe.display());
    let daemon = Daemon::with(
        Settings {
            metrics: Some(metrics),
            ..Settings::default()
        },
        &format!(
            "{GLOBALS}prefork 1\n{}
relay full {{
	listen on 127.0.0.1 port {full}
	log access to file \"/dev/full\"
	forward to 127.0.0.1 port {}
}}
",
            http_relay(at, server.port(), &log),
            echo.port()
        ),
    );
    daemon.wait_status("host", "127.0.0.1", "up");
    drop(Echo::connect(local(full)).unwrap());
    daemon.wait_line("access log /dev/full: lines are lost: No space left on device");
    // Nobody reads the pipe: it and the buffer behind it fill up, and each request is answered all the same.
    let mut client = Http::connect(local(at)).unwrap();
    let path = format!("/long?{}", "x".repeat(900));
    let agent = format!("User-Agent: {}", "y".repeat(900));
    for _ in 0..1200 {
        assert_eq!(client.ask("GET", &path, &[&agent]).unwrap().status, 200);
    }
    daemon.wait_line(&format!("access log {}: lines are lost: ", pipe.display()));
    wait::until_true("the metric", || {
        metric(&daemon, "relayd_access_log_lost_lines_total") > 100
    });
    // A reader comes: what waited is whole lines, and new ones follow.
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&pipe)
        .unwrap();
    let mut bytes = Vec::new();
    wait::until_true("a new line in the pipe", || {
        client.ask("GET", "/last", &[]).unwrap();
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        let ended = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&bytes[..ended]).into_owned();
        text.lines().any(|l| json(l)["http"]["target"] == "/last")
    });
}
