//! What the segments mean: one fold over their frames, the same when a write is new, when the tail
//! is read again at opening, and when an index is made anew.

use crate::error::StoreError;
use crate::frame::{FrameHeader, Kind};
use crate::index::{Index, IndexWrites, Table};
use crate::layout::{
    self, EntryRow, Identity, JournalEnd, JournalRow, Life, Reader, SideClass, detached_key,
    journal_key, location_value, log_entry_key, scope_lane_key,
};
use crate::port::AUTHORITY_FORKS_MAX;
use crate::segments::Location;
use cairn_keys::authority::{self, AuthorityEntry, AuthorityError, AuthorityLog};
use cairn_replica::logs::{LaneLogs, Link, PlacementChange};
use cairn_wire::frame::{JournalMark, ScopeLane};
use cairn_wire::ids::{EntryId, LogId, ProgrammeId};
use cairn_wire::{Entry, codec, hash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Layout of the index; one of another layout is made anew.
pub const INDEX_VERSION: u32 = 1;
const PROGRESS_KEY: &[u8] = b"progress";
/// Height of the highest authority entry that was met above a gap.
const AUTHORITY_SEEN_KEY: &[u8] = b"authority seen";
const RESTORE_ROWS: usize = 4096;

/// How far the index has read, and what it found; written with every commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub version: u32,
    /// Of the store that the index belongs to.
    pub salt: [u8; 16],
    /// Changes whenever the index is made anew.
    pub generation: u64,
    /// Closed cleanly: nothing was written since.
    pub clean: bool,
    /// The last frame that was read: segment, offset, body length, number. Zeros for none.
    pub last: (u64, u64, u32, u64),
    /// Segment files up to that one.
    pub files: u64,
    pub lost_frames: u64,
    /// Frames are missing that the last life does not know of.
    pub unaccounted: bool,
    pub identity: Option<Identity>,
    pub life: Option<Life>,
    pub entries: u64,
    pub leaves: u64,
    pub detached: u64,
    pub outbox: u64,
    pub outbox_next: u64,
    pub states: u64,
    pub authority: u64,
}

impl Progress {
    pub fn new(salt: [u8; 16], generation: u64) -> Self {
        Self {
            version: INDEX_VERSION,
            salt,
            generation,
            clean: false,
            last: (0, 0, 0, 0),
            files: 0,
            lost_frames: 0,
            unaccounted: false,
            identity: None,
            life: None,
            entries: 0,
            leaves: 0,
            detached: 0,
            outbox: 0,
            outbox_next: 1,
            states: 0,
            authority: 0,
        }
    }

    pub fn load(index: &dyn Index) -> Result<Option<Self>, StoreError> {
        match index.get(Table::Meta, PROGRESS_KEY)? {
            None => Ok(None),
            Some(bytes) => codec::decode(&bytes)
                .map(Some)
                .map_err(|_| row_damaged("progress")),
        }
    }

    pub fn save(&self, writes: &mut IndexWrites) {
        writes.put(Table::Meta, PROGRESS_KEY, codec::encode(self));
    }

    /// Where the next frame is read.
    pub fn next_place(&self) -> (u64, u64) {
        let (segment, offset, body_bytes, _) = self.last;
        let last = Location {
            segment,
            offset,
            body_bytes,
        };
        if segment == 0 {
            (0, 0)
        } else {
            (segment, last.end())
        }
    }

    pub fn next_frame(&self) -> u64 {
        self.last.3 + 1
    }
}

/// A row of the index is not what was written there.
pub fn row_damaged(table: &'static str) -> StoreError {
    StoreError::Damaged(format!("a row of the index is unreadable ({table})"))
}

/// A value as it is with the writes that are pending.
pub fn lookup(
    index: &dyn Index,
    writes: &IndexWrites,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    match writes.pending(table, key) {
        Some(value) => Ok(value.map(<[u8]>::to_vec)),
        None => Ok(index.get(table, key)?),
    }
}

/// Where an entry is held.
pub fn entry_row(
    index: &dyn Index,
    writes: &IndexWrites,
    id: &EntryId,
) -> Result<Option<EntryRow>, StoreError> {
    lookup(index, writes, Table::Entries, &id.0)?
        .map(|bytes| EntryRow::parse(&bytes).ok_or_else(|| row_damaged("entries")))
        .transpose()
}

