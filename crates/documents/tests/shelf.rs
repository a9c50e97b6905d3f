//! The shelf: in whatever order changes come, the same documents; nothing that is wrong stands in
//! the way of what is right.

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ReadDoc};
use cairn_documents::{
    Author, Authored, ChangeParts, Documents, HeldState, LoadedDocument, MemoryStorage,
    OpenedChange, Provenance, Rule, ShelfError, Storage, Table, Verdict, WriteSet, author_edit,
    author_root,
};
use cairn_wire::{ChangeHash, limits};
use proptest::prelude::*;
use std::convert::Infallible;
use world::{KIND, SCOPE, Shelf, author, automerge_of, device, edit, entry, reading, small_root};

/// What stands behind the actor of a change that puts a null under "a" at operation 2.
const PUT: [u8; 26] = [
    1, 2, 0, 0, 0, 5, 0x15, 3, 0x34, 1, 0x42, 2, 0x56, 2, 0x70, 2, 0x7f, 1, b'a', 1, 0x7f, 1, 0x7f,
    0, 0x7f, 0,
];

/// A change of that document that rests on what nobody has.
fn orphan(by: &Author, root: &Authored, dependency: ChangeHash) -> OpenedChange {
    let dependencies = [dependency];
    let parts = ChangeParts::new(&dependencies, &PUT);
    let actor = parts.actor(&by.scope, &root.document, &by.device, &by.nonce);
    let (bytes, hash) = parts.assemble(&actor);
    OpenedChange {
        document: root.document,
        root: None,
        nonce: by.nonce,
        bytes,
        hash,
    }
}

