//! Hosts that take only so many connections, and the sessions that wait for them.

use super::*;
use crate::support::client::{Echo, Http};
use crate::support::daemon::Settings;
use crate::support::servers::Speech;
use crate::support::{BOUND, Daemon, Scratch, Server, port, wait};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn a_limit_holds_for_the_whole_daemon_and_survives_a_crash_and_a_reload() {
    let server = Server::echo("one");
    let (at, target) = (port(), server.port());
    let config = |host: &str, options: &str| {
        format!(
            "{GLOBALS}table <t> {{ {host} }}\n{}",
            relay("r", at, "t", target, options)
        )
    };
    let daemon = Daemon::start(&config("127.0.0.1 max connections 4", ""));
    all_up(&daemon, &HOSTS[..1]);
    let open = || Echo::connect(local(at)).ok();
    let mut held: Vec<Echo> = (0..30).filter_map(|_| open()).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(shown(&daemon, "hosts", "127.0.0.1", "connections"), 4);
    assert_eq!(shown(&daemon, "hosts", "127.0.0.1", "max_connections"), 4);
    drop(held.pop());
    held.push(wait::until("a place", open));
    assert!(open().is_none());
    // What a process held is free again when it dies.
    for process in daemon.role("socket relay engine") {
        daemon.kill(&process);
    }
    for client in &mut held {
        assert!(client.closed());
    }
    held.clear();
    wait::until_true("four places", || {
        held.extend(open());
        held.len() == 4
    });
    assert!((0..10).all(|_| open().is_none()));
    // Open connections count on under new settings.
    let limit = "127.0.0.1 max connections 6 weight 3";
    daemon.configure(&config(limit, "slow start 30"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    assert_eq!(shown(&daemon, "hosts", "127.0.0.1", "connections"), 4);
    all_up(&daemon, &HOSTS[..1]);
    wait::until_true("six places", || {
        held.extend(open());
        held.len() == 6
    });
    assert!((0..10).all(|_| open().is_none()));
    daemon.configure(&config("127.0.0.1 max connections 2", "slow start 30"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    held.truncate(2);
    wait::until_true("two are open", || {
        shown(&daemon, "hosts", "127.0.0.1", "connections") == 2
    });
    assert!((0..10).all(|_| open().is_none()));
}

/// A client that waits in a thread; its number is sent once it is served.
fn waiter(at: u16, number: usize, served: &mpsc::Sender<(usize, Option<Echo>)>) {
    let served = served.clone();
    std::thread::spawn(move || served.send((number, Echo::connect(local(at)).ok())));
}

/// Goes away so that the other side notices at once.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn who_came_first_is_served_first_whatever_the_process() {
    let server = Server::echo("one");
    let (at, target) = (port(), server.port());
    let metrics = port();
    let settings = Settings {
        metrics: Some(metrics),
        ..Settings::default()
    };
    let daemon = Daemon::with(
        settings,
        &format!(
            "{GLOBALS}table <t> {{ 127.0.0.1 max connections 2 }}\n{}",
            relay("r", at, "t", target, "queue 6 wait 60")
        ),
    );
    all_up(&daemon, &HOSTS[..1]);
    let table = format!("t:{target}");
    let waiting = |count: u64| {
        wait::until_true(&format!("{count} wait"), || {
            shown(&daemon, "tables", &table, "waiting") == count
        });
    };
    let mut held: Vec<Echo> = (0..2).map(|_| Echo::connect(local(at)).unwrap()).collect();
    let (sender, served) = mpsc::channel();
    let mut gone = None;
    for number in 0..5 {
        if number == 2 {
            gone = Some(TcpStream::connect(local(at)).unwrap());
            waiting(3);
        }
        waiter(at, number, &sender);
        waiting(number as u64 + 1 + u64::from(number >= 2));
    }
    assert_eq!(shown(&daemon, "tables", &table, "queue"), 6);
    // No room for a seventh.
    assert!(Echo::connect(local(at)).is_err());
    reset(gone.unwrap());
    waiting(5);
    for number in 0..5 {
        held.remove(0);
        let (next, client) = served.recv_timeout(BOUND).unwrap();
        assert_eq!(next, number);
        held.push(client.unwrap());
        assert_eq!(shown(&daemon, "hosts", "127.0.0.1", "connections"), 2);
    }
    waiting(0);
    wait::until_true("metrics", || {
        let page = daemon.metrics();
        let sum = |name: &str| {
            let values = page.lines().filter(|line| line.starts_with(name));
            values
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>()
        };
        sum("relayd_relay_queued_total") == 6.0
            && sum("relayd_relay_queue_sessions") == 0.0
            && sum("relayd_relay_host_connections") == 2.0
            && page.contains("relayd_relay_queue_failed_total{process=\"0\",reason=\"full\"}")
            && ["full", "left"].iter().all(|reason| {
                let label = format!("reason=\"{reason}\"}} 1");
                page.lines().any(|line| {
                    line.starts_with("relayd_relay_queue_failed") && line.ends_with(&label)
                })
            })
    });
}

#[test]
fn many_short_sessions_share_few_places() {
    let server = Server::echo("one");
    let (at, target) = (port(), server.port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 3 }}\n{}",
        relay("r", at, "t", target, "queue 100 wait 60")
    ));
    all_up(&daemon, &HOSTS[..1]);
    let clients: Vec<_> = (0..24)
        .map(|_| {
            std::thread::spawn(move || {
                (0..10).all(|_| {
                    Echo::connect(local(at)).is_ok_and(|mut echo| echo.exchange(b"hello").is_ok())
                })
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    wait::until_true("all is free", || {
        shown(&daemon, "hosts", "127.0.0.1", "connections") == 0
            && shown(&daemon, "tables", &format!("t:{target}"), "waiting") == 0
    });
}

#[test]
fn requests_wait_for_a_host_and_get_503_when_it_takes_too_long() {
    let server = Server::http("one");
    let (at, target) = (port(), server.port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 1 }}
http protocol web {{
	return error
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {target} check tcp queue 1 wait 5
}}
"
    ));
    all_up(&daemon, &HOSTS[..1]);
    // A request that does not end keeps the only place.
    let mut first = TcpStream::connect(local(at)).unwrap();
    first
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    wait::until_true("the place is taken", || {
        shown(&daemon, "hosts", "127.0.0.1", "connections") == 1
    });
    let start = Instant::now();
    let mut second = Http::connect(local(at)).unwrap();
    second.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let table = format!("t:{target}");
    wait::until_true("one waits", || {
        shown(&daemon, "tables", &table, "waiting") == 1
    });
    let mut third = Http::connect(local(at)).unwrap();
    assert_eq!(third.ask("GET", "/", &[]).unwrap().status, 503);
    assert_eq!(second.answer("GET").unwrap().status, 503);
    assert!(start.elapsed() >= Duration::from_secs(5));
    drop(first);
}

#[test]
fn others_serve_who_waited_when_a_host_comes_up_and_a_full_queue_spills_over() {
    let servers = Server::row(Speech::Echo, &["one", "spare"]);
    let mut second = Server::at(
        "two",
        Speech::Echo,
        (Ipv4Addr::new(127, 0, 0, 3), servers[0].port()).into(),
    );
    second.stop();
    let (at, target) = (port(), servers[0].port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 1, 127.0.0.3 max connections 1 }}
table <spare> {{ 127.0.0.2 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {target} check tcp queue 1 wait 60
	forward to <spare> port {target} check tcp
}}
"
    ));
    all_up(&daemon, &HOSTS[..2]);
    daemon.wait_status("host", "127.0.0.3", "down");
    let held = Echo::connect(local(at)).unwrap();
    assert_eq!(held.name, "one");
    let (sender, served) = mpsc::channel();
    waiter(at, 0, &sender);
    let table = format!("t:{target}");
    wait::until_true("one waits", || {
        shown(&daemon, "tables", &table, "waiting") == 1
    });
    assert_eq!(Echo::connect(local(at)).unwrap().name, "spare");
    second.start();
    let (_, client) = served.recv_timeout(BOUND).unwrap();
    assert_eq!(client.unwrap().name, "two");
}

