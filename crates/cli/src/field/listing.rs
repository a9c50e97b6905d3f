//! Lists, and what they must say beside: which areas of work are held here, and how old they are.

use super::known_kind;
use super::reading::others;
use crate::Ended;
use crate::arguments::List;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, count, utc};
use cairn_device::records::{Duplicates, schema};
use cairn_device::{Device, Filter, Held, HeldScope, Listed};
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::io::IsTerminal;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Records that a terminal is shown where nothing else is said.
const SHOWN_ON_TERMINAL: usize = 50;
/// Records whose columns are aligned together.
const ROWS_TOGETHER: usize = 500;
/// Bytes that are written together.
const CHUNK_BYTES: usize = 64 * 1024;

pub fn list(arguments: &List, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let filter = filter(arguments, device)?;
    let short = !output.json && !arguments.all && std::io::stdout().is_terminal();
    let limit = arguments.limit.or(short.then_some(SHOWN_ON_TERMINAL));
    let held = device.held()?;
    let duplicates = device.duplicates()?;
    let total = if output.json {
        as_json(filter, limit, device, &held, duplicates, output)?
    } else {
        in_lines(filter, limit, device, duplicates, output)?
    };
    let shown = limit.map_or(total, |limit| total.min(limit as u64));
    let fits = match total {
        0 => "No record here fits. That does not say that there is no hazard.".to_owned(),
        _ if shown < total => format!(
            "{}, and {} more: --all, or fewer with --where FIELD=VALUE or --search WORDS.",
            count(shown, "record"),
            words::grouped(total - shown)
        ),
        _ => format!("{}.", count(total, "record")),
    };
    output.say(&format!("{fits} {}", held_in_words(&held, output)));
    Ok(Ended::Done)
}

