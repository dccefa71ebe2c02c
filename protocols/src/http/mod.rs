//! HTTP/1.x as a sans-io machine.
