//! Sessions of `tcp` protocols: bytes pass unchanged in both directions.
//! Owns the byte loop.
//! Must never hold more than what one write left over.

use super::connect::{self, Choice};
use super::context::Context;
use super::session::{Ended, Session};
use super::stream::Stream;
use std::rc::Rc;

/// Serves a session until it ends.
pub async fn serve(context: Rc<Context>, session: Rc<Session>, client: Stream) -> Ended {
    let choice = Choice::new(&session);
    match Box::pin(connect::connect(&context, &session, &client, choice)).await {
        Ok(_server) => Ended::done(),
        Err(error) => error.ended(),
    }
}
