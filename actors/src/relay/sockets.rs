//! Sockets of relays: options of the protocol, outgoing connections.
//! Owns every option that `tcp { … }` sets.
//! Must never fail a session because an option that only tunes was refused.

use super::relays::Relay;
use super::session::Session;
use backends::sys::{listen, socket_options};
use conf::limits;
use conf::model::{TcpOptions, Translate};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};

/// A system error in the C library's words, without a number.
pub fn error_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Lengthens the accept queue of a listener of the parent's.
pub fn lengthen_queue(listener: &SockRef<'_>, backlog: u32) {
    let length = backlog.max(limits::BACKLOG_LEAST);
    // What the system refuses leaves the queue as it was.
    let _ = listener.listen(i32::try_from(length).unwrap_or(i32::MAX));
}

/// Sets the protocol's options on an accepted or outgoing socket.
pub fn tune(socket: &SockRef<'_>, options: &TcpOptions) {
    // A tuning option that the system refuses is no reason to refuse the client.
    if let Some(nodelay) = options.nodelay {
        let _ = socket.set_tcp_nodelay(nodelay);
    }
    let tuned = cfg!(target_os = "linux");
    let wanted = |&size: &u32| size > 0 && !(tuned && size <= limits::SOCKET_BUFFER_TUNED);
    if let Some(size) = options.socket_buffer.filter(wanted) {
        let _ = socket.set_recv_buffer_size(size as usize);
        let _ = socket.set_send_buffer_size(size as usize);
    }
    if let Some(ttl) = options.ip_ttl.filter(|&ttl| ttl > 0) {
        let _ = socket.set_ttl_v4(u32::from(ttl));
        let _ = socket.set_unicast_hops_v6(u32::from(ttl));
    }
    // 0 takes one back.
    if let Some(ttl) = options.ip_minttl
        && let Some(address) = socket.local_addr().ok().and_then(|a| a.as_socket())
    {
        let _ = socket_options::set_min_ttl(&**socket, address.ip(), ttl);
    }
}

/// Sets the protocol's options on a listener that served another configuration `before`: what is not asked for any
/// more would be inherited by every connection. Sizes of buffers stay: no system takes one back.
pub fn tune_again(listener: &SockRef<'_>, before: &TcpOptions, options: &TcpOptions) {
    if before == options {
        return;
    }
    let ttl = options.ip_ttl.filter(|&ttl| ttl > 0);
    let all = TcpOptions {
        nodelay: options.nodelay.or(Some(false)),
        ip_minttl: options.ip_minttl.or(Some(0)),
        ip_ttl: ttl.or_else(|| system_ttl(listener)),
        ..*options
    };
    tune(listener, &all);
}

/// The TTL or hop limit of a socket that nobody has tuned, if this one has another.
fn system_ttl(socket: &SockRef<'_>) -> Option<u8> {
    let address = socket.local_addr().ok()?.as_socket()?;
    let fresh = Socket::new(Domain::for_address(address), socket.r#type().ok()?, None).ok()?;
    let ttl = |socket: &Socket| match address {
        SocketAddr::V4(_) => socket.ttl_v4(),
        SocketAddr::V6(_) => socket.unicast_hops_v6(),
    };
    let (default, now) = (ttl(&fresh).ok()?, ttl(socket).ok()?);
    u8::try_from(default).ok().filter(|_| default != now)
}

/// Connects to a server with the relay's options.
///
/// # Errors
/// Those of the system.
pub async fn connect(
    relay: &Relay,
    session: &Session,
    address: SocketAddr,
) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    tune(&SockRef::from(&socket), &relay.protocol.tcp);
    if relay.config.transparent && session.client.is_ipv4() == address.is_ipv4() {
        as_client(&SockRef::from(&socket), session.client.ip())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into())?;
    // Not tokio's own `connect`: that asks for the socket's error even when epoll has reported none.
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    let suspect = ready.is_error() || ready.is_write_closed() || ready.is_read_closed();
    if suspect && let Some(error) = stream.take_error()? {
        return Err(error);
    }
    Ok(stream)
}

/// Gives a socket the client's address, and a port of the system's choice.
fn as_client(socket: &SockRef<'_>, client: IpAddr) -> io::Result<()> {
    listen::set_foreign(&**socket, client.is_ipv6())?;
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
        // The port is chosen when the server is known: else one client could not use a port for two servers.
        // Without it there are fewer connections, but there are.
        let _ = setsockopt(&**socket, IpBindAddressNoPort, &true);
    }
    socket.bind(&SocketAddr::new(client, 0).into())
}

/// Destination before the packet filter redirected the connection here; `None` if it did not, or keeps it elsewhere.
#[cfg(target_os = "linux")]
pub fn original_destination(socket: &TcpStream) -> Option<SocketAddr> {
    let local = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    let original = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok()?.as_socket().filter(|a| *a != local)
}

/// Only the packet filter engine knows.
#[cfg(not(target_os = "linux"))]
pub fn original_destination(_: &TcpStream) -> Option<SocketAddr> {
    None
}

/// Whether an address is one of this machine's.
pub fn is_local(ip: IpAddr) -> bool {
    if !binds(ip) {
        return false;
    }
    // With `ip_nonlocal_bind` any address binds, even one that nobody has.
    let nobody: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::new(240, 0, 0, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1).into(),
    };
    !binds(nobody) || ip.is_loopback() || has_interface(ip)
}

