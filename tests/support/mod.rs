//! What end-to-end tests stand on: the real daemon, servers that say who they are, clients, network namespaces.
//! Owns everything it starts and ends it on drop, also when a test fails.
//! Must never sleep to wait: [`wait::until`] polls for a condition with a bound.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod access;
pub mod client;
pub mod daemon;
pub mod netns;
pub mod network;
pub mod ports;
pub mod process;
pub mod servers;
pub mod surroundings;
pub mod traffic;
pub mod wait;

pub use client::{Response, curl, get, relayctl};
pub use daemon::{Daemon, Settings};
pub use netns::Netns;
pub use ports::port;
pub use servers::{DnsServer, Server, UdpServer};
pub use wait::{BOUND, until};

/// Leaves a test that cannot run here, saying why. In CI nothing is skipped: there it fails.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI nothing is skipped, but: {why}"
    );
    eprintln!("skipped: {why}");
}

/// Whether we are root, as network namespaces need it.
pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns from the test unless it runs as root on Linux.
#[macro_export]
macro_rules! needs_namespaces {
    () => {
        if !cfg!(target_os = "linux") || !$crate::support::root() {
            return $crate::support::skip("network namespaces need Linux and root");
        }
    };
}

/// A directory of its own, removed on drop.
#[derive(Debug)]
pub struct Scratch(std::path::PathBuf);

impl Scratch {
    /// A new directory; everybody may enter it, as unprivileged processes must.
    pub fn new() -> Scratch {
        use std::os::unix::fs::PermissionsExt;
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!(
            "relayd-test.{}.{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }

    /// Path of a file in it.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
