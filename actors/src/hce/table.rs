//! Table: the states of one table's hosts, and what a check result makes of them.
//! Owns the records of its hosts, the log lines of their checks, and the copies for child hosts.
//! Must never open a socket: [`super::checker`] runs the checks.
//!
//! In: [`Configure`], [`Results`], [`Switch`] (host or table enabled or disabled).
//! Out: [`report::Statuses`] to Report, [`Results`] to the tables of child hosts.
//! On loss: the role's process ends and is restarted with the last known states.

use super::report::{self, Report};
use actix::{Actor, Addr, Context, Handler, Message};
use conf::Config;
use conf::model::{self, Host, HostId, LogFlags};
use protocols::check::{Outcome, Record};
use protocols::host::HostStatus;
use protocols::log::check::{CheckLine, ignored, notify_done, notify_retry};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::{debug, info};

/// A check ended.
#[derive(Clone, Copy, Debug)]
pub struct CheckResult {
    /// The host.
    pub host: HostId,
    /// Result.
    pub outcome: Outcome,
    /// How long it took.
    pub latency_ms: u32,
}

/// Checks of this table's hosts ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Results(pub Vec<CheckResult>);

/// The hosts that copy each host's state, with the actors of their tables.
pub type Children = BTreeMap<HostId, Vec<(HostId, Addr<Table>)>>;

/// A new configuration.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Configure {
    /// The configuration.
    pub config: Arc<Config>,
    /// Position of this table in it.
    pub index: usize,
    /// States of hosts this actor does not know, from before this process.
    pub known: Arc<BTreeMap<HostId, HostStatus>>,
    /// What is disabled.
    pub disabled: super::Disabled,
    /// Children of each host, with the actors of their tables.
    pub children: Arc<Children>,
}

/// Hosts of this table, or all of it, were enabled or disabled.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Switch {
    /// The hosts; `None` = the table.
    pub hosts: Option<Vec<HostId>>,
    /// Off.
    pub disabled: bool,
}

/// End the actor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

struct Entry {
    host: Host,
    record: Record,
    disabled: bool,
}

/// The actor.
pub struct Table {
    report: Addr<Report>,
    check: model::Check,
    log: LogFlags,
    name: String,
    disabled: bool,
    hosts: BTreeMap<HostId, Entry>,
    children: Arc<Children>,
}

impl Table {
    /// A table without hosts.
    pub fn new(report: Addr<Report>) -> Table {
        Table {
            report,
            check: model::Check::None,
            log: LogFlags::default(),
            name: String::new(),
            disabled: false,
            hosts: BTreeMap::new(),
            children: Arc::default(),
        }
    }

    /// Takes one result in; its status, unless it is ignored.
    fn result(&mut self, result: CheckResult) -> Option<HostStatus> {
        let entry = self.hosts.get_mut(&result.host)?;
        let name = &entry.host.name;
        if entry.disabled {
            if self.log.host_checks || self.log.state_changes {
                info!("{}", ignored(name, &self.check));
            }
            return None;
        }
        if self.disabled {
            return None;
        }
        let applied = entry.record.apply(result.outcome, result.latency_ms);
        if let Some(left) = applied.retried {
            debug!("{}", notify_retry(name, left));
        }
        debug!("{}", notify_done(name, result.outcome.reason));
        let status = entry.record.status();
        let line = CheckLine {
            host: name,
            check: &self.check,
            status: &status,
            applied,
        };
        if line.wanted(self.log) {
            info!("{line}");
        }
        Some(status)
    }

    /// Children copy what became of their parent, not what its check said.
    fn copy(&self, status: &HostStatus) {
        for (child, table) in self.children.get(&status.id).into_iter().flatten() {
            table.do_send(Results(vec![CheckResult {
                host: *child,
                outcome: Outcome {
                    state: Some(status.state),
                    reason: status.reason,
                    http_code: status.http_code,
                },
                latency_ms: status.latency_ms,
            }]));
        }
    }

    fn tell(&self, statuses: Vec<HostStatus>) {
        if !statuses.is_empty() {
            self.report.do_send(report::Statuses(statuses));
        }
    }

    /// The record a host goes on with: its own, or what was known before this process.
    fn record(&self, host: &Host, known: &BTreeMap<HostId, HostStatus>, same: bool) -> Record {
        match self.hosts.get(&host.id) {
            Some(old) if same && old.host.name == host.name && old.host.address == host.address => {
                Record::restored(old.record.status(), host.retry)
            }
            Some(_) => Record::new(host.id, host.retry),
            None => match known.get(&host.id) {
                Some(status) => Record::restored(*status, host.retry),
                None => Record::new(host.id, host.retry),
            },
        }
    }
}

impl Actor for Table {
    type Context = Context<Self>;
}

impl Handler<Configure> for Table {
    type Result = ();

    fn handle(&mut self, message: Configure, _: &mut Context<Self>) {
        let Some(table) = message.config.tables.get(message.index) else {
            return;
        };
        let same = self.name.is_empty() || self.name == table.name;
        let hosts = table.hosts.iter().map(|host| {
            let mut entry = Entry {
                record: self.record(host, &message.known, same),
                host: host.clone(),
                disabled: message.disabled.host(host),
            };
            if entry.disabled {
                entry.record.reset();
            }
            (host.id, entry)
        });
        self.hosts = hosts.collect();
        self.name.clone_from(&table.name);
        self.check = table.check.clone();
        self.log = message.config.globals.log;
        self.disabled = message.disabled.table(table);
        self.children = message.children;
    }
}

impl Handler<Results> for Table {
    type Result = ();

    fn handle(&mut self, Results(results): Results, _: &mut Context<Self>) {
        let mut statuses = Vec::with_capacity(results.len());
        for result in results {
            if let Some(status) = self.result(result) {
                self.copy(&status);
                statuses.push(status);
            }
        }
        self.tell(statuses);
    }
}

impl Handler<Switch> for Table {
    type Result = ();

    fn handle(&mut self, message: Switch, _: &mut Context<Self>) {
        let statuses = match message.hosts {
            None => {
                self.disabled = message.disabled;
                let all = self.hosts.values_mut();
                all.map(|entry| {
                    entry.record.forget_state();
                    entry.record.status()
                })
                .collect()
            }
            Some(ids) => {
                let switch = |id: HostId| {
                    let entry = self.hosts.get_mut(&id)?;
                    entry.disabled = message.disabled;
                    if message.disabled {
                        entry.record.reset();
                    } else {
                        entry.record.forget_state();
                    }
                    Some(entry.record.status())
                };
                ids.into_iter().filter_map(switch).collect()
            }
        };
        self.tell(statuses);
    }
}

impl Handler<Stop> for Table {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        actix::ActorContext::stop(ctx);
    }
}
