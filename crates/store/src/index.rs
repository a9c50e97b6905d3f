//! The index: everything that can be made again from the segments, in named tables.

pub mod memory_index;
pub mod sled_index;

use crate::error::IndexError;
use crate::port::TableName;
use std::collections::BTreeMap;
use std::io;

/// A table of the index. The bytes are those of the keys on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// What the index itself knows: how far it has read, epoch, counts.
    Meta = 1,
    /// Entry id → where it is and its journal position.
    Entries = 2,
    /// Scope, lane, position → id, running hash after it, bytes up to it, where it is.
    Journal = 3,
    /// Scope, lane, device, incarnation, number, id → nothing.
    Logs = 4,
    /// Leaf (as in `Logs`) → nothing.
    Leaves = 5,
    /// Scope, lane, id of a detached entry → its link.
    Detached = 6,
    /// Entry id → (peer, epoch) that sent it.
    Origins = 7,
    /// Scope, lane → end of the journal.
    Ends = 8,
    /// Height → authority entry.
    Authority = 9,
    /// Height, hash → contradicting authority entry.
    AuthorityForks = 10,
    /// Number of an unsealed outbox frame → where it is.
    Outbox = 11,
    /// Caller's key → value.
    State = 12,
    /// Key of a grant → counter, bytes.
    Grants = 13,
    /// Key of a receipt → counter, bytes.
    Receipts = 14,
    /// Device key → what is remembered of the peer.
    Peers = 15,
    /// Derived tables, see [`TableName`].
    Documents = 0x80,
    /// See [`TableName::Changes`].
    Changes = 0x81,
    /// See [`TableName::Waiting`].
    Waiting = 0x82,
    /// See [`TableName::Summaries`].
    Summaries = 0x83,
    /// See [`TableName::Projection`].
    Projection = 0x84,
    /// See [`TableName::Imports`].
    Imports = 0x85,
    /// See [`TableName::Meta`].
    CallersMeta = 0x86,
}

impl From<TableName> for Table {
    fn from(name: TableName) -> Self {
        match name {
            TableName::Documents => Self::Documents,
            TableName::Changes => Self::Changes,
            TableName::Waiting => Self::Waiting,
            TableName::Summaries => Self::Summaries,
            TableName::Projection => Self::Projection,
            TableName::Imports => Self::Imports,
            TableName::Meta => Self::CallersMeta,
        }
    }
}

/// Writes that take effect together; the last one of a key wins.
#[derive(Debug, Default)]
pub struct IndexWrites {
    pub(crate) writes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    pub(crate) bytes: usize,
}

impl IndexWrites {
    /// Sets a value.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.insert((table, key), Some(value));
    }

    /// Takes a value out.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.writes.insert((table, key), None);
    }

    /// What this set does to a key, `None` if nothing.
    #[must_use]
    pub fn pending(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.writes
            .get(&(table, key.to_vec()))
            .map(|value| value.as_deref())
    }
}

pub use crate::port::{Row, Rows};

/// An index. It may forget its newest writes in a crash, but only whole [`IndexWrites`] and only
/// from the end backwards.
pub trait Index: Send + Sync {
    /// A value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Keys that begin with `prefix`, from `from` on (inclusive), ascending, at most `limit`.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError>;
    /// The last key that begins with `prefix`.
    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>, IndexError>;
    /// Writes, all or nothing.
    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError>;
    /// Waits until all that was applied is on the disk.
    fn persist(&mut self) -> Result<(), IndexError>;
}

/// What an index is made with, at opening and when it must be made anew.
pub trait IndexFactory: Send + Sync {
    /// Opens the index that is there, or an empty one.
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError>;
    /// Sets the index that is there aside (never deletes it) and opens an empty one. Answers where
    /// the old one is now. The old one has been dropped. If there can be no empty one, the old one
    /// stays where it was.
    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError>;
}

/// Why an index was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenIndexError {
    /// Somebody else has it open.
    #[error("the index is in use by another process")]
    Locked,
    /// It cannot be opened.
    #[error("{0}")]
    Damaged(String),
    /// The disk is full, may not be written, or fails.
    #[error("{why}")]
    Disk {
        /// What the system refused.
        kind: io::ErrorKind,
        /// What it said.
        why: String,
    },
}
