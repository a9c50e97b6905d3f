//! Whose turn it is to have a device's folder open.
//!
//! One process at a time has the store open. Who opens it first takes the *turn*, a lock in the folder,
//! and keeps it until the device is closed. Who stays in sync for hours gives the turn back once the
//! store is open, holds the *watch* instead, looks whether somebody has taken the turn, and then closes
//! the store, waits until the turn is free, and opens it again. The system lets go of both locks when a
//! process ends, however it ends, so nothing that is killed leaves anybody waiting.

use crate::error::DeviceError;
use cairn_store::StoreError;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

const TURN_FILE: &str = "turn.lock";
const WATCH_FILE: &str = "watch.lock";
/// How often a lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// How long who stays in sync may take to let go: it finishes what it is writing.
const YIELD_PATIENCE: Duration = Duration::from_secs(30);

/// Held while a folder is open, or wanted.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held for its lock")] File);

/// Held by the one process that stays in sync.
#[derive(Debug)]
pub(crate) struct Watch(#[expect(dead_code, reason = "held for its lock")] File);

impl Turn {
    /// Waits for the turn, longer where somebody stays in sync who will let go.
    pub(crate) fn take(folder: &Path, wait: Duration) -> Result<Self, DeviceError> {
        let began = Instant::now();
        loop {
            if let Some(turn) = Self::try_take(folder)? {
                return Ok(turn);
            }
            if began.elapsed() >= patience(folder, wait) {
                return Err(StoreError::Locked.into());
            }
            std::thread::sleep(TRY_EVERY);
        }
    }

    /// `None` if somebody else has it.
    pub(crate) fn try_take(folder: &Path) -> Result<Option<Self>, DeviceError> {
        let file = open(folder, TURN_FILE)?;
        Ok(lock(&file)?.then_some(Self(file)))
    }

    /// Whether somebody has it.
    pub(crate) fn is_wanted(folder: &Path) -> bool {
        // What cannot be asked is answered when the folder is opened next.
        open(folder, TURN_FILE)
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Watch {
    /// `None` if another process has it.
    pub(crate) fn begin(folder: &Path) -> Result<Option<Self>, DeviceError> {
        let file = open(folder, WATCH_FILE)?;
        Ok(lock(&file)?.then_some(Self(file)))
    }
}

/// How long to wait for a folder that somebody has open.
pub(crate) fn patience(folder: &Path, wait: Duration) -> Duration {
    let watched = File::open(folder.join(WATCH_FILE))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if watched {
        wait.max(YIELD_PATIENCE)
    } else {
        wait
    }
}

fn open(folder: &Path, name: &str) -> Result<File, DeviceError> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(folder.join(name));
    opened.map_err(|source| disk("opening a lock file", source))
}

fn lock(file: &File) -> Result<bool, DeviceError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(disk("locking the folder", source)),
    }
}

fn disk(doing: &'static str, source: std::io::Error) -> DeviceError {
    StoreError::Disk { doing, source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_persons_and_a_watch_makes_patient() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let wait = Duration::from_millis(1);
        assert!(!Turn::is_wanted(folder));
        let turn = Turn::take(folder, wait).unwrap();
        assert!(Turn::is_wanted(folder));
        assert_eq!(Turn::take(folder, wait).unwrap_err().exit_code(), 6);
        assert!(Turn::try_take(folder).unwrap().is_none());
        drop(turn);
        assert!(!Turn::is_wanted(folder));
        assert!(Turn::try_take(folder).unwrap().is_some());

        assert_eq!(patience(folder, wait), wait);
        let watch = Watch::begin(folder).unwrap().unwrap();
        assert_eq!(patience(folder, wait), YIELD_PATIENCE);
        assert!(Watch::begin(folder).unwrap().is_none());
        drop(watch);
        assert_eq!(patience(folder, wait), wait);
    }
}
