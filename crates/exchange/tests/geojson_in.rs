//! What becomes of files: whole, damaged, foreign and hostile.

use std::io::Cursor;

use cairn_exchange::{
    Feature, FeatureRow, FileFault, GeoJsonReader, Geometry, Refusal, read_single,
};
use proptest::prelude::*;

type Read = (Vec<FeatureRow>, Option<FileFault>);

fn read(bytes: &[u8]) -> Result<Read, FileFault> {
    let mut rows = Vec::new();
    let mut fault = None;
    for row in GeoJsonReader::open(Cursor::new(bytes), None)? {
        assert!(fault.is_none(), "nothing comes after a fault");
        match row {
            Ok(row) => rows.push(row),
            Err(found) => fault = Some(found),
        }
    }
    Ok((rows, fault))
}

fn whole(text: &str) -> Vec<FeatureRow> {
    let (rows, fault) = read(text.as_bytes()).unwrap();
    assert!(fault.is_none(), "{fault:?}");
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.number, index as u64 + 1);
    }
    rows
}

fn refused(text: &str) -> FileFault {
    match read(text.as_bytes()) {
        Err(fault) => fault,
        Ok((rows, fault)) => panic!("opened, with {} rows and {fault:?}", rows.len()),
    }
}

const SQUARE: &str = "[[[1,2],[1.5,2],[1.5,2.5],[1,2.5],[1,2]]]";

fn feature(kind: &str, coordinates: &str) -> String {
    format!(
        "{{\"type\":\"Feature\",\"geometry\":{{\"type\":\"{kind}\",\"coordinates\":{coordinates}}},\"properties\":{{\"a\":1}}}}"
    )
}

fn collection(features: &[String]) -> String {
    format!(
        "{{\"type\":\"FeatureCollection\",\"features\":[{}]}}",
        features.join(",\n")
    )
}

fn one(feature: String) -> Result<Feature, Refusal> {
    whole(&collection(&[feature])).remove(0).result
}

fn code(feature: String) -> &'static str {
    one(feature).unwrap_err().code
}

#[test]
fn members_may_stand_in_any_order() {
    let f = feature("Polygon", SQUARE);
    let turned = "{\"properties\":{\"a\":1},\"geometry\":{\"coordinates\":[[[1,2],[1.5,2],[1.5,2.5],[1,2.5],[1,2]]],\"type\":\"Polygon\"},\"type\":\"Feature\"}";
    let texts = [
        format!("{{\"features\":[{f}],\"name\":\"x\",\"type\":\"FeatureCollection\"}}"),
        format!(
            "{{\"name\":{{\"features\":[1]}},\"type\":\"FeatureCollection\",\"features\":[{turned}],\"bbox\":[1,2,3,4]}}"
        ),
        format!("\u{feff} {}", collection(std::slice::from_ref(&f))),
        f.clone(),
        format!("\u{1e}{turned}\n"),
        format!(
            "{{\"type\":\"FeatureCollection\",\"features\":[{f}],\"crs\":{{\"type\":\"name\",\"properties\":{{\"name\":\"urn:ogc:def:crs:OGC:1.3:CRS84\"}}}}}}"
        ),
    ];
    let expected = whole(&collection(&[f])).remove(0).result.unwrap();
    for text in &texts {
        let rows = whole(text);
        assert_eq!(rows.len(), 1, "{text}");
        assert_eq!(rows[0].result.as_ref().unwrap(), &expected, "{text}");
    }
}

#[test]
fn sequences_and_bare_geometries_are_read() {
    let f = feature("Polygon", SQUARE);
    assert_eq!(whole(&format!("{f}\n{f}\n{f}\n")).len(), 3);
    assert_eq!(whole(&format!("\u{1e}{f}\n\u{1e}{f}\n")).len(), 2);
    let bare = whole(&format!(
        "{{\"type\":\"Polygon\",\"coordinates\":{SQUARE}}}"
    ));
    assert!(matches!(
        bare[0].result.as_ref().unwrap().geometry,
        Geometry::Area(_)
    ));
    assert_eq!(
        whole("{\"type\":\"FeatureCollection\",\"features\":[]}").len(),
        0
    );
}

