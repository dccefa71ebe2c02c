//! Sessions of redirections and relays, from the packet filter and the relay processes.
//! Owns how absolute counters become statistics.
//! Must never count a session twice, also when a counter starts anew.

use super::actor::Pfe;
use super::backend::Statistics;
use crate::link::Peer;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use backends::filter::{ServiceStatistics, Traffic};
use conf::limits;
use conf::model::{HostId, RelayId};
use protocols::control::extension;
use std::collections::BTreeMap;

/// What the packet filter had counted of a redirection when it was asked last.
#[derive(Debug, Default)]
pub struct Counted {
    sessions: u64,
    traffic: BTreeMap<HostId, Traffic>,
}

impl From<&ServiceStatistics> for Counted {
    fn from(service: &ServiceStatistics) -> Counted {
        Counted {
            sessions: service.sessions,
            traffic: service.traffic.iter().copied().collect(),
        }
    }
}

/// Packets and bytes as relayctl gets them.
pub fn shown(traffic: Traffic) -> extension::Traffic {
    extension::Traffic {
        packets_in: traffic.packets_in,
        bytes_in: traffic.bytes_in,
        packets_out: traffic.packets_out,
        bytes_out: traffic.bytes_out,
    }
}

impl Pfe {
    pub(super) fn relay_sessions(&mut self, from: Peer, sessions: &[(RelayId, u64)]) {
        for (id, new) in sessions {
            if let Some(relay) = self.state.config.relay(*id) {
                let key = (relay.name.clone(), from.instance);
                self.state.relay_sessions.entry(key).or_default().add(*new);
            }
        }
    }

    /// What the packet filter had counted before this process was started is no news.
    pub(super) fn baseline(&self, ctx: &mut Context<Self>) {
        let answer = self.backend.send(Statistics).into_actor(self);
        ctx.spawn(answer.map(|result, pfe, _| {
            for service in result.unwrap_or_default() {
                let Some(redirect) = pfe.state.redirect(service.id) else {
                    continue;
                };
                let name = redirect.name.clone();
                let counter = pfe.state.redirect_sessions.entry(name.clone());
                counter.or_default().start_from(service.sessions);
                if !service.traffic.is_empty() {
                    let mut sum = Traffic::default();
                    service.traffic.iter().for_each(|(_, t)| sum += *t);
                    let counter = pfe.state.redirect_traffic.entry(name.clone());
                    counter.or_default().start_from(shown(sum));
                }
                pfe.counted.insert(name, Counted::from(&service));
            }
        }));
    }

    /// Takes over the packet filter's counters.
    pub(super) fn counted(&mut self, services: Vec<ServiceStatistics>) {
        for service in services {
            let Some(redirect) = self.state.redirect(service.id) else {
                continue;
            };
            let before = self
                .counted
                .insert(redirect.name.clone(), Counted::from(&service))
                .unwrap_or_default();
            // A counter that went back was started anew.
            let new = service
                .sessions
                .checked_sub(before.sessions)
                .unwrap_or(service.sessions);
            let (id, name) = (redirect.id, redirect.name.clone());
            let counter = self.state.redirect_sessions.entry(name.clone());
            counter.or_default().add(new);
            for (host, traffic) in &service.traffic {
                let before = before.traffic.get(host).copied().unwrap_or_default();
                let counter = self.state.redirect_traffic.entry(name.clone());
                counter.or_default().add(shown(traffic.since(before)));
            }
            self.state.host_sessions.insert(id, service.hosts);
            self.state.host_traffic.insert(id, service.traffic);
        }
    }

    /// Looks at the packet filter's counters.
    pub(super) fn look(&self, ctx: &mut Context<Self>) {
        let answer = self.backend.send(Statistics).into_actor(self);
        ctx.spawn(answer.map(|result, pfe, _| pfe.counted(result.unwrap_or_default())));
    }

    /// Ends an interval of the statistics.
    pub(super) fn interval_ended(&mut self) {
        let seconds = limits::STATISTICS_INTERVAL.as_secs();
        let redirects = self.state.redirect_sessions.values_mut();
        for counter in redirects.chain(self.state.relay_sessions.values_mut()) {
            counter.interval_ended(seconds);
        }
        for counter in self.state.redirect_traffic.values_mut() {
            counter.interval_ended();
        }
    }
}
