//! Scope keys and what they seal: payloads of entries and frames of the outbox.
//!
//! One construction for all (XChaCha20-Poly1305, and its nonce from a keyed hash of what is
//! sealed, so that equal nonces imply equal plaintexts, even for cloned stores):
//!
//! * sealing key = BLAKE3 derive-key(context of the purpose, scope key's secret)
//! * nonce key = BLAKE3 derive-key(`cairn 2026 sealing nonce v1`, sealing key)
//! * nonce = first 24 bytes of keyed BLAKE3(nonce key, associated data ‖ plaintext)
//! * sealed = nonce ‖ ciphertext ‖ 16-byte tag
//!
//! The associated data fixes its own length, so `associated data ‖ plaintext` reads in one way
//! only. Opening computes the nonce again and refuses another one: what was sealed under one key
//! opens under no other, and one plaintext has one sealed form.

use crate::canonical::{self, Malformed, Reader};
use cairn_wire::{Entry, EntryHeader, ScopeId, hash, limits};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes that sealing adds: nonce and tag.
pub const SEAL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// The longest plaintext that fits an entry.
pub const ENTRY_PLAINTEXT_BYTES_MAX: usize = limits::ENTRY_PAYLOAD_BYTES_MAX - SEAL_OVERHEAD_BYTES;
/// Length of an outbox frame's header.
pub const OUTBOX_HEADER_BYTES: usize = 28;
/// Length of a scope key as a key file holds it: scope, number, secret.
pub const SCOPE_KEY_BYTES: usize = 52;

/// Number of a device's own key, which seals its outbox frames while a scope's grant has not come.
/// No authority announces it, no grant hands it on, and no entry is sealed under it.
pub const BEFORE_GRANT: u32 = 0;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

const ENTRY_SEALING_CONTEXT: &str = "cairn 2026 entry sealing v1";
const OUTBOX_SEALING_CONTEXT: &str = "cairn 2026 outbox sealing v1";
const NONCE_CONTEXT: &str = "cairn 2026 sealing nonce v1";
const COMMITMENT_CONTEXT: &str = "cairn 2026 scope key commitment v1";
const KEYRING_CONTEXT: &str = "cairn 2026 keyring checksum v1";
const KEYRING_VERSION: u8 = 1;

/// Why something cannot be sealed. Always the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The header names another scope than the key's.
    #[error("the key belongs to another scope")]
    Scope,
    /// The key is the device's own, which nobody else could open an entry with.
    #[error("key number {BEFORE_GRANT} seals outbox frames only")]
    BeforeGrant,
    /// The plaintext does not fit.
    #[error("{0} bytes do not fit a sealed payload of at most {max}", max = ENTRY_PLAINTEXT_BYTES_MAX)]
    TooLong(usize),
}

/// Why something sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key in hand is another one than the header names: the caller's fault.
    #[error("it is sealed under another key: number {number} of another scope or series")]
    OtherKey {
        /// The number that the header names.
        number: u32,
    },
    /// Shorter than nonce and tag: its maker's fault.
    #[error("the sealed bytes are too short to be sealed")]
    Truncated,
    /// Sealed under another secret, or changed since, or sealed against the rules.
    #[error("it does not open under this key")]
    Refused,
}

/// What the authority's log says of a scope key, so that a member knows a true key from a foreign
/// one: BLAKE3 of scope, number and secret. It gives nothing away, the secret being random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyCommitment(pub [u8; 32]);

impl fmt::Debug for KeyCommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCommitment(")?;
        cairn_wire::ids::write_hex(&self.0[..4], f)?;
        f.write_str("…)")
    }
}

/// A key that seals one scope. Numbered from 1 ([`BEFORE_GRANT`] is a device's own); a revocation
/// makes the next number.
///
/// The key of [`ScopeId::AUTHORITY`] is the programme key: it seals names.
#[derive(Clone)]
pub struct ScopeKey {
    scope: ScopeId,
    number: u32,
    secret: Zeroizing<[u8; 32]>,
}

impl ScopeKey {
    /// From a secret: 32 random bytes for a new key.
    #[must_use]
    pub fn new(scope: ScopeId, number: u32, secret: &[u8; 32]) -> Self {
        Self {
            scope,
            number,
            secret: Zeroizing::new(*secret),
        }
    }

    /// Scope that it seals.
    #[must_use]
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// Its number among that scope's keys.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What the authority signs of it.
    #[must_use]
    pub fn commitment(&self) -> KeyCommitment {
        KeyCommitment(hash::derive(
            COMMITMENT_CONTEXT,
            &[&self.scope.0, &self.number.to_be_bytes(), &*self.secret],
        ))
    }

