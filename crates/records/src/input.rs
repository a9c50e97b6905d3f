//! What people type, read with care: an answer that is not understood is refused with what to do
//! about it, never guessed.

mod clock;
mod number;
mod place;

pub use place::position;

use crate::geometry::{Polygon, Position, Ring, Shape, ShapeError};
use crate::perimeter::Perimeter;
use crate::schema::{self, Class, CodeList, Field, FieldType, Kind, Part};
use crate::value::Value;
use crate::write::Edit;
use cairn_wire::limits;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Why an answer was not understood, in words for a person in the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No `=`.
    #[error("write FIELD=VALUE, for example status=open")]
    NoEquals,
    /// No such field.
    #[error("{kind} has no field {field:?}{}", suggestion(.nearest))]
    UnknownField {
        /// Kind.
        kind: String,
        /// As it was written.
        field: String,
        /// Nearest names.
        nearest: Vec<String>,
    },
    /// A map's field without its parts.
    #[error("{field} is asked by {}: write for example {field}/{}", .keys.join(" and "), .example)]
    MissingParts {
        /// Field.
        field: String,
        /// Names of the code lists.
        keys: Vec<String>,
        /// A path that works.
        example: String,
    },
    /// No such code.
    #[error("{field} has no answer {code:?}{}; it is one of: {}", suggestion(.nearest), .codes.join(", "))]
    UnknownCode {
        /// Field.
        field: String,
        /// As it was written.
        code: String,
        /// Nearest codes.
        nearest: Vec<String>,
        /// All codes.
        codes: Vec<String>,
    },
    /// No date.
    #[error("{field}: {given:?} is no date; write YYYY-MM-DD, YYYY-MM or YYYY, as 2026-11-24")]
    NotADate {
        /// Field.
        field: String,
        /// As it was written.
        given: String,
    },
    /// A day that the calendar does not have.
    #[error("{field}: there is no {given}; check day and month")]
    NoSuchDay {
        /// Field.
        field: String,
        /// As it was written.
        given: String,
    },
    /// No time of day.
    #[error("{field}: {given:?} is no time of day; write HH:MM with 24 hours, as 14:30")]
    NotATime {
        /// Field.
        field: String,
        /// As it was written.
        given: String,
    },
    /// Figures by a band that the record's scheme lacks.
    #[error("{field}: the scheme {scheme} has no band {band}; its bands are: {}", .bands.join(", "))]
    NotInScheme {
        /// Field.
        field: String,
        /// As it was written.
        band: String,
        /// The scheme that the record names.
        scheme: String,
        /// Its bands.
        bands: Vec<String>,
    },
    /// Figures by band in a record that names no scheme.
    #[error("{field}: the record names no age bands, so {band} means nothing: it takes {named}=SCHEME when it is made; {}", schemes_in_words(.schemes))]
    NoScheme {
        /// Field.
        field: String,
        /// As it was written.
        band: String,
        /// The field that names the scheme.
        named: String,
        /// Schemes that have the band.
        schemes: Vec<String>,
    },
    /// A part that is larger than the whole.
    #[error(
        "{field} is {part}, more than the {whole} of {of}; give both in one command if both change"
    )]
    PartTooLarge {
        /// Field, with its path.
        field: String,
        /// Its figure.
        part: i64,
        /// The field that it is a part of, with its path.
        of: String,
        /// That one's figure.
        whole: i64,
    },
    /// An end before its beginning.
    #[error(
        "{field} {end} lies before {start_field} {start}; give both in one command if both change"
    )]
    EndBeforeStart {
        /// Field.
        field: String,
        /// Its date or time.
        end: String,
        /// The field that says the beginning.
        start_field: String,
        /// That one's date or time.
        start: String,
    },
    /// No number, or one with more to it.
    #[error("{field}: {given:?} is not understood as a number: {advice}")]
    NotANumber {
        /// Field.
        field: String,
        /// As it was written.
        given: String,
        /// What to do.
        advice: String,
    },
    /// A number that cannot be.
    #[error("{field}: {given} is out of range; it is at least 0 and at most {max}")]
    OutOfRange {
        /// Field.
        field: String,
        /// As it was written.
        given: String,
        /// Largest value.
        max: i64,
    },
    /// No place.
    #[error("{given:?} is no position: {advice}")]
    NotAPosition {
        /// As it was written.
        given: String,
        /// What to do.
        advice: String,
    },
    /// No boundary.
    #[error("{field}: {source}")]
    Shape {
        /// Field.
        field: String,
        /// Why.
        source: ShapeError,
    },
    /// Not in the form that the field takes.
    #[error("{field}: {advice}")]
    WrongForm {
        /// Field.
        field: String,
        /// What to do.
        advice: String,
    },
}

