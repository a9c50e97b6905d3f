//! The batch: what an entry's payload holds when opened, many changes in few bytes.
//!
//! Only what cannot be derived is stored: a change's checksum, actor and, for a root, document id
//! follow from the entry's author and scope, so a change whose actor is not as derived cannot even
//! be written down. Hashes and ids, which do not compress, stand in tables outside the compressed
//! part. The layout is `proto/batch.md`.
//!
//! A malformed change comes back as such and takes none of the others with it; only damage to the
//! framing itself, which no honest writer makes and the entry's signature would catch, loses the
//! batch.

use crate::change::Authored;
use crate::chunk::{ChangeParts, Chunk, check_kind};
use crate::columns::{Reader, write_unsigned};
use crate::{RULES_VERSION, Rule, operations};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId, limits};
use std::collections::HashMap;
use std::hash::Hash;

/// The level at which entries are sealed.
pub const SEALING_LEVEL: i32 = 12;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Why a payload is not a batch. The fault of its author, or of a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A rules version that is not known here. The entry is kept; a newer Cairn opens it.
    #[error("the batch is of rules version {0}, which is not known here")]
    Version(u8),
    /// A marker that names no way of compressing.
    #[error("the batch is compressed in an unknown way ({0})")]
    Marker(u8),
    /// The compressed part is not one frame of a declared size within the limit.
    #[error("the batch's compressed part is malformed or over the limit")]
    Compression,
    /// A table or count is cut off, over its limit or not in its shortest form.
    #[error("the batch's framing is malformed")]
    Framing,
    /// Bytes are left over.
    #[error("the batch has bytes too many")]
    Trailing,
}

impl From<Rule> for BatchError {
    fn from(_: Rule) -> Self {
        Self::Framing
    }
}

/// What proves a document's id: with scope and author it makes the id of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPreimage {
    /// The document's kind.
    pub kind: String,
    /// The nonce of the command that made the document.
    pub nonce: [u8; 8],
}

/// A change as it came out of a batch; not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedChange {
    /// Document it is for.
    pub document: DocumentId,
    /// For a document's first change: what proves the document's id.
    pub root: Option<RootPreimage>,
    /// Nonce of the command that made it.
    pub nonce: [u8; 8],
    /// The change chunk.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
}

/// A place in a batch where no change could be made out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("change {at} of the batch is malformed: {rule}")]
pub struct MalformedChange {
    /// Which change of the batch, from 0.
    pub at: usize,
    /// The rule that it breaks.
    pub rule: Rule,
}

/// A batch and the changes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    /// The payload to seal.
    pub bytes: Vec<u8>,
    /// The changes in it, in their order.
    pub hashes: Vec<ChangeHash>,
}

impl From<&Authored> for OpenedChange {
    fn from(authored: &Authored) -> Self {
        Self {
            document: authored.document,
            root: authored.kind.clone().map(|kind| RootPreimage {
                kind,
                nonce: authored.nonce,
            }),
            nonce: authored.nonce,
            bytes: authored.bytes.clone(),
            hash: authored.hash,
        }
    }
}

impl From<OpenedChange> for Authored {
    fn from(opened: OpenedChange) -> Self {
        Self {
            document: opened.document,
            kind: opened.root.map(|root| root.kind),
            nonce: opened.nonce,
            bytes: opened.bytes,
            hash: opened.hash,
        }
    }
}

/// Opens a batch that `device` sealed in `scope`.
pub fn decode(
    bytes: &[u8],
    scope: &ScopeId,
    device: &DeviceKey,
) -> Result<Vec<Result<OpenedChange, MalformedChange>>, BatchError> {
    if bytes.len() > limits::ENTRY_PAYLOAD_BYTES_MAX {
        return Err(BatchError::Framing);
    }
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if version != RULES_VERSION {
        return Err(BatchError::Version(version));
    }
    let marker = reader.byte()?;
    let tables = Tables::read(&mut reader)?;
    match marker {
        PLAIN => Opener::new(scope, device, &tables).open(reader.rest()),
        ZSTD => Opener::new(scope, device, &tables).open(&inflate(reader.rest())?),
        other => Err(BatchError::Marker(other)),
    }
}

