//! What is kept and is no part of any record, and what was decided about it.
//!
//! Nothing of it is ever lost, and nothing of it can be let in by hand: whether a change applies follows
//! from its bytes and its ancestors alone, so that all replicas show the same. What waits or is locked
//! goes on by itself once what it waits for has come. A person can say that a thing has been looked at and stays
//! out; it then no longer calls for attention.

use crate::relay_store::ask;
use crate::{Centre, CentreError};
use cairn_documents::{HeldChange, HeldState, Provenance};
use cairn_member::places::Unread;
use cairn_wire::ids::{DeviceKey, EntryId, ScopeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a reason, or of a person's name, that are kept.
const WORDS_MAX: usize = 500;
/// Things that are listed of one scope; there may be more.
const LISTED_MAX: usize = 4_000;
/// Of these, changes of one device that only wait, and such that never pass by themselves: a flood of
/// one hides nothing of another one's.
const LISTED_OF_DEVICE_MAX: usize = 1_000;

/// Why something is no part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A change breaks a rule: it is never applied, here or anywhere.
    Quarantined,
    /// A change fails in company of others; records read as if it were not there, but for safety fields.
    Stuck,
    /// An entry does not read as a batch of changes.
    Unreadable,
    /// A change waits for others.
    Waiting,
    /// An entry's key is not held.
    Locked,
}

impl State {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Stuck => "stuck",
            Self::Unreadable => "unreadable",
            Self::Waiting => "waiting",
            Self::Locked => "locked",
        }
    }

    /// Whether it can go on by itself.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Waiting | Self::Locked)
    }
}

/// A change or an entry that is kept and is no part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The hash of the change, or the id of the entry.
    pub id: String,
    /// Its scope.
    pub scope: ScopeId,
    /// Its scope, as people know it.
    pub scope_name: String,
    /// The record it is for, where that is known.
    pub document: Option<String>,
    /// Its author.
    pub device: Option<DeviceKey>,
    /// Why it is no part of one.
    pub state: State,
    /// The code of the rule that it breaks, or the change that it waits for.
    pub cause: Option<String>,
    /// The same in words.
    pub why: String,
    /// The entries in which it stands.
    pub entries: Vec<String>,
    /// What was decided about it.
    pub decision: Option<KeptOut>,
}

/// Somebody has looked at it, and it stays out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOut {
    /// When, seconds since 1970 by the relay's clock.
    pub at_s: u64,
    /// Who.
    pub by: Option<String>,
    /// Why.
    pub reason: String,
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepOutFault {
    /// Nothing that is set aside goes by it.
    #[error("nothing that is set aside goes by {0}")]
    NotFound(String),
    /// Several things begin so.
    #[error("{0} is the beginning of {1} ids")]
    Ambiguous(String, usize),
    /// It is on its way.
    #[error("{0} only waits: it is taken in once what it waits for has come")]
    Passes(String),
}

impl Centre {
    /// What is set aside in a scope, or in all, the worst first.
    pub fn set_aside(&self, scope: Option<&ScopeId>) -> Result<Vec<SetAside>, CentreError> {
        let scopes = match scope {
            Some(scope) => vec![*scope],
            None => self.scopes(),
        };
        let mut all = Vec::new();
        for scope in scopes {
            self.set_aside_in(&scope, &mut all)?;
        }
        all.sort_by(|one, other| {
            let order = |it: &SetAside| (it.decision.is_some(), it.state);
            order(one).cmp(&order(other)).then(one.id.cmp(&other.id))
        });
        Ok(all)
    }

    /// How many things are set aside, cannot pass by themselves, and nobody has looked at.
    pub fn undecided(&self) -> Result<u64, CentreError> {
        let mut open = 0;
        let mut failed = None;
        let mut count = |id: String| match self.decision(&id) {
            Ok(decision) => open += u64::from(decision.is_none()),
            Err(error) => failed = Some(error),
        };
        for scope in self.scopes() {
            self.member
                .each_held(&*self.tables, &scope, &mut |change| {
                    if !matches!(change.state, HeldState::Waiting(_)) {
                        count(change.hash.to_string());
                    }
                })?;
            let mut unread = BTreeSet::new();
            self.member
                .each_unread(&*self.tables, &scope, &mut |id, why| {
                    if matches!(why, Unread::Wholly | Unread::InPart) {
                        unread.insert(id);
                    }
                })?;
            unread.into_iter().for_each(|id| count(id.to_string()));
        }
        failed.map_or(Ok(open), Err)
    }

    /// The one thing that goes by the beginning of its id.
    pub fn one_set_aside(&self, id: &str) -> Result<Result<SetAside, KeepOutFault>, CentreError> {
        let wanted = id.to_ascii_lowercase();
        let mut found = self.set_aside(None)?;
        found.retain(|it| !wanted.is_empty() && it.id.starts_with(&wanted));
        let count = found.len();
        Ok(match (found.pop(), count) {
            (Some(one), 1) => Ok(one),
            (None, _) => Err(KeepOutFault::NotFound(id.to_owned())),
            _ => Err(KeepOutFault::Ambiguous(id.to_owned(), count)),
        })
    }

