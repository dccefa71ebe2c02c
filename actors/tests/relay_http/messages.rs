//! What HTTP relays pass on: framings, pipelines, interim responses, bodies of any length.

use crate::harness::*;
use crate::support::*;
use tokio::io::AsyncReadExt;

#[actix::test]
async fn every_framing_passes() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    for (request, answer) in [
        (
            "GET /chunked HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        (
            "HEAD /x HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        ),
        (
            "GET /204 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "GET /304 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        ),
        (
            "GET /bare HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "GET /closing HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "PUT /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/p",
        ),
        (
            "QUERY /q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/q",
        ),
        (
            "GET /close HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        ),
    ] {
        if request.starts_with("HEAD") {
            client.send(request).await;
            let mut head = vec![0; answer.len()];
            within("head", client.socket.read_exact(&mut head))
                .await
                .unwrap();
            assert_eq!(String::from_utf8(head).unwrap(), answer);
            continue;
        }
        let got = client.ask(request).await;
        assert_eq!(got, answer);
    }
    assert_eq!(client.end().await, "");
    assert!(web.requests()[7].ends_with("3;ext=1\r\nabc\r\n0\r\n\r\n"));
    setup.running.stop().await;
}

#[actix::test]
async fn pipelined_requests_are_answered_in_order() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client
        .send("GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /3 HTTP/1.1\r\n\r\nGET /4 HT")
        .await;
    for path in ["/1", "/2", "/3"] {
        assert!(client.response().await.ends_with(path));
    }
    client.send("TP/1.1\r\n\r\n").await;
    assert!(client.response().await.ends_with("/4"));
    setup.running.stop().await;
}

#[actix::test]
async fn a_body_on_get_is_dropped_and_never_a_request() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    let inner = "GET /evil HTTP/1.1\r\n\r\n";
    let request = format!(
        "GET /a HTTP/1.1\r\nContent-Length: {}\r\nX: 1\r\n\r\n{inner}",
        inner.len()
    );
    assert!(client.ask(&request).await.ends_with("/a"));
    client
        .send("GET /b HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let mut both = client.response().await;
    client.send("body").await;
    both.push_str(&client.response().await);
    assert!(
        both.contains("100 Continue") && both.ends_with("/b"),
        "{both}"
    );
    assert_eq!(
        web.requests(),
        ["GET /a HTTP/1.1\r\nX: 1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"]
    );
    setup.running.stop().await;
    let setup = relay(&[&web], |p| p.http.forward_body = true).await;
    once(
        &setup,
        "GET /c HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    )
    .await;
    assert_eq!(
        web.requests()[2],
        "GET /c HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    );
    setup.running.stop().await;
}

#[actix::test]
async fn interim_responses_pass() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    assert_eq!(
        client.ask("GET /hint HTTP/1.1\r\n\r\n").await,
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    );
    assert!(client.response().await.ends_with("hinted"));
    let old = once(&setup, "GET /hint HTTP/1.0\r\n\r\n").await;
    assert!(
        old.starts_with("HTTP/1.1 200") && old.ends_with("hinted"),
        "{old}"
    );
    setup.running.stop().await;
}

#[actix::test]
async fn big_bodies_pass_whatever_the_speed_of_the_client() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client.send("GET /big HTTP/1.1\r\n\r\n").await;
    // The client does not read until much of the body waits for it.
    let mut waiting = vec![0; 64 * 1024];
    let length = waiting.len();
    within("much of the body", async {
        while client.socket.peek(&mut waiting).await.unwrap() < length {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = client.response().await;
    assert_eq!(
        answer.len(),
        2_000_000 + "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".len()
    );
    assert!(answer.ends_with("0123456789"));
    let body = "abcdefghij".repeat(100_000);
    let put = format!(
        "PUT /up HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(client.ask(&put).await.ends_with("/up"));
    assert!(web.requests()[1].ends_with(&body));
    // A body that was spliced leaves its connection as fit for the next request as any other.
    client.ask("GET /big HTTP/1.1\r\n\r\n").await;
    client.ask("GET /a HTTP/1.1\r\n\r\n").await;
    assert_eq!(web.connections(), [1, 1, 1, 1]);
    setup.running.stop().await;
}
