//! Suggestions: what somebody would write into another's record. They change nothing until a
//! member who may decide takes them, and stay in history when they are turned down.
//!
//! A suggestion is an entry of the log `suggestions` {field, value as typed, comment}. It is open
//! while it stands; whoever takes it or turns it down withdraws it by a decision. What concerns
//! safety needs no suggestion: an assertion that makes nothing safer counts at once, and one that
//! does is a proposal.

use crate::decide::{Choice, DecideError, decision};
use crate::input::{self, InputError};
use crate::read::{Record, Shown};
use crate::schema::{Class, Kind};
use crate::value::Value;
use crate::write::{Edit, Taken};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// The field that holds them.
pub const FIELD: &str = "suggestions";

/// A suggestion that is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion<'a> {
    /// The field, with its path.
    pub field: &'a str,
    /// What it would be, as typed; empty to empty it.
    pub value: &'a str,
    /// Why.
    pub comment: Option<&'a str>,
    /// Who, when, and by which letter it is chosen.
    pub shown: &'a Shown,
}

/// `FIELD=VALUE`, as `--suggest` takes it. In safety fields it is the assertion itself.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn suggest(kind: &Kind, text: &str, comment: Option<&str>) -> Result<Edit, InputError> {
    let (path, given) = text.split_once('=').ok_or(InputError::NoEquals)?;
    let (path, given) = (path.trim(), given.trim());
    let field = input::known(kind, path)?;
    let edit = written(kind, path, given)?;
    if field.class == Class::Once {
        return Err(InputError::WrongForm {
            field: path.to_owned(),
            advice: "is written when a record is made and never changed".into(),
        });
    }
    if field.class == Class::Haz || field.safety {
        return Ok(match edit {
            Edit::Set { field, value, .. } => Edit::Set {
                field,
                value,
                reason: comment.map(str::to_owned),
            },
            other => other,
        });
    }
    let parts = [
        ("field", Some(path)),
        ("value", Some(given)),
        ("comment", comment),
    ];
    let parts = parts.into_iter().filter_map(|(name, text)| {
        let text = text?;
        Some((name.to_owned(), Value::from(text)))
    });
    let entry = Value::Map(parts.collect::<BTreeMap<_, _>>());
    if let Some(log) = kind.field(FIELD) {
        input::check_value(FIELD, &log.field_type, &entry)?;
    }
    Ok(Edit::Add {
        field: FIELD.to_owned(),
        value: entry,
    })
}

/// What is suggested, as an edit.
fn written(kind: &Kind, path: &str, given: &str) -> Result<Edit, InputError> {
    let text = format!("{path}={given}");
    match input::known(kind, path)?.class {
        Class::Set | Class::Log => input::add(kind, &text),
        _ => input::set(kind, &text),
    }
}

/// The suggestions that are open, in their order.
#[must_use]
pub fn suggestions(record: &Record) -> Vec<Suggestion<'_>> {
    let reading = record.fields.get(FIELD);
    let standing = reading.into_iter().flat_map(|reading| &reading.values);
    standing
        .filter(|shown| !shown.removes)
        .filter_map(|shown| {
            let Value::Map(parts) = &shown.value else {
                return None;
            };
            let part = |name: &str| parts.get(name).and_then(Value::as_text);
            Some(Suggestion {
                field: part("field")?,
                value: part("value")?,
                comment: part("comment"),
                shown,
            })
        })
        .collect()
}

/// The edits that take a suggestion: its value, and the decision that settles it.
///
/// # Errors
///
/// Where there is no such suggestion, no reason, or its value does not fit this version's forms.
pub fn take(record: &Record, choice: &Choice, reason: &str) -> Result<Vec<Edit>, DecideError> {
    let settle = turn_down(record, choice, reason)?;
    let open = suggestions(record);
    let chosen = open.iter().find(|one| is_chosen(one.shown, choice));
    let one = chosen.ok_or(DecideError::NameSuggestion)?;
    let unknown = || DecideError::Unfit("this version does not know the kind of record".into());
    let kind = record.definition().ok_or_else(unknown)?;
    let unfit = |error: InputError| DecideError::Unfit(error.to_string());
    let edit = written(kind, one.field, one.value).map_err(unfit)?;
    let value = match edit {
        Edit::Set { field, value, .. } if record.fields.contains_key(&field) => {
            decision(record, &field, &Choice::Value(value), reason)?
        }
        Edit::Text { field, text } if record.fields.contains_key(&field) => {
            decision(record, &field, &Choice::Value(Value::Text(text)), reason)?
        }
        other => other,
    };
    Ok(vec![value, settle])
}

/// The edit that turns a suggestion down.
///
/// # Errors
///
/// Where there is no such suggestion, or no reason.
pub fn turn_down(record: &Record, choice: &Choice, reason: &str) -> Result<Edit, DecideError> {
    let edit = decision(record, FIELD, choice, reason)?;
    Ok(match edit {
        Edit::Decide(mut decision) => {
            if let Taken::Value(value) = decision.take {
                decision.take = Taken::Removal(value);
            }
            Edit::Decide(decision)
        }
        other => other,
    })
}

fn is_chosen(shown: &Shown, choice: &Choice) -> bool {
    match choice {
        Choice::Letter(letter) => shown.letter.eq_ignore_ascii_case(letter),
        Choice::Change(change) => shown.change == *change,
        Choice::Reading | Choice::Value(_) | Choice::TurnDown(_) => false,
    }
}

impl Suggestion<'_> {
    /// `{"letter":…,"field":…,"value":…,"comment":…,"by":…,"change":…,"verified":…}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({
            "letter": self.shown.letter,
            "field": self.field,
            "value": self.value,
            "comment": self.comment,
            "by": self.shown.by,
            "device": self.shown.device.to_string(),
            "change": self.shown.change.to_string(),
            "recorded_at": self.shown.recorded_at_s.and_then(crate::json::utc),
            "verified": self.shown.verified,
        })
    }
}
