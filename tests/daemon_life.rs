//! The life of the daemon: start, stop, reload, and the death of each of its processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::daemon::Settings;
use support::{Daemon, Scratch, Server, port, process, wait};

fn config(port: u16) -> String {
    format!(
        "prefork 3\ntable <t> {{ 127.0.0.1 }}\nrelay r {{\n\tlisten on 127.0.0.1 port {port}\n\tforward to <t> port 9 check tcp\n}}\n"
    )
}

fn launch(config: &str, verbose: usize) -> Daemon {
    let settings = Settings {
        verbose,
        ..Settings::default()
    };
    let daemon = Daemon::launch(settings, config);
    daemon.wait_line("state unknown -> ");
    daemon
}

/// A line with its process ids and times taken out.
fn normal(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for n in 1..words.len() {
        if words[n - 1] == "pid" {
            words[n] = "N".to_owned();
        }
        if words[n].contains("ms,") {
            words[n] = words[n]
                .trim_start_matches(['(', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                .to_owned();
            words[n].insert_str(0, "(N");
        }
    }
    words.join(" ")
}

/// The lines of the original for a command of its transcript.
fn original(command: &str) -> Vec<String> {
    let transcript = include_str!("oracle/relayd-command-line.txt");
    transcript
        .split("$ relayd ")
        .find(|case| case.starts_with(command))
        .unwrap()
        .lines()
        .skip(2)
        .map(|line| line.replace("t:80", "t:9"))
        .collect()
}

#[test]
fn a_start_and_a_stop_print_what_the_original_prints() {
    let daemon = launch(&config(port()), 0);
    let (status, lines) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    let mut lines: Vec<String> = lines.iter().map(|line| normal(line)).collect();
    assert_eq!(lines.first().unwrap(), "startup");
    assert_eq!(lines.last().unwrap(), "parent terminating, pid N");
    lines.sort();
    assert_eq!(lines, original("-d -f minimal.conf then SIGTERM"));
}

#[test]
fn sigint_ends_it_too() {
    let mut daemon = launch(&config(port()), 0);
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait_end().code(), Some(0));
    assert!(!daemon.socket().exists());
}

#[test]
fn debug_lines_are_those_of_the_original() {
    let daemon = launch(&config(port()), 1);
    daemon.wait_line("pfe_dispatch_hce");
    daemon.wait_line("relay_launch: running relay r");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("configuration generation 2 in force");
    let file = daemon.file().display().to_string();
    daemon.configure("frobnicate 1\n");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("reload of");
    let (status, lines) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    for line in original("-dv then SIGHUP") {
        let line = line.replace("minimal.conf", &file);
        // What follows from a first error is left out (COMPAT.md).
        if line.starts_with("no actions") || line.starts_with("socket_rlimit") {
            continue;
        }
        assert!(
            lines.iter().any(|l| normal(l) == line),
            "{line:?} is missing in {lines:#?}"
        );
    }
    assert!(
        !lines.iter().any(|l| l.contains("lost child")),
        "{lines:#?}"
    );
}

#[test]
fn with_vv_it_says_what_each_relay_is() {
    let text = format!(
        "http protocol p {{\n\treturn error\n\tmatch request header log \"Host\"\n}}\n{}",
        config(port()).replace("\tforward", "\tprotocol p\n\tforward")
    );
    let daemon = launch(&text, 2);
    daemon.wait_line("protocol 1: name p");
    daemon.wait_line("\tflags: used, relay flags: return");
    daemon.wait_line("\ttype: http");
    daemon.wait_line("\tmatch request header log");
}

#[test]
fn without_d_it_leaves_the_terminal_and_serves() {
    let scratch = Scratch::new();
    let port = port();
    let file = scratch.write("relayd.conf", &config(port));
    std::fs::create_dir(scratch.path("empty")).unwrap();
    let socket = scratch.path("relayd.sock");
    let output = Command::new(env!("CARGO_BIN_EXE_relayd"))
        .arg("-f")
        .arg(&file)
        .args(["--user", "nobody", "--backend", "userland", "--chroot"])
        .arg(scratch.path("empty"))
        .arg("--socket")
        .arg(&socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    let meta = std::fs::metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    let parent = wait::until("the daemon is there", || {
        let title = file.display().to_string();
        process::children(1)
            .into_iter()
            .chain(subreaped())
            .find(|p| p.title.contains(&title))
    });
    wait::until_true("9 processes", || process::children(parent.pid).len() == 8);
    wait::until_true("it accepts", || connect(port).is_ok());
    process::signal(parent.pid, Signal::SIGTERM);
    wait::until_true("it ends", || !process::alive(parent.pid));
    assert!(!socket.exists());
}

/// Children of whatever adopts orphans here, if that is not process 1.
fn subreaped() -> Vec<process::Process> {
    let mut found = Vec::new();
    let mut pid = nix::unistd::getppid().as_raw();
    for _ in 0..32 {
        if pid <= 1 {
            break;
        }
        found.extend(process::children(pid));
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            break;
        };
        let rest = stat.rsplit_once(')').unwrap().1;
        pid = rest.split_whitespace().nth(1).unwrap().parse().unwrap();
    }
    found
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(5))
}

