//! How the centre reaches the relay's store, which somebody else owns.

use crate::CentreError;
use cairn_store::Store;

/// Work that wants the relay's store for a moment.
pub type Turn = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// The relay has stopped, or its store has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the relay's store cannot be reached: {0}")]
pub struct RelayStopped(pub String);

/// The relay's store, as far as the centre may ask of it. Called from the centre's own thread, which
/// may wait.
pub trait RelayStore: Send {
    /// Runs `work` with the store, between two commits, and returns once it has run.
    fn turn(&self, work: Turn) -> Result<(), RelayStopped>;

    /// Says that receipts were put into the store, so that live sessions hand them on.
    fn receipts_grown(&self) -> Result<(), RelayStopped>;
}

/// Runs `work` with the relay's store and gives its answer.
pub(crate) fn ask<R: Send + 'static>(
    relay: &dyn RelayStore,
    work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
) -> Result<R, CentreError> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    relay.turn(Box::new(move |store| {
        // The centre waits for it, or is gone.
        let _ = answer.send(work(store));
    }))?;
    answered
        .try_recv()
        .map_err(|_| RelayStopped("it did not answer".to_owned()).into())
}
