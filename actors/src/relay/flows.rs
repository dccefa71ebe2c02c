//! Any UDP protocol: all datagrams of one client go to one host, and that host's answers back to it.
//! Owns the table of flows, bounded and idle-timed.
//! Must never let a flow outlive its host.

use super::access;
use super::clients::{Clients, Place};
use super::connect::{self, Choice, Pick};
use super::context::Context;
use super::counters::Lost;
use super::relays::{HostGuard, Relay};
use super::seat::Seat;
use super::session::{From, Session};
use super::sockets;
use super::target;
use super::udp_actor::{Client, Listener, drain};
use conf::model::HostId;
use protocols::log::session as words;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The flows of one listener.
#[derive(Debug)]
pub struct Flows {
    flows: RefCell<HashMap<Client, Entry>>,
    clients: Rc<Clients>,
}

/// A flow and the task that waits for its host's answers.
#[derive(Debug)]
struct Entry {
    flow: Rc<Flow>,
    task: JoinHandle<()>,
    _place: Place,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Flow {
    server: UdpSocket,
    relay: Rc<Relay>,
    guard: Option<HostGuard>,
    active: Cell<u32>,
    timeout: u32,
    /// The host refused: the next datagram begins another flow.
    refused: Cell<bool>,
    /// Its session, where there is an access log.
    session: Option<Box<Session>>,
}

impl Flow {
    fn over(&self, now: u32) -> bool {
        self.refused.get()
            || now.saturating_sub(self.active.get()) > self.timeout
            || self.guard.as_ref().is_some_and(|g| !g.host().alive())
    }

    /// Writes the line of the access log.
    fn log(&self, context: &Context) {
        let Some(session) = &self.session else {
            return;
        };
        let lost = self.guard.as_ref().is_some_and(|g| !g.host().alive());
        let reason = match (self.refused.get(), lost) {
            (true, _) => words::ERROR,
            (_, true) => words::ABORTED,
            _ => words::UDP_TIMEOUT,
        };
        access::session(context, session, reason);
    }

    /// Counts bytes that went through.
    fn moved(&self, context: &Context, from: From, now: u32, count: usize) {
        self.active.set(now);
        let host = || self.guard.as_ref().map(|g| g.host().parts.id);
        let forwards = &context.forwards;
        forwards.moved(&self.relay, host, from, 1, count as u64);
        if let Some(session) = &self.session {
            session.moved(from, now, count);
        }
    }
}

impl Flows {
    /// None yet.
    pub fn new(seat: &Rc<Seat>) -> Self {
        Flows {
            flows: RefCell::default(),
            clients: Clients::new(seat),
        }
    }

    /// Passes a client's datagram on.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn datagram(
        &self,
        listener: &Rc<Listener>,
        relay: &Rc<Relay>,
        datagram: &[u8],
        client: Client,
    ) -> Result<(), Lost> {
        let now = listener.context.clock.seconds();
        let known = self.flows.borrow().get(&client).map(|e| Rc::clone(&e.flow));
        let mut refused = None;
        if let Some(flow) = known {
            if !flow.over(now) && pass(listener, &flow, datagram, now) {
                return Ok(());
            }
            refused = flow.guard.as_ref().map(|g| g.host().parts.id);
            if !flow.over(now) {
                return Err(Lost::Unsent);
            }
            flow.log(&listener.context);
            self.flows.borrow_mut().remove(&client);
        }
        let flow = self.begin(listener, relay, client, refused.as_slice())?;
        match pass(listener, &flow, datagram, now) {
            true => Ok(()),
            false => Err(Lost::Unsent),
        }
    }

    fn begin(
        &self,
        listener: &Rc<Listener>,
        relay: &Rc<Relay>,
        client: Client,
        tried: &[HostId],
    ) -> Result<Rc<Flow>, Lost> {
        let context = &listener.context;
        let ip = client.address.ip();
        let used = self.flows.borrow().len();
        let place = context.admit_flow(&self.clients, relay, ip, used);
        let place = place.ok_or(Lost::Full)?;
        let mut choice = Choice::by(relay, ip);
        choice.destination = target::of_datagram(relay, client.local).map_err(|_| Lost::NoHost)?;
        let Pick { chosen, guard } = connect::choose(context, relay, &choice, tried)
            .or_else(|_| connect::choose(context, relay, &choice, &[]))
            .map_err(|_| Lost::NoHost)?;
        let address = sockets::translate(relay.config.translate, chosen.address)
            .filter(|a| !target::own(relay, *a))
            .ok_or(Lost::NoHost)?;
        let session = relay.config.access.as_ref().map(|_| {
            let (number, now) = (context.sessions.number(), context.clock.seconds());
            let session = Session::new(number, Rc::clone(relay), client.address, now);
            session.set_server(address, chosen.host.clone());
            Box::new(session)
        });
        let flow = Rc::new(Flow {
            session,
            relay: Rc::clone(relay),
            server: sockets::connect_udp(relay, address, Some(ip)).map_err(|_| Lost::Unsent)?,
            guard,
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
            _place: place,
        };
        self.flows.borrow_mut().insert(client, entry);
        Ok(flow)
    }

    /// Ends flows that are idle or whose host is down.
    pub fn tick(&self, context: &Context, now: u32) {
        let mut flows = self.flows.borrow_mut();
        flows.retain(|_, entry| {
            let over = entry.flow.over(now);
            if over {
                entry.flow.log(context);
            }
            !over
        });
        if flows.is_empty() {
            // Memory of a burst is given back.
            flows.shrink_to_fit();
        }
    }

    /// Ends all flows.
    pub fn clear(&self, context: &Context) {
        let mut flows = self.flows.borrow_mut();
        flows.values().for_each(|entry| entry.flow.log(context));
        flows.clear();
    }
}

/// Sends a datagram to the flow's host; answers whether the kernel took it.
fn pass(listener: &Listener, flow: &Flow, datagram: &[u8], now: u32) -> bool {
    match sockets::send(&flow.server, datagram) {
        Ok(count) => {
            flow.moved(&listener.context, From::Client, now, count);
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
            let now = context.clock.seconds();
            batch.each(|datagram, _, _| {
                flow.moved(&context, From::Server, now, datagram.len());
                client.onward()
            });
            listener.reply(batch);
        });
        if result.is_err() {
            flow.refused.set(true);
            context.counters.connect_errors.up();
            return;
        }
    }
}
