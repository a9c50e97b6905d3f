//! A file into records.
//!
//! Rows that are here already are known by their import key and skipped; with `--key` what they say
//! anew is written. The others become records in groups, each durable as a whole.

use crate::Ended;
use crate::arguments::Import as Arguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::words::{count, grouped};
use cairn_device::records::Envelope;
use cairn_device::records::schema::{self, Kind};
use cairn_device::{AsOf, Device, DeviceError, Filter, ImportRow as DeviceRow, RowOutcome};
use cairn_exchange::{Import, ImportReport, ImportRow, Mapping, Refusal, Row, SeenRows, Warning};
use cairn_wire::ids::{DocumentId, ScopeId};
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

/// Rows that are given to the device together: more each time, for it looks over all it has each time.
const ROWS_FIRST: usize = 512;
const ROWS_MAX: usize = 8 * 1024;
/// … and no more of the file than this.
const BYTES_AT_ONCE: u64 = 16 * 1024 * 1024;

pub fn import(arguments: &Arguments, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let kind = schema::kind(&arguments.kind).ok_or_else(|| {
        let known: Vec<&str> = schema::kinds().map(|kind| kind.name.as_str()).collect();
        Failure::usage(format!("there is no kind of record {:?}", arguments.kind))
            .hint(format!("There is: {}.", known.join(", ")))
    })?;
    let mut mapping = Mapping {
        key: arguments.key.clone(),
        ..Mapping::default()
    };
    for text in &arguments.map {
        mapping.add(text)?;
    }
    let path = &arguments.file;
    let file = File::open(path).map_err(|error| Failure::file("opening", path, &error))?;
    let rows = Import::open(
        BufReader::new(file),
        kind,
        &mapping,
        arguments.crs.as_deref(),
    )?;
    let mut run = Run::begin(arguments, kind, device, &rows)?;
    let mut progress = Progress::begin(output, "Importing", Some(rows.outline().bytes));
    for row in rows {
        match row {
            Ok(row) => {
                progress.at(row.byte);
                run.row(row)?;
            }
            Err(fault) => run.report.stopped(&fault),
        }
    }
    run.flush()?;
    drop(progress);
    let mut report = run.report;
    in_row_order(&mut report);
    answer(&report, arguments.dry_run, output)?;
    Ok(if report.is_whole() {
        Ended::Done
    } else {
        Ended::Partly
    })
}

/// Groups are told of when they are durable, the other rows at once: bring them into one order.
fn in_row_order(report: &mut ImportReport) {
    report.refused.sort_by_key(|row| row.row);
    report.warnings.sort_by_key(|row| row.row);
    report.duplicate_rows.sort_by_key(|row| row.row);
}

struct Run<'a> {
    arguments: &'a Arguments,
    kind: &'static Kind,
    device: &'a Device,
    scope: ScopeId,
    /// Records that are here, by import key.
    held: HashMap<[u8; 32], DocumentId>,
    seen: SeenRows,
    waiting: Vec<DeviceRow>,
    /// Import key and warnings of the rows that wait.
    about: HashMap<u64, ([u8; 32], Vec<Warning>)>,
    /// Where in the file the rows that wait begin.
    flushed_byte: u64,
    rows_at_once: usize,
    report: ImportReport,
}

impl<'a> Run<'a> {
    fn begin<R: std::io::Read>(
        arguments: &'a Arguments,
        kind: &'static Kind,
        device: &'a Device,
        rows: &Import<R>,
    ) -> Result<Self, Failure> {
        let scope = device.find_scope(arguments.scope.as_deref())?;
        let held = device.list(Filter {
            scope: Some(scope),
            ..Filter::default()
        })?;
        Ok(Self {
            arguments,
            kind,
            device,
            scope,
            held: held
                .into_iter()
                .filter_map(|one| Some((one.line.import_key?, one.line.id)))
                .collect(),
            seen: SeenRows::default(),
            waiting: Vec::new(),
            about: HashMap::new(),
            flushed_byte: 0,
            rows_at_once: ROWS_FIRST,
            report: ImportReport::new(rows.unmapped()),
        })
    }

    fn row(&mut self, row: Row) -> Result<(), Failure> {
        let number = row.number;
        let said = match row.result {
            Ok(said) => said,
            Err(refusal) => {
                self.report.refused(number, refusal);
                return Ok(());
            }
        };
        let (own, exported) = said.import_keys(self.kind, &self.scope);
        let earlier = self.seen.see(number, &own);
        if earlier.is_some() && said.key.is_some() {
            // It may say more than the earlier row, whose record has to be there for that.
            self.flush()?;
        }
        let exported_held = exported.is_some_and(|key| self.held.contains_key(&key));
        match (self.held.get(&own).copied(), &said.key) {
            (Some(id), Some(_)) => self.update(number, &id, &said),
            (None, _) if earlier.is_none() && !exported_held => {
                self.make(number, row.byte, own, said)
            }
            _ => {
                self.report.duplicate(number, earlier);
                Ok(())
            }
        }
    }

