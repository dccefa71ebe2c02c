//! Refusal of what a backend cannot do, before anything is applied.
//! Owns the comparison of a desired state with a backend's [`Capabilities`].
//! Must never be skipped: an option that is silently ignored is a defect.

use super::{Capabilities, FilterError, Forward, Mode, Ruleset, Service};

/// Checks a whole desired state.
///
/// # Errors
/// The first option that `backend` cannot do, with the redirection it stands in.
pub fn check(
    desired: &Ruleset,
    can: Capabilities,
    backend: &'static str,
) -> Result<(), FilterError> {
    desired
        .services
        .iter()
        .try_for_each(|service| check_service(service, can, backend))
}

fn check_service(
    service: &Service,
    can: Capabilities,
    backend: &'static str,
) -> Result<(), FilterError> {
    let route = matches!(service.forward, Forward::Route { .. });
    let tag = service.tag.as_ref();
    let any = |what: fn(&conf::model::VirtualAddress) -> bool| service.listeners.iter().any(what);
    let wants = [
        (route && !can.route, "`route to`"),
        (tag.is_some() && !can.tag, "`pftag`"),
        (
            tag.is_some_and(|t| t.match_only) && !can.match_only,
            "`match pftag`",
        ),
        (
            any(|l| l.interface.is_some()) && !can.interface,
            "`interface`",
        ),
        (any(|l| l.log) && !can.log, "`pflog`"),
        (service.sticky && !can.sticky, "`sticky-address`"),
        (
            service.mode == Mode::LeastStates && !can.least_states,
            "mode `least-states`",
        ),
        (any(|l| l.port != l.port_end) && !can.ranges, "a port range"),
        (any(|l| l.ip_protocol == 17) && !can.udp, "UDP"),
    ];
    match wants.into_iter().find(|(refused, _)| *refused) {
        None => Ok(()),
        Some((_, what)) => Err(FilterError::Unsupported {
            object: format!("redirect {}", service.name),
            what,
            backend,
        }),
    }
}
