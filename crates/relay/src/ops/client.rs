//! Asks a running relay, from the machine that it runs on.

use super::{OpsError, OpsRequest, PROGRESS};
use crate::folder::{Folder, SocketPath};
use cairn_wire::limits;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No daemon answers in that folder.
    #[error("no relay answers in {dir}: {source}")]
    Unreachable {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] OpsError),
    /// What came is no answer.
    #[error("the relay's answer does not read: {0}")]
    Answer(String),
}

impl CallError {
    /// As `cairn.error/1` says it.
    #[must_use]
    pub fn to_error(&self) -> OpsError {
        match self {
            Self::Unreachable { .. } => OpsError::new(
                "unreachable",
                self.to_string(),
                "Is the daemon running there? Start it with: cairnd run --dir DIR",
            )
            .exits(4)
            .later(),
            Self::Refused(error) => error.clone(),
            Self::Answer(_) => OpsError::new(
                "answer",
                self.to_string(),
                "The daemon may be of another version: restart it.",
            ),
        }
    }

    /// Exit code of a command that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.to_error().exit_code
    }
}

/// Asks the relay in `dir` and waits for its answer.
pub fn call(dir: &Path, request: &OpsRequest) -> Result<Value, CallError> {
    call_with_progress(dir, request, &mut |_| {})
}

/// The same; `on_progress` gets the lines that come before the answer.
pub fn call_with_progress(
    dir: &Path,
    request: &OpsRequest,
    on_progress: &mut dyn FnMut(&Value),
) -> Result<Value, CallError> {
    let unreachable = |source| CallError::Unreachable {
        dir: dir.to_owned(),
        source,
    };
    let mut line =
        serde_json::to_vec(request).map_err(|error| CallError::Answer(error.to_string()))?;
    line.push(b'\n');
    let socket = SocketPath::of(&Folder::new(dir)).map_err(unreachable)?;
    let mut stream = UnixStream::connect(socket.path()).map_err(unreachable)?;
    stream.write_all(&line).map_err(unreachable)?;
    let mut lines = BufReader::new(stream.take(limits::OPS_ANSWER_BYTES_MAX as u64));
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(unreachable)?;
        if line.last() != Some(&b'\n') {
            return Err(CallError::Answer("it is cut off".into()));
        }
        let line = read(&line)?;
        match line["schema"] == PROGRESS {
            true => on_progress(&line),
            false => return answer(line),
        }
    }
}

/// A line of an answer.
pub(super) fn read(line: &[u8]) -> Result<Value, CallError> {
    serde_json::from_slice(line).map_err(|error| CallError::Answer(error.to_string()))
}

/// The answer, or the error that it is.
pub(super) fn answer(line: Value) -> Result<Value, CallError> {
    match OpsError::from_json(&line) {
        Some(error) => Err(error.into()),
        None => Ok(line),
    }
}
