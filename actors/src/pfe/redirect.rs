//! Redirect: one redirection and the decision how it is served.
//! Owns the desired state of its service: main table, backup table, or nothing.
//! Must never touch the packet filter: it decides, the backend does.
//!
//! In: [`Configure`] (its part of a new configuration), [`Decide`] (what its hosts may get now).
//! Out: [`Decided`] to pfe, one for each `Decide`.
//! On loss: cannot be lost alone; a panic ends the process, and the next one adopts what the kernel has.

use super::actor::Pfe;
use super::state::Situation;
use actix::{Actor, ActorContext, Addr, Context, Handler, Message};
use backends::filter::{ServerState, Service};
use conf::model::{HostId, Redirect as Description, TableId};
use std::collections::HashMap;
use std::sync::Arc;

/// The service before any host is known to be up, and what it is made from.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Configure {
    /// The redirection.
    pub description: Description,
    /// Its service, without states.
    pub service: Service,
    /// Name of the backup table.
    pub backup_name: String,
}

/// Decide anew.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Decide {
    /// Switched off.
    pub disabled: bool,
    /// What each host may get.
    pub servers: HashMap<HostId, ServerState>,
}

/// A decision.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Decided {
    /// How the redirection is served.
    pub situation: Situation,
    /// What the packet filter shall do.
    pub service: Arc<Service>,
}

/// The redirection is not in the configuration any more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Remove;

/// The actor.
pub struct Redirect {
    pfe: Addr<Pfe>,
    parts: Configure,
}

impl Redirect {
    /// An actor for one redirection.
    pub fn new(pfe: Addr<Pfe>, parts: Configure) -> Redirect {
        Redirect { pfe, parts }
    }
}

/// How a redirection with these hosts is served.
pub fn decide(parts: &Configure, decide: &Decide) -> Decided {
    let mut service = parts.service.clone();
    for server in &mut service.servers {
        let state = decide.servers.get(&server.id).copied();
        server.state = match state {
            Some(state) if !decide.disabled => state,
            _ => ServerState::Down,
        };
    }
    let usable = |table: TableId| {
        let mut servers = service.servers.iter();
        servers.any(|s| s.table == table && s.state == ServerState::Up)
    };
    let main = parts.description.table;
    let backup = parts.description.backup;
    let situation = if decide.disabled {
        Situation::Disabled
    } else if usable(main) {
        Situation::Main
    } else if backup.is_some_and(usable) {
        Situation::Backup
    } else {
        Situation::Down
    };
    service.active = matches!(situation, Situation::Main | Situation::Backup);
    if let (Situation::Backup, Some(backup)) = (situation, backup) {
        service.table = backup;
        service.table_name.clone_from(&parts.backup_name);
    }
    let service = Arc::new(service);
    Decided { situation, service }
}

impl Actor for Redirect {
    type Context = Context<Self>;
}

impl Handler<Configure> for Redirect {
    type Result = ();

    fn handle(&mut self, parts: Configure, _: &mut Context<Self>) {
        self.parts = parts;
    }
}

impl Handler<Decide> for Redirect {
    type Result = ();

    fn handle(&mut self, message: Decide, _: &mut Context<Self>) {
        // Pfe waits for every decision, so a full mailbox may not lose one.
        self.pfe.do_send(decide(&self.parts, &message));
    }
}

impl Handler<Remove> for Redirect {
    type Result = ();

    fn handle(&mut self, _: Remove, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
