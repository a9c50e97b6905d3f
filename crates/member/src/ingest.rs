//! From journals to documents: opening entries, applying what is in them, remembering how far.
//!
//! One write set for each run of items, so after a crash the tables are those of one moment and
//! reading goes on from the position that they name. What is applied twice is applied once.

use crate::Member;
use crate::catalogue::{self, FreshLine};
use crate::contents::Contents;
use crate::error::MemberError;
use crate::line::{Line, each_line, summarise, summarise_loaded};
use crate::overlay::Overlay;
use crate::tables::{Kept, Tables, Writes, locked_key, locked_prefix};
use cairn_documents::{
    Documents, LoadedDocument, OpenedChange, Provenance, Verdict, WriteSet, batch,
};
use cairn_keys::authority::AuthorityEntry;
use cairn_keys::{Body, Leaf, Membership, Position, open_entry};
use cairn_records::Record;
use cairn_replica::JournalItem;
use cairn_store::Store;
use cairn_wire::Entry;
use cairn_wire::codec;
use cairn_wire::entry::FORMAT_VERSION;
use cairn_wire::frame::{JournalMark, ScopeLane};
use cairn_wire::ids::{DocumentId, EntryId, ScopeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::{slice, thread};

/// Entry bytes that become visible together.
const CHUNK_BYTES: usize = 256 * 1024;
/// Authority bytes that are looked at a time.
const AUTHORITY_BYTES: usize = 256 * 1024;
/// Number under which entries are remembered of which too much waits already. No key has it.
const CROWDED: u32 = u32::MAX;

/// Threads that read records at most, and records that one reads before another is worth it.
const READING_THREADS_MAX: usize = 4;
const READ_ALONE: usize = 64;

/// Given each record that was touched, as it will read.
pub(crate) type SeeRecord<'a> = &'a mut dyn FnMut(&Line, Option<&Record>);

/// Gives an entry from wherever the journals are; the store is that of the tables.
pub type FindEntry<'a> =
    &'a mut dyn FnMut(&dyn Store, &EntryId) -> Result<Option<Entry>, MemberError>;

/// What taking in entries did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Entries read.
    pub entries: u64,
    /// Changes that are part of their documents now and were not before.
    pub changes_applied: u64,
    /// Changes that were there before.
    pub changes_known: u64,
    /// Changes that wait for others.
    pub changes_waiting: u64,
    /// Changes set aside because they break a rule, and places in entries where none could be made out.
    pub changes_quarantined: u64,
    /// Changes that fail in company of others.
    pub changes_stuck: u64,
    /// Entries whose key is not held: opened when it comes.
    pub entries_locked: u64,
    /// Entries that do not open or do not read although the key is held.
    pub entries_unreadable: u64,
    /// Documents whose contents changed.
    pub documents_changed: BTreeSet<(ScopeId, DocumentId)>,
    /// An entry of this device's own log came back that it does not know: its store was copied or
    /// restored. It seals under a new incarnation from now on.
    pub own_log_returned: bool,
}

impl Ingested {
    /// Adds what another run did.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.changes_applied += other.changes_applied;
        self.changes_known += other.changes_known;
        self.changes_waiting += other.changes_waiting;
        self.changes_quarantined += other.changes_quarantined;
        self.changes_stuck += other.changes_stuck;
        self.entries_locked += other.entries_locked;
        self.entries_unreadable += other.entries_unreadable;
        self.documents_changed.extend(other.documents_changed);
        self.own_log_returned |= other.own_log_returned;
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryState {
    /// Opened and taken in. Changes in it may still wait: the documents know.
    Opened,
    /// The key is not held.
    Locked,
    /// It, or a place in it, could not be read.
    Spoilt,
    /// Too much of its author waits; it is offered again.
    Crowded,
}

/// What is remembered of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    pub(crate) of: ScopeLane,
    /// Its position in the journal that it was taken from.
    pub(crate) position: u64,
    /// Its number in its log.
    pub(crate) number: u64,
    /// The entry before it.
    pub(crate) previous: EntryId,
    /// Changes in it, as far as it was opened.
    pub(crate) changes: u32,
    pub(crate) state: EntryState,
}

