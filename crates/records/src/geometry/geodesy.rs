//! Areas, distances and circles on the WGS 84 ellipsoid (C. F. F. Karney, Algorithms for
//! geodesics, Journal of Geodesy 87, 2013).

use super::{Position, Ring};
use geographiclib_rs::{DirectGeodesic, Geodesic, InverseGeodesic, PolygonArea, Winding};
use std::sync::LazyLock;

static WGS84: LazyLock<Geodesic> = LazyLock::new(Geodesic::wgs84);

/// Corners of a circle when it is drawn.
const CIRCLE_CORNERS: u32 = 48;

/// Area of a ring that does not cross itself, in m², whichever way round it was drawn.
#[must_use]
pub fn area_m2(ring: &Ring) -> f64 {
    let mut area = PolygonArea::new(&WGS84, Winding::CounterClockwise);
    for corner in ring.corners() {
        area.add_point(corner.lat(), corner.lon());
    }
    let (_, area_m2, _) = area.compute(true);
    area_m2.abs()
}

/// Length of the shortest way between two places, in metres.
#[must_use]
pub fn distance_m(from: Position, to: Position) -> f64 {
    InverseGeodesic::<f64>::inverse(&*WGS84, from.lat(), from.lon(), to.lat(), to.lon())
}

/// Direction in which the shortest way leaves, in degrees from true north, 0 to 360.
#[must_use]
pub fn bearing_deg(from: Position, to: Position) -> f64 {
    let (azimuth, _, _): (f64, f64, f64) =
        WGS84.inverse(from.lat(), from.lon(), to.lat(), to.lon());
    azimuth.rem_euclid(360.0)
}

/// A polygon that holds the whole circle. `None` where it would reach over a pole or the
/// antimeridian.
#[must_use]
pub fn circle(centre: Position, radius_m: f64) -> Option<Ring> {
    let half_corner = std::f64::consts::PI / f64::from(CIRCLE_CORNERS);
    // A centimetre more for the rounding of corners.
    corners_round(centre, radius_m / half_corner.cos() + 0.02)
}

/// A polygon that lies wholly inside the circle.
#[must_use]
pub fn circle_inside(centre: Position, radius_m: f64) -> Option<Ring> {
    corners_round(centre, radius_m - 0.02)
}

fn corners_round(centre: Position, distance_m: f64) -> Option<Ring> {
    let corners = (0..CIRCLE_CORNERS)
        .map(|corner| {
            let azimuth = 360.0 / f64::from(CIRCLE_CORNERS) * f64::from(corner);
            let (lat, lon): (f64, f64) =
                WGS84.direct(centre.lat(), centre.lon(), azimuth, distance_m);
            Position::from_degrees(lat, lon).filter(|at| (at.lon() - centre.lon()).abs() < 90.0)
        })
        .collect::<Option<Vec<_>>>()?;
    Ring::new(corners).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).unwrap()
    }

    #[test]
    fn lengths_and_areas_are_those_of_the_ellipsoid() {
        // A degree of latitude on the equator, by the ellipsoid's definition: 110,574.4 m.
        assert!((distance_m(at(0.0, 0.0), at(1.0, 0.0)) - 110_574.389).abs() < 0.01);
        assert!((bearing_deg(at(45.0, 18.0), at(44.0, 18.0)) - 180.0).abs() < 1e-9);
        assert!((bearing_deg(at(0.0, 18.0), at(0.0, 17.0)) - 270.0).abs() < 1e-9);
        // The degree square at the equator: 12,308.8 km².
        let square = [at(0.0, 0.0), at(0.0, 1.0), at(1.0, 1.0), at(1.0, 0.0)];
        let drawn = area_m2(&Ring::new(square.to_vec()).unwrap());
        assert!((drawn / 1e6 - 12_308.778).abs() < 0.01, "{drawn}");
        let reversed = square.iter().rev().copied().collect();
        assert!((area_m2(&Ring::new(reversed).unwrap()) - drawn).abs() < 1e-3);
    }

    #[test]
    fn a_drawn_circle_is_never_smaller_than_the_circle() {
        let outside = area_m2(&circle(at(45.0, 18.0), 200.0).unwrap());
        let inside = area_m2(&circle_inside(at(45.0, 18.0), 200.0).unwrap());
        let exact = std::f64::consts::PI * 200.0 * 200.0;
        assert!(outside > exact && outside < exact * 1.01, "{outside}");
        assert!(inside < exact && inside > exact * 0.99, "{inside}");
    }
}
