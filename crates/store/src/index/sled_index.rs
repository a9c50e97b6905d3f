//! The index in sled 0.34.7: the only file that names it.
//!
//! What is known of it and closed here: its `flush` never syncs on Linux, so
//! [`Index::persist`] syncs its files itself; its default cache is a gigabyte; it panics on rotten
//! bytes, so every call is fenced; its opening can hang, and on a failing disk its `flush` too, so both
//! run under a watchdog; right after a kill its lock can still be held, so opening waits a few seconds. One tree, the table's byte
//! before every key, so that one batch writes several tables together.

use super::{Index, IndexFactory, IndexWrites, OpenIndexError, Row, Rows, Table};
use crate::error::IndexError;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};

/// Folder of the index within the store's.
pub const FOLDER: &str = "index";

/// How long a flush is waited for before it is asked for again.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// How a [`SledIndex`] is opened.
#[derive(Debug, Clone)]
pub struct SledFactory {
    folder: PathBuf,
    /// Memory that sled may use for its cache.
    pub cache_bytes: u64,
    /// How long to wait for a lock that the process before may still hold.
    pub lock_wait: Duration,
    /// How long an opening or a flush may take before it counts as failed.
    pub watchdog: Duration,
}

impl SledFactory {
    /// For the store in `store_folder`.
    #[must_use]
    pub fn new(store_folder: &Path) -> Self {
        Self {
            folder: store_folder.join(FOLDER),
            cache_bytes: 8 * 1024 * 1024,
            lock_wait: Duration::from_secs(5),
            watchdog: Duration::from_secs(60),
        }
    }

    fn set_aside(&self) -> io::Result<Option<String>> {
        if !self.folder.exists() {
            return Ok(None);
        }
        for number in 1.. {
            let name = format!("{FOLDER}.aside-{number}");
            let target = self.folder.with_file_name(&name);
            if !target.exists() {
                std::fs::rename(&self.folder, &target)?;
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl SledFactory {
    /// What could not be opened in its place is empty.
    fn put_back(&self, aside: &str) -> io::Result<()> {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)?;
        }
        std::fs::rename(self.folder.with_file_name(aside), &self.folder)
    }
}

impl IndexFactory for SledFactory {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        let begun = Instant::now();
        loop {
            match open_watched(self.clone()) {
                Err(OpenIndexError::Locked) if begun.elapsed() < self.lock_wait => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
                Ok(index) => return Ok(Box::new(index)),
            }
        }
    }

    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        let aside = self.set_aside().map_err(|error| OpenIndexError::Disk {
            kind: error.kind(),
            why: format!("cannot be set aside: {error}"),
        })?;
        match self.open() {
            Ok(index) => Ok((index, aside)),
            Err(error) => {
                if let Some(aside) = aside
                    && let Err(why) = self.put_back(&aside)
                {
                    tracing::warn!("the index that was set aside stays there: {why}");
                }
                Err(error)
            }
        }
    }
}

/// See [`Index`].
pub struct SledIndex {
    /// There until it is dropped.
    db: Option<sled::Db>,
    folder: PathBuf,
    watchdog: Duration,
    /// Files beside sled's log that have been synced; sled writes each once.
    synced: BTreeSet<PathBuf>,
}

fn open_watched(options: SledFactory) -> Result<SledIndex, OpenIndexError> {
    let watchdog = options.watchdog;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let opened = contained(|| open_unwatched(&options))
            .unwrap_or_else(|panic| Err(OpenIndexError::Damaged(panic_text(&*panic))));
        // Nobody listens any more if the watchdog has barked; then the index is dropped here.
        let _ = tell.send(opened);
    });
    told.recv_timeout(watchdog).unwrap_or_else(|_| {
        Err(OpenIndexError::Damaged(format!(
            "opening took longer than {} s",
            watchdog.as_secs()
        )))
    })
}

