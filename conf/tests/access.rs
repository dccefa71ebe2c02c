//! `log access` in relays: every form survives being printed, and mistakes are named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::model::{AccessForm, AccessLog, AccessTarget};
use std::path::Path;

fn load(line: &str) -> conf::Loaded {
    let text = format!(
        "relay \"www\" {{\n\tlisten on 127.0.0.1 port 80\n\tforward to 127.0.0.1 port 81\n\t{line}\n}}\n"
    );
    conf::load(
        Path::new("x.conf"),
        &[],
        &support::Text(&text),
        &support::System,
    )
}

#[test]
fn every_form_is_understood_and_printed_as_it_was() {
    let log = |form, target| AccessLog {
        form,
        query: false,
        headers: Vec::new(),
        target,
    };
    let file = || AccessTarget::File("/var/log/www".into());
    for (line, wanted) in [
        (
            "log access",
            log(AccessForm::Combined, AccessTarget::Syslog),
        ),
        (
            "log access json",
            log(AccessForm::Json, AccessTarget::Syslog),
        ),
        (
            "log access combined to journald",
            log(AccessForm::Combined, AccessTarget::Journald),
        ),
        (
            "log access to file \"/var/log/www\"",
            log(AccessForm::Combined, file()),
        ),
        (
            "log access json with query with header \"X-Id\" with header \"x-id\" with header Via to file \"/var/log/www\"",
            AccessLog {
                query: true,
                headers: vec!["X-Id".to_owned(), "Via".to_owned()],
                ..log(AccessForm::Json, file())
            },
        ),
    ] {
        let loaded = load(line);
        assert!(
            support::lines(&loaded).is_empty(),
            "{:?}",
            support::lines(&loaded)
        );
        let config = loaded.config.unwrap();
        assert_eq!(config.relays[0].access.as_ref(), Some(&wanted), "{line}");
        support::round_trip(&config, line);
    }
    assert_eq!(load("disable").config.unwrap().relays[0].access, None);
}

#[test]
fn mistakes_are_named() {
    for (line, text) in [
        (
            "log access to file \"www.log\"",
            "invalid path of an access log",
        ),
        ("log access with header \"a b\"", "invalid header field"),
        ("log access with cookies", "syntax error"),
        ("log access to nowhere", "syntax error"),
        ("log connection", "syntax error"),
    ] {
        let loaded = load(line);
        assert!(loaded.config.is_none(), "{line}");
        let all = support::lines(&loaded).join("\n");
        assert!(all.contains(&format!("x.conf:4: {text}")), "{line}: {all}");
    }
}
