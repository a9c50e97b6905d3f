//! Opening a store: format, single owner, the index brought up to the segments or made anew.

use super::SegmentStore;
use crate::contents::{Contents, Progress, Target, each_row};
use crate::disk::Disk;
use crate::disk::model::ModelDisk;
use crate::disk::real::RealDisk;
use crate::error::StoreError;
use crate::frame::{Kind, NewFrame};
use crate::index::memory_index::{MemoryIndex, MemoryIndexFactory};
use crate::index::sled_index::SledFactory;
use crate::index::{Index, IndexFactory, IndexWrites, OpenIndexError, Table};
use crate::layout::{Identity, Life};
use crate::port::{BAD_STRETCHES_MAX, Fresh, OpenReport, Rebuilt, Store};
use crate::segments::{
    Location, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, Scanned, Segments, Tail, parse_salt,
    segment_number,
};
use cairn_wire::frame::Backlog;
use cairn_wire::ids::{DeviceKey, ProgrammeId};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Format of the store that is written today, in `format.md`.
pub const FORMAT_VERSION: u32 = 1;
/// File that holds the format's version and the store's salt.
pub const FORMAT_FILE: &str = "format";
const FORMAT_FILE_NEW: &str = "format.new";
const FORMAT_WORD: &str = "cairn-store";
/// File whose lock says that the store is open.
pub const LOCK_FILE: &str = "lock";
/// Index writes that are put together while segments are read. sled frees what a batch replaced only
/// after the batch: at 2 MiB a rebuild of 100,000 entries took 192 MB, at this size 64 MB.
const REPLAY_BYTES: usize = 256 * 1024;

/// How a store is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The device that the store belongs to.
    pub device: DeviceKey,
    /// Its programme, where the caller knows it.
    pub programme: Option<ProgrammeId>,
    /// Random bytes for what may have to be drawn anew. Never the same twice.
    pub fresh: Fresh,
    /// Make the store if there is none.
    pub create: bool,
    /// Size at which a segment file is full.
    pub segment_bytes: u64,
    /// Memory for sled's cache.
    pub cache_bytes: u64,
    /// How long to wait for a process that is just ending.
    pub lock_wait: Duration,
}

impl OpenOptions {
    /// With the product's sizes.
    #[must_use]
    pub fn new(device: DeviceKey, fresh: Fresh) -> Self {
        Self {
            device,
            programme: None,
            fresh,
            create: true,
            segment_bytes: 64 * 1024 * 1024,
            cache_bytes: 8 * 1024 * 1024,
            lock_wait: Duration::from_secs(3),
        }
    }
}

impl SegmentStore<RealDisk> {
    /// Opens the store in a folder, with its index in sled.
    pub fn open(folder: &Path, options: &OpenOptions) -> Result<(Self, OpenReport), StoreError> {
        let mut factory = SledFactory::new(folder);
        factory.cache_bytes = options.cache_bytes;
        Self::open_with(folder, Box::new(factory), options)
    }

    /// Opens the store in a folder with another index.
    pub fn open_with(
        folder: &Path,
        factory: Box<dyn IndexFactory>,
        options: &OpenOptions,
    ) -> Result<(Self, OpenReport), StoreError> {
        if !options.create && !holds_a_store(folder) {
            return Err(StoreError::NotAStore(folder.to_owned()));
        }
        std::fs::create_dir_all(folder).map_err(StoreError::disk("making the store's folder"))?;
        let lock = lock(folder, options.lock_wait)?;
        let disk = RealDisk::new(folder);
        let (mut store, report) =
            Self::open_on(disk, factory, options).map_err(|error| match error {
                StoreError::NotAStore(_) => StoreError::NotAStore(folder.to_owned()),
                error => error,
            })?;
        store._lock = Some(lock);
        Ok((store, report))
    }
}

impl SegmentStore<ModelDisk> {
    /// Opens the store on a model disk, with its index in memory.
    pub fn open_model(
        disk: ModelDisk,
        options: &OpenOptions,
    ) -> Result<(Self, OpenReport), StoreError> {
        Self::open_on(disk, Box::new(MemoryIndexFactory), options)
    }
}

