//! Golden rows; the oracle is `tests/oracle/relayctl-transcript.txt` and the reference of relayctl's output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use crate::control::record::StatusRecord;
use crate::control::request::Class;

#[test]
fn heading_has_the_widths_of_the_original() {
    assert_eq!(
        heading(),
        "Id  \tType    \tName                    \tAvlblty\tStatus\n"
    );
}

#[test]
fn redirects_say_the_first_reason() {
    for (bits, status) in [
        (flags::DISABLE | flags::DOWN | flags::BACKUP, "disabled"),
        (flags::DOWN | flags::BACKUP, "down"),
        (flags::BACKUP, "active (using backup table)"),
        (flags::ACTIVE_RULESET, "active"),
    ] {
        let reply = Reply::Redirect(RedirectRecord {
            id: 1,
            flags: bits,
            name: "www".to_owned(),
            ..RedirectRecord::default()
        });
        let row = format!("1   \tredirect\twww                     \t       \t{status}\n");
        assert_eq!(show(Topic::Summary, &reply), row);
        assert_eq!(show(Topic::Redirects, &reply), row);
        for other in [Topic::Hosts, Topic::Relays, Topic::Routers] {
            assert_eq!(show(other, &reply), "");
        }
    }
}

#[test]
fn tables_count_their_hosts() {
    let reply = |bits, up| {
        Reply::Table(TableRecord {
            id: 12345,
            flags: bits,
            name: "a-table-name-longer-than-its-column:443".to_owned(),
            up,
            ..TableRecord::default()
        })
    };
    let row = |status: &str| {
        format!("12345\ttable   \ta-table-name-longer-than-its-column:443\t       \t{status}\n")
    };
    assert_eq!(
        show(Topic::Summary, &reply(flags::DISABLE, 3)),
        row("disabled")
    );
    assert_eq!(show(Topic::Hosts, &reply(0, 0)), row("empty"));
    assert_eq!(show(Topic::Hosts, &reply(0, 2)), row("active (2 hosts)"));
    assert_eq!(show(Topic::Redirects, &reply(0, 2)), "");
}

#[test]
fn hosts_show_counters_and_errors() {
    let mut record = HostRecord {
        id: 2,
        name: "127.0.0.2".to_owned(),
        up: -1,
        checks: 3,
        ups: 1,
        retries: 2,
        reason: 9,
        ..HostRecord::default()
    };
    let down = "2   \thost    \t127.0.0.2               \t33.33% \tdown\n";
    assert_eq!(show(Topic::Summary, &Reply::Host(record.clone())), down);
    assert_eq!(
        show(Topic::Hosts, &Reply::Host(record.clone())),
        format!("{down}\t        \ttotal: 1/3 checks, 2 retries, error: tcp connect failed\n")
    );
    record.reason = 99;
    assert!(show(Topic::Hosts, &Reply::Host(record.clone())).ends_with(", error: invalid\n"));
    record.up = 1;
    record.ups = 3;
    record.retries = 0;
    record.parent = 1;
    assert_eq!(
        show(Topic::Hosts, &Reply::Host(record.clone())),
        "2   \thost    \t127.0.0.2 parent 1      \t100.00%\tup\n\t        \ttotal: 3/3 checks\n"
    );
    record.checks = 0;
    record.up = 0;
    assert_eq!(
        show(Topic::Hosts, &Reply::Host(record.clone())),
        "2   \thost    \t127.0.0.2 parent 1      \t       \tunknown\n"
    );
    record.flags = flags::DISABLE;
    assert!(show(Topic::Summary, &Reply::Host(record)).ends_with("\tdisabled\n"));
}

#[test]
fn statistics_are_three_lines_or_none() {
    let mut one = StatisticsRecord {
        id: 1,
        interval: 60,
        total: 10,
        last: 1,
        last_hour: 2,
        last_day: 3,
        average: 4,
        average_hour: 5,
        average_day: 6,
        ..StatisticsRecord::default()
    };
    assert_eq!(
        show(Topic::Redirects, &Reply::RedirectStatistics(one, None)),
        "\t        \ttotal: 10 sessions\n\
         \t        \tlast: 1/60s 2/h 3/d sessions\n\
         \t        \taverage: 4/60s 5/h 6/d sessions\n"
    );
    assert!(
        show(Topic::Relays, &Reply::RelayStatistics(vec![one, one])).starts_with(
            "\t        \ttotal: 20 sessions\n\t        \tlast: 2/60s 4/h 6/d sessions\n"
        )
    );
    assert_eq!(
        show(Topic::Summary, &Reply::RedirectStatistics(one, None)),
        ""
    );
    one.total = 0;
    assert_eq!(
        show(Topic::Redirects, &Reply::RedirectStatistics(one, None)),
        ""
    );
}

