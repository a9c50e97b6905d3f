//! The engine's thread: events in, one commit, answers out, until nothing is left to do.

use super::{Ended, EngineError, EngineOptions, Event, Outlet, Pulse, QUEUE_EVENTS, Start};
use crate::registry::{Registry, SessionId, SessionState};
use crate::side_objects;
use cairn_keys::authority::Role as MemberRole;
use cairn_keys::{Grant, Membership};
use cairn_replica::holdings::{Holdings, Origin};
use cairn_replica::session::{Input, Millis, Notice, Output, Session, SessionError};
use cairn_store::{Incoming, Store, StoreError};
use cairn_wire::frame::{CloseReason, ScopeLane};
use cairn_wire::{AuthorityRef, DeviceKey, Entry, ScopeId, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How often the store's index may catch up on disk while there is work.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Engine {
    store: Box<dyn Store>,
    options: EngineOptions,
    sessions: BTreeMap<SessionId, Running>,
    registry: Registry,
    failure: Arc<Mutex<Option<String>>>,
    pulse: watch::Sender<Pulse>,
    ends: BTreeMap<ScopeLane, u64>,
    authority: AuthorityRef,
    began: Instant,
    unticked: bool,
    ticked: Instant,
}

struct Running {
    session: Session,
    peer: DeviceKey,
    interests: Interests,
    outlet: Outlet,
    ended: oneshot::Sender<Ended>,
    equal: bool,
    gave_up: bool,
    retry_after_s: Option<u32>,
    /// What the session says was wrong, until its closing is carried out.
    fault: Option<String>,
    span: tracing::Span,
}

/// What one round of events asks of the store.
#[derive(Default)]
struct Round {
    touched: BTreeSet<SessionId>,
    appends: Vec<(SessionId, Vec<Entry>, Origin)>,
    authority: Vec<(SessionId, Vec<Vec<u8>>)>,
    side_objects_by: Option<SessionId>,
}

impl Engine {
    pub(super) fn new(
        store: Box<dyn Store>,
        options: EngineOptions,
        registry: Registry,
        failure: Arc<Mutex<Option<String>>>,
        pulse: watch::Sender<Pulse>,
    ) -> Self {
        Self {
            ends: store
                .journals()
                .into_iter()
                .map(|of| (of, store.journal_end(of).position))
                .collect(),
            authority: store.authority_head(),
            store,
            options,
            sessions: BTreeMap::new(),
            registry,
            failure,
            pulse,
            began: Instant::now(),
            unticked: false,
            ticked: Instant::now(),
        }
    }

    pub(super) fn run(mut self, timer: &tokio::runtime::Runtime, mut queue: mpsc::Receiver<Event>) {
        let stopping = loop {
            let mut events = Vec::new();
            match self.wait(timer, &mut queue, &mut events) {
                Woken::Events | Woken::Time => {}
                Woken::NobodyLeft => break None,
            }
            if let Some(stopping) = self.round(events) {
                break Some(stopping);
            }
        };
        self.close_all(CloseReason::ShuttingDown);
        let closed = match self.failed() {
            Some(failure) => Err(EngineError::StoreFailed(failure)),
            None => self
                .store
                .close()
                .map_err(|error| EngineError::StoreFailed(error.to_string())),
        };
        queue.close();
        if let Some(stopping) = stopping {
            // Whoever stopped us may not wait.
            let _ = stopping.send(closed);
        }
    }

    fn wait(
        &self,
        timer: &tokio::runtime::Runtime,
        queue: &mut mpsc::Receiver<Event>,
        events: &mut Vec<Event>,
    ) -> Woken {
        let received = match self.pause() {
            None => timer.block_on(queue.recv_many(events, QUEUE_EVENTS)),
            Some(pause) => {
                let received = timer.block_on(async {
                    tokio::time::timeout(pause, queue.recv_many(events, QUEUE_EVENTS)).await
                });
                match received {
                    Ok(received) => received,
                    Err(_) => return Woken::Time,
                }
            }
        };
        if received == 0 {
            Woken::NobodyLeft
        } else {
            Woken::Events
        }
    }

    /// How long nothing but an event can make work.
    fn pause(&self) -> Option<Duration> {
        let now = self.now();
        let session = self
            .sessions
            .values()
            .filter_map(|running| running.session.poll_timeout())
            .min()
            .map(|at| Duration::from_millis(at.saturating_sub(now)));
        let tick = self
            .unticked
            .then(|| TICK.saturating_sub(self.ticked.elapsed()));
        session.into_iter().chain(tick).min()
    }

