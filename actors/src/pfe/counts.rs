//! Sessions of redirections and relays, from the packet filter and the relay processes.
//! Owns how absolute counters become statistics.
//! Must never count a session twice, also when a counter starts anew.

use super::actor::Pfe;
use super::backend::Statistics;
use crate::link::Peer;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use backends::filter::{ServiceStatistics, Traffic};
use conf::limits;
use conf::model::RelayId;
use protocols::control::extension;

/// What the packet filter had counted of a redirection when it was asked last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    sessions: u64,
    traffic: Traffic,
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

    /// Takes over the packet filter's counters. What it had counted before this process was started is no news.
    pub(super) fn counted(&mut self, services: Vec<ServiceStatistics>) {
        let first = !self.begun;
        self.begun |= !services.is_empty();
        for service in services {
            let Some(redirect) = self.state.redirect(service.id) else {
                continue;
            };
            let (id, name) = (redirect.id, redirect.name.clone());
            let before = self.counted.get(&name).copied().unwrap_or_default();
            let now = Counted {
                sessions: service.sessions,
                traffic: service.traffic_sum.unwrap_or(before.traffic),
            };
            self.counted.insert(name.clone(), now);
            let sessions = self.state.redirect_sessions.entry(name.clone());
            let sessions = sessions.or_default();
            if first {
                sessions.start_from(now.sessions);
            } else {
                // A counter that went back was started anew.
                let new = now.sessions.checked_sub(before.sessions);
                sessions.add(new.unwrap_or(now.sessions));
            }
            if service.traffic_sum.is_some() {
                let traffic = self.state.redirect_traffic.entry(name).or_default();
                if first {
                    traffic.start_from(shown(now.traffic));
                } else {
                    traffic.add(shown(now.traffic.since(before.traffic)));
                }
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
