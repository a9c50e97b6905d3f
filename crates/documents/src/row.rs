//! Rows as bytes: what is kept of documents and changes. Private to a store, so a version byte is
//! all the compatibility they need: a store can be rebuilt from its segments.

use crate::Rule;
use crate::columns::{Reader, write_unsigned};
use crate::shelf::Provenance;
use cairn_wire::{
    AuthorityRef, ChangeHash, DeviceKey, DocumentId, EntryId, Incarnation, Lane, LogId, ScopeId,
    limits,
};

const VERSION: u8 = 1;

/// Key of a document's row, and prefix of its changes' keys.
pub(crate) fn document_key(scope: &ScopeId, document: &DocumentId) -> Vec<u8> {
    [&scope.0[..], &document.0].concat()
}

pub(crate) fn change_key(scope: &ScopeId, document: &DocumentId, hash: &ChangeHash) -> Vec<u8> {
    [&scope.0[..], &document.0, &hash.0].concat()
}

/// Prefix of the keys of what waits for that dependency.
pub(crate) fn awaited_prefix(
    scope: &ScopeId,
    document: &DocumentId,
    dependency: &ChangeHash,
) -> Vec<u8> {
    change_key(scope, document, dependency)
}

pub(crate) fn awaited_key(
    scope: &ScopeId,
    document: &DocumentId,
    dependency: &ChangeHash,
    hash: &ChangeHash,
) -> Vec<u8> {
    [&scope.0[..], &document.0, &dependency.0, &hash.0].concat()
}

pub(crate) fn waiting_key(scope: &ScopeId, device: &DeviceKey) -> Vec<u8> {
    [&scope.0[..], &device.0].concat()
}

/// The last 32 bytes of a key, which name a change.
pub(crate) fn hash_of_key(key: &[u8]) -> Option<ChangeHash> {
    key.last_chunk().copied().map(ChangeHash)
}

/// The document of a key that begins with a scope and a document.
pub(crate) fn document_of_key(key: &[u8]) -> Option<DocumentId> {
    DocumentId::from_slice(key.get(ScopeId::LEN..ScopeId::LEN + DocumentId::LEN)?)
}

/// A document as last saved.
pub(crate) struct DocumentRow {
    pub(crate) kind: String,
    pub(crate) root: ChangeHash,
    pub(crate) creator: DeviceKey,
    /// Whether a change of it is stuck, so that it is rebuilt whenever one arrives.
    pub(crate) stuck: bool,
    pub(crate) saved: Vec<u8>,
}

impl DocumentRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.saved.len() + 96);
        out.push(VERSION);
        write_bytes(&mut out, self.kind.as_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.creator.0);
        out.push(u8::from(self.stuck));
        out.extend_from_slice(&self.saved);
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = versioned(bytes)?;
        Some(Self {
            kind: read_text(&mut reader)?,
            root: ChangeHash(reader.array().ok()?),
            creator: DeviceKey(reader.array().ok()?),
            stuck: reader.byte().ok()? == 1,
            saved: reader.rest().to_vec(),
        })
    }
}

/// What is kept of an applied change beside the document.
#[derive(Clone)]
pub(crate) struct ChangeRow {
    pub(crate) device: DeviceKey,
    pub(crate) nonce: [u8; 8],
    pub(crate) provenances: Vec<Provenance>,
}

impl ChangeRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.write_to(&mut out);
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_from(&mut versioned(bytes)?)
    }

    /// Adds where the change stands; whether that was news. Of too many the first are kept, in
    /// their own order, so that it does not matter in which they came.
    pub(crate) fn add(&mut self, provenance: &Provenance) -> bool {
        let Err(at) = self.provenances.binary_search(provenance) else {
            return false;
        };
        if at >= limits::PROVENANCES_MAX {
            return false;
        }
        self.provenances.insert(at, provenance.clone());
        self.provenances.truncate(limits::PROVENANCES_MAX);
        true
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.device.0);
        out.extend_from_slice(&self.nonce);
        write_unsigned(out, self.provenances.len() as u64);
        for provenance in &self.provenances {
            write_provenance(out, provenance);
        }
    }

    fn read_from(reader: &mut Reader<'_>) -> Option<Self> {
        let device = DeviceKey(reader.array().ok()?);
        let nonce = reader.array().ok()?;
        let count = reader.length().ok()?;
        if count > limits::PROVENANCES_MAX {
            return None;
        }
        let mut provenances = Vec::with_capacity(count);
        for _ in 0..count {
            provenances.push(read_provenance(reader, device)?);
        }
        Some(Self {
            device,
            nonce,
            provenances,
        })
    }
}

