//! Files in and out: what other systems give becomes records, and records become files they can read.
//!
//! Promises: a file of any size is read with one feature in memory; a damaged one gives its rows
//! up to the damage and then says where that is; no coordinate is taken under a reference system
//! other than WGS 84; every row that is not taken is named by its number, with a reason and with
//! what to do. What is written is the same bytes for the same records.
//!
//! It never touches disk, network or clock itself: it reads from and writes to what it is given.

mod export;
mod fault;
mod geojson;
mod import;
mod mapping;
mod report;
mod sample;
mod scan;

pub use export::{ExportFeature, export_feature};
pub use fault::{BadFile, BadRequest, FileFault, Refusal, SingleFault, Warning};
pub use geojson::{
    Drawing, Feature, FeatureRow, GeoJsonReader, GeoJsonWriter, Geometry, Outline, WriteError,
    read_single,
};
pub use import::{Import, ImportRow, Row};
pub use mapping::Mapping;
pub use report::{DuplicateRow, ImportReport, RefusedRow, ReportedFault, RowWarning, SeenRows};
pub use sample::{SAMPLE_AREAS, SAMPLE_GEOJSON};
