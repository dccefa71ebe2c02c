//! How long nftables needs for many redirects: loading, one host, a thousand hosts at once, and the packet path.
//! Owns a network namespace of its own; needs root. Run it with `make bench`.
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
    use backends::filter::{PacketFilter, Ruleset, Server, ServerState, Service};
    use backends::nftables::kernel::Nftables;
    use conf::model::{
        Address, Forward, HashKey, HostId, Mode, RedirectId, TableId, VirtualAddress,
    };
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    use nix::time::{ClockId, clock_gettime};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const REDIRECTS: u32 = 1000;
    const HOSTS: u32 = 10;
    const CONNECTIONS: u32 = 3000;
    const ROUNDS: usize = 5;
    const CHANGES: usize = 400;

    fn service(n: u32, hosts: u32, sticky: bool) -> Service {
        let listen = Ipv4Addr::from(0x0a80_0000 + n);
        let host = |h: u32| Server {
            id: HostId(n * hosts + h + 1),
            table: TableId(n + 1),
            name: format!("host{h}"),
            // All are this system's own, so that the packet path can be measured.
            address: Address::from(IpAddr::V4(Ipv4Addr::from(0x0a40_0001 + h))),
            port: 8080,
            weight: 1,
            max_connections: None,
            state: ServerState::Up,
        };
        Service {
            id: RedirectId(n + 1),
            name: format!("redirect{n}"),
            active: true,
            listeners: vec![VirtualAddress {
                address: Address::from(IpAddr::V4(listen)),
                ip_protocol: 6,
                port: 80,
                port_end: 80,
                interface: None,
                log: false,
            }],
            table: TableId(n + 1),
            table_name: format!("table{n}:8080"),
            servers: (0..hosts).map(host).collect(),
            keep_port: false,
            port: 8080,
            mode: Mode::RoundRobin,
            key: HashKey([1; 16]),
            forward: Forward::Translate,
            sticky,
            tag: None,
            session_timeout: Duration::from_secs(600),
            masquerade: false,
            count_traffic: false,
        }
    }

    fn rules(redirects: u32, sticky: bool) -> Ruleset {
        (0..redirects).map(|n| service(n, HOSTS, sticky)).collect()
    }

    fn ip(arguments: &str) {
        let status = Command::new("ip")
            .args(arguments.split_whitespace())
            .status()
            .unwrap();
        assert!(status.success(), "ip {arguments}");
    }

    /// Time that passed, and processor time of it, which does not depend on what else runs.
    type Times = (Duration, Duration);

    fn timed(filter: &mut Nftables, rules: &Ruleset) -> Times {
        clocked(|| {
            filter.apply(rules).unwrap();
        })
    }

    fn clocked(work: impl FnOnce()) -> Times {
        let (start, before) = (Instant::now(), processor(ClockId::CLOCK_THREAD_CPUTIME_ID));
        work();
        let after = processor(ClockId::CLOCK_THREAD_CPUTIME_ID);
        (start.elapsed(), after - before)
    }

    fn processor(clock: ClockId) -> Duration {
        Duration::from(clock_gettime(clock).unwrap())
    }

    /// Processor time of this thread in the kernel.
    fn kernel_microseconds() -> i64 {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        usage.system_time().num_microseconds()
    }

    fn median(times: &[Times]) -> String {
        let middle = |part: fn(&Times) -> Duration| {
            let mut times: Vec<Duration> = times.iter().map(part).collect();
            times.sort();
            times[times.len() / 2]
        };
        format!(
            "{:?}, of it processor {:?}",
            middle(|t| t.0),
            middle(|t| t.1)
        )
    }

    fn connections(to: SocketAddr) -> f64 {
        let start = Instant::now();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(to).unwrap();
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        f64::from(CONNECTIONS) / start.elapsed().as_secs_f64()
    }

    pub fn all() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root for a network namespace");
            return;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        ip("addr add 10.64.0.0/16 dev lo");
        ip("addr add 10.128.0.0/16 dev lo");
        let kind = if cfg!(debug_assertions) {
            "unoptimised"
        } else {
            "optimised"
        };
        println!("{kind} build, {REDIRECTS} redirects of {HOSTS} hosts, sticky");

        let mut filter = Nftables::open("bench").unwrap();
        filter.adopt().unwrap();
        let mut desired = rules(REDIRECTS, true);
        println!(
            "load everything: {}",
            median(&[timed(&mut filter, &desired)])
        );
        one_host(&mut filter, &mut desired, REDIRECTS);
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..2 * ROUNDS {
            let state = [ServerState::Down, ServerState::Up][round % 2];
            for service in &mut desired.services {
                Arc::make_mut(service).servers[3].state = state;
            }
            times[round % 2].push(timed(&mut filter, &desired));
        }
        let [down, up] = times;
        println!("one host of each redirect down: {}", median(&down));
        println!("one host of each redirect up:   {}", median(&up));
        filter.purge().unwrap();

        let mut few = rules(10, true);
        filter.apply(&few).unwrap();
        one_host(&mut filter, &mut few, 10);
        packets(&mut filter);
        for busy in [1, 100] {
            least_states(&mut filter, busy);
        }
        filter.purge().unwrap();
    }

    fn one_host(filter: &mut Nftables, desired: &mut Ruleset, redirects: u32) {
        let mut times = Vec::new();
        let before = kernel_microseconds();
        for round in 0..CHANGES {
            let state = [ServerState::Down, ServerState::Up][round % 2];
            let middle = desired.services.len() / 2;
            Arc::make_mut(&mut desired.services[middle]).servers[5].state = state;
            times.push(timed(filter, desired));
        }
        let kernel = (kernel_microseconds() - before) / CHANGES as i64;
        println!(
            "one host of {redirects} redirects, from decision to kernel: {}, in the kernel {kernel} µs",
            median(&times)
        );
    }

    /// The choices of each second, while the hosts' connections of `busy` redirects differ. The servers run already.
    fn least_states(filter: &mut Nftables, busy: u32) {
        let mut desired = rules(REDIRECTS, false);
        for service in desired.services.iter_mut().take(busy as usize) {
            Arc::make_mut(service).mode = Mode::LeastStates;
        }
        filter.apply(&desired).unwrap();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            for redirect in 0..busy {
                let at = SocketAddr::new(Ipv4Addr::from(0x0a80_0000 + redirect).into(), 80);
                drop(TcpStream::connect(at).unwrap());
            }
            times.push(clocked(|| {
                filter.tick().unwrap();
            }));
        }
        println!(
            "new choices of {busy} least-states redirects among {REDIRECTS}: {}",
            median(&times)
        );
    }

    fn packets(filter: &mut Nftables) {
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream);
            }
        });
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (number, redirects) in [1, REDIRECTS].into_iter().enumerate() {
                filter.apply(&rules(redirects, false)).unwrap();
                let to = format!(
                    "10.128.{}.{}:80",
                    (redirects - 1) / 256,
                    (redirects - 1) % 256
                );
                // The first ones meet cold caches and the kernel's clearing away of the rules before.
                connections(to.parse().unwrap());
                rates[number].push(connections(to.parse().unwrap()));
            }
        }
        let [one, many] = rates.map(|mut r| {
            r.sort_by(f64::total_cmp);
            r[ROUNDS / 2]
        });
        println!(
            "connections a second through 1 redirect {one:.0}, through {REDIRECTS} {many:.0}: {:.2}",
            many / one
        );
    }
}
