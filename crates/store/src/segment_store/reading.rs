//! What a store answers: the read port of sessions, and reads of its own port.

use super::{ORIGIN_BYTES, SegmentStore};
use crate::contents::{Contents, entry_row, row_damaged};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::index::{IndexWrites, Table};
use crate::layout::{
    self, JournalEnd, JournalRow, Reader, journal_key, log_key, parse_log_entry_key, scope_lane_key,
};
use crate::port::{AUTHORITY_FORKS_MAX, AuthorityFork, NextOwn, OutboxFrame};
use crate::segments::Location;
use cairn_keys::membership::Membership;
use cairn_replica::holdings::{
    Holdings, HoldingsError, JournalItem, Leaf, Origin, PairRecord, PeerLane, PeerRecord, digest_of,
};
use cairn_wire::frame::{Backlog, Cursor, Digest, JournalMark, ScopeLane};
use cairn_wire::ids::{
    AuthorityRef, DeviceKey, EntryId, Epoch, Incarnation, LogId, ProgrammeId, ScopeId,
};
use cairn_wire::{Entry, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Journal rows that are read from the index at once.
const JOURNAL_ROWS: usize = 256;
/// An entry without payload.
const ENTRY_BYTES_MIN: usize = cairn_wire::entry::HEADER_BYTES + cairn_wire::entry::SIGNATURE_BYTES;
/// Rows that one list may have.
const ROWS_MAX: usize = 65_536;

fn failed(error: impl Into<StoreError>) -> HoldingsError {
    HoldingsError(Box::new(error.into()))
}

impl<D: Disk> SegmentStore<D> {
    fn end(&self, of: ScopeLane) -> JournalEnd {
        self.contents.ends.get(&of).copied().unwrap_or_default()
    }

    fn journal_row(&self, of: ScopeLane, position: u64) -> Result<Option<JournalRow>, StoreError> {
        self.check_alive()?;
        let row = self.index.get(Table::Journal, &journal_key(of, position))?;
        row.map(|bytes| JournalRow::parse(&bytes).ok_or_else(|| row_damaged("journal")))
            .transpose()
    }

    /// Mark and bytes before a position, `None` beyond the end.
    fn end_at(&self, of: ScopeLane, position: u64) -> Result<Option<JournalEnd>, StoreError> {
        let Some(before) = position.checked_sub(1) else {
            return Ok(Some(JournalEnd::default()));
        };
        Ok(self.journal_row(of, before)?.map(|row| JournalEnd {
            mark: JournalMark {
                position,
                hash: row.hash_after,
            },
            bytes: row.bytes_after,
        }))
    }

    pub(super) fn read_entry(&self, id: &EntryId, at: Location) -> Result<Entry, StoreError> {
        let (_, body) = self.segments.read(at)?;
        let entry = Entry::parse(body)
            .map_err(|error| StoreError::Damaged(format!("a stored entry: {error}")))?;
        if entry.id() != *id {
            return Err(StoreError::Damaged("a stored entry is another one".into()));
        }
        Ok(entry)
    }

    fn origins(&self, id: &EntryId) -> Result<Vec<Origin>, StoreError> {
        let value = self.index.get(Table::Origins, &id.0)?.unwrap_or_default();
        let origin = |bytes: &[u8]| {
            let mut reader = Reader(bytes);
            Some(Origin {
                peer: DeviceKey(reader.array()?),
                epoch: Epoch(reader.array()?),
            })
        };
        value
            .chunks_exact(ORIGIN_BYTES)
            .map(|bytes| origin(bytes).ok_or_else(|| row_damaged("origins")))
            .collect()
    }

    fn read_journal(
        &self,
        of: ScopeLane,
        position: u64,
        bytes_max: usize,
    ) -> Result<Vec<JournalItem>, StoreError> {
        self.check_alive()?;
        let mut items: Vec<JournalItem> = Vec::new();
        let (mut next, mut bytes) = (position, 0);
        let limit = (bytes_max / ENTRY_BYTES_MIN + 1).min(JOURNAL_ROWS);
        loop {
            let rows = self.index.scan(
                Table::Journal,
                &scope_lane_key(of),
                Some(&journal_key(of, next)),
                limit,
            )?;
            if rows.is_empty() {
                return Ok(items);
            }
            for (_, value) in &rows {
                let row = JournalRow::parse(value).ok_or_else(|| row_damaged("journal"))?;
                bytes += row.location.body_bytes as usize;
                if bytes > bytes_max && !items.is_empty() {
                    return Ok(items);
                }
                next += 1;
                items.push(JournalItem {
                    entry: self.read_entry(&row.id, row.location)?,
                    after: JournalMark {
                        position: next,
                        hash: row.hash_after,
                    },
                    origins: self.origins(&row.id)?,
                });
            }
        }
    }

    fn read_ids_at(&self, log: &LogId, number: u64) -> Result<Vec<EntryId>, StoreError> {
        self.check_alive()?;
        let mut prefix = log_key(log);
        prefix.extend_from_slice(&number.to_be_bytes());
        let rows = self.index.scan(Table::Logs, &prefix, None, ROWS_MAX)?;
        rows.iter()
            .map(|(key, _)| parse_log_entry_key(key).ok_or_else(|| row_damaged("logs")))
            .map(|leaf| leaf.map(|leaf| leaf.id))
            .collect()
    }

    pub(super) fn read_next_own(&self, of: ScopeLane) -> Result<NextOwn, StoreError> {
        self.check_alive()?;
        let log = LogId {
            scope: of.scope,
            lane: of.lane,
            device: self.device,
            incarnation: self.life().1,
        };
        let Some((key, _)) = self.index.last(Table::Logs, &log_key(&log))? else {
            return Ok(NextOwn {
                log,
                number: 1,
                previous: EntryId::NONE,
            });
        };
        let last = parse_log_entry_key(&key).ok_or_else(|| row_damaged("logs"))?;
        Ok(NextOwn {
            log,
            number: last.number.saturating_add(1),
            previous: last.id,
        })
    }

    pub(super) fn read_outbox(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<OutboxFrame>, StoreError> {
        self.check_alive()?;
        let mut frames: Vec<OutboxFrame> = Vec::new();
        let (mut from, mut bytes) = (from, 0);
        loop {
            let key = from.to_be_bytes();
            let rows = self
                .index
                .scan(Table::Outbox, &[], Some(&key), JOURNAL_ROWS)?;
            for (_, value) in &rows {
                let location = Reader(value)
                    .location()
                    .ok_or_else(|| row_damaged("outbox"))?;
                bytes += location.body_bytes as usize;
                if bytes > bytes_max && !frames.is_empty() {
                    return Ok(frames);
                }
                let (_, body) = self.segments.read(location)?;
                let frame = layout::parse_outbox(&body)
                    .ok_or_else(|| StoreError::Damaged("an outbox frame is unreadable".into()))?;
                from = frame.number.saturating_add(1);
                frames.push(frame);
            }
            if rows.len() < JOURNAL_ROWS {
                return Ok(frames);
            }
        }
    }

    pub(super) fn read_authority_forks(&self) -> Result<Vec<AuthorityFork>, StoreError> {
        self.check_alive()?;
        let rows = self
            .index
            .scan(Table::AuthorityForks, &[], None, AUTHORITY_FORKS_MAX)?;
        rows.into_iter()
            .map(|(key, bytes)| {
                let height = Reader(&key).u64();
                let height = height.ok_or_else(|| row_damaged("authority forks"))?;
                Ok(AuthorityFork { height, bytes })
            })
            .collect()
    }

    fn side_objects(
        &self,
        table: Table,
        prefix: &[u8],
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        self.check_alive()?;
        let rows = self.index.scan(table, prefix, None, ROWS_MAX)?;
        rows.into_iter()
            .filter(|(key, _)| wanted(key))
            .map(|(_, value)| {
                let bytes = value.get(8..).ok_or_else(|| row_damaged("side objects"))?;
                Ok(bytes.to_vec())
            })
            .collect()
    }

    /// A peer's record in parts that stay small: one row for the whole, one for each scope and lane.
    pub(super) fn peer_writes(
        &self,
        peer: &DeviceKey,
        record: &PeerRecord,
    ) -> Result<IndexWrites, StoreError> {
        let mut writes = IndexWrites::default();
        let side = (peer_key(peer, 3, None), codec::encode(&record.side));
        let mut side_stands = record.side.is_empty();
        for (key, value) in self.index.scan(Table::Peers, &peer.0, None, ROWS_MAX)? {
            if key == side.0 && value == side.1 {
                side_stands = true;
            } else {
                writes.delete(Table::Peers, key);
            }
        }
        if !side_stands {
            writes.put(Table::Peers, side.0, side.1);
        }
        let head = PeerHead {
            epoch: record.epoch,
            pair: record
                .pair
                .as_ref()
                .map(|pair| (pair.hash, pair.my_epoch, pair.peer_epoch)),
        };
        writes.put(Table::Peers, peer_key(peer, 0, None), codec::encode(&head));
        for (of, lane) in &record.lanes {
            let key = peer_key(peer, 1, Some(*of));
            let parts = (lane.cursor, lane.acknowledged);
            writes.put(Table::Peers, key, codec::encode(&parts));
        }
        for (of, state) in record.pair.iter().flat_map(|pair| &pair.states) {
            let key = peer_key(peer, 2, Some(*of));
            writes.put(Table::Peers, key, codec::encode(state));
        }
        Ok(writes)
    }

    fn read_peer(&self, peer: &DeviceKey) -> Result<PeerRecord, StoreError> {
        self.check_alive()?;
        let mut record = PeerRecord::default();
        for (key, value) in self.index.scan(Table::Peers, &peer.0, None, ROWS_MAX)? {
            let key = key.get(DeviceKey::LEN..).unwrap_or_default();
            add_peer_part(&mut record, key, &value).ok_or_else(|| row_damaged("peers"))?;
        }
        Ok(record)
    }
}

#[derive(Serialize, Deserialize)]
struct PeerHead {
    epoch: Option<Epoch>,
    pair: Option<([u8; 16], Epoch, Epoch)>,
}

fn peer_key(peer: &DeviceKey, part: u8, of: Option<ScopeLane>) -> Vec<u8> {
    let mut key = peer.0.to_vec();
    key.push(part);
    if let Some(of) = of {
        key.extend_from_slice(&scope_lane_key(of));
    }
    key
}

fn add_peer_part(record: &mut PeerRecord, key: &[u8], value: &[u8]) -> Option<()> {
    let (part, rest) = key.split_first()?;
    let mut reader = Reader(rest);
    match part {
        0 => {
            let head: PeerHead = codec::decode(value).ok()?;
            record.epoch = head.epoch;
            record.pair = head.pair.map(|(hash, my_epoch, peer_epoch)| PairRecord {
                hash,
                my_epoch,
                peer_epoch,
                states: std::collections::BTreeMap::new(),
            });
        }
        1 => {
            let (cursor, acknowledged): (JournalMark, Option<Cursor>) =
                codec::decode(value).ok()?;
            let lane = PeerLane {
                cursor,
                acknowledged,
            };
            record.lanes.insert(reader.scope_lane()?, lane);
        }
        2 => {
            let state = codec::decode(value).ok()?;
            let pair = record.pair.as_mut()?;
            pair.states.insert(reader.scope_lane()?, state);
        }
        3 => record.side = codec::decode(value).ok()?,
        _ => return None,
    }
    Some(())
}

/// Is a row of receipts about one of these scopes? Its key names one behind the centre's.
fn speaks_of(key: &[u8], scopes: &BTreeSet<ScopeId>) -> bool {
    let scope = key.get(DeviceKey::LEN..DeviceKey::LEN + ScopeId::LEN);
    scope
        .and_then(ScopeId::from_slice)
        .is_some_and(|scope| scopes.contains(&scope))
}

impl Contents {
    fn logs_of<R>(
        &self,
        of: ScopeLane,
        read: impl FnOnce(&cairn_replica::logs::LaneLogs) -> R,
    ) -> Option<R> {
        self.logs.get(&of).map(read)
    }
}

impl<D: Disk> Holdings for SegmentStore<D> {
    fn device(&self) -> DeviceKey {
        self.device
    }

    fn incarnation(&self) -> Incarnation {
        self.life().1
    }

    fn epoch(&self) -> Epoch {
        self.life().0
    }

    fn programme(&self) -> ProgrammeId {
        self.contents.programme()
    }

    fn membership(&self) -> &Membership {
        self.contents.authority.membership()
    }

    fn authority_head(&self) -> AuthorityRef {
        self.contents.authority.head()
    }

    fn authority_entries(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, HoldingsError> {
        self.check_alive().map_err(failed)?;
        let entries = self.contents.authority.entries_from(from, bytes_max);
        Ok(entries.iter().map(|bytes| bytes.to_vec()).collect())
    }

    fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn journal_end(&self, of: ScopeLane) -> JournalMark {
        self.end(of).mark
    }

    fn journal_mark(
        &self,
        of: ScopeLane,
        position: u64,
    ) -> Result<Option<JournalMark>, HoldingsError> {
        let end = self.end_at(of, position).map_err(failed)?;
        Ok(end.map(|end| end.mark))
    }

    fn journal(
        &self,
        of: ScopeLane,
        position: u64,
        bytes_max: usize,
    ) -> Result<Vec<JournalItem>, HoldingsError> {
        self.read_journal(of, position, bytes_max).map_err(failed)
    }

    fn journal_bytes_from(&self, of: ScopeLane, position: u64) -> Result<u64, HoldingsError> {
        let at = self.end_at(of, position).map_err(failed)?;
        let end = self.end(of).bytes;
        Ok(at.map_or(0, |at| end.saturating_sub(at.bytes)))
    }

    fn digest(&self, of: ScopeLane) -> Digest {
        let digest = self.contents.logs_of(of, |logs| logs.digest());
        digest.unwrap_or_else(|| digest_of([]))
    }

    fn leaf_count(&self, of: ScopeLane) -> usize {
        let count = self.contents.logs_of(of, |logs| logs.leaves().len());
        count.unwrap_or_default()
    }

    fn leaves(&self, of: ScopeLane) -> Vec<Leaf> {
        let leaves = self
            .contents
            .logs_of(of, |logs| logs.leaves().copied().collect());
        leaves.unwrap_or_default()
    }

    fn detached(&self, of: ScopeLane) -> Vec<EntryId> {
        let detached = self
            .contents
            .logs_of(of, |logs| logs.detached().map(|(id, _)| *id).collect());
        detached.unwrap_or_default()
    }

    fn holds(&self, id: &EntryId) -> Result<bool, HoldingsError> {
        self.check_alive().map_err(failed)?;
        let held = self.index.get(Table::Entries, &id.0).map_err(failed)?;
        Ok(held.is_some())
    }

    fn entry(&self, id: &EntryId) -> Result<Option<Entry>, HoldingsError> {
        self.check_alive().map_err(failed)?;
        let row = entry_row(&*self.index, &IndexWrites::default(), id).map_err(failed)?;
        row.map(|row| self.read_entry(id, row.location))
            .transpose()
            .map_err(failed)
    }

    fn ids_at(&self, log: &LogId, number: u64) -> Result<Vec<EntryId>, HoldingsError> {
        self.read_ids_at(log, number).map_err(failed)
    }

    fn peer(&self, peer: &DeviceKey) -> Result<PeerRecord, HoldingsError> {
        self.read_peer(peer).map_err(failed)
    }

    fn grants_for(&self, device: &DeviceKey) -> Result<Vec<Vec<u8>>, HoldingsError> {
        self.side_objects(Table::Grants, &device.0, |_| true)
            .map_err(failed)
    }

    fn receipts(&self) -> Result<Vec<Vec<u8>>, HoldingsError> {
        self.side_objects(Table::Receipts, &[], |_| true)
            .map_err(failed)
    }

    fn receipts_of(&self, scopes: &BTreeSet<ScopeId>) -> Result<Vec<Vec<u8>>, HoldingsError> {
        self.side_objects(Table::Receipts, &[], |key| speaks_of(key, scopes))
            .map_err(failed)
    }
}
