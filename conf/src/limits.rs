//! Every default and limit, once.
//! Owns the numbers that parser, dump, manual check, daemon and metrics read.
//! Must never be bypassed: no such number stands anywhere else.

use std::time::Duration;

/// Time between two checks of a host.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// Time limit of one check.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(200);
/// Relay processes.
pub const PREFORK_DEFAULT: u32 = 3;
/// Most relay processes (the original allows 32; see COMPAT.md).
pub const PREFORK_MAX: u32 = 64;
/// Relay processes of files written for releases before 5.6.
pub const PREFORK_OLD: u32 = 5;
/// Idle time of a session.
pub const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Longest session timeout in seconds.
pub const SESSION_TIMEOUT_MAX: u64 = 2_147_483_647;
/// Listen backlog.
pub const BACKLOG_DEFAULT: u32 = 10;
/// Largest listen backlog of releases before 6.4; reduced to [`BACKLOG_MAX`].
pub const BACKLOG_OLD_MAX: u32 = 1024;
/// Largest listen backlog.
pub const BACKLOG_MAX: u32 = 512;
/// Longest HTTP head in bytes.
pub const HEADER_LENGTH_DEFAULT: u32 = 8192;
/// Largest `headerlen`.
pub const HEADER_LENGTH_MAX: u32 = 131_072;
/// Longest time for a complete HTTP head: a client that sends slower is closed.
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest pause of a client within the body it sends or is sent, while nobody else is waited for.
pub const BODY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest `head timeout` and `body timeout` in seconds.
pub const CLIENT_TIMEOUT_MAX: i64 = 86_400;
/// Largest `body rate` in bytes per second.
pub const BODY_RATE_MAX: i64 = 1 << 30;
/// How long a client may be below its `body rate` at a time.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(10);
/// `tls ciphers`
pub const TLS_CIPHERS_DEFAULT: &str = "secure";
/// `tls ecdhe`
pub const TLS_ECDHE_DEFAULT: &str = "default";
/// Longest file name or list in `tls { … }`.
pub const TLS_STRING_MAX: usize = 1023;
/// Longest list of curves.
pub const TLS_CURVES_MAX: usize = 127;
/// Longest `tls ciphers`.
pub const TLS_CIPHERS_MAX: usize = 767;
/// `tls edh params`
pub const TLS_EDH_DEFAULT: &str = "none";
/// Addresses one `listen on` may stand for.
pub const LISTEN_ADDRESSES_MAX: usize = 16;
/// Longest token in bytes.
pub const TOKEN_MAX: usize = 8192;
/// Longest table name, with or without port.
pub const TABLE_NAME_MAX: usize = 63;
/// Longest redirection name.
pub const REDIRECT_NAME_MAX: usize = 31;
/// Longest relay or router name.
pub const RELAY_NAME_MAX: usize = 255;
/// Longest protocol name.
pub const PROTOCOL_NAME_MAX: usize = 63;
/// Longest tag.
pub const TAG_MAX: usize = 63;
/// Longest label.
pub const LABEL_MAX: usize = 1023;
/// Longest host name.
pub const HOST_NAME_MAX: usize = 255;
/// Highest route priority.
pub const PRIORITY_MAX: u8 = 63;
/// Port of a router's table that gives none.
pub const ROUTER_PORT: u16 = 65535;
/// Largest configuration file, includes counted each; more is a mistake.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;
/// All files of a configuration together.
pub const FILES_MAX: u64 = 256 * 1024 * 1024;
/// Deepest nesting of includes.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Errors shown of one run; the rest is counted.
pub const DIAGNOSTICS_SHOWN: usize = 100;

