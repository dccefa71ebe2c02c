//! `make demo`: web servers, relayd in front of them, and what happens when a server stops.
//!
//! Runs without root. Everything lives in a private directory that is removed at the end; Ctrl-C (or DEMO_SECONDS) ends it.

mod story;
mod web;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a step of the demonstration may take before it is given up.
const BOUND: Duration = Duration::from_secs(20);
/// A server that was stopped by hand comes back after this time.
const RETURN: Duration = Duration::from_secs(10);
const SERVERS: [(&str, Ipv4Addr); 3] = [
    ("one", Ipv4Addr::new(127, 0, 0, 1)),
    ("two", Ipv4Addr::new(127, 0, 0, 2)),
    ("three", Ipv4Addr::new(127, 0, 0, 3)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some("--server") => web::serve(&arguments),
        _ => demonstrate(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where everything listens.
struct Ports {
    server: u16,
    redirect: u16,
    www: u16,
    tcp: u16,
    metrics: u16,
}

impl Ports {
    /// The ports of the example, or others where one is taken.
    fn choose() -> Outcome<Ports> {
        let mut first = 8480u16;
        for _ in 0..100 {
            if (first..first + 5).all(|port| {
                SERVERS
                    .iter()
                    .all(|(_, address)| TcpListener::bind((*address, port)).is_ok())
            }) {
                return Ok(Ports {
                    server: first,
                    redirect: first + 1,
                    www: first + 2,
                    tcp: first + 3,
                    metrics: first + 4,
                });
            }
            first += 10;
        }
        Err("no free ports on 127.0.0.1, 127.0.0.2 and 127.0.0.3 (on the BSDs, as root: ifconfig lo0 alias 127.0.0.2; ifconfig lo0 alias 127.0.0.3)".into())
    }
}

/// Everything that runs; dropping it ends it.
struct Demo {
    programs: PathBuf,
    directory: PathBuf,
    ports: Ports,
    servers: Vec<Option<Child>>,
    relayd: Option<Child>,
    signals: Receiver<Signal>,
}

fn demonstrate() -> Outcome<()> {
    let signals = signals()?;
    let limit = match std::env::var("DEMO_SECONDS") {
        Ok(text) if !text.is_empty() => Some(Duration::from_secs(
            text.parse()
                .map_err(|_| format!("DEMO_SECONDS: {text} is no number"))?,
        )),
        _ => None,
    };
    let end = limit.map(|limit| Instant::now() + limit);
    let mut demo = Demo::start(signals)?;
    match demo.show().and_then(|()| demo.watch(end)) {
        // A signal in the middle of the show is a wanted end as well.
        Err(error) if error.is::<Interrupted>() => {}
        other => other?,
    }
    demo.finish()
}

/// Ctrl-C arrives as a value: the signals are blocked everywhere and taken by one thread.
fn signals() -> Outcome<Receiver<Signal>> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

impl Demo {
    fn start(signals: Receiver<Signal>) -> Outcome<Demo> {
        let me = std::env::current_exe()?;
        let programs = me
            .ancestors()
            .nth(2)
            .filter(|directory| directory.join("relayd").exists())
            .ok_or("relayd is not built: run make demo")?
            .to_owned();
        let directory = std::env::temp_dir().join(format!("relayd-demo.{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let mut demo = Demo {
            programs,
            directory,
            ports: Ports::choose()?,
            servers: Vec::new(),
            relayd: None,
            signals,
        };
        for index in 0..SERVERS.len() {
            demo.servers.push(None);
            demo.start_server(index)?;
        }
        demo.start_relayd()?;
        Ok(demo)
    }

    fn start_server(&mut self, index: usize) -> Outcome<()> {
        let (name, address) = SERVERS.get(index).ok_or("no such server")?;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "--server",
                name,
                &format!("{address}:{}", self.ports.server),
            ])
            .stdin(Stdio::piped())
            // Ctrl-C is ours alone: relayd shall not see its servers vanish first.
            .process_group(0)
            .spawn()?;
        say(&format!(
            "web server {name} on {address}:{} (pid {})",
            self.ports.server,
            child.id()
        ));
        if let Some(place) = self.servers.get_mut(index) {
            *place = Some(child);
        }
        Ok(())
    }

    fn start_relayd(&mut self) -> Outcome<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/demo.conf");
        let mut command = Command::new(self.programs.join("relayd"));
        command.args(["--single-process", "-d"]);
        for (name, port) in [
            ("server_port", self.ports.server),
            ("redirect_port", self.ports.redirect),
            ("www_port", self.ports.www),
            ("tcp_port", self.ports.tcp),
        ] {
            command.args(["-D", &format!("{name}={port}")]);
        }
        let mut child = command
            .arg("-f")
            .arg(file)
            .env("RELAYD_BACKEND", "userland")
            .env("RELAYD_SOCKET", self.socket())
            .env("RELAYD_STATE_DIRECTORY", self.directory.join("state"))
            .env(
                "RELAYD_METRICS",
                format!("127.0.0.1:{}", self.ports.metrics),
            )
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        say(&format!("relayd (pid {})", child.id()));
        if let Some(log) = child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    println!("  relayd | {line}");
                }
            });
        }
        self.relayd = Some(child);
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("relayd.sock")
    }

    fn relayctl(&self, words: &[&str]) -> Outcome<String> {
        let output = Command::new(self.programs.join("relayctl"))
            .arg("-s")
            .arg(self.socket())
            .args(words)
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits, but not deaf: a signal ends the wait, and relayd must be alive.
    fn pause(&mut self, time: Duration) -> Outcome<()> {
        match self.signals.recv_timeout(time) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return Err(Interrupted.into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(relayd) = self.relayd.as_mut()
            && let Some(status) = relayd.try_wait()?
        {
            return Err(format!("relayd ended: {status}").into());
        }
        Ok(())
    }

    /// Ends relayd as an administrator would, then the servers.
    fn finish(&mut self) -> Outcome<()> {
        if let Some(mut relayd) = self.relayd.take() {
            kill(Pid::from_raw(i32::try_from(relayd.id())?), Signal::SIGTERM)?;
            let end = Instant::now() + BOUND;
            let status = loop {
                if let Some(status) = relayd.try_wait()? {
                    break status;
                }
                if Instant::now() > end {
                    relayd.kill()?;
                    relayd.wait()?;
                    return Err("relayd did not end".into());
                }
                std::thread::sleep(Duration::from_millis(20));
            };
            if !status.success() {
                return Err(format!("relayd ended badly: {status}").into());
            }
        }
        say("ended");
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        for child in self
            .relayd
            .iter_mut()
            .chain(self.servers.iter_mut().flatten())
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn say(text: &str) {
    println!("demo: {text}");
}
