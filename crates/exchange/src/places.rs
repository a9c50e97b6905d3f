//! Where the rows of a table lie: two columns of coordinates, or one of text.

use cairn_records::{geometry::Position, input};
use serde_json::{Value as Json, json};

use crate::{
    crs::Converter,
    fault::{Refusal, Warning},
    geojson::{Geometry, coordinates_of, one_line},
    values::is_number,
};
use std::collections::BTreeMap;

/// Where a row says its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlaceSource {
    /// Two properties: north and east.
    Pair {
        /// Latitude or northing.
        north: String,
        /// Longitude or easting.
        east: String,
    },
    /// One property: WKT, `LAT, LON`, or a place or shape as ODK and Kobo write them.
    Text(String),
}

/// A place as it was read.
pub(crate) struct Found {
    pub geometry: Geometry,
    /// Coordinates as the file gives them.
    pub source_text: String,
    /// Whether a comma stood for the decimal point.
    pub decimal_comma: bool,
}

impl PlaceSource {
    /// The place of a row; nothing where it says none.
    pub fn read(
        &self,
        properties: &BTreeMap<String, Json>,
        converter: &Converter,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Found>, Refusal> {
        match self {
            Self::Pair { north, east } => {
                let text = |name: &str| properties.get(name).map(text_of).unwrap_or_default();
                pair(&text(north), &text(east), (north, east), converter)
            }
            Self::Text(name) => match properties.get(name) {
                Some(value) => in_text(&text_of(value), converter, warnings),
                None => Ok(None),
            },
        }
    }

    /// Its properties.
    pub fn names(&self) -> Vec<&String> {
        match self {
            Self::Pair { north, east } => vec![north, east],
            Self::Text(name) => vec![name],
        }
    }
}

fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.trim().to_owned(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// The first two numbers of a text that has points for decimals, without asking what they mean.
pub(crate) fn numbers_in(text: &str) -> Option<(f64, f64)> {
    let mut numbers = text
        .split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E')))
        .filter_map(|word| word.parse::<f64>().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The first place that a text holds, east first, without asking whether it can be: for looking
/// where most places lie.
pub(crate) fn place_in(text: &str) -> Option<(f64, f64)> {
    let text = text.trim();
    if text.contains('(') {
        // Well-known text has east first itself.
        return numbers_in(text);
    }
    if odk(text).is_some() {
        return numbers_in(text).map(|(north, east)| (east, north));
    }
    input::position(text).ok().map(|at| (at.lon(), at.lat()))
}

/// A number that may have a comma for its point.
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim().replace('−', "-");
    let comma = text.matches(',').count() == 1 && !text.contains('.');
    let text = if comma { text.replace(',', ".") } else { text };
    let plain = |byte| b"+-.".contains(&byte) || byte.is_ascii_digit();
    let number = text.bytes().all(plain).then(|| text.parse::<f64>().ok());
    number.flatten()
}

fn pair(
    north: &str,
    east: &str,
    names: (&str, &str),
    converter: &Converter,
) -> Result<Option<Found>, Refusal> {
    let source_text = one_line(&format!("{north}; {east}"));
    let found = |at| {
        Ok(Some(Found {
            geometry: Geometry::Position(at),
            source_text: source_text.clone(),
            decimal_comma: north.contains(',') || east.contains(','),
        }))
    };
    match (north.is_empty(), east.is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => {}
        (missing, _) => {
            let missing = if missing { names.0 } else { names.1 };
            return Err(Refusal::new(
                "bad_position",
                format!("The row has only half of a position: “{missing}” is empty."),
                "Complete the position in the file, or empty both.",
            ));
        }
    }
    if let (Some(north), Some(east)) = (number(north), number(east)) {
        if north == 0.0 && east == 0.0 {
            return Err(no_fix());
        }
        return found(converter.position(east, north).map_err(|refusal| {
            let hint = match refusal.code {
                "coordinates_swapped" => format!(
                    "If the columns are the wrong way round, name them: --map position={},{}.",
                    names.1, names.0
                ),
                _ => refusal.hint,
            };
            Refusal {
                hint,
                message: refusal
                    .message
                    .replace(": in GeoJSON longitude comes first, and no", ": no"),
                ..refusal
            }
        })?);
    }
    if converter.source().is_some() {
        return Err(Refusal::new(
            "bad_position",
            "The row's easting and northing are not both numbers.",
            "Correct them in the file.",
        ));
    }
    found(in_degrees(&format!("{north}; {east}"))?)
}

/// As people write it: degrees, minutes, seconds, letters, commas.
fn in_degrees(text: &str) -> Result<Position, Refusal> {
    input::position(text).map_err(|error| {
        let code = match error.to_string() {
            text if text.contains("swapped") => "coordinates_swapped",
            text if text.contains("0, 0") => "no_fix",
            _ => "bad_position",
        };
        Refusal::new(
            code,
            format!("{error}."),
            "Correct the position in the file.",
        )
    })
}

fn no_fix() -> Refusal {
    Refusal::new(
        "no_fix",
        "The position is 0, 0, which lies in the Atlantic: the device had no position.",
        "Give the place if it is known from elsewhere, or empty the two columns.",
    )
}

fn in_text(
    text: &str,
    converter: &Converter,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Found>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = |geometry, decimal_comma| {
        Ok(Some(Found {
            geometry,
            source_text: one_line(text),
            decimal_comma,
        }))
    };
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.contains('(') {
        let (kind, coordinates) = wkt(text)?;
        return found(
            coordinates_of(kind, &coordinates, converter, warnings)?,
            false,
        );
    }
    if let Some((kind, coordinates)) = odk(text) {
        let geometry = coordinates_of(kind, &coordinates, converter, warnings)?;
        if matches!(geometry, Geometry::Position(at) if at.lat_e7 == 0 && at.lon_e7 == 0) {
            return Err(no_fix());
        }
        return found(geometry, false);
    }
    if converter.source().is_some() {
        return Err(Refusal::new(
            "bad_position",
            "A position in one text cannot be told apart into easting and northing.",
            "Give them two columns: --map position=NORTHING,EASTING.",
        ));
    }
    let commas = text.matches(',').count() > 1 || (text.contains(';') && text.contains(','));
    found(Geometry::Position(in_degrees(text)?), commas)
}

/// `LAT LON ALTITUDE ACCURACY` of ODK and Kobo, or several of them with semicolons between: a
/// shape, or a line that is walked round an area.
fn odk(text: &str) -> Option<(&'static str, Json)> {
    let corners: Option<Vec<Json>> = text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let numbers: Vec<&str> = part.split_whitespace().collect();
            let plain = (2..=4).contains(&numbers.len()) && numbers.iter().all(|n| is_number(n));
            let (lat, lon) = (numbers.first()?, numbers.get(1)?);
            plain.then(|| json!([lon.parse::<f64>().ok(), lat.parse::<f64>().ok()]))
        })
        .collect();
    match corners?.as_slice() {
        [one] => Some(("Point", one.clone())),
        several @ [_, _, _, ..] => Some(("Polygon", json!([several]))),
        _ => None,
    }
}

/// Well-known text (OGC 06-103r4) of a point, polygon or multipolygon, as type and coordinates
/// of GeoJSON. Heights and measures are passed on and dropped there.
fn wkt(text: &str) -> Result<(&'static str, Json), Refusal> {
    let wrong = || {
        Refusal::new(
            "bad_wkt",
            "The row's geometry is no well-known text (WKT) of a POINT, POLYGON or MULTIPOLYGON.",
            "Export the table anew with its geometry as WKT, or import it as GeoJSON.",
        )
    };
    let body = match text.split_once(';') {
        Some((srid, body)) if srid.trim().to_ascii_uppercase().starts_with("SRID=") => body,
        _ => text,
    };
    let at = body.find('(').ok_or_else(wrong)?;
    let (name, lists) = body.split_at(at);
    let name = name.trim().to_ascii_uppercase();
    let name = name
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut rest = lists.trim();
    let coordinates = list(&mut rest, 0).filter(|_| rest.is_empty());
    let coordinates = coordinates.ok_or_else(wrong)?;
    match name.as_str() {
        "POINT" => {
            let first = coordinates.get(0).cloned();
            Ok(("Point", first.ok_or_else(wrong)?))
        }
        "POLYGON" => Ok(("Polygon", coordinates)),
        "MULTIPOLYGON" => Ok(("MultiPolygon", coordinates)),
        _ => Err(wrong()),
    }
}

/// A list in brackets: of lists, or of positions with commas between.
fn list(rest: &mut &str, depth: usize) -> Option<Json> {
    *rest = rest.trim_start().strip_prefix('(')?.trim_start();
    let mut members = Vec::new();
    loop {
        if rest.starts_with('(') {
            if depth >= 3 {
                return None;
            }
            members.push(list(rest, depth + 1)?);
        } else {
            let end = rest.find([',', ')', '('])?;
            let (numbers, after) = rest.split_at(end);
            let numbers: Option<Vec<f64>> = numbers
                .split_whitespace()
                .map(|number| {
                    number
                        .parse::<f64>()
                        .ok()
                        .filter(|number| number.is_finite())
                })
                .collect();
            members.push(json!(numbers.filter(|numbers| numbers.len() >= 2)?));
            *rest = after;
        }
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            *rest = after.trim_start();
        } else {
            *rest = rest.strip_prefix(')')?.trim_start();
            return Some(Json::Array(members));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crs::Crs;

    fn at(text: &str) -> Result<Option<Geometry>, &'static str> {
        let converter = Crs::Wgs84.converter().unwrap();
        in_text(text, &converter, &mut Vec::new())
            .map(|found| found.map(|found| found.geometry))
            .map_err(|refusal| refusal.code)
    }

    fn point(lat: f64, lon: f64) -> Result<Option<Geometry>, &'static str> {
        Ok(Position::from_degrees(lat, lon).map(Geometry::Position))
    }

