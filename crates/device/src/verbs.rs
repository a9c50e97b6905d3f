//! What people do with a device: record, edit, decide, look.

use crate::error::DeviceError;
use crate::joining::joined;
use crate::{Device, fresh_incarnation, moment};
use cairn_member::{
    AsOf, Filter, ImportRow, Imported, Importing, Line, Listed, Member, MemberError, OpenRecord,
    RequestError, RowOutcome, Saved, Stage,
};
use cairn_records::schema::{self, Kind};
use cairn_records::{Choice, Doubt, Duplicates, Edit, Envelope, HistoryEntry, Likeness};
use cairn_store::Store;
use cairn_wire::ids::{ChangeHash, DocumentId, Lane, ScopeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What became of rows, by number.
type Outcomes = Vec<(u64, RowOutcome)>;

impl Device {
    /// Makes a record. Without a scope it goes into the only one there is.
    pub fn new_record(
        &self,
        scope: Option<&str>,
        kind: &str,
        envelope: Envelope,
        edits: Vec<Edit>,
    ) -> Result<Saved, DeviceError> {
        let kind = known_kind(kind)?;
        let scope = self.find_scope(scope)?;
        let moment = moment()?;
        self.write(move |member, store| {
            member.new_record(store, &moment, scope, kind, &envelope, &edits)
        })
    }

    /// Edits a record as its author saw it: at `seen`, or as it stands now.
    pub fn edit(
        &self,
        name: &str,
        seen: Option<Vec<ChangeHash>>,
        edits: Vec<Edit>,
    ) -> Result<Saved, DeviceError> {
        let (name, moment) = (name.to_owned(), moment()?);
        self.write(move |member, store| member.edit(store, &moment, &name, seen.as_deref(), &edits))
    }

    /// Settles a field by a choice among what was shown; the only open one where none is named.
    pub fn decide(
        &self,
        name: &str,
        seen: Option<Vec<ChangeHash>>,
        field: Option<&str>,
        choice: Choice,
        reason: &str,
    ) -> Result<Saved, DeviceError> {
        let (name, moment) = (name.to_owned(), moment()?);
        let (field, reason) = (field.map(str::to_owned), reason.to_owned());
        self.write(move |member, store| {
            let field = field.as_deref();
            member.decide(
                store,
                &moment,
                &name,
                seen.as_deref(),
                field,
                &choice,
                &reason,
            )
        })
    }

    /// Withdraws a record, for a reason.
    pub fn withdraw(
        &self,
        name: &str,
        seen: Option<Vec<ChangeHash>>,
        reason: &str,
    ) -> Result<Saved, DeviceError> {
        let (name, reason, moment) = (name.to_owned(), reason.to_owned(), moment()?);
        self.write(move |member, store| {
            member.withdraw(store, &moment, &name, seen.as_deref(), &reason)
        })
    }

    /// Makes records of rows, and says of each what became of it, in their order.
    pub fn import(
        &self,
        scope: Option<&str>,
        kind: &str,
        rows: Vec<ImportRow>,
    ) -> Result<(Imported, Outcomes), DeviceError> {
        let kind = known_kind(kind)?;
        let scope = self.find_scope(scope)?;
        let (_, imported, outcomes) = self.import_part(Importing::new(scope, kind, false), rows)?;
        Ok((imported, outcomes))
    }

    /// A part of an import; gives back what the next part goes on with.
    pub fn import_part(
        &self,
        mut importing: Importing,
        rows: Vec<ImportRow>,
    ) -> Result<(Importing, Imported, Outcomes), DeviceError> {
        let moment = moment()?;
        self.write(move |member, store| {
            let began = Instant::now();
            let mut outcomes = Vec::with_capacity(rows.len());
            let imported = member.import_rows(
                store,
                &moment,
                &mut importing,
                &mut rows.into_iter(),
                &mut || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                &mut |row, outcome| outcomes.push((row, outcome)),
            )?;
            outcomes.sort_by_key(|(row, _)| *row);
            Ok((importing, imported, outcomes))
        })
    }

    /// Records that fit a filter, newest first.
    pub fn list(&self, filter: Filter) -> Result<Vec<Listed>, DeviceError> {
        self.try_with(move |member, store| member.list(store, store.membership(), &filter))
    }

    /// The line of the record that goes by a name.
    pub fn find(&self, name: &str) -> Result<Line, DeviceError> {
        let name = name.to_owned();
        self.try_with(move |member, store| member.find(store, &name))
    }

    /// The record that goes by a name, as it reads now or then.
    pub fn show(&self, name: &str, as_of: Option<AsOf>) -> Result<OpenRecord, DeviceError> {
        let name = name.to_owned();
        self.try_with(move |member, store| {
            member.show(store, store.membership(), &name, as_of.as_ref())
        })
    }

    /// These records as they read now, in their order; what is not held is left out. Cheaper than to
    /// show one after the other: give some hundreds at a time, each is whole in memory.
    pub fn records(
        &self,
        records: Vec<(ScopeId, DocumentId)>,
    ) -> Result<Vec<OpenRecord>, DeviceError> {
        self.try_with(move |member, store| {
            let mut opened = Vec::with_capacity(records.len());
            member.each_record(store, store.membership(), &records, &mut |record| {
                opened.push(record);
                Ok(true)
            })?;
            Ok(opened)
        })
    }

    /// Every change of a record, and how far each has come.
    pub fn history(&self, name: &str) -> Result<Vec<(HistoryEntry, Stage)>, DeviceError> {
        let name = name.to_owned();
        self.try_with(move |member, store| member.history(store, store.membership(), &name))
    }

    /// Records in which something is in conflict or waits for a decision.
    pub fn open_questions(&self) -> Result<Vec<OpenRecord>, DeviceError> {
        self.try_with(|member, store| member.open_questions(store, store.membership()))
    }

    /// Records that share their number with another one.
    pub fn shared_numbers(
        &self,
    ) -> Result<BTreeMap<String, Vec<(ScopeId, DocumentId)>>, DeviceError> {
        self.try_with(|member, store| member.shared_numbers(store))
    }

    /// Records that are probably the same as others here, by record.
    pub fn duplicates(&self) -> Result<Duplicates, DeviceError> {
        self.try_with(|member, store| member.duplicates(store))
    }

    /// Others that are probably the same as this record.
    pub fn duplicates_of(
        &self,
        scope: ScopeId,
        id: DocumentId,
    ) -> Result<BTreeSet<(DocumentId, Likeness)>, DeviceError> {
        self.try_with(move |member, store| member.duplicates_of(store, &scope, &id))
    }

    /// What is doubtful about a record: told, never refused.
    pub fn doubts(&self, name: &str) -> Result<Vec<Doubt>, DeviceError> {
        let (name, now_s) = (name.to_owned(), moment()?.now_s);
        self.try_with(move |member, store| member.doubts(store, store.membership(), &name, now_s))
    }

    /// What was typed and could not be saved.
    pub fn draft(&self, number: u64) -> Result<Option<String>, DeviceError> {
        self.try_with(move |member, store| member.draft(store, number))
    }

    /// The area of work that goes by a name or id; without one, the only one there is.
    pub fn find_scope(&self, asked: Option<&str>) -> Result<ScopeId, DeviceError> {
        let asked = asked.map(str::to_owned);
        self.try_with(move |member, store| find_scope(member, store, asked.as_deref()))
    }

    /// Writes, and while a session is open lets what is urgent go out at once.
    fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Member, &mut dyn Store) -> Result<R, MemberError> + Send + 'static,
    ) -> Result<R, DeviceError> {
        let live = self.live.is_on();
        let fresh = fresh_incarnation()?;
        let done = self.try_with(move |member, store| {
            let done = work(member, store)?;
            if live {
                member.seal_outbox(store, Some(Lane::Urgent), fresh)?;
            }
            Ok(done)
        })?;
        self.live.wrote();
        Ok(done)
    }
}

