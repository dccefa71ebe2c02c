//! How long it takes to read a large configuration: 1,000 hosts, 100 redirects, 1,000 rules, and ten times as many.
//! The promise: ten times as many in less than 0.5 s, and no more than ten times as long.
#![allow(missing_docs)]

use conf::model::Address;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

struct Text(String);

impl conf::Source for Text {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }
}

/// A system that knows nothing: everything in the file is a literal.
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
    fn service(&self, _: &str) -> Option<u16> {
        None
    }
    fn ip_protocol(&self, _: &str) -> Option<u8> {
        Some(6)
    }
    fn is_local(&self, _: &Address) -> bool {
        true
    }
    fn demotable(&self, _: &str) -> bool {
        true
    }
}

fn text(scale: usize) -> String {
    let mut out = String::new();
    for table in 0..100 * scale {
        let _ = writeln!(out, "table <t{table}> {{");
        for host in 0..10 {
            let n = table * 10 + host;
            let _ = writeln!(
                out,
                "\t10.{}.{}.{} retry 2",
                n / 65536,
                n / 256 % 256,
                n % 256
            );
        }
        out.push_str("}\n");
    }
    for redirect in 0..100 * scale {
        let _ = writeln!(
            out,
            "redirect \"r{redirect}\" {{\n\tlisten on 192.0.{}.{} port 80\n\tforward to <t{redirect}> port 8080 mode source-hash check http \"/health\" code 200\n}}",
            redirect / 256,
            redirect % 256
        );
    }
    out.push_str("http protocol \"p\" {\n");
    for rule in 0..1000 * scale {
        let _ = writeln!(
            out,
            "\tblock request quick path \"/private/{rule}/*\" header \"Host\" value \"*.example.com\" label \"no {rule}\""
        );
    }
    out.push_str("}\nrelay \"www\" {\n\tlisten on 127.0.0.1 port 8080\n\tprotocol \"p\"\n\tforward to <t0> port 80 check tcp\n}\n");
    out
}

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    group.sample_size(10);
    for scale in [1, 10] {
        let source = Text(text(scale));
        group.bench_with_input(BenchmarkId::from_parameter(scale), &source, |b, source| {
            b.iter_batched(
                || (),
                |()| {
                    let loaded = conf::load(Path::new("x"), &[], source, &Nothing);
                    assert!(loaded.config.is_some());
                    loaded
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    memory();
}

/// The most memory this process ever had (Linux); the promise is less than 200 MB.
fn memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|l| l.starts_with("VmHWM")) {
        println!("{line}");
    }
}

criterion_group!(benches, load);
criterion_main!(benches);
