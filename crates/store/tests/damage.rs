//! Rot, cuts, foreign folders and second owners: found, told, and what is whole stays.
#![allow(missing_docs, clippy::print_stdout)]

mod support;

use cairn_replica::holdings::Holdings;
use cairn_store::disk::Disk;
use cairn_store::index::memory_index::MemoryIndexFactory;
use cairn_store::index::{Index, IndexFactory, OpenIndexError};
use cairn_store::segments::{SEGMENT_HEADER_BYTES, Scanned, Segments};
use cairn_store::{
    Fresh, ModelDisk, OpenReport, Rebuilt, SegmentStore, Store, StoreError, WriteSet,
};
use cairn_wire::Entry;
use cairn_wire::ids::{DeviceKey, EntryId, Incarnation};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Author, URGENT, fresh, incoming, journal, open_model, options, outbox_frame};
use tempfile::TempDir;

fn filled(count: usize) -> (ModelDisk, Vec<Entry>) {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let entries = Author::new(URGENT, 1, 1).write_many(count);
    for batch in entries.chunks(7) {
        store.append(incoming(batch)).unwrap();
    }
    (disk, entries)
}

fn segment_names(disk: &ModelDisk) -> Vec<String> {
    let names = disk.list().unwrap();
    names
        .into_iter()
        .filter(|name| name.starts_with("segment-"))
        .collect()
}

#[test]
fn any_flipped_bit_is_found_and_costs_one_frame_at_most() {
    let (disk, entries) = filled(60);
    assert!(segment_names(&disk).len() >= 4);
    let epoch = open_model(&disk, 2).0.epoch();
    let (mut flips, mut losses, mut unseen) = (0, 0, 0);
    for name in segment_names(&disk) {
        let length = disk.content(&name).unwrap().len();
        for offset in (0..length).step_by(13) {
            let rotten = disk.copy();
            assert!(rotten.flip(&name, offset, 1 << (offset % 8)));
            let (store, report) = open_model(&rotten, 3);
            let what = format!("{name} byte {offset}");
            assert_eq!(report.bad_stretches.len(), 1, "{what}");
            let held = journal(&store, URGENT);
            assert!(held.len() + 1 >= entries.len(), "{what}: {}", held.len());
            assert!(held.iter().all(|entry| entries.contains(entry)), "{what}");
            assert_eq!(report.new_epoch, store.epoch() != epoch, "{what}");
            assert_eq!(report.new_incarnation, report.new_epoch);
            // A lost frame may be that of the identity or of the life, and a header is no frame. That the
            // last frame is gone no number shows; only where it says that it is longer than what is
            // there does it look like a write that the power cut.
            let last = held.len() < entries.len() && held == entries[..held.len()];
            assert!(report.lost_frames <= u64::from(report.new_epoch), "{what}");
            assert!(
                report.lost_frames == u64::from(report.new_epoch) || last,
                "{what}"
            );
            if held.len() < entries.len() {
                if !report.new_epoch {
                    assert!(last, "{what}");
                    unseen += 1;
                }
                losses += 1;
            }
            assert!(store.verify(false).unwrap().is_sound(), "{what}");
            drop(store);
            // The loss is accounted for: the next opening draws nothing.
            let (again, second) = open_model(&rotten, 4);
            assert_eq!((second.new_epoch, second.lost_frames), (false, 0), "{what}");
            assert_eq!(journal(&again, URGENT), held, "{what}");
            flips += 1;
        }
    }
    println!("{flips} flips, {losses} lost an entry, {unseen} of them like a cut write");
    assert!(unseen <= 1, "{unseen}");
    assert!(flips >= 500 && losses * 10 > flips * 8, "{flips}, {losses}");
}

