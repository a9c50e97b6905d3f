//! The shelf: documents over a storage, and what becomes of each change that arrives.
//!
//! A change passes the pre-flight, is applied to a copy, is seen there, and the copy is read,
//! saved, loaded and read again before it takes the document's place. What lacks dependencies
//! waits; what breaks a rule is quarantined; what fails only in company is stuck, and the document
//! is then rebuilt in an order that every replica finds: ancestors first, then by hash. Nothing is
//! written here: all writes go into the caller's [`WriteSet`], to be committed with its own.

use crate::batch::OpenedChange;
use crate::history::History;
use crate::row::{ChangeRow, DocumentRow, HeldRow, Holding};
use crate::storage::{Storage, Table, View, WriteSet};
use crate::{Rule, engine, row};
use automerge::Automerge;
use cairn_wire::{AuthorityRef, ChangeHash, DeviceKey, DocumentId, EntryId, LogId, ScopeId};
use std::collections::HashMap;
use std::ops::ControlFlow;

mod many;
mod rebuild;
mod skipped;
#[cfg(test)]
mod tests;
mod work;

pub use many::{IngestedAndRead, ReadDocument};
pub use skipped::SkippedChange;
use work::{Settled, Work};

/// Where a change stands. A change that stands in several entries is trusted if one of them is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provenance {
    /// In this device's own outbox, not yet sealed.
    Outbox {
        /// This device.
        device: DeviceKey,
    },
    /// In an entry.
    Entry {
        /// The entry's log, and so its author.
        log: LogId,
        /// The entry's number.
        number: u64,
        /// The entry's id.
        id: EntryId,
        /// The authority entry that its author knew.
        authority: AuthorityRef,
    },
}

impl Provenance {
    /// The author.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        match self {
            Self::Outbox { device } => *device,
            Self::Entry { log, .. } => log.device,
        }
    }

    fn assert_in(&self, scope: &ScopeId) {
        if let Self::Entry { log, .. } = self {
            assert_eq!(log.scope, *scope, "an entry's changes belong to its scope");
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the document now.
    Applied,
    /// It was part of the document before.
    AlreadyThere,
    /// It is kept until this dependency comes.
    Waiting(ChangeHash),
    /// It breaks a rule: kept in its entry, shown, never applied.
    Quarantined(Rule),
    /// It fails only in company: kept, and tried again with every change that arrives.
    Stuck,
    /// Too much of its author waits already. Nothing was written about it: offer its entry again
    /// when less waits.
    Crowded,
}

/// What became of which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The document.
    pub document: DocumentId,
    /// The change.
    pub hash: ChangeHash,
    /// What became of it.
    pub verdict: Verdict,
    /// It was not offered now: it waited or was stuck, or had been applied and is stuck now.
    pub earlier: bool,
}

/// What became of everything that was offered, and of what it released.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingested {
    /// One for each change offered, and one for each earlier change whose state changed.
    pub outcomes: Vec<Outcome>,
    /// Documents whose contents changed, each once.
    pub changed: Vec<DocumentId>,
}

impl Ingested {
    fn add(&mut self, document: DocumentId, outcomes: Vec<Outcome>, changed: bool) {
        self.outcomes.extend(outcomes);
        if changed {
            self.changed.push(document);
        }
    }
}

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError<E> {
    /// The storage failed.
    #[error("reading documents failed: {0}")]
    Storage(#[from] E),
    /// A row is not what was written: documents must be rebuilt from their entries.
    #[error("a row of the table {0:?} is damaged")]
    Damaged(Table),
}

/// A change of a loaded document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownChange {
    /// Its hash.
    pub hash: ChangeHash,
    /// Its author.
    pub device: DeviceKey,
    /// When its author's clock said it was made, in seconds since 1970; believed by nobody.
    pub recorded_at_s: i64,
    /// The changes it rests on.
    pub dependencies: Vec<ChangeHash>,
    /// Where it stands, sorted.
    pub provenances: Vec<Provenance>,
}

/// Why a change is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldState {
    /// It waits for this dependency.
    Waiting(ChangeHash),
    /// It breaks a rule.
    Quarantined(Rule),
    /// It fails only in company.
    Stuck,
}

/// A change that is kept but not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChange {
    /// The document it is for.
    pub document: DocumentId,
    /// Its hash.
    pub hash: ChangeHash,
    /// Its author.
    pub device: DeviceKey,
    /// Why it is held.
    pub state: HeldState,
    /// Where it stands, sorted.
    pub provenances: Vec<Provenance>,
}

