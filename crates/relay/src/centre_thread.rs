//! The centre on a thread of its own: it follows the relay's journals as they grow and answers whoever
//! asks it something in between.
//!
//! Its store is another one than the relay's, and may fail alone: a full disk, a lost folder. Then the
//! centre is dropped and opened again, after pauses that double, until it goes on; meanwhile the relay
//! serves devices as before, and whoever asks is told why there is no answer.

use crate::ops::OpsError;
use cairn_centre::{Centre, CentreError, CentreOptions, RelayStopped, RelayStore, Turn};
use cairn_store::OpenReport;
use cairn_transport::{EngineError, Handle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Receipts are signed when nothing more is to be read, and at least so often while there is.
const RECEIPTS_EVERY: Duration = Duration::from_secs(1);
/// How long the centre sleeps at most, so that its index catches up on disk.
const IDLE: Duration = Duration::from_secs(1);
/// After a failure the centre is opened again so much later …
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// … and after each further one twice as much, up to this. Who has run so long begins anew.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Opens the centre, each time with fresh random bytes.
pub(crate) type OpenCentre = Box<dyn Fn() -> Result<CentreOptions, crate::RelayError> + Send>;

type Question = Box<dyn FnOnce(&mut Centre) + Send>;

enum Event {
    Grown,
    Question(Question),
    Stop,
}

/// The way to the centre.
#[derive(Clone)]
pub(crate) struct CentreHandle {
    events: Sender<Event>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    grown: AtomicBool,
    behind: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl State {
    /// Answers whether there was one.
    fn take_failure(&self) -> bool {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().is_some()
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// The thread, to be waited for.
pub(crate) struct CentreThread {
    pub(crate) handle: CentreHandle,
    thread: JoinHandle<()>,
}

impl CentreHandle {
    /// Asks the centre something, between two readings.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Centre) -> R + Send + 'static,
    ) -> Result<R, OpsError> {
        let stopped = || {
            let (message, hint) = match self.failure() {
                Some(failure) => (
                    format!("the centre cannot go on: {failure}"),
                    "It tries again by itself; see that the relay's disk is there and not full.",
                ),
                None => (
                    "the centre has stopped".to_owned(),
                    "Start the daemon again: cairnd run",
                ),
            };
            OpsError::new("centre_stopped", message, hint).later()
        };
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |centre| {
            // Whoever asked may be gone.
            let _ = answer.send(question(centre));
        });
        self.events
            .send(Event::Question(question))
            .map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }

    /// The relay's store has more than it had.
    pub(crate) fn grown(&self) {
        if !self.state.grown.swap(true, Ordering::AcqRel) {
            // A centre that has stopped needs no waking.
            let _ = self.events.send(Event::Grown);
        }
    }

    /// Entries that the relay has and the centre has not read.
    pub(crate) fn behind(&self) -> u64 {
        self.state.behind.load(Ordering::Acquire)
    }

    /// What went wrong last, until something goes well again.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.state.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CentreThread {
    /// Opens the centre and lets it follow; answers what the first opening found, or why it failed.
    /// After a failure it is opened again and again.
    pub(crate) async fn start(
        open: OpenCentre,
        relay: Handle,
    ) -> Result<(Self, Result<OpenReport, String>), crate::RelayError> {
        let (events, queue) = channel();
        let state = Arc::new(State::default());
        let handle = CentreHandle {
            events,
            state: Arc::clone(&state),
        };
        let (opened, first) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("cairn-centre".into())
            .spawn(move || keep_running(&open, &relay, &queue, &state, opened))
            .map_err(crate::RelayError::system(
                "starting the thread of",
                "the centre",
            ))?;
        let stopped = || CentreError::from(RelayStopped("the centre's thread ended".into()));
        let first = first.await.map_err(|_| stopped())?;
        Ok((Self { handle, thread }, first))
    }

    /// Ends it; what it has read is durable.
    pub(crate) async fn stop(self) {
        // It has ended already if nobody takes the word.
        let _ = self.handle.events.send(Event::Stop);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the centre's thread ended in a panic");
        }
    }
}

/// The relay's store, through its engine.
struct EngineStore(Handle);

impl RelayStore for EngineStore {
    fn turn(&self, work: Turn) -> Result<(), RelayStopped> {
        self.0.call_blocking(work).map_err(stopped)
    }

    fn receipts_grown(&self) -> Result<(), RelayStopped> {
        self.0.side_objects_grown_blocking().map_err(stopped)
    }
}

fn stopped(error: EngineError) -> RelayStopped {
    RelayStopped(error.to_string())
}

/// Why a centre that was open runs no more.
enum End {
    /// It was told to, or the relay has stopped.
    Stopped,
    Failed(String),
}

fn keep_running(
    open: &OpenCentre,
    relay: &Handle,
    queue: &Receiver<Event>,
    state: &State,
    opened: oneshot::Sender<Result<OpenReport, String>>,
) {
    let mut opened = Some(opened);
    let mut tell = |first| {
        if let Some(opened) = opened.take() {
            // Nobody waits any more if the daemon gave up meanwhile.
            let _ = opened.send(first);
        }
    };
    let mut pause = RETRY_FIRST;
    loop {
        let began = Instant::now();
        // A panic costs the centre that is open, and nothing of what is stored.
        let end = catch_unwind(AssertUnwindSafe(|| {
            let options = match open() {
                Ok(options) => options,
                Err(error) => return End::Failed(error.to_string()),
            };
            match Centre::open(options, Box::new(EngineStore(relay.clone()))) {
                Ok((centre, report)) => {
                    tell(Ok(report));
                    run(centre, queue, state)
                }
                Err(CentreError::Relay(_)) => End::Stopped,
                Err(error) => End::Failed(error.to_string()),
            }
        }));
        let failure = match end {
            Ok(End::Stopped) => return,
            Ok(End::Failed(failure)) => failure,
            Err(_) => "it ended in a panic; see the log".to_owned(),
        };
        if began.elapsed() >= RETRY_MAX {
            pause = RETRY_FIRST;
        }
        tracing::error!(%failure, retry_s = pause.as_secs(), "the centre cannot go on; it is opened again");
        state.set_failure(Some(failure.clone()));
        tell(Err(failure));
        if !wait(queue, state, pause) {
            return;
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Lets a pause pass in which nobody gets an answer; false if it is to end.
fn wait(queue: &Receiver<Event>, state: &State, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Event::Grown) => state.grown.store(false, Ordering::Release),
            // Whoever asked hears of the failure.
            Ok(Event::Question(question)) => drop(question),
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}

fn run(mut centre: Centre, queue: &Receiver<Event>, state: &State) -> End {
    let began = Instant::now();
    let mut signed = Instant::now();
    // Whatever came while nobody followed is read first.
    let mut busy = true;
    loop {
        let event = match busy {
            true => queue.recv_timeout(Duration::ZERO),
            false => queue.recv_timeout(IDLE),
        };
        match event {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            // Then a step all the same: who asks on and on does not keep the index from the disk.
            Ok(Event::Question(question)) => question(&mut centre),
            Ok(Event::Grown) => {
                state.grown.store(false, Ordering::Release);
                busy = true;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let worked = work(&mut centre, busy, &mut signed)
            .and_then(|more| centre.tick(now_ms).map(|()| more));
        state.behind.store(centre.behind(), Ordering::Release);
        match worked {
            Ok(more) => busy = more,
            Err(CentreError::Relay(stopped)) => {
                tracing::info!(%stopped, "the centre ends with the relay");
                break;
            }
            Err(error) => return End::Failed(error.to_string()),
        }
        // Only once all is read is it known that it can.
        if !busy && state.take_failure() {
            tracing::info!("the centre goes on");
        }
    }
    if let Err(error) = centre.close() {
        tracing::error!(%error, "the centre's store did not close cleanly");
    }
    End::Stopped
}

/// One step: something read, or receipts signed. Answers whether there is more to read.
fn work(centre: &mut Centre, busy: bool, signed: &mut Instant) -> Result<bool, CentreError> {
    if !busy {
        return Ok(false);
    }
    let more = centre.follow()?.more;
    if !more || signed.elapsed() >= RECEIPTS_EVERY {
        centre.write_receipts()?;
        *signed = Instant::now();
    }
    Ok(more)
}
