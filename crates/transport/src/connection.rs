//! Runs one session over one link: three readers, three writers, and an orderly end.

use crate::engine::{Ended, Event, Handle, Outlet, Start, Waiting};
use crate::link::{FrameSink, FrameSource, Link, LinkError, Pipe};
use crate::registry::{Direction, SessionId, SessionInfo, SessionState};
use cairn_replica::session::{Counters, Role, SessionConfig};
use cairn_wire::frame::{Channel, CloseReason};
use cairn_wire::{Lane, limits};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How a session is to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOptions {
    pub(crate) live: bool,
    pub(crate) byte_budget: Option<u64>,
    /// When nobody is waited for any more.
    pub(crate) until: Option<tokio::time::Instant>,
}

/// What became of a session and its link.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// What the link said first, where it did not end in good order.
    pub(crate) link: Option<LinkError>,
}

/// How long the other side may take to confirm the last bytes: a few round trips, within these bounds.
const LINGER_MIN: Duration = Duration::from_secs(1);
const LINGER_MAX: Duration = Duration::from_secs(5);
/// The same where the deadline has come: enough for the goodbye to leave.
const LINGER_SHORT: Duration = Duration::from_millis(200);
/// How often the link's rate and bytes are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A session that has been announced to the engine.
pub(crate) struct Runner {
    id: SessionId,
    inlet: Inlet,
    until: Option<tokio::time::Instant>,
    ended: oneshot::Receiver<Ended>,
    queues: [mpsc::UnboundedReceiver<Vec<u8>>; 3],
}

/// The way from a connection to its session.
#[derive(Clone)]
struct Inlet {
    id: SessionId,
    handle: Handle,
    waiting: Arc<Waiting>,
}

/// Begins a session on `link`. Fails only if the engine is gone.
pub(crate) async fn begin(
    link: &Link,
    handle: &Handle,
    options: &RunOptions,
) -> Result<Runner, crate::engine::EngineError> {
    let id = handle.registry().next_id();
    let (role, direction) = if link.dialled() {
        (Role::Dialler, Direction::Outgoing)
    } else {
        (Role::Acceptor, Direction::Incoming)
    };
    let mut config = SessionConfig::new(role, link.peer, salt(link));
    config.live = options.live;
    config.byte_budget = options.byte_budget;
    config.link_bytes_per_second = Some(link.rate_bytes_per_second());
    let waiting = Arc::<Waiting>::default();
    let (control, control_queue) = mpsc::unbounded_channel();
    let (urgent, urgent_queue) = mpsc::unbounded_channel();
    let (records, records_queue) = mpsc::unbounded_channel();
    let (ended_sender, ended) = oneshot::channel();
    let start = Start {
        config,
        info: info(id, link, direction),
        meters: Arc::clone(&link.meters),
        outlet: Outlet {
            channels: [control, urgent, records],
            waiting: Arc::clone(&waiting),
        },
        ended: ended_sender,
    };
    handle.send(Event::Start(Box::new(start))).await?;
    Ok(Runner {
        id,
        inlet: Inlet {
            id,
            handle: handle.clone(),
            waiting,
        },
        until: options.until,
        ended,
        queues: [control_queue, urgent_queue, records_queue],
    })
}

pub(crate) fn info(id: SessionId, link: &Link, direction: Direction) -> SessionInfo {
    SessionInfo {
        id,
        peer: link.peer,
        remote: link.connection.remote_address(),
        direction,
        state: SessionState::Syncing,
        started: SystemTime::now(),
        ended: None,
        app_bytes_sent: 0,
        app_bytes_received: 0,
        udp_bytes_sent: 0,
        udp_bytes_received: 0,
        round_trips: 0,
        entries_sent: 0,
        entries_received: 0,
        entries_refused: 0,
        equals: 0,
        joined: false,
        backlog: None,
        error: None,
    }
}

fn is_slow(bytes_per_second: u64) -> bool {
    bytes_per_second < limits::SLOW_LINK_BYTES_PER_SECOND
}

/// Both sides draw the same 8 bytes from the connection's keys, other ones for every connection.
fn salt(link: &Link) -> [u8; 8] {
    let mut salt = [0; 8];
    // Fails only for more bytes than TLS can derive; a salt of zeros would be correct, only guessable.
    let _ = link
        .connection
        .export_keying_material(&mut salt, b"EXPORTER-cairn session salt", &[]);
    salt
}

