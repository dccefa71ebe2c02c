//! The certificates, keys and authorities that relays with TLS need: where they are, and whether they can be read.
//! Owns the order of look-up and the messages about it.
//! Must never keep a key: what was read is judged and dropped.

use crate::diagnostic::{Diagnostic, Severity};
use crate::limits;
use crate::model::{Config, Keypair, Relay, TlsOptions};
use crate::source::{Source, Span, reason_of};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

/// Why a relay cannot have its TLS.
struct Fault {
    /// Paths and reasons, then what to do.
    cure: String,
    /// The file is there, but it is not what it should be.
    unusable: bool,
}

/// All faults, each relay block named once. `ends` are the places of the relays' closing braces.
pub(crate) fn faults(
    config: &Config,
    ends: &[Span],
    files: &dyn Source,
    strict: bool,
) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for (index, relay) in config.relays.iter().enumerate() {
        let Some(protocol) = config.protocol(relay.protocol) else {
            continue;
        };
        for (text, fault) in relay_faults(relay, &protocol.tls, files) {
            let severe = strict || fault.unusable;
            let diagnostic = Diagnostic {
                severity: if severe {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                text: if severe {
                    text
                } else {
                    format!("warning: {text}")
                },
                span: ends.get(index).copied(),
                cure: Some(fault.cure),
            };
            let known = |d: &Diagnostic| d.text == diagnostic.text && d.cure == diagnostic.cure;
            if !found.iter().any(known) {
                found.push(diagnostic);
            }
        }
    }
    found
}

/// What is wrong with one relay, in the words of the original.
fn relay_faults(relay: &Relay, tls: &TlsOptions, files: &dyn Source) -> Vec<(String, Fault)> {
    let mut found = Vec::new();
    let block = &relay.block;
    let mut note = |text: String, result: Result<(), Fault>| {
        if let Err(fault) = result {
            found.push((text, fault));
        }
    };
    let whole = format!("cannot load certificates for relay {block}");
    for (words, path) in authorities(relay, tls) {
        let checked = file(path, files, certificates);
        note(whole.clone(), checked.map_err(|e| e.fault(words)));
    }
    if let (true, true, Some(path)) = (relay.listen.tls, relay.tls_client, &tls.ca_key) {
        // With a password the key is encrypted, and only TLS itself can judge it.
        let encrypted = tls.ca_password.as_deref().is_some_and(|p| !p.is_empty());
        let judge = if encrypted { anything } else { key };
        let checked = file(path, files, judge);
        note(whole.clone(), checked.map_err(|e| e.fault("ca key")));
    }
    if relay.listen.tls {
        for pair in &tls.keypairs {
            let text = format!("cannot load keypair {} for relay {block}", pair.name);
            note(text, keypair(pair, relay.listen.port, files));
        }
        if tls.keypairs.is_empty() {
            let own = Keypair {
                name: relay.listen.address.ip.to_string(),
                ..Keypair::default()
            };
            note(whole, keypair(&own, relay.listen.port, files));
        }
    }
    found
}

/// Files with certificates of others that this relay uses.
fn authorities<'a>(relay: &Relay, tls: &'a TlsOptions) -> Vec<(&'static str, &'a Path)> {
    let (listens, connects) = (relay.listen.tls, relay.tls_client);
    [
        ("ca file", connects, &tls.ca_file),
        ("ca cert", listens && connects, &tls.ca_cert),
        ("client ca", listens, &tls.client_ca),
    ]
    .into_iter()
    .filter(|(_, used, _)| *used)
    .filter_map(|(words, _, path)| Some((words, path.as_deref()?)))
    .collect()
}

/// A certificate and its key, each from the first place where it is.
fn keypair(pair: &Keypair, port: u16, files: &dyn Source) -> Result<(), Fault> {
    let base = Path::new(limits::TLS_DIRECTORY);
    let (name, with_port) = (&pair.name, format!("{}:{port}", pair.name));
    let first = match &pair.cert {
        Some(path) => path.clone(),
        None => base.join(format!("{with_port}.crt")),
    };
    let places = [first, base.join(format!("{name}.crt"))];
    let found = first_of(&places, files, certificates).map_err(|e| e.fault("certificate"))?;
    let private = base.join(limits::TLS_PRIVATE);
    let key_place = match &pair.key {
        Some(path) => path.clone(),
        // The key is where the certificate was: with or without the port.
        None if found == 0 && pair.cert.is_none() => private.join(format!("{with_port}.key")),
        None => private.join(format!("{name}.key")),
    };
    file(&key_place, files, key).map_err(|e| e.fault("key"))
}

/// What became of each path that was tried.
struct Tried {
    paths: Vec<String>,
    unusable: bool,
}

impl Tried {
    fn fault(self, what: &str) -> Fault {
        let cure = if self.unusable {
            "write a PEM file"
        } else {
            "put it there, or name another file in 'tls { … }' of the protocol"
        };
        Fault {
            cure: format!("{what}: {}; {cure}", self.paths.join(", ")),
            unusable: self.unusable,
        }
    }
}

/// Index of the first place whose file can be opened; that one must be good.
fn first_of(places: &[PathBuf], files: &dyn Source, judge: Judge) -> Result<usize, Tried> {
    let mut paths: Vec<String> = Vec::new();
    for (index, path) in places.iter().enumerate() {
        match file(path, files, judge) {
            Ok(()) => return Ok(index),
            Err(tried) if tried.unusable => return Err(tried),
            Err(tried) => paths.extend(tried.paths),
        }
    }
    paths.dedup();
    Err(Tried {
        paths,
        unusable: false,
    })
}

type Judge = fn(&[u8]) -> Result<(), String>;

fn file(path: &Path, files: &dyn Source, judge: Judge) -> Result<(), Tried> {
    let (reason, unusable) = match files.read(path) {
        Ok(bytes) => match judge(&bytes) {
            Ok(()) => return Ok(()),
            Err(reason) => (reason, true),
        },
        Err(error) => (reason_of(&error), false),
    };
    Err(Tried {
        paths: vec![format!("{} ({reason})", path.display())],
        unusable,
    })
}

fn certificates(bytes: &[u8]) -> Result<(), String> {
    let mut any = false;
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        certificate.map_err(|e| pem_reason(&e, "certificate"))?;
        any = true;
    }
    if any {
        Ok(())
    } else {
        Err(pem_reason(&pem::Error::NoItemsFound, "certificate"))
    }
}

fn key(bytes: &[u8]) -> Result<(), String> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(_) => Ok(()),
        Err(_) if bytes.windows(9).any(|w| w == b"ENCRYPTED") => Err("an encrypted key".to_owned()),
        Err(error) => Err(pem_reason(&error, "private key")),
    }
}

fn anything(_: &[u8]) -> Result<(), String> {
    Ok(())
}

fn pem_reason(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("no {what} in it"),
        error => format!("no {what} in PEM form: {error}"),
    }
}
