//! Tables of text with a line of column names (CSV, RFC 4180), in and out.
//!
//! A file is read twice from front to back, one row in memory at a time: once to see whether all
//! of it is text and where its places lie, and once for its rows. Comma, semicolon or tab is
//! found from the line of names; UTF-8 and UTF-16 are known by their marks, and what is neither
//! is refused, because another encoding can only be guessed.

mod decode;
mod read;
mod records;
mod write;

pub(crate) use read::{CsvReader, CsvRow};
pub use write::{CsvTable, CsvWriter};
pub(crate) use write::{cell_text, plain_text, value_text};
