//! Every rule of the pre-flight that bytes alone break, each shown by a change that breaks it,
//! checksum and actor in order.

mod world;

use automerge::legacy::{ElementId, MarkData, ObjectId, OpType};
use automerge::transaction::Transactable;
use automerge::{ActorId, Change, ObjType, ROOT, ScalarValue};
use cairn_documents::{ChangeParts, History, Place, Rule, TIME_S_MAX, preflight};
use cairn_wire::{ChangeHash, limits};
use world::judge::{
    expanded, insert, judge_edit, judge_parts, judge_root, key, me, op, own_object, put, root_of,
};
use world::{KIND, author, automerge_of, edit, origin, small_root};

/// What stands behind the actor, by hand.
#[derive(Clone)]
struct Raw {
    sequence: u64,
    start: u64,
    time: i64,
    message: Vec<u8>,
    others: Vec<Vec<u8>>,
    columns: Vec<(u64, Vec<u8>)>,
    behind: Vec<u8>,
}

impl Raw {
    /// One put of a null under "a".
    fn put() -> Self {
        Self::puts(1)
    }

    /// A claim of so many puts of null under "a".
    fn puts(count: i64) -> Self {
        let run = |value: u8| {
            let mut bytes = Vec::new();
            if count == 1 {
                bytes.push(0x7f);
            } else {
                leb_signed(&mut bytes, count);
            }
            bytes.push(value);
            bytes
        };
        let mut keys = run(1);
        keys.push(b'a');
        let mut inserts = Vec::new();
        leb(&mut inserts, count as u64);
        Self {
            sequence: 1,
            start: 1,
            time: 0,
            message: Vec::new(),
            others: Vec::new(),
            columns: vec![
                (0x15, keys),
                (0x34, inserts),
                (0x42, run(1)),
                (0x56, run(0)),
                (0x70, run(0)),
            ],
            behind: Vec::new(),
        }
    }

    fn column(mut self, spec: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(known, _)| *known != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort_by_key(|(spec, _)| spec & !8);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        leb(&mut out, self.sequence);
        leb(&mut out, self.start);
        leb_signed(&mut out, self.time);
        leb(&mut out, self.message.len() as u64);
        out.extend(&self.message);
        leb(&mut out, self.others.len() as u64);
        for actor in &self.others {
            leb(&mut out, actor.len() as u64);
            out.extend(actor);
        }
        leb(&mut out, self.columns.len() as u64);
        for (spec, bytes) in &self.columns {
            leb(&mut out, *spec);
            leb(&mut out, bytes.len() as u64);
        }
        for (_, bytes) in &self.columns {
            out.extend(bytes);
        }
        out.extend(&self.behind);
        out
    }

    fn judge(&self) -> Result<usize, Rule> {
        judge_root(&self.bytes()).map(|checked| checked.operations())
    }
}

