//! Every file of conf/examples is a good configuration, without a warning.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

#[test]
fn examples_are_accepted_without_a_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let loaded = conf::load(
            Path::new(&name),
            &[],
            &support::Directory::new("examples"),
            &support::System,
        );
        let messages: Vec<_> = loaded
            .diagnostics
            .list()
            .iter()
            .map(|d| d.render(&loaded.sources, false))
            .collect();
        assert!(messages.is_empty(), "{}", messages.join("\n"));
        assert!(loaded.config.is_some());
    }
}

#[test]
fn limits_of_clients_survive_being_written_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/limits.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let load = |text: &str| {
        let path = Path::new("relayd.conf");
        let loaded = conf::load(path, &[], &support::Text(text), &support::System);
        loaded.config.unwrap()
    };
    let config = load(&text);
    let relay = &config.relays[0];
    assert_eq!(relay.session_max.all, Some(20_000));
    assert_eq!(relay.session_max.client, Some(50));
    let http = &config.protocol(relay.protocol).unwrap().http;
    assert_eq!((http.body_timeout.as_secs(), http.body_rate), (20, 200));
    let dumped = conf::dump(&config);
    for line in [
        "session max 20000",
        "session max per client 50",
        "http body timeout 20",
        "http body rate 200",
    ] {
        assert!(dumped.contains(line), "{line} is not in\n{dumped}");
    }
    assert_eq!(load(&dumped).relays, config.relays);
    let changed = load(&text.replace("per client 50", "per client 51"));
    assert_eq!(conf::diff(&config, &changed).relays.changed, [relay.id]);
}
