//! Edits, and how they become operations of one Automerge change.
//!
//! Rules:
//! - A `reg` field that was in conflict when its author looked takes a decision, not an edit. The
//!   value that it already has is not written again.
//! - In a `haz` field every edit is a statement and is written, also one that repeats the
//!   reading: it may supersede what its author saw. Whether it counts or waits as a proposal is
//!   decided by reading, never here.
//! - Taking something out of a safety set (or its like among the logs) without deciding is a
//!   proposal.
//! - Nothing that grows is ever overwritten or deleted.

use crate::check::holds_together;
use crate::geometry::Position;
use crate::input::{InputError, check_value};
use crate::layout::{Assertion, objects, put_assertion, to_scalar};
use crate::perimeter::{CIRCLE_RADIUS_M_DEFAULT, Perimeter};
use crate::read::Record;
use crate::schema::{Class, Field, Kind, SCHEMA_VERSION};
use crate::value::Value;
use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT};
use cairn_wire::ids::{ChangeHash, ScopeId};
use cairn_wire::limits;

/// What a new record says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Its scope; where absent, readers take the scope that the document lies in.
    pub scope: Option<ScopeId>,
    /// The organisation.
    pub org: Option<String>,
    /// The person.
    pub created_by: Option<String>,
}

/// One thing that a person does to a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Gives a field a value (`once` in a new record only, `reg`, `haz`). `Value::Null` empties a
    /// `reg` field.
    Set {
        /// Field, or path of a map.
        field: String,
        /// Its value.
        value: Value,
        /// Why, where a safety field changes.
        reason: Option<String>,
    },
    /// Gives a place without a boundary: a circle of the reported area, else of the default
    /// radius.
    Place {
        /// Field, a perimeter.
        field: String,
        /// The place.
        at: Position,
    },
    /// Ticks a code of a `set`, or appends an entry to a `log`.
    Add {
        /// Field.
        field: String,
        /// Code or entry.
        value: Value,
    },
    /// Takes back all ticks or entries of this value that its author saw.
    Remove {
        /// Field.
        field: String,
        /// Code or entry.
        value: Value,
        /// Why.
        reason: Option<String>,
    },
    /// Changes a free text to this one.
    Text {
        /// Field.
        field: String,
        /// The whole new text.
        text: String,
    },
    /// Settles a field: see [`crate::decide`].
    Decide(Decision),
}

/// A choice among the values of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Field, or path of a map.
    pub field: String,
    /// What is taken.
    pub take: Taken,
    /// Why.
    pub reason: String,
    /// Every change whose value stood there when the choice was made.
    pub considered: Vec<ChangeHash>,
}

/// What a decision takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// This value (of a set or log: it stays).
    Value(Value),
    /// This value of a set or log goes.
    Removal(Value),
    /// This whole text.
    Text(String),
}

/// Why an edit was not made. All but the last are for the person who edits.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The field or its value is not understood.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The field is written once.
    #[error("{field} is written when a record is made and never changed")]
    Once {
        /// Field.
        field: String,
    },
    /// Not what this kind of field takes.
    #[error("{field} is not changed this way: {instead}")]
    WrongEdit {
        /// Field.
        field: String,
        /// What to do.
        instead: &'static str,
    },
    /// Several values stand there.
    #[error("{field} has several values from different people: choose one with `cairn decide`")]
    InConflict {
        /// Field.
        field: String,
    },
    /// What was to be taken back is not there.
    #[error("{field} does not hold that value, so it cannot be taken out")]
    NotThere {
        /// Field.
        field: String,
    },
    /// Too long for one change.
    #[error("{field} takes at most {bytes_max} bytes at a time; shorten it")]
    TooLong {
        /// Field.
        field: String,
        /// Limit.
        bytes_max: usize,
    },
    /// The merge engine refused; a fault of ours.
    #[error("the change could not be made: {0}")]
    Engine(#[from] AutomergeError),
}

/// Writes the first change of a record: only what is set.
///
/// # Errors
///
/// Where an edit does not fit the kind; then the transaction is to be dropped.
pub fn apply_root(
    transaction: &mut impl Transactable,
    kind: &Kind,
    envelope: &Envelope,
    edits: &[Edit],
) -> Result<(), WriteError> {
    holds_together(kind, None, edits)?;
    transaction.put(ROOT, "kind", kind.name.as_str())?;
    transaction.put(ROOT, "schema_version", SCHEMA_VERSION)?;
    if let Some(scope) = envelope.scope {
        transaction.put(ROOT, "scope", to_scalar(&Value::Bytes(scope.0.to_vec())))?;
    }
    let lines = [("org", &envelope.org), ("created_by", &envelope.created_by)];
    for (field, line) in lines {
        if let Some(line) = line {
            within(field, line, limits::LINE_BYTES_MAX)?;
            transaction.put(ROOT, field, line.as_str())?;
        }
    }
    for edit in edits {
        write(transaction, kind, None, edits, edit)?;
    }
    Ok(())
}

