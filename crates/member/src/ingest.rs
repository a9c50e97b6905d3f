//! From journals to documents: opening entries, applying what is in them, remembering how far.
//!
//! Items are taken in by runs, each with one write set, so after a crash the tables are those of one
//! moment and reading goes on from the position that they name. A run ends where it grew large, even
//! within an entry: then its first changes stand in the tables before the row that says what became of
//! it, and a crash has it taken in again. What is applied twice is applied once.

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
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::{slice, thread};

/// Bytes of documents' rows after which a run ends. All that it holds, the index's own copies included,
/// was measured at twenty times as much.
const RUN_BYTES: usize = 512 * 1024;
/// Changes, and documents of them, that are taken in before a run is looked at again.
const PART_CHANGES_MAX: usize = 1024;
const PART_DOCUMENTS_MAX: usize = 256;
/// Authority bytes that are looked at a time.
const AUTHORITY_BYTES: usize = 256 * 1024;
/// Number under which entries are remembered of which too much waits already. No key has it.
pub(crate) const CROWDED: u32 = u32::MAX;

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

/// Begins the next entry in a run, if there is one.
type BeginEntry<'a> = &'a mut dyn FnMut(&mut Run<'_>) -> Option<Result<Opening, MemberError>>;

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
        let rest = items
            .iter()
            .filter(|item| item.after.position > applied.position);
        let rest: Vec<&JournalItem> = rest.collect();
        for (item, next) in rest.iter().zip(applied.position + 1..) {
            if item.after.position != next {
                return Err(MemberError::Internal(format!(
                    "a journal was given at position {}, it is applied up to {}",
                    item.after.position,
                    next - 1
                )));
            }
        }
        let mut rest = rest.into_iter();
        self.in_runs(tables, membership, &mut |run| {
            rest.next().map(|item| run.journal_item(of, item))
        })
    }

    /// Takes in entries until `next`, which begins them, gives none, by as many runs as it takes.
    fn in_runs(
        &self,
        tables: &mut dyn Store,
        membership: &Membership,
        next: BeginEntry<'_>,
    ) -> Result<Ingested, MemberError> {
        let mut ingested = Ingested::default();
        let mut begun: Option<Opening> = None;
        let mut more = true;
        while more {
            let mut run = Run::new(self, tables, membership);
            let mut something = false;
            while !run.is_full() {
                let opening = match begun.take() {
                    Some(opening) => Some(opening),
                    None => next(&mut run).transpose()?,
                };
                let Some(mut opening) = opening else {
                    more = false;
                    break;
                };
                something = true;
                if run.take_part(&mut opening)? {
                    begun = Some(opening);
                } else {
                    run.finish_entry(opening);
                }
            }
            if something {
                let (writes, part) = run.finish(None)?;
                tables.apply(writes)?;
                ingested.add(part);
            }
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
            let mut entries = entries.iter();
            let part = self.in_runs(tables, membership, &mut |run| {
                entries.find_map(|entry| run.again(entry).transpose())
            })?;
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

/// An entry of which a part is taken in.
struct Opening {
    id: EntryId,
    scope: ScopeId,
    provenance: Provenance,
    row: EntryRow,
    /// Those of one document stand together.
    changes: Vec<OpenedChange>,
    /// So many of them are taken in.
    taken: usize,
    reads_as_before: bool,
    /// What is written, in this order, once all is taken in; until then it is as if nothing were.
    at_last: Vec<(Kept, Vec<u8>, Option<Vec<u8>>)>,
}

impl Opening {
    fn waits_for(&mut self, number: u32, state: EntryState) {
        self.row.state = state;
        let key = locked_key(&self.scope, number, &self.id);
        self.at_last.push((Kept::Locked, key, Some(Vec::new())));
    }

    fn is_spoilt(&mut self) {
        self.row.state = EntryState::Spoilt;
        let key = [self.scope.0.as_slice(), self.id.0.as_slice()].concat();
        self.at_last.push((Kept::Spoilt, key, Some(Vec::new())));
    }
}

/// Changes with those of one document together, else in their order.
fn by_document(mut changes: Vec<OpenedChange>) -> Vec<OpenedChange> {
    let mut order: HashMap<DocumentId, usize> = HashMap::new();
    for change in &changes {
        let next = order.len();
        order.entry(change.document).or_insert(next);
    }
    changes.sort_by_key(|change| order.get(&change.document).copied());
    changes
}

/// How many of these are taken in at a time: whole documents, unless one has too many changes.
fn part_len(changes: &[OpenedChange]) -> usize {
    let mut documents = 0;
    let mut whole = 0;
    for group in changes.chunk_by(|one, next| one.document == next.document) {
        documents += 1;
        if documents > PART_DOCUMENTS_MAX || whole + group.len() > PART_CHANGES_MAX {
            break;
        }
        whole += group.len();
    }
    match whole {
        0 => changes.len().min(PART_CHANGES_MAX),
        whole => whole,
    }
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

    fn is_full(&self) -> bool {
        self.documents.bytes() >= RUN_BYTES
    }

    fn journal_item(&mut self, of: ScopeLane, item: &JournalItem) -> Result<Opening, MemberError> {
        let header = item.entry.header();
        let row = EntryRow {
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
        let mut opening = self.open(&item.entry, row)?;
        let mark = codec::encode(&item.after);
        let mark = (Kept::Applied, applied_key(of), Some(mark));
        opening.at_last.push(mark);
        Ok(opening)
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

    fn again(&mut self, entry: &Entry) -> Result<Option<Opening>, MemberError> {
        let id = entry.id();
        let Some(mut row) = EntryRow::read(&self.tables, &id)? else {
            return Ok(None);
        };
        row.state = EntryState::Opened;
        let mut opening = self.open(entry, row)?;
        let header = entry.header();
        let waits = [header.key_number, CROWDED]
            .map(|number| locked_key(&header.log.scope, number, &id))
            .map(|key| (Kept::Locked, key, None));
        // What it waits for now, if it does, is written after these.
        opening.at_last.splice(0..0, waits);
        Ok(Some(opening))
    }

    /// Opens an entry, to be taken in part by part.
    fn open(&mut self, entry: &Entry, row: EntryRow) -> Result<Opening, MemberError> {
        let header = entry.header();
        let scope = header.log.scope;
        let mut opening = Opening {
            provenance: Provenance::Entry {
                log: header.log,
                number: header.number,
                id: entry.id(),
                authority: header.authority,
            },
            id: entry.id(),
            scope,
            row,
            changes: Vec::new(),
            taken: 0,
            reads_as_before: false,
            at_last: Vec::new(),
        };
        if !self.membership.knows(header.authority) {
            self.writes
                .put(Kept::Applied, UNKNOWN_AUTHORITY.to_vec(), vec![1]);
        }
        let Some(key) = self.member.keyring.for_entry(header) else {
            self.ingested.entries_locked += 1;
            opening.waits_for(header.key_number, EntryState::Locked);
            return Ok(opening);
        };
        // What a later format holds is not guessed at: a reader that knows it opens it.
        let known = header.version == FORMAT_VERSION;
        let opened = known
            .then(|| open_entry(entry, key).ok())
            .flatten()
            .and_then(|plain| batch::decode(&plain, &scope, &header.log.device).ok());
        let Some(items) = opened else {
            self.ingested.entries_unreadable += 1;
            opening.is_spoilt();
            return Ok(opening);
        };
        opening.row.changes = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut changes = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Ok(change) => changes.push(change),
                Err(_) => {
                    self.ingested.changes_quarantined += 1;
                    opening.is_spoilt();
                }
            }
        }
        if header.log.device == self.member.device() {
            let contents = Contents::of_own(&changes).encode(&scope);
            let key = entry.id().0.to_vec();
            self.writes.put(Kept::EntryContents, key, contents);
        }
        opening.reads_as_before = self.reads_as_before(&opening.provenance)?;
        opening.changes = by_document(changes);
        Ok(opening)
    }

    /// Takes in the next changes of an entry. Answers whether there are more.
    fn take_part(&mut self, opening: &mut Opening) -> Result<bool, MemberError> {
        let rest = opening.changes.get(opening.taken..).unwrap_or_default();
        let count = part_len(rest);
        let part = rest.get(..count).unwrap_or_default();
        let verdicts = self.changes_of(
            &opening.scope,
            &opening.provenance,
            part,
            opening.reads_as_before,
        )?;
        opening.taken += count;
        if verdicts.contains(&Verdict::Crowded) {
            opening.waits_for(CROWDED, EntryState::Crowded);
        }
        Ok(opening.taken < opening.changes.len())
    }

    /// Writes what became of an entry that is wholly taken in.
    fn finish_entry(&mut self, opening: Opening) {
        opening.row.write(&opening.id, &mut self.writes);
        for (kept, key, value) in opening.at_last {
            match value {
                Some(value) => self.writes.put(kept, key, value),
                None => self.writes.delete(kept, key),
            }
        }
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
        self.writes.documents(self.documents);
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
