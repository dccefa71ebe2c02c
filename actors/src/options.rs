//! Daemon options that are not in relayd.conf: who, where, which packet filter.
//! Owns their types and defaults; the layers (file, environment, flags) are put together in the binary.
//! Must never hold anything relayd.conf can say.

use backends::filter::Kind;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Daemon options. Layers: defaults ← `relayd.toml` ← `RELAYD_*` environment ← flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// User of the unprivileged processes; ignored when not started as root.
    pub user: String,
    /// Group; empty = the user's.
    pub group: String,
    /// Directory the unprivileged processes are confined to; empty = none.
    pub chroot: PathBuf,
    /// Control socket, unless relayd.conf names one.
    pub socket: PathBuf,
    /// Prometheus listener; none = no status process.
    pub metrics: Option<SocketAddr>,
    /// Packet filter.
    pub backend: Backend,
    /// Name of the nftables table.
    pub table: String,
    /// End the TCP connections of a host that goes down; its UDP flows always end.
    pub kill_tcp: bool,
    /// Keep other programs from changing the nftables table, where the kernel can (Linux 6.9).
    pub protect_table: bool,
    /// Count packets and bytes of the hosts of redirects, which costs each packet of this system a look at its mark.
    pub count_traffic: bool,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Where access logs find syslogd.
    pub syslog_socket: PathBuf,
    /// Where access logs find journald.
    pub journal_socket: PathBuf,
    /// Where state that survives a restart is kept.
    pub state_directory: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            user: "_relayd".to_owned(),
            group: String::new(),
            chroot: PathBuf::from("/var/empty"),
            socket: PathBuf::from("/var/run/relayd.sock"),
            metrics: None,
            backend: Backend::Auto,
            table: "relayd".to_owned(),
            kill_tcp: false,
            protect_table: true,
            count_traffic: false,
            log_format: LogFormat::Plain,
            syslog_socket: PathBuf::from(if cfg!(target_os = "freebsd") {
                "/var/run/log"
            } else {
                "/dev/log"
            }),
            journal_socket: PathBuf::from("/run/systemd/journal/socket"),
            state_directory: PathBuf::from("/var/lib/relayd"),
        }
    }
}

/// Packet filter choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The system's packet filter where it may be used, else `userland`.
    #[default]
    Auto,
    /// nftables (Linux).
    Nftables,
    /// pf through pfctl(8) (OpenBSD, FreeBSD).
    Pf,
    /// Forwarding inside the daemon.
    Userland,
    /// Nothing is done; calls are recorded (tests).
    Recording,
}

impl Backend {
    /// The packet filter; `None`: the system decides.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Backend::Auto => None,
            Backend::Nftables => Some(Kind::Nftables),
            Backend::Pf => Some(Kind::Pf),
            Backend::Userland => Some(Kind::Userland),
            Backend::Recording => Some(Kind::Recording),
        }
    }
}

impl From<Kind> for Backend {
    fn from(kind: Kind) -> Backend {
        match kind {
            Kind::Nftables => Backend::Nftables,
            Kind::Pf => Backend::Pf,
            Kind::Userland => Backend::Userland,
            Kind::Recording => Backend::Recording,
        }
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The original's sentences.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}
