//! One thread owns the store and all sessions, and does nothing but feed them.
//!
//! Connections send what they read into a bounded queue. The thread takes everything that is queued,
//! hands it to the sessions, puts the entries of all of them into *one* commit of the store, answers,
//! and gives what the sessions say back to the connections. While a commit is on its way to the disk
//! the next one gathers in the queue: that is the whole group commit.
//!
//! Whoever else needs the store asks for a turn with [`Handle::call`]. What grows by it flows into live
//! sessions at once. A store that fails poisons the engine: every session is closed with
//! [`CloseReason::StoreFailed`] and every later call says so.

mod rounds;

use crate::link::Meters;
use crate::registry::{CommitTimes, Registry, Retry, SessionId, SessionInfo, Totals};
use crate::side_objects::ReadReceipt;
use cairn_replica::session::{Counters, SessionConfig};
use cairn_store::Store;
use cairn_wire::DeviceKey;
use cairn_wire::frame::{Channel, CloseReason};
use rounds::Engine;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Events that wait for the engine; a sender that finds the queue full waits.
const QUEUE_EVENTS: usize = 256;

/// Why the engine did not do what it was asked. Never a peer's fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// It was stopped.
    #[error("the replica was stopped")]
    Stopped,
    /// The store failed: nothing more is promised until it is opened again.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// No thread or timer could be had from the system.
    #[error("the replica's thread cannot start: {0}")]
    Thread(String),
}

/// How an engine runs.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Verifies a receipt and says where it belongs; without it receipts are not kept.
    pub read_receipt: Option<ReadReceipt>,
}

/// What has changed since it was last looked at. Each number only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Rises when a journal grew.
    pub journals: u64,
    /// Rises when the authority's log grew.
    pub authority: u64,
    /// Rises when grants or receipts came.
    pub side_objects: u64,
    /// Rises when a peer declared its backlog, or a session began, became equal or ended.
    pub sessions: u64,
    /// Rises when it is newly known what a peer has: a tick may show.
    pub peers: u64,
    /// Commits of entries that came from peers.
    pub commits: u64,
}

/// The way to the engine: cheap to clone, shared by connections, the relay, the device.
#[derive(Clone)]
pub struct Handle {
    events: mpsc::Sender<Event>,
    pulse: watch::Receiver<Pulse>,
    registry: Registry,
    failure: Arc<Mutex<Option<String>>>,
    device: DeviceKey,
}

type Call = Box<dyn FnOnce(&mut dyn Store) + Send>;

pub(crate) enum Event {
    Start(Box<Start>),
    Bytes {
        session: SessionId,
        channel: Channel,
        bytes: Vec<u8>,
    },
    LinkRate {
        session: SessionId,
        bytes_per_second: u64,
    },
    Finish(SessionId),
    Close(SessionId, CloseReason),
    /// The connection is gone, or its peer broke the protocol below the session.
    Lost {
        session: SessionId,
        peer_reason: Option<CloseReason>,
        error: String,
    },
    Call(Call),
    SideObjectsGrown,
    SideObjects,
    Wake,
    Stop(oneshot::Sender<Result<(), EngineError>>),
}

/// A session that begins.
pub(crate) struct Start {
    pub(crate) config: SessionConfig,
    pub(crate) info: SessionInfo,
    pub(crate) meters: Arc<Meters>,
    pub(crate) outlet: Outlet,
    pub(crate) ended: oneshot::Sender<Ended>,
}

/// How a session ended, for whoever runs its connection.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// What the session said, or the code that the peer closed with; `None` where the link was lost.
    pub(crate) reason: Option<CloseReason>,
    /// The link below is gone already.
    pub(crate) lost: bool,
    /// Both sides proved that they hold the same, at some time.
    pub(crate) equal: bool,
    /// Comparing did not make some scope equal.
    pub(crate) gave_up: bool,
    pub(crate) counters: Counters,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) error: Option<String>,
}

/// Where a session's bytes go: one queue per channel, counted together.
pub(crate) struct Outlet {
    pub(crate) channels: [mpsc::UnboundedSender<Vec<u8>>; 3],
    pub(crate) waiting: Arc<Waiting>,
}

/// Bytes that wait for the peer to read.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    fewer: Notify,
}

impl Waiting {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.fewer.notify_waiters();
    }

    /// Waits until the peer has read enough that more may be taken from it.
    pub(crate) async fn below(&self, bytes_max: usize) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if self.bytes.load(Ordering::Acquire) <= bytes_max {
                return;
            }
            fewer.await;
        }
    }
}

impl Outlet {
    fn send(&self, channel: Channel, bytes: Vec<u8>) {
        let length = bytes.len();
        self.waiting.add(length);
        if self.channels[usize::from(channel.as_byte())]
            .send(bytes)
            .is_err()
        {
            // The connection is gone; its task says so in an event of its own.
            self.waiting.take(length);
        }
    }
}

