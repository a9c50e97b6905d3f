//! An enrolled device that turns against everybody, over real QUIC, against a real `cairnd` with its
//! centre: what it signs is kept and handed on, opened by nobody who would be hurt, and named to ops;
//! what others wrote arrives in the very same session.

#![allow(clippy::print_stderr)] // What it cost is to be read.

mod author;
mod tricks;

use author::Author;
use cairn_documents::ChangeParts;
use cairn_end_to_end::Centre;
use cairn_wire::entry::FORMAT_VERSION;
use cairn_wire::{ChangeHash, DocumentId, EntryHeader, EntryId, limits};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RIGHT: &str = "north/hazards:rw";
/// What hostile bytes may cost the daemon above its idle memory.
const COST_BYTES_MAX: u64 = 64 << 20;

/// A centre and somebody honest; beside them, somebody hostile who carries what the honest one wrote.
struct Stage {
    centre: Centre,
    honest: Author,
    idle_bytes: u64,
}

impl Stage {
    fn set() -> (Self, Author) {
        let centre = Centre::start();
        let honest = Author::join(&centre.code("Honest", &[RIGHT]), "Honest");
        let hostile = Author::join(&centre.code("Hostile", &[RIGHT]), "Hostile");
        // What the daemon holds at rest, once it has served somebody.
        let warm = centre.device("Warm", &[RIGHT]);
        warm.save(&["new", "hazardous_area", "--set", "local_id=HA-0"]);
        warm.sync();
        centre.eventually(&["status"], |status| status["documents"] == 1);
        let idle_bytes = centre.resident_bytes();
        let stage = Self {
            centre,
            honest,
            idle_bytes,
        };
        (stage, hostile)
    }

    /// A record of the honest author, which the hostile one will hand over; its id.
    fn carried(&mut self, hostile: &mut Author, local_id: &str) -> String {
        let before = self.honest.entries().len();
        let id = self.honest.record(local_id);
        let entries = self.honest.entries().split_off(before);
        hostile.keep(entries);
        id
    }

    /// Waits until the centre has taken in all of them, the last of which was sent last.
    fn reads(&self, records: &[String]) {
        let last = records.last().unwrap().as_str();
        let listed = |answer: &Value| {
            let mut records = answer["documents"].as_array().unwrap().iter();
            records.any(|record| record["id"] == last)
        };
        self.centre.eventually(&["docs"], listed);
        for id in records {
            let record = self.centre.ops(&["doc", id]).expect(0).json();
            let reads = &record["fields"]["hazard_class"]["reads"];
            assert_eq!(reads, "confirmed", "{record:#}");
        }
    }

    /// What is set aside, by the entry in which it stands.
    fn set_aside(&self) -> BTreeMap<String, Vec<Value>> {
        let answer = self.centre.ops(&["quarantine", "list"]).expect(0).json();
        let mut by_entry: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for one in answer["set_aside"].as_array().unwrap() {
            for entry in one["entries"].as_array().unwrap() {
                let entry = entry.as_str().unwrap().to_owned();
                by_entry.entry(entry).or_default().push(one.clone());
            }
        }
        by_entry
    }

    /// The daemon is well, and was never worse than it may be.
    fn unharmed(&mut self, what: &str) {
        assert_eq!(self.centre.ended(), None);
        let cost = self
            .centre
            .peak_resident_bytes()
            .saturating_sub(self.idle_bytes);
        eprintln!(
            "{what}: {:.1} MB above {:.1} MB",
            cost as f64 / 1e6,
            self.idle_bytes as f64 / 1e6
        );
        assert!(cost <= COST_BYTES_MAX, "{cost} bytes above idle");
        let words = self.centre.words();
        let bad = |line: &&String| line.contains("ERROR") || line.contains("panicked");
        assert_eq!(words.iter().find(bad), None);
        let verified = self.centre.ops(&["verify", "--deep"]).expect(0).json();
        assert_eq!(verified["ok"], true, "{verified:#}");
    }
}

