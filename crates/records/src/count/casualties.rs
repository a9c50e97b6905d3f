//! Casualties of accidents.

use super::{Totals, grouped};
use crate::read::Record;
use crate::summary::linked;
use cairn_wire::ids::DocumentId;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// What counting needs of an accident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accident {
    id: DocumentId,
    duplicates_of: BTreeSet<DocumentId>,
    casualties: Totals,
}

impl Accident {
    /// Of a record; nothing of other kinds and of what was withdrawn.
    #[must_use]
    pub fn of(id: DocumentId, record: &Record) -> Option<Self> {
        (record.kind == "accident" && !record.is_void()).then(|| Self {
            id,
            duplicates_of: linked(record, "duplicates_of"),
            casualties: Totals::of(record, "casualties"),
        })
    }
}

/// Casualties of several accidents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Casualties {
    /// Accidents, linked duplicates once.
    pub accidents: u64,
    /// Records that were linked as duplicates of others.
    pub duplicates: u64,
    /// By outcome, sex, age group and status.
    pub totals: Totals,
}

impl Casualties {
    /// How they are counted.
    pub const METHOD: &'static str = "sum of the casualties that accidents give; linked duplicates count once, from the smallest to the largest figure until all but one are withdrawn; where people disagree, from the smallest to the largest";

    /// Counts them.
    #[must_use]
    pub fn of(accidents: &[Accident]) -> Self {
        let mut counted = Self::default();
        for group in grouped(accidents, |one| one.id, |one| &one.duplicates_of) {
            counted.accidents += 1;
            counted.duplicates += group.len() as u64 - 1;
            let figures = group.iter().map(|one| one.casualties.clone());
            if let Some(once) = figures.reduce(|one, other| one.either(&other)) {
                counted.totals.plus(&once);
            }
        }
        counted
    }

    /// For reports.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let by = |part: usize| -> serde_json::Map<String, Json> {
            let sums = self.totals.by(part).into_iter();
            sums.map(|(code, count)| (code, count.to_json())).collect()
        };
        json!({
            "accidents": self.accidents,
            "duplicates": self.duplicates,
            "casualties": self.totals.to_json(),
            "by_outcome": by(0),
            "by_sex": by(1),
            "by_age_group": by(2),
            "by_status": by(3),
            "method": Self::METHOD,
        })
    }
}
