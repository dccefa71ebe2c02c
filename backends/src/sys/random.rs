//! Randomness from the kernel.
//! Owns the one call for it.
//! Must never fall back to anything weaker.
#![allow(unsafe_code)]

use std::io;

/// Fills `buffer`, which may be of any length.
///
/// # Errors
/// The kernel has no entropy source; nothing secret may be made then.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    // getentropy(3) takes at most 256 bytes a call.
    for chunk in buffer.chunks_mut(256) {
        // SAFETY: pointer and length are those of one live slice.
        let result = unsafe { libc::getentropy(chunk.as_mut_ptr().cast(), chunk.len()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_fillings_differ() {
        let (mut a, mut b) = ([0u8; 600], [0u8; 600]);
        fill(&mut a).unwrap();
        fill(&mut b).unwrap();
        assert_ne!(a, b);
        assert!(a.iter().rev().take(88).any(|&x| x != 0));
    }
}
