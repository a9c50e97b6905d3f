//! Nothing reads safer than a verified person with the right has decided.

use crate::programme::*;
use cairn_records::decide::withdrawal;
use cairn_records::{Choice, Edit, Flag, Value, WriteError, apply_edit, summary};

/// Both rings stay, every map shows the union, one decision clears it.
#[test]
fn two_teams_move_one_perimeter_offline() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[set("hazard_class=confirmed"), ring(0, 0, 20_000, 20_000)],
    );
    let a = programme.edit(&root, team("T3 Alpha"), &[ring(5_000, 0, 30_000, 20_000)]);
    let b = programme.edit(&root, team("T7 Delta"), &[ring(0, 5_000, 20_000, 30_000)]);
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    let field = &record.fields["perimeter"];
    assert!(field.conflict);
    assert_eq!(record.conflicts(), 1);
    assert_eq!(
        field.values.len(),
        3,
        "the first ring is not covered by any later one"
    );
    assert_eq!(
        field
            .values
            .iter()
            .map(|one| one.letter.as_str())
            .collect::<String>(),
        "ABC"
    );
    let by: Vec<&str> = field.values.iter().map(|one| one.by.as_str()).collect();
    assert!(by.contains(&"T3 Alpha") && by.contains(&"T7 Delta"));
    let (alone_a, alone_b) = (area_m2(&programme.read(&a)), area_m2(&programme.read(&b)));
    assert!(area_m2(&record) > alone_a.max(alone_b));
    let json = record.to_json("id", "north/hazards");
    assert_eq!(json["fields"]["perimeter"]["conflict"], true);
    assert!(json["fields"]["perimeter"]["values"][1]["value"]["area_m2"].as_u64() > Some(0));
    // Each has land that no other takes in, the first its corner.
    let only: Vec<u64> = json["fields"]["perimeter"]["values"]
        .as_array()
        .expect("values")
        .iter()
        .map(|value| value["only_here_m2"].as_u64().expect("area"))
        .collect();
    assert!(only.iter().all(|only_m2| *only_m2 > 0), "{only:?}");
    assert!(only.iter().sum::<u64>() < area_m2(&record));

    let ring_a = last_change(&a);
    let decided = programme.decide(&both, centre(), "perimeter", Choice::Change(ring_a));
    let record = programme.read(&decided);
    let field = &record.fields["perimeter"];
    assert!(!field.conflict && field.values.len() == 1);
    assert_eq!(record.conflicts() + record.proposals(), 0);
    assert_eq!(
        field.values[0].value,
        programme.read(&a).fields["perimeter"]
            .values
            .last()
            .unwrap()
            .value
    );
    let history = cairn_records::history(&decided, &programme);
    assert_eq!(history.len(), 4);
    let reason = history[3].to_json(Some(area()))["did"][0]["reason"].clone();
    assert_eq!(reason, "after a visit");
}

/// One team proposes to close an area, another adds direct evidence.
#[test]
fn closing_against_evidence_reads_open() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[set("status=open"), ring(0, 0, 20_000, 20_000)],
    );
    let a = programme.edit(&root, team("T3"), &[set("status=closed")]);
    let b = programme.edit(&root, team("T5"), &[add("direct_evidence=detonation")]);
    assert_eq!(
        reads(&programme.read(&a), "status"),
        "open",
        "a proposal only"
    );
    let record = programme.read(&merged(&[&a, &b]));
    assert_eq!(reads(&record, "status"), "open");
    let status = &record.fields["status"];
    assert!(status.conflict);
    let closed = status
        .values
        .iter()
        .find(|one| one.value == Value::from("closed"))
        .unwrap();
    assert!(closed.proposal && closed.verified);
    assert!(
        status
            .values
            .iter()
            .any(|one| one.implied && one.by == "T5")
    );
    // The contract of `cairn show --json`.
    let json = record.to_json("id", "scope");
    let status = &json["fields"]["status"];
    assert_eq!(status["reads"], "open");
    let closed = status["values"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["value"] == "closed");
    let closed = closed.unwrap();
    assert_eq!(
        (&closed["proposal"], &closed["verified"], &closed["by"]),
        (&true.into(), &true.into(), &"T3".into())
    );
    assert_eq!(closed["recorded_at"], "2026-11-24T06:00:00Z");
}

