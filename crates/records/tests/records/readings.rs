//! The golden readings of `proto/vectors/readings.json`: changes in, readings out, by the rules of
//! `proto/readings.md`. Written anew with `CAIRN_BLESS=1`, which only a new version may ask for.

use crate::programme::*;
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ROOT};
use cairn_records::decide::{settlement, withdrawal};
use cairn_records::suggestion::suggest;
use cairn_records::{ChangeFacts, Choice, Edit, Record, Value, input, read, schema};
use cairn_wire::ids::{ChangeHash, DeviceKey};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../proto/vectors/readings.json"
);

/// One case: the rule that it shows, and the document that shows it.
type Case = (&'static str, Automerge);

fn session(text: &str) -> Edit {
    set_of("eore_session", text)
}

fn figures(programme: &Programme) -> Vec<Case> {
    let kind = schema::kind("eore_session").unwrap();
    let root = programme.create_of(kind, team("T1"), &[session("age_bands=split_18")]);
    let women = "reached/female/18_plus";
    let a = programme.edit(
        &root,
        team("T2"),
        &[
            session("reached/female/18_plus=34"),
            session("reached/male/18_plus=12"),
        ],
    );
    let b = programme.edit(
        &root,
        team("T3"),
        &[
            session("reached/female/18_plus=43"),
            session("reached/male/18_plus=12"),
        ],
    );
    let both = merged(&[&a, &b]);
    let decided = programme.decide(&both, team("T2"), women, Choice::Value(Value::Int(43)));
    let emptied = programme.edit(&a, team("T2"), &[session("reached/female/18_plus=")]);
    let asked = suggest(kind, "reached/female/18_plus=40", Some("I was there")).unwrap();
    let suggested = programme.edit(&a, team("Other"), &[asked]);
    let seen = programme.read(&suggested);
    let edits = settlement(&seen, "suggestions", &Choice::Letter("A".into()), "counted").unwrap();
    let taken = programme.edit(&suggested, centre(), &edits);
    vec![
        (
            "reg: two values, neither known to the other; equal ones agree",
            both,
        ),
        ("reg: a decision, with its note", decided),
        ("reg: emptied reads as if nobody had said anything", emptied),
        ("log: a suggestion waits", suggested),
        ("log: a suggestion that was taken", taken),
    ]
}

fn safety(programme: &Programme) -> Vec<Case> {
    let root = programme.create(
        team("T1"),
        &[
            set("hazard_class=suspected"),
            set("status=open"),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let closing = programme.edit(&root, team("T2"), &[set("status=closed")]);
    let suspended = programme.edit(&root, team("T3"), &[set("status=suspended")]);
    let evidence = programme.edit(&root, team("T3"), &[add("direct_evidence=detonation")]);
    let closed = Choice::Value(Value::from("closed"));
    let by = |who: ChangeFacts| programme.decide(&closing, who, "status", closed.clone());
    let tick = programme.edit(
        &root,
        team("T2"),
        &[add("eo_categories=uxo"), add("blockages=road")],
    );
    let taken_out = [remove("eo_categories=uxo"), remove("blockages=road")];
    let unticked = programme.edit(&tick, team("T2"), &taken_out);
    let lost = programme.edit(&root, revoked(), &[set("hazard_class=indication")]);
    vec![
        (
            "haz: silence reads as the most dangerous",
            programme.create(team("T1"), &[]),
        ),
        ("haz: a safer value is a proposal", closing.clone()),
        ("haz: conflict", merged(&[&closing, &suspended])),
        (
            "haz: evidence stands as open",
            merged(&[&closing, &evidence]),
        ),
        ("haz: a decision by who may decide", by(centre())),
        (
            "haz: a decision by who may not is a proposal",
            by(team("T2")),
        ),
        (
            "haz: a decision by who is not verified is a proposal",
            by(revoked()),
        ),
        (
            "haz: evidence that the decision did not name",
            merged(&[&by(centre()), &evidence]),
        ),
        ("haz: who is not verified makes nothing safer", lost),
        ("set: what concerns safety goes by decision only", unticked),
        (
            "haz: a code that this version does not know",
            unknown_code(programme),
        ),
    ]
}

/// As a newer version, or somebody hostile, writes it.
fn raw(
    programme: &Programme,
    of: &Automerge,
    write: impl FnOnce(&mut automerge::transaction::Transaction<'_>),
) -> Automerge {
    let mut edited = of.clone().with_actor(programme.actor());
    let mut transaction = edited.transaction();
    write(&mut transaction);
    let (hash, _) = transaction.commit();
    programme.know(hash, team("T9"));
    edited
}

fn unknown_code(programme: &Programme) -> Automerge {
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    raw(programme, &root, |transaction| {
        let map = transaction
            .put_object(ROOT, "+hazard_class", automerge::ObjType::Map)
            .unwrap();
        // {0: "probable"}
        let mut bytes = vec![0xa1, 0x00, 0x68];
        bytes.extend_from_slice(b"probable");
        transaction.put(map, "0", bytes).unwrap();
    })
}

fn land(programme: &Programme) -> Vec<Case> {
    let circle = programme.create(team("T1"), &[set("perimeter=44.0005, 18.0005")]);
    let around = programme.edit(&circle, team("T2"), &[ring(0, 0, 20_000, 20_000)]);
    let unverified = programme.edit(&circle, revoked(), &[ring(0, 0, 20_000, 20_000)]);
    let drawn = programme.create(team("T1"), &[ring(0, 0, 20_000, 20_000)]);
    let less = programme.edit(&drawn, team("T2"), &[ring(0, 0, 10_000, 10_000)]);
    let more = programme.edit(&drawn, team("T2"), &[ring(0, 0, 30_000, 30_000)]);
    let east = programme.edit(&drawn, team("T3"), &[ring(5_000, 0, 30_000, 20_000)]);
    let north = programme.edit(&drawn, team("T4"), &[ring(0, 5_000, 20_000, 30_000)]);
    let both = merged(&[&east, &north]);
    let decided = programme.decide(
        &both,
        centre(),
        "perimeter",
        Choice::Change(last_change(&east)),
    );
    vec![
        ("perimeter: a circle where nobody drew", circle),
        (
            "perimeter: a ring round the circle's centre stands for it",
            around,
        ),
        ("perimeter: not if its author is not verified", unverified),
        ("perimeter: a smaller ring is a proposal", less),
        ("perimeter: a larger ring counts at once", more),
        ("perimeter: two rings read as their union", both),
        ("perimeter: a decision", decided),
    ]
}

fn texts(programme: &Programme) -> Vec<Case> {
    let root = programme.create(team("T1"), &[text("description", "The path is open.")]);
    let edit = |words: &str| programme.edit(&root, team("T2"), &[text("description", words)]);
    let arabic = edit("The path is open. الطريق ملغوم.");
    let tamil = edit("பாதை. The path is open.");
    let clash = merged(&[&edit("The path is mined."), &edit("The path is safe.")]);
    let settled = programme.decide(
        &clash,
        team("T1"),
        "description",
        Choice::Letter("A".into()),
    );
    let bare = programme.create(team("T1"), &[]);
    let apart = |words: &str| programme.edit(&bare, team("T3"), &[text("description", words)]);
    vec![
        ("text: insertions merge", merged(&[&arabic, &tamil])),
        ("text: overlapping replacements show both", clash),
        ("text: settled by who saw both", settled),
        (
            "text: made apart, both stand",
            merged(&[&apart("One."), &apart("Two.")]),
        ),
    ]
}

fn whole_records(programme: &Programme) -> Vec<Case> {
    let root = programme.create(team("T1"), &[set("slope=flat"), ring(0, 0, 9_000, 9_000)]);
    let seen = programme.read(&root);
    let withdrawn = programme.edit(&root, centre(), &[withdrawal(&seen, "told twice", true)]);
    let proposed = programme.edit(&root, team("T2"), &[withdrawal(&seen, "told twice", false)]);
    let find = programme.edit(&root, team("T5"), &[add("direct_evidence=detonation")]);
    let step = format!(
        r#"workflow={{"step":"approved","by":"N. N.","heads":"{}"}}"#,
        last_change(&root)
    );
    let approved = programme.edit(&root, centre(), &[add(&step)]);
    let since = programme.edit(&root, team("T2"), &[set("slope=steep")]);
    let old_clock = ChangeFacts {
        recorded_at_s: Some(0),
        ..team("T2")
    };
    let late = programme.edit(&root, old_clock, &[set("slope=gentle")]);
    let kind = schema::kind("accident").unwrap();
    let accident = programme.create_of(
        kind,
        team("T1"),
        &[set_of("accident", "record_type=accident")],
    );
    let tampered = raw(programme, &accident, |transaction| {
        transaction.put(ROOT, "record_type", "incident").unwrap();
        transaction.put(ROOT, "weather", "rain").unwrap();
    });
    let link = "duplicates_of=09090909090909090909090909090909";
    let linked = programme.edit(&accident, team("T2"), &[input::add(kind, link).unwrap()]);
    vec![
        ("void: by decision", withdrawn.clone()),
        ("void: without the right it is a proposal", proposed),
        (
            "void: somebody who did not know added a find",
            merged(&[&withdrawn, &find]),
        ),
        ("workflow: approved as it stands", approved.clone()),
        (
            "workflow: approved, changed since",
            merged(&[&approved, &since]),
        ),
        ("clocks decide nothing", merged(&[&since, &late])),
        (
            "once: reads from the first change; a field of a newer version is shown",
            tampered,
        ),
        ("set of references", linked),
    ]
}

fn cases(programme: &Programme) -> Vec<Case> {
    let groups = [figures, safety, land, texts, whole_records];
    groups
        .into_iter()
        .flat_map(|group| group(programme))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn described(change: &Change, facts: &ChangeFacts) -> Json {
    json!({
        "bytes": hex(change.raw_bytes()),
        "author": facts.author,
        "device": facts.device.to_string(),
        "verified": facts.verified,
        "may_decide": facts.may_decide,
        "recorded_at_s": facts.recorded_at_s,
    })
}

/// Everything that a record says, but for what names its place.
fn expected(record: &Record) -> Json {
    let mut json = record.to_json("", "");
    let parts = json.as_object_mut().unwrap();
    for name in ["schema", "id", "scope"] {
        parts.remove(name);
    }
    json
}

fn made() -> Vec<Json> {
    let programme = Programme::default();
    cases(&programme)
        .into_iter()
        .map(|(shows, document)| {
            let changes = document.get_changes(&[]);
            let changes: Vec<Json> = changes
                .iter()
                .map(|change| described(change, &programme.facts_of(change)))
                .collect();
            json!({
                "shows": shows,
                "changes": changes,
                "reads": expected(&programme.read(&document)),
            })
        })
        .collect()
}

fn facts_in(change: &Json) -> ChangeFacts {
    ChangeFacts {
        author: change["author"].as_str().unwrap().to_owned(),
        device: DeviceKey(
            bytes_of(change["device"].as_str().unwrap())
                .try_into()
                .unwrap(),
        ),
        verified: change["verified"].as_bool().unwrap(),
        may_decide: change["may_decide"].as_bool().unwrap(),
        recorded_at_s: change["recorded_at_s"].as_i64(),
    }
}

/// Reads the changes of a case in an order; automerge holds back what comes before its parents.
fn reading(case: &Json, backwards: bool) -> Json {
    let mut changes = Vec::new();
    let mut facts = BTreeMap::new();
    for change in case["changes"].as_array().unwrap() {
        let parsed = Change::from_bytes(bytes_of(change["bytes"].as_str().unwrap())).unwrap();
        facts.insert(ChangeHash(parsed.hash().0), facts_in(change));
        changes.push(parsed);
    }
    if backwards {
        changes.reverse();
    }
    let mut document = Automerge::new();
    for change in changes {
        document.apply_changes([change]).unwrap();
    }
    let of = |change: &ChangeHash| facts[change].clone();
    expected(&read(&document, &of).unwrap())
}

#[test]
fn changes_read_as_the_golden_file_says() {
    if std::env::var_os("CAIRN_BLESS").is_some() {
        let cases: Vec<String> = made().iter().map(Json::to_string).collect();
        let text = format!("{{\"cases\": [\n{}\n]}}\n", cases.join(",\n"));
        std::fs::write(PATH, text).unwrap();
    }
    let golden: Json = serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 30);
    // The builders above still make what the file holds, so that it can be written anew.
    for (made, golden) in made().iter().zip(cases) {
        assert_eq!(made["shows"], golden["shows"]);
        assert_eq!(made["reads"], golden["reads"], "{}", made["shows"]);
    }
    for case in cases {
        for backwards in [false, true] {
            let shows = case["shows"].as_str().unwrap();
            let (read, golden) = (reading(case, backwards), &case["reads"]);
            let parts: Map<String, Json> = read.as_object().unwrap().clone();
            for (name, part) in &parts {
                assert_eq!(part, &golden[name], "{shows}: {name}");
            }
            assert_eq!(&read, golden, "{shows}");
        }
    }
}
