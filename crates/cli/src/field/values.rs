//! From what was typed to what a record is to say, and back into words.

use crate::arguments::Values;
use crate::failure::Failure;
use crate::words;
use cairn_device::records::schema::{FieldType, Kind};
use cairn_device::records::{Edit, Perimeter, Value, input};
use cairn_exchange::{Geometry, read_single};
use cairn_wire::ids::ChangeHash;
use cairn_wire::limits;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Bytes of a GeoJSON file with one feature that are read from standard input.
const GEOJSON_BYTES_MAX: u64 = limits::EXCHANGE_FEATURE_BYTES_MAX as u64;

/// The edits that flags ask for.
pub fn edits(kind: &'static Kind, values: &Values) -> Result<Vec<Edit>, Failure> {
    let mut edits = Vec::new();
    for text in &values.set {
        edits.push(input::set(kind, text)?);
    }
    for text in values.add.iter().chain(&values.append) {
        edits.push(input::add(kind, text)?);
    }
    for text in &values.text {
        edits.push(free_text(kind, text)?);
    }
    if let Some(position) = &values.position {
        edits.push(place(kind, position)?);
    }
    if let Some(path) = &values.geojson {
        edits.push(drawn(kind, path)?);
    }
    once_each(&edits)?;
    Ok(edits)
}

/// Two values for one field in one command: neither may win silently.
fn once_each(edits: &[Edit]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for edit in edits {
        let (Edit::Set { field, .. } | Edit::Place { field, .. } | Edit::Text { field, .. }) = edit
        else {
            continue;
        };
        if !seen.insert(field.as_str()) {
            return Err(Failure::usage(format!("{field} is given twice"))
                .hint("Give it once; several answers of one question are given with --add."));
        }
    }
    Ok(())
}

/// A free text from a file or standard input.
fn free_text(kind: &'static Kind, given: &str) -> Result<Edit, Failure> {
    let (field, path) = given
        .split_once('=')
        .ok_or_else(|| Failure::usage("write --text FIELD=FILE, or --text FIELD=-"))?;
    input::known(kind, field)?;
    let bytes = read(Path::new(path), limits::TEXT_BYTES_MAX as u64)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new("encoding", format!("{path} is not UTF-8 text")).hint("Save it as UTF-8.")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Edit::Text {
        field: field.to_owned(),
        text: text.trim_end_matches(['\n', '\r']).to_owned(),
    })
}

/// A whole file of at most so many bytes, or standard input.
fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| Failure::file("opening", path, &error))?)
    };
    let mut bytes = Vec::new();
    source
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("reading", path, &error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Failure::new(
            "too_large",
            format!(
                "{} has more than {}",
                path.display(),
                words::bytes(bytes_max)
            ),
        )
        .hint("Shorten it."));
    }
    Ok(bytes)
}

/// The field of a kind that says where it is.
fn place_field(kind: &'static Kind) -> Result<(&'static str, &'static FieldType), Failure> {
    let of = |wanted: fn(&FieldType) -> bool| {
        let mut fields = kind.fields().iter();
        fields.find(|field| field.name != "safe_to_share_location" && wanted(&field.field_type))
    };
    of(|one| *one == FieldType::Perimeter)
        .or_else(|| of(|one| *one == FieldType::Position))
        .map(|field| (field.name.as_str(), &field.field_type))
        .ok_or_else(|| Failure::new("form", format!("a {} has no place", kind.name)))
}

fn place(kind: &'static Kind, given: &str) -> Result<Edit, Failure> {
    let at = input::position(given)?;
    Ok(match place_field(kind)? {
        (field, FieldType::Perimeter) => Edit::Place {
            field: field.to_owned(),
            at,
        },
        (field, _) => Edit::Set {
            field: field.to_owned(),
            value: input::value(field, &FieldType::Position, given)?,
            reason: None,
        },
    })
}

/// The boundary or place that a GeoJSON file shows.
fn drawn(kind: &'static Kind, path: &Path) -> Result<Edit, Failure> {
    let feature = if path == Path::new("-") {
        read_single(Cursor::new(read(path, GEOJSON_BYTES_MAX)?), None)?
    } else {
        let file = File::open(path).map_err(|error| Failure::file("opening", path, &error))?;
        read_single(std::io::BufReader::new(file), None)?
    };
    let (field, field_type) = place_field(kind)?;
    match (feature.geometry, field_type) {
        (Geometry::Area(shape), FieldType::Perimeter) => Ok(Edit::Set {
            field: field.to_owned(),
            value: Value::Perimeter(Perimeter::rings(shape)),
            reason: None,
        }),
        (Geometry::Position(at), FieldType::Perimeter) => Ok(Edit::Place {
            field: field.to_owned(),
            at,
        }),
        (Geometry::Position(at), _) => Ok(Edit::Set {
            field: field.to_owned(),
            value: input::position_value(at),
            reason: None,
        }),
        (Geometry::Area(_) | Geometry::Nowhere, _) => Err(Failure::new(
            "form",
            format!("a {} takes a place, not a boundary", kind.name),
        )),
    }
}

/// Changes named with commas between, as `heads` of `cairn show --json` has them.
pub fn heads(text: &str) -> Result<Vec<ChangeHash>, Failure> {
    let heads: Result<Vec<ChangeHash>, _> = text
        .split(',')
        .map(str::trim)
        .filter(|head| !head.is_empty())
        .map(str::parse)
        .collect();
    let wrong = || {
        Failure::usage("heads are changes of 64 digits, with commas between")
            .hint("Take them from `heads` of: cairn --json show ID")
    };
    let heads = heads.map_err(|_| wrong())?;
    if heads.is_empty() {
        return Err(wrong());
    }
    Ok(heads)
}

/// A value of `cairn.record/1` in a few words.
pub fn in_words(value: &Json) -> String {
    match value {
        Json::Null => "nothing".to_owned(),
        Json::String(text) => one_line(text),
        Json::Array(members) if members.is_empty() => "nothing".to_owned(),
        Json::Array(members) => {
            let members: Vec<String> = members.iter().map(in_words).collect();
            members.join(", ")
        }
        Json::Object(parts) => object_in_words(parts),
        Json::Number(number) => match number.as_u64() {
            Some(number) => words::grouped(number),
            None => number.to_string(),
        },
        Json::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
    }
}

fn object_in_words(parts: &serde_json::Map<String, Json>) -> String {
    let number = |key: &str| parts.get(key).and_then(Json::as_f64);
    if let Some(area_m2) = parts.get("area_m2").and_then(Json::as_u64) {
        let surveyed = parts.get("extent").and_then(Json::as_str) != Some("not surveyed");
        let extent = if surveyed {
            ""
        } else {
            ", extent not surveyed"
        };
        let circle = match parts.get("radius_m").and_then(Json::as_u64) {
            Some(radius_m) => format!("circle of {} m, ", words::grouped(radius_m)),
            None => String::new(),
        };
        return format!("{circle}{} m²{extent}", words::grouped(area_m2));
    }
    if let (Some(lat), Some(lon)) = (number("lat"), number("lon")) {
        return format!("{lat:.5}, {lon:.5}");
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, value)| format!("{name} {}", in_words(value)))
        .collect();
    parts.join(", ")
}

/// Text on one line of a terminal, without what draws there.
pub fn one_line(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let mut line: String = text.chars().take(CHARACTERS_MAX).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        line.push('…');
    }
    words::harmless(&line)
}
