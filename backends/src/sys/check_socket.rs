//! Sockets of host checks: cheap to open by the thousand, gone without a trace.
//! Owns their options and the system calls around them.
//! Must never judge a host: errors are told apart, no more.

use conf::model::Address;
use nix::sys::socket::{SockaddrStorage, recvfrom};
use protocols::check::icmp::Family;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use thiserror::Error;

/// Receive buffer of ICMP sockets: a burst's replies arrive together.
const ECHO_RECEIVE_BUFFER: usize = 262_144;

/// Why a check's connection could not even begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// We are out of descriptors or memory; the host has no part in it.
    #[error("no more sockets: {0}")]
    Limit(io::Error),
    /// No socket of this kind.
    #[error("socket: {0}")]
    Socket(io::Error),
    /// A socket option was refused.
    #[error("socket option: {0}")]
    Option(io::Error),
    /// The connection failed at once.
    #[error("connect: {0}")]
    Connect(io::Error),
}

/// Begins to connect without waiting. `ip_ttl` 0 = system default. With `hold_ack` the handshake's last packet
/// is held back, so that closing puts a reset in its place and the server never has to accept.
///
/// # Errors
/// [`StartError`].
pub fn connect(address: SocketAddr, ip_ttl: u8, hold_ack: bool) -> Result<TcpStream, StartError> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )
    .map_err(|error| {
        if exhausted(&error) {
            StartError::Limit(error)
        } else {
            StartError::Socket(error)
        }
    })?;
    options(&socket, address, ip_ttl, hold_ack).map_err(StartError::Option)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) if exhausted(&error) => return Err(StartError::Limit(error)),
        Err(error) => return Err(StartError::Connect(error)),
    }
    Ok(socket.into())
}

fn options(socket: &Socket, address: SocketAddr, ip_ttl: u8, hold_ack: bool) -> io::Result<()> {
    // A reset at close: no TIME-WAIT stays behind, however many hosts there are.
    socket.set_linger(Some(Duration::ZERO))?;
    if ip_ttl > 0 {
        set_ttl(socket, address.ip(), u32::from(ip_ttl))?;
    }
    #[cfg(target_os = "linux")]
    if hold_ack {
        socket.set_tcp_quickack(false)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = hold_ack;
    Ok(())
}

fn set_ttl(socket: &Socket, ip: IpAddr, ttl: u32) -> io::Result<()> {
    match ip {
        IpAddr::V4(_) => socket.set_ttl_v4(ttl),
        IpAddr::V6(_) => socket.set_unicast_hops_v6(ttl),
    }
}

/// Whether the system, not the network, said no.
fn exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Looks once at connections that have begun, all in one system call, and says which are decided:
/// `None` = not yet. If the look itself fails, nothing is decided.
pub fn look(streams: &[&TcpStream]) -> Vec<Option<io::Result<()>>> {
    let mut entries: Vec<libc::pollfd> = streams
        .iter()
        .map(|stream| libc::pollfd {
            fd: stream.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        })
        .collect();
    // SAFETY: the pointer and the length are those of a vector that outlives the call; the descriptors are
    // open because their owners are borrowed.
    #[allow(unsafe_code)]
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) };
    if ready <= 0 {
        return streams.iter().map(|_| None).collect();
    }
    streams
        .iter()
        .zip(entries)
        .map(|(stream, entry)| match entry.revents {
            0 => None,
            libc::POLLOUT => Some(Ok(())),
            _ => Some(outcome(stream)),
        })
        .collect()
}

/// How a connection that is no longer pending ended.
///
/// # Errors
/// The error of the connection attempt.
pub fn outcome(stream: &TcpStream) -> io::Result<()> {
    match stream.take_error()? {
        Some(error) => Err(error),
        // An established connection that the peer closed at once has no error.
        None => stream.peer_addr().map(drop),
    }
}

/// An ICMP or ICMPv6 socket for echo requests.
#[derive(Debug)]
pub struct EchoSocket {
    socket: Socket,
    family: Family,
    raw: bool,
    default_ttl: u32,
    ttl: Cell<u32>,
}

