//! Records that probably speak of one thing. They are flagged, never blocked, never renamed.

use crate::geometry::{Position, distance_m};
use crate::summary::Summary;
use cairn_wire::ids::DocumentId;
use cairn_wire::limits::DUPLICATES_LISTED_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// How near two accidents of one day lie that may be one, in metres.
pub const NEAR_M: f64 = 500.0;
/// More than [`NEAR_M`] of latitude, in 1e-7 degree.
const NEAR_LATITUDE_E7: i32 = 50_000;
/// Records to which one is compared; more at one place are no chance.
const COMPARED_MAX: usize = 64;

/// Why two records may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Somebody linked them.
    Linked,
    /// They bear one number.
    SameNumber,
    /// Accidents of one day within [`NEAR_M`].
    SameDayNearby,
}

impl Likeness {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::SameNumber => "same_number",
            Self::SameDayNearby => "same_day_nearby",
        }
    }

    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Linked => "linked as a duplicate",
            Self::SameNumber => "bears the same number",
            Self::SameDayNearby => "an accident of the same day within 500 m",
        }
    }
}

/// By record, the others that are probably the same; records without any are left out.
pub type Duplicates = BTreeMap<DocumentId, BTreeSet<(DocumentId, Likeness)>>;

/// Looks through lines of records. Withdrawn ones are settled and left out.
#[must_use]
pub fn duplicates<'a>(rows: impl IntoIterator<Item = (DocumentId, &'a Summary)>) -> Duplicates {
    let mut seen = Seen::default();
    for (id, summary) in rows {
        seen.add(id, summary);
    }
    seen.duplicates()
}

/// What is kept of lines while looking through them: little of each.
#[derive(Debug, Default)]
pub struct Seen {
    held: BTreeSet<DocumentId>,
    links: Vec<(DocumentId, DocumentId)>,
    numbers: BTreeMap<String, Vec<DocumentId>>,
    accidents: BTreeMap<String, Vec<(Position, DocumentId)>>,
}

impl Seen {
    /// Takes a line in.
    pub fn add(&mut self, id: DocumentId, summary: &Summary) {
        if summary.void {
            return;
        }
        self.held.insert(id);
        let links = summary.duplicates_of.iter();
        self.links.extend(links.map(|other| (id, *other)));
        if let Some(number) = &summary.local_id {
            self.numbers.entry(number.clone()).or_default().push(id);
        }
        let date = summary.date.as_ref();
        let day = date.filter(|date| whole_day(&summary.kind, date));
        if let (Some(day), Some(at)) = (day, summary.centre) {
            let of_day = self.accidents.entry(day.clone()).or_default();
            of_day.push((at, id));
        }
    }

    /// What was found, the same whatever the order of the lines.
    #[must_use]
    pub fn duplicates(mut self) -> Duplicates {
        let mut found = Duplicates::new();
        self.links.sort_unstable();
        for (one, other) in &self.links {
            if self.held.contains(other) {
                pair(&mut found, *one, *other, Likeness::Linked);
            }
        }
        for records in self.numbers.values_mut() {
            records.sort_unstable();
            for (index, one) in records.iter().enumerate() {
                for other in records.iter().skip(index + 1).take(COMPARED_MAX) {
                    pair(&mut found, *one, *other, Likeness::SameNumber);
                }
            }
        }
        for records in self.accidents.values_mut() {
            for (one, other) in near_of_day(records) {
                pair(&mut found, one, other, Likeness::SameDayNearby);
            }
        }
        found
    }
}

/// Whether a record of this kind is compared with others of its date: accidents of a whole day are.
#[must_use]
pub fn whole_day(kind: &str, date: &str) -> bool {
    kind == "accident" && date.len() == 10
}

/// Of the accidents of one day, those that may be one; sorts them.
#[must_use]
pub fn near_of_day(accidents: &mut [(Position, DocumentId)]) -> Vec<(DocumentId, DocumentId)> {
    let mut pairs = Vec::new();
    accidents.sort_unstable_by_key(|(at, id)| (at.lat_e7, *id));
    for (index, (at, one)) in accidents.iter().enumerate() {
        let following = accidents.iter().skip(index + 1).take(COMPARED_MAX);
        let beside =
            following.take_while(|(there, _)| there.lat_e7 - at.lat_e7 <= NEAR_LATITUDE_E7);
        for (there, other) in beside {
            if distance_m(*at, *there) <= NEAR_M {
                pairs.push((*one, *other));
            }
        }
    }
    pairs
}

fn pair(found: &mut Duplicates, one: DocumentId, other: DocumentId, likeness: Likeness) {
    if one == other {
        return;
    }
    for (one, other) in [(one, other), (other, one)] {
        let others = found.entry(one).or_default();
        if others.len() < DUPLICATES_LISTED_MAX {
            others.insert((other, likeness));
        }
    }
}
