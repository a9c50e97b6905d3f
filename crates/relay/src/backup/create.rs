//! Making a backup.

use super::{
    BackupError, Listed, MANIFEST, MANIFEST_HASH, Manifest, SCHEMA, beside, is_left_out, stores,
};
use crate::daemon::Shared;
use crate::error::RelayError;
use crate::folder::{self, Folder};
use crate::ops::client::{CallError, call};
use crate::ops::{OpsError, OpsRequest};
use crate::time;
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions as FileOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A moment of a running relay's stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    programme: String,
    relay: String,
    authority_height: u64,
    entries: u64,
    /// How long each file of a store was, by its path in the folder.
    lengths: BTreeMap<String, u64>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How many files it holds.
    pub files: usize,
    /// Entries of the relay's journals at that moment.
    pub entries: u64,
    /// Height of the authority's log at that moment.
    pub authority_height: u64,
    /// A daemon ran in the folder meanwhile.
    pub while_running: bool,
}

/// The lengths of what the stores have written, between two commits of each.
pub(crate) async fn point(shared: &Shared) -> Result<Point, OpsError> {
    let folder = shared.folder.clone();
    if let Some(centre) = &shared.centre
        && centre.failure().is_none()
    {
        // Nothing of it is written while it answers. A centre that has failed writes nothing either.
        let folder = folder.clone();
        let lengths = centre
            .ask(move |_| lengths(&folder, &folder.centre_data()))
            .await;
        if let Ok(lengths) = lengths {
            let of_centre = lengths.map_err(unreadable)?;
            return relay_point(shared, of_centre).await;
        }
    }
    let of_centre = lengths(&folder, &folder.centre_data()).map_err(unreadable)?;
    relay_point(shared, of_centre).await
}

