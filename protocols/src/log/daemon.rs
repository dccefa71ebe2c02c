//! Lines about the daemon itself: start, stop, reload, supervision.
//! Owns their words: those of the original first, then ours.
//! Must never decide whether a line is printed.

use std::fmt::Display;

/// Printed once when everything is read and bound.
pub const STARTUP: &str = "startup";
/// SIGHUP came.
pub const RELOAD_REQUESTED: &str = "parent_sig_handler: reload requested with SIGHUP";
/// New keys for session tickets.
pub const REKEYING: &str = "parent_tls_ticket_rekey: rekeying tickets";

/// A child ended in good order.
pub fn exiting(role: &str, pid: u32) -> String {
    format!("{role} exiting, pid {pid}")
}

/// The last line of all.
pub fn terminating(pid: u32) -> String {
    format!("parent terminating, pid {pid}")
}

/// A reload begins.
pub fn reload_begins(file: impl Display) -> String {
    format!("parent_reload: level 0 config file {file}")
}

/// The new file is faulty.
pub fn reload_failed(file: impl Display) -> String {
    format!("parent_reload: failed to load config file {file}")
}

/// What a faulty reload means: nothing changed.
pub fn reload_refused(file: impl Display, generation: u64, errors: usize) -> String {
    let s = if errors == 1 { "" } else { "s" };
    format!(
        "reload of {file} refused with {errors} error{s}, configuration generation {generation} stays in force"
    )
}

/// A new configuration is in force.
pub fn reloaded(generation: u64, added: usize, changed: usize, removed: usize) -> String {
    format!(
        "configuration generation {generation} in force: {added} added, {changed} changed, {removed} removed"
    )
}

/// A relay's listener is bound.
pub fn adding_relay(name: &str) -> String {
    format!("relay_privinit: adding relay {name}")
}

/// A relay's settings as the original prints them at start with `-vv`: its protocol, flags and type; rules follow.
pub fn protocol(id: u32, name: &str, flags: &[&str], kind: &str) -> [String; 3] {
    let flags = flags.join(", ");
    [
        format!("protocol {id}: name {name}"),
        format!("\tflags: used, relay flags: {flags}"),
        format!("\ttype: {kind}"),
    ]
}

/// Limit of open files of a process.
pub fn open_files(limit: u64) -> String {
    format!("socket_rlimit: max open files {limit}")
}

/// A child died.
pub fn lost_child(title: &str, instance: u32, pid: Option<u32>, how: impl Display) -> String {
    match pid {
        Some(pid) => format!("lost child: {title} {instance}, pid {pid}, {how}"),
        None => format!("lost child: {title} {instance}, {how}"),
    }
}

/// It is started again after a while.
pub fn restarting(title: &str, instance: u32, milliseconds: u128) -> String {
    format!("{title} {instance} is started again in {milliseconds} ms")
}

/// It died too often.
pub fn giving_up(title: &str, restarts: u32, seconds: u64) -> String {
    format!("{title} died more than {restarts} times within {seconds} s, giving up")
}

/// Not started as root.
pub fn unprivileged(user: &str) -> String {
    format!("not started as root: every process runs as {user}, without chroot")
}

/// Whatever a line carries from outside: no character in it may move a terminal's cursor or forge another line.
pub fn printable(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.chars().any(hidden) {
        return line.into();
    }
    let mut clean = String::with_capacity(line.len().saturating_add(16));
    for c in line.chars() {
        if hidden(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean.into()
}

/// Controls, and what reverses the direction of text.
fn hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_original() {
        assert_eq!(exiting("hce", 17), "hce exiting, pid 17");
        assert_eq!(terminating(17), "parent terminating, pid 17");
        assert_eq!(
            reload_begins("minimal.conf"),
            "parent_reload: level 0 config file minimal.conf"
        );
        assert_eq!(
            reload_failed("minimal.conf"),
            "parent_reload: failed to load config file minimal.conf"
        );
        assert_eq!(adding_relay("r"), "relay_privinit: adding relay r");
        assert_eq!(
            protocol(1, "p", &["tls", "tls client"], "http").join("\n"),
            "protocol 1: name p\n\tflags: used, relay flags: tls, tls client\n\ttype: http"
        );
        assert_eq!(open_files(20000), "socket_rlimit: max open files 20000");
    }

    #[test]
    fn our_own_words() {
        assert_eq!(
            reload_refused("a.conf", 3, 1),
            "reload of a.conf refused with 1 error, configuration generation 3 stays in force"
        );
        assert_eq!(
            reloaded(2, 1, 0, 4),
            "configuration generation 2 in force: 1 added, 0 changed, 4 removed"
        );
        assert_eq!(
            lost_child("ca", 1, Some(9), "signal 9"),
            "lost child: ca 1, pid 9, signal 9"
        );
    }

    #[test]
    fn nothing_from_outside_forges_a_line() {
        assert_eq!(printable("plain öä\u{1f600}"), "plain öä\u{1f600}");
        assert_eq!(
            printable("a\nb\u{1b}[2J\r\u{202e}\u{9b}"),
            "a\\u{a}b\\u{1b}[2J\\u{d}\\u{202e}\\u{9b}"
        );
    }
}
