//! What rings enclose, and how such regions join and hold each other.

use super::crossing::{Edge, crossings_exceed, edges, is_simple};
use super::{Bounds, Polygon, Position, Ring, Shape, area_m2};
use i_overlay::core::fill_rule::FillRule;
use i_overlay::core::overlay::{Overlay, ShapeType};
use i_overlay::core::overlay_rule::OverlayRule;
use i_overlay::i_float::int::point::IntPoint;

/// Crossings that an overlay is asked to resolve. Beyond, rings are replaced by their hulls:
/// larger, and cheap.
const CROSSINGS_MAX: usize = 4_096;
/// Corners that go into one overlay; beyond, hulls again.
const CORNERS_MAX: usize = 16 * 1024;
/// Round what was drawn as a mere line, about a metre.
const MARGIN_E7: i32 = 100;
/// The overlay's integers stay below this, whatever lies where.
const REACH_MAX: i64 = 1 << 29;

/// Land, as areas that do not cross themselves nor each other, sorted: the same land reads as the
/// same region on every replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    polygons: Vec<Polygon>,
}

impl Region {
    /// What a shape encloses. A ring that crosses itself encloses everything that cannot be
    /// reached from outside without crossing it (the union of all its loops); a hole counts only
    /// where it is drawn without a crossing. A shape drawn as a mere line is a hazard all the
    /// same: it reads as the box round it, with a margin of about a metre.
    #[must_use]
    pub fn of(shape: &Shape) -> Self {
        let region = match shape.polygons() {
            [polygon] => Self::of_polygon(polygon),
            polygons => Self::union(&polygons.iter().map(Self::of_polygon).collect::<Vec<_>>()),
        };
        if region.is_empty() {
            return shape.bounds().map(Self::around).unwrap_or_default();
        }
        region
    }

    fn around(bounds: Bounds) -> Self {
        let margin = i64::from(MARGIN_E7);
        let corner = |lat: i32, north: i64, lon: i32, east: i64| {
            let (lat, lon) = (i64::from(lat), i64::from(lon));
            Position::new(lat + north * margin, lon + east * margin)
        };
        let (low, high) = (bounds.south_west, bounds.north_east);
        let corners = [
            corner(low.lat_e7, -1, low.lon_e7, -1),
            corner(low.lat_e7, -1, high.lon_e7, 1),
            corner(high.lat_e7, 1, high.lon_e7, 1),
            corner(high.lat_e7, 1, low.lon_e7, -1),
        ];
        Self::from_rings(vec![corners.into_iter().flatten().collect()])
    }

    fn of_polygon(polygon: &Polygon) -> Self {
        let outer = Self::enclosed(&polygon.outer);
        let holes: Vec<&Ring> = polygon
            .holes
            .iter()
            .filter(|hole| is_simple(hole))
            .collect();
        if holes.is_empty() {
            return outer;
        }
        let holes = holes.into_iter().map(Self::enclosed);
        let holes = Self::union(&holes.collect::<Vec<_>>());
        overlay(&[&outer], &[&holes], OverlayRule::Difference).unwrap_or(outer)
    }

    fn enclosed(ring: &Ring) -> Self {
        if is_simple(ring) {
            return Self::from_rings(vec![oriented(ring.corners().to_vec(), true)]);
        }
        if crossings_exceed(&edges(ring), CROSSINGS_MAX) {
            return Self::from_rings(vec![hull(ring.corners().to_vec())]);
        }
        enclosed_by_crossing(ring)
            .unwrap_or_else(|| Self::from_rings(vec![hull(ring.corners().to_vec())]))
    }

    fn from_rings(rings: Vec<Vec<Position>>) -> Self {
        Self {
            polygons: rings
                .into_iter()
                .filter_map(ring_of)
                .map(|outer| Polygon {
                    outer,
                    holes: Vec::new(),
                })
                .collect(),
        }
    }

    /// All land of all regions, the same for any order of them.
    #[must_use]
    pub fn union(regions: &[Self]) -> Self {
        let mut regions: Vec<&Self> = regions.iter().filter(|one| !one.is_empty()).collect();
        regions.sort_by(|a, b| a.polygons.cmp(&b.polygons));
        regions.dedup();
        match regions.as_slice() {
            [] => Self::default(),
            [one] => (*one).clone(),
            several => overlay(several, &[], OverlayRule::Subject).unwrap_or_else(|| {
                let hulls: Vec<Self> = several.iter().map(|one| one.hull()).collect();
                overlay(&hulls.iter().collect::<Vec<_>>(), &[], OverlayRule::Subject)
                    .unwrap_or_else(|| Self {
                        polygons: hulls.into_iter().flat_map(|hull| hull.polygons).collect(),
                    })
            }),
        }
    }

