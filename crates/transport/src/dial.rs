//! Dials a relay or a peer, once or for ever.
//!
//! [`sync_once`] makes both sides equal and ends; where the network breaks in the middle it dials again
//! and goes on from what is durable. [`keep_synced`] stays and streams what grows. Neither ever takes
//! "connected" for success: only what a session has proved counts.

use crate::connection::{Lanes, Outcome, RunOptions, begin, open_channels};
use crate::endpoint::{ConnectError, Identity, NetworkOptions, connect};
use crate::engine::{EngineError, Event, Handle};
use crate::link::{Link, LinkError, Pipe};
use crate::registry::{Retry, SessionId};
use cairn_wire::DeviceKey;
use cairn_wire::frame::CloseReason;
use serde::Serialize;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncTarget {
    /// Where it may be, as `host:port`, the likeliest first.
    pub addresses: Vec<String>,
    /// The key it must prove to hold.
    pub relay: DeviceKey,
}

/// How to sync.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Patience and limits of the network.
    pub network: NetworkOptions,
    /// When to stop, whatever is left. Every step that is durable by then stays.
    pub deadline: Option<Duration>,
    /// Application bytes that may be spent, both directions together.
    pub byte_budget: Option<u64>,
    /// How long to go on dialling after a session broke in the middle, counted from when entries moved last.
    pub patience: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Slows the link down in both directions, for tests and demonstrations.
    pub bandwidth_bytes_per_second: Option<u64>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            network: NetworkOptions::default(),
            deadline: None,
            byte_budget: None,
            patience: Duration::from_secs(600),
            backoff: Backoff::default(),
            bandwidth_bytes_per_second: None,
        }
    }
}

/// Pauses that double from `first` to `max`, each shortened at random by up to a half.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after so many failures in a row (1 or more), with `random` spread evenly.
    #[must_use]
    pub fn pause(&self, failures: u32, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        let part = 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0;
        whole.mul_f64(part)
    }

    fn next(&self, failures: u32) -> Duration {
        let mut bytes = [0; 4];
        // Without randomness the pauses are only not spread.
        let _ = getrandom::fill(&mut bytes);
        self.pause(failures, u32::from_ne_bytes(bytes))
    }
}

/// What a sync did and cost: the figures of `cairn.sync/1` that the transport knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SyncReport {
    /// What either side had when they met, the other has now.
    pub complete: bool,
    /// Both sides proved that they hold the same. (They cannot while one of them grows all the time.)
    pub equal: bool,
    /// Stream payload sent.
    pub app_bytes_sent: u64,
    /// Stream payload received.
    pub app_bytes_received: u64,
    /// UDP payload sent, handshake and acknowledgements included.
    pub udp_bytes_sent: u64,
    /// UDP payload received.
    pub udp_bytes_received: u64,
    /// Times a frame of the peer had to be waited for, after the handshake.
    pub round_trips: u64,
    /// Entries sent.
    pub entries_sent: u64,
    /// Entries received that were new here.
    pub entries_received: u64,
    /// Entries of the peer that were refused.
    pub entries_refused: u64,
    /// Connections that it took.
    pub connections: u64,
    /// From first to last, in seconds.
    pub duration_s: f64,
    /// When the peer asked to come back, in seconds.
    pub retry_after_s: Option<u32>,
    /// The byte budget under which the next entry of this side, which did not fit, would have gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_budget_wanted: Option<u64>,
}

impl SyncReport {
    fn add(&mut self, link: &Link, outcome: &Outcome) {
        let counters = &outcome.ended.counters;
        let (udp_sent, udp_received) = link.meters.udp();
        let spent = self.app_bytes_sent + self.app_bytes_received;
        let wanted = Some(counters.budget_wanted_bytes).filter(|wanted| *wanted > 0);
        self.byte_budget_wanted = wanted.map(|wanted| spent + wanted);
        self.app_bytes_sent += link.meters.sent();
        self.app_bytes_received += link.meters.received();
        self.udp_bytes_sent += udp_sent;
        self.udp_bytes_received += udp_received;
        self.round_trips += counters.round_trips;
        self.entries_sent += counters.entries_sent;
        self.entries_received += counters.entries_new;
        self.entries_refused += counters.entries_refused;
        self.connections += 1;
        self.retry_after_s = outcome.ended.retry_after_s;
    }
}

