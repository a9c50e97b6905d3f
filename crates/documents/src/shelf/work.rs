//! Work on one document: changes are offered, those that may are applied, the rest is held.

use super::{
    ChangeRow, DocumentRow, HeldRow, History, Holding, OpenedChange, Outcome, Provenance,
    ShelfError, Verdict, rebuild,
};
use crate::preflight::{self, Candidate, Origin, Place};
use crate::row::WaitingRow;
use crate::storage::{Storage, Table, View};
use crate::{Rule, engine, row};
use automerge::Automerge;
use cairn_wire::{ChangeHash, DocumentId, ScopeId, limits};

/// The document as it stood before, and what has passed the pre-flight since.
pub(super) struct Open {
    /// `None` while the document has no row.
    pub(super) before: Option<DocumentRow>,
    pub(super) automerge: Automerge,
    history: History,
    pub(super) passed: Vec<Passed>,
}

/// A change that passed the pre-flight and is to be applied.
#[derive(Clone)]
pub(super) struct Passed {
    pub(super) hash: ChangeHash,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Option<String>,
    pub(super) row: ChangeRow,
    /// It had been held before.
    pub(super) earlier: bool,
}

pub(super) struct Work<'a, S> {
    pub(super) view: View<'a, S>,
    pub(super) scope: &'a ScopeId,
    pub(super) document: DocumentId,
    open: Option<Open>,
    /// The document as it was saved last by this work.
    saved: Option<Automerge>,
    /// It has looked at what waits of an author, which other documents bear on too.
    counted: bool,
    outcomes: Vec<Outcome>,
}

/// What settled work did.
pub(super) struct Settled {
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the document's contents changed.
    pub(super) changed: bool,
    /// The document as it was saved, if it was.
    pub(super) automerge: Option<Automerge>,
    pub(super) counted: bool,
}

impl<'a, S: Storage> Work<'a, S> {
    pub(super) fn new(view: View<'a, S>, scope: &'a ScopeId, document: DocumentId) -> Self {
        Self {
            view,
            scope,
            document,
            open: None,
            saved: None,
            counted: false,
            outcomes: Vec::new(),
        }
    }

    /// Takes one change as far as the pre-flight; it is applied when the work is settled.
    pub(super) fn offer(
        &mut self,
        change: &OpenedChange,
        provenance: &Provenance,
    ) -> Result<(), ShelfError<S::Error>> {
        if let Some(verdict) = self.known(&change.hash, provenance)? {
            self.report(change.hash, verdict, false);
            return Ok(());
        }
        let row = ChangeRow {
            device: provenance.device(),
            nonce: change.nonce,
            provenances: vec![provenance.clone()],
        };
        let kind = change.root.as_ref().map(|root| root.kind.clone());
        let passed = Passed {
            hash: change.hash,
            bytes: change.bytes.clone(),
            kind,
            row,
            earlier: false,
        };
        self.judge(passed)
    }

    /// What is known of a change already; where it stands is added.
    fn known(
        &mut self,
        hash: &ChangeHash,
        provenance: &Provenance,
    ) -> Result<Option<Verdict>, ShelfError<S::Error>> {
        let key = row::change_key(self.scope, &self.document, hash);
        if let Some(bytes) = self.view.get(Table::Changes, &key)? {
            let mut row = ChangeRow::read(&bytes).ok_or(ShelfError::Damaged(Table::Changes))?;
            if row.add(provenance) {
                self.view.writes.put(Table::Changes, key, row.write());
            }
            return Ok(Some(Verdict::AlreadyThere));
        }
        let passed = self.open.iter_mut().flat_map(|open| &mut open.passed);
        for passed in passed {
            if passed.hash == *hash {
                passed.row.add(provenance);
                return Ok(Some(Verdict::AlreadyThere));
            }
        }
        let Some(bytes) = self.view.get(Table::Held, &key)? else {
            return Ok(None);
        };
        let mut held = HeldRow::read(&bytes).ok_or(ShelfError::Damaged(Table::Held))?;
        if held.change.add(provenance) {
            self.view.writes.put(Table::Held, key, held.write());
        }
        Ok(Some(match held.holding {
            Holding::Waiting(dependency) => Verdict::Waiting(dependency),
            Holding::Quarantined(rule) => Verdict::Quarantined(rule),
            Holding::Stuck => Verdict::Stuck,
        }))
    }

    /// Judges a change, and after it whatever waited for it.
    fn judge(&mut self, change: Passed) -> Result<(), ShelfError<S::Error>> {
        let mut queue = vec![change];
        while let Some(change) = queue.pop() {
            let hash = change.hash;
            if self.judge_one(change)? {
                self.release(&hash, &mut queue)?;
            }
        }
        Ok(())
    }

