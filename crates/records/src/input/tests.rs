use super::*;
use crate::schema::kind;

fn area() -> &'static Kind {
    kind("hazardous_area").unwrap()
}

fn set_value(text: &str) -> Value {
    match set(area(), text).unwrap() {
        Edit::Set { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn message(text: &str) -> String {
    set(area(), text).unwrap_err().to_string()
}

#[test]
fn answers_are_understood_as_people_write_them() {
    assert_eq!(set_value("status=Handed over"), Value::from("handed_over"));
    assert_eq!(set_value("area_reported=3,5 ha"), Value::Int(35_000));
    assert_eq!(set_value("area_reported=1.2km²"), Value::Int(1_200_000));
    assert_eq!(set_value("area_reported=40000"), Value::Int(40_000));
    assert_eq!(set_value("area_reported=0,125 ha"), Value::Int(1_250));
    assert_eq!(
        set_value("area_reported=10.2 m2"),
        Value::Int(11),
        "areas are rounded up"
    );
    assert_eq!(set_value("area_reported=٤٠٠"), Value::Int(400));
    assert_eq!(set_value("area_reported=unknown"), Value::from("unknown"));
    assert_eq!(
        set_value("area_reported="),
        Value::Null,
        "emptied, which is not zero"
    );
    assert_eq!(
        set_value("expected_beneficiaries/female/child=12"),
        Value::Int(12)
    );
    assert_eq!(
        set_value("date_of_information=2024-02-29"),
        Value::from("2024-02-29")
    );
    assert_eq!(
        set_value("date_of_information=2026-11"),
        Value::from("2026-11")
    );
}

#[test]
fn what_is_not_understood_is_refused_with_advice() {
    assert!(
        message("statsu=open").contains("status"),
        "{}",
        message("statsu=open")
    );
    let code = message("hazard_class=confrimed");
    assert!(
        code.contains("did you mean confirmed") && code.contains("suspected"),
        "{code}"
    );
    assert!(message("area_reported=40,000").contains("thousands or decimals"));
    assert!(message("area_reported=1.000.000").contains("40000"));
    assert!(message("area_reported=12 dunum").contains("km2"));
    assert!(message("area_reported=-3").contains("at least 0"));
    assert!(message("expected_beneficiaries=12").contains("expected_beneficiaries/female/child"));
    assert!(message("expected_beneficiaries/female/old=12").contains("child, adult, unknown"));
    assert!(message("expected_beneficiaries/female/child=1,5").contains("whole"));
    assert!(message("date_of_information=2025-02-29").contains("no 2025-02-29"));
    assert!(message("date_of_information=24.11.2026").contains("YYYY-MM-DD"));
    assert!(message("eo_categories=uxo").contains("--add"));
    assert!(message("status open").contains("FIELD=VALUE"));
}

#[test]
fn positions_are_read_in_many_forms() {
    let expected = Position::new(441_234_567, 181_234_567).unwrap();
    for text in [
        "44.1234567, 18.1234567",
        "44.1234567 18.1234567",
        "44,1234567; 18,1234567",
        "44,1234567, 18,1234567",
        "44,1234567 18,1234567",
        "N44.1234567 E18.1234567",
        "44.1234567N, 18.1234567E",
        "E18.1234567 N44.1234567",
        "٤٤٫١٢٣٤٥٦٧, ١٨٫١٢٣٤٥٦٧",
    ] {
        assert_eq!(position(text), Ok(expected), "{text}");
    }
    let south = Position::new(-442_083_333, -181_233_333).unwrap();
    assert_eq!(position("44°12'30\"S 18°07'24\"W"), Ok(south));
    assert_eq!(position("-44.2083333, -18.1233333"), Ok(south));
}

#[test]
fn impossible_positions_are_refused() {
    for (text, word) in [
        ("118.12, 44.12", "swapped"),
        ("91, 91.5", "at most 90"),
        ("0, 0", "Atlantic"),
        ("N44.1 N18.1", "both"),
        ("44.1", "LAT, LON"),
        ("44°72'N 18°E", "LAT, LON"),
        ("here", "LAT, LON"),
        ("44.1, 18.1, 200, 3, 5", "LAT, LON"),
        ("inf, nan", "LAT, LON"),
    ] {
        let error = position(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn entries_are_checked_part_by_part() {
    let json =
        r#"direct_evidence={"type":"detonation","position":"44.1, 18.2","date":"2026-11-20"}"#;
    let Edit::Add { value, .. } = add(area(), json).unwrap() else {
        panic!()
    };
    let Value::Map(entry) = &value else { panic!() };
    assert_eq!(entry["type"], Value::from("detonation"));
    assert_eq!(
        entry["position"],
        position_value(position("44.1, 18.2").unwrap())
    );
    assert!(add(area(), "direct_evidence=visual observation").is_ok());
    for (text, word) in [
        (r#"direct_evidence={"type":"smell"}"#, "detonation"),
        (r#"direct_evidence={"kind":"detonation"}"#, "comment"),
        (r#"direct_evidence={"comment":"x"}"#, "missing"),
        (r#"direct_evidence={"type":"#, "JSON"),
        ("status=open", "--set"),
    ] {
        let error = add(area(), text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn perimeters_are_taken_as_drawn() {
    let text = r#"perimeter={"type":"Polygon","coordinates":[[[18,44],[18.01,44],[18.01,44.01],[18,44]]]}"#;
    let Value::Perimeter(perimeter) = set_value(text) else {
        panic!()
    };
    assert_eq!(
        perimeter.to_json()["geometry"]["coordinates"][0][1][0],
        18.01
    );
    let swapped =
        r#"perimeter={"type":"Polygon","coordinates":[[[18,144],[18.01,144],[18.01,144.01]]]}"#;
    assert!(message(swapped).contains("order"));
    let line = r#"perimeter={"type":"LineString","coordinates":[[18,44],[18.01,44]]}"#;
    assert!(message(line).contains("Polygon"));
    assert!(matches!(
        set(area(), "perimeter=44.1, 18.2"),
        Ok(Edit::Place { .. })
    ));
}
