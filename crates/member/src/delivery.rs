//! How far changes have come: on this device, at a relay, seen by the centre.
//!
//! Worked out when asked, from what relays acknowledged and centres signed, and kept nowhere.

use crate::Member;
use crate::catalogue;
use crate::contents::Contents;
use crate::error::MemberError;
use crate::ingest::EntryRow;
use crate::receipt::Receipt;
use crate::tables::{Kept, Tables};
use crate::trust::reaches;
use cairn_documents::{Documents, HeldState, Provenance, batch};
use cairn_keys::{Membership, Role, Standing, open_entry};
use cairn_replica::Origin;
use cairn_store::Store;
use cairn_wire::Entry;
use cairn_wire::frame::{Backlog, ScopeLane};
use cairn_wire::ids::{DeviceKey, DocumentId, EntryId, LogId, ScopeId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const JOURNAL_BYTES: usize = 1024 * 1024;

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Durable here, and as far as is known nowhere else.
    OnThisDevice,
    /// A relay has said that it is durable there.
    AtRelay,
    /// A centre has signed that it opened it.
    SeenByCentre,
}

/// What relays acknowledged and centres signed, as of one moment.
#[derive(Debug)]
pub struct Delivery {
    /// Highest position in our journals that a relay acknowledged.
    acknowledged: BTreeMap<ScopeLane, u64>,
    relays: BTreeSet<DeviceKey>,
    receipts: BTreeMap<LogId, Vec<Receipt>>,
}

/// Changes that no relay has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsent {
    /// How many.
    pub changes: u64,
    /// When this device recorded the oldest of its own, seconds since 1970 by its own clock.
    pub oldest_s: Option<i64>,
    /// How many of each record.
    pub documents: HashMap<(ScopeId, DocumentId), u64>,
}

/// A relay or hub, and what it has of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStanding {
    /// The relay.
    pub relay: DeviceKey,
    /// Whether it acknowledged every entry that is in a scope which it shares. Says nothing about
    /// changes that are not sealed yet.
    pub has_all_entries: bool,
}

/// What a status line is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Records held.
    pub documents: u64,
    /// Changes that no relay has.
    pub unsent_changes: u64,
    /// When this device recorded the oldest of its own among them.
    pub oldest_unsent_s: Option<i64>,
    /// Records with at least one field in conflict.
    pub conflicts: u64,
    /// Records with at least one proposal.
    pub proposals: u64,
    /// Records with at least one value whose author is not verified.
    pub unverified: u64,
    /// Records that are probably the same as others here.
    pub duplicates: u64,
    /// Changes that wait for others.
    pub waiting: u64,
    /// Changes set aside because they break a rule, entries that cannot be read included.
    pub quarantined: u64,
    /// Changes that fail in company of others.
    pub stuck: u64,
    /// Entries whose key is not held.
    pub locked_entries: u64,
    /// Logs that two writers continued: a copied or restored device.
    pub forked_logs: u64,
    /// Drafts: what was typed and could not be saved.
    pub drafts: u64,
    /// Relays that are members, and what they have.
    pub relays: Vec<RelayStanding>,
}

impl Delivery {
    /// As of now.
    pub fn of(store: &dyn Store, membership: &Membership) -> Result<Self, MemberError> {
        let mut delivery = Self {
            acknowledged: BTreeMap::new(),
            relays: relays(membership),
            receipts: BTreeMap::new(),
        };
        for relay in &delivery.relays {
            for (of, position) in acknowledged_by(store, relay)? {
                let best = delivery.acknowledged.entry(of).or_default();
                *best = position.max(*best);
            }
        }
        for bytes in store.receipts()? {
            if let Ok(receipt) = Receipt::verify(&bytes, membership) {
                let rows = delivery.receipts.entry(receipt.log).or_default();
                rows.push(receipt);
            }
        }
        Ok(delivery)
    }

    fn acknowledged(&self, of: ScopeLane) -> u64 {
        self.acknowledged.get(&of).copied().unwrap_or(0)
    }

    fn relay_sent(&self, origins: &[Origin]) -> bool {
        origins
            .iter()
            .any(|origin| self.relays.contains(&origin.peer))
    }