fn unknown(number: u64) -> ChangeHash {
    let mut hash = [0xcc; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    ChangeHash(hash)
}

#[test]
fn a_root_is_applied_kept_and_read_again() {
    let root = small_root(&author(1, 1), 1);
    let mut shelf = Shelf::default();
    assert_eq!(shelf.take_one(1, &root), Verdict::Applied);
    assert_eq!(shelf.take_one(1, &root), Verdict::AlreadyThere);
    let loaded = shelf
        .documents()
        .load(&SCOPE, &root.document)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.kind, KIND);
    assert_eq!((loaded.creator, loaded.root), (device(1), root.hash));
    assert_eq!(loaded.heads, vec![root.hash]);
    assert_eq!(reading(&loaded.automerge), reading(&automerge_of([&root])));
    assert_eq!(loaded.changes.len(), 1);
    assert_eq!(loaded.changes[0].recorded_at_s, 1_790_000_001);
    let listed = shelf.documents().list(&SCOPE).unwrap();
    assert_eq!(listed, vec![(root.document, KIND.to_owned())]);
    let elsewhere = cairn_wire::ScopeId([8; 16]);
    assert!(shelf.documents().list(&elsewhere).unwrap().is_empty());
    assert!(
        shelf
            .documents()
            .load(&elsewhere, &root.document)
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_comes_before_its_root_waits_for_it() {
    let root = small_root(&author(1, 1), 1);
    let one = edit(&author(2, 1), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let two = edit(&author(3, 1), &[&root, &one], |tx| {
        tx.put(ROOT, "slope", "steep")
    });
    let mut shelf = Shelf::default();
    assert_eq!(shelf.take_one(3, &two), Verdict::Waiting(one.hash));
    assert_eq!(shelf.take_one(2, &one), Verdict::Waiting(root.hash));
    assert_eq!(
        shelf.take_one(2, &one),
        Verdict::Waiting(root.hash),
        "offered twice"
    );
    assert!(
        shelf
            .documents()
            .load(&SCOPE, &root.document)
            .unwrap()
            .is_none()
    );
    let held = shelf.documents().held(&SCOPE).unwrap();
    assert_eq!(held.len(), 2);
    assert!(held.iter().any(|change| change.hash == two.hash
        && change.device == device(3)
        && change.state == HeldState::Waiting(one.hash)));

    let ingested = shelf.take(&entry(1, 1), &[(&root).into()]);
    let verdicts: Vec<_> = ingested
        .outcomes
        .iter()
        .map(|outcome| (outcome.hash, outcome.verdict, outcome.earlier))
        .collect();
    assert_eq!(
        verdicts,
        vec![
            (root.hash, Verdict::Applied, false),
            (one.hash, Verdict::Applied, true),
            (two.hash, Verdict::Applied, true),
        ]
    );
    assert_eq!(ingested.changed, vec![root.document]);
    for table in [Table::Held, Table::Awaited, Table::Waiting] {
        assert_eq!(shelf.storage.count(table), 0, "{table:?}");
    }
}

#[test]
fn provenance_grows_from_the_outbox_to_entries() {
    let root = small_root(&author(1, 1), 1);
    let one = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let outbox = Provenance::Outbox { device: device(1) };
    let mut shelf = Shelf::default();
    let changes: Vec<OpenedChange> = vec![(&root).into(), (&one).into()];
    shelf.take(&outbox, &changes);
    for number in [7, 3, 7] {
        let again = shelf.take(&entry(1, number), &changes);
        assert!(again.changed.is_empty());
        assert!(
            again
                .outcomes
                .iter()
                .all(|outcome| outcome.verdict == Verdict::AlreadyThere)
        );
    }
    let expected = vec![outbox, entry(1, 3), entry(1, 7)];
    for change in [&root, &one] {
        let stands = shelf
            .documents()
            .provenances(&SCOPE, &root.document, &change.hash);
        assert_eq!(stands.unwrap().unwrap(), expected);
    }
    let loaded = shelf
        .documents()
        .load(&SCOPE, &root.document)
        .unwrap()
        .unwrap();
    assert!(
        loaded
            .changes
            .iter()
            .all(|change| change.provenances == expected)
    );
}

#[test]
fn a_change_that_waits_remembers_where_it_stands() {
    let root = small_root(&author(1, 1), 1);
    let one = edit(&author(2, 1), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let mut shelf = Shelf::default();
    for number in [5, 2] {
        shelf.take(&entry(2, number), &[(&one).into()]);
    }
    shelf.take(&entry(1, 1), &[(&root).into()]);
    let stands = shelf
        .documents()
        .provenances(&SCOPE, &root.document, &one.hash);
    assert_eq!(stands.unwrap().unwrap(), vec![entry(2, 2), entry(2, 5)]);
}

#[test]
fn poison_stays_alone() {
    let good = small_root(&author(1, 1), 1);
    let other = small_root(&author(1, 2), 2);
    let mut poison: OpenedChange = (&small_root(&author(1, 3), 3)).into();
    poison.bytes.push(0);
    let mut shelf = Shelf::default();
    let batch: Vec<OpenedChange> = vec![(&good).into(), poison.clone(), (&other).into()];
    let ingested = shelf.take(&entry(1, 1), &batch);
    let verdicts: Vec<_> = ingested
        .outcomes
        .iter()
        .map(|outcome| outcome.verdict)
        .collect();
    let refused = Verdict::Quarantined(Rule::TrailingBytes);
    assert_eq!(verdicts, vec![Verdict::Applied, refused, Verdict::Applied]);
    assert_eq!(ingested.changed, vec![good.document, other.document]);
    let held = shelf.documents().held(&SCOPE).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].state, HeldState::Quarantined(Rule::TrailingBytes));
    assert_eq!(held[0].provenances, vec![entry(1, 1)]);
    // Offered again it is known.
    let again = shelf.take(&entry(1, 2), &[poison]);
    assert_eq!(again.outcomes[0].verdict, refused);
}

#[test]
fn a_change_is_judged_by_what_it_waited_for() {
    let root = small_root(&author(1, 1), 1);
    let by = author(2, 1);
    // Operation 2 is too low a number for a change that rests on this root.
    let wrong = orphan(&by, &root, root.hash);
    let mut shelf = Shelf::default();
    let waiting = shelf.take(&entry(2, 1), std::slice::from_ref(&wrong));
    assert_eq!(waiting.outcomes[0].verdict, Verdict::Waiting(root.hash));
    let ingested = shelf.take(&entry(1, 1), &[(&root).into()]);
    let judged = ingested
        .outcomes
        .iter()
        .find(|outcome| outcome.hash == wrong.hash)
        .unwrap();
    assert_eq!(judged.verdict, Verdict::Quarantined(Rule::FirstOperation));
    assert!(judged.earlier);
    // What rests on it waits, and says for what.
    let after = orphan(&author(2, 2), &root, wrong.hash);
    let waiting = shelf.take(&entry(2, 2), std::slice::from_ref(&after));
    assert_eq!(waiting.outcomes[0].verdict, Verdict::Waiting(wrong.hash));
}

#[test]
fn thousands_that_wait_cost_one_row_each() {
    let root = small_root(&author(1, 1), 1);
    let mut shelf = Shelf::default();
    shelf.take_one(1, &root);
    let before = shelf.storage.count(Table::Documents);
    let by = author(2, 1);
    let orphans: Vec<_> = (0..10_000)
        .map(|number| orphan(&by, &root, unknown(number)))
        .collect();
    for part in orphans.chunks(1000) {
        let mut writes = WriteSet::new();
        let ingested = Documents::new(&shelf.storage)
            .ingest(&SCOPE, &entry(2, 1), part, &mut writes)
            .unwrap();
        assert!(ingested.changed.is_empty());
        assert!(
            ingested
                .outcomes
                .iter()
                .all(|one| matches!(one.verdict, Verdict::Waiting(_)))
        );
        // A row and an index row each, and one count for the author: no document is touched.
        assert_eq!(writes.len(), 2 * part.len() + 1);
        assert!(writes.rows().all(|(table, _, _)| table != Table::Documents));
        shelf.storage.commit(writes);
    }
    assert_eq!(shelf.storage.count(Table::Held), 10_000);
    assert_eq!(shelf.storage.count(Table::Documents), before);
    // The document goes on as if nothing had been.
    let next = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    assert_eq!(shelf.take_one(1, &next), Verdict::Applied);
}

#[test]
fn one_authors_crowd_leaves_room_for_others() {
    let root = small_root(&author(1, 1), 1);
    let mut shelf = Shelf::default();
    let by = author(2, 1);
    let max = limits::WAITING_CHANGES_MAX;
    let orphans: Vec<_> = (0..=max)
        .map(|number| orphan(&by, &root, unknown(number)))
        .collect();
    let ingested = shelf.take(&entry(2, 1), &orphans);
    let crowded: Vec<_> = ingested
        .outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Crowded)
        .map(|outcome| outcome.hash)
        .collect();
    assert_eq!(crowded, vec![orphans[max as usize].hash]);
    assert_eq!(shelf.storage.count(Table::Held), max as usize);
    let honest = edit(&author(3, 1), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    assert_eq!(shelf.take_one(3, &honest), Verdict::Waiting(root.hash));
    assert_eq!(shelf.take_one(1, &root), Verdict::Applied);
    let stands = shelf
        .documents()
        .provenances(&SCOPE, &root.document, &honest.hash);
    assert!(stands.unwrap().is_some());
}

#[test]
fn several_entries_before_one_commit() {
    let root = small_root(&author(1, 1), 1);
    let one = edit(&author(2, 1), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let two = edit(&author(3, 1), &[&root, &one], |tx| {
        tx.put(ROOT, "slope", "steep")
    });
    let mut storage = MemoryStorage::new();
    let mut writes = WriteSet::new();
    for (number, change) in [(2, &one), (1, &root), (3, &two)] {
        Documents::new(&storage)
            .ingest(&SCOPE, &entry(number, 1), &[change.into()], &mut writes)
            .unwrap();
    }
    assert!(
        Documents::new(&storage)
            .load(&SCOPE, &root.document)
            .unwrap()
            .is_none()
    );
    storage.commit(writes);
    let loaded = Documents::new(&storage)
        .load(&SCOPE, &root.document)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.heads, vec![two.hash]);
    assert!(loaded.held.is_empty());
}

#[test]
fn several_threads_write_what_one_does() {
    const DOCUMENTS: u64 = 150;
    let roots: Vec<_> = (0..DOCUMENTS)
        .map(|seed| small_root(&author(1, seed), seed))
        .collect();
    // Some edits come before what they rest on, some rest on what never comes.
    let early = roots.iter().step_by(3).enumerate().map(|(number, root)| {
        let edit = edit(&author(2, number as u64), &[root], |tx| {
            tx.put(ROOT, "slope", "flat")
        });
        OpenedChange::from(&edit)
    });
    let orphans = roots.iter().step_by(7).enumerate().map(|(number, root)| {
        let number = number as u64;
        orphan(&author(2, 1_000 + number), root, unknown(number))
    });
    let first: Vec<_> = early.chain(orphans).collect();
    let second: Vec<_> = roots.iter().map(OpenedChange::from).collect();

    let mut one_by_one = MemoryStorage::new();
    let mut by_threads = MemoryStorage::new();
    for (device_number, changes) in [(2, first), (1, second.clone()), (1, second)] {
        let provenance = entry(device_number, 1);
        let mut writes = WriteSet::new();
        let expected = Documents::new(&one_by_one)
            .ingest(&SCOPE, &provenance, &changes, &mut writes)
            .unwrap();
        let mut same = WriteSet::new();
        let heads = |_: &_, loaded: LoadedDocument| (loaded.heads, loaded.changes, loaded.held);
        let (ingested, read) = Documents::new(&by_threads)
            .ingest_and_read(&SCOPE, &provenance, &changes, 4, &mut same, &heads)
            .unwrap();
        assert_eq!(ingested, expected);
        assert_eq!(same, writes);
        one_by_one.commit(writes);
        by_threads.commit(same);
        let changed: Vec<_> = read.iter().map(|(document, _)| *document).collect();
        assert_eq!(changed, expected.changed);
        for (document, read) in read {
            let loaded = Documents::new(&one_by_one).load(&SCOPE, &document).unwrap();
            assert_eq!(loaded.map(|it| (it.heads, it.changes, it.held)), Some(read));
        }
    }
    assert_eq!(one_by_one.count(Table::Documents), DOCUMENTS as usize);
    assert_eq!(one_by_one.count(Table::Held), roots.len().div_ceil(7));
}

/// A storage whose rows in one table come back cut off, or not at all.
struct Damaged<'a> {
    storage: &'a MemoryStorage,
    table: Table,
    keep: usize,
}

impl Storage for Damaged<'_> {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        let mut value = self.storage.get(table, key)?;
        if let (true, Some(value)) = (table == self.table, &mut value) {
            value.truncate(self.keep);
        }
        Ok(value)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut cairn_documents::storage::Visit<'_>,
    ) -> Result<(), Infallible> {
        self.storage.scan(table, prefix, &mut |key, value| {
            let keep = if table == self.table {
                self.keep
            } else {
                value.len()
            };
            visit(key, &value[..keep.min(value.len())])
        })
    }
}

