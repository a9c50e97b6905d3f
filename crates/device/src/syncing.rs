//! Syncing: with whom, when sealing happens, and what it came to.

use crate::error::DeviceError;
use crate::{Device, fresh_incarnation, lock, now_s};
use cairn_keys::enrolment::Code;
use cairn_member::{Ingested, Member, MemberError, SealLimits, Sealed};
use cairn_store::Store;
use cairn_transport::dial::{OnEvent, reach, sync_once_on};
use cairn_transport::{SyncError, SyncEvent, SyncOptions, SyncReport, SyncTarget, keep_synced};
use cairn_wire::ids::{AuthorityRef, DeviceKey, Incarnation, Lane, ScopeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Private state: the relays, likeliest first.
const RELAYS: &[u8] = b"relays";
/// Private state: see [`given_back`].
const GIVEN_BACK: &[u8] = b"given-back";
/// Private state: see [`compared`].
const COMPARED: &[u8] = b"compared";
/// Relays that are remembered.
const RELAYS_MAX: usize = 16;
/// While a session is open, changes of the records lane are sealed after so much quiet …
const QUIET: Duration = Duration::from_secs(5);
/// … or so long after the first of them.
const SEAL_AT_LATEST: Duration = Duration::from_secs(30);
/// Who wants the folder waits so long for a session to end in good order.
const YIELD_WITHIN: Duration = Duration::from_millis(500);
/// How often a live device looks round without being told that something grew.
const LOOK: Duration = Duration::from_secs(1);
/// Journal bytes that are taken in at a time while a session is open, for it waits meanwhile.
const LIVE_BYTES: usize = 64 * 1024;
/// Journal bytes that are taken in between two looks at the clock.
const PIECE_BYTES: usize = 512 * 1024;
/// Sealing takes this part of a deadline at most …
const SEALING_SHARE: u32 = 3;
/// … and this part of what is left is kept for taking in.
const TAKING_IN_SHARE: u32 = 8;

/// What one sync may cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// When to stop, whatever is left; what is durable by then stays.
    pub deadline: Option<Duration>,
    /// Application bytes, both directions together.
    pub byte_budget: Option<u64>,
    /// Another peer than the relays that are known.
    pub target: Option<SyncTarget>,
}

/// What one sync did and cost: `cairn.sync/1`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Synced {
    /// What the transport measured.
    #[serde(flatten)]
    pub report: SyncReport,
    /// Changes that no relay had before and one has now.
    pub changes_sent: u64,
    /// Changes that are part of their records now and were not before.
    pub changes_received: u64,
    /// Records whose contents changed.
    pub documents_changed: u64,
}

impl Synced {
    /// Adds what a later session did, whose findings count.
    fn add(&mut self, later: Self) {
        add_report(&mut self.report, later.report);
        self.changes_sent += later.changes_sent;
        self.changes_received += later.changes_received;
        self.documents_changed += later.documents_changed;
    }
}

/// A relay, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelayRecord {
    pub(crate) relay: DeviceKey,
    pub(crate) addresses: Vec<String>,
    /// When it last answered, seconds since 1970 by this device's clock.
    pub(crate) last_contact_s: Option<i64>,
}

impl RelayRecord {
    pub(crate) fn new(relay: DeviceKey, addresses: Vec<String>) -> Self {
        Self {
            relay,
            addresses,
            last_contact_s: None,
        }
    }
}

/// Whether a live session is open, and what was written meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Live {
    connected: AtomicBool,
    /// All that waits is to be sealed: a session begins.
    seal_all: AtomicBool,
    /// First and last write that is not sealed.
    written: Mutex<Option<(Instant, Instant)>>,
}

impl Live {
    pub(crate) fn is_on(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
        if connected {
            self.seal_all.store(true, Ordering::Release);
        }
    }

    pub(crate) fn wrote(&self) {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written = Some((written.map_or(now, |(first, _)| first), now));
    }

    /// Is it time to seal? Never while nobody listens. Asking takes the answer.
    fn due(&self) -> bool {
        if !self.is_on() {
            return false;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.seal_all.swap(false, Ordering::AcqRel)
            || written.is_some_and(|(first, last)| {
                last.elapsed() >= QUIET || first.elapsed() >= SEAL_AT_LATEST
            });
        if due {
            *written = None;
        }
        due
    }
}

impl Device {
    /// Hands over what this device has and takes what it lacks, then ends. Tries the relays that are
    /// known in their order. A code that waits to be used is used first.
    pub fn sync_once(
        &self,
        request: &SyncRequest,
        on_event: OnEvent<'_>,
    ) -> Result<Synced, DeviceError> {
        self.sync_some(request, on_event, true)
    }

