//! The error answer of `return error`.
//! Owns its form (`relayd-conf` reference §16).
//! Must never be sent where `return error` is not set.

use super::http_date;
use std::net::IpAddr;

/// What an error answer says.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Status.
    pub status: u16,
    /// Text of the refusal; left out for status 500.
    pub message: &'a str,
    /// Label of the connection; may hold markup.
    pub label: &'a str,
    /// CSS; `None` = built-in.
    pub style: Option<&'a str>,
    /// Listening address.
    pub address: IpAddr,
    /// Listening port.
    pub port: u16,
    /// Seconds since 1970.
    pub now: u64,
    /// The request was HEAD: no body follows.
    pub head_only: bool,
}

const STYLE: &str = "body { background-color: #a00000; color: white; font-family: \
'Comic Sans MS', 'Chalkboard SE', 'Comic Neue', sans-serif; }\n\
hr { border: 0; border-bottom: 1px dashed; }";

/// Name of the daemon in answers.
pub const SERVER_NAME: &str = "OpenBSD relayd";

impl Page<'_> {
    /// The whole answer.
    pub fn render(&self) -> Vec<u8> {
        let reason = reason_phrase(self.status);
        let message = if self.status == 500 { "" } else { self.message };
        let body = format!(
            "<!DOCTYPE html>\n<html>\n<head>\n<title>{status:03} {reason}</title>\n\
             <style type=\"text/css\"><!--\n{style}\n--></style>\n</head>\n<body>\n<h1>{reason}</h1>\n\
             <div id='m'>{message}</div>\n<div id='l'>{label}</div>\n\
             <hr><address>{SERVER_NAME} at {address} port {port}</address>\n</body>\n</html>\n",
            status = self.status,
            style = self.style.unwrap_or(STYLE),
            label = self.label,
            address = self.address,
            port = self.port,
        );
        let mut answer = format!(
            "HTTP/1.0 {status:03} {reason}\r\nDate: {date}\r\nServer: {SERVER_NAME}\r\nConnection: close\r\n\
             Content-Type: text/html\r\nContent-Length: {length}\r\n\r\n",
            status = self.status,
            date = http_date(self.now),
            length = body.len(),
        );
        if !self.head_only {
            answer.push_str(&body);
        }
        answer.into_bytes()
    }
}

/// Reason phrase of a status in the IANA registry; empty if unknown.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::http::Refusal;

    fn page(status: u16) -> Page<'static> {
        Page {
            status,
            message: "Forbidden",
            label: "<b>no</b>",
            style: None,
            address: [127, 0, 0, 1].into(),
            port: 8080,
            now: 0,
            head_only: false,
        }
    }

    #[test]
    fn the_answer_has_the_original_form() {
        let text = String::from_utf8(page(403).render()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.0 403 Forbidden\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: OpenBSD relayd\r\n\
                 Connection: close\r\nContent-Type: text/html\r\nContent-Length: {}",
                body.len()
            )
        );
        for part in [
            "<title>403 Forbidden</title>",
            "background-color: #a00000",
            "<h1>Forbidden</h1>",
            "<div id='m'>Forbidden</div>",
            "<div id='l'><b>no</b></div>",
            "<address>OpenBSD relayd at 127.0.0.1 port 8080</address>",
        ] {
            assert!(body.contains(part), "{part}");
        }
    }

    #[test]
    fn an_internal_error_tells_nothing() {
        let text = String::from_utf8(page(500).render()).unwrap();
        assert!(text.contains("<div id='m'></div>"));
    }

    #[test]
    fn style_and_head_are_respected() {
        let styled = Page {
            style: Some("p{}"),
            ..page(403)
        };
        let text = String::from_utf8(styled.render()).unwrap();
        assert!(text.contains("<!--\np{}\n-->") && !text.contains("a00000"));
        let head = Page {
            head_only: true,
            ..page(403)
        }
        .render();
        assert!(head.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn every_refusal_has_a_reason_phrase() {
        for refusal in Refusal::ALL {
            assert!(!reason_phrase(refusal.status).is_empty(), "{refusal:?}");
        }
    }
}
