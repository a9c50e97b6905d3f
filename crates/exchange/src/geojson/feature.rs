//! One feature: from its JSON text to a geometry and properties, or a reason why not.

use std::collections::BTreeMap;

use cairn_records::geometry::{Polygon, Position, Ring, Shape, ShapeError};
use cairn_wire::limits;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    crs::{Converter, Crs},
    fault::{Refusal, Warning},
};

/// Where a record lies, as a file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Geometry {
    /// An area as drawn.
    Area(Shape),
    /// A place without a boundary.
    Position(Position),
    /// No place: only for records that need none.
    Nowhere,
}

/// A feature that can become a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// The feature's own `id`, where it has one.
    pub id: Option<String>,
    /// Where it lies.
    pub geometry: Geometry,
    /// Its properties, by name.
    pub properties: BTreeMap<String, Value>,
    /// Coordinates as the file gives them, where they were converted.
    pub source_text: Option<String>,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// How features are read.
pub(crate) struct Reading {
    /// Turns the file's numbers into positions.
    pub converter: Converter,
    /// Whether a record may be without a place.
    pub place_optional: bool,
}

#[derive(Deserialize)]
struct RawFeature {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    geometry: Value,
    #[serde(default)]
    properties: Value,
    #[serde(default)]
    crs: Option<Value>,
    #[serde(default)]
    coordinates: Value,
}

/// The text of a feature is no JSON; the offset of the place, and what is wrong there.
pub(crate) struct NotJson {
    pub offset: usize,
    pub what: String,
}

/// Reads the JSON text of one feature, or of a geometry alone.
///
/// # Errors
///
/// The outer one where the text is damaged, so that what follows cannot be trusted to be in step.
pub(crate) fn read(text: &[u8], reading: &Reading) -> Result<Result<Feature, Refusal>, NotJson> {
    if let Err(error) = std::str::from_utf8(text) {
        return Ok(Err(Refusal::new(
            "not_utf8",
            format!(
                "A text in the row is not UTF-8 (at byte {} of the row): the file was saved with another encoding.",
                error.valid_up_to()
            ),
            "Save the file with the encoding UTF-8 and import it again.",
        )));
    }
    match serde_json::from_slice::<RawFeature>(text) {
        Ok(raw) => Ok(take(raw, reading)),
        Err(error) if error.is_data() => Ok(Err(Refusal::new(
            "not_a_feature",
            format!("This is not a GeoJSON feature ({}).", plain(&error)),
            "Each row needs {\"type\":\"Feature\",\"geometry\":…,\"properties\":…}.",
        ))),
        Err(error) => Err(NotJson {
            offset: offset(text, &error),
            what: plain(&error),
        }),
    }
}

/// The properties alone, for the names that a file offers.
pub(crate) fn read_properties(text: &[u8]) -> Result<BTreeMap<String, Value>, Refusal> {
    #[derive(Deserialize)]
    struct Properties {
        #[serde(default)]
        properties: Value,
    }
    serde_json::from_slice::<Properties>(text)
        .map_or(Ok(BTreeMap::new()), |raw| properties_of(raw.properties))
}

/// The error's words without its line and column, which count within one feature only.
fn plain(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let cut = words.rfind(" at line ").unwrap_or(words.len());
    words
        .chars()
        .take(
            words
                .get(..cut)
                .unwrap_or_default()
                .chars()
                .count()
                .min(120),
        )
        .collect()
}

