//! The outbox: changes that are saved on this device and stand in no entry yet.
//!
//! A frame holds one batch, sealed under its scope's newest key or, before that scope's grant has
//! come, under a key that only this device has (number 0). When a session begins, frames are opened,
//! regrouped per scope and lane, and sealed into as few entries as hold them.

use crate::Member;
use crate::contents::{Contents, frame_key};
use crate::error::MemberError;
use crate::ingest::{APPLIED_OUTBOX, Ingested, OWN_LOG_RETURNED, Run};
use crate::tables::{Kept, Writes};
use cairn_documents::{
    Authored, Documents, MalformedChange, OpenedChange, PackedBatch, Provenance, RootPreimage,
    batch,
};
use cairn_keys::sealing::{BEFORE_GRANT, ENTRY_PLAINTEXT_BYTES_MAX, open_outbox, seal_outbox};
use cairn_keys::{Membership, ScopeKey, Standing, seal_entry};
use cairn_store::{OutboxFrame, Store};
use cairn_wire::entry::FORMAT_VERSION;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, Incarnation, Lane, ScopeId};
use cairn_wire::{Entry, EntryHeader};
use std::collections::{BTreeMap, HashSet};

/// Outbox bytes that are regrouped at a time …
const ROUND_BYTES: usize = 4 * 1024 * 1024;
/// … and where sealing may be stopped in between.
const SHORT_ROUND_BYTES: usize = 256 * 1024;
/// The least that entries are asked to be: smaller ones compress too badly.
const ENTRY_BYTES_MIN: usize = 4 * 1024;
/// How hard frames are compressed: they are opened and sealed again soon.
const FRAME_LEVEL: i32 = 3;

/// What sealing the outbox did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Entries made.
    pub entries: u64,
    /// Changes in them.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// It was stopped before everything was sealed.
    pub stopped: bool,
    /// Frames that wait for a key, or for membership.
    pub frames_waiting: u64,
    /// Frames that do not open: their key is lost. They are kept.
    pub frames_unreadable: u64,
    /// A new incarnation was begun before sealing, because an own log had forked or come back.
    pub new_incarnation: bool,
}

/// How much to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLimits {
    /// One lane only.
    pub lane: Option<Lane>,
    /// What a payload holds at most; one change alone may be longer.
    pub payload_bytes_max: usize,
    /// Outbox bytes that are regrouped at a time.
    round_bytes: usize,
}

impl SealLimits {
    /// As much as there is, in entries as large as may be.
    #[must_use]
    pub fn all(lane: Option<Lane>) -> Self {
        Self {
            lane,
            payload_bytes_max: ENTRY_PLAINTEXT_BYTES_MAX,
            round_bytes: ROUND_BYTES,
        }
    }

    /// In pieces, so that it can be stopped between them; of entries that are a quarter of `byte_budget`
    /// at most, for one that is larger than what is left of it cannot travel.
    #[must_use]
    pub fn within(byte_budget: Option<u64>) -> Self {
        let quarter = byte_budget.map_or(usize::MAX, |budget| {
            usize::try_from(budget / 4).unwrap_or(usize::MAX)
        });
        Self {
            lane: None,
            payload_bytes_max: quarter.clamp(ENTRY_BYTES_MIN, ENTRY_PLAINTEXT_BYTES_MAX),
            round_bytes: SHORT_ROUND_BYTES,
        }
    }
}

impl Member {
    /// Seals unsealed changes into entries, `lane` only or all. Random bytes for a new incarnation, in
    /// case this device's log turned out to have another writer: a copy of it, or itself before a
    /// restore. What cannot be sealed yet (no key, no member yet) stays.
    ///
    /// Durable when it returns. After a crash in between, changes that stand in an own entry already
    /// are not sealed again.
    pub fn seal_outbox(
        &self,
        store: &mut dyn Store,
        lane: Option<Lane>,
        fresh: Incarnation,
    ) -> Result<Sealed, MemberError> {
        self.seal_outbox_some(store, fresh, SealLimits::all(lane), &mut |_| true)
    }

