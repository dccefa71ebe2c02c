//! The number that makes a client keep its host in the hashing modes.
//! Owns what is fed into it, in which form and order (SipHash-2-4, as the original).
//! Must never depend on the process: equal keys give equal numbers on every balancer.

use conf::model::HashKey;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;

/// A hash that is being fed.
#[derive(Clone, Copy, Debug)]
pub struct Hash {
    hasher: SipHasher24,
}

impl Hash {
    /// A hash with the relay's key.
    pub fn new(key: &HashKey) -> Self {
        Hash {
            hasher: SipHasher24::new_with_key(&key.0),
        }
    }

    /// Feeds bytes, for instance the value of a `hash` filter action.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// Feeds an address.
    pub fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.feed(&ip.octets()),
            IpAddr::V6(ip) => self.feed(&ip.octets()),
        }
    }

    /// Feeds a port, in network order.
    pub fn port(&mut self, port: u16) {
        self.feed(&port.to_be_bytes());
    }

    /// The number.
    pub fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}

/// The key of an object whose file gives none: from a seed that all processes of one daemon share, and the object's name.
pub fn derive_key(seed: &[u8; 16], name: &str) -> HashKey {
    let mut key = [0; 16];
    for (half, part) in key.chunks_exact_mut(8).zip(0_u8..) {
        let mut hasher = SipHasher24::new_with_key(seed);
        hasher.write(&[part]);
        hasher.write(name.as_bytes());
        half.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    HashKey(key)
}
