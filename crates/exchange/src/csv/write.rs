//! Records as a table.

use std::io::{self, Write};

use serde_json::Value as Json;

/// Characters with which a spreadsheet begins a formula (OWASP, CSV injection).
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// Between several values in one cell.
const BETWEEN: &str = "; ";

/// Text as it stands in a cell. What a spreadsheet would run as a formula gets an apostrophe
/// before it, which spreadsheets show as text; [`plain_text`] takes it off again.
pub(crate) fn cell_text(text: &str) -> String {
    if is_formula(text) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// The text that [`cell_text`] made a cell of.
pub(crate) fn plain_text(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if is_formula(text) => text,
        _ => cell,
    }
}

/// Whether text begins a formula, or does so behind apostrophes.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULA)
}

/// The columns of a table, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvTable {
    /// Their names.
    pub columns: Vec<String>,
}

/// Writes a table, row by row, the same bytes for the same records.
pub struct CsvWriter<W> {
    out: W,
    line: String,
}

impl<W: Write> CsvWriter<W> {
    /// Begins a table. With `mark` it says that it is UTF-8, which Excel needs to show scripts
    /// other than its own.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn new(mut out: W, table: &CsvTable, mark: bool) -> io::Result<Self> {
        if mark {
            out.write_all("\u{feff}".as_bytes())?;
        }
        let mut writer = Self {
            out,
            line: String::new(),
        };
        writer.row(table.columns.iter().map(String::as_str))?;
        Ok(writer)
    }

    /// Writes one row.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn row<'a>(&mut self, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
        self.line.clear();
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            quote(cell, &mut self.line);
        }
        self.line.push_str("\r\n");
        self.out.write_all(self.line.as_bytes())
    }

    /// Ends the table. It is not yet flushed to disk: that is the owner's business.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn quote(cell: &str, line: &mut String) {
    let outer = cell.starts_with(char::is_whitespace) || cell.ends_with(char::is_whitespace);
    if !outer && !cell.contains(['"', ',', ';', '\n', '\r', '\t']) {
        line.push_str(cell);
        return;
    }
    line.push('"');
    line.push_str(&cell.replace('"', "\"\""));
    line.push('"');
}

/// A value of an exported feature as the text of a cell: codes with semicolons between, what has
/// parts as JSON.
pub(crate) fn value_text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => cell_text(text),
        Json::Array(members) if members.iter().all(is_code) => {
            let codes: Vec<&str> = members.iter().filter_map(Json::as_str).collect();
            codes.join(BETWEEN)
        }
        Json::Object(parts) => match (parts.get("lat"), parts.get("lon"), parts.len()) {
            (Some(lat), Some(lon), 2) => format!("{lat}, {lon}"),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Whether a member of a list is a mere word, as codes are.
fn is_code(member: &Json) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    member
        .as_str()
        .is_some_and(|text| text.chars().all(word) && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formulas_are_disarmed_and_come_back() {
        for text in [
            "=1+1", "+380 44", "-5", "@SUM(A1)", "\t=1", "'=1", "''=1", "'quoted'", "plain", "",
            "'",
        ] {
            let cell = cell_text(text);
            assert!(!cell.starts_with(FORMULA), "{text:?}");
            assert_eq!(plain_text(&cell), text);
        }
    }

    #[test]
    fn values_fit_into_cells() {
        for (value, text) in [
            (json!(null), ""),
            (json!(12.5), "12.5"),
            (json!("=x"), "'=x"),
            (json!(["ap_mine", "uxo"]), "ap_mine; uxo"),
            (json!(["PMA-3"]), "[\"PMA-3\"]"),
            (json!({"lat": 44.1, "lon": 18.0}), "44.1, 18.0"),
            (json!([{"type": "uxo"}]), "[{\"type\":\"uxo\"}]"),
        ] {
            assert_eq!(value_text(&value), text);
        }
        let table = CsvTable {
            columns: vec!["a".into(), "b".into()],
        };
        let mut writer = CsvWriter::new(Vec::new(), &table, false).unwrap();
        writer.row(["say \"no\", never", " x"].into_iter()).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "a,b\r\n\"say \"\"no\"\", never\",\" x\"\r\n"
        );
    }
}
