//! Quiet, equal, done: checks, pair states, budgets and goodbyes.

use super::Session;
use super::lane::{LaneSync, Reckoning, Sending};
use super::opening::{detached_hash, pair_hash};
use super::port::{Millis, Output, SessionError};
use crate::holdings::{Holdings, PairRecord};
use cairn_keys::Standing;
use cairn_wire::frame::{CloseReason, ControlFrame, JournalMark, ScopeLane};

/// How long a live session lets a lane rest before it checks once more.
const LIVE_QUIET_MS: Millis = 2_000;
/// When to look again at what was due and could not be done.
const LOOK_AGAIN_MS: Millis = 250;
/// How long what is on the way may take to become durable once the end has come.
const FINISH_MS: Millis = 1_500;
/// How long the peer's goodbye is awaited.
const LINGER_MS: Millis = 5_000;
/// How long a session that has done what it came for waits for the proof, which growth may prevent.
const PATIENCE_MS: Millis = 5_000;
/// How long a peer that no one knows may take to show that it is a member.
const UNKNOWN_MS: Millis = 15_000;

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    finish_asked: bool,
    finishing_since: Option<Millis>,
    budget_reached: bool,
    revoked: bool,
    /// Since when each side holds what the other held at the start.
    through_since: Option<Millis>,
    /// When both had said who they are.
    met_at: Option<Millis>,
    said_bye: Option<(Millis, CloseReason)>,
    heard_bye: Option<CloseReason>,
    closed: bool,
    /// Equal was said, and nothing has moved since.
    equal_said: bool,
    /// Equal was said at some time.
    was_equal: bool,
}

impl Ending {
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn bye_sent(&self) -> bool {
        self.said_bye.is_some()
    }

    pub fn hear_bye(&mut self, reason: CloseReason) {
        self.heard_bye.get_or_insert(reason);
    }

    /// The peer has said who it is.
    pub fn meet(&mut self, now: Millis) {
        self.met_at = Some(now);
    }

    /// The deadline has come.
    pub fn finish(&mut self, now: Millis) {
        self.finish_asked = true;
        self.finishing_since.get_or_insert(now);
    }

    pub fn budget_reached(&mut self) {
        self.budget_reached = true;
    }

    /// The peer lost its membership while the session ran.
    pub fn revoke(&mut self) {
        self.revoked = true;
    }

    /// May entries still be sent?
    pub fn may_send(&self) -> bool {
        !self.finish_asked
            && !self.budget_reached
            && !self.revoked
            && self.said_bye.is_none()
            && self.heard_bye.is_none()
    }
}

