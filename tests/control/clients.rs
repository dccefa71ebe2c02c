//! Clients of all manners: hasty, broken, slow, too many, and those that leave.

use crate::engine::{BOUND, Engine};
use actors::link::Message;
use actors::options::Backend;
use protocols::control::{Decoder, Frame, Reply, Request, kind};
use protocols::host::HostState::Up;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const CONFIGURATION: &str = "table <web> { 127.0.0.1 127.0.0.2 }\n\
     relay www {\n\tlisten on 127.0.0.1 port 18001\n\tforward to <web> port 80 check tcp\n}\n";

fn engine() -> Engine {
    Engine::start(CONFIGURATION, Backend::Recording)
}

fn replies(stream: &mut UnixStream, count: usize) -> Vec<u32> {
    let mut decoder = Decoder::new();
    let mut kinds = Vec::new();
    let mut buffer = [0; 65536];
    while kinds.len() < count {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "closed after {kinds:?}");
        decoder.push(&buffer[..n]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            kinds.push(frame.kind);
        }
    }
    kinds
}

/// Whether the daemon closed the connection.
fn closed(stream: &mut UnixStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let engine = engine();
    let mut stream = engine.connect();
    let host = |name: &str, enable| Request::Switch {
        class: protocols::control::request::Class::Host,
        object: protocols::control::ObjectId::from_word(name),
        enable,
    };
    let mut bytes = Vec::new();
    for request in [
        Request::Poll,
        host("nosuch", false),
        Request::ShowSessions,
        host("2", false),
        Request::ShowSummary,
        host("99", true),
        Request::Poll,
    ] {
        bytes.extend(request.to_frame(1).to_bytes());
    }
    stream.write_all(&bytes).unwrap();
    // Sessions have to be asked for elsewhere, and still nothing overtakes them.
    let wanted = [
        kind::OK,
        kind::FAIL,
        kind::END,
        kind::OK,
        kind::RELAY,
        kind::RELAY_STATS,
        kind::TABLE,
        kind::HOST,
        kind::HOST,
        kind::END,
        kind::FAIL,
        kind::OK,
    ];
    assert_eq!(replies(&mut stream, wanted.len()), wanted);
}

#[test]
fn a_malformed_request_costs_its_sender_the_connection_and_nothing_else() {
    let engine = engine();
    let mut good = engine.connect();
    let header = |kind: u32, length: u32| -> Vec<u8> {
        let fields = [kind, length, 0, 0];
        fields.iter().flat_map(|f| f.to_ne_bytes()).collect()
    };
    let short = Frame::new(kind::HOST_DISABLE, 1, vec![0; 3]).to_bytes();
    let long = Frame::new(kind::HOST_DISABLE, 1, vec![0; 400]).to_bytes();
    let verbose = Frame::new(kind::VERBOSE, 1, vec![0; 8]).to_bytes();
    let json = Frame::new(0x1_0000, 1, b"{\"version\":1".to_vec()).to_bytes();
    let future =
        Frame::new(0x1_0000, 1, b"{\"version\":99,\"body\":\"hosts\"}".to_vec()).to_bytes();
    for bytes in [
        header(16, 3),
        header(16, 0xffff_ffff),
        header(16, 16385),
        header(16, 0x8000_0010),
        short,
        long,
        verbose,
        json,
        future,
        vec![0xaa; 5000],
    ] {
        let mut bad = engine.connect();
        bad.write_all(&bytes).unwrap();
        assert!(closed(&mut bad), "{bytes:?}");
    }
    good.write_all(&Request::Poll.to_frame(1).to_bytes())
        .unwrap();
    assert_eq!(replies(&mut good, 1), [kind::OK]);
}

#[test]
fn unknown_requests_are_ignored() {
    let engine = engine();
    let mut stream = engine.connect();
    for number in [0, 4, 24, 26, 99, 0x1_7fff] {
        stream
            .write_all(&Frame::new(number, 1, vec![1, 2, 3]).to_bytes())
            .unwrap();
    }
    stream
        .write_all(&Request::Poll.to_frame(1).to_bytes())
        .unwrap();
    assert_eq!(replies(&mut stream, 1), [kind::OK]);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let engine = engine();
    let mut stream = engine.connect();
    let mut other = engine.connect();
    for byte in Request::Poll.to_frame(1).to_bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    other
        .write_all(&Request::Poll.to_frame(1).to_bytes())
        .unwrap();
    assert_eq!(replies(&mut stream, 1), [kind::OK]);
    assert_eq!(replies(&mut other, 1), [kind::OK]);
}

