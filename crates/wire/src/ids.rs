//! The names by which things are known: fixed arrays of bytes, each a type of its own.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that should have been the hexadecimal form of an id was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, got {got:?}")]
pub struct ParseIdError {
    /// How many digits the id has.
    pub expected: usize,
    /// What was given (cut to 80 characters).
    pub got: String,
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn write_hex(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for some in bytes.chunks(16) {
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(some) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let text = text.get(..2 * some.len()).unwrap_or_default();
        out.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

fn parse_hex(text: &str, out: &mut [u8]) -> Result<(), ParseIdError> {
    let fail = || ParseIdError {
        expected: out.len() * 2,
        got: text.chars().take(80).collect(),
    };
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return Err(fail());
    }
    let mut bytes = Vec::with_capacity(out.len());
    for pair in digits.chunks_exact(2) {
        let high = (pair[0] as char).to_digit(16).ok_or_else(fail)?;
        let low = (pair[1] as char).to_digit(16).ok_or_else(fail)?;
        bytes.push((high * 16 + low) as u8);
    }
    out.copy_from_slice(&bytes);
    Ok(())
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From exactly [`Self::LEN`] bytes, else `None`.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        /// All of it, as lower-case hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        /// The first four bytes only, enough to tell things apart in a log line.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                write_hex(&self.0[..4], f)?;
                f.write_str("…)")
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                parse_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

byte_id!(
    /// A programme: the hash of its authority's entry 0.
    ProgrammeId, 32
);
byte_id!(
    /// A scope, opaque on the wire.
    ScopeId, 16
);
byte_id!(
    /// A device: its Ed25519 public key.
    DeviceKey, 32
);
byte_id!(
    /// One life of a device's log: drawn on install and on restore, never reused.
    Incarnation, 16
);
byte_id!(
    /// An entry: the BLAKE3 hash of all its bytes, see [`crate::hash::entry_id`].
    EntryId, 32
);
byte_id!(
    /// An Automerge change: the SHA-256 that Automerge knows it by.
    ChangeHash, 32
);
byte_id!(
    /// A document within its scope.
    DocumentId, 16
);
byte_id!(
    /// One life of a replica's journals. A restore, a truncation or a rebuild that lost a frame
    /// draws a new one, which voids every cursor into the old.
    Epoch, 8
);

impl ScopeId {
    /// Scope of the authority's own log, which belongs to every member.
    pub const AUTHORITY: Self = Self([0; 16]);
}

impl EntryId {
    /// What the first entry of a log names as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// The first 8 bytes, by which entries are compared in leaf lists.
    #[must_use]
    pub fn short(&self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        short
    }
}

/// Which of two streams an entry travels in: decided by the document's kind, for life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Lane {
    /// Hazardous areas, accidents, incoming reports, minefield records: sent first.
    Urgent = 0,
    /// Everything else.
    Records = 1,
}

impl Lane {
    /// Every lane, in the order in which they are sent.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Records];

    /// The header byte.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        self as u8
    }

    /// From a header byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Urgent),
            1 => Some(Self::Records),
            _ => None,
        }
    }
}

/// A log: what one incarnation of one device writes in one lane of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Scope the log belongs to.
    pub scope: ScopeId,
    /// Lane the log belongs to.
    pub lane: Lane,
    /// Author of every entry in it.
    pub device: DeviceKey,
    /// Which life of that device.
    pub incarnation: Incarnation,
}

/// An entry of the authority's log as others name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthorityRef {
    /// Its number; entry 0 founds the programme.
    pub height: u64,
    /// First 8 bytes of its id.
    pub id: [u8; 8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = DocumentId([0xa5; 16]);
        assert_eq!(id.to_string().parse::<DocumentId>(), Ok(id));
        assert!("a5".parse::<DocumentId>().is_err());
        assert!("zz".repeat(16).parse::<DocumentId>().is_err());
        assert!("é".repeat(16).parse::<DocumentId>().is_err());
    }

    #[test]
    fn debug_shows_no_whole_key() {
        let text = format!("{:?}", DeviceKey([0xab; 32]));
        assert_eq!(text, "DeviceKey(abababab…)");
    }
}
