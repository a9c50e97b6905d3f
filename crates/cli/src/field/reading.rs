//! Records, what is open, what words mean.

use super::values::{heads, in_words, one_line};
use crate::Ended;
use crate::arguments::{Conflicts, Explain, Show};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, count};
use cairn_device::records::schema::{self, Explanation, Field, FieldType};
use cairn_device::records::{Doubt, Likeness};
use cairn_device::{AsOf, Device, Stage};
use cairn_wire::ids::DocumentId;
use serde_json::{Value as Json, json};

pub fn show(arguments: &Show, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let as_of = match &arguments.as_of {
        Some(text) => Some(point_in_time(text, output)?),
        None => None,
    };
    let shown = device.show(&arguments.id, as_of)?;
    let mut object = shown.to_json();
    let history = match arguments.history {
        true => device.history(&arguments.id)?,
        false => Vec::new(),
    };
    let history: Vec<Json> = history
        .iter()
        .map(|(entry, stage)| {
            let mut json = entry.to_json(shown.record.definition());
            if let Some(object) = json.as_object_mut() {
                object.insert("stage".into(), json!(stage));
            }
            json
        })
        .collect();
    if let Some(object) = object.as_object_mut() {
        if arguments.history {
            object.insert("history".into(), json!(history));
        }
        if arguments.as_of.is_none() {
            let doubts = device.doubts(&shown.id.to_string())?;
            let doubts: Vec<Json> = doubts.iter().map(Doubt::to_json).collect();
            object.insert("warnings".into(), json!(doubts));
            let duplicates = device.duplicates_of(shown.scope, shown.id)?;
            object.insert("duplicates".into(), others(&duplicates));
        }
    }
    output.answer(&object, || record_in_lines(&object, output));
    if arguments.as_of.is_none() {
        if let Some(open) = open_in_words(&object) {
            output.say(&open);
        }
        output.say(stage_in_words(shown.stage()));
    } else {
        output.say("As it stood then, by the devices' clocks.");
    }
    Ok(Ended::Done)
}

/// Others that are probably the same record, as `{"id":…,"short_code":…,"why":…}`.
pub(super) fn others<'a>(duplicates: impl IntoIterator<Item = &'a (DocumentId, Likeness)>) -> Json {
    let others = duplicates.into_iter();
    others
        .map(|(other, likeness)| {
            json!({
                "id": other.to_string(),
                "short_code": cairn_device::member::short_code(other),
                "why": likeness.name(),
                "message": likeness.words(),
            })
        })
        .collect()
}

fn point_in_time(text: &str, output: &Output) -> Result<AsOf, Failure> {
    let text = text.trim();
    if text.split(',').all(|head| head.trim().len() == 64) {
        return Ok(AsOf::Heads(heads(text)?));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(AsOf::Time(at.as_second()));
    }
    let in_zone = |at: jiff::civil::DateTime| at.to_zoned_datetime(output.zone.clone()).ok();
    // A day is meant to its end. "2026-11-24" reads as a time of day as well: try the day first.
    let day = text
        .parse::<jiff::civil::Date>()
        .ok()
        .filter(|_| !text.contains(['T', ':']));
    let at = match day {
        Some(day) => in_zone(day.at(23, 59, 59, 0)),
        None => text.parse().ok().and_then(in_zone),
    };
    at.map(|at| AsOf::Time(at.timestamp().as_second()))
        .ok_or_else(|| {
            Failure::usage(format!("--as-of {text:?} is no date, time or heads"))
                .hint("Write 2026-11-24, 2026-11-24T16:40, or heads of `cairn show --json`.")
        })
}

fn stage_in_words(stage: Stage) -> &'static str {
    match stage {
        Stage::OnThisDevice => "On this laptop. Not yet at the centre.",
        Stage::AtRelay => "At the relay. Not yet seen by the centre.",
        Stage::SeenByCentre => "Seen by the centre.",
    }
}

