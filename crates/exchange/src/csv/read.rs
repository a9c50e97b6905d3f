//! Rows of a table by the names of their columns.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
};

use cairn_wire::limits;
use serde_json::Value as Json;

use super::{
    decode::{Decoded, Encoding},
    records::{Record, RecordFault, Records},
    write::plain_text,
};
use crate::fault::{FileFault, Refusal};

/// Bytes of a file that are looked at for what it is.
const HEAD_BYTES: u64 = 64 * 1024;
const DELIMITERS: [u8; 3] = *b",;\t";

/// One row, or why it is none.
pub(crate) struct CsvRow {
    /// Its place among the rows below the names, from 1.
    pub number: u64,
    /// The line of the file in which it begins, from 1.
    pub line: u64,
    /// Byte position behind it, for showing progress.
    pub byte: u64,
    /// Whether the file ends with it, without a line break.
    pub at_end: bool,
    /// Cells of the wanted columns that hold anything, by name.
    pub result: Result<BTreeMap<String, Json>, Refusal>,
}

/// The rows of a table.
pub(crate) struct CsvReader<R> {
    records: Option<Records<Decoded<R>>>,
    form: Form,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Names of the columns, in their order; empty where a column has none.
    pub columns: Vec<String>,
    /// Of each column whether its cells are wanted.
    wanted: Vec<bool>,
    number: u64,
}

/// How the text of a file is laid out.
#[derive(Debug, Clone, Copy)]
struct Form {
    encoding: Encoding,
    /// Length of the mark of the encoding.
    mark: u64,
    delimiter: u8,
    /// Whether the first line only names the delimiter, as Excel writes it.
    names_delimiter: bool,
}

impl<R: Read + Seek> CsvReader<R> {
    /// Looks at the beginning of a file and reads its line of names.
    ///
    /// # Errors
    ///
    /// Where it is empty, of another kind, or has no line of names.
    pub fn open(mut input: R) -> Result<Self, FileFault> {
        let bytes = input.seek(SeekFrom::End(0))?;
        input.rewind()?;
        let mut head = Vec::new();
        (&mut input).take(HEAD_BYTES).read_to_end(&mut head)?;
        let form = sniff(&head)?;
        let mut reader = Self {
            records: None,
            form,
            bytes,
            columns: Vec::new(),
            wanted: Vec::new(),
            number: 0,
        };
        reader.begin(input)?;
        reader.wanted = vec![true; reader.columns.len()];
        Ok(reader)
    }

    /// Reads the whole file once, for whether all of it is text; shows every whole row to `see`.
    /// Then makes ready to read the rows again, of which only `wanted` columns are given.
    ///
    /// # Errors
    ///
    /// Where it is not UTF-8 or binary: then no row is to be taken.
    pub fn survey(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut see: impl FnMut(&Cells<'_>),
    ) -> Result<(), FileFault> {
        let columns = self.columns.len();
        let Some(mut records) = self.records.take() else {
            return Ok(());
        };
        loop {
            match records.next() {
                Ok(Some(record)) => {
                    let cut = record.at_end && (record.open_quote || record.len() < columns);
                    text_of(&record, record.at_end)?;
                    if !cut && record.len() == columns {
                        see(&Cells(&record));
                    }
                }
                Ok(None) => break,
                // The rows before it are taken; it is met again, and said, where they end.
                Err(RecordFault::TooLong { .. }) => break,
                Err(RecordFault::Io(error)) => return Err(io_fault(error)),
            }
        }
        self.wanted = self.columns.iter().map(|name| wanted(name)).collect();
        self.begin(records.into_input().into_inner())
    }

    fn begin(&mut self, mut input: R) -> Result<(), FileFault> {
        let form = self.form;
        input.seek(SeekFrom::Start(form.mark))?;
        let decoded = Decoded::new(input, form.encoding, form.mark);
        let mut records = Records::new(decoded, form.delimiter);
        if form.names_delimiter {
            records.next().map_err(|fault| record_fault(fault, 0))?;
        }
        let names = records.next().map_err(|fault| record_fault(fault, 0))?;
        let names = names.ok_or_else(empty)?;
        if names.too_wide {
            return Err(FileFault::file(
                "too_many_columns",
                None,
                format!(
                    "The first line names more than {} columns.",
                    limits::EXCHANGE_COLUMNS_MAX
                ),
                "Leave out what is not needed.",
            ));
        }
        text_of(&names, false)?;
        self.columns = (0..names.len())
            .map(|index| {
                let name = names.cell(index).unwrap_or_default();
                String::from_utf8_lossy(name).trim().to_owned()
            })
            .collect();
        if self.columns.iter().all(String::is_empty) {
            return Err(FileFault::file(
                "no_names",
                None,
                "The first line of the file names no column.",
                "Put the names of the columns into the first line, and remove titles above it.",
            ));
        }
        self.records = Some(records);
        self.number = 0;
        Ok(())
    }
}

/// The cells of one record.
pub(crate) struct Cells<'a>(&'a Record<'a>);

impl Cells<'_> {
    /// The text of a column.
    pub fn text(&self, column: usize) -> &str {
        let cell = self.0.cell(column).unwrap_or_default();
        std::str::from_utf8(cell).unwrap_or_default().trim()
    }
}

