//! Mine-action records: what is written down, how it merges, how it counts.
//!
//! A record lies in one Automerge document ([`layout`]). [`write`] turns what a person does into
//! operations of one change; [`read`] turns changes, and what the caller knows about their
//! authors, into what people see: readings, the values behind them, conflicts and proposals.
//! [`schema`] says which kinds and fields there are; further ones are data.
//!
//! It promises that replicas which hold the same changes read the same, in whatever order they
//! came; that nothing anybody said is lost or silently overridden; and that nothing reads safer
//! than a verified person with the right has decided. It must never look at a clock, a network,
//! a disk or a random number.

mod cbor;
mod check;
pub mod count;
pub mod decide;
pub mod doubt;
pub mod duplicate;
pub mod geometry;
pub mod history;
pub mod input;
pub mod json;
pub mod layout;
pub mod lineage;
pub mod outline;
pub mod perimeter;
pub mod read;
pub mod schema;
pub mod suggestion;
pub mod summary;
pub mod value;
pub mod write;

pub use decide::{Choice, DecideError, decision, settlement};
pub use doubt::{Doubt, doubts};
pub use duplicate::{Duplicates, Likeness, duplicates};
pub use history::{HistoryEntry, heads_at, history};
pub use lineage::Lineage;
pub use outline::{Nearest, Outline};
pub use perimeter::{Extent, Perimeter};
pub use read::{
    ChangeFacts, Facts, FieldReading, Flag, ReadError, Record, Shown, read, read_at, read_beside,
};
pub use suggestion::{Suggestion, suggest, suggestions};
pub use summary::{Summary, import_key, summary};
pub use value::Value;
pub use write::{Decision, Edit, Envelope, Taken, WriteError, apply_edit, apply_root};
