//! The entry: what a device signs, everybody stores and nobody on the way opens.
//!
//! Layout, integers big-endian, no padding, nothing optional:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | format version, 1 (of the payload; this layout never changes) |
//! | 1 | 32 | programme id |
//! | 33 | 16 | scope id |
//! | 49 | 32 | device key of the author |
//! | 81 | 16 | incarnation |
//! | 97 | 1 | lane: 0 urgent, 1 records |
//! | 98 | 8 | number in its log, from 1 |
//! | 106 | 32 | id of the entry before, zeros for number 1 |
//! | 138 | 8 | height of the authority's log that its author knew |
//! | 146 | 8 | first 8 bytes of that authority entry's id |
//! | 154 | 4 | number of the scope key that seals the payload |
//! | 158 | 4 | length of the sealed payload |
//! | 162 | n | sealed payload, at most 64 KiB |
//! | 162 + n | 64 | Ed25519 signature over [`SIGNATURE_DOMAIN`] and all bytes before it |

use crate::ids::{
    AuthorityRef, DeviceKey, EntryId, Incarnation, Lane, LogId, ProgrammeId, ScopeId,
};
use crate::{hash, limits};

/// Format version written today.
pub const FORMAT_VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 162;
/// Bytes after the payload.
pub const SIGNATURE_BYTES: usize = 64;
/// What stands before the entry's bytes when they are signed.
pub const SIGNATURE_DOMAIN: &[u8] = b"cairn entry signature v1\0";

/// Why bytes are not an entry. Always the fault of whoever gave the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than the header or the declared payload need.
    #[error("the entry ends early")]
    Truncated,
    /// Bytes are left over after the signature.
    #[error("the entry has {0} bytes too many")]
    Trailing(usize),
    /// The payload is declared longer than [`limits::ENTRY_PAYLOAD_BYTES_MAX`].
    #[error("a payload of {0} bytes is over the limit of {max}", max = limits::ENTRY_PAYLOAD_BYTES_MAX)]
    PayloadTooLong(usize),
    /// Version 0, which no writer ever wrote.
    #[error("format version 0 does not exist")]
    Version,
    /// A lane byte that names no lane.
    #[error("lane {0} does not exist")]
    Lane(u8),
    /// Number 0, number 1 that names an entry before, or another number that names none.
    #[error("entry number {0} does not fit the entry it names before itself")]
    Number(u64),
}

/// What an entry says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHeader {
    /// Version of the payload's format. Unknown versions are stored and forwarded like others.
    pub version: u8,
    /// Programme it belongs to.
    pub programme: ProgrammeId,
    /// Log it stands in: scope, lane, author and incarnation.
    pub log: LogId,
    /// Its number in that log, from 1.
    pub number: u64,
    /// Id of the entry before; [`EntryId::NONE`] for number 1.
    pub previous: EntryId,
    /// Authority entry that its author knew when it was sealed.
    pub authority: AuthorityRef,
    /// Number of the scope key under which the payload is sealed.
    pub key_number: u32,
    /// Length of the sealed payload in bytes.
    pub payload_bytes: u32,
}

impl EntryHeader {
    /// The canonical bytes; also the associated data of the sealed payload.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = self.version;
        out[1..33].copy_from_slice(&self.programme.0);
        out[33..49].copy_from_slice(&self.log.scope.0);
        out[49..81].copy_from_slice(&self.log.device.0);
        out[81..97].copy_from_slice(&self.log.incarnation.0);
        out[97] = self.log.lane.as_byte();
        out[98..106].copy_from_slice(&self.number.to_be_bytes());
        out[106..138].copy_from_slice(&self.previous.0);
        out[138..146].copy_from_slice(&self.authority.height.to_be_bytes());
        out[146..154].copy_from_slice(&self.authority.id);
        out[154..158].copy_from_slice(&self.key_number.to_be_bytes());
        out[158..162].copy_from_slice(&self.payload_bytes.to_be_bytes());
        out
    }

    /// Reads the header at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let header = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(EntryError::Truncated)?;
        let array = |from: usize| -> [u8; 32] {
            let mut out = [0; 32];
            out.copy_from_slice(&header[from..from + 32]);
            out
        };
        let half = |from: usize| -> [u8; 16] {
            let mut out = [0; 16];
            out.copy_from_slice(&header[from..from + 16]);
            out
        };
        let eight = |from: usize| -> [u8; 8] {
            let mut out = [0; 8];
            out.copy_from_slice(&header[from..from + 8]);
            out
        };
        let four = |from: usize| -> [u8; 4] {
            let mut out = [0; 4];
            out.copy_from_slice(&header[from..from + 4]);
            out
        };
        let version = header[0];
        if version == 0 {
            return Err(EntryError::Version);
        }
        let lane = Lane::from_byte(header[97]).ok_or(EntryError::Lane(header[97]))?;
        let number = u64::from_be_bytes(eight(98));
        let previous = EntryId(array(106));
        if number == 0 || (number == 1) != (previous == EntryId::NONE) {
            return Err(EntryError::Number(number));
        }
        let payload_bytes = u32::from_be_bytes(four(158));
        if payload_bytes as usize > limits::ENTRY_PAYLOAD_BYTES_MAX {
            return Err(EntryError::PayloadTooLong(payload_bytes as usize));
        }
        Ok(Self {
            version,
            programme: ProgrammeId(array(1)),
            log: LogId {
                scope: ScopeId(half(33)),
                lane,
                device: DeviceKey(array(49)),
                incarnation: Incarnation(half(81)),
            },
            number,
            previous,
            authority: AuthorityRef {
                height: u64::from_be_bytes(eight(138)),
                id: eight(146),
            },
            key_number: u32::from_be_bytes(four(154)),
            payload_bytes,
        })
    }
}

