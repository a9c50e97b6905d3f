//! What the centre can tell about records: counts, lists, conflicts, who has what.

use crate::relay_store::ask;
use crate::{Centre, CentreError};
use cairn_documents::HeldState;
use cairn_keys::Standing;
use cairn_member::places::Place;
use cairn_member::read::AsOf;
use cairn_member::{Line, OpenRecord, short_code};
use cairn_replica::HoldingsError;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, ScopeId};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub documents: u64,
    /// Changes that are part of them.
    pub changes: u64,
    /// Records with a field in conflict.
    pub conflicts: u64,
    /// Records with a proposal that nobody has decided.
    pub proposals: u64,
    /// Changes that are kept and no part of a record: waiting, stuck or quarantined.
    pub held: u64,
    /// Records by scope.
    pub by_scope: BTreeMap<ScopeId, u64>,
    /// Records by the device that made them.
    pub by_device: BTreeMap<DeviceKey, u64>,
}

/// A list of records.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// How many fit.
    pub total: u64,
    /// The first of them, newest first by the devices' clocks.
    pub lines: Vec<(Line, String)>,
}

/// A device, and how much of a record it is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The device.
    pub device: DeviceKey,
    /// Entries of the record that it wrote, or acknowledged to the relay.
    pub entries: usize,
    /// Entries that the record stands in.
    pub of: usize,
}

/// A change that is kept and is no part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its scope.
    pub scope: ScopeId,
    /// The record it is for.
    pub document: String,
    /// Its hash.
    pub change: String,
    /// Its author.
    pub device: DeviceKey,
    /// `waiting`, `quarantined` or `stuck`.
    pub state: &'static str,
    /// Which rule it broke, or what it waits for.
    pub why: String,
}

impl Centre {
    /// How many records, changes, conflicts; counted anew only when something changed.
    pub fn counts(&mut self) -> Result<Counts, CentreError> {
        if let Some(counts) = &self.counts {
            return Ok(counts.clone());
        }
        let mut counts = Counts::default();
        self.member.each_line(&*self.tables, None, &mut |line| {
            counts.documents += 1;
            counts.changes += line.changes;
            counts.conflicts += u64::from(line.summary.conflicts > 0);
            counts.proposals += u64::from(line.summary.proposals > 0);
            counts.held += line.held;
            *counts.by_scope.entry(line.scope).or_default() += 1;
            *counts.by_device.entry(line.creator).or_default() += 1;
            Ok(true)
        })?;
        self.counts = Some(counts.clone());
        Ok(counts)
    }

    /// Records of a scope, or of all: the newest `limit` of them.
    pub fn documents(&self, scope: Option<&ScopeId>, limit: usize) -> Result<Listing, CentreError> {
        let mut newest: BTreeMap<(i64, [u8; 16]), Line> = BTreeMap::new();
        let mut total = 0;
        self.member.each_line(&*self.tables, scope, &mut |line| {
            total += 1;
            newest.insert((-line.recorded_at_s, line.id.0), line);
            if newest.len() > limit {
                newest.pop_last();
            }
            Ok(true)
        })?;
        let lines = newest.into_values().map(|line| {
            let scope = self.member.scope_name(&self.membership, &line.scope);
            (line, scope)
        });
        Ok(Listing {
            total,
            lines: lines.collect(),
        })
    }

    /// The record that goes by the beginning of its id, its number or its short code.
    pub fn document(&self, name: &str, as_of: Option<&AsOf>) -> Result<OpenRecord, CentreError> {
        Ok(self
            .member
            .show(&*self.tables, &self.membership, name, as_of)?)
    }

    /// Every change of a record, as `cairn show --history` gives them.
    pub fn history(&self, name: &str) -> Result<Vec<Json>, CentreError> {
        let record = self.document(name, None)?.record;
        let history = self.member.history(&*self.tables, &self.membership, name)?;
        let entries = history.into_iter();
        Ok(entries
            .map(|(entry, _)| entry.to_json(record.definition()))
            .collect())
    }

    /// The fields of records that are in conflict or hold a proposal, as `cairn conflicts` gives them.
    pub fn conflicts(&self) -> Result<Vec<Json>, CentreError> {
        let open = self
            .member
            .open_questions(&*self.tables, &self.membership)?;
        let mut fields = Vec::new();
        for record in open {
            let local_id = record.record.reads("local_id").as_text();
            for mut field in record.record.open_questions(&record.id.to_string()) {
                if let Some(field) = field.as_object_mut() {
                    field.insert("scope".into(), json!(record.scope_name));
                    field.insert("kind".into(), json!(record.record.kind));
                    field.insert("local_id".into(), json!(local_id));
                    field.insert("short_code".into(), json!(short_code(&record.id)));
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    /// The entries in which a record stands.
    pub fn places(&self, name: &str) -> Result<Vec<Place>, CentreError> {
        let line = self.member.find(&*self.tables, name)?;
        Ok(self.member.places(&*self.tables, &line.scope, &line.id)?)
    }

    /// Members of the record's scope, and how much of it each is known to have.
    pub fn who_has(&self, name: &str) -> Result<Vec<Holder>, CentreError> {
        let line = self.member.find(&*self.tables, name)?;
        let places = self.member.places(&*self.tables, &line.scope, &line.id)?;
        let devices: Vec<DeviceKey> = self
            .membership
            .members_of(&line.scope)
            .map(|(member, _)| member.public.device)
            .filter(|device| *device != self.member.device())
            .filter(|device| self.membership.standing(device) == Standing::Member)
            .collect();
        ask(&*self.relay, move |store| {
            let mut holders = Vec::with_capacity(devices.len());
            for device in devices {
                let lanes = store.peer(&device)?.lanes;
                let acknowledged = |of: ScopeLane| {
                    let cursor = lanes.get(&of)?.acknowledged?;
                    (cursor.epoch == store.epoch()).then_some(cursor.mark.position)
                };
                let has = |place: &&Place| {
                    let of = ScopeLane {
                        scope: place.log.scope,
                        lane: place.log.lane,
                    };
                    place.log.device == device
                        || acknowledged(of).is_some_and(|position| place.position < position)
                };
                holders.push(Holder {
                    device,
                    entries: places.iter().filter(has).count(),
                    of: places.len(),
                });
            }
            Ok::<_, HoldingsError>(holders)
        })?
        .map_err(Into::into)
    }

    /// Changes that are kept and no part of a record, of a scope or of all.
    pub fn held(&self, scope: Option<&ScopeId>) -> Result<Vec<Held>, CentreError> {
        let scopes = match scope {
            Some(scope) => vec![*scope],
            None => self.scopes(),
        };
        let mut all = Vec::new();
        for scope in scopes {
            for held in self.member.held(&*self.tables, &scope)? {
                let (state, why) = match &held.state {
                    HeldState::Waiting(change) => {
                        ("waiting", format!("it waits for change {change}"))
                    }
                    HeldState::Quarantined(rule) => ("quarantined", rule.to_string()),
                    HeldState::Stuck => ("stuck", "it fails in company of others".to_owned()),
                };
                all.push(Held {
                    scope,
                    document: held.document.to_string(),
                    change: held.hash.to_string(),
                    device: held.device,
                    state,
                    why,
                });
            }
        }
        Ok(all)
    }
}
