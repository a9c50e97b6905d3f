//! Payloads that an author could seal to hurt whoever opens them: the tricks on batches and on the
//! merge engine that the design names, each with what a reader must say to it.

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ExpandedChange, ObjType, ScalarValue};
use cairn_documents::{ChangeParts, OpenedChange, to_automerge};
use cairn_wire::{ChangeHash, DocumentId};
use std::num::NonZeroU64;

pub const KIND: &str = "hazardous_area";
const ZERO: [u8; 16] = [0; 16];

/// A payload, before it is sealed, and what `ops quarantine list` must say of its entry.
pub struct Trick {
    pub name: &'static str,
    pub plain: Vec<u8>,
    pub state: &'static str,
    pub cause: Option<&'static str>,
}

/// What stands behind the actor of a change, by hand: puts of null under "a".
#[derive(Clone)]
pub struct Raw {
    sequence: u64,
    start: u64,
    time: i64,
    columns: Vec<(u64, Vec<u8>)>,
    behind: Vec<u8>,
}

impl Raw {
    pub fn puts(count: i64) -> Self {
        let run = |value: &[u8]| {
            let mut bytes = Vec::new();
            match count {
                1 => bytes.push(0x7f),
                _ => leb_signed(&mut bytes, count),
            }
            bytes.extend(value);
            bytes
        };
        let mut inserts = Vec::new();
        leb(&mut inserts, count as u64);
        let columns = vec![
            (0x15, run(&[1, b'a'])),
            (0x34, inserts),
            (0x42, run(&[1])),
            (0x56, run(&[0])),
            (0x70, run(&[0])),
        ];
        Self {
            sequence: 1,
            start: 1,
            time: 0,
            columns,
            behind: Vec::new(),
        }
    }

    pub fn at(mut self, time: i64) -> Self {
        self.time = time;
        self
    }

    fn column(mut self, of: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(known, _)| *known != of);
        self.columns.push((of, bytes.to_vec()));
        self.columns.sort_by_key(|(of, _)| of & !8);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        leb(&mut out, self.sequence);
        leb(&mut out, self.start);
        leb_signed(&mut out, self.time);
        // No message, no other actors.
        out.extend([0, 0]);
        leb(&mut out, self.columns.len() as u64);
        for (of, bytes) in &self.columns {
            leb(&mut out, *of);
            leb(&mut out, bytes.len() as u64);
        }
        self.columns.iter().for_each(|(_, bytes)| out.extend(bytes));
        out.extend(&self.behind);
        out
    }
}

/// A batch of first changes, each given by what stands behind its actor.
pub fn roots(rests: &[Vec<u8>]) -> Vec<u8> {
    let subjects = vec![1; rests.len()];
    batch(&[], &[], &subjects, &vec![0; rests.len()], &[], rests)
}

/// A batch of edits of one document that all rest on one change.
pub fn edits(document: DocumentId, rests_on: ChangeHash, rests: &[Vec<u8>]) -> Vec<u8> {
    let (some, one) = (vec![0; rests.len()], vec![1; rests.len()]);
    batch(&[document], &[rests_on], &some, &one, &some, rests)
}

fn batch(
    documents: &[DocumentId],
    changes: &[ChangeHash],
    subjects: &[u64],
    counts: &[u64],
    dependencies: &[u64],
    rests: &[Vec<u8>],
) -> Vec<u8> {
    let mut body = Vec::new();
    leb(&mut body, rests.len() as u64);
    let lengths: Vec<u64> = rests.iter().map(|rest| rest.len() as u64).collect();
    let nonces = vec![0; rests.len()];
    for numbers in [subjects, &nonces, counts, dependencies, &lengths] {
        numbers.iter().for_each(|number| leb(&mut body, *number));
    }
    rests.iter().for_each(|rest| body.extend(rest));
    let mut plain = vec![1, 1];
    tables(&mut plain, documents, changes);
    plain.extend(zstd::bulk::compress(&body, 12).unwrap());
    plain
}

fn tables(out: &mut Vec<u8>, documents: &[DocumentId], changes: &[ChangeHash]) {
    out.push(1);
    out.extend([5; 8]);
    out.extend([1, KIND.len() as u8]);
    out.extend(KIND.as_bytes());
    out.push(documents.len() as u8);
    documents.iter().for_each(|document| out.extend(document.0));
    out.push(changes.len() as u8);
    changes.iter().for_each(|change| out.extend(change.0));
}

/// A batch whose compressed part is that frame.
fn framed(frame: &[u8]) -> Vec<u8> {
    let mut plain = vec![1, 1];
    tables(&mut plain, &[], &[]);
    plain.extend(frame);
    plain
}