    /// Whether all land of `other` lies in this one. In doubt, no.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if self == other || other.is_empty() {
            return true;
        }
        let (Some(mine), Some(others)) = (self.bounds(), other.bounds()) else {
            return false;
        };
        mine.contains(&others)
            && overlay(&[other], &[self], OverlayRule::Difference)
                .is_some_and(|left| left.is_empty())
    }

    /// Whether a position lies inside or on the edge.
    #[must_use]
    pub fn contains_position(&self, at: Position) -> bool {
        self.polygons.iter().any(|polygon| {
            within(&polygon.outer, at) != Within::Outside
                && polygon
                    .holes
                    .iter()
                    .all(|hole| within(hole, at) != Within::Inside)
        })
    }

    /// The areas: boundaries counter-clockwise, holes clockwise.
    #[must_use]
    pub fn polygons(&self) -> &[Polygon] {
        &self.polygons
    }

    /// Whether there is no land in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.polygons.is_empty()
    }

    /// The box round it; `None` when empty.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        Bounds::of(
            self.polygons
                .iter()
                .flat_map(|polygon| polygon.outer.corners())
                .copied(),
        )
    }

    /// Geodesic area in whole m², never 0 where there is land.
    #[must_use]
    pub fn area_m2(&self) -> u64 {
        let area: f64 = self
            .polygons
            .iter()
            .map(|polygon| area_m2(&polygon.outer) - polygon.holes.iter().map(area_m2).sum::<f64>())
            .sum();
        let least = if self.is_empty() { 0.0 } else { 1.0 };
        area.round().max(least) as u64
    }

    fn hull(&self) -> Self {
        let corners = self
            .polygons
            .iter()
            .flat_map(|polygon| polygon.outer.corners());
        Self::from_rings(vec![hull(corners.copied().collect())])
    }

    fn edges(&self) -> impl Iterator<Item = Edge> {
        self.polygons
            .iter()
            .flat_map(|polygon| std::iter::once(&polygon.outer).chain(&polygon.holes))
            .flat_map(edges)
    }
}

/// A box a little larger than the ring, less what the ring covers, leaves the outside (which
/// touches the box) and what only the ring's loops shut in.
fn enclosed_by_crossing(ring: &Ring) -> Option<Region> {
    let bounds = Bounds::of(ring.corners().iter().copied())?;
    let frame = Frame::new(bounds)?;
    let mut parts = Overlay::new(ring.corners().len() + 4);
    let points: Vec<IntPoint> = ring.corners().iter().map(|at| frame.inward(*at)).collect();
    parts.add_contour(&points, ShapeType::Clip);
    let margin = 16;
    let (low, high) = (
        frame.inward(bounds.south_west),
        frame.inward(bounds.north_east),
    );
    let (west, south) = (low.x - margin, low.y - margin);
    let (east, north) = (high.x + margin, high.y + margin);
    let around = [
        IntPoint::new(west, south),
        IntPoint::new(east, south),
        IntPoint::new(east, north),
        IntPoint::new(west, north),
    ];
    parts.add_contour(&around, ShapeType::Subject);
    let outside = parts
        .overlay(OverlayRule::Difference, FillRule::NonZero)
        .into_iter()
        .find(|shape| {
            let outer = shape.first();
            outer.is_some_and(|outer| outer.iter().any(|at| at.x == west))
        })?;
    // The holes of the outside are the land inside.
    let loops: Vec<Vec<Position>> = outside
        .iter()
        .skip(1)
        .map(|hole| {
            let hole = hole.iter().map(|at| frame.outward(*at));
            hole.collect::<Option<Vec<_>>>()
                .map(|hole| oriented(hole, true))
        })
        .collect::<Option<_>>()?;
    let region = Region::from_rings(loops);
    Some(Region::union(
        &region
            .polygons
            .iter()
            .map(|polygon| Region {
                polygons: vec![polygon.clone()],
            })
            .collect::<Vec<_>>(),
    ))
}

