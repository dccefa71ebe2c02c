//! Clients that come back to their host by a cookie.

use super::*;
use crate::support::client::Http;
use crate::support::daemon::Settings;
use crate::support::servers::Speech;
use crate::support::{Daemon, Scratch, Server, port, wait};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;

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
    let taken = || {
        let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
        text.contains("\"connections\": 1")
    };
    for (at, waits) in [(at, false), (queued, true)] {
        let (name, cookie) = visit(at, None);
        let cookie = cookie.unwrap();
        // The client may have its answer before others can have its place.
        wait::until_true("all is free", || !taken());
        // The place is taken by a request that has not ended.
        let mut busy = TcpStream::connect(local(at)).unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: 4\r\n\r\n");
        busy.write_all(head.as_bytes()).unwrap();
        wait::until_true("the place is taken", taken);
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
        wait::until_true("all is free", || !taken());
    }
}

#[test]
fn many_cookie_clients_share_few_places_and_none_is_forgotten() {
    let servers = Server::row(Speech::Http, &NAMES);
    let (at, target) = (port(), servers[0].port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 max connections 1, 127.0.0.2 max connections 2, 127.0.0.3 max connections 1 }}
http protocol web {{
	return error
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {target} check tcp mode roundrobin queue 100 wait 60 sticky cookie \"SID\"
}}
"
    ));
    all_up(&daemon, &HOSTS);
    let mut cookies = BTreeMap::new();
    wait::until_true("a cookie for each host", || {
        let (name, cookie) = visit(at, None);
        cookies.extend(cookie.map(|cookie| (name, cookie)));
        cookies.len() == 3
    });
    // Some come without a cookie and take whichever host is free.
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let cookie = cookies.iter().nth(client % 4);
            let cookie = cookie.map(|(name, cookie)| (name.clone(), cookie.clone()));
            std::thread::spawn(move || {
                for _ in 0..15 {
                    let (name, _) = visit(at, cookie.as_ref().map(|(_, cookie)| cookie.as_str()));
                    if let Some((own, _)) = &cookie {
                        assert_eq!(&name, own);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    wait::until_true("all is free", || {
        HOSTS
            .iter()
            .all(|host| shown(&daemon, "hosts", host, "connections") == 0)
            && shown(&daemon, "tables", &format!("t:{target}"), "waiting") == 0
    });
}

#[test]
fn who_waits_for_a_host_that_goes_away_takes_the_next_place_of_another() {
    let servers = Server::row(Speech::Http, &NAMES);
    let (at, target) = (port(), servers[0].port());
    let hosts = HOSTS.map(|host| format!("{host} max connections 1"));
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ {} }}
http protocol web {{
	return error
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {target} check tcp mode roundrobin queue 5 wait 60 sticky cookie \"SID\"
}}
",
        hosts.join(", ")
    ));
    all_up(&daemon, &HOSTS);
    let mut cookies = BTreeMap::new();
    wait::until_true("a cookie for each host", || {
        let (name, cookie) = visit(at, None);
        cookies.extend(cookie.map(|cookie| (name, cookie)));
        cookies.len() == 3
    });
    let open = |count: u64| {
        wait::until_true(&format!("each has {count}"), || {
            let open = |host: &&str| shown(&daemon, "hosts", host, "connections") == count;
            HOSTS.iter().all(open)
        });
    };
    let table = format!("t:{target}");
    let request = |method: &str, name: &str, rest: &str| {
        let mut client = Http::connect(local(at)).unwrap();
        let cookie = &cookies[name];
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n{rest}\r\n");
        client.send(text.as_bytes()).unwrap();
        client
    };
    for (away, back) in [("drain", "undrain"), ("disable", "enable")] {
        open(0);
        // Requests that have not ended take all places.
        let mut busy = NAMES.map(|name| request("POST", name, "Content-Length: 4\r\n"));
        open(1);
        let mut waiting = request("GET", "three", "");
        wait::until_true("it waits", || {
            shown(&daemon, "tables", &table, "waiting") == 1
        });
        assert_eq!(daemon.relayctl(&["host", away, HOSTS[2]]).code, 0);
        // When all processes have answered, all know of it.
        assert_eq!(daemon.relayctl(&["show", "sessions"]).code, 0);
        assert_eq!(shown(&daemon, "tables", &table, "waiting"), 1);
        busy[0].send(b"done").unwrap();
        assert_eq!(busy[0].answer("POST").unwrap().status, 200);
        let answer = waiting.answer("GET").unwrap();
        assert_eq!((answer.status, answer.body.trim()), (200, "one"), "{away}");
        assert_eq!(daemon.relayctl(&["host", back, HOSTS[2]]).code, 0);
        all_up(&daemon, &HOSTS);
    }
}
