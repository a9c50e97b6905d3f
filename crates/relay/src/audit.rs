//! What ops did, a line of JSON each, only ever appended. Names stay out of it: devices and scopes
//! stand in it by key and id.

use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// The audit file could not be written. What it would have told is done and durable.
#[derive(Debug, thiserror::Error)]
#[error("it is done, but {path} could not be written: {source}")]
pub struct AuditError {
    path: PathBuf,
    source: std::io::Error,
}

/// The file.
#[derive(Debug)]
pub struct Audit(PathBuf);

impl Audit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Appends a line, durable at return.
    pub(crate) fn append(
        &self,
        now_s: u64,
        action: &str,
        authority_height: u64,
        what: Value,
    ) -> Result<(), AuditError> {
        let mut line = json!({
            "at": crate::time::utc(now_s),
            "action": action,
            "authority_height": authority_height,
        });
        if let (Some(line), Value::Object(what)) = (line.as_object_mut(), what) {
            line.extend(what);
        }
        let mut text = line.to_string();
        text.push('\n');
        self.write(&text).map_err(|source| AuditError {
            path: self.0.clone(),
            source,
        })
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}
