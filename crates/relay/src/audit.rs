//! What ops did, a line of JSON each, only ever appended. Names stay out of it: devices and scopes
//! stand in it by key and id.
//!
//! Each line bears its number and a hash over the hash before it and its own text, so that a line that
//! was changed or taken out of the middle is found. Who owns the machine can write the whole file anew:
//! then it still has to fit the authority's log, whose heights stand in it and which every device
//! carries. A kill in the middle of a write leaves a torn line, which is told and passed over.

use cairn_wire::hash;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Context of a line's hash.
const CONTEXT: &str = "cairn 2026 audit line v1";
/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Problems that are listed.
const PROBLEMS_MAX: usize = 100;

/// The audit file could not be written. What it would have told is done and durable.
#[derive(Debug, thiserror::Error)]
#[error("it is done, but {path} could not be written: {source}")]
pub struct AuditError {
    path: PathBuf,
    source: std::io::Error,
}

/// The file.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    /// Number and hash of the last line, once it is known.
    last: Mutex<Option<Link>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    number: u64,
    chain: String,
}

impl Audit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
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
        self.write(line).map_err(|source| AuditError {
            path: self.path.clone(),
            source,
        })
    }

    fn write(&self, mut line: Value) -> std::io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match last.take() {
            Some(before) => before,
            None => read(&self.path)?.last,
        };
        let number = before.number + 1;
        line["number"] = json!(number);
        let chain = chain_of(&before.chain, &line);
        line["chain"] = json!(chain);
        let mut file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let mut text = line.to_string();
        text.push('\n');
        if ends_torn(&file)? {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        *last = Some(Link { number, chain });
        Ok(())
    }
}

/// What the file holds, and whether it is whole.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    /// Lines that read, oldest first.
    pub(crate) lines: Vec<Value>,
    /// Lines from before lines bore a hash.
    pub(crate) unchained: u64,
    /// What is wrong, a sentence each.
    pub(crate) problems: Vec<String>,
    last: Link,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            number: 0,
            chain: "0".repeat(64),
        }
    }
}

/// Reads the whole file.
pub(crate) fn read(path: &Path) -> std::io::Result<Read> {
    let mut found = Read::default();
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        file => file?,
    };
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    let mut row = 0u64;
    loop {
        bytes.clear();
        let read = (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(found);
        }
        row += 1;
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(line) if line.is_object() => found.take(row, line),
            _ => found.wrong(format!(
                "line {row} does not read: a kill in the middle of a write leaves such a line"
            )),
        }
    }
}

impl Read {
    fn take(&mut self, row: u64, line: Value) {
        let (number, chain) = (line["number"].as_u64(), line["chain"].as_str());
        match (number, chain.map(str::to_owned)) {
            (None, None) if self.last.number == 0 => self.unchained += 1,
            (Some(number), Some(chain)) => {
                if number != self.last.number + 1 {
                    let expected = self.last.number + 1;
                    self.wrong(format!(
                        "line {row} bears number {number} where {expected} should follow: lines are missing"
                    ));
                } else if chain != chain_of(&self.last.chain, &line) {
                    self.wrong(format!("line {row} is not as it was written"));
                }
                self.last = Link { number, chain };
            }
            _ => self.wrong(format!("line {row} bears no hash")),
        }
        self.lines.push(line);
    }

    fn wrong(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// The hash of a line: over the one before it and the line without its own. Keys of an object are in
/// the order of their names.
fn chain_of(before: &str, line: &Value) -> String {
    let mut plain = line.clone();
    if let Some(plain) = plain.as_object_mut() {
        plain.remove("chain");
        plain.sort_keys();
    }
    let text = plain.to_string();
    let hash = hash::derive(CONTEXT, &[before.as_bytes(), text.as_bytes()]);
    data_encoding::HEXLOWER.encode(&hash)
}

fn ends_torn(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(path: &Path) -> Audit {
        let audit = Audit::new(path.to_owned());
        for number in 0..5u64 {
            let what = json!({ "device": format!("{number}"), "b": 1, "a": [1, 2] });
            audit.append(number, "revoke", number, what).unwrap();
        }
        audit
    }

    #[test]
    fn a_line_that_was_changed_or_taken_out_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        filled(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let read_back = read(&path).unwrap();
        assert_eq!((read_back.lines.len(), read_back.problems.len()), (5, 0));
        let lines: Vec<&str> = whole.lines().collect();
        for at in 0..5 {
            let mut changed = lines.clone();
            let other = changed[at].replace("revoke", "revise");
            changed[at] = &other;
            std::fs::write(&path, changed.join("\n") + "\n").unwrap();
            assert!(
                !read(&path).unwrap().problems.is_empty(),
                "line {at} changed"
            );
        }
        for at in 0..4 {
            let mut fewer = lines.clone();
            fewer.remove(at);
            std::fs::write(&path, fewer.join("\n") + "\n").unwrap();
            assert!(
                !read(&path).unwrap().problems.is_empty(),
                "line {at} taken out"
            );
        }
    }

    #[test]
    fn a_torn_line_is_told_and_the_next_ones_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        filled(&path);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let audit = Audit::new(path.clone());
        audit.append(9, "revoke", 9, json!({})).unwrap();
        audit.append(10, "revoke", 10, json!({})).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.lines.len(), 6);
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
        assert!(found.problems[0].contains("line 5 does not read"));
    }

    #[test]
    fn lines_from_before_are_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"action\":\"enrol\"}\n").unwrap();
        filled(&path);
        let found = read(&path).unwrap();
        assert_eq!((found.lines.len(), found.unchained), (6, 1));
        assert!(found.problems.is_empty());
    }
}
