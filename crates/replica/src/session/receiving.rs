//! Receiving entries: judged, handed to the store in order, acknowledged when durable.

use super::Session;
use super::lane::Context;
use super::port::{Millis, Notice, Output, PeerFault, SessionError};
use crate::admission::{self, Refusal};
use crate::holdings::{Holdings, HoldingsError, Origin, PeerLane};
use cairn_wire::Entry;
use cairn_wire::frame::{ControlFrame, JournalMark, LaneFrame, ScopeLane};
use cairn_wire::ids::Lane;
use cairn_wire::limits;
use cairn_wire::stream::EntryForm;

/// Refused entries after which a peer is no longer listened to.
const REFUSED_MAX: u64 = 256;
/// Entries and marks that wait for the store.
const QUEUE_ITEMS_MAX: usize = 16 * 1024;
/// Bytes on the way that no honest sender exceeds.
const UNDURABLE_BYTES_MAX: u64 = (limits::WINDOW_FAST_BYTES + limits::FRAME_BYTES_MAX) as u64;

/// Something received, in the order in which it becomes durable.
#[derive(Debug)]
pub(super) enum Received {
    /// An admitted entry, until it is handed over.
    Entry {
        of: ScopeLane,
        entry: Option<Box<Entry>>,
        bytes: u64,
    },
    /// All before it being durable, the cursor may move here.
    Cursor { of: ScopeLane, mark: JournalMark },
    /// The same if by then what was strange to that round of comparing is held.
    Compared {
        of: ScopeLane,
        mark: JournalMark,
        round: u32,
    },
}

impl Session {
    pub(super) fn take_lane_frames(
        &mut self,
        now: Millis,
        lane: Lane,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        while !self.ending.is_closed() {
            let reader = &mut self.streams_in[lane as usize].reader;
            let Some((frame, length)) =
                reader.next_frame::<LaneFrame>().map_err(PeerFault::from)?
            else {
                break;
            };
            self.counters.frames_received += 1;
            match frame {
                LaneFrame::Journal { scope, from } => self.begin_run(lane, scope, from),
                LaneFrame::Compared { scope } => {
                    self.streams_in[lane as usize].context = Some(Context::Compared { scope });
                }
                LaneFrame::Entry(form) => {
                    self.take_entry(now, lane, form, length as u64, holdings)?;
                }
                LaneFrame::Skip { count } => self.take_skip(lane, count)?,
                LaneFrame::Mark(mark) => self.take_mark(lane, mark)?,
            }
        }
        Ok(())
    }

    fn begin_run(&mut self, lane: Lane, scope: cairn_wire::ScopeId, from: JournalMark) {
        let of = ScopeLane { scope, lane };
        let known = self.lanes.get(&of);
        let follows = known.is_some_and(|it| it.leaves_no_gap(from));
        #[cfg(feature = "planted-bugs")]
        let follows = follows || self.config.faults.cursor_ahead_of_data;
        self.streams_in[lane as usize].context = Some(Context::Journal {
            scope,
            position: from.position,
            follows,
        });
    }

