//! The derived tables: what a member remembers so that it need not open every entry again.
//!
//! [`Tables`] reads them through the table key and is the documents' [`Storage`]; [`Writes`] collects
//! what is to become visible together, sealed only once, when it turns into the store's write set.

use crate::Member;
use crate::at_rest::{AFTER_VALUE_BYTES, TableKey};
use crate::error::MemberError;
use crate::ingest::TRUST_LOOKED;
use cairn_documents::storage::Visit;
use cairn_documents::{Storage, Table};
use cairn_store::{Store, TableName};
use cairn_wire::codec;
use cairn_wire::ids::{DocumentId, EntryId, ScopeId};
use std::collections::BTreeMap;

/// A row of one of the tables below: which table, and its key.
pub(crate) type Place = (Kept, Vec<u8>);

/// What is kept, one byte each, first in every hashed key. The documents' own tables have 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// What `documents` keeps.
    Documents(Table),
    /// (scope, document) → where its line is, and its outline on the ground.
    Summaries,
    /// (scope, lane) → how far that journal has been applied.
    Applied,
    /// entry → where it stands, and what became of it.
    Entries,
    /// (scope, key number, entry) → the entry waits for that key.
    Locked,
    /// (scope, entry) → the entry, or a place in it, could not be read.
    Spoilt,
    /// (scope, page) → what orders, filters and places the lines of that page.
    Heads,
    /// (scope, page) → the rest of what lists show.
    Lines,
    /// (scope, page) → words by which the records of that page are searched.
    Words,
    /// (scope, page) → how the fields of the records of that page read.
    Fields,
    /// scope → how many records there are, and of which sort.
    Totals,
    /// (hash of a number, a link or a day; scope, document) → that record has it.
    Alike,
    /// own entry → the records that its changes are for.
    EntryContents,
    /// outbox number → the records that the changes of an unsealed frame are for.
    OutboxContents,
}

impl Kept {
    const fn byte(self) -> u8 {
        match self {
            Self::Documents(table) => table as u8,
            Self::Summaries => 16,
            Self::Applied => 17,
            Self::Entries => 18,
            Self::Locked => 19,
            Self::Spoilt => 20,
            Self::Lines => 21,
            Self::Words => 22,
            Self::Totals => 23,
            Self::EntryContents => 24,
            Self::OutboxContents => 25,
            Self::Heads => 26,
            Self::Alike => 27,
            Self::Fields => 28,
        }
    }

    /// Rows that a scan reads at a time; pages are long.
    const fn scan_rows(self) -> usize {
        match self {
            Self::Lines | Self::Words | Self::Fields | Self::Alike => 32,
            Self::Heads => 64,
            _ => 512,
        }
    }

    const fn name(self) -> TableName {
        match self {
            Self::Documents(Table::Documents) => TableName::Documents,
            Self::Documents(Table::Changes) => TableName::Changes,
            Self::Documents(_) => TableName::Waiting,
            Self::Summaries
            | Self::Heads
            | Self::Lines
            | Self::Words
            | Self::Fields
            | Self::Totals
            | Self::Alike => TableName::Summaries,
            Self::Applied
            | Self::Entries
            | Self::Locked
            | Self::Spoilt
            | Self::EntryContents
            | Self::OutboxContents => TableName::Meta,
        }
    }
}

/// Layout of the tables. Those of another one are made anew.
const LAYOUT: u32 = 6;
/// Key of the row that says which one they have.
const LAYOUT_KEY: &[u8] = b"layout";

impl Member {
    /// Looks whether the tables have the layout of this version, and says so in those that are empty.
    ///
    /// # Errors
    ///
    /// [`MemberError::Tables`] where they have another one: repair the store, which empties them.
    pub fn begin_tables(&self, store: &mut dyn Store) -> Result<(), MemberError> {
        let tables = self.tables(store);
        let layout = tables.read(Kept::Applied, LAYOUT_KEY)?;
        match layout.map(|bytes| codec::decode(&bytes)).transpose()? {
            Some(LAYOUT) => return Ok(()),
            None if tables.read(Kept::Applied, TRUST_LOOKED)?.is_none() => {}
            Some(_) | None => {
                return Err(MemberError::Tables(
                    "they were written by another version".into(),
                ));
            }
        }
        let mut writes = Writes::default();
        writes.put(Kept::Applied, LAYOUT_KEY.to_vec(), codec::encode(&LAYOUT));
        store.apply(writes.seal(&self.table_key))?;
        Ok(())
    }
}

/// Called with key and value of a row; answers whether to go on.
pub(crate) type VisitRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, MemberError>;

