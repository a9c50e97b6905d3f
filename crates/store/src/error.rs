//! What can go wrong with a store, by whose fault it is.

use std::io;
use std::path::PathBuf;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller named a folder that holds no store.
    #[error("{0} is not a Cairn store; name the folder of one, or make a new one")]
    NotAStore(PathBuf),
    /// Another process has the store open.
    #[error("the store is in use by another process; close that first")]
    Locked,
    /// The store was written by a newer version of Cairn. Nothing was touched.
    #[error("the store has format {found}, this version knows formats up to {known}; update Cairn")]
    NewerFormat {
        /// Format on the disk.
        found: u32,
        /// Newest format known here.
        known: u32,
    },
    /// The store belongs to another device key than the one it was opened with.
    #[error("the store belongs to another device")]
    OtherDevice,
    /// The store belongs to another programme.
    #[error("the store belongs to another programme")]
    OtherProgramme,
    /// The caller gave an outbox number that is taken. Nothing was written.
    #[error("outbox number {got} is taken, the next is {next}")]
    OutboxNumber {
        /// What was given.
        got: u64,
        /// The lowest that is free.
        next: u64,
    },
    /// The caller gave more than a limit allows. Nothing was written.
    #[error("{what} of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// How large it was.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// An authority entry that does not belong into this log: whoever gave it is at fault.
    #[error("an authority entry was refused: {0}")]
    Authority(String),
    /// The disk failed or is full. The store is poisoned from here on.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The index failed; the segments are untouched, the next opening rebuilds it.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Bytes on the disk are not what was written.
    #[error("the store is damaged and needs a repair: {0}")]
    Damaged(String),
    /// An earlier write failed, so nothing more is promised until the store is opened again.
    #[error("the store stopped after a failed write ({0}); open it again")]
    Poisoned(String),
}

/// The index did not do what it was asked. Never loses anything: it can be made again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the index failed while {doing}: {why}")]
pub struct IndexError {
    /// What was being done.
    pub doing: &'static str,
    /// What happened.
    pub why: String,
    /// What the system refused, where it was the disk that failed or is full and not the index that is
    /// damaged.
    pub disk: Option<io::ErrorKind>,
}

impl StoreError {
    /// What the system refused, if it is the disk that is full, may not be written or fails: nothing is
    /// damaged then.
    #[must_use]
    pub fn disk_fault(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Disk { source, .. } => Some(source.kind()),
            Self::Index(error) => error.disk,
            _ => None,
        }
    }

    /// For `map_err` on disk calls.
    pub(crate) fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { doing, source }
    }
}
