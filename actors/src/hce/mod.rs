//! The hce role: the host check engine.
//! Owns the checks of all hosts; tables decide, the packet filter engine and the relays are told.
//! Must never touch the configuration in use before a new one is committed.
//!
//! [`checker`] runs checks from a [`wheel`]: [`exchange`] over TCP and [`tls`], [`echo`] over ICMP, [`scripts`] through the parent;
//! a [`table`] actor per table instance owns states; [`report`] tells other roles.

pub mod checker;
mod disabled;
mod echo;
mod exchange;
pub mod report;
mod samples;
mod schedule;
mod scripts;
pub mod table;
mod target;
mod tls;
mod wheel;

pub use disabled::Disabled;

use crate::error::RoleError;
use crate::link::{Admin, Incoming, Link, Message, PARENT, RunState, Sender, Slot};
use crate::options::Options;
use actix::{Actor, Addr};
use backends::sys::check_socket::EchoSocket;
use checker::HostChecker;
use conf::Config;
use conf::limits::{CHECK_DESCRIPTORS_RESERVE, CHECKS_CONCURRENT_MAX};
use conf::model::{Check, HostId, TableId};
use echo::family;
use nix::sys::resource::{Resource, getrlimit};
use protocols::check::icmp::Family;
use report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use table::{Children, Table};
use target::{Kind, Target};
use tokio::time::Instant;

/// Runs the role until the parent says stop or is gone.
///
/// # Errors
/// The parent does not take messages.
pub async fn run(mut link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let mut engine = Engine::new(link.sender.clone(), &options)?;
    while let Some(incoming) = link.inbox.recv().await {
        if matches!(incoming.message, Message::Shutdown) {
            break;
        }
        engine.message(incoming).await?;
    }
    engine.stop();
    Ok(())
}

/// The actors of the role, and the configuration that is prepared.
struct Engine {
    sender: Sender,
    report: Addr<Report>,
    checker: Addr<HostChecker>,
    tables: BTreeMap<TableId, Addr<Table>>,
    families: Vec<Family>,
    staged: Option<Staged>,
    config: Arc<Config>,
    disabled: Disabled,
}

struct Staged {
    generation: u64,
    config: Arc<Config>,
    state: Arc<RunState>,
}

impl Engine {
    fn new(sender: Sender, options: &Options) -> Result<Engine, RoleError> {
        let mut secret = [0; 8];
        backends::sys::random::fill(&mut secret).map_err(|e| RoleError::system("randomness", e))?;
        let report = Report::new(sender.clone()).start();
        let checker = HostChecker::new(
            report.clone(),
            sender.clone(),
            u64::from_ne_bytes(secret),
            limit(),
        )
        .start();
        if options.metrics.is_some() {
            report.do_send(report::Watch(checker.clone()));
        }
        Ok(Engine {
            sender,
            report,
            checker,
            tables: BTreeMap::new(),
            families: Vec::new(),
            staged: None,
            config: Arc::default(),
            disabled: Disabled::default(),
        })
    }

    async fn message(&mut self, incoming: Incoming) -> Result<(), RoleError> {
        match incoming.message {
            Message::Descriptors { slots } => self.descriptors(slots, incoming.descriptors).await,
            Message::Stage {
                generation,
                config,
                state,
            } => {
                let error = self.prepare(&config).await.err();
                self.staged = Some(Staged {
                    generation,
                    config,
                    state,
                });
                let answer = Message::Staged { generation, error };
                self.sender.tell(PARENT, answer).await?;
            }
            Message::Commit { generation } => {
                if let Some(staged) = self.staged.take_if(|s| s.generation == generation) {
                    self.commit(staged);
                }
            }
            Message::Abort { generation } => {
                self.staged
                    .take_if(|staged| staged.generation == generation);
            }
            Message::Poll => self.checker.do_send(checker::Poll),
            Message::Admin { change } => self.admin(change),
            Message::ScriptResult { request, status } => self
                .checker
                .do_send(checker::ScriptEnded { request, status }),
            Message::Restarted { peer } => self.report.do_send(report::Resend(peer)),
            _ => {}
        }
        Ok(())
    }

    /// Takes the ICMP sockets that the parent opened.
    async fn descriptors(&mut self, slots: Vec<Slot>, descriptors: Vec<OwnedFd>) {
        for (slot, descriptor) in slots.into_iter().zip(descriptors) {
            let family = match slot {
                Slot::Icmp4 => Family::V4,
                Slot::Icmp6 => Family::V6,
                _ => continue,
            };
            self.adopt(family, descriptor).await;
        }
    }

    async fn adopt(&mut self, family: Family, descriptor: OwnedFd) {
        match self.checker.send(checker::Adopt(descriptor)).await {
            Ok(Ok(())) => self.families.push(family),
            Ok(Err(error)) => tracing::warn!("icmp socket: {error}"),
            Err(_) => {}
        }
    }

