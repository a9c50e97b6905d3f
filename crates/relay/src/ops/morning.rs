//! The morning screen: what to act on first, how each team stands, what came, what the land is like.
//!
//! It says what is known and leaves out what is not: no line is guessed.

use super::OpsError;
use super::asker::Asker;
use super::days::{self, Days, Opening};
use super::history::{self, Asked};
use super::status;
use crate::daemon::Shared;
use crate::time::{now_s, since_1970_s, utc};
use cairn_centre::{Attention, Centre, SafetyConflict};
use cairn_transport::SessionState;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A team that has not synced for so long is late …
const LATE_S: u64 = 24 * 3600;
/// … and for so long silent.
const SILENT_S: u64 = 5 * 24 * 3600;
/// A session that has exchanged for so long without reaching its end.
const LONG_S: u64 = 15 * 60;
/// Conflicts that are told one by one.
const CONFLICTS_TOLD: usize = 8;
/// Sessions of a day that are looked through for refusals.
const SESSIONS_MAX: usize = 20_000;

pub(super) async fn morning(shared: &Shared, asker: &Asker) -> Result<Value, OpsError> {
    let now_s = now_s();
    let mut object = status::status(shared, SILENT_S).await?;
    let mut attention = match shared.centre {
        None => None,
        Some(_) => shared.ask_centre(Centre::attention).await.ok(),
    };
    if let Some(attention) = &mut attention {
        let safety = &mut attention.safety;
        safety.retain(|one| asker.may_read_named(&one.scope));
    }
    let undecided = match shared.centre {
        None => None,
        Some(_) => shared.ask_centre(|centre| centre.undecided()).await.ok(),
    };
    let mut acts: Vec<Value> = attention.iter().flat_map(safety).collect();
    if let Value::Array(others) = object["act_now"].take() {
        acts.extend(others);
    }
    let (days, refused) = from_disk(shared, now_s).await?;
    let teams = teams(&object, now_s);
    let inbox = attention
        .as_ref()
        .map(|attention| inbox(attention, &days, now_s));
    let land = attention.as_ref().map(|attention| {
        let land = &attention.counts.land;
        json!({
            "open_areas": land.areas,
            "open_m2": land.area_m2,
            "not_surveyed": land.not_surveyed,
            "without_place": land.without_place,
        })
    });
    let yesterday = days.yesterday(now_s).map(|(from, to)| to.since(from));
    Ok(json!({
        "schema": "cairn.ops.morning/1",
        "at": utc(now_s),
        "healthy": object["healthy"],
        "health": object["health"],
        "act_now": acts,
        "teams": teams,
        "inbox": inbox,
        "yesterday": yesterday,
        "land": land,
        "system": {
            "disk_used_percent": status::disk(shared).map(|(used, _)| used),
            "refused_devices": refused,
            "sessions": shared.engine.sessions().len(),
            "long_sessions": long_sessions(shared, now_s),
            "quarantine": undecided,
            "centre_behind": object["centre_behind"],
            "last_backup": object["last_backup"],
            "lost_frames": object["lost_frames"],
            "entries": object["entries"],
        },
    }))
}

async fn from_disk(shared: &Shared, now_s: u64) -> Result<(Days, usize), OpsError> {
    shared.take_contacts();
    let (unsaved, folder) = {
        let mut contacts = shared.contacts();
        (contacts.unsaved(), contacts.history())
    };
    let path = days::path(shared);
    let reading = tokio::task::spawn_blocking(move || {
        if let Some(unsaved) = unsaved {
            unsaved.save();
        }
        let asked = Asked {
            since_s: now_s.saturating_sub(86_400),
            device: None,
            limit: SESSIONS_MAX,
        };
        // What does not read is told by `ops sessions`.
        let told = history::read(&folder, &asked).unwrap_or_default();
        let refused = told.sessions.iter().filter(|one| one.was_refused());
        let refused: BTreeSet<&str> = refused.map(|one| one.device.as_str()).collect();
        (Days::read(&path), refused.len())
    });
    let failed = |error: tokio::task::JoinError| {
        let hint = "Ask again; if it stays so, see the relay's log.";
        OpsError::new("internal", error.to_string(), hint)
    };
    reading.await.map_err(failed)
}

/// Safety fields that people disagree on: what was closed against evidence first.
fn safety(attention: &Attention) -> Vec<Value> {
    let told = attention.safety.iter().take(CONFLICTS_TOLD);
    let mut acts: Vec<Value> = told.map(conflict).collect();
    let more = attention.safety.len().saturating_sub(CONFLICTS_TOLD);
    if more > 0 {
        let least = if attention.more { "at least " } else { "" };
        let message = format!("{least}{more} more safety fields in conflict: cairn ops conflicts");
        acts.push(json!({ "what": "safety_conflicts", "message": message, "count": more }));
    }
    acts
}