/// What waits for a decision in a record, and how it is made: on a low terminal the fields themselves may
/// have gone by.
fn open_in_words(object: &Json) -> Option<String> {
    let fields = object.get("fields").and_then(Json::as_object)?;
    let is = |value: &Json, key: &str| value.get(key).and_then(Json::as_bool) == Some(true);
    let proposed = |field: &Json| {
        let values = field.get("values").and_then(Json::as_array);
        let mut values = values.into_iter().flatten();
        values.any(|value| is(value, "proposal"))
    };
    let open: Vec<(&String, &str)> = fields
        .iter()
        .filter_map(|(name, field)| match is(field, "conflict") {
            true => Some((name, "conflict")),
            false => proposed(field).then_some((name, "proposal")),
        })
        .collect();
    let field = match open.as_slice() {
        [] => return None,
        [(name, _)] => name,
        _ => "FIELD",
    };
    let said: Vec<String> = open
        .iter()
        .map(|(name, what)| format!("{name} ({what})"))
        .collect();
    let code = object.get("short_code").and_then(Json::as_str);
    Some(format!(
        "To be decided: {}. Next: cairn decide {} --field {field} --take LETTER --reason TEXT",
        words::listed(&said),
        code.unwrap_or("ID")
    ))
}

/// The programme's number of a record, where it has one.
fn number(object: &Json) -> Option<&str> {
    object.pointer("/fields/local_id/reads")?.as_str()
}

/// Fields that a person has seen in the first line, or that say nothing about the ground.
const NOT_SHOWN: [&str; 3] = ["kind", "scope", "schema_version"];

/// The field that keeps how a record was decided.
const DECISIONS: &str = "decisions";

/// `cairn.record/1` in lines.
pub(crate) fn record_in_lines(object: &Json, output: &Output) -> String {
    let text = |key: &str| object.get(key).and_then(Json::as_str).unwrap_or_default();
    let strings = |key: &str| -> Vec<String> {
        let strings = object
            .get(key)
            .and_then(Json::as_array)
            .into_iter()
            .flatten();
        strings
            .filter_map(Json::as_str)
            .map(str::to_owned)
            .collect()
    };
    let number = number(object).map_or_else(String::new, |number| one_line(number) + "  ");
    let mut lines = format!(
        "{number}{}  {}  {}\n",
        text("short_code"),
        text("kind"),
        one_line(text("scope"))
    );
    if output.verbose {
        lines.push_str(&format!(
            "id {}\nheads {}\n",
            text("id"),
            strings("heads").join(", ")
        ));
    }
    let flags = strings("flags").join(", ").replace('_', " ");
    if !flags.is_empty() {
        lines.push_str(&format!("flags: {flags}\n"));
    }
    let held = object.get("held").and_then(Json::as_u64).unwrap_or(0);
    if held > 0 {
        lines.push_str(&format!(
            "{} not part of it: waiting for others, or set aside\n",
            count(held, "change")
        ));
    }
    lines.push_str(&beside_the_fields(object));
    let fields = object.get("fields").and_then(Json::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let said_above = NOT_SHOWN.contains(&name.as_str());
        let in_force = name == "void" && field.get("assumed") == Some(&Json::Bool(true));
        if output.verbose || !(said_above || in_force) {
            lines.push_str(&field_in_lines(name, field, output));
        }
    }
    let history = object.get("history").and_then(Json::as_array);
    for entry in history.into_iter().flatten() {
        lines.push_str(&change_in_lines(entry, output));
    }
    lines
}