/// Why nothing, or not everything, was synced. What was durable stays so.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Nobody answered at any of the addresses.
    #[error("the relay cannot be reached: {}", .tried.join("; "))]
    Unreachable {
        /// Whom we wanted.
        relay: DeviceKey,
        /// What happened at each address.
        tried: Vec<String>,
    },
    /// Somebody else answers at the address.
    #[error("another device answers there than the one expected")]
    WrongKey,
    /// The peer does not let us in, or only lets us hand in: unknown, revoked or not permitted.
    #[error("refused: {reason}")]
    Refused {
        /// One word.
        reason: CloseReason,
        /// What was handed in.
        report: Box<SyncReport>,
    },
    /// The peer belongs to another programme.
    #[error("the peer belongs to another programme")]
    OtherProgramme,
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks another version of the protocol; update the older of the two")]
    Version,
    /// The peer is there and cannot serve us now: busy, shutting down, its store failed.
    #[error("the peer cannot go on: {reason}")]
    NotNow {
        /// Why.
        reason: CloseReason,
        /// What was done before.
        report: Box<SyncReport>,
    },
    /// One side broke the protocol.
    #[error("the protocol was broken: {message}")]
    Protocol {
        /// By whom and how.
        message: String,
        /// What was done before.
        report: Box<SyncReport>,
    },
    /// The network went away in the middle and did not come back in time.
    #[error("the connection was lost: {message}")]
    Lost {
        /// What the network said last.
        message: String,
        /// What was done before.
        report: Box<SyncReport>,
    },
    /// The deadline passed before anybody answered.
    #[error("nobody answered before the deadline")]
    Deadline,
    /// Our own replica cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl SyncError {
    /// Is it worth trying the same again later?
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotNow { .. } | Self::Lost { .. } | Self::Deadline => {
                true
            }
            Self::WrongKey
            | Self::Refused { .. }
            | Self::OtherProgramme
            | Self::Version
            | Self::Protocol { .. }
            | Self::Engine(_) => false,
        }
    }

    /// What was done before it went wrong, if anything was.
    #[must_use]
    pub fn report(&self) -> Option<&SyncReport> {
        match self {
            Self::Refused { report, .. }
            | Self::NotNow { report, .. }
            | Self::Protocol { report, .. }
            | Self::Lost { report, .. } => Some(report),
            Self::Unreachable { .. }
            | Self::WrongKey
            | Self::OtherProgramme
            | Self::Version
            | Self::Deadline
            | Self::Engine(_) => None,
        }
    }
}

/// What happens while [`sync_once`] or [`keep_synced`] run.
#[derive(Debug, Clone)]
pub enum SyncEvent {
    /// Dialling begins.
    Dialling,
    /// The peer answered and proved its key.
    Connected(SocketAddr),
    /// Bytes moved; figures of this connection so far.
    Moved {
        /// Stream payload sent.
        app_bytes_sent: u64,
        /// Stream payload received.
        app_bytes_received: u64,
    },
    /// Both sides hold the same now. Comes again after later growth.
    Equal,
    /// The connection ended or none came about.
    Broken(String),
    /// The next attempt comes after this pause.
    Pause(Duration),
}

/// What wants to know what happens.
pub type OnEvent<'a> = &'a mut (dyn FnMut(SyncEvent) + Send);

/// A connection to a peer that has proved its key, with its channels open and no session yet.
pub struct Dialled {
    pub(crate) link: Link,
    pub(crate) control: Pipe,
    pub(crate) lanes: Lanes,
}

impl std::fmt::Debug for Dialled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dialled({:?})", self.link.peer)
    }
}

/// Makes this replica and the target's equal, then ends.
pub async fn sync_once(
    handle: &Handle,
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    on_event: OnEvent<'_>,
) -> Result<SyncReport, SyncError> {
    let mut run = Run::new(handle, identity, target, options, on_event);
    run.once(None).await
}

/// Dials the target and has it prove its key, before whoever wants to sync does what only pays with a
/// connection; [`sync_once_on`] begins the session.
pub async fn reach(
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    on_event: OnEvent<'_>,
) -> Result<Dialled, SyncError> {
    let deadline = options.deadline.map(|after| Instant::now() + after);
    reach_until(identity, target, options, deadline, on_event).await
}

async fn reach_until(
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    deadline: Option<Instant>,
    on_event: OnEvent<'_>,
) -> Result<Dialled, SyncError> {
    on_event(SyncEvent::Dialling);
    let dialling = dial(identity, target, options);
    let dialled = match deadline {
        None => dialling.await?,
        Some(at) => timeout(at.saturating_duration_since(Instant::now()), dialling)
            .await
            .map_err(|_| SyncError::Deadline)??,
    };
    on_event(SyncEvent::Connected(
        dialled.link.connection.remote_address(),
    ));
    Ok(dialled)
}

