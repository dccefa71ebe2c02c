//! The PROXY header: how a server behind the relay learns who its client is.
//! Owns both versions of the header, written and read.
//! Must never take more than one header's length from a peer.

use conf::model::ProxyVersion;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;
use thiserror::Error;

/// Longest text header, CRLF included.
pub const V1_MAX: usize = 107;
/// Longest binary header that is read: addresses and some extensions.
pub const V2_MAX: usize = 16 + 520;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The header for a connection of `client` that arrived at `local`.
pub fn header(version: ProxyVersion, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => text(client, local).into_bytes(),
        ProxyVersion::V2 => binary(client, local),
    }
}

fn text(client: SocketAddr, local: SocketAddr) -> String {
    let family = match (client, local) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    let (source, destination) = (client.ip(), local.ip());
    let (from, to) = (client.port(), local.port());
    format!("PROXY {family} {source} {destination} {from} {to}\r\n")
}

fn binary(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(PROXY);
    match (client.ip(), local.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.extend([TCP4, 0, 12]);
            header.extend(source.octets());
            header.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.extend([TCP6, 0, 36]);
            header.extend(source.octets());
            header.extend(destination.octets());
        }
        _ => {
            header.extend([0, 0, 0]);
            return header;
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(local.port().to_be_bytes());
    header
}

/// What a peer's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Not enough bytes yet.
    More,
    /// A header of that many bytes. Without a client the connection is the peer's own.
    Header {
        /// Its length.
        length: usize,
        /// Who the client is.
        client: Option<SocketAddr>,
    },
}

/// The peer's first bytes are no PROXY header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed PROXY header")]
pub struct Malformed;

/// Reads a header at the start of `bytes`.
///
/// # Errors
/// [`Malformed`].
pub fn read(bytes: &[u8]) -> Result<Read, Malformed> {
    let both = bytes.len().min(SIGNATURE.len());
    if bytes.get(..both) == SIGNATURE.get(..both) {
        return match both == SIGNATURE.len() {
            true => read_binary(bytes),
            false => Ok(Read::More),
        };
    }
    read_text(bytes)
}

fn read_binary(bytes: &[u8]) -> Result<Read, Malformed> {
    let [command, family, high, low] = match bytes.get(12..16) {
        Some(&[a, b, c, d]) => [a, b, c, d],
        _ => return Ok(Read::More),
    };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(Malformed);
    }
    let Some(body) = bytes.get(16..length) else {
        return Ok(Read::More);
    };
    let client = match (command, family) {
        (LOCAL, _) | (PROXY, 0) => None,
        (PROXY, TCP4) => {
            let source: [u8; 4] = array(body, 0)?;
            let _: [u8; 4] = array(body, 4)?;
            Some((Ipv4Addr::from(source), port(body, 8)?).into())
        }
        (PROXY, TCP6) => {
            let source: [u8; 16] = array(body, 0)?;
            let _: [u8; 16] = array(body, 16)?;
            Some((Ipv6Addr::from(source), port(body, 32)?).into())
        }
        _ => return Err(Malformed),
    };
    Ok(Read::Header { length, client })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    bytes
        .get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .ok_or(Malformed)
}

fn port(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    // Both ports must be there.
    let [a, b, _, _] = array(bytes, at)?;
    Ok(u16::from_be_bytes([a, b]))
}

