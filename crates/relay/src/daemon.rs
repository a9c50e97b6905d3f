//! Running a relay: store, sessions, authority, centre and the socket of ops, until it is told to stop.

use crate::authority::{Authority, AuthorityParts, Clock, random};
use crate::backup;
use crate::centre_thread::{CentreHandle, CentreThread, OpenCentre};
use crate::config::{self, Config, Health, Override, Settings};
use crate::contacts::Contacts;
use crate::error::RelayError;
use crate::folder::{self, Folder};
use crate::health::{Condition, HealthServer};
use crate::init;
use crate::key_file::{self, Kind};
use crate::notify;
use crate::ops::from_afar::FromAfar;
use crate::ops::server::OpsServer;
use crate::repair;
use crate::time;
use cairn_centre::CentreOptions;
use cairn_keys::{AuthoritySecret, DeviceSecret};
use cairn_member::TableKey;
use cairn_store::{Fresh, OpenOptions, OpenReport, Rebuilt, SegmentStore, Store, StoreError};
use cairn_transport::engine::{self, EngineOptions};
use cairn_transport::{AcceptOptions, Acceptor, Handle, Identity, Listener, NetworkOptions, Pulse};
use cairn_wire::DeviceKey;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a daemon that was told to stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How often contacts are saved at most, and the engine is looked after at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Memory for the cache of the centre's index, where the centre runs, as sled counts it: what a full
/// cache really holds was measured at twice as much and more.
const CENTRE_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// How a relay runs.
#[derive(Clone)]
pub struct RunOptions {
    /// Slows every connection down in both directions, for tests and demonstrations.
    pub throttle_bytes_per_second: Option<u64>,
    /// Patience of the network.
    pub network: NetworkOptions,
    /// The authority's clock: for the expiry of codes and the audit file.
    pub clock: Clock,
    /// What goes before `relay.toml`: flags, then the environment.
    pub overrides: Vec<Override>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            throttle_bytes_per_second: None,
            network: NetworkOptions::default(),
            clock: Arc::new(time::now_s),
            overrides: Vec::new(),
        }
    }
}

/// Runs the relay in `dir` until SIGTERM or SIGINT; SIGHUP reads the configuration again. `words` gets
/// sentences for standard error, the first of them once devices can connect.
pub fn run(dir: &Path, options: RunOptions, words: &mut dyn FnMut(&str)) -> Result<(), RelayError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RelayError::system("starting threads in", dir))?;
    let done = runtime.block_on(run_until_told(dir, options, words));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn run_until_told(
    dir: &Path,
    options: RunOptions,
    words: &mut dyn FnMut(&str),
) -> Result<(), RelayError> {
    let signals = |kind| signal(kind).map_err(RelayError::system("listening for signals in", dir));
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut hangup = signals(SignalKind::hangup())?;
    notify::starting("opening the store");
    let relay = Relay::start(dir, options).await?;
    for found in relay.found() {
        words(found);
    }
    let listening = format!("listening on {}", relay.address());
    words(&listening);
    if let Some(health) = relay.health() {
        words(&format!("health and metrics at http://{health}"));
    }
    notify::ready(&listening);
    let watched = notify::keep_watchdog_quiet(relay.engine().clone());
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hangup.recv() => {
                notify::reloading();
                words(&relay.reload_in_words());
                notify::ready(&listening);
            }
            failure = relay.failed() => break Some(failure),
        }
    };
    notify::stopping();
    if let Some(watched) = watched {
        watched.abort();
    }
    words("stopping: peers are told when to come back");
    if tokio::time::timeout(STOP_WITHIN, relay.stop())
        .await
        .is_err()
    {
        words("some connections did not end in time");
    }
    match failed {
        Some(failure) => Err(RelayError::Engine(
            cairn_transport::EngineError::StoreFailed(failure),
        )),
        None => Ok(()),
    }
}

/// A relay that runs.
pub struct Relay {
    shared: Arc<Shared>,
    acceptor: Acceptor,
    ops: OpsServer,
    centre: Option<CentreThread>,
    watcher: JoinHandle<()>,
    failure: watch::Receiver<Option<String>>,
    found: Vec<String>,
    condition: Arc<Condition>,
    health: Option<HealthServer>,
}

