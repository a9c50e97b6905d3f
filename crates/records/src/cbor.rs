//! Deterministic CBOR (RFC 8949 §4.2.1) for the few shapes that assertions need: integers, byte
//! and text strings, arrays, maps, booleans and null, all of definite length.
//!
//! The reader takes one encoding of each value and refuses every other: longer heads, indefinite
//! lengths, tags, floats, keys out of order or twice. It allocates nothing that the input does
//! not already hold.

use crate::value::Value;
use std::collections::BTreeMap;

/// Nesting that is followed in a value.
const DEPTH_MAX: usize = 8;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// Bytes that are not the deterministic encoding of a value this module knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The input ends inside a value, or goes on after it.
    #[error("a value is cut off or followed by more")]
    Length,
    /// Another encoding of the same value would have been the right one.
    #[error("a value is not in its deterministic encoding")]
    NotCanonical,
    /// A kind of value that does not belong here.
    #[error("a value has an unexpected type")]
    Type,
}

/// Writes values one after another.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..24 => self.0.push(major | argument as u8),
            24..=0xff => self.0.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
    }

    pub(crate) fn integer(&mut self, value: i64) {
        if value < 0 {
            self.head(NEGATIVE, !value as u64);
        } else {
            self.head(UNSIGNED, value as u64);
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }

    pub(crate) fn map(&mut self, len: usize) {
        self.head(MAP, len as u64);
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.head(SIMPLE, if value { TRUE } else { FALSE });
    }

    /// A value that is already encoded.
    pub(crate) fn encoded(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.head(SIMPLE, NULL),
            Value::Bool(value) => self.boolean(*value),
            Value::Int(value) => self.integer(*value),
            Value::Text(value) => self.text(value),
            Value::Bytes(value) => self.bytes(value),
            Value::List(values) => {
                self.array(values.len());
                for value in values {
                    self.value(value);
                }
            }
            Value::Map(parts) => {
                self.map(parts.len());
                // Deterministic order is that of the encoded keys: shorter ones first.
                let mut sorted: Vec<_> = parts.iter().collect();
                sorted.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
                for (key, value) in sorted {
                    self.text(key);
                    self.value(value);
                }
            }
            Value::Perimeter(perimeter) => self.encoded(&perimeter.to_cbor()),
        }
    }
}

/// Encodes one value.
#[must_use]
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.value(value);
    writer.into_bytes()
}

/// Decodes one value that fills `bytes`. Perimeters come out as what they are made of: decode
/// those by their field's type.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, CborError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value(DEPTH_MAX)?;
    reader.end()?;
    Ok(value)
}

