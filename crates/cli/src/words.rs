//! Times, ages and numbers, as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Before this second (1 January 2024) there was no Cairn: a clock that says so is wrong.
const FIRST_S: i64 = 1_704_067_200;
/// A record of tomorrow may come from another time zone's mistake; later ones come from a wrong clock.
const AHEAD_MAX_S: i64 = 2 * 86_400;

/// ISO 8601 in UTC, for scripts.
pub fn utc(seconds: i64) -> Option<String> {
    cairn_device::records::json::utc(seconds)
}

/// A time in a zone, to the minute: `24 Nov 2026 16:40`; of the last two days in words; a time that
/// cannot be is said to be one.
pub fn time(seconds: i64, zone: &TimeZone) -> String {
    time_seen_from(seconds, cairn_device::now_s(), zone)
}

/// Whether a clock that wrote this was wrong, as far as another one can tell.
fn clock_wrong(seconds: i64, now_s: i64) -> bool {
    let ahead = seconds.saturating_sub(AHEAD_MAX_S) > now_s;
    seconds < FIRST_S || (ahead && now_s >= FIRST_S)
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
        Ok(next) if next == now.date() => return format!("yesterday {clock}"),
        _ => {}
    }
    let wrong = if clock_wrong(seconds, now_s) {
        " (wrong clock)"
    } else {
        ""
    };
    format!("{} {clock}{wrong}", at.strftime("%-d %b %Y"))
}

