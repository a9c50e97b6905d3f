//! Records as they read: every field's reading, every value that stands, and what is still open.
//!
//! A reading is a function of the document's changes and of what the caller knows about their
//! authors. Clocks and the order of arrival have no part in it.

mod growing;
mod plain;
mod skipped;
mod text;

use crate::geometry::{Bounds, Region};
use crate::layout;
use crate::lineage::Lineage;
use crate::schema::{self, Class, FieldType, Kind};
use crate::value::Value;
use automerge::{Automerge, ROOT, ReadDoc};
use cairn_wire::ids::{ChangeHash, DeviceKey, ScopeId};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

/// What the caller knows about a change: from signatures and membership, never from the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFacts {
    /// Who wrote it, as people know them.
    pub author: String,
    /// The device that signed it.
    pub device: DeviceKey,
    /// Whether its author is trusted (not revoked before it).
    pub verified: bool,
    /// Whether its author might decide in this scope when writing it.
    pub may_decide: bool,
    /// The device's clock, in seconds since 1970: shown, never compared.
    pub recorded_at_s: Option<i64>,
}

/// Where [`ChangeFacts`] come from.
pub trait Facts {
    /// The facts about one change.
    fn of(&self, change: &ChangeHash) -> ChangeFacts;
}

impl<F: Fn(&ChangeHash) -> ChangeFacts> Facts for F {
    fn of(&self, change: &ChangeHash) -> ChangeFacts {
        self(change)
    }
}

/// A document that is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has no change yet.
    #[error("the document is empty")]
    Empty,
    /// Its first change does not say what it is.
    #[error("the document does not say what kind of record it is")]
    NoKind,
    /// A change that is not in it was asked for.
    #[error("the document does not hold that state")]
    UnknownHeads,
}

/// A record, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its kind.
    pub kind: String,
    /// Its scope, where the record itself names it.
    pub scope: Option<ScopeId>,
    /// Its first change.
    pub root: ChangeHash,
    /// The state that was read, sorted.
    pub heads: Vec<ChangeHash>,
    /// Its fields by name (of maps: by path), those without any value left out; safety fields
    /// with a code are always there.
    pub fields: BTreeMap<String, FieldReading>,
    /// What people should know before they rely on it.
    pub flags: BTreeSet<Flag>,
    /// Whether somebody approved it, as it is or as it was.
    pub approval: Approval,
}

/// Whether a record was approved. An approval speaks of the heads that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Not yet.
    None,
    /// As it stands.
    Approved,
    /// In an earlier state; somebody changed it since, or without knowing.
    ChangedSince,
}

impl Approval {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Approved => "approved",
            Self::ChangedSince => "approved_changed_since",
        }
    }
}

/// Something to know before relying on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// At least part of its extent is only a circle round a place.
    ExtentNotSurveyed,
    /// It says no place at all.
    NoPlace,
    /// A ring crosses itself; it reads as the union of its loops.
    CrossesItself,
    /// It was withdrawn, and somebody who did not know, or did not agree, changed it.
    ChangedAfterWithdrawal,
    /// Somebody wrote over a field that is written once.
    Tampered,
    /// A change bears a date that no clock of this programme can have shown.
    ClockDoubtful,
    /// A value could not be read by this version, or comes from an author who is not verified.
    Unverified,
    /// A value in a safety field is unknown to this version and reads as the most dangerous.
    Unrecognised,
}

impl Flag {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExtentNotSurveyed => "extent_not_surveyed",
            Self::NoPlace => "no_place",
            Self::CrossesItself => "crosses_itself",
            Self::ChangedAfterWithdrawal => "changed_after_withdrawal",
            Self::Tampered => "tampered",
            Self::ClockDoubtful => "clock_doubtful",
            Self::Unverified => "unverified",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// A field, read.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldReading {
    /// How its values meet.
    pub class: Class,
    /// What it reads as. `Null` for a `reg` field in conflict: nobody wins silently.
    pub reads: Value,
    /// Land that it covers (perimeters).
    pub region: Option<Region>,
    /// The values that stand: for `haz`, those not superseded; for sets and logs, ticks and
    /// entries, and proposals to take some out. In an order that is the same everywhere.
    pub values: Vec<Shown>,
    /// Whether people said different things without knowing of each other.
    pub conflict: bool,
    /// Whether the reading is only what silence counts as.
    pub assumed: bool,
}

