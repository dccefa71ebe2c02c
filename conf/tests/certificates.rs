//! Certificates and keys of relays with TLS: where they are looked for, and what is said when they are not there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::Severity;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use support::System;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// A key whose bytes are none: only the form is judged here.
fn key(kind: &str) -> String {
    format!("-----BEGIN {kind}-----\nMAA=\n-----END {kind}-----\n")
}

/// The configuration `f`, and files at the paths given; other paths may not be opened.
struct Files(HashMap<String, String>);

impl conf::Source for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.get(path.to_str().unwrap());
        let text = found.ok_or_else(|| io::Error::from_raw_os_error(2))?;
        Ok(text.clone().into_bytes())
    }
}

/// Severity, first line and cure of each message.
fn judge(text: &str, files: &[(&str, &str)], strict: bool) -> Vec<(Severity, String, String)> {
    let mut all: HashMap<String, String> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    all.insert("f".to_owned(), text.to_owned());
    let files = Files(all);
    let mut loaded = conf::load(Path::new("f"), &[], &files, &System);
    loaded.check_certificates(&files, strict);
    let list = loaded.diagnostics.list().iter();
    let found: Vec<_> = list
        .map(|d| {
            let cure = d.cure.clone().unwrap_or_default();
            (d.severity, d.line(&loaded.sources), cure)
        })
        .collect();
    let failed = found.iter().any(|(s, ..)| *s == Severity::Error);
    assert_eq!(loaded.config.is_none(), failed);
    found
}

fn relay(tls: &str) -> String {
    format!(
        "protocol p {{\ntls {{ {tls} }}\n}}\nrelay www {{\nlisten on 127.0.0.1 port 443 tls\nprotocol p\nforward to ::1 port 80\n}}\n"
    )
}

#[test]
fn a_missing_certificate_is_a_warning_for_a_check_and_an_error_for_the_daemon() {
    let text = relay("tlsv1.2");
    let paths =
        "/etc/ssl/127.0.0.1:443.crt (No such file or directory), /etc/ssl/127.0.0.1.crt (No such";
    for (strict, severity, line) in [
        (
            false,
            Severity::Warning,
            "f:8: warning: cannot load certificates for relay www",
        ),
        (
            true,
            Severity::Error,
            "f:8: cannot load certificates for relay www",
        ),
    ] {
        let found = judge(&text, &[], strict);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, found[0].1.as_str()), (severity, line));
        assert!(found[0].2.contains(paths), "{found:?}");
        assert!(found[0].2.contains("tls { … }"), "{found:?}");
    }
}

#[test]
fn certificates_are_looked_for_with_the_port_and_without_it() {
    let key = key("PRIVATE KEY");
    let good: [&[(&str, &str)]; 3] = [
        &[
            ("/etc/ssl/127.0.0.1:443.crt", CERTIFICATE),
            ("/etc/ssl/private/127.0.0.1:443.key", &key),
        ],
        &[
            ("/etc/ssl/127.0.0.1.crt", CERTIFICATE),
            ("/etc/ssl/private/127.0.0.1.key", &key),
        ],
        &[
            ("/etc/ssl/127.0.0.1.crt", CERTIFICATE),
            ("/etc/ssl/127.0.0.1:443.crt", CERTIFICATE),
            ("/etc/ssl/private/127.0.0.1:443.key", &key),
        ],
    ];
    for files in good {
        assert_eq!(judge(&relay("tlsv1.2"), files, true), []);
    }
    // The key is where the certificate is.
    let found = judge(
        &relay("tlsv1.2"),
        &[
            ("/etc/ssl/127.0.0.1:443.crt", CERTIFICATE),
            ("/etc/ssl/private/127.0.0.1.key", &key),
        ],
        true,
    );
    assert!(
        found[0]
            .2
            .starts_with("key: /etc/ssl/private/127.0.0.1:443.key ("),
        "{found:?}"
    );
}

#[test]
fn each_keypair_is_named() {
    let rsa = key("RSA PRIVATE KEY");
    let text = relay("keypair a, keypair b cert \"/b.pem\", keypair b key \"/b.key\", keypair c");
    let found = judge(
        &text,
        &[
            ("/etc/ssl/a.crt", CERTIFICATE),
            ("/etc/ssl/private/a.key", &rsa),
            ("/b.pem", CERTIFICATE),
        ],
        true,
    );
    let lines: Vec<&str> = found.iter().map(|(_, line, _)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "f:8: cannot load keypair b for relay www",
            "f:8: cannot load keypair c for relay www"
        ]
    );
    assert!(found[0].2.starts_with("key: /b.key ("), "{found:?}");
    assert!(
        found[1].2.starts_with("certificate: /etc/ssl/c:443.crt ("),
        "{found:?}"
    );
}

