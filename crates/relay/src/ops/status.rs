//! The first thing ops look at: a line of health, what to act on, and how each device stands.

use super::OpsError;
use super::asker::Asker;
use super::devices::{DeviceFacts, all_facts, in_json};
use crate::authority::{Authority, AuthorityFault, device_tag};
use crate::daemon::Shared;
use crate::time::{now_s, utc};
use cairn_keys::{Role, Standing};
use cairn_store::Store;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{LogId, ScopeId};
use cairn_wire::{DeviceKey, Lane};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Less room on the disk is a thing to act on: an index that is rebuilt may need so much.
const DISK_FREE_LEAST_BYTES: u64 = 1024 * 1024 * 1024;

/// Devices that a sentence names, at most.
const NAMED_MAX: usize = 8;

/// What the store says, at one moment.
struct StoreFacts {
    devices: Vec<DeviceFacts>,
    revoked: Vec<DeviceFacts>,
    heights: BTreeMap<LogId, u64>,
    forks: Vec<(LogId, String, String)>,
    authority_forks: usize,
    authority_height: u64,
    /// A restore that is not settled, and the names of those who have not synced since.
    restored: Option<(u64, Vec<String>)>,
    /// When the relay was last backed up.
    backup_s: Option<u64>,
    entries: u64,
    detached: usize,
    /// Frames that were lost, and since when that is known.
    loss: Option<(u64, u64)>,
}

pub(super) async fn status(shared: &Shared, stale_s: u64) -> Result<Value, OpsError> {
    let facts = shared.with_store(store_facts).await??;
    let counts = shared.counts().await.ok().flatten();
    let opened = opened(shared).await;
    let mut devices = in_json(shared, &facts.devices);
    let now_s = now_s();
    let mut silent = Vec::new();
    for (object, device) in devices.iter_mut().zip(&facts.devices) {
        let contact = shared.contacts().get(&device.device).cloned();
        let heard_s = contact.as_ref().and_then(|contact| contact.last_sync_s);
        let waits = contact.as_ref().and_then(|contact| contact.backlog) > Some(0);
        // A laptop of ops asks, and need not sync.
        let stale = (waits || device.role != Role::Ops)
            && heard_s.is_none_or(|heard_s| now_s.saturating_sub(heard_s) >= stale_s);
        let Some(object) = object.as_object_mut() else {
            continue;
        };
        object.insert("stale".into(), json!(stale));
        let unseen = opened
            .as_ref()
            .map(|opened| unseen(&facts.heights, opened, &device.device));
        object.insert("unseen_entries".into(), json!(unseen));
        if stale {
            silent.push((device.name.clone(), heard_s));
        }
    }
    let undecided = match shared.centre {
        None => 0,
        Some(_) => shared
            .ask_centre(|centre| centre.undecided())
            .await
            .unwrap_or(0),
    };
    let act_now = act_now(shared, &facts, undecided, &silent, now_s);
    let failure = failure(shared);
    let healthy = failure.is_none() && facts.authority_forks == 0;
    let line = line(&failure, facts.authority_forks, &devices, &act_now);
    Ok(json!({
        "schema": "cairn.ops.status/1",
        "healthy": healthy,
        "health": line,
        "disk_used_percent": disk(shared).map(|(used, _)| used),
        "undecided": undecided,
        "act_now": act_now,
        "documents": counts.as_ref().map(|counts| counts.documents),
        "changes": counts.as_ref().map(|counts| counts.changes),
        "conflicts": counts.as_ref().map(|counts| counts.conflicts),
        "proposals": counts.as_ref().map(|counts| counts.proposals),
        "held": counts.as_ref().map(|counts| counts.held),
        "entries": facts.entries,
        "detached_entries": facts.detached,
        "lost_frames": facts.loss.map_or(0, |(lost, _)| lost),
        "centre_behind": shared.centre.as_ref().map(crate::centre_thread::CentreHandle::behind),
        "authority_height": facts.authority_height,
        "last_backup": facts.backup_s.map(utc),
        "relay": shared.relay.to_string(),
        "address": shared.address.to_string(),
        "started": utc(shared.started_s),
        "sessions": shared.engine.sessions().len(),
        "devices": devices,
    }))
}

