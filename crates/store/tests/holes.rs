//! Rot in what is small and stands in no entry: the authority's log, keys that were granted, states.
#![allow(missing_docs)]

mod support;

use cairn_replica::holdings::Holdings;
use cairn_store::index::memory_index::MemoryIndex;
use cairn_store::index::{Index, IndexFactory, OpenIndexError};
use cairn_store::segments::{Scanned, Segments};
use cairn_store::{ModelDisk, OpenReport, SegmentStore, SideObject, Store};
use std::sync::{Arc, Mutex};
use support::{Authority, DEVICE, fresh, open_model, options};

/// Entries of the authority's log in the stores below.
const ENTRIES: u64 = 6;

fn side(number: u8, counter: u64) -> SideObject {
    SideObject {
        key: [&DEVICE.0[..], &[number]].concat(),
        counter,
        bytes: vec![number; 150],
    }
}

/// All that the index holds whole, as it is after it was written.
fn fill(store: &mut dyn Store) -> Authority {
    let mut authority = Authority::found();
    let mut entries = vec![authority.entry(0)];
    entries.extend((1..ENTRIES).map(|height| authority.sign(height % 2 == 0)));
    store.append_authority(entries).unwrap();
    store.put_grants(vec![side(1, 1), side(2, 1)]).unwrap();
    store.put_receipts(vec![side(3, 1)]).unwrap();
    store.put_receipts(vec![side(3, 2)]).unwrap();
    for value in [b"one", b"two", b"one"] {
        store.put_state(b"a state", value).unwrap();
    }
    authority
}

fn assert_whole(store: &dyn Store, authority: &Authority, what: &str) {
    assert_eq!(store.authority_head(), authority.log.head(), "{what}");
    assert_eq!(store.authority_hole(), None, "{what}");
    assert_eq!(store.grants_for(&DEVICE).unwrap().len(), 2, "{what}");
    let receipts = store.receipts().unwrap();
    assert_eq!(receipts, vec![side(3, 2).bytes], "{what}");
    let state = store.state(b"a state").unwrap();
    assert_eq!(state.as_deref(), Some(&b"one"[..]), "{what}");
}

/// A byte in the body of every frame.
fn bodies(disk: &ModelDisk) -> Vec<(String, usize)> {
    let text = disk.content("format").unwrap();
    let text = String::from_utf8(text).unwrap();
    let salt: cairn_wire::Incarnation = text
        .split_ascii_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap();
    let segments = Segments::open(disk.copy(), salt.0, 4096).unwrap();
    let mut scan = segments.scan_all();
    let mut found = Vec::new();
    while let Some(scanned) = scan.step().unwrap() {
        if let Scanned::Frame(location, ..) = scanned {
            let name = cairn_store::segments::segment_name(location.segment);
            let end = usize::try_from(location.end()).unwrap();
            // Inside the body, before the checksum.
            found.push((name, end - 6));
        }
    }
    found
}

#[test]
fn a_repair_writes_again_what_only_the_index_still_holds() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let _ = fill(&mut store);
    let places = bodies(&disk);
    drop(store);
    let mut carried = 0;
    for (number, (name, at)) in places.iter().enumerate() {
        let what = format!("frame {}", number + 1);
        let disk = ModelDisk::new();
        let (mut store, _) = open_model(&disk, 1);
        let authority = fill(&mut store);
        assert!(disk.flip(name, *at, 1), "{what}");
        assert!(!store.verify(true).unwrap().is_sound(), "{what}");
        let report = store.repair(fresh(2)).unwrap();
        assert!(report.new_epoch, "{what}");
        assert_whole(&store, &authority, &what);
        assert!(store.verify(true).unwrap().is_sound(), "{what}");
        carried += u64::from(report.carried_over > 0);
        drop(store);
        // Without any index the segments say the same.
        let (mut store, report) = open_model(&disk, 3);
        assert!(!report.new_epoch, "{what}");
        assert_whole(&store, &authority, &what);
        let again = store.repair(fresh(4)).unwrap();
        assert_eq!(again.carried_over, 0, "{what}");
        assert_whole(&store, &authority, &what);
    }
    // Only what was replaced since, or names the store itself, needs no second writing.
    assert!(carried >= ENTRIES + 4, "{carried}");
}

