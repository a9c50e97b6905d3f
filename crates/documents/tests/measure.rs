//! Figures, printed, never asserted: `cargo test --release -p cairn-documents --test measure --
//! --ignored --nocapture`.

#![allow(clippy::print_stdout)]

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ScalarValue};
use cairn_documents::batch::{SEALING_LEVEL, decode, pack};
use cairn_documents::{AuthorError, Authored, Documents, OpenedChange, WriteSet, author_root};
use std::time::Instant;
use world::{KIND, SCOPE, Shelf, author, device, edit, entry};

const PAYLOAD_BYTES_MAX: usize = 64 * 1024 - 40;

/// Differences of coordinates in 1e-7 degree, zigzag, LEB128.
fn ring_bytes(ring: &[(f64, f64)]) -> Vec<u8> {
    let mut bytes = vec![0xa1, 0x01];
    let mut before = (0, 0);
    for (x, y) in ring {
        let point = ((x * 1e7).round() as i64, (y * 1e7).round() as i64);
        for difference in [point.0 - before.0, point.1 - before.1] {
            let mut number = (difference << 1 ^ difference >> 63) as u64;
            while number > 0x7f {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
        }
        before = point;
    }
    bytes
}

fn area(seed: u64, ring: &[(f64, f64)]) -> Authored {
    author_root::<AutomergeError>(&author(1, 1), KIND, 1_790_000_000, |tx| {
        tx.put(ROOT, "kind", KIND)?;
        tx.put(ROOT, "schema_version", 1)?;
        tx.put(ROOT, "local_id", format!("ORG-HA-{seed:06}"))?;
        tx.put(ROOT, "date_of_information", "2026-11-24")?;
        let perimeter = tx.put_object(ROOT, "+perimeter", ObjType::Map)?;
        tx.put(&perimeter, "0", ring_bytes(ring))?;
        let class = tx.put_object(ROOT, "+hazard_class", ObjType::Map)?;
        tx.put(&class, "0", vec![0xa1, 1, (seed % 3) as u8])?;
        let note = tx.put_object(ROOT, "description", ObjType::Text)?;
        tx.splice_text(&note, 0, 0, "dense scrub, old trench")
    })
    .unwrap()
}

fn generated(seed: u64) -> Vec<(f64, f64)> {
    (0..12)
        .map(|vertex| {
            let angle = f64::from(vertex) * std::f64::consts::FRAC_PI_6;
            let radius = 0.002 + ((seed * 31 + vertex as u64 * 17) % 97) as f64 * 1.37e-5;
            let (x, y) = (
                17.0 + (seed % 71) as f64 * 0.013,
                44.0 + (seed % 67) as f64 * 0.011,
            );
            (x + radius * angle.cos(), y + radius * angle.sin())
        })
        .collect()
}

fn real() -> Option<Vec<Vec<(f64, f64)>>> {
    let folder = std::env::var("CAIRN_SHARED_DATA").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned()
    });
    let text = std::fs::read_to_string(format!("{folder}/bih_suspect_areas_simplyfied.geojson"));
    let file: serde_json::Value = serde_json::from_str(&text.ok()?).unwrap();
    let rings = file["features"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|feature| {
            let coordinates = &feature["geometry"]["coordinates"];
            let ring = match feature["geometry"]["type"].as_str()? {
                "Polygon" => &coordinates[0],
                _ => &coordinates[0][0],
            };
            let ring = ring.as_array()?.iter();
            let ring: Vec<_> = ring
                .filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)))
                .collect();
            (!ring.is_empty()).then_some(ring)
        });
    Some(rings.collect())
}

fn pack_and_ingest(name: &str, changes: &[Authored]) {
    let count = changes.len() as u32;
    let raw: usize = changes.iter().map(|change| change.bytes.len()).sum();
    let start = Instant::now();
    let batches = pack(changes, PAYLOAD_BYTES_MAX, SEALING_LEVEL).unwrap();
    let packing = start.elapsed();
    let payload: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    println!(
        "{name}: {count} of {} B raw; packed in {packing:?} into {} batches, {:.1} B each",
        raw / changes.len(),
        batches.len(),
        payload as f64 / f64::from(count)
    );
    let start = Instant::now();
    let opened: Vec<Vec<OpenedChange>> = batches
        .iter()
        .map(|batch| {
            let items = decode(&batch.bytes, &SCOPE, &device(1)).unwrap();
            items.into_iter().map(|item| item.unwrap()).collect()
        })
        .collect();
    println!("  opened in {:?}", start.elapsed());
    let mut shelf = Shelf::default();
    let start = Instant::now();
    for (number, batch) in (1..).zip(&opened) {
        shelf.take(&entry(1, number), batch);
    }
    println!("  ingested in {:?} each", start.elapsed() / count);
}

