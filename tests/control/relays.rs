//! Relays, sessions, reloads and the monitoring plugin, as relayctl sees them.

use crate::engine::{Engine, relay};
use actors::link::{Admin, Message, Role, SessionInfo, To};
use actors::options::Backend;
use conf::model::RelayId;
use protocols::host::HostState::{Down, Up};
use std::time::Duration;

const CONFIGURATION: &str = "prefork 2\n\
     table <web> { 127.0.0.1 127.0.0.2 }\n\
     relay www {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <web> port 80 check tcp\n}\n";

fn engine() -> Engine {
    Engine::start(CONFIGURATION, Backend::Recording)
}

fn session(id: u64, pid: u32) -> SessionInfo {
    SessionInfo {
        id,
        relay: RelayId(1),
        client: "[::1]:4000".parse().unwrap(),
        server: None,
        age: Duration::from_secs(3700),
        idle: Duration::from_secs(5),
        tag: 0,
        done: false,
        pid,
        process: 0xab,
        requests: 0,
    }
}

#[test]
fn statistics_of_all_processes_are_summed() {
    let engine = engine();
    for instance in 0..2 {
        let sessions = vec![(RelayId(1), 3)];
        engine.send(relay(instance), Message::RelayStatistics { sessions });
    }
    engine.until(&["show", "relays"], |s| {
        s.ends_with(
            "\tactive\n\t        \ttotal: 6 sessions\n\t        \tlast: 0/60s 6/h 6/d sessions\n\
             \t        \taverage: 0/60s 0/h 0/d sessions\n",
        )
    });
    let (json, _) = engine.relayctl(&["-j", "show", "relays"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["relays"][0]["statistics"]["total"], 6);
    assert_eq!(json["relays"][0]["listen"], "127.0.0.1:18001");
}

#[test]
fn sessions_are_listed_and_killed() {
    let engine = engine();
    let both = vec![session(7, 100), session(8, 101)];
    engine.script.lock().unwrap().sessions = vec![both.clone(), both.clone(), both.clone(), both];
    let (text, _) = engine.relayctl(&["show", "sessions"]);
    assert!(
        text.starts_with(
            "session 0:7 ::1:4000 -> :0\tRUNNING\n\tage 01:01:40, idle 00:00:05, relay 1, pid 100\n"
        ),
        "{text}"
    );
    let (json, _) = engine.relayctl(&["-j", "show", "sessions"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sessions"][1]["client"], "[::1]:4000");
    assert_eq!(json["sessions"][1]["server"], serde_json::Value::Null);
    assert_eq!(engine.relayctl(&["session", "kill", "100", "8"]).1, 1);
    assert_eq!(engine.relayctl(&["session", "kill", "101", "8"]).1, 0);
    let number = engine.wait("KillSession", |m| match m {
        Message::KillSession { session } => Some(*session),
        _ => None,
    });
    assert_eq!(number, 8);
}

#[test]
fn relays_are_disabled_and_enabled() {
    let engine = engine();
    let row = "1   \trelay   \twww                     \t       \t";
    assert_eq!(engine.relayctl(&["relay", "disable", "www"]).1, 0);
    assert!(
        engine
            .relayctl(&["show", "relays"])
            .0
            .ends_with(&format!("{row}disabled\n"))
    );
    assert_eq!(engine.relayctl(&["relay", "enable", "1"]).1, 0);
    assert!(
        engine
            .relayctl(&["show", "relays"])
            .0
            .ends_with(&format!("{row}active\n"))
    );
    assert_eq!(engine.relayctl(&["relay", "enable", "nosuch"]).1, 1);
    engine.wait("Admin", |m| match m {
        Message::Admin {
            change: Admin::Relay { disabled: true, .. },
        } => Some(()),
        _ => None,
    });
}

#[test]
fn relays_hear_of_a_switch_before_a_check_can_answer_it() {
    let engine = engine();
    for word in ["disable", "enable"] {
        assert_eq!(engine.relayctl(&["host", word, "1"]).1, 0);
    }
    engine.wait("Admin", |m| match m {
        Message::Admin {
            change: Admin::Host {
                disabled: false, ..
            },
        } => Some(()),
        _ => None,
    });
    let heard = engine.heard.lock().unwrap();
    let off = |m: &Message| {
        matches!(
            m,
            Message::Admin {
                change: Admin::Host { disabled: true, .. }
            }
        )
    };
    let told: Vec<To> = heard
        .iter()
        .filter(|(_, m)| off(m))
        .map(|(to, _)| *to)
        .collect();
    assert_eq!(told, [To::All(Role::Relay), To::All(Role::Hce)]);
}

#[test]
fn a_waiting_reload_tells_the_verdict() {
    let engine = engine();
    let (text, status) = engine.relayctl(&["reload", "-w"]);
    assert_eq!((text.as_str(), status), ("command succeeded\n", 0));
    engine.script.lock().unwrap().errors = vec!["relayd.conf:1: syntax error".to_owned()];
    let output = engine.output(&["load", "-w", "/tmp/x.conf"]);
    assert_eq!(output.stderr, b"relayd.conf:1: syntax error\n");
    assert_eq!(output.stdout, b"command failed\n");
    assert_eq!(output.status.code(), Some(1));
    engine.wait("Reload", |m| match m {
        Message::Reload { file: Some(f), .. } if f.to_str() == Some("/tmp/x.conf") => Some(()),
        _ => None,
    });
    assert_eq!(engine.relayctl(&["reload"]), (String::new(), 0));
}

#[test]
fn the_plugin_judges() {
    let engine = engine();
    engine.statuses(&[(1, Up), (2, Up)]);
    engine.until(&["show", "summary"], |s| s.contains("active (2 hosts)"));
    assert_eq!(
        engine.relayctl(&["check"]),
        (
            "RELAYD OK - 2 hosts up | hosts_up=2 hosts_down=0 hosts_unknown=0 hosts_disabled=0\n"
                .to_owned(),
            0
        )
    );
    engine.statuses(&[(2, Down)]);
    engine.until(&["show", "summary"], |s| s.contains("active (1 hosts)"));
    let (text, status) = engine.relayctl(&["check"]);
    assert!(
        text.starts_with("RELAYD WARNING - host 127.0.0.2 down |"),
        "{text}"
    );
    assert_eq!(status, 1);
    engine.statuses(&[(1, Down)]);
    engine.until(&["show", "summary"], |s| s.contains("empty"));
    let (text, status) = engine.relayctl(&["check"]);
    assert!(
        text.starts_with("RELAYD CRITICAL - relay www without hosts, "),
        "{text}"
    );
    assert_eq!(status, 2);
}
