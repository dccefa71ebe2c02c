//! The command line: one table of flags gives the parser and the help.
//! Owns the flags, and the original's words about wrong ones.
//! Must never read a file or the environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The original's usage line; it names the original's flags only, as scripts compare it.
pub const USAGE: &str = "usage: relayd [-dnv] [-D macro=value] [-f file]";

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value(&'static str),
    /// The next word, if it is one of these.
    Choice(&'static str, &'static [&'static str]),
}

/// A flag. Those with `option` set an option of the daemon (`relayd.toml`, `RELAYD_…`) of that name.
struct Flag {
    short: Option<u8>,
    long: &'static str,
    takes: Takes,
    option: Option<&'static str>,
    help: &'static str,
}

const BACKENDS: &[&str] = &["nftables", "pf", "userland", "recording"];

const fn option(
    long: &'static str,
    value: &'static str,
    name: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        short: None,
        long,
        takes: Takes::Value(value),
        option: Some(name),
        help,
    }
}

const fn flag(short: Option<u8>, long: &'static str, takes: Takes, help: &'static str) -> Flag {
    Flag {
        short,
        long,
        takes,
        option: None,
        help,
    }
}

/// Every flag, in the order of the help.
const FLAGS: &[Flag] = &[
    flag(
        Some(b'd'),
        "foreground",
        Takes::Nothing,
        "do not daemonize, log to standard error",
    ),
    flag(
        Some(b'n'),
        "check",
        Takes::Nothing,
        "only check the configuration; needs no root",
    ),
    flag(
        Some(b'v'),
        "verbose",
        Takes::Nothing,
        "more output; may be given twice; with -n: print the configuration as understood",
    ),
    flag(
        Some(b'f'),
        "file",
        Takes::Value("FILE"),
        "configuration file (default /etc/relayd.conf)",
    ),
    flag(
        Some(b'D'),
        "define",
        Takes::Value("MACRO=VALUE"),
        "define a macro, overriding the file's definition",
    ),
    flag(
        Some(b'j'),
        "json",
        Takes::Nothing,
        "with -n: diagnostics, or the configuration, as JSON",
    ),
    flag(
        None,
        "rules",
        Takes::Choice("BACKEND", BACKENDS),
        "with -n: print the rules for that packet filter (default: the system's)",
    ),
    flag(
        None,
        "modern",
        Takes::Nothing,
        "with -n: print the file rewritten in today's grammar",
    ),
    flag(
        None,
        "single-process",
        Takes::Nothing,
        "run everything in one process (containers, tests)",
    ),
    flag(
        None,
        "options",
        Takes::Value("FILE"),
        "daemon options (default relayd.toml beside the configuration, then /etc/relayd.toml)",
    ),
    option("user", "NAME", "user", "user of the unprivileged processes"),
    option(
        "group",
        "NAME",
        "group",
        "their group (default: the user's)",
    ),
    option(
        "chroot",
        "DIRECTORY",
        "chroot",
        "directory they are confined to; empty: none",
    ),
    option("socket", "PATH", "socket", "control socket"),
    option("metrics", "ADDRESS:PORT", "metrics", "Prometheus listener"),
    option(
        "backend",
        "NAME",
        "backend",
        "packet filter: auto, nftables, pf, userland",
    ),
    option("table", "NAME", "table", "name of the nftables table"),
    option(
        "kill-tcp",
        "BOOLEAN",
        "kill_tcp",
        "end the TCP connections of a host that goes down: true or false",
    ),
    option(
        "protect-table",
        "BOOLEAN",
        "protect_table",
        "keep other programs from changing the nftables table: true or false",
    ),
    option(
        "count-traffic",
        "BOOLEAN",
        "count_traffic",
        "count packets and bytes of the hosts of redirects: true or false",
    ),
    option("log-format", "FORMAT", "log_format", "plain or json"),
    option(
        "syslog-socket",
        "PATH",
        "syslog_socket",
        "where access logs find syslogd",
    ),
    option(
        "journal-socket",
        "PATH",
        "journal_socket",
        "where access logs find journald",
    ),
    option(
        "state-directory",
        "DIRECTORY",
        "state_directory",
        "where state that survives a restart is kept",
    ),
    flag(None, "help", Takes::Nothing, "print this and exit"),
    flag(
        None,
        "version",
        Takes::Nothing,
        "print the version and exit",
    ),
];

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-d`
    pub foreground: bool,
    /// `-n`
    pub check: bool,
    /// Number of `-v`.
    pub verbose: u8,
    /// `-f`
    pub file: Option<PathBuf>,
    /// `-D`, in order; a word without `=` defines nothing, as in the original.
    pub macros: Vec<(String, String)>,
    /// `-j`
    pub json: bool,
    /// `--rules`, with its packet filter if given.
    pub rules: Option<Option<String>>,
    /// `--modern`
    pub modern: bool,
    /// `--single-process`
    pub single_process: bool,
    /// `--options`
    pub options: Option<PathBuf>,
    /// Daemon options: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// `--help`
    pub help: bool,
    /// `--version`
    pub version: bool,
}

/// Why a command line is wrong: what stands before the usage line, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub Option<String>);

fn wrong(text: String) -> Wrong {
    Wrong(Some(format!("relayd: {text}")))
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// [`Wrong`]: print it and [`USAGE`], exit 1.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Flags, Wrong> {
    let mut flags = Flags::default();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            break;
        }
        if let Some(long) = bytes.strip_prefix(b"--") {
            let mut parts = long.splitn(2, |&b| b == b'=');
            let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let mut value = parts.next().map(|v| OsString::from_vec(v.to_vec()));
            let flag = FLAGS
                .iter()
                .find(|f| f.long == name)
                .ok_or_else(|| wrong(format!("unknown option -- {name}")))?;
            match flag.takes {
                Takes::Nothing if value.is_some() => {
                    return Err(wrong(format!("option takes no argument -- {name}")));
                }
                Takes::Value(_) if value.is_none() => {
                    let next = arguments.next();
                    value =
                        Some(next.ok_or_else(|| {
                            wrong(format!("option requires an argument -- {name}"))
                        })?);
                }
                Takes::Choice(_, words) if value.is_none() => {
                    value = arguments.next_if(|next| words.iter().any(|w| next == w));
                }
                _ => {}
            }
            apply(&mut flags, flag, value)?;
        } else if bytes.len() > 1 && bytes.first() == Some(&b'-') {
            cluster(&mut flags, bytes.get(1..).unwrap_or_default(), || {
                arguments.next()
            })?;
        } else {
            return Err(Wrong(None));
        }
    }
    match arguments.next() {
        Some(_) => Err(Wrong(None)),
        None => Ok(flags),
    }
}

/// `-dvf file`, `-ffile`
fn cluster(
    flags: &mut Flags,
    letters: &[u8],
    mut next: impl FnMut() -> Option<OsString>,
) -> Result<(), Wrong> {
    let mut rest = letters;
    while let Some((&letter, after)) = rest.split_first() {
        rest = after;
        let name = char::from(letter);
        let flag = FLAGS
            .iter()
            .find(|f| f.short == Some(letter))
            .ok_or_else(|| wrong(format!("invalid option -- '{name}'")))?;
        if flag.takes == Takes::Nothing {
            apply(flags, flag, None)?;
            continue;
        }
        let value = if rest.is_empty() {
            next().ok_or_else(|| wrong(format!("option requires an argument -- '{name}'")))?
        } else {
            OsStr::from_bytes(rest).to_owned()
        };
        return apply(flags, flag, Some(value));
    }
    Ok(())
}

fn apply(flags: &mut Flags, flag: &Flag, value: Option<OsString>) -> Result<(), Wrong> {
    let path = || value.clone().map(PathBuf::from);
    let text = || {
        value
            .clone()
            .unwrap_or_default()
            .into_string()
            .map_err(|v| wrong(format!("--{}: {} is not UTF-8", flag.long, v.display())))
    };
    if let Some(name) = flag.option {
        flags.settings.push((name, text()?));
        return Ok(());
    }
    match flag.long {
        "foreground" => flags.foreground = true,
        "check" => flags.check = true,
        "verbose" => flags.verbose = flags.verbose.saturating_add(1),
        "file" => flags.file = path(),
        "define" => {
            let definition = text()?;
            if let Some((name, value)) = definition.split_once('=') {
                flags.macros.push((name.to_owned(), value.to_owned()));
            }
        }
        "json" => flags.json = true,
        "rules" => flags.rules = Some(value.is_some().then(text).transpose()?),
        "modern" => flags.modern = true,
        "single-process" => flags.single_process = true,
        "options" => flags.options = path(),
        "help" => flags.help = true,
        "version" => flags.version = true,
        _ => {}
    }
    Ok(())
}

/// The text of `--help`.
pub fn help() -> String {
    use std::fmt::Write;
    let mut text = format!("{USAGE}\n\n");
    for flag in FLAGS {
        let short = match flag.short {
            Some(letter) => format!("-{},", char::from(letter)),
            None => "   ".to_owned(),
        };
        let value = match flag.takes {
            Takes::Nothing => String::new(),
            Takes::Value(name) => format!(" {name}"),
            Takes::Choice(name, _) => format!(" [{name}]"),
        };
        let names = format!("{short} --{}{value}", flag.long);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {names:<30} {}", flag.help);
    }
    text.push_str("\nOptions of the daemon are also read from relayd.toml and from RELAYD_NAME in the environment.\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(line: &str) -> Result<Flags, Wrong> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_cluster_and_take_values_both_ways() {
        let flags =
            words("-dvvf a.conf -Da=1 -D b=2=3 --user=www --metrics 127.0.0.1:9 -n").unwrap();
        assert!(flags.foreground && flags.check && !flags.json);
        assert_eq!(flags.verbose, 2);
        assert_eq!(flags.file, Some(PathBuf::from("a.conf")));
        let macros: Vec<_> = flags
            .macros
            .iter()
            .map(|(n, v)| format!("{n}:{v}"))
            .collect();
        assert_eq!(macros, ["a:1", "b:2=3"]);
        assert_eq!(
            flags.settings,
            [
                ("user", "www".to_owned()),
                ("metrics", "127.0.0.1:9".to_owned())
            ]
        );
    }

    #[test]
    fn rules_take_the_next_word_only_if_it_is_a_packet_filter() {
        assert_eq!(
            words("-n --rules pf").unwrap().rules,
            Some(Some("pf".to_owned()))
        );
        let flags = words("-n --rules -f x").unwrap();
        assert_eq!(flags.rules, Some(None));
        assert_eq!(flags.file, Some(PathBuf::from("x")));
        assert!(words("-n --rules x").is_err());
    }

    #[test]
    fn wrong_words_are_those_of_getopt() {
        let text = |line| words(line).unwrap_err().0.unwrap_or_default();
        assert_eq!(text("-x"), "relayd: invalid option -- 'x'");
        assert_eq!(text("-h"), "relayd: invalid option -- 'h'");
        assert_eq!(text("-D"), "relayd: option requires an argument -- 'D'");
        assert_eq!(text("-dnf"), "relayd: option requires an argument -- 'f'");
        assert_eq!(text("--foo"), "relayd: unknown option -- foo");
        assert_eq!(
            text("--user"),
            "relayd: option requires an argument -- user"
        );
        assert_eq!(text("--json=1"), "relayd: option takes no argument -- json");
        assert_eq!(text("extra"), "");
        assert_eq!(text("-n -- extra"), "");
    }

    #[test]
    fn help_names_every_flag_once_and_lines_are_short() {
        let help = help();
        for flag in FLAGS {
            assert_eq!(
                help.matches(&format!("--{} ", flag.long)).count(),
                1,
                "{}",
                flag.long
            );
        }
        assert!(help.lines().all(|line| line.len() < 120));
    }

    #[test]
    fn every_option_of_the_daemon_has_a_flag() {
        let all = serde_json::to_value(actors::options::Options::default()).unwrap();
        let mut names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
        let mut flags: Vec<_> = FLAGS
            .iter()
            .filter_map(|f| f.option.map(str::to_owned))
            .collect();
        names.sort();
        flags.sort();
        assert_eq!(names, flags);
    }
}
