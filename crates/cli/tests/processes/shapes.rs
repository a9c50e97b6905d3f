//! The objects that scripts rely on, key by key, as the contract lists them.

use super::{Device, Said, program, read};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// A relay that runs until the test ends.
pub(crate) struct Relay {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Relay {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut relay = Self {
            folder,
            child: None,
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        drop(socket);
        let init = relay.cairnd(&["init", "--listen", &address, "--public", &address]);
        let made = init.json(0);
        has(&made, &["programme", "relay", "recovery_key", "warnings"]);
        assert!(init.words.contains("OFF THIS MACHINE"), "{init:#?}");
        let mut command = program(env!("CARGO_BIN_EXE_cairnd"));
        command.args(["run", "--dir"]).arg(relay.dir());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let words = BufReader::new(child.stderr.take().unwrap());
        relay.child = Some(child);
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in words.lines().map_while(Result::ok) {
                if line.contains("listening on") {
                    let _ = ready.send(());
                }
            }
        });
        wait.recv_timeout(std::time::Duration::from_secs(60))
            .unwrap();
        relay
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    fn cairnd(&self, arguments: &[&str]) -> Said {
        let mut command = program(env!("CARGO_BIN_EXE_cairnd"));
        command
            .arg("--json")
            .args(arguments)
            .arg("--dir")
            .arg(self.dir());
        Said::of(command.output().unwrap())
    }

    pub(crate) fn ops(&self, arguments: &[&str]) -> Said {
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        command.env("CAIRN_RELAY_DIR", self.dir());
        command.args(["--json", "ops"]).args(arguments);
        Said::of(command.output().unwrap())
    }

    /// Where it says that it listens.
    fn address(&self) -> String {
        read(&self.dir().join("address")).trim().to_owned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[track_caller]
fn has(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some(), "no {key} in {object:#}");
    }
}

const POLYGON: &str = r#"{"type":"Polygon","coordinates":[[[17.9,44.1],[17.902,44.1],[17.902,44.102],[17.9,44.102],[17.9,44.1]]]}"#;
const SMALLER: &str = r#"{"type":"Polygon","coordinates":[[[17.9,44.1],[17.901,44.1],[17.901,44.101],[17.9,44.101],[17.9,44.1]]]}"#;

#[test]
fn answers_have_the_keys_of_the_contract() {
    let relay = Relay::start();
    let enrolment = relay
        .ops(&[
            "enrol",
            "new",
            "--name",
            "Alpha",
            "--role",
            "device",
            "--scope",
            "north/hazards:rw",
        ])
        .json(0);
    assert_eq!(enrolment["schema"], "cairn.enrolment/1");
    has(&enrolment, &["code", "uses", "expires"]);
    let code = enrolment["code"].as_str().unwrap().to_owned();

    let device = Device::new("Alpha");
    let joined = device.run(&["join", &code, "--defer"]).json(0);
    assert_eq!(
        (&joined["schema"], &joined["deferred"]),
        (&"cairn.enrolled/1".into(), &true.into())
    );
    let joined = device.run(&["join", &code]).json(0);
    has(&joined, &["device", "relay"]);
    assert_eq!(joined["deferred"], false);
    assert_eq!(joined["scopes"][0]["scope"], "north/hazards");
    assert_eq!(joined["scopes"][0]["access"], "rw");

    records(&device);
    files(&device);
    syncing(&relay, &device);
    operators(&relay);
}

