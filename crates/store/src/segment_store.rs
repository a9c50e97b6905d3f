//! [`SegmentStore`]: the [`Store`] of the product, of tests and of the simulator.

mod check;
mod opening;
mod reading;
mod rescue;

pub use opening::{FORMAT_FILE, FORMAT_VERSION, LOCK_FILE, OpenOptions};

use crate::contents::{Contents, Target, entry_row, lookup, side_is_newer, side_table};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::{FrameHeader, Kind, NewFrame};
use crate::index::{Index, IndexFactory, IndexWrites, Table};
use crate::layout::{self, Identity, Life, SideClass};
use crate::port::{
    Appended, AuthorityAppended, AuthorityFork, Fresh, Incoming, KEY_BYTES_MAX, NextOwn,
    OUTBOX_BYTES_MAX, OpenReport, OutboxFrame, Rows, STATE_BYTES_MAX, SideObject, Store, TableName,
    Verifying, WriteSet,
};
use crate::segments::{Location, Segments};
use cairn_keys::authority::{self, AuthorityError};
use cairn_replica::holdings::{Origin, PeerRecord};
use cairn_wire::Entry;
use cairn_wire::frame::{Backlog, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId, Epoch, Incarnation, LogId, ProgrammeId};
use cairn_wire::limits;
use std::collections::HashSet;
use std::fs::File;

/// Bytes written to the index after which [`Store::tick`] lets it catch up on disk.
pub const INDEX_LAG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Milliseconds after which [`Store::tick`] does.
pub const INDEX_LAG_MS_MAX: u64 = 1000;
/// Peers that are remembered for one entry.
pub const ORIGINS_MAX: usize = 32;
const ORIGIN_BYTES: usize = DeviceKey::LEN + Epoch::LEN;

/// Segments on a [`Disk`] and an [`Index`] over them.
pub struct SegmentStore<D> {
    segments: Segments<D>,
    index: Box<dyn Index>,
    factory: Box<dyn IndexFactory>,
    contents: Contents,
    device: DeviceKey,
    backlog: Backlog,
    poisoned: Option<String>,
    /// Bytes that the index has not been told to make durable, and since when.
    lag_bytes: usize,
    lag_since_ms: Option<u64>,
    /// Held for as long as the store is open.
    _lock: Option<File>,
}

/// A store in memory, for tests.
pub type MemoryStore = SegmentStore<crate::disk::model::ModelDisk>;

impl<D: Disk> SegmentStore<D> {
    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &D {
        self.segments.disk()
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            Some(why) => Err(StoreError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Runs a change; whatever fails in it leaves the store poisoned.
    fn changing<R>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.check_alive()?;
        change(self).inspect_err(|error| {
            tracing::error!("the store stops: {error}");
            self.poisoned = Some(error.to_string());
        })
    }

    /// Writes frames, waits until they are durable, and takes them in.
    fn commit(
        &mut self,
        frames: &[NewFrame<'_>],
        entries: &[&Entry],
        mut writes: IndexWrites,
    ) -> Result<(), StoreError> {
        if frames.is_empty() && writes.writes.is_empty() {
            return Ok(());
        }
        let first = self.segments.next_frame();
        let locations = self.segments.append(frames)?;
        let mut entries = entries.iter();
        for ((frame, location), number) in frames.iter().zip(locations).zip(first..) {
            self.fold(frame, location, number, &mut entries, &mut writes)?;
        }
        self.write_index(writes)
    }

    fn fold<'e>(
        &mut self,
        frame: &NewFrame<'_>,
        location: Location,
        number: u64,
        entries: &mut impl Iterator<Item = &'e &'e Entry>,
        writes: &mut IndexWrites,
    ) -> Result<(), StoreError> {
        let header = FrameHeader {
            kind: frame.kind as u8,
            body_bytes: location.body_bytes,
            number,
            position: frame.position,
        };
        let files = self.segments.numbers();
        let mut target = Target {
            files,
            index: &*self.index,
            writes,
        };
        if frame.kind != Kind::Entry {
            return self
                .contents
                .fold(&mut target, location, header, frame.body);
        }
        let entry = entries
            .next()
            .ok_or_else(|| StoreError::Damaged("an entry frame without its entry".to_owned()))?;
        self.contents.count_frame(location, header, files);
        self.contents.fold_entry(&mut target, location, entry)
    }

    fn write_index(&mut self, mut writes: IndexWrites) -> Result<(), StoreError> {
        self.contents.progress.clean = false;
        self.contents.progress.save(&mut writes);
        self.lag_bytes += writes.bytes;
        self.index.apply(writes)?;
        Ok(())
    }

    fn entry_frames<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Result<Vec<(NewFrame<'e>, &'e Entry)>, StoreError> {
        let nothing = IndexWrites::default();
        let mut taken: HashSet<EntryId> = HashSet::new();
        let mut ends = std::collections::BTreeMap::new();
        let mut frames = Vec::new();
        for entry in entries {
            let held = entry_row(&*self.index, &nothing, &entry.id())?.is_some();
            if held || !taken.insert(entry.id()) {
                continue;
            }
            let of = crate::contents::of_log(&entry.header().log);
            let position = ends.entry(of).or_insert_with(|| self.position(of));
            let frame = NewFrame {
                kind: Kind::Entry,
                position: *position,
                body: entry.bytes(),
            };
            *position += 1;
            frames.push((frame, entry));
        }
        Ok(frames)
    }

    fn position(&self, of: ScopeLane) -> u64 {
        let end = self.contents.ends.get(&of);
        end.map_or(0, |end| end.mark.position)
    }

    /// What became of entries, in the order in which they were given.
    fn appended<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        new: impl Iterator<Item = EntryId>,
    ) -> Result<Vec<Appended>, StoreError> {
        let nothing = IndexWrites::default();
        let mut new: HashSet<EntryId> = new.collect();
        entries
            .map(|entry| {
                let id = entry.id();
                let of = crate::contents::of_log(&entry.header().log);
                let row = entry_row(&*self.index, &nothing, &id)?
                    .ok_or_else(|| StoreError::Damaged("an entry is not in the index".into()))?;
                let logs = self.contents.logs.get(&of);
                Ok(Appended {
                    id,
                    of,
                    position: row.position,
                    new: new.remove(&id),
                    detached: logs.is_some_and(|logs| logs.is_detached(&id)),
                })
            })
            .collect()
    }

