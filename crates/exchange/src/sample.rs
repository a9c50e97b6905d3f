//! The sample that the project carries: sixty invented areas in the open South Pacific.
//!
//! Made by `cargo run -p cairn-bench --bin generate -- sample`; a test there makes it again and
//! compares.

/// The sample as a GeoJSON file.
pub const SAMPLE_GEOJSON: &[u8] = include_bytes!("../sample/areas.geojson");
/// Areas in it.
pub const SAMPLE_AREAS: usize = 60;