fn records(device: &Device) {
    let ring = device.file("ring.geojson", POLYGON);
    let new = [
        "new",
        "hazardous_area",
        "--set",
        "local_id=HA-1",
        "--geojson",
        &ring,
    ];
    let saved = device.run(&new).json(0);
    assert_eq!(saved["schema"], "cairn.saved/1");
    has(&saved, &["id", "change", "short_code", "fields"]);
    let id = saved["id"].as_str().unwrap();

    let listed = device.run(&["list"]).json(0);
    assert_eq!(listed["schema"], "cairn.list/1");
    has(
        &listed["records"][0],
        &["id", "kind", "local_id", "conflicts", "unsent"],
    );
    assert_eq!(listed["scopes_held"][0], "north/hazards");

    let shown = device
        .run(&["show", saved["short_code"].as_str().unwrap(), "--history"])
        .json(0);
    assert_eq!(shown["schema"], "cairn.record/1");
    has(
        &shown,
        &["id", "kind", "scope", "fields", "heads", "history"],
    );
    assert_eq!(shown["fields"]["status"]["reads"], "open");
    let value = &shown["fields"]["local_id"]["values"][0];
    has(
        value,
        &[
            "value",
            "change",
            "by",
            "recorded_at",
            "proposal",
            "verified",
        ],
    );

    // A smaller boundary waits for a decision.
    let ring = device.file("smaller.geojson", SMALLER);
    let shrunk = device.run(&["edit", "HA-1", "--geojson", &ring]).json(0);
    assert_eq!(shrunk["proposal"], true);
    assert_eq!(shrunk["fields"][0]["field"], "perimeter");
    let conflicts = device.run(&["conflicts"]).json(0);
    assert_eq!(conflicts["schema"], "cairn.conflicts/1");
    has(
        &conflicts["conflicts"][0],
        &["id", "field", "reads", "values"],
    );
    let decided = device
        .run(&[
            "decide",
            id,
            "--field",
            "perimeter",
            "--take",
            "B",
            "--reason",
            "walked it",
        ])
        .json(0);
    assert_eq!(decided["schema"], "cairn.saved/1");
    assert_eq!(decided["proposal"], false);
    let settled = device.run(&["conflicts"]).json(0);
    assert_eq!(settled["conflicts"].as_array().map(Vec::len), Some(0));
    let before = device.run(&["show", "HA-1"]).json(0);
    let dry = device
        .run(&["withdraw", "HA-1", "--reason", "twice", "--dry-run"])
        .json(0);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(
        device.run(&["show", "HA-1"]).json(0)["heads"],
        before["heads"]
    );
    device
        .run(&["withdraw", "HA-1", "--reason", "twice"])
        .json(0);

    let then = device
        .run(&["show", "HA-1", "--as-of", "2001-01-01"])
        .json(1);
    assert_eq!(then["schema"], "cairn.error/1");
    let heads = shown["heads"][0].as_str().unwrap();
    let then = device.run(&["show", "HA-1", "--as-of", heads]).json(0);
    assert_eq!(then["proposals"], 0);
    assert_eq!(
        device.run(&["explain", "hazard_class"]).json(0)["explanations"][0]["is"],
        "field"
    );
}