#[test]
fn a_lost_entry_comes_back_from_a_peer_and_repair_finds_rot_in_a_running_store() {
    let (disk, entries) = filled(20);
    let (mut store, _) = open_model(&disk, 2);
    let epoch = store.epoch();
    let at = disk.content("segment-00000001").unwrap();
    let payload = entries[4].payload();
    let at = at
        .windows(payload.len())
        .position(|bytes| bytes == payload)
        .unwrap();
    assert!(disk.flip("segment-00000001", at, 1));
    assert!(store.entry(&entries[4].id()).is_err());
    assert!(store.journal(URGENT, 4, 1).is_err());
    let report = store.verify(false).unwrap();
    assert_eq!((report.lost_frames, report.entries), (1, 19));
    assert!(!report.is_sound());
    // The others are whole.
    assert_eq!(
        store.entry(&entries[5].id()).unwrap().as_ref(),
        Some(&entries[5])
    );
    let repaired = store.repair(fresh(50)).unwrap();
    assert_eq!((repaired.lost_frames, repaired.new_epoch), (1, true));
    assert_eq!(repaired.rebuilt, Some(Rebuilt::Asked));
    assert_ne!(store.epoch(), epoch);
    assert_eq!(store.detached(URGENT).len(), 15);
    assert!(store.verify(false).unwrap().is_sound());
    let back = store.append(incoming(&entries[4..5])).unwrap();
    assert!(back[0].new && !back[0].detached);
    assert_eq!(store.detached(URGENT), []);
    assert_eq!(store.leaves(URGENT)[0].id, entries[19].id());
    let new_epoch = store.epoch();
    drop(store);
    let (store, report) = open_model(&disk, 3);
    assert_eq!((store.epoch(), report.new_epoch), (new_epoch, false));
    assert_eq!(store.journal_end(URGENT).position, 20);
}

#[test]
fn an_own_number_is_never_used_again() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let log = store.next_own(URGENT).unwrap().log;
    store
        .save_outbox(vec![outbox_frame(1, 50)], WriteSet::new())
        .unwrap();
    let own = Author::of_log(log).write_many(2);
    store
        .seal_outbox(&[1], own.clone(), WriteSet::new())
        .unwrap();
    store.put_state(b"after", b"").unwrap();
    drop(store);
    let content = disk.content("segment-00000001").unwrap();
    let payload = own[1].payload();
    let at = content
        .windows(payload.len())
        .position(|bytes| bytes == payload);
    assert!(disk.flip("segment-00000001", at.unwrap(), 1));
    let (store, report) = open_model(&disk, 2);
    assert!(report.new_incarnation);
    let next = store.next_own(URGENT).unwrap();
    assert_ne!(next.log.incarnation, log.incarnation);
    assert_eq!((next.number, next.previous), (1, EntryId::NONE));
    // And what was sealed into the lost entry waits again.
    assert_eq!(store.outbox(0, 1).unwrap(), [outbox_frame(1, 50)]);
}

/// The index is gone, and no later frame shows that one is missing: peers may have the entry all the same.
#[test]
fn rot_in_the_last_own_frame_begins_a_new_log() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let log = store.next_own(URGENT).unwrap().log;
    let own = Author::of_log(log).write_many(2);
    store.append(incoming(&own)).unwrap();
    drop(store);
    let length = disk.content("segment-00000001").unwrap().len();
    let rotten = disk.copy();
    assert!(rotten.flip("segment-00000001", length - 20, 1));
    let (store, report) = open_model(&rotten, 2);
    assert_eq!((report.new_incarnation, report.lost_frames), (true, 0));
    let next = store.next_own(URGENT).unwrap();
    assert_ne!(next.log.incarnation, log.incarnation);
    assert!(store.verify(false).unwrap().is_sound());
    drop(store);
    assert!(!open_model(&rotten, 3).1.new_incarnation, "once is enough");

    // A write that the power cut was never reported, and costs no new log.
    let cut = disk.copy();
    cut.cut("segment-00000001", length - 20);
    let (store, report) = open_model(&cut, 2);
    assert_eq!(
        (report.new_incarnation, report.bad_stretches.len()),
        (false, 1)
    );
    assert_eq!(store.next_own(URGENT).unwrap().number, 2);
}

#[test]
fn a_running_store_that_is_repaired_begins_a_new_log_too() {
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let log = store.next_own(URGENT).unwrap().log;
    let own = Author::of_log(log).write_many(2);
    store.append(incoming(&own)).unwrap();
    let length = disk.content("segment-00000001").unwrap().len();
    assert!(disk.flip("segment-00000001", length - 20, 1));
    let report = store.repair(fresh(60)).unwrap();
    assert_eq!((report.new_incarnation, report.lost_frames), (true, 1));
    assert_eq!(store.lost_frames(), 1);
    assert_ne!(
        store.next_own(URGENT).unwrap().log.incarnation,
        log.incarnation
    );
    assert!(store.verify(false).unwrap().is_sound());
}

