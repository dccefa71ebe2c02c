//! When the targets of access logs are opened again.
use super::*;
use conf::model::{AccessForm, AccessLog, AccessTarget};

const RELAY: Peer = Peer {
    role: Role::Relay,
    instance: 0,
};

/// A file that a relay logs to, in a directory of its own.
struct Log(PathBuf);

impl Log {
    fn new(name: &str) -> Log {
        let name = format!("relayd-logs-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Log(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("access.log")
    }

    /// What log rotation does before it sends the signal.
    fn rotate(&self) {
        assert!(self.path().exists());
        std::fs::rename(self.path(), self.0.join("access.log.1")).unwrap();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One relay with an access log, in a daemon of `prefork` relay processes that reads the same again at each reload.
fn logging(name: &str, prefork: u32, path: PathBuf, test: impl Future<Output = ()> + 'static) {
    let port = free_port();
    let config = move || {
        let mut config = config(prefork, &[port]);
        config.relays[0].access = Some(AccessLog {
            form: AccessForm::Combined,
            query: false,
            headers: Vec::new(),
            target: AccessTarget::File(path.clone()),
        });
        config
    };
    let first = config();
    let code = daemon_with(name, first, Arc::new(move |_| Ok(config())), test);
    assert_eq!(code, success());
}

#[test]
fn a_request_to_reopen_during_a_reload_is_done_after_it() {
    let log = Log::new("during");
    logging("log-during", 1, log.path(), async move {
        heard(RELAY, "descriptors 2").await;
        with(|stage| stage.silent.push((HCE, 2)));
        reload("same").await;
        heard(RELAY, "stage 2 relays 1 admin 0").await;
        heard(HCE, "stage 2 relays 1 admin 0").await;
        log.rotate();
        say(RELAY, PARENT, Message::ReopenLogs).await;
        let answer = Message::Staged {
            generation: 2,
            error: None,
        };
        say(HCE, PARENT, answer).await;
        heard(RELAY, "commit 2").await;
        heard(RELAY, "descriptors 1").await;
        assert!(log.path().exists());
        say(PFE, PARENT, Message::Stop).await;
    });
}

#[test]
fn a_refused_reload_leaves_no_process_with_a_rotated_file() {
    let log = Log::new("refused");
    logging("log-refused", 1, log.path(), async move {
        heard(RELAY, "descriptors 2").await;
        with(|stage| stage.refuses.push((HCE, 2)));
        // The reload opens the new file, and is given up.
        log.rotate();
        reload("same").await;
        heard(RELAY, "descriptors 1").await;
        heard(RELAY, "abort 2").await;
        heard(RELAY, "descriptors 1").await;
        assert!(log.path().exists());
        say(PFE, PARENT, Message::Stop).await;
    });
}

#[test]
fn a_process_that_is_starting_again_is_given_the_new_file_too() {
    let log = Log::new("starting");
    logging("log-starting", 2, log.path(), async move {
        heard(RELAY, "commit 1").await;
        heard(RELAY, "descriptors 2").await;
        with(|stage| stage.silent.push((RELAY, 1)));
        fail(RELAY);
        heard(RELAY, "descriptors 2").await;
        heard(RELAY, "stage 1 relays 1 admin 0").await;
        log.rotate();
        say(peer(Role::Relay, 1), PARENT, Message::ReopenLogs).await;
        heard(RELAY, "descriptors 1").await;
        say(PFE, PARENT, Message::Stop).await;
    });
}
