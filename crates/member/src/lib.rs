//! A replica that can read: what a device and the centre have in common.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`ingest`] | opens the entries of a journal, applies what is in them, remembers how far |
//! | [`outbox`] | seals changes that are saved into entries |
//! | [`write`](mod@write) | makes records and edits, durable before they are answered |
//! | [`choosing`] | what is pointed at when a field is decided |
//! | [`import`] | the same for many records at once |
//! | [`read`](mod@read) | lists, records with facts about their authors, conflicts, history |
//! | [`line`](mod@line) | one line per record, and the names by which it is found |
//! | [`near`] | what lies near a place or a route |
//! | [`delivery`] | what has reached a relay, and what the centre has seen |
//! | [`places`] | where entries stand, and what became of them |
//! | [`receipt`] | how a centre says what it has opened |
//! | [`private`] | what no peer can give back: enrolment, relays, drafts |
//! | [`at_rest`] | how all of this lies on the disk: sealed |
//!
//! [`Member`] holds keys and nothing else. Every call is given the store of its tables and outbox;
//! journal items are given to it, so they may come from another store. It promises that the same
//! entries give the same lists and readings in whatever order they come, that nothing is answered as
//! saved before it is durable, and that no plaintext of a record reaches the store. It must never know
//! the network, a clock, a source of randomness or a file: time and random bytes are arguments.

mod alike;
pub mod at_rest;
mod catalogue;
pub mod choosing;
mod columns;
mod contents;
pub mod delivery;
pub mod error;
mod head;
pub mod import;
pub mod ingest;
mod likeness;
pub mod line;
pub mod near;
mod order;
pub mod outbox;
mod overlay;
pub mod places;
pub mod private;
pub mod read;
pub mod receipt;
mod tables;
mod trust;
mod words;
pub mod write;

pub use at_rest::TableKey;
pub use catalogue::Totals;
pub use choosing::Pointed;
pub use delivery::{Delivery, RelayStanding, Stage, Status};
pub use error::{MemberError, RequestError};
pub use import::{Compared, ImportRow, Imported, Importing, RowOutcome};
pub use ingest::Ingested;
pub use line::{Line, short_code};
pub use near::{Asked, Near, NearRecord};
pub use outbox::{SealLimits, Sealed};
pub use read::{AsOf, Filter, HeldScope, Listed, OpenRecord};
pub use write::{FieldNow, Moment, Saved};

use cairn_keys::grant::{Grant, GrantError};
use cairn_keys::{DeviceSecret, Keyring, Membership, ScopeKey};
use cairn_store::Store;
use cairn_wire::Entry;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, EntryId, ScopeId};
use std::collections::BTreeSet;
use tables::Tables;
use trust::Trust;

/// Journal bytes that are read at a time.
const JOURNAL_BYTES: usize = 1024 * 1024;

/// A member's keys, and what it does with them.
#[derive(Debug, Clone)]
pub struct Member {
    secret: DeviceSecret,
    keyring: Keyring,
    table_key: TableKey,
}

impl Member {
    /// A member that holds no scope key yet: give it a store's grants with [`Self::refresh_keys`].
    #[must_use]
    pub fn new(secret: DeviceSecret, table_key: TableKey) -> Self {
        Self {
            secret,
            keyring: Keyring::new(),
            table_key,
        }
    }

