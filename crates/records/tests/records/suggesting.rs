//! Suggestions on others' records.

use crate::programme::*;
use automerge::Automerge;
use cairn_records::decide::{open_field, settlement};
use cairn_records::suggestion::{suggest, suggestions, turn_down};
use cairn_records::{Choice, Edit, Value, schema};

const WOMEN: &str = "reached/female/18_plus";

fn proposed(text: &str) -> Edit {
    suggest(
        schema::kind("eore_session").unwrap(),
        text,
        Some("I was there"),
    )
    .unwrap()
}

fn session(programme: &Programme) -> Automerge {
    let edits = [
        set_of("eore_session", "age_bands=split_18"),
        set_of("eore_session", "reached/female/18_plus=34"),
    ];
    programme.create_of(schema::kind("eore_session").unwrap(), team("T1"), &edits)
}

fn take(letter: &str) -> Choice {
    Choice::Letter(letter.into())
}

#[test]
fn a_suggestion_changes_nothing_until_it_is_taken() {
    let programme = Programme::default();
    let root = session(&programme);
    let suggested = programme.edit(
        &root,
        team("Other organisation"),
        &[proposed("reached/female/18_plus=43")],
    );
    let record = programme.read(&suggested);
    assert_eq!(record.reads(WOMEN), &Value::Int(34));
    assert_eq!((record.conflicts(), record.proposals()), (0, 1));
    let open = suggestions(&record);
    assert_eq!((open[0].field, open[0].value), (WOMEN, "43"));
    assert_eq!(open[0].shown.by, "Other organisation");
    let json = record.to_json("id", "s");
    assert_eq!(json["suggestions"][0]["comment"], "I was there");
    assert_eq!(record.open_questions("id").len(), 1);
    assert_eq!(open_field(&record), Ok("suggestions"));

    let edits = settlement(&record, "suggestions", &take("A"), "counted again").unwrap();
    let taken = programme.read(&programme.edit(&suggested, centre(), &edits));
    assert_eq!(taken.reads(WOMEN), &Value::Int(43));
    assert!(suggestions(&taken).is_empty() && taken.proposals() == 0);

    let no = turn_down(&record, &take("A"), "another session").unwrap();
    let down = programme.edit(&suggested, centre(), std::slice::from_ref(&no));
    let record = programme.read(&down);
    assert_eq!(record.reads(WOMEN), &Value::Int(34));
    assert!(suggestions(&record).is_empty());
    // Without the right, turning down is itself a proposal.
    let unsettled = programme.read(&programme.edit(&suggested, team("T2"), &[no]));
    assert_eq!(suggestions(&unsettled).len(), 1);
    assert_eq!(unsettled.fields["suggestions"].values.len(), 2);
}

#[test]
fn suggestions_meet_without_losing_one() {
    let programme = Programme::default();
    let root = session(&programme);
    let a = programme.edit(&root, team("A"), &[proposed("reached/female/18_plus=43")]);
    let b = programme.edit(
        &root,
        team("B"),
        &[proposed("feedback=They asked for signs.")],
    );
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    assert_eq!(suggestions(&record).len(), 2);
    let text = suggestions(&record)
        .iter()
        .find(|one| one.field == "feedback")
        .unwrap()
        .shown
        .letter
        .clone();
    let edits = settlement(&record, "suggestions", &take(&text), "yes").unwrap();
    let record = programme.read(&programme.edit(&both, centre(), &edits));
    assert_eq!(reads(&record, "feedback"), "They asked for signs.");
    assert_eq!(suggestions(&record).len(), 1);
    assert!(settlement(&record, "suggestions", &Choice::Reading, "x").is_err());
    assert!(settlement(&record, "suggestions", &take("Z"), "x").is_err());
}

#[test]
fn what_concerns_safety_is_asserted_at_once() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[set("hazard_class=suspected"), ring(0, 0, 9_000, 9_000)],
    );
    let more = suggest(area(), "hazard_class=confirmed", Some("seen")).unwrap();
    let record = programme.read(&programme.edit(&root, team("B"), &[more]));
    assert_eq!(reads(&record, "hazard_class"), "confirmed");
    let less = suggest(area(), "hazard_class=indication", None).unwrap();
    let record = programme.read(&programme.edit(&root, team("B"), &[less]));
    assert_eq!(
        (reads(&record, "hazard_class"), record.proposals()),
        ("suspected", 1)
    );
    let found = suggest(area(), "eo_categories=uxo", None).unwrap();
    let record = programme.read(&programme.edit(&root, team("B"), &[found]));
    assert!(record.fields.contains_key("eo_categories"));
}

#[test]
fn what_cannot_be_written_cannot_be_suggested() {
    let kind = schema::kind("eore_session").unwrap();
    let refused = |text: &str| suggest(kind, text, None).unwrap_err().to_string();
    assert!(refused("reached/female/18_plus=many").contains("number"));
    assert!(refused("age_bands=split_18").contains("never changed"));
    assert!(refused("nonsense=1").contains("no field"));
}
