//! The words of relayctl: one table gives the parser, the error lists, the help and the shell completions.
//! Owns commands, their arguments and their abbreviations.
//! Must never let an addition of ours change how the original's words are abbreviated or listed.

use protocols::control::extension::Topic;
use protocols::control::request::Class;
use std::fmt;

/// What a complete command does; its arguments come beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Print events.
    Monitor,
    /// Print objects.
    Show(Topic),
    /// Load a file; `wait` for the verdict.
    Load { wait: bool },
    /// Load the daemon's file; `wait` for the verdict.
    Reload { wait: bool },
    /// Check all hosts now.
    Poll,
    /// End the daemon.
    Stop,
    /// Enable or disable.
    Switch(Class, bool),
    /// Debug level.
    Log { level: i32 },
    /// Enable or disable a relay.
    Relay(bool),
    /// Drain a host or end that.
    Drain(bool),
    /// End a session.
    Kill,
    /// Empty the packet filter and fill it again.
    Purge,
    /// Monitoring plugin.
    Check,
    /// Print a completion script.
    Completions,
}

/// One possibility at a place of the command line.
#[derive(Debug)]
pub struct Node {
    /// What is written there.
    pub word: Word,
    /// One line for the help.
    pub help: &'static str,
    /// Our addition: only matched when spelt out, not listed in error messages.
    pub addition: bool,
    /// What follows.
    pub next: Next,
}

