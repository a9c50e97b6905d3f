//! The change: what somebody hostile could put into a batch, under an actor and a checksum that
//! are in order.
//!
//! Promises: nothing panics; what passes the pre-flight is written as Automerge itself writes it,
//! can be applied, read, saved, loaded and edited further.
//!
//! An input is one byte that chooses the document it meets, then what stands behind the actor.

use crate::{Random, Target, mutate_bytes};
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::transaction::{Transactable, Transaction};
use automerge::{
    ActorId, Automerge, AutomergeError, Change, ExpandedChange, ObjType, ROOT, ReadDoc, ScalarValue,
};
use cairn_documents::{
    Author, Authored, ChangeParts, Documents, History, MemoryStorage, OpenedChange, Origin, Place,
    Provenance, RootPreimage, Verdict, WriteSet, author_edit, author_root, from_automerge,
    preflight, to_automerge,
};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SCOPE: ScopeId = ScopeId([7; 16]);
const KIND: &str = "hazardous_area";

fn author(command: u64) -> Author {
    Author {
        scope: SCOPE,
        device: DeviceKey([1; 32]),
        nonce: command.to_be_bytes(),
    }
}

/// A document and the heads that an input rests on.
struct Base {
    /// `None` where the input makes the document itself.
    document: Option<DocumentId>,
    heads: Vec<ChangeHash>,
    history: History,
    automerge: Automerge,
    storage: MemoryStorage,
}

impl Base {
    fn new(changes: &[&Authored], heads: &[&Authored]) -> Self {
        let mut storage = MemoryStorage::new();
        let mut automerge = Automerge::new();
        for change in changes {
            let mut writes = WriteSet::new();
            Documents::new(&storage)
                .ingest(&SCOPE, &outbox(), &[(*change).into()], &mut writes)
                .expect("memory does not fail");
            storage.commit(writes);
            let change = Change::from_bytes(change.bytes.clone()).expect("an honest change");
            automerge.apply_changes([change]).expect("an honest change");
        }
        let mut heads: Vec<_> = heads.iter().map(|change| change.hash).collect();
        heads.sort_unstable();
        Self {
            document: changes.first().map(|root| root.document),
            heads,
            history: History::of(&automerge).expect("honest changes"),
            automerge,
            storage,
        }
    }

    /// The change as its author would have made it, and the document it is for.
    fn assemble(&self, after: &[u8]) -> (Vec<u8>, ChangeHash, DocumentId) {
        let by = author(99);
        let parts = ChangeParts::new(&self.heads, after);
        let document = self
            .document
            .unwrap_or_else(|| parts.document_id(&by.scope, KIND, &by.device, &by.nonce));
        let actor = parts.actor(&by.scope, &document, &by.device, &by.nonce);
        let (bytes, hash) = parts.assemble(&actor);
        (bytes, hash, document)
    }
}

fn outbox() -> Provenance {
    Provenance::Outbox {
        device: author(0).device,
    }
}

/// The target.
pub struct ChangeTarget {
    bases: Vec<Base>,
}

impl Default for ChangeTarget {
    fn default() -> Self {
        let root = author_root(&author(0), KIND, 5, fill).expect("an honest change");
        let alone = Base::new(&[&root], &[&root]);
        let edit = |command, change: fn(&mut Transaction<'_>) -> Result<(), AutomergeError>| {
            let by = author(command);
            author_edit(
                &by,
                root.document,
                &alone.automerge,
                &alone.heads,
                6,
                change,
            )
            .expect("an honest change")
        };
        let one = edit(1, |tx| touch(tx, "one"));
        let two = edit(2, |tx| touch(tx, "two"));
        let all = [&root, &one, &two];
        let bases = vec![
            Base::new(&[], &[]),
            Base::new(&all, &[&one, &two]),
            Base::new(&all, &[&one]),
            alone,
        ];
        Self { bases }
    }
}

/// One of everything.
fn fill(tx: &mut Transaction<'_>) -> Result<(), AutomergeError> {
    tx.put(ROOT, "kind", KIND)?;
    tx.put(ROOT, "slope", 3)?;
    tx.put(ROOT, "tally", ScalarValue::counter(1))?;
    let status = tx.put_object(ROOT, "+status", ObjType::Map)?;
    tx.put(&status, "0", vec![0xa1, 1, 0])?;
    let note = tx.put_object(ROOT, "description", ObjType::Text)?;
    tx.splice_text(&note, 0, 0, "the path is mined")?;
    let list = tx.put_object(ROOT, "list", ObjType::List)?;
    tx.insert(&list, 0, 1)?;
    tx.insert(&list, 1, "two")?;
    let inner = tx.insert_object(&list, 2, ObjType::Map)?;
    tx.put(&inner, "a", 2.5)
}

