//! Everyday files: tables that people have, in and out. Clumsy and large ones stand in `clumsy.rs`.

use cairn_end_to_end::{Centre, Device, Said, shared_data};
use serde_json::Value;
use std::fmt::Write as _;

const SCOPE: &str = "north/records";

fn team(centre: &Centre, name: &str) -> Device {
    centre.device(name, &["north/records:rw"])
}

fn import(device: &Device, file: &str, kind: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["import", file, "--kind", kind, "--scope", SCOPE];
    arguments.extend_from_slice(more);
    device.run(&arguments)
}

fn documents(device: &Device) -> u64 {
    let status = device.run(&["status"]).expect(0).json();
    status["documents"].as_u64().expect("a count")
}

/// A Kobo export of sessions: `women` of the first three may differ.
fn kobo(rows: u32, women_of_the_first: u32) -> String {
    let mut table =
        String::from("instanceID,date,women,girls,place,_gps_latitude,_gps_longitude\n");
    for row in 0..rows {
        let women = if row < 3 { women_of_the_first } else { 34 };
        let _ = writeln!(
            table,
            "uuid:{row},2026-11-{:02},{women},12,School,44.{row:03},17.{row:03}",
            row % 28 + 1
        );
    }
    table
}

const KOBO: [&str; 15] = [
    "--key",
    "instanceID",
    "--set",
    "reporting=session",
    "--set",
    "age_bands=split_18",
    "--map",
    "session_date=date",
    "--map",
    "reached/female/18_plus=women",
    "--map",
    "reached/female/0_17=girls",
    "--map",
    "place_type=place",
    "--dry-run",
];

#[test]
fn the_same_kobo_export_twice_updates_what_changed_and_doubles_nothing() {
    let centre = Centre::start();
    let alpha = team(&centre, "Alpha");
    let delta = team(&centre, "Delta");
    let (dry, wet) = (&KOBO[..], &KOBO[..KOBO.len() - 1]);
    let first = alpha.file("first.csv", &kobo(60, 34));
    let second = alpha.file("second.csv", &kobo(80, 43));

    let report = import(&alpha, &first, "eore_session", dry).expect(0).json();
    assert_eq!(
        (&report["taken"], &report["dry_run"]),
        (&60.into(), &true.into())
    );
    assert_eq!(documents(&alpha), 0, "a dry run saves nothing");
    let report = import(&alpha, &first, "eore_session", wet).expect(0).json();
    assert_eq!(report["taken"], 60, "{report:#}");
    assert_eq!(report["unmapped"], serde_json::json!([]));
    alpha.sync();
    delta.sync();

    // On the other device, to which the records came by sync.
    for (arguments, documents_then) in [(dry, 60), (wet, 80)] {
        let report = import(&delta, &second, "eore_session", arguments)
            .expect(0)
            .json();
        let counts = ["considered", "taken", "updated", "unchanged", "duplicates"];
        let counts = counts.map(|name| report[name].as_u64().expect("a count"));
        assert_eq!(counts, [80, 20, 3, 57, 0], "{report:#}");
        assert_eq!(documents(&delta), documents_then);
    }
    delta.sync();
    alpha.sync();
    assert_eq!(documents(&alpha), 80);
    let report = import(&alpha, &second, "eore_session", wet)
        .expect(0)
        .json();
    assert_eq!(
        (&report["unchanged"], &report["updated"]),
        (&80.into(), &0.into())
    );
    let women = |device: &Device| {
        let list = device.run(&["list", "eore_session"]).expect(0).json();
        let records = list["records"].as_array().expect("records").clone();
        let mut women: Vec<i64> = records
            .iter()
            .map(|record| {
                let shown = device.show(record["id"].as_str().expect("an id"));
                let women = &shown["fields"]["reached/female/18_plus"]["reads"];
                women.as_i64().expect("a figure")
            })
            .collect();
        women.sort_unstable();
        women
    };
    let expected: Vec<i64> = [vec![34; 77], vec![43; 3]].concat();
    assert_eq!(women(&alpha), expected);
}

