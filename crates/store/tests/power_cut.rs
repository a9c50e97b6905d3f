//! Power cuts at every operation of a scripted life, and failing operations: what was reported
//! durable is there, the journal is intact, nothing is invented.
#![allow(missing_docs, clippy::print_stdout)]

mod support;

use cairn_replica::holdings::Holdings;
use cairn_store::disk::model::Operation;
use cairn_store::{Failure, ModelDisk, SegmentStore, Store, StoreError, Unsynced, WriteSet};
use support::script::{self, Ledger, SharedIndex};
use support::{Author, URGENT, incoming, open_model, options, outbox_frame};

/// Opens the image, checks it against the ledger, goes on writing, opens it once more.
fn check_image(
    image: &ModelDisk,
    index: Option<&SharedIndex>,
    operations: u64,
    ledger: &Ledger,
    what: &str,
) -> bool {
    let (mut store, report) = script::open(image, index, 900).unwrap();
    ledger.check(operations, &store, &report, what);
    let more = Author::new(URGENT, 9, 9).write_many(2);
    store.append(incoming(&more)).unwrap();
    let (epoch, end) = (store.epoch(), store.journal_end(URGENT));
    drop(store);
    let (store, again) = script::open(image, index, 901).unwrap();
    assert!(!again.new_epoch, "{what}: a new epoch without a new loss");
    assert_eq!((store.epoch(), store.journal_end(URGENT)), (epoch, end));
    assert!(store.holds(&more[1].id()).unwrap(), "{what}");
    report.new_epoch && !report.created
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_reported() {
    let disk = ModelDisk::recording();
    let index = SharedIndex::over(&disk);
    let mut ledger = Ledger::default();
    script::run(&disk, Some(&index), &mut ledger).unwrap();
    let operations = disk.recorded().len();
    assert_eq!(operations as u64, disk.operations());
    assert_eq!(
        ledger.epochs_given.len(),
        1,
        "no life is drawn without a loss"
    );
    let (mut images, mut new_epochs) = (0, 0);
    for at in 0..=operations {
        for unsynced in Unsynced::ALL {
            let seed = (at * 4 + images) as u64;
            let image = disk.image_at(at, unsynced, seed);
            let what = format!("{unsynced:?} at {at} of {operations}, seed {seed}");
            let index = (images % 2 == 0).then(|| index.image_at(at as u64, seed / 2));
            let new = check_image(&image, index.as_ref(), at as u64, &ledger, &what);
            new_epochs += usize::from(new);
            images += 1;
        }
    }
    println!("{images} images, {operations} operations, {new_epochs} new epochs");
    assert!(images >= 800, "{images} images only");
    // Most cuts lose nothing, so most keep the epoch; torn writes out of order may not.
    assert!(new_epochs * 10 < images, "{new_epochs} of {images}");
}

#[test]
fn any_operation_may_fail_and_nothing_acknowledged_is_lost() {
    let mut failures = 0;
    for failure in [Failure::Io, Failure::NoSpace] {
        for at in 0.. {
            let disk = ModelDisk::recording();
            let mut ledger = Ledger::default();
            disk.fail_after(at, failure);
            let stopped = script::run(&disk, None, &mut ledger);
            if disk.failure_pending() {
                stopped.unwrap();
                break;
            }
            let error = stopped.expect_err("the failure is reported");
            assert!(matches!(error, StoreError::Disk { .. }), "{error}");
            failures += 1;
            // The power goes in one way or another, or does not.
            let unsynced = Unsynced::ALL.get(at as usize % 5).copied();
            let image = unsynced.map_or_else(|| disk.clone(), |how| disk.crash(how, at));
            let what = format!("{failure:?} at {at}, then {unsynced:?}");
            check_image(&image, None, disk.operations(), &ledger, &what);
        }
    }
    println!("{failures} failures");
    assert!(failures >= 300, "{failures} failures only");
}

#[test]
fn a_failed_write_poisons_the_store() {
    for (after, failure) in [
        (0, Failure::Io),
        (0, Failure::NoSpace),
        (1, Failure::Io),
        (1, Failure::NoSpace),
    ] {
        let disk = ModelDisk::new();
        let (mut store, _) = open_model(&disk, 1);
        let mut author = Author::new(URGENT, 1, 1);
        store.append(incoming(&author.write_many(1))).unwrap();
        let end = store.journal_end(URGENT);
        disk.fail_after(after, failure);
        let lost = author.write_many(1);
        let failed = store.append(incoming(&lost));
        assert!(matches!(failed, Err(StoreError::Disk { .. })));
        let poisoned = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Poisoned(_))), "{result:?}");
        };
        poisoned(store.append(incoming(&author.write_many(1))).map(drop));
        poisoned(store.append(Vec::new()).map(drop));
        poisoned(store.put_state(b"k", b"v"));
        poisoned(store.append_authority(Vec::new()).map(drop));
        poisoned(store.save_outbox(vec![outbox_frame(1, 1)], WriteSet::new()));
        poisoned(
            store
                .seal_outbox(&[], Vec::new(), WriteSet::new())
                .map(drop),
        );
        poisoned(store.put_grants(Vec::new()).map(drop));
        poisoned(store.apply(WriteSet::new()));
        poisoned(store.state(b"k").map(drop));
        poisoned(store.outbox(0, 1).map(drop));
        poisoned(store.next_own(URGENT).map(drop));
        poisoned(store.verify(false).map(drop));
        poisoned(store.repair(support::fresh(3)).map(drop));
        poisoned(store.tick(1));
        poisoned(store.sync_point());
        assert!(store.journal(URGENT, 0, 1).is_err());
        assert!(store.holds(&lost[0].id()).is_err());
        // Nothing that is not durable is shown.
        assert_eq!(store.journal_end(URGENT), end);
        poisoned(Box::new(store).close());
    }
}

