//! From the command line to an exit status.
//! Owns the options and the choice of what a verb does.
//! Must never connect before the whole command line is understood.

use crate::connection::Connection;
use crate::error::CtlError;
use crate::words::{self, Verb};
use crate::{check, command, help, monitor, show};
use protocols::control::extension::Ask;
use protocols::control::{ObjectId, Request};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Default control socket.
pub const SOCKET: &str = "/var/run/relayd.sock";

/// Options before the command.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    socket: PathBuf,
    json: bool,
    help: bool,
}

/// Splits options from words.
pub fn options(arguments: &[String]) -> Result<(Options, Vec<String>), CtlError> {
    let mut options = Options {
        socket: PathBuf::from(SOCKET),
        json: false,
        help: false,
    };
    let mut arguments = arguments.iter();
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--" => break,
            "--help" => options.help = true,
            text if text.starts_with('-') && text.len() > 1 => {
                let mut letters = text.chars().skip(1);
                while let Some(letter) = letters.next() {
                    match letter {
                        'j' => options.json = true,
                        'h' => options.help = true,
                        's' => {
                            let rest: String = letters.by_ref().collect();
                            let path = if rest.is_empty() {
                                arguments.next().cloned().ok_or_else(|| {
                                    CtlError::Usage(Some(
                                        "option requires an argument -- 's'".to_owned(),
                                    ))
                                })?
                            } else {
                                rest
                            };
                            options.socket = PathBuf::from(path);
                        }
                        other => {
                            return Err(CtlError::Usage(Some(format!(
                                "invalid option -- '{other}'"
                            ))));
                        }
                    }
                }
            }
            text => {
                words.push(text.to_owned());
                break;
            }
        }
    }
    words.extend(arguments.cloned());
    Ok((options, words))
}

/// Does what the command line says.
pub fn run(
    arguments: &[String],
    out: &mut dyn Write,
    messages: &mut dyn Write,
) -> Result<(), CtlError> {
    let (options, words) = options(arguments)?;
    if options.help {
        return out
            .write_all(help::help().as_bytes())
            .map_err(CtlError::output);
    }
    let (verb, values) = words::parse(&words).map_err(CtlError::Argument)?;
    let result = perform(&options, verb, &values, out, messages);
    // What was printed before an error must come out before the error.
    out.flush().map_err(CtlError::output)?;
    result
}

fn perform(
    options: &Options,
    verb: Verb,
    values: &[String],
    out: &mut dyn Write,
    messages: &mut dyn Write,
) -> Result<(), CtlError> {
    let socket: &Path = &options.socket;
    let open = || Connection::open(socket);
    let first = values.first().map(String::as_str).unwrap_or_default();
    let ask = |ask| Request::Extension(ask);
    match verb {
        Verb::Monitor => monitor::run(&mut monitor::connect(socket)?, options.json, out),
        Verb::Show(topic) => show::run(&mut open()?, topic, options.json, out),
        Verb::Load { wait: false } => command::reload(&mut open()?, Some(file(first, false))),
        Verb::Load { wait: true } => {
            let file = Some(file(first, true));
            command::reload_and_wait(&mut open()?, file, out, messages)
        }
        Verb::Reload { wait: false } => command::reload(&mut open()?, None),
        Verb::Reload { wait: true } => command::reload_and_wait(&mut open()?, None, out, messages),
        Verb::Poll => command::answered(&mut open()?, &Request::Poll, out),
        Verb::Stop => command::stop(&mut open()?),
        Verb::Switch(class, enable) => {
            let object = ObjectId::from_word(first);
            let request = Request::Switch {
                class,
                object,
                enable,
            };
            command::answered(&mut open()?, &request, out)
        }
        Verb::Log { level } => command::log(&mut open()?, level, out),
        Verb::Relay(enable) => {
            let relay = ObjectId::from_word(first);
            let request = ask(Ask::SwitchRelay { relay, enable });
            command::answered(&mut open()?, &request, out)
        }
        Verb::Drain(drain) => {
            let host = ObjectId::from_word(first);
            command::answered(&mut open()?, &ask(Ask::Drain { host, drain }), out)
        }
        Verb::Kill => {
            let request = ask(Ask::KillSession {
                pid: number(first, "pid")?,
                session: number(values.get(1).map(String::as_str).unwrap_or_default(), "id")?,
            });
            command::answered(&mut open()?, &request, out)
        }
        Verb::Purge => command::answered(&mut open()?, &ask(Ask::Purge), out),
        Verb::Check => check::run(socket, out),
        Verb::Completions => {
            let script = help::completions(first).ok_or_else(|| {
                CtlError::Other(format!(
                    "no completions for {first}; there are those for bash, zsh and fish"
                ))
            })?;
            out.write_all(script.as_bytes()).map_err(CtlError::output)
        }
    }
}

/// The file of `load`. With `-w` a relative name means a file here, not one where the daemon was started.
fn file(name: &str, absolute: bool) -> PathBuf {
    let path = PathBuf::from(name);
    if absolute {
        std::path::absolute(&path).unwrap_or(path)
    } else {
        path
    }
}

fn number(text: &str, what: &str) -> Result<u32, CtlError> {
    text.parse()
        .map_err(|_| CtlError::Other(format!("{text} is not a session's {what}")))
}
