//! Records of a table, one at a time, in buffers that do not grow with the file.

use std::io::Read;

use cairn_wire::limits;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// One record as it stands in the file.
pub(crate) struct Record<'a> {
    text: &'a [u8],
    ends: &'a [usize],
    /// Line in which it begins, from 1.
    pub line: u64,
    /// Whether the file ended with it, without a line break.
    pub at_end: bool,
    /// Whether it ends within quotation marks.
    pub open_quote: bool,
    /// Whether it has more cells than are kept.
    pub too_wide: bool,
}

impl<'a> Record<'a> {
    /// How many cells it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a cell.
    pub fn cell(&self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All cells together.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Whether nothing but white space stands in it.
    pub fn is_blank(&self) -> bool {
        self.text.iter().all(u8::is_ascii_whitespace)
    }
}

/// Why no further record can be read.
#[derive(Debug)]
pub(crate) enum RecordFault {
    /// The disk failed, or the text is none.
    Io(std::io::Error),
    /// A record is longer than what is kept.
    TooLong {
        /// Line in which it begins.
        line: u64,
        /// Whether it stands in quotation marks there.
        open_quote: bool,
    },
}

/// Gives the records of decoded text.
pub(crate) struct Records<R> {
    input: R,
    core: Reader,
    chunk: Vec<u8>,
    start: usize,
    end: usize,
    text: Vec<u8>,
    ends: Vec<usize>,
    done: bool,
}

impl<R: Read> Records<R> {
    pub fn new(input: R, delimiter: u8) -> Self {
        Self {
            input,
            core: ReaderBuilder::new().delimiter(delimiter).build(),
            chunk: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            text: vec![0; 4 * 1024],
            ends: vec![0; 64],
            done: false,
        }
    }

    /// What it reads from.
    pub fn input(&self) -> &R {
        &self.input
    }

    pub fn into_input(self) -> R {
        self.input
    }

    /// The next record; empty lines are passed over.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, RecordFault> {
        if self.done {
            return Ok(None);
        }
        let (mut text_len, mut ends_len) = (0, 0);
        let (mut quotes, mut at_end, mut too_wide) = (0usize, false, false);
        let mut line = self.core.line();
        loop {
            if self.start == self.end && !at_end {
                self.start = 0;
                self.end = read_some(&mut self.input, &mut self.chunk).map_err(RecordFault::Io)?;
                at_end = self.end == 0;
            }
            let input = self.chunk.get(self.start..self.end).unwrap_or_default();
            if text_len == 0 && ends_len == 0 && quotes == 0 {
                line = self.core.line() + leading_breaks(input);
            }
            let (result, read, wrote, ended) = self.core.read_record(
                input,
                self.text.get_mut(text_len..).unwrap_or_default(),
                self.ends.get_mut(ends_len..).unwrap_or_default(),
            );
            let consumed = input.get(..read).unwrap_or_default();
            quotes += consumed.iter().filter(|byte| **byte == b'"').count();
            self.start += read;
            text_len += wrote;
            ends_len += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    if self.text.len() >= limits::EXCHANGE_FEATURE_BYTES_MAX {
                        self.done = true;
                        return Err(RecordFault::TooLong {
                            line,
                            open_quote: quotes % 2 == 1,
                        });
                    }
                    let larger = (self.text.len() * 2).min(limits::EXCHANGE_FEATURE_BYTES_MAX);
                    self.text.resize(larger, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    if self.ends.len() > limits::EXCHANGE_COLUMNS_MAX {
                        too_wide = true;
                        ends_len = 0;
                    } else {
                        self.ends.resize(self.ends.len() * 2, 0);
                    }
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => {
                    self.done = true;
                    return Ok(None);
                }
            }
        }
        Ok(Some(Record {
            text: self.text.get(..text_len).unwrap_or_default(),
            ends: self.ends.get(..ends_len).unwrap_or_default(),
            line,
            at_end,
            open_quote: at_end && quotes % 2 == 1,
            too_wide,
        }))
    }
}

/// Line breaks before the first byte of a record: of the end of the one before, and empty lines.
fn leading_breaks(input: &[u8]) -> u64 {
    let breaks = input.iter().take_while(|byte| b"\r\n".contains(byte));
    breaks.filter(|byte| **byte == b'\n').count() as u64
}

fn read_some(input: &mut impl Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match input.read(chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(record: &Record<'_>) -> Vec<String> {
        (0..record.len())
            .map(|index| String::from_utf8(record.cell(index).unwrap().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn cells_lines_and_the_end_are_told() {
        let text = "a;b\r\n1;\"x;\ny\"\r\n\r\n2;z\n3;\"open";
        let mut records = Records::new(text.as_bytes(), b';');
        let mut seen = Vec::new();
        while let Some(record) = records.next().unwrap() {
            seen.push((
                record.line,
                cells(&record),
                record.at_end,
                record.open_quote,
            ));
        }
        let row = |line, one: &str, other: &str, at_end, open| {
            (line, vec![one.to_owned(), other.to_owned()], at_end, open)
        };
        assert_eq!(
            seen,
            [
                row(1, "a", "b", false, false),
                row(2, "1", "x;\ny", false, false),
                row(5, "2", "z", false, false),
                row(6, "3", "open", true, true),
            ]
        );
        assert!(records.next().unwrap().is_none());
    }

    #[test]
    fn a_record_without_end_does_not_fill_the_memory() {
        let endless = b"a,b\n\"".chain(std::io::repeat(b'x'));
        let mut records = Records::new(endless, b',');
        assert!(records.next().unwrap().is_some());
        assert!(matches!(
            records.next(),
            Err(RecordFault::TooLong {
                line: 2,
                open_quote: true
            })
        ));
        assert!(records.text.len() <= limits::EXCHANGE_FEATURE_BYTES_MAX);
        assert!(records.next().unwrap().is_none());
        let wide = format!("{}\n1,2\n", ",".repeat(20_000));
        let mut records = Records::new(wide.as_bytes(), b',');
        assert!(records.next().unwrap().unwrap().too_wide);
        let next = records.next().unwrap().unwrap();
        assert_eq!((cells(&next).len(), next.too_wide), (2, false));
    }
}
