//! What goes into a [`Session`](super::Session) and what comes out.

use crate::admission::Refusal;
use crate::holdings::{HoldingsError, Origin, PeerRecord};
use cairn_wire::Entry;
use cairn_wire::frame::{Backlog, Channel, CloseReason, FrameError, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId};
use cairn_wire::stream::FormError;

/// Milliseconds of any clock that only rises.
pub type Millis = u64;

/// Which side opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// This side: it speaks first.
    Dialler,
    /// The other side.
    Acceptor,
}

/// What a session is told when it begins.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Which side this is.
    pub role: Role,
    /// The key that the peer has proven to hold.
    pub peer: DeviceKey,
    /// Salt of the tags in leaf lists. Both sides must have the same, new for every connection:
    /// 8 bytes of keying material exported from it.
    pub salt: [u8; 8],
    /// Dialler: stay after all is equal, and stream what grows. An acceptor does as the dialler says.
    pub live: bool,
    /// Application bytes that this session may cost, both directions together.
    pub byte_budget: Option<u64>,
    /// What the link is known to carry; unknown counts as slow.
    pub link_bytes_per_second: Option<u64>,
    /// Bugs to have, for the simulator to find.
    #[cfg(feature = "planted-bugs")]
    pub faults: Faults,
}

impl SessionConfig {
    /// A session that ends when all is equal, on a link of unknown speed, without a budget.
    #[must_use]
    pub fn new(role: Role, peer: DeviceKey, salt: [u8; 8]) -> Self {
        Self {
            role,
            peer,
            salt,
            live: false,
            byte_budget: None,
            link_bytes_per_second: None,
            #[cfg(feature = "planted-bugs")]
            faults: Faults::default(),
        }
    }
}

/// Bugs that the simulator must be able to find.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Acknowledges entries when they arrive, not when they are durable.
    pub acknowledge_before_durable: bool,
    /// Moves its cursor over a run of the peer's journal wherever that begins.
    pub cursor_ahead_of_data: bool,
    /// Leaves out of a comparison what the peer is thought to have sent.
    pub echo_in_comparison: bool,
}

/// What happens to a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// Bytes of one channel, in its order, cut anywhere. Between channels there is no order.
    Bytes {
        /// Which channel.
        channel: Channel,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The entries of the outstanding [`Output::Append`] are durable, and [`crate::Holdings`] shows them.
    Appended {
        /// How many of them were not held before.
        new: u64,
    },
    /// The outstanding [`Output::AppendAuthority`] is dealt with, and [`crate::Holdings`] shows it.
    AuthorityAppended {
        /// False if an entry did not verify or left a gap. A fork that was recorded is no fault.
        valid: bool,
    },
    /// A journal grew by somebody else's doing: own edits, another session.
    Grown,
    /// The authority's log grew by somebody else's doing.
    AuthorityGrown,
    /// Grants or receipts came by somebody else's doing.
    SideObjectsGrown,
    /// What the link carries, in bytes a second.
    LinkRate(u64),
    /// Stop sending, let what is on the way become durable, then say that the budget is reached.
    Finish,
    /// Close now, for this reason (shutting down, busy, store failed).
    Close(CloseReason),
    /// Nothing but time passed, see [`super::Session::poll_timeout`].
    Tick,
}

/// What a session wants done. To be carried out in order; an answer may come at any later time.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send bytes on a channel.
    Send {
        /// Which channel.
        channel: Channel,
        /// The bytes, whole frames.
        bytes: Vec<u8>,
    },
    /// Make entries durable, in order, then answer [`Input::Appended`]. At most one is outstanding.
    /// Where the store fails, answer [`Input::Close`] with [`CloseReason::StoreFailed`].
    Append {
        /// Admitted entries; some may be held already.
        entries: Vec<Entry>,
        /// Who sent them.
        origin: Origin,
    },
    /// Verify and keep authority entries, then answer [`Input::AuthorityAppended`]. At most one is
    /// outstanding.
    AppendAuthority(Vec<Vec<u8>>),
    /// Remember this of the peer. Before the next [`crate::Session`] with it begins.
    SavePeer(Box<PeerRecord>),
    /// Keep sealed scope keys; not verified.
    PutGrants(Vec<Vec<u8>>),
    /// Keep receipts; not verified.
    PutReceipts(Vec<Vec<u8>>),
    /// What the peer says waits at it.
    Backlog(Backlog),
    /// Everything that both may have is proven equal. Comes again after later growth.
    Equal,
    /// Something that a person may have to know.
    Notice(Notice),
    /// Nothing more comes. Flush what was sent, then close the connection with this reason.
    Closed(CloseReason),
}

/// Something that a person may have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An entry was not admitted. It blocks nobody else's; the peer's cursor stays before it.
    Refused {
        /// The entry.
        id: EntryId,
        /// Its author, as it claims.
        author: DeviceKey,
        /// Why.
        why: Refusal,
    },
    /// The peer holds another authority entry at a height that we hold.
    AuthorityFork {
        /// The height.
        height: u64,
    },
    /// The peer is over a quota, or the budget left things unsent: come back.
    Later {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// Comparing did not make one scope and lane equal. What each side showed was exchanged.
    NotEqual(ScopeLane),
}

/// What a session cost and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes given out to be sent, on all channels.
    pub bytes_sent: u64,
    /// Bytes taken in, on all channels.
    pub bytes_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Entries sent.
    pub entries_sent: u64,
    /// Entries received, refused ones and those that were held included.
    pub entries_received: u64,
    /// Entries received that were not held before.
    pub entries_new: u64,
    /// Entries that were not admitted.
    pub entries_refused: u64,
    /// The byte budget under which the entry that did not fit would have gone; 0 if all did.
    pub budget_wanted_bytes: u64,
    /// How often this side, having spoken, had to wait for the other's word before its own goodbye.
    pub round_trips: u64,
}

/// Why a session had to end, by whose fault it was. The session has said so to the peer: drain its
/// outputs once more.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Peer(#[from] PeerFault),
    /// Our own store could not answer.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
}

impl SessionError {
    /// What the connection is closed with.
    #[must_use]
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::Peer(_) => CloseReason::Protocol,
            Self::Holdings(_) => CloseReason::StoreFailed,
        }
    }
}

/// What a peer did that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An entry form that makes no entry.
    #[error(transparent)]
    Form(#[from] FormError),
    /// Something before its first frame, or a second first frame.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),
    /// More on the way than any window allows.
    #[error("more bytes on the way than the window allows")]
    Window,
    /// A list longer than its limit.
    #[error("a list of {0} that is too long")]
    TooMany(&'static str),
    /// A position or a cursor that contradicts what was said before.
    #[error("a place in a journal that does not fit: {0}")]
    Place(&'static str),
    /// More refused entries than one session bears.
    #[error("too many entries that are not admissible")]
    Junk,
    /// Authority entries that do not verify.
    #[error("authority entries that do not verify")]
    Authority,
    /// More rounds of comparing than two honest replicas need.
    #[error("comparing without end")]
    Rounds,
}
