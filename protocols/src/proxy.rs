//! PROXY protocol headers.
