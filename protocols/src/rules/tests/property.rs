//! Properties of any set of rules.

use super::*;

fn any_rule() -> impl Strategy<Value = Rule> {
    let kind = prop_oneof![
        Just(Header),
        Just(Cookie),
        Just(Path),
        Just(Query),
        Just(Url)
    ];
    let op = prop_oneof![4 => Just(Test), 1 => Just(Log), 1 => Just(Hash), 1 => Just(Set), 1 => Just(Remove), 1 => Just(Append)];
    let name = prop_oneof![
        Just("Host"),
        Just("X-Test"),
        Just("sid"),
        Just("/a/b"),
        Just("/a/*"),
        Just("*"),
        Just("x"),
        Just("example.com/"),
        Just("X-*"),
        Just("nothing"),
        Just("/a/?"),
        Just("/c/*"),
    ];
    let value = prop_oneof![
        Just(None),
        Just(Some("yes")),
        Just(Some("7")),
        Just(Some("w*")),
        Just(Some("1"))
    ];
    let keys = proptest::collection::vec((kind, op, name, value), 0..3);
    let action = prop_oneof![Just(Match), Just(Pass), Just(Block)];
    let tag = prop_oneof![2 => Just(None), 1 => Just(Some("t")), 1 => Just(Some("u"))];
    (action, any::<bool>(), keys, tag.clone(), tag, any::<bool>()).prop_map(
        |(action, quick, keys, tag, tagged, get)| {
            rule(action, |r| {
                r.quick = quick && action != Match;
                r.tag = tag.map_or(Change::Keep, |t| Change::Set(t.to_owned()));
                r.tagged = tagged.map(str::to_owned);
                r.method = get.then(|| "GET".to_owned());
                r.keys = keys
                    .into_iter()
                    .map(|(k, o, n, v)| key(k, o, n, v))
                    .collect();
            })
        },
    )
}

proptest! {
    /// The index only saves time: with it or without, the same comes out.
    #[test]
    fn the_index_never_changes_a_verdict(
        rules in proptest::collection::vec(any_rule(), 0..90),
        wire in prop_oneof![
            Just(GET), Just("GET /c/d HTTP/1.1||"), Just("POST /a/z?x=1 HTTP/1.1|Host: a.example.com|X-Other: yes||"),
            Just("GET / HTTP/1.1|Host: ||"),
        ],
    ) {
        let mut with = Relay::new(&rules);
        let mut without = Relay::new(&rules);
        let all = super::index::Index::all(&without.set.request.rules);
        without.set.request.index = all;
        prop_assert_eq!(with.message(wire), without.message(wire));
        prop_assert_eq!(with.message(GET), without.message(GET));
    }
}
