//! Check scripts on behalf of the check engine.
//! Owns how many run at once; more wait for their turn within their own time limit.
//! Must never keep the parent waiting.

use super::actor::Parent;
use super::script;
use crate::link::{Message, Peer};
use actix::prelude::*;
use backends::sys::privileges::Confinement;
use conf::limits;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// See the module.
#[derive(Debug)]
pub struct Scripts {
    user: Option<Confinement>,
    slots: Arc<Semaphore>,
}

impl Scripts {
    /// Scripts run as `user`.
    pub fn new(user: Option<Confinement>) -> Scripts {
        Scripts {
            user,
            slots: Arc::new(Semaphore::new(limits::SCRIPTS_CONCURRENT_MAX)),
        }
    }
}

/// A script ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ScriptEnded {
    peer: Peer,
    serial: u64,
    request: u64,
    status: Option<i32>,
}

impl Parent {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_script(
        &mut self,
        peer: Peer,
        serial: u64,
        request: u64,
        path: PathBuf,
        host: String,
        limit: Duration,
        ctx: &mut Context<Self>,
    ) {
        let (user, slots) = (self.scripts.user.clone(), Arc::clone(&self.scripts.slots));
        let me = ctx.address();
        actix::spawn(async move {
            let waited = tokio::time::timeout(limit, slots.acquire_owned()).await;
            let status = match waited {
                Ok(Ok(_slot)) => script::run(&path, &host, limit, user.as_ref()).await,
                _ => None,
            };
            me.do_send(ScriptEnded {
                peer,
                serial,
                request,
                status,
            });
        });
    }
}

impl Handler<ScriptEnded> for Parent {
    type Result = ();

    fn handle(&mut self, ended: ScriptEnded, _: &mut Context<Self>) {
        let ScriptEnded {
            peer,
            serial,
            request,
            status,
        } = ended;
        // A restarted check engine does not know the request.
        if self.children.get(&peer).is_some_and(|c| c.serial == serial) {
            self.tell(peer, Message::ScriptResult { request, status });
        }
    }
}
