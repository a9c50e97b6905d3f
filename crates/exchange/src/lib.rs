//! Files in and out: what other systems give becomes records, and records become files they can read.
//!
//! Promises: a file of any size is read with one row in memory; a damaged one gives its rows up to
//! the damage and then says where that is; coordinates are WGS 84 or converted from one of its UTM
//! zones, never misread; no value is guessed; every row that is not taken is named by its number,
//! with a reason and with what to do. What is written is the same bytes for the same records.
//!
//! It never touches disk, network or clock itself: it reads from and writes to what it is given.

mod crs;
mod csv;
mod export;
mod fault;
mod geojson;
mod gpx;
mod import;
mod mapping;
mod places;
mod report;
mod sample;
mod scan;
mod surroundings;
mod values;

pub use csv::{CsvTable, CsvWriter};
pub use export::{
    ExportFeature, ExportRow, export_feature, export_proposals, export_row, export_table,
};
pub use fault::{BadFile, BadRequest, FileFault, Refusal, SingleFault, Warning};
pub use geojson::{
    Drawing, Feature, FeatureRow, GeoJsonReader, GeoJsonWriter, Geometry, Outline, WriteError,
    read_single,
};
pub use gpx::{WayFault, read_way};
pub use import::{Import, ImportOptions, ImportRow, Row};
pub use mapping::Mapping;
pub use report::{At, DuplicateRow, ImportReport, RefusedRow, ReportedFault, RowWarning};
pub use sample::{SAMPLE_AREAS, SAMPLE_GEOJSON};
pub use values::DateOrder;