#[test]
fn a_save_is_synced_before_it_returns_and_costs_one_sync() {
    let disk = ModelDisk::recording();
    let mut options = options(1);
    options.segment_bytes = 1 << 20;
    let (mut store, _) = SegmentStore::open_model(disk.clone(), &options).unwrap();
    let mut author = Author::new(URGENT, 1, 1);
    type Call = Box<dyn FnMut(&mut SegmentStore<ModelDisk>)>;
    let calls: [Call; 4] = [
        Box::new(move |store| {
            store.append(incoming(&author.write_many(50))).unwrap();
        }),
        Box::new(|store| {
            let frames = vec![outbox_frame(1, 99), outbox_frame(2, 99)];
            store.save_outbox(frames, WriteSet::new()).unwrap();
        }),
        Box::new(|store| {
            let log = store.next_own(URGENT).unwrap().log;
            let entries = Author::of_log(log).write_many(3);
            store
                .seal_outbox(&[1, 2], entries, WriteSet::new())
                .unwrap();
        }),
        Box::new(|store| store.put_state(b"key", b"value").unwrap()),
    ];
    for mut call in calls {
        let before = disk.recorded().len();
        call(&mut store);
        let name = "segment-00000001".to_owned();
        let done = disk.recorded().split_off(before);
        assert_eq!(done.len(), 2, "one write and one sync: {done:?}");
        assert!(matches!(&done[0], Operation::Append(file, _) if *file == name));
        assert_eq!(done[1], Operation::SyncData(name));
    }
    // What changes nothing costs nothing.
    let before = disk.recorded().len();
    store.append(Vec::new()).unwrap();
    store.put_grants(Vec::new()).unwrap();
    assert_eq!(disk.recorded().len(), before);
}

#[test]
fn an_index_that_fails_stops_the_store_and_costs_nothing() {
    let disk = ModelDisk::new();
    let index = SharedIndex::over(&disk);
    let (mut store, _) = script::open(&disk, Some(&index), 1).unwrap();
    let mut author = Author::new(URGENT, 1, 1);
    let entries = author.write_many(3);
    store.append(incoming(&entries[..1])).unwrap();
    index
        .fails
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let failed = store.append(incoming(&entries[1..2]));
    assert!(matches!(failed, Err(StoreError::Index(_))));
    let refused = store.append(incoming(&entries[2..]));
    assert!(matches!(refused, Err(StoreError::Poisoned(_))));
    drop(store);
    let (mut store, report) = script::open(&disk, Some(&index), 2).unwrap();
    assert_eq!((report.rebuilt, report.replayed_frames), (None, 1));
    assert!(!report.new_epoch);
    let again = store.append(incoming(&entries)).unwrap();
    let seen: Vec<_> = again.iter().map(|one| (one.position, one.new)).collect();
    assert_eq!(seen, [(0, false), (1, false), (2, true)]);
}