    /// Makes sure that every check of `config` can be run.
    async fn prepare(&mut self, config: &Config) -> Result<(), String> {
        let icmp = config.tables.iter().filter(|t| t.check == Check::Icmp);
        let needed = icmp.flat_map(|table| table.hosts.iter().map(move |h| (table, h)));
        for (table, host) in needed {
            let family = family(host.address.ip);
            if self.families.contains(&family) {
                continue;
            }
            match EchoSocket::open(family) {
                Ok(descriptor) => self.adopt(family, descriptor).await,
                Err(error) => {
                    return Err(format!(
                        "table {}: check icmp: no ICMP socket for {}: {error}; start as root, or allow \
                         unprivileged ones (Linux: sysctl net.ipv4.ping_group_range)",
                        table.name, host.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Switches to a configuration that was prepared.
    fn commit(&mut self, staged: Staged) {
        let Staged { config, state, .. } = staged;
        self.disabled = Disabled::new(&config, &state.admin);
        let known: BTreeMap<HostId, _> = state.hosts.iter().map(|host| (host.id, *host)).collect();
        let known = Arc::new(known);
        let ids: BTreeSet<TableId> = config.tables.iter().map(|table| table.id).collect();
        self.tables.retain(|id, table| {
            if !ids.contains(id) {
                table.do_send(table::Stop);
            }
            ids.contains(id)
        });
        for id in ids {
            self.tables
                .entry(id)
                .or_insert_with(|| Table::new(self.report.clone()).start());
        }
        self.report.do_send(report::Configure {
            config: Arc::clone(&config),
            disabled: self.disabled.clone(),
            known: Arc::clone(&known),
        });
        let children = Arc::new(self.children(&config));
        for (index, table) in config.tables.iter().enumerate() {
            if let Some(actor) = self.tables.get(&table.id) {
                actor.do_send(table::Configure {
                    config: Arc::clone(&config),
                    index,
                    known: Arc::clone(&known),
                    disabled: self.disabled.clone(),
                    children: Arc::clone(&children),
                });
            }
        }
        self.checker.do_send(checker::Configure {
            targets: targets(&config, &self.disabled),
            tables: self.tables.clone(),
            round: config.globals.interval,
        });
        self.config = config;
    }

    /// The hosts that copy the state of another one.
    fn children(&self, config: &Config) -> Children {
        let mut children = Children::new();
        for table in &config.tables {
            let Some(actor) = self.tables.get(&table.id) else {
                continue;
            };
            for host in &table.hosts {
                if let Some(parent) = host.parent {
                    let list = children.entry(parent).or_default();
                    list.push((host.id, actor.clone()));
                }
            }
        }
        children
    }

    /// Something was enabled or disabled by hand.
    fn admin(&mut self, change: Admin) {
        self.disabled.apply(change);
        self.report.do_send(report::Configure {
            config: Arc::clone(&self.config),
            disabled: self.disabled.clone(),
            known: Arc::default(),
        });
        match change {
            Admin::Host { id, disabled } => {
                for table in &self.config.tables {
                    let family = table.hosts.iter();
                    let family = family.filter(|h| h.id == id || h.parent == Some(id));
                    let hosts: Vec<HostId> = family.map(|h| h.id).collect();
                    if let (false, Some(actor)) = (hosts.is_empty(), self.tables.get(&table.id)) {
                        let hosts = Some(hosts);
                        actor.do_send(table::Switch { hosts, disabled });
                    }
                }
            }
            Admin::Table { id, disabled } => {
                if let Some(actor) = self.tables.get(&id) {
                    let hosts = None;
                    actor.do_send(table::Switch { hosts, disabled });
                }
            }
            // Redirects and relays are none of the check engine's business.
            _ => return,
        }
        let hosts = targets(&self.config, &self.disabled);
        let hosts = hosts.into_iter().map(|(id, target)| (id, target.disabled));
        self.checker.do_send(checker::Switch {
            hosts: hosts.collect(),
        });
    }

    fn stop(&self) {
        self.checker.do_send(table::Stop);
        for table in self.tables.values() {
            table.do_send(table::Stop);
        }
        self.report.do_send(table::Stop);
    }
}

/// Every host with a check of its own.
fn targets(config: &Config, disabled: &Disabled) -> BTreeMap<HostId, Target> {
    let now = Instant::now();
    let mut targets = BTreeMap::new();
    for table in &config.tables {
        let Some(kind) = Kind::new(&table.check) else {
            continue;
        };
        for host in table.hosts.iter().filter(|host| host.parent.is_none()) {
            let off = disabled.table(table) || disabled.host(host);
            let target = Target::new(table, host, kind.clone(), off, now);
            targets.insert(host.id, target);
        }
    }
    targets
}

/// Checks at once: the limit of ours, and what the system's limit of descriptors leaves.
fn limit() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(256, |(soft, _)| soft);
    let free = descriptors.saturating_sub(CHECK_DESCRIPTORS_RESERVE);
    usize::try_from(free).map_or(CHECKS_CONCURRENT_MAX, |free| {
        free.min(CHECKS_CONCURRENT_MAX)
    })
}
