//! What a document with a stuck change leaves out although it passed: the stuck changes and what
//! rests on them. Safety readings still count what they assert.

use super::{HeldRow, Holding, KnownChange, LoadedDocument, ShelfError};
use crate::History;
use crate::engine;
use crate::preflight::{self, Origin, Place};
use cairn_wire::{ChangeHash, DocumentId, ScopeId};
use std::collections::HashMap;

/// A change that passed the pre-flight and that Automerge cannot apply in company.
#[derive(Debug, Clone)]
pub struct SkippedChange {
    /// What is known of it.
    pub known: KnownChange,
    /// The change itself.
    pub change: automerge::Change,
}

/// The skipped changes among those held, each after what it rests on.
pub(super) fn skipped<E>(
    scope: &ScopeId,
    document: &DocumentId,
    loaded: &LoadedDocument,
    held: Vec<(ChangeHash, HeldRow)>,
) -> Result<Vec<SkippedChange>, ShelfError<E>> {
    let damaged = || ShelfError::Damaged(crate::Table::Held);
    let automerge = &loaded.automerge;
    let mut history = engine::guarded(|| History::of(automerge).map_err(|_| engine::Failed))
        .map_err(|_| damaged())?;
    let mut waiting: HashMap<ChangeHash, Vec<(ChangeHash, HeldRow)>> = HashMap::new();
    let mut ready = Vec::new();
    for (hash, row) in held {
        match row.holding {
            Holding::Stuck => ready.push((hash, row)),
            Holding::Waiting(on) => waiting.entry(on).or_default().push((hash, row)),
            Holding::Quarantined(_) => {}
        }
    }
    // The last is taken first: keep to the order of hashes.
    ready.reverse();

    let mut skipped = Vec::new();
    while let Some((hash, row)) = ready.pop() {
        let origin = Origin {
            scope: *scope,
            device: row.change.device,
            document: *document,
            nonce: row.change.nonce,
            place: Place::Edit,
        };
        let Ok(candidate) = preflight::read(&row.bytes, &origin) else {
            continue;
        };
        let missing = candidate
            .dependencies()
            .iter()
            .find(|on| !history.contains(on));
        if let Some(on) = missing.copied() {
            waiting.entry(on).or_default().push((hash, row));
            continue;
        }
        let dependencies = candidate.dependencies().to_vec();
        let Ok(checked) = candidate.check(&history) else {
            continue;
        };
        let change = engine::guarded(|| {
            automerge::Change::from_bytes(row.bytes.clone()).map_err(|_| engine::Failed)
        })
        .map_err(|_| damaged())?;
        skipped.push(SkippedChange {
            known: KnownChange {
                hash,
                device: row.change.device,
                recorded_at_s: checked.recorded_at_s(),
                dependencies,
                provenances: row.change.provenances,
            },
            change,
        });
        history.admit(checked);
        ready.extend(waiting.remove(&hash).unwrap_or_default());
    }
    Ok(skipped)
}
