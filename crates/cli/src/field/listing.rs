//! Lists of records.

use super::held::{held_in_words, insert_held};
use super::known_kind;
use super::reading::others;
use crate::Ended;
use crate::arguments::List;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, count, utc};
use cairn_device::records::count::Count;
use cairn_device::records::{Summary, schema};
use cairn_device::{Device, Filter, Held, Listed};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::thread;

/// Columns of a terminal that is not narrow.
const WIDE: usize = 120;
/// Columns that a class takes on a narrow terminal.
const CLASS_NARROW: usize = 18;
/// Records that are read together, and whose columns are aligned together.
const ROWS_TOGETHER: usize = 500;
/// Bytes that are written together.
const CHUNK_BYTES: usize = 64 * 1024;

pub fn list(arguments: &List, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let filter = filter(arguments, device)?;
    let limit = arguments.limit;
    let held = device.held()?;
    let below = held_in_words(&held, output);
    let choose = !output.json && !arguments.all && limit.is_none();
    let screen = output.lines_above(&below).filter(|_| choose);
    let (total, shown) = match (output.json, screen) {
        (true, _) => as_json(filter, limit, device, &held, output)?,
        (false, Some(lines)) => on_screen(filter, lines, device, output)?,
        (false, None) => in_lines(filter, limit, device, output)?,
    };
    let fits = match total {
        0 => "No record here fits. That does not say that there is no hazard.".to_owned(),
        _ if shown < total => format!(
            "{}, and {} more: --all, or fewer with --where FIELD=VALUE or --search WORDS.",
            count(shown, "record"),
            words::grouped(total - shown)
        ),
        _ => format!("{}.", count(total, "record")),
    };
    output.say(&format!("{fits} {below}"));
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
    category: Option<&'a str>,
    people: Option<Json>,
    proposals: usize,
    unverified: usize,
    void: bool,
    area_m2: Option<u64>,
    extent_not_surveyed: bool,
    centre: Option<Centre>,
    date_of_information: Option<&'a str>,
    date: Option<&'a str>,
    recorded_at: Option<&'a str>,
    changes: u64,
    held: u64,
    duplicates: Json,
}

#[derive(Serialize)]
struct Centre {
    lat: f64,
    lon: f64,
}

impl<'a> Row<'a> {
    fn of(listed: &'a Listed, recorded_at: Option<&'a str>) -> Self {
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
            category: summary.category.as_deref(),
            people: summary.people.map(Count::to_json),
            proposals: summary.proposals,
            unverified: summary.unverified,
            void: summary.void,
            area_m2: summary.area_m2,
            extent_not_surveyed: summary.extent_not_surveyed,
            centre: summary.centre.map(|at| Centre {
                lat: at.lat(),
                lon: at.lon(),
            }),
            date_of_information: summary.date_of_information.as_deref(),
            date: summary.date.as_deref(),
            recorded_at,
            changes: line.changes,
            held: line.held,
            duplicates: others(&listed.duplicates),
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
    output: &Output,
) -> Result<(u64, u64), Failure> {
    let mut start = json!({ "schema": "cairn.list/1" });
    insert_held(held, &mut start);
    let start = start.to_string();
    output.bytes(start.trim_end_matches('}').as_bytes());
    output.bytes(b",\"records\":[");
    let mut pieces = Pieces::to(output);
    let mut times = Times::said_by(utc);
    let mut first = true;
    let listed = streamed(filter, limit, device, move |rows| {
        for one in rows {
            if !std::mem::take(&mut first) {
                pieces.bytes.push(b',');
            }
            let row = Row::of(one, times.of(one.line.recorded_at_s).as_deref());
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut pieces.bytes, &row);
            pieces.write_full();
        }
    });
    match listed {
        Ok(total) => output.bytes(format!("],\"total\":{total}}}\n").as_bytes()),
        // What went wrong stands on a line of its own.
        Err(_) => output.bytes(b"\n"),
    }
    listed.map(|total| (total, shown(total, limit)))
}

/// How many of those that fit are shown.
fn shown(total: u64, limit: Option<usize>) -> u64 {
    limit.map_or(total, |limit| total.min(limit as u64))
}

/// On a narrow terminal go first: area of work, kind, time.
fn spared(verbose: bool) -> [usize; 3] {
    [6, 2, 7].map(|column| column + usize::from(verbose))
}