#[test]
fn a_decision_closes_only_what_it_names() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 20_000, 20_000)]);
    let closed = programme.edit(&root, team("T3"), &[set("status=closed")]);
    let by_centre = programme.decide(&closed, centre(), "status", Choice::Letter("B".into()));
    assert_eq!(reads(&programme.read(&by_centre), "status"), "closed");
    // Evidence that the centre had not seen.
    let late = programme.edit(&root, team("T5"), &[add("direct_evidence=detonation")]);
    let record = programme.read(&merged(&[&by_centre, &late]));
    assert_eq!(reads(&record, "status"), "open");
    assert!(record.fields["status"].conflict);
    // The same from somebody without the right, or not verified, changes nothing.
    for who in [team("T3"), revoked()] {
        let tried = programme.decide(&closed, who, "status", Choice::Letter("B".into()));
        let record = programme.read(&tried);
        assert_eq!(reads(&record, "status"), "open");
        assert!(record.proposals() > 0);
    }
    // Reopening needs nobody's leave.
    let reopened = programme.edit(&by_centre, team("T3"), &[set("status=open")]);
    assert_eq!(reads(&programme.read(&reopened), "status"), "open");
    assert_eq!(programme.read(&reopened).conflicts(), 0);
}

#[test]
fn silence_counts_as_the_most_dangerous() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 10_000, 10_000)]);
    let record = programme.read(&root);
    for (field, value) in [
        ("hazard_class", "confirmed"),
        ("status", "open"),
        ("marking", "none"),
        ("void", "in_force"),
        ("safe_to_share_location", "unknown"),
    ] {
        assert_eq!(reads(&record, field), value, "{field}");
        assert!(record.fields[field].assumed, "{field}");
    }
    let lower = programme.edit(&root, team("T1"), &[set("hazard_class=suspected")]);
    let record = programme.read(&lower);
    assert_eq!(reads(&record, "hazard_class"), "confirmed");
    assert_eq!(record.proposals(), 1);
    let decided = programme.decide(
        &lower,
        centre(),
        "hazard_class",
        Choice::Change(last_change(&lower)),
    );
    assert_eq!(
        reads(&programme.read(&decided), "hazard_class"),
        "suspected"
    );
}

#[test]
fn growing_is_an_edit_and_equal_danger_replaces() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            set("hazard_class=suspected"),
            set("status=open"),
            ring(0, 0, 10_000, 10_000),
        ],
    );
    let grown = programme.edit(
        &root,
        team("T2"),
        &[
            set("hazard_class=confirmed"),
            set("status=suspended"),
            ring(-100, -100, 10_000, 10_000),
        ],
    );
    let record = programme.read(&grown);
    assert_eq!(reads(&record, "hazard_class"), "confirmed");
    assert_eq!(reads(&record, "status"), "suspended");
    assert_eq!(record.fields["perimeter"].values.len(), 1);
    assert_eq!((record.conflicts(), record.proposals()), (0, 0));
}

/// A synced team redraws an area smaller, without the right to decide.
#[test]
fn a_quiet_shrink_is_a_proposal() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[set("status=open"), ring(0, 0, 20_000, 20_000)],
    );
    let before = area_m2(&programme.read(&root));
    let shrunk = programme.edit(&root, team("T1"), &[ring(0, 0, 20_000, 6_000)]);
    let record = programme.read(&shrunk);
    assert_eq!(area_m2(&record), before);
    let field = &record.fields["perimeter"];
    assert!(!field.conflict);
    assert_eq!(field.values.iter().filter(|one| one.proposal).count(), 1);
    assert_eq!(summary(&record).area_m2, Some(before));
    let decided = programme.decide(
        &shrunk,
        centre(),
        "perimeter",
        Choice::Change(last_change(&shrunk)),
    );
    let after = area_m2(&programme.read(&decided));
    assert!(
        (after as f64 / before as f64 - 0.3).abs() < 0.01,
        "{after} of {before}"
    );
    // A moved ring, sequential, reads as the union.
    let moved = programme.edit(&root, team("T1"), &[ring(10_000, 0, 30_000, 20_000)]);
    let moved = area_m2(&programme.read(&moved));
    assert!(
        (moved as f64 / before as f64 - 1.5).abs() < 0.01,
        "{moved} of {before}"
    );
}

