//! A small map in characters. What nobody recorded is a mark of its own: blank would read as safe.

use serde_json::Value as Json;

/// Samples along each side of a cell: nothing that is wider than a part of a cell falls through.
const SAMPLES: u32 = 4;
/// Metres in a degree of latitude.
const METRES_A_DEGREE: f64 = 111_320.0;
/// A character is about twice as high as it is wide.
const HEIGHT_OF_CELL: f64 = 2.0;

/// Polygons of rings of corners, in degrees: longitude, latitude.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape(Vec<Vec<Ring>>);

/// A ring's corners.
pub type Ring = Vec<(f64, f64)>;

impl Shape {
    /// Of a GeoJSON geometry that covers land.
    pub fn of(geometry: &Json) -> Option<Self> {
        let coordinates = geometry.get("coordinates")?.as_array()?;
        let polygons = match geometry.get("type")?.as_str()? {
            "Polygon" => vec![rings(coordinates)?],
            "MultiPolygon" => coordinates
                .iter()
                .map(|polygon| rings(polygon.as_array()?))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        Some(Self(polygons))
    }

    /// One ring without holes.
    pub fn ring(ring: Ring) -> Self {
        Self(vec![vec![ring]])
    }

    /// As a GeoJSON geometry.
    pub fn to_geojson(&self) -> Json {
        let polygon = |rings: &Vec<Ring>| -> Json {
            let ring = |ring: &Ring| -> Json {
                let corners = ring.iter().chain(ring.first());
                corners
                    .map(|(lon, lat)| Json::from(vec![*lon, *lat]))
                    .collect()
            };
            rings.iter().map(ring).collect()
        };
        let coordinates: Vec<Json> = self.0.iter().map(polygon).collect();
        serde_json::json!({ "type": "MultiPolygon", "coordinates": coordinates })
    }

    /// All its corners.
    pub fn corners(&self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().flatten().flatten().copied()
    }

    fn covers(&self, lon: f64, lat: f64) -> bool {
        let inside =
            |rings: &Vec<Ring>| rings.iter().filter(|ring| within(ring, lon, lat)).count() % 2 == 1;
        self.0.iter().any(inside)
    }
}

fn rings(polygon: &[Json]) -> Option<Vec<Ring>> {
    let corner = |corner: &Json| Some((corner.get(0)?.as_f64()?, corner.get(1)?.as_f64()?));
    polygon
        .iter()
        .map(|ring| {
            let mut ring: Ring = ring.as_array()?.iter().map(corner).collect::<Option<_>>()?;
            if ring.len() > 1 && ring.first() == ring.last() {
                ring.pop();
            }
            Some(ring)
        })
        .collect()
}

/// A ring's corners, a hair's breadth towards its middle: one on a line between cells belongs inside.
fn inward(ring: &Ring) -> impl Iterator<Item = (f64, f64)> {
    const HAIR: f64 = 1e-4;
    let count = ring.len().max(1) as f64;
    let middle = ring.iter().fold((0.0, 0.0), |sum, corner| {
        (sum.0 + corner.0 / count, sum.1 + corner.1 / count)
    });
    let nearer = move |from: f64, to: f64| from + (to - from) * HAIR;
    ring.iter()
        .map(move |(lon, lat)| (nearer(*lon, middle.0), nearer(*lat, middle.1)))
}

/// By the parity of crossings of a ray to the east.
fn within(ring: &Ring, lon: f64, lat: f64) -> bool {
    let next = ring.iter().cycle().skip(1);
    let crossed = ring.iter().zip(next).filter(|((ax, ay), (bx, by))| {
        (*ay > lat) != (*by > lat) && lon < (bx - ax) * (lat - ay) / (by - ay) + ax
    });
    crossed.count() % 2 == 1
}

/// What a cell of the map shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Nobody recorded anything: that does not say that it is safe.
    Nothing,
    /// Land that reads as dangerous by the word of the first, the second, or both.
    Counts(Says),
    /// The edge of what somebody proposes.
    Proposed,
    /// What somebody said and a decision did not take.
    NotTaken,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Only the first.
    First,
    /// Only the second.
    Second,
    /// Both, or what was decided.
    Both,
}

