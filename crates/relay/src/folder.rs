//! A relay's folder: what lies where, and writing files so that they survive a power cut.
//!
//! | name | what it is |
//! | --- | --- |
//! | `relay.toml` | the configuration |
//! | `recovery.key` | the recovery key, until ops move it offline |
//! | `keys/` | the relay's device key, the authority's key |
//! | `keys/codes/` | joining codes that were issued |
//! | `data/` | the relay's store: sealed entries and the authority's log, nothing readable |
//! | `centre/` | the centre's device key, and `data/`, the store of what it opened |
//! | `audit.jsonl` | what ops did |
//! | `backups` | the folder in which the last backup was put, as text |
//! | `contacts.json` | when which device was last heard of |
//! | `cairnd.sock`, `address`, `health` | where a running daemon is reached |

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What stands in the folder while [`crate::init`] has not finished.
pub(crate) const UNFINISHED: &str = "init.unfinished";
/// The system takes no longer path for a socket (`sun_path`, with its final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A relay's folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `dir`, whatever is in it.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join(crate::config::FILE_NAME)
    }

    /// The recovery key, where `init` puts it.
    #[must_use]
    pub fn recovery_key(&self) -> PathBuf {
        self.0.join("recovery.key")
    }

    /// Keys of relay and authority.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn relay_key(&self) -> PathBuf {
        self.keys().join("relay.key")
    }

    pub(crate) fn authority_key(&self) -> PathBuf {
        self.keys().join("authority.key")
    }

    /// Joining codes that were issued.
    #[must_use]
    pub fn codes(&self) -> PathBuf {
        self.keys().join("codes")
    }

    /// The relay's store.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// All that the centre can read.
    #[must_use]
    pub fn centre(&self) -> PathBuf {
        self.0.join("centre")
    }

    pub(crate) fn centre_key(&self) -> PathBuf {
        self.centre().join("centre.key")
    }

    pub(crate) fn centre_data(&self) -> PathBuf {
        self.centre().join("data")
    }

    /// What ops did, a line each.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.0.join("backups")
    }

    pub(crate) fn contacts(&self) -> PathBuf {
        self.0.join("contacts.json")
    }

    /// How sessions ended.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.0.join("sessions")
    }

    /// The socket on which a running daemon takes requests of ops.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("cairnd.sock")
    }

    /// The UDP address of a running daemon, as text.
    #[must_use]
    pub fn address(&self) -> PathBuf {
        self.0.join("address")
    }

    /// The TCP address at which a running daemon answers for its health, as text.
    #[must_use]
    pub fn health(&self) -> PathBuf {
        self.0.join("health")
    }

    /// Whether somebody made a relay here.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.config().exists()
    }
}

/// A path to a socket that is short enough for the system, valid while the folder is held open.
pub(crate) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    pub(crate) fn of(folder: &Folder) -> io::Result<Self> {
        let path = folder.socket();
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self {
                path,
                _folder: None,
            });
        }
        let open = File::open(folder.path())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        Ok(Self {
            path: short.join("cairnd.sock"),
            _folder: Some(open),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Puts a file in place, whole or not at all, durable at return; only its owner may read it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// The same, but never in the place of another.
pub(crate) fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    write_whole(path, bytes)
}

pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