fn offset(text: &[u8], error: &serde_json::Error) -> usize {
    let lines = error.line().saturating_sub(1);
    let before: usize = text
        .split_inclusive(|byte| *byte == b'\n')
        .take(lines)
        .map(<[u8]>::len)
        .sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

fn take(raw: RawFeature, reading: &Reading) -> Result<Feature, Refusal> {
    if let Some(crs) = &raw.crs {
        reading.converter.accepts(&Crs::from_member(crs))?;
    }
    let mut warnings = Vec::new();
    let mut coordinates = &raw.coordinates;
    let place = match raw.kind.as_str() {
        Some("Feature") => {
            coordinates = raw.geometry.get("coordinates").unwrap_or(&Value::Null);
            geometry_of(&raw.geometry, reading, &mut warnings)
        }
        Some(kind @ ("Polygon" | "MultiPolygon" | "Point")) => {
            coordinates_of(kind, coordinates, &reading.converter, &mut warnings)
        }
        _ if raw.geometry.get("rings").is_some() => {
            return Err(Refusal::new(
                "not_a_feature",
                "This is a feature in Esri's JSON, not in GeoJSON.",
                "Ask for GeoJSON, for example with f=geojson in the query.",
            ));
        }
        kind => {
            return Err(Refusal::new(
                "not_a_feature",
                format!(
                    "This is no GeoJSON feature: its type is {}.",
                    kind.map_or("missing".into(), quoted)
                ),
                "Each row needs {\"type\":\"Feature\",\"geometry\":…,\"properties\":…}.",
            ));
        }
    };
    let geometry = match place {
        Err(refusal)
            if reading.place_optional
                && ["no_geometry", "empty_geometry"].contains(&refusal.code) =>
        {
            Geometry::Nowhere
        }
        place => place?,
    };
    let converted = reading.converter.source().is_some() && geometry != Geometry::Nowhere;
    let source_text = converted.then(|| one_line(&coordinates.to_string()));
    let properties = properties_of(raw.properties)?;
    let id = match raw.id {
        Value::String(id) if id.len() <= limits::EXCHANGE_NAME_BYTES_MAX => Some(id),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Ok(Feature {
        id,
        geometry,
        properties,
        source_text,
        warnings,
    })
}

/// A text cut to what a line of a record holds.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.replace(['\n', '\r'], " ");
    if line.len() > limits::LINE_BYTES_MAX {
        let mut end = limits::LINE_BYTES_MAX - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

fn quoted(word: &str) -> String {
    format!("“{}”", word.chars().take(40).collect::<String>())
}

fn geometry_of(
    geometry: &Value,
    reading: &Reading,
    warnings: &mut Vec<Warning>,
) -> Result<Geometry, Refusal> {
    let Value::Object(members) = geometry else {
        if geometry.is_null() {
            return Err(Refusal::new(
                "no_geometry",
                "The row has no geometry: it says nothing about where the area is.",
                "If the place is known from elsewhere, record it with a position; else leave it out.",
            ));
        }
        return Err(Refusal::new(
            "not_a_feature",
            "The row's geometry is not a GeoJSON object.",
            "Export the file anew as GeoJSON.",
        ));
    };
    if let Some(crs) = members.get("crs") {
        reading.converter.accepts(&Crs::from_member(crs))?;
    }
    let kind = members
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    coordinates_of(
        kind,
        members.get("coordinates").unwrap_or(&Value::Null),
        &reading.converter,
        warnings,
    )
}

/// A geometry from its type and coordinates.
pub(crate) fn coordinates_of(
    kind: &str,
    coordinates: &Value,
    converter: &Converter,
    warnings: &mut Vec<Warning>,
) -> Result<Geometry, Refusal> {
    let lists = match kind {
        "Point" => {
            if coordinates.as_array().is_none_or(Vec::is_empty) {
                return Err(empty());
            }
            let mut heights = Heights::default();
            let position = position_of(coordinates, converter, &mut heights)?;
            heights.dropped(warnings);
            return Ok(Geometry::Position(position));
        }
        "Polygon" => std::slice::from_ref(coordinates),
        "MultiPolygon" => coordinates
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default(),
        "" => {
            return Err(Refusal::new(
                "geometry_kind",
                "The row's geometry does not say its type.",
                "Export the file anew as GeoJSON.",
            ));
        }
        other => {
            return Err(Refusal::new(
                "geometry_kind",
                format!(
                    "A {} is no area: Polygon, MultiPolygon and Point are taken.",
                    quoted(other)
                ),
                "Draw the area's boundary as a polygon, or give its place as a point.",
            ));
        }
    };
    let mut heights = Heights::default();
    let mut corners_left = limits::PERIMETER_VERTICES_MAX;
    let mut polygons = Vec::new();
    for list in lists {
        polygons.extend(polygon_of(
            list,
            converter,
            &mut corners_left,
            &mut heights,
            warnings,
        )?);
    }
    if polygons.is_empty() {
        return Err(empty());
    }
    heights.dropped(warnings);
    let shape = Shape::new(polygons).map_err(shape_refused)?;
    if shape.crosses_itself() {
        warnings.push(Warning::new(
            "self_crossing",
            "The boundary crosses or touches itself; it was taken as drawn and counts with all its loops.",
        ));
    }
    Ok(Geometry::Area(shape))
}

/// Third numbers of positions, which say a height and are left out.
#[derive(Default)]
struct Heights {
    seen: bool,
    /// Longitude, latitude and height all without a fraction: “17,9,44” with commas as decimal signs?
    whole: bool,
}

impl Heights {
    fn dropped(self, warnings: &mut Vec<Warning>) {
        if self.whole {
            warnings.push(Warning::new(
                "decimal_comma",
                "A position is three whole numbers: the third was left out as a height. Was a comma written as the decimal sign? Then the place is wrong: look at it on the map.",
            ));
        } else if self.seen {
            warnings.push(Warning::new(
                "altitude_dropped",
                "Heights in the coordinates were left out.",
            ));
        }
    }
}

fn empty() -> Refusal {
    Refusal::new(
        "empty_geometry",
        "The row's geometry holds no coordinates.",
        "If the place is known from elsewhere, record it with a position; else leave it out.",
    )
}

fn polygon_of(
    rings: &Value,
    converter: &Converter,
    corners_left: &mut usize,
    heights: &mut Heights,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Polygon>, Refusal> {
    let Value::Array(rings) = rings else {
        return if rings.is_null() {
            Ok(None)
        } else {
            Err(nesting())
        };
    };
    let mut rings = rings.iter();
    let Some(outer) = rings.next() else {
        return Ok(None);
    };
    let outer = ring_of(outer, converter, corners_left, heights, warnings)?;
    let mut holes = Vec::new();
    for hole in rings {
        let hole = ring_of(hole, converter, corners_left, heights, warnings)?;
        if hole.is_empty() {
            continue;
        }
        match Ring::new(hole) {
            Ok(ring) => holes.push(ring),
            Err(ShapeError::TooFewCorners) => warnings.push(Warning::new(
                "hole_dropped",
                "A hole with fewer than three corners was left out: that ground counts as hazardous.",
            )),
            Err(other) => return Err(shape_refused(other)),
        }
    }
    if outer.is_empty() {
        return if holes.is_empty() {
            Ok(None)
        } else {
            Err(shape_refused(ShapeError::TooFewCorners))
        };
    }
    let outer = Ring::new(outer).map_err(shape_refused)?;
    Ok(Some(Polygon { outer, holes }))
}

fn ring_of(
    corners: &Value,
    converter: &Converter,
    corners_left: &mut usize,
    heights: &mut Heights,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Position>, Refusal> {
    let Value::Array(corners) = corners else {
        return Err(nesting());
    };
    // A closed ring names its first corner twice.
    if corners.len() > *corners_left + 1 {
        return Err(shape_refused(ShapeError::TooManyCorners));
    }
    let mut ring = Vec::with_capacity(corners.len());
    for corner in corners {
        ring.push(position_of(corner, converter, heights)?);
    }
    if ring.len() > 2 && ring.first() != ring.last() {
        warnings.push(Warning::new(
            "ring_closed",
            "A boundary did not end where it began; it was closed with a straight line.",
        ));
    }
    *corners_left = corners_left.saturating_sub(corners.len().saturating_sub(1));
    let edges = ring.iter().zip(ring.iter().skip(1));
    if edges
        .into_iter()
        .any(|(a, b)| a.lon_e7.abs_diff(b.lon_e7) > 1_800_000_000)
    {
        return Err(Refusal::new(
            "crosses_antimeridian",
            "The boundary jumps from one side of the 180th meridian to the other.",
            "Cut the area at 180° into two polygons, as RFC 7946 asks.",
        ));
    }
    Ok(ring)
}

fn nesting() -> Refusal {
    Refusal::new(
        "bad_coordinates",
        "The coordinates are not nested as their type asks: lists of rings, rings of positions, positions of numbers.",
        "Export the file anew as GeoJSON.",
    )
}

fn position_of(
    corner: &Value,
    converter: &Converter,
    heights: &mut Heights,
) -> Result<Position, Refusal> {
    let Value::Array(numbers) = corner else {
        return Err(nesting());
    };
    // Longitude, latitude, height and a measure all without a fraction are no position: “17,9,44,1”.
    let whole = |number: &Value| number.is_i64() || number.is_u64();
    if numbers.len() > 4 || (numbers.len() == 4 && numbers.iter().all(whole)) {
        return Err(Refusal::new(
            "bad_coordinates",
            "A position has more numbers than longitude, latitude and height: was a comma written as the decimal sign?",
            "Export the file anew with points as decimal signs; GeoJSON has no decimal comma.",
        ));
    }
    let number = |index: usize| numbers.get(index).and_then(Value::as_f64);
    let (Some(lon), Some(lat)) = (number(0), number(1)) else {
        return Err(Refusal::new(
            "bad_coordinates",
            "A position is not two numbers, longitude and latitude.",
            "Export the file anew as GeoJSON.",
        ));
    };
    if number(2).is_some_and(|height| height != 0.0) {
        heights.seen = true;
        heights.whole |= numbers.iter().all(whole);
    }
    converter.position(lon, lat)
}

fn shape_refused(error: ShapeError) -> Refusal {
    let (code, hint) = match error {
        ShapeError::TooFewCorners => (
            "too_few_corners",
            "Draw the boundary, or record the place as a point.",
        ),
        ShapeError::TooManyCorners | ShapeError::TooManyRings => (
            "too_many_corners",
            "Simplify the boundary outwards, or divide the area.",
        ),
        ShapeError::TooLarge => ("too_large", "Check its corners against the map."),
        ShapeError::Flat => ("flat", "Draw the boundary, or record the place as a point."),
        ShapeError::Unreadable => ("bad_coordinates", "Export the file anew as GeoJSON."),
    };
    let mut message = error.to_string();
    if let Some(first) = message.get(..1).map(str::to_uppercase) {
        message.replace_range(..1, &first);
    }
    message.push('.');
    Refusal::new(code, message, hint)
}

fn properties_of(properties: Value) -> Result<BTreeMap<String, Value>, Refusal> {
    let map: Map<String, Value> = match properties {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            return Err(Refusal::new(
                "not_a_feature",
                "The row's properties are not an object.",
                "Export the file anew as GeoJSON.",
            ));
        }
    };
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.len() + weight(value))
        .sum();
    if map.len() > limits::EXCHANGE_PROPERTIES_MAX || bytes > limits::EXCHANGE_PROPERTIES_BYTES_MAX
    {
        return Err(Refusal::new(
            "properties_too_large",
            format!(
                "The row's properties are too many or too long (at most {} of together {} bytes).",
                limits::EXCHANGE_PROPERTIES_MAX,
                limits::EXCHANGE_PROPERTIES_BYTES_MAX
            ),
            "Leave out what is not needed, or shorten the texts.",
        ));
    }
    Ok(map.into_iter().collect())
}

/// About the bytes that a value takes as text.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(members) => {
            members
                .iter()
                .map(|(name, value)| name.len() + 4 + weight(value))
                .sum::<usize>()
                + 2
        }
        _ => 8,
    }
}
