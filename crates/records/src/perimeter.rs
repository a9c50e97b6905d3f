//! The extent of an area: rings that somebody drew, or a circle where nobody did.

use crate::cbor::{CborError, Reader, Writer};
use crate::geometry::{self, Polygon, Position, Region, Ring, Shape, ShapeError};
use cairn_wire::limits;
use serde_json::{Value as Json, json};

/// Radius of a circle about which nothing is known, in metres, unless the programme's codebook
/// says otherwise.
pub const CIRCLE_RADIUS_M_DEFAULT: u32 = 200;

const KEY_RINGS: i64 = 0;
const KEY_CIRCLE: i64 = 1;
const KEY_METHOD: i64 = 2;
const KEY_ACCURACY: i64 = 3;

/// Extent of an area, and how it is known. One value: rings are never merged corner by corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Perimeter {
    /// Where it is.
    pub extent: Extent,
    /// How it was measured (a code of the list `perimeter_method`).
    pub method: Option<String>,
    /// Accuracy of its corners, in units of 0.1 m.
    pub accuracy_dm: Option<u32>,
}

/// Where an area is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Rings, as drawn.
    Rings(Shape),
    /// A place whose surroundings were not surveyed.
    Circle {
        /// The reported place.
        centre: Position,
        /// How far round it may be dangerous, in metres.
        radius_m: u32,
    },
}

/// Bytes that are no perimeter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PerimeterError {
    /// Not the expected encoding.
    #[error(transparent)]
    Encoding(#[from] CborError),
    /// No boundary of an area.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A circle off the globe or of an impossible size.
    #[error("a position or radius is out of range")]
    Circle,
}

impl Perimeter {
    /// Rings as drawn, without saying how they were measured.
    #[must_use]
    pub fn rings(shape: Shape) -> Self {
        Self {
            extent: Extent::Rings(shape),
            method: None,
            accuracy_dm: None,
        }
    }

    /// A circle; the radius is held between 1 m and [`limits::CIRCLE_RADIUS_M_MAX`].
    #[must_use]
    pub fn circle(centre: Position, radius_m: u32) -> Self {
        Self {
            extent: Extent::Circle {
                centre,
                radius_m: radius_m.clamp(1, limits::CIRCLE_RADIUS_M_MAX),
            },
            method: None,
            accuracy_dm: None,
        }
    }

    /// The radius of a circle of this area, rounded up.
    #[must_use]
    pub fn radius_of_area_m(area_m2: u64) -> u32 {
        let radius = (area_m2 as f64 / std::f64::consts::PI).sqrt().ceil();
        (radius as u32).clamp(1, limits::CIRCLE_RADIUS_M_MAX)
    }

    /// What it covers; a circle is drawn a little too large.
    #[must_use]
    pub fn region(&self) -> Region {
        match &self.extent {
            Extent::Rings(shape) => Region::of(shape),
            Extent::Circle { centre, radius_m } => circle_region(*centre, *radius_m),
        }
    }

    /// Whether somebody drew its boundary.
    #[must_use]
    pub fn surveyed(&self) -> bool {
        matches!(self.extent, Extent::Rings(_))
    }

    /// Whether this is no safer than `before`: it holds all of it. A drawn ring also stands for
    /// a circle whose centre it holds, because the circle only said that nothing was drawn.
    #[must_use]
    pub fn covers(&self, before: &Self) -> bool {
        self.covers_with(&self.region(), before, &before.region())
    }

    /// As [`Perimeter::covers`], with the regions of both at hand.
    pub(crate) fn covers_with(&self, mine: &Region, before: &Self, theirs: &Region) -> bool {
        match (&self.extent, &before.extent) {
            (Extent::Rings(_), Extent::Circle { centre, .. }) => mine.contains_position(*centre),
            (Extent::Rings(_), Extent::Rings(_)) => mine.contains(theirs),
            (
                Extent::Circle { centre, radius_m },
                Extent::Circle {
                    centre: other,
                    radius_m: smaller,
                },
            ) => {
                geometry::distance_m(*centre, *other) + f64::from(*smaller) <= f64::from(*radius_m)
            }
            (Extent::Circle { centre, radius_m }, Extent::Rings(_)) => {
                geometry::circle_inside(*centre, f64::from(*radius_m))
                    .and_then(|ring| Shape::from_ring(ring).ok())
                    .is_some_and(|inside| Region::of(&inside).contains(theirs))
            }
        }
    }

