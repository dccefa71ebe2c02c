//! Any UDP protocol: all datagrams of one client go to one host, and that host's answers back to it.
//! Owns the table of flows, bounded and idle-timed.
//! Must never let a flow outlive its host.

use super::connect::{self, Choice};
use super::relays::{HostGuard, Relay};
use super::sockets;
use super::udp_actor::{Client, Listener, drain};
use conf::limits;
use conf::model::HostId;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The flows of one listener.
#[derive(Debug, Default)]
pub struct Flows {
    flows: RefCell<HashMap<Client, Entry>>,
}

/// A flow and the task that waits for its host's answers.
#[derive(Debug)]
struct Entry {
    flow: Rc<Flow>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Flow {
    server: UdpSocket,
    guard: Option<HostGuard>,
    active: Cell<u32>,
    timeout: u32,
    /// The host refused: the next datagram begins another flow.
    refused: Cell<bool>,
}

impl Flow {
    fn over(&self, now: u32) -> bool {
        self.refused.get()
            || now.saturating_sub(self.active.get()) > self.timeout
            || self.guard.as_ref().is_some_and(|g| !g.host().alive())
    }
}

impl Flows {
    /// Passes a client's datagram on; answers whether it was.
    pub fn datagram(
        &self,
        listener: &Rc<Listener>,
        relay: &Relay,
        datagram: &[u8],
        client: Client,
    ) -> bool {
        let now = listener.context.clock.seconds();
        let known = self.flows.borrow().get(&client).map(|e| Rc::clone(&e.flow));
        let mut refused = None;
        if let Some(flow) = known {
            if !flow.over(now) && pass(listener, &flow, datagram, now) {
                return true;
            }
            refused = flow.guard.as_ref().map(|g| g.host().parts.id);
            if !flow.over(now) {
                return false;
            }
            self.flows.borrow_mut().remove(&client);
        }
        match self.begin(listener, relay, client, refused.as_slice()) {
            Ok(flow) => pass(listener, &flow, datagram, now),
            Err(_) => false,
        }
    }

    fn begin(
        &self,
        listener: &Rc<Listener>,
        relay: &Relay,
        client: Client,
        tried: &[HostId],
    ) -> io::Result<Rc<Flow>> {
        let context = &listener.context;
        if self.flows.borrow().len() >= limits::UDP_FLOWS_MAX {
            context.counters.refused.up();
            return Err(io::ErrorKind::StorageFull.into());
        }
        let choice = Choice::by(relay, client.address.ip());
        let chosen = connect::choose(context, relay, &choice, tried)
            .or_else(|_| connect::choose(context, relay, &choice, &[]))
            .map_err(|_| io::Error::from(io::ErrorKind::HostUnreachable))?;
        let address = sockets::translate(relay.config.translate, chosen.address)
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let flow = Rc::new(Flow {
            server: sockets::connect_udp(relay, address)?,
            guard: chosen.host.map(HostGuard::new),
            active: Cell::new(context.clock.seconds()),
            timeout: u32::try_from(relay.config.session_timeout.as_secs()).unwrap_or(u32::MAX),
            refused: Cell::new(false),
        });
        relay.count_session();
        context.counters.sessions.up();
        if let (Some(redirect), Some(guard)) = (relay.redirect, &flow.guard) {
            context.forwards.count(redirect.id, guard.host().parts.id);
        }
        let task = actix::spawn(answers(Rc::clone(listener), Rc::clone(&flow), client));
        let entry = Entry {
            flow: Rc::clone(&flow),
            task,
        };
        self.flows.borrow_mut().insert(client, entry);
        Ok(flow)
    }

    /// Ends flows that are idle or whose host is down.
    pub fn tick(&self, now: u32) {
        let mut flows = self.flows.borrow_mut();
        flows.retain(|_, entry| !entry.flow.over(now));
        if flows.is_empty() {
            // Memory of a burst is given back.
            flows.shrink_to_fit();
        }
    }

    /// Ends all flows.
    pub fn clear(&self) {
        self.flows.borrow_mut().clear();
    }
}

/// Sends a datagram to the flow's host; answers whether the kernel took it.
fn pass(listener: &Listener, flow: &Flow, datagram: &[u8], now: u32) -> bool {
    match sockets::send(&flow.server, datagram) {
        Ok(count) => {
            flow.active.set(now);
            listener.context.counters.datagrams.up();
            listener.context.counters.bytes_in.add(count as u64);
            true
        }
        Err(error) => {
            // An earlier datagram was refused; a full queue is no fault of the host.
            if error.kind() != io::ErrorKind::WouldBlock {
                flow.refused.set(true);
                listener.context.counters.connect_errors.up();
            }
            false
        }
    }
}

/// Brings the host's answers to the client until the flow ends.
async fn answers(listener: Rc<Listener>, flow: Rc<Flow>, client: Client) {
    let context = Rc::clone(&listener.context);
    while flow.server.readable().await.is_ok() {
        let result = drain(&context, &flow.server, |batch| {
            flow.active.set(context.clock.seconds());
            batch.each(|_, _, _| client.onward());
            listener.reply(batch);
        });
        if result.is_err() {
            flow.refused.set(true);
            context.counters.connect_errors.up();
            return;
        }
    }
}
