//! The same changes read the same, in whatever order they came.

use crate::programme::*;
use automerge::Automerge;
use cairn_records::geometry::Position;
use cairn_records::schema::Class;
use cairn_records::{Choice, Edit, Flag, Record, Value};
use proptest::prelude::*;

fn any_edit() -> impl Strategy<Value = Edit> {
    let side = || 0i64..40_000;
    prop_oneof![
        prop::sample::select(vec!["confirmed", "suspected", "indication"])
            .prop_map(|code| set(&format!("hazard_class={code}"))),
        prop::sample::select(vec!["open", "suspended", "closed", "handed_over"])
            .prop_map(|code| set(&format!("status={code}"))),
        (side(), side(), 100i64..20_000, 100i64..20_000).prop_map(|(x, y, width, height)| ring(
            x,
            y,
            x + width,
            y + height
        )),
        (1i64..9).prop_map(|number| set(&format!("perimeter=44.000{number}, 18.0"))),
        prop::sample::select(vec!["ap_mine", "uxo", "ied"])
            .prop_map(|code| add(&format!("eo_categories={code}"))),
        Just(add("direct_evidence=detonation")),
        prop::sample::select(vec!["one", "two", "three and four"])
            .prop_map(|words| text("description", words)),
        (0i64..50).prop_map(|number| set(&format!("expected_beneficiaries/male/adult={number}"))),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Edit(Edit),
    Remove,
    Decide(&'static str, bool),
    Merge,
}

fn any_step() -> impl Strategy<Value = (usize, usize, Step)> {
    let step = prop_oneof![
        6 => any_edit().prop_map(Step::Edit),
        1 => Just(Step::Remove),
        2 => (prop::sample::select(vec!["perimeter", "status", "hazard_class", "description", "expected_beneficiaries/male/adult"]), any::<bool>())
            .prop_map(|(field, last)| Step::Decide(field, last)),
        3 => Just(Step::Merge),
    ];
    (0usize..4, 0usize..4, step)
}

fn applied(
    programme: &Programme,
    document: &Automerge,
    who: usize,
    step: &Step,
) -> Option<Automerge> {
    let who = [team("T1"), centre(), revoked(), team("T4")][who].clone();
    let seen = programme.read(document);
    let edit = match step {
        Step::Edit(edit) => edit.clone(),
        Step::Remove => {
            let ticked = seen.fields.get("eo_categories")?.values.first()?;
            Edit::Remove {
                field: "eo_categories".into(),
                value: ticked.value.clone(),
                reason: None,
            }
        }
        Step::Decide(field, last) => {
            let values = &seen.fields.get(*field)?.values;
            let shown = if *last {
                values.last()?
            } else {
                values.first()?
            };
            cairn_records::decision(&seen, field, &Choice::Letter(shown.letter.clone()), "x")
                .ok()?
        }
        Step::Merge => return None,
    };
    let refused = matches!(&edit, Edit::Set { field, .. } if seen.fields.get(field).is_some_and(|f| f.conflict && f.class == Class::Reg));
    if refused || programme.writes_nothing(document, edit.clone()) {
        return None;
    }
    Some(programme.edit(document, who, &[edit]))
}

const CENTRE: usize = 1;
const REVOKED: usize = 2;

/// What somebody without the right to decide writes makes nothing read safer.
fn never_safer(before: &Record, after: &Record, unverified: bool) -> Result<(), TestCaseError> {
    for (field, reading) in &before.fields {
        let Some(list) = area().field(field).and_then(|field| field.codes()) else {
            continue;
        };
        if reading.class != Class::Haz {
            continue;
        }
        let danger = |record: &Record| list.danger(record.reads(field).as_text());
        prop_assert!(danger(after) >= danger(before), "{field}");
    }
    for code in ["ap_mine", "uxo", "ied"] {
        let code = Value::from(code);
        let ticked = |record: &Record| record.stands("eo_categories", &code);
        prop_assert!(!ticked(before) || ticked(after));
    }
    // A circle may give way to a ring, if its author is verified.
    let circle = before.flags.contains(&Flag::ExtentNotSurveyed);
    if let (Some(land), true) = (before.region(), unverified || !circle) {
        let Some(now) = after.region() else {
            return Err(TestCaseError::fail("the land is gone"));
        };
        let bounds = land.bounds().unwrap();
        let (height, width) = bounds.extent_e7();
        for step in 0..400 {
            let at = |lat: i64, lon: i64| {
                let corner = bounds.south_west;
                Position::new(
                    i64::from(corner.lat_e7) + lat,
                    i64::from(corner.lon_e7) + lon,
                )
                .unwrap()
            };
            let (lat, lon) = (height * (step % 20) / 19, width * (step / 20) / 19);
            let well_inside = [(0, 0), (3, 3), (-3, 3), (3, -3), (-3, -3)]
                .iter()
                .all(|(y, x)| land.contains_position(at(lat + y, lon + x)));
            prop_assert!(!well_inside || now.contains_position(at(lat, lon)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn readings_know_no_order_and_nothing_reads_safer_unasked(steps in proptest::collection::vec(any_step(), 1..24), seed in any::<u64>()) {
        let programme = Programme::default();
        let root = programme.create(team("T1"), &[set("slope=flat"), ring(0, 0, 20_000, 20_000)]);
        let mut devices = [root.clone(), root.clone(), root.clone(), root];
        for (device, other, step) in &steps {
            if matches!(step, Step::Merge) {
                devices[*device] = merged(&[&devices[*device], &devices[*other]]);
            } else if let Some(edited) = applied(&programme, &devices[*device], *device, step) {
                if *device != CENTRE {
                    let (before, after) = (programme.read(&devices[*device]), programme.read(&edited));
                    never_safer(&before, &after, *device == REVOKED)?;
                }
                devices[*device] = edited;
            }
        }
        let forward = merged(&[&devices[0], &devices[1], &devices[2], &devices[3]]);
        let expected = programme.read(&forward);
        let backward = merged(&[&devices[3], &devices[2], &devices[1], &devices[0]]);
        prop_assert_eq!(&programme.read(&backward), &expected);
        // Any order in which parents come first, one by one.
        let mut waiting = forward.get_changes(&[]);
        let mut one_by_one = Automerge::new();
        let mut state = seed;
        while !waiting.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|index| waiting[*index].deps().iter().all(|dep| {
                    use automerge::ReadDoc;
                    one_by_one.get_change_by_hash(dep).is_some()
                }))
                .collect();
            let next = waiting.remove(ready[(state >> 33) as usize % ready.len()]);
            one_by_one.apply_changes([next]).unwrap();
        }
        prop_assert_eq!(&programme.read(&one_by_one), &expected);
        let reloaded = Automerge::load(&forward.save()).unwrap();
        prop_assert_eq!(&programme.read(&reloaded), &expected);
        prop_assert_eq!(cairn_records::history(&one_by_one, &programme), cairn_records::history(&forward, &programme));
    }
}

proptest! {
    /// Bytes that passed the pre-flight may still say anything.
    #[test]
    fn hostile_assertions_make_nothing_safer(
        field in prop::sample::select(vec!["perimeter", "status", "eo_categories", "direct_evidence", "void"]),
        pattern in 0usize..4,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..48),
        cut in any::<bool>(),
    ) {
        use automerge::transaction::Transactable;
        use automerge::{ObjType, ROOT, ReadDoc, ScalarValue};
        use cairn_records::layout::Assertion;
        let programme = Programme::default();
        let root = programme.create(
            team("T1"),
            &[set("status=open"), add("eo_categories=uxo"), ring(0, 0, 20_000, 20_000)],
        );
        let first = programme.read(&root).root;
        let small = ring(0, 0, 1_000, 1_000);
        let Edit::Set { value: small, .. } = small else { unreachable!() };
        let mut bytes = match pattern {
            0 => noise,
            1 => Assertion { decision: true, considered: vec![first], ..Assertion::of(&small) }.to_bytes(),
            2 => Assertion { reason: Some("x".into()), ..Assertion::of(&Value::from("closed")) }.to_bytes(),
            _ => Assertion { decision: true, withdraws: vec![(first, "0".into())], ..Assertion::default() }.to_bytes(),
        };
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
        }
        let mut document = root.clone().with_actor(automerge::ActorId::from([9; 16]));
        let mut transaction = document.transaction();
        let key = format!("+{field}");
        let map = match transaction.get(ROOT, key.as_str()).unwrap() {
            Some((_, map)) => map,
            None => transaction.put_object(ROOT, key.as_str(), ObjType::Map).unwrap(),
        };
        transaction.put(&map, "7", ScalarValue::Bytes(bytes)).unwrap();
        transaction.commit();
        let facts = |_: &cairn_wire::ids::ChangeHash| team("T2");
        let (before, after) = (
            cairn_records::read(&root, &facts).unwrap(),
            cairn_records::read(&document, &facts).unwrap(),
        );
        never_safer(&before, &after, true)?;
        let _ = after.to_json("id", "scope").to_string();
        let _ = after.open_questions("id");
        let _ = cairn_records::history(&document, &facts);
        let _ = cairn_records::summary(&after);
    }
}
