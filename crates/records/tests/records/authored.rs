//! Everything that this crate writes passes the pre-flight that everybody's changes go through.

use crate::programme::*;
use automerge::{Automerge, Change};
use cairn_documents::{Author, author_edit, author_root};
use cairn_records::{
    ChangeFacts, Choice, Edit, Envelope, Record, apply_edit, apply_root, decision, read,
};
use cairn_wire::ids::{ChangeHash, DeviceKey, DocumentId, ScopeId};
use std::cell::Cell;

struct Desk {
    document: Automerge,
    id: DocumentId,
    commands: Cell<u8>,
}

fn author(command: u8) -> Author {
    Author {
        scope: ScopeId([1; 16]),
        device: DeviceKey([2; 32]),
        nonce: [command; 8],
    }
}

fn facts(_: &ChangeHash) -> ChangeFacts {
    centre()
}

impl Desk {
    fn create(edits: &[Edit]) -> Self {
        let envelope = Envelope {
            scope: Some(ScopeId([1; 16])),
            org: Some("ORG".into()),
            created_by: Some("N. N.".into()),
        };
        let made = author_root(&author(0), "hazardous_area", NOW_S, |transaction| {
            apply_root(transaction, area(), &envelope, edits)
        })
        .unwrap();
        let mut document = Automerge::new();
        document
            .apply_changes([Change::from_bytes(made.bytes).unwrap()])
            .unwrap();
        Self {
            document,
            id: made.document,
            commands: Cell::new(0),
        }
    }

    fn change(&self, edits: &[Edit]) -> (Change, usize) {
        let seen = read(&self.document, &facts).unwrap();
        self.commands.set(self.commands.get() + 1);
        let author = author(self.commands.get());
        let made = author_edit(
            &author,
            self.id,
            &self.document,
            &seen.heads,
            NOW_S,
            |transaction| apply_edit(transaction, area(), &seen, edits).map(drop),
        )
        .unwrap();
        let size = made.bytes.len();
        (Change::from_bytes(made.bytes).unwrap(), size)
    }

    fn edit(&mut self, edits: &[Edit]) -> Record {
        let (change, _) = self.change(edits);
        self.document.apply_changes([change]).unwrap();
        self.record()
    }

    fn record(&self) -> Record {
        read(&self.document, &facts).unwrap()
    }
}

#[test]
fn every_edit_passes_the_pre_flight() {
    let mut desk = Desk::create(&[
        set("hazard_class=suspected"),
        set("perimeter=44.1, 18.1"),
        set("community=000102030405060708090a0b0c0d0e0f"),
        add("eo_categories=uxo"),
        add("blockages=road"),
        text("description", "By the mill. الطريق ملغوم"),
        set("expected_beneficiaries/female/child=3"),
    ]);
    assert_eq!(desk.record().reads("created_by").as_text(), Some("N. N."));
    assert_eq!(desk.record().scope, Some(ScopeId([1; 16])));
    let pairs = [
        [
            text("description", "By the old mill."),
            text("description", "Behind the mill, left."),
        ],
        [text("location_name", "Mlin"), text("location_name", "Млин")],
        [set("slope=flat"), set("slope=steep")],
        [
            add("direct_evidence=detonation"),
            add("direct_evidence=signs_or_fencing"),
        ],
        [set("status=closed"), set("status=suspended")],
        [ring(0, 0, 9_000, 9_000), ring(0, 5_000, 9_000, 19_000)],
        [remove("blockages=road"), add("blockages=water")],
        [
            remove("eo_categories=uxo"),
            set("expected_beneficiaries/female/child="),
        ],
    ];
    for [one, other] in pairs {
        // Both are made on what both saw.
        let (one, _) = desk.change(&[one]);
        let (other, _) = desk.change(&[other]);
        desk.document.apply_changes([one, other]).unwrap();
        let _ = desk.record();
    }
    let record = desk.edit(&[text("location_name", "Mlin, Млин")]);
    assert_eq!(reads(&record, "location_name"), "Mlin, Млин");
    for field in ["description", "slope", "status", "perimeter"] {
        let seen = desk.record();
        let choice = Choice::Letter(seen.fields[field].values.last().unwrap().letter.clone());
        let record = desk.edit(&[decision(&seen, field, &choice, "seen on the spot").unwrap()]);
        assert!(!record.fields[field].conflict, "{field}");
    }
    let seen = desk.record();
    let removal = seen.fields["eo_categories"]
        .values
        .iter()
        .find(|one| one.removes)
        .unwrap();
    let choice = Choice::Letter(removal.letter.clone());
    let record = desk.edit(&[decision(&seen, "eo_categories", &choice, "none found").unwrap()]);
    assert!(!record.fields.contains_key("eo_categories"));
    let seen = desk.record();
    let record = desk.edit(&[cairn_records::decide::withdrawal(&seen, "duplicate", true)]);
    assert!(record.is_void());
}

#[test]
fn the_largest_edits_pass_too() {
    let corners: Vec<String> = (0..4_000)
        .map(|corner| {
            let angle = f64::from(corner) * std::f64::consts::TAU / 4_000.0;
            let wide = 2.0 + f64::from(corner % 2) / 10.0;
            format!(
                "[{:.7},{:.7}]",
                18.0 + wide * angle.cos(),
                44.0 + wide * angle.sin()
            )
        })
        .collect();
    let widest = set(&format!(
        r#"perimeter={{"type":"Polygon","coordinates":[[{}]]}}"#,
        corners.join(",")
    ));
    let desk = Desk::create(std::slice::from_ref(&widest));
    assert_eq!(
        desk.record().region().unwrap().polygons()[0]
            .outer
            .corners()
            .len(),
        4_000
    );
    let (_, size) = desk.change(&[widest]);
    println!("a perimeter of 4,000 corners: {size} B");
    for text_of in ["mine ", "ألغام ", "கண்ணி "] {
        let long = text_of.repeat(16 * 1024 / text_of.len());
        let (_, size) = desk.change(&[text("description", &long)]);
        println!("a text of {} B: {size} B", long.len());
    }
}
