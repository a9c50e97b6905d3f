//! Golden bytes of frames: `proto/vectors/frames.txt`, a name and hexadecimal digits a line. Written
//! anew with `CAIRN_BLESS=1`.

use cairn_wire::codec::Bytes;
use cairn_wire::frame::{
    self, Backlog, CloseReason, ControlFrame, Digest, JournalMark, LaneFrame, LaneState, LeafLine,
    LeafList, Open, ScopeLane,
};
use cairn_wire::ids::{
    AuthorityRef, DeviceKey, EntryId, Epoch, Incarnation, Lane, ScopeId, write_hex,
};
use cairn_wire::stream::EntryForm;
use std::path::Path;

const OF: ScopeLane = ScopeLane {
    scope: ScopeId([0x20; 16]),
    lane: Lane::Records,
};

const fn mark(position: u64) -> JournalMark {
    JournalMark {
        position,
        hash: [0x11; 8],
    }
}

fn control_frames() -> Vec<(&'static str, ControlFrame)> {
    let authority = AuthorityRef {
        height: 9,
        id: [5; 8],
    };
    let state = LaneState {
        of: OF,
        end: mark(300),
        cursor: mark(0),
        digest: Digest([7; 16]),
        detached: None,
        hand_in_only: false,
    };
    let open = Open {
        protocol: frame::PROTOCOL_VERSION,
        features: frame::FEATURE_LIVE,
        programme: [1; 8],
        incarnation: Incarnation([4; 16]),
        epoch: Epoch([6; 8]),
        your_epoch: Some(Epoch([8; 8])),
        authority,
        backlog: Backlog {
            changes: 10,
            oldest_age_s: Some(86_400),
            conflicts: 0,
        },
        byte_budget: None,
        hand_in_only: false,
        side: None,
        pair: Some([9; 16]),
        states: vec![state],
    };
    let line = LeafLine {
        tag: [1; 8],
        number: 70_000,
        id: [2; 8],
    };
    let leaves = |list| ControlFrame::Leaves {
        of: OF,
        answers: false,
        end: mark(1),
        list,
    };
    vec![
        ("open", ControlFrame::Open(Box::new(open))),
        ("states", ControlFrame::States(vec![state])),
        (
            "authority",
            ControlFrame::Authority(vec![Bytes(vec![1, 2, 3])]),
        ),
        ("leaves-all", leaves(LeafList::All(vec![line]))),
        (
            "leaves-bucketed",
            leaves(LeafList::Bucketed {
                lines: vec![],
                last: true,
            }),
        ),
        (
            "probe",
            ControlFrame::Probe {
                of: OF,
                tag: [1; 8],
                ids: vec![(7, [3; 8])],
            },
        ),
        (
            "check",
            ControlFrame::Check {
                of: OF,
                mine: mark(5),
                yours: mark(6),
                digest: Digest([7; 16]),
                detached: Some([8; 8]),
            },
        ),
        (
            "ack",
            ControlFrame::Ack {
                of: OF,
                cursor: mark(250),
            },
        ),
        (
            "durable",
            ControlFrame::Durable {
                lane: Lane::Urgent,
                bytes: 251,
            },
        ),
        (
            "detached",
            ControlFrame::Detached {
                of: OF,
                ids: vec![EntryId([3; 32])],
            },
        ),
        (
            "bye",
            ControlFrame::Bye {
                reason: CloseReason::Budget,
                retry_after_s: Some(5),
            },
        ),
        ("enrolled", ControlFrame::Enrolled),
    ]
}

fn lane_frames() -> Vec<(&'static str, LaneFrame)> {
    vec![
        (
            "journal",
            LaneFrame::Journal {
                scope: OF.scope,
                from: mark(4),
            },
        ),
        ("compared", LaneFrame::Compared { scope: OF.scope }),
        (
            "entry-first",
            LaneFrame::Entry(EntryForm::First {
                version: 1,
                device: DeviceKey([3; 32]),
                incarnation: Incarnation([4; 16]),
                number: 1,
                previous: EntryId::NONE,
                authority: AuthorityRef {
                    height: 9,
                    id: [5; 8],
                },
                key_number: 1,
                payload: Bytes(b"sealed".to_vec()),
                signature: Bytes(vec![7; 64]),
            }),
        ),
        (
            "entry-next",
            LaneFrame::Entry(EntryForm::Next {
                log: 0,
                authority: None,
                key_number: None,
                payload: Bytes(b"sealed".to_vec()),
                signature: Bytes(vec![7; 64]),
            }),
        ),
        (
            "entry-own",
            LaneFrame::Entry(EntryForm::Own {
                version: 1,
                number: 2,
                previous: EntryId([8; 32]),
                authority: None,
                key_number: 1,
                payload: Bytes(b"sealed".to_vec()),
                signature: Bytes(vec![7; 64]),
            }),
        ),
        ("skip", LaneFrame::Skip { count: 3 }),
        ("mark", LaneFrame::Mark(mark(7))),
    ]
}

#[test]
fn frames_are_these_bytes() {
    let mut lines = String::new();
    let frames = control_frames()
        .into_iter()
        .map(|(name, it)| (name, frame::write(&it)));
    let lanes = lane_frames()
        .into_iter()
        .map(|(name, it)| (name, frame::write(&it)));
    for (name, bytes) in frames.chain(lanes) {
        lines.push_str(name);
        lines.push(' ');
        write_hex(&bytes, &mut lines).unwrap();
        lines.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors/frames.txt");
    if std::env::var_os("CAIRN_BLESS").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
}
