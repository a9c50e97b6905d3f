//! What is written is read again as the same record, and adds nothing.

use std::{collections::BTreeSet, io::Cursor};

use automerge::{Automerge, ROOT, ReadDoc};
use cairn_exchange::{
    Drawing, ExportFeature, GeoJsonReader, GeoJsonWriter, Geometry, Import, ImportOptions,
    ImportRow, Mapping, SAMPLE_AREAS, SAMPLE_GEOJSON, export_feature, export_proposals,
};
use cairn_records::{
    ChangeFacts, Edit, Envelope, Record, apply_edit, apply_root,
    geometry::{Polygon, Position, Ring, Shape},
    import_key, read,
    schema::{self, Kind},
    summary::import_key_of,
};
use cairn_wire::ids::{ChangeHash, DeviceKey, ScopeId};
use proptest::prelude::*;

const SCOPE: ScopeId = ScopeId([9; 16]);

fn kind() -> &'static Kind {
    schema::kind("hazardous_area").unwrap()
}

fn facts(_: &ChangeHash) -> ChangeFacts {
    ChangeFacts {
        author: "T1".into(),
        device: DeviceKey([1; 32]),
        verified: true,
        may_decide: false,
        recorded_at_s: None,
    }
}

fn rows(bytes: &[u8], mapping: &Mapping) -> Vec<ImportRow> {
    let import = Import::open(
        Cursor::new(bytes),
        kind(),
        mapping,
        &ImportOptions::default(),
    )
    .unwrap();
    import.map(|row| row.unwrap().result.unwrap()).collect()
}

fn document(edits: &[Edit]) -> Automerge {
    let mut document = Automerge::new();
    let mut transaction = document.transaction();
    apply_root(&mut transaction, kind(), &Envelope::default(), edits).unwrap();
    transaction.commit();
    document
}

fn exported(number: usize, document: &Automerge) -> ExportFeature {
    let record: Record = read(document, &facts).unwrap();
    let key = import_key(document, &SCOPE).unwrap();
    export_feature(&format!("{number:032x}"), &record, Some(&key))
}

fn written(features: &[ExportFeature]) -> Vec<u8> {
    let mut writer = GeoJsonWriter::new(Vec::new()).unwrap();
    for feature in features {
        writer
            .write(&feature.id, feature.drawing(), &feature.properties)
            .unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn the_sample_goes_out_and_comes_back_as_itself() {
    let first = rows(SAMPLE_GEOJSON, &Mapping::default());
    assert_eq!(first.len(), SAMPLE_AREAS);
    let documents: Vec<_> = first.iter().map(|row| document(&row.edits)).collect();
    let features: Vec<_> = documents
        .iter()
        .enumerate()
        .map(|(number, document)| exported(number, document))
        .collect();
    let bytes = written(&features);
    let again = rows(&bytes, &Mapping::default());
    for (number, (row, back)) in first.iter().zip(&again).enumerate() {
        let (document, feature) = (&documents[number], &features[number]);
        let key = import_key(document, &SCOPE).unwrap();
        assert!(row.warnings.is_empty() && back.warnings.is_empty());
        assert_eq!(import_key_of(kind(), &SCOPE, &row.edits), key);
        assert_eq!(
            back.import_keys(kind(), &SCOPE).1,
            Some(key),
            "known by its mark"
        );
        assert_eq!(row.edits.first(), back.edits.first(), "the same corners");
        let copy = self::document(&back.edits);
        assert_eq!(
            &exported(number, &copy),
            feature,
            "an export of the copy is the same"
        );
        assert_eq!(
            import_key_of(kind(), &SCOPE, &back.edits),
            key,
            "and by what it says"
        );
    }
}

#[test]
fn the_sample_has_no_unmapped_property_and_speaks_three_languages() {
    let import = Import::open(
        Cursor::new(SAMPLE_GEOJSON),
        kind(),
        &Mapping::default(),
        &ImportOptions::default(),
    )
    .unwrap();
    assert!(import.unmapped().is_empty(), "{:?}", import.unmapped());
    let text = std::str::from_utf8(SAMPLE_GEOJSON).unwrap();
    assert!(
        text.contains("Leave the road") && text.contains("триматися") && text.contains("المحروث")
    );
    let keys: BTreeSet<_> = rows(SAMPLE_GEOJSON, &Mapping::default())
        .iter()
        .map(|row| import_key_of(kind(), &SCOPE, &row.edits))
        .collect();
    assert_eq!(keys.len(), SAMPLE_AREAS);
}

const PLAIN: &str = r#"{"type":"FeatureCollection","features":[
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1,2],[1.01,2],[1.01,2.01],[1,2]]]},"properties":{"number":7,"class":"Suspected","codes":"ap_mine; uxo","status":null,"slope":"","created_by":"x"}},
{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"number":8,"class":"suspected","codes":"[\"ied\"]","area_reported":31415}},
{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"number":9,"class":"purple"}}
]}"#;