    /// How far the change that stands in these places has come: the farthest of them.
    pub(crate) fn stage(
        &self,
        store: &dyn Store,
        tables: &Tables<'_>,
        provenances: &[Provenance],
    ) -> Result<Stage, MemberError> {
        let mut stage = Stage::OnThisDevice;
        for provenance in provenances {
            let Provenance::Entry {
                log, number, id, ..
            } = provenance
            else {
                continue;
            };
            for receipt in self.receipts.get(log).into_iter().flatten() {
                if *number <= receipt.opened.number
                    && !receipt.exceptions.contains_key(id)
                    && opened_reaches(store, tables, receipt, *number, id)?
                {
                    return Ok(Stage::SeenByCentre);
                }
            }
            let Some(row) = EntryRow::read(tables, id)? else {
                continue;
            };
            let known = row.position < self.acknowledged(row.of);
            if known || self.came_from_relay(store, &row)? {
                stage = Stage::AtRelay;
            }
        }
        Ok(stage)
    }

    fn came_from_relay(&self, store: &dyn Store, row: &EntryRow) -> Result<bool, MemberError> {
        let items = store.journal(row.of, row.position, 1)?;
        Ok(items
            .first()
            .is_some_and(|item| self.relay_sent(&item.origins)))
    }
}

/// Is the entry the last one that the receipt speaks of, or reached from it?
fn opened_reaches(
    store: &dyn Store,
    tables: &Tables<'_>,
    receipt: &Receipt,
    number: u64,
    id: &EntryId,
) -> Result<bool, MemberError> {
    let (log, top) = (&receipt.log, receipt.opened);
    let of = ScopeLane {
        scope: log.scope,
        lane: log.lane,
    };
    // Where one entry has the number, and what stands on it is whole, there is no other way down.
    let alone = store.ids_at(log, number)? == [*id];
    if alone && store.ids_at(log, top.number)?.contains(&top.id) {
        return Ok(!store.detached(of).contains(&top.id));
    }
    reaches(tables, top.number, top.id, number, *id)
}

impl Member {
    /// Changes that no relay has: unsealed ones, and entries above what relays acknowledged that no
    /// relay sent.
    pub fn unsent(
        &self,
        store: &dyn Store,
        membership: &Membership,
    ) -> Result<Unsent, MemberError> {
        self.unsent_some(store, membership, true)
    }

    /// The same; which records they are for is left out unless `with_documents`.
    fn unsent_some(
        &self,
        store: &dyn Store,
        membership: &Membership,
        with_documents: bool,
    ) -> Result<Unsent, MemberError> {
        let delivery = Delivery::of(store, membership)?;
        let tables = self.tables(store);
        let mut unsent = Unsent::default();
        tables.each(Kept::OutboxContents, &[], &mut |_, row| {
            let (scope, contents) = Contents::decode(row, with_documents)?;
            unsent.count(&scope, contents);
            Ok(true)
        })?;
        for of in store.journals() {
            let mut position = delivery.acknowledged(of);
            while position < store.journal_end(of).position {
                let items = store.journal(of, position, JOURNAL_BYTES)?;
                let Some(last) = items.last() else {
                    break;
                };
                position = last.after.position;
                for item in &items {
                    if delivery.relay_sent(&item.origins) {
                        continue;
                    }
                    let scope = of.scope;
                    match Contents::of_entry(&tables, &item.entry.id(), with_documents)? {
                        Some(contents) => unsent.count(&scope, contents),
                        None => self.count_entry(&item.entry, &mut unsent),
                    }
                }
            }
        }
        Ok(unsent)
    }

    fn count_entry(&self, entry: &Entry, unsent: &mut Unsent) {
        let log = entry.header().log;
        let changes = self
            .keyring
            .for_entry(entry.header())
            .and_then(|key| open_entry(entry, key).ok())
            .and_then(|plain| batch::decode(&plain, &log.scope, &log.device).ok());
        match changes {
            Some(changes) => unsent.count(&log.scope, Contents::of(changes.iter().flatten())),
            // Carried for somebody else, unopened.
            None => unsent.changes += 1,
        }
    }

