//! Redirections: which hosts serve them, at once when a check says so, and what switches do.

use crate::engine::{Engine, config};
use actors::link::{Message, RunState};
use actors::options::Backend;
use backends::filter::{Forwarded, ServerState, Service, Traffic};
use conf::model::{HostId, RouterId, TableId};
use protocols::host::HostState::{Down, Unknown, Up};

const CONFIGURATION: &str = "interval 600\n\
     log state changes\n\
     table <web> { 127.0.0.1 127.0.0.2 }\n\
     table <spare> { 127.0.0.3 }\n\
     redirect www {\n\
     \tlisten on 127.0.0.1 port 18001\n\
     \tforward to <web> port 80 check tcp\n\
     \tforward to <spare> port 80 check tcp\n\
     }\n\
     redirect other {\n\
     \tlisten on 127.0.0.1 port 18002\n\
     \tforward to <spare> port 81 check tcp\n\
     }\n";

/// The last published state of redirection `name`, once it is as wanted.
fn published(engine: &Engine, name: &str, wanted: impl Fn(&Service) -> bool) -> Service {
    engine.wait(name, |message| match message {
        Message::Forwarding { services } => services
            .iter()
            .find(|s| s.name == name && wanted(s))
            .cloned(),
        _ => None,
    })
}

fn usable(service: &Service) -> Vec<u32> {
    service.usable().map(|s| s.id.0).collect()
}

fn row(engine: &Engine, name: &str) -> String {
    let (text, _) = engine.relayctl(&["show", "redirects"]);
    let line = text.lines().find(|l| l.contains(&format!("\t{name} ")));
    line.unwrap().rsplit('\t').next().unwrap().to_owned()
}

#[test]
fn a_redirect_goes_from_down_to_main_to_backup_and_back() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    let down = published(&engine, "www", |s| !s.active);
    assert_eq!(usable(&down), Vec::<u32>::new());
    assert_eq!(row(&engine, "www"), "down");

    engine.statuses(&[(1, Up)]);
    let main = published(&engine, "www", |s| s.active);
    assert_eq!((main.table, usable(&main)), (TableId(1), vec![1]));
    assert_eq!(row(&engine, "www"), "active");

    engine.statuses(&[(3, Up), (2, Up)]);
    published(&engine, "www", |s| usable(s) == [1, 2]);
    engine.forget();
    engine.statuses(&[(1, Down), (2, Down)]);
    let backup = published(&engine, "www", |s| s.table == TableId(2));
    assert_eq!(backup.table_name, "spare:80");
    assert_eq!(usable(&backup), [3]);
    assert_eq!(row(&engine, "www"), "active (using backup table)");

    engine.forget();
    engine.statuses(&[(2, Up)]);
    let main = published(&engine, "www", |s| s.table == TableId(1));
    assert_eq!(usable(&main), [2]);
    engine.forget();
    engine.statuses(&[(2, Down), (3, Down)]);
    published(&engine, "www", |s| !s.active);
}

#[test]
fn one_batch_of_results_is_one_change() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    published(&engine, "www", |_| true);
    engine.forget();
    engine.statuses(&[(1, Up), (2, Up), (3, Up), (4, Up)]);
    published(&engine, "other", |s| s.active);
    let heard = engine.heard.lock().unwrap();
    let changes: Vec<_> = heard
        .iter()
        .filter(|(_, m)| matches!(m, Message::Forwarding { .. }))
        .collect();
    assert_eq!(changes.len(), 1);
}

