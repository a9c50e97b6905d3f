//! A small programme in memory: an authority, a scope, teams, a relay without keys. Replicas hand each
//! other journal items directly; there is no network.
#![allow(dead_code, reason = "each test file uses a part of it")]

use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, DeviceSecret, Grant, GrantHash, Leaf, MemberSet,
    Role, ScopeKey, SealedName, Subject,
};
use cairn_member::{Ingested, Member, MemberError, Moment, Saved, Sealed, TableKey};
use cairn_records::schema::{self, Kind};
use cairn_records::{Edit, Envelope, input};
use cairn_replica::holdings::{Origin, PeerLane};
use cairn_store::index::IndexFactory;
use cairn_store::index::memory_index::MemoryIndexFactory;
use cairn_store::{Fresh, Incoming, ModelDisk, OpenOptions, SegmentStore, SideObject, Store};
use cairn_wire::frame::{Cursor, ScopeLane};
use cairn_wire::ids::{DeviceKey, Incarnation, Lane, ScopeId};

pub const SCOPE: ScopeId = ScopeId([4; 16]);
pub const OF: ScopeLane = ScopeLane {
    scope: SCOPE,
    lane: Lane::Urgent,
};

/// Numbers that are never drawn twice.
pub struct Draw(u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let hash = cairn_wire::hash::derive("cairn test draw", &[&self.next().to_be_bytes()]);
        let mut out = [0; N];
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = hash[place % 32];
        }
        out
    }
}

pub struct Programme {
    pub authority: AuthoritySecret,
    pub log: AuthorityLog,
    pub programme_key: ScopeKey,
    pub scope_key: ScopeKey,
    pub draw: Draw,
}

pub struct Replica {
    pub member: Member,
    pub store: Box<dyn Store>,
    pub disk: ModelDisk,
    clock_s: i64,
    nonce: u64,
}

pub fn kind() -> &'static Kind {
    schema::kind("hazardous_area").unwrap()
}

/// Edits as `--set` takes them.
pub fn set(texts: &[&str]) -> Vec<Edit> {
    texts
        .iter()
        .map(|text| input::set(kind(), text).unwrap())
        .collect()
}

/// A square of `side` units of 1e-5 degree from a south-western corner, as `--set` takes it.
pub fn square(lat: f64, lon: f64, side: u32) -> String {
    let size = f64::from(side) * 1e-5;
    let corners = [
        (0.0, 0.0),
        (size, 0.0),
        (size, size),
        (0.0, size),
        (0.0, 0.0),
    ];
    let ring: Vec<String> = corners
        .iter()
        .map(|(east, north)| format!("[{:.7},{:.7}]", lon + east, lat + north))
        .collect();
    format!(
        "perimeter={{\"type\":\"Polygon\",\"coordinates\":[[{}]]}}",
        ring.join(",")
    )
}