    /// What a key file holds.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; SCOPE_KEY_BYTES]> {
        let mut out = Zeroizing::new([0; SCOPE_KEY_BYTES]);
        out[..16].copy_from_slice(&self.scope.0);
        out[16..20].copy_from_slice(&self.number.to_be_bytes());
        out[20..].copy_from_slice(&*self.secret);
        out
    }

    /// From what [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let key = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(key)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            scope: ScopeId(reader.array()?),
            number: reader.u32()?,
            secret: Zeroizing::new(reader.array()?),
        })
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl PartialEq for ScopeKey {
    fn eq(&self, other: &Self) -> bool {
        // By commitment, so that the comparison's time says nothing about the secret.
        self.commitment() == other.commitment()
    }
}

impl Eq for ScopeKey {}

impl fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeKey({:?}, number {})", self.scope, self.number)
    }
}

/// Opens an entry's payload. Says nothing about the signature: admission has verified that.
pub fn open_entry(entry: &Entry, key: &ScopeKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let header = entry.header();
    if header.log.scope != key.scope || header.key_number != key.number {
        return Err(OpenError::OtherKey {
            number: header.key_number,
        });
    }
    open(
        key,
        ENTRY_SEALING_CONTEXT,
        &header.to_bytes(),
        entry.payload(),
    )
}

/// Says in the clear under which key an outbox frame is sealed. 28 bytes: scope id, key number
/// (4 bytes), outbox number (8 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxHeader {
    /// Scope of the changes in the frame.
    pub scope: ScopeId,
    /// Number of the scope key that seals it.
    pub key_number: u32,
    /// Which frame of the outbox it is; never used twice by one store.
    pub number: u64,
}

impl OutboxHeader {
    /// The canonical bytes, associated data of the frame.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; OUTBOX_HEADER_BYTES] {
        let mut out = [0; OUTBOX_HEADER_BYTES];
        out[..16].copy_from_slice(&self.scope.0);
        out[16..20].copy_from_slice(&self.key_number.to_be_bytes());
        out[20..].copy_from_slice(&self.number.to_be_bytes());
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            scope: ScopeId(reader.array()?),
            key_number: reader.u32()?,
            number: reader.u64()?,
        })
    }
}

/// An outbox frame: header, then sealed plaintext.
#[must_use]
pub fn seal_outbox(key: &ScopeKey, number: u64, plaintext: &[u8]) -> Vec<u8> {
    let header = OutboxHeader {
        scope: key.scope,
        key_number: key.number,
        number,
    }
    .to_bytes();
    let mut frame = header.to_vec();
    frame.extend_from_slice(&seal(key, OUTBOX_SEALING_CONTEXT, &header, plaintext));
    frame
}

/// Reads an outbox frame's header, to find the key that opens it.
pub fn outbox_header(frame: &[u8]) -> Result<OutboxHeader, Malformed> {
    OutboxHeader::read(&mut Reader::new(frame))
}

/// Opens an outbox frame.
pub fn open_outbox(frame: &[u8], key: &ScopeKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut reader = Reader::new(frame);
    let header = OutboxHeader::read(&mut reader).map_err(|_| OpenError::Truncated)?;
    if header.scope != key.scope || header.key_number != key.number {
        return Err(OpenError::OtherKey {
            number: header.key_number,
        });
    }
    open(
        key,
        OUTBOX_SEALING_CONTEXT,
        &header.to_bytes(),
        reader.rest(),
    )
}

/// The scope keys that a member holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: BTreeMap<ScopeId, BTreeMap<u32, ScopeKey>>,
}

/// Another key is held under that scope and number. One of the two is not the authority's:
/// compare with its log ([`crate::Membership::announces`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another key number {number} of that scope is held already")]
pub struct KeyConflict {
    /// The number in question.
    pub number: u32,
}

impl Keyring {
    /// A ring without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. `Ok(false)` if it was held already.
    pub fn insert(&mut self, key: ScopeKey) -> Result<bool, KeyConflict> {
        let numbered = self.keys.entry(key.scope).or_default();
        match numbered.get(&key.number) {
            Some(held) if *held == key => Ok(false),
            Some(_) => Err(KeyConflict { number: key.number }),
            None => {
                numbered.insert(key.number, key);
                Ok(true)
            }
        }
    }

    /// The key of that scope and number.
    #[must_use]
    pub fn get(&self, scope: &ScopeId, number: u32) -> Option<&ScopeKey> {
        self.keys.get(scope)?.get(&number)
    }

