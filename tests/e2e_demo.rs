//! `make demo`, as built: it starts, shows a server leaving and returning, and ends cleanly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use std::fs::File;
use std::process::{Command, Stdio};
use support::{process, wait};

/// One demonstration at a time, also over processes: it looks for free ports before it takes them.
fn alone() -> Flock<File> {
    let path = std::env::temp_dir().join("relayd-demo-test.lock");
    Flock::lock(File::create(path).unwrap(), FlockArg::LockExclusive).unwrap()
}

fn demo() -> Command {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_relayd"))
        .parent()
        .unwrap()
        .join("examples/demo");
    assert!(program.exists(), "the example demo is not built");
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn judge(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for wanted in [
        "all servers are up",
        "now server two stops",
        "it left its tables",
        "and comes back",
        "Ctrl-C ends it",
        "demo: ended",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}\n{errors}");
    }
    // While two is away the others serve through everything.
    let away = text.split("it left its tables").nth(1).unwrap();
    let away = away.split("and comes back").next().unwrap();
    for way in ["redirect", "HTTP relay", "TCP relay"] {
        let line = away
            .lines()
            .find(|line| line.contains(&format!("through the {way}: ")))
            .unwrap_or_else(|| panic!("no line for the {way} in\n{away}"));
        let answers = line.rsplit(": ").next().unwrap();
        assert!(
            answers
                .split(", ")
                .all(|name| name == "one" || name == "three"),
            "{line}"
        );
    }
    assert!(text.contains("state up -> down"), "{text}");
}

/// Nothing that the demonstration started is left.
fn nothing_left(pid: u32) {
    let directory = std::env::temp_dir().join(format!("relayd-demo.{pid}"));
    assert!(!directory.exists());
    assert!(process::children(i32::try_from(pid).unwrap()).is_empty());
}

#[test]
fn it_ends_by_itself_after_its_time() {
    let _alone = alone();
    let child = demo().env("DEMO_SECONDS", "1").spawn().unwrap();
    let pid = child.id();
    judge(&child.wait_with_output().unwrap());
    nothing_left(pid);
}

#[test]
fn control_c_ends_it() {
    let _alone = alone();
    use std::io::{BufRead, BufReader, Read};
    let mut child = demo().spawn().unwrap();
    let pid = child.id();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("Ctrl-C ends it") {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0, "{text}");
    }
    process::signal(i32::try_from(pid).unwrap(), Signal::SIGINT);
    let status = wait::until("the demonstration ends", || child.try_wait().unwrap());
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(status.success(), "{text}{rest}");
    assert!(rest.contains("demo: ended"), "{rest}");
    nothing_left(pid);
}
