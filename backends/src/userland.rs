//! The userland backend: publishes services that the relay processes forward.
