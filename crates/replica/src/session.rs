//! One peer, one connection: the machine that brings both to the same entries.
//!
//! Feed it [`Input`]s, drain [`Session::poll_output`] after each, and feed [`Input::Tick`] when
//! [`Session::poll_timeout`] has come. The protocol it speaks is `proto/session.md`.
//!
//! Memory is bounded by the flow-control window, by the limits of `cairn_wire::limits` and by the
//! number of leaves and detached entries held here; never by what a peer claims.

mod comparing;
mod ending;
mod lane;
mod opening;
mod port;
mod receiving;
mod sending;
mod sharing;
mod side_objects;

#[cfg(feature = "planted-bugs")]
pub use port::Faults;
pub use port::{
    Counters, Input, Millis, Notice, Output, PeerFault, Role, SessionConfig, SessionError,
};

use crate::holdings::{Holdings, PeerRecord};
use cairn_keys::Standing;
use cairn_wire::frame::{
    self, Channel, CloseReason, ControlFrame, FrameReader, LaneFrame, ScopeLane,
};
use cairn_wire::ids::{DeviceKey, Epoch, Incarnation, Lane, ProgrammeId};
use cairn_wire::limits;
use ending::Ending;
use lane::{LaneSync, StreamIn, StreamOut};
use opening::PeerOpen;
use receiving::Received;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes that wait on one channel for a whole frame, or for the peer's first frame.
const HELD_BYTES_MAX: usize = limits::WINDOW_FAST_BYTES + limits::FRAME_BYTES_MAX;
/// Bytes that are given out in one piece where they can be.
const SEND_BYTES_WANTED: usize = 64 * 1024;