    /// For drawing: what a region covers, as rings. Never written.
    pub(crate) fn dissolved(region: &Region) -> Self {
        Self::rings(Shape::computed(region.polygons().to_vec()))
    }

    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let parts =
            1 + usize::from(self.method.is_some()) + usize::from(self.accuracy_dm.is_some());
        out.map(parts);
        match &self.extent {
            Extent::Rings(shape) => {
                let mut rings = Vec::new();
                geometry::write_shape(shape, &mut rings);
                out.integer(KEY_RINGS);
                out.bytes(&rings);
            }
            Extent::Circle { centre, radius_m } => {
                out.integer(KEY_CIRCLE);
                out.array(3);
                out.integer(centre.lat_e7.into());
                out.integer(centre.lon_e7.into());
                out.integer((*radius_m).into());
            }
        }
        if let Some(method) = &self.method {
            out.integer(KEY_METHOD);
            out.text(method);
        }
        if let Some(accuracy_dm) = self.accuracy_dm {
            out.integer(KEY_ACCURACY);
            out.integer(accuracy_dm.into());
        }
        out.into_bytes()
    }

    pub(crate) fn from_cbor(bytes: &[u8]) -> Result<Self, PerimeterError> {
        // The whole first, so that unknown parts of newer versions are well-formed too.
        let mut whole = Reader::new(bytes);
        whole.skip()?;
        whole.end()?;
        let mut reader = Reader::new(bytes);
        let mut extent = None;
        let mut method = None;
        let mut accuracy_dm = None;
        for _ in 0..reader.map()? {
            let at = reader;
            match reader.integer() {
                Ok(KEY_RINGS) => {
                    extent = Some(Extent::Rings(geometry::read_shape(reader.bytes()?)?))
                }
                Ok(KEY_CIRCLE) => extent = Some(read_circle(&mut reader)?),
                Ok(KEY_METHOD) => method = Some(reader.text()?.to_owned()),
                Ok(KEY_ACCURACY) => accuracy_dm = u32::try_from(reader.integer()?).ok(),
                _ => {
                    reader = at;
                    reader.skip()?;
                    reader.skip()?;
                }
            }
        }
        Ok(Self {
            extent: extent.ok_or(CborError::Type)?,
            method,
            accuracy_dm,
        })
    }

    /// With the geometry as drawn (a circle as a polygon round it), in degrees.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut json = match &self.extent {
            Extent::Rings(shape) => json!({
                "extent": "surveyed",
                "area_m2": self.region().area_m2(),
                "geometry": shape_to_geojson(shape.polygons()),
            }),
            Extent::Circle { centre, radius_m } => json!({
                "extent": "not surveyed",
                "centre": { "lat": centre.lat(), "lon": centre.lon() },
                "radius_m": radius_m,
                "area_m2": self.region().area_m2(),
                "geometry": shape_to_geojson(self.region().polygons()),
            }),
        };
        if let Some(parts) = json.as_object_mut() {
            if let Some(method) = &self.method {
                parts.insert("method".into(), json!(method));
            }
            if let Some(accuracy_dm) = self.accuracy_dm {
                parts.insert("accuracy_m".into(), json!(f64::from(accuracy_dm) / 10.0));
            }
        }
        json
    }
}

fn read_circle(reader: &mut Reader<'_>) -> Result<Extent, PerimeterError> {
    if reader.array()? != 3 {
        return Err(PerimeterError::Circle);
    }
    let (lat, lon) = (reader.integer()?, reader.integer()?);
    let centre = Position::new(lat, lon).ok_or(PerimeterError::Circle)?;
    match u32::try_from(reader.integer()?) {
        Ok(radius_m @ 1..=limits::CIRCLE_RADIUS_M_MAX) => Ok(Extent::Circle { centre, radius_m }),
        _ => Err(PerimeterError::Circle),
    }
}

fn circle_region(centre: Position, radius_m: u32) -> Region {
    geometry::circle(centre, f64::from(radius_m))
        .and_then(|ring| Shape::from_ring(ring).ok())
        .map(|shape| Region::of(&shape))
        .unwrap_or_default()
}

/// GeoJSON geometry (RFC 7946): longitude first, rings closed.
#[must_use]
pub fn shape_to_geojson(polygons: &[Polygon]) -> Json {
    let rings = |polygon: &Polygon| -> Json {
        std::iter::once(&polygon.outer)
            .chain(&polygon.holes)
            .map(ring_to_geojson)
            .collect()
    };
    match polygons {
        [polygon] => json!({ "type": "Polygon", "coordinates": rings(polygon) }),
        several => json!({
            "type": "MultiPolygon",
            "coordinates": several.iter().map(rings).collect::<Json>(),
        }),
    }
}

fn ring_to_geojson(ring: &Ring) -> Json {
    let first = ring.corners().first();
    ring.corners()
        .iter()
        .chain(first)
        .map(|corner| json!([corner.lon(), corner.lat()]))
        .collect()
}
