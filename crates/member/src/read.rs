//! Reading: lists, records with facts about their authors, what is in conflict, history.

use crate::Member;
use crate::catalogue::{self, At, Sought, Totals};
use crate::columns;
use crate::delivery::{Delivery, Stage};
use crate::error::{MemberError, RequestError};
use crate::head::Head;
use crate::line::{Line, each_line, find, short_code};
use crate::order::Newest;
use crate::trust::read_loaded;
use cairn_documents::{Documents, HeldChange, LoadedDocument};
use cairn_keys::{Membership, ScopeKey};
use cairn_records::{Duplicates, HistoryEntry, Likeness, Record};
use cairn_store::Store;
use cairn_wire::ids::{ChangeHash, DocumentId, ScopeId};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Lines that are whole in memory at a time.
const LINES_TOGETHER: usize = 4096;
/// Records of a list of which each is asked which others are like it; of more all are looked at together.
const ALIKE_ASKED_MAX: usize = 64;

/// Which records a list shows: those that fit all that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this scope.
    pub scope: Option<ScopeId>,
    /// Where these fields read so, compared without regard to case.
    pub reads: Vec<(String, String)>,
    /// With conflicts or proposals.
    pub open_questions: bool,
    /// With changes that no relay has.
    pub unsent: bool,
    /// In whose numbers, kind or texts (their first 200 bytes) all these words stand, compared without
    /// regard to case.
    pub search: Option<String>,
}

/// A record of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// What lists show of it.
    pub line: Line,
    /// Its scope, as people know it.
    pub scope_name: String,
    /// Its changes that no relay has.
    pub unsent: u64,
    /// Others that are probably the same, and why.
    pub duplicates: BTreeSet<(DocumentId, Likeness)>,
}

/// An area of work, and what is held of it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldScope {
    /// Its id.
    pub scope: ScopeId,
    /// Its name.
    pub name: String,
    /// Whether this device holds it: has its key, a right to it, or records of it.
    pub held: bool,
    /// What is held.
    pub totals: Totals,
}

/// A point in a record's past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// As it stood at these heads.
    Heads(Vec<ChangeHash>),
    /// As it stood at a time, by the devices' clocks, seconds since 1970.
    Time(i64),
}

/// A record, opened.
#[derive(Debug, Clone)]
pub struct OpenRecord {
    /// Its scope.
    pub scope: ScopeId,
    /// Its scope, as people know it.
    pub scope_name: String,
    /// Its id.
    pub id: DocumentId,
    /// How it reads.
    pub record: Record,
    /// What an edit that is made on this has seen.
    pub heads: Vec<ChangeHash>,
    /// How far each of its changes has come.
    pub stages: BTreeMap<ChangeHash, Stage>,
    /// What is kept for it and is no part of it.
    pub held: Vec<HeldChange>,
}

impl OpenRecord {
    /// How far the record has come: as far as its hindmost change.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let stages = self.stages.values();
        stages.min().copied().unwrap_or(Stage::OnThisDevice)
    }

    /// Changes that no relay has.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let stages = self.stages.values();
        stages
            .filter(|stage| **stage == Stage::OnThisDevice)
            .count()
    }

    /// The object of `cairn show --json`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut object = self.record.to_json(&self.id.to_string(), &self.scope_name);
        if let Some(object) = object.as_object_mut() {
            object.insert("short_code".into(), json!(short_code(&self.id)));
            object.insert("scope_id".into(), json!(self.scope.to_string()));
            object.insert("unsent".into(), json!(self.unsent()));
            object.insert("stage".into(), json!(self.stage()));
            object.insert("held".into(), json!(self.held.len()));
        }
        object
    }
}

/// A document as it stands, with what is known about its authors.
pub(crate) struct Opened {
    pub(crate) loaded: LoadedDocument,
    pub(crate) facts: crate::trust::DocumentFacts,
}

impl Opened {
    pub(crate) fn record(&self) -> Result<Record, MemberError> {
        read_loaded(&self.loaded, &self.facts).map_err(no_record)
    }

    pub(crate) fn record_at(&self, heads: &[ChangeHash]) -> Result<Record, MemberError> {
        let heads: BTreeSet<&ChangeHash> = heads.iter().collect();
        if heads.iter().copied().eq(&self.loaded.heads) {
            return self.record();
        }
        let heads: Vec<ChangeHash> = heads.into_iter().copied().collect();
        cairn_records::read_at(&self.loaded.automerge, &heads, &self.facts).map_err(no_record)
    }
}

