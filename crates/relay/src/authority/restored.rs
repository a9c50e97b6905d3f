//! An authority that came out of a backup signs nothing before its own log is known to be back.
//!
//! Since the backup it may have signed: let devices in, revoked one. Whatever it signed now at the same
//! height would fork its log, and every grant after the fork would be void. The devices carry that log, and
//! give it back when they sync. Which of them knows the newest entry nobody can tell, so it waits for all
//! that are members, or until ops say that those who are missing will not come; that is recorded.
//!
//! Then it seals anew what the restored relay lacks: keys of members whose grants are gone, and a new key
//! for a scope whose newest one nobody gave back.

use super::draft::Draft;
use super::scopes::reads;
use super::{Authority, AuthorityFault, State, keys_of, open_grants};
use cairn_keys::{DevicePublic, Grant, Keyring, Membership, Role, ScopeKey, Standing};
use cairn_store::{Store, StoreError};
use cairn_wire::{DeviceKey, ScopeId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// State of the relay's store: that it was restored, until that is settled.
pub(crate) const STATE: &[u8] = b"relay/restored";
/// … with a restore's number and a device's key behind it: that device has synced since.
const HEARD: &[u8] = b"relay/heard/";

/// What stands under [`STATE`]; nothing once it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// By the clock of whoever restored it: tells one restore from another, decides nothing.
    at_s: u64,
    /// Height of the authority's log in the backup.
    height: u64,
}

/// The bytes of a restore's mark.
pub(crate) fn begun(at_s: u64, height: u64) -> Vec<u8> {
    json!({ "at_s": at_s, "height": height })
        .to_string()
        .into_bytes()
}

/// Marks a store whose authority's log may lack its newest entries, unless it is marked already: its
/// authority waits as after a restore.
pub(crate) fn begin_waiting(store: &mut dyn Store, now_s: u64) -> Result<(), StoreError> {
    if read_mark(store)?.is_none() {
        let height = store.authority_head().height;
        store.put_state(STATE, &begun(now_s, height))?;
    }
    Ok(())
}

/// Whom a restored authority waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// When it was restored, in seconds since 1970.
    pub(crate) at_s: u64,
    /// Members that have synced since.
    pub(crate) heard: usize,
    /// Members that have not.
    pub(crate) silent: Vec<DeviceKey>,
}

/// What settling a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Sealed keys that were made anew.
    pub(crate) grants: usize,
    /// Scopes that have a new key, because nobody had the newest.
    pub(crate) rotated: usize,
}

pub(super) fn read_mark(store: &dyn Store) -> Result<Option<Mark>, StoreError> {
    let value = store.state(STATE)?.unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&value)
        .map(Some)
        .map_err(|_| StoreError::Damaged("the mark of a restore does not read".to_owned()))
}

fn heard_key(mark: &Mark, device: &DeviceKey) -> Vec<u8> {
    [HEARD, &mark.at_s.to_be_bytes(), &device.0].concat()
}

pub(super) fn waiting(mark: &Mark, store: &dyn Store) -> Result<Waiting, StoreError> {
    let mut waiting = Waiting {
        at_s: mark.at_s,
        heard: 0,
        silent: Vec::new(),
    };
    for device in awaited(store.membership()) {
        match store.state(&heard_key(mark, &device))? {
            Some(_) => waiting.heard += 1,
            None => waiting.silent.push(device),
        }
    }
    Ok(waiting)
}

fn awaited(membership: &Membership) -> Vec<DeviceKey> {
    membership
        .members()
        .filter(|member| !matches!(member.role, Role::Relay | Role::Centre))
        .map(|member| member.public.device)
        .filter(|device| membership.standing(device) == Standing::Member)
        .collect()
}

impl Authority {
    /// Whom it waits for, if it was restored from a backup and that is not settled.
    pub(crate) fn waiting(&self, store: &dyn Store) -> Result<Option<Waiting>, StoreError> {
        let mark = self.state().restored.clone();
        mark.map(|mark| waiting(&mark, store)).transpose()
    }

    /// Whether it was restored and that is not settled, without asking the store.
    pub(crate) fn is_restored(&self) -> bool {
        self.state().restored.is_some()
    }

    /// These devices and the relay have held the same since it started. Settles a restore if all have.
    pub(crate) fn heard(
        &self,
        store: &mut dyn Store,
        devices: &BTreeSet<DeviceKey>,
    ) -> Result<Option<Settled>, AuthorityFault> {
        let mut state = self.state();
        let Some(mark) = state.restored.clone() else {
            return Ok(None);
        };
        for device in devices {
            let key = heard_key(&mark, device);
            if store.state(&key)?.is_none() {
                store.put_state(&key, &[1])?;
            }
        }
        let waiting = waiting(&mark, store)?;
        if waiting.heard == 0 || !waiting.silent.is_empty() {
            return Ok(None);
        }
        let settled = self.settle(store, &mut state)?;
        drop(state);
        self.note("restore settled", json!({ "heard": waiting.heard }), store)?;
        Ok(Some(settled))
    }