/// `None` where the numbers or the work would become too large.
fn overlay(subject: &[&Region], clip: &[&Region], rule: OverlayRule) -> Option<Region> {
    let all = || subject.iter().chain(clip);
    let bounds = all()
        .filter_map(|region| region.bounds())
        .reduce(|one, other| one.with(&other))?;
    let frame = Frame::new(bounds)?;
    let edges: Vec<Edge> = all().flat_map(|region| region.edges()).collect();
    if edges.len() > CORNERS_MAX || crossings_exceed(&edges, CROSSINGS_MAX) {
        return None;
    }
    let mut overlay = Overlay::new(edges.len());
    for (regions, kind) in [(subject, ShapeType::Subject), (clip, ShapeType::Clip)] {
        let polygons = regions.iter().flat_map(|region| &region.polygons);
        for ring in polygons.flat_map(|one| std::iter::once(&one.outer).chain(&one.holes)) {
            let points: Vec<_> = ring.corners().iter().map(|at| frame.inward(*at)).collect();
            overlay.add_contour(&points, kind);
        }
    }
    // Boundaries run counter-clockwise and holes clockwise, so windings add up to the number of
    // regions that hold a place, and never cancel out.
    let mut polygons = overlay
        .overlay(rule, FillRule::NonZero)
        .into_iter()
        .filter_map(|shape| {
            let mut rings = shape
                .into_iter()
                .enumerate()
                .filter_map(|(index, contour)| {
                    let corners: Option<Vec<_>> =
                        contour.iter().map(|at| frame.outward(*at)).collect();
                    ring_of(oriented(corners?, index == 0))
                });
            let outer = rings.next()?;
            let mut holes: Vec<Ring> = rings.collect();
            holes.sort();
            Some(Polygon { outer, holes })
        })
        .collect::<Vec<_>>();
    polygons.sort();
    Some(Region { polygons })
}

/// Moves coordinates near zero, where the overlay's 32-bit integers are exact.
struct Frame {
    lon: i64,
    lat: i64,
}

impl Frame {
    fn new(bounds: Bounds) -> Option<Self> {
        let (height, width) = bounds.extent_e7();
        let centre = bounds.centre();
        (height.max(width) < REACH_MAX).then_some(Self {
            lon: i64::from(centre.lon_e7),
            lat: i64::from(centre.lat_e7),
        })
    }

    fn inward(&self, at: Position) -> IntPoint {
        IntPoint::new(
            (i64::from(at.lon_e7) - self.lon) as i32,
            (i64::from(at.lat_e7) - self.lat) as i32,
        )
    }

    fn outward(&self, at: IntPoint) -> Option<Position> {
        Position::new(i64::from(at.y) + self.lat, i64::from(at.x) + self.lon)
    }
}

/// Twice the area in square units, positive when counter-clockwise.
fn doubled_area(corners: &[Position]) -> i128 {
    let next = corners.iter().cycle().skip(1);
    corners
        .iter()
        .zip(next)
        .map(|(a, b)| {
            i128::from(a.lon_e7) * i128::from(b.lat_e7)
                - i128::from(b.lon_e7) * i128::from(a.lat_e7)
        })
        .sum()
}

/// The same ring, the given way round, from its smallest corner, nothing repeated.
fn oriented(mut corners: Vec<Position>, counter_clockwise: bool) -> Vec<Position> {
    corners.dedup();
    while corners.len() > 1 && corners.first() == corners.last() {
        corners.pop();
    }
    if (doubled_area(&corners) > 0) != counter_clockwise {
        corners.reverse();
    }
    let smallest = corners.iter().enumerate().min_by_key(|(_, at)| **at);
    let smallest = smallest.map_or(0, |(index, _)| index);
    corners.rotate_left(smallest);
    corners
}

/// `None` where it encloses nothing.
fn ring_of(corners: Vec<Position>) -> Option<Ring> {
    if doubled_area(&corners) == 0 {
        return None;
    }
    // Results of an overlay may have more corners than a drawing may.
    (corners.len() >= 3).then_some(Ring(corners))
}

