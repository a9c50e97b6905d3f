//! Every rule of the pre-flight that takes the ancestors, each shown by a change that breaks it.

mod world;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::transaction::Transactable;
use automerge::{ActorId, Change, ObjType, ROOT, ScalarValue};
use cairn_documents::{History, Place, Rule, preflight};
use cairn_wire::limits;
use world::judge::{
    expanded, insert, judge_edit, key, me, of, op, own, own_element, own_object, put, root_of,
};
use world::{KIND, author, automerge_of, edit, origin, small_root};

#[test]
fn an_edit_counts_on_from_its_dependencies() {
    let root = small_root(&author(1, 1), 1);
    let last = Change::from_bytes(root.bytes.clone()).unwrap().max_op();
    for start in [1, last, last + 2, last + 1000] {
        let ops = vec![op(put(1), ObjectId::Root, key("a"), vec![])];
        let refused = judge_edit(&[&root], expanded(&[root.hash], start, ops));
        assert_eq!(refused.unwrap_err(), Rule::FirstOperation, "{start}");
    }
    let ops = vec![op(put(1), ObjectId::Root, key("a"), vec![])];
    assert!(judge_edit(&[&root], expanded(&[root.hash], last + 1, ops)).is_ok());
}

#[test]
fn operations_name_ancestors_only() {
    let root = small_root(&author(1, 1), 1);
    let last = Change::from_bytes(root.bytes.clone()).unwrap().max_op();
    let aside = edit(&author(1, 2), &[&root], |tx| {
        tx.put(ROOT, "slope", "flat")?;
        tx.put_object(ROOT, "list", ObjType::List).map(|_| ())
    });
    let judge = |operation: Op| {
        let change = expanded(&[root.hash], last + 1, vec![operation]);
        judge_edit(&[&root, &aside], change).map(|_| ())
    };
    // What somebody else did meanwhile is in the document, but no ancestor.
    let predecessor = op(
        put(1),
        ObjectId::Root,
        key("slope"),
        vec![of(&aside, last + 1)],
    );
    assert_eq!(judge(predecessor), Err(Rule::NotAnAncestor));
    let object = insert(put(1), ObjectId::Id(of(&aside, last + 2)), ElementId::Head);
    assert_eq!(judge(object), Err(Rule::NotAnAncestor));
    // Numbers that the change does not have, an actor that nobody has, what comes later.
    let beyond = op(
        put(1),
        ObjectId::Root,
        key("kind"),
        vec![of(&root, last + 1)],
    );
    assert_eq!(judge(beyond), Err(Rule::NotAnAncestor));
    let nobody = OpId(1, ActorId::from([0xee; 16]));
    let stranger = op(put(1), ObjectId::Root, key("kind"), vec![nobody]);
    assert_eq!(judge(stranger), Err(Rule::NotAnAncestor));
    let later = op(put(1), own_object(last + 5), key("a"), vec![]);
    assert_eq!(judge(later), Err(Rule::NotAnAncestor));
    let itself = op(put(1), own_object(last + 1), key("a"), vec![]);
    assert_eq!(judge(itself), Err(Rule::NotAnAncestor));
}

#[test]
fn objects_are_used_as_what_they_are() {
    let make = |kind| op(OpType::Make(kind), ObjectId::Root, key("o"), vec![]);
    let second = |kind, operation: Op| root_of(vec![make(kind), operation]).map(|_| ());
    let in_map = |operation| second(ObjType::Map, operation);
    let in_list = |operation| second(ObjType::List, operation);
    let in_text = |operation| second(ObjType::Text, operation);

    assert_eq!(in_map(op(put(1), own_object(1), key("a"), vec![])), Ok(()));
    assert_eq!(
        in_list(insert(put(1), own_object(1), ElementId::Head)),
        Ok(())
    );
    assert_eq!(
        in_text(insert(put("a"), own_object(1), ElementId::Head)),
        Ok(())
    );

    for kind in [ObjType::List, ObjType::Text] {
        let in_sequence = |operation| second(kind, operation);
        let property = op(put("a"), own_object(1), key("a"), vec![]);
        assert_eq!(in_sequence(property), Err(Rule::ObjectType));
        let head = op(put("a"), own_object(1), Key::Seq(ElementId::Head), vec![]);
        assert_eq!(in_sequence(head), Err(Rule::Element));
        let not_inserted = insert(put("a"), own_object(1), own_element(1));
        assert_eq!(in_sequence(not_inserted), Err(Rule::Element));
    }
    let element = insert(put(1), own_object(1), ElementId::Head);
    assert_eq!(in_map(element), Err(Rule::ObjectType));
    let inserted = Op {
        insert: true,
        ..op(put(1), own_object(1), key("a"), vec![])
    };
    assert_eq!(in_map(inserted), Err(Rule::ObjectType));
    let number = insert(put(1), own_object(1), ElementId::Head);
    assert_eq!(in_text(number), Err(Rule::Value));
    let empty = insert(put(""), own_object(1), ElementId::Head);
    assert_eq!(in_text(empty), Err(Rule::Value));
    let block = insert(OpType::Make(ObjType::Map), own_object(1), ElementId::Head);
    assert_eq!(in_text(block), Err(Rule::ObjectType));

    let scalar = vec![
        op(put(1), ObjectId::Root, key("o"), vec![]),
        op(put(1), own_object(1), key("a"), vec![]),
    ];
    assert_eq!(root_of(scalar).unwrap_err(), Rule::ObjectType);
    // An element of another list.
    let foreign = vec![
        make(ObjType::List),
        op(
            OpType::Make(ObjType::List),
            ObjectId::Root,
            key("p"),
            vec![],
        ),
        insert(put(1), own_object(1), ElementId::Head),
        insert(put(1), own_object(2), own_element(3)),
    ];
    assert_eq!(root_of(foreign).unwrap_err(), Rule::Element);
}

