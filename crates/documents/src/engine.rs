//! The only place where Automerge meets a change from outside. Whatever it does there, a panic
//! included, comes out as failure.

use automerge::{Automerge, Change, ObjId, ObjType, ReadDoc, ScalarValue, Value};
use cairn_wire::ChangeHash;
use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Automerge failed: it refused, dropped what it said it took, panicked, or gave other values when
/// loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// Applies one change and sees that it is there. On failure the document is worth nothing.
pub(crate) fn apply(
    document: &mut Automerge,
    bytes: &[u8],
    hash: &ChangeHash,
) -> Result<(), Failed> {
    guarded(|| {
        let change = Change::from_bytes(bytes.to_vec()).map_err(|_| Failed)?;
        let hash = automerge::ChangeHash(hash.0);
        if change.hash() != hash {
            return Err(Failed);
        }
        document.apply_changes([change]).map_err(|_| Failed)?;
        #[cfg(test)]
        faults::check(document)?;
        // Nothing rests on a change that has just been applied, so it is a head.
        if document.get_heads().contains(&hash) {
            Ok(())
        } else {
            Err(Failed)
        }
    })
}

/// A document that came through [`prove`].
pub(crate) struct Proved {
    /// What it was saved as.
    pub(crate) saved: Vec<u8>,
    /// What that was loaded as.
    pub(crate) automerge: Automerge,
}

/// Reads everything, saves, loads, and reads everything again: heads and values must be equal. The
/// one is read range by range, the other key by key, so that both ways of reading are proved too.
pub(crate) fn prove(document: &Automerge) -> Result<Proved, Failed> {
    guarded(|| {
        let saved = document.save();
        let automerge = Automerge::load(&saved).map_err(|_| Failed)?;
        let equal = automerge.get_heads() == document.get_heads()
            && read_by_key(&automerge)? == read_by_range(document)?;
        equal.then_some(Proved { saved, automerge }).ok_or(Failed)
    })
}

/// Loads what [`prove`] saved.
pub(crate) fn load(saved: &[u8]) -> Result<Automerge, Failed> {
    guarded(|| Automerge::load(saved).map_err(|_| Failed))
}

/// Whatever is done with Automerge on a document.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let outside = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Failed));
    GUARDED.set(outside);
    result
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would be caught here. A binary's panic hook says nothing then:
/// the message could hold what people wrote.
#[must_use]
pub fn panic_is_caught() -> bool {
    GUARDED.get()
}

/// A digest of every value that can be read, concurrent ones included.
pub(crate) fn read_by_key(document: &Automerge) -> Result<u64, Failed> {
    let mut hasher = DefaultHasher::new();
    let mut open = vec![(ObjId::Root, ObjType::Map)];
    while let Some((object, kind)) = open.pop() {
        match kind {
            ObjType::Map | ObjType::Table => {
                for key in document.keys(&object) {
                    key.hash(&mut hasher);
                    let values = document.get_all(&object, key).map_err(|_| Failed)?;
                    read_values(values, &mut open, &mut hasher);
                }
            }
            ObjType::List => {
                for at in 0..document.length(&object) {
                    let values = document.get_all(&object, at).map_err(|_| Failed)?;
                    read_values(values, &mut open, &mut hasher);
                }
            }
            ObjType::Text => {
                document
                    .text(&object)
                    .map_err(|_| Failed)?
                    .hash(&mut hasher);
                document.length(&object).hash(&mut hasher);
            }
        }
    }
    Ok(hasher.finish())
}

/// The same digest, each object read in one go.
fn read_by_range(document: &Automerge) -> Result<u64, Failed> {
    let mut hasher = DefaultHasher::new();
    let mut open = vec![(ObjId::Root, ObjType::Map)];
    while let Some((object, kind)) = open.pop() {
        match kind {
            ObjType::Map | ObjType::Table => {
                for item in document.map_range(&object, ..) {
                    item.key.hash(&mut hasher);
                    let values = match item.conflict {
                        true => document.get_all(&object, item.key.as_ref()),
                        false => Ok(vec![(item.value.clone().into_value(), item.id())]),
                    };
                    read_values(values.map_err(|_| Failed)?, &mut open, &mut hasher);
                }
            }
            ObjType::List => {
                for item in document.list_range(&object, ..) {
                    let values = match item.conflict {
                        true => document.get_all(&object, item.index),
                        false => Ok(vec![(item.value.clone().into_value(), item.id())]),
                    };
                    read_values(values.map_err(|_| Failed)?, &mut open, &mut hasher);
                }
            }
            ObjType::Text => {
                document
                    .text(&object)
                    .map_err(|_| Failed)?
                    .hash(&mut hasher);
                document.length(&object).hash(&mut hasher);
            }
        }
    }
    Ok(hasher.finish())
}

fn read_values(
    values: Vec<(Value<'_>, ObjId)>,
    open: &mut Vec<(ObjId, ObjType)>,
    hasher: &mut DefaultHasher,
) {
    for (value, id) in values {
        match value {
            Value::Object(kind) => {
                (kind as u8).hash(hasher);
                open.push((id, kind));
            }
            Value::Scalar(scalar) => hash_scalar(&scalar, hasher),
        }
    }
}

fn hash_scalar(scalar: &ScalarValue, hasher: &mut DefaultHasher) {
    std::mem::discriminant(scalar).hash(hasher);
    match scalar {
        ScalarValue::Bytes(bytes) => bytes.hash(hasher),
        ScalarValue::Str(text) => text.hash(hasher),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => number.hash(hasher),
        ScalarValue::Uint(number) => number.hash(hasher),
        ScalarValue::F64(number) => number.to_bits().hash(hasher),
        ScalarValue::Counter(counter) => i64::from(counter).hash(hasher),
        ScalarValue::Boolean(value) => value.hash(hasher),
        ScalarValue::Unknown { type_code, bytes } => (type_code, bytes).hash(hasher),
        ScalarValue::Null => {}
    }
}

/// Failures that tests plant: sets of changes that Automerge shall fail on in company.
#[cfg(test)]
pub(crate) mod faults {
    use super::Failed;
    use automerge::Automerge;
    use cairn_wire::ChangeHash;
    use std::cell::RefCell;

    thread_local! {
        static PLANTED: RefCell<Vec<Vec<ChangeHash>>> = const { RefCell::new(Vec::new()) };
    }

    /// From now on, on this thread, a document that holds all of these panics.
    pub(crate) fn plant(together: Vec<ChangeHash>) {
        PLANTED.with_borrow_mut(|planted| planted.push(together));
    }

    pub(crate) fn check(document: &Automerge) -> Result<(), Failed> {
        PLANTED.with_borrow(|planted| {
            for together in planted {
                let all = together.iter().all(|hash| {
                    let hash = automerge::ChangeHash(hash.0);
                    document.get_change_meta_by_hash(&hash).is_some()
                });
                assert!(!all, "planted failure");
            }
        });
        Ok(())
    }
}