    /// Ops say that whoever has not synced since the restore is not waited for. Recorded.
    pub(crate) fn override_restore(
        &self,
        store: &mut dyn Store,
        reason: &str,
    ) -> Result<Option<(Waiting, Settled)>, AuthorityFault> {
        let mut state = self.state();
        let Some(mark) = state.restored.clone() else {
            return Ok(None);
        };
        let waiting = waiting(&mark, store)?;
        let silent: Vec<String> = waiting.silent.iter().map(ToString::to_string).collect();
        // First, so that it is never done and not recorded.
        let what = json!({ "reason": reason, "not_heard": silent });
        self.note("restore overridden", what, store)?;
        let settled = self.settle(store, &mut state)?;
        Ok(Some((waiting, settled)))
    }

    fn settle(&self, store: &mut dyn Store, state: &mut State) -> Result<Settled, AuthorityFault> {
        let mark = state.restored.take();
        let settled = self.seal_anew(store, state);
        let settled = settled.and_then(|settled| Ok((store.put_state(STATE, &[])?, settled).1));
        if settled.is_err() {
            state.restored = mark;
        }
        settled
    }

    /// Seals again what members were granted and the store has lost; answers how many keys. It signs
    /// nothing, so it need not wait for anybody.
    pub(crate) fn grant_again(&self, store: &mut dyn Store) -> Result<usize, AuthorityFault> {
        let state = self.state();
        let mut draft = Draft::new(&self.secret, &state.log, &state.keyring);
        for (to, keys) in missing_grants(&state.keyring, store)? {
            draft.grant(&keys, &to)?;
        }
        let grants = draft.finish().grants;
        let count = grants.len();
        if count > 0 {
            store.put_grants(grants)?;
        }
        Ok(count)
    }

    /// Makes grants that the store lacks, and new keys where the newest one is gone.
    fn seal_anew(
        &self,
        store: &mut dyn Store,
        state: &mut State,
    ) -> Result<Settled, AuthorityFault> {
        open_grants(&mut state.keyring, &self.centre, store)?;
        let missing = missing_grants(&state.keyring, store)?;
        let membership = store.membership().clone();
        let gone: Vec<ScopeId> = std::iter::once(ScopeId::AUTHORITY)
            .chain(membership.scopes().map(|scope| scope.id))
            .filter(|scope| {
                let newest = membership.newest_key(scope);
                newest.is_some_and(|number| state.keyring.get(scope, number).is_none())
            })
            .collect();
        let grants = missing.iter().map(|(_, keys)| keys.len()).sum();
        let relay = self.relay;
        self.act(store, state, |draft| {
            for (to, keys) in &missing {
                draft.grant(keys, to)?;
            }
            for scope in &gone {
                super::withdrawing::rotate(draft, *scope, &relay)?;
            }
            Ok(())
        })?;
        Ok(Settled {
            grants,
            rotated: gone.len(),
        })
    }
}

/// Keys in hand that members have a right to and the store has no grant of.
fn missing_grants(
    keyring: &Keyring,
    store: &dyn Store,
) -> Result<Vec<(DevicePublic, Vec<ScopeKey>)>, AuthorityFault> {
    let mut missing = Vec::new();
    let membership = store.membership();
    for member in membership.members() {
        let device = member.public.device;
        if membership.standing(&device) != Standing::Member || !reads(member.role) {
            continue;
        }
        let mut scopes = vec![ScopeId::AUTHORITY];
        scopes.extend(
            membership
                .scopes_now(&device)
                .into_iter()
                .map(|(scope, _)| scope),
        );
        let held: BTreeSet<(ScopeId, u32)> = store
            .grants_for(&device)?
            .iter()
            .filter_map(|bytes| Grant::parse(bytes).ok())
            .map(|grant| (grant.scope(), grant.key_number()))
            .collect();
        let lacks = |key: &ScopeKey| !held.contains(&(key.scope(), key.number()));
        let keys = scopes.iter().flat_map(|scope| keys_of(keyring, scope));
        let keys: Vec<ScopeKey> = keys.filter(lacks).collect();
        if !keys.is_empty() {
            missing.push((member.public, keys));
        }
    }
    Ok(missing)
}
