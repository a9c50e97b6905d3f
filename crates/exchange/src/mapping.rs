//! Which property of a file goes into which field, as a person asks for it.

use std::collections::BTreeMap;

use cairn_records::{
    input,
    schema::{FieldType, Kind, Unit},
};
use serde_json::Value as Json;

use crate::{fault::FileFault, geojson::Outline, import::place_field, places::PlaceSource};

/// Field that holds what `--key` names.
pub(crate) const KEY_FIELD: &str = "external_id";

/// What stands for the place of any kind of record, in a mapping and as the name of a column.
const POSITION: &str = "position";

/// Which property of a file goes into which field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Property by field, with the unit of its bare numbers behind a colon where it is not the
    /// field's own (`AREA:ha`). Properties that bear a field's name go there without being named
    /// here. `position` stands for the place of any kind: `LATITUDE,LONGITUDE` for two
    /// properties, or one that holds both.
    pub properties: BTreeMap<String, String>,
    /// The property that identifies a row in the system it came from (instanceID of ODK and Kobo).
    pub key: Option<String>,
}

/// Where a field's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub property: String,
    unit: Option<String>,
}

impl Source {
    /// A property's value, with the unit that was named for bare numbers.
    pub fn value(&self, value: &Json) -> Json {
        let bare = match value {
            Json::Number(number) => Some(number.to_string()),
            Json::String(text) if text.trim().ends_with(|c: char| c.is_ascii_digit()) => {
                Some(text.trim().to_owned())
            }
            _ => None,
        };
        match (bare, &self.unit) {
            (Some(number), Some(unit)) => Json::from(format!("{number} {unit}")),
            _ => value.clone(),
        }
    }
}

impl Mapping {
    /// Adds one `FIELD=PROPERTY` or `FIELD=PROPERTY:UNIT`.
    ///
    /// # Errors
    ///
    /// Where it is not of that form or names a field twice.
    pub fn add(&mut self, text: &str) -> Result<(), FileFault> {
        let (field, property) = text.split_once('=').unwrap_or_default();
        let (field, property) = (field.trim(), property.trim());
        if field.is_empty() || property.is_empty() {
            return Err(bad_map(
                format!("“{text}” does not say which property goes into which field."),
                "Write --map FIELD=PROPERTY, for example --map local_id=ID_NUMBER.",
            ));
        }
        let before = self
            .properties
            .insert(field.to_owned(), property.to_owned());
        if before.is_some() {
            return Err(bad_map(
                format!("The field {field} is mapped twice."),
                "Name one property for each field.",
            ));
        }
        Ok(())
    }

    /// Holds the mapping against a kind and a file: what goes into which field, and where the
    /// place stands if that was said.
    pub(crate) fn resolve(
        &self,
        kind: &'static Kind,
        outline: &Outline,
    ) -> Result<(BTreeMap<String, Source>, Option<PlaceSource>), FileFault> {
        if let Some(key) = &self.key {
            there(outline, key)?;
        }
        let own_place = place_field(kind).map(|(name, _)| name);
        let is_place =
            |path: &str| own_place.is_some() && (path == POSITION || Some(path) == own_place);
        let (mut sources, mut place) = (BTreeMap::new(), None);
        for (path, property) in &self.properties {
            if is_place(path) {
                let named = place_source(property, outline)?;
                if place.replace(named).is_some() {
                    return Err(bad_map(
                        "The place is mapped twice.".to_owned(),
                        "Name it once: --map position=LATITUDE,LONGITUDE.",
                    ));
                }
            } else {
                let source = source(kind, path, property, outline)?;
                sources.insert(path.clone(), source);
            }
        }
        Ok((sources, place))
    }
}

/// One property that holds a place, or two with a comma between, north first.
fn place_source(named: &str, outline: &Outline) -> Result<PlaceSource, FileFault> {
    let has = |name: &str| outline.properties.iter().any(|property| property == name);
    if has(named) {
        there(outline, named)?;
        return Ok(PlaceSource::Text(named.to_owned()));
    }
    // Names may hold commas themselves.
    let pairs = named.match_indices(',').map(|(at, _)| named.split_at(at));
    let trimmed = pairs.map(|(north, east)| (north.trim(), east.trim_start_matches(',').trim()));
    let mut found = trimmed
        .clone()
        .filter(|(north, east)| has(north) && has(east));
    if let Some((north, east)) = found.next() {
        there(outline, north)?;
        there(outline, east)?;
        return Ok(PlaceSource::Pair {
            north: north.to_owned(),
            east: east.to_owned(),
        });
    }
    match trimmed.clone().next() {
        Some((north, east)) => there(outline, if has(north) { east } else { north })?,
        None => there(outline, named)?,
    }
    Err(bad_map(
        format!("“{named}” does not name where the place stands."),
        "Write --map position=LATITUDE,LONGITUDE, or --map position=COLUMN.",
    ))
}

