//! What lies near a place or a route, from the catalogue: no document is opened.
//!
//! Boxes of all lines are looked at first, then the outlines of those that may be near enough. It
//! names hazards and accidents, and records of kinds that this version does not know: what may be a
//! danger is not left out. Withdrawn and closed ones are named too, as what they are.

use crate::Member;
use crate::catalogue::{self, At};
use crate::error::MemberError;
use crate::line::Line;
use cairn_keys::Membership;
use cairn_records::geometry::{Bounds, Position, UNITS_PER_DEGREE, distance_m};
use cairn_records::schema;
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, ScopeId};
use std::collections::BTreeMap;

/// Kinds that say of no place that it is dangerous.
const HARMLESS: [&str; 2] = ["survey_visit", "eore_session"];
/// Legs of a route that share a box.
const LEGS_TOGETHER: usize = 32;
/// Metres of a degree of latitude at least (it is shortest at the equator).
const DEGREE_M_MIN: f64 = 110_570.0;

/// What is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Parts of a way, each from place to place; a single place is a part of one.
    pub parts: Vec<Vec<Position>>,
    /// How far from it, in metres.
    pub within_m: f64,
}

/// A record that is near.
#[derive(Debug, Clone, PartialEq)]
pub struct NearRecord {
    /// What lists show of it.
    pub line: Line,
    /// Its scope, as people know it.
    pub scope_name: String,
    /// Metres to its nearest edge; 0 inside.
    pub distance_m: f64,
    /// Where it lies from the nearest point of the way, in degrees from true north; `None` where one
    /// stands in it.
    pub bearing_deg: Option<f64>,
    /// Metres of the way up to there.
    pub along_m: f64,
}

/// What is near, and what could not be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Near {
    /// The records: of a route in the order of the way, of a place the nearest first.
    pub records: Vec<NearRecord>,
    /// Hazards and accidents of which nobody said where they are.
    pub without_place: u64,
    /// Length of the way, in metres.
    pub length_m: f64,
}

impl Member {
    /// The hazards and accidents that lie near what is asked about.
    pub fn near(
        &self,
        store: &dyn Store,
        membership: &Membership,
        asked: &Asked,
    ) -> Result<Near, MemberError> {
        let tables = self.tables(store);
        let way = Way::of(asked);
        let mut near = Near {
            length_m: way.length_m,
            ..Near::default()
        };
        let mut candidates: Vec<(At, DocumentId, Bounds)> = Vec::new();
        catalogue::each_head(&tables, None, &mut |at, head| {
            if HARMLESS.contains(&head.kind) {
                return Ok(true);
            }
            match head.bounds {
                Some(bounds) if way.may_be_near(&bounds) => candidates.push((at, head.id, bounds)),
                Some(_) => {}
                None if schema::kind(head.kind).is_some() => near.without_place += 1,
                None => {}
            }
            Ok(true)
        })?;
        let mut found = Vec::new();
        for (at, id, bounds) in candidates {
            let outline = catalogue::outline(&tables, &at.scope, &id)?;
            let nearest = outline.and_then(|it| way.nearest(&it, &bounds, asked.within_m));
            found.extend(nearest.map(|nearest| (at, nearest)));
        }
        let places: Vec<At> = found.iter().map(|(at, _)| *at).collect();
        let lines = catalogue::lines(&tables, &places)?;
        let mut names: BTreeMap<ScopeId, String> = BTreeMap::new();
        for (line, (_, (nearest, along_m))) in lines.into_iter().zip(found) {
            let scope = line.scope;
            let scope_name = names
                .entry(scope)
                .or_insert_with(|| self.scope_name(membership, &scope))
                .clone();
            near.records.push(NearRecord {
                line,
                scope_name,
                distance_m: nearest.distance_m,
                bearing_deg: nearest.bearing_deg(),
                along_m,
            });
        }
        near.records.sort_by(|one, other| {
            let along = match way.is_route {
                true => one.along_m.total_cmp(&other.along_m),
                false => std::cmp::Ordering::Equal,
            };
            along
                .then(one.distance_m.total_cmp(&other.distance_m))
                .then(one.line.id.cmp(&other.line.id))
        });
        Ok(near)
    }
}

/// A stretch of legs, and the box round all that may be near it.
struct Stretch {
    legs: Vec<(Position, Position)>,
    /// Metres of the way before it.
    before_m: f64,
    reach: Reach,
}

struct Way {
    stretches: Vec<Stretch>,
    length_m: f64,
    is_route: bool,
}

impl Way {
    fn of(asked: &Asked) -> Self {
        let mut stretches = Vec::new();
        let mut length_m = 0.0;
        let mut is_route = asked.parts.len() > 1;
        for part in &asked.parts {
            let legs: Vec<(Position, Position)> = match part.as_slice() {
                [] => continue,
                [place] => vec![(*place, *place)],
                places => places
                    .iter()
                    .copied()
                    .zip(places.iter().copied().skip(1))
                    .collect(),
            };
            is_route |= part.len() > 1;
            for legs in legs.chunks(LEGS_TOGETHER) {
                let Some(reach) = Reach::round(legs, asked.within_m) else {
                    continue;
                };
                stretches.push(Stretch {
                    legs: legs.to_vec(),
                    before_m: length_m,
                    reach,
                });
                length_m += legs
                    .iter()
                    .map(|(start, end)| distance_m(*start, *end))
                    .sum::<f64>();
            }
        }
        Self {
            stretches,
            length_m,
            is_route,
        }
    }

