//! An index that survives a crash as it was when it last was made durable: older than the segments,
//! like the product's, and never ahead of them.

use cairn_store::IndexError;
use cairn_store::index::memory_index::MemoryIndex;
use cairn_store::index::{Index, IndexFactory, IndexWrites, OpenIndexError, Rows, Table};
use std::sync::{Arc, Mutex, PoisonError};

const TABLES: [Table; 15] = [
    Table::Meta,
    Table::Entries,
    Table::Journal,
    Table::Logs,
    Table::Leaves,
    Table::Detached,
    Table::Origins,
    Table::Ends,
    Table::Authority,
    Table::AuthorityForks,
    Table::Outbox,
    Table::State,
    Table::Grants,
    Table::Receipts,
    Table::Peers,
];

type Snapshot = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// The durable part; a handle on it is an [`IndexFactory`].
#[derive(Clone, Default)]
pub struct Survivor(Arc<Mutex<Snapshot>>);

impl Survivor {
    /// Another one with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(Mutex::new(rows.clone())))
    }

    fn restored(&self) -> Result<SurvivingIndex, IndexError> {
        let mut writes = IndexWrites::default();
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, key, value) in rows.iter() {
            writes.put(*table, key.clone(), value.clone());
        }
        drop(rows);
        let mut rows = MemoryIndex::default();
        rows.apply(writes)?;
        Ok(SurvivingIndex {
            rows,
            durable: self.clone(),
        })
    }
}

impl IndexFactory for Survivor {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        let index = self
            .restored()
            .map_err(|error| OpenIndexError::Damaged(error.to_string()))?;
        Ok(Box::new(index))
    }

    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok((self.open()?, None))
    }
}

struct SurvivingIndex {
    rows: MemoryIndex,
    durable: Survivor,
}

impl Index for SurvivingIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.rows.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError> {
        self.rows.scan(table, prefix, from, limit)
    }

    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>, IndexError> {
        self.rows.last(table, prefix)
    }

    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError> {
        self.rows.apply(writes)
    }

    fn persist(&mut self) -> Result<(), IndexError> {
        let mut snapshot = Vec::new();
        for table in TABLES {
            let rows = self.rows.scan(table, &[], None, usize::MAX)?;
            snapshot.extend(rows.into_iter().map(|(key, value)| (table, key, value)));
        }
        *self
            .durable
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }
}
