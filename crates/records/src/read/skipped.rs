//! Assertions in changes that the merge engine could not apply: they still count.

use crate::layout::{Assertion, Stored, growing_key, objects};
use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use cairn_wire::ids::ChangeHash;
use std::collections::{BTreeMap, HashMap};

/// By field.
pub(super) type Skipped = BTreeMap<String, Vec<Stored>>;

/// What the skipped changes assert, in maps of the document or of their own.
pub(super) fn assertions(document: &Automerge, skipped: &[Change]) -> Skipped {
    let mut found = Skipped::new();
    if skipped.is_empty() {
        return found;
    }
    let mut maps: HashMap<(u64, Vec<u8>), String> = HashMap::new();
    for key in document.keys(ROOT) {
        let Some(field) = key.strip_prefix('+') else {
            continue;
        };
        for map in objects(document, &growing_key(field), ObjType::Map) {
            if let ObjId::Id(counter, actor, _) = map {
                maps.insert((counter, actor.to_bytes().to_vec()), field.to_owned());
            }
        }
    }
    let expanded: Vec<_> = skipped
        .iter()
        .map(|change| (change, change.decode()))
        .collect();
    for (change, operations) in &expanded {
        let actor = change.actor_id().to_bytes().to_vec();
        for (counter, operation) in (change.start_op().get()..).zip(&operations.operations) {
            let made = matches!(operation.action, OpType::Make(ObjType::Map));
            if let (ObjectId::Root, Key::Map(key), true) = (&operation.obj, &operation.key, made)
                && let Some(field) = key.strip_prefix('+')
            {
                maps.insert((counter, actor.clone()), field.to_owned());
            }
        }
    }
    for (change, operations) in &expanded {
        for operation in &operations.operations {
            let (ObjectId::Id(map), Key::Map(key)) = (&operation.obj, &operation.key) else {
                continue;
            };
            let OpType::Put(scalar) = &operation.action else {
                continue;
            };
            if let Some(field) = maps.get(&(map.0, map.1.to_bytes().to_vec())) {
                found.entry(field.clone()).or_default().push(Stored {
                    change: ChangeHash(change.hash().0),
                    key: key.to_string(),
                    assertion: match scalar {
                        ScalarValue::Bytes(bytes) => Assertion::from_bytes(bytes).ok(),
                        _ => None,
                    },
                });
            }
        }
    }
    found
}