/// Writes edits onto what their author saw: `seen` is the record as read at the heads on which
/// the transaction stands. Says whether anything was written: a `reg` or text that already has
/// the value is left alone.
///
/// # Errors
///
/// Where an edit does not fit; then the transaction is to be dropped.
pub fn apply_edit(
    transaction: &mut impl Transactable,
    kind: &Kind,
    seen: &Record,
    edits: &[Edit],
) -> Result<bool, WriteError> {
    holds_together(kind, Some(seen), edits)?;
    let before = transaction.pending_ops();
    for edit in edits {
        write(transaction, kind, Some(seen), edits, edit)?;
    }
    Ok(transaction.pending_ops() > before)
}

fn write(
    transaction: &mut impl Transactable,
    kind: &Kind,
    seen: Option<&Record>,
    edits: &[Edit],
    edit: &Edit,
) -> Result<(), WriteError> {
    match edit {
        Edit::Set {
            field,
            value,
            reason,
        } => set(
            transaction,
            known(kind, field)?,
            seen,
            field,
            value,
            reason.as_deref(),
        ),
        Edit::Place { field, at } => {
            let radius_m = radius(seen, edits);
            let value = Value::Perimeter(Perimeter::circle(*at, radius_m));
            set(transaction, known(kind, field)?, seen, field, &value, None)
        }
        Edit::Add { field, value } => {
            let definition = known(kind, field)?;
            if !matches!(definition.class, Class::Set | Class::Log) {
                return Err(wrong(field, "set its value"));
            }
            check_value(field, &definition.field_type, value)?;
            let ticked = definition.class == Class::Set
                && seen.is_some_and(|seen| seen.stands(field, value));
            if !ticked {
                put_assertion(transaction, field, &Assertion::of(value))?;
            }
            Ok(())
        }
        Edit::Remove {
            field,
            value,
            reason,
        } => {
            let definition = known(kind, field)?;
            if !matches!(definition.class, Class::Set | Class::Log) {
                return Err(wrong(field, "set another value"));
            }
            let assertion = Assertion {
                reason: reason_of(field, reason.as_deref())?,
                ..withdrawal(field, seen, value)?
            };
            Ok(put_assertion(transaction, field, &assertion)?)
        }
        Edit::Text { field, text } => {
            if known(kind, field)?.class != Class::Text {
                return Err(wrong(field, "set its value"));
            }
            write_text(transaction, field, text, false)
        }
        Edit::Decide(decision) => {
            decide(transaction, known(kind, &decision.field)?, seen, decision)
        }
    }
}

fn set(
    transaction: &mut impl Transactable,
    definition: &Field,
    seen: Option<&Record>,
    field: &str,
    value: &Value,
    reason: Option<&str>,
) -> Result<(), WriteError> {
    if ["kind", "scope", "schema_version"].contains(&field) {
        return Err(wrong(
            field,
            "it comes with the command that makes the record",
        ));
    }
    if field == "void"
        && value.as_text() == Some("void")
        && reason.is_none_or(|reason| reason.trim().is_empty())
    {
        return Err(wrong(field, "withdraw the record with a reason"));
    }
    let emptied = *value == Value::Null && definition.class == Class::Reg;
    if !emptied {
        check_value(field, &definition.field_type, value)?;
    }
    match definition.class {
        Class::Once if seen.is_some() => Err(WriteError::Once {
            field: field.to_owned(),
        }),
        Class::Once | Class::Reg => {
            let reading = seen.and_then(|seen| seen.fields.get(field));
            if reading.is_some_and(|reading| reading.conflict) {
                return Err(WriteError::InConflict {
                    field: field.to_owned(),
                });
            }
            let same = reading.map_or(emptied, |reading| reading.reads == *value);
            if !same {
                transaction.put(ROOT, field, to_scalar(value))?;
            }
            Ok(())
        }
        Class::Haz => {
            let assertion = Assertion {
                reason: reason_of(field, reason)?,
                ..Assertion::of(value)
            };
            Ok(put_assertion(transaction, field, &assertion)?)
        }
        Class::Text => match value {
            Value::Text(text) => write_text(transaction, field, text, false),
            _ => Err(wrong(field, "give it a text")),
        },
        Class::Set | Class::Log => Err(wrong(field, "add to it or remove from it")),
    }
}

/// The radius of a circle round a place: of the area that is reported in the same edits or was
/// before, else the default.
pub(crate) fn radius(seen: Option<&Record>, edits: &[Edit]) -> u32 {
    let written = edits.iter().find_map(|edit| match edit {
        Edit::Set { field, value, .. } if field == "area_reported" => value.as_int(),
        _ => None,
    });
    let before = || seen.and_then(|seen| seen.area_reported_m2());
    let area_m2 = written
        .and_then(|area| u64::try_from(area).ok())
        .or_else(before);
    match area_m2 {
        Some(area_m2) if area_m2 > 0 => Perimeter::radius_of_area_m(area_m2),
        _ => CIRCLE_RADIUS_M_DEFAULT,
    }
}

