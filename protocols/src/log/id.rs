//! Names of sessions and requests that the logs, relayctl and header rules share.
//! Owns their form: process, session and request, joined by hyphens.
//! Must never be guessed from: they are unique, not secret.

use std::fmt;

/// A session, over all relay processes and their restarts: `PROCESS-NUMBER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Random number of the run of the process; its lower 48 bits count.
    pub process: u64,
    /// Number of the session in its process, from 1.
    pub number: u64,
}

/// Hexadecimal digits of a process in a name.
const PROCESS_DIGITS: u32 = 12;

impl SessionId {
    /// Appends the name: every line of an access log has one, so it must be quick.
    pub fn write(&self, out: &mut Vec<u8>) {
        for place in (0..PROCESS_DIGITS).rev() {
            let digit = (self.process >> (4 * place)) & 0xf;
            out.push(
                b"0123456789abcdef"
                    .get(digit as usize)
                    .copied()
                    .unwrap_or(b'0'),
            );
        }
        out.push(b'-');
        out.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = Vec::new();
        self.write(&mut name);
        f.write_str(str::from_utf8(&name).unwrap_or_default())
    }
}

/// A request of a session: `PROCESS-NUMBER-REQUEST`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Its session.
    pub session: SessionId,
    /// Number of the request in its session, from 1.
    pub number: u32,
}

impl RequestId {
    /// Appends the name.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.session.write(out);
        out.push(b'-');
        out.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_after_its_session() {
        let session = SessionId {
            process: 0x7_0000_0000_00ab,
            number: 42,
        };
        assert_eq!(session.to_string(), "0000000000ab-42");
        let request = RequestId { session, number: 3 };
        assert_eq!(request.to_string(), "0000000000ab-42-3");
    }
}
