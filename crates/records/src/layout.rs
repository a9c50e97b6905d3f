//! How fields lie in an Automerge document. Frozen: other versions read what stands here.
//!
//! | class | where |
//! | --- | --- |
//! | `once`, `reg` | root key `field`, a scalar; maps as `field/part/part` |
//! | `text` | root key `field`, a Text object |
//! | `haz`, `set`, `log` | root key `+field`, a map that only grows; every value in it is one assertion, encoded as bytes under the number of keys its author saw |
//!
//! Concurrent maps under one key read as their union, equal keys of concurrent changes both
//! count. An assertion is deterministic CBOR: a map with whole numbers as keys,
//! `0` value, `1` considered (changes), `2` decision (true), `3` reason, `4` withdraws (pairs of
//! change and key). Absent is empty. Unknown keys are passed over and must be in order.

use crate::cbor::{CborError, Reader, Writer, decode, encode};
use crate::perimeter::Perimeter;
use crate::schema::FieldType;
use crate::value::Value;
use automerge::transaction::Transactable;
use automerge::{Automerge, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use cairn_wire::ids::ChangeHash;
use cairn_wire::limits;
use std::collections::BTreeSet;

const VALUE: i64 = 0;
const CONSIDERED: i64 = 1;
const DECISION: i64 = 2;
const REASON: i64 = 3;
const WITHDRAWS: i64 = 4;

/// What one author said about one field at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assertion {
    /// The value, encoded; none in an assertion that only withdraws.
    pub value: Option<Vec<u8>>,
    /// The changes whose values were looked at; a decision names all it settles.
    pub considered: Vec<ChangeHash>,
    /// Whether it means to settle something.
    pub decision: bool,
    /// Why.
    pub reason: Option<String>,
    /// Assertions of this field that it takes back, by change and key.
    pub withdraws: Vec<(ChangeHash, String)>,
}

impl Assertion {
    /// One that gives a value and nothing else.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self {
            value: Some(encode(value)),
            ..Self::default()
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let parts = [
            self.value.is_some(),
            !self.considered.is_empty(),
            self.decision,
            self.reason.is_some(),
            !self.withdraws.is_empty(),
        ];
        out.map(parts.into_iter().filter(|part| *part).count());
        if let Some(value) = &self.value {
            out.integer(VALUE);
            out.encoded(value);
        }
        if !self.considered.is_empty() {
            out.integer(CONSIDERED);
            out.array(self.considered.len());
            self.considered
                .iter()
                .for_each(|change| out.bytes(&change.0));
        }
        if self.decision {
            out.integer(DECISION);
            out.boolean(true);
        }
        if let Some(reason) = &self.reason {
            out.integer(REASON);
            out.text(reason);
        }
        if !self.withdraws.is_empty() {
            out.integer(WITHDRAWS);
            out.array(self.withdraws.len());
            for (change, key) in &self.withdraws {
                out.array(2);
                out.bytes(&change.0);
                out.text(key);
            }
        }
        out.into_bytes()
    }

    /// From its bytes.
    ///
    /// # Errors
    ///
    /// For anything but what [`Assertion::to_bytes`] writes, unknown keys apart.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > limits::ASSERTION_BYTES_MAX {
            return Err(CborError::Length);
        }
        let mut whole = Reader::new(bytes);
        whole.skip()?;
        whole.end()?;
        let mut reader = Reader::new(bytes);
        let mut assertion = Self::default();
        for _ in 0..reader.map()? {
            let at = reader;
            match reader.integer() {
                Ok(VALUE) => assertion.value = Some(reader.skip()?.to_vec()),
                Ok(CONSIDERED) => {
                    let len = bounded(reader.array()?, limits::CONSIDERED_MAX)?;
                    assertion.considered = (0..len)
                        .map(|_| change(&mut reader))
                        .collect::<Result<_, _>>()?;
                }
                Ok(DECISION) => assertion.decision = reader.boolean()?,
                Ok(REASON) => assertion.reason = Some(reader.text()?.to_owned()),
                Ok(WITHDRAWS) => {
                    let len = bounded(reader.array()?, limits::WITHDRAWN_MAX)?;
                    assertion.withdraws = (0..len)
                        .map(|_| match reader.array()? {
                            2 => Ok((change(&mut reader)?, reader.text()?.to_owned())),
                            _ => Err(CborError::Type),
                        })
                        .collect::<Result<_, _>>()?;
                }
                _ => {
                    reader = at;
                    reader.skip()?;
                    reader.skip()?;
                }
            }
        }
        Ok(assertion)
    }
}

fn bounded(len: usize, max: usize) -> Result<usize, CborError> {
    if len <= max {
        Ok(len)
    } else {
        Err(CborError::Length)
    }
}

fn change(reader: &mut Reader<'_>) -> Result<ChangeHash, CborError> {
    ChangeHash::from_slice(reader.bytes()?).ok_or(CborError::Type)
}

/// An assertion as it was found in a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The change that made it.
    pub change: ChangeHash,
    /// Its key within the field.
    pub key: String,
    /// What it says; `None` where this version cannot read it.
    pub assertion: Option<Assertion>,
}

/// The root key of a growing field.
#[must_use]
pub fn growing_key(field: &str) -> String {
    format!("+{field}")
}

