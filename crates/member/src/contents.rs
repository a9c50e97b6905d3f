//! Which records the changes of an own entry or of an unsealed frame are for: so that what is unsent can
//! be told without opening it again.

use crate::Member;
use crate::error::MemberError;
use crate::tables::{Kept, Tables, Writes};
use cairn_documents::OpenedChange;
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, EntryId, ScopeId};
use std::collections::BTreeMap;

/// Bytes of outbox frames that are opened at a time.
const OUTBOX_BYTES: usize = 1024 * 1024;
const HEAD_BYTES: usize = ScopeId::LEN + 4 + 9;
const ITEM_BYTES: usize = DocumentId::LEN + 4;

/// What changes are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// How many changes there are.
    pub(crate) changes: u32,
    /// When the first of them was recorded, by its author's clock.
    pub(crate) recorded_at_s: Option<i64>,
    /// How many are for which record.
    pub(crate) documents: Vec<(DocumentId, u32)>,
}

impl Contents {
    /// Of changes of anybody: when they were recorded is left out, for only bytes that passed the
    /// pre-flight here are given to the merge engine.
    pub(crate) fn of<'a>(changes: impl IntoIterator<Item = &'a OpenedChange>) -> Self {
        let mut documents: BTreeMap<DocumentId, u32> = BTreeMap::new();
        let mut count = 0;
        for change in changes {
            count += 1;
            *documents.entry(change.document).or_default() += 1;
        }
        Self {
            changes: count,
            recorded_at_s: None,
            documents: documents.into_iter().collect(),
        }
    }

    /// Of own changes.
    pub(crate) fn of_own<'a>(changes: impl IntoIterator<Item = &'a OpenedChange>) -> Self {
        let mut changes = changes.into_iter().peekable();
        let first = changes.peek().map(|first| first.bytes.clone());
        let recorded_at_s = first
            .and_then(|bytes| automerge::Change::from_bytes(bytes).ok())
            .map(|change| change.timestamp());
        Self {
            recorded_at_s,
            ..Self::of(changes)
        }
    }

    /// Of a frame that does not open.
    pub(crate) fn unknown() -> Self {
        Self {
            changes: 1,
            ..Self::default()
        }
    }

    /// By hand: an entry may hold changes of more records than a frame of the wire.
    pub(crate) fn encode(&self, scope: &ScopeId) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + ITEM_BYTES * self.documents.len());
        out.extend_from_slice(&scope.0);
        out.extend_from_slice(&self.changes.to_be_bytes());
        out.push(u8::from(self.recorded_at_s.is_some()));
        out.extend_from_slice(&self.recorded_at_s.unwrap_or(0).to_be_bytes());
        for (document, changes) in &self.documents {
            out.extend_from_slice(&document.0);
            out.extend_from_slice(&changes.to_be_bytes());
        }
        out
    }

    /// Its scope, and what is for which record; `with_documents` or only how many.
    pub(crate) fn decode(
        bytes: &[u8],
        with_documents: bool,
    ) -> Result<(ScopeId, Self), MemberError> {
        let damaged = || MemberError::Tables("a row about an entry does not read".into());
        let (scope, bytes) = bytes.split_at_checked(ScopeId::LEN).ok_or_else(damaged)?;
        let scope = ScopeId::from_slice(scope).ok_or_else(damaged)?;
        let (changes, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (known, rest) = rest.split_first().ok_or_else(damaged)?;
        let (recorded_at_s, mut rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let mut documents = Vec::new();
        while with_documents && !rest.is_empty() {
            let (document, after) = rest.split_at_checked(DocumentId::LEN).ok_or_else(damaged)?;
            let (changes, after) = after.split_first_chunk::<4>().ok_or_else(damaged)?;
            let document = DocumentId::from_slice(document).ok_or_else(damaged)?;
            documents.push((document, u32::from_be_bytes(*changes)));
            rest = after;
        }
        let contents = Self {
            changes: u32::from_be_bytes(*changes),
            recorded_at_s: (*known == 1).then(|| i64::from_be_bytes(*recorded_at_s)),
            documents,
        };
        Ok((scope, contents))
    }

    /// Of an own entry that was taken in here; `None` of any other.
    pub(crate) fn of_entry(
        tables: &Tables<'_>,
        id: &EntryId,
        with_documents: bool,
    ) -> Result<Option<Self>, MemberError> {
        let row = tables.read(Kept::EntryContents, &id.0)?;
        row.map(|bytes| Ok(Self::decode(&bytes, with_documents)?.1))
            .transpose()
    }
}

/// Key of the row about an outbox frame.
pub(crate) fn frame_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

impl Member {
    /// After a crash there may be rows about frames that are sealed since, for a seal's writes can be
    /// lost where the seal is not. Then all are made anew.
    pub(crate) fn mend_outbox_contents(&self, store: &mut dyn Store) -> Result<(), MemberError> {
        let mut rows = Vec::new();
        self.tables(store)
            .each(Kept::OutboxContents, &[], &mut |key, _| {
                rows.push(key.to_vec());
                Ok(true)
            })?;
        if rows.len() as u64 == store.outbox_len() {
            return Ok(());
        }
        let mut writes = Writes::default();
        for key in rows {
            writes.delete(Kept::OutboxContents, key);
        }
        let mut from = 0;
        loop {
            let frames = store.outbox(from, OUTBOX_BYTES)?;
            let Some(last) = frames.last() else {
                break;
            };
            from = last.number + 1;
            for frame in &frames {
                let contents = match self.open_frame(frame) {
                    Some(changes) => Contents::of_own(&changes),
                    None => Contents::unknown(),
                };
                let key = frame_key(frame.number);
                writes.put(Kept::OutboxContents, key, contents.encode(&frame.scope));
            }
        }
        store.apply(writes.seal(&self.table_key))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_read_back() {
        let documents = (0..5000u16)
            .map(|n| {
                let mut id = DocumentId([0; 16]);
                id.0[..2].copy_from_slice(&n.to_be_bytes());
                (id, u32::from(n) + 1)
            })
            .collect();
        let contents = Contents {
            changes: 7,
            recorded_at_s: Some(-3),
            documents,
        };
        let scope = ScopeId([9; 16]);
        let bytes = contents.encode(&scope);
        assert_eq!(Contents::decode(&bytes, true).unwrap(), (scope, contents));
        assert!(Contents::decode(&bytes[..bytes.len() - 1], true).is_err());
        let unknown = Contents::unknown();
        let bytes = unknown.encode(&scope);
        assert_eq!(Contents::decode(&bytes, true).unwrap(), (scope, unknown));
    }
}
