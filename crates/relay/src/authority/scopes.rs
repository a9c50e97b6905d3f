//! Scopes: making them, and giving members a right to them.

use super::draft::Draft;
use super::{Authority, AuthorityFault, RequestFault, cut, keys_of, random};
use cairn_keys::{Access, Body, MemberSet, Role, ScopeKey, Standing, Subject};
use cairn_store::Store;
use cairn_wire::{DeviceKey, ScopeId, limits};
use serde_json::json;

/// A scope as ops name it, and what is given there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeGrant {
    /// Its name.
    pub name: String,
    /// What is given; `None`: what the role usually has.
    pub access: Option<Access>,
}

/// Reads `NAME[:r|rw|rw+decide]`.
pub fn parse_scope_grant(text: &str) -> Result<ScopeGrant, AuthorityFault> {
    let (name, access) = match text.rsplit_once(':') {
        None => (text, None),
        Some((name, access)) => {
            let access = access
                .parse::<Access>()
                .map_err(|error| RequestFault::Text {
                    what: "the right in a scope",
                    why: error.to_string(),
                })?;
            (name, Some(access))
        }
    };
    check_scope_name(name)?;
    Ok(ScopeGrant {
        name: name.to_owned(),
        access,
    })
}

impl Authority {
    /// Makes a scope, with its first key; the centre becomes a member that decides.
    pub fn create_scope(
        &self,
        store: &mut dyn Store,
        name: &str,
    ) -> Result<ScopeId, AuthorityFault> {
        check_scope_name(name)?;
        if self.find_scope(store, name).is_ok() {
            return Err(RequestFault::ScopeExists(cut(name)).into());
        }
        let mut state = self.state();
        let scope = self.act(store, &mut state, |draft| self.draft_scope(draft, name))?;
        drop(state);
        self.note("scope create", json!({ "scope": scope.to_string() }), store)?;
        Ok(scope)
    }

    /// Gives a member a right in a scope, and the keys with which all of it can be read. Giving less
    /// than it has changes nothing.
    pub fn grant_scope(
        &self,
        store: &mut dyn Store,
        scope: ScopeId,
        device: DeviceKey,
        access: Access,
    ) -> Result<(), AuthorityFault> {
        self.refuse_own(&device)?;
        let name = self.member_name(store, &device);
        let mut state = self.state();
        self.act(store, &mut state, |draft| {
            let membership = draft.membership();
            if membership.standing(&device) == Standing::Revoked {
                return Err(RequestFault::Revoked.into());
            }
            let held = membership.access_now(&device, &scope);
            let Some(member) = membership.member(&device).cloned() else {
                return Err(RequestFault::UnknownDevice(device.to_string()).into());
            };
            if held.is_some_and(|held| held >= access) {
                return Ok(());
            }
            let keys = match reads(member.role) {
                true => keys_of(draft.keyring(), &scope),
                false => Vec::new(),
            };
            let grant_set = draft.grant(&keys, &member.public)?;
            let name = draft.seal_name(Subject::Member(device), &name)?;
            draft.say(&Body::MemberSet(MemberSet {
                public: member.public,
                role: member.role,
                scopes: vec![(scope, access)],
                name,
                code: None,
                grant_set,
            }))
        })?;
        drop(state);
        let what = json!({
            "scope": scope.to_string(),
            "device": device.to_string(),
            "access": access.to_string(),
        });
        self.note("scope grant", what, store)
    }

    pub(super) fn draft_scope(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
    ) -> Result<ScopeId, AuthorityFault> {
        if draft.membership().scopes().count() >= limits::SCOPES_SHARED_MAX {
            return Err(RequestFault::TooManyScopes.into());
        }
        let scope = ScopeId(random()?);
        let key = draft.new_key(scope)?;
        let key_commitment = key.commitment();
        // The centre first: should the power fail between the two, no scope is without it.
        self.draft_centre(draft, scope, key)?;
        let name = draft.seal_name(Subject::Scope(scope), name)?;
        draft.say(&Body::ScopeCreated {
            scope,
            name,
            key: key_commitment,
        })?;
        Ok(scope)
    }

    fn draft_centre(
        &self,
        draft: &mut Draft<'_>,
        scope: ScopeId,
        key: ScopeKey,
    ) -> Result<(), AuthorityFault> {
        let public = self.centre.public();
        let grant_set = draft.grant(&[key], &public)?;
        let name = draft.seal_name(Subject::Member(public.device), CENTRE_NAME)?;
        draft.say(&Body::MemberSet(MemberSet {
            public,
            role: Role::Centre,
            scopes: vec![(scope, Access::Decide)],
            name,
            code: None,
            grant_set,
        }))
    }

    pub(super) fn refuse_own(&self, device: &DeviceKey) -> Result<(), AuthorityFault> {
        if *device == self.centre.device() {
            return Err(RequestFault::Own("centre").into());
        }
        if *device == self.relay {
            return Err(RequestFault::Own("relay").into());
        }
        Ok(())
    }

    pub(crate) fn note(
        &self,
        action: &str,
        what: serde_json::Value,
        store: &dyn Store,
    ) -> Result<(), AuthorityFault> {
        let height = store.authority_head().height;
        Ok(self.audit.append(self.now_s(), action, height, what)?)
    }
}

/// What the centre is called in the authority's log.
pub(crate) const CENTRE_NAME: &str = "Centre";
/// What the relay is called there.
pub(crate) const RELAY_NAME: &str = "Relay";

/// Whether a role holds scope keys. Relays and hubs pass on what they cannot read.
pub(super) fn reads(role: Role) -> bool {
    !matches!(role, Role::Relay | Role::Hub)
}

fn check_scope_name(name: &str) -> Result<(), AuthorityFault> {
    let wrong = |why: &str| {
        Err(RequestFault::Text {
            what: "the scope's name",
            why: why.to_owned(),
        }
        .into())
    };
    if name.trim().is_empty() || name.trim() != name {
        return wrong("it is empty, or begins or ends with a space");
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return wrong("it is too long");
    }
    if name
        .chars()
        .any(|character| character.is_control() || character == ':')
    {
        return wrong("it holds a colon or a control character");
    }
    Ok(())
}