/// What is kept in memory of a store's contents: a few hundred bytes per log, nothing per entry.
pub struct Contents {
    pub progress: Progress,
    pub ends: BTreeMap<ScopeLane, JournalEnd>,
    pub logs: BTreeMap<ScopeLane, LaneLogs>,
    pub authority: AuthorityLog,
    /// See [`Contents::authority_hole`].
    authority_seen: Option<u64>,
}

/// Everything a fold writes to and reads from.
pub struct Target<'a> {
    /// Numbers of the segment files.
    pub files: &'a [u64],
    pub index: &'a dyn Index,
    pub writes: &'a mut IndexWrites,
}

impl Contents {
    pub fn empty(progress: Progress) -> Self {
        Self {
            progress,
            ends: BTreeMap::new(),
            logs: BTreeMap::new(),
            authority: AuthorityLog::new(ProgrammeId([0; 32])),
            authority_seen: None,
        }
    }

    /// Takes up again what the index holds.
    pub fn restore(progress: Progress, index: &dyn Index) -> Result<Self, StoreError> {
        let mut contents = Self::empty(progress);
        each_row(index, Table::Ends, |key, value| {
            let of = Reader(key).scope_lane()?;
            contents.ends.insert(of, JournalEnd::parse(value)?);
            Some(())
        })?;
        let mut leaves: BTreeMap<ScopeLane, Vec<_>> = BTreeMap::new();
        let mut detached: BTreeMap<ScopeLane, Vec<_>> = BTreeMap::new();
        each_row(index, Table::Leaves, |key, _| {
            let leaf = layout::parse_log_entry_key(key)?;
            leaves.entry(of_log(&leaf.log)).or_default().push(leaf);
            Some(())
        })?;
        each_row(index, Table::Detached, |key, value| {
            let (id, link) = layout::parse_detached(key, value)?;
            let of = of_log(&link.log);
            detached.entry(of).or_default().push((id, link));
            Some(())
        })?;
        for of in contents.ends.keys() {
            let logs = LaneLogs::restore(
                leaves.remove(of).unwrap_or_default(),
                detached.remove(of).unwrap_or_default(),
            );
            contents.logs.insert(*of, logs);
        }
        let programme = contents.programme();
        let mut authority = AuthorityLog::new(programme);
        each_row(index, Table::Authority, |_, value| {
            authority.append_verified(value).ok().map(drop)
        })?;
        contents.authority = authority;
        contents.authority_seen = match index.get(Table::Meta, AUTHORITY_SEEN_KEY)? {
            Some(bytes) => Some(
                Reader(&bytes)
                    .u64()
                    .ok_or_else(|| row_damaged("authority seen"))?,
            ),
            None => None,
        };
        Ok(contents)
    }

    /// The highest entry of the authority's log that was found above a hole in it, until the log reaches
    /// so far again. What stands above a hole counts for nothing: neither rights nor revocations.
    pub fn authority_hole(&self) -> Option<u64> {
        self.authority_seen
            .filter(|seen| *seen >= self.authority.next_height())
    }

    pub fn programme(&self) -> ProgrammeId {
        self.progress
            .identity
            .map_or(ProgrammeId([0; 32]), |identity| identity.programme)
    }

