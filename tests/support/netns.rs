//! Network namespaces: made for one test, removed on drop.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace with `lo` up.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new namespace; its name starts with `rd`, the process id and the given word.
    pub fn new(word: &str) -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rd{}-{}-{word}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        ip(&["netns", "add", &name]);
        let netns = Netns { name };
        netns.ip(&["link", "set", "lo", "up"]);
        netns
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip -n NAME …`; fails the test if that fails.
    pub fn ip(&self, words: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(words);
        ip(&all);
    }

    /// Sets a kernel setting inside, such as `net.ipv4.ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = value.to_owned();
        self.run(move || std::fs::write(&path, &value).expect(&path));
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        Self::command_in(&self.name, program)
    }

    /// The same for a namespace that is known by its name.
    pub fn command_in(name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, program]);
        command
    }

    /// Runs a command inside and answers its output.
    pub fn exec(&self, program: &str, words: &[&str]) -> Output {
        self.command(program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect(program)
    }

    /// Runs a command inside that must succeed; answers its standard output.
    pub fn text(&self, program: &str, words: &[&str]) -> String {
        let output = self.exec(program, words);
        assert!(
            output.status.success(),
            "{program} {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs code on a thread inside; sockets it opens (and threads it starts) stay there.
    #[cfg(target_os = "linux")]
    pub fn run<T: Send + 'static>(&self, code: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(&path).expect(&path);
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
            code()
        })
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Namespaces exist on Linux only.
    #[cfg(not(target_os = "linux"))]
    pub fn run<T: Send + 'static>(&self, _code: impl FnOnce() -> T + Send + 'static) -> T {
        panic!("no network namespaces here")
    }

    /// Joins two namespaces by a veth pair: `(namespace, interface, addresses with prefix length)` for each end.
    pub fn join(one: (&Netns, &str, &[&str]), two: (&Netns, &str, &[&str])) {
        ip(&[
            "link",
            "add",
            one.1,
            "netns",
            &one.0.name,
            "type",
            "veth",
            "peer",
            "name",
            two.1,
            "netns",
            &two.0.name,
        ]);
        for (netns, interface, addresses) in [one, two] {
            for address in addresses {
                let mut words = vec!["addr", "add", address, "dev", interface];
                if address.contains(':') {
                    // Usable at once instead of after duplicate address detection.
                    words.push("nodad");
                }
                netns.ip(&words);
            }
            netns.ip(&["link", "set", interface, "up"]);
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip");
    assert!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
