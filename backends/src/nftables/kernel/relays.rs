//! The relays' parts in the kernel: their rules as expressions, and the policy routing that goes with them.
//! Owns the numbers of the kernel's `socket` and `tproxy` that no library names, and the order of both changes.
//! Must never keep redirects from working because the kernel lacks what only relays need.

use super::Nftables;
use super::encode::{compare, family, immediate, mask_set, meta, nfproto, payload, register};
use super::raw::Expr;
use super::transaction::Transaction;
use crate::filter::diff::Pair;
use crate::filter::{FilterError, Relayed, Ruleset};
use crate::nftables::model::Family;
use crate::nftables::relays::{self, MARK, Part, TABLE};
use crate::routing::{Delivery, Families};
use nftnl::nftnl_sys::{self as sys, libc};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `NFT_SOCKET_TRANSPARENT`, `NFT_SOCKET_WILDCARD` (Linux 5.10)
const TRANSPARENT: u32 = 0;
const WILDCARD: u32 = 2;

/// The expressions of a part.
pub fn expressions(part: &Part) -> Vec<Expr> {
    match part {
        Part::Transparent => socket(TRANSPARENT).into(),
        Part::Wildcard => socket(WILDCARD).into(),
        Part::Datagram => protocol(UDP).into(),
        Part::Mark => vec![
            meta(libc::NFT_META_MARK, 0),
            mask_set(!MARK, MARK),
            Expr::new(c"meta")
                .u32(
                    sys::NFTNL_EXPR_META_KEY,
                    libc::NFT_META_MARK.cast_unsigned(),
                )
                .u32(sys::NFTNL_EXPR_META_SREG, register(0)),
        ],
        Part::To {
            ip,
            datagrams,
            port,
        } => {
            let mut exprs: Vec<Expr> = family(Family::Inet, *ip).into();
            exprs.extend(protocol(if *datagrams { UDP } else { TCP }));
            exprs.extend([
                payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 0),
                compare(libc::NFT_CMP_EQ, &port.to_be_bytes()),
            ]);
            exprs
        }
        Part::Divert { ip, port } => vec![
            immediate(&port.to_be_bytes()),
            Expr::new(c"tproxy")
                .u32(sys::NFTNL_EXPR_TPROXY_FAMILY, nfproto(*ip))
                .u32(sys::NFTNL_EXPR_TPROXY_REG_PORT, register(0)),
        ],
    }
}

fn socket(key: u32) -> [Expr; 2] {
    [
        Expr::new(c"socket")
            .u32(sys::NFTNL_EXPR_SOCKET_KEY, key)
            .u32(sys::NFTNL_EXPR_SOCKET_DREG, register(0)),
        compare(libc::NFT_CMP_EQ, &[1]),
    ]
}

fn protocol(number: u8) -> [Expr; 2] {
    [
        meta(libc::NFT_META_L4PROTO, 0),
        compare(libc::NFT_CMP_EQ, &[number]),
    ]
}

/// Ticks between two looks at the policy routing: somebody may have flushed it.
const LOOK_EVERY: u32 = 3;

/// Policy routing as this process left it.
#[derive(Default)]
pub struct State {
    delivery: Option<Delivery>,
    /// What is in the kernel; `None` before the first change, when an earlier process may have left anything.
    families: Option<Families>,
    ticks: u32,
    /// The operator knows that the kernel lacks something.
    told: bool,
}

fn families(relays: &[Relayed]) -> Families {
    Families {
        v4: relays.iter().any(|r| r.listen.is_ipv4()),
        v6: relays.iter().any(|r| r.listen.is_ipv6()),
    }
}

impl State {
    /// Whether the kernel lacked something when it was asked last.
    pub(super) fn lacking(&self) -> bool {
        self.told
    }

    fn set(&mut self, wanted: Families) -> Result<usize, FilterError> {
        let refused = |source| FilterError::Refused {
            object: format!("policy routing of relays (table {TABLE})"),
            source,
        };
        let delivery = match &mut self.delivery {
            Some(delivery) => delivery,
            none => none.insert(Delivery::open().map_err(refused)?),
        };
        let added = delivery.set(wanted).map_err(refused)?;
        self.families = Some(wanted);
        Ok(added)
    }
}

impl Nftables {
    /// Installs everything. A kernel that lacks what relays need still gets the redirects.
    pub(super) fn install_with_relays(
        &mut self,
        desired: &Ruleset,
        pairs: &[Pair<'_>],
    ) -> Result<(), FilterError> {
        let (before, after) = (families(&self.current.relays), families(&desired.relays));
        let both = Families {
            v4: before.v4 || after.v4,
            v6: before.v6 || after.v6,
        };
        // No packet may be marked that would not be delivered.
        if both != Families::default() && self.relays.families != Some(both) {
            self.relays.set(both)?;
        }
        match self.install_twice(desired, pairs) {
            Err(FilterError::Lacking { object, cure }) if !desired.relays.is_empty() => {
                if !std::mem::replace(&mut self.relays.told, true) {
                    self.notices.push(format!(
                        "{object}: the kernel lacks what relays need; {cure}"
                    ));
                }
                let mut without = desired.clone();
                without.relays.clear();
                self.install_twice(&without, pairs)?;
                self.relays.set(Families::default())?;
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.relays.told = false;
                if self.relays.families != Some(after) {
                    self.relays.set(after)?;
                }
                Ok(())
            }
        }
    }

    /// Adds to a transaction that what relays need goes. Their sessions end with us.
    pub(super) fn withdraw_relays(&self, transaction: &mut Transaction) {
        let chains = self.base.chains.keys();
        let ours: Vec<_> = chains.filter(|(_, name)| relays::is_ours(name)).collect();
        for name in &ours {
            transaction.flush_chain(name);
        }
        for name in &ours {
            transaction.delete_chain(name);
        }
    }

    /// Removes the policy routing.
    pub(super) fn remove_delivery(&mut self) -> Result<(), FilterError> {
        if self.relays.families.unwrap_or_default() != Families::default() {
            self.relays.set(Families::default())?;
        }
        self.relays.families = None;
        Ok(())
    }

    /// Restores what somebody else removed from the policy routing.
    pub(super) fn restore_delivery(&mut self) -> Result<(), FilterError> {
        self.relays.ticks += 1;
        let wanted = self.relays.families.unwrap_or_default();
        if self.relays.ticks < LOOK_EVERY || wanted == Families::default() {
            return Ok(());
        }
        self.relays.ticks = 0;
        if self.relays.set(wanted)? > 0 {
            let line = "policy routing of relays was removed by somebody else and is restored";
            self.notices.push(line.to_owned());
        }
        Ok(())
    }
}
