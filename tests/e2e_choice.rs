//! Choice of hosts with several relay processes: every mode, limits, queues, slow start, sticky cookies, reload.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::model::HashKey;
use protocols::balance::Hash;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::client::{Echo, Http};
use support::daemon::Settings;
use support::servers::Speech;
use support::{BOUND, Daemon, Scratch, Server, port, wait};

/// Globals every test here wants.
const GLOBALS: &str = "interval 1\ntimeout 500\nprefork 3\n";
const KEY: &str = "0x000102030405060708090a0b0c0d0e0f";
const NAMES: [&str; 3] = ["one", "two", "three"];
const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn all_up(daemon: &Daemon, hosts: &[&str]) {
    let rows: Vec<_> = hosts.iter().map(|host| ("host", *host, "up")).collect();
    daemon.wait_rows(&rows);
}

/// Name of the server that answers a client with this address.
fn who_for(client: Ipv4Addr, at: u16) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&local(at).into()).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut stream = TcpStream::from(socket);
    let (mut name, mut byte) = (String::new(), [0]);
    while stream.read(&mut byte).unwrap_or(0) == 1 && byte != *b"\n" {
        name.push(char::from(byte[0]));
    }
    name
}

/// Who answers, by number of answers.
fn count(at: u16, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts
            .entry(Echo::connect(local(at)).unwrap().name)
            .or_default() += 1;
    }
    counts
}

/// A relay for one mode.
fn relay(name: &str, at: u16, table: &str, target: u16, options: &str) -> String {
    format!(
        "relay \"{name}\" {{\n\tlisten on 127.0.0.1 port {at}\n\tforward to <{table}> port {target} check tcp {options}\n}}\n"
    )
}

/// What `relayctl -j show hosts` says of an object.
fn shown(daemon: &Daemon, list: &str, name: &str, field: &str) -> Value {
    let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
    let document: Value = serde_json::from_str(&text).unwrap();
    let objects = document[list].as_array().unwrap();
    let object = objects.iter().find(|o| o["name"] == name);
    object.map(|o| o[field].clone()).unwrap_or(Value::Null)
}

#[test]
fn every_mode_is_exact_over_three_processes() {
    let servers = Server::row(Speech::Echo, &NAMES);
    let target = servers[0].port();
    let at: Vec<u16> = (0..7).map(|_| port()).collect();
    let relays: String = [
        ("even", "t", "mode roundrobin"),
        ("weighted", "w", "mode roundrobin"),
        ("chance", "t", "mode random"),
        ("source", "t", &format!("mode source-hash \"{KEY}\"")),
        ("load", "t", &format!("mode loadbalance \"{KEY}\"")),
        ("hash", "t", &format!("mode hash \"{KEY}\"")),
        ("least", "t", "mode least-connections"),
    ]
    .iter()
    .zip(&at)
    .map(|((name, table, mode), at)| relay(name, *at, table, target, mode))
    .collect();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}
table <w> {{ 127.0.0.1 weight 2, 127.0.0.2, 127.0.0.3 }}
{relays}"
    ));
    all_up(&daemon, &HOSTS);
    // Each process goes round by itself: it can be off by less than one for each host.
    let counts = count(at[0], 60);
    assert!(
        NAMES.iter().all(|n| counts[*n].abs_diff(20) <= 2),
        "{counts:?}"
    );
    let counts = count(at[1], 60);
    assert!(counts["one"].abs_diff(30) <= 3, "{counts:?}");
    assert!(counts["two"].abs_diff(15) <= 3, "{counts:?}");
    // Six standard deviations of 3.7.
    let counts = count(at[2], 60);
    assert!(
        NAMES.iter().all(|n| counts[*n].abs_diff(20) <= 22),
        "{counts:?}"
    );
    // Open connections of all processes count, and of all relays with this table.
    wait::until_true("nothing is open", || {
        let open = |host: &&str| shown(&daemon, "hosts", host, "connections");
        HOSTS.iter().all(|host| open(host) == 0)
    });
    let held: Vec<Echo> = (0..12)
        .map(|_| Echo::connect(local(at[6])).unwrap())
        .collect();
    for name in NAMES {
        assert_eq!(held.iter().filter(|e| e.name == name).count(), 4);
    }
    for (relay, at) in ["source", "load", "hash"].iter().zip(&at[3..]) {
        faithful(relay, *at, [true; 3]);
    }
}

