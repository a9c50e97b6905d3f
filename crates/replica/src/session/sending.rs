//! Sending entries: urgent first, inside the window and the budget, never back to where they came from.

use super::Session;
use super::lane::{Context, Sending};
use super::port::{Millis, Output, SessionError};
use super::sharing::carries_all;
use crate::holdings::{Holdings, JournalItem, Origin, PeerRecord};
use cairn_wire::frame::{Cursor, JournalMark, LaneFrame, ScopeLane};
use cairn_wire::ids::Lane;
use cairn_wire::limits;
use cairn_wire::{Entry, EntryId};

/// What an entry's frame adds to its bytes at most (it leaves out more).
const ENTRY_FRAME_BYTES: u64 = 24;
/// Entry bytes read from the journal at a time: as many as can be sent, between these two.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// Ids of sent entries that are remembered.
const SENT_IDS_MAX: usize = 4096;
/// What stays of a byte budget for acknowledgements and the goodbye.
pub(super) const BUDGET_RESERVE_BYTES: u64 = 512;
/// Bytes of a leaf in a list.
const LEAF_LINE_BYTES: u64 = 20;

/// How far sending one lane got.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing is left to send.
    Through,
    /// The window or the budget is full.
    Full,
}

impl Session {
    /// The dialler's unasked entries: what no relay has acknowledged. No skips: what the peer holds
    /// in its present life is not known yet.
    pub(super) fn send_first_flight(
        &mut self,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let mut room = limits::FIRST_FLIGHT_BYTES_MAX.min(self.window_bytes) as u64;
        let relays = self.relays(holdings)?;
        for of in self.lanes_in_order() {
            let Some(lane) = self.lanes.get(&of).filter(|lane| lane.serve) else {
                continue;
            };
            let end = lane.declared.end.position;
            let Some(from) = self.acknowledged_by_any(of, &relays) else {
                continue;
            };
            if from >= end || room == 0 {
                continue;
            }
            let Some(start) = holdings.journal_mark(of, from)? else {
                continue;
            };
            let items = holdings.journal(of, from, room as usize)?;
            let mut after = start;
            for item in items {
                let cost = item.entry.bytes().len() as u64 + ENTRY_FRAME_BYTES;
                let from_peer = item.origins.iter().any(|it| it.peer == self.config.peer)
                    || item.entry.header().log.device == self.config.peer;
                if from_peer || cost > room || !self.has_budget(cost) {
                    break;
                }
                self.enter(
                    of.lane,
                    Context::Journal {
                        scope: of.scope,
                        position: after.position,
                        follows: true,
                    },
                    after,
                );
                room -= cost;
                after = item.after;
                self.send_entry(now, of, &item.entry);
            }
            if after != start {
                self.say_on(of.lane, &LaneFrame::Mark(after));
                if let Some(lane) = self.lanes.get_mut(&of) {
                    lane.flight = Some((start.position, after));
                }
            }
        }
        Ok(())
    }

    /// What is remembered of every relay.
    fn relays(&self, holdings: &dyn Holdings) -> Result<Vec<PeerRecord>, SessionError> {
        let mut records = Vec::new();
        for member in holdings.membership().members() {
            if carries_all(member.role) && member.public.device != self.config.peer {
                records.push(holdings.peer(&member.public.device)?);
            }
        }
        Ok(records)
    }

    /// How far this peer or some relay has acknowledged my journal in its present life. `None` if it
    /// was acknowledged in an earlier life only: then comparing is cheaper than guessing.
    fn acknowledged_by_any(&self, of: ScopeLane, relays: &[PeerRecord]) -> Option<u64> {
        let records = relays.iter().chain([&self.record]);
        let acknowledged: Vec<Cursor> = records
            .filter_map(|record| record.lanes.get(&of)?.acknowledged)
            .collect();
        let now = acknowledged.iter().filter(|it| it.epoch == self.epoch);
        let furthest = now.map(|it| it.mark.position).max();
        if furthest.is_none() && acknowledged.iter().any(|it| it.mark.position > 0) {
            return None;
        }
        Some(furthest.unwrap_or(0))
    }

