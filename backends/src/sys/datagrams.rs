//! Datagrams in batches, and answers from the address that was asked.
//! Owns the buffers of a batch and the system calls around them.
//! Must never look into a datagram.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
use linux::{receive, transmit};
#[cfg(not(target_os = "linux"))]
use portable::{receive, transmit};

/// Datagrams received by one system call.
const BATCH: usize = 32;
/// Longest datagram.
const DATAGRAM: usize = 65_536;

/// A datagram of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    length: usize,
    from: Option<SocketAddr>,
    local: Option<IpAddr>,
    onward: Option<Onward>,
}

/// A datagram to send, its receiver, and our address it shall come from.
type Outgoing<'a> = (&'a [u8], Option<(SocketAddr, Option<IpAddr>)>);

/// Where a datagram of a batch goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Which of the caller's sockets sends it; the same number that [`Batch::send`] gets.
    pub by: usize,
    /// Receiver, and which of our addresses it shall come from; `None` = the socket is connected.
    pub to: Option<(SocketAddr, Option<IpAddr>)>,
}

/// What became of the datagrams of a batch that one socket was to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams it did not take.
    pub dropped: u64,
}

/// Room for a batch of datagrams. Memory is touched only as far as datagrams fill it.
pub struct Batch {
    buffer: Box<[u8]>,
    metas: Vec<Meta>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            buffer: vec![0; BATCH * DATAGRAM].into_boxed_slice(),
            metas: Vec::with_capacity(BATCH),
        }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Batch {
    /// Receives what waits on a non-blocking socket, and answers whether more may wait.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits; the fate of earlier datagrams (ICMP errors).
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<bool> {
        self.metas.clear();
        receive(
            socket.as_fd().as_raw_fd(),
            &mut self.buffer,
            &mut self.metas,
        )?;
        Ok(self.metas.len() == BATCH)
    }

    /// Calls `act` for each datagram, with its sender (none on connected sockets) and the address it was sent to (if
    /// the socket was told to keep it, see [`keep_local`]). `act` may change the datagram and says where it goes on to.
    pub fn each(
        &mut self,
        mut act: impl FnMut(&mut [u8], Option<SocketAddr>, Option<IpAddr>) -> Option<Onward>,
    ) {
        let datagrams = self.buffer.chunks_exact_mut(DATAGRAM);
        for (datagram, meta) in datagrams.zip(&mut self.metas) {
            if let Some(datagram) = datagram.get_mut(..meta.length) {
                meta.onward = act(datagram, meta.from, meta.local);
            }
        }
    }

    /// Sends the datagrams that shall go on by socket number `by`, in their order, in as few system calls as the
    /// system has. What the kernel does not take at once is dropped.
    pub fn send(&self, socket: impl AsFd, by: usize) -> Sent {
        let fd = socket.as_fd().as_raw_fd();
        let datagrams = self.buffer.chunks_exact(DATAGRAM).zip(&self.metas);
        let mut waiting: Vec<Outgoing<'_>> = datagrams
            .filter_map(|(datagram, meta)| {
                let onward = meta.onward.filter(|onward| onward.by == by)?;
                Some((datagram.get(..meta.length)?, onward.to))
            })
            .collect();
        let mut sent = Sent::default();
        let mut again = true;
        while !waiting.is_empty() {
            let done = match transmit(fd, &waiting) {
                Ok(count) => {
                    let took = waiting.get(..count).unwrap_or_default();
                    sent.datagrams += count as u64;
                    sent.bytes += took.iter().map(|(d, _)| d.len() as u64).sum::<u64>();
                    again = true;
                    count.max(1)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => waiting.len(),
                // The first error may be about an earlier datagram; a second is not tried away.
                Err(_) if std::mem::take(&mut again) => 0,
                Err(_) => {
                    again = true;
                    1
                }
            };
            waiting.drain(..done.min(waiting.len()));
        }
        let all = self.metas.iter().filter_map(|meta| meta.onward);
        sent.dropped = (all.filter(|onward| onward.by == by).count() as u64) - sent.datagrams;
        sent
    }
}

/// Has a socket that is bound to no particular address tell which one each datagram was sent to.
///
/// # Errors
/// Those of setsockopt(2).
#[cfg(target_os = "linux")]
pub fn keep_local(socket: impl AsFd, v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match v6 {
        true => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        false => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    Ok(())
}

/// Not known how on this system.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn keep_local(_: impl AsFd, _v6: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;

    fn drain(
        batch: &mut Batch,
        socket: &UdpSocket,
    ) -> Vec<(Vec<u8>, Option<SocketAddr>, Option<IpAddr>)> {
        let mut got = Vec::new();
        batch.receive(socket).unwrap();
        batch.each(|datagram, from, local| {
            got.push((datagram.to_vec(), from, local));
            None
        });
        got
    }

    #[test]
    fn batches_bring_datagrams_senders_and_addresses() {
        for (any, one, other) in [
            ("0.0.0.0:0", "127.0.0.1", "127.0.0.9"),
            ("[::]:0", "::1", "::1"),
        ] {
            let server = UdpSocket::bind(any).unwrap();
            server.set_nonblocking(true).unwrap();
            keep_local(&server, any.starts_with('[')).unwrap();
            let port = server.local_addr().unwrap().port();
            let mut batch = Batch::default();
            let error = batch.receive(&server).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let one: IpAddr = one.parse().unwrap();
            let other: IpAddr = other.parse().unwrap();
            let client = UdpSocket::bind((one, 0)).unwrap();
            let from = Some(client.local_addr().unwrap());
            client.send_to(b"first", (one, port)).unwrap();
            client.send_to(b"", (other, port)).unwrap();
            client.send_to(&[7; 60_000], (one, port)).unwrap();
            let got = drain(&mut batch, &server);
            assert_eq!(got.len(), 3);
            let local = |ip| {
                if cfg!(target_os = "linux") {
                    Some(ip)
                } else {
                    None
                }
            };
            assert_eq!(got.first(), Some(&(b"first".to_vec(), from, local(one))));
            assert_eq!(got.get(1), Some(&(vec![], from, local(other))));
            assert_eq!(got.last(), Some(&(vec![7; 60_000], from, local(one))));
            // The answer comes from the address that was asked.
            client.send_to(b"query", (other, port)).unwrap();
            batch.receive(&server).unwrap();
            batch.each(|datagram, from, local| {
                datagram.reverse();
                let to = from.map(|from| (from, local));
                Some(Onward { by: 7, to })
            });
            assert_eq!(batch.send(&server, 1), Sent::default());
            let sent = batch.send(&server, 7);
            assert_eq!((sent.datagrams, sent.bytes, sent.dropped), (1, 5, 0));
            let mut buffer = [0; 16];
            let (count, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer.get(..count), Some(&b"yreuq"[..]));
            assert_eq!(from.port(), port);
            if cfg!(target_os = "linux") {
                assert_eq!(from.ip(), other);
            }
        }
    }

    #[test]
    fn a_full_batch_says_that_more_may_wait() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        for _ in 0..BATCH + 1 {
            client.send(b"x").unwrap();
        }
        let mut batch = Batch::default();
        assert!(batch.receive(&server).unwrap());
        assert!(!batch.receive(&server).unwrap());
        let mut count = 0;
        batch.each(|_, _, _| {
            count += 1;
            None
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn a_batch_goes_on_by_several_sockets_whatever_became_of_earlier_datagrams() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (open, refused) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        open.connect(receiver.local_addr().unwrap()).unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        refused.connect(gone.local_addr().unwrap()).unwrap();
        drop(gone);
        refused.send(b"nobody listens").unwrap();
        for number in 0..6 {
            client.send(&[number; 3]).unwrap();
        }
        let mut batch = Batch::default();
        batch.receive(&server).unwrap();
        batch.each(|datagram, _, _| match datagram.first() {
            Some(0) => None,
            Some(number) => Some(Onward {
                by: usize::from(number % 2),
                to: None,
            }),
            None => None,
        });
        let sent = batch.send(&open, 1);
        assert_eq!((sent.datagrams, sent.bytes, sent.dropped), (3, 9, 0));
        for number in [1, 3, 5] {
            let mut buffer = [0; 16];
            let count = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer.get(..count), Some(&[number; 3][..]));
        }
        // That nobody listens is told with a later datagram, and costs none of them its try.
        let sent = batch.send(&refused, 0);
        assert_eq!(sent.datagrams + sent.dropped, 2);
    }
}
