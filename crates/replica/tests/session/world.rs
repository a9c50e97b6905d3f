//! Two replicas and what passes between them.

use cairn_keys::Role as MemberRole;
use cairn_replica::session::{Counters, Input, Notice, Output, Role, Session, SessionConfig};
use cairn_replica::{Holdings, SessionError};
use cairn_sim::programme::device;
use cairn_sim::{Node, Programme};
use cairn_store::ModelDisk;
use cairn_wire::frame::{Channel, CloseReason, ScopeLane};
use cairn_wire::ids::{EntryId, Lane, ScopeId};
use std::collections::VecDeque;

pub const NORTH: ScopeId = ScopeId([0x10; 16]);
pub const SOUTH: ScopeId = ScopeId([0x20; 16]);

pub const fn records(scope: ScopeId) -> ScopeLane {
    ScopeLane {
        scope,
        lane: Lane::Records,
    }
}

pub const fn urgent(scope: ScopeId) -> ScopeLane {
    ScopeLane {
        scope,
        lane: Lane::Urgent,
    }
}

/// A programme with the scopes north and south, a relay (1) and three devices (2, 3, 4).
pub fn programme() -> Programme {
    let mut programme = Programme::new(&[NORTH, SOUTH]);
    programme.enrol(&device(1), MemberRole::Relay, &[]);
    for number in 2..=4 {
        programme.enrol(&device(number), MemberRole::Device, &[NORTH, SOUTH]);
    }
    programme
}

/// A replica of a device that knows all of the programme.
pub fn node(programme: &Programme, number: u8) -> Node {
    let mut node = Node::open(
        device(number),
        ModelDisk::new(),
        u64::from(number) * 1000 + 1,
    )
    .unwrap();
    node.learn(programme.entries()).unwrap();
    node
}

/// The replicas that most situations need; each knows all of the programme.
pub struct Cast {
    pub programme: Programme,
    /// Device 1.
    pub relay: Node,
    /// Device 2.
    pub device: Node,
    /// Device 3.
    pub other: Node,
}

pub fn cast() -> Cast {
    let programme = programme();
    Cast {
        relay: node(&programme, 1),
        device: node(&programme, 2),
        other: node(&programme, 3),
        programme,
    }
}

/// A second relay (5) that everybody knows.
pub fn second_relay(cast: &mut Cast) -> Node {
    cast.programme.enrol(&device(5), MemberRole::Relay, &[]);
    for node in [&mut cast.relay, &mut cast.device, &mut cast.other] {
        node.learn(cast.programme.entries()).unwrap();
    }
    node(&cast.programme, 5)
}

pub fn write_many(node: &mut Node, of: ScopeLane, count: usize) -> Vec<EntryId> {
    (0..count)
        .map(|at| {
            node.write(of, format!("payload {at} of some length").as_bytes())
                .unwrap()
        })
        .collect()
}

/// How two replicas meet.
#[derive(Clone, Copy)]
pub struct Meeting {
    pub live: bool,
    pub budget: Option<u64>,
    /// Longest piece in which bytes arrive.
    pub piece_bytes: usize,
    /// Decides in which order channels deliver.
    pub order_seed: u64,
    pub salt: u64,
    /// Pieces delivered before the connection is lost.
    pub pieces_max: usize,
}

impl Default for Meeting {
    fn default() -> Self {
        Self {
            live: false,
            budget: None,
            piece_bytes: usize::MAX,
            order_seed: 0,
            salt: 7,
            pieces_max: 1_000_000,
        }
    }
}

/// One side of a connection.
pub struct Side {
    pub session: Session,
    pub equal: bool,
    pub closed: Option<CloseReason>,
    pub notices: Vec<Notice>,
    /// Round trips when equality was first known.
    pub round_trips_to_equal: u64,
    pub error: Option<SessionError>,
    out: [VecDeque<Vec<u8>>; 3],
}

/// What each side of a meeting came to.
pub struct Outcome {
    pub dialler: Side,
    pub acceptor: Side,
}

impl Outcome {
    pub fn bytes(&self) -> u64 {
        self.dialler.counters().bytes_sent + self.dialler.counters().bytes_received
    }
}

impl Side {
    pub fn new(node: &mut Node, role: Role, peer: &Node, meeting: Meeting) -> Self {
        let mut config = SessionConfig::new(role, peer.key(), meeting.salt.to_be_bytes());
        config.live = meeting.live;
        config.byte_budget = meeting.budget;
        let session = Session::new(config, 0, &node.store).unwrap();
        let mut side = Self {
            session,
            equal: false,
            closed: None,
            notices: Vec::new(),
            round_trips_to_equal: 0,
            error: None,
            out: Default::default(),
        };
        side.drain(0, node, peer.key());
        side
    }

    pub fn counters(&self) -> Counters {
        self.session.counters()
    }

    pub fn feed(&mut self, now: u64, input: Input, node: &mut Node, peer: cairn_wire::DeviceKey) {
        if let Err(error) = self.session.handle(now, input, &node.store) {
            self.error = Some(error);
        }
        self.drain(now, node, peer);
    }

