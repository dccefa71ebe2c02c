//! Where log lines go: standard error with `-d`, else syslog, facility daemon.
//! Owns the one subscriber of the process, its level and its outlet.
//! Must never print a control character that came from outside, and never block the process.

use crate::link::{Message, PARENT, Sender};
use crate::options::LogFormat;
use conf::limits;
use protocols::log::daemon::printable;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Where syslogd listens: Linux and OpenBSD, FreeBSD.
const SYSLOG_SOCKETS: [&str; 2] = ["/dev/log", "/var/run/log"];
/// `LOG_DAEMON`
const FACILITY: u8 = 3 << 3;

static LOGGER: OnceLock<Logger> = OnceLock::new();
static VERBOSE: AtomicU8 = AtomicU8::new(0);

/// syslog severities that are used.
pub mod severity {
    /// A service is lost.
    pub const ERROR: u8 = 3;
    /// A service is degraded.
    pub const WARNING: u8 = 4;
    /// The original's lines.
    pub const INFO: u8 = 6;
    /// With `-v`.
    pub const DEBUG: u8 = 7;
}

struct Logger {
    /// Short name of the role, for JSON.
    process: &'static str,
    format: LogFormat,
    foreground: bool,
    outlets: Mutex<Outlets>,
}

#[derive(Default)]
struct Outlets {
    syslog: Option<UnixDatagram>,
    parent: Option<Sender>,
}

