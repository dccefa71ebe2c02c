//! Why a message is not passed on: status, log text and kind for the metric.
//! Owns every such answer (`relayd-conf` reference §15).
//! Must never be built elsewhere: one violation, one constant.

use std::fmt;

/// A refused message. Without `return error` the connection is closed and only the text is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the error answer.
    pub status: u16,
    /// Text in the session's log line and on the error page.
    pub message: &'static str,
    /// Label of the metric.
    pub kind: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Refusal {}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal $message:literal $kind:literal;)*) => {
        impl Refusal {
            $($(#[$doc])* pub const $name: Refusal = Refusal { status: $status, message: $message, kind: $kind };)*

            /// All of them, for documentation and metrics.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)*];
        }
    };
}

refusals! {
    /// The request head cannot be read in exactly one way.
    MALFORMED = 400 "malformed" "malformed";
    /// A field that may stand only once is repeated, or Content-Length stands beside Transfer-Encoding.
    MALFORMED_HEADER = 400 "malformed header" "repeated";
    /// Host is not a host, or differs from the request target's.
    MALFORMED_HOST = 400 "malformed host" "host";
    /// A url rule needs the host and there is none that can be one.
    BAD_REQUEST = 400 "Bad Request" "host";
    /// Empty line where a request line should be.
    NO_METHOD = 406 "no method" "no_method";
    /// The head is longer than `headerlen` or has too many fields.
    HEAD_TOO_LARGE = 413 "request headers too large" "head_too_large";
    /// The request target is longer than the limit.
    TARGET_TOO_LONG = 414 "request target too long" "target_too_long";
    /// Request line without a version.
    NO_VERSION = 500 "no version" "version";
    /// A version other than 1.0 and 1.1.
    VERSION = 505 "version not supported" "version";
    /// Content-Length is not a plain decimal number.
    LENGTH_INVALID = 500 "invalid" "length";
    /// Content-Length is beyond every integer type in use.
    LENGTH_TOO_LARGE = 500 "too large" "length";
    /// Transfer-Encoding is not exactly `chunked`, or the version knows none.
    TRANSFER_ENCODING = 400 "malformed" "transfer_encoding";
    /// A method that carries no body has one.
    UNEXPECTED_BODY = 400 "malformed" "unexpected_body";
    /// CONNECT is not served: a relay is not a forward proxy.
    CONNECT = 405 "Method Not Allowed" "connect";
    /// A chunk size line that is not hexadecimal digits, extensions and CRLF.
    CHUNK_SIZE = 400 "invalid chunk size" "chunk";
    /// More digits than a chunk size can have.
    CHUNK_SIZE_LONG = 400 "chunk size too long" "chunk";
    /// A trailer that is malformed, too long, or would change framing.
    TRAILER = 400 "malformed" "trailer";
    /// The client took too long for a complete head.
    HEAD_TIMEOUT = 408 "request timeout" "head_timeout";
    /// The client paused too long within a request's body.
    BODY_TIMEOUT = 408 "request timeout" "body_timeout";
    /// The client sends a request's body too slowly.
    BODY_RATE = 408 "request too slow" "body_rate";
    /// The client took nothing of a response for too long; it is closed without an answer.
    RESPONSE_TIMEOUT = 408 "response timeout" "response_timeout";
    /// The client takes a response too slowly; it is closed without an answer.
    RESPONSE_RATE = 408 "response too slow" "response_rate";
    /// The head of a server's answer is longer than `headerlen` or has too many fields.
    RESPONSE_TOO_LARGE = 413 "request headers too large" "server";
    /// More interim responses than any server needs.
    INTERIM = 502 "Bad Gateway" "interim";
    /// Upgrade to websocket while the option is off.
    WEBSOCKET_FORBIDDEN = 403 "Websocket Forbidden" "websocket";
    /// Upgrade without `Connection: upgrade`.
    WEBSOCKET_REQUEST = 400 "Bad Websocket Request" "websocket";
    /// Upgrade with another method than GET.
    WEBSOCKET_METHOD = 405 "Websocket Method Not Allowed" "websocket";
    /// A server switches protocols unasked or without saying to what.
    WEBSOCKET_GATEWAY = 502 "Bad Websocket Gateway" "server";
    /// A rule refused the message.
    FORBIDDEN = 403 "Forbidden" "forbidden";
    /// The server's answer cannot be framed.
    BAD_GATEWAY = 502 "Bad Gateway" "server";
    /// The server's status line cannot be read.
    STATUS_LINE = 500 "malformed" "server";
    /// No host is up, or connecting failed at once.
    SESSION_FAILED = 502 "session failed" "connect";
    /// All hosts are full, and as many sessions wait as may.
    QUEUE_FULL = 503 "too many sessions wait" "queue";
    /// No host had room in time.
    QUEUE_TIMEOUT = 503 "no host had room in time" "queue";
    /// Connecting took longer than the session timeout.
    CONNECT_TIMEOUT = 504 "connect timeout" "connect";
    /// Connecting failed.
    CONNECT_FAILED = 504 "connect failed" "connect";
    /// The system refused a connection.
    SOCKET = 500 "socket error" "connect";
    /// The PROXY header could not be written.
    PROXY_HEADER = 500 "failed to write PROXY header" "connect";
}
