//! A scripted life of a store, and a ledger of what it reported, kept outside of it.

use super::{Author, Authority, RECORDS, URGENT, incoming, options, outbox_frame};
use cairn_replica::holdings::Holdings;
use cairn_store::index::memory_index::MemoryIndex;
use cairn_store::index::{Index, IndexFactory, IndexWrites, OpenIndexError, Row, Rows, Table};
use cairn_store::{
    IndexError, ModelDisk, OpenReport, SegmentStore, SideObject, Store, StoreError, WriteSet,
};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, EntryId, Epoch, Incarnation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Something the store reported as durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    Entry(ScopeLane, u64, EntryId),
    Outbox(u64),
    Sealed(u64),
    State(Vec<u8>, u64),
    AuthorityHeight(u64),
    Grant(u64),
    Epoch(Epoch),
    Incarnation(Incarnation),
}

/// What was reported, and after which operation of the disk; and all that was ever given.
#[derive(Default)]
pub struct Ledger {
    pub claims: Vec<(u64, Claim)>,
    pub entries_given: BTreeSet<EntryId>,
    pub states_given: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// Outbox numbers that were given to be sealed, and into what.
    pub sealings_given: BTreeMap<u64, Vec<EntryId>>,
    pub epochs_given: BTreeSet<Epoch>,
    /// Openings that the script did, each a new seed.
    pub openings: u64,
}

impl Ledger {
    fn claim(&mut self, disk: &ModelDisk, claim: Claim) {
        self.claims.push((disk.operations(), claim));
    }

    /// Checks a store that was opened after a power cut at `operations`.
    pub fn check(&self, operations: u64, store: &dyn Store, report: &OpenReport, what: &str) {
        let claims = || {
            let due = self.claims.iter().filter(|(at, _)| *at <= operations);
            due.map(|(_, claim)| claim)
        };
        let mut states: BTreeMap<&[u8], u64> = BTreeMap::new();
        let (mut epoch, mut incarnation) = (None, None);
        let outbox = store.outbox(0, usize::MAX).unwrap();
        for claim in claims() {
            match claim {
                Claim::Entry(of, position, id) => {
                    let entry = store.entry(id).unwrap();
                    assert!(entry.is_some(), "{what}: an acknowledged entry is gone");
                    if !report.new_epoch {
                        let items = store.journal(*of, *position, 1).unwrap();
                        assert_eq!(items[0].entry.id(), *id, "{what}: position {position}");
                    }
                }
                Claim::Outbox(number) => {
                    let found = outbox.iter().find(|frame| frame.number == *number);
                    match found {
                        Some(frame) => {
                            let expected = outbox_frame(*number, frame.sealed.len());
                            assert_eq!(*frame, expected, "{what}");
                        }
                        // Its seal was given, perhaps as the power went: then all of it is there.
                        None => {
                            let sealing = self.sealings_given.get(number);
                            let entries = sealing
                                .unwrap_or_else(|| panic!("{what}: saved change {number} is gone"));
                            for id in entries {
                                assert!(store.holds(id).unwrap(), "{what}: {number} is gone");
                            }
                        }
                    }
                    assert!(store.next_outbox_number() > *number, "{what}");
                }
                Claim::Sealed(number) => assert!(
                    outbox.iter().all(|frame| frame.number != *number),
                    "{what}: sealed change {number} is back"
                ),
                Claim::State(key, value) => {
                    states.insert(key, *value);
                }
                Claim::AuthorityHeight(height) => {
                    assert!(store.authority_head().height >= *height, "{what}");
                }
                Claim::Grant(counter) => {
                    let grants = store.grants_for(&DeviceKey([0xd0; 32])).unwrap();
                    let held: u64 = String::from_utf8(grants[0].clone())
                        .unwrap()
                        .parse()
                        .unwrap();
                    assert!(held >= *counter, "{what}");
                }
                Claim::Epoch(claimed) => epoch = Some(*claimed),
                Claim::Incarnation(claimed) => incarnation = Some(*claimed),
            }
        }
        for (key, value) in states {
            let held = store.state(key).unwrap();
            let held = held.unwrap_or_else(|| panic!("{what}: state is gone"));
            let held = u64::from_be_bytes(held.try_into().unwrap());
            assert!(
                held >= value,
                "{what}: state went back to {held} from {value}"
            );
            assert!(self.states_given[key].contains(&held), "{what}: invented");
        }
        if !report.new_epoch && self.epochs_given.len() < 2 {
            assert_eq!(epoch.unwrap_or(store.epoch()), store.epoch(), "{what}");
            let incarnation = incarnation.unwrap_or(store.incarnation());
            assert_eq!(incarnation, store.incarnation(), "{what}");
        }
        for of in [URGENT, RECORDS] {
            for entry in super::journal(store, of) {
                let given = self.entries_given.contains(&entry.id());
                assert!(given, "{what}: an entry is invented");
            }
        }
        let sound = store.verify(false).unwrap();
        assert!(sound.is_sound(), "{what}: {:?}", sound.problems);
    }
}

/// Entries that were ever given, even if the call then failed.
fn append(
    store: &mut dyn Store,
    disk: &ModelDisk,
    ledger: &mut Ledger,
    entries: &[cairn_wire::Entry],
) -> Result<(), StoreError> {
    ledger
        .entries_given
        .extend(entries.iter().map(cairn_wire::Entry::id));
    for one in store.append(incoming(entries))? {
        ledger.claim(disk, Claim::Entry(one.of, one.position, one.id));
    }
    Ok(())
}

