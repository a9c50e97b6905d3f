//! Where a record is on the ground, for whoever asks how far away it is.
//!
//! The land it covers, as it reads, or the places that people gave for it. Distances are measured on
//! the ellipsoid to the nearest point of it, which is looked for on a plane laid through the place that
//! is asked about: over the few kilometres that people ask for, the plane errs by less than a metre.
//! Where an outline cannot be kept as it is, what is kept is larger, never smaller.

use crate::geometry::{
    Bounds, Position, Ring, Shape, ShapeError, bearing_deg, distance_m, read_shape, write_shape,
};
use crate::read::Record;
use crate::summary;

const LAND: u8 = 1;
const PLACES: u8 = 2;
const PLACE_BYTES: usize = 8;

/// Land, or places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outline {
    /// Land that does not overlap itself.
    Land(Shape),
    /// Places without an extent, at least one.
    Places(Vec<Position>),
}

/// The nearest point of an outline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// How far it is, in metres; 0 inside.
    pub distance_m: f64,
    /// Where on the way one is nearest to it; the place itself, where a place was asked about.
    pub from: Position,
    /// How far along the leg that is, from 0 to 1.
    pub along: f64,
    /// The point.
    pub at: Position,
}

impl Nearest {
    /// In which direction it lies, in degrees from true north; `None` where one stands in it.
    #[must_use]
    pub fn bearing_deg(&self) -> Option<f64> {
        (self.distance_m > 0.0).then(|| bearing_deg(self.from, self.at))
    }
}

impl Outline {
    /// That of a record; `None` where nobody said where it is.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        if let Some(region) = record.region() {
            let whole = Shape::new(region.polygons().to_vec());
            let whole = whole.or_else(|error| region.bounds().map_or(Err(error), around));
            return whole.ok().map(Self::Land);
        }
        let places = summary::places(record);
        (!places.is_empty()).then_some(Self::Places(places))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Land(shape) => {
                let mut out = vec![LAND];
                write_shape(shape, &mut out);
                out
            }
            Self::Places(places) => {
                let mut out = vec![PLACES];
                for place in places {
                    out.extend_from_slice(&place.lat_e7.to_be_bytes());
                    out.extend_from_slice(&place.lon_e7.to_be_bytes());
                }
                out
            }
        }
    }

    /// From its bytes; `None` where they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (what, rest) = bytes.split_first()?;
        match *what {
            LAND => read_shape(rest).ok().map(Self::Land),
            PLACES => {
                let places: Vec<Position> = rest
                    .chunks(PLACE_BYTES)
                    .map(|place| {
                        let (lat, lon) = place.split_first_chunk::<4>()?;
                        let lat = i32::from_be_bytes(*lat);
                        let lon = i32::from_be_bytes(lon.try_into().ok()?);
                        Position::new(lat.into(), lon.into())
                    })
                    .collect::<Option<_>>()?;
                (!places.is_empty()).then_some(Self::Places(places))
            }
            _ => None,
        }
    }

    /// Its nearest point to a place.
    #[must_use]
    pub fn nearest_to(&self, place: Position) -> Nearest {
        self.nearest_to_leg(place, place)
    }

    /// Its nearest point to a straight leg; of several, the one that is met first.
    #[must_use]
    pub fn nearest_to_leg(&self, start: Position, end: Position) -> Nearest {
        let plane = Plane::through(start);
        let leg = (plane.put(start), plane.put(end));
        let found = match self {
            Self::Land(shape) if inside(shape, &plane, leg.0) => Found {
                squared: 0.0,
                along: 0.0,
                at: leg.0,
            },
            Self::Land(shape) => nearest_edge(shape, &plane, leg),
            Self::Places(places) => {
                let places = places.iter().map(|place| plane.put(*place));
                Found::first(places.map(|place| Found::of_point(leg, place)))
            }
        };
        let from = plane.lift(between(leg, found.along)).unwrap_or(start);
        let at = plane.lift(found.at).unwrap_or(start);
        Nearest {
            distance_m: if found.squared == 0.0 {
                0.0
            } else {
                distance_m(from, at)
            },
            from,
            along: found.along,
            at,
        }
    }
}

fn around(bounds: Bounds) -> Result<Shape, ShapeError> {
    let (low, high) = (bounds.south_west, bounds.north_east);
    let corner = |lat_e7, lon_e7| Position { lon_e7, lat_e7 };
    Shape::from_ring(Ring::new(vec![
        corner(low.lat_e7, low.lon_e7),
        corner(low.lat_e7, high.lon_e7),
        corner(high.lat_e7, high.lon_e7),
        corner(high.lat_e7, low.lon_e7),
    ])?)
}

type Point = (f64, f64);

/// A plane through a place: metres east and north of it.
struct Plane {
    origin: Position,
    east_m: f64,
    north_m: f64,
}

