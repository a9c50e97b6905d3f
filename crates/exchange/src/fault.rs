//! What is said about a file, or about one row of it, that cannot be taken.

use cairn_records::WriteError;
use serde::Serialize;

use crate::scan::ScanFault;

/// Why one row was not taken, and what the person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A stable word for scripts.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Refusal {
    pub(crate) fn new(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// A row whose edits were understood but could not be written as one change.
impl From<&WriteError> for Refusal {
    fn from(error: &WriteError) -> Self {
        Self::new(
            "not_writable",
            error.to_string(),
            "Correct or shorten the value in the file and import it again.",
        )
    }
}

/// Something in a row that was taken as it stands and that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A stable word for scripts.
    pub code: &'static str,
    /// What was seen, in a sentence.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Why a file that should hold one place does not.
#[derive(Debug, thiserror::Error)]
pub enum SingleFault {
    /// The file.
    #[error(transparent)]
    File(#[from] FileFault),
    /// What stands in it.
    #[error(transparent)]
    Row(#[from] Refusal),
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The disk or the pipe failed: nobody's fault who wrote the file.
    #[error("the file could not be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file is not what was asked for, or damaged.
    #[error(transparent)]
    File(#[from] BadFile),
    /// The caller asked for something that this file does not have.
    #[error(transparent)]
    Request(#[from] BadRequest),
}

/// A file that is damaged or of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct BadFile {
    /// A stable word for scripts.
    pub code: &'static str,
    /// What is wrong, with the byte position where there is one.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Where in the file, counted from 0.
    pub byte: Option<u64>,
}

/// A column, field or reference system that this import cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// A stable word for scripts.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl FileFault {
    pub(crate) fn file(
        code: &'static str,
        byte: Option<u64>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::File(BadFile {
            code,
            message: message.into(),
            hint: hint.into(),
            byte,
        })
    }

    pub(crate) fn request(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Request(BadRequest {
            code,
            message: message.into(),
            hint: hint.into(),
        })
    }

    /// A refusal of what the person asked for, of the file as a whole.
    pub(crate) fn asked(refusal: Refusal) -> Self {
        Self::request(refusal.code, refusal.message, refusal.hint)
    }

    /// The fault of a scan that had read `features` whole features.
    pub(crate) fn scan(fault: ScanFault, features: u64) -> Self {
        let before = match features {
            0 => "No feature before it could be read.".to_owned(),
            1 => "The feature before it was read.".to_owned(),
            many => format!("The {many} features before it were read."),
        };
        let hint = "Copy the file again from where it came, or export it anew.";
        match fault {
            ScanFault::Io(error) => Self::Io(error),
            ScanFault::End { at } => Self::file(
                "truncated",
                Some(at),
                format!("The file ends too early, at byte {at}: it was cut off. {before}"),
                hint,
            ),
            ScanFault::Syntax { at, expected } => Self::file(
                "not_json",
                Some(at),
                format!("The file is damaged at byte {at}: {expected} is missing there. {before}"),
                hint,
            ),
            ScanFault::Depth { at } => Self::file(
                "too_deep",
                Some(at),
                format!("At byte {at} lists stand in lists more than 120 deep. {before}"),
                "No GeoJSON needs that: export the file anew.",
            ),
        }
    }

    /// A stable word for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::File(file) => file.code,
            Self::Request(request) => request.code,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Io(_) => "Check the disk or the connection and try again.",
            Self::File(file) => &file.hint,
            Self::Request(request) => &request.hint,
        }
    }
}