/// Every trick that is a payload of its own. `victim` is the first change of somebody else's record.
pub fn all(victim: &OpenedChange) -> Vec<Trick> {
    let mut all = Vec::new();
    let mut quarantined = |name, plain, cause| {
        all.push(Trick {
            name,
            plain,
            state: "quarantined",
            cause: Some(cause),
        });
    };
    let changes = [
        (
            "a claim of 100,000 operations",
            Raw::puts(100_000),
            "too_many_operations",
        ),
        (
            "ten million keys in one column",
            Raw::puts(1).column(0x15, &[0x80, 0xad, 0xe2, 0x04, 1, 97]),
            "too_many_operations",
        ),
        (
            "a first operation near the end of numbers",
            Raw {
                start: u64::from(u32::MAX),
                ..Raw::puts(1)
            },
            "first_operation",
        ),
        (
            "a first operation beyond all",
            Raw {
                start: u64::MAX,
                ..Raw::puts(2)
            },
            "first_operation",
        ),
        (
            "a sequence number used twice",
            Raw {
                sequence: 2,
                ..Raw::puts(3)
            },
            "sequence_number",
        ),
        (
            "bytes behind the columns",
            Raw {
                behind: vec![0; 40],
                ..Raw::puts(4)
            },
            "extra_bytes",
        ),
        (
            "a column that would inflate",
            {
                let mut raw = Raw::puts(5);
                raw.columns[0].0 |= 8;
                raw
            },
            "compressed",
        ),
        (
            "an action nobody uses",
            Raw::puts(1).column(0x42, &[0x7f, 7]),
            "action",
        ),
        (
            "another encoding of the same",
            Raw::puts(2).column(0x42, &[0x7e, 1, 1]),
            "not_canonical",
        ),
        (
            "a time at the end of days",
            Raw::puts(6).at(i64::MIN),
            "time",
        ),
    ];
    for (name, raw, cause) in changes {
        quarantined(name, roots(&[raw.bytes()]), cause);
    }
    for (name, operations, cause) in operations() {
        quarantined(name, roots(&[rest_of(&[], 1, operations)]), cause);
    }
    let (start, operation) = erasing(victim);
    let erased = rest_of(&[victim.hash], start, vec![operation]);
    quarantined(
        "somebody else's evidence erased",
        edits(victim.document, victim.hash, &[erased]),
        "growing_key",
    );
    let late = Raw {
        start: u64::from(u32::MAX) - 1,
        ..Raw::puts(1)
    };
    quarantined(
        "an edit that leaves no numbers for others",
        edits(victim.document, victim.hash, &[late.bytes()]),
        "first_operation",
    );
    all.push(Trick {
        name: "an edit on what nobody made",
        plain: edits(
            victim.document,
            ChangeHash([9; 32]),
            &[Raw::puts(1).bytes()],
        ),
        state: "waiting",
        cause: None,
    });
    all.extend(payloads());
    all
}

/// So many versions of what stands behind an actor, each with one to three bytes changed.
pub fn mutants(rest: &[u8], seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut mutate = |_| {
        let mut rest = rest.to_vec();
        for _ in 0..=draw(3) {
            let at = draw(rest.len());
            match draw(4) {
                0 => rest[at] = draw(256) as u8,
                1 => rest[at] ^= 1 << draw(8),
                2 => rest.insert(at, draw(256) as u8),
                _ => drop(rest.remove(at)),
            }
        }
        rest
    };
    (0..count).map(&mut mutate).collect()
}