impl Runner {
    /// The session's number, by which the engine knows it.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Runs until the session and the link have ended. `pipes`: the channels that are open already
    /// (a dialler's all); `first`: bytes of the control channel that were read before.
    pub(crate) async fn run(
        self,
        link: &Link,
        control: Pipe,
        lanes: Lanes,
        first: Vec<u8>,
    ) -> Outcome {
        let Self {
            inlet,
            until,
            mut ended,
            queues: [control_queue, urgent_queue, records_queue],
            ..
        } = self;
        let _dropped = Dropped(inlet.clone());
        let (urgent_slot, urgent_pipe) = oneshot::channel();
        let (records_slot, records_pipe) = oneshot::channel();
        let channels = async {
            let control = async {
                let mut first_within = Some(link.options.handshake);
                if !first.is_empty() {
                    first_within = None;
                    inlet.take_in(Channel::Control, first).await;
                }
                let channel = Channel::Control;
                carry(channel, control, control_queue, &inlet, first_within).await
            };
            let urgent = carry_when_open(Lane::Urgent, urgent_pipe, urgent_queue, &inlet);
            let records = carry_when_open(Lane::Records, records_pipe, records_queue, &inlet);
            tokio::try_join!(control, urgent, records).map(|_| ())
        };
        let opening = open_lanes(link, lanes, urgent_slot, records_slot);
        tokio::pin!(channels, opening);

        let mut session: Option<Ended> = None;
        let mut opened = false;
        let mut carried: Option<Result<(), LinkError>> = None;
        let mut look = tokio::time::interval(LOOK);
        let mut seen = 0;
        let mut told = link.rate_bytes_per_second();
        let mut heard = (0, tokio::time::Instant::now());
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        let link_error = loop {
            tokio::select! {
                biased;
                error = link.connection.closed() => break Some(LinkError::from(error)),
                result = &mut opening, if !opened => {
                    opened = true;
                    if let Err(error) = result {
                        break Some(error);
                    }
                }
                result = &mut channels, if carried.is_none() => match result {
                    Err(error) => break Some(error),
                    Ok(()) if session.is_some() && !link.dialled() => break None,
                    Ok(()) => carried = Some(Ok(())),
                },
                result = &mut ended, if session.is_none() => {
                    let result = result.unwrap_or_else(|_| engine_gone());
                    let at_once = matches!(
                        result.reason,
                        Some(CloseReason::Protocol | CloseReason::StoreFailed)
                    );
                    let done = carried.is_some() && !link.dialled();
                    session = Some(result);
                    if at_once || done {
                        break None;
                    }
                    deadline.as_mut().reset(linger_until(link, until));
                }
                () = &mut deadline, if session.is_some() => break None,
                _ = look.tick() => {
                    if link.meters.received() != heard.0 || inlet.is_equal() {
                        heard = (link.meters.received(), tokio::time::Instant::now());
                    } else if heard.1.elapsed() > link.options.stall {
                        break Some(LinkError::Stalled(link.options.stall));
                    }
                    let moved = link.meters.sent() + link.meters.received();
                    if moved != seen {
                        seen = moved;
                        link.count_udp();
                        let bytes_per_second = link.rate_bytes_per_second();
                        if is_slow(bytes_per_second) != is_slow(told) {
                            told = bytes_per_second;
                            let event = Event::LinkRate { session: inlet.id, bytes_per_second };
                            // An engine that is gone says so through `ended`.
                            let _ = inlet.handle.send(event).await;
                        }
                    }
                }
            }
        };
        link.count_udp();
        let ended = match session {
            Some(ended) => ended,
            None => lose(&inlet, ended, link_error.as_ref()).await,
        };
        let reason = match &link_error {
            Some(error) if !matches!(error, LinkError::Closed(_) | LinkError::Lost(_)) => {
                error.close_reason()
            }
            _ => ended.reason.unwrap_or(CloseReason::Done),
        };
        link.close(reason);
        Outcome {
            ended,
            link: link_error,
        }
    }
}

fn linger_until(link: &Link, until: Option<tokio::time::Instant>) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    let linger = (link.connection.rtt() * 4).clamp(LINGER_MIN, LINGER_MAX);
    until.map_or(now + linger, |until| {
        (now + linger).min(until.max(now + LINGER_SHORT))
    })
}

/// Wakes the engine when a connection's task is dropped in the middle; it then finds that nobody waits
/// for the session's end.
struct Dropped(Inlet);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.handle.wake();
    }
}

/// Tells the engine that the link is gone and takes the session's last word.
async fn lose(inlet: &Inlet, ended: oneshot::Receiver<Ended>, error: Option<&LinkError>) -> Ended {
    let peer_reason = match error {
        Some(LinkError::Closed(reason)) => *reason,
        Some(LinkError::Lost(_)) | None => None,
        Some(fault) => Some(fault.close_reason()),
    };
    let event = Event::Lost {
        session: inlet.id,
        peer_reason,
        error: error.map_or_else(String::new, ToString::to_string),
    };
    // An engine that is gone says so through `ended`.
    let _ = inlet.handle.send(event).await;
    ended.await.unwrap_or_else(|_| engine_gone())
}

fn engine_gone() -> Ended {
    Ended {
        reason: Some(CloseReason::StoreFailed),
        lost: false,
        equal: false,
        gave_up: false,
        counters: Counters::default(),
        retry_after_s: None,
        error: Some("the replica was stopped".into()),
    }
}

