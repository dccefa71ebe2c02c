//! DNS relay: identifiers.