/// What is no batch, or holds a place where no change can be made out.
fn payloads() -> Vec<Trick> {
    let honest = roots(&[Raw::puts(1).at(77).bytes()]);
    let mut body = Vec::new();
    leb(&mut body, u64::MAX);
    let mut without_size = zstd::Encoder::new(Vec::new(), 3).unwrap();
    std::io::Write::write_all(&mut without_size, &[0; 4096]).unwrap();
    let mut many_nonces = vec![1, 0];
    leb(&mut many_nonces, u64::MAX);
    let cases = vec![
        (
            "ten million operations in a few bytes",
            roots(&[Raw::puts(10_000_000).bytes()]),
        ),
        (
            "five changes of the most operations, in one batch",
            roots(
                &(0..5)
                    .map(|n| Raw::puts(32_768).at(n).bytes())
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "64 MiB in a small frame",
            framed(&zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap()),
        ),
        (
            "a frame that does not say its size",
            framed(&without_size.finish().unwrap()),
        ),
        ("a frame cut off", honest[..honest.len() - 3].to_vec()),
        ("bytes behind the frame", [&honest[..], &[0; 9]].concat()),
        (
            "changes without number",
            framed(&zstd::bulk::compress(&body, 3).unwrap()),
        ),
        ("nonces without number", many_nonces),
        ("a version to come", [&[2][..], &honest[1..]].concat()),
        (
            "an unknown way of compressing",
            [&[1, 9][..], &honest[2..]].concat(),
        ),
        ("nothing", Vec::new()),
    ];
    let unreadable = |(name, plain)| Trick {
        name,
        plain,
        state: "unreadable",
        cause: None,
    };
    cases.into_iter().map(unreadable).collect()
}

/// First changes that Automerge itself would write, and that do what none may.
fn operations() -> Vec<(&'static str, Vec<Op>, &'static str)> {
    let nested = |depth: u64| {
        let make = |at: u64| {
            let object = if at == 1 {
                ObjectId::Root
            } else {
                own_object(at - 1)
            };
            op(OpType::Make(ObjType::Map), object, key("in"), &[])
        };
        (1..=depth).map(make).collect()
    };
    let status = || {
        op(
            OpType::Make(ObjType::Map),
            ObjectId::Root,
            key("+status"),
            &[],
        )
    };
    vec![
        (
            "an object that nobody made",
            vec![op(put(1), own_object(9), key("a"), &[])],
            "not_an_ancestor",
        ),
        (
            "a predecessor that nobody made",
            vec![op(
                put(1),
                ObjectId::Root,
                key("a"),
                &[OpId(7, ActorId::from([9; 16]))],
            )],
            "not_an_ancestor",
        ),
        (
            "a scalar used as an object",
            vec![
                op(put(1), ObjectId::Root, key("a"), &[]),
                op(put(1), own_object(1), key("b"), &[]),
            ],
            "object_type",
        ),
        (
            "an element of no list",
            vec![
                op(OpType::Make(ObjType::Text), ObjectId::Root, key("t"), &[]),
                Op {
                    insert: true,
                    ..op(
                        put("x"),
                        own_object(1),
                        Key::Seq(ElementId::Id(own(1))),
                        &[],
                    )
                },
            ],
            "element",
        ),
        (
            "a deletion of nothing",
            vec![op(OpType::Delete, ObjectId::Root, key("a"), &[])],
            "predecessor_count",
        ),
        ("objects nine deep", nested(9), "depth"),
        (
            "a number that is none",
            vec![op(put(f64::NAN), ObjectId::Root, key("a"), &[])],
            "value",
        ),
        (
            "evidence that is no map",
            vec![op(put(1), ObjectId::Root, key("+status"), &[])],
            "growing_key",
        ),
        (
            "an assertion that is no bytes",
            vec![status(), op(put(1), own_object(1), key("0"), &[])],
            "growing_map",
        ),
    ]
}

/// The deletion of a record's first growing map, and the number it would have.
fn erasing(victim: &OpenedChange) -> (u64, Op) {
    let change = Change::from_bytes(victim.bytes.clone()).unwrap();
    let start = change.start_op().get();
    let decoded = change.decode();
    let (at, made) = decoded
        .operations
        .iter()
        .enumerate()
        .find(|(_, op)| matches!(&op.key, Key::Map(name) if name.starts_with('+')))
        .unwrap();
    let evidence = OpId(start + at as u64, change.actor_id().clone());
    let erase = op(
        OpType::Delete,
        ObjectId::Root,
        made.key.clone(),
        &[evidence],
    );
    (change.max_op() + 1, erase)
}

fn rest_of(dependencies: &[ChangeHash], start: u64, operations: Vec<Op>) -> Vec<u8> {
    let change = Change::from(ExpandedChange {
        operations,
        actor_id: ActorId::from(ZERO),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::new(start).unwrap(),
        time: 0,
        message: None,
        deps: dependencies.iter().map(to_automerge).collect(),
        extra_bytes: Vec::new(),
        author: None,
    });
    ChangeParts::of(change.raw_bytes())
        .unwrap()
        .after()
        .to_vec()
}

fn op(action: OpType, obj: ObjectId, key: Key, pred: &[OpId]) -> Op {
    Op {
        action,
        obj,
        key,
        pred: pred.to_vec().into(),
        insert: false,
    }
}

fn put(value: impl Into<ScalarValue>) -> OpType {
    OpType::Put(value.into())
}

fn key(text: &str) -> Key {
    Key::Map(text.into())
}

fn own(counter: u64) -> OpId {
    OpId(counter, ActorId::from(ZERO))
}

fn own_object(counter: u64) -> ObjectId {
    ObjectId::Id(own(counter))
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
