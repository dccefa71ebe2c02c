//! Connections as the kernel tracks them: ended with their server, asked for where they wanted to go.

use super::hold;
use super::network::services::{
    PORT, SERVER_PORT, backend, from_client, rules, service, set_state, start_servers, virtuals,
};
use super::network::{self, Network, alive, ask};
use backends::filter::{PacketFilter, ServerState, Settings};
use std::net::{SocketAddr, UdpSocket};

#[test]
fn states_of_a_lost_server_are_killed() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    set_state(&mut www, 1, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    // One client that keeps its UDP socket, and TCP connections, all to s0.
    let sockets: Vec<UdpSocket> = from_client(&network, || {
        let bind = |any| UdpSocket::bind(any).unwrap();
        let sockets = vec![bind("0.0.0.0:0"), bind("[::]:0")];
        for (socket, to) in sockets.iter().zip(virtuals(PORT)) {
            assert_eq!(ask(socket, to).as_deref(), Some("s0"));
        }
        sockets
    });
    let mut tcp: Vec<_> = virtuals(PORT)
        .into_iter()
        .flat_map(|to| hold(&network, to, 1))
        .collect();
    set_state(&mut www, 1, ServerState::Up);
    set_state(&mut www, 0, ServerState::Down);
    let changes = filter.apply(&rules(&[&www])).unwrap();

    assert_eq!(changes[0].killed, 2, "one UDP state in each family");
    for (socket, to) in sockets.iter().zip(virtuals(PORT)) {
        assert_eq!(ask(socket, to).as_deref(), Some("s1"), "{to}");
    }
    assert!(
        tcp.iter_mut().all(|(stream, _)| alive(stream)),
        "TCP was not asked for"
    );

    // The same with TCP.
    filter.configure(Settings {
        kill_tcp: true,
        ..Settings::default()
    });
    set_state(&mut www, 0, ServerState::Up);
    set_state(&mut www, 1, ServerState::Down);
    let mut on_s1 = tcp;
    filter.apply(&rules(&[&www])).unwrap();
    set_state(&mut www, 1, ServerState::Up);
    set_state(&mut www, 0, ServerState::Down);
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert!(changes[0].killed >= 2, "{changes:?}");
    assert!(
        on_s1.iter_mut().all(|(stream, _)| !alive(stream)),
        "killed connections live on"
    );
    filter.purge().unwrap();
}

#[test]
fn a_client_is_asked_for_where_it_wanted_to_go() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&service("www", 1)])).unwrap();
    for (v6, to) in virtuals(PORT).into_iter().enumerate() {
        let connections = hold(&network, to, 1);
        let client = connections[0].0.local_addr().unwrap();
        let server = SocketAddr::new(Network::address(0, v6 == 1), SERVER_PORT);
        assert_eq!(filter.nat_lookup(6, client, server).unwrap(), Some(to));
        let nobody = SocketAddr::new(client.ip(), 1);
        assert_eq!(filter.nat_lookup(6, nobody, server).unwrap(), None);
    }
    filter.purge().unwrap();
}
