//! The centre on a thread of its own: it follows the relay's journals as they grow and answers whoever
//! asks it something in between.

use crate::ops::OpsError;
use cairn_centre::{Centre, CentreError, CentreOptions, RelayStopped, RelayStore, Turn};
use cairn_store::OpenReport;
use cairn_transport::{EngineError, Handle};
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
/// After a failure the centre tries again so much later.
const RETRY: Duration = Duration::from_secs(5);

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
            let message = self
                .failure()
                .unwrap_or_else(|| "the centre has stopped".into());
            OpsError::new(
                "centre_stopped",
                message,
                "Start the daemon again: cairnd run",
            )
            .later()
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
    /// Opens the centre and lets it follow; answers once it is open.
    pub(crate) async fn start(
        options: CentreOptions,
        relay: Handle,
    ) -> Result<(Self, OpenReport), crate::RelayError> {
        let (events, queue) = channel();
        let state = Arc::new(State::default());
        let handle = CentreHandle {
            events,
            state: Arc::clone(&state),
        };
        let (opened, open) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("cairn-centre".into())
            .spawn(move || {
                let centre = Centre::open(options, Box::new(EngineStore(relay)));
                match centre {
                    Ok((centre, report)) => {
                        // Nobody waits any more if the daemon gave up meanwhile.
                        let _ = opened.send(Ok(report));
                        run(centre, &queue, &state);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
            })
            .map_err(crate::RelayError::system(
                "starting the thread of",
                "the centre",
            ))?;
        let stopped = || CentreError::from(RelayStopped("the centre's thread ended".into()));
        let report = open.await.map_err(|_| stopped())??;
        Ok((Self { handle, thread }, report))
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

fn run(mut centre: Centre, queue: &Receiver<Event>, state: &State) {
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
            Ok(Event::Question(question)) => {
                question(&mut centre);
                continue;
            }
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
        let failure = match worked {
            Ok(more) => {
                busy = more;
                None
            }
            Err(CentreError::Relay(stopped)) => {
                tracing::info!(%stopped, "the centre ends with the relay");
                break;
            }
            Err(error) => {
                tracing::error!(%error, "the centre cannot go on; it tries again");
                std::thread::sleep(RETRY);
                busy = true;
                Some(error.to_string())
            }
        };
        *state.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
    if let Err(error) = centre.close() {
        tracing::error!(%error, "the centre's store did not close cleanly");
    }
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