/// The smallest convex ring round all corners (A. M. Andrew, 1979).
fn hull(mut corners: Vec<Position>) -> Vec<Position> {
    corners.sort_unstable();
    corners.dedup();
    let turn = |a: Position, b: Position, c: Position| doubled_area(&[a, b, c]);
    let half = |points: &mut dyn Iterator<Item = Position>| {
        let mut chain: Vec<Position> = Vec::new();
        for point in points {
            while let [.., a, b] = chain.as_slice() {
                if turn(*a, *b, point) > 0 {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut ring = half(&mut corners.iter().copied());
    ring.extend(half(&mut corners.iter().rev().copied()));
    oriented(ring, true)
}

#[derive(PartialEq)]
enum Within {
    Outside,
    Edge,
    Inside,
}

/// Even-odd, exact.
fn within(ring: &Ring, at: Position) -> Within {
    let corners = ring.corners();
    let next = corners.iter().cycle().skip(1);
    let mut inside = false;
    for (a, b) in corners.iter().zip(next) {
        let turn = doubled_area(&[*a, *b, at]);
        let between = |a: i32, b: i32, c: i32| (a.min(b)..=a.max(b)).contains(&c);
        if turn == 0
            && between(a.lon_e7, b.lon_e7, at.lon_e7)
            && between(a.lat_e7, b.lat_e7, at.lat_e7)
        {
            return Within::Edge;
        }
        let upward = a.lat_e7 <= at.lat_e7 && b.lat_e7 > at.lat_e7;
        let downward = b.lat_e7 <= at.lat_e7 && a.lat_e7 > at.lat_e7;
        if (upward && turn > 0) || (downward && turn < 0) {
            inside = !inside;
        }
    }
    if inside {
        Within::Inside
    } else {
        Within::Outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(rings: &[&[(i64, i64)]]) -> Shape {
        let mut rings = rings.iter().map(|corners| {
            let corners = corners
                .iter()
                .map(|(lon, lat)| Position::new(450_000_000 + lat, 180_000_000 + lon).unwrap());
            Ring::new(corners.collect()).unwrap()
        });
        let outer = rings.next().unwrap();
        Shape::new(vec![Polygon {
            outer,
            holes: rings.collect(),
        }])
        .unwrap()
    }

    fn region(corners: &[(i64, i64)]) -> Region {
        Region::of(&shape(&[corners]))
    }

    fn units(region: &Region) -> i128 {
        let rings = region.polygons.iter();
        let rings = rings.flat_map(|one| std::iter::once(&one.outer).chain(&one.holes));
        rings.map(|ring| doubled_area(ring.corners())).sum::<i128>() / 2
    }

    fn inside(region: &Region, lon: i64, lat: i64) -> bool {
        region.contains_position(Position::new(450_000_000 + lat, 180_000_000 + lon).unwrap())
    }

    const SQUARE: [(i64, i64); 4] = [(0, 0), (1000, 0), (1000, 1000), (0, 1000)];

    #[test]
    fn regions_hold_what_lies_in_them() {
        let square = region(&SQUARE);
        let inner = region(&[(0, 0), (500, 0), (500, 500)]);
        let across = region(&[(500, 500), (1500, 500), (1500, 600)]);
        let grown = region(&[(0, 0), (500, -20), (1000, 0), (1000, 1000), (0, 1000)]);
        assert!(square.contains(&inner) && !inner.contains(&square));
        assert!(!square.contains(&across) && !across.contains(&square));
        assert!(grown.contains(&square) && !square.contains(&grown));
        let other_way = region(&[(0, 1000), (1000, 1000), (1000, 0), (0, 0)]);
        assert_eq!(square, other_way);
    }

    #[test]
    fn a_hole_is_outside_and_a_badly_drawn_one_is_none() {
        let hole = Region::of(&shape(&[
            &SQUARE,
            &[(200, 200), (800, 200), (800, 800), (200, 800)],
        ]));
        assert_eq!(units(&hole), 1_000_000 - 360_000);
        assert!(!inside(&hole, 500, 500) && inside(&hole, 100, 100) && inside(&hole, 200, 500));
        let crossed = Region::of(&shape(&[
            &SQUARE,
            &[(200, 200), (800, 800), (800, 200), (200, 800)],
        ]));
        assert_eq!(units(&crossed), 1_000_000);
        assert!(region(&SQUARE).contains(&hole) && !hole.contains(&region(&SQUARE)));
    }

    #[test]
    fn a_ring_that_crosses_itself_is_the_union_of_its_loops() {
        let bow_tie = region(&[(0, 0), (1000, 1000), (1000, 0), (0, 1000)]);
        assert_eq!(units(&bow_tie), 500_000);
        assert!(inside(&bow_tie, 100, 500) && inside(&bow_tie, 900, 500));
        // A band that overlaps itself and shuts in a yard: the yard belongs to it.
        let band = region(&[
            (0, 0),
            (1000, 0),
            (1000, 1000),
            (0, 1000),
            (0, -100),
            (100, -100),
            (100, 900),
            (900, 900),
            (900, 100),
            (0, 100),
        ]);
        assert!(inside(&band, 500, 500));
        // Wound twice round one place, not even-odd.
        let twice = region(&[
            (0, 0),
            (1000, 0),
            (1000, 1000),
            (0, 1000),
            (0, 10),
            (900, 10),
            (900, 900),
            (10, 900),
        ]);
        assert!(inside(&twice, 500, 500));
    }

    #[test]
    fn a_mere_line_is_never_nothing() {
        let line = region(&[(0, 0), (1000, 1000), (500, 500)]);
        assert!(inside(&line, 500, 500) && inside(&line, 0, 0) && line.area_m2() > 0);
        assert_eq!(Region::default().area_m2(), 0);
    }

    #[test]
    fn too_many_crossings_become_the_hull() {
        let comb: Vec<(i64, i64)> = (0..1000)
            .flat_map(|tooth| {
                let along = tooth * 7919 % 100_003;
                [(along, 0), (tooth * 104_729 % 99_991, 90_000)]
            })
            .collect();
        let started = region(&comb);
        assert_eq!(started.polygons.len(), 1);
        assert!(inside(&started, 50_000, 45_000));
        assert!(started.polygons[0].outer.corners().len() < 20);
    }

    fn any_region() -> impl Strategy<Value = Region> {
        proptest::collection::vec((0i64..3000, 0i64..3000), 3..9).prop_map(|corners| {
            let corners: Vec<_> = corners
                .iter()
                .map(|(lon, lat)| Position::new(450_000_000 + lat, 180_000_000 + lon).unwrap())
                .collect();
            Ring::new(corners)
                .and_then(Shape::from_ring)
                .map_or_else(|_| Region::default(), |shape| Region::of(&shape))
        })
    }

    proptest! {
        /// On a small grid nearly everything touches, doubles back or lies on a line.
        #[test]
        fn degenerate_drawings_are_never_nothing(
            corners in proptest::collection::vec((0i64..7, 0i64..7), 3..24),
            others in proptest::collection::vec((0i64..7, 0i64..7), 3..24),
        ) {
            let shape = |corners: &[(i64, i64)]| {
                let at = |(lon, lat): &(i64, i64)| {
                    Position::new(450_000_000 + lat * 1000, 180_000_000 + lon * 1000).unwrap()
                };
                Ring::new(corners.iter().map(at).collect()).and_then(Shape::from_ring).ok()
            };
            if let (Some(one), Some(other)) = (shape(&corners), shape(&others)) {
                let (one, other) = (Region::of(&one), Region::of(&other));
                prop_assert!(!one.is_empty() && !other.is_empty());
                let both = Region::union(&[one.clone(), other.clone()]);
                prop_assert_eq!(&both, &Region::union(&[other.clone(), one.clone()]));
                // Crossings are rounded to whole units: a strip of two units along every side.
                let strip = 2 * 10_000 * (corners.len() + others.len()) as i128;
                prop_assert!(units(&both) + strip >= units(&one).max(units(&other)));
                prop_assert!(units(&both) <= units(&one) + units(&other) + strip);
                prop_assert!(one.contains(&one) && both.contains(&both));
            }
        }

        #[test]
        fn a_union_knows_no_order_and_holds_its_parts(
            a in any_region(), b in any_region(), c in any_region(),
            lon in 0i64..3000, lat in 0i64..3000,
        ) {
            let joined = Region::union(&[a.clone(), b.clone(), c.clone()]);
            prop_assert_eq!(&joined, &Region::union(&[c.clone(), a.clone(), b.clone(), a.clone()]));
            // Crossings are rounded to whole units, so a place within two units of an edge may
            // change sides; others may not.
            let near = [(0, 0), (3, 3), (-3, 3), (3, -3), (-3, -3)];
            if [&a, &b, &c].iter().any(|one| near.iter().all(|(x, y)| inside(one, lon + x, lat + y))) {
                prop_assert!(inside(&joined, lon, lat));
            }
        }

        #[test]
        fn what_holds_another_holds_its_places(a in any_region(), b in any_region(), lon in 0i64..3000, lat in 0i64..3000) {
            if a.contains(&b) {
                let near = [(0, 0), (3, 3), (-3, 3), (3, -3), (-3, -3)];
                if near.iter().all(|(x, y)| inside(&b, lon + x, lat + y)) {
                    prop_assert!(inside(&a, lon, lat));
                }
            }
        }
    }
}
