//! `monitor`: events as they come, as the original's lines or as one JSON object a line.
//! Owns the patient connect and the time stamps.
//! Must never keep an event in a buffer: a reader sees it at once.

use crate::connection::Connection;
use crate::error::CtlError;
use chrono::Local;
use protocols::control::extension::{Answer, Ask};
use protocols::control::{Reply, Request, rows};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// Pause between attempts to connect while the daemon is not there.
const RETRY: Duration = Duration::from_millis(250);

/// Connects; waits for the daemon when there is none.
pub fn connect(path: &Path) -> Result<Connection, CtlError> {
    loop {
        match Connection::open(path) {
            Err(CtlError::Connect(_, e))
                if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                std::thread::sleep(RETRY);
            }
            other => return other,
        }
    }
}

/// Prints events until the connection ends.
pub fn run(connection: &mut Connection, json: bool, out: &mut dyn Write) -> Result<(), CtlError> {
    if json {
        return run_json(connection, out);
    }
    connection.send(&Request::Monitor)?;
    loop {
        let (frame, reply) = connection.receive()?;
        if let Ok(Reply::Fail) = reply {
            return Err(CtlError::WrongMessage("summary", frame.kind));
        }
        let now = Local::now();
        let (text, more) = rows::event(
            frame.kind,
            frame.len(),
            frame.peer,
            frame.pid,
            reply.as_ref().ok(),
            now.timestamp(),
            &now.format("%a %b %e %H:%M:%S %Y").to_string(),
        );
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(CtlError::output)?;
        if !more {
            return Ok(());
        }
    }
}

fn run_json(connection: &mut Connection, out: &mut dyn Write) -> Result<(), CtlError> {
    connection.send(&Request::Extension(Ask::Subscribe))?;
    loop {
        match connection.reply("summary")? {
            (_, Reply::Extension(Answer::Event(event))) => {
                let now = Local::now();
                let mut value = serde_json::to_value(&event)
                    .map_err(|e| CtlError::Other(format!("cannot write JSON: {e}")))?;
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("time".to_owned(), now.to_rfc3339().into());
                }
                writeln!(out, "{value}")
                    .and_then(|()| out.flush())
                    .map_err(CtlError::output)?;
            }
            (frame, _) => return Err(CtlError::WrongMessage("summary", frame.kind)),
        }
    }
}
