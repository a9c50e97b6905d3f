//! What happens when Automerge fails on changes that passed: shown by planted failures.

use super::{Documents, Provenance, Verdict};
use crate::engine::faults;
use crate::storage::{MemoryStorage, WriteSet};
use crate::{Author, Authored, HeldState, Rule, author_edit, author_root};
use automerge::transaction::Transactable;
use automerge::{Automerge, AutomergeError, ROOT};
use cairn_wire::{ChangeHash, DeviceKey, ScopeId};

const SCOPE: ScopeId = ScopeId([7; 16]);
const DEVICE: DeviceKey = DeviceKey([1; 32]);

fn author(command: u64) -> Author {
    Author {
        scope: SCOPE,
        device: DEVICE,
        nonce: command.to_be_bytes(),
    }
}

fn root() -> Authored {
    author_root::<AutomergeError>(&author(0), "hazardous_area", 0, |tx| tx.put(ROOT, "a", 0))
        .unwrap()
}

fn edit(command: u64, seen: &[&Authored]) -> Authored {
    let mut document = Automerge::new();
    for change in seen {
        let change = automerge::Change::from_bytes(change.bytes.clone()).unwrap();
        document.apply_changes([change]).unwrap();
    }
    let heads: Vec<_> = document
        .get_heads()
        .iter()
        .map(crate::from_automerge)
        .collect();
    let key = format!("key{command}");
    author_edit::<AutomergeError>(
        &author(command),
        seen[0].document,
        &document,
        &heads,
        0,
        |tx| tx.put(ROOT, key, 1),
    )
    .unwrap()
}

#[derive(Default)]
struct Shelf(MemoryStorage);

impl Shelf {
    fn take(&mut self, changes: &[&Authored]) -> Vec<(ChangeHash, Verdict)> {
        let mut writes = WriteSet::new();
        let changes: Vec<_> = changes.iter().map(|change| (*change).into()).collect();
        let outbox = Provenance::Outbox { device: DEVICE };
        let ingested = Documents::new(&self.0)
            .ingest(&SCOPE, &outbox, &changes, &mut writes)
            .unwrap();
        self.0.commit(writes);
        ingested
            .outcomes
            .iter()
            .map(|outcome| (outcome.hash, outcome.verdict))
            .collect()
    }

    /// Applied changes, and held ones with why.
    fn state(&self, root: &Authored) -> (Vec<ChangeHash>, Vec<(ChangeHash, HeldState)>) {
        let documents = Documents::new(&self.0);
        let held = documents.held(&SCOPE).unwrap();
        let held = held.iter().map(|change| (change.hash, change.state));
        let mut applied = Vec::new();
        if let Some(loaded) = documents.load(&SCOPE, &root.document).unwrap() {
            applied.extend(loaded.changes.iter().map(|change| change.hash));
        }
        applied.sort_unstable();
        (applied, held.collect())
    }
}

/// Two edits that fail together, and an edit on each of them.
struct Story {
    root: Authored,
    /// The one with the smaller hash, which therefore stays.
    stays: Authored,
    fails: Authored,
    on_stays: Authored,
    on_fails: Authored,
}

fn story() -> Story {
    let root = root();
    let mut pair = [edit(1, &[&root]), edit(2, &[&root])];
    pair.sort_by_key(|change| change.hash);
    let [stays, fails] = pair;
    let on_stays = edit(3, &[&root, &stays]);
    let on_fails = edit(4, &[&root, &fails]);
    faults::plant(vec![stays.hash, fails.hash]);
    Story {
        root,
        stays,
        fails,
        on_stays,
        on_fails,
    }
}

#[test]
fn what_fails_in_company_is_stuck_in_the_same_way_in_every_order() {
    let Story {
        root,
        stays,
        fails,
        on_stays,
        on_fails,
    } = story();
    let mut applied = vec![root.hash, stays.hash, on_stays.hash];
    applied.sort_unstable();
    let mut held = vec![
        (fails.hash, HeldState::Stuck),
        (on_fails.hash, HeldState::Waiting(fails.hash)),
    ];
    held.sort_by_key(|(hash, _)| *hash);
    let all = [&root, &stays, &fails, &on_stays, &on_fails];
    for first in 0..5 {
        for step in 1..5 {
            let mut shelf = Shelf::default();
            for at in 0..5 {
                shelf.take(&[all[(first + at * step) % 5]]);
            }
            assert_eq!(
                shelf.state(&root),
                (applied.clone(), held.clone()),
                "{first} {step}"
            );
        }
    }
    let mut together = Shelf::default();
    together.take(&[&on_fails, &fails, &on_stays, &stays, &root]);
    assert_eq!(together.state(&root), (applied, held));
}

