//! The catalogue: the lines of all records, in pages.
//!
//! Lists, searches and whatever asks what is near look at the lines of all records. A row for each
//! would cost a look-up and an opening for each; so the lines of a scope stand together, some dozens
//! in one page, in the order in which the records came. A record keeps its place for life: an edit
//! writes its page anew. A page is four rows: the [heads](crate::head) of its lines, the rest of them,
//! the [words] by which they are searched, and how their fields [read](crate::columns); most questions
//! read the heads alone. What is asked for by
//! id is found through its row in [`Kept::Summaries`], which also keeps its outline on the ground. How
//! many records there are, and of which sort, is counted whenever a page is written and stands in a row
//! of its own, and so does [what is probably recorded twice](crate::alike): nobody need compare lines
//! for it.
//!
//! All of it becomes visible together with the documents that it speaks of.

use crate::alike::{Settling, Traits};
use crate::columns::{self, Columns, Reads};
use crate::error::MemberError;
use crate::head::{self, Head};
use crate::line::{Line, LineBytes};
use crate::tables::{Kept, Tables, Writes, document_key};
use crate::words;
use cairn_records::{Likeness, Outline, Record};
use cairn_wire::codec;
use cairn_wire::ids::{DocumentId, ScopeId};
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Lines of a page. More makes reading all of them cheaper, and one edit dearer.
pub(crate) const PAGE_LINES: usize = 64;

/// A line that is to be written, and what is kept beside it.
#[derive(Debug)]
pub(crate) struct FreshLine {
    pub(crate) line: Line,
    outline: Vec<u8>,
    words: String,
    fields: Vec<u8>,
}

impl FreshLine {
    pub(crate) fn of(line: Line, record: Option<&Record>) -> Self {
        let words = record.map_or_else(String::new, |record| words::words(&line, record));
        let fields = record.map_or_else(Vec::new, |record| columns::of_record(&line, record));
        let outline = record.and_then(Outline::of);
        Self {
            line,
            outline: outline.map_or_else(Vec::new, |outline| outline.to_bytes()),
            words,
            fields,
        }
    }
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
    /// Those that are probably the same as another one here.
    pub duplicates: u64,
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
        self.duplicates += other.duplicates;
        self.newest_s = self.newest_s.max(other.newest_s);
    }

    fn count(&mut self, head: &Head<'_>) {
        self.documents += 1;
        self.conflicts += u64::from(head.has_conflicts());
        self.proposals += u64::from(head.has_proposals());
        self.unverified += u64::from(head.is_unverified());
        self.duplicates += u64::from(head.is_alike());
        self.newest_s = self.newest_s.max(head.recorded_at_s);
    }

    /// A head gives way to a newer one. What was newest stays: changes are never taken back.
    fn uncount(&mut self, head: &Head<'_>) {
        self.documents = self.documents.saturating_sub(1);
        let less = |number: &mut u64, had: bool| *number = number.saturating_sub(u64::from(had));
        less(&mut self.conflicts, head.has_conflicts());
        less(&mut self.proposals, head.has_proposals());
        less(&mut self.unverified, head.is_unverified());
        less(&mut self.duplicates, head.is_alike());
    }
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) scope: ScopeId,
    pub(crate) page: u32,
    pub(crate) slot: u32,
}

/// What is asked of records beyond what their heads say.
#[derive(Debug, Default)]
pub(crate) struct Sought<'a> {
    /// All of these stand in their words; in lower case.
    pub(crate) words: &'a [String],
    /// These fields read so.
    pub(crate) reads: &'a [&'a (String, String)],
}

/// Where a record's line is, and its outline.
#[derive(Serialize, Deserialize)]
struct Place {
    page: u32,
    slot: u32,
    outline: codec::Bytes,
}

