//! What waits, whether all is sound, and what the settings are.

use super::held::{held_in_lines, insert_held};
use crate::Ended;
use crate::arguments::Check;
use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;
use crate::words::{self, count, utc};
use cairn_device::{Device, DeviceStatus, Held};
use serde_json::{Value as Json, json};

pub fn status(device: &Device, output: &Output) -> Result<Ended, Failure> {
    let status = device.status()?;
    let scopes = device.scopes()?;
    let held = device.held()?;
    let member = &status.member;
    let relays: Vec<Json> = status
        .relays
        .iter()
        .map(|relay| {
            json!({
                "address": relay.addresses.first(),
                "relay": relay.relay.to_string(),
                "last_contact": relay.last_contact_s.and_then(utc),
                "delivered": relay.delivered,
            })
        })
        .collect();
    let duplicates = member.duplicates;
    let unverified: u64 = held.scopes.iter().map(|it| it.totals.unverified).sum();
    let mut object = json!({
        "schema": "cairn.status/1",
        "device": status.device.to_string(),
        "name": device.name(),
        "joined": status.joined,
        "deferred": status.deferred,
        "documents": member.documents,
        "unsent_changes": member.unsent_changes,
        "oldest_unsent_s": status.oldest_unsent_s,
        "conflicts": member.conflicts,
        "proposals": member.proposals,
        "duplicates": duplicates,
        "unverified": unverified,
        "waiting": member.waiting,
        "quarantined": member.quarantined,
        "stuck": member.stuck,
        "locked_entries": member.locked_entries,
        "forked_logs": member.forked_logs,
        "drafts": member.drafts,
        "scopes": scopes,
        "lost_pieces": status.lost_pieces,
        "relays": relays,
        "encryption": false,
    });
    insert_held(&held, &mut object);
    let drafts = drafts(device, member.drafts)?;
    output.answer(&object, || {
        in_lines(
            &status,
            device.name(),
            &held,
            &drafts,
            (duplicates, unverified),
            output,
        )
    });
    Ok(Ended::Done)
}

/// What was typed and could not be saved, the newest few.
fn drafts(device: &Device, count: u64) -> Result<Vec<(u64, String)>, Failure> {
    const SHOWN_MAX: u64 = 5;
    let mut drafts = Vec::new();
    for number in count.saturating_sub(SHOWN_MAX) + 1..=count {
        if let Some(draft) = device.draft(number)? {
            drafts.push((number, draft));
        }
    }
    Ok(drafts)
}

fn in_lines(
    status: &DeviceStatus,
    name: &str,
    held: &Held,
    drafts: &[(u64, String)],
    (duplicates, unverified): (u64, u64),
    output: &Output,
) -> String {
    let member = &status.member;
    let records = match member.documents {
        0 => "no record yet".to_owned(),
        documents => count(documents, "record"),
    };
    let mut lines = vec![format!("{}: {records}.", words::harmless(name))];
    lines.push(unsent(status, output));
    if member.conflicts + member.proposals > 0 {
        lines.push(format!(
            "{} with conflicts, {} with proposals. See: cairn conflicts",
            count(member.conflicts, "record"),
            member.proposals
        ));
    }
    if unverified > 0 {
        lines.push(format!(
            "{} with values that are not verified, marked in: cairn list",
            count(unverified, "record")
        ));
    }
    if duplicates > 0 {
        lines.push(format!(
            "{} probably recorded twice, marked in: cairn list",
            count(duplicates, "record")
        ));
    }
    if status.lost_pieces > 0 {
        lines.push(lost(status.lost_pieces));
    }
    if status.joined {
        lines.push(held_in_lines(held, output));
    }
    for relay in &status.relays {
        let address = relay.addresses.first().map_or("a relay", String::as_str);
        let contact = match relay.last_contact_s {
            Some(at) => format!("last contact {}", words::time(at, &output.zone)),
            None => "no contact yet".to_owned(),
        };
        let delivered = if relay.delivered {
            "it has all that is here"
        } else {
            "it lacks some of it"
        };
        lines.push(format!("Relay {address}: {contact}; {delivered}."));
    }
    let aside = [
        (member.waiting, "waits for others to arrive"),
        (member.quarantined, "is set aside because it breaks a rule"),
        (member.stuck, "cannot be applied together with others"),
        (
            member.locked_entries,
            "is sealed under a key that this device lacks",
        ),
    ];
    for (number, what) in aside.into_iter().filter(|(number, _)| *number > 0) {
        lines.push(format!("Of what came, {number} {what}."));
    }
    if member.forked_logs > 0 {
        lines.push(format!(
            "{} used in two places at once (copied or restored); what both wrote is kept.",
            count(member.forked_logs, "device folder")
        ));
    }
    for (number, draft) in drafts {
        lines.push(format!("Draft {number}, typed and not saved:"));
        lines.extend(
            draft
                .lines()
                .take(20)
                .map(|line| format!("  {}", super::values::one_line(line))),
        );
    }
    lines.join("\n")
}