impl<R: Read> CsvReader<R> {
    /// What stands between cells.
    pub fn delimiter(&self) -> u8 {
        self.form.delimiter
    }

    /// The next row; rows in which nothing stands are passed over.
    pub fn next(&mut self) -> Option<Result<CsvRow, FileFault>> {
        let records = self.records.as_mut()?;
        loop {
            self.number += 1;
            let record = match records.next() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.records = None;
                    return None;
                }
                Err(fault) => {
                    self.records = None;
                    return Some(Err(record_fault(fault, self.number)));
                }
            };
            if record.is_blank() {
                continue;
            }
            let (line, at_end) = (record.line, record.at_end);
            let result = row(&record, &self.columns, &self.wanted, self.form.delimiter);
            return Some(Ok(CsvRow {
                number: self.number,
                line,
                byte: records.input().taken,
                at_end,
                result,
            }));
        }
    }
}

fn row(
    record: &Record<'_>,
    columns: &[String],
    wanted: &[bool],
    delimiter: u8,
) -> Result<BTreeMap<String, Json>, Refusal> {
    if record.open_quote || (record.at_end && record.len() < columns.len()) {
        return Err(cut_off(record));
    }
    if record.too_wide || record.len() != columns.len() {
        // What stands behind the last name, if nothing, was a delimiter too many.
        let more = (columns.len()..record.len()).any(|index| {
            let cell = record.cell(index).unwrap_or_default();
            !cell.iter().all(u8::is_ascii_whitespace)
        });
        if record.too_wide || more || record.len() < columns.len() {
            return Err(wrong_width(record, columns.len(), delimiter));
        }
    }
    let mut cells = BTreeMap::new();
    let mut bytes = 0;
    for (index, (name, wanted)) in columns.iter().zip(wanted).enumerate() {
        if !wanted || name.is_empty() {
            continue;
        }
        let cell = record.cell(index).unwrap_or_default();
        // Anywhere else the first reading of the file has refused it.
        let text = std::str::from_utf8(cell).map_err(|_| cut_off(record))?;
        if text.trim().is_empty() {
            continue;
        }
        bytes += name.len() + text.len();
        cells.insert(name.clone(), Json::from(plain_text(text)));
    }
    if bytes > limits::EXCHANGE_FEATURE_BYTES_MAX {
        return Err(Refusal::new(
            "properties_too_large",
            "The row's values are too long.",
            "Leave out what is not needed, or shorten the texts.",
        ));
    }
    Ok(cells)
}

