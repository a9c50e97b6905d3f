//! What a programme would try on the first day, between members that exchange entries directly.
//! Numbers are those of the list in the description of records.

mod programme;

use cairn_keys::{Access, Role};
use cairn_member::{MemberError, RequestError, Stage};
use cairn_records::{Choice, Edit, Value, input};
use programme::{Programme, Replica, exchange, kind, set, square};

fn two_teams() -> (Programme, Replica, Replica) {
    let mut programme = Programme::found();
    let mut one = programme.member("T3 Alpha", Role::Device, Access::Write);
    let two = programme.member("T5 Bravo", Role::Device, Access::Write);
    programme.tell(&mut one);
    (programme, one, two)
}

fn area_m2(json: &serde_json::Value) -> u64 {
    json["reads"]["area_m2"]
        .as_u64()
        .unwrap_or_else(|| panic!("{json}"))
}

/// Everything both hold reads the same on both.
fn assert_same(one: &Replica, other: &Replica) {
    let (one, other) = (one.picture(), other.picture());
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
}

#[test]
fn scenario_1_two_rings_survive_and_one_decision_clears_it_everywhere() {
    let (mut programme, mut alpha, mut bravo) = two_teams();
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    programme.tell(&mut alpha);
    programme.tell(&mut bravo);
    let area = alpha.new_area(&["hazard_class=confirmed", &square(44.0, 18.0, 100)]);
    exchange(&mut alpha, &mut bravo);

    alpha.edit(&area, &[&square(44.0, 18.0, 120)]);
    bravo.edit(&area, &[&square(43.9998, 17.9998, 115)]);
    exchange(&mut alpha, &mut bravo);
    exchange(&mut bravo, &mut centre);
    assert_same(&alpha, &bravo);
    assert_same(&alpha, &centre);

    let field = alpha.field(&area, "perimeter");
    assert_eq!(field["conflict"], true, "{field}");
    assert_eq!(field["values"].as_array().unwrap().len(), 2);
    let union = area_m2(&field);
    for value in field["values"].as_array().unwrap() {
        assert!(value["value"]["area_m2"].as_u64().unwrap() < union);
        assert!(["T3 Alpha", "T5 Bravo"].contains(&value["by"].as_str().unwrap()));
    }
    assert_eq!(alpha.status().conflicts, 1);

    let moment = centre.moment();
    let decided = centre
        .member
        .decide(
            &mut *centre.store,
            &moment,
            &area.id.to_string(),
            None,
            Some("perimeter"),
            &Choice::Letter("A".into()),
            "measured again",
        )
        .unwrap();
    assert!(!decided.is_proposal());
    exchange(&mut centre, &mut alpha);
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    for replica in [&alpha, &bravo, &centre] {
        let field = replica.field(&area, "perimeter");
        assert_eq!(field["conflict"], false);
        assert!(area_m2(&field) < union);
        let membership = replica.store.membership();
        let history = replica
            .member
            .history(&*replica.store, membership, &area.id.to_string())
            .unwrap();
        assert_eq!(history.len(), 4, "the other ring stays in history");
    }
}

#[test]
fn scenario_2_evidence_keeps_an_area_open_that_another_team_closes() {
    let (_, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&[
        "hazard_class=suspected",
        "status=open",
        &square(44.0, 18.0, 50),
    ]);
    exchange(&mut alpha, &mut bravo);
    let closing = alpha.edit(&area, &["status=closed"]);
    let evidence = input::add(kind(), "direct_evidence=visual_observation").unwrap();
    bravo.edit_seen(&area, None, &[evidence]).unwrap();
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    assert_eq!(alpha.field(&area, "status")["reads"], "open");
    let now = closing
        .fields
        .iter()
        .find(|field| field.field == "status")
        .unwrap();
    assert!(now.proposal && now.reads == "open", "{now:?}");
}

