//! What can go wrong on a device, and how programs and people are told.

use crate::key_file::KeyFileError;
use cairn_keys::enrolment::CodeError;
use cairn_member::{MemberError, RequestError};
use cairn_store::StoreError;
use cairn_transport::endpoint::EndpointError;
use cairn_transport::{EngineError, EnrolError, SyncError};
use cairn_wire::frame::CloseReason;
use std::io;

/// Why a device did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The device has not joined a programme.
    #[error("this device has not joined a programme yet")]
    NotJoined,
    /// Another process stays in sync with this folder.
    #[error("another process keeps this device in sync already")]
    Watched,
    /// The device belongs to another programme than the code.
    #[error("this device belongs to another programme already; make another one for that code")]
    OtherProgramme,
    /// The joining code is none.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Joining did not succeed.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Syncing did not succeed, or not to its end.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The request cannot be done, or the lists do not read.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The device's keys cannot be used for connections.
    #[error(transparent)]
    Keys(#[from] EndpointError),
    /// The system gave no randomness, folder or thread.
    #[error("{doing}: {why}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
}

impl DeviceError {
    pub(crate) fn system(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::System {
            doing,
            why: error.to_string(),
        }
    }

    /// The exit code of a program that ends with this: 1 failed, 2 usage, 4 relay unreachable, 5 not
    /// enrolled, revoked or not permitted, 6 store locked, 7 format too new, 8 integrity.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::KeyFile(error) => match error {
                KeyFileError::Missing(_) => 5,
                KeyFileError::TooNew(_) | KeyFileError::Protection(_) => 7,
                KeyFileError::Damaged(_) | KeyFileError::Lost(_) => 8,
                KeyFileError::Exists(_) | KeyFileError::Disk { .. } => 1,
            },
            Self::NotJoined | Self::OtherProgramme => 5,
            Self::Watched => 6,
            Self::Code(_) => 2,
            Self::Enrol(error) => enrol_exit_code(error),
            Self::Sync(error) => sync_exit_code(error),
            Self::Member(error) => member_exit_code(error),
            Self::Store(error) => store_exit_code(error),
            Self::Engine(_) | Self::Keys(_) | Self::System { .. } => 1,
        }
    }

    /// A word for scripts, stable.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyFile(error) => match error {
                KeyFileError::Missing(_) => "no_device",
                KeyFileError::Exists(_) => "device_exists",
                KeyFileError::TooNew(_) | KeyFileError::Protection(_) => "format_too_new",
                KeyFileError::Damaged(_) => "key_file_damaged",
                KeyFileError::Lost(_) => "key_file_missing",
                KeyFileError::Disk { .. } => "disk",
            },
            Self::NotJoined => "not_joined",
            Self::OtherProgramme => "other_programme",
            Self::Watched => "watched",
            Self::Code(_) => "code",
            Self::Enrol(error) => match error {
                EnrolError::Dial(error) => sync_code(error),
                EnrolError::Refused(reason) => reason_code(*reason),
                EnrolError::Later { .. } => "later",
                EnrolError::Lost(_) => "connection_lost",
                EnrolError::Endpoint(_) => "keys",
                EnrolError::Protocol(_) => "protocol",
                EnrolError::Authority(_) | EnrolError::Log(_) => "authority",
            },
            Self::Sync(error) => sync_code(error),
            Self::Member(error) => member_code(error),
            Self::Store(error) => store_code(error),
            Self::Engine(_) => "store_failed",
            Self::Keys(_) => "keys",
            Self::System { .. } => "system",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        if let Self::Enrol(EnrolError::Refused(CloseReason::NotPermitted)) = self {
            return Some(
                "it may be used up or expired: ask the coordination centre for a new code",
            );
        }
        if let Some(kind) = self.disk_fault() {
            return Some(disk_hint(kind));
        }
        Some(match self.code() {
            "no_device" => "make one: cairn init",
            "device_exists" => "use it as it is, or choose another --data-dir or --profile",
            "not_joined" => "ask the coordination centre for a code, then: cairn join CODE",
            "format_too_new" => "update Cairn",
            "key_file_damaged" | "key_file_missing" => {
                "bring the key file back from a backup; do not make a new one over it"
            }
            "other_device" => {
                "the key file and the store in this folder are not of one device: bring back the key file \
                 that belongs here"
            }
            "unreachable" | "deadline" | "connection_lost" | "not_now" => {
                "all is kept on this device; run cairn sync again when there is a network"
            }
            "later" => "the coordination centre has to sign; run cairn sync later",
            "unknown" => "ask the coordination centre for a new code",
            "revoked" => "what was recorded here has been handed in; ask the coordination centre",
            "not_permitted" => "ask the coordination centre for the right",
            "wrong_key" => "ask the coordination centre whether the relay was replaced",
            "locked" => "close the other Cairn that uses this folder",
            "watched" => "leave it running: what is recorded beside it is sent by it",
            "which_scope" => "name it with --scope",
            "not_found" => "see what there is: cairn list",
            "ambiguous" => "name one of them, by its short code or by more digits of its id",
            "unknown_version" => "sync first, or leave --seen out",
            "tables" | "damaged" | "index" => "run cairn check --repair; nothing is deleted",
            "store_failed" | "poisoned" | "disk" => {
                "check that the disk is there and not full, then start again"
            }
            "system" => {
                "this machine has no more of it to give (open files, threads, memory): close other \
                 programs, then try again"
            }
            "rule" => "say it in fewer or shorter values; the draft keeps what was typed",
            _ => return None,
        })
    }

    /// What the system refused, if it is the disk that is full, may not be written or fails.
    #[must_use]
    pub fn disk_fault(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Store(error) => error.disk_fault(),
            Self::Member(error) => store_error(error)?.disk_fault(),
            Self::KeyFile(KeyFileError::Disk { source, .. }) => Some(source.kind()),
            _ => None,
        }
    }

    /// Is it worth trying the same again later?
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Sync(error) => error.retryable(),
            Self::Enrol(error) => match error {
                EnrolError::Dial(error) => error.retryable(),
                EnrolError::Later { .. } | EnrolError::Lost(_) => true,
                EnrolError::Refused(reason) => {
                    matches!(reason, CloseReason::Busy | CloseReason::ShuttingDown)
                }
                _ => false,
            },
            Self::Store(StoreError::Locked) => true,
            _ => false,
        }
    }
}

