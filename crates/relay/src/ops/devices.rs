//! What ops ask about devices, scopes and sessions, and change about them.

use super::OpsError;
use super::asker::Asker;
use crate::authority::{Authority, AuthorityFault, NewCodeRequest, parse_scope_grant};
use crate::contacts::Contact;
use crate::daemon::Shared;
use crate::time::{now_s, utc};
use cairn_keys::authority::ParseWordError;
use cairn_keys::{Access, Member, Role, Standing};
use cairn_store::Store;
use cairn_wire::DeviceKey;
use serde_json::{Value, json};
use std::sync::Arc;

impl Shared {
    /// Runs `work` with the authority and the store, between two commits.
    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Authority, &mut dyn Store) -> R + Send + 'static,
    ) -> Result<R, OpsError> {
        let authority = Arc::clone(&self.authority);
        let done = self.engine.call(move |store| work(&authority, store));
        Ok(done.await?)
    }

    /// The same, for what may put new keys into the store, which live sessions are to hand on.
    async fn with_store_and_keys<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Authority, &mut dyn Store) -> Result<R, AuthorityFault> + Send + 'static,
    ) -> Result<R, OpsError> {
        let done = self.with_store(work).await?;
        self.engine.side_objects_grown().await?;
        Ok(done?)
    }
}

/// A member as ops see it.
pub(super) struct DeviceFacts {
    pub(super) device: DeviceKey,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) standing: Standing,
    scopes: Vec<Value>,
    /// Entries that it may have and has not acknowledged.
    pub(super) undelivered: u64,
}

impl DeviceFacts {
    pub(super) fn of(authority: &Authority, store: &dyn Store, member: &Member) -> Self {
        let device = member.public.device;
        let scopes = store.membership().scopes_now(&device);
        Self {
            device,
            name: authority.member_name(store, &device),
            role: member.role,
            standing: member.standing,
            undelivered: undelivered(store, &device, &scopes),
            scopes: scopes
                .iter()
                .map(|(scope, access)| {
                    json!({
                        "scope": authority.scope_name(store, scope),
                        "access": access.to_string(),
                    })
                })
                .collect(),
        }
    }

    pub(super) fn to_json(&self, contact: Option<&Contact>, connected: bool) -> Value {
        let standing = match self.standing {
            Standing::Unknown => "unknown",
            Standing::Member => "member",
            Standing::Revoked => "revoked",
        };
        let time = |seconds: Option<u64>| seconds.map(utc);
        json!({
            "device": self.device.to_string(),
            "name": self.name,
            "role": self.role.to_string(),
            "standing": standing,
            "scopes": self.scopes,
            "connected": connected,
            "last_contact": time(contact.map(|contact| contact.last_contact_s)),
            "last_sync": time(contact.and_then(|contact| contact.last_sync_s)),
            "backlog": contact.and_then(|contact| contact.backlog),
            "oldest_unsent_s": contact.and_then(|contact| contact.oldest_unsent_s(now_s())),
            "conflicts": contact.and_then(|contact| contact.conflicts),
            "last_error": contact.and_then(|contact| contact.last_error.clone()),
            "undelivered_entries": self.undelivered,
        })
    }
}

fn undelivered(
    store: &dyn Store,
    device: &DeviceKey,
    scopes: &[(cairn_wire::ScopeId, Access)],
) -> u64 {
    let lanes = store
        .peer(device)
        .map(|peer| peer.lanes)
        .unwrap_or_default();
    let epoch = store.epoch();
    let mut missing = 0;
    for of in store.journals() {
        if scopes.iter().any(|(scope, _)| *scope == of.scope) {
            let cursor = lanes.get(&of).and_then(|lane| lane.acknowledged);
            let has = cursor
                .filter(|cursor| cursor.epoch == epoch)
                .map_or(0, |cursor| cursor.mark.position);
            missing += store.journal_end(of).position.saturating_sub(has);
        }
    }
    missing
}

pub(super) async fn devices(shared: &Shared) -> Result<Value, OpsError> {
    let facts = shared.with_store(all_facts).await?;
    let devices = in_json(shared, &facts);
    Ok(json!({ "schema": "cairn.ops.devices/1", "devices": devices }))
}

pub(super) async fn device(shared: &Shared, asked: String) -> Result<Value, OpsError> {
    let (facts, reason, logs) = shared
        .with_store(move |authority, store| {
            let device = authority.find_device(store, &asked)?;
            let membership = store.membership();
            let Some(member) = membership.member(&device) else {
                return Err(crate::authority::RequestFault::UnknownDevice(asked).into());
            };
            let reason = member.reason.as_ref().and_then(|reason| {
                let subject = cairn_keys::Subject::Reason(device);
                let opened = reason.open(membership.programme(), subject, &authority.keyring());
                opened.ok()
            });
            let facts = DeviceFacts::of(authority, store, member);
            let logs = super::status::logs_of(authority, store, None, Some(device));
            Ok::<_, AuthorityFault>((facts, reason, logs))
        })
        .await??;
    let sessions = super::sessions::of_device(shared, facts.device).await?;
    let mut object = in_json(shared, &[facts]).pop().unwrap_or_default();
    if let Some(object) = object.as_object_mut() {
        object.insert("schema".into(), json!("cairn.ops.device/1"));
        object.insert("reason".into(), json!(reason));
        object.insert("logs".into(), json!(logs));
        object.insert("sessions".into(), json!(sessions));
    }
    Ok(object)
}

