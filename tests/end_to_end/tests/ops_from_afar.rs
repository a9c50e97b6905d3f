//! Ops with a laptop somewhere else: the same questions over the network, as a device of ops.

use cairn_end_to_end::{Centre, Device, Said};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

const RIGHT: &str = "north/hazards:rw";

fn hazard(device: &Device, scope: &str, number: &str) -> String {
    device.save(&[
        "new",
        "hazardous_area",
        "--scope",
        scope,
        "--set",
        &format!("local_id={number}"),
        "--set",
        "hazard_class=confirmed",
        "--position",
        "44.1000, 17.9000",
        "--set",
        "area_reported=400",
    ])
}

/// A laptop that was let in as ops.
fn ops_laptop(centre: &Centre, name: &str, scopes: &[&str]) -> Device {
    let laptop = Device::new(name);
    let mut arguments = vec!["enrol", "new", "--name", name, "--role", "ops"];
    for scope in scopes {
        arguments.extend_from_slice(&["--scope", scope]);
    }
    let code = centre.ops(&arguments).expect(0).json();
    laptop
        .run(&["join", code["code"].as_str().unwrap()])
        .expect(0);
    laptop
}

fn address(centre: &Centre) -> String {
    let status = centre.ops(&["status"]).expect(0).json();
    status["address"].as_str().unwrap().to_owned()
}

/// `cairn ops --relay …` as that device.
fn ask(device: &Device, relay: &str, arguments: &[&str]) -> Said {
    let all = [&["ops", "--relay", relay], arguments].concat();
    device.run(&all)
}

fn numbers(docs: &Value) -> Vec<&str> {
    let documents = docs["documents"].as_array().unwrap().iter();
    let mut numbers: Vec<&str> = documents
        .map(|one| one["local_id"].as_str().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn ops_ask_from_afar_what_they_ask_beside_the_relay() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT, "south/hazards:rw"]);
    hazard(&alpha, "north/hazards", "HA-1");
    hazard(&alpha, "south/hazards", "HA-2");
    alpha.sync();
    centre.eventually(&["docs"], |docs| docs["total"] == 2);
    let laptop = ops_laptop(
        &centre,
        "Ops",
        &["north/hazards:r", "south/hazards:rw+decide"],
    );
    let relay = address(&centre);
    // Which asks, and never syncs: it is not called silent.

    for question in [
        &["devices"][..],
        &["scopes"],
        &["docs"],
        &["doc", "HA-1", "--history", "--entries"],
        &["conflicts"],
        &["logs"],
        &["quarantine", "list"],
        &["audit", "list"],
        &["audit", "verify"],
        &["config", "show"],
        &["verify", "--deep"],
    ] {
        let here = centre.ops(question).expect(0).json();
        let afar = ask(&laptop, &relay, question).expect(0).json();
        assert_eq!(afar, here, "{question:?}");
    }
    for (question, schema) in [
        (&["status"][..], "cairn.ops.status/1"),
        (&["morning"], "cairn.ops.morning/1"),
        (&["device", "Alpha"], "cairn.ops.device/1"),
        (&["sessions"], "cairn.ops.sessions/1"),
        (&["check", "sync"], "cairn.ops.check/1"),
    ] {
        let afar = ask(&laptop, &relay, question).expect(0).json();
        assert_eq!(afar["schema"], schema);
    }
    // Whatever is wrong with the question is said as it is beside the relay.
    let unknown = ask(&laptop, &relay, &["device", "Nobody"]).expect(1).json();
    assert_eq!(unknown["code"], "not_found");
}

#[test]
fn what_lets_in_or_decides_is_done_beside_the_relay_and_revoking_names_who_asked() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    let laptop = ops_laptop(&centre, "Ops", &["north/hazards:rw+decide"]);
    let relay = address(&centre);
    hazard(&alpha, "north/hazards", "HA-1");
    alpha.sync();
    for acting in [
        &["enrol", "new", "--name", "X", "--scope", "north/hazards"][..],
        &["scope", "create", "west"],
        &["scope", "grant", "Ops", "north/hazards:rw+decide"],
        &["reload"],
        &[
            "quarantine",
            "keep-out",
            "0000",
            "--reason",
            "x",
            "--by",
            "N",
        ],
        &[
            "decide", "HA-1", "--take", "A", "--reason", "x", "--as", "N",
        ],
    ] {
        let said = ask(&laptop, &relay, acting).expect(5).json();
        assert_eq!(said["code"], "local_only", "{acting:?}");
        assert!(said["message"].as_str().unwrap().contains(&relay), "{said}");
    }
    let before = centre.ops(&["scopes"]).expect(0).json();
    assert_eq!(before["scopes"].as_array().unwrap().len(), 1);

    let revoke = ["revoke", "Alpha", "--reason", "lost", "--dry-run"];
    let would = ask(&laptop, &relay, &revoke).expect(0).json();
    assert_eq!(would["dry_run"], true);
    ask(&laptop, &relay, &revoke[..4]).expect(0);
    alpha.run(&["sync"]).expect(5);
    let key = laptop.run(&["status"]).expect(0).json();
    let devices = centre.ops(&["devices"]).expect(0).json();
    let devices = devices["devices"].as_array().unwrap();
    let ops = devices.iter().find(|one| one["name"] == "Ops").unwrap();
    let audit = centre.ops(&["audit", "list"]).expect(0).json();
    assert_eq!(audit["lines"][0]["action"], "revoke", "{key}");
    assert_eq!(audit["lines"][0]["asked_by"], ops["device"]);
}

