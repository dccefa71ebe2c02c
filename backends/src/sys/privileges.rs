//! Giving up privileges: user, group, chroot, capabilities, resource limits.
//! Owns the order in which they are given up.
//! Must never return success with a privilege left that was to go.

use nix::unistd::{Gid, Group, Uid, User, chdir, chroot, setgroups};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where an unprivileged process ends up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// User id.
    pub uid: u32,
    /// Group id, the only one.
    pub gid: u32,
    /// Root directory; `None` = not changed.
    pub chroot: Option<PathBuf>,
}

/// What a process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Changing packet filter and routes (Linux: CAP_NET_ADMIN; elsewhere nothing, the parent does it).
    NetAdmin,
    /// Connecting with the address of a client (Linux: CAP_NET_RAW; elsewhere nothing).
    Transparent,
}

/// Why privileges could not be given up; the process must not go on.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error("unknown user {0}")]
    User(String),
    /// No such group.
    #[error("unknown group {0}")]
    Group(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// Step.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(nix::Error) -> PrivilegeError {
    let what = what.into();
    move |e| PrivilegeError::System {
        what,
        source: e.into(),
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Name of the user this process runs as, or its number.
pub fn user_name() -> String {
    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// Looks up user and group (empty = the user's own group).
///
/// # Errors
/// Unknown names.
pub fn lookup(user: &str, group: &str, root: &Path) -> Result<Confinement, PrivilegeError> {
    let entry = User::from_name(user)
        .map_err(failed(format!("user {user}")))?
        .ok_or_else(|| PrivilegeError::User(user.to_owned()))?;
    let gid = if group.is_empty() {
        entry.gid
    } else {
        Group::from_name(group)
            .map_err(failed(format!("group {group}")))?
            .ok_or_else(|| PrivilegeError::Group(group.to_owned()))?
            .gid
    };
    Ok(Confinement {
        uid: entry.uid.as_raw(),
        gid: gid.as_raw(),
        chroot: (!root.as_os_str().is_empty()).then(|| root.to_owned()),
    })
}

/// Gives up root for good.
///
/// # Errors
/// The first step that failed.
pub fn confine(to: &Confinement, keep: Keep) -> Result<(), PrivilegeError> {
    if let Some(root) = &to.chroot {
        chroot(root).map_err(failed(format!("chroot {}", root.display())))?;
    }
    chdir("/").map_err(failed("chdir /"))?;
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    setgroups(&[gid]).map_err(failed("setgroups"))?;
    capabilities::before(keep)?;
    set_ids(uid, gid)?;
    capabilities::after(keep)?;
    if !uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::System {
            what: "setuid".to_owned(),
            source: io::Error::other("root could be regained"),
        });
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn set_ids(uid: Uid, gid: Gid) -> Result<(), PrivilegeError> {
    nix::unistd::setresgid(gid, gid, gid).map_err(failed("setresgid"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(failed("setresuid"))
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
fn set_ids(uid: Uid, gid: Gid) -> Result<(), PrivilegeError> {
    nix::unistd::setgid(gid).map_err(failed("setgid"))?;
    nix::unistd::setuid(uid).map_err(failed("setuid"))
}

/// Raises the limit of open files to what the system allows; answers the limit.
///
/// # Errors
/// Those of setrlimit(2).
pub fn raise_open_files() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(target_os = "linux")]
mod capabilities {
    use super::{Keep, PrivilegeError};
    use capctl::{Cap, CapState};

    fn failed(what: &'static str) -> impl FnOnce(capctl::Error) -> PrivilegeError {
        move |e| PrivilegeError::System {
            what: what.to_owned(),
            source: e.into(),
        }
    }

    fn kept(keep: Keep) -> Option<Cap> {
        match keep {
            Keep::Nothing => None,
            Keep::NetAdmin => Some(Cap::NET_ADMIN),
            // CAP_NET_ADMIN would do as well, but it may also change the packet filter.
            Keep::Transparent => Some(Cap::NET_RAW),
        }
    }

    /// While still root: nothing beyond what is kept can come back through an exec.
    pub(super) fn before(keep: Keep) -> Result<(), PrivilegeError> {
        for cap in Cap::iter().filter(|cap| cap.is_supported()) {
            if kept(keep) == Some(cap) {
                continue;
            }
            capctl::bounding::ensure_dropped(cap).map_err(failed("capability bounding set"))?;
        }
        capctl::prctl::set_keepcaps(keep != Keep::Nothing).map_err(failed("keep capabilities"))
    }

    /// After the change of user: exactly what is kept.
    pub(super) fn after(keep: Keep) -> Result<(), PrivilegeError> {
        let mut state = CapState::empty();
        if let Some(cap) = kept(keep) {
            state.permitted.add(cap);
            state.effective.add(cap);
        }
        state.set_current().map_err(failed("capabilities"))?;
        capctl::prctl::set_keepcaps(false).map_err(failed("keep capabilities"))?;
        capctl::prctl::set_no_new_privs().map_err(failed("no new privileges"))
    }
}

#[cfg(not(target_os = "linux"))]
mod capabilities {
    use super::{Keep, PrivilegeError};

    pub(super) fn before(_keep: Keep) -> Result<(), PrivilegeError> {
        Ok(())
    }

    pub(super) fn after(_keep: Keep) -> Result<(), PrivilegeError> {
        Ok(())
    }
}

/// Whether this process may change the packet filter.
pub fn may_filter() -> bool {
    #[cfg(target_os = "linux")]
    {
        capctl::CapState::get_current().is_ok_and(|s| s.effective.has(capctl::Cap::NET_ADMIN))
    }
    #[cfg(not(target_os = "linux"))]
    {
        is_root()
    }
}

/// Name of this process in `ps -c`, where the title is that of a file descriptor otherwise.
pub fn set_process_name(name: &str) {
    #[cfg(target_os = "linux")]
    if capctl::prctl::set_name(name).is_err() {
        tracing::debug!("process name {name} not accepted");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_names_are_said() {
        let error = lookup("no such user", "", Path::new("")).unwrap_err();
        assert_eq!(error.to_string(), "unknown user no such user");
        let error = lookup("root", "no such group", Path::new("")).unwrap_err();
        assert_eq!(error.to_string(), "unknown group no such group");
        let root = lookup("root", "", Path::new("")).unwrap();
        assert_eq!((root.uid, root.gid, root.chroot), (0, 0, None));
    }
}