impl Plane {
    /// Scales are those of the WGS 84 ellipsoid at that latitude (its radii of curvature in the prime
    /// vertical and in the meridian).
    fn through(origin: Position) -> Self {
        const SEMI_MAJOR_M: f64 = 6_378_137.0;
        const ECCENTRICITY_SQUARED: f64 = 0.006_694_379_990_14;
        let latitude = origin.lat().to_radians();
        let bulge = 1.0 - ECCENTRICITY_SQUARED * latitude.sin().powi(2);
        let prime_vertical = SEMI_MAJOR_M / bulge.sqrt();
        let meridian = SEMI_MAJOR_M * (1.0 - ECCENTRICITY_SQUARED) / bulge.powf(1.5);
        let unit = 1e-7_f64.to_radians();
        Self {
            origin,
            // At a pole every direction is south: a little of the east keeps the plane a plane.
            east_m: prime_vertical * latitude.cos().max(1e-6) * unit,
            north_m: meridian * unit,
        }
    }

    fn put(&self, at: Position) -> Point {
        const HALF_TURN: i64 = 1_800_000_000;
        let east = i64::from(at.lon_e7) - i64::from(self.origin.lon_e7);
        // The shorter way round the globe.
        let east = (east + HALF_TURN).rem_euclid(2 * HALF_TURN) - HALF_TURN;
        let north = i64::from(at.lat_e7) - i64::from(self.origin.lat_e7);
        (east as f64 * self.east_m, north as f64 * self.north_m)
    }

    fn lift(&self, point: Point) -> Option<Position> {
        let lat = i64::from(self.origin.lat_e7) + (point.1 / self.north_m).round() as i64;
        let lon = i64::from(self.origin.lon_e7) + (point.0 / self.east_m).round() as i64;
        let lon = (lon + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
        Position::new(lat, lon)
    }
}

/// A point found, seen from a leg.
#[derive(Clone, Copy)]
struct Found {
    squared: f64,
    along: f64,
    at: Point,
}

impl Found {
    fn of_point(leg: (Point, Point), at: Point) -> Self {
        let along = foot(leg, at);
        Self {
            squared: squared(between(leg, along), at),
            along,
            at,
        }
    }

    /// The nearest; of several, the one that is met first.
    fn first(all: impl Iterator<Item = Self>) -> Self {
        let nowhere = Self {
            squared: f64::INFINITY,
            along: 0.0,
            at: (0.0, 0.0),
        };
        all.fold(nowhere, |best, one| {
            let order = one.squared.total_cmp(&best.squared);
            match order.then(one.along.total_cmp(&best.along)) {
                std::cmp::Ordering::Less => one,
                _ => best,
            }
        })
    }
}

fn nearest_edge(shape: &Shape, plane: &Plane, leg: (Point, Point)) -> Found {
    let edges = shape.rings().flat_map(|ring| {
        let corners = ring.corners();
        let next = corners.iter().cycle().skip(1);
        corners.iter().zip(next)
    });
    Found::first(edges.map(|(one, other)| {
        let edge = (plane.put(*one), plane.put(*other));
        if let Some(along) = crossing(leg, edge) {
            return Found {
                squared: 0.0,
                along,
                at: between(leg, along),
            };
        }
        let of_end = |along: f64| {
            let end = between(leg, along);
            let at = between(edge, foot(edge, end));
            Found {
                squared: squared(end, at),
                along,
                at,
            }
        };
        let corners = [edge.0, edge.1].map(|corner| Found::of_point(leg, corner));
        Found::first(corners.into_iter().chain([of_end(0.0), of_end(1.0)]))
    }))
}

/// Where along a leg it crosses an edge.
fn crossing(leg: (Point, Point), edge: (Point, Point)) -> Option<f64> {
    let way = minus(leg.1, leg.0);
    let side = minus(edge.1, edge.0);
    let turn = cross(way, side);
    if turn == 0.0 {
        return None;
    }
    let gap = minus(edge.0, leg.0);
    let (along, across) = (cross(gap, side) / turn, cross(gap, way) / turn);
    let within = |part: f64| (0.0..=1.0).contains(&part);
    (within(along) && within(across)).then_some(along)
}

/// Is a point of the plane inside? A ring counts once for each time it is left.
fn inside(shape: &Shape, plane: &Plane, point: Point) -> bool {
    let mut inside = false;
    for ring in shape.rings() {
        let corners = ring.corners();
        for (one, other) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            let (one, other) = (plane.put(*one), plane.put(*other));
            if (one.1 > point.1) != (other.1 > point.1) {
                let part = (point.1 - one.1) / (other.1 - one.1);
                inside ^= point.0 < one.0 + part * (other.0 - one.0);
            }
        }
    }
    inside
}

/// Where on a line a point is nearest, from 0 to 1.
fn foot(line: (Point, Point), point: Point) -> f64 {
    let way = minus(line.1, line.0);
    let length = way.0 * way.0 + way.1 * way.1;
    if length == 0.0 {
        return 0.0;
    }
    let gap = minus(point, line.0);
    ((gap.0 * way.0 + gap.1 * way.1) / length).clamp(0.0, 1.0)
}

fn between(line: (Point, Point), along: f64) -> Point {
    let way = minus(line.1, line.0);
    (line.0.0 + along * way.0, line.0.1 + along * way.1)
}

fn minus(one: Point, other: Point) -> Point {
    (one.0 - other.0, one.1 - other.1)
}

