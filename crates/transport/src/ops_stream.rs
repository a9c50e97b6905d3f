//! Questions of ops and their answers, on streams of their own.
//!
//! Each question takes a bidirectional stream that begins with [`OPS_STREAM`]: one line one way, lines the
//! other way, the last of them the answer. What a line says is the business of whoever asks and whoever
//! answers ([`OpsAnswerer`]); here it is bytes with a limit. Whether the device may ask is asked anew for
//! every question; one that may not learns one word, by the code with which the connection is closed.

use crate::accept::{Door, ServeError};
use crate::dial::{SyncError, SyncOptions, SyncTarget, dial_and};
use crate::endpoint::Identity;
use crate::link::{Link, LinkError, Opened};
use cairn_wire::frame::{CloseReason, OPS_STREAM};
use cairn_wire::{DeviceKey, limits};
use quinn::{ReadError, RecvStream, SendStream};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A connection on which nothing was asked for so long is closed.
const SILENCE: Duration = Duration::from_secs(90);
/// Lines that wait to be sent.
const LINES_WAITING: usize = 4;
/// Bytes read or written in one go.
const PIECE_BYTES: usize = 16 * 1024;

/// What comes of a question: nothing, or the one word that the device is told.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<(), CloseReason>> + Send + 'a>>;

/// Answers ops. The relay's part.
pub trait OpsAnswerer: Send + Sync + 'static {
    /// Whether the device may ask anything at all now.
    fn admit(&self, peer: DeviceKey) -> Answering<'_>;

    /// Answers a question of at most [`limits::OPS_REQUEST_BYTES_MAX`] bytes; one byte more says that it
    /// was longer. Whether the device may ask is looked up anew. Lines go out as they are sent; an
    /// error of `lines` says that nobody reads them any more.
    fn answer(
        &self,
        peer: DeviceKey,
        question: Vec<u8>,
        lines: mpsc::Sender<Vec<u8>>,
    ) -> Answering<'_>;
}

impl Door {
    /// Answers questions until the other side goes, is silent, or may not ask any more.
    pub(crate) async fn answer_ops(
        &self,
        link: &Link,
        first: (SendStream, RecvStream),
    ) -> Result<(), ServeError> {
        let Some(answerer) = &self.options.ops else {
            return Err(LinkError::Streams("a question of ops to a device").into());
        };
        // Before anything of it is read, and before it takes anybody's room.
        answerer
            .admit(link.peer)
            .await
            .map_err(ServeError::Closed)?;
        let Ok(_room) = self.asking.try_acquire() else {
            return Err(ServeError::Closed(CloseReason::Busy));
        };
        let mut stopped = self.stopped.clone();
        let mut stream = first;
        loop {
            answer_one(link, &**answerer, stream).await?;
            let next = tokio::select! {
                next = timeout(SILENCE, link.accept_any()) => next,
                _ = stopped.wait_for(|stop| *stop) => {
                    return Err(ServeError::Closed(CloseReason::ShuttingDown));
                }
            };
            stream = match next {
                Ok(Ok(Opened::Ops(send, recv))) => (send, recv),
                Ok(Ok(Opened::Channel(..))) => {
                    return Err(LinkError::Streams("a session among questions of ops").into());
                }
                Ok(Err(LinkError::Closed(_) | LinkError::Lost(_))) => return Ok(()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    link.close(CloseReason::Done);
                    return Ok(());
                }
            };
        }
    }
}

async fn answer_one(
    link: &Link,
    answerer: &dyn OpsAnswerer,
    (send, recv): (SendStream, RecvStream),
) -> Result<(), ServeError> {
    let within = link.options.handshake;
    let question = timeout(within, read_question(recv))
        .await
        .map_err(|_| LinkError::Stalled(within))??;
    let (lines, to_send) = mpsc::channel(LINES_WAITING);
    let (answered, sent) = tokio::join!(
        answerer.answer(link.peer, question, lines),
        write_lines(send, to_send, link.options.stall)
    );
    answered.map_err(ServeError::Closed)?;
    Ok(sent?)
}

