//! Values of fields.

use crate::geometry::Position;
use crate::perimeter::Perimeter;
use serde_json::{Map as JsonMap, Value as Json, json};
use std::collections::BTreeMap;

/// A value as a record holds it. Which of these a field takes is its type's business
/// ([`crate::schema::FieldType`]); what a newer version wrote is kept as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: a field that was emptied. Blank is not zero.
    Null,
    /// Yes or no.
    Bool(bool),
    /// Whole number in the field's unit; positions are lists of two of them.
    Int(i64),
    /// Line, code or ISO 8601 date.
    Text(String),
    /// Id of another record, or bytes that only a newer version can read.
    Bytes(Vec<u8>),
    /// Several values.
    List(Vec<Value>),
    /// Named parts.
    Map(BTreeMap<String, Value>),
    /// Extent of an area.
    Perimeter(Perimeter),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The perimeter, if it is one.
    #[must_use]
    pub fn as_perimeter(&self) -> Option<&Perimeter> {
        match self {
            Self::Perimeter(perimeter) => Some(perimeter),
            _ => None,
        }
    }

    /// The place, if it is one: latitude and longitude.
    #[must_use]
    pub fn as_position(&self) -> Option<Position> {
        match self {
            Self::List(parts) => match parts.as_slice() {
                [Self::Int(lat), Self::Int(lon)] => Position::new(*lat, *lon),
                _ => None,
            },
            _ => None,
        }
    }

    /// As people and scripts see it: bytes in hexadecimal digits, perimeters with their GeoJSON
    /// geometry in degrees.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Text(value) => json!(value),
            Self::Bytes(value) => json!(hex(value)),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
            Self::Map(parts) => Json::Object(
                parts
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_json()))
                    .collect::<JsonMap<_, _>>(),
            ),
            Self::Perimeter(perimeter) => perimeter.to_json(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    // Writing to a String cannot fail.
    let _ = cairn_wire::ids::write_hex(bytes, &mut text);
    text
}