impl Member {
    /// Records that fit a filter, newest first by the devices' clocks.
    pub fn list(
        &self,
        store: &dyn Store,
        membership: &Membership,
        filter: &Filter,
    ) -> Result<Vec<Listed>, MemberError> {
        let mut listed = Vec::new();
        self.each_listed(store, membership, filter, None, &mut |one| {
            listed.push(one);
            Ok(true)
        })?;
        Ok(listed)
    }

    /// Calls `visit` with the newest `limit` of the records that fit a filter, or with all of them,
    /// newest first by the devices' clocks; it answers whether to go on. Answers how many fit.
    pub fn each_listed(
        &self,
        store: &dyn Store,
        membership: &Membership,
        filter: &Filter,
        limit: Option<usize>,
        visit: &mut dyn FnMut(Listed) -> Result<bool, MemberError>,
    ) -> Result<u64, MemberError> {
        let unsent = self.unsent(store, membership)?;
        let unsent_of = |scope: &ScopeId, id: &DocumentId| {
            let of_line = unsent.documents.get(&(*scope, *id));
            of_line.copied().unwrap_or(0)
        };
        let tables = self.tables(store);
        let head_fits = |at: At, head: &Head<'_>| {
            let kind_fits = filter.kind.as_ref().is_none_or(|kind| *kind == head.kind);
            let open = head.has_conflicts() || head.has_proposals();
            kind_fits
                && (!filter.open_questions || open)
                && (!filter.unsent || unsent_of(&at.scope, &head.id) > 0)
                && filter
                    .reads
                    .iter()
                    .all(|(field, value)| match field.as_str() {
                        "status" => reads_code(head.status, value),
                        "hazard_class" => reads_code(head.hazard_class, value),
                        _ => true,
                    })
        };
        let reads = filter.reads.iter();
        let reads: Vec<&(String, String)> = reads
            .filter(|(field, _)| !IN_HEADS.contains(&field.as_str()))
            .collect();
        let wanted = filter.search.as_deref().unwrap_or_default();
        let words: Vec<String> = wanted.split_whitespace().map(str::to_lowercase).collect();
        let sought = Sought {
            words: &words,
            reads: &reads,
        };
        let mut found = Newest::of(limit, catalogue::totals(&tables)?.into_keys());
        catalogue::each_sought(
            &tables,
            filter.scope.as_ref(),
            &sought,
            &mut |at, head, open| {
                let fits = head_fits(at, head)
                    && (!open || self.record_reads(store, membership, (at, head), &reads)?);
                if fits {
                    found.add(at, head)?;
                }
                Ok(true)
            },
        )?;
        let total = found.total();
        let found = found.in_order();
        let alike = self.alike_among(store, found.alike())?;
        let mut names: BTreeMap<ScopeId, String> = BTreeMap::new();
        for some in found.chunks(LINES_TOGETHER) {
            for line in catalogue::lines(&tables, &some)? {
                let scope = line.scope;
                let scope_name = names
                    .entry(scope)
                    .or_insert_with(|| self.scope_name(membership, &scope))
                    .clone();
                let one = Listed {
                    unsent: unsent_of(&scope, &line.id),
                    duplicates: alike.get(&line.id).cloned().unwrap_or_default(),
                    scope_name,
                    line,
                };
                if !visit(one)? {
                    return Ok(total);
                }
            }
        }
        Ok(total)
    }

    /// Which others records of a list are probably the same as.
    fn alike_among(&self, store: &dyn Store, alike: Vec<At>) -> Result<Duplicates, MemberError> {
        if alike.len() > ALIKE_ASKED_MAX {
            return self.duplicates(store);
        }
        let mut duplicates = Duplicates::new();
        for line in catalogue::lines(&self.tables(store), &alike)? {
            let others = self.duplicates_of(store, &line.scope, &line.id)?;
            duplicates.insert(line.id, others);
        }
        Ok(duplicates)
    }

    /// Does a record read so? It is opened.
    fn record_reads(
        &self,
        store: &dyn Store,
        membership: &Membership,
        (at, head): (At, &Head<'_>),
        reads: &[&(String, String)],
    ) -> Result<bool, MemberError> {
        let Some(opened) = self.open_document(store, membership, &at.scope, &head.id)? else {
            return Ok(false);
        };
        let record = opened.record()?;
        let line = catalogue::line(&self.tables(store), &at.scope, &head.id)?;
        let summary = line.map(|line| line.summary);
        Ok(reads.iter().all(|(field, value)| match field.as_str() {
            "local_id" => {
                let shown = summary.as_ref().and_then(|it| it.local_id.as_deref());
                reads_code(shown, value)
            }
            "date_of_information" => {
                let shown = summary
                    .as_ref()
                    .and_then(|it| it.date_of_information.as_deref());
                reads_code(shown, value)
            }
            _ => columns::fits(&record.reads(field).to_json(), value),
        }))
    }

    /// The scopes that this device holds or may hold, and those of the programme that it does not, by
    /// name.
    pub fn scopes_held(
        &self,
        store: &dyn Store,
        membership: &Membership,
    ) -> Result<Vec<HeldScope>, MemberError> {
        let totals = catalogue::totals(&self.tables(store))?;
        let mine = self.scopes(membership);
        let known = membership.scopes().map(|scope| scope.id);
        let all: BTreeSet<ScopeId> = known.chain(mine.iter().copied()).collect();
        let mut scopes: Vec<HeldScope> = all
            .into_iter()
            .chain(totals.keys().copied())
            .filter(|scope| *scope != ScopeId::AUTHORITY)
            .collect::<BTreeSet<ScopeId>>()
            .into_iter()
            .map(|scope| HeldScope {
                scope,
                name: self.scope_name(membership, &scope),
                held: mine.contains(&scope) || totals.contains_key(&scope),
                totals: totals.get(&scope).copied().unwrap_or_default(),
            })
            .collect();
        scopes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(scopes)
    }

    /// The line of the one record that goes by a name: the beginning of its id (4 digits or more), its
    /// number, or its short code.
    pub fn find(&self, store: &dyn Store, name: &str) -> Result<Line, MemberError> {
        let tables = self.tables(store);
        // A whole id needs no search: it names its scope's document or none.
        if let Ok(id) = name.parse::<DocumentId>() {
            let journals = store.journals().into_iter().map(|of| of.scope);
            let keys = self.keyring.keys().map(ScopeKey::scope);
            let scopes: BTreeSet<ScopeId> = journals.chain(keys).collect();
            for scope in scopes {
                if let Some(line) = catalogue::line(&tables, &scope, &id)? {
                    return Ok(line);
                }
            }
        }
        find(&tables, name)
    }

    /// The line of a record.
    pub fn line(
        &self,
        store: &dyn Store,
        scope: &ScopeId,
        id: &DocumentId,
    ) -> Result<Option<Line>, MemberError> {
        catalogue::line(&self.tables(store), scope, id)
    }

    /// Calls `visit` with every line of a scope, or of all, in no order; it answers whether to go on.
    pub fn each_line(
        &self,
        store: &dyn Store,
        scope: Option<&ScopeId>,
        visit: &mut dyn FnMut(Line) -> Result<bool, MemberError>,
    ) -> Result<(), MemberError> {
        each_line(&self.tables(store), scope, visit)
    }

    /// The record that goes by a name, as it reads now or then.
    pub fn show(
        &self,
        store: &dyn Store,
        membership: &Membership,
        name: &str,
        as_of: Option<&AsOf>,
    ) -> Result<OpenRecord, MemberError> {
        let line = self.find(store, name)?;
        self.read_record(store, membership, &line.scope, &line.id, as_of)
    }

    /// A record, as it reads now or then.
    pub fn read_record(
        &self,
        store: &dyn Store,
        membership: &Membership,
        scope: &ScopeId,
        id: &DocumentId,
        as_of: Option<&AsOf>,
    ) -> Result<OpenRecord, MemberError> {
        let opened = self
            .open_document(store, membership, scope, id)?
            .ok_or_else(|| RequestError::NotFound(id.to_string()))?;
        let heads = match as_of {
            None => opened.loaded.heads.clone(),
            Some(AsOf::Heads(heads)) => heads.clone(),
            Some(AsOf::Time(at_s)) => {
                cairn_records::heads_at(&opened.loaded.automerge, &opened.facts, *at_s)
            }
        };
        if heads.is_empty() {
            return Err(RequestError::NotYet.into());
        }
        let record = opened.record_at(&heads)?;
        let delivery = Delivery::of(store, membership)?;
        let stages = self.stages(store, &delivery, &opened)?;
        Ok(self.opened_record(membership, scope, id, opened, record, heads, stages))
    }

    /// Calls `visit` with each of these records as it reads now; those that are not held, or are no
    /// records, are left out. It answers whether to go on.
    pub fn each_record(
        &self,
        store: &dyn Store,
        membership: &Membership,
        records: &[(ScopeId, DocumentId)],
        visit: &mut dyn FnMut(OpenRecord) -> Result<bool, MemberError>,
    ) -> Result<(), MemberError> {
        let delivery = Delivery::of(store, membership)?;
        for (scope, id) in records {
            let Some(opened) = self.open_document(store, membership, scope, id)? else {
                continue;
            };
            let Ok(record) = opened.record() else {
                continue;
            };
            let stages = self.stages(store, &delivery, &opened)?;
            let heads = opened.loaded.heads.clone();
            let record = self.opened_record(membership, scope, id, opened, record, heads, stages);
            if !visit(record)? {
                break;
            }
        }
        Ok(())
    }

    fn stages(
        &self,
        store: &dyn Store,
        delivery: &Delivery,
        opened: &Opened,
    ) -> Result<BTreeMap<ChangeHash, Stage>, MemberError> {
        let tables = self.tables(store);
        let changes = opened.loaded.changes.iter();
        changes
            .map(|change| {
                let stage = delivery.stage(store, &tables, &change.provenances)?;
                Ok((change.hash, stage))
            })
            .collect()
    }

    #[expect(clippy::too_many_arguments, reason = "it only puts them together")]
    fn opened_record(
        &self,
        membership: &Membership,
        scope: &ScopeId,
        id: &DocumentId,
        opened: Opened,
        record: Record,
        heads: Vec<ChangeHash>,
        stages: BTreeMap<ChangeHash, Stage>,
    ) -> OpenRecord {
        OpenRecord {
            scope: *scope,
            scope_name: self.scope_name(membership, scope),
            id: *id,
            record,
            heads,
            stages,
            held: opened.loaded.held,
        }
    }

    /// Every change of the record that goes by a name, and how far each has come.
    pub fn history(
        &self,
        store: &dyn Store,
        membership: &Membership,
        name: &str,
    ) -> Result<Vec<(HistoryEntry, Stage)>, MemberError> {
        let line = self.find(store, name)?;
        let opened = self
            .open_document(store, membership, &line.scope, &line.id)?
            .ok_or_else(|| RequestError::NotFound(name.to_owned()))?;
        let delivery = Delivery::of(store, membership)?;
        let stages = self.stages(store, &delivery, &opened)?;
        let entries = cairn_records::history(&opened.loaded.automerge, &opened.facts);
        Ok(entries
            .into_iter()
            .map(|entry| {
                let stage = stages.get(&entry.change).copied();
                (entry, stage.unwrap_or(Stage::OnThisDevice))
            })
            .collect())
    }

    /// Records in which something is in conflict or waits for a decision, by id.
    pub fn open_questions(
        &self,
        store: &dyn Store,
        membership: &Membership,
    ) -> Result<Vec<OpenRecord>, MemberError> {
        let mut lines = Vec::new();
        catalogue::each_head(&self.tables(store), None, &mut |at, head| {
            if head.has_conflicts() || head.has_proposals() {
                lines.push((at.scope, head.id));
            }
            Ok(true)
        })?;
        lines.sort_unstable();
        let mut records = Vec::with_capacity(lines.len());
        self.each_record(store, membership, &lines, &mut |record| {
            records.push(record);
            Ok(true)
        })?;
        Ok(records)
    }

    /// Records that share their number with another one: probable duplicates, each group by id.
    pub fn shared_numbers(
        &self,
        store: &dyn Store,
    ) -> Result<BTreeMap<String, Vec<(ScopeId, DocumentId)>>, MemberError> {
        let mut numbers: BTreeMap<String, Vec<(ScopeId, DocumentId)>> = BTreeMap::new();
        each_line(&self.tables(store), None, &mut |line| {
            if let Some(number) = line.summary.local_id.clone() {
                numbers
                    .entry(number)
                    .or_default()
                    .push((line.scope, line.id));
            }
            Ok(true)
        })?;
        numbers.retain(|_, records| records.len() > 1);
        for records in numbers.values_mut() {
            records.sort_unstable();
        }
        Ok(numbers)
    }

    /// A document with the facts about its authors.
    pub(crate) fn open_document(
        &self,
        store: &dyn Store,
        membership: &Membership,
        scope: &ScopeId,
        id: &DocumentId,
    ) -> Result<Option<Opened>, MemberError> {
        let tables = self.tables(store);
        let loaded = Documents::new(&tables)
            .load(scope, id)
            .map_err(MemberError::from_shelf)?;
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let facts = self.trust(store, membership).facts(scope, &loaded)?;
        Ok(Some(Opened { loaded, facts }))
    }
}

/// Fields that heads hold.
const IN_HEADS: [&str; 2] = ["status", "hazard_class"];

fn reads_code(known: Option<&str>, value: &str) -> bool {
    known.is_some_and(|known| known.eq_ignore_ascii_case(value))
}

fn no_record(error: cairn_records::ReadError) -> MemberError {
    match error {
        cairn_records::ReadError::UnknownHeads => {
            RequestError::UnknownVersion("given".into()).into()
        }
        other => RequestError::Form(other.to_string()).into(),
    }
}
