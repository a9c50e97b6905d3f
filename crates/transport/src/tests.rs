//! Whole replicas on loopback: real QUIC, the real store code on a model disk, real sessions.

mod enrolment;
mod hostile;
mod hostile_entries;
mod ops_stream;
mod silence;
mod sync;

use crate::accept::{AcceptOptions, Acceptor};
use crate::dial::{Backoff, SyncError, SyncEvent, SyncOptions, SyncReport, SyncTarget, sync_once};
use crate::endpoint::{Identity, Listener, NetworkOptions};
use crate::engine::{self, EngineOptions, Handle};
use cairn_keys::authority::{Access, AuthorityLog, AuthoritySecret, Body, MemberSet, Role};
use cairn_keys::device::{DeviceSecret, seal_entry};
use cairn_keys::enrolment::CodeId;
use cairn_keys::grant::GrantHash;
use cairn_keys::name::{SealedName, Subject};
use cairn_keys::sealing::ScopeKey;
use cairn_store::{
    Fresh, Incoming, ModelDisk, OpenOptions, SegmentStore, Store, TableName, WriteSet,
};
use cairn_wire::frame::{CloseReason, ScopeLane};
use cairn_wire::{
    DeviceKey, Entry, EntryHeader, EntryId, Lane, ProgrammeId, ScopeId, entry::FORMAT_VERSION,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const SCOPE: ScopeId = ScopeId([7; 16]);
const OF: ScopeLane = ScopeLane {
    scope: SCOPE,
    lane: Lane::Records,
};

/// A programme with one scope: its authority, keys and log.
struct Programme {
    authority: AuthoritySecret,
    programme_key: ScopeKey,
    scope_key: ScopeKey,
    log: AuthorityLog,
}

impl Programme {
    fn new() -> Self {
        Self::founded_by(1)
    }

    fn founded_by(seed: u8) -> Self {
        let authority = AuthoritySecret::from_bytes(&[seed; 32]);
        let recovery = AuthoritySecret::from_bytes(&[seed + 1; 32]);
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[3; 32]);
        let log = AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
        let mut programme = Self {
            authority,
            programme_key,
            scope_key: ScopeKey::new(SCOPE, 1, &[4; 32]),
            log,
        };
        let name = programme.sealed(Subject::Scope(SCOPE), "north/hazards");
        let key = programme.scope_key.commitment();
        programme.sign(&Body::ScopeCreated {
            scope: SCOPE,
            name,
            key,
        });
        programme
    }

    fn id(&self) -> ProgrammeId {
        self.log.programme()
    }

    fn sealed(&self, subject: Subject, text: &str) -> SealedName {
        SealedName::seal(self.id(), subject, &self.programme_key, text)
    }

    fn sign(&mut self, body: &Body) -> Vec<u8> {
        let bytes = self.log.sign(&self.authority, body).unwrap();
        self.log.append_verified(&bytes).unwrap();
        bytes
    }

    fn member_set(&self, secret: &DeviceSecret, role: Role, code: Option<CodeId>) -> Body {
        Body::MemberSet(MemberSet {
            public: secret.public(),
            role,
            scopes: vec![(SCOPE, Access::Write)],
            name: self.sealed(Subject::Member(secret.device()), "a member"),
            code,
            grant_set: GrantHash::of_set(&[]),
        })
    }

    fn member(&mut self, secret: &DeviceSecret, role: Role) -> Vec<u8> {
        let body = self.member_set(secret, role, None);
        self.sign(&body)
    }

    fn revoke(&mut self, secret: &DeviceSecret) -> Vec<u8> {
        let reason = self.sealed(Subject::Reason(secret.device()), "lost");
        self.sign(&Body::Revoked {
            device: secret.device(),
            leaves: Vec::new(),
            reason,
        })
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let all = self.log.entries_from(0, usize::MAX);
        all.iter().map(|bytes| bytes.to_vec()).collect()
    }

    /// A store that knows the authority's log as it is now.
    fn store(&self, secret: &DeviceSecret, disk: ModelDisk) -> Box<dyn Store> {
        let mut store = open(secret, disk);
        store.append_authority(self.entries()).unwrap();
        store
    }

    fn replica(&self, secret: &DeviceSecret) -> Handle {
        self.replica_on(secret, ModelDisk::new())
    }

    fn replica_on(&self, secret: &DeviceSecret, disk: ModelDisk) -> Handle {
        let store = self.store(secret, disk);
        engine::start(store, EngineOptions::default()).unwrap()
    }

    /// Own entries, each of so many bytes of plaintext, durable when this returns.
    async fn write(&self, handle: &Handle, secret: &DeviceSecret, count: usize, bytes: usize) {
        let (secret, key) = (secret.clone(), self.scope_key.clone());
        let programme = self.id();
        handle
            .call(move |store| write(store, &secret, &key, programme, count, bytes))
            .await
            .unwrap();
    }
}

fn open(secret: &DeviceSecret, disk: ModelDisk) -> Box<dyn Store> {
    static OPENED: AtomicU8 = AtomicU8::new(1);
    let mut fresh = [OPENED.fetch_add(1, Ordering::Relaxed); 48];
    fresh[..32].copy_from_slice(&secret.device().0);
    let options = OpenOptions::new(secret.device(), Fresh(fresh));
    let (store, _) = SegmentStore::open_model(disk, &options).unwrap();
    Box::new(store)
}

