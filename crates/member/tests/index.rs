//! What lists, totals and the question what is near answer from the index, held against every record
//! opened one by one.

mod programme;

use cairn_keys::{Access, Role};
use cairn_member::{Asked, Filter, Listed, Near};
use cairn_records::Outline;
use cairn_records::geometry::Position;
use programme::{Programme, Replica, exchange, square};
use std::collections::BTreeMap;

/// A series of numbers by seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn at(lat: f64, lon: f64) -> Position {
    Position::from_degrees(lat, lon).unwrap()
}

fn near(replica: &Replica, asked: &Asked) -> Near {
    let membership = replica.store.membership();
    replica
        .member
        .near(&*replica.store, membership, asked)
        .unwrap()
}

/// Every answer of the index is what opening every record gives.
fn assert_index_is_true(replica: &Replica) {
    let (member, store) = (&replica.member, &*replica.store);
    let membership = store.membership();
    let place = at(44.0, 18.0);
    let within_m = 3_000.0;
    let (mut conflicts, mut proposals, mut unverified, mut without_place) = (0, 0, 0, 0);
    let mut distances = BTreeMap::new();
    let listed = member.list(store, membership, &Filter::default()).unwrap();
    for one in &listed {
        let line = &one.line;
        let opened = member
            .read_record(store, membership, &line.scope, &line.id, None)
            .unwrap();
        let summary = cairn_records::summary(&opened.record);
        assert_eq!(line.summary, summary);
        assert_eq!(one.unsent as usize, opened.unsent());
        assert_eq!(
            member.line(store, &line.scope, &line.id).unwrap().as_ref(),
            Some(line)
        );
        conflicts += u64::from(summary.conflicts > 0);
        proposals += u64::from(summary.proposals > 0);
        unverified += u64::from(summary.unverified > 0);
        match Outline::of(&opened.record) {
            None => without_place += 1,
            Some(outline) => {
                let found = outline.nearest_to(place);
                if found.distance_m <= within_m {
                    distances.insert(line.id, (found.distance_m, found.bearing_deg()));
                }
            }
        }
    }
    assert_reads_are_found(replica, &listed);
    let status = replica.status();
    assert_eq!(status.documents, listed.len() as u64);
    assert_eq!((status.conflicts, status.proposals), (conflicts, proposals));
    assert_eq!(status.unverified, unverified);
    let unsent: u64 = listed.iter().map(|one| one.unsent).sum();
    assert_eq!(status.unsent_changes, unsent);
    assert!(
        listed
            .windows(2)
            .all(|two| two[0].line.recorded_at_s >= two[1].line.recorded_at_s)
    );
    let found = near(
        replica,
        &Asked {
            parts: vec![vec![place]],
            within_m,
        },
    );
    assert!(
        found
            .records
            .windows(2)
            .all(|two| two[0].distance_m <= two[1].distance_m)
    );
    let found_distances: BTreeMap<_, _> = found
        .records
        .iter()
        .map(|record| (record.line.id, (record.distance_m, record.bearing_deg)))
        .collect();
    assert_eq!(found_distances, distances);
    assert_eq!(found.without_place, without_place);
}

/// What is found by how fields read is what opening every record finds.
fn assert_reads_are_found(replica: &Replica, listed: &[Listed]) {
    let (member, store) = (&replica.member, &*replica.store);
    let membership = store.membership();
    let asked = [
        ("slope", "FLAT"),
        ("slope", ""),
        ("local_id", "ha-7"),
        ("status", "closed"),
        ("marking", "none"),
        ("perimeter", "x"),
        ("area_reported", "7"),
    ];
    for (field, value) in asked {
        let filter = Filter {
            reads: vec![(field.to_owned(), value.to_owned())],
            ..Filter::default()
        };
        let found = member.list(store, membership, &filter).unwrap();
        let wanted = listed.iter().filter(|one| {
            let opened = member
                .read_record(store, membership, &one.line.scope, &one.line.id, None)
                .unwrap();
            match opened.record.reads(field).to_json() {
                serde_json::Value::String(text) => text.eq_ignore_ascii_case(value),
                serde_json::Value::Null => value.is_empty(),
                serde_json::Value::Number(number) => number.to_string() == value,
                _ => false,
            }
        });
        assert!(found.iter().eq(wanted), "{field}={value}");
    }
    let filter = Filter {
        search: Some("HA-1 hazardous".to_owned()),
        ..Filter::default()
    };
    let found = member.list(store, membership, &filter).unwrap();
    let numbered = |one: &&Listed| {
        let number = one.line.summary.local_id.as_deref();
        number.is_some_and(|number| number.starts_with("HA-1"))
    };
    let missing = listed
        .iter()
        .filter(numbered)
        .find(|one| !found.contains(one));
    assert_eq!(missing, None);
    assert!(found.len() < listed.len());
}