impl EntryRow {
    pub(crate) fn read(tables: &Tables<'_>, id: &EntryId) -> Result<Option<Self>, MemberError> {
        let row = tables.read(Kept::Entries, &id.0)?;
        Ok(row.map(|bytes| codec::decode(&bytes)).transpose()?)
    }

    fn write(&self, id: &EntryId, writes: &mut Writes) {
        writes.put(Kept::Entries, id.0.to_vec(), codec::encode(self));
    }
}

/// Key of the row that says how far a journal has been applied.
pub(crate) fn applied_key(of: ScopeLane) -> Vec<u8> {
    let mut key = of.scope.0.to_vec();
    key.push(of.lane.as_byte());
    key
}

/// Key of the row that says up to which number the outbox has been applied.
pub(crate) const APPLIED_OUTBOX: &[u8] = b"outbox";
/// Key of the row that says from which height on the authority's log is to be looked at for what moves
/// trust.
pub(crate) const TRUST_LOOKED: &[u8] = b"trust looked";
/// Key of the row that says that an entry named an authority entry which is not held.
const UNKNOWN_AUTHORITY: &[u8] = b"unknown authority";
/// Key of the row that says that an entry came on which the trust in others of its log may hang.
const TRUST_HANGS: &[u8] = b"trust hangs";
/// Records that are read anew together.
const REREAD_DOCUMENTS: usize = 256;
/// Key of the row that says that an own log came back.
pub(crate) const OWN_LOG_RETURNED: &[u8] = b"own log returned";

impl Member {
    /// How far a journal has been applied here: give [`Self::ingest`] what follows.
    pub fn applied(&self, tables: &dyn Store, of: ScopeLane) -> Result<JournalMark, MemberError> {
        let row = self.tables(tables).read(Kept::Applied, &applied_key(of))?;
        Ok(match row {
            Some(bytes) => codec::decode(&bytes)?,
            None => JournalMark::default(),
        })
    }

    /// Forgets how far a journal has been applied, because it is another one now: its owner restored
    /// it, or lost a part. What it gives again is known already.
    pub fn forget_applied(&self, tables: &mut dyn Store, of: ScopeLane) -> Result<(), MemberError> {
        let mut writes = Writes::default();
        writes.delete(Kept::Applied, applied_key(of));
        tables.apply(writes.seal(&self.table_key))?;
        Ok(())
    }

