//! Records into a file: whole or not at all.

use super::known_kind;
use crate::Ended;
use crate::arguments::{Export, Format};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{count, listed};
use cairn_device::records::Record;
use cairn_device::records::schema::{self, Kind};
use cairn_device::{Device, Filter, Line};
use cairn_exchange::{
    CsvTable, CsvWriter, GeoJsonWriter, WriteError, export_feature, export_proposals, export_row,
    export_table,
};
use cairn_wire::ids::DocumentId;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Records that are open at a time.
const RECORDS_AT_ONCE: usize = 256;
/// Code of a failure that is none.
const CLOSED: &str = "closed";

pub fn export(arguments: &Export, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let path = arguments.file.as_path();
    let format = format_of(arguments)?;
    let mut filter = Filter {
        kind: arguments.kind.clone(),
        ..Filter::default()
    };
    if let Some(kind) = &arguments.kind {
        known_kind(kind)?;
    }
    if let Some(scope) = &arguments.scope {
        filter.scope = Some(device.find_scope(Some(scope))?);
    }
    let mut lines: Vec<Line> = device
        .list(filter)?
        .into_iter()
        .map(|one| one.line)
        .collect();
    // The same records give the same bytes.
    lines.sort_by_key(|line| line.id);
    let chosen = match format {
        Format::Geojson => Chosen::Geojson,
        Format::Csv => {
            let kind = one_kind(arguments, &lines)?;
            table(kind, &lines, device)?
        }
    };
    let records = Records {
        lines: &lines,
        device,
        path,
        chosen: &chosen,
    };
    let proposals;
    if path == Path::new("-") {
        proposals = match records.write(std::io::stdout().lock(), false) {
            // Whoever reads has read enough.
            Err(failure) if failure.code == CLOSED => return Ok(Ended::Done),
            written => written?,
        };
    } else {
        proposals = into_file(&records)?;
        output.answer(
            &json!({
                "schema": "cairn.export/1",
                "file": path.display().to_string(),
                "format": match format {
                    Format::Geojson => "geojson",
                    Format::Csv => "csv",
                },
                "records": lines.len(),
                "proposals": proposals,
            }),
            String::new,
        );
    }
    let proposed = match proposals {
        0 => String::new(),
        proposals => format!(
            ", and {} marked as such",
            count(proposals, "proposed outline")
        ),
    };
    output.say(&format!(
        "{} written{proposed}. Positions of hazards are sensitive: share the file with care.",
        count(lines.len() as u64, "record")
    ));
    Ok(Ended::Done)
}

/// The format that was asked for, else what the file's name says.
fn format_of(arguments: &Export) -> Result<Format, Failure> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    let path = arguments.file.as_path();
    let ending = path.extension().map(|ending| {
        let ending = ending.to_string_lossy().to_lowercase();
        ending.chars().take(20).collect::<String>()
    });
    match ending.as_deref() {
        Some("geojson" | "json") => Ok(Format::Geojson),
        Some("csv") => Ok(Format::Csv),
        None if path == Path::new("-") => Ok(Format::Geojson),
        Some(ending @ ("xlsx" | "kml" | "gpx" | "gpkg")) => Err(Failure::usage(format!(
            "files of the format {ending} cannot be written yet"
        ))
        .hint("Write FILE.csv for a spreadsheet, or FILE.geojson for a map.")),
        Some(ending) => Err(Failure::usage(format!(
            "which format is meant by the ending .{ending}?"
        ))
        .hint("Write FILE.csv or FILE.geojson, or say it: --format csv, --format geojson.")),
        None => Err(
            Failure::usage("the name of the file does not say its format")
                .hint("Write FILE.csv or FILE.geojson, or say it: --format csv, --format geojson."),
        ),
    }
}

/// The kind of all rows of a table.
fn one_kind(arguments: &Export, lines: &[Line]) -> Result<&'static Kind, Failure> {
    let held: BTreeSet<&str> = lines
        .iter()
        .map(|line| line.summary.kind.as_str())
        .collect();
    let named = match (&arguments.kind, held.iter().next()) {
        (Some(kind), _) => Some(kind.as_str()),
        (None, Some(only)) if held.len() == 1 => Some(*only),
        _ => None,
    };
    named.and_then(schema::kind).ok_or_else(|| {
        let held: Vec<&str> = held.into_iter().collect();
        Failure::usage("a table holds one kind of record: name it").hint(format!(
            "For example: cairn export FILE.csv {}. Held here: {}.",
            held.first().unwrap_or(&"hazardous_area"),
            listed(&held)
        ))
    })
}

