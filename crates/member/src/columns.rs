//! How the fields of a page's records read, field by field: what `--where` looks at.
//!
//! Opening a record to ask it for one field costs some 0.2 ms, 100,000 of them 20 s. So a page keeps, for
//! each field that is short, the different things that it reads in this page, and which of them in which
//! record. What is not kept (long texts, perimeters) is said to be, and its record is opened.
//!
//! Page: how many records as 2 bytes; for each field the length of its name as 1 byte, the name, the
//! length of its values as 2 bytes, the values (JSON, each with its length before it as 1 byte), and one
//! byte for each record: 0 for nothing, 255 for a value that is not kept, else which value.

use crate::error::MemberError;
use crate::line::{Line, take};
use cairn_records::{Record, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Bytes of a value that is kept, as JSON.
const VALUE_BYTES_MAX: usize = 64;
/// Bytes of a name of a field that is kept.
const NAME_BYTES_MAX: usize = 100;
/// Fields of a record that are kept; those of one that has more are not.
const FIELDS_MAX: usize = 256;
/// A field that stands in the heads.
const IN_HEADS: [&str; 2] = ["status", "hazard_class"];
/// What all fields of a record are called of which none is kept.
const ALL: &str = "";

const NOTHING: u8 = 0;
const NOT_KEPT: u8 = 255;

/// Whether a record reads as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    So,
    Otherwise,
    /// Its record must be opened.
    NotKept,
}

/// Does a field that reads `found` fit what was asked? Letters are compared without regard to case, of
/// several values one must fit, and nothing fits what is not there.
pub(crate) fn fits(found: &Json, asked: &str) -> bool {
    let matches = |found: &Json| match found {
        Json::String(text) => text.eq_ignore_ascii_case(asked),
        Json::Null => asked.is_empty(),
        other => serde_json::from_str::<Json>(asked).is_ok_and(|asked| asked == *other),
    };
    match found {
        Json::Array(members) => members.iter().any(matches),
        one => matches(one),
    }
}

/// What is kept of one record: for each field its name and value, each with its length before it; that of
/// a value is more by one, 0 for one that is not kept.
pub(crate) fn of_record(line: &Line, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    if record.fields.len() > FIELDS_MAX {
        push(&mut out, ALL, None);
        return out;
    }
    // As lists show them.
    let shown = [
        ("local_id", &line.summary.local_id),
        ("date_of_information", &line.summary.date_of_information),
    ];
    for (name, text) in shown {
        if let Some(text) = text {
            push(&mut out, name, short(&Json::from(text.as_str())));
        }
    }
    for (name, field) in &record.fields {
        let elsewhere = IN_HEADS.contains(&name.as_str()) || shown.iter().any(|it| it.0 == name);
        if elsewhere || name.len() > NAME_BYTES_MAX || field.reads == Value::Null {
            continue;
        }
        push(&mut out, name, value(&field.reads));
    }
    out
}

fn push(out: &mut Vec<u8>, name: &str, value: Option<Vec<u8>>) {
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(value.len() as u8 + 1);
            out.extend_from_slice(&value);
        }
    }
}

fn value(reads: &Value) -> Option<Vec<u8>> {
    match reads {
        Value::Perimeter(_) => None,
        Value::Text(text) if text.len() > VALUE_BYTES_MAX => None,
        Value::Bytes(bytes) if bytes.len() > VALUE_BYTES_MAX => None,
        Value::List(values) if values.len() > VALUE_BYTES_MAX => None,
        Value::Map(parts) if parts.len() > VALUE_BYTES_MAX => None,
        reads => short(&reads.to_json()),
    }
}

fn short(value: &Json) -> Option<Vec<u8>> {
    let text = value.to_string();
    (text.len() <= VALUE_BYTES_MAX).then(|| text.into_bytes())
}

/// A page of what is kept of each record.
pub(crate) fn joined(records: &[Vec<u8>]) -> Vec<u8> {
    let mut columns: BTreeMap<&[u8], Column> = BTreeMap::new();
    for (record, mut bytes) in records.iter().map(Vec::as_slice).enumerate() {
        while let Some((name, value)) = next_field(&mut bytes) {
            let column = columns.entry(name).or_insert_with(|| Column {
                values: Vec::new(),
                which: vec![NOTHING; records.len()],
            });
            column.say(record, value);
        }
    }
    let mut out = (records.len() as u16).to_be_bytes().to_vec();
    for (name, column) in columns {
        out.push(name.len() as u8);
        out.extend_from_slice(name);
        let bytes: usize = column.values.iter().map(|value| 1 + value.len()).sum();
        out.extend_from_slice(&(bytes as u16).to_be_bytes());
        for value in column.values {
            out.push(value.len() as u8);
            out.extend_from_slice(value);
        }
        out.extend_from_slice(&column.which);
    }
    out
}

struct Column<'a> {
    values: Vec<&'a [u8]>,
    which: Vec<u8>,
}

impl<'a> Column<'a> {
    fn say(&mut self, record: usize, value: Option<&'a [u8]>) {
        let which = match value {
            None => NOT_KEPT,
            Some(value) => {
                let known = self.values.iter().position(|known| *known == value);
                let at = known.unwrap_or_else(|| {
                    self.values.push(value);
                    self.values.len() - 1
                });
                // A page has far fewer records than a byte has values.
                u8::try_from(at + 1).unwrap_or(NOT_KEPT)
            }
        };
        if let Some(place) = self.which.get_mut(record) {
            *place = which;
        }
    }
}

/// The next field of what is kept of a record.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let [length] = take(bytes)?;
    let (name, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    let [length] = take(bytes)?;
    let Some(length) = length.checked_sub(1) else {
        return Some((name, None));
    };
    let (value, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    Some((name, Some(value)))
}

/// A page as it lies in its row.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    records: usize,
    bytes: &'a [u8],
}

