//! Changes made by their operations, and judged.
#![allow(dead_code, missing_docs)]

use super::{KIND, author, automerge_of, origin, reseal};
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ExpandedChange, ScalarValue};
use cairn_documents::{Author, Authored, ChangeParts, Checked, History, Place, Rule, preflight};
use cairn_wire::ChangeHash;
use std::num::NonZeroU64;

pub const OWN: [u8; 16] = [0; 16];

pub fn me() -> Author {
    author(2, 2)
}

/// Judges what stands behind the actor as a root, under the document and actor it must have.
pub fn judge_root(after: &[u8]) -> Result<Checked, Rule> {
    judge_parts(&ChangeParts::new(&[], after))
}

pub fn judge_parts(parts: &ChangeParts<'_>) -> Result<Checked, Rule> {
    let by = me();
    let document = parts.document_id(&by.scope, KIND, &by.device, &by.nonce);
    let actor = parts.actor(&by.scope, &document, &by.device, &by.nonce);
    let (bytes, _) = parts.assemble(&actor);
    let origin = origin(&by, document, Place::Root(KIND));
    preflight::check(&bytes, &origin, &History::new())
}

/// Judges an edit of the document that these changes make.
pub fn judge_edit(before: &[&Authored], change: ExpandedChange) -> Result<Checked, Rule> {
    let by = me();
    let document = before[0].document;
    let (bytes, _) = reseal(Change::from(change).raw_bytes(), &by, document);
    let history = History::of(&automerge_of(before.iter().copied())).unwrap();
    preflight::check(&bytes, &origin(&by, document, Place::Edit), &history)
}

pub fn expanded(dependencies: &[ChangeHash], start: u64, operations: Vec<Op>) -> ExpandedChange {
    ExpandedChange {
        operations,
        actor_id: ActorId::from(OWN),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::new(start).unwrap(),
        time: 0,
        message: None,
        deps: dependencies
            .iter()
            .map(cairn_documents::to_automerge)
            .collect(),
        extra_bytes: Vec::new(),
        author: None,
    }
}

pub fn root_of(operations: Vec<Op>) -> Result<Checked, Rule> {
    let change = Change::from(expanded(&[], 1, operations));
    let parts = ChangeParts::of(change.raw_bytes()).unwrap();
    judge_parts(&parts)
}

pub fn op(action: OpType, obj: ObjectId, key: Key, pred: Vec<OpId>) -> Op {
    Op {
        action,
        obj,
        key,
        pred: pred.into(),
        insert: false,
    }
}

pub fn insert(action: OpType, obj: ObjectId, after: ElementId) -> Op {
    Op {
        insert: true,
        ..op(action, obj, Key::Seq(after), vec![])
    }
}

pub fn put(value: impl Into<ScalarValue>) -> OpType {
    OpType::Put(value.into())
}

pub fn key(text: &str) -> Key {
    Key::Map(text.into())
}

pub fn own(counter: u64) -> OpId {
    OpId(counter, ActorId::from(OWN))
}

pub fn own_object(counter: u64) -> ObjectId {
    ObjectId::Id(own(counter))
}

pub fn own_element(counter: u64) -> ElementId {
    ElementId::Id(own(counter))
}

/// An operation of a change that somebody else made.
pub fn of(change: &Authored, counter: u64) -> OpId {
    let parsed = Change::from_bytes(change.bytes.clone()).unwrap();
    OpId(counter, parsed.actor_id().clone())
}
