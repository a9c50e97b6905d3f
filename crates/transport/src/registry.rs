//! What is known of sessions, those that run and the last ones that ran: what `cairn ops sessions` shows.

use cairn_replica::session::Counters;
use cairn_wire::DeviceKey;
use cairn_wire::frame::{Backlog, CloseReason};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::link::Meters;

/// Sessions that ended and are still told of.
pub const HISTORY_MAX: usize = 1024;
/// Peers that were turned away and are still told of: a crowd of them pushes no other out.
const TURNED_AWAY_MAX: usize = 256;
/// Peers whose next retry is told of.
const RETRIES_MAX: usize = 64;

/// Number of a session within one run of the programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We dialled.
    Outgoing,
    /// The peer dialled.
    Incoming,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Entries may still be missing on one side.
    Syncing,
    /// Both sides have proved that they hold the same; new entries flow at once.
    Equal,
    /// It ended in good order.
    Ended(CloseReason),
    /// The network or the peer went away.
    Lost,
}

/// One session as it stands, or as it ended.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its number.
    pub id: SessionId,
    /// The device on the other side.
    pub peer: DeviceKey,
    /// The other side's address.
    pub remote: SocketAddr,
    /// Who began.
    pub direction: Direction,
    /// Where it stands.
    pub state: SessionState,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// Stream payload sent.
    pub app_bytes_sent: u64,
    /// Stream payload received.
    pub app_bytes_received: u64,
    /// UDP payload sent; a second behind while the session runs.
    pub udp_bytes_sent: u64,
    /// UDP payload received; a second behind while the session runs.
    pub udp_bytes_received: u64,
    /// Times a frame of the peer had to be waited for, after the handshake.
    pub round_trips: u64,
    /// Entries sent.
    pub entries_sent: u64,
    /// Entries received that were new here.
    pub entries_received: u64,
    /// Entries of the peer that were refused.
    pub entries_refused: u64,
    /// How often both sides proved that they hold the same.
    pub equals: u64,
    /// The peer was enrolled on this connection.
    pub joined: bool,
    /// What the peer said is waiting on it.
    pub backlog: Option<Backlog>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A peer that is dialled again after a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// When.
    pub at: SystemTime,
    /// Attempts that failed since the last good one.
    pub failures: u32,
    /// What the last one said.
    pub error: String,
}

/// Sums over all sessions since the start, those that run included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that ended in good order.
    pub ended: u64,
    /// Sessions that were cut off or ended by a fault.
    pub failed: u64,
    /// Stream payload sent.
    pub app_bytes_sent: u64,
    /// Stream payload received.
    pub app_bytes_received: u64,
    /// UDP payload sent.
    pub udp_bytes_sent: u64,
    /// UDP payload received.
    pub udp_bytes_received: u64,
    /// Entries sent.
    pub entries_sent: u64,
    /// Entries received that were new here.
    pub entries_received: u64,
    /// Entries of peers that were refused.
    pub entries_refused: u64,
}

impl Totals {
    fn add(&mut self, info: &SessionInfo) {
        match info.state {
            SessionState::Syncing | SessionState::Equal => {}
            SessionState::Ended(_) if info.error.is_none() => self.ended += 1,
            SessionState::Ended(_) | SessionState::Lost => self.failed += 1,
        }
        self.app_bytes_sent += info.app_bytes_sent;
        self.app_bytes_received += info.app_bytes_received;
        self.udp_bytes_sent += info.udp_bytes_sent;
        self.udp_bytes_received += info.udp_bytes_received;
        self.entries_sent += info.entries_sent;
        self.entries_received += info.entries_received;
        self.entries_refused += info.entries_refused;
    }
}

/// Upper bounds of [`CommitTimes::counts`], in seconds.
pub const COMMIT_BOUNDS_S: [f64; 10] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// How long commits of entries that came from peers took: written, synced to disk, indexed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CommitTimes {
    /// Commits within each bound and above the one before; the last: longer than all bounds.
    pub counts: [u64; COMMIT_BOUNDS_S.len() + 1],
    /// All of them together, in seconds.
    pub sum_s: f64,
}

impl CommitTimes {
    fn observe(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        let at = COMMIT_BOUNDS_S.partition_point(|bound| *bound < took_s);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_s += took_s;
    }
}

#[derive(Debug)]
struct Running {
    info: SessionInfo,
    meters: Arc<Meters>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    running: BTreeMap<SessionId, Running>,
    history: VecDeque<SessionInfo>,
    turned_away: VecDeque<SessionInfo>,
    retries: BTreeMap<DeviceKey, Retry>,
    ended: Totals,
    commits: CommitTimes,
}