#[test]
fn the_outline_counts_and_names() {
    let none = "{\"type\":\"Feature\",\"geometry\":null,\"properties\":null}".to_owned();
    let text = collection(&[none.clone(), feature("Polygon", SQUARE), none]);
    let reader = GeoJsonReader::open(Cursor::new(text.as_bytes()), None).unwrap();
    assert_eq!(reader.outline().features, 3);
    assert_eq!(reader.outline().properties, ["a"]);
    assert_eq!(reader.outline().bytes, text.len() as u64);
}

#[test]
fn rows_without_a_place_are_refused_with_words() {
    assert_eq!(
        code("{\"type\":\"Feature\",\"geometry\":null,\"properties\":{}}".into()),
        "no_geometry"
    );
    assert_eq!(
        code("{\"type\":\"Feature\",\"properties\":{}}".into()),
        "no_geometry"
    );
    for (kind, coordinates) in [
        ("Polygon", "[]"),
        ("MultiPolygon", "[]"),
        ("Polygon", "[[]]"),
        ("MultiPolygon", "[[[]]]"),
        ("Point", "[]"),
        ("Polygon", "null"),
    ] {
        assert_eq!(
            code(feature(kind, coordinates)),
            "empty_geometry",
            "{kind} {coordinates}"
        );
    }
    for (kind, coordinates, expected) in [
        ("LineString", "[[1,2],[3,4]]", "geometry_kind"),
        ("Polygon", "[[1,2],[3,4],[5,6],[1,2]]", "bad_coordinates"),
        (
            "Polygon",
            "[[[\"1\",2],[3,4],[5,6],[1,2]]]",
            "bad_coordinates",
        ),
        ("Polygon", "{\"a\":1}", "bad_coordinates"),
        ("Point", "[1]", "bad_coordinates"),
        ("Polygon", "[[[1,2],[1,2],[3,2],[1,2]]]", "too_few_corners"),
        ("Point", "[45,120]", "coordinates_swapped"),
        ("Point", "[200,45]", "coordinates_out_of_range"),
        ("Point", "[500000,4980000]", "coordinates_projected"),
        ("Point", "[1e300,2]", "coordinates_projected"),
        (
            "Polygon",
            "[[[179.9,1],[-179.9,1],[-179.9,1.1],[179.9,1]]]",
            "crosses_antimeridian",
        ),
        ("Polygon", "[[[1,2],[30,2],[30,3],[1,2]]]", "too_large"),
    ] {
        assert_eq!(
            code(feature(kind, coordinates)),
            expected,
            "{kind} {coordinates}"
        );
    }
    for text in [
        "1",
        "\"Feature\"",
        "[]",
        "null",
        "{}",
        "{\"type\":\"Feature\",\"type\":\"Feature\"}",
        "{\"attributes\":{},\"geometry\":{\"rings\":[]}}",
    ] {
        assert_eq!(code(text.into()), "not_a_feature", "{text}");
    }
}

#[test]
fn a_decimal_comma_is_no_position() {
    for coordinates in ["[17,9,44,1]", "[17.9,44.1,0,0,0]"] {
        let refusal = one(feature("Point", coordinates)).unwrap_err();
        assert_eq!(refusal.code, "bad_coordinates", "{coordinates}");
        assert!(refusal.message.contains("comma"), "{}", refusal.message);
    }
    let beyond = "[17,9123,44,1012]";
    assert_eq!(code(feature("Point", beyond)), "bad_coordinates");
    // Height and a measure of an older standard.
    assert!(one(feature("Point", "[17.9,44.1,0,0]")).is_ok());
    // Three numbers are longitude, latitude and height, and may have been 17,9 and 44.
    for (kind, coordinates) in [
        ("Point", "[17,9,44]"),
        (
            "Polygon",
            "[[[17,9,44],[18.5,9,44],[18.5,9.5,44],[17,9,44]]]",
        ),
    ] {
        let warnings = one(feature(kind, coordinates)).unwrap().warnings;
        let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["decimal_comma"], "{coordinates}");
        assert!(warnings[0].message.contains("height"), "{warnings:?}");
    }
    // What is no number at all ends the file, and the reason is near.
    let text = collection(&[feature("Point", "[17,9,44,05]")]);
    let (rows, fault) = read(text.as_bytes()).unwrap();
    let fault = fault.unwrap();
    assert_eq!((rows.len(), fault.code()), (0, "not_json"));
    assert!(fault.hint().contains("comma"), "{}", fault.hint());
}

