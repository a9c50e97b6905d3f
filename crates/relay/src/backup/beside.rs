//! The authority's log beside the newest backup: what it signed since is not forgotten with the machine.
//!
//! A revocation that nobody has heard of yet stands in the relay's store alone, and nobody makes a backup in
//! that minute. So the relay remembers where its last backup was put, and writes its log there, a few
//! kilobytes, whenever that grows. Nothing in it is secret: every member's device carries the same. A
//! restore takes from it what the backup lacks; each entry is verified like anybody's.

use crate::folder::{self, Folder};
use cairn_wire::limits;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"cairn authority log 1\n";
/// Bytes of such a file that are read.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Remembers in which folder a backup was put.
pub(super) fn remember(folder: &Folder, backup: &Path) -> io::Result<()> {
    let place = std::fs::canonicalize(backup)?;
    let place = place.parent().unwrap_or(Path::new("/"));
    folder::write_whole(&folder.backups(), place.as_os_str().as_bytes())
}

/// Writes the log beside the last backup, if there ever was one and what stands there is no longer.
pub(crate) fn keep(folder: &Folder, programme: &str, log: &[Vec<u8>]) -> io::Result<()> {
    let place = match std::fs::read(folder.backups()) {
        Ok(place) => PathBuf::from(std::ffi::OsString::from_vec(place)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let file = name(&place, programme);
    // A relay out of an older backup may know less than what lies there.
    if read(&file)?.len() >= log.len() {
        return Ok(());
    }
    let mut bytes = MAGIC.to_vec();
    for entry in log {
        bytes.extend_from_slice(&(entry.len() as u32).to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    folder::write_whole(&file, &bytes)
}

/// The log that lies beside a backup; empty where there is none.
pub(super) fn beside(backup: &Path, programme: &str) -> io::Result<Vec<Vec<u8>>> {
    let parent = backup
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    read(&name(parent.unwrap_or(Path::new(".")), programme))
}

fn name(place: &Path, programme: &str) -> PathBuf {
    let programme: String = programme.chars().take(8).collect();
    place.join(format!("cairn-{programme}.authority"))
}

/// Entries as far as they read: whoever takes them in verifies them.
fn read(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(file) {
        Ok(open) => open.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > limits::AUTHORITY_ENTRY_BYTES_MAX {
            break;
        }
        let Some((entry, after)) = after.split_at_checked(length) else {
            break;
        };
        entries.push(entry.to_vec());
        rest = after;
    }
    Ok(entries)
}
