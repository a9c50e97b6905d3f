//! Many records at once: rows become durable in groups, each whole.

use crate::Member;
use crate::error::{MemberError, RequestError};
use crate::line::each_line;
use crate::write::Moment;
use cairn_documents::{AuthorError, Authored, author_root};
use cairn_records::schema::{Class, Kind};
use cairn_records::summary::import_key_of;
use cairn_records::{Edit, Envelope, Record, Value, apply_root};
use cairn_store::Store;
use cairn_wire::ids::{DocumentId, ScopeId};
use std::collections::HashMap;

/// Raw bytes of a group at most.
const GROUP_BYTES_MAX: usize = 512 * 1024;
/// Time after which a group is made durable, in milliseconds.
const GROUP_MS_MAX: u64 = 50;

/// A row to make a record of.
#[derive(Debug, Clone)]
pub struct ImportRow {
    /// Its number in its source, by which outcomes name it.
    pub row: u64,
    /// What it says about who made it.
    pub envelope: Envelope,
    /// What it says. With an `external_id` it is known again by that and updated, else by all it says.
    pub edits: Vec<Edit>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// A record was made of it, and is durable.
    Taken(DocumentId),
    /// It had been imported before, here or elsewhere; what has changed since was written.
    Updated(DocumentId),
    /// It had been imported before, here or elsewhere, and says nothing new.
    Duplicate(DocumentId),
    /// It cannot be a record.
    Refused {
        /// A word for scripts.
        code: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// What became of all rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows read.
    pub considered: u64,
    /// Records made.
    pub taken: u64,
    /// Records updated.
    pub updated: u64,
    /// Rows that were there before.
    pub duplicates: u64,
    /// Rows refused.
    pub refused: u64,
}

impl Member {
    /// Makes records of rows. `now_ms` is any clock that only rises; `outcome` hears of each row once
    /// what is said of it is durable.
    #[expect(
        clippy::too_many_arguments,
        reason = "where, what, from what, when, and whom to tell"
    )]
    pub fn import_rows(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        scope: ScopeId,
        kind: &Kind,
        rows: &mut dyn Iterator<Item = ImportRow>,
        now_ms: &mut dyn FnMut() -> u64,
        outcome: &mut dyn FnMut(u64, RowOutcome),
    ) -> Result<Imported, MemberError> {
        self.may_write(store, &scope)?;
        let mut known: HashMap<[u8; 32], DocumentId> = HashMap::new();
        each_line(&self.tables(store), Some(&scope), &mut |line| {
            if let Some(key) = line.import_key {
                known.insert(key, line.id);
            }
            Ok(true)
        })?;
        let mut imported = Imported::default();
        let mut group = Group::begin(now_ms());
        for row in rows {
            imported.considered += 1;
            let key = import_key_of(kind, &scope, &row.edits);
            let said = match known.get(&key) {
                // All that it says is its key: there is nothing to compare.
                Some(id) if !has_identity(&row) => RowOutcome::Duplicate(*id),
                Some(id) => {
                    // What it is compared with must be there to read.
                    self.commit_group(store, scope, kind, &mut group, outcome)?;
                    group = Group::begin(now_ms());
                    self.update(store, moment, scope, kind, id, &row)?
                }
                None => match self.root_of(moment, scope, kind, &row)? {
                    Ok(authored) => {
                        imported.taken += 1;
                        known.insert(key, authored.document);
                        group.add(row.row, authored);
                        if group.is_full(now_ms()) {
                            self.commit_group(store, scope, kind, &mut group, outcome)?;
                            group = Group::begin(now_ms());
                        }
                        continue;
                    }
                    Err(refused) => refused,
                },
            };
            match said {
                RowOutcome::Updated(_) => imported.updated += 1,
                RowOutcome::Duplicate(_) => imported.duplicates += 1,
                RowOutcome::Refused { .. } => imported.refused += 1,
                RowOutcome::Taken(_) => imported.taken += 1,
            }
            outcome(row.row, said);
        }
        self.commit_group(store, scope, kind, &mut group, outcome)?;
        Ok(imported)
    }

    fn root_of(
        &self,
        moment: &Moment,
        scope: ScopeId,
        kind: &Kind,
        row: &ImportRow,
    ) -> Result<Result<Authored, RowOutcome>, MemberError> {
        let authored = author_root(
            &self.author(scope, moment),
            &kind.name,
            moment.now_s,
            |transaction| apply_root(transaction, kind, &row.envelope, &row.edits),
        );
        let refuse = |code, message: String| Ok(Err(RowOutcome::Refused { code, message }));
        match authored {
            Ok(authored) => Ok(Ok(authored)),
            Err(AuthorError::Edit(error)) => refuse("form", error.to_string()),
            Err(AuthorError::Rule(rule)) => refuse("rule", rule.to_string()),
            Err(error) => Err(MemberError::Internal(error.to_string())),
        }
    }

    /// A row that was imported before: writes what it says now and the record does not.
    fn update(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        scope: ScopeId,
        kind: &Kind,
        id: &DocumentId,
        row: &ImportRow,
    ) -> Result<RowOutcome, MemberError> {
        let Some(line) = self.line(store, &scope, id)? else {
            return Err(MemberError::Internal(
                "an imported record has no line".into(),
            ));
        };
        let saved = self.edit_with(store, moment, &line, None, |record| {
            let news: Vec<Edit> = row
                .edits
                .iter()
                .filter(|edit| is_news(kind, record, edit))
                .cloned()
                .collect();
            match news.is_empty() {
                true => Err(RequestError::NothingChanged.into()),
                false => Ok(news),
            }
        });
        match saved {
            Ok(_) => Ok(RowOutcome::Updated(*id)),
            Err(MemberError::Request(RequestError::NothingChanged)) => {
                Ok(RowOutcome::Duplicate(*id))
            }
            Err(MemberError::Request(refused)) => Ok(RowOutcome::Refused {
                code: "update",
                message: refused.to_string(),
            }),
            Err(error) => Err(error),
        }
    }

    fn commit_group(
        &self,
        store: &mut dyn Store,
        scope: ScopeId,
        kind: &Kind,
        group: &mut Group,
        outcome: &mut dyn FnMut(u64, RowOutcome),
    ) -> Result<(), MemberError> {
        if group.changes.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut group.changes);
        let taken: Vec<_> = std::mem::take(&mut group.rows)
            .into_iter()
            .zip(changes.iter().map(|change| change.document))
            .collect();
        self.save_changes(store, scope, &kind.name, changes, None)?;
        for (row, id) in taken {
            outcome(row, RowOutcome::Taken(id));
        }
        Ok(())
    }
}