fn leb(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn leb_signed(out: &mut Vec<u8>, mut value: i64) {
    while !(-64..64).contains(&value) {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8 & 0x7f);
}

#[test]
fn the_change_by_hand_is_the_one_automerge_writes() {
    assert_eq!(Raw::put().judge(), Ok(1));
    let ops = vec![op(put(ScalarValue::Null), ObjectId::Root, key("a"), vec![])];
    let written = Change::from(expanded(&[], 1, ops));
    let parts = ChangeParts::of(written.raw_bytes()).unwrap();
    assert_eq!(parts.after(), Raw::put().bytes());
}

#[test]
fn ten_million_operations_in_69_bytes() {
    let bomb = Raw::puts(10_000_000);
    assert!(bomb.bytes().len() < 69);
    assert_eq!(bomb.judge(), Err(Rule::TooManyOperations));
    assert_eq!(Raw::puts(i64::MAX).judge(), Err(Rule::TooManyOperations));
    let at_most = limits::CHANGE_OPERATIONS_MAX as i64;
    assert_eq!(Raw::puts(at_most).judge(), Ok(at_most as usize));
    assert_eq!(Raw::puts(at_most + 1).judge(), Err(Rule::TooManyOperations));
    // One column alone claims them.
    for spec in [0x01, 0x02, 0x11, 0x13, 0x15, 0x42, 0x56, 0x70, 0x71, 0x73] {
        for run in [
            &[0x80, 0xad, 0xe2, 0x04, 1, 97][..],
            &[0, 0x80, 0xad, 0xe2, 0x04],
        ] {
            let refused = Raw::put().column(spec, run).judge();
            assert_eq!(refused, Err(Rule::TooManyOperations), "column {spec:#x}");
        }
    }
    let inserts = Raw::put().column(0x34, &[0x80, 0xad, 0xe2, 0x04]);
    assert_eq!(inserts.judge(), Err(Rule::TooManyOperations));
}

#[test]
fn predecessors_that_outnumber_the_limit() {
    // One put that claims millions of predecessors.
    let mut count = vec![0x7f];
    leb(&mut count, 10_000_000);
    let bomb = Raw::put().column(0x70, &count);
    assert_eq!(bomb.judge(), Err(Rule::Column));
    let run = [0x80, 0xad, 0xe2, 0x04, 0];
    assert_eq!(
        bomb.column(0x71, &run).column(0x73, &run).judge(),
        Err(Rule::TooManyOperations)
    );
}

#[test]
fn long_keys_do_not_multiply() {
    let mut longest = vec![0x7f, 0xff, 1];
    longest.extend([b'k'; 255]);
    assert_eq!(Raw::put().column(0x15, &longest).judge(), Ok(1));
    let mut too_long = vec![0x7f, 0x80, 2];
    too_long.extend([b'k'; 256]);
    assert_eq!(Raw::put().column(0x15, &too_long).judge(), Err(Rule::Key));
    assert_eq!(Raw::put().column(0x15, &[0x7f, 0]).judge(), Err(Rule::Key));
    let mut many = Vec::new();
    leb_signed(&mut many, 30_000);
    many.extend(&longest[1..]);
    assert_eq!(
        Raw::puts(30_000).column(0x15, &many).judge(),
        Err(Rule::Key)
    );
}

#[test]
fn numbers_near_the_end() {
    for start in [0, 2, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        let bomb = Raw {
            start,
            ..Raw::put()
        };
        assert_eq!(bomb.judge(), Err(Rule::FirstOperation), "{start}");
    }
    for sequence in [0, 2, u64::MAX] {
        let bomb = Raw {
            sequence,
            ..Raw::put()
        };
        assert_eq!(bomb.judge(), Err(Rule::SequenceNumber));
    }
    for time in [i64::MIN, -TIME_S_MAX - 1, TIME_S_MAX + 1, i64::MAX] {
        assert_eq!(Raw { time, ..Raw::put() }.judge(), Err(Rule::Time));
    }
    assert_eq!(
        Raw {
            time: -TIME_S_MAX,
            ..Raw::put()
        }
        .judge(),
        Ok(1)
    );
}

#[test]
fn frames_that_are_not_one_plain_change() {
    let by = me();
    let root = small_root(&by, 1);
    let origin = origin(&by, root.document, Place::Root(KIND));
    let judge = |bytes: &[u8]| preflight::read(bytes, &origin).map(|change| change.hash());
    assert_eq!(judge(&root.bytes), Ok(root.hash));

    let mut behind = root.bytes.clone();
    behind.push(0);
    assert_eq!(judge(&behind), Err(Rule::TrailingBytes));
    assert_eq!(
        judge(&root.bytes[..root.bytes.len() - 1]),
        Err(Rule::Truncated)
    );
    for (kind, rule) in [
        (0, Rule::NotAChange),
        (2, Rule::Compressed),
        (3, Rule::NotAChange),
        (9, Rule::NotAChange),
    ] {
        let mut other = root.bytes.clone();
        other[8] = kind;
        assert_eq!(judge(&other), Err(rule));
    }
    let long = edit(&author(1, 2), &[&root], |tx| {
        tx.put(ROOT, "source_text", "x".repeat(500))
    });
    let mut compressed = Change::from_bytes(long.bytes).unwrap();
    assert_eq!(judge(&compressed.bytes()), Err(Rule::Compressed));
    let saved = automerge_of([&root]).save();
    assert_eq!(judge(&saved), Err(Rule::NotAChange));
    for at in 0..root.bytes.len() {
        let mut flipped = root.bytes.clone();
        flipped[at] ^= 1;
        assert!(judge(&flipped).is_err(), "byte {at}");
        assert!(judge(&root.bytes[..at]).is_err());
    }
    assert_eq!(
        judge(&[0; limits::CHANGE_BYTES_MAX + 1]),
        Err(Rule::TooLong)
    );
}

#[test]
fn an_actor_of_another_length() {
    let by = me();
    for len in [0usize, 15, 17, 200] {
        let mut change = expanded(&[], 1, vec![op(put(1), ObjectId::Root, key("a"), vec![])]);
        change.actor_id = ActorId::from(vec![1; len]);
        let bytes = Change::from(change).raw_bytes().to_vec();
        let document = small_root(&by, 1).document;
        let refused = preflight::read(&bytes, &origin(&by, document, Place::Root(KIND)));
        assert_eq!(refused.err(), Some(Rule::ActorLength));
    }
}

#[test]
fn what_a_change_must_not_carry() {
    let message = Raw {
        message: b"hello".to_vec(),
        ..Raw::put()
    };
    assert_eq!(message.judge(), Err(Rule::Message));
    let behind = Raw {
        behind: vec![0],
        ..Raw::put()
    };
    assert_eq!(behind.judge(), Err(Rule::ExtraBytes));
    let unused = Raw {
        others: vec![vec![1; 16]],
        ..Raw::put()
    };
    assert_eq!(unused.judge(), Err(Rule::ActorTable));
    let short = Raw {
        others: vec![vec![1; 15]],
        ..Raw::put()
    };
    assert_eq!(short.judge(), Err(Rule::ActorLength));
    let twice = Raw {
        others: vec![vec![1; 16]; 2],
        ..Raw::put()
    };
    assert_eq!(twice.judge(), Err(Rule::ActorTable));
    let mut many = Raw::put().bytes();
    many.truncate(4);
    leb(&mut many, u64::MAX);
    assert_eq!(judge_root(&many).unwrap_err(), Rule::Truncated);
}

#[test]
fn columns_that_are_compressed_unknown_or_not_as_written() {
    // The deflate bit of the keys' column, in its place.
    let mut deflated = Raw::put();
    deflated.columns[0].0 |= 8;
    assert_eq!(deflated.judge(), Err(Rule::Compressed));
    for spec in [0x91, 0x94, 0xa5, 0x1004] {
        assert_eq!(
            Raw::put().column(spec, &[1]).judge(),
            Err(Rule::UnknownColumn)
        );
    }
    let mut unsorted = Raw::put();
    unsorted.columns.swap(0, 1);
    assert_eq!(unsorted.judge(), Err(Rule::UnknownColumn));
    assert_eq!(
        Raw::put().column(0x57, &[]).judge(),
        Err(Rule::NotCanonical)
    );
    assert_eq!(
        Raw::put().column(0x57, &[1]).judge(),
        Err(Rule::NotCanonical)
    );
    // Two equal cells as a literal, a run of one, two runs of nulls, a column of nulls.
    assert_eq!(
        Raw::puts(2).column(0x42, &[0x7e, 1, 1]).judge(),
        Err(Rule::NotCanonical)
    );
    assert_eq!(
        Raw::put().column(0x42, &[1, 1]).judge(),
        Err(Rule::NotCanonical)
    );
    assert_eq!(
        Raw::put().column(0x11, &[0, 1]).judge(),
        Err(Rule::NotCanonical)
    );
    assert_eq!(
        Raw::puts(2).column(0x34, &[0, 0, 2]).judge(),
        Err(Rule::NotCanonical)
    );
    // Fewer cells than operations.
    assert_eq!(
        Raw::puts(2).column(0x15, &[0x7f, 1, b'a']).judge(),
        Err(Rule::NotCanonical)
    );
    assert_eq!(Raw::puts(2).column(0x34, &[1]).judge(), Err(Rule::Column));
    // An overlong number.
    assert_eq!(
        Raw::put().column(0x42, &[0x7f, 0x81, 0]).judge(),
        Err(Rule::Number)
    );
    // Both an element and a property.
    assert_eq!(
        Raw::put().column(0x13, &[0x7f, 0]).judge(),
        Err(Rule::Column)
    );
    // An actor that the table does not have.
    let stray = Raw::put().column(0x01, &[0x7f, 5]).column(0x02, &[0x7f, 1]);
    assert_eq!(stray.judge(), Err(Rule::ActorTable));
    // A negative number.
    assert_eq!(
        Raw::put().column(0x13, &[0x7f, 0x7f]).judge(),
        Err(Rule::Number)
    );
}

#[test]
fn actions_and_values_that_are_not_used() {
    for action in [6, 7, 8, 100] {
        let refused = Raw::put().column(0x42, &[0x7f, action]).judge();
        assert_eq!(refused, Err(Rule::Action));
    }
    for kind in 10..16 {
        let refused = Raw::put().column(0x56, &[0x7f, kind]).judge();
        assert_eq!(refused, Err(Rule::Value), "type {kind}");
    }
    // A boolean of one byte, a float of four, a text that is not UTF-8, an overlong integer.
    for (meta, bytes) in [
        (0x11, &[0][..]),
        (0x45, &[0; 4]),
        (0x16, &[0xff]),
        (0x24, &[0x80, 0]),
    ] {
        let refused = Raw::put().column(0x56, &[0x7f, meta]).column(0x57, bytes);
        assert!(refused.judge().is_err(), "meta {meta:#x}");
    }
    // A length that reaches beyond the column.
    let long = Raw::put()
        .column(0x56, &[0x7f, 0xf7, 0x7f])
        .column(0x57, &[0; 4]);
    assert_eq!(long.judge(), Err(Rule::Truncated));
    let float =
        |number: f64| root_of(vec![op(put(number), ObjectId::Root, key("a"), vec![])]).map(|_| ());
    assert_eq!(float(1.5), Ok(()));
    assert_eq!(float(f64::NAN), Err(Rule::Value));
    assert_eq!(float(f64::INFINITY), Err(Rule::Value));
    let mark = OpType::MarkBegin(MarkData {
        name: "bold".into(),
        value: ScalarValue::Boolean(true),
        expand: false,
    });
    let marked = vec![
        op(
            OpType::Make(ObjType::Text),
            ObjectId::Root,
            key("t"),
            vec![],
        ),
        insert(mark, own_object(1), ElementId::Head),
    ];
    assert!(root_of(marked).is_err());
    let table = vec![op(
        OpType::Make(ObjType::Table),
        ObjectId::Root,
        key("t"),
        vec![],
    )];
    assert_eq!(root_of(table).unwrap_err(), Rule::Action);
}

#[test]
fn a_change_without_operations_joins_heads_or_is_nothing() {
    let nothing = Raw {
        columns: Vec::new(),
        ..Raw::put()
    };
    assert_eq!(nothing.judge(), Err(Rule::Empty));
    let root = small_root(&author(1, 1), 1);
    let last = Change::from_bytes(root.bytes.clone()).unwrap().max_op();
    let alone = judge_edit(&[&root], expanded(&[root.hash], last + 1, vec![]));
    assert_eq!(alone.unwrap_err(), Rule::Empty);
    let one = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "a", 1));
    let two = edit(&author(1, 3), &[&root], |tx| tx.put(ROOT, "b", 1));
    let both = judge_edit(
        &[&root, &one, &two],
        expanded(&[one.hash, two.hash], last + 2, vec![]),
    );
    assert_eq!(both.unwrap().operations(), 0);
}