#[test]
fn traffic_follows_the_sessions_where_it_is_counted() {
    let traffic = |n: u64| Traffic {
        packets_in: n,
        bytes_in: n * 100,
        packets_out: n + 1,
        bytes_out: n * 200,
    };
    let record = TrafficRecord {
        total: traffic(10),
        last: traffic(2),
        average: traffic(1),
    };
    let sessions = StatisticsRecord {
        id: 1,
        interval: 60,
        total: 3,
        ..StatisticsRecord::default()
    };
    let sent = Reply::RedirectStatistics(sessions, Some(record));
    let reply = Reply::from_frame(&sent.to_frame(1)).unwrap();
    assert_eq!(reply, sent);
    let text = show(Topic::Redirects, &reply);
    let rows = "\t        \ttotal: 10 packets 1000 bytes in, 11 packets 2000 bytes out\n\
                \t        \tlast: 2/60s packets 200/60s bytes in, 3/60s packets 400/60s bytes out\n\
                \t        \taverage: 1/60s packets 100/60s bytes in, 2/60s packets 200/60s bytes out\n";
    assert!(
        text.starts_with("\t        \ttotal: 3 sessions\n"),
        "{text}"
    );
    assert!(text.ends_with(rows), "{text}");
    assert_eq!(show(Topic::Summary, &reply), "");
    let nothing = Reply::RedirectStatistics(sessions, Some(TrafficRecord::default()));
    let without = Reply::RedirectStatistics(sessions, None);
    assert_eq!(
        show(Topic::Redirects, &nothing),
        show(Topic::Redirects, &without)
    );
}

#[test]
fn relays_and_routers() {
    let relay = Reply::Relay(RelayRecord {
        id: 3,
        flags: flags::DISABLE,
        name: "off".to_owned(),
        ..RelayRecord::default()
    });
    assert_eq!(
        show(Topic::Relays, &relay),
        "3   \trelay   \toff                     \t       \tdisabled\n"
    );
    let router = Reply::Router(RouterRecord {
        id: 1,
        name: "uplinks".to_owned(),
        label: "relayd".to_owned(),
        rtable: 2,
        ..RouterRecord::default()
    });
    let row = "1   \trouter  \tuplinks                 \t       \tactive\n";
    assert_eq!(show(Topic::Summary, &router), row);
    assert_eq!(
        show(Topic::Routers, &router),
        format!("{row}\t        \trtable: 2\n\t        \trtlabel: relayd\n")
    );
    let route = Reply::Route(RouteRecord {
        id: 1,
        address: Some("0.0.0.0".parse().unwrap()),
        prefix: 0,
        router: 1,
    });
    assert_eq!(
        show(Topic::Routers, &route),
        "\t        \troute: 0.0.0.0/0\n"
    );
    assert_eq!(show(Topic::Summary, &route), "");
}

#[test]
fn sessions_are_two_lines() {
    let mut record = SessionRecord {
        id: 7,
        relay: 1,
        client: Some("127.0.0.1:4000".parse().unwrap()),
        server: Some("[::1]:18080".parse().unwrap()),
        started: Duration::from_secs(10),
        last: Duration::from_millis(359_999_500),
        done: false,
        tag: 1,
        pid: 99,
    };
    let now = Duration::from_secs(360_010 + 61);
    assert_eq!(
        session(0, &record, now),
        "session 0:7 127.0.0.1:4000 -> ::1:18080\tRUNNING\n\
         \tage 100:01:01, idle 00:01:11, relay 1, pid 99, tag (id) 1\n"
    );
    record.server = None;
    record.done = true;
    record.tag = 0;
    record.started = now + Duration::from_secs(5);
    assert_eq!(
        session(2, &record, now),
        "session 2:7 127.0.0.1:4000 -> :0\tDONE\n\
         \tage 00:00:00, idle 00:01:11, relay 1, pid 99\n"
    );
}

#[test]
fn events_name_themselves() {
    let date = "Sat Nov 21 05:01:50 2026";
    let line = |number, reply: &Reply| {
        let frame = reply.to_frame(5);
        assert_eq!(frame.kind, number);
        event(
            number,
            frame.len(),
            frame.peer,
            5,
            Some(reply),
            1_795_237_310,
            date,
        )
    };
    let status = Reply::HostStatus(StatusRecord {
        id: 2,
        up: -1,
        ..StatusRecord::default()
    });
    assert_eq!(
        line(37, &status),
        (
            "host_status: imsg type 37 len 48 peerid 4294967295 pid 5\n\
             \ttimestamp: 1795237310, Sat Nov 21 05:01:50 2026\n\tid: 2\n\tstate: down\n"
                .to_owned(),
            true
        )
    );
    let named = Reply::Switched {
        class: Class::Table,
        object: ObjectId::Name("web:18080".to_owned()),
        enable: false,
    };
    assert!(
        line(20, &named)
            .0
            .starts_with("ctl_table_disable: imsg type 20 len 84 peerid 0 pid 5\n")
    );
    assert!(
        line(20, &named)
            .0
            .ends_with("\tid: 4294967295\n\tname: web:18080\n")
    );
    assert!(line(13, &Reply::TableChanged(4)).0.ends_with("\tid: 4\n"));
    assert!(
        line(38, &Reply::Sync)
            .0
            .starts_with("sync: imsg type 38 len 16 peerid 4294967295 pid 5\n")
    );
    let (unknown, more) = line(3, &Reply::Verbose(2));
    assert!(unknown.starts_with("<unknown>: imsg type 3 len 20 peerid 0 pid 5\n"));
    assert!(!more, "an unknown event ends the monitor");
}