/// What is doubtful, which others are probably the same, and derived figures.
fn beside_the_fields(object: &Json) -> String {
    let listed = |key: &str| {
        object
            .get(key)
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
    };
    let part = |of: &Json, key: &str| {
        of.get(key)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut lines = String::new();
    for doubt in listed("warnings") {
        lines.push_str(&format!("check: {}\n", part(doubt, "message")));
    }
    for other in listed("duplicates") {
        let (code, message) = (part(other, "short_code"), part(other, "message"));
        lines.push_str(&format!("probable duplicate: {code}, {message}\n"));
    }
    let derived = object.get("derived").and_then(Json::as_object);
    for (field, totals) in derived.into_iter().flatten() {
        let Some(all) = totals.get("all") else {
            continue;
        };
        lines.push_str(&format!("{field}, all together: {}\n", count_in_words(all)));
    }
    lines
}

/// `90`, or `81 to 90, as people disagree`.
fn count_in_words(count: &Json) -> String {
    let end = |key: &str| count.get(key).and_then(Json::as_u64);
    let open = count.get("or_more").is_some();
    match (end("least"), end("most")) {
        (Some(least), Some(most)) if open && least == most => {
            format!("{} or more", words::grouped(least))
        }
        (Some(least), Some(most)) => {
            let (least, most) = (words::grouped(least), words::grouped(most));
            let why = if open {
                "or more"
            } else {
                "as people disagree"
            };
            format!("{least} to {most}, {why}")
        }
        _ => in_words(count),
    }
}

/// A field: its reading, and where more than one value stands, each of them.
pub(crate) fn field_in_lines(name: &str, field: &Json, output: &Output) -> String {
    let no_values = Vec::new();
    let values = field
        .get("values")
        .and_then(Json::as_array)
        .unwrap_or(&no_values);
    if name == DECISIONS && !output.verbose {
        return decisions_in_lines(values, output);
    }
    let is = |value: &Json, key: &str| value.get(key).and_then(Json::as_bool) == Some(true);
    let conflict = is(field, "conflict");
    let open = conflict || values.iter().any(|value| is(value, "proposal"));
    // Whose word it is matters where it may not be trusted.
    let doubtful = values
        .iter()
        .any(|value| !is(value, "verified") && !is(value, "implied"));
    let reads = field.get("reads").unwrap_or(&Json::Null);
    let reads = match (conflict, reads) {
        (true, Json::Null) => "not settled".to_owned(),
        _ => in_words(reads),
    };
    let mark = match (conflict, is(field, "assumed")) {
        (true, _) => "   CONFLICT",
        // What people said is superseded by what evidence implies.
        (_, true) if !values.is_empty() => "   (follows from the evidence)",
        (_, true) => "   (nobody said; taken for the most dangerous)",
        _ => "",
    };
    let mut lines = format!("{name}: {reads}{mark}\n");
    for value in values.iter().filter(|_| open || doubtful || output.verbose) {
        let text = |key: &str| value.get(key).and_then(Json::as_str).unwrap_or_default();
        let when = when_in_words(text("recorded_at"), output);
        let mut marks = String::new();
        for (key, word) in [
            (
                "proposal",
                if name == "suggestions" {
                    "suggestion"
                } else {
                    "proposal"
                },
            ),
            ("removes", "takes it out"),
            ("decision", "decision"),
            ("implied", "not said, assumed"),
        ] {
            if is(value, key) {
                marks.push_str(&format!("   {word}"));
            }
        }
        if !is(value, "verified") {
            marks.push_str("   not verified");
        }
        if !text("reason").is_empty() {
            marks.push_str(&format!("   because: {}", one_line(text("reason"))));
        }
        if output.verbose {
            marks.push_str(&format!("   change {}", text("change")));
        }
        let only_m2 = value.get("only_here_m2").and_then(Json::as_u64);
        let only = only_m2.map_or_else(String::new, |only_m2| match only_m2 {
            0 => ", all of it in others".to_owned(),
            only_m2 => format!(", {} m² of it in no other", words::grouped(only_m2)),
        });
        lines.push_str(&format!(
            "  {}  {}{only}   by {}, {when}{marks}\n",
            text("letter"),
            in_words(value.get("value").unwrap_or(&Json::Null)),
            one_line(text("by")),
        ));
    }
    lines
}

/// Which fields were decided, by whom, when and why.
fn decisions_in_lines(values: &[Json], output: &Output) -> String {
    let line = |value: &Json| {
        let text = |key: &str| value.get(key).and_then(Json::as_str).unwrap_or_default();
        let of = value.pointer("/value/field").and_then(Json::as_str);
        let mut line = format!(
            "decided: {}   by {}, {}",
            one_line(of.unwrap_or("a field")),
            one_line(text("by")),
            when_in_words(text("recorded_at"), output)
        );
        if value.get("verified").and_then(Json::as_bool) != Some(true) {
            line.push_str("   not verified");
        }
        if !text("reason").is_empty() {
            line.push_str(&format!("   because: {}", one_line(text("reason"))));
        }
        line + "\n"
    };
    values.iter().map(line).collect()
}

/// A time of `cairn.record/1`.
fn when_in_words(text: &str, output: &Output) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => words::time(at.as_second(), &output.zone),
        Err(_) => "without a date".to_owned(),
    }
}