fn holds_a_store(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.any(|name| name == FORMAT_FILE || segment_number(&name).is_some())
}

fn lock(folder: &Path, wait: Duration) -> Result<File, StoreError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))
        .map_err(StoreError::disk("opening the lock file"))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < wait => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked),
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::Disk {
                    doing: "locking the store",
                    source,
                });
            }
        }
    }
}

impl<D: Disk> SegmentStore<D> {
    /// Opens the store on any disk with any index. The caller sees to it that nobody else has it open.
    pub fn open_on(
        mut disk: D,
        mut factory: Box<dyn IndexFactory>,
        options: &OpenOptions,
    ) -> Result<(Self, OpenReport), StoreError> {
        let mut report = OpenReport::default();
        let in_segments = salt_of_segments(&disk);
        let salt = match read_format(&disk) {
            // A salt that is another one than the segments were written under is rot in this file.
            Ok(Some(salt)) if matches!(in_segments, Ok(Some(other)) if other != salt) => {
                let salt = in_segments?.unwrap_or(salt);
                write_format(&mut disk, &salt)?;
                report.format_mended = true;
                salt
            }
            Ok(Some(salt)) => salt,
            Err(error) if !matches!(error, StoreError::Damaged(_)) => return Err(error),
            unread => match in_segments? {
                Some(salt) => {
                    write_format(&mut disk, &salt)?;
                    report.format_mended = true;
                    salt
                }
                None => {
                    unread?;
                    make_format(&mut disk, options)?;
                    report.created = true;
                    options.fresh.salt()
                }
            },
        };
        let segments = Segments::open(disk, salt, options.segment_bytes)?;
        let new_progress = Progress::new(salt, options.fresh.generation());
        let mut known_frames = 0;
        let (index, contents) = match open_index(&mut *factory, &segments, salt, options)? {
            Usable::Yes(index, contents) => (index, *contents),
            Usable::Empty(index) => {
                if !segments.numbers().is_empty() {
                    report.rebuilt = Some(Rebuilt::Missing);
                }
                (index, Contents::empty(new_progress))
            }
            Usable::Behind(index, last_known) => {
                drop(index);
                known_frames = last_known;
                let (index, _) = replace_index(&mut *factory)?;
                report.rebuilt = Some(Rebuilt::SegmentsBehind);
                (index, Contents::empty(new_progress))
            }
            Usable::No(why) => {
                let (index, set_aside) = replace_index(&mut *factory)?;
                report.rebuilt = Some(Rebuilt::Damaged { why, set_aside });
                (index, Contents::empty(new_progress))
            }
        };
        let mut store = Self {
            segments,
            index,
            factory,
            contents,
            device: options.device,
            backlog: Backlog::default(),
            poisoned: None,
            lag_bytes: 0,
            lag_since_ms: None,
            _lock: None,
        };
        let tail = store.replay(&mut report)?;
        store.count_cut_frames(known_frames);
        store.settle(options, &mut report, tail)?;
        if report.created || report.rebuilt.is_some() {
            // So that a kill in the next second does not cost this work again.
            store.sync_point()?;
        }
        Ok((store, report))
    }

    /// Carries over what the index alone still holds, then makes it anew from all segments.
    pub(super) fn rebuild(&mut self, fresh: Fresh) -> Result<OpenReport, StoreError> {
        let mut report = OpenReport {
            rebuilt: Some(Rebuilt::Asked),
            ..OpenReport::default()
        };
        let salt = self.contents.progress.salt;
        let mut options = OpenOptions::new(self.device, fresh);
        options.programme = Some(self.contents.programme());
        report.carried_over = self.carry_over()?;
        let known_frames = self.contents.progress.last.3;
        self.changing(|store| {
            store.index = Box::new(MemoryIndex::default());
            (store.index, _) = replace_index(&mut *store.factory)?;
            store.contents = Contents::empty(Progress::new(salt, fresh.generation()));
            let tail = store.replay(&mut report)?;
            store.count_cut_frames(known_frames);
            store.settle(&options, &mut report, tail)
        })?;
        Ok(report)
    }

