//! What lists and indexes keep of a record, and by which an import knows it again.

use crate::cbor::encode;
use crate::count::{Count, Totals};
use crate::geometry::{Bounds, Position};
use crate::layout::{assertions, from_scalar, typed_value};
use crate::lineage::Lineage;
use crate::perimeter::{Extent, Perimeter};
use crate::read::{Flag, ReadError, Record};
use crate::schema::{self, Class, Kind};
use crate::value::Value;
use crate::write::Edit;
use automerge::{Automerge, ROOT, ReadDoc};
use cairn_wire::ids::{DocumentId, ScopeId};
use cairn_wire::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Context of an import key's hash.
pub const IMPORT_KEY_CONTEXT: &str = "cairn 2026 import key v1";

/// Fields that say who wrote a record and how, not what it is about.
const NOT_CONTENT: [&str; 6] = [
    "kind",
    "scope",
    "org",
    "created_by",
    "schema_version",
    "external_id",
];

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Kind.
    pub kind: String,
    /// The programme's number; the first one where several stand.
    pub local_id: Option<String>,
    /// Reading of `status`.
    pub status: Option<String>,
    /// Reading of `hazard_class`.
    pub hazard_class: Option<String>,
    /// Of which sort it is where no hazard class is asked: a code of [`category_field`].
    pub category: Option<String>,
    /// People it speaks of: whom a session reached or trained, whom an accident harmed (those who
    /// were unhurt are not counted). `None` where nobody gave a figure: blank is not zero.
    pub people: Option<Count>,
    /// Where to put it on a map: the given place, or the middle of its box.
    pub centre: Option<Position>,
    /// The box round it, or round all places that people gave for it.
    pub bounds: Option<Bounds>,
    /// Area of its reading, m²; nothing where it has no place.
    pub area_m2: Option<u64>,
    /// Fields in conflict.
    pub conflicts: usize,
    /// Fields with proposals.
    pub proposals: usize,
    /// Values that stand in it and whose authors are not verified.
    pub unverified: usize,
    /// Whether it reads as withdrawn.
    pub void: bool,
    /// Reading of `date_of_information`.
    pub date_of_information: Option<String>,
    /// The day it speaks of: of an accident, a session, the first of a visit.
    pub date: Option<String>,
    /// Records of the same thing, as people linked them; the first [`limits::LINKS_LISTED_MAX`].
    pub duplicates_of: Vec<DocumentId>,
    /// Whether part of its extent is only a circle round a place.
    pub extent_not_surveyed: bool,
}

/// Fields that say of which day a record speaks.
const DATES: [&str; 3] = ["date", "session_date", "start_date"];

/// The field that says in one word what a record of a kind is about.
#[must_use]
pub fn category_field(kind: &str) -> Option<&'static str> {
    match kind {
        "survey_visit" => Some("visit_type"),
        "eore_session" => Some("method"),
        "accident" => Some("record_type"),
        _ => None,
    }
}

/// Outcomes of an accident by which nobody was harmed.
const UNHARMED: [&str; 1] = ["unhurt"];

/// See [`Summary::people`]. Those reached and those trained are never added together.
fn people(record: &Record) -> Option<Count> {
    let totals = |field: &str| Some(Totals::of(record, field)).filter(|totals| !totals.is_blank());
    match record.kind.as_str() {
        "eore_session" => Some(totals("reached").or_else(|| totals("trained"))?.all),
        "accident" => {
            let outcomes = totals("casualties")?.by(0).into_iter();
            let harmed = outcomes.filter(|(outcome, _)| !UNHARMED.contains(&outcome.as_str()));
            Some(harmed.fold(Count::default(), |sum, (_, count)| sum.plus(count)))
        }
        _ => None,
    }
}

/// The records that a set of references names, sorted.
#[must_use]
pub fn linked(record: &Record, field: &str) -> BTreeSet<DocumentId> {
    let Value::List(links) = record.reads(field) else {
        return BTreeSet::new();
    };
    let id = |value: &Value| match value {
        Value::Bytes(bytes) => DocumentId::from_slice(bytes),
        _ => None,
    };
    links.iter().filter_map(id).collect()
}

/// Every place that people gave for a record without an extent, each once.
pub(crate) fn places(record: &Record) -> Vec<Position> {
    let values = record.fields.get("position").map(|field| &field.values);
    let given = values.into_iter().flatten().map(|shown| &shown.value);
    let mut places: Vec<Position> = given.filter_map(Value::as_position).collect();
    places.sort_unstable_by_key(|at| (at.lat_e7, at.lon_e7));
    places.dedup();
    places
}

/// Its free texts, as they read.
pub fn texts(record: &Record) -> impl Iterator<Item = &str> {
    let fields = record.definition().into_iter().flat_map(Kind::fields);
    fields
        .filter(|field| field.class == Class::Text)
        .filter_map(|field| record.reads(&field.name).as_text())
}

