//! The first frames: who we are, what we share, where we stand; authority entries and side objects.

use super::port::{Millis, Notice, Output, PeerFault, Role, SessionError};
use super::sharing::sharing;
use super::{LaneSync, Session};
use crate::holdings::{Holdings, HoldingsError, PairRecord, PeerLane};
use cairn_keys::{NO_AUTHORITY, Standing};
use cairn_wire::codec::Bytes;
use cairn_wire::frame::{
    CloseReason, ControlFrame, Cursor, Digest, FEATURE_LIVE, JournalMark, LaneState, Open,
    PROTOCOL_VERSION, ScopeLane,
};
use cairn_wire::ids::{AuthorityRef, Epoch, Incarnation, Lane};
use cairn_wire::stream::Speaker;
use cairn_wire::{hash, limits};
use std::collections::{BTreeMap, VecDeque};

/// Authority entries taken in that wait for the store, in bytes.
const AUTHORITY_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the peer's first frame said that still matters.
#[derive(Debug)]
pub(super) struct PeerOpen {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    /// Life of my journals that its cursors speak of.
    pub my_epoch: Option<Epoch>,
    pub live: bool,
    pub byte_budget: Option<u64>,
    pub hand_in_only: bool,
    /// Its hash over side objects, until it is answered.
    pub side: Option<Option<[u8; 8]>>,
}

/// Who holds how much of the authority's log, and what is on the way.
#[derive(Debug, Default)]
pub(super) struct AuthorityExchange {
    /// How many entries the peer declared.
    declared: u64,
    /// How many the peer holds or was sent.
    peer_has: u64,
    /// How many the peer has shown to hold by what it sent.
    received: u64,
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    pub outstanding: bool,
    /// How many this side declared.
    told: u64,
    /// Entries beyond `told` were sent, and the peer has not said that it took them in. Until then
    /// nothing is sent that admission may need them for: the lanes could overtake them.
    pub unanswered: bool,
}

impl AuthorityExchange {
    /// Has the peer declared more than is held here, and not yet delivered it?
    pub fn is_awaited(&self, holdings: &dyn Holdings) -> bool {
        let held = entries_up_to(holdings.authority_head());
        self.outstanding || !self.queue.is_empty() || self.declared > held.max(self.received)
    }
}

/// How many entries of the authority's log whoever names that head holds. A replica that lost entry 0
/// holds none, and is given it again.
fn entries_up_to(head: AuthorityRef) -> u64 {
    match head {
        NO_AUTHORITY => 0,
        head => head.height.saturating_add(1),
    }
}

impl Session {
    /// Works out anew what is shared, and adds lanes that came to be.
    pub(super) fn share(&mut self, holdings: &dyn Holdings) -> Vec<ScopeLane> {
        let sharing = sharing(holdings, &self.config.peer);
        self.standing = sharing.standing;
        for (of, lane) in &mut self.lanes {
            if sharing.lanes.get(of) != Some(&true) {
                lane.serve = false;
            }
        }
        let mut added = Vec::new();
        for (of, serve) in sharing.lanes {
            if let Some(lane) = self.lanes.get_mut(&of) {
                // A right that comes back comes back with the next session.
                lane.serve &= serve;
                continue;
            }
            let cursor = self.record.lanes.get(&of).map(|it| it.cursor);
            let cursor = cursor.unwrap_or_default();
            let declared = declare(of, serve, cursor, holdings);
            self.lanes
                .insert(of, LaneSync::new(serve, declared, cursor));
            added.push(of);
        }
        added
    }

    pub(super) fn speak_first(
        &mut self,
        now: Millis,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let pair = self.usable_pair();
        self.say_open(pair.as_ref(), holdings)?;
        if self.standing == Standing::Member {
            self.send_first_flight(now, holdings)?;
        }
        Ok(())
    }

