//! GeoJSON (RFC 7946) in and out.
//!
//! A file is read twice from front to back, one feature in memory at a time: once for its outline
//! (what it is, its `crs` wherever that stands, how many features, which properties), so that no
//! row is taken under a reference system that the file names only at its end, and once for its rows.

mod feature;
mod read;
mod write;

pub use feature::{Feature, Geometry};
pub(crate) use feature::{coordinates_of, one_line};
pub use read::{FeatureRow, GeoJsonReader, Outline, read_single};
pub use write::{Drawing, GeoJsonWriter, WriteError};
pub(crate) use write::{degrees, geometry_text, wkt_text};