#[test]
fn an_import_that_is_killed_is_finished_by_the_next() {
    let centre = Centre::start();
    let device = team(&centre, "Alpha");
    let mut table = String::from("instanceID,local_id,latitude,longitude,narrative\n");
    for row in 0..3_000 {
        let (lat, lon) = (row % 100, row / 100);
        let _ = writeln!(table, "u{row},K-{row},44.{lat:02},17.{lon:02},note {row}");
    }
    let file = device.file("killed.csv", &table);
    let arguments = [
        "import",
        &file,
        "--kind",
        "accident",
        "--scope",
        SCOPE,
        "--key",
        "instanceID",
    ];
    let mut held = 0;
    for milliseconds in [150, 400, 700] {
        let mut child = device
            .command(&arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("cairn starts");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        // It may be done already.
        let _ = child.kill();
        child.wait().expect("our own child");
        let now = documents(&device);
        assert!(now >= held, "{now} after {held}");
        held = now;
    }
    let report = device.run(&arguments).expect(0).json();
    assert_eq!(report["considered"], 3_000);
    assert_eq!(
        report["taken"].as_u64().unwrap() + report["unchanged"].as_u64().unwrap(),
        3_000
    );
    assert_eq!(documents(&device), 3_000);
}

#[test]
fn every_kind_goes_out_as_a_table_and_comes_in_elsewhere_as_the_same() {
    let centre = Centre::start();
    let alpha = team(&centre, "Alpha");
    let tables = [
        (
            "hazardous_area",
            "local_id,latitude,longitude,geometry_wkt,hazard_class,status,eo_categories,description\n\
             HA-1,44.1,17.9,,suspected,open,ap_mine; uxo,\"=1+1, say \"\"no\"\"\nبجانب النهر\"\n\
             HA-2,,,\"POLYGON ((17.9 44.1, 17.91 44.1, 17.91 44.11, 17.9 44.1))\",confirmed,open,unknown,\n",
        ),
        (
            "survey_visit",
            "local_id,visit_type,latitude,longitude,start_date,team,result,narrative\n\
             SV-1,technical,44.2,17.8,2026-11-20,T3,new_hazard,@home\n",
        ),
        (
            "eore_session",
            "local_id,reporting,age_bands,session_date,start_time,method,messages,\
             reached/female/18_plus,reached/male/0_17,materials/leaflet\n\
             RE-1,session,split_18,2026-11-20,09:30,house_to_house,report; pass_on,34,12,40\n",
        ),
        (
            "accident",
            "local_id,record_type,date,latitude,longitude,device_category,\
             casualties/killed/male/adult/civilian,casualties/injured/female/child/civilian,narrative\n\
             AC-1,accident,2026-11-01,44.3,-17.7,ap_mine,1,2,-5 degrees that day\n\
             AC-2,incident,,,,unknown,,,\n",
        ),
    ];
    for (kind, table) in tables {
        let file = alpha.file("in.csv", table);
        let report = import(&alpha, &file, kind, &[]).expect(0).json();
        assert_eq!(report["refused"], serde_json::json!([]), "{kind}");
        assert_eq!(report["unmapped"], serde_json::json!([]), "{kind}");
        let out = alpha.file("out.csv", "");
        alpha.run(&["export", &out, kind]).expect(0);
        let text = std::fs::read_to_string(&out).expect("the table");
        assert!(
            text.trim_start_matches('\u{feff}')
                .starts_with("id,local_id,scope,record_kind,latitude"),
            "{text}"
        );
        for formula in [",=", ",@", "\"=", "\"-5 "] {
            assert!(!text.contains(formula), "{formula} in {text}");
        }

        // Where it came from it adds nothing.
        let rows = report["taken"].as_u64().expect("a count");
        let again = import(&alpha, &out, kind, &[]).expect(0).json();
        assert_eq!(
            (&again["taken"], &again["duplicates"]),
            (&0.into(), &rows.into()),
            "{again:#}"
        );
        // In another programme it makes the same records, and they go out as the same table.
        let bravo = Centre::start().device("Bravo", &["north/records:rw"]);
        let elsewhere = import(&bravo, &out, kind, &[]).expect(0).json();
        assert_eq!(elsewhere["taken"], rows, "{elsewhere:#}");
        let back = bravo.file("back.csv", "");
        bravo.run(&["export", &back, kind]).expect(0);
        let back = std::fs::read_to_string(&back).expect("the table");
        assert_eq!(
            without_identities(&back),
            without_identities(&text),
            "{kind}"
        );
        // GeoJSON too, with places as points.
        let map = alpha.file("out.geojson", "");
        alpha.run(&["export", &map, kind]).expect(0);
        let map = std::fs::read_to_string(&map).expect("the map");
        let whole: Value = serde_json::from_str(&map).expect("GeoJSON");
        assert_eq!(
            whole["features"].as_array().map(Vec::len),
            Some(rows as usize)
        );
        let file = bravo.file("in.geojson", &map);
        let again = import(&bravo, &file, kind, &[]).expect(0).json();
        assert_eq!(
            (&again["taken"], &again["duplicates"]),
            (&0.into(), &rows.into()),
            "{again:#}"
        );
    }
    let error = alpha.run(&["export", "all.csv"]).expect(2).json();
    assert!(error["hint"].to_string().contains("accident"), "{error:#}");
    for name in ["x.xlsx", "x.pdf", "x"] {
        alpha.run(&["export", name, "accident"]).expect(2);
    }
}

/// The rows of a table without what differs between programmes, sorted: the record's id in front, and
/// behind the two keys, which depend on the area of work.
fn without_identities(table: &str) -> Vec<String> {
    let said = |row: &str| -> String {
        let said = row.split_once(',').map_or(row, |(_, said)| said);
        said.rsplitn(3, ',').last().unwrap_or_default().to_owned()
    };
    let mut rows: Vec<String> = table
        .trim_start_matches('\u{feff}')
        .split("\r\n")
        .map(said)
        .collect();
    rows.sort();
    rows
}

#[test]
fn real_points_go_in_with_a_mapping() {
    let Some(folder) = shared_data("real_points_go_in_with_a_mapping") else {
        return;
    };
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let centre = Centre::start();
    let device = team(&centre, "Alpha");

    // Bosnia: accidents as points, nothing but the sheet of the map beside them.
    let incidents = path("bih_incidents.geojson");
    let with = [
        "--set",
        "record_type=accident",
        "--map",
        "location_name=fileId",
    ];
    let report = import(&device, &incidents, "accident", &with)
        .expect(0)
        .json();
    assert_eq!(report["considered"], 1_442);
    assert_eq!(
        (&report["taken"], &report["duplicates"]),
        (&1_240.into(), &202.into())
    );
    assert_eq!(report["unmapped"], serde_json::json!(["typeArea"]));
    let again = import(&device, &incidents, "accident", &with)
        .expect(0)
        .json();
    assert_eq!(
        (&again["taken"], &again["duplicates"]),
        (&0.into(), &1_442.into())
    );

    // Colombia: cells of a study of risk, no accidents by themselves; they have places, and no more.
    let points = path("colombia_reland_points.csv");
    let with = [
        "--set",
        "record_type=incident",
        "--map",
        "location_name=municipality",
        "--map",
        "source_text=risk_sonson_avg",
    ];
    let report = import(&device, &points, "accident", &with).expect(0).json();
    assert_eq!(
        report["considered"], 8_647,
        "{:#}",
        report["warning_counts"]
    );
    assert_eq!(
        report["taken"].as_u64().unwrap() + report["duplicates"].as_u64().unwrap(),
        8_647
    );
    assert_eq!(report["unmapped"], serde_json::json!(["mines_outcome"]));

    // A point without a boundary is a hazard all the same: a circle.
    let few: String = std::fs::read_to_string(&points)
        .expect("the file")
        .lines()
        .take(21)
        .fold(String::new(), |text, line| text + line + "\n");
    let file = device.file("few.csv", &few);
    let report = import(&device, &file, "hazardous_area", &[])
        .expect(0)
        .json();
    assert_eq!(report["taken"], 20);
    let list = device.run(&["list", "hazardous_area"]).expect(0).json();
    let id = list["records"][0]["id"].as_str().expect("an id");
    let perimeter = &device.show(id)["fields"]["perimeter"]["reads"];
    assert_eq!(perimeter["extent"], "not surveyed");
    assert_eq!(perimeter["radius_m"], 200);
    // It is said, and it stands on a map as its place and radius.
    let folder = device.dir();
    let folder = folder.to_str().expect("UTF-8");
    let words = cairn_end_to_end::cairn(&["--data-dir", folder, "show", id]).out;
    assert!(
        words.contains("perimeter: circle of 200 m, 125,") && words.contains("not surveyed"),
        "{words}"
    );
    let map = device.file("map.geojson", "");
    device.run(&["export", &map, "hazardous_area"]).expect(0);
    let map = std::fs::read_to_string(&map).expect("the map");
    let map: Value = serde_json::from_str(&map).expect("GeoJSON");
    let features = map["features"].as_array().expect("features");
    assert_eq!(features.len(), 20);
    for feature in features {
        assert_eq!(feature["geometry"]["type"], "Point");
        assert_eq!(feature["properties"]["radius_m"], 200);
        assert_eq!(feature["properties"]["extent"], "not surveyed");
        let area = feature["properties"]["area_m2"].as_f64().expect("an area");
        assert!((125_000.0..127_000.0).contains(&area), "{area}");
    }
}