/// A value that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// By which people choose it: A, B, C …
    pub letter: String,
    /// The value.
    pub value: Value,
    /// The change it stands in.
    pub change: ChangeHash,
    /// Its key within a growing field.
    pub key: Option<String>,
    /// Who wrote it.
    pub by: String,
    /// The device that signed it.
    pub device: DeviceKey,
    /// That device's clock, seconds since 1970.
    pub recorded_at_s: Option<i64>,
    /// Whether its author is trusted.
    pub verified: bool,
    /// Whether it waits for a decision.
    pub proposal: bool,
    /// Whether it proposes to take this value out of a set or log.
    pub removes: bool,
    /// Whether it was written to settle something.
    pub decision: bool,
    /// Whether nobody wrote it: what the first change left out, or what evidence implies.
    pub implied: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Reads a record in its current state.
///
/// # Errors
///
/// Where the document is none.
pub fn read(document: &Automerge, facts: &impl Facts) -> Result<Record, ReadError> {
    read_beside(document, &[], facts)
}

/// Reads a record together with changes that belong to it and that the merge engine cannot apply
/// (stuck ones and what rests on them; decoded and past pre-flight): what they assert about
/// safety counts like what the document holds.
///
/// # Errors
///
/// Where the document is none.
pub fn read_beside(
    document: &Automerge,
    skipped: &[automerge::Change],
    facts: &impl Facts,
) -> Result<Record, ReadError> {
    Reader::new(document, skipped, facts)?.record()
}

/// Reads a record as it stood at `heads`.
///
/// # Errors
///
/// Where the document is none, or never had these heads.
pub fn read_at(
    document: &Automerge,
    heads: &[ChangeHash],
    facts: &impl Facts,
) -> Result<Record, ReadError> {
    let mut wanted: Vec<_> = heads
        .iter()
        .map(|head| automerge::ChangeHash(head.0))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut current = document.get_heads();
    current.sort_unstable();
    if wanted == current {
        return read(document, facts);
    }
    let then = document
        .fork_at(&wanted)
        .map_err(|_| ReadError::UnknownHeads)?;
    read(&then, facts)
}

impl Record {
    /// The definition of its kind, if this version knows it.
    #[must_use]
    pub fn definition(&self) -> Option<&'static Kind> {
        schema::kind(&self.kind)
    }

    /// The reading of a field; `Null` where nothing stands.
    #[must_use]
    pub fn reads(&self, field: &str) -> &Value {
        self.fields
            .get(field)
            .map_or(&Value::Null, |field| &field.reads)
    }

    /// Fields on which people disagree.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.fields.values().filter(|field| field.conflict).count()
    }

    /// Fields in which something waits for a decision.
    #[must_use]
    pub fn proposals(&self) -> usize {
        let proposal = |field: &&FieldReading| field.values.iter().any(|shown| shown.proposal);
        self.fields.values().filter(proposal).count()
    }

    /// Values that stand and whose authors are not verified; what they only imply is not counted.
    #[must_use]
    pub fn unverified(&self) -> usize {
        let shown = self.fields.values().flat_map(|field| &field.values);
        shown
            .filter(|shown| !shown.verified && !shown.implied)
            .count()
    }

    /// Whether it reads as withdrawn.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.reads("void").as_text() == Some("void")
    }

    /// The land it covers, if it says any.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        let region = self
            .fields
            .get("perimeter")
            .and_then(|field| field.region.as_ref());
        region.filter(|region| !region.is_empty())
    }

    /// The box round that land.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        self.region().and_then(Region::bounds)
    }

    /// The largest area that anybody reported, where several stand.
    #[must_use]
    pub fn area_reported_m2(&self) -> Option<u64> {
        let values = self.fields.get("area_reported").map(|field| &field.values);
        let areas = values.into_iter().flatten();
        areas
            .filter_map(|shown| u64::try_from(shown.value.as_int()?).ok())
            .max()
    }

    /// What a change says in this record, as far as it stands: for the answer that a command
    /// gives, "reads open; your value is a proposal".
    pub fn said_by(
        &self,
        change: &ChangeHash,
    ) -> impl Iterator<Item = (&str, &FieldReading, &Shown)> {
        self.fields.iter().flat_map(move |(name, field)| {
            let shown = field
                .values
                .iter()
                .filter(move |shown| shown.change == *change);
            shown.map(move |shown| (name.as_str(), field, shown))
        })
    }

    /// Whether a value stands in a field.
    #[must_use]
    pub fn stands(&self, field: &str, value: &Value) -> bool {
        let values = self.fields.get(field).map(|field| &field.values);
        values
            .into_iter()
            .flatten()
            .any(|shown| !shown.removes && shown.value == *value)
    }
}

/// What reading one document needs at hand.
struct Reader<'a, F> {
    document: &'a Automerge,
    facts: &'a F,
    lineage: Lineage,
    root: ChangeHash,
    known: BTreeMap<ChangeHash, ChangeFacts>,
    /// Root keys of the document.
    keys: BTreeSet<String>,
    text_edits: OnceCell<text::TextEdits>,
    skipped: skipped::Skipped,
}