/// Where a table's places stand by the names of its columns: well-known text, then latitude and
/// longitude, or with a reference system in metres northing and easting, then `position`, the
/// field's own name, as people write a place.
pub(crate) fn places_by_name(columns: &[String], metres: bool) -> Vec<PlaceSource> {
    let find = |wanted: &str| {
        let mut same = columns
            .iter()
            .filter(|name| name.eq_ignore_ascii_case(wanted));
        // Two of one name say nothing.
        same.next().filter(|_| same.next().is_none()).cloned()
    };
    let mut places = Vec::new();
    let texts = ["geometry_wkt", "wkt"].into_iter().filter_map(find);
    places.extend(texts.take(1).map(PlaceSource::Text));
    let pairs: &[(&str, &str)] = match metres {
        true => &[("northing", "easting"), ("utm_y", "utm_x"), ("y", "x")],
        false => &[
            ("latitude", "longitude"),
            ("lat", "lon"),
            ("lat", "long"),
            ("lat", "lng"),
        ],
    };
    let named = pairs.iter().find_map(|(north, east)| {
        Some(PlaceSource::Pair {
            north: find(north)?,
            east: find(east)?,
        })
    });
    places.extend(named.or_else(|| if metres { None } else { kobo_pair(columns) }));
    places.extend(find(POSITION).map(PlaceSource::Text));
    places
}

/// `_QUESTION_latitude` and `_QUESTION_longitude`, as Kobo writes beside a place, if there is
/// one such pair.
fn kobo_pair(columns: &[String]) -> Option<PlaceSource> {
    let mut pairs = columns.iter().filter_map(|north| {
        let question = north.strip_suffix("_latitude")?;
        let east = columns
            .iter()
            .find(|east| east.strip_suffix("_longitude") == Some(question))?;
        Some(PlaceSource::Pair {
            north: north.clone(),
            east: east.clone(),
        })
    });
    pairs.next().filter(|_| pairs.next().is_none())
}

fn source(kind: &Kind, path: &str, property: &str, outline: &Outline) -> Result<Source, FileFault> {
    let field = input::known(kind, path).map_err(|error| {
        FileFault::request(
            "unknown_field",
            error.to_string(),
            "Write --map FIELD=PROPERTY; `cairn explain FIELD` says what a field means.",
        )
    })?;
    if field.field_type == FieldType::Perimeter || path == KEY_FIELD {
        return Err(bad_map(
            format!("{path} is not taken from a property."),
            "The boundary comes from the row's geometry; for a key of the other system use --key.",
        ));
    }
    let FieldType::Integer { unit: measured, .. } = &field.field_type else {
        there(outline, property)?;
        return Ok(Source {
            property: property.to_owned(),
            unit: None,
        });
    };
    let has = |name: &str| outline.properties.iter().any(|property| property == name);
    match property.rsplit_once(':') {
        Some((name, unit)) if !has(property) && has(name) => {
            let example = Json::from(format!("1 {unit}"));
            if let Err(error) = input::from_json(path, &field.field_type, &example) {
                return Err(bad_map(
                    error.to_string(),
                    "Write --map FIELD=PROPERTY:UNIT.",
                ));
            }
            Ok(Source {
                property: name.to_owned(),
                unit: Some(unit.to_owned()),
            })
        }
        _ => {
            there(outline, property)?;
            if *measured == Unit::M2 && speaks_of_hectares(property) {
                return Err(FileFault::request(
                    "unit_unclear",
                    format!("“{property}” seems not to be in square metres, as {path} is."),
                    format!(
                        "Say its unit: --map {path}={property}:ha, or :m2 if it is square metres."
                    ),
                ));
            }
            Ok(Source {
                property: property.to_owned(),
                unit: None,
            })
        }
    }
}

/// Whether a name has a word for a larger unit of area in it.
fn speaks_of_hectares(property: &str) -> bool {
    let lower = property.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| {
        word.starts_with("hect")
            || matches!(
                word,
                "ha" | "km2" | "km²" | "sqkm" | "acres" | "dunum" | "jerib"
            )
    })
}

fn there(outline: &Outline, property: &str) -> Result<(), FileFault> {
    let times = outline.properties.iter().filter(|name| *name == property);
    match times.count() {
        0 => {}
        1 => return Ok(()),
        _ => {
            return Err(FileFault::request(
                "column_twice",
                format!("The file has two columns called “{property}”."),
                "Rename one of them in the file: nobody can know which is meant.",
            ));
        }
    }
    let names = if outline.properties.is_empty() {
        "The file's rows have no properties.".to_owned()
    } else {
        let names: Vec<&str> = outline
            .properties
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        format!("There are: {}.", names.join(", "))
    };
    Err(FileFault::request(
        "unknown_property",
        format!("The file has no column or property “{property}”."),
        names,
    ))
}

fn bad_map(message: String, hint: &str) -> FileFault {
    FileFault::request("bad_map", message, hint)
}
