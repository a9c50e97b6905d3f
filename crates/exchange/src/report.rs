//! What an import says when it is done: `cairn.import/1`.

use std::collections::BTreeMap;

use cairn_wire::limits;
use serde::Serialize;

use crate::fault::{FileFault, Refusal, Warning};

/// What became of every row. Serialises as `cairn.import/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportReport {
    schema: &'static str,
    /// Rows that were read.
    pub considered: u64,
    /// Rows that became records.
    pub taken: u64,
    /// Rows that changed a record which was there already (`--key`).
    pub updated: u64,
    /// Rows that say nothing which their record does not say already (`--key`).
    pub unchanged: u64,
    /// Rows that are records already, or are the same as an earlier row.
    pub duplicates: u64,
    /// Those of them that are the same as an earlier row, as far as their columns are mapped.
    pub equal_rows: u64,
    /// Rows that were not taken, by number, as many as are listed.
    pub refused: Vec<RefusedRow>,
    /// How many were not taken.
    pub refused_count: u64,
    /// Rows that were taken as they stand and that a person should look at.
    pub warnings: Vec<RowWarning>,
    /// How many warnings there were, by word.
    pub warning_counts: BTreeMap<&'static str, u64>,
    /// Which rows were skipped, as many as are listed.
    pub duplicate_rows: Vec<DuplicateRow>,
    /// Properties of the file that went into no field.
    pub unmapped: Vec<String>,
    /// How the file was read, in sentences.
    pub notes: Vec<String>,
    /// False where reading stopped before the end of the file.
    pub complete: bool,
    /// Why it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<ReportedFault>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Its number, from 1.
    pub row: u64,
    /// The line of a table in which it begins.
    pub line: Option<u64>,
}

impl From<u64> for At {
    fn from(row: u64) -> Self {
        Self { row, line: None }
    }
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRow {
    /// Its number, from 1.
    pub row: u64,
    /// The line of a table in which it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// A stable word for scripts.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Something to look at in a row that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowWarning {
    /// The row's number, from 1.
    pub row: u64,
    /// The line of a table in which it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// A stable word for scripts.
    pub reason: &'static str,
    /// What was seen, in a sentence.
    pub message: String,
}

/// A row that was skipped because its record is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DuplicateRow {
    /// Its number, from 1.
    pub row: u64,
    /// The earlier row of this file that it equals; absent where the record was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_row: Option<u64>,
}

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedFault {
    /// A stable word for scripts.
    pub reason: &'static str,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Default for ImportReport {
    fn default() -> Self {
        Self {
            schema: "cairn.import/1",
            considered: 0,
            taken: 0,
            updated: 0,
            unchanged: 0,
            duplicates: 0,
            equal_rows: 0,
            refused: Vec::new(),
            refused_count: 0,
            warnings: Vec::new(),
            warning_counts: BTreeMap::new(),
            duplicate_rows: Vec::new(),
            unmapped: Vec::new(),
            notes: Vec::new(),
            complete: true,
            fault: None,
        }
    }
}

impl ImportReport {
    /// A report of a file with these properties that go into no field.
    #[must_use]
    pub fn new(unmapped: &[String]) -> Self {
        Self {
            unmapped: unmapped.to_vec(),
            ..Self::default()
        }
    }

    /// A row became a record.
    pub fn taken(&mut self, row: At, warnings: &[Warning]) {
        self.considered += 1;
        self.taken += 1;
        self.warned(row, warnings);
    }

    /// A row changed a record that was there.
    pub fn updated(&mut self, row: At, warnings: &[Warning]) {
        self.considered += 1;
        self.updated += 1;
        self.warned(row, warnings);
    }

    /// A row says what its record says already.
    pub fn unchanged(&mut self, row: At, warnings: &[Warning]) {
        self.considered += 1;
        self.unchanged += 1;
        self.warned(row, warnings);
    }

    /// A row was skipped: its record was there, or it equals an earlier row.
    pub fn duplicate(&mut self, row: u64, of_row: Option<u64>) {
        self.considered += 1;
        self.duplicates += 1;
        self.equal_rows += u64::from(of_row.is_some());
        if self.duplicate_rows.len() < limits::EXCHANGE_REPORT_ROWS_MAX {
            self.duplicate_rows.push(DuplicateRow { row, of_row });
        }
    }

    /// A row was not taken.
    pub fn refused(&mut self, row: At, refusal: Refusal) {
        self.considered += 1;
        self.refused_count += 1;
        if self.refused.len() < limits::EXCHANGE_REPORT_ROWS_MAX {
            let Refusal {
                code,
                message,
                hint,
            } = refusal;
            self.refused.push(RefusedRow {
                row: row.row,
                line: row.line,
                reason: code,
                message,
                hint,
            });
        }
    }

    /// Reading stopped before the end of the file.
    pub fn stopped(&mut self, fault: &FileFault) {
        self.complete = false;
        self.fault = Some(ReportedFault {
            reason: fault.code(),
            message: fault.to_string(),
            hint: fault.hint().to_owned(),
        });
    }

    /// Whether everything in the file is a record now: exit code 0, else 3.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.complete && self.refused_count == 0
    }

    fn warned(&mut self, row: At, warnings: &[Warning]) {
        for Warning { code, message } in warnings {
            *self.warning_counts.entry(code).or_default() += 1;
            if self.warnings.len() < limits::EXCHANGE_REPORT_ROWS_MAX {
                self.warnings.push(RowWarning {
                    row: row.row,
                    line: row.line,
                    reason: code,
                    message: message.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_the_one_that_scripts_rely_on() {
        let mut report = ImportReport::default();
        report.taken(1.into(), &[Warning::new("self_crossing", "It crosses.")]);
        report.refused(2.into(), Refusal::new("no_geometry", "None.", "Draw it."));
        report.duplicate(3, Some(1));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], "cairn.import/1");
        assert_eq!(
            (&json["considered"], &json["taken"], &json["duplicates"]),
            (&3.into(), &1.into(), &1.into())
        );
        assert_eq!(json["equal_rows"], 1);
        assert_eq!(json["refused"][0]["row"], 2);
        assert_eq!(json["refused"][0]["reason"], "no_geometry");
        assert_eq!(json["refused"][0]["message"], "None.");
        assert_eq!(json["warnings"][0]["row"], 1);
        assert_eq!(json["warning_counts"]["self_crossing"], 1);
        assert!(!report.is_whole());
    }
}
