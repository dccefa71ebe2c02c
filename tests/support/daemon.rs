//! The real relayd with a configuration text, in a directory of its own.

use super::client::{self, Answer};
use super::netns::Netns;
use super::process::{self, Process};
use super::{BOUND, Scratch, wait};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a daemon is started.
#[derive(Debug)]
pub struct Settings<'a> {
    /// All roles in one process.
    pub single: bool,
    /// Packet filter.
    pub backend: &'a str,
    /// Metrics listener on 127.0.0.1.
    pub metrics: Option<u16>,
    /// How often `-v` is given.
    pub verbose: usize,
    /// Network namespace to run in.
    pub netns: Option<&'a Netns>,
    /// Started by the user nobody, without any right; the same as ever where the test itself is not root's.
    pub nobody: bool,
    /// Further arguments.
    pub arguments: &'a [&'a str],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Settings {
            single: false,
            backend: "userland",
            metrics: None,
            verbose: 1,
            netns: None,
            nobody: false,
            arguments: &[],
        }
    }
}

/// Name of the nftables table of all daemons of this test.
pub fn table() -> String {
    format!("relayd_test_{}", std::process::id())
}

/// How the program is started, also for a second time.
#[derive(Clone, Debug)]
struct Launch {
    netns: Option<String>,
    /// User and group, if not the test's.
    user: Option<(u32, u32)>,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// User and group of nobody, which every system has.
fn nobody() -> (u32, u32) {
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    (user.uid.as_raw(), user.gid.as_raw())
}

impl Launch {
    fn new(settings: &Settings<'_>, scratch: &Scratch) -> Launch {
        let mut arguments: Vec<OsString> = Vec::new();
        if settings.single {
            arguments.push("--single-process".into());
        }
        arguments.push("-d".into());
        arguments.extend(std::iter::repeat_n("-v".into(), settings.verbose));
        arguments.extend(["-f".into(), scratch.path("relayd.conf").into()]);
        arguments.extend(settings.arguments.iter().map(Into::into));
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("RELAYD_BACKEND", settings.backend.into()),
            ("RELAYD_SOCKET", scratch.path("relayd.sock").into()),
            ("RELAYD_STATE_DIRECTORY", scratch.path("state").into()),
            ("RELAYD_TABLE", table().into()),
            ("RELAYD_CHROOT", scratch.path("empty").into()),
            // Every system has this user; a machine without an installed relayd has no `_relayd`.
            ("RELAYD_USER", "nobody".into()),
        ];
        if let Some(port) = settings.metrics {
            environment.push(("RELAYD_METRICS", format!("127.0.0.1:{port}").into()));
        }
        Launch {
            netns: settings.netns.map(|netns| netns.name().to_owned()),
            user: (settings.nobody && super::root()).then(nobody),
            program: env!("CARGO_BIN_EXE_relayd").into(),
            arguments,
            environment,
        }
    }

    /// Copies the program into the test's directory if it is where not everybody may go. Another program writes the
    /// copy: a child that a parallel test starts meanwhile would inherit our descriptor, and while anybody can write
    /// to a program it cannot be run.
    fn make_reachable(&mut self, scratch: &Scratch) {
        let everybody = |directory: &Path| {
            let mode = std::fs::metadata(directory).map(|m| m.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o001 != 0)
        };
        if !self.program.ancestors().all(everybody) {
            let copy = scratch.path("relayd");
            let mut command = Command::new("cp");
            assert!(
                command
                    .arg(&self.program)
                    .arg(&copy)
                    .status()
                    .unwrap()
                    .success()
            );
            self.program = copy;
        }
    }

    /// Starts the program; its log lines go to `log`.
    fn start(&self, log: &Arc<Mutex<Vec<String>>>) -> Child {
        let program = self.program.as_path();
        let mut command = match &self.netns {
            Some(name) => Netns::command_in(name, &program.to_string_lossy()),
            None => Command::new(program),
        };
        if let Some((user, group)) = self.user {
            // Without root's user id no capability is left, and other groups are dropped.
            command.uid(user).gid(group);
        }
        let mut child = command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start relayd");
        let (lines, stream) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().unwrap().push(line);
            }
        });
        child
    }
}

/// A running relayd.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    launch: Launch,
    scratch: Scratch,
    log: Arc<Mutex<Vec<String>>>,
    metrics: Option<u16>,
}

impl Daemon {
    /// Starts it with one process per role and the user-space packet filter, and waits until it answers relayctl.
    pub fn start(config: &str) -> Daemon {
        Self::with(Settings::default(), config)
    }

    /// Starts it and waits until it answers relayctl.
    pub fn with(settings: Settings<'_>, config: &str) -> Daemon {
        let daemon = Self::launch(settings, config);
        daemon.wait_ready();
        daemon
    }

