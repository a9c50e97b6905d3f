//! Backups: made while the relay runs, verified, restored; what they lack comes back from the devices.

use cairn_end_to_end::{Centre, Device, Said, cairn};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SCOPE: &str = "north/hazards";

fn area(device: &Device, local_id: &str, scope: &str) -> String {
    let label = format!("local_id={local_id}");
    device.save(&[
        "new",
        "hazardous_area",
        "--scope",
        scope,
        "--set",
        &label,
        "--set",
        "hazard_class=confirmed",
        "--position",
        "44.1000, 17.9000",
        "--set",
        "area_reported=400",
    ])
}

fn text(path: &Path) -> &str {
    path.to_str()
        .expect("temporary folders have names in UTF-8")
}

/// Backs up into a folder of its own; gives the file.
fn backed_up(centre: &Centre) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = centre
        .ops(&["backup", "create", text(folder.path())])
        .expect(0)
        .json();
    assert_eq!(made["while_running"], true, "{made:#}");
    let file = PathBuf::from(made["file"].as_str().expect("a file"));
    (folder, file)
}

fn restore(file: &Path, into: &Path) -> Said {
    cairn(&[
        "ops",
        "backup",
        "restore",
        text(file),
        "--into",
        text(into),
        "--json",
    ])
}

/// What the centre reads, by record and by what was changed in it.
fn read_by(centre: &Centre) -> BTreeSet<(String, String)> {
    let docs = centre.ops(&["docs"]).expect(0).json();
    let of = |doc: &Value, key: &str| doc[key].as_str().unwrap_or_default().to_owned();
    let docs = docs["records"].as_array().or(docs["documents"].as_array());
    docs.unwrap_or_else(|| panic!("no records in the centre's answer"))
        .iter()
        .map(|doc| (of(doc, "id"), of(doc, "local_id")))
        .collect()
}

fn acts(centre: &Centre, what: &str) -> bool {
    let status = centre.ops(&["status"]).expect(0).json();
    is_to_act_on(&status, what)
}

fn is_to_act_on(status: &Value, what: &str) -> bool {
    let acts = status["act_now"].as_array().expect("a list");
    acts.iter().any(|act| act["what"] == what)
}

#[test]
fn what_a_backup_lacks_comes_back_from_the_devices() {
    let mut centre = Centre::start();
    let [one, two, three] =
        ["T1", "T2", "T3"].map(|name| centre.device(name, &["north/hazards:rw"]));
    let all = [&one, &two, &three];
    for (at, device) in all.into_iter().enumerate() {
        area(device, &format!("HA-{at}"), SCOPE);
        device.sync();
    }
    let (_folder, file) = backed_up(&centre);

    // After the backup: more work, a device and an area of work that the backup does not know, and a
    // revocation with its new keys, under which more is written.
    for (at, device) in all.into_iter().enumerate() {
        area(device, &format!("HA-{at}-later"), SCOPE);
        device.sync();
    }
    let four = centre.device("T4", &["south/hazards:rw"]);
    area(&four, "SA-1", "south/hazards");
    four.sync();
    centre
        .ops(&["revoke", "T3", "--reason", "phone lost"])
        .expect(0);
    one.sync();
    area(&one, "HA-under-the-new-key", SCOPE);
    one.sync();
    two.sync();
    four.sync();
    let before = centre.eventually(&["status"], |status| status["documents"] == 8);
    let read_before = read_by(&centre);
    let exports_before = [one.export(), two.export(), four.export()];

    // The machine is lost, with all that was on it.
    centre.kill();
    std::fs::remove_dir_all(centre.dir()).expect("our own folder");
    let dir = centre.dir();
    let dry = cairn(&[
        "ops",
        "backup",
        "restore",
        text(&file),
        "--into",
        text(&dir),
        "--dry-run",
        "--json",
    ]);
    assert_eq!(dry.expect(0).json()["backup"]["ok"], true);
    assert!(!dir.exists(), "a dry run restores nothing");
    let restored = restore(&file, &dir).expect(0).json();
    assert_eq!(restored["backup"]["problems"], serde_json::json!([]));
    centre.run();

    // What it knew before, and a device that is lost is a member again for now: so nothing is signed.
    centre.eventually(&["status"], |status| status["documents"] == 3);
    assert!(acts(&centre, "restored"));
    let refused = centre
        .ops(&[
            "enrol", "new", "--name", "T5", "--role", "device", "--scope", SCOPE,
        ])
        .expect(1)
        .json();
    assert_eq!(refused["code"], "restored", "{refused:#}");
    assert_eq!(refused["retryable"], true);

    for device in [&one, &two, &four] {
        device.sync();
    }
    let after = centre.eventually(&["status"], |status| {
        status["documents"] == 8 && !is_to_act_on(status, "restored")
    });
    assert_eq!(after["changes"], before["changes"], "{after:#}");
    assert_eq!(read_by(&centre), read_before);
    for device in [&one, &two, &four] {
        device.sync();
    }
    assert_eq!([one.export(), two.export(), four.export()], exports_before);

    // The revocation holds again, and the authority goes on where its own log ends.
    area(&three, "HA-too-late", SCOPE);
    three.run(&["sync"]).expect(5);
    assert!(!acts(&centre, "authority_fork"));
    let five = centre.device("T5", &["north/hazards:r", "south/hazards:r"]);
    five.sync();
    let held = five.run(&["list"]).expect(0).json();
    let held = held["records"].as_array().expect("a list");
    assert!(
        held.iter()
            .any(|one| one["local_id"] == "HA-under-the-new-key")
            && held.iter().any(|one| one["local_id"] == "SA-1"),
        "the centre has the new keys again: {held:#?}"
    );
    centre.ops(&["verify", "--deep"]).expect(0);
}

