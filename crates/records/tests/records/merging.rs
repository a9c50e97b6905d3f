//! Values, ticks and steps that meet.

use crate::programme::*;
use cairn_records::summary::import_key_of;
use cairn_records::{Choice, Flag, Value, heads_at, import_key, summary};
use cairn_wire::ids::ScopeId;

/// Two people type different figures into one field.
#[test]
fn two_figures_are_both_shown_until_somebody_decides() {
    let programme = Programme::default();
    let women = "expected_beneficiaries/female/adult";
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    let a = programme.edit(&root, team("T2"), &[set(&format!("{women}=34"))]);
    let b = programme.edit(
        &root,
        team("T3"),
        &[
            set(&format!("{women}=43")),
            set("expected_beneficiaries/female/child=7"),
        ],
    );
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    assert!(record.fields[women].conflict);
    assert_eq!(record.reads(women), &Value::Null);
    let values: Vec<_> = record.fields[women]
        .values
        .iter()
        .map(|one| one.value.as_int())
        .collect();
    assert!(values.contains(&Some(34)) && values.contains(&Some(43)));
    assert_eq!(
        record.reads("expected_beneficiaries/female/child"),
        &Value::Int(7),
        "other bands merge"
    );
    assert!(
        programme
            .refused(&both, set(&format!("{women}=40")))
            .contains("decide")
    );
    let decided = programme.decide(&both, team("T2"), women, Choice::Value(Value::Int(43)));
    let record = programme.read(&decided);
    assert_eq!(record.reads(women), &Value::Int(43));
    assert_eq!(record.conflicts(), 0);
    let decisions = record.reads("decisions").to_json();
    assert_eq!(decisions[0]["field"], women);
    assert_eq!(
        record.fields["decisions"].values[0].reason.as_deref(),
        Some("after a visit")
    );
}

#[test]
fn the_same_value_is_not_written_again() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            set("slope=steep"),
            ring(0, 0, 9_000, 9_000),
            text("description", "x"),
        ],
    );
    assert!(programme.writes_nothing(&root, set("slope=steep")));
    assert!(programme.writes_nothing(&root, text("description", "x")));
    assert!(
        !programme.writes_nothing(&root, ring(0, 0, 9_000, 9_000)),
        "a statement is one"
    );
    let a = programme.edit(&root, team("T2"), &[set("slope=flat")]);
    let b = programme.edit(&root, team("T3"), &[set("slope=flat")]);
    assert_eq!(
        programme.read(&merged(&[&a, &b])).conflicts(),
        0,
        "they agree"
    );
    assert!(
        programme
            .refused(&root, set("org=ours"))
            .contains("never changed")
    );
}

/// A form stays open while a sync brings another team's perimeter, then it is saved.
#[test]
fn a_form_left_open_keeps_what_came_meanwhile() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    let shown = vec![last_change(&root)];
    let theirs = programme.edit(&root, team("T2"), &[ring(20_000, 0, 29_000, 9_000)]);
    let form = cairn_records::history::as_of(&theirs, &shown).unwrap();
    let mine = programme.edit(&form, team("T1"), &[ring(0, 20_000, 9_000, 29_000)]);
    let record = programme.read(&merged(&[&theirs, &mine]));
    assert_eq!(record.fields["perimeter"].values.len(), 3);
    assert!(record.fields["perimeter"].conflict);
    assert_eq!(record.region().unwrap().polygons().len(), 3);
    assert_eq!(programme.read_at(&theirs, &shown), programme.read(&root));
}

/// A record that was approved is edited from an older copy.
#[test]
fn an_approval_speaks_of_the_heads_it_names() {
    use cairn_records::read::Approval;
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[set("slope=flat"), ring(0, 0, 9_000, 9_000)]);
    assert_eq!(programme.read(&root).approval, Approval::None);
    let step = format!(
        r#"workflow={{"step":"approved","by":"N. N.","role":"authority","at":"2026-11-23","heads":"{}"}}"#,
        last_change(&root)
    );
    let approved = programme.edit(&root, centre(), &[add(&step)]);
    assert_eq!(programme.read(&approved).approval, Approval::Approved);
    let older = programme.edit(&root, team("T2"), &[set("slope=steep")]);
    let both = programme.read(&merged(&[&approved, &older]));
    assert_eq!(both.approval, Approval::ChangedSince);
    assert_eq!(
        both.to_json("id", "s")["approval"],
        "approved_changed_since"
    );
}

/// A phone's clock falls back to 1970.
#[test]
fn a_clock_that_fell_back_decides_nothing() {
    let reading = |recorded_at_s| {
        let programme = Programme::default();
        let wrong = cairn_records::ChangeFacts {
            recorded_at_s: Some(recorded_at_s),
            ..team("T2")
        };
        let root = programme.create(team("T1"), &[set("slope=flat"), ring(0, 0, 9_000, 9_000)]);
        let a = programme.edit(&root, wrong, &[set("slope=steep"), set("status=closed")]);
        let b = programme.edit(&root, team("T3"), &[set("slope=gentle")]);
        let record = programme.read(&merged(&[&a, &b]));
        let fields: Vec<_> = record
            .fields
            .iter()
            .map(|(name, field)| (name.clone(), field.reads.clone(), field.conflict))
            .collect();
        (fields, record.flags.contains(&Flag::ClockDoubtful))
    };
    let (right, flagged) = reading(NOW_S);
    let (wrong, flagged_wrong) = reading(0);
    assert_eq!(right, wrong);
    assert!(!flagged && flagged_wrong);
}