/// Starts the thread that owns `store` and all sessions on it.
///
/// It ends when [`Handle::stop`] is called or the last handle is dropped, and closes the store then.
pub fn start(store: Box<dyn Store>, options: EngineOptions) -> Result<Handle, EngineError> {
    let thread_error = |error: std::io::Error| EngineError::Thread(error.to_string());
    let timer = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(thread_error)?;
    let (events, queue) = mpsc::channel(QUEUE_EVENTS);
    let (pulse, pulse_seen) = watch::channel(Pulse::default());
    let handle = Handle {
        events,
        pulse: pulse_seen,
        registry: Registry::default(),
        failure: Arc::default(),
        device: store.device(),
    };
    let engine = Engine::new(
        store,
        options,
        handle.registry.clone(),
        Arc::clone(&handle.failure),
        pulse,
    );
    std::thread::Builder::new()
        .name("cairn-engine".into())
        .spawn(move || engine.run(&timer, queue))
        .map_err(thread_error)?;
    Ok(handle)
}

impl Handle {
    /// The device whose replica this is.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.device
    }

    /// Runs `work` with the store, between two commits. Keep it short: every session waits for it.
    pub async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.send(call(work, answer)).await?;
        answered.await.map_err(|_| self.stopped())
    }

    /// The same for a thread that may block. Panics inside an asynchronous task, and deadlocks inside
    /// another call.
    pub fn call_blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        self.check()?;
        let (answer, answered) = oneshot::channel();
        self.events
            .blocking_send(call(work, answer))
            .map_err(|_| self.stopped())?;
        answered.blocking_recv().map_err(|_| self.stopped())
    }

    /// Tells live sessions that grants or receipts were put into the store by [`Self::call`]. Entries and
    /// the authority's log are noticed without being told.
    pub async fn announce_side_objects(&self) -> Result<(), EngineError> {
        self.send(Event::SideObjects).await
    }

    /// Follows what changes: wait on it, then look at what grew.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Pulse> {
        self.pulse.clone()
    }

    /// Sessions that run.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.registry.running()
    }

    /// The last sessions that ended, oldest first, at most [`crate::registry::HISTORY_MAX`]; then the
    /// last peers that were turned away.
    #[must_use]
    pub fn history(&self) -> Vec<SessionInfo> {
        self.registry.history()
    }

    /// Sums over all sessions since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.registry.totals()
    }

    /// How long commits took since the start.
    #[must_use]
    pub fn commit_times(&self) -> CommitTimes {
        self.registry.commits()
    }

    /// Peers that are dialled again after a pause.
    #[must_use]
    pub fn retries(&self) -> Vec<(DeviceKey, Retry)> {
        self.registry.retries()
    }

    /// Why the store failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes every session of a peer: it was suspended, or revoked beyond handing in.
    pub async fn close_peer(
        &self,
        peer: &DeviceKey,
        reason: CloseReason,
    ) -> Result<(), EngineError> {
        for session in self.registry.running_of(peer) {
            self.send(Event::Close(session, reason)).await?;
        }
        Ok(())
    }

    /// Says that a call put grants or receipts into the store, so that live sessions hand them on.
    pub async fn side_objects_grown(&self) -> Result<(), EngineError> {
        self.send(Event::SideObjectsGrown).await
    }

    /// The same for a thread that may block.
    pub fn side_objects_grown_blocking(&self) -> Result<(), EngineError> {
        self.check()?;
        self.events
            .blocking_send(Event::SideObjectsGrown)
            .map_err(|_| self.stopped())
    }

    /// Tells every peer that we will be back, closes the store, and ends the thread.
    pub async fn stop(&self) -> Result<(), EngineError> {
        let (answer, answered) = oneshot::channel();
        if self.events.send(Event::Stop(answer)).await.is_err() {
            return self.check();
        }
        answered.await.unwrap_or(Err(EngineError::Stopped))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Events that wait for the engine.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        QUEUE_EVENTS - self.events.capacity()
    }

    /// Makes the engine look round. A queue that is full wakes it as well.
    pub(crate) fn wake(&self) {
        let _ = self.events.try_send(Event::Wake);
    }

    pub(crate) async fn send(&self, event: Event) -> Result<(), EngineError> {
        self.check()?;
        self.events.send(event).await.map_err(|_| self.stopped())
    }

    fn check(&self) -> Result<(), EngineError> {
        self.failure()
            .map_or(Ok(()), |failure| Err(EngineError::StoreFailed(failure)))
    }

    fn stopped(&self) -> EngineError {
        self.check().err().unwrap_or(EngineError::Stopped)
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle(of {:?})", self.device)
    }
}

fn call<R: Send + 'static>(
    work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
    answer: oneshot::Sender<R>,
) -> Event {
    Event::Call(Box::new(move |store| {
        // Nobody waits for the answer any more: the work is done all the same.
        let _ = answer.send(work(store));
    }))
}
