//! `show`: the daemon's objects as rows, or as one JSON document with `-j`.
//! Owns the conversation; the rows are `protocols::control::rows`.
//! Must never print a row that the original would not print there.

use crate::connection::Connection;
use crate::error::CtlError;
use nix::time::{ClockId, clock_gettime};
use protocols::control::extension::{Answer, Ask, Object, Topic, VERSION};
use protocols::control::{Reply, Request, rows};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::time::Duration;

/// How long a daemon may take for its first JSON answer; the original never answers.
const JSON_PATIENCE: Duration = Duration::from_secs(30);

/// Prints what `topic` says.
pub fn run(
    connection: &mut Connection,
    topic: Topic,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    if json {
        return json_document(connection, topic, out);
    }
    if topic == Topic::Sessions {
        return sessions(connection, out);
    }
    out.write_all(rows::heading().as_bytes())
        .map_err(CtlError::output)?;
    connection.send(&Request::ShowSummary)?;
    loop {
        match connection.reply("summary")? {
            (_, Reply::End) => return Ok(()),
            (
                frame,
                Reply::Ok
                | Reply::Fail
                | Reply::Session(_)
                | Reply::Extension(_)
                | Reply::HostStatus(_)
                | Reply::Sync
                | Reply::Switched { .. },
            ) => {
                return Err(CtlError::WrongMessage("summary", frame.kind));
            }
            (_, reply) => out
                .write_all(rows::show(topic, &reply).as_bytes())
                .map_err(CtlError::output)?,
        }
    }
}

/// The system's monotonic clock, which the daemon's session times come from.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

fn sessions(connection: &mut Connection, out: &mut dyn Write) -> Result<(), CtlError> {
    connection.send(&Request::ShowSessions)?;
    loop {
        match connection.reply("session")? {
            (_, Reply::End) => return Ok(()),
            (frame, Reply::Session(record)) => {
                let text = rows::session(frame.peer, &record, monotonic());
                out.write_all(text.as_bytes()).map_err(CtlError::output)?;
            }
            (frame, _) => return Err(CtlError::WrongMessage("session", frame.kind)),
        }
    }
}

/// The objects that `topic` asks for.
pub fn objects(connection: &mut Connection, topic: Topic) -> Result<Vec<Object>, CtlError> {
    connection.patience(Some(JSON_PATIENCE))?;
    connection.send(&Request::Extension(Ask::Show(topic)))?;
    let mut objects = Vec::new();
    loop {
        let received = connection.reply("summary").map_err(|e| match e {
            CtlError::Read(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                CtlError::Other("the daemon does not answer requests for JSON".to_owned())
            }
            e => e,
        })?;
        match received {
            (_, Reply::End) => return Ok(objects),
            (_, Reply::Extension(Answer::Object(object))) => objects.push(*object),
            (frame, _) => return Err(CtlError::WrongMessage("summary", frame.kind)),
        }
    }
}

/// Name of the list that an object stands in.
fn list(object: &Object) -> &'static str {
    match object {
        Object::Redirect { .. } => "redirects",
        Object::Table { .. } => "tables",
        Object::Host { .. } => "hosts",
        Object::Relay { .. } => "relays",
        Object::Router { .. } => "routers",
        Object::Session { .. } => "sessions",
    }
}

/// Lists that a topic has, even if they are empty.
fn lists(topic: Topic) -> &'static [&'static str] {
    match topic {
        Topic::Summary => &["redirects", "relays", "routers", "tables", "hosts"],
        Topic::Hosts => &["tables", "hosts"],
        Topic::Redirects => &["redirects"],
        Topic::Relays => &["relays"],
        Topic::Routers => &["routers"],
        Topic::Sessions => &["sessions"],
    }
}

fn json_document(
    connection: &mut Connection,
    topic: Topic,
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    let mut document = Map::new();
    document.insert("version".to_owned(), json!(VERSION));
    for name in lists(topic) {
        document.insert((*name).to_owned(), json!([]));
    }
    for object in objects(connection, topic)? {
        let name = list(&object);
        let value = serde_json::to_value(&object)
            .map_err(|e| CtlError::Other(format!("cannot write JSON: {e}")))?;
        if let Value::Array(list) = document.entry(name).or_insert_with(|| json!([])) {
            list.push(value);
        }
    }
    let text = serde_json::to_string_pretty(&Value::Object(document))
        .map_err(|e| CtlError::Other(format!("cannot write JSON: {e}")))?;
    writeln!(out, "{text}").map_err(CtlError::output)
}