/// Why a change is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    Waiting(ChangeHash),
    Quarantined(Rule),
    Stuck,
}

/// A change that is not applied. Quarantined ones leave their bytes to the entry they stand in.
#[derive(Clone)]
pub(crate) struct HeldRow {
    pub(crate) holding: Holding,
    pub(crate) change: ChangeRow,
    pub(crate) kind: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl HeldRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match &self.holding {
            Holding::Waiting(dependency) => {
                out.push(0);
                out.extend_from_slice(&dependency.0);
            }
            Holding::Quarantined(rule) => {
                out.push(1);
                write_bytes(&mut out, rule.code().as_bytes());
            }
            Holding::Stuck => out.push(2),
        }
        self.change.write_to(&mut out);
        write_bytes(&mut out, self.kind.as_deref().unwrap_or("").as_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = versioned(bytes)?;
        let holding = match reader.byte().ok()? {
            0 => Holding::Waiting(ChangeHash(reader.array().ok()?)),
            1 => Holding::Quarantined(Rule::from_code(&read_text(&mut reader)?)?),
            2 => Holding::Stuck,
            _ => return None,
        };
        let change = ChangeRow::read_from(&mut reader)?;
        let kind = read_text(&mut reader)?;
        Some(Self {
            holding,
            change,
            kind: (!kind.is_empty()).then_some(kind),
            bytes: reader.rest().to_vec(),
        })
    }
}

/// How much of one author waits in one scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WaitingRow {
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

impl WaitingRow {
    pub(crate) fn write(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        write_unsigned(&mut out, self.changes);
        write_unsigned(&mut out, self.bytes);
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = versioned(bytes)?;
        Some(Self {
            changes: reader.unsigned().ok()?,
            bytes: reader.unsigned().ok()?,
        })
    }
}

fn versioned(bytes: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    (reader.byte().ok()? == VERSION).then_some(reader)
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn read_text(reader: &mut Reader<'_>) -> Option<String> {
    let len = reader.length().ok()?;
    String::from_utf8(reader.take(len).ok()?.to_vec()).ok()
}

fn write_provenance(out: &mut Vec<u8>, provenance: &Provenance) {
    match provenance {
        Provenance::Outbox { .. } => out.push(0),
        Provenance::Entry {
            log,
            number,
            id,
            authority,
        } => {
            out.push(1);
            out.extend_from_slice(&log.scope.0);
            out.push(log.lane.as_byte());
            out.extend_from_slice(&log.incarnation.0);
            write_unsigned(out, *number);
            out.extend_from_slice(&id.0);
            write_unsigned(out, authority.height);
            out.extend_from_slice(&authority.id);
        }
    }
}

fn read_provenance(reader: &mut Reader<'_>, device: DeviceKey) -> Option<Provenance> {
    match reader.byte().ok()? {
        0 => Some(Provenance::Outbox { device }),
        1 => Some(Provenance::Entry {
            log: LogId {
                scope: ScopeId(reader.array().ok()?),
                lane: Lane::from_byte(reader.byte().ok()?)?,
                device,
                incarnation: Incarnation(reader.array().ok()?),
            },
            number: reader.unsigned().ok()?,
            id: EntryId(reader.array().ok()?),
            authority: AuthorityRef {
                height: reader.unsigned().ok()?,
                id: reader.array().ok()?,
            },
        }),
        _ => None,
    }
}
