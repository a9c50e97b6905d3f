//! Shapes as bytes: counts and differences between corners, as variable-length integers.
//!
//! `polygons, then per polygon: rings, then per ring: corners, then per corner: longitude and
//! latitude less those of the corner before (of the ring before), zigzag`. Every integer is in
//! groups of seven bits, least first, in its shortest form.

use super::{Polygon, Position, Ring, Shape, ShapeError};
use cairn_wire::limits;

/// Appends a shape.
pub(crate) fn write_shape(shape: &Shape, out: &mut Vec<u8>) {
    write_number(shape.polygons().len() as u64, out);
    let mut before = (0i64, 0i64);
    for polygon in shape.polygons() {
        write_number(1 + polygon.holes.len() as u64, out);
        for ring in std::iter::once(&polygon.outer).chain(&polygon.holes) {
            write_number(ring.corners().len() as u64, out);
            for corner in ring.corners() {
                let here = (i64::from(corner.lon_e7), i64::from(corner.lat_e7));
                write_number(zigzag(here.0 - before.0), out);
                write_number(zigzag(here.1 - before.1), out);
                before = here;
            }
        }
    }
}

/// Reads a shape that fills `bytes`.
pub(crate) fn read_shape(mut bytes: &[u8]) -> Result<Shape, ShapeError> {
    let bytes = &mut bytes;
    let mut rings_left = limits::PERIMETER_RINGS_MAX;
    let mut corners_left = limits::PERIMETER_VERTICES_MAX;
    let mut before = (0i64, 0i64);
    let mut polygons = Vec::new();
    for _ in 0..read_count(bytes, rings_left)? {
        let rings = read_count(bytes, rings_left)?;
        rings_left -= rings;
        let mut polygon = Vec::with_capacity(rings);
        for _ in 0..rings {
            let corners = read_count(bytes, corners_left)?;
            corners_left -= corners;
            let mut ring = Vec::with_capacity(corners);
            for _ in 0..corners {
                before = (
                    before.0.wrapping_add(unzigzag(read_number(bytes)?)),
                    before.1.wrapping_add(unzigzag(read_number(bytes)?)),
                );
                let corner = Position::new(before.1, before.0).ok_or(ShapeError::Unreadable)?;
                ring.push(corner);
            }
            // As drawn: a ring that would lose its last corner was not written by us.
            if ring.len() > 1 && ring.first() == ring.last() {
                return Err(ShapeError::Unreadable);
            }
            polygon.push(Ring::new(ring)?);
        }
        let mut rings = polygon.into_iter();
        let outer = rings.next().ok_or(ShapeError::Unreadable)?;
        polygons.push(Polygon {
            outer,
            holes: rings.collect(),
        });
    }
    if !bytes.is_empty() {
        return Err(ShapeError::Unreadable);
    }
    Shape::new(polygons)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// At most five bytes: no difference of two coordinates needs more.
fn read_number(bytes: &mut &[u8]) -> Result<u64, ShapeError> {
    let mut value = 0;
    for shift in 0..5 {
        let (byte, rest) = bytes.split_first().ok_or(ShapeError::Unreadable)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            let shortest = *byte != 0 || shift == 0;
            return shortest.then_some(value).ok_or(ShapeError::Unreadable);
        }
    }
    Err(ShapeError::Unreadable)
}

fn read_count(bytes: &mut &[u8], max: usize) -> Result<usize, ShapeError> {
    match usize::try_from(read_number(bytes)?) {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(ShapeError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_shape_reads_back(corners in proptest::collection::vec((-900i64..900, -900i64..900), 3..60)) {
            let ring = corners
                .iter()
                .filter_map(|(lat, lon)| Position::new(450_000_000 + lat, -1_799_990_000 + lon))
                .collect();
            if let Ok(ring) = Ring::new(ring) {
                let shape = Shape::from_ring(ring).unwrap();
                let mut bytes = Vec::new();
                write_shape(&shape, &mut bytes);
                prop_assert!(bytes.len() <= 13 + 4 * corners.len());
                prop_assert_eq!(read_shape(&bytes), Ok(shape));
                bytes.push(0);
                prop_assert_eq!(read_shape(&bytes), Err(ShapeError::Unreadable));
            }
        }

        #[test]
        fn whatever_reads_is_its_own_encoding(bytes in proptest::collection::vec(0u8..0x90, 0..40)) {
            if let Ok(shape) = read_shape(&bytes) {
                let mut again = Vec::new();
                write_shape(&shape, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
