//! Taking back: revoking a device.

use super::draft::Draft;
use super::scopes::reads;
use super::{Authority, AuthorityFault};
use cairn_keys::{Body, DevicePublic, Leaf, ScopeKey, Standing, Subject};
use cairn_store::Store;
use cairn_wire::{DeviceKey, ScopeId};
use serde_json::json;

/// Leaves that one authority entry names; more follow in entries of their own.
const LEAVES_PER_ENTRY: usize = 128;

/// What a revocation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub device: DeviceKey,
    /// It had been revoked before; nothing was signed.
    pub already: bool,
    /// Ends of its logs up to which what it wrote is accepted.
    pub leaves: usize,
    /// Scopes that have a new key from now on.
    pub scopes_rotated: Vec<ScopeId>,
}

impl Authority {
    /// What a revocation would do, without doing it.
    pub fn preview_revocation(&self, store: &dyn Store, device: DeviceKey) -> Revocation {
        let membership = store.membership();
        let scopes = membership.scopes_now(&device).into_iter();
        Revocation {
            device,
            already: membership.standing(&device) == Standing::Revoked,
            leaves: leaves_of(store, device).len(),
            scopes_rotated: scopes.map(|(scope, _)| scope).collect(),
        }
    }

    /// Revokes a device: what it wrote up to here stays verified, all else of it never is, and
    /// whatever is written from now on is sealed under keys that it has not got. Entries sealed
    /// before stay readable to it, since it holds their keys.
    pub fn revoke(
        &self,
        store: &mut dyn Store,
        device: DeviceKey,
        reason: &str,
    ) -> Result<Revocation, AuthorityFault> {
        self.revoke_asked(store, device, reason, None)
    }

    /// The same, asked for from elsewhere by a device of ops, which the audit names.
    pub fn revoke_asked(
        &self,
        store: &mut dyn Store,
        device: DeviceKey,
        reason: &str,
        asked_by: Option<DeviceKey>,
    ) -> Result<Revocation, AuthorityFault> {
        self.refuse_own(&device)?;
        let revocation = self.preview_revocation(store, device);
        if revocation.already {
            return Ok(revocation);
        }
        let leaves = leaves_of(store, device);
        let mut state = self.state();
        self.act(store, &mut state, |draft| {
            // The new keys first: should the power fail in between, the device is a member still, and
            // revoking it again is no different from the first time.
            for scope in &revocation.scopes_rotated {
                rotate(draft, *scope, &device)?;
            }
            rotate(draft, ScopeId::AUTHORITY, &device)?;
            draft_revocation(draft, device, reason, &leaves)
        })?;
        drop(state);
        let mut what = json!({ "device": device.to_string(), "leaves": revocation.leaves });
        if let Some(asked_by) = asked_by {
            what["asked_by"] = json!(asked_by.to_string());
        }
        self.note("revoke", what, store)?;
        Ok(revocation)
    }
}

fn draft_revocation(
    draft: &mut Draft<'_>,
    device: DeviceKey,
    reason: &str,
    leaves: &[Leaf],
) -> Result<(), AuthorityFault> {
    let (first, rest) = leaves.split_at(leaves.len().min(LEAVES_PER_ENTRY));
    let reason = draft.seal_name(Subject::Reason(device), reason)?;
    draft.say(&Body::Revoked {
        device,
        leaves: first.to_vec(),
        reason,
    })?;
    for more in rest.chunks(LEAVES_PER_ENTRY) {
        draft.say(&Body::LeavesAccepted {
            device,
            leaves: more.to_vec(),
        })?;
    }
    Ok(())
}

/// A new key for a scope, or for the programme, sealed to every member of it but one.
pub(super) fn rotate(
    draft: &mut Draft<'_>,
    scope: ScopeId,
    without: &DeviceKey,
) -> Result<(), AuthorityFault> {
    let mut members: Vec<DevicePublic> = readers(draft, scope);
    members.retain(|member| member.device != *without);
    let key: ScopeKey = draft.new_key(scope)?;
    for member in &members {
        draft.grant(std::slice::from_ref(&key), member)?;
    }
    draft.say(&Body::ScopeKeyRotated {
        scope,
        number: key.number(),
        key: key.commitment(),
    })
}

fn readers(draft: &Draft<'_>, scope: ScopeId) -> Vec<DevicePublic> {
    let membership = draft.membership();
    if scope == ScopeId::AUTHORITY {
        return membership
            .members()
            .filter(|member| member.standing == Standing::Member && reads(member.role))
            .map(|member| member.public)
            .collect();
    }
    membership
        .members_of(&scope)
        .filter(|(member, _)| reads(member.role))
        .map(|(member, _)| member.public)
        .collect()
}

/// The ends of a device's logs as the store holds them.
fn leaves_of(store: &dyn Store, device: DeviceKey) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for of in store.journals() {
        for leaf in store.leaves(of) {
            if leaf.log.device == device {
                leaves.push(Leaf {
                    scope: leaf.log.scope,
                    lane: leaf.log.lane,
                    incarnation: leaf.log.incarnation,
                    number: leaf.number,
                    id: leaf.id,
                });
            }
        }
    }
    leaves
}
