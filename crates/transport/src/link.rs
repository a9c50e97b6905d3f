//! One QUIC connection as a session uses it: a control stream and one stream per lane, cut into
//! frames, counted, and slowed where somebody asked for it.
//!
//! The dialler opens the three streams at once, each beginning with its [`Channel`] byte; the acceptor
//! opens none. Frames of one channel stay in order; channels are independent.

use crate::endpoint::NetworkOptions;
use cairn_wire::frame::{
    self, Channel, CloseReason, ControlFrame, FrameError, FrameReader, OPS_STREAM,
};
use cairn_wire::{DeviceKey, Lane};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Why a link carries nothing more.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer closed with a code of ours, or of nobody's.
    #[error("the peer closed the connection: {}", .0.map_or("for no reason known here".to_owned(), |reason| reason.to_string()))]
    Closed(Option<CloseReason>),
    /// The network or the peer went away.
    #[error("the connection was lost: {0}")]
    Lost(ConnectionError),
    /// The peer's bytes are no frames.
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The peer used streams in another way than the protocol does.
    #[error("the peer broke the protocol: {0}")]
    Streams(&'static str),
    /// The peer was too slow to be kept.
    #[error("the peer took longer than {0:?} for one frame")]
    Stalled(Duration),
}

impl LinkError {
    /// The code with which to close for it.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self {
            Self::Closed(reason) => reason.unwrap_or(CloseReason::Done),
            Self::Lost(_) => CloseReason::Done,
            Self::Frame(_) | Self::Streams(_) => CloseReason::Protocol,
            Self::Stalled(_) => CloseReason::Busy,
        }
    }
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                Self::Closed(CloseReason::from_code(close.error_code.into_inner()))
            }
            error => Self::Lost(error),
        }
    }
}

impl From<ReadError> for LinkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(_) => Self::Streams("a stream was reset"),
            _ => Self::Streams("a stream was closed"),
        }
    }
}

impl From<WriteError> for LinkError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(_) => Self::Streams("a stream was stopped"),
            _ => Self::Streams("a stream was closed"),
        }
    }
}

/// Bytes of a connection so far.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    sent: AtomicU64,
    received: AtomicU64,
    udp_sent: AtomicU64,
    udp_received: AtomicU64,
}

impl Meters {
    /// Stream payload sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stream payload received.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// UDP payload sent and received when it was last looked at.
    pub(crate) fn udp(&self) -> (u64, u64) {
        (
            self.udp_sent.load(Ordering::Relaxed),
            self.udp_received.load(Ordering::Relaxed),
        )
    }
}