async fn relay_point(shared: &Shared, mut all: BTreeMap<String, u64>) -> Result<Point, OpsError> {
    let folder = shared.folder.clone();
    let relay = shared.relay.to_string();
    let point = shared.engine.call(move |store| {
        all.extend(lengths(&folder, &folder.data())?);
        let journals = store.journals().into_iter();
        Ok(Point {
            programme: store.programme().to_string(),
            relay,
            authority_height: store.authority_head().height,
            entries: journals.map(|of| store.journal_end(of).position).sum(),
            lengths: all,
        })
    });
    point.await?.map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> OpsError {
    let hint = "See that the relay's disk is there.";
    OpsError::new(
        "system",
        format!("reading the relay's folder: {error}"),
        hint,
    )
}

/// The files right in a store's folder, and how long they are.
fn lengths(folder: &Folder, store: &Path) -> std::io::Result<BTreeMap<String, u64>> {
    let mut lengths = BTreeMap::new();
    if !store.exists() {
        return Ok(lengths);
    }
    for entry in std::fs::read_dir(store)? {
        let path = entry?.path();
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_file() && !is_left_out(&path) {
            lengths.insert(name_in(folder, &path), metadata.len());
        }
    }
    Ok(lengths)
}

fn name_in(folder: &Folder, path: &Path) -> String {
    let inner = path.strip_prefix(folder.path()).unwrap_or(path);
    inner.to_string_lossy().into_owned()
}

/// Backs up the relay in `dir` into the file `destination`, or into a new file in the folder of that
/// name. The daemon may run; it is told of it when all is done.
pub fn create(dir: &Path, destination: &Path) -> Result<Created, BackupError> {
    let folder = Folder::new(dir);
    if !folder.is_relay() {
        return Err(RelayError::NoRelay(dir.to_owned()).into());
    }
    let (point, running) = match call(dir, &OpsRequest::BackupPoint {}) {
        Ok(answer) => {
            let point = serde_json::from_value(answer["point"].clone());
            let point = point.map_err(|error| CallError::Answer(error.to_string()).to_error())?;
            (point, None)
        }
        Err(CallError::Unreachable { .. }) => {
            let (point, held) = resting(&folder)?;
            (point, Some(held))
        }
        Err(error) => return Err(error.to_error().into()),
    };
    let made_s = time::now_s();
    let file = name(destination, &point, made_s);
    if file.exists() {
        return Err(BackupError::Exists(file));
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let files = write(&folder, &point, made_s, &beside).inspect_err(|_| {
        // Half a backup is none; whoever asked hears of the fault that made it so.
        let _ = std::fs::remove_file(&beside);
    })?;
    std::fs::rename(&beside, &file).map_err(BackupError::system("naming", &file))?;
    folder::sync_folder_of(&file).map_err(BackupError::system("syncing", &file))?;
    let bytes = std::fs::metadata(&file)
        .map_err(BackupError::system("reading", &file))?
        .len();
    let while_running = running.is_none();
    drop(running);
    if let Err(error) = beside::remember(&folder, &file) {
        tracing::warn!(%error, "what is signed from now on is not written beside this backup");
    }
    if while_running {
        let done = OpsRequest::BackupDone {
            bytes,
            authority_height: point.authority_height,
        };
        call(dir, &done).map_err(|error| error.to_error())?;
    }
    Ok(Created {
        file,
        bytes,
        files,
        entries: point.entries,
        authority_height: point.authority_height,
        while_running,
    })
}

/// The same moment where no daemon runs, and what keeps one from starting meanwhile.
fn resting(folder: &Folder) -> Result<(Point, Box<dyn std::any::Any>), BackupError> {
    let relay = crate::key_file::read::<64>(&folder.relay_key(), crate::key_file::Kind::Relay)
        .map_err(RelayError::from)?;
    let device = cairn_keys::DeviceSecret::from_bytes(&relay).device();
    let fresh = Fresh(crate::authority::random().map_err(RelayError::from)?);
    let mut options = OpenOptions::new(device, fresh);
    options.create = false;
    let (store, _) = SegmentStore::open(&folder.data(), &options).map_err(|error| match error {
        cairn_store::StoreError::Locked => RelayError::Running(folder.path().to_owned()),
        error => error.into(),
    })?;
    let mut all = BTreeMap::new();
    for path in stores(folder) {
        all.extend(lengths(folder, &path).map_err(BackupError::system("reading", &path))?);
    }
    use cairn_replica::holdings::Holdings as _;
    let point = Point {
        programme: store.programme().to_string(),
        relay: device.to_string(),
        authority_height: store.authority_head().height,
        entries: store
            .journals()
            .into_iter()
            .map(|of| store.journal_end(of).position)
            .sum(),
        lengths: all,
    };
    Ok((point, Box::new(store)))
}

fn name(destination: &Path, point: &Point, made_s: u64) -> PathBuf {
    if !destination.is_dir() {
        return destination.to_owned();
    }
    let at: String = time::utc(made_s)
        .chars()
        .filter(|c| !"-:".contains(*c))
        .collect();
    let programme: String = point.programme.chars().take(8).collect();
    destination.join(format!("cairn-{programme}-{at}.backup"))
}

/// Writes the whole file, durable at return; answers how many files it holds.
fn write(folder: &Folder, point: &Point, made_s: u64, path: &Path) -> Result<usize, BackupError> {
    let writing = |error| BackupError::system("writing", path)(error);
    let file = FileOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(writing)?;
    let mut tar = tar::Builder::new(std::io::BufWriter::with_capacity(256 * 1024, file));
    let mut files = Vec::new();
    for inner in inner_files(folder.path())? {
        let name = name_in(folder, &inner);
        let in_store = stores(folder)
            .iter()
            .any(|store| inner.parent() == Some(store));
        let length = match point.lengths.get(&name) {
            Some(length) => *length,
            // A segment that was begun since.
            None if in_store => continue,
            None => match std::fs::metadata(&inner) {
                Ok(metadata) => metadata.len(),
                Err(error) => return Err(BackupError::system("reading", &inner)(error)),
            },
        };
        let reading = BackupError::system("reading", &inner);
        let source = File::open(&inner).map_err(reading)?;
        let mut hashing = Hashing::new(source.take(length));
        let mut header = header(length, made_s);
        tar.append_data(&mut header, &name, &mut hashing)
            .map_err(writing)?;
        if hashing.read != length {
            return Err(BackupError::damaged(
                &inner,
                "it became shorter while it was read",
            ));
        }
        files.push(Listed {
            path: name,
            bytes: length,
            blake3: hashing.hash(),
        });
    }
    let count = files.len();
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        made: time::utc(made_s),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        programme: point.programme.clone(),
        relay: point.relay.clone(),
        authority_height: point.authority_height,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| writing(error.into()))?;
    let hash = format!("{}  {MANIFEST}\n", blake3::hash(&text).to_hex());
    for (name, bytes) in [
        (MANIFEST, text.as_slice()),
        (MANIFEST_HASH, hash.as_bytes()),
    ] {
        let mut header = header(bytes.len() as u64, made_s);
        tar.append_data(&mut header, name, bytes).map_err(writing)?;
    }
    let mut buffered = tar.into_inner().map_err(writing)?;
    buffered.flush().map_err(writing)?;
    buffered.get_ref().sync_all().map_err(writing)?;
    Ok(count)
}

fn header(bytes: u64, made_s: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(made_s);
    header
}

/// Every file below a folder that belongs into a backup, in order of their names; links are not followed.
fn inner_files(of: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let reading = |error| BackupError::system("reading", of)(error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(of).map_err(reading)? {
        names.push(entry.map_err(reading)?);
    }
    names.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in names {
        let path = entry.path();
        let kind = entry.file_type().map_err(reading)?;
        if is_left_out(&path) {
            continue;
        }
        if kind.is_dir() {
            files.extend(inner_files(&path)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Counts and hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
    pub(super) read: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            read: 0,
        }
    }

    pub(super) fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(read) = buffer.get(..count) {
            self.hasher.update(read);
        }
        self.read += count as u64;
        Ok(count)
    }
}
