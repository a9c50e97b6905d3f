//! Documents: from sealed batches to Automerge documents, and from edits to batches.
//!
//! * [`change`] makes changes: at the heads their author saw, with an actor of their own.
//! * [`batch`] is what an entry's payload holds when opened: many changes in few bytes.
//! * [`preflight`] judges a change by its bytes and its ancestors before Automerge sees it.
//! * [`shelf`] keeps documents over a small storage trait: it applies what passes, lets wait what
//!   lacks dependencies, and sets aside what fails.
//!
//! Promises: no clock, randomness, disk or network; nothing here panics on bytes from outside;
//! work is bounded by [`cairn_wire::limits`]; two replicas that hold the same changes hold the same
//! documents, in whatever order the changes came. It must never know mine action.
//!
//! The normative text of the formats is `proto/batch.md`.

pub mod batch;
pub mod change;
mod chunk;
mod columns;
mod engine;
pub mod history;
mod operations;
pub mod preflight;
mod row;
mod rule;
pub mod shelf;
pub mod storage;

pub use batch::{BatchError, MalformedChange, OpenedChange, PackedBatch, RootPreimage};
pub use change::{Author, AuthorError, Authored, author_edit, author_merge, author_root};
pub use chunk::{ACTOR_CONTEXT, ChangeParts, DOCUMENT_ID_CONTEXT, KIND_BYTES_MAX};
pub use engine::panic_is_caught;
pub use history::History;
pub use operations::TIME_S_MAX;
pub use preflight::{Checked, Origin, Place};
pub use rule::Rule;
pub use shelf::{
    Documents, HeldChange, HeldState, Ingested, KnownChange, LoadedDocument, Outcome, Provenance,
    ReadDocument, ShelfError, SkippedChange, Verdict,
};
pub use storage::{MemoryStorage, Storage, Table, WriteSet};

/// The version of the pre-flight's rules and of the batch format that is written today: the first
/// byte of every batch.
pub const RULES_VERSION: u8 = 1;

/// Automerge's name for a change as ours.
#[must_use]
pub fn from_automerge(hash: &automerge::ChangeHash) -> cairn_wire::ChangeHash {
    cairn_wire::ChangeHash(hash.0)
}

/// Our name for a change as Automerge's.
#[must_use]
pub fn to_automerge(hash: &cairn_wire::ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}
