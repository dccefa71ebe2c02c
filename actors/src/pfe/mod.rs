//! Packet filter engine and control socket.
