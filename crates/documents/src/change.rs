//! Making changes: at the heads that their author saw, each under an actor of its own.
//!
//! A change is first made under a zero actor; then the actor that follows from its author, its
//! document and its bytes is put in its place and the checksum is made anew. What comes out goes
//! through the same pre-flight as anybody's.

use crate::chunk::{ACTOR_BYTES, ChangeParts, check_kind};
use crate::history::History;
use crate::operations::TIME_S_MAX;
use crate::preflight::{self, Origin, Place};
use crate::{Rule, to_automerge};
use automerge::transaction::{CommitOptions, Transaction};
use automerge::{ActorId, Automerge, ReadDoc};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId};

/// Heads above which a merge of heads is committed before an edit.
pub const HEADS_BEFORE_MERGE_MAX: usize = 60;

/// Who makes changes: one value per command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Author {
    /// Scope the documents belong to.
    pub scope: ScopeId,
    /// The author's device.
    pub device: DeviceKey,
    /// For roots random, new for every command: it serves the ids of its documents, and two roots of
    /// one command that say exactly the same are one document. Edits may all have the same one: those
    /// that rest on the same and say the same in the same second are one change.
    pub nonce: [u8; 8],
}

/// A change that was made and passed the pre-flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authored {
    /// Document it belongs to.
    pub document: DocumentId,
    /// Of a document's first change: the document's kind.
    pub kind: Option<String>,
    /// Nonce of the command.
    pub nonce: [u8; 8],
    /// The change chunk.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
}

/// Why no change came out. All but `Edit` and `Internal` are about what the caller asked for.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError<E> {
    /// The edit itself failed.
    #[error("{0}")]
    Edit(E),
    /// The edit made no operation.
    #[error("nothing changed")]
    NothingChanged,
    /// A head that the document does not hold.
    #[error("the document does not hold the version {0} that was seen")]
    UnknownHead(ChangeHash),
    /// The change would be refused by everybody; the values should be kept as a draft.
    #[error("the change cannot be saved: {0}")]
    Rule(#[from] Rule),
    /// Automerge failed on a document that it had accepted.
    #[error("the document could not be edited: {0}")]
    Internal(String),
}

/// Makes a document: its first change.
///
/// `recorded_at_s` is the author's clock in seconds since 1970; what is out of all reason is
/// clamped, for a broken clock must not keep anybody from saving.
pub fn author_root<E>(
    author: &Author,
    kind: &str,
    recorded_at_s: i64,
    edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), E>,
) -> Result<Authored, AuthorError<E>> {
    check_kind(kind)?;
    let mut draft = Automerge::new().with_actor(zero_actor());
    let hash = commit(&mut draft, recorded_at_s, edit)?;
    let raw = raw_change(&draft, &hash)?;
    let parts = ChangeParts::of(&raw)?;
    let document = parts.document_id(&author.scope, kind, &author.device, &author.nonce);
    finish(author, document, Place::Root(kind), &parts, &History::new())
}

/// Edits a document as its author saw it: at `seen`, whatever has arrived since.
pub fn author_edit<E>(
    author: &Author,
    document: DocumentId,
    automerge: &Automerge,
    seen: &[ChangeHash],
    recorded_at_s: i64,
    edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), E>,
) -> Result<Authored, AuthorError<E>> {
    let mut draft = at_heads(automerge, seen)?;
    let history = History::of(&draft)?;
    let hash = commit(&mut draft, recorded_at_s, edit)?;
    let raw = raw_change(&draft, &hash)?;
    finish(
        author,
        document,
        Place::Edit,
        &ChangeParts::of(&raw)?,
        &history,
    )
}

