//! Who asks: whoever may open the socket in the relay's folder, or a device of ops from anywhere.
//!
//! The folder's owner holds its keys and may have everything. A device of ops looks, and shuts out: what
//! lets in, makes, decides or hides is done beside the authority alone, so that a stolen laptop of ops
//! takes nothing over. Figures of sync it gets of the whole programme; what is read out of records only
//! of areas of work that it may read itself, as its own log would give them to it.

use super::{OpsError, OpsRequest};
use crate::daemon::Shared;
use cairn_keys::{Role, Standing};
use cairn_wire::DeviceKey;
use cairn_wire::frame::CloseReason;
use cairn_wire::ids::ScopeId;
use std::collections::BTreeMap;

/// Who asks.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The owner of the relay's folder.
    Owner,
    /// A member of ops.
    Device(OpsDevice),
}

/// A device of ops, as it is entitled at this moment.
#[derive(Debug)]
pub(crate) struct OpsDevice {
    pub(crate) device: DeviceKey,
    /// What it may read, by name.
    reads: BTreeMap<ScopeId, String>,
}

impl OpsDevice {
    /// What the device may do now, by the authority's log; else the one word that it is told.
    pub(crate) async fn entitled(shared: &Shared, device: DeviceKey) -> Result<Self, CloseReason> {
        let asked = shared.with_store(move |authority, store| {
            let membership = store.membership();
            let role = membership.member(&device).map(|member| member.role);
            match membership.standing(&device) {
                Standing::Unknown => return Err(CloseReason::Unknown),
                Standing::Revoked => return Err(CloseReason::Revoked),
                Standing::Member if role != Some(Role::Ops) => {
                    return Err(CloseReason::NotPermitted);
                }
                Standing::Member => {}
            }
            let scopes = membership.scopes_now(&device).into_iter();
            let named = scopes.map(|(scope, _)| (scope, authority.scope_name(store, &scope)));
            Ok(named.collect())
        });
        let reads = asked.await.map_err(|_| CloseReason::StoreFailed)??;
        Ok(Self { device, reads })
    }
}

impl Asker {
    /// Whether what stands in records of that scope may be told.
    pub(super) fn may_read(&self, scope: &ScopeId) -> bool {
        self.scopes().is_none_or(|reads| reads.contains_key(scope))
    }

    /// The same for a scope that is known by its name.
    pub(super) fn may_read_named(&self, name: &str) -> bool {
        self.scopes()
            .is_none_or(|reads| reads.values().any(|read| read == name))
    }

    /// What may be read, by name; `None` if that is everything.
    pub(super) fn scopes(&self) -> Option<&BTreeMap<ScopeId, String>> {
        match self {
            Self::Owner => None,
            Self::Device(device) => Some(&device.reads),
        }
    }

    /// The device that asks, for the audit.
    pub(super) fn device(&self) -> Option<DeviceKey> {
        match self {
            Self::Owner => None,
            Self::Device(device) => Some(device.device),
        }
    }

    /// Refuses what is for the folder's owner alone.
    pub(super) fn may_ask(&self, request: &OpsRequest, relay: &str) -> Result<(), OpsError> {
        match self {
            Self::Device(_) if !is_for_any_ops(request) => {
                let told = serde_json::to_value(request).unwrap_or_default();
                let command = told["command"].as_str().unwrap_or_default();
                let message = format!(
                    "{command} is done on the machine of the relay at {relay}, by whoever owns its folder"
                );
                let hint = match request {
                    OpsRequest::Decide { .. } => {
                        "With a right to decide this device decides by itself: cairn decide ID"
                    }
                    _ => "There: cairn ops --dir DIR …",
                };
                Err(OpsError::new("local_only", message, hint).exits(5))
            }
            _ => Ok(()),
        }
    }
}

fn is_for_any_ops(request: &OpsRequest) -> bool {
    match request {
        OpsRequest::Status { .. }
        | OpsRequest::Morning {}
        | OpsRequest::Devices {}
        | OpsRequest::Device { .. }
        | OpsRequest::Scopes {}
        | OpsRequest::Sessions { .. }
        | OpsRequest::Docs { .. }
        | OpsRequest::Doc { .. }
        | OpsRequest::Conflicts {}
        | OpsRequest::Logs { .. }
        | OpsRequest::QuarantineList { .. }
        | OpsRequest::QuarantineShow { .. }
        | OpsRequest::Verify { .. }
        | OpsRequest::AuditList { .. }
        | OpsRequest::AuditVerify {}
        | OpsRequest::ConfigShow {}
        // A phone is lost on a Friday night. It takes away and adds nothing.
        | OpsRequest::Revoke { .. } => true,
        OpsRequest::EnrolNew { .. }
        | OpsRequest::ScopeCreate { .. }
        | OpsRequest::ScopeGrant { .. }
        | OpsRequest::QuarantineKeepOut { .. }
        | OpsRequest::Decide { .. }
        | OpsRequest::BackupPoint {}
        | OpsRequest::BackupDone { .. }
        | OpsRequest::BackupOverride { .. }
        | OpsRequest::Reload {} => false,
    }
}