#[test]
fn a_monitor_that_does_not_read_is_cut_off_and_others_go_on() {
    let engine = engine();
    let mut deaf = engine.connect();
    deaf.write_all(&Request::Monitor.to_frame(1).to_bytes())
        .unwrap();
    let end = Instant::now() + BOUND;
    let hosts: Vec<_> = (0..500)
        .map(|i| crate::engine::status(1 + i % 2, Up))
        .collect();
    // Its socket and its queue fill up after some thousand events; then it is closed.
    while Instant::now() < end {
        engine.send(
            crate::engine::HCE,
            Message::HostStatus {
                hosts: hosts.clone(),
            },
        );
        if deaf
            .write_all(&Frame::new(99, 1, Vec::new()).to_bytes())
            .is_err()
        {
            break;
        }
        let (_, status) = engine.relayctl(&["poll"]);
        assert_eq!(status, 0);
    }
    assert!(Instant::now() < end, "never closed");
}

#[test]
fn a_second_monitor_request_fails() {
    let engine = engine();
    let mut stream = engine.connect();
    for _ in 0..2 {
        stream
            .write_all(&Request::Monitor.to_frame(1).to_bytes())
            .unwrap();
    }
    assert_eq!(replies(&mut stream, 1), [kind::FAIL]);
}

#[test]
fn leaked_connections_do_not_lock_the_operator_out() {
    let engine = engine();
    let mut leaked: Vec<UnixStream> = (0..100).map(|_| engine.connect()).collect();
    let (text, status) = engine.relayctl(&["poll"]);
    assert_eq!((text.as_str(), status), ("command succeeded\n", 0));
    assert!(closed(&mut leaked[0]), "the oldest had to go");
    let newest = leaked.last_mut().unwrap();
    newest
        .write_all(&Request::Poll.to_frame(1).to_bytes())
        .unwrap();
    assert_eq!(replies(newest, 1), [kind::OK]);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_forgotten() {
    let engine = engine();
    for _ in 0..20 {
        let mut stream = engine.connect();
        stream
            .write_all(&Request::ShowSummary.to_frame(1).to_bytes())
            .unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(engine.relayctl(&["poll"]).1, 0);
}

#[test]
fn a_relay_process_that_does_not_answer_delays_sessions_and_nothing_else() {
    let engine = engine();
    let session = actors::link::SessionInfo {
        id: 1,
        relay: conf::model::RelayId(1),
        client: "127.0.0.1:4000".parse().unwrap(),
        server: None,
        age: Duration::ZERO,
        idle: Duration::ZERO,
        tag: 0,
        done: false,
        pid: 7,
        process: 0xab,
        requests: 0,
    };
    {
        let mut script = engine.script.lock().unwrap();
        script.silent = true;
        script.sessions = vec![vec![session]];
    }
    let mut waiting = engine.connect();
    waiting
        .write_all(&Request::ShowSessions.to_frame(1).to_bytes())
        .unwrap();
    engine.wait("SessionList", |m| {
        matches!(m, Message::SessionList { .. }).then_some(())
    });
    // A list that nobody asked for is not believed.
    engine.send(
        crate::engine::relay(2),
        Message::Sessions {
            request: 77,
            sessions: Vec::new(),
            last: true,
        },
    );
    assert_eq!(engine.relayctl(&["poll"]).1, 0);
    assert_eq!(replies(&mut waiting, 2), [kind::SESSION, kind::END]);
}

#[test]
fn everything_is_closed_at_the_end() {
    let engine = engine();
    let mut idle = engine.connect();
    let mut monitor = engine.connect();
    monitor
        .write_all(&Request::Monitor.to_frame(1).to_bytes())
        .unwrap();
    let mut stopping = engine.connect();
    stopping
        .write_all(&Request::Stop.to_frame(1).to_bytes())
        .unwrap();
    engine.wait("Stop", |m| matches!(m, Message::Stop).then_some(()));
    drop(engine);
    for stream in [&mut idle, &mut monitor, &mut stopping] {
        assert!(closed(stream));
    }
}

#[test]
fn replies_carry_the_daemons_process_id() {
    let engine = engine();
    let mut stream = engine.connect();
    stream
        .write_all(&Request::Poll.to_frame(1).to_bytes())
        .unwrap();
    let mut buffer = [0; 16];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(
        buffer.to_vec(),
        Reply::Ok.to_frame(std::process::id()).to_bytes()
    );
}
