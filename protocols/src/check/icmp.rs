//! `check icmp`: echo requests and their replies, for ICMP and ICMPv6.
//! Owns the packet: 64 bytes, with the host and a secret in the payload.
//! Must never trust a packet: whoever can send one may send any.

use conf::model::HostId;

/// Length of a request.
pub const PACKET_LENGTH: usize = 64;
/// Longest answer worth reading: IPv4 header with options, and the packet.
pub const ANSWER_MAX: usize = 60 + PACKET_LENGTH + 64;

const HEADER: usize = 8;

/// Protocol family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    fn request(self) -> u8 {
        match self {
            Family::V4 => 8,
            Family::V6 => 128,
        }
    }

    fn reply(self) -> u8 {
        match self {
            Family::V4 => 0,
            Family::V6 => 129,
        }
    }
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Which host is asked.
    pub host: HostId,
    /// Which check of it.
    pub serial: u32,
    /// Secret of this process: replies that nobody was asked for do not have it.
    pub secret: u64,
}

/// A request. On datagram sockets the system replaces `id`; the ICMPv6 checksum is always the system's.
pub fn request(family: Family, id: u16, echo: Echo) -> [u8; PACKET_LENGTH] {
    let mut packet = [0; PACKET_LENGTH];
    let sequence = (echo.serial & 0xffff) as u16;
    let fields: [&[u8]; 7] = [
        &[family.request(), 0],
        &[0, 0],
        &id.to_be_bytes(),
        &sequence.to_be_bytes(),
        &echo.secret.to_be_bytes(),
        &echo.host.0.to_be_bytes(),
        &echo.serial.to_be_bytes(),
    ];
    for (to, from) in packet.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    if family == Family::V4 {
        let sum = checksum(&packet).to_be_bytes();
        for (to, from) in packet.iter_mut().skip(2).zip(sum) {
            *to = from;
        }
    }
    packet
}

/// Reads a reply. `ip_header`: the packet begins with its IPv4 header (raw sockets). `id`: the identifier our
/// requests carry, where it is ours to choose.
pub fn reply(family: Family, ip_header: bool, id: Option<u16>, packet: &[u8]) -> Option<Echo> {
    let packet = if ip_header {
        let first = *packet.first()?;
        if first >> 4 != 4 {
            return None;
        }
        packet.get(usize::from(first & 0xf) * 4..)?
    } else {
        packet
    };
    let (header, payload) = packet.split_at_checked(HEADER)?;
    if header.first() != Some(&family.reply()) || header.get(1) != Some(&0) {
        return None;
    }
    if let Some(id) = id
        && header.get(4..6) != Some(id.to_be_bytes().as_slice())
    {
        return None;
    }
    Some(Echo {
        secret: u64::from_be_bytes(*payload.first_chunk()?),
        host: HostId(u32::from_be_bytes(*payload.get(8..)?.first_chunk()?)),
        serial: u32::from_be_bytes(*payload.get(12..)?.first_chunk()?),
    })
}

/// The Internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in packet.chunks(2) {
        let high = pair.first().copied().unwrap_or_default();
        let low = pair.get(1).copied().unwrap_or_default();
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn answer(family: Family, mut packet: Vec<u8>) -> Vec<u8> {
        packet[0] = family.reply();
        packet
    }

    const ECHO: Echo = Echo {
        host: HostId(7),
        serial: 70_000,
        secret: 0x0123_4567_89ab_cdef,
    };

    #[test]
    fn request_is_64_bytes_with_a_valid_checksum() {
        let packet = request(Family::V4, 0xbeef, ECHO);
        assert_eq!(packet.len(), 64);
        assert_eq!(&packet[..2], [8, 0]);
        assert_eq!(&packet[4..6], [0xbe, 0xef]);
        assert_eq!(checksum(&packet), 0);
        assert_eq!(request(Family::V6, 1, ECHO)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn reply_is_recognised_with_and_without_ip_header() {
        for family in [Family::V4, Family::V6] {
            let packet = answer(family, request(family, 5, ECHO).to_vec());
            assert_eq!(reply(family, false, Some(5), &packet), Some(ECHO));
            assert_eq!(reply(family, false, None, &packet), Some(ECHO));
            assert_eq!(reply(family, false, Some(6), &packet), None);
        }
        let packet = answer(Family::V4, request(Family::V4, 5, ECHO).to_vec());
        let mut with_header = vec![0x46];
        with_header.resize(24, 0);
        with_header.extend(packet);
        assert_eq!(reply(Family::V4, true, Some(5), &with_header), Some(ECHO));
    }

    #[test]
    fn requests_and_errors_are_no_replies() {
        let mut packet = request(Family::V4, 5, ECHO).to_vec();
        assert_eq!(reply(Family::V4, false, Some(5), &packet), None);
        packet[0] = 3;
        assert_eq!(reply(Family::V4, false, Some(5), &packet), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(packet in prop::collection::vec(any::<u8>(), 0..100), header: bool) {
            let _ = reply(Family::V4, header, None, &packet);
            let _ = reply(Family::V6, false, Some(1), &packet);
        }

        #[test]
        fn what_is_sent_comes_back(host: u32, serial: u32, secret: u64, id: u16) {
            let echo = Echo { host: HostId(host), serial, secret };
            let packet = answer(Family::V4, request(Family::V4, id, echo).to_vec());
            prop_assert_eq!(reply(Family::V4, false, Some(id), &packet), Some(echo));
        }
    }
}
