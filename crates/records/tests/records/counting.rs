//! People counting, casualties, duplicates, and what is doubtful.

use crate::programme::*;
use automerge::Automerge;
use cairn_records::count::{Accident, Casualties, Count, Session, Sessions, Totals};
use cairn_records::{Edit, Likeness, Record, doubts, duplicates, schema, summary};
use cairn_wire::ids::DocumentId;
use std::collections::BTreeMap;

fn make(programme: &Programme, kind: &str, answers: &[&str]) -> Automerge {
    let edits: Vec<Edit> = answers.iter().map(|text| set_of(kind, text)).collect();
    programme.create_of(schema::kind(kind).unwrap(), team("T1"), &edits)
}

fn record(kind: &str, answers: &[&str]) -> Record {
    let programme = Programme::default();
    programme.read(&make(&programme, kind, answers))
}

fn id(number: u8) -> DocumentId {
    DocumentId([number; 16])
}

fn sessions(records: &[Record]) -> Sessions {
    let sessions: Vec<Session> = (1..)
        .zip(records)
        .filter_map(|(number, record)| Session::of(id(number), record))
        .collect();
    Sessions::of(&sessions, &BTreeMap::new())
}

const CLASS: &str = "community=09090909090909090909090909090909";

fn class(first_time: u64) -> Record {
    record(
        "eore_session",
        &[
            "age_bands=split_18",
            "category=direct",
            CLASS,
            "reached/female/0_17=30",
            &format!("first_time/female/0_17={first_time}"),
        ],
    )
}

/// One class, three weeks: 30 pupils three times, plus radio 50,000.
#[test]
fn scenario_18_one_class_three_weeks_and_a_broadcast() {
    let radio = record(
        "eore_session",
        &["category=indirect", "method=radio", "media_audience=50000"],
    );
    let counted = sessions(&[class(30), class(0), class(0), radio]);
    let direct = &counted.by_category["direct"];
    assert_eq!(direct.contacts.all, Count::of(90));
    assert_eq!(direct.first_time.all, Count::of(30));
    assert_eq!(direct.at_least, Count::of(30));
    assert_eq!(direct.at_most, Count::of(30));
    assert_eq!(counted.media_largest, Some(Count::of(50_000)));
    assert_eq!(counted.by_category["indirect"].contacts.all, Count::of(0));
    let json = counted.to_json().to_string();
    for sum in ["50090", "50030", "50,0"] {
        assert!(!json.contains(sum), "{sum} appears: {json}");
    }
    assert!(json.contains("method"));
}