#[test]
fn what_stands_above_a_hole_counts_only_when_the_hole_is_filled() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let authority = fill(&mut store);
    let places = bodies(&disk);
    drop(store);
    let mut holes = 0;
    for (number, (name, at)) in places.iter().enumerate() {
        let what = format!("frame {}", number + 1);
        let rotten = disk.copy();
        assert!(rotten.flip(name, *at, 1), "{what}");
        let (mut store, _) = open_model(&rotten, 5);
        assert_eq!(store.programme(), authority.log.programme(), "{what}");
        let held = store.authority_entries(0, usize::MAX).unwrap().len() as u64;
        if held < ENTRIES {
            holes += 1;
            let hole = (held + 1 < ENTRIES).then_some(ENTRIES - 1);
            assert_eq!(store.authority_hole(), hole, "{what}");
        } else {
            assert_eq!(store.authority_hole(), None, "{what}");
        }
        let rest = (held..ENTRIES).map(|height| authority.entry(height));
        store.append_authority(rest.collect()).unwrap();
        assert_eq!(store.authority_hole(), None, "{what}");
        drop(store);
        let (store, _) = open_model(&rotten, 6);
        assert_eq!(store.authority_head(), authority.log.head(), "{what}");
        assert_eq!(store.authority_hole(), None, "{what}");
    }
    assert_eq!(holes, ENTRIES);
}

/// An index that outlives its store, as sled does.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Box<dyn Index>>>>);

struct Shared(Kept);

impl Index for Shared {
    fn get(
        &self,
        table: cairn_store::index::Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, cairn_store::IndexError> {
        self.0.0.lock().unwrap().as_ref().unwrap().get(table, key)
    }
    fn scan(
        &self,
        table: cairn_store::index::Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<cairn_store::index::Rows, cairn_store::IndexError> {
        let held = self.0.0.lock().unwrap();
        held.as_ref().unwrap().scan(table, prefix, from, limit)
    }
    fn last(
        &self,
        table: cairn_store::index::Table,
        prefix: &[u8],
    ) -> Result<Option<cairn_store::index::Row>, cairn_store::IndexError> {
        self.0
            .0
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .last(table, prefix)
    }
    fn apply(
        &mut self,
        writes: cairn_store::index::IndexWrites,
    ) -> Result<(), cairn_store::IndexError> {
        self.0.0.lock().unwrap().as_mut().unwrap().apply(writes)
    }
    fn persist(&mut self) -> Result<(), cairn_store::IndexError> {
        Ok(())
    }
}

impl IndexFactory for Kept {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        let mut held = self.0.lock().unwrap();
        held.get_or_insert_with(|| Box::new(MemoryIndex::default()));
        Ok(Box::new(Shared(self.clone())))
    }
    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        *self.0.lock().unwrap() = Some(Box::new(MemoryIndex::default()));
        Ok((Box::new(Shared(self.clone())), None))
    }
}

#[test]
fn a_hole_is_still_known_when_the_store_is_opened_again() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let authority = fill(&mut store);
    drop(store);
    let entry = authority.entry(2);
    let text = disk.content("segment-00000001").unwrap();
    let at = text.windows(entry.len()).position(|bytes| bytes == entry);
    assert!(disk.flip("segment-00000001", at.unwrap() + 40, 4));
    let index = Kept::default();
    let open = |seed| -> (SegmentStore<ModelDisk>, OpenReport) {
        let opened = SegmentStore::open_on(disk.clone(), Box::new(index.clone()), &options(seed));
        opened.unwrap()
    };
    let (store, report) = open(7);
    assert_eq!(
        (report.lost_frames, store.authority_hole()),
        (1, Some(ENTRIES - 1))
    );
    drop(store);
    let (mut store, report) = open(8);
    assert_eq!(
        (report.replayed_frames, store.authority_hole()),
        (0, Some(ENTRIES - 1))
    );
    let rest = (2..ENTRIES).map(|height| authority.entry(height)).collect();
    store.append_authority(rest).unwrap();
    assert_eq!(store.authority_hole(), None);
}