#[test]
fn every_trick_is_kept_named_and_harms_nobody_elses_records() {
    let (mut stage, mut hostile) = Stage::set();
    let mut records = vec![stage.carried(&mut hostile, "HA-1")];
    let victim = stage.honest.changes_in(&stage.honest.entries()[0]);
    let all = tricks::all(&victim[0]);
    let mut sealed: Vec<(EntryId, tricks::Trick)> = Vec::new();
    for (at, trick) in all.into_iter().enumerate() {
        sealed.push((hostile.say(&trick.plain), trick));
        if at % 8 == 0 {
            records.push(stage.carried(&mut hostile, &format!("HA-1{at}")));
        }
    }
    for (key_number, state) in [(1, "unreadable"), (77, "locked")] {
        let header = EntryHeader {
            key_number,
            ..hostile.next()
        };
        let entry = hostile.signed(header, &[7; 300]);
        let trick = tricks::Trick {
            name: "a payload that no key opens",
            plain: Vec::new(),
            state,
            cause: None,
        };
        sealed.push((entry.id(), trick));
        hostile.keep(vec![entry]);
    }
    let header = EntryHeader {
        version: FORMAT_VERSION + 1,
        ..hostile.next()
    };
    let plain = tricks::roots(&[tricks::Raw::puts(1).at(78).bytes()]);
    let later = hostile.sealed(&header, &plain);
    let trick = tricks::Trick {
        name: "a format to come, whose payload looks like ours",
        plain,
        state: "unreadable",
        cause: None,
    };
    sealed.push((later.id(), trick));
    hostile.keep(vec![later]);
    records.push(hostile.record("HA-2"));
    let held = hostile.entries().len() as u64;
    let reader = stage.centre.device("Reader", &[RIGHT]);

    let report = hostile.sync();
    assert!(report.complete);
    assert_eq!((report.entries_sent, report.entries_refused), (held, 0));

    // What is sound reads, at the centre …
    stage.reads(&records);
    // … and everything else has a reason.
    let set_aside = stage.set_aside();
    for (id, trick) in &sealed {
        let found = set_aside.get(&id.to_string());
        let Some([one]) = found.map(Vec::as_slice) else {
            panic!("{}: {found:#?}", trick.name);
        };
        assert_eq!(one["state"], trick.state, "{}: {one:#}", trick.name);
        if let Some(cause) = trick.cause {
            assert_eq!(one["cause"], cause, "{}: {one:#}", trick.name);
        }
        assert_eq!(one["name"], "Hostile");
    }
    assert_eq!(set_aside.len(), sealed.len());

    // Others receive all of it, and read what is sound.
    let synced = reader.sync();
    assert_eq!(synced["entries_received"], held + 1, "{synced:#}");
    for id in &records {
        assert_eq!(
            reader.show(id)["fields"]["hazard_class"]["reads"],
            "confirmed"
        );
    }
    stage.unharmed("every trick");
}

#[test]
fn a_flood_that_waits_hides_nothing_and_delays_nobody() {
    let (mut stage, mut hostile) = Stage::set();
    let rests = |from: i64| -> Vec<Vec<u8>> {
        (from..from + 10_000)
            .map(|at| tricks::Raw::puts(1).at(at).bytes())
            .collect()
    };
    // It stands before everything else that is listed.
    let nowhere = DocumentId([0; 16]);
    let flood = [0, 20_000].map(|from| tricks::edits(nowhere, ChangeHash([9; 32]), &rests(from)));
    hostile.say(&flood[0]);
    let mut records = vec![stage.carried(&mut hostile, "HA-1")];
    let crowded = hostile.say(&flood[1]).to_string();
    let claim = tricks::Raw::puts(100_000).bytes();
    let bad = hostile.say(&tricks::roots(&[claim])).to_string();
    records.push(stage.carried(&mut hostile, "HA-2"));

    assert!(hostile.sync().complete);
    stage.reads(&records);
    let set_aside = stage.set_aside();
    assert_eq!(set_aside[&bad][0]["cause"], "too_many_operations");
    // Of the second not all had room: then it is the entry that waits.
    let mut whole = set_aside[&crowded].iter();
    let whole = whole.find(|one| one["change"] == *crowded).unwrap();
    assert_eq!(whole["state"], "waiting", "{whole:#}");
    stage.unharmed("20,000 changes that wait");
}

#[test]
fn the_most_that_passes_and_mutants_of_what_is_sound_cost_little() {
    let (mut stage, mut hostile) = Stage::set();
    let mut records = vec![stage.carried(&mut hostile, "HA-1")];
    let most = i64::try_from(limits::CHANGE_OPERATIONS_MAX).unwrap();
    let mut documents: BTreeSet<DocumentId> = BTreeSet::new();
    for at in 0..3 {
        let rest = tricks::Raw::puts(most).at(at).bytes();
        documents.extend(hostile.passing(&rest));
        hostile.say(&tricks::roots(&[rest]));
    }
    assert_eq!(documents.len(), 3);
    let sound = stage.honest.changes_in(&stage.honest.entries()[0]);
    let rest = ChangeParts::of(&sound[0].bytes).unwrap().after().to_vec();
    for seed in 1..=6 {
        let mutants = tricks::mutants(&rest, seed, 50);
        let passing = mutants.iter().filter_map(|rest| hostile.passing(rest));
        documents.extend(passing);
        hostile.say(&tricks::roots(&mutants));
        records.push(stage.carried(&mut hostile, &format!("HA-1{seed}")));
    }
    let reader = stage.centre.device("Reader", &[RIGHT]);

    assert!(hostile.sync().complete);
    stage.reads(&records);
    // And the one that came first.
    let readable = 1 + records.len() + documents.len();
    let status = stage.centre.ops(&["status"]).expect(0).json();
    assert_eq!(status["documents"], readable, "{status:#}");
    reader.sync();
    for id in &records {
        let reads = &reader.show(id)["fields"]["hazard_class"]["reads"];
        assert_eq!(reads, "confirmed");
    }
    stage.unharmed("the most operations and mutants");
}