/// Merges of heads, until no more than [`HEADS_BEFORE_MERGE_MAX`] are left: changes without
/// operations, each resting on many heads. None where there are few enough. They are to be ingested
/// in this order before the document is edited.
pub fn author_merge(
    author: &Author,
    document: DocumentId,
    automerge: &Automerge,
    recorded_at_s: i64,
) -> Result<Vec<Authored>, AuthorError<std::convert::Infallible>> {
    let mut draft = automerge.clone();
    let mut history = History::of(&draft)?;
    let mut merges = Vec::new();
    loop {
        let heads = history.heads();
        if heads.len() <= HEADS_BEFORE_MERGE_MAX {
            return Ok(merges);
        }
        let joined = heads.get(..HEADS_BEFORE_MERGE_MAX).unwrap_or(&heads);
        let mut part = at_heads(&draft, joined)?;
        let hash = part.empty_commit(options(recorded_at_s));
        let raw = raw_change(&part, &hash)?;
        let merge = finish(
            author,
            document,
            Place::Edit,
            &ChangeParts::of(&raw)?,
            &history,
        )?;
        let origin = origin(author, document, Place::Edit);
        history.admit(preflight::check(&merge.bytes, &origin, &history)?);
        let change = automerge::Change::from_bytes(merge.bytes.clone())
            .map_err(|error| AuthorError::Internal(error.to_string()))?;
        draft
            .apply_changes([change])
            .map_err(|error| AuthorError::Internal(error.to_string()))?;
        merges.push(merge);
    }
}

fn zero_actor() -> ActorId {
    ActorId::from([0u8; ACTOR_BYTES])
}

fn origin<'a>(author: &Author, document: DocumentId, place: Place<'a>) -> Origin<'a> {
    Origin {
        scope: author.scope,
        device: author.device,
        document,
        nonce: author.nonce,
        place,
    }
}

fn options(recorded_at_s: i64) -> CommitOptions {
    CommitOptions::default().with_time(recorded_at_s.clamp(-TIME_S_MAX, TIME_S_MAX))
}

/// The document as it was at these heads, ready to be edited under the zero actor.
fn at_heads<E>(automerge: &Automerge, seen: &[ChangeHash]) -> Result<Automerge, AuthorError<E>> {
    let mut wanted: Vec<_> = seen.iter().map(to_automerge).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut heads = automerge.get_heads();
    heads.sort_unstable();
    if heads == wanted {
        return Ok(automerge.clone().with_actor(zero_actor()));
    }
    for hash in seen {
        if automerge
            .get_change_meta_by_hash(&to_automerge(hash))
            .is_none()
        {
            return Err(AuthorError::UnknownHead(*hash));
        }
    }
    automerge
        .fork_at(&wanted)
        .map(|fork| fork.with_actor(zero_actor()))
        .map_err(|error| AuthorError::Internal(error.to_string()))
}

fn commit<E>(
    draft: &mut Automerge,
    recorded_at_s: i64,
    edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), E>,
) -> Result<automerge::ChangeHash, AuthorError<E>> {
    let mut transaction = draft.transaction();
    if let Err(error) = edit(&mut transaction) {
        transaction.rollback();
        return Err(AuthorError::Edit(error));
    }
    let (hash, _) = transaction.commit_with(options(recorded_at_s));
    hash.ok_or(AuthorError::NothingChanged)
}

fn raw_change<E>(
    draft: &Automerge,
    hash: &automerge::ChangeHash,
) -> Result<Vec<u8>, AuthorError<E>> {
    draft
        .get_change_by_hash(hash)
        .map(|change| change.raw_bytes().to_vec())
        .ok_or_else(|| AuthorError::Internal("the change just made is not there".into()))
}

/// Puts the derived actor in the zero actor's place and judges the change like anybody's.
fn finish<E>(
    author: &Author,
    document: DocumentId,
    place: Place<'_>,
    draft: &ChangeParts<'_>,
    history: &History,
) -> Result<Authored, AuthorError<E>> {
    let actor = draft.actor(&author.scope, &document, &author.device, &author.nonce);
    let (bytes, hash) = draft.assemble(&actor);
    preflight::check(&bytes, &origin(author, document, place), history)?;
    Ok(Authored {
        document,
        kind: match place {
            Place::Root(kind) => Some(kind.to_owned()),
            Place::Edit => None,
        },
        nonce: author.nonce,
        bytes,
        hash,
    })
}