fn unsent(status: &DeviceStatus, output: &Output) -> String {
    let next = match (status.joined, status.deferred) {
        (false, _) => "This device has not joined a programme. Next: cairn join CODE.",
        (true, true) => "The code waits to be used. Next: cairn sync.",
        (true, false) => "Next: cairn sync.",
    };
    let changes = status.member.unsent_changes;
    if changes == 0 {
        return match (status.joined, status.deferred) {
            (true, false) => "Everything here is at the relay.".to_owned(),
            _ => format!("Nothing waits to be sent. {next}"),
        };
    }
    let oldest = status
        .member
        .oldest_unsent_s
        .map(|at| words::time(at, &output.zone));
    let oldest = oldest.map_or_else(String::new, |at| format!("; oldest {at}"));
    format!(
        "{} not yet at the centre{oldest}. {next}",
        count(changes, "change")
    )
}

fn lost(pieces: u64) -> String {
    format!(
        "{} written here could not be read again: the disk may be failing. What others have comes back \
         with: cairn sync (where it says that this device has not joined, cairn join CODE first).",
        count(pieces, "piece")
    )
}

pub fn check(arguments: &Check, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let checked = device.check(arguments.repair)?;
    let stretches = checked.store.bad_stretches.len() as u64;
    output.answer(
        &json!({
            "schema": "cairn.verify/1",
            "ok": checked.ok(),
            "entries": checked.store.entries,
            "changes": checked.changes,
            "documents": checked.documents,
            "problems": checked.problems,
            "lost_frames": checked.store.lost_frames,
            "lost_pieces": checked.lost_pieces,
            "bad_stretches": stretches,
            "repaired": checked.repaired,
        }),
        || {
            let mut lines = checked.problems.clone();
            let entries = match output.verbose {
                true => format!("{}, ", count(checked.store.entries, "entry")),
                false => String::new(),
            };
            lines.push(format!(
                "{entries}{} in {} were read.",
                count(checked.changes, "change"),
                count(checked.documents, "record")
            ));
            lines.join("\n")
        },
    );
    if checked.repaired {
        output.say("Index and lists were made anew from what was written. Nothing was deleted.");
    }
    if checked.lost_pieces > 0 {
        output.warn(&lost(checked.lost_pieces));
    }
    if checked.ok() {
        output.say("All is sound.");
        return Ok(Ended::Done);
    }
    output.say(if arguments.repair {
        "Not everything could be mended here. What others have comes back with: cairn sync"
    } else {
        "Next: cairn check --repair. It deletes nothing."
    });
    Ok(Ended::Unsound)
}

pub fn settings(origin: bool, settings: &Settings, output: &Output) {
    let rows: Vec<Json> = settings
        .origins
        .iter()
        .map(|one| json!({ "key": one.key, "value": one.value, "origin": one.from }))
        .collect();
    output.answer(
        &json!({ "schema": "cairn.config/1", "settings": rows }),
        || {
            let rows: Vec<Vec<String>> = settings
                .origins
                .iter()
                .map(|one| {
                    let mut row = vec![one.key.to_owned(), one.value.clone()];
                    row.extend(origin.then(|| one.from.clone()));
                    row
                })
                .collect();
            output.table(&rows)
        },
    );
}
