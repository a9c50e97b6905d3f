//! What is near a place or a way, and what nobody here can tell.

use super::held::{as_of_in_words, held_in_words, insert_held};
use super::listing::{class, marks, state};
use crate::Ended;
use crate::arguments::Near as Arguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, count, utc};
use cairn_device::records::input;
use cairn_device::{Asked, Device, Held, Near, NearRecord};
use cairn_exchange::{WayFault, read_way};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Directions, sixteen to a turn.
const DIRECTIONS: [&str; 16] = [
    "N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW",
    "NNW",
];

pub fn near(arguments: &Arguments, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let asked = Asked {
        parts: places(&arguments.place)?,
        within_m: arguments.within,
    };
    let is_way = asked.parts.iter().any(|part| part.len() > 1) || asked.parts.len() > 1;
    let held = device.held()?;
    let near = device.near(asked)?;
    let records: Vec<Json> = near
        .records
        .iter()
        .map(|record| to_json(record, is_way))
        .collect();
    let mut object = json!({
        "schema": "cairn.near/1",
        "within_m": arguments.within,
        "length_m": is_way.then(|| near.length_m.round()),
        "without_place": near.without_place,
        "records": records,
    });
    insert_held(&held, &mut object);
    let above = held_in_words(&held, output);
    output.say(&above);
    let last = last_words(&near, arguments.within, &held, output);
    let around = format!("{above}\n{last}\n{LEFT_OUT}");
    let lines_max = output
        .lines_above(&around)
        .filter(|_| !arguments.all && !output.json);
    let (lines, shown) = in_lines(&near, is_way, lines_max, output);
    output.answer(&object, || lines);
    if shown < near.records.len() {
        let more = words::grouped((near.records.len() - shown) as u64);
        output.say(&LEFT_OUT.replace('N', &more));
    }
    let holds_any = held.scopes.iter().any(|scope| scope.held);
    if holds_any && near.without_place > 0 {
        output.say(&format!(
            "{} without a place, which may be near too: {}.",
            match near.without_place {
                1 => "One hazard or accident is held here",
                _ => "Hazards or accidents are held here",
            },
            words::grouped(near.without_place)
        ));
    }
    output.say(&last);
    Ok(Ended::Done)
}

/// Said below what a terminal shows of more: the nearest, or the first on the way.
const LEFT_OUT: &str = "… and N more: --all, or look less far with --within";

fn last_words(near: &Near, within_m: f64, held: &Held, output: &Output) -> String {
    let scopes = held.scopes.iter().filter(|scope| scope.held);
    let scopes: Vec<&str> = scopes.map(|scope| scope.name.as_str()).collect();
    let within = match within_m % 1000.0 == 0.0 {
        true => format!("{} km", within_m / 1000.0),
        false => distance(within_m),
    };
    if scopes.is_empty() {
        return format!(
            "This laptop holds no area of work: it can say nothing about what lies within {within}. \
             That does not mean it is safe."
        );
    }
    if near.records.is_empty() {
        return format!(
            "Nothing recorded within {within} in the areas of work this laptop holds ({}, {}). That does \
             not mean it is safe.",
            words::listed(&scopes),
            as_of_in_words(held, output)
        );
    }
    format!(
        "{} within {within}. What is not recorded may be there too.",
        count(near.records.len() as u64, "record")
    )
}

/// A place as it is typed, or the way in a file.
fn places(text: &str) -> Result<Vec<Vec<cairn_device::records::geometry::Position>>, Failure> {
    let path = Path::new(text);
    let is_file = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("gpx"));
    if !is_file && !path.is_file() {
        let place = input::position(text).map_err(|error| {
            Failure::usage(error.to_string())
                .hint("A file with a track or route is named as ROUTE.gpx.")
        })?;
        return Ok(vec![vec![place]]);
    }
    let file = File::open(path).map_err(|error| Failure::file("reading", path, &error))?;
    read_way(BufReader::new(file)).map_err(|fault| match fault {
        WayFault::Io(error) => Failure::file("reading", path, &error),
        fault => Failure::new("file", format!("{}: {fault}", path.display()))
            .hint("Save the track or route as GPX 1.0 or 1.1 and try again."),
    })
}