#[test]
fn scenario_5_a_clock_of_1970_neither_wins_nor_loses() {
    let (_, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    exchange(&mut alpha, &mut bravo);
    bravo.set_clock(0);
    bravo.edit(&area, &["slope=steep"]);
    alpha.edit(&area, &["slope=gentle"]);
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    let record = alpha.show(&area).to_json();
    let slope = &record["fields"]["slope"];
    assert_eq!(slope["conflict"], true);
    assert_eq!(slope["values"].as_array().unwrap().len(), 2);
    let flags = record["flags"].as_array().unwrap();
    assert!(flags.contains(&"clock_doubtful".into()), "{flags:?}");
}

#[test]
fn scenario_6_a_form_that_stayed_open_overwrites_nothing_it_did_not_show() {
    let (_, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&[&square(44.0, 18.0, 50)]);
    exchange(&mut alpha, &mut bravo);
    let form = alpha.show(&area).heads;
    bravo.edit(&area, &[&square(44.001, 18.0, 80)]);
    exchange(&mut bravo, &mut alpha);
    let ring = set(&[&square(43.9999, 18.0, 70)]);
    alpha.edit_seen(&area, Some(&form), &ring).unwrap();
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    let field = bravo.field(&area, "perimeter");
    assert_eq!(field["conflict"], true);
    // The first ring, too, unless a later one contains it.
    assert!(field["values"].as_array().unwrap().len() >= 2, "{field}");

    let unknown = [cairn_wire::ChangeHash([9; 32])];
    let refused = alpha.edit_seen(&area, Some(&unknown), &ring).unwrap_err();
    assert!(matches!(
        refused,
        MemberError::Request(RequestError::UnknownVersion(_))
    ));
}

#[test]
fn scenario_10_entries_twice_and_out_of_order_give_the_same() {
    let (mut programme, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    alpha.send_to(&mut bravo);
    for slope in ["steep", "gentle", "flat"] {
        alpha.edit(&area, &[&format!("slope={slope}")]);
        alpha.seal();
        bravo.edit(&area, &[&format!("access_notes=from the {slope} side")]);
        bravo.seal();
    }
    exchange(&mut alpha, &mut bravo);

    let mut late = programme.member("T9", Role::Device, Access::Write);
    let mut entries: Vec<_> = alpha
        .store
        .journal(programme::OF, 0, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|item| item.entry)
        .collect();
    assert!(entries.len() >= 7);
    entries.reverse();
    let twice: Vec<_> = entries.iter().chain(&entries).cloned().collect();
    for entry in twice {
        let incoming = cairn_store::Incoming {
            entry,
            origins: vec![],
        };
        late.store.append(vec![incoming]).unwrap();
        late.catch_up();
    }
    programme.tell(&mut alpha);
    assert_same(&alpha, &late);
    assert_eq!(late.status().waiting, 0);
}

#[test]
fn scenario_11_one_number_from_two_devices_is_two_records_flagged() {
    let (_, mut alpha, mut bravo) = two_teams();
    let number = "local_id=ORG-HA-20261124-0930";
    let one = alpha.new_area(&[number, &square(44.0, 18.0, 50)]);
    let other = bravo.new_area(&[number, &square(45.0, 18.0, 50)]);
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    let shared = alpha.member.shared_numbers(&*alpha.store).unwrap();
    let records = &shared["ORG-HA-20261124-0930"];
    assert_eq!(records.len(), 2);
    let membership = alpha.store.membership();
    let asked = alpha
        .member
        .show(&*alpha.store, membership, "ORG-HA-20261124-0930", None);
    let Err(MemberError::Request(RequestError::Ambiguous { candidates, .. })) = asked else {
        panic!("{asked:?}");
    };
    assert!(candidates.contains(&one.id.to_string()) && candidates.contains(&other.id.to_string()));
    for saved in [&one, &other] {
        for name in [&saved.short_code, &saved.id.to_string()[..12].to_owned()] {
            let found = alpha
                .member
                .show(&*alpha.store, membership, name, None)
                .unwrap();
            assert_eq!(found.id, saved.id);
        }
    }
}

#[test]
fn scenario_12_a_find_keeps_a_withdrawn_area_and_flags_it() {
    let (_, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&["hazard_class=suspected", &square(44.0, 18.0, 50)]);
    exchange(&mut alpha, &mut bravo);
    let moment = alpha.moment();
    let name = area.id.to_string();
    alpha
        .member
        .withdraw(&mut *alpha.store, &moment, &name, None, "wrong village")
        .unwrap();
    let find = input::add(kind(), "direct_evidence=detonation").unwrap();
    bravo.edit_seen(&area, None, &[find]).unwrap();
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    let record = bravo.show(&area).to_json();
    assert!(
        record["fields"]["direct_evidence"]["values"]
            .as_array()
            .unwrap()
            .len()
            == 1
    );
    let flags = record["flags"].as_array().unwrap();
    assert!(
        flags.contains(&"changed_after_withdrawal".into()),
        "{flags:?}"
    );
    assert_eq!(bravo.field(&area, "status")["reads"], "open");
}

#[test]
fn scenario_14_a_quiet_shrink_changes_no_map_until_it_is_decided() {
    let mut programme = Programme::found();
    programme.sign(&cairn_keys::Body::RightsPolicy {
        rw_includes_decide: false,
        leaves: vec![],
    });
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    programme.tell(&mut alpha);
    let area = alpha.new_area(&["hazard_class=confirmed", &square(44.0, 18.0, 200)]);
    let whole = area_m2(&alpha.field(&area, "perimeter"));
    let smaller = alpha.edit(&area, &[&square(44.0002, 18.0002, 100)]);
    assert!(smaller.is_proposal());
    exchange(&mut alpha, &mut centre);
    assert_same(&alpha, &centre);
    let field = centre.field(&area, "perimeter");
    assert_eq!(area_m2(&field), whole);
    assert_eq!(centre.status().proposals, 1);
    let proposed = field["values"]
        .as_array()
        .unwrap()
        .iter()
        .find(|value| value["proposal"] == true)
        .unwrap();
    let letter = proposed["letter"].as_str().unwrap().to_owned();

    // Without the right, a decision is a proposal too.
    let choice = Choice::Letter(letter);
    let moment = alpha.moment();
    let name = area.id.to_string();
    let mine = alpha
        .member
        .decide(
            &mut *alpha.store,
            &moment,
            &name,
            None,
            Some("perimeter"),
            &choice,
            "as walked",
        )
        .unwrap();
    assert!(mine.is_proposal());
    assert_eq!(area_m2(&alpha.field(&area, "perimeter")), whole);

    let moment = centre.moment();
    let decided = centre
        .member
        .decide(
            &mut *centre.store,
            &moment,
            &name,
            None,
            Some("perimeter"),
            &choice,
            "cancelled",
        )
        .unwrap();
    assert!(!decided.is_proposal());
    exchange(&mut centre, &mut alpha);
    assert_same(&alpha, &centre);
    assert!(area_m2(&alpha.field(&area, "perimeter")) < whole);
}

#[test]
fn what_a_team_wrote_is_followed_to_the_relay() {
    let (mut programme, mut alpha, mut bravo) = two_teams();
    let mut relay = programme.member("relay", Role::Relay, Access::Write);
    programme.tell(&mut alpha);
    programme.tell(&mut bravo);
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    alpha.edit(&area, &["slope=steep"]);
    let status = alpha.status();
    assert_eq!((status.unsent_changes, status.documents), (2, 1));
    assert!(status.oldest_unsent_s.is_some());
    assert_eq!(alpha.show(&area).stage(), Stage::OnThisDevice);
    let sealed = alpha.seal();
    assert_eq!((sealed.entries, sealed.changes), (1, 2));
    assert_eq!(alpha.status().unsent_changes, 2);

    // To a mate in the valley: that is not the centre's side yet.
    alpha.send_to(&mut bravo);
    assert_eq!(alpha.show(&area).stage(), Stage::OnThisDevice);
    assert_eq!(bravo.status().unsent_changes, 2, "carried for another");

    let taken = alpha.send_to(&mut relay);
    assert_eq!((taken.entries_locked, taken.entries), (1, 1));
    assert_eq!(alpha.status().unsent_changes, 0);
    assert_eq!(alpha.show(&area).stage(), Stage::AtRelay);
    assert_eq!(bravo.show(&area).stage(), Stage::OnThisDevice);
    relay.send_to(&mut bravo);
    assert_eq!(
        bravo.show(&area).stage(),
        Stage::AtRelay,
        "it came from there, too"
    );
}

#[test]
fn a_reader_is_refused_and_a_stranger_may_write_and_waits() {
    let mut programme = Programme::found();
    let mut reader = programme.member("viewer", Role::Viewer, Access::Read);
    let refused = reader.try_new(&set(&["slope=flat"])).unwrap_err();
    assert!(matches!(
        refused,
        MemberError::Request(RequestError::NotPermitted { .. })
    ));

    let mut stranger = programme.stranger();
    let saved = stranger.new_area(&["slope=flat"]);
    let sealed = stranger.seal();
    assert_eq!((sealed.entries, sealed.frames_waiting), (0, 1));
    assert_eq!(stranger.field(&saved, "slope")["reads"], "flat");
    assert_eq!(stranger.status().unsent_changes, 1);
}

#[test]
fn values_that_fit_no_form_are_refused_and_nothing_is_saved() {
    let (_, mut alpha, _) = two_teams();
    let area = alpha.new_area(&["slope=flat"]);
    let nothing = alpha
        .edit_seen(&area, None, &set(&["slope=flat"]))
        .unwrap_err();
    assert!(matches!(
        nothing,
        MemberError::Request(RequestError::NothingChanged)
    ));
    let wrong = Edit::Set {
        field: "slope".into(),
        value: Value::Int(3),
        reason: None,
    };
    let refused = alpha.edit_seen(&area, None, &[wrong]).unwrap_err();
    assert!(matches!(
        refused,
        MemberError::Request(RequestError::Form(_))
    ));
    assert_eq!(alpha.status().unsent_changes, 1);
}

#[test]
fn whoever_meets_whom_in_whatever_order_all_read_the_same_in_the_end() {
    for seed in 1..=6u64 {
        let mut programme = Programme::found();
        let mut teams: Vec<Replica> = (0..4)
            .map(|number| {
                let (role, access) = match number {
                    3 => (Role::Ops, Access::Decide),
                    _ => (Role::Device, Access::Write),
                };
                programme.member(&format!("T{number}"), role, access)
            })
            .collect();
        teams.iter_mut().for_each(|team| programme.tell(team));
        for _ in 0..seed * 17 {
            programme.draw.next();
        }
        let mut draw = |below: usize| {
            let number = u64::from_be_bytes(programme.draw.bytes());
            (number % below as u64) as usize
        };
        let mut known = Vec::new();
        for step in 0..60 {
            let team = &mut teams[draw(4)];
            match draw(5) {
                0 => known.push(team.new_area(&[
                    &format!("local_id=HA-{step}"),
                    &square(44.0, 18.0, 10 + draw(90) as u32),
                ])),
                1 | 2 if !known.is_empty() => {
                    let edits = [
                        format!("slope={}", ["flat", "gentle", "steep"][draw(3)]),
                        format!("status={}", ["open", "suspended", "closed"][draw(3)]),
                        square(44.0, 18.0, 10 + draw(90) as u32),
                        format!("description=step {step}"),
                    ];
                    let saved = &known[draw(known.len())];
                    // What a team does not hold, or finds in conflict, it cannot edit plainly.
                    let _ = team.edit_seen(saved, None, &set(&[&edits[draw(4)]]));
                }
                _ => {
                    let (one, other) = (draw(4), draw(4));
                    if one != other {
                        let mut one = teams.swap_remove(one);
                        let other = other.min(teams.len() - 1);
                        one.send_to(&mut teams[other]);
                        teams.push(one);
                    }
                }
            }
        }
        let mut last = teams.pop().unwrap();
        for _ in 0..2 {
            for team in &mut teams {
                exchange(team, &mut last);
            }
        }
        assert!(last.picture().len() >= 3, "seed {seed}");
        for team in &teams {
            assert_same(team, &last);
        }
        assert_eq!(last.status().waiting, 0);
        // A replica that gets all of it at once, from nothing.
        let mut fresh = programme.member("late", Role::Device, Access::Write);
        last.send_to(&mut fresh);
        assert_eq!(fresh.picture(), last.picture(), "seed {seed}");
    }
}

#[test]
fn one_form_sent_twice_in_a_second_is_one_change_and_a_second_later_another() {
    let (_programme, mut alpha, mut bravo) = two_teams();
    let area = alpha.new_area(&["hazard_class=suspected"]);
    let form = area.heads.clone();
    let heard = [input::add(kind(), r#"direct_evidence={"type":"detonation"}"#).unwrap()];
    let mut changes = Vec::new();
    for clock in [1_000, 1_000, 1_001] {
        alpha.set_clock(clock);
        let saved = alpha.edit_seen(&area, Some(&form), &heard).unwrap();
        changes.push(saved.change);
    }
    assert_eq!(changes[0], changes[1]);
    assert_ne!(changes[0], changes[2]);
    assert_eq!(alpha.seal().changes, 3);
    exchange(&mut alpha, &mut bravo);
    assert_same(&alpha, &bravo);
    assert_eq!(bravo.show(&area).heads.len(), 2);
}