/// An edit of most of it.
fn touch(tx: &mut Transaction<'_>, word: &str) -> Result<(), AutomergeError> {
    tx.put(ROOT, "slope", word)?;
    tx.increment(ROOT, "tally", 2)?;
    if let Some((_, status)) = tx.get(ROOT, "+status")? {
        let next = tx.length(&status).to_string();
        tx.put(&status, next, word.as_bytes().to_vec())?;
    }
    if let Some((_, note)) = tx.get(ROOT, "description")? {
        tx.splice_text(&note, 4, 4, word)?;
    }
    if let Some((_, list)) = tx.get(ROOT, "list")? {
        tx.put(&list, 0, word)?;
        tx.delete(&list, 1)?;
        tx.insert(&list, 1, word)?;
    }
    tx.put(ROOT, format!("extra/{word}"), true)?;
    tx.delete(ROOT, "kind")
}

impl ChangeTarget {
    fn base<'a>(&self, input: &'a [u8]) -> Option<(&Base, &'a [u8])> {
        let (choice, after) = input.split_first()?;
        Some((&self.bases[usize::from(*choice) % self.bases.len()], after))
    }

    /// Whether it passes, judged only.
    fn passes(&self, base: &Base, bytes: &[u8], document: DocumentId) -> bool {
        let by = author(99);
        let origin = Origin {
            scope: by.scope,
            device: by.device,
            document,
            nonce: by.nonce,
            place: if base.document.is_some() {
                Place::Edit
            } else {
                Place::Root(KIND)
            },
        };
        preflight::check(bytes, &origin, &base.history).is_ok()
    }

    fn seed(
        &self,
        choice: u8,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), AutomergeError>,
    ) -> Vec<u8> {
        let base = &self.bases[usize::from(choice)];
        let by = author(99);
        let change = match base.document {
            None => author_root(&by, KIND, 7, edit),
            Some(document) => author_edit(&by, document, &base.automerge, &base.heads, 7, edit),
        }
        .expect("an honest change");
        let parts = ChangeParts::of(&change.bytes).expect("an honest change");
        [&[choice], parts.after()].concat()
    }

    /// Another change, by its operations instead of its bytes.
    fn mutate_operations(&self, input: &[u8], random: &mut Random) -> Option<Vec<u8>> {
        let (base, after) = self.base(input)?;
        let (bytes, _, document) = base.assemble(after);
        if !self.passes(base, &bytes, document) {
            return None;
        }
        let mut change = Change::from_bytes(bytes).ok()?.decode();
        let actors: Vec<_> = base
            .automerge
            .get_changes(&[])
            .iter()
            .map(|known| known.actor_id().clone())
            .chain([change.actor_id.clone()])
            .collect();
        let mut known: Vec<_> = base
            .automerge
            .get_changes(&[])
            .iter()
            .flat_map(|change| change.decode().operations)
            .collect();
        known.extend(change.operations.iter().cloned());
        for _ in 0..=random.below(3) {
            alter(&mut change, &known, &actors, random);
        }
        // Automerge's own writer may panic on what no document could hold.
        let written = catch_unwind(AssertUnwindSafe(|| Change::from(change))).ok()?;
        let parts = ChangeParts::of(written.raw_bytes()).ok()?;
        Some([&input[..1], parts.after()].concat())
    }
}

/// Alters one operation, or adds, removes, exchanges some.
fn alter(change: &mut ExpandedChange, known: &[Op], actors: &[ActorId], random: &mut Random) {
    let count = change.operations.len() as u64;
    let at = random.below(count) as usize;
    let last = change.start_op.get() + count;
    let id = |random: &mut Random| OpId(random.below(last + 2), random.pick(actors).clone());
    let template = random.pick(known).clone();
    if random.below(6) == 0 || change.operations.is_empty() {
        change.operations.insert(at, template);
        return;
    }
    let operation = &mut change.operations[at];
    match random.below(10) {
        0 => operation.obj = template.obj,
        1 => operation.obj = ObjectId::Id(id(random)),
        2 => operation.key = template.key,
        3 => operation.key = Key::Seq(ElementId::Id(id(random))),
        4 => operation.pred = template.pred,
        5 => {
            let ids: Vec<_> = (0..random.below(3)).map(|_| id(random)).collect();
            operation.pred = ids.into();
        }
        6 => operation.action = template.action,
        7 => operation.insert = !operation.insert,
        8 => {
            let actions = [
                OpType::Delete,
                OpType::Increment(1),
                OpType::Put(ScalarValue::Bytes(vec![1])),
                OpType::Put(ScalarValue::Str("x".into())),
                OpType::Put(ScalarValue::counter(3)),
                OpType::Make(ObjType::Map),
                OpType::Make(ObjType::Text),
            ];
            operation.action = random.pick(&actions).clone();
        }
        _ => {
            change.operations.remove(at);
        }
    }
}

