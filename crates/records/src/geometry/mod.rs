//! Positions, rings and areas in whole units of 1e-7 degree (about a centimetre), WGS 84.
//!
//! Rings are kept as they were drawn. What they enclose is computed from them in integers, the
//! same on every replica, whatever the order in which rings arrived: see [`Region`]. Every doubt
//! is settled towards the larger area, because what is computed here says where mines may be.

mod compact;
mod crossing;
mod geodesy;
mod region;

pub use crossing::crosses_itself;
pub use geodesy::{area_m2, bearing_deg, circle, circle_inside, distance_m};
pub use region::Region;

pub(crate) use compact::{read_shape, write_shape};

use cairn_wire::limits;
use serde::{Deserialize, Serialize};

/// Units of a degree.
pub const UNITS_PER_DEGREE: f64 = 1e7;

/// A place, in units of 1e-7 degree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// East of Greenwich, −1,800,000,000 to 1,800,000,000.
    pub lon_e7: i32,
    /// North of the equator, −900,000,000 to 900,000,000.
    pub lat_e7: i32,
}

/// Shows no coordinate, so that none gets into a log.
impl std::fmt::Debug for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Position(…)")
    }
}

impl Position {
    /// From units; `None` outside the globe.
    #[must_use]
    pub fn new(lat_e7: i64, lon_e7: i64) -> Option<Self> {
        let within = (-900_000_000..=900_000_000).contains(&lat_e7)
            && (-1_800_000_000..=1_800_000_000).contains(&lon_e7);
        within.then_some(Self {
            lat_e7: lat_e7 as i32,
            lon_e7: lon_e7 as i32,
        })
    }

    /// From degrees, rounded to the nearest unit; `None` outside the globe or not a number.
    #[must_use]
    pub fn from_degrees(lat: f64, lon: f64) -> Option<Self> {
        if !(lat.abs() <= 90.0 && lon.abs() <= 180.0) {
            return None;
        }
        Self::new(
            (lat * UNITS_PER_DEGREE).round() as i64,
            (lon * UNITS_PER_DEGREE).round() as i64,
        )
    }

    /// Latitude in degrees.
    #[must_use]
    pub fn lat(&self) -> f64 {
        f64::from(self.lat_e7) / UNITS_PER_DEGREE
    }

    /// Longitude in degrees.
    #[must_use]
    pub fn lon(&self) -> f64 {
        f64::from(self.lon_e7) / UNITS_PER_DEGREE
    }
}

/// Why coordinates are no boundary of an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Fewer than three different corners, or no ring at all.
    #[error("an area needs at least three different corners")]
    TooFewCorners,
    /// More corners than one record holds.
    #[error(
        "an area has at most {} corners; simplify the drawing",
        limits::PERIMETER_VERTICES_MAX
    )]
    TooManyCorners,
    /// More rings than one record holds.
    #[error("an area has at most {} rings", limits::PERIMETER_RINGS_MAX)]
    TooManyRings,
    /// Reaches too far: a misread file, or a corner in another country.
    #[error("the area reaches over more than 5 degrees: check its coordinates")]
    TooLarge,
    /// All corners on one line.
    #[error("all corners lie on one line: this encloses nothing")]
    Flat,
    /// Stored bytes that are no shape.
    #[error("stored coordinates cannot be read")]
    Unreadable,
}

/// A closed line, as drawn; the first corner is not repeated at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ring(Vec<Position>);

impl Ring {
    /// Takes a ring as drawn; a last corner equal to the first is dropped.
    ///
    /// # Errors
    ///
    /// Where it has too few different corners, or too many.
    pub fn new(mut corners: Vec<Position>) -> Result<Self, ShapeError> {
        if corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        if corners.len() > limits::PERIMETER_VERTICES_MAX {
            return Err(ShapeError::TooManyCorners);
        }
        let mut different = corners.clone();
        different.sort_unstable();
        different.dedup();
        if different.len() < 3 {
            return Err(ShapeError::TooFewCorners);
        }
        Ok(Self(corners))
    }

    /// The corners, without the first repeated.
    #[must_use]
    pub fn corners(&self) -> &[Position] {
        &self.0
    }
}

