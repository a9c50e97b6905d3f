//! Writing: records and edits, made on what their author saw, durable before they are answered.

use crate::Member;
use crate::contents::frame_key;
use crate::error::{MemberError, RequestError};
use crate::ingest::{Run, SeeRecord};
use crate::line::{Line, short_code};
use crate::outbox::{note_applied_outbox, outbox_of};
use crate::read::Opened;
use crate::tables::Kept;
use cairn_documents::change::HEADS_BEFORE_MERGE_MAX;
use cairn_documents::{
    Author, AuthorError, Authored, OpenedChange, Rule, Verdict, author_edit, author_merge,
    author_root,
};
use cairn_keys::{Access, Membership, Standing};
use cairn_records::schema::{self, Kind};
use cairn_records::{
    Choice, Edit, Envelope, Record, WriteError, apply_edit, apply_root, suggestion,
};
use cairn_store::{OutboxFrame, Store, WriteSet};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{ChangeHash, DocumentId, ScopeId};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// When and under which random number a command runs. One value per command: its nonce serves all
/// records that the command makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The device's clock, seconds since 1970. Shown to people, believed by nobody.
    pub now_s: i64,
    /// Random, never used twice.
    pub nonce: [u8; 8],
}

/// How a field reads after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldNow {
    /// The field.
    pub field: String,
    /// Its reading, as in `cairn.record/1`.
    pub reads: Json,
    /// What was written there is only a proposal.
    pub proposal: bool,
    /// Values stand there that were written without knowing of each other.
    pub conflict: bool,
}

/// What was saved. It is durable on this device, and nowhere else yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Scope of the record.
    pub scope: ScopeId,
    /// The record.
    pub id: DocumentId,
    /// Its kind.
    pub kind: String,
    /// By which people name it over the radio.
    pub short_code: String,
    /// Its number, if it has one.
    pub local_id: Option<String>,
    /// The change.
    pub change: ChangeHash,
    /// What the next edit has seen, if it is made on this.
    pub heads: Vec<ChangeHash>,
    /// How the fields that were written read now.
    pub fields: Vec<FieldNow>,
}

impl Saved {
    /// Whether anything that was written is only a proposal.
    #[must_use]
    pub fn is_proposal(&self) -> bool {
        self.fields.iter().any(|field| field.proposal)
    }
}

/// The nonce of edits. A record's id has to be new, so its first change takes a random number; an
/// edit's actor has only to be no other change's, and it follows from all that the edit rests on and
/// says: two that are equal in everything, the second included, are one change. Random numbers do not
/// compress, and were a tenth of what ten edits cost on the wire.
const EDIT_NONCE: [u8; 8] = [0; 8];

/// Names under which drafts are kept begin so, followed by their number.
const DRAFT: &[u8] = b"draft/";
/// Name under which their count is kept.
const DRAFT_COUNT: &[u8] = b"drafts";
/// Bytes of a draft that are kept.
const DRAFT_BYTES_MAX: usize = 60 * 1024;

impl Member {
    /// Makes a record.
    pub fn new_record(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        scope: ScopeId,
        kind: &Kind,
        envelope: &Envelope,
        edits: &[Edit],
    ) -> Result<Saved, MemberError> {
        self.may_write(store, &scope)?;
        let authored = author_root(
            &self.author(scope, moment),
            &kind.name,
            moment.now_s,
            |transaction| apply_root(transaction, kind, envelope, edits),
        );
        let authored = self.authored(store, authored, edits)?;
        self.save(store, scope, kind, vec![authored], edits)
    }

    /// Edits a record as its author saw it: at `seen`, or where that is `None` as it stands now.
    pub fn edit(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        name: &str,
        seen: Option<&[ChangeHash]>,
        edits: &[Edit],
    ) -> Result<Saved, MemberError> {
        let line = self.find(store, name)?;
        self.edit_with(store, moment, &line, seen, |_| Ok(edits.to_vec()))
    }

