//! A replica: a device's secret and a store on a model disk.

use crate::dice::Dice;
use crate::programme::scope_key;
use crate::surviving_index::Survivor;
use cairn_keys::{DeviceSecret, seal_entry};
use cairn_replica::session::{Input, Output};
use cairn_replica::{Holdings, Leaf};
use cairn_store::{
    Fresh, Incoming, ModelDisk, OpenOptions, SegmentStore, SideObject, Store, StoreError,
};
use cairn_wire::frame::{CloseReason, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId};
use cairn_wire::{Entry, EntryHeader};
use std::collections::BTreeSet;

/// A replica.
pub struct Node {
    /// Its keys.
    pub secret: DeviceSecret,
    /// What it holds.
    pub store: SegmentStore<ModelDisk>,
    /// What opening the store reported last.
    pub opened: cairn_store::OpenReport,
}

impl Node {
    /// Opens the store on a disk, or makes it, with an index that no crash survives. `seed` never the
    /// same twice.
    pub fn open(secret: DeviceSecret, disk: ModelDisk, seed: u64) -> Result<Self, StoreError> {
        Self::open_with(secret, disk, Survivor::default(), seed)
    }

    /// The same with the index that survived.
    pub fn open_with(
        secret: DeviceSecret,
        disk: ModelDisk,
        index: Survivor,
        seed: u64,
    ) -> Result<Self, StoreError> {
        let mut fresh = [0; 48];
        let mut dice = Dice::new(seed);
        for byte in &mut fresh {
            *byte = dice.number() as u8;
        }
        let mut options = OpenOptions::new(secret.device(), Fresh(fresh));
        options.segment_bytes = 64 * 1024;
        let (store, opened) = SegmentStore::open_on(disk, Box::new(index), &options)?;
        Ok(Self {
            secret,
            store,
            opened,
        })
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> DeviceKey {
        self.secret.device()
    }

    /// Takes in authority entries.
    pub fn learn(&mut self, entries: &[Vec<u8>]) -> Result<(), StoreError> {
        self.store.append_authority(entries.to_vec()).map(|_| ())
    }

    /// Seals the next own entry; it is not stored.
    pub fn seal(&self, of: ScopeLane, payload: &[u8]) -> Result<Entry, StoreError> {
        let next = self.store.next_own(of)?;
        let header = EntryHeader {
            version: 1,
            programme: self.store.programme(),
            log: next.log,
            number: next.number,
            previous: next.previous,
            authority: self.store.authority_head(),
            key_number: 0,
            payload_bytes: 0,
        };
        Ok(
            seal_entry(&self.secret, &scope_key(of.scope), &header, payload)
                .expect("a header of this device"),
        )
    }

    /// Seals and keeps an own entry.
    pub fn write(&mut self, of: ScopeLane, payload: &[u8]) -> Result<EntryId, StoreError> {
        let entry = self.seal(of, payload)?;
        let id = entry.id();
        self.keep(vec![entry])?;
        Ok(id)
    }

    /// Keeps entries of nobody's sending.
    pub fn keep(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let incoming = entries.into_iter().map(|entry| Incoming {
            entry,
            origins: Vec::new(),
        });
        self.store.append(incoming.collect()).map(|_| ())
    }

    /// Does what a session asks of the store, and gives the answer that it awaits.
    pub fn carry_out(&mut self, peer: &DeviceKey, output: Output) -> Option<Input> {
        let done: Result<Option<Input>, StoreError> = match output {
            Output::Append { entries, origin } => {
                let incoming = entries
                    .into_iter()
                    .map(|entry| Incoming {
                        entry,
                        origins: vec![origin],
                    })
                    .collect();
                self.store.append(incoming).map(|appended| {
                    let new = appended.iter().filter(|it| it.new).count() as u64;
                    Some(Input::Appended { new })
                })
            }
            Output::AppendAuthority(entries) => {
                let valid = match self.store.append_authority(entries) {
                    Ok(_) => Ok(true),
                    Err(StoreError::Authority(_)) => Ok(false),
                    Err(error) => Err(error),
                };
                valid.map(|valid| Some(Input::AuthorityAppended { valid }))
            }
            Output::SavePeer(record) => self.store.put_peer(peer, &record).map(|()| None),
            Output::PutGrants(grants) => {
                let grants = grants.into_iter().map(|bytes| SideObject {
                    key: [&self.key().0[..], &bytes].concat(),
                    counter: 1,
                    bytes,
                });
                self.store
                    .put_grants(grants.collect())
                    .map(|_| Some(Input::SideObjectsGrown))
            }
            Output::PutReceipts(receipts) => {
                let rows = receipts.into_iter().filter_map(receipt_row);
                self.store
                    .put_receipts(rows.collect())
                    .map(|_| Some(Input::SideObjectsGrown))
            }
            _ => Ok(None),
        };
        done.unwrap_or(Some(Input::Close(CloseReason::StoreFailed)))
    }

    /// Every entry held in a scope and lane.
    pub fn ids(&self, of: ScopeLane) -> BTreeSet<EntryId> {
        let mut ids = BTreeSet::new();
        let mut position = 0;
        loop {
            let items = self
                .store
                .journal(of, position, 1 << 20)
                .expect("a journal that reads");
            let Some(last) = items.last() else {
                return ids;
            };
            position = last.after.position;
            ids.extend(items.iter().map(|item| item.entry.id()));
        }
    }

    /// The ends of all logs in a scope and lane.
    #[must_use]
    pub fn leaves(&self, of: ScopeLane) -> Vec<Leaf> {
        self.store.leaves(of)
    }
}

/// A receipt's row as tests make them: centre, scope and 8 bytes are its key, then come its counter and
/// whatever else.
pub fn receipt_row(bytes: Vec<u8>) -> Option<SideObject> {
    let (key, rest) = bytes.split_at_checked(32 + 16 + 8)?;
    let counter = u64::from_be_bytes(*rest.first_chunk()?);
    let key = key.to_vec();
    Some(SideObject {
        key,
        counter,
        bytes,
    })
}