/// Given where a line is, and its head; answers whether to go on.
pub(crate) type VisitHead<'a> = &'a mut dyn FnMut(At, &Head<'_>) -> Result<bool, MemberError>;
/// Given where a line is, its head, and whether its record must be opened to know if it fits; answers
/// whether to go on.
pub(crate) type VisitFound<'a> =
    &'a mut dyn FnMut(At, &Head<'_>, bool) -> Result<bool, MemberError>;
/// Given where a line is, and all of it; answers whether to go on.
pub(crate) type VisitLine<'a> = &'a mut dyn FnMut(At, &LineBytes<'_>) -> Result<bool, MemberError>;
/// Given a page, and the heads of its lines; answers whether to go on.
type VisitHeads<'a> = &'a mut dyn FnMut(At, &[u8]) -> Result<bool, MemberError>;

/// Puts lines into their pages, and new ones at the end.
pub(crate) fn put(
    tables: &Tables<'_>,
    lines: Vec<FreshLine>,
    writes: &mut Writes,
) -> Result<(), MemberError> {
    let mut catalogue = Catalogue {
        tables,
        scopes: BTreeMap::new(),
    };
    let mut settling = Settling::default();
    for line in lines {
        catalogue.put(line, &mut settling, writes)?;
    }
    settling.settle(&mut catalogue, writes)?;
    for (scope, pages) in catalogue.scopes {
        pages.write(&scope, writes)?;
    }
    Ok(())
}

/// Calls `visit` with the head of every line of a scope, or of all, in no order that means anything; it
/// answers whether to go on.
pub(crate) fn each_head(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: VisitHead<'_>,
) -> Result<(), MemberError> {
    each_page(tables, scope, &mut |at, heads| {
        visit_heads(at, heads, visit)
    })
}

/// The same of those that are sought.
pub(crate) fn each_sought(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    sought: &Sought<'_>,
    visit: VisitFound<'_>,
) -> Result<(), MemberError> {
    if sought.words.is_empty() {
        return each_page(tables, scope, &mut |at, heads| {
            visit_sought(tables, at, heads, None, sought, visit)
        });
    }
    let finders: Vec<Finder<'_>> = sought.words.iter().map(Finder::new).collect();
    let mut reader = words::Reader::new()?;
    let prefix = scope.map_or(&[][..], |scope| &scope.0);
    tables.each(Kept::Words, prefix, &mut |key, row| {
        let Some(found) = reader.read(row)?.with_all(&finders) else {
            return Ok(true);
        };
        let at = At::of_page(key)?;
        let heads = tables.read(Kept::Heads, key)?.ok_or_else(damaged)?;
        visit_sought(tables, at, &heads, Some(&found), sought, visit)
    })
}

fn visit_sought(
    tables: &Tables<'_>,
    page: At,
    heads: &[u8],
    found: Option<&[bool]>,
    sought: &Sought<'_>,
    visit: VisitFound<'_>,
) -> Result<bool, MemberError> {
    let row = match sought.reads.is_empty() {
        true => None,
        false => tables.read(Kept::Fields, &page.page_key())?,
    };
    let columns = Columns::read(row.as_deref().unwrap_or_default())?;
    let mut answers = Vec::with_capacity(sought.reads.len());
    for (field, asked) in sought.reads {
        answers.push(columns.reads(field, asked)?);
    }
    visit_heads(page, heads, &mut |at, head| {
        let slot = at.slot as usize;
        if found.is_some_and(|found| found.get(slot) != Some(&true)) {
            return Ok(true);
        }
        let mut open = false;
        for answers in &answers {
            match answers.get(slot) {
                Some(Reads::So) => {}
                Some(Reads::Otherwise) => return Ok(true),
                Some(Reads::NotKept) => open = true,
                None => return Err(damaged()),
            }
        }
        visit(at, head, open)
    })
}

/// Calls `visit` with every line of a scope, or of all, as [`each_head`] does.
pub(crate) fn each(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: VisitLine<'_>,
) -> Result<(), MemberError> {
    each_page(tables, scope, &mut |at, heads| {
        let lines = tables.read(Kept::Lines, &at.page_key())?;
        let lines = lines.ok_or_else(damaged)?;
        for ((slot, head), rest) in (0..).zip(parts(heads)).zip(parts(&lines)) {
            if !visit(At { slot, ..at }, &LineBytes::read(head?, rest?)?)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn each_page(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: VisitHeads<'_>,
) -> Result<(), MemberError> {
    let prefix = scope.map_or(&[][..], |scope| &scope.0);
    tables.each(Kept::Heads, prefix, &mut |key, heads| {
        visit(At::of_page(key)?, heads)
    })
}

fn visit_heads(page: At, heads: &[u8], visit: VisitHead<'_>) -> Result<bool, MemberError> {
    for (slot, head) in (0..).zip(parts(heads)) {
        if !visit(At { slot, ..page }, &Head::read(head?)?)? {
            return Ok(false);
        }
    }
    Ok(true)
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
    lines(tables, &[place.at(scope)])?
        .pop()
        .map(Some)
        .ok_or_else(damaged)
}

/// Lines by where they are, in the same order; each page is read once.
pub(crate) fn lines(tables: &Tables<'_>, wanted: &[At]) -> Result<Vec<Line>, MemberError> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|index| wanted[*index]);
    let mut found: Vec<Option<Line>> = Vec::new();
    found.resize_with(wanted.len(), || None);
    let of_one_page = |one: &usize, other: &usize| {
        let (one, other) = (wanted[*one], wanted[*other]);
        (one.scope, one.page) == (other.scope, other.page)
    };
    for some in order.chunk_by(of_one_page) {
        let Some(first) = some.first() else {
            continue;
        };
        let key = wanted[*first].page_key();
        let heads = tables.read(Kept::Heads, &key)?.ok_or_else(damaged)?;
        let rest = tables.read(Kept::Lines, &key)?.ok_or_else(damaged)?;
        let mut slots = (0..).zip(parts(&heads).zip(parts(&rest)));
        let mut here = None;
        for index in some {
            let at = wanted[*index];
            while here.as_ref().is_none_or(|(slot, _)| *slot < at.slot) {
                here = Some(slots.next().ok_or_else(damaged)?);
            }
            let (slot, (head, rest)) = here.take().ok_or_else(damaged)?;
            if slot != at.slot {
                return Err(damaged());
            }
            let line = LineBytes::read(head?, rest?)?;
            found[*index] = Some(line.to_line(at.scope));
        }
    }
    found
        .into_iter()
        .map(|line| line.ok_or_else(damaged))
        .collect()
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

/// What a run changes.
pub(crate) struct Catalogue<'a> {
    tables: &'a Tables<'a>,
    scopes: BTreeMap<ScopeId, Pages>,
}

/// The pages of a scope that a run changes.
struct Pages {
    row: TotalsRow,
    /// By what they hold and their number.
    parts: BTreeMap<(Kept, u32), Parts>,
}

/// What stands in one row of a page.
struct Parts {
    each: Vec<Vec<u8>>,
    changed: bool,
}

impl<'a> Catalogue<'a> {
    pub(crate) fn tables(&self) -> &'a Tables<'a> {
        self.tables
    }

    fn pages(&mut self, scope: &ScopeId) -> Result<&mut Pages, MemberError> {
        match self.scopes.entry(*scope) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(place) => {
                let row = self.tables.read(Kept::Totals, &scope.0)?;
                let row = row.map(|bytes| codec::decode(&bytes)).transpose()?;
                Ok(place.insert(Pages {
                    row: row.unwrap_or_default(),
                    parts: BTreeMap::new(),
                }))
            }
        }
    }

    fn parts(&mut self, kept: Kept, at: At) -> Result<&mut Vec<Vec<u8>>, MemberError> {
        let tables = self.tables;
        let parts = match self.pages(&at.scope)?.parts.entry((kept, at.page)) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(Parts::read(tables, kept, at)?),
        };
        Ok(&mut parts.each)
    }

    /// Puts a part into its place, or at the end. Answers what stood there.
    fn replace(
        &mut self,
        kept: Kept,
        at: At,
        part: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, MemberError> {
        let parts = self.parts(kept, at)?;
        let end = parts.len();
        let before = match parts.get_mut(at.slot as usize) {
            Some(before) if *before == part => return Ok(Some(part)),
            Some(before) => Some(std::mem::replace(before, part)),
            None if at.slot as usize == end => {
                parts.push(part);
                None
            }
            None => return Err(damaged()),
        };
        let pages = self.pages(&at.scope)?;
        if let Some(parts) = pages.parts.get_mut(&(kept, at.page)) {
            parts.changed = true;
        }
        Ok(before)
    }

    fn put(
        &mut self,
        fresh: FreshLine,
        settling: &mut Settling,
        writes: &mut Writes,
    ) -> Result<(), MemberError> {
        let FreshLine {
            line,
            outline,
            words,
            fields,
        } = fresh;
        let known = place(self.tables, &line.scope, &line.id)?;
        let at = match &known {
            Some(place) => place.at(&line.scope),
            None => self.pages(&line.scope)?.next_slot(line.scope),
        };
        let (mut head, rest) = (line.encode_head(), line.encode_rest());
        let now = Traits::of(&LineBytes::read(&head, &rest)?);
        let head_before = self.parts(Kept::Heads, at)?.get(at.slot as usize).cloned();
        let rest_before = self.replace(Kept::Lines, at, rest)?;
        let before = match (&head_before, &rest_before) {
            (Some(head), Some(rest)) => Some(Traits::of(&LineBytes::read(head, rest)?)),
            _ => None,
        };
        if let Some(before) = &head_before {
            head::keep_alike(&mut head, before);
            self.pages(&line.scope)?
                .row
                .totals
                .uncount(&Head::read(before)?);
        }
        for likeness in settling.note((line.scope, line.id), before.as_ref(), &now, writes) {
            head::set_alike(&mut head, likeness, false);
        }
        self.pages(&line.scope)?
            .row
            .totals
            .count(&Head::read(&head)?);
        self.replace(Kept::Heads, at, head)?;
        self.replace(Kept::Words, at, words.into_bytes())?;
        self.replace(Kept::Fields, at, fields)?;
        if known.is_none_or(|place| place.outline.0 != outline) {
            let place = Place {
                page: at.page,
                slot: at.slot,
                outline: codec::Bytes(outline),
            };
            let key = document_key(&line.scope, &line.id);
            writes.put(Kept::Summaries, key, codec::encode(&place));
        }
        Ok(())
    }

    /// Where a record's line is, new ones included.
    fn place(
        &self,
        scope: &ScopeId,
        id: &DocumentId,
        writes: &Writes,
    ) -> Result<Option<At>, MemberError> {
        let place = match writes.row(Kept::Summaries, document_key(scope, id)) {
            Some(row) => row.map(codec::decode::<Place>).transpose()?,
            None => place(self.tables, scope, id)?,
        };
        Ok(place.map(|place| place.at(scope)))
    }

    /// The records of that id, in whichever scope.
    pub(crate) fn held(
        &self,
        id: &DocumentId,
        writes: &Writes,
    ) -> Result<Vec<(ScopeId, DocumentId)>, MemberError> {
        let mut scopes: Vec<ScopeId> = totals(self.tables)?.into_keys().collect();
        scopes.extend(self.scopes.keys());
        scopes.sort_unstable();
        scopes.dedup();
        let mut held = Vec::new();
        for scope in scopes {
            if self.place(&scope, id, writes)?.is_some() {
                held.push((scope, *id));
            }
        }
        Ok(held)
    }

    /// What a record's line says by which it may be like others.
    pub(crate) fn traits(
        &mut self,
        (scope, id): (ScopeId, DocumentId),
        writes: &Writes,
    ) -> Result<Option<Traits>, MemberError> {
        let Some(at) = self.place(&scope, &id, writes)? else {
            return Ok(None);
        };
        let slot = at.slot as usize;
        let head = self.parts(Kept::Heads, at)?.get(slot).cloned();
        let head = head.ok_or_else(damaged)?;
        let rest = self.parts(Kept::Lines, at)?.get(slot);
        let line = LineBytes::read(&head, rest.ok_or_else(damaged)?)?;
        Ok(Some(Traits::of(&line)))
    }

    /// Says whether a record is like another one for this reason.
    pub(crate) fn set_alike(
        &mut self,
        (scope, id): (ScopeId, DocumentId),
        likeness: Likeness,
        is: bool,
        writes: &Writes,
    ) -> Result<(), MemberError> {
        let Some(at) = self.place(&scope, &id, writes)? else {
            return Ok(());
        };
        let head = self.parts(Kept::Heads, at)?.get(at.slot as usize).cloned();
        let mut head = head.ok_or_else(damaged)?;
        let was = Head::read(&head)?.is_alike();
        head::set_alike(&mut head, likeness, is);
        let is_now = Head::read(&head)?.is_alike();
        self.replace(Kept::Heads, at, head)?;
        let totals = &mut self.pages(&scope)?.row.totals;
        match (was, is_now) {
            (false, true) => totals.duplicates += 1,
            (true, false) => totals.duplicates = totals.duplicates.saturating_sub(1),
            _ => {}
        }
        Ok(())
    }
}

impl Parts {
    fn read(tables: &Tables<'_>, kept: Kept, at: At) -> Result<Self, MemberError> {
        let bytes = tables.read(kept, &at.page_key())?.unwrap_or_default();
        let each: Result<Vec<Vec<u8>>, MemberError> = match kept {
            Kept::Words => words::Reader::new()?.read(&bytes)?.each(),
            Kept::Fields => Columns::read(&bytes)?.of_each(),
            _ => parts(&bytes).map(|part| Ok(part?.to_vec())).collect(),
        };
        Ok(Self {
            each: each?,
            changed: false,
        })
    }
}

impl Pages {
    fn next_slot(&mut self, scope: ScopeId) -> At {
        if self.row.pages == 0 || self.row.last_lines as usize >= PAGE_LINES {
            self.row.pages += 1;
            self.row.last_lines = 0;
        }
        self.row.last_lines += 1;
        At {
            scope,
            page: self.row.pages,
            slot: self.row.last_lines - 1,
        }
    }

    fn write(self, scope: &ScopeId, writes: &mut Writes) -> Result<(), MemberError> {
        for ((kept, page), parts) in self.parts {
            if !parts.changed {
                continue;
            }
            let bytes = match kept {
                Kept::Words => words::joined(&parts.each)?,
                Kept::Fields => columns::joined(&parts.each),
                _ => joined(&parts.each),
            };
            writes.put(kept, page_key(scope, page), bytes);
        }
        let row = codec::encode(&self.row);
        writes.put(Kept::Totals, scope.0.to_vec(), row);
        Ok(())
    }
}

impl Place {
    fn at(&self, scope: &ScopeId) -> At {
        At {
            scope: *scope,
            page: self.page,
            slot: self.slot,
        }
    }
}

impl At {
    fn of_page(key: &[u8]) -> Result<Self, MemberError> {
        let page = key
            .get(ScopeId::LEN..)
            .and_then(|page| page.try_into().ok());
        Ok(Self {
            scope: scope_of(key)?,
            page: u32::from_be_bytes(page.ok_or_else(damaged)?),
            slot: 0,
        })
    }

    fn page_key(&self) -> Vec<u8> {
        page_key(&self.scope, self.page)
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