#[test]
fn who_has_said_all_still_waits_and_who_resets_leaves() {
    let (echo, web) = (Server::echo("echo"), Server::http("web"));
    let (tcp, http) = (port(), port());
    let scratch = Scratch::new();
    let access = scratch.path("access.log");
    let daemon = Daemon::start(&format!(
        "{GLOBALS}log connection
table <e> {{ 127.0.0.1 max connections 1 }}
table <w> {{ 127.0.0.1 max connections 1 }}
http protocol web {{ return error }}
{}relay www {{
	listen on 127.0.0.1 port {http}
	protocol web
	log access json to file \"{}\"
	forward to <w> port {} check tcp queue 6 wait 60
}}
",
        relay("r", tcp, "e", echo.port(), "queue 6 wait 60"),
        access.display(),
        web.port()
    ));
    wait::until_true("both are up", || {
        daemon.summary().matches("\tup").count() == 2
    });
    let waiting = |table: &str, port: u16, count: u64| {
        wait::until_true(&format!("{count} wait for {table}"), || {
            shown(&daemon, "tables", &format!("{table}:{port}"), "waiting") == count
        });
    };
    // Each takes the only place of its host.
    let held = Echo::connect(local(tcp)).unwrap();
    let mut busy = Http::connect(local(http)).unwrap();
    busy.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    wait::until_true("both places are taken", || {
        let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
        text.matches("\"connections\": 1").count() == 2
    });
    let said = |at: u16, bytes: &[u8]| {
        let mut stream = TcpStream::connect(local(at)).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let request = b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut one, mut two) = (said(tcp, b"hello"), said(http, request));
    for stream in [&one, &two] {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    waiting("e", echo.port(), 1);
    waiting("w", web.port(), 1);
    // Others come after them, and leave.
    let leaving = [said(tcp, b"hello"), said(http, request)];
    waiting("e", echo.port(), 2);
    waiting("w", web.port(), 2);
    leaving.into_iter().for_each(reset);
    waiting("e", echo.port(), 1);
    waiting("w", web.port(), 1);
    for name in ["r", "www"] {
        let line = wait::until("a line of the log", || {
            let lines = daemon.lines();
            let of = |line: &&String| line.contains(&format!("relay {name}, session "));
            lines.iter().find(of).cloned()
        });
        assert!(line.contains(", client left the queue"), "{line}");
    }
    wait::until_true("a line of the access log", || {
        let text = std::fs::read_to_string(&access).unwrap_or_default();
        text.contains("client left the queue")
    });
    drop(held);
    busy.send(b"done").unwrap();
    assert_eq!(busy.answer("POST").unwrap().status, 200);
    let mut answer = String::new();
    one.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "echo\nhello");
    answer.clear();
    two.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nGET /half\n"), "{answer}");
}

