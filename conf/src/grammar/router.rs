//! `router "name" { … }`
//! Owns the options of a router.
//! Must never touch a route.

use super::{Parsed, Parser};
use crate::lexer::Token;
use crate::limits;
use crate::model::{NetRoute, NetRouteId, Router, RouterId, TableId};
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn router(&mut self) -> Parsed<()> {
        self.next();
        self.begun += 1;
        let (name, span) = self.name(
            "the router's name",
            limits::RELAY_NAME_MAX,
            "router name truncated",
        )?;
        self.unique(
            "router",
            &name,
            span,
            &format!("router {name} defined twice"),
        )?;
        let mut router = Router {
            id: RouterId(u32::try_from(self.config.routers.len() + 1).unwrap_or(u32::MAX)),
            name: name.clone(),
            disabled: false,
            table: TableId(0),
            routes: Vec::new(),
            rtable: 0,
            label: None,
        };
        let mut rtable = false;
        if !self.block(|p| p.router_line(&mut router, &mut rtable))? {
            return Ok(());
        }
        let span = self.close;
        if router.routes.is_empty() {
            return self.complain(
                span,
                &format!("router {name} without routes"),
                "add 'route NETWORK/LENGTH'",
            );
        }
        if router.table == TableId(0) {
            return self.complain(
                span,
                &format!("router {name} has no table"),
                "add 'forward to <gateways> check icmp'",
            );
        }
        self.config.routers.push(router);
        Ok(())
    }

    fn rtable(&mut self, router: &mut Router, before: &mut bool, span: Span) -> Parsed<()> {
        if *before {
            let text = format!("router {} rtable already specified", router.name);
            return self.error(span, &text, "write it once");
        }
        let (n, span) = self.number("a routing table")?;
        if !(0..=limits::RTABLE_MAX).contains(&n) {
            return self.error(span, &format!("invalid rtable id {n}"), "0 to 255");
        }
        *before = true;
        router.rtable = u32::try_from(n).unwrap_or(0);
        Ok(())
    }

    fn router_line(&mut self, router: &mut Router, rtable: &mut bool) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("route") => {
                let span = self.peek().span;
                let network = self.prefix()?;
                if router
                    .routes
                    .iter()
                    .any(|r| r.network.is_ipv4() != network.is_ipv4())
                {
                    let text = format!("router {} address family mismatch", router.name);
                    return self.error(span, &text, "write one router for IPv4 and one for IPv6");
                }
                let id = NetRouteId(self.next_route);
                self.next_route += 1;
                router.routes.push(NetRoute { id, network });
            }
            Token::Keyword("forward") => {
                self.expect("to")?;
                let mut reference = self.reference()?;
                self.for_relays_only(&mut reference)?;
                if router.table != TableId(0) {
                    let text = format!("router {} table already specified", router.name);
                    return self.error(reference.span, &text, "put all gateways into one table");
                }
                router.table = self.instance(&reference, Some(limits::ROUTER_PORT))?;
            }
            Token::Keyword("rtable") => {
                self.rtable(router, rtable, lexeme.span)?;
            }
            Token::Keyword("rtlabel") => {
                let (label, _) = self.name(
                    "a route label",
                    limits::ROUTE_LABEL_MAX,
                    "route label truncated",
                )?;
                router.label = Some(label);
            }
            Token::Keyword("disable") => router.disabled = true,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "an option of a router: route, forward, rtable, rtlabel, disable",
                );
            }
        }
        self.end_of_line()
    }
}
