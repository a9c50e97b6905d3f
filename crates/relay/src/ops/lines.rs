//! The lines of an answer: how far long work has come, then the answer itself.

use cairn_wire::limits;
use serde_json::Value;
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
