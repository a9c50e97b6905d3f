//! The documents' storage as it will be once a write set is committed.

use crate::error::MemberError;
use crate::tables::Tables;
use cairn_documents::storage::Visit;
use cairn_documents::{Storage, Table, WriteSet};
use std::collections::BTreeMap;

/// Rows of a write set over those of the tables.
pub(crate) struct Overlay<'a> {
    tables: Tables<'a>,
    rows: BTreeMap<(Table, &'a [u8]), Option<&'a [u8]>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(tables: Tables<'a>, writes: &'a WriteSet) -> Self {
        Self {
            tables,
            rows: writes
                .rows()
                .map(|(table, key, value)| ((table, key), value))
                .collect(),
        }
    }
}

impl Storage for Overlay<'_> {
    type Error = MemberError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, MemberError> {
        match self.rows.get(&(table, key)) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.tables.get(table, key),
        }
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), MemberError> {
        let mut rows = BTreeMap::new();
        self.tables.scan(table, prefix, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            std::ops::ControlFlow::Continue(())
        })?;
        let ours = self
            .rows
            .range((table, prefix)..)
            .take_while(|((of, key), _)| *of == table && key.starts_with(prefix));
        for ((_, key), value) in ours {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(*key),
            };
        }
        for (key, value) in &rows {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
