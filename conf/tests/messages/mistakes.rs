//! Files with one mistake each, and the words of the original for it, by subject.
//! Owns what is wrong with them: everything else in them is right.

use crate::protocols;

/// A protocol block with one line, used by nobody.
pub fn protocol(kind: &str, line: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\n{kind} protocol p {{\n{line}\n}}\n")
}

pub fn relay(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nrelay r {{\nlisten on 127.0.0.1 port 1\n{lines}\n}}\n")
}

pub fn redirect(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nredirect r {{\nlisten on 192.0.2.1 port 80\n{lines}\n}}\n")
}

pub fn router(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nrouter r {{\n{lines}\n}}\n")
}

pub fn check(option: &str) -> String {
    relay(&format!("forward to <t> port 80 {option}"))
}

pub fn x(n: usize) -> String {
    "x".repeat(n)
}

fn globals_and_tables() -> Vec<(String, String)> {
    said(vec![
        (
            format!("agentx context \"{}\"\n", x(32)),
            "agentx context too long",
        ),
        (
            format!("agentx path \"{}\"\n", x(200)),
            "agentx path too long",
        ),
        ("interval -1\n".into(), "invalid interval: -1"),
        ("timeout -1\n".into(), "invalid timeout: -1"),
        (
            "prefork 65\n".into(),
            "invalid number of preforked relays: 65",
        ),
        (
            "interval 99999999999999999999\n".into(),
            "\"99999999999999999999\" invalid number: too large",
        ),
        (
            "\"a b\" = \"c\"\n".into(),
            "macro name cannot contain whitespace",
        ),
        ("interval $nope\n".into(), "macro 'nope' not defined"),
        (
            "include \"nope\"\ninclude\n".into(),
            "failed to include file nope",
        ),
        (
            "socket \"x\n".into(),
            "reached end of file while parsing quoted string",
        ),
        (format!("socket \"{}\"\n", x(9000)), "string too long"),
        (
            "table <t> { nosuch.example }\n".into(),
            "invalid host nosuch.example",
        ),
        (
            format!("table <t> {{ {} }}\n", x(256)),
            "host name truncated",
        ),
        (
            "table <t> { 127.0.0.1 }\ntable <t> { ::1 }\n".into(),
            "table t defined twice",
        ),
        ("table <t> disable\n".into(), "table t has no hosts"),
        (
            format!("table <{}> {{ 127.0.0.1 }}\n", x(64)),
            "invalid table name",
        ),
        (
            "table <t> { 127.0.0.1 retry 1 retry 1 }\n".into(),
            "retry value already set",
        ),
        (
            "table <t> { 127.0.0.1 retry -1 }\n".into(),
            "invalid retry value: -1",
        ),
        (
            "table <t> { 127.0.0.1 parent 1 parent 1 }\n".into(),
            "parent value already set",
        ),
        (
            "table <t> { 127.0.0.1 parent -1 }\n".into(),
            "invalid parent value: -1",
        ),
        (
            "table <t> { 127.0.0.1 priority 1 priority 1 }\n".into(),
            "priority already set",
        ),
        (
            "table <t> { 127.0.0.1 priority 64 }\n".into(),
            "invalid priority value: 64",
        ),
        (
            "table <t> { 127.0.0.1 ip ttl 1 ip ttl 1 }\n".into(),
            "ttl value already set",
        ),
        (
            "table <t> { 127.0.0.1 ip ttl -1 }\n".into(),
            "invalid ttl value: -1",
        ),
    ])
}

fn checks_and_modes() -> Vec<(String, String)> {
    let long = x(1100);
    said(vec![
        (check("check nosuch"), "invalid check type: nosuch"),
        (check("check http \"/\" code 0"), "invalid HTTP code: 0"),
        (
            check("check http \"/\" digest \"00\""),
            "invalid http digest",
        ),
        (
            check(&format!("check send nothing expect \"{}\"", x(256))),
            "yyparse: expect buffer truncated",
        ),
        (
            check("check binary send \"\" expect \"00\""),
            "empty binary send data",
        ),
        (
            check("check binary send \"00\" expect \"\""),
            "empty binary expect data",
        ),
        (
            check("check binary send \"00\" expect \"zz\""),
            "failed in binary expect data buffer",
        ),
        (
            check(&format!(
                "check binary send \"00\" expect \"{}\"",
                "00".repeat(128)
            )),
            "expect buffer truncated",
        ),
        (
            check(&format!("check script \"{long}\"")),
            "script path truncated",
        ),
        (
            check("interval 7"),
            "table interval must be divisible by global interval",
        ),
        (check("timeout -1"), "invalid timeout: -1"),
        (
            check("demote abcdefghijklmnopq"),
            "yyparse: demote group name too long",
        ),
        (
            check("demote nosuch"),
            "yyparse: error initializing group 'nosuch'",
        ),
        (
            check("mode hash 0x00"),
            "hex key must be 128 bits (32 hex digits) long",
        ),
        (
            check(&format!("mode hash 0x{}", "zz".repeat(16))),
            "invalid hex key",
        ),
        (check("mode hash a mode hash b"), "key already specified"),
        (check("mode random a"), "key not supported by mode"),
        (check("mode least-states"), "mode not supported for relays"),
    ])
}