fn schemes_in_words(schemes: &[String]) -> String {
    match schemes {
        [] => "no scheme has that band".to_owned(),
        schemes => format!("schemes with that band: {}", schemes.join(", ")),
    }
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(" or ")),
    }
}

/// The field that a path speaks of.
///
/// # Errors
///
/// With the nearest names, or how to write the path of a map.
pub fn known<'a>(kind: &'a Kind, path: &str) -> Result<&'a Field, InputError> {
    let name = path.split('/').next().unwrap_or(path);
    let Some(field) = kind.field(name) else {
        return Err(InputError::UnknownField {
            kind: kind.name.clone(),
            field: name.to_owned(),
            nearest: kind.nearest(name),
        });
    };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if parts.len() == field.keys.len() {
        for (part, list) in parts.iter().zip(&field.keys) {
            let list = schema::code_list(list);
            if let Some(list) = list.filter(|list| list.code(part).is_none()) {
                return Err(unknown_code(name, list, part));
            }
        }
    }
    if kind.field(path).is_none() || (path == name && !field.keys.is_empty()) {
        let first = |list: &String| {
            let codes = schema::code_list(list).and_then(|list| list.codes.first());
            codes.map(|code| code.code.clone())
        };
        return Err(InputError::MissingParts {
            field: name.to_owned(),
            keys: field.keys.clone(),
            example: field
                .keys
                .iter()
                .filter_map(first)
                .collect::<Vec<_>>()
                .join("/"),
        });
    }
    Ok(field)
}

/// `FIELD=VALUE`, as `--set` takes it.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn set(kind: &Kind, text: &str) -> Result<Edit, InputError> {
    let (path, given) = split(text)?;
    let field = known(kind, path)?;
    if field.class == Class::Text {
        return Ok(Edit::Text {
            field: path.to_owned(),
            text: given.to_owned(),
        });
    }
    if matches!(field.class, Class::Set | Class::Log) {
        return Err(InputError::WrongForm {
            field: path.to_owned(),
            advice: "holds several values: use --add and --remove, or --append".into(),
        });
    }
    if field.class == Class::Reg && given.is_empty() {
        return Ok(Edit::Set {
            field: path.to_owned(),
            value: Value::Null,
            reason: None,
        });
    }
    if field.field_type == FieldType::Perimeter && !given.trim_start().starts_with('{') {
        return Ok(Edit::Place {
            field: path.to_owned(),
            at: position(given)?,
        });
    }
    Ok(Edit::Set {
        field: path.to_owned(),
        value: value(path, &field.field_type, given)?,
        reason: None,
    })
}

/// `FIELD=CODE`, as `--add` takes it; for logs the code is the first part of the entry.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn add(kind: &Kind, text: &str) -> Result<Edit, InputError> {
    let (field, value) = member(kind, text)?;
    Ok(Edit::Add { field, value })
}

/// `FIELD=CODE`, as `--remove` takes it.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn remove(kind: &Kind, text: &str, reason: Option<&str>) -> Result<Edit, InputError> {
    let (field, value) = member(kind, text)?;
    Ok(Edit::Remove {
        field,
        value,
        reason: reason.map(str::to_owned),
    })
}

