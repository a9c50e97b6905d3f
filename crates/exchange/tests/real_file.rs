//! The Bosnian suspect areas: 11,068 features of a real, untidy file.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::PathBuf,
};

use cairn_exchange::{GeoJsonReader, Geometry, Import, ImportOptions, ImportReport, Mapping};
use cairn_records::{schema, summary::import_key_of};
use cairn_wire::ids::ScopeId;

const NAME: &str = "bih_suspect_areas_simplyfied.geojson";

fn real_file() -> Option<File> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("CAIRN_SHARED_DATA").map_or(root, PathBuf::from);
    let file = File::open(folder.join(NAME)).ok();
    if file.is_none() {
        eprintln!(
            "SKIPPED: {NAME} is not there; set CAIRN_SHARED_DATA to the folder that holds it"
        );
    }
    file
}

#[test]
fn features_are_counted_as_the_programme_expects() {
    let Some(file) = real_file() else { return };
    let reader = GeoJsonReader::open(file, None).unwrap();
    assert_eq!(reader.outline().features, 11_068);
    assert_eq!(reader.outline().properties, ["fileId", "typeArea"]);
    let mut refused = BTreeMap::new();
    let mut warned = BTreeMap::new();
    let (mut considered, mut areas) = (0, 0);
    for row in reader {
        let row = row.unwrap();
        considered += 1;
        match row.result {
            Ok(feature) => {
                assert!(matches!(feature.geometry, Geometry::Area(_)));
                areas += 1;
                for warning in feature.warnings {
                    *warned.entry(warning.code).or_insert(0) += 1;
                }
            }
            Err(refusal) => *refused.entry(refusal.code).or_insert(0) += 1,
        }
    }
    assert_eq!(considered, 11_068);
    assert_eq!(areas, 7_971);
    assert_eq!(
        refused,
        BTreeMap::from([("empty_geometry", 3), ("no_geometry", 3_094)])
    );
    assert_eq!(warned, BTreeMap::from([("self_crossing", 307)]));
}

#[test]
fn rows_are_taken_skipped_and_refused_as_the_programme_expects() {
    let Some(file) = real_file() else { return };
    let kind = schema::kind("hazardous_area").unwrap();
    let mut import =
        Import::open(file, kind, &Mapping::default(), &ImportOptions::default()).unwrap();
    let mut report = ImportReport::new(import.unmapped());
    let mut seen = HashMap::new();
    for row in import.by_ref() {
        let row = row.unwrap();
        match row.result {
            Ok(taken) => {
                let key = import_key_of(kind, &ScopeId([7; 16]), &taken.edits);
                match seen.insert(key, row.number) {
                    Some(earlier) => report.duplicate(row.number, Some(earlier)),
                    None => report.taken(row.number.into(), &taken.warnings),
                }
            }
            Err(refusal) => report.refused(row.number.into(), refusal),
        }
    }
    assert_eq!(
        (
            report.considered,
            report.taken,
            report.duplicates,
            report.refused_count
        ),
        (11_068, 7_967, 4, 3_097)
    );
    assert_eq!(report.refused.len(), 3_097);
    assert_eq!(
        report.warning_counts,
        BTreeMap::from([("self_crossing", 307)])
    );
    assert_eq!(report.warnings.len(), 307);
    assert_eq!(report.unmapped, ["fileId", "typeArea"]);
}

#[test]
fn every_corner_is_within_half_a_unit_of_the_source() {
    let (Some(file), Some(again)) = (real_file(), real_file()) else {
        return;
    };
    let source: serde_json::Value =
        serde_json::from_reader(std::io::BufReader::new(again)).unwrap();
    let mut corners = 0;
    for row in GeoJsonReader::open(file, None).unwrap() {
        let row = row.unwrap();
        let Ok(feature) = row.result else { continue };
        let Geometry::Area(shape) = feature.geometry else {
            panic!("an area")
        };
        let drawn = &source["features"][row.number as usize - 1]["geometry"]["coordinates"][0];
        for (corner, drawn) in shape.polygons()[0]
            .outer
            .corners()
            .iter()
            .zip(drawn.as_array().unwrap())
        {
            assert!((corner.lon() - drawn[0].as_f64().unwrap()).abs() <= 5e-8);
            assert!((corner.lat() - drawn[1].as_f64().unwrap()).abs() <= 5e-8);
            corners += 1;
        }
    }
    assert!(corners > 50_000, "{corners}");
}
