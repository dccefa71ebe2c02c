//! Listening sockets: which ones a configuration needs, and the open ones.
//! Owns a duplicate of every socket that was handed to a child, so that a restarted child gets the same ones.
//! Must never close a socket that the configuration in force needs.

use crate::board::Board;
use crate::link::{Peer, Role, Slot};
use crate::options::{Backend, Options};
use backends::filter::{self, Kind, Relayed};
use backends::sys::listen::{self, Transport};
use backends::sys::log_target;
use conf::limits;
use conf::model::{AccessTarget, Check, Config, Target};
use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    /// Shared listener number `.2` of an address.
    Shared(SocketAddr, Transport, u32),
    Exclusive(SocketAddr),
    Control(PathBuf),
    Filter,
    Icmp {
        v6: bool,
    },
    /// A file that lines are appended to.
    Append(PathBuf),
    /// A socket that takes lines as datagrams.
    Datagrams(PathBuf),
    Board,
}

/// A socket somebody needs.
#[derive(Clone, Debug)]
struct Want {
    slot: Slot,
    holder: Peer,
    endpoint: Endpoint,
    backlog: u32,
    /// In the operator's words.
    object: String,
    /// The daemon does without it if it cannot be had.
    optional: bool,
    /// Clients may have meant another address (`forward to destination`).
    foreign: bool,
}

/// An open socket and who holds it.
#[derive(Clone, Debug)]
pub struct Handed {
    /// What it is to its holder.
    pub slot: Slot,
    /// The process that uses it.
    pub holder: Peer,
    /// The socket.
    pub socket: Rc<OwnedFd>,
}

/// The sockets of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    open: HashMap<Endpoint, Rc<OwnedFd>>,
    handed: Vec<Handed>,
}

/// What besides relayd.conf decides on sockets.
#[derive(Clone, Debug)]
pub struct Places {
    /// Control socket, unless relayd.conf names one.
    pub control: PathBuf,
    /// Metrics listener.
    pub metrics: Option<SocketAddr>,
    /// Redirects are served by the relay processes.
    pub userland: bool,
    /// syslogd's socket.
    pub syslog: PathBuf,
    /// journald's socket.
    pub journal: PathBuf,
    /// The kernel knows the packet filter engine by a socket, which it gets from us.
    pub filter: bool,
}

impl Places {
    /// From options whose backend is already chosen.
    pub fn new(options: &Options) -> Places {
        Places {
            control: options.socket.clone(),
            metrics: options.metrics,
            userland: options.backend == Backend::Userland,
            syslog: options.syslog_socket.clone(),
            journal: options.journal_socket.clone(),
            filter: options.backend == Backend::Nftables,
        }
    }

    /// The control socket of a configuration.
    pub fn control<'a>(&'a self, config: &'a Config) -> &'a Path {
        config.globals.socket.as_deref().unwrap_or(&self.control)
    }
}

impl Sockets {
    /// Opens what `config` needs and these sockets do not have yet; nothing of `self` changes.
    ///
    /// # Errors
    /// One sentence for each socket that cannot be opened.
    pub fn stage(&self, config: &Config, places: &Places) -> Result<Sockets, Vec<String>> {
        let wants = wanted(config, places).map_err(|e| vec![e])?;
        let mut errors = Vec::new();
        let mut warned = BTreeSet::new();
        let mut next = Sockets::default();
        let mut users: BTreeMap<(SocketAddr, bool, u32), String> = BTreeMap::new();
        for want in wants {
            if let Endpoint::Shared(address, transport, instance) = &want.endpoint {
                let key = (*address, *transport == Transport::Tcp, *instance);
                if let Some(other) = users.insert(key, want.object.clone()) {
                    if *instance == 0 {
                        errors.push(format!(
                            "{}: {address} is used by {other} already",
                            want.object
                        ));
                    }
                    continue;
                }
            }
            match self.one(&mut next, &want) {
                Ok(socket) => next.handed.push(Handed {
                    slot: want.slot,
                    holder: want.holder,
                    socket,
                }),
                Err(error) if want.optional => {
                    let sentence = format!("{}: {error}", want.object);
                    if warned.insert(sentence.clone()) {
                        tracing::warn!("{sentence}");
                    }
                }
                Err(error) => {
                    let sentence = format!("{}: {error}", want.object);
                    if !errors.contains(&sentence) {
                        errors.push(sentence);
                    }
                }
            }
        }
        if errors.is_empty() {
            Ok(next)
        } else {
            Err(errors)
        }
    }