/// Several clients, each several times: who answers is what the reference says.
fn faithful(relay: &str, at: u16, up: [bool; 3]) {
    let key = HashKey(std::array::from_fn(|i| i as u8));
    for last in 1..12 {
        let client = Ipv4Addr::new(127, 0, 7, last);
        let mut hash = Hash::new(&key);
        if relay != "hash" {
            hash.address(IpAddr::from(client));
        }
        if relay != "source" {
            hash.address(IpAddr::from(Ipv4Addr::LOCALHOST));
            hash.port(at);
        }
        let expected = NAMES[reference(hash.finish(), up)];
        for _ in 0..3 {
            assert_eq!(who_for(client, at), expected, "{relay} {client}");
        }
    }
}

/// The original's way: the remainder, shifted by a bit as often as there are hosts, then the next host that is up.
fn reference(mut number: u64, up: [bool; 3]) -> usize {
    let mut last = 0;
    for _ in 0..3 {
        last = (number % 3) as usize;
        if up[last] {
            return last;
        }
        number >>= 1;
    }
    (last..3).chain(0..last).find(|i| up[*i]).unwrap()
}

#[test]
fn clients_of_a_dead_host_move_as_in_the_original_and_come_back() {
    let mut servers = Server::row(Speech::Echo, &NAMES);
    let target = servers[0].port();
    let (source, load) = (port(), port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}\n{}{}",
        relay(
            "source",
            source,
            "t",
            target,
            &format!("mode source-hash \"{KEY}\"")
        ),
        relay(
            "load",
            load,
            "t",
            target,
            &format!("mode loadbalance \"{KEY}\" slow start 600")
        ),
    ));
    all_up(&daemon, &HOSTS);
    servers[1].stop();
    daemon.wait_status("host", "127.0.0.2", "down");
    wait::until_true("both tables know", || {
        daemon.summary().matches("down").count() == 2
    });
    faithful("source", source, [true, false, true]);
    faithful("load", load, [true, false, true]);
    servers[1].start();
    wait::until_true("both tables know", || !daemon.summary().contains("down"));
    // A host that starts slowly has all its clients at once in a hashing mode.
    faithful("source", source, [true; 3]);
    faithful("load", load, [true; 3]);
}

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
    drop(gone);
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
	forward to <t> port {target} check tcp queue 1 wait 1
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
    assert!(start.elapsed() >= Duration::from_secs(1));
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
fn a_host_that_returns_starts_slowly_in_all_processes() {
    let mut servers = Server::row(Speech::Echo, &["one", "two"]);
    let target = servers[0].port();
    let at: Vec<u16> = (0..3).map(|_| port()).collect();
    let relays: String = [
        ("round", "mode roundrobin slow start 600"),
        ("chance", "mode random slow start 600"),
        ("soon", "mode roundrobin slow start 1"),
    ]
    .iter()
    .zip(&at)
    .map(|((name, mode), at)| relay(name, *at, "t", target, mode))
    .collect();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 }}\n{relays}"
    ));
    wait::until_true("all are up", || {
        daemon.summary().matches("\tup").count() == 6
    });
    // The first start of all is no return.
    let two = |at: u16, times| count(at, times).get("two").copied().unwrap_or(0);
    assert!(two(at[0], 40).abs_diff(20) <= 3);
    servers[1].stop();
    wait::until_true("it is down", || {
        daemon.summary().matches("down").count() == 3
    });
    servers[1].start();
    wait::until_true("it is up", || !daemon.summary().contains("down"));
    for at in &at[..2] {
        // A hundredth and a little more; by chance up to a few.
        assert!(two(*at, 40) <= 6, "{at}");
    }
    wait::until_true("its share is full", || two(at[2], 20).abs_diff(10) <= 3);
}

/// A request on a connection of its own: who answers, and the cookie that is set.
fn visit(at: u16, cookie: Option<&str>) -> (String, Option<String>) {
    let cookie = cookie.map(|cookie| format!("Cookie: a=b; {cookie}; c=d"));
    let headers: Vec<&str> = cookie.as_deref().into_iter().collect();
    let answer = Http::connect(local(at))
        .unwrap()
        .ask("GET", "/", &headers)
        .unwrap();
    assert_eq!(answer.status, 200);
    let set = answer.header("set-cookie").map(|set| {
        let (pair, attributes) = set.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
        pair.to_owned()
    });
    (answer.body.trim().to_owned(), set)
}