/// What the parts of a running relay have in common.
pub(crate) struct Shared {
    pub(crate) folder: Folder,
    pub(crate) engine: Handle,
    pub(crate) authority: Arc<Authority>,
    pub(crate) centre: Option<CentreHandle>,
    pub(crate) relay: DeviceKey,
    pub(crate) address: SocketAddr,
    pub(crate) started_s: u64,
    settings: RwLock<Settings>,
    overrides: Vec<Override>,
    contacts: Mutex<Contacts>,
}

impl Relay {
    /// Opens everything and begins to accept. Needs a tokio runtime.
    pub async fn start(dir: &Path, options: RunOptions) -> Result<Self, RelayError> {
        let folder = Folder::new(dir);
        match folder.config().try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(RelayError::NoRelay(dir.to_owned())),
            Err(source) => return Err(RelayError::system("reading", dir)(source)),
        }
        let settings = Settings::load(dir, &options.overrides)?;
        let config = settings.config.clone();
        let secrets = Secrets::read(&folder)?;
        refuse_second_daemon(&folder)?;
        init::finish(&folder)?;
        // Before the store, so that a rebuild can be seen.
        let condition = Condition::starting("the store is being opened");
        let health = start_health(&folder, &config, &condition).await?;
        let (mut store, report) = open_store(&folder, &config, &secrets.relay)?;
        let mut found = in_words("the store", &report);
        let mended = repair::after_damage(&folder, &secrets.centre, &mut *store, &report)?;
        let programme = store.programme();
        let authority = Arc::new(Authority::open(
            secrets.authority(&folder, &options),
            &*store,
        )?);
        if let Some(mut mended) = mended {
            mended.granted_again = authority.grant_again(&mut *store)?;
            found.extend(mended.words());
        }
        let engine_options = EngineOptions {
            read_receipt: Some(Arc::new(cairn_member::receipt::read_receipt)),
        };
        let engine = engine::start(store, engine_options)?;
        let listener = Listener::bind(
            &Identity::new(&secrets.relay)?,
            config.listen,
            options.network.clone(),
        )?;
        let from_afar = Arc::new(FromAfar::default());
        let accept = AcceptOptions {
            enroller: Some(authority.clone()),
            ops: Some(from_afar.clone()),
            sessions_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
            bandwidth_bytes_per_second: options.throttle_bytes_per_second,
        };
        let system = |doing| RelayError::system(doing, dir);
        let acceptor =
            Acceptor::spawn(listener, engine.clone(), accept).map_err(system("accepting in"))?;
        let centre = match config.centre {
            false => None,
            true => {
                let (centre, first) =
                    CentreThread::start(centre_opening(&folder, programme), engine.clone()).await?;
                match first {
                    Ok(report) => found.extend(in_words("the centre's store", &report)),
                    // Devices must be able to hand in all the same.
                    Err(why) => found.push(format!(
                        "THE CENTRE DOES NOT START: {why}. It tries again by itself; centre = false \
                         runs the relay without it."
                    )),
                }
                Some(centre)
            }
        };
        let shared = Arc::new(Shared {
            engine,
            authority,
            centre: centre.as_ref().map(|centre| centre.handle.clone()),
            relay: secrets.relay.device(),
            address: acceptor.local_addr(),
            started_s: time::now_s(),
            settings: RwLock::new(settings),
            overrides: options.overrides,
            contacts: Mutex::new(Contacts::open(folder.contacts(), time::now_s())),
            folder,
        });
        condition.running(&shared);
        from_afar.running(&shared);
        let ops = OpsServer::start(Arc::clone(&shared)).map_err(system("making the socket in"))?;
        let address = format!("{}\n", shared.address);
        folder::write_whole(&shared.folder.address(), address.as_bytes())
            .map_err(system("writing the address into"))?;
        let (failing, failure) = watch::channel(None);
        let watcher = tokio::spawn(watch_engine(Arc::clone(&shared), failing));
        Ok(Self {
            shared,
            acceptor,
            ops,
            centre,
            watcher,
            failure,
            found,
            condition,
            health,
        })
    }

    /// Where it answers for its health, if it does.
    #[must_use]
    pub fn health(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|health| health.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The engine, for tests and for whoever embeds a relay.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.shared.engine
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What opening found that a person should know, a sentence each.
    #[must_use]
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Reads the configuration again; a bad file leaves the old one in force.
    #[must_use]
    pub fn reload_in_words(&self) -> String {
        match self.shared.reload() {
            Ok(changes) if changes.is_empty() => "relay.toml says what is in force".to_owned(),
            Ok(changes) => changes
                .iter()
                .map(Change::in_words)
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => format!("relay.toml was not taken over: {error}"),
        }
    }

    /// Waits until the store fails.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await;
        failed
            .ok()
            .and_then(|failure| failure.clone())
            .unwrap_or_else(|| "the watcher ended".to_owned())
    }

    /// Stops accepting, tells peers when to come back, flushes and closes.
    pub async fn stop(self) {
        self.condition.stopping();
        self.acceptor.stop_accepting();
        self.ops.stop().await;
        self.watcher.abort();
        if let Some(centre) = self.centre {
            centre.stop().await;
        }
        if let Err(error) = self.shared.engine.stop().await {
            tracing::error!(%error, "the store did not close cleanly");
        }
        // All sessions have ended by now.
        self.shared.take_contacts();
        self.shared.contacts().close(time::now_s());
        self.acceptor.finish().await;
        if let Some(health) = self.health {
            health.stop();
        }
        // They tell scripts where a running relay is, and nothing is lost if they stay.
        let _ = std::fs::remove_file(self.shared.folder.address());
        let _ = std::fs::remove_file(self.shared.folder.health());
    }
}