    fn may_be_near(&self, bounds: &Bounds) -> bool {
        self.stretches
            .iter()
            .any(|stretch| stretch.reach.meets(bounds))
    }

    /// The nearest point of an outline that is within reach, and how far along the way that is. Of
    /// points that are equally near, the one that is met first.
    fn nearest(
        &self,
        outline: &cairn_records::Outline,
        bounds: &Bounds,
        within_m: f64,
    ) -> Option<(cairn_records::Nearest, f64)> {
        let mut best: Option<(cairn_records::Nearest, f64)> = None;
        let near = |stretch: &&Stretch| stretch.reach.meets(bounds);
        for stretch in self.stretches.iter().filter(near) {
            let mut along_m = stretch.before_m;
            for (start, end) in &stretch.legs {
                let found = outline.nearest_to_leg(*start, *end);
                let nearer = best.is_none_or(|(best, _)| found.distance_m < best.distance_m);
                if found.distance_m <= within_m && nearer {
                    best = Some((found, along_m + distance_m(*start, found.from)));
                }
                along_m += distance_m(*start, *end);
            }
        }
        best
    }
}

/// A box round all that may be near, in units of 1e-7 degree; its east may lie beyond the antimeridian.
struct Reach {
    south: i64,
    north: i64,
    west: i64,
    east: i64,
}

/// Units of a whole turn.
const TURN: i64 = 3_600_000_000;

impl Reach {
    /// Of legs of which none goes more than half round the globe.
    fn round(legs: &[(Position, Position)], within_m: f64) -> Option<Self> {
        let first = legs.first()?.0;
        let origin = i64::from(first.lon_e7);
        let mut reach = Self {
            south: first.lat_e7.into(),
            north: first.lat_e7.into(),
            west: origin,
            east: origin,
        };
        for at in legs.iter().flat_map(|(start, end)| [start, end]) {
            // The shorter way round from where it begins.
            let lon = i64::from(at.lon_e7) - origin;
            let lon = origin + (lon + TURN / 2).rem_euclid(TURN) - TURN / 2;
            reach.south = reach.south.min(at.lat_e7.into());
            reach.north = reach.north.max(at.lat_e7.into());
            reach.west = reach.west.min(lon);
            reach.east = reach.east.max(lon);
        }
        let degrees = within_m / DEGREE_M_MIN;
        let north = (degrees * UNITS_PER_DEGREE).ceil() as i64 + 1;
        reach.south = reach.south.saturating_sub(north);
        reach.north = reach.north.saturating_add(north);
        // Where it is farthest from the equator a degree of longitude is shortest.
        let farthest = reach.south.abs().max(reach.north.abs()) as f64 / UNITS_PER_DEGREE;
        let shrink = farthest.min(90.0).to_radians().cos();
        let east = match shrink > degrees / 180.0 {
            true => (degrees / shrink * UNITS_PER_DEGREE).ceil() as i64 + 1,
            false => TURN / 2,
        };
        reach.west = reach.west.saturating_sub(east);
        reach.east = reach.east.saturating_add(east);
        Some(reach)
    }

    fn meets(&self, bounds: &Bounds) -> bool {
        let (low, high) = (bounds.south_west, bounds.north_east);
        let across = i64::from(low.lat_e7) <= self.north && i64::from(high.lat_e7) >= self.south;
        across
            && [-TURN, 0, TURN].iter().any(|turn| {
                i64::from(low.lon_e7) + turn <= self.east
                    && i64::from(high.lon_e7) + turn >= self.west
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).unwrap()
    }

    fn reach(places: &[Position], within_m: f64) -> Reach {
        let legs: Vec<_> = places
            .iter()
            .copied()
            .zip(places.iter().copied().skip(1))
            .collect();
        Reach::round(&legs, within_m).unwrap()
    }

    fn box_at(lat: f64, lon: f64) -> Bounds {
        Bounds {
            south_west: at(lat, lon),
            north_east: at(lat, lon),
        }
    }

    #[test]
    fn what_is_within_reach_meets_the_box() {
        for lat in [-89.99, -60.0, 0.0, 44.0, 71.0, 89.9] {
            let here = at(lat, 179.995);
            let reach = reach(&[here, here], 2_000.0);
            for bearing in 0..36 {
                let turn = f64::from(bearing * 10).to_radians();
                let north = 1_990.0 / 111_700.0 * turn.cos();
                let east = 1_990.0 / 111_700.0 * turn.sin() / f64::cos(lat.to_radians());
                let lon = (180.0 + 179.995 + east).rem_euclid(360.0) - 180.0;
                if let Some(there) = Position::from_degrees(lat + north, lon)
                    && distance_m(here, there) <= 2_000.0
                {
                    let bounds = Bounds {
                        south_west: there,
                        north_east: there,
                    };
                    assert!(reach.meets(&bounds), "{lat} {bearing}");
                }
            }
        }
    }

    #[test]
    fn what_is_far_does_not() {
        let there_and_back = reach(&[at(44.0, 18.0), at(44.1, 18.1)], 500.0);
        assert!(there_and_back.meets(&box_at(44.05, 18.0)));
        assert!(!there_and_back.meets(&box_at(44.05, 18.2)));
        assert!(!there_and_back.meets(&box_at(43.9, 18.05)));
    }
}
