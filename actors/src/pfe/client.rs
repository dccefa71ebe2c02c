//! One client of the control socket: its requests are answered in order, events come between answers.
//! Owns the connection and its decoder.
//! Must never wait for a client without a bound: who does not read is closed.

use super::actor::Pfe;
use super::control::{Bytes, Control, Fault, Left, Watch};
use super::requests::Ask;
use actix::Addr;
use conf::limits;
use protocols::control::extension;
use protocols::control::{ControlError, Decoder, Frame, FrameError, Reply, Request};
use std::io;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Bytes written at once; each such piece has [`limits::CONTROL_WRITE_TIMEOUT`].
const PIECE: usize = 64 * 1024;

/// Why a connection ends; told at debug level, since it is the client's own doing.
#[derive(Debug, Error)]
enum ClientError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] ControlError),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("does not read its answer")]
    Slow,
    #[error("the daemon is ending")]
    Ending,
}

impl ClientError {
    fn fault(&self) -> Option<Fault> {
        match self {
            ClientError::Frame(_) | ClientError::Request(_) => Some(Fault::Message),
            ClientError::Slow => Some(Fault::Slow),
            ClientError::System(_) | ClientError::Ending => None,
        }
    }
}

/// Serves a client until it leaves or is thrown out.
pub async fn run(
    id: u64,
    stream: UnixStream,
    pfe: Addr<Pfe>,
    control: Addr<Control>,
    events: mpsc::Receiver<Bytes>,
) {
    let mut client = Client {
        id,
        stream,
        pfe,
        control,
        events,
    };
    let mut fault = None;
    if let Err(error) = client.serve().await {
        tracing::debug!("control client: {error}");
        fault = error.fault();
    }
    client.control.do_send(Left { id, fault });
}

struct Client {
    id: u64,
    stream: UnixStream,
    pfe: Addr<Pfe>,
    control: Addr<Control>,
    events: mpsc::Receiver<Bytes>,
}

impl Client {
    async fn serve(&mut self) -> Result<(), ClientError> {
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; limits::CONTROL_MESSAGE_MAX];
        loop {
            while let Some(frame) = decoder.next_frame()? {
                self.request(&frame).await?;
            }
            tokio::select! {
                read = self.stream.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    n => decoder.push(buffer.get(..n).unwrap_or_default()),
                },
                event = self.events.recv() => match event {
                    Some(bytes) => self.write(&bytes).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn request(&mut self, frame: &Frame) -> Result<(), ClientError> {
        let request = match Request::from_frame(frame) {
            Ok(request) => request,
            Err(ControlError::Unknown(kind)) => {
                tracing::debug!("control client: unknown message type {kind} ignored");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let json = match &request {
            Request::Monitor => Some(false),
            Request::Extension(extension::Ask::Subscribe) => Some(true),
            _ => None,
        };
        if let Some(json) = json {
            let watch = Watch {
                client: self.id,
                json,
            };
            let first = self.control.send(watch).await;
            return match first.map_err(|_| ClientError::Ending)? {
                true => Ok(()),
                false => self.answer(&[Reply::Fail]).await,
            };
        }
        let ask = Ask {
            client: self.id,
            request,
        };
        let replies = self.pfe.send(ask).await;
        self.answer(&replies.map_err(|_| ClientError::Ending)?)
            .await
    }

    async fn answer(&mut self, replies: &[Reply]) -> Result<(), ClientError> {
        let pid = std::process::id();
        let mut bytes = Vec::new();
        for reply in replies {
            bytes.extend_from_slice(&reply.to_frame(pid).to_bytes());
            if bytes.len() >= PIECE {
                self.write(&bytes).await?;
                bytes.clear();
            }
        }
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        timeout(limits::CONTROL_WRITE_TIMEOUT, self.stream.write_all(bytes))
            .await
            .map_err(|_| ClientError::Slow)?
            .map_err(ClientError::System)
    }
}