fn member(kind: &Kind, text: &str) -> Result<(String, Value), InputError> {
    let (path, given) = split(text)?;
    let field = known(kind, path)?;
    if !matches!(field.class, Class::Set | Class::Log) {
        return Err(InputError::WrongForm {
            field: path.to_owned(),
            advice: "holds one value: use --set".into(),
        });
    }
    Ok((path.to_owned(), value(path, &field.field_type, given)?))
}

fn split(text: &str) -> Result<(&str, &str), InputError> {
    let (path, given) = text.split_once('=').ok_or(InputError::NoEquals)?;
    Ok((path.trim(), given.trim()))
}

/// A value of a field's type, as typed; entries as JSON objects, or their first part alone.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn value(field: &str, field_type: &FieldType, given: &str) -> Result<Value, InputError> {
    let value = match field_type {
        FieldType::Code(_) => Value::Text(code_form(given)),
        FieldType::Line | FieldType::Text => Value::from(given),
        FieldType::Integer { .. } if given.eq_ignore_ascii_case("unknown") => {
            Value::from("unknown")
        }
        FieldType::Integer { unit, max } => number::whole(field, *unit, *max, given)?,
        FieldType::Date => clock::date(field, given)?,
        FieldType::Time => clock::time(field, given)?,
        FieldType::Reference => reference(field, given)?,
        FieldType::Position => position_value(position(given)?),
        FieldType::Perimeter | FieldType::Entry(_) if given.starts_with('{') => {
            let json: Json =
                serde_json::from_str(given).map_err(|error| InputError::WrongForm {
                    field: field.to_owned(),
                    advice: format!("this is no JSON object: {error}"),
                })?;
            return from_json(field, field_type, &json);
        }
        FieldType::Perimeter => Value::Perimeter(Perimeter::circle(
            position(given)?,
            crate::perimeter::CIRCLE_RADIUS_M_DEFAULT,
        )),
        FieldType::Entry(parts) => {
            let first = parts.first().ok_or(InputError::NoEquals)?;
            let part = value(field, &first.field_type, given)?;
            Value::Map([(first.name.clone(), part)].into())
        }
    };
    check_value(field, field_type, &value)?;
    Ok(value)
}

/// A value of a field's type from JSON: as typed where it is a string, whole numbers in the
/// field's unit, positions as `{"lat":…,"lon":…}`, perimeters as GeoJSON geometry.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn from_json(field: &str, field_type: &FieldType, json: &Json) -> Result<Value, InputError> {
    let wrong = |advice: &str| InputError::WrongForm {
        field: field.to_owned(),
        advice: advice.to_owned(),
    };
    match (field_type, json) {
        (_, Json::String(text)) => value(field, field_type, text),
        (FieldType::Integer { unit, max }, Json::Number(number)) => {
            number::whole(field, *unit, *max, &number.to_string())
        }
        (FieldType::Code(_) | FieldType::Line, Json::Number(number)) => {
            value(field, field_type, &number.to_string())
        }
        (FieldType::Position, json) => json_position(json)
            .map(position_value)
            .ok_or_else(|| wrong("write a position as {\"lat\": 44.1, \"lon\": 18.2}")),
        (FieldType::Perimeter, json) => {
            let geometry = json.get("geometry").unwrap_or(json);
            if let Some(at) = json.get("centre").and_then(json_position) {
                let radius = json.get("radius_m").and_then(Json::as_u64);
                let radius = radius.and_then(|radius| u32::try_from(radius).ok());
                let radius = radius.unwrap_or(crate::perimeter::CIRCLE_RADIUS_M_DEFAULT);
                return measured(field, json, Perimeter::circle(at, radius));
            }
            measured(
                field,
                json,
                Perimeter::rings(geojson_shape(field, geometry)?),
            )
        }
        (FieldType::Entry(parts), Json::Object(given)) => {
            let mut entry = BTreeMap::new();
            for (name, json) in given {
                let part = part(field, parts, name)?;
                let path = format!("{field}.{name}");
                entry.insert(name.clone(), from_json(&path, &part.field_type, json)?);
            }
            let entry = Value::Map(entry);
            check_value(field, field_type, &entry)?;
            Ok(entry)
        }
        _ => Err(wrong("this is not the kind of value that belongs here")),
    }
}

