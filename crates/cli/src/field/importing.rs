//! A file into records.
//!
//! Rows that are here already are known by their import key and skipped; with `--key` what they say
//! anew is written. The others become records in groups, each durable as a whole.

use super::import_rows::rows_in_lines;
use super::known_kind;
use crate::Ended;
use crate::arguments::Import as Arguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::words::{age, count, grouped, listed};
use cairn_device::records::geometry::Position;
use cairn_device::records::json::utc;
use cairn_device::records::schema::Kind;
use cairn_device::records::{Envelope, input};
use cairn_device::{Compared, Device, Filter, ImportRow as DeviceRow, Importing, RowOutcome};
use cairn_exchange::{
    At, DateOrder, Import, ImportOptions, ImportReport, Mapping, Refusal, Row, Warning,
};
use cairn_wire::ids::ScopeId;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::mpsc::channel;

/// Rows that are given to the device together.
const ROWS_AT_ONCE: usize = 4096;
/// … and no more of the file than this.
const BYTES_AT_ONCE: u64 = 16 * 1024 * 1024;
/// Seconds left from which people are told that they may do something else.
const LONG_S: u64 = 120;
/// Columns that are named where they are not mapped.
const UNMAPPED_SHOWN: usize = 30;

pub fn import(arguments: &Arguments, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = known_kind(&arguments.kind)?;
    let mut mapping = Mapping {
        key: arguments.key.clone(),
        ..Mapping::default()
    };
    for text in &arguments.map {
        mapping.add(text)?;
    }
    let file = open(&arguments.file)?;
    let scope = device.find_scope(arguments.scope.as_deref())?;
    let options = options(arguments, kind, scope, device)?;
    let mut rows = Import::open(BufReader::new(file), kind, &mapping, &options)?;
    let mut run = Run::begin(arguments, kind, scope, device, rows.unmapped());
    let mut progress = Progress::begin(output, "Importing", Some(rows.outline().bytes));
    let mut told = false;
    for row in rows.by_ref() {
        match row {
            Ok(row) => {
                progress.at(row.byte);
                if !told && let Some(left_s) = progress.left_s(row.byte) {
                    told = true;
                    if left_s >= LONG_S {
                        progress.say(&takes_long(left_s, arguments.dry_run));
                    }
                }
                run.row(row)?;
            }
            Err(fault) => run.report.stopped(&fault),
        }
    }
    run.flush()?;
    drop(progress);
    let mut report = run.report;
    report.notes = rows.notes().to_vec();
    in_row_order(&mut report);
    answer(&report, arguments.dry_run, output)?;
    Ok(if report.is_whole() {
        Ended::Done
    } else {
        Ended::Partly
    })
}

/// What people need to know who wait.
fn takes_long(left_s: u64, dry_run: bool) -> String {
    let left = age(left_s);
    match dry_run {
        true => format!("The file is large: this will take about {left}. Nothing is saved."),
        false => format!(
            "The file is large: this will take about {left}. What is saved stays: if it is interrupted, run the same command again and it goes on with the rest."
        ),
    }
}

fn options(
    arguments: &Arguments,
    kind: &'static Kind,
    scope: ScopeId,
    device: &Device,
) -> Result<ImportOptions, Failure> {
    let date_order = arguments.date_order.as_deref();
    let mut every_row = Vec::new();
    for text in &arguments.set {
        every_row.push(input::set(kind, text)?);
    }
    Ok(ImportOptions {
        crs: arguments.crs.clone(),
        date_order: date_order.map(DateOrder::from_name).transpose()?,
        today: utc(cairn_device::now_s()).and_then(|now| Some(now.get(..10)?.to_owned())),
        held: places_held(scope, device)?,
        every_row,
    })
}

/// Where the records of an area of work lie; there may be very many, so nothing else of them is kept.
fn places_held(scope: ScopeId, device: &Device) -> Result<Vec<Position>, Failure> {
    let filter = Filter {
        scope: Some(scope),
        ..Filter::default()
    };
    let (give, take) = channel();
    device.each_listed(filter, None, move |one| {
        let place = one.line.summary.centre;
        place.is_none_or(|place| give.send(place).is_ok())
    })?;
    Ok(take.into_iter().collect())
}

/// A file that can be read twice.
fn open(path: &Path) -> Result<File, Failure> {
    let wrong = |error: std::io::Error| Failure::file("opening", path, &error);
    let file = File::open(path).map_err(wrong)?;
    let metadata = file.metadata().map_err(wrong)?;
    if metadata.is_dir() {
        return Err(
            Failure::new("file", format!("{} is a folder", path.display()))
                .hint("Name a file in it."),
        );
    }
    if !metadata.is_file() {
        return Err(
            Failure::new("file", format!("{} is no ordinary file", path.display()))
                .hint("A file is read twice: save it first."),
        );
    }
    Ok(file)
}

/// Groups are told of when they are durable, the other rows at once: bring them into one order.
fn in_row_order(report: &mut ImportReport) {
    report.refused.sort_by_key(|row| row.row);
    report.warnings.sort_by_key(|row| row.row);
    report.duplicate_rows.sort_by_key(|row| row.row);
}

struct Run<'a> {
    device: &'a Device,
    /// What the device goes on with.
    importing: Option<Importing>,
    waiting: Vec<DeviceRow>,
    /// Where the rows that wait stand in the file, and their warnings.
    about: HashMap<u64, (At, Vec<Warning>)>,
    /// Where in the file the rows that wait begin.
    flushed_byte: u64,
    report: ImportReport,
}