    /// Sends what may be sent now.
    pub(super) fn pump(
        &mut self,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        for of in self.lanes_in_order() {
            if !self.ending.may_send() || self.authority.unanswered {
                return Ok(());
            }
            if self.send_compared(now, of, holdings)? == Progress::Full
                || self.send_journal(now, of, holdings)? == Progress::Full
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Urgent lanes first.
    pub(super) fn lanes_in_order(&self) -> Vec<ScopeLane> {
        Lane::ALL
            .into_iter()
            .flat_map(|lane| self.lanes.keys().filter(move |of| of.lane == lane))
            .copied()
            .collect()
    }

    fn send_journal(
        &mut self,
        now: Millis,
        of: ScopeLane,
        holdings: &dyn Holdings,
    ) -> Result<Progress, SessionError> {
        let end = holdings.journal_end(of);
        let mut full = false;
        while !full {
            let Some(lane) = self.lanes.get(&of) else {
                return Ok(Progress::Through);
            };
            if lane.sending != Sending::Streaming || lane.next.position >= end.position {
                break;
            }
            let read_bytes = READ_BYTES_MAX.min(self.room_bytes().max(READ_BYTES_MIN));
            let items = holdings.journal(of, lane.next.position, read_bytes)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                if self.is_with_peer(&item) {
                    if let Some(lane) = self.lanes.get_mut(&of) {
                        lane.next = item.after;
                    }
                    continue;
                }
                if !self.has_room(&item.entry) {
                    full = true;
                    break;
                }
                self.send_item(now, of, &item);
            }
        }
        self.send_mark(of, end);
        Ok(if full {
            Progress::Full
        } else {
            Progress::Through
        })
    }

    /// The echo rule: did the peer send it in its present life, was it sent just now, or did the
    /// peer write it itself?
    fn is_with_peer(&self, item: &JournalItem) -> bool {
        let Some(peer) = &self.peer else {
            return false;
        };
        let origin = Origin {
            peer: self.config.peer,
            epoch: peer.epoch,
        };
        let log = item.entry.header().log;
        item.origins.contains(&origin)
            || self.sent.contains(&item.entry.id())
            || (log.device == self.config.peer && log.incarnation == peer.incarnation)
    }

    fn send_item(&mut self, now: Millis, of: ScopeLane, item: &JournalItem) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        let (streamed, next) = (lane.streamed, lane.next);
        lane.streamed = item.after;
        lane.next = item.after;
        self.tell_skip(of, streamed, next);
        self.send_entry(now, of, &item.entry);
    }

    /// Tells the peer of positions that need no entry.
    fn tell_skip(&mut self, of: ScopeLane, streamed: JournalMark, next: JournalMark) {
        self.enter(
            of.lane,
            Context::Journal {
                scope: of.scope,
                position: streamed.position,
                follows: true,
            },
            streamed,
        );
        let count = next.position.saturating_sub(streamed.position);
        if count > 0 {
            self.say_on(of.lane, &LaneFrame::Skip { count });
            if let Some(Context::Journal { position, .. }) =
                &mut self.streams_out[of.lane as usize].context
            {
                *position = next.position;
            }
        }
    }

