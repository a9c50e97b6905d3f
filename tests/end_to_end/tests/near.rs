//! What is near: said with what is held, how old it is, and never that a place is safe.

use cairn_end_to_end::{Centre, Device, Said, square};
use std::process::Stdio;

const HERE: &str = "44.1000, 17.9000";

/// The words that people see, without `--json`.
fn words(device: &Device, arguments: &[&str]) -> Said {
    let folder = device.dir();
    let mut all = vec!["--data-dir", folder.to_str().expect("UTF-8")];
    all.extend_from_slice(arguments);
    cairn_end_to_end::cairn(&all)
}

fn new_area(device: &Device, label: &str, lat: f64, side_m: f64) {
    let ring = device.file("ring.geojson", &square(lat, 17.9, side_m));
    device.save(&[
        "new",
        "hazardous_area",
        "--scope",
        "north/hazards",
        "--set",
        &format!("local_id={label}"),
        "--set",
        "hazard_class=confirmed",
        "--geojson",
        &ring,
    ]);
}

#[test]
fn near_says_distance_and_bearing_and_what_it_cannot_say() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw", "north/people:rw"]);
    centre.code("Other", &["south/hazards:rw"]);
    alpha.sync();

    let nothing = words(&alpha, &["near", HERE]);
    assert_eq!(nothing.code, 0, "{nothing:?}");
    assert!(
        nothing
            .words
            .contains("Nothing recorded within 2 km in the areas of work this laptop holds"),
        "{nothing:?}"
    );
    assert!(
        nothing.words.contains("That does not mean it is safe."),
        "{nothing:?}"
    );
    assert!(!nothing.words.contains("clear"), "{nothing:?}");
    assert!(nothing.words.contains("south/hazards"), "{nothing:?}");

    new_area(&alpha, "HA-1", 44.1, 200.0);
    new_area(&alpha, "HA-2", 44.11, 100.0);
    new_area(&alpha, "HA-3", 45.0, 100.0);
    alpha.save(&[
        "new",
        "hazardous_area",
        "--scope",
        "north/hazards",
        "--set",
        "local_id=HA-4",
        "--position",
        "44.0900, 17.9000",
    ]);
    alpha
        .run(&["withdraw", "HA-2", "--reason", "recorded twice"])
        .expect(0);
    let said = alpha.run(&["near", "44.1001, 17.9001"]).expect(0).json();
    assert_eq!(said["schema"], "cairn.near/1");
    assert_eq!(said["without_place"], 0);
    assert_eq!(said["scopes_not_held"][0], "south/hazards");
    let records = said["records"].as_array().expect("records");
    let labels: Vec<&str> = records
        .iter()
        .filter_map(|record| record["local_id"].as_str())
        .collect();
    assert_eq!(labels, ["HA-1", "HA-4", "HA-2"]);
    assert_eq!(records[0]["inside"], true);
    assert_eq!(records[0]["distance_m"], 0.0);
    assert!(records[0]["bearing_deg"].is_null());
    // 0.0101 degrees of latitude less the circle of 200 m, to the south.
    let circle = records[1]["distance_m"].as_f64().expect("a distance");
    assert!((900.0..925.0).contains(&circle), "{circle}");
    assert_eq!(
        records[1]["bearing_deg"].as_f64().map(f64::round),
        Some(180.0)
    );
    assert_eq!(records[1]["extent_not_surveyed"], true);
    let north = records[2]["distance_m"].as_f64().expect("a distance");
    assert!((1098.0..1102.0).contains(&north), "{north}");

    let seen = words(&alpha, &["near", "44.1001, 17.9001", "--within", "300m"]);
    assert!(seen.out.contains("INSIDE"), "{seen:?}");
    assert!(!seen.out.contains("HA-2"), "{seen:?}");
}

#[test]
fn near_follows_a_way_and_refuses_what_is_none() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    new_area(&alpha, "second", 44.12, 100.0);
    new_area(&alpha, "first", 44.105, 100.0);
    let way = alpha.file(
        "way.gpx",
        r#"<gpx version="1.1"><trk><trkseg><trkpt lat="44.1" lon="17.899"/><trkpt lat="44.13" lon="17.899"/></trkseg></trk></gpx>"#,
    );
    let said = alpha
        .run(&["near", &way, "--within", "100m"])
        .expect(0)
        .json();
    let records = said["records"].as_array().expect("records");
    let labels: Vec<&str> = records
        .iter()
        .filter_map(|record| record["local_id"].as_str())
        .collect();
    assert_eq!(labels, ["first", "second"]);
    assert!((555.0..557.0).contains(&records[0]["along_m"].as_f64().expect("metres")));
    assert_eq!(records[0]["bearing_deg"].as_f64(), Some(90.0));

    let cut = alpha.file("cut.gpx", "<gpx><trk><trkseg><trkpt lat=\"44.1\"");
    assert_eq!(alpha.run(&["near", &cut]).code, 1);
    assert_eq!(alpha.run(&["near", "somewhere"]).code, 2);
    assert_eq!(alpha.run(&["near", "/nowhere/way.gpx"]).code, 1);
    assert_eq!(alpha.run(&["near", HERE, "--within", "9 miles"]).code, 2);

    // Before it is asked about a place, a device that holds nothing says so.
    let stranger = Device::new("Stranger");
    let said = words(&stranger, &["near", HERE]);
    assert!(said.words.contains("holds no area of work"), "{said:?}");
    assert!(!said.words.contains("Nothing recorded"), "{said:?}");
}

#[test]
fn a_list_can_be_searched_and_cut() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    for number in 0..3 {
        new_area(
            &alpha,
            &format!("HA-{number}"),
            44.1 + f64::from(number),
            50.0,
        );
    }
    let said = alpha.run(&["list", "--search", "ha-1"]).expect(0).json();
    assert_eq!(said["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(said["records"][0]["local_id"], "HA-1");
    let said = alpha.run(&["list", "--limit", "2"]).expect(0).json();
    assert_eq!(said["records"].as_array().map(Vec::len), Some(2));
    assert_eq!(said["total"], 3);
    let cut = words(&alpha, &["list", "--limit", "2"]);
    assert!(cut.words.contains("and 1 more"), "{cut:?}");
    // Whoever reads no further is no fault.
    let mut child = alpha
        .command(&["list"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("cairn starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}
