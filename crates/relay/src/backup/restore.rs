//! Restoring a backup.

use super::read::{Secrets, Unpack, Verified, check_hashes, check_stores, unpack, verified};
use super::{BackupError, beside, verify};
use crate::authority::{random, restored};
use crate::config::FILE_NAME;
use crate::error::RelayError;
use crate::folder::{self, Folder, UNFINISHED};
use crate::init;
use crate::ops::backup::note;
use crate::ops::history::History;
use crate::time;
use cairn_keys::DeviceSecret;
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store, StoreError};
use std::path::Path;

/// What was restored, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What is in the backup.
    pub backup: Verified,
    /// What whoever runs the relay must know now, a sentence or two each.
    pub words: Vec<String>,
}

/// Restores a backup into `dir`, which must be empty or not there. With `dry_run` it is only verified.
///
/// The relay begins a new epoch, so no device trusts what it knew of this relay's journals: they compare,
/// and give back what the relay lacks. It begins a new incarnation, so that no number of an own log is
/// used twice. And it remembers that it was restored: the authority signs nothing before its own log is
/// known to be back (see [`crate::authority::restored`]).
///
/// `relay.toml` is put in place last: a relay that was not restored wholly does not run. An attempt that
/// failed, at whatever step, may be repeated: what it left is set aside in the folder, until a daemon has
/// run there.
pub fn restore(file: &Path, dir: &Path, dry_run: bool) -> Result<Restored, BackupError> {
    let folder = Folder::new(dir);
    // Where it is not there, or does not read, making it says so.
    if !init::is_empty(dir).unwrap_or(true) && !dir.join(UNFINISHED).exists() {
        return Err(BackupError::NotEmpty(dir.to_owned()));
    }
    if dry_run {
        let backup = verify(file)?;
        return Ok(Restored {
            backup,
            words: words(),
        });
    }
    let manifest = check_hashes(file)?;
    init::prepare(&folder)?;
    let config = dir.join(format!("{FILE_NAME}.restored"));
    let secrets = unpack(file, &manifest, &Unpack::All(dir, &config))?;
    let backup = verified(&manifest, check_stores(&folder, &manifest, &secrets, file)?);
    if let Some(problem) = backup.problems.first() {
        return Err(BackupError::damaged(file, problem.clone()));
    }
    let signed_since = begin_anew(&folder, &secrets, file, &backup)?;
    let place = folder.config();
    std::fs::rename(&config, &place).map_err(BackupError::system("naming", &place))?;
    folder::sync_folder_of(&place).map_err(BackupError::system("syncing", &place))?;
    let mark = dir.join(UNFINISHED);
    std::fs::remove_file(&mark).map_err(BackupError::system("removing", &mark))?;
    let mut words = words();
    if signed_since > 0 {
        words.push(format!(
            "{signed_since} entries that the authority signed after this backup were taken from the file beside it"
        ));
    }
    Ok(Restored { backup, words })
}

fn words() -> Vec<String> {
    [
        "Never run the old relay again: it and this one would be two with one key.",
        "Devices give back what this relay lacks when they next sync; nothing has to be done on them.",
        "The authority signs nothing (no joining, no revoking) until every device has synced, or \
         until: cairn ops backup override --reason TEXT",
        "Who was revoked or let in after this backup is forgotten where neither the file beside it \
         (cairn-….authority) nor another device tells of it: look at cairn ops devices, and revoke again",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A new life for both stores, and the mark that the authority must wait. Answers how many entries the
/// authority signed after the backup, as far as the file beside it knows.
fn begin_anew(
    folder: &Folder,
    secrets: &Secrets,
    file: &Path,
    backup: &Verified,
) -> Result<u64, BackupError> {
    let (now_s, made_s) = (time::now_s(), time::from_utc(&backup.made));
    let mut relay = open(folder, secrets.relay(), &folder.data())?;
    let before = relay.authority_head().height;
    let log = beside::beside(file, &relay.programme().to_string());
    match log.map(|log| relay.append_authority(log)) {
        Ok(Ok(_)) => {}
        // Whatever is wrong with it, devices give the log back too.
        Ok(Err(StoreError::Authority(why))) => {
            tracing::warn!(%why, "the authority's log beside the backup does not fit");
        }
        Ok(Err(error)) => return Err(RelayError::from(error).into()),
        Err(error) => tracing::warn!(%error, "the file beside the backup does not read"),
    }
    let height = relay.authority_head().height;
    relay
        .put_state(restored::STATE, &restored::begun(now_s, height))
        .map_err(RelayError::from)?;
    // What stands here stands in that backup.
    let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
    note(&mut *relay, made_s, bytes).map_err(RelayError::from)?;
    relay.close().map_err(RelayError::from)?;
    if folder.centre_data().exists() {
        let centre = open(folder, secrets.centre(), &folder.centre_data())?;
        centre.close().map_err(RelayError::from)?;
    }
    if let Err(error) = History::new(folder.sessions()).restored(now_s, made_s) {
        tracing::warn!(%error, "the history of sessions could not be written");
    }
    Ok(height.saturating_sub(before))
}

fn open(
    folder: &Folder,
    device: &DeviceSecret,
    path: &Path,
) -> Result<Box<dyn Store>, BackupError> {
    let random = random().map_err(RelayError::from)?;
    let mut options = OpenOptions::new(device.device(), Fresh(random));
    options.create = false;
    let (store, _) = SegmentStore::open(path, &options).map_err(|error| match error {
        StoreError::Locked => RelayError::Running(folder.path().to_owned()),
        error => error.into(),
    })?;
    let mut store: Box<dyn Store> = Box::new(store);
    let fresh = Fresh(random);
    store
        .set_incarnation(fresh.incarnation())
        .map_err(RelayError::from)?;
    store.new_epoch(fresh.epoch()).map_err(RelayError::from)?;
    Ok(store)
}