/// What is drawn.
#[derive(Debug, Default)]
pub struct Layers {
    /// The first one's boundary, as far as it counts.
    pub first: Shape,
    /// The second one's boundary, as far as it counts.
    pub second: Shape,
    /// A boundary that is only proposed.
    pub proposed: Shape,
    /// What was said and not taken.
    pub not_taken: Shape,
}

/// A map of a piece of land.
#[derive(Debug)]
pub struct Map {
    west: f64,
    north: f64,
    /// Degrees of a cell.
    cell: (f64, f64),
    columns: usize,
    rows: usize,
    metres_a_column: f64,
}

impl Map {
    /// So many cells for all these corners, with land around them.
    pub fn around(corners: impl Iterator<Item = (f64, f64)>, columns: usize, rows: usize) -> Self {
        let (mut west, mut east, mut south, mut north) = (f64::MAX, f64::MIN, f64::MAX, f64::MIN);
        for (lon, lat) in corners {
            west = west.min(lon);
            east = east.max(lon);
            south = south.min(lat);
            north = north.max(lat);
        }
        let metres_lon = METRES_A_DEGREE * ((south + north) / 2.0).to_radians().cos();
        let (across, down) = ((columns.max(5) - 4) as f64, (rows.max(3) - 2) as f64);
        let metres_a_column = ((east - west) * metres_lon / across)
            .max((north - south) * METRES_A_DEGREE / (down * HEIGHT_OF_CELL))
            .max(0.1);
        let cell = (
            metres_a_column / metres_lon,
            metres_a_column * HEIGHT_OF_CELL / METRES_A_DEGREE,
        );
        Self {
            west: (west + east) / 2.0 - cell.0 * columns as f64 / 2.0,
            north: (south + north) / 2.0 + cell.1 * rows as f64 / 2.0,
            cell,
            columns,
            rows,
            metres_a_column,
        }
    }

    /// The cells, from the north down and from the west.
    pub fn cells(&self, layers: &Layers) -> Vec<Vec<Cell>> {
        let proposed = |column: i64, row: i64| self.touches(&layers.proposed, column, row);
        let at = |column: i64, row: i64| {
            let first = self.touches(&layers.first, column, row);
            let second = self.touches(&layers.second, column, row);
            let edge = proposed(column, row)
                && [(1, 0), (-1, 0), (0, 1), (0, -1)]
                    .iter()
                    .any(|(right, down)| !proposed(column + right, row + down));
            match (edge, first, second) {
                (true, _, _) => Cell::Proposed,
                (_, true, true) => Cell::Counts(Says::Both),
                (_, true, false) => Cell::Counts(Says::First),
                (_, false, true) => Cell::Counts(Says::Second),
                _ if self.touches(&layers.not_taken, column, row) => Cell::NotTaken,
                _ => Cell::Nothing,
            }
        };
        let line = |row: i64| {
            (0..self.columns as i64)
                .map(|column| at(column, row))
                .collect()
        };
        (0..self.rows as i64).map(line).collect()
    }

    fn touches(&self, shape: &Shape, column: i64, row: i64) -> bool {
        let part =
            |whole: i64, sample: u32| whole as f64 + (f64::from(sample) + 0.5) / f64::from(SAMPLES);
        let sampled = (0..SAMPLES * SAMPLES).any(|sample| {
            let lon = self.west + self.cell.0 * part(column, sample % SAMPLES);
            let lat = self.north - self.cell.1 * part(row, sample / SAMPLES);
            shape.covers(lon, lat)
        });
        sampled
            || shape.0.iter().flatten().any(|ring| {
                inward(ring).any(|(lon, lat)| {
                    ((lon - self.west) / self.cell.0).floor() as i64 == column
                        && ((self.north - lat) / self.cell.1).floor() as i64 == row
                })
            })
    }

