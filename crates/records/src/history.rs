//! What each change did, and what the record was at a time.

use crate::json::{field_type, present, utc};
use crate::layout::{Assertion, from_scalar, typed_value};
use crate::lineage::Lineage;
use crate::read::{ChangeFacts, Facts, ReadError};
use crate::schema::{self, Kind};
use crate::value::Value;
use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{Automerge, ObjType, ROOT, ReadDoc};
use cairn_wire::ids::ChangeHash;
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// A change and what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The change.
    pub change: ChangeHash,
    /// The ones before it.
    pub after: Vec<ChangeHash>,
    /// Who, where, when, and whether that is trusted.
    pub facts: ChangeFacts,
    /// What it did, field by field.
    pub did: Vec<Did>,
}

/// What a change did to a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Did {
    /// Wrote a value.
    Set {
        /// Field.
        field: String,
        /// Value.
        value: Value,
    },
    /// Stated, ticked or appended something, or took it back, or decided.
    Said {
        /// Field.
        field: String,
        /// The value, if it gives one.
        value: Option<Value>,
        /// The assertion; none where this version cannot read it.
        assertion: Option<Assertion>,
    },
    /// Worked on a free text.
    Text {
        /// Field.
        field: String,
    },
}

/// Every change of a record, parents before children, in an order that is the same everywhere.
#[must_use]
pub fn history(document: &Automerge, facts: &impl Facts) -> Vec<HistoryEntry> {
    let lineage = Lineage::of(document);
    let kind = kind_of(document, &lineage);
    let changes = document.get_changes(&[]);
    let mut fields: HashMap<(u64, Vec<u8>), String> = HashMap::new();
    let mut entries: Vec<HistoryEntry> = changes
        .iter()
        .map(|change| {
            let hash = ChangeHash(change.hash().0);
            HistoryEntry {
                change: hash,
                after: lineage.parents(&hash),
                facts: facts.of(&hash),
                did: did(change, kind, &mut fields),
            }
        })
        .collect();
    entries.sort_by_key(|entry| lineage.place(&entry.change));
    entries
}

fn kind_of(document: &Automerge, lineage: &Lineage) -> Option<&'static Kind> {
    let root = automerge::ChangeHash(lineage.root()?.0);
    let (value, _) = document.get_at(ROOT, "kind", &[root]).ok()??;
    schema::kind(value.as_str()?)
}

fn did(
    change: &automerge::Change,
    kind: Option<&'static Kind>,
    fields: &mut HashMap<(u64, Vec<u8>), String>,
) -> Vec<Did> {
    let actor = change.actor_id().to_bytes().to_vec();
    let mut done = Vec::new();
    let expanded = change.decode();
    for (counter, operation) in (change.start_op().get()..).zip(&expanded.operations) {
        let within = match &operation.obj {
            ObjectId::Root => None,
            ObjectId::Id(id) => match fields.get(&(id.0, id.1.to_bytes().to_vec())) {
                Some(field) => Some(field.clone()),
                None => continue,
            },
        };
        match (within, &operation.key, &operation.action) {
            (None, Key::Map(key), OpType::Make(made)) => {
                let field = key.strip_prefix('+').unwrap_or(key).to_owned();
                if *made == ObjType::Text {
                    done.push(Did::Text {
                        field: field.clone(),
                    });
                }
                fields.insert((counter, actor.clone()), field);
            }
            (None, Key::Map(key), OpType::Put(scalar)) => done.push(Did::Set {
                value: from_scalar(scalar, field_type(kind, key)),
                field: key.to_string(),
            }),
            (Some(field), Key::Map(_), OpType::Put(scalar)) => {
                done.push(said(field, scalar, kind));
            }
            (Some(field), Key::Seq(_), _) => {
                let text = Did::Text { field };
                if !done.contains(&text) {
                    done.push(text);
                }
            }
            _ => {}
        }
    }
    done
}

fn said(field: String, scalar: &automerge::ScalarValue, kind: Option<&'static Kind>) -> Did {
    let assertion = match scalar {
        automerge::ScalarValue::Bytes(bytes) => Assertion::from_bytes(bytes).ok(),
        _ => None,
    };
    let encoded = assertion
        .as_ref()
        .and_then(|assertion| assertion.value.as_ref());
    let value = encoded
        .map(|encoded| typed_value(encoded, field_type(kind, &field)).unwrap_or_else(|raw| raw));
    Did::Said {
        field,
        value,
        assertion,
    }
}

/// The heads of what had been recorded by a time, going by the devices' clocks: every change
/// dated no later, without those that rest on a later one. Changes without a date count as
/// their ancestors do.
#[must_use]
pub fn heads_at(document: &Automerge, facts: &impl Facts, at_s: i64) -> Vec<ChangeHash> {
    let lineage = Lineage::of(document);
    let mut heads: Vec<ChangeHash> = Vec::new();
    let mut held: std::collections::HashSet<ChangeHash> = std::collections::HashSet::new();
    for change in lineage.changes() {
        let parents = lineage.parents(change);
        let early = facts
            .of(change)
            .recorded_at_s
            .is_none_or(|recorded| recorded <= at_s);
        if early && parents.iter().all(|parent| held.contains(parent)) {
            held.insert(*change);
            heads.retain(|head| !parents.contains(head));
            heads.push(*change);
        }
    }
    heads.sort_unstable();
    heads
}

/// The document as it was at these heads.
///
/// # Errors
///
/// Where it never had them.
pub fn as_of(document: &Automerge, heads: &[ChangeHash]) -> Result<Automerge, ReadError> {
    let heads: Vec<_> = heads
        .iter()
        .map(|head| automerge::ChangeHash(head.0))
        .collect();
    document
        .fork_at(&heads)
        .map_err(|_| ReadError::UnknownHeads)
}

impl HistoryEntry {
    /// For `cairn show --history --json`.
    #[must_use]
    pub fn to_json(&self, kind: Option<&'static Kind>) -> Json {
        json!({
            "change": self.change.to_string(),
            "after": self.after.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "by": self.facts.author,
            "device": self.facts.device.to_string(),
            "recorded_at": self.facts.recorded_at_s.and_then(utc),
            "verified": self.facts.verified,
            "did": self.did.iter().map(|did| did.to_json(kind)).collect::<Vec<_>>(),
        })
    }
}

impl Did {
    fn to_json(&self, kind: Option<&'static Kind>) -> Json {
        match self {
            Self::Set { field, value } => {
                json!({ "field": field, "set": present(value, field_type(kind, field)) })
            }
            Self::Text { field } => json!({ "field": field, "text": "changed" }),
            Self::Said {
                field,
                value,
                assertion,
            } => {
                let value = value
                    .as_ref()
                    .map(|value| present(value, field_type(kind, field)));
                let assertion = assertion.as_ref();
                json!({
                    "field": field,
                    "said": value,
                    "decision": assertion.is_some_and(|assertion| assertion.decision),
                    "withdraws": assertion.map_or(0, |assertion| assertion.withdraws.len()),
                    "reason": assertion.and_then(|assertion| assertion.reason.clone()),
                })
            }
        }
    }
}
