//! Recording, editing, withdrawing, deciding.

use super::known_kind;
use super::values;
use crate::Ended;
use crate::arguments::{Decide, Edit, New, Withdraw};
use crate::failure::Failure;
use crate::output::Output;
use cairn_device::member::{MemberError, Pointed};
use cairn_device::records::schema::{self, Class, Kind};
use cairn_device::records::{self, Choice, Doubt, Envelope, input};
use cairn_device::{Device, DeviceError, Saved};
use cairn_wire::ids::ChangeHash;
use serde_json::json;

pub fn new(arguments: &New, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = known_kind(&arguments.kind)?;
    let edits = values::edits(kind, &arguments.values)?;
    if edits.is_empty() {
        return Err(Failure::usage("there is nothing to record")
            .hint("Say something with --set, --add, --append, --text, --position or --geojson."));
    }
    let scope = arguments.scope.as_deref();
    let saved = device.new_record(scope, &kind.name, Envelope::default(), edits)?;
    answer(&saved, kind, Verb::Saved, device, output);
    Ok(Ended::Done)
}

pub fn edit(arguments: &Edit, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = kind_of(device, &arguments.id)?;
    let mut edits = values::edits(kind, &arguments.values)?;
    for text in &arguments.remove {
        edits.push(input::remove(kind, text, arguments.reason.as_deref())?);
    }
    for edit in &mut edits {
        if let records::Edit::Set { reason, .. } = edit {
            reason.clone_from(&arguments.reason);
        }
    }
    for text in &arguments.suggest {
        edits.push(records::suggest(kind, text, arguments.comment.as_deref())?);
    }
    if edits.is_empty() {
        return Err(Failure::usage("there is nothing to change").hint(
            "Say what with --set, --add, --remove, --append, --text, --position, --geojson or --suggest.",
        ));
    }
    let seen = seen(arguments.seen.as_deref())?;
    let saved = device.edit(&arguments.id, seen, edits)?;
    answer(&saved, kind, Verb::Saved, device, output);
    Ok(Ended::Done)
}

pub fn withdraw(arguments: &Withdraw, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = kind_of(device, &arguments.id)?;
    if arguments.reason.trim().is_empty() {
        return Err(Failure::usage("a reason is needed: --reason TEXT"));
    }
    if arguments.dry_run {
        let line = device.find(&arguments.id)?;
        let name = line
            .summary
            .local_id
            .clone()
            .unwrap_or_else(|| line.short_code());
        output.answer(
            &json!({
                "schema": "cairn.saved/1",
                "id": line.id.to_string(),
                "change": null,
                "dry_run": true,
            }),
            || line.id.to_string(),
        );
        output.say(&format!("{name} would be withdrawn. Nothing was saved."));
        return Ok(Ended::Done);
    }
    let saved = device.withdraw(&arguments.id, None, &arguments.reason)?;
    answer(&saved, kind, Verb::Saved, device, output);
    Ok(Ended::Done)
}

pub fn decide(arguments: &Decide, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = kind_of(device, &arguments.id)?;
    let choice = choice(arguments, device)?;
    let saved = device.decide(
        &arguments.id,
        seen(arguments.seen.as_deref())?,
        arguments.field.as_deref(),
        choice,
        &arguments.reason,
    )?;
    answer(&saved, kind, Verb::Decided, device, output);
    Ok(Ended::Done)
}

fn choice(arguments: &Decide, device: &Device) -> Result<Choice, Failure> {
    let pointed = match (&arguments.value, &arguments.turn_down) {
        (Some(value), _) => Pointed::Value(value),
        (None, Some(letter)) => Pointed::TurnDown(letter),
        (None, None) => Pointed::Take(arguments.take.as_deref().unwrap_or_default()),
    };
    let record = device.show(&arguments.id, None)?.record;
    pointed
        .choice(&record, arguments.field.as_deref())
        .map_err(|error| match pointed {
            Pointed::Take(_) => {
                Failure::usage(error.to_string()).hint("The letters stand in: cairn conflicts")
            }
            _ => DeviceError::from(MemberError::from(error)).into(),
        })
}

fn kind_of(device: &Device, id: &str) -> Result<&'static Kind, Failure> {
    let name = device.find(id)?.summary.kind;
    schema::kind(&name).ok_or_else(|| {
        Failure::new(
            "unknown_kind",
            format!("records of the kind {name:?} are shown here but cannot be changed"),
        )
        .hint("Update Cairn.")
        .exit(7)
    })
}

fn seen(text: Option<&str>) -> Result<Option<Vec<ChangeHash>>, Failure> {
    text.map(values::heads).transpose()
}

#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Saved,
    Decided,
}

fn answer(saved: &Saved, kind: &Kind, verb: Verb, device: &Device, output: &Output) {
    // What is saved is saved, whether or not its doubts can be told.
    let doubts = device.doubts(&saved.id.to_string()).unwrap_or_default();
    let fields: Vec<_> = saved
        .fields
        .iter()
        .map(|field| {
            json!({
                "field": field.field,
                "reads": field.reads,
                "proposal": field.proposal,
                "conflict": field.conflict,
            })
        })
        .collect();
    let object = json!({
        "schema": "cairn.saved/1",
        "id": saved.id.to_string(),
        "change": saved.change.to_string(),
        "kind": saved.kind,
        "local_id": saved.local_id,
        "short_code": saved.short_code,
        "heads": saved.heads.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fields": fields,
        "proposal": saved.is_proposal(),
        "warnings": doubts.iter().map(Doubt::to_json).collect::<Vec<_>>(),
    });
    output.answer(&object, || saved.id.to_string());
    let name = saved
        .local_id
        .clone()
        .unwrap_or_else(|| "No number yet".to_owned());
    output.say(&format!(
        "{}, short code {}. Saved on this laptop. Not yet at the centre.",
        values::one_line(&name),
        saved.short_code
    ));
    for field in &saved.fields {
        let safety = kind
            .field(&field.field)
            .is_some_and(|field| field.class == Class::Haz);
        if field.field == records::suggestion::FIELD {
            output.say(match verb {
                Verb::Saved => {
                    "It is suggested. Nothing changes until a member who may decide takes it."
                }
                Verb::Decided => "The suggestion is settled.",
            });
            continue;
        }
        if !(safety || field.conflict || field.proposal || verb == Verb::Decided) {
            continue;
        }
        let withdrawn = field.field == "void" && !field.conflict;
        if withdrawn && field.reads.as_str() == Some("void") {
            output.say("It reads as withdrawn. Nothing is deleted.");
            continue;
        }
        let reads = match (&field.reads, field.conflict) {
            (serde_json::Value::Null, true) => {
                "is in conflict: nothing counts until somebody decides".to_owned()
            }
            (reads, true) => format!("is in conflict and reads {}", values::in_words(reads)),
            (reads, false) => format!("reads {}", values::in_words(reads)),
        };
        let proposal = match (field.proposal, verb) {
            (false, _) => "",
            (true, Verb::Saved) => {
                " What you gave is a proposal, until somebody who may decide does so."
            }
            (true, Verb::Decided) => {
                " This device may not decide here: what you chose is saved as a proposal."
            }
        };
        output.say(&format!("{} {reads}.{proposal}", field.field));
    }
    for doubt in &doubts {
        output.warn(&format!("{}.", doubt.message));
    }
    if output.verbose {
        output.say(&format!("id {}, change {}", saved.id, saved.change));
    }
}