#[test]
fn hosts_are_disabled_drained_and_enabled() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    engine.statuses(&[(1, Up), (2, Up), (3, Up)]);
    published(&engine, "www", |s| usable(s) == [1, 2]);
    engine.forget();
    let ok = ("command succeeded\n".to_owned(), 0);
    assert_eq!(engine.relayctl(&["host", "drain", "1"]), ok);
    let service = published(&engine, "www", |s| usable(s) == [2]);
    assert_eq!(service.servers[0].state, ServerState::Drain);
    let (json, _) = engine.relayctl(&["-j", "show", "hosts"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hosts"][0]["draining"], true);
    assert_eq!(json["hosts"][0]["status"], "up");

    engine.forget();
    assert_eq!(engine.relayctl(&["host", "disable", "127.0.0.2"]), ok);
    let service = published(&engine, "www", |s| s.table == TableId(2));
    assert_eq!(service.servers[1].state, ServerState::Down);
    // A result that was on its way does not bring it back.
    engine.statuses(&[(2, Up)]);
    engine.forget();
    assert_eq!(engine.relayctl(&["host", "undrain", "1"]), ok);
    let service = published(&engine, "www", |s| s.table == TableId(1));
    assert_eq!(usable(&service), [1]);
    engine.forget();
    assert_eq!(engine.relayctl(&["host", "enable", "127.0.0.2"]), ok);
    engine.statuses(&[(2, Up)]);
    published(&engine, "www", |s| usable(s) == [1, 2]);
}

#[test]
fn what_copies_a_host_is_switched_with_it() {
    let engine = Engine::start(
        "interval 600\n\
         table <web> { 127.0.0.1 }\n\
         table <copy> { 127.0.0.2 parent 1 }\n\
         redirect one {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <web> port 80 check tcp\n}\n\
         redirect two {\n\tlisten on 127.0.0.1 port 18002\n\tforward to <copy> port 80 check tcp\n}\n",
        Backend::Userland,
    );
    engine.statuses(&[(1, Up), (2, Up)]);
    published(&engine, "two", |s| usable(s) == [2]);
    engine.forget();
    engine.relayctl(&["host", "drain", "1"]);
    let drained = published(&engine, "two", |s| usable(s).is_empty());
    assert_eq!(drained.servers[0].state, ServerState::Drain);
    engine.forget();
    engine.relayctl(&["host", "undrain", "1"]);
    published(&engine, "two", |s| usable(s) == [2]);
    engine.forget();
    engine.relayctl(&["host", "disable", "1"]);
    let disabled = published(&engine, "two", |s| !s.active);
    assert_eq!(disabled.servers[0].state, ServerState::Down);
}

#[test]
fn a_disabled_redirect_is_withdrawn_and_takes_only_its_own_tables_along() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    engine.statuses(&[(1, Up), (2, Up), (3, Up), (4, Up)]);
    published(&engine, "other", |s| s.active);
    engine.forget();
    let ok = ("command succeeded\n".to_owned(), 0);
    assert_eq!(engine.relayctl(&["redirect", "disable", "www"]), ok);
    published(&engine, "www", |s| !s.active);
    let (text, _) = engine.relayctl(&["show", "summary"]);
    assert!(text.contains("1   \tredirect\twww                     \t       \tdisabled\n2   "));
    assert_eq!(row(&engine, "other"), "active");

    engine.forget();
    assert_eq!(engine.relayctl(&["redirect", "enable", "1"]), ok);
    engine.until(&["show", "hosts"], |s| s.contains("\tunknown\n"));
    engine.statuses(&[(1, Up)]);
    published(&engine, "www", |s| s.active);
}

#[test]
fn a_disabled_table_sends_its_redirect_to_the_backup() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    engine.statuses(&[(1, Up), (2, Up), (3, Up)]);
    published(&engine, "www", |s| s.active);
    engine.relayctl(&["table", "disable", "web:80"]);
    published(&engine, "www", |s| s.table == TableId(2) && s.active);
    let (text, _) = engine.relayctl(&["show", "hosts"]);
    assert!(text.contains("\tweb:80                  \t       \tdisabled\n2   \ttable"));
}

