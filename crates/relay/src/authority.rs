//! The programme's authority beside the relay: simple mode.
//!
//! It signs who is a member and what a member may do, makes scopes and their keys, and seals keys to
//! members. In simple mode its key lies in the relay's folder, so whoever takes the relay over can
//! add members: [`crate::init`] says so plainly.
//!
//! Scope keys exist in no file. Each is sealed to the centre first, as a grant in the relay's store;
//! the authority opens them with the centre's device key. So a key is durable before the entry that
//! announces it, and the relay's store alone gives nothing away.
//!
//! Every action is one [`Draft`]: grants become durable, then the entries in one commit, then the
//! log in memory follows. Whatever a crash leaves in between is a grant that nobody was told of.

mod codes;
mod draft;
mod enrolling;
pub(crate) mod restored;
mod scopes;
mod withdrawing;

pub use codes::{CodeFileError, NewCode};
pub use enrolling::NewCodeRequest;
pub(crate) use scopes::{CENTRE_NAME, RELAY_NAME};
pub use scopes::{ScopeGrant, parse_scope_grant};
pub use withdrawing::Revocation;

use crate::audit::{Audit, AuditError};
use cairn_keys::authority::{AuthorityError, SignError};
use cairn_keys::{AuthorityLog, AuthoritySecret, DeviceSecret, Grant, Keyring, ScopeKey};
use cairn_replica::HoldingsError;
use cairn_store::{Store, StoreError};
use cairn_wire::{DeviceKey, ScopeId, limits};
use codes::Codes;
use draft::Draft;
use enrolling::Guesses;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Seconds since 1970 by the authority's clock: for the expiry of codes and for the audit file only.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why the authority did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFault {
    /// The caller asked for what is not there or cannot be. Nothing was signed.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be read.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
    /// The entry would not be valid.
    #[error("the authority cannot sign that: {0}")]
    Sign(#[from] SignError),
    /// The log in the store is not one that this authority can continue.
    #[error("the authority's log: {0}")]
    Log(#[from] AuthorityError),
    /// A key that must be in hand is not: the centre's key file and the store do not belong together.
    #[error("the centre's key does not open the {0}; was one of the two restored alone?")]
    KeyMissing(&'static str),
    /// A code could not be written or read.
    #[error(transparent)]
    Code(#[from] CodeFileError),
    /// The audit file could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The system gives no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// It came out of a backup, and its own log may not be back yet.
    #[error(
        "this relay was restored from a backup: the authority signs nothing before its own log is back; \
         {heard} devices have synced since, {} have not", .silent.len()
    )]
    Restored {
        /// How many have synced since.
        heard: usize,
        /// Who has not.
        silent: Vec<DeviceKey>,
    },
    /// The authority signed two histories: nothing more is signed before ops have settled it.
    #[error("the authority's log has two branches; nothing is signed until that is settled")]
    Forked,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// A text is not what was expected.
    #[error("{what}: {why}")]
    Text {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No member goes by that name or key.
    #[error("no device {0:?} is known here")]
    UnknownDevice(String),
    /// Several members go by that name.
    #[error("{asked:?} could be {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Keys that it may mean, at most a handful.
        candidates: Vec<String>,
    },
    /// No scope goes by that name.
    #[error("no scope {0:?} is known here")]
    UnknownScope(String),
    /// That scope exists.
    #[error("the scope {0:?} is there already")]
    ScopeExists(String),
    /// The programme has as many scopes as two peers may share.
    #[error("a programme has at most {} scopes", limits::SCOPES_SHARED_MAX)]
    TooManyScopes,
    /// The device was revoked: nothing is given to it any more.
    #[error("that device was revoked; set it up anew and let it join by a new code")]
    Revoked,
    /// The relay's and the centre's own memberships are not for ops to change.
    #[error("that is the {0} of this programme; it cannot be changed so")]
    Own(&'static str),
}

/// The authority, with what it needs at hand.
pub struct Authority {
    secret: AuthoritySecret,
    centre: DeviceSecret,
    relay: DeviceKey,
    clock: Clock,
    audit: Audit,
    state: Mutex<State>,
}

/// What the authority is made of.
pub struct AuthorityParts {
    /// Signs.
    pub secret: AuthoritySecret,
    /// The centre's keys, to which every scope key is sealed.
    pub centre: DeviceSecret,
    /// The relay beside it.
    pub relay: DeviceKey,
    /// Folder of issued codes.
    pub codes: PathBuf,
    /// File of what was done.
    pub audit: PathBuf,
    /// The authority's clock.
    pub clock: Clock,
}

struct State {
    log: AuthorityLog,
    keyring: Keyring,
    codes: Codes,
    guesses: Guesses,
    /// A restore that is not settled.
    restored: Option<restored::Mark>,
}

impl Authority {
    /// Picks up where the log in `store` ends.
    pub fn open(parts: AuthorityParts, store: &dyn Store) -> Result<Self, AuthorityFault> {
        let mut state = State {
            log: AuthorityLog::new(store.programme()),
            keyring: Keyring::new(),
            codes: Codes::open(&parts.codes)?,
            guesses: Guesses::default(),
            restored: restored::read_mark(store)?,
        };
        follow(&mut state.log, store)?;
        open_grants(&mut state.keyring, &parts.centre, store)?;
        Ok(Self {
            secret: parts.secret,
            centre: parts.centre,
            relay: parts.relay,
            clock: parts.clock,
            audit: Audit::new(parts.audit),
            state: Mutex::new(state),
        })
    }

    /// The keys that the authority can open names with.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        self.state().keyring.clone()
    }

    /// A member's name, or the beginning of its key where there is no name to be read.
    #[must_use]
    pub fn member_name(&self, store: &dyn Store, device: &DeviceKey) -> String {
        let name = store
            .membership()
            .member_name(device, &self.state().keyring)
            .and_then(Result::ok);
        name.filter(|name| !name.is_empty())
            .unwrap_or_else(|| device_tag(device))
    }

    /// A scope's name, or its id where it cannot be read.
    #[must_use]
    pub fn scope_name(&self, store: &dyn Store, scope: &ScopeId) -> String {
        store
            .membership()
            .scope_name(scope, &self.state().keyring)
            .and_then(Result::ok)
            .unwrap_or_else(|| scope.to_string())
    }

    /// The device that goes by a name, by its key, or by the beginning of its key (4 digits or more).
    pub fn find_device(&self, store: &dyn Store, asked: &str) -> Result<DeviceKey, AuthorityFault> {
        let membership = store.membership();
        let lower = asked.to_ascii_lowercase();
        let by_key = lower.len() >= 4 && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        let named: Vec<DeviceKey> = membership
            .members()
            .map(|member| member.public.device)
            .filter(|device| {
                (by_key && device.to_string().starts_with(&lower))
                    || self.member_name(store, device) == asked
            })
            .collect();
        match named.as_slice() {
            [one] => Ok(*one),
            [] => Err(RequestFault::UnknownDevice(cut(asked)).into()),
            several => Err(RequestFault::Ambiguous {
                asked: cut(asked),
                candidates: several.iter().take(8).map(device_tag).collect(),
            }
            .into()),
        }
    }

    /// The scope that goes by a name or by its id.
    pub fn find_scope(&self, store: &dyn Store, asked: &str) -> Result<ScopeId, AuthorityFault> {
        let membership = store.membership();
        membership
            .scopes()
            .map(|scope| scope.id)
            .find(|id| id.to_string() == asked || self.scope_name(store, id) == asked)
            .ok_or_else(|| RequestFault::UnknownScope(cut(asked)).into())
    }

    pub(crate) fn now_s(&self) -> u64 {
        (self.clock)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A draft is taken over whole or not at all, so a panic elsewhere leaves the state sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one action: what it drafts becomes durable, or none of it counts.
    fn act<R>(
        &self,
        store: &mut dyn Store,
        state: &mut State,
        action: impl FnOnce(&mut Draft<'_>) -> Result<R, AuthorityFault>,
    ) -> Result<R, AuthorityFault> {
        if !store.authority_forks()?.is_empty() {
            return Err(AuthorityFault::Forked);
        }
        if let Some(mark) = &state.restored {
            let restored::Waiting { heard, silent, .. } = restored::waiting(mark, store)?;
            return Err(AuthorityFault::Restored { heard, silent });
        }
        follow(&mut state.log, store)?;
        let mut draft = Draft::new(&self.secret, &state.log, &state.keyring);
        let result = action(&mut draft)?;
        let drafted = draft.finish();
        if !drafted.grants.is_empty() {
            store.put_grants(drafted.grants)?;
        }
        if !drafted.entries.is_empty() {
            store.append_authority(drafted.entries)?;
        }
        state.log = drafted.log;
        state.keyring = drafted.keyring;
        Ok(result)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({:?})", self.secret)
    }
}

/// Takes over what the store's log has beyond ours.
fn follow(log: &mut AuthorityLog, store: &dyn Store) -> Result<(), AuthorityFault> {
    while log.is_empty() || log.head() != store.authority_head() {
        let entries = store.authority_entries(log.next_height(), 1024 * 1024)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            log.append_verified(&entry)?;
        }
    }
    Ok(())
}

fn open_grants(
    keyring: &mut Keyring,
    centre: &DeviceSecret,
    store: &dyn Store,
) -> Result<(), AuthorityFault> {
    for bytes in store.grants_for(&centre.device())? {
        let Ok(grant) = Grant::parse(&bytes) else {
            continue;
        };
        // A grant that no entry announces was left by a crash; the next action makes its own.
        if let Ok(key) = grant.open(centre, store.membership()) {
            // Only one key of a number is announced, so there is no other one to be in conflict with.
            let _ = keyring.insert(key);
        }
    }
    match keyring.newest(&ScopeId::AUTHORITY) {
        Some(_) => Ok(()),
        None => Err(AuthorityFault::KeyMissing("programme key")),
    }
}

/// Why keys and a store do not belong together, if they do not.
pub(crate) fn does_not_fit(
    authority: &AuthoritySecret,
    centre: &DeviceSecret,
    store: &dyn Store,
) -> Option<String> {
    let mut log = AuthorityLog::new(store.programme());
    if let Err(fault) = follow(&mut log, store) {
        return Some(format!("the authority's log does not read: {fault}"));
    }
    if log.authority() != Some(authority.public()) {
        return Some("the authority's key is not that of this programme".to_owned());
    }
    let opened = open_grants(&mut Keyring::new(), centre, store);
    opened.err().map(|fault| fault.to_string())
}

/// Every key of a scope, oldest first: a new member reads what was written before it came.
fn keys_of(keyring: &Keyring, scope: &ScopeId) -> Vec<ScopeKey> {
    let keys = keyring.keys().filter(|key| key.scope() == *scope);
    keys.cloned().collect()
}

/// The beginning of a device's key, as people compare it.
#[must_use]
pub fn device_tag(device: &DeviceKey) -> String {
    let mut tag = device.to_string();
    tag.truncate(8);
    tag
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
