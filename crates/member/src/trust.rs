//! Who wrote a change, and how far its word counts: worked out from the authority's log when a record
//! is read, and kept nowhere.

use crate::error::MemberError;
use crate::ingest::EntryRow;
use crate::tables::{Kept, Tables};
use cairn_documents::{LoadedDocument, Provenance};
use cairn_keys::{Keyring, Leaf, Membership, Position, Standing};
use cairn_records::read::ChangeFacts;
use cairn_records::{ReadError, Record};
use cairn_wire::ids::{ChangeHash, DeviceKey, EntryId, ScopeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Answers [`ChangeFacts`] for the changes of one document.
pub(crate) struct DocumentFacts {
    facts: HashMap<ChangeHash, ChangeFacts>,
}

impl cairn_records::read::Facts for DocumentFacts {
    fn of(&self, change: &ChangeHash) -> ChangeFacts {
        self.facts.get(change).cloned().unwrap_or(ChangeFacts {
            author: String::new(),
            device: DeviceKey([0; 32]),
            verified: false,
            may_decide: false,
            recorded_at_s: None,
        })
    }
}

/// The authority's word on authors, with names opened once.
pub(crate) struct Trust<'a> {
    membership: &'a Membership,
    keyring: &'a Keyring,
    tables: Tables<'a>,
    names: Mutex<HashMap<DeviceKey, String>>,
}

impl<'a> Trust<'a> {
    pub(crate) fn new(
        membership: &'a Membership,
        keyring: &'a Keyring,
        tables: Tables<'a>,
    ) -> Self {
        Self {
            membership,
            keyring,
            tables,
            names: Mutex::default(),
        }
    }

    /// The facts about all changes of a document in `scope`, skipped ones too.
    pub(crate) fn facts(
        &self,
        scope: &ScopeId,
        loaded: &LoadedDocument,
    ) -> Result<DocumentFacts, MemberError> {
        let mut facts = HashMap::with_capacity(loaded.changes.len());
        let skipped = loaded.skipped.iter().map(|skipped| &skipped.known);
        for change in loaded.changes.iter().chain(skipped) {
            let (verified, may_decide) = self.word(scope, &change.provenances)?;
            facts.insert(
                change.hash,
                ChangeFacts {
                    author: self.name(&change.device),
                    device: change.device,
                    verified,
                    may_decide,
                    recorded_at_s: Some(change.recorded_at_s),
                },
            );
        }
        Ok(DocumentFacts { facts })
    }

    /// A member's name, or the beginning of its key where the name cannot be read.
    pub(crate) fn name(&self, device: &DeviceKey) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .entry(*device)
            .or_insert_with(|| {
                self.membership
                    .member_name(device, self.keyring)
                    .and_then(Result::ok)
                    .filter(|name| !name.is_empty())
                    .unwrap_or_else(|| device_tag(device))
            })
            .clone()
    }

    /// (verified, may decide): of several places the best one counts.
    pub(crate) fn word(
        &self,
        scope: &ScopeId,
        provenances: &[Provenance],
    ) -> Result<(bool, bool), MemberError> {
        let mut verified = false;
        let mut may_decide = false;
        for provenance in provenances {
            match provenance {
                Provenance::Outbox { device } => {
                    verified |= self.membership.standing(device) != Standing::Revoked;
                    may_decide |= self.membership.may_decide_now(device, scope);
                }
                Provenance::Entry {
                    log,
                    number,
                    id,
                    authority,
                } => {
                    let position = Position {
                        log: *log,
                        number: *number,
                        id: *id,
                        authority: *authority,
                    };
                    let failed = RefCell::new(None);
                    let reaches = |leaf: &Leaf| {
                        self.reaches(leaf, &position).unwrap_or_else(|error| {
                            failed.replace(Some(error));
                            false
                        })
                    };
                    verified |= self.membership.verified(&position, &reaches);
                    may_decide |= self.membership.entitled_to_decide(&position, &reaches);
                    if let Some(error) = failed.into_inner() {
                        return Err(error);
                    }
                }
            }
            if verified && may_decide {
                break;
            }
        }
        Ok((verified, may_decide))
    }

    /// Is the entry at `position` that leaf, or reached from it by previous hashes?
    fn reaches(&self, leaf: &Leaf, position: &Position) -> Result<bool, MemberError> {
        if leaf.log(position.log.device) != position.log {
            return Ok(false);
        }
        reaches(
            &self.tables,
            leaf.number,
            leaf.id,
            position.number,
            position.id,
        )
    }
}

/// A document as it reads, with what its skipped changes say of safety.
pub(crate) fn read_loaded(
    loaded: &LoadedDocument,
    facts: &DocumentFacts,
) -> Result<Record, ReadError> {
    let skipped = loaded.skipped.iter();
    let skipped: Vec<_> = skipped.map(|skipped| skipped.change.clone()).collect();
    cairn_records::read::read_beside(&loaded.automerge, &skipped, facts)
}

/// Walks down from entry `id` at `number` to number `down_to` and says whether it arrives at `wanted`.
pub(crate) fn reaches(
    tables: &Tables<'_>,
    mut number: u64,
    mut id: EntryId,
    down_to: u64,
    wanted: EntryId,
) -> Result<bool, MemberError> {
    while number > down_to {
        let Some(row) = EntryRow::read(tables, &id)? else {
            return Ok(false);
        };
        // A chain that lies about its numbers ends here.
        if row.number != number {
            return Ok(false);
        }
        number -= 1;
        id = row.previous;
    }
    Ok(number == down_to && id == wanted && tables.read(Kept::Entries, &id.0)?.is_some())
}

/// The beginning of a device's key, as people compare it.
pub(crate) fn device_tag(device: &DeviceKey) -> String {
    let mut tag = String::with_capacity(8);
    // Writing to a String cannot fail.
    let _ = cairn_wire::ids::write_hex(&device.0[..4], &mut tag);
    tag
}