fn mapping(maps: &[&str], key: Option<&str>) -> Mapping {
    let mut mapping = Mapping {
        key: key.map(str::to_owned),
        ..Mapping::default()
    };
    for map in maps {
        mapping.add(map).unwrap();
    }
    mapping
}

#[test]
fn properties_go_where_they_are_sent() {
    let mapping = mapping(
        &[
            "local_id=number",
            "hazard_class=class",
            "eo_categories=codes",
        ],
        Some("number"),
    );
    let import = Import::open(
        Cursor::new(PLAIN),
        kind(),
        &mapping,
        &ImportOptions::default(),
    )
    .unwrap();
    assert_eq!(import.unmapped(), ["created_by"]);
    let rows: Vec<_> = import.map(|row| row.unwrap().result).collect();
    let first = rows[0].as_ref().unwrap();
    assert_eq!(first.key.as_deref(), Some("7"));
    let record = read(&document(&first.edits), &facts).unwrap();
    assert_eq!(record.reads("local_id").as_text(), Some("7"));
    assert_eq!(record.reads("hazard_class").as_text(), Some("suspected"));
    assert_eq!(record.reads("external_id").as_text(), Some("7"));
    assert!(!record.fields.contains_key("slope"), "blank says nothing");
    assert_eq!(record.fields["eo_categories"].values.len(), 2);
    assert!(record.fields["status"].assumed);

    let record = read(&document(&rows[1].as_ref().unwrap().edits), &facts).unwrap();
    let circle = record.reads("perimeter").as_perimeter().unwrap().clone();
    assert!(matches!(
        circle.extent,
        cairn_records::Extent::Circle { radius_m: 100, .. }
    ));
    assert_eq!(record.fields["eo_categories"].values.len(), 1);

    // An answer that is none is told, and what nobody said reads as the most dangerous.
    let third = rows[2].as_ref().unwrap();
    let warning = &third.warnings[0];
    assert_eq!(warning.code, "unknown_answer");
    assert!(warning.message.contains("purple") && warning.message.contains("confirmed"));
    let record = read(&document(&third.edits), &facts).unwrap();
    assert_eq!(record.reads("hazard_class").as_text(), Some("confirmed"));
    assert!(record.fields["hazard_class"].assumed);
}

#[test]
fn what_cannot_be_mapped_is_said_at_once() {
    let open = |mapping: &Mapping| {
        Import::open(
            Cursor::new(PLAIN),
            kind(),
            mapping,
            &ImportOptions::default(),
        )
        .map(|_| ())
        .unwrap_err()
    };
    let fault = open(&mapping(&["local_id=nummer"], None));
    assert_eq!(fault.code(), "unknown_property");
    assert!(
        fault.hint().contains("class, codes, created_by, number"),
        "{}",
        fault.hint()
    );
    let fault = open(&mapping(&["local_ib=number"], None));
    assert_eq!(fault.code(), "unknown_field");
    assert!(fault.to_string().contains("local_id"), "{fault}");
    assert_eq!(
        open(&mapping(&["external_id=number"], None)).code(),
        "bad_map"
    );
    assert_eq!(
        open(&mapping(&[], Some("instanceID"))).code(),
        "unknown_property"
    );
    let mut twice = mapping(&["local_id=number"], None);
    assert_eq!(twice.add("local_id=class").unwrap_err().code(), "bad_map");
    assert_eq!(twice.add("local_id").unwrap_err().code(), "bad_map");
}