    pub(super) fn take_open(
        &mut self,
        now: Millis,
        open: Open,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if self.peer.is_some() {
            return Err(PeerFault::OutOfTurn("a second first frame").into());
        }
        if open.protocol != PROTOCOL_VERSION {
            self.close_at_once(CloseReason::Version);
            return Ok(());
        }
        if open.programme != first_8(self.programme.0) {
            self.close_at_once(CloseReason::OtherProgramme);
            return Ok(());
        }
        let (held, declared) = (
            entries_up_to(holdings.authority_head()),
            entries_up_to(open.authority),
        );
        if self.standing == Standing::Unknown && declared <= held {
            self.close_at_once(CloseReason::Unknown);
            return Ok(());
        }
        check_states(&open.states)?;
        self.notice_authority_fork(&open, holdings);
        self.authority.declared = declared;
        self.authority.peer_has = declared;
        self.outputs.push_back(Output::Backlog(open.backlog));
        self.meet(&open);
        self.ending.meet(now);

        let known = self.record.pair.clone().filter(|pair| {
            open.pair == Some(pair.hash)
                && pair.my_epoch == self.epoch
                && pair.peer_epoch == open.epoch
        });
        let untold = std::mem::take(&mut self.untold);
        match self.config.role {
            Role::Acceptor => {
                self.states_awaited = open.pair.is_some() && known.is_none();
                self.say_open(known.as_ref(), holdings)?;
            }
            Role::Dialler
                if open.pair.is_some() && (open.pair != self.pair_sent || known.is_none()) =>
            {
                return Err(PeerFault::OutOfTurn("a pair hash that was not named").into());
            }
            Role::Dialler if open.pair.is_none() && self.pair_sent.is_some() => {
                self.say(&ControlFrame::States(self.declared(self.lanes.keys())));
            }
            Role::Dialler if !untold.is_empty() => {
                self.say(&ControlFrame::States(self.declared(untold.iter())));
            }
            Role::Dialler => {}
        }
        let mut states = known.map(|pair| implied_states(&pair)).unwrap_or_default();
        states.extend(open.states.iter().map(|state| (state.of, *state)));
        self.learn_states(now, states.into_values(), holdings)
    }

    /// Remembers who the peer is; its old cursors are void if its journals began a new life.
    fn meet(&mut self, open: &Open) {
        if self.record.epoch != Some(open.epoch) {
            self.record.epoch = Some(open.epoch);
            self.record.pair = None;
            self.record.side.clear();
            for lane in self.record.lanes.values_mut() {
                lane.cursor = JournalMark::default();
                // What it acknowledged in another life, it may have lost.
                lane.acknowledged = None;
            }
            for lane in self.lanes.values_mut() {
                lane.forget_cursor();
                if self.config.role == Role::Acceptor {
                    lane.declared.cursor = JournalMark::default();
                }
            }
            self.record_changed = true;
        }
        for stream in &mut self.streams_in {
            stream.logs.spoken_by(Speaker {
                device: self.config.peer,
                incarnation: open.incarnation,
                authority: open.authority,
            });
        }
        self.peer = Some(PeerOpen {
            epoch: open.epoch,
            incarnation: open.incarnation,
            my_epoch: open.your_epoch,
            live: match self.config.role {
                Role::Dialler => self.config.live,
                Role::Acceptor => open.features & FEATURE_LIVE != 0,
            },
            byte_budget: open.byte_budget,
            hand_in_only: open.hand_in_only,
            side: Some(open.side),
        });
    }

    fn notice_authority_fork(&mut self, open: &Open, holdings: &dyn Holdings) {
        let height = open.authority.height;
        if open.authority != NO_AUTHORITY
            && let Some(id) = holdings.membership().id_at(height)
            && id.at(height) != open.authority
        {
            self.notice(Notice::AuthorityFork { height });
        }
    }

    pub(super) fn take_states(
        &mut self,
        now: Millis,
        states: Vec<LaneState>,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        check_states(&states)?;
        self.states_awaited = false;
        self.authority.unanswered = false;
        self.learn_states(now, states.into_iter(), holdings)
    }

    fn learn_states(
        &mut self,
        now: Millis,
        states: impl Iterator<Item = LaneState>,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        for state in states {
            let Some(lane) = self.lanes.get_mut(&state.of) else {
                if self.states_unused.len() < 2 * limits::SCOPES_SHARED_MAX {
                    self.states_unused.insert(state.of, state);
                }
                continue;
            };
            match lane.peer {
                None => lane.hear_end(state.end),
                // The right is lost: from now on this side only hands in, from the cursor named here.
                Some(known) if state.hand_in_only && !known.hand_in_only => lane.abandon(),
                Some(_) => continue,
            }
            lane.peer = Some(state);
            self.decide(now, state.of, holdings)?;
        }
        Ok(())
    }

