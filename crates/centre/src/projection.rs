//! What the centre can tell about records: counts, lists, conflicts, what calls for attention.

use crate::{Centre, CentreError};
use cairn_member::places::Place;
use cairn_member::read::AsOf;
use cairn_member::{Line, OpenRecord, short_code};
use cairn_records::Record;
use cairn_records::schema::Class;
use cairn_wire::ids::{DeviceKey, ScopeId};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub documents: u64,
    /// Changes that are part of them.
    pub changes: u64,
    /// Records with a field in conflict.
    pub conflicts: u64,
    /// Records with a proposal that nobody has decided.
    pub proposals: u64,
    /// Changes that are kept and no part of a record: waiting, stuck or quarantined.
    pub held: u64,
    /// Records by scope.
    pub by_scope: BTreeMap<ScopeId, u64>,
    /// Records by the device that made them.
    pub by_device: BTreeMap<DeviceKey, u64>,
    /// Records by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// Records with a value whose author is not verified.
    pub unverified: u64,
    /// Hazardous areas that read neither closed nor withdrawn.
    pub land: Land,
}

/// Land as the centre reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Land {
    /// Areas that read open or suspended.
    pub areas: u64,
    /// Their extents as they read, each by itself: where two overlap, the overlap counts in both.
    pub area_m2: u64,
    /// Those of which part is only a circle round a place.
    pub not_surveyed: u64,
    /// Those that say no place at all, and count nothing.
    pub without_place: u64,
}

impl Land {
    fn count(&mut self, line: &Line) {
        let summary = &line.summary;
        let released = ["closed", "handed_over"];
        let closed = summary
            .status
            .as_deref()
            .is_some_and(|it| released.contains(&it));
        if summary.kind != "hazardous_area" || summary.void || closed {
            return;
        }
        self.areas += 1;
        self.area_m2 += summary.area_m2.unwrap_or(0);
        self.not_surveyed += u64::from(summary.extent_not_surveyed);
        self.without_place += u64::from(summary.area_m2.is_none());
    }
}

/// A safety field that people disagree on.
#[derive(Debug, Clone, PartialEq)]
pub struct SafetyConflict {
    /// The record.
    pub id: String,
    /// The code by which it is named over the radio.
    pub short_code: String,
    /// Its number.
    pub local_id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Its scope, as people know it.
    pub scope: String,
    /// The field.
    pub field: String,
    /// How it reads.
    pub reads: Option<String>,
    /// Who says so, and when by their clock, oldest first.
    pub by: Vec<(String, Option<i64>)>,
    /// Somebody closed the area, and direct evidence stands against it.
    pub closed_against_evidence: bool,
}

/// What calls for attention among records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Counts.
    pub counts: Counts,
    /// Safety fields in conflict, of the first [`LOOKED_AT_MAX`] records.
    pub safety: Vec<SafetyConflict>,
    /// There are more records in conflict than were looked at.
    pub more: bool,
    /// Records that are probably the same as others.
    pub duplicates: u64,
}

/// Records in conflict that are opened for one answer.
pub const LOOKED_AT_MAX: usize = 1_000;

/// A list of records.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// How many fit.
    pub total: u64,
    /// The first of them, newest first by the devices' clocks.
    pub lines: Vec<(Line, String)>,
}

impl Centre {
    /// How many records, changes, conflicts; counted anew only when something changed.
    pub fn counts(&mut self) -> Result<Counts, CentreError> {
        if let Some(counts) = &self.counts {
            return Ok(counts.clone());
        }
        let mut counts = Counts::default();
        self.member.each_line(&*self.tables, None, &mut |line| {
            counts.documents += 1;
            counts.changes += line.changes;
            counts.conflicts += u64::from(line.summary.conflicts > 0);
            counts.proposals += u64::from(line.summary.proposals > 0);
            counts.held += line.held;
            *counts.by_scope.entry(line.scope).or_default() += 1;
            *counts.by_device.entry(line.creator).or_default() += 1;
            counts.unverified += u64::from(line.summary.unverified > 0);
            counts.land.count(&line);
            match counts.by_kind.get_mut(&line.summary.kind) {
                Some(count) => *count += 1,
                None => {
                    counts.by_kind.insert(line.summary.kind, 1);
                }
            }
            Ok(true)
        })?;
        self.counts = Some(counts.clone());
        Ok(counts)
    }