/// Shared by the engine, the connections and whoever asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Inner>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing below leaves the map half changed, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a session that begins.
    pub(crate) fn next_id(&self) -> SessionId {
        let mut inner = self.lock();
        inner.next += 1;
        SessionId(inner.next)
    }

    pub(crate) fn begin(&self, info: SessionInfo, meters: Arc<Meters>) {
        self.lock()
            .running
            .insert(info.id, Running { info, meters });
    }

    pub(crate) fn update(&self, id: SessionId, change: impl FnOnce(&mut SessionInfo)) {
        if let Some(running) = self.lock().running.get_mut(&id) {
            change(&mut running.info);
        }
    }

    /// Moves a session into the history.
    pub(crate) fn end(&self, id: SessionId, state: SessionState, error: Option<String>) {
        let mut inner = self.lock();
        let Some(running) = inner.running.remove(&id) else {
            return;
        };
        let mut info = running.snapshot();
        info.state = state;
        info.ended = Some(SystemTime::now());
        info.error = error;
        inner.ended.add(&info);
        match state {
            SessionState::Ended(CloseReason::Unknown) => inner.turn_away(info),
            _ => push(&mut inner.history, info, HISTORY_MAX),
        }
    }

    /// Keeps in mind a peer that got no session: it was turned away, or it only came to join.
    pub(crate) fn without_session(
        &self,
        mut info: SessionInfo,
        reason: CloseReason,
        why: Option<String>,
    ) {
        info.state = SessionState::Ended(reason);
        info.ended = Some(SystemTime::now());
        info.error = why;
        let mut inner = self.lock();
        match info.joined {
            true => push(&mut inner.history, info, HISTORY_MAX),
            false => inner.turn_away(info),
        }
    }

    pub(crate) fn running(&self) -> Vec<SessionInfo> {
        self.lock()
            .running
            .values()
            .map(Running::snapshot)
            .collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let inner = self.lock();
        let mut totals = inner.ended;
        for running in inner.running.values() {
            totals.add(&running.snapshot());
        }
        totals
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.lock().commits.observe(took);
    }

    pub(crate) fn commits(&self) -> CommitTimes {
        self.lock().commits
    }

    /// How often a running session was proven equal.
    pub(crate) fn equals(&self, id: SessionId) -> u64 {
        self.lock()
            .running
            .get(&id)
            .map_or(0, |running| running.info.equals)
    }

    pub(crate) fn running_len(&self) -> usize {
        self.lock().running.len()
    }

    /// The numbers of a peer's running sessions, oldest first.
    pub(crate) fn running_of(&self, peer: &DeviceKey) -> Vec<SessionId> {
        let inner = self.lock();
        let of_peer = inner.running.values().filter(|one| one.info.peer == *peer);
        of_peer.map(|one| one.info.id).collect()
    }

    pub(crate) fn history(&self) -> Vec<SessionInfo> {
        let inner = self.lock();
        let all = inner.history.iter().chain(&inner.turned_away);
        all.cloned().collect()
    }

    pub(crate) fn set_retry(&self, peer: DeviceKey, retry: Option<Retry>) {
        let mut inner = self.lock();
        match retry {
            None => {
                inner.retries.remove(&peer);
            }
            Some(retry) => {
                if inner.retries.len() < RETRIES_MAX || inner.retries.contains_key(&peer) {
                    inner.retries.insert(peer, retry);
                }
            }
        }
    }

    pub(crate) fn retries(&self) -> Vec<(DeviceKey, Retry)> {
        let inner = self.lock();
        inner
            .retries
            .iter()
            .map(|(peer, retry)| (*peer, retry.clone()))
            .collect()
    }
}

impl Inner {
    fn turn_away(&mut self, info: SessionInfo) {
        push(&mut self.turned_away, info, TURNED_AWAY_MAX);
    }
}

fn push(queue: &mut VecDeque<SessionInfo>, info: SessionInfo, length_max: usize) {
    if queue.len() >= length_max {
        queue.pop_front();
    }
    queue.push_back(info);
}

impl SessionInfo {
    pub(crate) fn count(&mut self, counters: &Counters) {
        self.round_trips = counters.round_trips;
        self.entries_sent = counters.entries_sent;
        self.entries_received = counters.entries_new;
        self.entries_refused = counters.entries_refused;
    }
}

impl Running {
    fn snapshot(&self) -> SessionInfo {
        let mut info = self.info.clone();
        info.app_bytes_sent = self.meters.sent();
        info.app_bytes_received = self.meters.received();
        (info.udp_bytes_sent, info.udp_bytes_received) = self.meters.udp();
        info
    }
}