fn known_kind(kind: &str) -> Result<&'static Kind, DeviceError> {
    schema::kind(kind).ok_or_else(|| {
        let known: Vec<&str> = schema::kinds().map(|kind| kind.name.as_str()).collect();
        let known = known.join(", ");
        let asked: String = kind.chars().take(80).collect();
        MemberError::from(RequestError::Form(format!(
            "there is no kind {asked:?}; there is {known}"
        )))
        .into()
    })
}

fn find_scope(
    member: &Member,
    store: &dyn Store,
    asked: Option<&str>,
) -> Result<ScopeId, MemberError> {
    let membership = store.membership();
    if !membership.scopes_now(&member.device()).is_empty() {
        return member.find_scope(membership, asked);
    }
    let promised = joined(member, store)?.map(|joined| joined.scopes);
    let promised = promised.unwrap_or_default();
    let names = || promised.iter().map(|scope| scope.name.clone()).collect();
    match (asked, promised.as_slice()) {
        (None, [only]) => Ok(only.id),
        (None, _) => Err(RequestError::WhichScope(names()).into()),
        (Some(asked), _) => promised
            .iter()
            .find(|scope| scope.name == asked || scope.id.to_string() == asked)
            .map(|scope| scope.id)
            .ok_or_else(|| {
                RequestError::UnknownScope {
                    asked: asked.chars().take(80).collect(),
                    known: names(),
                }
                .into()
            }),
    }
}
