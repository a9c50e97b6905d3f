//! Cairn's bytes: the layout of entries, the frames that peers exchange, and the limit of everything.
//!
//! This crate turns values into bytes and bytes into values. It promises that nothing here panics,
//! allocates beyond [`limits`] or accepts two encodings of one value, whatever bytes it is given.
//! It holds no secret, does no I/O, and knows neither documents nor mine action.
//!
//! Two encodings live here, and they are not alike:
//!
//! * [`entry`] is canonical, by hand, frozen for ever: it is hashed, signed, stored and archived.
//! * [`frame`] is serde through bincode ([`codec`]): it lives for one connection only.
//!
//! The normative text is `proto/README.md`; the golden vectors stand beside it.

pub mod codec;
pub mod entry;
pub mod frame;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod stream;

pub use entry::{Entry, EntryError, EntryHeader};
pub use ids::{
    AuthorityRef, ChangeHash, DeviceKey, DocumentId, EntryId, Epoch, Incarnation, Lane, LogId,
    ProgrammeId, ScopeId,
};
