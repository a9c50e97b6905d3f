//! Key files of a relay: text, so that a person can print one, move it and see what it is.
//!
//! ```text
//! # any number of lines for people
//! cairn-relay-key 1 authority unprotected
//! 64 hexadecimal digits of the secret
//! 16 hexadecimal digits: first 8 bytes of BLAKE3 over the line of the kind and the secret
//! ```
//!
//! The last word of the first line leaves room for a passphrase. A key file is written once, whole,
//! with mode 0600, and never replaced.

use crate::folder;
use cairn_wire::hash;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const WORD: &str = "cairn-relay-key";
const VERSION: u32 = 1;
const PROTECTION: &str = "unprotected";
const CHECKSUM_CONTEXT: &str = "cairn 2026 relay key file checksum v1";
const CHECKSUM_BYTES: usize = 8;
pub(crate) const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Whose secret a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The relay's device key: Ed25519 seed, X25519 secret.
    Relay,
    /// The centre's device key, then the key of its tables.
    Centre,
    /// The authority's Ed25519 seed.
    Authority,
    /// The recovery key's Ed25519 seed.
    Recovery,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Centre => "centre",
            Self::Authority => "authority",
            Self::Recovery => "recovery",
        }
    }
}

/// Why a key file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file {path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was made by a newer Cairn, or is protected in a way that this one does not know.
    #[error("the key file {0} is of a kind that this version does not know; update Cairn")]
    Newer(PathBuf),
    /// Cut off, changed, or another file.
    #[error("the key file {path} is damaged: {why}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// Writes a secret of a kind, with lines for people above it.
pub fn create(path: &Path, kind: Kind, secret: &[u8], words: &str) -> Result<(), KeyFileError> {
    let mut text = Zeroizing::new(String::new());
    for line in words.lines() {
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
    }
    let head = format!("{WORD} {VERSION} {} {PROTECTION}", kind.word());
    let sum = checksum(&head, secret);
    text.push_str(&head);
    text.push('\n');
    text.push_str(&Zeroizing::new(HEXLOWER.encode(secret)));
    text.push('\n');
    text.push_str(&HEXLOWER.encode(&sum));
    text.push('\n');
    folder::write_once(path, text.as_bytes()).map_err(|source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    })
}

/// Reads the secret of a kind, exactly `N` bytes.
pub fn read<const N: usize>(path: &Path, kind: Kind) -> Result<Zeroizing<[u8; N]>, KeyFileError> {
    let disk = |source| KeyFileError::Disk {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(disk)?.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::Damaged {
            path: path.to_owned(),
            why: "it is far too long",
        });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(disk)?);
    parse(&text, path, kind)
}

/// Reads the secret of a kind out of the text of a file that is called `path`.
pub(crate) fn parse<const N: usize>(
    text: &str,
    path: &Path,
    kind: Kind,
) -> Result<Zeroizing<[u8; N]>, KeyFileError> {
    let damaged = |why| KeyFileError::Damaged {
        path: path.to_owned(),
        why,
    };
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let head = lines.next().ok_or(damaged("it is empty"))?;
    match head.split(' ').collect::<Vec<_>>().as_slice() {
        [WORD, version, word, protection] => {
            if *version != VERSION.to_string() || *protection != PROTECTION {
                return Err(KeyFileError::Newer(path.to_owned()));
            }
            if *word != kind.word() {
                return Err(damaged("it holds another key"));
            }
        }
        _ => return Err(damaged("it does not begin as one")),
    }
    let mut hexadecimal = |why| {
        let line = lines.next().ok_or(damaged(why))?;
        let bytes = HEXLOWER.decode(line.as_bytes());
        bytes.map(Zeroizing::new).map_err(|_| damaged(why))
    };
    let secret = hexadecimal("the secret is not whole")?;
    let sum = hexadecimal("the checksum is not whole")?;
    if *sum != checksum(head, &secret) {
        return Err(damaged("the checksum does not fit"));
    }
    let exact = <[u8; N]>::try_from(secret.as_slice());
    exact
        .map(Zeroizing::new)
        .map_err(|_| damaged("the secret has another length"))
}

fn checksum(head: &str, secret: &[u8]) -> Vec<u8> {
    hash::derive(CHECKSUM_CONTEXT, &[head.as_bytes(), secret])[..CHECKSUM_BYTES].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_file_reads_back_is_private_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.key");
        create(&path, Kind::Authority, &[7; 32], "Keep this.\nOffline.").unwrap();
        assert_eq!(*read::<32>(&path, Kind::Authority).unwrap(), [7; 32]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(create(&path, Kind::Authority, &[8; 32], "").is_err());
        assert_eq!(*read::<32>(&path, Kind::Authority).unwrap(), [7; 32]);
    }

    #[test]
    fn another_kind_length_version_or_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.key");
        create(&path, Kind::Authority, &[7; 32], "").unwrap();
        assert!(read::<32>(&path, Kind::Recovery).is_err());
        assert!(read::<64>(&path, Kind::Authority).is_err());
        let text = std::fs::read_to_string(&path).unwrap();
        let newer = text.replacen(" 1 ", " 2 ", 1);
        std::fs::write(&path, newer).unwrap();
        let error = read::<32>(&path, Kind::Authority).unwrap_err();
        assert!(matches!(error, KeyFileError::Newer(_)), "{error}");
        for at in 0..text.trim_end().len() {
            let mut bent = text.clone().into_bytes();
            bent[at] ^= 1;
            std::fs::write(&path, &bent).unwrap();
            assert!(read::<32>(&path, Kind::Authority).is_err(), "byte {at}");
            std::fs::write(&path, &text.as_bytes()[..at]).unwrap();
            assert!(read::<32>(&path, Kind::Authority).is_err(), "length {at}");
        }
    }
}
