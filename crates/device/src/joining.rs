//! Joining a programme by a code, at once or later.

use crate::error::DeviceError;
use crate::syncing::RelayRecord;
use crate::{Device, lock};
use cairn_keys::Access;
use cairn_keys::enrolment::Code;
use cairn_keys::grant::Grant;
use cairn_member::MemberError;
use cairn_store::Store;
use cairn_transport::dial::Dialled;
use cairn_transport::side_objects::grant_object;
use cairn_transport::{Enrolment, SyncOptions, enrol};
use cairn_wire::ids::{DeviceKey, ProgrammeId, ScopeId};
use serde::{Deserialize, Serialize};

/// Private state: the programme that was joined.
const JOINED: &[u8] = b"joined";

/// An area of work of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedScope {
    /// Its id.
    pub id: ScopeId,
    /// Its name.
    #[serde(rename = "scope")]
    pub name: String,
    /// `r`, `rw` or `rw+decide`.
    pub access: String,
}

/// What joining came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// This device.
    pub device: DeviceKey,
    /// The relay that it syncs with.
    pub relay: DeviceKey,
    /// Where that is.
    pub addresses: Vec<String>,
    /// Its areas of work.
    pub scopes: Vec<JoinedScope>,
    /// The code was taken and is used when a relay can be reached; records can be made already.
    pub deferred: bool,
}

/// What is remembered of joining.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JoinedRecord {
    pub(crate) programme: ProgrammeId,
    /// The code, as long as it was not used yet.
    pub(crate) code: Option<String>,
    /// What the code promised.
    pub(crate) scopes: Vec<JoinedScope>,
}

impl Device {
    /// Joins the programme of a code: asks its relay, or with `defer` remembers it until the next sync.
    /// Repeating it is harmless.
    pub fn join(&self, code: &str, defer: bool) -> Result<Joined, DeviceError> {
        let parsed = Code::parse(code)?;
        self.belong_to(parsed.programme)?;
        let scopes: Vec<JoinedScope> = parsed
            .scopes
            .iter()
            .map(|scope| JoinedScope {
                id: scope.id,
                name: scope.name.clone(),
                access: access_word(scope.access).to_owned(),
            })
            .collect();
        let record = JoinedRecord {
            programme: parsed.programme,
            code: Some(code.to_owned()),
            scopes: scopes.clone(),
        };
        let relay = RelayRecord::new(parsed.relay, parsed.addresses.clone());
        self.try_with(move |member, store| {
            put_joined(member, store, &record)?;
            crate::syncing::put_relay(member, store, relay)
        })?;
        let mut joined = Joined {
            device: self.device(),
            relay: parsed.relay,
            addresses: parsed.addresses.clone(),
            scopes,
            deferred: defer,
        };
        if !defer {
            let options = self.sync_options(None, None);
            let enrolled = self.enrol(&parsed, &options)?;
            self.runtime.block_on(async move { drop(enrolled) });
            joined.scopes = self.scopes()?;
        }
        Ok(joined)
    }

    /// The device's areas of work: those that it has, or while it waits to join, those of its code.
    pub fn scopes(&self) -> Result<Vec<JoinedScope>, DeviceError> {
        self.try_with(|member, store| {
            let membership = store.membership();
            let now = membership.scopes_now(&member.device());
            if now.is_empty() {
                let joined = joined(member, store)?;
                return Ok(joined.map(|joined| joined.scopes).unwrap_or_default());
            }
            Ok(now
                .into_iter()
                .map(|(id, access)| JoinedScope {
                    id,
                    name: member.scope_name(membership, &id),
                    access: access_word(access).to_owned(),
                })
                .collect())
        })
    }

    /// Uses a code: becomes a member. The connection can serve the first session.
    pub(crate) fn enrol(&self, code: &Code, options: &SyncOptions) -> Result<Dialled, DeviceError> {
        let secret = lock(&self.member).secret().clone();
        let Enrolment {
            authority,
            grants,
            dialled,
        } = self
            .runtime
            .block_on(enrol(code, &secret, self.name(), options))?;
        self.try_with(move |member, store| {
            store.append_authority(authority)?;
            let grants = grants
                .iter()
                .filter_map(|bytes| Grant::parse(bytes).ok())
                .map(|grant| grant_object(&grant))
                .collect();
            store.put_grants(grants)?;
            if let Some(mut record) = joined(member, store)? {
                record.code = None;
                put_joined(member, store, &record)?;
            }
            member.catch_up(store).map(drop)
        })?;
        Ok(dialled)
    }

    pub(crate) fn joined(&self) -> Result<Option<JoinedRecord>, DeviceError> {
        self.try_with(|member, store| joined(member, store))
    }

    fn belong_to(&self, programme: ProgrammeId) -> Result<(), DeviceError> {
        let known = self.with(|_, store| store.programme())?;
        if known == programme {
            return Ok(());
        }
        if known != ProgrammeId([0; 32]) {
            return Err(DeviceError::OtherProgramme);
        }
        self.reopen(programme)
    }
}

fn access_word(access: Access) -> &'static str {
    access.as_str()
}

pub(crate) fn joined(
    member: &cairn_member::Member,
    store: &dyn Store,
) -> Result<Option<JoinedRecord>, MemberError> {
    let bytes = member.private(store, JOINED)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn put_joined(
    member: &cairn_member::Member,
    store: &mut dyn Store,
    record: &JoinedRecord,
) -> Result<(), MemberError> {
    let bytes =
        serde_json::to_vec(record).map_err(|error| MemberError::Internal(error.to_string()))?;
    member.put_private(store, JOINED, &bytes)
}
