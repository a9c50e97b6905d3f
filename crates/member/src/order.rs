//! The order of lists: newest first by the devices' clocks; of one second in the order in which the
//! records came, so that neighbours stand in one page.

use crate::catalogue::At;
use crate::error::MemberError;
use crate::head::Head;
use cairn_wire::ids::ScopeId;
use std::collections::BinaryHeap;

/// A record's place in a list, in the bits of one number: its second (64, later ones less), its scope (16),
/// page (32) and slot (15), and whether another record is like it (1).
type Place = u128;

/// The newest so many records of those that fit, or all of them.
pub(crate) struct Newest {
    limit: Option<usize>,
    total: u64,
    scopes: Vec<ScopeId>,
    /// The last of them first.
    newest: BinaryHeap<Place>,
    all: Vec<Place>,
}

impl Newest {
    /// Of these scopes, which come in order.
    pub(crate) fn of(limit: Option<usize>, scopes: impl Iterator<Item = ScopeId>) -> Self {
        Self {
            limit,
            total: 0,
            scopes: scopes.collect(),
            newest: BinaryHeap::new(),
            all: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, at: At, head: &Head<'_>) -> Result<(), MemberError> {
        self.total += 1;
        let place = self.place(at, head).ok_or_else(damaged)?;
        match self.limit {
            None => self.all.push(place),
            Some(limit) if self.newest.len() < limit => self.newest.push(place),
            Some(_) => {
                if let Some(mut last) = self.newest.peek_mut()
                    && place < *last
                {
                    *last = place;
                }
            }
        }
        Ok(())
    }

    fn place(&self, at: At, head: &Head<'_>) -> Option<Place> {
        let scope = u16::try_from(self.scopes.binary_search(&at.scope).ok()?).ok()?;
        let slot = u16::try_from(at.slot).ok().filter(|slot| *slot < 1 << 15)?;
        let second = !(head.recorded_at_s.cast_unsigned() ^ 1 << 63);
        let slot = slot << 1 | u16::from(head.is_alike());
        let parts = [
            (u128::from(second), 64),
            (u128::from(scope), 48),
            (u128::from(at.page), 16),
            (u128::from(slot), 0),
        ];
        Some(parts.iter().map(|(part, shift)| part << shift).sum())
    }

    /// How many fit.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn in_order(mut self) -> Ordered {
        self.all.sort_unstable();
        let mut places = self.newest.into_sorted_vec();
        places.append(&mut self.all);
        Ordered {
            places,
            scopes: self.scopes,
        }
    }
}

/// Records in their order.
pub(crate) struct Ordered {
    places: Vec<Place>,
    scopes: Vec<ScopeId>,
}

impl Ordered {
    /// Where those are that are like another record.
    pub(crate) fn alike(&self) -> Vec<At> {
        let alike = self.places.iter().filter(|place| *place & 1 != 0);
        alike.filter_map(|place| self.at(*place)).collect()
    }

    /// Where they are, so many at a time.
    pub(crate) fn chunks(&self, count: usize) -> impl Iterator<Item = Vec<At>> {
        self.places.chunks(count).map(|some| {
            let some = some.iter();
            some.filter_map(|place| self.at(*place)).collect()
        })
    }

    fn at(&self, place: Place) -> Option<At> {
        Some(At {
            scope: *self.scopes.get(usize::from((place >> 48) as u16))?,
            page: (place >> 16) as u32,
            slot: u32::from(place as u16 >> 1),
        })
    }
}

fn damaged() -> MemberError {
    MemberError::Tables("a page of the list has no place in it".into())
}