/// One team withdraws an area while another adds a find.
#[test]
fn a_find_outlives_a_withdrawal() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 10_000, 10_000)]);
    let proposed = withdrawal(&programme.read(&root), "duplicate of HA-12", false);
    let void = programme.edit(&root, team("T1"), &[proposed]);
    let record = programme.read(&void);
    assert!(!record.is_void());
    assert_eq!(record.proposals(), 1);
    assert_eq!(
        record.fields["void"]
            .values
            .last()
            .unwrap()
            .reason
            .as_deref(),
        Some("duplicate of HA-12")
    );
    let decided = withdrawal(&programme.read(&root), "duplicate of HA-12", true);
    let void = programme.edit(&root, centre(), &[decided]);
    assert!(programme.read(&void).is_void());
    assert!(
        !programme
            .read(&void)
            .flags
            .contains(&Flag::ChangedAfterWithdrawal)
    );
    let find = programme.edit(
        &root,
        team("T5"),
        &[add("direct_evidence=visual_observation")],
    );
    let record = programme.read(&merged(&[&void, &find]));
    assert_eq!(
        record.reads("direct_evidence"),
        programme.read(&find).reads("direct_evidence")
    );
    assert!(record.is_void() && record.flags.contains(&Flag::ChangedAfterWithdrawal));
    assert_eq!(reads(&record, "status"), "open");
}

#[test]
fn taking_ordnance_away_is_a_proposal_and_an_unverified_one_counts_for_nothing() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            add("eo_categories=ap_mine"),
            add("eo_categories=uxo"),
            add("blockages=road"),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let codes =
        |record: &cairn_records::Record, field: &str| record.reads(field).to_json().to_string();
    let removed = programme.edit(
        &root,
        team("T1"),
        &[remove("eo_categories=uxo"), remove("blockages=road")],
    );
    let record = programme.read(&removed);
    assert_eq!(codes(&record, "eo_categories"), r#"["uxo","ap_mine"]"#);
    assert_eq!(
        codes(&record, "blockages"),
        "null",
        "nothing dangerous about a road"
    );
    let proposal = record.fields["eo_categories"]
        .values
        .iter()
        .find(|one| one.removes)
        .unwrap();
    let letter = Choice::Letter(proposal.letter.clone());
    for who in [team("T1"), revoked()] {
        let tried = programme.decide(&removed, who, "eo_categories", letter.clone());
        assert_eq!(
            codes(&programme.read(&tried), "eo_categories"),
            r#"["uxo","ap_mine"]"#
        );
    }
    let decided = programme.decide(&removed, centre(), "eo_categories", letter);
    let record = programme.read(&decided);
    assert_eq!(codes(&record, "eo_categories"), r#"["ap_mine"]"#);
    assert_eq!(record.proposals(), 0);
    // Somebody ticked it again without knowing: it stays.
    let again = programme.edit(&removed, team("T2"), &[add("eo_categories=booby trap")]);
    let ticks = programme.read(&merged(&[&again, &decided]));
    assert_eq!(
        codes(&ticks, "eo_categories"),
        r#"["ap_mine","booby_trap"]"#
    );
    // Keeping it settles the proposal.
    let kept = programme.decide(
        &removed,
        centre(),
        "eo_categories",
        Choice::Value(Value::from("uxo")),
    );
    assert_eq!(programme.read(&kept).proposals(), 0);
    assert!(
        programme
            .refused(&root, remove("eo_categories=ied"))
            .contains("does not hold")
    );
}

#[test]
fn unverified_values_are_marked_and_still_raise_the_alarm() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[set("hazard_class=suspected"), ring(0, 0, 9_000, 9_000)],
    );
    let raised = programme.edit(
        &root,
        revoked(),
        &[set("hazard_class=confirmed"), ring(-10, -10, 9_000, 9_000)],
    );
    let record = programme.read(&raised);
    assert_eq!(reads(&record, "hazard_class"), "confirmed");
    assert!(!record.fields["hazard_class"].values[0].verified);
    assert!(record.flags.contains(&Flag::Unverified));
}