fn filter(arguments: &List, device: &Device) -> Result<Filter, Failure> {
    let mut filter = Filter {
        kind: arguments.kind.clone(),
        open_questions: arguments.conflicts,
        unsent: arguments.unsent,
        search: arguments.search.clone(),
        ..Filter::default()
    };
    if let Some(kind) = &arguments.kind {
        known_kind(kind)?;
    }
    if let Some(scope) = &arguments.scope {
        filter.scope = Some(device.find_scope(Some(scope))?);
    }
    for text in &arguments.reads {
        let (field, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage("write --where FIELD=VALUE"))?;
        known_field(field.trim())?;
        filter
            .reads
            .push((field.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(filter)
}

/// A misspelt field must not pass for one that nothing fits.
fn known_field(field: &str) -> Result<(), Failure> {
    if schema::kinds().any(|kind| kind.field(field).is_some()) {
        return Ok(());
    }
    let mut near: Vec<String> = schema::kinds()
        .flat_map(|kind| kind.nearest(field))
        .collect();
    near.sort();
    near.dedup();
    let failure = Failure::usage(format!("no kind of record has a field {field:?}"));
    Err(match near.is_empty() {
        true => failure,
        false => failure.hint(format!("Did you mean {}?", near.join(" or "))),
    })
}

/// A record in `cairn.list/1`.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    kind: &'a str,
    local_id: Option<&'a str>,
    conflicts: usize,
    unsent: u64,
    short_code: String,
    scope: &'a str,
    status: Option<&'a str>,
    hazard_class: Option<&'a str>,
    proposals: usize,
    void: bool,
    area_m2: Option<u64>,
    extent_not_surveyed: bool,
    centre: Option<Json>,
    date_of_information: Option<&'a str>,
    date: Option<&'a str>,
    recorded_at: Option<String>,
    changes: u64,
    held: u64,
    duplicates: Json,
}

impl<'a> Row<'a> {
    fn of(listed: &'a Listed, duplicates: &Duplicates) -> Self {
        let (line, summary) = (&listed.line, &listed.line.summary);
        Self {
            id: line.id.to_string(),
            kind: &summary.kind,
            local_id: summary.local_id.as_deref(),
            conflicts: summary.conflicts,
            unsent: listed.unsent,
            short_code: line.short_code(),
            scope: &listed.scope_name,
            status: summary.status.as_deref(),
            hazard_class: summary.hazard_class.as_deref(),
            proposals: summary.proposals,
            void: summary.void,
            area_m2: summary.area_m2,
            extent_not_surveyed: summary.extent_not_surveyed,
            centre: summary
                .centre
                .map(|at| json!({ "lat": at.lat(), "lon": at.lon() })),
            date_of_information: summary.date_of_information.as_deref(),
            date: summary.date.as_deref(),
            recorded_at: utc(line.recorded_at_s),
            changes: line.changes,
            held: line.held,
            duplicates: others(&line.id, duplicates),
        }
    }
}

/// The object is written while the list is read: a hundred thousand records are more than a laptop
/// should hold as text.
fn as_json(
    filter: Filter,
    limit: Option<usize>,
    device: &Device,
    held: &Held,
    duplicates: Duplicates,
    output: &Output,
) -> Result<u64, Failure> {
    let mut start = json!({ "schema": "cairn.list/1" });
    insert_held(held, &mut start);
    let start = start.to_string();
    output.bytes(start.trim_end_matches('}').as_bytes());
    output.bytes(b",\"records\":[");
    let listed = streamed(output, |give| {
        let mut pieces = Pieces::begin(give);
        let mut first = true;
        device.each_listed(filter, limit, move |one| {
            if !std::mem::take(&mut first) {
                pieces.bytes.push(b',');
            }
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut pieces.bytes, &Row::of(&one, &duplicates));
            pieces.is_wanted()
        })
    });
    match listed {
        Ok(total) => output.bytes(format!("],\"total\":{total}}}\n").as_bytes()),
        // What went wrong stands on a line of its own.
        Err(_) => output.bytes(b"\n"),
    }
    listed
}

fn in_lines(
    filter: Filter,
    limit: Option<usize>,
    device: &Device,
    duplicates: Duplicates,
    output: &Output,
) -> Result<u64, Failure> {
    let (verbose, zone) = (output.verbose, output.zone.clone());
    let width = output.columns;
    streamed(output, |give| {
        let mut table = Table {
            rows: Vec::new(),
            // On a narrow terminal go first: area of work, kind, time.
            spared: [6, 2, 7].map(|column| column + usize::from(verbose)),
            width,
            pieces: Pieces::begin(give),
        };
        device.each_listed(filter, limit, move |one| {
            let doubled = duplicates.contains_key(&one.line.id);
            table.rows.push(columns(&one, doubled, verbose, &zone));
            if table.rows.len() >= ROWS_TOGETHER {
                table.align();
            }
            table.pieces.is_wanted()
        })
    })
}

fn columns(one: &Listed, doubled: bool, verbose: bool, zone: &TimeZone) -> Vec<String> {
    let summary = &one.line.summary;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut marks = Vec::new();
    if summary.conflicts > 0 {
        marks.push("CONFLICT");
    }
    if summary.proposals > 0 {
        marks.push("proposal");
    }
    if doubled {
        marks.push("duplicate?");
    }
    if summary.void {
        marks.push("withdrawn");
    }
    if one.unsent > 0 {
        marks.push("not yet at the centre");
    }
    let area = match summary.area_m2 {
        Some(area) => {
            let circle = if summary.extent_not_surveyed { "~" } else { "" };
            format!("{circle}{} m²", words::grouped(area))
        }
        None if summary.bounds.is_some() => "a place".to_owned(),
        None => "no place".to_owned(),
    };
    // Of what no class is asked, the day it speaks of.
    let class = summary.hazard_class.as_ref().or(summary.date.as_ref());
    let mut row = vec![
        text(&summary.local_id),
        one.line.short_code(),
        summary.kind.clone(),
        class.cloned().unwrap_or_else(|| "-".to_owned()),
        text(&summary.status),
        area,
        one.scope_name.clone(),
        words::time(one.line.recorded_at_s, zone),
        marks.join(", "),
    ];
    if verbose {
        row.insert(0, one.line.id.to_string());
    }
    row
}

/// Rows that wait to be aligned with those that follow.
struct Table {
    rows: Vec<Vec<String>>,
    spared: [usize; 3],
    width: Option<usize>,
    pieces: Pieces,
}

impl Table {
    fn align(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let text = words::table(&rows, self.width, &self.spared);
        self.pieces.bytes.extend_from_slice(text.as_bytes());
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.align();
    }
}

/// Bytes on their way to standard output, some together.
struct Pieces {
    bytes: Vec<u8>,
    give: SyncSender<Vec<u8>>,
}

impl Pieces {
    fn begin(give: SyncSender<Vec<u8>>) -> Self {
        Self {
            bytes: Vec::new(),
            give,
        }
    }

    fn is_wanted(&mut self) -> bool {
        self.bytes.len() < CHUNK_BYTES || self.send()
    }

    fn send(&mut self) -> bool {
        self.give.send(std::mem::take(&mut self.bytes)).is_ok()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.send();
    }
}

/// Writes what `work` gives, while it works.
fn streamed<R, E: Into<Failure>>(
    output: &Output,
    work: impl FnOnce(SyncSender<Vec<u8>>) -> Result<R, E>,
) -> Result<R, Failure> {
    let (give, take) = sync_channel::<Vec<u8>>(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            for bytes in take {
                output.bytes(&bytes);
            }
        });
        work(give).map_err(Into::into)
    })
}

