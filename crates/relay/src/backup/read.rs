//! Reading a backup: is it whole, and is everything in it what it was?

use super::create::Hashing;
use super::{
    BackupError, FILES_MAX, Listed, MANIFEST, MANIFEST_BYTES_MAX, MANIFEST_HASH, Manifest, SCHEMA,
    safe,
};
use crate::authority::random;
use crate::error::RelayError;
use crate::folder::{self, Folder};
use crate::key_file::{self, Kind};
use cairn_keys::{AuthoritySecret, DeviceSecret};
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store, StoreError};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions as FileOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What a backup was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When it was made, as it says.
    pub made: String,
    /// Its programme.
    pub programme: String,
    /// Height of the authority's log in it.
    pub authority_height: u64,
    /// Files in it.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// Entries in the relay's store.
    pub entries: u64,
    /// What is wrong with it, a sentence each; empty: it can be relied on.
    pub problems: Vec<String>,
}

/// Reads all of a backup: every hash, and of the relay's store in it every chain and signature. For the
/// latter the sealed entries are unpacked for a moment beside the file; keys are not.
pub fn verify(file: &Path) -> Result<Verified, BackupError> {
    let manifest = check_hashes(file)?;
    let beside = match file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => parent,
        None => Path::new("."),
    };
    let scratch = tempfile::Builder::new()
        .prefix(".cairn-verify-")
        .tempdir_in(beside)
        .map_err(BackupError::system("unpacking beside", file))?;
    let secrets = unpack(file, &manifest, &Unpack::StoreOnly(scratch.path()))?;
    let found = check_stores(&Folder::new(scratch.path()), &manifest, &secrets, file)?;
    Ok(verified(&manifest, found))
}

pub(super) fn verified(manifest: &Manifest, found: Found) -> Verified {
    Verified {
        made: manifest.made.clone(),
        programme: manifest.programme.clone(),
        authority_height: manifest.authority_height,
        files: manifest.files.len(),
        bytes: manifest.files.iter().map(|listed| listed.bytes).sum(),
        entries: found.entries,
        problems: found.problems,
    }
}

/// Reads the whole file once and holds what is there against what its manifest lists.
pub(super) fn check_hashes(file: &Path) -> Result<Manifest, BackupError> {
    let damaged = |why: String| BackupError::damaged(file, why);
    let reading = |error: std::io::Error| damaged(format!("it does not read to its end: {error}"));
    let mut found = BTreeMap::new();
    let mut manifest: Option<Vec<u8>> = None;
    let mut manifest_hash = None;
    let mut archive = open(file)?;
    for entry in archive.entries().map_err(reading)? {
        let mut entry = entry.map_err(reading)?;
        let name = name_of(&entry).ok_or_else(|| damaged("a name in it cannot be".to_owned()))?;
        match name.to_str() {
            Some(MANIFEST) => {
                manifest = Some(small(&mut entry, MANIFEST_BYTES_MAX).map_err(reading)?)
            }
            Some(MANIFEST_HASH) => manifest_hash = Some(small(&mut entry, 1024).map_err(reading)?),
            _ => {
                if found.len() >= FILES_MAX {
                    return Err(damaged("it holds too many files".to_owned()));
                }
                let mut hashing = Hashing::new(&mut entry);
                std::io::copy(&mut hashing, &mut std::io::sink()).map_err(reading)?;
                found.insert(name, (hashing.read, hashing.hash()));
            }
        }
    }
    let (Some(text), Some(hash)) = (manifest, manifest_hash) else {
        return Err(damaged(
            "it has no list of what it holds: it was cut off, or is no backup".to_owned(),
        ));
    };
    let right = format!("{}  {MANIFEST}\n", blake3::hash(&text).to_hex());
    if hash != right.as_bytes() {
        return Err(damaged("the list of what it holds was changed".to_owned()));
    }
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| damaged(format!("the list of what it holds does not read: {error}")))?;
    if manifest.schema != SCHEMA {
        return Err(BackupError::Newer(file.to_owned()));
    }
    for Listed {
        path,
        bytes,
        blake3,
    } in &manifest.files
    {
        let inner = safe(path).ok_or_else(|| damaged(format!("{path:?} leads elsewhere")))?;
        match found.remove(&inner) {
            Some((read, hash)) if read == *bytes && hash == *blake3 => {}
            Some(_) => return Err(damaged(format!("{path} in it was changed"))),
            None => return Err(damaged(format!("{path} is missing in it"))),
        }
    }
    match found.into_keys().next() {
        Some(more) => Err(damaged(format!("{} in it is not listed", more.display()))),
        None => Ok(manifest),
    }
}

