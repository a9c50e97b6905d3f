//! What a device says about itself: status and check.

use crate::error::DeviceError;
use crate::joining::joined;
use crate::syncing::{given_back, relays};
use crate::{Device, fresh, now_s};
use cairn_member::{MemberError, Status};
use cairn_store::{Store, VerifyReport};
use cairn_wire::ids::{DeviceKey, DocumentId, ScopeId};

/// A relay that the device syncs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Its key.
    pub relay: DeviceKey,
    /// Where it is, the first one likeliest.
    pub addresses: Vec<String>,
    /// When it last answered, seconds since 1970 by this device's clock.
    pub last_contact_s: Option<i64>,
    /// Whether it has all that this device has.
    pub delivered: bool,
}

/// What `cairn status` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// This device.
    pub device: DeviceKey,
    /// Whether it has joined a programme, or has a code to.
    pub joined: bool,
    /// Whether its code still waits to be used.
    pub deferred: bool,
    /// What it holds and what waits.
    pub member: Status,
    /// Age of the oldest change that no relay has, in seconds.
    pub oldest_unsent_s: Option<u64>,
    /// Pieces of the store that were lost, and no sync since has ended with both sides equal.
    pub lost_pieces: u64,
    /// Its relays.
    pub relays: Vec<RelayStatus>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What the store found.
    pub store: VerifyReport,
    /// Changes that were read.
    pub changes: u64,
    /// Records that were read.
    pub documents: u64,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// Pieces that were lost, and no sync since has ended with both sides equal.
    pub lost_pieces: u64,
    /// Index and lists were made anew.
    pub repaired: bool,
}

impl Checked {
    /// Is everything as it should be?
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Said while the authority's log has a hole.
const MEMBERS_LACKING: &str = "part of the programme's list of members is missing, and what came after it \
     does not count until the next sync has brought it again";
/// Problems that a check lists.
const PROBLEMS_MAX: usize = 256;

impl Device {
    /// What this device holds, and what has come how far.
    pub fn status(&self) -> Result<DeviceStatus, DeviceError> {
        self.try_with(|member, store| {
            let joined = joined(member, store)?;
            let status = member.status(store, store.membership())?;
            let has_all = |relay: &DeviceKey| {
                let standing = status.relays.iter().find(|it| it.relay == *relay);
                standing.is_some_and(|standing| standing.has_all_entries)
            };
            let relays = relays(member, store)?
                .into_iter()
                .map(|record| RelayStatus {
                    delivered: store.outbox_len() == 0 && has_all(&record.relay),
                    relay: record.relay,
                    addresses: record.addresses,
                    last_contact_s: record.last_contact_s,
                })
                .collect();
            Ok(DeviceStatus {
                device: member.device(),
                joined: joined.is_some(),
                lost_pieces: lost_pieces(member, store)?,
                deferred: joined.is_some_and(|joined| joined.code.is_some()),
                oldest_unsent_s: status
                    .oldest_unsent_s
                    .map(|oldest| u64::try_from(now_s().saturating_sub(oldest)).unwrap_or(0)),
                member: status,
                relays,
            })
        })
    }

    /// Reads everything and says what is wrong; with `repair`, index and lists are made anew where
    /// anything is. Nothing is ever deleted.
    pub fn check(&self, repair: bool) -> Result<Checked, DeviceError> {
        let fresh = fresh()?;
        self.try_with(move |member, store| {
            let mut checked = look(member, store)?;
            if repair && !checked.ok() {
                store.repair(fresh)?;
                member.catch_up(store)?;
                checked = look(member, store)?;
                checked.repaired = true;
            }
            Ok(checked)
        })
    }
}

fn lost_pieces(member: &cairn_member::Member, store: &dyn Store) -> Result<u64, MemberError> {
    let given_back = given_back(member, store)?;
    Ok(store.lost_frames().saturating_sub(given_back))
}

fn look(member: &cairn_member::Member, store: &dyn Store) -> Result<Checked, MemberError> {
    let report = store.verify(true)?;
    let mut checked = Checked {
        problems: report.problems.clone(),
        lost_pieces: lost_pieces(member, store)?,
        store: report,
        ..Checked::default()
    };
    if store.authority_hole().is_some() {
        checked.problems.push(MEMBERS_LACKING.to_owned());
    }
    let membership = store.membership();
    let mut lines = Vec::new();
    let listed = member.each_line(store, None, &mut |line| {
        lines.push((line.scope, line.id));
        Ok(true)
    });
    if let Err(error) = listed {
        checked.problems.push(error.to_string());
    }
    checked.documents = lines.len() as u64;
    let count = |some: &[(ScopeId, DocumentId)]| {
        let mut changes = 0;
        member.each_record(store, membership, some, &mut |record| {
            changes += record.stages.len() as u64;
            Ok(true)
        })?;
        Ok::<u64, MemberError>(changes)
    };
    // All together if that works, else one by one, so that each that does not read is named.
    if let Ok(changes) = count(&lines) {
        checked.changes = changes;
        return Ok(checked);
    }
    for line in lines {
        let read = count(&[line]).map(|changes| checked.changes += changes);
        if let Err(error) = read
            && checked.problems.len() < PROBLEMS_MAX
        {
            checked.problems.push(format!("record {}: {error}", line.1));
        }
    }
    Ok(checked)
}
