//! What ops ask about what ops did.

use super::OpsError;
use crate::audit::{self, Read};
use crate::daemon::Shared;
use serde_json::{Value, json};

/// Lines that one answer lists at most.
const LINES_MAX: usize = 100_000;

pub(super) async fn list(shared: &Shared, limit: usize) -> Result<Value, OpsError> {
    let mut read = read(shared).await?;
    let total = read.lines.len();
    read.lines.reverse();
    read.lines.truncate(limit.min(LINES_MAX));
    Ok(json!({
        "schema": "cairn.ops.audit/1",
        "total": total,
        "lines": read.lines,
    }))
}

/// Whether the file is whole, and fits the authority's log.
pub(super) async fn verify(shared: &Shared) -> Result<Value, OpsError> {
    let read = read(shared).await?;
    let height = shared
        .with_store(|_, store| store.authority_head().height)
        .await?;
    let mut problems = read.problems;
    let heights = read
        .lines
        .iter()
        .filter_map(|line| line["authority_height"].as_u64());
    if let Some(highest) = heights.max().filter(|highest| *highest > height) {
        problems.push(format!(
            "it tells of entry {highest} of the authority's log, which is {height} high here"
        ));
    }
    Ok(json!({
        "schema": "cairn.verify/1",
        "ok": problems.is_empty(),
        "lines": read.lines.len(),
        "lines_without_hash": read.unchained,
        "authority_height": height,
        "problems": problems,
    }))
}

async fn read(shared: &Shared) -> Result<Read, OpsError> {
    let path = shared.folder.audit();
    let reading = tokio::task::spawn_blocking(move || audit::read(&path));
    let failed = |why: String| {
        let hint = "It is audit.jsonl in the relay's folder.";
        OpsError::new(
            "audit",
            format!("the audit file does not read: {why}"),
            hint,
        )
    };
    reading
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}
