//! Metrics of redirections and relays as pfe knows them.
//! Owns how the state becomes samples.
//! Must never keep anything: what is gone from the configuration is gone from the next snapshot.

use super::state::{Situation, State};
use crate::link::Sample;
use crate::status::names;

/// All samples of pfe.
pub fn samples(state: &State) -> Vec<Sample> {
    let mut samples = Vec::new();
    for redirect in &state.config.redirects {
        let situation = state.situations.get(&redirect.id).copied();
        let situation = situation.unwrap_or_default();
        let up = matches!(situation, Situation::Main | Situation::Backup);
        let sessions = state.redirect_sessions.get(&redirect.name);
        let labels = [redirect.name.as_str()];
        let flag = |on| f64::from(u8::from(on));
        samples.extend([
            names::REDIRECT_UP.sample(&labels, flag(up)),
            names::REDIRECT_BACKUP.sample(&labels, flag(situation == Situation::Backup)),
            names::REDIRECT_DISABLED.sample(&labels, flag(state.redirect_off(redirect.id))),
            names::REDIRECT_SESSIONS.sample(&labels, sessions.map_or(0, |s| s.total()) as f64),
        ]);
    }
    for relay in &state.config.relays {
        let off = f64::from(u8::from(state.relay_off(relay.id)));
        samples.push(names::RELAY_DISABLED.sample(&[relay.name.as_str()], off));
    }
    samples
}
