//! The wire format against the tables of the original, round trips, and garbage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::extension::{Answer, Ask, Event, Named, Object, Statistics, Topic};
use super::record::*;
use super::request::Class;
use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

fn u32_at(image: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(image[offset..offset + 4].try_into().unwrap())
}

fn u64_at(image: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(image[offset..offset + 8].try_into().unwrap())
}

fn u16_at(image: &[u8], offset: usize) -> u16 {
    u16::from_ne_bytes(image[offset..offset + 2].try_into().unwrap())
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn message_numbers_are_those_of_openbsd_6_1_and_later() {
    assert_eq!(
        kind::ALL,
        &[
            1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 27,
            28, 29, 30, 37, 38
        ]
    );
    assert!(kind::ALL.iter().all(|k| *k < extension::FIRST));
}

#[test]
fn small_images_have_the_offsets_of_the_original() {
    let image = ObjectId::Name("web:80".to_owned()).to_image();
    assert_eq!(image.len(), 68);
    assert_eq!(u32_at(&image, 0), u32::MAX);
    assert_eq!(&image[4..11], b"web:80\0");
    assert_eq!(u32_at(&ObjectId::Id(7).to_image(), 0), 7);

    let status = StatusRecord {
        id: 3,
        up: -1,
        retries: 5,
        checks: 6,
        reason: 9,
    };
    let image = status.to_image();
    assert_eq!(image.len(), 32);
    assert_eq!(u32_at(&image, 0), 3);
    assert_eq!(u32_at(&image, 4) as i32, -1);
    assert_eq!(u32_at(&image, 8), 5);
    assert_eq!(u64_at(&image, 16), 6);
    assert_eq!(u16_at(&image, 24), 9);

    let statistics = StatisticsRecord {
        id: 1,
        process: 2,
        interval: 60,
        total: 4,
        tick: 5,
        average: 6,
        last: 7,
        average_hour: 8,
        last_hour: 9,
        average_day: 10,
        last_day: 11,
    };
    let image = statistics.to_image();
    assert_eq!(image.len(), 56);
    assert_eq!(u64_at(&image, 8), 60);
    assert_eq!(u64_at(&image, 16), 4);
    for (offset, value) in [
        (0, 1),
        (4, 2),
        (24, 5),
        (28, 6),
        (32, 7),
        (36, 8),
        (40, 9),
        (44, 10),
        (48, 11),
    ] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
}

#[test]
fn redirect_and_table_images_have_the_offsets_of_the_original() {
    let image = RedirectRecord {
        id: 1,
        flags: 2,
        port: 0x0102,
        table: 3,
        backup: 4,
        name: "www".to_owned(),
        tag: "T".to_owned(),
        timeout: Duration::from_micros(600_000_005),
    }
    .to_image();
    assert_eq!(image.len(), 256);
    assert_eq!((u32_at(&image, 16), u32_at(&image, 20)), (1, 2));
    assert_eq!(&image[24..26], &[1, 2]);
    assert_eq!((u32_at(&image, 28), u32_at(&image, 32)), (3, 4));
    assert_eq!(&image[56..60], b"www\0");
    assert_eq!(&image[88..90], b"T\0");
    assert_eq!((u64_at(&image, 152), u64_at(&image, 160)), (600, 5));

    let image = TableRecord {
        id: 1,
        redirect: 2,
        flags: 3,
        check: 4,
        demote: "carp".to_owned(),
        timeout: Duration::from_millis(200),
        port: 80,
        name: "web:80".to_owned(),
        up: 5,
    }
    .to_image();
    assert_eq!(image.len(), 1672);
    for (offset, value) in [(16, 1), (20, 2), (24, 3), (28, 4), (1624, 5)] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(&image[32..37], b"carp\0");
    assert_eq!(u64_at(&image, 72), 200_000);
    assert_eq!(&image[80..82], &[0, 80]);
    assert_eq!(&image[92..99], b"web:80\0");
    assert_eq!(u64_at(&image, 160), 6);
}

#[test]
fn host_and_relay_images_have_the_offsets_of_the_original() {
    let image = HostRecord {
        id: 1,
        parent: 2,
        table: 3,
        retry: 4,
        name: "10.0.0.1".to_owned(),
        address: address("10.0.0.1:0"),
        ttl: 5,
        priority: 6,
        flags: 7,
        up: -1,
        checks: 8,
        ups: 9,
        retries: 10,
        reason: 11,
        http_code: 12,
    }
    .to_image();
    assert_eq!(image.len(), 840);
    for (offset, value) in [
        (48, 1),
        (52, 2),
        (56, 3),
        (60, 4),
        (576, 5),
        (580, 6),
        (584, 7),
        (600, u32::MAX),
        (604, u32::MAX),
        (624, 10),
        (636, 12),
    ] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(&image[64..73], b"10.0.0.1\0");
    assert_eq!(&image[324..328], &[10, 0, 0, 1]);
    assert_eq!((u64_at(&image, 608), u64_at(&image, 616)), (8, 9));
    assert_eq!(u16_at(&image, 632), 11);
    assert!(
        image[..48].iter().all(|b| *b == 0),
        "list pointers are zeros"
    );

    let image = RelayRecord {
        id: 1,
        flags: 2,
        protocol: 3,
        name: "www".to_owned(),
        listen: address("127.0.0.1:8080"),
        target: address("[::1]:80"),
        retry: 4,
        timeout: Duration::from_secs(600),
        up: 5,
    }
    .to_image();
    assert_eq!(image.len(), 3360);
    for (offset, value) in [(16, 1), (20, 2), (24, 3), (288, 4), (1112, 5)] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(&image[28..32], b"www\0");
    assert_eq!(&image[284..288], &[0x1f, 0x90, 0, 80]);
    assert_eq!(&image[300..304], &[127, 0, 0, 1]);
    assert_eq!(image[552 + 8 + 15], 1);
    assert_eq!(u64_at(&image, 1064), 600);
}

#[test]
fn router_and_session_images_have_the_offsets_of_the_original() {
    let image = RouterRecord {
        id: 1,
        flags: 2,
        name: "r".to_owned(),
        label: "l".to_owned(),
        routes: 3,
        table: 4,
        port: 5,
        rtable: 6,
    }
    .to_image();
    assert_eq!(image.len(), 360);
    for (offset, value) in [(0, 1), (4, 2), (296, 3), (300, 4), (308, 6)] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(
        (&image[8..10], &image[264..266]),
        (&b"r\0"[..], &b"l\0"[..])
    );
    assert_eq!(&image[304..306], &[0, 5]);

    let image = RouteRecord {
        id: 1,
        address: Some("192.0.2.0".parse().unwrap()),
        prefix: 24,
        router: 2,
    }
    .to_image();
    assert_eq!(image.len(), 312);
    for (offset, value) in [(0, 1), (264, 24), (268, 2)] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(&image[12..16], &[192, 0, 2, 0]);

    let image = SessionRecord {
        id: 1,
        relay: 2,
        client: address("127.0.0.1:4000"),
        server: address("127.0.0.2:80"),
        started: Duration::from_micros(5_000_006),
        last: Duration::from_micros(7_000_008),
        done: true,
        tag: 9,
        pid: 10,
    }
    .to_image();
    assert_eq!(image.len(), 1520);
    for (offset, value) in [(0, 1), (4, 2), (1424, 1), (1484, 10)] {
        assert_eq!(u32_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(&image[268..270], &4000u16.to_be_bytes());
    assert_eq!(&image[276..280], &[127, 0, 0, 1]);
    assert_eq!(&image[660..662], &80u16.to_be_bytes());
    assert_eq!(&image[668..672], &[127, 0, 0, 2]);
    for (offset, value) in [(1264, 5), (1272, 6), (1280, 7), (1288, 8)] {
        assert_eq!(u64_at(&image, offset), value, "offset {offset}");
    }
    assert_eq!(u16_at(&image, 1476), 9);
}

#[cfg(target_os = "linux")]
#[test]
fn addresses_are_those_of_this_platform() {
    let image = RouteRecord {
        address: Some("2001:db8::1".parse().unwrap()),
        ..RouteRecord::default()
    }
    .to_image();
    assert_eq!(&image[8..10], &10u16.to_ne_bytes());
    assert_eq!(&image[16..18], &[0x20, 0x01]);
}

#[test]
fn statistics_of_many_processes_keep_their_sum() {
    let one = StatisticsRecord {
        id: 4,
        interval: 60,
        total: 2,
        last: 1,
        ..StatisticsRecord::default()
    };
    for count in [0, 1, 32, 33, 64] {
        let image = StatisticsRecord::list_to_image(&vec![one; count]);
        assert_eq!(image.len(), 1848);
        let list = StatisticsRecord::list_from_payload(30, &image).unwrap();
        assert_eq!(list.len(), count.min(32));
        assert_eq!(StatisticsRecord::sum(&list).total, 2 * count as u64);
    }
}

#[test]
fn a_wrong_size_is_refused_and_an_unknown_number_told_apart() {
    let short = Frame::new(kind::HOST_DISABLE, 1, vec![0; 67]);
    assert_eq!(
        Request::from_frame(&short),
        Err(ControlError::Size {
            kind: 22,
            length: 67,
            expected: 68
        })
    );
    let long = Frame::new(kind::HOST_DISABLE, 1, vec![0; 69]);
    assert!(Request::from_frame(&long).is_err());
    assert!(Request::from_frame(&Frame::new(kind::VERBOSE, 1, vec![0; 3])).is_err());
    assert!(Request::from_frame(&Frame::new(kind::POLL, 1, vec![0])).is_err());
    assert!(Request::from_frame(&Frame::new(kind::RELOAD, 1, b"a\0b".to_vec())).is_err());
    assert_eq!(
        Request::from_frame(&Frame::new(99, 1, Vec::new())),
        Err(ControlError::Unknown(99))
    );
    let newer = Frame::new(
        extension::FIRST,
        1,
        br#"{"version":2,"body":"hosts"}"#.to_vec(),
    );
    assert!(matches!(
        Request::from_frame(&newer),
        Err(ControlError::Extension { .. })
    ));
    let mut host = HostRecord::default().to_image();
    host[600] = 7;
    assert_eq!(
        Reply::from_frame(&Frame::new(kind::HOST, 1, host)),
        Err(ControlError::Value {
            kind: 8,
            field: "status",
            value: 7
        })
    );
}

#[test]
fn a_number_is_an_id_and_anything_else_a_name() {
    assert_eq!(ObjectId::from_word("0"), ObjectId::Id(0));
    assert_eq!(ObjectId::from_word("4294967294"), ObjectId::Id(4294967294));
    for name in ["4294967296", "+1", "-1", "1x", "10.0.0.1", ""] {
        assert_eq!(ObjectId::from_word(name), ObjectId::Name(name.to_owned()));
    }
    let long = "x".repeat(100);
    assert_eq!(ObjectId::from_word(&long), ObjectId::Name("x".repeat(63)));
}

fn text(max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::char::range('!', '~'), 0..max).prop_map(|v| v.into_iter().collect())
}

fn some_address() -> impl Strategy<Value = Option<SocketAddr>> {
    prop_oneof![
        Just(None),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Some(SocketAddr::from((ip, port)))),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Some(SocketAddr::from((ip, port)))),
    ]
}

