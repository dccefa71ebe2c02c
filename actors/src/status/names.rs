//! The metrics of relayd: each name, once.
//! Owns names, types, labels and help texts; `docs/metrics.md` says the same to operators, and a test compares.
//! Must never be bypassed: the status role drops samples that are not in this table.

use crate::link::Sample;
use std::collections::HashMap;
use std::sync::LazyLock;

/// How a value behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    /// The word of the exposition format.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name by the Prometheus conventions.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of its labels, in the order in which [`Metric::sample`] takes their values.
    pub labels: &'static [&'static str],
    /// One sentence for operators.
    pub help: &'static str,
}

impl Metric {
    /// A value of this metric, with the values of its labels.
    pub fn sample(&self, labels: &[&str], value: f64) -> Sample {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let labels = self.labels.iter().zip(labels);
        Sample {
            name: self.name.to_owned(),
            labels: labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            counter: self.kind == Kind::Counter,
            value,
        }
    }

    /// The metric of this name.
    pub fn find(name: &str) -> Option<&'static Metric> {
        static BY_NAME: LazyLock<HashMap<&str, &Metric>> = LazyLock::new(|| {
            METRICS
                .iter()
                .map(|metric| (metric.name, *metric))
                .collect()
        });
        BY_NAME.get(name).copied()
    }
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All metrics, in the order in which they are shown.
        pub static METRICS: &[&Metric] = &[$(&$id,)*];
    };
}