fn binds(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

fn has_interface(ip: IpAddr) -> bool {
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut addresses = interfaces.filter_map(|i| i.address.and_then(address));
    addresses.any(|a| a == ip)
}

/// A UDP socket on a port of the system's choice that talks to one server only. With `transparent` it has the address of
/// `client`, its only one.
///
/// # Errors
/// Those of the system, for instance no descriptor left.
pub fn connect_udp(
    relay: &Relay,
    address: SocketAddr,
    client: Option<IpAddr>,
) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    let client = client.filter(|c| relay.config.transparent && c.is_ipv4() == address.is_ipv4());
    if let Some(client) = client {
        as_client(&SockRef::from(&socket), client)?;
    }
    socket.connect(&address.into())?;
    tune(&SockRef::from(&socket), &relay.protocol.tcp);
    UdpSocket::from_std(socket.into())
}

/// Sends a datagram on a connected socket at once or not at all.
///
/// # Errors
/// `WouldBlock` if the kernel's queue is full; what became of earlier datagrams.
pub fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    // Not by tokio's `try_send`: that knows nothing of a new socket until the next turn of its loop.
    SockRef::from(socket).send(datagram)
}

/// The target in the address family that `inet` or `inet6` asks for; `None` if there is no such address.
pub fn translate(to: Option<Translate>, address: SocketAddr) -> Option<SocketAddr> {
    let ip = match (to, address.ip()) {
        (Some(Translate::Inet), IpAddr::V6(ip)) => {
            let [.., a, b, c, d] = ip.octets();
            let ip = Ipv4Addr::new(a, b, c, d);
            if ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
                return None;
            }
            IpAddr::V4(ip)
        }
        (Some(Translate::Inet6(prefix)), IpAddr::V4(ip)) => {
            let mask = u128::from(u32::MAX);
            IpAddr::V6(Ipv6Addr::from(
                (u128::from(prefix) & !mask) | u128::from(u32::from(ip)),
            ))
        }
        _ => return Some(address),
    };
    Some(SocketAddr::new(ip, address.port()))
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

    #[test]
    fn families_are_translated() {
        let six: SocketAddr = "[2001:db8::c000:201]:80".parse().unwrap();
        let four: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert_eq!(translate(Some(Translate::Inet), six), Some(four));
        assert_eq!(translate(Some(Translate::Inet), four), Some(four));
        assert_eq!(
            translate(Some(Translate::Inet6("2001:db8::".parse().unwrap())), four),
            Some(six)
        );
        assert_eq!(translate(None, six), Some(six));
        let bad: SocketAddr = "[2001:db8::ffff:ffff]:80".parse().unwrap();
        assert_eq!(translate(Some(Translate::Inet), bad), None);
    }

    #[test]
    fn a_listener_gives_back_what_is_asked_for_no_more() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let accepted = || {
                let _client = std::net::TcpStream::connect(local).unwrap();
                let (accepted, _) = listener.accept().unwrap();
                let socket = Socket::from(accepted);
                let ttl = match local {
                    SocketAddr::V4(_) => socket.ttl_v4(),
                    SocketAddr::V6(_) => socket.unicast_hops_v6(),
                };
                (socket.tcp_nodelay().unwrap(), ttl.unwrap())
            };
            let untuned = accepted();
            let none = TcpOptions::default();
            let some = TcpOptions {
                nodelay: Some(true),
                ip_ttl: Some(255),
                ..none
            };
            let far = TcpOptions {
                ip_minttl: Some(255),
                ..some
            };
            let listener = SockRef::from(&listener);
            tune_again(&listener, &none, &some);
            assert_eq!(accepted(), (true, 255));
            // Without the last of it nobody could connect here.
            tune_again(&listener, &some, &far);
            tune_again(&listener, &far, &none);
            assert_eq!(accepted(), untuned);
            // No TTL and nothing to take back are the system's too.
            let zero = TcpOptions {
                ip_ttl: Some(0),
                ..none
            };
            tune_again(&listener, &none, &zero);
            assert_eq!(accepted(), untuned);
        }
    }

    #[test]
    fn a_datagram_socket_gives_its_ttl_back() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (untuned, none) = (socket.ttl().unwrap(), TcpOptions::default());
        let some = TcpOptions {
            ip_ttl: Some(7),
            ..none
        };
        tune_again(&SockRef::from(&socket), &none, &some);
        assert_eq!(socket.ttl().unwrap(), 7);
        tune_again(&SockRef::from(&socket), &some, &none);
        assert_eq!(socket.ttl().unwrap(), untuned);
    }

    #[test]
    fn connections_of_a_listener_send_at_once_where_asked() {
        for nodelay in [Some(true), Some(false), None] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let options = TcpOptions {
                nodelay,
                ..TcpOptions::default()
            };
            tune(&SockRef::from(&listener), &options);
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(accepted.nodelay().unwrap(), nodelay == Some(true));
            tune(&SockRef::from(&client), &options);
            assert_eq!(client.nodelay().unwrap(), nodelay == Some(true));
        }
    }
}
