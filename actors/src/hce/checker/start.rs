//! How checks begin: those of a slot together, then one look at all their connections.
//! Owns connections until that look; what it does not decide goes on as an exchange.
//! Must never wait.

use super::HostChecker;
use crate::hce::echo;
use crate::hce::exchange::exchange;
use crate::hce::scripts::Job;
use crate::hce::target::{Done, Flight, Kind};
use backends::sys::check_socket::{self, StartError};
use conf::limits::CHECK_BATCH;
use conf::model::HostId;
use futures_util::future::FutureExt;
use protocols::check::{Outcome, Plan};
use protocols::host::Reason;
use std::net::TcpStream;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::warn;

/// A connection whose first look is due.
struct Started {
    host: HostId,
    flight: Flight,
    deadline: Instant,
    stream: TcpStream,
    plan: Arc<Plan>,
}

impl HostChecker {
    /// Starts queued checks, all together.
    pub(super) fn start(&mut self, now: Instant) {
        let mut started = Vec::new();
        let mut asked = false;
        for _ in 0..CHECK_BATCH {
            if self.running >= self.limit {
                self.limit_hits = self.limit_hits.saturating_add(1);
                break;
            }
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            asked |= self.start_one(id, now, &mut started);
        }
        self.look(started);
        if asked || self.echoes.next().is_some_and(|next| next <= now) {
            self.echoes.burst(now);
        }
        self.scripts.start(now);
    }

    /// Starts one check; `true` if an echo request is to be sent.
    fn start_one(&mut self, id: HostId, now: Instant, started: &mut Vec<Started>) -> bool {
        let Some(target) = self.targets.get_mut(&id) else {
            return false;
        };
        target.queued = false;
        if target.disabled || target.flight.is_some() {
            return false;
        }
        self.serial = self.serial.wrapping_add(1);
        let flight = Flight {
            serial: self.serial,
            started: now,
        };
        target.flight = Some(flight);
        self.running += 1;
        let deadline = now + target.timeout;
        match &target.kind {
            Kind::Connection(plan) => {
                let address = target.address.with_port(target.port);
                match check_socket::connect(address, target.ip_ttl, plan.connect_only()) {
                    Ok(stream) => started.push(Started {
                        host: id,
                        flight,
                        deadline,
                        stream,
                        plan: Arc::clone(plan),
                    }),
                    Err(error) => {
                        let outcome = refused(&error);
                        if outcome.state.is_none() && !std::mem::replace(&mut self.warned, true) {
                            warn!("host checks: {error}; raise the limit of open files");
                        }
                        self.done.push(Done {
                            host: id,
                            serial: flight.serial,
                            outcome,
                        });
                    }
                }
                false
            }
            Kind::Icmp => {
                self.echoes.ask(echo::Request {
                    host: id,
                    serial: flight.serial,
                    address: target.address,
                    ip_ttl: target.ip_ttl,
                    deadline,
                });
                true
            }
            Kind::Script(path) => {
                self.scripts.ask(Job {
                    host: id,
                    serial: flight.serial,
                    path: path.clone(),
                    name: target.name.clone(),
                    timeout: target.timeout,
                });
                false
            }
        }
    }

    /// Looks once at connections just begun; only what is undecided costs a registration.
    fn look(&mut self, started: Vec<Started>) {
        if started.is_empty() {
            return;
        }
        let streams: Vec<&TcpStream> = started.iter().map(|one| &one.stream).collect();
        let looks = check_socket::look(&streams);
        for (one, look) in started.into_iter().zip(looks) {
            let (host, serial) = (one.host, one.flight.serial);
            let outcome = match look {
                Some(Ok(())) if one.plan.connect_only() => Outcome::up(Reason::TcpConnectOk),
                Some(Err(_)) => Outcome::down(Reason::TcpConnectFailed),
                look => {
                    let tls = self.tls.clone().filter(|_| one.plan.tls());
                    let exchange = async move {
                        let (stream, connected) = (one.stream, look.is_some());
                        let (plan, tls) = (&one.plan, tls.as_ref());
                        let outcome = exchange(stream, connected, plan, tls, one.deadline).await;
                        Done {
                            host,
                            serial,
                            outcome,
                        }
                    };
                    self.exchanges.push(exchange.boxed_local());
                    continue;
                }
            };
            self.done.push(Done {
                host,
                serial,
                outcome,
            });
        }
    }
}

/// What a connection that could not begin says.
fn refused(error: &StartError) -> Outcome {
    match error {
        StartError::Limit(_) => Outcome::none(Reason::TcpSocketLimit),
        StartError::Socket(_) => Outcome::down(Reason::TcpSocketError),
        StartError::Option(_) => Outcome::down(Reason::TcpSocketOption),
        StartError::Connect(_) => Outcome::down(Reason::TcpConnectFailed),
    }
}
