//! relayctl: shows and changes what a running relayd does.
//! Owns the command line of relayctl(8) and its output, byte for byte the original's.
//! Must never link the daemon: only the control protocol and the standard library.

mod check;
mod command;
mod connection;
mod error;
mod help;
mod monitor;
mod run;
mod show;
mod words;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let result = run::run(&arguments, &mut out, &mut std::io::stderr())
        .and_then(|()| out.flush().map_err(error::CtlError::output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.silent() {
                let _ = writeln!(std::io::stderr(), "{error}");
            }
            ExitCode::from(error.status())
        }
    }
}