    fn now(&self) -> Millis {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Everything that follows from `events`, until no session wants anything more.
    fn round(&mut self, events: Vec<Event>) -> Option<oneshot::Sender<Result<(), EngineError>>> {
        let mut round = Round::default();
        let mut stopping = None;
        let mut called = false;
        for event in events {
            match event {
                Event::Start(start) => self.begin(*start, &mut round),
                Event::Bytes {
                    session,
                    channel,
                    bytes,
                } => self.feed(session, Input::Bytes { channel, bytes }, &mut round),
                Event::LinkRate {
                    session,
                    bytes_per_second,
                } => self.feed(session, Input::LinkRate(bytes_per_second), &mut round),
                Event::Finish(session) => self.feed(session, Input::Finish, &mut round),
                Event::Close(session, reason) => {
                    self.feed(session, Input::Close(reason), &mut round);
                }
                Event::Lost {
                    session,
                    peer_reason,
                    error,
                } => self.lose(session, peer_reason, error),
                Event::Call(work) => {
                    if self.failed().is_none() {
                        work(&mut *self.store);
                        called = true;
                        // Asks a store that failed in the call, and nothing of one that did not.
                        let asked = self.store.append(Vec::new());
                        self.watch_store(asked);
                    }
                }
                Event::SideObjectsGrown => {
                    self.pulse.send_modify(|pulse| pulse.side_objects += 1);
                    self.feed_others(None, &Input::SideObjectsGrown, &mut round);
                }
                Event::SideObjects => self.spread_side_objects(None, &mut round),
                Event::Wake => {}
                Event::Stop(answer) => stopping = Some(answer),
            }
        }
        self.drop_abandoned();
        self.tick_sessions(&mut round);
        if called {
            self.spread_growth(None, &mut round);
        }
        while self.settle(&mut round) {}
        self.tick_store();
        stopping
    }

    fn begin(&mut self, start: Start, round: &mut Round) {
        let Start {
            config,
            info,
            meters,
            outlet,
            ended,
        } = start;
        let id = info.id;
        let peer = info.peer;
        let span = tracing::info_span!("session", id = id.0, peer = ?peer);
        let session = match Session::new(config, self.now(), holdings(&*self.store)) {
            Ok(session) => session,
            Err(error) => {
                // Dropping `ended` tells the connection that our store is at fault.
                self.poison(&StoreError::Damaged(error.to_string()));
                return;
            }
        };
        self.registry.begin(info, meters);
        self.pulse.send_modify(|pulse| pulse.sessions += 1);
        let running = Running {
            session,
            peer,
            interests: Interests::of(self.store.membership(), &peer),
            outlet,
            ended,
            equal: false,
            gave_up: false,
            retry_after_s: None,
            fault: None,
            span,
        };
        running.span.in_scope(|| tracing::debug!("begins"));
        self.sessions.insert(id, running);
        round.touched.insert(id);
        if self.failed().is_some() {
            self.feed(id, Input::Close(CloseReason::StoreFailed), round);
        }
    }

    fn feed(&mut self, id: SessionId, input: Input, round: &mut Round) {
        let now = self.now();
        let Some(running) = self.sessions.get_mut(&id) else {
            return;
        };
        round.touched.insert(id);
        let fed = running
            .span
            .in_scope(|| running.session.handle(now, input, holdings(&*self.store)));
        if let Err(error) = fed {
            running.fault = Some(error.to_string());
            self.drain(id, round);
            self.end_by_fault(id, &error);
        }
    }

    fn tick_sessions(&mut self, round: &mut Round) {
        let now = self.now();
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, running)| running.session.poll_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.feed(id, Input::Tick, round);
        }
    }

    /// Ends sessions whose connection was dropped without a word.
    fn drop_abandoned(&mut self) {
        let abandoned: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, running)| running.ended.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in abandoned {
            self.end(id, None, true, Some("the connection was dropped".into()));
        }
    }

    /// Carries out what the touched sessions want; false if that was nothing.
    fn settle(&mut self, round: &mut Round) -> bool {
        for id in std::mem::take(&mut round.touched) {
            self.drain(id, round);
        }
        let by = round.side_objects_by.take();
        if by.is_some() {
            self.spread_side_objects(by, round);
        }
        for (id, entries) in std::mem::take(&mut round.authority) {
            self.append_authority(id, entries, round);
        }
        let appends = std::mem::take(&mut round.appends);
        if !appends.is_empty() {
            self.commit(appends, round);
        }
        !round.touched.is_empty()
    }

    fn drain(&mut self, id: SessionId, round: &mut Round) {
        while let Some(output) = self
            .sessions
            .get_mut(&id)
            .and_then(|running| running.session.poll_output())
        {
            self.carry_out(id, output, round);
        }
        if let Some(running) = self.sessions.get(&id) {
            let counters = running.session.counters();
            self.registry.update(id, |info| info.count(&counters));
        }
    }

    fn carry_out(&mut self, id: SessionId, output: Output, round: &mut Round) {
        let Some(running) = self.sessions.get_mut(&id) else {
            return;
        };
        match output {
            Output::Send { channel, bytes } => running.outlet.send(channel, bytes),
            Output::Append { entries, origin } => round.appends.push((id, entries, origin)),
            Output::AppendAuthority(entries) => round.authority.push((id, entries)),
            Output::SavePeer(record) => {
                let saved = self.store.put_peer(&running.peer, &record);
                if self.watch_store(saved).is_some() {
                    self.pulse.send_modify(|pulse| pulse.peers += 1);
                }
            }
            Output::PutGrants(grants) => self.put_grants(id, &grants, round),
            Output::PutReceipts(receipts) => self.put_receipts(id, &receipts, round),
            Output::Backlog(backlog) => {
                self.registry
                    .update(id, |info| info.backlog = Some(backlog));
                self.pulse.send_modify(|pulse| pulse.sessions += 1);
            }
            Output::Equal => {
                running.equal = true;
                self.registry.update(id, |info| {
                    info.state = SessionState::Equal;
                    info.equals += 1;
                });
                self.pulse.send_modify(|pulse| pulse.sessions += 1);
            }
            Output::Notice(notice) => running.notice(&notice),
            Output::Closed(reason) => self.end(id, Some(reason), false, None),
        }
    }

    /// One commit for the entries of all sessions.
    fn commit(&mut self, appends: Vec<(SessionId, Vec<Entry>, Origin)>, round: &mut Round) {
        let mut incoming = Vec::new();
        let mut shares = Vec::with_capacity(appends.len());
        for (id, entries, origin) in appends {
            shares.push((id, entries.len()));
            incoming.extend(entries.into_iter().map(|entry| Incoming {
                entry,
                origins: vec![origin],
            }));
        }
        self.unticked = true;
        let began = Instant::now();
        let appended = self.store.append(incoming);
        self.registry.committed(began.elapsed());
        let Some(appended) = self.watch_store(appended) else {
            return;
        };
        self.pulse.send_modify(|pulse| pulse.commits += 1);
        let only = match shares.as_slice() {
            [(id, _)] => Some(*id),
            _ => None,
        };
        let mut rest = appended.as_slice();
        for (id, count) in shares {
            let (mine, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            let new = mine.iter().filter(|one| one.new).count() as u64;
            self.feed(id, Input::Appended { new }, round);
        }
        self.spread_growth(only, round);
    }

    fn append_authority(&mut self, id: SessionId, entries: Vec<Vec<u8>>, round: &mut Round) {
        self.unticked = true;
        let valid = match self.store.append_authority(entries) {
            Ok(_) => true,
            Err(StoreError::Authority(_) | StoreError::TooLarge { .. }) => false,
            Err(error) => {
                self.poison(&error);
                return;
            }
        };
        self.feed(id, Input::AuthorityAppended { valid }, round);
        self.spread_growth(Some(id), round);
    }

    /// Tells the sessions, and whoever watches, what grew.
    fn spread_growth(&mut self, only_by: Option<SessionId>, round: &mut Round) {
        let mut grown = BTreeSet::new();
        for of in self.store.journals() {
            let end = self.store.journal_end(of).position;
            if self.ends.insert(of, end) != Some(end) {
                grown.insert(of.scope);
            }
        }
        let head = self.store.authority_head();
        if head != self.authority {
            self.authority = head;
            self.pulse.send_modify(|pulse| pulse.authority += 1);
            for running in self.sessions.values_mut() {
                running.interests = Interests::of(self.store.membership(), &running.peer);
            }
            self.feed_others(only_by, &Input::AuthorityGrown, round);
        }
        if !grown.is_empty() {
            self.unticked = true;
            self.pulse.send_modify(|pulse| pulse.journals += 1);
            let interested = |running: &Running| running.interests.touch(&grown);
            self.feed_where(interested, only_by, &Input::Grown, round);
        }
    }

    fn spread_side_objects(&mut self, by: Option<SessionId>, round: &mut Round) {
        self.pulse.send_modify(|pulse| pulse.side_objects += 1);
        self.feed_others(by, &Input::SideObjectsGrown, round);
    }

    fn feed_others(&mut self, except: Option<SessionId>, input: &Input, round: &mut Round) {
        self.feed_where(|_| true, except, input, round);
    }

    fn feed_where(
        &mut self,
        wanted: impl Fn(&Running) -> bool,
        except: Option<SessionId>,
        input: &Input,
        round: &mut Round,
    ) {
        let ids: Vec<_> = self
            .sessions
            .iter()
            .filter(|(id, running)| Some(**id) != except && wanted(running))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.feed(id, input.clone(), round);
        }
    }

    fn put_grants(&mut self, id: SessionId, grants: &[Vec<u8>], round: &mut Round) {
        let Some(peer) = self.sessions.get(&id).map(|running| running.peer) else {
            return;
        };
        let membership = self.store.membership();
        let passes_on = membership
            .member(&peer)
            .is_some_and(|member| carries_all(member.role));
        let programme = self.store.programme();
        let device = self.store.device();
        let mut held = None;
        let objects: Vec<_> = grants
            .iter()
            .filter_map(|bytes| side_objects::grant(bytes))
            .filter(|(grant, _)| {
                grant.programme() == programme
                    && (passes_on
                        || grant.recipient() == device
                        || self.is_given_back(grant, &mut held))
            })
            .map(|(_, object)| object)
            .collect();
        if objects.is_empty() {
            return;
        }
        let put = self.store.put_grants(objects);
        if self.watch_store(put).is_some_and(|new| new > 0) {
            round.side_objects_by = Some(id);
        }
    }

    /// Whether a sealed key is for a centre, given back by a device that carried it, and may be missing here.
    /// Nobody but the centre can tell a right one, so a few are kept of each number, and the centre opens
    /// the one that the authority announced. `held` is filled at the first that is asked about.
    fn is_given_back(&self, grant: &Grant, held: &mut Option<HeldByCentre>) -> bool {
        let recipient = grant.recipient();
        let member = self.store.membership().member(&recipient);
        if member.is_none_or(|it| it.role != MemberRole::Centre) {
            return false;
        }
        let held = held.get_or_insert_with(|| {
            let bytes = self.store.grants_for(&recipient).unwrap_or_default();
            let grants = bytes.iter().filter_map(|bytes| Grant::parse(bytes).ok());
            let mut counts = HeldByCentre::new();
            for grant in grants {
                *counts
                    .entry((grant.scope(), grant.key_number()))
                    .or_default() += 1;
            }
            counts
        });
        let keys_max = limits::CENTRE_GRANTS_MAX / limits::CENTRE_GRANTS_OF_A_KEY_MAX;
        let key = (grant.scope(), grant.key_number());
        if held.len() >= keys_max && !held.contains_key(&key) {
            return false;
        }
        let count = held.entry(key).or_default();
        *count += 1;
        *count <= limits::CENTRE_GRANTS_OF_A_KEY_MAX
    }

    fn put_receipts(&mut self, id: SessionId, receipts: &[Vec<u8>], round: &mut Round) {
        let Some(read) = self.options.read_receipt.clone() else {
            return;
        };
        let membership = self.store.membership();
        let objects: Vec<_> = receipts
            .iter()
            .filter_map(|bytes| read(bytes, membership))
            .collect();
        if objects.is_empty() {
            return;
        }
        let put = self.store.put_receipts(objects);
        if self.watch_store(put).is_some_and(|new| new > 0) {
            round.side_objects_by = Some(id);
        }
    }

    fn tick_store(&mut self) {
        if self.unticked && self.ticked.elapsed() >= TICK && self.failed().is_none() {
            self.ticked = Instant::now();
            self.unticked = false;
            let ticked = self.store.tick(self.now());
            self.watch_store(ticked);
        }
    }

    fn failed(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn watch_store<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.poison(&error)).ok()
    }

    fn poison(&mut self, error: &StoreError) {
        {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.is_none() {
                tracing::error!(%error, "the store failed; nothing more is acknowledged");
                *failure = Some(error.to_string());
            }
        }
        self.close_all(CloseReason::StoreFailed);
    }

    fn close_all(&mut self, reason: CloseReason) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        let mut ignored = Round::default();
        for id in ids {
            self.feed(id, Input::Close(reason), &mut ignored);
            self.drain(id, &mut ignored);
            self.end(id, Some(reason), false, None);
        }
    }

    fn end_by_fault(&mut self, id: SessionId, error: &SessionError) {
        let reason = error.close_reason();
        self.end(id, Some(reason), false, Some(error.to_string()));
        if let SessionError::Holdings(error) = error {
            self.poison(&StoreError::Damaged(error.to_string()));
        }
    }

    fn lose(&mut self, id: SessionId, peer_reason: Option<CloseReason>, error: String) {
        self.end(id, peer_reason, true, Some(error));
    }

    fn end(
        &mut self,
        id: SessionId,
        reason: Option<CloseReason>,
        lost: bool,
        error: Option<String>,
    ) {
        let Some(mut running) = self.sessions.remove(&id) else {
            return;
        };
        let error = error.or_else(|| running.fault.take());
        let counters = running.session.counters();
        let how = reason.map_or("lost".to_owned(), |reason| reason.to_string());
        running.span.in_scope(|| match &error {
            Some(error) => tracing::info!(how, error, "ends"),
            None => tracing::info!(how, "ends"),
        });
        self.registry.update(id, |info| info.count(&counters));
        let state = reason.map_or(SessionState::Lost, SessionState::Ended);
        self.registry.end(id, state, error.clone());
        self.pulse.send_modify(|pulse| pulse.sessions += 1);
        let ended = Ended {
            reason,
            lost,
            equal: running.equal,
            gave_up: running.gave_up,
            counters,
            retry_after_s: running.retry_after_s,
            error,
        };
        // The connection's task is gone if the programme ends: nobody needs to know.
        let _ = running.ended.send(ended);
    }
}

