//! What lists say beside a record: which others are probably the same, and what is doubtful.

use crate::Member;
use crate::error::{MemberError, RequestError};
use cairn_keys::Membership;
use cairn_records::duplicate::Seen;
use cairn_records::geometry::Position;
use cairn_records::{Doubt, Duplicates, Record, Value, doubt};
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, ScopeId};

/// Records of a scope that are asked where others lie.
const OTHERS_ASKED_MAX: usize = 256;

impl Member {
    /// Records that are probably the same as others here, by record.
    pub fn duplicates(&self, store: &dyn Store) -> Result<Duplicates, MemberError> {
        let mut seen = Seen::default();
        self.each_line(store, None, &mut |line| {
            seen.add(line.id, &line.summary);
            Ok(true)
        })?;
        Ok(seen.duplicates())
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
