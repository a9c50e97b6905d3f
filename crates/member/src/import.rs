//! Many records at once: rows become durable in groups, each whole.

mod known;

use self::known::{Known, KnownRows};
use crate::Member;
use crate::error::MemberError;
use crate::line::{Line, each_line};
use crate::write::Moment;
use cairn_documents::{AuthorError, Authored, author_edit, author_root};
use cairn_records::schema::{Class, Kind};
use cairn_records::summary::import_key_of;
use cairn_records::{Edit, Envelope, Extent, Record, WriteError, apply_edit, apply_root};
use cairn_store::Store;
use cairn_wire::ids::{ChangeHash, DocumentId, ScopeId};
use std::collections::{BTreeSet, HashMap};

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
    /// Another import key by which its record may be here: that of the record it is a copy of.
    pub copy_of: Option<[u8; 32]>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// A record was made of it, and is durable.
    Taken(DocumentId),
    /// It had been imported before, here or elsewhere; what has changed since was written.
    Updated(Compared),
    /// It had been imported before, here or elsewhere, under a key of its own, and says nothing new.
    Unchanged(Compared),
    /// It is here already, whole.
    Duplicate {
        /// The earlier row of this import that said the same, where one did.
        of_row: Option<u64>,
    },
    /// It cannot be a record.
    Refused {
        /// A word for scripts.
        code: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// A row beside the record that was made of it earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The record.
    pub id: DocumentId,
    /// Fields in which what the row says is only a proposal.
    pub proposals: Vec<String>,
    /// Fields in which people have changed since what the row still says; they stay as they are.
    pub kept: Vec<String>,
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
    /// Rows whose records say all that they say.
    pub unchanged: u64,
    /// Rows that were there before.
    pub duplicates: u64,
    /// Rows refused.
    pub refused: u64,
}

/// One import, which may come in several parts.
#[derive(Debug)]
pub struct Importing {
    /// Where the records go.
    pub scope: ScopeId,
    /// What they are.
    pub kind: &'static Kind,
    /// Whether nothing is to be written: all is done but for that.
    pub dry_run: bool,
    /// Records that are here by import key, once they were looked up.
    known: Option<KnownRows>,
}

impl Importing {
    /// An import into a scope.
    #[must_use]
    pub fn new(scope: ScopeId, kind: &'static Kind, dry_run: bool) -> Self {
        Self {
            scope,
            kind,
            dry_run,
            known: None,
        }
    }
}

impl Member {
    /// Makes records of rows. `now_ms` is any clock that only rises; `outcome` hears of each row once
    /// what is said of it is durable.
    pub fn import_rows(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        importing: &mut Importing,
        rows: &mut dyn Iterator<Item = ImportRow>,
        now_ms: &mut dyn FnMut() -> u64,
        outcome: &mut dyn FnMut(u64, RowOutcome),
    ) -> Result<Imported, MemberError> {
        let (scope, kind) = (importing.scope, importing.kind);
        self.may_write(store, &scope)?;
        let mut known = match importing.known.take() {
            Some(known) => known,
            None => self.known_rows(store, &scope)?,
        };
        let mut imported = Imported::default();
        let mut count = |row: u64, said: RowOutcome| {
            let of = match &said {
                RowOutcome::Taken(_) => &mut imported.taken,
                RowOutcome::Updated(_) => &mut imported.updated,
                RowOutcome::Unchanged(_) => &mut imported.unchanged,
                RowOutcome::Duplicate { .. } => &mut imported.duplicates,
                RowOutcome::Refused { .. } => &mut imported.refused,
            };
            *of += 1;
            imported.considered += 1;
            outcome(row, said);
        };
        let mut group = Group::begin(now_ms());
        for row in rows {
            let key = import_key_of(kind, &scope, &row.edits);
            let here = known.get(&key);
            let known_as = here.or_else(|| row.copy_of.and_then(|key| known.get(&key)));
            if known_as.is_some() {
                known.row(&key, row.row);
            }
            let identity = has_identity(&row);
            let authored = match (here, known_as) {
                (Some(Known { id: Some(id), .. }), _) if identity => {
                    if group.holds(&id) {
                        // What it is compared with must be there to read.
                        self.commit_group(store, importing, &mut group, &mut count)?;
                        group = Group::begin(now_ms());
                    }
                    self.news_of(store, moment, importing, &id, &row)?
                }
                // All that it says is its key: there is nothing to compare.
                (_, Some(Known { row: of_row, .. })) => Err(RowOutcome::Duplicate { of_row }),
                (_, None) => self.root_of(moment, importing, &row)?,
            };
            match authored {
                Ok(written) => {
                    known.row(&key, row.row);
                    if identity {
                        known.record(&key, written.authored.document);
                    }
                    group.add(written);
                    if group.is_full(now_ms()) {
                        self.commit_group(store, importing, &mut group, &mut count)?;
                        group = Group::begin(now_ms());
                    }
                }
                Err(said) => count(row.row, said),
            }
        }
        self.commit_group(store, importing, &mut group, &mut count)?;
        importing.known = Some(known);
        Ok(imported)
    }

