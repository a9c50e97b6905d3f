//! The batch: what an entry's payload holds once it is opened.
//!
//! Promises: nothing panics; no more changes, bytes or operations come out than the limits allow;
//! what comes out can be packed again and comes out the same; the shelf takes all of it in.

use crate::{Random, Target, mutate_bytes};
use automerge::transaction::Transactable;
use automerge::{AutomergeError, ROOT};
use cairn_documents::batch::{decode, pack};
use cairn_documents::{
    Author, Authored, Documents, MemoryStorage, Provenance, WriteSet, author_edit, author_root,
};
use cairn_wire::{DeviceKey, ScopeId, limits};

const SCOPE: ScopeId = ScopeId([7; 16]);
const DEVICE: DeviceKey = DeviceKey([1; 32]);

/// The target.
#[derive(Default)]
pub struct BatchTarget;

fn author(command: u64) -> Author {
    Author {
        scope: SCOPE,
        device: DEVICE,
        nonce: command.to_be_bytes(),
    }
}

/// A root and a chain of edits of it, some by the same command.
fn changes(edits: u64) -> Vec<Authored> {
    let root = author_root::<AutomergeError>(&author(0), "hazardous_area", 5, |tx| {
        tx.put(ROOT, "slope", 0)
    })
    .expect("an honest change");
    let mut document = automerge::Automerge::new();
    let mut made = vec![root];
    for number in 0..=edits {
        let last = made.last().expect("the root at least");
        let change = automerge::Change::from_bytes(last.bytes.clone()).expect("an honest change");
        document.apply_changes([change]).expect("an honest change");
        if number < edits {
            let seen = [last.hash];
            let by = author(number / 2);
            let next =
                author_edit::<AutomergeError>(&by, last.document, &document, &seen, 6, |tx| {
                    tx.put(ROOT, "slope", number + 1)
                });
            made.push(next.expect("an honest change"));
        }
    }
    made
}

/// A root of another document.
fn other_root() -> Vec<Authored> {
    let root = author_root::<AutomergeError>(&author(9), "hazardous_area", 5, |tx| {
        tx.put(ROOT, "slope", 9)
    });
    vec![root.expect("an honest change")]
}

impl Target for BatchTarget {
    fn name(&self) -> &'static str {
        "batch"
    }

    fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let all = changes(6);
        let packed = |changes: &[Authored]| {
            pack(changes, limits::ENTRY_PAYLOAD_BYTES_MAX, 3)
                .expect("honest changes")
                .remove(0)
                .bytes
        };
        let mut compressed = packed(&all);
        let frame = (0..compressed.len())
            .find(|at| compressed[*at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
            .expect("a frame");
        let body = zstd::bulk::decompress(&compressed[frame..], limits::BATCH_RAW_BYTES_MAX)
            .expect("our own frame");
        let whole = compressed.clone();
        compressed.truncate(frame);
        compressed[1] = 0;
        compressed.extend(body);
        let twice = [&all[..2], &other_root(), &all[..3]].concat();
        vec![
            ("one".to_owned(), packed(&all[..1])),
            ("twice".to_owned(), packed(&twice)),
            ("edits-only".to_owned(), packed(&all[3..])),
            ("compressed".to_owned(), whole),
            ("plain".to_owned(), compressed),
        ]
    }

    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        mutate_bytes(input, other, random)
    }

    fn run(&self, input: &[u8]) -> bool {
        let Ok(items) = decode(input, &SCOPE, &DEVICE) else {
            return false;
        };
        assert!(items.len() <= limits::BATCH_CHANGES_MAX);
        let opened: Vec<_> = items.into_iter().flatten().collect();

        let changes: Vec<Authored> = opened.iter().cloned().map(Into::into).collect();
        if let Ok(batches) = pack(&changes, limits::ENTRY_PAYLOAD_BYTES_MAX, 1) {
            let again: Vec<_> = batches
                .iter()
                .flat_map(|batch| decode(&batch.bytes, &SCOPE, &DEVICE).expect("our own batch"))
                .map(|item| item.expect("our own change"))
                .collect();
            assert_eq!(again, opened, "packed again it comes out otherwise");
        }

        let storage = MemoryStorage::new();
        let outbox = Provenance::Outbox { device: DEVICE };
        let ingested = Documents::new(&storage)
            .ingest(&SCOPE, &outbox, &opened, &mut WriteSet::new())
            .expect("memory does not fail");
        let offered = ingested.outcomes.iter().filter(|outcome| !outcome.earlier);
        assert_eq!(offered.count(), opened.len(), "each gets a verdict");
        !opened.is_empty()
    }
}
