//! The metrics listener: as much of HTTP as a scraper needs.
//! Owns the connections of scrapers.
//! Must never let a slow or hostile client hold more than one of a few places, and that not for long.

use super::metrics_actor::{Metrics, Render};
use actix::Addr;
use conf::limits::{METRICS_CLIENTS_MAX, METRICS_HEAD_MAX, METRICS_TIMEOUT};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The type of the exposition format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><title>relayd</title><h1>relayd</h1>\
    <p><a href=\"/metrics\">Metrics</a></html>\n";

/// Serves scrapers until it is dropped.
pub async fn serve(listener: TcpListener, metrics: Addr<Metrics>) {
    let places = Arc::new(Semaphore::new(METRICS_CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                tokio::task::spawn_local(async move {
                    let _place = place;
                    // A client that does it wrong harms itself only.
                    let _ = client(stream, metrics).await;
                });
            }
            // Out of descriptors, or the connection was gone again: give others time.
            Err(_) => sleep(METRICS_TIMEOUT / 100).await,
        }
    }
}

async fn client(mut stream: TcpStream, metrics: Addr<Metrics>) -> io::Result<()> {
    let head = timeout(METRICS_TIMEOUT, head(&mut stream)).await??;
    let answer = match request(&head) {
        Request::Metrics { body } => {
            let text = metrics.send(Render).await.map_err(io::Error::other)?;
            answer("200 OK", METRICS_TYPE, &text, body)
        }
        Request::Page { body } => answer("200 OK", "text/html; charset=utf-8", PAGE, body),
        Request::Other(status) => answer(status, "text/plain", &format!("{status}\n"), true),
    };
    timeout(METRICS_TIMEOUT, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    })
    .await?
}

/// Reads up to the empty line.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= METRICS_HEAD_MAX {
            break;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Metrics { body: bool },
    Page { body: bool },
    Other(&'static str),
}

fn request(head: &[u8]) -> Request {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    if !version.is_some_and(|version| version.starts_with(b"HTTP/1.")) {
        return Request::Other("400 Bad Request");
    }
    let body = match method {
        Some(b"GET") => true,
        Some(b"HEAD") => false,
        _ => return Request::Other("405 Method Not Allowed"),
    };
    let path = target.unwrap_or_default();
    match path.split(|byte| *byte == b'?').next() {
        Some(b"/metrics") => Request::Metrics { body },
        Some(b"/") => Request::Page { body },
        _ => Request::Other("404 Not Found"),
    }
}

fn answer(status: &str, kind: &str, text: &str, body: bool) -> String {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if body { head + text } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_recognised() {
        let metrics = |body| Request::Metrics { body };
        assert_eq!(
            request(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            metrics(true)
        );
        assert_eq!(
            request(b"HEAD /metrics?a=b HTTP/1.0\r\n\r\n"),
            metrics(false)
        );
        assert_eq!(
            request(b"GET / HTTP/1.1\r\n\r\n"),
            Request::Page { body: true }
        );
        assert_eq!(
            request(b"GET /x HTTP/1.1\r\n\r\n"),
            Request::Other("404 Not Found")
        );
        assert_eq!(
            request(b"POST / HTTP/1.1\r\n\r\n"),
            Request::Other("405 Method Not Allowed")
        );
        assert_eq!(request(b"\x16\x03\x01"), Request::Other("400 Bad Request"));
    }
}