/// The same as [`sync_once`], beginning on a connection that is there already (see [`reach`] and
/// [`crate::enrol::Enrolment`]).
pub async fn sync_once_on(
    dialled: Dialled,
    handle: &Handle,
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    on_event: OnEvent<'_>,
) -> Result<SyncReport, SyncError> {
    let mut run = Run::new(handle, identity, target, options, on_event);
    run.once(Some(dialled)).await
}

/// Stays in sync with the target until `stop` is done: streams what grows on either side, dials again
/// after every break. Ends early only for what no retry will mend.
pub async fn keep_synced(
    handle: &Handle,
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    stop: impl Future<Output = ()> + Send,
    on_event: OnEvent<'_>,
) -> Result<SyncReport, SyncError> {
    let mut run = Run::new(handle, identity, target, options, on_event);
    let kept = run.kept(stop).await;
    handle.registry().set_retry(target.relay, None);
    kept
}

struct Run<'a> {
    handle: &'a Handle,
    identity: &'a Identity,
    target: &'a SyncTarget,
    options: &'a SyncOptions,
    on_event: OnEvent<'a>,
    began: Instant,
    report: SyncReport,
}

/// How one connection ended.
enum Attempt {
    /// The session said so.
    Finished(CloseReason),
    /// The peer closed, or broke the protocol.
    Closed(CloseReason, String),
    /// The network went away.
    Lost(String),
}

impl<'a> Run<'a> {
    fn new(
        handle: &'a Handle,
        identity: &'a Identity,
        target: &'a SyncTarget,
        options: &'a SyncOptions,
        on_event: OnEvent<'a>,
    ) -> Self {
        Self {
            handle,
            identity,
            target,
            options,
            on_event,
            began: Instant::now(),
            report: SyncReport::default(),
        }
    }

    async fn once(&mut self, mut dialled: Option<Dialled>) -> Result<SyncReport, SyncError> {
        let deadline = self.options.deadline.map(|after| self.began + after);
        let mut give_up: Option<Instant> = None;
        let mut failures = 0;
        loop {
            let connection = match dialled.take() {
                Some(dialled) => Ok(dialled),
                // No timer is exact enough to say so once the answer is on its way.
                None if deadline.is_some_and(|at| Instant::now() >= at) => Err(SyncError::Deadline),
                None => self.dial(deadline).await,
            };
            let problem = match connection {
                Err(error) if give_up.is_none() || !error.retryable() => return Err(error),
                Err(error) => error,
                Ok(dialled) => {
                    let before = self.moved();
                    let attempt = self.attempt(dialled, false, deadline, pending()).await?;
                    if self.moved() > before || give_up.is_none() {
                        failures = 0;
                        give_up = Some(Instant::now() + self.options.patience);
                    }
                    match self.judge(attempt) {
                        Err(error @ (SyncError::Lost { .. } | SyncError::NotNow { .. })) => error,
                        judged => return judged,
                    }
                }
            };
            failures += 1;
            let pause = self.options.backoff.next(failures).min(ONCE_PAUSE_MAX);
            let until = Instant::now() + pause;
            if deadline.is_some_and(|at| until >= at) {
                return Ok(self.finished(false));
            }
            if give_up.is_none_or(|at| until >= at) {
                return Err(problem);
            }
            (self.on_event)(SyncEvent::Broken(problem.to_string()));
            (self.on_event)(SyncEvent::Pause(pause));
            sleep(pause).await;
        }
    }

