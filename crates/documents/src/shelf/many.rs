//! Many documents at once: taken in and read by several threads.
//!
//! Documents bear on each other in one row only: how much of an author waits. So each is taken in over
//! what is written already, into a write set of its own; one that looked at that row is taken in
//! again, in its turn. What comes out is what one thread would have written.

use super::work::Settled;
use super::{
    ChangeRow, DocumentRow, HeldRow, Ingested, LoadedDocument, OpenedChange, Provenance,
    ShelfError, by_document, change_item, held_item, loaded, take_in,
};
use crate::storage::{Storage, Table, View, WriteSet};
use crate::{Documents, engine, row};
use automerge::Automerge;
use cairn_wire::{ChangeHash, DocumentId, ScopeId};
use std::collections::HashMap;
use std::{panic, thread};

/// Documents that one thread takes in before another is worth it.
const ALONE: usize = 32;

/// Given each document whose contents changed, as it stands then.
pub type ReadDocument<'a, R> = &'a (dyn Fn(&DocumentId, LoadedDocument) -> R + Sync);

/// What became of the changes, and what was answered about each document that they changed.
pub type IngestedAndRead<R> = (Ingested, Vec<(DocumentId, R)>);

/// A document that was taken in.
struct Done<R> {
    settled: Settled,
    writes: WriteSet,
    read: Option<R>,
}

/// What all documents are taken in with.
struct Task<'a, S, R> {
    storage: &'a S,
    scope: &'a ScopeId,
    provenance: &'a Provenance,
    read: ReadDocument<'a, R>,
}

type Group<'a> = (DocumentId, Vec<&'a OpenedChange>);

impl<S: Storage + Sync> Documents<'_, S> {
    /// [`Documents::ingest`] by up to `threads` threads. Each document whose contents changed is given
    /// to `read` while it is loaded, in no particular order; what that answers is given back.
    ///
    /// # Panics
    /// As [`Documents::ingest`] does, and if `read` does.
    pub fn ingest_and_read<R: Send>(
        &self,
        scope: &ScopeId,
        provenance: &Provenance,
        changes: &[OpenedChange],
        threads: usize,
        writes: &mut WriteSet,
        read: ReadDocument<'_, R>,
    ) -> Result<IngestedAndRead<R>, ShelfError<S::Error>> {
        provenance.assert_in(scope);
        let task = Task {
            storage: self.storage,
            scope,
            provenance,
            read,
        };
        let groups = by_document(changes);
        let done = task.by_threads(&groups, threads, writes)?;
        let mut ingested = Ingested::default();
        let mut answers = Vec::new();
        for (group, mut done) in groups.iter().zip(done) {
            if done.settled.counted {
                done = task.one(group, writes)?;
            }
            writes.append(done.writes);
            ingested.add(group.0, done.settled.outcomes, done.settled.changed);
            answers.extend(done.read.map(|read| (group.0, read)));
        }
        Ok((ingested, answers))
    }
}

impl<S: Storage + Sync, R: Send> Task<'_, S, R> {
    /// In the order of `groups`.
    fn by_threads(
        &self,
        groups: &[Group<'_>],
        threads: usize,
        before: &WriteSet,
    ) -> Result<Vec<Done<R>>, ShelfError<S::Error>> {
        let some = |groups: &[Group<'_>]| -> Result<Vec<Done<R>>, ShelfError<S::Error>> {
            groups.iter().map(|group| self.one(group, before)).collect()
        };
        let threads = threads.min(groups.len() / ALONE + 1);
        if threads <= 1 {
            return some(groups);
        }
        let some = &some;
        thread::scope(|scope| {
            let parts: Vec<_> = groups
                .chunks(groups.len().div_ceil(threads))
                .map(|part| scope.spawn(move || some(part)))
                .collect();
            let mut done = Vec::with_capacity(groups.len());
            for part in parts {
                let part = part.join().unwrap_or_else(|why| panic::resume_unwind(why));
                done.extend(part?);
            }
            Ok(done)
        })
    }

    /// Takes in the changes of one document, and reads it if that changed it.
    fn one(
        &self,
        (document, changes): &Group<'_>,
        before: &WriteSet,
    ) -> Result<Done<R>, ShelfError<S::Error>> {
        let mut writes = WriteSet::new();
        let view = View {
            storage: self.storage,
            before: Some(before),
            writes: &mut writes,
        };
        let mut settled = take_in(view, self.scope, *document, changes, self.provenance)?;
        let mut read = None;
        if settled.changed {
            let view = View {
                storage: self.storage,
                before: Some(before),
                writes: &mut writes,
            };
            let automerge = settled.automerge.take();
            let loaded = load(&view, self.scope, document, automerge)?;
            read = loaded.map(|loaded| (self.read)(document, loaded));
        }
        Ok(Done {
            settled,
            writes,
            read,
        })
    }
}

/// A document as a view holds it; `automerge` is what its row was just proved to load as.
fn load<S: Storage>(
    view: &View<'_, S>,
    scope: &ScopeId,
    document: &DocumentId,
    automerge: Option<Automerge>,
) -> Result<Option<LoadedDocument>, ShelfError<S::Error>> {
    let key = row::document_key(scope, document);
    let Some(bytes) = view.get(Table::Documents, &key)? else {
        return Ok(None);
    };
    let damaged = || ShelfError::Damaged(Table::Documents);
    let row = DocumentRow::read(&bytes).ok_or_else(damaged)?;
    let automerge = match automerge {
        Some(automerge) => automerge,
        None => engine::load(&row.saved).map_err(|_| damaged())?,
    };
    let rows: Option<HashMap<ChangeHash, ChangeRow>> = view
        .scan(Table::Changes, &key)?
        .iter()
        .map(|(key, bytes)| change_item(key, bytes))
        .collect();
    let rows = rows.ok_or(ShelfError::Damaged(Table::Changes))?;
    let held: Option<Vec<(DocumentId, ChangeHash, HeldRow)>> = view
        .scan(Table::Held, &key)?
        .iter()
        .map(|(key, bytes)| held_item(key, bytes))
        .collect();
    let held = held.ok_or(ShelfError::Damaged(Table::Held))?;
    loaded(scope, document, row, automerge, &rows, held).map(Some)
}
