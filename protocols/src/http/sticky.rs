//! Clients that come back to their host by a cookie.
//! Owns the cookie: its value for each host, finding it in a request, taking it out again, the field that sets it.
//! Must never say anything of a host in the cookie, nor believe one that was not made with the key.
//!
//! A value is the SipHash-2-4 (128 bits) of the table's and the host's name. Nobody without the key can make one, so
//! a client can only name hosts that it was given before; what is no host's value is as good as no cookie.

use conf::model::HashKey;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::HashMap;
use std::hash::Hasher;

/// The cookie of one table.
#[derive(Clone, Debug)]
pub struct Sticky {
    name: String,
    values: Vec<String>,
    hosts: HashMap<Vec<u8>, usize>,
}

impl Sticky {
    /// The cookie `name` of a table, with the names of its hosts in order.
    pub fn new<'a>(
        name: &str,
        key: &HashKey,
        table: &str,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Sticky {
        let mut sticky = Sticky {
            name: name.to_owned(),
            values: Vec::new(),
            hosts: HashMap::new(),
        };
        for (index, host) in hosts.into_iter().enumerate() {
            // A host that stands twice in a table is two hosts.
            let mut value = value(key, table, host, 0);
            let mut again = 0;
            while sticky.hosts.contains_key(value.as_bytes()) {
                again += 1;
                value = self::value(key, table, host, again);
            }
            sticky.hosts.insert(value.clone().into_bytes(), index);
            sticky.values.push(value);
        }
        sticky
    }

    /// The host that the value of a `Cookie` field names; the first that is one of ours counts.
    pub fn find(&self, cookies: &[u8]) -> Option<usize> {
        pairs(cookies)
            .filter(|pair| named(pair, &self.name))
            .find_map(|pair| {
                let value = pair.get(self.name.len() + 1..)?.trim_ascii();
                // RFC 6265 allows quotes around a value.
                let plain = value
                    .strip_prefix(b"\"")
                    .and_then(|v| v.strip_suffix(b"\""));
                self.hosts.get(plain.unwrap_or(value)).copied()
            })
    }

    /// The value of a `Cookie` field without this cookie; `None` if it is not in it.
    pub fn strip(&self, cookies: &[u8]) -> Option<Vec<u8>> {
        if !pairs(cookies).any(|pair| named(pair, &self.name)) {
            return None;
        }
        let others = pairs(cookies).filter(|pair| !named(pair, &self.name) && !pair.is_empty());
        let others: Vec<&[u8]> = others.collect();
        Some(others.join(&b"; "[..]))
    }

    /// The value of a `Set-Cookie` field that names a host; `secure` if the client came with TLS.
    pub fn set(&self, host: usize, secure: bool) -> Option<String> {
        let value = self.values.get(host)?;
        let secure = if secure { "; Secure" } else { "" };
        Some(format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}",
            self.name
        ))
    }
}

fn value(key: &HashKey, table: &str, host: &str, again: u64) -> String {
    let mut hasher = SipHasher24::new_with_key(&key.0);
    for part in [table, host] {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part.as_bytes());
    }
    hasher.write(&again.to_le_bytes());
    format!("{:032x}", u128::from(hasher.finish128()))
}

fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

/// Names of cookies are compared exactly.
fn named(pair: &[u8], name: &str) -> bool {
    pair.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&b'='))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn sticky(key: u8) -> Sticky {
        Sticky::new(
            "SRV",
            &HashKey([key; 16]),
            "web",
            ["10.0.0.1", "10.0.0.2", "10.0.0.1"],
        )
    }

    fn cookie(sticky: &Sticky, host: usize) -> String {
        sticky
            .set(host, false)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn every_host_has_a_value_of_its_own_that_leads_back() {
        let sticky = sticky(1);
        for host in 0..3 {
            let pair = cookie(&sticky, host);
            assert_eq!(sticky.find(pair.as_bytes()), Some(host));
            let among = format!("a=b; {pair}; c=\"d\"");
            assert_eq!(sticky.find(among.as_bytes()), Some(host));
            assert_eq!(sticky.strip(among.as_bytes()).unwrap(), b"a=b; c=\"d\"");
            assert_eq!(sticky.strip(pair.as_bytes()).unwrap(), b"");
            let quoted = pair.replace('=', "=\"") + "\"";
            assert_eq!(sticky.find(quoted.as_bytes()), Some(host));
        }
        assert_eq!(sticky.set(3, false), None);
        assert_eq!(sticky.strip(b"a=b; SRVX=1; srv=2"), None);
    }

    #[test]
    fn the_field_has_its_attributes_and_tells_no_address() {
        let field = sticky(1).set(0, true).unwrap();
        let (pair, attributes) = field.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(pair.len(), "SRV=".len() + 32);
        assert!(!field.contains("10.0.0.1"));
        assert!(!sticky(1).set(0, false).unwrap().contains("Secure"));
    }

    #[test]
    fn values_depend_on_key_table_and_host_only() {
        assert_eq!(cookie(&sticky(1), 1), cookie(&sticky(1), 1));
        assert_ne!(cookie(&sticky(1), 1), cookie(&sticky(2), 1));
        let other = Sticky::new("SRV", &HashKey([1; 16]), "spare", ["10.0.0.1"]);
        assert_ne!(cookie(&sticky(1), 0), cookie(&other, 0));
        assert_eq!(sticky(1).find(cookie(&other, 0).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn nothing_is_believed_that_was_not_made_with_the_key(text in "[ -~]{0,80}") {
            let sticky = sticky(1);
            prop_assert_eq!(sticky.find(text.as_bytes()), None);
            prop_assert_eq!(sticky.find(format!("SRV={text}").as_bytes()), None);
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sticky = sticky(1);
            sticky.find(&bytes);
            if let Some(rest) = sticky.strip(&bytes) {
                prop_assert_eq!(sticky.strip(&rest), None);
            }
        }
    }
}
