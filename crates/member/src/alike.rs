//! Which records are probably the same as others, kept where pages are written.
//!
//! Records are alike by what they share: a number, a link, a day and a place. Each of these has rows
//! that name the records which have it, so a line that changes is compared with the few that share
//! something with it, and lists and totals need no comparison at all: each head says by what its
//! record is like another one. What is kept equals at any time what
//! [`cairn_records::duplicates()`] finds in all lines (`tests/alike.rs`).

use crate::catalogue::{self, Catalogue};
use crate::error::MemberError;
use crate::line::{Line, LineBytes};
use crate::tables::{Kept, Tables, Writes};
use cairn_records::Likeness;
use cairn_records::duplicate::{near_of_day, whole_day};
use cairn_records::geometry::Position;
use cairn_wire::hash;
use cairn_wire::ids::{DocumentId, ScopeId};
use std::collections::{BTreeMap, BTreeSet};

const NUMBER_CONTEXT: &str = "cairn 2026 records of a number v1";
const LINK_CONTEXT: &str = "cairn 2026 records linked with v1";
const DAY_CONTEXT: &str = "cairn 2026 accidents of a day v1";
/// Bytes of what is shared, hashed: one segment of a row's key.
const SHARED_BYTES: usize = 16;

/// What records share, hashed.
type Shared = [u8; SHARED_BYTES];
/// A record.
type Which = (ScopeId, DocumentId);

/// What a line says by which its record may be like others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traits {
    void: bool,
    number: Option<Shared>,
    links: BTreeSet<DocumentId>,
    day: Option<(Shared, Position)>,
}

impl Traits {
    pub(crate) fn of(line: &LineBytes<'_>) -> Self {
        let day = line.date.filter(|date| whole_day(line.head.kind, date));
        Self {
            void: line.head.is_void(),
            number: line.local_id.map(of_number),
            links: line.links().collect(),
            day: day
                .zip(line.centre)
                .map(|(day, at)| (shared(DAY_CONTEXT, day.as_bytes()), at)),
        }
    }

    /// Its rows. Who is void shares only its number, by which it is still found.
    fn rows(&self, which: Which) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        if let Some(number) = &self.number {
            rows.insert(row_key(number, which), vec![u8::from(self.void)]);
        }
        if !self.void {
            for target in &self.links {
                rows.insert(row_key(&linked_with(target), which), Vec::new());
            }
            if let Some((day, at)) = &self.day {
                rows.insert(row_key(day, which), day_value(false, *at));
            }
        }
        rows
    }
}