fn files(device: &Device) {
    let feature = |geometry: &str, label: &str| {
        format!(r#"{{"type":"Feature","properties":{{"ID":"{label}"}},"geometry":{geometry}}}"#)
    };
    let moved = POLYGON.replace("44.1", "45.1");
    let text = [
        feature(&moved, "X-1"),
        feature("null", "X-2"),
        feature(&moved, "X-1"),
    ]
    .join(",");
    let file = format!(r#"{{"type":"FeatureCollection","features":[{text}]}}"#);
    let file = device.file("areas.geojson", &file);
    let import = [
        "import",
        &file,
        "--kind",
        "hazardous_area",
        "--map",
        "local_id=ID",
    ];
    let dry: Vec<&str> = import.iter().copied().chain(["--dry-run"]).collect();
    let tried = device.run(&dry).json(3);
    assert_eq!(
        (&tried["taken"], &tried["dry_run"]),
        (&1.into(), &true.into())
    );
    for (taken, duplicates) in [(1, 1), (0, 2)] {
        let report = device.run(&import).json(3);
        assert_eq!(report["schema"], "cairn.import/1");
        assert_eq!(report["considered"], 3);
        assert_eq!(
            (&report["taken"], &report["duplicates"]),
            (&taken.into(), &duplicates.into())
        );
        let refused = &report["refused"][0];
        assert_eq!(
            (&refused["row"], &refused["reason"]),
            (&2.into(), &"no_geometry".into())
        );
        has(refused, &["message"]);
        has(&report, &["warnings"]);
    }

    let out = device.0.path().join("out.geojson");
    std::fs::write(&out, "older").unwrap();
    let export = |device: &Device| {
        device.run(&["export", out.to_str().unwrap()]).json(0);
        read(&out)
    };
    let (first, second) = (export(device), export(device));
    assert_eq!(first, second);
    let whole: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(whole["features"].as_array().unwrap().len(), 2);
    let beside = std::fs::read_dir(device.0.path()).unwrap();
    let left = beside.filter(|one| {
        let name = one.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".cairn-export-")
    });
    assert_eq!(left.count(), 0);

    // An export that comes back adds nothing.
    let back = device
        .run(&["import", out.to_str().unwrap(), "--kind", "hazardous_area"])
        .json(0);
    assert_eq!(
        (&back["taken"], &back["duplicates"]),
        (&0.into(), &2.into())
    );
}

fn syncing(relay: &Relay, device: &Device) {
    let status = device.run(&["status"]).json(0);
    assert_eq!(status["schema"], "cairn.status/1");
    has(
        &status,
        &[
            "documents",
            "unsent_changes",
            "oldest_unsent_s",
            "conflicts",
            "relays",
            "scopes_held",
            "scopes_not_held",
            "data",
            "as_of",
        ],
    );
    assert_eq!(
        status["as_of"],
        Value::Null,
        "not compared with a relay yet"
    );
    has(
        &status["relays"][0],
        &["address", "last_contact", "delivered"],
    );

    let lost = device.run(&["sync", "--deadline", "1s", "--peer", "127.0.0.1:1"]);
    let lost = lost.json(4);
    assert_eq!(lost["retryable"], true);
    let address = relay.address();
    let synced = device.run(&["sync", "--peer", &address]).json(0);
    assert_eq!(
        (&synced["schema"], &synced["complete"]),
        (&"cairn.sync/1".into(), &true.into())
    );
    has(
        &synced,
        &[
            "app_bytes_sent",
            "app_bytes_received",
            "udp_bytes_sent",
            "udp_bytes_received",
            "round_trips",
            "entries_sent",
            "entries_received",
            "changes_sent",
            "changes_received",
            "documents_changed",
            "duration_s",
        ],
    );
    let status = device.run(&["status"]).json(0);
    assert_eq!(
        (&status["unsent_changes"], &status["relays"][0]["delivered"]),
        (&0.into(), &true.into())
    );
    assert_eq!(status["as_of"], status["data"][0]["compared_at"]);
    assert!(status["as_of"].is_string(), "{status:#}");
    let check = device.run(&["check"]).json(0);
    assert_eq!(
        (&check["schema"], &check["ok"]),
        (&"cairn.verify/1".into(), &true.into())
    );
    has(&check, &["entries", "changes", "problems"]);
}

fn operators(relay: &Relay) {
    let status = relay.ops(&["status"]).json(0);
    assert_eq!(
        (&status["schema"], &status["healthy"]),
        (&"cairn.ops.status/1".into(), &true.into())
    );
    has(
        &status["devices"][0],
        &[
            "device",
            "name",
            "role",
            "last_sync",
            "backlog",
            "oldest_unsent_s",
            "conflicts",
        ],
    );
    for request in [
        &["devices"][..],
        &["device", "Alpha"],
        &["scopes"],
        &["scope", "create", "south/hazards"],
        &["scope", "grant", "Alpha", "south/hazards:r"],
        &["sessions"],
        &["sessions", "--device", "Alpha"],
        &["docs", "--scope", "north/hazards"],
        &["doc", "HA-1", "--history", "--entries", "--who-has"],
        &["logs"],
        &["conflicts"],
        &["verify", "--deep"],
        &["reload"],
        &["config", "show"],
        &["revoke", "Alpha", "--reason", "lost", "--dry-run"],
        &["revoke", "Alpha", "--reason", "lost"],
    ] {
        relay.ops(request).json(0);
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        command
            .arg("ops")
            .arg("--dir")
            .arg(relay.dir())
            .args(request);
        let said = Said::of(command.output().unwrap());
        let made = request.first() == Some(&"scope") && request.get(1) == Some(&"create");
        assert_eq!(said.code, i32::from(made), "{request:?}: {said:#?}");
    }
    assert_eq!(
        relay.ops(&["device", "nobody"]).json(1)["schema"],
        "cairn.error/1"
    );
}

/// Sessions and accidents on one device: sums with their method, doubts, duplicates, suggestions.
#[test]
fn sessions_and_accidents_answer_with_sums_doubts_duplicates_and_suggestions() {
    let relay = Relay::start();
    let scope = "north/hazards:rw+decide";
    let enrolment = relay.ops(&[
        "enrol", "new", "--name", "Alpha", "--role", "device", "--scope", scope,
    ]);
    let code = enrolment.json(0)["code"].as_str().unwrap().to_owned();
    let device = Device::new("Alpha");
    device.run(&["join", &code]).json(0);

    let refused = device.run(&[
        "new",
        "eore_session",
        "--set",
        "age_bands=split_18",
        "--set",
        "reached/female/60_plus=3",
    ]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.words.contains("no band 60_plus") || refused.out.contains("no band 60_plus"));
    let session = device.run(&[
        "new",
        "eore_session",
        "--set",
        "age_bands=split_18",
        "--set",
        "session_date=2097-01-01",
        "--set",
        "reached/female/18_plus=34",
        "--set",
        "reached/male/18_plus=9",
    ]);
    let session = session.json(0);
    assert_eq!(session["warnings"][0]["code"], "date_in_future");
    let id = session["id"].as_str().unwrap();
    let women = "reached/female/18_plus=43";
    let suggested = device.run(&["edit", id, "--suggest", women, "--comment", "counted again"]);
    assert_eq!(suggested.json(0)["proposal"], true);
    let shown = device.run(&["show", id]).json(0);
    assert_eq!(shown["derived"]["reached"]["all"], 43);
    has(&shown["derived"], &["method"]);
    assert_eq!(shown["suggestions"][0]["value"], "43");
    let open = device.run(&["conflicts"]).json(0);
    assert_eq!(open["conflicts"][0]["field"], "suggestions");
    let decide = |choice: &str| {
        device.run(&[
            "decide",
            id,
            "--field",
            "suggestions",
            choice,
            "A",
            "--reason",
            "asked",
        ])
    };
    decide("--take").json(0);
    let shown = device.run(&["show", id]).json(0);
    assert_eq!(shown["fields"]["reached/female/18_plus"]["reads"], 43);
    assert_eq!(shown["suggestions"], Value::Array(Vec::new()));
    device
        .run(&["edit", id, "--suggest", "feedback=None."])
        .json(0);
    decide("--turn-down").json(0);
    let shown = device.run(&["show", id]).json(0);
    assert!(shown["fields"].get("feedback").is_none() && shown["proposals"] == 0);

    let accident = ["new", "accident", "--set", "date=2026-11-20", "--position"];
    let one = device
        .run(&[&accident[..], &["44.1, 18.1"]].concat())
        .json(0);
    let two = device
        .run(&[&accident[..], &["44.103, 18.1"]].concat())
        .json(0);
    let shown = device.run(&["show", one["id"].as_str().unwrap()]).json(0);
    assert_eq!(shown["duplicates"][0]["id"], two["id"]);
    assert_eq!(shown["duplicates"][0]["why"], "same_day_nearby");
    let listed = device.run(&["list", "accident"]).json(0);
    assert_eq!(
        listed["records"][0]["duplicates"].as_array().unwrap().len(),
        1
    );
    assert_eq!(device.run(&["status"]).json(0)["duplicates"], 2);
}