/// With how it was measured, where that is said.
fn measured(field: &str, json: &Json, perimeter: Perimeter) -> Result<Value, InputError> {
    let method = match json.get("method") {
        Some(Json::String(method)) => {
            let methods = FieldType::Code("perimeter_method".into());
            let method = value(&format!("{field}.method"), &methods, method)?;
            method.as_text().map(str::to_owned)
        }
        _ => None,
    };
    let accuracy_m = json.get("accuracy_m").and_then(Json::as_f64);
    let accuracy_m = accuracy_m.filter(|accuracy| (0.0..=100_000.0).contains(accuracy));
    Ok(Value::Perimeter(Perimeter {
        method,
        accuracy_dm: accuracy_m.map(|accuracy| (accuracy * 10.0).ceil() as u32),
        ..perimeter
    }))
}

fn part<'a>(field: &str, parts: &'a [Part], name: &str) -> Result<&'a Part, InputError> {
    let found = parts.iter().find(|part| part.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        InputError::WrongForm {
            field: field.to_owned(),
            advice: format!(
                "there is no part {name:?}; the parts are {}",
                names.join(", ")
            ),
        }
    })
}

/// Whether a value may be written into a field of this type.
///
/// # Errors
///
/// In words for the person who wrote it.
pub fn check_value(field: &str, field_type: &FieldType, value: &Value) -> Result<(), InputError> {
    let wrong = |advice: &str| InputError::WrongForm {
        field: field.to_owned(),
        advice: advice.to_owned(),
    };
    match (field_type, value) {
        (FieldType::Code(list), Value::Text(code)) => {
            let list = schema::code_list(list);
            match list {
                Some(list) if list.code(code).is_none() => Err(unknown_code(field, list, code)),
                _ => Ok(()),
            }
        }
        (FieldType::Line, Value::Text(text)) => {
            if text.len() > limits::LINE_BYTES_MAX || text.contains('\n') {
                return Err(wrong("this is one line of at most 1,024 bytes"));
            }
            if text.is_empty() {
                Err(wrong("this is empty"))
            } else {
                Ok(())
            }
        }
        (FieldType::Text, Value::Text(text)) if text.len() > limits::TEXT_BYTES_MAX => {
            Err(wrong("this is a text of at most 16,384 bytes"))
        }
        (FieldType::Text, Value::Text(_)) => Ok(()),
        (FieldType::Integer { .. }, Value::Text(text)) if text == "unknown" => Ok(()),
        (FieldType::Integer { max, .. }, Value::Int(number)) => {
            if (0..=*max).contains(number) {
                return Ok(());
            }
            Err(InputError::OutOfRange {
                field: field.to_owned(),
                given: number.to_string(),
                max: *max,
            })
        }
        (FieldType::Date, Value::Text(text)) => clock::date(field, text).map(drop),
        (FieldType::Time, Value::Text(text)) => clock::time(field, text).map(drop),
        (FieldType::Reference, Value::Bytes(id)) if id.len() == 16 => Ok(()),
        (FieldType::Position, Value::List(parts)) => match parts.as_slice() {
            [Value::Int(lat), Value::Int(lon)] if Position::new(*lat, *lon).is_some() => Ok(()),
            _ => Err(wrong("this is no position")),
        },
        (FieldType::Perimeter, Value::Perimeter(_)) => Ok(()),
        (FieldType::Entry(parts), Value::Map(entry)) => {
            for (name, value) in entry {
                let part = part(field, parts, name)?;
                check_value(&format!("{field}.{name}"), &part.field_type, value)?;
            }
            let missing = parts
                .iter()
                .find(|part| part.required && !entry.contains_key(&part.name));
            missing.map_or(Ok(()), |part| {
                Err(wrong(&format!("the part {:?} is missing", part.name)))
            })
        }
        _ => Err(wrong("this is not the kind of value that belongs here")),
    }
}

