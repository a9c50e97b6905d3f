//! Reading everything and saying what is wrong with it, a slice at a time.

use super::SegmentStore;
use crate::contents::{entry_row, of_log};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::Kind;
use crate::index::{IndexWrites, Table};
use crate::layout::{JournalRow, Life, journal_key, log_entry_key};
use crate::port::{
    BAD_STRETCHES_MAX, JournalCheck, PROBLEMS_MAX, VERIFY_SLICE_BYTES, VERIFY_SLICE_ROWS,
    VerifyReport, VerifyStage, Verifying,
};
use crate::segments::{Location, Scanned};
use cairn_wire::frame::JournalMark;
use cairn_wire::{Entry, EntryId, hash};

/// Rows of journals in one slice: each costs one read of the index.
const JOURNAL_SLICE_ROWS: u64 = 8 * VERIFY_SLICE_ROWS;

impl<D: Disk> SegmentStore<D> {
    /// A slice of the check.
    pub(super) fn check_some(&self, verifying: &mut Verifying) -> Result<(), StoreError> {
        self.check_alive()?;
        match std::mem::replace(&mut verifying.stage, VerifyStage::Done) {
            VerifyStage::Frames(segment, offset) => {
                if verifying.of_bytes == 0 {
                    verifying.of_bytes = self.segments.bytes()?;
                }
                verifying.stage = self.check_frames(verifying, segment, offset)?;
            }
            VerifyStage::Journals(journals) => {
                verifying.stage = self.check_journals(&mut verifying.report, journals)?;
            }
            VerifyStage::Done => {}
        }
        Ok(())
    }

    fn check_frames(
        &self,
        verifying: &mut Verifying,
        segment: u64,
        offset: u64,
    ) -> Result<VerifyStage, StoreError> {
        let Verifying { deep, report, .. } = verifying;
        let mut scan = self.segments.scan(segment, offset, verifying.next_frame);
        let (mut bytes, mut entries) = (0, 0);
        while bytes < VERIFY_SLICE_BYTES && entries < VERIFY_SLICE_ROWS {
            let Some(scanned) = scan.step()? else {
                return Ok(self.frames_checked(verifying));
            };
            let (location, header, body) = match scanned {
                Scanned::Frame(location, header, body) => (location, header, body),
                Scanned::Bad(bad) => {
                    bytes += bad.to - bad.from;
                    if report.bad_stretches.len() < BAD_STRETCHES_MAX {
                        report.bad_stretches.push(bad);
                    }
                    continue;
                }
            };
            bytes += location.end() - location.offset;
            report.frames += 1;
            report.lost_frames += header.number.saturating_sub(verifying.next_frame);
            verifying.next_frame = verifying.next_frame.max(header.number.saturating_add(1));
            match Kind::from_byte(header.kind) {
                Some(Kind::Entry) => {
                    entries += 1;
                    report.entries += 1;
                    self.check_entry(location, body, *deep, report)?;
                }
                Some(Kind::Life) => {
                    let life = Life::parse(&body);
                    verifying.accounted = life.map_or(verifying.accounted, |life| life.lost_frames);
                }
                _ => {}
            }
        }
        verifying.done_bytes += bytes;
        let (segment, offset) = scan.place().unwrap_or((segment, offset));
        Ok(VerifyStage::Frames(segment, offset))
    }

    /// All frames were read, in a turn in which nothing is written: the journals end where they do now.
    fn frames_checked(&self, verifying: &mut Verifying) -> VerifyStage {
        verifying.done_bytes = verifying.of_bytes;
        let report = &mut verifying.report;
        let next = verifying.next_frame;
        report.lost_frames += self.segments.next_frame().saturating_sub(next);
        if report.lost_frames != verifying.accounted {
            let (lost, accounted) = (report.lost_frames, verifying.accounted);
            report.note(format!(
                "{lost} frames are missing, {accounted} were known to be; it needs a repair"
            ));
        }
        let ends = self.contents.ends.iter();
        let journals: Vec<JournalCheck> = ends
            .map(|(of, end)| JournalCheck {
                of: *of,
                end: end.mark,
                at: JournalMark::default(),
            })
            .collect();
        let entries: u64 = journals.iter().map(|journal| journal.end.position).sum();
        if entries != report.entries {
            let read = report.entries;
            report.note(format!(
                "the journals have {entries} entries, the segments {read}; it needs a repair"
            ));
        }
        VerifyStage::Journals(journals)
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
    fn check_journals(
        &self,
        report: &mut VerifyReport,
        mut journals: Vec<JournalCheck>,
    ) -> Result<VerifyStage, StoreError> {
        let mut rows = 0;
        while let Some(JournalCheck { of, end, at }) = journals.last_mut() {
            while at.position < end.position {
                if rows >= JOURNAL_SLICE_ROWS {
                    return Ok(VerifyStage::Journals(journals));
                }
                rows += 1;
                let row = self
                    .index
                    .get(Table::Journal, &journal_key(*of, at.position))?;
                match row.as_deref().and_then(JournalRow::parse) {
                    Some(row) => at.hash = hash::journal_step(at.hash, &row.id),
                    None => report.note(format!("a journal lacks position {}", at.position)),
                }
                at.position += 1;
            }
            if at.hash != end.hash {
                report.note("a journal's running hash does not come out".to_owned());
            }
            journals.pop();
        }
        Ok(VerifyStage::Done)
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