fn relays() -> Vec<(String, String)> {
    said(vec![
        (relay("forward to <nosuch> port 80"), "unknown table nosuch"),
        (relay("forward to <t> port 0"), "invalid port: 0"),
        (relay("forward to <t> port 1:2"), "invalid port"),
        (relay("forward to <t> port nosuch"), "unknown port nosuch"),
        (
            relay("listen on nosuch.example port 2"),
            "invalid listen ip: nosuch.example",
        ),
        (
            relay("listen on 192.0.2.99 port 2"),
            "no local listen ip: 192.0.2.99",
        ),
        (
            relay("forward to nosuch.example port 2"),
            "invalid forward ip: nosuch.example",
        ),
        (
            relay("forward to ::1 port 2 inet6 127.0.0.1"),
            "invalid ipv6 address 127.0.0.1",
        ),
        (relay("route to <t> port 80"), "no route for relays"),
        (relay("protocol nosuch"), "no such protocol: nosuch"),
        (
            relay("protocol default\nprotocol default"),
            "more than one protocol specified",
        ),
        (relay("session timeout -1"), "invalid timeout: -1"),
        (
            relay("session timeout 2147483648"),
            "timeout too large: 2147483648",
        ),
        (relay(""), "relay r has no target, rdr, or table"),
        (
            "relay r {\nforward to 127.0.0.1 port 1\n}\n".into(),
            "relay r has no listener",
        ),
        (
            relay("forward to 127.0.0.1 port 1\nforward to ::1 port 1"),
            "relay r target or redirection already specified",
        ),
        (
            relay("forward to nat lookup\nforward to destination"),
            "relay r with conflicting nat lookup and peer options",
        ),
        (
            relay("listen on 127.0.0.1 port 1\nforward to ::1 port 1"),
            "relay r or listener defined twice",
        ),
        (format!("relay {} {{\n}}\n", x(256)), "relay name truncated"),
    ])
}

fn redirects() -> Vec<(String, String)> {
    said(vec![
        (
            format!("redirect {} {{\n}}\n", x(32)),
            &*format!("redirection name truncated: {}", x(32)),
        ),
        (redirect(""), "redirection r has no table"),
        (
            "table <t> { 127.0.0.1 }\nredirect r {\nforward to <t> port 80 check tcp\n}\n".into(),
            "redirection r has no virtual ip",
        ),
        (
            redirect("forward to <t> port 80"),
            "table t:80 has no check",
        ),
        (
            redirect(
                "forward to <t> check tcp\nforward to <t> check icmp\nforward to <t> check tls",
            ),
            "only one backup table is allowed",
        ),
        (
            redirect("forward to <t> port 80 check tcp\nforward to <t> port 81 check tcp"),
            "redirection r uses two different ports for its table and backup table",
        ),
        (
            redirect("forward to <t> check tcp\nforward to <t> mode random check tls"),
            "backup table for r with different mode",
        ),
        (
            redirect("forward to <t> mode loadbalance check tcp"),
            "mode not supported for redirections",
        ),
        (
            redirect("forward to <t> check tcp interface em0"),
            "superfluous interface",
        ),
        (
            redirect("route to <t> check tcp"),
            "missing interface to route to",
        ),
        (
            redirect(&format!("route to <t> check tcp interface {}", x(16))),
            "interface name truncated",
        ),
        (
            redirect("transparent forward to <t> check tcp"),
            "no transparent forward here",
        ),
        (
            redirect(&format!("pftag {}", x(64))),
            &*format!("redirection tag name truncated: {}", x(64)),
        ),
        (
            redirect("listen on nosuch.example port 80"),
            "invalid virtual ip: nosuch.example",
        ),
        (
            redirect("listen on 192.0.2.1 nosuch port 80"),
            "invalid protocol: nosuch",
        ),
        (
            format!(
                "{0}{0}",
                redirect("forward to <t> check tcp").replace("table <t> { 127.0.0.1 }\n", "")
            )
            .replacen("redirect", "table <t> { 127.0.0.1 }\nredirect", 1),
            "redirection r defined twice",
        ),
        (
            relay(&format!("forward to <{}> port 80", x(63)))
                .replace("<t>", &format!("<{}>", x(63))),
            "invalid table mame",
        ),
        (
            format!("table {} {{\nhost 127.0.0.1\n}}\n", x(64)),
            "table name truncated",
        ),
        (
            relay("listen on ::1 port 10000\nforward to ::1 port 1")
                .replace("relay r", &format!("relay {}", x(250))),
            "invalid relay name",
        ),
        ("bad protocol p { }\n".into(), "invalid protocol type: bad"),
    ])
}

fn routers() -> Vec<(String, String)> {
    said(vec![
        (
            format!("router {} {{\n}}\n", x(256)),
            "router name truncated",
        ),
        (
            router("forward to <t> check icmp"),
            "router r without routes",
        ),
        (
            router("route 10.0.0.0/8\nroute 2001:db8::/32"),
            "router r address family mismatch",
        ),
        (
            router("forward to <t> check icmp\nforward to <t> check tcp"),
            "router r table already specified",
        ),
        (
            router("rtable 1\nrtable 2"),
            "router r rtable already specified",
        ),
        (router("rtable 256"), "invalid rtable id 256"),
        (
            router(&format!("rtlabel {}", x(32))),
            "route label truncated",
        ),
        (
            format!(
                "{0}{0}",
                router("route 10.0.0.0/8\nforward to <t> check icmp")
            )
            .replacen("table <t> { 127.0.0.1 }\n", "", 1),
            "unknown table t",
        ),
        (
            "router r {\n}\nrouter r {\n}\n".into(),
            "router r defined twice",
        ),
    ])
}

pub fn said(cases: Vec<(String, &str)>) -> Vec<(String, String)> {
    let owned = |(text, message): (String, &str)| (text, message.to_owned());
    cases.into_iter().map(owned).collect()
}

/// All of them.
pub fn mistakes() -> Vec<(String, String)> {
    [
        globals_and_tables(),
        checks_and_modes(),
        relays(),
        redirects(),
        protocols::options(),
        protocols::rules(),
        routers(),
    ]
    .concat()
}
