//! What the tests of the store share: authors of entries, and openings.
#![allow(dead_code, missing_docs)]

pub mod script;

use cairn_keys::authority::{AuthorityLog, AuthoritySecret, Body};
use cairn_keys::sealing::ScopeKey;
use cairn_store::{
    Fresh, Incoming, ModelDisk, OpenOptions, OpenReport, OutboxFrame, SegmentStore, Store,
};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{
    AuthorityRef, DeviceKey, EntryId, Incarnation, Lane, LogId, ProgrammeId, ScopeId,
};
use cairn_wire::{Entry, EntryHeader};

pub const DEVICE: DeviceKey = DeviceKey([0xd0; 32]);
pub const SCOPE: ScopeId = ScopeId([0x5c; 16]);
pub const URGENT: ScopeLane = ScopeLane {
    scope: SCOPE,
    lane: Lane::Urgent,
};
pub const RECORDS: ScopeLane = ScopeLane {
    scope: SCOPE,
    lane: Lane::Records,
};

pub fn fresh(seed: u64) -> Fresh {
    let mut bytes = [0; 48];
    for (at, part) in bytes.chunks_mut(32).enumerate() {
        let hash =
            cairn_wire::hash::derive("cairn store tests", &[&seed.to_be_bytes(), &[at as u8]]);
        part.copy_from_slice(&hash[..part.len()]);
    }
    Fresh(bytes)
}

pub fn options(seed: u64) -> OpenOptions {
    let mut options = OpenOptions::new(DEVICE, fresh(seed));
    options.segment_bytes = 4096;
    options.lock_wait = std::time::Duration::ZERO;
    options
}

/// Writes entries into one log.
#[derive(Clone)]
pub struct Author {
    pub log: LogId,
    pub number: u64,
    pub previous: EntryId,
}

impl Author {
    pub fn new(of: ScopeLane, device: u8, incarnation: u8) -> Self {
        Self::of_log(LogId {
            scope: of.scope,
            lane: of.lane,
            device: DeviceKey([device; 32]),
            incarnation: Incarnation([incarnation; 16]),
        })
    }

    pub fn of_log(log: LogId) -> Self {
        Self {
            log,
            number: 0,
            previous: EntryId::NONE,
        }
    }

    pub fn write(&mut self, payload: &[u8]) -> Entry {
        self.number += 1;
        let header = EntryHeader {
            version: 1,
            programme: ProgrammeId([9; 32]),
            log: self.log,
            number: self.number,
            previous: self.previous,
            authority: AuthorityRef {
                height: 0,
                id: [0; 8],
            },
            key_number: 1,
            payload_bytes: payload.len() as u32,
        };
        let entry = Entry::assemble(&header, payload, &[7; 64]).unwrap();
        self.previous = entry.id();
        entry
    }

    pub fn write_many(&mut self, count: usize) -> Vec<Entry> {
        (0..count)
            .map(|at| self.write(format!("payload {at} of {}", self.number).as_bytes()))
            .collect()
    }
}

pub fn incoming(entries: &[Entry]) -> Vec<Incoming> {
    entries
        .iter()
        .map(|entry| Incoming {
            entry: entry.clone(),
            origins: Vec::new(),
        })
        .collect()
}

pub fn outbox_frame(number: u64, bytes: usize) -> OutboxFrame {
    OutboxFrame {
        scope: SCOPE,
        lane: Lane::Urgent,
        key_number: 3,
        number,
        sealed: vec![number as u8; bytes],
    }
}

pub fn open_model(disk: &ModelDisk, seed: u64) -> (SegmentStore<ModelDisk>, OpenReport) {
    SegmentStore::open_model(disk.clone(), &options(seed)).unwrap()
}

/// All entries of a journal, read in small pieces; checks that marks follow each other.
pub fn journal(store: &dyn Store, of: ScopeLane) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut position, mut hash) = (0, [0; 8]);
    loop {
        let items = store.journal(of, position, 700).unwrap();
        if items.is_empty() {
            break;
        }
        for item in items {
            position += 1;
            hash = cairn_wire::hash::journal_step(hash, &item.entry.id());
            assert_eq!(item.after.position, position);
            assert_eq!(item.after.hash, hash);
            assert_eq!(store.journal_mark(of, position).unwrap(), Some(item.after));
            entries.push(item.entry);
        }
    }
    assert_eq!(store.journal_end(of).position, position);
    assert_eq!(store.journal_end(of).hash, hash);
    assert_eq!(store.journal_mark(of, position + 1).unwrap(), None);
    entries
}

/// The authority of a programme, and its log so far.
pub struct Authority {
    pub secret: AuthoritySecret,
    pub log: AuthorityLog,
}

impl Authority {
    pub fn found() -> Self {
        let secret = AuthoritySecret::from_bytes(&[1; 32]);
        let recovery = AuthoritySecret::from_bytes(&[2; 32]).public();
        let key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[3; 32]);
        let log = AuthorityLog::found(&secret, recovery, key.commitment());
        Self { secret, log }
    }

    /// An entry that follows the head; it is in the log then.
    pub fn sign(&mut self, rw_includes_decide: bool) -> Vec<u8> {
        let bytes = self.offer(rw_includes_decide);
        self.log.append_verified(&bytes).unwrap();
        bytes
    }

    /// An entry that follows the head and is not in the log.
    pub fn offer(&self, rw_includes_decide: bool) -> Vec<u8> {
        let body = Body::RightsPolicy {
            rw_includes_decide,
            leaves: Vec::new(),
        };
        self.log.sign(&self.secret, &body).unwrap()
    }

    pub fn entry(&self, height: u64) -> Vec<u8> {
        self.log.entries_from(height, 1)[0].to_vec()
    }
}
