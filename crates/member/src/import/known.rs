//! Which rows are records already: millions of keys in as few bytes as they need, in trees, which grow
//! without ever being copied as a whole.

use cairn_wire::ids::DocumentId;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// Bytes of a key that are kept. Two of ten million keys are equal in these by chance once in 10^15
/// imports.
const KEY_BYTES: usize = 12;

type Key = [u8; KEY_BYTES];

/// What says the same as a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The record, where rows are compared with it.
    pub id: Option<DocumentId>,
    /// The first row of this import that said it, where one has.
    pub row: Option<u64>,
}

/// What records and rows say, by their import keys.
#[derive(Default)]
pub(super) struct KnownRows {
    /// Records that were here, and those of rows that are known again by what their source calls them.
    records: BTreeMap<Key, DocumentId>,
    /// The first row that said it.
    rows: BTreeMap<Key, [u8; 4]>,
}

impl KnownRows {
    /// What says the same.
    pub fn get(&self, import_key: &[u8; 32]) -> Option<Known> {
        let key = kept(import_key);
        let id = self.records.get(&key).copied();
        let row = self.rows.get(&key);
        let row = row.map(|row| u64::from(u32::from_ne_bytes(*row)));
        (id.is_some() || row.is_some()).then_some(Known { id, row })
    }

    /// A record that rows of this key are compared with.
    pub fn record(&mut self, import_key: &[u8; 32], id: DocumentId) {
        self.records.insert(kept(import_key), id);
    }

    /// A row of this key, so that later ones can name it. The first one stays.
    pub fn row(&mut self, import_key: &[u8; 32], row: u64) {
        if let Entry::Vacant(place) = self.rows.entry(kept(import_key)) {
            place.insert(u32::try_from(row).unwrap_or(u32::MAX).to_ne_bytes());
        }
    }
}

impl fmt::Debug for KnownRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, rows) = (self.records.len(), self.rows.len());
        write!(f, "KnownRows({records} records, {rows} rows)")
    }
}

fn kept(import_key: &[u8; 32]) -> Key {
    let mut key = [0; KEY_BYTES];
    for (kept, byte) in key.iter_mut().zip(import_key) {
        *kept = *byte;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> [u8; 32] {
        *blake3::hash(&[number]).as_bytes()
    }

    #[test]
    fn the_first_row_that_said_it_is_named_and_the_record_is_found() {
        let mut known = KnownRows::default();
        assert_eq!(known.get(&key(1)), None);
        known.record(&key(1), DocumentId([1; 16]));
        let id = Some(DocumentId([1; 16]));
        assert_eq!(known.get(&key(1)), Some(Known { id, row: None }));
        known.row(&key(1), 7);
        known.row(&key(1), 9);
        known.row(&key(2), u64::MAX);
        assert_eq!(known.get(&key(1)), Some(Known { id, row: Some(7) }));
        let row = Some(u64::from(u32::MAX));
        assert_eq!(known.get(&key(2)), Some(Known { id: None, row }));
        assert_eq!(known.get(&key(3)), None);
    }

    #[test]
    fn a_row_that_is_only_counted_takes_sixteen_bytes() {
        assert_eq!(size_of::<(Key, [u8; 4])>(), 16);
    }
}
