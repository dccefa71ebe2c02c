//! Where each field of an object stands in its memory image.
//! Owns the profile `p77`: OpenBSD 7.7 and later on a little-endian LP64 machine, used on every platform.
//! Must never be computed: the numbers are the interface, and relayctl of OpenBSD 6.6 and later reads the same ones.

/// A NUL-terminated name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Offset.
    pub at: usize,
    /// Bytes with the NUL.
    pub size: usize,
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident { $($field:ident : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[allow(missing_docs)]
            pub struct $name {
                /// Bytes of the whole image.
                pub size: usize,
                $(pub $field: $ty,)*
            }
        )*
    };
}

layouts! {
    /// `ctl_id`: how a request names an object, and what some events carry.
    ObjectIdLayout { id: usize, name: Text }
    /// `ctl_status`: a check result.
    StatusLayout { id: usize, up: usize, retries: usize, checks: usize, reason: usize }
    /// `ctl_stats`: session statistics.
    StatisticsLayout {
        id: usize, process: usize, interval: usize, total: usize, tick: usize,
        average: usize, last: usize, average_hour: usize, last_hour: usize,
        average_day: usize, last_day: usize,
    }
    /// `rdr`
    RedirectLayout {
        id: usize, flags: usize, port: usize, table: usize, backup: usize, mode: usize,
        name: Text, tag: Text, timeout: usize,
    }
    /// `table`
    TableLayout {
        id: usize, redirect: usize, flags: usize, check: usize, demote: Text, timeout: usize,
        port: usize, name: Text, name_length: usize, up: usize,
    }
    /// `host`
    HostLayout {
        id: usize, parent: usize, table: usize, retry: usize, name: Text, address: usize,
        ttl: usize, priority: usize, flags: usize, up: usize, last_up: usize, checks: usize,
        ups: usize, retries: usize, reason: usize, http_code: usize,
    }
    /// `relay`
    RelayLayout {
        id: usize, flags: usize, protocol: usize, name: Text, port: usize, target_port: usize,
        retry: usize, listen: usize, target: usize, timeout: usize, up: usize,
    }
    /// `router`
    RouterLayout {
        id: usize, flags: usize, name: Text, label: Text, routes: usize, table: usize,
        port: usize, rtable: usize, family: usize,
    }
    /// `netroute`
    RouteLayout { id: usize, address: usize, prefix: usize, router: usize }
    /// `rsession`
    SessionLayout {
        id: usize, relay: usize, client_port: usize, client: usize, server_port: usize,
        server: usize, started: usize, last: usize, done: usize, tag: usize, pid: usize,
    }
}

/// All layouts of one generation of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name.
    pub name: &'static str,
    /// `ctl_id`
    pub object_id: ObjectIdLayout,
    /// `ctl_status`
    pub status: StatusLayout,
    /// `ctl_stats`
    pub statistics: StatisticsLayout,
    /// Entries in the statistics of a relay; the last one only ends the list.
    pub statistics_entries: usize,
    /// `rdr`
    pub redirect: RedirectLayout,
    /// `table`
    pub table: TableLayout,
    /// `host`
    pub host: HostLayout,
    /// `relay`
    pub relay: RelayLayout,
    /// `router`
    pub router: RouterLayout,
    /// `netroute`
    pub route: RouteLayout,
    /// `rsession`
    pub session: SessionLayout,
}

/// The profile in use.
pub const P77: Profile = Profile {
    name: "p77",
    object_id: ObjectIdLayout {
        size: 68,
        id: 0,
        name: Text { at: 4, size: 64 },
    },
    status: StatusLayout {
        size: 32,
        id: 0,
        up: 4,
        retries: 8,
        checks: 16,
        reason: 24,
    },
    statistics: StatisticsLayout {
        size: 56,
        id: 0,
        process: 4,
        interval: 8,
        total: 16,
        tick: 24,
        average: 28,
        last: 32,
        average_hour: 36,
        last_hour: 40,
        average_day: 44,
        last_day: 48,
    },
    statistics_entries: 33,
    redirect: RedirectLayout {
        size: 256,
        id: 16,
        flags: 20,
        port: 24,
        table: 28,
        backup: 32,
        mode: 36,
        name: Text { at: 56, size: 32 },
        tag: Text { at: 88, size: 64 },
        timeout: 152,
    },
    table: TableLayout {
        size: 1672,
        id: 16,
        redirect: 20,
        flags: 24,
        check: 28,
        demote: Text { at: 32, size: 16 },
        timeout: 64,
        port: 80,
        name: Text { at: 92, size: 64 },
        name_length: 160,
        up: 1624,
    },
    host: HostLayout {
        size: 840,
        id: 48,
        parent: 52,
        table: 56,
        retry: 60,
        name: Text { at: 64, size: 256 },
        address: 320,
        ttl: 576,
        priority: 580,
        flags: 584,
        up: 600,
        last_up: 604,
        checks: 608,
        ups: 616,
        retries: 624,
        reason: 632,
        http_code: 636,
    },
    relay: RelayLayout {
        size: 3360,
        id: 16,
        flags: 20,
        protocol: 24,
        name: Text { at: 28, size: 256 },
        port: 284,
        target_port: 286,
        retry: 288,
        listen: 296,
        target: 552,
        timeout: 1064,
        up: 1112,
    },
    router: RouterLayout {
        size: 360,
        id: 0,
        flags: 4,
        name: Text { at: 8, size: 256 },
        label: Text { at: 264, size: 32 },
        routes: 296,
        table: 300,
        port: 304,
        rtable: 308,
        family: 312,
    },
    route: RouteLayout {
        size: 312,
        id: 0,
        address: 8,
        prefix: 264,
        router: 268,
    },
    session: SessionLayout {
        size: 1520,
        id: 0,
        relay: 4,
        client_port: 268,
        client: 272,
        server_port: 660,
        server: 664,
        started: 1264,
        last: 1280,
        done: 1424,
        tag: 1476,
        pid: 1484,
    },
};