/// The newest, as many as a terminal shows at once.
fn on_screen(
    filter: Filter,
    lines_max: usize,
    device: &Device,
    output: &Output,
) -> Result<(u64, u64), Failure> {
    let (give, take) = channel();
    let give = move |one| give.send(one).is_ok();
    let total = device.each_listed(filter, Some(lines_max), give)?;
    let mut rows: Vec<Vec<String>> = take
        .into_iter()
        .map(|one| {
            let doubled = !one.duplicates.is_empty();
            let time = words::time(one.line.recorded_at_s, &output.zone);
            columns(&one, doubled, output, time)
        })
        .collect();
    if let Some(names) = names(&rows, output.verbose) {
        rows.insert(0, names);
    }
    let (text, shown) = output.table_fitting(rows, &spared(output.verbose), lines_max);
    output.bytes(output.marked(text).as_bytes());
    // The line of names is no record.
    Ok((total, (shown as u64).saturating_sub(1)))
}

fn in_lines(
    filter: Filter,
    limit: Option<usize>,
    device: &Device,
    output: &Output,
) -> Result<(u64, u64), Failure> {
    let mut pieces = Pieces::to(output);
    let mut times = Times::said_by(|second| words::time(second, &output.zone));
    let mut named = false;
    let total = streamed(filter, limit, device, move |rows| {
        let cells = rows.iter().map(|one| {
            let doubled = !one.duplicates.is_empty();
            let time = times.of(one.line.recorded_at_s).clone();
            columns(one, doubled, output, time)
        });
        let mut cells: Vec<Vec<String>> = cells.collect();
        if !std::mem::replace(&mut named, true)
            && let Some(names) = names(&cells, output.verbose)
        {
            cells.insert(0, names);
        }
        let text = output.marked(output.table_sparing(&cells, &spared(output.verbose)));
        pieces.bytes.extend_from_slice(text.as_bytes());
        pieces.write_full();
    })?;
    Ok((total, shown(total, limit)))
}

fn columns(one: &Listed, doubled: bool, output: &Output, time: String) -> Vec<String> {
    let summary = &one.line.summary;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    // The sorts of sessions have long names, which would push all else from a narrow terminal.
    let narrow = output.columns.is_some_and(|columns| columns < WIDE);
    let class_max = if narrow { CLASS_NARROW } else { usize::MAX };
    let mut marks = marks(summary);
    if doubled {
        marks.push("duplicate?");
    }
    if one.unsent > 0 {
        marks.push("not yet at the centre");
    }
    // Without a number the code is its name.
    let code = one.line.short_code();
    let (number, code) = match &summary.local_id {
        Some(number) => (number.clone(), code),
        None => (code, String::new()),
    };
    let mut row = vec![
        number,
        code,
        summary.kind.clone(),
        words::cut(&text(class(summary)), class_max),
        text(state(summary)),
        extent(summary),
        one.scope_name.clone(),
        time,
        marks.join(", "),
    ];
    if output.verbose {
        row.insert(0, one.line.id.to_string());
    }
    row
}

/// Where the columns of a row stand whose names depend on what is listed.
const CODE: usize = 1;
const STATE: usize = 4;

/// The names of the columns above these rows; nothing above none. Marks need no name.
fn names(rows: &[Vec<String>], verbose: bool) -> Option<Vec<String>> {
    let before = usize::from(verbose);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(before + column));
    let dated = |cell: &&String| cell.starts_with(|c: char| c.is_ascii_digit());
    let dates = cells(STATE).filter(dated).count();
    let state = match dates {
        0 => "status",
        _ if dates == rows.len() => "date",
        _ => "status or date",
    };
    let code = match cells(CODE).all(String::is_empty) {
        true => "",
        false => "code",
    };
    let mut names: Vec<String> = [
        "number",
        code,
        "kind",
        "class",
        state,
        "size",
        "area of work",
        "recorded",
        "",
    ]
    .map(str::to_owned)
    .into();
    if verbose {
        names.insert(0, "id".to_owned());
    }
    (!rows.is_empty()).then_some(names)
}

/// The class of a hazard, the sort of anything else.
pub(super) fn class(summary: &Summary) -> &Option<String> {
    match summary.hazard_class {
        Some(_) => &summary.hazard_class,
        None => &summary.category,
    }
}