    /// Reads the segments from where the index stands. Answers how the last one ends.
    fn replay(&mut self, report: &mut OpenReport) -> Result<Tail, StoreError> {
        let (segment, offset) = self.contents.progress.next_place();
        let mut scan = self
            .segments
            .scan(segment, offset, self.contents.progress.next_frame());
        let mut writes = IndexWrites::default();
        while let Some(scanned) = scan.step()? {
            match scanned {
                Scanned::Bad(bad) if report.bad_stretches.len() < BAD_STRETCHES_MAX => {
                    report.bad_stretches.push(bad);
                }
                Scanned::Bad(_) => {}
                Scanned::Frame(location, header, body) => {
                    let mut target = Target {
                        files: self.segments.numbers(),
                        index: &*self.index,
                        writes: &mut writes,
                    };
                    self.contents.fold(&mut target, location, header, &body)?;
                    report.replayed_frames += 1;
                }
            }
            if writes.bytes >= REPLAY_BYTES {
                let mut full = std::mem::take(&mut writes);
                self.contents.progress.save(&mut full);
                self.lag_bytes += full.bytes;
                self.index.apply(full)?;
            }
        }
        let (whole_end, tail) = (scan.whole_end(), scan.tail());
        let next = self.contents.progress.next_frame();
        self.segments.continue_at(next, whole_end);
        // Whoever only reads leaves an index that was closed cleanly as it is.
        if !self.contents.progress.clean || report.replayed_frames > 0 {
            self.write_index(writes)?;
        }
        Ok(tail)
    }

    /// Frames that the index had read and that are gone from the end count as lost, though no later
    /// frame shows the gap; their numbers are not used again.
    fn count_cut_frames(&mut self, known_frames: u64) {
        let cut = known_frames.saturating_sub(self.contents.progress.last.3);
        if cut > 0 {
            self.contents.progress.lost_frames += cut;
            self.contents.progress.unaccounted = true;
            self.contents.progress.last.3 = known_frames;
            self.segments.skip_numbers(known_frames + 1);
        }
    }

    /// Whose store it is, and which life it is in: draws what is missing or void. A rotten tail may have
    /// been an own entry that peers have, and whose number must not be used again; no number shows the
    /// gap, so it does not count as lost.
    fn settle(
        &mut self,
        options: &OpenOptions,
        report: &mut OpenReport,
        tail: Tail,
    ) -> Result<(), StoreError> {
        let known = self.contents.progress.identity;
        if known.is_some_and(|known| known.device != options.device) {
            return Err(StoreError::OtherDevice);
        }
        let unknown = ProgrammeId([0; 32]);
        let mut programme = self.contents.programme();
        if programme == unknown {
            programme = self.contents.authority.programme();
        }
        if programme == unknown {
            programme = options.programme.unwrap_or(unknown);
        }
        if options.programme.unwrap_or(programme) != programme {
            return Err(StoreError::OtherProgramme);
        }
        let before = self.contents.progress.life;
        let mut bodies = Vec::new();
        if known.is_none_or(|known| known.programme != programme) {
            let identity = Identity {
                device: options.device,
                programme,
            };
            bodies.push((Kind::Identity, identity.to_bytes()));
        }
        if before.is_none() || self.contents.progress.unaccounted || tail == Tail::Rotten {
            let lost_frames = self.contents.progress.lost_frames;
            let life = Life {
                epoch: options.fresh.epoch(),
                incarnation: options.fresh.incarnation(),
                lost_frames,
            };
            bodies.push((Kind::Life, life.to_bytes()));
            report.lost_frames =
                lost_frames - before.map_or(0, |life| life.lost_frames.min(lost_frames));
            report.new_epoch = true;
            report.new_incarnation = true;
        }
        if bodies.is_empty() {
            return Ok(());
        }
        let frames: Vec<_> = bodies
            .iter()
            .map(|(kind, body)| NewFrame {
                kind: *kind,
                position: 0,
                body,
            })
            .collect();
        self.commit(&frames, &[], IndexWrites::default())
    }
}

enum Usable {
    Yes(Box<dyn Index>, Box<Contents>),
    Empty(Box<dyn Index>),
    /// It speaks of frames, up to that number, that are not there.
    Behind(Box<dyn Index>, u64),
    No(String),
}