    fn one(&self, next: &mut Sockets, want: &Want) -> io::Result<Rc<OwnedFd>> {
        let fresh = !self.has_address(&want.endpoint) && !next.has_address(&want.endpoint);
        match next.open.entry(want.endpoint.clone()) {
            Entry::Occupied(entry) => Ok(Rc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let kept = self.open.get(&want.endpoint);
                let socket = match kept.filter(|socket| !outdated(&want.endpoint, socket)) {
                    Some(socket) => {
                        if want.foreign {
                            // A listener that served something else before the reload.
                            let v6 =
                                matches!(want.endpoint, Endpoint::Shared(a, ..) if a.is_ipv6());
                            let _ = listen::set_foreign(&**socket, v6);
                        }
                        Rc::clone(socket)
                    }
                    None => Rc::new(open(want, fresh)?),
                };
                Ok(Rc::clone(entry.insert(socket)))
            }
        }
    }

    /// Whether any of our sockets has the address already.
    fn has_address(&self, endpoint: &Endpoint) -> bool {
        let Endpoint::Shared(address, transport, _) = endpoint else {
            return false;
        };
        // Listener 0 of an address is opened first, and each configuration that uses the address has it.
        self.open
            .contains_key(&Endpoint::Shared(*address, *transport, 0))
    }

    /// Opens what access logs are written to again, if it is not what it was; answers whether anything changed. What
    /// cannot be opened is kept as it is.
    pub fn reopen_logs(&mut self, config: &Config, places: &Places) -> bool {
        let mut wants = Vec::new();
        access_logs(config, places, &mut wants);
        let mut opened: HashMap<Endpoint, Rc<OwnedFd>> = HashMap::new();
        for want in &wants {
            let known = self.open.get(&want.endpoint);
            if opened.contains_key(&want.endpoint)
                || known.is_some_and(|socket| !outdated(&want.endpoint, socket))
            {
                continue;
            }
            match open(want, false) {
                Ok(socket) => {
                    opened.insert(want.endpoint.clone(), Rc::new(socket));
                }
                Err(error) => tracing::debug!("{}: {error}", want.object),
            }
        }
        for want in wants {
            let Some(socket) = opened.get(&want.endpoint) else {
                continue;
            };
            self.handed
                .retain(|h| (&h.slot, h.holder) != (&want.slot, want.holder));
            self.handed.push(Handed {
                slot: want.slot,
                holder: want.holder,
                socket: Rc::clone(socket),
            });
        }
        let changed = !opened.is_empty();
        self.open.extend(opened);
        changed
    }

    /// The counters that relay processes share.
    pub fn board(&self) -> Option<&OwnedFd> {
        self.open.get(&Endpoint::Board).map(|board| &**board)
    }

    /// The sockets of one process, in a fixed order.
    pub fn of(&self, holder: Peer) -> impl Iterator<Item = &Handed> {
        self.handed.iter().filter(move |h| h.holder == holder)
    }
}

fn open(want: &Want, fresh: bool) -> io::Result<OwnedFd> {
    match &want.endpoint {
        Endpoint::Shared(address, transport, _) => {
            if fresh {
                listen::probe(*address, *transport, want.foreign)?;
            }
            listen::shared(*address, *transport, want.backlog, want.foreign)
        }
        Endpoint::Exclusive(address) => listen::exclusive(*address, want.backlog),
        Endpoint::Control(path) => listen::control(path),
        Endpoint::Filter => match filter::handle(Kind::Nftables) {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(io::Error::other(error)),
        },
        Endpoint::Icmp { v6 } => listen::icmp(*v6),
        Endpoint::Board => Board::create(),
        Endpoint::Append(path) => log_target::append(path),
        Endpoint::Datagrams(path) => log_target::datagrams(path),
    }
}

/// Whether something open is not what it should be any more: a file was rotated, a program started again.
fn outdated(endpoint: &Endpoint, socket: &OwnedFd) -> bool {
    match endpoint {
        Endpoint::Append(path) => !log_target::is_at(socket, path),
        Endpoint::Datagrams(_) => true,
        _ => false,
    }
}

fn single(role: Role) -> Peer {
    Peer { role, instance: 0 }
}

fn wanted(config: &Config, places: &Places) -> Result<Vec<Want>, String> {
    let mut wants = Vec::new();
    let path = places.control(config);
    wants.push(Want {
        slot: Slot::Control,
        holder: single(Role::Pfe),
        endpoint: Endpoint::Control(path.to_owned()),
        backlog: limits::BACKLOG_DEFAULT,
        object: format!("control socket {}", path.display()),
        optional: false,
        foreign: false,
    });
    let needed = !config.redirects.is_empty();
    if places.filter && (needed || !Relayed::of(config).is_empty()) {
        wants.push(Want {
            slot: Slot::Filter,
            holder: single(Role::Pfe),
            endpoint: Endpoint::Filter,
            backlog: 0,
            object: "packet filter".to_owned(),
            // Relays go on without it.
            optional: !needed,
            foreign: false,
        });
    }
    if let Some(address) = places.metrics {
        wants.push(Want {
            slot: Slot::Metrics,
            holder: single(Role::Status),
            endpoint: Endpoint::Exclusive(address),
            backlog: limits::BACKLOG_DEFAULT,
            object: format!("metrics listener {address}"),
            optional: false,
            foreign: false,
        });
    }
    board(config, &mut wants);
    icmp(config, &mut wants);
    relays(config, &mut wants);
    access_logs(config, places, &mut wants);
    if places.userland {
        redirects(config, &mut wants);
    }
    if wants.len() > limits::LISTENERS_MAX {
        return Err(format!(
            "{} listening sockets are needed, at most {} are possible: use fewer ports or a packet filter for redirects",
            wants.len(),
            limits::LISTENERS_MAX
        ));
    }
    Ok(wants)
}

