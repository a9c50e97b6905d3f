//! What an app links: a device that records, reads and syncs.
//!
//! A [`Device`] is a folder with a key file ([`key_file`]) and a store. All calls block and may be made
//! from several threads; one process at a time has a folder open, and one that stays in sync
//! ([`Device::keep_synced`]) lets the others in between (`turns`). What a call reports as saved is
//! durable on this device. Nothing here asks questions or prints: errors are typed, with exit codes and
//! hints for whoever does ([`DeviceError`]).

pub mod error;
pub mod joining;
pub mod key_file;
mod looking;
mod place;
pub mod status;
pub mod syncing;
mod turns;
mod verbs;

pub use cairn_member as member;
pub use cairn_records as records;
pub use cairn_transport as transport;

pub use cairn_member::{
    AsOf, Asked, Compared, FieldNow, Filter, HeldScope, ImportRow, Imported, Importing, Line,
    Listed, Near, NearRecord, OpenRecord, RowOutcome, Saved, Stage,
};
pub use error::DeviceError;
pub use joining::{Joined, JoinedScope};
pub use looking::Held;
pub use status::{Checked, DeviceStatus, RelayStatus};
pub use syncing::{SyncRequest, Synced};

use cairn_keys::DeviceSecret;
use cairn_member::{Ingested, Member, MemberError, Moment, TableKey};
use cairn_store::segment_store::FORMAT_FILE;
use cairn_store::{Fresh, OpenOptions, OpenReport, SegmentStore, Store, StoreError};
use cairn_transport::{EngineOptions, Handle, Identity, NetworkOptions, SyncTarget, engine};
use cairn_wire::ids::{DeviceKey, Incarnation, ProgrammeId};
use key_file::{KEY_FILE_NAME, KeyFile, KeyFileError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use turns::{Turn, Watch};
use zeroize::Zeroizing;

/// Name of the store's folder in a device's folder.
const STORE_FOLDER: &str = "store";
/// Descriptors that the network's threads open before anything is dialled, and some to spare.
const DESCRIPTORS_OF_NETWORK: usize = 8;
/// Private state: where the folder lay when it was last opened.
const PLACE: &[u8] = b"place";

/// How often who stays in sync looks whether somebody else wants the folder.
const LOOK_FOR_TURN: Duration = Duration::from_millis(100);

/// How a device runs.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// How long to wait for another process that is just ending.
    pub lock_wait: Duration,
    /// Memory for the index's cache.
    pub cache_bytes: u64,
    /// Patience and limits of the network.
    pub network: NetworkOptions,
    /// Slows every link down in both directions, for tests and demonstrations.
    pub bandwidth_bytes_per_second: Option<u64>,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(3),
            cache_bytes: 8 * 1024 * 1024,
            network: NetworkOptions::default(),
            bandwidth_bytes_per_second: None,
        }
    }
}

/// What opening a device found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// What the store found.
    pub store: OpenReport,
    /// The folder is a copy, or was restored: it writes logs of its own from now on.
    pub copied: bool,
    /// What was taken in that the lists did not show yet.
    pub ingested: Ingested,
}

/// A device that is open. Closed by [`Self::close`], or when it is dropped.
pub struct Device {
    folder: PathBuf,
    name: String,
    device: DeviceKey,
    identity: Identity,
    options: DeviceOptions,
    member: Arc<Mutex<Member>>,
    handle: Mutex<Handle>,
    runtime: tokio::runtime::Runtime,
    live: Arc<syncing::Live>,
    opened: Opened,
    /// Given back while the device is kept in sync.
    turn: Mutex<Option<Turn>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({:?})", self.device)
    }
}

impl Device {
    /// Whether a device lives in `folder`.
    #[must_use]
    pub fn exists(folder: &Path) -> bool {
        folder.join(KEY_FILE_NAME).exists()
    }

    /// Makes a device: keys and an empty store. The key file is not protected by a passphrase; say so.
    pub fn create(folder: &Path, name: &str, options: &DeviceOptions) -> Result<Self, DeviceError> {
        if Self::exists(folder) {
            return Err(KeyFileError::Exists(folder.to_owned()).into());
        }
        if folder.join(STORE_FOLDER).exists() {
            return Err(KeyFileError::Lost(folder.to_owned()).into());
        }
        make_private_folder(folder)?;
        let secret = Zeroizing::new(random::<64>()?);
        let table_key = Zeroizing::new(random::<32>()?);
        KeyFile {
            secret: DeviceSecret::from_bytes(&secret),
            table_key: TableKey::from_bytes(&table_key),
            name: name.to_owned(),
        }
        .create(folder)?;
        Self::open(folder, options)
    }