impl Programme {
    pub fn found() -> Self {
        let mut draw = Draw(0);
        let authority = AuthoritySecret::from_bytes(&draw.bytes());
        let recovery = AuthoritySecret::from_bytes(&draw.bytes());
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &draw.bytes());
        let scope_key = ScopeKey::new(SCOPE, 1, &draw.bytes());
        let mut log =
            AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
        let name = SealedName::seal(
            log.programme(),
            Subject::Scope(SCOPE),
            &programme_key,
            "north/hazards",
        );
        let body = Body::ScopeCreated {
            scope: SCOPE,
            name,
            key: scope_key.commitment(),
        };
        let bytes = log.sign(&authority, &body).unwrap();
        log.append_verified(&bytes).unwrap();
        Self {
            authority,
            log,
            programme_key,
            scope_key,
            draw,
        }
    }

    pub fn sign(&mut self, body: &Body) {
        let bytes = self.log.sign(&self.authority, body).unwrap();
        self.log.append_verified(&bytes).unwrap();
    }

    pub fn revoke(&mut self, device: DeviceKey, leaves: Vec<Leaf>) {
        let reason = SealedName::seal(
            self.log.programme(),
            Subject::Reason(device),
            &self.programme_key,
            "lost",
        );
        self.sign(&Body::Revoked {
            device,
            leaves,
            reason,
        });
    }

    /// A member with the scope's key; a relay gets none.
    pub fn member(&mut self, name: &str, role: Role, access: Access) -> Replica {
        let secret = DeviceSecret::from_bytes(&self.draw.bytes());
        let keys = match role {
            Role::Relay => vec![],
            _ => vec![self.programme_key.clone(), self.scope_key.clone()],
        };
        let grants: Vec<Grant> = keys
            .iter()
            .map(|key| {
                Grant::seal(
                    self.log.programme(),
                    key,
                    &secret.public(),
                    &self.draw.bytes(),
                )
                .unwrap()
            })
            .collect();
        let hashes: Vec<_> = grants.iter().map(Grant::hash).collect();
        let sealed = SealedName::seal(
            self.log.programme(),
            Subject::Member(secret.device()),
            &self.programme_key,
            name,
        );
        self.sign(&Body::MemberSet(MemberSet {
            public: secret.public(),
            role,
            scopes: vec![(SCOPE, access)],
            name: sealed,
            code: None,
            grant_set: GrantHash::of_set(&hashes),
        }));
        let mut replica = self.replica(secret);
        replica.put_grants(&grants);
        self.tell(&mut replica);
        replica
    }

    /// A device of which the authority has not heard.
    pub fn stranger(&mut self) -> Replica {
        let secret = DeviceSecret::from_bytes(&self.draw.bytes());
        self.replica(secret)
    }

    pub fn replica(&mut self, secret: DeviceSecret) -> Replica {
        let disk = ModelDisk::recording();
        let table_key = TableKey::from_bytes(&self.draw.bytes());
        self.open(Member::new(secret, table_key), disk)
    }

    /// Opens a store on a disk that may hold one: its index is in memory, so it is rebuilt.
    pub fn open(&mut self, member: Member, disk: ModelDisk) -> Replica {
        self.open_with(member, disk, Box::new(MemoryIndexFactory))
    }

    pub fn open_with(
        &mut self,
        member: Member,
        disk: ModelDisk,
        index: Box<dyn IndexFactory>,
    ) -> Replica {
        let fresh = Fresh(self.draw.bytes());
        let mut options = OpenOptions::new(member.device(), fresh);
        options.programme = Some(self.log.programme());
        let (store, _) = SegmentStore::open_on(disk.clone(), index, &options).unwrap();
        Replica {
            member,
            store: Box::new(store),
            disk,
            clock_s: 1_760_000_000 + self.draw.next() as i64,
            nonce: self.draw.next() << 32,
        }
    }

    /// Gives a replica all that the authority has said.
    pub fn tell(&self, replica: &mut Replica) {
        let entries = self
            .log
            .entries_from(0, usize::MAX)
            .iter()
            .map(|bytes| bytes.to_vec())
            .collect();
        replica.store.append_authority(entries).unwrap();
        replica.catch_up();
    }
}

impl Replica {
    pub fn device(&self) -> DeviceKey {
        self.member.device()
    }

    pub fn put_grants(&mut self, grants: &[Grant]) {
        let objects = grants
            .iter()
            .map(|grant| SideObject {
                key: [grant.recipient().0.as_slice(), &grant.hash().0].concat(),
                counter: 1,
                bytes: grant.to_bytes().to_vec(),
            })
            .collect();
        self.store.put_grants(objects).unwrap();
    }

    pub fn catch_up(&mut self) -> Ingested {
        self.member.catch_up(&mut *self.store).unwrap()
    }

    pub fn set_clock(&mut self, now_s: i64) {
        self.clock_s = now_s;
    }

    pub fn moment(&mut self) -> Moment {
        self.clock_s += 60;
        self.nonce += 1;
        Moment {
            now_s: self.clock_s,
            nonce: self.nonce.to_be_bytes(),
        }
    }

    pub fn new_area(&mut self, texts: &[&str]) -> Saved {
        self.try_new(&set(texts)).unwrap()
    }

    pub fn try_new(&mut self, edits: &[Edit]) -> Result<Saved, MemberError> {
        let moment = self.moment();
        let envelope = Envelope::default();
        self.member
            .new_record(&mut *self.store, &moment, SCOPE, kind(), &envelope, edits)
    }

