//! The suspected areas of a whole country, where the file is at hand.

use crate::programme::*;
use cairn_records::geometry::{Region, crosses_itself};
use cairn_records::input::geojson_shape;
use cairn_records::summary::import_key_of;
use cairn_records::{Edit, Flag, Perimeter, Value};
use cairn_wire::ids::ScopeId;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::path::PathBuf;

fn features() -> Option<Vec<Json>> {
    let folder = std::env::var_os("CAIRN_SHARED_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = folder.join("bih_suspect_areas_simplyfied.geojson");
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("SKIPPED: the country's areas are not there; set CAIRN_SHARED_DATA");
        return None;
    };
    let mut json: Json = serde_json::from_slice(&file).unwrap();
    match json["features"].take() {
        Json::Array(features) => Some(features),
        _ => panic!("no features"),
    }
}

/// A real file of 11,068 areas: refused, doubled, self-crossing, taken.
#[test]
fn a_country_reads_as_counted() {
    let Some(features) = features() else { return };
    let mut keys = HashSet::new();
    let (mut refused, mut duplicates, mut taken, mut crossing) = (0, 0, 0, 0);
    let mut bytes = 0;
    let mut reading = std::time::Duration::ZERO;
    let programme = Programme::default();
    for feature in &features {
        let Ok(shape) = geojson_shape("perimeter", &feature["geometry"]) else {
            refused += 1;
            continue;
        };
        let crosses = shape.rings().any(crosses_itself);
        let edits = [
            Edit::Set {
                field: "perimeter".into(),
                value: Value::Perimeter(Perimeter::rings(shape)),
                reason: None,
            },
            set("hazard_class=suspected"),
            set(&format!(
                "source_text={}",
                feature["properties"]["fileId"].as_str().unwrap()
            )),
        ];
        if !keys.insert(import_key_of(area(), &ScopeId([1; 16]), &edits)) {
            duplicates += 1;
            continue;
        }
        taken += 1;
        crossing += usize::from(crosses);
        let document = programme.create(team("Import"), &edits);
        bytes += document.get_changes(&[])[0].raw_bytes().len();
        let started = std::time::Instant::now();
        let record = programme.read(&document);
        reading += started.elapsed();
        assert_eq!(record.flags.contains(&Flag::CrossesItself), crosses);
        assert!(
            record.region().is_some() && area_m2(&record) > 0,
            "{} {:?}",
            record.region().is_some(),
            feature["geometry"]
        );
    }
    println!(
        "{} features: {refused} refused, {duplicates} duplicates, {taken} taken, {crossing} crossing; {} B and {} µs a record",
        features.len(),
        bytes / taken,
        reading.as_micros() as usize / taken,
    );
    assert_eq!(
        (features.len(), refused, duplicates, taken),
        (11_068, 3_097, 4, 7_967)
    );
    assert_eq!(crossing, 307);
}

#[test]
fn unions_of_real_areas_know_no_order() {
    let Some(features) = features() else { return };
    let regions: Vec<Region> = features
        .iter()
        .filter_map(|feature| geojson_shape("perimeter", &feature["geometry"]).ok())
        .map(|shape| Region::of(&shape))
        .collect();
    let mut joined = 0;
    for (index, a) in regions.iter().enumerate().step_by(5) {
        let near = |b: &&Region| {
            let (a, b) = (a.bounds().unwrap(), b.bounds().unwrap());
            let (height, width) = a.with(&b).extent_e7();
            height.max(width) < 200_000
        };
        let mut others = regions[index + 1..].iter().filter(near);
        let (Some(b), Some(c)) = (others.next(), others.next()) else {
            continue;
        };
        let union = Region::union(&[a.clone(), b.clone(), c.clone()]);
        for order in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            assert_eq!(union, Region::union(&order.map(Clone::clone)));
        }
        let parts = a.area_m2() + b.area_m2() + c.area_m2();
        assert!(
            union.area_m2() <= parts + 3,
            "{} of {parts}",
            union.area_m2()
        );
        assert!(union.area_m2() + 3 >= a.area_m2().max(b.area_m2()).max(c.area_m2()));
        joined += usize::from(union.polygons().len() < 3);
    }
    println!("{joined} triples have areas that overlap");
    assert!(joined > 100);
}