    fn known_rows(&self, store: &dyn Store, scope: &ScopeId) -> Result<KnownRows, MemberError> {
        let mut known = KnownRows::default();
        each_line(&self.tables(store), Some(scope), &mut |line| {
            if let Some(key) = line.import_key {
                known.record(&key, line.id);
            }
            Ok(true)
        })?;
        Ok(known)
    }

    fn root_of(
        &self,
        moment: &Moment,
        importing: &Importing,
        row: &ImportRow,
    ) -> Result<Result<Written, RowOutcome>, MemberError> {
        let kind = importing.kind;
        let authored = author_root(
            &self.author(importing.scope, moment),
            &kind.name,
            moment.now_s,
            |transaction| apply_root(transaction, kind, &row.envelope, &row.edits),
        );
        written(row.row, authored, None)
    }

    /// What a row that was imported before says that its record does not.
    fn news_of(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        importing: &Importing,
        id: &DocumentId,
        row: &ImportRow,
    ) -> Result<Result<Written, RowOutcome>, MemberError> {
        let (scope, kind) = (importing.scope, importing.kind);
        let membership = store.membership().clone();
        let opened = match self.open_document(store, &membership, &scope, id)? {
            Some(opened) => opened,
            // Made by an earlier row of a run that writes nothing.
            None if importing.dry_run => return Ok(Err(RowOutcome::Duplicate { of_row: None })),
            None => return Err(MemberError::Internal("an imported record is gone".into())),
        };
        let record = opened.record()?;
        let mut news = row.edits.clone();
        news.retain(|edit| !says(&record, edit));
        let mut kept = Vec::new();
        if !news.is_empty() {
            // What the first import brought and people have changed since is not set back.
            let at_root = opened.record_at(&[record.root])?;
            let (old, new): (Vec<_>, Vec<_>) =
                news.into_iter().partition(|edit| says(&at_root, edit));
            kept = old.iter().filter_map(field_of).map(str::to_owned).collect();
            news = new;
        }
        let compared = Compared {
            id: *id,
            proposals: Vec::new(),
            kept,
        };
        if news.is_empty() {
            return Ok(Err(RowOutcome::Unchanged(compared)));
        }
        let authored = author_edit(
            &self.author(scope, moment),
            *id,
            &opened.loaded.automerge,
            &opened.loaded.heads,
            moment.now_s,
            |transaction| apply_edit(transaction, kind, &record, &news).map(drop),
        );
        written(row.row, authored, Some(compared))
    }

    fn commit_group(
        &self,
        store: &mut dyn Store,
        importing: &Importing,
        group: &mut Group,
        outcome: &mut dyn FnMut(u64, RowOutcome),
    ) -> Result<(), MemberError> {
        if group.rows.is_empty() {
            return Ok(());
        }
        let (mut rows, mut changes) = (Vec::new(), Vec::new());
        for written in std::mem::take(&mut group.rows) {
            rows.push((
                written.row,
                written.authored.hash,
                written.authored.document,
                written.of,
            ));
            changes.push(written.authored);
        }
        let edited: HashMap<DocumentId, ChangeHash> = rows
            .iter()
            .filter(|(_, _, _, of)| of.is_some())
            .map(|(_, change, id, _)| (*id, *change))
            .collect();
        let mut proposals: HashMap<DocumentId, Vec<String>> = HashMap::new();
        let mut see = |line: &Line, record: Option<&Record>| {
            if let (Some(change), Some(record)) = (edited.get(&line.id), record) {
                proposals.insert(line.id, proposed(record, change));
            }
        };
        // Without edits many records are read by several threads.
        let seen: Option<crate::ingest::SeeRecord<'_>> = if edited.is_empty() {
            None
        } else {
            Some(&mut see)
        };
        let (scope, kind) = (importing.scope, importing.kind);
        if importing.dry_run {
            self.prepare_changes(store, scope, &kind.name, changes, seen)?;
        } else {
            self.save_changes(store, scope, &kind.name, changes, seen)?;
        }
        for (row, _, id, of) in rows {
            let said = match of {
                None => RowOutcome::Taken(id),
                Some(compared) => RowOutcome::Updated(Compared {
                    proposals: proposals.remove(&id).unwrap_or_default(),
                    ..compared
                }),
            };
            outcome(row, said);
        }
        Ok(())
    }
}

