//! Connections of HTTP relays: shared, replaced, ended by either side, turned into tunnels.

use crate::harness::*;
use crate::support::*;
use actors::link::RunState;
use actors::link::Slot;
use conf::model::Check;
use conf::model::Mode;
use conf::model::ProtocolKind;
use conf::model::RelayId;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

#[actix::test]
async fn requests_share_connections_on_both_sides() {
    let log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    let wire = "GET /a HTTP/1.1\r\nhOST: h\r\nX-B: 1\r\nA: 2\r\n\r\n";
    let answer = client.ask(wire).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/a");
    assert!(
        client
            .ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .ends_with("/b")
    );
    // Order and spelling are the client's.
    assert_eq!(web.requests()[0], wire);
    // Another client gets the same server connection, though it ends its own.
    let end = once(&setup, "GET /c HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(
        end,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n/c"
    );
    assert_eq!(web.requests()[2], "GET /c HTTP/1.1\r\n\r\n");
    assert_eq!(web.connections(), [1, 1, 1]);
    drop(client);
    let line = log.until("session 1 ").await;
    assert_eq!(
        line,
        format!(
            "INFO relay www, session 1 (0 active), 0, 127.0.0.1 -> {}, done, GET GET",
            web.address
        )
    );
    setup.running.stop().await;
}

#[actix::test]
async fn without_the_pool_each_client_has_its_own_connection() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| p.http.pool = false).await;
    let mut one = Client::connect(&setup).await;
    let mut two = Client::connect(&setup).await;
    for client in [&mut one, &mut two] {
        client.ask("GET /a HTTP/1.1\r\n\r\n").await;
        client.ask("GET /b HTTP/1.1\r\n\r\n").await;
    }
    assert_eq!(web.connections(), [1, 1, 2, 2]);
    setup.running.stop().await;
}

#[actix::test]
async fn a_stale_connection_is_replaced() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    for _ in 0..3 {
        // The server closes after its answer, without a word.
        assert!(
            client
                .ask("GET /once HTTP/1.1\r\n\r\n")
                .await
                .ends_with("once")
        );
    }
    assert_eq!(web.connections(), [1, 2, 3]);
    setup.running.stop().await;
}

#[actix::test]
async fn a_client_may_end_its_side_and_still_get_the_answer() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client.send("GET /half HTTP/1.1\r\n\r\n").await;
    client.socket.shutdown().await.unwrap();
    assert!(client.end().await.ends_with("/half"));
    setup.running.stop().await;
}

#[actix::test]
async fn a_drained_or_dead_host_loses_the_next_request_only() {
    let _log = Log::start();
    let (one, two) = (Web::start().await, Web::start().await);
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let protocol = b.protocol("http", ProtocolKind::Http).id;
    let check = Check::Tcp { tls: false };
    let main = b.table("main", check.clone(), &[one.address]);
    let backup = b.table("backup", check, &[two.address]);
    b.relay(
        "www",
        address,
        &[(main, Mode::RoundRobin), (backup, Mode::RoundRobin)],
    )
    .protocol = protocol;
    let state = RunState {
        hosts: vec![up(1), up(2)],
        ..RunState::default()
    };
    let mut running =
        Running::start(0, &b.config, vec![(Slot::Relay(RelayId(1)), fd)], state).await;
    let mut client = Client {
        socket: within("connect", TcpStream::connect(address))
            .await
            .unwrap(),
        buffer: Vec::new(),
    };
    client.ask("GET /1 HTTP/1.1\r\n\r\n").await;
    client.ask("GET /2 HTTP/1.1\r\n\r\n").await;
    running.hosts(vec![down(1)]).await;
    running.sessions().await;
    client.ask("GET /3 HTTP/1.1\r\n\r\n").await;
    assert_eq!((one.requests().len(), two.requests().len()), (2, 1));
    running.stop().await;
}

#[actix::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let _log = Log::start();
    // A server that answers at once and closes without reading the body.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut web = Web::start().await;
    web.address = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 64];
            let _ = socket.read(&mut head).await;
            let _ = socket
                .write_all(
                    b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
                )
                .await;
        }
    });
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client
        .send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    let chunk = "x".repeat(100_000);
    for _ in 0..20 {
        if client.socket.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = client.response().await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"),
        "{answer}"
    );
    setup.running.stop().await;
}

#[actix::test]
async fn websockets_become_a_tunnel() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| {
        p.http.websockets = true;
        p.return_error = true;
    })
    .await;
    let mut client = Client::connect(&setup).await;
    let request =
        "GET /ws HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    let answer = client.ask(request).await;
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
    assert_eq!(web.requests(), [request]);
    client.send("raw bytes\0\r\n").await;
    let mut echo = [0; 12];
    within("echo", client.socket.read_exact(&mut echo))
        .await
        .unwrap();
    assert_eq!(&echo, b"raw bytes\0\r\n");
    for (request, status) in [
        ("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "400"),
        (
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: up\r\n\r\n",
            "400",
        ),
        (
            "POST /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "405",
        ),
    ] {
        let answer = once(&setup, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{answer}"
        );
    }
    setup.running.stop().await;
}