fn open_unwatched(options: &SledFactory) -> Result<SledIndex, OpenIndexError> {
    let opened = sled::Config::new()
        .path(&options.folder)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(None)
        .open();
    match opened {
        Ok(db) => Ok(SledIndex {
            db: Some(db),
            folder: options.folder.clone(),
            watchdog: options.watchdog,
            synced: BTreeSet::new(),
        }),
        Err(sled::Error::Io(error)) if is_lock_error(&error) => Err(OpenIndexError::Locked),
        Err(error) => Err(match disk_fault(&error) {
            Some(kind) => OpenIndexError::Disk {
                kind,
                why: in_words(&error),
            },
            None => OpenIndexError::Damaged(in_words(&error)),
        }),
    }
}

fn is_lock_error(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

/// What happened, as the system says it: sled prints errors of the disk in Rust's own notation.
fn in_words(error: &sled::Error) -> String {
    match error {
        sled::Error::Io(error) => without_notation(&error.to_string()).to_owned(),
        other => other.to_string(),
    }
}

/// sled's copies of an error of the disk are `Os { code: 5, kind: …, message: "…" }` in a string.
fn without_notation(text: &str) -> &str {
    let inner = text.strip_prefix("Os {").and_then(|text| {
        let (_, message) = text.split_once("message: \"")?;
        message.split_once('"')
    });
    inner.map_or(text, |(message, _)| message)
}

/// What the system refused. The kinds that are left out are those by which sled itself calls bytes
/// unreadable.
fn disk_fault(error: &sled::Error) -> Option<io::ErrorKind> {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    match error {
        sled::Error::Io(error) => Some(error.kind()).filter(|kind| {
            !matches!(
                kind,
                InvalidData | InvalidInput | NotFound | Other | UnexpectedEof
            )
        }),
        _ => None,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic and keeps it off the terminal: what it says becomes an error or a warning.
fn contained<R>(call: impl FnOnce() -> R) -> std::thread::Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                others(panic);
            }
        }));
    });
    let before = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    CONTAINED.set(before);
    result
}

fn fenced<R>(doing: &'static str, call: impl FnOnce() -> sled::Result<R>) -> Result<R, IndexError> {
    match contained(call) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(IndexError {
            doing,
            disk: disk_fault(&error),
            why: in_words(&error),
        }),
        Err(panic) => Err(IndexError {
            doing,
            disk: None,
            why: panic_text(&*panic),
        }),
    }
}

fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(table as u8);
    out.extend_from_slice(key);
    out
}

fn row((key, value): (sled::IVec, sled::IVec)) -> Row {
    (key.get(1..).unwrap_or_default().to_vec(), value.to_vec())
}

impl Index for SledIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let found = fenced("reading", || self.db()?.get(full_key(table, key)))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError> {
        let start = from.filter(|from| *from > prefix).unwrap_or(prefix);
        let prefix = full_key(table, prefix);
        fenced("scanning", || {
            let mut rows = Vec::new();
            for found in self.db()?.range(full_key(table, start)..) {
                let found = found?;
                if rows.len() >= limit || !found.0.starts_with(&prefix) {
                    break;
                }
                rows.push(row(found));
            }
            Ok(rows)
        })
    }

    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>, IndexError> {
        let prefix = full_key(table, prefix);
        let found = fenced("scanning", || {
            self.db()?.scan_prefix(&prefix).next_back().transpose()
        })?;
        Ok(found.map(row))
    }

    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for ((table, key), value) in writes.writes {
            let key = full_key(table, &key);
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        fenced("writing", || self.db()?.apply_batch(batch))
    }

    fn persist(&mut self) -> Result<(), IndexError> {
        self.flush_watched()?;
        self.sync_files().map_err(|error| IndexError {
            doing: "syncing",
            disk: Some(error.kind()),
            why: error.to_string(),
        })
    }
}

