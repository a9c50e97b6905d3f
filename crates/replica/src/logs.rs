//! Where an entry stands in its log: on what came before it, above a gap, or beside another.
//!
//! Pure placement for one scope and lane. The store feeds every new entry through [`LaneLogs::place`]
//! and writes down the [`PlacementChange`]s it answers; the same entries in any order give the same
//! leaves, the same detached entries and the same digest. Nothing here ever refuses an entry: one
//! whose chain makes no sense stays detached for ever.
//!
//! Memory grows with the number of logs and of detached entries, never with the number of entries.

use crate::holdings::{Leaf, digest_of};
use cairn_wire::frame::Digest;
use cairn_wire::ids::{EntryId, LogId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// What placement needs to know of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its log.
    pub log: LogId,
    /// Its number there.
    pub number: u64,
    /// The entry it names as the one before.
    pub previous: EntryId,
}

/// One thing that placing an entry changed, to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementChange {
    /// A new end of a log.
    LeafAdded(Leaf),
    /// No longer an end: something follows it now.
    LeafRemoved(Leaf),
    /// Stands above a gap.
    DetachedAdded(EntryId, Link),
    /// Its gap has closed.
    DetachedRemoved(EntryId),
}

/// The ends of all logs of one scope and lane, and what stands above gaps in them.
#[derive(Debug, Default)]
pub struct LaneLogs {
    leaves: BTreeSet<Leaf>,
    detached: BTreeMap<EntryId, Link>,
    /// Detached entries by the entry they wait for.
    waiting: BTreeMap<EntryId, BTreeSet<EntryId>>,
    digest: OnceLock<Digest>,
}

impl LaneLogs {
    /// Takes up again what was written down.
    #[must_use]
    pub fn restore(
        leaves: impl IntoIterator<Item = Leaf>,
        detached: impl IntoIterator<Item = (EntryId, Link)>,
    ) -> Self {
        let mut logs = Self {
            leaves: leaves.into_iter().collect(),
            ..Self::default()
        };
        for (id, link) in detached {
            logs.detach(id, link);
        }
        logs
    }

    /// Places an entry that was not held before.
    ///
    /// `held` answers whether an entry is held with that log, number and id; it is asked at most
    /// once, and only where the log forks or has a gap.
    pub fn place<E>(
        &mut self,
        id: EntryId,
        link: Link,
        held: impl FnOnce(&Leaf) -> Result<bool, E>,
    ) -> Result<Vec<PlacementChange>, E> {
        if !self.follows_attached(&link, held)? {
            self.detach(id, link);
            return Ok(vec![PlacementChange::DetachedAdded(id, link)]);
        }
        self.digest = OnceLock::new();
        let mut changes = Vec::new();
        let mut attaching = vec![(id, link)];
        while let Some((id, link)) = attaching.pop() {
            let parent = Leaf {
                log: link.log,
                number: link.number.saturating_sub(1),
                id: link.previous,
            };
            if self.leaves.remove(&parent) {
                changes.push(PlacementChange::LeafRemoved(parent));
            }
            let children = self.release_children(&id, &link);
            if children.is_empty() {
                let leaf = Leaf {
                    log: link.log,
                    number: link.number,
                    id,
                };
                self.leaves.insert(leaf);
                changes.push(PlacementChange::LeafAdded(leaf));
            }
            for (child, _) in &children {
                changes.push(PlacementChange::DetachedRemoved(*child));
            }
            attaching.extend(children);
        }
        Ok(changes)
    }

