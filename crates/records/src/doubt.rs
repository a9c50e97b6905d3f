//! What is doubtful about a record, in sentences: nothing is refused for it and nothing reads
//! otherwise. Several people's edits may make together what nobody wrote alone.

use crate::check::before;
use crate::geometry::{Bounds, Position};
use crate::read::{FieldReading, Record};
use crate::schema::{FieldType, Kind};
use crate::value::Value;
use serde_json::{Value as Json, json};

/// Something doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// A stable name.
    pub code: &'static str,
    /// The field, with its path.
    pub field: String,
    /// A sentence.
    pub message: String,
}

impl Doubt {
    fn new(code: &'static str, field: &str, message: String) -> Self {
        Self {
            code,
            field: field.to_owned(),
            message,
        }
    }

    /// `{"code":…,"field":…,"message":…}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({ "code": self.code, "field": self.field, "message": self.message })
    }
}

/// What is doubtful about a record. `latest_day` is the last day that is not in the future by the
/// device's clock, `2026-11-24`; a caller whose clock cannot be right gives none.
#[must_use]
pub fn doubts(record: &Record, latest_day: Option<&str>) -> Vec<Doubt> {
    let Some(kind) = record.definition() else {
        return Vec::new();
    };
    let mut doubts = Vec::new();
    for (path, reading) in &record.fields {
        let Some(field) = kind.field(base(path)) else {
            continue;
        };
        if field.field_type == FieldType::Date
            && let Some(latest) = latest_day
        {
            future(path, reading, latest, &mut doubts);
        }
        if let Some(whole) = &field.part_of {
            part_larger(record, path, whole, reading, &mut doubts);
        }
        if let Some(start) = &field.not_before {
            end_before_start(record, path, start, reading, &mut doubts);
        }
        outside_scheme(kind, record, path, &mut doubts);
    }
    nothing_and_something(record, &mut doubts);
    doubts
}

/// The last day that is not in the future anywhere on earth, by a clock in seconds since 1970;
/// nothing for a clock that cannot be right.
#[must_use]
pub fn latest_day(now_s: i64) -> Option<String> {
    /// Where the day begins first: UTC+14.
    const AHEAD_S: i64 = 14 * 3_600;
    let plausible = now_s >= crate::read::EARLIEST_S;
    let at =
        plausible.then(|| jiff::Timestamp::from_second(now_s.checked_add(AHEAD_S)?).ok())??;
    at.to_string().get(..10).map(str::to_owned)
}

fn base(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn future(path: &str, reading: &FieldReading, latest: &str, doubts: &mut Vec<Doubt>) {
    let days = reading
        .values
        .iter()
        .filter_map(|shown| shown.value.as_text());
    for day in days.filter(|day| before(latest, day)) {
        let message = format!(
            "{path} {day} lies in the future by this device's clock: check the date, and the clock"
        );
        doubts.push(Doubt::new("date_in_future", path, message));
    }
}

/// Only what cannot be, whichever of the values that stand is taken.
fn part_larger(
    record: &Record,
    path: &str,
    whole: &str,
    reading: &FieldReading,
    doubts: &mut Vec<Doubt>,
) {
    let tail = path.strip_prefix(base(path)).unwrap_or_default();
    let whole = format!("{whole}{tail}");
    let Some(of) = record.fields.get(&whole) else {
        return;
    };
    let part = figures(reading).min();
    let most = figures(of).max();
    if let (Some(part), Some(most)) = (part, most)
        && part > most
    {
        let message = format!("{path} is {part}, more than the {most} of {whole}");
        doubts.push(Doubt::new("part_larger_than_whole", path, message));
    }
}

fn figures(reading: &FieldReading) -> impl Iterator<Item = i64> + '_ {
    reading
        .values
        .iter()
        .filter_map(|shown| shown.value.as_int())
}

