//! The metrics of relayd: each name, once.
//! Owns names, types, labels and help texts; `docs/metrics.md` says the same to operators, and a test compares.
//! Must never be bypassed: the status role drops samples that are not in this table.

use crate::link::Sample;

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
        METRICS.iter().find(|metric| metric.name == name).copied()
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

    HOST_UP = Gauge "relayd_host_up" ["host", "table"] "Whether the host is up: 1 up, 0 down or unknown.";
    HOST_DISABLED = Gauge "relayd_host_disabled" ["host", "table"] "Whether the host was disabled by hand.";
    HOST_CHECKS = Counter "relayd_host_checks_total" ["host", "table"] "Checks of the host that counted.";
    HOST_CHECKS_UP = Counter "relayd_host_checks_up_total" ["host", "table"] "Checks that found the host up, failures covered by retry included.";
    HOST_CHECK_DURATION = Gauge "relayd_host_check_duration_seconds" ["host", "table"] "Duration of the host's last check.";
    HOST_STATE_CHANGES = Counter "relayd_host_state_changes_total" ["host", "table"] "Changes of the host's state.";

    TABLE_HOSTS = Gauge "relayd_table_hosts" ["table"] "Hosts in the table.";
    TABLE_HOSTS_UP = Gauge "relayd_table_hosts_up" ["table"] "Hosts in the table that are up and not disabled.";
    TABLE_DISABLED = Gauge "relayd_table_disabled" ["table"] "Whether the table is disabled.";

    CHECKS_RUNNING = Gauge "relayd_checks_running" [] "Host checks under way.";
    CHECK_LIMIT_HITS = Counter "relayd_check_limit_hits_total" [] "Times that host checks had to wait because too many were under way.";

    REDIRECT_UP = Gauge "relayd_redirect_up" ["redirect"] "Whether the redirect serves: 1 with hosts of its main or backup table, 0 down or disabled.";
    REDIRECT_BACKUP = Gauge "relayd_redirect_backup_active" ["redirect"] "Whether the redirect uses its backup table.";
    REDIRECT_DISABLED = Gauge "relayd_redirect_disabled" ["redirect"] "Whether the redirect is disabled.";
    REDIRECT_SESSIONS = Counter "relayd_redirect_sessions_total" ["redirect"] "Sessions that the redirect began.";
    REDIRECT_SESSIONS_ACTIVE = Gauge "relayd_redirect_sessions_active" ["redirect"] "Sessions of the redirect that are open.";

    RELAY_DISABLED = Gauge "relayd_relay_disabled" ["relay"] "Whether the relay is disabled.";
    RELAY_SESSIONS = Counter "relayd_relay_sessions_total" ["relay"] "Sessions that the relay accepted.";
    RELAY_SESSIONS_ACTIVE = Gauge "relayd_relay_sessions_active" ["relay"] "Sessions of the relay that are open.";
    RELAY_SESSION_ERRORS = Counter "relayd_relay_session_errors_total" ["relay"] "Sessions of the relay that ended in an error.";
    RELAY_BYTES = Counter "relayd_relay_bytes_total" ["relay", "direction"] "Bytes that the relay passed on; direction is request or response.";

    SESSIONS_ACTIVE = Gauge "relayd_sessions_active" ["process"] "Sessions open in a relay process.";
    SESSION_LIMIT_HITS = Counter "relayd_session_limit_hits_total" ["process"] "Connections refused because the process had too many sessions.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" ["process"] "User and system CPU time of the process in seconds.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" ["process"] "Resident memory of the process in bytes.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" ["process"] "Open descriptors of the process.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" ["process"] "Most descriptors the process may open.";
    PROCESS_START = Gauge "process_start_time_seconds" ["process"] "When the process started, in Unix time.";
}