fn unknown_code(field: &str, list: &CodeList, code: &str) -> InputError {
    let codes = || list.codes.iter().map(|code| code.code.as_str());
    InputError::UnknownCode {
        field: field.to_owned(),
        code: code.to_owned(),
        nearest: schema::nearest(code, codes()),
        codes: codes().map(str::to_owned).collect(),
    }
}

/// Codes are typed in any case, with spaces or dashes for underscores.
fn code_form(given: &str) -> String {
    given.trim().to_lowercase().replace([' ', '-'], "_")
}

/// A position as a record holds it.
#[must_use]
pub fn position_value(at: Position) -> Value {
    Value::List(vec![
        Value::Int(at.lat_e7.into()),
        Value::Int(at.lon_e7.into()),
    ])
}

fn json_position(json: &Json) -> Option<Position> {
    let (lat, lon) = (json.get("lat")?.as_f64()?, json.get("lon")?.as_f64()?);
    Position::from_degrees(lat, lon)
}

fn reference(field: &str, given: &str) -> Result<Value, InputError> {
    let id: Result<cairn_wire::ids::DocumentId, _> = given.parse();
    id.map(|id| Value::Bytes(id.0.to_vec()))
        .map_err(|_| InputError::WrongForm {
            field: field.to_owned(),
            advice: "name the record by its whole id of 32 digits".into(),
        })
}

/// A shape from GeoJSON geometry that is already in memory (one Polygon or MultiPolygon).
///
/// # Errors
///
/// For any other geometry, and for coordinates that are no area.
pub fn geojson_shape(field: &str, geometry: &Json) -> Result<Shape, InputError> {
    let wrong = |advice: &str| InputError::WrongForm {
        field: field.to_owned(),
        advice: advice.to_owned(),
    };
    let coordinates = geometry.get("coordinates");
    let polygons = match geometry.get("type").and_then(Json::as_str) {
        Some("Polygon") => coordinates.map(|one| vec![one]),
        Some("MultiPolygon") => coordinates
            .and_then(Json::as_array)
            .map(|several| several.iter().collect()),
        _ => None,
    };
    let polygons = polygons.ok_or_else(|| wrong("this needs a Polygon or MultiPolygon"))?;
    let fault = |source| InputError::Shape {
        field: field.to_owned(),
        source,
    };
    let mut shape = Vec::new();
    for polygon in polygons {
        let rings = polygon
            .as_array()
            .ok_or_else(|| wrong("a polygon is a list of rings"))?;
        let mut rings = rings.iter().map(|ring| {
            let corners = ring
                .as_array()
                .ok_or_else(|| wrong("a ring is a list of positions"))?;
            if corners.len() > limits::PERIMETER_VERTICES_MAX + 1 {
                return Err(fault(ShapeError::TooManyCorners));
            }
            let corners = corners.iter().map(|corner| {
                let degree = |at: usize| corner.get(at).and_then(Json::as_f64);
                let at = degree(1)
                    .zip(degree(0))
                    .and_then(|(lat, lon)| Position::from_degrees(lat, lon));
                at.ok_or_else(|| {
                    wrong("a corner is [longitude, latitude] in degrees; check their order")
                })
            });
            Ring::new(corners.collect::<Result<_, _>>()?).map_err(fault)
        });
        let outer = rings
            .next()
            .ok_or_else(|| fault(ShapeError::TooFewCorners))??;
        let holes = rings.collect::<Result<_, _>>()?;
        shape.push(Polygon { outer, holes });
    }
    Shape::new(shape).map_err(fault)
}

#[cfg(test)]
mod tests;
