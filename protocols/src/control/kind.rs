//! Message numbers of the control socket, those of OpenBSD 6.1 and later.
//! Owns the one list of them and their names in `relayctl monitor`.
//! Must never be renumbered: an unmodified relayctl relies on them.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        $($(#[$doc])* pub const $name: u32 = $number;)*
        /// Every number the original has on this socket.
        pub const ALL: &[u32] = &[$($name,)*];
    };
}

kinds! {
    /// Done.
    OK = 1,
    /// Not done.
    FAIL = 2,
    /// `log verbose|brief`
    VERBOSE = 3,
    /// End of a list.
    END = 5,
    /// A redirection.
    RDR = 6,
    /// A table.
    TABLE = 7,
    /// A host.
    HOST = 8,
    /// A relay.
    RELAY = 9,
    /// A session; as a request: list them.
    SESSION = 10,
    /// A router.
    ROUTER = 11,
    /// A route.
    NETROUTE = 12,
    /// Event: contents of a table changed in the packet filter.
    TABLE_CHANGED = 13,
    /// Event: rules of a redirection were removed.
    PULL_RULESET = 14,
    /// Event: rules of a redirection were installed.
    PUSH_RULESET = 15,
    /// Request: list all objects.
    SHOW_SUM = 16,
    /// `redirect enable`
    RDR_ENABLE = 17,
    /// `redirect disable`
    RDR_DISABLE = 18,
    /// `table enable`
    TABLE_ENABLE = 19,
    /// `table disable`
    TABLE_DISABLE = 20,
    /// `host enable`
    HOST_ENABLE = 21,
    /// `host disable`
    HOST_DISABLE = 22,
    /// `stop`
    SHUTDOWN = 23,
    /// `reload`, `load FILE`
    RELOAD = 25,
    /// `poll`
    POLL = 27,
    /// `monitor`
    NOTIFY = 28,
    /// Statistics of a redirection.
    RDR_STATS = 29,
    /// Statistics of a relay.
    RELAY_STATS = 30,
    /// Event: result of a check.
    HOST_STATUS = 37,
    /// Event: end of a check round.
    SYNC = 38,
}

/// Name of an event in `relayctl monitor`.
pub fn event_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        HOST_STATUS => "host_status",
        RDR_DISABLE => "ctl_rdr_disable",
        RDR_ENABLE => "ctl_rdr_enable",
        TABLE_DISABLE => "ctl_table_disable",
        TABLE_ENABLE => "ctl_table_enable",
        HOST_DISABLE => "ctl_host_disable",
        HOST_ENABLE => "ctl_host_enable",
        TABLE_CHANGED => "ctl_table_changed",
        PULL_RULESET => "ctl_pull_ruleset",
        PUSH_RULESET => "ctl_push_ruleset",
        SYNC => "sync",
        _ => return None,
    })
}