fn write(
    store: &mut dyn Store,
    secret: &DeviceSecret,
    key: &ScopeKey,
    programme: ProgrammeId,
    count: usize,
    bytes: usize,
) {
    let next = store.next_own(OF).unwrap();
    let (mut number, mut previous) = (next.number, next.previous);
    let mut incoming = Vec::new();
    for _ in 0..count {
        let header = EntryHeader {
            version: FORMAT_VERSION,
            programme,
            log: next.log,
            number,
            previous,
            authority: store.authority_head(),
            key_number: 0,
            payload_bytes: 0,
        };
        let entry = seal_entry(secret, key, &header, &vec![number as u8; bytes]).unwrap();
        number += 1;
        previous = entry.id();
        incoming.push(Incoming {
            entry,
            origins: Vec::new(),
        });
    }
    store.append(incoming).unwrap();
}

/// Every entry of the journal, in its order.
async fn journal(handle: &Handle) -> Vec<Entry> {
    handle
        .call(|store| {
            let mut entries = Vec::new();
            loop {
                let items = store.journal(OF, entries.len() as u64, 1 << 20).unwrap();
                if items.is_empty() {
                    return entries;
                }
                entries.extend(items.into_iter().map(|item| item.entry));
            }
        })
        .await
        .unwrap()
}

async fn held(handle: &Handle) -> BTreeSet<EntryId> {
    let entries = journal(handle).await;
    let ids: BTreeSet<_> = entries.iter().map(Entry::id).collect();
    assert_eq!(
        ids.len(),
        entries.len(),
        "an entry stands in the journal twice"
    );
    ids
}

async fn count(handle: &Handle) -> u64 {
    handle
        .call(|store| store.journal_end(OF).position)
        .await
        .unwrap()
}

/// Waits until a replica holds so many entries.
async fn until(handle: &Handle, entries: u64) {
    let mut pulse = handle.subscribe();
    let reached = async {
        while count(handle).await < entries {
            pulse.changed().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{} of {entries}", count(handle).await);
}

/// The word with which a sync was refused for good, if it was.
fn refusal(done: &Result<SyncReport, SyncError>) -> Option<CloseReason> {
    match done {
        Err(SyncError::Refused { reason, .. }) => Some(*reason),
        _ => None,
    }
}

/// The word with which a peer could not go on, if it could not.
fn hindrance(done: &Result<SyncReport, SyncError>) -> Option<CloseReason> {
    match done {
        Err(SyncError::NotNow { reason, .. }) => Some(*reason),
        _ => None,
    }
}

/// A device of a relay's programme that knows how to reach it.
struct Device {
    secret: DeviceSecret,
    identity: Identity,
    handle: Handle,
}

impl Device {
    fn new(programme: &Programme, secret: DeviceSecret) -> Self {
        let handle = programme.replica(&secret);
        let identity = Identity::new(&secret).unwrap();
        Self {
            secret,
            identity,
            handle,
        }
    }

    async fn sync(&self, relay: &Relay) -> Result<SyncReport, SyncError> {
        self.sync_with(relay, &patient()).await
    }

    async fn sync_with(
        &self,
        relay: &Relay,
        options: &SyncOptions,
    ) -> Result<SyncReport, SyncError> {
        self.sync_to(&relay.target(), options).await
    }

    async fn sync_to(
        &self,
        target: &SyncTarget,
        options: &SyncOptions,
    ) -> Result<SyncReport, SyncError> {
        sync_once(&self.handle, &self.identity, target, options, &mut |_| {}).await
    }
}

struct Relay {
    key: DeviceKey,
    handle: Handle,
    acceptor: Acceptor,
}

impl Relay {
    fn start(secret: &DeviceSecret, handle: Handle, options: AcceptOptions) -> Self {
        Self::start_on(secret, handle, options, network(), 0)
    }

    fn start_on(
        secret: &DeviceSecret,
        handle: Handle,
        options: AcceptOptions,
        network: NetworkOptions,
        port: u16,
    ) -> Self {
        let identity = Identity::new(secret).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = Listener::bind(&identity, address, network).unwrap();
        let acceptor = Acceptor::spawn(listener, handle.clone(), options).unwrap();
        Self {
            key: secret.device(),
            handle,
            acceptor,
        }
    }

    fn target(&self) -> SyncTarget {
        SyncTarget {
            addresses: vec![self.acceptor.local_addr().to_string()],
            relay: self.key,
        }
    }
}

fn network() -> NetworkOptions {
    crate::endpoint::tests::quick()
}

fn patient() -> SyncOptions {
    SyncOptions {
        network: network(),
        backoff: Backoff {
            first: Duration::from_millis(20),
            max: Duration::from_millis(200),
        },
        patience: Duration::from_secs(20),
        ..SyncOptions::default()
    }
}

fn secret(seed: u8) -> DeviceSecret {
    crate::endpoint::tests::secret(seed)
}

/// A programme whose members are a relay and so many devices; none of them runs.
fn members(devices: u8) -> (Programme, DeviceSecret) {
    let mut programme = Programme::new();
    let relay = secret(100);
    programme.member(&relay, Role::Relay);
    for seed in 0..devices {
        programme.member(&secret(101 + seed), Role::Device);
    }
    (programme, relay)
}

/// A programme, a relay and so many devices.
fn world(devices: u8) -> (Programme, Relay, Vec<Device>) {
    world_with(devices, AcceptOptions::default())
}

fn world_with(devices: u8, options: AcceptOptions) -> (Programme, Relay, Vec<Device>) {
    let (programme, relay) = members(devices);
    let handle = programme.replica(&relay);
    let relay = Relay::start(&relay, handle, options);
    let devices = (0..devices)
        .map(|seed| Device::new(&programme, secret(101 + seed)))
        .collect();
    (programme, relay, devices)
}