/// A document as it stands on the shelf.
#[derive(Debug, Clone)]
pub struct LoadedDocument {
    /// Its kind.
    pub kind: String,
    /// The device that made it.
    pub creator: DeviceKey,
    /// Its first change.
    pub root: ChangeHash,
    /// The document.
    pub automerge: Automerge,
    /// Its heads, sorted.
    pub heads: Vec<ChangeHash>,
    /// Its changes, each after all that it rests on.
    pub changes: Vec<KnownChange>,
    /// What is kept for it but not applied, by hash.
    pub held: Vec<HeldChange>,
    /// Of these, the stuck ones and what rests on them: past the pre-flight, each after what it
    /// rests on. Safety readings count what they assert.
    pub skipped: Vec<SkippedChange>,
}

/// Documents over a storage.
#[derive(Debug)]
pub struct Documents<'a, S> {
    storage: &'a S,
}

impl<'a, S: Storage> Documents<'a, S> {
    /// The documents that this storage keeps.
    #[must_use]
    pub fn new(storage: &'a S) -> Self {
        Self { storage }
    }

    /// Takes in changes that stand in one entry, or in the outbox, of one scope.
    ///
    /// Reads see what `writes` holds already, so several entries may be taken in before one commit.
    /// On an error `writes` may hold a part: drop it.
    ///
    /// # Panics
    /// If the provenance is an entry of another scope, which is an error of the caller's.
    pub fn ingest(
        &self,
        scope: &ScopeId,
        provenance: &Provenance,
        changes: &[OpenedChange],
        writes: &mut WriteSet,
    ) -> Result<Ingested, ShelfError<S::Error>> {
        provenance.assert_in(scope);
        let mut ingested = Ingested::default();
        for (document, group) in by_document(changes) {
            let view = View {
                storage: self.storage,
                before: None,
                writes,
            };
            let settled = take_in(view, scope, document, &group, provenance)?;
            ingested.add(document, settled.outcomes, settled.changed);
        }
        Ok(ingested)
    }

    /// A document with its changes and what is held for it.
    pub fn load(
        &self,
        scope: &ScopeId,
        document: &DocumentId,
    ) -> Result<Option<LoadedDocument>, ShelfError<S::Error>> {
        let key = row::document_key(scope, document);
        let Some(bytes) = self.storage.get(Table::Documents, &key)? else {
            return Ok(None);
        };
        let damaged = || ShelfError::Damaged(Table::Documents);
        let row = DocumentRow::read(&bytes).ok_or_else(damaged)?;
        let automerge = engine::load(&row.saved).map_err(|_| damaged())?;
        let rows = self.change_rows(&key)?;
        let held = self.held_rows(&key)?;
        loaded(scope, document, row, automerge, &rows, held).map(Some)
    }

    /// Every document of a scope with its kind, by id.
    pub fn list(&self, scope: &ScopeId) -> Result<Vec<(DocumentId, String)>, ShelfError<S::Error>> {
        let mut documents = Vec::new();
        let mut damaged = false;
        self.storage
            .scan(Table::Documents, &scope.0, &mut |key, bytes| {
                let kind = DocumentRow::read(bytes).map(|row| row.kind);
                match row::document_of_key(key).zip(kind) {
                    Some(document) => documents.push(document),
                    None => damaged = true,
                }
                ControlFlow::Continue(())
            })?;
        if damaged {
            return Err(ShelfError::Damaged(Table::Documents));
        }
        Ok(documents)
    }

    /// Every change of a scope that is kept but not applied, by document and hash.
    pub fn held(&self, scope: &ScopeId) -> Result<Vec<HeldChange>, ShelfError<S::Error>> {
        let mut held = Vec::new();
        self.each_held(scope, &mut |change| held.push(change))?;
        held.sort_by_key(|change| (change.document, change.hash));
        Ok(held)
    }

    /// Calls `visit` with each of them, in no order that means anything.
    pub fn each_held(
        &self,
        scope: &ScopeId,
        visit: &mut dyn FnMut(HeldChange),
    ) -> Result<(), ShelfError<S::Error>> {
        let mut damaged = false;
        self.storage
            .each(Table::Held, &scope.0, &mut |key, bytes| {
                match held_item(key, bytes) {
                    Some(item) => visit(held_change(&item)),
                    None => damaged = true,
                }
                ControlFlow::Continue(())
            })?;
        if damaged {
            return Err(ShelfError::Damaged(Table::Held));
        }
        Ok(())
    }

    /// Whether a change is applied, and where it stands; `None` where it is held or unknown.
    pub fn provenances(
        &self,
        scope: &ScopeId,
        document: &DocumentId,
        hash: &ChangeHash,
    ) -> Result<Option<Vec<Provenance>>, ShelfError<S::Error>> {
        let key = row::change_key(scope, document, hash);
        self.storage
            .get(Table::Changes, &key)?
            .map(|bytes| {
                ChangeRow::read(&bytes)
                    .map(|row| row.provenances)
                    .ok_or(ShelfError::Damaged(Table::Changes))
            })
            .transpose()
    }

