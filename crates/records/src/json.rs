//! Records as scripts see them: `cairn.record/1`.

use crate::count;
use crate::geometry::Region;
use crate::perimeter::shape_to_geojson;
use crate::read::{FieldReading, Record, Shown};
use crate::schema::{FieldType, Kind, Unit};
use crate::suggestion::{Suggestion, suggestions};
use crate::value::{Value, hex};
use serde_json::{Map, Value as Json, json};

/// Boundaries of one area that are compared with each other, at most.
const COMPARED_MAX: usize = 8;

impl Record {
    /// The object that `cairn show --json` prints, without what only the device knows.
    #[must_use]
    pub fn to_json(&self, id: &str, scope: &str) -> Json {
        let fields: Map<String, Json> = self
            .fields
            .iter()
            .map(|(name, field)| (name.clone(), field.to_json(self.field_type(name))))
            .collect();
        let totals = count::derived(self);
        let mut derived: Map<String, Json> = totals
            .iter()
            .map(|(field, totals)| (field.clone(), totals.to_json()))
            .collect();
        if !derived.is_empty() {
            derived.insert("method".into(), json!(count::DERIVED_METHOD));
        }
        json!({
            "schema": "cairn.record/1",
            "id": id,
            "kind": self.kind,
            "scope": scope,
            "root": self.root.to_string(),
            "heads": self.heads.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "conflicts": self.conflicts(),
            "proposals": self.proposals(),
            "flags": self.flags.iter().map(|flag| flag.name()).collect::<Vec<_>>(),
            "approval": self.approval.name(),
            "suggestions": suggestions(self).iter().map(Suggestion::to_json).collect::<Vec<_>>(),
            "derived": derived,
            "fields": fields,
        })
    }

    /// The fields that `cairn conflicts --json` lists: those with a conflict or a proposal.
    #[must_use]
    pub fn open_questions(&self, id: &str) -> Vec<Json> {
        let open = |field: &FieldReading| {
            field.conflict || field.values.iter().any(|shown| shown.proposal)
        };
        self.fields
            .iter()
            .filter(|(_, field)| open(field))
            .map(|(name, field)| {
                let mut json = field.to_json(self.field_type(name));
                if let Some(object) = json.as_object_mut() {
                    object.insert("id".into(), json!(id));
                    object.insert("field".into(), json!(name));
                }
                json
            })
            .collect()
    }

    fn field_type(&self, name: &str) -> Option<&'static FieldType> {
        field_type(self.definition(), name)
    }
}

