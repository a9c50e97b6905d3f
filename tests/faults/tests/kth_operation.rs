//! The k-th operation on the disk fails: on saving, on syncing, on receiving.
//!
//! Each test is a chain: the same device goes on after every fault, so that what one of them breaks the
//! next one meets. A spread of k in CI; every k, for every kind of fault, with `CAIRN_FAULTS_ALL=1`.

#![allow(clippy::print_stderr)] // Figures for whoever runs it by hand.

use cairn_end_to_end::{Centre, Device, Said, binaries};
use cairn_faults::{Fault, KINDS, Ledger, Tally, chosen, run, run_on, run_while, unclear};
use std::process::Command;
use tempfile::TempDir;

const SCOPE: &str = "north/hazards";
const NEW: &[&str] = &[
    "new",
    "hazardous_area",
    "--scope",
    SCOPE,
    "--position",
    "44.1000, 17.9000",
    "--set",
    "area_reported=400",
];

fn fault(notes: &TempDir, device: &Device) -> Fault {
    Fault {
        dir: device.dir(),
        at: 0,
        kind: "eio",
        armed: None,
        log: notes.path().join("operations"),
    }
}

/// What a chain of faults finds.
#[derive(Default)]
struct Found {
    tally: Tally,
    wrong: Vec<String>,
}

impl Found {
    fn note(&mut self, what: &str, found: impl IntoIterator<Item = Option<String>>) {
        let found = found.into_iter().flatten();
        self.wrong.extend(found.map(|it| format!("{what}: {it}")));
    }

    #[track_caller]
    fn end(&self, what: &str) {
        eprintln!("{what}; {}", self.tally.words());
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

fn sound(device: &Device, what: &str) {
    let said = run(&mut device.command(&["check"]));
    assert_eq!(said.code, 0, "after {what}: {said:#?}");
}

#[test]
fn a_save_on_a_failing_disk_is_kept_or_refused_in_words() {
    let centre = Centre::start();
    let device = centre.device("Alpha", &["north/hazards:rw"]);
    let notes = tempfile::tempdir().expect("a temporary folder");
    let mut fault = fault(&notes, &device);
    let mut ledger = Ledger::default();
    ledger.note(&run_on(&device, &fault, NEW).expect(0).json());
    let count = fault.operations().len() as u64;
    assert!(count > 10, "the shim sees what the program does: {count}");

    let mut found = Found::default();
    for kind in KINDS {
        for at in chosen(count, 5) {
            (fault.kind, fault.at) = (kind, at);
            let said = run_on(&device, &fault, NEW);
            found.tally.count(&said);
            let what = format!("{kind} at {:?}", fault.spoiled());
            if said.code == 0 {
                ledger.note(&said.json());
            } else {
                found.note(&what, [unclear(&said, &[1])]);
            }
            found.note(&what, [ledger.held_against(&device)]);
            if at % 7 == 0 {
                sound(&device, &what);
            }
        }
    }
    found.end(&format!("save: {count} operations, {} saved", ledger.len()));
    sound(&device, "all of it");
    device.sync();
    let other = centre.device("Delta", &["north/hazards:rw"]);
    other.sync();
    assert_eq!(ledger.held_against(&other), None);
}

/// One device syncs on a failing disk, again and again; the other one is well.
struct Chain<'a> {
    failing: &'a Device,
    well: &'a Device,
    sends: bool,
    ledger: &'a mut Ledger,
    found: &'a mut Found,
}

impl Chain<'_> {
    fn syncs_under(&mut self, fault: &Fault) {
        let author = if self.sends { self.failing } else { self.well };
        self.ledger
            .note(&run(&mut author.command(NEW)).expect(0).json());
        if !self.sends {
            self.well.sync();
        }
        let said = run_on(self.failing, fault, &["sync"]);
        let what = format!("{} at {:?}", fault.kind, fault.spoiled());
        self.found.tally.count(&said);
        if said.code != 0 {
            self.found.note(&what, [unclear(&said, &[1])]);
        }
        if said.code == 0 || self.sends {
            let held = self.ledger.held_against(self.failing);
            self.found.note(&what, [held]);
        }
        let again = run(&mut self.failing.command(&["sync"]));
        if again.code != 0 || again.json()["complete"] != true {
            let said = format!("the next sync: {again:?}");
            self.found.note(&what, [Some(said)]);
        }
        let held = self.ledger.held_against(self.failing);
        self.found.note(&what, [held]);
    }
}