    /// Starts it without waiting.
    pub fn launch(settings: Settings<'_>, config: &str) -> Daemon {
        let scratch = Scratch::new();
        scratch.write("relayd.conf", config);
        std::fs::create_dir(scratch.path("empty")).unwrap();
        let mut launch = Launch::new(&settings, &scratch);
        if let Some((user, group)) = launch.user {
            launch.make_reachable(&scratch);
            std::os::unix::fs::chown(scratch.path(""), Some(user), Some(group)).unwrap();
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        Daemon {
            child: launch.start(&log),
            launch,
            scratch,
            log,
            metrics: settings.metrics,
        }
    }

    /// Starts the program again after it ended, as a service manager would, and waits until it answers relayctl.
    pub fn again(&mut self) {
        self.child.wait().unwrap();
        self.child = self.launch.start(&self.log);
        self.wait_ready();
    }

    fn wait_ready(&self) {
        wait::until_true("relayd answers relayctl", || {
            assert!(
                process::alive(self.pid()),
                "relayd ended: {:#?}",
                self.lines()
            );
            self.socket().exists() && self.relayctl(&["show", "summary"]).code == 0
        });
    }

    /// Process id of the parent.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.path("relayd.sock")
    }

    /// Path of the configuration file.
    pub fn file(&self) -> PathBuf {
        self.scratch.path("relayd.conf")
    }

    /// Its directory.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Replaces the configuration file; the daemon does not know yet.
    pub fn configure(&self, config: &str) {
        self.scratch.write("relayd.conf", config);
    }

    /// Runs relayctl against it.
    pub fn relayctl(&self, words: &[&str]) -> Answer {
        client::relayctl(&self.socket(), words)
    }

    /// `relayctl show summary`
    pub fn summary(&self) -> String {
        self.relayctl(&["show", "summary"]).stdout
    }

    /// Waits until a row of `relayctl show summary` with that type and name has a status that starts with `status`.
    pub fn wait_status(&self, kind: &str, name: &str, status: &str) {
        self.wait_rows(&[(kind, name, status)]);
    }

    /// Waits until all such rows are there at once.
    pub fn wait_rows(&self, wanted: &[(&str, &str, &str)]) {
        let mut seen = String::new();
        let mut look = || {
            seen = self.summary();
            wanted.iter().all(|(kind, name, status)| {
                rows(&seen)
                    .any(|row| row[1] == *kind && row[2] == *name && row[4].starts_with(status))
            })
        };
        let found = wait::within_or_none(BOUND, || look().then_some(()));
        assert!(
            found.is_some(),
            "not within {BOUND:?}: {wanted:?} in\n{seen}log:\n{}",
            self.lines().join("\n")
        );
    }

    /// Log lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Number of log lines so far, for [`Daemon::lines_since`].
    pub fn mark(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Log lines after a mark.
    pub fn lines_since(&self, mark: usize) -> Vec<String> {
        self.log.lock().unwrap()[mark..].to_vec()
    }

    /// Waits for a log line that contains `text`; answers the whole line.
    pub fn wait_line(&self, text: &str) -> String {
        self.wait_line_since(0, text)
    }

    /// The same among the lines after a mark.
    pub fn wait_line_since(&self, mark: usize, text: &str) -> String {
        wait::within_or_none(BOUND, || {
            self.lines_since(mark)
                .into_iter()
                .find(|line| line.contains(text))
        })
        .unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", self.lines_since(mark)))
    }

    /// Processes of a role, by its title.
    pub fn role(&self, title: &str) -> Vec<Process> {
        process::titled(self.pid(), title)
    }

    /// Kills a process of the daemon as a crash would.
    pub fn kill(&self, process: &Process) {
        assert_eq!(process.parent, self.pid(), "not ours: {process:?}");
        process::signal(process.pid, Signal::SIGKILL);
    }

    /// Sends a signal to the parent.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        let port = self.metrics.expect("no metrics listener");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait::until("the metrics listener answers", || {
            client::get(to, "/metrics").ok()
        })
        .body
    }

    /// Ends it with SIGTERM; answers its exit status and all log lines.
    pub fn stop(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.end().expect("relayd did not end");
        // The log ends when the last process closed it.
        wait::until_true("the last log line", || Arc::strong_count(&self.log) == 1);
        (status, self.lines())
    }

    /// Waits for its end.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait::until("relayd ends", || self.child.try_wait().unwrap())
    }

    fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        self.signal(Signal::SIGTERM);
        wait::within_or_none(Duration::from_secs(30), || self.child.try_wait().ok()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of relayd:\n{}", self.lines().join("\n"));
        }
        let children = process::children(self.pid());
        if self.end().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Children that outlive their parent would be a defect; leave none behind in any case.
        let program = env!("CARGO_BIN_EXE_relayd");
        for child in children {
            if process::alive(child.pid) && child.title.contains(program) {
                process::signal(child.pid, Signal::SIGKILL);
            }
        }
    }
}

/// Rows of a relayctl listing after its heading: id, type, name, availability, status, each trimmed.
pub fn rows(listing: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    listing.lines().skip(1).filter_map(|line| {
        let row: Vec<String> = line.split('\t').map(|c| c.trim().to_owned()).collect();
        (row.len() == 5).then_some(row)
    })
}
