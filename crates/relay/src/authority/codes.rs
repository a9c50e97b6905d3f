//! Joining codes that were issued, a file each beside the authority's key.
//!
//! A file: version (1 byte, 1) ‖ length of the record (2 bytes, big-endian) ‖ the record
//! ([`IssuedCode::to_bytes`], with its checksum) ‖ the name that ops gave, sealed under the programme
//! key like an outbox frame, or nothing. How often a code was used stands in the authority's log.

use crate::folder;
use cairn_keys::enrolment::CodeId;
use cairn_keys::sealing::{open_outbox, outbox_header, seal_outbox};
use cairn_keys::{IssuedCode, Keyring, Role};
use cairn_wire::{ScopeId, limits};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const EXTENSION: &str = "code";
const FILE_BYTES_MAX: u64 = limits::ISSUED_CODE_BYTES_MAX as u64 + 1024;

/// A code's file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct CodeFileError {
    path: PathBuf,
    source: std::io::Error,
}

/// A code, for ops to hand to one device or to several.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// What a device joins with. Secret.
    pub text: Zeroizing<String>,
    /// What members by it become.
    pub role: Role,
    /// How many members it makes at most.
    pub uses: u32,
    /// When it ends, seconds since 1970 by the authority's clock.
    pub expires: u64,
    /// Scopes that did not exist before.
    pub scopes_made: Vec<String>,
}

pub(super) struct Kept {
    pub(super) issued: IssuedCode,
    label: Vec<u8>,
}

impl Kept {
    /// The name that ops gave.
    pub(super) fn label(&self, keyring: &Keyring) -> Option<String> {
        let number = outbox_header(&self.label).ok()?.key_number;
        let key = keyring.get(&ScopeId::AUTHORITY, number)?;
        let text = open_outbox(&self.label, key).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

pub(super) struct Codes {
    folder: PathBuf,
    by_id: BTreeMap<CodeId, Kept>,
}

impl Codes {
    /// Reads all there are. One that does not read is left alone: it lets nobody in.
    pub(super) fn open(folder: &Path) -> Result<Self, CodeFileError> {
        let fault = |source| CodeFileError {
            path: folder.to_owned(),
            source,
        };
        folder::make_private(folder).map_err(fault)?;
        let mut by_id = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != EXTENSION)
            {
                continue;
            }
            match read(&path) {
                Some(kept) => {
                    by_id.insert(kept.issued.id, kept);
                }
                None => tracing::warn!(file = %path.display(), "a joining code does not read"),
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            by_id,
        })
    }

    pub(super) fn get(&self, id: &CodeId) -> Option<&Kept> {
        self.by_id.get(id)
    }

    /// Keeps a code; durable at return.
    pub(super) fn add(
        &mut self,
        issued: IssuedCode,
        label: Option<&str>,
        keyring: &Keyring,
    ) -> Result<(), CodeFileError> {
        let label = match (label, keyring.newest(&ScopeId::AUTHORITY)) {
            (Some(label), Some(key)) => seal_outbox(key, 1, label.as_bytes()),
            _ => Vec::new(),
        };
        let record = issued.to_bytes();
        let mut bytes = Zeroizing::new(vec![VERSION]);
        // Bounded by its own limit, far below 64 KiB.
        bytes.extend_from_slice(&(record.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&label);
        let mut name = String::new();
        // Writing to a String cannot fail.
        let _ = cairn_wire::ids::write_hex(&issued.id.0, &mut name);
        let path = self.folder.join(name).with_extension(EXTENSION);
        folder::write_once(&path, &bytes).map_err(|source| CodeFileError { path, source })?;
        self.by_id.insert(issued.id, Kept { issued, label });
        Ok(())
    }
}

fn read(path: &Path) -> Option<Kept> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let bytes = Zeroizing::new(std::fs::read(path).ok()?);
    let (version, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (record, label) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    if *version != VERSION {
        return None;
    }
    Some(Kept {
        issued: IssuedCode::parse(record).ok()?,
        label: label.to_vec(),
    })
}