    fn origin_writes(&self, incoming: &[Incoming]) -> Result<IndexWrites, StoreError> {
        let mut writes = IndexWrites::default();
        for Incoming { entry, origins } in incoming {
            let id = entry.id();
            let before = lookup(&*self.index, &writes, Table::Origins, &id.0)?;
            let mut value = before.clone().unwrap_or_default();
            for origin in origins {
                add_origin(&mut value, origin);
            }
            if before.unwrap_or_default() != value {
                writes.put(Table::Origins, id.0, value);
            }
        }
        Ok(writes)
    }

    fn put_side(
        &mut self,
        class: SideClass,
        objects: Vec<SideObject>,
        bytes_max: usize,
    ) -> Result<usize, StoreError> {
        self.check_alive()?;
        let mut bodies = Vec::new();
        for object in &objects {
            check_size("a key", object.key.len(), KEY_BYTES_MAX)?;
            check_size("a side object", object.bytes.len(), bytes_max)?;
            let held = self.index.get(side_table(class), &object.key)?;
            if side_is_newer(held.as_deref(), object.counter) {
                bodies.push(layout::side_body(class, object));
            }
        }
        self.commit_bodies(Kind::Side, &bodies)?;
        Ok(bodies.len())
    }

    fn commit_bodies(&mut self, kind: Kind, bodies: &[Vec<u8>]) -> Result<(), StoreError> {
        if bodies.is_empty() {
            return self.check_alive();
        }
        let frames: Vec<_> = bodies
            .iter()
            .map(|body| NewFrame {
                kind,
                position: 0,
                body,
            })
            .collect();
        self.changing(|store| store.commit(&frames, &[], IndexWrites::default()))
    }

    fn begin_life(&mut self, epoch: Epoch, incarnation: Incarnation) -> Result<(), StoreError> {
        let life = Life {
            epoch,
            incarnation,
            lost_frames: self.contents.progress.lost_frames,
        };
        self.commit_bodies(Kind::Life, &[life.to_bytes()])
    }

    fn life(&self) -> (Epoch, Incarnation) {
        match self.contents.progress.life {
            Some(life) => (life.epoch, life.incarnation),
            None => (Epoch([0; 8]), Incarnation([0; 16])),
        }
    }

    fn derived_writes(&self, writes: WriteSet) -> Result<IndexWrites, StoreError> {
        let mut out = IndexWrites::default();
        for (table, key, value) in writes.writes {
            check_size("a key", key.len(), KEY_BYTES_MAX)?;
            match value {
                Some(value) => out.put(table.into(), key, value),
                None => out.delete(table.into(), key),
            }
        }
        Ok(out)
    }
}

