//! What peers say to each other: frames on one control channel and one channel per lane.
//!
//! A frame on the wire is its length as unsigned LEB128 (at most [`LENGTH_BYTES_MAX`] bytes, the
//! shortest form only), then [`crate::codec`] bytes. The length is checked before anything is read.
//! Channels are independent streams: nothing may rely on the order between two of them.
//!
//! Frames live for one connection. They are never signed, hashed or stored.

use crate::codec::{self, Bytes, DecodeError};
use crate::ids::{AuthorityRef, EntryId, Epoch, Incarnation, Lane, ScopeId};
use crate::limits;
use crate::stream::EntryForm;
use serde::{Deserialize, Serialize};

/// The protocol this crate speaks; also in the ALPN, `cairn/1`.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bytes of a frame's length prefix at most.
pub const LENGTH_BYTES_MAX: usize = 4;

/// Bit of [`Open::features`], of the dialler: stay connected after all is equal.
pub const FEATURE_LIVE: u64 = 1;

/// One of the independent streams of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Opens, states, leaves, acknowledgements, checks.
    Control,
    /// Entries of one lane.
    Lane(Lane),
}

impl Channel {
    /// Every channel of a session.
    pub const ALL: [Self; 3] = [
        Self::Control,
        Self::Lane(Lane::Urgent),
        Self::Lane(Lane::Records),
    ];

    /// The first byte on its stream.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Lane(lane) => 1 + lane.as_byte(),
        }
    }

    /// From the first byte on a stream.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Control),
            1 => Some(Self::Lane(Lane::Urgent)),
            2 => Some(Self::Lane(Lane::Records)),
            _ => None,
        }
    }
}

/// The first byte on a stream of ops: a question and its answer, outside any session.
pub const OPS_STREAM: u8 = 3;

/// The unit of replication: one lane of one scope has one journal at each replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScopeLane {
    /// The scope.
    pub scope: ScopeId,
    /// The lane.
    pub lane: Lane,
}

/// A place in a journal: how many entries stand before it, and its owner's running hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct JournalMark {
    /// Entries before this place.
    pub position: u64,
    /// Running hash made by the journal's owner, zeros at position 0; opaque to everybody else.
    pub hash: [u8; 8],
}

/// A mark in one life of a journal. That a peer holds a cursor at a mark says it has, durably,
/// every entry before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Life of the journal the mark is in.
    pub epoch: Epoch,
    /// The place.
    pub mark: JournalMark,
}

/// 16 bytes of BLAKE3 over the sorted leaves of every log of one scope and lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

/// What one side holds in one scope and lane, as it says at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaneState {
    /// Which scope and lane.
    pub of: ScopeLane,
    /// End of my journal, in my epoch.
    pub end: JournalMark,
    /// My cursor into yours, in [`Open::your_epoch`]; position 0 if there is none.
    pub cursor: JournalMark,
    /// My digest.
    pub digest: Digest,
    /// First 8 bytes of a hash over the sorted ids of my detached entries, if there are any.
    pub detached: Option<[u8; 8]>,
    /// True where the receiver has no right (any more): it may hand in, and gets acknowledgements
    /// only. `end` and `digest` are zeros then.
    pub hand_in_only: bool,
}

/// What waits on a device, so that the centre sees it even when the sync then fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Backlog {
    /// Changes that no relay has acknowledged.
    pub changes: u64,
    /// Age of the oldest of them in seconds, by the device's own clock.
    pub oldest_age_s: Option<u64>,
    /// Records in conflict, as far as the device can tell.
    pub conflicts: u64,
}

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// [`PROTOCOL_VERSION`].
    pub protocol: u16,
    /// Optional abilities, a bit each; unknown bits are ignored.
    pub features: u64,
    /// First bytes of the sender's programme. They tell a stranger from a friend; what is admitted is
    /// bound to the whole id by its signature.
    pub programme: [u8; 8],
    /// Incarnation under which the sender writes now.
    pub incarnation: Incarnation,
    /// Life of the sender's journals.
    pub epoch: Epoch,
    /// Life of the receiver's journals that the cursors in `states` speak of.
    pub your_epoch: Option<Epoch>,
    /// Head of the authority's log as the sender holds it.
    pub authority: AuthorityRef,
    /// What waits at the sender.
    pub backlog: Backlog,
    /// Bytes the sender is willing to exchange in this session, both directions together.
    pub byte_budget: Option<u64>,
    /// True where the receiver's membership was revoked: it may hand in, and gets acknowledgements only.
    pub hand_in_only: bool,
    /// Hash over the grants and receipts for the sender that it holds, if there are any. A receiver
    /// that holds others sends them.
    pub side: Option<[u8; 8]>,
    /// Hash of all pair states after the last session that ended equal.
    pub pair: Option<[u8; 16]>,
    /// The states that moved since `pair`, or all of them where there is none.
    pub states: Vec<LaneState>,
}