    /// Whether the change passed; if not, it is held.
    fn judge_one(&mut self, change: Passed) -> Result<bool, ShelfError<S::Error>> {
        let origin = Origin {
            scope: *self.scope,
            device: change.row.device,
            document: self.document,
            nonce: change.row.nonce,
            place: change.kind.as_deref().map_or(Place::Edit, Place::Root),
        };
        let candidate = match preflight::read(&change.bytes, &origin) {
            Ok(candidate) => candidate,
            Err(rule) => return self.quarantine(&change, rule).map(|()| false),
        };
        if let Some(dependency) = self.missing(&candidate)? {
            return self.park(&change, dependency).map(|()| false);
        }
        let open = self.open()?;
        match candidate.check(&open.history) {
            Err(rule) => self.quarantine(&change, rule).map(|()| false),
            Ok(checked) => {
                open.history.admit(checked);
                open.passed.push(change);
                Ok(true)
            }
        }
    }

    /// The first dependency that the document does not hold.
    fn missing(
        &self,
        candidate: &Candidate<'_>,
    ) -> Result<Option<ChangeHash>, ShelfError<S::Error>> {
        for dependency in candidate.dependencies() {
            let there = match &self.open {
                Some(open) => open.history.contains(dependency),
                None => {
                    let key = row::change_key(self.scope, &self.document, dependency);
                    self.view.get(Table::Changes, &key)?.is_some()
                }
            };
            if !there {
                return Ok(Some(*dependency));
            }
        }
        Ok(None)
    }

