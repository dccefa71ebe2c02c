//! The recorded session with the original, repeated: same commands, same output.

use crate::engine::{BOUND, Engine, HCE, RELAYCTL};
use actors::link::{Admin, Message, SessionInfo};
use actors::options::Backend;
use conf::model::{HostId, RelayId, TableId};
use protocols::host::HostState::{Down, Up};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CONFIGURATION: &str = include_str!("../oracle/relayctl-transcript.conf");
const TRANSCRIPT: &str = include_str!("../oracle/relayctl-transcript.txt");

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Replaces what varies, as the recording does.
fn normalise(line: &str) -> String {
    let fields: Vec<String> = line
        .split('\t')
        .map(|field| {
            if field.trim_end().ends_with('%') {
                "PCT ".to_owned()
            } else {
                words(field)
            }
        })
        .collect();
    fields.join("\t")
}

fn words(field: &str) -> String {
    let mut out = Vec::new();
    let mut before = "";
    for word in field.split(' ') {
        let bare = word.trim_end_matches(',');
        let comma = if word.ends_with(',') { "," } else { "" };
        let new = match before {
            "total:" => "U/C".to_owned(),
            "checks," => "N".to_owned(),
            "age" | "idle" => "HH:MM:SS".to_owned(),
            "pid" => "N".to_owned(),
            "timestamp:" => "T".to_owned(),
            "session" => "P:N".to_owned(),
            _ if before.starts_with("P:N") || out.last().is_some_and(|w| w == "P:N") => {
                let (address, port) = bare.rsplit_once(':').unwrap();
                assert!(digits(port));
                format!("{address}:PORT")
            }
            _ => bare.to_owned(),
        };
        out.push(format!("{new}{comma}"));
        before = word;
        if word.starts_with("timestamp:") {
            out.push("T".to_owned());
            break;
        }
    }
    out.join(" ")
}

/// `relayctl monitor`, and the distinct lines it printed.
struct Monitor {
    child: Child,
    lines: Arc<Mutex<BTreeSet<String>>>,
}

impl Monitor {
    fn start(engine: &Engine) -> Monitor {
        let mut child = Command::new(RELAYCTL)
            .arg("-s")
            .arg(&engine.socket)
            .arg("monitor")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(BTreeSet::new()));
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                sink.lock().unwrap().insert(normalise(&line));
            }
        });
        Monitor { child, lines }
    }

    /// Waits until every wanted line was printed; no other may have been.
    fn expect(&self, wanted: &BTreeSet<String>) {
        let end = Instant::now() + BOUND;
        while !wanted.is_subset(&self.lines.lock().unwrap()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(*self.lines.lock().unwrap(), *wanted);
    }

    fn has(&self, text: &str) -> bool {
        self.lines.lock().unwrap().contains(text)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What hosts do after a command, as the check engine would tell it.
fn react(engine: &Engine, command: &str) {
    match command {
        "host enable 127.0.0.1" => engine.statuses(&[(1, Up), (4, Up)]),
        "table enable 1" => engine.statuses(&[(1, Up), (2, Down)]),
        _ => {}
    }
}

/// A monitor that gets events already.
fn watching(engine: &Engine) -> Monitor {
    let monitor = Monitor::start(engine);
    let end = Instant::now() + BOUND;
    while !monitor.has("\tid: 2") {
        assert!(Instant::now() < end, "the monitor prints nothing");
        engine.statuses(&[(1, Up), (2, Down)]);
        std::thread::sleep(Duration::from_millis(50));
    }
    monitor
}

#[test]
fn the_recorded_session_is_repeated() {
    let engine = Engine::start(CONFIGURATION, Backend::Recording);
    engine.statuses(&[(1, Up), (2, Down), (4, Up)]);
    engine.until(&["show", "summary"], |s| {
        s.matches("active (1 hosts)").count() == 2
    });
    let session = SessionInfo {
        id: 1,
        relay: RelayId(1),
        client: "127.0.0.1:40000".parse().unwrap(),
        server: Some("127.0.0.1:18080".parse().unwrap()),
        age: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        tag: 1,
        done: false,
        pid: 4711,
        process: 0xab,
        requests: 0,
    };
    engine.script.lock().unwrap().sessions = vec![vec![], vec![session], vec![]];

    let (commands, events) = TRANSCRIPT.split_once("--- monitor").unwrap();
    let mut monitor = None;
    let mut compared = 0;
    for case in commands.split("$ relayctl ").skip(1) {
        let (command, rest) = case.split_once('\n').unwrap();
        if command == "host disable 127.0.0.1" {
            monitor = Some(watching(&engine));
        }
        let output = engine.output(&command.split(' ').collect::<Vec<_>>());
        let text = String::from_utf8(output.stdout).unwrap();
        let mut got: String = text.lines().map(|l| normalise(l) + "\n").collect();
        got.push_str(&format!("exit {}\n", output.status.code().unwrap()));
        let wanted: String = rest
            .lines()
            .filter(|l| !l.starts_with("## "))
            .map(|l| l.to_owned() + "\n")
            .collect();
        assert_eq!(got, wanted, "relayctl {command}");
        compared += 1;
        react(&engine, command);
    }
    assert_eq!(compared, 24);
    engine.send(HCE, Message::RoundEnd);
    let wanted = events.lines().skip(1).map(str::to_owned).collect();
    monitor.unwrap().expect(&wanted);
    check_messages(&engine);
}

/// The check engine and the relays were told of every switch.
fn check_messages(engine: &Engine) {
    let wanted = [
        Admin::Host {
            id: HostId(1),
            disabled: true,
        },
        Admin::Host {
            id: HostId(4),
            disabled: true,
        },
        Admin::Host {
            id: HostId(1),
            disabled: false,
        },
        Admin::Host {
            id: HostId(4),
            disabled: false,
        },
        Admin::Table {
            id: TableId(1),
            disabled: true,
        },
        Admin::Table {
            id: TableId(1),
            disabled: false,
        },
    ];
    for role in [actors::link::Role::Hce, actors::link::Role::Relay] {
        let heard = engine.heard.lock().unwrap();
        let admin: Vec<Admin> = heard
            .iter()
            .filter(|(to, _)| to.role() == role)
            .filter_map(|(_, m)| match m {
                Message::Admin { change } => Some(*change),
                _ => None,
            })
            .collect();
        assert_eq!(admin, wanted);
    }
    engine.wait("SetVerbose 2", |m| match m {
        Message::SetVerbose { level: 2 } => Some(()),
        _ => None,
    });
    engine.wait("Poll", |m| matches!(m, Message::Poll).then_some(()));
}
