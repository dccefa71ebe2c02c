//! One TCP-based check that could not be decided at the first look.
//! Owns its connection from then on, under one deadline for everything.
//! Must never outlive its deadline, and never keep a read buffer while it waits.

use super::tls;
use backends::sys::check_socket;
use protocols::check::{Outcome, Phase, Plan, Progress, Run, Trouble};
use protocols::host::Reason;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Bytes read at once.
const READ: usize = 8192;

/// A check and where it stands.
struct Exchange<'a> {
    run: Run<'a>,
    phase: Phase,
}

/// Runs a check to its end. `connected`: the first look found the connection established.
pub async fn exchange(
    stream: std::net::TcpStream,
    connected: bool,
    plan: &Plan,
    tls: Option<&tls::Client>,
    deadline: Instant,
) -> Outcome {
    let mut exchange = Exchange {
        run: Run::new(plan),
        phase: Phase::Connect,
    };
    match timeout_at(deadline, exchange.drive(stream, connected, plan, tls)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Failed)) => exchange.run.trouble(exchange.phase, Trouble::Failed),
        Err(_) => exchange.run.trouble(exchange.phase, Trouble::Timeout),
    }
}

/// The connection failed in the phase that the exchange remembers.
struct Failed;

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Failed {
        Failed
    }
}

impl Exchange<'_> {
    async fn drive(
        &mut self,
        stream: std::net::TcpStream,
        connected: bool,
        plan: &Plan,
        tls: Option<&tls::Client>,
    ) -> Result<Outcome, Failed> {
        let Ok(stream) = TcpStream::from_std(stream) else {
            return Ok(Outcome::none(Reason::TcpSocketError));
        };
        if !connected {
            stream.writable().await?;
            let stream = stream.into_std()?;
            check_socket::outcome(&stream)?;
            return self
                .connected(TcpStream::from_std(stream)?, plan, tls)
                .await;
        }
        self.connected(stream, plan, tls).await
    }

    async fn connected(
        &mut self,
        stream: TcpStream,
        plan: &Plan,
        tls: Option<&tls::Client>,
    ) -> Result<Outcome, Failed> {
        if !plan.tls() {
            return self.talk(stream).await;
        }
        self.phase = Phase::Handshake;
        let Some(tls) = tls else {
            return Ok(Outcome::none(Reason::TlsConnectError));
        };
        let stream = tls.handshake(stream).await?;
        self.talk(stream).await
    }

    /// Sends and reads until the answer is judged.
    async fn talk(
        &mut self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<Outcome, Failed> {
        if let Progress::Done(outcome) = self.run.connected() {
            return Ok(outcome);
        }
        self.phase = Phase::Write;
        while !self.run.unsent().is_empty() {
            let count = stream.write(self.run.unsent()).await?;
            self.run.sent(count);
        }
        stream.flush().await?;
        self.phase = Phase::Read;
        poll_fn(|cx| self.read(Pin::new(&mut stream), cx)).await
    }

    fn read(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outcome, Failed>> {
        loop {
            let mut space = [0; READ];
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(stream.as_mut().poll_read(cx, &mut buffer)) {
                Ok(()) => {}
                // Many hosts end TLS connections without saying so; what they sent counts.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(self.run.closed()));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(self.run.closed()));
            }
            if let Progress::Done(outcome) = self.run.received(buffer.filled()) {
                return Poll::Ready(Ok(outcome));
            }
        }
    }
}