impl Session {
    /// Both hold the same at these ends: cursors move there, on both sides.
    pub(super) fn conclude(&mut self, of: ScopeLane, mine: JournalMark, theirs: JournalMark) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        lane.hear_end(theirs);
        lane.reached = lane.reached.max(theirs.position);
        lane.equal_at = Some((mine, theirs));
        // The peer may be waiting for the rest of one that is under way.
        lane.comparison.take_if(|it| it.is_complete());
        lane.rounds = 0;
        lane.detached_sent = false;
        lane.detached_received = false;
        lane.broken = false;
        if theirs.position >= lane.cursor.position {
            lane.cursor = theirs;
            lane.acknowledge = false;
        }
        if theirs.position >= lane.provisional.position {
            lane.provisional = theirs;
        }
        if lane.sending != Sending::Streaming || lane.next.position <= mine.position {
            lane.stream_from(mine);
        } else if lane.streamed.position < mine.position {
            lane.streamed = mine;
            lane.marked = mine.position;
        }
        let cursor = lane.cursor;
        self.remember_cursor(of, cursor);
        self.remember_acknowledged(of, mine);
    }

    pub(super) fn take_check(&mut self, of: ScopeLane, check: Reckoning, holdings: &dyn Holdings) {
        let Some(lane) = self.lanes.get_mut(&of).filter(|it| it.is_mutual()) else {
            return;
        };
        lane.hear_end(check.mine);
        // Whoever is quiet has sent what it has to send.
        lane.reached = lane.reached.max(check.mine.position);
        lane.peer_check = Some(check);
        let mine = reckon(of, lane, holdings);
        if check.yours == mine.mine
            && check.digest == mine.digest
            && check.detached == mine.detached
        {
            let answer = Reckoning {
                yours: check.mine,
                ..mine
            };
            lane.check_owed = lane.check_sent != Some(answer);
            self.conclude(of, mine.mine, check.mine);
        }
    }

    /// Checks every lane that is quiet, and compares again where both are and yet differ.
    pub(super) fn check_lanes(
        &mut self,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if !self.ending.may_send() {
            return Ok(());
        }
        for of in self.lanes_in_order() {
            let Some(lane) = self.lanes.get(&of).filter(|it| it.is_mutual()) else {
                continue;
            };
            let mine = reckon(of, lane, holdings);
            let idle = self.is_idle(of, lane, holdings);
            let Some(lane) = self.lanes.get_mut(&of) else {
                continue;
            };
            if std::mem::take(&mut lane.check_owed) {
                self.say_check(of, mine);
                continue;
            }
            if !idle || lane.gave_up {
                continue;
            }
            let differs = lane.peer_check.take_if(|check| {
                check.yours == mine.mine
                    && check.mine == mine.yours
                    && lane.equal_at.is_none_or(|at| at != (mine.mine, mine.yours))
            });
            if let Some(check) = differs {
                if check.digest == mine.digest {
                    self.compare_detached(of, holdings);
                } else {
                    self.say_check(of, mine);
                    self.compare(now, of, false, holdings)?;
                }
                continue;
            }
            let equal = lane.equal_at == Some((mine.mine, mine.yours));
            let rested = !self.rests() || now >= self.lanes[&of].touched + LIVE_QUIET_MS;
            let Some(lane) = self.lanes.get(&of) else {
                continue;
            };
            let quiet = lane.reached >= lane.peer_end.position;
            if quiet && !equal && rested && lane.check_sent != Some(mine) {
                self.say_check(of, mine);
            }
        }
        Ok(())
    }

    fn say_check(&mut self, of: ScopeLane, check: Reckoning) {
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.check_sent = Some(check);
        }
        self.say(&ControlFrame::Check {
            of,
            mine: check.mine,
            yours: check.yours,
            digest: check.digest,
            detached: check.detached,
        });
    }

    /// After the first equality a live session checks only lanes that have rested.
    fn rests(&self) -> bool {
        self.ending.was_equal && self.peer.as_ref().is_some_and(|it| it.live)
    }

    /// Is everything sent, durable at the peer, and everything received durable here?
    fn is_idle(&self, of: ScopeLane, lane: &LaneSync, holdings: &dyn Holdings) -> bool {
        let all_sent = match lane.sending {
            Sending::Undecided | Sending::Comparing => false,
            Sending::Nothing => true,
            Sending::Streaming => lane.next.position >= holdings.journal_end(of).position,
        };
        all_sent
            && lane.plan.is_empty()
            && lane.compared.is_none()
            && lane.comparison.as_ref().is_none_or(|it| it.is_complete())
            && lane.pending == 0
            && self.streams_out[of.lane as usize].durable >= lane.sent_through
    }

    /// Has this lane nothing left to do?
    fn is_done(&self, of: ScopeLane, lane: &LaneSync, holdings: &dyn Holdings) -> bool {
        let Some(peer) = lane.peer else {
            return true;
        };
        if peer.hand_in_only && !lane.serve {
            return lane.pending == 0;
        }
        if peer.hand_in_only || lane.gave_up {
            return self.is_idle(of, lane, holdings);
        }
        if !lane.serve {
            return lane.pending == 0 && lane.is_told_whole();
        }
        lane.pending == 0
            && lane.equal_at == Some((holdings.journal_end(of), lane.peer_end))
            && !lane.check_owed
    }

    /// Does each side hold, by cursors, what the other held at the start? So ends a session between
    /// replicas that grow all the time and are never quiet together.
    fn is_through(&self, of: ScopeLane, lane: &LaneSync) -> bool {
        let acknowledged = self.record.lanes.get(&of).and_then(|it| it.acknowledged);
        let acknowledged = acknowledged.filter(|it| it.epoch == self.epoch);
        let peer_end = lane.peer.map_or(0, |it| it.end.position);
        lane.is_mutual()
            && lane.cursor.position >= peer_end
            && acknowledged.is_some_and(|it| it.mark.position >= lane.declared.end.position)
    }

    fn completion(&self, holdings: &dyn Holdings) -> Completion {
        let settled = self.peer.is_some()
            && self.standing != Standing::Unknown
            && !self.states_awaited
            && !self.authority.is_awaited(holdings);
        if !settled {
            return Completion::Open;
        }
        let mut completion = Completion::Complete;
        for (of, lane) in &self.lanes {
            if self.is_done(*of, lane, holdings) {
                continue;
            }
            if !self.is_through(*of, lane) {
                return Completion::Open;
            }
            completion = Completion::Through;
        }
        if completion == Completion::Complete && self.awaits_store() {
            return Completion::Open;
        }
        completion
    }

    pub(super) fn end_if_due(&mut self, now: Millis, holdings: &dyn Holdings) {
        let completion = self.completion(holdings);
        let complete = completion == Completion::Complete;
        if completion == Completion::Through {
            self.ending.through_since.get_or_insert(now);
        } else {
            self.ending.through_since = None;
        }
        if complete && !self.ending.equal_said {
            self.remember_pair(holdings);
            self.save_peer();
            if self.is_mutual() && !self.lanes.values().any(|lane| lane.gave_up) {
                self.outputs.push_back(Output::Equal);
                self.ending.was_equal = true;
            }
        }
        self.ending.equal_said = complete;
        self.save_peer();
        let through = self.ending.through_since;
        let patience_ms = if self.ending.finish_asked {
            0
        } else {
            PATIENCE_MS
        };
        let through = through.is_some_and(|since| now >= since + patience_ms);
        self.say_bye_if_due(now, complete || through);
        self.close_if_due(now);
    }

    fn is_live(&self) -> bool {
        self.peer.as_ref().is_some_and(|it| it.live)
    }

    fn is_mutual(&self) -> bool {
        self.standing == Standing::Member && self.peer.as_ref().is_some_and(|it| !it.hand_in_only)
    }

    /// Both sides keep a hash over all that was proven equal, so that the next Open is short.
    fn remember_pair(&mut self, holdings: &dyn Holdings) {
        let Some(peer) = &self.peer else {
            return;
        };
        let lanes = || self.lanes.iter().filter(|(_, lane)| lane.is_mutual());
        let provable = self.is_mutual()
            && lanes().all(|(of, lane)| !lane.gave_up && holdings.detached(*of).is_empty());
        if !provable {
            return;
        }
        let states = lanes()
            .filter_map(|(of, lane)| {
                let (mine, theirs) = lane.equal_at?;
                Some((*of, (mine, theirs, holdings.digest(*of))))
            })
            .collect();
        let hash = pair_hash(
            (&self.me, self.epoch),
            (&self.config.peer, peer.epoch),
            &states,
        );
        let pair = Some(PairRecord {
            hash,
            my_epoch: self.epoch,
            peer_epoch: peer.epoch,
            states,
        });
        if self.record.pair != pair {
            self.record.pair = pair;
            self.record_changed = true;
        }
    }

    fn say_bye_if_due(&mut self, now: Millis, all_done: bool) {
        if let (Some(reason), None) = (self.ending.heard_bye, &self.peer) {
            self.close_at_once(reason);
            return;
        }
        let Some(met_at) = self.ending.met_at else {
            if self.ending.finish_asked {
                self.close_at_once(CloseReason::Budget);
            }
            return;
        };
        if self.standing == Standing::Unknown && now >= met_at + UNKNOWN_MS {
            self.close_at_once(CloseReason::Unknown);
            return;
        }
        if self.ending.bye_sent() || self.awaits_store() {
            return;
        }
        let hands_in = self.peer.as_ref().is_some_and(|it| it.hand_in_only);
        // Nothing will ever be sent to it: once it has handed in, it is told so, live or not.
        let may_go = self.standing == Standing::Revoked;
        let reason = if let Some(reason) = self.ending.heard_bye {
            if self.standing == Standing::Revoked {
                CloseReason::Revoked
            } else if reason == CloseReason::Revoked {
                CloseReason::Done
            } else {
                reason
            }
        } else if self.ending.revoked {
            CloseReason::Revoked
        } else if all_done && (!self.is_live() || hands_in || may_go || self.ending.finish_asked) {
            match self.standing {
                Standing::Revoked => CloseReason::Revoked,
                _ => CloseReason::Done,
            }
        } else if self.ending.finish_asked || self.ending.budget_reached {
            let since = *self.ending.finishing_since.get_or_insert(now);
            let on_the_way = self.streams_out.iter().any(|it| it.durable < it.sent);
            if on_the_way && now < since + FINISH_MS {
                return;
            }
            CloseReason::Budget
        } else {
            return;
        };
        self.ending.said_bye = Some((now, reason));
        self.say(&ControlFrame::Bye {
            reason,
            retry_after_s: None,
        });
    }

    fn close_if_due(&mut self, now: Millis) {
        let Some((since, reason)) = self.ending.said_bye else {
            return;
        };
        let hands_in = self.peer.as_ref().is_some_and(|it| it.hand_in_only);
        let closed = match self.ending.heard_bye {
            Some(_) if hands_in => CloseReason::Revoked,
            // The word that weighs more: the peer's refusal, else mine.
            Some(CloseReason::Done) => reason,
            Some(heard) => heard,
            None if now >= since + LINGER_MS && hands_in => CloseReason::Revoked,
            None if now >= since + LINGER_MS => reason,
            None => return,
        };
        self.close(closed);
    }

    /// Says goodbye without waiting for anything.
    pub(super) fn close_at_once(&mut self, reason: CloseReason) {
        if self.ending.closed {
            return;
        }
        self.save_peer();
        if !self.ending.bye_sent() {
            self.say(&ControlFrame::Bye {
                reason,
                retry_after_s: None,
            });
        }
        self.close(reason);
    }

    fn close(&mut self, reason: CloseReason) {
        self.ending.closed = true;
        self.outputs.push_back(Output::Closed(reason));
    }

    /// What was due at the last input and was not done waits for something else than time: it is looked
    /// at again soon, not at once without end.
    pub(super) fn next_timeout(&self) -> Option<Millis> {
        if self.ending.closed {
            return None;
        }
        let once = if let Some((since, _)) = self.ending.said_bye {
            Some(since + LINGER_MS)
        } else if let Some(since) = self.ending.finishing_since {
            Some(since + FINISH_MS)
        } else if self.standing == Standing::Unknown {
            self.ending.met_at.map(|at| at + UNKNOWN_MS)
        } else if let Some(since) = self.ending.through_since.filter(|_| !self.is_live()) {
            Some(since + PATIENCE_MS)
        } else if self.rests() {
            return self.next_rested();
        } else {
            None
        };
        once.map(|due| self.not_at_once(due))
    }

    /// When the next lane will have rested long enough to be checked.
    fn next_rested(&self) -> Option<Millis> {
        self.lanes
            .values()
            .filter(|lane| lane.is_mutual() && !lane.gave_up && lane.check_sent.is_none())
            .filter(|lane| {
                lane.equal_at
                    .is_none_or(|(mine, theirs)| mine != lane.next || theirs != lane.peer_end)
            })
            .map(|lane| lane.touched + LIVE_QUIET_MS)
            .min()
            .map(|due| self.not_at_once(due))
    }

    fn not_at_once(&self, due: Millis) -> Millis {
        if due > self.now {
            due
        } else {
            self.now + LOOK_AGAIN_MS
        }
    }
}

/// How much of what there was to do is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completion {
    /// Not all.
    Open,
    /// What was there at the start; both grow and are not proven equal.
    Through,
    /// All.
    Complete,
}

/// Where a lane stands by my reckoning.
fn reckon(of: ScopeLane, lane: &LaneSync, holdings: &dyn Holdings) -> Reckoning {
    Reckoning {
        mine: holdings.journal_end(of),
        yours: lane.peer_end,
        digest: holdings.digest(of),
        detached: detached_hash(&holdings.detached(of)),
    }
}
