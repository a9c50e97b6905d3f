//! Choosing among the values of a field.
//!
//! A decision names every change whose value stood there when it was shown. It counts if its
//! author is verified and might decide; otherwise it stands as a proposal, and says so.

use crate::read::{FieldReading, Record, Shown};
use crate::schema::Class;
use crate::suggestion;
use crate::value::Value;
use crate::write::{Decision, Edit, Taken};
use cairn_wire::ids::ChangeHash;

/// What a person points at.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The value shown under this letter; of a removal that is proposed: the removal.
    Letter(String),
    /// The value that this change wrote.
    Change(ChangeHash),
    /// The current reading (of perimeters: the union), as it is.
    Reading,
    /// Another value, that nobody gave yet.
    Value(Value),
    /// The suggestion of this letter is not taken.
    TurnDown(String),
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Nothing stands in the field.
    #[error("{field} has no value to choose from")]
    NothingThere {
        /// Field.
        field: String,
    },
    /// No such choice.
    #[error("{field} has no choice {choice}; the choices are {}", .choices.join(", "))]
    NoSuchChoice {
        /// Field.
        field: String,
        /// As it was given.
        choice: String,
        /// Letters.
        choices: Vec<String>,
    },
    /// The value of a suggestion is not understood any more.
    #[error("what was suggested does not fit: {0}")]
    Unfit(String),
    /// A suggestion is settled by taking it or turning it down.
    #[error("a suggestion is taken or turned down by its letter; other values are only taken")]
    NameSuggestion,
    /// A decision needs a reason.
    #[error("a decision needs a reason: --reason TEXT")]
    NoReason,
    /// Several fields are open and none was named.
    #[error("several fields are open: name one with --field, from {}", .fields.join(", "))]
    WhichField {
        /// Fields.
        fields: Vec<String>,
    },
}

/// The one field that is open, when none is named.
///
/// # Errors
///
/// Where none or several are.
pub fn open_field(record: &Record) -> Result<&str, DecideError> {
    let open: Vec<&String> = record
        .fields
        .iter()
        .filter(|(_, field)| field.conflict || field.values.iter().any(|shown| shown.proposal))
        .map(|(name, _)| name)
        .collect();
    match open.as_slice() {
        [one] => Ok(one),
        [] => Err(DecideError::NothingThere {
            field: "the record".into(),
        }),
        several => Err(DecideError::WhichField {
            fields: several.iter().map(|name| (*name).clone()).collect(),
        }),
    }
}

/// The edits that settle a field of a record as it was shown; a suggestion that is chosen is taken.
///
/// # Errors
///
/// Where the choice does not exist or gives no reason.
pub fn settlement(
    record: &Record,
    field: &str,
    choice: &Choice,
    reason: &str,
) -> Result<Vec<Edit>, DecideError> {
    match choice {
        _ if field != suggestion::FIELD => Ok(vec![decision(record, field, choice, reason)?]),
        Choice::Letter(_) | Choice::Change(_) => suggestion::take(record, choice, reason),
        Choice::TurnDown(letter) => {
            let letter = Choice::Letter(letter.clone());
            Ok(vec![suggestion::turn_down(record, &letter, reason)?])
        }
        Choice::Reading | Choice::Value(_) => Err(DecideError::NameSuggestion),
    }
}

/// The edit that settles a field of a record as it was shown.
///
/// # Errors
///
/// Where the choice does not exist or gives no reason.
pub fn decision(
    record: &Record,
    field: &str,
    choice: &Choice,
    reason: &str,
) -> Result<Edit, DecideError> {
    if reason.trim().is_empty() {
        return Err(DecideError::NoReason);
    }
    let reading = record.fields.get(field);
    let reading = reading.ok_or_else(|| DecideError::NothingThere {
        field: field.to_owned(),
    })?;
    let take = match choice {
        Choice::Letter(letter) => taken(
            reading,
            found(reading, field, letter, |shown| {
                shown.letter.eq_ignore_ascii_case(letter)
            })?,
        ),
        Choice::Change(change) => {
            let name = change.to_string();
            taken(
                reading,
                found(reading, field, &name, |shown| shown.change == *change)?,
            )
        }
        Choice::Reading
            if reading.conflict && matches!(reading.class, Class::Reg | Class::Text) =>
        {
            return Err(no_such(reading, field, "reading"));
        }
        Choice::Reading if reading.class == Class::Text => {
            Taken::Text(reading.reads.as_text().unwrap_or_default().to_owned())
        }
        Choice::Reading => Taken::Value(reading.reads.clone()),
        Choice::Value(Value::Text(text)) if reading.class == Class::Text => {
            Taken::Text(text.clone())
        }
        Choice::Value(value) => Taken::Value(value.clone()),
        Choice::TurnDown(_) => return Err(DecideError::NameSuggestion),
    };
    Ok(Edit::Decide(Decision {
        field: field.to_owned(),
        take,
        reason: reason.to_owned(),
        considered: considered(record, reading),
    }))
}

/// Every change whose value stands in the field; what silence counts as stands in the first one.
fn considered(record: &Record, reading: &FieldReading) -> Vec<ChangeHash> {
    let mut changes: Vec<ChangeHash> = reading.values.iter().map(|shown| shown.change).collect();
    if reading.assumed || reading.values.iter().any(|shown| shown.implied) {
        changes.push(record.root);
    }
    changes.sort_unstable();
    changes.dedup();
    changes
}

fn taken(reading: &FieldReading, shown: &Shown) -> Taken {
    match (reading.class, &shown.value) {
        (Class::Text, Value::Text(text)) => Taken::Text(text.clone()),
        (_, value) if shown.removes => Taken::Removal(value.clone()),
        (_, value) => Taken::Value(value.clone()),
    }
}

fn found<'a>(
    reading: &'a FieldReading,
    field: &str,
    choice: &str,
    fits: impl Fn(&Shown) -> bool,
) -> Result<&'a Shown, DecideError> {
    let shown = reading.values.iter().find(|shown| fits(shown));
    shown.ok_or_else(|| no_such(reading, field, choice))
}

fn no_such(reading: &FieldReading, field: &str, choice: &str) -> DecideError {
    DecideError::NoSuchChoice {
        field: field.to_owned(),
        choice: choice.chars().take(80).collect(),
        choices: reading
            .values
            .iter()
            .map(|shown| shown.letter.clone())
            .collect(),
    }
}

/// The edit that withdraws a record. As a decision it names what stands; otherwise it is a
/// proposal, whoever makes it.
#[must_use]
pub fn withdrawal(record: &Record, reason: &str, as_decision: bool) -> Edit {
    let value = Value::from("void");
    match record.fields.get("void") {
        Some(reading) if as_decision => Edit::Decide(Decision {
            field: "void".into(),
            take: Taken::Value(value),
            reason: reason.to_owned(),
            considered: considered(record, reading),
        }),
        _ => Edit::Set {
            field: "void".into(),
            value,
            reason: Some(reason.to_owned()),
        },
    }
}
