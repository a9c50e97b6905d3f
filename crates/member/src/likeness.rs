//! What lists say beside a record: which others are probably the same, and what is doubtful.

use crate::Member;
use crate::alike;
use crate::catalogue;
use crate::error::{MemberError, RequestError};
use cairn_keys::Membership;
use cairn_records::duplicate::Seen;
use cairn_records::geometry::Position;
use cairn_records::{Doubt, Duplicates, Likeness, Record, Value, doubt};
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, ScopeId};
use std::collections::BTreeSet;

/// Records of a scope that are asked where others lie.
const OTHERS_ASKED_MAX: usize = 256;
/// Lines that are looked at together.
const LINES_TOGETHER: usize = 4096;

impl Member {
    /// Records that are probably the same as others here, by record. Which they are is known before;
    /// only their lines are looked at, to say with which others and why.
    pub fn duplicates(&self, store: &dyn Store) -> Result<Duplicates, MemberError> {
        let tables = self.tables(store);
        let totals = catalogue::totals(&tables)?;
        if totals.values().all(|totals| totals.duplicates == 0) {
            return Ok(Duplicates::new());
        }
        let mut alike = Vec::new();
        // Which accidents of a day are compared depends on all of them.
        let mut accidents = Vec::new();
        let mut near = false;
        catalogue::each_head(&tables, None, &mut |at, head| {
            near |= head.is_alike_by(Likeness::SameDayNearby);
            if head.is_alike() {
                alike.push(at);
            } else if head.kind == "accident" && !head.is_void() {
                accidents.push(at);
            }
            Ok(true)
        })?;
        if near {
            alike.append(&mut accidents);
        }
        alike.sort_unstable();
        let mut seen = Seen::default();
        for some in alike.chunks(LINES_TOGETHER) {
            for line in catalogue::lines(&tables, some)? {
                seen.add(line.id, &line.summary);
            }
        }
        Ok(seen.duplicates())
    }

    /// Those that are probably the same as this one, as [`Self::duplicates`] says it: only the lines of
    /// records that share something with it are looked at.
    pub fn duplicates_of(
        &self,
        store: &dyn Store,
        scope: &ScopeId,
        id: &DocumentId,
    ) -> Result<BTreeSet<(DocumentId, Likeness)>, MemberError> {
        let tables = self.tables(store);
        let Some(line) = catalogue::line(&tables, scope, id)? else {
            return Ok(BTreeSet::new());
        };
        let mut seen = Seen::default();
        for (scope, id) in alike::sharing(&tables, &line)? {
            if let Some(line) = catalogue::line(&tables, &scope, &id)? {
                seen.add(line.id, &line.summary);
            }
        }
        Ok(seen.duplicates().remove(id).unwrap_or_default())
    }

    /// What is doubtful about the record that goes by a name, by this device's clock.
    pub fn doubts(
        &self,
        store: &dyn Store,
        membership: &Membership,
        name: &str,
        now_s: i64,
    ) -> Result<Vec<Doubt>, MemberError> {
        let line = self.find(store, name)?;
        let opened = self
            .open_document(store, membership, &line.scope, &line.id)?
            .ok_or_else(|| RequestError::NotFound(name.to_owned()))?;
        let record = opened.record()?;
        let latest_day = doubt::latest_day(now_s);
        let mut doubts = doubt::doubts(&record, latest_day.as_deref());
        let places = places(&record);
        if !places.is_empty() {
            let others = self.places_of_others(store, &line.scope, &line.id)?;
            if let Some(bounds) = doubt::where_others_lie(&others) {
                let swapped = places.iter();
                doubts
                    .extend(swapped.filter_map(|(field, at)| doubt::swapped(field, *at, &bounds)));
            }
        }
        Ok(doubts)
    }

    fn places_of_others(
        &self,
        store: &dyn Store,
        scope: &ScopeId,
        id: &DocumentId,
    ) -> Result<Vec<Position>, MemberError> {
        let mut places = Vec::new();
        self.each_line(store, Some(scope), &mut |line| {
            if line.id != *id {
                places.extend(line.summary.centre);
            }
            Ok(places.len() < OTHERS_ASKED_MAX)
        })?;
        Ok(places)
    }
}

/// Where people said that it is, by field.
fn places(record: &Record) -> Vec<(&str, Position)> {
    let mut places = Vec::new();
    for (name, field) in &record.fields {
        for shown in &field.values {
            let at = match &shown.value {
                Value::Perimeter(perimeter) => {
                    perimeter.region().bounds().map(|bounds| bounds.centre())
                }
                value if name == "position" => value.as_position(),
                _ => None,
            };
            places.extend(at.map(|at| (name.as_str(), at)));
        }
    }
    places
}
