//! What went wrong, whose turn it is, and with which code the program ends.

use cairn_device::DeviceError;
use cairn_device::member::{MemberError, RequestError};
use cairn_device::records::input::InputError;
use cairn_device::transport::{EnrolError, SyncError};
use cairn_exchange::{FileFault, SingleFault};
use serde_json::{Value as Json, json};

/// Why a command ends without having done what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// A word for scripts, stable.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whether the same may work later.
    pub retryable: bool,
    /// Exit code of the program.
    pub exit: u8,
    /// What was done before, an object with a schema.
    pub done: Option<Json>,
}

impl Failure {
    /// A failure of the exit code 1.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            retryable: false,
            exit: 1,
            done: None,
        }
    }

    /// Something was typed that does not make sense.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message).exit(2)
    }

    /// With an exit code.
    #[must_use]
    pub fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The system refused something with a file.
    #[must_use]
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let hint = match error.kind() {
            ErrorKind::NotFound => "Check the name; quotation marks help where it has spaces.",
            ErrorKind::PermissionDenied => {
                "This user may not read or write there: ask its owner, or choose another place."
            }
            ErrorKind::ReadOnlyFilesystem => "That disk may only be read: choose another place.",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "The disk is full: make room, or choose another place."
            }
            _ => "Check the disk and try again.",
        };
        Self::new("file", format!("{doing} {}: {error}", path.display())).hint(hint)
    }

    /// `cairn.error/1`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "schema": "cairn.error/1",
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        });
        if let (Some(object), Some(done)) = (json.as_object_mut(), &self.done) {
            object.insert("done".into(), done.clone());
        }
        json
    }

    /// From the object that a relay answered.
    #[must_use]
    pub fn from_json(json: &Json, exit: u8) -> Self {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        Self {
            code: text("code").unwrap_or_else(|| "failed".to_owned()),
            message: text("message").unwrap_or_else(|| "the relay said no".to_owned()),
            hint: text("hint"),
            retryable: json
                .get("retryable")
                .and_then(Json::as_bool)
                .unwrap_or(false),
            exit,
            done: None,
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let mut failure = Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
            retryable: error.retryable(),
            exit: error.exit_code(),
            done: None,
        };
        match &error {
            // Somebody else's area of work is not ours to write in, by whatever name.
            DeviceError::Member(MemberError::Request(RequestError::UnknownScope { .. })) => {
                failure.exit = 5;
                failure.hint = Some(
                    "name one that this device has, or ask the coordination centre for the right"
                        .to_owned(),
                );
            }
            DeviceError::Member(MemberError::Request(RequestError::WhichScope(known)))
                if known.is_empty() =>
            {
                return Self::from(DeviceError::NotJoined);
            }
            DeviceError::Sync(SyncError::Unreachable { tried, .. })
            | DeviceError::Enrol(EnrolError::Dial(SyncError::Unreachable { tried, .. })) => {
                failure.message = format!("the relay cannot be reached: {}", tried.join("; "));
            }
            _ if error.code() == "locked" => {
                failure.message =
                    "another Cairn uses this device's folder at the moment".to_owned();
                failure.hint = Some("try again in a moment, or close the other one".to_owned());
            }
            DeviceError::Member(MemberError::Request(RequestError::Form(_))) => {
                failure.hint = Some("cairn explain FIELD says what a field takes".to_owned());
            }
            _ => {}
        }
        failure
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::new("form", error.to_string()).hint("cairn explain FIELD says what a field takes")
    }
}

impl From<FileFault> for Failure {
    fn from(fault: FileFault) -> Self {
        let exit = match &fault {
            FileFault::Request(_) => 2,
            FileFault::Io(_) | FileFault::File(_) => 1,
        };
        Self::new(fault.code(), fault.to_string())
            .hint(fault.hint())
            .exit(exit)
    }
}

impl From<SingleFault> for Failure {
    fn from(fault: SingleFault) -> Self {
        match fault {
            SingleFault::File(fault) => fault.into(),
            SingleFault::Row(refusal) => {
                Self::new(refusal.code, refusal.message).hint(refusal.hint)
            }
        }
    }
}
