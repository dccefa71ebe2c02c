//! System calls: privileges, descriptors, sockets.