fn withdrawal(field: &str, seen: Option<&Record>, value: &Value) -> Result<Assertion, WriteError> {
    let reading = seen.and_then(|seen| seen.fields.get(field));
    let withdraws: Vec<(ChangeHash, String)> = reading
        .into_iter()
        .flat_map(|reading| &reading.values)
        .filter(|shown| !shown.removes && shown.value == *value)
        .filter_map(|shown| Some((shown.change, shown.key.clone()?)))
        .take(limits::WITHDRAWN_MAX)
        .collect();
    if withdraws.is_empty() {
        return Err(WriteError::NotThere {
            field: field.to_owned(),
        });
    }
    Ok(Assertion {
        withdraws,
        ..Assertion::default()
    })
}

fn decide(
    transaction: &mut impl Transactable,
    definition: &Field,
    seen: Option<&Record>,
    decision: &Decision,
) -> Result<(), WriteError> {
    let field = decision.field.as_str();
    within(field, &decision.reason, limits::REASON_BYTES_MAX)?;
    let settled = Assertion {
        considered: considered(decision),
        decision: true,
        reason: Some(decision.reason.clone()),
        ..Assertion::default()
    };
    match (definition.class, &decision.take) {
        (Class::Haz, Taken::Value(value)) => {
            // A value that stands there may come from a newer version: it is taken as it is.
            let stands = seen.is_some_and(|seen| seen.stands(field, value));
            if !stands {
                check_value(field, &definition.field_type, value)?;
            }
            let assertion = Assertion {
                value: Assertion::of(value).value,
                ..settled
            };
            Ok(put_assertion(transaction, field, &assertion)?)
        }
        (Class::Set | Class::Log, Taken::Removal(value)) => {
            let assertion = Assertion {
                withdraws: withdrawal(field, seen, value)?.withdraws,
                ..settled
            };
            Ok(put_assertion(transaction, field, &assertion)?)
        }
        (Class::Set | Class::Log, Taken::Value(value)) => {
            let assertion = Assertion {
                value: Assertion::of(value).value,
                ..settled
            };
            Ok(put_assertion(transaction, field, &assertion)?)
        }
        (Class::Reg, Taken::Value(value)) => {
            if *value != Value::Null {
                check_value(field, &definition.field_type, value)?;
            }
            transaction.put(ROOT, field, to_scalar(value))?;
            note(transaction, field, settled)
        }
        (Class::Text, Taken::Text(text)) => {
            write_text(transaction, field, text, true)?;
            note(transaction, field, settled)
        }
        (Class::Once, _) => Err(WriteError::Once {
            field: field.to_owned(),
        }),
        _ => Err(wrong(field, "take one of the values shown")),
    }
}

/// Who chose and why, where the field itself has no place for it.
fn note(
    transaction: &mut impl Transactable,
    field: &str,
    settled: Assertion,
) -> Result<(), WriteError> {
    let entry = Value::Map([("field".to_owned(), Value::from(field))].into());
    let assertion = Assertion {
        value: Assertion::of(&entry).value,
        ..settled
    };
    Ok(put_assertion(transaction, "decisions", &assertion)?)
}

fn considered(decision: &Decision) -> Vec<ChangeHash> {
    let mut considered = decision.considered.clone();
    considered.sort_unstable();
    considered.dedup();
    considered.truncate(limits::CONSIDERED_MAX);
    considered
}

/// Changes the first of the Text objects that stand there and empties the others: none is
/// replaced, so that what somebody else types into one of them meanwhile shows. A deciding author
/// touches the text even if it already reads so.
fn write_text(
    transaction: &mut impl Transactable,
    field: &str,
    text: &str,
    deciding: bool,
) -> Result<(), WriteError> {
    within(field, text, limits::TEXT_BYTES_MAX)?;
    let texts = objects(transaction, field, ObjType::Text);
    let Some((first, others)) = texts.split_first() else {
        let made = transaction.put_object(ROOT, field, ObjType::Text)?;
        return Ok(transaction.splice_text(made, 0, 0, text)?);
    };
    if deciding && others.is_empty() && transaction.text(first)? == text {
        // An end that is taken off and put on again.
        transaction.splice_text(first, 0, 0, "\n")?;
        return Ok(transaction.splice_text(first, 0, 1, "")?);
    }
    transaction.update_text(first, text)?;
    for other in others {
        let len = transaction.length(other);
        transaction.splice_text(other, 0, len as isize, "")?;
    }
    Ok(())
}

fn known<'a>(kind: &'a Kind, path: &str) -> Result<&'a Field, WriteError> {
    Ok(crate::input::known(kind, path)?)
}

fn wrong(field: &str, instead: &'static str) -> WriteError {
    WriteError::WrongEdit {
        field: field.to_owned(),
        instead,
    }
}

fn reason_of(field: &str, reason: Option<&str>) -> Result<Option<String>, WriteError> {
    if let Some(reason) = reason {
        within(field, reason, limits::REASON_BYTES_MAX)?;
    }
    Ok(reason.map(str::to_owned))
}

fn within(field: &str, text: &str, bytes_max: usize) -> Result<(), WriteError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(WriteError::TooLong {
        field: field.to_owned(),
        bytes_max,
    })
}
