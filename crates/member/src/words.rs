//! The words of a page's records, by which they are searched.

use crate::catalogue::PAGE_LINES;
use crate::error::MemberError;
use crate::line::{Line, TEXT_BYTES_MAX, cut};
use cairn_records::Record;
use memchr::memmem::Finder;

/// Bytes of the words of one record.
const WORDS_BYTES_MAX: usize = 1000;
const PAGE_BYTES_MAX: usize = 2 + PAGE_LINES * (2 + WORDS_BYTES_MAX);
/// Higher ones win little of texts so short.
const LEVEL: i32 = 3;

/// What a record is searched by: its numbers, its kind, and the beginnings of its texts.
pub(crate) fn words(line: &Line, record: &Record) -> String {
    let mut words = line.summary.kind.clone();
    let mut add = |text: &str| {
        words.push('\n');
        words.push_str(&cut(text, TEXT_BYTES_MAX));
    };
    for name in ["local_id", "location_name"] {
        let field = record.fields.get(name);
        for shown in field.into_iter().flat_map(|field| &field.values) {
            if let Some(text) = shown.value.as_text() {
                add(text);
            }
        }
    }
    for text in cairn_records::summary::texts(record) {
        add(text);
    }
    // Searched without regard to case.
    cut(&words.to_lowercase(), WORDS_BYTES_MAX)
}

/// A page of words as it lies in its row: how many records, for each of them how many bytes, all their
/// words; compressed.
pub(crate) fn joined(words: &[Vec<u8>]) -> Result<Vec<u8>, MemberError> {
    let mut out = (words.len() as u16).to_be_bytes().to_vec();
    for words in words {
        out.extend_from_slice(&(words.len() as u16).to_be_bytes());
    }
    words.iter().for_each(|words| out.extend_from_slice(words));
    zstd::bulk::compress(&out, LEVEL).map_err(|_| damaged())
}

/// Reads pages of words, one after the other, into one buffer.
pub(crate) struct Reader {
    decompressor: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Result<Self, MemberError> {
        Ok(Self {
            decompressor: zstd::bulk::Decompressor::new().map_err(|_| damaged())?,
            buffer: Vec::with_capacity(PAGE_BYTES_MAX),
        })
    }

    pub(crate) fn read(&mut self, row: &[u8]) -> Result<Page<'_>, MemberError> {
        if row.is_empty() {
            return Ok(Page::default());
        }
        self.buffer.clear();
        // Never more than the buffer has room for.
        self.decompressor
            .decompress_to_buffer(row, &mut self.buffer)
            .map_err(|_| damaged())?;
        let read = || {
            let (count, rest) = self.buffer.split_first_chunk::<2>()?;
            let count = usize::from(u16::from_be_bytes(*count));
            let (lengths, text) = rest.split_at_checked(2 * count)?;
            Some(Page { lengths, text })
        };
        read().ok_or_else(damaged)
    }
}

/// The words of a page.
#[derive(Default)]
pub(crate) struct Page<'a> {
    lengths: &'a [u8],
    text: &'a [u8],
}

impl Page<'_> {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        let lengths = self.lengths.chunks_exact(2);
        lengths.map(|length| usize::from(u16::from_be_bytes(length.try_into().unwrap_or_default())))
    }

    /// Of each record.
    pub(crate) fn each(&self) -> Result<Vec<Vec<u8>>, MemberError> {
        let mut rest = self.text;
        self.lengths()
            .map(|length| {
                let (words, after) = rest.split_at_checked(length).ok_or_else(damaged)?;
                rest = after;
                Ok(words.to_vec())
            })
            .collect()
    }

    /// In which records all of these stand; `None` where in none.
    pub(crate) fn with_all(&self, wanted: &[Finder<'_>]) -> Option<Vec<bool>> {
        let mut ends = Vec::new();
        let mut end = 0;
        for length in self.lengths() {
            end += length;
            ends.push(end);
        }
        let mut found = vec![true; ends.len()];
        for finder in wanted {
            let mut here = vec![false; ends.len()];
            let mut from = 0;
            let mut record = 0;
            while let Some(at) = finder.find(self.text.get(from..)?) {
                let start = from + at;
                while *ends.get(record)? <= start {
                    record += 1;
                }
                let whole = start + finder.needle().len() <= *ends.get(record)?;
                if whole && let Some(here) = here.get_mut(record) {
                    *here = true;
                    // What else stands in this record does not matter.
                    from = *ends.get(record)?;
                } else {
                    from = start + 1;
                }
            }
            let mut some = false;
            for (found, here) in found.iter_mut().zip(here) {
                *found &= here;
                some |= *found;
            }
            if !some {
                return None;
            }
        }
        Some(found)
    }
}

fn damaged() -> MemberError {
    MemberError::Tables("the words of a page do not read".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_within_one_record_and_not_across_two() {
        let texts = [
            "the bridge",
            "",
            "bri",
            "dge bridge",
            "over the bridge, the BRIDGE",
        ];
        let words: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let row = joined(&words).unwrap();
        let mut reader = Reader::new().unwrap();
        let page = reader.read(&row).unwrap();
        assert_eq!(page.each().unwrap(), words);
        let found = |wanted: &[&str]| {
            let finders: Vec<Finder<'_>> = wanted.iter().map(Finder::new).collect();
            page.with_all(&finders)
        };
        for wanted in [
            vec!["bridge"],
            vec!["the", "bridge"],
            vec!["dge"],
            vec!["e"],
            vec!["over the bridge, the BRIDGE"],
        ] {
            let naive: Vec<bool> = texts
                .iter()
                .map(|text| wanted.iter().all(|wanted| text.contains(wanted)))
                .collect();
            assert_eq!(found(&wanted), Some(naive), "{wanted:?}");
        }
        assert_eq!(found(&["ebri"]), None);
        assert_eq!(found(&["bridge", "nowhere"]), None);
        assert!(reader.read(b"noise").is_err());
        assert!(reader.read(&[]).unwrap().each().unwrap().is_empty());
    }
}
