//! The authority's log: who belongs to the programme, signed, carried by everybody.
//!
//! An entry, integers big-endian, at most [`limits::AUTHORITY_ENTRY_BYTES_MAX`]:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, 1 |
//! | 1 | 32 | programme id, zeros in entry 0 |
//! | 33 | 8 | height, from 0 |
//! | 41 | 32 | id of the entry before, zeros in entry 0 |
//! | 73 | 1 | kind of the body |
//! | 74 | n | body, see `proto/membership.md` |
//! | 74 + n | 64 | Ed25519 signature over [`Domain::AUTHORITY`] and all bytes before it |
//!
//! The id of an entry is [`hash::authority_entry_id`]; that of entry 0 is the programme's. Every
//! entry is signed by the authority, but [`Body::AuthorityReplaced`] by the recovery key.
//!
//! Reading is strict and meaning is lenient: what is not well-formed or not signed is refused;
//! what is signed is kept and passed on, also where its kind is not known here (a newer Cairn made
//! it) or where it makes no sense (it then has no effect). So all replicas hold one log.

mod body;

use crate::canonical::{Malformed, Reader};
use crate::device::{self, Domain};
use crate::membership::Membership;
use crate::sealing::KeyCommitment;
use cairn_wire::{AuthorityRef, ProgrammeId, hash, ids, limits};
use ed25519_dalek::SigningKey;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use body::{Access, Body, Leaf, MemberSet, ParseWordError, Role};
pub(crate) use body::{put_scopes, read_scopes};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 73;
const SIGNATURE_BYTES: usize = device::SIGNATURE_BYTES;

/// An authority's (or a recovery key's) Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityKey(pub [u8; 32]);

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityKey(")?;
        ids::write_hex(&self.0[..4], f)?;
        f.write_str("…)")
    }
}

/// The id of an authority entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityEntryId(pub [u8; 32]);

impl AuthorityEntryId {
    /// What entry 0 names as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// How entries' headers name it.
    #[must_use]
    pub fn at(&self, height: u64) -> AuthorityRef {
        let mut id = [0; 8];
        id.copy_from_slice(&self.0[..8]);
        AuthorityRef { height, id }
    }
}

impl fmt::Debug for AuthorityEntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityEntryId(")?;
        ids::write_hex(&self.0[..4], f)?;
        f.write_str("…)")
    }
}

/// What a replica that holds nothing of the authority's log names as its head.
pub const NO_AUTHORITY: AuthorityRef = AuthorityRef {
    height: 0,
    id: [0; 8],
};

/// The secret of an authority, or a recovery secret, which is kept offline.
#[derive(Clone)]
pub struct AuthoritySecret(SigningKey);

impl AuthoritySecret {
    /// From 32 bytes: fresh random ones make a new authority, those of [`Self::to_bytes`] the same.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// What a key file holds.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// What others may know.
    #[must_use]
    pub fn public(&self) -> AuthorityKey {
        AuthorityKey(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for AuthoritySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthoritySecret(of {:?})", self.public())
    }
}

/// Why bytes do not become the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Not an authority entry, or of a version unknown here: the fault of whoever gave it.
    #[error("the authority entry is not well-formed: {0}")]
    Malformed(#[from] Malformed),
    /// Not signed by who had to sign it: the fault of whoever gave it.
    #[error("the authority entry is not signed by the programme's authority")]
    Signature,
    /// Of another programme: the fault of whoever gave it.
    #[error("the authority entry belongs to another programme")]
    OtherProgramme,
    /// Entries before it are missing: fetch from `next` on. Nobody's fault.
    #[error("authority entries {next} to {got} are missing before it", got = .got - 1)]
    Gap {
        /// The height that is wanted.
        next: u64,
        /// The height that was given.
        got: u64,
    },
    /// The authority signed two histories: a stolen or carelessly restored key. A person must act.
    #[error("the authority signed two different entries at height {height}")]
    Fork {
        /// The lowest height that is known to differ.
        height: u64,
        /// The entry held there.
        held: AuthorityEntryId,
        /// The other one's id.
        offered: AuthorityEntryId,
    },
}

/// Why an entry cannot be signed. Always the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The secret is not the one that must sign now.
    #[error("this is not the key that must sign")]
    NotAuthority,
    /// The entry would be over [`limits::AUTHORITY_ENTRY_BYTES_MAX`]: name fewer leaves or scopes,
    /// and the rest in later entries.
    #[error("an authority entry of {0} bytes is over the limit")]
    TooLong(usize),
    /// The body cannot be written: its field would not read back.
    #[error("the body is not well-formed: {0}")]
    Body(Malformed),
    /// There is no entry 0 yet, or the body founds a programme that is founded.
    #[error("a programme is founded once, before all else")]
    Founding,
}

