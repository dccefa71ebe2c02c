//! How fast a client sends a request's body and takes a response.
//! Owns the window of time in which it must move enough while nobody else is waited for.
//! Must never judge a client while its server is the slow one, nor cost anything while the client is quick.

use super::super::context::Context;
use super::super::session::Session;
use super::exchange::Exchange;
use backends::sys::socket_options;
use conf::limits;
use conf::model::HttpOptions;
use protocols::http::Refusal;
use std::rc::Rc;
use std::task::Context as Task;
use std::time::Duration;
use tokio::net::TcpStream;

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The rest of the request's body.
    Request,
    /// The client takes what lies ready for it.
    Response,
}

impl Wait {
    fn of(exchange: &Exchange) -> Option<Wait> {
        if exchange.down.is_blocked() {
            return Some(Wait::Response);
        }
        let up = &exchange.up;
        // A client that was promised a word before its body waits for the server.
        let sends = !up.is_done() && !up.is_blocked() && !exchange.broken && !exchange.expects;
        sends.then_some(Wait::Request)
    }
}

/// The window that runs, if one does.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Window>);

#[derive(Debug)]
struct Window {
    wait: Wait,
    /// Where the client was when it began.
    position: u64,
    /// It was the client throughout.
    unbroken: bool,
}

impl Pace {
    /// Called when an exchange must wait: answers why the client is to be closed, if it is.
    pub(super) fn judge(
        &mut self,
        cx: &Task<'_>,
        context: &Context,
        session: &Rc<Session>,
        client: &TcpStream,
        exchange: &Exchange,
    ) -> Option<Refusal> {
        let wait = Wait::of(exchange);
        let Some(window) = &mut self.0 else {
            if let Some(wait) = wait {
                self.open(cx, context, session, client, exchange, wait);
            }
            return None;
        };
        window.unbroken &= wait == Some(window.wait);
        if session.poll_deadline(cx).is_pending() {
            return None;
        }
        let options = &session.relay.protocol.http;
        let moved = position(client, exchange).wrapping_sub(window.position);
        // Retransmissions and the like may bring the position back a little: that is no progress either.
        let moved = if moved > u64::MAX / 2 { 0 } else { moved };
        let refusal = verdict(options, window.wait, moved).filter(|_| window.unbroken);
        match wait {
            Some(wait) if refusal.is_none() => {
                self.open(cx, context, session, client, exchange, wait);
            }
            _ => self.close(context, session),
        }
        refusal
    }

    fn open(
        &mut self,
        cx: &Task<'_>,
        context: &Context,
        session: &Rc<Session>,
        client: &TcpStream,
        exchange: &Exchange,
        wait: Wait,
    ) {
        self.0 = Some(Window {
            wait,
            position: position(client, exchange),
            unbroken: true,
        });
        let length = length(&session.relay.protocol.http);
        session.set_deadline(context, Some(length));
        // Leaves the waker.
        let _ = session.poll_deadline(cx);
    }

    /// The exchange ended.
    pub(super) fn close(&mut self, context: &Context, session: &Rc<Session>) {
        if self.0.take().is_some() {
            session.set_deadline(context, None);
        }
    }
}

/// Length of a window.
fn length(options: &HttpOptions) -> Duration {
    match options.body_rate {
        0 => options.body_timeout,
        _ => options.body_timeout.min(limits::BODY_RATE_WINDOW),
    }
}

/// What `moved` bytes in a whole window mean.
fn verdict(options: &HttpOptions, wait: Wait, moved: u64) -> Option<Refusal> {
    let wanted = u64::from(options.body_rate) * length(options).as_secs();
    let still = moved == 0;
    match wait {
        _ if !still && moved >= wanted => None,
        Wait::Request if still => Some(Refusal::BODY_TIMEOUT),
        Wait::Request => Some(Refusal::BODY_RATE),
        Wait::Response if still => Some(Refusal::RESPONSE_TIMEOUT),
        Wait::Response => Some(Refusal::RESPONSE_RATE),
    }
}

/// Bytes that the client sent or took: what only lies in the kernel for it does not count.
fn position(client: &TcpStream, exchange: &Exchange) -> u64 {
    let passed = exchange.up.passed().wrapping_add(exchange.down.passed());
    passed.wrapping_sub(socket_options::unsent(client).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_asks_for_a_byte_or_for_the_rate() {
        let mut options = HttpOptions {
            body_timeout: Duration::from_secs(60),
            ..HttpOptions::default()
        };
        assert_eq!(length(&options), Duration::from_secs(60));
        assert_eq!(verdict(&options, Wait::Request, 1), None);
        assert_eq!(
            verdict(&options, Wait::Request, 0),
            Some(Refusal::BODY_TIMEOUT)
        );
        assert_eq!(
            verdict(&options, Wait::Response, 0),
            Some(Refusal::RESPONSE_TIMEOUT)
        );
        options.body_rate = 100;
        assert_eq!(length(&options), limits::BODY_RATE_WINDOW);
        assert_eq!(
            verdict(&options, Wait::Request, 999),
            Some(Refusal::BODY_RATE)
        );
        assert_eq!(
            verdict(&options, Wait::Response, 999),
            Some(Refusal::RESPONSE_RATE)
        );
        assert_eq!(verdict(&options, Wait::Response, 1000), None);
        options.body_timeout = Duration::from_secs(2);
        assert_eq!(length(&options), Duration::from_secs(2));
        assert_eq!(verdict(&options, Wait::Request, 200), None);
    }
}
