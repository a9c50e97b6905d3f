//! The frame of a change chunk, and what is derived from it: hash, actor, document id.

use crate::Rule;
use crate::columns::{Reader, write_unsigned};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId, hash, limits};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// First bytes of every Automerge chunk.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Chunk type of an uncompressed change.
const CHANGE: u8 = 1;
/// Chunk type of a compressed change.
const COMPRESSED_CHANGE: u8 = 2;
/// Length of every actor.
pub(crate) const ACTOR_BYTES: usize = 16;
/// The actor's length and the zero actor, as they are hashed.
const ZEROED_ACTOR: [u8; ACTOR_BYTES + 1] = {
    let mut zeroed = [0; ACTOR_BYTES + 1];
    zeroed[0] = ACTOR_BYTES as u8;
    zeroed
};
/// Context of [`ChangeParts::actor`].
pub const ACTOR_CONTEXT: &str = "cairn 2026 actor v1";
/// Context of [`ChangeParts::document_id`].
pub const DOCUMENT_ID_CONTEXT: &str = "cairn 2026 document id v1";
/// Longest kind in bytes.
pub const KIND_BYTES_MAX: usize = 64;

/// An actor: each change has its own.
pub(crate) type Actor = [u8; ACTOR_BYTES];

/// What a change consists of beside its actor, from which the actor and, for a root, the
/// document's id are derived.
#[derive(Debug, Clone)]
pub struct ChangeParts<'a> {
    /// Chunk data before the actor's length byte: the dependencies.
    before: Cow<'a, [u8]>,
    /// Chunk data behind the actor.
    after: &'a [u8],
}

impl<'a> ChangeParts<'a> {
    /// From dependencies and what stands behind the actor; nothing is judged here.
    #[must_use]
    pub fn new(dependencies: &[ChangeHash], after: &'a [u8]) -> Self {
        let mut before = Vec::with_capacity(2 + dependencies.len() * ChangeHash::LEN);
        write_unsigned(&mut before, dependencies.len() as u64);
        for dependency in dependencies {
            before.extend_from_slice(&dependency.0);
        }
        Self {
            before: before.into(),
            after,
        }
    }

    /// From a change chunk, whatever its actor.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Rule> {
        Ok(Chunk::split(bytes)?.parts)
    }

    /// What stands behind the actor.
    #[must_use]
    pub fn after(&self) -> &'a [u8] {
        self.after
    }

    /// The id of the document that this change, as its root, makes: the first 16 bytes of
    /// H(scope, length of kind, kind, device key, nonce, chunk data with the actor zeroed).
    #[must_use]
    pub fn document_id(
        &self,
        scope: &ScopeId,
        kind: &str,
        device: &DeviceKey,
        nonce: &[u8; 8],
    ) -> DocumentId {
        DocumentId(first_16(hash::derive(
            DOCUMENT_ID_CONTEXT,
            &[
                &scope.0,
                &[u8::try_from(kind.len()).unwrap_or(u8::MAX)],
                kind.as_bytes(),
                &device.0,
                nonce,
                &self.before,
                &ZEROED_ACTOR,
                self.after,
            ],
        )))
    }

    /// The actor that this change must have: the first 16 bytes of
    /// H(device key, scope, document, nonce, chunk data with the actor zeroed).
    #[must_use]
    pub fn actor(
        &self,
        scope: &ScopeId,
        document: &DocumentId,
        device: &DeviceKey,
        nonce: &[u8; 8],
    ) -> [u8; 16] {
        first_16(hash::derive(
            ACTOR_CONTEXT,
            &[
                &device.0,
                &scope.0,
                &document.0,
                nonce,
                &self.before,
                &ZEROED_ACTOR,
                self.after,
            ],
        ))
    }

    /// The chunk with that actor, and its hash.
    #[must_use]
    pub fn assemble(&self, actor: &[u8; 16]) -> (Vec<u8>, ChangeHash) {
        let len = self.before.len() + 1 + ACTOR_BYTES + self.after.len();
        let mut head = vec![CHANGE];
        write_unsigned(&mut head, len as u64);
        let actor_length = [ACTOR_BYTES as u8];
        let parts = [&head, &*self.before, &actor_length, actor, self.after];
        let hash = sha256(&parts);
        let mut bytes = Vec::with_capacity(len + 14);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&hash.0[..4]);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        (bytes, hash)
    }
}

/// A change chunk taken apart as far as its actor.
pub(crate) struct Chunk<'a> {
    pub(crate) hash: ChangeHash,
    pub(crate) dependencies: Vec<ChangeHash>,
    pub(crate) actor: Actor,
    pub(crate) parts: ChangeParts<'a>,
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
        let hashed = reader.rest();
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
        // Type and length, in its shortest form, are hashed with the data.
        let hash = sha256(&[hashed]);
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
            parts: ChangeParts {
                before: before.into(),
                after: reader.rest(),
            },
        })
    }
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

/// SHA-256, as Automerge takes it over chunk type, length and data.
fn sha256(parts: &[&[u8]]) -> ChangeHash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    ChangeHash(hasher.finalize().into())
}

fn first_16(hash: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}
