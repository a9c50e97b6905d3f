//! The coordination centre's member replica: opens what the relay passes on, keeps what it reads,
//! and signs receipts for it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`relay_store`] | how the relay's store is reached |
//! | [`receipts`](mod@receipts) | how devices learn that their changes were seen |
//! | [`projection`] | counts, lists, conflicts, what calls for attention |
//! | [`deciding`] | deciding as the centre |
//! | [`holders`] | who is known to have a record |
//! | [`set_aside`] | what is kept and is no part of a record, and what was decided about it |
//!
//! Entries stay in the relay's store; documents, summaries and all else that can be read lie in a
//! store of the centre's own, sealed under its table key. Losing that store costs a reading of the
//! journals from their beginning.
//!
//! It promises that a bad entry blocks nobody else's: what does not open or does not apply is kept,
//! shown and named as an exception in the receipt, and the next entry is taken in. Nothing here loads
//! all documents or all lines at once, but for a list that was asked for.
//!
//! Changes are applied in this process. The pre-flight bounds what automerge sees; running it in a
//! child process with limits of memory and time, as a second wall, is not done yet.

pub mod deciding;
pub mod holders;
pub mod projection;
pub mod receipts;
pub mod relay_store;
pub mod set_aside;

pub use deciding::{Decision, Preview};
pub use holders::{Holder, KnownPlace, WhoHas};
pub use projection::{Attention, Counts, Land, Listing, SafetyConflict};
pub use relay_store::{RelayStopped, RelayStore, Turn};
pub use set_aside::{KeepOutFault, KeptOut, SetAside};

