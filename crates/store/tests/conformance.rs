//! One suite for every store: what the port promises, whatever is below it.
#![allow(missing_docs)]

mod support;

use cairn_replica::holdings::{Origin, PairRecord, PeerLane, PeerRecord, digest_of};
use cairn_store::index::memory_index::MemoryIndexFactory;
use cairn_store::{
    Incoming, ModelDisk, OpenReport, SegmentStore, SideObject, Store, StoreError, TableName,
    Verifying, WriteSet,
};
use cairn_wire::frame::{Backlog, Cursor, Digest, JournalMark};
use cairn_wire::ids::{DeviceKey, EntryId, Epoch, Incarnation, ProgrammeId};
use std::collections::BTreeMap;
use support::{
    Author, Authority, DEVICE, RECORDS, URGENT, incoming, journal, options, outbox_frame,
};
use tempfile::TempDir;

/// A place where a store can be opened again and again.
trait Home {
    fn open(&mut self) -> (Box<dyn Store>, OpenReport);
    /// Do derived tables and peers survive a clean close?
    fn keeps_index(&self) -> bool;
}

#[derive(Default)]
struct Model(ModelDisk, u64);

impl Home for Model {
    fn open(&mut self) -> (Box<dyn Store>, OpenReport) {
        self.1 += 1;
        let (store, report) = SegmentStore::open_model(self.0.clone(), &options(self.1)).unwrap();
        (Box::new(store), report)
    }
    fn keeps_index(&self) -> bool {
        false
    }
}

struct Folder {
    folder: TempDir,
    sled: bool,
    openings: u64,
}

impl Folder {
    fn new(sled: bool) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            sled,
            openings: 0,
        }
    }
}