    /// Keeps in mind, durably, that it was looked at and stays out.
    pub fn keep_out(
        &mut self,
        id: &str,
        decision: KeptOut,
    ) -> Result<Result<SetAside, KeepOutFault>, CentreError> {
        let mut found = match self.one_set_aside(id)? {
            Ok(found) => found,
            Err(fault) => return Ok(Err(fault)),
        };
        if found.state.passes() {
            return Ok(Err(KeepOutFault::Passes(found.id)));
        }
        let short = |text: &str| text.chars().take(WORDS_MAX).collect::<String>();
        let decision = KeptOut {
            by: decision.by.as_deref().map(short),
            reason: short(&decision.reason),
            ..decision
        };
        let bytes = serde_json::to_vec(&decision).unwrap_or_default();
        self.member
            .put_private(&mut *self.tables, &name_of(&found.id), &bytes)?;
        found.decision = Some(decision);
        Ok(Ok(found))
    }

    fn set_aside_in(&self, scope: &ScopeId, all: &mut Vec<SetAside>) -> Result<(), CentreError> {
        let scope_name = self.member.scope_name(&self.membership, scope);
        // What only waits may be a flood, and takes nobody's place.
        let (mut firm, mut waiting) = (Vec::new(), Vec::new());
        let mut listed: BTreeMap<(DeviceKey, bool), usize> = BTreeMap::new();
        self.member.each_held(&*self.tables, scope, &mut |change| {
            let waits = matches!(change.state, HeldState::Waiting(_));
            let of_device = listed.entry((change.device, waits)).or_default();
            let among = if waits { &mut waiting } else { &mut firm };
            if *of_device < LISTED_OF_DEVICE_MAX && among.len() < LISTED_MAX {
                *of_device += 1;
                among.push(change);
            }
        })?;
        let held = firm.into_iter().chain(waiting).take(LISTED_MAX);
        for change in held {
            all.push(self.change_set_aside(scope, &scope_name, change)?);
        }
        let mut unread: BTreeMap<EntryId, Unread> = BTreeMap::new();
        self.member
            .each_unread(&*self.tables, scope, &mut |id, why| {
                if unread.len() < LISTED_MAX || unread.contains_key(&id) {
                    // What cannot pass by itself is said before what can.
                    let held = unread.entry(id).or_insert(why);
                    *held = why.max(*held);
                }
            })?;
        for (id, why) in unread {
            all.push(self.entry_set_aside(scope, &scope_name, id, why)?);
        }
        Ok(())
    }

    fn change_set_aside(
        &self,
        scope: &ScopeId,
        scope_name: &str,
        held: HeldChange,
    ) -> Result<SetAside, CentreError> {
        let (state, cause, why) = match &held.state {
            HeldState::Waiting(change) => (
                State::Waiting,
                Some(change.to_string()),
                "it rests on a change that has not come yet".to_owned(),
            ),
            HeldState::Quarantined(rule) => (
                State::Quarantined,
                Some(rule.code().to_owned()),
                rule.to_string(),
            ),
            HeldState::Stuck => (
                State::Stuck,
                None,
                "it fails in company of other changes of its record".to_owned(),
            ),
        };
        let entries = held.provenances.iter().filter_map(|at| match at {
            Provenance::Entry { id, .. } => Some(id.to_string()),
            Provenance::Outbox { .. } => None,
        });
        let id = held.hash.to_string();
        Ok(SetAside {
            scope: *scope,
            scope_name: scope_name.to_owned(),
            document: Some(held.document.to_string()),
            device: Some(held.device),
            state,
            cause,
            why,
            entries: entries.collect(),
            decision: self.decision(&id)?,
            id,
        })
    }

    fn entry_set_aside(
        &self,
        scope: &ScopeId,
        scope_name: &str,
        id: EntryId,
        why: Unread,
    ) -> Result<SetAside, CentreError> {
        let entry = ask(&*self.relay, move |store| store.entry(&id))??;
        let (state, why) = match why {
            Unread::Locked => (State::Locked, "its key is not held here"),
            Unread::Crowded => (
                State::Waiting,
                "too many changes of its author wait for others; it is taken in when there is room",
            ),
            Unread::Wholly => (State::Unreadable, "it does not read as changes"),
            Unread::InPart => (
                State::Unreadable,
                "some of its changes do not read; the others are taken in",
            ),
        };
        Ok(SetAside {
            id: id.to_string(),
            scope: *scope,
            scope_name: scope_name.to_owned(),
            document: None,
            device: entry.map(|entry| entry.header().log.device),
            state,
            cause: None,
            why: why.to_owned(),
            entries: vec![id.to_string()],
            decision: self.decision(&id.to_string())?,
        })
    }

    fn decision(&self, id: &str) -> Result<Option<KeptOut>, CentreError> {
        let bytes = self.member.private(&*self.tables, &name_of(id))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// Under which name a decision is kept: hashes only, for names are not sealed.
fn name_of(id: &str) -> Vec<u8> {
    format!("set aside/{id}").into_bytes()
}
