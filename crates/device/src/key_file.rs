//! The key file: who this device is, and what opens its tables.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 10 | `CAIRN-KEY\0` |
//! | 10 | 2 | format version, big-endian, 1 |
//! | 12 | 1 | protection: 0 none, 1 wrapped under a passphrase (reserved, not written yet) |
//! | 13 | 2 | length n of what protection needs (salt, cost), 0 for none |
//! | 15 | n | that |
//! | 15 + n | 64 | device secret: Ed25519 seed, X25519 secret |
//! | 79 + n | 32 | table key |
//! | 111 + n | 1 | length m of the device's name in bytes of UTF-8, at most 128 |
//! | 112 + n | m | the name |
//! | 112 + n + m | 8 | first 8 bytes of BLAKE3 over all before it |
//!
//! Under protection 1 everything from offset 15 + n to the checksum will be sealed. The file is made
//! once, whole, under another name, synced, then renamed; its mode is 0600. It is never rewritten in
//! place.

use cairn_keys::DeviceSecret;
use cairn_member::TableKey;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Name of the file in a device's folder.
pub const KEY_FILE_NAME: &str = "device.key";

const MAGIC: &[u8; 10] = b"CAIRN-KEY\0";
const VERSION: u16 = 1;
const CHECKSUM_CONTEXT: &str = "cairn 2026 key file checksum v1";
const CHECKSUM_BYTES: usize = 8;
const FILE_BYTES_MAX: u64 = 4096;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no device in {0}")]
    Missing(PathBuf),
    /// Records are there, and not the keys that open them.
    #[error("the records of a device are in {0}, but its key file {KEY_FILE_NAME} is not")]
    Lost(PathBuf),
    /// There is one, and it is never overwritten.
    #[error("a device is already in {0}")]
    Exists(PathBuf),
    /// Written by a newer program.
    #[error("the key file has format version {0}, which this program does not know")]
    TooNew(u16),
    /// It needs a passphrase, which this program cannot ask for yet.
    #[error("the key file is protected in a way ({0}) that this program does not know")]
    Protection(u8),
    /// Cut off, changed, or not a key file.
    #[error("the key file is damaged: {0}")]
    Damaged(&'static str),
    /// The disk said no.
    #[error("the key file could not be {doing}: {source}")]
    Disk {
        /// Read, written…
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a key file holds.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The device's keys.
    pub secret: DeviceSecret,
    /// What opens its tables.
    pub table_key: TableKey,
    /// The name it was given when it was made.
    pub name: String,
}

impl KeyFile {
    /// Writes it into `dir`, durable at return. Refuses to replace one.
    pub fn create(&self, dir: &Path) -> Result<(), KeyFileError> {
        let path = dir.join(KEY_FILE_NAME);
        if path.exists() {
            return Err(KeyFileError::Exists(dir.to_owned()));
        }
        let bytes = self.to_bytes();
        let disk = |doing| move |source| KeyFileError::Disk { doing, source };
        let temporary = dir.join("device.key.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary).map_err(disk("created"))?;
        file.write_all(&bytes).map_err(disk("written"))?;
        file.sync_all().map_err(disk("synced"))?;
        // A link fails where the name is taken, a rename would replace.
        std::fs::hard_link(&temporary, &path)
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => Err(error),
                _ => std::fs::rename(&temporary, &path),
            })
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::AlreadyExists => KeyFileError::Exists(dir.to_owned()),
                _ => KeyFileError::Disk {
                    doing: "named",
                    source,
                },
            })?;
        let _ = std::fs::remove_file(&temporary);
        File::open(dir)
            .and_then(|folder| folder.sync_all())
            .map_err(disk("synced in its folder"))
    }

    /// Reads the one in `dir`.
    pub fn read(dir: &Path) -> Result<Self, KeyFileError> {
        let path = dir.join(KEY_FILE_NAME);
        let file = File::open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => KeyFileError::Missing(dir.to_owned()),
            _ => KeyFileError::Disk {
                doing: "opened",
                source,
            },
        })?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|source| KeyFileError::Disk {
                doing: "read",
                source,
            })?;
        Self::from_bytes(&bytes)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(0);
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&*self.secret.to_bytes());
        out.extend_from_slice(&*self.table_key.to_bytes());
        let name = cut(&self.name, cairn_wire::limits::NAME_BYTES_MAX);
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let damaged = KeyFileError::Damaged;
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(damaged("it does not begin as one"))?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(damaged("cut off"))?;
        let version = u16::from_be_bytes(*version);
        if version > VERSION {
            return Err(KeyFileError::TooNew(version));
        }
        if version == 0 {
            return Err(damaged("version 0 does not exist"));
        }
        let (protection, rest) = rest.split_first().ok_or(damaged("cut off"))?;
        if *protection != 0 {
            return Err(KeyFileError::Protection(*protection));
        }
        let (needs, rest) = rest.split_first_chunk::<2>().ok_or(damaged("cut off"))?;
        if *needs != [0, 0] {
            return Err(damaged("no protection needs nothing"));
        }
        let (secret, rest) = rest.split_first_chunk::<64>().ok_or(damaged("cut off"))?;
        let (table_key, rest) = rest.split_first_chunk::<32>().ok_or(damaged("cut off"))?;
        let (name_bytes, rest) = rest.split_first().ok_or(damaged("cut off"))?;
        let name_bytes = *name_bytes as usize;
        if name_bytes > cairn_wire::limits::NAME_BYTES_MAX {
            return Err(damaged("the name is too long"));
        }
        if rest.len() != name_bytes + CHECKSUM_BYTES {
            return Err(damaged("its length does not fit its name's"));
        }
        let (name, sum) = rest.split_at(name_bytes);
        if sum != checksum(&bytes[..bytes.len() - CHECKSUM_BYTES]) {
            return Err(damaged("the checksum does not fit"));
        }
        Ok(Self {
            secret: DeviceSecret::from_bytes(secret),
            table_key: TableKey::from_bytes(table_key),
            name: std::str::from_utf8(name)
                .map_err(|_| damaged("the name is not text"))?
                .to_owned(),
        })
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = cairn_wire::hash::derive(CHECKSUM_CONTEXT, &[bytes]);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash[..CHECKSUM_BYTES]);
    sum
}