#[test]
fn processes_have_titles_and_only_the_privileges_they_need() {
    if !support::root() || !cfg!(target_os = "linux") {
        return support::skip("privileges can be given up only by root, and are read from /proc");
    }
    let daemon = launch(&config(port()), 0);
    let titles = [
        ("host check engine", 1, 0),
        ("pf update engine", 1, 1 << 12),
        ("socket relay engine", 3, 0),
        ("relayd: ca", 3, 0),
    ];
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for (title, count, capabilities) in titles {
        let processes = daemon.role(title);
        assert_eq!(processes.len(), count, "{title}");
        for process in processes {
            let path = format!("/proc/{}/status", process.pid);
            let status = std::fs::read_to_string(path).unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|l| l.starts_with(name)).unwrap();
                line.split_whitespace()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
                let value = u64::from_str_radix(&field(set)[0], 16).unwrap();
                assert_eq!(value, capabilities, "{title} {set}");
            }
            assert_eq!(field("Uid:"), vec![nobody.uid.to_string(); 4], "{title}");
            assert_eq!(field("Groups:"), [nobody.gid.to_string()], "{title}");
            assert_eq!(field("NoNewPrivs:"), ["1"], "{title}");
            let root = std::fs::read_link(format!("/proc/{}/root", process.pid)).unwrap();
            assert_eq!(root, daemon.scratch().path("empty"), "{title}");
            if title.contains("relay") {
                assert_eq!(field("Threads:"), ["1"], "{title}");
            }
        }
    }
}

#[test]
fn a_broken_reload_leaves_everything_running_and_says_so() {
    let port = port();
    let daemon = launch(&config(port), 0);
    let before = process::children(daemon.pid());
    daemon.configure(&format!("{}frobnicate 1\nprefork 99\n", config(port)));
    daemon.signal(Signal::SIGHUP);
    let file = daemon.file().display().to_string();
    daemon.wait_line(&format!(
        "reload of {file} refused with 2 errors, configuration generation 1 stays in force"
    ));
    daemon.wait_line(&format!("{file}:7: syntax error"));
    daemon.wait_line(&format!("{file}:8: "));
    assert_eq!(process::children(daemon.pid()), before);
    connect(port).unwrap();
    // A good file afterwards is taken.
    let second = support::port();
    let third = config(second)
        .replace("relay r", "relay s")
        .replace("<t>", "<u>");
    let both = format!("{}{}", config(port), third.replace("prefork 3\n", ""));
    daemon.configure(&both);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("in force: 2 added, 0 changed, 0 removed");
    connect(port).unwrap();
    wait::until_true("the new relay accepts", || connect(second).is_ok());
    assert_eq!(process::children(daemon.pid()), before);
    daemon.configure(&config(second));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("removed");
    wait::until_true("the old relay is gone", || {
        let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        probe.is_ok()
    });
}

#[test]
fn the_number_of_processes_follows_prefork() {
    let port = port();
    let daemon = launch(&config(port), 0);
    for (prefork, mark) in [(5, "generation 2"), (1, "generation 3")] {
        daemon.configure(&config(port).replace("prefork 3", &format!("prefork {prefork}")));
        daemon.signal(Signal::SIGHUP);
        daemon.wait_line(mark);
        wait::until_true("relay processes", || {
            daemon.role("socket relay engine").len() == prefork
        });
        wait::until_true("ca processes", || {
            daemon.role("relayd: ca").len() == prefork
        });
        connect(port).unwrap();
    }
}

