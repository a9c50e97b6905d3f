//! Runs a replica on the network: QUIC with raw public keys, one engine thread that owns the store and
//! every session, dialling that survives a bad network, accepting that survives bad peers, enrolment.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`endpoint`] | keys, TLS, sockets, every limit of a connection |
//! | [`engine`] | the thread that owns the store and all sessions; [`engine::Handle`] is the way to it |
//! | [`dial`] | [`dial::sync_once`], [`dial::keep_synced`] |
//! | [`accept`] | the acceptor of a relay or of a device that serves others |
//! | [`mod@enrol`] | joining by code, the device's side |
//! | [`ops_stream`] | questions of ops and their answers |
//! | [`registry`] | what is known of sessions |
//! | [`side_objects`] | how grants and receipts stand in the store |
//!
//! What it promises: nothing is acknowledged that the store has not called durable (the session sees
//! to that, on answers that the engine gives only after a commit); memory per peer is bounded whatever
//! the peer does; an error says by whose fault it is. It never opens an entry, and never knows
//! Automerge or mine action.

pub mod accept;
mod connection;
pub mod dial;
pub mod endpoint;
pub mod engine;
pub mod enrol;
mod link;
pub mod ops_stream;
pub mod registry;
pub mod side_objects;
#[cfg(test)]
mod tests;

pub use accept::{AcceptOptions, Acceptor, EnrolRefused, Enroller};
pub use dial::{SyncError, SyncEvent, SyncOptions, SyncReport, SyncTarget, keep_synced, sync_once};
pub use endpoint::{Identity, Listener, NetworkOptions};
pub use engine::{EngineError, EngineOptions, Handle, Pulse};
pub use enrol::{EnrolError, Enrolment, enrol};
pub use ops_stream::{AskError, OpsAnswerer, OpsLine};
pub use registry::{Direction, SessionInfo, SessionState};
