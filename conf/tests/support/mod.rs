//! A directory and a system that are the same everywhere.
#![allow(dead_code)]

use conf::model::Address;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub struct Directory(PathBuf);

impl Directory {
    pub fn new(path: &str) -> Self {
        Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
    }
}

impl conf::Source for Directory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }
}

/// One text under any name.
pub struct Text<'a>(pub &'a str);

impl conf::Source for Text<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

/// A machine with `lo` and `em0`; 127.0.0.1, ::1, 192.0.2.1 and 2001:db8::1 are its own.
pub struct System;

impl conf::Resolver for System {
    fn host(&self, name: &str) -> Result<Vec<Address>, String> {
        match name {
            "localhost" => Ok(vec![ip("127.0.0.1"), ip("::1")]),
            "www.example.com" => Ok(vec![ip("192.0.2.80")]),
            _ => Err("name or service not known".to_owned()),
        }
    }

    fn interface(&self, name: &str) -> Option<Vec<Address>> {
        match name {
            "lo" | "lo0" => Some(vec![ip("127.0.0.1"), ip("::1")]),
            "em0" | "egress" => Some(vec![ip("192.0.2.1"), ip("2001:db8::1")]),
            "em1" => Some(vec![ip("198.51.100.1")]),
            _ => None,
        }
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        match name {
            "lo" | "lo0" => Some(1),
            "em0" => Some(2),
            _ => None,
        }
    }

    fn interfaces(&self) -> Vec<String> {
        ["lo", "em0", "em1"].map(str::to_owned).to_vec()
    }

    fn service(&self, name: &str) -> Option<u16> {
        match name {
            "http" | "www" => Some(80),
            "https" => Some(443),
            "domain" => Some(53),
            "smtp" => Some(25),
            _ => None,
        }
    }

    fn ip_protocol(&self, name: &str) -> Option<u8> {
        match name {
            "tcp" => Some(6),
            "udp" => Some(17),
            _ => None,
        }
    }

    fn is_local(&self, address: &Address) -> bool {
        ["127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"]
            .iter()
            .any(|a| a.parse::<IpAddr>().is_ok_and(|a| a == address.ip))
    }

    fn demotable(&self, group: &str) -> bool {
        group == "carp"
    }
}

fn ip(text: &str) -> Address {
    text.parse::<IpAddr>().map(Address::from).expect("address")
}

/// The same machine, which has every address (for configurations of other machines).
pub struct Everywhere;

impl conf::Resolver for Everywhere {
    fn host(&self, name: &str) -> Result<Vec<Address>, String> {
        System.host(name)
    }

    fn interface(&self, name: &str) -> Option<Vec<Address>> {
        System.interface(name)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        System.interface_index(name)
    }

    fn interfaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn service(&self, name: &str) -> Option<u16> {
        System.service(name)
    }

    fn ip_protocol(&self, name: &str) -> Option<u8> {
        System.ip_protocol(name)
    }

    fn is_local(&self, _: &Address) -> bool {
        true
    }

    fn demotable(&self, _: &str) -> bool {
        true
    }
}

/// All messages as the original's first lines.
pub fn lines(loaded: &conf::Loaded) -> Vec<String> {
    loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| d.line(&loaded.sources))
        .collect()
}

/// The configuration without the places of its rules, which a rewritten file cannot keep.
pub fn placeless(mut config: conf::Config) -> conf::Config {
    for rule in config.protocols.iter_mut().flat_map(|p| &mut p.rules) {
        rule.line = 0;
    }
    config
}

/// Writes the configuration in both ways and reads it back: the same model, no message.
pub fn round_trip(config: &conf::Config, source: &str) {
    for (text, how) in [
        (conf::modern(config), "modern"),
        (conf::dump(config), "dump"),
    ] {
        let again = conf::load(Path::new("again.conf"), &[], &Text(&text), &Everywhere);
        let messages: Vec<String> = lines(&again)
            .into_iter()
            .filter(|m| how == "modern" || m.contains("old syntax"))
            // It is written again, since it says what the operator wants.
            .filter(|m| !m.contains("agentx has no effect"))
            .collect();
        assert!(
            messages.is_empty(),
            "{source} ({how}):\n{text}\n{messages:#?}"
        );
        assert_eq!(
            again.config.map(placeless),
            Some(placeless(config.clone())),
            "{source} ({how}):\n{text}"
        );
    }
}

/// One file of any bytes, and a list of keys beside it.
struct Bytes<'a>(&'a [u8]);

impl conf::Source for Bytes<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("x.conf") => Ok(self.0.to_vec()),
            Some("keys") => Ok(b"# keys\na b\n\nc\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Any bytes as relayd.conf: no panic, every place within the text, and what is accepted can be written back.
/// What the tests try with texts of their own the fuzzer tries with anything.
pub fn judge(data: &[u8]) {
    let source = Bytes(data);
    let mut loaded = conf::load(Path::new("x.conf"), &[], &source, &Everywhere);
    for diagnostic in loaded.diagnostics.list() {
        if let Some(span) = diagnostic.span {
            let file = loaded.sources.file(span.file).expect("a file");
            assert!(span.start <= span.end, "{span:?}");
            assert!(
                file.text
                    .get(span.start as usize..span.end as usize)
                    .is_some()
            );
        }
        let rendered = diagnostic.render(&loaded.sources, false);
        assert!(rendered.starts_with(&diagnostic.line(&loaded.sources)));
        let place = diagnostic.place(&loaded.sources);
        assert_eq!(place.is_some(), diagnostic.span.is_some());
    }
    assert_eq!(loaded.config.is_none(), loaded.diagnostics.failed());
    if let Some(config) = loaded.config.clone().map(placeless) {
        for written in [conf::dump(&config), conf::modern(&config)] {
            let source = Bytes(written.as_bytes());
            let again = conf::load(Path::new("x.conf"), &[], &source, &Everywhere);
            let messages = lines(&again);
            assert_eq!(
                again.config.map(placeless).as_ref(),
                Some(&config),
                "{}\n----\n{written}\n{messages:#?}",
                String::from_utf8_lossy(data)
            );
        }
    }
    loaded.check_certificates(&source, true);
}