fn read_text(bytes: &[u8]) -> Result<Read, Malformed> {
    const START: &[u8] = b"PROXY ";
    let both = bytes.len().min(START.len());
    if bytes.get(..both) != START.get(..both) {
        return Err(Malformed);
    }
    let limited = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default();
    let Some(end) = limited.windows(2).position(|w| w == b"\r\n") else {
        return match bytes.len() < V1_MAX {
            true => Ok(Read::More),
            false => Err(Malformed),
        };
    };
    let line = limited.get(..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| Malformed)?;
    let words: Vec<_> = line.split(' ').collect();
    let client = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", source, destination, from, to] => {
            destination.parse::<Ipv4Addr>().map_err(|_| Malformed)?;
            number(to)?;
            let source: Ipv4Addr = source.parse().map_err(|_| Malformed)?;
            Some((source, number(from)?).into())
        }
        ["PROXY", "TCP6", source, destination, from, to] => {
            destination.parse::<Ipv6Addr>().map_err(|_| Malformed)?;
            number(to)?;
            let source: Ipv6Addr = source.parse().map_err(|_| Malformed)?;
            Some((source, number(from)?).into())
        }
        _ => return Err(Malformed),
    };
    Ok(Read::Header {
        length: end + 2,
        client,
    })
}

/// A port in decimal, without sign or leading zeros.
fn number(word: &str) -> Result<u16, Malformed> {
    let plain =
        word.bytes().all(|b| b.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn headers_are_written_as_the_original_does() {
        let (c4, l4) = (address("192.0.2.1:5000"), address("198.51.100.2:80"));
        let (c6, l6) = (address("[2001:db8::1]:5000"), address("[2001:db8::2]:80"));
        assert_eq!(
            header(ProxyVersion::V1, c4, l4),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 80\r\n"
        );
        assert_eq!(
            header(ProxyVersion::V1, c6, l6),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 80\r\n"
        );
        assert_eq!(header(ProxyVersion::V1, c4, l6), b"PROXY UNKNOWN\r\n");
        let mut v4 = SIGNATURE.to_vec();
        v4.extend([
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 0, 80,
        ]);
        assert_eq!(header(ProxyVersion::V2, c4, l4), v4);
        let v6 = header(ProxyVersion::V2, c6, l6);
        assert_eq!((v6.len(), v6[13], v6[15]), (52, 0x21, 36));
        assert_eq!(&header(ProxyVersion::V2, c4, l6)[12..], [0x21, 0, 0, 0]);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 080\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 65536\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.2 5000 80\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.2 5000 80\r\n",
            b"PROXY \r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            assert_eq!(
                read(bad),
                Err(Malformed),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        let mut long = b"PROXY TCP6 ".to_vec();
        long.extend([b'a'; 200]);
        assert_eq!(read(&long), Err(Malformed));
        assert_eq!(read(b""), Ok(Read::More));
        assert_eq!(read(b"PRO"), Ok(Read::More));
        assert_eq!(
            read(b"PROXY UNKNOWN whatever\r\nrest"),
            Ok(Read::Header {
                length: 24,
                client: None
            })
        );
        assert_eq!(
            read(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0rest"),
            Ok(Read::Header {
                length: 16,
                client: None
            })
        );
    }

    fn socket() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = (
            any::<[u8; 4]>(),
            any::<u16>(),
            any::<[u8; 4]>(),
            any::<u16>(),
        )
            .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        let v6 = (
            any::<[u8; 16]>(),
            any::<u16>(),
            any::<[u8; 16]>(),
            any::<u16>(),
        )
            .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (client, local) in socket(),
            v2 in any::<bool>(),
            tail in prop::collection::vec(any::<u8>(), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let version = if v2 { ProxyVersion::V2 } else { ProxyVersion::V1 };
            let written = header(version, client, local);
            let mut bytes = written.clone();
            bytes.extend(&tail);
            let longest = if v2 { V2_MAX } else { V1_MAX };
            prop_assert!(written.len() <= longest);
            prop_assert_eq!(
                read(&bytes),
                Ok(Read::Header { length: written.len(), client: Some(client) })
            );
            prop_assert_eq!(read(&written[..cut.index(written.len())]), Ok(Read::More));
        }

        #[test]
        fn nothing_a_peer_sends_panics(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = read(&bytes);
            let mut signed = SIGNATURE.to_vec();
            signed.extend(&bytes);
            if let Ok(Read::Header { length, .. }) = read(&signed) {
                prop_assert!(length <= signed.len());
            }
        }
    }
}