/// Packs changes by one author in one scope into as few batches as fit, in their order.
///
/// `payload_bytes_max` is that of an entry without what sealing adds. A change that passed the
/// pre-flight fits into any batch of more than 52 KiB alone.
///
/// Fails where bytes are not a change at all, which never happens to what [`crate::change`] made.
pub fn pack(
    changes: &[Authored],
    payload_bytes_max: usize,
    level: i32,
) -> Result<Vec<PackedBatch>, Rule> {
    let claims = changes
        .iter()
        .map(|change| Ok(operations::claimed(ChangeParts::of(&change.bytes)?.after())))
        .collect::<Result<Vec<_>, Rule>>()?;
    let mut batches = Vec::new();
    let mut rest = changes;
    // Payload bytes for each raw byte, in thousandths: a first guess, then what was measured.
    let mut ratio = 300;
    while !rest.is_empty() {
        let within = count_claiming(claims.get(changes.len() - rest.len()..).unwrap_or(&[]));
        let next = rest.get(..within).unwrap_or(rest);
        let (batch, taken) = pack_one(next, payload_bytes_max, level, &mut ratio)?;
        batches.push(batch);
        rest = rest.get(taken..).unwrap_or(&[]);
    }
    Ok(batches)
}

/// Tries at one batch: sizes are guessed from the ratio so far, so few frames are made in vain.
const TRIES: usize = 4;

fn pack_one(
    changes: &[Authored],
    payload_bytes_max: usize,
    level: i32,
    ratio: &mut usize,
) -> Result<(PackedBatch, usize), Rule> {
    let mut fitting: Option<(Vec<u8>, usize)> = None;
    let mut too_many = changes.len().min(limits::BATCH_CHANGES_MAX) + 1;
    for _ in 0..TRIES {
        let at_least = fitting.as_ref().map_or(0, |(_, count)| *count);
        let wanted = payload_bytes_max * 1000 / (*ratio).max(1);
        let count = count_within(changes, wanted.min(limits::BATCH_RAW_BYTES_MAX))
            .min(too_many - 1)
            .max(1);
        if count <= at_least {
            break;
        }
        let (payload, raw) = encode(changes.get(..count).unwrap_or(changes), level)?;
        *ratio = (payload.len() * 1000 / raw.max(1)).max(1) + 1;
        if payload.len() <= payload_bytes_max && raw <= limits::BATCH_RAW_BYTES_MAX {
            let full = payload.len() * 100 >= payload_bytes_max * 93;
            fitting = Some((payload, count));
            if full {
                break;
            }
        } else {
            too_many = count;
            *ratio += *ratio / 40;
        }
    }
    // Where no try fitted, halves are taken; one change alone always fits.
    let mut count = too_many;
    let (payload, count) = loop {
        if let Some(fitting) = fitting {
            break fitting;
        }
        count = (count / 2).max(1);
        let (payload, raw) = encode(changes.get(..count).unwrap_or(changes), level)?;
        let fits = payload.len() <= payload_bytes_max && raw <= limits::BATCH_RAW_BYTES_MAX;
        if fits || count == 1 {
            fitting = Some((payload, count));
        }
    };
    let hashes = changes
        .iter()
        .take(count)
        .map(|change| change.hash)
        .collect();
    Ok((
        PackedBatch {
            bytes: payload,
            hashes,
        },
        count,
    ))
}

/// How many changes from the front, at least one, claim together what one batch may.
fn count_claiming(claims: &[u64]) -> usize {
    let mut sum = 0u64;
    let count = claims.iter().take_while(|claim| {
        sum = sum.saturating_add(**claim);
        sum <= limits::BATCH_OPERATIONS_MAX
    });
    count.count().max(1)
}

/// How many changes from the front have together at most so many bytes.
fn count_within(changes: &[Authored], bytes_max: usize) -> usize {
    let mut sum = 0;
    changes
        .iter()
        .take_while(|change| {
            sum += change.bytes.len();
            sum <= bytes_max
        })
        .count()
}