/// A leaf as it is listed: the log's tag salted for this session, number and first bytes of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeafLine {
    /// First 8 bytes of a keyed hash of the log's id.
    pub tag: [u8; 8],
    /// Number of the leaf in its log.
    pub number: u64,
    /// First 8 bytes of its id.
    pub id: [u8; 8],
}

/// The leaves of one scope and lane, whole or in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeafList {
    /// All of them.
    All(Vec<LeafLine>),
    /// Too many to list: a hash for each of 256 buckets (by the first byte of the tag).
    Buckets(Vec<[u8; 8]>),
    /// The leaves of those buckets that differ, in parts.
    Bucketed {
        /// Lines of this part, in order of their tags.
        lines: Vec<LeafLine>,
        /// True in the last part.
        last: bool,
    },
}

/// Why a session ends; the peer's application close code as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[repr(u32)]
pub enum CloseReason {
    /// Nothing is left to do.
    #[error("done")]
    Done = 0,
    /// The peer broke the protocol.
    #[error("protocol error")]
    Protocol = 1,
    /// The device is not enrolled here.
    #[error("unknown")]
    Unknown = 2,
    /// The device's membership was revoked.
    #[error("revoked")]
    Revoked = 3,
    /// The device has no right to what it asked for.
    #[error("not permitted")]
    NotPermitted = 4,
    /// The peer speaks a protocol this side does not.
    #[error("version")]
    Version = 5,
    /// The peer shuts down and will be back.
    #[error("shutting down")]
    ShuttingDown = 6,
    /// The peer has no room for this session now.
    #[error("busy")]
    Busy = 7,
    /// The peer's store has failed: nothing more is acknowledged.
    #[error("store failed")]
    StoreFailed = 8,
    /// The peer belongs to another programme.
    #[error("another programme")]
    OtherProgramme = 9,
    /// The deadline or the byte budget is reached.
    #[error("budget reached")]
    Budget = 10,
}

impl CloseReason {
    /// From an application close code.
    #[must_use]
    pub const fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Unknown,
            3 => Self::Revoked,
            4 => Self::NotPermitted,
            5 => Self::Version,
            6 => Self::ShuttingDown,
            7 => Self::Busy,
            8 => Self::StoreFailed,
            9 => Self::OtherProgramme,
            10 => Self::Budget,
            _ => return None,
        })
    }
}

/// A frame on the control channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlFrame {
    /// First frame of each side.
    Open(Box<Open>),
    /// Full states, after an [`Open::pair`] that the other side does not know, and for scopes that
    /// came to be shared while the session runs.
    States(Vec<LaneState>),
    /// Authority entries in order, sent unasked to a peer whose head is behind.
    Authority(Vec<Bytes>),
    /// "Let us compare": my leaves. The other side answers with its own unless it has sent them.
    Leaves {
        /// Which scope and lane.
        of: ScopeLane,
        /// True where this list answers one of the receiver's, and asks for none.
        answers: bool,
        /// End of my journal when the list was made: what the list speaks of.
        end: JournalMark,
        /// The list.
        list: LeafList,
    },
    /// Ids on my branch of a log, at n−1, n−2, n−4 … below a leaf of yours that I do not know.
    Probe {
        /// Which scope and lane.
        of: ScopeLane,
        /// Which log.
        tag: [u8; 8],
        /// Number and first 8 bytes of the id, descending.
        ids: Vec<(u64, [u8; 8])>,
    },
    /// I am quiet: this is where we stand by my reckoning.
    Check {
        /// Which scope and lane.
        of: ScopeLane,
        /// End of my journal.
        mine: JournalMark,
        /// The end of yours that I know of.
        yours: JournalMark,
        /// My digest.
        digest: Digest,
        /// First 8 bytes of a hash over the sorted ids of my detached entries, if there are any.
        detached: Option<[u8; 8]>,
    },
    /// My durable cursor into your journal; supersedes every earlier one.
    Ack {
        /// Which scope and lane.
        of: ScopeLane,
        /// The cursor, in your epoch.
        cursor: JournalMark,
    },
    /// Bytes of the lane channel, since the session began, that are dealt with: durable or refused.
    /// Flow control counts by it.
    Durable {
        /// Which lane channel.
        lane: Lane,
        /// Bytes of entry frames, length prefixes included.
        bytes: u64,
    },
    /// The first ids of my detached entries, sorted; what you have beyond them (up to the last of
    /// them, if the list is full) you send, and answer with yours unless you have sent them.
    Detached {
        /// Which scope and lane.
        of: ScopeLane,
        /// The ids.
        ids: Vec<EntryId>,
    },
    /// Sealed scope keys for the receiver.
    Grants(Vec<Bytes>),
    /// The newest receipts of centres.
    Receipts(Vec<Bytes>),
    /// Over quota: come back later. Nothing that was sent is refused for good.
    Later {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// The last frame.
    Bye {
        /// Why.
        reason: CloseReason,
        /// When to come back, if the sender knows.
        retry_after_s: Option<u32>,
    },
    /// From a device that is no member yet: an enrolment request, the first frame of a connection.
    Enrol(Bytes),
    /// The request was granted: the authority's log follows in [`Self::Authority`], keys in
    /// [`Self::Grants`], then the device opens as a member.
    Enrolled,
}

