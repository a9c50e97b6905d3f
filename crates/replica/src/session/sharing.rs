//! What two devices may have of each other, by the authority's log as it is known here.

use crate::holdings::Holdings;
use cairn_keys::{Membership, Role, Standing};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, Lane, ScopeId};
use cairn_wire::limits::SCOPES_SHARED_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// What passes between this replica and a peer.
pub(super) struct Sharing {
    /// What the peer is now.
    pub standing: Standing,
    /// Per scope and lane: may the peer have it (true), or only hand in (false)?
    pub lanes: BTreeMap<ScopeLane, bool>,
}

/// By the membership of now: this side shares whatever it ever had a right to, since it may hold
/// it; the peer gets only what it has a right to now, and may hand in what it ever had.
pub(super) fn sharing(holdings: &dyn Holdings, peer: &DeviceKey) -> Sharing {
    let membership = holdings.membership();
    let me = holdings.device();
    let standing = membership.standing(peer);
    let mut lanes = BTreeMap::new();
    let shared = membership
        .scopes()
        .map(|scope| scope.id)
        .filter(|id| had(membership, &me, id) && had(membership, peer, id))
        .take(SCOPES_SHARED_MAX);
    for scope in shared {
        let serve = standing == Standing::Member && has(membership, peer, &scope);
        for lane in Lane::ALL {
            lanes.insert(ScopeLane { scope, lane }, serve);
        }
    }
    Sharing { standing, lanes }
}

/// Scopes that both have a right to now. Each side works out the same, so that it can compare what it
/// holds about them.
pub(super) fn shared_now(holdings: &dyn Holdings, peer: &DeviceKey) -> BTreeSet<ScopeId> {
    let membership = holdings.membership();
    let me = holdings.device();
    if membership.standing(peer) != Standing::Member {
        return BTreeSet::new();
    }
    membership
        .scopes()
        .map(|scope| scope.id)
        .filter(|id| has(membership, &me, id) && has(membership, peer, id))
        .collect()
}

/// Whether a peer carries what it cannot read.
pub(super) fn carries(holdings: &dyn Holdings, peer: &DeviceKey) -> bool {
    is_carrier(holdings.membership(), peer)
}

/// Relays, hubs and centres carry every scope, whether they can read it or not.
pub(super) fn carries_all(role: Role) -> bool {
    matches!(role, Role::Relay | Role::Hub | Role::Centre)
}

fn is_carrier(membership: &Membership, device: &DeviceKey) -> bool {
    membership
        .member(device)
        .is_some_and(|it| carries_all(it.role))
}

fn had(membership: &Membership, device: &DeviceKey, scope: &ScopeId) -> bool {
    is_carrier(membership, device) || membership.was_ever_member_of(device, scope)
}

fn has(membership: &Membership, device: &DeviceKey, scope: &ScopeId) -> bool {
    is_carrier(membership, device) || membership.access_now(device, scope).is_some()
}
