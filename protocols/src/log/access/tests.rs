#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use proptest::prelude::*;

fn line<'a>(http: Option<Http<'a>>) -> Line<'a> {
    Line {
        session: SessionId {
            process: 0xab,
            number: 7,
        },
        began: Duration::from_micros(784_111_777_250_000),
        relay: "www",
        client: "192.0.2.1:4711".parse().unwrap(),
        server: Some("10.0.0.2:8080".parse().unwrap()),
        host: Some(("web:8080", "10.0.0.2")),
        http,
        bytes_in: 100,
        bytes_out: 900,
        times: Times {
            request: Some(Duration::from_micros(12)),
            connect: Some(Duration::from_millis(1)),
            first: Some(Duration::from_millis(20)),
            total: Duration::from_millis(1500),
        },
        tag: None,
        label: Some("a \"label\""),
        reason: "done",
    }
}

fn http<'a>(target: &'a str, headers: &'a [(String, String)]) -> Http<'a> {
    Http {
        request: 3,
        method: "GET",
        target,
        version: "HTTP/1.1",
        host: "example.org",
        referer: "",
        agent: "curl/8",
        headers,
        status: 200,
        body: 612,
    }
}

fn text(line: &Line<'_>, form: AccessForm) -> String {
    let mut out = Vec::new();
    line.write(form, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn combined_is_what_web_servers_write_and_more() {
    assert_eq!(
        text(&line(Some(http("/a?b=*", &[]))), AccessForm::Combined),
        "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b=* HTTP/1.1\" 200 612 \"-\" \"curl/8\" \
         id=0000000000ab-7-3 relay=\"www\" port=4711 server=10.0.0.2:8080 table=\"web:8080\" host=\"10.0.0.2\" \
         label=\"a %22label%22\" vhost=\"example.org\" in=100 out=900 request=0.000012 connect=0.001000 first=0.020000 \
         total=1.500000 reason=\"done\""
    );
    let session = text(&line(None), AccessForm::Combined);
    assert!(
        session.starts_with("192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"-\" 000 900 \"-\" \"-\" id=0000000000ab-7 "),
        "{session}"
    );
}

#[test]
fn json_has_all_members() {
    let headers = [("X-Key".to_owned(), "v".to_owned())];
    let value: serde_json::Value =
        serde_json::from_str(&text(&line(Some(http("/a", &headers))), AccessForm::Json)).unwrap();
    assert_eq!(value["id"], "0000000000ab-7-3");
    assert_eq!(value["session"], "0000000000ab-7");
    assert_eq!(value["time"], 784_111_777.25);
    assert_eq!(value["http"]["status"], 200);
    assert_eq!(value["http"]["referer"], serde_json::Value::Null);
    assert_eq!(value["http"]["headers"]["X-Key"], "v");
    assert_eq!(value["times"]["total"], 1.5);
    assert_eq!(value["label"], "a \"label\"");
}

#[test]
fn secrets_of_urls_are_hidden_unless_asked_for() {
    for (url, shown) in [
        ("/a", "/a"),
        ("/a?token=secret&x=1;y", "/a?token=*&x=*&*"),
        ("/a?secret", "/a?*"),
        ("/a?b=c#secret", "/a?b=*"),
        ("http://user:pass@h/a?b=c", "http://h/a?b=*"),
        ("/a\"b\\c\r\n\x7f", "/a%22b%5Cc%0D%0A%7F"),
    ] {
        assert_eq!(shown_url(url.as_bytes(), false), shown);
    }
    assert_eq!(shown_url(b"/a?token=secret", true), "/a?token=secret");
}

#[test]
fn journal_entries_are_fields() {
    let mut out = Vec::new();
    line(Some(http("/a", &[]))).write_journal(AccessForm::Combined, &mut out);
    let entry = String::from_utf8(out).unwrap();
    let mut lines = entry.lines();
    assert!(lines.next().unwrap().starts_with("MESSAGE=192.0.2.1 - - ["));
    assert!(
        lines.all(|l| l.split_once('=').is_some_and(|(name, _)| {
            name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        }))
    );
    assert!(entry.contains("\nRELAYD_REQUEST=0000000000ab-7-3\n"));
    assert!(entry.ends_with('\n'));
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_one_bounded_line(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        query in any::<bool>(),
    ) {
        let shown = shown_url(&bytes, query);
        let agent = shown_text(&bytes);
        let headers: Vec<_> = (0..16).map(|n| (format!("X-{n}"), agent.clone())).collect();
        let mut http = http(&shown, &headers);
        http.agent = &agent;
        http.referer = &shown;
        let line = line(Some(http));
        for form in [AccessForm::Combined, AccessForm::Json] {
            let text = text(&line, form);
            prop_assert!(text.len() <= limits::ACCESS_LINE_MAX, "{}", text.len());
            prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
        let text = text(&line, AccessForm::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(value["http"]["user_agent"].as_str().unwrap_or_default(), agent.as_str());
    }
}