/// What is written, and how.
struct Records<'a> {
    lines: &'a [Line],
    device: &'a Device,
    path: &'a Path,
    chosen: &'a Chosen,
}

/// A format, with what has to be known before the first record is written.
enum Chosen {
    Geojson,
    Csv {
        table: CsvTable,
        /// Whether spreadsheets need to be told that it is UTF-8.
        mark: bool,
    },
}

/// Looks which columns the records need.
fn table(kind: &Kind, lines: &[Line], device: &Device) -> Result<Chosen, Failure> {
    let (mut present, mut mark) = (BTreeSet::new(), false);
    each(lines, device, &mut |scope, id, record, key| {
        let row = export_row(id, scope, record, key);
        mark |= row.needs_mark();
        for column in row.columns() {
            if !present.contains(column) {
                present.insert(column.to_owned());
            }
        }
        Ok(())
    })?;
    Ok(Chosen::Csv {
        table: export_table(kind, &present),
        mark,
    })
}

/// Is given the name of a record's scope, its id, how it reads, and its import key.
type Give<'a> = &'a mut dyn FnMut(&str, &str, &Record, Option<&[u8; 32]>) -> Result<(), Failure>;

/// Gives each record with the name of its scope, its id and its import key.
fn each(lines: &[Line], device: &Device, give: Give<'_>) -> Result<(), Failure> {
    for lines in lines.chunks(RECORDS_AT_ONCE) {
        let named = lines.iter().map(|line| (line.scope, line.id)).collect();
        let keys: HashMap<DocumentId, Option<[u8; 32]>> = lines
            .iter()
            .map(|line| (line.id, line.import_key))
            .collect();
        for shown in device.records(named)? {
            let key = keys.get(&shown.id).copied().flatten();
            give(
                &shown.scope_name,
                &shown.id.to_string(),
                &shown.record,
                key.as_ref(),
            )?;
        }
    }
    Ok(())
}

/// Answers how many proposals were written.
fn into_file(records: &Records<'_>) -> Result<u64, Failure> {
    let path = records.path;
    let wrong = |error: std::io::Error| Failure::file("writing", path, &error);
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a device: there is nothing to replace.
        let file = File::options().write(true).open(path).map_err(wrong)?;
        return records.write(file, false);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new()
        .prefix(".cairn-export-")
        .tempfile_in(folder)
        .map_err(wrong)?;
    let proposals = records.write(beside.as_file(), true)?;
    beside.as_file().sync_all().map_err(wrong)?;
    beside.persist(path).map_err(|error| wrong(error.error))?;
    // On the disk itself, so that the new name survives a power cut.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(wrong)?;
    Ok(proposals)
}

impl Records<'_> {
    /// `for_people`: not a pipe, whose reader needs no mark. Answers how many proposals were written.
    fn write(&self, out: impl Write, for_people: bool) -> Result<u64, Failure> {
        let out = BufWriter::new(out);
        match self.chosen {
            Chosen::Geojson => self.write_geojson(out),
            Chosen::Csv { table, mark } => {
                self.write_csv(out, table, *mark && for_people)?;
                Ok(0)
            }
        }
    }

    fn write_geojson(&self, out: impl Write) -> Result<u64, Failure> {
        let wrong = |error: WriteError| match error {
            WriteError::Io(error) => self.failed(&error),
            WriteError::Order => Failure::new("internal", error.to_string()),
        };
        let mut writer = GeoJsonWriter::new(out).map_err(wrong)?;
        let mut proposals = 0;
        each(self.lines, self.device, &mut |_, id, record, key| {
            let own = export_feature(id, record, key);
            let proposed = export_proposals(id, record);
            proposals += proposed.len() as u64;
            for feature in std::iter::once(own).chain(proposed) {
                writer
                    .write(&feature.id, feature.drawing(), &feature.properties)
                    .map_err(wrong)?;
            }
            Ok(())
        })?;
        writer.finish().map_err(wrong)?;
        Ok(proposals)
    }

    fn write_csv(&self, out: impl Write, table: &CsvTable, mark: bool) -> Result<(), Failure> {
        let wrong = |error: std::io::Error| self.failed(&error);
        let mut writer = CsvWriter::new(out, table, mark).map_err(wrong)?;
        each(self.lines, self.device, &mut |scope, id, record, key| {
            let row = export_row(id, scope, record, key);
            writer.row(row.cells(table)).map_err(wrong)
        })?;
        writer.finish().map_err(wrong).map(drop)
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::new(CLOSED, "the reader closed the pipe");
        }
        Failure::file("writing", self.path, error)
    }
}