    #[test]
    fn places_are_read_as_programs_write_them() {
        for text in [
            "POINT (17.9 44.1)",
            "point z(17.9 44.1 560)",
            "SRID=4326;POINT(17.9 44.1)",
            "44.1, 17.9",
            "44,1; 17,9",
            "44.1 17.9",
            "44.1 17.9 560.5 4.2",
            "44.1 17.9 0 0;",
            "44°06'00\"N 17°54'00\"E",
        ] {
            assert_eq!(at(text), point(44.1, 17.9), "{text}");
        }
        let ring = "17.9 44.1, 17.91 44.1, 17.91 44.11, 17.9 44.1";
        let hole = "17.904 44.101, 17.906 44.101, 17.906 44.102, 17.904 44.101";
        let polygon = at(&format!("POLYGON (({ring}), ({hole}))")).unwrap();
        let Some(Geometry::Area(shape)) = polygon else {
            panic!("{polygon:?}");
        };
        assert_eq!(shape.polygons()[0].holes.len(), 1);
        let several = at(&format!("MULTIPOLYGON ((({ring})), (({hole})))")).unwrap();
        assert!(matches!(several, Some(Geometry::Area(shape)) if shape.polygons().len() == 2));
        let walked = at("44.1 17.9 0 5;44.1 17.91 0 5;44.11 17.91 0 5;44.1 17.9 0 5").unwrap();
        assert!(matches!(walked, Some(Geometry::Area(_))));
        assert_eq!(at(""), Ok(None));
    }

    #[test]
    fn what_is_no_place_says_so() {
        for (text, code) in [
            ("POLYGON ((17.9 44.1, 17.91", "bad_wkt"),
            ("LINESTRING (17.9 44.1, 17.91 44.1)", "bad_wkt"),
            ("POINT (((((((1 2)))))))", "bad_wkt"),
            ("POINT (1e999 2)", "bad_wkt"),
            ("POINT EMPTY ()", "bad_wkt"),
            ("POINT (44.1 117.9)", "coordinates_swapped"),
            ("117.9, 44.1", "coordinates_swapped"),
            ("0, 0", "no_fix"),
            ("0 0 0 0", "no_fix"),
            ("by the river", "bad_position"),
        ] {
            assert_eq!(at(text), Err(code), "{text}");
        }
        let deep = format!("POLYGON {}", "(".repeat(100_000));
        assert_eq!(at(&deep), Err("bad_wkt"));
    }
}
