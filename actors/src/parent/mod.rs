//! The parent: configuration, children, sockets, privileges.