    fn drain(&mut self, now: u64, node: &mut Node, peer: cairn_wire::DeviceKey) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send { channel, bytes } => {
                    self.out[channel.as_byte() as usize].push_back(bytes);
                }
                Output::Equal => {
                    if !self.equal {
                        self.round_trips_to_equal = self.counters().round_trips;
                    }
                    self.equal = true;
                }
                Output::Notice(notice) => self.notices.push(notice),
                Output::Closed(reason) => self.closed = Some(reason),
                other => {
                    if let Some(input) = node.carry_out(&peer, other) {
                        self.feed(now, input, node, peer);
                    }
                }
            }
        }
    }

    /// A piece of what is to be sent, from some channel.
    fn take(&mut self, meeting: Meeting, dice: &mut u64) -> Option<(Channel, Vec<u8>)> {
        let filled: Vec<usize> = (0..3).filter(|at| !self.out[*at].is_empty()).collect();
        let first = *filled.first()?;
        let at = if meeting.order_seed == 0 {
            first
        } else {
            *dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            filled[(*dice >> 33) as usize % filled.len()]
        };
        let bytes = self.out[at].front_mut()?;
        let channel = Channel::from_byte(at as u8)?;
        if bytes.len() <= meeting.piece_bytes {
            return Some((channel, self.out[at].pop_front()?));
        }
        let rest = bytes.split_off(meeting.piece_bytes);
        let piece = std::mem::replace(bytes, rest);
        Some((channel, piece))
    }
}

/// Both sides of a connection over which nothing was delivered yet.
pub fn connect(dialler: &mut Node, acceptor: &mut Node, meeting: Meeting) -> (Side, Side) {
    let a = Side::new(dialler, Role::Dialler, acceptor, meeting);
    let b = Side::new(acceptor, Role::Acceptor, dialler, meeting);
    (a, b)
}

/// Lets two replicas meet until nothing moves any more.
pub fn meet_as(dialler: &mut Node, acceptor: &mut Node, meeting: Meeting) -> Outcome {
    let (mut a, mut b) = connect(dialler, acceptor, meeting);
    run(&mut a, dialler, &mut b, acceptor, meeting);
    Outcome {
        dialler: a,
        acceptor: b,
    }
}

/// Delivers what both have to say until both are silent.
pub fn run(a: &mut Side, dialler: &mut Node, b: &mut Side, acceptor: &mut Node, meeting: Meeting) {
    run_with(a, dialler, b, acceptor, meeting, &mut |_, _| {});
}

/// The same, with a hand on every piece.
pub fn run_with(
    a: &mut Side,
    dialler: &mut Node,
    b: &mut Side,
    acceptor: &mut Node,
    meeting: Meeting,
    tamper: &mut dyn FnMut(u64, &mut Vec<u8>),
) {
    let mut dice = meeting.order_seed;
    let mut now = 1;
    let mut pieces = 0;
    loop {
        let mut moved = false;
        // Everything that one side has said arrives before the other's answer.
        while let Some((channel, mut bytes)) = a.take(meeting, &mut dice) {
            tamper(pieces as u64, &mut bytes);
            moved = true;
            pieces += 1;
            if pieces > meeting.pieces_max {
                return;
            }
            b.feed(
                now,
                Input::Bytes { channel, bytes },
                acceptor,
                dialler.key(),
            );
        }
        while let Some((channel, mut bytes)) = b.take(meeting, &mut dice) {
            tamper(pieces as u64, &mut bytes);
            moved = true;
            pieces += 1;
            if pieces > meeting.pieces_max {
                return;
            }
            a.feed(
                now,
                Input::Bytes { channel, bytes },
                dialler,
                acceptor.key(),
            );
        }
        assert!(pieces < 200_000, "the sessions talk without end");
        if moved {
            continue;
        }
        let due = a
            .session
            .poll_timeout()
            .into_iter()
            .chain(b.session.poll_timeout())
            .min();
        let Some(due) = due else {
            return;
        };
        assert!(now < 1_000_000, "the sessions wait without end");
        now = due.max(now + 1);
        a.feed(now, Input::Tick, dialler, acceptor.key());
        b.feed(now, Input::Tick, acceptor, dialler.key());
    }
}

/// Delivers what each side has to say now, once.
pub fn exchange_once(
    a: &mut Side,
    dialler: &mut Node,
    b: &mut Side,
    acceptor: &mut Node,
    now: u64,
) {
    let meeting = Meeting::default();
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    while let Some(piece) = a.take(meeting, &mut 0) {
        from_a.push(piece);
    }
    while let Some(piece) = b.take(meeting, &mut 0) {
        from_b.push(piece);
    }
    for (channel, bytes) in from_a {
        b.feed(
            now,
            Input::Bytes { channel, bytes },
            acceptor,
            dialler.key(),
        );
    }
    for (channel, bytes) in from_b {
        a.feed(
            now,
            Input::Bytes { channel, bytes },
            dialler,
            acceptor.key(),
        );
    }
}

pub fn meet(dialler: &mut Node, acceptor: &mut Node) -> Outcome {
    meet_as(dialler, acceptor, Meeting::default())
}

/// Both hold the same in a scope and lane, entry by entry.
pub fn assert_same(a: &Node, b: &Node, of: ScopeLane) {
    assert_eq!(a.ids(of), b.ids(of));
    assert_eq!(a.store.digest(of), b.store.digest(of));
}