fn open_index<D: Disk>(
    factory: &mut dyn IndexFactory,
    segments: &Segments<D>,
    salt: [u8; 16],
    options: &OpenOptions,
) -> Result<Usable, StoreError> {
    let index = match factory.open() {
        Ok(index) => index,
        Err(OpenIndexError::Locked) => return Err(StoreError::Locked),
        Err(OpenIndexError::Damaged(why)) => return Ok(Usable::No(why)),
        // Where the disk has no room or may not be written another index finds none either. A bad
        // sector it may find.
        Err(OpenIndexError::Disk { kind, why }) if refuses_writing(kind) => {
            return Err(StoreError::Disk {
                doing: "opening the index",
                source: io::Error::new(kind, why),
            });
        }
        Err(OpenIndexError::Disk { why, .. }) => return Ok(Usable::No(why)),
    };
    let progress = match Progress::load(&*index) {
        Ok(Some(progress)) => progress,
        Ok(None) if is_empty(&*index) => return Ok(Usable::Empty(index)),
        Ok(None) => return Ok(Usable::No("it does not say how far it has read".into())),
        Err(error) => return Ok(Usable::No(error.to_string())),
    };
    if progress.version != crate::contents::INDEX_VERSION || progress.salt != salt {
        return Ok(Usable::No("it belongs to another store or version".into()));
    }
    if progress
        .identity
        .is_some_and(|identity| identity.device != options.device)
    {
        return Err(StoreError::OtherDevice);
    }
    if !segments_reach(segments, &progress)? {
        return Ok(Usable::Behind(index, progress.last.3));
    }
    let restored = Contents::restore(progress, &*index).and_then(|contents| {
        check_counts(&contents, &*index)?;
        Ok(contents)
    });
    Ok(match restored {
        Ok(contents) => Usable::Yes(index, Box::new(contents)),
        Err(error) => Usable::No(error.to_string()),
    })
}

fn is_empty(index: &dyn Index) -> bool {
    [Table::Meta, Table::Entries, Table::Journal, Table::Ends]
        .iter()
        .all(|table| matches!(index.scan(*table, &[], None, 1), Ok(rows) if rows.is_empty()))
}

fn replace_index(
    factory: &mut dyn IndexFactory,
) -> Result<(Box<dyn Index>, Option<String>), StoreError> {
    factory.replace().map_err(|error| match error {
        OpenIndexError::Locked => StoreError::Locked,
        OpenIndexError::Damaged(why) => StoreError::Index(crate::error::IndexError {
            doing: "making it anew",
            why,
            disk: None,
        }),
        OpenIndexError::Disk { kind, why } => StoreError::Disk {
            doing: "making the index anew",
            source: io::Error::new(kind, why),
        },
    })
}

fn refuses_writing(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::OutOfMemory
    )
}