    /// Digest over the leaves.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| digest_of(&self.leaves))
    }

    /// The leaves, sorted.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = &Leaf> {
        self.leaves.iter()
    }

    /// The detached entries, sorted by id.
    pub fn detached(&self) -> impl ExactSizeIterator<Item = (&EntryId, &Link)> {
        self.detached.iter()
    }

    /// Does the entry stand above a gap?
    #[must_use]
    pub fn is_detached(&self, id: &EntryId) -> bool {
        self.detached.contains_key(id)
    }

    /// Number of the last entry of a log that is present with all before it; 0 for none.
    #[must_use]
    pub fn height(&self, log: &LogId) -> u64 {
        self.leaves_of(log)
            .map(|leaf| leaf.number)
            .max()
            .unwrap_or(0)
    }

    /// Logs with more than one leaf: somebody wrote two entries under one number.
    #[must_use]
    pub fn forked(&self) -> Vec<LogId> {
        let mut forked: Vec<LogId> = Vec::new();
        let mut last: Option<LogId> = None;
        for leaf in &self.leaves {
            if last == Some(leaf.log) && forked.last() != Some(&leaf.log) {
                forked.push(leaf.log);
            }
            last = Some(leaf.log);
        }
        forked
    }

    fn leaves_of<'a>(&'a self, log: &'a LogId) -> impl Iterator<Item = &'a Leaf> {
        let first = Leaf {
            log: *log,
            number: 0,
            id: EntryId::NONE,
        };
        self.leaves
            .range(first..)
            .take_while(move |leaf| leaf.log == *log)
    }

    fn follows_attached<E>(
        &self,
        link: &Link,
        held: impl FnOnce(&Leaf) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if link.number <= 1 {
            return Ok(true);
        }
        let parent = Leaf {
            log: link.log,
            number: link.number - 1,
            id: link.previous,
        };
        if self.leaves.contains(&parent) {
            return Ok(true);
        }
        if self.detached.contains_key(&link.previous) {
            return Ok(false);
        }
        held(&parent)
    }

    fn detach(&mut self, id: EntryId, link: Link) {
        self.detached.insert(id, link);
        self.waiting.entry(link.previous).or_default().insert(id);
    }

    /// Takes out the detached entries that follow `id`; those that only claim to stay.
    fn release_children(&mut self, id: &EntryId, link: &Link) -> Vec<(EntryId, Link)> {
        let Some(waiting) = self.waiting.remove(id) else {
            return Vec::new();
        };
        let mut released = Vec::new();
        let mut kept = BTreeSet::new();
        for child in waiting {
            match self.detached.get(&child).copied() {
                Some(next)
                    if next.log == link.log && Some(next.number) == link.number.checked_add(1) =>
                {
                    self.detached.remove(&child);
                    released.push((child, next));
                }
                _ => {
                    kept.insert(child);
                }
            }
        }
        if !kept.is_empty() {
            self.waiting.insert(*id, kept);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_wire::ids::{DeviceKey, Incarnation, Lane, ScopeId};
    use std::convert::Infallible;

    fn log(incarnation: u8) -> LogId {
        LogId {
            scope: ScopeId([1; 16]),
            lane: Lane::Urgent,
            device: DeviceKey([2; 32]),
            incarnation: Incarnation([incarnation; 16]),
        }
    }

    fn id(byte: u8) -> EntryId {
        EntryId([byte; 32])
    }

    fn link(log_of: u8, number: u64, previous: u8) -> Link {
        Link {
            log: log(log_of),
            number,
            previous: id(previous),
        }
    }

    /// Places entries in the given order, checking that the changes say what happened.
    fn placed(entries: &[(u8, Link)]) -> LaneLogs {
        let mut logs = LaneLogs::default();
        let mut held: BTreeMap<EntryId, (LogId, u64)> = BTreeMap::new();
        let (mut leaves, mut detached) = (BTreeSet::new(), BTreeMap::new());
        for (byte, link) in entries {
            let changes = logs
                .place(id(*byte), *link, |parent| {
                    let at = held.get(&parent.id).copied();
                    Ok::<_, Infallible>(at == Some((parent.log, parent.number)))
                })
                .unwrap();
            held.insert(id(*byte), (link.log, link.number));
            for change in changes {
                match change {
                    PlacementChange::LeafAdded(leaf) => assert!(leaves.insert(leaf)),
                    PlacementChange::LeafRemoved(leaf) => assert!(leaves.remove(&leaf)),
                    PlacementChange::DetachedAdded(id, link) => {
                        assert!(detached.insert(id, link).is_none());
                    }
                    PlacementChange::DetachedRemoved(id) => {
                        assert!(detached.remove(&id).is_some());
                    }
                }
            }
            assert!(logs.leaves().eq(leaves.iter()));
            assert!(logs.detached().eq(detached.iter()));
        }
        logs
    }

    #[test]
    fn every_order_of_a_forked_log_with_a_liar_gives_the_same_ends() {
        // 1 ← 2 ← 3, a fork 2 ← 13 ← 14, and an entry that names 3 but calls itself number 9.
        let entries = [
            (1, link(1, 1, 0)),
            (2, link(1, 2, 1)),
            (3, link(1, 3, 2)),
            (13, link(1, 3, 2)),
            (14, link(1, 4, 13)),
            (9, link(1, 9, 3)),
        ];
        let expected = placed(&entries);
        assert_eq!(expected.leaf_ids(), [id(3), id(14)]);
        assert_eq!(expected.forked(), [log(1)]);
        assert_eq!(expected.height(&log(1)), 4);
        assert!(expected.is_detached(&id(9)));

        let mut order: Vec<usize> = (0..entries.len()).collect();
        let mut orders = 0;
        permute(&mut order, 0, &mut |order| {
            let entries: Vec<_> = order.iter().map(|at| entries[*at]).collect();
            let logs = placed(&entries);
            assert_eq!(logs.digest(), expected.digest(), "{order:?}");
            assert!(logs.detached().eq(expected.detached()), "{order:?}");
            orders += 1;
        });
        assert_eq!(orders, 720);
    }

    #[test]
    fn an_entry_of_another_log_is_nobodys_parent() {
        let logs = placed(&[(1, link(1, 1, 0)), (2, link(2, 2, 1)), (3, link(2, 1, 0))]);
        assert!(logs.is_detached(&id(2)));
        assert_eq!(logs.leaf_ids(), [id(1), id(3)]);
        assert_eq!(logs.height(&log(2)), 1);
        assert_eq!(logs.height(&log(3)), 0);
        assert!(logs.forked().is_empty());
    }

    #[test]
    fn what_was_written_down_is_taken_up() {
        let before = placed(&[(1, link(1, 1, 0)), (3, link(1, 3, 2)), (4, link(1, 4, 3))]);
        let mut after = LaneLogs::restore(
            before.leaves().copied(),
            before.detached().map(|(id, link)| (*id, *link)),
        );
        assert_eq!(after.digest(), before.digest());
        let changes = after
            .place(id(2), link(1, 2, 1), |_| Ok::<_, Infallible>(false))
            .unwrap();
        assert_eq!(changes.len(), 4, "{changes:?}");
        assert_eq!(after.leaf_ids(), [id(4)]);
        assert_ne!(after.digest(), before.digest());
    }

    impl LaneLogs {
        fn leaf_ids(&self) -> Vec<EntryId> {
            self.leaves().map(|leaf| leaf.id).collect()
        }
    }

    fn permute(order: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return visit(order);
        }
        for at in from..order.len() {
            order.swap(from, at);
            permute(order, from + 1, visit);
            order.swap(from, at);
        }
    }
}
