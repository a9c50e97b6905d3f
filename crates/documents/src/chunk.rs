//! The frame of a change chunk, and what is derived from it: hash, actor, document id.

use crate::Rule;
use crate::columns::{Reader, write_unsigned};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId, hash, limits};
use sha2::{Digest, Sha256};

/// First bytes of every Automerge chunk.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Chunk type of an uncompressed change.
const CHANGE: u8 = 1;
/// Chunk type of a compressed change.
const COMPRESSED_CHANGE: u8 = 2;
/// Length of every actor.
pub(crate) const ACTOR_BYTES: usize = 16;
/// Context of [`actor_of`].
pub const ACTOR_CONTEXT: &str = "cairn 2026 actor v1";
/// Context of [`document_id_of`].
pub const DOCUMENT_ID_CONTEXT: &str = "cairn 2026 document id v1";
/// Longest kind in bytes.
pub const KIND_BYTES_MAX: usize = 64;

/// An actor: each change has its own.
pub(crate) type Actor = [u8; ACTOR_BYTES];

/// A change chunk taken apart as far as its actor.
pub(crate) struct Chunk<'a> {
    pub(crate) hash: ChangeHash,
    pub(crate) dependencies: Vec<ChangeHash>,
    pub(crate) actor: Actor,
    /// Chunk data before the actor's length byte.
    before: &'a [u8],
    /// Chunk data behind the actor.
    pub(crate) after: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes a chunk apart; its hash is recomputed and its checksum compared.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Self, Rule> {
        if bytes.len() > limits::CHANGE_BYTES_MAX {
            return Err(Rule::TooLong);
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(Rule::NotAChange);
        }
        let checksum: [u8; 4] = reader.array()?;
        match reader.byte()? {
            CHANGE => {}
            COMPRESSED_CHANGE => return Err(Rule::Compressed),
            _ => return Err(Rule::NotAChange),
        }
        let len = reader.length()?;
        let data = reader.rest();
        if len < data.len() {
            return Err(Rule::TrailingBytes);
        }
        if len > data.len() {
            return Err(Rule::Truncated);
        }
        let hash = hash_of(&[data], len);
        if hash.0[..4] != checksum {
            return Err(Rule::Checksum);
        }

        let count = reader.length()?;
        if count > limits::CHANGE_DEPENDENCIES_MAX {
            return Err(Rule::TooManyDependencies);
        }
        let mut dependencies = Vec::with_capacity(count);
        for _ in 0..count {
            dependencies.push(ChangeHash(reader.array()?));
        }
        if !dependencies.is_sorted_by(|one, next| one < next) {
            return Err(Rule::DependencyOrder);
        }
        let before = data.get(..data.len() - reader.rest().len()).unwrap_or(&[]);
        if reader.length()? != ACTOR_BYTES {
            return Err(Rule::ActorLength);
        }
        let actor = reader.array()?;
        Ok(Self {
            hash,
            dependencies,
            actor,
            before,
            after: reader.rest(),
        })
    }

    /// The same change with another actor: its bytes and its hash.
    pub(crate) fn with_actor(&self, actor: &Actor) -> (Vec<u8>, ChangeHash) {
        assemble(&self.dependencies, actor, self.after)
    }

    /// The actor that this change must have.
    pub(crate) fn derived_actor(
        &self,
        device: &DeviceKey,
        scope: &ScopeId,
        document: &DocumentId,
        nonce: &[u8; 8],
    ) -> Actor {
        let zeroed = zeroed_actor();
        first_16(hash::derive(
            ACTOR_CONTEXT,
            &[
                &device.0,
                &scope.0,
                &document.0,
                nonce,
                self.before,
                &zeroed,
                self.after,
            ],
        ))
    }

    /// The id of the document that this change, as its root, makes.
    pub(crate) fn derived_document(
        &self,
        scope: &ScopeId,
        kind: &str,
        device: &DeviceKey,
        nonce: &[u8; 8],
    ) -> DocumentId {
        let zeroed = zeroed_actor();
        DocumentId(first_16(hash::derive(
            DOCUMENT_ID_CONTEXT,
            &[
                &scope.0,
                &[u8::try_from(kind.len()).unwrap_or(u8::MAX)],
                kind.as_bytes(),
                &device.0,
                nonce,
                self.before,
                &zeroed,
                self.after,
            ],
        )))
    }
}

/// The actor that a change must have, whatever actor its bytes carry: the first 16 bytes of
/// H(device key, scope, document, nonce, chunk data with the actor zeroed).
pub fn actor_of(
    bytes: &[u8],
    device: &DeviceKey,
    scope: &ScopeId,
    document: &DocumentId,
    nonce: &[u8; 8],
) -> Result<[u8; 16], Rule> {
    Ok(Chunk::split(bytes)?.derived_actor(device, scope, document, nonce))
}

/// The id of the document that a root makes: the first 16 bytes of
/// H(scope, length of kind, kind, device key, nonce, chunk data with the actor zeroed).
pub fn document_id_of(
    bytes: &[u8],
    scope: &ScopeId,
    kind: &str,
    device: &DeviceKey,
    nonce: &[u8; 8],
) -> Result<DocumentId, Rule> {
    check_kind(kind)?;
    Ok(Chunk::split(bytes)?.derived_document(scope, kind, device, nonce))
}

/// A kind is 1 to [`KIND_BYTES_MAX`] bytes of `a`–`z`, `0`–`9` and `_`, beginning with a letter.
pub(crate) fn check_kind(kind: &str) -> Result<(), Rule> {
    let bytes = kind.as_bytes();
    let well_formed = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.len() <= KIND_BYTES_MAX
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    if well_formed { Ok(()) } else { Err(Rule::Kind) }
}

/// A chunk from its parts: its bytes and its hash.
pub(crate) fn assemble(
    dependencies: &[ChangeHash],
    actor: &Actor,
    after: &[u8],
) -> (Vec<u8>, ChangeHash) {
    let mut before = Vec::with_capacity(2 + dependencies.len() * ChangeHash::LEN);
    write_unsigned(&mut before, dependencies.len() as u64);
    for dependency in dependencies {
        before.extend_from_slice(&dependency.0);
    }
    before.push(ACTOR_BYTES as u8);
    before.extend_from_slice(actor);
    let len = before.len() + after.len();
    let hash = hash_of(&[&before, after], len);
    let mut bytes = Vec::with_capacity(len + 14);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&hash.0[..4]);
    bytes.push(CHANGE);
    write_unsigned(&mut bytes, len as u64);
    bytes.extend_from_slice(&before);
    bytes.extend_from_slice(after);
    (bytes, hash)
}

/// SHA-256 over chunk type, length and data, as Automerge takes it.
fn hash_of(data: &[&[u8]], len: usize) -> ChangeHash {
    let mut head = vec![CHANGE];
    write_unsigned(&mut head, len as u64);
    let mut hasher = Sha256::new();
    hasher.update(&head);
    for part in data {
        hasher.update(part);
    }
    ChangeHash(hasher.finalize().into())
}

fn zeroed_actor() -> [u8; ACTOR_BYTES + 1] {
    let mut zeroed = [0; ACTOR_BYTES + 1];
    zeroed[0] = ACTOR_BYTES as u8;
    zeroed
}

fn first_16(hash: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}
