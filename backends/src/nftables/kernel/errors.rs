//! The kernel's bare error numbers as sentences.
//! Owns what an administrator can do about each.
//! Must never hide the object a message was about.

use super::socket::Refusal;
use crate::filter::FilterError;
use crate::nftables::relays::is_ours;
use nftnl::nftnl_sys::libc;
use std::collections::BTreeMap;
use std::io;

/// Asking for anything failed: no right, or no nf_tables.
pub fn access(error: &io::Error) -> FilterError {
    let (reason, cure) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (
            "this process may not use nftables (no CAP_NET_ADMIN)".to_owned(),
            "start relayd as root or with CAP_NET_ADMIN, or use the packet filter userland",
        ),
        Some(libc::EPROTONOSUPPORT | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT) => (
            "the kernel has no nf_tables".to_owned(),
            "load the module nf_tables (modprobe nf_tables), or use the packet filter userland",
        ),
        _ => (
            error.to_string(),
            "use the packet filter userland if this lasts",
        ),
    };
    FilterError::Unavailable {
        object: "packet filter nftables".to_owned(),
        reason,
        cure,
    }
}

/// Whether a message was about a chain of relays, such as `rule of relays: …`.
fn is_relays(what: &str) -> bool {
    let chain = what
        .strip_prefix("rule of ")
        .or(what.strip_prefix("chain "));
    chain.is_some_and(|rest| is_ours(rest.split(':').next().unwrap_or(rest)))
}

/// A transaction failed.
pub fn transaction(table: &str, names: &BTreeMap<u32, String>, refusal: Refusal) -> FilterError {
    let what = names
        .get(&refusal.sequence)
        .map_or("transaction", String::as_str);
    let object = format!("nftables table {table}, {what}");
    let rule = what.starts_with("rule of");
    match refusal.error.raw_os_error() {
        Some(libc::EPERM) => FilterError::Owned(format!("nftables table {table}")),
        Some(libc::ENOENT | libc::EOPNOTSUPP) if is_relays(what) => FilterError::Lacking {
            object,
            reason: "the kernel lacks this".to_owned(),
            cure: "load the modules of relays (modprobe -a nft_socket nft_tproxy)",
        },
        Some(libc::ENOENT | libc::EOPNOTSUPP) if rule || what.starts_with("chain") => {
            FilterError::Unavailable {
                object,
                reason: "the kernel lacks something this needs".to_owned(),
                cure: "load the nf_tables modules (modprobe -a nft_nat nft_numgen nft_hash nft_ct nft_masq nft_log nft_connlimit nft_objref nft_fwd_netdev), or remove the option that needs it",
            }
        }
        Some(libc::EEXIST) => FilterError::Unavailable {
            object,
            reason: "there is something of this name but of another kind".to_owned(),
            cure: "delete the table with `nft delete table` (its connections end), or choose another table name",
        },
        Some(libc::ENODEV) => FilterError::Unavailable {
            object,
            reason: "there is no such interface".to_owned(),
            cure: "make the interface, or correct its name in relayd.conf",
        },
        _ => FilterError::Refused {
            object,
            source: refusal.error,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line_of(what: &str, number: i32) -> String {
        let names = BTreeMap::from([(7, what.to_owned())]);
        let refusal = Refusal {
            sequence: 7,
            error: io::Error::from_raw_os_error(number),
        };
        transaction("relayd", &names, refusal).to_string()
    }

    #[test]
    fn a_missing_expression_names_the_rule_and_the_modules() {
        let line = line_of("rule of h_www: ct mark set numgen inc mod 3", libc::ENOENT);
        let wanted = "nftables table relayd, rule of h_www: ct mark set numgen inc mod 3: the kernel lacks something this needs; load the nf_tables modules (modprobe -a nft_nat ";
        assert!(line.starts_with(wanted), "{line}");
        assert!(!line.contains('\n'));
        assert!(line_of("chain pre", libc::EOPNOTSUPP).contains("modprobe"));
    }

    #[test]
    fn other_refusals_name_object_and_cure_where_there_is_one() {
        assert_eq!(
            line_of("table", libc::EPERM),
            "nftables table relayd belongs to another running relayd; stop it or choose another table name"
        );
        assert!(line_of("map live4", libc::EEXIST).contains("delete the table"));
        assert!(line_of("chain in_em0", libc::ENODEV).contains("no such interface"));
        assert!(
            line_of("map live4", libc::ENOMEM).starts_with("nftables table relayd, map live4: ")
        );
    }

    #[test]
    fn no_right_and_no_nf_tables_are_told_apart() {
        let line = |number| access(&io::Error::from_raw_os_error(number)).to_string();
        assert_eq!(
            line(libc::EPROTONOSUPPORT),
            "packet filter nftables: the kernel has no nf_tables; load the module nf_tables (modprobe nf_tables), or use the packet filter userland"
        );
        assert!(line(libc::EPERM).contains("no CAP_NET_ADMIN"));
        assert!(line(libc::EACCES).contains("no CAP_NET_ADMIN"));
    }

    #[test]
    fn a_kernel_without_tproxy_is_told_apart_from_one_without_nat() {
        let refused = |what: &str| {
            let names = BTreeMap::from([(7, what.to_owned())]);
            let refusal = Refusal {
                sequence: 7,
                error: io::Error::from_raw_os_error(libc::ENOENT),
            };
            transaction("relayd", &names, refusal)
        };
        let error = refused("rule of relays: socket transparent 1 jump answers");
        assert_eq!(
            error.to_string(),
            "nftables table relayd, rule of relays: socket transparent 1 jump answers: the kernel lacks this; load the modules of relays (modprobe -a nft_socket nft_tproxy)"
        );
        assert!(matches!(error, FilterError::Lacking { .. }));
        let other = refused("rule of r_relays: ct mark set 0x1");
        assert!(matches!(other, FilterError::Unavailable { .. }), "{other}");
    }
}
