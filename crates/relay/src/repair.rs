//! A relay whose files are damaged: what can be put right here, and what comes back from whom.
//!
//! | lost | comes back from |
//! | --- | --- |
//! | an index | the segments |
//! | the authority's log, grants, receipts, states | the index, if that is whole |
//! | the authority's log, the centre's own grants | the centre's store, which has both too |
//! | grants of members | they are sealed again, from the centre's keys |
//! | entries | the devices, when they next sync: the damage began a new epoch, so logs are compared |
//! | the centre's store | all of it can be made again from the relay's |
//!
//! The first two are what [`Store::repair`] does. Nothing is deleted: what does not read stays in its
//! segment, an index or a centre's store that is given up is set aside.
//!
//! Where the authority's log may lack its newest entries and no copy says otherwise, the authority waits as
//! after a restore ([`crate::authority::restored`]): whatever it signed would fork its log.

use crate::authority::{Authority, AuthorityFault, random, restored};
use crate::daemon::{RunOptions, Secrets, note_loss, refuse_second_daemon};
use crate::error::RelayError;
use crate::folder::Folder;
use crate::time::now_s;
use cairn_keys::{DeviceSecret, Grant, NO_AUTHORITY};
use cairn_store::{Fresh, OpenOptions, OpenReport, SegmentStore, SideObject, Store, StoreError};
use cairn_wire::ids::{LogId, ScopeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bytes of the authority's log that are copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// What a repair found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The relay's store and the centre's.
    pub stores: Vec<RepairedStore>,
    /// What was put right between the two, if there was reason to look.
    pub mended: Option<Mended>,
    /// Entries that are known to be missing, by who wrote them.
    pub gaps: Vec<Gap>,
    /// What could not be put right here, a sentence each.
    pub problems: Vec<String>,
}

/// What was found in one store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairedStore {
    /// Which, in words.
    pub name: &'static str,
    /// What was wrong, a sentence each.
    pub problems: Vec<String>,
    /// Stretches of its segments that do not read. They stay where they are.
    pub bad_stretches: u64,
    /// Frames that were not known to be missing before.
    pub lost_frames: u64,
    /// Pieces that the segments had lost and the index still held.
    pub carried_over: u64,
    /// Its index was made anew.
    pub rebuilt: bool,
    /// All of it was set aside, to be made anew.
    pub set_aside: Option<PathBuf>,
}

/// What came back without any device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Entries of the authority's log that the centre's store gave back.
    pub authority_entries: u64,
    /// Keys of the centre that its own store gave back.
    pub grants: usize,
    /// Keys that were sealed to members again.
    pub granted_again: usize,
    /// The authority's log may lack its newest entries: the authority waits.
    pub waits: bool,
}

/// Entries of one device in one scope that are known to be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The device's name.
    pub device: String,
    /// The scope's name.
    pub scope: String,
    /// How many.
    pub entries: u64,
}

impl Mended {
    /// What was done, a sentence each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.authority_entries > 0 || self.grants > 0 {
            words.push(format!(
                "the centre's store gave back {} entries of the authority's log and {} keys",
                self.authority_entries, self.grants
            ));
        }
        if self.granted_again > 0 {
            words.push(format!(
                "{} keys were sealed to members again",
                self.granted_again
            ));
        }
        if self.waits {
            words.push(
                "THE AUTHORITY'S LOG MAY LACK ITS NEWEST ENTRIES: as after a restore it signs nothing \
                 until every device has synced, or until: cairn ops backup override --reason TEXT"
                    .to_owned(),
            );
        }
        words
    }
}

