//! relayctl against the recorded answers of the original, and against a scripted daemon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use protocols::control::extension::{Answer, Ask, Event, Object, Topic};
use protocols::control::record::{HostRecord, RedirectRecord, StatusRecord, TableRecord};
use protocols::control::{Decoder, Reply, Request, flags};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

/// A socket path of this test alone, removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> SocketPath {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relayctl-{}-{number}.sock", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn relayctl(socket: &SocketPath, words: &[&str]) -> Output {
    Command::new(RELAYCTL)
        .arg("-s")
        .arg(&socket.0)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A daemon that takes one connection and answers each request with the next list of replies, then closes.
fn daemon(
    socket: &SocketPath,
    script: Vec<(Request, Vec<Reply>)>,
) -> JoinHandle<Result<(), String>> {
    let listener = UnixListener::bind(&socket.0).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().map_err(|e| e.to_string())?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut decoder = Decoder::new();
        for (wanted, replies) in script {
            let frame = loop {
                if let Some(frame) = decoder.next_frame().map_err(|e| e.to_string())? {
                    break frame;
                }
                let mut buffer = [0; 4096];
                let n = stream.read(&mut buffer).map_err(|e| e.to_string())?;
                if n == 0 {
                    return Err("relayctl left".to_owned());
                }
                decoder.push(&buffer[..n]);
            };
            let request = Request::from_frame(&frame).map_err(|e| e.to_string())?;
            if request != wanted {
                return Err(format!("{request:?} instead of {wanted:?}"));
            }
            for reply in replies {
                send(&mut stream, &reply);
            }
        }
        Ok(())
    })
}

fn send(stream: &mut UnixStream, reply: &Reply) {
    // The reader may be gone already; what it printed is judged, not this.
    let _ = stream.write_all(&reply.to_frame(77).to_bytes());
}