impl Home for Folder {
    fn open(&mut self) -> (Box<dyn Store>, OpenReport) {
        self.openings += 1;
        let options = options(self.openings);
        let opened = if self.sled {
            SegmentStore::open(self.folder.path(), &options)
        } else {
            SegmentStore::open_with(self.folder.path(), Box::new(MemoryIndexFactory), &options)
        };
        let (store, report) = opened.unwrap();
        (Box::new(store), report)
    }
    fn keeps_index(&self) -> bool {
        self.sled
    }
}

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod model_disk_memory_index {
            $(#[test] fn $name() { super::$name(&mut super::Model::default()); })*
        }
        mod real_disk_memory_index {
            $(#[test] fn $name() { super::$name(&mut super::Folder::new(false)); })*
        }
        mod real_disk_sled_index {
            $(#[test] fn $name() { super::$name(&mut super::Folder::new(true)); })*
        }
    };
}

conformance!(
    a_new_store_is_empty_and_knows_itself,
    entries_keep_order_position_and_bytes,
    an_entry_twice_takes_one_position,
    gaps_close_and_forks_stay,
    own_numbers_follow,
    the_outbox_empties_by_sealing,
    outbox_numbers_are_never_taken_twice,
    state_and_side_objects_stay,
    the_authority_is_carried_and_its_forks_are_told,
    lives_change_when_told,
    derived_tables_read_what_was_written,
    peers_are_remembered,
    reads_come_in_pieces,
    a_sound_store_verifies,
    a_check_in_slices_finds_the_same_while_others_write,
    repair_changes_nothing_that_was_sound,
    too_much_is_refused_and_harms_nothing,
);

fn reopened(home: &mut dyn Home, store: Box<dyn Store>) -> Box<dyn Store> {
    store.close().unwrap();
    let (store, report) = home.open();
    assert_eq!((report.lost_frames, report.new_epoch), (0, false));
    assert!(!report.new_incarnation && !report.created);
    assert_eq!(report.bad_stretches, []);
    assert_eq!(report.rebuilt.is_none(), home.keeps_index());
    if home.keeps_index() {
        assert_eq!(report.replayed_frames, 0);
    }
    store
}

fn a_new_store_is_empty_and_knows_itself(home: &mut dyn Home) {
    let (store, report) = home.open();
    assert!(report.created && report.new_epoch && report.new_incarnation);
    assert_eq!((&report.rebuilt, report.lost_frames), (&None, 0));
    assert_eq!(store.device(), DEVICE);
    assert_eq!(store.epoch(), options(1).fresh.epoch());
    assert_eq!(store.incarnation(), options(1).fresh.incarnation());
    assert_eq!(store.programme(), ProgrammeId([0; 32]));
    assert_eq!(store.journal_end(URGENT), JournalMark::default());
    assert_eq!(store.digest(URGENT), digest_of([]));
    assert!(store.journals().is_empty());
    let (epoch, incarnation) = (store.epoch(), store.incarnation());
    let store = reopened(home, store);
    assert_eq!((store.epoch(), store.incarnation()), (epoch, incarnation));
}

fn entries_keep_order_position_and_bytes(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let mut author = Author::new(URGENT, 1, 1);
    let mut other = Author::new(RECORDS, 2, 1);
    let urgent = author.write_many(40);
    let records = other.write_many(3);
    let mut batch = incoming(&urgent[..20]);
    batch.extend(incoming(&records));
    batch.extend(incoming(&urgent[20..]));
    let appended = store.append(batch).unwrap();
    assert!(appended.iter().all(|one| one.new && !one.detached));
    assert_eq!(appended[19].position, 19);
    assert_eq!((appended[20].of, appended[20].position), (RECORDS, 0));
    assert_eq!((appended[23].of, appended[23].position), (URGENT, 20));
    let mut store = store;
    for again in 0..2 {
        assert_eq!(journal(&*store, URGENT), urgent, "{again}");
        assert_eq!(journal(&*store, RECORDS), records);
        assert_eq!(store.journals(), [URGENT, RECORDS]);
        let bytes: usize = urgent[7..].iter().map(|entry| entry.bytes().len()).sum();
        let from = store.journal_bytes_from(URGENT, 7).unwrap();
        assert_eq!(from, bytes as u64);
        assert_eq!(store.journal_bytes_from(URGENT, 40).unwrap(), 0);
        let found = store.entry(&urgent[30].id()).unwrap();
        assert_eq!(found.as_ref(), Some(&urgent[30]));
        assert!(store.holds(&records[0].id()).unwrap());
        assert!(!store.holds(&EntryId([1; 32])).unwrap());
        assert_eq!(store.entry(&EntryId([1; 32])).unwrap(), None);
        assert_eq!(store.leaf_count(URGENT), 1);
        store = reopened(home, store);
    }
}

fn an_entry_twice_takes_one_position(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let entries = Author::new(URGENT, 1, 1).write_many(3);
    let from = |peer: u8, entry: &cairn_wire::Entry| Incoming {
        entry: entry.clone(),
        origins: vec![Origin {
            peer: DeviceKey([peer; 32]),
            epoch: Epoch([peer; 8]),
        }],
    };
    let batch = vec![
        from(1, &entries[0]),
        from(2, &entries[0]),
        from(1, &entries[1]),
    ];
    let appended = store.append(batch).unwrap();
    let seen: Vec<_> = appended.iter().map(|one| (one.position, one.new)).collect();
    assert_eq!(seen, [(0, true), (0, false), (1, true)]);
    let again = store
        .append(vec![
            from(3, &entries[1]),
            from(3, &entries[2]),
            from(1, &entries[1]),
        ])
        .unwrap();
    let seen: Vec<_> = again.iter().map(|one| (one.position, one.new)).collect();
    assert_eq!(seen, [(1, false), (2, true), (1, false)]);
    let peers = |store: &dyn Store| -> Vec<Vec<u8>> {
        let items = store.journal(URGENT, 0, usize::MAX).unwrap();
        let peer = |origin: &Origin| origin.peer.0[0];
        items
            .iter()
            .map(|item| item.origins.iter().map(peer).collect())
            .collect()
    };
    assert_eq!(peers(&*store), [vec![1, 2], vec![1, 3], vec![3]]);
    let keeps = home.keeps_index();
    let store = reopened(home, store);
    assert_eq!(journal(&*store, URGENT), entries);
    if keeps {
        assert_eq!(peers(&*store), [vec![1, 2], vec![1, 3], vec![3]]);
    }
}

fn gaps_close_and_forks_stay(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let mut author = Author::new(URGENT, 1, 1);
    let base = author.write_many(2);
    let mut clone = author.clone();
    let main = author.write_many(3);
    let fork = [clone.write(b"the other branch")];
    let append = |store: &mut Box<dyn Store>, entry: &cairn_wire::Entry| {
        store.append(incoming(std::slice::from_ref(entry))).unwrap()[0]
    };
    assert!(append(&mut store, &main[2]).detached);
    assert!(append(&mut store, &main[0]).detached);
    assert!(append(&mut store, &base[1]).detached);
    let mut above = vec![main[2].id(), main[0].id(), base[1].id()];
    above.sort();
    assert_eq!(store.detached(URGENT), above);
    assert_eq!(store.leaf_count(URGENT), 0);
    let mut store = reopened(home, store);
    assert_eq!(store.detached(URGENT), above);
    assert!(!append(&mut store, &base[0]).detached);
    assert_eq!(store.leaves(URGENT)[0].id, main[0].id());
    assert_eq!(store.detached(URGENT), [main[2].id()]);
    append(&mut store, &main[1]);
    assert!(store.detached(URGENT).is_empty());
    assert!(store.forked_logs(URGENT).is_empty());
    let mut store = reopened(home, store);
    // After reopening, the place of the fork is no leaf and not in memory.
    assert!(!append(&mut store, &fork[0]).detached);
    for again in 0..2 {
        let leaves: Vec<_> = store.leaves(URGENT).iter().map(|leaf| leaf.id).collect();
        assert_eq!(leaves, [fork[0].id(), main[2].id()], "{again}");
        assert_eq!(store.digest(URGENT), digest_of(&store.leaves(URGENT)));
        assert_eq!(store.forked_logs(URGENT), [author.log]);
        let mut both = vec![main[0].id(), fork[0].id()];
        both.sort();
        assert_eq!(store.ids_at(&author.log, 3).unwrap(), both);
        assert_eq!(store.ids_at(&author.log, 9).unwrap(), []);
        store = reopened(home, store);
    }
    assert_eq!(store.journal_end(URGENT).position, 6);
}

fn own_numbers_follow(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let first = store.next_own(URGENT).unwrap();
    assert_eq!((first.number, first.previous), (1, EntryId::NONE));
    assert_eq!(first.log.device, DEVICE);
    let mut author = Author::of_log(first.log);
    let own = author.write_many(300);
    store.append(incoming(&own)).unwrap();
    let mut store = reopened(home, store);
    let next = store.next_own(URGENT).unwrap();
    assert_eq!((next.number, next.previous), (301, own[299].id()));
    assert_eq!(store.next_own(RECORDS).unwrap().number, 1);
    store.set_incarnation(Incarnation([8; 16])).unwrap();
    let store = reopened(home, store);
    let anew = store.next_own(URGENT).unwrap();
    assert_eq!(
        (anew.number, anew.log.incarnation),
        (1, Incarnation([8; 16]))
    );
}

fn the_outbox_empties_by_sealing(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    assert_eq!(store.next_outbox_number(), 1);
    let frames: Vec<_> = (1..=5).map(|number| outbox_frame(number, 2000)).collect();
    store.save_outbox(frames.clone(), WriteSet::new()).unwrap();
    let mut store = reopened(home, store);
    assert_eq!(store.outbox(1, usize::MAX).unwrap(), frames);
    assert_eq!(store.outbox(2, 5000).unwrap(), frames[1..3]);
    assert_eq!(store.outbox(1, 1).unwrap(), frames[..1]);
    assert_eq!((store.outbox_len(), store.next_outbox_number()), (5, 6));
    let entries = Author::of_log(store.next_own(URGENT).unwrap().log).write_many(2);
    let appended = store
        .seal_outbox(&[1, 2, 4], entries.clone(), WriteSet::new())
        .unwrap();
    assert!(appended.iter().all(|one| one.new));
    for again in 0..2 {
        let left = [frames[2].clone(), frames[4].clone()];
        assert_eq!(store.outbox(1, usize::MAX).unwrap(), left, "{again}");
        assert_eq!((store.outbox_len(), store.next_outbox_number()), (2, 6));
        assert_eq!(journal(&*store, URGENT), entries);
        store = reopened(home, store);
    }
    // Sealing again is harmless.
    let appended = store
        .seal_outbox(&[1, 2, 4], entries, WriteSet::new())
        .unwrap();
    assert!(appended.iter().all(|one| !one.new));
    assert_eq!(store.outbox_len(), 2);
}

fn outbox_numbers_are_never_taken_twice(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    store
        .save_outbox(vec![outbox_frame(3, 9)], WriteSet::new())
        .unwrap();
    for taken in [vec![3], vec![2], vec![5, 5], vec![6, 4]] {
        let frames = taken
            .iter()
            .map(|number| outbox_frame(*number, 1))
            .collect();
        let refused = store.save_outbox(frames, WriteSet::new());
        assert!(matches!(refused, Err(StoreError::OutboxNumber { .. })));
    }
    assert_eq!(store.outbox(0, usize::MAX).unwrap(), [outbox_frame(3, 9)]);
}

fn state_and_side_objects_stay(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    assert_eq!(store.state(b"enrolment").unwrap(), None);
    store.put_state(b"enrolment", b"asked").unwrap();
    store.put_state(b"enrolment", b"member").unwrap();
    store.put_state(b"", b"").unwrap();
    let side = |key: &[u8], counter: u64, text: &str| SideObject {
        key: key.to_vec(),
        counter,
        bytes: text.as_bytes().to_vec(),
    };
    let mine = [&DEVICE.0[..], b"scope 1"].concat();
    let others = [&[0xd1; 32][..], b"scope 1"].concat();
    let grants = vec![side(&mine, 1, "old"), side(&others, 1, "theirs")];
    assert_eq!(store.put_grants(grants).unwrap(), 2);
    let grants = vec![side(&mine, 2, "new"), side(&others, 1, "other")];
    assert_eq!(store.put_grants(grants).unwrap(), 1);
    let receipts = vec![side(b"a", 7, "seven"), side(b"b", 1, "one")];
    assert_eq!(store.put_receipts(receipts).unwrap(), 2);
    assert_eq!(store.put_receipts(vec![side(b"a", 6, "six")]).unwrap(), 0);
    for again in 0..2 {
        let state = store.state(b"enrolment").unwrap();
        assert_eq!(state.as_deref(), Some(&b"member"[..]), "{again}");
        assert_eq!(store.state(b"").unwrap(), Some(vec![]));
        assert_eq!(store.grants_for(&DEVICE).unwrap(), [b"new".to_vec()]);
        let theirs = store.grants_for(&DeviceKey([0xd1; 32])).unwrap();
        assert_eq!(theirs, [b"theirs".to_vec()]);
        let receipts = store.receipts().unwrap();
        assert_eq!(receipts, [b"seven".to_vec(), b"one".to_vec()]);
        store = reopened(home, store);
    }
}

fn the_authority_is_carried_and_its_forks_are_told(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let mut authority = Authority::found();
    let other = authority.offer(false);
    let entries = vec![
        authority.entry(0),
        authority.sign(true),
        authority.sign(false),
    ];
    let appended = store.append_authority(entries.clone()).unwrap();
    assert_eq!((appended.new, appended.forks.len()), (3, 0));
    assert_eq!(store.append_authority(entries.clone()).unwrap().new, 0);
    let forked = store.append_authority(vec![other.clone()]).unwrap();
    assert_eq!((forked.new, forked.forks.len()), (0, 1));
    assert_eq!(
        (forked.forks[0].height, &forked.forks[0].bytes),
        (1, &other)
    );
    // Told again, recorded once.
    assert_eq!(store.append_authority(vec![other]).unwrap().forks.len(), 1);
    for again in 0..2 {
        assert_eq!(store.programme(), authority.log.programme(), "{again}");
        assert_eq!(store.membership().programme(), authority.log.programme());
        assert_eq!(store.authority_head(), authority.log.head());
        assert_eq!(store.authority_entries(0, usize::MAX).unwrap(), entries);
        assert_eq!(store.authority_entries(1, 1).unwrap(), entries[1..2]);
        assert_eq!(store.authority_forks().unwrap(), forked.forks);
        store = reopened(home, store);
    }
    // What comes before a bad one is kept; the bad one is the giver's fault and harms nothing.
    let good = authority.sign(true);
    let mut bad = authority.sign(false);
    *bad.last_mut().unwrap() ^= 1;
    let refused = store.append_authority(vec![good, bad]);
    assert!(matches!(refused, Err(StoreError::Authority(_))));
    assert_eq!(store.authority_head().height, 3);
    let foreign = store.set_programme(ProgrammeId([4; 32]));
    assert!(matches!(foreign, Err(StoreError::OtherProgramme)));
    store.put_state(b"alive", b"").unwrap();
}

fn lives_change_when_told(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let incarnation = store.incarnation();
    store.new_epoch(Epoch([5; 8])).unwrap();
    assert_eq!(
        (store.epoch(), store.incarnation()),
        (Epoch([5; 8]), incarnation)
    );
    store.set_incarnation(Incarnation([6; 16])).unwrap();
    store.set_programme(ProgrammeId([7; 32])).unwrap();
    let backlog = Backlog {
        changes: 4,
        ..Backlog::default()
    };
    store.set_backlog(backlog);
    assert_eq!(store.backlog(), backlog);
    let store = reopened(home, store);
    assert_eq!(store.epoch(), Epoch([5; 8]));
    assert_eq!(store.incarnation(), Incarnation([6; 16]));
    assert_eq!(store.programme(), ProgrammeId([7; 32]));
}

fn derived_tables_read_what_was_written(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let large = vec![7; 300 * 1024];
    let mut writes = WriteSet::new();
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        writes.put(TableName::Documents, key, key.to_uppercase());
    }
    writes.put(TableName::Summaries, "a/1", "of another table");
    writes.delete(TableName::Documents, "a/2");
    writes.put(TableName::Documents, "large", large.clone());
    store.apply(writes).unwrap();
    let mut writes = WriteSet::new();
    writes.put(TableName::Meta, "read up to", "1");
    store
        .save_outbox(vec![outbox_frame(1, 10)], writes)
        .unwrap();
    let keys = |store: &dyn Store, prefix: &str, from: Option<&str>, limit: usize| {
        let from = from.map(str::as_bytes);
        let rows = store
            .scan(TableName::Documents, prefix.as_bytes(), from, limit)
            .unwrap();
        let keys = rows
            .into_iter()
            .map(|(key, _)| String::from_utf8(key).unwrap());
        keys.collect::<Vec<_>>()
    };
    let check = |store: &dyn Store| {
        assert_eq!(keys(store, "", None, 9), ["a/1", "a/3", "b/1", "large"]);
        assert_eq!(keys(store, "a/", None, 9), ["a/1", "a/3"]);
        assert_eq!(keys(store, "a/", Some("a/2"), 9), ["a/3"]);
        assert_eq!(keys(store, "", Some("a/3"), 2), ["a/3", "b/1"]);
        assert_eq!(keys(store, "b", Some("a"), 9), ["b/1"]);
        let get = |table, key: &str| store.get(table, key.as_bytes()).unwrap();
        assert_eq!(get(TableName::Documents, "a/1"), Some(b"A/1".to_vec()));
        assert_eq!(get(TableName::Documents, "a/2"), None);
        assert_eq!(get(TableName::Documents, "large").as_ref(), Some(&large));
        assert_eq!(get(TableName::Meta, "read up to"), Some(b"1".to_vec()));
    };
    check(&*store);
    let generation = store.derived_generation();
    let keeps = home.keeps_index();
    let mut store = reopened(home, store);
    if keeps {
        check(&*store);
        assert_eq!(store.derived_generation(), generation);
        let mut writes = WriteSet::new();
        writes.put(TableName::Documents, "large", "small now");
        store.apply(writes).unwrap();
        let value = store.get(TableName::Documents, b"large").unwrap();
        assert_eq!(value, Some(b"small now".to_vec()));
    } else {
        assert_ne!(store.derived_generation(), generation);
        assert_eq!(keys(&*store, "", None, 9), [""; 0]);
    }
}