#[test]
fn ops_may_decide_not_to_wait_and_that_is_recorded() {
    let mut centre = Centre::start();
    let _lost = centre.device("Lost with the relay", &["north/hazards:rw"]);
    let (_folder, file) = backed_up(&centre);
    centre.kill();
    std::fs::remove_dir_all(centre.dir()).expect("our own folder");
    restore(&file, &centre.dir()).expect(0);
    centre.run();
    let enrol = [
        "enrol", "new", "--name", "T2", "--role", "device", "--scope", SCOPE,
    ];
    assert_eq!(centre.ops(&enrol).expect(1).json()["code"], "restored");
    centre.kill();
    centre.run();
    // It is not forgotten by a start.
    assert_eq!(centre.ops(&enrol).expect(1).json()["code"], "restored");
    let reason = ["backup", "override", "--reason", "it burnt with the relay"];
    let dry = [&reason[..], &["--dry-run"]].concat();
    let asked = centre.ops(&dry).expect(0).json();
    assert_eq!(
        asked["not_waited_for"][0]["name"], "Lost with the relay",
        "{asked:#}"
    );
    assert_eq!(centre.ops(&enrol).expect(1).json()["code"], "restored");
    centre.ops(&reason).expect(0);
    centre.ops(&enrol).expect(0);
    assert_eq!(centre.ops(&reason).expect(1).json()["code"], "not_restored");
    let audit = std::fs::read_to_string(centre.dir().join("audit.jsonl")).expect("an audit file");
    let line = audit
        .lines()
        .find(|line| line.contains("restore overridden"));
    assert!(
        line.is_some_and(|line| line.contains("it burnt with the relay")),
        "{audit}"
    );
}

#[test]
fn a_backup_is_private_whole_and_found_out_when_it_is_not() {
    let mut centre = Centre::start();
    let device = centre.device("T1", &["north/hazards:rw"]);
    area(&device, "HA-1", SCOPE);
    device.sync();
    let (folder, file) = backed_up(&centre);
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = centre
        .ops(&["backup", "create", text(&file)])
        .expect(1)
        .json();
    assert_eq!(again["code"], "exists");

    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&file)
        .output();
    let listed = String::from_utf8(listed.expect("tar runs").stdout).expect("UTF-8");
    for (name, wanted) in [
        ("data/segment-00000001", true),
        ("centre/centre.key", true),
        ("keys/authority.key", true),
        ("relay.toml", true),
        ("cairn-backup.json", true),
        ("recovery.key", false),
        ("data/index", false),
        ("cairnd.sock", false),
    ] {
        let found = listed.lines().any(|line| line.starts_with(name));
        assert_eq!(found, wanted, "{name}: {listed}");
    }
    let verify = |file: &Path| cairn(&["ops", "backup", "verify", text(file), "--json"]);
    let found = verify(&file).expect(0).json();
    assert_eq!(
        (&found["schema"], &found["ok"]),
        (&"cairn.verify/1".into(), &true.into())
    );
    assert_eq!(found["entries"], 1);

    // Nobody's folder is written over.
    assert_eq!(
        restore(&file, &centre.dir()).expect(1).json()["code"],
        "folder_in_use"
    );

    let bytes = std::fs::read(&file).expect("a file");
    let bad = folder.path().join("bad.backup");
    let into = folder.path().join("restored");
    // Where a file's content lies, a bit is found by its hash; elsewhere the tar itself does not read, or
    // the manifest does not fit. Padding and times are nobody's content.
    let content = |needle: &[u8]| {
        let at = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        at.expect("it is in the backup")
    };
    for at in [
        content(b"CAIRNSEG") + 60,
        content(b"cairn-relay-key 1 authority") + 40,
        content(b"\"schema\": \"cairn.backup/1\"") + 3,
        content(b"listen = "),
    ] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&bad, flipped).expect("a writable folder");
        assert_eq!(
            verify(&bad).expect(8).json()["code"],
            "integrity",
            "byte {at}"
        );
        restore(&bad, &into).expect(8);
        assert!(!into.join("relay.toml").exists(), "byte {at}");
    }
    for length in [0, 511, 512, bytes.len() / 2, bytes.len() - 3000] {
        std::fs::write(&bad, &bytes[..length]).expect("a writable folder");
        verify(&bad).expect(8);
    }

    // Without a daemon the same file comes about.
    centre.kill();
    let resting = folder.path().join("resting.backup");
    let made = centre
        .ops(&["backup", "create", text(&resting)])
        .expect(0)
        .json();
    assert_eq!(made["while_running"], false, "{made:#}");
    verify(&resting).expect(0);
}