    /// The newest key of a scope: what a device seals under.
    #[must_use]
    pub fn newest(&self, scope: &ScopeId) -> Option<&ScopeKey> {
        self.keys.get(scope)?.values().next_back()
    }

    /// The key that opens an entry.
    #[must_use]
    pub fn for_entry(&self, header: &EntryHeader) -> Option<&ScopeKey> {
        self.get(&header.log.scope, header.key_number)
    }

    /// Every key, by scope and number.
    pub fn keys(&self) -> impl Iterator<Item = &ScopeKey> {
        self.keys.values().flat_map(BTreeMap::values)
    }

    /// What a key file holds: version, keys in order, checksum. Secret, and not encrypted.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let count = self.keys().count();
        let mut out = Zeroizing::new(Vec::with_capacity(1 + count * SCOPE_KEY_BYTES + 8));
        out.push(KEYRING_VERSION);
        for key in self.keys() {
            out.extend_from_slice(&*key.to_bytes());
        }
        canonical::put_checksum(&mut out, KEYRING_CONTEXT);
        out
    }

    /// From what [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let body = canonical::strip_checksum(bytes, KEYRING_CONTEXT)?;
        let mut reader = Reader::new(body);
        reader.version(KEYRING_VERSION)?;
        let keys = reader.rest();
        if !keys.len().is_multiple_of(SCOPE_KEY_BYTES) {
            return Err(Malformed::Truncated);
        }
        let mut ring = Self::new();
        for key in keys.chunks_exact(SCOPE_KEY_BYTES) {
            ring.insert(ScopeKey::from_bytes(key)?)
                .map_err(|_| Malformed::Field("keys"))?;
        }
        Ok(ring)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

/// Fills key number and length into the header and seals the payload under it.
pub(crate) fn seal_payload(
    key: &ScopeKey,
    header: &EntryHeader,
    plaintext: &[u8],
) -> Result<(EntryHeader, Vec<u8>), SealError> {
    if header.log.scope != key.scope {
        return Err(SealError::Scope);
    }
    if key.number == BEFORE_GRANT {
        return Err(SealError::BeforeGrant);
    }
    if plaintext.len() > ENTRY_PLAINTEXT_BYTES_MAX {
        return Err(SealError::TooLong(plaintext.len()));
    }
    let mut header = header.clone();
    header.key_number = key.number;
    header.payload_bytes = (plaintext.len() + SEAL_OVERHEAD_BYTES) as u32;
    let payload = seal(key, ENTRY_SEALING_CONTEXT, &header.to_bytes(), plaintext);
    Ok((header, payload))
}

/// Seals `plaintext` for one purpose (`context`). `associated` must fix its own length.
pub(crate) fn seal(
    key: &ScopeKey,
    context: &'static str,
    associated: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let sealing_key = sealing_key(key, context);
    let nonce = nonce(&sealing_key, associated, plaintext);
    let ciphertext = XChaCha20Poly1305::new((&*sealing_key).into())
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: plaintext,
                aad: associated,
            },
        )
        .expect("the cipher refuses only what is over 256 GiB");
    let mut out = Vec::with_capacity(plaintext.len() + SEAL_OVERHEAD_BYTES);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&ciphertext);
    out
}

pub(crate) fn open(
    key: &ScopeKey,
    context: &'static str,
    associated: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (given, ciphertext) = sealed
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(OpenError::Truncated)?;
    if ciphertext.len() < TAG_BYTES {
        return Err(OpenError::Truncated);
    }
    let sealing_key = sealing_key(key, context);
    let plaintext = XChaCha20Poly1305::new((&*sealing_key).into())
        .decrypt(
            &XNonce::from(*given),
            Payload {
                msg: ciphertext,
                aad: associated,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Refused)?;
    if nonce(&sealing_key, associated, &plaintext) != *given {
        return Err(OpenError::Refused);
    }
    Ok(plaintext)
}

fn sealing_key(key: &ScopeKey, context: &'static str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(context, &*key.secret))
}

fn nonce(sealing_key: &[u8; 32], associated: &[u8], plaintext: &[u8]) -> [u8; NONCE_BYTES] {
    let nonce_key = Zeroizing::new(blake3::derive_key(NONCE_CONTEXT, sealing_key));
    let mut hasher = blake3::Hasher::new_keyed(&nonce_key);
    hasher.update(associated).update(plaintext);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&hasher.finalize().as_bytes()[..NONCE_BYTES]);
    nonce
}