/// What may be written at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// This word.
    Keyword(&'static str),
    /// Anything; the name stands in lists.
    Value(&'static str),
}

/// What follows a word.
#[derive(Debug)]
pub enum Next {
    /// Nothing: the command is complete.
    End(Verb),
    /// One of these.
    One(&'static [Node]),
    /// Nothing, or one of these.
    Maybe(Verb, &'static [Node]),
}

const fn word(keyword: &'static str, help: &'static str, next: Next) -> Node {
    Node {
        word: Word::Keyword(keyword),
        help,
        addition: false,
        next,
    }
}

const fn ours(keyword: &'static str, help: &'static str, next: Next) -> Node {
    Node {
        word: Word::Keyword(keyword),
        help,
        addition: true,
        next,
    }
}

const fn value(name: &'static str, verb: Verb) -> Node {
    then(name, Next::End(verb))
}

const fn then(name: &'static str, next: Next) -> Node {
    Node {
        word: Word::Value(name),
        help: "",
        addition: false,
        next,
    }
}

const fn show(keyword: &'static str, help: &'static str, topic: Topic) -> Node {
    word(keyword, help, Next::End(Verb::Show(topic)))
}

/// The commands.
pub static COMMANDS: &[Node] = &[
    word(
        "monitor",
        "print events until the daemon ends",
        Next::End(Verb::Monitor),
    ),
    word("show", "", Next::One(SHOW)),
    word("load", "", Next::One(LOAD)),
    word("poll", "check all hosts now", Next::End(Verb::Poll)),
    word(
        "reload",
        "read the daemon's configuration file again",
        Next::Maybe(Verb::Reload { wait: false }, RELOAD),
    ),
    word("stop", "end the daemon", Next::End(Verb::Stop)),
    word("redirect", "", Next::One(REDIRECT)),
    word("table", "", Next::One(TABLE)),
    word("host", "", Next::One(HOST)),
    word("log", "", Next::One(LOG)),
    ours("relay", "", Next::One(RELAY)),
    ours("session", "", Next::One(SESSION)),
    ours(
        "purge",
        "remove everything from the packet filter, with all states, and install it anew",
        Next::End(Verb::Purge),
    ),
    ours(
        "check",
        "monitoring plugin: one line, exit status 0 to 3",
        Next::End(Verb::Check),
    ),
    ours("completions", "", Next::One(SHELLS)),
];

static SHOW: &[Node] = &[
    show("summary", "print all objects", Topic::Summary),
    show(
        "hosts",
        "print tables and hosts with counters",
        Topic::Hosts,
    ),
    show(
        "redirects",
        "print redirections with statistics",
        Topic::Redirects,
    ),
    show("relays", "print relays with statistics", Topic::Relays),
    show("routers", "print routers with routes", Topic::Routers),
    show("sessions", "print the sessions of relays", Topic::Sessions),
];

static LOAD: &[Node] = &[
    Node {
        help: "load this configuration file",
        ..value("<path>", Verb::Load { wait: false })
    },
    ours(
        "-w",
        "wait, print the parser's messages",
        Next::One(&[value("<path>", Verb::Load { wait: true })]),
    ),
];

static RELOAD: &[Node] = &[ours(
    "-w",
    "wait, print the parser's messages",
    Next::End(Verb::Reload { wait: true }),
)];

static REDIRECT: &[Node] = &[
    word(
        "disable",
        "withdraw a redirection",
        Next::One(&[value("<redirectid>", Verb::Switch(Class::Redirect, false))]),
    ),
    word(
        "enable",
        "serve it again",
        Next::One(&[value("<redirectid>", Verb::Switch(Class::Redirect, true))]),
    ),
];

static TABLE: &[Node] = &[
    word(
        "disable",
        "use no host of a table",
        Next::One(&[value("<tableid>", Verb::Switch(Class::Table, false))]),
    ),
    word(
        "enable",
        "use and check them again",
        Next::One(&[value("<tableid>", Verb::Switch(Class::Table, true))]),
    ),
];

static HOST: &[Node] = &[
    word(
        "disable",
        "take a host out",
        Next::One(&[value("<hostid>", Verb::Switch(Class::Host, false))]),
    ),
    word(
        "enable",
        "check and use it again",
        Next::One(&[value("<hostid>", Verb::Switch(Class::Host, true))]),
    ),
    ours(
        "drain",
        "give it no new connections",
        Next::One(&[value("<hostid>", Verb::Drain(true))]),
    ),
    ours(
        "undrain",
        "give it new connections again",
        Next::One(&[value("<hostid>", Verb::Drain(false))]),
    ),
];

static LOG: &[Node] = &[
    word(
        "verbose",
        "log debug messages",
        Next::End(Verb::Log { level: 2 }),
    ),
    word(
        "brief",
        "log no debug messages",
        Next::End(Verb::Log { level: 0 }),
    ),
];

static RELAY: &[Node] = &[
    ours(
        "disable",
        "accept and close connections",
        Next::One(&[value("<relayid>", Verb::Relay(false))]),
    ),
    ours(
        "enable",
        "serve them again",
        Next::One(&[value("<relayid>", Verb::Relay(true))]),
    ),
];

static SESSION: &[Node] = &[ours(
    "kill",
    "end a session; pid and id are those of show sessions",
    Next::One(&[then(
        "<pid>",
        Next::One(&[value("<sessionid>", Verb::Kill)]),
    )]),
)];

static SHELLS: &[Node] = &[Node {
    help: "print a completion script for bash, zsh or fish",
    ..value("<shell>", Verb::Completions)
}];

/// Why a command line is no command; its text is what stands on standard error.
#[derive(Debug)]
pub enum ArgumentError {
    /// Nothing where something must follow.
    Missing(&'static [Node]),
    /// No such word.
    Unknown(String, &'static [Node]),
    /// A prefix of several words.
    Ambiguous(String, &'static [Node]),
    /// More words than the command has.
    Superfluous(String),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match self {
            ArgumentError::Missing(nodes) => {
                write!(f, "missing argument:")?;
                nodes
            }
            ArgumentError::Unknown(text, nodes) => {
                write!(f, "unknown argument: {text}")?;
                nodes
            }
            ArgumentError::Ambiguous(text, nodes) => {
                write!(f, "ambiguous argument: {text}")?;
                nodes
            }
            ArgumentError::Superfluous(text) => return write!(f, "superfluous argument: {text}"),
        };
        write!(f, "\nvalid commands/args:")?;
        // Below one of our own words there is nothing of the original to list.
        let ours_only = nodes.iter().all(|n| n.addition);
        for node in nodes.iter().filter(|n| ours_only || !n.addition) {
            let (Word::Keyword(text) | Word::Value(text)) = node.word;
            write!(f, "\n  {text}")?;
        }
        Ok(())
    }
}

/// Finds the command that `words` mean.
pub fn parse(words: &[String]) -> Result<(Verb, Vec<String>), ArgumentError> {
    let mut nodes = COMMANDS;
    let mut arguments = Vec::new();
    let mut words = words.iter();
    loop {
        let text = words.next().ok_or(ArgumentError::Missing(nodes))?;
        let node = choose(nodes, text)?;
        if matches!(node.word, Word::Value(_)) {
            arguments.push(text.clone());
        }
        match node.next {
            Next::One(more) => nodes = more,
            Next::End(verb) => {
                return match words.next() {
                    None => Ok((verb, arguments)),
                    Some(text) => Err(ArgumentError::Superfluous(text.clone())),
                };
            }
            Next::Maybe(verb, more) => {
                let mut rest = words.clone();
                match rest.next() {
                    None => return Ok((verb, arguments)),
                    Some(text) if choose(more, text).is_ok() => nodes = more,
                    Some(text) => return Err(ArgumentError::Superfluous(text.clone())),
                }
            }
        }
    }
}

fn choose(nodes: &'static [Node], text: &str) -> Result<&'static Node, ArgumentError> {
    let exact = nodes
        .iter()
        .find(|n| matches!(n.word, Word::Keyword(keyword) if keyword == text));
    if let Some(node) = exact {
        return Ok(node);
    }
    let mut fitting = nodes.iter().filter(|node| match node.word {
        Word::Keyword(keyword) => !node.addition && keyword.starts_with(text),
        Word::Value(_) => !text.is_empty(),
    });
    match (fitting.next(), fitting.next()) {
        (Some(node), None) => Ok(node),
        (None, _) => Err(ArgumentError::Unknown(text.to_owned(), nodes)),
        (Some(_), Some(_)) => Err(ArgumentError::Ambiguous(text.to_owned(), nodes)),
    }
}
