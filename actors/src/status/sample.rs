//! What every process tells about itself: CPU time, memory, descriptors.
//! Owns the files that must be open before a process is confined.
//! Must never fail: what the system does not tell is left out.
//!
//! Other metrics are made by their roles with [`super::names`]: `names::RELAY_SESSIONS.sample(&["0", "www"], 7.0)`.

use super::names;
use crate::link::{Message, Peer, Role, Sample, Sender, To};
use conf::limits::SNAPSHOT_INTERVAL;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static FILES: OnceLock<Files> = OnceLock::new();

/// Open descriptions of this process.
struct Files {
    me: Peer,
    started: Duration,
    memory: Option<File>,
    descriptors: Option<File>,
}

/// Opens what a confined process could not open any more. To be called once, before confinement; a process that
/// runs all roles does not call it, and then the status role speaks for the whole.
pub fn prepare(me: Peer) {
    FILES.get_or_init(|| open(me));
}

fn open(me: Peer) -> Files {
    Files {
        me,
        started: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        memory: File::open("/proc/self/statm").ok(),
        descriptors: File::open("/proc/self/fd").ok(),
    }
}

/// Sends the samples of this process from now on, once a second, as a task of this thread. Does nothing in a
/// process that runs all roles, and nothing in the status role, which needs nobody to tell it.
pub fn spawn(sender: Sender, me: Peer) {
    if me.role == Role::Status || FILES.get().is_none_or(|files| files.me != me) {
        return;
    }
    tokio::task::spawn_local(async move {
        let mut timer = tokio::time::interval(SNAPSHOT_INTERVAL);
        loop {
            timer.tick().await;
            let message = Message::Snapshot { samples: samples() };
            if let Err(crate::link::LinkError::Closed) =
                sender.try_send(To::All(Role::Status), message)
            {
                return;
            }
        }
    });
}

/// The samples of this process.
pub fn samples() -> Vec<Sample> {
    let whole = Peer {
        role: Role::Parent,
        instance: 0,
    };
    let files = FILES.get_or_init(|| open(whole));
    let instance = files.me.instance.to_string();
    let labels = [files.me.role.name(), instance.as_str()];
    let mut samples = vec![names::PROCESS_START.sample(&labels, files.started.as_secs_f64())];
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        samples.push(names::PROCESS_CPU.sample(&labels, micros as f64 / 1e6));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        samples.push(names::PROCESS_MAX_FDS.sample(&labels, soft as f64));
    }
    if let Some(pages) = files.memory.as_ref().and_then(resident_pages) {
        let bytes = pages as f64 * page_size();
        samples.push(names::PROCESS_RESIDENT.sample(&labels, bytes));
    }
    // The kernel tells the number of entries as the directory's size, or 0 where it does not.
    let open = files.descriptors.as_ref().and_then(|d| d.metadata().ok());
    if let Some(open) = open.map(|m| m.len()).filter(|length| *length > 0) {
        samples.push(names::PROCESS_OPEN_FDS.sample(&labels, open as f64));
    }
    samples
}

/// Second field of statm(5).
fn resident_pages(statm: &File) -> Option<u64> {
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

fn page_size() -> f64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().unwrap_or(4096) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_process_has_a_start_cpu_time_and_memory() {
        let samples = samples();
        let value = |name: &str| samples.iter().find(|s| s.name == name).map(|s| s.value);
        assert!(value("process_cpu_seconds_total").unwrap() >= 0.0);
        assert!(value("process_start_time_seconds").unwrap() > 1.7e9);
        assert!(value("process_max_fds").unwrap() > 10.0);
        #[cfg(target_os = "linux")]
        assert!(value("process_resident_memory_bytes").unwrap() > 1e6);
    }
}
