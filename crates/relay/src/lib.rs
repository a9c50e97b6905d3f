//! The relay: the daemon `cairnd` as a library.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`init`](mod@init) | making a relay: programme, authority, centre, keys, store |
//! | [`daemon`] | running one until it is told to stop |
//! | [`ops`] | what `cairn ops` asks over the local socket, and the client for it |
//! | [`authority`] | members, scopes, joining codes, revocations |
//! | [`config`] | `relay.toml` |
//! | [`repair`](mod@repair) | what is done where files are damaged: what comes back from where |
//! | [`backup`] | backups of a relay's folder: made while it runs, verified, restored |
//! | [`folder`], [`key_file`] | what lies where in a relay's folder |
//!
//! The relay stores and passes on what it cannot read. In simple mode, which is all there is yet, the
//! authority and the centre live in the same process and folder; the centre's keys lie under
//! `centre/` only, and nothing outside that folder shows a word of any record.
//!
//! Logs (`tracing`) hold no coordinate, name or key.

mod accepting;
mod audit;
pub mod authority;
pub mod backup;
mod centre_thread;
pub mod config;
mod contacts;
pub mod daemon;
pub mod error;
pub mod folder;
mod health;
pub mod init;
pub mod key_file;
mod metrics;
mod notify;
pub mod ops;
pub mod repair;
mod time;

/// Words for people as a line of the log, for daemons whose standard error is one.
pub fn log(words: &str) {
    tracing::info!("{words}");
}

pub use config::{Config, ConfigError};
pub use daemon::{Relay, RunOptions, run};
pub use error::RelayError;
pub use folder::Folder;
pub use init::{InitOptions, InitReport, init};
pub use repair::{Repaired, repair};