/// Records that bear a number, at most `limit` of them.
pub(crate) fn with_number(
    tables: &Tables<'_>,
    number: &str,
    limit: usize,
) -> Result<Vec<Which>, MemberError> {
    let mut found = Vec::new();
    tables.each(Kept::Alike, &of_number(number), &mut |key, _| {
        found.push(which(key)?);
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// A record, and all that share something with it by which they may be like it.
pub(crate) fn sharing(tables: &Tables<'_>, line: &Line) -> Result<BTreeSet<Which>, MemberError> {
    let which_it_is = (line.scope, line.id);
    let (head, rest) = (line.encode_head(), line.encode_rest());
    let traits = Traits::of(&LineBytes::read(&head, &rest)?);
    let day = traits.day.map(|(day, _)| day);
    let shared = [traits.number, day, Some(linked_with(&line.id))];
    let mut found = BTreeSet::from([which_it_is]);
    for shared in shared.into_iter().flatten() {
        tables.each(Kept::Alike, &shared, &mut |key, _| {
            found.insert(which(key)?);
            Ok(true)
        })?;
    }
    for scope in catalogue::totals(tables)?.keys() {
        found.extend(traits.links.iter().map(|other| (*scope, *other)));
    }
    Ok(found)
}

/// Lines that changed, until it is settled what that means for them and for others.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    numbers: BTreeSet<Shared>,
    days: BTreeSet<Shared>,
    /// Records whose links, or whose being there, changed.
    relinked: BTreeSet<Which>,
    /// Records that were or are linked with.
    targets: BTreeSet<DocumentId>,
}

impl Settling {
    /// Takes note of a line. Answers by what its record may no longer be like others.
    pub(crate) fn note(
        &mut self,
        which: Which,
        before: Option<&Traits>,
        now: &Traits,
        writes: &mut Writes,
    ) -> Vec<Likeness> {
        if before == Some(now) {
            return Vec::new();
        }
        let had = before.map(|before| before.rows(which)).unwrap_or_default();
        let has = now.rows(which);
        for key in had.keys().filter(|key| !has.contains_key(*key)) {
            writes.delete(Kept::Alike, key.clone());
        }
        for (key, value) in &has {
            if had.get(key) != Some(value) {
                writes.put(Kept::Alike, key.clone(), value.clone());
            }
        }
        let both = || before.into_iter().chain([now]);
        let void = before.is_none_or(|before| before.void != now.void);
        let mut open = Vec::new();
        if void || before.is_some_and(|before| before.number != now.number) {
            self.numbers.extend(both().filter_map(|it| it.number));
            open.push(Likeness::SameNumber);
        }
        if void || before.is_some_and(|before| before.links != now.links) {
            self.relinked.insert(which);
            self.targets.extend(both().flat_map(|it| &it.links));
            open.push(Likeness::Linked);
        }
        if void || before.is_some_and(|before| before.day != now.day) {
            let days = both().filter_map(|it| it.day.as_ref());
            self.days.extend(days.map(|(day, _)| *day));
            open.push(Likeness::SameDayNearby);
        }
        open
    }

    /// Says in all heads that it concerns by what their records are like others.
    pub(crate) fn settle(
        self,
        catalogue: &mut Catalogue<'_>,
        writes: &mut Writes,
    ) -> Result<(), MemberError> {
        for number in &self.numbers {
            settle_number(number, catalogue, writes)?;
        }
        self.settle_links(catalogue, writes)?;
        for day in &self.days {
            settle_day(day, catalogue, writes)?;
        }
        Ok(())
    }

    fn settle_links(
        &self,
        catalogue: &mut Catalogue<'_>,
        writes: &Writes,
    ) -> Result<(), MemberError> {
        let mut concerned = self.relinked.clone();
        for (_, id) in &self.relinked {
            concerned.extend(linkers(id, catalogue, writes)?);
        }
        for id in &self.targets {
            concerned.extend(catalogue.held(id, writes)?);
        }
        for one in concerned {
            let Some(traits) = catalogue.traits(one, writes)? else {
                continue;
            };
            let mut linked = linkers(&one.1, catalogue, writes)?
                .iter()
                .any(|(_, other)| *other != one.1);
            for other in traits.links.iter().filter(|other| **other != one.1) {
                if linked {
                    break;
                }
                for held in catalogue.held(other, writes)? {
                    linked |= catalogue
                        .traits(held, writes)?
                        .is_some_and(|traits| !traits.void);
                }
            }
            catalogue.set_alike(one, Likeness::Linked, linked && !traits.void, writes)?;
        }
        Ok(())
    }
}

/// Two are enough: where more bear a number already, they are marked.
fn settle_number(
    number: &Shared,
    catalogue: &mut Catalogue<'_>,
    writes: &Writes,
) -> Result<(), MemberError> {
    const IN_FORCE: &[u8] = &[0];
    let mut others = Vec::new();
    catalogue
        .tables()
        .each(Kept::Alike, number, &mut |key, value| {
            if value == IN_FORCE && writes.row(Kept::Alike, key.to_vec()).is_none() {
                others.push(which(key)?);
            }
            Ok(others.len() < 2)
        })?;
    let mut fresh = Vec::new();
    for (key, value) in writes.each(Kept::Alike, number) {
        if value == Some(IN_FORCE) {
            fresh.push(which(key)?);
        }
    }
    let shared = others.len() + fresh.len() > 1;
    if others.len() == 1 {
        fresh.append(&mut others);
    }
    for one in fresh {
        catalogue.set_alike(one, Likeness::SameNumber, shared, writes)?;
    }
    Ok(())
}

/// The accidents of the day are compared anew, and those marked of which it is news.
fn settle_day(
    day: &Shared,
    catalogue: &mut Catalogue<'_>,
    writes: &mut Writes,
) -> Result<(), MemberError> {
    let rows = rows_of(day, catalogue.tables(), writes)?;
    let mut accidents = Vec::with_capacity(rows.len());
    for (key, value) in &rows {
        accidents.push((read_day_value(value)?.1, which(key)?.1));
    }
    let pairs = near_of_day(&mut accidents);
    let near: BTreeSet<DocumentId> = pairs
        .into_iter()
        .filter(|(one, other)| one != other)
        .flat_map(|(one, other)| [one, other])
        .collect();
    for (key, value) in rows {
        let (marked, at) = read_day_value(&value)?;
        let one = which(&key)?;
        let is = near.contains(&one.1);
        if is != marked {
            writes.put(Kept::Alike, key, day_value(is, at));
            catalogue.set_alike(one, Likeness::SameDayNearby, is, writes)?;
        }
    }
    Ok(())
}

/// Records that are linked with this one.
fn linkers(
    id: &DocumentId,
    catalogue: &Catalogue<'_>,
    writes: &Writes,
) -> Result<Vec<Which>, MemberError> {
    let rows = rows_of(&linked_with(id), catalogue.tables(), writes)?;
    rows.keys().map(|key| which(key)).collect()
}

/// Rows of what is shared, as they will be.
fn rows_of(
    shared: &Shared,
    tables: &Tables<'_>,
    writes: &Writes,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, MemberError> {
    let mut rows = BTreeMap::new();
    tables.each(Kept::Alike, shared, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok(true)
    })?;
    for (key, value) in writes.each(Kept::Alike, shared) {
        match value {
            Some(value) => rows.insert(key.to_vec(), value.to_vec()),
            None => rows.remove(key),
        };
    }
    Ok(rows)
}

fn of_number(number: &str) -> Shared {
    shared(NUMBER_CONTEXT, number.as_bytes())
}

fn linked_with(target: &DocumentId) -> Shared {
    shared(LINK_CONTEXT, &target.0)
}

fn shared(context: &'static str, what: &[u8]) -> Shared {
    let hash = hash::derive(context, &[what]);
    std::array::from_fn(|at| hash[at])
}

fn row_key(shared: &Shared, (scope, id): Which) -> Vec<u8> {
    [shared.as_slice(), &scope.0, &id.0].concat()
}

fn which(key: &[u8]) -> Result<Which, MemberError> {
    key.get(SHARED_BYTES..)
        .and_then(|rest| rest.split_at_checked(ScopeId::LEN))
        .and_then(|(scope, id)| Some((ScopeId::from_slice(scope)?, DocumentId::from_slice(id)?)))
        .ok_or_else(damaged)
}

/// Whether it is marked, and where it was.
fn day_value(marked: bool, at: Position) -> Vec<u8> {
    let mut value = vec![u8::from(marked)];
    value.extend_from_slice(&at.lat_e7.to_be_bytes());
    value.extend_from_slice(&at.lon_e7.to_be_bytes());
    value
}

fn read_day_value(value: &[u8]) -> Result<(bool, Position), MemberError> {
    let read = || {
        let (marked, rest) = value.split_first()?;
        let (lat, rest) = rest.split_first_chunk::<4>()?;
        let lon = rest.first_chunk::<4>()?;
        let (lat, lon) = (i32::from_be_bytes(*lat), i32::from_be_bytes(*lon));
        Some((*marked != 0, Position::new(lat.into(), lon.into())?))
    };
    read().ok_or_else(damaged)
}

fn damaged() -> MemberError {
    MemberError::Tables("a row about records that are alike does not read".into())
}