/// An early look, so that a second daemon says so before it takes a port; the store itself makes sure.
pub(crate) fn refuse_second_daemon(folder: &Folder) -> Result<(), RelayError> {
    let Ok(lock) = std::fs::File::open(folder.data().join("lock")) else {
        return Ok(());
    };
    match lock.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(RelayError::Running(folder.path().to_owned()))
        }
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(()),
    }
}

async fn start_health(
    folder: &Folder,
    config: &Config,
    condition: &Arc<Condition>,
) -> Result<Option<HealthServer>, RelayError> {
    let Health::At(address) = config.health else {
        // Left by a daemon that was killed; nothing is lost if it stays.
        let _ = std::fs::remove_file(folder.health());
        return Ok(None);
    };
    let server = HealthServer::start(address, Arc::clone(condition)).await;
    let server = server.map_err(|source| RelayError::Health { address, source })?;
    let text = format!("{}\n", server.address);
    folder::write_whole(&folder.health(), text.as_bytes())
        .map_err(RelayError::system("writing into", folder.path()))?;
    Ok(Some(server))
}

/// A setting that a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
    /// In force now; otherwise from the next start on.
    pub(crate) now: bool,
}

impl Change {
    fn in_words(&self) -> String {
        let Self { key, from, to, now } = self;
        let when = if *now { "" } else { ", from the next start on" };
        format!("{key}: {from} is {to} now{when}")
    }
}

impl Shared {
    /// What is in force, and where each value comes from.
    pub(crate) fn settings(&self) -> Settings {
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where devices reach this relay, for joining codes.
    pub(crate) fn public_address(&self) -> String {
        let public = self.settings().config.public;
        match public.rsplit_once(':') {
            Some((host, "0")) => format!("{host}:{}", self.address.port()),
            _ => public,
        }
    }

    /// Validates the file, swaps what can be swapped while running, and says what changed.
    pub(crate) fn reload(&self) -> Result<Vec<Change>, crate::ConfigError> {
        let new = Settings::load(self.folder.path(), &self.overrides)?;
        let held = self.settings.write();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        let changes = changes(&held.config, &new.config);
        held.swap(new);
        Ok(changes)
    }

    pub(crate) fn contacts(&self) -> MutexGuard<'_, Contacts> {
        // A contact is replaced field by field; a panic in between spoils a time, nothing more.
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in how sessions stand at this moment.
    pub(crate) fn take_contacts(&self) {
        let (running, ended) = (self.engine.sessions(), self.engine.history());
        self.contacts().take(&running, &ended, time::now_s());
    }
}

fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let both = old.values().into_iter().zip(new.values());
    both.filter(|((_, from), (_, to))| from != to)
        .map(|((key, from), (_, to))| Change {
            key,
            from,
            to,
            now: config::SWAPPED.contains(&key),
        })
        .collect()
}

/// The keys in a relay's folder.
pub(crate) struct Secrets {
    pub(crate) relay: DeviceSecret,
    pub(crate) centre: DeviceSecret,
    authority: AuthoritySecret,
}

