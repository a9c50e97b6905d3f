//! What operators see, against real binaries: true before, during and after faults.

use cairn_end_to_end::{Centre, Device, cairn, square};
use serde_json::Value;
use std::process::Stdio;

const RIGHT: &str = "north/hazards:rw";

fn hazard(device: &Device, number: &str) -> String {
    device.save(&[
        "new",
        "hazardous_area",
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

/// Takes so many areas in, with one command.
fn hazards(device: &Device, count: u32) {
    let features: Vec<String> = (0..count)
        .map(|number| {
            square(
                44.0 + f64::from(number) / 97.0,
                17.9,
                40.0 + f64::from(number),
            )
        })
        .collect();
    let text = format!(
        "{{\"type\":\"FeatureCollection\",\"features\":[{}]}}",
        features.join(",")
    );
    let file = device.file("areas.geojson", &text);
    let said = device
        .run(&[
            "import",
            &file,
            "--kind",
            "hazardous_area",
            "--scope",
            "north/hazards",
        ])
        .expect(0)
        .json();
    assert_eq!(said["taken"], count);
}

fn list<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

/// The sessions of a device that ended, newest first.
fn ended_of(centre: &Centre, name: &str) -> Vec<Value> {
    let answer = centre.ops(&["sessions", "--device", name]).expect(0).json();
    let sessions = list(&answer, "sessions").iter();
    sessions
        .filter(|one| one["running"] == false)
        .cloned()
        .collect()
}

/// The newest session of a device that ended so; the relay may hear of its end a little later.
#[track_caller]
fn ended_as(centre: &Centre, name: &str, state: &str) -> Value {
    let is = |one: &&Value| one["running"] == false && one["state"] == state;
    let answer = centre.eventually(&["sessions", "--device", name], |answer| {
        list(answer, "sessions").iter().any(|one| is(&one))
    });
    let found = list(&answer, "sessions").iter().find(is);
    found.cloned().unwrap_or_default()
}

/// The device as `ops status` tells of it.
fn device_in(status: &Value, name: &str) -> Value {
    let mut devices = list(status, "devices").iter();
    devices
        .find(|device| device["name"] == name)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn every_session_is_kept_with_how_it_ended_and_survives_a_kill() {
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    hazard(&alpha, "HA-1");
    let synced = alpha.sync();
    let last = ended_as(&centre, "Alpha", "done");
    assert_eq!(ended_as(&centre, "Alpha", "joined")["complete"], true);
    assert_eq!(last["complete"], true, "{last:#}");
    assert_eq!(last["direction"], "in");
    assert_eq!(last["entries_received"], synced["entries_sent"]);
    assert_eq!(last["app_bytes_received"], synced["app_bytes_sent"]);
    assert_eq!(last["backlog"], 1);

    // One whose code is used up, and one that was revoked.
    let code = centre.code("Beta", &[RIGHT]);
    let beta = Device::new("Beta");
    beta.run(&["join", &code]).expect(0);
    let late = Device::new("Late");
    assert_ne!(late.run(&["join", &code]).code, 0);
    centre
        .ops(&["revoke", "Beta", "--reason", "phone lost"])
        .expect(0);
    hazard(&beta, "HA-2");
    beta.run(&["sync"]).expect(5);
    let of_beta = ended_as(&centre, "Beta", "revoked");
    assert_eq!(of_beta["complete"], false);
    assert!(of_beta["ended_how"].as_str().unwrap().contains("hand in"));
    let refused = |one: &&Value| one["state"] == "not permitted";
    let all = centre.eventually(&["sessions"], |all| {
        list(all, "sessions").iter().any(|one| refused(&one))
    });
    let refused: Vec<&Value> = list(&all, "sessions").iter().filter(refused).collect();
    assert_eq!(refused.len(), 1, "{all:#}");
    assert_eq!(refused[0]["name"], Value::Null);
    assert!(
        refused[0]["error"]
            .as_str()
            .is_some_and(|why| !why.is_empty())
    );

    // A session that is cut off.
    centre.kill();
    centre.throttle(Some(300));
    centre.run();
    hazards(&alpha, 40);
    let mut cut = alpha
        .command(&["sync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    centre.eventually(&["sessions", "--device", "Alpha"], |answer| {
        list(answer, "sessions")
            .iter()
            .any(|one| one["running"] == true && one["app_bytes_received"].as_u64() > Some(300))
    });
    cut.kill().unwrap();
    cut.wait().unwrap();

    // All of it is there after a kill of the relay, which is told as well.
    let before = ended_of(&centre, "Alpha").len();
    let of_beta = ended_of(&centre, "Beta");
    centre.kill();
    centre.throttle(None);
    centre.run();
    let after = centre.ops(&["sessions"]).expect(0).json();
    assert_eq!(ended_of(&centre, "Alpha").len(), before);
    assert_eq!(ended_of(&centre, "Beta"), of_beta);
    let starts = list(&after, "relay_starts");
    assert_eq!(starts.len(), 3);
    assert_eq!(starts[0]["after_a_clean_stop"], false);
    assert_eq!(starts[2]["after_a_clean_stop"], true);
    let status = centre.ops(&["status"]).expect(0).json();
    assert_eq!(device_in(&status, "Alpha")["backlog"], 40, "{status:#}");
    alpha.sync();
    let status = centre.eventually(&["status"], |status| {
        status["documents"] == 42 && device_in(status, "Alpha")["backlog"] == 0
    });
    assert_eq!(device_in(&status, "Alpha")["last_error"], Value::Null);
    // As people see it.
    let dir = centre.dir();
    let shown = cairn(&["ops", "--dir", dir.to_str().unwrap(), "sessions"]).expect(0);
    assert!(shown.out.contains("complete"), "{shown:#?}");
    assert!(shown.words.contains("had been killed"), "{shown:#?}");
}

fn holder(doc: &Value, name: &str) -> Value {
    let mut holders = list(doc, "who_has").iter();
    holders
        .find(|holder| holder["name"] == name)
        .cloned()
        .unwrap_or_default()
}

/// Takes the indexes of a relay away, its centre's too.
fn lose_indexes(folder: &std::path::Path) {
    let mut lost = 0;
    for data in [folder.join("data"), folder.join("centre/data")] {
        for entry in std::fs::read_dir(data).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name.starts_with("index") {
                std::fs::remove_dir_all(path).unwrap();
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 2);
}

#[test]
fn a_record_is_known_to_be_where_it_was_seen_and_nowhere_else() {
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    let beta = centre.device("Beta", &[RIGHT]);
    let _gamma = centre.device("Gamma", &[RIGHT]);
    hazard(&alpha, "HA-1");
    let before = alpha.copy();
    alpha.sync();
    let who = ["doc", "HA-1", "--who-has", "--entries", "--history"];
    centre.eventually(&["status"], |status| status["documents"] == 1);
    let doc = centre.eventually(&who, |doc| doc["seen_by_centre"]["whole"] == true);
    assert_eq!(doc["at_relay"]["whole"], true);
    assert_eq!(holder(&doc, "Alpha")["wrote"], 1);
    assert_eq!(holder(&doc, "Alpha")["whole"], true);
    for name in ["Beta", "Gamma"] {
        assert_eq!(holder(&doc, name)["entries"], 0, "{doc:#}");
    }
    let entries = list(&doc, "entries");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["by"], "Alpha");
    assert_eq!(entries[0]["seen_by_centre"], true);
    assert_eq!(list(&doc, "history").len(), 1);

    beta.sync();
    let doc = centre.eventually(&who, |doc| holder(doc, "Beta")["whole"] == true);
    assert_eq!(holder(&doc, "Beta")["acknowledged"], 1);
    assert_eq!(holder(&doc, "Beta")["wrote"], 0);
    assert_eq!(holder(&doc, "Gamma")["entries"], 0);
    beta.save(&["edit", "HA-1", "--set", "slope=steep"]);
    beta.sync();
    let doc = centre.eventually(&who, |doc| {
        doc["seen_by_centre"]["of"] == 2 && doc["seen_by_centre"]["whole"] == true
    });
    let of_alpha = holder(&doc, "Alpha");
    assert_eq!(
        (&of_alpha["entries"], &of_alpha["whole"]),
        (&1.into(), &false.into())
    );

    // What only an acknowledgement told is not known after the indexes are lost, until it comes again.
    centre.kill();
    lose_indexes(&centre.dir());
    centre.run();
    let doc = centre.eventually(&who, |doc| doc["seen_by_centre"]["whole"] == true);
    assert_eq!(holder(&doc, "Alpha")["wrote"], 1);
    assert_eq!(doc["at_relay"]["whole"], true);
    alpha.sync();
    beta.sync();
    let doc = centre.eventually(&who, |doc| holder(doc, "Alpha")["whole"] == true);
    assert_eq!(holder(&doc, "Beta")["whole"], true, "{doc:#}");

    // Alpha's folder comes out of an older copy: nothing is lost or counted twice, and ops are told.
    drop(alpha);
    let alpha = before;
    hazard(&alpha, "HA-2");
    alpha.sync();
    let status = centre.eventually(&["status"], |status| {
        status["documents"] == 2 && device_in(status, "Alpha")["backlog"] == 0
    });
    let told = |act: &Value| act["what"] == "fork";
    assert!(list(&status, "act_now").iter().any(told), "{status:#}");
    assert_eq!(
        device_in(&status, "Alpha")["unseen_entries"],
        0,
        "{status:#}"
    );
    let verified = centre.ops(&["verify", "--deep"]).expect(0).json();
    assert_eq!(verified["ok"], true);
    let dir = centre.dir();
    let shown = cairn(&[
        "ops",
        "--dir",
        dir.to_str().unwrap(),
        "doc",
        "HA-1",
        "--who-has",
    ]);
    let shown = shown.expect(0);
    assert!(shown.out.contains("the centre"), "{shown:#?}");
    assert!(
        shown.out.contains("nothing of it is known there"),
        "{shown:#?}"
    );
}

#[test]
fn the_morning_says_what_to_act_on_and_checks_say_it_to_machines() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    let beta = centre.device("Beta", &[RIGHT]);
    let lost = centre.device("Lost", &[RIGHT]);
    let silent = Device::new("Silent");
    silent
        .run(&["join", &centre.code("Silent", &[RIGHT])])
        .expect(0);
    hazard(&alpha, "HA-1");
    for device in [&alpha, &beta] {
        device.sync();
    }
    // One closes, and the other, who does not know, finds something.
    let closing = ["--set", "status=closed", "--set", "status_reason=cleared"];
    alpha.save(&[&["edit", "HA-1"][..], &closing].concat());
    beta.save(&[
        "edit",
        "HA-1",
        "--append",
        "direct_evidence={\"type\":\"visual_observation\"}",
    ]);
    for device in [&alpha, &beta] {
        device.sync();
    }
    // A device is lost with much on it; it has said so in a session that did not get far.
    hazards(&lost, 60);
    let said = lost.run(&["sync", "--byte-budget", "1kB"]);
    assert!(matches!(said.code, 0 | 3), "{said:#?}");
    let waiting = device_in(&centre.ops(&["status"]).expect(0).json(), "Lost");
    assert!(
        waiting["backlog"].as_u64() > Some(0),
        "{said:#?} {waiting:#}"
    );
    centre
        .ops(&["revoke", "Lost", "--reason", "left on a bus"])
        .expect(0);

    let morning = centre.eventually(&["morning"], |morning| {
        list(morning, "act_now")
            .iter()
            .any(|act| act["what"] == "closed_against_evidence")
            && morning["system"]["centre_behind"] == 0
    });
    let acts = list(&morning, "act_now");
    let told = |what: &str| acts.iter().find(|act| act["what"] == what);
    assert_eq!(acts[0]["what"], "closed_against_evidence", "{morning:#}");
    let message = acts[0]["message"].as_str().unwrap();
    assert!(
        message.contains("HA-1") && message.contains("OPEN"),
        "{message}"
    );
    assert!(message.contains("Alpha"), "{message}");
    let holds = told("revoked_holds").unwrap_or(&Value::Null);
    assert!(
        holds["message"]
            .as_str()
            .unwrap()
            .starts_with("Lost was revoked"),
        "{morning:#}"
    );
    let teams = &morning["teams"];
    assert_eq!(teams["count"], 3, "{teams:#}");
    let inbox = &morning["inbox"];
    assert_eq!(inbox["today"]["records"], inbox["records"], "{inbox:#}");
    assert_eq!(
        morning["land"]["open_m2"].as_u64().map(|m2| m2 > 0),
        Some(true)
    );
    assert!(morning["system"]["disk_used_percent"].is_u64());
    assert_eq!(morning["yesterday"], Value::Null);
    // What it says is what the others say.
    let status = centre.ops(&["status"]).expect(0).json();
    assert_eq!(inbox["conflicts"], status["conflicts"]);
    assert_eq!(inbox["records"], status["documents"]);

    let dir = centre.dir();
    let dir = dir.to_str().unwrap();
    let shown = cairn(&["ops", "--dir", dir, "morning"]).expect(0);
    for word in ["ACT NOW", "TEAMS", "INBOX", "LAND", "SYSTEM", "HA-1"] {
        assert!(shown.out.contains(word), "no {word}: {shown:#?}");
    }
    assert!(!shown.out.contains("BALANCE"), "{shown:#?}");

    let nagios = ["ops", "--dir", dir, "check", "sync", "--format", "nagios"];
    let check = cairn(&nagios).expect(if device_in(&status, "Silent")["stale"] == true {
        2
    } else {
        0
    });
    assert!(check.out.starts_with("CAIRN "), "{check:#?}");
    let strict = cairn(&[&nagios[..], &["--stale-crit", "0s"]].concat()).expect(2);
    assert!(strict.out.contains("CRITICAL"), "{strict:#?}");
    let nowhere = cairn(&[
        "ops", "--dir", "/nowhere", "check", "sync", "--format", "nagios",
    ]);
    assert!(nowhere.expect(3).out.starts_with("CAIRN UNKNOWN"));
    let series = cairn(&[
        "ops",
        "--dir",
        dir,
        "check",
        "sync",
        "--format",
        "prometheus",
    ]);
    let series = series.expect(0).out;
    assert!(series.contains("cairn_device_backlog_changes{"), "{series}");

    // What was done stands in the audit file, in order, and cannot be changed unseen.
    let audit = centre.ops(&["audit", "list"]).expect(0).json();
    assert_eq!(list(&audit, "lines")[0]["action"], "revoke", "{audit:#}");
    let verified = centre.ops(&["audit", "verify"]).expect(0).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
    let file = centre.dir().join("audit-copy.jsonl");
    centre
        .ops(&["audit", "export", file.to_str().unwrap()])
        .expect(0);
    let kept = centre.dir().join("audit.jsonl");
    let written = std::fs::read_to_string(&kept).unwrap();
    let same = |text: &str| text.lines().count();
    assert_eq!(
        same(&std::fs::read_to_string(&file).unwrap()),
        same(&written)
    );
    std::fs::write(&kept, written.replace("\"revoke\"", "\"enrol\"")).unwrap();
    let verified = centre.ops(&["audit", "verify"]).expect(8).json();
    assert_eq!(verified["ok"], false);
}

#[test]
fn the_live_screen_ends_by_a_signal_and_gives_objects_to_scripts() {
    use std::io::{BufRead as _, BufReader};
    let centre = Centre::start();
    let mut watching = std::process::Command::new(cairn_end_to_end::binaries().join("cairn"))
        .args(["ops", "--json", "--dir"])
        .arg(centre.dir())
        .args(["watch", "--every", "200ms"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        let morning: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(morning["schema"], "cairn.ops.morning/1");
    }
    let ended = std::process::Command::new("kill")
        .args(["-TERM", &watching.id().to_string()])
        .status()
        .unwrap();
    assert!(ended.success());
    for line in lines {
        line.unwrap();
    }
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}