/// A frame on a lane channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaneFrame {
    /// What follows comes from this place of my journal, each entry one position further.
    Journal {
        /// The scope that the following entries belong to.
        scope: ScopeId,
        /// Where it starts, in my epoch.
        from: JournalMark,
    },
    /// What follows was found by comparing, in no order of a journal: it moves no cursor.
    Compared {
        /// The scope that the following entries belong to.
        scope: ScopeId,
    },
    /// One entry.
    Entry(EntryForm),
    /// Entries of the journal that the receiver is known to have.
    Skip {
        /// How many.
        count: u64,
    },
    /// After [`Self::Journal`]: where the journal stands after all that came since. After
    /// [`Self::Compared`]: all that comparing found was sent, for the end that was named then.
    Mark(JournalMark),
}

/// Why bytes on a channel are not frames. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The declared length is over [`limits::FRAME_BYTES_MAX`] or not in its shortest form.
    #[error("a frame length that is not allowed")]
    Length,
    /// The body is not what the channel carries.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

/// The bytes of a frame, length prefix included.
#[must_use]
pub fn write<T: Serialize>(frame: &T) -> Vec<u8> {
    let body = codec::encode(frame);
    let mut out = Vec::with_capacity(LENGTH_BYTES_MAX + body.len());
    let mut rest = body.len();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(&body);
    out
}

/// Cuts the bytes of one channel into frames, holding back at most one unfinished frame.
#[derive(Debug, Default)]
pub struct FrameReader {
    held: Vec<u8>,
    at: usize,
}

impl FrameReader {
    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.held.drain(..self.at);
            self.at = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Bytes taken in and not given out.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len() - self.at
    }

    /// The next whole frame body and its length on the wire, prefix included.
    pub fn next_body(&mut self) -> Result<Option<(&[u8], usize)>, FrameError> {
        let held = &self.held[self.at..];
        let mut length = 0usize;
        let mut prefix = 0;
        loop {
            let Some(byte) = held.get(prefix) else {
                return if prefix >= LENGTH_BYTES_MAX {
                    Err(FrameError::Length)
                } else {
                    Ok(None)
                };
            };
            if prefix >= LENGTH_BYTES_MAX {
                return Err(FrameError::Length);
            }
            length |= ((byte & 0x7f) as usize) << (7 * prefix);
            prefix += 1;
            if byte & 0x80 == 0 {
                if *byte == 0 && prefix > 1 {
                    return Err(FrameError::Length);
                }
                break;
            }
        }
        if length > limits::FRAME_BYTES_MAX {
            return Err(FrameError::Length);
        }
        if held.len() < prefix + length {
            return Ok(None);
        }
        let from = self.at + prefix;
        self.at = from + length;
        Ok(Some((&self.held[from..from + length], prefix + length)))
    }

    /// The next whole frame as a value, and its length on the wire.
    pub fn next_frame<T: for<'de> Deserialize<'de>>(
        &mut self,
    ) -> Result<Option<(T, usize)>, FrameError> {
        match self.next_body()? {
            None => Ok(None),
            Some((body, length)) => Ok(Some((codec::decode(body)?, length))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_break() {
        let mut bytes = Vec::new();
        for count in 0..40 {
            bytes.extend(write(&LaneFrame::Skip {
                count: count * 1000,
            }));
        }
        for step in 1..9 {
            let mut reader = FrameReader::default();
            let mut seen = 0;
            for part in bytes.chunks(step) {
                reader.push(part);
                while let Some((frame, _)) = reader.next_frame::<LaneFrame>().unwrap() {
                    assert_eq!(frame, LaneFrame::Skip { count: seen * 1000 });
                    seen += 1;
                }
            }
            assert_eq!(seen, 40);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_body_comes() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0x7f][..],
            &[0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x80, 0x00],
        ] {
            let mut reader = FrameReader::default();
            reader.push(bytes);
            assert_eq!(reader.next_frame::<LaneFrame>(), Err(FrameError::Length));
        }
    }
}