#[test]
fn a_place_without_a_boundary_is_a_circle() {
    let programme = Programme::default();
    let at = set("perimeter=44.0, 18.0");
    let root = programme.create(team("T1"), &[at.clone(), set("area_reported=1 ha")]);
    let record = programme.read(&root);
    assert!(record.flags.contains(&Flag::ExtentNotSurveyed));
    let circle = area_m2(&record);
    assert!((10_000..10_500).contains(&circle), "{circle}");
    // Reporting more enlarges it, reporting less does not shrink it.
    let more = programme.edit(&root, team("T1"), &[set("area_reported=2 ha")]);
    assert!((20_000..21_000).contains(&area_m2(&programme.read(&more))));
    let less = programme.edit(&root, team("T1"), &[set("area_reported=10")]);
    assert_eq!(area_m2(&programme.read(&less)), circle);
    // A ring that holds the place replaces the circle, one beside it does not.
    let drawn = programme.edit(&root, team("T1"), &[ring(-100, -100, 100, 100)]);
    let record = programme.read(&drawn);
    assert!(!record.flags.contains(&Flag::ExtentNotSurveyed));
    assert!(area_m2(&record) < 100 && record.proposals() == 0);
    let beside = programme.edit(&root, team("T1"), &[ring(100, 100, 200, 200)]);
    assert!(
        programme
            .read(&beside)
            .flags
            .contains(&Flag::ExtentNotSurveyed)
    );
    // A ring by somebody unverified makes nothing safer, even round the place.
    let doubtful = programme.edit(&root, revoked(), &[ring(-100, -100, 100, 100)]);
    assert_eq!(area_m2(&programme.read(&doubtful)), circle);
    // Nothing known about the size.
    let unknown = programme.read(&programme.create(team("T1"), &[at]));
    assert!(
        (125_000..128_000).contains(&area_m2(&unknown)),
        "{}",
        area_m2(&unknown)
    );
    let nowhere = programme.read(&programme.create(team("T1"), &[set("status=open")]));
    assert!(nowhere.flags.contains(&Flag::NoPlace) && nowhere.region().is_none());
}

#[test]
fn a_code_of_a_newer_version_reads_as_the_most_dangerous() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[set("status=open"), ring(0, 0, 9_000, 9_000)]);
    let newer = Edit::Decide(cairn_records::Decision {
        field: "status".into(),
        take: cairn_records::Taken::Value(Value::from("archived")),
        reason: "new form".into(),
        considered: vec![programme.read(&root).root],
    });
    let seen = programme.read(&root);
    let mut copy = root.clone();
    let refused = apply_edit(
        &mut copy.transaction(),
        area(),
        &seen,
        std::slice::from_ref(&newer),
    );
    assert!(
        matches!(refused, Err(WriteError::Input(_))),
        "this version does not write it"
    );

    let mut document = root.clone().with_actor(automerge::ActorId::from([9; 16]));
    let mut transaction = document.transaction();
    let bytes = cairn_records::layout::Assertion {
        considered: vec![seen.root],
        decision: true,
        ..cairn_records::layout::Assertion::of(&Value::from("archived"))
    };
    use automerge::transaction::Transactable;
    use automerge::{ROOT, ReadDoc};
    let (_, map) = transaction.get(ROOT, "+status").unwrap().unwrap();
    transaction
        .put(&map, "1", automerge::ScalarValue::Bytes(bytes.to_bytes()))
        .unwrap();
    transaction
        .put(&map, "2", automerge::ScalarValue::Bytes(vec![0xff]))
        .unwrap();
    transaction.put(ROOT, "colour", "red").unwrap();
    transaction.commit();
    let facts = |_: &cairn_wire::ids::ChangeHash| centre();
    let record = cairn_records::read(&document, &facts).unwrap();
    assert_eq!(reads(&record, "status"), "open");
    assert!(record.flags.contains(&Flag::Unrecognised));
    assert!(record.stands("status", &Value::from("archived")));
    assert_eq!(
        reads(&record, "colour"),
        "red",
        "a field of a newer version is shown"
    );
}