/// Sealed keys of one centre that are held, by scope and number. There is one centre yet.
type HeldByCentre = BTreeMap<(ScopeId, u32), usize>;

/// Growth of which scopes a session wants to hear of.
enum Interests {
    All,
    Scopes(BTreeSet<ScopeId>),
}

impl Interests {
    fn of(membership: &Membership, peer: &DeviceKey) -> Self {
        match membership.member(peer) {
            Some(member) if carries_all(member.role) => Self::All,
            _ => {
                let scopes = membership.scopes_now(peer);
                Self::Scopes(scopes.into_iter().map(|(scope, _)| scope).collect())
            }
        }
    }

    fn touch(&self, grown: &BTreeSet<ScopeId>) -> bool {
        match self {
            Self::All => true,
            Self::Scopes(scopes) => !scopes.is_disjoint(grown),
        }
    }
}

/// Does a member of this role hold every scope, and pass on what it cannot read?
fn carries_all(role: MemberRole) -> bool {
    matches!(
        role,
        MemberRole::Relay | MemberRole::Hub | MemberRole::Centre
    )
}

enum Woken {
    Events,
    Time,
    NobodyLeft,
}

impl Running {
    fn notice(&mut self, notice: &Notice) {
        self.span.in_scope(|| match notice {
            Notice::Refused { author, why, .. } => {
                tracing::warn!(?author, %why, "an entry was not admitted");
            }
            Notice::AuthorityFork { height } => {
                tracing::error!(height, "the authority's log has two branches");
            }
            Notice::NotEqual(of) => {
                tracing::warn!(scope = ?of.scope, lane = ?of.lane, "comparing did not end equal");
            }
            Notice::Later { .. } => tracing::debug!("asked to come back later"),
        });
        match notice {
            Notice::Later { retry_after_s } => self.retry_after_s = Some(*retry_after_s),
            Notice::NotEqual(_) => self.gave_up = true,
            Notice::Refused { .. } | Notice::AuthorityFork { .. } => {}
        }
    }
}

fn holdings(store: &dyn Store) -> &dyn Holdings {
    store
}
