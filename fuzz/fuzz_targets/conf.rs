//! Any bytes as relayd.conf: no panic, spans within the text, and what is accepted survives being written back.
#![no_main]

use conf::model::Address;
use libfuzzer_sys::fuzz_target;
use std::io;
use std::path::Path;

struct Bytes<'a>(&'a [u8]);

impl conf::Source for Bytes<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("main") => Ok(self.0.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

struct Nothing;

impl conf::Resolver for Nothing {
    fn host(&self, _: &str) -> Result<Vec<Address>, String> {
        Err("no names here".to_owned())
    }
    fn interface(&self, _: &str) -> Option<Vec<Address>> {
        None
    }
    fn interface_index(&self, _: &str) -> Option<u32> {
        None
    }
    fn interfaces(&self) -> Vec<String> {
        Vec::new()
    }
    fn service(&self, name: &str) -> Option<u16> {
        (name == "http").then_some(80)
    }
    fn ip_protocol(&self, name: &str) -> Option<u8> {
        match name {
            "tcp" => Some(6),
            "udp" => Some(17),
            _ => None,
        }
    }
    fn is_local(&self, _: &Address) -> bool {
        true
    }
    fn demotable(&self, _: &str) -> bool {
        true
    }
}

fuzz_target!(|data: &[u8]| {
    let loaded = conf::load(Path::new("main"), &[], &Bytes(data), &Nothing);
    for diagnostic in loaded.diagnostics.list() {
        let _ = diagnostic.render(&loaded.sources, true);
        let _ = diagnostic.place(&loaded.sources);
    }
    if let Some(config) = loaded.config {
        let text = conf::dump(&config);
        let again = conf::load(Path::new("main"), &[], &Bytes(text.as_bytes()), &Nothing);
        assert!(again.config.is_some(), "{text}");
    }
});