fn cross(one: Point, other: Point) -> f64 {
    one.0 * other.1 - one.1 * other.0
}

fn squared(one: Point, other: Point) -> f64 {
    let gap = minus(one, other);
    gap.0 * gap.0 + gap.1 * gap.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Polygon;
    use proptest::prelude::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).unwrap()
    }

    fn square(lat: f64, lon: f64, side: f64) -> Outline {
        let corners = vec![
            at(lat, lon),
            at(lat, lon + side),
            at(lat + side, lon + side),
            at(lat + side, lon),
        ];
        Outline::Land(Shape::from_ring(Ring::new(corners).unwrap()).unwrap())
    }

    #[test]
    fn inside_is_no_distance_and_outside_is_that_of_the_edge() {
        let area = square(44.0, 18.0, 0.01);
        let inside = area.nearest_to(at(44.005, 18.005));
        assert_eq!((inside.distance_m, inside.bearing_deg()), (0.0, None));
        // 0.001 degrees west of the middle of the western edge.
        let west = area.nearest_to(at(44.005, 17.999));
        assert!((west.distance_m - 80.2).abs() < 0.1, "{}", west.distance_m);
        assert!((west.bearing_deg().unwrap() - 90.0).abs() < 0.1);
        // From beyond a corner the corner is nearest.
        let corner = area.nearest_to(at(43.99, 17.99));
        assert_eq!(corner.at, at(44.0, 18.0));
    }

    #[test]
    fn a_hole_is_outside() {
        let ring = |low: f64, side: f64| {
            let corners = [(0.0, 0.0), (0.0, side), (side, side), (side, 0.0)];
            let corners = corners.map(|(lat, lon)| at(44.0 + low + lat, 18.0 + low + lon));
            Ring::new(corners.to_vec()).unwrap()
        };
        let shape = Shape::new(vec![Polygon {
            outer: ring(0.0, 0.03),
            holes: vec![ring(0.01, 0.01)],
        }]);
        let area = Outline::Land(shape.unwrap());
        assert_eq!(area.nearest_to(at(44.005, 18.005)).distance_m, 0.0);
        let hole = area.nearest_to(at(44.015, 18.015)).distance_m;
        assert!(hole > 300.0, "{hole}");
    }

    #[test]
    fn a_leg_that_crosses_meets_the_edge_where_it_goes_in() {
        let area = square(44.0, 18.0, 0.01);
        let met = area.nearest_to_leg(at(44.005, 17.99), at(44.005, 18.03));
        assert_eq!(met.distance_m, 0.0);
        assert!((met.along - 0.25).abs() < 1e-6, "{}", met.along);
        let past = area.nearest_to_leg(at(43.999, 17.99), at(43.999, 18.03));
        assert!((past.distance_m - 111.1).abs() < 0.2, "{}", past.distance_m);
    }

    #[test]
    fn the_shorter_way_round_the_globe_counts() {
        let place = Outline::Places(vec![at(-17.0, -179.999)]);
        let near = place.nearest_to(at(-17.0, 179.999));
        assert!(near.distance_m < 220.0, "{}", near.distance_m);
        assert!((near.bearing_deg().unwrap() - 90.0).abs() < 0.1);
    }

    #[test]
    fn bytes_that_are_no_outline_are_none() {
        for bytes in [&[][..], &[0], &[1], &[2], &[2, 0, 0, 0], &[3, 1, 2]] {
            assert_eq!(Outline::from_bytes(bytes), None, "{bytes:?}");
        }
        assert_eq!(
            Outline::from_bytes(&[2, 127, 0, 0, 0, 0, 0, 0, 0]),
            None,
            "off the globe"
        );
    }

    proptest! {
        #[test]
        fn an_outline_reads_back(lat in -89.0..89.0f64, lon in -179.0..179.0f64, side in 0.0001..0.9f64) {
            let area = square(lat, lon, side);
            prop_assert_eq!(Outline::from_bytes(&area.to_bytes()), Some(area));
            let places = Outline::Places(vec![at(lat, lon), at(lon / 2.0, lat)]);
            prop_assert_eq!(Outline::from_bytes(&places.to_bytes()), Some(places));
        }

        /// No corner and no point along the edges is nearer than what is said to be nearest.
        #[test]
        fn nothing_of_it_is_nearer(lat in -70.0..70.0f64, lon in -179.0..179.0f64, north in -0.02..0.04f64, east in -0.02..0.04f64) {
            let area = square(lat, lon, 0.02);
            let here = at(lat + north, lon + east);
            let said = area.nearest_to(here).distance_m;
            let Outline::Land(shape) = &area else { unreachable!() };
            let corners = shape.polygons()[0].outer.corners().to_vec();
            for (one, other) in corners.iter().zip(corners.iter().cycle().skip(1)) {
                for part in 0..=8 {
                    let part = f64::from(part) / 8.0;
                    let on_edge = at(
                        one.lat() + part * (other.lat() - one.lat()),
                        one.lon() + part * (other.lon() - one.lon()),
                    );
                    prop_assert!(said <= distance_m(here, on_edge) + 0.5);
                }
            }
        }
    }
}