fn object_id() -> impl Strategy<Value = ObjectId> {
    prop_oneof![
        (0..u32::MAX).prop_map(ObjectId::Id),
        text(64).prop_map(ObjectId::Name),
    ]
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Redirect), Just(Class::Table), Just(Class::Host)]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::ShowSummary),
        Just(Request::ShowSessions),
        (class(), object_id(), any::<bool>()).prop_map(|(class, object, enable)| {
            Request::Switch {
                class,
                object,
                enable,
            }
        }),
        Just(Request::Poll),
        Just(Request::Monitor),
        prop::option::of(text(200).prop_filter("not empty", |t| !t.is_empty()))
            .prop_map(|file| Request::Reload(file.map(Into::into))),
        Just(Request::Stop),
        any::<i32>().prop_map(Request::Verbose),
        Just(Request::Extension(Ask::Show(Topic::Hosts))),
        prop::option::of(text(200))
            .prop_map(|f| Request::Extension(Ask::Reload(f.map(Into::into)))),
        Just(Request::Extension(Ask::Subscribe)),
        Just(Request::Extension(Ask::Purge)),
        (any::<u32>(), any::<u32>())
            .prop_map(|(pid, session)| Request::Extension(Ask::KillSession { pid, session })),
        (object_id(), any::<bool>())
            .prop_map(|(host, drain)| Request::Extension(Ask::Drain { host, drain })),
        (object_id(), any::<bool>())
            .prop_map(|(relay, enable)| Request::Extension(Ask::SwitchRelay { relay, enable })),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Ok),
        Just(Reply::Fail),
        Just(Reply::End),
        Just(Reply::Sync),
        (any::<[u32; 4]>(), text(31), text(63)).prop_map(|(n, name, tag)| {
            Reply::Redirect(RedirectRecord {
                id: n[0],
                flags: n[1],
                port: 7,
                table: n[2],
                backup: n[3],
                name,
                tag,
                timeout: Duration::from_secs(600),
            })
        }),
        (any::<[u32; 3]>(), text(63), text(15)).prop_map(|(n, name, demote)| {
            Reply::Table(TableRecord {
                id: n[0],
                redirect: n[1],
                flags: n[2],
                check: 2,
                demote,
                timeout: Duration::from_millis(200),
                port: 80,
                name,
                up: 3,
            })
        }),
        (any::<[u32; 5]>(), text(255), -1..=1i32, some_address()).prop_map(
            |(n, name, up, address)| {
                Reply::Host(HostRecord {
                    id: n[0],
                    parent: n[1],
                    table: n[2],
                    retry: 1,
                    name,
                    address,
                    ttl: 2,
                    priority: 3,
                    flags: n[3],
                    up,
                    checks: 9,
                    ups: 8,
                    retries: n[4],
                    reason: 7,
                    http_code: 200,
                })
            }
        ),
        (
            any::<[u32; 4]>(),
            some_address(),
            some_address(),
            any::<bool>()
        )
            .prop_map(|(n, client, server, done)| {
                Reply::Session(SessionRecord {
                    id: n[0],
                    relay: n[1],
                    client,
                    server,
                    started: Duration::from_secs(u64::from(n[2])),
                    last: Duration::from_micros(17),
                    done,
                    tag: 4,
                    pid: n[3],
                })
            }),
        (class(), object_id(), any::<bool>()).prop_map(|(class, object, enable)| {
            Reply::Switched {
                class,
                object,
                enable,
            }
        }),
        (0..u32::MAX).prop_map(Reply::TableChanged),
        (0..u32::MAX).prop_map(Reply::PushRuleset),
        (any::<u64>(), any::<bool>()).prop_map(|(generation, accepted)| Reply::Extension(
            Answer::Verdict {
                accepted,
                generation
            }
        )),
        text(500).prop_map(|t| Reply::Extension(Answer::Message(t))),
        text(40).prop_map(|name| Reply::Extension(Answer::Event(Event::Switched {
            class: "host".to_owned(),
            object: Named::Name(name),
            action: "drain".to_owned(),
        }))),
        text(40).prop_map(
            |name| Reply::Extension(Answer::Object(Box::new(Object::Redirect {
                id: 1,
                name,
                status: "active".to_owned(),
                disabled: false,
                listen: vec!["127.0.0.1:80".to_owned()],
                table: 1,
                backup: None,
                active_table: Some(1),
                mode: "roundrobin".to_owned(),
                statistics: Statistics::default(),
                shares: Vec::new(),
            })))
        ),
    ]
}

