//! Signing how far each log is opened.
//!
//! One row per log, or per branch of a log that forked. A row is signed when what it says has moved,
//! and put into the relay's store, from where every session hands it on.

use crate::relay_store::ask;
use crate::{Centre, CentreError};
use cairn_member::places::{Fault, FaultyEntry};
use cairn_member::receipt::{EXCEPTIONS_MAX, Exception, Receipt, UpTo};
use cairn_replica::HoldingsError;
use cairn_replica::holdings::Leaf;
use cairn_store::Store;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{EntryId, Lane, LogId, ScopeId};
use std::collections::{BTreeMap, BTreeSet};

/// Rows that are put into the relay's store in one commit.
const ROWS_PER_COMMIT: usize = 512;
/// Entries that are walked down to find where a log forked.
const BRANCH_STEPS_MAX: usize = 10_000;
/// What a log that did not fork names as its branch.
const NO_BRANCH: [u8; 8] = [0; 8];

/// The centre's own newest rows, and which journals may have moved beyond them.
#[derive(Default)]
pub(crate) struct Receipts {
    rows: BTreeMap<(LogId, [u8; 8]), Receipt>,
    changed: BTreeSet<ScopeLane>,
}

impl Receipts {
    /// The newest rows of a log, one for each of its branches.
    pub(crate) fn of_log(&self, log: &LogId) -> impl Iterator<Item = &Receipt> {
        let first = (*log, [0; 8])..=(*log, [u8::MAX; 8]);
        self.rows.range(first).map(|(_, row)| row)
    }

    /// Something in that scope was opened, applied or set aside. A change may wait for one in the
    /// other lane, so both have moved.
    pub(crate) fn scope_changed(&mut self, scope: &ScopeId) {
        for lane in Lane::ALL {
            self.changed.insert(ScopeLane {
                scope: *scope,
                lane,
            });
        }
    }
}

/// The leaves of a journal at a moment at which all of it was applied.
struct Leaves {
    leaves: Vec<(Leaf, [u8; 8])>,
}

impl Centre {
    /// Signs what moved since the last time. Answers how many rows are new or newer. Journals that
    /// grew meanwhile are left for the next time.
    pub fn write_receipts(&mut self) -> Result<usize, CentreError> {
        let mut rows = Vec::new();
        for of in std::mem::take(&mut self.receipts.changed) {
            match self.leaves_of(of)? {
                Some(leaves) => rows.extend(self.moved_rows(of, &leaves)?),
                None => {
                    self.receipts.changed.insert(of);
                }
            }
        }
        let (mut written, mut behind) = (0, false);
        for part in rows.chunks(ROWS_PER_COMMIT) {
            let mut objects = Vec::with_capacity(part.len());
            for row in part {
                if let Some(bytes) = row.sign(self.member.secret()) {
                    objects.push(row.side_object(&bytes));
                }
            }
            let signed = objects.len();
            let taken = ask(&*self.relay, move |store| store.put_receipts(objects))??;
            for row in part {
                let key = (row.log, row.branch);
                self.receipts.rows.insert(key, row.clone());
            }
            written += part.len();
            behind |= taken < signed;
        }
        if behind {
            // The relay has newer rows of ours: it came out of a backup, and devices gave them back.
            self.read_own_receipts()?;
        }
        if written > 0 {
            self.relay.receipts_grown()?;
        }
        Ok(written)
    }

    /// Up to which number each log is opened, exceptions or not.
    pub fn opened_numbers(&self) -> impl Iterator<Item = (LogId, u64)> {
        self.receipts
            .rows
            .iter()
            .map(|((log, _), row)| (*log, row.opened.number))
    }

    /// Finds its own rows at the relay, so that counters go on rising after a restart.
    pub(crate) fn read_own_receipts(&mut self) -> Result<(), CentreError> {
        let all = ask(&*self.relay, |store| store.receipts())??;
        for bytes in all {
            let Ok(row) = Receipt::verify(&bytes, &self.membership) else {
                continue;
            };
            if row.centre == self.member.device() {
                let key = (row.log, row.branch);
                self.receipts.rows.insert(key, row);
            }
        }
        for scope in self.scopes() {
            self.receipts.scope_changed(&scope);
        }
        Ok(())
    }

    /// The leaves of a journal, if all of it is applied.
    fn leaves_of(&self, of: ScopeLane) -> Result<Option<Leaves>, CentreError> {
        let applied = self.member.applied(&*self.tables, of)?;
        ask(&*self.relay, move |store| {
            if store.journal_end(of) != applied {
                return Ok(None);
            }
            let forked = store.forked_logs(of);
            let mut leaves = Vec::new();
            for leaf in store.leaves(of) {
                let branch = match forked.contains(&leaf.log) {
                    false => Some(NO_BRANCH),
                    true => branch_of(store, &leaf)?,
                };
                leaves.extend(branch.map(|branch| (leaf, branch)));
            }
            Ok::<_, HoldingsError>(Some(Leaves { leaves }))
        })?
        .map_err(Into::into)
    }