async fn read_question(mut recv: RecvStream) -> Result<Vec<u8>, LinkError> {
    let mut question = Vec::new();
    let most = limits::OPS_REQUEST_BYTES_MAX + 1;
    while let Some(chunk) = recv.read_chunk(most - question.len(), true).await? {
        question.extend_from_slice(&chunk.bytes);
        if question.len() >= most {
            // What more would come is not wanted; the answer says so.
            let _ = recv.stop(0u32.into());
            break;
        }
    }
    Ok(question)
}

async fn write_lines(
    mut send: SendStream,
    mut lines: mpsc::Receiver<Vec<u8>>,
    stall: Duration,
) -> Result<(), LinkError> {
    while let Some(line) = lines.recv().await {
        for piece in line.chunks(PIECE_BYTES) {
            timeout(stall, send.write_all(piece))
                .await
                .map_err(|_| LinkError::Stalled(stall))??;
        }
    }
    // An error says that the stream is closed already.
    let _ = send.finish();
    Ok(())
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// This device may not ask: unknown, revoked or not permitted.
    #[error("refused: {0}")]
    Refused(CloseReason),
    /// The other side does not know questions of ops.
    #[error("the relay does not know questions of ops")]
    NotUnderstood,
    /// It cannot answer now.
    #[error("the relay cannot answer now: {0}")]
    NotNow(CloseReason),
    /// The connection broke. Asking again is harmless for whatever does not act.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The answer is longer than any answer is.
    #[error("an answer without end")]
    TooLong,
}

impl From<LinkError> for AskError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed(Some(
                reason @ (CloseReason::Unknown | CloseReason::Revoked | CloseReason::NotPermitted),
            )) => Self::Refused(reason),
            LinkError::Closed(Some(CloseReason::Protocol)) => Self::NotUnderstood,
            LinkError::Closed(Some(reason)) => Self::NotNow(reason),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// A connection on which a device of ops asks.
pub struct OpsLine {
    link: Link,
}

impl std::fmt::Debug for OpsLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpsLine({:?})", self.link.peer)
    }
}

impl OpsLine {
    /// Dials the relay and has it prove its key. Whether it answers, only a question shows.
    pub async fn dial(
        identity: &Identity,
        target: &SyncTarget,
        options: &SyncOptions,
    ) -> Result<Self, SyncError> {
        dial_and(identity, target, options, async |link| Ok(Self { link })).await
    }

    /// Asks. Every line of the answer goes to `on_line`, its line break left out.
    pub async fn ask(
        &self,
        question: &[u8],
        on_line: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<(), AskError> {
        let (mut send, mut recv) = self
            .link
            .connection
            .open_bi()
            .await
            .map_err(LinkError::from)?;
        let asked = async {
            send.write_all(&[OPS_STREAM]).await?;
            send.write_all(question).await
        };
        let asked = asked.await.map_err(LinkError::from);
        // A question of which the rest is not wanted has an answer all the same.
        if !matches!(asked, Err(LinkError::Streams(_))) {
            asked?;
        }
        let _ = send.finish();
        let mut held = Vec::new();
        let mut read = 0;
        while let Some(chunk) = next_chunk(&mut recv).await? {
            read += chunk.len();
            if read > limits::OPS_ANSWER_BYTES_MAX {
                return Err(AskError::TooLong);
            }
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                held.extend_from_slice(part);
                if held.pop_if(|last| *last == b'\n').is_some() {
                    on_line(std::mem::take(&mut held));
                }
            }
        }
        match held.is_empty() {
            true => Ok(()),
            false => Err(AskError::Lost("an answer that is cut off".into())),
        }
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &quinn::Connection {
        &self.link.connection
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.link.close(CloseReason::Done);
        self.link.drained().await;
    }
}

async fn next_chunk(recv: &mut RecvStream) -> Result<Option<Vec<u8>>, LinkError> {
    let chunk = recv.read_chunk(PIECE_BYTES, true).await;
    let chunk = chunk.map_err(|error: ReadError| LinkError::from(error))?;
    Ok(chunk.map(|chunk| chunk.bytes.to_vec()))
}
