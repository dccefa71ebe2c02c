//! System calls: privileges, descriptors, sockets.

pub mod check_socket;
#[cfg(test)]
mod glob_oracle;
