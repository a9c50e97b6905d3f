//! What the tests of this crate share: devices that make changes, and shelves that take them in.
#![allow(dead_code, missing_docs)]

pub mod judge;

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, Value};
use cairn_documents::{
    Author, Authored, ChangeParts, Documents, Ingested, MemoryStorage, OpenedChange, Origin, Place,
    Provenance, Verdict, WriteSet, author_edit, author_root,
};
use cairn_wire::{
    AuthorityRef, ChangeHash, DeviceKey, DocumentId, EntryId, Incarnation, Lane, LogId, ScopeId,
};

pub const SCOPE: ScopeId = ScopeId([7; 16]);
pub const KIND: &str = "hazardous_area";

pub fn device(number: u8) -> DeviceKey {
    DeviceKey([number; 32])
}

/// The author of a device's command with that number.
pub fn author(device_number: u8, command: u64) -> Author {
    Author {
        scope: SCOPE,
        device: device(device_number),
        nonce: command.to_be_bytes(),
    }
}

pub fn entry(device_number: u8, number: u64) -> Provenance {
    Provenance::Entry {
        log: LogId {
            scope: SCOPE,
            lane: Lane::Urgent,
            device: device(device_number),
            incarnation: Incarnation([device_number; 16]),
        },
        number,
        id: EntryId([number as u8; 32]),
        authority: AuthorityRef {
            height: 3,
            id: [9; 8],
        },
    }
}

pub fn origin<'a>(author: &Author, document: DocumentId, place: Place<'a>) -> Origin<'a> {
    Origin {
        scope: author.scope,
        device: author.device,
        document,
        nonce: author.nonce,
        place,
    }
}

/// A small area: a few fields, an assertion, a note.
pub fn small_root(author: &Author, seed: u64) -> Authored {
    author_root::<automerge::AutomergeError>(author, KIND, 1_790_000_000 + seed as i64, |tx| {
        tx.put(ROOT, "kind", KIND)?;
        tx.put(ROOT, "local_id", format!("ORG-HA-{seed:06}"))?;
        tx.put(ROOT, "area_reported", 1_000 + seed)?;
        let status = tx.put_object(ROOT, "+status", ObjType::Map)?;
        tx.put(&status, "0", b"\xa1open".to_vec())?;
        let note = tx.put_object(ROOT, "description", ObjType::Text)?;
        tx.splice_text(&note, 0, 0, "near the old mill")
    })
    .unwrap()
}

/// The change as it would be under the actor it must have, from any change chunk.
pub fn reseal(bytes: &[u8], author: &Author, document: DocumentId) -> (Vec<u8>, ChangeHash) {
    let parts = ChangeParts::of(bytes).unwrap();
    let actor = parts.actor(&author.scope, &document, &author.device, &author.nonce);
    parts.assemble(&actor)
}

/// The document that these changes make, by Automerge alone.
pub fn automerge_of<'a>(changes: impl IntoIterator<Item = &'a Authored>) -> Automerge {
    let mut document = Automerge::new();
    for change in changes {
        let change = automerge::Change::from_bytes(change.bytes.clone()).unwrap();
        document.apply_changes([change]).unwrap();
    }
    document
}

/// An edit at the heads that these changes have.
pub fn edit(
    author: &Author,
    seen: &[&Authored],
    change: impl FnOnce(
        &mut automerge::transaction::Transaction<'_>,
    ) -> Result<(), automerge::AutomergeError>,
) -> Authored {
    let document = automerge_of(seen.iter().copied());
    let heads: Vec<_> = document
        .get_heads()
        .iter()
        .map(cairn_documents::from_automerge)
        .collect();
    author_edit(
        author,
        seen[0].document,
        &document,
        &heads,
        1_790_000_100,
        change,
    )
    .unwrap()
}

/// A replica's documents in memory.
#[derive(Default)]
pub struct Shelf {
    pub storage: MemoryStorage,
}

impl Shelf {
    pub fn take(&mut self, provenance: &Provenance, changes: &[OpenedChange]) -> Ingested {
        let mut writes = WriteSet::new();
        let ingested = Documents::new(&self.storage)
            .ingest(&SCOPE, provenance, changes, &mut writes)
            .unwrap();
        self.storage.commit(writes);
        ingested
    }

    /// Takes one change by the device with that number; what became of it.
    pub fn take_one(&mut self, device_number: u8, change: &Authored) -> Verdict {
        let ingested = self.take(&entry(device_number, 1), &[change.into()]);
        ingested
            .outcomes
            .iter()
            .find(|outcome| outcome.hash == change.hash && !outcome.earlier)
            .unwrap()
            .verdict
    }

    pub fn documents(&self) -> Documents<'_, MemoryStorage> {
        Documents::new(&self.storage)
    }
}

/// Everything that can be read, concurrent values included, as text that compares.
pub fn reading(document: &Automerge) -> String {
    let mut out = String::new();
    read_object(document, &ROOT, ObjType::Map, &mut out);
    out
}

fn read_object(document: &Automerge, object: &ObjId, kind: ObjType, out: &mut String) {
    if kind == ObjType::Text {
        out.push_str(&document.text(object).unwrap());
        return;
    }
    let places: Vec<Prop> = match kind {
        ObjType::List => (0..document.length(object)).map(Prop::Seq).collect(),
        _ => document.keys(object).map(Prop::Map).collect(),
    };
    for place in places {
        for (value, id) in document.get_all(object, place.clone()).unwrap() {
            out.push_str(&format!("{place}: {value:?} {{"));
            if let Value::Object(kind) = value {
                read_object(document, &id, kind, out);
            }
            out.push_str("}\n");
        }
    }
}
