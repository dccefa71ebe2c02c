//! Protocols as text.
//! Owns their option lines.
//! Must never write an option that the protocol's type does not have.

use super::Writer;
use super::text::{path, quote};
use crate::model::{
    HttpOptions, Keypair, Protocol, ProtocolKind, TcpOptions, TlsFlags, TlsOptions,
};
use std::fmt::Write as _;

impl Writer<'_> {
    pub(super) fn protocol(&mut self, protocol: &Protocol) {
        let kind = match protocol.kind {
            ProtocolKind::Tcp => "tcp",
            ProtocolKind::Http => "http",
            ProtocolKind::Dns => "dns",
            ProtocolKind::Udp => "udp",
        };
        let _ = writeln!(self.out, "\n{kind} protocol {} {{", quote(&protocol.name));
        if matches!(protocol.kind, ProtocolKind::Tcp | ProtocolKind::Http) {
            self.tcp(&protocol.tcp);
            if protocol.kind == ProtocolKind::Http {
                self.http(&protocol.http);
            }
            self.tls(&protocol.tls);
        }
        if protocol.return_error {
            match &protocol.style {
                Some(style) => self.line(&format!("return error style {}", quote(style))),
                None => self.line("return error"),
            }
        }
        for rule in &protocol.rules {
            self.line(&super::rule(rule));
        }
        self.out.push_str("}\n");
    }

    fn tcp(&mut self, tcp: &TcpOptions) {
        let standard = TcpOptions::default();
        let switch = |on: bool, word: &str| format!("tcp {}{word}", if on { "" } else { "no " });
        if self.full || tcp.backlog != standard.backlog {
            self.line(&format!("tcp backlog {}", tcp.backlog));
        }
        for (value, word) in [(tcp.nodelay, "nodelay"), (tcp.sack, "sack")] {
            if let Some(on) = value {
                self.line(&switch(on, word));
            }
        }
        if self.full || tcp.splice != standard.splice {
            self.line(&switch(tcp.splice, "splice"));
        }
        if let Some(bytes) = tcp.socket_buffer {
            self.line(&format!("tcp socket buffer {bytes}"));
        }
        if let Some(ttl) = tcp.ip_ttl {
            self.line(&format!("tcp ip \"ttl\" {ttl}"));
        }
        if let Some(ttl) = tcp.ip_minttl {
            self.line(&format!("tcp ip minttl {ttl}"));
        }
    }

    fn http(&mut self, http: &HttpOptions) {
        let standard = HttpOptions::default();
        if self.full || http.header_length != standard.header_length {
            self.line(&format!("http headerlen {}", http.header_length));
        }
        for (on, default, word) in [
            (http.websockets, standard.websockets, "websockets"),
            (http.forward_body, standard.forward_body, "forward body"),
            (http.pool, standard.pool, "pool"),
        ] {
            if self.full || on != default {
                self.line(&format!("http {}{word}", if on { "" } else { "no " }));
            }
        }
        for (time, default, word) in [
            (http.head_timeout, standard.head_timeout, "head"),
            (http.body_timeout, standard.body_timeout, "body"),
        ] {
            if self.full || time != default {
                self.line(&format!("http {word} timeout {}", time.as_secs()));
            }
        }
        if self.full || http.body_rate != standard.body_rate {
            self.line(&format!("http body rate {}", http.body_rate));
        }
    }

    fn tls(&mut self, tls: &TlsOptions) {
        let standard = TlsOptions::default();
        let files = [
            ("ca file", &tls.ca_file),
            ("ca cert", &tls.ca_cert),
            ("client ca", &tls.client_ca),
        ];
        for (words, file) in files {
            if let Some(file) = file {
                self.line(&format!("tls {words} {}", path(file)));
            }
        }
        if let Some(key) = &tls.ca_key {
            let password = tls.ca_password.as_deref().unwrap_or("");
            self.line(&format!(
                "tls ca key {} password {}",
                path(key),
                quote(password)
            ));
        }
        for (word, value, default) in [
            ("ciphers", &tls.ciphers, &standard.ciphers),
            ("ecdhe", &tls.ecdhe, &standard.ecdhe),
            ("edh params", &tls.edh, &standard.edh),
        ] {
            if self.full || value != default {
                self.line(&format!("tls {word} {}", quote(value)));
            }
        }
        for pair in &tls.keypairs {
            self.keypair(pair);
        }
        if self.full || tls.session_tickets != standard.session_tickets {
            let no = if tls.session_tickets { "" } else { "no " };
            self.line(&format!("tls {no}session tickets"));
        }
        self.flags(tls.flags);
    }

    fn keypair(&mut self, pair: &Keypair) {
        let name = quote(&pair.name);
        let attributes = [
            ("cert", &pair.cert),
            ("key", &pair.key),
            ("ocsp", &pair.ocsp),
        ];
        if attributes.iter().all(|(_, file)| file.is_none()) {
            self.line(&format!("tls keypair {name}"));
        }
        for (word, file) in attributes {
            if let Some(file) = file {
                self.line(&format!("tls keypair {name} {word} {}", path(file)));
            }
        }
    }

    /// All on one line: clearing one version after another could leave none for a moment.
    fn flags(&mut self, flags: TlsFlags) {
        let standard = TlsFlags::default();
        let all = [
            (flags.tlsv1_3, standard.tlsv1_3, "tlsv1.3"),
            (flags.tlsv1_2, standard.tlsv1_2, "tlsv1.2"),
            (flags.tlsv1_1, standard.tlsv1_1, "tlsv1.1"),
            (flags.tlsv1_0, standard.tlsv1_0, "tlsv1.0"),
            (flags.sslv3, standard.sslv3, "sslv3"),
            (
                flags.cipher_server_preference,
                standard.cipher_server_preference,
                "cipher-server-preference",
            ),
            (
                flags.client_renegotiation,
                standard.client_renegotiation,
                "client-renegotiation",
            ),
        ];
        let words: Vec<String> = all
            .into_iter()
            .filter(|(on, default, _)| self.full || on != default)
            .map(|(on, _, word)| format!("{}{word}", if on { "" } else { "no " }))
            .collect();
        if !words.is_empty() {
            self.line(&format!("tls {{ {} }}", words.join(", ")));
        }
    }
}