/// A time that somebody has set, such as when a code runs out: no clock wrote it, so none is doubted.
pub fn time_set(seconds: i64, zone: &TimeZone) -> String {
    match Timestamp::from_second(seconds) {
        Ok(at) => {
            let at = at.to_zoned_datetime(zone.clone());
            at.strftime("%-d %b %Y %H:%M").to_string()
        }
        Err(_) => "an unknown time".to_owned(),
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

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.width()
}

/// Is it ASCII of which each character takes one column?
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Text of others without what draws on a terminal or turns its neighbours round: control characters
/// become spaces, marks of direction go; what is written from right to left is kept apart from the rest
/// of the line.
pub fn harmless(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let clean: String = text
        .chars()
        .filter(|c| !turns_text(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if clean.chars().any(right_to_left) {
        format!("\u{2068}{clean}\u{2069}")
    } else {
        clean
    }
}

/// Marks, embeddings, overrides and isolates of direction.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Hebrew, Arabic, Syriac, Thaana, N'Ko and their like.
fn right_to_left(c: char) -> bool {
    matches!(c,
        '\u{0590}'..='\u{08ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// The beginning of a text that takes at most so many columns, with a mark where something was cut.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut taken = String::new();
    let mut open = false;
    for c in text.chars() {
        if width(&taken) + c.width().unwrap_or(0) + 1 > columns {
            break;
        }
        open |= c == '\u{2068}';
        taken.push(c);
    }
    taken.push('…');
    if open {
        taken.push('\u{2069}');
    }
    taken
}

/// Words in lines of at most so many columns; what is longer than a line stands alone on one.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A line in lines of at most so many columns, the later ones so much further in than the first.
pub fn folded(line: &str, columns: usize, further: usize) -> String {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    if width(line) <= columns || indent + further >= columns {
        return line.to_owned();
    }
    let first = format!("{:indent$}", "");
    let later = format!("\n{:1$}", "", indent + further);
    first + &wrapped(text, columns - indent - further).join(&later)
}

/// Spaces between columns.
const GAP: usize = 2;
/// No column is cut to less.
const COLUMN_LEAST: usize = 8;

/// Rows in columns, the last one ragged. Where they do not fit into so many columns of a terminal, the
/// last cell of a row goes below it; where that is not enough, columns that can be spared are left out,
/// the first named first; then the widest are cut.
pub fn table(rows: &[Vec<String>], columns: Option<usize>, spared: &[usize]) -> String {
    let mut left_out: Vec<usize> = Vec::new();
    loop {
        let keep =
            |(index, cell): (usize, &String)| (!left_out.contains(&index)).then(|| harmless(cell));
        let kept: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().enumerate().filter_map(keep).collect())
            .collect();
        let next = spared.get(left_out.len());
        match fitted(&kept, columns, next.is_some()) {
            Some(text) => return text,
            None => left_out.extend(next),
        }
    }
}

/// Nothing where it does not fit and a column can still be spared.
fn fitted(rows: &[Vec<String>], columns: Option<usize>, can_spare: bool) -> Option<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..count).map(widest).collect();
    let needed =
        |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let columns = columns.unwrap_or(usize::MAX);
    if needed(&widths) <= columns {
        return Some(rows.iter().map(|row| line(row, &widths)).collect());
    }
    let last = widths.pop();
    if can_spare && needed(&widths) > columns {
        return None;
    }
    while needed(&widths) > columns {
        let Some(most) = widths.iter_mut().max_by_key(|width| **width) else {
            break;
        };
        if *most <= COLUMN_LEAST {
            break;
        }
        *most -= 1;
    }
    let beside = columns.saturating_sub(needed(&widths) + GAP);
    let mut text = String::new();
    for row in rows {
        let (before, after) = row.split_at(row.len().min(count - 1));
        let after = after.first().filter(|cell| !cell.is_empty());
        match after {
            Some(cell) if width(cell) <= beside => {
                let mut widths = widths.clone();
                widths.extend(last);
                text.push_str(&line(row, &widths));
            }
            _ => text.push_str(&line(before, &widths)),
        }
        for below in after.filter(|cell| width(cell) > beside).into_iter() {
            for piece in wrapped(below, columns.saturating_sub(4).max(COLUMN_LEAST)) {
                text.push_str(&format!("    {piece}\n"));
            }
        }
    }
    Some(text)
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, columns) in row.iter().zip(widths) {
        let cell = cut(cell, *columns);
        line.push_str(&cell);
        let pad = columns.saturating_sub(width(&cell)) + GAP;
        line.extend(std::iter::repeat_n(' ', pad));
    }
    format!("{}\n", line.trim_end())
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
        assert_eq!(
            time_seen_from(0, now, &zone),
            "1 Jan 1970 00:00 (wrong clock)"
        );
        assert_eq!(
            time_seen_from(now + 864_000, now, &zone),
            "4 Dec 2026 06:00 (wrong clock)"
        );
        assert_eq!(time_seen_from(i64::MAX, now, &zone), "at an unknown time");
        assert_eq!(time_set(now + 864_000, &zone), "4 Dec 2026 06:00");
        assert_eq!(time_set(i64::MAX, &zone), "an unknown time");
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
        let text = table(&[row(&["a\x1b[31m\n", "b"])], None, &[]);
        assert_eq!(text, "a [31m   b\n");
        assert_eq!(harmless("safe\u{202e}denim"), "safedenim");
    }

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_stand_below_each_other_in_every_script() {
        let rows = [
            row(&["أورونث", "one"]),
            row(&["地雷原", "two"]),
            row(&["Ашант", "three"]),
        ];
        let text = table(&rows, Some(40), &[]);
        assert_eq!(
            text,
            "\u{2068}أورونث\u{2069}  one\n地雷原  two\nАшант   three\n"
        );
        for line in text.lines() {
            let before = line.split("  ").next().expect("a first cell");
            assert!(width(before) <= 6, "{line}");
        }
    }

    #[test]
    fn tables_fit_the_terminal_and_lose_no_mark() {
        let rows = [
            row(&[
                "DEMO-HA-20220218-00001",
                "confirmed",
                "CONFLICT, not yet at the centre",
            ]),
            row(&["HA-2", "suspected", ""]),
        ];
        assert_eq!(
            table(&rows, Some(40), &[]),
            "DEMO-HA-20220218-00001  confirmed\n    CONFLICT, not yet at the centre\n\
             HA-2                    suspected\n"
        );
        let narrow = table(&rows, Some(24), &[]);
        assert!(narrow.lines().all(|line| width(line) <= 24), "{narrow}");
        assert!(narrow.contains("DEMO-HA-2022…"), "{narrow}");
        assert!(narrow.contains("the centre"), "{narrow}");
        let spared = table(&rows, Some(24), &[1]);
        assert!(spared.contains("DEMO-HA-20220218-00001\n"), "{spared}");
        assert!(!spared.contains("confirmed"), "{spared}");
    }

    #[test]
    fn text_is_cut_and_wrapped_by_what_it_takes_on_screen() {
        assert_eq!(cut("地雷原です", 7), "地雷原…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("\u{2068}أورونث\u{2069}", 4), "\u{2068}أور…\u{2069}");
        assert_eq!(folded("  ab cd ef", 8, 4), "  ab\n      cd\n      ef");
        assert_eq!(folded("  ab cd ef", 12, 4), "  ab cd ef");
        assert_eq!(wrapped("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
    }
}
