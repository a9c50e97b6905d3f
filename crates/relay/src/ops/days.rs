//! What there was when each day began, so that ops can say what a day brought.
//!
//! A row is taken at the first look after midnight, UTC by the relay's clock, or at the first start; it
//! says when that was. Rows are kept for a year. Nothing but these figures rests on them.

use super::OpsError;
use crate::daemon::Shared;
use crate::folder;
use crate::time::{now_s, utc};
use cairn_centre::Counts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Days that are kept.
const DAYS_MAX: usize = 400;
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Kinds that a row tells apart.
const KINDS_MAX: usize = 64;
/// How often it is looked whether a day has begun.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What there was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// When it was taken, seconds since 1970.
    pub(crate) at_s: u64,
    pub(crate) documents: u64,
    pub(crate) changes: u64,
    pub(crate) by_kind: BTreeMap<String, u64>,
}

impl Opening {
    pub(crate) fn of(counts: &Counts, at_s: u64) -> Self {
        let kinds = counts.by_kind.iter().take(KINDS_MAX);
        Self {
            at_s,
            documents: counts.documents,
            changes: counts.changes,
            by_kind: kinds.map(|(kind, count)| (kind.clone(), *count)).collect(),
        }
    }

    /// What came between an earlier moment and this one. Nothing ever goes, but a centre that reads
    /// everything again begins at nothing.
    pub(crate) fn since(&self, before: &Self) -> Value {
        let kinds = self.by_kind.iter().filter_map(|(kind, count)| {
            let had = before.by_kind.get(kind).copied().unwrap_or(0);
            let came = count.saturating_sub(had);
            (came > 0).then(|| (kind.clone(), json!(came)))
        });
        json!({
            "since": utc(before.at_s),
            "until": utc(self.at_s),
            "records": self.documents.saturating_sub(before.documents),
            "changes": self.changes.saturating_sub(before.changes),
            "by_kind": kinds.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// The rows by day, as `2026-11-24`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Days(BTreeMap<String, Opening>);

impl Days {
    pub(crate) fn read(path: &Path) -> Self {
        let small = std::fs::metadata(path).is_ok_and(|about| about.len() <= FILE_BYTES_MAX);
        let bytes = small.then(|| std::fs::read(path).ok()).flatten();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Takes a row in, unless the day has one. Answers whether it was taken.
    fn open(&mut self, opening: Opening) -> bool {
        let day = day(opening.at_s);
        if self.0.contains_key(&day) {
            return false;
        }
        self.0.insert(day, opening);
        while self.0.len() > DAYS_MAX {
            self.0.pop_first();
        }
        true
    }

    /// The row of the day of that moment.
    pub(crate) fn today(&self, at_s: u64) -> Option<&Opening> {
        self.0.get(&day(at_s))
    }

    /// The rows between which the day before that moment lies.
    pub(crate) fn yesterday(&self, at_s: u64) -> Option<(&Opening, &Opening)> {
        let yesterday = self.0.get(&day(at_s.checked_sub(86_400)?))?;
        Some((yesterday, self.today(at_s)?))
    }
}

fn day(at_s: u64) -> String {
    utc(at_s).chars().take(10).collect()
}

pub(crate) fn path(shared: &Shared) -> PathBuf {
    shared.contacts().history().join("days.json")
}

/// Takes a row at the beginning of each day, for as long as the daemon runs.
pub(super) async fn keep(shared: Arc<Shared>) {
    if shared.centre.is_none() {
        return;
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut taken = String::new();
    loop {
        look.tick().await;
        let today = day(now_s());
        if today == taken {
            continue;
        }
        match take(&shared).await {
            Ok(true) => taken = today,
            // The centre still reads what came before.
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the day's first figures are not taken yet"),
        }
    }
}

/// Answers whether the day has its row.
async fn take(shared: &Shared) -> Result<bool, OpsError> {
    let behind = |shared: &Shared| shared.centre.as_ref().is_some_and(|it| it.behind() > 0);
    let counts = shared.ask_centre(cairn_centre::Centre::counts).await?;
    if behind(shared) {
        return Ok(false);
    }
    let opening = Opening::of(&counts, now_s());
    let path = path(shared);
    let writing = tokio::task::spawn_blocking(move || {
        let mut days = Days::read(&path);
        if days.open(opening) {
            if let Some(folder) = path.parent() {
                folder::make_private(folder)?;
            }
            let bytes = serde_json::to_vec(&days)?;
            folder::write_whole(&path, &bytes)?;
        }
        Ok::<_, std::io::Error>(())
    });
    let written = writing.await.map_err(|error| error.to_string());
    let written = written.and_then(|written| written.map_err(|error| error.to_string()));
    match written {
        Ok(()) => Ok(true),
        Err(why) => {
            tracing::warn!(%why, "the day's first figures could not be written");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MORNING: u64 = 1_764_000_000;

    fn opening(at_s: u64, documents: u64) -> Opening {
        Opening {
            at_s,
            documents,
            changes: documents * 2,
            by_kind: BTreeMap::from([("accident".to_owned(), documents)]),
        }
    }

    #[test]
    fn a_day_is_what_came_between_two_openings() {
        let mut days = Days::default();
        assert!(days.open(opening(MORNING - 86_400, 10)));
        assert!(days.yesterday(MORNING).is_none());
        assert!(days.open(opening(MORNING, 17)));
        assert!(!days.open(opening(MORNING + 60, 99)));
        let (from, to) = days.yesterday(MORNING + 3600).unwrap();
        let brought = to.since(from);
        assert_eq!(brought["records"], 7);
        assert_eq!(brought["changes"], 14);
        assert_eq!(brought["by_kind"]["accident"], 7);
        // A day without a row tells nothing, and a clock that jumps neither.
        assert!(days.yesterday(MORNING + 86_400).is_none());
        assert!(days.yesterday(MORNING + 40 * 365 * 86_400).is_none());
        assert!(days.yesterday(0).is_none());
    }

    #[test]
    fn rows_are_bounded_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("days.json");
        let mut days = Days::default();
        for number in 0..DAYS_MAX as u64 + 5 {
            days.open(opening(MORNING + number * 86_400, number));
        }
        assert_eq!(days.0.len(), DAYS_MAX);
        std::fs::write(&path, serde_json::to_vec(&days).unwrap()).unwrap();
        assert_eq!(Days::read(&path).0, days.0);
        std::fs::write(&path, "{").unwrap();
        assert!(Days::read(&path).0.is_empty());
    }
}