    /// Settles a field by a choice among what was shown. Without the right to decide, or where the
    /// right ends before others read it, it stands as a proposal; suggestions wait for who has it.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the sentence a person says"
    )]
    pub fn decide(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        name: &str,
        seen: Option<&[ChangeHash]>,
        field: Option<&str>,
        choice: &Choice,
        reason: &str,
    ) -> Result<Saved, MemberError> {
        let line = self.find(store, name)?;
        let membership = store.membership();
        let may_decide = membership.may_decide_now(&self.device(), &line.scope);
        let scope_name = self.scope_name(membership, &line.scope);
        self.edit_with(store, moment, &line, seen, |record| {
            let field = match field {
                Some(field) => field,
                None => cairn_records::decide::open_field(record).map_err(refused)?,
            };
            if field == suggestion::FIELD && !may_decide {
                return Err(RequestError::MayNotDecide { scope: scope_name }.into());
            }
            cairn_records::settlement(record, field, choice, reason).map_err(refused)
        })
    }

    /// Withdraws a record, for a reason. Without the right to decide it is a proposal.
    pub fn withdraw(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        name: &str,
        seen: Option<&[ChangeHash]>,
        reason: &str,
    ) -> Result<Saved, MemberError> {
        let line = self.find(store, name)?;
        let membership = store.membership();
        let decides = membership.may_decide_now(&self.device(), &line.scope);
        self.edit_with(store, moment, &line, seen, |record| {
            Ok(vec![cairn_records::decide::withdrawal(
                record, reason, decides,
            )])
        })
    }

    pub(crate) fn edit_with(
        &self,
        store: &mut dyn Store,
        moment: &Moment,
        line: &Line,
        seen: Option<&[ChangeHash]>,
        edits: impl FnOnce(&Record) -> Result<Vec<Edit>, MemberError>,
    ) -> Result<Saved, MemberError> {
        self.may_write(store, &line.scope)?;
        let membership = store.membership().clone();
        let missing = || RequestError::NotFound(line.id.to_string());
        let mut opened = self
            .open_document(store, &membership, &line.scope, &line.id)?
            .ok_or_else(missing)?;
        let kind = schema::kind(&opened.loaded.kind).ok_or_else(|| {
            RequestError::Form(format!(
                "records of the kind {} are shown here but cannot be edited: update Cairn",
                opened.loaded.kind
            ))
        })?;
        if let Some(unknown) = seen.into_iter().flatten().find(|head| {
            !opened
                .loaded
                .changes
                .iter()
                .any(|change| change.hash == **head)
        }) {
            return Err(RequestError::UnknownVersion(unknown.to_string()).into());
        }
        if seen.is_none() && opened.loaded.heads.len() > HEADS_BEFORE_MERGE_MAX {
            opened = self.merge_heads(store, &membership, moment, line, &opened)?;
        }
        let heads = seen.map_or_else(|| opened.loaded.heads.clone(), <[ChangeHash]>::to_vec);
        let record = opened.record_at(&heads)?;
        let edits = edits(&record)?;
        let authored = author_edit(
            &self.editor(line.scope),
            line.id,
            &opened.loaded.automerge,
            &heads,
            moment.now_s,
            |transaction| apply_edit(transaction, kind, &record, &edits).map(drop),
        );
        let authored = self.authored(store, authored, &edits)?;
        self.save(store, line.scope, kind, vec![authored], &edits)
    }

    fn merge_heads(
        &self,
        store: &mut dyn Store,
        membership: &Membership,
        moment: &Moment,
        line: &Line,
        opened: &Opened,
    ) -> Result<Opened, MemberError> {
        let author = self.editor(line.scope);
        let merges = author_merge(&author, line.id, &opened.loaded.automerge, moment.now_s)
            .map_err(|error| MemberError::Internal(error.to_string()))?;
        self.save_changes(store, line.scope, &opened.loaded.kind, merges, None)?;
        self.open_document(store, membership, &line.scope, &line.id)?
            .ok_or_else(|| MemberError::Internal("a merged record is gone".into()))
    }

    fn save(
        &self,
        store: &mut dyn Store,
        scope: ScopeId,
        kind: &Kind,
        changes: Vec<Authored>,
        edits: &[Edit],
    ) -> Result<Saved, MemberError> {
        let last = changes
            .last()
            .ok_or_else(|| MemberError::Internal("nothing to save".into()))?;
        let (id, change) = (last.document, last.hash);
        let fields = written_fields(edits);
        let mut saved = None;
        let mut see = |line: &Line, record: Option<&Record>| {
            saved = Some(Saved {
                scope,
                id,
                kind: kind.name.clone(),
                short_code: short_code(&id),
                local_id: line.summary.local_id.clone(),
                change,
                heads: record
                    .map(|record| record.heads.clone())
                    .unwrap_or_default(),
                fields: record
                    .map(|record| fields_now(record, kind, &fields, &change))
                    .unwrap_or_default(),
            });
        };
        self.save_changes(store, scope, &kind.name, changes, Some(&mut see))?;
        saved.ok_or_else(|| MemberError::Internal("a saved record does not read".into()))
    }

    /// Makes own changes of one scope and kind durable and visible, together. `seen` is given each
    /// record that they touch as it reads then.
    pub(crate) fn save_changes(
        &self,
        store: &mut dyn Store,
        scope: ScopeId,
        kind: &str,
        changes: Vec<Authored>,
        seen: Option<SeeRecord<'_>>,
    ) -> Result<(), MemberError> {
        let (frames, writes) = self.prepare_changes(store, scope, kind, changes, seen)?;
        store.save_outbox(frames, writes)?;
        Ok(())
    }

    /// All of [`Member::save_changes`] but for saving: own changes are proved and read, and nothing
    /// is written.
    pub(crate) fn prepare_changes(
        &self,
        store: &mut dyn Store,
        scope: ScopeId,
        kind: &str,
        changes: Vec<Authored>,
        seen: Option<SeeRecord<'_>>,
    ) -> Result<(Vec<OutboxFrame>, WriteSet), MemberError> {
        let of = ScopeLane {
            scope,
            lane: schema::lane(kind),
        };
        let membership = store.membership().clone();
        let opened: Vec<OpenedChange> = changes.iter().map(OpenedChange::from).collect();
        let frames = self.frames(of, store.next_outbox_number(), &opened, &changes)?;
        let mut run = Run::new(self, store, &membership);
        run.keeps_records = seen.is_some();
        let verdicts = run.changes(&scope, &outbox_of(self.device()), &opened)?;
        for verdict in verdicts {
            if !matches!(verdict, Verdict::Applied | Verdict::AlreadyThere) {
                return Err(MemberError::Internal(format!(
                    "an own change was not taken: {verdict:?}"
                )));
            }
        }
        if let Some((last, _)) = frames.last() {
            note_applied_outbox(last.number, &mut run.writes);
        }
        for (frame, contents) in &frames {
            let (key, row) = (frame_key(frame.number), contents.encode(&scope));
            run.writes.put(Kept::OutboxContents, key, row);
        }
        let frames = frames.into_iter().map(|(frame, _)| frame).collect();
        let (writes, _) = run.finish(seen)?;
        Ok((frames, writes))
    }

    pub(crate) fn author(&self, scope: ScopeId, moment: &Moment) -> Author {
        Author {
            scope,
            device: self.device(),
            nonce: moment.nonce,
        }
    }

    fn editor(&self, scope: ScopeId) -> Author {
        Author {
            scope,
            device: self.device(),
            nonce: EDIT_NONCE,
        }
    }

    /// A member may write where it was given that right. One that is not enrolled yet, or no longer,
    /// writes too: what it knows of a mine must not be lost; how it reads is another question.
    pub(crate) fn may_write(&self, store: &dyn Store, scope: &ScopeId) -> Result<(), MemberError> {
        let (device, membership) = (self.device(), store.membership());
        let access = membership.access_now(&device, scope);
        let may = match membership.standing(&device) {
            Standing::Member => matches!(access, Some(Access::Write | Access::Decide)),
            Standing::Unknown | Standing::Revoked => true,
        };
        if may {
            return Ok(());
        }
        let scope = self.scope_name(membership, scope);
        Err(RequestError::NotPermitted { scope }.into())
    }

    fn authored(
        &self,
        store: &mut dyn Store,
        authored: Result<Authored, AuthorError<WriteError>>,
        edits: &[Edit],
    ) -> Result<Authored, MemberError> {
        Err(match authored {
            Ok(authored) => return Ok(authored),
            Err(AuthorError::Edit(WriteError::Engine(error))) => {
                MemberError::Internal(error.to_string())
            }
            Err(AuthorError::Edit(error)) => RequestError::Form(error.to_string()).into(),
            Err(AuthorError::NothingChanged) => RequestError::NothingChanged.into(),
            Err(AuthorError::UnknownHead(head)) => {
                RequestError::UnknownVersion(head.to_string()).into()
            }
            Err(AuthorError::Rule(rule)) => {
                let draft = self.keep_draft(store, rule, edits)?;
                RequestError::Rule { rule, draft }.into()
            }
            Err(AuthorError::Internal(why)) => MemberError::Internal(why),
        })
    }

    /// Keeps what was typed and could not be saved. Answers its number.
    fn keep_draft(
        &self,
        store: &mut dyn Store,
        rule: Rule,
        edits: &[Edit],
    ) -> Result<u64, MemberError> {
        let number = self.drafts(store)? + 1;
        let mut text = format!("{rule}\n{edits:#?}");
        let mut end = text.len().min(DRAFT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.put_private(store, &draft_name(number), text.as_bytes())?;
        self.put_private(store, DRAFT_COUNT, &number.to_be_bytes())?;
        Ok(number)
    }

    /// How many drafts are kept; their numbers begin with 1.
    pub fn drafts(&self, store: &dyn Store) -> Result<u64, MemberError> {
        let count = self.private(store, DRAFT_COUNT)?;
        Ok(count
            .and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))
            .unwrap_or(0))
    }

    /// What was typed and could not be saved: why, and the values.
    pub fn draft(&self, store: &dyn Store, number: u64) -> Result<Option<String>, MemberError> {
        let text = self.private(store, &draft_name(number))?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }
}