fn store_facts(authority: &Authority, store: &mut dyn Store) -> Result<StoreFacts, AuthorityFault> {
    let mut devices = all_facts(authority, store);
    devices.retain(|facts| !matches!(facts.role, Role::Relay | Role::Centre));
    let (devices, others): (Vec<_>, Vec<_>) = devices
        .into_iter()
        .partition(|facts| facts.standing == Standing::Member);
    let mut facts = StoreFacts {
        devices,
        revoked: others,
        heights: BTreeMap::new(),
        forks: Vec::new(),
        authority_forks: store.authority_forks()?.len(),
        authority_height: store.authority_head().height,
        restored: authority.waiting(store)?.map(|waiting| {
            let silent = waiting.silent.iter();
            let names = silent
                .map(|device| authority.member_name(store, device))
                .collect();
            (waiting.at_s, names)
        }),
        backup_s: super::backup::last(store)?.map(|(at_s, _)| at_s),
        entries: 0,
        detached: 0,
        loss: crate::daemon::loss(store)?,
    };
    for of in store.journals() {
        facts.entries += store.journal_end(of).position;
        facts.detached += store.detached(of).len();
        for leaf in store.leaves(of) {
            let height = facts.heights.entry(leaf.log).or_default();
            *height = leaf.number.max(*height);
        }
        for log in store.forked_logs(of) {
            let name = authority.member_name(store, &log.device);
            let scope = authority.scope_name(store, &log.scope);
            facts.forks.push((log, name, scope));
        }
    }
    Ok(facts)
}

async fn opened(shared: &Shared) -> Option<BTreeMap<LogId, u64>> {
    shared.centre.as_ref()?;
    let opened = shared.ask_centre(|centre| {
        let mut opened = BTreeMap::new();
        for (log, number) in centre.opened_numbers() {
            let held: &mut u64 = opened.entry(log).or_default();
            *held = number.max(*held);
        }
        Ok(opened)
    });
    opened.await.ok()
}

/// Entries of a device that the centre has not signed for.
fn unseen(
    heights: &BTreeMap<LogId, u64>,
    opened: &BTreeMap<LogId, u64>,
    device: &DeviceKey,
) -> u64 {
    heights
        .iter()
        .filter(|(log, _)| log.device == *device)
        .map(|(log, height)| height.saturating_sub(opened.get(log).copied().unwrap_or(0)))
        .sum()
}

fn failure(shared: &Shared) -> Option<String> {
    let centre = || {
        let running = shared.centre.as_ref()?.failure();
        running.map(|failure| format!("the centre cannot go on and tries again: {failure}"))
    };
    shared.engine.failure().or_else(centre)
}

fn act_now(
    shared: &Shared,
    facts: &StoreFacts,
    undecided: u64,
    silent: &[(String, Option<u64>)],
    now_s: u64,
) -> Vec<Value> {
    let act = |what: &str, message: String| json!({ "what": what, "message": message });
    let mut acts = Vec::new();
    if let Some(failure) = failure(shared) {
        acts.push(act("failure", failure));
    }
    if facts.authority_forks > 0 {
        let message = "The authority signed two histories: its key was stolen, or restored from a \
                       backup. Nothing is signed until that is settled.";
        acts.push(act("authority_fork", message.into()));
    }
    if let Some((at_s, silent)) = &facts.restored {
        let who = match silent.as_slice() {
            [] => "devices that synced before".to_owned(),
            names => match names.split_at_checked(NAMED_MAX) {
                Some((named, rest)) if !rest.is_empty() => {
                    format!("{} and {} more", named.join(", "), rest.len())
                }
                _ => names.join(", "),
            },
        };
        let message = format!(
            "This relay was restored from a backup at {}: the authority signs nothing (no joining, no \
             revoking) until these have synced: {who}. If they will not come: cairn ops backup override",
            utc(*at_s)
        );
        acts.push(act("restored", message));
    }
    if let Some((lost, since_s)) = facts.loss {
        let synced_since = |device: &&DeviceFacts| {
            let contacts = shared.contacts();
            let last_s = contacts.get(&device.device).and_then(|it| it.last_sync_s);
            // One in the same second may have been before.
            last_s.is_some_and(|last_s| last_s > since_s)
        };
        let missing = facts.devices.len() - facts.devices.iter().filter(synced_since).count();
        if missing > 0 {
            let message = format!(
                "{lost} pieces of the relay's store could not be read again: the disk may be failing. \
                 Devices give back what they have; {missing} have not synced since."
            );
            acts.push(act("lost", message));
        }
    }
    let mut told = std::collections::BTreeSet::new();
    for (log, name, scope) in &facts.forks {
        if told.insert((log.device, log.incarnation)) {
            let message = format!(
                "{name} ({}) writes from two copies: its folder was copied or restored (fork in \
                 {scope}). Nothing is lost; find out where the other copy is.",
                device_tag(&log.device)
            );
            acts.push(act("fork", message));
        }
    }
    for device in &facts.devices {
        let of_device = facts
            .heights
            .keys()
            .filter(|log| log.device == device.device);
        let incarnations: std::collections::BTreeSet<_> =
            of_device.map(|log| log.incarnation).collect();
        let forked = told.iter().any(|(forked, _)| *forked == device.device);
        if incarnations.len() > 1 && !forked {
            let message = format!(
                "{} ({}) has begun its logs anew, {}: its folder was copied or restored, and \
                 went on as a fork of its own. Nothing is lost; find out whether another copy is in use.",
                device.name,
                device_tag(&device.device),
                times(incarnations.len() - 1)
            );
            acts.push(act("fork", message));
        }
    }
    if undecided > 0 {
        let message = format!(
            "{undecided} changes are set aside and nobody has looked at them: cairn ops quarantine list"
        );
        acts.push(act("quarantine", message));
    }
    for device in &facts.revoked {
        let contact = shared.contacts().get(&device.device).cloned();
        let backlog = contact.and_then(|contact| contact.backlog).unwrap_or(0);
        if backlog > 0 {
            let message = format!(
                "{} was revoked and said that {backlog} {} on it: what it hands in when it connects \
                 is kept, and reads as unverified",
                device.name,
                if backlog == 1 {
                    "change waits"
                } else {
                    "changes wait"
                }
            );
            acts.push(act("revoked_holds", message));
        }
    }
    if let Some((used, free)) = disk(shared).filter(|(_, free)| *free < DISK_FREE_LEAST_BYTES) {
        let message = format!(
            "the relay's disk is {used} % full, {} MiB are free: make room before it takes in no more",
            free / (1024 * 1024)
        );
        acts.push(act("disk", message));
    }
    for (name, heard_s) in silent {
        let message = match heard_s {
            None => format!("{name} has joined and never synced"),
            Some(heard_s) => format!("{name} has not synced for {}", span(now_s - heard_s)),
        };
        acts.push(act("silent", message));
    }
    acts
}

