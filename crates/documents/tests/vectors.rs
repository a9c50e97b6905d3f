//! The golden bytes of `proto/vectors/batch.json`: ids, actors, changes, batches, refusals.
//! Written anew with `CAIRN_BLESS=1`, which only a new version may ask for.

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT};
use cairn_documents::batch::{decode, pack};
use cairn_documents::{
    Authored, ChangeParts, History, OpenedChange, Origin, Place, Rule, author_root, preflight,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use world::{KIND, SCOPE, author, device, edit};

fn path() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../proto/vectors/batch.json"
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// A small area, two edits of it side by side, and a merge of them by a later edit.
fn changes() -> Vec<Authored> {
    let root = author_root::<AutomergeError>(&author(1, 1), KIND, 1_795_478_400, |tx| {
        tx.put(ROOT, "kind", KIND)?;
        tx.put(ROOT, "area_reported", 1_200u64)?;
        let status = tx.put_object(ROOT, "+status", ObjType::Map)?;
        tx.put(&status, "0", vec![0xa1, 0x01, 0x00])?;
        let note = tx.put_object(ROOT, "description", ObjType::Text)?;
        tx.splice_text(&note, 0, 0, "near the mill")
    })
    .unwrap();
    let one = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let two = edit(&author(1, 3), &[&root], |tx| tx.put(ROOT, "slope", "steep"));
    let three = edit(&author(1, 3), &[&root, &one, &two], |tx| {
        tx.put(ROOT, "slope", "steep")?;
        tx.delete(ROOT, "area_reported")
    });
    vec![root, one, two, three]
}

fn described(change: &Authored) -> Value {
    let parts = ChangeParts::of(&change.bytes).unwrap();
    let actor = parts.actor(&SCOPE, &change.document, &device(1), &change.nonce);
    json!({
        "document": change.document.to_string(),
        "kind": change.kind,
        "nonce": hex(&change.nonce),
        "actor": hex(&actor),
        "bytes": hex(&change.bytes),
        "hash": change.hash.to_string(),
    })
}

/// Roots that are refused: by name, what stands behind the actor, the rule.
fn refusals() -> Vec<(&'static str, Vec<u8>, Rule)> {
    let columns = |columns: &[(u8, &[u8])]| {
        let mut bytes = vec![1, 1, 0, 0, 0, columns.len() as u8];
        columns
            .iter()
            .for_each(|(spec, column)| bytes.extend([*spec, column.len() as u8]));
        columns.iter().for_each(|(_, column)| bytes.extend(*column));
        bytes
    };
    let one = |key: &[u8], action: &[u8], meta: &[u8]| {
        columns(&[
            (0x15, key),
            (0x34, &[1]),
            (0x42, action),
            (0x56, meta),
            (0x70, &[0x7f, 0]),
        ])
    };
    let a: &[u8] = &[0x7f, 1, b'a'];
    let put: &[u8] = &[0x7f, 1];
    let null: &[u8] = &[0x7f, 0];
    let million: &[u8] = &[0x80, 0xad, 0xe2, 0x04, 1];
    let good = one(a, put, null);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let behind = [&good[..], &[0]].concat();
    let growing: &[u8] = &[0x7f, 2, b'+', b'a'];
    vec![
        ("sequence number 2", with(0, 2), Rule::SequenceNumber),
        ("first operation 2", with(1, 2), Rule::FirstOperation),
        ("extra bytes", behind, Rule::ExtraBytes),
        (
            "ten million operations",
            one(a, million, null),
            Rule::TooManyOperations,
        ),
        (
            "equal cells as a literal",
            one(a, &[0x7e, 1, 1], null),
            Rule::NotCanonical,
        ),
        ("compressed column", with(6, 0x1d), Rule::Compressed),
        ("unknown column", with(6, 0x25), Rule::UnknownColumn),
        ("a table", one(a, &[0x7f, 6], null), Rule::Action),
        (
            "unknown type of value",
            one(a, put, &[0x7f, 10]),
            Rule::Value,
        ),
        (
            "a deletion of nothing",
            one(a, &[0x7f, 3], null),
            Rule::PredecessorCount,
        ),
        ("an empty key", one(&[0x7f, 0], put, null), Rule::Key),
        (
            "a scalar under +",
            one(growing, put, null),
            Rule::GrowingKey,
        ),
        ("no operation", columns(&[]), Rule::Empty),
    ]
}

/// A refused root as a whole chunk, with its document.
fn refused(after: &[u8]) -> (Vec<u8>, Origin<'static>) {
    let by = author(1, 1);
    let parts = ChangeParts::new(&[], after);
    let document = parts.document_id(&by.scope, KIND, &by.device, &by.nonce);
    let actor = parts.actor(&by.scope, &document, &by.device, &by.nonce);
    let origin = world::origin(&by, document, Place::Root(KIND));
    (parts.assemble(&actor).0, origin)
}

fn written() -> Value {
    let changes = changes();
    let small = author_root::<AutomergeError>(&author(1, 7), KIND, 0, |tx| tx.put(ROOT, "a", 1));
    let plain = pack(&[small.unwrap()], 65_496, 12).unwrap().remove(0).bytes;
    assert_eq!(plain[1], 0, "so small a batch is not compressed");
    let compressed = pack(&changes, 65_496, 12).unwrap().remove(0).bytes;
    assert_eq!(compressed[1], 1);
    let refusals = refusals();
    let refusals = refusals.iter().map(|(name, after, rule)| {
        let (bytes, origin) = refused(after);
        json!({
            "name": name,
            "document": origin.document.to_string(),
            "kind": KIND,
            "nonce": hex(&origin.nonce),
            "bytes": hex(&bytes),
            "rule": rule.code(),
        })
    });
    json!({
        "scope": SCOPE.to_string(),
        "device": device(1).to_string(),
        "changes": changes.iter().map(described).collect::<Vec<_>>(),
        "batch_plain": hex(&plain),
        "batch_compressed": hex(&compressed),
        "refusals": refusals.collect::<Vec<_>>(),
    })
}

fn golden() -> Value {
    if std::env::var_os("CAIRN_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&written()).unwrap();
        std::fs::write(path(), text + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

#[test]
fn ids_actors_and_changes_are_the_golden_ones() {
    let golden = golden();
    let described: Vec<_> = changes().iter().map(described).collect();
    assert_eq!(golden["changes"], Value::from(described));
}

#[test]
fn golden_batches_open_to_the_golden_changes() {
    let golden = golden();
    let written = written();
    assert_eq!(golden["batch_plain"], written["batch_plain"]);
    let opened: Vec<OpenedChange> =
        decode(&bytes_of(&golden["batch_compressed"]), &SCOPE, &device(1))
            .unwrap()
            .into_iter()
            .map(|change| change.unwrap())
            .collect();
    let expected: Vec<OpenedChange> = changes().iter().map(Into::into).collect();
    assert_eq!(opened, expected);
    let mut history = History::new();
    for change in &opened {
        let place = change
            .root
            .as_ref()
            .map_or(Place::Edit, |root| Place::Root(&root.kind));
        let mut by = author(1, 0);
        by.nonce = change.nonce;
        let origin = world::origin(&by, change.document, place);
        history.admit(preflight::check(&change.bytes, &origin, &history).unwrap());
    }
}

#[test]
fn golden_refusals_are_refused_by_their_rule() {
    let golden = golden();
    let cases = golden["refusals"].as_array().unwrap();
    assert_eq!(cases.len(), refusals().len());
    for (case, (name, after, rule)) in cases.iter().zip(refusals()) {
        let (bytes, origin) = refused(&after);
        assert_eq!(bytes_of(&case["bytes"]), bytes, "{name}");
        let judged = preflight::check(&bytes, &origin, &History::new()).unwrap_err();
        assert_eq!(
            (judged, judged.code()),
            (rule, case["rule"].as_str().unwrap()),
            "{name}"
        );
    }
}

#[test]
fn the_page_names_every_rule_and_limit() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/batch.md"))
            .unwrap();
    for rule in Rule::ALL {
        assert!(
            page.contains(&format!("`{}`", rule.code())),
            "{}",
            rule.code()
        );
    }
    use cairn_wire::limits;
    let grouped = |number: u64| {
        let digits = number.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    };
    for limit in [
        limits::CHANGE_BYTES_MAX as u64,
        limits::CHANGE_OPERATIONS_MAX as u64,
        limits::BATCH_RAW_BYTES_MAX as u64,
        limits::BATCH_CHANGES_MAX as u64,
        limits::BATCH_OPERATIONS_MAX,
        limits::CHANGE_KEYS_BYTES_MAX as u64,
        limits::WAITING_CHANGES_MAX,
    ] {
        assert!(page.contains(&grouped(limit)), "{limit}");
    }
}