fn draft_name(number: u64) -> Vec<u8> {
    [DRAFT, &number.to_be_bytes()].concat()
}

fn written_fields(edits: &[Edit]) -> BTreeSet<String> {
    edits
        .iter()
        .map(|edit| match edit {
            Edit::Set { field, .. }
            | Edit::Place { field, .. }
            | Edit::Add { field, .. }
            | Edit::Remove { field, .. }
            | Edit::Text { field, .. } => field.clone(),
            Edit::Decide(decision) => decision.field.clone(),
        })
        .collect()
}

fn fields_now(
    record: &Record,
    kind: &Kind,
    fields: &BTreeSet<String>,
    change: &ChangeHash,
) -> Vec<FieldNow> {
    fields
        .iter()
        .filter_map(|field| {
            let reading = record.fields.get(field)?;
            let field_type = kind.field(field).map(|field| &field.field_type);
            let mut json = reading.to_json(field_type);
            Some(FieldNow {
                field: field.clone(),
                reads: json.get_mut("reads").map(Json::take).unwrap_or_default(),
                proposal: reading
                    .values
                    .iter()
                    .any(|shown| shown.change == *change && shown.proposal),
                conflict: reading.conflict,
            })
        })
        .collect()
}

fn refused(error: cairn_records::DecideError) -> MemberError {
    RequestError::Form(error.to_string()).into()
}