    pub fn edit(&mut self, saved: &Saved, texts: &[&str]) -> Saved {
        self.edit_seen(saved, None, &set(texts)).unwrap()
    }

    pub fn edit_seen(
        &mut self,
        saved: &Saved,
        seen: Option<&[cairn_wire::ChangeHash]>,
        edits: &[Edit],
    ) -> Result<Saved, MemberError> {
        let moment = self.moment();
        let name = saved.id.to_string();
        self.member
            .edit(&mut *self.store, &moment, &name, seen, edits)
    }

    pub fn seal(&mut self) -> Sealed {
        self.nonce += 1;
        let mut fresh = [7; 16];
        fresh[..8].copy_from_slice(&self.nonce.to_be_bytes());
        let sealed = self
            .member
            .seal_outbox(&mut *self.store, None, Incarnation(fresh))
            .unwrap();
        self.catch_up();
        sealed
    }

    pub fn show(&self, saved: &Saved) -> cairn_member::OpenRecord {
        let membership = self.store.membership();
        self.member
            .show(&*self.store, membership, &saved.id.to_string(), None)
            .unwrap()
    }

    /// `cairn.record/1` of a field.
    pub fn field(&self, saved: &Saved, field: &str) -> serde_json::Value {
        self.show(saved).to_json()["fields"][field].clone()
    }

    pub fn status(&self) -> cairn_member::Status {
        self.member
            .status(&*self.store, self.store.membership())
            .unwrap()
    }

    /// Every record as scripts see it, but for what each replica knows differently (how far it has come).
    pub fn picture(&self) -> Vec<serde_json::Value> {
        let mut records = Vec::new();
        let membership = self.store.membership();
        self.member
            .each_line(&*self.store, None, &mut |line| {
                let record = self.member.read_record(
                    &*self.store,
                    membership,
                    &line.scope,
                    &line.id,
                    None,
                )?;
                let mut json = record.to_json();
                for key in ["unsent", "stage"] {
                    json.as_object_mut().unwrap().remove(key);
                }
                records.push(json);
                Ok(true)
            })
            .unwrap();
        records.sort_by_key(|record| record["id"].to_string());
        records
    }

    /// Keeps the entries that another replica has, and takes none of them in.
    pub fn keep_all_of(&mut self, other: &Replica) {
        let origin = Origin {
            peer: other.device(),
            epoch: other.store.epoch(),
        };
        for of in other.store.journals() {
            let items = other.store.journal(of, 0, usize::MAX).unwrap();
            let incoming = items.into_iter().map(|item| Incoming {
                entry: item.entry,
                origins: vec![origin],
            });
            self.store.append(incoming.collect()).unwrap();
        }
    }

    /// Sends all that this replica has to another, which takes it in.
    pub fn send_to(&mut self, other: &mut Replica) -> Ingested {
        self.seal();
        let origin = Origin {
            peer: self.device(),
            epoch: self.store.epoch(),
        };
        for of in self.store.journals() {
            let mut at = 0;
            while at < self.store.journal_end(of).position {
                let items = self.store.journal(of, at, 1 << 20).unwrap();
                at = items.last().unwrap().after.position;
                let incoming = items
                    .into_iter()
                    .map(|item| Incoming {
                        entry: item.entry,
                        origins: vec![origin],
                    })
                    .collect();
                other.store.append(incoming).unwrap();
            }
            // What the other would acknowledge.
            let mut record = self.store.peer(&other.device()).unwrap();
            let mark = self.store.journal_end(of);
            let acknowledged = Some(Cursor {
                epoch: self.store.epoch(),
                mark,
            });
            let lane = record.lanes.entry(of).or_insert(PeerLane {
                cursor: Default::default(),
                acknowledged: None,
            });
            lane.acknowledged = acknowledged;
            self.store.put_peer(&other.device(), &record).unwrap();
        }
        other.catch_up()
    }
}

/// Both hand over all they have.
pub fn exchange(one: &mut Replica, other: &mut Replica) {
    one.send_to(other);
    other.send_to(one);
}
