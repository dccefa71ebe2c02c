//! Commands that change something: enable, disable, poll, log, load, reload, stop.
//! Owns their conversations and their one line of output.
//! Must never wait where the original does not, unless asked to with `-w`.

use crate::connection::Connection;
use crate::error::CtlError;
use protocols::control::extension::{Answer, Ask};
use protocols::control::{Reply, Request};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

fn say(out: &mut dyn Write, line: &str) -> Result<(), CtlError> {
    writeln!(out, "{line}").map_err(CtlError::output)
}

/// Sends a request that is answered with one of two words.
pub fn answered(
    connection: &mut Connection,
    request: &Request,
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    connection.send(request)?;
    match connection.reply("summary")? {
        (_, Reply::Ok) => say(out, "command succeeded"),
        (_, Reply::Fail) => {
            say(out, "command failed")?;
            Err(CtlError::Refused)
        }
        (frame, _) => Err(CtlError::WrongMessage("summary", frame.kind)),
    }
}

/// `log verbose|brief`: not answered.
pub fn log(connection: &mut Connection, level: i32, out: &mut dyn Write) -> Result<(), CtlError> {
    connection.send(&Request::Verbose(level))?;
    say(out, "logging request sent.")
}

/// `stop`: the daemon closes the connection when it is gone.
pub fn stop(connection: &mut Connection) -> Result<(), CtlError> {
    connection.send(&Request::Stop)?;
    match connection.receive() {
        Err(CtlError::Closed) => Ok(()),
        Err(CtlError::Read(e)) if e.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(e) => Err(e),
        Ok((_, Ok(Reply::Ok))) => Ok(()),
        Ok((_, Ok(Reply::Fail))) => Err(CtlError::Other("the daemon refused".to_owned())),
        Ok((frame, _)) => Err(CtlError::WrongMessage("summary", frame.kind)),
    }
}

/// `reload` and `load`: not answered.
pub fn reload(connection: &mut Connection, file: Option<PathBuf>) -> Result<(), CtlError> {
    connection.send(&Request::Reload(file))
}

/// `reload -w` and `load -w`: the parser's messages on standard error, and status 1 when it refused.
pub fn reload_and_wait(
    connection: &mut Connection,
    file: Option<PathBuf>,
    out: &mut dyn Write,
    messages: &mut dyn Write,
) -> Result<(), CtlError> {
    connection.send(&Request::Extension(Ask::Reload(file)))?;
    loop {
        match connection.reply("summary")? {
            (_, Reply::Extension(Answer::Message(text))) => {
                writeln!(messages, "{text}").map_err(CtlError::output)?;
            }
            (_, Reply::Extension(Answer::Verdict { accepted: true, .. })) => {
                return say(out, "command succeeded");
            }
            (_, Reply::Extension(Answer::Verdict { .. }) | Reply::Fail) => {
                say(out, "command failed")?;
                return Err(CtlError::Refused);
            }
            (frame, _) => return Err(CtlError::WrongMessage("summary", frame.kind)),
        }
    }
}