#[test]
fn a_format_file_is_written_again_from_the_segments() {
    let (folder, entries) = filled_folder(true);
    let format = folder.path().join("format");
    let before = fs::read(&format).unwrap();
    fs::write(&format, "garbage").unwrap();
    let report = check_opened(folder.path(), &entries, "garbled");
    assert!(report.format_mended && report.rebuilt.is_none());
    assert_eq!(fs::read(&format).unwrap(), before);
    fs::remove_file(&format).unwrap();
    let mut only_open = options(2);
    only_open.create = false;
    let (_, report) = SegmentStore::open(folder.path(), &only_open).unwrap();
    assert!(report.format_mended && !report.created);
    assert_eq!(fs::read(&format).unwrap(), before);
    // Whichever bit: of the salt too, under which no frame would read.
    for bit in 0..before.len() * 8 {
        let mut bytes = before.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&format, bytes).unwrap();
        match SegmentStore::open(folder.path(), &only_open) {
            Ok((store, _)) => assert_eq!(journal(&store, URGENT), entries, "bit {bit}"),
            Err(error) => assert!(matches!(error, StoreError::NewerFormat { .. }), "{error}"),
        }
    }
}

#[test]
fn a_whole_segment_may_be_missing() {
    let (disk, entries) = filled(60);
    let mut gone = disk.copy();
    gone.remove("segment-00000002").unwrap();
    gone.sync_dir().unwrap();
    let (store, report) = open_model(&gone, 2);
    assert!(report.new_epoch && report.lost_frames > 5, "{report:?}");
    let held = journal(&store, URGENT);
    assert_eq!(held.len() as u64 + report.lost_frames, 60);
    assert!(held.iter().all(|entry| entries.contains(entry)));
    drop(store);
    assert!(!open_model(&gone, 3).1.new_epoch);
}

/// A payload that is, byte for byte, a frame: found after damage only by whoever knows the salt.
#[test]
fn bytes_from_outside_are_never_taken_for_a_frame() {
    let mut made_up = Vec::new();
    let frame = cairn_store::frame::NewFrame {
        kind: cairn_store::frame::Kind::State,
        position: 0,
        body: &cairn_store_state(b"invented", b"yes"),
    };
    cairn_store::frame::write_frame(&frame, 4, &[0; 16], &mut made_up);
    let disk = ModelDisk::new();
    let (mut store, _) = open_model(&disk, 1);
    let mut author = Author::new(URGENT, 1, 1);
    let entries = [author.write(&made_up), author.write(b"next")];
    store.append(incoming(&entries)).unwrap();
    drop(store);
    let content = disk.content("segment-00000001").unwrap();
    let magics: Vec<_> = content
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| *bytes == cairn_store::frame::FRAME_MAGIC)
        .map(|(at, _)| at)
        .collect();
    // Identity, life, entry, the made-up one, entry. Damage the length of the one around it.
    assert_eq!(magics.len(), 5);
    assert!(disk.flip("segment-00000001", magics[2] + 6, 0xff));
    let (store, report) = open_model(&disk, 2);
    assert_eq!(report.bad_stretches[0].to, magics[4] as u64);
    assert_eq!(store.state(b"invented").unwrap(), None);
    assert!(store.holds(&entries[1].id()).unwrap());
}

fn cairn_store_state(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&(key.len() as u16).to_be_bytes(), key, value].concat()
}

fn open_sled(
    folder: &Path,
    seed: u64,
) -> (SegmentStore<cairn_store::disk::real::RealDisk>, OpenReport) {
    SegmentStore::open(folder, &options(seed)).unwrap()
}

fn filled_folder(close: bool) -> (TempDir, Vec<Entry>) {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open_sled(folder.path(), 1);
    let entries = Author::new(URGENT, 1, 1).write_many(200);
    for batch in entries.chunks(20) {
        store.append(incoming(batch)).unwrap();
        store.sync_point().unwrap();
    }
    store.put_state(b"enrolment", b"member").unwrap();
    if close {
        Box::new(store).close().unwrap();
    }
    (folder, entries)
}

fn check_rebuilt(folder: &Path, entries: &[Entry], what: &str) -> Option<Rebuilt> {
    check_opened(folder, entries, what).rebuilt
}

