//! The relay's answers in lines for people.

use super::{audit, morning};
use crate::arguments::ops::{AuditCommand, OpsCommand, QuarantineCommand};
use crate::field::{field_in_lines, in_words, one_line, record_in_lines};
use crate::output::Output;
use crate::words::{self, age, count};
use serde_json::Value as Json;

/// The answer to a command.
pub fn lines(command: &OpsCommand, answer: &Json, output: &Output) -> String {
    match command {
        OpsCommand::Status { .. } => status(answer, output),
        OpsCommand::Morning | OpsCommand::Watch { .. } => morning::lines(answer, output),
        OpsCommand::Check { .. } => String::new(),
        OpsCommand::Audit { command } => match command {
            AuditCommand::Verify => audit::verified(answer),
            AuditCommand::List { .. } | AuditCommand::Export { .. } => audit::lines(answer, output),
        },
        OpsCommand::Devices => devices(answer, output),
        OpsCommand::Device { .. } => device(answer, output),
        OpsCommand::Revoke { .. } => revoked(answer),
        OpsCommand::Enrol { .. } => {
            output.say(&format!(
                "Good until {}, for {}. Hand it over so that nobody else sees it.",
                time_set(answer, "expires", output),
                count(number(answer, "uses"), "device")
            ));
            text(answer, "code").to_owned()
        }
        OpsCommand::Scopes => scopes(answer, output),
        OpsCommand::Scope { .. } => {
            format!("{} {}", text(answer, "scope"), text(answer, "access"))
        }
        OpsCommand::Sessions { .. } => sessions(answer, output),
        OpsCommand::Docs { .. } => docs(answer, output),
        OpsCommand::Doc { .. } => record_in_lines(answer, output) + &holders(answer, output),
        OpsCommand::Quarantine { command } => quarantine(command, answer, output),
        OpsCommand::Conflicts => conflicts(answer, output),
        OpsCommand::Decide(_) => decided(answer, output),
        OpsCommand::Logs { .. } => logs(answer, output),
        OpsCommand::Verify { .. } => verify(answer),
        OpsCommand::Reload => reload(answer),
        OpsCommand::Config { .. } => settings(answer, output),
        OpsCommand::Backup { .. } => String::new(),
    }
}

pub(super) fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or_default()
}

pub(super) fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or_default()
}

pub(super) fn array<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn is(json: &Json, key: &str) -> bool {
    json.get(key).and_then(Json::as_bool) == Some(true)
}

/// A number, or a dash where the relay does not know it.
pub(super) fn known(json: &Json, key: &str) -> String {
    json.get(key)
        .and_then(Json::as_u64)
        .map_or_else(|| "-".to_owned(), words::grouped)
}

/// A time that somebody has set.
fn time_set(of: &Json, key: &str, output: &Output) -> String {
    match text(of, key).parse::<jiff::Timestamp>() {
        Ok(at) => words::time_set(at.as_second(), &output.zone),
        Err(_) => "an unknown time".to_owned(),
    }
}

pub(super) fn time(json: &Json, key: &str, output: &Output) -> String {
    match text(json, key).parse::<jiff::Timestamp>() {
        Ok(at) => words::time(at.as_second(), &output.zone),
        Err(_) => "never".to_owned(),
    }
}

/// The beginning of an id, long enough to name it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

fn status(answer: &Json, output: &Output) -> String {
    let mut lines = format!("{}\n", text(answer, "health"));
    for act in array(answer, "act_now") {
        // Whole: what is to be done stands at its end.
        lines.push_str(&format!("! {}\n", words::harmless(text(act, "message"))));
    }
    lines.push_str(&format!(
        "records {}, changes {}, conflicts {}, proposals {}, sealed entries {}\n\n",
        known(answer, "documents"),
        known(answer, "changes"),
        known(answer, "conflicts"),
        known(answer, "proposals"),
        known(answer, "entries")
    ));
    lines.push_str(&devices(answer, output));
    lines
}

