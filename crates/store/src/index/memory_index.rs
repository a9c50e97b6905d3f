//! An index in memory, gone at every close: each opening reads all segments.

use super::{Index, IndexFactory, IndexWrites, OpenIndexError, Row, Rows, Table};
use crate::error::IndexError;
use std::collections::BTreeMap;
use std::ops::Bound;

/// See [`Index`].
#[derive(Debug, Clone, Default)]
pub struct MemoryIndex {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

/// Makes [`MemoryIndex`]es.
#[derive(Debug, Default)]
pub struct MemoryIndexFactory;

impl IndexFactory for MemoryIndexFactory {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        Ok(Box::new(MemoryIndex::default()))
    }

    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        Ok((Box::new(MemoryIndex::default()), None))
    }
}

impl Index for MemoryIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError> {
        let start = from.filter(|from| *from > prefix).unwrap_or(prefix);
        Ok(self
            .rows
            .range((table, start.to_vec())..)
            .take_while(|((of, key), _)| *of == table && key.starts_with(prefix))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>, IndexError> {
        // 0xff more often than any key is long: sorts after every key with the prefix.
        let mut end = prefix.to_vec();
        end.extend([0xff; crate::port::KEY_BYTES_MAX + 1]);
        Ok(self
            .rows
            .range((
                Bound::Included((table, prefix.to_vec())),
                Bound::Excluded((table, end)),
            ))
            .next_back()
            .map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError> {
        for (key, value) in writes.writes {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn persist(&mut self) -> Result<(), IndexError> {
        Ok(())
    }
}
