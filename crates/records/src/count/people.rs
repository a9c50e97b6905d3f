//! People whom sessions reached: contacts, first-time, and how many persons that may be.

use super::{Count, Totals, grouped};
use crate::read::Record;
use crate::schema::code_list;
use crate::summary::linked;
use crate::value::Value;
use cairn_wire::ids::DocumentId;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Sessions that do not say whether they are direct, indirect or training.
const UNSTATED: &str = "unstated";

/// What counting needs of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    id: DocumentId,
    duplicates_of: BTreeSet<DocumentId>,
    category: String,
    scheme: String,
    community: Option<DocumentId>,
    reached: Totals,
    first_time: Totals,
    trained: Totals,
    media_audience: Option<Count>,
}

impl Session {
    /// Of a record; nothing of other kinds and of what was withdrawn.
    #[must_use]
    pub fn of(id: DocumentId, record: &Record) -> Option<Self> {
        let text = |field: &str| record.reads(field).as_text().unwrap_or(UNSTATED).to_owned();
        let community = match record.reads("community") {
            Value::Bytes(id) => DocumentId::from_slice(id),
            _ => None,
        };
        (record.kind == "eore_session" && !record.is_void()).then(|| Self {
            id,
            duplicates_of: linked(record, "duplicates_of"),
            category: text("category"),
            scheme: text("age_bands"),
            community,
            reached: Totals::of(record, "reached"),
            first_time: Totals::of(record, "first_time"),
            trained: Totals::of(record, "trained"),
            media_audience: record.fields.get("media_audience").map(Count::stated),
        })
    }

    /// The same session recorded twice: nobody knows which figures are right.
    fn either(self, other: &Self) -> Self {
        Self {
            reached: self.reached.either(&other.reached),
            first_time: self.first_time.either(&other.first_time),
            trained: self.trained.either(&other.trained),
            media_audience: match (self.media_audience, other.media_audience) {
                (Some(one), Some(two)) => Some(one.either(two)),
                (one, two) => one.or(two),
            },
            ..self
        }
    }
}

/// What the sessions of one category and period come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Persons {
    /// Sessions' records, linked duplicates once.
    pub records: u64,
    /// Everybody counted each time.
    pub contacts: Totals,
    /// Those who said that it was their first session; blank where no session asked.
    pub first_time: Totals,
    /// Persons there are in any case.
    pub at_least: Count,
    /// Persons there can be.
    pub at_most: Count,
}

/// What the sessions of one period come to. Its parts are never added together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    /// By category: direct, indirect, training, or unstated.
    pub by_category: BTreeMap<String, Persons>,
    /// People trained to teach others.
    pub trained: Totals,
    /// The largest estimate of a media audience, and how many records give one. Estimates are not
    /// added to each other either: one listener hears two broadcasts.
    pub media_largest: Option<Count>,
    /// Records that give one.
    pub media_records: u64,
}

impl Sessions {
    /// How they are counted.
    pub const METHOD: &'static str = "contacts: everybody each time. First-time: as declared. Persons, at least: per community the largest session per sex and age band, added; persons of unknown sex or age only as far as one session alone has more; sessions without a community as one. Persons, at most: first-time as declared, else contacts, capped by the population. Direct, indirect, training and media are never added together. Linked duplicates count once, from the smallest to the largest figure; where people disagree, from the smallest to the largest.";

    /// Counts the sessions of one period. `population` is by community, where it is known.
    #[must_use]
    pub fn of(sessions: &[Session], population: &BTreeMap<DocumentId, u64>) -> Self {
        let mut counted = Self::default();
        let mut places: BTreeMap<(String, Option<DocumentId>), Vec<Session>> = BTreeMap::new();
        for group in grouped(sessions, |one| one.id, |one| &one.duplicates_of) {
            let mut group = group.into_iter();
            let Some(first) = group.next() else { continue };
            let once = group.fold(first.clone(), Session::either);
            counted.trained.plus(&once.trained);
            if let Some(audience) = once.media_audience {
                let largest = counted.media_largest.unwrap_or(audience);
                counted.media_largest = Some(largest.larger(audience));
                counted.media_records += 1;
            }
            let place = (once.category.clone(), once.community);
            places.entry(place).or_default().push(once);
        }
        for ((category, community), here) in places {
            let population = community.and_then(|community| population.get(&community));
            let persons = counted.by_category.entry(category).or_default();
            persons.add(&here, population.copied());
        }
        counted
    }

    /// For reports.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let categories = self.by_category.iter();
        let categories: serde_json::Map<String, Json> = categories
            .map(|(category, persons)| (category.clone(), persons.to_json()))
            .collect();
        json!({
            "by_category": categories,
            "trained": self.trained.to_json(),
            "media": {
                "records": self.media_records,
                "largest_estimate": self.media_largest.map(Count::to_json),
            },
            "method": Self::METHOD,
        })
    }
}

impl Persons {
    /// Adds the sessions of one community.
    fn add(&mut self, sessions: &[Session], population: Option<u64>) {
        let mut possible = Count::default();
        for session in sessions {
            self.records += 1;
            self.contacts.plus(&session.reached);
            self.first_time.plus(&session.first_time);
            possible = possible.plus(match session.first_time.is_blank() {
                true => session.reached.all,
                false => session.first_time.all,
            });
        }
        let certain = at_least(sessions);
        if let Some(population) = population {
            possible.least = possible.least.min(population);
            possible.most = possible.most.min(population);
        }
        self.at_least = self.at_least.plus(certain);
        // Who came again came first in another period.
        self.at_most = self.at_most.plus(possible.larger(certain));
    }

    fn to_json(&self) -> Json {
        json!({
            "records": self.records,
            "contacts": self.contacts.to_json(),
            "first_time": match self.first_time.is_blank() {
                true => Json::Null,
                false => self.first_time.to_json(),
            },
            "persons_at_least": self.at_least.to_json(),
            "persons_at_most": self.at_most.to_json(),
        })
    }
}

/// Persons that the sessions of one community come to in any case. Bands of different schemes
/// overlap, so of each sex and side of the boundary at 18 the larger scheme counts.
fn at_least(sessions: &[Session]) -> Count {
    type Cell<'a> = (&'a str, &'a str, &'a str);
    let mut largest: BTreeMap<Cell<'_>, BTreeMap<&str, Count>> = BTreeMap::new();
    let mut one_session = Count::default();
    for session in sessions {
        one_session = one_session.larger(session.reached.all);
        for (codes, count) in &session.reached.cells {
            let [sex, band] = codes.as_slice() else {
                continue;
            };
            let group = group_of(band);
            if sex == "unknown" || group == "unknown" {
                continue;
            }
            let cell = (sex.as_str(), group, session.scheme.as_str());
            let band = largest.entry(cell).or_default().entry(band).or_default();
            *band = band.larger(*count);
        }
    }
    let mut sides: BTreeMap<(&str, &str), Count> = BTreeMap::new();
    for ((sex, group, _), bands) in largest {
        let scheme = bands.into_values().fold(Count::default(), Count::plus);
        let side = sides.entry((sex, group)).or_default();
        *side = side.larger(scheme);
    }
    let known = sides.into_values().fold(Count::default(), Count::plus);
    known.larger(one_session)
}

/// Below 18, 18 and over, or nobody knows: also for bands that this version does not know.
fn group_of(band: &str) -> &'static str {
    let band = code_list("age_band").and_then(|list| list.code(band));
    band.and_then(|band| band.group.as_deref())
        .unwrap_or("unknown")
}