/// The derived tables of a store, opened.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    store: &'a dyn Store,
    key: &'a TableKey,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(store: &'a dyn Store, key: &'a TableKey) -> Self {
        Self { store, key }
    }

    pub(crate) fn read(&self, kept: Kept, key: &[u8]) -> Result<Option<Vec<u8>>, MemberError> {
        let hashed = self.key.hashed(kept.byte(), key);
        let Some(mut sealed) = self.store.get(kept.name(), &hashed)? else {
            return Ok(None);
        };
        let (found, value) = self.key.open(&hashed, &mut sealed)?;
        // Two keys of one hash: 2^64 rows away, but never one for the other.
        if found != key {
            return Ok(None);
        }
        let value_bytes = value.len();
        sealed.truncate(sealed.len() - AFTER_VALUE_BYTES);
        sealed.drain(..sealed.len() - value_bytes);
        Ok(Some(sealed))
    }

    /// Visits every row whose key begins with `prefix`, in no order that means anything; `visit`
    /// answers whether to go on.
    pub(crate) fn each(
        &self,
        kept: Kept,
        prefix: &[u8],
        visit: VisitRow<'_>,
    ) -> Result<(), MemberError> {
        let hashed_prefix = self.key.hashed_prefix(kept.byte(), prefix);
        let mut from: Option<Vec<u8>> = None;
        loop {
            let rows = self.store.scan(
                kept.name(),
                &hashed_prefix,
                from.as_deref(),
                kept.scan_rows(),
            )?;
            let full = rows.len() == kept.scan_rows();
            let mut last = Vec::new();
            for (hashed, mut sealed) in rows {
                let (key, value) = self.key.open(&hashed, &mut sealed)?;
                if key.starts_with(prefix) && !visit(key, value)? {
                    return Ok(());
                }
                last = hashed;
            }
            if !full {
                return Ok(());
            }
            last.push(0);
            from = Some(last);
        }
    }
}

impl Storage for Tables<'_> {
    type Error = MemberError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, MemberError> {
        self.read(Kept::Documents(table), key)
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), MemberError> {
        let mut rows = BTreeMap::new();
        self.each(Kept::Documents(table), prefix, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            Ok(true)
        })?;
        for (key, value) in &rows {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn each(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), MemberError> {
        self.each(Kept::Documents(table), prefix, &mut |key, value| {
            Ok(visit(key, value).is_continue())
        })
    }
}

/// Rows to write together.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    rows: BTreeMap<Place, Option<Vec<u8>>>,
}

impl Writes {
    pub(crate) fn put(&mut self, kept: Kept, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert((kept, key), Some(value));
    }

    pub(crate) fn delete(&mut self, kept: Kept, key: Vec<u8>) {
        self.rows.insert((kept, key), None);
    }

    /// What is to become of the rows whose key begins with `prefix`; `None` where it goes.
    pub(crate) fn each<'a>(
        &'a self,
        kept: Kept,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.rows
            .range((kept, prefix.to_vec())..)
            .take_while(move |((of, key), _)| *of == kept && key.starts_with(prefix))
            .map(|((_, key), value)| (key.as_slice(), value.as_deref()))
    }

    /// What is to become of a row; `None` where nothing is.
    pub(crate) fn row(&self, kept: Kept, key: Vec<u8>) -> Option<Option<&[u8]>> {
        self.rows.get(&(kept, key)).map(|value| value.as_deref())
    }

    pub(crate) fn documents(&mut self, writes: cairn_documents::WriteSet) {
        let rows = writes.into_rows();
        self.rows
            .extend(rows.map(|(table, key, value)| ((Kept::Documents(table), key), value)));
    }

    pub(crate) fn seal(self, key: &TableKey) -> cairn_store::WriteSet {
        let mut sealed = cairn_store::WriteSet::new();
        for ((kept, plain), value) in self.rows {
            let hashed = key.hashed(kept.byte(), &plain);
            match value {
                Some(value) => {
                    let value = key.seal(&hashed, &plain, &value);
                    sealed.put(kept.name(), hashed, value);
                }
                None => sealed.delete(kept.name(), hashed),
            }
        }
        sealed
    }
}

/// Key of a document's rows.
pub(crate) fn document_key(scope: &ScopeId, document: &DocumentId) -> Vec<u8> {
    [scope.0.as_slice(), document.0.as_slice()].concat()
}

/// Key of an entry that waits for a key of its scope.
pub(crate) fn locked_key(scope: &ScopeId, number: u32, entry: &EntryId) -> Vec<u8> {
    let mut key = locked_prefix(scope, number);
    key.extend_from_slice(&entry.0);
    key
}

/// Prefix of all entries that wait for one key: whole segments.
pub(crate) fn locked_prefix(scope: &ScopeId, number: u32) -> Vec<u8> {
    let mut key = scope.0.to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key.resize(32, 0);
    key
}
