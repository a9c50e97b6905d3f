//! One bit of a file is another one than was written: of a device, and of a relay.
//!
//! Nothing of it is silent: either what is shown is all there and right, or it is said in words. What
//! the other side has comes back with the next sync. 16 flips each in CI, drawn by `CAIRN_FLIPS_SEED`;
//! `CAIRN_FLIPS=250` for more.

#![allow(clippy::print_stderr)] // Figures for whoever runs it by hand.

use cairn_end_to_end::{Centre, Device, Said, binaries};
use cairn_faults::{Ledger, Tally, run, unclear};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCOPES: &[&str] = &["north/hazards:rw"];

fn new_area(device: &Device, number: usize) -> Value {
    let label = format!("local_id=HA-{number}");
    let position = format!("44.{:04}, 17.9000", 1000 + number);
    let arguments = [
        "new",
        "hazardous_area",
        "--scope",
        "north/hazards",
        "--position",
        &position,
        "--set",
        "area_reported=400",
        "--set",
        &label,
    ];
    run(&mut device.command(&arguments)).expect(0).json()
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A folder as it was: every file and what is in it.
struct Folder {
    dir: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Folder {
    fn of(dir: PathBuf) -> Self {
        let mut files = BTreeMap::new();
        for path in files_below(&dir) {
            let bytes = std::fs::read(&path).expect("our own file");
            files.insert(path, bytes);
        }
        Self { dir, files }
    }

    /// Puts everything back, into the very files: a file that is made anew would be a copy.
    fn lay_back(&self) {
        for path in files_below(&self.dir) {
            if !self.files.contains_key(&path) {
                std::fs::remove_file(&path).expect("our own file");
            }
        }
        for (path, bytes) in &self.files {
            let folder = path.parent().expect("a file lies in a folder");
            std::fs::create_dir_all(folder).expect("our own folder");
            std::fs::write(path, bytes).expect("our own file");
        }
    }

    /// Flips a bit of one of the files that `wanted` names; in a file with long stretches of zeros, of a
    /// byte that is none. Answers where.
    fn flip(&self, random: &mut ChaCha8Rng, wanted: &str) -> String {
        let fits = |path: &Path| {
            let name = path.strip_prefix(&self.dir).unwrap_or(path);
            name.to_string_lossy().contains(wanted)
        };
        let files: Vec<_> = self.files.iter().collect();
        let files: Vec<_> = files
            .into_iter()
            .filter(|(path, bytes)| fits(path) && !bytes.is_empty())
            .collect();
        let (path, bytes) = files[random.random_range(0..files.len())];
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let (at, bit) = (
            used[random.random_range(0..used.len())],
            random.random_range(0..8u32),
        );
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(path, bytes).expect("our own file");
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        format!("bit {bit} of byte {at} of {}", name.display())
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("our own folder") {
        let entry = entry.expect("our own folder");
        let kind = entry.file_type().expect("our own folder");
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Records as listed. Without what has come how far: where a receipt does not read any more, a record
/// counts as not yet at the centre, until the next sync.
fn records(list: &Value) -> Vec<Value> {
    let mut records = list["records"].as_array().cloned().unwrap_or_default();
    for record in &mut records {
        if let Some(record) = record.as_object_mut() {
            record.remove("unsent");
        }
    }
    records
}

/// The first record that reads otherwise.
fn difference(whole: &[Value], shown: &[Value]) -> String {
    let mut pairs = whole.iter().zip(shown);
    let pair = pairs.find(|(one, other)| one != other);
    format!("{} of {} records, first {pair:?}", shown.len(), whole.len())
}

/// Something was said about damage, or the exit code says it.
fn is_told(said: &Said) -> bool {
    let words = said.words.to_lowercase();
    let damage = [
        "could not be read",
        "rebuilt",
        "made anew",
        "set aside",
        "damaged",
    ];
    said.code != 0 || damage.iter().any(|word| words.contains(word))
}

/// Exit codes that a flipped bit may lead to: failed, not enrolled any more, format too new, integrity.
const CODES: &[i32] = &[1, 5, 7, 8];

#[test]
fn no_flipped_bit_of_a_device_is_silent_and_what_the_relay_has_comes_back() {
    let flips = number_from("CAIRN_FLIPS", 16);
    let mut random = ChaCha8Rng::seed_from_u64(number_from("CAIRN_FLIPS_SEED", 0xF11B));
    let centre = Centre::start();
    let device = centre.device("Alpha", SCOPES);
    let (mut sent, mut all) = (Ledger::default(), Ledger::default());
    for number in 0..12 {
        let saved = new_area(&device, number);
        sent.note(&saved);
        all.note(&saved);
    }
    device.sync();
    for number in 12..14 {
        all.note(&new_area(&device, number));
    }
    let whole = run(&mut device.command(&["list"])).expect(0).json();
    let whole = records(&whole);
    let folder = Folder::of(device.dir());

    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for round in 0..flips {
        folder.lay_back();
        let wanted = [
            "segment-",
            "index/",
            "device.key",
            "segment-",
            "index/",
            "store/",
        ];
        let wanted = wanted[(round % 6) as usize];
        let place = folder.flip(&mut random, wanted);
        let mut note = |what: String| wrong.push(format!("{place}: {what}"));

        let listed = run(&mut device.command(&["list"]));
        let shown = listed.code == 0 && records(&listed.json()) == whole;
        if listed.code != 0 {
            unclear(&listed, CODES).into_iter().for_each(&mut note);
        } else if !shown && !is_told(&listed) {
            note(format!(
                "SILENT: {}",
                difference(&whole, &records(&listed.json()))
            ));
        }
        let checked = run(&mut device.command(&["check"]));
        let repaired = run(&mut device.command(&["check", "--repair"]));
        let key_is_bad = wanted == "device.key" && listed.code != 0;
        tally.count_as(&format!(
            "{wanted}: list {} check {} repair {}{}",
            listed.code,
            checked.code,
            repaired.code,
            if is_told(&listed) { ", told" } else { "" }
        ));
        if key_is_bad {
            continue;
        }
        let synced = run(&mut device.command(&["sync"]));
        if synced.code != 0 {
            note(format!(
                "the sync: {synced:?}; the check: {checked:?}; the repair: {repaired:?}"
            ));
            continue;
        }
        sent.held_against(&device).into_iter().for_each(&mut note);
        let lost_own = all.held_against(&device).is_some();
        let was_told = [&listed, &checked, &repaired].into_iter().any(is_told);
        if lost_own && !was_told {
            note("what only this device had is gone, and nothing was said".to_owned());
        }
        let sound = run(&mut device.command(&["check"]));
        if sound.code != 0 {
            note(format!("after the sync: {sound:?}"));
        }
        if lost_own {
            tally.count_as("an unsent record lost, and told");
        }
    }
    eprintln!("{flips} flips on a device: {}", tally.words());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_flipped_bit_of_a_relay_is_silent_and_what_a_device_has_comes_back() {
    let flips = number_from("CAIRN_FLIPS", 8);
    let mut random = ChaCha8Rng::seed_from_u64(number_from("CAIRN_FLIPS_SEED", 0xF11C));
    let mut centre = Centre::start();
    let devices = ["Alpha", "Delta"].map(|name| centre.device(name, SCOPES));
    let [alpha, delta] = &devices;
    let mut ledger = Ledger::default();
    for number in 0..12 {
        ledger.note(&new_area(alpha, number));
    }
    alpha.sync();
    delta.sync();
    centre.eventually(&["status"], |status| status["documents"] == 12);
    centre.kill();
    let folder = Folder::of(centre.dir());
    let stages = [Folder::of(alpha.dir()), Folder::of(delta.dir())];

    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for round in 0..flips {
        for folder in std::iter::once(&folder).chain(&stages) {
            folder.lay_back();
        }
        let wanted = [
            "data/segment-",
            "index/",
            ".key",
            "data/",
            "segment-",
            "codes/",
        ];
        let wanted = wanted[(round % 6) as usize];
        let place = folder.flip(&mut random, wanted);
        let mut note = |what: String| wrong.push(format!("{place}: {what}"));

        let from = centre.words().len();
        if let Some(code) = centre.start_with(&[]) {
            let words = centre.words().split_off(from);
            tally.count_as(&format!("{wanted}: the daemon ends with {code}"));
            let clear = words.iter().any(|line| line.starts_with("error: "))
                && !words.iter().any(|line| line.contains("panicked"))
                && CODES.contains(&code);
            if !clear {
                note(format!("the daemon ended with {code}: {words:?}"));
            }
            continue;
        }
        let verified = centre.ops(&["verify"]);
        let told = verified.code != 0 || centre.words().len() > from + 2;
        tally.count_as(&format!(
            "{wanted}: verify {}{}",
            verified.code,
            if told { ", told" } else { "" }
        ));
        // The devices give back what the relay lacks; then a new one is given all.
        for device in [alpha, delta] {
            let synced = run(&mut device.command(&["sync"]));
            if synced.code != 0 {
                let words = centre.words().split_off(from);
                note(format!("the sync: {synced:?}; the relay: {words:?}"));
            }
        }
        // As the runbook says.
        let verified = centre.ops(&["verify"]);
        if verified.code != 0 {
            tally.count_as("a relay repaired");
            centre.kill();
            let mut repair = Command::new(binaries().join("cairnd"));
            repair.args(["--json", "repair", "--dir"]).arg(centre.dir());
            let repaired = run(&mut repair);
            if repaired.code != 0 {
                note(format!("the repair: {repaired:?}"));
            }
            if let Some(code) = centre.start_with(&[]) {
                let words = centre.words();
                note(format!("a repaired relay ends with {code}: {words:?}"));
                continue;
            }
            for device in [alpha, delta] {
                device.sync();
            }
            let verified = centre.ops(&["verify"]);
            if verified.code != 0 {
                note(format!("after the repair: {verified:?}"));
            }
        }
        // A device that has nothing is given all.
        let new = centre.device("New", SCOPES);
        let synced = run(&mut new.command(&["sync"]));
        if synced.code != 0 {
            let words = centre.words().split_off(from);
            note(format!("a new device: {synced:?}; the relay: {words:?}"));
        }
        if let Some(lacks) = ledger.held_against(&new) {
            note(format!("a new device: {lacks}"));
        }
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let reads_all = loop {
            let status = centre.ops(&["status"]);
            let all = status.code == 0 && status.json()["documents"] == 12;
            if all || std::time::Instant::now() > until {
                break all;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        if !reads_all {
            let words = centre.words().split_off(from);
            note(format!("the centre does not read all again: {words:?}"));
        }
        centre.kill();
    }
    eprintln!("{flips} flips on a relay: {}", tally.words());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The worst short of a lost disk: many bits at once, the index whole.
#[test]
fn a_riddled_relay_is_repaired_and_filled_again_by_its_devices() {
    let mut random = ChaCha8Rng::seed_from_u64(number_from("CAIRN_FLIPS_SEED", 0xF11D));
    let mut centre = Centre::start();
    let [alpha, delta] = ["Alpha", "Delta"].map(|name| centre.device(name, SCOPES));
    for number in 0..8 {
        new_area(&alpha, number);
        alpha.sync();
    }
    delta.sync();
    centre.eventually(&["status"], |status| status["documents"] == 8);
    let whole = alpha.export();
    centre.kill();
    for _ in 0..6 {
        let place = Folder::of(centre.dir().join("data")).flip(&mut random, "segment-");
        eprintln!("{place}");
    }
    let mut repair = Command::new(binaries().join("cairnd"));
    repair.args(["--json", "repair", "--dir"]).arg(centre.dir());
    let repaired = run(&mut repair).expect(0).json();
    assert_eq!(repaired["schema"], "cairn.relay_repair/1");
    let stores = repaired["stores"].as_array().expect("stores");
    assert!(stores[0]["lost_frames"].as_u64() > Some(0), "{repaired:#}");
    assert_eq!(repaired["authority_waits"], false, "{repaired:#}");
    centre.run();
    alpha.sync();
    delta.sync();
    centre.ops(&["verify", "--deep"]).expect(0);
    centre.eventually(&["status"], |status| {
        status["documents"] == 8 && status["entries"] == 8
    });
    let new = centre.device("New", SCOPES);
    new.sync();
    assert_eq!(new.export(), whole);
    assert_eq!(delta.export(), whole);
}