    /// Opens the device in `folder`. Waits a moment for a process that is just ending.
    pub fn open(folder: &Path, options: &DeviceOptions) -> Result<Self, DeviceError> {
        let keys = KeyFile::read(folder).map_err(|error| match error {
            KeyFileError::Missing(folder) if folder.join(STORE_FOLDER).exists() => {
                KeyFileError::Lost(folder)
            }
            other => other,
        })?;
        let turn = Turn::take(folder, options.lock_wait)?;
        let mut member = Member::new(keys.secret.clone(), keys.table_key.clone());
        let (store, opened) = open_store(folder, options, &mut member, None)?;
        let identity = Identity::new(&keys.secret)?;
        spare_descriptors().map_err(DeviceError::system("opening what the network needs"))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: keys.name,
            device: keys.secret.device(),
            identity,
            options: options.clone(),
            member: Arc::new(Mutex::new(member)),
            handle: Mutex::new(start(store)?),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("cairn-network")
                .enable_all()
                .build()
                .map_err(DeviceError::system("starting the network's threads"))?,
            live: Arc::default(),
            opened,
            turn: Mutex::new(Some(turn)),
        })
    }

    /// The key by which it is known.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.device
    }

    /// The name it was given when it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With what it proves its key, for whoever dials in its name.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// The relays that it knows, the likeliest first: where they are, and their keys.
    pub fn relays(&self) -> Result<Vec<SyncTarget>, DeviceError> {
        let relays = self.try_with(|member, store| syncing::relays(member, store))?;
        let targets = relays.into_iter().map(|known| SyncTarget {
            addresses: known.addresses,
            relay: known.relay,
        });
        Ok(targets.collect())
    }

    /// What opening it found.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Closes it cleanly, so that the next opening has nothing to make up for.
    pub fn close(self) -> Result<(), DeviceError> {
        let handle = self.handle();
        Ok(self.runtime.block_on(handle.stop())?)
    }

    /// The engine that owns the store, for whoever runs more on it (serving others).
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs `work` with keys and store, between two commits.
    pub(crate) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Member, &mut dyn Store) -> R + Send + 'static,
    ) -> Result<R, DeviceError> {
        let member = Arc::clone(&self.member);
        Ok(self
            .handle()
            .call_blocking(move |store| work(&mut lock(&member), store))?)
    }

    /// The same for work that can fail.
    pub(crate) fn try_with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Member, &mut dyn Store) -> Result<R, MemberError> + Send + 'static,
    ) -> Result<R, DeviceError> {
        Ok(self.with(work)??)
    }

    /// Closes the store, lets everybody else have the folder who wants it, and opens the store again.
    /// Whoever calls this device meanwhile waits. Answers false if `stop` was done before.
    pub(crate) fn let_others(
        &self,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<bool, DeviceError> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(handle.stop())?;
        let mut member = lock(&self.member);
        loop {
            let turn = self.runtime.block_on(async {
                tokio::select! {
                    () = &mut stop => Ok(None),
                    turn = self.next_turn() => turn.map(Some),
                }
            })?;
            let Some(_turn) = turn else {
                return Ok(false);
            };
            match open_store(&self.folder, &self.options, &mut member, None) {
                Ok((store, _)) => {
                    *handle = start(store)?;
                    return Ok(true);
                }
                // Somebody who knows nothing of turns.
                Err(DeviceError::Store(StoreError::Locked)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn next_turn(&self) -> Result<Turn, DeviceError> {
        loop {
            if let Some(turn) = Turn::try_take(&self.folder)? {
                return Ok(turn);
            }
            tokio::time::sleep(LOOK_FOR_TURN).await;
        }
    }

    /// Done when another process wants the folder.
    pub(crate) async fn wanted(&self) {
        while !Turn::is_wanted(&self.folder) {
            tokio::time::sleep(LOOK_FOR_TURN).await;
        }
    }

    pub(crate) fn give_turn_back(&self) {
        self.turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    pub(crate) fn watch(&self) -> Result<Watch, DeviceError> {
        Watch::begin(&self.folder)?.ok_or(DeviceError::Watched)
    }

    /// Opens the store again as that of a programme.
    pub(crate) fn reopen(&self, programme: ProgrammeId) -> Result<(), DeviceError> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(handle.stop())?;
        let mut member = lock(&self.member);
        let (store, _) = open_store(&self.folder, &self.options, &mut member, Some(programme))?;
        *handle = start(store)?;
        Ok(())
    }
}

/// tokio panics where none are left for its own pipes: asked before it begins.
fn spare_descriptors() -> std::io::Result<()> {
    let spare = (0..DESCRIPTORS_OF_NETWORK).map(|_| std::fs::File::open("/dev/null"));
    spare.collect::<Result<Vec<_>, _>>().map(drop)
}

fn open_store(
    folder: &Path,
    options: &DeviceOptions,
    member: &mut Member,
    programme: Option<ProgrammeId>,
) -> Result<(Box<dyn Store>, Opened), DeviceError> {
    let mut open = OpenOptions::new(member.device(), fresh()?);
    open.programme = programme;
    open.lock_wait = turns::patience(folder, options.lock_wait);
    open.cache_bytes = options.cache_bytes;
    let (store, report) = SegmentStore::open(&folder.join(STORE_FOLDER), &open)?;
    let mut store: Box<dyn Store> = Box::new(store);
    let mut opened = Opened {
        store: report,
        ..Opened::default()
    };
    opened.copied = note_place(folder, member, &mut *store)?;
    opened.ingested = match member.catch_up(&mut *store) {
        Ok(ingested) => ingested,
        Err(MemberError::Tables(why)) => {
            // Derived tables hold nothing that the segments do not: they are made anew.
            tracing::warn!(%why, "the lists do not read and are made anew");
            opened.store.rebuilt = store.repair(fresh()?)?.rebuilt;
            member.catch_up(&mut *store)?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((store, opened))
}

/// Begins anew where the folder is not where it was. Answers whether it did.
fn note_place(folder: &Path, member: &Member, store: &mut dyn Store) -> Result<bool, DeviceError> {
    let Some(place) = place::place_of(&[
        &folder.join(KEY_FILE_NAME),
        &folder.join(STORE_FOLDER).join(FORMAT_FILE),
    ]) else {
        return Ok(false);
    };
    let known = member.private(store, PLACE)?;
    if known.as_deref() == Some(&place) {
        return Ok(false);
    }
    let copied = known.is_some();
    if copied {
        let fresh = fresh()?;
        store.set_incarnation(fresh.incarnation())?;
        store.new_epoch(fresh.epoch())?;
        tracing::warn!(
            "this folder is a copy or was restored; it writes logs of its own from now on"
        );
    }
    member.put_private(store, PLACE, &place)?;
    Ok(copied)
}

fn start(store: Box<dyn Store>) -> Result<Handle, DeviceError> {
    let options = EngineOptions {
        read_receipt: Some(Arc::new(cairn_member::receipt::read_receipt)),
    };
    Ok(engine::start(store, options)?)
}

pub(crate) fn lock(member: &Mutex<Member>) -> MutexGuard<'_, Member> {
    member.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the clock stands still, for tests and demonstrations of wrong clocks.
static STOPPED_AT_S: Mutex<Option<i64>> = Mutex::new(None);

/// Makes this process believe that it is always this second: for tests and demonstrations.
pub fn stop_clock_at(seconds: i64) {
    *STOPPED_AT_S.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);
}

/// Seconds since 1970 by this machine's clock.
#[must_use]
pub fn now_s() -> i64 {
    let stopped = *STOPPED_AT_S.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seconds) = stopped {
        return seconds;
    }
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

pub(crate) fn moment() -> Result<Moment, DeviceError> {
    Ok(Moment {
        now_s: now_s(),
        nonce: random()?,
    })
}

pub(crate) fn fresh_incarnation() -> Result<Incarnation, DeviceError> {
    Ok(Incarnation(random()?))
}

fn fresh() -> Result<Fresh, DeviceError> {
    Ok(Fresh(random()?))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], DeviceError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| DeviceError::System {
        doing: "drawing random bytes",
        why: error.to_string(),
    })?;
    Ok(bytes)
}

fn make_private_folder(folder: &Path) -> Result<(), DeviceError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(DeviceError::system("making the device's folder"))
}