/// Longest control message including its header (imsg framing).
pub const CONTROL_MESSAGE_MAX: usize = 16384;
/// Control clients at once: a leaking monitor script must not use up descriptors.
pub const CONTROL_CLIENTS_MAX: usize = 64;
/// Longest message on a link between roles.
pub const LINK_MESSAGE_MAX: usize = 64 * 1024 * 1024;
/// Messages waiting in a mailbox or link queue.
pub const LINK_QUEUE: usize = 1024;
/// Sessions of one relay process.
pub const SESSIONS_MAX: usize = 200_000;
/// Largest number in `session max`: what all relay processes together can have.
pub const SESSIONS_CONFIGURED_MAX: i64 = SESSIONS_MAX as i64 * PREFORK_MAX as i64;
/// The last part of a relay process's sessions or descriptors (one of so many) is kept for clients that have few.
pub const CROWDED_PART: usize = 16;
/// Part of all sessions (one of so many) that a client may have while the process is crowded.
pub const CROWDED_SHARE: usize = 16;
/// Bits of an IPv6 address that stand for one client: a network that one subscriber gets.
pub const CLIENT_PREFIX_V6: u32 = 64;
/// Time between two words in the log about connections refused for a limit.
pub const REFUSED_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Lines of clients at a time; others are counted together, with as many lines of relays.
pub const REFUSED_LOG_LINES: usize = 8;
/// Restarts of one child within [`RESTART_WINDOW`] before the daemon gives up.
pub const RESTARTS_MAX: u32 = 20;
/// See [`RESTARTS_MAX`].
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Wait before the second restart of a child; the first is immediate, later ones wait twice as long each.
pub const RESTART_DELAY: Duration = Duration::from_millis(100);
/// Longest wait before a restart; short enough for [`RESTARTS_MAX`] to be reached within [`RESTART_WINDOW`].
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(2);
/// How long a process may take to prepare a configuration.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a process may leave its link unread before it counts as hanging.
pub const STUCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Children that have not ended this long after the order to stop are killed; shorter than [`STOP_TIMEOUT`].
pub const STOP_KILL: Duration = Duration::from_secs(25);
/// Time between two changes of the keys of TLS session tickets.
pub const TICKET_REKEY_INTERVAL: Duration = Duration::from_secs(1800);
/// Keys of session tickets that are still accepted.
pub const TICKET_KEYS: usize = 4;
/// Bytes of one key of session tickets.
pub const TICKET_KEY_LENGTH: usize = 80;
/// Listening sockets of the daemon, each counted once per relay process.
pub const LISTENERS_MAX: usize = 16384;
/// Check scripts that run at once; more wait.
pub const SCRIPTS_CONCURRENT_MAX: usize = 64;
/// Longest line sent to syslog: one datagram.
pub const LOG_LINE_MAX: usize = 8192;
/// How long a stopping daemon waits for its children.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long sessions of a removed or changed relay may go on after a reload.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often the rules are asked for while the process before this one still has them.
pub const SUCCESSION_TRIES: u32 = 60;
/// Time between two attempts.
pub const SUCCESSION_STEP: Duration = Duration::from_millis(50);
/// Time after which relays are told the states of all hosts again. They set a host to unknown by themselves when it is
/// switched, and one that does so after it was told the host's new state would believe that until the next change.
pub const RETOLD_EVERY: Duration = Duration::from_secs(10);
/// Period of session statistics.
pub const STATISTICS_INTERVAL: Duration = Duration::from_secs(60);
/// Checks under way at once in the check engine.
pub const CHECKS_CONCURRENT_MAX: usize = 4096;
/// How long results of checks that change no host's state may wait to be told together.
pub const RESULTS_LAG: Duration = Duration::from_millis(250);
/// Buffer of a relay process that all its sessions read into.
pub const RELAY_SCRATCH: usize = 64 * 1024;
/// Hosts whose connections relay processes count together, by the highest id; beyond, each process has its part of
/// a host's limit.
pub const SHARED_HOSTS_MAX: usize = 65_536;
/// Tables that sessions can wait for together over relay processes, by the highest id; beyond, each process has a
/// queue of its own.
pub const SHARED_TABLES_MAX: usize = 4096;
/// Relays whose sessions relay processes count together, by the highest id; beyond, each process has its part of
/// `session max`.
pub const SHARED_RELAYS_MAX: usize = 4096;
/// Places for the clients of one relay process that all know of, those of relays with `session max per client`. A
/// client fits into eight of them: from about 15,000 clients on, one or another finds all of its own taken and is
/// counted by each process for itself. 12 bytes each, in memory once a client looks there, and all of a process's once
/// it has died.
pub const SHARED_CLIENTS_MAX: usize = 65_536;
/// Most sessions that may wait for one table (`queue`).
pub const QUEUE_MAX: i64 = 65_536;
/// Longest wait when `queue` gives none: about what people wait for a page.
pub const QUEUE_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest `wait` of a queue in seconds.
pub const QUEUE_WAIT_MAX: i64 = 3600;
/// Longest `slow start` in seconds.
pub const SLOW_START_MAX: i64 = 86_400;
/// Longest name of a cookie.
pub const COOKIE_NAME_MAX: usize = 63;
/// Connections accepted in one go before other sessions have their turn.
pub const ACCEPT_BATCH: usize = 64;
/// Pause of accepting when descriptors or memory are used up.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Longest time for a connection to a host while another host could be tried instead.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Hosts tried for one connection before it fails.
pub const FAILOVER_HOSTS: usize = 3;
/// Size asked for the pipes that bulk transfers go through; the system may give less.
pub const PIPE_SIZE: usize = 256 * 1024;
/// The same for the first [`PIPES_LARGE`] pipes of a process: fewer, larger moves cost less. The most that Linux gives
/// without privilege.
pub const PIPE_SIZE_LARGE: usize = 1024 * 1024;
/// Large pipes of a relay process; all pipes of a user share 64 MiB on Linux.
pub const PIPES_LARGE: usize = 8;
/// Pipes of a relay process; sessions beyond copy instead.
pub const PIPES_MAX: usize = 512;
/// Unused pipes that are kept.
pub const PIPES_FREE: usize = 32;
/// Bytes that must move without a pause for splicing to be worth its two system calls.
pub const SPLICE_WORTH: usize = 32 * 1024;
/// Sessions in one message of an answer to `show sessions`.
pub const SESSIONS_PER_MESSAGE: usize = 1000;