    /// Takes in items of a journal, in its order, beginning with the one after [`Self::applied`]
    /// (earlier ones are skipped).
    pub fn ingest(
        &self,
        tables: &mut dyn Store,
        of: ScopeLane,
        items: &[JournalItem],
        membership: &Membership,
    ) -> Result<Ingested, MemberError> {
        let applied = self.applied(tables, of)?;
        let mut next = applied.position;
        let mut ingested = Ingested::default();
        let mut rest: Vec<&JournalItem> = items
            .iter()
            .filter(|item| item.after.position > applied.position)
            .collect();
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest
                .iter()
                .take_while(|item| {
                    let fits = bytes < CHUNK_BYTES;
                    bytes += item.entry.bytes().len();
                    fits
                })
                .count();
            let chunk: Vec<_> = rest.drain(..count).collect();
            let mut run = Run::new(self, tables, membership);
            for item in &chunk {
                if item.after.position != next + 1 {
                    return Err(MemberError::Internal(format!(
                        "a journal was given from position {} on, it is applied up to {next}",
                        item.after.position
                    )));
                }
                next = item.after.position;
                run.journal_item(of, item)?;
            }
            if let Some(last) = chunk.last() {
                let mark = codec::encode(&last.after);
                run.writes.put(Kept::Applied, applied_key(of), mark);
            }
            let (writes, part) = run.finish(None)?;
            tables.apply(writes)?;
            ingested.add(part);
        }
        Ok(ingested)
    }

    /// Opens again what waited for a key that is held now, or for room. `entry` gives an entry from
    /// wherever the journals are.
    pub fn retry_locked(
        &self,
        tables: &mut dyn Store,
        membership: &Membership,
        entry: FindEntry<'_>,
    ) -> Result<Ingested, MemberError> {
        let mut waiting: Vec<EntryId> = Vec::new();
        let keys: Vec<_> = self
            .keyring
            .keys()
            .map(|key| (key.scope(), key.number()))
            .collect();
        let scopes: BTreeSet<ScopeId> = keys.iter().map(|(scope, _)| *scope).collect();
        let crowded = scopes.into_iter().map(|scope| (scope, CROWDED));
        for (scope, number) in keys.into_iter().chain(crowded) {
            let prefix = locked_prefix(&scope, number);
            self.tables(tables)
                .each(Kept::Locked, &prefix, &mut |key, _| {
                    waiting.extend(key.get(32..).and_then(EntryId::from_slice));
                    Ok(true)
                })?;
        }
        let mut ingested = Ingested::default();
        for ids in waiting.chunks(4) {
            let mut entries = Vec::with_capacity(ids.len());
            for id in ids {
                entries.extend(entry(tables, id)?);
            }
            let mut run = Run::new(self, tables, membership);
            for entry in &entries {
                run.again(entry)?;
            }
            let (writes, part) = run.finish(None)?;
            tables.apply(writes)?;
            ingested.add(part);
        }
        Ok(ingested)
    }
}

impl Member {
    /// Reads every record anew where the authority has since said something that moves trust (a
    /// revocation, a right withdrawn, leaves accepted), for lists keep readings. Its log is the one that
    /// `store` holds.
    pub fn reread_after_trust_moved(
        &self,
        store: &mut dyn Store,
        membership: &Membership,
    ) -> Result<(), MemberError> {
        let looked: Option<u64> = self
            .tables(store)
            .read(Kept::Applied, TRUST_LOOKED)?
            .map(|bytes| codec::decode(&bytes))
            .transpose()?;
        let mut next = looked.unwrap_or(0);
        let mut moved = false;
        loop {
            let entries = store.authority_entries(next, AUTHORITY_BYTES)?;
            if entries.is_empty() || membership.id_at(next).is_none() {
                break;
            }
            next += entries.len() as u64;
            moved |= entries.iter().any(|bytes| moves_trust(bytes));
        }
        let hangs = self
            .tables(store)
            .read(Kept::Applied, TRUST_HANGS)?
            .is_some();
        if looked == Some(next) && !hangs {
            return Ok(());
        }
        let unknown = self.tables(store).read(Kept::Applied, UNKNOWN_AUTHORITY)?;
        let mut writes = Writes::default();
        // Without a row, all that is listed was read just now.
        if hangs || (looked.is_some() && (moved || unknown.is_some())) {
            self.reread(store, membership)?;
            writes.delete(Kept::Applied, TRUST_HANGS.to_vec());
        }
        if looked != Some(next) {
            writes.delete(Kept::Applied, UNKNOWN_AUTHORITY.to_vec());
        }
        writes.put(Kept::Applied, TRUST_LOOKED.to_vec(), codec::encode(&next));
        store.apply(writes.seal(&self.table_key))?;
        Ok(())
    }

    fn reread(&self, store: &mut dyn Store, membership: &Membership) -> Result<(), MemberError> {
        let mut documents = Vec::new();
        each_line(&self.tables(store), None, &mut |line| {
            documents.push((line.scope, line.id));
            Ok(true)
        })?;
        for some in documents.chunks(REREAD_DOCUMENTS) {
            let mut run = Run::new(self, store, membership);
            run.touched.extend(some.iter().copied());
            let (writes, _) = run.finish(None)?;
            store.apply(writes)?;
        }
        Ok(())
    }
}

