//! Check scripts: programs of the administrator that say whether a host is up.
//! Owns one run of one script.
//! Must never run it as root, wait for it without bound, or hand it a descriptor.

use backends::sys::privileges::Confinement;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What a script may rely on, whatever the daemon was started with.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `path host`; answers its exit status, `None` if it could not run, was killed or took longer than `limit`.
pub async fn run(
    path: &Path,
    host: &str,
    limit: Duration,
    user: Option<&Confinement>,
) -> Option<i32> {
    let mut command = Command::new(path);
    command
        .arg(host)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // A group of its own: whatever it starts ends with it.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!("check script {}: {error}", path.display());
            return None;
        }
    };
    let group = child.id();
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) => status.code(),
        Ok(Err(error)) => {
            tracing::warn!("check script {}: {error}", path.display());
            None
        }
        Err(_) => {
            if let Some(group) = group.and_then(|pid| i32::try_from(pid).ok()) {
                // It may have ended by itself just now.
                let _ = nix::sys::signal::killpg(
                    nix::unistd::Pid::from_raw(group),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let _ = child.wait().await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    #[tokio::test]
    async fn status_kill_and_absence_are_told_apart() {
        let path = std::env::temp_dir().join(format!("relayd-script-{}", std::process::id()));
        std::fs::write(
            &path,
            "#!/bin/sh\ncase $1 in\nsleep) sleep 60;;\n*) exit $1;;\nesac\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let second = Duration::from_secs(20);
        assert_eq!(run(&path, "0", second, None).await, Some(0));
        assert_eq!(run(&path, "3", second, None).await, Some(3));
        let start = Instant::now();
        let limit = Duration::from_millis(200);
        assert_eq!(run(&path, "sleep", limit, None).await, None);
        assert!(start.elapsed() < Duration::from_secs(20));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run(&path, "0", second, None).await, None);
    }
}
