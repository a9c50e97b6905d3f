//! Sessions and accidents on the first day: scenarios 3, 4 and 11 of the description of records, and
//! suggestions, between members that exchange entries directly.

mod programme;

use cairn_keys::{Access, Role};
use cairn_member::{MemberError, RequestError, Saved};
use cairn_records::{Choice, Edit, Envelope, Likeness, input, schema, suggest};
use programme::{Programme, Replica, SCOPE, exchange};
use serde_json::Value as Json;

fn make(replica: &mut Replica, kind: &str, answers: &[&str]) -> Saved {
    let kind = schema::kind(kind).unwrap();
    let edits: Vec<Edit> = answers
        .iter()
        .map(|text| input::set(kind, text).unwrap())
        .collect();
    let moment = replica.moment();
    let envelope = Envelope::default();
    replica
        .member
        .new_record(&mut *replica.store, &moment, SCOPE, kind, &envelope, &edits)
        .unwrap()
}

fn says(replica: &mut Replica, saved: &Saved, answers: &[&str]) -> Saved {
    let kind = schema::kind(&saved.kind).unwrap();
    let edits: Vec<Edit> = answers
        .iter()
        .map(|text| input::set(kind, text).unwrap())
        .collect();
    replica.edit_seen(saved, None, &edits).unwrap()
}

fn two_teams() -> (Programme, Replica, Replica) {
    let mut programme = Programme::found();
    let mut one = programme.member("T3 Alpha", Role::Device, Access::Write);
    let two = programme.member("T5 Bravo", Role::Device, Access::Write);
    programme.tell(&mut one);
    (programme, one, two)
}

#[test]
fn scenario_3_two_facilitators_type_one_figure() {
    let (_, mut alpha, mut bravo) = two_teams();
    let session = make(&mut alpha, "eore_session", &["age_bands=split_18"]);
    exchange(&mut alpha, &mut bravo);
    says(
        &mut alpha,
        &session,
        &["reached/female/18_plus=34", "reached/male/18_plus=9"],
    );
    says(
        &mut bravo,
        &session,
        &["reached/female/18_plus=43", "reached/female/0_17=7"],
    );
    exchange(&mut alpha, &mut bravo);
    assert_eq!(alpha.picture(), bravo.picture());
    let record = alpha.show(&session).to_json();
    let fields = &record["fields"];
    let women = &fields["reached/female/18_plus"];
    assert_eq!(
        (&women["conflict"], &women["reads"]),
        (&true.into(), &Json::Null)
    );
    assert_eq!(women["values"].as_array().unwrap().len(), 2);
    assert_eq!(fields["reached/male/18_plus"]["reads"], 9);
    assert_eq!(fields["reached/female/0_17"]["reads"], 7);
    assert_eq!(record["conflicts"], 1);
    let all = &record["derived"]["reached"]["all"];
    assert_eq!(
        (&all["least"], &all["most"]),
        (&50.into(), &59.into()),
        "never 93"
    );
}