#[test]
fn damaged_rows_are_named() {
    let root = small_root(&author(1, 1), 1);
    let one = edit(&author(2, 1), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let two = edit(&author(2, 2), &[&root, &one], |tx| {
        tx.put(ROOT, "slope", "steep")
    });
    let mut shelf = Shelf::default();
    shelf.take_one(1, &root);
    shelf.take_one(2, &two);
    for table in [Table::Documents, Table::Changes, Table::Held] {
        for keep in [0, 1, 20, 60, 100] {
            let damaged = Damaged {
                storage: &shelf.storage,
                table,
                keep,
            };
            let documents = Documents::new(&damaged);
            let loaded = documents.load(&SCOPE, &root.document).map(|_| ());
            let mut writes = WriteSet::new();
            let taken = documents
                .ingest(&SCOPE, &entry(2, 1), &[(&one).into()], &mut writes)
                .map(|_| ());
            // A waiting row that lost bytes of its change is noticed by the pre-flight instead.
            if table != Table::Held {
                assert!(matches!(loaded, Err(ShelfError::Damaged(named)) if named == table));
            }
            if table == Table::Documents {
                assert!(matches!(taken, Err(ShelfError::Damaged(Table::Documents))));
            }
        }
    }
}

/// A scripted story: who edits what on how much of what has been made so far.
fn story() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    prop::collection::vec((0u8..4, 0u8..6, any::<u64>()), 1..14)
}

