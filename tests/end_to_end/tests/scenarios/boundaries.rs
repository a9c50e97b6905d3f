//! Stories 1, 6 and 14: boundaries that two teams draw, and one that shrinks.

use super::{
    DAY_S, MONDAY_NOON_S, SCOPE, at, centre_reads, conflicts, disputed, drawn_and_proposed,
    exported, field, in_words, listed, meet, proposed, strings, two_teams, values,
};
use cairn_end_to_end::{Centre, Device};
use serde_json::{Value, json};

/// A rectangle between parallels and meridians, in degrees.
#[derive(Clone, Copy)]
struct Rectangle {
    south: f64,
    west: f64,
    north: f64,
    east: f64,
}

/// About 200 m to the north and 200 m to the east, at 44.1° north.
const SIDE: (f64, f64) = (0.0018, 0.0025);

/// Near enough 200 m × 200 m.
const DRAWN: Rectangle = rectangle(44.1, 17.9);

const fn rectangle(south: f64, west: f64) -> Rectangle {
    Rectangle {
        south,
        west,
        north: south + SIDE.0,
        east: west + SIDE.1,
    }
}

impl Rectangle {
    fn feature(self) -> String {
        let Self {
            south,
            west,
            north,
            east,
        } = self;
        let ring = json!([
            [west, south],
            [east, south],
            [east, north],
            [west, north],
            [west, south]
        ]);
        json!({
            "type": "Feature",
            "properties": {},
            "geometry": { "type": "Polygon", "coordinates": [ring] },
        })
        .to_string()
    }

    /// Square degrees.
    fn size(self) -> f64 {
        (self.north - self.south).max(0.0) * (self.east - self.west).max(0.0)
    }

    fn both(self, other: Self) -> Self {
        Self {
            south: self.south.max(other.south),
            west: self.west.max(other.west),
            north: self.north.min(other.north),
            east: self.east.min(other.east),
        }
    }

    fn holds(self, lat: f64, lon: f64) -> bool {
        (self.south..self.north).contains(&lat) && (self.west..self.east).contains(&lon)
    }
}

/// Square degrees that at least one of three covers.
fn union_of([a, b, c]: [Rectangle; 3]) -> f64 {
    a.size() + b.size() + c.size() - a.both(b).size() - a.both(c).size() - b.both(c).size()
        + a.both(b).both(c).size()
}

/// Whether a geometry of GeoJSON holds a place, by counting crossings.
fn holds(geometry: &Value, lat: f64, lon: f64) -> bool {
    let coordinates = &geometry["coordinates"];
    let polygons = match geometry["type"].as_str() {
        Some("Polygon") => vec![coordinates],
        Some("MultiPolygon") => coordinates.as_array().expect("polygons").iter().collect(),
        _ => panic!("no area: {geometry:#}"),
    };
    let crossings = polygons
        .into_iter()
        .flat_map(|polygon| polygon.as_array().expect("rings"))
        .flat_map(|ring| ring.as_array().expect("a ring").windows(2))
        .filter(|side| {
            let corner = |at: &Value| (at[0].as_f64().expect("lon"), at[1].as_f64().expect("lat"));
            let ((x1, y1), (x2, y2)) = (corner(&side[0]), corner(&side[1]));
            (y1 > lat) != (y2 > lat) && lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1)
        });
    crossings.count() % 2 == 1
}

/// Asserts that a map shows what these cover and nothing else, looking at places on a grid.
#[track_caller]
fn shows(geometry: &Value, covered: &[Rectangle]) {
    for row in 0..40 {
        for column in 0..40 {
            let lat = 44.0971 + f64::from(row) * 0.00021;
            let lon = 17.8963 + f64::from(column) * 0.00027;
            let expected = covered.iter().any(|one| one.holds(lat, lon));
            assert_eq!(
                holds(geometry, lat, lon),
                expected,
                "{lat}, {lon} in {geometry}"
            );
        }
    }
}

fn new_area(device: &Device, label: &str) -> String {
    let ring = device.file("ring.geojson", &DRAWN.feature());
    let label = format!("local_id={label}");
    let arguments = [
        "new",
        "hazardous_area",
        "--scope",
        SCOPE,
        "--set",
        &label,
        "--set",
        "hazard_class=confirmed",
        "--geojson",
        &ring,
    ];
    let said = at(device, MONDAY_NOON_S, &arguments).expect(0).json();
    said["id"].as_str().expect("an id").to_owned()
}

/// Draws the boundary anew and gives the change.
fn redraw(device: &Device, id: &str, day: i64, ring: Rectangle) -> String {
    let ring = device.file("redrawn.geojson", &ring.feature());
    let clock_s = MONDAY_NOON_S + day * DAY_S;
    let said = at(device, clock_s, &["edit", id, "--geojson", &ring]);
    let change = said.expect(0).json()["change"].clone();
    change.as_str().expect("a change").to_owned()
}

