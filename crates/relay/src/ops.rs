//! What `cairn ops` asks of a running relay: one request and one answer a line, JSON, over a socket in
//! the relay's folder that only its owner may open, or from anywhere over the network by a device of ops
//! (`asker` says what that one may ask). Before the answer there may be lines of [`PROGRESS`].
//!
//! An answer is the very object that the command prints with `--json`: `cairn.ops.status/1` and its
//! like, or `cairn.error/1` with the exit code in it.

pub(crate) mod asker;
mod audit;
pub(crate) mod backup;
pub mod client;
mod days;
mod deciding;
mod devices;
pub(crate) mod from_afar;
pub(crate) mod history;
mod lines;
mod morning;
mod records;
pub mod remote;
pub(crate) mod server;
mod sessions;
mod set_aside;
mod status;
mod verifying;

use crate::authority::{AuthorityFault, RequestFault};
use cairn_centre::CentreError;
use cairn_member::{MemberError, RequestError};
use cairn_replica::HoldingsError;
use cairn_store::StoreError;
use cairn_transport::EngineError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use lines::PROGRESS;

/// What ops ask. On the socket: `{"command":"scope create","name":"north/hazards"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", deny_unknown_fields)]
pub enum OpsRequest {
    /// Is all well, and how does each device stand.
    #[serde(rename = "status")]
    Status {
        /// Seconds without a sync after which a device is called silent.
        #[serde(default = "stale_default_s")]
        stale_s: u64,
    },
    /// The morning screen.
    #[serde(rename = "morning")]
    Morning {},
    /// Every device that is or was a member.
    #[serde(rename = "devices")]
    Devices {},
    /// One device, by name or by the beginning of its key.
    #[serde(rename = "device")]
    Device {
        /// Which.
        device: String,
    },
    /// Takes a device's membership away.
    #[serde(rename = "revoke")]
    Revoke {
        /// Which.
        device: String,
        /// Why; members can read it.
        reason: String,
        /// Only say what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Issues a joining code.
    #[serde(rename = "enrol new")]
    EnrolNew {
        /// What the device is to be called.
        #[serde(default)]
        name: Option<String>,
        /// `device`, `viewer` or `ops`.
        role: String,
        /// `NAME[:r|rw|rw+decide]` each; scopes that do not exist are made.
        scopes: Vec<String>,
        /// How many devices it lets in.
        #[serde(default = "uses_default")]
        uses: u32,
        /// How long it is valid, in seconds.
        #[serde(default = "valid_default_s")]
        valid_s: u64,
    },
    /// Every scope.
    #[serde(rename = "scopes")]
    Scopes {},
    /// Makes a scope.
    #[serde(rename = "scope create")]
    ScopeCreate {
        /// Its name.
        name: String,
    },
    /// Gives a device a right in a scope.
    #[serde(rename = "scope grant")]
    ScopeGrant {
        /// Scope, by name or id.
        scope: String,
        /// Device, by name or the beginning of its key.
        device: String,
        /// `r`, `rw` or `rw+decide`.
        access: String,
    },
    /// Sessions that run, and the last that ended.
    #[serde(rename = "sessions")]
    Sessions {
        /// Only those with this device.
        #[serde(default)]
        device: Option<String>,
        /// How far back, in seconds.
        #[serde(default = "sessions_since_default_s")]
        since_s: u64,
        /// How many of those that ended.
        #[serde(default = "sessions_default")]
        limit: usize,
    },
    /// Records, newest first.
    #[serde(rename = "docs")]
    Docs {
        /// Only those of this scope.
        #[serde(default)]
        scope: Option<String>,
        /// How many at most.
        #[serde(default = "docs_default")]
        limit: usize,
    },
    /// One record.
    #[serde(rename = "doc")]
    Doc {
        /// Its number, its short code or the beginning of its id.
        id: String,
        /// With every change.
        #[serde(default)]
        history: bool,
        /// With the entries in which it stands.
        #[serde(default)]
        entries: bool,
        /// With who is known to have it.
        #[serde(default)]
        who_has: bool,
    },
    /// Fields in conflict, and proposals.
    #[serde(rename = "conflicts")]
    Conflicts {},
    /// Heights of logs, forks, what is set aside.
    #[serde(rename = "logs")]
    Logs {
        /// Only those of this scope.
        #[serde(default)]
        scope: Option<String>,
        /// Only those of this device.
        #[serde(default)]
        device: Option<String>,
    },
    /// What is kept and is no part of a record.
    #[serde(rename = "quarantine list")]
    QuarantineList {
        /// Only that of this scope.
        #[serde(default)]
        scope: Option<String>,
    },
    /// One thing that is set aside.
    #[serde(rename = "quarantine show")]
    QuarantineShow {
        /// The beginning of its id.
        id: String,
    },
    /// Keeps in mind that a thing was looked at and stays out.
    #[serde(rename = "quarantine keep-out")]
    QuarantineKeepOut {
        /// The beginning of its id.
        id: String,
        /// Why.
        reason: String,
        /// Who says so.
        #[serde(default)]
        by: Option<String>,
    },
    /// Settles a field as the centre, which may decide.
    #[serde(rename = "decide")]
    Decide {
        /// The record: its number, its short code or the beginning of its id.
        id: String,
        /// The field; may be left out where only one is open.
        #[serde(default)]
        field: Option<String>,
        /// What is chosen.
        choice: Chosen,
        /// Why.
        reason: String,
        /// Who decides.
        by: String,
        /// The state in which the choices were shown; else as it stands now.
        #[serde(default)]
        seen: Option<Vec<String>>,
        /// Only say what it would come to.
        #[serde(default)]
        dry_run: bool,
    },
    /// Checks everything that is stored.
    #[serde(rename = "verify")]
    Verify {
        /// Signatures too.
        #[serde(default)]
        deep: bool,
        /// Lines meanwhile that say how far it has come.
        #[serde(default)]
        progress: bool,
    },
    /// How long the files of the stores are at this moment; for whoever backs the folder up.
    #[serde(rename = "backup point")]
    BackupPoint {},
    /// A backup is whole and durable.
    #[serde(rename = "backup done")]
    BackupDone {
        /// Its length.
        bytes: u64,
        /// Height of the authority's log in it.
        authority_height: u64,
    },
    /// After a restore: whoever has not synced since is not waited for.
    #[serde(rename = "backup override")]
    BackupOverride {
        /// Why; stands in the audit file.
        reason: String,
        /// Only say for whom it would not wait.
        #[serde(default)]
        dry_run: bool,
    },
    /// What ops did, newest first.
    #[serde(rename = "audit list")]
    AuditList {
        /// How many at most.
        #[serde(default = "audit_default")]
        limit: usize,
    },
    /// Whether the file of what ops did is whole.
    #[serde(rename = "audit verify")]
    AuditVerify {},
    /// Reads the configuration file again.
    #[serde(rename = "reload")]
    Reload {},
    /// The configuration in force.
    #[serde(rename = "config show")]
    ConfigShow {},
}

/// What is chosen of a field, as people type it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Chosen {
    /// A letter, the beginning of a change, or `reading`.
    Take(String),
    /// Another value, that nobody gave yet.
    Value(String),
    /// The suggestion of this letter is not taken.
    TurnDown(String),
}

