//! Names of scopes and members in the authority's log, and reasons: sealed under the programme key,
//! so that a relay or a finder of a log learns how many there are and not which.
//!
//! Sealed name = number of the programme key (4 bytes) ‖ what [`crate::sealing`] makes of the text.
//! Its associated data = `cairn sealed name v1\0` ‖ programme id ‖ kind (1 byte: 1 scope, 2 member,
//! 3 reason) ‖ scope id (16) or device key (32) ‖ number of the key (4). So a name moved to another
//! member does not open.

use crate::canonical::{Malformed, Reader, cut_text};
use crate::sealing::{self, Keyring, OpenError, SEAL_OVERHEAD_BYTES, ScopeKey};
use cairn_wire::{DeviceKey, ProgrammeId, ScopeId, limits};
use std::fmt;

const SEALING_CONTEXT: &str = "cairn 2026 name sealing v1";
const DOMAIN: &[u8] = b"cairn sealed name v1\0";
const NUMBER_BYTES: usize = 4;

/// Whose name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A scope's name.
    Scope(ScopeId),
    /// A member's name.
    Member(DeviceKey),
    /// Why a member was revoked.
    Reason(DeviceKey),
}

/// Why a sealed name gives no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The programme key that seals it is not held: ask for its grant.
    #[error("programme key number {0} is not held")]
    KeyNotHeld(u32),
    /// It does not open: moved from elsewhere, or sealed against the rules.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What opens is not text.
    #[error("the name is not text")]
    NotText,
}

/// A name that only members can read.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedName(Vec<u8>);

impl SealedName {
    /// Seals a name, cut to [`limits::NAME_BYTES_MAX`] (a reason: [`limits::REVOCATION_REASON_BYTES_MAX`]).
    #[must_use]
    pub fn seal(
        programme: ProgrammeId,
        subject: Subject,
        programme_key: &ScopeKey,
        text: &str,
    ) -> Self {
        let number = programme_key.number();
        let sealed = sealing::seal(
            programme_key,
            SEALING_CONTEXT,
            &associated(programme, subject, number),
            cut_text(text, text_bytes_max(subject)).as_bytes(),
        );
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend_from_slice(&sealed);
        Self(bytes)
    }

    /// Opens it with the programme key of the number that it names.
    pub fn open(
        &self,
        programme: ProgrammeId,
        subject: Subject,
        keyring: &Keyring,
    ) -> Result<String, NameError> {
        let mut reader = Reader::new(&self.0);
        let number = reader.u32().map_err(|_| OpenError::Truncated)?;
        let key = keyring
            .get(&ScopeId::AUTHORITY, number)
            .ok_or(NameError::KeyNotHeld(number))?;
        let text = sealing::open(
            key,
            SEALING_CONTEXT,
            &associated(programme, subject, number),
            reader.rest(),
        )?;
        String::from_utf8(text.to_vec()).map_err(|_| NameError::NotText)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        // Bounded by `seal` and `read`, far below 64 KiB.
        out.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>, text_max: usize) -> Result<Self, Malformed> {
        let overhead = NUMBER_BYTES + SEAL_OVERHEAD_BYTES;
        let len = usize::from(reader.u16()?);
        if len < overhead || len > overhead + text_max {
            return Err(Malformed::Field("sealed name"));
        }
        Ok(Self(reader.take(len)?.to_vec()))
    }
}

impl fmt::Debug for SealedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedName({} bytes)", self.0.len())
    }
}

fn text_bytes_max(subject: Subject) -> usize {
    match subject {
        Subject::Scope(_) | Subject::Member(_) => limits::NAME_BYTES_MAX,
        Subject::Reason(_) => limits::REVOCATION_REASON_BYTES_MAX,
    }
}

fn associated(programme: ProgrammeId, subject: Subject, number: u32) -> Vec<u8> {
    let mut out = DOMAIN.to_vec();
    out.extend_from_slice(&programme.0);
    match subject {
        Subject::Scope(scope) => {
            out.push(1);
            out.extend_from_slice(&scope.0);
        }
        Subject::Member(device) => {
            out.push(2);
            out.extend_from_slice(&device.0);
        }
        Subject::Reason(device) => {
            out.push(3);
            out.extend_from_slice(&device.0);
        }
    }
    out.extend_from_slice(&number.to_be_bytes());
    out
}
