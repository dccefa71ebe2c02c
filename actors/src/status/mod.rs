//! The status role: Prometheus metrics of the whole daemon.
//! Owns the metrics listener and the last word of every process.
//! Must never change anything: it is told, and it answers.
//!
//! [`names`] every metric · [`sample`] what a process tells about itself · `store` the values · `listener` the scrapers.

mod listener;
mod metrics_actor;
pub mod names;
pub mod sample;
mod store;

use crate::error::RoleError;
use crate::link::{Incoming, Link, Message, PARENT, Slot};
use crate::options::Options;
use actix::{Actor, Addr};
use metrics_actor::{Gone, Loaded, Metrics, Snapshot, Stop};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Runs the role until the parent says stop or is gone.
///
/// # Errors
/// The parent does not take messages, or the listener is none.
pub async fn run(mut link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let _ = options;
    let metrics = Metrics::default().start();
    let mut listening = Listening::default();
    while let Some(incoming) = link.inbox.recv().await {
        let Incoming {
            from,
            message,
            descriptors,
        } = incoming;
        match message {
            Message::Descriptors { slots } => {
                for (slot, descriptor) in slots.into_iter().zip(descriptors) {
                    if slot == Slot::Metrics {
                        listening.start(descriptor, &metrics)?;
                    }
                }
            }
            Message::Stage { generation, .. } => {
                let error = None;
                let answer = Message::Staged { generation, error };
                link.sender.tell(PARENT, answer).await?;
            }
            Message::Commit { generation } => metrics.do_send(Loaded(generation)),
            Message::Snapshot { samples } => metrics.do_send(Snapshot(from, samples)),
            Message::Restarted { peer } => metrics.do_send(Gone(peer)),
            Message::Shutdown => break,
            _ => {}
        }
    }
    metrics.do_send(Stop);
    Ok(())
}

/// The listeners that are served; they end with the role.
#[derive(Default)]
struct Listening(Vec<JoinHandle<()>>);

impl Listening {
    fn start(&mut self, descriptor: OwnedFd, metrics: &Addr<Metrics>) -> Result<(), RoleError> {
        let wrong = |error| RoleError::system("metrics listener", error);
        let listener = std::net::TcpListener::from(descriptor);
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        let task = tokio::task::spawn_local(listener::serve(listener, metrics.clone()));
        self.0.push(task);
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
