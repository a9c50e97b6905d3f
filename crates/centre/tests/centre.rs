//! A centre that follows a relay's store, without a network: what it opens, what it signs for.

use cairn_centre::{Centre, CentreOptions, KeepOutFault, KeptOut, RelayStopped, RelayStore, Turn};
use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, DeviceSecret, Grant, GrantHash, MemberSet, Role,
    ScopeKey, SealedName, Subject, seal_entry,
};
use cairn_member::receipt::{Exception, Receipt};
use cairn_member::{Member, Moment, TableKey};
use cairn_records::{Edit, Envelope, Value, schema};
use cairn_replica::Origin;
use cairn_store::{
    Fresh, Incoming, ModelDisk, OpenOptions, SegmentStore, SideObject, Store, StoreError,
};
use cairn_wire::ids::{Epoch, Incarnation, Lane, ProgrammeId, ScopeId};
use cairn_wire::{Entry, EntryHeader};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const SCOPE: ScopeId = ScopeId([4; 16]);

fn model(device: &DeviceSecret, seed: u8) -> Box<dyn Store> {
    let options = OpenOptions::new(device.device(), Fresh([seed; 48]));
    let (store, _) = SegmentStore::open_model(ModelDisk::new(), &options).unwrap();
    Box::new(store)
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Store>>>);

impl RelayStore for Shared {
    fn turn(&self, work: Turn) -> Result<(), RelayStopped> {
        work(&mut **self.0.lock().unwrap());
        Ok(())
    }

    fn receipts_grown(&self) -> Result<(), RelayStopped> {
        Ok(())
    }
}

/// A programme with one scope, a relay's store, and the folder of a centre.
struct World {
    authority: AuthoritySecret,
    log: AuthorityLog,
    programme_key: ScopeKey,
    keys: Vec<ScopeKey>,
    relay: Shared,
    centre: DeviceSecret,
    folder: tempfile::TempDir,
    nonce: u64,
}

