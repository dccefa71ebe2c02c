//! relayctl against the daemon: the recorded session of the original, line by line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use support::client::Http;
use support::servers::Speech;
use support::{BOUND, Daemon, Server, port, wait};

/// A command of a transcript with its output and exit status.
#[derive(Debug)]
struct Step {
    words: Vec<String>,
    output: String,
    code: Option<i32>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("$ relayctl") {
            steps.push(Step {
                words: words.split_whitespace().map(ToOwned::to_owned).collect(),
                output: String::new(),
                code: None,
            });
        } else if let Some(step) = steps.last_mut()
            && step.code.is_none()
        {
            match line.strip_prefix("exit ") {
                Some(code) => step.code = Some(code.parse().unwrap()),
                None => {
                    step.output += line;
                    step.output.push('\n');
                }
            }
        }
    }
    steps
}

/// Replaces a run of characters that satisfy `is` after `before` by `by`.
fn blank(line: &str, before: &str, is: fn(char) -> bool, by: &str) -> String {
    match line.split_once(before) {
        Some((start, rest)) => format!("{start}{before}{by}{}", rest.trim_start_matches(is)),
        None => line.to_owned(),
    }
}

/// The varying parts as the record writes them.
fn normalise(line: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let clock = |c: char| c.is_ascii_digit() || c == ':';
    let mut line = line.to_owned();
    if let Some((start, rest)) = line.split_once('%') {
        let number = start.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        line = format!("{number}PCT {}", rest.trim_start_matches(' '));
    }
    if line.contains(" checks") {
        line = blank(&line, "total: ", |c| c.is_ascii_digit() || c == '/', "U/C");
        if line.contains(" retries") {
            line = blank(&line, "checks, ", digit, "N");
        }
    }
    if line.starts_with("session ") {
        line = blank(&line, "session ", clock, "P:N");
        if let Some((client, server)) = line.split_once(" -> ") {
            let client = client.trim_end_matches(digit);
            line = format!("{client}PORT -> {server}");
        }
    }
    line = blank(&line, "age ", clock, "HH:MM:SS");
    line = blank(&line, "idle ", clock, "HH:MM:SS");
    line = blank(&line, "pid ", digit, "N");
    if let Some((start, _)) = line.split_once("timestamp: ") {
        line = format!("{start}timestamp: T");
    }
    line
}

/// The recorded daemon with ports of our own; its answers speak of the recorded ports.
struct Recorded {
    daemon: Daemon,
    server: Server,
    www: u16,
}

impl Recorded {
    fn start() -> Recorded {
        let server = Server::at(
            "one",
            Speech::Http,
            (std::net::Ipv4Addr::LOCALHOST, port()).into(),
        );
        let www = port();
        let config = include_str!("oracle/relayctl-transcript.conf")
            .replace("18080", &server.port().to_string())
            .replace("18001", &www.to_string())
            .replace("18002", &port().to_string())
            .replace("18003", &port().to_string());
        Recorded {
            daemon: Daemon::start(&config),
            server,
            www,
        }
    }

    fn spoken(&self, text: &str) -> String {
        text.replace(&self.server.port().to_string(), "18080")
            .lines()
            .map(|line| normalise(line) + "\n")
            .collect()
    }

    fn ask(&self, step: &Step) -> (String, Option<i32>) {
        // A record speaks of the recorded port.
        let words: Vec<String> = step
            .words
            .iter()
            .map(|word| word.replace("18080", &self.server.port().to_string()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = self.daemon.relayctl(&words);
        (self.spoken(&answer.stdout), Some(answer.code))
    }

    /// Commands are given once; what is shown may take a check or two to become what was recorded.
    fn replay(&self, step: &Step) {
        let wanted = (step.output.clone(), step.code);
        let shows = step
            .words
            .first()
            .is_some_and(|word| word.starts_with("sh"));
        let mut last = self.ask(step);
        if shows {
            let _ = wait::within_or_none(BOUND, || {
                last = self.ask(step);
                (last == wanted).then_some(())
            });
        }
        assert_eq!(
            last.0, wanted.0,
            "relayctl {:?}: left ours, right the original's",
            step.words
        );
        assert_eq!(last.1, wanted.1, "relayctl {:?}", step.words);
    }
}

/// `relayctl monitor` in the background, collecting its lines.
fn monitor(daemon: &Daemon) -> (std::process::Child, Arc<Mutex<Vec<String>>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relayctl"))
        .arg("-s")
        .arg(daemon.socket())
        .arg("monitor")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (sink, stream) = (lines.clone(), child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            sink.lock().unwrap().push(line);
        }
    });
    (child, lines)
}

#[test]
fn the_recorded_session_gives_the_recorded_answers() {
    let text = include_str!("oracle/relayctl-transcript.txt");
    let (fresh, rest) = text.split_once("## session open\n").unwrap();
    let (session, rest) = rest.split_once("## monitor while disabling\n").unwrap();
    let (disabling, monitored) = rest.split_once("--- monitor").unwrap();
    let recorded = Recorded::start();

    for step in steps(fresh) {
        recorded.replay(&step);
    }

    let session = steps(session);
    let mut client = Http::connect((std::net::Ipv4Addr::LOCALHOST, recorded.www).into()).unwrap();
    assert_eq!(client.ask("GET", "/", &[]).unwrap().status, 200);
    recorded.replay(&session[0]);
    drop(client);
    recorded.replay(&session[1]);

    let (mut child, lines) = monitor(&recorded.daemon);
    wait::until_true("the monitor hears of a round", || {
        lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with("sync: "))
    });
    for step in steps(disabling) {
        if step.words[0] == "log" {
            let _ = child.kill();
            let _ = child.wait();
        }
        recorded.replay(&step);
    }
    let wanted: BTreeSet<String> = monitored.lines().skip(1).map(ToOwned::to_owned).collect();
    let heard: BTreeSet<String> = lines
        .lock()
        .unwrap()
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| normalise(&line.replace(&recorded.server.port().to_string(), "18080")))
        .collect();
    assert_eq!(heard, wanted, "left ours, right the original's");
}

#[test]
fn garbage_on_the_socket_costs_its_sender_only() {
    use std::io::{Read, Write};
    let recorded = Recorded::start();
    for garbage in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        &[0; 16],
    ] {
        let mut client = std::os::unix::net::UnixStream::connect(recorded.daemon.socket()).unwrap();
        client.set_read_timeout(Some(BOUND)).unwrap();
        client.write_all(garbage).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(recorded.daemon.relayctl(&["show", "summary"]).code, 0);
    }
}

#[test]
fn stop_ends_the_daemon_with_success() {
    let mut recorded = Recorded::start();
    let answer = recorded.daemon.relayctl(&["stop"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(recorded.daemon.wait_end().success());
}
