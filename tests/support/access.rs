//! Relays with an access log, and the lines that came of it.

use super::wait;
use serde_json::Value;
use std::path::Path;

/// Globals every test here wants.
pub const GLOBALS: &str = "interval 1\ntimeout 500\nlog connection\n";

/// A relay that speaks HTTP with an access log.
pub fn http_relay(at: u16, server: u16, log: &str) -> String {
    format!(
        "table <t> {{ 127.0.0.1 }}
http protocol web {{
	return error
	match request header set \"X-Request-Id\" value \"$REQUEST_ID\"
	match request path \"/tagged\" tag \"blue\" label \"lime\"
	block request path \"/blocked\" label \"not \\\"you\\\"\"
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	{log}
	forward to <t> port {server} check tcp
}}
"
    )
}

/// The lines of a file so far.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8(text).expect("ASCII");
    // What is being written just now counts the next time.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    text[..whole].lines().map(str::to_owned).collect()
}

/// Waits for `count` lines.
pub fn wait_lines(path: &Path, count: usize) -> Vec<String> {
    wait::until(&format!("{count} lines in {}", path.display()), || {
        let all = lines(path);
        (all.len() >= count).then_some(all)
    })
}

/// A line as JSON.
pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// A member of an object that is a text.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}
