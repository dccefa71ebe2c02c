//! The control socket: imsg framing and relayctl's messages.
