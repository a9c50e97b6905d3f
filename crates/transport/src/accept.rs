//! Accepts connections: a relay's, a hub's, or those of a device that serves others nearby.
//!
//! What a stranger may cost is limited here: half-open connections, time until the first frame,
//! sessions altogether and per device. Who a device is and what it may do, the session decides.

use crate::connection::{Lanes, RunOptions, accept_control, begin, info};
use crate::endpoint::{Listener, NetworkOptions, peer_of};
use crate::engine::{EngineError, Event, Handle};
use crate::link::{Link, LinkError, Opened, Pipe};
use crate::ops_stream::OpsAnswerer;
use crate::registry::Direction;
use cairn_keys::enrolment::Refusal;
use cairn_replica::holdings::HoldingsError;
use cairn_store::{Store, StoreError};
use cairn_wire::codec::Bytes;
use cairn_wire::frame::{CloseReason, ControlFrame};
use cairn_wire::{DeviceKey, limits};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Makes members of devices that were given a joining code. The relay's part.
pub trait Enroller: Send + Sync + 'static {
    /// Verifies the request of the device `peer` (whose key TLS has proved) and, if it is good, puts
    /// the authority's entries and the grants into `store`. Asked again for a member, it says yes again.
    fn enrol(
        &self,
        request: &[u8],
        peer: DeviceKey,
        store: &mut dyn Store,
    ) -> Result<(), EnrolRefused>;
}

/// Why a device was not enrolled. The device is told one word only.
#[derive(Debug, thiserror::Error)]
pub enum EnrolRefused {
    /// The request is no request, or names another key than TLS has proved.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// The request is for another programme.
    #[error("the request is for another programme")]
    OtherProgramme,
    /// There is no such code here.
    #[error("no such code was made here")]
    UnknownCode,
    /// Whoever made the code says no: a wrong MAC, a code that has ended or is used up, a revoked
    /// device.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The authority is elsewhere: the request was queued.
    #[error("the request waits for the authority")]
    Later {
        /// When to ask again, in seconds.
        retry_after_s: u32,
    },
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own store could not be read.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
}

impl EnrolRefused {
    fn close_reason(&self) -> CloseReason {
        match self {
            Self::Malformed(_) => CloseReason::Protocol,
            Self::OtherProgramme => CloseReason::OtherProgramme,
            Self::Refused(Refusal::Revoked) => CloseReason::Revoked,
            Self::UnknownCode
            | Self::Refused(Refusal::NotProved | Refusal::Expired | Refusal::UsedUp) => {
                CloseReason::NotPermitted
            }
            Self::Later { .. } => CloseReason::Busy,
            Self::Store(_) | Self::Holdings(_) => CloseReason::StoreFailed,
        }
    }
}

/// How to accept.
#[derive(Clone)]
pub struct AcceptOptions {
    /// Who enrols devices; without it only members are served.
    pub enroller: Option<Arc<dyn Enroller>>,
    /// Who answers ops; without it nobody does.
    pub ops: Option<Arc<dyn OpsAnswerer>>,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Slows every connection down in both directions, for tests and demonstrations.
    pub bandwidth_bytes_per_second: Option<u64>,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self {
            enroller: None,
            ops: None,
            sessions_max: limits::SESSIONS_MAX,
            bandwidth_bytes_per_second: None,
        }
    }
}

