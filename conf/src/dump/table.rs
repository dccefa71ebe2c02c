//! Tables: their definitions, and the options that follow each use.
//! Owns hosts and checks as text.
//! Must never write an option of an instance into the definition.

use super::Writer;
use super::text::{escape, hex, path, quote, word};
use crate::model::{Check, Digest, HashKey, Host, HttpRequest, Mode, Table};
use std::collections::HashSet;
use std::fmt::Write as _;

impl Writer<'_> {
    /// Every definition once, in the order of its first use.
    pub(super) fn templates(&mut self) {
        let mut seen = HashSet::new();
        let config = self.config;
        for table in &config.tables {
            if !seen.insert(table.template.as_str()) {
                continue;
            }
            let _ = write!(self.out, "\ntable <{}> ", word(&table.template));
            if table.disabled {
                self.out.push_str("disable ");
            }
            self.out.push_str("{\n");
            for host in &table.hosts {
                let text = self.host(host);
                self.line(&text);
            }
            self.out.push_str("}\n");
        }
    }

    fn host(&self, host: &Host) -> String {
        let mut out = word(&host.name);
        if self.full || host.retry != 0 {
            let _ = write!(out, " retry {}", host.retry);
        }
        if let Some(parent) = host.parent {
            let _ = write!(out, " parent {parent}");
        }
        if self.full || host.priority != 0 {
            let _ = write!(out, " priority {}", host.priority);
        }
        if self.full || host.ip_ttl != 0 {
            let _ = write!(out, " ip ttl {}", host.ip_ttl);
        }
        if self.full || host.weight != 1 {
            let _ = write!(out, " weight {}", host.weight);
        }
        if let Some(max) = host.max_connections {
            let _ = write!(out, " max connections {max}");
        }
        out
    }

    /// `<name> options …`
    pub(super) fn reference(
        &self,
        table: &Table,
        port: Option<u16>,
        mode: Option<Mode>,
        key: Option<HashKey>,
    ) -> String {
        let mut out = format!("<{}>", word(&table.template));
        let bare = out.len();
        if let Some(port) = port {
            let _ = write!(out, " port {port}");
        }
        if let Some(mode) = mode.filter(|m| self.full || *m != Mode::default()) {
            let _ = write!(out, " mode {}", mode.keyword());
            if let Some(key) = key.filter(|_| mode.keyed()) {
                let _ = write!(out, " \"0x{}\"", hex(&key.0));
            }
        }
        out.push_str(&check(&table.check));
        let globals = &self.config.globals;
        if self.full || table.timeout != globals.timeout {
            let _ = write!(out, " timeout {}", table.timeout.as_millis());
        }
        if self.full || table.interval != globals.interval {
            let _ = write!(out, " interval {}", table.interval.as_secs());
        }
        if let Some(group) = &table.demote {
            let _ = write!(out, " demote {}", word(group));
        }
        if let Some(slow) = table.slow_start {
            let _ = write!(out, " slow start {}", slow.as_secs());
        }
        if let Some(queue) = table.queue {
            let (length, wait) = (queue.length, queue.wait.as_secs());
            let _ = write!(out, " queue {length} wait {wait}");
        }
        if out.len() == bare {
            // At least one option is required.
            let _ = write!(out, " port {}", table.port);
        }
        out
    }
}

fn check(check: &Check) -> String {
    let tls = |on: bool| if on { " tls" } else { "" };
    match check {
        Check::None => String::new(),
        Check::Icmp => " check icmp".to_owned(),
        Check::Tcp { tls } => format!(" check {}", if *tls { "tls" } else { "tcp" }),
        Check::HttpCode { request, code } => format!("{} code {code}", http(request)),
        Check::HttpDigest { request, digest } => {
            format!("{} digest \"{}\"", http(request), digits(digest))
        }
        Check::SendExpect {
            send,
            expect,
            tls: on,
        } => {
            let send = match send {
                None => "nothing".to_owned(),
                Some(text) if text.contains(['\n', '\r']) => {
                    format!("escaped {}", quote(&escape(text)))
                }
                Some(text) => quote(text),
            };
            let expect = quote(&escape(expect));
            format!(" check send {send} expect {expect}{}", tls(*on))
        }
        Check::Binary {
            send,
            expect,
            tls: on,
        } => {
            let send = match send {
                None => "nothing".to_owned(),
                Some(bytes) => quote(&hex(bytes)),
            };
            format!(
                " check binary send {send} expect {}{}",
                quote(&hex(expect)),
                tls(*on)
            )
        }
        Check::Script { path: script } => format!(" check script {}", path(script)),
    }
}

fn http(request: &HttpRequest) -> String {
    let mut out = format!(
        " check {} {}",
        if request.tls { "https" } else { "http" },
        quote(&request.path)
    );
    if let Some(host) = &request.host {
        let _ = write!(out, " host {}", quote(host));
    }
    out
}

/// The digits of a digest.
pub(super) fn digits(digest: &Digest) -> String {
    match digest {
        Digest::Sha1(bytes) => hex(bytes),
        Digest::Md5(bytes) => hex(bytes),
    }
}
