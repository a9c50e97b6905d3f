//! Backups of a relay's folder: made while it runs, verified, restored.
//!
//! A backup is one file, a tar that any system opens. It holds the folder's files under their own names,
//! but for what can be made anew (indexes, sockets) and the recovery key, which lies elsewhere. After
//! them come [`MANIFEST`], which names every file with length and BLAKE3 hash, and the hash of that: a file
//! that was cut off has no manifest and counts as none. It is **not encrypted and holds the programme's
//! keys**, so it has mode 0600 and belongs where the folder itself might lie.
//!
//! Consistent while the daemon runs: segments are only ever appended to, so their lengths, read between
//! two commits, are a moment of the store ([`point`]). Everything else is small and written whole.
//!
//! What restoring does beyond copying stands at [`restore()`].

mod beside;
mod create;
mod read;
mod restore;

pub(crate) use beside::keep as keep_log;
pub(crate) use create::point;
pub use create::{Created, create};
pub use read::{Verified, verify};
pub use restore::{Restored, restore};

use crate::error::RelayError;
use crate::folder::Folder;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// The list of what a backup holds, in it, after all else.
pub const MANIFEST: &str = "cairn-backup.json";
/// Beside it: the hash of the list, as `b3sum` writes it.
const MANIFEST_HASH: &str = "cairn-backup.json.b3";
const SCHEMA: &str = "cairn.backup/1";
/// Files that a backup may hold.
const FILES_MAX: usize = 1_000_000;
/// Bytes of a manifest that are read.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a name in it.
const PATH_BYTES_MAX: usize = 1024;

/// What is not backed up: it is made anew, or belongs to a running daemon, or must lie elsewhere.
fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_a_store = name == "index" || name == "lock" || name.starts_with("index.aside");
    let of_a_daemon = ["cairnd.sock", "address", "health"].contains(&name.as_ref());
    let half_made = name.ends_with(".new")
        || name.starts_with("unfinished")
        || name == crate::folder::UNFINISHED;
    of_a_store || of_a_daemon || half_made || name == "recovery.key"
}

/// A list of what a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: String,
    /// When, by the clock of whoever made it.
    made: String,
    /// Version of Cairn that made it.
    version: String,
    programme: String,
    relay: String,
    authority_height: u64,
    files: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    blake3: String,
}

/// Why a backup is not made, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system refused something with a file.
    #[error("{doing} {path}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is a file of that name.
    #[error("{0} is there already; a backup never replaces a file")]
    Exists(PathBuf),
    /// The folder holds something.
    #[error("{0} is not empty; a backup is restored into a folder of its own")]
    NotEmpty(PathBuf),
    /// It is no backup, or not a whole one, or was changed.
    #[error("{path}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer Cairn made it.
    #[error("{0} was made by a newer Cairn")]
    Newer(PathBuf),
    /// The folder is no relay, or cannot be read.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// A running daemon does not answer as it should.
    #[error(transparent)]
    Ops(#[from] crate::ops::OpsError),
}

impl BackupError {
    fn system(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System {
            doing,
            path,
            source,
        }
    }

    fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// One word for scripts.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::System { .. } => "system",
            Self::Exists(_) => "exists",
            Self::NotEmpty(_) => "folder_in_use",
            Self::Damaged { .. } => "integrity",
            Self::Newer(_) => "format_too_new",
            Self::Relay(error) => error.code(),
            Self::Ops(error) => &error.code,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::System { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "The disk is full: make room, then try again."
            }
            Self::System { .. } => "See that the path is there, and that this account may use it.",
            Self::Exists(_) => "Name another file, or a folder to put it in.",
            Self::NotEmpty(_) => "Name an empty folder, or one that is not there yet.",
            Self::Damaged { .. } => "Take another backup, and see whether the disk is failing.",
            Self::Newer(_) => "Update Cairn; nothing was touched.",
            Self::Relay(error) => error.hint(),
            Self::Ops(error) => &error.hint,
        }
    }

    /// Exit code of a command that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } | Self::Exists(_) | Self::NotEmpty(_) => 1,
            Self::Damaged { .. } => 8,
            Self::Newer(_) => 7,
            Self::Relay(error) => error.exit_code(),
            Self::Ops(error) => error.exit_code,
        }
    }
}

/// A path from a backup, if it leads nowhere but below the folder.
fn safe(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (plain && path.as_os_str().len() <= PATH_BYTES_MAX && path.file_name().is_some())
        .then(|| path.to_owned())
}

/// The relay's two stores.
fn stores(folder: &Folder) -> [PathBuf; 2] {
    [folder.data(), folder.centre_data()]
}