    fn make(
        &mut self,
        number: u64,
        byte: u64,
        own: [u8; 32],
        said: ImportRow,
    ) -> Result<(), Failure> {
        if self.arguments.dry_run {
            self.report.taken(number, &said.warnings);
            return Ok(());
        }
        self.waiting.push(DeviceRow {
            row: number,
            envelope: Envelope::default(),
            edits: said.edits,
        });
        self.about.insert(number, (own, said.warnings));
        let full = self.waiting.len() >= self.rows_at_once;
        if full || byte.saturating_sub(self.flushed_byte) >= BYTES_AT_ONCE {
            self.flush()?;
            self.flushed_byte = byte;
            self.rows_at_once = (self.rows_at_once * 2).min(ROWS_MAX);
        }
        Ok(())
    }

    /// Makes records of the rows that wait.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let scope = self.scope.to_string();
        let (_, outcomes) = self.device.import(Some(&scope), &self.kind.name, rows)?;
        for (number, outcome) in outcomes {
            let (key, warnings) = self.about.remove(&number).unwrap_or_default();
            match outcome {
                RowOutcome::Taken(id) => {
                    self.report.taken(number, &warnings);
                    self.held.insert(key, id);
                }
                RowOutcome::Updated(_) => self.report.updated(number, &warnings),
                RowOutcome::Duplicate(_) => self.report.duplicate(number, None),
                RowOutcome::Refused { code, message } => self.report.refused(
                    number,
                    Refusal {
                        code,
                        message,
                        hint: "Correct or shorten the value in the file and import it again."
                            .to_owned(),
                    },
                ),
            }
        }
        Ok(())
    }

    /// A row whose record is here: writes what it says anew. What people changed since the first import
    /// is not set back.
    fn update(&mut self, number: u64, id: &DocumentId, said: &ImportRow) -> Result<(), Failure> {
        let name = id.to_string();
        let now = self.device.show(&name, None)?.record;
        let at_root = self
            .device
            .show(&name, Some(AsOf::Heads(vec![now.root])))?
            .record;
        let news = said.news(&now, &at_root);
        if news.is_empty() {
            self.report.duplicate(number, None);
            return Ok(());
        }
        if self.arguments.dry_run {
            self.report.updated(number, &said.warnings);
            return Ok(());
        }
        match self.device.edit(&name, None, news) {
            Ok(_) => self.report.updated(number, &said.warnings),
            Err(DeviceError::Member(cairn_device::member::MemberError::Request(
                cairn_device::member::RequestError::NothingChanged,
            ))) => self.report.duplicate(number, None),
            Err(error @ DeviceError::Member(cairn_device::member::MemberError::Request(_))) => {
                self.report.refused(
                    number,
                    Refusal {
                        code: "update",
                        message: error.to_string(),
                        hint: "Look at the record with cairn show, and decide there what stands."
                            .to_owned(),
                    },
                );
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn answer(report: &ImportReport, dry_run: bool, output: &Output) -> Result<(), Failure> {
    let mut object = serde_json::to_value(report)
        .map_err(|error| Failure::new("internal", error.to_string()))?;
    if let Some(object) = object.as_object_mut() {
        object.insert("dry_run".into(), json!(dry_run));
    }
    output.answer(&object, || in_lines(report));
    let verb = if dry_run { "would be taken" } else { "taken" };
    output.say(&format!(
        "{}: {} {verb}, {} updated, {} here already, {} refused.",
        count(report.considered, "row"),
        grouped(report.taken),
        grouped(report.updated),
        grouped(report.duplicates),
        grouped(report.refused_count)
    ));
    if !report.unmapped.is_empty() {
        output.say(&format!(
            "Not taken into any field: {}. Use --map FIELD=PROPERTY.",
            report.unmapped.join(", ")
        ));
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

/// Each refused or suspicious row: its number, why, what to do. Equal ones stand together.
fn in_lines(report: &ImportReport) -> String {
    let mut lines = String::new();
    for row in &report.refused {
        lines.push_str(&format!(
            "row {}: refused: {} {}\n",
            row.row, row.message, row.hint
        ));
    }
    for row in &report.warnings {
        lines.push_str(&format!(
            "row {}: taken, look at it: {}\n",
            row.row, row.message
        ));
    }
    lines
}