/// One area with its holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Polygon {
    /// Its boundary.
    pub outer: Ring,
    /// Land inside that does not belong to it.
    pub holes: Vec<Ring>,
}

/// One or several areas, as drawn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(Vec<Polygon>);

impl Shape {
    /// Takes areas as drawn.
    ///
    /// # Errors
    ///
    /// Where there is none, or more than one record holds.
    pub fn new(polygons: Vec<Polygon>) -> Result<Self, ShapeError> {
        let shape = Self(polygons);
        if shape.rings().count() > limits::PERIMETER_RINGS_MAX {
            return Err(ShapeError::TooManyRings);
        }
        let corners: usize = shape.rings().map(|ring| ring.corners().len()).sum();
        if corners > limits::PERIMETER_VERTICES_MAX {
            return Err(ShapeError::TooManyCorners);
        }
        let bounds = shape.bounds().ok_or(ShapeError::TooFewCorners)?;
        let (height, width) = bounds.extent_e7();
        if height.max(width) > limits::PERIMETER_EXTENT_E7_MAX {
            return Err(ShapeError::TooLarge);
        }
        Ok(shape)
    }

    /// From an overlay, which may have more corners than a drawing.
    pub(crate) fn computed(polygons: Vec<Polygon>) -> Self {
        Self(polygons)
    }

    /// One area without holes.
    ///
    /// # Errors
    ///
    /// As [`Shape::new`].
    pub fn from_ring(ring: Ring) -> Result<Self, ShapeError> {
        Self::new(vec![Polygon {
            outer: ring,
            holes: Vec::new(),
        }])
    }

    /// The areas.
    #[must_use]
    pub fn polygons(&self) -> &[Polygon] {
        &self.0
    }

    /// Every ring, boundaries and holes, as drawn.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.0
            .iter()
            .flat_map(|polygon| std::iter::once(&polygon.outer).chain(&polygon.holes))
    }

    /// The box round it; `None` when empty.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        Bounds::of(self.rings().flat_map(|ring| ring.corners()).copied())
    }

    /// Whether one of its rings crosses itself.
    #[must_use]
    pub fn crosses_itself(&self) -> bool {
        self.rings().any(crosses_itself)
    }
}

/// A box in latitude and longitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// South-western corner.
    pub south_west: Position,
    /// North-eastern corner.
    pub north_east: Position,
}

impl Bounds {
    /// The smallest box that holds all positions; `None` for none.
    #[must_use]
    pub fn of(positions: impl IntoIterator<Item = Position>) -> Option<Self> {
        positions.into_iter().fold(None, |bounds, position| {
            let single = Self {
                south_west: position,
                north_east: position,
            };
            Some(bounds.map_or(single, |bounds: Self| bounds.with(&single)))
        })
    }

    /// The smallest box that holds both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            south_west: Position {
                lat_e7: self.south_west.lat_e7.min(other.south_west.lat_e7),
                lon_e7: self.south_west.lon_e7.min(other.south_west.lon_e7),
            },
            north_east: Position {
                lat_e7: self.north_east.lat_e7.max(other.north_east.lat_e7),
                lon_e7: self.north_east.lon_e7.max(other.north_east.lon_e7),
            },
        }
    }

    /// Its middle.
    #[must_use]
    pub fn centre(&self) -> Position {
        let middle = |a: i32, b: i32| ((i64::from(a) + i64::from(b)).div_euclid(2)) as i32;
        Position {
            lat_e7: middle(self.south_west.lat_e7, self.north_east.lat_e7),
            lon_e7: middle(self.south_west.lon_e7, self.north_east.lon_e7),
        }
    }

    /// Height and width.
    #[must_use]
    pub fn extent_e7(&self) -> (i64, i64) {
        (
            i64::from(self.north_east.lat_e7) - i64::from(self.south_west.lat_e7),
            i64::from(self.north_east.lon_e7) - i64::from(self.south_west.lon_e7),
        )
    }

    /// Whether `other` lies wholly inside or on the edge.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.with(other) == *self
    }
}
