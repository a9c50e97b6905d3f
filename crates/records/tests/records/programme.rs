//! People, devices and their changes.

use automerge::{ActorId, Automerge, ReadDoc};
use cairn_records::{
    ChangeFacts, Choice, Edit, Envelope, Facts, Record, apply_edit, apply_root, decision, input,
    read, read_at, schema,
};
use cairn_wire::ids::{ChangeHash, DeviceKey};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// What the caller of `records` knows: who wrote which change.
#[derive(Default)]
pub struct Programme {
    facts: RefCell<HashMap<ChangeHash, ChangeFacts>>,
    actors: Cell<u64>,
}

impl Facts for Programme {
    fn of(&self, change: &ChangeHash) -> ChangeFacts {
        self.facts.borrow()[change].clone()
    }
}

pub const NOW_S: i64 = 1_795_500_000;

pub fn team(name: &str) -> ChangeFacts {
    ChangeFacts {
        author: name.to_owned(),
        device: DeviceKey([name.len() as u8; 32]),
        verified: true,
        may_decide: false,
        recorded_at_s: Some(NOW_S),
    }
}

pub fn centre() -> ChangeFacts {
    ChangeFacts {
        may_decide: true,
        ..team("Centre")
    }
}

pub fn revoked() -> ChangeFacts {
    ChangeFacts {
        verified: false,
        may_decide: true,
        ..team("Lost phone")
    }
}

pub fn area() -> &'static schema::Kind {
    schema::kind("hazardous_area").unwrap()
}

fn kind_of(record: &Record) -> &'static schema::Kind {
    record.definition().unwrap()
}

/// A session's or any other kind's edit.
pub fn set_of(kind: &str, text: &str) -> Edit {
    input::set(schema::kind(kind).unwrap(), text).unwrap()
}

pub fn set(text: &str) -> Edit {
    input::set(area(), text).unwrap()
}

pub fn add(text: &str) -> Edit {
    input::add(area(), text).unwrap()
}

pub fn remove(text: &str) -> Edit {
    input::remove(area(), text, None).unwrap()
}

pub fn text(field: &str, text: &str) -> Edit {
    Edit::Text {
        field: field.into(),
        text: text.into(),
    }
}

/// A rectangle, in units from a corner near 44° N, 18° E.
pub fn ring(west: i64, south: i64, east: i64, north: i64) -> Edit {
    let corner = |x: i64, y: i64| {
        format!(
            "[{:.7},{:.7}]",
            18.0 + x as f64 / 1e7,
            44.0 + y as f64 / 1e7
        )
    };
    set(&format!(
        r#"perimeter={{"type":"Polygon","coordinates":[[{},{},{},{}]]}}"#,
        corner(west, south),
        corner(east, south),
        corner(east, north),
        corner(west, north),
    ))
}

impl Programme {
    pub fn actor(&self) -> ActorId {
        self.actors.set(self.actors.get() + 1);
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(
            &self
                .actors
                .get()
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes(),
        );
        ActorId::from(bytes)
    }

    pub fn create(&self, who: ChangeFacts, edits: &[Edit]) -> Automerge {
        self.create_of(area(), who, edits)
    }

    pub fn create_of(&self, kind: &schema::Kind, who: ChangeFacts, edits: &[Edit]) -> Automerge {
        let mut document = Automerge::new().with_actor(self.actor());
        let mut transaction = document.transaction();
        apply_root(&mut transaction, kind, &Envelope::default(), edits).unwrap();
        let (hash, _) = transaction.commit();
        self.know(hash, who);
        document
    }

    /// The document after somebody who saw `document` made these edits.
    pub fn edit(&self, document: &Automerge, who: ChangeFacts, edits: &[Edit]) -> Automerge {
        let seen = self.read(document);
        let mut edited = document.clone().with_actor(self.actor());
        let mut transaction = edited.transaction();
        assert!(
            apply_edit(&mut transaction, kind_of(&seen), &seen, edits).unwrap(),
            "nothing written"
        );
        let (hash, _) = transaction.commit();
        self.know(hash, who);
        edited
    }

    /// Why a record of a kind is not made of these answers.
    pub fn not_made(kind: &str, answers: &[&str]) -> String {
        let edits: Vec<Edit> = answers.iter().map(|text| set_of(kind, text)).collect();
        let mut document = Automerge::new();
        let mut transaction = document.transaction();
        let kind = schema::kind(kind).unwrap();
        apply_root(&mut transaction, kind, &Envelope::default(), &edits)
            .unwrap_err()
            .to_string()
    }

    pub fn refused(&self, document: &Automerge, edit: Edit) -> String {
        let seen = self.read(document);
        let mut edited = document.clone().with_actor(self.actor());
        let mut transaction = edited.transaction();
        apply_edit(&mut transaction, kind_of(&seen), &seen, &[edit])
            .unwrap_err()
            .to_string()
    }

    pub fn writes_nothing(&self, document: &Automerge, edit: Edit) -> bool {
        let seen = self.read(document);
        let mut edited = document.clone().with_actor(self.actor());
        let mut transaction = edited.transaction();
        !apply_edit(&mut transaction, kind_of(&seen), &seen, &[edit]).unwrap()
    }

    pub fn decide(
        &self,
        document: &Automerge,
        who: ChangeFacts,
        field: &str,
        choice: Choice,
    ) -> Automerge {
        let seen = self.read(document);
        let edit = decision(&seen, field, &choice, "after a visit").unwrap();
        self.edit(document, who, &[edit])
    }

    pub fn know(&self, hash: Option<automerge::ChangeHash>, who: ChangeFacts) {
        self.facts
            .borrow_mut()
            .insert(ChangeHash(hash.unwrap().0), who);
    }

    pub fn facts_of(&self, change: &automerge::Change) -> ChangeFacts {
        self.of(&ChangeHash(change.hash().0))
    }

    pub fn read(&self, document: &Automerge) -> Record {
        read(document, self).unwrap()
    }

    pub fn read_at(&self, document: &Automerge, heads: &[ChangeHash]) -> Record {
        read_at(document, heads, self).unwrap()
    }
}

pub fn merged(documents: &[&Automerge]) -> Automerge {
    let mut all = documents[0].clone();
    for document in &documents[1..] {
        all.merge(&mut (*document).clone()).unwrap();
    }
    all
}

pub fn last_change(document: &Automerge) -> ChangeHash {
    let heads = document.get_heads();
    assert_eq!(heads.len(), 1);
    assert!(document.get_change_by_hash(&heads[0]).is_some());
    ChangeHash(heads[0].0)
}

pub fn reads<'a>(record: &'a Record, field: &str) -> &'a str {
    record.reads(field).as_text().unwrap_or("(none)")
}

pub fn area_m2(record: &Record) -> u64 {
    record.region().unwrap().area_m2()
}