    fn open(&mut self) -> Result<&mut Open, ShelfError<S::Error>> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.load()?,
        };
        Ok(self.open.insert(open))
    }

    fn load(&self) -> Result<Open, ShelfError<S::Error>> {
        let damaged = || ShelfError::Damaged(Table::Documents);
        let key = row::document_key(self.scope, &self.document);
        let Some(bytes) = self.view.get(Table::Documents, &key)? else {
            return Ok(Open {
                before: None,
                automerge: Automerge::new(),
                history: History::new(),
                passed: Vec::new(),
            });
        };
        let row = DocumentRow::read(&bytes).ok_or_else(damaged)?;
        let automerge = engine::load(&row.saved).map_err(|_| damaged())?;
        let history = engine::guarded(|| History::of(&automerge).map_err(|_| engine::Failed))
            .map_err(|_| damaged())?;
        Ok(Open {
            before: Some(row),
            automerge,
            history,
            passed: Vec::new(),
        })
    }

    /// Takes what waited for a change off the shelf, to be judged again.
    fn release(
        &mut self,
        dependency: &ChangeHash,
        queue: &mut Vec<Passed>,
    ) -> Result<(), ShelfError<S::Error>> {
        let prefix = row::awaited_prefix(self.scope, &self.document, dependency);
        for (key, _) in self.view.scan(Table::Awaited, &prefix)? {
            let damaged = || ShelfError::Damaged(Table::Held);
            let hash = row::hash_of_key(&key).ok_or_else(damaged)?;
            self.view.writes.delete(Table::Awaited, key);
            let key = row::change_key(self.scope, &self.document, &hash);
            let bytes = self.view.get(Table::Held, &key)?.ok_or_else(damaged)?;
            let held = HeldRow::read(&bytes).ok_or_else(damaged)?;
            self.view.writes.delete(Table::Held, key);
            self.count_waiting(&held.change, held.bytes.len(), false)?;
            queue.push(Passed {
                hash,
                bytes: held.bytes,
                kind: held.kind,
                row: held.change,
                earlier: true,
            });
        }
        Ok(())
    }

    fn quarantine(&mut self, change: &Passed, rule: Rule) -> Result<(), ShelfError<S::Error>> {
        self.hold(change, Holding::Quarantined(rule), Vec::new());
        self.report(change.hash, Verdict::Quarantined(rule), change.earlier);
        Ok(())
    }

    /// Lets a change wait for a dependency, unless too much of its author does.
    pub(super) fn park(
        &mut self,
        change: &Passed,
        dependency: ChangeHash,
    ) -> Result<(), ShelfError<S::Error>> {
        // What had been taken in before is never put out again for want of room.
        if !self.count_waiting(&change.row, change.bytes.len(), true)? && !change.earlier {
            self.report(change.hash, Verdict::Crowded, false);
            return Ok(());
        }
        self.hold(change, Holding::Waiting(dependency), change.bytes.clone());
        let key = row::awaited_key(self.scope, &self.document, &dependency, &change.hash);
        self.view.writes.put(Table::Awaited, key, Vec::new());
        self.report(change.hash, Verdict::Waiting(dependency), change.earlier);
        Ok(())
    }

    pub(super) fn hold(&mut self, change: &Passed, holding: Holding, bytes: Vec<u8>) {
        let held = HeldRow {
            holding,
            change: change.row.clone(),
            kind: change.kind.clone(),
            bytes,
        };
        let key = row::change_key(self.scope, &self.document, &change.hash);
        self.view.writes.put(Table::Held, key, held.write());
    }

    /// Counts a change of an author in or out. Whether there was room for it; a change that
    /// finds none is counted in only if it had been counted before.
    fn count_waiting(
        &mut self,
        change: &ChangeRow,
        bytes: usize,
        comes: bool,
    ) -> Result<bool, ShelfError<S::Error>> {
        self.counted = true;
        let key = row::waiting_key(self.scope, &change.device);
        let mut waiting = match self.view.get(Table::Waiting, &key)? {
            Some(bytes) => WaitingRow::read(&bytes).ok_or(ShelfError::Damaged(Table::Waiting))?,
            None => WaitingRow::default(),
        };
        let bytes = bytes as u64;
        if comes {
            if waiting.changes >= limits::WAITING_CHANGES_MAX
                || waiting.bytes.saturating_add(bytes) > limits::WAITING_BYTES_MAX
            {
                return Ok(false);
            }
            waiting.changes += 1;
            waiting.bytes += bytes;
        } else {
            waiting.changes = waiting.changes.saturating_sub(1);
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
        }
        if waiting == WaitingRow::default() {
            self.view.writes.delete(Table::Waiting, key);
        } else {
            self.view.writes.put(Table::Waiting, key, waiting.write());
        }
        Ok(true)
    }

    pub(super) fn report(&mut self, hash: ChangeHash, verdict: Verdict, earlier: bool) {
        self.outcomes.push(Outcome {
            document: self.document,
            hash,
            verdict,
            earlier,
        });
    }

    /// Applies what passed.
    pub(super) fn settle(mut self) -> Result<Settled, ShelfError<S::Error>> {
        let mut changed = false;
        while let Some(open) = self.open.take() {
            if open.passed.is_empty() {
                break;
            }
            changed |= self.settle_open(open)?;
        }
        Ok(Settled {
            outcomes: self.outcomes,
            changed,
            automerge: self.saved,
            counted: self.counted,
        })
    }

    fn settle_open(&mut self, open: Open) -> Result<bool, ShelfError<S::Error>> {
        let company = open.before.as_ref().is_some_and(|row| row.stuck);
        let proved = if company {
            Err(engine::Failed)
        } else {
            apply_all(&open)
        };
        let Ok(proved) = proved else {
            return rebuild::rebuild(self, open);
        };
        self.save(open.before, &open.passed, false, proved);
        for change in open.passed {
            self.report(change.hash, Verdict::Applied, change.earlier);
        }
        Ok(true)
    }

    /// Writes the document and the rows of what is newly applied.
    pub(super) fn save(
        &mut self,
        before: Option<DocumentRow>,
        applied: &[Passed],
        stuck: bool,
        proved: engine::Proved,
    ) {
        let engine::Proved { saved, automerge } = proved;
        self.saved = Some(automerge);
        for change in applied {
            let key = row::change_key(self.scope, &self.document, &change.hash);
            self.view
                .writes
                .put(Table::Changes, key, change.row.write());
        }
        let document = match before {
            Some(row) => Some(DocumentRow {
                saved,
                stuck,
                ..row
            }),
            // Only a root can be the first to pass.
            None => applied.first().map(|root| DocumentRow {
                kind: root.kind.clone().unwrap_or_default(),
                root: root.hash,
                creator: root.row.device,
                stuck,
                saved,
            }),
        };
        if let Some(document) = document {
            let key = row::document_key(self.scope, &self.document);
            self.view
                .writes
                .put(Table::Documents, key, document.write());
        }
    }

    /// Judges again what waited for changes that have just come free.
    pub(super) fn release_all(&mut self, freed: &[ChangeHash]) -> Result<(), ShelfError<S::Error>> {
        for hash in freed {
            let mut queue = Vec::new();
            self.release(hash, &mut queue)?;
            for change in queue {
                self.judge(change)?;
            }
        }
        Ok(())
    }
}

/// All of them, one by one, on a copy; then the proof.
fn apply_all(open: &Open) -> Result<engine::Proved, engine::Failed> {
    let mut copy = open.automerge.clone();
    for change in &open.passed {
        engine::apply(&mut copy, &change.bytes, &change.hash)?;
    }
    engine::prove(&copy)
}