fn peers_are_remembered(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let (one, two) = (DeviceKey([1; 32]), DeviceKey([2; 32]));
    let mark = |position: u64| JournalMark {
        position,
        hash: [position as u8; 8],
    };
    let lane = PeerLane {
        cursor: mark(4),
        acknowledged: Some(Cursor {
            epoch: Epoch([3; 8]),
            mark: mark(9),
        }),
    };
    let mut record = PeerRecord {
        epoch: Some(Epoch([2; 8])),
        lanes: BTreeMap::from([(URGENT, lane), (RECORDS, lane)]),
        pair: Some(PairRecord {
            hash: [1; 16],
            my_epoch: Epoch([3; 8]),
            peer_epoch: Epoch([2; 8]),
            states: BTreeMap::from([(URGENT, (mark(1), mark(2), Digest([3; 16])))]),
        }),
        side: vec![[1; 8], [2; 8]],
    };
    store.put_peer(&one, &PeerRecord::default()).unwrap();
    store.put_peer(&two, &record).unwrap();
    assert_eq!(store.peer(&two).unwrap(), record);
    record.lanes.remove(&RECORDS);
    record.pair = None;
    store.put_peer(&two, &record).unwrap();
    let keeps = home.keeps_index();
    let store = reopened(home, store);
    let remembered = if keeps { record } else { PeerRecord::default() };
    assert_eq!(store.peer(&two).unwrap(), remembered);
    assert_eq!(store.peer(&one).unwrap(), PeerRecord::default());
}