/// Keys of every answer that speaks of what is held here.
pub(super) fn insert_held(held: &Held, object: &mut Json) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let scopes = || held.scopes.iter().filter(|scope| scope.held);
    let names: Vec<&str> = scopes().map(|scope| scope.name.as_str()).collect();
    let others = held.scopes.iter().filter(|scope| !scope.held);
    let others: Vec<&str> = others.map(|scope| scope.name.as_str()).collect();
    let data: Vec<Json> = scopes()
        .map(|scope| {
            let newest = Some(scope.totals.newest_s).filter(|_| scope.totals.documents > 0);
            json!({
                "scope": scope.name,
                "documents": scope.totals.documents,
                "newest_recorded_at": newest.and_then(utc),
            })
        })
        .collect();
    object.insert("scopes_held".into(), json!(names));
    object.insert("scopes_not_held".into(), json!(others));
    object.insert("data".into(), json!(data));
    object.insert("as_of".into(), json!(held.last_contact_s.and_then(utc)));
}

/// Which areas of work are held here, how old they are, and which are not.
pub(super) fn held_in_words(held: &Held, output: &Output) -> String {
    let scopes: Vec<String> = held
        .scopes
        .iter()
        .filter(|scope| scope.held)
        .map(|scope| scope_in_words(scope, output))
        .collect();
    if scopes.is_empty() {
        return "No area of work is held here.".to_owned();
    }
    let others = held.scopes.iter().filter(|scope| !scope.held);
    let others: Vec<&str> = others.map(|scope| scope.name.as_str()).collect();
    let others = match others.is_empty() {
        true => "About other areas of work this says nothing.".to_owned(),
        false => format!("Not held, and nothing said of: {}.", words::listed(&others)),
    };
    format!(
        "Held here: {}, {}. {others}",
        words::listed(&scopes),
        as_of_in_words(held, output)
    )
}

/// How old what is held is: since then others may have found more.
pub(super) fn as_of_in_words(held: &Held, output: &Output) -> String {
    match held.last_contact_s {
        Some(at) => format!("as of {}", words::time(at, &output.zone)),
        None => "never synced: only what was recorded here".to_owned(),
    }
}

fn scope_in_words(scope: &HeldScope, output: &Output) -> String {
    let totals = &scope.totals;
    if totals.documents == 0 {
        return format!("{} (no record)", scope.name);
    }
    let records = count(totals.documents, "record");
    let newest = words::time(totals.newest_s, &output.zone);
    format!("{} ({records}, newest {newest})", scope.name)
}