#[test]
fn scenario_4_both_sentences_survive_in_any_script() {
    let (_, mut alpha, mut bravo) = two_teams();
    for (kind, field) in [("survey_visit", "narrative"), ("eore_session", "feedback")] {
        let record = make(&mut alpha, kind, &[&format!("{field}=A visit.")]);
        exchange(&mut alpha, &mut bravo);
        says(
            &mut alpha,
            &record,
            &[&format!("{field}=A visit. الطريق ملغوم بعد الجسر.")],
        );
        let before = format!("{field}=பாலத்திற்குப் பின் கண்ணிவெடிகள். පාලමෙන් පසු. A visit.");
        says(&mut bravo, &record, &[&before]);
        exchange(&mut alpha, &mut bravo);
        assert_eq!(alpha.picture(), bravo.picture());
        let read = alpha.field(&record, field);
        assert_eq!(
            read["reads"],
            "பாலத்திற்குப் பின் கண்ணிவெடிகள். පාලමෙන් පසු. A visit. الطريق ملغوم بعد الجسر."
        );
        says(&mut alpha, &record, &[&format!("{field}=آمن")]);
        says(&mut bravo, &record, &[&format!("{field}=ஆபத்து")]);
        exchange(&mut alpha, &mut bravo);
        let read = bravo.field(&record, field);
        assert_eq!(
            (&read["conflict"], &read["reads"]),
            (&true.into(), &Json::Null)
        );
        assert_eq!(read["values"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn scenario_11_probable_duplicates_are_flagged_and_nothing_is_blocked() {
    let (_, mut alpha, mut bravo) = two_teams();
    let one = make(
        &mut alpha,
        "accident",
        &["date=2026-11-20", "position=44.1, 18.1", "local_id=A-7"],
    );
    let two = make(
        &mut bravo,
        "accident",
        &["date=2026-11-20", "position=44.103, 18.1"],
    );
    let three = make(&mut bravo, "eore_session", &["local_id=A-7"]);
    make(
        &mut bravo,
        "accident",
        &["date=2026-11-20", "position=44.2, 18.1"],
    );
    exchange(&mut alpha, &mut bravo);
    for replica in [&alpha, &bravo] {
        let found = replica.member.duplicates(&*replica.store).unwrap();
        assert_eq!(found.len(), 3);
        assert!(found[&one.id].contains(&(two.id, Likeness::SameDayNearby)));
        assert!(found[&one.id].contains(&(three.id, Likeness::SameNumber)));
    }
}

#[test]
fn a_suggestion_waits_for_somebody_who_may_decide() {
    let mut programme = Programme::found();
    programme.sign(&cairn_keys::Body::RightsPolicy {
        rw_includes_decide: false,
        leaves: vec![],
    });
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let mut bravo = programme.member("T5 Bravo", Role::Device, Access::Write);
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    programme.tell(&mut alpha);
    programme.tell(&mut bravo);
    let session = make(
        &mut alpha,
        "eore_session",
        &["age_bands=split_18", "reached/female/18_plus=34"],
    );
    exchange(&mut alpha, &mut bravo);
    let kind = schema::kind("eore_session").unwrap();
    let idea = suggest(kind, "reached/female/18_plus=43", Some("counted again")).unwrap();
    let saved = bravo.edit_seen(&session, None, &[idea]).unwrap();
    assert!(saved.is_proposal());
    exchange(&mut alpha, &mut bravo);
    exchange(&mut bravo, &mut centre);
    assert_eq!(alpha.field(&session, "reached/female/18_plus")["reads"], 34);
    let open = alpha
        .member
        .open_questions(&*alpha.store, alpha.store.membership())
        .unwrap();
    assert_eq!(open.len(), 1);
    let decide = |replica: &mut Replica| {
        let moment = replica.moment();
        replica.member.decide(
            &mut *replica.store,
            &moment,
            &session.id.to_string(),
            None,
            Some("suggestions"),
            &Choice::Letter("A".into()),
            "asked the teacher",
        )
    };
    assert!(matches!(
        decide(&mut alpha),
        Err(MemberError::Request(RequestError::MayNotDecide { .. }))
    ));
    decide(&mut centre).unwrap();
    exchange(&mut centre, &mut alpha);
    exchange(&mut alpha, &mut bravo);
    let record = bravo.show(&session).to_json();
    assert_eq!(record["fields"]["reached/female/18_plus"]["reads"], 43);
    assert_eq!(
        (&record["proposals"], &record["suggestions"]),
        (&0.into(), &Json::Array(vec![]))
    );
}

#[test]
fn doubts_are_told_by_this_devices_clock_and_by_where_others_lie() {
    let (_, mut alpha, _) = two_teams();
    for step in 0..6 {
        let at = format!("position=44.{step}, 18.{step}");
        make(&mut alpha, "accident", &[&at]);
    }
    let odd = make(
        &mut alpha,
        "accident",
        &["position=18.3, 44.3", "date=2031-01-01"],
    );
    let now_s = alpha.moment().now_s;
    let doubts = |now_s| -> Vec<&'static str> {
        let membership = alpha.store.membership();
        let name = odd.id.to_string();
        let doubts = alpha.member.doubts(&*alpha.store, membership, &name, now_s);
        doubts.unwrap().iter().map(|doubt| doubt.code).collect()
    };
    assert_eq!(doubts(now_s), ["date_in_future", "coordinates_swapped"]);
    assert_eq!(
        doubts(0),
        ["coordinates_swapped"],
        "a clock of 1970 knows no future"
    );
}
