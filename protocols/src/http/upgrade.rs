//! Upgrade to websocket.
//! Owns the conditions on both sides (`relayd-conf` reference §15).
//! Must never let another protocol through: after a switch nobody looks at the bytes any more.

use super::{Head, Method, Refusal};

/// Whether a request asks for websocket; `allowed` is the option `websockets`.
///
/// # Errors
/// The option is off, `Connection: upgrade` is missing, or the method is not GET.
pub fn wants_upgrade(head: &Head, allowed: bool) -> Result<bool, Refusal> {
    if !head.websocket {
        return Ok(false);
    }
    if !allowed {
        return Err(Refusal::WEBSOCKET_FORBIDDEN);
    }
    if !head.connection_upgrade {
        return Err(Refusal::WEBSOCKET_REQUEST);
    }
    if head.method != Method::Get {
        return Err(Refusal::WEBSOCKET_METHOD);
    }
    Ok(true)
}

/// Whether a response switches to websocket; `asked` is what [`wants_upgrade`] said of the request.
///
/// # Errors
/// 101 that was not asked for, or without the fields that make it a websocket.
pub fn accepts_upgrade(head: &Head, asked: bool) -> Result<bool, Refusal> {
    if head.status != 101 {
        return Ok(false);
    }
    if asked && head.websocket && head.connection_upgrade {
        return Ok(true);
    }
    Err(Refusal::WEBSOCKET_GATEWAY)
}