#[test]
fn a_file_of_something_else_is_an_error_even_for_a_check() {
    let encrypted = key("ENCRYPTED PRIVATE KEY");
    for (certificate, key, reason) in [
        ("hello", "", "/c (no certificate in it)"),
        (&*key("PRIVATE KEY"), "", "/c (no certificate in it)"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "",
            "/c (no certificate in PEM form",
        ),
        (CERTIFICATE, CERTIFICATE, "/k (no private key in it)"),
        (CERTIFICATE, &*encrypted, "/k (an encrypted key"),
    ] {
        let text = relay("keypair k cert \"/c\", keypair k key \"/k\"");
        let found = judge(&text, &[("/c", certificate), ("/k", key)], false);
        assert_eq!(found[0].0, Severity::Error);
        assert!(found[0].2.contains(reason), "{reason}: {found:?}");
    }
}

#[test]
fn authorities_are_looked_at_where_they_are_used() {
    let text = relay("keypair k cert \"/c\", keypair k key \"/k\", client ca \"/ca\"");
    let key = key("EC PRIVATE KEY");
    let files = [("/c", CERTIFICATE), ("/k", &*key)];
    let found = judge(&text, &files, true);
    assert_eq!(found[0].1, "f:8: cannot load certificates for relay www");
    assert!(found[0].2.starts_with("client ca: /ca ("), "{found:?}");
    // A listener without TLS needs none of them, and the servers' authorities only what connects with TLS.
    let plain = text.replace("443 tls", "443");
    assert!(
        judge(&plain, &[], true)
            .iter()
            .all(|(s, ..)| *s == Severity::Warning)
    );
    let connecting = plain
        .replace("client ca", "ca file")
        .replace("forward to", "forward with tls to");
    let found = judge(&connecting, &[], true);
    assert!(
        found
            .iter()
            .any(|(s, _, cure)| *s == Severity::Error && cure.starts_with("ca file: /ca (")),
        "{found:?}"
    );
}

#[test]
fn a_protocol_that_listens_and_connects_needs_the_authorities_of_both() {
    // One relay listens with TLS, another one connects with it, by the same protocol.
    let text = format!(
        "{}relay out {{\nlisten on 127.0.0.1 port 80\nprotocol p\nforward with tls to ::1 port 443\n}}\n",
        relay(
            "keypair k cert \"/c\", keypair k key \"/k\", client ca \"/clients\", ca file \"/servers\""
        )
    );
    let key = key("EC PRIVATE KEY");
    let own = [("/c", CERTIFICATE), ("/k", &*key)];
    let errors = |authorities: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = judge(&text, &[&own, authorities].concat(), true);
        let errors = all.into_iter().filter(|(s, ..)| *s == Severity::Error);
        errors.map(|(_, line, cure)| (line, cure)).collect()
    };
    let (clients, servers) = (("/clients", CERTIFICATE), ("/servers", CERTIFICATE));
    assert_eq!(errors(&[clients, servers]), []);
    // Each is missed by the relay that needs it, and by no other.
    let found = errors(&[servers]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "f:8: cannot load certificates for relay www");
    assert!(found[0].1.starts_with("client ca: /clients ("), "{found:?}");
    let found = errors(&[clients]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "f:13: cannot load certificates for relay out");
    assert!(found[0].1.starts_with("ca file: /servers ("), "{found:?}");
    assert_eq!(errors(&[]).len(), 2);
}

#[test]
fn a_key_of_an_authority_may_be_encrypted_when_its_password_is_given() {
    let text = |password: &str| {
        relay(&format!(
            "keypair k cert \"/c\", keypair k key \"/k\", ca cert \"/c\", ca key \"/a\" password \"{password}\""
        ))
        .replace("forward to", "forward with tls to")
    };
    let own = key("EC PRIVATE KEY");
    let encrypted = key("ENCRYPTED PRIVATE KEY");
    let found = |password: &str, authority: &[(&str, &str)]| {
        let files = [&[("/c", CERTIFICATE), ("/k", &*own)], authority].concat();
        let all = judge(&text(password), &files, true);
        let errors = all.into_iter().filter(|(s, ..)| *s == Severity::Error);
        errors.map(|(.., cure)| cure).collect::<Vec<_>>()
    };
    assert!(found("secret", &[("/a", &*encrypted)]).is_empty());
    assert!(found("", &[("/a", &*own)]).is_empty());
    for (authority, start) in [
        (vec![], "ca key: /a (No such file"),
        (vec![("/a", &*encrypted)], "ca key: /a (an encrypted key)"),
        (vec![("/a", "text")], "ca key: /a (no private key"),
    ] {
        let cures = found("", &authority);
        assert!(cures.len() == 1 && cures[0].starts_with(start), "{cures:?}");
    }
}