#[test]
fn sessions_of_a_process_that_is_not_needed_any_more_go_on() {
    let server = Server::echo("e");
    let port = port();
    let text = config(port).replace("port 9", &format!("port {}", server.port()));
    let daemon = launch(&text, 0);
    wait::until_true("it relays", || session(port).is_some());
    // So many that each process has some.
    let streams: Vec<TcpStream> = (0..32).map(|_| session(port).unwrap()).collect();
    assert!(streams.iter().all(echoes));
    daemon.configure(&text.replace("prefork 3", "prefork 1"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("generation 2");
    assert!(streams.iter().all(echoes));
    assert_eq!(daemon.role("socket relay engine").len(), 3);
    assert_eq!(daemon.role("relayd: ca").len(), 3);
    assert!(session(port).is_some());
    drop(streams);
    for title in ["socket relay engine", "relayd: ca"] {
        wait::until_true("the others end", || daemon.role(title).len() == 1);
    }
    let (status, lines) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    assert!(
        !lines.iter().any(|l| l.contains("lost child")),
        "{lines:#?}"
    );
}

/// A connection through the relay to the echo server, which says its name first.
fn session(port: u16) -> Option<TcpStream> {
    let mut stream = connect(port).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut name = [0; 2];
    stream.read_exact(&mut name).ok()?;
    (&name == b"e\n" && echoes(&stream)).then_some(stream)
}

fn echoes(mut stream: &TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"ping"
}

#[test]
fn each_killed_process_is_replaced_and_nobody_is_refused() {
    let port = port();
    let daemon = launch(&config(port), 0);
    for title in [
        "host check engine",
        "pf update engine",
        "relayd: ca",
        "socket relay engine",
    ] {
        let before = daemon.role(title);
        let victim = &before[0];
        daemon.kill(victim);
        let deadline = Instant::now() + support::BOUND;
        loop {
            connect(port).unwrap_or_else(|e| panic!("{title} killed: connect: {e}"));
            let now = daemon.role(title);
            if now.len() == before.len() && now.iter().all(|p| p.pid != victim.pid) {
                break;
            }
            assert!(Instant::now() < deadline, "{title} does not come back");
        }
        daemon.wait_line(&format!("pid {}, signal: 9", victim.pid));
    }
    let flaps = daemon
        .lines()
        .iter()
        .filter(|l| l.contains("state "))
        .count();
    assert_eq!(flaps, 1, "{:#?}", daemon.lines());
    let (status, _) = daemon.stop();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn children_end_with_their_parent() {
    let mut daemon = launch(&config(port()), 0);
    let children = process::children(daemon.pid());
    assert_eq!(children.len(), 8);
    daemon.signal(Signal::SIGKILL);
    assert!(!daemon.wait_end().success());
    wait::until_true("every child has ended", || {
        children.iter().all(|child| !process::alive(child.pid))
    });
    // What it left behind does not hinder the next start.
    assert!(daemon.socket().exists());
}

#[test]
fn a_second_daemon_is_refused_while_the_first_answers() {
    let port = port();
    let daemon = launch(&config(port), 0);
    let second = |socket: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_relayd"))
            .args(["-d", "--user", "nobody", "--chroot", ""])
            .arg("-f")
            .arg(daemon.file())
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = second(&daemon.socket());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("another daemon answers there"), "{stderr}");
    if cfg!(target_os = "linux") {
        let output = second(&daemon.scratch().path("other.sock"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr.contains(&format!("relay r: listen on 127.0.0.1:{port}")),
            "{stderr}"
        );
    }
    assert!(daemon.socket().exists());
    connect(port).unwrap();
}

#[test]
fn one_process_does_it_all() {
    let port = port();
    let settings = Settings {
        single: true,
        ..Settings::default()
    };
    let daemon = Daemon::launch(settings, &config(port));
    daemon.wait_line("state unknown -> ");
    assert!(process::children(daemon.pid()).is_empty());
    wait::until_true("it accepts", || connect(port).is_ok());
    daemon.signal(Signal::SIGHUP);
    daemon.wait_line("configuration generation 2 in force");
    let (status, lines) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    assert!(lines.last().unwrap().starts_with("parent terminating"));
}

#[test]
fn an_unknown_user_is_said_before_anything_starts() {
    if !support::root() {
        return support::skip("only root changes its user");
    }
    let scratch = Scratch::new();
    let file = scratch.write("relayd.conf", &config(port()));
    let output = Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(["-d", "--user", "no-such-user", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("unknown user no-such-user"), "{stderr}");
}
