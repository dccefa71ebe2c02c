//! What the log says about host checks (`log state changes`, `log host checks`, debug).
//! Owns the sentences; scripts and monitoring read them.
//! Must never decide whether they are printed beyond [`CheckLine::wanted`].

use crate::check::Applied;
use crate::host::{HostStatus, Reason};
use conf::model::{Check, LogFlags};
use std::fmt;

/// The line after a check.
#[derive(Clone, Copy, Debug)]
pub struct CheckLine<'a> {
    /// The host as written in the configuration.
    pub host: &'a str,
    /// Its check.
    pub check: &'a Check,
    /// What is known now.
    pub status: &'a HostStatus,
    /// What the check changed.
    pub applied: Applied,
}

impl CheckLine<'_> {
    /// Whether the configuration asks for the line.
    pub fn wanted(&self, log: LogFlags) -> bool {
        log.host_checks || (log.state_changes && self.applied.changed())
    }
}

impl fmt::Display for CheckLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckLine {
            host,
            check,
            status,
            applied,
        } = self;
        let (latency, reason) = (status.latency_ms, status.reason.text());
        write!(
            f,
            "host {host}, check {} ({latency}ms,{reason}",
            Kind(check)
        )?;
        if status.http_code > 0 {
            write!(f, ",{}", status.http_code)?;
        }
        let availability = availability(status.ups, status.checks);
        let Applied { from, to, .. } = applied;
        write!(f, "), state {from} -> {to}, availability {availability}")
    }
}

/// Type of a check, with ` use tls`.
struct Kind<'a>(&'a Check);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        if self.0.tls() {
            f.write_str(" use tls")?;
        }
        Ok(())
    }
}

/// `PP.PP%`, or nothing before the first counted check.
pub fn availability(ups: u64, checks: u64) -> String {
    if checks == 0 {
        return String::new();
    }
    format!("{:.2}%", ups as f64 / checks as f64 * 100.0)
}

/// The result came after the host was disabled.
pub fn ignored(host: &str, check: &Check) -> String {
    let kind = Kind(check);
    format!("host {host}, check {kind} (ignoring result, host disabled)")
}

/// Debug: a check ended.
pub fn notify_done(host: &str, reason: Reason) -> String {
    format!("hce_notify_done: {host} ({})", reason.text())
}

/// Debug: a failure was forgiven; `left` retries were left.
pub fn notify_retry(host: &str, left: u32) -> String {
    format!("hce_notify_done: host {host} retry {left}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostState;
    use conf::model::{HostId, HttpRequest};

    fn line(check: &Check, status: HostStatus, from: HostState) -> String {
        CheckLine {
            host: "127.0.0.1",
            check,
            status: &status,
            applied: Applied {
                from,
                to: status.state,
                retried: None,
            },
        }
        .to_string()
    }

    #[test]
    fn lines_are_the_originals() {
        let mut status = HostStatus {
            state: HostState::Up,
            checks: 3,
            ups: 2,
            reason: Reason::TcpConnectOk,
            latency_ms: 1,
            ..HostStatus::unknown(HostId(1))
        };
        assert_eq!(
            line(&Check::Tcp { tls: false }, status, HostState::Down),
            "host 127.0.0.1, check tcp (1ms,tcp connect ok), state down -> up, availability 66.67%"
        );
        let request = HttpRequest {
            path: "/".to_owned(),
            host: None,
            tls: true,
        };
        status.http_code = 200;
        status.reason = Reason::HttpCodeOk;
        assert_eq!(
            line(
                &Check::HttpCode { request, code: 200 },
                status,
                HostState::Unknown
            ),
            "host 127.0.0.1, check http code use tls (1ms,http code ok,200), state unknown -> up, availability 66.67%"
        );
        assert_eq!(
            ignored("h", &Check::Icmp),
            "host h, check icmp (ignoring result, host disabled)"
        );
        assert_eq!(
            notify_done("h", Reason::IcmpOk),
            "hce_notify_done: h (icmp ok)"
        );
        assert_eq!(notify_retry("h", 2), "hce_notify_done: host h retry 2");
        assert_eq!(availability(0, 0), "");
        assert_eq!(availability(1, 1), "100.00%");
    }

    #[test]
    fn state_changes_are_a_part_of_host_checks() {
        let status = HostStatus::unknown(HostId(1));
        let applied = |to| Applied {
            from: HostState::Up,
            to,
            retried: None,
        };
        let line = |to| CheckLine {
            host: "h",
            check: &Check::Icmp,
            status: &status,
            applied: applied(to),
        };
        let changes = LogFlags {
            state_changes: true,
            ..LogFlags::default()
        };
        let checks = LogFlags {
            host_checks: true,
            ..LogFlags::default()
        };
        assert!(line(HostState::Down).wanted(changes));
        assert!(!line(HostState::Up).wanted(changes));
        assert!(line(HostState::Up).wanted(checks));
        assert!(!line(HostState::Down).wanted(LogFlags::default()));
    }
}