/// Opens on the disk, with an index that survives what the caller wants it to.
pub fn open(
    disk: &ModelDisk,
    index: Option<&SharedIndex>,
    seed: u64,
) -> Result<(SegmentStore<ModelDisk>, OpenReport), StoreError> {
    match index {
        None => SegmentStore::open_model(disk.clone(), &options(seed)),
        Some(index) => {
            let factory = Box::new(SharedFactory(index.clone()));
            SegmentStore::open_on(disk.clone(), factory, &options(seed))
        }
    }
}

/// Appends, outbox saves, sealing, state, authority, grants, over several segments and openings.
pub fn run(
    disk: &ModelDisk,
    index: Option<&SharedIndex>,
    ledger: &mut Ledger,
) -> Result<(), StoreError> {
    let mut peer = Author::new(URGENT, 1, 1);
    let mut other = Author::new(RECORDS, 2, 1);
    let mut late = Author::new(RECORDS, 3, 1);
    let first_of_late = late.write(b"comes last");
    let mut authority = Authority::found();
    let mut counter = 0;
    for round in 0..5u64 {
        ledger.openings += 1;
        let (mut store, _) = open(disk, index, ledger.openings)?;
        ledger.epochs_given.insert(store.epoch());
        ledger.claim(disk, Claim::Epoch(store.epoch()));
        ledger.claim(disk, Claim::Incarnation(store.incarnation()));
        for step in 0..2u64 {
            append(
                &mut store,
                disk,
                ledger,
                &peer.write_many(1 + step as usize),
            )?;
            let mut batch = other.write_many(4);
            batch.push(late.write(b"above a gap"));
            append(&mut store, disk, ledger, &batch)?;

            let first = store.next_outbox_number();
            let numbers: Vec<u64> = (first..first + 3).collect();
            let frames = numbers.iter().map(|number| outbox_frame(*number, 150));
            store.save_outbox(frames.collect(), WriteSet::new())?;
            for number in &numbers {
                ledger.claim(disk, Claim::Outbox(*number));
            }
            counter += 1;
            for key in [&b"enrolment"[..], b"decision"] {
                let value: u64 = counter;
                ledger
                    .states_given
                    .entry(key.to_vec())
                    .or_default()
                    .insert(value);
                store.put_state(key, &value.to_be_bytes())?;
                ledger.claim(disk, Claim::State(key.to_vec(), value));
            }
            let next = store.next_own(URGENT)?;
            let mut own = Author::of_log(next.log);
            (own.number, own.previous) = (next.number - 1, next.previous);
            let entries = own.write_many(2);
            let ids: Vec<_> = entries.iter().map(cairn_wire::Entry::id).collect();
            ledger.entries_given.extend(ids.iter().copied());
            let sealing = &numbers[..2];
            for number in sealing {
                ledger.sealings_given.insert(*number, ids.clone());
            }
            for one in store.seal_outbox(sealing, entries, WriteSet::new())? {
                ledger.claim(disk, Claim::Entry(one.of, one.position, one.id));
            }
            for number in sealing {
                ledger.claim(disk, Claim::Sealed(*number));
            }
            let signed = if (round, step) == (0, 0) {
                authority.entry(0)
            } else {
                authority.sign(step == 1)
            };
            store.append_authority(vec![signed])?;
            let head = authority.log.head().height;
            ledger.claim(disk, Claim::AuthorityHeight(head));
            let grant = SideObject {
                key: [0xd0; 32].to_vec(),
                counter,
                bytes: counter.to_string().into_bytes(),
            };
            store.put_grants(vec![grant])?;
            ledger.claim(disk, Claim::Grant(counter));
            store.tick(counter * 600)?;
        }
        if round == 3 {
            append(
                &mut store,
                disk,
                ledger,
                std::slice::from_ref(&first_of_late),
            )?;
        }
        if round % 2 == 0 {
            Box::new(store).close()?;
        }
    }
    Ok(())
}

/// An index in memory that outlives its store, and remembers its past.
#[derive(Clone, Default)]
pub struct SharedIndex {
    pub now: Arc<Mutex<MemoryIndex>>,
    disk: ModelDisk,
    /// After which operation of the disk it looked how.
    past: Arc<Mutex<Vec<(u64, MemoryIndex)>>>,
    /// The next write fails.
    pub fails: Arc<std::sync::atomic::AtomicBool>,
}

impl SharedIndex {
    pub fn over(disk: &ModelDisk) -> Self {
        Self {
            disk: disk.clone(),
            ..Self::default()
        }
    }

    /// The index as it may be after a power cut: any earlier state of it.
    pub fn image_at(&self, operations: u64, seed: u64) -> Self {
        let past = self.past.lock().unwrap();
        let possible = past.iter().filter(|(at, _)| *at <= operations).count();
        let chosen = seed as usize % (possible + 1);
        let now = chosen
            .checked_sub(1)
            .map_or_else(MemoryIndex::default, |at| past[at].1.clone());
        Self {
            now: Arc::new(Mutex::new(now)),
            ..Self::default()
        }
    }
}

struct SharedFactory(SharedIndex);

impl IndexFactory for SharedFactory {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        Ok(Box::new(self.0.clone()))
    }
    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        *self.0.now.lock().unwrap() = MemoryIndex::default();
        Ok((Box::new(self.0.clone()), Some("aside".into())))
    }
}

impl Index for SharedIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.now.lock().unwrap().get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError> {
        self.now.lock().unwrap().scan(table, prefix, from, limit)
    }
    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>, IndexError> {
        self.now.lock().unwrap().last(table, prefix)
    }
    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError> {
        if self.fails.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(IndexError {
                doing: "writing",
                why: "as asked".to_owned(),
                disk: None,
            });
        }
        let mut now = self.now.lock().unwrap();
        now.apply(writes)?;
        let at = self.disk.operations();
        self.past.lock().unwrap().push((at, now.clone()));
        Ok(())
    }
    fn persist(&mut self) -> Result<(), IndexError> {
        Ok(())
    }
}
