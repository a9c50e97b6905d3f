//! Entries are taken in by several runs: where the power goes out between two of them, what the tables
//! hold already is a part, and opening again makes it whole.

mod programme;

use cairn_keys::{Access, DeviceSecret, Grant, Role};
use cairn_member::{ImportRow, Importing, Member, MemberError};
use cairn_records::Envelope;
use cairn_store::index::memory_index::MemoryIndex;
use cairn_store::index::{Index, IndexFactory, IndexWrites, OpenIndexError, Row, Rows, Table};
use cairn_store::{IndexError, ModelDisk};
use programme::{Programme, Replica, SCOPE, kind, set, square};
use std::sync::{Arc, Mutex};

/// More than one entry holds, and than one run takes in.
const AREAS: u32 = 1_400;

/// An index that outlives its store, and takes in so many write sets before the power goes out.
#[derive(Clone, Default)]
struct Lasting(Arc<Mutex<Rest>>);

#[derive(Default)]
struct Rest {
    rows: MemoryIndex,
    applied: usize,
    left: Option<usize>,
}

impl Lasting {
    fn copy(&self) -> Self {
        let rows = self.0.lock().unwrap().rows.clone();
        Self(Arc::new(Mutex::new(Rest {
            rows,
            ..Rest::default()
        })))
    }

    fn applied(&self) -> usize {
        self.0.lock().unwrap().applied
    }

    fn fails_after(&self, left: Option<usize>) {
        self.0.lock().unwrap().left = left;
    }
}

impl IndexFactory for Lasting {
    fn open(&mut self) -> Result<Box<dyn Index>, OpenIndexError> {
        Ok(Box::new(self.clone()))
    }

    fn replace(&mut self) -> Result<(Box<dyn Index>, Option<String>), OpenIndexError> {
        self.0.lock().unwrap().rows = MemoryIndex::default();
        Ok((Box::new(self.clone()), None))
    }
}

impl Index for Lasting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.lock().unwrap().rows.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, IndexError> {
        let rest = self.0.lock().unwrap();
        rest.rows.scan(table, prefix, from, limit)
    }

    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>, IndexError> {
        self.0.lock().unwrap().rows.last(table, prefix)
    }

    fn apply(&mut self, writes: IndexWrites) -> Result<(), IndexError> {
        let mut rest = self.0.lock().unwrap();
        if rest.left == Some(0) {
            return Err(IndexError {
                doing: "writing",
                why: "the power is out".into(),
                disk: None,
            });
        }
        rest.left = rest.left.map(|left| left - 1);
        rest.applied += 1;
        rest.rows.apply(writes)
    }

    fn persist(&mut self) -> Result<(), IndexError> {
        Ok(())
    }
}

fn import(replica: &mut Replica) {
    let moment = replica.moment();
    let mut rows = (0..AREAS).map(|number| ImportRow {
        row: u64::from(number),
        envelope: Envelope::default(),
        edits: set(&[
            &format!("local_id=HA-{number}"),
            &square(44.0 + f64::from(number) * 1e-3, 18.0, 20),
        ]),
        copy_of: None,
    });
    let mut importing = Importing::new(SCOPE, kind(), false);
    let store = &mut *replica.store;
    let (clock, told) = (&mut || 0, &mut |_, _| {});
    let member = &replica.member;
    let imported = member.import_rows(store, &moment, &mut importing, &mut rows, clock, told);
    assert_eq!(imported.unwrap().taken, u64::from(AREAS));
}

/// A replica that is to take in the entries that it holds.
struct Stage {
    programme: Programme,
    member: Member,
    disk: ModelDisk,
    index: Lasting,
}

impl Stage {
    fn opened(&mut self, index: &Lasting) -> Replica {
        let (member, disk) = (self.member.clone(), self.disk.copy());
        self.programme
            .open_with(member, disk, Box::new(index.clone()))
    }

    /// Lets the power go out after every number of runs; what is there when it is back, without and
    /// with catching up.
    fn play(mut self, picture: &[serde_json::Value]) {
        let whole = self.index.copy();
        let mut replica = self.opened(&whole);
        let before = whole.applied();
        let taken = replica.catch_up();
        let runs = whole.applied() - before;
        assert_eq!(taken.changes_applied, u64::from(AREAS));
        assert!(replica.picture() == picture);
        let status = replica.status();
        let mut parts = 0;
        for done in 0..runs {
            let index = self.index.copy();
            let mut replica = self.opened(&index);
            index.fails_after(Some(done));
            let failed = replica.member.catch_up(&mut *replica.store);
            assert!(matches!(failed, Err(MemberError::Store(_))), "{failed:?}");
            drop(replica);

            index.fails_after(None);
            let mut again = self.opened(&index);
            let there = again.status().documents;
            parts += usize::from(there > 0 && there < u64::from(AREAS));
            again.catch_up();
            assert!(again.picture() == picture, "after {done} runs");
            assert_eq!(again.status(), status, "after {done} runs");
        }
        assert!(parts > 0, "one run took in all");
    }
}

#[test]
fn a_part_that_is_left_becomes_whole() {
    let mut programme = Programme::found();
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let mut relay = programme.replica(DeviceSecret::from_bytes(&[78; 64]));
    programme.tell(&mut relay);
    import(&mut alpha);
    alpha.send_to(&mut relay);

    let bravo = programme.member("T5 Bravo", Role::Device, Access::Write);
    let index = Lasting::default();
    let (member, disk) = (bravo.member.clone(), bravo.disk.copy());
    let mut bravo = programme.open_with(member, disk, Box::new(index.clone()));
    programme.tell(&mut bravo);
    bravo.keep_all_of(&relay);
    let stage = Stage {
        member: bravo.member.clone(),
        disk: bravo.disk.copy(),
        programme,
        index,
    };
    drop(bravo);
    stage.play(&alpha.picture());
}

#[test]
fn a_part_of_what_waited_for_its_key_becomes_whole() {
    let mut programme = Programme::found();
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let secret = DeviceSecret::from_bytes(&[77; 64]);
    let late = programme.replica(secret.clone());
    let index = Lasting::default();
    let (member, disk) = (late.member.clone(), late.disk.copy());
    let mut late = programme.open_with(member, disk, Box::new(index.clone()));
    programme.tell(&mut late);
    import(&mut alpha);
    assert!(alpha.send_to(&mut late).entries_locked > 0);
    let grants = [&programme.scope_key, &programme.programme_key].map(|key| {
        let id = programme.log.programme();
        Grant::seal(id, key, &secret.public(), &[5; 32]).unwrap()
    });
    late.put_grants(&grants);
    let stage = Stage {
        member: late.member.clone(),
        disk: late.disk.copy(),
        programme,
        index,
    };
    drop(late);
    stage.play(&alpha.picture());
}