/// Looks at everything in the folder of a relay that does not run, and puts right what can be.
pub fn repair(dir: &Path) -> Result<Repaired, RelayError> {
    let folder = Folder::new(dir);
    if !folder.is_relay() {
        return Err(RelayError::NoRelay(dir.to_owned()));
    }
    let secrets = Secrets::read(&folder)?;
    refuse_second_daemon(&folder)?;
    let mut repaired = Repaired::default();
    let (mut store, relays) = repair_store("the relay's store", &folder.data(), &secrets.relay)?;
    note_loss(&mut *store, now_s())?;
    if folder.centre_data().exists() {
        repaired
            .stores
            .push(repair_centre(&folder, &secrets.centre)?);
    }
    let was_damaged = !relays.problems.is_empty();
    repaired.stores.insert(0, relays);
    if was_damaged || lacks(&*store, &secrets.centre)? {
        repaired.mended = Some(give_back(
            &folder,
            &secrets.centre,
            &mut *store,
            was_damaged,
        )?);
    }
    let parts = secrets.authority(&folder, &RunOptions::default());
    match Authority::open(parts, &*store) {
        Ok(authority) => {
            let granted = authority.grant_again(&mut *store)?;
            if granted > 0 {
                repaired.mended.get_or_insert_default().granted_again = granted;
            }
            repaired.gaps = gaps(&authority, &*store)?;
        }
        Err(fault @ (AuthorityFault::KeyMissing(_) | AuthorityFault::Log(_))) => {
            repaired.problems.push(format!(
                "{fault}; restore the newest backup, devices give back what is newer"
            ));
        }
        Err(fault) => return Err(fault.into()),
    }
    if store.authority_hole().is_some() {
        let words = "part of the authority's log is missing here and in the centre's store; devices give it back";
        repaired.problems.push(words.to_owned());
    }
    store.close()?;
    Ok(repaired)
}

/// At the start of a daemon: where its store was damaged, takes back what the centre's own store has.
/// Answers nothing where nothing points to damage.
pub(crate) fn after_damage(
    folder: &Folder,
    centre: &DeviceSecret,
    store: &mut dyn Store,
    report: &OpenReport,
) -> Result<Option<Mended>, RelayError> {
    let damaged = report.lost_frames > 0 || report.new_epoch;
    if !damaged && !lacks(store, centre)? {
        return Ok(None);
    }
    give_back(folder, centre, store, damaged).map(Some)
}

/// Whether something of the authority's log or of the centre's keys is known to be missing.
fn lacks(store: &dyn Store, centre: &DeviceSecret) -> Result<bool, RelayError> {
    let membership = store.membership();
    if store.authority_hole().is_some() || store.authority_head() == NO_AUTHORITY {
        return Ok(true);
    }
    let held: BTreeSet<(ScopeId, u32)> = store
        .grants_for(&centre.device())?
        .iter()
        .filter_map(|bytes| Grant::parse(bytes).ok())
        .map(|grant| (grant.scope(), grant.key_number()))
        .collect();
    let scopes = membership.scopes().map(|scope| scope.id);
    let mut keys = std::iter::once(ScopeId::AUTHORITY)
        .chain(scopes)
        .flat_map(|scope| {
            let newest = membership.newest_key(&scope).unwrap_or(0);
            (1..=newest).map(move |number| (scope, number))
        });
    Ok(keys.any(|key| !held.contains(&key)))
}

fn give_back(
    folder: &Folder,
    centre: &DeviceSecret,
    store: &mut dyn Store,
    damaged: bool,
) -> Result<Mended, RelayError> {
    let mut mended = Mended::default();
    let before = held(store);
    let mut is_witness = false;
    match open(&folder.centre_data(), centre) {
        Ok((kept, _)) => {
            // A copy that knows less than the relay cannot say what the relay has lost.
            is_witness = held(&*kept) >= before && kept.authority_hole().is_none();
            mended.authority_entries = copy_authority(&*kept, store)?;
            let grants = kept.grants_for(&centre.device())?;
            let grants = grants.iter().filter_map(|bytes| Grant::parse(bytes).ok());
            let grants = grants.map(|grant| SideObject::of_grant(&grant)).collect();
            mended.grants = store.put_grants(grants)?;
            kept.close()?;
        }
        Err(StoreError::Locked) => return Err(RelayError::Running(folder.path().to_owned())),
        // It was never made, or is damaged itself.
        Err(error) => tracing::warn!(%error, "the centre's store gives nothing back"),
    }
    if store.authority_hole().is_some() || (damaged && !is_witness) {
        restored::begin_waiting(store, now_s())?;
        mended.waits = true;
    }
    Ok(mended)
}

/// How many entries of the authority's log a store holds.
fn held(store: &dyn Store) -> u64 {
    match store.authority_head() {
        NO_AUTHORITY => 0,
        head => head.height.saturating_add(1),
    }
}

