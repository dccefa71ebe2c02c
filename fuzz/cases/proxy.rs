//! PROXY headers: whole or in pieces they read the same, and what is read can be written and read again.

use conf::model::ProxyVersion;
use protocols::proxy::{Malformed, Read, V1_MAX, V2_MAX, header, read};

/// One input: the first bytes of a connection.
pub fn run(bytes: &[u8]) {
    let whole = read(bytes);
    for end in 0..bytes.len().min(V2_MAX + 1) {
        match (read(&bytes[..end]), whole) {
            // More bytes never make a malformed header good, nor change one that was complete.
            (Err(Malformed), whole) => assert_eq!(whole, Err(Malformed)),
            (Ok(Read::More), _) => {}
            (complete, whole) => assert_eq!(complete, whole),
        }
    }
    match whole {
        Ok(Read::Header { length, client }) => {
            assert!(length <= bytes.len());
            assert!(length <= V1_MAX.max(V2_MAX));
            let Some(client) = client else { return };
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let written = header(version, client, client);
                let again = Read::Header {
                    length: written.len(),
                    client: Some(client),
                };
                assert_eq!(read(&written), Ok(again));
            }
        }
        // A peer that never comes to an end is not waited for.
        Ok(Read::More) => assert!(bytes.len() < V2_MAX),
        Err(Malformed) => {}
    }
}