impl Secrets {
    pub(crate) fn read(folder: &Folder) -> Result<Self, RelayError> {
        let relay = key_file::read::<64>(&folder.relay_key(), Kind::Relay)?;
        let authority = key_file::read::<32>(&folder.authority_key(), Kind::Authority)?;
        Ok(Self {
            relay: DeviceSecret::from_bytes(&relay),
            centre: Self::read_centre(folder)?.0,
            authority: AuthoritySecret::from_bytes(&authority),
        })
    }

    fn read_centre(folder: &Folder) -> Result<(DeviceSecret, TableKey), RelayError> {
        let centre = key_file::read::<96>(&folder.centre_key(), Kind::Centre)?;
        let mut device = zeroize::Zeroizing::new([0; 64]);
        let mut table_key = zeroize::Zeroizing::new([0; 32]);
        device.copy_from_slice(&centre[..64]);
        table_key.copy_from_slice(&centre[64..]);
        Ok((
            DeviceSecret::from_bytes(&device),
            TableKey::from_bytes(&table_key),
        ))
    }

    pub(crate) fn authority(&self, folder: &Folder, options: &RunOptions) -> AuthorityParts {
        AuthorityParts {
            secret: self.authority.clone(),
            centre: self.centre.clone(),
            relay: self.relay.device(),
            codes: folder.codes(),
            audit: folder.audit(),
            clock: Arc::clone(&options.clock),
        }
    }
}

fn centre_opening(folder: &Folder, programme: cairn_wire::ProgrammeId) -> OpenCentre {
    let folder = folder.clone();
    Box::new(move || {
        let (secret, table_key) = Secrets::read_centre(&folder)?;
        Ok(CentreOptions {
            folder: folder.centre_data(),
            secret,
            table_key,
            programme,
            cache_bytes: CENTRE_CACHE_BYTES,
            fresh: Fresh(random()?),
        })
    })
}