/// Reads values one after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn end(&self) -> Result<(), CborError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CborError::Length)
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CborError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CborError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let first = self.take(1)?.first().copied().ok_or(CborError::Length)?;
        let (len, least) = match first & 31 {
            small @ 0..24 => return Ok((first >> 5, u64::from(small))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(CborError::NotCanonical),
        };
        let argument = self
            .take(len)?
            .iter()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        if argument < least {
            return Err(CborError::NotCanonical);
        }
        Ok((first >> 5, argument))
    }

    fn expect(&mut self, major: u8) -> Result<u64, CborError> {
        match self.head()? {
            (found, argument) if found == major => Ok(argument),
            _ => Err(CborError::Type),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<i64, CborError> {
        let (major, argument) = self.head()?;
        let value = i64::try_from(argument).map_err(|_| CborError::Type)?;
        match major {
            UNSIGNED => Ok(value),
            NEGATIVE => Ok(!value),
            _ => Err(CborError::Type),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let len = self.expect(BYTES)?;
        self.take(usize::try_from(len).map_err(|_| CborError::Length)?)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CborError> {
        let len = self.expect(TEXT)?;
        let bytes = self.take(usize::try_from(len).map_err(|_| CborError::Length)?)?;
        std::str::from_utf8(bytes).map_err(|_| CborError::Type)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, CborError> {
        match self.head()? {
            (SIMPLE, FALSE) => Ok(false),
            (SIMPLE, TRUE) => Ok(true),
            _ => Err(CborError::Type),
        }
    }

    /// The number of values that follow, which is never more than bytes are left.
    pub(crate) fn array(&mut self) -> Result<usize, CborError> {
        let len = self.expect(ARRAY)?;
        self.bounded(len)
    }

    /// The number of pairs that follow, which is never more than bytes are left.
    pub(crate) fn map(&mut self) -> Result<usize, CborError> {
        let len = self.expect(MAP)?;
        self.bounded(len)
    }

    fn bounded(&self, len: u64) -> Result<usize, CborError> {
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => Ok(len),
            _ => Err(CborError::Length),
        }
    }

    /// The encoded bytes of the next value, whatever it is (integer keys of maps included).
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], CborError> {
        let start = self.rest;
        self.pass(DEPTH_MAX)?;
        start
            .get(..start.len() - self.rest.len())
            .ok_or(CborError::Length)
    }

    fn pass(&mut self, depth: usize) -> Result<(), CborError> {
        let depth = depth.checked_sub(1).ok_or(CborError::Type)?;
        let start = *self;
        match self.head()? {
            (UNSIGNED | NEGATIVE, _) | (SIMPLE, FALSE | TRUE | NULL) => Ok(()),
            (BYTES, _) => {
                *self = start;
                self.bytes().map(drop)
            }
            (TEXT, _) => {
                *self = start;
                self.text().map(drop)
            }
            (ARRAY, len) => {
                for _ in 0..self.bounded(len)? {
                    self.pass(depth)?;
                }
                Ok(())
            }
            (MAP, len) => {
                let mut before: Option<&[u8]> = None;
                for _ in 0..self.bounded(len)? {
                    let at = self.rest;
                    self.pass(depth)?;
                    let key = at
                        .get(..at.len() - self.rest.len())
                        .ok_or(CborError::Length)?;
                    if before.is_some_and(|before| before >= key) {
                        return Err(CborError::NotCanonical);
                    }
                    before = Some(key);
                    self.pass(depth)?;
                }
                Ok(())
            }
            _ => Err(CborError::Type),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        let depth = depth.checked_sub(1).ok_or(CborError::Type)?;
        let start = *self;
        match self.head()? {
            (UNSIGNED | NEGATIVE, _) => {
                *self = start;
                Ok(Value::Int(self.integer()?))
            }
            (BYTES, _) => {
                *self = start;
                Ok(Value::Bytes(self.bytes()?.to_vec()))
            }
            (TEXT, _) => {
                *self = start;
                Ok(Value::Text(self.text()?.to_owned()))
            }
            (ARRAY, len) => (0..self.bounded(len)?)
                .map(|_| self.value(depth))
                .collect::<Result<_, _>>()
                .map(Value::List),
            (MAP, len) => {
                let mut parts = BTreeMap::new();
                let mut before: Option<(usize, &str)> = None;
                for _ in 0..self.bounded(len)? {
                    let key = self.text()?;
                    if before.is_some_and(|before| before >= (key.len(), key)) {
                        return Err(CborError::NotCanonical);
                    }
                    before = Some((key.len(), key));
                    parts.insert(key.to_owned(), self.value(depth)?);
                }
                Ok(Value::Map(parts))
            }
            (SIMPLE, FALSE) => Ok(Value::Bool(false)),
            (SIMPLE, TRUE) => Ok(Value::Bool(true)),
            (SIMPLE, NULL) => Ok(Value::Null),
            _ => Err(CborError::Type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            ".{0,40}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::btree_map("[a-z]{0,30}", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            prop_assert_eq!(decode(&encode(&value)), Ok(value.clone()));
            let encoded = encode(&value);
            let mut reader = Reader::new(&encoded);
            prop_assert_eq!(reader.skip(), Ok(&encoded[..]));
        }

        #[test]
        fn whatever_reads_is_its_own_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }

    #[test]
    fn other_encodings_are_refused() {
        for (bytes, why) in [
            (&[0x18, 0x17][..], "23 in two bytes"),
            (&[0x9f, 0xff], "an indefinite array"),
            (&[0xa2, 0x61, b'b', 0, 0x61, b'a', 0], "keys out of order"),
            (&[0xa2, 0x61, b'a', 0, 0x61, b'a', 0], "a key twice"),
            (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], "a float"),
            (&[0xc0, 0], "a tag"),
            (&[0, 0], "two values"),
            (
                &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                "an array without end",
            ),
            (&[0x81; 64], "nested too deep"),
        ] {
            assert!(decode(bytes).is_err(), "{why}");
            assert!(
                Reader::new(bytes).skip().is_err() || bytes == [0, 0],
                "{why}"
            );
        }
    }
}