    /// Records of a scope, or of all: the newest `limit` of them.
    pub fn documents(&self, scope: Option<&ScopeId>, limit: usize) -> Result<Listing, CentreError> {
        let mut newest: BTreeMap<(i64, [u8; 16]), Line> = BTreeMap::new();
        let mut total = 0;
        self.member.each_line(&*self.tables, scope, &mut |line| {
            total += 1;
            newest.insert((-line.recorded_at_s, line.id.0), line);
            if newest.len() > limit {
                newest.pop_last();
            }
            Ok(true)
        })?;
        let lines = newest.into_values().map(|line| {
            let scope = self.member.scope_name(&self.membership, &line.scope);
            (line, scope)
        });
        Ok(Listing {
            total,
            lines: lines.collect(),
        })
    }

    /// The record that goes by the beginning of its id, its number or its short code.
    pub fn document(&self, name: &str, as_of: Option<&AsOf>) -> Result<OpenRecord, CentreError> {
        Ok(self
            .member
            .show(&*self.tables, &self.membership, name, as_of)?)
    }

    /// Every change of a record, as `cairn show --history` gives them.
    pub fn history(&self, name: &str) -> Result<Vec<Json>, CentreError> {
        let record = self.document(name, None)?.record;
        let history = self.member.history(&*self.tables, &self.membership, name)?;
        let entries = history.into_iter();
        Ok(entries
            .map(|(entry, _)| entry.to_json(record.definition()))
            .collect())
    }

    /// The fields of records that are in conflict or hold a proposal, as `cairn conflicts` gives them.
    pub fn conflicts(&self) -> Result<Vec<Json>, CentreError> {
        let open = self
            .member
            .open_questions(&*self.tables, &self.membership)?;
        let mut fields = Vec::new();
        for record in open {
            let local_id = record.record.reads("local_id").as_text();
            for mut field in record.record.open_questions(&record.id.to_string()) {
                if let Some(field) = field.as_object_mut() {
                    field.insert("scope".into(), json!(record.scope_name));
                    field.insert("kind".into(), json!(record.record.kind));
                    field.insert("local_id".into(), json!(local_id));
                    field.insert("short_code".into(), json!(short_code(&record.id)));
                    let heads = record.heads.iter().map(ToString::to_string);
                    field.insert("heads".into(), heads.collect());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    /// What calls for attention among records.
    pub fn attention(&mut self) -> Result<Attention, CentreError> {
        let counts = self.counts()?;
        let mut lines = Vec::new();
        let mut more = false;
        self.member.each_line(&*self.tables, None, &mut |line| {
            if line.summary.conflicts > 0 {
                more = lines.len() >= LOOKED_AT_MAX;
                if !more {
                    lines.push((line.scope, line.id));
                }
            }
            Ok(!more)
        })?;
        let mut safety = Vec::new();
        self.member
            .each_record(&*self.tables, &self.membership, &lines, &mut |record| {
                safety.extend(safety_conflicts(&record));
                Ok(true)
            })?;
        safety.sort_by_key(|one| {
            let oldest = one.by.iter().filter_map(|(_, at_s)| *at_s).min();
            (!one.closed_against_evidence, oldest, one.id.clone())
        });
        Ok(Attention {
            counts,
            safety,
            more,
            duplicates: self.member.duplicates(&*self.tables)?.len() as u64,
        })
    }

    /// The entries in which a record stands.
    pub fn places(&self, name: &str) -> Result<Vec<Place>, CentreError> {
        let line = self.member.find(&*self.tables, name)?;
        Ok(self.member.places(&*self.tables, &line.scope, &line.id)?)
    }
}

fn safety_conflicts(open: &OpenRecord) -> Vec<SafetyConflict> {
    let record: &Record = &open.record;
    let disputed = record
        .fields
        .iter()
        .filter(|(_, field)| field.class == Class::Haz && field.conflict);
    disputed
        .map(|(name, field)| {
            let says = |wanted: &[&str]| {
                let said = field
                    .values
                    .iter()
                    .filter_map(|shown| shown.value.as_text());
                said.into_iter().any(|value| wanted.contains(&value))
            };
            let implied = field.values.iter().any(|shown| shown.implied);
            let mut by: Vec<_> = field
                .values
                .iter()
                .map(|shown| (shown.by.clone(), shown.recorded_at_s))
                .collect();
            by.sort_by(|(one, at), (other, later)| at.cmp(later).then(one.cmp(other)));
            SafetyConflict {
                id: open.id.to_string(),
                short_code: short_code(&open.id),
                local_id: record.reads("local_id").as_text().map(str::to_owned),
                kind: record.kind.clone(),
                scope: open.scope_name.clone(),
                field: name.clone(),
                reads: field.reads.as_text().map(str::to_owned),
                by,
                closed_against_evidence: name == "status"
                    && implied
                    && says(&["closed", "handed_over"]),
            }
        })
        .collect()
}
