//! What people point at when they decide: a letter, the beginning of a change, a value.

use crate::error::RequestError;
use cairn_records::{Choice, Record, input};
use cairn_wire::ids::ChangeHash;

/// A choice as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointed<'a> {
    /// A letter, the beginning of a change (4 digits or more), or `reading`.
    Take(&'a str),
    /// Another value, that nobody gave yet.
    Value(&'a str),
    /// The suggestion of this letter is not taken.
    TurnDown(&'a str),
}

impl Pointed<'_> {
    /// What is meant of a field of `record`; without a field, of the only one that is open.
    pub fn choice(self, record: &Record, field: Option<&str>) -> Result<Choice, RequestError> {
        let take = match self {
            Self::Value(value) => return another_value(record, field, value),
            Self::TurnDown(letter) => return Ok(Choice::TurnDown(letter.trim().to_owned())),
            Self::Take(take) => take.trim(),
        };
        let letters = take.len() <= 3 && take.chars().all(|c| c.is_ascii_alphabetic());
        match take.to_ascii_lowercase().as_str() {
            "reading" | "union" => Ok(Choice::Reading),
            _ if letters && !take.is_empty() => Ok(Choice::Letter(take.to_owned())),
            prefix => Ok(Choice::Change(change(record, field, prefix)?)),
        }
    }
}

fn another_value(
    record: &Record,
    field: Option<&str>,
    value: &str,
) -> Result<Choice, RequestError> {
    let form = |message: String| RequestError::Form(message);
    let field = field.ok_or_else(|| form("a value needs the name of its field".into()))?;
    let kind = record.definition().ok_or_else(|| {
        form(format!(
            "records of the kind {} cannot be changed",
            record.kind
        ))
    })?;
    let definition = input::known(kind, field).map_err(|error| form(error.to_string()))?;
    let value = input::value(field, &definition.field_type, value);
    Ok(Choice::Value(
        value.map_err(|error| form(error.to_string()))?,
    ))
}

/// The one change of an open value that begins so.
fn change(record: &Record, field: Option<&str>, prefix: &str) -> Result<ChangeHash, RequestError> {
    let hexadecimal = prefix.len() >= 4 && prefix.chars().all(|c| c.is_ascii_hexdigit());
    let wrong = |message: &str| {
        let shown: String = prefix.chars().take(80).collect();
        RequestError::Form(format!("the choice {shown:?}: {message}"))
    };
    if !hexadecimal {
        return Err(wrong(
            "give a letter, a change of 4 digits or more, or `reading`",
        ));
    }
    let of_field = |name: &str| field.is_none_or(|field| field == name);
    let fields = record.fields.iter().filter(|(name, _)| of_field(name));
    let mut found: Vec<ChangeHash> = fields
        .flat_map(|(_, field)| field.values.iter().map(|shown| shown.change))
        .filter(|change| change.to_string().starts_with(prefix))
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(wrong("no value that stands there was written by it")),
        _ => Err(wrong("several changes begin so; give more digits")),
    }
}