/// What became of an entry that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is the new head.
    New,
    /// It was there already.
    Held,
}

/// A well-formed authority entry, its signature not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityEntry {
    /// The programme; that of entry 0 is its own id.
    pub programme: ProgrammeId,
    /// Its number, from 0.
    pub height: u64,
    /// The entry before.
    pub previous: AuthorityEntryId,
    /// What it says.
    pub body: Body,
    /// Its id.
    pub id: AuthorityEntryId,
}

impl AuthorityEntry {
    /// Reads an entry that fills `bytes` exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::AUTHORITY_ENTRY_BYTES_MAX {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let (signed, _) = split_signature(bytes)?;
        let mut reader = Reader::new(signed);
        reader.version(VERSION)?;
        let mut programme = ProgrammeId(reader.array()?);
        let height = reader.u64()?;
        let previous = AuthorityEntryId(reader.array()?);
        let body = Body::read(&mut reader)?;
        reader.finish()?;
        let id = AuthorityEntryId(hash::authority_entry_id(bytes).0);
        let first = height == 0;
        if first != matches!(body, Body::Founded { .. }) {
            return Err(Malformed::Field("height"));
        }
        if first != (programme.0 == [0; 32]) {
            return Err(Malformed::Field("programme"));
        }
        if first != (previous == AuthorityEntryId::NONE) {
            return Err(Malformed::Field("previous"));
        }
        if first {
            programme = ProgrammeId(id.0);
        }
        Ok(Self {
            programme,
            height,
            previous,
            body,
            id,
        })
    }
}

/// The authority's log as far as it is held here: verified entries, in order, without a gap.
#[derive(Clone)]
pub struct AuthorityLog {
    entries: Vec<Arc<[u8]>>,
    /// From which height on which key signs.
    signers: Vec<(u64, AuthorityKey)>,
    recovery: Option<AuthorityKey>,
    membership: Membership,
}

impl AuthorityLog {
    /// The log of a programme of which nothing is held yet. Its id is a hash of entry 0, so nobody
    /// can pass another one off.
    #[must_use]
    pub fn new(programme: ProgrammeId) -> Self {
        Self {
            entries: Vec::new(),
            signers: Vec::new(),
            recovery: None,
            membership: Membership::new(programme),
        }
    }

    /// Founds a programme: a log that holds its entry 0.
    #[must_use]
    pub fn found(
        secret: &AuthoritySecret,
        recovery: AuthorityKey,
        programme_key: KeyCommitment,
    ) -> Self {
        let body = Body::Founded {
            authority: secret.public(),
            recovery,
            programme_key,
        };
        let bytes = signed(
            secret,
            &ProgrammeId([0; 32]),
            0,
            &AuthorityEntryId::NONE,
            &body,
        );
        let mut log = Self::new(hash::authority_entry_id(&bytes));
        log.append_verified(&bytes)
            .expect("an entry 0 that was just signed");
        log
    }

    /// Signs the next entry and gives its bytes. They are *not* appended: make them durable, then
    /// hand them to [`Self::append_verified`]. Never sign twice at one height: that is a fork.
    pub fn sign(&self, secret: &AuthoritySecret, body: &Body) -> Result<Vec<u8>, SignError> {
        let (Some(head), false) = (
            self.membership.entry_ids().last(),
            matches!(body, Body::Founded { .. }),
        ) else {
            return Err(SignError::Founding);
        };
        let height = self.next_height();
        if self.signer_of(height, body) != Some(secret.public()) {
            return Err(SignError::NotAuthority);
        }
        let bytes = signed(secret, &self.programme(), height, head, body);
        if bytes.len() > limits::AUTHORITY_ENTRY_BYTES_MAX {
            return Err(SignError::TooLong(bytes.len()));
        }
        AuthorityEntry::parse(&bytes).map_err(SignError::Body)?;
        Ok(bytes)
    }