#[test]
#[ignore = "prints figures; run in release"]
fn figures() {
    let start = Instant::now();
    let areas: Vec<_> = (0..5000).map(|seed| area(seed, &generated(seed))).collect();
    println!("authored in {:?} each", start.elapsed() / 5000);
    pack_and_ingest("generated areas", &areas);
    match real() {
        Some(rings) => {
            let areas: Vec<_> = (0..)
                .zip(&rings)
                .map(|(seed, ring)| area(seed, ring))
                .collect();
            pack_and_ingest("real areas", &areas);
        }
        None => println!("real areas: SKIPPED, the file is not there"),
    }

    let mut shelf = Shelf::default();
    shelf.take_one(1, &areas[0]);
    let mut made = vec![areas[0].clone()];
    let mut sum = std::time::Duration::ZERO;
    for number in 0..40u64 {
        let seen: Vec<_> = made.iter().collect();
        let next = edit(&author(2, number), &seen, |tx| {
            tx.put(ROOT, "slope", number)
        });
        let start = Instant::now();
        shelf.take_one(2, &next);
        sum += start.elapsed();
        if number == 0 {
            println!("first edit of a document ingested in {sum:?}");
        }
        made.push(next);
    }
    println!("40 edits ingested one by one in {:?} each", sum / 40);
    let edits: Vec<_> = areas
        .iter()
        .take(1000)
        .map(|root| edit(&author(2, 1), &[root], |tx| tx.put(ROOT, "slope", "steep")))
        .collect();
    let batches = pack(&edits, PAYLOAD_BYTES_MAX, SEALING_LEVEL).unwrap();
    let payload: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    println!("1000 one-field edits: {} B each", payload / 1000);
    let start = Instant::now();
    let loaded = Documents::new(&shelf.storage).load(&SCOPE, &areas[0].document);
    println!("41 changes loaded in {:?}", start.elapsed());
    assert_eq!(loaded.unwrap().unwrap().changes.len(), 41);
    let mut writes = WriteSet::new();
    let start = Instant::now();
    let changes: Vec<OpenedChange> = made.iter().map(Into::into).collect();
    let empty = Shelf::default();
    for change in &changes {
        let by = if change.root.is_some() { 1 } else { 2 };
        Documents::new(&empty.storage)
            .ingest(
                &SCOPE,
                &entry(by, 1),
                std::slice::from_ref(change),
                &mut writes,
            )
            .unwrap();
    }
    println!(
        "41 changes ingested into one write set in {:?}",
        start.elapsed()
    );
}

/// What the dearest changes cost that pass.
type Made = Result<Authored, AuthorError<AutomergeError>>;

fn cost(name: &str, made: Made) {
    let made = made.unwrap();
    let changes: Vec<OpenedChange> = vec![(&made).into()];
    let mut shelf = Shelf::default();
    let start = Instant::now();
    let outcome = shelf.take(&entry(1, 1), &changes).outcomes[0].verdict;
    println!(
        "{name}: {} B, {outcome:?} in {:?}",
        made.bytes.len(),
        start.elapsed()
    );
}

#[test]
#[ignore = "prints figures; run in release"]
fn figures_of_the_dearest() {
    let count = 12_000;
    let by = author(1, 1);
    cost(
        "text, forwards",
        author_root(&by, KIND, 0, |tx| {
            let text = tx.put_object(ROOT, "t", ObjType::Text)?;
            tx.splice_text(&text, 0, 0, &"a".repeat(count))
        }),
    );
    cost(
        "text, backwards",
        author_root(&by, KIND, 0, |tx| {
            let text = tx.put_object(ROOT, "t", ObjType::Text)?;
            (0..count).try_for_each(|_| tx.splice_text(&text, 0, 0, "a"))
        }),
    );
    cost(
        "list of nulls",
        author_root(&by, KIND, 0, |tx| {
            let list = tx.put_object(ROOT, "l", ObjType::List)?;
            (0..count).try_for_each(|at| tx.insert(&list, at, ()))
        }),
    );
    cost(
        "list of maps",
        author_root(&by, KIND, 0, |tx| {
            let list = tx.put_object(ROOT, "l", ObjType::List)?;
            (0..count).try_for_each(|at| tx.insert_object(&list, at, ObjType::Map).map(|_| ()))
        }),
    );
    cost(
        "one key over and over",
        author_root(&by, KIND, 0, |tx| {
            (0..count as i64).try_for_each(|number| tx.put(ROOT, "a", number & 1))
        }),
    );
    cost(
        "counter",
        author_root(&by, KIND, 0, |tx| {
            tx.put(ROOT, "c", ScalarValue::counter(0))?;
            (0..count).try_for_each(|_| tx.increment(ROOT, "c", 1))
        }),
    );
    cost(
        "text written and deleted",
        author_root(&by, KIND, 0, |tx| {
            let text = tx.put_object(ROOT, "t", ObjType::Text)?;
            tx.splice_text(&text, 0, 0, &"a".repeat(count / 2))?;
            tx.splice_text(&text, 0, (count / 2) as isize, "")
        }),
    );
    cost(
        "many keys",
        author_root(&by, KIND, 0, |tx| {
            (0..count / 2).try_for_each(|at| tx.put(ROOT, format!("{at:x}"), ()))
        }),
    );
}
