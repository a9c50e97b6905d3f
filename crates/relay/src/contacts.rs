//! When each device was last heard of, and what it then said of itself. Kept beside the store, so that
//! ops see it after a restart too; losing it loses nothing but that. It is replaced whole and synced, at
//! the latest a second after something changed: a kill costs ops the contacts of that second, which the
//! devices' next visits bring back.

use crate::folder;
use crate::time::since_1970_s;
use cairn_transport::registry::SessionId;
use cairn_transport::{SessionInfo, SessionState};
use cairn_wire::DeviceKey;
use cairn_wire::frame::CloseReason;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is known of a device's visits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contact {
    /// When its last session began or was seen running, seconds since 1970 by the relay's clock.
    pub(crate) last_contact_s: u64,
    /// When it and the relay last held the same.
    pub(crate) last_sync_s: Option<u64>,
    /// When it last declared what waits on it.
    pub(crate) declared_s: Option<u64>,
    /// Changes that waited on it then, or none once it had handed them in.
    pub(crate) backlog: Option<u64>,
    /// How old the oldest of them was then, by the device's own clock.
    pub(crate) oldest_age_s: Option<u64>,
    /// Records that it saw in conflict, unless something has moved since it said so.
    pub(crate) conflicts: Option<u64>,
    /// What went wrong in its last session, if something did.
    pub(crate) last_error: Option<String>,
}

impl Contact {
    /// How old its oldest change is that no relay has, as far as it has said.
    pub(crate) fn oldest_unsent_s(&self, now_s: u64) -> Option<u64> {
        let (age, declared) = (self.oldest_age_s?, self.declared_s?);
        Some(age.saturating_add(now_s.saturating_sub(declared)))
    }
}

/// All contacts, and which ended sessions they have taken in.
#[derive(Debug)]
pub(crate) struct Contacts {
    path: PathBuf,
    by_device: BTreeMap<DeviceKey, Contact>,
    told: BTreeSet<SessionId>,
    unsaved: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    contacts: BTreeMap<String, Contact>,
}

impl Contacts {
    /// Reads what was saved; what does not read is begun anew.
    pub(crate) fn open(path: PathBuf) -> Self {
        let by_device = read(&path).unwrap_or_else(|| {
            if path.exists() {
                tracing::warn!("the file of contacts does not read; it is begun anew");
            }
            BTreeMap::new()
        });
        Self {
            path,
            by_device,
            told: BTreeSet::new(),
            unsaved: false,
        }
    }

    pub(crate) fn get(&self, device: &DeviceKey) -> Option<&Contact> {
        self.by_device.get(device)
    }

    /// Every device that was ever heard of.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Contact> {
        self.by_device.values()
    }

    /// Takes in how sessions stand now.
    pub(crate) fn take(&mut self, running: &[SessionInfo], ended: &[SessionInfo], now_s: u64) {
        let known: BTreeSet<_> = ended.iter().map(|info| info.id).collect();
        for info in ended {
            if self.told.insert(info.id) {
                let ended_s = info.ended.map_or(now_s, since_1970_s);
                self.take_session(info, ended_s);
            }
        }
        self.told.retain(|id| known.contains(id));
        for info in running {
            self.take_session(info, now_s);
        }
    }

    fn take_session(&mut self, info: &SessionInfo, at_s: u64) {
        let contact = self.by_device.entry(info.peer).or_default();
        let before = contact.clone();
        contact.last_contact_s = contact.last_contact_s.max(at_s);
        contact.last_error.clone_from(&info.error);
        let started_s = since_1970_s(info.started);
        if let Some(backlog) = &info.backlog
            && contact
                .declared_s
                .is_none_or(|declared| declared <= started_s)
        {
            contact.declared_s = Some(started_s);
            contact.backlog = Some(backlog.changes);
            contact.oldest_age_s = backlog.oldest_age_s;
            contact.conflicts = Some(backlog.conflicts);
        }
        let equal = matches!(
            info.state,
            SessionState::Equal | SessionState::Ended(CloseReason::Done)
        );
        if equal && contact.declared_s.is_none_or(|declared| declared <= at_s) {
            contact.last_sync_s = contact.last_sync_s.max(Some(at_s));
            contact.backlog = Some(0);
            contact.oldest_age_s = None;
            if info.entries_sent + info.entries_received > 0 {
                // What moved may have made or settled some; it counts anew when it comes next.
                contact.conflicts = None;
            }
        }
        self.unsaved |= *contact != before;
    }

    /// The bytes to save, if something is new.
    pub(crate) fn unsaved(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        let contacts = self.by_device.iter();
        let file = File {
            version: 1,
            contacts: contacts
                .map(|(device, contact)| (device.to_string(), contact.clone()))
                .collect(),
        };
        let bytes = serde_json::to_vec(&file).ok()?;
        Some((self.path.clone(), bytes))
    }
}

pub(crate) fn save(path: &std::path::Path, bytes: &[u8]) {
    if let Err(error) = folder::write_whole(path, bytes) {
        tracing::warn!(%error, "the file of contacts could not be written");
    }
}

fn read(path: &std::path::Path) -> Option<BTreeMap<DeviceKey, Contact>> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let file: File = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (file.version == 1).then_some(())?;
    let contacts = file.contacts.into_iter();
    contacts
        .map(|(device, contact)| Some((device.parse().ok()?, contact)))
        .collect()
}