    fn moved_rows(&self, of: ScopeLane, leaves: &Leaves) -> Result<Vec<Receipt>, CentreError> {
        let faults = self.faults_by_log(of)?;
        let mut rows = Vec::new();
        for (leaf, branch) in &leaves.leaves {
            let (opened, exceptions) = match faults.get(&leaf.log) {
                None => (up_to(leaf.number, leaf.id), BTreeMap::new()),
                Some(faults) => opened_before_faults(leaf, faults),
            };
            let held = self.receipts.rows.get(&(leaf.log, *branch));
            let moved = match held {
                Some(held) => held.opened != opened || held.exceptions != exceptions,
                None => opened != UpTo::NONE,
            };
            if moved {
                rows.push(Receipt {
                    programme: self.membership.programme(),
                    centre: self.member.device(),
                    log: leaf.log,
                    branch: *branch,
                    counter: held.map_or(1, |held| held.counter.saturating_add(1)),
                    opened,
                    backed_up: held.map_or(UpTo::NONE, |held| held.backed_up),
                    exceptions,
                });
            }
        }
        Ok(rows)
    }

    /// Entries of a journal that are not all applied, by log, ascending by number.
    fn faults_by_log(
        &self,
        of: ScopeLane,
    ) -> Result<BTreeMap<LogId, Vec<FaultyEntry>>, CentreError> {
        let mut by_log: BTreeMap<LogId, Vec<FaultyEntry>> = BTreeMap::new();
        for faulty in self.member.faulty_entries(&*self.tables, &of.scope)? {
            if faulty.of != of {
                continue;
            }
            let id = faulty.id;
            if let Some(entry) = ask(&*self.relay, move |store| store.entry(&id))?? {
                by_log.entry(entry.header().log).or_default().push(faulty);
            }
        }
        for faults in by_log.values_mut() {
            faults.sort_by_key(|faulty| (faulty.number, faulty.id));
        }
        Ok(by_log)
    }
}

fn up_to(number: u64, id: EntryId) -> UpTo {
    match number {
        0 => UpTo::NONE,
        _ => UpTo { number, id },
    }
}

/// Up to where a log is opened when some of its entries are not all applied: the number stops before
/// the first that is not opened, and before the first exception that no longer fits.
fn opened_before_faults(
    leaf: &Leaf,
    faults: &[FaultyEntry],
) -> (UpTo, BTreeMap<EntryId, Exception>) {
    let mut exceptions = BTreeMap::new();
    for faulty in faults.iter().filter(|faulty| faulty.number <= leaf.number) {
        match faulty.fault {
            Fault::Exception(exception) if exceptions.len() < EXCEPTIONS_MAX => {
                exceptions.insert(faulty.id, exception);
            }
            Fault::Exception(_) | Fault::NotOpened => {
                let number = faulty.number.saturating_sub(1);
                return (up_to(number, faulty.previous), exceptions);
            }
        }
    }
    (up_to(leaf.number, leaf.id), exceptions)
}

/// The branch on which a leaf of a forked log stands: the beginning of the id of its first entry
/// after the nearest fork below it. `None` if that is too far down.
fn branch_of(store: &dyn Store, leaf: &Leaf) -> Result<Option<[u8; 8]>, HoldingsError> {
    let (mut number, mut id) = (leaf.number, leaf.id);
    for _ in 0..BRANCH_STEPS_MAX {
        let Some(entry) = store.entry(&id)? else {
            return Ok(None);
        };
        let previous = entry.header().previous;
        for other in store.ids_at(&leaf.log, number)? {
            if other == id {
                continue;
            }
            let other = store.entry(&other)?;
            if other.is_some_and(|other| other.header().previous == previous) {
                let mut branch = NO_BRANCH;
                branch.copy_from_slice(&id.0[..8]);
                return Ok(Some(branch));
            }
        }
        if number <= 1 {
            return Ok(Some(NO_BRANCH));
        }
        number -= 1;
        id = previous;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_wire::ids::{DeviceKey, Incarnation};

    fn leaf(number: u64) -> Leaf {
        Leaf {
            log: LogId {
                scope: ScopeId([1; 16]),
                lane: Lane::Urgent,
                device: DeviceKey([2; 32]),
                incarnation: Incarnation([3; 16]),
            },
            number,
            id: id(number),
        }
    }

    fn id(number: u64) -> EntryId {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EntryId(id)
    }

    fn faulty(number: u64, fault: Fault) -> FaultyEntry {
        FaultyEntry {
            id: id(number),
            of: ScopeLane {
                scope: ScopeId([1; 16]),
                lane: Lane::Urgent,
            },
            number,
            previous: if number == 1 {
                EntryId::NONE
            } else {
                id(number - 1)
            },
            fault,
        }
    }

    #[test]
    fn the_number_stops_before_the_exception_that_does_not_fit() {
        let stuck = Fault::Exception(Exception::Stuck);
        let faults: Vec<_> = (1..=100).map(|number| faulty(number * 2, stuck)).collect();
        let (opened, exceptions) = opened_before_faults(&leaf(300), &faults);
        assert_eq!(exceptions.len(), EXCEPTIONS_MAX);
        assert_eq!(opened, up_to(129, id(129)));
        let (opened, exceptions) = opened_before_faults(&leaf(128), &faults);
        assert_eq!(exceptions.len(), 64);
        assert_eq!(opened, up_to(128, id(128)));
    }

    #[test]
    fn the_number_stops_before_what_is_not_opened() {
        let faults = [faulty(1, Fault::NotOpened)];
        let (opened, exceptions) = opened_before_faults(&leaf(5), &faults);
        assert_eq!((opened, exceptions.len()), (UpTo::NONE, 0));
        // What stands above the leaf is detached, and no part of what is signed.
        let faults = [faulty(7, Fault::NotOpened)];
        let (opened, _) = opened_before_faults(&leaf(5), &faults);
        assert_eq!(opened, up_to(5, id(5)));
    }
}
