//! The parent with roles that behave as a test wants: everything but processes is real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod logs;

use super::*;
use crate::RoleError;
use crate::link::{Incoming, Link, Message, Outgoing, PARENT, Peer, Role, Slot, To};
use crate::options::Backend;
use futures_util::future::LocalBoxFuture;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::TcpListener;
use std::time::Duration;
use tokio::sync::mpsc;

/// What the roles of this thread's test heard, and what they shall do.
#[derive(Default)]
struct Stage {
    heard: VecDeque<(Peer, String)>,
    senders: HashMap<Peer, crate::link::Sender>,
    /// Ends the role of this peer with an error.
    quit: HashMap<Peer, mpsc::Sender<()>>,
    /// Who refuses which generation.
    refuses: Vec<(Peer, u64)>,
    /// Who stops reading after the next message.
    deaf: Option<Peer>,
    /// Who never answers which generation.
    silent: Vec<(Peer, u64)>,
}

thread_local! {
    static STAGE: RefCell<Stage> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Stage) -> T) -> T {
    STAGE.with_borrow_mut(act)
}

fn peer(role: Role, instance: u32) -> Peer {
    Peer { role, instance }
}

fn note(me: Peer, incoming: &Incoming) {
    let text = match &incoming.message {
        Message::Stage {
            generation,
            state,
            config,
        } => format!(
            "stage {generation} relays {} admin {}",
            config.relays.len(),
            state.admin.len()
        ),
        // The board goes to some with their sockets, and to all only once.
        Message::Descriptors { slots } => {
            let sockets = slots.iter().filter(|slot| **slot != Slot::Board).count();
            if sockets == 0 {
                return;
            }
            format!("descriptors {sockets}")
        }
        Message::Commit { generation } => format!("commit {generation}"),
        Message::Abort { generation } => format!("abort {generation}"),
        Message::Restarted { peer } => {
            format!("restarted {} {}", peer.role.name(), peer.instance)
        }
        Message::Verdict {
            client,
            generation,
            errors,
        } => format!("verdict {client:?} {generation} {errors:?}"),
        Message::TicketKeys { .. } => return,
        other => format!("{:?}", other.kind()),
    };
    with(|stage| stage.heard.push_back((me, text)));
}

fn actor(mut link: Link, _: Arc<Options>) -> LocalBoxFuture<'static, Result<(), RoleError>> {
    Box::pin(async move {
        let me = link.me;
        let (quit, mut quitting) = mpsc::channel(1);
        with(|stage| {
            stage.senders.insert(me, link.sender.clone());
            stage.quit.insert(me, quit);
        });
        loop {
            let incoming = tokio::select! {
                incoming = link.inbox.recv() => incoming,
                Some(()) = quitting.recv() => {
                    with(|stage| stage.senders.remove(&me));
                    return Err(RoleError::Other("told to fail".to_owned()));
                }
            };
            let Some(incoming) = incoming else { break };
            note(me, &incoming);
            if with(|stage| stage.deaf.take_if(|deaf| *deaf == me)).is_some() {
                std::future::pending::<()>().await;
            }
            match incoming.message {
                Message::Stage { generation, .. } => {
                    if with(|stage| stage.silent.contains(&(me, generation))) {
                        continue;
                    }
                    let refused = with(|stage| stage.refuses.contains(&(me, generation)));
                    let answer = Message::Staged {
                        generation,
                        error: refused.then(|| "no".to_owned()),
                    };
                    link.sender.tell(PARENT, answer).await.unwrap();
                }
                Message::Shutdown | Message::Retire => break,
                _ => {}
            }
        }
        with(|stage| stage.senders.remove(&me));
        Ok(())
    })
}

