//! What operators did, as lines and as a file.

use super::lines::{array, head, known, number, text, time};
use super::relay::Relay;
use crate::Ended;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::count;
use cairn_relay::ops::OpsRequest;
use serde_json::{Value as Json, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Lines of the file at most.
pub(super) const LINES_MAX: usize = 100_000;
/// What every line has, and needs no column of its own.
const COMMON: [&str; 5] = ["at", "action", "authority_height", "number", "chain"];

pub(super) fn lines(answer: &Json, output: &Output) -> String {
    let mut rows = vec![head(&["when", "what", "which"])];
    for line in array(answer, "lines") {
        let which: Vec<String> = line
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !COMMON.contains(&key.as_str()))
            .map(|(key, value)| {
                let value = match value {
                    Json::String(text) if text.len() > 16 => text.chars().take(12).collect(),
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                };
                format!("{} {value}", key.replace('_', " "))
            })
            .collect();
        rows.push(vec![
            time(line, "at", output),
            text(line, "action").to_owned(),
            which.join(", "),
        ]);
    }
    let (shown, total) = (rows.len() as u64 - 1, number(answer, "total"));
    if shown < total {
        output.say(&format!("The newest {shown} of {}.", count(total, "line")));
    }
    output.table(&rows)
}

pub(super) fn verified(answer: &Json) -> String {
    let mut lines = String::new();
    for problem in array(answer, "problems") {
        lines.push_str(&format!("{}\n", problem.as_str().unwrap_or_default()));
    }
    let sound = match answer.get("ok") {
        Some(Json::Bool(true)) => "No line was changed or taken out",
        _ => "NOT as it was written",
    };
    lines.push_str(&format!(
        "{sound}: {} lines, up to entry {} of the authority's log",
        known(answer, "lines"),
        known(answer, "authority_height")
    ));
    lines
}

pub(super) fn export(relay: &Relay, file: &Path, output: &Output) -> Result<Ended, Failure> {
    let answer = relay.ask(&OpsRequest::AuditList { limit: LINES_MAX })?;
    let failed = |error: std::io::Error| {
        Failure::new(
            "file",
            format!("{} cannot be written: {error}", file.display()),
        )
        .hint("Name a file that is not there yet, in a folder that is.")
    };
    let mut open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    let lines = array(&answer, "lines");
    let mut text = String::new();
    for line in lines.iter().rev() {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    open.write_all(text.as_bytes())
        .and_then(|()| open.sync_all())
        .map_err(failed)?;
    let done = json!({
        "schema": "cairn.ops.audit.exported/1",
        "file": file.display().to_string(),
        "lines": lines.len(),
    });
    output.answer(&done, || {
        let written = count(lines.len() as u64, "line");
        format!("{written} in {}", file.display())
    });
    Ok(Ended::Done)
}
