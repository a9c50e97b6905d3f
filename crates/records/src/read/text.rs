//! Free texts: insertions merge; where two people changed one place, both whole versions show and
//! the field reads as nothing.

use super::{Facts, FieldReading, Reader, Shown};
use crate::layout::objects;
use crate::schema::Class;
use crate::value::Value;
use automerge::{ObjId, ObjType, ReadDoc};
use cairn_wire::ids::ChangeHash;
use std::collections::{HashMap, HashSet};

/// An operation's id: counter and actor.
type OpId = (u64, Vec<u8>);

/// By text, by change.
pub(super) type TextEdits = HashMap<OpId, HashMap<ChangeHash, TextEdit>>;

/// What one change did to one text.
#[derive(Default)]
pub(super) struct TextEdit {
    deleted: HashSet<OpId>,
    /// Elements after which something was inserted; nothing stands for the beginning.
    inserted_after: Vec<Option<OpId>>,
}

impl<F: Facts> Reader<'_, F> {
    pub(super) fn text(&self, name: &str) -> Option<FieldReading> {
        if !self.keys.contains(name) {
            return None;
        }
        let texts = objects(self.document, name, ObjType::Text);
        if texts.is_empty() {
            return None;
        }
        let none = HashMap::new();
        let mut reads = Vec::new();
        let mut values = Vec::new();
        let mut conflict = false;
        for text in &texts {
            let current = self.document.text(text).unwrap_or_default();
            let edits = op_id_of(text)
                .and_then(|id| self.text_edits().get(&id))
                .unwrap_or(&none);
            let versions = self.conflicting(text, edits);
            if versions.is_empty() {
                let made = self.document.hash_for_opid(text);
                let last = edits
                    .keys()
                    .max_by_key(|change| self.lineage.place(change))
                    .copied();
                let change = last.or(made.map(|made| ChangeHash(made.0)))?;
                if !current.is_empty() {
                    values.push(self.shown(Value::Text(current.clone()), change));
                }
            } else {
                conflict = true;
                values.extend(versions);
            }
            if !current.is_empty() {
                reads.push(current);
            }
        }
        if reads.is_empty() && !conflict {
            return None;
        }
        Some(FieldReading {
            class: Class::Text,
            // Merged letter by letter, two versions become a third that nobody wrote.
            reads: match conflict {
                true => Value::Null,
                false => Value::Text(reads.join("\n")),
            },
            region: None,
            values: self.lettered(values),
            conflict,
            assumed: false,
        })
    }

    /// What every change did to every text, decoded once; nothing for a document of one change.
    fn text_edits(&self) -> &TextEdits {
        self.text_edits.get_or_init(|| {
            let mut edits = TextEdits::new();
            if self.lineage.changes().len() > 1 {
                for change in self.document.get_changes(&[]) {
                    collect(&change, &mut edits);
                }
            }
            edits
        })
    }

    /// The whole text at each change that nobody's later one knew, if two of them clash and nobody
    /// has worked on it since with both in sight.
    fn conflicting(&self, text: &ObjId, edits: &HashMap<ChangeHash, TextEdit>) -> Vec<Shown> {
        let mut clashing = false;
        let mut changes: Vec<&ChangeHash> = edits.keys().collect();
        changes.sort_unstable();
        for (index, one) in changes.iter().enumerate() {
            for other in changes.iter().skip(index + 1) {
                if !self.lineage.concurrent(one, other) || !self.clash(text, edits, one, other) {
                    continue;
                }
                let settled = changes.iter().any(|later| {
                    self.lineage.is_ancestor(one, later) && self.lineage.is_ancestor(other, later)
                });
                clashing |= !settled;
            }
        }
        if !clashing {
            return Vec::new();
        }
        // The text at the last changes, so that what was written on top of one version, or beside
        // both, stands in one of those that are shown.
        let last = changes.iter().filter(|change| {
            let mut others = changes.iter();
            !others.any(|later| self.lineage.is_ancestor(change, later))
        });
        let versions: Vec<Shown> = last
            .filter_map(|change| {
                let at = [automerge::ChangeHash(change.0)];
                let version = self.document.text_at(text, &at).ok()?;
                Some(self.shown(Value::Text(version), **change))
            })
            .collect();
        let mut different: Vec<&Value> = versions.iter().map(|shown| &shown.value).collect();
        different.dedup();
        if different.len() > 1 {
            versions
        } else {
            Vec::new()
        }
    }

    fn clash(
        &self,
        text: &ObjId,
        edits: &HashMap<ChangeHash, TextEdit>,
        one: &ChangeHash,
        other: &ChangeHash,
    ) -> bool {
        let (Some(a), Some(b)) = (edits.get(one), edits.get(other)) else {
            return false;
        };
        a.deleted.intersection(&b.deleted).next().is_some()
            || self.inserts_between(text, one, a, &b.deleted)
            || self.inserts_between(text, other, b, &a.deleted)
    }

    /// Whether a change inserts between two neighbours, as its author saw them, that another
    /// deletes.
    fn inserts_between(
        &self,
        text: &ObjId,
        change: &ChangeHash,
        edit: &TextEdit,
        deleted: &HashSet<OpId>,
    ) -> bool {
        let mut after = edit
            .inserted_after
            .iter()
            .flatten()
            .filter(|at| deleted.contains(*at));
        let Some(first) = after.next() else {
            return false;
        };
        let seen: Vec<_> = self.lineage.parents(change);
        let seen: Vec<_> = seen
            .iter()
            .map(|head| automerge::ChangeHash(head.0))
            .collect();
        let elements: Vec<OpId> = self
            .document
            .list_range_at(text, .., &seen)
            .filter_map(|element| op_id_of(&element.id()))
            .collect();
        std::iter::once(first).chain(after).any(|at| {
            let position = elements.iter().position(|element| element == at);
            position
                .and_then(|position| elements.get(position + 1))
                .is_some_and(|next| deleted.contains(next))
        })
    }
}

fn op_id_of(object: &ObjId) -> Option<OpId> {
    match object {
        ObjId::Id(counter, actor, _) => Some((*counter, actor.to_bytes().to_vec())),
        ObjId::Root => None,
    }
}

/// Adds what one change did.
fn collect(change: &automerge::Change, edits: &mut TextEdits) {
    use automerge::legacy::{ElementId, Key, ObjectId};
    let hash = ChangeHash(change.hash().0);
    let actor = change.actor_id().to_bytes().to_vec();
    let mut own: HashSet<OpId> = HashSet::new();
    let op_id = |id: &automerge::legacy::OpId| (id.0, id.1.to_bytes().to_vec());
    let expanded = change.decode();
    for (counter, operation) in (change.start_op().get()..).zip(&expanded.operations) {
        let (ObjectId::Id(object), Key::Seq(element)) = (&operation.obj, &operation.key) else {
            continue;
        };
        let edit = edits
            .entry(op_id(object))
            .or_default()
            .entry(hash)
            .or_default();
        if operation.insert {
            let at = match element {
                ElementId::Head => None,
                ElementId::Id(id) => Some(op_id(id)),
            };
            // What follows its own insertions stands where the first of them does.
            if !at.as_ref().is_some_and(|at| own.contains(at)) {
                edit.inserted_after.push(at);
            }
            own.insert((counter, actor.clone()));
        } else {
            edit.deleted.extend(operation.pred.iter().map(op_id));
        }
    }
}