/// The sync with one peer over one connection.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    me: DeviceKey,
    programme: ProgrammeId,
    epoch: Epoch,
    incarnation: Incarnation,

    standing: Standing,
    record: PeerRecord,
    record_changed: bool,
    peer: Option<PeerOpen>,
    lanes: BTreeMap<ScopeLane, LaneSync>,
    /// Lanes whose states moved between the two Opens, to be told after the peer's.
    untold: BTreeSet<ScopeLane>,
    /// States of scopes that are not shared by the membership known here (yet).
    states_unused: BTreeMap<ScopeLane, frame::LaneState>,
    /// The peer's full states are awaited: it named a pair hash that is unknown here.
    states_awaited: bool,
    /// Hash of all pair states that my Open named.
    pair_sent: Option<[u8; 16]>,

    control: FrameReader,
    streams_in: [StreamIn; 2],
    streams_out: [StreamOut; 2],
    window_bytes: usize,
    /// Short-term memory of what was sent, so that a comparison does not send it again.
    sent: BTreeSet<cairn_wire::EntryId>,

    queue: VecDeque<Received>,
    outstanding: Option<Vec<Received>>,
    authority: opening::AuthorityExchange,
    side_known: BTreeSet<[u8; 8]>,
    side_changed: bool,
    side_received: usize,

    /// When it was last given an input.
    now: Millis,
    probes_received: usize,
    ending: Ending,
    counters: Counters,
    spoke: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// Begins; a dialler speaks at once.
    pub fn new(
        config: SessionConfig,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<Self, SessionError> {
        let record = holdings.peer(&config.peer)?;
        let mut session = Self {
            me: holdings.device(),
            programme: holdings.programme(),
            epoch: holdings.epoch(),
            incarnation: holdings.incarnation(),
            standing: Standing::Unknown,
            record,
            record_changed: false,
            peer: None,
            lanes: BTreeMap::new(),
            untold: BTreeSet::new(),
            states_unused: BTreeMap::new(),
            states_awaited: false,
            pair_sent: None,
            control: FrameReader::default(),
            streams_in: Default::default(),
            streams_out: Default::default(),
            window_bytes: limits::WINDOW_SLOW_BYTES,
            sent: BTreeSet::new(),
            queue: VecDeque::new(),
            outstanding: None,
            authority: opening::AuthorityExchange::default(),
            side_known: BTreeSet::new(),
            side_changed: false,
            side_received: 0,
            now,
            probes_received: 0,
            ending: Ending::default(),
            counters: Counters::default(),
            spoke: false,
            outputs: VecDeque::new(),
            config,
        };
        if let Some(rate) = session.config.link_bytes_per_second {
            session.set_rate(rate);
        }
        session.share(holdings);
        if session.config.role == Role::Dialler {
            session.speak_first(now, holdings)?;
        }
        Ok(session)
    }

    /// Takes one input. After an error the session has said goodbye: drain its outputs and close.
    pub fn handle(
        &mut self,
        now: Millis,
        input: Input,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if self.ending.is_closed() {
            return Ok(());
        }
        self.now = now;
        let result = self
            .take(now, input, holdings)
            .and_then(|()| self.advance(now, holdings));
        if let Err(error) = &result {
            self.close_at_once(error.close_reason());
        }
        result
    }

    /// What to do next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`], if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.next_timeout()
    }

    /// What it cost and did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether [`Output::Closed`] was given out or waits to be.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ending.is_closed()
    }

    /// Are entries or authority entries with the store at the moment, or waiting to go there?
    #[must_use]
    pub fn awaits_store(&self) -> bool {
        self.outstanding.is_some() || !self.queue.is_empty() || self.authority.outstanding
    }

    fn take(
        &mut self,
        now: Millis,
        input: Input,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if holdings.epoch() != self.epoch || holdings.incarnation() != self.incarnation {
            // What was said of our journals no longer holds.
            self.close_at_once(CloseReason::ShuttingDown);
            return Ok(());
        }
        match input {
            Input::Bytes { channel, bytes } => self.take_bytes(now, channel, &bytes, holdings),
            Input::Appended { new } => {
                self.counters.entries_new += new;
                self.settle_outstanding(now, holdings)?;
                Ok(())
            }
            Input::AuthorityAppended { valid } => {
                self.authority.outstanding = false;
                if !valid {
                    return Err(PeerFault::Authority.into());
                }
                self.authority_changed(now, true, holdings)
            }
            Input::AuthorityGrown => self.authority_changed(now, false, holdings),
            Input::SideObjectsGrown => {
                self.side_changed = true;
                Ok(())
            }
            Input::LinkRate(rate) => {
                self.set_rate(rate);
                Ok(())
            }
            Input::Finish => {
                self.ending.finish(now);
                Ok(())
            }
            Input::Close(reason) => {
                self.close_at_once(reason);
                Ok(())
            }
            Input::Grown | Input::Tick => Ok(()),
        }
    }

    fn take_bytes(
        &mut self,
        now: Millis,
        channel: Channel,
        bytes: &[u8],
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        self.counters.bytes_received += bytes.len() as u64;
        if self.spoke && !self.ending.bye_sent() {
            self.counters.round_trips += 1;
        }
        self.spoke = false;
        let reader = match channel {
            Channel::Control => &mut self.control,
            Channel::Lane(lane) => &mut self.streams_in[lane as usize].reader,
        };
        if reader.held_bytes() + bytes.len() > HELD_BYTES_MAX + SEND_BYTES_WANTED {
            return Err(PeerFault::Window.into());
        }
        reader.push(bytes);
        if channel == Channel::Control {
            while !self.ending.is_closed() {
                let Some((frame, _)) = self
                    .control
                    .next_frame::<ControlFrame>()
                    .map_err(PeerFault::from)?
                else {
                    break;
                };
                self.counters.frames_received += 1;
                self.take_control(now, frame, holdings)?;
            }
        }
        Ok(())
    }

    fn take_control(
        &mut self,
        now: Millis,
        frame: ControlFrame,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        match frame {
            ControlFrame::Open(open) => return self.take_open(now, *open, holdings),
            ControlFrame::Bye { reason, .. } => {
                self.ending.hear_bye(reason);
                return Ok(());
            }
            ControlFrame::Enrol(_) | ControlFrame::Enrolled => {
                return Err(PeerFault::OutOfTurn("an enrolment").into());
            }
            _ if self.peer.is_none() => {
                return Err(PeerFault::OutOfTurn("a frame before the first").into());
            }
            ControlFrame::States(states) => self.take_states(now, states, holdings)?,
            ControlFrame::Authority(entries) => self.take_authority(entries)?,
            ControlFrame::Leaves {
                of,
                answers,
                end,
                list,
            } => self.take_leaves(now, of, answers, end, list, holdings)?,
            ControlFrame::Probe { of, tag, ids } => self.take_probe(of, tag, &ids, holdings)?,
            ControlFrame::Check {
                of,
                mine,
                yours,
                digest,
                detached,
            } => {
                let check = lane::Reckoning {
                    mine,
                    yours,
                    digest,
                    detached,
                };
                self.take_check(of, check, holdings);
            }
            ControlFrame::Ack { of, cursor } => self.take_ack(of, cursor, holdings)?,
            ControlFrame::Durable { lane, bytes } => {
                let stream = &mut self.streams_out[lane as usize];
                if bytes < stream.durable || bytes > stream.sent {
                    return Err(PeerFault::Place("more durable than was sent").into());
                }
                stream.durable = bytes;
            }
            ControlFrame::Detached { of, ids } => self.take_detached(now, of, ids, holdings)?,
            ControlFrame::Grants(grants) => {
                self.take_side(&grants, limits::GRANTS_MAX, limits::GRANT_BYTES_MAX)?;
                let grants = grants.into_iter().map(|it| it.0).collect();
                self.outputs.push_back(Output::PutGrants(grants));
            }
            ControlFrame::Receipts(rows) => {
                self.take_side(&rows, limits::RECEIPTS_MAX, limits::RECEIPT_BYTES_MAX)?;
                let rows = rows.into_iter().map(|it| it.0).collect();
                self.outputs.push_back(Output::PutReceipts(rows));
            }
            ControlFrame::Later { retry_after_s } => {
                self.notice(Notice::Later { retry_after_s });
            }
        }
        Ok(())
    }

    /// Does everything that can be done now.
    fn advance(&mut self, now: Millis, holdings: &dyn Holdings) -> Result<(), SessionError> {
        if self.ending.is_closed() {
            return Ok(());
        }
        if self.may_take_lanes(holdings) {
            for lane in Lane::ALL {
                self.take_lane_frames(now, lane, holdings)?;
            }
        }
        self.hand_over(holdings)?;
        self.acknowledge();
        if self.peer.is_some() {
            self.send_authority(holdings)?;
            self.send_side_objects(holdings)?;
            self.pump(now, holdings)?;
            self.check_lanes(now, holdings)?;
            // A comparison that began or ended in a check may have left something to send.
            self.pump(now, holdings)?;
        }
        self.end_if_due(now, holdings);
        Ok(())
    }

    /// May the entries of the peer be judged? Not before it has said who it is, nor while it is
    /// about to tell of authority entries that admission may need.
    fn may_take_lanes(&self, holdings: &dyn Holdings) -> bool {
        self.peer.is_some()
            && self.standing != Standing::Unknown
            && !self.authority.is_awaited(holdings)
    }

    fn set_rate(&mut self, bytes_per_second: u64) {
        self.window_bytes = if bytes_per_second < limits::SLOW_LINK_BYTES_PER_SECOND {
            limits::WINDOW_SLOW_BYTES
        } else {
            limits::WINDOW_FAST_BYTES
        };
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn say(&mut self, frame: &ControlFrame) {
        self.send_bytes(Channel::Control, frame::write(frame));
    }

    /// Sends a frame on a lane channel and gives its length.
    fn say_on(&mut self, lane: Lane, frame: &LaneFrame) -> u64 {
        let bytes = frame::write(frame);
        let length = bytes.len() as u64;
        self.send_bytes(Channel::Lane(lane), bytes);
        length
    }

    fn send_bytes(&mut self, channel: Channel, bytes: Vec<u8>) {
        self.counters.bytes_sent += bytes.len() as u64;
        self.counters.frames_sent += 1;
        self.spoke = true;
        if let Some(Output::Send {
            channel: last,
            bytes: held,
        }) = self.outputs.back_mut()
            && *last == channel
            && held.len() + bytes.len() <= SEND_BYTES_WANTED
        {
            held.extend_from_slice(&bytes);
            return;
        }
        self.outputs.push_back(Output::Send { channel, bytes });
    }
}
