//! Batches: what goes in comes out, in few bytes, and damage stays where it is.

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ScalarValue};
use cairn_documents::batch::{SEALING_LEVEL, decode, pack};
use cairn_documents::{Authored, BatchError, ChangeParts, OpenedChange, Rule, author_root};
use cairn_wire::limits::{BATCH_RAW_BYTES_MAX, ENTRY_PAYLOAD_BYTES_MAX};
use proptest::prelude::*;
use world::{KIND, SCOPE, author, device, edit, small_root};

const PAYLOAD_BYTES_MAX: usize = ENTRY_PAYLOAD_BYTES_MAX - 40;

/// Numbers that look random and are the same every time.
fn scrambled(seed: u64) -> u64 {
    let mut number = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// An area with twelve vertices and a note, as `records` writes them in kind.
fn area(command: u64, seed: u64) -> Authored {
    let mut ring = vec![0xa2, 0x01, 0x58, 0x40];
    ring.extend((0..12).flat_map(|vertex| {
        let number = scrambled(seed * 100 + vertex);
        [
            number as u8,
            (number >> 8) as u8,
            (number >> 16) as u8,
            (number >> 24) as u8,
        ]
    }));
    author_root::<AutomergeError>(&author(1, command), KIND, 1_790_000_000, |tx| {
        tx.put(ROOT, "kind", KIND)?;
        tx.put(ROOT, "schema_version", 1)?;
        tx.put(ROOT, "local_id", format!("ORG-HA-{seed:06}"))?;
        tx.put(ROOT, "date_of_information", "2026-11-24")?;
        for (key, value) in [
            ("+perimeter", ring),
            ("+status", vec![0xa1, 1, 0]),
            ("+hazard_class", vec![0xa1, 1, (seed % 3) as u8]),
        ] {
            let map = tx.put_object(ROOT, key, ObjType::Map)?;
            tx.put(&map, "0", value)?;
        }
        let note = tx.put_object(ROOT, "description", ObjType::Text)?;
        tx.splice_text(&note, 0, 0, "dense scrub, old trench")
    })
    .unwrap()
}

/// Two roots, edits of one of them and of a document that is elsewhere.
fn mixed() -> Vec<Authored> {
    let elsewhere = small_root(&author(4, 1), 70);
    let root = small_root(&author(1, 1), 1);
    let first = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let second = edit(&author(1, 3), &[&root, &first], |tx| {
        tx.put(ROOT, "slope", "steep")
    });
    let other = small_root(&author(1, 3), 2);
    let late = edit(&author(1, 4), &[&elsewhere], |tx| {
        tx.put(ROOT, "slope", "flat")
    });
    vec![root, first, second, other, late]
}

fn opened(bytes: &[u8]) -> Vec<Authored> {
    decode(bytes, &SCOPE, &device(1))
        .unwrap()
        .into_iter()
        .map(|change| change.unwrap().into())
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    let changes = mixed();
    for level in [1, SEALING_LEVEL] {
        let batches = pack(&changes, PAYLOAD_BYTES_MAX, level).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(opened(&batches[0].bytes), changes);
        let hashes: Vec<_> = changes.iter().map(|change| change.hash).collect();
        assert_eq!(batches[0].hashes, hashes);
    }
}

#[test]
fn a_root_that_stands_twice_shifts_no_other() {
    let root = small_root(&author(1, 1), 1);
    let other = small_root(&author(1, 2), 2);
    let on_root = edit(&author(1, 3), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let on_other = edit(&author(1, 3), &[&other], |tx| tx.put(ROOT, "slope", "flat"));
    let changes = vec![
        root.clone(),
        root,
        other,
        on_root.clone(),
        on_root,
        on_other,
    ];
    let batch = pack(&changes, PAYLOAD_BYTES_MAX, 1).unwrap().remove(0);
    assert_eq!(opened(&batch.bytes), changes);
}

#[test]
fn another_author_or_scope_gives_other_documents_and_actors() {
    let changes = mixed();
    let batch = pack(&changes, PAYLOAD_BYTES_MAX, 1).unwrap().remove(0);
    for (scope, device) in [
        (SCOPE, device(2)),
        (cairn_wire::ScopeId([8; 16]), device(1)),
    ] {
        let claimed = decode(&batch.bytes, &scope, &device).unwrap();
        for (claimed, change) in claimed.into_iter().zip(&changes) {
            let claimed: OpenedChange = claimed.unwrap();
            assert_ne!(claimed.hash, change.hash);
            if change.kind.is_some() {
                assert_ne!(claimed.document, change.document);
            }
        }
    }
}

#[test]
fn many_changes_fill_entries_within_every_limit() {
    let changes: Vec<_> = (0..1500).map(|seed| area(1, seed)).collect();
    let batches = pack(&changes, PAYLOAD_BYTES_MAX, SEALING_LEVEL).unwrap();
    let payload: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    assert!(
        payload / changes.len() <= 100,
        "{} B an area",
        payload / changes.len()
    );
    assert!(
        batches
            .iter()
            .all(|batch| batch.bytes.len() <= PAYLOAD_BYTES_MAX)
    );
    let again: Vec<_> = batches
        .iter()
        .flat_map(|batch| opened(&batch.bytes))
        .collect();
    assert_eq!(again, changes);
}

#[test]
fn changes_that_do_not_compress_are_split_too() {
    let changes: Vec<_> = (0..9)
        .map(|seed| {
            let noise: Vec<u8> = (0..20_000)
                .map(|at| scrambled(seed << 32 | at) as u8)
                .collect();
            author_root::<AutomergeError>(&author(1, seed), KIND, 0, |tx| {
                tx.put(ROOT, "source_text", noise)
            })
            .unwrap()
        })
        .collect();
    let batches = pack(&changes, PAYLOAD_BYTES_MAX, 1).unwrap();
    assert_eq!(batches.len(), 3);
    let again: Vec<_> = batches
        .iter()
        .flat_map(|batch| opened(&batch.bytes))
        .collect();
    assert_eq!(again, changes);
}

#[test]
fn the_longest_change_fits_an_entry() {
    let noise: Vec<u8> = (0..48_900).map(|at| scrambled(at) as u8).collect();
    let change = author_root::<AutomergeError>(&author(1, 1), KIND, 0, |tx| {
        tx.put(ROOT, "source_text", noise)
    })
    .unwrap();
    let batches = pack(&[change], PAYLOAD_BYTES_MAX, SEALING_LEVEL).unwrap();
    assert!(batches[0].bytes.len() <= PAYLOAD_BYTES_MAX);
}

#[test]
fn a_batch_claims_only_so_many_operations() {
    // Each makes 30,000 operations in about a hundred bytes.
    let changes: Vec<_> = (0..10)
        .map(|seed| {
            author_root::<AutomergeError>(&author(1, seed), KIND, 0, |tx| {
                let list = tx.put_object(ROOT, "list", ObjType::List)?;
                tx.splice(&list, 0, 0, vec![ScalarValue::Null; 30_000])
            })
            .unwrap()
        })
        .collect();
    assert!(changes.iter().all(|change| change.bytes.len() < 150));
    let batches = pack(&changes, PAYLOAD_BYTES_MAX, 1).unwrap();
    assert_eq!(batches.len(), 3, "four in a batch");
    let again: Vec<_> = batches
        .iter()
        .flat_map(|batch| opened(&batch.bytes))
        .collect();
    assert_eq!(again, changes);

    // Written into one batch by somebody hostile, those beyond the limit are malformed.
    let forged = joined(&changes);
    let items = decode(&forged, &SCOPE, &device(1)).unwrap();
    assert_eq!(items.len(), 10);
    for (at, item) in items.iter().enumerate() {
        match item {
            Ok(change) => assert_eq!(change.hash, changes[at].hash),
            Err(malformed) => assert_eq!(malformed.rule, Rule::TooManyOperations),
        }
        assert_eq!(item.is_ok(), at < 4);
    }
}

/// A batch of roots without any regard to limits, by hand.
fn joined(changes: &[Authored]) -> Vec<u8> {
    let count = changes.len() as u8;
    let mut bytes = vec![1, 0, count];
    changes.iter().for_each(|change| bytes.extend(change.nonce));
    bytes.extend([1, KIND.len() as u8]);
    bytes.extend(KIND.as_bytes());
    bytes.extend([0, 0, count]);
    bytes.extend(vec![1; changes.len()]);
    bytes.extend(0..count);
    bytes.extend(vec![0; changes.len()]);
    let bodies: Vec<_> = changes
        .iter()
        .map(|change| ChangeParts::of(&change.bytes).unwrap().after())
        .collect();
    bytes.extend(bodies.iter().map(|body| body.len() as u8));
    bodies.iter().for_each(|body| bytes.extend(*body));
    bytes
}

/// An uncompressed batch of the mixed changes, and where its body begins.
fn plain() -> Vec<u8> {
    // At this level and size zstd wins; so the frame is taken apart here.
    let batch = pack(&mixed(), PAYLOAD_BYTES_MAX, 1)
        .unwrap()
        .remove(0)
        .bytes;
    assert_eq!(batch[1], 1, "compressed");
    let frame = frame_at(&batch);
    let body = zstd::bulk::decompress(&batch[frame..], BATCH_RAW_BYTES_MAX).unwrap();
    let mut plain = batch[..frame].to_vec();
    plain[1] = 0;
    plain.extend(body);
    plain
}

/// Where the zstd frame begins: at its magic number.
fn frame_at(batch: &[u8]) -> usize {
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    (0..batch.len())
        .find(|at| batch[*at..].starts_with(&magic))
        .unwrap()
}

#[test]
fn a_malformed_change_takes_no_other_with_it() {
    let bytes = plain();
    let changes = mixed();
    assert_eq!(opened(&bytes), changes);
    // The kinds table says "hazardous_area": an upper-case letter is no kind, so both roots and
    // the edits that refer to them are malformed, but not the edit of another document.
    let mut broken = bytes.clone();
    let kind = (0..bytes.len())
        .find(|at| bytes[*at..].starts_with(KIND.as_bytes()))
        .unwrap();
    broken[kind] = b'H';
    let items = decode(&broken, &SCOPE, &device(1)).unwrap();
    assert_eq!(items.len(), 5);
    assert_eq!(items[0].as_ref().unwrap_err().rule, Rule::Kind);
    assert_eq!(items[3].as_ref().unwrap_err().at, 3);
    let last: Authored = items[4].clone().unwrap().into();
    assert_eq!(last, changes[4]);
}

#[test]
fn versions_and_markers_that_are_unknown_say_so() {
    let mut bytes = plain();
    bytes[0] = 2;
    assert_eq!(
        decode(&bytes, &SCOPE, &device(1)),
        Err(BatchError::Version(2))
    );
    bytes[0] = 1;
    bytes[1] = 2;
    assert_eq!(
        decode(&bytes, &SCOPE, &device(1)),
        Err(BatchError::Marker(2))
    );
}

#[test]
fn compressed_bombs_are_refused_before_they_inflate() {
    let empty_tables = [1, 1, 0, 0, 0, 0];
    let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 19).unwrap();
    assert!(bomb.len() < 16 * 1024);
    let bytes = [&empty_tables[..], &bomb].concat();
    assert_eq!(
        decode(&bytes, &SCOPE, &device(1)),
        Err(BatchError::Compression)
    );

    // A frame without a declared size, a second frame, bytes behind.
    let mut encoder = zstd::bulk::Compressor::new(1).unwrap();
    encoder.include_contentsize(false).unwrap();
    let undeclared = encoder.compress(&[0; 100]).unwrap();
    let bytes = [&empty_tables[..], &undeclared].concat();
    assert_eq!(
        decode(&bytes, &SCOPE, &device(1)),
        Err(BatchError::Compression)
    );
    let frame = zstd::bulk::compress(&[0], 1).unwrap();
    assert_eq!(
        decode(&[&empty_tables[..], &frame].concat(), &SCOPE, &device(1))
            .unwrap()
            .len(),
        0
    );
    for behind in [&frame[..], &[0]] {
        let bytes = [&empty_tables[..], &frame, behind].concat();
        assert_eq!(
            decode(&bytes, &SCOPE, &device(1)),
            Err(BatchError::Trailing)
        );
    }
}

#[test]
fn every_truncation_is_refused_or_malformed() {
    for bytes in [
        plain(),
        pack(&mixed(), PAYLOAD_BYTES_MAX, 1)
            .unwrap()
            .remove(0)
            .bytes,
    ] {
        for len in 0..bytes.len() {
            assert!(
                decode(&bytes[..len], &SCOPE, &device(1)).is_err(),
                "length {len}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode(&longer, &SCOPE, &device(1)).is_err());
    }
}

proptest! {
    #[test]
    fn damaged_batches_never_panic(at in 0usize..2000, bit in 0u8..8, cut in 0usize..2000) {
        let mut bytes = plain();
        let len = bytes.len();
        bytes[at % len] ^= 1 << bit;
        let _ = decode(&bytes, &SCOPE, &device(1));
        bytes.remove(cut % len);
        let _ = decode(&bytes, &SCOPE, &device(1));
    }
}