/// Fields of one HTTP head: far above what clients send, low enough to parse on the stack.
pub const HTTP_FIELDS_MAX: usize = 256;
/// Longest HTTP request target; matters only with a raised `headerlen`.
pub const HTTP_TARGET_MAX: usize = 65_536;
/// Longest chunk size line, extensions included.
pub const HTTP_CHUNK_LINE_MAX: usize = 4096;
/// Interim responses to one request: a server may not keep a client busy for ever.
pub const HTTP_INTERIM_MAX: u32 = 64;
/// Bytes of items in one session's log line; a keep-alive session would collect them without end.
pub const SESSION_LOG_MAX: usize = 8192;
/// Idle server connections kept per host and relay process.
pub const HTTP_POOL_HOST_MAX: usize = 128;
/// Idle server connections kept per relay process.
pub const HTTP_POOL_MAX: usize = 4096;
/// How long an idle server connection is kept.
pub const HTTP_POOL_IDLE: Duration = Duration::from_secs(30);
/// Steps of one pattern match: a pattern may not cost more than its text is worth.
pub const PATTERN_STEPS_MAX: u32 = 100_000;
/// Check scripts running at once; more wait their turn.
pub const CHECK_SCRIPTS_MAX: usize = 64;
/// How much longer than a script's time limit the check engine waits for the parent's answer.
pub const CHECK_SCRIPT_GRACE: Duration = Duration::from_secs(5);
/// Period of the metrics that roles send to the status role.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the metrics of a process are shown after its last word.
pub const SNAPSHOT_STALE: Duration = Duration::from_secs(5);
/// Metric values that are shown; more would not fit into a scrape either.
pub const METRIC_SAMPLES_MAX: usize = 1_000_000;
/// Clients of the metrics listener at once.
pub const METRICS_CLIENTS_MAX: usize = 32;
/// Longest head of a request to the metrics listener.
pub const METRICS_HEAD_MAX: usize = 8192;
/// Time that a client of the metrics listener has for its request, and again for taking the answer.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(10);
/// Checks begun before other work gets a turn: the first round of a large configuration starts all at once.
pub const CHECK_BATCH: usize = 512;
/// Descriptors the check engine keeps free for everything that is no check.
pub const CHECK_DESCRIPTORS_RESERVE: u64 = 64;
/// Bytes of an HTTP head that a check looks at; a longer one is judged by what is there.
pub const CHECK_HEAD_MAX: usize = 8192;
/// Bytes of an answer that `expect` is matched against: the match is repeated with every read.
pub const CHECK_EXPECT_MAX: usize = 16384;
/// Reads after which `expect` is tried only when the answer has grown by an eighth: a host that
/// dribbles bytes must not buy a match of everything with each of them.
pub const CHECK_EXPECT_EAGER_READS: u32 = 64;
/// Width of a slot of the check wheel: checks of one slot start together.
pub const CHECK_SLOT: Duration = Duration::from_millis(10);
/// Flows of one UDP listener in a relay process; each has a socket of its own.
pub const UDP_FLOWS_MAX: usize = 16_384;
/// Sockets of a relay process towards one DNS server: as many ports an attacker has to guess among.
pub const DNS_SOCKETS: usize = 16;
/// Queries under way on one such socket.
pub const DNS_QUERIES_MAX: usize = 4096;
/// Age at which queries without an answer are given up when no more fit in.
pub const DNS_CROWDED_AGE: Duration = Duration::from_secs(2);
/// Age at which such a socket gives way to one with another port.
pub const DNS_SOCKET_AGE: Duration = Duration::from_secs(60);
/// Longest time for the packet filter engine to answer a `nat lookup`.
pub const NAT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time for a PROXY header that a listener expects.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Files one configuration may include.
pub const INCLUDES_MAX: usize = 10_000;
/// Socket of the AgentX master.
pub const AGENTX_PATH: &str = "/var/agentx/master";
/// Socket of `snmp` without a path.
pub const SNMP_PATH: &str = "/var/run/agentx.sock";
/// Longest AgentX context.
pub const AGENTX_CONTEXT_MAX: usize = 31;
/// Longest path of a Unix socket that all systems take.
pub const SOCKET_PATH_MAX: usize = 103;
/// Longest path of a check script.
pub const SCRIPT_PATH_MAX: usize = 1023;
/// Longest `expect` of a check, text or bytes.
pub const EXPECT_MAX: usize = 255;
/// Longest `expect` of a binary check.
pub const BINARY_EXPECT_MAX: usize = 127;
/// Longest interface or interface group name.
pub const INTERFACE_MAX: usize = 15;
/// Longest route label.
pub const ROUTE_LABEL_MAX: usize = 31;
/// Highest routing table.
pub const RTABLE_MAX: i64 = 255;
/// Highest weight of a host.
pub const WEIGHT_MAX: i64 = 256;
/// Events waiting for one `relayctl monitor`; a reader that is further behind is cut off.
pub const CONTROL_EVENTS_MAX: usize = 4096;
/// How long a control client may take to read an answer before it is cut off.
pub const CONTROL_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `show sessions` waits for the relay processes; what came by then is shown.
pub const SESSIONS_TIMEOUT: Duration = Duration::from_secs(3);
/// Sessions in one answer to `show sessions`.
pub const SESSIONS_SHOWN_MAX: usize = 100_000;
/// How long `reload -w` waits for the verdict; resolving names may take long.
pub const VERDICT_TIMEOUT: Duration = Duration::from_secs(300);
/// Least length of a relay's accept queue, whatever `backlog` says: a full queue costs clients a second each.
pub const BACKLOG_LEAST: u32 = 1024;
/// Largest `socket buffer` that Linux reaches by its own tuning; setting one switches the tuning off.
pub const SOCKET_BUFFER_TUNED: u32 = 4 * 1024 * 1024;
/// What the group of `legacy demote` is demoted by while the daemon does not run.
pub const DEMOTION_STOPPED: i32 = 128;
/// Where certificates are looked for that the configuration names without a path.
pub const TLS_DIRECTORY: &str = "/etc/ssl";
/// Directory of private keys below [`TLS_DIRECTORY`].
pub const TLS_PRIVATE: &str = "private";
/// Longest path of an access log.
pub const ACCESS_PATH_MAX: usize = 1023;
/// Longest name of a header field that an access log shows.
pub const ACCESS_NAME_MAX: usize = 63;
/// Header fields that one access log shows besides its own.
pub const ACCESS_HEADERS_MAX: usize = 16;
/// Bytes of one text in a line of an access log, escapes included; the rest is cut off.
pub const ACCESS_TEXT_MAX: usize = 1024;
/// Longest line of an access log; header fields for which there is no room are left out.
pub const ACCESS_LINE_MAX: usize = 8192;
/// Bytes of an access log that wait in a relay process: a full disk or a slow reader loses lines beyond.
pub const ACCESS_BUFFER_MAX: usize = 1024 * 1024;
/// Bytes after which waiting lines are written at once.
pub const ACCESS_BATCH: usize = 64 * 1024;
/// Longest time that a line waits for others to be written with it.
pub const ACCESS_DELAY: Duration = Duration::from_millis(100);
/// Least time between two attempts to open the target of an access log again.
pub const ACCESS_REOPEN_INTERVAL: Duration = Duration::from_secs(2);