    /// Says where the journal stands after what was sent. What needs no entry is told of only where
    /// the peer was promised to hear of it.
    fn send_mark(&mut self, of: ScopeLane, end: JournalMark) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        if lane.sending != Sending::Streaming {
            return;
        }
        let (streamed, next) = (lane.streamed, lane.next);
        if next.position == end.position && streamed.position < lane.promised {
            lane.streamed = next;
            self.tell_skip(of, streamed, next);
        }
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        if lane.marked < lane.streamed.position {
            let mark = lane.streamed;
            lane.marked = mark.position;
            self.tell_skip(of, mark, mark);
            self.say_on(of.lane, &LaneFrame::Mark(mark));
        }
    }

    fn send_compared(
        &mut self,
        now: Millis,
        of: ScopeLane,
        holdings: &dyn Holdings,
    ) -> Result<Progress, SessionError> {
        loop {
            let Some(lane) = self.lanes.get_mut(&of) else {
                return Ok(Progress::Through);
            };
            let Some(stretch) = lane.plan.front_mut() else {
                break;
            };
            let Some(id) = stretch.peek(holdings)? else {
                lane.plan.pop_front();
                continue;
            };
            let entry = self.entry_to_compare(&id, holdings)?;
            if let Some(entry) = entry {
                if !self.has_room(&entry) {
                    return Ok(Progress::Full);
                }
                let context = Context::Compared { scope: of.scope };
                self.enter(of.lane, context, JournalMark::default());
                self.send_entry(now, of, &entry);
            }
            if let Some(stretch) = self.lanes.get_mut(&of).and_then(|it| it.plan.front_mut()) {
                stretch.advance();
            }
        }
        self.close_comparison(of);
        Ok(Progress::Through)
    }

    /// Comparing sends whatever the peer was not shown to have; what was sent a moment ago is on
    /// its way already.
    fn entry_to_compare(
        &self,
        id: &EntryId,
        holdings: &dyn Holdings,
    ) -> Result<Option<Entry>, SessionError> {
        if self.sent.contains(id) {
            return Ok(None);
        }
        let entry = holdings.entry(id)?;
        #[cfg(feature = "planted-bugs")]
        if self.config.faults.echo_in_comparison {
            return Ok(entry.filter(|it| it.header().log.device != self.config.peer));
        }
        Ok(entry)
    }

    /// All that comparing found is sent: the peer may count on the end that was named.
    fn close_comparison(&mut self, of: ScopeLane) {
        let Some(mark) = self.lanes.get_mut(&of).and_then(|it| it.compared.take()) else {
            return;
        };
        let context = Context::Compared { scope: of.scope };
        self.enter(of.lane, context, JournalMark::default());
        self.say_on(of.lane, &LaneFrame::Mark(mark));
    }

    /// Names what the following frames speak of, unless it goes on as before.
    fn enter(&mut self, lane: Lane, context: Context, from: JournalMark) {
        let stream = &mut self.streams_out[lane as usize];
        if stream.context == Some(context) {
            return;
        }
        stream.context = Some(context);
        let frame = match context {
            Context::Journal { scope, .. } => LaneFrame::Journal { scope, from },
            Context::Compared { scope } => LaneFrame::Compared { scope },
        };
        self.say_on(lane, &frame);
    }

    fn send_entry(&mut self, now: Millis, of: ScopeLane, entry: &Entry) {
        let stream = &mut self.streams_out[of.lane as usize];
        let form = stream.logs.shorten(entry);
        if let Some(Context::Journal { position, .. }) = &mut stream.context {
            *position += 1;
        }
        let length = self.say_on(of.lane, &LaneFrame::Entry(form));
        self.counters.entries_sent += 1;
        let stream = &mut self.streams_out[of.lane as usize];
        stream.sent += length;
        let through = stream.sent;
        if self.sent.len() < SENT_IDS_MAX {
            self.sent.insert(entry.id());
        }
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.sent_through = through;
            lane.touch(now);
        }
    }

    /// Is there room for an entry in the window and in the budget?
    fn has_room(&mut self, entry: &Entry) -> bool {
        let cost = entry.bytes().len() as u64 + ENTRY_FRAME_BYTES;
        if !self.has_budget(cost) {
            self.counters.budget_wanted_bytes = self.budget_for(cost);
            self.ending.budget_reached();
            return false;
        }
        let undurable = self.undurable_bytes();
        undurable == 0 || undurable + cost <= self.window_bytes as u64
    }

    fn undurable_bytes(&self) -> u64 {
        self.streams_out.iter().map(|it| it.sent - it.durable).sum()
    }

    fn room_bytes(&self) -> usize {
        self.window_bytes
            .saturating_sub(usize::try_from(self.undurable_bytes()).unwrap_or(usize::MAX))
    }

    fn has_budget(&self, cost: u64) -> bool {
        let theirs = self.peer.as_ref().and_then(|it| it.byte_budget);
        let Some(budget) = self.config.byte_budget.into_iter().chain(theirs).min() else {
            return true;
        };
        self.budget_for(cost) <= budget
    }

    /// The byte budget under which something of that length can go now.
    fn budget_for(&self, cost: u64) -> u64 {
        self.counters.bytes_sent + self.counters.bytes_received + cost + BUDGET_RESERVE_BYTES
    }

    /// Is streaming from the peer's cursor cheaper than comparing leaves, or as cheap?
    pub(super) fn may_stream(
        &self,
        of: ScopeLane,
        cursor: Option<JournalMark>,
        holdings: &dyn Holdings,
    ) -> Result<bool, SessionError> {
        let (Some(cursor), Some(lane)) = (cursor, self.lanes.get(&of)) else {
            return Ok(false);
        };
        let nothing = crate::holdings::digest_of([]);
        let peer_is_empty = lane
            .peer
            .is_some_and(|it| it.digest == nothing && it.detached.is_none());
        if peer_is_empty || lane.declared.end.position == 0 {
            return Ok(true);
        }
        if cursor.position == 0 {
            return Ok(false);
        }
        let backlog = holdings.journal_bytes_from(of, cursor.position)?;
        let list = holdings.leaf_count(of) as u64 * LEAF_LINE_BYTES;
        Ok(backlog <= (limits::FIRST_FLIGHT_BYTES_MAX as u64).max(16 * list))
    }

    /// The peer's word that it holds my journal up to a place.
    pub(super) fn take_ack(
        &mut self,
        of: ScopeLane,
        cursor: JournalMark,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if !self.lanes.contains_key(&of) {
            return Ok(());
        }
        if holdings.journal_mark(of, cursor.position)? != Some(cursor) {
            return Err(super::PeerFault::Place("an acknowledgement").into());
        }
        self.remember_acknowledged(of, cursor);
        Ok(())
    }

    /// Tells the store what to remember of the peer, if it changed.
    pub(super) fn save_peer(&mut self) {
        if std::mem::take(&mut self.record_changed) {
            let record = Box::new(self.record.clone());
            self.outputs.push_back(Output::SavePeer(record));
        }
    }
}