#[test]
fn what_is_doubtful_is_taken_and_flagged() {
    let warnings = |coordinates: &str| -> Vec<&'static str> {
        let feature = one(feature("Polygon", coordinates)).unwrap();
        feature
            .warnings
            .iter()
            .map(|warning| warning.code)
            .collect()
    };
    assert!(warnings(SQUARE).is_empty());
    assert_eq!(
        warnings("[[[1,2],[1.5,2.5],[1.5,2],[1,2.5],[1,2]]]"),
        ["self_crossing"]
    );
    assert_eq!(warnings("[[[1,2],[1.5,2],[1.5,2.5]]]"), ["ring_closed"]);
    assert_eq!(
        warnings("[[[1,2,0],[1.5,2,0],[1.5,2.5,7],[1,2,0]]]"),
        ["altitude_dropped"]
    );
    assert_eq!(
        warnings("[[[1,2],[1.5,2],[1.5,2.5],[1,2]],[[1.1,2.1],[1.2,2.1],[1.1,2.1]]]"),
        ["hole_dropped"]
    );
}

#[test]
fn several_areas_and_holes_are_kept_as_drawn() {
    let text = "[[[[1,2],[1.5,2],[1.5,2.5],[1,2.5],[1,2]],[[1.1,2.1],[1.2,2.1],[1.2,2.2],[1.1,2.1]]],[[[3,2],[3.5,2],[3.5,2.5],[3,2]]]]";
    let Geometry::Area(shape) = one(feature("MultiPolygon", text)).unwrap().geometry else {
        panic!("an area")
    };
    assert_eq!(shape.polygons().len(), 2);
    assert_eq!(shape.polygons()[0].holes.len(), 1);
    let first = shape.polygons()[1].outer.corners()[0];
    assert_eq!((first.lon_e7, first.lat_e7), (30_000_000, 20_000_000));
}

#[test]
fn limits_refuse_the_row_and_the_next_is_read() {
    let ring = |corners: usize| {
        let round: Vec<String> = (0..corners)
            .map(|i| {
                let angle = std::f64::consts::TAU * i as f64 / corners as f64;
                format!(
                    "[{:.7},{:.7}]",
                    1.0 + 0.01 * angle.cos(),
                    2.0 + 0.01 * angle.sin()
                )
            })
            .collect();
        format!("[[{},{}]]", round.join(","), round[0])
    };
    let long = feature("Polygon", SQUARE)
        .replace("\"a\":1", &format!("\"a\":\"{}\"", "x".repeat(1 << 20)));
    let wide = feature("Polygon", SQUARE)
        .replace("\"a\":1", &format!("\"a\":\"{}\"", "x".repeat(49 << 10)));
    let rows = whole(&collection(&[
        feature("Polygon", &ring(4000)),
        feature("Polygon", &ring(4001)),
        long,
        wide,
        feature(
            "Polygon",
            &format!(
                "[{}]",
                vec!["[[1,2],[1.1,2],[1.1,2.1],[1,2]]"; 257].join(",")
            ),
        ),
        feature("Polygon", SQUARE),
    ]));
    let codes: Vec<_> = rows
        .iter()
        .map(|row| row.result.as_ref().err().map(|refusal| refusal.code))
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some("too_many_corners"),
            Some("feature_too_large"),
            Some("properties_too_large"),
            Some("too_many_corners"),
            None
        ]
    );
}

