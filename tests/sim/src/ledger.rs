//! What was promised, written down outside the system.

use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::EntryId;
use std::collections::{BTreeMap, BTreeSet};

/// A replica by its place in the simulation.
pub type Place = usize;

/// Every entry that somebody was told is safe, and where.
#[derive(Debug, Default)]
pub struct Ledger {
    items: BTreeMap<EntryId, Item>,
}

/// One promise.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it belongs.
    pub of: ScopeLane,
    /// Replicas that said they have it durably, and whose disks were not replaced by older ones since.
    pub at: BTreeSet<Place>,
}

impl Ledger {
    /// A replica said it has an entry durably: its own person saw "saved", or a peer an acknowledgement.
    pub fn promise(&mut self, place: Place, of: ScopeLane, id: EntryId) {
        let item = self.items.entry(id).or_insert_with(|| Item {
            of,
            at: BTreeSet::new(),
        });
        item.at.insert(place);
    }

    /// What a replica has promised.
    pub fn promised_at(&self, place: Place) -> impl Iterator<Item = &EntryId> {
        self.items
            .iter()
            .filter(move |(_, item)| item.at.contains(&place))
            .map(|(id, _)| id)
    }

    /// A replica's disk was replaced by an older one: what is not on it is promised no more.
    pub fn set_back(&mut self, place: Place, held: impl Fn(&EntryId) -> bool) {
        for (id, item) in &mut self.items {
            if !held(id) {
                item.at.remove(&place);
            }
        }
    }

    /// A copy of a replica keeps the promises of the original that it can.
    pub fn copied(&mut self, from: Place, to: Place, held: impl Fn(&EntryId) -> bool) {
        for (id, item) in &mut self.items {
            if item.at.contains(&from) && held(id) {
                item.at.insert(to);
            }
        }
    }

    /// What must be everywhere in the end.
    pub fn standing(&self) -> impl Iterator<Item = (&EntryId, ScopeLane)> {
        self.items
            .iter()
            .filter(|(_, item)| !item.at.is_empty())
            .map(|(id, item)| (id, item.of))
    }

    /// How many promises were made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none was made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