proptest! {
    #[test]
    fn requests_survive_the_wire(request in request(), pid in any::<u32>()) {
        let mut decoder = Decoder::new();
        decoder.push(&request.to_frame(pid).to_bytes());
        let frame = decoder.next_frame().unwrap().unwrap();
        prop_assert_eq!(Request::from_frame(&frame), Ok(request));
    }

    #[test]
    fn replies_survive_the_wire(reply in reply()) {
        let mut decoder = Decoder::new();
        decoder.push(&reply.to_frame(1).to_bytes());
        let frame = decoder.next_frame().unwrap().unwrap();
        prop_assert_eq!(Reply::from_frame(&frame), Ok(reply));
    }

    #[test]
    fn any_payload_is_judged_without_panic(number in prop_oneof![0u32..50, 0x1_0000u32..0x1_0010, 0x1_8000u32..0x1_8010, any::<u32>()],
        payload in prop::collection::vec(any::<u8>(), 0..4000)) {
        let frame = Frame::new(number, 0, payload);
        let _ = Request::from_frame(&frame);
        let _ = Reply::from_frame(&frame);
    }

    #[test]
    fn long_names_are_cut_not_spilled(name in text(600)) {
        let image = HostRecord { name: name.clone(), ..HostRecord::default() }.to_image();
        prop_assert_eq!(image[64 + 255], 0);
        prop_assert_eq!(&image[320..], &HostRecord::default().to_image()[320..]);
    }

    #[test]
    fn a_long_parser_message_fits_one_frame(text in "\\PC{0,9000}") {
        let frame = Reply::Extension(Answer::Message(text)).to_frame(1);
        prop_assert!(!frame.to_bytes().is_empty());
    }
}