/// How full the disk is on which the relay's folder lies, as `df` counts, and what may still be written.
pub(super) fn disk(shared: &Shared) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(shared.folder.path()).ok()?;
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    let percent = used
        .saturating_mul(100)
        .checked_div(used + found.f_bavail)?;
    Some((percent, found.f_bavail.saturating_mul(found.f_frsize)))
}

fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3600);
    match (days, hours) {
        (0, 0) => format!("{} min", seconds / 60),
        (0, hours) => format!("{hours} h"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

fn line(
    failure: &Option<String>,
    authority_forks: usize,
    devices: &[Value],
    act_now: &[Value],
) -> String {
    let count = |key: &str| devices.iter().filter(|one| one[key] == true).count();
    let backlog: u64 = devices
        .iter()
        .filter_map(|one| one["backlog"].as_u64())
        .sum();
    let condition = match (failure, authority_forks) {
        (Some(failure), _) => format!("NOT WELL: {failure}"),
        (None, 0) => "Relay OK".to_owned(),
        (None, _) => "NOT WELL: the authority's log has two branches".to_owned(),
    };
    format!(
        "{condition}; {} devices, {} connected, {} silent; {backlog} changes wait on devices; {} to act on",
        devices.len(),
        count("connected"),
        count("stale"),
        act_now.len(),
    )
}

pub(super) async fn logs(
    shared: &Shared,
    asker: &Asker,
    scope: Option<String>,
    device: Option<String>,
) -> Result<Value, OpsError> {
    let (scope, device, logs) = shared
        .with_store(move |authority, store| {
            let store: &dyn Store = store;
            let scope = scope.map(|asked| authority.find_scope(store, &asked));
            let device = device.map(|asked| authority.find_device(store, &asked));
            let (scope, device) = (scope.transpose()?, device.transpose()?);
            let logs = logs_of(authority, store, scope, device);
            Ok::<_, AuthorityFault>((scope, device, logs))
        })
        .await??;
    let quarantine = match shared.centre {
        None => None,
        Some(_) => Some(super::set_aside::listed(shared, asker, scope, device).await?),
    };
    Ok(json!({
        "schema": "cairn.ops.logs/1",
        "logs": logs,
        "quarantine": quarantine,
    }))
}

/// The logs of a scope and a device, or of all: how high they are, and whether they forked.
pub(super) fn logs_of(
    authority: &Authority,
    store: &dyn Store,
    scope: Option<ScopeId>,
    device: Option<DeviceKey>,
) -> Vec<Value> {
    let mut logs = Vec::new();
    for of in store.journals() {
        if scope.is_some_and(|scope| scope != of.scope) {
            continue;
        }
        let forked = store.forked_logs(of);
        for leaf in store.leaves(of) {
            if device.is_some_and(|device| device != leaf.log.device) {
                continue;
            }
            logs.push(json!({
                "scope": authority.scope_name(store, &of.scope),
                "lane": lane(of),
                "device": leaf.log.device.to_string(),
                "name": authority.member_name(store, &leaf.log.device),
                "incarnation": leaf.log.incarnation.to_string(),
                "height": leaf.number,
                "leaf": leaf.id.to_string(),
                "forked": forked.contains(&leaf.log),
            }));
        }
    }
    logs
}

fn lane(of: ScopeLane) -> &'static str {
    match of.lane {
        Lane::Urgent => "urgent",
        Lane::Records => "records",
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}