fn end_before_start(
    record: &Record,
    path: &str,
    start_field: &str,
    reading: &FieldReading,
    doubts: &mut Vec<Doubt>,
) {
    let start = record.reads(start_field).as_text();
    if let (Some(end), Some(start)) = (reading.reads.as_text(), start)
        && before(end, start)
    {
        let message = format!("{path} {end} lies before {start_field} {start}");
        doubts.push(Doubt::new("end_before_start", path, message));
    }
}

fn outside_scheme(kind: &Kind, record: &Record, path: &str, doubts: &mut Vec<Doubt>) {
    let Some((_, band)) = path.rsplit_once('/') else {
        return;
    };
    let Some(field) = kind.field(base(path)) else {
        return;
    };
    let scheme = field.keys_by.as_ref();
    let scheme = scheme.and_then(|named| record.reads(named).as_text());
    let bands = kind.keys_of_scheme(field, scheme);
    if bands.is_some_and(|bands| !bands.contains(&band)) {
        let message = match scheme {
            Some(scheme) => format!("{path}: the scheme {scheme} has no band {band}"),
            None => format!("{path}: the record names no scheme of age bands"),
        };
        doubts.push(Doubt::new("band_outside_scheme", path, message));
    }
}

fn nothing_and_something(record: &Record, doubts: &mut Vec<Doubt>) {
    let nothing = record.reads("no_hazard_found").as_text() == Some("yes");
    let hazards = matches!(record.reads("hazards"), Value::List(hazards) if !hazards.is_empty());
    if nothing && hazards {
        let message = "no_hazard_found is yes, and yet hazards are named".to_owned();
        doubts.push(Doubt::new("hazards_and_none", "no_hazard_found", message));
    }
}

/// Places of other records from which it can be told where others lie.
const OTHERS_MIN: usize = 5;

/// The box round nine tenths of these places in latitude and in longitude: a few strays say nothing.
/// Nothing where there are too few.
#[must_use]
pub fn where_others_lie(places: &[Position]) -> Option<Bounds> {
    if places.len() < OTHERS_MIN {
        return None;
    }
    let span = |of: fn(&Position) -> i32| {
        let mut sorted: Vec<i32> = places.iter().map(of).collect();
        sorted.sort_unstable();
        let cut = sorted.len() / 20 + usize::from(sorted.len() >= 10);
        let kept = sorted.get(cut..sorted.len() - cut)?;
        Some((*kept.first()?, *kept.last()?))
    };
    let (south, north) = span(|at| at.lat_e7)?;
    let (west, east) = span(|at| at.lon_e7)?;
    let corner = |lat_e7, lon_e7| Position { lat_e7, lon_e7 };
    Bounds::of([corner(south, west), corner(north, east)])
}

/// How far from where others lie a place may be before it is compared, in 1e-7 degree (1°).
const NEAR_E7: i64 = 10_000_000;

/// The doubt that latitude and longitude of a place were swapped: it lies far from where others
/// lie, and swapped it would lie among them.
#[must_use]
pub fn swapped(field: &str, at: Position, others: &Bounds) -> Option<Doubt> {
    let turned = Position::new(at.lon_e7.into(), at.lat_e7.into())?;
    if near(at, others) || !near(turned, others) {
        return None;
    }
    let message = format!(
        "{field} {:.5}, {:.5} lies far from the other records of this area of work; swapped it would lie among them: latitude comes first",
        at.lat(),
        at.lon()
    );
    Some(Doubt::new("coordinates_swapped", field, message))
}

fn near(at: Position, bounds: &Bounds) -> bool {
    let within = |at: i32, low: i32, high: i32| {
        (i64::from(low) - NEAR_E7..=i64::from(high) + NEAR_E7).contains(&i64::from(at))
    };
    let (low, high) = (bounds.south_west, bounds.north_east);
    within(at.lat_e7, low.lat_e7, high.lat_e7) && within(at.lon_e7, low.lon_e7, high.lon_e7)
}
