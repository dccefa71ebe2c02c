//! Rounds of changes: every affected redirection decides, then the packet filter changes once.
//! Owns the order of it: changes that come while redirections decide wait for the next round.
//! Must never apply half a round.

use super::actor::Pfe;
use super::backend::{Applied, Apply, Change};
use super::redirect::{Configure, Decide, Decided, Redirect, Remove};
use actix::{Actor, AsyncContext, Context, Handler};
use backends::filter::{Relayed, Ruleset, Service};
use conf::model::{self, RedirectId};
use protocols::balance::derive_key;
use protocols::control::Reply;
use protocols::control::extension::Event;
use std::sync::Arc;
use std::time::Duration;

/// Time for the results of the first checks to arrive, beyond the longest time-out.
const HOLD_SLACK: Duration = Duration::from_secs(1);

impl Pfe {
    /// One actor for each redirection of the configuration; one that was there keeps its actor.
    pub(super) fn configure(&mut self, ctx: &mut Context<Self>) {
        let config = Arc::clone(&self.state.config);
        let mut old = std::mem::take(&mut self.redirects);
        for redirect in &config.redirects {
            let parts = self.parts(redirect);
            let known = old.remove(&redirect.id).filter(|(name, actor)| {
                let same = *name == redirect.name;
                if !same {
                    actor.do_send(Remove);
                }
                same
            });
            let actor = match known {
                Some((_, actor)) => {
                    actor.do_send(parts);
                    actor
                }
                None => Redirect::new(ctx.address(), parts).start(),
            };
            self.redirects
                .insert(redirect.id, (redirect.name.clone(), actor));
        }
        for (_, actor) in old.values() {
            actor.do_send(Remove);
        }
        self.anew = true;
        self.changed.clear();
        let redirects = &self.redirects;
        self.services.retain(|id, _| redirects.contains_key(id));
        self.next_round.retain(|id| redirects.contains_key(id));
    }

    fn parts(&self, redirect: &model::Redirect) -> Configure {
        let key = redirect
            .key
            .unwrap_or_else(|| derive_key(&self.state.seed, &redirect.name));
        let backup = redirect.backup.and_then(|id| self.state.table(id));
        let mut service = Service::new(&self.state.config, redirect, key);
        service.count_traffic = self.options.count_traffic;
        Configure {
            service,
            backup_name: backup.map(|t| t.name.clone()).unwrap_or_default(),
            description: redirect.clone(),
        }
    }

    /// Asks redirections how they are served now; the packet filter changes once when all have answered.
    pub(super) fn decide(&mut self, redirects: Vec<RedirectId>) {
        self.next_round.extend(redirects);
        if self.deciding > 0 {
            return;
        }
        for id in std::mem::take(&mut self.next_round) {
            let (Some(redirect), Some((_, actor))) =
                (self.state.redirect(id), self.redirects.get(&id))
            else {
                continue;
            };
            actor.do_send(Decide {
                disabled: self.state.redirect_off(id),
                servers: self.state.servers(redirect),
            });
            self.deciding += 1;
        }
    }

    fn decided(&mut self, decided: Decided, ctx: &mut Context<Self>) {
        let id = decided.service.id;
        let known = self.redirects.get(&id);
        // After a reload the id may be another redirection's.
        if known.is_some_and(|(name, _)| *name == decided.service.name) {
            self.state.situations.insert(id, decided.situation);
            let service = decided.service;
            let before = self.services.insert(id, Arc::clone(&service));
            self.anew |= before.is_none_or(|before| before.name != service.name);
            if !self.anew {
                self.changed.push(service);
            }
        }
        self.deciding = self.deciding.saturating_sub(1);
        if self.deciding == 0 {
            self.apply(ctx);
            self.decide(Vec::new());
        }
    }

    /// The rules that an earlier process left serve better than rules without hosts: they stay until every host was
    /// checked once, or had the time for it.
    pub(super) fn hold(&mut self, ctx: &mut Context<Self>) {
        self.held = self.state.unheard();
        if self.held {
            let tables = self.state.config.tables.iter();
            let longest = tables.map(|t| t.timeout).max().unwrap_or_default();
            ctx.run_later(longest + HOLD_SLACK, Pfe::let_go);
        }
    }

    /// Ends [`Pfe::hold`].
    pub(super) fn let_go(&mut self, ctx: &mut Context<Self>) {
        // Otherwise the round under way applies.
        if std::mem::take(&mut self.held) && self.deciding == 0 {
            self.apply(ctx);
        }
    }

    /// Tells the backend what the redirections decided: after a new configuration everything, later what changed.
    pub(super) fn apply(&mut self, ctx: &mut Context<Self>) {
        if self.held {
            return;
        }
        if std::mem::take(&mut self.anew) {
            // What changed earlier in this round is in it.
            self.changed.clear();
            self.backend.do_send(Apply {
                desired: Ruleset {
                    services: self.services.values().cloned().collect(),
                    relays: Relayed::of(&self.state.config),
                },
                log: self.state.config.globals.log.state_changes,
            });
        } else if !self.changed.is_empty() {
            self.backend
                .do_send(Change(std::mem::take(&mut self.changed)));
        }
        // Before it was told of services, it had no counters to tell of.
        if !self.begun {
            self.look(ctx);
        }
    }

    fn applied(&self, Applied(changes): Applied) {
        for change in changes {
            let id = change.redirect;
            if let Some(installed) = change.rules {
                self.event(|| {
                    let reply = if installed {
                        Reply::PushRuleset(id)
                    } else {
                        Reply::PullRuleset(id)
                    };
                    let name = change.name.clone();
                    let event = Event::Ruleset {
                        id,
                        name,
                        installed,
                    };
                    (Some(reply), Some(event))
                });
            }
            // The original names the pf table, which holds the hosts of the table in use.
            let service = self.services.get(&RedirectId(id));
            let table = service.map_or(0, |s| s.table.0);
            self.event(|| {
                let event = Event::TableChanged {
                    id,
                    name: change.name.clone(),
                    added: change.added,
                    deleted: change.deleted,
                    changed: change.changed,
                    killed: change.killed,
                };
                (Some(Reply::TableChanged(table)), Some(event))
            });
        }
    }
}

impl Handler<Decided> for Pfe {
    type Result = ();

    fn handle(&mut self, decided: Decided, ctx: &mut Context<Self>) {
        self.decided(decided, ctx);
    }
}

impl Handler<Applied> for Pfe {
    type Result = ();

    fn handle(&mut self, applied: Applied, _: &mut Context<Self>) {
        self.applied(applied);
    }
}
