//! The k-th operation on the disk fails: on saving, on syncing, on receiving.
//!
//! Each test is a chain: the same device goes on after every fault, so that what one of them breaks the
//! next one meets. A spread of k in CI; every k, for every kind of fault, with `CAIRN_FAULTS_ALL=1`.

#![allow(clippy::print_stderr)] // Figures for whoever runs it by hand.

use cairn_end_to_end::{Centre, Device};
use cairn_faults::{Fault, KINDS, Ledger, Tally, chosen, run, run_on, unclear};
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

    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for kind in KINDS {
        for at in chosen(count, 8) {
            (fault.kind, fault.at) = (kind, at);
            let said = run_on(&device, &fault, NEW);
            tally.count(&said);
            let mut found = None;
            if said.code == 0 {
                ledger.note(&said.json());
            } else {
                found = unclear(&said, &[1]);
            }
            let found = [found, ledger.held_against(&device)];
            let what = format!("{kind} at {:?}", fault.spoiled());
            wrong.extend(
                found
                    .into_iter()
                    .flatten()
                    .map(|it| format!("{what}: {it}")),
            );
            if at % 7 == 0 {
                sound(&device, &what);
            }
        }
    }
    eprintln!(
        "save: {count} operations; {} saved; {}",
        ledger.len(),
        tally.words()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    sound(&device, "all of it");
    device.sync();
    let other = centre.device("Delta", &["north/hazards:rw"]);
    other.sync();
    assert_eq!(ledger.held_against(&other), None);
}