/// Makes the changes of a story, each with its device.
fn tell(story: &[(u8, u8, u64)]) -> Vec<(u8, Authored)> {
    let root = author_root::<AutomergeError>(&author(0, 1000), KIND, 5, |tx| {
        tx.put(ROOT, "slope", "flat")?;
        tx.put_object(ROOT, "+status", ObjType::Map)?;
        let note = tx.put_object(ROOT, "description", ObjType::Text)?;
        tx.splice_text(&note, 0, 0, "the path")
    })
    .unwrap();
    let mut made = vec![(0, root)];
    for (command, (device, what, seen)) in story.iter().enumerate() {
        // A random set of heads, closed over what it rests on.
        let mut document = automerge_of(made.iter().map(|(_, change)| change));
        let heads: Vec<_> = made
            .iter()
            .enumerate()
            .filter(|(at, _)| *at == 0 || seen >> (at % 64) & 1 == 1)
            .map(|(_, (_, change))| cairn_documents::to_automerge(&change.hash))
            .collect();
        let part = document.fork_at(&heads).unwrap();
        let heads: Vec<_> = part
            .get_heads()
            .iter()
            .map(cairn_documents::from_automerge)
            .collect();
        let by = author(*device, command as u64);
        let document_id = made[0].1.document;
        let change = author_edit::<AutomergeError>(&by, document_id, &document, &heads, 6, |tx| {
            let number = (*seen % 7) as i64;
            match what {
                0 => tx.put(ROOT, "slope", number),
                1 => {
                    let (_, status) = tx.get(ROOT, "+status")?.unwrap();
                    let key = tx.length(&status).to_string();
                    tx.put(&status, key, vec![number as u8])
                }
                2 => {
                    let (_, note) = tx.get(ROOT, "description")?.unwrap();
                    let length = tx.length(&note);
                    tx.splice_text(&note, length.min(3), (length > 5).into(), "mined ")
                }
                3 => {
                    let list = tx.put_object(ROOT, "log", ObjType::List)?;
                    tx.insert(&list, 0, number)?;
                    tx.insert(&list, 1, "x")?;
                    tx.put(&list, 0, number + 1)
                }
                4 if tx.get(ROOT, "slope")?.is_some() => tx.delete(ROOT, "slope"),
                _ => tx.put(ROOT, format!("extra/{number}"), ()),
            }
        });
        if let Ok(change) = change {
            let again = automerge::Change::from_bytes(change.bytes.clone()).unwrap();
            document.apply_changes([again]).unwrap();
            made.push((*device, change));
        }
    }
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_order_and_any_duplicates_converge(
        story in story(),
        order in any::<u64>(),
        twice in any::<u64>(),
    ) {
        let made = tell(&story);
        let expected = automerge_of(made.iter().map(|(_, change)| change));
        let mut deliveries: Vec<_> = made.iter().enumerate().collect();
        deliveries.extend(made.iter().enumerate().filter(|(at, _)| twice >> (at % 64) & 1 == 1));
        deliveries.sort_by_key(|(at, (_, change))| {
            u64::from_be_bytes(change.hash.0[..8].try_into().unwrap()).rotate_left(*at as u32)
                ^ order.wrapping_mul(*at as u64 + 1)
        });
        let mut shelf = Shelf::default();
        for (at, (device, change)) in &deliveries {
            shelf.take(&entry(*device, *at as u64), &[change.into()]);
        }
        let document = made[0].1.document;
        let loaded = shelf.documents().load(&SCOPE, &document).unwrap().unwrap();
        let mut heads: Vec<_> =
            expected.get_heads().iter().map(cairn_documents::from_automerge).collect();
        heads.sort_unstable();
        prop_assert_eq!(&loaded.heads, &heads);
        prop_assert_eq!(reading(&loaded.automerge), reading(&expected));
        prop_assert!(loaded.held.is_empty());
        prop_assert_eq!(loaded.changes.len(), made.len());
        prop_assert_eq!(shelf.storage.count(Table::Awaited), 0);
        prop_assert_eq!(shelf.storage.count(Table::Waiting), 0);
    }
}
