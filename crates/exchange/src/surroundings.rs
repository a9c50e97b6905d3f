//! Where most places of a file lie, so that one that lies elsewhere is noticed.

use cairn_records::geometry::{Position, distance_m};

use crate::{
    fault::{Refusal, Warning},
    geojson::Geometry,
};

/// Places that are kept for it.
const PLACES_MAX: usize = 4096;
/// Fewer say nothing.
const PLACES_MIN: usize = 8;
/// Nearer than this nothing is far, in metres.
const FAR_M_MIN: f64 = 100_000.0;
/// How many times as far as most others.
const FAR_TIMES: f64 = 10.0;

/// An even choice of a stream of places: when it is full every second one goes, and of those to
/// come only every second one is taken.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    places: Vec<(f64, f64)>,
    every: u64,
    seen: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            every: 1,
            seen: 0,
        }
    }
}

impl Sample {
    /// Whether the next one will be kept.
    pub fn wants(&self) -> bool {
        self.seen.is_multiple_of(self.every)
    }

    /// Looks at one, east first.
    pub fn see(&mut self, place: Option<(f64, f64)>) {
        if self.wants() {
            self.places.extend(place);
        }
        self.seen += 1;
        if self.places.len() >= PLACES_MAX {
            let mut index = 0;
            self.places.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }

    pub fn places(&self) -> &[(f64, f64)] {
        &self.places
    }
}

/// The middle of many places, and how far most lie from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Surroundings {
    middle: Position,
    far_m: f64,
}

impl Surroundings {
    /// Of places, if they are enough to say anything.
    pub fn of(places: &[Position]) -> Option<Self> {
        if places.len() < PLACES_MIN {
            return None;
        }
        let median = |mut numbers: Vec<i32>| {
            numbers.sort_unstable();
            numbers.get(numbers.len() / 2).copied()
        };
        let lat_e7 = median(places.iter().map(|place| place.lat_e7).collect())?;
        let lon_e7 = median(places.iter().map(|place| place.lon_e7).collect())?;
        let middle = Position { lon_e7, lat_e7 };
        let mut distances: Vec<f64> = places
            .iter()
            .map(|place| distance_m(middle, *place))
            .collect();
        distances.sort_by(f64::total_cmp);
        let most = distances.get(distances.len() * 3 / 4).copied()?;
        Some(Self {
            middle,
            far_m: (most * FAR_TIMES).max(FAR_M_MIN),
        })
    }

    fn distance_m(&self, place: Position) -> f64 {
        distance_m(self.middle, place)
    }

    /// Whether a place lies elsewhere, but with its numbers swapped among the others.
    fn finds_swapped(&self, place: Position) -> bool {
        let swapped = Position::new(place.lon_e7.into(), place.lat_e7.into());
        self.distance_m(place) > self.far_m
            && swapped.is_some_and(|swapped| self.distance_m(swapped) <= self.far_m)
    }
}

/// What a row's place is looked at beside: the other rows, and the records that are here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Beside {
    pub file: Option<Surroundings>,
    pub held: Option<Surroundings>,
}

impl Beside {
    /// # Errors
    ///
    /// Where latitude and longitude are swapped.
    pub fn look(&self, geometry: &Geometry, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
        let place = match geometry {
            Geometry::Position(place) => Some(*place),
            Geometry::Area(shape) => shape
                .polygons()
                .first()
                .and_then(|polygon| polygon.outer.corners().first().copied()),
            Geometry::Nowhere => None,
        };
        let Some(place) = place else {
            return Ok(());
        };
        let swapped = |beside: &Option<Surroundings>| {
            beside.is_some_and(|beside| beside.finds_swapped(place))
        };
        if swapped(&self.file) || swapped(&self.held) {
            let among = if swapped(&self.file) {
                "the other rows"
            } else {
                "the records that are here"
            };
            return Err(Refusal::new(
                "coordinates_swapped",
                format!(
                    "Latitude and longitude seem to be swapped: as they stand the place lies far from {among}, the other way round among them."
                ),
                "Correct the row in the file. If it is right as it stands, record it with cairn new.",
            ));
        }
        if let Some(file) = self.file {
            let distance_m = file.distance_m(place);
            if distance_m > file.far_m {
                warnings.push(Warning::new(
                    "far_from_rest",
                    format!(
                        "The place lies {:.0} km from the middle of the other rows: check its coordinates.",
                        distance_m / 1000.0
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).unwrap()
    }

    #[test]
    fn what_lies_elsewhere_is_noticed() {
        let places: Vec<Position> = (0..40)
            .map(|i| at(44.0 + f64::from(i) * 0.01, 17.9 - f64::from(i) * 0.01))
            .collect();
        let beside = Beside {
            file: Surroundings::of(&places),
            held: None,
        };
        let look = |place| {
            let mut warnings = Vec::new();
            let looked = beside.look(&Geometry::Position(place), &mut warnings);
            (
                looked.map_err(|refusal| refusal.code),
                warnings.first().map(|warning| warning.code),
            )
        };
        assert_eq!(look(at(44.3, 17.2)), (Ok(()), None));
        assert_eq!(look(at(17.5, 44.1)), (Err("coordinates_swapped"), None));
        assert_eq!(look(at(-44.1, 17.5)), (Ok(()), Some("far_from_rest")));
        assert!(Surroundings::of(&places[..5]).is_none());
    }

    #[test]
    fn a_sample_stays_small_and_even() {
        let mut sample = Sample::default();
        for i in 0..100_000 {
            sample.see(Some((f64::from(i), 0.0)));
        }
        let places = sample.places();
        assert!((PLACES_MAX / 4..PLACES_MAX).contains(&places.len()));
        let steps = places.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(
            steps
                .clone()
                .all(|step| step == steps.clone().next().unwrap())
        );
    }
}