impl World {
    fn new() -> Self {
        let authority = AuthoritySecret::from_bytes(&[1; 32]);
        let recovery = AuthoritySecret::from_bytes(&[2; 32]);
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[3; 32]);
        let log = AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
        let relay = model(&DeviceSecret::from_bytes(&[90; 64]), 90);
        let mut world = Self {
            authority,
            log,
            programme_key,
            keys: vec![ScopeKey::new(SCOPE, 1, &[5; 32])],
            relay: Shared(Arc::new(Mutex::new(relay))),
            centre: DeviceSecret::from_bytes(&[91; 64]),
            folder: tempfile::tempdir().unwrap(),
            nonce: 0,
        };
        let founded = world.log.entries_from(0, usize::MAX)[0].to_vec();
        let mut relay = world.relay.0.lock().unwrap();
        relay.append_authority(vec![founded]).unwrap();
        drop(relay);
        let name = world.name(Subject::Scope(SCOPE), "north");
        let key = world.keys[0].commitment();
        world.say(&Body::ScopeCreated {
            scope: SCOPE,
            name,
            key,
        });
        let centre = world.centre.clone();
        world.admit(&centre, Role::Centre);
        world.grant_all(&centre);
        world
    }

    fn name(&self, subject: Subject, text: &str) -> SealedName {
        SealedName::seal(self.log.programme(), subject, &self.programme_key, text)
    }

    fn say(&mut self, body: &Body) {
        let entry = self.log.sign(&self.authority, body).unwrap();
        let mut relay = self.relay.0.lock().unwrap();
        relay.append_authority(vec![entry.clone()]).unwrap();
        self.log.append_verified(&entry).unwrap();
    }

    fn admit(&mut self, device: &DeviceSecret, role: Role) {
        let public = device.public();
        let name = self.name(Subject::Member(public.device), "name");
        self.say(&Body::MemberSet(MemberSet {
            public,
            role,
            scopes: vec![(SCOPE, Access::Decide)],
            name,
            code: None,
            grant_set: GrantHash::of_set(&[]),
        }));
    }

    fn grants(&self, device: &DeviceSecret) -> Vec<SideObject> {
        let keys = self.keys.iter().chain([&self.programme_key]);
        keys.map(|key| {
            let grant = Grant::seal(self.log.programme(), key, &device.public(), &[7; 32]).unwrap();
            let mut at = device.device().0.to_vec();
            at.extend_from_slice(&grant.hash().0);
            SideObject {
                key: at,
                counter: 1,
                bytes: grant.to_bytes().to_vec(),
            }
        })
        .collect()
    }

    fn grant_all(&self, device: &DeviceSecret) {
        let grants = self.grants(device);
        self.relay.0.lock().unwrap().put_grants(grants).unwrap();
    }

    /// A device that is a member and writes into a store of its own.
    fn author(&mut self, seed: u8) -> Author {
        let secret = DeviceSecret::from_bytes(&[seed; 64]);
        self.admit(&secret, Role::Device);
        let mut store = model(&secret, seed);
        store.append_authority(self.authority_entries()).unwrap();
        store.put_grants(self.grants(&secret)).unwrap();
        Author {
            member: Member::new(secret, TableKey::from_bytes(&[seed; 32])),
            store,
        }
    }

    fn authority_entries(&self) -> Vec<Vec<u8>> {
        let entries = self.log.entries_from(0, usize::MAX);
        entries.iter().map(|entry| entry.to_vec()).collect()
    }

    fn moment(&mut self) -> Moment {
        self.nonce += 1;
        Moment {
            now_s: 1_800_000_000,
            nonce: self.nonce.to_be_bytes(),
        }
    }

    fn hand_in(&self, author: &Author, entries: Vec<Entry>) {
        let origin = Origin {
            peer: author.member.device(),
            epoch: Epoch([1; 8]),
        };
        let incoming = entries.into_iter().map(|entry| Incoming {
            entry,
            origins: vec![origin],
        });
        let mut relay = self.relay.0.lock().unwrap();
        relay.append(incoming.collect()).unwrap();
    }

    fn open(&self) -> Centre {
        let options = CentreOptions {
            folder: self.folder.path().to_owned(),
            secret: self.centre.clone(),
            table_key: TableKey::from_bytes(&[92; 32]),
            programme: self.log.programme(),
            cache_bytes: 1024 * 1024,
            fresh: Fresh([93; 48]),
        };
        Centre::open(options, Box::new(self.relay.clone()))
            .unwrap()
            .0
    }

    /// The rows that stand in the relay's store, by author's first byte, lane and branch.
    fn rows(&self) -> Vec<Receipt> {
        let relay = self.relay.0.lock().unwrap();
        let receipts = relay.receipts().unwrap();
        let rows = receipts
            .iter()
            .map(|bytes| Receipt::verify(bytes, relay.membership()).unwrap());
        rows.collect()
    }

    fn row_of(&self, author: &Author) -> Receipt {
        let rows = self.rows();
        let of_author = rows
            .into_iter()
            .filter(|row| row.log.device == author.member.device());
        let rows: Vec<_> = of_author.collect();
        let [row] = rows.as_slice() else {
            panic!("not one row: {rows:?}");
        };
        row.clone()
    }
}

struct Author {
    member: Member,
    store: Box<dyn Store>,
}

impl Author {
    fn catch_up(&mut self) {
        self.member.catch_up(&mut *self.store).unwrap();
    }

    fn sealed(&mut self, before: usize) -> Vec<Entry> {
        let fresh = Incarnation([8; 16]);
        self.member
            .seal_outbox(&mut *self.store, None, fresh)
            .unwrap();
        let all = self.own_entries();
        all[before..].to_vec()
    }

