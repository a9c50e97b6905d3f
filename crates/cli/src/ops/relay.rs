//! The relay that is asked: by the socket in its folder, or over the network as a device of ops.

use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;
use cairn_device::transport::{NetworkOptions, SyncOptions};
use cairn_relay::ops::client::{CallError, call_with_progress};
use cairn_relay::ops::remote::Remote;
use cairn_relay::ops::{OpsRequest, PROGRESS};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A relay of which nothing was heard for so long is gone: a person waits.
const IDLE: Duration = Duration::from_secs(30);
/// How often it is heard of while it works.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// The relay that is asked.
pub(super) enum Relay {
    /// The one in this folder.
    Here(PathBuf),
    /// One elsewhere.
    Afar(Afar),
}

/// The way to a relay elsewhere.
pub(super) struct Afar {
    /// Answers come on a runtime of its own, so that whoever waits may wait anywhere.
    runtime: Option<Runtime>,
    remote: Arc<Mutex<Option<Remote>>>,
}

impl Relay {
    /// From what was typed: `--relay` goes before a folder from the environment.
    pub(super) fn find(
        dir: Option<&Path>,
        relay: Option<&str>,
        settings: &Settings,
        output: &Output,
    ) -> Result<Self, Failure> {
        match (relay, dir) {
            (Some(address), _) => Ok(Self::Afar(Afar::new(address, settings, output)?)),
            (None, Some(dir)) => Ok(Self::Here(dir.to_owned())),
            (None, None) => Err(Failure::usage(
                "which relay? --dir DIR names its folder, --relay HOST:PORT one elsewhere",
            )
            .hint("Or set CAIRN_RELAY_DIR.")),
        }
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, request: &OpsRequest) -> Result<Json, Failure> {
        self.ask_with_progress(request, &mut |_| {})
    }

    /// The same; `on_progress` hears how far it has come.
    pub(super) fn ask_with_progress(
        &self,
        request: &OpsRequest,
        on_progress: &mut dyn FnMut(&Json),
    ) -> Result<Json, Failure> {
        let answer = match self {
            Self::Here(dir) => call_with_progress(dir, request, on_progress),
            Self::Afar(afar) => afar.ask(request, on_progress),
        };
        answer.map_err(|error| {
            let error = error.to_error();
            Failure::from_json(&error.to_json(), error.exit_code)
        })
    }
}

impl Afar {
    fn new(address: &str, settings: &Settings, output: &Output) -> Result<Self, Failure> {
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(
                Failure::usage(format!("{address:?} is no address of a relay"))
                    .hint("Such as: --relay centre.example:7373"),
            );
        }
        let device = crate::field::open(settings, output)?;
        let (identity, known) = (device.identity(), device.relays());
        // Whoever records on this device meanwhile is not kept waiting.
        device.close()?;
        let options = SyncOptions {
            network: NetworkOptions {
                idle: IDLE,
                keep_alive: KEEP_ALIVE,
                ..NetworkOptions::default()
            },
            ..SyncOptions::default()
        };
        let remote = Remote::new(identity, address, known?, options);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failure::new("system", format!("no network: {error}")))?;
        Ok(Self {
            runtime: Some(runtime),
            remote: Arc::new(Mutex::new(Some(remote))),
        })
    }

    fn ask(
        &self,
        request: &OpsRequest,
        on_progress: &mut dyn FnMut(&Json),
    ) -> Result<Json, CallError> {
        let gone = || CallError::Answer("it did not come".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        let held = || self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remote = held().take().ok_or_else(gone)?;
        let (lines, coming) = channel::<Result<Json, CallError>>();
        let request = request.clone();
        let asking = runtime.spawn(async move {
            let progress = lines.clone();
            let answer = remote
                .call(&request, &mut |line| {
                    // Whoever asked waits.
                    let _ = progress.send(Ok(line.clone()));
                })
                .await;
            let _ = lines.send(answer);
            remote
        });
        let mut answer = Err(gone());
        while let Ok(line) = coming.recv() {
            match line {
                Ok(line) if line.get("schema").and_then(Json::as_str) == Some(PROGRESS) => {
                    on_progress(&line);
                }
                line => {
                    answer = line;
                    break;
                }
            }
        }
        let (back, remote) = channel();
        runtime.spawn(async move {
            // A panic in there has said so.
            let _ = back.send(asking.await.ok());
        });
        *held() = remote.recv().ok().flatten();
        answer
    }
}

impl Drop for Afar {
    fn drop(&mut self) {
        let mut remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(remote), Some(runtime)) = (remote.take(), self.runtime.take()) else {
            return;
        };
        let (said, done) = channel();
        runtime.spawn(async move {
            remote.close().await;
            let _ = said.send(());
        });
        let _ = done.recv();
        // Dropping a runtime waits, which is not allowed everywhere.
        runtime.shutdown_background();
    }
}
