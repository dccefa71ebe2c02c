//! HTTP/1.x for relays: heads, bodies and error answers that no two readers can understand differently.
//! Owns parsing, framing, head rewriting and the error page; works on slices of the caller's buffer.
//! Must never hold a body, wait, or pass on what it could not frame exactly.

mod body;
mod date;
mod edit;
mod framing;
mod head;
mod known;
mod page;
mod refusal;
mod sticky;
mod upgrade;
mod url;

pub use body::Body;
pub(crate) use body::is_token;
pub use date::{clf_date, http_date};
pub use edit::Edits;
pub use framing::{Framing, judge, response_framing};
pub use head::{Field, Head, Parse, Span, Version};
pub use known::{Known, Method};
pub use page::SERVER_NAME;
pub use page::{Page, reason_phrase};
pub use refusal::Refusal;
pub use sticky::Sticky;
pub use upgrade::{accepts_upgrade, wants_upgrade};
pub use url::{Candidates, split_target};