    /// The device that it is.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.secret.device()
    }

    /// Its secret keys, for whoever connects as it.
    #[must_use]
    pub fn secret(&self) -> &DeviceSecret {
        &self.secret
    }

    /// The keys that it can open entries with.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Adds keys that it holds otherwise than by a grant: the centre keeps the scope keys it makes.
    pub fn insert_key(&mut self, key: ScopeKey) -> Result<bool, cairn_keys::sealing::KeyConflict> {
        self.keyring.insert(key)
    }

    /// Opens the grants that the store holds for this device. Answers how many keys are new; grants
    /// that do not open, or that the authority has not announced, are left alone.
    pub fn refresh_keys(&mut self, store: &dyn Store) -> Result<usize, MemberError> {
        let mut new = 0;
        for bytes in store.grants_for(&self.device())? {
            let Ok(grant) = Grant::parse(&bytes) else {
                continue;
            };
            if self
                .keyring
                .get(&grant.scope(), grant.key_number())
                .is_some()
            {
                continue;
            }
            match grant.open(&self.secret, store.membership()) {
                Ok(key) => new += usize::from(self.keyring.insert(key).unwrap_or(false)),
                Err(GrantError::NotAnnounced) => {}
                Err(error) => tracing::warn!(%error, "a grant does not open"),
            }
        }
        Ok(new)
    }

    /// Brings keys, tables and lists up to date with a store that holds both journals and tables, as a
    /// device's does: after opening it, and whenever it grew.
    pub fn catch_up(&mut self, store: &mut dyn Store) -> Result<Ingested, MemberError> {
        Ok(self.catch_up_some(store, usize::MAX)?.0)
    }

    /// The same, for about `bytes_max` of journals at most. Answers whether there is more.
    pub fn catch_up_some(
        &mut self,
        store: &mut dyn Store,
        bytes_max: usize,
    ) -> Result<(Ingested, bool), MemberError> {
        self.begin_tables(store)?;
        self.refresh_keys(store)?;
        let membership = store.membership().clone();
        let mut ingested = self.retry_locked(store, &membership, &mut stored_entry)?;
        let mut left = bytes_max;
        for of in store.journals() {
            ingested.add(self.follow_own_journal(store, of, &membership, &mut left)?);
        }
        let more = left == 0;
        if !more {
            ingested.add(self.replay_outbox(store, &membership)?);
        }
        self.reread_after_trust_moved(store, &membership)?;
        Ok((ingested, more))
    }

    /// Brings keys, outbox and lists up to date with a store that holds no journals but those of own
    /// entries, as the centre's does: after opening it, and whenever the authority's log or the grants
    /// grew. Its journals come from elsewhere, see [`Self::ingest`] and [`Self::retry_locked`].
    pub fn catch_up_tables(&mut self, store: &mut dyn Store) -> Result<Ingested, MemberError> {
        self.refresh_keys(store)?;
        let membership = store.membership().clone();
        let ingested = self.replay_outbox(store, &membership)?;
        self.reread_after_trust_moved(store, &membership)?;
        Ok(ingested)
    }

    fn follow_own_journal(
        &self,
        store: &mut dyn Store,
        of: ScopeLane,
        membership: &Membership,
        left: &mut usize,
    ) -> Result<Ingested, MemberError> {
        let mut ingested = Ingested::default();
        let mut applied = self.applied(store, of)?;
        if store.journal_mark(of, applied.position)? != Some(applied) && applied.position > 0 {
            self.forget_applied(store, of)?;
            applied = self.applied(store, of)?;
        }
        while applied.position < store.journal_end(of).position && *left > 0 {
            let items = store.journal(of, applied.position, JOURNAL_BYTES.min(*left))?;
            if items.is_empty() {
                break;
            }
            ingested.add(self.ingest(store, of, &items, membership)?);
            let bytes: usize = items.iter().map(|item| item.entry.bytes().len()).sum();
            *left = left.saturating_sub(bytes);
            applied = self.applied(store, of)?;
        }
        Ok(ingested)
    }

    /// Scopes of which this device holds a key, or that the authority lets it see now.
    #[must_use]
    pub fn scopes(&self, membership: &Membership) -> BTreeSet<ScopeId> {
        let granted = membership.scopes_now(&self.device()).into_iter();
        let held = self.keyring.keys().map(ScopeKey::scope);
        granted
            .map(|(scope, _)| scope)
            .chain(held)
            .filter(|scope| *scope != ScopeId::AUTHORITY)
            .collect()
    }

    /// A scope's name as people know it, or its id where the name cannot be read.
    #[must_use]
    pub fn scope_name(&self, membership: &Membership, scope: &ScopeId) -> String {
        membership
            .scope_name(scope, &self.keyring)
            .and_then(Result::ok)
            .unwrap_or_else(|| scope.to_string())
    }

    /// The scope that goes by a name, or by its id. Without one: the only one there is.
    pub fn find_scope(
        &self,
        membership: &Membership,
        asked: Option<&str>,
    ) -> Result<ScopeId, MemberError> {
        let scopes: Vec<(ScopeId, String)> = self
            .scopes(membership)
            .into_iter()
            .map(|scope| (scope, self.scope_name(membership, &scope)))
            .collect();
        let known = || scopes.iter().map(|(_, name)| name.clone()).collect();
        match (asked, scopes.as_slice()) {
            (None, [(only, _)]) => Ok(*only),
            (None, _) => Err(RequestError::WhichScope(known()).into()),
            (Some(asked), _) => scopes
                .iter()
                .find(|(scope, name)| name == asked || scope.to_string() == asked)
                .map(|(scope, _)| *scope)
                .ok_or_else(|| {
                    RequestError::UnknownScope {
                        asked: asked.chars().take(80).collect(),
                        known: known(),
                    }
                    .into()
                }),
        }
    }

    fn tables<'a>(&'a self, store: &'a dyn Store) -> Tables<'a> {
        Tables::new(store, &self.table_key)
    }

    fn trust<'a>(&'a self, store: &'a dyn Store, membership: &'a Membership) -> Trust<'a> {
        Trust::new(membership, &self.keyring, self.tables(store))
    }
}

fn stored_entry(store: &dyn Store, id: &EntryId) -> Result<Option<Entry>, MemberError> {
    Ok(store.entry(id)?)
}
