//! The main job on real input: a country's areas from one device to the other.

use cairn_end_to_end::{Centre, shared_data};

#[test]
fn the_areas_of_a_country_reach_the_other_device_byte_for_byte() {
    let Some(folder) = shared_data("the_areas_of_a_country_reach_the_other_device_byte_for_byte")
    else {
        return;
    };
    let file = folder.join("bih_suspect_areas_simplyfied.geojson");
    let file = file.to_str().expect("UTF-8");
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["country/hazards:rw"]);
    let delta = centre.device("Delta", &["country/hazards:rw"]);

    let import = [
        "import",
        file,
        "--kind",
        "hazardous_area",
        "--scope",
        "country/hazards",
    ];
    let report = alpha.run(&import).expect(3).json();
    assert_eq!(report["schema"], "cairn.import/1");
    assert_eq!(report["considered"], 11_068);
    assert_eq!(report["taken"], 7_967);
    assert_eq!(report["duplicates"], 4);
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 3_097);
    let count = |code: &str| refused.iter().filter(|row| row["reason"] == code).count();
    assert_eq!((count("no_geometry"), count("empty_geometry")), (3_094, 3));
    let crossing = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|warning| warning["reason"] == "self_crossing")
        .filter(|warning| warning["row"].as_u64().is_some())
        .count();
    assert_eq!(crossing, 307);

    let pushed = alpha.sync();
    let per_area = pushed["app_bytes_sent"].as_f64().unwrap() / 7_967.0;
    assert!(per_area <= 130.0, "{per_area} bytes an area");
    delta.sync();
    let (of_alpha, of_delta) = (alpha.export(), delta.export());
    assert!(of_alpha == of_delta, "the exports differ");

    for device in [&alpha, &delta] {
        let again = device.run(&import).expect(3).json();
        assert_eq!(again["taken"], 0);
        assert_eq!(again["duplicates"], 7_971);
    }
    assert_eq!(alpha.sync()["entries_sent"], 0);
    assert_eq!(delta.sync()["entries_sent"], 0);
    coordinates_agree(file, &of_alpha);
}

/// Every coordinate of the export lies within 5e-8 degrees of one of the source.
fn coordinates_agree(source: &str, export: &[u8]) {
    fn numbers(value: &serde_json::Value, out: &mut Vec<(i64, i64)>, grid: f64) {
        match value {
            serde_json::Value::Array(items) if items.len() >= 2 && items[0].is_number() => {
                let on_grid = |item: &serde_json::Value| {
                    (item.as_f64().expect("a coordinate") * grid).round() as i64
                };
                out.push((on_grid(&items[0]), on_grid(&items[1])));
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| numbers(item, out, grid));
            }
            _ => {}
        }
    }
    let points = |bytes: &[u8]| {
        let whole: serde_json::Value = serde_json::from_slice(bytes).expect("GeoJSON");
        let mut out = Vec::new();
        for feature in whole["features"].as_array().expect("features") {
            numbers(&feature["geometry"]["coordinates"], &mut out, 1e7);
        }
        out.sort_unstable();
        out.dedup();
        out
    };
    // On the grid of 1e-7 degrees, to be within half a step is to be the same point.
    let source = points(&std::fs::read(source).expect("the source is readable"));
    let export = points(export);
    assert_eq!(source.len(), export.len());
    assert!(source == export, "a coordinate moved");
}
