//! What lists say beside a record: which others are probably the same, and what is doubtful.

use crate::Member;
use crate::catalogue;
use crate::error::{MemberError, RequestError};
use crate::line::LineBytes;
use cairn_keys::Membership;
use cairn_records::duplicate::Seen;
use cairn_records::geometry::Position;
use cairn_records::{Doubt, Duplicates, Record, Value, doubt};
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, ScopeId};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Records of a scope that are asked where others lie.
const OTHERS_ASKED_MAX: usize = 256;

impl Member {
    /// Records that are probably the same as others here, by record.
    pub fn duplicates(&self, store: &dyn Store) -> Result<Duplicates, MemberError> {
        let tables = self.tables(store);
        // Most records share nothing with another one: they are told by a hash of their number, and
        // only the rest are compared.
        let mut numbers: Vec<u64> = Vec::new();
        let mut linked: HashSet<DocumentId> = HashSet::new();
        let mut accidents = false;
        catalogue::each(&tables, None, &mut |_, bytes| {
            let line = LineBytes::read(bytes)?;
            if !line.void {
                numbers.extend(line.local_id.map(hash_of));
                accidents |= line.kind == "accident";
                for other in line.links() {
                    linked.extend([line.id, other]);
                }
            }
            Ok(true)
        })?;
        numbers.sort_unstable();
        let twice = numbers.windows(2).filter(|two| two[0] == two[1]);
        let shared: HashSet<u64> = twice.map(|two| two[0]).collect();
        let mut seen = Seen::default();
        if !(shared.is_empty() && linked.is_empty() && !accidents) {
            catalogue::each(&tables, None, &mut |scope, bytes| {
                let line = LineBytes::read(bytes)?;
                let compared = line.kind == "accident"
                    || linked.contains(&line.id)
                    || line
                        .local_id
                        .is_some_and(|id| shared.contains(&hash_of(id)));
                if compared {
                    seen.add(line.id, &line.to_line(*scope).summary);
                }
                Ok(true)
            })?;
        }
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

fn hash_of(number: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish()
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