    fn own_entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for of in self.store.journals() {
            let items = self.store.journal(of, 0, usize::MAX).unwrap();
            let items = items.into_iter().map(|item| item.entry);
            entries.extend(items.filter(|entry| entry.header().log.device == self.member.device()));
        }
        entries
    }

    /// Saves an area; gives its id and the entries that hold it.
    fn save(&mut self, moment: Moment, local_id: &str) -> (String, Vec<Entry>) {
        self.catch_up();
        let before = self.own_entries().len();
        let kind = schema::kind("hazardous_area").unwrap();
        let edits = [set("local_id", local_id)];
        let saved = self
            .member
            .new_record(
                &mut *self.store,
                &moment,
                SCOPE,
                kind,
                &Envelope::default(),
                &edits,
            )
            .unwrap();
        (saved.id.to_string(), self.sealed(before))
    }

    fn edit(&mut self, moment: Moment, id: &str, field: &str, value: &str) -> Vec<Entry> {
        self.catch_up();
        let before = self.own_entries().len();
        let edits = [set(field, value)];
        self.member
            .edit(&mut *self.store, &moment, id, None, &edits)
            .unwrap();
        self.sealed(before)
    }

    /// Takes in what somebody else wrote.
    fn take(&mut self, entries: Vec<Entry>) {
        let incoming = entries.into_iter().map(|entry| Incoming {
            entry,
            origins: Vec::new(),
        });
        self.store.append(incoming.collect()).unwrap();
        self.catch_up();
    }

    /// An entry that holds something that is no batch, after the newest of its log.
    fn garbage(&mut self, key: &ScopeKey, plaintext: &[u8]) -> Entry {
        let of = cairn_wire::frame::ScopeLane {
            scope: SCOPE,
            lane: Lane::Urgent,
        };
        let next = self.store.next_own(of).unwrap();
        let header = EntryHeader {
            version: 1,
            programme: self.store.programme(),
            log: next.log,
            number: next.number,
            previous: next.previous,
            authority: self.store.authority_head(),
            key_number: 0,
            payload_bytes: 0,
        };
        let entry = seal_entry(self.member.secret(), key, &header, plaintext).unwrap();
        self.store
            .append(vec![Incoming {
                entry: entry.clone(),
                origins: Vec::new(),
            }])
            .unwrap();
        entry
    }
}

fn set(field: &str, value: &str) -> Edit {
    Edit::Set {
        field: field.into(),
        value: Value::Text(value.into()),
        reason: None,
    }
}

fn follow_all(centre: &mut Centre) -> usize {
    while centre.follow().unwrap().more {}
    assert_eq!(centre.behind(), 0);
    centre.write_receipts().unwrap()
}

#[test]
fn a_bad_entry_blocks_nobody_elses_and_is_named_in_the_receipt() {
    let mut world = World::new();
    let mut one = world.author(10);
    let mut other = world.author(11);
    let key = world.keys[0].clone();
    let moment = world.moment();
    let (_, mut entries) = one.save(moment, "HA-1");
    let bad = one.garbage(&key, b"this is no batch");
    entries.push(bad.clone());
    let moment = world.moment();
    entries.extend(one.save(moment, "HA-2").1);
    world.hand_in(&one, entries);
    let moment = world.moment();
    let (_, entries) = other.save(moment, "HA-3");
    world.hand_in(&other, entries);

    let mut centre = world.open();
    assert_eq!(follow_all(&mut centre), 2);
    assert_eq!(centre.counts().unwrap().documents, 3);
    let row = world.row_of(&one);
    assert_eq!((row.opened.number, row.counter), (3, 1));
    let expected = BTreeMap::from([(bad.id(), Exception::Quarantined)]);
    assert_eq!(row.exceptions, expected);
    let row = world.row_of(&other);
    assert_eq!((row.opened.number, row.exceptions.len()), (1, 0));
    assert_eq!(
        follow_all(&mut centre),
        0,
        "nothing moved, so nothing is signed"
    );
}

#[test]
fn a_receipt_stops_before_what_is_locked_until_the_key_comes() {
    let mut world = World::new();
    let mut one = world.author(10);
    let moment = world.moment();
    let (_, mut entries) = one.save(moment, "HA-1");
    let second = ScopeKey::new(SCOPE, 2, &[6; 32]);
    let (number, key) = (2, second.commitment());
    world.say(&Body::ScopeKeyRotated {
        scope: SCOPE,
        number,
        key,
    });
    world.keys.push(second);
    one.store
        .append_authority(world.authority_entries())
        .unwrap();
    one.store
        .put_grants(world.grants(one.member.secret()))
        .unwrap();
    let moment = world.moment();
    entries.extend(one.save(moment, "HA-2").1);
    world.hand_in(&one, entries);

    let mut centre = world.open();
    follow_all(&mut centre);
    assert_eq!(centre.counts().unwrap().documents, 1);
    assert_eq!(world.row_of(&one).opened.number, 1);
    let centre_secret = world.centre.clone();
    world.grant_all(&centre_secret);
    assert_eq!(follow_all(&mut centre), 1);
    assert_eq!(centre.counts().unwrap().documents, 2);
    let row = world.row_of(&one);
    assert_eq!(
        (row.opened.number, row.counter, row.exceptions.len()),
        (2, 2, 0)
    );
}