/// sled writes when it is dropped, and may panic over rotten bytes or hang then too.
impl Drop for SledIndex {
    fn drop(&mut self) {
        let db = self.db.take();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(contained(|| drop(db)));
        });
        match told.recv_timeout(self.watchdog) {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => tracing::warn!("closing the index: {}", panic_text(&*panic)),
            Err(_) => tracing::warn!("closing the index takes too long; it is left as it is"),
        }
    }
}

impl SledIndex {
    fn db(&self) -> sled::Result<&sled::Db> {
        let closed = || sled::Error::Unsupported("the index is closed".to_owned());
        self.db.as_ref().ok_or_else(closed)
    }

    /// sled can wait for ever for a write that has failed (seen once in 400 saves on a failing disk): it looks
    /// for the failure before it waits, and may miss the word while it begins to. Whoever asks it again
    /// is told at once.
    fn flush_watched(&self) -> Result<(), IndexError> {
        let (tell, told) = mpsc::channel();
        let begun = Instant::now();
        loop {
            let (tell, db) = (tell.clone(), self.db.clone());
            std::thread::spawn(move || {
                let closed = || sled::Error::Unsupported("the index is closed".to_owned());
                let flushed = fenced("flushing", || db.as_ref().ok_or_else(closed)?.flush());
                // Before anybody is told, so that this is never the last to let go.
                drop(db);
                let _ = tell.send(flushed);
            });
            match told.recv_timeout(FLUSH_PATIENCE) {
                Ok(flushed) => return flushed.map(drop),
                Err(_) if begun.elapsed() < self.watchdog => {}
                Err(_) => {
                    return Err(IndexError {
                        doing: "flushing",
                        why: format!("it took longer than {} s", self.watchdog.as_secs()),
                        disk: Some(io::ErrorKind::TimedOut),
                    });
                }
            }
        }
    }

    /// Large pages first (each in a file of its own), then the log that points to them.
    fn sync_files(&mut self) -> io::Result<()> {
        let blobs = self.folder.join("blobs");
        let mut present = BTreeSet::new();
        let mut grew = false;
        for entry in std::fs::read_dir(&blobs)? {
            let path = entry?.path();
            if !self.synced.contains(&path) {
                match File::open(&path) {
                    Ok(file) => file.sync_all()?,
                    // sled has already dropped it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                grew = true;
            }
            present.insert(path);
        }
        self.synced = present;
        if grew {
            File::open(&blobs)?.sync_all()?;
        }
        File::open(self.folder.join("db"))?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_rot() {
        let refused = |error: io::Error| {
            let error = sled::Error::Io(error);
            // sled hands copies of its first error to whoever calls later.
            let later = error.clone();
            (
                fenced("flushing", || Err::<(), _>(error)).unwrap_err().disk,
                fenced("flushing", || Err::<(), _>(later)).unwrap_err().disk,
            )
        };
        let full = Some(io::ErrorKind::StorageFull);
        assert_eq!(refused(io::Error::from_raw_os_error(28)), (full, full));
        let (first, later) = refused(io::Error::from_raw_os_error(5));
        assert!(first.is_some() && first == later);
        let error = sled::Error::Io(io::Error::from_raw_os_error(5));
        for error in [error.clone(), error] {
            let words = in_words(&error);
            assert!(words.starts_with("Input/output error"), "{words}");
        }
        let rot = io::Error::new(io::ErrorKind::UnexpectedEof, "short");
        assert_eq!(refused(rot), (None, None));
        let panicked = fenced("reading", || -> sled::Result<()> { panic!("as asked") });
        assert_eq!(panicked.unwrap_err().disk, None);
    }

    #[test]
    fn where_no_new_index_can_be_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join(FOLDER);
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("db"), b"old").unwrap();
        let factory = SledFactory::new(folder.path());
        let aside = factory.set_aside().unwrap().unwrap();
        std::fs::create_dir(&old).unwrap();
        factory.put_back(&aside).unwrap();
        assert_eq!(std::fs::read(old.join("db")).unwrap(), b"old");
        assert!(!folder.path().join(aside).exists());
    }
}