/// The type of a field of a kind.
pub(crate) fn field_type(kind: Option<&'static Kind>, name: &str) -> Option<&'static FieldType> {
    kind.and_then(|kind| kind.field(name))
        .map(|field| &field.field_type)
}

impl FieldReading {
    /// `{"reads":…,"values":[…],"conflict":…}` and what else is to be known.
    #[must_use]
    pub fn to_json(&self, field_type: Option<&FieldType>) -> Json {
        let reads = match (&self.reads, &self.region) {
            (Value::Perimeter(_), Some(region)) if self.values.len() > 1 => json!({
                "extent": if self.surveyed() { "surveyed" } else { "not surveyed" },
                "area_m2": region.area_m2(),
                "geometry": shape_to_geojson(region.polygons()),
            }),
            (reads, _) => present(reads, field_type),
        };
        let mut values: Vec<Json> = self
            .values
            .iter()
            .map(|shown| shown.to_json(field_type))
            .collect();
        for (at, only_m2) in self.only_in_one() {
            if let Some(object) = values.get_mut(at).and_then(Json::as_object_mut) {
                object.insert("only_here_m2".into(), json!(only_m2));
            }
        }
        let mut json = json!({
            "reads": reads,
            "values": values,
            "conflict": self.conflict,
        });
        if self.assumed
            && let Some(object) = json.as_object_mut()
        {
            object.insert("assumed".into(), json!(true));
        }
        json
    }

    /// How much land each of several boundaries takes in that no other does, in m²: two boundaries of
    /// one size may be one, moved.
    fn only_in_one(&self) -> Vec<(usize, u64)> {
        let regions: Vec<(usize, Region)> = self
            .values
            .iter()
            .enumerate()
            .filter_map(|(at, shown)| Some((at, shown.value.as_perimeter()?.region())))
            .collect();
        if !(2..=COMPARED_MAX).contains(&regions.len()) {
            return Vec::new();
        }
        let area_without = |left_out: Option<usize>| {
            let of: Vec<Region> = regions
                .iter()
                .filter(|(at, _)| Some(*at) != left_out)
                .map(|(_, region)| region.clone())
                .collect();
            Region::union(&of).area_m2()
        };
        let all = area_without(None);
        regions
            .iter()
            .map(|(at, _)| (*at, all.saturating_sub(area_without(Some(*at)))))
            .collect()
    }

    fn surveyed(&self) -> bool {
        let perimeters = self
            .values
            .iter()
            .filter_map(|shown| shown.value.as_perimeter());
        let mut perimeters = perimeters;
        perimeters.all(crate::perimeter::Perimeter::surveyed)
    }
}

impl Shown {
    /// `{"value":…,"change":…,"by":…,"recorded_at":…,"proposal":…,"verified":…}` and what else
    /// is to be known.
    #[must_use]
    pub fn to_json(&self, field_type: Option<&FieldType>) -> Json {
        let mut json = json!({
            "letter": self.letter,
            "value": present(&self.value, field_type),
            "change": self.change.to_string(),
            "by": self.by,
            "device": self.device.to_string(),
            "recorded_at": self.recorded_at_s.and_then(utc),
            "proposal": self.proposal,
            "verified": self.verified,
        });
        if let Some(object) = json.as_object_mut() {
            let marks = [
                ("removes", self.removes),
                ("decision", self.decision),
                ("implied", self.implied),
            ];
            for (name, _) in marks.into_iter().filter(|(_, set)| *set) {
                object.insert(name.into(), json!(true));
            }
            if let Some(reason) = &self.reason {
                object.insert("reason".into(), json!(reason));
            }
        }
        json
    }
}

/// A value by its field's type: positions as degrees, tenths as metres and degrees, references as ids.
#[must_use]
pub fn present(value: &Value, field_type: Option<&FieldType>) -> Json {
    match (field_type, value) {
        (Some(FieldType::Position), Value::List(_)) => match value.as_position() {
            Some(at) => json!({ "lat": at.lat(), "lon": at.lon() }),
            None => value.to_json(),
        },
        (Some(FieldType::Entry(_)), Value::List(entries)) => entries
            .iter()
            .map(|entry| present(entry, field_type))
            .collect(),
        (Some(FieldType::Entry(parts)), Value::Map(entry)) => {
            let named = |(name, value): (&String, &Value)| {
                let part = parts.iter().find(|part| part.name == *name);
                (
                    name.clone(),
                    present(value, part.map(|part| &part.field_type)),
                )
            };
            Json::Object(entry.iter().map(named).collect())
        }
        (
            Some(FieldType::Integer {
                unit: Unit::Dm | Unit::TenthDegree,
                ..
            }),
            Value::Int(tenths),
        ) => json!(*tenths as f64 / 10.0),
        (_, Value::Bytes(bytes)) => json!(hex(bytes)),
        _ => value.to_json(),
    }
}

/// ISO 8601 in UTC, to the second.
#[must_use]
pub fn utc(seconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    Some(at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;
    use crate::schema;

    #[test]
    fn what_is_shown_goes_back_in_as_it_was() {
        let kind = schema::kind("hazardous_area").expect("the kind is there");
        let field = kind.field("points").expect("the field is there");
        let given = json!({
            "type": "turning",
            "bearing": 45.5,
            "bearing_reference": "true",
            "distance": 12.3,
        });
        let value = input::from_json("points", &field.field_type, &given).expect("a point");
        let shown = present(&value, Some(&field.field_type));
        assert_eq!(shown, given);
        let again = input::from_json("points", &field.field_type, &shown).expect("a point");
        assert_eq!(again, value);
    }
}