#[test]
fn a_change_that_waits_is_an_exception_until_what_it_waits_for_comes() {
    let mut world = World::new();
    let mut one = world.author(10);
    let mut other = world.author(11);
    let moment = world.moment();
    let (id, entries) = one.save(moment, "HA-1");
    other.take(entries.clone());
    let moment = world.moment();
    let edit = other.edit(moment, &id, "slope", "steep");
    let edit_id = edit[0].id();
    world.hand_in(&other, edit);
    let mut centre = world.open();
    follow_all(&mut centre);
    let waiting = BTreeMap::from([(edit_id, Exception::Waiting)]);
    assert_eq!(world.row_of(&other).exceptions, waiting);
    assert_eq!(centre.set_aside(None).unwrap().len(), 1);

    world.hand_in(&one, entries);
    follow_all(&mut centre);
    let row = world.row_of(&other);
    assert_eq!((row.exceptions.len(), row.counter), (0, 2));
    assert_eq!(centre.set_aside(None).unwrap().len(), 0);
    assert_eq!(centre.history("HA-1").unwrap().len(), 2);
    assert_eq!(centre.places("HA-1").unwrap().len(), 2);
}

#[test]
fn what_is_set_aside_is_listed_and_a_decision_about_it_is_kept() {
    let mut world = World::new();
    let mut one = world.author(10);
    let moment = world.moment();
    let (id, entries) = one.save(moment, "HA-1");
    let mut other = world.author(11);
    other.take(entries.clone());
    let moment = world.moment();
    let edit = other.edit(moment, &id, "slope", "steep");
    let key = world.keys[0].clone();
    let bad = other.garbage(&key, b"this is no batch");
    world.hand_in(&other, edit);
    world.hand_in(&other, vec![bad.clone()]);
    let mut centre = world.open();
    follow_all(&mut centre);
    let listed = centre.set_aside(None).unwrap();
    let states: Vec<_> = listed.iter().map(|one| one.state.name()).collect();
    assert_eq!(states, ["unreadable", "waiting"]);
    assert_eq!(listed[0].device, Some(other.member.device()));
    assert_eq!(listed[1].document.as_deref(), Some(id.as_str()));
    assert_eq!(centre.undecided().unwrap(), 1);

    let decision = KeptOut {
        at_s: 7,
        by: Some("Ops".into()),
        reason: "a broken build".into(),
    };
    let waits = centre.keep_out(&listed[1].id, decision.clone()).unwrap();
    assert!(matches!(waits, Err(KeepOutFault::Passes(_))));
    let none = centre.keep_out("ffff", decision.clone()).unwrap();
    assert!(matches!(none, Err(KeepOutFault::NotFound(_))));
    let begins = &bad.id().to_string()[..12];
    let kept = centre.keep_out(begins, decision.clone()).unwrap().unwrap();
    assert_eq!(kept.decision.as_ref(), Some(&decision));
    assert_eq!(centre.undecided().unwrap(), 0);
    centre.close().unwrap();

    // Nobody is asked again after a restart, and what only waited is taken in by itself.
    let mut centre = world.open();
    world.hand_in(&one, entries);
    follow_all(&mut centre);
    let listed = centre.set_aside(None).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].decision, Some(decision));
    assert_eq!(centre.history("HA-1").unwrap().len(), 2);
    let known = centre.who_has("HA-1").unwrap();
    assert!(known.places.iter().all(|at| at.at_relay));
}