fn cut_off(record: &Record<'_>) -> Refusal {
    let what = if record.open_quote {
        "within quotation marks"
    } else {
        "in the middle of this row"
    };
    Refusal::new(
        "truncated",
        format!(
            "The file ends {what} (line {}): it was cut off.",
            record.line
        ),
        "Copy the file again from where it came, or export it anew, and import it again: what is here already is not doubled.",
    )
}

fn wrong_width(record: &Record<'_>, columns: usize, delimiter: u8) -> Refusal {
    let cells = match record.too_wide {
        true => format!("more than {}", limits::EXCHANGE_COLUMNS_MAX),
        false => record.len().to_string(),
    };
    let hint = match (record.len() > columns || record.too_wide, delimiter) {
        (true, b',') => {
            "If its numbers have a decimal comma or its texts commas, they need quotation marks: export the file anew, or with semicolons between the columns."
        }
        (true, _) => "Texts that hold the separator need quotation marks: export the file anew.",
        (false, _) => {
            "A text with a line break needs quotation marks: export the file anew, or repair this line."
        }
    };
    Refusal::new(
        "wrong_width",
        format!("The row has {cells} values, the first line names {columns} columns."),
        hint,
    )
}

/// Whether a record is text; the last one of a file may have been cut within a character.
fn text_of(record: &Record<'_>, cut: bool) -> Result<(), FileFault> {
    let text = record.text();
    if text.contains(&0) {
        return Err(binary());
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(error) if cut && error.error_len().is_none() => Ok(()),
        Err(_) => Err(FileFault::file(
            "not_utf8",
            None,
            format!(
                "The file is not UTF-8 (line {}): it was saved with another encoding, probably Windows-1252, which is Excel's plain “CSV”.",
                record.line
            ),
            "Save it as UTF-8: in Excel “CSV UTF-8”, in LibreOffice with the character set “Unicode (UTF-8)”. Nothing was taken.",
        )),
    }
}

fn record_fault(fault: RecordFault, row: u64) -> FileFault {
    match fault {
        RecordFault::Io(error) => io_fault(error),
        RecordFault::TooLong { line, open_quote } => {
            let why = if open_quote {
                "a quotation mark that was opened there is not closed"
            } else {
                "that is no row of a table"
            };
            FileFault::file(
                "row_too_long",
                None,
                format!(
                    "Row {row}, which begins in line {line}, is longer than {} bytes: {why}. The rows before it were read.",
                    limits::EXCHANGE_FEATURE_BYTES_MAX
                ),
                "Repair that line or export the file anew.",
            )
        }
    }
}

fn io_fault(error: std::io::Error) -> FileFault {
    if error.kind() == std::io::ErrorKind::InvalidData {
        return FileFault::file(
            "not_utf16",
            None,
            format!("The file cannot be read as text: {error}."),
            "Copy the file again, or save it with the encoding UTF-8.",
        );
    }
    error.into()
}

fn empty() -> FileFault {
    FileFault::file("empty_file", None, "The file is empty.", "Export it anew.")
}

fn binary() -> FileFault {
    FileFault::file(
        "binary_file",
        None,
        "The file is not text: it holds bytes that no text has.",
        "Save the table as “CSV UTF-8” or as GeoJSON.",
    )
}

