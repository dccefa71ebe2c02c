//! The reserved words of relayd.conf.
//! Owns the one list that lexer, suggestions and the manual's test read.
//! Must never hold a word that the grammar does not use, except those reserved without use.

/// Reserved words, sorted. `ocsp` is accepted (the original documents it and forgot it here);
/// it is not reserved, so that names stay free.
pub const KEYWORDS: &[&str] = &[
    "agentx",
    "append",
    "backlog",
    "backup",
    "binary",
    "block",
    "buffer",
    "ca",
    "cache",
    "cert",
    "changes",
    "check",
    "checks",
    "ciphers",
    "client",
    "code",
    "connection",
    "context",
    "cookie",
    "demote",
    "destination",
    "digest",
    "disable",
    "ecdhe",
    "edh",
    "error",
    "errors",
    "expect",
    "external",
    "file",
    "forward",
    "from",
    "hash",
    "header",
    "headerlen",
    "host",
    "http",
    "icmp",
    "include",
    "inet",
    "inet6",
    "interface",
    "interval",
    "ip",
    "key",
    "keypair",
    "label",
    "least-states",
    "listen",
    "loadbalance",
    "log",
    "lookup",
    "match",
    "method",
    "mode",
    "nat",
    "no",
    "nodelay",
    "nothing",
    "on",
    "params",
    "parent",
    "pass",
    "password",
    "path",
    "pflog",
    "pftag",
    "port",
    "prefork",
    "priority",
    "protocol",
    "proxy-protocol",
    "query",
    "quick",
    "random",
    "real",
    "redirect",
    "relay",
    "remove",
    "request",
    "response",
    "retry",
    "return",
    "roundrobin",
    "route",
    "router",
    "rtable",
    "rtlabel",
    "sack",
    "script",
    "send",
    "session",
    "set",
    "socket",
    "source-hash",
    "splice",
    "state",
    "sticky-address",
    "strip",
    "style",
    "table",
    "tag",
    "tagged",
    "tcp",
    "tickets",
    "timeout",
    "tls",
    "to",
    "transparent",
    "ttl",
    "url",
    "v1",
    "v2",
    "value",
    "websockets",
    "with",
];

/// Words with a meaning that are not reserved: the original's free words, and ours.
pub const EXTENSIONS: &[&str] = &[
    "access",
    "body",
    "combined",
    "connections",
    "dns",
    "escaped",
    "filter",
    "head",
    "https",
    "journald",
    "json",
    "least-connections",
    "legacy",
    "masquerade",
    "max",
    "minttl",
    "ocsp",
    "pattern",
    "per",
    "pool",
    "queue",
    "rate",
    "slow",
    "start",
    "sticky",
    "syslog",
    "trap",
    "udp",
    "wait",
    "weight",
];

/// The reserved word equal to `word`.
pub fn find(word: &str) -> Option<&'static str> {
    // Most words are addresses and names: a look at one letter spares the search.
    if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    KEYWORDS
        .binary_search(&word)
        .ok()
        .and_then(|i| KEYWORDS.get(i).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_so_that_look_up_works() {
        assert!(KEYWORDS.is_sorted());
        assert_eq!(find("least-states"), Some("least-states"));
        assert_eq!(find("tcpx"), None);
    }
}