    async fn kept(
        &mut self,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<SyncReport, SyncError> {
        tokio::pin!(stop);
        let mut failures = 0;
        loop {
            let dialled = tokio::select! {
                () = &mut stop => return Ok(self.finished(false)),
                dialled = self.dial(None) => dialled,
            };
            let problem = match dialled {
                Err(error) => error,
                Ok(dialled) => {
                    self.handle.registry().set_retry(self.target.relay, None);
                    let before = self.moved();
                    let attempt = self.attempt(dialled, true, None, &mut stop).await?;
                    if self.moved() > before {
                        failures = 0;
                    }
                    match self.judge(attempt) {
                        // A live session ends so only because we were told to stop.
                        Ok(report) => return Ok(report),
                        Err(error) => error,
                    }
                }
            };
            if !problem.retryable() {
                return Err(problem);
            }
            failures += 1;
            let asked = self.report.retry_after_s.take().map(u64::from);
            let pause = self
                .options
                .backoff
                .next(failures)
                .max(Duration::from_secs(asked.unwrap_or(0).min(3600)));
            self.handle.registry().set_retry(
                self.target.relay,
                Some(Retry {
                    at: SystemTime::now() + pause,
                    failures,
                    error: problem.to_string(),
                }),
            );
            (self.on_event)(SyncEvent::Broken(problem.to_string()));
            (self.on_event)(SyncEvent::Pause(pause));
            tokio::select! {
                () = &mut stop => return Ok(self.finished(false)),
                () = sleep(pause) => {}
            }
        }
    }

    fn moved(&self) -> u64 {
        self.report.entries_sent + self.report.entries_received
    }

    async fn dial(&mut self, deadline: Option<Instant>) -> Result<Dialled, SyncError> {
        let (identity, target) = (self.identity, self.target);
        reach_until(identity, target, self.options, deadline, self.on_event).await
    }

    /// One session on one connection.
    async fn attempt(
        &mut self,
        dialled: Dialled,
        live: bool,
        deadline: Option<Instant>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Attempt, SyncError> {
        let Dialled {
            link,
            control,
            lanes,
        } = dialled;
        let spent = self.report.app_bytes_sent + self.report.app_bytes_received;
        let options = RunOptions {
            live,
            byte_budget: self
                .options
                .byte_budget
                .map(|budget| budget.saturating_sub(spent)),
            until: deadline.map(tokio::time::Instant::from_std),
        };
        let runner = begin(&link, self.handle, &options).await?;
        let id = runner.id();
        let mut pulse = self.handle.subscribe();
        let mut pulse_lives = true;
        let mut told = (0, 0);
        let mut equals = 0;
        let mut finish = Finish::new(deadline);
        let outcome = {
            let running = runner.run(&link, control, lanes, Vec::new());
            tokio::pin!(running, stop);
            let mut look = tokio::time::interval(Duration::from_millis(500));
            loop {
                tokio::select! {
                    outcome = &mut running => break outcome,
                    () = &mut stop, if !finish.asked => finish.ask(self.handle, id).await,
                    () = finish.due() => finish.ask(self.handle, id).await,
                    changed = pulse.changed(), if pulse_lives => {
                        pulse_lives = changed.is_ok();
                        let now = self.handle.registry().equals(id);
                        if now > equals {
                            equals = now;
                            (self.on_event)(SyncEvent::Equal);
                        }
                    }
                    _ = look.tick() => {
                        let moved = (link.meters.sent(), link.meters.received());
                        if moved != told {
                            told = moved;
                            (self.on_event)(SyncEvent::Moved {
                                app_bytes_sent: moved.0,
                                app_bytes_received: moved.1,
                            });
                        }
                    }
                }
            }
        };
        if !matches!(outcome.link, Some(LinkError::Closed(_))) {
            link.drained().await;
        }
        self.report.add(&link, &outcome);
        self.report.complete = !outcome.ended.gave_up;
        self.report.equal = outcome.ended.equal;
        Ok(attempt_of(outcome))
    }

    fn finished(&mut self, complete: bool) -> SyncReport {
        self.report.complete &= complete;
        self.report.duration_s = self.began.elapsed().as_secs_f64();
        self.report.clone()
    }

    fn judge(&mut self, attempt: Attempt) -> Result<SyncReport, SyncError> {
        let (reason, message) = match attempt {
            Attempt::Finished(reason @ (CloseReason::Done | CloseReason::Budget)) => {
                return Ok(self.finished(reason == CloseReason::Done));
            }
            Attempt::Finished(reason) => (reason, reason.to_string()),
            Attempt::Closed(reason, message) => (reason, message),
            Attempt::Lost(message) => {
                let report = Box::new(self.finished(false));
                return Err(SyncError::Lost { message, report });
            }
        };
        if let Some(failure) = self.handle.failure() {
            return Err(EngineError::StoreFailed(failure).into());
        }
        let report = Box::new(self.finished(false));
        Err(match reason {
            CloseReason::Unknown | CloseReason::Revoked | CloseReason::NotPermitted => {
                SyncError::Refused { reason, report }
            }
            CloseReason::OtherProgramme => SyncError::OtherProgramme,
            CloseReason::Version => SyncError::Version,
            CloseReason::Protocol => SyncError::Protocol { message, report },
            CloseReason::ShuttingDown | CloseReason::Busy | CloseReason::StoreFailed => {
                SyncError::NotNow { reason, report }
            }
            // The peer closed while our session was not done: to us that is a break.
            CloseReason::Done | CloseReason::Budget => SyncError::Lost { message, report },
        })
    }
}

/// The longest pause while somebody waits for one sync to end.
const ONCE_PAUSE_MAX: Duration = Duration::from_secs(15);

/// Asks a session to come to its end a little before its deadline, and closes it then.
struct Finish {
    at: Option<tokio::time::Instant>,
    deadline: Option<tokio::time::Instant>,
    asked: bool,
}

/// How long before the deadline nothing new is sent, so that what is on the way becomes durable; a quarter
/// of the time where that is less. Also how long a session may take that is told to stop.
const GRACE: Duration = Duration::from_secs(2);

impl Finish {
    fn new(deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(tokio::time::Instant::from_std);
        Self {
            at: deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                deadline - GRACE.min(left / 4)
            }),
            deadline,
            asked: false,
        }
    }

    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    async fn ask(&mut self, handle: &Handle, id: SessionId) {
        let event = if self.asked {
            self.at = None;
            Event::Close(id, CloseReason::Budget)
        } else {
            self.asked = true;
            let close_at = tokio::time::Instant::now() + GRACE;
            let close_at = self.deadline.map_or(close_at, |at| at.min(close_at));
            self.at = Some(close_at);
            Event::Finish(id)
        };
        // An engine that is gone ends the session as well.
        let _ = handle.send(event).await;
    }
}