/// Whether a hazard is open, the day of anything else.
pub(super) fn state(summary: &Summary) -> &Option<String> {
    match summary.status {
        Some(_) => &summary.status,
        None => &summary.date,
    }
}

/// How large, how many, or whether there is a place at all.
fn extent(summary: &Summary) -> String {
    if let Some(area) = summary.area_m2 {
        let circle = if summary.extent_not_surveyed { "~" } else { "" };
        return format!("{circle}{} m²", words::grouped(area));
    }
    match (&summary.people, summary.bounds.is_some()) {
        (Some(people), false) if summary.kind == "accident" => {
            format!("{}, no place", in_numbers(people, &summary.kind))
        }
        (Some(people), _) => in_numbers(people, &summary.kind),
        (None, true) => "a place".to_owned(),
        (None, false) => "no place".to_owned(),
    }
}

/// `46 people`, `34-43 people` where they disagree, `2 harmed`.
fn in_numbers(people: &Count, kind: &str) -> String {
    let (least, most) = (words::grouped(people.least), words::grouped(people.most));
    let number = match (people.least == people.most, people.or_more) {
        (true, false) => least,
        (true, true) => format!("{least}+"),
        (false, false) => format!("{least}-{most}"),
        (false, true) => format!("{least}-{most}+"),
    };
    let whom = match kind {
        "accident" => "harmed",
        _ if number == "1" => "person",
        _ => "people",
    };
    format!("{number} {whom}")
}

/// What must be seen of a record in a list.
pub(super) fn marks(summary: &Summary) -> Vec<&'static str> {
    let all = [
        (summary.conflicts > 0, "CONFLICT"),
        (summary.proposals > 0, "proposal"),
        (summary.unverified > 0, "not verified"),
        (summary.void, "withdrawn"),
    ];
    let of = all.into_iter().filter(|(is, _)| *is);
    of.map(|(_, mark)| mark).collect()
}

/// What is said of a time. Records that came together stand together, and are of one second.
struct Times<T, F> {
    last: Option<(i64, T)>,
    say: F,
}

impl<T, F: Fn(i64) -> T> Times<T, F> {
    fn said_by(say: F) -> Self {
        Self { last: None, say }
    }

    fn of(&mut self, second: i64) -> &T {
        let last = self.last.take();
        let last = last.filter(|(known, _)| *known == second);
        let (_, said) = self
            .last
            .insert(last.unwrap_or_else(|| (second, (self.say)(second))));
        said
    }
}

/// Bytes on their way to standard output, some together.
struct Pieces<'a> {
    bytes: Vec<u8>,
    output: &'a Output,
}

impl<'a> Pieces<'a> {
    fn to(output: &'a Output) -> Self {
        Self {
            bytes: Vec::with_capacity(2 * CHUNK_BYTES),
            output,
        }
    }

    fn write_full(&mut self) {
        if self.bytes.len() >= CHUNK_BYTES {
            self.output.bytes(&self.bytes);
            self.bytes.clear();
        }
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        self.output.bytes(&self.bytes);
    }
}

/// Records on their way from where they are read to where they are written.
struct Batch {
    rows: Vec<Listed>,
    give: SyncSender<Vec<Listed>>,
}

impl Batch {
    fn add(&mut self, one: Listed) -> bool {
        self.rows.push(one);
        self.rows.len() < ROWS_TOGETHER || self.send()
    }

    fn send(&mut self) -> bool {
        let next = Vec::with_capacity(ROWS_TOGETHER);
        let rows = std::mem::replace(&mut self.rows, next);
        self.give.send(rows).is_ok()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.send();
    }
}

/// Gives `write` the records that fit, while more are read. Answers how many fit.
fn streamed(
    filter: Filter,
    limit: Option<usize>,
    device: &Device,
    mut write: impl FnMut(&[Listed]) + Send,
) -> Result<u64, Failure> {
    let (give, take) = sync_channel(2);
    thread::scope(|scope| {
        scope.spawn(move || {
            for rows in take {
                let rows: Vec<Listed> = rows;
                write(&rows);
            }
        });
        let mut batch = Batch {
            rows: Vec::with_capacity(ROWS_TOGETHER),
            give,
        };
        let listed = device.each_listed(filter, limit, move |one| batch.add(one));
        listed.map_err(Failure::from)
    })
}
