//! Rebuilding a document on which Automerge fails: ancestors first, then by hash, leaving out what
//! fails and all that rests on it. Every replica that holds the same changes gets the same.

use super::work::{Open, Passed, Work};
use super::{ChangeRow, HeldRow, Holding, ShelfError, Verdict};
use crate::chunk::Chunk;
use crate::storage::{Storage, Table};
use crate::{Rule, engine, row, to_automerge};
use automerge::Automerge;
use cairn_wire::ChangeHash;
use std::collections::{BTreeMap, HashSet};

/// Where a change stood before the rebuild.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stood {
    Applied,
    Stuck,
    New,
}

struct Piece {
    change: Passed,
    dependencies: Vec<ChangeHash>,
    stood: Stood,
}

/// How a change came out of the rebuild.
enum Fate {
    Applied,
    Stuck,
    Quarantined,
    Waiting(ChangeHash),
}

/// Rebuilds and writes; whether the document's contents changed.
pub(super) fn rebuild<S: Storage>(
    work: &mut Work<'_, S>,
    open: Open,
) -> Result<bool, ShelfError<S::Error>> {
    let mut pieces = collect(work, &open)?;
    let (automerge, order, fates) = sort_out(&pieces);
    let mut changed = false;
    let mut freed = Vec::new();
    let mut applied = Vec::new();
    let mut any_stuck = false;

    // In the order in which they were applied, so that the root is the first.
    let rest: Vec<_> = pieces
        .keys()
        .filter(|hash| !order.contains(hash))
        .copied()
        .collect();
    for hash in order.into_iter().chain(rest) {
        let (Some(piece), Some(fate)) = (pieces.remove(&hash), fates.get(&hash)) else {
            continue;
        };
        let key = row::change_key(work.scope, &work.document, &hash);
        let earlier = piece.stood != Stood::New || piece.change.earlier;
        changed |= (piece.stood == Stood::Applied) != matches!(fate, Fate::Applied);
        if piece.stood == Stood::Applied && !matches!(fate, Fate::Applied) {
            work.view.writes.delete(Table::Changes, key.clone());
        }
        if piece.stood == Stood::Stuck && !matches!(fate, Fate::Stuck) {
            work.view.writes.delete(Table::Held, key);
        }
        match fate {
            Fate::Applied => {
                if piece.stood != Stood::Applied {
                    work.report(hash, Verdict::Applied, earlier);
                    freed.push(hash);
                }
                applied.push(piece.change);
            }
            Fate::Stuck => {
                any_stuck = true;
                let bytes = piece.change.bytes.clone();
                work.hold(&piece.change, Holding::Stuck, bytes);
                work.report(hash, Verdict::Stuck, earlier);
            }
            Fate::Quarantined => {
                let holding = Holding::Quarantined(Rule::Engine);
                work.hold(&piece.change, holding, Vec::new());
                work.report(hash, Verdict::Quarantined(Rule::Engine), earlier);
            }
            Fate::Waiting(dependency) => {
                let change = Passed {
                    earlier,
                    ..piece.change
                };
                work.park(&change, *dependency)?;
            }
        }
    }
    if let Ok(proved) = engine::prove(&automerge)
        && !applied.is_empty()
    {
        work.save(open.before, &applied, any_stuck, proved);
    }
    work.release_all(&freed)?;
    Ok(changed)
}

/// Every change that is, was or should be part of the document.
fn collect<S: Storage>(
    work: &Work<'_, S>,
    open: &Open,
) -> Result<BTreeMap<ChangeHash, Piece>, ShelfError<S::Error>> {
    let mut pieces = BTreeMap::new();
    let mut add = |change: Passed, stood| {
        if let Ok(chunk) = Chunk::split(&change.bytes) {
            let dependencies = chunk.dependencies;
            let piece = Piece {
                change,
                dependencies,
                stood,
            };
            pieces.insert(piece.change.hash, piece);
        }
    };
    let prefix = row::document_key(work.scope, &work.document);
    let mut rows = BTreeMap::new();
    for (key, bytes) in work.view.scan(Table::Changes, &prefix)? {
        let row = row::hash_of_key(&key).zip(ChangeRow::read(&bytes));
        let (hash, row) = row.ok_or(ShelfError::Damaged(Table::Changes))?;
        rows.insert(hash, row);
    }
    for change in open.automerge.get_changes(&[]) {
        let hash = crate::from_automerge(&change.hash());
        let is_root = change.deps().is_empty();
        let kind = open.before.as_ref().map(|row| row.kind.clone());
        let passed = Passed {
            hash,
            bytes: change.raw_bytes().to_vec(),
            kind: kind.filter(|_| is_root),
            row: rows
                .remove(&hash)
                .ok_or(ShelfError::Damaged(Table::Changes))?,
            earlier: true,
        };
        add(passed, Stood::Applied);
    }
    for (key, bytes) in work.view.scan(Table::Held, &prefix)? {
        let held = row::hash_of_key(&key).zip(HeldRow::read(&bytes));
        let (hash, held) = held.ok_or(ShelfError::Damaged(Table::Held))?;
        if held.holding == Holding::Stuck {
            let passed = Passed {
                hash,
                bytes: held.bytes,
                kind: held.kind,
                row: held.change,
                earlier: true,
            };
            add(passed, Stood::Stuck);
        }
    }
    for change in &open.passed {
        add(change.clone(), Stood::New);
    }
    Ok(pieces)
}

/// Applies what can be applied: of those whose ancestors are all there, always the one with the
/// smallest hash.
fn sort_out(
    pieces: &BTreeMap<ChangeHash, Piece>,
) -> (Automerge, Vec<ChangeHash>, BTreeMap<ChangeHash, Fate>) {
    let mut automerge = Automerge::new();
    let mut order = Vec::new();
    let mut applied = HashSet::new();
    let mut fates = BTreeMap::new();
    loop {
        let next = pieces.iter().find(|(hash, piece)| {
            !fates.contains_key(*hash) && piece.dependencies.iter().all(|on| applied.contains(on))
        });
        let Some((hash, piece)) = next else { break };
        let fate = match with_change(&automerge, piece) {
            Ok(grown) => {
                automerge = grown;
                applied.insert(*hash);
                order.push(*hash);
                Fate::Applied
            }
            Err(engine::Failed) => alone(&automerge, piece),
        };
        fates.insert(*hash, fate);
    }
    for (hash, piece) in pieces {
        let missing = piece.dependencies.iter().find(|on| !applied.contains(*on));
        if let (false, Some(missing)) = (fates.contains_key(hash), missing) {
            fates.insert(*hash, Fate::Waiting(*missing));
        }
    }
    (automerge, order, fates)
}

fn with_change(automerge: &Automerge, piece: &Piece) -> Result<Automerge, engine::Failed> {
    let mut grown = engine::guarded(|| Ok(automerge.clone()))?;
    engine::apply(&mut grown, &piece.change.bytes, &piece.change.hash)?;
    engine::prove(&grown)?;
    Ok(grown)
}

/// A change that fails is tried on its ancestors alone: failing there too it is quarantined.
fn alone(automerge: &Automerge, piece: &Piece) -> Fate {
    let heads: Vec<_> = piece.dependencies.iter().map(to_automerge).collect();
    let ancestors = engine::guarded(|| automerge.fork_at(&heads).map_err(|_| engine::Failed));
    match ancestors.and_then(|ancestors| with_change(&ancestors, piece)) {
        Ok(_) => Fate::Stuck,
        Err(engine::Failed) => Fate::Quarantined,
    }
}
