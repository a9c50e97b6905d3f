//! What ops ask about what is kept and is no part of a record, and that they may say: it stays out.

use super::OpsError;
use super::asker::Asker;
use super::records::scope_asked;
use crate::daemon::Shared;
use crate::time::{now_s, utc};
use cairn_centre::{KeepOutFault, KeptOut, SetAside};
use cairn_wire::DeviceKey;
use cairn_wire::ids::ScopeId;
use serde_json::{Value, json};

pub(super) async fn list(
    shared: &Shared,
    asker: &Asker,
    scope: Option<String>,
) -> Result<Value, OpsError> {
    let scope = scope_asked(shared, asker, scope).await?;
    let listed = listed(shared, asker, scope, None).await?;
    let mut answer = json!({ "schema": "cairn.ops.quarantine/1" });
    // They may be many, and the macro would copy them.
    answer["set_aside"] = Value::Array(listed);
    Ok(answer)
}

/// What is set aside in a scope, by a device, or at all.
pub(super) async fn listed(
    shared: &Shared,
    asker: &Asker,
    scope: Option<ScopeId>,
    device: Option<DeviceKey>,
) -> Result<Vec<Value>, OpsError> {
    let mut found = shared
        .ask_centre(move |centre| centre.set_aside(scope.as_ref()))
        .await?;
    found.retain(|one| asker.may_read(&one.scope) && (device.is_none() || one.device == device));
    in_json(shared, found).await
}

pub(super) async fn show(shared: &Shared, asker: &Asker, id: String) -> Result<Value, OpsError> {
    let reads = asker.scopes().cloned();
    let found = shared
        .ask_centre(move |centre| {
            let found = centre.one_set_aside(&id)?.and_then(|one| {
                let hidden = reads.is_some_and(|reads| !reads.contains_key(&one.scope));
                match hidden {
                    true => Err(KeepOutFault::NotFound(id)),
                    false => Ok(one),
                }
            });
            let record = found.as_ref().ok().and_then(|one| one.document.clone());
            // The record may not be there: then its first change is what is set aside.
            let record = record.and_then(|id| centre.document(&id, None).ok());
            Ok((found, record.map(|record| record.to_json())))
        })
        .await?;
    let (found, record) = found;
    let mut object = one(shared, found.map_err(fault)?).await?;
    object["record"] = json!(record);
    object["schema"] = json!("cairn.ops.set_aside/1");
    Ok(object)
}

pub(super) async fn keep_out(
    shared: &Shared,
    id: String,
    reason: String,
    by: Option<String>,
) -> Result<Value, OpsError> {
    if reason.trim().is_empty() {
        let hint = "Say why: --reason TEXT";
        return Err(OpsError::new("usage", "a decision needs a reason", hint).exits(2));
    }
    let at_s = now_s();
    let decision = KeptOut { at_s, by, reason };
    let found = shared
        .ask_centre(move |centre| centre.keep_out(&id, decision))
        .await?;
    let found = found.map_err(fault)?;
    // Names stay out of it, and reasons are people's words.
    let what = json!({ "set_aside": found.id, "state": found.state.name() });
    shared
        .with_store(move |authority, store| authority.note("quarantine keep-out", what, store))
        .await??;
    let mut object = one(shared, found).await?;
    object["schema"] = json!("cairn.ops.set_aside/1");
    Ok(object)
}

async fn one(shared: &Shared, found: SetAside) -> Result<Value, OpsError> {
    let mut objects = in_json(shared, vec![found]).await?;
    Ok(objects.pop().unwrap_or_default())
}

async fn in_json(shared: &Shared, found: Vec<SetAside>) -> Result<Vec<Value>, OpsError> {
    shared
        .with_store(move |authority, store| {
            let objects = found.into_iter().map(|one| {
                let name = one
                    .device
                    .map(|device| authority.member_name(store, &device));
                let decision = one.decision.as_ref().map(|decision| {
                    json!({
                        "decided": "keep_out",
                        "at": utc(decision.at_s),
                        "by": decision.by,
                        "reason": decision.reason,
                    })
                });
                json!({
                    "change": one.id,
                    "state": one.state.name(),
                    "passes_by_itself": one.state.passes(),
                    "scope": one.scope_name,
                    "scope_id": one.scope.to_string(),
                    "document": one.document,
                    "device": one.device.map(|device| device.to_string()),
                    "name": name,
                    "cause": one.cause,
                    "why": one.why,
                    "entries": one.entries,
                    "decision": decision,
                })
            });
            objects.collect()
        })
        .await
}

fn fault(fault: KeepOutFault) -> OpsError {
    let (code, hint) = match &fault {
        KeepOutFault::NotFound(_) => ("not_found", "See: cairn ops quarantine list"),
        KeepOutFault::Ambiguous(..) => (
            "ambiguous",
            "Give more of the id: cairn ops quarantine list",
        ),
        KeepOutFault::Passes(_) => (
            "waits",
            "Let the devices that may have it sync; what waits for what, says: cairn ops quarantine show ID",
        ),
    };
    OpsError::new(code, fault.to_string(), hint)
}
