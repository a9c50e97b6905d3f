//! Peers that do not keep to the protocol: each ends its own session, with the right word, and
//! nothing else happens.

use crate::world::*;
use cairn_replica::Holdings;
use cairn_replica::session::{
    Input, Output, PeerFault, Role, Session, SessionConfig, SessionError,
};
use cairn_sim::Node;
use cairn_wire::codec::Bytes;
use cairn_wire::frame::{
    self, Channel, CloseReason, ControlFrame, JournalMark, LaneFrame, LeafLine, LeafList, Open,
};
use cairn_wire::ids::{EntryId, Lane};
use cairn_wire::stream::{self, EntryForm};

const LANE: Channel = Channel::Lane(Lane::Records);

/// A session of an honest acceptor, and an Open that it accepts.
struct Attack {
    session: Session,
    honest: Node,
    rogue: Node,
    open: Open,
}

impl Attack {
    fn new() -> Self {
        let programme = programme();
        let (mut honest, rogue) = (node(&programme, 3), node(&programme, 2));
        write_many(&mut honest, records(NORTH), 3);
        let dialler = SessionConfig::new(Role::Dialler, honest.key(), [1; 8]);
        let mut dialler = Session::new(dialler, 0, &rogue.store).unwrap();
        let Some(Output::Send { bytes, .. }) = dialler.poll_output() else {
            panic!("a dialler speaks first");
        };
        let mut reader = frame::FrameReader::default();
        reader.push(&bytes);
        let Some((ControlFrame::Open(open), _)) = reader.next_frame().unwrap() else {
            panic!("an Open comes first");
        };
        let acceptor = SessionConfig::new(Role::Acceptor, rogue.key(), [1; 8]);
        Self {
            session: Session::new(acceptor, 0, &honest.store).unwrap(),
            honest,
            rogue,
            open: *open,
        }
    }

    fn opened() -> Self {
        let mut attack = Self::new();
        let open = ControlFrame::Open(Box::new(attack.open.clone()));
        attack.say(&open).unwrap();
        attack
    }

    fn feed(&mut self, channel: Channel, bytes: Vec<u8>) -> Result<(), SessionError> {
        let input = Input::Bytes { channel, bytes };
        self.session.handle(1, input, &self.honest.store)
    }

    fn say(&mut self, frame: &ControlFrame) -> Result<(), SessionError> {
        self.feed(Channel::Control, frame::write(frame))
    }

    fn say_on_lane(&mut self, frame: &LaneFrame) -> Result<(), SessionError> {
        self.feed(LANE, frame::write(frame))
    }

    /// What the session closed with.
    fn closed(&mut self) -> Option<CloseReason> {
        let mut closed = None;
        while let Some(output) = self.session.poll_output() {
            if let Output::Closed(reason) = output {
                closed = Some(reason);
            }
        }
        closed
    }

    fn expect(mut self, result: Result<(), SessionError>, fault: PeerFault) {
        match result {
            Err(SessionError::Peer(found)) => assert_eq!(found, fault),
            other => panic!("expected {fault:?}, got {other:?}"),
        }
        assert_eq!(self.closed(), Some(CloseReason::Protocol));
        assert!(self.session.is_closed());
        // Nothing more is taken.
        self.say(&ControlFrame::Enrolled).unwrap();
        assert!(self.session.poll_output().is_none());
    }
}

fn journal(from: u64) -> LaneFrame {
    LaneFrame::Journal {
        scope: NORTH,
        from: JournalMark {
            position: from,
            hash: [1; 8],
        },
    }
}

#[test]
fn frames_out_of_turn_end_the_session() {
    let mut attack = Attack::new();
    let result = attack.say(&ControlFrame::States(Vec::new()));
    attack.expect(result, PeerFault::OutOfTurn("a frame before the first"));

    let mut attack = Attack::opened();
    let again = ControlFrame::Open(Box::new(attack.open.clone()));
    let result = attack.say(&again);
    attack.expect(result, PeerFault::OutOfTurn("a second first frame"));

    let mut attack = Attack::opened();
    let result = attack.say_on_lane(&LaneFrame::Skip { count: 1 });
    attack.expect(result, PeerFault::OutOfTurn("a skip outside a journal"));

    let mut attack = Attack::opened();
    let result = attack.say_on_lane(&LaneFrame::Mark(JournalMark::default()));
    attack.expect(result, PeerFault::OutOfTurn("a mark of no scope"));
}

#[test]
fn places_that_do_not_fit_end_the_session() {
    let mut attack = Attack::opened();
    attack.say_on_lane(&journal(u64::MAX)).unwrap();
    let result = attack.say_on_lane(&LaneFrame::Skip { count: 1 });
    attack.expect(result, PeerFault::Place("a position beyond all numbers"));

    let mut attack = Attack::opened();
    attack.say_on_lane(&journal(5)).unwrap();
    let mark = JournalMark {
        position: 7,
        hash: [2; 8],
    };
    let result = attack.say_on_lane(&LaneFrame::Mark(mark));
    attack.expect(result, PeerFault::Place("a mark beside its entries"));

    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Ack {
        of: records(NORTH),
        cursor: mark,
    });
    attack.expect(result, PeerFault::Place("an acknowledgement"));

    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Durable {
        lane: Lane::Urgent,
        bytes: 1,
    });
    attack.expect(result, PeerFault::Place("more durable than was sent"));
}

