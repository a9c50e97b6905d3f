//! Features as GeoJSON, one a line, the same bytes for the same records.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use cairn_records::geometry::{Polygon, Position, Ring, UNITS_PER_DEGREE};
use serde_json::Value;

use super::feature::Geometry;

/// Writes a FeatureCollection, feature by feature, in ascending order of ids.
///
/// Coordinates are printed from whole units of 1e-7 degree, without a detour through floating
/// point, and rings as they were drawn, so that reading them gives the same record.
pub struct GeoJsonWriter<W> {
    out: W,
    last: Option<String>,
    line: String,
}

/// Where a feature lies, for writing.
#[derive(Debug, Clone, Copy)]
pub enum Drawing<'a> {
    /// No place is known.
    None,
    /// A place without a boundary.
    Position(Position),
    /// Areas as drawn, or as dissolved from several.
    Area(&'a [Polygon]),
}

impl<'a> From<&'a Geometry> for Drawing<'a> {
    fn from(geometry: &'a Geometry) -> Self {
        match geometry {
            Geometry::Area(shape) => Self::Area(shape.polygons()),
            Geometry::Position(position) => Self::Position(*position),
            Geometry::Nowhere => Self::None,
        }
    }
}

/// Why a feature was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk or the pipe failed.
    #[error("the file could not be written: {0}")]
    Io(#[from] io::Error),
    /// The caller's fault: ids must ascend, so that equal stores give equal bytes.
    #[error("features must be written in ascending order of their ids")]
    Order,
}

impl<W: Write> GeoJsonWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn new(mut out: W) -> Result<Self, WriteError> {
        out.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[")?;
        Ok(Self {
            out,
            last: None,
            line: String::new(),
        })
    }

    /// Writes one feature.
    ///
    /// # Errors
    ///
    /// Where its id does not come after the one before, or the file cannot be written.
    pub fn write(
        &mut self,
        id: &str,
        drawing: Drawing<'_>,
        properties: &BTreeMap<String, Value>,
    ) -> Result<(), WriteError> {
        if self.last.as_deref().is_some_and(|last| last >= id) {
            return Err(WriteError::Order);
        }
        self.line.clear();
        self.line
            .push_str(if self.last.is_some() { ",\n" } else { "\n" });
        self.line.push_str("{\"type\":\"Feature\",\"id\":");
        self.line.push_str(&Value::from(id).to_string());
        self.line.push_str(",\"geometry\":");
        geometry_text(drawing, &mut self.line);
        self.line.push_str(",\"properties\":{");
        for (index, (name, value)) in properties.iter().enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            self.line.push_str(&Value::from(name.as_str()).to_string());
            self.line.push(':');
            self.line.push_str(&value.to_string());
        }
        self.line.push_str("}}");
        self.out.write_all(self.line.as_bytes())?;
        self.last = Some(id.to_owned());
        Ok(())
    }

    /// Ends the file. It is not yet flushed to disk: that is the owner's business.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The `geometry` member's value.
pub(crate) fn geometry_text(drawing: Drawing<'_>, text: &mut String) {
    match drawing {
        Drawing::None | Drawing::Area([]) => text.push_str("null"),
        Drawing::Position(position) => {
            text.push_str("{\"type\":\"Point\",\"coordinates\":");
            position_text(position, text);
            text.push('}');
        }
        Drawing::Area(polygons) => area_text(polygons, text),
    }
}

/// The same as well-known text (OGC 06-103r4); empty where no place is known.
pub(crate) fn wkt_text(drawing: Drawing<'_>) -> String {
    let corner = |at: &Position| format!("{} {}", degrees(at.lon_e7), degrees(at.lat_e7));
    let ring = |ring: &Ring| {
        let corners = ring.corners().iter().chain(ring.corners().first());
        let corners: Vec<String> = corners.map(corner).collect();
        format!("({})", corners.join(", "))
    };
    let polygon = |polygon: &Polygon| {
        let rings = std::iter::once(&polygon.outer).chain(&polygon.holes);
        let rings: Vec<String> = rings.map(ring).collect();
        format!("({})", rings.join(", "))
    };
    match drawing {
        Drawing::None | Drawing::Area([]) => String::new(),
        Drawing::Position(at) => format!("POINT ({})", corner(&at)),
        Drawing::Area([one]) => format!("POLYGON {}", polygon(one)),
        Drawing::Area(several) => {
            let polygons: Vec<String> = several.iter().map(polygon).collect();
            format!("MULTIPOLYGON ({})", polygons.join(", "))
        }
    }
}

/// Exact decimal degrees of whole units of 1e-7.
pub(crate) fn degrees(e7: i32) -> String {
    let mut text = String::new();
    degrees_text(e7, &mut text);
    text
}

fn area_text(polygons: &[Polygon], text: &mut String) {
    let single = polygons.len() == 1;
    text.push_str(if single {
        "{\"type\":\"Polygon\",\"coordinates\":"
    } else {
        "{\"type\":\"MultiPolygon\",\"coordinates\":["
    });
    for (index, polygon) in polygons.iter().enumerate() {
        text.push_str(if index > 0 { ",[" } else { "[" });
        ring_text(&polygon.outer, text);
        for hole in &polygon.holes {
            text.push(',');
            ring_text(hole, text);
        }
        text.push(']');
    }
    text.push_str(if single { "}" } else { "]}" });
}

fn ring_text(ring: &Ring, text: &mut String) {
    text.push('[');
    for (index, corner) in ring
        .corners()
        .iter()
        .chain(ring.corners().first())
        .enumerate()
    {
        if index > 0 {
            text.push(',');
        }
        position_text(*corner, text);
    }
    text.push(']');
}

fn position_text(position: Position, text: &mut String) {
    text.push('[');
    degrees_text(position.lon_e7, text);
    text.push(',');
    degrees_text(position.lat_e7, text);
    text.push(']');
}

/// Exact decimal degrees, without trailing zeros but for the first place.
fn degrees_text(e7: i32, text: &mut String) {
    const UNITS: u32 = UNITS_PER_DEGREE as u32;
    if e7 < 0 {
        text.push('-');
    }
    let units = e7.unsigned_abs();
    let fraction = format!("{:07}", units % UNITS);
    let places = fraction.trim_end_matches('0').len().max(1);
    text.push_str(&(units / UNITS).to_string());
    text.push('.');
    text.push_str(fraction.get(..places).unwrap_or("0"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_exact() {
        for (e7, expected) in [
            (0, "0.0"),
            (-1, "-0.0000001"),
            (170_166_558, "17.0166558"),
            (-1_800_000_000, "-180.0"),
            (451_200_000, "45.12"),
            (i32::MIN, "-214.7483648"),
        ] {
            let mut text = String::new();
            degrees_text(e7, &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn ids_must_ascend() {
        let mut writer = GeoJsonWriter::new(Vec::new()).unwrap();
        let none = BTreeMap::new();
        writer.write("b", Drawing::None, &none).unwrap();
        assert!(matches!(
            writer.write("b", Drawing::None, &none),
            Err(WriteError::Order)
        ));
        assert!(matches!(
            writer.write("a", Drawing::None, &none),
            Err(WriteError::Order)
        ));
        let bytes = writer.finish().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"type\":\"FeatureCollection\",\"features\":[\n\
             {\"type\":\"Feature\",\"id\":\"b\",\"geometry\":null,\"properties\":{}}\n]}\n"
        );
    }
}