/// The payload, and how many bytes its tables and its part that may be compressed have raw.
fn encode(changes: &[Authored], level: i32) -> Result<(Vec<u8>, usize), Rule> {
    let mut tables = TableWriter::default();
    let body = tables.body(changes)?;
    let mut payload = vec![RULES_VERSION, PLAIN];
    tables.write(&mut payload);
    let raw = payload.len() + body.len();
    match zstd::bulk::compress(&body, level) {
        Ok(frame) if frame.len() < body.len() => {
            if let Some(marker) = payload.get_mut(1) {
                *marker = ZSTD;
            }
            payload.extend_from_slice(&frame);
        }
        _ => payload.extend_from_slice(&body),
    }
    Ok((payload, raw))
}

/// One zstd frame, its declared size checked before anything is inflated.
fn inflate(frame: &[u8]) -> Result<Vec<u8>, BatchError> {
    let declared = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= limits::BATCH_RAW_BYTES_MAX)
        .ok_or(BatchError::Compression)?;
    match zstd::zstd_safe::find_frame_compressed_size(frame) {
        Ok(len) if len == frame.len() => {}
        Ok(len) if len < frame.len() => return Err(BatchError::Trailing),
        _ => return Err(BatchError::Compression),
    }
    let raw = zstd::bulk::decompress(frame, declared).map_err(|_| BatchError::Compression)?;
    if raw.len() == declared {
        Ok(raw)
    } else {
        Err(BatchError::Compression)
    }
}

/// What is tabled: nonces, kinds, ids of documents whose root is not in the batch, hashes of
/// dependencies that are not in the batch.
#[derive(Default)]
struct Tables {
    nonces: Vec<[u8; 8]>,
    kinds: Vec<String>,
    documents: Vec<DocumentId>,
    dependencies: Vec<ChangeHash>,
}

impl Tables {
    fn read(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        Ok(Self {
            nonces: read_table(reader, 8, |reader| reader.array())?,
            kinds: read_table(reader, 2, |reader| {
                let len = reader.length()?;
                let bytes = reader.take(len)?;
                std::str::from_utf8(bytes)
                    .map(str::to_owned)
                    .map_err(|_| Rule::Kind)
            })?,
            documents: read_table(reader, DocumentId::LEN, |reader| {
                reader.array().map(DocumentId)
            })?,
            dependencies: read_table(reader, ChangeHash::LEN, |reader| {
                reader.array().map(ChangeHash)
            })?,
        })
    }
}

