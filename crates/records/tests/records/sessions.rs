//! Sessions, visits and accidents: what is refused, and how figures by band meet.

use crate::programme::*;
use automerge::Automerge;
use cairn_records::{ChangeFacts, Choice, Edit, Value, input, schema, summary};

fn session(programme: &Programme, answers: &[&str]) -> Automerge {
    let edits: Vec<Edit> = answers
        .iter()
        .map(|text| set_of("eore_session", text))
        .collect();
    let kind = schema::kind("eore_session").unwrap();
    programme.create_of(kind, team("T1"), &edits)
}

fn says(text: &str) -> Edit {
    set_of("eore_session", text)
}

#[test]
fn every_field_of_the_new_kinds_takes_what_people_write() {
    for (kind, answers) in [
        (
            "survey_visit",
            &[
                "visit_type=Non-technical",
                "position=44.1, 18.1",
                "start_date=2026-11-20",
                "end_date=2026-11-20",
                "team=T3 Alpha",
                "result=nothing_found",
                "no_hazard_found=yes",
                "narrative=Nobody farms there.",
                "location_name=Mlin",
            ][..],
        ),
        (
            "eore_session",
            &[
                "reporting=session",
                "age_bands=split_10_18_46",
                "session_date=2026-11-20",
                "start_time=9:30",
                "end_time=١١:٠٠",
                "sessions_count=1",
                "category=direct",
                "activity=after_accident",
                "method=house to house",
                "place_type=school",
                "facilitators=2",
                "reached/female/10_17=30",
                "first_time/female/10_17=30",
                "with_disability/female/10_17=1",
                "trained/unknown/unknown=0",
                "media_audience=50000",
                "materials/leaflet=40",
                "feedback=Where do we report?",
            ],
        ),
        (
            "accident",
            &[
                "record_type=accident",
                "date=2026-11",
                "position=44.1, 18.1",
                "position_accuracy=50 m",
                "device_category=ap_mine",
                "activity=herding",
                "area_marked_before=no",
                "casualties/injured/male/child/civilian=1",
                "narrative=By the river.",
            ],
        ),
    ] {
        let programme = Programme::default();
        let edits: Vec<Edit> = answers.iter().map(|text| set_of(kind, text)).collect();
        let made = programme.create_of(schema::kind(kind).unwrap(), team("T1"), &edits);
        let record = programme.read(&made);
        for answer in answers {
            let field = answer.split('=').next().unwrap();
            assert!(record.fields.contains_key(field), "{kind}: {field}");
        }
        assert_eq!(record.conflicts(), 0);
        assert!(record.flags.is_empty(), "{kind}: {:?}", record.flags);
    }
    let visit = schema::kind("survey_visit").unwrap();
    let informant = r#"informants={"role":"herder","sex":"male"}"#;
    assert!(
        input::add(visit, informant)
            .unwrap_err()
            .to_string()
            .contains("land_user")
    );
    input::add(
        visit,
        r#"informants={"role":"land_user","sex":"male","age_group":"adult"}"#,
    )
    .unwrap();
    let session = schema::kind("eore_session").unwrap();
    input::add(session, "audience=herders").unwrap();
    input::add(session, "messages=do not touch").unwrap();
}

#[test]
fn bands_are_those_of_the_scheme_that_the_record_names() {
    let refused = Programme::not_made(
        "eore_session",
        &["age_bands=split_18", "reached/female/10_17=3"],
    );
    assert_eq!(
        refused,
        "reached: the scheme split_18 has no band 10_17; its bands are: 0_17, 18_plus, unknown"
    );
    let refused = Programme::not_made("eore_session", &["reached/female/18_plus=3"]);
    assert!(
        refused.contains("age_bands=SCHEME") && refused.contains("split_18"),
        "{refused}"
    );
    let programme = Programme::default();
    let root = session(
        &programme,
        &["age_bands=split_18", "reached/female/18_plus=3"],
    );
    let refused = programme.refused(&root, says("trained/male/60_plus=3"));
    assert!(refused.contains("no band 60_plus"), "{refused}");
    assert!(
        programme
            .refused(&root, says("age_bands=split_10_18_46"))
            .contains("never changed")
    );
    let kind = schema::kind("eore_session").unwrap();
    let unknown = input::set(kind, "reached/female/11_17=3")
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("did you mean") && unknown.contains("10_17"),
        "{unknown}"
    );
    let bare = session(&programme, &["session_date=2026-11-20"]);
    programme.edit(&bare, team("T2"), &[says("reached/female/unknown=3")]);
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    let session = |answers: &[&str]| Programme::not_made("eore_session", answers);
    let refused = session(&[
        "age_bands=split_18",
        "reached/male/0_17=20",
        "first_time/male/0_17=30",
    ]);
    assert_eq!(
        refused,
        "first_time/male/0_17 is 30, more than the 20 of reached/male/0_17; give both in one command if both change"
    );
    assert!(session(&["start_time=10:30", "end_time=09:00"]).contains("lies before start_time"));
    let visit = Programme::not_made(
        "survey_visit",
        &["start_date=2026-11-20", "end_date=2026-11-19"],
    );
    assert!(
        visit.contains("2026-11-19 lies before start_date 2026-11-20"),
        "{visit}"
    );
    let kind = schema::kind("eore_session").unwrap();
    let message = |text: &str| input::set(kind, text).unwrap_err().to_string();
    assert!(message("reached/male/0_17=-3").contains("at least 0"));
    assert!(message("reached/male/0_17=2.5").contains("whole numbers"));
    assert!(message("session_date=2026-02-30").contains("there is no 2026-02-30"));
    assert!(message("start_time=25:00").contains("HH:MM"));
    assert!(message("start_time=2 pm").contains("14:30"));
    assert!(
        message("reached=64").contains("sex and age_band"),
        "sums are never stored"
    );
    // A month may hold a day; what the command does not touch is not its fault.
    let programme = Programme::default();
    let kind = schema::kind("survey_visit").unwrap();
    let edits = [
        set_of("survey_visit", "start_date=2026-11-20"),
        set_of("survey_visit", "end_date=2026-11"),
    ];
    let visit = programme.create_of(kind, team("T1"), &edits);
    assert!(
        programme
            .refused(&visit, set_of("survey_visit", "end_date=2026-10-31"))
            .contains("lies before")
    );
    programme.edit(&visit, team("T2"), &[set_of("survey_visit", "team=T3")]);
}

