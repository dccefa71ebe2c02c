//! Checks as sans-io machines.
