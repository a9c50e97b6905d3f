//! What is around a device and not right: no descriptors left, another process in its folder, files of a
//! newer version, a clock of 1970 or 2100. (The same for the daemon: `tests/end_to_end/tests/daemon.rs`.)

use cairn_end_to_end::{Centre, Device, binaries};
use cairn_faults::{Ledger, run, shim, unclear};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const SCOPE: &str = "north/hazards";
const NEW: &[&str] = &[
    "new",
    "hazardous_area",
    "--scope",
    SCOPE,
    "--position",
    "44.1000, 17.9000",
];

fn device_with_a_record(centre: &Centre, ledger: &mut Ledger) -> Device {
    let device = centre.device("Alpha", &["north/hazards:rw"]);
    ledger.note(&run(&mut device.command(NEW)).expect(0).json());
    device
}

fn flip_version(path: &Path, from: &str, to: &str) -> (Vec<u8>, Vec<u8>) {
    let before = std::fs::read(path).expect("our own file");
    let at = before
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .expect("the version is there");
    let mut after = before.clone();
    after[at..at + to.len()].copy_from_slice(to.as_bytes());
    std::fs::write(path, &after).expect("our own file");
    (before, after)
}

#[test]
fn a_device_says_what_is_wrong_around_it_and_keeps_what_it_has() {
    let centre = Centre::start();
    let mut ledger = Ledger::default();
    let device = device_with_a_record(&centre, &mut ledger);

    // No descriptors left, at more and more of them, until it works.
    let cairn = binaries().join("cairn");
    let mut refused = 0;
    for descriptors in 4..40 {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $0; exec \"$@\""]);
        command.arg(descriptors.to_string()).arg(&cairn);
        command.arg("--data-dir").arg(device.dir()).arg("--json");
        let said = run(command.args(NEW));
        if said.code == 0 {
            ledger.note(&said.json());
            break;
        }
        // Below that not even the program's own libraries can be loaded.
        if said.code == 127 {
            continue;
        }
        refused += 1;
        assert_eq!(unclear(&said, &[1]), None, "{descriptors} descriptors");
    }
    assert!(refused > 0 && ledger.len() == 2, "{refused} {ledger:?}");
    assert_eq!(ledger.held_against(&device), None);

    // Another process that knows nothing of turns.
    let lock = std::fs::File::open(device.dir().join("store/lock")).expect("our own file");
    lock.lock().expect("nobody else has it");
    let said = run(&mut device.command(NEW));
    assert_eq!(unclear(&said, &[6]), None);
    assert_eq!(said.json()["retryable"], true);
    lock.unlock().expect("it is ours");
    drop(lock);
    assert_eq!(ledger.held_against(&device), None);

    // Files of a newer version: nothing is touched.
    for (name, from, to) in [
        ("store/format", "cairn-store 1", "cairn-store 2"),
        ("device.key", "CAIRN-KEY\0\0\u{1}", "CAIRN-KEY\0\0\u{2}"),
    ] {
        let path = device.dir().join(name);
        let (before, after) = flip_version(&path, from, to);
        for arguments in [NEW, &["list"], &["check", "--repair"], &["sync"]] {
            let said = run(&mut device.command(arguments));
            assert_eq!(unclear(&said, &[7]), None, "{name}");
        }
        assert_eq!(std::fs::read(&path).expect("our own file"), after);
        std::fs::write(&path, before).expect("our own file");
    }
    assert_eq!(ledger.held_against(&device), None);
    device.sync();
}

#[test]
fn clocks_of_1970_and_2100_change_what_is_shown_and_nothing_else() {
    let mut centre = Centre::start();
    let mut ledger = Ledger::default();
    let alpha = device_with_a_record(&centre, &mut ledger);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("this machine's clock is right").as_secs() as i64;
    for year_begins_s in [3_600, 4_102_444_800] {
        let by = (year_begins_s - now).to_string();
        let wrong = |command: &mut Command| {
            command
                .env("LD_PRELOAD", shim())
                .env("CAIRN_FAULT_CLOCK_S", &by);
        };
        let year = if year_begins_s == 3_600 {
            "1970"
        } else {
            "2100"
        };
        // A device whose clock is wrong saves, syncs, is checked; the other one gets it all.
        for arguments in [NEW, &["sync"], &["check"], &["list"]] {
            let mut command = alpha.command(arguments);
            wrong(&mut command);
            let said = run(&mut command).expect(0);
            if arguments == NEW {
                ledger.note(&said.json());
            }
        }
        let records = run(&mut alpha.command(&["list"])).expect(0).out;
        assert!(records.contains(&format!("{year}-01-01")), "{records}");
        delta.sync();
        assert_eq!(ledger.held_against(&delta), None);
        // So does a relay.
        centre.kill();
        let preload = shim().to_str().expect("temporary names are UTF-8");
        let variables = [
            ("LD_PRELOAD", preload.to_owned()),
            ("CAIRN_FAULT_CLOCK_S", by.clone()),
        ];
        assert_eq!(centre.start_with(&variables), None);
        ledger.note(&run(&mut alpha.command(NEW)).expect(0).json());
        alpha.sync();
        delta.sync();
        assert_eq!(ledger.held_against(&delta), None);
        let verified = centre.ops(&["verify"]).expect(0).json();
        assert_eq!(verified["ok"], true);
    }
    centre.kill();
    centre.run();
    let other = centre.device("Echo", &["north/hazards:rw"]);
    other.sync();
    assert_eq!(ledger.held_against(&other), None);
    assert_eq!(alpha.export(), delta.export());
}