fn conflict(one: &SafetyConflict) -> Value {
    let label = one.local_id.as_deref().unwrap_or(&one.short_code);
    let mut people: Vec<&str> = one
        .by
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    people.dedup();
    let people = people.join(", ");
    let reads = match (&one.reads, one.field.as_str()) {
        (Some(reads), _) => format!("reads {}", reads.to_uppercase()),
        (None, "perimeter") => "reads as all of them together".to_owned(),
        (None, _) => "reads as the most dangerous".to_owned(),
    };
    let field = one.field.replace('_', " ");
    let message = match one.closed_against_evidence {
        true => format!("{label} closed against direct evidence ({people}): {reads}"),
        false => format!("{label} {field} in conflict ({people}): {reads}"),
    };
    let since = one.by.iter().filter_map(|(_, at_s)| *at_s).max();
    let what = match one.closed_against_evidence {
        true => "closed_against_evidence",
        false => "safety_conflict",
    };
    json!({
        "what": what,
        "message": message,
        "id": one.id,
        "short_code": one.short_code,
        "field": one.field,
        "scope": one.scope,
        "undecided_since": since.and_then(|at_s| u64::try_from(at_s).ok()).map(utc),
    })
}

fn teams(status: &Value, now_s: u64) -> Value {
    let mut devices = status["devices"].as_array().cloned().unwrap_or_default();
    // A laptop of ops asks, and is no team unless something waits on it.
    devices.retain(|device| device["role"] != "ops" || device["backlog"].as_u64() > Some(0));
    let mut counts = [0u64; 3];
    for device in &mut devices {
        let synced = device["last_sync"].as_str().and_then(seconds);
        let age_s = synced.map(|at_s| now_s.saturating_sub(at_s));
        let which = match age_s {
            Some(age_s) if age_s < LATE_S => 0,
            Some(age_s) if age_s < SILENT_S => 1,
            _ => 2,
        };
        counts[which] += 1;
        device["stale"] = json!(which == 2);
        device["standing"] = json!(["synced", "late", "silent"][which]);
    }
    // Whoever has most waiting for longest comes first.
    devices.sort_by_key(|device| {
        let rank = match device["standing"].as_str() {
            Some("silent") => 0,
            Some("late") => 1,
            _ => 2,
        };
        let backlog = device["backlog"].as_u64().unwrap_or(0);
        (rank, std::cmp::Reverse(backlog))
    });
    json!({
        "count": devices.len(),
        "connected": devices.iter().filter(|device| device["connected"] == true).count(),
        "synced_24h": counts[0],
        "late": counts[1],
        "silent_5d": counts[2],
        "devices": devices,
    })
}

fn seconds(at: &str) -> Option<u64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    u64::try_from(at.as_second()).ok()
}

fn inbox(attention: &Attention, days: &Days, now_s: u64) -> Value {
    let counts = &attention.counts;
    let now = Opening::of(counts, now_s);
    let mut safety: Vec<&str> = attention.safety.iter().map(|one| one.id.as_str()).collect();
    safety.dedup();
    let safety: BTreeSet<&str> = safety.into_iter().collect();
    json!({
        "today": days.today(now_s).map(|opening| now.since(opening)),
        "records": counts.documents,
        "conflicts": counts.conflicts,
        "safety_conflicts": safety.len(),
        "more_safety_conflicts": attention.more,
        "proposals": counts.proposals,
        "duplicates": attention.duplicates,
        "unverified": counts.unverified,
    })
}

fn long_sessions(shared: &Shared, now_s: u64) -> usize {
    let running = shared.engine.sessions();
    let long = running.iter().filter(|info| {
        info.state == SessionState::Syncing
            && now_s.saturating_sub(since_1970_s(info.started)) >= LONG_S
    });
    long.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_are_sorted_by_how_long_they_are_silent() {
        let now_s = 1_764_000_000;
        let device = |name: &str, ago_s: Option<u64>, backlog: u64| {
            json!({
                "name": name,
                "last_sync": ago_s.map(|ago_s| utc(now_s - ago_s)),
                "backlog": backlog,
                "connected": false,
            })
        };
        let status = json!({ "devices": [
            device("fresh", Some(60), 0),
            device("late", Some(2 * 86_400), 3),
            device("never", None, 0),
            device("busy", Some(3600), 9),
            device("silent", Some(6 * 86_400), 46),
            json!({ "name": "laptop", "role": "ops", "backlog": null }),
        ]});
        let teams = teams(&status, now_s);
        let names: Vec<_> = teams["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["silent", "never", "late", "busy", "fresh"]);
        assert_eq!(
            [&teams["synced_24h"], &teams["late"], &teams["silent_5d"]],
            [2, 1, 2]
        );
    }

    #[test]
    fn what_was_closed_against_evidence_says_so() {
        let one = SafetyConflict {
            id: "00".into(),
            short_code: "7QX-M2K".into(),
            local_id: Some("HA-0931".into()),
            kind: "hazardous_area".into(),
            scope: "north".into(),
            field: "status".into(),
            reads: Some("open".into()),
            by: vec![("T3".into(), Some(5)), ("T5".into(), None)],
            closed_against_evidence: true,
        };
        let told = conflict(&one);
        assert_eq!(
            told["message"],
            "HA-0931 closed against direct evidence (T3, T5): reads OPEN"
        );
        let attention = Attention {
            safety: vec![one; CONFLICTS_TOLD + 3],
            ..Attention::default()
        };
        let acts = safety(&attention);
        assert_eq!(acts.len(), CONFLICTS_TOLD + 1);
        assert_eq!(acts[CONFLICTS_TOLD]["count"], 3);
    }
}