/// Waits until `me` has heard `text`; forgets what was heard before.
async fn heard(me: Peer, text: &str) {
    let waiting = async {
        loop {
            let found = with(|stage| {
                let position = stage
                    .heard
                    .iter()
                    .position(|(who, t)| *who == me && t == text);
                position.map(|n| stage.heard.remove(n))
            });
            if found.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(
        result.is_ok(),
        "{me:?} never heard {text:?}, but: {:#?}",
        with(|stage| stage.heard.clone())
    );
}

/// Whether anybody heard `text` and nobody waited for it.
fn was_said(text: &str) -> bool {
    with(|stage| stage.heard.iter().any(|(_, t)| t == text))
}

async fn say(from: Peer, to: To, message: Message) {
    let sender = with(|stage| stage.senders[&from].clone());
    let outgoing = Outgoing {
        to,
        message,
        descriptors: Vec::new(),
    };
    sender.send(outgoing).await.unwrap();
}

fn fail(who: Peer) {
    let quit = with(|stage| stage.quit[&who].clone());
    quit.try_send(()).unwrap();
}

fn config(prefork: u32, ports: &[u16]) -> Config {
    use conf::model::{Listen, ProtocolId, Relay, RelayId, Target};
    let mut config = Config::default();
    config.globals.prefork = prefork;
    for (id, &port) in (1..).zip(ports) {
        config.relays.push(Relay {
            id: RelayId(id),
            name: format!("r{id}"),
            block: format!("r{id}"),
            disabled: false,
            listen: Listen {
                address: std::net::IpAddr::from([127, 0, 0, 1]).into(),
                port,
                interface: None,
                tls: false,
                proxy: false,
            },
            protocol: ProtocolId(0),
            target: Target::Tables,
            tables: Vec::new(),
            key: None,
            retry: 0,
            transparent: false,
            tls_client: false,
            translate: None,
            proxy_protocol: None,
            session_timeout: Duration::from_secs(600),
            access: None,
            session_max: conf::model::SessionMax::default(),
        });
    }
    config
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A file name per test chooses what the loader answers: `prefork:port,port` or an error.
fn loader() -> Loader {
    Arc::new(|path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (prefork, ports) = name
            .split_once(':')
            .ok_or_else(|| vec![format!("{name}:1: syntax error"), "more".to_owned()])?;
        let ports: Vec<u16> = ports
            .split_terminator(',')
            .map(|p| p.parse().unwrap())
            .collect();
        Ok(config(prefork.parse().unwrap(), &ports))
    })
}

const HCE: Peer = Peer {
    role: Role::Hce,
    instance: 0,
};
const PFE: Peer = Peer {
    role: Role::Pfe,
    instance: 0,
};

/// Runs `test` beside a daemon that serves `first`; answers the daemon's exit status as text.
fn daemon(name: &str, first: Config, test: impl Future<Output = ()> + 'static) -> String {
    daemon_with(name, first, loader(), test)
}

/// The same with a loader of its own.
fn daemon_with(
    name: &str,
    first: Config,
    loader: Loader,
    test: impl Future<Output = ()> + 'static,
) -> String {
    let socket = std::env::temp_dir().join(format!("relayd-parent-{name}-{}", std::process::id()));
    let options = Options {
        socket: socket.clone(),
        backend: Backend::Userland,
        state_directory: std::env::temp_dir(),
        ..Options::default()
    };
    let start = Start {
        sockets: bind(&first, &options).unwrap(),
        launcher: Launcher {
            options: Arc::new(options),
            confinement: None,
            transparent: false,
            foreground: true,
            in_process: Some(actor),
        },
        config: first,
        file: PathBuf::from("bad.conf"),
        loader,
        verbose: 0,
    };
    let code = child::runtime().block_on(async move {
        let end = Parent::begin(start).unwrap();
        heard(PFE, "commit 1").await;
        actix::spawn(test);
        tokio::time::timeout(Duration::from_secs(120), end).await
    });
    assert!(!socket.exists());
    format!("{:?}", code.expect("the daemon goes on").unwrap())
}

async fn reload(file: &str) {
    let message = Message::Reload {
        client: 7,
        file: Some(PathBuf::from(file)),
    };
    say(PFE, PARENT, message).await;
}

fn success() -> String {
    format!("{:?}", ExitCode::SUCCESS)
}

#[test]
fn a_reload_is_agreed_on_by_all() {
    let ports = [free_port(), free_port()];
    let code = daemon("reload", config(2, &ports[..1]), async move {
        heard(peer(Role::Relay, 1), "descriptors 1").await;
        heard(peer(Role::Relay, 1), "stage 1 relays 1 admin 0").await;
        heard(peer(Role::Relay, 1), "commit 1").await;
        reload(&format!("2:{},{}", ports[0], ports[1])).await;
        // Only the new socket is handed over.
        heard(peer(Role::Relay, 1), "descriptors 1").await;
        heard(peer(Role::Relay, 1), "stage 2 relays 2 admin 0").await;
        heard(HCE, "commit 2").await;
        heard(PFE, "verdict Some(7) 2 []").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_faulty_file_changes_nothing_and_all_its_errors_are_told() {
    let code = daemon("faulty", config(1, &[]), async {
        reload("x.conf").await;
        heard(
            PFE,
            r#"verdict Some(7) 1 ["x.conf:1: syntax error", "more"]"#,
        )
        .await;
        assert!(!was_said("stage 2 relays 0 admin 0"));
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn one_refusal_aborts_for_all_and_closes_the_new_sockets() {
    let port = free_port();
    let code = daemon("refusal", config(1, &[]), async move {
        with(|stage| stage.refuses.push((HCE, 2)));
        reload(&format!("3:{port}")).await;
        heard(peer(Role::Relay, 0), "abort 2").await;
        heard(PFE, r#"verdict Some(7) 1 ["host check engine: no"]"#).await;
        // The processes that were started for it end.
        heard(peer(Role::Relay, 2), "Shutdown").await;
        heard(peer(Role::Relay, 1), "Shutdown").await;
        TcpListener::bind(("127.0.0.1", port)).unwrap();
        with(|stage| stage.refuses.clear());
        reload(&format!("1:{port}")).await;
        // A number is used once, so that no late answer is taken for another one.
        heard(PFE, "verdict Some(7) 3 []").await;
        // Given up for good, so the second time it must come again.
        heard(peer(Role::Relay, 0), "descriptors 1").await;
        heard(peer(Role::Relay, 0), "descriptors 1").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn an_address_in_use_refuses_a_reload() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let code = daemon("taken", config(1, &[]), async move {
        reload(&format!("2:{port}")).await;
        let error = format!(
            "verdict Some(7) 1 [\"relay r1: listen on 127.0.0.1:{port}: Address already in use (os error 98)\"]"
        );
        if cfg!(target_os = "linux") {
            heard(PFE, &error).await;
        }
        drop(taken);
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn the_number_of_relay_processes_follows_the_file() {
    let port = free_port();
    let code = daemon("prefork", config(1, &[port]), async move {
        reload(&format!("3:{port}")).await;
        heard(peer(Role::Relay, 2), "commit 2").await;
        heard(peer(Role::Ca, 2), "commit 2").await;
        reload(&format!("1:{port}")).await;
        heard(peer(Role::Relay, 2), "Retire").await;
        heard(peer(Role::Relay, 1), "Retire").await;
        heard(peer(Role::Relay, 0), "commit 3").await;
        // Each holds out as long as its relay process.
        heard(peer(Role::Ca, 1), "Shutdown").await;
        heard(peer(Role::Ca, 2), "Shutdown").await;
        reload(&format!("2:{port}")).await;
        heard(peer(Role::Relay, 1), "commit 4").await;
        heard(PFE, "verdict Some(7) 4 []").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_dead_child_comes_back_with_sockets_and_memory_and_the_others_are_told() {
    let port = free_port();
    let code = daemon("restart", config(1, &[port]), async {
        let relay = peer(Role::Relay, 0);
        let change = crate::link::Admin::Relay {
            id: conf::model::RelayId(1),
            disabled: true,
        };
        heard(relay, "descriptors 1").await;
        say(PFE, To::All(Role::Relay), Message::Admin { change }).await;
        heard(relay, "Admin").await;
        fail(relay);
        heard(relay, "descriptors 1").await;
        heard(relay, "stage 1 relays 1 admin 1").await;
        heard(relay, "commit 1").await;
        heard(PFE, "restarted relay 0").await;
        assert!(!was_said("restarted pfe 0"));
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_death_in_the_middle_of_a_reload_gives_the_reload_up() {
    let code = daemon("middle", config(1, &[]), async {
        with(|stage| stage.silent.push((HCE, 2)));
        reload("1:").await;
        heard(HCE, "stage 2 relays 0 admin 0").await;
        fail(HCE);
        heard(
            PFE,
            r#"verdict Some(7) 1 ["host check engine: died, told to fail"]"#,
        )
        .await;
        heard(PFE, "abort 2").await;
        heard(HCE, "stage 1 relays 0 admin 0").await;
        heard(PFE, "restarted hce 0").await;
        reload("1:").await;
        heard(PFE, "verdict Some(7) 3 []").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn too_many_deaths_end_the_daemon_with_status_1() {
    let code = daemon("give-up", config(1, &[]), async {
        tokio::time::pause();
        for _ in 0..=conf::limits::RESTARTS_MAX {
            heard(HCE, "commit 1").await;
            fail(HCE);
        }
    });
    assert_eq!(code, format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn what_the_table_does_not_permit_is_refused() {
    let code = daemon("refused", config(1, &[]), async {
        let relay = peer(Role::Relay, 0);
        say(relay, To::All(Role::Hce), Message::Poll).await;
        say(relay, PARENT, Message::Stop).await;
        say(PFE, To::All(Role::Hce), Message::Poll).await;
        heard(HCE, "Poll").await;
        assert!(!was_said("Poll") && !was_said("Shutdown"));
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_child_that_does_not_read_makes_senders_wait_and_is_replaced() {
    let code = daemon("deaf", config(1, &[]), async {
        tokio::time::pause();
        with(|stage| stage.deaf = Some(HCE));
        // One is read, the queue takes the rest, and the last one waits.
        for _ in 0..conf::limits::LINK_QUEUE + 2 {
            say(PFE, To::All(Role::Hce), Message::Poll).await;
        }
        heard(PFE, "restarted hce 0").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_process_that_never_prepares_aborts_a_reload() {
    let code = daemon("slow", config(1, &[]), async {
        with(|stage| stage.silent.push((HCE, 2)));
        reload("1:").await;
        heard(HCE, "stage 2 relays 0 admin 0").await;
        tokio::time::pause();
        tokio::time::sleep(conf::limits::STAGE_TIMEOUT).await;
        let error = "host check engine 0 did not answer within 30 s";
        heard(PFE, &format!("verdict Some(7) 1 [\"{error}\"]")).await;
        heard(HCE, "abort 2").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}

#[test]
fn a_reload_during_another_waits_for_its_turn() {
    let code = daemon("turn", config(1, &[]), async {
        with(|stage| stage.silent.push((HCE, 2)));
        reload("1:").await;
        heard(HCE, "stage 2 relays 0 admin 0").await;
        reload("2:").await;
        reload("3:").await;
        heard(PFE, r#"verdict Some(7) 1 ["another reload waits already"]"#).await;
        let answer = Message::Staged {
            generation: 2,
            error: None,
        };
        say(HCE, PARENT, answer).await;
        heard(PFE, "verdict Some(7) 2 []").await;
        heard(peer(Role::Relay, 1), "commit 3").await;
        heard(PFE, "verdict Some(7) 3 []").await;
        say(PFE, PARENT, Message::Stop).await;
    });
    assert_eq!(code, success());
}
