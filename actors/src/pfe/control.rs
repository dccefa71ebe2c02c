//! Control: the control socket's clients.
//! Owns the listener, one task per client, and who watches events.
//! Must never trust a client: what one does wrong costs it its own connection and nothing else.
//!
//! In: [`Listen`], [`Events`], [`Watch`] and [`Left`] from client tasks, [`Close`].
//! Out: requests go from the client tasks to pfe.
//! On loss: cannot be lost alone; a panic ends the process and relayctl connects to the next one.

use super::actor::Pfe;
use super::client;
use super::samples::{Counters, count};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use conf::limits;
use protocols::control::extension::{Answer, Event};
use protocols::control::{Frame, Reply};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Accept on this listener instead of the one before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Listen(pub OwnedFd);

/// A client is there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Accepted(UnixStream);

/// Things that happened: for the original's monitors, and for ours.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Events(pub Vec<(Option<Reply>, Option<Event>)>);

/// A client wants events; whether it did not get them before.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Watch {
    /// Which client.
    pub client: u64,
    /// As JSON.
    pub json: bool,
}

/// A client has gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Left {
    /// Which.
    pub id: u64,
    /// It was closed for a limit.
    pub fault: Option<Fault>,
}

/// What a client is closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A message of a wrong length or content.
    Message,
    /// It does not read its answer.
    Slow,
}

/// Close everything.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// Whether anybody watches, so that nobody makes events for nobody.
#[derive(Debug, Default)]
pub struct Watchers {
    count: Cell<usize>,
}

impl Watchers {
    /// Whether anybody watches.
    pub fn any(&self) -> bool {
        self.count.get() > 0
    }
}

/// Bytes for a client's socket, shared by all that get the same.
pub type Bytes = Rc<Vec<u8>>;

struct Client {
    task: JoinHandle<()>,
    events: mpsc::Sender<Bytes>,
    /// `Some(json)` once it watches.
    watches: Option<bool>,
}

/// The actor.
pub struct Control {
    pfe: Addr<Pfe>,
    watchers: Rc<Watchers>,
    counters: Rc<Counters>,
    listener: Option<JoinHandle<()>>,
    clients: BTreeMap<u64, Client>,
    next: u64,
}

impl Control {
    /// A control socket without a listener yet.
    pub fn new(pfe: Addr<Pfe>, watchers: Rc<Watchers>, counters: Rc<Counters>) -> Control {
        Control {
            pfe,
            watchers,
            counters,
            listener: None,
            clients: BTreeMap::new(),
            next: 1,
        }
    }

    fn listen(&mut self, descriptor: OwnedFd, ctx: &Context<Self>) -> std::io::Result<()> {
        let listener = StdListener::from(descriptor);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let task = actix::spawn(accept(listener, ctx.address()));
        if let Some(old) = self.listener.replace(task) {
            old.abort();
        }
        Ok(())
    }

    fn accepted(&mut self, stream: UnixStream, ctx: &Context<Self>) {
        if self.clients.len() >= limits::CONTROL_CLIENTS_MAX {
            self.make_room();
        }
        let id = self.next;
        self.next += 1;
        let (events, inbox) = mpsc::channel(limits::CONTROL_EVENTS_MAX);
        let task = actix::spawn(client::run(
            id,
            stream,
            self.pfe.clone(),
            ctx.address(),
            inbox,
        ));
        self.clients.insert(
            id,
            Client {
                task,
                events,
                watches: None,
            },
        );
        self.count();
    }

    /// Ends the oldest client, rather one that does not watch: a script that leaks connections may not lock the
    /// operator out.
    fn make_room(&mut self) {
        let idle = self.clients.iter().find(|(_, c)| c.watches.is_none());
        let oldest = idle.or_else(|| self.clients.iter().next());
        if let Some(id) = oldest.map(|(id, _)| *id) {
            tracing::warn!(
                "control socket: more than {} clients, the oldest is closed",
                limits::CONTROL_CLIENTS_MAX
            );
            count(&self.counters.crowded);
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            client.task.abort();
        }
        self.count();
    }

    fn count(&self) {
        let watching = self.clients.values().filter(|c| c.watches.is_some());
        self.watchers.count.set(watching.count());
        let clients = u64::try_from(self.clients.len()).unwrap_or(u64::MAX);
        self.counters.clients.set(clients);
    }

    fn send(&mut self, reply: Option<&Reply>, event: Option<Event>) {
        let pid = std::process::id();
        let plain = reply.map(|r| Rc::new(r.to_frame(pid).to_bytes()));
        let json = event.map(|e| {
            let (kind, payload) = Answer::Event(e).encode();
            Rc::new(Frame::new(kind, pid, payload).to_bytes())
        });
        let mut behind = Vec::new();
        for (id, client) in &self.clients {
            let bytes = match client.watches {
                Some(true) => &json,
                Some(false) => &plain,
                None => continue,
            };
            let Some(bytes) = bytes else { continue };
            if client.events.try_send(Rc::clone(bytes)).is_err() {
                behind.push(*id);
            }
        }
        for id in behind {
            tracing::debug!("control socket: a monitor does not read and is closed");
            count(&self.counters.behind);
            self.remove(id);
        }
    }
}

/// Accepts for ever; out of descriptors it pauses.
async fn accept(listener: UnixListener, control: Addr<Control>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if control.send(Accepted(stream)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!("control socket: accept: {error}");
                tokio::time::sleep(limits::ACCEPT_PAUSE.max(Duration::from_millis(100))).await;
            }
        }
    }
}

impl Actor for Control {
    type Context = Context<Self>;
}

impl Handler<Listen> for Control {
    type Result = ();

    fn handle(&mut self, Listen(descriptor): Listen, ctx: &mut Context<Self>) {
        if let Err(error) = self.listen(descriptor, ctx) {
            tracing::error!("control socket: {error}");
        }
    }
}

impl Handler<Accepted> for Control {
    type Result = ();

    fn handle(&mut self, Accepted(stream): Accepted, ctx: &mut Context<Self>) {
        self.accepted(stream, ctx);
    }
}

impl Handler<Events> for Control {
    type Result = ();

    fn handle(&mut self, Events(events): Events, _: &mut Context<Self>) {
        for (reply, event) in events {
            self.send(reply.as_ref(), event);
        }
    }
}

impl Handler<Watch> for Control {
    type Result = bool;

    fn handle(&mut self, watch: Watch, _: &mut Context<Self>) -> bool {
        let Some(client) = self.clients.get_mut(&watch.client) else {
            return false;
        };
        if client.watches.is_some() {
            return false;
        }
        client.watches = Some(watch.json);
        self.count();
        true
    }
}

impl Handler<Left> for Control {
    type Result = ();

    fn handle(&mut self, left: Left, _: &mut Context<Self>) {
        self.clients.remove(&left.id);
        match left.fault {
            Some(Fault::Message) => count(&self.counters.malformed),
            Some(Fault::Slow) => count(&self.counters.slow),
            None => {}
        }
        self.count();
    }
}

impl Handler<Close> for Control {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        for client in self.clients.values() {
            client.task.abort();
        }
        self.clients.clear();
        self.count();
        ctx.stop();
    }
}