/// One for all, over every reload: what it counts goes on.
fn board(config: &Config, wants: &mut Vec<Want>) {
    let relays = (0..config.globals.prefork).map(|instance| Peer {
        role: Role::Relay,
        instance,
    });
    wants.extend(relays.chain([single(Role::Pfe)]).map(|holder| Want {
        slot: Slot::Board,
        holder,
        endpoint: Endpoint::Board,
        backlog: 0,
        object: "counters that relay processes share".to_owned(),
        optional: false,
        foreign: false,
    }));
}

fn icmp(config: &Config, wants: &mut Vec<Want>) {
    for v6 in [false, true] {
        let needed = config.tables.iter().any(|table| {
            table.check == Check::Icmp && table.hosts.iter().any(|h| h.address.ip.is_ipv6() == v6)
        });
        if needed {
            wants.push(Want {
                slot: if v6 { Slot::Icmp6 } else { Slot::Icmp4 },
                holder: single(Role::Hce),
                endpoint: Endpoint::Icmp { v6 },
                backlog: 0,
                object: format!("{} socket for checks", if v6 { "ICMPv6" } else { "ICMP" }),
                optional: true,
                foreign: false,
            });
        }
    }
}

fn relays(config: &Config, wants: &mut Vec<Want>) {
    for relay in &config.relays {
        let protocol = config.protocol(relay.protocol);
        let datagrams = protocol.is_some_and(|p| p.kind.datagrams());
        let transport = if datagrams {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let backlog = protocol.map_or(limits::BACKLOG_DEFAULT, |p| p.tcp.backlog);
        let address = relay.listen.address.with_port(relay.listen.port);
        for instance in 0..config.globals.prefork {
            wants.push(Want {
                slot: Slot::Relay(relay.id),
                holder: Peer {
                    role: Role::Relay,
                    instance,
                },
                endpoint: Endpoint::Shared(address, transport, instance),
                backlog,
                object: format!("relay {}: listen on {address}", relay.name),
                optional: false,
                foreign: matches!(relay.target, Target::Destination(_)),
            });
        }
    }
}

fn access_logs(config: &Config, places: &Places, wants: &mut Vec<Want>) {
    let mut targets: BTreeMap<&AccessTarget, &str> = BTreeMap::new();
    for relay in &config.relays {
        if let Some(log) = &relay.access {
            targets.entry(&log.target).or_insert(&relay.name);
        }
    }
    for (target, relay) in targets {
        let endpoint = match target {
            AccessTarget::File(path) => Endpoint::Append(path.clone()),
            AccessTarget::Syslog => Endpoint::Datagrams(places.syslog.clone()),
            AccessTarget::Journald => Endpoint::Datagrams(places.journal.clone()),
        };
        for instance in 0..config.globals.prefork {
            wants.push(Want {
                slot: Slot::Access(target.clone()),
                holder: Peer {
                    role: Role::Relay,
                    instance,
                },
                optional: matches!(endpoint, Endpoint::Datagrams(_)),
                foreign: false,
                endpoint: endpoint.clone(),
                backlog: 0,
                object: format!("relay {relay}: access log {target}"),
            });
        }
    }
}

fn redirects(config: &Config, wants: &mut Vec<Want>) {
    for redirect in &config.redirects {
        for (number, listener) in (0u32..).zip(&redirect.listeners) {
            let transport = match listener.ip_protocol {
                6 => Transport::Tcp,
                17 => Transport::Udp,
                _ => continue,
            };
            for port in listener.port..=listener.port_end {
                let address = listener.address.with_port(port);
                for instance in 0..config.globals.prefork {
                    if wants.len() > limits::LISTENERS_MAX {
                        return;
                    }
                    wants.push(Want {
                        slot: Slot::Redirect(redirect.id, number, port),
                        holder: Peer {
                            role: Role::Relay,
                            instance,
                        },
                        endpoint: Endpoint::Shared(address, transport, instance),
                        backlog: limits::BACKLOG_MAX,
                        object: format!("redirect {}: listen on {address}", redirect.name),
                        optional: false,
                        foreign: false,
                    });
                }
            }
        }
    }
}