    /// A round number of metres and how many columns it takes, for a scale.
    pub fn scale(&self) -> (u32, usize) {
        let longest = self.metres_a_column * self.columns as f64 / 3.0;
        let round = [5_000, 2_000, 1_000, 500, 200, 100, 50, 20, 10];
        let metres = round
            .into_iter()
            .find(|metres| f64::from(*metres) <= longest);
        let metres = metres.unwrap_or(5);
        (
            metres,
            (f64::from(metres) / self.metres_a_column).round() as usize,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(west: f64, south: f64, side: f64) -> Shape {
        let (east, north) = (west + side, south + side);
        Shape::ring(vec![
            (west, south),
            (east, south),
            (east, north),
            (west, north),
        ])
    }

    fn drawn(map: &Map, layers: &Layers) -> Vec<String> {
        let mark = |cell: &Cell| match cell {
            Cell::Nothing => '.',
            Cell::Counts(Says::First) => '/',
            Cell::Counts(Says::Second) => '\\',
            Cell::Counts(Says::Both) => 'X',
            Cell::Proposed => 'o',
            Cell::NotTaken => ':',
        };
        let cells = map.cells(layers);
        cells
            .iter()
            .map(|row| row.iter().map(mark).collect())
            .collect()
    }

    #[test]
    fn two_boundaries_and_a_proposal_are_told_apart() {
        let layers = Layers {
            first: square(0.0, 0.0, 0.002),
            second: square(0.001, 0.001, 0.002),
            ..Layers::default()
        };
        let corners = layers.first.corners().chain(layers.second.corners());
        let map = Map::around(corners, 16, 8);
        assert_eq!(
            drawn(&map, &layers),
            [
                "................",
                "......\\\\\\\\\\\\\\\\..",
                "......\\\\\\\\\\\\\\\\..",
                "..////XXXX\\\\\\\\..",
                "..////XXXX\\\\\\\\..",
                "..////////......",
                "..////////......",
                "................",
            ]
        );
        let layers = Layers {
            first: square(0.0, 0.0, 0.003),
            second: square(0.0, 0.0, 0.003),
            proposed: square(0.0, 0.0, 0.0015),
            ..Layers::default()
        };
        let map = Map::around(layers.first.corners(), 16, 8);
        assert_eq!(drawn(&map, &layers)[4], "..ooooooXXXXXX..");
        assert_eq!(drawn(&map, &layers)[5], "..oXXXXoXXXXXX..");
    }

    #[test]
    fn a_hole_and_a_second_part_are_seen() {
        let geometry = serde_json::json!({ "type": "MultiPolygon", "coordinates": [
            [[[0.0, 0.0], [0.003, 0.0], [0.003, 0.003], [0.0, 0.003], [0.0, 0.0]],
             [[0.001, 0.001], [0.002, 0.001], [0.002, 0.002], [0.001, 0.002], [0.001, 0.001]]],
            [[[0.004, 0.0], [0.005, 0.0], [0.005, 0.003], [0.004, 0.003], [0.004, 0.0]]],
        ]});
        let shape = Shape::of(&geometry).expect("a geometry");
        assert!(shape.covers(0.0005, 0.0015));
        assert!(!shape.covers(0.0015, 0.0015));
        assert!(shape.covers(0.0045, 0.0015));
        assert_eq!(Shape::of(&shape.to_geojson()), Some(shape));
    }

    #[test]
    fn even_a_sliver_is_drawn() {
        let sliver = Shape::ring(vec![
            (0.0, 0.0),
            (0.003, 0.0),
            (0.003, 0.00006),
            (0.0, 0.00006),
        ]);
        let around = square(0.0, -0.0015, 0.003);
        let map = Map::around(around.corners(), 30, 12);
        let layers = Layers {
            first: sliver,
            ..Layers::default()
        };
        let lines = drawn(&map, &layers);
        assert!(
            lines.iter().any(|line| line.matches('/').count() >= 20),
            "{lines:#?}"
        );
    }

    #[test]
    fn the_scale_is_a_round_number_of_metres() {
        let map = Map::around(square(0.0, 0.0, 0.0026).corners(), 34, 17);
        let (metres, columns) = map.scale();
        assert_eq!(metres, 100);
        assert!((9..=11).contains(&columns), "{columns}");
    }
}
