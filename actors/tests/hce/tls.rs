//! Checks over TLS against a server with a certificate nobody vouches for.

use crate::harness::{Harness, Server, config};
use conf::model::{Check, HttpRequest};
use protocols::host::{HostState, Reason};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};
use std::io::{Read, Write};
use std::sync::Arc;

/// A TLS server that treats every connection in one way.
fn server(serve: impl Fn(&mut dyn ReadWrite) + Send + 'static) -> Server {
    let pair = rcgen::generate_simple_self_signed(vec!["nobody.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    Server::start(move |stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut Stream::new(&mut tls, stream));
    })
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[actix::test]
async fn handshake_requests_and_answers_go_through_tls() {
    let handshake = server(|stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    // Ends without close_notify, as many servers do.
    let web = server(|stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.0 204 No\r\nServer: x\r\n");
        let _ = stream.flush();
    });
    let banner = server(|stream| {
        let _ = stream.write_all(b"* OK ready\r\n");
        let _ = stream.read(&mut [0; 1]);
    });
    let plain = Server::answering(b"no tls here\r\n");
    let https = Check::HttpCode {
        request: HttpRequest {
            path: "/".to_owned(),
            host: None,
            tls: true,
        },
        code: 204,
    };
    let imap = Check::SendExpect {
        send: None,
        expect: "\\* OK*".to_owned(),
        tls: true,
    };
    let tcp = Check::Tcp { tls: true };
    let at = |check, server: &Server| (check, server.address.port(), vec!["127.0.0.1"]);
    let mut hce = Harness::start(config(vec![
        at(tcp.clone(), &handshake),
        at(https, &web),
        at(imap, &banner),
        at(tcp, &plain),
    ]))
    .await;
    hce.until_host(1, HostState::Up, Reason::TlsConnectOk).await;
    hce.until_host(2, HostState::Up, Reason::HttpCodeOk).await;
    assert_eq!(hce.status(2).http_code, 204);
    hce.until_host(3, HostState::Up, Reason::SendExpectOk).await;
    hce.until_host(4, HostState::Down, Reason::TlsConnectFailed)
        .await;
    hce.stop().await;
}