#[test]
fn records_are_told_only_of_areas_that_the_device_may_read() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT, "south/hazards:rw"]);
    let laptop = ops_laptop(&centre, "Ops", &["north/hazards:r"]);
    let relay = address(&centre);
    hazard(&alpha, "north/hazards", "HA-1");
    let hidden = hazard(&alpha, "south/hazards", "HA-2");
    alpha.sync();
    centre.eventually(&["docs"], |docs| docs["total"] == 2);

    let docs = ask(&laptop, &relay, &["docs"]).expect(0).json();
    assert_eq!(numbers(&docs), ["HA-1"]);
    assert_eq!(docs["total"], 1);
    let south = ask(&laptop, &relay, &["docs", "--scope", "south/hazards"]);
    assert_eq!(south.expect(5).json()["code"], "not_permitted");
    ask(&laptop, &relay, &["doc", "HA-1"]).expect(0);
    let said = ask(&laptop, &relay, &["doc", "HA-2"]).expect(1);
    assert_eq!(said.json()["code"], "not_found");
    assert!(!said.out.contains(&hidden));
    // How many there are it may know: it looks after sync.
    let status = ask(&laptop, &relay, &["status"]).expect(0).json();
    assert_eq!(status["documents"], 2);
    // A right counts at once.
    centre
        .ops(&["scope", "grant", "Ops", "south/hazards:r"])
        .expect(0);
    let docs = ask(&laptop, &relay, &["docs"]).expect(0).json();
    assert_eq!(numbers(&docs), ["HA-1", "HA-2"]);
}

#[test]
fn whoever_is_not_ops_is_told_one_word() {
    let centre = Centre::start();
    let relay = address(&centre);
    let word = |device: &Device, relay: &str, code: i32| {
        let said = ask(device, relay, &["status"]).expect(code).json();
        said["code"].as_str().unwrap().to_owned()
    };
    let alpha = centre.device("Alpha", &[RIGHT]);
    assert_eq!(word(&alpha, &relay, 5), "not_permitted");

    // It has a code, and has not used it.
    let stranger = Device::new("Stranger");
    let code = centre.code("Stranger", &[RIGHT]);
    stranger.run(&["join", &code, "--defer"]).expect(0);
    assert_eq!(word(&stranger, &relay, 5), "unknown");

    // It has no code at all, and so knows no relay.
    let nobody = Device::new("Nobody");
    assert_eq!(word(&nobody, &relay, 5), "not_joined");

    let laptop = ops_laptop(&centre, "Ops", &["north/hazards:r"]);
    // Another programme's relay has another key.
    let other = Centre::start();
    assert_eq!(word(&laptop, &address(&other), 4), "wrong_key");
    assert_eq!(word(&laptop, "127.0.0.1:9", 4), "unreachable");
    let said = ask(&laptop, "nowhere", &["status"]).expect(2).json();
    assert_eq!(said["code"], "usage");

    // Nobody was answered, and ops see who asked.
    let sessions = centre.eventually(&["sessions"], |sessions| {
        let all = sessions["sessions"].as_array().unwrap();
        all.iter().any(|one| one["state"] == "unknown")
    });
    let all = sessions["sessions"].as_array().unwrap();
    assert!(all.iter().any(|one| one["state"] == "not permitted"));
}

#[test]
fn a_revoked_laptop_is_refused_on_the_connection_that_it_has() {
    let centre = Centre::start();
    let laptop = ops_laptop(&centre, "Ops", &["north/hazards:r"]);
    let relay = address(&centre);
    let mut watching = laptop
        .command(&["ops", "--relay", &relay, "watch", "--every", "200ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Option<Value> {
        let line = lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    };
    assert_eq!(next().unwrap()["schema"], "cairn.ops.morning/1");
    assert_eq!(next().unwrap()["schema"], "cairn.ops.morning/1");
    centre
        .ops(&["revoke", "Ops", "--reason", "stolen"])
        .expect(0);
    let mut last = Value::Null;
    while let Some(line) = next() {
        last = line;
    }
    assert_eq!(last["code"], "revoked", "{last}");
    assert_eq!(watching.wait().unwrap().code(), Some(5));
    let said = ask(&laptop, &relay, &["status"]).expect(5).json();
    assert_eq!(said["code"], "revoked");
}

#[test]
fn a_watch_goes_on_where_the_relay_was_away() {
    let mut centre = Centre::start();
    let laptop = ops_laptop(&centre, "Ops", &["north/hazards:r"]);
    let relay = address(&centre);
    let mut watching = laptop
        .command(&["ops", "--relay", &relay, "watch", "--every", "200ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = |schema: &str| loop {
        let line = lines.next().expect("it goes on").unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["schema"] == schema {
            break line;
        }
    };
    until("cairn.ops.morning/1");
    centre.kill();
    centre.run();
    // One may have been on its way.
    for _ in 0..3 {
        until("cairn.ops.morning/1");
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
}
