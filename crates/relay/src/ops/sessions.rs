//! What ops ask about sessions: those that run, and those that ended, from the history on disk.

use super::OpsError;
use super::history::{self, Asked, Finished, Told};
use crate::authority::AuthorityFault;
use crate::daemon::Shared;
use crate::time::{now_s, since_1970_s, utc};
use cairn_store::Store;
use cairn_wire::DeviceKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sessions that one answer lists at most.
const SESSIONS_MAX: usize = 20_000;
/// Sessions that the answer about one device lists.
const OF_DEVICE: usize = 20;

pub(super) async fn sessions(
    shared: &Shared,
    asked: Option<String>,
    since_s: u64,
    limit: usize,
) -> Result<Value, OpsError> {
    let (device, names) = shared
        .with_store(move |authority, store| {
            let store: &dyn Store = store;
            let device = asked
                .map(|asked| authority.find_device(store, &asked))
                .transpose()?;
            let members = store.membership().members();
            let names: BTreeMap<_, _> = members
                .map(|member| member.public.device)
                .map(|device| (device.to_string(), authority.member_name(store, &device)))
                .collect();
            Ok::<_, AuthorityFault>((device, names))
        })
        .await??;
    let asked = Asked {
        since_s: now_s().saturating_sub(since_s),
        device: device.map(|device| device.to_string()),
        limit: limit.min(SESSIONS_MAX),
    };
    let since = utc(asked.since_s);
    let told = told(shared, asked).await?;
    let mut sessions = running(shared, device, &names);
    let retries: BTreeMap<_, _> = shared
        .engine
        .retries()
        .into_iter()
        .map(|(peer, retry)| (peer.to_string(), utc(since_1970_s(retry.at))))
        .collect();
    sessions.extend(told.sessions.iter().map(|one| {
        let name = names.get(&one.device);
        ended(one, name, retries.get(&one.device))
    }));
    let starts: Vec<Value> = told
        .starts
        .iter()
        .map(|start| json!({ "at": utc(start.at_s), "after_a_clean_stop": start.clean }))
        .collect();
    let restores: Vec<Value> = told
        .restores
        .iter()
        .map(|restore| json!({ "at": utc(restore.at_s), "backup_made": utc(restore.made_s) }))
        .collect();
    let months: Vec<Value> = told
        .months
        .iter()
        .map(|(month, sum)| {
            json!({
                "month": month,
                "sessions": sum.sessions,
                "complete": sum.complete,
                "app_bytes_sent": sum.app_bytes_sent,
                "app_bytes_received": sum.app_bytes_received,
                "entries_sent": sum.entries_sent,
                "entries_received": sum.entries_received,
            })
        })
        .collect();
    Ok(json!({
        "schema": "cairn.ops.sessions/1",
        "since": since,
        "sessions": sessions,
        "ended": told.total,
        "not_complete": told.failed,
        "listed_since": told.listed_since_s.map(utc),
        "months": months,
        "relay_starts": starts,
        "relay_restores": restores,
    }))
}

/// The last sessions of one device.
pub(super) async fn of_device(shared: &Shared, device: DeviceKey) -> Result<Vec<Value>, OpsError> {
    let asked = Asked {
        since_s: 0,
        device: Some(device.to_string()),
        limit: OF_DEVICE,
    };
    let told = told(shared, asked).await?;
    let mut sessions = running(shared, Some(device), &BTreeMap::new());
    sessions.extend(told.sessions.iter().map(|one| ended(one, None, None)));
    Ok(sessions)
}

/// What the disk says, once it has all that has ended by now.
async fn told(shared: &Shared, asked: Asked) -> Result<Told, OpsError> {
    shared.take_contacts();
    let (unsaved, folder) = {
        let mut contacts = shared.contacts();
        (contacts.unsaved(), contacts.history())
    };
    let reading = tokio::task::spawn_blocking(move || {
        if let Some(unsaved) = unsaved {
            unsaved.save();
        }
        history::read(&folder, &asked)
    });
    let hint = "See that the relay's disk is there; sessions/ in its folder holds the history.";
    let failed = |why: String| {
        let message = format!("the history of sessions does not read: {why}");
        OpsError::new("history", message, hint)
    };
    reading
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

fn running(
    shared: &Shared,
    device: Option<DeviceKey>,
    names: &BTreeMap<String, String>,
) -> Vec<Value> {
    let running = shared.engine.sessions().into_iter();
    running
        .filter(|info| device.is_none_or(|device| device == info.peer))
        .map(|info| {
            let mut object = of(
                &Finished::of(&info, now_s()),
                names.get(&info.peer.to_string()),
            );
            if let Some(object) = object.as_object_mut() {
                object.insert("session".into(), json!(info.id.0));
                object.insert("running".into(), json!(true));
                object.insert("ended".into(), Value::Null);
                object.insert("complete".into(), Value::Null);
                object.insert("ended_how".into(), Value::Null);
            }
            object
        })
        .collect()
}

fn ended(one: &Finished, name: Option<&String>, retry: Option<&String>) -> Value {
    let mut object = of(one, name);
    object["next_retry"] = json!(retry);
    object
}

fn of(one: &Finished, name: Option<&String>) -> Value {
    json!({
        "device": one.device,
        "name": name,
        "running": false,
        "state": one.end,
        "direction": if one.incoming { "in" } else { "out" },
        "address": one.address,
        "started": utc(one.began_s),
        "ended": utc(one.ended_s),
        "complete": one.is_complete(),
        "ended_how": one.in_words(),
        "app_bytes_sent": one.app_bytes_sent,
        "app_bytes_received": one.app_bytes_received,
        "udp_bytes_sent": one.udp_bytes_sent,
        "udp_bytes_received": one.udp_bytes_received,
        "round_trips": one.round_trips,
        "entries_sent": one.entries_sent,
        "entries_received": one.entries_received,
        "entries_refused": one.entries_refused,
        "backlog": one.backlog,
        "error": one.error,
        "next_retry": null,
    })
}
