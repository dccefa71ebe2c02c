//! Latency of a relay at a steady load: `steady ADDRESS:PORT RATE CONNECTIONS SECONDS [close]`.
//!
//! Every connection sends `GET /1024` at moments of its own, spread evenly with some jitter, until RATE requests a second of
//! all of them have gone on for SECONDS; with `close` each request is a connection of its own. The answer must have a body of
//! 1,024 bytes. A request that is late because the one before it was slow counts from the moment it should have left, so
//! a slow relay cannot hide by being asked less. Prints one line of JSON; times are in milliseconds.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const USAGE: &str = "usage: steady ADDRESS:PORT RATE CONNECTIONS SECONDS [close]";
/// Bytes of the body asked for.
const BODY: usize = 1024;
/// Longest answer: a head of a few lines and the body.
const ANSWER: usize = 4096;
/// How long one exchange may take.
const BOUND: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Load {
    to: String,
    /// Requests a second of all connections.
    rate: f64,
    connections: u32,
    lasting: Duration,
    /// A connection per request.
    close: bool,
}

impl Load {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Load, Box<dyn Error>> {
        let mut next = || arguments.next().ok_or(USAGE);
        let load = Load {
            to: next()?,
            rate: next()?.parse()?,
            connections: next()?.parse()?,
            lasting: Duration::try_from_secs_f64(next()?.parse()?)?,
            close: arguments.next().is_some_and(|word| word == "close"),
        };
        let sensible = load.rate > 0.0 && load.rate.is_finite() && load.connections > 0;
        sensible.then_some(load).ok_or_else(|| USAGE.into())
    }

    /// Time between two requests of one connection.
    fn pause(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.connections) / self.rate)
    }

    async fn exchange(&self, held: &mut Option<TcpStream>) -> io::Result<()> {
        let mut stream = match held.take() {
            Some(stream) => stream,
            None => TcpStream::connect(&self.to).await?,
        };
        let last = if self.close {
            "Connection: close\r\n"
        } else {
            ""
        };
        let request = format!("GET /{BODY} HTTP/1.1\r\nHost: steady\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await?;
        answer(&mut stream).await?;
        *held = Some(stream).filter(|_| !self.close);
        Ok(())
    }

    /// One connection's requests: latencies of the good ones, number of the others.
    async fn connection(self, number: u32, start: Instant) -> (Vec<Duration>, u64) {
        let (pause, mut held) = (self.pause(), None);
        let (mut good, mut bad) = (Vec::new(), 0);
        for turn in 0.. {
            let offset = pause.mul_f64(f64::from(number) / f64::from(self.connections));
            let due = start + pause * turn + offset + pause.mul_f64(jitter(number, turn));
            if due > start + self.lasting {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            // The timer's own step of a millisecond is not the relay's.
            let woken = Instant::now();
            let from = if woken - due > 2 * TIMER { due } else { woken };
            match tokio::time::timeout(BOUND, self.exchange(&mut held)).await {
                Ok(Ok(())) => good.push(from.elapsed()),
                _ => bad += 1,
            }
        }
        (good, bad)
    }
}

/// Resolution of the timer.
const TIMER: Duration = Duration::from_millis(1);

/// From 0 to 0.9, different for each request, the same in each run.
fn jitter(number: u32, turn: u32) -> f64 {
    let mixed = (number ^ turn.rotate_left(16)).wrapping_mul(0x9E37_79B9);
    f64::from(mixed >> 8) / f64::from(1u32 << 24) * 0.9
}

/// Reads one answer to its end.
async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(ANSWER);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if head.is_some_and(|at| bytes.len() >= at + 4 + BODY) {
            return Ok(());
        }
        if bytes.len() > ANSWER {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn measure(load: Load) -> Result<(), Box<dyn Error>> {
    let start = Instant::now() + Duration::from_millis(100);
    let tasks: Vec<_> = (0..load.connections)
        .map(|number| tokio::spawn(load.clone().connection(number, start)))
        .collect();
    let (mut times, mut errors) = (Vec::new(), 0);
    for task in tasks {
        let (good, bad) = task.await?;
        times.extend(good);
        errors += bad;
    }
    if times.is_empty() {
        return Err("no request was answered".into());
    }
    times.sort();
    let at = |per_mille: usize| {
        let place = times.len().saturating_sub(1) * per_mille / 1000;
        times.get(place).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
    };
    println!(
        r#"{{"n":{},"errors":{errors},"p50":{:.3},"p90":{:.3},"p99":{:.3},"p999":{:.3},"max":{:.3}}}"#,
        times.len(),
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000)
    );
    Ok(())
}

fn main() -> ExitCode {
    match Load::parse(std::env::args().skip(1)).and_then(measure) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("steady: {error}");
            ExitCode::FAILURE
        }
    }
}
