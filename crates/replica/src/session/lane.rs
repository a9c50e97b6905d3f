//! What a session knows of one scope and lane, and of the two streams that carry it.

use super::comparing::{Comparison, Stretch};
use super::port::Millis;
use cairn_wire::frame::{Digest, FrameReader, JournalMark, LaneState};
use cairn_wire::ids::ScopeId;
use cairn_wire::stream::StreamLogs;
use std::collections::VecDeque;

/// How this side sends its journal to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Not both states are known.
    Undecided,
    /// The peer has no right to it.
    Nothing,
    /// From `next` on.
    Streaming,
    /// The peer's leaves are awaited.
    Comparing,
}

/// What a side says when it is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reckoning {
    pub mine: JournalMark,
    pub yours: JournalMark,
    pub digest: Digest,
    pub detached: Option<[u8; 8]>,
}

/// One scope and lane with this peer.
#[derive(Debug)]
pub(super) struct LaneSync {
    /// May the peer have it now?
    pub serve: bool,
    /// What this side declared.
    pub declared: LaneState,
    /// What the peer declared.
    pub peer: Option<LaneState>,

    pub sending: Sending,
    /// Place in my journal from which on nothing was considered yet.
    pub next: JournalMark,
    /// Place up to which the peer was told of my journal.
    pub streamed: JournalMark,
    /// Position of the last mark that was sent.
    pub marked: u64,
    /// Position up to which the peer expects to be told.
    pub promised: u64,
    /// Positions of the first flight.
    pub flight: Option<(u64, JournalMark)>,
    /// What comparing found, to be sent.
    pub plan: VecDeque<Stretch>,
    /// What closes a comparison when the plan is sent.
    pub compared: Option<JournalMark>,
    pub comparison: Option<Comparison>,
    pub rounds: u32,
    pub detached_sent: bool,
    pub detached_received: bool,
    /// Bytes of the lane's stream when the last entry of this scope was sent.
    pub sent_through: u64,

    /// My durable cursor into the peer's journal.
    pub cursor: JournalMark,
    /// The same when everything received will be durable.
    pub provisional: JournalMark,
    /// Something was refused: the cursor stays until the digests are equal.
    pub broken: bool,
    /// Cursor to be acknowledged.
    pub acknowledge: bool,
    /// Entries received that are not durable.
    pub pending: usize,
    /// Position in the peer's journal up to which it has sent what it has to send.
    pub reached: u64,
    /// Place up to which the peer has told of its journal in this session without a gap: from the
    /// start, or from the cursor that was declared.
    pub followed: JournalMark,
    /// The furthest end of the peer's journal that was named.
    pub peer_end: JournalMark,

    pub peer_check: Option<Reckoning>,
    pub check_sent: Option<Reckoning>,
    pub check_owed: bool,
    /// Ends (mine, the peer's) at which both were proven equal.
    pub equal_at: Option<(JournalMark, JournalMark)>,
    pub gave_up: bool,
    pub touched: Millis,
}

impl LaneSync {
    pub fn new(serve: bool, declared: LaneState, cursor: JournalMark) -> Self {
        Self {
            serve,
            declared,
            peer: None,
            sending: Sending::Undecided,
            next: JournalMark::default(),
            streamed: JournalMark::default(),
            marked: 0,
            promised: 0,
            flight: None,
            plan: VecDeque::new(),
            compared: None,
            comparison: None,
            rounds: 0,
            detached_sent: false,
            detached_received: false,
            sent_through: 0,
            cursor,
            provisional: cursor,
            broken: false,
            acknowledge: false,
            pending: 0,
            reached: cursor.position,
            // Nothing is taken on trust: the peer's marks say how far it has come.
            followed: JournalMark::default(),
            peer_end: JournalMark::default(),
            peer_check: None,
            check_sent: None,
            check_owed: false,
            equal_at: None,
            gave_up: false,
            touched: 0,
        }
    }

    /// Forgets the cursor into a life of the peer's journals that is over.
    pub fn forget_cursor(&mut self) {
        self.cursor = JournalMark::default();
        self.provisional = JournalMark::default();
        self.reached = 0;
    }

    /// Lets my stream go on at `mark`.
    pub fn stream_from(&mut self, mark: JournalMark) {
        self.sending = Sending::Streaming;
        self.next = mark;
        self.streamed = mark;
        self.marked = mark.position;
    }

    /// Drops what comparing and checking have begun.
    pub fn abandon(&mut self) {
        self.plan.clear();
        self.comparison = None;
        self.compared = None;
        self.check_owed = false;
    }

    /// The peer named an end of its journal.
    pub fn hear_end(&mut self, end: JournalMark) {
        if end.position > self.peer_end.position {
            self.peer_end = end;
        }
    }

    /// Does what the peer tells from this place on leave out nothing before it? A flight goes where the
    /// dialler guessed; what lies below it comes later.
    pub fn leaves_no_gap(&self, from: JournalMark) -> bool {
        let places = [self.provisional, self.declared.cursor, self.followed];
        from == JournalMark::default() || places.contains(&from)
    }

    /// Has the peer told of its journal from the cursor, or the start, to the end that it named?
    pub fn is_told_whole(&self) -> bool {
        self.followed.position >= self.peer_end.position
    }

    /// An entry went one way or the other: what was reckoned before is stale.
    pub fn touch(&mut self, now: Millis) {
        self.touched = now;
        self.check_sent = None;
        self.peer_check = None;
    }

    /// Do both sides send and check?
    pub fn is_mutual(&self) -> bool {
        self.serve && self.peer.is_some_and(|state| !state.hand_in_only)
    }
}

/// What the frames on a lane channel speak of at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// A run of the sender's journal.
    Journal {
        scope: ScopeId,
        position: u64,
        /// Receiver: the run follows the cursor without a gap.
        follows: bool,
    },
    /// What comparing found.
    Compared { scope: ScopeId },
}

/// The way out on one lane channel.
#[derive(Debug, Default)]
pub(super) struct StreamOut {
    pub logs: StreamLogs,
    pub context: Option<Context>,
    /// Bytes of entry frames sent.
    pub sent: u64,
    /// Of these, what the peer called dealt with.
    pub durable: u64,
}

/// The way in on one lane channel.
#[derive(Debug, Default)]
pub(super) struct StreamIn {
    pub reader: FrameReader,
    pub logs: StreamLogs,
    pub context: Option<Context>,
    /// Bytes of entry frames received.
    pub received: u64,
    /// Of these, what is durable or refused.
    pub dealt: u64,
    /// What of `dealt` the peer was told.
    pub told: u64,
}
