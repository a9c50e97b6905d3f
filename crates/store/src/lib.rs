//! Where a replica keeps what it holds.
//!
//! Append-only segment files are the truth ([`segments`], frozen in `format.md`); everything else is
//! an index ([`mod@index`]) that can be made again from them: sled in the product, memory in tests
//! and in the simulator. [`SegmentStore`] puts the two together behind the [`Store`] port; all of it
//! is generic over a [`disk::Disk`], so tests and the simulator run the very code of the product on
//! a disk that loses power.
//!
//! What the store promises stands at [`Store`]. It must never know the network, Automerge or mine
//! action, and never judges an entry: admission has done that.

mod contents;
pub mod disk;
pub mod error;
pub mod frame;
pub mod index;
mod layout;
pub mod port;
pub mod segment_store;
pub mod segments;

pub use disk::model::{Failure, ModelDisk, Unsynced};
pub use segment_store::{MemoryStore, OpenOptions, SegmentStore};

pub use error::{IndexError, StoreError};
pub use port::{
    Appended, AuthorityAppended, AuthorityFork, BadStretch, Fresh, Incoming, NextOwn, OpenReport,
    OutboxFrame, Rebuilt, Row, Rows, SideObject, Store, TableName, VerifyReport, Verifying,
    WriteSet,
};
