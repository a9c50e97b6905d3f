//! Story 5: a telephone's clock falls back to 1970.

use super::{
    DAY_S, MONDAY_NOON_S, SCOPE, at, centre_reads, conflicts, disputed, field, in_words, meet,
    strings, two_teams, values,
};
use cairn_end_to_end::{Centre, Device};
use serde_json::{Value, json};

/// A quarter past midnight of the first of January 1970.
const FALLEN_S: i64 = 900;

fn set(device: &Device, clock_s: i64, id: &str, value: &str) {
    at(device, clock_s, &["edit", id, "--set", value]).expect(0);
}

#[test]
fn story_5_a_clock_of_1970_neither_wins_nor_loses_and_is_flagged() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let new = [
        "new",
        "hazardous_area",
        "--scope",
        SCOPE,
        "--set",
        "local_id=HA-5",
        "--set",
        "slope=flat",
        "--set",
        "vegetation=bushes",
        "--position",
        "44.1, 17.9",
    ];
    let saved = at(&alpha, MONDAY_NOON_S, &new).expect(0).json();
    let id = saved["id"].as_str().expect("an id").to_owned();
    meet(&[&alpha, &delta]);
    assert_eq!(strings(&delta.show(&id)["flags"]), ["extent_not_surveyed"]);

    // At the same time: neither wins.
    set(&alpha, MONDAY_NOON_S + DAY_S, &id, "slope=steep");
    set(&delta, FALLEN_S, &id, "slope=moderate");
    set(&delta, FALLEN_S, &id, "hazard_class=confirmed");
    // With such a clock a device syncs as with any other.
    let synced = at(&delta, FALLEN_S, &["sync"]).expect(0).json();
    assert_eq!(synced["complete"], true);
    meet(&[&alpha, &delta]);
    let both = |record: &Value| {
        let mut slopes: Vec<_> = values(record, "slope")
            .iter()
            .map(|value| (value["value"].as_str(), value["by"].as_str()))
            .collect();
        slopes.sort_unstable();
        assert_eq!(
            slopes,
            [
                (Some("moderate"), Some("Delta")),
                (Some("steep"), Some("Alpha"))
            ]
        );
        assert_eq!(field(record, "hazard_class")["reads"], "confirmed");
        flagged(record);
    };
    for device in [&alpha, &delta] {
        both(&device.show(&id));
        assert_eq!(conflicts(device).len(), 1);
        let words = in_words(device, &["show", "HA-5"]).out;
        assert!(words.contains("clock doubtful"), "{words}");
        assert!(words.contains("by Delta, 1 Jan 1970 00:15"), "{words}");
        assert!(words.contains("by Alpha, 3 Feb 2026 12:00"), "{words}");
    }
    both(&centre_reads(&centre, &id, |doc| {
        disputed(doc) == ["slope"]
    }));

    // One after the other: who knew the other's value replaces it, whatever the clocks say.
    set(&delta, FALLEN_S, &id, "vegetation=trees");
    meet(&[&delta, &alpha]);
    for device in [&alpha, &delta] {
        assert_eq!(field(&device.show(&id), "vegetation")["reads"], "trees");
    }
    set(&alpha, MONDAY_NOON_S + 2 * DAY_S, &id, "vegetation=grass");
    meet(&[&alpha, &delta]);
    set(&delta, FALLEN_S - 60, &id, "vegetation=none");
    meet(&[&delta, &alpha]);
    for device in [&alpha, &delta] {
        let record = device.show(&id);
        assert_eq!(field(&record, "vegetation")["reads"], "none");
        assert_eq!(field(&record, "vegetation")["conflict"], false);
        flagged(&record);
    }
    assert_eq!(alpha.export(), delta.export());
}

/// The time is flagged, and shown as it was.
fn flagged(record: &Value) {
    assert!(strings(&record["flags"]).contains(&"clock_doubtful"));
    let class = &values(record, "hazard_class")[0];
    assert_eq!(class["recorded_at"], json!("1970-01-01T00:15:00Z"));
}