/// Every assertion of a field, in no particular order.
#[must_use]
pub fn assertions(document: &Automerge, field: &str) -> Vec<Stored> {
    let mut found = Vec::new();
    for map in maps(document, &growing_key(field)) {
        for item in document.map_range(&map, ..) {
            let key = item.key.as_ref();
            let values = match item.conflict {
                true => document.get_all(&map, key).unwrap_or_default(),
                false => vec![(item.value.clone().into_value(), item.id())],
            };
            for (value, id) in values {
                let Some(change) = document.hash_for_opid(&id) else {
                    continue;
                };
                let bytes = value.as_bytes();
                found.push(Stored {
                    change: ChangeHash(change.0),
                    key: key.to_owned(),
                    assertion: bytes.and_then(|bytes| Assertion::from_bytes(bytes).ok()),
                });
            }
        }
    }
    found
}

fn maps(document: &impl ReadDoc, key: &str) -> Vec<ObjId> {
    objects(document, key, ObjType::Map)
}

/// The objects of one type under a root key, in Automerge's order.
pub(crate) fn objects(document: &impl ReadDoc, key: &str, wanted: ObjType) -> Vec<ObjId> {
    let values = document.get_all(ROOT, key).unwrap_or_default();
    values
        .into_iter()
        .filter(|(value, _)| value.to_objtype() == Some(wanted))
        .map(|(_, id)| id)
        .collect()
}

/// Adds an assertion, never touching one that is there.
pub(crate) fn put_assertion(
    transaction: &mut impl Transactable,
    field: &str,
    assertion: &Assertion,
) -> Result<(), AutomergeError> {
    let root_key = growing_key(field);
    let maps = maps(transaction, &root_key);
    let taken: BTreeSet<String> = maps.iter().flat_map(|map| transaction.keys(map)).collect();
    let mut number = taken.len();
    while taken.contains(&number.to_string()) {
        number += 1;
    }
    let map = match maps.into_iter().next() {
        Some(map) => map,
        None => transaction.put_object(ROOT, root_key, ObjType::Map)?,
    };
    transaction.put(
        map,
        number.to_string(),
        ScalarValue::Bytes(assertion.to_bytes()),
    )
}

/// The value of an assertion, by the type of its field. What cannot be read as that type comes
/// back raw.
pub(crate) fn typed_value(encoded: &[u8], field_type: Option<&FieldType>) -> Result<Value, Value> {
    match field_type {
        Some(FieldType::Perimeter) => Perimeter::from_cbor(encoded)
            .map(Value::Perimeter)
            .map_err(|_| Value::Bytes(encoded.to_vec())),
        _ => decode(encoded).map_err(|_| Value::Bytes(encoded.to_vec())),
    }
}

/// How a value of a `once` or `reg` field is stored.
pub(crate) fn to_scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(*value),
        Value::Int(value) => ScalarValue::Int(*value),
        Value::Text(text) => ScalarValue::Str(text.as_str().into()),
        Value::Bytes(bytes) => ScalarValue::Bytes(bytes.clone()),
        Value::List(_) | Value::Map(_) | Value::Perimeter(_) => ScalarValue::Bytes(encode(value)),
    }
}

/// The value of a `once` or `reg` field, by its type.
pub(crate) fn from_scalar(scalar: &ScalarValue, field_type: Option<&FieldType>) -> Value {
    match scalar {
        ScalarValue::Null | ScalarValue::Unknown { .. } => Value::Null,
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Int(value) | ScalarValue::Timestamp(value) => Value::Int(*value),
        ScalarValue::Uint(value) => i64::try_from(*value).map_or(Value::Null, Value::Int),
        ScalarValue::Counter(value) => Value::Int(i64::from(value)),
        ScalarValue::F64(value) => Value::Text(value.to_string()),
        ScalarValue::Str(text) => Value::Text(text.to_string()),
        ScalarValue::Bytes(bytes) => match field_type {
            Some(FieldType::Position | FieldType::Entry(_) | FieldType::Perimeter) => {
                typed_value(bytes, field_type).unwrap_or_else(|raw| raw)
            }
            _ => Value::Bytes(bytes.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_these_bytes() {
        let whole = Assertion {
            value: Some(encode(&Value::from("closed"))),
            considered: vec![ChangeHash([1; 32])],
            decision: true,
            reason: Some("LR-1".into()),
            withdraws: vec![(ChangeHash([2; 32]), "0".into())],
        };
        let bytes = whole.to_bytes();
        let text = crate::value::hex(&bytes);
        let expected = format!(
            "a50066636c6f736564018158 20{}02f503644c522d31048182 5820{}6130",
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(text, expected.replace(' ', ""));
        assert_eq!(Assertion::from_bytes(&bytes), Ok(whole));
        let bare = Assertion::of(&Value::from("open"));
        assert_eq!(crate::value::hex(&bare.to_bytes()), "a100646f70656e");
    }

    #[test]
    fn parts_of_a_newer_version_are_passed_over() {
        let mut out = Writer::default();
        out.map(2);
        out.integer(0);
        out.text("open");
        out.integer(9);
        out.array(1);
        out.boolean(true);
        let read = Assertion::from_bytes(&out.into_bytes());
        assert_eq!(read, Ok(Assertion::of(&Value::from("open"))));
        assert!(
            Assertion::from_bytes(&[0xa2, 3, 0x61, b'x', 0, 1]).is_err(),
            "out of order"
        );
        assert!(Assertion::from_bytes(&[0xa1, 0]).is_err(), "cut off");
    }
}