fn check_opened(folder: &Path, entries: &[Entry], what: &str) -> OpenReport {
    let (store, report) = open_sled(folder, 2);
    assert_eq!((report.new_epoch, report.lost_frames), (false, 0), "{what}");
    assert_eq!(store.epoch(), options(1).fresh.epoch(), "{what}");
    assert_eq!(journal(&store, URGENT), entries, "{what}");
    assert_eq!(
        store.state(b"enrolment").unwrap().as_deref(),
        Some(&b"member"[..])
    );
    assert!(store.verify(false).unwrap().is_sound(), "{what}");
    report
}

#[test]
fn a_deleted_index_is_made_anew_and_told() {
    let (folder, entries) = filled_folder(true);
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let rebuilt = check_rebuilt(folder.path(), &entries, "deleted");
    assert_eq!(rebuilt, Some(Rebuilt::Missing));
    assert_eq!(check_rebuilt(folder.path(), &entries, "again"), None);
}

#[test]
fn whoever_only_reads_leaves_the_index_as_it_is() {
    let (folder, entries) = filled_folder(true);
    let index = folder.path().join("index");
    let read = || {
        let (store, report) = open_sled(folder.path(), 2);
        assert_eq!((report.rebuilt, report.replayed_frames), (None, 0));
        assert_eq!(journal(&store, URGENT), entries);
        Box::new(store).close().unwrap();
        let files = files_below(&index).into_iter();
        files
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    // The first one finds what was written since sled's own snapshot.
    read();
    assert!(read() == read());
}

#[test]
fn an_index_of_noise_is_set_aside_and_made_anew() {
    let mut rebuilt_count = 0;
    for (seed, closed) in [(1u64, true), (2, false), (3, true), (4, false)] {
        let (folder, entries) = filled_folder(closed);
        let index = folder.path().join("index");
        for path in files_below(&index) {
            let length = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, noise(seed, length)).unwrap();
        }
        let what = format!("seed {seed}, closed {closed}");
        match check_rebuilt(folder.path(), &entries, &what) {
            Some(Rebuilt::Damaged { set_aside, .. }) => {
                let aside = set_aside.unwrap();
                assert!(folder.path().join(aside).is_dir(), "{what}");
                rebuilt_count += 1;
            }
            // sled may take noise for an empty database.
            Some(Rebuilt::Missing) => rebuilt_count += 1,
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(rebuilt_count, 4);
}

#[test]
fn an_index_with_rotten_stretches_never_misleads() {
    let (mut rebuilt, mut replayed) = (0, 0);
    for seed in 0..16u64 {
        let (folder, entries) = filled_folder(seed % 2 == 0);
        let db = folder.path().join("index").join("db");
        let mut bytes = fs::read(&db).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        for hit in 0..1 + seed {
            let at = (noise_word(seed * 31 + hit) as usize) % used.max(1);
            let to = (at + 64).min(bytes.len());
            bytes[at..to].copy_from_slice(&noise(seed, to - at));
        }
        fs::write(&db, bytes).unwrap();
        let report = check_opened(folder.path(), &entries, &format!("seed {seed}"));
        rebuilt += usize::from(report.rebuilt.is_some());
        replayed += usize::from(report.rebuilt.is_none() && report.replayed_frames > 0);
    }
    println!("{rebuilt} of 16 rebuilt, {replayed} replayed");
    assert!(rebuilt + replayed > 8, "the damage was felt");
}

/// An index that the disk refuses to open, and whether it was set aside.
struct Refused(std::io::ErrorKind, Arc<AtomicBool>);

impl IndexFactory for Refused {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        let why = "as asked".to_owned();
        Err(OpenIndexError::Disk { kind: self.0, why })
    }
    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        self.1.store(true, Ordering::Relaxed);
        MemoryIndexFactory.replace()
    }
}