#[test]
fn predecessors_stand_where_the_operation_stands() {
    let first = op(put(1), ObjectId::Root, key("a"), vec![]);
    let second = |operation: Op| root_of(vec![first.clone(), operation]).map(|_| ());
    let at = |name, action, pred| op(action, ObjectId::Root, key(name), pred);
    assert_eq!(second(at("a", put(2), vec![own(1)])), Ok(()));
    assert_eq!(second(at("a", OpType::Delete, vec![own(1)])), Ok(()));
    assert_eq!(
        second(at("b", put(2), vec![own(1)])),
        Err(Rule::Predecessor)
    );
    assert_eq!(
        second(at("a", put(2), vec![own(1), own(1)])),
        Err(Rule::Predecessor)
    );
    assert_eq!(
        second(at("a", OpType::Delete, vec![])),
        Err(Rule::PredecessorCount)
    );
    assert_eq!(
        second(at("a", OpType::Increment(1), vec![])),
        Err(Rule::PredecessorCount)
    );
    assert_eq!(
        second(at("a", OpType::Increment(1), vec![own(1)])),
        Err(Rule::Predecessor)
    );

    let counted = |last: Op| {
        let counter = at("a", put(ScalarValue::counter(1)), vec![]);
        let more = at("a", OpType::Increment(1), vec![own(1)]);
        root_of(vec![counter, more, last]).map(|_| ())
    };
    assert_eq!(counted(at("a", OpType::Increment(1), vec![own(1)])), Ok(()));
    assert_eq!(counted(at("a", put(2), vec![own(1)])), Ok(()));
    // Neither an increment nor a deletion is a value that could be replaced.
    assert_eq!(
        counted(at("a", put(2), vec![own(2)])),
        Err(Rule::Predecessor)
    );
    let deleted = vec![
        first.clone(),
        at("a", OpType::Delete, vec![own(1)]),
        at("a", put(2), vec![own(2)]),
    ];
    assert_eq!(root_of(deleted).unwrap_err(), Rule::Predecessor);

    let list = |last: Op| {
        let made = op(
            OpType::Make(ObjType::List),
            ObjectId::Root,
            key("l"),
            vec![],
        );
        let one = insert(put(1), own_object(1), ElementId::Head);
        let two = insert(put(2), own_object(1), own_element(2));
        root_of(vec![made, one, two, last]).map(|_| ())
    };
    let element = |counter| Key::Seq(own_element(counter));
    let on = |counter, action, pred| op(action, own_object(1), element(counter), pred);
    assert_eq!(list(on(2, put(5), vec![own(2)])), Ok(()));
    assert_eq!(list(on(2, OpType::Delete, vec![own(2)])), Ok(()));
    assert_eq!(list(on(2, put(5), vec![own(3)])), Err(Rule::Predecessor));
    let replacing = Op {
        insert: true,
        ..on(2, put(5), vec![own(2)])
    };
    assert_eq!(list(replacing), Err(Rule::PredecessorCount));
    let deleting = Op {
        insert: true,
        ..on(2, OpType::Delete, vec![own(2)])
    };
    assert_eq!(list(deleting), Err(Rule::Value));
}