#[test]
fn sets_and_logs_created_apart_read_as_their_union() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    let a = programme.edit(
        &root,
        team("T2"),
        &[add("blockages=road"), add("direct_evidence=detonation")],
    );
    let b = programme.edit(
        &root,
        team("T3"),
        &[add("blockages=water"), add("direct_evidence=detonation")],
    );
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    assert_eq!(
        record.reads("blockages").to_json().to_string(),
        r#"["road","water"]"#
    );
    assert_eq!(
        record.fields["direct_evidence"].values.len(),
        2,
        "two people saw two things"
    );
    let third = programme.edit(&both, team("T4"), &[add("blockages=school")]);
    let fourth = programme.edit(&both, team("T5"), &[add("blockages=forest")]);
    let all = programme.read(&merged(&[&third, &fourth]));
    let expected = r#"["road","water","forest","school"]"#;
    assert_eq!(all.reads("blockages").to_json().to_string(), expected);
    assert!(
        programme.writes_nothing(&both, add("blockages=road")),
        "already ticked"
    );
}

#[test]
fn the_past_can_be_read() {
    let programme = Programme::default();
    let at = |recorded_at_s| cairn_records::ChangeFacts {
        recorded_at_s: Some(recorded_at_s),
        ..team("T1")
    };
    let root = programme.create(at(NOW_S), &[set("slope=flat"), ring(0, 0, 9_000, 9_000)]);
    let later = programme.edit(&root, at(NOW_S + 100), &[set("slope=steep")]);
    let latest = programme.edit(&later, at(NOW_S + 200), &[set("slope=gentle")]);
    let slope = |seconds| {
        let heads = heads_at(&latest, &programme, NOW_S + seconds);
        (!heads.is_empty()).then(|| reads(&programme.read_at(&latest, &heads), "slope").to_owned())
    };
    assert_eq!(slope(250).as_deref(), Some("gentle"));
    assert_eq!(slope(150).as_deref(), Some("steep"));
    assert_eq!(slope(0).as_deref(), Some("flat"));
    assert_eq!(slope(-1), None);
}

#[test]
fn an_import_knows_its_records_again() {
    let programme = Programme::default();
    let (north, south) = (ScopeId([1; 16]), ScopeId([2; 16]));
    let edits = [
        set("hazard_class=suspected"),
        set("local_id=2585-III"),
        text("description", "by the mill"),
        add("eo_categories=uxo"),
        set("perimeter=44.5, 18.5"),
        set("area_reported=1 ha"),
    ];
    let first = programme.create(team("T1"), &edits);
    let key = import_key(&first, &north).unwrap();
    assert_eq!(key, import_key_of(area(), &north, &edits));
    assert_eq!(
        key,
        import_key(&programme.create(team("T2"), &edits), &north).unwrap()
    );
    assert_ne!(key, import_key(&first, &south).unwrap());
    assert_ne!(key, import_key_of(area(), &north, &edits[1..]));
    let written_over = [
        &edits[..],
        &[
            set("local_id=first"),
            set("local_id=2585-III"),
            set("local_id="),
            text("description", "x"),
            text("description", "by the mill"),
        ],
    ]
    .concat();
    assert_eq!(key, import_key_of(area(), &north, &written_over));
    let twice = programme.create(team("T3"), &written_over);
    assert_eq!(key, import_key(&twice, &north).unwrap());
    let edited = programme.edit(
        &first,
        team("T2"),
        &[
            set("local_id=other"),
            add("eo_categories=ied"),
            text("description", "at the mill"),
        ],
    );
    assert_eq!(
        key,
        import_key(&edited, &north).unwrap(),
        "of the first change"
    );
    let keyed = [&edits[..], &[set("external_id=uuid:7")]].concat();
    let keyed_otherwise = [set("hazard_class=confirmed"), set("external_id=uuid:7")];
    assert_eq!(
        import_key(&programme.create(team("T1"), &keyed), &north).unwrap(),
        import_key_of(area(), &north, &keyed_otherwise)
    );
    let row = summary(&programme.read(&first));
    assert_eq!(row.local_id.as_deref(), Some("2585-III"));
    assert_eq!(
        (row.status.as_deref(), row.hazard_class.as_deref()),
        (Some("open"), Some("suspected"))
    );
    assert!(row.extent_not_surveyed && !row.void && row.area_m2 > Some(10_000));
    assert_eq!(row.centre.unwrap().lat_e7, 445_000_000);
}

#[test]
fn a_small_area_is_a_small_change() {
    let programme = Programme::default();
    let corners: Vec<String> = (0..12)
        .map(|corner| {
            let angle = f64::from(corner) * 0.52;
            format!(
                "[{:.7},{:.7}]",
                18.0 + angle.cos() / 1e3,
                44.0 + angle.sin() / 1e3
            )
        })
        .collect();
    let ring = format!(
        r#"perimeter={{"type":"Polygon","coordinates":[[{}]]}}"#,
        corners.join(",")
    );
    let bare = programme.create(team("T1"), &[set(&ring)]);
    let noted = programme.create(
        team("T1"),
        &[
            set(&ring),
            set("hazard_class=suspected"),
            set("status=open"),
            set("local_id=ORG-HA-20261124-0930"),
            set("date_of_information=2026-11-24"),
            add("eo_categories=ap_mine"),
            add("direct_evidence=visual_observation"),
            text(
                "description",
                "Behind the mill, along the river, where cattle no longer graze since the spring.",
            ),
        ],
    );
    let size = |document: &automerge::Automerge| document.get_changes(&[])[0].raw_bytes().len();
    println!(
        "first change: bare {} B, with a note {} B",
        size(&bare),
        size(&noted)
    );
    assert!(size(&bare) < 300, "{}", size(&bare));
    assert!(size(&noted) < 900, "{}", size(&noted));
}