fn devices(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&[
        "device",
        "name",
        "role",
        "last sync",
        "backlog",
        "oldest unsent",
        "conflicts",
        "",
    ])];
    for device in array(answer, "devices") {
        let oldest = device.get("oldest_unsent_s").and_then(Json::as_u64);
        let mut marks = Vec::new();
        if text(device, "standing") == "revoked" {
            marks.push("revoked");
        }
        if is(device, "stale") {
            marks.push("SILENT");
        }
        if is(device, "connected") {
            marks.push("connected");
        }
        rows.push(vec![
            short(text(device, "device")),
            one_line(text(device, "name")),
            text(device, "role").to_owned(),
            time(device, "last_sync", output),
            known(device, "backlog"),
            oldest.map_or_else(|| "-".to_owned(), age),
            known(device, "conflicts"),
            marks.join(", "),
        ]);
    }
    output.table(&rows)
}

pub(super) fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn device(answer: &Json, output: &Output) -> String {
    let mut lines = format!(
        "{}  {}  {}  {}\nid {}\nlast sync {}, backlog {}\n",
        one_line(text(answer, "name")),
        text(answer, "role"),
        text(answer, "standing"),
        if is(answer, "connected") {
            "connected"
        } else {
            "not connected"
        },
        text(answer, "device"),
        time(answer, "last_sync", output),
        known(answer, "backlog")
    );
    for scope in array(answer, "scopes") {
        lines.push_str(&format!(
            "area of work {} {}\n",
            one_line(text(scope, "scope")),
            text(scope, "access")
        ));
    }
    if !text(answer, "reason").is_empty() {
        lines.push_str(&format!(
            "revoked because: {}\n",
            one_line(text(answer, "reason"))
        ));
    }
    lines.push_str(&logs(answer, output));
    lines
}

fn revoked(answer: &Json) -> String {
    let name = one_line(text(answer, "name"));
    match (is(answer, "dry_run"), is(answer, "already")) {
        (_, true) => format!("{name} is revoked already."),
        (true, false) => format!("{name} would be revoked. Nothing was done."),
        (false, false) => format!("{name} is revoked. {}", text(answer, "note")),
    }
}

fn scopes(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&[
        "area of work",
        "members",
        "records",
        "sealed entries",
    ])];
    for scope in array(answer, "scopes") {
        rows.push(vec![
            one_line(text(scope, "scope")),
            known(scope, "members"),
            known(scope, "documents"),
            known(scope, "entries"),
        ]);
    }
    output.table(&rows)
}

fn sessions(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&[
        "device",
        "began",
        "took",
        "sent",
        "received",
        "entries",
        "trips",
        "how it ended",
    ])];
    for session in array(answer, "sessions") {
        let name = match text(session, "name") {
            "" => short(text(session, "device")),
            name => one_line(name),
        };
        let arrow = if text(session, "direction") == "out" {
            "→ "
        } else {
            ""
        };
        let moved = number(session, "entries_sent") + number(session, "entries_received");
        rows.push(vec![
            format!("{arrow}{name}"),
            time(session, "started", output),
            took(session).unwrap_or_else(|| "runs".to_owned()),
            words::bytes(number(session, "app_bytes_sent")),
            words::bytes(number(session, "app_bytes_received")),
            words::grouped(moved),
            known(session, "round_trips"),
            ended_how(session, output),
        ]);
    }
    let mut lines = output.table_sparing(&rows, &[6, 5, 3, 4, 2]);
    let (all, shown) = (number(answer, "ended"), rows.len() as u64 - 1);
    if all > shown {
        output.say(&format!("The newest {shown} of {}.", count(all, "session")));
    }
    for month in array(answer, "months") {
        lines.push_str(&format!(
            "{}: {}, {} of them complete, {} sent, {} received (no longer listed one by one)\n",
            text(month, "month"),
            count(number(month, "sessions"), "session"),
            known(month, "complete"),
            words::bytes(number(month, "app_bytes_sent")),
            words::bytes(number(month, "app_bytes_received")),
        ));
    }
    for restore in array(answer, "relay_restores") {
        output.say(&format!(
            "The relay was restored at {} from a backup of {}: sessions in between are not listed.",
            time(restore, "at", output),
            time(restore, "backup_made", output),
        ));
    }
    for start in array(answer, "relay_starts") {
        if start.get("after_a_clean_stop") == Some(&Json::Bool(false)) {
            output.say(&format!(
                "The relay had been killed before it started at {}: sessions that ran then are not \
                 listed. What it had acknowledged is safe.",
                time(start, "at", output)
            ));
        }
    }
    lines
}