/// What the first bytes show: another format, the encoding, what stands between columns.
fn sniff(head: &[u8]) -> Result<Form, FileFault> {
    let wrong =
        |message: &str, hint: &str| Err(FileFault::file("wrong_format", Some(0), message, hint));
    match head {
        [] => return Err(empty()),
        [b'P', b'K', 3 | 5 | 7, ..] => {
            return wrong(
                "The file is an Excel or OpenDocument table, a KMZ or another ZIP archive, not text.",
                "Excel files cannot be read yet: save the table as “CSV UTF-8”; unpack archives first.",
            );
        }
        [0xd0, 0xcf, 0x11, 0xe0, ..] => {
            return wrong(
                "The file is an old Excel table (.xls), not text.",
                "Save the table as “CSV UTF-8”.",
            );
        }
        [0x1f, 0x8b, ..] => {
            return wrong(
                "The file is compressed with gzip.",
                "Unpack it first (gunzip).",
            );
        }
        head if head.starts_with(b"SQLite format 3") => {
            return wrong(
                "The file is a GeoPackage or another SQLite database.",
                "GeoPackages cannot be read yet: export the layer as GeoJSON or CSV.",
            );
        }
        head if head.starts_with(b"%PDF") => {
            return wrong("The file is a PDF.", "Ask for the data behind it.");
        }
        _ => {}
    }
    let (encoding, mark) = Encoding::of(head);
    let mut text = Vec::new();
    let body = head.get(mark as usize..).unwrap_or_default();
    // An odd byte or half a pair at the end of what was looked at is no fault.
    let _ = Decoded::new(body, encoding, 0).read_to_end(&mut text);
    if text.contains(&0) {
        let hint = "Save the table as “CSV UTF-8” or as GeoJSON.";
        return match (text.first(), text.get(1)) {
            (Some(0), Some(1..)) | (Some(1..), Some(0)) => Err(FileFault::file(
                "utf16",
                Some(0),
                "The file seems to be UTF-16 without its mark.",
                hint,
            )),
            _ => Err(binary()),
        };
    }
    let white = |byte: &&u8| !byte.is_ascii_whitespace();
    match text.iter().find(white) {
        None => {
            return Err(FileFault::file(
                "empty_file",
                None,
                "The file holds nothing but white space.",
                "Export it anew.",
            ));
        }
        Some(b'<') => {
            return wrong(
                "The file is XML or HTML (KML, GPX or a web page?), not a table.",
                "These cannot be read yet: export the layer as GeoJSON or CSV; if it was downloaded, look whether it is an error page.",
            );
        }
        Some(_) => {}
    }
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = first
        .trim_ascii_end()
        .to_ascii_lowercase()
        .strip_prefix(b"sep=")
        .and_then(|rest| <[u8; 1]>::try_from(rest).ok());
    if let Some([delimiter]) = named {
        return Ok(Form {
            encoding,
            mark,
            delimiter,
            names_delimiter: true,
        });
    }
    Ok(Form {
        encoding,
        mark,
        delimiter: delimiter_of(&text),
        names_delimiter: false,
    })
}

/// What stands most often between the names of the first line, outside quotation marks.
fn delimiter_of(text: &[u8]) -> u8 {
    let mut counts = [0u32; DELIMITERS.len()];
    let mut quoted = false;
    let mut begun = false;
    for byte in text {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && begun => break,
            _ if quoted => {}
            byte => {
                begun |= !byte.is_ascii_whitespace();
                for (count, delimiter) in counts.iter_mut().zip(DELIMITERS) {
                    *count += u32::from(*byte == delimiter);
                }
            }
        }
    }
    // The first of those that stand equally often.
    let most = counts.into_iter().max().unwrap_or(0);
    let found = counts.into_iter().zip(DELIMITERS);
    let mut found = found.filter(|(count, _)| *count == most && most > 0);
    found.next().map_or(b',', |(_, delimiter)| delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_found_in_the_line_of_names() {
        for (text, delimiter) in [
            ("a,b,c\n1;2", b','),
            ("a;b;c\n1,2", b';'),
            ("a\tb\n", b'\t'),
            ("\"x,y,z\";b\n", b';'),
            ("only\n1,2\n", b','),
            ("\n\na;b\n", b';'),
        ] {
            assert_eq!(delimiter_of(text.as_bytes()), delimiter, "{text:?}");
        }
        assert_eq!(sniff(b"sep=;\r\na,b;c\r\n").unwrap().delimiter, b';');
    }
}