fn open(file: &Path) -> Result<tar::Archive<BufReader<File>>, BackupError> {
    let opened = File::open(file).map_err(BackupError::system("reading", file))?;
    Ok(tar::Archive::new(BufReader::with_capacity(
        256 * 1024,
        opened,
    )))
}

/// The name of a regular file in it.
fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Option<PathBuf> {
    if entry.header().entry_type() != tar::EntryType::Regular {
        return None;
    }
    safe(std::str::from_utf8(&entry.path_bytes()).ok()?)
}

fn small(entry: &mut impl Read, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where to, and what of it.
pub(super) enum Unpack<'a> {
    /// The relay's store, which shows nothing to anybody.
    StoreOnly(&'a Path),
    /// All of it; `relay.toml` under the name that stands beside, to be given its own last.
    All(&'a Path, &'a Path),
}

/// The keys in a backup.
pub(super) struct Secrets {
    relay: DeviceSecret,
    centre: DeviceSecret,
    authority: AuthoritySecret,
}

impl Secrets {
    pub(super) fn relay(&self) -> &DeviceSecret {
        &self.relay
    }

    pub(super) fn centre(&self) -> &DeviceSecret {
        &self.centre
    }
}

/// Writes files out of a backup whose hashes were checked, each durable; gives the keys in it.
pub(super) fn unpack(
    file: &Path,
    manifest: &Manifest,
    unpack: &Unpack<'_>,
) -> Result<Secrets, BackupError> {
    let reading = |error: std::io::Error| BackupError::damaged(file, error.to_string());
    let hashes: BTreeMap<&str, &str> = manifest
        .files
        .iter()
        .map(|listed| (listed.path.as_str(), listed.blake3.as_str()))
        .collect();
    let names = Folder::new(Path::new(""));
    let mut keys: BTreeMap<PathBuf, zeroize::Zeroizing<String>> = BTreeMap::new();
    let mut archive = open(file)?;
    for entry in archive.entries().map_err(reading)? {
        let mut entry = entry.map_err(reading)?;
        let Some(name) = name_of(&entry) else {
            continue;
        };
        let Some(hash) = name.to_str().and_then(|name| hashes.get(name)) else {
            continue;
        };
        let is_key = [names.relay_key(), names.centre_key(), names.authority_key()].contains(&name);
        let bytes = match is_key {
            true => Some(zeroize::Zeroizing::new(
                small(&mut entry, key_file::FILE_BYTES_MAX).map_err(reading)?,
            )),
            false => None,
        };
        if let Some(bytes) = &bytes {
            let text = String::from_utf8_lossy(bytes).into_owned();
            keys.insert(name.clone(), zeroize::Zeroizing::new(text));
        }
        let to = match unpack {
            Unpack::StoreOnly(dir) if name.starts_with(names.data()) => dir.join(&name),
            Unpack::StoreOnly(_) => continue,
            Unpack::All(_, config) if name == names.config() => config.to_path_buf(),
            Unpack::All(dir, _) => dir.join(&name),
        };
        let written = match &bytes {
            Some(bytes) => write(&to, &mut bytes.as_slice()),
            None => write(&to, &mut entry),
        };
        let written = written.map_err(BackupError::system("writing", &to))?;
        if written != **hash {
            // It was right a moment ago.
            return Err(BackupError::damaged(file, "it changes while it is read"));
        }
    }
    secrets(&names, &keys, file)
}

fn secrets(
    names: &Folder,
    keys: &BTreeMap<PathBuf, zeroize::Zeroizing<String>>,
    file: &Path,
) -> Result<Secrets, BackupError> {
    fn key<const N: usize>(
        keys: &BTreeMap<PathBuf, zeroize::Zeroizing<String>>,
        path: &Path,
        kind: Kind,
        file: &Path,
    ) -> Result<zeroize::Zeroizing<[u8; N]>, BackupError> {
        let text = keys.get(path);
        let text = text.ok_or_else(|| {
            BackupError::damaged(file, format!("{} is missing in it", path.display()))
        })?;
        key_file::parse::<N>(text, path, kind).map_err(|error| RelayError::from(error).into())
    }
    let relay = key::<64>(keys, &names.relay_key(), Kind::Relay, file)?;
    let centre = key::<96>(keys, &names.centre_key(), Kind::Centre, file)?;
    let authority = key::<32>(keys, &names.authority_key(), Kind::Authority, file)?;
    let mut device = zeroize::Zeroizing::new([0; 64]);
    device.copy_from_slice(&centre[..64]);
    Ok(Secrets {
        relay: DeviceSecret::from_bytes(&relay),
        centre: DeviceSecret::from_bytes(&device),
        authority: AuthoritySecret::from_bytes(&authority),
    })
}

/// Writes a file that only its owner may read, durable at return; answers its hash.
fn write(path: &Path, from: &mut dyn Read) -> std::io::Result<String> {
    if let Some(parent) = path.parent() {
        folder::make_private(parent)?;
    }
    let mut to = FileOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut hashing = Hashing::new(from);
    std::io::copy(&mut hashing, &mut to)?;
    to.sync_all()?;
    folder::sync_folder_of(path)?;
    Ok(hashing.hash())
}

/// What the relay's store in a backup was found to be.
pub(super) struct Found {
    pub(super) entries: u64,
    pub(super) problems: Vec<String>,
}

/// Opens the relay's store that was unpacked into a folder, and looks at every frame, chain and
/// signature of it, and whether the keys are those of this store.
pub(super) fn check_stores(
    folder: &Folder,
    manifest: &Manifest,
    secrets: &Secrets,
    file: &Path,
) -> Result<Found, BackupError> {
    let fresh = Fresh(random().map_err(RelayError::from)?);
    let mut options = OpenOptions::new(secrets.relay.device(), fresh);
    options.create = false;
    let mut problems = Vec::new();
    let opened = SegmentStore::open(&folder.data(), &options);
    let (store, report) = match opened {
        Ok(opened) => opened,
        Err(error @ StoreError::NewerFormat { .. }) => {
            return Err(RelayError::from(error).into());
        }
        Err(error) => return Err(unread(folder, file, &error)),
    };
    let store: Box<dyn Store> = Box::new(store);
    if report.lost_frames > 0 {
        problems.push(format!(
            "{} frames are missing in the relay's store",
            report.lost_frames
        ));
    }
    if !report.bad_stretches.is_empty() {
        let count = report.bad_stretches.len();
        problems.push(format!(
            "{count} stretches of the relay's store do not read"
        ));
    }
    if store.programme().to_string() != manifest.programme {
        problems.push("the store is of another programme than the list says".to_owned());
    }
    if store.authority_head().height != manifest.authority_height {
        problems.push("the authority's log has another height than the list says".to_owned());
    }
    let looked = store
        .verify(true)
        .map_err(|error| unread(folder, file, &error))?;
    problems.extend(looked.problems);
    let members = store.membership();
    for (which, device) in [("relay", &secrets.relay), ("centre", &secrets.centre)] {
        if members.member(&device.device()).is_none() {
            problems.push(format!(
                "the {which}'s key is not that of a member of this programme"
            ));
        }
    }
    if let Some(problem) =
        crate::authority::does_not_fit(&secrets.authority, &secrets.centre, &*store)
    {
        problems.push(problem);
    }
    let entries = store
        .journals()
        .into_iter()
        .map(|of| store.journal_end(of).position);
    let entries = entries.sum();
    store
        .close()
        .map_err(|error| unread(folder, file, &error))?;
    Ok(Found { entries, problems })
}

/// Where the disk fails or is full on which the store was laid, the backup is not to blame.
fn unread(folder: &Folder, file: &Path, error: &StoreError) -> BackupError {
    match error.disk_fault() {
        Some(kind) => BackupError::System {
            doing: "laying out the store in",
            path: folder.data(),
            source: std::io::Error::new(kind, error.to_string()),
        },
        None => BackupError::damaged(file, error.to_string()),
    }
}