#[test]
fn a_document_with_a_stuck_change_goes_on() {
    let Story {
        root, stays, fails, ..
    } = story();
    let mut shelf = Shelf::default();
    shelf.take(&[&root]);
    assert_eq!(shelf.take(&[&fails]), vec![(fails.hash, Verdict::Applied)]);
    let verdicts = shelf.take(&[&stays]);
    assert!(verdicts.contains(&(fails.hash, Verdict::Stuck)));
    assert!(verdicts.contains(&(stays.hash, Verdict::Applied)));
    assert_eq!(shelf.take(&[&fails]), vec![(fails.hash, Verdict::Stuck)]);
    let next = edit(9, &[&root, &stays]);
    let verdicts = shelf.take(&[&next]);
    assert!(verdicts.contains(&(next.hash, Verdict::Applied)));
    let (applied, held) = shelf.state(&root);
    assert_eq!(applied.len(), 3);
    assert_eq!(held, vec![(fails.hash, HeldState::Stuck)]);
}

#[test]
fn what_fails_alone_is_quarantined_and_takes_only_what_rests_on_it() {
    let root = root();
    let fails = edit(1, &[&root]);
    let on_fails = edit(2, &[&root, &fails]);
    let beside = edit(3, &[&root]);
    faults::plant(vec![fails.hash]);
    for order in [
        [&root, &fails, &on_fails, &beside],
        [&beside, &on_fails, &fails, &root],
        [&on_fails, &root, &beside, &fails],
    ] {
        let mut shelf = Shelf::default();
        for change in order {
            shelf.take(&[change]);
        }
        let (applied, held) = shelf.state(&root);
        let mut expected = vec![root.hash, beside.hash];
        expected.sort_unstable();
        assert_eq!(applied, expected);
        let mut expected = vec![
            (fails.hash, HeldState::Quarantined(Rule::Engine)),
            (on_fails.hash, HeldState::Waiting(fails.hash)),
        ];
        expected.sort_by_key(|(hash, _)| *hash);
        assert_eq!(held, expected);
    }
}

#[test]
fn a_root_that_fails_makes_no_document() {
    let root = root();
    let one = edit(1, &[&root]);
    faults::plant(vec![root.hash]);
    let mut shelf = Shelf::default();
    shelf.take(&[&root, &one]);
    let (applied, held) = shelf.state(&root);
    assert!(applied.is_empty());
    assert!(held.contains(&(root.hash, HeldState::Quarantined(Rule::Engine))));
    assert!(held.contains(&(one.hash, HeldState::Waiting(root.hash))));
}

#[test]
fn what_is_skipped_can_still_be_read() {
    let Story {
        root,
        stays,
        fails,
        on_stays,
        on_fails,
    } = story();
    let further = edit(7, &[&root, &fails, &on_fails]);
    let mut shelf = Shelf::default();
    for change in [&further, &root, &on_stays, &on_fails, &stays, &fails] {
        shelf.take(&[change]);
    }
    let load = |shelf: &Shelf| {
        let documents = Documents::new(&shelf.0);
        documents.load(&SCOPE, &root.document).unwrap().unwrap()
    };
    let skipped: Vec<_> = load(&shelf)
        .skipped
        .iter()
        .map(|skipped| (skipped.known.hash, skipped.known.dependencies.clone()))
        .collect();
    let expected = vec![
        (fails.hash, vec![root.hash]),
        (on_fails.hash, vec![fails.hash]),
        (further.hash, vec![on_fails.hash]),
    ];
    assert_eq!(skipped, expected);

    let mut sound = Shelf::default();
    sound.take(&[&root, &stays, &on_stays, &on_fails]);
    assert!(
        load(&sound).skipped.is_empty(),
        "what only waits is not skipped"
    );
}