/// A field of a page: name, values one after the other, which of them in each record.
type Read<'a> = (&'a [u8], &'a [u8], &'a [u8]);

impl<'a> Columns<'a> {
    pub(crate) fn read(mut bytes: &'a [u8]) -> Result<Self, MemberError> {
        let records = match bytes.is_empty() {
            true => 0,
            false => u16::from_be_bytes(take(&mut bytes).ok_or_else(damaged)?),
        };
        Ok(Self {
            records: records.into(),
            bytes,
        })
    }

    fn each(self) -> impl Iterator<Item = Result<Read<'a>, MemberError>> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || {
            (!bytes.is_empty()).then(|| {
                let read = next_column(&mut bytes, self.records);
                if read.is_none() {
                    bytes = &[];
                }
                read.ok_or_else(damaged)
            })
        })
    }

    /// How each record reads a field, as far as it is asked.
    pub(crate) fn reads(&self, field: &str, asked: &str) -> Result<Vec<Reads>, MemberError> {
        let so = |is| if is { Reads::So } else { Reads::Otherwise };
        let nothing = so(fits(&Json::Null, asked));
        let mut found = match field.len() <= NAME_BYTES_MAX && !IN_HEADS.contains(&field) {
            true => vec![nothing; self.records],
            false => vec![Reads::NotKept; self.records],
        };
        for column in self.each() {
            let (name, mut values, which) = column?;
            if name != field.as_bytes() && name != ALL.as_bytes() {
                continue;
            }
            let mut answers = Vec::new();
            while !values.is_empty() {
                let [length] = take(&mut values).ok_or_else(damaged)?;
                let (value, rest) = values.split_at_checked(length.into()).ok_or_else(damaged)?;
                values = rest;
                let value: Json = serde_json::from_slice(value).map_err(|_| damaged())?;
                answers.push(so(fits(&value, asked)));
            }
            for (found, which) in found.iter_mut().zip(which) {
                match *which {
                    NOTHING => {}
                    NOT_KEPT => *found = Reads::NotKept,
                    which => {
                        let answer = answers.get(usize::from(which) - 1);
                        *found = *answer.ok_or_else(damaged)?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// What is kept of each record, as [`of_record`] gave it but for the order.
    pub(crate) fn of_each(&self) -> Result<Vec<Vec<u8>>, MemberError> {
        let mut records = vec![Vec::new(); self.records];
        for column in self.each() {
            let (name, mut values, which) = column?;
            let mut known = Vec::new();
            while !values.is_empty() {
                let [length] = take(&mut values).ok_or_else(damaged)?;
                let (value, rest) = values.split_at_checked(length.into()).ok_or_else(damaged)?;
                values = rest;
                known.push(value);
            }
            for (record, which) in records.iter_mut().zip(which) {
                let value = match *which {
                    NOTHING => continue,
                    NOT_KEPT => None,
                    which => {
                        let value = known.get(usize::from(which) - 1);
                        Some(*value.ok_or_else(damaged)?)
                    }
                };
                record.push(name.len() as u8);
                record.extend_from_slice(name);
                record.push(value.map_or(0, |value| value.len() as u8 + 1));
                record.extend_from_slice(value.unwrap_or_default());
            }
        }
        Ok(records)
    }
}

fn next_column<'a>(bytes: &mut &'a [u8], records: usize) -> Option<Read<'a>> {
    let [length] = take(bytes)?;
    let (name, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    let length = u16::from_be_bytes(take(bytes)?);
    let (values, rest) = bytes.split_at_checked(length.into())?;
    let (which, rest) = rest.split_at_checked(records)?;
    *bytes = rest;
    Some((name, values, which))
}

fn damaged() -> MemberError {
    MemberError::Tables("the fields of a page do not read".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            push(&mut out, name, value.map(|value| value.as_bytes().to_vec()));
        }
        out
    }

    #[test]
    fn a_page_answers_for_each_record_and_gives_back_what_it_was_made_of() {
        let records = [
            record(&[("marking", Some("\"none\"")), ("slope", Some("\"flat\""))]),
            record(&[("slope", Some("[\"steep\",\"flat\"]"))]),
            record(&[]),
            record(&[("marking", None), ("slope", Some("12"))]),
            record(&[("", None)]),
        ];
        let page = joined(&records);
        let columns = Columns::read(&page).unwrap();
        let reads = |field, asked| columns.reads(field, asked).unwrap();
        use Reads::{NotKept, Otherwise, So};
        assert_eq!(
            reads("slope", "FLAT"),
            [So, So, Otherwise, Otherwise, NotKept]
        );
        assert_eq!(
            reads("slope", "12"),
            [Otherwise, Otherwise, Otherwise, So, NotKept]
        );
        assert_eq!(
            reads("slope", ""),
            [Otherwise, Otherwise, So, Otherwise, NotKept]
        );
        assert_eq!(
            reads("marking", "none"),
            [So, Otherwise, Otherwise, NotKept, NotKept]
        );
        assert_eq!(
            reads("depth", "1"),
            [Otherwise, Otherwise, Otherwise, Otherwise, NotKept]
        );
        assert_eq!(reads("status", "open"), [NotKept; 5]);
        assert_eq!(columns.of_each().unwrap(), records);
        assert_eq!(joined(&[]).len(), 2);
        for cut in 1..page.len() {
            // Never a panic; a page that ends between two fields reads without the later ones.
            let Ok(columns) = Columns::read(&page[..cut]) else {
                continue;
            };
            let _ = (columns.reads("slope", "flat"), columns.of_each());
        }
    }
}
