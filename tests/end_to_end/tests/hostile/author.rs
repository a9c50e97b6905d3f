//! A member that joined like any other and seals whatever it likes.

use crate::tricks::{KIND, roots};
use cairn_documents::{History, OpenedChange, Origin, Place, batch, preflight};
use cairn_keys::enrolment::Code;
use cairn_keys::{DeviceSecret, Grant, open_entry, seal_entry};
use cairn_member::{Member, Moment, SealLimits, TableKey};
use cairn_records::{Envelope, input, schema};
use cairn_store::{Fresh, Incoming, ModelDisk, OpenOptions, SegmentStore, Store};
use cairn_transport::engine::{self, EngineOptions};
use cairn_transport::side_objects::grant_object;
use cairn_transport::{Identity, SyncOptions, SyncReport, SyncTarget, enrol, sync_once};
use cairn_wire::entry::FORMAT_VERSION;
use cairn_wire::frame::ScopeLane;
use cairn_wire::{DeviceKey, DocumentId, Entry, EntryHeader, EntryId, Incarnation, Lane, ScopeId};
use tokio::runtime::Runtime;

/// A member whose store is in memory.
pub struct Author {
    pub scope: ScopeId,
    secret: DeviceSecret,
    identity: Identity,
    target: SyncTarget,
    member: Member,
    store: Box<dyn Store>,
    runtime: Runtime,
}

impl Author {
    /// Joins with a code, over the network.
    pub fn join(code: &str, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let code = Code::parse(code).unwrap();
        let secret = DeviceSecret::from_bytes(&random());
        let options = SyncOptions::default();
        let enrolled = runtime
            .block_on(enrol(&code, &secret, name, &options))
            .unwrap();
        let mut opening = OpenOptions::new(secret.device(), Fresh(random()));
        opening.programme = Some(code.programme);
        let (mut store, _) = SegmentStore::open_model(ModelDisk::new(), &opening).unwrap();
        store.append_authority(enrolled.authority).unwrap();
        let grants = enrolled.grants.iter();
        let grants = grants.map(|bytes| grant_object(&Grant::parse(bytes).unwrap()));
        store.put_grants(grants.collect()).unwrap();
        runtime.block_on(async move { drop(enrolled.dialled) });
        let mut member = Member::new(secret.clone(), TableKey::from_bytes(&random()));
        member.catch_up(&mut store).unwrap();
        Self {
            scope: code.scopes[0].id,
            identity: Identity::new(&secret).unwrap(),
            target: SyncTarget {
                addresses: code.addresses,
                relay: code.relay,
            },
            secret,
            member,
            store: Box::new(store),
            runtime,
        }
    }

    pub fn device(&self) -> DeviceKey {
        self.secret.device()
    }

    fn of(&self) -> ScopeLane {
        ScopeLane {
            scope: self.scope,
            lane: Lane::Urgent,
        }
    }

    /// An honest record, sealed as any device seals it; its id.
    pub fn record(&mut self, local_id: &str) -> String {
        let moment = Moment {
            now_s: 1_800_000_000,
            nonce: random(),
        };
        let kind = schema::kind("hazardous_area").unwrap();
        let fields = [
            format!("local_id={local_id}"),
            "hazard_class=confirmed".to_owned(),
            "area_reported=400".to_owned(),
        ]
        .map(|field| input::set(kind, &field).unwrap());
        let envelope = Envelope::default();
        let saved = self
            .member
            .new_record(
                &mut *self.store,
                &moment,
                self.scope,
                kind,
                &envelope,
                &fields,
            )
            .unwrap();
        let all = SealLimits::all(None);
        let fresh = Incarnation(random());
        self.member
            .seal_outbox_some(&mut *self.store, fresh, all, &mut |_| true)
            .unwrap();
        saved.id.to_string()
    }

    /// The header of the entry that comes next in its log.
    pub fn next(&self) -> EntryHeader {
        let next = self.store.next_own(self.of()).unwrap();
        EntryHeader {
            version: FORMAT_VERSION,
            programme: self.store.membership().programme(),
            log: next.log,
            number: next.number,
            previous: next.previous,
            authority: self.store.authority_head(),
            key_number: 0,
            payload_bytes: 0,
        }
    }

    /// Seals and signs, under that header, what opens to `plain`.
    pub fn sealed(&self, header: &EntryHeader, plain: &[u8]) -> Entry {
        let key = self.member.keyring().newest(&self.scope).unwrap();
        seal_entry(&self.secret, key, header, plain).unwrap()
    }

    /// Signs, under that header, a payload that may be anything.
    pub fn signed(&self, mut header: EntryHeader, payload: &[u8]) -> Entry {
        header.payload_bytes = payload.len() as u32;
        let signed = [&header.to_bytes()[..], payload].concat();
        let signature = self.secret.sign(cairn_keys::Domain::ENTRY, &signed);
        Entry::assemble(&header, payload, &signature).unwrap()
    }

    /// Puts entries into its store, whoever wrote them, as its own journal's next.
    pub fn keep(&mut self, entries: Vec<Entry>) {
        let incoming = entries.into_iter().map(|entry| Incoming {
            entry,
            origins: Vec::new(),
        });
        self.store.append(incoming.collect()).unwrap();
    }

    /// Seals `plain` as the next entry of its log, and keeps it.
    pub fn say(&mut self, plain: &[u8]) -> EntryId {
        let entry = self.sealed(&self.next(), plain);
        let id = entry.id();
        self.keep(vec![entry]);
        id
    }

    /// Everything it holds in its journal.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let from = entries.len() as u64;
            let items = self.store.journal(self.of(), from, 1 << 20).unwrap();
            if items.is_empty() {
                return entries;
            }
            entries.extend(items.into_iter().map(|item| item.entry));
        }
    }

    /// The changes in an own entry.
    pub fn changes_in(&self, entry: &Entry) -> Vec<OpenedChange> {
        let key = self.member.keyring().for_entry(entry.header()).unwrap();
        let plain = open_entry(entry, key).unwrap();
        let items = batch::decode(&plain, &self.scope, &self.device()).unwrap();
        items.into_iter().map(Result::unwrap).collect()
    }

    /// The document that a first change by this author makes, where it passes the pre-flight.
    pub fn passing(&self, rest: &[u8]) -> Option<DocumentId> {
        let plain = roots(&[rest.to_vec()]);
        let device = self.device();
        let opened = batch::decode(&plain, &self.scope, &device).ok()?;
        let change = opened.into_iter().next()?.ok()?;
        let origin = Origin {
            scope: self.scope,
            device,
            document: change.document,
            nonce: change.nonce,
            place: Place::Root(KIND),
        };
        preflight::check(&change.bytes, &origin, &History::new()).ok()?;
        Some(change.document)
    }

    /// Hands over what it holds; that is its last act.
    pub fn sync(self) -> SyncReport {
        let Self {
            store,
            identity,
            target,
            runtime,
            ..
        } = self;
        runtime.block_on(async move {
            let handle = engine::start(store, EngineOptions::default()).unwrap();
            let options = SyncOptions::default();
            sync_once(&handle, &identity, &target, &options, &mut |_| {})
                .await
                .unwrap()
        })
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