    /// What a device declares in its first frame.
    pub fn backlog(
        &self,
        store: &dyn Store,
        membership: &Membership,
        now_s: i64,
    ) -> Result<Backlog, MemberError> {
        let unsent = self.unsent_some(store, membership, false)?;
        let totals = catalogue::totals(&self.tables(store))?;
        let conflicts = totals.values().map(|totals| totals.conflicts).sum();
        Ok(Backlog {
            changes: unsent.changes,
            oldest_age_s: unsent
                .oldest_s
                .map(|oldest| u64::try_from(now_s.saturating_sub(oldest)).unwrap_or(0)),
            conflicts,
        })
    }

    /// What a status line is made of.
    pub fn status(
        &self,
        store: &dyn Store,
        membership: &Membership,
    ) -> Result<Status, MemberError> {
        let unsent = self.unsent_some(store, membership, false)?;
        let mut status = Status {
            unsent_changes: unsent.changes,
            oldest_unsent_s: unsent.oldest_s,
            drafts: self.drafts(store)?,
            ..Status::default()
        };
        let tables = self.tables(store);
        let mut scopes = self.scopes(membership);
        for (scope, totals) in catalogue::totals(&tables)? {
            status.documents += totals.documents;
            status.conflicts += totals.conflicts;
            status.proposals += totals.proposals;
            status.unverified += totals.unverified;
            status.duplicates += totals.duplicates;
            scopes.insert(scope);
        }
        for scope in &scopes {
            Documents::new(&tables)
                .each_held(scope, &mut |change| {
                    *match change.state {
                        HeldState::Waiting(_) => &mut status.waiting,
                        HeldState::Quarantined(_) => &mut status.quarantined,
                        HeldState::Stuck => &mut status.stuck,
                    } += 1;
                })
                .map_err(MemberError::from_shelf)?;
        }
        tables.each(Kept::Spoilt, &[], &mut |_, _| {
            status.quarantined += 1;
            Ok(true)
        })?;
        tables.each(Kept::Locked, &[], &mut |_, _| {
            status.locked_entries += 1;
            Ok(true)
        })?;
        for of in store.journals() {
            status.forked_logs += store.forked_logs(of).len() as u64;
        }
        for relay in relays(membership) {
            status.relays.push(RelayStanding {
                relay,
                has_all_entries: has_all_entries(store, &relay)?,
            });
        }
        Ok(status)
    }
}

impl Unsent {
    fn count(&mut self, scope: &ScopeId, contents: Contents) {
        self.changes += u64::from(contents.changes);
        for (document, changes) in contents.documents {
            *self.documents.entry((*scope, document)).or_default() += u64::from(changes);
        }
        self.oldest_s = match (self.oldest_s, contents.recorded_at_s) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

fn relays(membership: &Membership) -> BTreeSet<DeviceKey> {
    membership
        .members()
        .filter(|member| {
            matches!(member.role, Role::Relay | Role::Hub | Role::Centre)
                && member.standing == Standing::Member
        })
        .map(|member| member.public.device)
        .collect()
}

/// What a peer acknowledged of our journals in their present life.
fn acknowledged_by(
    store: &dyn Store,
    peer: &DeviceKey,
) -> Result<BTreeMap<ScopeLane, u64>, MemberError> {
    let record = store.peer(peer)?;
    let epoch = store.epoch();
    let lanes = record.lanes.into_iter();
    Ok(lanes
        .filter_map(|(of, lane)| Some((of, lane.acknowledged?)))
        .filter(|(_, cursor)| cursor.epoch == epoch)
        .map(|(of, cursor)| (of, cursor.mark.position))
        .collect())
}

fn has_all_entries(store: &dyn Store, relay: &DeviceKey) -> Result<bool, MemberError> {
    let acknowledged = acknowledged_by(store, relay)?;
    Ok(store
        .journals()
        .into_iter()
        .all(|of| acknowledged.get(&of).copied().unwrap_or(0) >= store.journal_end(of).position))
}