impl<'a, F: Facts> Reader<'a, F> {
    fn new(
        document: &'a Automerge,
        skipped: &[automerge::Change],
        facts: &'a F,
    ) -> Result<Self, ReadError> {
        let lineage = Lineage::beside(document, skipped);
        let root = lineage.root().ok_or(ReadError::Empty)?;
        let known = lineage.changes().iter();
        let known = known.map(|change| (*change, facts.of(change))).collect();
        Ok(Self {
            document,
            facts,
            lineage,
            root,
            known,
            keys: document.keys(ROOT).collect(),
            text_edits: OnceCell::new(),
            skipped: skipped::assertions(document, skipped),
        })
    }

    fn record(self) -> Result<Record, ReadError> {
        let name = self.once("kind").map(|(value, _)| value);
        let Some(Value::Text(name)) = name else {
            return Err(ReadError::NoKind);
        };
        let kind = schema::kind(&name);
        let mut heads: Vec<ChangeHash> = self
            .document
            .get_heads()
            .iter()
            .map(|head| ChangeHash(head.0))
            .collect();
        heads.sort_unstable();
        let mut record = Record {
            kind: name,
            scope: None,
            root: self.root,
            heads,
            fields: BTreeMap::new(),
            flags: BTreeSet::new(),
            approval: Approval::None,
        };
        self.known_fields(kind, &mut record);
        self.unknown_fields(kind, &mut record);
        self.safety(kind, &mut record);
        self.extent(&mut record);
        self.flags(&mut record);
        record.approval = self.approval(&record);
        if let Value::Bytes(scope) = record.reads("scope") {
            record.scope = ScopeId::from_slice(scope);
        }
        Ok(record)
    }

    fn known_fields(&self, kind: Option<&'static Kind>, record: &mut Record) {
        for field in kind.into_iter().flat_map(Kind::fields) {
            let reading = match field.class {
                Class::Once => self.once_field(field, &mut record.flags),
                Class::Reg if field.keys.is_empty() => {
                    self.reg(&field.name, Some(&field.field_type))
                }
                Class::Reg => {
                    let prefix = format!("{}/", field.name);
                    let parts = self.keys.range(prefix.clone()..);
                    for key in parts.take_while(|key| key.starts_with(&prefix)) {
                        if let Some(reading) = self.reg(key, Some(&field.field_type)) {
                            record.fields.insert(key.clone(), reading);
                        }
                    }
                    None
                }
                Class::Text => self.text(&field.name),
                // Once the evidence is read.
                Class::Haz => None,
                Class::Set | Class::Log => {
                    let field_type = Some(&field.field_type);
                    let read = self.collection(&field.name, field.class, field.safety, field_type);
                    read.map(|reading| {
                        if field.waits {
                            waiting(reading)
                        } else {
                            reading
                        }
                    })
                }
            };
            if let Some(reading) = reading {
                record.fields.insert(field.name.clone(), reading);
            }
        }
    }

    /// What a newer version wrote: shown raw.
    fn unknown_fields(&self, kind: Option<&'static Kind>, record: &mut Record) {
        for key in &self.keys {
            let (name, growing) = match key.strip_prefix('+') {
                Some(name) => (name, true),
                None => (key.as_str(), false),
            };
            let base = name.split('/').next().unwrap_or(name);
            let known = kind.is_some_and(|kind| kind.field(base).is_some());
            if known || record.fields.contains_key(name) {
                continue;
            }
            let reading = if growing {
                self.collection(name, Class::Log, true, None)
            } else {
                self.text(name).or_else(|| self.reg(name, None))
            };
            if let Some(reading) = reading {
                record.fields.insert(name.to_owned(), reading);
            }
        }
    }

    /// Safety fields. Direct evidence stands as `open`, as long as it stands itself.
    fn safety(&self, kind: Option<&'static Kind>, record: &mut Record) {
        let fields = || kind.into_iter().flat_map(Kind::fields);
        for field in fields().filter(|field| field.class == Class::Haz) {
            let evidence: BTreeSet<ChangeHash> = fields()
                .filter(|other| other.stands_as.as_ref() == Some(&field.name))
                .filter_map(|other| record.fields.get(&other.name))
                .flat_map(|reading| &reading.values)
                .filter(|shown| !shown.removes)
                .map(|shown| shown.change)
                .collect();
            if let Some(reading) = self.haz(field, evidence, &mut record.flags) {
                record.fields.insert(field.name.clone(), reading);
            }
        }
    }