    /// Verifies an entry and makes it the head. One that is held already changes nothing.
    pub fn append_verified(&mut self, bytes: &[u8]) -> Result<Appended, AuthorityError> {
        let entry = AuthorityEntry::parse(bytes)?;
        if entry.programme != self.programme() {
            return Err(AuthorityError::OtherProgramme);
        }
        let next = self.next_height();
        if entry.height > next {
            return Err(AuthorityError::Gap {
                next,
                got: entry.height,
            });
        }
        let held = self.id_at(entry.height);
        if held == Some(entry.id) {
            return Ok(Appended::Held);
        }
        self.verify(&entry, bytes)?;
        if let Some(held) = held {
            return Err(AuthorityError::Fork {
                height: entry.height,
                held,
                offered: entry.id,
            });
        }
        if let Some(before) = entry.height.checked_sub(1)
            && let Some(held) = self.id_at(before)
            && held != entry.previous
        {
            return Err(AuthorityError::Fork {
                height: before,
                held,
                offered: entry.previous,
            });
        }
        self.take(&entry, bytes);
        Ok(Appended::New)
    }

    /// The programme.
    #[must_use]
    pub fn programme(&self) -> ProgrammeId {
        self.membership.programme()
    }

    /// The newest entry that is held, as headers and peers name it; [`NO_AUTHORITY`] for a log
    /// without entries.
    #[must_use]
    pub fn head(&self) -> AuthorityRef {
        self.membership.head()
    }

    /// How many entries are held; the height that is wanted next.
    #[must_use]
    pub fn next_height(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether not even entry 0 is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The id of the entry at `height`.
    #[must_use]
    pub fn id_at(&self, height: u64) -> Option<AuthorityEntryId> {
        self.membership.id_at(height)
    }

    /// Entries from `height` on, in order, of `max_bytes` together at most; the first one in any
    /// case. Empty when there are none.
    #[must_use]
    pub fn entries_from(&self, height: u64, max_bytes: usize) -> &[Arc<[u8]>] {
        let from = usize::try_from(height).unwrap_or(usize::MAX);
        let rest = self.entries.get(from..).unwrap_or_default();
        let mut bytes = 0;
        let count = rest
            .iter()
            .take_while(|entry| {
                bytes += entry.len();
                bytes <= max_bytes
            })
            .count();
        &rest[..count.max(1).min(rest.len())]
    }

    /// What to send to a peer that says `head` of its own log, `max_bytes` together at most: what
    /// follows its head; from our entry at its height on if it holds another one there, so that it
    /// sees the fork.
    #[must_use]
    pub fn entries_after(&self, head: AuthorityRef, max_bytes: usize) -> &[Arc<[u8]>] {
        let from = if self.membership.knows(head) {
            head.height.saturating_add(1)
        } else {
            head.height
        };
        self.entries_from(from, max_bytes)
    }

    /// What the log means.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The key that signs the next entry; `None` before entry 0 is held.
    #[must_use]
    pub fn authority(&self) -> Option<AuthorityKey> {
        self.signers.last().map(|(_, key)| *key)
    }

    /// Who must sign a body at that height: at most the next one.
    fn signer_of(&self, height: u64, body: &Body) -> Option<AuthorityKey> {
        match body {
            Body::Founded { authority, .. } => Some(*authority),
            Body::AuthorityReplaced { .. } => self.recovery,
            _ => {
                let after = self.signers.partition_point(|(from, _)| *from <= height);
                let (_, key) = self.signers.get(after.checked_sub(1)?)?;
                Some(*key)
            }
        }
    }

    fn verify(&self, entry: &AuthorityEntry, bytes: &[u8]) -> Result<(), AuthorityError> {
        let signer = self
            .signer_of(entry.height, &entry.body)
            .ok_or(AuthorityError::Signature)?;
        let (signed, signature) = split_signature(bytes)?;
        device::verify_key(&signer.0, Domain::AUTHORITY, signed, signature)
            .map_err(|_| AuthorityError::Signature)
    }

    fn take(&mut self, entry: &AuthorityEntry, bytes: &[u8]) {
        match &entry.body {
            Body::Founded {
                authority,
                recovery,
                ..
            } => {
                self.signers.push((0, *authority));
                self.recovery = Some(*recovery);
            }
            Body::AuthorityReplaced { key } => self.signers.push((entry.height + 1, *key)),
            _ => {}
        }
        self.entries.push(bytes.into());
        self.membership.apply(entry);
    }
}

impl fmt::Debug for AuthorityLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AuthorityLog({:?}, {} entries)",
            self.programme(),
            self.entries.len()
        )
    }
}

fn signed(
    secret: &AuthoritySecret,
    programme: &ProgrammeId,
    height: u64,
    previous: &AuthorityEntryId,
    body: &Body,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + 256);
    out.push(VERSION);
    out.extend_from_slice(&programme.0);
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&previous.0);
    body.put(&mut out);
    let signature = device::sign(&secret.0, Domain::AUTHORITY, &out);
    out.extend_from_slice(&signature);
    out
}

fn split_signature(bytes: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), Malformed> {
    bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(Malformed::Truncated)
}