fn check_size(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), StoreError> {
    if bytes > bytes_max {
        return Err(StoreError::TooLarge {
            what,
            bytes,
            bytes_max,
        });
    }
    Ok(())
}

/// The newest stand last; at the limit the oldest gives way.
fn add_origin(value: &mut Vec<u8>, origin: &Origin) {
    let mut bytes = origin.peer.0.to_vec();
    bytes.extend_from_slice(&origin.epoch.0);
    if value.chunks_exact(ORIGIN_BYTES).any(|held| held == bytes) {
        return;
    }
    value.extend_from_slice(&bytes);
    let over = value.len().saturating_sub(ORIGINS_MAX * ORIGIN_BYTES);
    value.drain(..over);
}

impl<D: Disk> Store for SegmentStore<D> {
    fn append(&mut self, incoming: Vec<Incoming>) -> Result<Vec<Appended>, StoreError> {
        self.changing(|store| {
            let writes = store.origin_writes(&incoming)?;
            let entries = || incoming.iter().map(|incoming| &incoming.entry);
            let (frames, new): (Vec<_>, Vec<_>) =
                store.entry_frames(entries())?.into_iter().unzip();
            store.commit(&frames, &new, writes)?;
            store.appended(entries(), new.iter().map(|entry| entry.id()))
        })
    }

    fn append_authority(&mut self, entries: Vec<Vec<u8>>) -> Result<AuthorityAppended, StoreError> {
        self.check_alive()?;
        let mut log = self.contents.authority.clone();
        let mut appended = AuthorityAppended::default();
        let mut bodies = Vec::new();
        let mut refused = None;
        let known_forks = self.authority_forks()?;
        if let Some(first) = entries.first().filter(|_| log.programme().0 == [0; 32]) {
            let programme = cairn_wire::hash::authority_entry_id(first);
            log = authority::AuthorityLog::new(programme);
        }
        for bytes in entries {
            match log.append_verified(&bytes) {
                Ok(authority::Appended::Held) => {}
                Ok(authority::Appended::New) => {
                    appended.new += 1;
                    bodies.push(bytes);
                }
                Err(AuthorityError::Fork { height, .. }) => {
                    let fork = AuthorityFork { height, bytes };
                    if !known_forks.contains(&fork) && !appended.forks.contains(&fork) {
                        bodies.push(fork.bytes.clone());
                    }
                    appended.forks.push(fork);
                }
                Err(error) => {
                    refused = Some(StoreError::Authority(error.to_string()));
                    break;
                }
            }
        }
        if appended.new > 0 {
            self.set_programme(log.programme())?;
        }
        self.commit_bodies(Kind::Authority, &bodies)?;
        match refused {
            Some(error) => Err(error),
            None => Ok(appended),
        }
    }

    fn set_programme(&mut self, programme: ProgrammeId) -> Result<(), StoreError> {
        let known = self.contents.programme();
        if known == programme {
            return self.check_alive();
        }
        if known.0 != [0; 32] {
            return Err(StoreError::OtherProgramme);
        }
        let identity = Identity {
            device: self.device,
            programme,
        };
        self.commit_bodies(Kind::Identity, &[identity.to_bytes()])
    }

    fn authority_forks(&self) -> Result<Vec<AuthorityFork>, StoreError> {
        self.read_authority_forks()
    }

    fn authority_hole(&self) -> Option<u64> {
        self.contents.authority_hole()
    }

    fn save_outbox(
        &mut self,
        frames: Vec<OutboxFrame>,
        writes: WriteSet,
    ) -> Result<(), StoreError> {
        self.check_alive()?;
        let mut next = self.next_outbox_number();
        for frame in &frames {
            check_size("an outbox frame", frame.sealed.len(), OUTBOX_BYTES_MAX)?;
            if frame.number < next {
                return Err(StoreError::OutboxNumber {
                    got: frame.number,
                    next,
                });
            }
            next = frame.number.saturating_add(1);
        }
        let writes = self.derived_writes(writes)?;
        let bodies: Vec<_> = frames.iter().map(layout::outbox_body).collect();
        let frames: Vec<_> = bodies
            .iter()
            .map(|body| NewFrame {
                kind: Kind::Outbox,
                position: 0,
                body,
            })
            .collect();
        self.changing(|store| store.commit(&frames, &[], writes))
    }

    fn next_outbox_number(&self) -> u64 {
        self.contents.progress.outbox_next
    }

    fn outbox(&self, from: u64, bytes_max: usize) -> Result<Vec<OutboxFrame>, StoreError> {
        self.read_outbox(from, bytes_max)
    }

    fn outbox_len(&self) -> u64 {
        self.contents.progress.outbox
    }