pub(super) fn all_facts(authority: &Authority, store: &mut dyn Store) -> Vec<DeviceFacts> {
    let store: &dyn Store = store;
    let members = store.membership().members();
    let mut facts: Vec<_> = members
        .map(|member| DeviceFacts::of(authority, store, member))
        .collect();
    facts.sort_by(|one, other| {
        one.name
            .cmp(&other.name)
            .then(one.device.cmp(&other.device))
    });
    facts
}

pub(super) fn in_json(shared: &Shared, facts: &[DeviceFacts]) -> Vec<Value> {
    shared.take_contacts();
    let running: Vec<_> = shared.engine.sessions();
    let contacts = shared.contacts();
    facts
        .iter()
        .map(|facts| {
            let connected = running.iter().any(|info| info.peer == facts.device);
            facts.to_json(contacts.get(&facts.device), connected)
        })
        .collect()
}

pub(super) async fn revoke(
    shared: &Shared,
    asker: &Asker,
    asked: String,
    reason: String,
    dry_run: bool,
) -> Result<Value, OpsError> {
    if reason.trim().is_empty() {
        let hint = "Say why: --reason TEXT";
        return Err(OpsError::new("usage", "a revocation needs a reason", hint).exits(2));
    }
    let asked_by = asker.device();
    let (revocation, name) = shared
        .with_store_and_keys(move |authority, store| {
            let device = authority.find_device(store, &asked)?;
            let name = authority.member_name(store, &device);
            let revocation = match dry_run {
                true => authority.preview_revocation(store, device),
                false => authority.revoke_asked(store, device, &reason, asked_by)?,
            };
            Ok((revocation, name))
        })
        .await?;
    Ok(json!({
        "schema": "cairn.ops.revoked/1",
        "device": revocation.device.to_string(),
        "name": name,
        "already": revocation.already,
        "dry_run": dry_run,
        "leaves_accepted": revocation.leaves,
        "scopes_rotated": revocation.scopes_rotated.len(),
        "note": "What it holds it can still read; what is written from now on it cannot.",
    }))
}

pub(super) async fn enrol_new(
    shared: &Shared,
    name: Option<String>,
    role: &str,
    scopes: &[String],
    uses: u32,
    valid_s: u64,
) -> Result<Value, OpsError> {
    let request = NewCodeRequest {
        name,
        role: role.parse().map_err(word)?,
        scopes: scopes
            .iter()
            .map(|text| parse_scope_grant(text))
            .collect::<Result<_, _>>()?,
        uses,
        valid_s,
        addresses: vec![shared.public_address()],
    };
    let code = shared
        .with_store_and_keys(move |authority, store| authority.new_code(store, &request))
        .await?;
    Ok(json!({
        "schema": "cairn.enrolment/1",
        "code": code.text.as_str(),
        "uses": code.uses,
        "expires": utc(code.expires),
        "role": code.role.to_string(),
        "scopes_made": code.scopes_made,
    }))
}

fn word(error: ParseWordError) -> OpsError {
    OpsError::new("usage", error.to_string(), "See: cairn ops help").exits(2)
}

pub(super) async fn scopes(shared: &Shared) -> Result<Value, OpsError> {
    let counts = shared.counts().await?;
    let scopes = shared
        .with_store(move |authority, store| {
            let store: &dyn Store = store;
            let mut scopes: Vec<Value> = Vec::new();
            for scope in store.membership().scopes() {
                let members = store.membership().members_of(&scope.id);
                let journals = store.journals().into_iter();
                let entries: u64 = journals
                    .filter(|of| of.scope == scope.id)
                    .map(|of| store.journal_end(of).position)
                    .sum();
                let documents = counts
                    .as_ref()
                    .map(|counts| counts.by_scope.get(&scope.id).copied().unwrap_or(0));
                scopes.push(json!({
                    "scope": authority.scope_name(store, &scope.id),
                    "id": scope.id.to_string(),
                    "members": members.count(),
                    "key_number": scope.newest_key,
                    "entries": entries,
                    "documents": documents,
                }));
            }
            scopes
        })
        .await?;
    Ok(json!({ "schema": "cairn.ops.scopes/1", "scopes": scopes }))
}

pub(super) async fn scope_create(shared: &Shared, name: String) -> Result<Value, OpsError> {
    let asked = name.clone();
    let scope = shared
        .with_store_and_keys(move |authority, store| authority.create_scope(store, &asked))
        .await?;
    Ok(json!({ "schema": "cairn.ops.scope/1", "scope": name, "id": scope.to_string() }))
}

pub(super) async fn scope_grant(
    shared: &Shared,
    scope: String,
    device: String,
    access: &str,
) -> Result<Value, OpsError> {
    let access: Access = access.parse().map_err(word)?;
    let answer = json!({ "scope": scope, "access": access.to_string() });
    let device = shared
        .with_store_and_keys(move |authority, store| {
            let scope = authority.find_scope(store, &scope)?;
            let device = authority.find_device(store, &device)?;
            authority.grant_scope(store, scope, device, access)?;
            Ok(device)
        })
        .await?;
    let mut answer = answer;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("schema".into(), json!("cairn.ops.granted/1"));
        answer.insert("device".into(), json!(device.to_string()));
    }
    Ok(answer)
}
