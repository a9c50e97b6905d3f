//! The lines of an answer: how far long work has come, then the answer itself.

use cairn_wire::limits;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Schema of a line that is not the answer yet.
pub const PROGRESS: &str = "cairn.progress/1";

/// Where lines go, to whoever asked.
pub(crate) struct Lines(mpsc::Sender<Vec<u8>>);

/// Nobody reads them any more.
pub(crate) struct Gone;

impl Lines {
    pub(crate) fn new(lines: mpsc::Sender<Vec<u8>>) -> Self {
        Self(lines)
    }

    /// Says how far it has come: so many bytes of so many.
    pub(super) async fn progress(
        &self,
        doing: &str,
        done_bytes: u64,
        of_bytes: u64,
    ) -> Result<(), Gone> {
        let line = json!({
            "schema": PROGRESS,
            "doing": doing,
            "done_bytes": done_bytes,
            "of_bytes": of_bytes,
        });
        self.say(&line).await
    }

    /// The answer.
    pub(super) async fn answer(&self, answer: &Value) -> Result<(), Gone> {
        self.say(answer).await
    }

    async fn say(&self, object: &Value) -> Result<(), Gone> {
        let mut line = object.to_string().into_bytes();
        line.push(b'\n');
        if line.len() > limits::OPS_ANSWER_BYTES_MAX {
            let error = super::OpsError::new(
                "too_much",
                "the answer is larger than an answer may be",
                "Ask for less at once.",
            );
            line = error.to_json().to_string().into_bytes();
            line.push(b'\n');
        }
        self.0.send(line).await.map_err(|_| Gone)
    }
}
