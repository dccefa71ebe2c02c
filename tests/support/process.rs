//! The process table: children by parent, titles, signals.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Id.
    pub pid: i32,
    /// Id of its parent.
    pub parent: i32,
    /// Command line or title.
    pub title: String,
}

/// Direct children of `parent` that are alive (not zombies), by id.
pub fn children(parent: i32) -> Vec<Process> {
    let mut found: Vec<Process> = table().into_iter().filter(|p| p.parent == parent).collect();
    found.sort_by_key(|p| p.pid);
    found
}

/// Direct children whose title contains `title`.
pub fn titled(parent: i32, title: &str) -> Vec<Process> {
    children(parent)
        .into_iter()
        .filter(|p| p.title.contains(title))
        .collect()
}

/// Whether a process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    table().iter().any(|p| p.pid == pid)
}

/// Sends a signal to a process that a test started.
pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[cfg(target_os = "linux")]
fn table() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // pid (name) state parent …; the name may contain anything.
            let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
            if rest.next()? == "Z" {
                return None;
            }
            let parent = rest.next()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let title = String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .trim()
                .to_owned();
            Some(Process { pid, parent, title })
        })
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn table() -> Vec<Process> {
    let output = std::process::Command::new("ps")
        .args(["-axww", "-o", "pid,ppid,stat,command"])
        .output()
        .expect("ps");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let pid = words.next()?.parse().ok()?;
            let parent = words.next()?.parse().ok()?;
            if words.next()?.starts_with('Z') {
                return None;
            }
            let title = words.collect::<Vec<_>>().join(" ");
            Some(Process { pid, parent, title })
        })
        .collect()
}