/// Accepts connections until it is stopped or dropped.
#[derive(Debug)]
pub struct Acceptor {
    address: SocketAddr,
    endpoint: quinn::Endpoint,
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

impl Acceptor {
    /// Begins to accept on `listener`; needs a tokio runtime.
    pub fn spawn(
        listener: Listener,
        handle: Handle,
        options: AcceptOptions,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let endpoint = listener.endpoint.clone();
        let (stop, stopped) = watch::channel(false);
        let door = Arc::new(Door {
            listener,
            handle,
            options,
            half_open: AtomicUsize::new(0),
            asking: Semaphore::new(limits::OPS_CONNECTIONS_MAX),
            stopped: stopped.clone(),
        });
        let done = tokio::spawn(accept_all(door, stopped));
        Ok(Self {
            address,
            endpoint,
            stop,
            done,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections; those that are there go on.
    pub fn stop_accepting(&self) {
        // The task is gone only if its runtime is.
        let _ = self.stop.send(true);
        self.endpoint.set_server_config(None);
    }

    /// Takes no more connections and waits until those that are there have ended: stop the engine
    /// first ([`Handle::stop`]), else that may be long.
    pub async fn finish(mut self) {
        self.stop_accepting();
        // An error says that the task panicked or was cancelled; either way it has ended.
        let _ = (&mut self.done).await;
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.endpoint
            .close((CloseReason::ShuttingDown as u32).into(), b"");
    }
}

const NO_FRAME: &str = "a control stream without a frame";

pub(crate) struct Door {
    listener: Listener,
    handle: Handle,
    pub(crate) options: AcceptOptions,
    half_open: AtomicUsize,
    /// Room for connections of ops.
    pub(crate) asking: Semaphore,
    /// Nothing new is begun any more.
    pub(crate) stopped: watch::Receiver<bool>,
}

async fn accept_all(door: Arc<Door>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = door.listener.endpoint.accept() => match incoming {
                Some(incoming) => door.clone().receive(incoming, &mut connections),
                None => break,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

impl Door {
    /// Decides at the first datagram: a full house and strangers under load cost next to nothing.
    fn receive(self: Arc<Self>, incoming: quinn::Incoming, connections: &mut JoinSet<()>) {
        let half_open = self.half_open.load(Ordering::Relaxed);
        if half_open >= self.network().half_open_before_retry
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // Fails only where a retry is not possible, which was just asked.
            let _ = incoming.retry();
            return;
        }
        // Those that have no session yet are bounded too, whatever their keys.
        let connections_max = self
            .options
            .sessions_max
            .saturating_add(limits::INCOMING_MAX);
        if half_open >= limits::INCOMING_MAX || connections.len() >= connections_max {
            incoming.refuse();
            return;
        }
        self.half_open.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            let connection = self.shake_hands(incoming).await;
            self.half_open.fetch_sub(1, Ordering::Relaxed);
            if let Some(link) = connection {
                self.serve(link).await;
            }
        });
    }

    fn network(&self) -> &NetworkOptions {
        &self.listener.options
    }

    async fn shake_hands(&self, incoming: quinn::Incoming) -> Option<Link> {
        let config = self.listener.config_for(incoming.remote_address().ip())?;
        let connecting = incoming.accept_with(config).ok()?;
        let connection = timeout(self.network().handshake, connecting).await;
        let connection = match connection {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a handshake failed");
                return None;
            }
            Err(_) => {
                tracing::debug!("a handshake took too long");
                return None;
            }
        };
        let peer = peer_of(&connection)?;
        Some(Link::new(
            None,
            connection,
            peer,
            self.network().clone(),
            self.options.bandwidth_bytes_per_second,
        ))
    }

    async fn serve(&self, link: Link) {
        if self.handle.registry().running_len() >= self.options.sessions_max {
            link.close(CloseReason::Busy);
            let why = "as many sessions as may run do run";
            self.without_session(&link, CloseReason::Busy, Some(why.to_owned()));
            return;
        }
        if let Err(error) = self.session(&link).await {
            tracing::debug!(peer = ?link.peer, %error, "a connection ended before its session");
            match error {
                ServeError::OnlyJoined => self.without_session(&link, CloseReason::Done, None),
                error => {
                    let why = error.to_string();
                    self.without_session(&link, error.close_reason(), Some(why));
                }
            }
        }
    }

    /// Ops see who got no session, and why.
    fn without_session(&self, link: &Link, reason: CloseReason, why: Option<String>) {
        let registry = self.handle.registry();
        let mut info = info(registry.next_id(), link, Direction::Incoming);
        info.joined = why.is_none();
        registry.without_session(info, reason, why);
    }

    async fn session(&self, link: &Link) -> Result<(), ServeError> {
        let closing = |error: ServeError| {
            link.close(error.close_reason());
            error
        };
        let first = match timeout(link.options.handshake, link.accept_any()).await {
            Ok(Ok(Opened::Channel(channel, pipe))) => (channel, pipe),
            Ok(Ok(Opened::Ops(send, recv))) => {
                return self.answer_ops(link, (send, recv)).await.map_err(closing);
            }
            Ok(Err(error)) => return Err(closing(error.into())),
            Err(_) => return Err(closing(LinkError::Stalled(link.options.handshake).into())),
        };
        let (mut control, lanes) = accept_control(link, first)
            .await
            .map_err(|error| closing(error.into()))?;
        // The reason goes out before the control stream is let go: a stream that merely ends would
        // overtake it, and the peer would not learn why.
        let first = match self.open(link, &mut control).await {
            Ok(first) => first,
            Err(error) => return Err(closing(error)),
        };
        self.run(link, control, lanes, first).await.map_err(closing)
    }

    /// Enrols a device that asks for it; gives the first frame of its session.
    async fn open(&self, link: &Link, control: &mut Pipe) -> Result<Vec<u8>, ServeError> {
        let mut first = self.first_frame(link, control).await?;
        if let (ControlFrame::Enrol(request), _) = first {
            self.enrol(link, control, request.0).await?;
            first = match self.first_frame(link, control).await {
                Err(ServeError::Link(
                    LinkError::Closed(Some(CloseReason::Done)) | LinkError::Streams(NO_FRAME),
                )) => return Err(ServeError::OnlyJoined),
                first => first?,
            };
        }
        self.make_room(link.peer).await?;
        Ok(first.1)
    }

    async fn run(
        &self,
        link: &Link,
        control: Pipe,
        lanes: Lanes,
        first: Vec<u8>,
    ) -> Result<(), ServeError> {
        // The dialler says whether it stays.
        let options = RunOptions {
            live: true,
            byte_budget: None,
            until: None,
        };
        let runner = begin(link, &self.handle, &options).await?;
        runner.run(link, control, lanes, first).await;
        Ok(())
    }

    async fn first_frame(
        &self,
        link: &Link,
        control: &mut Pipe,
    ) -> Result<(ControlFrame, Vec<u8>), ServeError> {
        let within = link.options.handshake;
        let frame = timeout(within, control.source.next_control())
            .await
            .map_err(|_| LinkError::Stalled(within))??;
        Ok(frame.ok_or(LinkError::Streams(NO_FRAME))?)
    }

    /// A device that dials again while its last connection is dying is welcome; a crowd under one
    /// key is not: the oldest goes.
    async fn make_room(&self, peer: DeviceKey) -> Result<(), EngineError> {
        let running = self.handle.registry().running_of(&peer);
        let over = (running.len() + 1).saturating_sub(limits::SESSIONS_PER_PEER_MAX);
        for session in running.into_iter().take(over) {
            let event = Event::Close(session, CloseReason::Busy);
            self.handle.send(event).await?;
        }
        Ok(())
    }

    async fn enrol(
        &self,
        link: &Link,
        control: &mut Pipe,
        request: Vec<u8>,
    ) -> Result<(), ServeError> {
        let Some(enroller) = self.options.enroller.clone() else {
            return Err(ServeError::Closed(CloseReason::Unknown));
        };
        let peer = link.peer;
        let enrolled = self
            .handle
            .call(move |store| enroller.enrol(&request, peer, store))
            .await?;
        if let Err(refused) = enrolled {
            tracing::info!(?peer, %refused, "a device was not enrolled");
            if let EnrolRefused::Later { retry_after_s } = refused {
                let later = ControlFrame::Later { retry_after_s };
                control.sink.write_control(&later).await?;
                self.wait_until_read(control).await;
            }
            return Err(ServeError::Closed(refused.close_reason()));
        }
        tracing::info!(?peer, "a device was enrolled");
        control.sink.write_control(&ControlFrame::Enrolled).await?;
        self.send_authority(control).await?;
        let grants = self
            .handle
            .call(move |store| store.grants_for(&peer))
            .await??;
        for grants in grants.chunks(limits::GRANTS_MAX) {
            let grants = grants.iter().cloned().map(Bytes).collect();
            control
                .sink
                .write_control(&ControlFrame::Grants(grants))
                .await?;
        }
        // The end of it.
        let end = ControlFrame::Grants(Vec::new());
        control.sink.write_control(&end).await?;
        Ok(())
    }

    async fn send_authority(&self, control: &mut Pipe) -> Result<(), ServeError> {
        let mut from = 0;
        loop {
            let entries = self
                .handle
                .call(move |store| {
                    if from > store.authority_head().height {
                        return Ok(Vec::new());
                    }
                    store.authority_entries(from, limits::AUTHORITY_FRAME_BYTES_MAX)
                })
                .await??;
            if entries.is_empty() {
                return Ok(());
            }
            from += entries.len() as u64;
            let entries = entries.into_iter().map(Bytes).collect();
            control
                .sink
                .write_control(&ControlFrame::Authority(entries))
                .await?;
        }
    }

    /// Closing throws away what is on the way, so the peer ends its stream first.
    async fn wait_until_read(&self, control: &mut Pipe) {
        control.sink.finish();
        // Whatever comes, the connection is closed next.
        let _ = timeout(self.network().handshake, control.source.next_control()).await;
    }
}

/// Why a connection got no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
    #[error("closed: {0}")]
    Closed(CloseReason),
    /// It was enrolled and went, as it had said.
    #[error("it joined and went")]
    OnlyJoined,
}

impl ServeError {
    fn close_reason(&self) -> CloseReason {
        match self {
            Self::Link(error) => error.close_reason(),
            Self::Engine(EngineError::Stopped) => CloseReason::ShuttingDown,
            Self::Engine(_) | Self::Holdings(_) => CloseReason::StoreFailed,
            Self::Closed(reason) => *reason,
            Self::OnlyJoined => CloseReason::Done,
        }
    }
}