fn enrol_exit_code(error: &EnrolError) -> u8 {
    match error {
        EnrolError::Dial(error) => sync_exit_code(error),
        EnrolError::Refused(reason) => reason_exit_code(*reason),
        EnrolError::Later { .. } | EnrolError::Lost(_) => 4,
        EnrolError::Endpoint(_) => 1,
        EnrolError::Protocol(_) | EnrolError::Authority(_) | EnrolError::Log(_) => 8,
    }
}

fn sync_exit_code(error: &SyncError) -> u8 {
    match error {
        SyncError::Unreachable { .. }
        | SyncError::Deadline
        | SyncError::NotNow { .. }
        | SyncError::Lost { .. }
        | SyncError::WrongKey => 4,
        SyncError::Refused { .. } | SyncError::OtherProgramme => 5,
        SyncError::Version => 7,
        SyncError::Protocol { .. } => 8,
        SyncError::Engine(_) => 1,
    }
}

fn reason_exit_code(reason: CloseReason) -> u8 {
    match reason {
        CloseReason::Unknown
        | CloseReason::Revoked
        | CloseReason::NotPermitted
        | CloseReason::OtherProgramme => 5,
        CloseReason::Version => 7,
        CloseReason::Protocol => 8,
        CloseReason::Done
        | CloseReason::Budget
        | CloseReason::ShuttingDown
        | CloseReason::Busy
        | CloseReason::StoreFailed => 4,
    }
}

fn sync_code(error: &SyncError) -> &'static str {
    match error {
        SyncError::Unreachable { .. } => "unreachable",
        SyncError::WrongKey => "wrong_key",
        SyncError::Refused { reason, .. } => reason_code(*reason),
        SyncError::OtherProgramme => "other_programme",
        SyncError::Version => "format_too_new",
        SyncError::NotNow { .. } => "not_now",
        SyncError::Protocol { .. } => "protocol",
        SyncError::Lost { .. } => "connection_lost",
        SyncError::Deadline => "deadline",
        SyncError::Engine(_) => "store_failed",
    }
}

fn reason_code(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Unknown => "unknown",
        CloseReason::Revoked => "revoked",
        CloseReason::NotPermitted => "not_permitted",
        CloseReason::OtherProgramme => "other_programme",
        CloseReason::Version => "format_too_new",
        CloseReason::Protocol => "protocol",
        CloseReason::Done
        | CloseReason::Budget
        | CloseReason::ShuttingDown
        | CloseReason::Busy
        | CloseReason::StoreFailed => "not_now",
    }
}

