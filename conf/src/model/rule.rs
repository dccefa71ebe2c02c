//! Filter rules of a protocol.
//! Owns one rule as written, ready to be compiled.
//! Must never be walked per request: relays compile rules once at load.

use super::check::Digest;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// `ACTION [request|response] [quick] [inet|inet6] [from …] [to …] [OPTION …]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Line of the statement, for messages and the rule log.
    pub line: u32,
    /// What happens on a match.
    pub action: Action,
    /// Which messages are looked at.
    pub direction: Direction,
    /// Stop at this rule.
    pub quick: bool,
    /// Address family, if restricted.
    pub family: Option<Family>,
    /// Peer of the message.
    pub from: Option<IpNetwork>,
    /// Local address the client connected to.
    pub to: Option<IpNetwork>,
    /// Request method.
    pub method: Option<String>,
    /// Conditions and actions by key; at most one per type.
    pub keys: Vec<Key>,
    /// `path strip N`
    pub strip: Option<u32>,
    /// `forward to <table>`: template name.
    pub forward: Option<String>,
    /// `tag "T"`, `no tag`
    pub tag: Change,
    /// `tagged "T"`
    pub tagged: Option<String>,
    /// `label "L"`, `no label`
    pub label: Change,
    /// Values compare without regard to case, keys exactly (rules of relayd 5.5 and before).
    pub legacy: Option<Legacy>,
}

/// Verdict of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let pass.
    Pass,
    /// Refuse with 403.
    Block,
    /// Only change.
    Match,
}

/// Direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Client to server.
    Request,
    /// Server to client.
    Response,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4
    Inet,
    /// IPv6
    Inet6,
}

/// A tag or label: kept, set or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Not mentioned.
    #[default]
    Keep,
    /// `no tag`, `no label`
    Clear,
    /// `tag "T"`, `label "L"`
    Set(String),
}

/// One `header|cookie|path|query|url …` option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What is looked at.
    pub kind: KeyKind,
    /// Condition or action.
    pub op: KeyOp,
    /// Which names, and for `url` which addresses.
    pub pattern: Pattern,
    /// Value glob or new value; `None` = `*`.
    pub value: Option<String>,
    /// `pattern` keyword: key and value are Lua-style patterns instead of globs.
    pub lua: bool,
}

/// Type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    /// Header field.
    Header,
    /// Cookie.
    Cookie,
    /// Path of the request target; its value is the query string.
    Path,
    /// Query parameter.
    Query,
    /// Host and path prefix.
    Url,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOp {
    /// Condition.
    Test,
    /// Add.
    Append,
    /// Replace.
    Set,
    /// Delete.
    Remove,
    /// Feed into the relay's hash.
    Hash,
    /// Add to the session's log line.
    Log,
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// No key: always true.
    Any,
    /// One key.
    One(String),
    /// Keys read from a file at load; one look-up whatever their number.
    File {
        /// Path as written.
        path: String,
        /// First words of its lines.
        keys: Vec<String>,
    },
    /// `url digest "HEX"`
    Digest(Digest),
}

/// Semantics of the actions of relayd 4.3 to 5.5 (`expect`, `filter`, `mark` …).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Legacy {
    /// `expect`: one of all rules with the same kind and key must match, else 403.
    Expect,
    /// `filter`: refuse when it matches.
    Filter,
    /// `append`: merge into the existing line.
    Append,
    /// Any other old action.
    Other,
}