/// The longest beginning of `text` that fits `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> KeyFile {
        KeyFile {
            secret: DeviceSecret::from_bytes(&[3; 64]),
            table_key: TableKey::from_bytes(&[4; 32]),
            name: "T7 Delta".to_owned(),
        }
    }

    #[test]
    fn a_key_file_reads_back_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            KeyFile::read(dir.path()),
            Err(KeyFileError::Missing(_))
        ));
        file().create(dir.path()).unwrap();
        let again = KeyFile::read(dir.path()).unwrap();
        assert_eq!(again.secret.device(), file().secret.device());
        assert_eq!(again.name, "T7 Delta");
        assert_eq!(*again.table_key.to_bytes(), [4; 32]);
        assert!(matches!(
            file().create(dir.path()),
            Err(KeyFileError::Exists(_))
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        file().create(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join(KEY_FILE_NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn every_truncation_and_flipped_bit_is_refused() {
        let bytes = file().to_bytes();
        for at in 0..bytes.len() {
            assert!(KeyFile::from_bytes(&bytes[..at]).is_err(), "length {at}");
            let mut bent = bytes.to_vec();
            bent[at] ^= 1;
            assert!(KeyFile::from_bytes(&bent).is_err(), "byte {at}");
        }
        let mut newer = bytes.to_vec();
        newer[11] = 2;
        assert!(matches!(
            KeyFile::from_bytes(&newer),
            Err(KeyFileError::TooNew(2))
        ));
        newer[11] = 1;
        newer[12] = 1;
        assert!(matches!(
            KeyFile::from_bytes(&newer),
            Err(KeyFileError::Protection(1))
        ));
    }
}