fn member_exit_code(error: &MemberError) -> u8 {
    match error {
        MemberError::Request(request) => match request {
            RequestError::NotPermitted { .. } | RequestError::MayNotDecide { .. } => 5,
            RequestError::WhichScope(_) => 2,
            _ => 1,
        },
        MemberError::Store(_) | MemberError::Holdings(_) => {
            store_error(error).map_or(8, store_exit_code)
        }
        MemberError::Tables(_) => 8,
        MemberError::Internal(_) => 1,
    }
}

fn member_code(error: &MemberError) -> &'static str {
    match error {
        MemberError::Request(request) => match request {
            RequestError::NotFound(_) => "not_found",
            RequestError::Ambiguous { .. } => "ambiguous",
            RequestError::NotPermitted { .. } | RequestError::MayNotDecide { .. } => {
                "not_permitted"
            }
            RequestError::UnknownScope { .. } => "unknown_scope",
            RequestError::WhichScope(_) => "which_scope",
            RequestError::Form(_) => "form",
            RequestError::NothingChanged => "nothing_changed",
            RequestError::UnknownVersion(_) => "unknown_version",
            RequestError::NotYet => "not_yet",
            RequestError::Rule { .. } => "rule",
        },
        MemberError::Store(_) | MemberError::Holdings(_) => {
            store_error(error).map_or("damaged", store_code)
        }
        MemberError::Tables(_) => "tables",
        MemberError::Internal(_) => "internal",
    }
}

/// What the store said below.
fn store_error(error: &MemberError) -> Option<&StoreError> {
    match error {
        MemberError::Store(error) => Some(error),
        MemberError::Holdings(error) => error.0.downcast_ref(),
        _ => None,
    }
}

fn disk_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room. What was saved before is safe; look with cairn list before \
             recording the last thing again, it may be there"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the disk may only be read: remount it, or copy the folder to one that can be written. \
             Nothing was changed"
        }
        io::ErrorKind::PermissionDenied => {
            "the folder belongs to somebody else: use the account that made it, or give it to this one"
        }
        _ => {
            "the disk may be failing: copy the whole folder to another one, then run cairn check there"
        }
    }
}

fn store_exit_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Index(index) if index.disk.is_some() => 1,
        StoreError::Locked => 6,
        StoreError::NewerFormat { .. } => 7,
        StoreError::OtherProgramme => 5,
        StoreError::OtherDevice
        | StoreError::OutboxNumber { .. }
        | StoreError::Index(_)
        | StoreError::Damaged(_)
        | StoreError::Authority(_) => 8,
        StoreError::NotAStore(_)
        | StoreError::TooLarge { .. }
        | StoreError::Disk { .. }
        | StoreError::Poisoned(_) => 1,
    }
}

fn store_code(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotAStore(_) => "not_a_store",
        StoreError::Locked => "locked",
        StoreError::NewerFormat { .. } => "format_too_new",
        StoreError::OtherDevice => "other_device",
        StoreError::OtherProgramme => "other_programme",
        StoreError::OutboxNumber { .. } => "internal",
        StoreError::TooLarge { .. } => "too_large",
        StoreError::Authority(_) => "authority",
        StoreError::Disk { .. } => "disk",
        StoreError::Index(index) if index.disk.is_some() => "disk",
        StoreError::Index(_) => "index",
        StoreError::Damaged(_) => "damaged",
        StoreError::Poisoned(_) => "poisoned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_store::IndexError;

    #[test]
    fn a_full_disk_is_no_damage() {
        let index = |disk| {
            StoreError::Index(IndexError {
                doing: "flushing",
                why: "as asked".to_owned(),
                disk,
            })
        };
        let full = Some(io::ErrorKind::StorageFull);
        for error in [
            DeviceError::Store(index(full)),
            DeviceError::Member(MemberError::Store(index(full))),
        ] {
            assert_eq!((error.exit_code(), error.code()), (1, "disk"));
            assert!(error.hint().unwrap().contains("full"));
        }
        let rotten = DeviceError::Store(index(None));
        assert_eq!((rotten.exit_code(), rotten.code()), (8, "index"));
    }
}
