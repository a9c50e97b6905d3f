//! What whoever backs a relay up, or has restored one, asks of it.

use super::OpsError;
use crate::authority::AuthorityFault;
use crate::daemon::Shared;
use crate::time::{now_s, utc};
use cairn_store::{Store, StoreError};
use serde_json::{Value, json};

/// State of the relay's store: when it was last backed up, in seconds since 1970, and how many bytes that made.
const LAST: &[u8] = b"relay/backup";
/// A reason that is recorded, at most.
const REASON_BYTES_MAX: usize = 1024;

pub(super) async fn point(shared: &Shared) -> Result<Value, OpsError> {
    let point = crate::backup::point(shared).await?;
    Ok(json!({ "schema": "cairn.ops.backup_point/1", "point": point }))
}

pub(super) async fn done(
    shared: &Shared,
    bytes: u64,
    authority_height: u64,
) -> Result<Value, OpsError> {
    let at_s = now_s();
    let noted = shared.with_store(move |authority, store| {
        note(store, at_s, bytes)?;
        let what = json!({ "bytes": bytes, "height_in_backup": authority_height });
        authority.note("backup create", what, store)
    });
    noted.await??;
    Ok(json!({ "schema": "cairn.ops.backup_done/1", "at": utc(at_s) }))
}

/// Notes in the store that the relay was backed up.
pub(crate) fn note(store: &mut dyn Store, at_s: u64, bytes: u64) -> Result<(), StoreError> {
    store.put_state(LAST, &[at_s.to_be_bytes(), bytes.to_be_bytes()].concat())
}

/// When the relay was last backed up, in seconds since 1970, and how large that was.
pub(crate) fn last(store: &dyn Store) -> Result<Option<(u64, u64)>, StoreError> {
    let value = store.state(LAST)?.unwrap_or_default();
    Ok(match value.as_chunks::<8>() {
        ([at_s, bytes], []) => Some((u64::from_be_bytes(*at_s), u64::from_be_bytes(*bytes))),
        _ => None,
    })
}

pub(super) async fn override_restore(
    shared: &Shared,
    reason: String,
    dry_run: bool,
) -> Result<Value, OpsError> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        let message = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
        return Err(OpsError::new("usage", message, "Say why they will not come.").exits(2));
    }
    let done = shared.with_store(move |authority, store| {
        let done = match dry_run {
            true => authority.waiting(store)?.map(|waiting| (waiting, None)),
            false => authority
                .override_restore(store, &reason)?
                .map(|(waiting, settled)| (waiting, Some(settled))),
        };
        Ok::<_, AuthorityFault>(done.map(|(waiting, settled)| {
            let silent: Vec<_> = waiting
                .silent
                .iter()
                .map(|device| {
                    json!({
                        "device": device.to_string(),
                        "name": authority.member_name(store, device),
                    })
                })
                .collect();
            json!({
                "schema": "cairn.ops.backup_override/1",
                "dry_run": dry_run,
                "restored": utc(waiting.at_s),
                "heard": waiting.heard,
                "not_waited_for": silent,
                "grants_sealed_anew": settled.as_ref().map(|settled| settled.grants),
                "scopes_rotated": settled.as_ref().map(|settled| settled.rotated),
            })
        }))
    });
    let done = done.await??;
    shared.engine.side_objects_grown().await?;
    done.ok_or_else(|| {
        OpsError::new(
            "not_restored",
            "nothing is waited for: the authority signs as usual",
            "See: cairn ops status",
        )
    })
}
