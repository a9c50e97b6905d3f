//! Which change came before which: the only order that records know.

use automerge::{Automerge, Change};
use cairn_wire::ids::ChangeHash;
use std::collections::HashMap;

/// The changes of a document and their ancestry.
#[derive(Debug, Clone)]
pub struct Lineage {
    /// Parents before children.
    hashes: Vec<ChangeHash>,
    parents: Vec<Vec<usize>>,
    index: HashMap<ChangeHash, usize>,
    /// Per change, one bit for each of its ancestors.
    ancestors: Vec<Vec<u64>>,
    generations: Vec<u32>,
    root: Option<ChangeHash>,
}

impl Lineage {
    /// Reads it from a document.
    #[must_use]
    pub fn of(document: &Automerge) -> Self {
        Self::beside(document, &[])
    }

    /// Reads it from a document and changes that lie beside it, unapplied. Those whose parents
    /// are nowhere are left out.
    #[must_use]
    pub fn beside(document: &Automerge, unapplied: &[Change]) -> Self {
        let changes = document.get_changes_meta(&[]);
        let words = (changes.len() + unapplied.len()).div_ceil(64);
        let mut lineage = Self {
            hashes: Vec::with_capacity(changes.len()),
            parents: Vec::with_capacity(changes.len()),
            index: HashMap::with_capacity(changes.len()),
            ancestors: Vec::with_capacity(changes.len()),
            generations: Vec::with_capacity(changes.len()),
            root: None,
        };
        for change in changes {
            lineage.add(ChangeHash(change.hash.0), &change.deps, words);
        }
        let mut left: Vec<&Change> = unapplied.iter().collect();
        loop {
            let before = left.len();
            left.retain(|change| {
                let parent = |hash: &automerge::ChangeHash| ChangeHash(hash.0);
                let here = |hash| lineage.index.contains_key(&parent(hash));
                let ready = !change.deps().is_empty() && change.deps().iter().all(here);
                let hash = ChangeHash(change.hash().0);
                if ready && !lineage.index.contains_key(&hash) {
                    lineage.add(hash, change.deps(), words);
                }
                !ready
            });
            if left.len() == before {
                return lineage;
            }
        }
    }

    fn add(&mut self, hash: ChangeHash, deps: &[automerge::ChangeHash], words: usize) {
        let mut bits = vec![0u64; words];
        let mut generation = 0;
        let mut parents = Vec::with_capacity(deps.len());
        for parent in deps {
            let Some(&at) = self.index.get(&ChangeHash(parent.0)) else {
                continue;
            };
            parents.push(at);
            if let Some(theirs) = self.ancestors.get(at) {
                for (mine, theirs) in bits.iter_mut().zip(theirs) {
                    *mine |= theirs;
                }
            }
            if let Some(word) = bits.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
            generation = generation.max(self.generation_at(at) + 1);
        }
        if deps.is_empty() {
            // One document has one root; a second one is nobody's, and never chosen by order of
            // arrival.
            self.root = Some(self.root.map_or(hash, |root| root.min(hash)));
        }
        self.index.insert(hash, self.hashes.len());
        self.hashes.push(hash);
        self.parents.push(parents);
        self.ancestors.push(bits);
        self.generations.push(generation);
    }

    fn generation_at(&self, at: usize) -> u32 {
        self.generations.get(at).copied().unwrap_or(0)
    }

    /// The change without dependencies; `None` for an empty document.
    #[must_use]
    pub fn root(&self) -> Option<ChangeHash> {
        self.root
    }

    /// Every change, parents before children.
    #[must_use]
    pub fn changes(&self) -> &[ChangeHash] {
        &self.hashes
    }

    /// The changes that a change names as the ones before it.
    #[must_use]
    pub fn parents(&self, change: &ChangeHash) -> Vec<ChangeHash> {
        let parents = self.index.get(change).and_then(|at| self.parents.get(*at));
        let hash = |at: &usize| self.hashes.get(*at).copied();
        parents.map_or_else(Vec::new, |parents| {
            parents.iter().filter_map(hash).collect()
        })
    }

    /// Whether `earlier` is an ancestor of `later`. No change is its own ancestor.
    #[must_use]
    pub fn is_ancestor(&self, earlier: &ChangeHash, later: &ChangeHash) -> bool {
        let (Some(&earlier), Some(&later)) = (self.index.get(earlier), self.index.get(later))
        else {
            return false;
        };
        let bits = self.ancestors.get(later);
        bits.and_then(|bits| bits.get(earlier / 64))
            .is_some_and(|word| word >> (earlier % 64) & 1 == 1)
    }

    /// Whether neither of two changes knew of the other.
    #[must_use]
    pub fn concurrent(&self, one: &ChangeHash, other: &ChangeHash) -> bool {
        one != other && !self.is_ancestor(one, other) && !self.is_ancestor(other, one)
    }

    /// A place in an order that is the same on every replica and puts parents first.
    #[must_use]
    pub fn place(&self, change: &ChangeHash) -> (u32, ChangeHash) {
        let at = self.index.get(change);
        (at.map_or(u32::MAX, |at| self.generation_at(*at)), *change)
    }
}