/// A well-formed entry: its bytes, what they say in the clear, and its id.
///
/// Well-formed says nothing about the signature or the chain: that is admission's to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    header: EntryHeader,
    id: EntryId,
    bytes: Vec<u8>,
}

impl Entry {
    /// Reads an entry that fills `bytes` exactly, and computes its id.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, EntryError> {
        let header = EntryHeader::parse(&bytes)?;
        let whole = HEADER_BYTES + header.payload_bytes as usize + SIGNATURE_BYTES;
        if bytes.len() < whole {
            return Err(EntryError::Truncated);
        }
        if bytes.len() > whole {
            return Err(EntryError::Trailing(bytes.len() - whole));
        }
        let id = hash::entry_id(&bytes);
        Ok(Self { header, id, bytes })
    }

    /// Puts an entry together from its parts; `payload` must have the length the header names.
    pub fn assemble(
        header: &EntryHeader,
        payload: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<Self, EntryError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len() + SIGNATURE_BYTES);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(signature);
        Self::parse(bytes)
    }

    /// What it says in the clear.
    #[must_use]
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sealed payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..self.bytes.len() - SIGNATURE_BYTES]
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> [u8; SIGNATURE_BYTES] {
        let mut out = [0; SIGNATURE_BYTES];
        out.copy_from_slice(&self.bytes[self.bytes.len() - SIGNATURE_BYTES..]);
        out
    }

    /// What the signature is over: [`SIGNATURE_DOMAIN`], then header and payload.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(&self.bytes[..self.bytes.len() - SIGNATURE_BYTES])
    }

    /// Gives the bytes away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// What an author signs, given header and payload in one piece.
#[must_use]
pub fn signed_bytes(header_and_payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SIGNATURE_DOMAIN.len() + header_and_payload.len());
    out.extend_from_slice(SIGNATURE_DOMAIN);
    out.extend_from_slice(header_and_payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> EntryHeader {
        EntryHeader {
            version: FORMAT_VERSION,
            programme: ProgrammeId([1; 32]),
            log: LogId {
                scope: ScopeId([2; 16]),
                lane: Lane::Urgent,
                device: DeviceKey([3; 32]),
                incarnation: Incarnation([4; 16]),
            },
            number: 1,
            previous: EntryId::NONE,
            authority: AuthorityRef {
                height: 9,
                id: [5; 8],
            },
            key_number: 1,
            payload_bytes: 7,
        }
    }

    #[test]
    fn an_entry_reads_back() {
        let entry = Entry::assemble(&header(), b"payload", &[6; 64]).unwrap();
        let again = Entry::parse(entry.bytes().to_vec()).unwrap();
        assert_eq!(entry, again);
        assert_eq!(again.payload(), b"payload");
        assert_eq!(again.signature(), [6; 64]);
        assert_eq!(*again.header(), header());
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let bytes = Entry::assemble(&header(), b"payload", &[6; 64])
            .unwrap()
            .into_bytes();
        for len in 0..bytes.len() {
            assert_eq!(
                Entry::parse(bytes[..len].to_vec()),
                Err(EntryError::Truncated),
                "length {len}"
            );
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Entry::parse(longer), Err(EntryError::Trailing(1)));
    }

    #[test]
    fn a_flipped_bit_changes_the_id() {
        let entry = Entry::assemble(&header(), b"payload", &[6; 64]).unwrap();
        for at in 0..entry.bytes().len() {
            let mut bytes = entry.bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(other) = Entry::parse(bytes) {
                assert_ne!(other.id(), entry.id(), "byte {at}");
            }
        }
    }

    #[test]
    fn numbers_fit_what_they_name() {
        let mut first = header();
        first.previous = EntryId([1; 32]);
        assert_eq!(
            EntryHeader::parse(&first.to_bytes()),
            Err(EntryError::Number(1))
        );
        let mut second = header();
        second.number = 2;
        assert_eq!(
            EntryHeader::parse(&second.to_bytes()),
            Err(EntryError::Number(2))
        );
    }
}