    /// Both states are known: how does my journal get to the peer?
    fn decide(
        &mut self,
        now: Millis,
        of: ScopeLane,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let cursor = self.valid_cursor(of, holdings)?;
        let Some(lane) = self.lanes.get_mut(&of) else {
            return Ok(());
        };
        let Some(peer) = lane.peer else {
            return Ok(());
        };
        if !lane.serve {
            lane.sending = super::lane::Sending::Nothing;
            return Ok(());
        }
        let mine = lane.declared;
        let equal =
            !peer.hand_in_only && peer.digest == mine.digest && peer.detached == mine.detached;
        if equal {
            self.conclude(of, mine.end, peer.end);
            return Ok(());
        }
        let streams = peer.hand_in_only || self.may_stream(of, cursor, holdings)?;
        let Some(lane) = self.lanes.get_mut(&of) else {
            return Ok(());
        };
        if !streams {
            return self.compare(now, of, false, holdings);
        }
        lane.promised = mine.end.position;
        if peer.hand_in_only {
            // Where the right was lost on the way, later ends were named since.
            lane.promised = holdings.journal_end(of).position;
        }
        let from = cursor.unwrap_or_default();
        match lane.flight {
            Some((start, after)) if start == from.position => lane.stream_from(after),
            _ => lane.stream_from(from),
        }
        if peer.hand_in_only {
            // It ends when my mark has come, so one is due even where nothing else is.
            lane.marked = 0;
        }
        Ok(())
    }

    /// The peer's cursor into my journal, if it stands in this life of it.
    fn valid_cursor(
        &mut self,
        of: ScopeLane,
        holdings: &dyn Holdings,
    ) -> Result<Option<JournalMark>, HoldingsError> {
        let Some(cursor) = self
            .lanes
            .get(&of)
            .and_then(|it| it.peer)
            .map(|it| it.cursor)
        else {
            return Ok(None);
        };
        let of_now = self.peer.as_ref().and_then(|it| it.my_epoch) == Some(self.epoch);
        let valid = cursor == JournalMark::default()
            || (of_now && holdings.journal_mark(of, cursor.position)? == Some(cursor));
        // Its word of today counts, also where it is less than before: its disk may be an older one.
        self.remember_acknowledged(
            of,
            if valid {
                cursor
            } else {
                JournalMark::default()
            },
        );
        Ok(valid.then_some(cursor))
    }

    pub(super) fn remember_acknowledged(&mut self, of: ScopeLane, mark: JournalMark) {
        let epoch = self.epoch;
        let lane = self.record.lanes.entry(of).or_insert(PeerLane {
            cursor: JournalMark::default(),
            acknowledged: None,
        });
        let acknowledged = Some(Cursor { epoch, mark });
        if lane.acknowledged != acknowledged {
            lane.acknowledged = acknowledged;
            self.record_changed = true;
        }
    }

    /// The hash of all pair states that the next Open may name.
    fn usable_pair(&self) -> Option<PairRecord> {
        let pair = self.record.pair.clone()?;
        let fits = pair.my_epoch == self.epoch
            && self.record.epoch == Some(pair.peer_epoch)
            && self.standing == Standing::Member
            && pair
                .states
                .keys()
                .all(|of| self.lanes.get(of).is_some_and(|lane| lane.serve));
        fits.then_some(pair)
    }

    fn say_open(
        &mut self,
        pair: Option<&PairRecord>,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let unknown = self.standing == Standing::Unknown;
        let states = if unknown {
            Vec::new()
        } else {
            self.lanes
                .values()
                .map(|lane| lane.declared)
                .filter(|mine| !pair.is_some_and(|pair| is_implied(pair, mine)))
                .collect()
        };
        self.pair_sent = pair.map(|pair| pair.hash);
        self.authority.told = entries_up_to(holdings.authority_head());
        let side = self.side_hash(holdings)?;
        let open = Open {
            protocol: PROTOCOL_VERSION,
            features: if self.config.live { FEATURE_LIVE } else { 0 },
            programme: first_8(self.programme.0),
            incarnation: self.incarnation,
            epoch: self.epoch,
            your_epoch: self.record.epoch,
            authority: holdings.authority_head(),
            backlog: holdings.backlog(),
            byte_budget: self.config.byte_budget,
            hand_in_only: self.standing == Standing::Revoked,
            side,
            pair: self.pair_sent,
            states,
        };
        for stream in &mut self.streams_out {
            stream.logs.spoken_by(Speaker {
                device: self.me,
                incarnation: open.incarnation,
                authority: open.authority,
            });
        }
        self.say(&ControlFrame::Open(Box::new(open)));
        Ok(())
    }