    /// The same, urgent first, as long as `go_on` says so of what was sealed. It is asked between pieces.
    pub fn seal_outbox_some(
        &self,
        store: &mut dyn Store,
        fresh: Incarnation,
        limits: SealLimits,
        go_on: &mut dyn FnMut(&Sealed) -> bool,
    ) -> Result<Sealed, MemberError> {
        let mut sealed = Sealed::default();
        if store.outbox_len() == 0 {
            return Ok(sealed);
        }
        if store.membership().standing(&self.device()) == Standing::Unknown {
            sealed.frames_waiting = store.outbox_len();
            return Ok(sealed);
        }
        sealed.new_incarnation = self.begin_anew_if_forked(store, fresh)?;
        for lane in Lane::ALL {
            if limits.lane.is_some_and(|only| only != lane) {
                continue;
            }
            let mut from = 0;
            loop {
                let frames = store.outbox(from, limits.round_bytes)?;
                let Some(last) = frames.last() else {
                    break;
                };
                from = last.number + 1;
                let mut groups: BTreeMap<ScopeId, Vec<OutboxFrame>> = BTreeMap::new();
                for frame in frames.into_iter().filter(|frame| frame.lane == lane) {
                    groups.entry(frame.scope).or_default().push(frame);
                }
                for (scope, frames) in groups {
                    if !go_on(&sealed) {
                        sealed.stopped = true;
                        return Ok(sealed);
                    }
                    let of = ScopeLane { scope, lane };
                    self.seal_group(store, of, &frames, limits, &mut sealed)?;
                }
            }
        }
        Ok(sealed)
    }

    fn seal_group(
        &self,
        store: &mut dyn Store,
        of: ScopeLane,
        frames: &[OutboxFrame],
        limits: SealLimits,
        sealed: &mut Sealed,
    ) -> Result<(), MemberError> {
        let Some(key) = self.keyring.newest(&of.scope) else {
            sealed.frames_waiting += frames.len() as u64;
            return Ok(());
        };
        let mut numbers = Vec::with_capacity(frames.len());
        let mut changes = Vec::new();
        let mut seen = HashSet::new();
        for frame in frames {
            let Some(opened) = self.open_frame(frame) else {
                sealed.frames_unreadable += 1;
                continue;
            };
            numbers.push(frame.number);
            for change in opened {
                if seen.insert(change.hash)
                    && !self.stands_in_own_entry(store, &of.scope, &change)?
                {
                    changes.push(authored(change));
                }
            }
        }
        if numbers.is_empty() {
            return Ok(());
        }
        let entries = self.entries(store, of, key, &changes, limits.payload_bytes_max)?;
        sealed.entries += entries.len() as u64;
        sealed.bytes += entries
            .iter()
            .map(|it| it.bytes().len() as u64)
            .sum::<u64>();
        sealed.changes += changes.len() as u64;
        let mut writes = Writes::default();
        for number in &numbers {
            writes.delete(Kept::OutboxContents, frame_key(*number));
        }
        store.seal_outbox(&numbers, entries, writes.seal(&self.table_key))?;
        Ok(())
    }

    fn entries(
        &self,
        store: &dyn Store,
        of: ScopeLane,
        key: &ScopeKey,
        changes: &[Authored],
        payload_bytes_max: usize,
    ) -> Result<Vec<Entry>, MemberError> {
        let next = store.next_own(of)?;
        let mut header = EntryHeader {
            version: FORMAT_VERSION,
            programme: store.programme(),
            log: next.log,
            number: next.number,
            previous: next.previous,
            authority: store.authority_head(),
            key_number: key.number(),
            payload_bytes: 0,
        };
        let mut entries = Vec::new();
        for packed in pack(changes, payload_bytes_max, batch::SEALING_LEVEL)? {
            let entry = seal_entry(&self.secret, key, &header, &packed.bytes)
                .map_err(|error| MemberError::Internal(error.to_string()))?;
            header.number += 1;
            header.previous = entry.id();
            entries.push(entry);
        }
        Ok(entries)
    }

    fn stands_in_own_entry(
        &self,
        store: &dyn Store,
        scope: &ScopeId,
        change: &OpenedChange,
    ) -> Result<bool, MemberError> {
        let tables = self.tables(store);
        let provenances = Documents::new(&tables)
            .provenances(scope, &change.document, &change.hash)
            .map_err(MemberError::from_shelf)?;
        let own = |provenance: &Provenance| match provenance {
            Provenance::Entry { log, .. } => log.device == self.device(),
            Provenance::Outbox { .. } => false,
        };
        Ok(provenances.is_some_and(|places| places.iter().any(own)))
    }

    /// Begins a new incarnation if the log of this one has another writer.
    fn begin_anew_if_forked(
        &self,
        store: &mut dyn Store,
        fresh: Incarnation,
    ) -> Result<bool, MemberError> {
        let (device, incarnation) = (self.device(), store.incarnation());
        let forked = store.journals().into_iter().any(|of| {
            let mut forked = store.forked_logs(of).into_iter();
            forked.any(|log| log.device == device && log.incarnation == incarnation)
        });
        let returned = self
            .tables(store)
            .read(Kept::Applied, OWN_LOG_RETURNED)?
            .is_some();
        if !forked && !returned {
            return Ok(false);
        }
        store.set_incarnation(fresh)?;
        let mut writes = Writes::default();
        writes.delete(Kept::Applied, OWN_LOG_RETURNED.to_vec());
        store.apply(writes.seal(&self.table_key))?;
        tracing::warn!("another copy of this device has written; it continues in a new log");
        Ok(true)
    }

