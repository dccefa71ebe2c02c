//! From a check's result to the kernel: the whole daemon with many redirects, in a network namespace of its own.
//! Owns the servers that fail, and a witness of the kernel's changes; needs root. Run it with `make bench`.
//! Must never print a figure without what it was measured with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[cfg(all(target_os = "linux", feature = "nftables"))]
fn main() {
    measure::all();
}

#[cfg(not(all(target_os = "linux", feature = "nftables")))]
fn main() {
    println!("skipped: built without nftables");
}

#[cfg(all(target_os = "linux", feature = "nftables"))]
mod measure {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
        setsockopt, socket, sockopt::RcvBufForce,
    };
    use nix::unistd::Pid;
    use std::fmt::Write as _;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::time::{Duration, Instant};

    const REDIRECTS: usize = 1000;
    const CHANGES: usize = 21;
    const ROUNDS: usize = 3;
    /// Nothing takes this long.
    const BOUND: Duration = Duration::from_secs(30);
    /// Nothing happened for this long: it is over.
    const QUIET: Duration = Duration::from_millis(1500);
    /// `NFNLGRP_NFTABLES` as a bit.
    const NFTABLES_GROUP: u32 = 1 << 6;
    /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`: the end of each transaction.
    const NEW_GENERATION: u16 = 10 << 8 | 15;

    /// What happened, and when a thread of this program saw it.
    enum Event {
        Line(String),
        /// Changes of the kernel; how many transactions ended with them.
        Kernel(usize),
    }

    type Seen = (Instant, Event);

    fn ip(arguments: &str) {
        let status = Command::new("ip")
            .args(arguments.split_whitespace())
            .status()
            .unwrap();
        assert!(status.success(), "ip {arguments}");
    }

    /// Real-time priority for this program and the daemon, so that they do not wait for whatever else runs.
    fn urgent() {
        let pid = std::process::id().to_string();
        let chrt = Command::new("chrt").args(["-r", "-p", "1", &pid]).status();
        if !chrt.is_ok_and(|status| status.success()) {
            println!(
                "without real-time priority (chrt of util-linux): good on an idle system only"
            );
        }
    }

    /// Tells of the kernel's changes from now on.
    fn witness(sender: Sender<Seen>) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).unwrap();
        setsockopt(&socket, RcvBufForce, &(64 << 20)).unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, NFTABLES_GROUP)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                let at = Instant::now();
                let event = Event::Kernel(generations(&buffer[..length]));
                if sender.send((at, event)).is_err() {
                    return;
                }
            }
        });
    }

    fn generations(mut messages: &[u8]) -> usize {
        let mut found = 0;
        while let Some((header, _)) = messages.split_at_checked(16) {
            let length = u32::from_ne_bytes(header[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes(header[4..6].try_into().unwrap());
            found += usize::from(kind == NEW_GENERATION);
            messages = messages
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        found
    }

    /// The daemon under test, ended with this value.
    struct Daemon {
        child: Child,
        directory: PathBuf,
        events: Receiver<Seen>,
    }

    impl Daemon {
        fn start(config: &str) -> Daemon {
            let name = format!("relayd-bench.{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::create_dir(directory.join("empty")).unwrap();
            std::fs::write(directory.join("relayd.conf"), config).unwrap();
            let (sender, events) = channel();
            witness(sender.clone());
            let mut child = Command::new(env!("CARGO_BIN_EXE_relayd"))
                .args(["-d", "-f"])
                .arg(directory.join("relayd.conf"))
                .env("RELAYD_BACKEND", "nftables")
                .env("RELAYD_TABLE", "bench")
                .env("RELAYD_SOCKET", directory.join("sock"))
                .env("RELAYD_STATE_DIRECTORY", directory.join("state"))
                .env("RELAYD_CHROOT", directory.join("empty"))
                .env("RELAYD_USER", "nobody")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let log = BufReader::new(child.stderr.take().unwrap());
            std::thread::spawn(move || {
                for line in log.lines().map_while(Result::ok) {
                    if sender.send((Instant::now(), Event::Line(line))).is_err() {
                        return;
                    }
                }
            });
            let daemon = Daemon {
                child,
                directory,
                events,
            };
            daemon.settle(BOUND);
            daemon
        }

        /// What happens until nothing does any more; waits at most `first` for the first event.
        fn settle(&self, first: Duration) -> Vec<Seen> {
            let mut events = Vec::new();
            let mut wait = first;
            loop {
                match self.events.recv_timeout(wait) {
                    Ok(event) => events.push(event),
                    Err(RecvTimeoutError::Timeout) => return events,
                    Err(RecvTimeoutError::Disconnected) => panic!("relayd ended"),
                }
                wait = QUIET;
            }
        }
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
            // It may have ended already.
            let _ = kill(pid, Signal::SIGTERM);
            let _ = self.child.wait();
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// The time of the first line about a check of a host whose name begins so.
    fn first_check(events: &[Seen], host: &str) -> Option<Instant> {
        let says = |event: &Event| matches!(event, Event::Line(line) if line.contains(&format!("host {host}")));
        events.iter().find(|(_, e)| says(e)).map(|(at, _)| *at)
    }

    /// A server that ends with this value, for every thread that waits on it.
    struct Server(TcpListener);

    impl Drop for Server {
        fn drop(&mut self) {
            // Nobody connects any more, whatever this says.
            let _ = socket2::SockRef::from(&self.0).shutdown(std::net::Shutdown::Both);
        }
    }

    fn listen(address: &str) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let ours = listener.try_clone().unwrap();
        std::thread::spawn(move || while listener.accept().is_ok() {});
        Server(ours)
    }

    /// One host of one redirect fails and returns, among [`REDIRECTS`].
    fn one_host() {
        let mut config = "interval 1\ntimeout 300\ntable <shared> {".to_owned();
        for n in 1..=10 {
            let _ = write!(config, " 10.64.0.{n}");
        }
        config.push_str(" }\ntable <own> { 10.64.1.1 10.64.1.2 10.64.1.3 }\n");
        for n in 0..REDIRECTS {
            let (table, port) = if n == 0 {
                ("own", 8081)
            } else {
                ("shared", 8080)
            };
            let (high, low) = (n / 256, n % 256);
            let _ = writeln!(
                config,
                "redirect r{n} {{\n\tlisten on 10.128.{high}.{low} port 80\n\tforward to <{table}> port {port} check tcp\n}}"
            );
        }
        let _shared = listen("0.0.0.0:8080");
        let _others = ["10.64.1.2:8081", "10.64.1.3:8081"].map(listen);
        let mut own = Some(listen("10.64.1.1:8081"));
        let daemon = Daemon::start(&config);
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            own = match own {
                Some(_) => None,
                None => Some(listen("10.64.1.1:8081")),
            };
            let events = daemon.settle(BOUND);
            let told = first_check(&events, "10.64.1.1,").expect("a check noticed it");
            let kernel = events.iter().find_map(|(at, event)| match event {
                Event::Kernel(_) => Some(*at),
                Event::Line(_) => None,
            });
            times.push(
                kernel
                    .expect("the kernel was changed")
                    .saturating_duration_since(told),
            );
        }
        times.sort();
        println!(
            "one host of {REDIRECTS} redirects, from the log line of its check to the kernel's event: \
             least {:?}, median {:?}, worst {:?} of {CHANGES}",
            times[0],
            times[CHANGES / 2],
            times[CHANGES - 1]
        );
    }

    /// A host of each redirect fails within one interval, and returns.
    fn all_hosts() {
        let mut config = "interval 1\ntimeout 300\n".to_owned();
        for n in 0..REDIRECTS {
            let (high, low) = (n / 256, n % 256);
            let _ = writeln!(
                config,
                "table <t{n}> {{ 10.65.{high}.{low} 10.64.0.1 }}\n\
                 redirect r{n} {{\n\tlisten on 10.128.{high}.{low} port 80\n\tforward to <t{n}> port 8080 check tcp\n}}"
            );
        }
        ip("addr add 10.65.0.0/16 dev lo");
        let _server = listen("0.0.0.0:8080");
        let daemon = Daemon::start(&config);
        for round in 0..2 * ROUNDS {
            ip([
                "addr del 10.65.0.0/16 dev lo",
                "addr add 10.65.0.0/16 dev lo",
            ][round % 2]);
            let events = daemon.settle(BOUND);
            let told = first_check(&events, "10.65.").expect("a check noticed it");
            let mut last = told;
            let mut transactions = 0;
            for (at, event) in events {
                if let Event::Kernel(ended) = event {
                    last = at;
                    transactions += ended;
                }
            }
            println!(
                "{REDIRECTS} hosts {}: {transactions} transactions, {:?} from the first check to the last event",
                ["down", "up"][round % 2],
                last - told
            );
        }
    }

    pub fn all() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root for a network namespace");
            return;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        urgent();
        ip("link set lo up");
        ip("addr add 10.64.0.0/16 dev lo");
        let kind = if cfg!(debug_assertions) {
            "unoptimised"
        } else {
            "optimised"
        };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("{kind} build, load of this system {}", load.trim());
        one_host();
        all_hosts();
    }
}
