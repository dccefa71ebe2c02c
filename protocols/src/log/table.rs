//! What the log says about redirections, their tables, and what is enabled or disabled by hand.
//! Owns the sentences; scripts and monitoring read them.
//! Must never decide whether they are printed.

use crate::host::HostState;
use conf::model::{HostId, TableId};

/// After the packet filter's table of a redirection changed (`log state changes`).
pub fn changed(name: &str, added: u32, deleted: u32, changed: u32, killed: u32) -> String {
    format!("table {name}: {added} added, {deleted} deleted, {changed} changed, {killed} killed")
}

/// The packet filter is ready (debug).
pub const FILTER_INIT_DONE: &str = "pfe: filter init done";

/// A host changed its state (debug).
pub fn dispatch(state: HostState, id: HostId, host: &str) -> String {
    format!(
        "pfe_dispatch_hce: state {} for host {id} {host}",
        state.number()
    )
}

/// `host enable|disable` (debug).
pub fn host_switched(id: HostId, disabled: bool) -> String {
    let verb = if disabled { "disable" } else { "enable" };
    format!("{verb}_host: host {id}")
}

/// `table enable|disable` (debug).
pub fn table_switched(id: TableId, disabled: bool) -> String {
    let verb = if disabled { "disable" } else { "enable" };
    format!("{verb}_table: table {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_those_of_the_original() {
        assert_eq!(
            changed("www", 2, 1, 0, 3),
            "table www: 2 added, 1 deleted, 0 changed, 3 killed"
        );
        assert_eq!(
            dispatch(HostState::Down, HostId(1), "127.0.0.1"),
            "pfe_dispatch_hce: state -1 for host 1 127.0.0.1"
        );
        assert_eq!(host_switched(HostId(3), true), "disable_host: host 3");
        assert_eq!(table_switched(TableId(2), false), "enable_table: table 2");
    }
}
