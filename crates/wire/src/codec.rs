//! The only place that names bincode: values of one connection to bytes and back.
//!
//! Two traps of bincode 2.0.1 are closed here: it accepts bytes left over after a value, and it
//! allocates what a length prefix claims unless it is told a limit. Nothing that is signed, hashed
//! or archived passes through here.

use crate::limits::FRAME_BYTES_MAX;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Why bytes are not the value that was expected. Always the fault of whoever gave the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not an encoding of the expected value, or over the limit.
    #[error("not a well-formed message: {0}")]
    Malformed(String),
    /// Bytes are left over after the value.
    #[error("the message has {0} bytes too many")]
    Trailing(usize),
}

const CONFIG: Configuration<LittleEndian, Varint, Limit<FRAME_BYTES_MAX>> =
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>();

/// Encodes a value of our own.
///
/// # Panics
/// If the value is over [`FRAME_BYTES_MAX`] or its `Serialize` fails: both are errors of ours.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let bytes = bincode::serde::encode_to_vec(value, CONFIG).expect("our own value encodes");
    assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame is over its limit");
    bytes
}

/// Decodes a value that must fill `bytes` exactly.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::Malformed("over the limit of a frame".into()));
    }
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing(bytes.len() - used));
    }
    Ok(value)
}

/// Bytes that are copied whole instead of one by one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = encode(&(1u8, 2u64));
        bytes.push(0);
        assert_eq!(decode::<(u8, u64)>(&bytes), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn a_claimed_length_is_not_allocated() {
        // A byte string that claims 2^60 bytes.
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(matches!(
            decode::<Bytes>(&bytes),
            Err(DecodeError::Malformed(_))
        ));
    }
}