#[test]
fn dependencies_that_are_too_many_out_of_order_or_unknown() {
    let root = small_root(&author(1, 1), 1);
    let by = me();
    let judge = |dependencies: &[ChangeHash]| {
        let after = Raw::put().bytes();
        let parts = ChangeParts::new(dependencies, &after);
        let actor = parts.actor(&by.scope, &root.document, &by.device, &by.nonce);
        let (bytes, _) = parts.assemble(&actor);
        let origin = origin(&by, root.document, Place::Edit);
        let history = History::of(&automerge_of([&root])).unwrap();
        preflight::check(&bytes, &origin, &history).map(|_| ())
    };
    let hash = |number: u8| ChangeHash([number; 32]);
    let many: Vec<_> = (0..65).map(hash).collect();
    assert_eq!(judge(&many), Err(Rule::TooManyDependencies));
    assert_eq!(judge(&many[..64]), Err(Rule::UnknownDependency));
    assert_eq!(judge(&[hash(2), hash(1)]), Err(Rule::DependencyOrder));
    assert_eq!(judge(&[hash(1), hash(1)]), Err(Rule::DependencyOrder));
    assert_eq!(judge(&[]), Err(Rule::EditWithoutDependencies));
    let parts = ChangeParts::new(&[root.hash], &[]);
    assert_eq!(judge_parts(&parts).unwrap_err(), Rule::RootWithDependencies);
}
