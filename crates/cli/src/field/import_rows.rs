//! Rows of a file that were refused, or that somebody should look at.

use super::values::one_line;
use crate::output::Output;
use crate::words::{count, grouped, listed};
use cairn_exchange::ImportReport;

/// Stretches of rows that a terminal is told of one reason.
const STRETCHES_MAX: usize = 12;
/// So many rows of one reason are still told one by one.
const FEW: usize = 3;

/// Each refused or suspicious row: its number, why, what to do. A terminal is told each reason once, with
/// the rows that have it.
pub fn rows_in_lines(report: &ImportReport, output: &Output) -> String {
    let said = said(report);
    match output.lines {
        None => said.iter().map(Said::line).collect(),
        Some(_) => by_reason(&said),
    }
}

/// What there is to say of a row.
struct Said {
    row: u64,
    line: Option<u64>,
    what: &'static str,
    why: String,
}

impl Said {
    fn line(&self) -> String {
        let (row, what, why) = (self.row, self.what, &self.why);
        match self.line {
            Some(line) => format!("row {row} (line {line}): {what}: {why}\n"),
            None => format!("row {row}: {what}: {why}\n"),
        }
    }
}

fn said(report: &ImportReport) -> Vec<Said> {
    let refused = report.refused.iter().map(|row| Said {
        row: row.row,
        line: row.line,
        what: "refused",
        why: format!("{} {}", one_line(&row.message), row.hint),
    });
    let suspicious = report.warnings.iter().map(|row| Said {
        row: row.row,
        line: row.line,
        what: match row.reason {
            "changed_here" => "look at it",
            _ => "taken, look at it",
        },
        why: one_line(&row.message),
    });
    refused.chain(suspicious).collect()
}

fn by_reason(said: &[Said]) -> String {
    let mut reasons: Vec<(&str, &str, Vec<&Said>)> = Vec::new();
    for one in said {
        let same = |(what, why, _): &&mut (&str, &str, Vec<&Said>)| {
            *what == one.what && *why == one.why.as_str()
        };
        match reasons.iter_mut().rev().find(same) {
            Some((_, _, rows)) => rows.push(one),
            None => reasons.push((one.what, &one.why, vec![one])),
        }
    }
    let mut lines = String::new();
    let mut left_out = false;
    for (what, why, rows) in &reasons {
        if rows.len() <= FEW {
            lines.extend(rows.iter().map(|one| one.line()));
            continue;
        }
        let numbers: Vec<u64> = rows.iter().map(|one| one.row).collect();
        let (rows, whole) = stretches(&numbers);
        left_out |= !whole;
        let what = what.replace("look at it", "look at them");
        lines.push_str(&format!(
            "{} {what}: {why}\n  rows {rows}\n",
            count(numbers.len() as u64, "row")
        ));
    }
    if left_out {
        lines.push_str("Every row by its number: the same command with --dry-run > rows.txt\n");
    }
    lines
}

/// `2 to 41, 43 and 57 to 60`, and whether these are all.
fn stretches(rows: &[u64]) -> (String, bool) {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for row in rows {
        match stretches.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*row) => *last = *row,
            _ => stretches.push((*row, *row)),
        }
    }
    let whole = stretches.len() <= STRETCHES_MAX;
    let shown = stretches.iter().take(STRETCHES_MAX);
    let told: u64 = shown.clone().map(|(first, last)| last - first + 1).sum();
    let mut names: Vec<String> = shown
        .map(|(first, last)| match last - first {
            0 => grouped(*first),
            _ => format!("{} to {}", grouped(*first), grouped(*last)),
        })
        .collect();
    if !whole {
        names.push(format!("{} more", grouped(rows.len() as u64 - told)));
    }
    (listed(&names), whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_exchange::RefusedRow;

    fn refused(rows: impl Iterator<Item = u64>, message: &str) -> Vec<RefusedRow> {
        rows.map(|row| RefusedRow {
            row,
            line: None,
            reason: "geometry",
            message: message.to_owned(),
            hint: "Leave it out.".to_owned(),
        })
        .collect()
    }

    fn report(refused: Vec<RefusedRow>) -> ImportReport {
        let mut report = ImportReport::default();
        report.refused = refused;
        report
    }

    #[test]
    fn a_file_is_told_every_row_and_a_terminal_every_reason() {
        let mut rows = refused((2..42).chain([43, 57, 58]), "There is no place.");
        rows.extend(refused([44].into_iter(), "The ring is open."));
        let report = report(rows);
        let mut output = Output::plain(false);
        let file = rows_in_lines(&report, &output);
        assert_eq!(file.lines().count(), 44);
        assert!(file.starts_with("row 2: refused: There is no place. Leave it out.\n"));
        output.lines = Some(24);
        assert_eq!(
            rows_in_lines(&report, &output),
            "43 rows refused: There is no place. Leave it out.\n  rows 2 to 41, 43 and 57 to 58\n\
             row 44: refused: The ring is open. Leave it out.\n"
        );
    }

    #[test]
    fn what_is_not_told_is_counted() {
        let report = report(refused((1..=100).map(|row| row * 2), "There is no place."));
        let mut output = Output::plain(false);
        output.lines = Some(24);
        let lines = rows_in_lines(&report, &output);
        assert!(lines.contains("22, 24 and 88 more\n"), "{lines}");
        assert!(lines.ends_with("> rows.txt\n"), "{lines}");
    }
}