/// How long it took, if it has ended.
fn took(session: &Json) -> Option<String> {
    let at = |key: &str| text(session, key).parse::<jiff::Timestamp>().ok();
    let seconds = at("ended")?.as_second() - at("started")?.as_second();
    Some(match u64::try_from(seconds).unwrap_or(0) {
        seconds @ 0..60 => format!("{seconds} s"),
        longer => age(longer),
    })
}

fn ended_how(session: &Json, output: &Output) -> String {
    if is(session, "running") {
        return match text(session, "state") {
            "equal" => "connected, both sides hold the same".to_owned(),
            _ => "exchanging".to_owned(),
        };
    }
    let how = match text(session, "state") {
        "done" if is(session, "complete") => "complete".to_owned(),
        "joined" => "joined".to_owned(),
        _ => one_line(text(session, "ended_how")),
    };
    match text(session, "next_retry") {
        "" => how,
        _ => format!(
            "{how}; next attempt {}",
            time(session, "next_retry", output)
        ),
    }
}

fn docs(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&[
        "number",
        "code",
        "kind",
        "class",
        "status",
        "area",
        "area of work",
        "recorded",
        "by",
        "",
    ])];
    for document in array(answer, "documents") {
        let mut marks = Vec::new();
        if number(document, "conflicts") > 0 {
            marks.push("CONFLICT");
        }
        if number(document, "proposals") > 0 {
            marks.push("proposal");
        }
        if is(document, "void") {
            marks.push("withdrawn");
        }
        rows.push(vec![
            one_line(text(document, "local_id")),
            text(document, "short_code").to_owned(),
            text(document, "kind").to_owned(),
            text(document, "hazard_class").to_owned(),
            text(document, "status").to_owned(),
            match known(document, "area_m2").as_str() {
                "-" => "-".to_owned(),
                area => format!("{area} m²"),
            },
            one_line(text(document, "scope")),
            time(document, "recorded_at", output),
            one_line(text(document, "by")),
            marks.join(", "),
        ]);
    }
    let total = number(answer, "total");
    let shown = array(answer, "documents").len() as u64;
    if shown < total {
        output.say(&format!(
            "The newest {shown} of {}.",
            count(total, "record")
        ));
    }
    output.table_sparing(&rows, &[6, 2, 8, 4])
}

fn conflicts(answer: &Json, output: &Output) -> String {
    let mut lines = String::new();
    for question in array(answer, "conflicts") {
        let label = match text(question, "local_id") {
            "" => "no number".to_owned(),
            label => one_line(label),
        };
        lines.push_str(&format!(
            "{label}  {}  {}  {}\n",
            text(question, "short_code"),
            text(question, "kind"),
            one_line(text(question, "scope"))
        ));
        lines.push_str(&field_in_lines(text(question, "field"), question, output));
    }
    if lines.is_empty() {
        output.say("Nothing waits for a decision.");
    }
    lines
}

fn logs(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&["area of work", "lane", "device", "height", ""])];
    for log in array(answer, "logs") {
        let name = one_line(text(log, "name"));
        rows.push(vec![
            one_line(text(log, "scope")),
            text(log, "lane").to_owned(),
            format!("{name} {}", short(text(log, "device"))),
            known(log, "height"),
            if is(log, "forked") {
                "FORKED: two copies write"
            } else {
                ""
            }
            .to_owned(),
        ]);
    }
    let mut lines = output.table(&rows);
    if !array(answer, "quarantine").is_empty() {
        lines.push_str("\nset aside:\n");
        lines.push_str(&set_aside(array(answer, "quarantine"), output));
    }
    lines
}