#[test]
fn an_idle_client_keeps_no_place_but_with_no_pool_its_connection() {
    let server = Server::http("one");
    let (named, kept, target) = (port(), port(), server.port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 1 }}
http protocol web {{ return error }}
http protocol own {{ return error
	http no pool }}
relay named {{
	listen on 127.0.0.1 port {named}
	protocol web
	forward to <t> port {target} check tcp proxy-protocol v1
}}
relay kept {{
	listen on 127.0.0.1 port {kept}
	protocol own
	forward to <t> port {target} check tcp
}}
"
    ));
    wait::until_true("both are up", || {
        daemon.summary().matches("\tup").count() == 2
    });
    let ask = |client: &mut Http| client.ask("GET", "/", &[]).unwrap().status;
    let mut clients: Vec<_> = (0..3)
        .map(|_| Http::connect(local(named)).unwrap())
        .collect();
    let open = || {
        let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
        text.matches("\"connections\": 1").count()
    };
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(ask(client), 200);
            wait::until_true("its place is free", || open() == 0);
        }
    }
    // A connection of its own occupies the server, until one of the two closes it.
    let mut first = Http::connect(local(kept)).unwrap();
    assert_eq!(ask(&mut first), 200);
    assert_eq!(ask(&mut first), 200);
    assert_eq!(open(), 1);
    let mut second = Http::connect(local(kept)).unwrap();
    assert_eq!(ask(&mut second), 502);
    server.close_connections();
    wait::until_true("its place is free", || open() == 0);
    let mut third = Http::connect(local(kept)).unwrap();
    assert_eq!(ask(&mut third), 200);
    assert_eq!(ask(&mut first), 502);
}