#[test]
fn an_entry_of_which_a_part_waits_and_a_part_does_not_read_is_told_with_both() {
    let mut world = World::new();
    let mut one = world.author(10);
    // One put of a null under "a", as it stands behind a change's actor.
    let columns = [[0x15, 3], [0x34, 1], [0x42, 2], [0x56, 2], [0x70, 2]].concat();
    let values = [0x7f, 1, b'a', 1, 0x7f, 1, 0x7f, 0, 0x7f, 0];
    let put = [&[1, 1, 0, 0, 0, 5][..], &columns, &values].concat();
    // An edit of the document in the table, which rests on a change that is nowhere, and one of a
    // document that no table holds.
    let tables = [&[1][..], &[5; 8], &[0], &[1], &[6; 16], &[1], &[7; 32]].concat();
    let numbers = [2, 0, 2 * 9, 0, 0, 1, 0, 0, 26, 26];
    let plain = [&[1, 0][..], &tables, &numbers, &put, &put].concat();
    let key = world.keys[0].clone();
    let mixed = one.garbage(&key, &plain);
    world.hand_in(&one, vec![mixed.clone()]);
    let mut centre = world.open();
    follow_all(&mut centre);
    let listed = centre.set_aside(None).unwrap();
    let told: Vec<_> = listed
        .iter()
        .map(|one| (one.state.name(), one.entries.as_slice()))
        .collect();
    let entries = [mixed.id().to_string()];
    assert_eq!(
        told,
        [("unreadable", &entries[..]), ("waiting", &entries[..])]
    );
    assert_eq!(listed[0].id, entries[0]);
    assert!(listed[0].why.contains("others"), "{}", listed[0].why);
}

#[test]
fn a_forked_log_has_a_row_for_each_branch() {
    let mut world = World::new();
    let mut one = world.author(10);
    let moment = world.moment();
    let (_, first) = one.save(moment, "HA-1");
    world.hand_in(&one, first.clone());
    let mut centre = world.open();
    follow_all(&mut centre);

    // A copy of the device writes on from the same place.
    let header = EntryHeader {
        number: 2,
        previous: first[0].id(),
        authority: one.store.authority_head(),
        key_number: 0,
        payload_bytes: 0,
        ..*first[0].header()
    };
    let key = world.keys[0].clone();
    let copied = seal_entry(one.member.secret(), &key, &header, b"no batch either").unwrap();
    let moment = world.moment();
    let (_, mut entries) = one.save(moment, "HA-2");
    entries.push(copied);
    world.hand_in(&one, entries);
    assert_eq!(follow_all(&mut centre), 2);
    let rows = world.rows();
    let branches: Vec<_> = rows
        .iter()
        .map(|row| (row.branch, row.opened.number))
        .collect();
    assert_eq!(rows.len(), 3, "{branches:?}");
    let forked = rows.iter().filter(|row| row.branch != [0; 8]);
    assert!(forked.clone().all(|row| row.opened.number == 2));
    assert!(forked.clone().all(|row| row.branch == row.opened.id.0[..8]));
    assert_eq!(follow_all(&mut centre), 0);
}

#[test]
fn a_centre_that_starts_again_goes_on_where_it_was() {
    let mut world = World::new();
    let mut one = world.author(10);
    let moment = world.moment();
    let (_, entries) = one.save(moment, "HA-1");
    world.hand_in(&one, entries);
    let mut centre = world.open();
    follow_all(&mut centre);
    centre.close().unwrap();

    let mut centre = world.open();
    assert_eq!(follow_all(&mut centre), 0, "its own row was read back");
    let moment = world.moment();
    let (_, entries) = one.save(moment, "HA-2");
    world.hand_in(&one, entries);
    assert_eq!(follow_all(&mut centre), 1);
    let row = world.row_of(&one);
    assert_eq!((row.counter, row.opened.number), (2, 2));
    centre.close().unwrap();

    // Its tables gone: everything is read again, and nothing signed that says the same.
    std::fs::remove_dir_all(world.folder.path()).unwrap();
    let mut centre = world.open();
    assert_eq!(follow_all(&mut centre), 0);
    assert_eq!(centre.counts().unwrap().documents, 2);
    centre.close().unwrap();

    // The relay restored from elsewhere: its journal is another one, in another order.
    let entries = one.own_entries();
    let programme: ProgrammeId = world.log.programme();
    let fresh = model(&DeviceSecret::from_bytes(&[90; 64]), 94);
    *world.relay.0.lock().unwrap() = fresh;
    restore(&world).unwrap();
    world.hand_in(&one, entries.into_iter().rev().collect());
    let mut centre = world.open();
    follow_all(&mut centre);
    assert_eq!(centre.counts().unwrap().documents, 2);
    assert_eq!(world.row_of(&one).opened.number, 2);
    assert_eq!(world.relay.0.lock().unwrap().programme(), programme);
}

fn restore(world: &World) -> Result<(), StoreError> {
    let mut relay = world.relay.0.lock().unwrap();
    relay.append_authority(world.authority_entries())?;
    relay.put_grants(world.grants(&world.centre))?;
    Ok(())
}