#[test]
fn a_reload_keeps_states_switches_and_counts() {
    let mut engine = Engine::start(CONFIGURATION, Backend::Userland);
    engine.statuses(&[(1, Up), (2, Up), (3, Up), (4, Up)]);
    engine.relayctl(&["host", "disable", "1"]);
    published(&engine, "www", |s| usable(s) == [2]);
    engine.forget();
    let without = CONFIGURATION.split("redirect other").next().unwrap();
    engine.load(config(without), RunState::default());
    let only = published(&engine, "www", |s| usable(s) == [2]);
    assert!(only.active);
    engine.until(&["show", "summary"], |s| {
        s.contains("\tdisabled\n") && !s.contains("other")
    });
    // Nothing was interrupted in between.
    let heard = engine.heard.lock().unwrap();
    for (_, message) in heard.iter() {
        if let Message::Forwarding { services } = message {
            assert!(services.iter().all(|s| s.active), "{services:?}");
        }
    }
}

#[test]
fn a_restarted_engine_goes_on_where_the_last_one_was() {
    let state = RunState {
        hosts: vec![
            crate::engine::status(1, Up),
            crate::engine::status(2, Up),
            crate::engine::status(3, Up),
        ],
        admin: vec![actors::link::Admin::Host {
            id: HostId(1),
            disabled: true,
        }],
        ..RunState::default()
    };
    let engine = Engine::with_state(CONFIGURATION, Backend::Userland, state);
    let first = published(&engine, "www", |_| true);
    assert!(first.active, "the first word is already the right one");
    assert_eq!(usable(&first), [2]);
}

#[test]
fn empty_tables_demote_and_gateways_are_told() {
    let engine = Engine::start(
        "table <gw> { 127.0.0.1 127.0.0.2 }\n\
         router up {\n\troute 192.0.2.0/24\n\tforward to <gw> check icmp\n}\n",
        Backend::Recording,
    );
    let gateways = |wanted: &[u32]| {
        engine.wait("Route", |m| match m {
            Message::Route {
                router: RouterId(1),
                gateways,
                ..
            } => (gateways.iter().map(|g| g.0).collect::<Vec<_>>() == wanted).then_some(()),
            _ => None,
        });
    };
    gateways(&[]);
    engine.statuses(&[(1, Up), (2, Unknown)]);
    gateways(&[1]);
    engine.statuses(&[(2, Up)]);
    gateways(&[1, 2]);
    let (text, _) = engine.relayctl(&["show", "routers"]);
    assert!(
        text.ends_with("\tactive\n\t        \troute: 192.0.2.0/24\n"),
        "{text}"
    );
}

#[test]
fn forwarded_sessions_are_counted() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    published(&engine, "www", |_| true);
    let forwarded = Forwarded {
        id: conf::model::RedirectId(1),
        host: HostId(1),
        sessions: 5,
        traffic: Traffic::default(),
    };
    engine.send(
        crate::engine::relay(0),
        Message::ForwardingStatistics {
            forwarded: vec![forwarded],
        },
    );
    let text = engine.until(&["show", "redirects"], |s| s.contains("total: 5 sessions"));
    assert!(
        text.contains(
            "\tdown\n\t        \ttotal: 5 sessions\n\t        \tlast: 0/60s 5/h 5/d sessions\n\
             \t        \taverage: 0/60s 0/h 0/d sessions\n"
        ),
        "{text}"
    );
}

#[test]
fn a_configuration_the_packet_filter_cannot_do_is_refused_with_its_reason() {
    let engine = Engine::start(CONFIGURATION, Backend::Userland);
    let config = config(
        "table <web> { 127.0.0.1 }\nredirect www {\n\tlisten on 127.0.0.1 port 18001\n\
         \tpftag RELAYD\n\tforward to <web> port 80 check tcp\n}\n",
    );
    engine.forget();
    let parent = actors::link::Peer {
        role: actors::link::Role::Parent,
        instance: 0,
    };
    engine.send(
        parent,
        Message::Stage {
            generation: 2,
            config,
            state: std::sync::Arc::new(RunState::default()),
        },
    );
    let error = engine.wait("Staged", |m| match m {
        Message::Staged {
            generation: 2,
            error,
        } => error.clone(),
        _ => None,
    });
    assert!(
        error.contains("pftag") && error.contains("userland"),
        "{error}"
    );
    // The running one goes on.
    engine.statuses(&[(1, Up)]);
    published(&engine, "www", |s| s.active);
}