metrics! {
    BUILD_INFO = Gauge "relayd_build_info" ["version"] "Always 1; the label tells the version.";
    CONFIGURATION_GENERATION = Gauge "relayd_configuration_generation" [] "Number of the configuration in use, from 1 at start.";
    CONFIGURATION_TIMESTAMP = Gauge "relayd_configuration_last_load_timestamp_seconds" [] "When the configuration in use was loaded, in Unix time.";
    RELOADS = Counter "relayd_configuration_reloads_total" ["result"] "Reloads by result: accepted or refused.";
    RESTARTS = Counter "relayd_process_restarts_total" ["role"] "Processes of the role that died and were started again.";

    HOST_UP = Gauge "relayd_host_up" ["host", "table", "id"] "Whether the host is up: 1 up, 0 down or unknown.";
    HOST_DISABLED = Gauge "relayd_host_disabled" ["host", "table", "id"] "Whether the host was disabled by hand.";
    HOST_CHECKS = Counter "relayd_host_checks_total" ["host", "table", "id"] "Checks of the host that counted.";
    HOST_CHECKS_UP = Counter "relayd_host_checks_up_total" ["host", "table", "id"] "Checks that found the host up, failures covered by retry included.";
    HOST_CHECK_DURATION = Gauge "relayd_host_check_duration_seconds" ["host", "table", "id"] "Duration of the host's last check.";
    HOST_STATE_CHANGES = Counter "relayd_host_state_changes_total" ["host", "table", "id"] "Changes of the host's state.";

    TABLE_HOSTS = Gauge "relayd_table_hosts" ["table", "id"] "Hosts in the table.";
    TABLE_HOSTS_UP = Gauge "relayd_table_hosts_up" ["table", "id"] "Hosts in the table that are up and not disabled.";
    TABLE_DISABLED = Gauge "relayd_table_disabled" ["table", "id"] "Whether the table is disabled.";

    CHECKS_RUNNING = Gauge "relayd_checks_running" [] "Host checks under way.";
    CHECK_LIMIT_HITS = Counter "relayd_check_limit_hits_total" [] "Times that host checks had to wait because too many were under way.";

    REDIRECT_UP = Gauge "relayd_redirect_up" ["redirect"] "Whether the redirect serves: 1 with hosts of its main or backup table, 0 down or disabled.";
    REDIRECT_BACKUP = Gauge "relayd_redirect_backup_active" ["redirect"] "Whether the redirect uses its backup table.";
    REDIRECT_DISABLED = Gauge "relayd_redirect_disabled" ["redirect"] "Whether the redirect is disabled.";
    REDIRECT_SESSIONS = Counter "relayd_redirect_sessions_total" ["redirect"] "Sessions that the redirect began.";
    REDIRECT_INFO = Gauge "relayd_redirect_info" ["redirect", "id"] "Always 1; the label tells the redirect's number.";
    REDIRECT_SESSIONS_LAST = Gauge "relayd_redirect_sessions_last" ["redirect", "period"] "Sessions as `relayctl show redirects` prints them after `last`; period is minute, hour or day.";
    REDIRECT_SESSIONS_AVERAGE = Gauge "relayd_redirect_sessions_average" ["redirect", "period"] "Sessions as `relayctl show redirects` prints them after `average`; period is minute, hour or day.";
    REDIRECT_HOST_SESSIONS = Counter "relayd_redirect_host_sessions_total" ["redirect", "host", "table", "id"] "Sessions of the redirect that went to the host.";
    REDIRECT_HOST_PACKETS = Counter "relayd_redirect_host_packets_total" ["redirect", "host", "table", "id", "direction"] "Packets of the redirect and the host, with the option count_traffic; direction is in (from clients) or out (to clients).";
    REDIRECT_HOST_BYTES = Counter "relayd_redirect_host_bytes_total" ["redirect", "host", "table", "id", "direction"] "Bytes of these packets, IP headers included; with the packet filter userland their payload, and packets of UDP only.";

    FILTER_CHANGES = Counter "relayd_packet_filter_changes_total" [] "Changes made in the packet filter, one for each round of changes.";
    FILTER_ERRORS = Counter "relayd_packet_filter_errors_total" [] "Changes that the packet filter refused.";
    CONTROL_CLIENTS = Gauge "relayd_control_clients" [] "Open connections to the control socket.";
    CONTROL_LIMIT_HITS = Counter "relayd_control_limit_hits_total" ["limit"] "Connections to the control socket that were closed for a limit: clients (too many), events (a monitor does not read), message (malformed or too long) or slow (an answer is not read).";

    RELAY_SESSIONS = Counter "relayd_relay_sessions_total" ["process", "relay"] "Sessions that the relay began.";
    RELAY_SESSIONS_ACTIVE = Gauge "relayd_relay_sessions_active" ["process", "relay"] "Sessions of the relay that are open.";
    RELAY_DISABLED = Gauge "relayd_relay_disabled" ["relay"] "Whether the relay is disabled.";
    RELAY_FAILED = Counter "relayd_relay_sessions_failed_total" ["process"] "Sessions that ended with an error.";
    RELAY_TIMEOUTS = Counter "relayd_relay_sessions_timeout_total" ["process"] "Sessions that ended because nothing moved for too long.";
    RELAY_PANICKED = Counter "relayd_relay_sessions_panicked_total" ["process"] "Sessions that ended because of a defect in relayd.";
    RELAY_REFUSED = Counter "relayd_relay_sessions_refused_total" ["process", "limit"] "Connections closed at once for a limit: process (its sessions), relay (session max), client (session max per client) or share (a client has many while the process is crowded).";
    RELAY_HEADERS_MISSING = Counter "relayd_relay_proxy_headers_missing_total" ["process"] "Connections closed because they did not begin with the PROXY header that their listener expects.";
    RELAY_LIMIT_HITS = Counter "relayd_relay_limit_hits_total" ["process", "limit"] "Times that something was done without for a limit: pipes (a transfer copies), pool (a server connection is not kept), log (items missing in a session's line) or clients (a client's limit holds in one process only).";
    RELAY_ACCEPT_PAUSES = Counter "relayd_relay_accept_pauses_total" ["process"] "Times that accepting paused for want of descriptors or memory.";
    RELAY_CONNECT_ERRORS = Counter "relayd_relay_connect_errors_total" ["process"] "Connections to hosts that failed.";
    RELAY_FAILOVERS = Counter "relayd_relay_failovers_total" ["process"] "Sessions that went to another host after the first failed.";
    RELAY_QUEUE = Gauge "relayd_relay_queue_sessions" ["process", "table", "id"] "Sessions and requests that wait because all hosts of the table are full.";
    RELAY_QUEUED = Counter "relayd_relay_queued_total" ["process"] "Sessions and requests that had to wait for a host with room.";
    RELAY_QUEUE_ENDED = Counter "relayd_relay_queue_failed_total" ["process", "reason"] "Sessions and requests that got no place in a queue or no host by it; reason is full (too many waited), timeout or left (the client reset its connection).";
    RELAY_HOST_CONNECTIONS = Gauge "relayd_relay_host_connections" ["process", "host", "table", "id"] "Open connections of relays to the host.";
    RELAY_DATAGRAMS = Counter "relayd_relay_datagrams_total" ["process"] "Datagrams passed on.";
    RELAY_DATAGRAMS_DROPPED = Counter "relayd_relay_datagrams_dropped_total" ["process", "kind"] "Datagrams dropped: malformed, unknown (an answer to no query), full (too many flows or queries), no_host, disabled (the relay) or unsent (the system took it not).";
    RELAY_BYTES = Counter "relayd_relay_bytes_total" ["process", "direction"] "Bytes passed on; direction is in (from clients) or out (from servers).";
    ACCESS_LINES = Counter "relayd_access_log_lines_total" ["process"] "Lines of access logs that were written.";
    ACCESS_LOST = Counter "relayd_access_log_lost_lines_total" ["process"] "Lines of access logs that were lost because their target was full, too slow or away.";

    HTTP_REQUESTS = Counter "relayd_relay_http_requests_total" ["process"] "HTTP requests that relays passed on.";
    HTTP_REUSED = Counter "relayd_relay_http_server_connections_reused_total" ["process"] "Requests that went over a kept server connection.";
    HTTP_RETRIED = Counter "relayd_relay_http_requests_retried_total" ["process"] "Requests sent again because a kept server connection had ended.";
    HTTP_IDLE = Gauge "relayd_relay_http_server_connections_idle" ["process"] "Server connections kept for later requests.";
    HTTP_REFUSED = Counter "relayd_relay_http_refused_total" ["process", "kind"] "HTTP messages refused; kind is the reason.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" ["role", "process"] "User and system CPU time of the process in seconds.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" ["role", "process"] "Resident memory of the process in bytes (Linux).";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" ["role", "process"] "Open descriptors of the process (Linux 6.2 and later).";
    PROCESS_MAX_FDS = Gauge "process_max_fds" ["role", "process"] "Most descriptors the process may open.";
    PROCESS_START = Gauge "process_start_time_seconds" ["role", "process"] "When the process started, in Unix time.";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn row(metric: &Metric) -> String {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.word(), metric.help);
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    }

    #[test]
    fn document_lists_every_metric_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let document = std::fs::read_to_string(path).expect("docs/metrics.md");
        let rows: BTreeSet<&str> = document
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let wanted: Vec<String> = METRICS.iter().map(|metric| row(metric)).collect();
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        let missing: Vec<_> = wanted.difference(&rows).collect();
        let extra: Vec<_> = rows.difference(&wanted).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "missing in docs/metrics.md: {missing:#?}\nnot in the code: {extra:#?}"
        );
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is used twice");
        for metric in METRICS {
            let name = metric.name;
            assert!(
                name.starts_with("relayd_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            let word = |text: &str| {
                text.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            };
            assert!(
                word(name) && metric.labels.iter().all(|label| word(label)),
                "{name}"
            );
            assert!(
                metric.help.ends_with('.') && !metric.help.contains('|'),
                "{name}"
            );
        }
    }
}
