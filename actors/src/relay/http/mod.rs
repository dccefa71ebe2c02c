//! Sessions of `http` protocols.
//! Owns the HTTP driver: what the relay role calls for a session whose protocol is HTTP.
//! Must never log a session's end itself: it answers how it ended.

mod answer;
mod driver;
mod exchange;
mod pace;
mod pool;
mod request;
mod response;
mod way;

use super::context::Context;
use super::session::{Ended, Session};
use super::stream::Stream;
use crate::status::names::{self, Metric};
use conf::model::{Protocol, Relay, Target};
use pool::Pool;
use protocols::http::{Head, Refusal};
use protocols::rules::{Ruleset, Work};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A protocol's rules, compiled when the configuration is staged.
#[derive(Debug)]
pub struct Compiled {
    rules: Ruleset,
    /// Server connections may be shared between clients.
    pool: bool,
}

/// What HTTP sessions of one process share, for instance idle server connections.
#[derive(Debug, Default)]
pub struct Shared {
    /// Working memory of one poll; like the scratch buffer it is never held longer.
    parts: RefCell<Parts>,
    pool: Pool,
    requests: Cell<u64>,
    pooled: Cell<u64>,
    retried: Cell<u64>,
    refused: RefCell<BTreeMap<&'static str, u64>>,
}

/// Heads and rules of the message at hand.
#[derive(Debug, Default)]
struct Parts {
    head: Head,
    spare: Head,
    work: Work,
    out: Vec<u8>,
}

/// One counter or gauge of [`Shared`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The metric.
    pub metric: &'static Metric,
    /// Value of its label after `process`, if it has one.
    pub label: Option<&'static str>,
    /// Value.
    pub value: u64,
}

impl Shared {
    /// Values for the metrics.
    pub fn measures(&self) -> Vec<Measure> {
        let plain = |metric, value| Measure {
            metric,
            label: None,
            value,
        };
        let mut all = vec![
            plain(&names::HTTP_REQUESTS, self.requests.get()),
            plain(&names::HTTP_REUSED, self.pooled.get()),
            plain(&names::HTTP_RETRIED, self.retried.get()),
            plain(&names::HTTP_IDLE, self.pool.len() as u64),
        ];
        all.extend(self.refused.borrow().iter().map(|(kind, value)| Measure {
            metric: &names::HTTP_REFUSED,
            label: Some(kind),
            value: *value,
        }));
        all
    }

    /// Counts a refused message.
    fn count_refused(&self, refusal: Refusal) {
        *self.refused.borrow_mut().entry(refusal.kind).or_default() += 1;
    }

    fn count(&self, counter: fn(&Shared) -> &Cell<u64>) {
        let cell = counter(self);
        cell.set(cell.get().wrapping_add(1));
    }
}

/// Compiles the protocol of a relay.
///
/// # Errors
/// What in the protocol cannot be served.
pub fn compile(relay: &Relay, protocol: &Protocol) -> Result<Compiled, String> {
    Ok(Compiled {
        rules: Ruleset::compile(&protocol.rules),
        // A connection that names or imitates one client, or goes where one client wanted, cannot serve another.
        pool: protocol.http.pool
            && relay.proxy_protocol.is_none()
            && !relay.transparent
            && matches!(relay.target, Target::Tables | Target::Address { .. }),
    })
}

/// Serves a session until it ends.
pub async fn serve(context: Rc<Context>, session: Rc<Session>, client: Stream) -> Ended {
    driver::Driver::new(context, session, client).run().await
}