fn stale_default_s() -> u64 {
    72 * 3600
}

fn uses_default() -> u32 {
    1
}

fn valid_default_s() -> u64 {
    72 * 3600
}

fn sessions_since_default_s() -> u64 {
    7 * 86_400
}

fn sessions_default() -> usize {
    200
}

fn audit_default() -> usize {
    100
}

fn docs_default() -> usize {
    1000
}

/// Why a request was not done: `cairn.error/1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpsError {
    /// One word for scripts.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Whether the same may work a little later.
    pub retryable: bool,
    /// Exit code of a command that ends with it.
    pub exit_code: u8,
}

impl OpsError {
    pub(crate) fn new(code: &str, message: impl Into<String>, hint: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            hint: hint.to_owned(),
            retryable: false,
            exit_code: 1,
        }
    }

    pub(crate) fn exits(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }

    pub(crate) fn later(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// As it stands on the socket and on a command's standard output.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "schema": "cairn.error/1",
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "exit_code": self.exit_code,
        })
    }

    /// From an answer, if it is an error.
    #[must_use]
    pub fn from_json(answer: &Value) -> Option<Self> {
        if answer["schema"] != "cairn.error/1" {
            return None;
        }
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let exit_code = answer["exit_code"].as_u64();
        Some(Self {
            code: text("code"),
            message: text("message"),
            hint: text("hint"),
            retryable: answer["retryable"].as_bool().unwrap_or(false),
            exit_code: exit_code
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
        })
    }
}

impl From<EngineError> for OpsError {
    fn from(error: EngineError) -> Self {
        let hint = "Start the daemon again: cairnd run";
        match &error {
            EngineError::StoreFailed(_) => {
                Self::new("store_failed", error.to_string(), hint).exits(8)
            }
            EngineError::Stopped | EngineError::Thread(_) => {
                Self::new("stopped", error.to_string(), hint)
                    .exits(4)
                    .later()
            }
        }
    }
}

impl From<StoreError> for OpsError {
    fn from(error: StoreError) -> Self {
        if error.disk_fault().is_some() {
            return Self::new("disk", error.to_string(), DISK_HINT).later();
        }
        let hint = "Start the daemon again: it repairs what it can, and deletes nothing.";
        Self::new("store_failed", error.to_string(), hint).exits(8)
    }
}

const DISK_HINT: &str = "See that the relay's disk is there and not full; then start the daemon, if it has \
                         stopped: cairnd run";