impl Target for ChangeTarget {
    fn name(&self) -> &'static str {
        "change"
    }

    fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let mut seeds = Vec::new();
        seeds.push(("root".to_owned(), self.seed(0, fill)));
        for choice in 1..self.bases.len() as u8 {
            seeds.push((
                format!("edit-{choice}"),
                self.seed(choice, |tx| touch(tx, "three")),
            ));
            let small = self.seed(choice, |tx| tx.put(ROOT, "slope", ()));
            seeds.push((format!("small-{choice}"), small));
        }
        // A merge of heads, and ten million operations in few bytes.
        let start = self.bases[1]
            .automerge
            .get_changes(&[])
            .iter()
            .map(Change::max_op)
            .max();
        let start = start.unwrap_or(0) as u8 + 1;
        seeds.push(("merge".to_owned(), vec![1, 1, start, 0, 0, 0, 0]));
        let million: &[u8] = &[0x80, 0xad, 0xe2, 0x04];
        let columns = [
            (0x15, [million, &[1, b'a']].concat()),
            (0x34, million.to_vec()),
            (0x42, [million, &[1]].concat()),
            (0x56, [million, &[0]].concat()),
            (0x70, [million, &[0]].concat()),
        ];
        let mut bomb = vec![0, 1, 1, 0, 0, 0, columns.len() as u8];
        for (spec, bytes) in &columns {
            bomb.extend([*spec, bytes.len() as u8]);
        }
        bomb.extend(columns.into_iter().flat_map(|(_, bytes)| bytes));
        seeds.push(("ten-million-operations".to_owned(), bomb));
        seeds
    }

    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        if random.below(2) == 0
            && let Some(mutated) = self.mutate_operations(input, random)
        {
            return mutated;
        }
        mutate_bytes(input, other, random)
    }

    fn run(&self, input: &[u8]) -> bool {
        let Some((base, after)) = self.base(input) else {
            return false;
        };
        let (bytes, hash, document) = base.assemble(after);
        if !self.passes(base, &bytes, document) {
            return false;
        }

        let change = Change::from_bytes(bytes.clone()).expect("Automerge reads what passed");
        let again = Change::from(change.decode());
        assert_eq!(again.raw_bytes(), bytes, "Automerge writes it otherwise");

        let by = author(99);
        let opened = OpenedChange {
            document,
            root: base.document.is_none().then(|| RootPreimage {
                kind: KIND.to_owned(),
                nonce: by.nonce,
            }),
            nonce: by.nonce,
            bytes,
            hash,
        };
        let mut storage = base.storage.clone();
        let mut writes = WriteSet::new();
        let ingested = Documents::new(&storage)
            .ingest(&SCOPE, &outbox(), &[opened], &mut writes)
            .expect("memory does not fail");
        let verdict = ingested.outcomes.first().map(|outcome| outcome.verdict);
        assert!(
            matches!(verdict, Some(Verdict::Applied | Verdict::AlreadyThere)),
            "Automerge fails on what passed: {verdict:?}"
        );
        storage.commit(writes);

        let loaded = Documents::new(&storage)
            .load(&SCOPE, &document)
            .expect("memory does not fail")
            .expect("the document that was just applied");
        assert!(
            loaded.changes.iter().any(|change| change.hash == hash),
            "it is not there"
        );
        let heads: Vec<_> = loaded
            .automerge
            .get_heads()
            .iter()
            .map(from_automerge)
            .collect();
        author_edit::<AutomergeError>(&author(100), document, &loaded.automerge, &heads, 8, |tx| {
            tx.put(ROOT, "after", 1)
        })
        .expect("the document can be edited further");
        let historic = loaded
            .automerge
            .fork_at(&base.heads.iter().map(to_automerge).collect::<Vec<_>>());
        assert!(historic.is_ok(), "what was before can still be seen");
        true
    }
}
