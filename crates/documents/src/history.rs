//! What the pre-flight has to know of a document: each change, what it rests on, and what each of
//! its operations did where.

use crate::Rule;
use crate::chunk::{Actor, Chunk};
use crate::operations::Body;
use cairn_wire::ChangeHash;
use std::collections::HashMap;

/// An operation of a known change: which change, which of its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) change: u32,
    pub(crate) operation: u32,
}

/// Where in its object an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    Property(Box<str>),
    Element(At),
}

/// What an operation leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// A map; `grows` if it lies under a root key that begins with `+`.
    Map {
        depth: u8,
        grows: bool,
    },
    List {
        depth: u8,
    },
    Text {
        depth: u8,
    },
    Scalar,
    Counter,
    /// Deletions and increments: nothing that could be named again.
    Nothing,
}

#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// `None` is the root.
    pub(crate) object: Option<At>,
    pub(crate) spot: Spot,
    pub(crate) insert: bool,
    pub(crate) made: Made,
}

/// What is kept of a change that passed.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) hash: ChangeHash,
    pub(crate) actor: Actor,
    pub(crate) dependencies: Vec<u32>,
    pub(crate) start: u32,
    pub(crate) operations: Vec<Known>,
}

impl Summary {
    /// Number of the last operation; of an empty change, that of the last before it.
    pub(crate) fn last(&self) -> u32 {
        let count = u32::try_from(self.operations.len()).unwrap_or(u32::MAX);
        self.start.saturating_add(count).saturating_sub(1)
    }
}

/// The changes of one document, as the pre-flight needs them: the ancestors of what comes next.
#[derive(Debug, Clone, Default)]
pub struct History {
    changes: Vec<Summary>,
    by_hash: HashMap<ChangeHash, u32>,
    by_actor: HashMap<Actor, u32>,
    heads: Vec<u32>,
}

impl History {
    /// That of a document that has no change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a document whose changes passed before. Fails where one of them would not.
    pub fn of(document: &automerge::Automerge) -> Result<Self, Rule> {
        let mut history = Self::new();
        for change in document.get_changes(&[]) {
            history.add(change.raw_bytes())?;
        }
        Ok(history)
    }

    /// Whether the change is one of them.
    #[must_use]
    pub fn contains(&self, hash: &ChangeHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Changes that no other change rests on, in order of their hashes.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads: Vec<_> = self
            .heads
            .iter()
            .filter_map(|at| self.changes.get(*at as usize))
            .map(|change| change.hash)
            .collect();
        heads.sort_unstable();
        heads
    }

    /// Adds a change that passed the pre-flight against this very history.
    pub fn admit(&mut self, checked: crate::Checked) {
        self.push(checked.summary);
    }

    /// Adds a change whose author and place were judged before.
    fn add(&mut self, bytes: &[u8]) -> Result<(), Rule> {
        let chunk = Chunk::split(bytes)?;
        let body = Body::read(&chunk)?;
        let summary = crate::preflight::judge(&chunk, &body, self)?;
        self.push(summary);
        Ok(())
    }

    fn push(&mut self, summary: Summary) {
        let Ok(at) = u32::try_from(self.changes.len()) else {
            return;
        };
        self.by_hash.insert(summary.hash, at);
        self.by_actor.insert(summary.actor, at);
        self.heads
            .retain(|head| !summary.dependencies.contains(head));
        self.heads.push(at);
        self.changes.push(summary);
    }

    pub(crate) fn position(&self, hash: &ChangeHash) -> Option<u32> {
        self.by_hash.get(hash).copied()
    }

    pub(crate) fn position_of_actor(&self, actor: &Actor) -> Option<u32> {
        self.by_actor.get(actor).copied()
    }

    pub(crate) fn change(&self, at: u32) -> Option<&Summary> {
        self.changes.get(at as usize)
    }

    pub(crate) fn operation(&self, at: At) -> Option<&Known> {
        self.change(at.change)?
            .operations
            .get(at.operation as usize)
    }

    /// The changes at these positions and all that they rest on.
    pub(crate) fn ancestors(&self, of: &[u32]) -> Ancestors {
        if self.heads.iter().all(|head| of.contains(head)) {
            return Ancestors::All;
        }
        let mut reached = vec![false; self.changes.len()];
        let mut open = of.to_vec();
        while let Some(at) = open.pop() {
            let Some(seen) = reached.get_mut(at as usize) else {
                continue;
            };
            if !*seen {
                *seen = true;
                if let Some(change) = self.change(at) {
                    open.extend_from_slice(&change.dependencies);
                }
            }
        }
        Ancestors::Some(reached)
    }
}

pub(crate) enum Ancestors {
    All,
    Some(Vec<bool>),
}

impl Ancestors {
    pub(crate) fn contain(&self, at: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(reached) => reached.get(at as usize).copied().unwrap_or(false),
        }
    }
}
