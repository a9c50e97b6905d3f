//! A small programme to test in: its authority, its log, its scopes, and logs of its devices.

use cairn_keys::{
    Access, Appended, AuthorityLog, AuthoritySecret, Body, DeviceSecret, Leaf, MemberSet,
    Membership, Position, Role, ScopeKey, SealedName, Subject, seal_entry,
};
use cairn_wire::{
    AuthorityRef, DeviceKey, Entry, EntryHeader, EntryId, Incarnation, Lane, LogId, ScopeId,
};
use std::collections::BTreeMap;

pub const NORTH: ScopeId = ScopeId([0x10; 16]);
pub const SOUTH: ScopeId = ScopeId([0x20; 16]);

pub struct Programme {
    pub authority: AuthoritySecret,
    pub recovery: AuthoritySecret,
    pub programme_key: ScopeKey,
    pub log: AuthorityLog,
}

impl Programme {
    /// Founded, with the scopes [`NORTH`] and [`SOUTH`].
    pub fn new() -> Self {
        Self::found_by(0xa1)
    }

    /// The same of another authority, and so another programme.
    pub fn found_by(seed: u8) -> Self {
        let authority = AuthoritySecret::from_bytes(&[seed; 32]);
        let recovery = AuthoritySecret::from_bytes(&[0xa2; 32]);
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[0xa3; 32]);
        let log = AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
        let mut programme = Self {
            authority,
            recovery,
            programme_key,
            log,
        };
        for (scope, name) in [(NORTH, "north/hazards"), (SOUTH, "south/hazards")] {
            let name = programme.name(Subject::Scope(scope), name);
            let key = scope_key(scope, 1).commitment();
            programme.say(&Body::ScopeCreated { scope, name, key });
        }
        programme
    }

    pub fn say(&mut self, body: &Body) -> AuthorityRef {
        let bytes = self
            .log
            .sign(&self.authority, body)
            .expect("a body that can be signed");
        assert_eq!(self.log.append_verified(&bytes), Ok(Appended::New));
        self.log.head()
    }

    pub fn name(&self, subject: Subject, text: &str) -> SealedName {
        SealedName::seal(self.log.programme(), subject, &self.programme_key, text)
    }

    pub fn member_set(
        &self,
        device: &DeviceSecret,
        role: Role,
        scopes: &[(ScopeId, Access)],
    ) -> MemberSet {
        MemberSet {
            public: device.public(),
            role,
            scopes: scopes.to_vec(),
            name: self.name(Subject::Member(device.device()), "T7 Delta"),
            code: None,
            grant_set: [0; 32],
        }
    }

    pub fn set(
        &mut self,
        device: &DeviceSecret,
        role: Role,
        scopes: &[(ScopeId, Access)],
    ) -> AuthorityRef {
        let set = self.member_set(device, role, scopes);
        self.say(&Body::MemberSet(set))
    }

    pub fn revoke(&mut self, device: &DeviceSecret, leaves: &[Leaf]) -> AuthorityRef {
        let reason = self.name(Subject::Reason(device.device()), "lost");
        self.say(&Body::Revoked {
            device: device.device(),
            leaves: leaves.to_vec(),
            reason,
        })
    }

    pub fn narrow(
        &mut self,
        device: &DeviceSecret,
        scopes: &[(ScopeId, Access)],
        leaves: &[Leaf],
    ) -> AuthorityRef {
        self.say(&Body::Narrowed {
            device: device.device(),
            scopes: scopes.to_vec(),
            leaves: leaves.to_vec(),
        })
    }

    pub fn accept(&mut self, device: &DeviceSecret, leaves: &[Leaf]) -> AuthorityRef {
        self.say(&Body::LeavesAccepted {
            device: device.device(),
            leaves: leaves.to_vec(),
        })
    }

    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }
}

pub fn device(seed: u8) -> DeviceSecret {
    let mut bytes = [seed; 64];
    bytes[32..].fill(seed ^ 0xff);
    DeviceSecret::from_bytes(&bytes)
}

pub fn scope_key(scope: ScopeId, number: u32) -> ScopeKey {
    ScopeKey::new(scope, number, &[scope.0[0] ^ number as u8; 32])
}

pub fn log_of(device: &DeviceSecret, scope: ScopeId, lane: Lane, incarnation: u8) -> LogId {
    LogId {
        scope,
        lane,
        device: device.device(),
        incarnation: Incarnation([incarnation; 16]),
    }
}

/// Entries as a replica stores them, and the answer to "reached by previous hashes?".
#[derive(Default)]
pub struct Stored {
    entries: BTreeMap<EntryId, Entry>,
}

impl Stored {
    /// Seals and stores the entry that follows `previous` (or begins the log).
    pub fn write(
        &mut self,
        programme: &Programme,
        secret: &DeviceSecret,
        log: LogId,
        previous: Option<&Entry>,
        authority: AuthorityRef,
        text: &str,
    ) -> Entry {
        let header = EntryHeader {
            version: 1,
            programme: programme.log.programme(),
            log,
            number: previous.map_or(1, |entry| entry.header().number + 1),
            previous: previous.map_or(EntryId::NONE, Entry::id),
            authority,
            key_number: 0,
            payload_bytes: 0,
        };
        let key = scope_key(log.scope, 1);
        let entry = seal_entry(secret, &key, &header, text.as_bytes()).expect("a good header");
        self.entries.insert(entry.id(), entry.clone());
        entry
    }

    /// A log of `count` entries that all name `authority`.
    pub fn write_log(
        &mut self,
        programme: &Programme,
        secret: &DeviceSecret,
        log: LogId,
        authority: AuthorityRef,
        count: usize,
    ) -> Vec<Entry> {
        let mut written: Vec<Entry> = Vec::new();
        for at in 0..count {
            let text = format!("entry {at}");
            let entry = self.write(programme, secret, log, written.last(), authority, &text);
            written.push(entry);
        }
        written
    }

    pub fn forget(&mut self, entry: &Entry) {
        self.entries.remove(&entry.id());
    }

    fn reaches(&self, leaf: &Leaf, of: DeviceKey, wanted: &Entry) -> bool {
        let mut at = self.entries.get(&leaf.id);
        while let Some(entry) = at {
            if entry.header().log != leaf.log(of) {
                return false;
            }
            if entry.id() == wanted.id() {
                return true;
            }
            at = self.entries.get(&entry.header().previous);
        }
        false
    }

    pub fn verified(&self, membership: &Membership, entry: &Entry) -> bool {
        let device = entry.header().log.device;
        membership.verified(&Position::of(entry), &|leaf| {
            self.reaches(leaf, device, entry)
        })
    }

    pub fn decides(&self, membership: &Membership, entry: &Entry) -> bool {
        let device = entry.header().log.device;
        membership.entitled_to_decide(&Position::of(entry), &|leaf| {
            self.reaches(leaf, device, entry)
        })
    }
}

pub fn leaf(entry: &Entry) -> Leaf {
    let header = entry.header();
    Leaf {
        scope: header.log.scope,
        lane: header.log.lane,
        incarnation: header.log.incarnation,
        number: header.number,
        id: entry.id(),
    }
}