fn quarantine(command: &QuarantineCommand, answer: &Json, output: &Output) -> String {
    match command {
        QuarantineCommand::List { .. } => {
            let listed = array(answer, "set_aside");
            if listed.is_empty() {
                output.say("Nothing is set aside.");
                return String::new();
            }
            set_aside(listed, output)
        }
        QuarantineCommand::Show { .. } | QuarantineCommand::KeepOut { .. } => {
            one_set_aside(answer, output)
        }
    }
}

fn set_aside(listed: &[Json], output: &Output) -> String {
    let mut rows = vec![head(&[
        "id",
        "state",
        "from",
        "record",
        "area of work",
        "why",
    ])];
    for one in listed {
        let why = one_line(text(one, "why"));
        let decided = one.get("decision").is_some_and(Json::is_object);
        rows.push(vec![
            short(text(one, "change")),
            text(one, "state").to_owned(),
            name_or_key(one),
            match text(one, "document") {
                "" => "-".to_owned(),
                document => short(document),
            },
            one_line(text(one, "scope")),
            match decided {
                true => format!("looked at, stays out ({why})"),
                false => why,
            },
        ]);
    }
    output.table_sparing(&rows, &[4, 3])
}

fn name_or_key(one: &Json) -> String {
    match text(one, "name") {
        "" => short(text(one, "device")),
        name => one_line(name),
    }
}

fn one_set_aside(one: &Json, output: &Output) -> String {
    let mut lines = format!(
        "{}  {}\nwhy: {}\nfrom {}, in {}\n",
        short(text(one, "change")),
        text(one, "state"),
        one_line(text(one, "why")),
        name_or_key(one),
        one_line(text(one, "scope"))
    );
    if !text(one, "cause").is_empty() {
        let cause = match text(one, "state") {
            "waiting" => format!("waits for {}", short(text(one, "cause"))),
            _ => format!("rule {}", text(one, "cause")),
        };
        lines.push_str(&format!("{cause}\n"));
    }
    if output.verbose {
        lines.push_str(&format!("id {}\n", text(one, "change")));
        for entry in array(one, "entries") {
            lines.push_str(&format!("stands in entry {}\n", in_words(entry)));
        }
    }
    if let Some(decision) = one.get("decision").filter(|it| it.is_object()) {
        lines.push_str(&format!(
            "looked at {}{}: stays out, {}\n",
            time(decision, "at", output),
            match text(decision, "by") {
                "" => String::new(),
                by => format!(" by {}", one_line(by)),
            },
            one_line(text(decision, "reason"))
        ));
    }
    if let Some(record) = one.get("record").filter(|it| it.is_object()) {
        lines.push_str("\nIts record, without it:\n");
        lines.push_str(&record_in_lines(record, output));
    }
    lines
}