/// The row of a record.
#[must_use]
pub fn summary(record: &Record) -> Summary {
    let text = |field: &str| record.reads(field).as_text().map(str::to_owned);
    let places = places(record);
    let bounds = record
        .bounds()
        .or_else(|| Bounds::of(places.iter().copied()));
    let given = match record
        .reads("perimeter")
        .as_perimeter()
        .map(|one| &one.extent)
    {
        Some(Extent::Circle { centre, .. }) => Some(*centre),
        _ => bounds.map(|bounds| bounds.centre()),
    };
    let first_id = || {
        let values = record.fields.get("local_id").map(|field| &field.values);
        let first = values.and_then(|values| values.first());
        first
            .and_then(|shown| shown.value.as_text())
            .map(str::to_owned)
    };
    Summary {
        kind: record.kind.clone(),
        local_id: text("local_id").or_else(first_id),
        status: text("status"),
        hazard_class: text("hazard_class"),
        category: category_field(&record.kind).and_then(text),
        people: people(record),
        centre: given,
        bounds,
        area_m2: record.region().map(crate::geometry::Region::area_m2),
        conflicts: record.conflicts(),
        proposals: record.proposals(),
        unverified: record.unverified(),
        void: record.is_void(),
        date_of_information: text("date_of_information"),
        date: DATES.iter().find_map(|field| text(field)),
        duplicates_of: linked(record, "duplicates_of")
            .into_iter()
            .take(limits::LINKS_LISTED_MAX)
            .collect(),
        extent_not_surveyed: record.flags.contains(&Flag::ExtentNotSurveyed),
    }
}

/// By which an import knows a record again: scope, kind, and either its identity in the source
/// (`external_id`) or all content of its first change, rings as drawn. Who wrote it is left out,
/// so that two devices importing one file agree.
///
/// # Errors
///
/// Where the document is no record.
pub fn import_key(document: &Automerge, scope: &ScopeId) -> Result<[u8; 32], ReadError> {
    let root = Lineage::of(document).root().ok_or(ReadError::Empty)?;
    let at = [automerge::ChangeHash(root.0)];
    // What was never edited reads faster as it is than as it was.
    let unedited = document.get_heads() == at;
    let scalar = |key: &str| {
        let found = match unedited {
            true => document.get(ROOT, key),
            false => document.get_at(ROOT, key, &at),
        };
        let (value, _) = found.ok()??;
        value.as_scalar().cloned()
    };
    let name = scalar("kind").map(|scalar| from_scalar(&scalar, None));
    let Some(Value::Text(name)) = name else {
        return Err(ReadError::NoKind);
    };
    let kind = schema::kind(&name);
    let mut content = Content::new(scope, &name);
    let keys = match unedited {
        true => document.keys(ROOT),
        false => document.keys_at(ROOT, &at),
    };
    for key in keys {
        if let Some(field) = key.strip_prefix('+') {
            let field_type = crate::json::field_type(kind, field);
            for stored in assertions(document, field) {
                let value = stored.assertion.and_then(|assertion| assertion.value);
                if let Some(value) = value.filter(|_| stored.change == root) {
                    let value = typed_value(&value, field_type).unwrap_or_else(|raw| raw);
                    content.add(field, value);
                }
            }
        } else if let Some(scalar) = scalar(&key) {
            content.add(
                &key,
                from_scalar(&scalar, crate::json::field_type(kind, &key)),
            );
        } else {
            let values = document
                .get_all_at(ROOT, key.as_str(), &at)
                .unwrap_or_default();
            for (_, text) in values {
                if let Ok(text) = document.text_at(&text, &at) {
                    content.add(&key, Value::Text(text));
                }
            }
        }
    }
    Ok(content.key())
}

/// The import key that a record made of these edits will have: [`import_key`] before writing.
#[must_use]
pub fn import_key_of(kind: &Kind, scope: &ScopeId, edits: &[Edit]) -> [u8; 32] {
    let mut content = Content::new(scope, &kind.name);
    for edit in edits {
        match edit {
            Edit::Set { field, value, .. } => {
                let class = kind.field(field).map(|field| field.class);
                if class != Some(Class::Haz) {
                    content.forget(field, value);
                }
                content.add(field, value.clone());
            }
            Edit::Add { field, value } => content.add(field, value.clone()),
            Edit::Text { field, text } => {
                let text = Value::Text(text.clone());
                content.forget(field, &text);
                content.add(field, text);
            }
            Edit::Place { field, at } => {
                let radius_m = crate::write::radius(None, edits);
                content.add(field, Value::Perimeter(Perimeter::circle(*at, radius_m)));
            }
            Edit::Remove { .. } | Edit::Decide(_) => {}
        }
    }
    content.key()
}

struct Content<'a> {
    scope: &'a ScopeId,
    kind: &'a str,
    external_id: Option<Value>,
    fields: BTreeMap<String, Vec<Vec<u8>>>,
}

impl<'a> Content<'a> {
    fn new(scope: &'a ScopeId, kind: &'a str) -> Self {
        Self {
            scope,
            kind,
            external_id: None,
            fields: BTreeMap::new(),
        }
    }

    fn add(&mut self, field: &str, value: Value) {
        if field == "external_id" {
            self.external_id = Some(value);
        } else if !NOT_CONTENT.contains(&field) && value != Value::Null {
            self.fields
                .entry(field.to_owned())
                .or_default()
                .push(encode(&value));
        }
    }

    /// A value that is written over.
    fn forget(&mut self, field: &str, written: &Value) {
        if *written != Value::Null {
            self.fields.remove(field);
        }
    }

    fn key(mut self) -> [u8; 32] {
        let list = |values: Vec<Value>| encode(&Value::List(values));
        let content = match self.external_id.take() {
            Some(id) => list(vec![Value::from("external_id"), id]),
            None => {
                let fields = self.fields.into_iter().map(|(name, mut values)| {
                    values.sort_unstable();
                    let values = values.into_iter().map(Value::Bytes).collect();
                    Value::List(vec![Value::Text(name), Value::List(values)])
                });
                list(fields.collect())
            }
        };
        let kind = encode(&Value::from(self.kind));
        cairn_wire::hash::derive(IMPORT_KEY_CONTEXT, &[&self.scope.0, &kind, &content])
    }
}
