//! When each device was last heard of, what it then said of itself, and how its sessions ended. Kept
//! beside the store, so that ops see it after a restart too; losing it loses nothing but that. It is
//! written and synced at the latest a second after something changed: a kill costs ops the contacts of
//! that second, which the devices' next visits bring back.

use crate::folder;
use crate::ops::history::{self, Finished, History};
use crate::time::since_1970_s;
use cairn_transport::registry::SessionId;
use cairn_transport::{SessionInfo, SessionState};
use cairn_wire::DeviceKey;
use cairn_wire::frame::CloseReason;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Devices that are kept in mind: no crowd of strangers fills the memory.
const CONTACTS_MAX: usize = 100_000;

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
    finished: Vec<Finished>,
    /// Rises with what is handed out to be saved.
    edition: u64,
    disk: Arc<Mutex<Disk>>,
}

/// What is written, by one at a time.
#[derive(Debug)]
struct Disk {
    history: History,
    edition: u64,
}

/// What is to be saved: hand it to a thread that may wait for the disk.
#[derive(Debug)]
pub(crate) struct Unsaved {
    path: PathBuf,
    contacts: Option<Vec<u8>>,
    finished: Vec<Finished>,
    edition: u64,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    contacts: BTreeMap<String, Contact>,
}

impl Contacts {
    /// Reads what was saved; what does not read is begun anew. Sessions are kept in `sessions/` beside it.
    pub(crate) fn open(path: PathBuf, now_s: u64) -> Self {
        let mut history = History::new(path.with_file_name("sessions"));
        if let Err(error) = history.start(now_s) {
            tracing::warn!(%error, "the history of sessions could not be written");
        }
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
            finished: Vec::new(),
            edition: 0,
            disk: Arc::new(Mutex::new(Disk {
                history,
                edition: 0,
            })),
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
                self.finished.push(Finished::of(info, now_s));
            }
        }
        self.told.retain(|id| known.contains(id));
        for info in running {
            self.take_session(info, now_s);
        }
    }

    fn take_session(&mut self, info: &SessionInfo, at_s: u64) {
        if !self.by_device.contains_key(&info.peer)
            && (info.backlog.is_none() || self.by_device.len() >= CONTACTS_MAX)
        {
            // It has not even said what waits on it: a stranger, or one that was not heard out.
            return;
        }
        let contact = self.by_device.entry(info.peer).or_default();
        let before = contact.clone();
        contact.last_contact_s = contact.last_contact_s.max(at_s);
        contact.last_error = fault(info);
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
        let handed_in = matches!(info.state, SessionState::Ended(CloseReason::Revoked));
        if handed_in && info.entries_received > 0 {
            // Whoever was revoked is told so once it has handed in; what it said before no longer holds.
            contact.backlog = None;
            contact.oldest_age_s = None;
        }
        self.unsaved |= *contact != before;
    }

    /// What to save, if something is new.
    pub(crate) fn unsaved(&mut self) -> Option<Unsaved> {
        let changed = std::mem::take(&mut self.unsaved);
        if !changed && self.finished.is_empty() {
            return None;
        }
        let file = changed.then(|| File {
            version: 1,
            contacts: self
                .by_device
                .iter()
                .map(|(device, contact)| (device.to_string(), contact.clone()))
                .collect(),
        });
        self.edition += 1;
        Some(Unsaved {
            path: self.path.clone(),
            contacts: file.and_then(|file| serde_json::to_vec(&file).ok()),
            finished: std::mem::take(&mut self.finished),
            edition: self.edition,
            disk: Arc::clone(&self.disk),
        })
    }

    /// Where the history lies.
    pub(crate) fn history(&self) -> PathBuf {
        self.path.with_file_name("sessions")
    }

    /// Saves what is new and says that the daemon stops in good order.
    pub(crate) fn close(&mut self, now_s: u64) {
        if let Some(unsaved) = self.unsaved() {
            unsaved.save();
        }
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = disk.history.stop(now_s) {
            tracing::warn!(%error, "the history of sessions could not be written");
        }
    }
}

impl Unsaved {
    /// Writes it; durable at return, or the log says why not.
    pub(crate) fn save(self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = disk.history.append(self.finished) {
            tracing::warn!(%error, "the history of sessions could not be written");
        }
        // An older state does not replace a newer one.
        let Some(contacts) = self.contacts.filter(|_| self.edition > disk.edition) else {
            return;
        };
        match folder::write_whole(&self.path, &contacts) {
            Ok(()) => disk.edition = self.edition,
            Err(error) => tracing::warn!(%error, "the file of contacts could not be written"),
        }
    }
}

/// What went wrong in a session, if something did.
fn fault(info: &SessionInfo) -> Option<String> {
    let good = match info.state {
        SessionState::Syncing | SessionState::Equal => true,
        SessionState::Ended(reason) => {
            matches!(reason, CloseReason::Done | CloseReason::ShuttingDown) || info.equals > 0
        }
        SessionState::Lost => info.equals > 0,
    };
    (!good).then(|| {
        let state = history::state_word(info.state);
        history::in_words(state, info.equals > 0, info.error.as_deref())
    })
}

fn read(path: &Path) -> Option<BTreeMap<DeviceKey, Contact>> {
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