#[test]
fn an_index_on_a_disk_that_is_full_is_left_where_it_is() {
    let open = |kind| {
        let (disk, _) = filled(10);
        let replaced = Arc::new(AtomicBool::new(false));
        let factory = Box::new(Refused(kind, Arc::clone(&replaced)));
        let opened = SegmentStore::open_on(disk, factory, &options(2));
        (
            opened.map(|(_, report)| report),
            replaced.load(Ordering::Relaxed),
        )
    };
    for kind in [
        std::io::ErrorKind::StorageFull,
        std::io::ErrorKind::ReadOnlyFilesystem,
    ] {
        let (opened, replaced) = open(kind);
        let error = opened.unwrap_err();
        assert!(matches!(error, StoreError::Disk { .. }), "{error}");
        assert_eq!((error.disk_fault(), replaced), (Some(kind), false));
    }
    // A bad sector may spare another file.
    let io_error = std::io::Error::from_raw_os_error(5).kind();
    let (opened, replaced) = open(io_error);
    assert!(replaced && opened.unwrap().rebuilt.is_some());
}

#[test]
fn segments_of_an_older_day_draw_a_new_life() {
    let (folder, entries) = filled_folder(true);
    let last = files_below(folder.path())
        .into_iter()
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("segment-")
        })
        .max()
        .unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..SEGMENT_HEADER_BYTES as usize]).unwrap();
    let (store, report) = open_sled(folder.path(), 5);
    assert_eq!(report.rebuilt, Some(Rebuilt::SegmentsBehind));
    assert!(report.new_epoch && report.new_incarnation && report.lost_frames > 0);
    let held = journal(&store, URGENT);
    assert_eq!(held, entries[..held.len()]);
    assert!(store.verify(false).unwrap().is_sound());
    Box::new(store).close().unwrap();
    let (_, report) = open_sled(folder.path(), 6);
    assert_eq!((report.new_epoch, report.rebuilt), (false, None));
}