fn to_json(near: &NearRecord, is_way: bool) -> Json {
    let (line, summary) = (&near.line, &near.line.summary);
    json!({
        "id": line.id.to_string(),
        "short_code": line.short_code(),
        "kind": summary.kind,
        "local_id": summary.local_id,
        "scope": near.scope_name,
        "distance_m": near.distance_m.floor(),
        "inside": near.distance_m == 0.0,
        "bearing_deg": near.bearing_deg.map(|degrees| degrees.round() % 360.0),
        "along_m": is_way.then(|| near.along_m.floor()),
        "hazard_class": summary.hazard_class,
        "category": summary.category,
        "unverified": summary.unverified,
        "status": summary.status,
        "void": summary.void,
        "extent_not_surveyed": summary.extent_not_surveyed,
        "area_m2": summary.area_m2,
        "conflicts": summary.conflicts,
        "proposals": summary.proposals,
        "date": summary.date,
        "date_of_information": summary.date_of_information,
        "recorded_at": utc(line.recorded_at_s),
    })
}

/// Rows, and how many of them are shown.
fn in_lines(
    near: &Near,
    is_way: bool,
    lines_max: Option<usize>,
    output: &Output,
) -> (String, usize) {
    let rows: Vec<Vec<String>> = near
        .records
        .iter()
        .map(|record| columns(record, is_way, output))
        .collect();
    // On a narrow terminal go first: when it was recorded, its kind.
    let first = usize::from(is_way);
    let spared = [first + 7, first + 4];
    output.table_fitting(rows, &spared, lines_max.unwrap_or(usize::MAX))
}

fn columns(near: &NearRecord, is_way: bool, output: &Output) -> Vec<String> {
    let summary = &near.line.summary;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut marks = marks(summary);
    if summary.extent_not_surveyed {
        marks.push("extent not surveyed: a circle");
    }
    let mut row = Vec::new();
    if is_way {
        row.push(format!("at {}", distance(near.along_m)));
    }
    row.push(match near.bearing_deg {
        None => "INSIDE".to_owned(),
        Some(_) => distance(near.distance_m),
    });
    row.push(near.bearing_deg.map_or_else(String::new, bearing));
    row.push(text(&summary.local_id));
    row.push(near.line.short_code());
    row.push(summary.kind.clone());
    row.push(text(class(summary)));
    row.push(text(state(summary)));
    row.push(words::time(near.line.recorded_at_s, &output.zone));
    row.push(marks.join(", "));
    row
}

/// Never longer than it is.
fn distance(metres: f64) -> String {
    match metres {
        ..1000.0 => format!("{} m", metres.floor()),
        ..10_000.0 => format!("{} m", words::grouped(metres as u64)),
        _ => {
            let tenths = (metres / 100.0).floor() as u64;
            match tenths % 10 {
                0 => format!("{} km", words::grouped(tenths / 10)),
                tenth => format!("{}.{tenth} km", words::grouped(tenths / 10)),
            }
        }
    }
}

fn bearing(degrees: f64) -> String {
    let rounded = degrees.round() as usize % 360;
    let direction = DIRECTIONS[(degrees / 22.5).round() as usize % DIRECTIONS.len()];
    format!("{rounded:03}° {direction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_never_longer_than_they_are() {
        for (metres, said) in [
            (0.9, "0 m"),
            (999.9, "999 m"),
            (1999.9, "1,999 m"),
            (12_399.0, "12.3 km"),
            (2_000_000.0, "2,000 km"),
        ] {
            assert_eq!(distance(metres), said);
        }
    }

    #[test]
    fn directions_are_those_of_a_compass() {
        assert_eq!(bearing(0.2), "000° N");
        assert_eq!(bearing(359.9), "000° N");
        assert_eq!(bearing(22.5), "023° NNE");
        assert_eq!(bearing(270.0), "270° W");
    }
}
