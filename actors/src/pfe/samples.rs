//! Metrics of redirections and relays as pfe knows them.
//! Owns how the state becomes samples.
//! Must never keep anything: what is gone from the configuration is gone from the next snapshot.

use super::state::{Situation, State};
use crate::link::Sample;

/// All samples of pfe.
pub fn samples(state: &State) -> Vec<Sample> {
    let mut samples = Vec::new();
    for redirect in &state.config.redirects {
        let situation = state.situations.get(&redirect.id).copied();
        let situation = situation.unwrap_or_default();
        let up = matches!(situation, Situation::Main | Situation::Backup);
        let sessions = state.redirect_sessions.get(&redirect.name);
        for (name, counter, value) in [
            ("up", false, f64::from(u8::from(up))),
            (
                "backup_active",
                false,
                f64::from(u8::from(situation == Situation::Backup)),
            ),
            (
                "disabled",
                false,
                f64::from(u8::from(state.redirect_off(redirect.id))),
            ),
            (
                "sessions_total",
                true,
                sessions.map_or(0, |s| s.total()) as f64,
            ),
        ] {
            samples.push(Sample {
                name: format!("relayd_redirect_{name}"),
                labels: vec![("redirect".to_owned(), redirect.name.clone())],
                counter,
                value,
            });
        }
    }
    for relay in &state.config.relays {
        samples.push(Sample {
            name: "relayd_relay_disabled".to_owned(),
            labels: vec![("relay".to_owned(), relay.name.clone())],
            counter: false,
            value: f64::from(u8::from(state.relay_off(relay.id))),
        });
    }
    samples
}
