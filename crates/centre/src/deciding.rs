//! Deciding as the centre: a member of every scope, with the right to decide.
//!
//! What is decided becomes durable in the centre's own store, is sealed at once into an entry of the
//! centre's own log, and handed to the relay, from where it goes the way of every entry. A decision names
//! every value that stood there unsuperseded when it was shown.

use crate::relay_store::ask;
use crate::{CHUNK_BYTES, Centre, CentreError};
use cairn_member::{MemberError, Moment, Pointed, RequestError, Saved};
use cairn_records::{Edit, settlement};
use cairn_store::Incoming;
use cairn_wire::ids::{ChangeHash, DocumentId, Epoch, Incarnation};
use serde_json::Value as Json;

/// State of the centre's store: the relay's epoch when it last looked.
const RELAY_EPOCH: &[u8] = b"centre/relay-epoch";

/// What is to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The record, by whatever name.
    pub name: &'a str,
    /// The field; may be left out where only one is open.
    pub field: Option<&'a str>,
    /// What is chosen.
    pub choice: Pointed<'a>,
    /// Why, and who says so.
    pub reason: &'a str,
    /// The state in which the choices were shown; else as it stands now.
    pub seen: Option<&'a [ChangeHash]>,
}

/// What a decision would say.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The record.
    pub id: DocumentId,
    /// Its number.
    pub local_id: Option<String>,
    /// The field.
    pub field: String,
    /// How it reads now.
    pub reads: Json,
    /// The changes whose values it would name.
    pub considered: Vec<ChangeHash>,
}

impl Centre {
    /// Settles a field. Durable, in an entry and at the relay when it returns. `fresh` is for a new
    /// incarnation, should the centre's log turn out to have another writer.
    pub fn decide(
        &mut self,
        decision: &Decision<'_>,
        moment: &Moment,
        fresh: Incarnation,
    ) -> Result<Saved, CentreError> {
        self.refresh()?;
        let (_, field, choice, _) = self.prepared(decision)?;
        let saved = self.member.decide(
            &mut *self.tables,
            moment,
            decision.name,
            decision.seen,
            Some(&field),
            &choice,
            decision.reason,
        )?;
        self.counts = None;
        self.hand_over(fresh)?;
        Ok(saved)
    }

    /// What [`Self::decide`] would say, without saying it.
    pub fn preview(&mut self, decision: &Decision<'_>) -> Result<Preview, CentreError> {
        self.refresh()?;
        let (open, field, choice, reading) = self.prepared(decision)?;
        let edits = settlement(&open.record, &field, &choice, decision.reason).map_err(form)?;
        let considered = edits.iter().find_map(|edit| match edit {
            Edit::Decide(decision) => Some(decision.considered.clone()),
            _ => None,
        });
        Ok(Preview {
            id: open.id,
            local_id: open.record.reads("local_id").as_text().map(str::to_owned),
            field,
            reads: reading,
            considered: considered.unwrap_or_default(),
        })
    }

    /// Seals what waits in the outbox, and gives the relay what it lacks of the centre's own log.
    pub(crate) fn hand_over(&mut self, fresh: Incarnation) -> Result<(), CentreError> {
        self.member.seal_outbox(&mut *self.tables, None, fresh)?;
        let own = self.member.device();
        for of in self.tables.journals() {
            let mut from = self.handed_over.get(&of).copied().unwrap_or(0);
            loop {
                let items = self.tables.journal(of, from, CHUNK_BYTES)?;
                if items.is_empty() {
                    break;
                }
                from += items.len() as u64;
                let entries = items.into_iter().map(|item| item.entry);
                let entries: Vec<_> = entries
                    .filter(|entry| entry.header().log.device == own)
                    .collect();
                ask(&*self.relay, move |store| {
                    let mut lacking = Vec::new();
                    for entry in entries {
                        if store.entry(&entry.id())?.is_none() {
                            let origins = Vec::new();
                            lacking.push(Incoming { entry, origins });
                        }
                    }
                    store.append(lacking)?;
                    Ok::<_, CentreError>(())
                })??;
                self.handed_over.insert(of, from);
            }
        }
        Ok(())
    }

    /// A relay that came out of a backup has another epoch, and so did this store: what the centre wrote
    /// after the backup may come back, and must not stand at the same numbers as what it writes now.
    pub(crate) fn note_epoch(&mut self, fresh: Incarnation) -> Result<(), CentreError> {
        let Epoch(epoch) = ask(&*self.relay, |store| store.epoch())?;
        let known = self.tables.state(RELAY_EPOCH)?;
        if known.as_deref() == Some(&epoch[..]) {
            return Ok(());
        }
        if known.is_some() {
            self.tables.set_incarnation(fresh)?;
        }
        Ok(self.tables.put_state(RELAY_EPOCH, &epoch)?)
    }

    fn prepared(
        &self,
        decision: &Decision<'_>,
    ) -> Result<
        (
            cairn_member::OpenRecord,
            String,
            cairn_records::Choice,
            Json,
        ),
        CentreError,
    > {
        if decision.reason.trim().is_empty() {
            return Err(form(cairn_records::DecideError::NoReason));
        }
        let as_of = decision
            .seen
            .map(|heads| cairn_member::AsOf::Heads(heads.to_vec()));
        let open = self.document(decision.name, as_of.as_ref())?;
        let field = match decision.field {
            Some(field) => field.to_owned(),
            None => cairn_records::decide::open_field(&open.record)
                .map_err(form)?
                .to_owned(),
        };
        let choice = decision
            .choice
            .choice(&open.record, Some(&field))
            .map_err(MemberError::from)?;
        // Of a choice that is not there nothing is said to be saved.
        settlement(&open.record, &field, &choice, decision.reason).map_err(form)?;
        let kind = open.record.definition();
        let reading = open.record.fields.get(&field).map(|reading| {
            let field_type = kind.and_then(|kind| kind.field(&field));
            reading.to_json(field_type.map(|field| &field.field_type))
        });
        let reads = reading.and_then(|mut json| json.get_mut("reads").map(Json::take));
        Ok((open, field, choice, reads.unwrap_or_default()))
    }
}

fn form(error: cairn_records::DecideError) -> CentreError {
    MemberError::from(RequestError::Form(error.to_string())).into()
}
