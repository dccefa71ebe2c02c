//! Mistakes in protocols: their options and their rules.

use crate::mistakes::{protocol, said, x};

pub fn options() -> Vec<(String, String)> {
    let long = x(1100);
    said(vec![
        (
            format!("protocol {} {{ }}\n", x(64)),
            "protocol name truncated",
        ),
        (
            "protocol p { }\nprotocol p { }\n".into(),
            "protocol p defined twice",
        ),
        (
            "protocol default { }\n".into(),
            "protocol default defined twice",
        ),
        (
            protocol("tcp", "http headerlen 1"),
            "can set http options only for http protocol",
        ),
        (
            protocol("udp", "tcp nodelay"),
            "can set tcp options only for tcp or http protocols",
        ),
        (
            protocol("dns", "tls ciphers \"x\""),
            "can set tls options only for tcp or http protocols",
        ),
        (protocol("tcp", "tcp backlog 1025"), "invalid backlog: 1025"),
        (
            protocol("tcp", "tcp socket buffer -1"),
            "invalid socket buffer size: -1",
        ),
        (protocol("tcp", "tcp ip minttl -1"), "invalid ttl: -1"),
        (
            protocol("tcp", "tcp ip nosuch 1"),
            "invalid TCP/IP flag: nosuch",
        ),
        (
            protocol("http", "http headerlen 131073"),
            "invalid headerlen: 131073",
        ),
        (protocol("tcp", "tls nosuch"), "invalid TLS flag: nosuch"),
        (
            protocol("tcp", "tls { no tlsv1.2, no tlsv1.3 }"),
            "invalid TLS protocol",
        ),
        (
            protocol("tcp", &format!("tls ciphers \"{long}\"")),
            "tlsciphers truncated",
        ),
        (
            protocol("tcp", "tls ecdhe nosuch"),
            "tls ecdhe nosuch: invalid ecdhe curve 'nosuch'",
        ),
        (
            protocol(
                "tcp",
                &format!("tls ecdhe \"{}\"", vec!["P-256"; 22].join(",")),
            ),
            "tls ecdhe curves truncated",
        ),
        (
            protocol("tcp", "tls edh params nosuch"),
            "tls edh params nosuch: invalid dheparams param",
        ),
        (
            protocol("tcp", &format!("tls ca file \"{long}\"")),
            "tlsca truncated",
        ),
        (
            protocol("tcp", &format!("tls ca cert \"{long}\"")),
            "tlscacert truncated",
        ),
        (
            protocol("tcp", &format!("tls ca key \"{long}\" password \"\"")),
            "tlscakey truncated",
        ),
        (
            protocol("tcp", &format!("tls ca key \"x\" password \"{long}\"")),
            "tlscapass",
        ),
        (
            protocol("tcp", &format!("tls client ca \"{long}\"")),
            "tlsclientca truncated",
        ),
        (
            protocol("tcp", &format!("tls keypair \"{long}\"")),
            "keypair name too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x cert \"{long}\"")),
            "keypair cert too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x key \"{long}\"")),
            "keypair certificate key too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x ocsp \"{long}\"")),
            "keypair ocsp file too long",
        ),
    ])
}

pub fn rules() -> Vec<(String, String)> {
    said(vec![
        (
            protocol("http", "pass from 10.0.0.0/33"),
            "invalid prefixlen 33",
        ),
        (
            protocol("http", "pass inet6 from 10.0.0.0/8"),
            "address family mismatch",
        ),
        (
            protocol("http", "pass method NOSUCH"),
            "unknown HTTP method currently not supported",
        ),
        (
            protocol("http", "match query set \"a\""),
            "combining query type and the given option is not supported",
        ),
        (
            protocol("http", "match url remove \"a\""),
            "combining url type and the given option is not supported",
        ),
        (
            protocol("http", "match path strip -1"),
            "invalid strip number",
        ),
        (
            protocol("http", "match response path \"a\""),
            "failed to load rule",
        ),
        (
            protocol("http", "match response path strip 1"),
            "failed to load rule",
        ),
        (
            protocol("http", "match header file \"nosuch\""),
            "failed to load rules from nosuch",
        ),
        (
            protocol("http", "match url digest \"00\""),
            "invalid http digest",
        ),
        (
            protocol("http", "pass forward to <nosuch>"),
            "undefined forward table",
        ),
        (
            protocol("http", &format!("pass forward to <{}>", x(64))),
            "invalid forward table name",
        ),
        (
            protocol("http", "match header file \"keys\" cookie file \"keys\""),
            "only one file per rule supported",
        ),
        (protocol("http", "match tag a tag b"), "tag already defined"),
        (
            protocol("http", &format!("match tag {}", x(64))),
            "tag truncated",
        ),
        (protocol("http", "match tag \"\""), "invalid tag"),
        (protocol("http", "match no tag"), "no tag defined"),
        (
            protocol("http", "match tagged a tagged b"),
            "tagged already defined",
        ),
        (
            protocol("http", &format!("match tagged {}", x(64))),
            "tagged truncated",
        ),
        (
            protocol("http", "match label a label b"),
            "label already defined",
        ),
        (
            protocol("http", &format!("match label \"{}\"", x(1024))),
            "label truncated",
        ),
        (protocol("http", "match label \"\""), "invalid label"),
        (protocol("http", "match no label"), "no label defined"),
    ])
}