#[test]
fn foreign_folders_newer_formats_and_other_devices_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut only_open = options(1);
    only_open.create = false;
    let refused = |result: Result<_, StoreError>| match result {
        Err(error) => error,
        Ok((_, _)) => panic!("opened"),
    };
    let error = refused(SegmentStore::open(folder.path(), &only_open));
    assert!(matches!(error, StoreError::NotAStore(path) if path == folder.path()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = refused(SegmentStore::open(
        &folder.path().join("nowhere"),
        &only_open,
    ));
    assert!(matches!(error, StoreError::NotAStore(_)));
    drop(open_sled(folder.path(), 1));
    let mut other = options(2);
    other.device = DeviceKey([1; 32]);
    let error = refused(SegmentStore::open(folder.path(), &other));
    assert!(matches!(error, StoreError::OtherDevice), "{error}");
    let format = folder.path().join("format");
    let text = fs::read_to_string(&format).unwrap();
    assert!(text.starts_with("cairn-store 1 "));
    fs::write(&format, text.replacen('1', "2", 1)).unwrap();
    let before = files_below(folder.path()).len();
    let error = refused(SegmentStore::open(folder.path(), &options(3)));
    assert!(matches!(
        error,
        StoreError::NewerFormat { found: 2, known: 1 }
    ));
    assert_eq!(files_below(folder.path()).len(), before);
    // Without a segment nothing says what the format file did.
    fs::write(&format, "something else").unwrap();
    fs::remove_file(folder.path().join("segment-00000001")).unwrap();
    let error = refused(SegmentStore::open(folder.path(), &options(3)));
    assert!(matches!(error, StoreError::Damaged(_)));
}

const CHILD: &str = "CAIRN_STORE_TEST_CHILD";

/// Not a test of its own: the second process of the one below.
#[test]
fn child_process() {
    let Ok(folder) = std::env::var(CHILD) else {
        return;
    };
    let (mut store, _) = open_sled(Path::new(&folder), 1);
    let entries = Author::new(URGENT, 1, 1).write_many(50);
    store.append(incoming(&entries)).unwrap();
    println!("\nopen");
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_second_process_is_locked_out_and_a_killed_one_leaves_everything() {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(CHILD, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let opened = lines.map_while(Result::ok).any(|line| line == "open");
    assert!(opened, "the other process has opened the store");
    let second = SegmentStore::open(folder.path(), &options(2));
    assert!(matches!(second, Err(StoreError::Locked)));
    child.kill().unwrap();
    let mut patient = options(3);
    patient.lock_wait = std::time::Duration::from_secs(10);
    let (store, report) = SegmentStore::open(folder.path(), &patient).unwrap();
    child.wait().unwrap();
    assert_eq!((report.new_epoch, report.rebuilt), (false, None));
    assert_eq!(journal(&store, URGENT).len(), 50);
}

#[test]
fn a_store_of_format_1_opens_and_reads() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1");
    let content = golden_content();
    if std::env::var_os("CAIRN_BLESS").is_some() {
        fs::create_dir_all(&golden).unwrap();
        for (name, bytes) in &content {
            fs::write(golden.join(name), bytes).unwrap();
        }
    }
    let mut disk = ModelDisk::new();
    for (name, bytes) in &content {
        let frozen = fs::read(golden.join(name)).unwrap();
        assert_eq!(&frozen, bytes, "{name} is written as it was");
        disk.create(name).unwrap();
        disk.append(name, &frozen).unwrap();
    }
    disk.sync_dir().unwrap();
    let (store, report) = open_model(&disk, 9);
    assert!(!report.new_epoch && report.bad_stretches.is_empty());
    assert_eq!(store.journal_end(URGENT).position, 4);
    assert_eq!(store.incarnation(), Incarnation([0x77; 16]));
    assert_eq!(store.outbox(0, usize::MAX).unwrap(), [outbox_frame(2, 20)]);
    assert_eq!(store.state(b"key").unwrap(), Some(b"value".to_vec()));
    assert_eq!(store.receipts().unwrap(), [b"receipt".to_vec()]);
    assert_eq!(store.authority_head().height, 1);
    assert_eq!(store.authority_forks().unwrap().len(), 1);
    let kinds = kinds_in(&disk, &content);
    assert_eq!(
        kinds,
        [1, 2, 3, 4, 5, 6, 7, 8],
        "every kind of frame is in it"
    );
}

fn golden_content() -> Vec<(String, Vec<u8>)> {
    let disk = ModelDisk::new();
    let mut options = options(1);
    options.fresh = Fresh([0x33; 48]);
    options.segment_bytes = 1 << 20;
    let (mut store, _) = SegmentStore::open_model(disk.clone(), &options).unwrap();
    let mut authority = support::Authority::found();
    let fork = authority.offer(false);
    let entries = vec![authority.entry(0), authority.sign(true), fork];
    store.append_authority(entries).unwrap();
    let entries = Author::new(URGENT, 1, 1).write_many(3);
    store.append(incoming(&entries)).unwrap();
    store.set_incarnation(Incarnation([0x77; 16])).unwrap();
    let frames = vec![outbox_frame(1, 20), outbox_frame(2, 20)];
    store.save_outbox(frames, WriteSet::new()).unwrap();
    let log = store.next_own(URGENT).unwrap().log;
    let own = Author::of_log(log).write_many(1);
    store.seal_outbox(&[1], own, WriteSet::new()).unwrap();
    store.put_state(b"key", b"value").unwrap();
    let side = |text: &str| cairn_store::SideObject {
        key: [0xd0; 32].to_vec(),
        counter: 5,
        bytes: text.as_bytes().to_vec(),
    };
    store.put_grants(vec![side("grant")]).unwrap();
    store.put_receipts(vec![side("receipt")]).unwrap();
    let names = disk.list().unwrap();
    let content = |name: String| {
        let bytes = disk.content(&name).unwrap();
        (name, bytes)
    };
    names.into_iter().map(content).collect()
}

fn kinds_in(disk: &ModelDisk, content: &[(String, Vec<u8>)]) -> Vec<u8> {
    let segment = content
        .iter()
        .find(|(name, _)| name.starts_with("segment-"));
    let salt = segment.unwrap().1[25..41].try_into().unwrap();
    let segments = Segments::open(disk.clone(), salt, 1 << 20).unwrap();
    let mut scan = segments.scan_all();
    let mut kinds = std::collections::BTreeSet::new();
    while let Some(scanned) = scan.step().unwrap() {
        if let Scanned::Frame(_, header, _) = scanned {
            kinds.insert(header.kind);
        }
    }
    kinds.into_iter().collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn noise_word(seed: u64) -> u64 {
    let hash = cairn_wire::hash::derive("cairn store tests", &[&seed.to_be_bytes()]);
    u64::from_be_bytes(hash[..8].try_into().unwrap())
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .flat_map(|at| noise_word(seed.wrapping_mul(1 << 32) + at / 8).to_be_bytes())
        .take(length)
        .collect()
}
