//! The catalogue: the lines of all records, in pages.
//!
//! Lists, searches and whatever asks what is near look at the lines of all records. A row for each
//! would cost a look-up and an opening for each; so the lines of a scope stand together, some dozens
//! in one row, in the order in which the records came. A record keeps its place for life: an edit
//! writes its page anew. What is asked for by id is found through its row in
//! [`Kept::Summaries`], which also keeps its outline on the ground. How many records there are, and
//! of which sort, is counted whenever a page is written and stands in a row of its own, so nobody
//! need read a page for it.
//!
//! All of it becomes visible together with the documents that it speaks of.

use crate::error::MemberError;
use crate::line::{Line, LineBytes, TEXT_BYTES_MAX, cut};
use crate::tables::{Kept, Tables, Writes, document_key};
use cairn_records::{Outline, Record};
use cairn_wire::codec;
use cairn_wire::ids::{DocumentId, ScopeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Lines of a page. More makes reading all of them cheaper, and one edit dearer.
const PAGE_LINES: usize = 64;
/// Bytes of the words of one record.
const WORDS_BYTES_MAX: usize = 1000;

/// A line that is to be written, and what is kept beside it.
#[derive(Debug)]
pub(crate) struct FreshLine {
    pub(crate) line: Line,
    outline: Vec<u8>,
    words: String,
}

impl FreshLine {
    pub(crate) fn of(line: Line, record: Option<&Record>) -> Self {
        let words = record.map_or_else(String::new, |record| words(&line, record));
        let outline = record.and_then(Outline::of);
        Self {
            line,
            outline: outline.map_or_else(Vec::new, |outline| outline.to_bytes()),
            words,
        }
    }
}

/// What a record is searched by: its numbers, its kind, and the beginnings of its texts.
fn words(line: &Line, record: &Record) -> String {
    let mut words = line.summary.kind.clone();
    let mut add = |text: &str| {
        words.push('\n');
        words.push_str(&cut(text, TEXT_BYTES_MAX));
    };
    for name in ["local_id", "location_name"] {
        let field = record.fields.get(name);
        for shown in field.into_iter().flat_map(|field| &field.values) {
            if let Some(text) = shown.value.as_text() {
                add(text);
            }
        }
    }
    for text in cairn_records::summary::texts(record) {
        add(text);
    }
    cut(&words, WORDS_BYTES_MAX)
}

/// Records of a scope, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records held.
    pub documents: u64,
    /// Those with a field in conflict.
    pub conflicts: u64,
    /// Those with a proposal.
    pub proposals: u64,
    /// Those with a value whose author is not verified.
    pub unverified: u64,
    /// Their newest change by the devices' clocks, seconds since 1970; of no record, 0.
    pub newest_s: i64,
}

impl Totals {
    /// Adds those of another scope.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.conflicts += other.conflicts;
        self.proposals += other.proposals;
        self.unverified += other.unverified;
        self.newest_s = self.newest_s.max(other.newest_s);
    }

    fn count(&mut self, line: &Line) {
        self.documents += 1;
        self.conflicts += u64::from(line.summary.conflicts > 0);
        self.proposals += u64::from(line.summary.proposals > 0);
        self.unverified += u64::from(line.summary.unverified > 0);
        self.newest_s = self.newest_s.max(line.recorded_at_s);
    }

    /// A line gives way to a newer one. What was newest stays: changes are never taken back.
    fn uncount(&mut self, line: &LineBytes<'_>) {
        self.documents = self.documents.saturating_sub(1);
        let less = |number: &mut u64, had: bool| *number = number.saturating_sub(u64::from(had));
        less(&mut self.conflicts, line.conflicts > 0);
        less(&mut self.proposals, line.proposals > 0);
        less(&mut self.unverified, line.unverified > 0);
    }
}

/// Where a record's line is, and its outline.
#[derive(Serialize, Deserialize)]
struct Place {
    page: u32,
    slot: u32,
    outline: codec::Bytes,
}

/// Given a line's scope and bytes; answers whether to go on.
pub(crate) type VisitLine<'a> = &'a mut dyn FnMut(&ScopeId, &[u8]) -> Result<bool, MemberError>;
/// Given the line's words too.
pub(crate) type VisitWords<'a> =
    &'a mut dyn FnMut(&ScopeId, &[u8], &str) -> Result<bool, MemberError>;