fn reads_come_in_pieces(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let entries = Author::new(URGENT, 1, 1).write_many(600);
    store.append(incoming(&entries)).unwrap();
    let all = store.journal(URGENT, 0, usize::MAX).unwrap();
    assert_eq!(all.len(), 600);
    assert_eq!(store.journal(URGENT, 599, 1).unwrap().len(), 1);
    assert_eq!(store.journal(URGENT, 600, 1).unwrap().len(), 0);
    let three: usize = entries[5..8].iter().map(|entry| entry.bytes().len()).sum();
    assert_eq!(store.journal(URGENT, 5, three).unwrap().len(), 3);
    assert_eq!(store.journal(URGENT, 5, three - 1).unwrap().len(), 2);
    store.tick(0).unwrap();
    store.tick(2000).unwrap();
    store.sync_point().unwrap();
}

fn a_sound_store_verifies(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let entries = Author::new(URGENT, 1, 1).write_many(30);
    let gap = Author::new(URGENT, 2, 1).write_many(3).split_off(2);
    store.append(incoming(&entries)).unwrap();
    store.append(incoming(&gap)).unwrap();
    let report = store.verify(false).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.entries, report.frames), (31, 33));
    // Made-up signatures are seen when one looks deep.
    assert_eq!(store.verify(true).unwrap().problem_count, 31);
}