#[test]
fn the_answer_to_an_edit_says_whether_it_only_proposes() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[set("status=open"), ring(0, 0, 9_000, 9_000)]);
    let closed = programme.edit(
        &root,
        team("T1"),
        &[set("status=closed"), set("slope=flat")],
    );
    let record = programme.read(&closed);
    let change = last_change(&closed);
    let said: Vec<_> = record
        .said_by(&change)
        .map(|(name, field, shown)| (name, field.reads.as_text(), shown.proposal))
        .collect();
    assert_eq!(
        said,
        [
            ("slope", Some("flat"), false),
            ("status", Some("open"), true)
        ]
    );
    assert!(
        programme
            .refused(&root, set("void=void"))
            .contains("reason")
    );
    assert!(
        programme
            .refused(&root, set("kind=task"))
            .contains("command")
    );
}

/// A member who floods a field costs bounded work, and makes nothing safer.
#[test]
fn a_flood_of_assertions_reads_as_their_union() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[set("status=open"), ring(0, 0, 9_000, 9_000)]);
    let flood: Vec<Edit> = (0..900)
        .flat_map(|index| {
            let (x, y) = (index % 30 * 10_000, index / 30 * 10_000);
            [ring(x, y, x + 5_000, y + 5_000), set("status=closed")]
        })
        .collect();
    let flooded = programme.edit(&root, team("T2"), &flood);
    let record = programme.read(&flooded);
    assert_eq!(reads(&record, "status"), "open");
    assert_eq!(record.region().unwrap().polygons().len(), 900);
    let by_one = programme.read(&root).region().unwrap().clone();
    assert!(record.region().unwrap().contains(&by_one));
}

#[test]
fn what_cannot_be_applied_still_raises_the_alarm() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[set("status=open"), ring(0, 0, 9_000, 9_000)]);
    let closed = programme.edit(&root, team("T1"), &[set("status=closed")]);
    let closed = programme.decide(&closed, centre(), "status", Choice::Letter("B".into()));
    assert_eq!(reads(&programme.read(&closed), "status"), "closed");
    let find = programme.edit(
        &root,
        team("T5"),
        &[add("direct_evidence=detonation"), ring(0, 0, 9_000, 20_000)],
    );
    let later = programme.edit(&find, team("T5"), &[set("hazard_class=confirmed")]);
    let held: Vec<automerge::Change> = later.get_changes(&[]).into_iter().skip(1).rev().collect();
    let beside = cairn_records::read_beside(&closed, &held, &programme).unwrap();
    let applied = programme.read(&merged(&[&closed, &later]));
    assert_eq!(reads(&beside, "status"), "open");
    assert_eq!(beside.region(), applied.region());
    assert_eq!(
        beside.fields["status"].values,
        applied.fields["status"].values
    );
    assert_eq!(beside.heads, programme.read(&closed).heads);
}

#[test]
fn a_suspended_area_with_evidence_is_no_conflict() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            set("status=suspended"),
            add("direct_evidence=detonation"),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let record = programme.read(&root);
    assert_eq!(reads(&record, "status"), "suspended");
    assert_eq!((record.conflicts(), record.proposals()), (0, 0));
    let closed = programme.create(
        team("T1"),
        &[
            set("status=closed"),
            add("direct_evidence=detonation"),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let record = programme.read(&closed);
    assert_eq!(reads(&record, "status"), "open");
    assert_eq!((record.conflicts(), record.proposals()), (1, 1));
}