    fn flags(&self, record: &mut Record) {
        let voided: Vec<ChangeHash> = record
            .fields
            .get("void")
            .into_iter()
            .flat_map(|field| &field.values)
            .filter(|shown| shown.value.as_text() == Some("void"))
            .map(|shown| shown.change)
            .collect();
        let after = |change: &ChangeHash| {
            voided
                .iter()
                .any(|void| change != void && !self.lineage.is_ancestor(change, void))
        };
        // What people add to a withdrawn record keeps it visible; settling the withdrawal itself
        // does not.
        let settle: BTreeSet<ChangeHash> = match voided.as_slice() {
            [] => BTreeSet::new(),
            _ => self
                .assertions("void")
                .into_iter()
                .map(|stored| stored.change)
                .collect(),
        };
        let mut changes = self.lineage.changes().iter();
        if changes.any(|change| after(change) && !settle.contains(change)) {
            record.flags.insert(Flag::ChangedAfterWithdrawal);
        }
        let shown = || record.fields.values().flat_map(|field| &field.values);
        if shown().any(|shown| !shown.verified) {
            record.flags.insert(Flag::Unverified);
        }
        let early = |facts: &ChangeFacts| facts.recorded_at_s.is_some_and(|at| at < EARLIEST_S);
        if self.known.values().any(early) {
            record.flags.insert(Flag::ClockDoubtful);
        }
    }

    /// Whether every change is a workflow step or one that an approval by a verified author
    /// speaks of. Who may approve what is for membership and codebook to say.
    fn approval(&self, record: &Record) -> Approval {
        let steps = record.fields.get("workflow").map(|field| &field.values);
        let steps: Vec<&Shown> = steps.into_iter().flatten().collect();
        let approved: Vec<ChangeHash> = steps
            .iter()
            .filter(|step| step.verified)
            .filter_map(|step| match &step.value {
                Value::Map(parts) if parts.get("step")?.as_text()? == "approved" => {
                    parts.get("heads")?.as_text()
                }
                _ => None,
            })
            .flat_map(|heads| heads.split([',', ' ']))
            .filter_map(|head| head.parse().ok())
            .collect();
        if approved.is_empty() {
            return Approval::None;
        }
        let spoken_of = |change: &ChangeHash| {
            steps.iter().any(|step| step.change == *change)
                || approved
                    .iter()
                    .any(|head| head == change || self.lineage.is_ancestor(change, head))
        };
        if self.lineage.changes().iter().all(spoken_of) {
            Approval::Approved
        } else {
            Approval::ChangedSince
        }
    }

    /// What is asserted about a field, in the document and in skipped changes.
    fn assertions(&self, field: &str) -> Vec<layout::Stored> {
        let mut stored = match self.keys.contains(&layout::growing_key(field)) {
            true => layout::assertions(self.document, field),
            false => Vec::new(),
        };
        stored.extend(self.skipped.get(field).into_iter().flatten().cloned());
        stored
    }

    fn facts(&self, change: &ChangeHash) -> ChangeFacts {
        let known = self.known.get(change).cloned();
        known.unwrap_or_else(|| self.facts.of(change))
    }

    fn shown(&self, value: Value, change: ChangeHash) -> Shown {
        let facts = self.facts(&change);
        Shown {
            letter: String::new(),
            value,
            change,
            key: None,
            by: facts.author,
            device: facts.device,
            recorded_at_s: facts.recorded_at_s,
            verified: facts.verified,
            proposal: false,
            removes: false,
            decision: false,
            implied: false,
            reason: None,
        }
    }

    /// Sorts values the same way everywhere and gives them their letters.
    fn lettered(&self, mut values: Vec<Shown>) -> Vec<Shown> {
        values.sort_by(|a, b| {
            let place = |shown: &Shown| (self.lineage.place(&shown.change), shown.key.clone());
            place(a)
                .cmp(&place(b))
                .then_with(|| a.implied.cmp(&b.implied))
                .then_with(|| {
                    let bytes = |shown: &Shown| crate::cbor::encode(&shown.value);
                    bytes(a).cmp(&bytes(b))
                })
        });
        for (index, shown) in values.iter_mut().enumerate() {
            shown.letter = letter(index);
        }
        values
    }
}

/// Entries that wait for a decision are proposals, all of them.
fn waiting(mut reading: FieldReading) -> FieldReading {
    for shown in &mut reading.values {
        shown.proposal = true;
    }
    reading
}

/// The first Cairn is younger than this second (2025-01-01).
pub(crate) const EARLIEST_S: i64 = 1_735_689_600;

/// A to Z, then AA, AB …
fn letter(index: usize) -> String {
    let last = (b'A' + (index % 26) as u8) as char;
    match index / 26 {
        0 => last.to_string(),
        more => format!("{}{last}", letter(more - 1)),
    }
}

/// The type that values of a field have.
fn is_perimeter(field_type: &FieldType) -> bool {
    matches!(field_type, FieldType::Perimeter)
}
