//! How the teams of the demo redraw an area: outwards, which counts at once, or inwards, which is only
//! a proposal.

use super::map::{Ring, Shape};

/// A share of an area's extent.
const GROWS_BY: f64 = 0.45;
const SHRINKS_TO: f64 = 0.6;

/// Where an area goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// Towards the north pole.
    North,
    /// Towards sunrise.
    East,
}

/// An area that holds all of another one and goes on in a direction.
pub fn grown(shape: &Shape, towards: Towards) -> Shape {
    let extent = extent(shape);
    let (east, north) = match towards {
        Towards::North => (0.0, extent.1 * GROWS_BY),
        Towards::East => (extent.0 * GROWS_BY, 0.0),
    };
    let corners = shape.corners();
    let corners =
        corners.flat_map(|(lon, lat)| [(lon, lat), (degrees(lon + east), degrees(lat + north))]);
    Shape::ring(hull(corners.collect()))
}

/// A smaller area around the same middle.
pub fn shrunk(shape: &Shape) -> Shape {
    let hull = hull(shape.corners().collect());
    let count = hull.len().max(1) as f64;
    let middle = hull.iter().fold((0.0, 0.0), |sum, corner| {
        (sum.0 + corner.0 / count, sum.1 + corner.1 / count)
    });
    let nearer = |middle: f64, at: f64| degrees(middle + (at - middle) * SHRINKS_TO);
    let corners = hull.iter();
    Shape::ring(
        corners
            .map(|(lon, lat)| (nearer(middle.0, *lon), nearer(middle.1, *lat)))
            .collect(),
    )
}

/// To the seven digits that records keep.
fn degrees(exact: f64) -> f64 {
    (exact * 1e7).round() / 1e7
}

fn extent(shape: &Shape) -> (f64, f64) {
    let span = |values: Vec<f64>| {
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        most - least
    };
    (
        span(shape.corners().map(|corner| corner.0).collect()),
        span(shape.corners().map(|corner| corner.1).collect()),
    )
}

/// The convex hull, by Andrew's monotone chain.
fn hull(mut corners: Ring) -> Ring {
    corners.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    corners.dedup();
    let chain = |corners: &mut dyn Iterator<Item = (f64, f64)>| {
        let mut chain: Ring = Vec::new();
        for corner in corners {
            while let [.., before, last] = chain.as_slice()
                && turn(*before, *last, corner) <= 0.0
            {
                chain.pop();
            }
            chain.push(corner);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut corners.iter().copied());
    hull.extend(chain(&mut corners.iter().rev().copied()));
    hull
}

/// Above zero where the way turns left.
fn turn(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> f64 {
    (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_every_corner_and_shrinking_stays_inside() {
        let square = Shape::ring(vec![(0.0, 0.0), (0.001, 0.0), (0.001, 0.001), (0.0, 0.001)]);
        let north = grown(&square, Towards::North);
        assert_eq!(
            north,
            Shape::ring(vec![
                (0.0, 0.0),
                (0.001, 0.0),
                (0.001, 0.00145),
                (0.0, 0.00145)
            ])
        );
        let east = grown(&square, Towards::East);
        assert!(east.corners().any(|corner| corner == (0.00145, 0.001)));
        let smaller = shrunk(&square);
        assert!(smaller.corners().all(|(lon, lat)| {
            (0.0002..=0.0008).contains(&lon) && (0.0002..=0.0008).contains(&lat)
        }));
    }
}
