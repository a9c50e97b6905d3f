//! What systemd is told: ready, reloading, stopping, and that the engine still turns. Without systemd
//! nothing happens.

use cairn_transport::Handle;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::task::JoinHandle;

pub(crate) fn starting(doing: &str) {
    // A rebuild takes as long as it takes.
    tell(&[NotifyState::Status(doing)]);
}

pub(crate) fn ready(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(words)]);
}

pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the system tells no time since its start"),
    }
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Where systemd watches the daemon, tells it again and again that the engine answers.
pub(crate) fn keep_watchdog_quiet(engine: Handle) -> Option<JoinHandle<()>> {
    let within = sd_notify::watchdog_enabled()?;
    let every = (within / 3).max(Duration::from_millis(50));
    Some(tokio::spawn(async move {
        loop {
            if engine.call(|_| ()).await.is_err() {
                return;
            }
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(every).await;
        }
    }))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
