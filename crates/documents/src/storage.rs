//! The small port over which documents are kept. `device` and `centre` implement it on their store.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

/// What a row belongs to. Keys are opaque ids, values may hold what people wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// (scope, document) → the document as last saved.
    Documents = 1,
    /// (scope, document, change) → author and entries of an applied change.
    Changes = 2,
    /// (scope, document, change) → a change that waits, is stuck or quarantined.
    Held = 3,
    /// (scope, document, dependency, change) → nothing: the change waits for the dependency.
    Awaited = 4,
    /// (scope, device) → how much of that author waits.
    Waiting = 5,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Documents,
        Self::Changes,
        Self::Held,
        Self::Awaited,
        Self::Waiting,
    ];
}

/// Called with each key and value; breaking off ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Rows that can be read. Writes go through a [`WriteSet`], which the caller commits together with
/// its own.
pub trait Storage {
    /// Why reading failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The value of a row.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Every row whose key begins with `prefix`, in order of keys.
    fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Self::Error>;

    /// The same in no order that means anything: for whom order costs memory.
    fn each(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Self::Error> {
        self.scan(table, prefix, visit)
    }
}

/// Rows to put and to delete, to be committed as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    rows: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    bytes: usize,
}

impl WriteSet {
    /// Nothing to write.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows are put or deleted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of keys and values that were put or deleted so far, those that were replaced since
    /// included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each row, `None` where it is deleted, given away.
    pub fn into_rows(self) -> impl Iterator<Item = (Table, Vec<u8>, Option<Vec<u8>>)> {
        let rows = self.rows.into_iter();
        rows.map(|((table, key), value)| (table, key, value))
    }

    /// Each row, `None` where it is deleted.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|((table, key), value)| (*table, key.as_slice(), value.as_deref()))
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.rows.insert((table, key), Some(value));
    }

    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.bytes += key.len();
        self.rows.insert((table, key), None);
    }

    /// Adds what another one does; where both write one row, the other one wins.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.rows.append(&mut other.rows);
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows
            .get(&(table, key.to_vec()))
            .map(|value| value.as_deref())
    }

    fn with_prefix<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.rows
            .range((table, prefix.to_vec())..)
            .take_while(move |((of, key), _)| *of == table && key.starts_with(prefix))
            .map(|((_, key), value)| (key.as_slice(), value.as_deref()))
    }
}

/// A row of a scan.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Storage as it will be once write sets are committed.
pub(crate) struct View<'a, S> {
    pub(crate) storage: &'a S,
    /// What will be committed before.
    pub(crate) before: Option<&'a WriteSet>,
    pub(crate) writes: &'a mut WriteSet,
}

impl<S: Storage> View<'_, S> {
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, S::Error> {
        let before = || self.before.and_then(|before| before.get(table, key));
        match self.writes.get(table, key).or_else(before) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.storage.get(table, key),
        }
    }

    pub(crate) fn scan(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, S::Error> {
        let mut rows = BTreeMap::new();
        self.storage.scan(table, prefix, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })?;
        let before = self.before.into_iter();
        let before = before.flat_map(|before| before.with_prefix(table, prefix));
        for (key, value) in before.chain(self.writes.with_prefix(table, prefix)) {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().collect())
    }
}

/// Rows in memory, for tests and for tools that keep nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStorage {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryStorage {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits a write set.
    pub fn commit(&mut self, writes: WriteSet) {
        for (key, value) in writes.rows {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    /// How many rows a table has.
    #[must_use]
    pub fn count(&self, table: Table) -> usize {
        self.rows.keys().filter(|(of, _)| *of == table).count()
    }
}

impl Storage for MemoryStorage {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Infallible> {
        for ((of, key), value) in self.rows.range((table, prefix.to_vec())..) {
            if *of != table || !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