    fn change_rows(
        &self,
        prefix: &[u8],
    ) -> Result<HashMap<ChangeHash, ChangeRow>, ShelfError<S::Error>> {
        let mut rows = HashMap::new();
        let mut damaged = false;
        self.storage
            .scan(Table::Changes, prefix, &mut |key, bytes| {
                let item = change_item(key, bytes);
                damaged |= item.is_none();
                rows.extend(item);
                ControlFlow::Continue(())
            })?;
        if damaged {
            return Err(ShelfError::Damaged(Table::Changes));
        }
        Ok(rows)
    }

    fn held_rows(&self, prefix: &[u8]) -> Result<Vec<HeldItem>, ShelfError<S::Error>> {
        let mut held = Vec::new();
        let mut damaged = false;
        self.storage.scan(Table::Held, prefix, &mut |key, bytes| {
            let item = held_item(key, bytes);
            damaged |= item.is_none();
            held.extend(item);
            ControlFlow::Continue(())
        })?;
        if damaged {
            return Err(ShelfError::Damaged(Table::Held));
        }
        Ok(held)
    }
}

type HeldItem = (DocumentId, ChangeHash, HeldRow);

fn change_item(key: &[u8], bytes: &[u8]) -> Option<(ChangeHash, ChangeRow)> {
    row::hash_of_key(key).zip(ChangeRow::read(bytes))
}

fn held_item(key: &[u8], bytes: &[u8]) -> Option<HeldItem> {
    let names = row::document_of_key(key).zip(row::hash_of_key(key));
    let ((document, hash), row) = names.zip(HeldRow::read(bytes))?;
    Some((document, hash, row))
}

/// Changes by document, in the order of each one's first.
fn by_document(changes: &[OpenedChange]) -> Vec<(DocumentId, Vec<&OpenedChange>)> {
    let mut groups: Vec<(DocumentId, Vec<&OpenedChange>)> = Vec::new();
    let mut positions = HashMap::new();
    for change in changes {
        let at = *positions.entry(change.document).or_insert_with(|| {
            groups.push((change.document, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(at) {
            group.push(change);
        }
    }
    groups
}

/// Takes in the changes of one document.
fn take_in<S: Storage>(
    view: View<'_, S>,
    scope: &ScopeId,
    document: DocumentId,
    changes: &[&OpenedChange],
    provenance: &Provenance,
) -> Result<Settled, ShelfError<S::Error>> {
    let mut work = Work::new(view, scope, document);
    for change in changes {
        work.offer(change, provenance)?;
    }
    work.settle()
}

/// A document as its rows give it.
fn loaded<E>(
    scope: &ScopeId,
    document: &DocumentId,
    row: DocumentRow,
    automerge: Automerge,
    rows: &HashMap<ChangeHash, ChangeRow>,
    held: Vec<HeldItem>,
) -> Result<LoadedDocument, ShelfError<E>> {
    let mut changes = Vec::with_capacity(rows.len());
    for change in automerge.get_changes_meta(&[]) {
        let hash = crate::from_automerge(&change.hash);
        let row = rows.get(&hash).ok_or(ShelfError::Damaged(Table::Changes))?;
        changes.push(KnownChange {
            hash,
            device: row.device,
            recorded_at_s: change.timestamp,
            dependencies: change.deps.iter().map(crate::from_automerge).collect(),
            provenances: row.provenances.clone(),
        });
    }
    let mut loaded = LoadedDocument {
        kind: row.kind,
        creator: row.creator,
        root: row.root,
        heads: automerge
            .get_heads()
            .iter()
            .map(crate::from_automerge)
            .collect(),
        automerge,
        changes,
        held: held.iter().map(held_change).collect(),
        skipped: Vec::new(),
    };
    if row.stuck {
        let held = held.into_iter().map(|(_, hash, row)| (hash, row));
        loaded.skipped = skipped::skipped(scope, document, &loaded, held.collect())?;
    }
    Ok(loaded)
}

fn held_change((document, hash, row): &HeldItem) -> HeldChange {
    HeldChange {
        document: *document,
        hash: *hash,
        device: row.change.device,
        state: match row.holding {
            Holding::Waiting(dependency) => HeldState::Waiting(dependency),
            Holding::Quarantined(rule) => HeldState::Quarantined(rule),
            Holding::Stuck => HeldState::Stuck,
        },
        provenances: row.change.provenances.clone(),
    }
}