/// Starts logging for this process. Call it before chroot: syslog is connected here.
/// A second call only changes the level.
pub fn install(process: &'static str, foreground: bool, verbose: u8, format: LogFormat) {
    let logger = Logger {
        process,
        format,
        foreground,
        outlets: Mutex::new(Outlets {
            syslog: if foreground { None } else { connect() },
            parent: None,
        }),
    };
    VERBOSE.store(verbose, Ordering::Relaxed);
    if LOGGER.set(logger).is_ok() {
        let subscriber = tracing_subscriber::registry().with(Lines);
        // Only a test that has a subscriber of its own refuses.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
    tracing::callsite::rebuild_interest_cache();
}

/// Lines that syslog does not take go to the parent from now on.
pub fn fall_back_to(parent: Sender) {
    if let Some(logger) = LOGGER.get() {
        logger.outlets().parent = Some(parent);
    }
}

/// Changes the debug level: 0 brief, 1 verbose, 2 more.
pub fn set_verbose(level: u8) {
    VERBOSE.store(level, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// The debug level.
pub fn verbose() -> u8 {
    VERBOSE.load(Ordering::Relaxed)
}

/// Prints a line that a child could not print itself.
pub fn print(severity: u8, line: &str) {
    if let Some(logger) = LOGGER.get() {
        logger.line(severity, line, None);
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    SYSLOG_SOCKETS
        .iter()
        .any(|path| socket.connect(path).is_ok())
        .then_some(socket)
}

fn level_filter() -> LevelFilter {
    match verbose() {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Libraries only speak up when something is wrong.
fn ours(target: &str) -> bool {
    const CRATES: [&str; 5] = ["actors", "backends", "conf", "protocols", "relayd"];
    CRATES.contains(&target.split("::").next().unwrap_or(target))
}

impl Logger {
    fn outlets(&self) -> std::sync::MutexGuard<'_, Outlets> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, severity: u8, line: &str, session: Option<&str>) {
        let text = match self.format {
            LogFormat::Plain => printable(line).into_owned(),
            LogFormat::Json => json(self.process, severity, line, session),
        };
        if self.foreground {
            // One write for a line, so that lines of several processes do not mix. Nobody can be told if it fails.
            let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
            return;
        }
        // A panic while this lock is held would come here again.
        let Ok(mut outlets) = self.outlets.try_lock() else {
            return;
        };
        if outlets.syslog(severity, &text) {
            return;
        }
        let Outlets { parent, syslog } = &mut *outlets;
        if let Some(parent) = parent {
            let line = line.to_owned();
            // A full queue loses log lines before it loses service.
            let _ = parent.try_send(PARENT, Message::Log { severity, line });
        } else {
            *syslog = connect();
            outlets.syslog(severity, &text);
        }
    }
}

impl Outlets {
    /// Whether the line was taken, or lost because syslogd is too slow.
    fn syslog(&mut self, severity: u8, text: &str) -> bool {
        let Some(socket) = &self.syslog else {
            return false;
        };
        let mut line = format!(
            "<{}>relayd[{}]: {text}",
            FACILITY | severity,
            std::process::id()
        );
        if line.len() > limits::LOG_LINE_MAX {
            let mut end = limits::LOG_LINE_MAX;
            while !line.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            line.truncate(end);
        }
        match socket.send(line.as_bytes()) {
            Ok(_) => true,
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

fn json(process: &str, severity: u8, line: &str, session: Option<&str>) -> String {
    let level = match severity {
        severity::ERROR => "error",
        severity::WARNING => "warn",
        severity::DEBUG => "debug",
        _ => "info",
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time = format!("{}.{:03}", now.as_secs(), now.subsec_millis());
    let pid = std::process::id();
    let message = serde_json::Value::from(line);
    let session = session.map_or_else(String::new, |id| {
        format!(r#","session":{}"#, serde_json::Value::from(id))
    });
    format!(
        r#"{{"time":{time},"level":"{level}","process":"{process}","pid":{pid}{session},"message":{message}}}"#
    )
}

/// The subscriber: a line per event.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && allowed(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && allowed(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level_filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let severity = match *event.metadata().level() {
            Level::ERROR => severity::ERROR,
            Level::WARN => severity::WARNING,
            Level::INFO => severity::INFO,
            _ => severity::DEBUG,
        };
        if let Some(logger) = LOGGER.get() {
            logger.line(severity, &line.message, line.session.as_deref());
        }
    }
}

fn allowed(metadata: &Metadata<'_>) -> bool {
    let level = *metadata.level();
    level <= level_filter() && (ours(metadata.target()) || level <= Level::WARN)
}

#[derive(Default)]
struct Line {
    message: String,
    /// Name of the session that the line is about.
    session: Option<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            "session" => self.session = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_lines_are_json() {
        let value: serde_json::Value = serde_json::from_str(&json(
            "hce",
            severity::WARNING,
            "a \"b\"\n\u{1b}",
            Some("ab-1"),
        ))
        .unwrap();
        assert_eq!(value.get("session").unwrap(), "ab-1");
        assert_eq!(value.get("message").unwrap(), "a \"b\"\n\u{1b}");
        assert_eq!(value.get("level").unwrap(), "warn");
        assert_eq!(value.get("process").unwrap(), "hce");
        assert!(value.get("time").unwrap().as_f64().unwrap() > 1.0e9);
    }

    #[test]
    fn syslog_gets_facility_tag_and_one_datagram_a_line() {
        let path = std::env::temp_dir().join(format!("relayd-syslog-{}", std::process::id()));
        let server = UnixDatagram::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut outlets = Outlets {
            syslog: Some(client),
            parent: None,
        };
        assert!(outlets.syslog(severity::INFO, "startup"));
        assert!(outlets.syslog(severity::INFO, &"ö".repeat(limits::LOG_LINE_MAX)));
        let mut buffer = vec![0; 2 * limits::LOG_LINE_MAX];
        let n = server.recv(&mut buffer).unwrap();
        let line = String::from_utf8(buffer.iter().copied().take(n).collect()).unwrap();
        assert_eq!(line, format!("<30>relayd[{}]: startup", std::process::id()));
        let n = server.recv(&mut buffer).unwrap();
        assert!(n <= limits::LOG_LINE_MAX && n > limits::LOG_LINE_MAX - 2);
        drop(server);
        assert!(!outlets.syslog(severity::INFO, "lost"));
    }

    #[test]
    fn libraries_are_quiet() {
        assert!(ours("actors::parent") && ours("relayd"));
        assert!(!ours("mio::poll") && !ours("relaydx"));
    }
}
