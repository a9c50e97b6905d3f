//! A disk in memory that can lose power and fail, for tests and the simulator.
//!
//! It keeps apart what is durable from what was only written. [`ModelDisk::crash`] gives the disk as
//! it may look after a power cut now; a disk made by [`ModelDisk::recording`] can give it for every
//! earlier moment too ([`ModelDisk::image_at`]). Everything is decided by seeds.

use super::Disk;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a power cut does to what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsynced {
    /// All of it is gone, names of files included.
    Dropped,
    /// All of it is there.
    Kept,
    /// Each file keeps the bytes up to some place; names up to some operation.
    Torn,
    /// Each 512-byte sector, and each name, is there or not, whatever came after it.
    Reordered,
}

impl Unsynced {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Kept, Self::Torn, Self::Reordered];
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Input/output error: nothing of the operation happens.
    Io,
    /// No space: of an append, the first half is written.
    NoSpace,
}

/// An operation that changes the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::create`]
    Create(String),
    /// [`Disk::append`]
    Append(String, Vec<u8>),
    /// [`Disk::sync_data`]
    SyncData(String),
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::rename`]
    Rename(String, String),
    /// [`Disk::remove`]
    Remove(String),
}

/// See the module. Clones share one disk, as two handles on a folder do; [`ModelDisk::copy`] makes
/// another disk.
#[derive(Debug, Clone, Default)]
pub struct ModelDisk(Arc<Mutex<State>>);

const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone, Default)]
struct State {
    files: Vec<File>,
    /// Names as a running system sees them.
    names: BTreeMap<String, usize>,
    /// Names as of the last directory sync.
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    recorded: Option<Vec<Operation>>,
    operations: u64,
    fail: Option<(u64, Failure)>,
}

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: usize,
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl ModelDisk {
    /// An empty disk that does not record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that records every operation.
    #[must_use]
    pub fn recording() -> Self {
        let disk = Self::default();
        disk.state().recorded = Some(Vec::new());
        disk
    }

    /// Operations that changed the disk, or tried to, so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What was recorded.
    #[must_use]
    pub fn recorded(&self) -> Vec<Operation> {
        self.state().recorded.clone().unwrap_or_default()
    }

    /// The disk after a power cut now.
    #[must_use]
    pub fn crash(&self, unsynced: Unsynced, seed: u64) -> Self {
        let crashed = self.state().crashed(unsynced, &mut Dice(seed));
        Self(Arc::new(Mutex::new(crashed)))
    }

    /// The disk after a power cut when `operations` of the recorded ones had been done.
    #[must_use]
    pub fn image_at(&self, operations: usize, unsynced: Unsynced, seed: u64) -> Self {
        let mut replayed = State::default();
        for operation in self.recorded().into_iter().take(operations) {
            // An operation that failed then fails now, or is undone by what the caller did next.
            let _ = replayed.perform(&operation);
        }
        let crashed = replayed.crashed(unsynced, &mut Dice(seed));
        Self(Arc::new(Mutex::new(crashed)))
    }

    /// Another disk with the same content, everything on it durable: a clone, a backup.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.crash(Unsynced::Kept, 0)
    }

    /// Lets the operation after `after` further ones fail, once.
    pub fn fail_after(&self, after: u64, failure: Failure) {
        let mut state = self.state();
        state.fail = Some((state.operations + after, failure));
    }

    /// Is a failure set that has not happened yet?
    #[must_use]
    pub fn failure_pending(&self) -> bool {
        self.state().fail.is_some()
    }

    /// Flips the bits of `mask` in one byte of a file, as rot does. False if there is no such byte.
    #[must_use]
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> bool {
        self.with_file(name, |file| match file.bytes.get_mut(offset) {
            Some(byte) => {
                *byte ^= mask;
                true
            }
            None => false,
        })
        .unwrap_or(false)
    }

    /// Cuts a file off, as a lost or restored disk does.
    pub fn cut(&self, name: &str, length: usize) {
        self.with_file(name, |file| {
            file.bytes.truncate(length);
            file.durable = file.durable.min(length);
        });
    }

    /// Bytes of a file.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.with_file(name, |file| file.bytes.clone())
    }

    fn with_file<R>(&self, name: &str, then: impl FnOnce(&mut File) -> R) -> Option<R> {
        let mut state = self.state();
        let at = *state.names.get(name)?;
        state.files.get_mut(at).map(then)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn perform(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.state();
        let number = state.operations;
        state.operations += 1;
        let failure = match state.fail {
            Some((at, failure)) if at == number => {
                state.fail = None;
                Some(failure)
            }
            _ => None,
        };
        let (done, result) = match (failure, operation) {
            (None, operation) => (Some(operation), Ok(())),
            (Some(Failure::NoSpace), Operation::Append(name, mut bytes)) => {
                bytes.truncate(bytes.len() / 2);
                let error = io::Error::from(io::ErrorKind::StorageFull);
                (Some(Operation::Append(name, bytes)), Err(error))
            }
            (Some(Failure::NoSpace), _) => (None, Err(io::Error::from(io::ErrorKind::StorageFull))),
            (Some(Failure::Io), _) => (None, Err(io::Error::other("input/output error"))),
        };
        if let Some(operation) = done {
            state.perform(&operation)?;
            if let Some(recorded) = &mut state.recorded {
                recorded.push(operation);
            }
        }
        result
    }
}

impl State {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn perform(&mut self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Create(name) => {
                if self.names.contains_key(name) {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists));
                }
                let at = self.files.len();
                self.files.push(File::default());
                self.names.insert(name.clone(), at);
                self.pending_names
                    .push(NameChange::Create(name.clone(), at));
            }
            Operation::Append(name, bytes) => {
                let at = self.file(name)?;
                self.files[at].bytes.extend_from_slice(bytes);
            }
            Operation::SyncData(name) => {
                let at = self.file(name)?;
                self.files[at].durable = self.files[at].bytes.len();
            }
            Operation::SyncDir => {
                self.durable_names = self.names.clone();
                self.pending_names.clear();
            }
            Operation::Rename(from, to) => {
                let at = self.file(from)?;
                self.names.remove(from);
                self.names.insert(to.clone(), at);
                self.pending_names
                    .push(NameChange::Rename(from.clone(), to.clone()));
            }
            Operation::Remove(name) => {
                self.file(name)?;
                self.names.remove(name);
                self.pending_names.push(NameChange::Remove(name.clone()));
            }
        }
        Ok(())
    }

    fn crashed(&self, unsynced: Unsynced, dice: &mut Dice) -> Self {
        let mut names = self.durable_names.clone();
        let kept_up_to = dice.up_to(self.pending_names.len());
        for (at, change) in self.pending_names.iter().enumerate() {
            let kept = match unsynced {
                Unsynced::Dropped => false,
                Unsynced::Kept => true,
                Unsynced::Torn => at < kept_up_to,
                Unsynced::Reordered => dice.up_to(1) == 1,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        let mut crashed = Self::default();
        for (name, at) in names {
            let bytes = self.files[at].crashed(unsynced, dice);
            let durable = bytes.len();
            crashed.names.insert(name, crashed.files.len());
            crashed.files.push(File { bytes, durable });
        }
        crashed.durable_names = crashed.names.clone();
        crashed
    }
}

impl File {
    fn crashed(&self, unsynced: Unsynced, dice: &mut Dice) -> Vec<u8> {
        let (durable, pending) = self.bytes.split_at(self.durable);
        let mut out = durable.to_vec();
        match unsynced {
            Unsynced::Dropped => {}
            Unsynced::Kept => out.extend_from_slice(pending),
            Unsynced::Torn => out.extend_from_slice(&pending[..dice.up_to(pending.len())]),
            Unsynced::Reordered => {
                let mut from = durable.len();
                while from < self.bytes.len() {
                    // Sectors end at multiples of their size from the start of the file.
                    let to = (from / SECTOR_BYTES + 1) * SECTOR_BYTES;
                    let to = to.min(self.bytes.len());
                    if dice.up_to(1) == 1 {
                        out.resize(from, 0);
                        out.extend_from_slice(&self.bytes[from..to]);
                    }
                    from = to;
                }
            }
        }
        out
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, at) => {
                names.insert(name.clone(), *at);
            }
            Self::Rename(from, to) => {
                if let Some(at) = names.remove(from) {
                    names.insert(to.clone(), at);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk for ModelDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.perform(Operation::Create(name.to_owned()))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.perform(Operation::Append(name.to_owned(), bytes.to_vec()))
    }

    fn sync_data(&mut self, name: &str) -> io::Result<()> {
        self.perform(Operation::SyncData(name.to_owned()))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.perform(Operation::SyncDir)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[state.file(name)?].bytes.len() as u64)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        let bytes = &state.files[state.file(name)?].bytes;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let count = into.len().min(bytes.len() - from);
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.perform(Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.perform(Operation::Remove(name.to_owned()))
    }
}

/// SplitMix64: enough for dice, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `most`, both included.
    fn up_to(&mut self, most: usize) -> usize {
        (self.roll() % (most as u64 + 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_surely_survives() {
        let mut disk = ModelDisk::recording();
        disk.create("a").unwrap();
        disk.append("a", b"one").unwrap();
        disk.sync_data("a").unwrap();
        assert!(disk.crash(Unsynced::Dropped, 1).list().unwrap().is_empty());
        disk.sync_dir().unwrap();
        disk.append("a", b"two").unwrap();
        let content = |unsynced, seed| disk.crash(unsynced, seed).content("a").unwrap();
        assert_eq!(content(Unsynced::Dropped, 1), b"one");
        assert_eq!(content(Unsynced::Kept, 1), b"onetwo");
        let torn: std::collections::BTreeSet<_> =
            (0..100).map(|seed| content(Unsynced::Torn, seed)).collect();
        assert_eq!(torn.len(), 4);
        assert_eq!(disk.recorded().len(), 5);
        assert!(
            disk.image_at(3, Unsynced::Dropped, 1)
                .content("a")
                .is_none()
        );
        assert_eq!(
            disk.image_at(4, Unsynced::Dropped, 1).content("a").unwrap(),
            b"one"
        );
    }

    #[test]
    fn sectors_are_lost_whole_and_out_of_order() {
        let mut disk = ModelDisk::new();
        disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        disk.append("a", &[7; 2 * SECTOR_BYTES]).unwrap();
        let mut expected = vec![0; SECTOR_BYTES];
        expected.extend([7; SECTOR_BYTES]);
        assert!((0..50).any(|seed| {
            disk.crash(Unsynced::Reordered, seed).content("a").unwrap() == expected
        }));
    }

    #[test]
    fn the_chosen_operation_fails_once() {
        let mut disk = ModelDisk::new();
        disk.create("a").unwrap();
        disk.fail_after(1, Failure::NoSpace);
        disk.append("a", b"fine").unwrap();
        assert!(disk.append("a", b"half").is_err());
        assert_eq!(disk.content("a").unwrap(), b"fineha");
        disk.append("a", b"!").unwrap();
        assert_eq!(disk.content("a").unwrap(), b"fineha!");
    }
}