    /// Takes in one frame. Frames must come in the order of the segments.
    pub fn fold(
        &mut self,
        target: &mut Target<'_>,
        location: Location,
        header: FrameHeader,
        body: &[u8],
    ) -> Result<(), StoreError> {
        self.count_frame(location, header, target.files);
        match Kind::from_byte(header.kind) {
            Some(Kind::Entry) => match Entry::parse(body.to_vec()) {
                Ok(entry) => self.fold_entry(target, location, &entry),
                Err(_) => Ok(()),
            },
            Some(Kind::Authority) => self.fold_authority(target, body),
            Some(Kind::Outbox) => self.fold_outbox(target, location, body),
            Some(Kind::Sealed) => self.fold_sealed(target, body),
            Some(Kind::State) => self.fold_state(target, body),
            Some(Kind::Side) => fold_side(target, body),
            Some(Kind::Life) => {
                self.fold_life(body);
                Ok(())
            }
            Some(Kind::Identity) => {
                self.fold_identity(body);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes that a frame was read; a number that was left out is a frame that is missing.
    pub fn count_frame(&mut self, location: Location, header: FrameHeader, files: &[u64]) {
        let missing = header.number.saturating_sub(self.progress.next_frame());
        if missing > 0 {
            self.progress.lost_frames += missing;
            self.progress.unaccounted = true;
        }
        let number = header.number.max(self.progress.last.3);
        self.progress.last = (
            location.segment,
            location.offset,
            location.body_bytes,
            number,
        );
        self.progress.files = files.partition_point(|file| *file <= location.segment) as u64;
    }

    /// Takes in an entry; one that is held already changes nothing.
    pub fn fold_entry(
        &mut self,
        target: &mut Target<'_>,
        location: Location,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let (id, header) = (entry.id(), entry.header());
        if entry_row(target.index, target.writes, &id)?.is_some() {
            return Ok(());
        }
        let of = of_log(&header.log);
        let end = self.ends.entry(of).or_default();
        let position = end.mark.position;
        end.mark = JournalMark {
            position: position + 1,
            hash: hash::journal_step(end.mark.hash, &id),
        };
        end.bytes += entry.bytes().len() as u64;
        let row = JournalRow {
            id,
            hash_after: end.mark.hash,
            bytes_after: end.bytes,
            location,
        };
        let writes = &mut *target.writes;
        let entry_row = EntryRow { location, position };
        writes.put(Table::Entries, id.0, entry_row.to_bytes());
        writes.put(Table::Journal, journal_key(of, position), row.to_bytes());
        writes.put(Table::Ends, scope_lane_key(of), end.to_bytes());
        let key = log_entry_key(&header.log, header.number, &id);
        writes.put(Table::Logs, key, []);
        self.progress.entries += 1;
        self.place(target, of, entry)
    }

    fn place(
        &mut self,
        target: &mut Target<'_>,
        of: ScopeLane,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let header = entry.header();
        let link = Link {
            log: header.log,
            number: header.number,
            previous: header.previous,
        };
        let logs = self.logs.entry(of).or_default();
        let changes = logs.place(entry.id(), link, |parent| {
            let key = log_entry_key(&parent.log, parent.number, &parent.id);
            lookup(target.index, target.writes, Table::Logs, &key).map(|row| row.is_some())
        })?;
        for change in changes {
            match change {
                PlacementChange::LeafAdded(leaf) => {
                    let key = log_entry_key(&leaf.log, leaf.number, &leaf.id);
                    target.writes.put(Table::Leaves, key, []);
                }
                PlacementChange::LeafRemoved(leaf) => {
                    let key = log_entry_key(&leaf.log, leaf.number, &leaf.id);
                    target.writes.delete(Table::Leaves, key);
                }
                PlacementChange::DetachedAdded(id, link) => {
                    let key = detached_key(of, &id);
                    let value = layout::link_value(&link);
                    target.writes.put(Table::Detached, key, value);
                }
                PlacementChange::DetachedRemoved(id) => {
                    target.writes.delete(Table::Detached, detached_key(of, &id));
                }
            }
            match change {
                PlacementChange::LeafAdded(_) => self.progress.leaves += 1,
                PlacementChange::LeafRemoved(_) => self.progress.leaves -= 1,
                PlacementChange::DetachedAdded(..) => self.progress.detached += 1,
                PlacementChange::DetachedRemoved(_) => self.progress.detached -= 1,
            }
        }
        Ok(())
    }

    fn fold_authority(&mut self, target: &mut Target<'_>, body: &[u8]) -> Result<(), StoreError> {
        if self.authority.programme() == ProgrammeId([0; 32])
            && let Ok(entry) = AuthorityEntry::parse(body)
            && entry.height == 0
        {
            // The frame that named the programme is lost; its id is the hash of this entry.
            self.authority = AuthorityLog::new(entry.programme);
        }
        let height = self.authority.next_height();
        match self.authority.append_verified(body) {
            Ok(authority::Appended::New) => {
                let key = height.to_be_bytes();
                target.writes.put(Table::Authority, key, body);
                self.progress.authority += 1;
            }
            Err(AuthorityError::Fork { height, .. }) => {
                let known =
                    target
                        .index
                        .scan(Table::AuthorityForks, &[], None, AUTHORITY_FORKS_MAX)?;
                if known.len() < AUTHORITY_FORKS_MAX {
                    let key = fork_key(height, body);
                    target.writes.put(Table::AuthorityForks, key, body);
                }
            }
            // After a lost frame those that follow have no place until it comes again, and then
            // they come again too.
            Err(AuthorityError::Gap { got, .. }) => {
                let seen = self.authority_seen.map_or(got, |seen| seen.max(got));
                self.authority_seen = Some(seen);
                let seen = seen.to_be_bytes();
                target.writes.put(Table::Meta, AUTHORITY_SEEN_KEY, seen);
            }
            Ok(authority::Appended::Held) | Err(_) => {}
        }
        Ok(())
    }

    fn fold_outbox(
        &mut self,
        target: &mut Target<'_>,
        location: Location,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let Some(frame) = layout::parse_outbox(body) else {
            return Ok(());
        };
        let key = frame.number.to_be_bytes();
        if lookup(target.index, target.writes, Table::Outbox, &key)?.is_none() {
            self.progress.outbox += 1;
        }
        self.progress.outbox_next = self
            .progress
            .outbox_next
            .max(frame.number.saturating_add(1));
        target
            .writes
            .put(Table::Outbox, key, location_value(&location));
        Ok(())
    }

    fn fold_sealed(&mut self, target: &mut Target<'_>, body: &[u8]) -> Result<(), StoreError> {
        let Some((numbers, ids)) = layout::parse_sealed(body) else {
            return Ok(());
        };
        for id in ids {
            if entry_row(target.index, target.writes, &id)?.is_none() {
                return Ok(());
            }
        }
        for number in numbers {
            let key = number.to_be_bytes();
            if lookup(target.index, target.writes, Table::Outbox, &key)?.is_some() {
                self.progress.outbox -= 1;
                target.writes.delete(Table::Outbox, key);
            }
        }
        Ok(())
    }

    fn fold_state(&mut self, target: &mut Target<'_>, body: &[u8]) -> Result<(), StoreError> {
        let Some((key, value)) = layout::parse_state(body) else {
            return Ok(());
        };
        if lookup(target.index, target.writes, Table::State, key)?.is_none() {
            self.progress.states += 1;
        }
        target.writes.put(Table::State, key, value);
        Ok(())
    }

    fn fold_life(&mut self, body: &[u8]) {
        let Some(life) = Life::parse(body) else {
            return;
        };
        self.progress.unaccounted = life.lost_frames != self.progress.lost_frames;
        self.progress.life = Some(life);
    }

    fn fold_identity(&mut self, body: &[u8]) {
        let Some(identity) = Identity::parse(body) else {
            return;
        };
        self.progress.identity = Some(identity);
        if self.authority.programme() != identity.programme {
            self.authority = AuthorityLog::new(identity.programme);
        }
    }
}

fn fold_side(target: &mut Target<'_>, body: &[u8]) -> Result<(), StoreError> {
    let Some((class, object)) = layout::parse_side(body) else {
        return Ok(());
    };
    let table = side_table(class);
    let held = lookup(target.index, target.writes, table, &object.key)?;
    if side_is_newer(held.as_deref(), object.counter) {
        let value = layout::side_value(&object);
        target.writes.put(table, object.key, value);
    }
    Ok(())
}

/// Table of a class of side objects.
pub fn side_table(class: SideClass) -> Table {
    match class {
        SideClass::Grant => Table::Grants,
        SideClass::Receipt => Table::Receipts,
    }
}

/// Does an object with that counter replace the one held?
pub fn side_is_newer(held: Option<&[u8]>, counter: u64) -> bool {
    held.and_then(|value| Reader(value).u64())
        .is_none_or(|held| held < counter)
}

/// Key of a contradicting authority entry.
pub fn fork_key(height: u64, bytes: &[u8]) -> Vec<u8> {
    let mut key = height.to_be_bytes().to_vec();
    key.extend_from_slice(&hash::authority_entry_id(bytes).0);
    key
}

/// Scope and lane of a log.
pub fn of_log(log: &LogId) -> ScopeLane {
    ScopeLane {
        scope: log.scope,
        lane: log.lane,
    }
}

/// Reads a table row by row, a few thousand at a time; `row` answers `None` for one it cannot read.
pub fn each_row(
    index: &dyn Index,
    table: Table,
    mut row: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<u64, StoreError> {
    let mut from: Option<Vec<u8>> = None;
    let mut count = 0;
    loop {
        let rows = index.scan(table, &[], from.as_deref(), RESTORE_ROWS)?;
        for (key, value) in &rows {
            row(key, value).ok_or_else(|| row_damaged("restore"))?;
        }
        count += rows.len() as u64;
        match rows.last() {
            Some((last, _)) if rows.len() == RESTORE_ROWS => {
                let mut next = last.clone();
                next.push(0);
                from = Some(next);
            }
            _ => return Ok(count),
        }
    }
}