#[test]
fn persons_are_neither_invented_nor_lost_where_schemes_and_communities_differ() {
    let other_scheme = record(
        "eore_session",
        &[
            "age_bands=split_10_18_46",
            "category=direct",
            CLASS,
            "reached/female/0_9=10",
            "reached/female/10_17=25",
        ],
    );
    let elsewhere = record(
        "eore_session",
        &[
            "age_bands=split_18",
            "category=direct",
            "reached/female/0_17=5",
        ],
    );
    let unknown = record(
        "eore_session",
        &[
            "age_bands=split_18",
            "category=direct",
            CLASS,
            "reached/unknown/unknown=40",
        ],
    );
    let training = record(
        "eore_session",
        &[
            "age_bands=split_18",
            "category=training",
            "reached/male/18_plus=8",
            "trained/male/18_plus=8",
        ],
    );
    let counted = sessions(&[class(30), other_scheme, elsewhere, unknown, training]);
    let direct = &counted.by_category["direct"];
    // 35 girls in one session of the class's community, or 40 people in another; and 5 elsewhere.
    assert_eq!(direct.at_least, Count::of(45));
    assert_eq!(direct.contacts.all, Count::of(30 + 35 + 5 + 40));
    assert_eq!(direct.at_most, Count::of(30 + 35 + 5 + 40));
    assert_eq!(counted.by_category["training"].contacts.all, Count::of(8));
    assert_eq!(counted.trained.all, Count::of(8));
    let all: Vec<Session> = [
        Session::of(id(1), &class(30)),
        Session::of(id(2), &class(30)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let village = BTreeMap::from([(id(9), 33)]);
    let capped = Sessions::of(&all, &village);
    assert_eq!(capped.by_category["direct"].at_most, Count::of(33));
}

#[test]
fn a_disputed_figure_is_a_range_and_an_unknown_one_says_so() {
    let programme = Programme::default();
    let root = make(
        &programme,
        "eore_session",
        &["age_bands=split_18", "reached/male/18_plus=10"],
    );
    let says = |text: &str| set_of("eore_session", text);
    let a = programme.edit(&root, team("T2"), &[says("reached/female/18_plus=34")]);
    let b = programme.edit(&root, team("T3"), &[says("reached/female/18_plus=43")]);
    let both = merged(&[&a, &b]);
    let totals = Totals::of(&programme.read(&both), "reached");
    assert_eq!((totals.all.least, totals.all.most), (44, 53), "never 77");
    assert_eq!(totals.by(0)["male"], Count::of(10));
    let json = programme.read(&both).to_json("id", "s");
    assert_eq!(json["derived"]["reached"]["all"]["most"], 53);
    assert!(json["derived"]["method"].is_string());
    let unknown = record("eore_session", &["reached/unknown/unknown=unknown"]);
    let totals = Totals::of(&unknown, "reached");
    assert!(totals.all.or_more && totals.all.least == 0 && !totals.is_blank());
    assert!(
        Totals::of(&unknown, "first_time").is_blank(),
        "blank is not zero"
    );
}

#[test]
fn linked_duplicates_count_once_until_one_is_withdrawn() {
    let accident = |answers: &[&str]| record("accident", answers);
    let first = accident(&[
        "casualties/killed/male/adult/civilian=1",
        "casualties/injured/male/child/civilian=1",
    ]);
    let programme = Programme::default();
    let root = make(
        &programme,
        "accident",
        &["casualties/injured/male/child/civilian=3"],
    );
    let link = cairn_records::input::add(
        schema::kind("accident").unwrap(),
        &format!("duplicates_of={}", id(1)),
    );
    let linked = programme.edit(&root, team("T2"), &[link.unwrap()]);
    let other = accident(&["casualties/injured/female/adult/deminer=1"]);
    let count = |records: &[&Record]| {
        let accidents: Vec<Accident> = (1..)
            .zip(records)
            .filter_map(|(number, record)| Accident::of(id(number), record))
            .collect();
        Casualties::of(&accidents)
    };
    let second = programme.read(&linked);
    let counted = count(&[&first, &second, &other]);
    assert_eq!((counted.accidents, counted.duplicates), (2, 1));
    assert_eq!((counted.totals.all.least, counted.totals.all.most), (3, 4));
    let outcome = counted.totals.by(0);
    assert_eq!((outcome["killed"].least, outcome["killed"].most), (0, 1));
    let void = cairn_records::decide::withdrawal(&second, "told twice", true);
    let settled = programme.read(&programme.edit(&linked, centre(), &[void]));
    let counted = count(&[&first, &settled, &other]);
    assert_eq!((counted.accidents, counted.totals.all), (2, Count::of(3)));
    assert!(counted.to_json()["by_outcome"]["killed"] == 1);
}

#[test]
fn probable_duplicates_are_flagged_on_both_sides() {
    let rows: Vec<_> = [
        record("accident", &["date=2026-11-20", "position=44.1, 18.1"]),
        record("accident", &["date=2026-11-20", "position=44.104, 18.1"]),
        record("accident", &["date=2026-11-21", "position=44.1, 18.1"]),
        record("accident", &["date=2026-11-20", "position=44.1, 18.2"]),
        record("accident", &["date=2026-11", "position=44.1, 18.1"]),
        record("accident", &["date=2026-11-20", "position=-17, 179.999"]),
        record("accident", &["date=2026-11-20", "position=-17, -179.998"]),
        record(
            "eore_session",
            &[
                "local_id=N-1",
                "session_date=2026-11-20",
                "position=44.1, 18.1",
            ],
        ),
        record("survey_visit", &["local_id=N-1"]),
    ]
    .iter()
    .map(summary)
    .collect();
    let found = duplicates((1..).map(id).zip(&rows));
    let of = |number: u8| -> Vec<(DocumentId, Likeness)> {
        found
            .get(&id(number))
            .into_iter()
            .flatten()
            .copied()
            .collect()
    };
    assert_eq!(of(1), [(id(2), Likeness::SameDayNearby)], "445 m apart");
    assert_eq!(of(2), [(id(1), Likeness::SameDayNearby)]);
    assert_eq!(
        of(6),
        [(id(7), Likeness::SameDayNearby)],
        "across the date line"
    );
    assert_eq!(of(8), [(id(9), Likeness::SameNumber)]);
    assert_eq!(found.len(), 6);
    let backwards = duplicates(
        (1..)
            .map(id)
            .zip(&rows)
            .collect::<Vec<_>>()
            .into_iter()
            .rev(),
    );
    assert_eq!(found, backwards);
}

#[test]
fn what_is_doubtful_is_said_and_refused_to_nobody() {
    let programme = Programme::default();
    let root = make(
        &programme,
        "eore_session",
        &[
            "age_bands=split_18",
            "session_date=2027-01-01",
            "reached/female/0_17=30",
        ],
    );
    let says = |text: &str| set_of("eore_session", text);
    let a = programme.edit(&root, team("T2"), &[says("first_time/female/0_17=25")]);
    let b = programme.edit(&root, team("T3"), &[says("reached/female/0_17=20")]);
    let record = programme.read(&merged(&[&a, &b]));
    let codes = |latest| -> Vec<&'static str> {
        doubts(&record, latest)
            .into_iter()
            .map(|doubt| doubt.code)
            .collect()
    };
    assert_eq!(
        codes(Some("2026-11-25")),
        ["part_larger_than_whole", "date_in_future"]
    );
    assert_eq!(codes(Some("2027-01-01")), ["part_larger_than_whole"]);
    assert_eq!(
        codes(None),
        ["part_larger_than_whole"],
        "no clock, no future"
    );
    let of = cairn_records::doubt::swapped;
    let at =
        |lat: f64, lon: f64| cairn_records::geometry::Position::from_degrees(lat, lon).unwrap();
    let others = cairn_records::geometry::Bounds::of([at(43.0, 17.0), at(45.0, 19.0)]).unwrap();
    assert_eq!(
        of("position", at(18.1, 44.1), &others).unwrap().code,
        "coordinates_swapped"
    );
    assert_eq!(of("position", at(44.1, 18.1), &others), None);
    assert_eq!(
        of("position", at(10.0, 10.0), &others),
        None,
        "cannot be told"
    );
}