struct Group {
    rows: Vec<u64>,
    changes: Vec<Authored>,
    bytes: usize,
    begun_ms: u64,
}

impl Group {
    fn begin(now_ms: u64) -> Self {
        Self {
            rows: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
            begun_ms: now_ms,
        }
    }

    fn add(&mut self, row: u64, change: Authored) {
        self.bytes += change.bytes.len();
        self.rows.push(row);
        self.changes.push(change);
    }

    fn is_full(&self, now_ms: u64) -> bool {
        self.bytes >= GROUP_BYTES_MAX || now_ms.saturating_sub(self.begun_ms) >= GROUP_MS_MAX
    }
}

/// Is it known again by what its source calls it, rather than by all it says?
fn has_identity(row: &ImportRow) -> bool {
    let identity = |edit: &Edit| matches!(edit, Edit::Set { field, .. } if field == "external_id");
    row.edits.iter().any(identity)
}

/// Does the record not say that already?
fn is_news(kind: &Kind, record: &Record, edit: &Edit) -> bool {
    match edit {
        Edit::Set { field, value, .. } => match kind.field(field).map(|field| field.class) {
            Some(Class::Once) => false,
            // What somebody once said of a safety field stands, or a decision settled it.
            Some(Class::Haz) => record.reads(field) != value && !record.stands(field, value),
            _ => record.reads(field) != value,
        },
        Edit::Text { field, text } => record.reads(field) != &Value::Text(text.clone()),
        Edit::Add { field, value } => !record.stands(field, value),
        // A place is compared by what it becomes, which only writing works out.
        Edit::Place { .. } => false,
        Edit::Remove { .. } | Edit::Decide(_) => true,
    }
}
