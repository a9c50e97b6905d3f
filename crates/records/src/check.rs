//! Whether what one command says holds together: figures by bands that the record's scheme has,
//! parts no larger than their whole, ends not before their beginnings.
//!
//! Refused is only what the command itself writes; what several people's edits make together is
//! no one's mistake and is told beside the record.

use crate::input::InputError;
use crate::read::Record;
use crate::schema::{Field, Kind};
use crate::value::Value;
use crate::write::Edit;

/// # Errors
///
/// In words for the person who wrote it.
pub(crate) fn holds_together(
    kind: &Kind,
    seen: Option<&Record>,
    edits: &[Edit],
) -> Result<(), InputError> {
    let said = Said { seen, edits };
    for edit in edits {
        let Edit::Set {
            field: path, value, ..
        } = edit
        else {
            continue;
        };
        if *value == Value::Null {
            continue;
        }
        let Some(field) = kind.field(path) else {
            continue;
        };
        in_scheme(kind, field, path, &said)?;
        for other in kind.fields() {
            part_of_whole(field, other, path, &said)?;
            end_after_start(field, other, &said)?;
        }
    }
    Ok(())
}

/// What a record says once these edits are made.
struct Said<'a> {
    seen: Option<&'a Record>,
    edits: &'a [Edit],
}

impl<'a> Said<'a> {
    /// The one value of a field; nothing while people disagree about it.
    fn value(&self, path: &str) -> Option<&'a Value> {
        let written = self.edits.iter().rev().find_map(|edit| match edit {
            Edit::Set { field, value, .. } if field == path => Some(value),
            _ => None,
        });
        written.or_else(|| self.seen.map(|seen| seen.reads(path)))
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        self.value(path).and_then(Value::as_text)
    }
}

fn in_scheme(kind: &Kind, field: &Field, path: &str, said: &Said<'_>) -> Result<(), InputError> {
    let Some(named) = &field.keys_by else {
        return Ok(());
    };
    let scheme = said.text(named);
    let bands = kind.keys_of_scheme(field, scheme).unwrap_or_default();
    let Some((_, band)) = path.rsplit_once('/') else {
        return Ok(());
    };
    if bands.contains(&band) {
        return Ok(());
    }
    let schemes = kind.field(named).and_then(Field::codes);
    let schemes = schemes.into_iter().flat_map(|list| &list.codes);
    Err(match scheme {
        Some(scheme) => InputError::NotInScheme {
            field: field.name.clone(),
            band: band.to_owned(),
            scheme: scheme.to_owned(),
            bands: bands.into_iter().map(str::to_owned).collect(),
        },
        None => InputError::NoScheme {
            field: field.name.clone(),
            band: band.to_owned(),
            named: named.clone(),
            schemes: schemes
                .filter(|scheme| scheme.holds.iter().any(|held| held == band))
                .map(|scheme| scheme.code.clone())
                .collect(),
        },
    })
}

/// `field` is written; `other` is any field of the kind that it may be a part or the whole of.
fn part_of_whole(
    field: &Field,
    other: &Field,
    path: &str,
    said: &Said<'_>,
) -> Result<(), InputError> {
    let (part, whole) = if field.part_of.as_ref() == Some(&other.name) {
        (field, other)
    } else if other.part_of.as_ref() == Some(&field.name) {
        (other, field)
    } else {
        return Ok(());
    };
    let tail = path.strip_prefix(field.name.as_str()).unwrap_or_default();
    let (part, whole) = (
        format!("{}{tail}", part.name),
        format!("{}{tail}", whole.name),
    );
    let figure = |path: &str| said.value(path).and_then(Value::as_int);
    match (figure(&part), figure(&whole)) {
        (Some(of_part), Some(of_whole)) if of_part > of_whole => Err(InputError::PartTooLarge {
            field: part,
            part: of_part,
            of: whole,
            whole: of_whole,
        }),
        _ => Ok(()),
    }
}

fn end_after_start(field: &Field, other: &Field, said: &Said<'_>) -> Result<(), InputError> {
    let (end, start) = if field.not_before.as_ref() == Some(&other.name) {
        (field, other)
    } else if other.not_before.as_ref() == Some(&field.name) {
        (other, field)
    } else {
        return Ok(());
    };
    match (said.text(&end.name), said.text(&start.name)) {
        (Some(to), Some(from)) if before(to, from) => Err(InputError::EndBeforeStart {
            field: end.name.clone(),
            end: to.to_owned(),
            start_field: start.name.clone(),
            start: from.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether one date or time lies wholly before another; a month is not before a day in it.
pub(crate) fn before(one: &str, other: &str) -> bool {
    let shared = one.len().min(other.len());
    match (one.get(..shared), other.get(..shared)) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    }
}