fn attempt_of(outcome: Outcome) -> Attempt {
    let Outcome { ended, link } = outcome;
    let message = match &link {
        // The error that tells of it says already that the connection was lost.
        Some(LinkError::Lost(error)) => error.to_string(),
        _ => ended
            .error
            .clone()
            .or_else(|| link.as_ref().map(ToString::to_string))
            .unwrap_or_default(),
    };
    match ended.reason {
        None => Attempt::Lost(message),
        Some(reason) if ended.lost => match link {
            Some(LinkError::Stalled(_)) => Attempt::Lost(message),
            _ => Attempt::Closed(reason, message),
        },
        Some(CloseReason::Protocol) => Attempt::Closed(CloseReason::Protocol, message),
        Some(reason) => Attempt::Finished(reason),
    }
}

/// How long the next address waits for the one before it.
const NEXT_ADDRESS: Duration = Duration::from_secs(1);

/// Dials all addresses, each a second after the one before, and takes the first that answers.
pub(crate) async fn dial(
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
) -> Result<Dialled, SyncError> {
    dial_and(identity, target, options, async |link| {
        let (control, lanes) = open_channels(&link).await?;
        Ok(Dialled {
            link,
            control,
            lanes,
        })
    })
    .await
}

/// Dials until somebody answers with whom `begin` succeeds.
pub(crate) async fn dial_and<T>(
    identity: &Identity,
    target: &SyncTarget,
    options: &SyncOptions,
    begin: impl AsyncFn(Link) -> Result<T, LinkError>,
) -> Result<T, SyncError> {
    let mut tried = Vec::new();
    let mut addresses = Vec::new();
    for name in &target.addresses {
        match tokio::net::lookup_host(name.as_str()).await {
            Ok(found) => addresses.extend(found.map(|address| (name.clone(), address))),
            Err(error) => tried.push(format!("{name}: {error}")),
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    let mut dialling = JoinSet::new();
    for (place, (name, address)) in addresses.into_iter().enumerate() {
        let identity = identity.clone();
        let network = options.network.clone();
        let relay = target.relay;
        let delay = NEXT_ADDRESS.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        dialling.spawn(async move {
            sleep(delay).await;
            (name, connect(&identity, address, relay, &network).await)
        });
    }
    let mut wrong_key = false;
    while let Some(joined) = dialling.join_next().await {
        let Ok((name, result)) = joined else { continue };
        match result {
            Ok((endpoint, connection)) => {
                let link = Link::new(
                    Some(endpoint),
                    connection,
                    target.relay,
                    options.network.clone(),
                    options.bandwidth_bytes_per_second,
                );
                match begin(link).await {
                    Ok(begun) => return Ok(begun),
                    Err(error) => tried.push(format!("{name}: {error}")),
                }
            }
            Err(error) => {
                wrong_key |= matches!(error, ConnectError::WrongKey);
                tried.push(format!("{name}: {error}"));
            }
        }
    }
    if wrong_key {
        return Err(SyncError::WrongKey);
    }
    Err(SyncError::Unreachable {
        relay: target.relay,
        tried,
    })
}

/// Addresses that one attempt dials.
const ADDRESSES_MAX: usize = 16;