#[test]
fn argument_errors_are_those_of_the_original() {
    let recorded = include_str!("oracle/relayctl-arguments.txt");
    let socket = SocketPath::new();
    let mut seen = 0;
    for case in recorded.split("$ relayctl ").skip(1) {
        let mut lines = case.lines();
        let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let mut errors = String::new();
        let mut status = None;
        for line in lines {
            if let Some(text) = line.strip_prefix("stderr: ") {
                errors.push_str(text);
                errors.push('\n');
            } else if let Some(number) = line.strip_prefix("exit ") {
                status = Some(number.parse::<i32>().unwrap());
            }
        }
        // The recording ends in the middle of its last case.
        let Some(status) = status else { continue };
        let errors = errors.replace("/var/run/relayd.sock", socket.0.to_str().unwrap());
        let output = relayctl(&socket, &words);
        assert_eq!(stderr(&output), errors, "relayctl {words:?}");
        assert_eq!(stdout(&output), "");
        assert_eq!(output.status.code(), Some(status));
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn further_argument_errors() {
    let socket = SocketPath::new();
    let values = "missing argument:\nvalid commands/args:\n  ";
    for (words, wanted) in [
        (&["host", "disable"][..], format!("{values}<hostid>\n")),
        (&["table", "enable"], format!("{values}<tableid>\n")),
        (&["redirect", "dis"], format!("{values}<redirectid>\n")),
        (&["load"], format!("{values}<path>\n")),
        (&["log"], format!("{values}verbose\n  brief\n")),
        (&["poll", "now"], "superfluous argument: now\n".to_owned()),
        (&["reload", "x"], "superfluous argument: x\n".to_owned()),
        (&["load", "a", "b"], "superfluous argument: b\n".to_owned()),
    ] {
        let output = relayctl(&socket, words);
        assert_eq!(stderr(&output), wanted, "{words:?}");
        assert_eq!(output.status.code(), Some(1));
    }
    for word in ["re", "r", "l", "s", ""] {
        let output = relayctl(&socket, &[word]);
        assert!(
            stderr(&output).starts_with(&format!("ambiguous argument: {word}\nvalid")),
            "{word}"
        );
        assert!(
            !stderr(&output).contains("session"),
            "additions stay out of the list"
        );
    }
    // Cut words of the original mean what they meant, whatever we added.
    for words in [
        &["rel"][..],
        &["p"],
        &["ho", "d", "1"],
        &["sh", "su"],
        &["sho", "se"],
    ] {
        let output = relayctl(&socket, words);
        assert!(
            stderr(&output).starts_with("relayctl: connect: "),
            "{words:?}"
        );
    }
}

#[test]
fn options() {
    let usage = "usage: relayctl [-s socket] command [argument ...]\n";
    let run = |words: &[&str]| Command::new(RELAYCTL).args(words).output().unwrap();
    let output = run(&["-x"]);
    assert_eq!(
        stderr(&output),
        format!("relayctl: invalid option -- 'x'\n{usage}")
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["-s"]);
    assert_eq!(
        stderr(&output),
        format!("relayctl: option requires an argument -- 's'\n{usage}")
    );
    for option in ["-h", "--help"] {
        let output = run(&[option]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).starts_with(usage));
        assert!(stdout(&output).contains("host disable <hostid>"));
    }
    let long = format!("/{}", "x".repeat(200));
    let output = run(&["-s", &long, "poll"]);
    assert_eq!(
        stderr(&output),
        format!("relayctl: socket `{long}' too long\n")
    );
}

#[test]
fn completions_know_every_word() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(RELAYCTL)
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success());
        for word in ["monitor", "summary", "drain", "verbose"] {
            assert!(stdout(&output).contains(word), "{shell} {word}");
        }
    }
    let output = Command::new(RELAYCTL)
        .args(["completions", "tcsh"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_bash_completion_completes() {
    let script = Command::new(RELAYCTL)
        .args(["completions", "bash"])
        .output()
        .unwrap();
    let complete = |words: &str, count: usize| {
        let program = format!(
            "{}\nCOMP_WORDS=({words})\nCOMP_CWORD={count}\n_relayctl\necho \"${{COMPREPLY[@]}}\"\n",
            stdout(&script)
        );
        let output = Command::new("bash")
            .args(["-c", &program])
            .output()
            .unwrap();
        assert_eq!(stderr(&output), "");
        stdout(&output).trim().to_owned()
    };
    assert_eq!(complete("relayctl show su", 2), "summary");
    assert_eq!(complete("relayctl -s /x host di", 4), "disable");
    assert_eq!(complete("relayctl mon", 1), "monitor");
}

#[test]
fn rows_come_in_the_daemons_order_and_are_filtered() {
    let table = |bits, up| {
        Reply::Table(TableRecord {
            id: 1,
            flags: bits,
            name: "web:80".to_owned(),
            up,
            ..TableRecord::default()
        })
    };
    let host = Reply::Host(HostRecord {
        id: 1,
        name: "10.0.0.1".to_owned(),
        up: 1,
        checks: 2,
        ups: 1,
        ..HostRecord::default()
    });
    let redirect = Reply::Redirect(RedirectRecord {
        id: 1,
        flags: flags::ACTIVE_RULESET,
        name: "www".to_owned(),
        ..RedirectRecord::default()
    });
    let replies = vec![redirect, table(0, 1), host, Reply::End];
    let heading = "Id  \tType    \tName                    \tAvlblty\tStatus\n";
    let www = "1   \tredirect\twww                     \t       \tactive\n";
    let web = "1   \ttable   \tweb:80                  \t       \tactive (1 hosts)\n";
    let up = "1   \thost    \t10.0.0.1                \t50.00% \tup\n";
    for (topic, wanted) in [
        ("summary", format!("{heading}{www}{web}{up}")),
        (
            "hosts",
            format!("{heading}{web}{up}\t        \ttotal: 1/2 checks\n"),
        ),
        ("redirects", format!("{heading}{www}")),
        ("relays", heading.to_owned()),
    ] {
        let socket = SocketPath::new();
        let thread = daemon(&socket, vec![(Request::ShowSummary, replies.clone())]);
        let output = relayctl(&socket, &["show", topic]);
        assert_eq!(stdout(&output), wanted);
        assert_eq!(output.status.code(), Some(0));
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn answers_give_the_exit_status() {
    for (reply, text, status) in [
        (Reply::Ok, "command succeeded\n", 0),
        (Reply::Fail, "command failed\n", 1),
    ] {
        let socket = SocketPath::new();
        let thread = daemon(&socket, vec![(Request::Poll, vec![reply])]);
        let output = relayctl(&socket, &["poll"]);
        assert_eq!(stdout(&output), text);
        assert_eq!(output.status.code(), Some(status));
        thread.join().unwrap().unwrap();
    }
    for (words, request, text) in [
        (&["stop"][..], Request::Stop, ""),
        (&["reload"], Request::Reload(None), ""),
        (&["load", "/x"], Request::Reload(Some("/x".into())), ""),
        (
            &["log", "verbose"],
            Request::Verbose(2),
            "logging request sent.\n",
        ),
    ] {
        let socket = SocketPath::new();
        let thread = daemon(&socket, vec![(request, vec![])]);
        let output = relayctl(&socket, words);
        assert_eq!(stdout(&output), text);
        assert_eq!(stderr(&output), "");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_daemon_that_breaks_off_is_told() {
    let unknown = HostRecord {
        up: 5,
        ..HostRecord::default()
    };
    for (replies, text) in [
        (vec![], "relayctl: pipe closed\n"),
        (vec![Reply::Ok], "relayctl: wrong message in summary: 1\n"),
        (vec![Reply::Host(unknown)], "relayctl: invalid status: 5\n"),
    ] {
        let socket = SocketPath::new();
        let thread = daemon(&socket, vec![(Request::ShowSummary, replies)]);
        let output = relayctl(&socket, &["show", "summary"]);
        assert_eq!(stderr(&output), text);
        assert_eq!(output.status.code(), Some(1));
        // The heading was printed before the daemon answered, as the original does.
        assert!(stdout(&output).starts_with("Id  \t"));
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_waiting_reload_prints_the_parsers_messages() {
    let messages = [
        "relayd.conf:3: syntax error".to_owned(),
        "relayd.conf:9: unknown table nope".to_owned(),
    ];
    let socket = SocketPath::new();
    let mut replies: Vec<Reply> = messages
        .iter()
        .map(|m| Reply::Extension(Answer::Message(m.clone())))
        .collect();
    replies.push(Reply::Extension(Answer::Verdict {
        accepted: false,
        generation: 1,
    }));
    let thread = daemon(
        &socket,
        vec![(Request::Extension(Ask::Reload(None)), replies)],
    );
    let output = relayctl(&socket, &["reload", "-w"]);
    assert_eq!(stderr(&output), messages.join("\n") + "\n");
    assert_eq!(stdout(&output), "command failed\n");
    assert_eq!(output.status.code(), Some(1));
    thread.join().unwrap().unwrap();
}

#[test]
fn json_is_one_document_with_every_list() {
    let socket = SocketPath::new();
    let object = Object::Table {
        id: 1,
        name: "web:80".to_owned(),
        status: "empty".to_owned(),
        disabled: false,
        check: "tcp".to_owned(),
        up: 0,
        hosts: 1,
        waiting: 0,
        queue: None,
    };
    let replies = vec![
        Reply::Extension(Answer::Object(Box::new(object))),
        Reply::End,
    ];
    let ask = Request::Extension(Ask::Show(Topic::Summary));
    let thread = daemon(&socket, vec![(ask, replies)]);
    let output = relayctl(&socket, &["-j", "show", "summary"]);
    thread.join().unwrap().unwrap();
    let document: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(document["version"], 1);
    assert_eq!(document["tables"][0]["name"], "web:80");
    for list in ["redirects", "relays", "routers", "hosts"] {
        assert_eq!(document[list], serde_json::json!([]));
    }
}

#[test]
fn monitors_print_at_once_and_end_with_the_connection() {
    let socket = SocketPath::new();
    let replies = vec![
        Reply::HostStatus(StatusRecord {
            id: 4,
            up: 1,
            ..StatusRecord::default()
        }),
        Reply::Sync,
    ];
    let thread = daemon(&socket, vec![(Request::Monitor, replies)]);
    let output = relayctl(&socket, &["monitor"]);
    thread.join().unwrap().unwrap();
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(
        lines[0],
        "host_status: imsg type 37 len 48 peerid 4294967295 pid 77"
    );
    assert!(lines[1].starts_with("\ttimestamp: "));
    assert_eq!(&lines[2..4], &["\tid: 4", "\tstate: up"]);
    assert_eq!(
        lines[4],
        "sync: imsg type 38 len 16 peerid 4294967295 pid 77"
    );
    assert_eq!(stderr(&output), "relayctl: pipe closed\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn monitors_as_json_print_one_object_a_line() {
    let socket = SocketPath::new();
    let event = Reply::Extension(Answer::Event(Event::Sync));
    let ask = Request::Extension(Ask::Subscribe);
    let thread = daemon(&socket, vec![(ask, vec![event])]);
    let output = relayctl(&socket, &["-j", "monitor"]);
    thread.join().unwrap().unwrap();
    let line = stdout(&output).trim();
    assert!(line.starts_with(r#"{"event":"sync","time":""#), "{line}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error_message() {
    let socket = SocketPath::new();
    let host = Reply::Host(HostRecord {
        name: "10.0.0.1".to_owned(),
        ..HostRecord::default()
    });
    let mut replies = vec![host; 5000];
    replies.push(Reply::End);
    let thread = daemon(&socket, vec![(Request::ShowSummary, replies)]);
    let mut child = Command::new(RELAYCTL)
        .arg("-s")
        .arg(&socket.0)
        .args(["show", "summary"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(1));
    thread.join().unwrap().unwrap();
}

#[test]
fn the_plugin_tells_a_missing_daemon() {
    let socket = SocketPath::new();
    let output = relayctl(&socket, &["check"]);
    assert!(stdout(&output).starts_with("RELAYD CRITICAL - connect: "));
    assert_eq!(output.status.code(), Some(2));
}