#[test]
fn a_device_whose_disk_fails_while_it_sends_and_receives_goes_on_later() {
    let centre = Centre::start();
    let devices = ["Alpha", "Delta"].map(|name| centre.device(name, &["north/hazards:rw"]));
    let [alpha, delta] = &devices;
    let notes = tempfile::tempdir().expect("a temporary folder");
    let mut ledger = Ledger::default();
    for (failing, well, sends) in [(alpha, delta, true), (delta, alpha, false)] {
        let mut found = Found::default();
        let mut chain = Chain {
            failing,
            well,
            sends,
            ledger: &mut ledger,
            found: &mut found,
        };
        let mut fault = fault(&notes, failing);
        chain.syncs_under(&fault);
        let count = fault.operations().len() as u64;
        for kind in KINDS {
            for at in chosen(count, 3) {
                (fault.kind, fault.at) = (kind, at);
                chain.syncs_under(&fault);
            }
        }
        let doing = if sends { "send" } else { "receive" };
        found.end(&format!(
            "{doing}: {count} operations, {} saved",
            ledger.len()
        ));
        sound(failing, "all of it");
        well.sync();
        assert_eq!(ledger.held_against(well), None);
    }
    assert_eq!(alpha.export(), delta.export());
}

/// What a daemon said since `from`, and how it ended: `None` if it did not.
fn daemon_is_clear(centre: &Centre, from: usize, code: i32) -> Option<String> {
    let words = centre.words().split_off(from);
    let error = words.iter().find(|line| line.starts_with("error: "));
    let foreign = ["Os {", "Error(", "panicked"];
    let clear = error.is_some()
        && code == 1
        && !words
            .iter()
            .any(|line| foreign.iter().any(|word| line.contains(word)));
    (!clear).then(|| format!("the daemon ended with {code}: {words:?}"))
}

#[test]
fn a_relay_whose_disk_fails_keeps_what_it_acknowledged() {
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    let notes = tempfile::tempdir().expect("a temporary folder");
    let armed = notes.path().join("armed");
    let mut fault = Fault {
        dir: centre.dir(),
        at: 0,
        kind: "eio",
        armed: Some(armed.clone()),
        log: notes.path().join("operations"),
    };
    let mut ledger = Ledger::default();
    let mut found = Found::default();
    let mut round = |fault: &Fault, found: &mut Found| {
        let _ = std::fs::remove_file(&armed);
        centre.kill();
        let from = centre.words().len();
        assert_eq!(centre.start_with(&fault.variables()), None);
        ledger.note(&run(&mut alpha.command(NEW)).expect(0).json());
        std::fs::write(&armed, "").expect("the temporary folder is writable");
        // A daemon that gives up is started again, as systemd would, on a sound disk.
        let mut ended = None;
        let said = run_while(&mut alpha.command(&["sync"]), || {
            if ended.is_none() {
                ended = centre.ended();
                if ended.is_some() {
                    centre.run();
                }
            }
        });
        let count = fault.operations().len() as u64;
        let what = format!("{} at {:?}", fault.kind, fault.spoiled());
        found.tally.count(&said);
        if said.code != 0 || said.json()["complete"] != true {
            found.note(&what, [Some(format!("the sync: {said:?}"))]);
        }
        if let Some(code) = ended {
            found.tally.count_as(&format!("daemon exit {code}"));
            found.note(&what, [daemon_is_clear(&centre, from, code)]);
        }
        // What was acknowledged is there for another device after a kill.
        centre.kill();
        centre.run();
        delta.sync();
        found.note(&what, [ledger.held_against(&delta)]);
        count
    };
    let count = round(&fault, &mut found);
    for kind in KINDS {
        for at in chosen(count, 2) {
            (fault.kind, fault.at) = (kind, at);
            round(&fault, &mut found);
        }
    }
    found.end(&format!(
        "relay: {count} operations, {} saved",
        ledger.len()
    ));
    delta.sync();
    assert_eq!(ledger.held_against(&delta), None);
    let verified = centre.ops(&["verify"]).expect(0).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
    let held = ledger.len();
    centre.eventually(&["status"], |status| status["documents"] == held);
}