/// A count, then so many items of at least `item_bytes_min` bytes each.
fn read_table<T>(
    reader: &mut Reader<'_>,
    item_bytes_min: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Rule>,
) -> Result<Vec<T>, BatchError> {
    let count = reader.length()?;
    if count > reader.rest().len() / item_bytes_min {
        return Err(BatchError::Framing);
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

struct Opener<'a> {
    scope: &'a ScopeId,
    device: &'a DeviceKey,
    tables: &'a Tables,
    /// Documents whose roots stood earlier in the batch.
    made: Vec<Option<DocumentId>>,
    /// Hashes of the changes before, `None` where malformed.
    hashes: Vec<Option<ChangeHash>>,
    /// Operations that the changes before claim.
    claimed: u64,
}

impl<'a> Opener<'a> {
    fn new(scope: &'a ScopeId, device: &'a DeviceKey, tables: &'a Tables) -> Self {
        Self {
            scope,
            device,
            tables,
            made: Vec::new(),
            hashes: Vec::new(),
            claimed: 0,
        }
    }

    fn open(
        mut self,
        body: &[u8],
    ) -> Result<Vec<Result<OpenedChange, MalformedChange>>, BatchError> {
        let mut reader = Reader::new(body);
        let count = reader.length()?;
        if count > limits::BATCH_CHANGES_MAX {
            return Err(BatchError::Framing);
        }
        let subjects = read_numbers(&mut reader, count)?;
        let nonces = read_numbers(&mut reader, count)?;
        let dependency_counts = read_numbers(&mut reader, count)?;
        let dependencies = sum(&dependency_counts, reader.rest().len())?;
        let dependencies = read_numbers(&mut reader, dependencies)?;
        let lengths = read_numbers(&mut reader, count)?;
        if sum(&lengths, reader.rest().len())? != reader.rest().len() {
            return Err(BatchError::Trailing);
        }

        let mut named = dependencies.as_slice();
        let mut opened = Vec::with_capacity(count);
        for at in 0..count {
            let number = |numbers: &[usize]| numbers.get(at).copied().ok_or(BatchError::Framing);
            let after = reader.take(number(&lengths)?)?;
            let (own, rest) = named
                .split_at_checked(number(&dependency_counts)?)
                .ok_or(BatchError::Framing)?;
            named = rest;
            let change = self.change(number(&subjects)?, number(&nonces)?, own, after);
            self.hashes
                .push(change.as_ref().ok().map(|change| change.hash));
            opened.push(change.map_err(|rule| MalformedChange { at, rule }));
        }
        Ok(opened)
    }

    fn change(
        &mut self,
        subject: usize,
        nonce: usize,
        dependencies: &[usize],
        after: &[u8],
    ) -> Result<OpenedChange, Rule> {
        // The number of a root's document is taken before anything can fail, so that what is
        // malformed shifts no numbers.
        let is_root = subject & 1 == 1;
        let made_at = self.made.len();
        if is_root {
            self.made.push(None);
        }
        let nonce = *self.tables.nonces.get(nonce).ok_or(Rule::Truncated)?;
        if dependencies.len() > limits::CHANGE_DEPENDENCIES_MAX {
            return Err(Rule::TooManyDependencies);
        }
        let dependencies = dependencies
            .iter()
            .map(|reference| self.dependency(*reference))
            .collect::<Result<Vec<_>, _>>()?;
        if after.len() > limits::CHANGE_BYTES_MAX {
            return Err(Rule::TooLong);
        }
        let claimed = self.claimed.saturating_add(operations::claimed(after));
        if claimed > limits::BATCH_OPERATIONS_MAX {
            return Err(Rule::TooManyOperations);
        }
        self.claimed = claimed;
        let parts = ChangeParts::new(&dependencies, after);
        let (document, root) = if is_root {
            let kind = self.tables.kinds.get(subject >> 1).ok_or(Rule::Kind)?;
            check_kind(kind)?;
            let document = parts.document_id(self.scope, kind, self.device, &nonce);
            if let Some(made) = self.made.get_mut(made_at) {
                *made = Some(document);
            }
            let kind = kind.clone();
            (document, Some(RootPreimage { kind, nonce }))
        } else {
            (self.document(subject >> 1)?, None)
        };
        let actor = parts.actor(self.scope, &document, self.device, &nonce);
        let (bytes, hash) = parts.assemble(&actor);
        Ok(OpenedChange {
            document,
            root,
            nonce,
            bytes,
            hash,
        })
    }

    /// Numbers from 0 are the table's; those above, the documents made in the batch so far.
    fn document(&self, number: usize) -> Result<DocumentId, Rule> {
        match number.checked_sub(self.tables.documents.len()) {
            None => self.tables.documents.get(number).copied(),
            Some(made) => self.made.get(made).copied().flatten(),
        }
        .ok_or(Rule::DocumentId)
    }

    /// Numbers from 0 are the table's; those above count back from the change before.
    fn dependency(&self, number: usize) -> Result<ChangeHash, Rule> {
        match number.checked_sub(self.tables.dependencies.len()) {
            None => self.tables.dependencies.get(number).copied(),
            Some(back) => self.hashes.iter().rev().nth(back).copied().flatten(),
        }
        .ok_or(Rule::UnknownDependency)
    }
}

/// So many numbers; each takes at least a byte.
fn read_numbers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<usize>, BatchError> {
    if count > reader.rest().len() {
        return Err(BatchError::Framing);
    }
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(reader.length()?);
    }
    Ok(numbers)
}