#[test]
fn other_reference_systems_are_refused_wherever_they_are_named() {
    let f = feature("Polygon", SQUARE);
    let crs = |name: &str| format!("{{\"type\":\"name\",\"properties\":{{\"name\":\"{name}\"}}}}");
    let named = |name: &str, after: bool| {
        let (first, last) = (
            format!("\"crs\":{}", crs(name)),
            format!("\"features\":[{f}]"),
        );
        let (first, last) = if after { (last, first) } else { (first, last) };
        format!("{{\"type\":\"FeatureCollection\",{first},{last}}}")
    };
    for after in [false, true] {
        let fault = refused(&named("EPSG:3857", after));
        assert_eq!(fault.code(), "crs");
        assert!(fault.to_string().contains("EPSG:3857"), "{fault}");
        assert_eq!(whole(&named("EPSG:4326", after)).len(), 1);
    }
    assert_eq!(
        code(f.replace(
            "\"properties\"",
            &format!("\"crs\":{},\"properties\"", crs("EPSG:3857"))
        )),
        "crs"
    );
    let unnamed = format!("{{\"type\":\"FeatureCollection\",\"crs\":null,\"features\":[{f}]}}");
    assert_eq!(refused(&unnamed).code(), "crs");
    let open =
        |text: &str, crs| GeoJsonReader::open(Cursor::new(text.as_bytes()), Some(crs)).map(|_| ());
    assert!(open(&unnamed, "EPSG:4326").is_ok());
    assert!(open(&collection(&[]), "EPSG:32644").is_ok(), "converted");
    assert_eq!(
        open(&collection(&[]), "EPSG:3857").unwrap_err().code(),
        "crs"
    );
    assert_eq!(
        open(&named("EPSG:32644", true), "EPSG:4326")
            .unwrap_err()
            .code(),
        "crs"
    );
}

#[test]
fn a_zone_of_utm_is_converted_and_its_numbers_are_kept() {
    let corners =
        "[733452.12,4885321.5],[733552.12,4885321.5],[733552.12,4885421.5],[733452.12,4885321.5]";
    let f = feature("Polygon", &format!("[[{corners}]]"));
    let crs = "{\"type\":\"name\",\"properties\":{\"name\":\"urn:ogc:def:crs:EPSG::32633\"}}";
    let text = format!("{{\"type\":\"FeatureCollection\",\"features\":[{f}],\"crs\":{crs}}}");
    let taken = whole(&text).remove(0).result.unwrap();
    let Geometry::Area(shape) = &taken.geometry else {
        panic!("{taken:?}");
    };
    let first = shape.polygons()[0].outer.corners()[0];
    assert_eq!((first.lat_e7, first.lon_e7), (440_838_584, 179_158_824));
    assert_eq!(taken.source_text, Some(format!("[[{corners}]]")));
    // Degrees under the name of a zone are not taken for metres.
    let bare = format!(
        "{{\"type\":\"FeatureCollection\",\"features\":[{}],\"crs\":{crs}}}",
        feature("Polygon", SQUARE)
    );
    assert_eq!(
        whole(&bare).remove(0).result.unwrap_err().code,
        "coordinates_out_of_range"
    );
}

#[test]
fn foreign_files_are_named() {
    for (text, code) in [
        ("", "empty_file"),
        (" \n ", "empty_file"),
        ("hello", "not_json"),
        ("<kml/>", "wrong_format"),
        ("PK\u{3}\u{4}", "wrong_format"),
        ("SQLite format 3\0 and so on", "wrong_format"),
        ("[1]", "wrong_top_level"),
        ("{}", "wrong_top_level"),
        ("{\"type\":\"Topology\"}", "wrong_top_level"),
        ("{\"type\":\"FeatureCollection\"}", "wrong_top_level"),
        (
            "{\"type\":\"FeatureCollection\",\"features\":{}}",
            "wrong_top_level",
        ),
        (
            "{\"type\":\"FeatureCollection\",\"features\":[],\"features\":[]}",
            "repeated_member",
        ),
        ("{\"type\" 1}", "not_json"),
        ("{\"type\":", "truncated"),
    ] {
        let fault = refused(text);
        assert_eq!(fault.code(), code, "{text}: {fault}");
        assert!(!fault.hint().is_empty());
    }
    let wide: Vec<u8> = "{\"type\":1}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(read(&wide).unwrap_err().code(), "utf16");
    let marked = [&[0xff, 0xfe], wide.as_slice()].concat();
    assert_eq!(read(&marked).unwrap_err().code(), "utf16");
}