fn moves_trust(authority_entry: &[u8]) -> bool {
    !AuthorityEntry::parse(authority_entry).is_ok_and(|entry| {
        matches!(
            entry.body,
            Body::Founded { .. }
                | Body::ScopeCreated { .. }
                | Body::ScopeKeyRotated { .. }
                | Body::MemberSet(_)
                | Body::SingletonFixed { .. }
        )
    })
}

/// One run: what it reads, and what it will write.
pub(crate) struct Run<'a> {
    member: &'a Member,
    tables: Tables<'a>,
    store: &'a dyn Store,
    membership: &'a Membership,
    documents: WriteSet,
    pub(crate) writes: Writes,
    ingested: Ingested,
    /// Whether records are kept beside their lines, for [`Self::finish`] to show.
    pub(crate) keeps_records: bool,
    /// Documents as they are now, read while they were loaded.
    lines: BTreeMap<(ScopeId, DocumentId), (FreshLine, Option<Record>)>,
    /// Documents whose lines are still to be read.
    touched: BTreeSet<(ScopeId, DocumentId)>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        member: &'a Member,
        store: &'a dyn Store,
        membership: &'a Membership,
    ) -> Self {
        Self {
            member,
            tables: member.tables(store),
            store,
            membership,
            documents: WriteSet::new(),
            writes: Writes::default(),
            ingested: Ingested::default(),
            keeps_records: false,
            lines: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    fn journal_item(&mut self, of: ScopeLane, item: &JournalItem) -> Result<(), MemberError> {
        let header = item.entry.header();
        let mut row = EntryRow {
            of,
            position: item.after.position - 1,
            number: header.number,
            previous: header.previous,
            changes: 0,
            state: EntryState::Opened,
        };
        let id = item.entry.id();
        let own_life = header.log.device == self.member.device()
            && header.log.incarnation == self.store.incarnation();
        if own_life && !item.origins.is_empty() && EntryRow::read(&self.tables, &id)?.is_none() {
            self.ingested.own_log_returned = true;
            self.writes
                .put(Kept::Applied, OWN_LOG_RETURNED.to_vec(), vec![1]);
        }
        if self.trust_hangs_on_leaves(&item.entry) {
            self.writes
                .put(Kept::Applied, TRUST_HANGS.to_vec(), vec![1]);
        }
        self.ingested.entries += 1;
        self.open(&item.entry, &mut row)?;
        row.write(&id, &mut self.writes);
        Ok(())
    }

    /// Does the authority's word on this entry depend on which leaves reach it? Then it may itself be
    /// the missing link to one, and what came before it may read differently now.
    fn trust_hangs_on_leaves(&self, entry: &Entry) -> bool {
        let position = Position::of(entry);
        let word = |reached: bool| {
            let reaches = |_: &Leaf| reached;
            (
                self.membership.verified(&position, &reaches),
                self.membership.entitled_to_decide(&position, &reaches),
            )
        };
        word(true) != word(false)
    }

    fn again(&mut self, entry: &Entry) -> Result<(), MemberError> {
        let id = entry.id();
        let Some(mut row) = EntryRow::read(&self.tables, &id)? else {
            return Ok(());
        };
        let header = entry.header();
        let scope = header.log.scope;
        self.writes
            .delete(Kept::Locked, locked_key(&scope, header.key_number, &id));
        self.writes
            .delete(Kept::Locked, locked_key(&scope, CROWDED, &id));
        row.state = EntryState::Opened;
        self.open(entry, &mut row)?;
        row.write(&id, &mut self.writes);
        Ok(())
    }

    /// Opens an entry and takes in what it holds; `row` says afterwards what became of it.
    fn open(&mut self, entry: &Entry, row: &mut EntryRow) -> Result<(), MemberError> {
        let header = entry.header();
        let scope = header.log.scope;
        if !self.membership.knows(header.authority) {
            self.writes
                .put(Kept::Applied, UNKNOWN_AUTHORITY.to_vec(), vec![1]);
        }
        let Some(key) = self.member.keyring.for_entry(header) else {
            self.ingested.entries_locked += 1;
            row.state = EntryState::Locked;
            let key = locked_key(&scope, header.key_number, &entry.id());
            self.writes.put(Kept::Locked, key, Vec::new());
            return Ok(());
        };
        // What a later format holds is not guessed at: a reader that knows it opens it.
        let known = header.version == FORMAT_VERSION;
        let opened = known
            .then(|| open_entry(entry, key).ok())
            .flatten()
            .and_then(|plain| batch::decode(&plain, &scope, &header.log.device).ok());
        let Some(items) = opened else {
            self.ingested.entries_unreadable += 1;
            self.spoilt(&scope, entry, row);
            return Ok(());
        };
        row.changes = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut changes = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Ok(change) => changes.push(change),
                Err(_) => {
                    self.ingested.changes_quarantined += 1;
                    self.spoilt(&scope, entry, row);
                }
            }
        }
        if header.log.device == self.member.device() {
            let contents = Contents::of_own(&changes).encode(&scope);
            let key = entry.id().0.to_vec();
            self.writes.put(Kept::EntryContents, key, contents);
        }
        let provenance = Provenance::Entry {
            log: header.log,
            number: header.number,
            id: entry.id(),
            authority: header.authority,
        };
        let reads_as_before = self.reads_as_before(&provenance)?;
        let verdicts = self.changes_of(&scope, &provenance, &changes, reads_as_before)?;
        if verdicts.contains(&Verdict::Crowded) {
            row.state = EntryState::Crowded;
            let key = locked_key(&scope, CROWDED, &entry.id());
            self.writes.put(Kept::Locked, key, Vec::new());
        }
        Ok(())
    }

    /// Does an own change read as it did in the outbox, now that it stands in this entry too? Then the
    /// lines of what was there before need no second look.
    fn reads_as_before(&self, provenance: &Provenance) -> Result<bool, MemberError> {
        let Provenance::Entry { log, .. } = provenance else {
            return Ok(false);
        };
        if log.device != self.member.device() {
            return Ok(false);
        }
        let trust = self.member.trust(self.store, self.membership);
        let before = Provenance::Outbox { device: log.device };
        Ok(trust.word(&log.scope, &[before])?
            == trust.word(&log.scope, slice::from_ref(provenance))?)
    }

    fn spoilt(&mut self, scope: &ScopeId, entry: &Entry, row: &mut EntryRow) {
        row.state = EntryState::Spoilt;
        let key = [scope.0.as_slice(), entry.id().0.as_slice()].concat();
        self.writes.put(Kept::Spoilt, key, Vec::new());
    }

    /// Takes in changes that stand in one place. Answers what became of those that were offered.
    pub(crate) fn changes(
        &mut self,
        scope: &ScopeId,
        provenance: &Provenance,
        changes: &[OpenedChange],
    ) -> Result<Vec<Verdict>, MemberError> {
        self.changes_of(scope, provenance, changes, false)
    }

    fn changes_of(
        &mut self,
        scope: &ScopeId,
        provenance: &Provenance,
        changes: &[OpenedChange],
        reads_as_before: bool,
    ) -> Result<Vec<Verdict>, MemberError> {
        let trust = self.member.trust(self.store, self.membership);
        let read = |document: &DocumentId, loaded: LoadedDocument| {
            summarise_loaded(&loaded, &trust, scope, document)
                .map(|(line, record)| (line, record.filter(|_| self.keeps_records)))
        };
        let (ingested, lines) = Documents::new(&self.tables)
            .ingest_and_read(
                scope,
                provenance,
                changes,
                threads(),
                &mut self.documents,
                &read,
            )
            .map_err(MemberError::from_shelf)?;
        let mut verdicts = Vec::with_capacity(changes.len());
        for outcome in &ingested.outcomes {
            let counted = match outcome.verdict {
                Verdict::Applied => &mut self.ingested.changes_applied,
                Verdict::AlreadyThere => &mut self.ingested.changes_known,
                Verdict::Waiting(_) | Verdict::Crowded => &mut self.ingested.changes_waiting,
                Verdict::Quarantined(_) => &mut self.ingested.changes_quarantined,
                Verdict::Stuck => &mut self.ingested.changes_stuck,
            };
            *counted += 1;
            if outcome.earlier {
                continue;
            }
            // Where a change stands bears on how it reads, even where it was there before.
            if outcome.verdict != Verdict::AlreadyThere || !reads_as_before {
                self.lines.remove(&(*scope, outcome.document));
                self.touched.insert((*scope, outcome.document));
            }
            verdicts.push(outcome.verdict);
        }
        for document in ingested.changed {
            self.ingested.documents_changed.insert((*scope, document));
            self.touched.insert((*scope, document));
        }
        for (document, line) in lines {
            self.touched.remove(&(*scope, document));
            self.lines.insert((*scope, document), line?);
        }
        Ok(verdicts)
    }

    /// Brings the lists up to date, and gives away what is to be written. `seen` is given each record
    /// that was touched, as it will read; without it many records are read by several threads.
    pub(crate) fn finish(
        mut self,
        seen: Option<SeeRecord<'_>>,
    ) -> Result<(cairn_store::WriteSet, Ingested), MemberError> {
        let overlay = Overlay::new(self.tables, &self.documents);
        let lines = std::mem::take(&mut self.lines);
        let mut fresh = Vec::with_capacity(lines.len() + self.touched.len());
        match seen {
            Some(seen) => {
                if self.keeps_records {
                    for (line, record) in lines.into_values() {
                        seen(&line.line, record.as_ref());
                        fresh.push(line);
                    }
                } else {
                    self.touched.extend(lines.into_keys());
                }
                let trust = self.member.trust(self.store, self.membership);
                for (scope, document) in &self.touched {
                    if let Some((line, record)) = summarise(&overlay, &trust, scope, document)? {
                        seen(&line.line, record.as_ref());
                        fresh.push(line);
                    }
                }
            }
            None => {
                let touched: Vec<_> = self.touched.iter().copied().collect();
                fresh.extend(lines.into_values().map(|(line, _)| line));
                fresh.extend(self.read_lines(&overlay, &touched)?);
            }
        }
        catalogue::put(&self.tables, fresh, &mut self.writes)?;
        self.writes.documents(&self.documents);
        Ok((self.writes.seal(&self.member.table_key), self.ingested))
    }

    /// The lines of many documents.
    fn read_lines(
        &self,
        overlay: &Overlay<'_>,
        touched: &[(ScopeId, DocumentId)],
    ) -> Result<Vec<FreshLine>, MemberError> {
        let read = |some: &[(ScopeId, DocumentId)]| -> Result<Vec<FreshLine>, MemberError> {
            let trust = self.member.trust(self.store, self.membership);
            let mut lines = Vec::with_capacity(some.len());
            for (scope, document) in some {
                let summarised = summarise(overlay, &trust, scope, document)?;
                lines.extend(summarised.map(|(line, _)| line));
            }
            Ok(lines)
        };
        let threads = threads().min(touched.len() / READ_ALONE + 1);
        let part = touched.len().div_ceil(threads).max(1);
        if threads == 1 {
            return read(touched);
        }
        let read = &read;
        thread::scope(|scope| {
            let parts: Vec<_> = touched
                .chunks(part)
                .map(|some| scope.spawn(move || read(some)))
                .collect();
            let mut lines = Vec::with_capacity(touched.len());
            for part in parts {
                let part = part
                    .join()
                    .map_err(|_| MemberError::Internal("reading records panicked".into()))?;
                lines.extend(part?);
            }
            Ok(lines)
        })
    }
}

/// Threads that documents are taken in and read by.
fn threads() -> usize {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    threads.min(READING_THREADS_MAX)
}
