//! Addresses, ports and prefixes: what all statements share.
//! Owns the order of look-up: literal, interface or group, name.
//! Must never decide how many addresses a statement takes: the caller says.

use super::{PORT_MAX, Parsed, Parser};
use crate::diagnostic::{Diagnostic, closest};
use crate::lexer::Token;
use crate::limits;
use crate::model::Address;
use crate::source::Span;
use ipnetwork::IpNetwork;
use std::net::{IpAddr, Ipv6Addr};

/// A port or a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub first: u16,
    pub last: u16,
}

/// An address as written, and what it stands for.
pub(crate) struct Named {
    pub name: String,
    pub span: Span,
    pub addresses: Vec<Address>,
}

impl Parser<'_> {
    /// An IPv4 or IPv6 literal, with scope.
    fn literal(&self, text: &str) -> Option<Address> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(ip.into());
        }
        let (ip, zone) = text.split_once('%')?;
        let ip: Ipv6Addr = ip.parse().ok()?;
        let scope = match zone.parse::<u32>() {
            Ok(n) => n,
            Err(_) => self.resolver.interface_index(zone)?,
        };
        Some(Address {
            ip: ip.into(),
            scope,
        })
    }

    /// Whether a word looks like an address whose numbers are wrong.
    fn slip(text: &str) -> bool {
        let parts: Vec<_> = text.split('.').collect();
        parts.len() == 4
            && parts
                .iter()
                .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    }

    /// An address, interface, group or name. `message` is the original's text for a failure, with `%s`.
    pub(crate) fn address(&mut self, message: &str, max: usize) -> Parsed<Named> {
        let lexeme = self.next();
        let name = match &lexeme.token {
            Token::Word(w) => w.clone(),
            Token::Number(n) => n.to_string(),
            _ => return self.unexpected(&lexeme, "an address or name"),
        };
        self.resolve(name, lexeme.span, message, max)
    }

    pub(crate) fn resolve(
        &mut self,
        name: String,
        span: Span,
        message: &str,
        max: usize,
    ) -> Parsed<Named> {
        if name.len() > limits::HOST_NAME_MAX {
            return self.error(
                span,
                "host name truncated",
                &format!(
                    "a host name has at most {} characters",
                    limits::HOST_NAME_MAX
                ),
            );
        }
        let text = message.replace("%s", &name);
        if let Some(address) = self.literal(&name) {
            return Ok(Named {
                name,
                span,
                addresses: vec![address],
            });
        }
        let found = match self.look_up(&name) {
            Ok(found) => found,
            Err(cure) => return self.error(span, &text, &cure),
        };
        if found.len() > max {
            self.report(
                Diagnostic::warning(span, format!("{name} resolves to more than {max} hosts"))
                    .cure("only the first is used; write the addresses you mean"),
            );
        }
        // The original inserts each address at the head of its list.
        let mut addresses: Vec<_> = found.into_iter().take(max).collect();
        addresses.reverse();
        Ok(Named {
            name,
            span,
            addresses,
        })
    }

    /// Addresses of an interface, group or name that is no literal; otherwise what is wrong with it.
    fn look_up(&self, name: &str) -> Result<Vec<Address>, String> {
        if let Some((_, zone)) = name
            .split_once('%')
            .filter(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok())
        {
            let near = self.near_interface(zone);
            return Err(format!("there is no interface '{zone}'{near}"));
        }
        if Self::slip(name) {
            return Err(match name.split('.').find(|p| p.parse::<u8>().is_err()) {
                Some(part) => format!("'{part}' is no part of an IPv4 address: each is 0 to 255"),
                None => {
                    "this is no IPv4 address: write the numbers without leading zeros".to_owned()
                }
            });
        }
        match self.resolver.interface(name) {
            Some(found) if !found.is_empty() => return Ok(found),
            Some(_) => return Err(format!("interface '{name}' has no address")),
            None => {}
        }
        match self.resolver.host(name) {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err("the name has no address".to_owned()),
            Err(reason) => {
                let near = self.near_interface(name);
                Err(format!("could not parse \"{name}\": {reason}{near}"))
            }
        }
    }

    fn near_interface(&self, name: &str) -> String {
        let interfaces = self.resolver.interfaces();
        match closest(name, interfaces.iter().map(String::as_str)) {
            Some(near) => format!("; did you mean interface '{near}'?"),
            None => String::new(),
        }
    }

    /// `port N`, `port NAME`, `port A:B`; the word `port` was not read yet.
    pub(crate) fn ports(&mut self) -> Parsed<Ports> {
        self.expect("port")?;
        let lexeme = self.next();
        let text = match &lexeme.token {
            Token::Number(n) => {
                if *n < 1 || *n > PORT_MAX {
                    return self.error(
                        lexeme.span,
                        &format!("invalid port: {n}"),
                        "a port is a number from 1 to 65535",
                    );
                }
                let port = u16::try_from(*n).unwrap_or(0);
                return Ok(Ports {
                    first: port,
                    last: port,
                });
            }
            Token::Word(w) => w.clone(),
            Token::Keyword("http") => "http".to_owned(),
            _ => return self.unexpected(&lexeme, "a port"),
        };
        let (first, last) = match text.split_once(':') {
            Some((a, b)) => (
                self.port_word(a, &text, lexeme.span)?,
                self.port_word(b, &text, lexeme.span)?,
            ),
            None => {
                let port = self.port_word(&text, &text, lexeme.span)?;
                (port, port)
            }
        };
        if first > last {
            return self.error(
                lexeme.span,
                "invalid port",
                "the first port of a range is the lower one",
            );
        }
        Ok(Ports { first, last })
    }

    fn port_word(&mut self, word: &str, whole: &str, span: Span) -> Parsed<u16> {
        if let Ok(n) = word.parse::<i64>() {
            return match u16::try_from(n) {
                Ok(port) if port > 0 => Ok(port),
                _ => self.error(
                    span,
                    &format!("invalid port: {n}"),
                    "a port is a number from 1 to 65535",
                ),
            };
        }
        match self.resolver.service(word) {
            Some(port) => Ok(port),
            None => {
                let cure = match self.lexer.macro_near(word) {
                    Some(name) => format!("did you mean ${name}?"),
                    None => format!("'{word}' is no service of this system; write the number"),
                };
                self.error(span, &format!("unknown port {whole}"), &cure)
            }
        }
    }

    /// A single port: ranges are refused.
    pub(crate) fn single_port(&mut self) -> Parsed<u16> {
        let span = self.peek().span;
        let ports = self.ports()?;
        if ports.first != ports.last {
            return self.error(
                span.to(self.last_span),
                "invalid port",
                "only 'listen on' of a redirect takes a range",
            );
        }
        Ok(ports.first)
    }

    /// ADDR or ADDR/N.
    pub(crate) fn prefix(&mut self) -> Parsed<IpNetwork> {
        let named = self.address("invalid host %s", 1)?;
        let Some(address) = named.addresses.first().copied() else {
            return Err(super::Skip);
        };
        let max: u8 = if address.ip.is_ipv4() { 32 } else { 128 };
        let mut len = max;
        if self.accept_symbol('/') {
            let (n, span) = self.number("a prefix length")?;
            match u8::try_from(n) {
                Ok(n) if n <= max => len = n,
                _ => {
                    return self.error(
                        span,
                        &format!("invalid prefixlen {n}"),
                        &format!("0 to {max}"),
                    );
                }
            }
        }
        match IpNetwork::new(address.ip, len) {
            Ok(network) => Ok(network),
            Err(_) => self.error(named.span, "invalid host", "not a network"),
        }
    }
}
