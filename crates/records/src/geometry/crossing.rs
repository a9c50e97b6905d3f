//! Where lines cross, exactly, in integers.

use super::{Position, Ring};

type Point = (i64, i64);

fn point(position: Position) -> Point {
    (i64::from(position.lon_e7), i64::from(position.lat_e7))
}

/// Which side of the line a–b the point c lies on. Exact: coordinates have 32 bits.
fn side(a: Point, b: Point, c: Point) -> i8 {
    let left = i128::from(b.0 - a.0) * i128::from(c.1 - a.1);
    let right = i128::from(b.1 - a.1) * i128::from(c.0 - a.0);
    match left.cmp(&right) {
        std::cmp::Ordering::Less => -1,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 1,
    }
}

/// A piece of a boundary, its end with the smaller longitude first.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    a: Point,
    b: Point,
}

impl Edge {
    fn new(a: Point, b: Point) -> Self {
        if a <= b {
            Self { a, b }
        } else {
            Self { a: b, b: a }
        }
    }

    fn holds(&self, at: Point) -> bool {
        side(self.a, self.b, at) == 0
            && (self.a.0..=self.b.0).contains(&at.0)
            && at.1 >= self.a.1.min(self.b.1)
            && at.1 <= self.a.1.max(self.b.1)
    }

    /// Whether the two have a point in common.
    fn meets(&self, other: &Self) -> bool {
        let (c, d) = (side(self.a, self.b, other.a), side(self.a, self.b, other.b));
        let (e, f) = (
            side(other.a, other.b, self.a),
            side(other.a, other.b, self.b),
        );
        (c * d < 0 && e * f < 0)
            || self.holds(other.a)
            || self.holds(other.b)
            || other.holds(self.a)
            || other.holds(self.b)
    }

    fn shares_end(&self, other: &Self) -> bool {
        [other.a, other.b].contains(&self.a) || [other.a, other.b].contains(&self.b)
    }

    fn crosses(&self, other: &Self) -> bool {
        let (c, d) = (side(self.a, self.b, other.a), side(self.a, self.b, other.b));
        let (e, f) = (
            side(other.a, other.b, self.a),
            side(other.a, other.b, self.b),
        );
        c * d < 0 && e * f < 0
    }

    fn below(&self, other: &Self) -> bool {
        self.a.1.max(self.b.1) < other.a.1.min(other.b.1)
    }
}

/// The ring's corners without immediate repetitions.
fn corners(ring: &Ring) -> Vec<Point> {
    let mut points: Vec<Point> = ring.corners().iter().copied().map(point).collect();
    points.dedup();
    while points.len() > 1 && points.first() == points.last() {
        points.pop();
    }
    points
}

/// The pieces of a ring's boundary.
pub(super) fn edges(ring: &Ring) -> Vec<Edge> {
    let points = corners(ring);
    let next = points.iter().cycle().skip(1);
    let edges = points.iter().zip(next);
    edges.map(|(a, b)| Edge::new(*a, *b)).collect()
}

/// Whether a ring crosses itself: two of its sides cross, or a corner lies on another side.
/// (A corner that is used twice, and a line that is doubled back, are not flagged.)
#[must_use]
pub fn crosses_itself(ring: &Ring) -> bool {
    let edges = edges(ring);
    let mut found = false;
    pairs(&edges, |first, second| {
        if let (Some(one), Some(other)) = (edges.get(first), edges.get(second)) {
            found = one.meets(other) && !one.shares_end(other);
        }
        !found
    });
    found
}

/// Whether a ring's sides have nothing in common but the corners between neighbours.
pub(super) fn is_simple(ring: &Ring) -> bool {
    let points = corners(ring);
    let edges = edges(ring);
    let len = edges.len();
    if len < 3 {
        return false;
    }
    let mut found = false;
    pairs(&edges, |first, second| {
        let (i, j) = (first.min(second), first.max(second));
        let (Some(one), Some(other)) = (edges.get(i), edges.get(j)) else {
            return true;
        };
        // Neighbours share a corner; they may share nothing else.
        let shared = if j == i + 1 {
            points.get(j)
        } else if i == 0 && j == len - 1 {
            points.first()
        } else {
            None
        };
        found = match shared {
            Some(corner) => {
                let far = |edge: &Edge| if edge.a == *corner { edge.b } else { edge.a };
                one.holds(far(other)) || other.holds(far(one))
            }
            None => one.meets(other),
        };
        !found
    });
    !found
}

/// Whether more than `max` pairs of pieces cross. Bounds what an overlay can be made to do.
pub(super) fn crossings_exceed(edges: &[Edge], max: usize) -> bool {
    let mut count = 0;
    pairs(edges, |first, second| {
        if let (Some(one), Some(other)) = (edges.get(first), edges.get(second)) {
            count += usize::from(one.crosses(other));
        }
        count <= max
    });
    count > max
}

/// Visits every pair of edges whose longitudes and latitudes overlap, while `visit` says true.
fn pairs(edges: &[Edge], mut visit: impl FnMut(usize, usize) -> bool) {
    let mut order: Vec<(usize, &Edge)> = edges.iter().enumerate().collect();
    order.sort_by_key(|(_, edge)| edge.a.0);
    for (position, (first, edge)) in order.iter().enumerate() {
        for (second, other) in order.iter().skip(position + 1) {
            if other.a.0 > edge.b.0 {
                break;
            }
            if edge.below(other) || other.below(edge) {
                continue;
            }
            if !visit(*first, *second) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(corners: &[(i64, i64)]) -> Ring {
        let corners = corners
            .iter()
            .map(|(lon, lat)| Position::new(*lat, *lon).unwrap());
        Ring::new(corners.collect()).unwrap()
    }

    #[test]
    fn crossing_touching_and_doubling_back_are_seen() {
        for (corners, simple, crosses, what) in [
            (
                &[(0, 0), (9, 0), (9, 9), (0, 9)][..],
                true,
                false,
                "a square",
            ),
            (&[(0, 0), (9, 0), (5, 5)], true, false, "a triangle"),
            (
                &[(0, 0), (5, 0), (9, 0), (5, 5)],
                true,
                false,
                "a corner within a side",
            ),
            (&[(0, 0), (9, 9), (9, 0), (0, 9)], false, true, "a bow tie"),
            (
                &[(0, 0), (9, 0), (9, 9), (5, 0), (0, 9)],
                false,
                true,
                "a corner on another side",
            ),
            (
                &[(0, 0), (9, 0), (9, 9), (15, 15), (9, 9), (0, 9)],
                false,
                false,
                "a line doubled back",
            ),
            (
                &[(0, 0), (5, 5), (9, 0), (9, 9), (5, 5), (0, 9)],
                false,
                false,
                "a corner twice",
            ),
        ] {
            let ring = ring(corners);
            assert_eq!(
                (is_simple(&ring), crosses_itself(&ring)),
                (simple, crosses),
                "{what}"
            );
        }
    }
}