fn backup(fault: Option<&Fault>, arguments: &[&str]) -> Said {
    let mut command = Command::new(binaries().join("cairn"));
    command.args(["ops", "--json"]);
    command.args(arguments);
    if let Some(fault) = fault {
        command.envs(fault.variables());
    }
    run(&mut command)
}

#[test]
fn a_backup_on_a_failing_disk_is_whole_or_not_there_and_a_restore_can_be_repeated() {
    let mut centre = Centre::start();
    let device = centre.device("Alpha", &["north/hazards:rw"]);
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        ledger.note(&run(&mut device.command(NEW)).expect(0).json());
    }
    device.sync();
    let notes = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| {
        let path = notes.path().join(name);
        let text = path.to_str().expect("temporary names are UTF-8").to_owned();
        (path, text)
    };
    let mut found = Found::default();
    let mut fault = Fault {
        dir: place("backups").0,
        at: 0,
        kind: "eio",
        armed: None,
        log: place("operations").0,
    };
    let dir = centre.dir();
    let dir = dir.to_str().expect("temporary names are UTF-8");

    let (folder, file) = (place("backups").0, place("backups/one").1);
    let create = |fault: &Fault, found: &mut Found| {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("the temporary folder is writable");
        let said = backup(Some(fault), &["--dir", dir, "backup", "create", &file]);
        let what = format!("create: {} at {:?}", fault.kind, fault.spoiled());
        found.tally.count(&said);
        let there = folder.join("one").exists();
        if said.code != 0 {
            found.note(&what, [unclear(&said, &[1])]);
        } else {
            let verified = backup(None, &["backup", "verify", &file]);
            let wrong = verified.code != 0 || !there;
            found.note(
                &what,
                [wrong.then(|| format!("acknowledged, and not whole: {verified:?}"))],
            );
        }
        if there && backup(None, &["backup", "verify", &file]).code != 0 {
            found.note(
                &what,
                [Some("a half one has the name of a whole one".to_owned())],
            );
        }
    };
    create(&fault, &mut found);
    let creating = fault.operations().len() as u64;
    for kind in KINDS {
        for at in chosen(creating, 3) {
            (fault.kind, fault.at) = (kind, at);
            create(&fault, &mut found);
        }
    }
    (fault.kind, fault.at) = ("eio", 0);
    create(&fault, &mut found);

    centre.kill();
    let (into, into_text) = place("restored");
    fault.dir.clone_from(&into);
    let mut restore = |fault: &Fault, found: &mut Found| {
        let _ = std::fs::remove_dir_all(&into);
        let arguments = ["backup", "restore", &file, "--into", &into_text];
        let said = backup(Some(fault), &arguments);
        let what = format!("restore: {} at {:?}", fault.kind, fault.spoiled());
        found.tally.count(&said);
        if said.code != 0 {
            found.note(&what, [unclear(&said, &[1])]);
            let again = backup(None, &arguments);
            let wrong = again.code != 0;
            found.note(&what, [wrong.then(|| format!("again: {again:?}"))]);
        }
        // What was restored is a relay that begins.
        std::fs::remove_dir_all(centre.dir()).expect("our own folder");
        std::fs::rename(&into, centre.dir()).expect("our own folders");
        if fault.at.is_multiple_of(5) || fault.at > 180 || said.code == 0 {
            centre.run();
            let held = centre.ops(&["verify"]);
            let wrong = held.code != 0 || held.json()["entries"] == 0;
            found.note(&what, [wrong.then(|| format!("{held:?}"))]);
            centre.kill();
        }
    };
    restore(&fault, &mut found);
    let restoring = fault.operations().len() as u64;
    for kind in KINDS {
        for at in chosen(restoring, 3) {
            (fault.kind, fault.at) = (kind, at);
            restore(&fault, &mut found);
        }
    }
    found.end(&format!(
        "backup: {creating} operations to make one, {restoring} to restore it"
    ));
    centre.run();
    let other = Device::new("Delta");
    device.sync();
    other
        .run(&["join", &centre.code("Delta", &["north/hazards:rw"])])
        .expect(0);
    other.sync();
    assert_eq!(ledger.held_against(&other), None);
}
