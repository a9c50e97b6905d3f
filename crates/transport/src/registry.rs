//! What is known of sessions, those that run and the last ones that ran: what `cairn ops sessions` shows.

use cairn_replica::session::Counters;
use cairn_wire::DeviceKey;
use cairn_wire::frame::{Backlog, CloseReason};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::link::Meters;

/// Sessions that ended and are still told of.
pub const HISTORY_MAX: usize = 1024;
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
    retries: BTreeMap<DeviceKey, Retry>,
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
        if inner.history.len() >= HISTORY_MAX {
            inner.history.pop_front();
        }
        inner.history.push_back(info);
    }

    pub(crate) fn running(&self) -> Vec<SessionInfo> {
        self.lock()
            .running
            .values()
            .map(Running::snapshot)
            .collect()
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
        self.lock().history.iter().cloned().collect()
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
