//! The netlink socket to the kernel's routing.
//! Owns requests, acknowledgements and dumps.
//! Must never wait: the kernel answers before the call that asks returns.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// Bytes of one piece of an answer; the kernel makes none longer than 32 KiB.
const PIECE: usize = 64 * 1024;
/// Pieces read for one answer; more would be a kernel that repeats itself.
const PIECES_MAX: usize = 100_000;

/// A socket.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Makes one change.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags)?;
        self.answer(|_| ())
    }

    /// Hands everything of one kind to `each`.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.ask(message, NLM_F_DUMP)?;
        self.answer(each)
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    fn answer(&self, each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        let receive = |buffer: &mut Vec<u8>| {
            self.socket.recv(buffer, libc::MSG_DONTWAIT)?;
            Ok(())
        };
        read(self.sequence, receive, each)
    }
}

/// Reads an answer to its end and hands its messages to `each`.
fn read(
    sequence: u32,
    mut receive: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
    mut each: impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIECE);
    for _ in 0..PIECES_MAX {
        buffer.clear();
        receive(&mut buffer)?;
        let mut rest = buffer.as_slice();
        while let Some((bytes, after)) = first(rest) {
            rest = after;
            // A message this library cannot read is about something that is not ours.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
                continue;
            };
            if message.header.sequence_number != sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::Done(end) if end.code != 0 => {
                    return Err(io::Error::from_raw_os_error(end.code.wrapping_neg()));
                }
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(()),
                NetlinkPayload::InnerMessage(inner) => each(inner),
                _ => {}
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The first message of some bytes, and what follows it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_ne_bytes(length)).ok()?;
    let message = bytes.get(..length).filter(|m| m.len() >= 16)?;
    let after = length.div_ceil(4) * 4;
    Some((message, bytes.get(after..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: i32) -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend(3u16.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(code.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_list_that_ends_with_an_error_is_one() {
        let ended = |code| {
            let receive = |buffer: &mut Vec<u8>| {
                buffer.extend(end(code));
                Ok(())
            };
            read(7, receive, |_| ())
        };
        assert!(ended(0).is_ok());
        let error = ended(-libc::ENOMEM).err();
        assert_eq!(error.and_then(|e| e.raw_os_error()), Some(libc::ENOMEM));
    }
}