impl From<HoldingsError> for OpsError {
    fn from(error: HoldingsError) -> Self {
        match error.0.downcast::<StoreError>() {
            Ok(error) => (*error).into(),
            Err(error) => Self::new("store_failed", error.to_string(), DISK_HINT).exits(8),
        }
    }
}

impl From<AuthorityFault> for OpsError {
    fn from(fault: AuthorityFault) -> Self {
        let message = fault.to_string();
        match fault {
            AuthorityFault::Request(fault) => Self::from_request(&fault, message),
            AuthorityFault::Store(error) => error.into(),
            AuthorityFault::Holdings(error) => error.into(),
            AuthorityFault::Forked => Self::new(
                "authority_forked",
                message,
                "Find out which key signed the other branch; the recovery key settles it.",
            ),
            AuthorityFault::Restored { .. } => Self::new(
                "restored",
                message,
                "It goes on by itself when all have synced; see who has not: cairn ops status. If they will \
                 not come: cairn ops backup override --reason TEXT",
            )
            .later(),
            AuthorityFault::KeyMissing(_) | AuthorityFault::Log(_) => Self::new(
                "authority",
                message,
                "Restore keys, centre and data of one backup together.",
            )
            .exits(8),
            AuthorityFault::Audit(_) => {
                Self::new("audit", message, "Make room on the disk of the relay.")
            }
            AuthorityFault::Code(_) | AuthorityFault::Random(_) => {
                Self::new("system", message, "Check the relay's disk, then try again.").later()
            }
            AuthorityFault::Sign(_) => Self::new("authority", message, "Ask for less at once."),
        }
    }
}

impl OpsError {
    fn from_request(fault: &RequestFault, message: String) -> Self {
        match fault {
            RequestFault::Text { .. } => {
                Self::new("usage", message, "See: cairn ops help").exits(2)
            }
            RequestFault::UnknownDevice(_) => {
                Self::new("not_found", message, "See: cairn ops devices")
            }
            RequestFault::Ambiguous { .. } => Self::new(
                "ambiguous",
                message,
                "Give more of the key: cairn ops devices",
            ),
            RequestFault::UnknownScope(_) => {
                Self::new("not_found", message, "See: cairn ops scopes")
            }
            RequestFault::ScopeExists(_) => Self::new("exists", message, "See: cairn ops scopes"),
            RequestFault::TooManyScopes => {
                Self::new("limit", message, "Use a scope that is there.")
            }
            RequestFault::Revoked => {
                Self::new("revoked", message, "Make a code with: cairn ops enrol new").exits(5)
            }
            RequestFault::Own(_) => {
                Self::new("not_permitted", message, "See: cairn ops devices").exits(5)
            }
        }
    }
}

impl From<CentreError> for OpsError {
    fn from(error: CentreError) -> Self {
        let message = error.to_string();
        match error {
            CentreError::Member(MemberError::Request(request)) => {
                let (code, hint) = match request {
                    RequestError::Ambiguous { .. } => ("ambiguous", "See: cairn ops docs"),
                    RequestError::Form(_)
                    | RequestError::NothingChanged
                    | RequestError::UnknownVersion(_)
                    | RequestError::MayNotDecide { .. } => ("form", "See: cairn ops conflicts"),
                    _ => ("not_found", "See: cairn ops docs"),
                };
                Self::new(code, message, hint)
            }
            CentreError::Relay(_) => {
                Self::new("stopped", message, "Start the daemon again: cairnd run")
                    .exits(4)
                    .later()
            }
            CentreError::Member(_) | CentreError::Store(_) | CentreError::Holdings(_) => Self::new(
                "centre_failed",
                message,
                "Stop the daemon, move centre/data aside, and start it: it is filled again.",
            )
            .exits(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_strict_and_have_defaults() {
        let parse = serde_json::from_str::<OpsRequest>;
        let status = parse(r#"{"command":"status"}"#).unwrap();
        assert_eq!(status, OpsRequest::Status { stale_s: 259_200 });
        assert!(parse(r#"{"command":"status","stal":1}"#).is_err());
        assert!(parse(r#"{"command":"devices","more":1}"#).is_err());
        assert!(parse(r#"{"command":"nothing"}"#).is_err());
        assert!(parse("{}").is_err());
        let text = serde_json::to_string(&OpsRequest::ScopeCreate { name: "n".into() }).unwrap();
        assert_eq!(text, r#"{"command":"scope create","name":"n"}"#);
    }

    #[test]
    fn an_error_reads_back() {
        let error = OpsError::new("not_found", "no such", "look")
            .exits(5)
            .later();
        assert_eq!(OpsError::from_json(&error.to_json()), Some(error));
        assert_eq!(
            OpsError::from_json(&json!({ "schema": "cairn.ops.status/1" })),
            None
        );
    }
}