#[test]
fn rows_before_the_damage_are_given_and_its_place_is_named() {
    let f = feature("Polygon", SQUARE);
    let text = collection(&[f.clone(), f.clone(), f.clone()]);
    let (rows, fault) = read(&text.as_bytes()[..text.len() - 30]).unwrap();
    assert_eq!(rows.len(), 2);
    let fault = fault.unwrap();
    assert_eq!(fault.code(), "truncated");
    assert!(
        fault
            .to_string()
            .contains(&format!("byte {}", text.len() - 30)),
        "{fault}"
    );
    assert!(fault.to_string().contains("2 features"), "{fault}");

    let broken = text
        .replacen("\"a\":1", "\"a\":?", 2)
        .replacen("\"a\":?", "\"a\":1", 1);
    let at = broken.find('?').unwrap();
    let (rows, fault) = read(broken.as_bytes()).unwrap();
    assert_eq!(rows.len(), 1);
    let fault = fault.unwrap().to_string();
    assert!(
        fault.contains(&format!("byte {at},")) && fault.contains("feature 2"),
        "{fault}"
    );

    let (rows, fault) = read(format!("{text}{text}").as_bytes()).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        fault.unwrap().code(),
        "not_json",
        "a second file behind the first is not passed over in silence"
    );

    let deep = text.replacen("\"a\":1", &format!("\"a\":{}1", "[".repeat(200)), 1);
    let (rows, fault) = read(deep.as_bytes()).unwrap();
    assert_eq!((rows.len(), fault.unwrap().code()), (0, "too_deep"));
}

#[test]
fn a_row_in_another_encoding_is_refused_and_the_next_is_read() {
    let f = feature("Polygon", SQUARE);
    let text = collection(&[f.replace("\"a\":1", "\"a\":\"Br\u{10d}ko\""), f]);
    let (rows, _) = read(text.as_bytes()).unwrap();
    assert!(rows[0].result.is_ok());
    let mut bytes = text.into_bytes();
    let at = bytes.iter().position(|byte| *byte == 0xc4).unwrap();
    bytes.splice(at..at + 2, [0xe8]);
    let (rows, fault) = read(&bytes).unwrap();
    assert!(fault.is_none());
    assert_eq!(rows[0].result.as_ref().unwrap_err().code, "not_utf8");
    assert!(rows[1].result.is_ok());
}

#[test]
fn one_place_is_read_from_a_file_that_holds_one() {
    let single = |text: &str| read_single(Cursor::new(text.as_bytes().to_vec()), None);
    let f = feature("Polygon", SQUARE);
    assert!(single(&f).is_ok());
    assert!(single(&collection(std::slice::from_ref(&f))).is_ok());
    let message = |text: &str| single(text).unwrap_err().to_string();
    assert!(message(&collection(&[])).contains("no feature"));
    assert!(message(&collection(&[f.clone(), f.clone()])).contains("several"));
    assert!(message(&f.replace("Polygon", "LineString")).contains("LineString"));
    assert!(message(&f[..f.len() - 1]).contains("cut off"));
}

fn sample_text() -> String {
    let f = feature("Polygon", SQUARE);
    let m = feature("MultiPolygon", &format!("[{SQUARE}]"));
    let g = "{\"type\":\"Feature\",\"id\":\"x\\\"y\",\"geometry\":null,\"properties\":{\"note\":\"вода \\u0041 {[\"}}".to_owned();
    collection(&[f, m, g, feature("Point", "[1,2,3]")])
}

proptest! {
    #[test]
    fn any_cut_is_survived(cut in 0..sample_text().len()) {
        let text = sample_text();
        match read(&text.as_bytes()[..cut]) {
            Ok((rows, fault)) => {
                prop_assert!(rows.len() <= 4);
                prop_assert!(fault.is_some(), "a cut is always noticed");
            }
            Err(fault) => prop_assert!(!fault.to_string().is_empty()),
        }
    }

    #[test]
    fn any_flip_is_survived(flips in prop::collection::vec((0..sample_text().len(), any::<u8>()), 1..4)) {
        let mut bytes = sample_text().into_bytes();
        for (at, with) in flips {
            bytes[at] ^= with;
        }
        if let Ok((rows, _)) = read(&bytes) {
            prop_assert!(rows.len() <= bytes.len());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_brackets_are_survived(text in "[\\[\\]{},:\"0-9a\\\\ ]{0,200}") {
        let _ = read(text.as_bytes());
        let _ = read(format!("{{\"type\":\"FeatureCollection\",\"features\":[{text}").as_bytes());
    }
}