    /// Frames for changes of one scope and lane, and what is in each.
    pub(crate) fn frames(
        &self,
        of: ScopeLane,
        first_number: u64,
        changes: &[OpenedChange],
        authored: &[Authored],
    ) -> Result<Vec<(OutboxFrame, Contents)>, MemberError> {
        let before = ScopeKey::new(of.scope, BEFORE_GRANT, &self.table_key.before_grant());
        let key = self.keyring.newest(&of.scope).unwrap_or(&before);
        Ok(pack(authored, ENTRY_PLAINTEXT_BYTES_MAX, FRAME_LEVEL)?
            .into_iter()
            .zip(first_number..)
            .map(|(packed, number)| {
                let within: HashSet<_> = packed.hashes.iter().collect();
                let within = changes.iter().filter(|it| within.contains(&it.hash));
                let frame = OutboxFrame {
                    scope: of.scope,
                    lane: of.lane,
                    key_number: key.number(),
                    number,
                    sealed: seal_outbox(key, number, &packed.bytes),
                };
                (frame, Contents::of_own(within))
            })
            .collect())
    }

    /// The changes in a frame, `None` if it does not open.
    pub(crate) fn open_frame(&self, frame: &OutboxFrame) -> Option<Vec<OpenedChange>> {
        let before = ScopeKey::new(frame.scope, BEFORE_GRANT, &self.table_key.before_grant());
        let key = match frame.key_number {
            BEFORE_GRANT => &before,
            number => self.keyring.get(&frame.scope, number)?,
        };
        let plain = open_outbox(&frame.sealed, key).ok()?;
        let items = batch::decode(&plain, &frame.scope, &self.device()).ok()?;
        items
            .into_iter()
            .collect::<Result<Vec<OpenedChange>, MalformedChange>>()
            .ok()
    }

    /// Takes in outbox frames that the tables do not show yet: after a crash, or a rebuild.
    pub(crate) fn replay_outbox(
        &self,
        store: &mut dyn Store,
        membership: &Membership,
    ) -> Result<Ingested, MemberError> {
        let mut ingested = Ingested::default();
        let mut from = self.applied_outbox(store)? + 1;
        loop {
            let frames = store.outbox(from, ROUND_BYTES / 8)?;
            let Some(last) = frames.last() else {
                self.mend_outbox_contents(store)?;
                return Ok(ingested);
            };
            from = last.number + 1;
            let mut run = Run::new(self, store, membership);
            for frame in &frames {
                let contents = match self.open_frame(frame) {
                    Some(changes) => {
                        run.changes(&frame.scope, &outbox_of(self.device()), &changes)?;
                        Contents::of_own(&changes)
                    }
                    None => Contents::unknown(),
                };
                let key = frame_key(frame.number);
                run.writes
                    .put(Kept::OutboxContents, key, contents.encode(&frame.scope));
            }
            note_applied_outbox(last.number, &mut run.writes);
            let (writes, part) = run.finish(None)?;
            store.apply(writes)?;
            ingested.add(part);
        }
    }

    fn applied_outbox(&self, store: &dyn Store) -> Result<u64, MemberError> {
        let row = self.tables(store).read(Kept::Applied, APPLIED_OUTBOX)?;
        match row {
            Some(bytes) => Ok(cairn_wire::codec::decode(&bytes)?),
            None => Ok(0),
        }
    }
}

/// Remembers that the outbox is applied up to a number.
pub(crate) fn note_applied_outbox(number: u64, writes: &mut Writes) {
    let number = cairn_wire::codec::encode(&number);
    writes.put(Kept::Applied, APPLIED_OUTBOX.to_vec(), number);
}

/// Where an own change stands before it is sealed.
pub(crate) fn outbox_of(device: DeviceKey) -> Provenance {
    Provenance::Outbox { device }
}

fn pack(
    changes: &[Authored],
    payload_bytes_max: usize,
    level: i32,
) -> Result<Vec<PackedBatch>, MemberError> {
    batch::pack(changes, payload_bytes_max, level)
        .map_err(|rule| MemberError::Internal(format!("an own change is none: {rule}")))
}

fn authored(change: OpenedChange) -> Authored {
    Authored {
        document: change.document,
        kind: change.root.map(|RootPreimage { kind, .. }| kind),
        nonce: change.nonce,
        bytes: change.bytes,
        hash: change.hash,
    }
}