/// Is the last frame that the index has read still there, and every file before it?
fn segments_reach<D: Disk>(
    segments: &Segments<D>,
    progress: &Progress,
) -> Result<bool, StoreError> {
    let (segment, offset, body_bytes, number) = progress.last;
    if segment == 0 {
        return Ok(true);
    }
    let files = segments
        .numbers()
        .partition_point(|number| *number <= segment);
    if files as u64 != progress.files || segments.numbers().get(files - 1) != Some(&segment) {
        return Ok(false);
    }
    let location = Location {
        segment,
        offset,
        body_bytes,
    };
    match segments.read(location) {
        Ok((header, _)) => Ok(header.number == number),
        Err(StoreError::Damaged(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Rows that the index should have and does not: sled loses silently where its log has rotted. After
/// a clean close only the small tables are counted.
fn check_counts(contents: &Contents, index: &dyn Index) -> Result<(), StoreError> {
    let progress = &contents.progress;
    let mut expected = vec![
        (Table::Leaves, progress.leaves),
        (Table::Detached, progress.detached),
        (Table::Outbox, progress.outbox),
        (Table::State, progress.states),
        (Table::Authority, progress.authority),
    ];
    if !progress.clean {
        let positions = contents.ends.values().map(|end| end.mark.position).sum();
        expected.push((Table::Entries, progress.entries));
        expected.push((Table::Logs, progress.entries));
        expected.push((Table::Journal, progress.entries));
        if progress.entries != positions {
            return Err(StoreError::Damaged(
                "the index lacks a journal's end".into(),
            ));
        }
    }
    for (table, expected) in expected {
        let found = each_row(index, table, |_, _| Some(()))?;
        if found != expected {
            return Err(StoreError::Damaged(format!(
                "the index has {found} of {expected} rows ({table:?})"
            )));
        }
    }
    Ok(())
}

fn format_text(salt: &[u8; 16]) -> String {
    let mut text = format!("{FORMAT_WORD} {FORMAT_VERSION} ");
    // Writing to a string cannot fail.
    let _ = cairn_wire::ids::write_hex(salt, &mut text);
    text.push('\n');
    text
}

/// The salt of the store on a disk; `None` where there is no store.
fn read_format<D: Disk>(disk: &D) -> Result<Option<[u8; 16]>, StoreError> {
    let names = disk.list().map_err(StoreError::disk("listing the store"))?;
    if !names.iter().any(|name| name == FORMAT_FILE) {
        return Ok(None);
    }
    let mut bytes = [0; 128];
    let count = disk
        .read_at(FORMAT_FILE, 0, &mut bytes)
        .map_err(StoreError::disk("reading the format file"))?;
    let damaged = || StoreError::Damaged("the format file is unreadable".to_owned());
    let text =
        std::str::from_utf8(bytes.get(..count).unwrap_or_default()).map_err(|_| damaged())?;
    let mut words = text.split_ascii_whitespace();
    if words.next() != Some(FORMAT_WORD) {
        return Err(damaged());
    }
    let found: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(damaged)?;
    if found > FORMAT_VERSION {
        return Err(StoreError::NewerFormat {
            found,
            known: FORMAT_VERSION,
        });
    }
    let salt = words.next().ok_or_else(damaged)?;
    let salt: cairn_wire::ids::Incarnation = salt.parse().map_err(|_| damaged())?;
    Ok(Some(salt.0))
}

/// What the segments' own headers say the format file should: every version of the format has a version
/// of the segments' layout of its own.
fn salt_of_segments<D: Disk>(disk: &D) -> Result<Option<[u8; 16]>, StoreError> {
    let names = disk.list().map_err(StoreError::disk("listing the store"))?;
    for name in names {
        let Some(number) = segment_number(&name) else {
            continue;
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        disk.read_at(&name, 0, &mut bytes)
            .map_err(StoreError::disk("reading a segment"))?;
        match parse_salt(&bytes, number) {
            Some((version, _)) if version > SEGMENT_VERSION => {
                return Err(StoreError::NewerFormat {
                    found: version.into(),
                    known: FORMAT_VERSION,
                });
            }
            Some((_, salt)) => return Ok(Some(salt)),
            None => {}
        }
    }
    Ok(None)
}

/// Makes the format file: whole under another name first, so that it is never seen half-made.
fn make_format<D: Disk>(disk: &mut D, options: &OpenOptions) -> Result<(), StoreError> {
    let names = disk.list().map_err(StoreError::disk("listing the store"))?;
    let foreign = names.iter().any(|name| segment_number(name).is_some());
    if foreign || !options.create {
        return Err(StoreError::NotAStore(std::path::PathBuf::new()));
    }
    write_format(disk, &options.fresh.salt())
}

fn write_format<D: Disk>(disk: &mut D, salt: &[u8; 16]) -> Result<(), StoreError> {
    let names = disk.list().map_err(StoreError::disk("listing the store"))?;
    let text = format_text(salt);
    if names.iter().any(|name| name == FORMAT_FILE_NEW) {
        disk.remove(FORMAT_FILE_NEW)
            .map_err(StoreError::disk("making the store"))?;
    }
    disk.create(FORMAT_FILE_NEW)
        .and_then(|()| disk.append(FORMAT_FILE_NEW, text.as_bytes()))
        .and_then(|()| disk.sync_data(FORMAT_FILE_NEW))
        .and_then(|()| disk.rename(FORMAT_FILE_NEW, FORMAT_FILE))
        .and_then(|()| disk.sync_dir())
        .map_err(StoreError::disk("making the store"))
}