    fn take_entry(
        &mut self,
        now: Millis,
        lane: Lane,
        form: EntryForm,
        length: u64,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let programme = self.programme;
        let stream = &mut self.streams_in[lane as usize];
        let scope = match &mut stream.context {
            None => return Err(PeerFault::OutOfTurn("an entry of no scope").into()),
            Some(Context::Compared { scope }) => *scope,
            Some(Context::Journal {
                scope, position, ..
            }) => {
                *position = position
                    .checked_add(1)
                    .ok_or(PeerFault::Place("a position beyond all numbers"))?;
                *scope
            }
        };
        let of = ScopeLane { scope, lane };
        let entry = stream
            .logs
            .lengthen(form, programme, of)
            .map_err(PeerFault::from)?;
        stream.received += length;
        self.counters.entries_received += 1;
        let undurable: u64 = self
            .streams_in
            .iter()
            .map(|it| it.received - it.dealt)
            .sum();
        if undurable > UNDURABLE_BYTES_MAX {
            return Err(PeerFault::Window.into());
        }
        if let Err(why) = self.judge(of, &entry, holdings)? {
            return Ok(self.refuse(of, &entry, length, why)?);
        }
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.pending += 1;
            lane.touch(now);
        }
        self.enqueue(Received::Entry {
            of,
            entry: Some(Box::new(entry)),
            bytes: length,
        })?;
        Ok(())
    }

    fn judge(
        &self,
        of: ScopeLane,
        entry: &Entry,
        holdings: &dyn Holdings,
    ) -> Result<Result<(), Refusal>, SessionError> {
        if !self.lanes.contains_key(&of) {
            return Ok(Err(Refusal::NotShared));
        }
        if holdings.holds(&entry.id())? {
            return Ok(Ok(()));
        }
        Ok(admission::admit(
            entry,
            &self.programme,
            holdings.membership(),
        ))
    }

    fn refuse(
        &mut self,
        of: ScopeLane,
        entry: &Entry,
        length: u64,
        why: Refusal,
    ) -> Result<(), PeerFault> {
        self.counters.entries_refused += 1;
        self.streams_in[of.lane as usize].dealt += length;
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.broken = true;
        }
        self.notice(Notice::Refused {
            id: entry.id(),
            author: entry.header().log.device,
            why,
        });
        if self.counters.entries_refused > REFUSED_MAX {
            return Err(PeerFault::Junk);
        }
        Ok(())
    }

    fn take_skip(&mut self, lane: Lane, count: u64) -> Result<(), PeerFault> {
        match &mut self.streams_in[lane as usize].context {
            Some(Context::Journal { position, .. }) => {
                *position = position
                    .checked_add(count)
                    .ok_or(PeerFault::Place("a position beyond all numbers"))?;
                Ok(())
            }
            _ => Err(PeerFault::OutOfTurn("a skip outside a journal")),
        }
    }

    fn take_mark(&mut self, lane: Lane, mark: JournalMark) -> Result<(), PeerFault> {
        let Some(context) = &mut self.streams_in[lane as usize].context else {
            return Err(PeerFault::OutOfTurn("a mark of no scope"));
        };
        let scope = match context {
            Context::Compared { scope } | Context::Journal { scope, .. } => *scope,
        };
        let of = ScopeLane { scope, lane };
        let known = self.lanes.get_mut(&of);
        let whole = match context {
            // What a comparison that is complete on this side too was answered with reaches as far as
            // a journal would.
            Context::Compared { .. } => {
                let comparison = known.as_ref().and_then(|it| it.comparison.as_ref());
                comparison.is_some_and(|it| it.is_complete())
            }
            Context::Journal {
                position, follows, ..
            } => {
                if *position != mark.position {
                    return Err(PeerFault::Place("a mark beside its entries"));
                }
                *follows |= known.as_ref().is_some_and(|it| it.leaves_no_gap(mark));
                *follows
            }
        };
        let Some(lane) = known else {
            return Ok(());
        };
        lane.hear_end(mark);
        lane.reached = lane.reached.max(mark.position);
        if !whole {
            return Ok(());
        }
        let compared = matches!(context, Context::Compared { .. });
        if compared && lane.comparison.as_ref().is_some_and(|it| it.has_strange()) {
            let round = lane.rounds;
            return self.enqueue(Received::Compared { of, mark, round });
        }
        lane.followed = mark;
        if lane.broken {
            return Ok(());
        }
        // The whole of a shorter journal than the cursor is into: the peer is another copy of its device.
        let replaces = !lane.serve && lane.is_told_whole() && mark != lane.provisional;
        if replaces {
            lane.cursor = JournalMark::default();
        }
        if replaces || mark.position > lane.provisional.position {
            lane.provisional = mark;
            return self.enqueue(Received::Cursor { of, mark });
        }
        Ok(())
    }

    fn enqueue(&mut self, item: Received) -> Result<(), PeerFault> {
        if let (
            Some(Received::Cursor { of, mark }),
            Received::Cursor {
                of: same,
                mark: later,
            },
        ) = (self.queue.back_mut(), &item)
            && of == same
        {
            *mark = *later;
            return Ok(());
        }
        if self.queue.len() >= QUEUE_ITEMS_MAX {
            return Err(PeerFault::TooMany("entries and marks"));
        }
        self.queue.push_back(item);
        Ok(())
    }

    /// Hands what waits to the store, unless it is busy with what came before.
    pub(super) fn hand_over(&mut self, holdings: &dyn Holdings) -> Result<(), HoldingsError> {
        if self.outstanding.is_some() || self.queue.is_empty() {
            return Ok(());
        }
        let mut items: Vec<Received> = self.queue.drain(..).collect();
        let entries: Vec<Entry> = items
            .iter_mut()
            .filter_map(|item| match item {
                Received::Entry { entry, .. } => entry.take().map(|it| *it),
                Received::Cursor { .. } | Received::Compared { .. } => None,
            })
            .collect();
        if entries.is_empty() {
            return self.settle(items, holdings);
        }
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        let origin = Origin {
            peer: self.config.peer,
            epoch: peer.epoch,
        };
        #[cfg(feature = "planted-bugs")]
        if self.config.faults.acknowledge_before_durable {
            self.outputs.push_back(Output::Append { entries, origin });
            self.settle(items, holdings)?;
            self.acknowledge();
            self.save_peer();
            self.outstanding = Some(Vec::new());
            return Ok(());
        }
        self.outputs.push_back(Output::Append { entries, origin });
        self.outstanding = Some(items);
        Ok(())
    }

    pub(super) fn settle_outstanding(
        &mut self,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<(), HoldingsError> {
        let items = self.outstanding.take().unwrap_or_default();
        for item in &items {
            if let Received::Entry { of, .. } = item
                && let Some(lane) = self.lanes.get_mut(of)
            {
                lane.touched = now;
            }
        }
        self.settle(items, holdings)
    }

    /// These are durable: cursors move, bytes count as dealt with.
    fn settle(
        &mut self,
        items: Vec<Received>,
        holdings: &dyn Holdings,
    ) -> Result<(), HoldingsError> {
        for item in items {
            match item {
                Received::Entry { of, bytes, .. } => {
                    self.streams_in[of.lane as usize].dealt += bytes;
                    if let Some(lane) = self.lanes.get_mut(&of) {
                        lane.pending = lane.pending.saturating_sub(1);
                    }
                }
                Received::Cursor { of, mark } => self.move_cursor(of, mark),
                Received::Compared { of, mark, round } => {
                    let lane = self.lanes.get_mut(&of).filter(|it| it.rounds == round);
                    let answered = match lane.and_then(|it| it.comparison.as_mut()) {
                        Some(comparison) => comparison.is_answered(holdings)?,
                        None => false,
                    };
                    if answered {
                        self.move_cursor(of, mark);
                    }
                }
            }
        }
        Ok(())
    }

    fn move_cursor(&mut self, of: ScopeLane, mark: JournalMark) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        if mark.position <= lane.cursor.position {
            return;
        }
        lane.cursor = mark;
        if mark.position > lane.provisional.position {
            lane.provisional = mark;
        }
        lane.acknowledge = true;
        self.remember_cursor(of, mark);
    }

    pub(super) fn remember_cursor(&mut self, of: ScopeLane, mark: JournalMark) {
        let lane = self.record.lanes.entry(of).or_insert(PeerLane {
            cursor: JournalMark::default(),
            acknowledged: None,
        });
        if lane.cursor != mark {
            lane.cursor = mark;
            self.record_changed = true;
        }
    }

    /// Says what has become durable since it was last said.
    pub(super) fn acknowledge(&mut self) {
        let due: Vec<_> = self
            .lanes
            .iter_mut()
            .filter_map(|(of, lane)| {
                std::mem::take(&mut lane.acknowledge).then_some((*of, lane.cursor))
            })
            .collect();
        for (of, cursor) in due {
            self.say(&ControlFrame::Ack { of, cursor });
        }
        for lane in Lane::ALL {
            let stream = &mut self.streams_in[lane as usize];
            if stream.told < stream.dealt {
                stream.told = stream.dealt;
                let bytes = stream.dealt;
                self.say(&ControlFrame::Durable { lane, bytes });
            }
        }
    }
}