use cairn_keys::{DeviceSecret, Grant, Membership};
use cairn_member::{Member, MemberError, TableKey};
use cairn_replica::HoldingsError;
use cairn_store::{Fresh, OpenOptions, OpenReport, SegmentStore, Store, StoreError, Verifying};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, ProgrammeId, ScopeId};
use receipts::Receipts;
use relay_store::ask;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Entry bytes that are taken in before anybody who waits for the centre gets a turn.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why the centre did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CentreError {
    /// The relay's store is out of reach.
    #[error(transparent)]
    Relay(#[from] RelayStopped),
    /// Reading or writing as a member failed.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The centre's own store failed.
    #[error("the centre's store: {0}")]
    Store(#[from] StoreError),
    /// A store could not be read.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
}

/// How the centre is opened.
pub struct CentreOptions {
    /// Folder of its own store; made if it is not there.
    pub folder: PathBuf,
    /// Its device key.
    pub secret: DeviceSecret,
    /// What seals its tables.
    pub table_key: TableKey,
    /// Its programme.
    pub programme: ProgrammeId,
    /// Memory for the cache of its store's index.
    pub cache_bytes: u64,
    /// Random bytes for whatever must be drawn anew.
    pub fresh: Fresh,
}

/// What [`Centre::follow`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Followed {
    /// Entries taken in.
    pub entries: u64,
    /// There is more: call again.
    pub more: bool,
}

/// The centre's replica.
pub struct Centre {
    member: Member,
    tables: Box<dyn Store>,
    relay: Box<dyn RelayStore>,
    membership: Membership,
    receipts: Receipts,
    /// Its sealed keys as the relay last had them; all are in its own store.
    grants: Vec<Vec<u8>>,
    counts: Option<Counts>,
    /// Applied and written ends of journals, as they were last looked at.
    ends: BTreeMap<ScopeLane, (u64, u64)>,
    /// How far the relay has been given the centre's own log.
    handed_over: BTreeMap<ScopeLane, u64>,
}

impl Centre {
    /// Opens its store and reads its own last receipts from the relay.
    pub fn open(
        options: CentreOptions,
        relay: Box<dyn RelayStore>,
    ) -> Result<(Self, OpenReport), CentreError> {
        let device = options.secret.device();
        let mut store = OpenOptions::new(device, options.fresh);
        store.programme = Some(options.programme);
        store.cache_bytes = options.cache_bytes;
        let (tables, mut report) = SegmentStore::open(&options.folder, &store)?;
        let mut centre = Self {
            member: Member::new(options.secret, options.table_key),
            tables: Box::new(tables),
            relay,
            membership: Membership::new(options.programme),
            receipts: Receipts::default(),
            grants: Vec::new(),
            counts: None,
            ends: BTreeMap::new(),
            handed_over: BTreeMap::new(),
        };
        if let Err(MemberError::Tables(why)) = centre.member.begin_tables(&mut *centre.tables) {
            tracing::warn!(%why, "the centre's lists do not read and are made anew");
            report.rebuilt = centre.tables.repair(options.fresh)?.rebuilt;
            centre.member.begin_tables(&mut *centre.tables)?;
        }
        centre.refresh()?;
        centre.read_own_receipts()?;
        centre.note_epoch(options.fresh.incarnation())?;
        centre.hand_over(options.fresh.incarnation())?;
        Ok((centre, report))
    }

    /// The centre's device key.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.member.device()
    }

    /// Takes in the next of what the relay has and the centre has not. Call again while there is more.
    pub fn follow(&mut self) -> Result<Followed, CentreError> {
        if self.refresh()? {
            self.retry_locked()?;
        }
        self.member
            .reread_after_trust_moved(&mut *self.tables, &self.membership)?;
        let mut followed = Followed::default();
        let behind: Vec<ScopeLane> = self
            .ends
            .iter()
            .filter(|(_, (applied, end))| applied < end)
            .map(|(of, _)| *of)
            .collect();
        if let Some(of) = behind.first() {
            followed.entries = self.follow_journal(*of)?;
            let (applied, end) = self.ends.get(of).copied().unwrap_or_default();
            followed.more = behind.len() > 1 || applied < end;
        }
        Ok(followed)
    }

    /// Entries that the relay has and the centre has not taken in, as of the last look.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.ends
            .values()
            .map(|(applied, end)| end.saturating_sub(*applied))
            .sum()
    }

    /// Lets the store's index catch up on disk; `now_ms` is any clock that only rises.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), CentreError> {
        Ok(self.tables.tick(now_ms)?)
    }

    /// Checks a slice of the centre's own store.
    pub fn verify_some(&self, verifying: &mut Verifying) -> Result<(), CentreError> {
        Ok(self.tables.verify_some(verifying)?)
    }

    /// Closes its store cleanly.
    pub fn close(self) -> Result<(), CentreError> {
        Ok(self.tables.close()?)
    }

    /// Looks at the relay anew: authority, keys, ends of journals. Answers whether a key is new.
    fn refresh(&mut self) -> Result<bool, CentreError> {
        let device = self.member.device();
        let known = self.membership.head();
        let (membership, grants, ends) = ask(&*self.relay, move |store| {
            let membership = store.membership().clone();
            let grants = store.grants_for(&device)?;
            let mut ends = Vec::new();
            for of in store.journals() {
                ends.push((of, store.journal_end(of)));
            }
            Ok::<_, HoldingsError>((membership, grants, ends))
        })??;
        if membership.head() != known {
            self.copy_authority()?;
        }
        self.membership = membership;
        let mut new = false;
        for bytes in &grants {
            new |= self.take_key(bytes);
        }
        self.keep_grants(grants)?;
        for (of, end) in ends {
            let applied = self.checked_applied(of)?;
            self.ends.insert(of, (applied, end.position));
        }
        Ok(new)
    }

    /// The centre's store carries the authority's log too, like every replica.
    fn copy_authority(&mut self) -> Result<(), CentreError> {
        loop {
            let head = self.tables.authority_head();
            let next = if self.tables.membership().id_at(0).is_none() {
                0
            } else {
                head.height + 1
            };
            let entries = ask(&*self.relay, move |store| {
                if next > store.authority_head().height {
                    return Ok(Vec::new());
                }
                store.authority_entries(next, CHUNK_BYTES)
            })??;
            if entries.is_empty() {
                return Ok(());
            }
            self.tables.append_authority(entries)?;
        }
    }

    /// The centre's store has its grants too: with the relay's alone the keys to every record would hang
    /// on one frame.
    fn keep_grants(&mut self, grants: Vec<Vec<u8>>) -> Result<(), CentreError> {
        if grants == self.grants {
            return Ok(());
        }
        let objects = grants.iter().filter_map(|bytes| Grant::parse(bytes).ok());
        let objects = objects.map(|grant| cairn_store::SideObject::of_grant(&grant));
        self.tables.put_grants(objects.collect())?;
        self.grants = grants;
        Ok(())
    }

    fn take_key(&mut self, bytes: &[u8]) -> bool {
        let Ok(grant) = Grant::parse(bytes) else {
            return false;
        };
        let keyring = self.member.keyring();
        if keyring.get(&grant.scope(), grant.key_number()).is_some() {
            return false;
        }
        // What is not announced yet is looked at again when the authority's log has grown.
        grant
            .open(self.member.secret(), &self.membership)
            .is_ok_and(|key| self.member.insert_key(key).unwrap_or(false))
    }

    /// How far a journal is applied, from the beginning if it is not the journal that was followed.
    fn checked_applied(&mut self, of: ScopeLane) -> Result<u64, CentreError> {
        let applied = self.member.applied(&*self.tables, of)?;
        if applied.position == 0 {
            return Ok(0);
        }
        let mark = ask(&*self.relay, move |store| {
            store.journal_mark(of, applied.position)
        })??;
        if mark == Some(applied) {
            return Ok(applied.position);
        }
        tracing::warn!(scope = ?of.scope, lane = ?of.lane, "the relay's journal is another one; reading it from its beginning");
        self.member.forget_applied(&mut *self.tables, of)?;
        Ok(0)
    }

    fn follow_journal(&mut self, of: ScopeLane) -> Result<u64, CentreError> {
        let from = self.member.applied(&*self.tables, of)?.position;
        let items = ask(&*self.relay, move |store| {
            store.journal(of, from, CHUNK_BYTES)
        })??;
        if items.is_empty() {
            self.ends.insert(of, (from, from));
            return Ok(0);
        }
        let ingested = self
            .member
            .ingest(&mut *self.tables, of, &items, &self.membership)?;
        self.counts = None;
        self.receipts.scope_changed(&of.scope);
        let applied = self.member.applied(&*self.tables, of)?.position;
        if let Some((known, _)) = self.ends.get_mut(&of) {
            *known = applied;
        }
        Ok(ingested.entries)
    }

    fn retry_locked(&mut self) -> Result<(), CentreError> {
        let relay = &*self.relay;
        let ingested =
            self.member
                .retry_locked(&mut *self.tables, &self.membership, &mut |_, id| {
                    let id = *id;
                    let entry = ask(relay, move |store| store.entry(&id));
                    match entry {
                        Ok(entry) => Ok(entry?),
                        Err(error) => Err(MemberError::Internal(error.to_string())),
                    }
                })?;
        if ingested.entries > 0 || ingested.changes_applied > 0 {
            self.counts = None;
            for scope in self.scopes() {
                self.receipts.scope_changed(&scope);
            }
        }
        Ok(())
    }

    fn scopes(&self) -> Vec<ScopeId> {
        let mut scopes: Vec<ScopeId> = self.ends.keys().map(|of| of.scope).collect();
        scopes.dedup();
        scopes
    }
}