/// Puts lines into their pages, and new ones at the end.
pub(crate) fn put(
    tables: &Tables<'_>,
    lines: Vec<FreshLine>,
    writes: &mut Writes,
) -> Result<(), MemberError> {
    let mut scopes: BTreeMap<ScopeId, Vec<FreshLine>> = BTreeMap::new();
    for line in lines {
        scopes.entry(line.line.scope).or_default().push(line);
    }
    for (scope, lines) in scopes {
        let mut pages = Pages::open(tables, scope)?;
        for line in lines {
            pages.put(line, writes)?;
        }
        pages.write(writes);
    }
    Ok(())
}

/// Calls `visit` with the bytes of every line of a scope, or of all, in no order that means anything;
/// it answers whether to go on.
pub(crate) fn each(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: VisitLine<'_>,
) -> Result<(), MemberError> {
    let prefix = scope.map_or(&[][..], |scope| &scope.0);
    tables.each(Kept::Lines, prefix, &mut |key, page| {
        let scope = scope_of(key)?;
        for line in parts(page) {
            if !visit(&scope, line?)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Calls `visit` with the line and the words of every record, as [`each`] does.
pub(crate) fn each_with_words(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: VisitWords<'_>,
) -> Result<(), MemberError> {
    let prefix = scope.map_or(&[][..], |scope| &scope.0);
    tables.each(Kept::Lines, prefix, &mut |key, page| {
        let scope = scope_of(key)?;
        let words = tables.read(Kept::Words, key)?.unwrap_or_default();
        for (line, words) in parts(page).zip(parts(&words)) {
            let words = std::str::from_utf8(words?).map_err(|_| damaged())?;
            if !visit(&scope, line?, words)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// The line of one record.
pub(crate) fn line(
    tables: &Tables<'_>,
    scope: &ScopeId,
    id: &DocumentId,
) -> Result<Option<Line>, MemberError> {
    let Some(place) = place(tables, scope, id)? else {
        return Ok(None);
    };
    let page = tables.read(Kept::Lines, &page_key(scope, place.page))?;
    let page = page.ok_or_else(damaged)?;
    let bytes = parts(&page)
        .nth(place.slot as usize)
        .ok_or_else(damaged)??;
    Ok(Some(Line::decode(*scope, bytes)?))
}

/// The outline of one record; `None` if nobody said where it is.
pub(crate) fn outline(
    tables: &Tables<'_>,
    scope: &ScopeId,
    id: &DocumentId,
) -> Result<Option<Outline>, MemberError> {
    let place = place(tables, scope, id)?;
    let bytes = place
        .map(|place| place.outline.0)
        .filter(|bytes| !bytes.is_empty());
    bytes
        .map(|bytes| Outline::from_bytes(&bytes).ok_or_else(damaged))
        .transpose()
}

/// Records of each scope that has any, counted.
pub(crate) fn totals(tables: &Tables<'_>) -> Result<BTreeMap<ScopeId, Totals>, MemberError> {
    let mut totals = BTreeMap::new();
    tables.each(Kept::Totals, &[], &mut |key, value| {
        let row: TotalsRow = codec::decode(value)?;
        totals.insert(scope_of(key)?, row.totals);
        Ok(true)
    })?;
    Ok(totals)
}

#[derive(Default, Serialize, Deserialize)]
struct TotalsRow {
    totals: Totals,
    /// Pages there are.
    pages: u32,
    /// Lines of the last one.
    last_lines: u32,
}

/// The pages of a scope that a run changes.
struct Pages<'a> {
    tables: &'a Tables<'a>,
    scope: ScopeId,
    row: TotalsRow,
    changed: BTreeMap<u32, Page>,
}

#[derive(Default)]
struct Page {
    lines: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    other_words: bool,
}

impl<'a> Pages<'a> {
    fn open(tables: &'a Tables<'a>, scope: ScopeId) -> Result<Self, MemberError> {
        let row = tables.read(Kept::Totals, &scope.0)?;
        let row = row.map(|bytes| codec::decode(&bytes)).transpose()?;
        Ok(Self {
            tables,
            scope,
            row: row.unwrap_or_default(),
            changed: BTreeMap::new(),
        })
    }

    fn put(&mut self, fresh: FreshLine, writes: &mut Writes) -> Result<(), MemberError> {
        let FreshLine {
            line,
            outline,
            words,
        } = fresh;
        let known = place(self.tables, &self.scope, &line.id)?;
        let (page, slot) = match &known {
            Some(place) => (place.page, place.slot),
            None => self.next_slot(),
        };
        let lines = self.page(page)?;
        let words = words.into_bytes();
        let end = lines.lines.len();
        match lines.lines.get_mut(slot as usize) {
            Some(before) => {
                let had = std::mem::replace(before, line.encode());
                let said = lines.words.get_mut(slot as usize).ok_or_else(damaged)?;
                lines.other_words |= *said != words;
                *said = words;
                self.row.totals.uncount(&LineBytes::read(&had)?);
            }
            None if slot as usize == end => {
                lines.lines.push(line.encode());
                lines.words.push(words);
                lines.other_words = true;
            }
            None => return Err(damaged()),
        }
        self.row.totals.count(&line);
        if known.is_none_or(|place| place.outline.0 != outline) {
            let place = Place {
                page,
                slot,
                outline: codec::Bytes(outline),
            };
            let key = document_key(&self.scope, &line.id);
            writes.put(Kept::Summaries, key, codec::encode(&place));
        }
        Ok(())
    }

    fn next_slot(&mut self) -> (u32, u32) {
        if self.row.pages == 0 || self.row.last_lines as usize >= PAGE_LINES {
            self.row.pages += 1;
            self.row.last_lines = 0;
        }
        self.row.last_lines += 1;
        (self.row.pages, self.row.last_lines - 1)
    }

    fn page(&mut self, number: u32) -> Result<&mut Page, MemberError> {
        if !self.changed.contains_key(&number) {
            let key = page_key(&self.scope, number);
            let read = |kept| -> Result<Vec<Vec<u8>>, MemberError> {
                let bytes = self.tables.read(kept, &key)?.unwrap_or_default();
                parts(&bytes).map(|part| Ok(part?.to_vec())).collect()
            };
            let page = Page {
                lines: read(Kept::Lines)?,
                words: read(Kept::Words)?,
                other_words: false,
            };
            self.changed.insert(number, page);
        }
        self.changed.get_mut(&number).ok_or_else(damaged)
    }

    fn write(self, writes: &mut Writes) {
        for (number, page) in self.changed {
            let key = page_key(&self.scope, number);
            if page.other_words {
                writes.put(Kept::Words, key.clone(), joined(&page.words));
            }
            writes.put(Kept::Lines, key, joined(&page.lines));
        }
        let row = codec::encode(&self.row);
        writes.put(Kept::Totals, self.scope.0.to_vec(), row);
    }
}

fn place(
    tables: &Tables<'_>,
    scope: &ScopeId,
    id: &DocumentId,
) -> Result<Option<Place>, MemberError> {
    let row = tables.read(Kept::Summaries, &document_key(scope, id))?;
    Ok(row.map(|value| codec::decode(&value)).transpose()?)
}

fn page_key(scope: &ScopeId, page: u32) -> Vec<u8> {
    [scope.0.as_slice(), &page.to_be_bytes()].concat()
}

fn scope_of(key: &[u8]) -> Result<ScopeId, MemberError> {
    key.get(..ScopeId::LEN)
        .and_then(ScopeId::from_slice)
        .ok_or_else(damaged)
}

/// Parts one after the other, each with its length before it.
fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    let bytes = parts.iter().map(|part| 2 + part.len()).sum();
    let mut out = Vec::with_capacity(bytes);
    for part in parts {
        debug_assert!(part.len() <= usize::from(u16::MAX));
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], MemberError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let part = bytes.split_first_chunk::<2>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        let Some((part, rest)) = part else {
            bytes = &[];
            return Some(Err(damaged()));
        };
        bytes = rest;
        Some(Ok(part))
    })
}

fn damaged() -> MemberError {
    MemberError::Tables("a page of the list does not read".into())
}