    /// The authority's log grew here, or could not: rights may have come or gone.
    pub(super) fn authority_changed(
        &mut self,
        now: Millis,
        answers: bool,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let before = self.standing;
        let served: Vec<_> = self.served();
        let added = self.share(holdings);
        let lost: Vec<_> = served
            .into_iter()
            .filter(|of| self.lanes.get(of).is_none_or(|lane| !lane.serve))
            .collect();
        for of in &lost {
            self.withdraw(*of);
        }
        let opened = self.peer.is_some() || self.config.role == Role::Dialler;
        if opened && self.standing == Standing::Revoked && before == Standing::Member {
            self.ending.revoke();
        }
        if self.peer.is_none() {
            self.untold.extend(lost.into_iter().chain(added));
            return Ok(());
        }
        if self.standing == Standing::Unknown {
            if !self.authority.is_awaited(holdings) {
                self.close_at_once(CloseReason::Unknown);
            }
            return Ok(());
        }
        let news = if before == Standing::Unknown {
            self.lanes.keys().copied().collect()
        } else {
            added
        };
        let states = self.declared(lost.iter().chain(&news));
        let settled = !self.authority.is_awaited(holdings);
        if !states.is_empty() || (answers && settled) {
            self.say(&ControlFrame::States(states));
        }
        let unused: Vec<_> = news
            .iter()
            .filter_map(|of| self.states_unused.remove(of))
            .collect();
        self.learn_states(now, unused.into_iter(), holdings)
    }

    fn declared<'a>(&self, of: impl Iterator<Item = &'a ScopeLane>) -> Vec<LaneState> {
        of.filter_map(|of| self.lanes.get(of))
            .map(|lane| lane.declared)
            .collect()
    }

    fn served(&self) -> Vec<ScopeLane> {
        let served = self.lanes.iter().filter(|(_, lane)| lane.serve);
        served.map(|(of, _)| *of).collect()
    }

    /// The peer has lost its right: nothing more of it is sent.
    fn withdraw(&mut self, of: ScopeLane) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        lane.abandon();
        lane.sending = super::lane::Sending::Nothing;
        lane.declared.hand_in_only = true;
        lane.declared.end = JournalMark::default();
        lane.declared.digest = Digest([0; 16]);
        lane.declared.detached = None;
        lane.declared.cursor = lane.cursor;
    }

    pub(super) fn take_authority(&mut self, entries: Vec<Bytes>) -> Result<(), SessionError> {
        for Bytes(bytes) in entries {
            self.authority.queued_bytes += bytes.len();
            if bytes.len() > limits::AUTHORITY_ENTRY_BYTES_MAX
                || self.authority.queued_bytes > AUTHORITY_QUEUE_BYTES_MAX
            {
                return Err(PeerFault::TooMany("authority entries").into());
            }
            if let Ok(entry) = cairn_keys::authority::AuthorityEntry::parse(&bytes) {
                let shown = entry.height.saturating_add(1);
                self.authority.received = self.authority.received.max(shown);
                self.authority.peer_has = self.authority.peer_has.max(shown);
            }
            self.authority.queue.push_back(bytes);
        }
        self.hand_over_authority();
        Ok(())
    }

    pub(super) fn hand_over_authority(&mut self) {
        if self.authority.outstanding || self.authority.queue.is_empty() {
            return;
        }
        self.authority.outstanding = true;
        self.authority.queued_bytes = 0;
        let entries = self.authority.queue.drain(..).collect();
        self.outputs.push_back(Output::AppendAuthority(entries));
    }

    /// Sends what the peer lacks of the authority's log; never to one that is revoked.
    pub(super) fn send_authority(&mut self, holdings: &dyn Holdings) -> Result<(), SessionError> {
        self.hand_over_authority();
        let held = entries_up_to(holdings.authority_head());
        if self.standing != Standing::Member || self.ending.bye_sent() {
            return Ok(());
        }
        while self.authority.peer_has < held {
            let from = self.authority.peer_has;
            let entries = holdings.authority_entries(from, limits::AUTHORITY_FRAME_BYTES_MAX)?;
            if entries.is_empty() {
                break;
            }
            self.authority.peer_has += entries.len() as u64;
            // Whoever learns more answers with the states of what came to be shared.
            self.states_awaited = true;
            self.authority.unanswered |= held > self.authority.told;
            let entries = entries.into_iter().map(Bytes).collect();
            self.say(&ControlFrame::Authority(entries));
        }
        Ok(())
    }
}