/// Two facilitators type women 34 and 43. Both are shown; different bands merge quietly.
#[test]
fn two_facilitators_who_type_one_figure_disagree() {
    let programme = Programme::default();
    let root = session(
        &programme,
        &["age_bands=split_18", "session_date=2026-11-20"],
    );
    let women = "reached/female/18_plus";
    let a = programme.edit(
        &root,
        team("T2"),
        &[
            says("reached/female/18_plus=34"),
            says("reached/male/18_plus=12"),
        ],
    );
    let b = programme.edit(
        &root,
        team("T3"),
        &[
            says("reached/female/18_plus=43"),
            says("reached/female/0_17=7"),
        ],
    );
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    assert!(record.fields[women].conflict && record.conflicts() == 1);
    assert_eq!(record.reads(women), &Value::Null);
    assert_eq!(record.reads("reached/male/18_plus"), &Value::Int(12));
    assert_eq!(record.reads("reached/female/0_17"), &Value::Int(7));
    assert!(
        programme
            .refused(&both, says("reached/female/18_plus=77"))
            .contains("decide")
    );
    let decided = programme.decide(&both, team("T2"), women, Choice::Value(Value::Int(43)));
    assert_eq!(programme.read(&decided).reads(women), &Value::Int(43));
}

#[test]
fn a_place_without_extent_is_found_by_all_places_that_people_gave() {
    let programme = Programme::default();
    let kind = schema::kind("accident").unwrap();
    let says = |text: &str| set_of("accident", text);
    let root = programme.create_of(kind, team("T1"), &[says("position=44.1, 18.1")]);
    let row = summary(&programme.read(&root));
    assert_eq!(row.centre, row.bounds.map(|bounds| bounds.south_west));
    assert_eq!(
        (row.centre.unwrap().lat_e7, row.area_m2),
        (441_000_000, None)
    );
    let a = programme.edit(&root, team("T2"), &[says("position=44.2, 18.1")]);
    let b = programme.edit(&root, team("T3"), &[says("position=44.3, 18.4")]);
    let row = summary(&programme.read(&merged(&[&a, &b])));
    let bounds = row.bounds.unwrap();
    assert_eq!(
        (bounds.south_west.lat_e7, bounds.north_east.lon_e7),
        (442_000_000, 184_000_000)
    );
    assert_eq!(row.centre, Some(bounds.centre()));
}

#[test]
fn a_row_says_which_sort_it_is_and_how_many_people() {
    let programme = Programme::default();
    let row = |kind: &str, who: ChangeFacts, answers: &[&str]| {
        let edits: Vec<Edit> = answers.iter().map(|text| set_of(kind, text)).collect();
        summary(&programme.read(&programme.create_of(schema::kind(kind).unwrap(), who, &edits)))
    };
    let session = row(
        "eore_session",
        team("T1"),
        &[
            "age_bands=split_18",
            "method=focus_group_discussion",
            "reached/female/18_plus=34",
            "reached/male/18_plus=unknown",
            "trained/female/18_plus=5",
        ],
    );
    assert_eq!(session.category.as_deref(), Some("focus_group_discussion"));
    let people = session.people.unwrap();
    assert_eq!((people.least, people.most, people.or_more), (34, 34, true));
    assert_eq!(session.unverified, 0);

    let accident = row(
        "accident",
        revoked(),
        &[
            "record_type=accident",
            "casualties/killed/male/adult/civilian=1",
            "casualties/injured/female/child/civilian=2",
            "casualties/unhurt/male/adult/deminer=4",
        ],
    );
    assert_eq!(accident.category.as_deref(), Some("accident"));
    assert_eq!(
        accident.people.unwrap().most,
        3,
        "the unhurt are no victims"
    );
    assert!(accident.unverified >= 4, "all that he wrote is unverified");

    let visit = row("survey_visit", team("T1"), &["visit_type=non_technical"]);
    assert_eq!(visit.category.as_deref(), Some("non_technical"));
    assert_eq!(visit.people, None, "blank is not zero");
}

#[test]
fn what_two_people_counted_differently_is_a_range_in_its_row() {
    let programme = Programme::default();
    let kind = schema::kind("eore_session").unwrap();
    let says = |text: &str| set_of("eore_session", text);
    let first = [says("age_bands=split_18"), says("reached/male/18_plus=10")];
    let root = programme.create_of(kind, team("T1"), &first);
    let women = "reached/female/18_plus";
    let a = programme.edit(&root, team("T2"), &[says(&format!("{women}=34"))]);
    let b = programme.edit(&root, revoked(), &[says(&format!("{women}=43"))]);
    let row = summary(&programme.read(&merged(&[&a, &b])));
    let people = row.people.unwrap();
    assert_eq!((people.least, people.most), (44, 53));
    assert_eq!(row.unverified, 1);
}