#[test]
fn a_cookie_leads_back_to_the_host_over_processes_reload_and_restart() {
    let mut servers = Server::row(Speech::Http, &NAMES);
    let (at, target) = (port(), servers[0].port());
    let state = Scratch::new();
    let directory = state.path("state");
    let arguments = ["--state-directory", directory.to_str().unwrap()];
    let settings = || Settings {
        arguments: &arguments,
        ..Settings::default()
    };
    let config = |hosts: &str| {
        format!(
            "{GLOBALS}table <t> {{ {hosts} }}
http protocol web {{
	return error
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {target} check tcp mode roundrobin sticky cookie \"SID\"
}}
"
        )
    };
    let daemon = Daemon::with(settings(), &config("127.0.0.1 127.0.0.2 127.0.0.3"));
    all_up(&daemon, &HOSTS);
    let mut cookies = BTreeMap::new();
    wait::until_true("a cookie for each host", || {
        let (name, cookie) = visit(at, None);
        let cookie = cookie.expect("a first response sets it");
        let same = cookies.insert(name, cookie.clone());
        assert!(same.is_none_or(|same| same == cookie));
        cookies.len() == 3
    });
    let stay = || {
        for (name, cookie) in &cookies {
            for _ in 0..5 {
                assert_eq!(visit(at, Some(cookie)), (name.clone(), None));
            }
        }
    };
    stay();
    // One connection of many clients, as from a proxy: each request goes its own way.
    let mut shared = Http::connect(local(at)).unwrap();
    for (name, cookie) in cookies.iter().chain(&cookies) {
        let header = format!("Cookie: {cookie}");
        let answer = shared.ask("GET", "/", &[&header]).unwrap();
        assert_eq!(answer.body.trim(), name);
    }
    // The servers never see it.
    let header = format!("Cookie: a=b; {}; c=d", cookies["one"]);
    let head = shared.ask("GET", "/head", &[&header]).unwrap().body;
    assert!(head.contains("Cookie: a=b; c=d\r\n"), "{head}");
    let header = format!("Cookie: {}", cookies["one"]);
    let head = shared.ask("GET", "/head", &[&header]).unwrap().body;
    assert!(!head.to_lowercase().contains("cookie"), "{head}");
    // What we did not make is no cookie.
    for forged in [
        "SID=",
        "SID=127.0.0.1",
        "SID=00000000000000000000000000000000",
        "SID",
    ] {
        let (name, cookie) = visit(at, Some(forged));
        assert_eq!(cookie.as_ref(), Some(&cookies[&name]), "{forged}");
    }
    // Another order and other hosts, by reload and by restart.
    daemon.configure(&config("127.0.0.3 127.0.0.2 127.0.0.1 weight 5"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    all_up(&daemon, &HOSTS);
    stay();
    daemon.stop();
    let daemon = Daemon::with(settings(), &config("127.0.0.2 127.0.0.1 127.0.0.3"));
    all_up(&daemon, &HOSTS);
    stay();
    // A dead host's clients get another one, and its cookie.
    servers[0].stop();
    daemon.wait_status("host", "127.0.0.1", "down");
    let (name, cookie) = visit(at, Some(&cookies["one"]));
    assert_ne!(name, "one");
    assert_eq!(cookie.as_ref(), Some(&cookies[&name]));
}

#[test]
fn a_full_host_keeps_its_cookie_clients() {
    let servers = Server::row(Speech::Http, &["one", "two"]);
    let (at, queued, target) = (port(), port(), servers[0].port());
    let relay = |name: &str, at: u16, options: &str| {
        format!(
            "relay {name} {{\n\tlisten on 127.0.0.1 port {at}\n\tprotocol web\n\
             \tforward to <t> port {target} check tcp {options} sticky cookie \"SID\" \"key\"\n}}\n"
        )
    };
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 1, 127.0.0.2 max connections 1 }}
http protocol web {{
	return error
}}
{}{}",
        relay("now", at, ""),
        relay("later", queued, "queue 5 wait 60")
    ));
    wait::until_true("all are up", || {
        daemon.summary().matches("\tup").count() == 4
    });
    for (at, waits) in [(at, false), (queued, true)] {
        let (name, cookie) = visit(at, None);
        let cookie = cookie.unwrap();
        // The place is taken by a request that has not ended.
        let mut busy = TcpStream::connect(local(at)).unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: 4\r\n\r\n");
        busy.write_all(head.as_bytes()).unwrap();
        wait::until_true("the place is taken", || {
            let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
            text.contains("\"connections\": 1")
        });
        if !waits {
            let (other, set) = visit(at, Some(&cookie));
            assert_ne!(other, name);
            assert_eq!(set, None);
        } else {
            let mut waiting = Http::connect(local(at)).unwrap();
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
            waiting.send(request.as_bytes()).unwrap();
            wait::until_true("it waits", || {
                let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
                text.contains("\"waiting\": 1")
            });
            busy.write_all(b"done").unwrap();
            assert_eq!(waiting.answer("GET").unwrap().body.trim(), name);
        }
        drop(busy);
        wait::until_true("all is free", || {
            let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
            !text.contains("\"connections\": 1")
        });
    }
}