fn a_check_in_slices_finds_the_same_while_others_write(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let mut author = Author::new(URGENT, 1, 1);
    let mut written = 1200;
    store.append(incoming(&author.write_many(written))).unwrap();
    let whole = store.verify(false).unwrap();
    let mut verifying = Verifying::new(false);
    let mut slices = 0;
    while !verifying.is_done() {
        let (done, of) = verifying.progress_bytes();
        assert!(done <= of);
        store.verify_some(&mut verifying).unwrap();
        slices += 1;
    }
    assert!(slices >= 4, "{slices}");
    assert_eq!(verifying.into_report(), whole);

    // Another author begins in the middle, and writes in every turn.
    let mut verifying = Verifying::new(false);
    let mut other = Author::new(URGENT, 2, 1);
    for _ in 0..10 {
        store.append(incoming(&other.write_many(7))).unwrap();
        written += 7;
        store.verify_some(&mut verifying).unwrap();
    }
    assert!(verifying.is_done());
    let report = verifying.into_report();
    assert!(report.is_sound(), "{report:?}");
    assert!((1200..=written as u64).contains(&report.entries));
}

fn repair_changes_nothing_that_was_sound(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let mut author = Author::new(URGENT, 1, 1);
    let entries = author.write_many(50);
    store.append(incoming(&entries)).unwrap();
    store
        .save_outbox(vec![outbox_frame(1, 10)], WriteSet::new())
        .unwrap();
    let (epoch, end, digest) = (
        store.epoch(),
        store.journal_end(URGENT),
        store.digest(URGENT),
    );
    let generation = store.derived_generation();
    let report = store.repair(support::fresh(77)).unwrap();
    assert_eq!((report.new_epoch, report.lost_frames), (false, 0));
    let more = author.write_many(1);
    assert_eq!(store.epoch(), epoch);
    assert_eq!(
        (store.journal_end(URGENT), store.digest(URGENT)),
        (end, digest)
    );
    assert_ne!(store.derived_generation(), generation);
    assert_eq!(store.outbox_len(), 1);
    assert_eq!(store.append(incoming(&more)).unwrap()[0].position, 50);
    let store = reopened(home, store);
    assert_eq!(journal(&*store, URGENT).len(), 51);
}

fn too_much_is_refused_and_harms_nothing(home: &mut dyn Home) {
    let (mut store, _) = home.open();
    let refused = [
        store.put_state(b"k", &[0; cairn_store::port::STATE_BYTES_MAX + 1]),
        store.put_state(&[0; 513], b""),
        store.save_outbox(
            vec![outbox_frame(1, cairn_store::port::OUTBOX_BYTES_MAX + 1)],
            WriteSet::new(),
        ),
        store
            .put_grants(vec![SideObject {
                key: vec![0; 40],
                counter: 1,
                bytes: vec![0; 513],
            }])
            .map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    }
    store.put_state(b"alive", b"").unwrap();
}