fn sum(numbers: &[usize], max: usize) -> Result<usize, BatchError> {
    numbers
        .iter()
        .try_fold(0usize, |sum, number| sum.checked_add(*number))
        .filter(|sum| *sum <= max)
        .ok_or(BatchError::Framing)
}

/// Items in order of their first use, and where each stands.
struct Interned<T> {
    items: Vec<T>,
    positions: HashMap<T, usize>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            positions: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn position(&mut self, item: &T) -> usize {
        if let Some(position) = self.positions.get(item) {
            return *position;
        }
        let position = self.items.len();
        self.items.push(item.clone());
        self.positions.insert(item.clone(), position);
        position
    }
}

#[derive(Default)]
struct TableWriter {
    nonces: Interned<[u8; 8]>,
    kinds: Interned<String>,
    documents: Interned<DocumentId>,
    dependencies: Interned<ChangeHash>,
}

/// A reference that can be numbered only when its table is whole.
enum Reference {
    Tabled(usize),
    Behind(usize),
}

impl Reference {
    fn number(&self, table: usize) -> usize {
        match self {
            Self::Tabled(position) => *position,
            Self::Behind(position) => table + position,
        }
    }
}

impl TableWriter {
    /// The part that may be compressed; fills the tables on the way.
    fn body(&mut self, changes: &[Authored]) -> Result<Vec<u8>, Rule> {
        let mut roots = 0;
        let mut made: HashMap<DocumentId, usize> = HashMap::new();
        let mut before: HashMap<ChangeHash, usize> = HashMap::new();
        let mut subjects = Vec::with_capacity(changes.len());
        let mut nonces = Vec::with_capacity(changes.len());
        let mut dependency_counts = Vec::with_capacity(changes.len());
        let mut dependencies = Vec::new();
        let mut bodies: Vec<&[u8]> = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let chunk = Chunk::split(&change.bytes)?;
            subjects.push(match &change.kind {
                Some(kind) => {
                    made.insert(change.document, roots);
                    roots += 1;
                    (true, Reference::Tabled(self.kinds.position(kind)))
                }
                None => (
                    false,
                    match made.get(&change.document) {
                        Some(made) => Reference::Behind(*made),
                        None => Reference::Tabled(self.documents.position(&change.document)),
                    },
                ),
            });
            nonces.push(self.nonces.position(&change.nonce));
            dependency_counts.push(chunk.dependencies.len());
            for dependency in &chunk.dependencies {
                dependencies.push(match before.get(dependency) {
                    Some(position) => Reference::Behind(at - 1 - position),
                    None => Reference::Tabled(self.dependencies.position(dependency)),
                });
            }
            bodies.push(chunk.parts.after());
            before.insert(change.hash, at);
        }

        let documents = self.documents.items.len();
        let hashes = self.dependencies.items.len();
        let mut body = Vec::new();
        let mut number = |number: usize| write_unsigned(&mut body, number as u64);
        number(changes.len());
        for (is_root, reference) in &subjects {
            number(reference.number(documents) << 1 | usize::from(*is_root));
        }
        nonces.into_iter().for_each(&mut number);
        dependency_counts.into_iter().for_each(&mut number);
        for reference in &dependencies {
            number(reference.number(hashes));
        }
        bodies.iter().map(|after| after.len()).for_each(&mut number);
        bodies
            .iter()
            .for_each(|after| body.extend_from_slice(after));
        Ok(body)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_unsigned(out, self.nonces.items.len() as u64);
        self.nonces
            .items
            .iter()
            .for_each(|nonce| out.extend_from_slice(nonce));
        write_unsigned(out, self.kinds.items.len() as u64);
        for kind in &self.kinds.items {
            write_unsigned(out, kind.len() as u64);
            out.extend_from_slice(kind.as_bytes());
        }
        write_unsigned(out, self.documents.items.len() as u64);
        self.documents
            .items
            .iter()
            .for_each(|document| out.extend_from_slice(&document.0));
        write_unsigned(out, self.dependencies.items.len() as u64);
        self.dependencies
            .items
            .iter()
            .for_each(|hash| out.extend_from_slice(&hash.0));
    }
}
