//! Why a relay does not start, stops, or refuses a request, and what to do about it.

use crate::authority::AuthorityFault;
use crate::config::ConfigError;
use crate::key_file::KeyFileError;
use cairn_centre::CentreError;
use cairn_replica::HoldingsError;
use cairn_store::StoreError;
use cairn_transport::EngineError;
use cairn_transport::endpoint::EndpointError;
use std::io;
use std::path::PathBuf;

/// No descriptors left: in the whole system (`ENFILE`), or for this process (`EMFILE`).
const TOO_MANY_FILES: [i32; 2] = [23, 24];

/// Why the daemon or `init` gave up.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The folder holds something already.
    #[error("{0} is not empty; a relay is made in a folder of its own")]
    InUse(PathBuf),
    /// There is no relay in the folder.
    #[error("there is no relay in {0}")]
    NoRelay(PathBuf),
    /// Another daemon runs in that folder.
    #[error("another daemon runs in {0}")]
    Running(PathBuf),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The system refused something with a file, a socket or a thread.
    #[error("{doing} {path}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The relay's store cannot be used.
    #[error("the relay's store: {0}")]
    Store(#[from] StoreError),
    /// The relay's store could not be read.
    #[error("the relay's store: {0}")]
    Holdings(#[from] HoldingsError),
    /// The address cannot be listened on, or TLS cannot be set up.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Health cannot be answered at that address.
    #[error("health cannot be answered at {address}: {source}")]
    Health {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The authority cannot work.
    #[error(transparent)]
    Authority(#[from] AuthorityFault),
    /// The centre cannot work.
    #[error(transparent)]
    Centre(#[from] CentreError),
    /// The system gives no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl RelayError {
    pub(crate) fn system(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::System {
            doing,
            path,
            source,
        }
    }

    /// One word for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "folder_in_use",
            Self::NoRelay(_) => "no_relay",
            Self::Running(_) | Self::Store(StoreError::Locked) => "locked",
            Self::Config(_) => "config",
            Self::Key(_) => "key_file",
            Self::System { .. } | Self::Random(_) => "system",
            Self::Store(StoreError::NewerFormat { .. }) => "format_too_new",
            Self::Store(StoreError::Damaged(_)) => "integrity",
            _ if self.disk_fault().is_some() => "disk",
            Self::Store(_) | Self::Holdings(_) => "store",
            Self::Endpoint(_) | Self::Health { .. } => "network",
            Self::Engine(_) => "stopped",
            Self::Authority(_) => "authority",
            Self::Centre(_) => "centre",
        }
    }

    fn disk_fault(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Store(error) | Self::Centre(CentreError::Store(error)) => error.disk_fault(),
            Self::Holdings(error) => error.0.downcast_ref::<StoreError>()?.disk_fault(),
            _ => None,
        }
    }

    fn disk_hint(&self) -> &'static str {
        match self.disk_fault() {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                "The disk is full: make room, then start the daemon again. What was acknowledged is safe."
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                "The disk may only be read: remount it, then start the daemon again."
            }
            Some(io::ErrorKind::PermissionDenied) => {
                "The folder belongs to another account: run the daemon as that one."
            }
            _ => {
                "The disk may be failing: copy the whole folder to another one and start it there."
            }
        }
    }

    /// What the system said, wherever it was asked.
    fn system_error(&self) -> Option<&io::Error> {
        let first: Option<&(dyn std::error::Error + 'static)> = Some(self);
        std::iter::successors(first, |error| error.source()).find_map(|error| error.downcast_ref())
    }

    /// What to do about it where that does not depend on what was being done.
    fn system_hint(&self) -> Option<&'static str> {
        let error = self.system_error()?;
        if error
            .raw_os_error()
            .is_some_and(|code| TOO_MANY_FILES.contains(&code))
        {
            return Some("Let the daemon open more files: LimitNOFILE= in its unit, or ulimit -n.");
        }
        match (self, error.kind()) {
            (Self::Endpoint(_) | Self::Health { .. }, _) => None,
            (_, io::ErrorKind::PermissionDenied) => Some(
                "The folder belongs to another account, or only to be read: run the daemon as that one.",
            ),
            (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Some(
                "The disk is full: make room, then start the daemon again. What was acknowledged is safe.",
            ),
            _ => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        if let Some(hint) = self.system_hint() {
            return hint;
        }
        match self {
            Self::InUse(_) => "Name another folder with --dir.",
            Self::NoRelay(_) => "Make one with: cairnd init --dir DIR",
            Self::Running(_) | Self::Store(StoreError::Locked) => {
                "Stop the other daemon first, or name another folder."
            }
            Self::Config(ConfigError::Override { .. }) => {
                "Mend it, or leave it out: relay.toml then counts."
            }
            Self::Config(_) => "Mend relay.toml, then try: cairnd config check FILE",
            Self::Key(_) => "Restore the file from a backup of this folder.",
            Self::System { .. } => "Check that the folder is writable and the disk is not full.",
            Self::Random(_) => "Start again once the system is up.",
            Self::Store(StoreError::NewerFormat { .. }) => "Update Cairn; nothing was touched.",
            _ if self.disk_fault().is_some() => self.disk_hint(),
            Self::Store(_) | Self::Holdings(_) => {
                "Start the daemon again: it repairs what it can, and deletes nothing."
            }
            Self::Endpoint(_) => "Is another program on that address? See listen in relay.toml.",
            Self::Health { .. } => "Name another address as health in relay.toml, or \"off\".",
            Self::Engine(_) => "Start the daemon again.",
            Self::Authority(_) => "Restore keys, centre and data of one backup together.",
            Self::Centre(_) => "Start the daemon again; centre = false runs the relay without it.",
        }
    }

    /// Exit code of a command that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running(_) | Self::Store(StoreError::Locked) => 6,
            Self::Store(StoreError::NewerFormat { .. }) | Self::Key(KeyFileError::Newer(_)) => 7,
            Self::Store(StoreError::Damaged(_)) | Self::Key(KeyFileError::Damaged { .. }) => 8,
            // What was typed, not what is stored.
            Self::Config(
                ConfigError::Value { .. }
                | ConfigError::Override { .. }
                | ConfigError::Invalid { .. },
            ) => 2,
            _ => 1,
        }
    }

    /// Whether the same may work a little later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Store(StoreError::Locked))
    }
}
