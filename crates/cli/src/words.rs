//! Times, ages and numbers, as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by this machine's clock.
pub fn now_s() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// ISO 8601 in UTC, for scripts.
pub fn utc(seconds: i64) -> Option<String> {
    cairn_device::records::json::utc(seconds)
}

/// A time in a zone, to the minute: `24 Nov 2026 16:40`; of the last two days in words.
pub fn time(seconds: i64, zone: &TimeZone) -> String {
    time_seen_from(seconds, now_s(), zone)
}

fn time_seen_from(seconds: i64, now_s: i64, zone: &TimeZone) -> String {
    let at = |seconds| Timestamp::from_second(seconds).map(|at| at.to_zoned_datetime(zone.clone()));
    let (Ok(at), Ok(now)) = (at(seconds), at(now_s)) else {
        return "at an unknown time".to_owned();
    };
    let clock = at.strftime("%H:%M").to_string();
    if at.date() == now.date() {
        return format!("today {clock}");
    }
    match at.date().tomorrow() {
        Ok(next) if next == now.date() => format!("yesterday {clock}"),
        _ => format!("{} {clock}", at.strftime("%-d %b %Y")),
    }
}

/// An age in its largest unit: `3 days`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => "less than a minute".to_owned(),
        60..3_600 => count(seconds / 60, "minute"),
        3_600..172_800 => count(seconds / 3_600, "hour"),
        _ => count(seconds / 86_400, "day"),
    }
}

/// `1 record`, `3 records`.
pub fn count(number: u64, thing: &str) -> String {
    let stem = thing
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{} {stem}ies", grouped(number)),
        (_, None) => format!("{} {thing}s", grouped(number)),
    }
}

/// Digits in groups of three: `41,203,118`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in decimal units: `1.4 MB`.
pub fn bytes(number: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", number / unit, number % unit * 10 / unit);
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [start @ .., last] => {
            let start: Vec<&str> = start.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", start.join(", "), last.as_ref())
        }
    }
}

/// Rows in columns, two spaces between, the last one ragged. Control characters become spaces: names
/// come from others.
pub fn table(rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| -> String {
        cell.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(clean).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', pad));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let now = 1_795_500_000; // 24 Nov 2026 06:00 UTC
        let zone = TimeZone::UTC;
        assert_eq!(time_seen_from(now - 600, now, &zone), "today 05:50");
        assert_eq!(time_seen_from(now - 60_000, now, &zone), "yesterday 13:20");
        assert_eq!(
            time_seen_from(now - 400_000, now, &zone),
            "19 Nov 2026 14:53"
        );
        assert_eq!(time_seen_from(0, now, &zone), "1 Jan 1970 00:00");
        assert_eq!(time_seen_from(i64::MAX, now, &zone), "at an unknown time");
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(count(1, "record"), "1 record");
        assert_eq!(count(41_203_118, "record"), "41,203,118 records");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_449), "1.4 kB");
        assert_eq!(bytes(2_000_000), "2.0 MB");
        assert_eq!(age(59), "less than a minute");
        assert_eq!(age(3_599), "59 minutes");
        assert_eq!(age(172_800), "2 days");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn names_of_others_do_not_draw_on_the_terminal() {
        let text = table(&[vec!["a\x1b[31m\n".to_owned(), "b".to_owned()]]);
        assert_eq!(text, "a [31m   b\n");
    }
}