/// A change that a row became, of a new record or of the one that is here.
struct Written {
    row: u64,
    authored: Authored,
    of: Option<Compared>,
}

/// A change, or why the row cannot become one; a fault of ours ends the import.
fn written(
    row: u64,
    authored: Result<Authored, AuthorError<WriteError>>,
    of: Option<Compared>,
) -> Result<Result<Written, RowOutcome>, MemberError> {
    let refuse = |code, message: String| Ok(Err(RowOutcome::Refused { code, message }));
    let edited = of.is_some();
    match (authored, of) {
        (Ok(authored), of) => Ok(Ok(Written { row, authored, of })),
        (Err(AuthorError::NothingChanged), Some(compared)) => {
            Ok(Err(RowOutcome::Unchanged(compared)))
        }
        (Err(AuthorError::Edit(WriteError::Engine(error))), _) => {
            Err(MemberError::Internal(error.to_string()))
        }
        (Err(AuthorError::Edit(error)), _) => {
            refuse(if edited { "update" } else { "form" }, error.to_string())
        }
        (Err(AuthorError::Rule(rule)), _) => refuse("rule", rule.to_string()),
        (Err(error), _) => Err(MemberError::Internal(error.to_string())),
    }
}

/// Fields in which what a change says waits for a decision.
fn proposed(record: &Record, change: &ChangeHash) -> Vec<String> {
    let said = record.said_by(change);
    let fields: BTreeSet<&str> = said
        .filter(|(_, _, shown)| shown.proposal)
        .map(|(field, _, _)| field)
        .collect();
    fields.into_iter().map(str::to_owned).collect()
}

struct Group {
    rows: Vec<Written>,
    bytes: usize,
    begun_ms: u64,
}

impl Group {
    fn begin(now_ms: u64) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            begun_ms: now_ms,
        }
    }

    fn add(&mut self, written: Written) {
        self.bytes += written.authored.bytes.len();
        self.rows.push(written);
    }

    fn holds(&self, id: &DocumentId) -> bool {
        self.rows.iter().any(|row| row.authored.document == *id)
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

fn field_of(edit: &Edit) -> Option<&str> {
    match edit {
        Edit::Set { field, .. }
        | Edit::Place { field, .. }
        | Edit::Add { field, .. }
        | Edit::Text { field, .. } => Some(field),
        Edit::Remove { .. } | Edit::Decide(_) => None,
    }
}

/// Whether a record says what an edit would say. What is written once is never said anew.
fn says(record: &Record, edit: &Edit) -> bool {
    let once = |field: &str| {
        let kind = record.definition().and_then(|kind| kind.field(field));
        kind.is_some_and(|field| field.class == Class::Once)
    };
    match edit {
        Edit::Set { field, .. } if once(field) => true,
        Edit::Set { field, value, .. } | Edit::Add { field, value } => record.stands(field, value),
        Edit::Text { field, text } => record.fields.get(field).is_some_and(|reading| {
            let texts = reading.values.iter().map(|shown| &shown.value);
            texts
                .chain([&reading.reads])
                .any(|value| value.as_text() == Some(text))
        }),
        Edit::Place { field, at } => record.fields.get(field).is_some_and(|reading| {
            let stands = reading
                .values
                .iter()
                .filter_map(|shown| shown.value.as_perimeter());
            stands.into_iter().any(|perimeter| match &perimeter.extent {
                Extent::Circle { centre, .. } => centre == at,
                Extent::Rings(_) => false,
            })
        }),
        Edit::Remove { .. } | Edit::Decide(_) => false,
    }
}
