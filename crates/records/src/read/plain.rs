//! `once` and `reg` fields.

use super::{Facts, FieldReading, Flag, Reader, Shown};
use crate::layout::from_scalar;
use crate::schema::{Class, Field, FieldType};
use crate::value::Value;
use automerge::{ROOT, ReadDoc};
use cairn_wire::ids::ChangeHash;
use std::collections::BTreeSet;

impl<F: Facts> Reader<'_, F> {
    /// What the first change wrote under a key.
    pub(super) fn once(&self, key: &str) -> Option<(Value, ChangeHash)> {
        let root = [automerge::ChangeHash(self.root.0)];
        let values = match self.lineage.changes() {
            [_] => self.document.get_all(ROOT, key),
            _ => self.document.get_all_at(ROOT, key, &root),
        };
        let values = values.ok()?;
        let (value, _) = values.into_iter().next()?;
        Some((from_scalar(value.as_scalar()?, None), self.root))
    }

    pub(super) fn once_field(
        &self,
        field: &Field,
        flags: &mut BTreeSet<Flag>,
    ) -> Option<FieldReading> {
        let now = self.standing(&field.name, Some(&field.field_type));
        if now.iter().any(|(_, change)| *change != self.root) {
            flags.insert(Flag::Tampered);
        }
        let (value, change) = self.once(&field.name)?;
        Some(FieldReading {
            class: Class::Once,
            reads: value.clone(),
            region: None,
            values: self.lettered(vec![self.shown(value, change)]),
            conflict: false,
            assumed: false,
        })
    }

    pub(super) fn reg(&self, key: &str, field_type: Option<&FieldType>) -> Option<FieldReading> {
        let standing = self.standing(key, field_type);
        let values: Vec<Shown> = standing
            .into_iter()
            .map(|(value, change)| self.shown(value, change))
            .collect();
        let first = values.first()?.value.clone();
        let conflict = values.iter().any(|shown| shown.value != first);
        if values.iter().all(|shown| shown.value == Value::Null) {
            return None;
        }
        Some(FieldReading {
            class: Class::Reg,
            reads: if conflict { Value::Null } else { first },
            region: None,
            values: self.lettered(values),
            conflict,
            assumed: false,
        })
    }

    /// The scalars that stand under a root key, each with the change that wrote it.
    fn standing(&self, key: &str, field_type: Option<&FieldType>) -> Vec<(Value, ChangeHash)> {
        if !self.keys.contains(key) {
            return Vec::new();
        }
        let values = self.document.get_all(ROOT, key).unwrap_or_default();
        values
            .into_iter()
            .filter_map(|(value, id)| {
                let change = self.document.hash_for_opid(&id)?;
                let value = from_scalar(value.as_scalar()?, field_type);
                Some((value, ChangeHash(change.0)))
            })
            .collect()
    }
}