#[test]
fn growing_maps_only_grow() {
    let grows = |operations: Vec<Op>| root_of(operations).map(|_| ());
    let map = || {
        op(
            OpType::Make(ObjType::Map),
            ObjectId::Root,
            key("+status"),
            vec![],
        )
    };
    let entry = |name: &str| op(put(vec![1u8]), own_object(1), key(name), vec![]);
    assert_eq!(
        grows(vec![
            map(),
            entry("0"),
            entry("1"),
            entry("1"),
            entry("4294967295")
        ]),
        Ok(())
    );
    for name in [
        "",
        "00",
        "01",
        "+1",
        "-1",
        " 1",
        "1.0",
        "x",
        "4294967296",
        "١",
    ] {
        let refused = grows(vec![map(), entry(name)]);
        let rule = if name.is_empty() {
            Rule::Key
        } else {
            Rule::GrowingMap
        };
        assert_eq!(refused, Err(rule), "{name:?}");
    }
    for kind in [ObjType::List, ObjType::Text] {
        let other = op(OpType::Make(kind), ObjectId::Root, key("+status"), vec![]);
        assert_eq!(grows(vec![other]), Err(Rule::GrowingKey));
    }
    let scalar = op(put(vec![1u8]), ObjectId::Root, key("+status"), vec![]);
    assert_eq!(grows(vec![scalar]), Err(Rule::GrowingKey));
    let again = Op {
        pred: vec![own(1)].into(),
        ..map()
    };
    assert_eq!(grows(vec![map(), again]), Err(Rule::GrowingKey));
    let gone = op(OpType::Delete, ObjectId::Root, key("+status"), vec![own(1)]);
    assert_eq!(grows(vec![map(), gone]), Err(Rule::GrowingKey));
    let text = op(put("open"), own_object(1), key("0"), vec![]);
    assert_eq!(grows(vec![map(), text]), Err(Rule::GrowingMap));
    let nested = op(OpType::Make(ObjType::Map), own_object(1), key("0"), vec![]);
    assert_eq!(grows(vec![map(), nested]), Err(Rule::GrowingMap));
    let replaced = op(put(vec![2u8]), own_object(1), key("0"), vec![own(2)]);
    assert_eq!(
        grows(vec![map(), entry("0"), replaced]),
        Err(Rule::GrowingMap)
    );
    let deleted = op(OpType::Delete, own_object(1), key("0"), vec![own(2)]);
    assert_eq!(
        grows(vec![map(), entry("0"), deleted]),
        Err(Rule::GrowingMap)
    );
    // Two maps under one key, made side by side, are both there.
    assert_eq!(grows(vec![map(), map(), entry("0")]), Ok(()));
    // The sign means nothing further inside.
    let inner = vec![
        op(
            OpType::Make(ObjType::Map),
            ObjectId::Root,
            key("plain"),
            vec![],
        ),
        op(put("x"), own_object(1), key("+a"), vec![]),
    ];
    assert_eq!(grows(inner), Ok(()));
}

#[test]
fn another_authors_growing_map_grows_only_too() {
    let root = small_root(&author(1, 1), 1);
    let parsed = Change::from_bytes(root.bytes.clone()).unwrap();
    let operations = parsed.decode().operations;
    let last = parsed.max_op();
    let made = operations
        .iter()
        .position(|op| op.key == key("+status"))
        .unwrap() as u64
        + 1;
    let status = ObjectId::Id(of(&root, made));
    let judge = |operation: Op| {
        judge_edit(&[&root], expanded(&[root.hash], last + 1, vec![operation])).map(|_| ())
    };
    assert_eq!(
        judge(op(put(vec![2u8]), status.clone(), key("1"), vec![])),
        Ok(())
    );
    let asserted = of(&root, made + 1);
    let erased = op(
        OpType::Delete,
        status.clone(),
        key("0"),
        vec![asserted.clone()],
    );
    assert_eq!(judge(erased), Err(Rule::GrowingMap));
    let replaced = op(put(vec![2u8]), status, key("0"), vec![asserted]);
    assert_eq!(judge(replaced), Err(Rule::GrowingMap));
    let over = op(
        OpType::Make(ObjType::Map),
        ObjectId::Root,
        key("+status"),
        vec![of(&root, made)],
    );
    assert_eq!(judge(over), Err(Rule::GrowingKey));
}

#[test]
fn objects_nest_only_so_deep() {
    let nest = |depth: u64| {
        let operations = (1..=depth)
            .map(|level| {
                let outer = if level == 1 {
                    ObjectId::Root
                } else {
                    own_object(level - 1)
                };
                op(OpType::Make(ObjType::Map), outer, key("a"), vec![])
            })
            .collect();
        root_of(operations).map(|checked| checked.operations() as u64)
    };
    let max = u64::from(limits::OBJECT_DEPTH_MAX);
    assert_eq!(nest(max), Ok(max));
    assert_eq!(nest(max + 1), Err(Rule::Depth));
    assert_eq!(nest(10_000), Err(Rule::Depth));
}

#[test]
fn a_document_has_one_root() {
    let root = small_root(&author(1, 1), 1);
    let history = History::of(&automerge_of([&root])).unwrap();
    let by = me();
    let second = small_root(&by, 2);
    let origin = origin(&by, second.document, Place::Root(KIND));
    let refused = preflight::check(&second.bytes, &origin, &history);
    assert_eq!(refused.unwrap_err(), Rule::SecondRoot);
}
