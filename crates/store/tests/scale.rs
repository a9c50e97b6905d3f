//! A hundred thousand entries: run by hand, with `--ignored --nocapture`, best in release.
#![allow(missing_docs, clippy::print_stdout)]

mod support;

use cairn_replica::holdings::Holdings;
use cairn_store::{OpenOptions, SegmentStore, Store, StoreError, WriteSet};
use std::path::Path;
use std::time::Instant;
use support::{Author, DEVICE, URGENT, fresh, incoming, outbox_frame};

const ENTRIES: usize = 100_000;

fn open(folder: &Path, seed: u64) -> Result<impl Store + use<>, StoreError> {
    let begun = Instant::now();
    let options = OpenOptions::new(DEVICE, fresh(seed));
    let (store, report) = SegmentStore::open(folder, &options)?;
    println!(
        "opened in {:?}, {} frames read, rebuilt: {:?}, resident {} MB",
        begun.elapsed(),
        report.replayed_frames,
        report.rebuilt,
        resident_mb()
    );
    Ok(store)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or(0) / 1024
}

#[test]
#[ignore = "seconds long, for figures"]
fn a_hundred_thousand_entries() {
    if let Some(folder) = std::env::var_os("CAIRN_STORE_FOLDER") {
        // One that an earlier run kept: what a fresh process needs.
        let store = open(Path::new(&folder), 9).unwrap();
        let end = store.journal_end(URGENT).position;
        println!("{end} entries, resident {} MB", resident_mb());
        return store_closed(store);
    }
    let folder = tempfile::TempDir::new().unwrap();
    let mut store = open(folder.path(), 1).unwrap();
    let begun = Instant::now();
    let mut made = 0;
    for log in 0..50u8 {
        let mut author = Author::new(URGENT, 1 + log, 1);
        for _ in 0..10 {
            let entries = author.write_many(ENTRIES / 500);
            made += entries.len();
            store.append(incoming(&entries)).unwrap();
            store.tick(begun.elapsed().as_millis() as u64).unwrap();
        }
    }
    println!("{made} entries in 500 commits: {:?}", begun.elapsed());
    let begun = Instant::now();
    for number in 0..50 {
        let first = store.next_outbox_number();
        let frame = outbox_frame(first + number % 2, 700);
        store.save_outbox(vec![frame], WriteSet::new()).unwrap();
    }
    println!("one save: {:?}", begun.elapsed() / 50);
    println!("one raw write and fdatasync: {:?}", raw_sync(folder.path()));
    Box::new(store).close().unwrap();
    drop(open(folder.path(), 2).unwrap());
    // Not closed: counts are checked.
    let mut store = open(folder.path(), 3).unwrap();
    store.put_state(b"k", b"v").unwrap();
    drop(store);
    drop(open(folder.path(), 4).unwrap());
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let store = open(folder.path(), 5).unwrap();
    assert_eq!(store.journal_end(URGENT).position, ENTRIES as u64);
    let begun = Instant::now();
    let report = store.verify(false).unwrap();
    println!(
        "verified in {:?}, resident {} MB",
        begun.elapsed(),
        resident_mb()
    );
    assert!(report.is_sound());
    store_closed(store);
    if std::env::var_os("CAIRN_STORE_KEEP").is_some() {
        println!("kept in {}", folder.keep().display());
    }
}

fn store_closed(store: impl Store) {
    Box::new(store).close().unwrap();
}

fn raw_sync(folder: &Path) -> std::time::Duration {
    use std::io::Write;
    let mut file = std::fs::File::create(folder.join("raw")).unwrap();
    let begun = Instant::now();
    for _ in 0..50 {
        file.write_all(&[1; 760]).unwrap();
        file.sync_data().unwrap();
    }
    begun.elapsed() / 50
}