/// Where the lanes' streams come from.
pub(crate) enum Lanes {
    /// The dialler opened them.
    Open(Box<(Pipe, Pipe)>),
    /// The acceptor waits for them; those that came before the session began are here.
    Awaited(Vec<(Channel, Pipe)>),
}

/// Opens the three channels of a dialler.
pub(crate) async fn open_channels(link: &Link) -> Result<(Pipe, Lanes), LinkError> {
    let control = link.open(Channel::Control).await?;
    let urgent = link.open(Channel::Lane(Lane::Urgent)).await?;
    let records = link.open(Channel::Lane(Lane::Records)).await?;
    Ok((control, Lanes::Open(Box::new((urgent, records)))))
}

/// Waits for the control channel of a dialler, `first` being its first stream; lanes that come before
/// it are kept.
pub(crate) async fn accept_control(
    link: &Link,
    first: (Channel, Pipe),
) -> Result<(Pipe, Lanes), LinkError> {
    let mut early = Vec::new();
    let wait = async {
        let mut next = Some(first);
        loop {
            let opened = match next.take() {
                Some(first) => first,
                None => link.accept().await?,
            };
            match opened {
                (Channel::Control, control) => return Ok(control),
                lane => early.push(lane),
            }
            if early.len() > Lane::ALL.len() {
                return Err(LinkError::Streams("too many streams"));
            }
        }
    };
    let control = timeout(link.options.handshake, wait)
        .await
        .map_err(|_| LinkError::Stalled(link.options.handshake))??;
    Ok((control, Lanes::Awaited(early)))
}

async fn open_lanes(
    link: &Link,
    lanes: Lanes,
    urgent: oneshot::Sender<Pipe>,
    records: oneshot::Sender<Pipe>,
) -> Result<(), LinkError> {
    let mut early = match lanes {
        Lanes::Open(pipes) => {
            let (urgent_pipe, records_pipe) = *pipes;
            // The receivers live as long as the channels are carried.
            let _ = urgent.send(urgent_pipe);
            let _ = records.send(records_pipe);
            return Ok(());
        }
        Lanes::Awaited(early) => early.into_iter(),
    };
    let (mut urgent, mut records) = (Some(urgent), Some(records));
    loop {
        let (channel, pipe) = match early.next() {
            Some(lane) => lane,
            None => link.accept().await?,
        };
        let slot = match channel {
            Channel::Control => None,
            Channel::Lane(Lane::Urgent) => urgent.take(),
            Channel::Lane(Lane::Records) => records.take(),
        };
        let slot = slot.ok_or(LinkError::Streams("a second stream of one channel"))?;
        let _ = slot.send(pipe);
    }
}

async fn carry_when_open(
    lane: Lane,
    pipe: oneshot::Receiver<Pipe>,
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    inlet: &Inlet,
) -> Result<(), LinkError> {
    match pipe.await {
        Ok(pipe) => carry(Channel::Lane(lane), pipe, queue, inlet, None).await,
        // The lanes are not opened any more: the link has ended.
        Err(_) => Ok(()),
    }
}

async fn carry(
    channel: Channel,
    pipe: Pipe,
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    inlet: &Inlet,
    first_within: Option<Duration>,
) -> Result<(), LinkError> {
    let Pipe { source, sink } = pipe;
    tokio::try_join!(
        read(channel, source, inlet, first_within),
        write(sink, queue, &inlet.waiting)
    )
    .map(|_| ())
}

async fn read(
    channel: Channel,
    mut source: FrameSource,
    inlet: &Inlet,
    mut first_within: Option<Duration>,
) -> Result<(), LinkError> {
    loop {
        inlet.waiting.below(limits::SESSION_QUEUE_BYTES_MAX).await;
        let frames = match first_within.take() {
            None => source.next_frames().await?,
            Some(within) => timeout(within, source.next_frames())
                .await
                .map_err(|_| LinkError::Stalled(within))??,
        };
        let Some(bytes) = frames else {
            return Ok(());
        };
        inlet.take_in(channel, bytes).await;
    }
}

async fn write(
    mut sink: FrameSink,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: &Waiting,
) -> Result<(), LinkError> {
    while let Some(bytes) = queue.recv().await {
        let written = sink.write(&bytes).await;
        waiting.take(bytes.len());
        written?;
    }
    sink.finish();
    Ok(())
}

impl Inlet {
    fn is_equal(&self) -> bool {
        self.handle.registry().equals(self.id) > 0
    }

    async fn take_in(&self, channel: Channel, bytes: Vec<u8>) {
        let event = Event::Bytes {
            session: self.id,
            channel,
            bytes,
        };
        // An engine that is gone says so through `ended`.
        let _ = self.handle.send(event).await;
    }
}
