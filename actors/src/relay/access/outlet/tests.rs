#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::super::Outlets;
use super::*;
use protocols::log::access::Times;
use protocols::log::id::SessionId;
use std::cell::Cell;
use std::io::{Read, Seek};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn outlet() -> Outlet {
    let target = AccessTarget::File("/x".into());
    Outlet::new(target, Rc::default())
}

fn say(outlet: &Outlet, number: u64) {
    let line = Line {
        session: SessionId { process: 1, number },
        began: Duration::ZERO,
        relay: "www",
        client: "127.0.0.1:1".parse().unwrap(),
        server: None,
        host: None,
        http: None,
        bytes_in: 0,
        bytes_out: 0,
        times: Times::default(),
        tag: None,
        label: None,
        reason: "done",
    };
    outlet.line(AccessForm::Json, &line);
}

/// Numbers of the sessions in lines that must all be whole.
fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        value["session"].as_str()?.split('-').nth(1)?.parse().ok()
    };
    text.lines().filter_map(number).collect()
}

#[test]
fn lines_wait_for_their_target_within_bounds_and_the_rest_is_counted() {
    let outlet = outlet();
    for number in 0..20_000 {
        say(&outlet, number);
    }
    assert_eq!(outlet.flush(), Left::Gone);
    assert!(outlet.queue.borrow().bytes.len() <= limits::ACCESS_BUFFER_MAX);
    let mut file = tempfile();
    outlet.install(file.try_clone().unwrap().into());
    assert_eq!(outlet.flush(), Left::Nothing);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    let written = numbers(&text);
    assert!(written.iter().copied().eq(0..written.len() as u64));
    assert_eq!(outlet.shared.written.get(), written.len() as u64);
    assert_eq!(outlet.shared.lost.get(), 20_000 - written.len() as u64);
    assert!(outlet.queue.borrow().bytes.capacity() <= 2 * limits::ACCESS_BATCH);
}

#[test]
fn a_line_that_was_torn_is_finished_or_forgotten_but_never_mixed() {
    let outlet = outlet();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    outlet.install(OwnedFd::from(ours));
    let mut number = 0;
    while outlet.flush() != Left::Blocked {
        say(&outlet, number);
        number += 1;
    }
    // Another target begins with a whole line; what the first one got ends within one at most.
    let mut file = tempfile();
    outlet.install(file.try_clone().unwrap().into());
    say(&outlet, number);
    assert_eq!(outlet.flush(), Left::Nothing);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    let second = numbers(&text);
    let mut first = String::new();
    theirs.read_to_string(&mut first).unwrap();
    let whole = first.rfind('\n').map_or(0, |at| at + 1);
    let first = numbers(&first[..whole]);
    assert!(first.iter().copied().eq(0..first.len() as u64));
    assert_eq!(second.last(), Some(&number));
    assert!(second.windows(2).all(|w| w[1] == w[0] + 1));
    assert!(second[0] - first.len() as u64 <= 1);
    // The torn one is neither here nor there.
    assert_eq!(outlet.shared.lost.get(), second[0] - first.len() as u64);
    assert_eq!(
        outlet.shared.written.get(),
        (first.len() + second.len()) as u64
    );
}

#[test]
fn the_end_of_a_torn_line_is_no_line() {
    let outlet = outlet();
    outlet.install(
        File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .into(),
    );
    say(&outlet, 1);
    // As if half of it had been written before the disk was full.
    outlet.queue.borrow_mut().torn = true;
    for _ in 0..2 {
        assert_eq!(outlet.flush(), Left::Nothing);
        assert_eq!(outlet.shared.lost.get(), 1);
    }
    let mut file = tempfile();
    outlet.queue.borrow_mut().sink.as_mut().unwrap().file = file.try_clone().unwrap();
    say(&outlet, 2);
    assert_eq!(outlet.flush(), Left::Nothing);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(numbers(text.strip_prefix('\n').expect("an end")), [2]);
    assert_eq!(
        (outlet.shared.written.get(), outlet.shared.lost.get()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_is_asked_for_at_intervals_and_delays_no_other() {
    let outlets = Outlets::default();
    let gone = outlets.of(&AccessTarget::Syslog);
    let there = outlets.of(&AccessTarget::File("/x".into()));
    there.install(tempfile().into());
    let (asked, began) = (Cell::new(0), Instant::now());
    let test = async {
        say(&gone, 1);
        for round in 1..=30 {
            say(&there, round);
            tokio::time::sleep(limits::ACCESS_DELAY * 2).await;
            assert_eq!(outlets.counts().written.get(), round);
        }
        let intervals = began.elapsed().as_secs() / limits::ACCESS_REOPEN_INTERVAL.as_secs();
        assert!((intervals..=intervals + 1).contains(&asked.get()));
        // It is asked for at once when it goes away again.
        gone.install(tempfile().into());
        gone.queue.borrow_mut().sink = None;
        let before = asked.get();
        say(&gone, 2);
        tokio::time::sleep(limits::ACCESS_DELAY * 2).await;
        assert_eq!(asked.get(), before + 1);
    };
    tokio::select! {
        () = outlets.write_batches(|| asked.set(asked.get() + 1)) => panic!("it goes on for ever"),
        () = test => {}
    }
}

fn tempfile() -> File {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("relayd-outlet-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let file = options.read(true).append(true).create_new(true).open(&path);
    std::fs::remove_file(&path).unwrap();
    file.unwrap()
}
