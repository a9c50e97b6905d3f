//! Where entries stand and what became of them: for the receipts of a centre, and for whoever asks
//! who has a record.

use crate::Member;
use crate::error::MemberError;
use crate::ingest::{CROWDED, EntryRow};
use crate::receipt::Exception;
use crate::tables::{Kept, Tables};
use cairn_documents::{Documents, HeldChange, HeldState, Provenance};
use cairn_store::Store;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DocumentId, EntryId, LogId, ScopeId};
use std::collections::BTreeMap;

/// Bytes of a locked entry's key before its id: scope, key number, padding.
const LOCKED_PREFIX_BYTES: usize = 32;

/// Why an entry is not all applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is not opened, or not all of it was taken in yet: a receipt stops before it.
    NotOpened,
    /// It is opened, and something in it is not applied.
    Exception(Exception),
}

/// Why not all of an entry could be opened and offered to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// Its key is not held.
    Locked,
    /// Too much of its author waits: it is offered again when there is room.
    Crowded,
    /// It does not read as a batch of changes.
    Wholly,
    /// It reads, but for some of its changes.
    InPart,
}

/// An entry that is not all applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultyEntry {
    /// Its id.
    pub id: EntryId,
    /// Its journal.
    pub of: ScopeLane,
    /// Its number in its log.
    pub number: u64,
    /// The entry before it.
    pub previous: EntryId,
    /// What is wrong.
    pub fault: Fault,
}

/// Where a change of a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The log that holds it.
    pub log: LogId,
    /// The entry's number there.
    pub number: u64,
    /// The entry.
    pub id: EntryId,
    /// Its position in the journal that was followed.
    pub position: u64,
}

impl Member {
    /// Entries of a scope that are not all applied, by id.
    pub fn faulty_entries(
        &self,
        tables: &dyn Store,
        scope: &ScopeId,
    ) -> Result<Vec<FaultyEntry>, MemberError> {
        let tables = self.tables(tables);
        let mut faults: BTreeMap<EntryId, Fault> = BTreeMap::new();
        let mut add = |id: Option<EntryId>, fault: Fault| {
            if let Some(id) = id {
                let held = faults.entry(id).or_insert(fault);
                *held = fault.min(*held);
            }
        };
        self.each_held_in(&tables, scope, &mut |held| {
            let exception = match held.state {
                HeldState::Waiting(_) => Exception::Waiting,
                HeldState::Stuck => Exception::Stuck,
                HeldState::Quarantined(_) => Exception::Quarantined,
            };
            for provenance in &held.provenances {
                if let Provenance::Entry { id, .. } = provenance {
                    add(Some(*id), Fault::Exception(exception));
                }
            }
        })?;
        tables.each(Kept::Spoilt, &scope.0, &mut |key, _| {
            let id = key.get(ScopeId::LEN..).and_then(EntryId::from_slice);
            add(id, Fault::Exception(Exception::Quarantined));
            Ok(true)
        })?;
        tables.each(Kept::Locked, &scope.0, &mut |key, _| {
            let id = key.get(LOCKED_PREFIX_BYTES..).and_then(EntryId::from_slice);
            add(id, Fault::NotOpened);
            Ok(true)
        })?;
        let mut faulty = Vec::with_capacity(faults.len());
        for (id, fault) in faults {
            if let Some(row) = EntryRow::read(&tables, &id)? {
                faulty.push(FaultyEntry {
                    id,
                    of: row.of,
                    number: row.number,
                    previous: row.previous,
                    fault,
                });
            }
        }
        Ok(faulty)
    }

    /// Calls `visit` with each change of a scope that is kept and no part of its document, in no order
    /// that means anything.
    pub fn each_held(
        &self,
        tables: &dyn Store,
        scope: &ScopeId,
        visit: &mut dyn FnMut(HeldChange),
    ) -> Result<(), MemberError> {
        self.each_held_in(&self.tables(tables), scope, visit)
    }

    fn each_held_in(
        &self,
        tables: &Tables<'_>,
        scope: &ScopeId,
        visit: &mut dyn FnMut(HeldChange),
    ) -> Result<(), MemberError> {
        Documents::new(tables)
            .each_held(scope, visit)
            .map_err(MemberError::from_shelf)
    }

    /// Calls `visit` with each entry of a scope of which not all could be opened and offered to records,
    /// and why, in no order that means anything; one entry may have several reasons.
    pub fn each_unread(
        &self,
        tables: &dyn Store,
        scope: &ScopeId,
        visit: &mut dyn FnMut(EntryId, Unread),
    ) -> Result<(), MemberError> {
        let tables = self.tables(tables);
        tables.each(Kept::Spoilt, &scope.0, &mut |key, _| {
            let Some(id) = key.get(ScopeId::LEN..).and_then(EntryId::from_slice) else {
                return Ok(true);
            };
            let row = EntryRow::read(&tables, &id)?;
            let wholly = row.is_none_or(|row| row.changes == 0);
            visit(
                id,
                if wholly {
                    Unread::Wholly
                } else {
                    Unread::InPart
                },
            );
            Ok(true)
        })?;
        tables.each(Kept::Locked, &scope.0, &mut |key, _| {
            let number = key.get(ScopeId::LEN..).and_then(<[u8]>::first_chunk);
            let id = key.get(LOCKED_PREFIX_BYTES..).and_then(EntryId::from_slice);
            if let Some((number, id)) = number.zip(id) {
                let crowded = u32::from_be_bytes(*number) == CROWDED;
                visit(
                    id,
                    if crowded {
                        Unread::Crowded
                    } else {
                        Unread::Locked
                    },
                );
            }
            Ok(true)
        })
    }

    /// The entries in which a record's changes stand, in order.
    pub fn places(
        &self,
        tables: &dyn Store,
        scope: &ScopeId,
        id: &DocumentId,
    ) -> Result<Vec<Place>, MemberError> {
        let tables = self.tables(tables);
        let loaded = Documents::new(&tables)
            .load(scope, id)
            .map_err(MemberError::from_shelf)?;
        let mut places = Vec::new();
        let changes = loaded.iter().flat_map(|document| &document.changes);
        for provenance in changes.flat_map(|change| &change.provenances) {
            let Provenance::Entry {
                log, number, id, ..
            } = provenance
            else {
                continue;
            };
            if let Some(row) = EntryRow::read(&tables, id)? {
                places.push(Place {
                    log: *log,
                    number: *number,
                    id: *id,
                    position: row.position,
                });
            }
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }
}