fn copy_authority(from: &dyn Store, to: &mut dyn Store) -> Result<u64, RelayError> {
    let mut copied = 0;
    loop {
        let entries = from.authority_entries(held(to), COPY_BYTES)?;
        if entries.is_empty() {
            return Ok(copied);
        }
        let appended = to.append_authority(entries)?;
        copied += appended.new;
        if appended.new == 0 {
            return Ok(copied);
        }
    }
}

fn open(path: &Path, device: &DeviceSecret) -> Result<(Box<dyn Store>, OpenReport), StoreError> {
    let fresh = random().map_err(|error| StoreError::Disk {
        doing: "drawing random bytes for",
        source: std::io::Error::other(error.to_string()),
    })?;
    let mut options = OpenOptions::new(device.device(), Fresh(fresh));
    options.create = false;
    let (store, report) = SegmentStore::open(path, &options)?;
    Ok((Box::new(store), report))
}

fn repair_store(
    name: &'static str,
    path: &Path,
    device: &DeviceSecret,
) -> Result<(Box<dyn Store>, RepairedStore), RelayError> {
    let (mut store, opened) = open(path, device)?;
    let found = store.verify(true)?;
    let mut repaired = RepairedStore {
        name,
        problems: found.problems.clone(),
        bad_stretches: found.bad_stretches.len() as u64,
        lost_frames: opened.lost_frames,
        rebuilt: opened.rebuilt.is_some(),
        ..RepairedStore::default()
    };
    if opened.lost_frames > 0 {
        let lost = opened.lost_frames;
        repaired.problems.push(format!("{lost} frames are missing"));
    } else if opened.new_epoch {
        repaired
            .problems
            .push("its last frame does not read".to_owned());
    }
    if !found.is_sound() {
        let report = store.repair(Fresh(random()?))?;
        repaired.lost_frames += report.lost_frames;
        repaired.carried_over = report.carried_over;
        repaired.rebuilt = true;
        let after = store.verify(true)?;
        if let Some(problem) = after.problems.first() {
            return Err(StoreError::Damaged(problem.clone()).into());
        }
    }
    Ok((store, repaired))
}

/// The centre's store can be made anew from the relay's, so one that cannot be repaired is set aside.
fn repair_centre(folder: &Folder, centre: &DeviceSecret) -> Result<RepairedStore, RelayError> {
    let name = "the centre's store";
    let path = folder.centre_data();
    let why = match repair_store(name, &path, centre) {
        Ok((store, repaired)) => {
            store.close()?;
            return Ok(repaired);
        }
        Err(RelayError::Store(error @ (StoreError::Damaged(_) | StoreError::Index(_)))) => error,
        Err(error) => return Err(error),
    };
    let aside = (1..)
        .map(|number: u32| folder.centre().join(format!("data.aside-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.centre().join("data.aside"));
    std::fs::rename(&path, &aside).map_err(RelayError::system("setting aside", &path))?;
    Ok(RepairedStore {
        name,
        problems: vec![why.to_string()],
        set_aside: Some(aside),
        ..RepairedStore::default()
    })
}

/// What stands above a gap shows that something below it is missing. Whether more is missing at a log's
/// end only a device can tell.
fn gaps(authority: &Authority, store: &dyn Store) -> Result<Vec<Gap>, RelayError> {
    let mut missing: BTreeMap<(String, String), u64> = BTreeMap::new();
    for of in store.journals() {
        let mut above: BTreeMap<LogId, BTreeSet<u64>> = BTreeMap::new();
        for id in store.detached(of) {
            if let Some(entry) = store.entry(&id)? {
                let header = entry.header();
                above.entry(header.log).or_default().insert(header.number);
            }
        }
        for (log, numbers) in above {
            let leaves = store.leaves(of).into_iter();
            let ends = leaves
                .filter(|leaf| leaf.log == log)
                .map(|leaf| leaf.number);
            let height = ends.max().unwrap_or(0);
            let last = numbers.last().copied().unwrap_or(0);
            let held = numbers.range(height.saturating_add(1)..).count() as u64;
            let of = (
                authority.member_name(store, &log.device),
                authority.scope_name(store, &log.scope),
            );
            *missing.entry(of).or_default() += last.saturating_sub(height).saturating_sub(held);
        }
    }
    let gaps = missing.into_iter().filter(|(_, entries)| *entries > 0);
    Ok(gaps
        .map(|((device, scope), entries)| Gap {
            device,
            scope,
            entries,
        })
        .collect())
}