    fn seal_outbox(
        &mut self,
        sealed: &[u64],
        entries: Vec<Entry>,
        writes: WriteSet,
    ) -> Result<Vec<Appended>, StoreError> {
        self.check_alive()?;
        let ids: Vec<_> = entries.iter().map(Entry::id).collect();
        let mark = layout::sealed_body(sealed, &ids);
        check_size("a sealed mark", mark.len(), OUTBOX_BYTES_MAX)?;
        let writes = self.derived_writes(writes)?;
        self.changing(|store| {
            let (mut frames, new): (Vec<_>, Vec<_>) =
                store.entry_frames(entries.iter())?.into_iter().unzip();
            frames.push(NewFrame {
                kind: Kind::Sealed,
                position: 0,
                body: &mark,
            });
            store.commit(&frames, &new, writes)?;
            store.appended(entries.iter(), new.iter().map(|entry| entry.id()))
        })
    }

    fn next_own(&self, of: ScopeLane) -> Result<NextOwn, StoreError> {
        self.read_next_own(of)
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_alive()?;
        Ok(self.index.get(Table::State, key)?)
    }

    fn put_state(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        check_size("a key", key.len(), KEY_BYTES_MAX)?;
        check_size("a state", value.len(), STATE_BYTES_MAX)?;
        self.commit_bodies(Kind::State, &[layout::state_body(key, value)])
    }

    fn put_grants(&mut self, grants: Vec<SideObject>) -> Result<usize, StoreError> {
        self.put_side(SideClass::Grant, grants, limits::GRANT_BYTES_MAX)
    }

    fn put_receipts(&mut self, receipts: Vec<SideObject>) -> Result<usize, StoreError> {
        self.put_side(SideClass::Receipt, receipts, limits::RECEIPT_BYTES_MAX)
    }

    fn put_peer(&mut self, peer: &DeviceKey, record: &PeerRecord) -> Result<(), StoreError> {
        self.changing(|store| {
            let writes = store.peer_writes(peer, record)?;
            store.write_index(writes)
        })
    }

    fn set_backlog(&mut self, backlog: Backlog) {
        self.backlog = backlog;
    }

    fn set_incarnation(&mut self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.begin_life(self.life().0, incarnation)
    }

    fn new_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.begin_life(epoch, self.life().1)
    }

    fn forked_logs(&self, of: ScopeLane) -> Vec<LogId> {
        let logs = self.contents.logs.get(&of);
        logs.map_or_else(Vec::new, cairn_replica::logs::LaneLogs::forked)
    }

    fn journals(&self) -> Vec<ScopeLane> {
        self.contents.ends.keys().copied().collect()
    }

    fn derived_generation(&self) -> u64 {
        self.contents.progress.generation
    }

    fn get(&self, table: TableName, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_alive()?;
        Ok(self.index.get(table.into(), key)?)
    }

    fn scan(
        &self,
        table: TableName,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        self.check_alive()?;
        Ok(self.index.scan(table.into(), prefix, from, limit)?)
    }

    fn apply(&mut self, writes: WriteSet) -> Result<(), StoreError> {
        self.check_alive()?;
        let writes = self.derived_writes(writes)?;
        self.changing(|store| store.write_index(writes))
    }

    fn lost_frames(&self) -> u64 {
        self.contents.progress.lost_frames
    }

    fn verify_some(&self, verifying: &mut Verifying) -> Result<(), StoreError> {
        self.check_some(verifying)
    }

    fn repair(&mut self, fresh: Fresh) -> Result<OpenReport, StoreError> {
        self.rebuild(fresh)
    }

    fn tick(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.check_alive()?;
        if self.lag_bytes == 0 {
            self.lag_since_ms = None;
            return Ok(());
        }
        let since = *self.lag_since_ms.get_or_insert(now_ms);
        if self.lag_bytes >= INDEX_LAG_BYTES_MAX || now_ms.saturating_sub(since) >= INDEX_LAG_MS_MAX
        {
            self.sync_point()?;
        }
        Ok(())
    }

    fn sync_point(&mut self) -> Result<(), StoreError> {
        self.changing(|store| Ok(store.index.persist()?))?;
        self.lag_bytes = 0;
        self.lag_since_ms = None;
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        // Every write says that it is no longer so.
        if self.contents.progress.clean {
            return self.check_alive();
        }
        self.changing(|store| {
            let mut writes = IndexWrites::default();
            store.contents.progress.clean = true;
            store.contents.progress.save(&mut writes);
            store.index.apply(writes)?;
            Ok(store.index.persist()?)
        })
    }
}