impl EchoSocket {
    /// Opens a raw socket, or an unprivileged datagram ICMP socket where raw ones are not allowed.
    ///
    /// # Errors
    /// Neither is allowed; the error is the raw socket's.
    pub fn open(family: Family) -> io::Result<OwnedFd> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))
            .or_else(|error| Socket::new(domain, Type::DGRAM, Some(protocol)).map_err(|_| error))?;
        Ok(socket.into())
    }

    /// Takes over a socket that [`EchoSocket::open`] made, perhaps in another process.
    ///
    /// # Errors
    /// It is no such socket, or its options cannot be set.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<EchoSocket> {
        let socket = Socket::from(descriptor);
        let family = match socket.local_addr()?.domain() {
            Domain::IPV4 => Family::V4,
            Domain::IPV6 => Family::V6,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let raw = socket.r#type()? == Type::RAW;
        socket.set_nonblocking(true)?;
        // The system may allow less; then a very large burst loses replies and `retry` covers them.
        let _ = socket.set_recv_buffer_size(ECHO_RECEIVE_BUFFER);
        if raw {
            let _ = only_replies(&socket, family);
        }
        let default_ttl = match family {
            Family::V4 => socket.ttl_v4()?,
            Family::V6 => socket.unicast_hops_v6()?,
        };
        Ok(EchoSocket {
            socket,
            family,
            raw,
            default_ttl,
            ttl: Cell::new(default_ttl),
        })
    }

    /// A duplicate that event loops know how to wait on; never read from it.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn waiter(&self) -> io::Result<UdpSocket> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Protocol family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether packets arrive with their IPv4 header.
    pub fn ip_header(&self) -> bool {
        self.raw && self.family == Family::V4 || cfg!(target_os = "macos")
    }

    /// Whether the identifier of requests is ours; the system chooses that of datagram sockets.
    pub fn own_id(&self) -> bool {
        self.raw
    }

    /// Sends a request. `ip_ttl` 0 = system default.
    ///
    /// # Errors
    /// `WouldBlock` when the queue is full; otherwise the host cannot be reached.
    pub fn send(&self, packet: &[u8], to: Address, ip_ttl: u8) -> io::Result<()> {
        let ttl = match ip_ttl {
            0 => self.default_ttl,
            ttl => u32::from(ttl),
        };
        if self.ttl.get() != ttl {
            set_ttl(&self.socket, to.ip, ttl)?;
            self.ttl.set(ttl);
        }
        let sent = self
            .socket
            .send_to(packet, &SockAddr::from(to.with_port(0)));
        match sent {
            Ok(_) => Ok(()),
            Err(error) if exhausted(&error) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }

    /// Receives one packet and its sender.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; others are errors that an earlier request caused.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        let (length, from) = recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), buffer)?;
        let ip = from.and_then(|from| {
            from.as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        Ok((length, ip))
    }
}

/// Has the system drop everything but echo replies: a raw socket sees all ICMP traffic of the machine.
#[cfg(target_os = "linux")]
fn only_replies(socket: &Socket, family: Family) -> io::Result<()> {
    const ICMP_FILTER: libc::c_int = 1;
    const ICMPV6_FILTER: libc::c_int = 1;
    const SOL_RAW: libc::c_int = 255;
    // A set bit blocks the type.
    let (level, name, mask): (_, _, [u32; 8]) = match family {
        Family::V4 => (SOL_RAW, ICMP_FILTER, [!1, 0, 0, 0, 0, 0, 0, 0]),
        Family::V6 => {
            let mut mask = [u32::MAX; 8];
            if let Some(word) = mask.get_mut(129 / 32) {
                *word = !(1 << (129 % 32));
            }
            (libc::IPPROTO_ICMPV6, ICMPV6_FILTER, mask)
        }
    };
    let length = match family {
        Family::V4 => size_of::<u32>(),
        Family::V6 => size_of_val(&mask),
    };
    // SAFETY: the option value is the first `length` bytes of an array that lives across the call.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            mask.as_ptr().cast(),
            length as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Elsewhere every packet is read and those that are no reply are dropped.
#[cfg(not(target_os = "linux"))]
fn only_replies(_socket: &Socket, _family: Family) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use protocols::check::icmp;
    use std::net::TcpListener;
    use std::time::Instant;

    fn settled(stream: &TcpStream) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(result) = look(&[stream]).pop().unwrap() {
                return result;
            }
            assert!(Instant::now() < end, "connection is not decided");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn open_and_closed_ports_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        settled(&connect(address, 5, true).unwrap()).unwrap();
        drop(listener);
        match connect(address, 0, true) {
            Err(StartError::Connect(_)) => {}
            Ok(stream) => assert_eq!(
                settled(&stream).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            ),
            Err(error) => assert_eq!(error.to_string(), "connected or refused"),
        }
    }

    #[test]
    fn many_are_looked_at_in_one_call() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Vec<TcpStream> = (0..20)
            .map(|_| connect(address, 0, true).unwrap())
            .collect();
        for stream in &streams {
            settled(stream).unwrap();
        }
        let all: Vec<&TcpStream> = streams.iter().collect();
        assert!(look(&all).iter().all(|one| matches!(one, Some(Ok(())))));
    }

    #[test]
    fn echo_to_loopback() {
        for (family, target) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
            let Ok(descriptor) = EchoSocket::open(family) else {
                eprintln!("skipped {family:?}: ICMP sockets need root or ping_group_range");
                continue;
            };
            let socket = EchoSocket::adopt(descriptor).unwrap();
            let echo = icmp::Echo {
                host: conf::model::HostId(3),
                serial: 4,
                secret: 5,
            };
            let target = Address::from(target.parse::<IpAddr>().unwrap());
            socket
                .send(&icmp::request(family, 77, echo), target, 3)
                .unwrap();
            let end = Instant::now() + Duration::from_secs(5);
            let mut buffer = [0; icmp::ANSWER_MAX];
            let found = loop {
                assert!(Instant::now() < end, "no reply");
                match socket.receive(&mut buffer) {
                    Ok((length, from)) => {
                        let id = socket.own_id().then_some(77);
                        let packet = &buffer[..length];
                        if let Some(found) = icmp::reply(family, socket.ip_header(), id, packet) {
                            assert_eq!(from, Some(target.ip));
                            break found;
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            assert_eq!(found, echo);
        }
    }
}
