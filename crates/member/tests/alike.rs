//! What is probably recorded twice is kept while pages are written; held against what is found when
//! all lines are compared with each other, after every step and in tables that were made anew.

mod programme;

use cairn_keys::{Access, Role};
use cairn_member::{Filter, Line};
use cairn_records::schema::{self, Kind};
use cairn_records::{Duplicates, Edit, Envelope, decide, input};
use programme::{Programme, Replica, SCOPE, exchange};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;

/// What somebody does, to the record of that number among those that there are.
#[derive(Debug, Clone)]
enum Step {
    /// A new record of that kind, with that number, at that place on that day.
    New(u8, u8, u8),
    Number(usize, u8),
    Place(usize, u8),
    Day(usize, u8),
    Link(usize, usize),
    Unlink(usize, usize),
    Withdraw(usize),
    Reinstate(usize),
    /// Teams hand over what they have.
    Exchange,
}

fn step() -> impl Strategy<Value = Step> {
    let record = 0..64usize;
    prop_oneof![
        5 => (0..3u8, 0..6u8, 0..6u8).prop_map(|(kind, number, place)| Step::New(kind, number, place)),
        2 => (record.clone(), 0..6u8).prop_map(|(record, number)| Step::Number(record, number)),
        2 => (record.clone(), 0..6u8).prop_map(|(record, place)| Step::Place(record, place)),
        1 => (record.clone(), 0..3u8).prop_map(|(record, day)| Step::Day(record, day)),
        3 => (record.clone(), record.clone()).prop_map(|(record, other)| Step::Link(record, other)),
        1 => (record.clone(), record.clone()).prop_map(|(record, other)| Step::Unlink(record, other)),
        2 => record.clone().prop_map(Step::Withdraw),
        1 => record.prop_map(Step::Reinstate),
        1 => Just(Step::Exchange),
    ]
}

const KINDS: [&str; 3] = ["hazardous_area", "accident", "survey_visit"];

fn said(kind: &Kind, text: &str) -> Option<Edit> {
    input::set(kind, text).ok()
}

/// Two places lie within 500 m of each other where their numbers are neighbours.
fn place(number: u8) -> String {
    format!("position={:.4}, 18.1", 44.1 + 0.004 * f64::from(number))
}

fn lines(replica: &Replica) -> Vec<Line> {
    let mut lines = Vec::new();
    replica
        .member
        .each_line(&*replica.store, None, &mut |line| {
            lines.push(line);
            Ok(true)
        })
        .unwrap();
    lines.sort_by_key(|line| line.id);
    lines
}

fn edits(replica: &Replica, step: &Step) -> Option<(Line, Vec<Edit>)> {
    let lines = lines(replica);
    let at = |index: usize| lines.get(index % lines.len().max(1));
    let of = |index: usize, text: &dyn Fn(&Kind) -> Option<Edit>| {
        let line = at(index)?;
        let kind = schema::kind(&line.summary.kind)?;
        Some((line.clone(), vec![text(kind)?]))
    };
    match step {
        Step::Number(record, number) => {
            of(*record, &|kind| said(kind, &format!("local_id=N-{number}")))
        }
        Step::Place(record, number) => of(*record, &|kind| said(kind, &place(*number))),
        Step::Day(record, day) => of(*record, &|kind| said(kind, &format!("date=2026-11-2{day}"))),
        Step::Link(record, other) => {
            let other = at(*other)?.id;
            of(*record, &|kind| {
                input::add(kind, &format!("duplicates_of={other}")).ok()
            })
        }
        Step::Unlink(record, other) => {
            let other = at(*other)?.id;
            of(*record, &|kind| {
                input::remove(kind, &format!("duplicates_of={other}"), None).ok()
            })
        }
        Step::Withdraw(record) => {
            let line = at(*record)?;
            let opened = replica
                .member
                .show(
                    &*replica.store,
                    replica.store.membership(),
                    &line.id.to_string(),
                    None,
                )
                .unwrap();
            let void = decide::withdrawal(&opened.record, "told twice", true);
            Some((line.clone(), vec![void]))
        }
        Step::Reinstate(record) => of(*record, &|kind| said(kind, "void=in_force")),
        Step::New(..) | Step::Exchange => None,
    }
}

fn take(replica: &mut Replica, other: &mut Replica, step: &Step) {
    match step {
        Step::Exchange => exchange(replica, other),
        Step::New(kind, number, at) => {
            let kind = schema::kind(KINDS[usize::from(*kind)]).unwrap();
            let texts = [
                format!("local_id=N-{number}"),
                place(*at),
                "date=2026-11-20".to_owned(),
            ];
            let edits: Vec<Edit> = texts.iter().filter_map(|text| said(kind, text)).collect();
            let moment = replica.moment();
            replica
                .member
                .new_record(
                    &mut *replica.store,
                    &moment,
                    SCOPE,
                    kind,
                    &Envelope::default(),
                    &edits,
                )
                .unwrap();
        }
        _ => {
            if let Some((line, edits)) = edits(replica, step) {
                let moment = replica.moment();
                let name = line.id.to_string();
                // The same again is no change, and refused as such.
                let _ = replica
                    .member
                    .edit(&mut *replica.store, &moment, &name, None, &edits);
            }
        }
    }
}

/// What is kept is what a look at all lines finds. Answers what that is.
fn assert_kept_is_true(replica: &Replica) -> Duplicates {
    let (member, store) = (&replica.member, &*replica.store);
    let lines = lines(replica);
    let found = cairn_records::duplicates(lines.iter().map(|line| (line.id, &line.summary)));
    assert_eq!(member.duplicates(store).unwrap(), found);
    for line in &lines {
        let of_it = member.duplicates_of(store, &line.scope, &line.id).unwrap();
        assert_eq!(of_it, found.get(&line.id).cloned().unwrap_or_default());
    }
    let status = replica.status();
    assert_eq!(status.duplicates, found.len() as u64);
    assert_eq!(status.documents, lines.len() as u64);
    let listed = member
        .list(store, store.membership(), &Filter::default())
        .unwrap();
    for one in listed {
        let others = found.get(&one.line.id).cloned().unwrap_or_default();
        assert_eq!(one.duplicates, others);
    }
    found
}

#[test]
fn what_is_kept_is_what_comparing_everything_finds() {
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let seen = Cell::new(0);
    let stories = prop::collection::vec((any::<bool>(), step()), 1..40);
    runner
        .run(&stories, |story| {
            let mut programme = Programme::found();
            let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Decide);
            let mut bravo = programme.member("T5 Bravo", Role::Device, Access::Decide);
            programme.tell(&mut alpha);
            for (first, step) in &story {
                match first {
                    true => take(&mut alpha, &mut bravo, step),
                    false => take(&mut bravo, &mut alpha, step),
                }
                assert_kept_is_true(&alpha);
                assert_kept_is_true(&bravo);
            }
            exchange(&mut alpha, &mut bravo);
            let found = assert_kept_is_true(&alpha);
            assert_eq!(assert_kept_is_true(&bravo), found);
            let mut again = programme.open(alpha.member.clone(), alpha.disk.clone());
            again.catch_up();
            assert_eq!(assert_kept_is_true(&again), found);
            seen.set(seen.get() + found.len());
            Ok(())
        })
        .unwrap();
    assert!(seen.get() > 0, "no story had a duplicate");
}
