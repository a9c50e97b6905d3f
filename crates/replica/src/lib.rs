//! Sync as a deterministic machine: one [`Session`] per peer, fed with frames and answers, drained
//! of frames and requests.
//!
//! The same `Session` runs in the device, in the relay and in the simulator. It has no clock, no
//! randomness, no socket, no disk and no async: time, salt and what the replica holds come in as
//! arguments. It never opens an entry.
//!
//! What a session promises: nothing is sent or acknowledged that the store has not called durable;
//! a cursor moves only over positions that follow without a gap; nothing that comparing would send is
//! ever withheld because of a cursor; an entry that is refused blocks nobody else's.

pub mod admission;
pub mod holdings;
pub mod logs;
pub mod session;

pub use admission::{Refusal, admit};
pub use holdings::{Holdings, HoldingsError, JournalItem, Leaf, Origin, PeerRecord};
pub use session::{
    Counters, Input, Millis, Notice, Output, PeerFault, Role, Session, SessionConfig, SessionError,
};
