//! Metrics and status page.