fn change_in_lines(entry: &Json, output: &Output) -> String {
    let text = |key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default();
    let when = when_in_words(text("recorded_at"), output);
    let mut lines = format!("\n{when}   by {}", one_line(text("by")));
    if entry.get("verified").and_then(Json::as_bool) != Some(true) {
        lines.push_str("   not verified");
    }
    lines.push_str(match text("stage") {
        "at_relay" => "   at the relay",
        "seen_by_centre" => "   seen by the centre",
        _ => "   on this laptop",
    });
    if output.verbose {
        lines.push_str(&format!("   change {}", text("change")));
    }
    lines.push('\n');
    let did = entry.get("did").and_then(Json::as_array);
    for did in did.into_iter().flatten() {
        let text = |key: &str| did.get(key).and_then(Json::as_str);
        let field = text("field").unwrap_or_default();
        if NOT_SHOWN.contains(&field) && !output.verbose {
            continue;
        }
        let value = did.get("set").or_else(|| did.get("said"));
        let value = value.map_or_else(|| "changed".to_owned(), in_words);
        let decided = did.get("decision").and_then(Json::as_bool) == Some(true);
        let reason = text("reason").map(|reason| format!("   because: {}", one_line(reason)));
        if let (DECISIONS, Some(of)) = (field, did.pointer("/said/field").and_then(Json::as_str)) {
            let reason = reason.unwrap_or_default();
            lines.push_str(&format!("  decided: {}{reason}\n", one_line(of)));
            continue;
        }
        lines.push_str(&format!(
            "  {field}: {value}{}{}\n",
            if decided { "   decided" } else { "" },
            reason.unwrap_or_default()
        ));
    }
    lines
}

pub fn conflicts(
    arguments: &Conflicts,
    device: &Device,
    output: &Output,
) -> Result<Ended, Failure> {
    let records = match &arguments.id {
        Some(id) => vec![device.show(id, None)?],
        None => device.open_questions()?,
    };
    let mut open = Vec::new();
    let mut blocks = Vec::new();
    for shown in &records {
        let id = shown.id.to_string();
        let label = shown.record.reads("local_id");
        let code = cairn_device::member::short_code(&shown.id);
        for mut question in shown.record.open_questions(&id) {
            let field = question
                .get("field")
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned();
            blocks.push(format!(
                "{}  {code}  {}\n{}",
                one_line(label.as_text().unwrap_or("no number")),
                shown.record.kind,
                field_in_lines(&field, &question, output)
            ));
            if let Some(object) = question.as_object_mut() {
                object.insert("kind".into(), json!(shown.record.kind));
                object.insert("local_id".into(), json!(label.as_text()));
                object.insert("short_code".into(), json!(code));
                object.insert("scope".into(), json!(shown.scope_name));
            }
            open.push(question);
        }
    }
    let next = "Next: cairn decide ID --field FIELD --take LETTER --reason TEXT";
    let whole = blocks.len();
    if !arguments.all && !output.json {
        leave_what_fits(&mut blocks, &format!("{LEFT_OUT}\n{next}"), output);
    }
    output.answer(
        &json!({ "schema": "cairn.conflicts/1", "conflicts": open }),
        || blocks.concat(),
    );
    if blocks.len() < whole {
        let more = words::grouped((whole - blocks.len()) as u64);
        output.say(&LEFT_OUT.replace("N", &more));
    }
    output.say(match whole {
        0 => "Nothing waits for a decision here.",
        _ => next,
    });
    Ok(Ended::Done)
}

/// Said below what a terminal shows of more.
const LEFT_OUT: &str = "… and N more: cairn conflicts --all, or of one record: cairn conflicts ID";

/// As many as a terminal shows at once, whole ones, and one at least.
fn leave_what_fits(blocks: &mut Vec<String>, below: &str, output: &Output) {
    let Some(lines_max) = output.lines_above(below) else {
        return;
    };
    let mut lines = 0;
    let fits = blocks.iter().take_while(|block| {
        lines += output.folded(block).lines().count();
        lines <= lines_max
    });
    let fits = fits.count().max(1);
    blocks.truncate(fits);
}