fn open_store(
    folder: &Folder,
    config: &Config,
    secret: &DeviceSecret,
) -> Result<(Box<dyn Store>, OpenReport), RelayError> {
    let mut options = OpenOptions::new(secret.device(), Fresh(random()?));
    options.create = false;
    options.cache_bytes = config.cache_bytes;
    match SegmentStore::open(&folder.data(), &options) {
        Ok((mut store, report)) => {
            note_loss(&mut store, time::now_s())?;
            Ok((Box::new(store), report))
        }
        Err(StoreError::Locked) => Err(RelayError::Running(folder.path().to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// State of the store: how many frames were known to be lost, and since when, in seconds since 1970.
const LOSS: &[u8] = b"relay/loss";

pub(crate) fn note_loss(store: &mut dyn Store, now_s: u64) -> Result<(), StoreError> {
    let lost = store.lost_frames();
    if loss(store)?.map_or(0, |(known, _)| known) == lost {
        return Ok(());
    }
    store.put_state(LOSS, &[lost.to_be_bytes(), now_s.to_be_bytes()].concat())
}

/// Frames of the relay's store that were ever lost, and when the last of them were missed.
pub(crate) fn loss(store: &dyn Store) -> Result<Option<(u64, u64)>, StoreError> {
    let value = store.state(LOSS)?.unwrap_or_default();
    Ok(match value.as_chunks::<8>() {
        ([lost, since], []) => Some((u64::from_be_bytes(*lost), u64::from_be_bytes(*since))),
        _ => None,
    })
}

fn rebuilt_in_words(why: &Rebuilt) -> String {
    let anew = "was rebuilt from the segments; nothing is missing by that";
    match why {
        Rebuilt::Missing => format!("its index was not there and {anew}"),
        Rebuilt::Damaged { why, set_aside } => {
            let aside = set_aside.as_ref().map_or_else(String::new, |name| {
                format!("; the old one lies in {name} and may be deleted")
            });
            format!("its index did not read ({why}) and {anew}{aside}")
        }
        Rebuilt::SegmentsBehind => {
            format!("its segments are older than its index (a restore?); the index {anew}")
        }
        Rebuilt::Asked => format!("its index {anew}, as asked"),
    }
}

/// What opening a store found, in sentences.
fn in_words(which: &str, report: &OpenReport) -> Vec<String> {
    let mut words = Vec::new();
    if let (Some(why), false) = (&report.rebuilt, report.created) {
        words.push(format!("{which}: {}", rebuilt_in_words(why)));
    }
    if report.format_mended {
        words.push(format!(
            "{which}: its format file was missing or damaged and was written again from the segments"
        ));
    }
    if report.lost_frames > 0 {
        words.push(format!(
            "{which}: {} FRAMES ARE MISSING; peers that have them give them back",
            report.lost_frames
        ));
    }
    if !report.bad_stretches.is_empty() {
        words.push(format!(
            "{which}: {} unreadable stretches were skipped; a torn end after a power cut is one",
            report.bad_stretches.len()
        ));
    }
    words
}

/// Wakes the centre when something grew, keeps contacts, and says when the store has failed.
async fn watch_engine(shared: Arc<Shared>, failing: watch::Sender<Option<String>>) {
    let mut pulses = shared.engine.subscribe();
    let mut seen: Option<Pulse> = None;
    let mut saved: Option<tokio::time::Instant> = None;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let gone = tokio::select! {
            changed = pulses.changed() => changed.is_err(),
            _ = look.tick() => {
                // Who was turned away before a session moves no pulse.
                shared.take_contacts();
                saved = save_contacts(&shared).await.or(saved);
                false
            }
        };
        let failure = shared.engine.failure();
        if failure.is_some() || gone {
            let failure = failure.unwrap_or_else(|| "the engine stopped".to_owned());
            failing.send_replace(Some(failure));
            return;
        }
        let pulse = *pulses.borrow_and_update();
        if seen.is_none_or(|seen| seen.sessions != pulse.sessions) {
            shared.take_contacts();
            // At once if that is rare, for the daemon may be killed; under load with the next look.
            if saved.is_none_or(|saved| saved.elapsed() >= LOOK_EVERY) {
                saved = save_contacts(&shared).await.or(saved);
            }
        }
        if shared.authority.is_restored() {
            hear_after_restore(&shared).await;
        }
        if seen.is_none_or(|seen| seen.authority != pulse.authority) {
            keep_log_beside_backup(&shared).await;
        }
        let grew = seen.is_none_or(|seen| {
            (seen.journals, seen.authority, seen.side_objects)
                != (pulse.journals, pulse.authority, pulse.side_objects)
        });
        if let (true, Some(centre)) = (grew, &shared.centre) {
            centre.grown();
        }
        seen = Some(pulse);
    }
}

/// What the authority signs is durable in two places as soon as there was a backup.
async fn keep_log_beside_backup(shared: &Shared) {
    let log = shared.engine.call(|store| {
        let entries = store.authority_entries(0, usize::MAX);
        entries.map(|entries| (store.programme().to_string(), entries))
    });
    // An engine that stopped, or a store that failed, says so elsewhere.
    let Ok(Ok((programme, entries))) = log.await else {
        return;
    };
    let folder = shared.folder.clone();
    let kept = tokio::task::spawn_blocking(move || backup::keep_log(&folder, &programme, &entries));
    if let Ok(Err(error)) = kept.await {
        tracing::warn!(%error, "the authority's log is not written beside the last backup; make a new one");
    }
}

/// After a restore, tells the authority who has held the same as this relay since.
async fn hear_after_restore(shared: &Shared) {
    let sessions = shared
        .engine
        .sessions()
        .into_iter()
        .chain(shared.engine.history());
    let devices: BTreeSet<DeviceKey> = sessions
        .filter(|info| info.equals > 0)
        .map(|info| info.peer)
        .collect();
    let authority = Arc::clone(&shared.authority);
    let heard = shared
        .engine
        .call(move |store| authority.heard(store, &devices))
        .await;
    match heard {
        Ok(Ok(Some(settled))) => {
            tracing::info!(
                ?settled,
                "every device has synced since the restore; the authority goes on"
            );
            // An engine that stopped hands nothing on.
            let _ = shared.engine.side_objects_grown().await;
        }
        Ok(Ok(None)) | Err(_) => {}
        Ok(Err(fault)) => tracing::error!(%fault, "the restore is not settled"),
    }
}

/// Answers when it saved something, if anything was new.
async fn save_contacts(shared: &Shared) -> Option<tokio::time::Instant> {
    let unsaved = shared.contacts().unsaved()?;
    // Its own failure is logged; a panic there would only lose a time.
    let _ = tokio::task::spawn_blocking(move || unsaved.save()).await;
    Some(tokio::time::Instant::now())
}