#[test]
fn hectares_are_never_read_as_square_metres() {
    let text = PLAIN.replace("\"number\":", "\"AREA_HA\":2.5,\"number\":");
    let open = |map: &str| {
        let mapping = mapping(&[map], None);
        Import::open(
            Cursor::new(text.clone()),
            kind(),
            &mapping,
            &ImportOptions::default(),
        )
    };
    let refused = |map: &str| open(map).map(|_| ()).unwrap_err();
    assert_eq!(refused("area_reported=AREA_HA").code(), "unit_unclear");
    assert_eq!(refused("area_reported=AREA_HA:leagues").code(), "bad_map");
    for (map, expected) in [
        ("area_reported=AREA_HA:ha", 25_000),
        ("area_reported=AREA_HA:m2", 3),
    ] {
        let row = open(map).unwrap().next().unwrap().unwrap().result.unwrap();
        let record = read(&document(&row.edits), &facts).unwrap();
        assert_eq!(
            record.reads("area_reported").as_int(),
            Some(expected),
            "{map}"
        );
    }
}

#[test]
fn bearings_and_distances_come_back_as_they_were() {
    let points = r#"[{"type":"turning","bearing":45.5,"bearing_reference":"true","distance":12.3},{"type":"start","position":{"lat":2.0000001,"lon":1.5}}]"#;
    let text = PLAIN.replace("\"class\":", &format!("\"points\":{points},\"class\":"));
    let row = rows(text.as_bytes(), &Mapping::default()).remove(0);
    let document = document(&row.edits);
    let feature = exported(1, &document);
    let mut listed: Vec<_> = feature.properties["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut expected: Vec<_> = serde_json::from_str::<Vec<serde_json::Value>>(points)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    let back = rows(&written(&[feature]), &Mapping::default()).remove(0);
    let (own, exported) = back.import_keys(kind(), &SCOPE);
    assert_eq!(Some(own), exported);
}

#[test]
fn a_row_without_its_key_is_refused() {
    let import = Import::open(
        Cursor::new(PLAIN),
        kind(),
        &mapping(&[], Some("codes")),
        &ImportOptions::default(),
    )
    .unwrap();
    let rows: Vec<_> = import.map(|row| row.unwrap().result).collect();
    assert!(rows[0].is_ok());
    assert_eq!(rows[2].as_ref().unwrap_err().code, "no_key");
}

#[test]
fn a_key_of_another_system_survives_the_way_out_and_in() {
    let mapping = mapping(&["hazard_class=class"], Some("number"));
    let import = Import::open(
        Cursor::new(PLAIN),
        kind(),
        &mapping,
        &ImportOptions::default(),
    )
    .unwrap();
    let row = import
        .map(|row| row.unwrap().result.unwrap())
        .next()
        .unwrap();
    let bytes = written(&[exported(1, &document(&row.edits))]);
    let back = rows(&bytes, &Mapping::default()).remove(0);
    assert_eq!(back.key.as_deref(), Some("7"));
    let (own, exported) = back.import_keys(kind(), &SCOPE);
    assert_eq!(Some(own), exported);
    assert_eq!(own, import_key_of(kind(), &SCOPE, &row.edits));
}

#[test]
fn a_text_too_long_for_a_record_refuses_its_row() {
    let long = PLAIN.replace(
        "\"class\":\"Suspected\"",
        &format!("\"description\":\"{}\"", "x".repeat(17 << 10)),
    );
    let mut import = Import::open(
        Cursor::new(long),
        kind(),
        &Mapping::default(),
        &ImportOptions::default(),
    )
    .unwrap();
    let refusal = import.next().unwrap().unwrap().result.unwrap_err();
    assert_eq!(refusal.code, "bad_value");
    assert!(refusal.message.contains("16384 bytes"), "{refusal}");
}

#[test]
fn an_edited_record_is_known_by_its_mark_and_a_changed_row_is_not() {
    let row = rows(SAMPLE_GEOJSON, &Mapping::default()).remove(0);
    let mut document = document(&row.edits);
    let key = import_key(&document, &SCOPE).unwrap();
    let seen = read(&document, &facts).unwrap();
    let mut transaction = document.transaction();
    let edit = Edit::Set {
        field: "slope".into(),
        value: "unknown".into(),
        reason: None,
    };
    apply_edit(&mut transaction, kind(), &seen, &[edit]).unwrap();
    transaction.commit();
    assert!(document.get(ROOT, "slope").unwrap().is_some());

    let bytes = written(&[exported(1, &document)]);
    let back = rows(&bytes, &Mapping::default()).remove(0);
    assert_eq!(back.exported_key, Some(key));

    let text = String::from_utf8(bytes)
        .unwrap()
        .replace("\"slope\":\"unknown\"", "\"slope\":\"flat\"");
    let back = rows(text.as_bytes(), &Mapping::default()).remove(0);
    assert_eq!(back.exported_key, None);
    assert_eq!(back.warnings[0].code, "altered_copy");
}

#[test]
fn conflicts_are_named_and_both_rings_are_drawn() {
    let row = rows(SAMPLE_GEOJSON, &Mapping::default()).remove(0);
    let base = document(&row.edits);
    let seen = read(&base, &facts).unwrap();
    let mut merged = base.clone();
    for (code, lon) in [("unknown", -1_200_000_000), ("steep", -1_200_100_000)] {
        let mut other = base.fork();
        let ring = [(0, 0), (0, 9000), (9000, 9000)]
            .map(|(lat, east)| Position::new(-480_000_000 + lat, lon + east).unwrap());
        let shape = Shape::from_ring(Ring::new(ring.to_vec()).unwrap()).unwrap();
        let edits = [
            Edit::Set {
                field: "slope".into(),
                value: code.into(),
                reason: None,
            },
            Edit::Set {
                field: "perimeter".into(),
                value: cairn_records::Value::Perimeter(cairn_records::Perimeter::rings(shape)),
                reason: None,
            },
        ];
        let mut transaction = other.transaction();
        apply_edit(&mut transaction, kind(), &seen, &edits).unwrap();
        transaction.commit();
        merged.merge(&mut other).unwrap();
    }
    let feature = exported(1, &merged);
    assert_eq!(
        feature.properties["conflicts"],
        serde_json::json!(["perimeter", "slope"])
    );
    assert!(feature.properties["slope"].is_null());
    let Drawing::Area(polygons) = feature.drawing() else {
        panic!("an area")
    };
    assert_eq!(polygons.len(), 3, "the first ring and both new ones");
}

#[test]
fn an_area_of_the_size_of_a_district_is_looked_at() {
    for (size, codes) in [(0.05, &[][..]), (0.2, &["very_large"])] {
        let ring = serde_json::json!([[
            [17.0, 44.0],
            [17.0 + size, 44.0],
            [17.0 + size, 44.0 + size],
            [17.0, 44.0]
        ]]);
        let feature = serde_json::json!({
            "type": "Feature",
            "properties": {},
            "geometry": { "type": "Polygon", "coordinates": ring },
        });
        let row = rows(feature.to_string().as_bytes(), &Mapping::default()).remove(0);
        let said: Vec<&str> = row.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(said, codes, "{size}");
    }
}

#[test]
fn a_proposed_outline_follows_its_record_and_is_not_taken_for_one() {
    let row = rows(SAMPLE_GEOJSON, &Mapping::default()).remove(0);
    let mut document = document(&row.edits);
    let seen = read(&document, &facts).unwrap();
    let feature = exported(1, &document);
    let Drawing::Area([polygon]) = feature.drawing() else {
        panic!("one area")
    };
    let id = feature.id.clone();
    assert!(export_proposals(&id, &seen).is_empty());
    let corners = polygon.outer.corners();
    let middle = |of: fn(&Position) -> i32| {
        corners.iter().map(|at| i64::from(of(at))).sum::<i64>() / corners.len() as i64
    };
    let (lat, lon) = (middle(|at| at.lat_e7), middle(|at| at.lon_e7));
    let half = |of: i32, middle: i64| (i64::from(of) + middle) / 2;
    let smaller = corners
        .iter()
        .map(|at| Position::new(half(at.lat_e7, lat), half(at.lon_e7, lon)).unwrap());
    let shape = Shape::from_ring(Ring::new(smaller.collect()).unwrap()).unwrap();
    let edit = Edit::Set {
        field: "perimeter".into(),
        value: cairn_records::Value::Perimeter(cairn_records::Perimeter::rings(shape)),
        reason: Some("walked the edge".into()),
    };
    let mut transaction = document.transaction();
    apply_edit(&mut transaction, kind(), &seen, &[edit]).unwrap();
    transaction.commit();

    let record = read(&document, &facts).unwrap();
    let own = exported(1, &document);
    assert_eq!(
        own.properties["area_m2"], feature.properties["area_m2"],
        "nothing shrinks"
    );
    let proposals = export_proposals(&id, &record);
    let [proposed] = proposals.as_slice() else {
        panic!("{proposals:?}")
    };
    let properties = &proposed.properties;
    assert_eq!(properties["proposal"], true);
    assert_eq!(properties["proposal_of"], id.as_str());
    assert_eq!(properties["proposed_by"], "T1");
    assert_eq!(properties["reason"], "walked the edge");
    let area = |feature: &ExportFeature| feature.properties["area_m2"].as_u64().unwrap();
    assert!(area(proposed) < area(&own));

    let bytes = written(&[own, proposed.clone(), exported(2, &document)]);
    let import = Import::open(
        Cursor::new(&bytes),
        kind(),
        &Mapping::default(),
        &ImportOptions::default(),
    )
    .unwrap();
    assert!(
        !import.unmapped().iter().any(|name| name.contains("propos")),
        "{:?}",
        import.unmapped()
    );
    let results: Vec<_> = import.map(|row| row.unwrap().result).collect();
    assert!(results[0].is_ok() && results[2].is_ok());
    let refusal = results[1].as_ref().unwrap_err();
    assert_eq!(refusal.code, "proposal");
    assert!(refusal.message.contains("by T1"), "{}", refusal.message);

    // A column of that name in somebody else's file means nothing.
    let mut foreign = proposed.clone();
    foreign.properties = [("proposal".to_owned(), true.into())].into();
    assert_eq!(rows(&written(&[foreign]), &Mapping::default()).len(), 1);
}

fn ring(size: i64) -> impl Strategy<Value = Ring> {
    let corner = (-size..size, -size..size)
        .prop_map(|(lat, lon)| Position::new(451_234_567 + lat, 179_123_456 + lon).unwrap());
    prop::collection::vec(corner, 3..12)
        .prop_filter_map("three corners", |corners| Ring::new(corners).ok())
}

proptest! {
    #[test]
    fn any_shape_comes_back_corner_by_corner(
        polygons in prop::collection::vec(
            (ring(3_000_000), prop::collection::vec(ring(1000), 0..3))
                .prop_map(|(outer, holes)| Polygon { outer, holes }), 1..4)
    ) {
        let shape = Shape::new(polygons).unwrap();
        let mut writer = GeoJsonWriter::new(Vec::new()).unwrap();
        writer.write("x", Drawing::Area(shape.polygons()), &Default::default()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = GeoJsonReader::open(Cursor::new(bytes), None).unwrap();
        let feature = reader.next().unwrap().unwrap().result.unwrap();
        prop_assert_eq!(feature.geometry, Geometry::Area(shape));
        prop_assert!(reader.next().is_none());
    }

    #[test]
    fn any_position_comes_back(lat in -900_000_000i64..=900_000_000, lon in -1_800_000_000i64..=1_800_000_000) {
        let at = Position::new(lat, lon).unwrap();
        let mut writer = GeoJsonWriter::new(Vec::new()).unwrap();
        writer.write("x", Drawing::Position(at), &Default::default()).unwrap();
        let mut reader = GeoJsonReader::open(Cursor::new(writer.finish().unwrap()), None).unwrap();
        let feature = reader.next().unwrap().unwrap().result.unwrap();
        prop_assert_eq!(feature.geometry, Geometry::Position(at));
    }
}
