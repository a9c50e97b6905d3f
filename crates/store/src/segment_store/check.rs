//! Reading everything and saying what is wrong with it.

use super::SegmentStore;
use crate::contents::{entry_row, of_log};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::Kind;
use crate::index::{IndexWrites, Table};
use crate::layout::{JournalRow, Life, journal_key, log_entry_key};
use crate::port::{BAD_STRETCHES_MAX, PROBLEMS_MAX, VerifyReport};
use crate::segments::{Location, Scanned};
use cairn_wire::{Entry, EntryId, hash};

impl<D: Disk> SegmentStore<D> {
    pub(super) fn check_everything(&self, deep: bool) -> Result<VerifyReport, StoreError> {
        self.check_alive()?;
        let mut report = VerifyReport::default();
        let mut scan = self.segments.scan_all();
        let (mut next, mut accounted) = (1, 0);
        while let Some(scanned) = scan.step()? {
            let (location, header, body) = match scanned {
                Scanned::Frame(location, header, body) => (location, header, body),
                Scanned::Bad(bad) => {
                    if report.bad_stretches.len() < BAD_STRETCHES_MAX {
                        report.bad_stretches.push(bad);
                    }
                    continue;
                }
            };
            report.frames += 1;
            report.lost_frames += header.number.saturating_sub(next);
            next = next.max(header.number.saturating_add(1));
            match Kind::from_byte(header.kind) {
                Some(Kind::Entry) => {
                    report.entries += 1;
                    self.check_entry(location, body, deep, &mut report)?;
                }
                Some(Kind::Life) => {
                    accounted = Life::parse(&body).map_or(accounted, |life| life.lost_frames);
                }
                _ => {}
            }
        }
        report.lost_frames += self.segments.next_frame().saturating_sub(next);
        if report.lost_frames != accounted {
            let lost = report.lost_frames;
            report.note(format!(
                "{lost} frames are missing, {accounted} were known to be; it needs a repair"
            ));
        }
        self.check_index_counts(&mut report)?;
        Ok(report)
    }

    fn check_entry(
        &self,
        location: Location,
        body: Vec<u8>,
        deep: bool,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let entry = match Entry::parse(body) {
            Ok(entry) => entry,
            Err(error) => {
                report.note(format!("{}: {error}", place(location)));
                return Ok(());
            }
        };
        let row = entry_row(&*self.index, &IndexWrites::default(), &entry.id())?;
        match row {
            None => report.note(format!("{}: the index lacks the entry", place(location))),
            Some(row) => {
                let journal = journal_key(of_log(&entry.header().log), row.position);
                let journal = self.index.get(Table::Journal, &journal)?;
                let journal = journal.as_deref().and_then(JournalRow::parse);
                if journal.is_none_or(|row| row.id != entry.id()) {
                    report.note(format!("{}: its journal lacks the entry", place(location)));
                }
            }
        }
        self.check_chain(location, &entry, report)?;
        if deep && let Err(error) = cairn_keys::verify_entry(&entry) {
            report.note(format!("{}: {error}", place(location)));
        }
        Ok(())
    }

    /// What stands in a log has its predecessor, or is known to lack it.
    fn check_chain(
        &self,
        location: Location,
        entry: &Entry,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let header = entry.header();
        if header.previous == EntryId::NONE {
            return Ok(());
        }
        let logs = self.contents.logs.get(&of_log(&header.log));
        let detached = logs.is_some_and(|logs| logs.is_detached(&entry.id()));
        let parent = log_entry_key(
            &header.log,
            header.number.saturating_sub(1),
            &header.previous,
        );
        let has_parent = self.index.get(Table::Logs, &parent)?.is_some();
        if !has_parent && !detached {
            report.note(format!(
                "{}: the entry before is missing, and the index does not say so",
                place(location)
            ));
        }
        Ok(())
    }

    /// Every journal has a row for every position, and their running hash comes out.
    fn check_index_counts(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut entries = 0;
        for (of, end) in &self.contents.ends {
            let mut running = [0; 8];
            for position in 0..end.mark.position {
                let row = self
                    .index
                    .get(Table::Journal, &journal_key(*of, position))?;
                match row.as_deref().and_then(JournalRow::parse) {
                    Some(row) => running = hash::journal_step(running, &row.id),
                    None => report.note(format!("a journal lacks position {position}")),
                }
            }
            if running != end.mark.hash {
                report.note("a journal's running hash does not come out".to_owned());
            }
            entries += end.mark.position;
        }
        if entries != report.entries {
            let read = report.entries;
            report.note(format!(
                "the journals have {entries} entries, the segments {read}; it needs a repair"
            ));
        }
        Ok(())
    }
}

impl VerifyReport {
    fn note(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

fn place(location: Location) -> String {
    format!("segment {}, byte {}", location.segment, location.offset)
}