    /// With `again`, a second session where the first brought what changes waited for to be sealed: a hole
    /// in the membership log was filled, or a key came.
    fn sync_some(
        &self,
        request: &SyncRequest,
        on_event: OnEvent<'_>,
        again: bool,
    ) -> Result<Synced, DeviceError> {
        let began = Instant::now();
        let left = || {
            let used = began.elapsed();
            request
                .deadline
                .map(|deadline| deadline.saturating_sub(used))
        };
        let mut dialled = None;
        if let Some(code) = self.unused_code()? {
            dialled = Some(self.enrol(&code, &self.sync_options(left(), None))?);
        }
        let mut unreachable = None;
        let until = request.deadline.map(|deadline| began + deadline);
        for target in self.targets(request.target.as_ref())? {
            // Before sealing: as long as nobody answers, changes wait together for one dense entry.
            let reached = match dialled.take() {
                Some(dialled) => Ok(dialled),
                None => {
                    let options = self.sync_options(left(), None);
                    let reached = reach(&self.identity, &target, &options, on_event);
                    self.runtime.block_on(reached)
                }
            };
            let reached = match reached {
                Ok(reached) => reached,
                Err(error @ (SyncError::Unreachable { .. } | SyncError::WrongKey)) => {
                    unreachable = Some(error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let prepared = self.prepare(request.byte_budget, left())?;
            // What is left, without what taking in and declaring will need.
            let session = left().map(|left| {
                let after = prepared.declaring + left / TAKING_IN_SHARE;
                left.saturating_sub(after.min(left / 2))
            });
            let options = self.sync_options(session, request.byte_budget);
            let handle = self.handle();
            let synced = self.runtime.block_on(sync_once_on(
                reached,
                &handle,
                &self.identity,
                &target,
                &options,
                on_event,
            ));
            let answered = !matches!(
                synced,
                Err(SyncError::Unreachable { .. } | SyncError::Deadline)
            );
            let now_s = now_s();
            let taken_by =
                until.map(|until| until.checked_sub(prepared.declaring).unwrap_or(until));
            let equal = synced.as_ref().is_ok_and(|report| report.equal);
            let met = Met {
                answered_s: answered.then_some(now_s),
                equal_s: equal.then_some(now_s),
            };
            let (ingested, unsent) = self.settle(&target, met, taken_by)?;
            match synced {
                Ok(mut report) => {
                    report.complete &= prepared.all_sealed;
                    report.equal &= prepared.all_sealed;
                    let mut synced = Synced {
                        report,
                        changes_sent: prepared.unsent.saturating_sub(unsent),
                        changes_received: ingested.changes_applied,
                        documents_changed: ingested.documents_changed.len() as u64,
                    };
                    if again && prepared.waits.is_some() && prepared.waits != self.sealable()? {
                        let rest = SyncRequest {
                            deadline: left(),
                            byte_budget: request.byte_budget.map(|budget| {
                                let report = &synced.report;
                                budget.saturating_sub(
                                    report.app_bytes_sent + report.app_bytes_received,
                                )
                            }),
                            target: Some(target),
                        };
                        synced.add(self.sync_some(&rest, on_event, false)?);
                    }
                    return Ok(synced);
                }
                Err(error @ (SyncError::Unreachable { .. } | SyncError::WrongKey)) => {
                    unreachable = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(unreachable.map_or(DeviceError::NotJoined, DeviceError::Sync))
    }

    /// Stays in sync with the first relay until `stop` is done. What is recorded meanwhile goes out (what
    /// is urgent at once), what comes in is taken in, and `on_taken` hears of it. Other processes that
    /// want the folder get it in between.
    pub fn keep_synced(
        &self,
        stop: impl Future<Output = ()> + Send,
        on_event: OnEvent<'_>,
        on_taken: &mut (dyn FnMut(&Ingested) + Send),
    ) -> Result<Synced, DeviceError> {
        let _watch = self.watch()?;
        let mut first = None;
        if self.unused_code()?.is_some() {
            first = Some(self.sync_once(&SyncRequest::default(), &mut |_| {})?);
        }
        let target = self.targets(None)?.into_iter().next();
        let target = target.ok_or(DeviceError::NotJoined)?;
        let mut total = Synced {
            report: first.map_or_else(SyncReport::default, |first| first.report),
            ..Synced::default()
        };
        self.give_turn_back();
        let mut stop = pin!(stop);
        loop {
            let round = self.one_round(&target, stop.as_mut(), on_event, on_taken, &mut total);
            self.live.connected(false);
            match round? {
                RoundEnd::Stopped => return Ok(total),
                RoundEnd::Wanted => {
                    if !self.let_others(stop.as_mut())? {
                        return Ok(total);
                    }
                }
            }
        }
    }

    /// Until `stop` is done, or somebody else wants the folder.
    fn one_round(
        &self,
        target: &SyncTarget,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
        on_event: OnEvent<'_>,
        on_taken: &mut (dyn FnMut(&Ingested) + Send),
        total: &mut Synced,
    ) -> Result<RoundEnd, DeviceError> {
        let before = self.try_with(|member, store| {
            declare(member, store)?;
            Ok(store.backlog().changes)
        })?;
        let handle = self.handle();
        let options = self.sync_options(None, None);
        let mut met = Met::default();
        let on_event: OnEvent<'_> = &mut |event| {
            match &event {
                SyncEvent::Connected(_) => self.live.connected(true),
                SyncEvent::Broken(_) => {
                    if self.live.is_on() {
                        met.answered_s = Some(now_s());
                    }
                    self.live.connected(false);
                }
                SyncEvent::Equal => met.equal_s = Some(now_s()),
                SyncEvent::Dialling | SyncEvent::Moved { .. } | SyncEvent::Pause(_) => {}
            }
            on_event(event);
        };
        let mut taken = Ingested::default();
        let wanted = Notify::new();
        let is_wanted = AtomicBool::new(false);
        let ending = async {
            tokio::select! {
                () = stop => {}
                () = self.wanted() => {
                    is_wanted.store(true, Ordering::Release);
                    wanted.notify_one();
                }
            }
        };
        let kept = self.runtime.block_on(async {
            let kept = keep_synced(&handle, &self.identity, target, &options, ending, on_event);
            let mut kept = pin!(kept);
            let mut follow = pin!(self.follow(&mut taken, on_taken));
            let late = async {
                wanted.notified().await;
                tokio::time::sleep(YIELD_WITHIN).await;
            };
            tokio::select! {
                kept = &mut kept => Ok(Some(kept)),
                failed = &mut follow => Err(failed),
                // What was durable stays so; only the figures of this connection are lost.
                () = late => Ok(None),
            }
        });
        if self.live.is_on() {
            met.answered_s = Some(now_s());
        }
        let (ingested, unsent) = self.settle(target, met, None)?;
        taken.add(ingested);
        total.changes_sent += before.saturating_sub(unsent);
        total.changes_received += taken.changes_applied;
        total.documents_changed += taken.documents_changed.len() as u64;
        if let Some(report) = kept? {
            add_report(&mut total.report, report?);
        }
        Ok(match is_wanted.load(Ordering::Acquire) {
            true => RoundEnd::Wanted,
            false => RoundEnd::Stopped,
        })
    }

    /// Takes in what comes and seals what is written, until that fails.
    async fn follow(
        &self,
        taken: &mut Ingested,
        on_taken: &mut (dyn FnMut(&Ingested) + Send),
    ) -> DeviceError {
        let handle = self.handle();
        let mut pulse = handle.subscribe();
        loop {
            let grew = tokio::time::timeout(LOOK, pulse.changed()).await;
            let due = self.live.due();
            if grew.is_err() && !due {
                continue;
            }
            let member = std::sync::Arc::clone(&self.member);
            let fresh = match fresh_incarnation() {
                Ok(fresh) => fresh,
                Err(error) => return error,
            };
            let done = handle
                .call(move |store| {
                    let mut member = lock(&member);
                    let taken = member.catch_up_some(store, LIVE_BYTES)?;
                    if due {
                        seal_and_declare(&mut member, store, None, fresh)?;
                    }
                    Ok::<_, MemberError>(taken)
                })
                .await;
            match done {
                Ok(Ok((part, more))) => {
                    if part != Ingested::default() {
                        on_taken(&part);
                        taken.add(part);
                    }
                    if more {
                        pulse.mark_changed();
                    }
                }
                Ok(Err(error)) => return error.into(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Seals what is not sealed and declares what waits. Under a byte budget it seals about as much as
    /// that can carry, with so much time left for no longer than a part of it.
    fn prepare(
        &self,
        byte_budget: Option<u64>,
        left: Option<Duration>,
    ) -> Result<Prepared, DeviceError> {
        let fresh = fresh_incarnation()?;
        let until = left.map(|left| Instant::now() + left / SEALING_SHARE);
        self.try_with(move |member, store| {
            let in_time = || until.is_none_or(|until| Instant::now() < until);
            let limits = match (byte_budget, until) {
                (None, None) => SealLimits::all(None),
                _ => SealLimits::within(byte_budget),
            };
            let budget = byte_budget.unwrap_or(u64::MAX);
            let mut go_on = |sealed: &Sealed| sealed.bytes < budget && in_time();
            let sealed = member.seal_outbox_some(store, fresh, limits, &mut go_on)?;
            let waits = sealed.frames_waiting > 0;
            if sealed.entries > 0 {
                catch_up_until(member, store, until)?;
            }
            let declaring = Instant::now();
            declare(member, store)?;
            Ok(Prepared {
                unsent: store.backlog().changes,
                all_sealed: !sealed.stopped,
                waits: waits.then(|| sealable(member, store)),
                declaring: declaring.elapsed(),
            })
        })
    }

    fn sealable(&self) -> Result<Option<Sealable>, DeviceError> {
        self.with(|member, store| Some(sealable(member, store)))
    }

    /// Takes in what came, remembers the contact. Answers what came, and how many changes no relay has.
    /// What is not taken in by then is taken in when the device is opened, or syncs, next.
    fn settle(
        &self,
        target: &SyncTarget,
        met: Met,
        until: Option<Instant>,
    ) -> Result<(Ingested, u64), DeviceError> {
        let target = target.clone();
        self.try_with(move |member, store| {
            let ingested = catch_up_until(member, store, until)?;
            if let Some(at_s) = met.answered_s {
                note_contact(member, store, &target, at_s)?;
            }
            if let Some(at_s) = met.equal_s {
                note_given_back(member, store)?;
                note_compared(member, store, at_s)?;
            }
            declare(member, store)?;
            store.sync_point()?;
            Ok((ingested, store.backlog().changes))
        })
    }

    fn unused_code(&self) -> Result<Option<Code>, DeviceError> {
        let joined = self.joined()?.ok_or(DeviceError::NotJoined)?;
        Ok(joined.code.as_deref().map(Code::parse).transpose()?)
    }

    fn targets(&self, given: Option<&SyncTarget>) -> Result<Vec<SyncTarget>, DeviceError> {
        if let Some(given) = given {
            return Ok(vec![given.clone()]);
        }
        let relays = self.try_with(|member, store| relays(member, store))?;
        Ok(relays
            .into_iter()
            .map(|record| SyncTarget {
                addresses: record.addresses,
                relay: record.relay,
            })
            .collect())
    }

    pub(crate) fn sync_options(
        &self,
        deadline: Option<Duration>,
        byte_budget: Option<u64>,
    ) -> SyncOptions {
        SyncOptions {
            network: self.options.network.clone(),
            deadline,
            byte_budget,
            bandwidth_bytes_per_second: self.options.bandwidth_bytes_per_second,
            ..SyncOptions::default()
        }
    }
}

/// When a relay was met, seconds since 1970 by this device's clock.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    /// It last answered.
    answered_s: Option<i64>,
    /// Both sides last held the same.
    equal_s: Option<i64>,
}

/// Why a live session ended.
enum RoundEnd {
    Stopped,
    Wanted,
}

/// Adds the figures of a later connection, whose findings count.
fn add_report(total: &mut SyncReport, later: SyncReport) {
    *total = SyncReport {
        app_bytes_sent: total.app_bytes_sent + later.app_bytes_sent,
        app_bytes_received: total.app_bytes_received + later.app_bytes_received,
        udp_bytes_sent: total.udp_bytes_sent + later.udp_bytes_sent,
        udp_bytes_received: total.udp_bytes_received + later.udp_bytes_received,
        round_trips: total.round_trips + later.round_trips,
        entries_sent: total.entries_sent + later.entries_sent,
        entries_received: total.entries_received + later.entries_received,
        entries_refused: total.entries_refused + later.entries_refused,
        connections: total.connections + later.connections,
        duration_s: total.duration_s + later.duration_s,
        ..later
    };
}

/// What was done before a session begins.
struct Prepared {
    /// Changes that no relay has.
    unsent: u64,
    /// All that can be sealed is.
    all_sealed: bool,
    /// Changes wait for a membership or a key that is not here; what was here.
    waits: Option<Sealable>,
    /// How long it took to find out what waits; it takes as long again when the session is over.
    declaring: Duration,
}

/// What decides whether changes can be sealed: the head of the authority's log, and how many keys there are.
type Sealable = (AuthorityRef, usize);

fn sealable(member: &Member, store: &dyn Store) -> Sealable {
    (store.authority_head(), member.keyring().keys().count())
}

/// Takes in what is there, until that time a piece after the other.
fn catch_up_until(
    member: &mut Member,
    store: &mut dyn Store,
    until: Option<Instant>,
) -> Result<Ingested, MemberError> {
    let Some(until) = until else {
        return member.catch_up(store);
    };
    let mut ingested = Ingested::default();
    let mut more = true;
    while more && Instant::now() < until {
        let part;
        (part, more) = member.catch_up_some(store, PIECE_BYTES)?;
        ingested.add(part);
    }
    Ok(ingested)
}

/// Seals a lane, or all, and declares what waits.
pub(crate) fn seal_and_declare(
    member: &mut Member,
    store: &mut dyn Store,
    lane: Option<Lane>,
    fresh: Incarnation,
) -> Result<Sealed, MemberError> {
    let sealed = member.seal_outbox(store, lane, fresh)?;
    if sealed.entries > 0 {
        member.catch_up(store)?;
    }
    declare(member, store)?;
    Ok(sealed)
}

fn declare(member: &Member, store: &mut dyn Store) -> Result<(), MemberError> {
    let membership = store.membership().clone();
    let backlog = member.backlog(store, &membership, now_s())?;
    store.set_backlog(backlog);
    Ok(())
}

pub(crate) fn relays(member: &Member, store: &dyn Store) -> Result<Vec<RelayRecord>, MemberError> {
    let bytes = member.private(store, RELAYS)?;
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default())
}

/// Remembers a relay, before the others.
pub(crate) fn put_relay(
    member: &Member,
    store: &mut dyn Store,
    relay: RelayRecord,
) -> Result<(), MemberError> {
    let mut known = relays(member, store)?;
    let last_contact_s = known
        .iter()
        .find(|record| record.relay == relay.relay)
        .and_then(|record| record.last_contact_s);
    known.retain(|record| record.relay != relay.relay);
    let last_contact_s = relay.last_contact_s.or(last_contact_s);
    known.insert(
        0,
        RelayRecord {
            last_contact_s,
            ..relay
        },
    );
    known.truncate(RELAYS_MAX);
    put_relays(member, store, &known)
}

fn note_contact(
    member: &Member,
    store: &mut dyn Store,
    target: &SyncTarget,
    at_s: i64,
) -> Result<(), MemberError> {
    let mut known = relays(member, store)?;
    let Some(record) = known.iter_mut().find(|record| record.relay == target.relay) else {
        return Ok(());
    };
    record.last_contact_s = Some(at_s);
    put_relays(member, store, &known)
}

/// Both sides hold the same: what others had of what was lost here is back.
fn note_given_back(member: &Member, store: &mut dyn Store) -> Result<(), MemberError> {
    let lost = store.lost_frames();
    if given_back(member, store)? != lost {
        member.put_private(store, GIVEN_BACK, &lost.to_be_bytes())?;
    }
    Ok(())
}

/// Of all frames that were ever lost here, how many were lost before a session last ended equal.
pub(crate) fn given_back(member: &Member, store: &dyn Store) -> Result<u64, MemberError> {
    let bytes = member.private(store, GIVEN_BACK)?;
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(bytes.map_or(0, u64::from_be_bytes))
}

/// Both sides hold the same in every scope that this device may see.
fn note_compared(member: &Member, store: &mut dyn Store, at_s: i64) -> Result<(), MemberError> {
    let mut all = compared(member, store)?;
    for (scope, _) in store.membership().scopes_now(&member.device()) {
        if scope != ScopeId::AUTHORITY {
            all.insert(scope, at_s);
        }
    }
    let rows: Vec<(ScopeId, i64)> = all.into_iter().collect();
    let bytes =
        serde_json::to_vec(&rows).map_err(|error| MemberError::Internal(error.to_string()))?;
    member.put_private(store, COMPARED, &bytes)
}

/// When each scope was last found to be the same here and at a relay, seconds since 1970 by this
/// device's clock.
pub(crate) fn compared(
    member: &Member,
    store: &dyn Store,
) -> Result<BTreeMap<ScopeId, i64>, MemberError> {
    let bytes = member.private(store, COMPARED)?;
    let rows = bytes.and_then(|bytes| serde_json::from_slice::<Vec<(ScopeId, i64)>>(&bytes).ok());
    Ok(rows.unwrap_or_default().into_iter().collect())
}

fn put_relays(
    member: &Member,
    store: &mut dyn Store,
    known: &[RelayRecord],
) -> Result<(), MemberError> {
    let bytes =
        serde_json::to_vec(known).map_err(|error| MemberError::Internal(error.to_string()))?;
    member.put_private(store, RELAYS, &bytes)
}

/// For who does not listen.
pub fn silent() -> impl FnMut(SyncEvent) + Send {
    |_| {}
}