/// Slows one direction of a connection down to a rate, for tests and demonstrations.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            free_at: Mutex::new(None),
        }
    }

    /// At most so many bytes in one go, so that the rate is smooth.
    fn piece_bytes(&self) -> usize {
        self.bytes_per_second.map_or(PIECE_BYTES, |rate| {
            usize::try_from(rate / 20).map_or(PIECE_BYTES, |part| part.clamp(256, PIECE_BYTES))
        })
    }

    async fn spend(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = {
            let mut free_at = self
                .free_at
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let until = free_at.map_or_else(Instant::now, |at| at.max(Instant::now())) + cost;
            *free_at = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

/// Bytes read or written in one go.
const PIECE_BYTES: usize = 16 * 1024;

/// The receiving half of a channel.
pub(crate) struct FrameSource {
    stream: RecvStream,
    reader: FrameReader,
    raw: Vec<u8>,
    whole: usize,
    begun: Option<Instant>,
    stall: Duration,
    meters: Arc<Meters>,
    pace: Arc<Pace>,
}

impl FrameSource {
    /// The bytes of whole frames, one or several; `None` at the end of the stream.
    pub(crate) async fn next_frames(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            if self.whole > 0 {
                return Ok(Some(self.take()));
            }
            let read = self.stream.read_chunk(self.pace.piece_bytes(), true);
            let read = match self.begun {
                Some(begun) => timeout_at(begun + self.stall, read)
                    .await
                    .map_err(|_| LinkError::Stalled(self.stall))??,
                None => read.await?,
            };
            let Some(chunk) = read else {
                return if self.raw.is_empty() {
                    Ok(None)
                } else {
                    Err(LinkError::Streams("a stream ended inside a frame"))
                };
            };
            let read = chunk.bytes.len();
            self.meters
                .received
                .fetch_add(read as u64, Ordering::Relaxed);
            self.take_in(&chunk.bytes)?;
            self.pace.spend(read).await;
        }
    }

    /// One frame of the control channel, before a session is there to read it.
    pub(crate) async fn next_control(
        &mut self,
    ) -> Result<Option<(ControlFrame, Vec<u8>)>, LinkError> {
        let Some(bytes) = self.next_frames().await? else {
            return Ok(None);
        };
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        let Some((frame, length)) = reader.next_frame::<ControlFrame>()? else {
            return Err(LinkError::Streams("a run of frames holds no frame"));
        };
        // What came after it goes back to the front.
        let rest = bytes.get(length..).unwrap_or_default();
        self.whole += rest.len();
        self.raw.splice(0..0, rest.iter().copied());
        Ok(Some((
            frame,
            bytes.get(..length).unwrap_or_default().to_vec(),
        )))
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.reader.push(bytes);
        self.raw.extend_from_slice(bytes);
        while let Some((_, length)) = self.reader.next_body()? {
            self.whole += length;
            self.begun = None;
        }
        if self.raw.len() == self.whole {
            // A connection that rests keeps no buffer.
            self.reader = FrameReader::default();
        } else if self.begun.is_none() {
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        let rest = self.raw.split_off(self.whole);
        self.whole = 0;
        std::mem::replace(&mut self.raw, rest)
    }
}

/// The sending half of a channel.
pub(crate) struct FrameSink {
    stream: SendStream,
    stall: Duration,
    meters: Arc<Meters>,
    pace: Arc<Pace>,
}

impl FrameSink {
    /// Writes bytes; returns when QUIC has taken them all.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        for piece in bytes.chunks(self.pace.piece_bytes()) {
            self.pace.spend(piece.len()).await;
            timeout(self.stall, self.stream.write_all(piece))
                .await
                .map_err(|_| LinkError::Stalled(self.stall))??;
            self.meters
                .sent
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes one frame of the control channel.
    pub(crate) async fn write_control(&mut self, frame: &ControlFrame) -> Result<(), LinkError> {
        self.write(&frame::write(frame)).await
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        // An error says that the stream is closed already, which is what was wanted.
        let _ = self.stream.finish();
    }
}

/// A stream that the dialler opened.
pub(crate) enum Opened {
    /// One of a session's.
    Channel(Channel, Pipe),
    /// A question of ops.
    Ops(SendStream, RecvStream),
}

/// Both halves of a channel.
pub(crate) struct Pipe {
    pub(crate) source: FrameSource,
    pub(crate) sink: FrameSink,
}

/// A connection whose peer has proved its key.
pub(crate) struct Link {
    /// Kept alive for as long as the connection; only a dialler has one of its own.
    pub(crate) endpoint: Option<quinn::Endpoint>,
    pub(crate) connection: quinn::Connection,
    pub(crate) peer: DeviceKey,
    pub(crate) options: NetworkOptions,
    pub(crate) meters: Arc<Meters>,
    inward: Arc<Pace>,
    outward: Arc<Pace>,
}

impl Link {
    pub(crate) fn new(
        endpoint: Option<quinn::Endpoint>,
        connection: quinn::Connection,
        peer: DeviceKey,
        options: NetworkOptions,
        bandwidth_bytes_per_second: Option<u64>,
    ) -> Self {
        Self {
            endpoint,
            connection,
            peer,
            options,
            meters: Arc::default(),
            inward: Arc::new(Pace::new(bandwidth_bytes_per_second)),
            outward: Arc::new(Pace::new(bandwidth_bytes_per_second)),
        }
    }

    /// Did this side dial?
    pub(crate) fn dialled(&self) -> bool {
        self.connection.side().is_client()
    }

    /// Opens one channel; the dialler's part.
    pub(crate) async fn open(&self, channel: Channel) -> Result<Pipe, LinkError> {
        let (send, recv) = self.connection.open_bi().await?;
        let mut pipe = self.pipe(channel, send, recv);
        pipe.sink.write(&[channel.as_byte()]).await?;
        Ok(pipe)
    }

    /// Takes the next channel that the dialler opened.
    pub(crate) async fn accept(&self) -> Result<(Channel, Pipe), LinkError> {
        match self.accept_any().await? {
            Opened::Channel(channel, pipe) => Ok((channel, pipe)),
            Opened::Ops(..) => Err(LinkError::Streams("a question of ops within a session")),
        }
    }

    /// Takes the next stream that the dialler opened, whatever it is for.
    pub(crate) async fn accept_any(&self) -> Result<Opened, LinkError> {
        let (send, mut recv) = self.connection.accept_bi().await?;
        let mut byte = [0];
        let read = timeout(self.options.handshake, recv.read(&mut byte))
            .await
            .map_err(|_| LinkError::Stalled(self.options.handshake))??;
        self.meters.received.fetch_add(1, Ordering::Relaxed);
        if read.is_some() && byte[0] == OPS_STREAM {
            return Ok(Opened::Ops(send, recv));
        }
        let channel = read
            .and_then(|_| Channel::from_byte(byte[0]))
            .ok_or(LinkError::Streams("a stream of no known channel"))?;
        Ok(Opened::Channel(channel, self.pipe(channel, send, recv)))
    }

    fn pipe(&self, channel: Channel, send: SendStream, recv: RecvStream) -> Pipe {
        // Fails only on a stream that is closed already, which the next write will say.
        let _ = send.set_priority(priority(channel));
        Pipe {
            source: FrameSource {
                stream: recv,
                reader: FrameReader::default(),
                raw: Vec::new(),
                whole: 0,
                begun: None,
                stall: self.options.stall,
                meters: Arc::clone(&self.meters),
                pace: Arc::clone(&self.inward),
            },
            sink: FrameSink {
                stream: send,
                stall: self.options.stall,
                meters: Arc::clone(&self.meters),
                pace: Arc::clone(&self.outward),
            },
        }
    }

    /// Bytes a second that the link seems to carry towards the peer.
    pub(crate) fn rate_bytes_per_second(&self) -> u64 {
        let path = self.connection.stats().path;
        let seconds = path.rtt.as_secs_f64().max(0.000_1);
        let rate = (path.cwnd as f64 / seconds) as u64;
        self.outward
            .bytes_per_second
            .map_or(rate, |slowed| rate.min(slowed))
    }

    /// Brings the count of UDP payload up to date.
    pub(crate) fn count_udp(&self) {
        let stats = self.connection.stats();
        self.meters
            .udp_sent
            .store(stats.udp_tx.bytes, Ordering::Relaxed);
        self.meters
            .udp_received
            .store(stats.udp_rx.bytes, Ordering::Relaxed);
    }

    /// Closes at once; what the peer has not confirmed may be lost.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.connection.close(
            VarInt::from_u32(reason as u32),
            reason.to_string().as_bytes(),
        );
    }

    /// Gives the closing packet of a dialled connection the time to leave. Not needed where the peer
    /// closed first.
    pub(crate) async fn drained(&self) {
        if let Some(endpoint) = &self.endpoint {
            // What is not gone by then, the peer's idle timeout says as well.
            let _ = timeout(DRAIN, endpoint.wait_idle()).await;
        }
    }
}