fn m2(value: &Value) -> f64 {
    value["area_m2"].as_f64().expect("an area")
}

#[track_caller]
fn about(left: f64, right: f64) {
    assert!((left - right).abs() < right * 0.001, "{left} and {right}");
}

#[test]
fn story_1_two_teams_move_one_boundary_offline_for_three_days() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let id = new_area(&alpha, "HA-1");
    meet(&[&alpha, &delta]);
    let drawn = m2(&field(&alpha.show(&id), "perimeter")["reads"]);
    about(drawn, 40_000.0 * drawn / drawn.round());

    // Three days without a network; each team moves the ring its own way.
    let (north, east) = (rectangle(44.1009, 17.9), rectangle(44.1, 17.9012));
    let by_alpha = redraw(&alpha, &id, 1, north);
    let by_delta = redraw(&delta, &id, 3, east);
    meet(&[&alpha, &delta]);

    // Both rings survive, and every map shows the union.
    let covered = [DRAWN, north, east];
    let expected_m2 = drawn * union_of(covered) / DRAWN.size();
    for device in [&alpha, &delta] {
        let record = device.show(&id);
        for (change, by, ring) in [(&by_alpha, "Alpha", north), (&by_delta, "Delta", east)] {
            let kept = values(&record, "perimeter").iter();
            let kept: Vec<&Value> = kept.filter(|value| value["change"] == **change).collect();
            assert_eq!(kept.len(), 1, "{record:#}");
            assert_eq!(kept[0]["by"], by);
            assert_eq!(kept[0]["verified"], true);
            shows(&kept[0]["value"]["geometry"], &[ring]);
        }
        shows(&field(&record, "perimeter")["reads"]["geometry"], &covered);
        about(m2(&field(&record, "perimeter")["reads"]), expected_m2);
        about(m2(&listed(device, &id)), expected_m2);
        let feature = exported(device, "hazardous_area");
        shows(&feature["geometry"], &covered);
        about(m2(&feature["properties"]), expected_m2);
    }
    let seen = centre_reads(&centre, &id, |doc| disputed(doc) == ["perimeter"]);
    shows(&field(&seen, "perimeter")["reads"]["geometry"], &covered);

    // The list shows one conflict, with teams, dates and m².
    for device in [&alpha, &delta] {
        assert_eq!(listed(device, &id)["conflicts"], 1);
        let open = conflicts(device);
        assert_eq!(open.len(), 1, "{open:#?}");
        assert_eq!(
            (&open[0]["field"], &open[0]["local_id"]),
            (&json!("perimeter"), &json!("HA-1"))
        );
        let words = in_words(device, &["conflicts"]);
        let line = |team: &str, day: &str| {
            let mut lines = words.out.lines();
            lines.any(|line| line.contains(team) && line.contains(day) && line.contains("m²"))
        };
        assert!(line("Alpha", "3 Feb 2026 12:00"), "{words:#?}");
        assert!(line("Delta", "5 Feb 2026 12:00"), "{words:#?}");
    }
    let at_centre = centre.ops(&["conflicts"]).expect(0).json();
    assert_eq!(at_centre["conflicts"].as_array().map(Vec::len), Some(1));

    // One decision clears it everywhere.
    let open = conflicts(&alpha);
    let choices = open[0]["values"].as_array().expect("choices");
    let choice = choices.iter().find(|value| value["change"] == by_alpha);
    let letter = choice.expect("a choice")["letter"]
        .as_str()
        .expect("a letter");
    alpha.save(&[
        "decide",
        "HA-1",
        "--field",
        "perimeter",
        "--take",
        letter,
        "--reason",
        "walked together",
    ]);
    meet(&[&alpha, &delta]);
    for device in [&alpha, &delta] {
        assert_eq!(conflicts(device), [Value::Null; 0]);
        assert_eq!(listed(device, &id)["conflicts"], 0);
        let feature = exported(device, "hazardous_area");
        shows(&feature["geometry"], &[north]);
        assert_eq!(feature["properties"].get("conflicts"), None);
    }
    let seen = centre_reads(&centre, &id, |doc| disputed(doc).is_empty());
    shows(&field(&seen, "perimeter")["reads"]["geometry"], &[north]);
    let at_centre = centre.ops(&["conflicts"]).expect(0).json();
    assert_eq!(at_centre["conflicts"], json!([]));

    // The other ring stays in history.
    for device in [&alpha, &delta] {
        let record = device.run(&["show", &id, "--history"]).expect(0).json();
        let mut history = record["history"].as_array().expect("changes").iter();
        let change = history.find(|change| change["change"] == by_delta);
        let did = change.expect("the change")["did"].as_array().expect("acts");
        let did = did.iter().find(|did| did["field"] == "perimeter");
        let ring = did.map(|did| did.get("said").or_else(|| did.get("set")));
        let ring = ring.flatten().expect("the ring");
        shows(&ring["geometry"], &[east]);
    }
    assert_eq!(alpha.export(), delta.export());
}