#[test]
fn the_index_says_what_the_records_say() {
    let mut programme = Programme::found();
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let mut bravo = programme.member("T5 Bravo", Role::Device, Access::Write);
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    programme.tell(&mut alpha);
    let mut dice = Dice(55_120);
    let mut areas = Vec::new();
    // More than a page of them.
    for number in 0..100u64 {
        let (lat, lon) = (
            43.96 + dice.throw(80) as f64 * 0.001,
            17.96 + dice.throw(80) as f64 * 0.001,
        );
        let place = match dice.throw(3) {
            0 => format!("perimeter={lat:.4}, {lon:.4}"),
            1 => square(lat, lon, 40 + dice.throw(300) as u32),
            _ => "slope=flat".to_owned(),
        };
        let label = format!("local_id=HA-{number}");
        areas.push(alpha.new_area(&[&label, "hazard_class=confirmed", &place]));
    }
    assert_index_is_true(&alpha);
    exchange(&mut alpha, &mut bravo);
    for round in 0..3 {
        for _ in 0..25 {
            let area = &areas[dice.throw(areas.len() as u64) as usize];
            let team = match dice.throw(2) {
                0 => &mut alpha,
                _ => &mut bravo,
            };
            let said = match dice.throw(4) {
                0 => "status=closed".to_owned(),
                1 => "hazard_class=suspected".to_owned(),
                2 => square(43.99, 17.99, 100 + dice.throw(2_000) as u32),
                _ => format!("local_id=HA-{}-{round}", dice.throw(50)),
            };
            // The same again is no change, and refused as such.
            let _ = team.edit_seen(area, None, &programme::set(&[&said]));
        }
        assert_index_is_true(&alpha);
        assert_index_is_true(&bravo);
        if round == 1 {
            bravo.send_to(&mut centre);
        }
        exchange(&mut bravo, &mut alpha);
    }
    alpha.send_to(&mut centre);
    for replica in [&alpha, &bravo, &centre] {
        assert_index_is_true(replica);
    }
    assert_eq!(alpha.picture(), centre.picture());

    // What is not believed any more reads otherwise, in the index too.
    programme.revoke(bravo.device(), Vec::new());
    programme.tell(&mut alpha);
    assert!(alpha.status().unverified > 0);
    assert_index_is_true(&alpha);

    // Made anew from the segments it is the same.
    let before = alpha.picture();
    let again = programme.open(alpha.member.clone(), alpha.disk.clone());
    let mut again = again;
    again.catch_up();
    assert_eq!(again.picture(), before);
    assert_index_is_true(&again);
}

#[test]
fn a_way_meets_hazards_in_its_order() {
    let mut programme = Programme::found();
    let mut team = programme.member("T3 Alpha", Role::Device, Access::Write);
    programme.tell(&mut team);
    let far = team.new_area(&["local_id=far", &square(44.5, 18.0, 100)]);
    let second = team.new_area(&["local_id=second", &square(44.0005, 18.05, 100)]);
    let first = team.new_area(&["local_id=first", &square(43.9995, 18.01, 100)]);
    let way = Asked {
        parts: vec![vec![at(44.0, 18.0), at(44.0, 18.04), at(44.0, 18.1)]],
        within_m: 200.0,
    };
    let found = near(&team, &way);
    let ids: Vec<_> = found.records.iter().map(|record| record.line.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    assert!(!ids.contains(&far.id));
    let distances: Vec<f64> = found
        .records
        .iter()
        .map(|record| record.distance_m.round())
        .collect();
    assert_eq!(distances, [0.0, 56.0]);
    assert_eq!(found.records[0].bearing_deg, None);
    // 0.01 degrees of longitude at 44 degrees north.
    assert_eq!(found.records[0].along_m.round(), 802.0);
    assert_eq!(found.length_m.round(), 8021.0);
}

#[test]
fn words_are_found_in_numbers_and_texts() {
    let mut programme = Programme::found();
    let mut team = programme.member("T3 Alpha", Role::Device, Access::Write);
    programme.tell(&mut team);
    let texts = ["Біля річки, ЗА МОСТОМ", "north of the well", ""];
    for (number, text) in texts.iter().enumerate() {
        let mut edits = programme::set(&[&format!("local_id=HA-{number}")]);
        if !text.is_empty() {
            edits.push(cairn_records::Edit::Text {
                field: "description".into(),
                text: (*text).to_owned(),
            });
        }
        team.try_new(&edits).unwrap();
    }
    let search = |words: &str| -> Vec<String> {
        let filter = Filter {
            search: Some(words.to_owned()),
            ..Filter::default()
        };
        let membership = team.store.membership();
        let listed = team.member.list(&*team.store, membership, &filter).unwrap();
        let numbers = listed.into_iter().map(|one| one.line.summary.local_id);
        numbers.flatten().collect()
    };
    assert_eq!(search("за мостом"), ["HA-0"]);
    assert_eq!(search("WELL north"), ["HA-1"]);
    assert_eq!(search("ha-2"), ["HA-2"]);
    assert_eq!(search("hazardous_area").len(), 3);
    assert!(search("bridge").is_empty());
}