const DRAIN: Duration = Duration::from_millis(100);

fn priority(channel: Channel) -> i32 {
    match channel {
        Channel::Control => 2,
        Channel::Lane(Lane::Urgent) => 1,
        Channel::Lane(Lane::Records) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::tests::{pair, quick};
    use cairn_wire::limits;

    async fn channel(options: NetworkOptions) -> (Link, Pipe, Link, Pipe) {
        let (dialler, acceptor) = pair(options).await;
        let near = dialler.open(Channel::Control).await.unwrap();
        let (channel, far) = acceptor.accept().await.unwrap();
        assert_eq!(channel, Channel::Control);
        (dialler, near, acceptor, far)
    }

    fn frames(count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|retry_after_s| frame::write(&ControlFrame::Later { retry_after_s }))
            .collect()
    }

    #[tokio::test]
    async fn frames_come_whole_and_in_order_however_they_are_cut() {
        let (_near_link, mut near, far_link, mut far) = channel(quick()).await;
        let bytes = frames(300);
        for piece in bytes.chunks(7) {
            near.sink.write(piece).await.unwrap();
        }
        near.sink.finish();
        let mut seen = 0;
        while let Some((frame, raw)) = far.source.next_control().await.unwrap() {
            assert_eq!(
                frame,
                ControlFrame::Later {
                    retry_after_s: seen
                }
            );
            assert_eq!(raw, frame::write(&frame));
            seen += 1;
        }
        assert_eq!(seen, 300);
        assert_eq!(far_link.meters.received(), bytes.len() as u64 + 1);
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_at_its_length() {
        let (_near_link, mut near, _far_link, mut far) = channel(quick()).await;
        let mut bytes = frames(1);
        let whole = bytes.len();
        let mut length = limits::FRAME_BYTES_MAX + 1;
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        near.sink.write(&bytes).await.unwrap();
        let error = loop {
            match far.source.next_frames().await {
                Ok(Some(good)) => assert_eq!(good.len(), whole),
                Ok(None) => panic!("the stream did not end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.close_reason(), CloseReason::Protocol);
        assert!(matches!(error, LinkError::Frame(FrameError::Length)));
    }

    #[tokio::test]
    async fn a_frame_that_never_ends_is_given_up() {
        let options = NetworkOptions {
            stall: Duration::from_millis(50),
            ..quick()
        };
        let (_near_link, mut near, _far_link, mut far) = channel(options).await;
        near.sink.write(&frames(1)[..1]).await.unwrap();
        assert!(matches!(
            far.source.next_frames().await,
            Err(LinkError::Stalled(_))
        ));
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_given_up() {
        let options = NetworkOptions {
            stall: Duration::from_millis(200),
            ..quick()
        };
        let (_near_link, mut near, _far_link, _far) = channel(options).await;
        let error = loop {
            if let Err(error) = near.sink.write(&[0; 64 * 1024]).await {
                break error;
            }
        };
        assert!(matches!(error, LinkError::Stalled(_)));
    }

    #[tokio::test]
    async fn the_close_code_reaches_the_first_read() {
        let (_near_link, mut near, far_link, _far) = channel(quick()).await;
        far_link.close(CloseReason::Revoked);
        assert!(matches!(
            near.source.next_frames().await,
            Err(LinkError::Closed(Some(CloseReason::Revoked)))
        ));
    }

    #[tokio::test]
    async fn a_stream_of_no_known_channel_is_refused() {
        let (dialler, acceptor) = pair(quick()).await;
        let (mut send, _recv) = dialler.connection.open_bi().await.unwrap();
        send.write_all(&[9]).await.unwrap();
        assert!(matches!(
            acceptor.accept().await,
            Err(LinkError::Streams(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slowed_direction_keeps_its_rate() {
        let pace = Pace::new(Some(1000));
        let began = Instant::now();
        for _ in 0..10 {
            pace.spend(500).await;
        }
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(pace.piece_bytes(), 256);
    }
}