/// In which entries a record stands, and who is known to have it.
fn holders(answer: &Json, output: &Output) -> String {
    let mut lines = String::new();
    if answer.get("entries").is_some() {
        let mut rows = vec![head(&["by", "lane", "entry", "number", "how far"])];
        for entry in array(answer, "entries") {
            rows.push(vec![
                one_line(text(entry, "by")),
                text(entry, "lane").to_owned(),
                short(text(entry, "entry")),
                known(entry, "number"),
                match (is(entry, "seen_by_centre"), is(entry, "at_relay")) {
                    (true, _) => "seen by the centre",
                    (false, true) => "at the relay",
                    (false, false) => "read here, not at the relay",
                }
                .to_owned(),
            ]);
        }
        lines.push_str(&format!(
            "\nsealed entries it stands in:\n{}",
            output.table(&rows)
        ));
    }
    let Some(at_relay) = answer.get("at_relay") else {
        return lines;
    };
    let part = |stage: &Json| match is(stage, "whole") {
        true => "all of it".to_owned(),
        false => format!(
            "{} of {} entries",
            known(stage, "entries"),
            known(stage, "of")
        ),
    };
    let mut rows = vec![
        head(&["who", "is known to have", "because"]),
        vec![
            "this relay".to_owned(),
            part(at_relay),
            "it is stored here".to_owned(),
        ],
    ];
    if let Some(seen) = answer.get("seen_by_centre") {
        let because = "it signed that it opened it".to_owned();
        rows.push(vec!["the centre".to_owned(), part(seen), because]);
    }
    for holder in array(answer, "who_has") {
        if text(holder, "role") == "relay" {
            continue;
        }
        let mut because: Vec<String> = Vec::new();
        for (key, word) in [
            ("wrote", "wrote"),
            ("sent", "sent"),
            ("acknowledged", "confirmed"),
        ] {
            match number(holder, key) {
                0 => {}
                some => because.push(format!("{word} {some}")),
            }
        }
        let has = match number(holder, "entries") {
            0 => "nothing of it is known there".to_owned(),
            _ => part(holder),
        };
        let revoked = match text(holder, "standing") {
            "revoked" => " (revoked)",
            _ => "",
        };
        let name = format!("{}{revoked}", one_line(text(holder, "name")));
        rows.push(vec![name, has, because.join(", ")]);
    }
    lines.push_str(&format!("\n{}", output.table(&rows)));
    lines
}

fn decided(answer: &Json, output: &Output) -> String {
    let name = match text(answer, "local_id") {
        "" => text(answer, "short_code"),
        number => number,
    };
    if is(answer, "dry_run") {
        output.say(&format!(
            "{}: {} would be settled; {} would be named. Nothing was saved.",
            one_line(name),
            text(answer, "field"),
            count(array(answer, "names").len() as u64, "value")
        ));
        return text(answer, "id").to_owned();
    }
    output.say(&format!(
        "{}: decided, and at the relay. Devices have it with their next sync.",
        one_line(name)
    ));
    for field in array(answer, "fields") {
        let reads = in_words(field.get("reads").unwrap_or(&Json::Null));
        let more = match (is(field, "proposal"), is(field, "conflict")) {
            (true, _) => " What was chosen is only a proposal.",
            (false, true) => " Another value came meanwhile: it is in conflict still.",
            (false, false) => "",
        };
        output.say(&format!("{} reads {reads}.{more}", text(field, "field")));
    }
    text(answer, "id").to_owned()
}

fn verify(answer: &Json) -> String {
    let mut lines = String::new();
    for problem in array(answer, "problems") {
        lines.push_str(&format!(
            "{}\n",
            one_line(problem.as_str().unwrap_or_default())
        ));
    }
    lines.push_str(&format!(
        "{}: {} entries, {} changes\n",
        if is(answer, "ok") {
            "All is sound"
        } else {
            "NOT sound"
        },
        known(answer, "entries"),
        known(answer, "changes")
    ));
    if !is(answer, "ok") {
        lines.push_str("Stop the daemon, then: cairnd repair --dir DIR\n");
    }
    lines
}

fn reload(answer: &Json) -> String {
    let mut lines = String::new();
    for change in array(answer, "changes") {
        let value = |key: &str| in_words(change.get(key).unwrap_or(&Json::Null));
        let when = if is(change, "in_force") {
            "now"
        } else {
            "at the next start"
        };
        lines.push_str(&format!(
            "{}: {} becomes {} {when}\n",
            text(change, "key"),
            value("from"),
            value("to")
        ));
    }
    if lines.is_empty() {
        lines.push_str("Nothing has changed.\n");
    }
    lines
}

fn settings(answer: &Json, output: &Output) -> String {
    let rows: Vec<Vec<String>> = answer
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !["schema", "origins"].contains(&key.as_str()))
        .map(|(key, value)| {
            let value = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            let from = answer["origins"][key].as_str().unwrap_or_default();
            vec![key.clone(), value, from.to_owned()]
        })
        .collect();
    output.table(&rows)
}