pub fn explain(arguments: &Explain, output: &Output) -> Result<Ended, Failure> {
    let (word, language) = (arguments.word.trim(), arguments.language.as_str());
    let mut found = Vec::new();
    let mut lines = String::new();
    if let Some(kind) = schema::kind(word) {
        let fields: Vec<&str> = kind
            .fields()
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        let label = kind.label.get(language);
        lines.push_str(&format!("{word}: {label}\nfields: {}\n", fields.join(", ")));
        found.push(json!({ "is": "kind", "word": word, "label": label, "fields": fields }));
    }
    for explanation in schema::explain(word) {
        match explanation {
            Explanation::Field { field, codes } => {
                let (label, help) = (field.label.get(language), field.help.get(language));
                lines.push_str(&format!("{}: {label}\n{help}\n", field.name));
                let codes: Vec<(&str, &str)> = codes
                    .into_iter()
                    .flat_map(|list| &list.codes)
                    .map(|code| (code.code.as_str(), code.label.get(language)))
                    .collect();
                let rows: Vec<Vec<String>> = codes
                    .iter()
                    .map(|(code, label)| vec![format!("  {code}"), (*label).to_owned()])
                    .collect();
                lines.push_str(&output.table(&rows));
                let keys = keys_of(field);
                for (list, codes) in &keys {
                    lines.push_str(&format!("by {list}: {}\n", codes.join(", ")));
                }
                let keys: Vec<Json> = keys
                    .iter()
                    .map(|(list, codes)| json!({ "list": list, "codes": codes }))
                    .collect();
                found.push(json!({
                    "is": "field",
                    "word": field.name,
                    "label": label,
                    "help": help,
                    "takes": takes(&field.field_type),
                    "keys": keys,
                    "codes": codes.iter().map(|(code, label)| json!({ "code": code, "label": label })).collect::<Vec<_>>(),
                }));
            }
            Explanation::Code { list, code } => {
                let label = code.label.get(language);
                lines.push_str(&format!("{} (an answer to {list}): {label}\n", code.code));
                if !code.holds.is_empty() {
                    lines.push_str(&format!("bands: {}\n", code.holds.join(", ")));
                }
                found.push(json!({
                    "is": "code",
                    "word": code.code,
                    "list": list,
                    "label": label,
                    "holds": code.holds,
                }));
            }
        }
    }
    if found.is_empty() {
        let mut near: Vec<String> = schema::kinds()
            .flat_map(|kind| kind.nearest(word))
            .collect();
        near.sort();
        near.dedup();
        let failure = Failure::new(
            "unknown_word",
            format!("{word:?} is no field, answer or kind of record"),
        );
        return Err(match near.is_empty() {
            true => failure.hint("cairn explain hazardous_area lists its fields."),
            false => failure.hint(format!("Did you mean {}?", near.join(" or "))),
        });
    }
    output.answer(
        &json!({ "schema": "cairn.explanation/1", "explanations": found }),
        || lines,
    );
    Ok(Ended::Done)
}

/// By what a map of figures is asked: lists and their codes.
fn keys_of(field: &Field) -> Vec<(&str, Vec<&'static str>)> {
    let codes = |list: &String| -> Vec<&'static str> {
        let list = schema::code_list(list).into_iter();
        list.flat_map(|list| &list.codes)
            .map(|code| code.code.as_str())
            .collect()
    };
    field
        .keys
        .iter()
        .map(|list| (list.as_str(), codes(list)))
        .collect()
}

fn takes(field_type: &FieldType) -> &'static str {
    match field_type {
        FieldType::Code(_) => "code",
        FieldType::Line => "line",
        FieldType::Text => "text",
        FieldType::Integer { .. } => "number",
        FieldType::Date => "date",
        FieldType::Time => "time",
        FieldType::Reference => "record",
        FieldType::Position => "position",
        FieldType::Perimeter => "perimeter",
        FieldType::Entry(_) => "entry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_says_what_by_whom_when_and_why() {
        let decided = json!({ "conflict": false, "reads": [{ "field": "slope" }], "values": [{
            "by": "Team Alpha",
            "decision": true,
            "reason": "measured on site",
            "recorded_at": "2024-03-09T16:00:00Z",
            "value": { "field": "slope" },
            "verified": true,
        }]});
        assert_eq!(
            field_in_lines(DECISIONS, &decided, &Output::plain(false)),
            "decided: slope   by Team Alpha, 9 Mar 2024 16:00   because: measured on site\n"
        );
    }

    #[test]
    fn what_waits_for_a_decision_is_named_with_the_command_that_decides() {
        let open = json!({ "short_code": "SH5-6JJ", "fields": {
            "slope": { "conflict": true, "values": [] },
            "status": { "conflict": false, "values": [{ "proposal": true }] },
            "marking": { "conflict": false, "values": [{ "proposal": false }] },
        }});
        let said = open_in_words(&open).unwrap_or_default();
        assert_eq!(
            said,
            "To be decided: slope (conflict) and status (proposal). Next: cairn decide SH5-6JJ \
             --field FIELD --take LETTER --reason TEXT"
        );
        assert_eq!(open_in_words(&json!({ "fields": {} })), None);
    }
}