impl<'a> Run<'a> {
    fn begin(
        arguments: &Arguments,
        kind: &'static Kind,
        scope: ScopeId,
        device: &'a Device,
        unmapped: &[String],
    ) -> Self {
        Self {
            device,
            importing: Some(Importing::new(scope, kind, arguments.dry_run)),
            waiting: Vec::new(),
            about: HashMap::new(),
            flushed_byte: 0,
            report: ImportReport::new(unmapped),
        }
    }

    fn row(&mut self, row: Row) -> Result<(), Failure> {
        let at = At {
            row: row.number,
            line: row.line,
        };
        let said = match row.result {
            Ok(said) => said,
            Err(refusal) => {
                self.report.refused(at, refusal);
                return Ok(());
            }
        };
        self.waiting.push(DeviceRow {
            row: row.number,
            envelope: Envelope::default(),
            edits: said.edits,
            copy_of: said.exported_key,
        });
        self.about.insert(row.number, (at, said.warnings));
        let full = self.waiting.len() >= ROWS_AT_ONCE;
        if full || row.byte.saturating_sub(self.flushed_byte) >= BYTES_AT_ONCE {
            self.flush()?;
            self.flushed_byte = row.byte;
        }
        Ok(())
    }

    /// Gives the rows that wait to the device.
    fn flush(&mut self) -> Result<(), Failure> {
        let Some(importing) = self.importing.take() else {
            return Ok(());
        };
        if self.waiting.is_empty() {
            self.importing = Some(importing);
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let (importing, _, outcomes) = self.device.import_part(importing, rows)?;
        self.importing = Some(importing);
        for (number, outcome) in outcomes {
            let (at, mut warnings) = self
                .about
                .remove(&number)
                .unwrap_or((number.into(), Vec::new()));
            match outcome {
                RowOutcome::Taken(_) => self.report.taken(at, &warnings),
                RowOutcome::Updated(compared) => {
                    warnings.extend(beside_the_record(&compared));
                    self.report.updated(at, &warnings);
                }
                RowOutcome::Unchanged(compared) => {
                    warnings.extend(beside_the_record(&compared));
                    self.report.unchanged(at, &warnings);
                }
                RowOutcome::Duplicate { of_row } => self.report.duplicate(number, of_row),
                RowOutcome::Refused { code, message } => {
                    let hint = match code {
                        "update" => {
                            "Look at the record with cairn show, and decide there what stands."
                        }
                        _ => "Correct or shorten the value in the file and import it again.",
                    };
                    self.report.refused(
                        at,
                        Refusal {
                            code,
                            message,
                            hint: hint.to_owned(),
                        },
                    );
                }
            }
        }
        Ok(())
    }
}

/// What is to be known of a row whose record was here.
fn beside_the_record(compared: &Compared) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !compared.proposals.is_empty() {
        warnings.push(Warning {
            code: "proposal",
            message: format!(
                "{}: what the row says is safer than what stood there, so it waits as a proposal for somebody who may decide.",
                listed(&compared.proposals)
            ),
        });
    }
    if !compared.kept.is_empty() {
        warnings.push(Warning {
            code: "changed_here",
            message: format!(
                "{}: changed in Cairn since the first import; what stands there was kept, not what the row says.",
                listed(&compared.kept)
            ),
        });
    }
    warnings
}

fn answer(report: &ImportReport, dry_run: bool, output: &Output) -> Result<(), Failure> {
    let mut object = serde_json::to_value(report)
        .map_err(|error| Failure::new("internal", error.to_string()))?;
    if let Some(object) = object.as_object_mut() {
        object.insert("dry_run".into(), json!(dry_run));
    }
    output.answer(&object, || rows_in_lines(report, output));
    for note in &report.notes {
        output.say(note);
    }
    if !report.unmapped.is_empty() {
        output.say(&unmapped_in_words(&report.unmapped));
    }
    let verb = if dry_run { "would be taken" } else { "taken" };
    let unchanged = match report.unchanged {
        0 => String::new(),
        unchanged => format!(", {} unchanged", grouped(unchanged)),
    };
    let equal = match report.equal_rows {
        0 => String::new(),
        equal => format!(", {} the same as an earlier row", grouped(equal)),
    };
    output.say(&format!(
        "{}: {} {verb}, {} updated{unchanged}, {} here already{equal}, {} refused.",
        count(report.considered, "row"),
        grouped(report.taken),
        grouped(report.updated),
        grouped(report.duplicates.saturating_sub(report.equal_rows)),
        grouped(report.refused_count)
    ));
    if report.equal_rows > 0 && !report.unmapped.is_empty() {
        output.say("Rows that differ only in columns which are not mapped count as the same. To keep them apart, map a column in which they differ, such as --map local_id=COLUMN, or name it with --key COLUMN.");
    }
    if let Some(fault) = &report.fault {
        output.say(&format!("{} {}", fault.message, fault.hint));
    }
    output.say(if dry_run {
        "Nothing was saved: this was a dry run."
    } else if report.taken + report.updated == 0 {
        "Nothing new was saved."
    } else {
        "Saved on this laptop. Not yet at the centre. Next: cairn sync."
    });
    Ok(())
}

fn unmapped_in_words(unmapped: &[String]) -> String {
    let shown: Vec<String> = unmapped
        .iter()
        .take(UNMAPPED_SHOWN)
        .map(|name| super::values::one_line(name))
        .collect();
    let more = match unmapped.len().saturating_sub(UNMAPPED_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if unmapped.len() == 1 { "is" } else { "are" };
    format!(
        "{} {verb} not mapped: {}{more}. Use --map FIELD=COLUMN.",
        count(unmapped.len() as u64, "column"),
        shown.join(", ")
    )
}
