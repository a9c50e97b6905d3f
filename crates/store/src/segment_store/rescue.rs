//! What a repair saves out of the index before it makes it anew.
//!
//! Entries and unsealed changes lie in the segments alone. The authority's log, grants, receipts and states
//! are small, and the index holds them whole: where rot has eaten such a frame, and the index is still
//! there, its contents are written again as a new frame. A grant of a key to a relay's own centre has no
//! other place to come back from.

use super::SegmentStore;
use crate::contents::side_table;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::{Kind, NewFrame};
use crate::index::Table;
use crate::layout::{self, SideClass};
use crate::port::{Row, SideObject};
use crate::segments::Scanned;
use cairn_keys::authority::AuthorityEntry;
use cairn_wire::hash;
use std::collections::{BTreeSet, HashMap};

/// Rows of the index that are looked at together.
const ROWS: usize = 1024;
/// What tells one small piece from another; never stored, so that collisions only cost a rescue.
const CONTEXT: &str = "cairn 2026 what segments hold, for a repair v1";

/// By a piece's kind and key: what the segments say of it last.
#[derive(Default)]
struct InSegments {
    pieces: HashMap<[u8; 16], [u8; 16]>,
    authority: BTreeSet<u64>,
}

impl<D: Disk> SegmentStore<D> {
    /// Appends what the segments lack of what the index holds; answers how many pieces. The index is not
    /// written to: it is about to be replaced.
    pub(super) fn carry_over(&mut self) -> Result<u64, StoreError> {
        self.check_alive()?;
        let held = self.in_segments()?;
        let mut carried = self.carry_over_authority(&held)?;
        for (table, kind) in [
            (Table::State, Kind::State),
            (side_table(SideClass::Grant), Kind::Side),
            (side_table(SideClass::Receipt), Kind::Side),
        ] {
            let mut from = Vec::new();
            loop {
                // An index that does not read is why a repair may be asked for: then there is nothing to save.
                let rows = match self.index.scan(table, &[], Some(&from), ROWS) {
                    Ok(rows) => rows,
                    Err(error) => {
                        tracing::warn!(%error, "the index does not read; nothing of it is carried over");
                        break;
                    }
                };
                let Some((last, _)) = rows.last() else {
                    break;
                };
                from.clone_from(last);
                from.push(0);
                let missing = rows
                    .iter()
                    .filter_map(|row| body_of(table, row))
                    .filter(|body| held.lacks(kind, body))
                    .collect();
                carried += self.append_bodies(kind, missing)?;
            }
        }
        Ok(carried)
    }

    fn in_segments(&self) -> Result<InSegments, StoreError> {
        let mut held = InSegments::default();
        let mut scan = self.segments.scan_all();
        while let Some(scanned) = scan.step()? {
            let Scanned::Frame(_, header, body) = scanned else {
                continue;
            };
            match Kind::from_byte(header.kind) {
                Some(Kind::Authority) => {
                    let entry = AuthorityEntry::parse(&body);
                    held.authority.extend(entry.map(|entry| entry.height).ok());
                }
                Some(kind @ (Kind::State | Kind::Side)) => held.note(kind, &body),
                _ => {}
            }
        }
        Ok(held)
    }

    /// From the first entry that the segments lack: what follows it counts only after it.
    fn carry_over_authority(&mut self, held: &InSegments) -> Result<u64, StoreError> {
        let log = &self.contents.authority;
        let first = (0..log.next_height()).find(|height| !held.authority.contains(height));
        let Some(first) = first else {
            return Ok(0);
        };
        let entries = log.entries_from(first, usize::MAX);
        let bodies = entries.iter().map(|entry| entry.to_vec()).collect();
        self.append_bodies(Kind::Authority, bodies)
    }

    fn append_bodies(&mut self, kind: Kind, bodies: Vec<Vec<u8>>) -> Result<u64, StoreError> {
        if bodies.is_empty() {
            return Ok(0);
        }
        let frames: Vec<_> = bodies
            .iter()
            .map(|body| NewFrame {
                kind,
                position: 0,
                body,
            })
            .collect();
        self.changing(|store| store.segments.append(&frames))?;
        Ok(frames.len() as u64)
    }
}

impl InSegments {
    fn note(&mut self, kind: Kind, body: &[u8]) {
        let Some((key, value)) = parts(kind, body) else {
            return;
        };
        // Of a side object the higher counter stays, and of equal ones the first: all that matters is
        // whether the one that the index holds is there, so each stands for itself.
        self.pieces.insert(key, value);
    }

    fn lacks(&self, kind: Kind, body: &[u8]) -> bool {
        parts(kind, body).is_some_and(|(key, value)| self.pieces.get(&key) != Some(&value))
    }
}

/// What a piece is about, and what it says: of a state its key and value; a side object is its own key.
fn parts(kind: Kind, body: &[u8]) -> Option<([u8; 16], [u8; 16])> {
    match kind {
        Kind::State => {
            let (key, value) = layout::parse_state(body)?;
            Some((short(&[b"state", key]), short(&[value])))
        }
        _ => Some((short(&[b"side", body]), [0; 16])),
    }
}

fn short(parts: &[&[u8]]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash::derive(CONTEXT, parts)[..16]);
    out
}

/// The frame's body that a row was made from.
fn body_of(table: Table, (key, value): &Row) -> Option<Vec<u8>> {
    let class = match table {
        Table::State => return Some(layout::state_body(key, value)),
        Table::Grants => SideClass::Grant,
        Table::Receipts => SideClass::Receipt,
        _ => return None,
    };
    let (counter, bytes) = value.split_first_chunk::<8>()?;
    let object = SideObject {
        key: key.clone(),
        counter: u64::from_be_bytes(*counter),
        bytes: bytes.to_vec(),
    };
    Some(layout::side_body(class, &object))
}