#[test]
fn story_6_a_form_that_was_open_while_another_ring_came() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let id = new_area(&alpha, "HA-6");
    meet(&[&alpha, &delta]);

    // Alpha opens the form; while it is open, a sync brings Delta's boundary.
    let form = alpha.show(&id);
    let seen = strings(&form["heads"]).join(",");
    let (north, east) = (rectangle(44.1009, 17.9), rectangle(44.1, 17.9012));
    redraw(&delta, &id, 1, east);
    delta.sync();
    alpha.sync();
    assert_ne!(strings(&alpha.show(&id)["heads"]).join(","), seen);
    let ring = alpha.file("form.geojson", &north.feature());
    let saved = alpha.run(&["edit", &id, "--geojson", &ring, "--seen", &seen]);
    assert_eq!(saved.expect(0).json()["fields"][0]["conflict"], true);
    meet(&[&alpha, &delta]);

    let covered = [DRAWN, north, east];
    for device in [&alpha, &delta] {
        let record = device.show(&id);
        let mut by: Vec<&str> = values(&record, "perimeter")
            .iter()
            .filter_map(|value| value["by"].as_str())
            .collect();
        by.sort_unstable();
        by.dedup();
        assert_eq!(by, ["Alpha", "Delta"]);
        assert_eq!(field(&record, "perimeter")["conflict"], true);
        shows(&exported(device, "hazardous_area")["geometry"], &covered);
    }
    let at_centre = centre_reads(&centre, &id, |doc| disputed(doc) == ["perimeter"]);
    shows(
        &field(&at_centre, "perimeter")["reads"]["geometry"],
        &covered,
    );
}

#[test]
fn story_14_a_synced_team_shrinks_an_area_quietly() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let id = new_area(&alpha, "HA-14");
    meet(&[&alpha, &delta]);
    let drawn = m2(&listed(&delta, &id));
    about(drawn, 40_000.0);

    // Delta has all that there is, and draws 12,000 m² of the 40,000.
    let small = Rectangle {
        east: DRAWN.west + SIDE.1 * 0.3,
        ..DRAWN
    };
    let ring = delta.file("small.geojson", &small.feature());
    let told = in_words(&delta, &["edit", "HA-14", "--geojson", &ring]);
    assert!(told.words.contains("proposal"), "{told:?}");
    meet(&[&delta, &alpha]);

    let unmoved = |area: f64| assert_eq!(area, drawn);
    for device in [&alpha, &delta] {
        // Map and total stay.
        let feature = exported(device, "hazardous_area");
        shows(&feature["geometry"], &[DRAWN]);
        unmoved(m2(&feature["properties"]));
        // The smaller outline is drawn beside it, as what it is.
        let (_, proposed) = drawn_and_proposed(device, "hazardous_area");
        assert_eq!(proposed.len(), 1, "{proposed:#?}");
        assert_eq!(proposed[0]["properties"]["proposed_by"], "Delta");
        assert_eq!(proposed[0]["properties"]["proposal_of"], *id);
        shows(&proposed[0]["geometry"], &[small]);
        let listed = listed(device, &id);
        unmoved(m2(&listed));
        // A proposal waits: it is no conflict.
        assert_eq!(
            (&listed["proposals"], &listed["conflicts"]),
            (&1.into(), &0.into())
        );
        assert_eq!(strings(&feature["properties"]["proposals"]), ["perimeter"]);
        assert_eq!(feature["properties"].get("conflicts"), None);
        let record = device.show(&id);
        unmoved(m2(&field(&record, "perimeter")["reads"]));
        let waiting = values(&record, "perimeter").iter();
        let waiting: Vec<&Value> = waiting.filter(|one| one["proposal"] == true).collect();
        assert_eq!(waiting.len(), 1, "{record:#}");
        assert_eq!(waiting[0]["by"], "Delta");
        about(m2(&waiting[0]["value"]), 12_000.0);
        shows(&waiting[0]["value"]["geometry"], &[small]);
        let words = in_words(device, &["show", "HA-14"]);
        let mut lines = words.out.lines();
        let waits = lines.any(|line| line.contains("by Delta") && line.contains("proposal"));
        assert!(waits, "{words:?}");
    }
    let at_centre = centre_reads(&centre, &id, |doc| proposed(doc) == ["perimeter"]);
    unmoved(m2(&field(&at_centre, "perimeter")["reads"]));
    let docs = centre.ops(&["docs"]).expect(0).json();
    unmoved(m2(&docs["documents"][0]));
}