#[test]
fn lists_that_are_too_long_end_the_session() {
    let line = LeafLine {
        tag: [1; 8],
        number: 1,
        id: [1; 8],
    };
    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Leaves {
        of: records(NORTH),
        answers: false,
        end: JournalMark::default(),
        list: LeafList::All(vec![line; 513]),
    });
    attack.expect(result, PeerFault::TooMany("leaves"));

    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Probe {
        of: records(NORTH),
        tag: [1; 8],
        ids: vec![(1, [1; 8]); 65],
    });
    attack.expect(result, PeerFault::TooMany("probes"));

    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Detached {
        of: records(NORTH),
        ids: vec![EntryId([1; 32]); 1025],
    });
    attack.expect(result, PeerFault::TooMany("detached entries"));

    let mut attack = Attack::opened();
    let result = attack.say(&ControlFrame::Grants(vec![Bytes(vec![0; 513])]));
    attack.expect(result, PeerFault::TooMany("grants or receipts"));
}

#[test]
fn comparing_without_end_ends() {
    let mut attack = Attack::opened();
    let mut sent = 0;
    let result = loop {
        let result = attack.say(&ControlFrame::Leaves {
            of: records(NORTH),
            answers: false,
            end: JournalMark::default(),
            list: LeafList::All(Vec::new()),
        });
        sent += 1;
        assert!(sent < 200);
        if result.is_err() {
            break result;
        }
        while attack.session.poll_output().is_some() {}
    };
    attack.expect(result, PeerFault::Rounds);
}

#[test]
fn junk_ends_the_session_after_a_while() {
    let mut attack = Attack::opened();
    attack
        .say_on_lane(&LaneFrame::Compared { scope: NORTH })
        .unwrap();
    let form = EntryForm::First {
        version: 1,
        device: attack.rogue.key(),
        incarnation: attack.rogue.store.incarnation(),
        number: 1,
        previous: EntryId::NONE,
        authority: attack.rogue.store.authority_head(),
        key_number: 1,
        payload: Bytes(vec![0; 100]),
        signature: Bytes(vec![0; 64]),
    };
    let mut taken = 0;
    let result = loop {
        let result = attack.say_on_lane(&LaneFrame::Entry(form.clone()));
        if result.is_err() {
            break result;
        }
        taken += 1;
        assert!(taken < 1000);
    };
    assert_eq!(taken, 256);
    attack.expect(result, PeerFault::Junk);
}

#[test]
fn more_than_the_window_is_not_held() {
    // Entries that the store is still busy with.
    let mut attack = Attack::opened();
    let mut logs = stream::StreamLogs::default();
    let mut held = 0;
    attack
        .say_on_lane(&LaneFrame::Compared { scope: NORTH })
        .unwrap();
    let result = loop {
        attack.rogue.write(records(NORTH), &[7; 30_000]).unwrap();
        let items = attack.rogue.store.journal(records(NORTH), held, 1).unwrap();
        let form = logs.shorten(&items[0].entry);
        let result = attack.say_on_lane(&LaneFrame::Entry(form));
        if result.is_err() {
            break result;
        }
        held += 1;
        assert!(held < 100);
    };
    assert!((17..=20).contains(&held), "{held} entries of 30 kB");
    attack.expect(result, PeerFault::Window);

    // Bytes before the first frame.
    let mut attack = Attack::new();
    let mut held = 0;
    let result = loop {
        let result = attack.feed(LANE, vec![0xff; 64 * 1024]);
        if result.is_err() {
            break result;
        }
        held += 64 * 1024;
        assert!(held < 2_000_000);
    };
    attack.expect(result, PeerFault::Window);
}

#[test]
fn another_protocol_or_programme_is_told_so() {
    let mut attack = Attack::new();
    attack.open.protocol = 2;
    let open = ControlFrame::Open(Box::new(attack.open.clone()));
    attack.say(&open).unwrap();
    assert_eq!(attack.closed(), Some(CloseReason::Version));

    let mut attack = Attack::new();
    attack.open.programme[0] ^= 1;
    let open = ControlFrame::Open(Box::new(attack.open.clone()));
    attack.say(&open).unwrap();
    assert_eq!(attack.closed(), Some(CloseReason::OtherProgramme));
}

#[test]
fn a_stranger_that_claims_to_know_more_must_show_it() {
    let programme = programme();
    let honest = node(&programme, 3);
    let mut attack = Attack::new();
    let stranger = cairn_sim::programme::device(99).device();
    let config = SessionConfig::new(Role::Acceptor, stranger, [1; 8]);
    attack.session = Session::new(config, 0, &honest.store).unwrap();
    attack.open.authority.height += 1_000;
    let open = ControlFrame::Open(Box::new(attack.open.clone()));
    attack.say(&open).unwrap();
    let due = attack.session.poll_timeout().unwrap();
    attack
        .session
        .handle(due, Input::Tick, &honest.store)
        .unwrap();
    assert_eq!(attack.closed(), Some(CloseReason::Unknown));
}
