//! Two teams and a centre: record, sync, be told who may not. How they disagree and decide is told
//! in `scenarios`.

use cairn_end_to_end::{Centre, Device, square};
use serde_json::Value;

const SCOPE: &str = "north/hazards";

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    &record["fields"][name]
}

fn new_area(device: &Device, label: &str, side_m: f64) -> String {
    let ring = device.file("ring.geojson", &square(44.1, 17.9, side_m));
    device.save(&[
        "new",
        "hazardous_area",
        "--scope",
        SCOPE,
        "--set",
        &format!("local_id={label}"),
        "--set",
        "hazard_class=confirmed",
        "--set",
        "status=open",
        "--geojson",
        &ring,
    ])
}

#[test]
fn a_record_reaches_the_other_team_through_the_relay() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw+decide"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    let id = new_area(&alpha, "HA-1", 200.0);

    let before = alpha.run(&["status"]).expect(0).json();
    assert_eq!(before["unsent_changes"], 1);
    let sent = alpha.sync();
    assert_eq!(sent["schema"], "cairn.sync/1");
    assert_eq!(sent["entries_sent"], 1);
    let after = alpha.run(&["status"]).expect(0).json();
    assert_eq!(after["unsent_changes"], 0);
    assert_eq!(after["relays"][0]["delivered"], true);

    let got = delta.sync();
    assert_eq!(got["documents_changed"], 1);
    let record = delta.show("HA-1");
    assert_eq!(record["schema"], "cairn.record/1");
    assert_eq!(record["id"], id.as_str());
    assert_eq!(field(&record, "status")["reads"], "open");
    assert_eq!(alpha.export(), delta.export());

    // The centre opens it too.
    let status = centre.eventually(&["status"], |status| status["documents"] == 1);
    assert_eq!(status["schema"], "cairn.ops.status/1");
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(2));

    // The centre's receipt comes with the next session; then there is nothing more to say.
    alpha.sync();
    let again = alpha.sync();
    assert_eq!(again["entries_sent"], 0);
    assert_eq!(again["round_trips"], 1);
    let bytes =
        again["app_bytes_sent"].as_u64().unwrap() + again["app_bytes_received"].as_u64().unwrap();
    assert!(
        bytes <= 400,
        "{bytes} bytes for a reconnection with nothing new"
    );
}

#[test]
fn strangers_revoked_devices_and_wrong_scopes_are_told_one_word() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);

    let stranger = Device::new("Stranger");
    let said = stranger.run(&["sync"]).expect(5);
    assert_eq!(said.json()["schema"], "cairn.error/1");
    let said = stranger
        .run(&["new", "hazardous_area", "--set", "local_id=X"])
        .expect(5);
    assert!(
        said.json()["hint"]
            .as_str()
            .is_some_and(|hint| hint.len() > 10)
    );

    let said = alpha
        .run(&[
            "new",
            "hazardous_area",
            "--scope",
            "south/hazards",
            "--set",
            "local_id=X",
        ])
        .expect(5);
    assert_eq!(said.json()["schema"], "cairn.error/1");

    let id = new_area(&alpha, "HA-5", 100.0);
    let devices = centre.ops(&["devices"]).expect(0).json();
    let device = devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["name"] == "Alpha")
        .expect("Alpha is listed")["device"]
        .as_str()
        .unwrap()
        .to_owned();
    centre
        .ops(&["revoke", &device, "--reason", "lost"])
        .expect(0);
    let said = alpha.run(&["sync"]).expect(5);
    let error = said.json();
    assert_eq!(error["code"], "revoked", "{error:#}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.len() > 10));

    // What it handed in is kept, and reads as unverified at the others.
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    delta.sync();
    let record = delta.show(&id);
    assert_eq!(field(&record, "local_id")["values"][0]["verified"], false);
    assert_eq!(alpha.run(&["sync"]).code, 5);
}

#[test]
fn both_copies_of_a_cloned_folder_are_used_and_nobody_is_stranded() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    let before = new_area(&alpha, "HA-6", 100.0);
    alpha.sync();
    let clone = alpha.copy();

    let first = new_area(&alpha, "HA-7", 110.0);
    let second = new_area(&clone, "HA-8", 120.0);
    alpha.sync();
    delta.sync();
    // An honest third device builds on one of the branches.
    delta.save(&["edit", &first, "--set", "slope=steep"]);
    delta.sync();
    clone.save(&["edit", &before, "--set", "vegetation=bushes"]);
    for _ in 0..3 {
        for device in [&clone, &alpha, &delta] {
            device.sync();
        }
    }
    for device in [&clone, &alpha, &delta] {
        for id in [&before, &first, &second] {
            device.show(id);
        }
        assert_eq!(
            field(&device.show(&first), "slope")["reads"],
            "steep",
            "the third device's edit is everywhere"
        );
    }
    assert_eq!(alpha.export(), clone.export());
    assert_eq!(alpha.export(), delta.export());
    let status = centre.eventually(&["status"], |status| status["documents"] == 3);
    assert!(
        status.to_string().contains("fork"),
        "ops is told of the fork: {status:#}"
    );
}

#[test]
fn the_relays_disk_shows_no_canary() {
    let mut centre = Centre::start();
    let alpha = centre.device("Canaryteam", &["canaryvalley/hazards:rw"]);
    alpha.save(&[
        "new",
        "hazardous_area",
        "--scope",
        "canaryvalley/hazards",
        "--set",
        "local_id=CANARY-LABEL-1",
        "--position",
        "44.1234567, 17.7654321",
        "--set",
        "area_reported=400",
    ]);
    alpha.sync();
    centre.eventually(&["status"], |status| status["documents"] == 1);
    centre.kill();
    let canaries: [&[u8]; 5] = [
        b"CANARY-LABEL-1",
        b"Canaryteam",
        b"canaryvalley",
        b"44.12345",
        &441_234_567_i32.to_le_bytes(),
    ];
    let mut files = 0;
    let mut folders = vec![centre.dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(bytes) = std::fs::read(&path) else {
                continue; // the socket
            };
            files += 1;
            for canary in canaries {
                assert!(
                    !bytes.windows(canary.len()).any(|window| window == canary),
                    "{} shows {}",
                    path.display(),
                    String::from_utf8_lossy(canary)
                );
            }
        }
    }
    assert!(files > 5, "only {files} files were looked at");
}
