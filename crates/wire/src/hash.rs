//! Hashes, each under a context string of its own (BLAKE3's key-derivation mode), so that a hash
//! made for one purpose never serves another.

use crate::ids::{EntryId, ProgrammeId};

/// Context of [`entry_id`].
pub const ENTRY_ID_CONTEXT: &str = "cairn 2026 entry id v1";
/// Context of [`authority_entry_id`] and so of a programme's id.
pub const AUTHORITY_ENTRY_ID_CONTEXT: &str = "cairn 2026 authority entry id v1";
/// Context of a journal's running hash.
pub const JOURNAL_CONTEXT: &str = "cairn 2026 journal running hash v1";
/// Context of the digest over leaves.
pub const DIGEST_CONTEXT: &str = "cairn 2026 leaves digest v1";
/// Context of the hash of all pair states.
pub const PAIR_CONTEXT: &str = "cairn 2026 pair states v1";
/// Context of the tag that stands for a log in a leaf list.
pub const LEAF_TAG_CONTEXT: &str = "cairn 2026 leaf tag v1";
/// Context of the hash of one bucket of a leaf list.
pub const LEAF_BUCKET_CONTEXT: &str = "cairn 2026 leaf bucket v1";
/// Context of the hash over the ids of detached entries.
pub const DETACHED_CONTEXT: &str = "cairn 2026 detached entries v1";
/// Context of the hash over grants and receipts.
pub const SIDE_CONTEXT: &str = "cairn 2026 side objects v1";

/// BLAKE3 of the parts put together, under `context`.
#[must_use]
pub fn derive(context: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The id of an entry: the hash of all its bytes, signature included.
#[must_use]
pub fn entry_id(bytes: &[u8]) -> EntryId {
    EntryId(derive(ENTRY_ID_CONTEXT, &[bytes]))
}

/// The id of an authority entry; that of entry 0 is the programme's.
#[must_use]
pub fn authority_entry_id(bytes: &[u8]) -> ProgrammeId {
    ProgrammeId(derive(AUTHORITY_ENTRY_ID_CONTEXT, &[bytes]))
}

/// The running hash of a journal after one more entry. A new journal starts from zeros.
#[must_use]
pub fn journal_step(before: [u8; 8], entry: &EntryId) -> [u8; 8] {
    let hash = derive(JOURNAL_CONTEXT, &[&before, &entry.0]);
    let mut step = [0; 8];
    step.copy_from_slice(&hash[..8]);
    step
}
