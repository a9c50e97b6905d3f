//! The relay's answers in lines for people.

use crate::arguments::ops::OpsCommand;
use crate::field::{field_in_lines, in_words, one_line, record_in_lines};
use crate::output::Output;
use crate::words::{self, age, count};
use serde_json::Value as Json;

/// The answer to a command.
pub fn lines(command: &OpsCommand, answer: &Json, output: &Output) -> String {
    match command {
        OpsCommand::Status { .. } => status(answer, output),
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
        OpsCommand::Doc { .. } => record_in_lines(answer, output),
        OpsCommand::Conflicts => conflicts(answer, output),
        OpsCommand::Logs { .. } => logs(answer, output),
        OpsCommand::Verify { .. } => verify(answer),
        OpsCommand::Reload => reload(answer),
        OpsCommand::Config { .. } => settings(answer, output),
        OpsCommand::Backup { .. } => String::new(),
    }
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or_default()
}

fn array<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

fn is(json: &Json, key: &str) -> bool {
    json.get(key).and_then(Json::as_bool) == Some(true)
}

/// A number, or a dash where the relay does not know it.
fn known(json: &Json, key: &str) -> String {
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

fn time(json: &Json, key: &str, output: &Output) -> String {
    match text(json, key).parse::<jiff::Timestamp>() {
        Ok(at) => words::time(at.as_second(), &output.zone),
        Err(_) => "never".to_owned(),
    }
}

/// The beginning of an id, long enough to name it.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

fn status(answer: &Json, output: &Output) -> String {
    let mut lines = format!("{}\n", text(answer, "health"));
    for act in array(answer, "act_now") {
        lines.push_str(&format!("! {}\n", one_line(text(act, "message"))));
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

fn head(names: &[&str]) -> Vec<String> {
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
        "state",
        "started",
        "sent",
        "received",
        "round trips",
        "error",
    ])];
    for session in array(answer, "sessions") {
        let name = match text(session, "name") {
            "" => short(text(session, "device")),
            name => one_line(name),
        };
        rows.push(vec![
            name,
            text(session, "state").to_owned(),
            time(session, "started", output),
            words::bytes(number(session, "app_bytes_sent")),
            words::bytes(number(session, "app_bytes_received")),
            known(session, "round_trips"),
            one_line(text(session, "error")),
        ]);
    }
    output.table(&rows)
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
    for held in array(answer, "quarantine") {
        lines.push_str(&format!(
            "{}: {} {}\n",
            text(held, "state"),
            one_line(&in_words(held.get("document").unwrap_or(&Json::Null))),
            one_line(text(held, "why"))
        ));
    }
    lines
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
