//! Figures that are derived, never stored: how many people a session reached, how many a period
//! reached, how many an accident harmed.
//!
//! A figure about which people disagree counts as a range; linked duplicates count once, as a
//! range until all but one of them are withdrawn. Each result says by which method it was made.

mod casualties;
mod people;

pub use casualties::{Accident, Casualties};
pub use people::{Persons, Session, Sessions};

use crate::read::{FieldReading, Record};
use crate::value::Value;
use cairn_wire::ids::DocumentId;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// A number of people: a range where people disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// The smallest that somebody gave.
    pub least: u64,
    /// The largest that somebody gave.
    pub most: u64,
    /// Somebody wrote that it is unknown: there may be more.
    pub or_more: bool,
}

impl Count {
    /// One number.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self {
            least: number,
            most: number,
            or_more: false,
        }
    }

    /// What stands in a field of figures. A value that was emptied beside one that was not may
    /// be none.
    fn stated(field: &FieldReading) -> Self {
        let mut range: Option<(u64, u64)> = None;
        let mut or_more = false;
        for shown in &field.values {
            let number = match &shown.value {
                Value::Int(number) => u64::try_from(*number).unwrap_or(0),
                Value::Null => 0,
                _ => {
                    or_more = true;
                    continue;
                }
            };
            let (least, most) = range.unwrap_or((number, number));
            range = Some((least.min(number), most.max(number)));
        }
        let (least, most) = range.unwrap_or((0, 0));
        let least = if or_more { 0 } else { least };
        Self {
            least,
            most,
            or_more,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
            or_more: self.or_more || other.or_more,
        }
    }

    /// The larger of both, end by end.
    #[must_use]
    pub fn larger(self, other: Self) -> Self {
        Self {
            least: self.least.max(other.least),
            most: self.most.max(other.most),
            or_more: self.or_more || other.or_more,
        }
    }

    /// One or the other: nobody knows which.
    #[must_use]
    pub fn either(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            or_more: self.or_more || other.or_more,
        }
    }

    /// `90`, or `{"least":81,"most":90}`; with `"or_more":true` where somebody wrote unknown.
    #[must_use]
    pub fn to_json(self) -> Json {
        match (self.least == self.most, self.or_more) {
            (true, false) => json!(self.least),
            (_, false) => json!({ "least": self.least, "most": self.most }),
            (_, true) => json!({ "least": self.least, "most": self.most, "or_more": true }),
        }
    }
}

/// The figures of one map of one record, and their sums.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// By the codes of its path, as `["female", "18_plus"]`.
    pub cells: BTreeMap<Vec<String>, Count>,
    /// All of them together.
    pub all: Count,
}

impl Totals {
    /// Adds up the cells of a map field of figures.
    #[must_use]
    pub fn of(record: &Record, field: &str) -> Self {
        let prefix = format!("{field}/");
        let cells = record.fields.range(prefix.clone()..);
        let cells = cells.take_while(|(path, _)| path.starts_with(&prefix));
        let cells = cells.map(|(path, reading)| {
            let codes = path.split('/').skip(1).map(str::to_owned).collect();
            (codes, Count::stated(reading))
        });
        Self::sum(cells.collect())
    }

    fn sum(cells: BTreeMap<Vec<String>, Count>) -> Self {
        let all = cells.values().copied();
        let all = all.fold(Count::default(), Count::plus);
        Self { cells, all }
    }

    /// Whether nobody gave any figure: blank is not zero.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.cells.is_empty()
    }

    /// Sums by one part of the path, 0 the first.
    #[must_use]
    pub fn by(&self, part: usize) -> BTreeMap<String, Count> {
        let mut sums: BTreeMap<String, Count> = BTreeMap::new();
        for (codes, count) in &self.cells {
            if let Some(code) = codes.get(part) {
                let sum = sums.entry(code.clone()).or_default();
                *sum = sum.plus(*count);
            }
        }
        sums
    }

    /// One record or the other, cell by cell: they are said to be the same.
    fn either(&self, other: &Self) -> Self {
        let paths: BTreeSet<&Vec<String>> = self.cells.keys().chain(other.cells.keys()).collect();
        let cell = |of: &Self, path: &Vec<String>| of.cells.get(path).copied().unwrap_or_default();
        let cells = paths
            .into_iter()
            .map(|path| (path.clone(), cell(self, path).either(cell(other, path))));
        Self {
            cells: cells.collect(),
            all: self.all.either(other.all),
        }
    }

    fn plus(&mut self, other: &Self) {
        for (path, count) in &other.cells {
            let sum = self.cells.entry(path.clone()).or_default();
            *sum = sum.plus(*count);
        }
        self.all = self.all.plus(other.all);
    }

    /// `{"all":…,"cells":{"female/18_plus":…}}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let cells = self.cells.iter();
        let cells: serde_json::Map<String, Json> = cells
            .map(|(codes, count)| (codes.join("/"), count.to_json()))
            .collect();
        json!({ "all": self.all.to_json(), "cells": cells })
    }
}

/// Figures that one record gives by itself, by map: `cairn show` prints them as `derived`.
#[must_use]
pub fn derived(record: &Record) -> BTreeMap<String, Totals> {
    let fields = record
        .definition()
        .into_iter()
        .flat_map(|kind| kind.fields());
    let maps = fields.filter(|field| !field.keys.is_empty());
    let totals = maps.map(|field| (field.name.clone(), Totals::of(record, &field.name)));
    totals.filter(|(_, totals)| !totals.is_blank()).collect()
}

/// How [`derived`] figures are made.
pub const DERIVED_METHOD: &str =
    "sum of the figures that stand; where people disagree, from the smallest to the largest";

/// Records that people linked as the same, in groups; those that stand alone too.
fn grouped<T>(
    records: &[T],
    id: impl Fn(&T) -> DocumentId,
    links: impl Fn(&T) -> &BTreeSet<DocumentId>,
) -> Vec<Vec<&T>> {
    let index: BTreeMap<DocumentId, usize> = records
        .iter()
        .enumerate()
        .map(|(at, record)| (id(record), at))
        .collect();
    let mut group: Vec<usize> = (0..records.len()).collect();
    for (at, record) in records.iter().enumerate() {
        for other in links(record).iter().filter_map(|link| index.get(link)) {
            let (one, two) = (first_of(&group, at), first_of(&group, *other));
            let (low, high) = (one.min(two), one.max(two));
            if let Some(entry) = group.get_mut(high) {
                *entry = low;
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<&T>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        groups.entry(first_of(&group, at)).or_default().push(record);
    }
    groups.into_values().collect()
}

fn first_of(group: &[usize], mut at: usize) -> usize {
    while let Some(&next) = group.get(at) {
        if next == at {
            break;
        }
        at = next;
    }
    at
}