pub(super) fn first_8(hash: [u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&hash[..8]);
    out
}

fn check_states(states: &[LaneState]) -> Result<(), PeerFault> {
    if states.len() > 2 * limits::SCOPES_SHARED_MAX {
        return Err(PeerFault::TooMany("states"));
    }
    Ok(())
}

/// My state of a lane as it stands now.
fn declare(of: ScopeLane, serve: bool, cursor: JournalMark, holdings: &dyn Holdings) -> LaneState {
    if !serve {
        return LaneState {
            of,
            end: JournalMark::default(),
            cursor,
            digest: Digest([0; 16]),
            detached: None,
            hand_in_only: true,
        };
    }
    LaneState {
        of,
        end: holdings.journal_end(of),
        cursor,
        digest: holdings.digest(of),
        detached: detached_hash(&holdings.detached(of)),
        hand_in_only: false,
    }
}

/// The hash over the sorted ids of detached entries, if there are any.
pub(super) fn detached_hash(ids: &[cairn_wire::EntryId]) -> Option<[u8; 8]> {
    if ids.is_empty() {
        return None;
    }
    let parts: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
    Some(first_8(hash::derive(hash::DETACHED_CONTEXT, &parts)))
}

/// Does the pair hash stand for this state?
fn is_implied(pair: &PairRecord, mine: &LaneState) -> bool {
    pair.states
        .get(&mine.of)
        .is_some_and(|(my_end, peer_end, digest)| {
            *my_end == mine.end
                && *peer_end == mine.cursor
                && *digest == mine.digest
                && mine.detached.is_none()
        })
}

/// The peer's states that a pair hash stands for.
fn implied_states(pair: &PairRecord) -> BTreeMap<ScopeLane, LaneState> {
    pair.states
        .iter()
        .map(|(of, (my_end, peer_end, digest))| {
            let state = LaneState {
                of: *of,
                end: *peer_end,
                cursor: *my_end,
                digest: *digest,
                detached: None,
                hand_in_only: false,
            };
            (*of, state)
        })
        .collect()
}

/// The hash of all pair states, the same on both sides.
pub(super) fn pair_hash(
    mine: (&cairn_wire::DeviceKey, Epoch),
    theirs: (&cairn_wire::DeviceKey, Epoch),
    states: &BTreeMap<ScopeLane, (JournalMark, JournalMark, Digest)>,
) -> [u8; 16] {
    let i_am_first = mine.0 <= theirs.0;
    let (first, second) = if i_am_first {
        (mine, theirs)
    } else {
        (theirs, mine)
    };
    let mut bytes = Vec::with_capacity(80 + states.len() * 65);
    for (device, epoch) in [first, second] {
        bytes.extend_from_slice(&device.0);
        bytes.extend_from_slice(&epoch.0);
    }
    for (of, (my_end, peer_end, digest)) in states {
        bytes.extend_from_slice(&of.scope.0);
        bytes.push(Lane::as_byte(of.lane));
        let ends = if i_am_first {
            [my_end, peer_end]
        } else {
            [peer_end, my_end]
        };
        for end in ends {
            bytes.extend_from_slice(&end.position.to_be_bytes());
            bytes.extend_from_slice(&end.hash);
        }
        bytes.extend_from_slice(&digest.0);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hash::derive(hash::PAIR_CONTEXT, &[&bytes])[..16]);
    out
}
