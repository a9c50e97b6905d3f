//! Finds where JSON values begin and end in a stream, without keeping more of it than it is asked to.
//!
//! It knows strings, brackets and separators, and nothing of numbers or literals: a value that is
//! kept goes on to `serde_json`, which refuses what is not JSON. Memory is one read buffer and the
//! value that the caller keeps, whatever the length of the file.

use std::io::{self, Read};

/// Brackets inside brackets; below the depth at which `serde_json` refuses.
const DEPTH_MAX: u32 = 120;
const BUFFER_BYTES: usize = 64 * 1024;
const RECORD_SEPARATOR: u8 = 0x1e;

/// Where and why the stream stopped being JSON.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the stream ends at byte {at}")]
    End { at: u64 },
    #[error("{expected} is missing at byte {at}")]
    Syntax { at: u64, expected: &'static str },
    #[error("brackets are nested too deeply at byte {at}")]
    Depth { at: u64 },
}

/// The place of a value that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Byte position of its first byte.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
    /// False where it was longer than what the caller keeps.
    pub whole: bool,
}

/// A reader of JSON's outline.
pub(crate) struct Scanner<R> {
    input: R,
    buffer: Box<[u8]>,
    next: usize,
    filled: usize,
    /// Position in the stream of the buffer's first byte.
    base: u64,
}

impl<R: Read> Scanner<R> {
    /// `at` is the position in the file of the next byte of `input`.
    pub fn new(input: R, at: u64) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            next: 0,
            filled: 0,
            base: at,
        }
    }

    /// Position in the file of the next byte.
    pub fn position(&self) -> u64 {
        self.base + self.next as u64
    }

    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next byte, not consumed; `None` at the end.
    fn peek(&mut self) -> Result<Option<u8>, ScanFault> {
        while self.next == self.filled {
            self.base += self.filled as u64;
            self.next = 0;
            self.filled = 0;
            match self.input.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(bytes) => self.filled = bytes.min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.buffer.get(self.next).copied())
    }

    /// The next byte that is neither white space nor a record separator (RFC 8142), not consumed.
    pub fn peek_token(&mut self) -> Result<Option<u8>, ScanFault> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n' | RECORD_SEPARATOR) => self.next += 1,
                other => return Ok(other),
            }
        }
    }

    /// Consumes `byte`, after white space.
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanFault> {
        match self.peek_token()? {
            Some(found) if found == byte => {
                self.next += 1;
                Ok(())
            }
            Some(_) => Err(ScanFault::Syntax {
                at: self.position(),
                expected,
            }),
            None => Err(ScanFault::End {
                at: self.position(),
            }),
        }
    }

    /// Goes to the next element of the array that was begun; false at its end, which is consumed.
    pub fn next_element(&mut self, first: &mut bool) -> Result<bool, ScanFault> {
        self.next_in(b']', "`,` or `]`", first)
    }

    /// Goes to the value of the next member of the object that was begun and puts its name (as it
    /// stands between the quotes, cut at `bytes_max`) into `name`; false at the object's end, which is consumed.
    pub fn next_member(
        &mut self,
        first: &mut bool,
        name: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<bool, ScanFault> {
        if !self.next_in(b'}', "`,` or `}`", first)? {
            return Ok(false);
        }
        if self.peek_token()? != Some(b'"') {
            let at = self.position();
            return Err(match self.peek()? {
                Some(_) => ScanFault::Syntax {
                    at,
                    expected: "a member's name in quotes",
                },
                None => ScanFault::End { at },
            });
        }
        self.value(name, bytes_max)?;
        if name.first() == Some(&b'"') {
            name.remove(0);
        }
        if name.last() == Some(&b'"') {
            name.pop();
        }
        self.expect(b':', "`:`")?;
        Ok(true)
    }

    fn next_in(
        &mut self,
        close: u8,
        expected: &'static str,
        first: &mut bool,
    ) -> Result<bool, ScanFault> {
        match self.peek_token()? {
            None => Err(ScanFault::End {
                at: self.position(),
            }),
            Some(found) if found == close => {
                self.next += 1;
                Ok(false)
            }
            Some(b',') if !*first => {
                self.next += 1;
                Ok(true)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            Some(_) => Err(ScanFault::Syntax {
                at: self.position(),
                expected,
            }),
        }
    }

    /// Passes over one value and keeps its first `bytes_max` bytes in `keep`.
    pub fn value(&mut self, keep: &mut Vec<u8>, bytes_max: usize) -> Result<Extent, ScanFault> {
        keep.clear();
        let first = self.peek_token()?;
        let start = self.position();
        match first {
            None => return Err(ScanFault::End { at: start }),
            Some(b',' | b':' | b']' | b'}') => {
                return Err(ScanFault::Syntax {
                    at: start,
                    expected: "a value",
                });
            }
            Some(_) => {}
        }
        let mut outline = Outline::default();
        loop {
            if self.peek()?.is_none() {
                if outline.ends_with_stream() {
                    break;
                }
                return Err(ScanFault::End {
                    at: self.position(),
                });
            }
            let chunk = self.buffer.get(self.next..self.filled).unwrap_or_default();
            let (taken, step) = outline.feed(chunk);
            let room = bytes_max.saturating_sub(keep.len()).min(taken);
            keep.extend_from_slice(chunk.get(..room).unwrap_or_default());
            self.next += taken;
            match step {
                Step::More => {}
                Step::Done => break,
                Step::Mismatch(expected) => {
                    return Err(ScanFault::Syntax {
                        at: self.position(),
                        expected,
                    });
                }
                Step::Depth => {
                    return Err(ScanFault::Depth {
                        at: self.position(),
                    });
                }
            }
        }
        let bytes = self.position() - start;
        Ok(Extent {
            start,
            bytes,
            whole: bytes == keep.len() as u64,
        })
    }
}

/// What the bytes of one value have shown so far.
#[derive(Default)]
struct Outline {
    /// One bit for each open bracket, innermost lowest; set for `{`.
    objects: u128,
    depth: u32,
    in_string: bool,
    escaped: bool,
    bare: bool,
}

enum Step {
    More,
    Done,
    Mismatch(&'static str),
    Depth,
}

impl Outline {
    /// A number or literal at the top level is closed by the end of the stream.
    fn ends_with_stream(&self) -> bool {
        self.bare && self.depth == 0
    }

    /// Takes bytes up to the value's end; answers how many are the value's.
    fn feed(&mut self, chunk: &[u8]) -> (usize, Step) {
        for (index, &byte) in chunk.iter().enumerate() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                    if self.depth == 0 {
                        return (index + 1, Step::Done);
                    }
                }
                continue;
            }
            match byte {
                b'"' if self.ends_with_stream() => return (index, Step::Done),
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if self.ends_with_stream() {
                        return (index, Step::Done);
                    }
                    if self.depth == DEPTH_MAX {
                        return (index, Step::Depth);
                    }
                    self.objects = (self.objects << 1) | u128::from(byte == b'{');
                    self.depth += 1;
                }
                b'}' | b']' => {
                    if self.depth == 0 {
                        return (index, Step::Done);
                    }
                    let object = self.objects & 1 == 1;
                    if object != (byte == b'}') {
                        return (index, Step::Mismatch(if object { "`}`" } else { "`]`" }));
                    }
                    self.objects >>= 1;
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (index + 1, Step::Done);
                    }
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' | RECORD_SEPARATOR => {
                    if self.depth == 0 {
                        return (index, Step::Done);
                    }
                }
                _ => {
                    if self.depth == 0 {
                        self.bare = true;
                    }
                }
            }
        }
        (chunk.len(), Step::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, bytes_max: usize) -> Vec<(u64, u64, bool, String)> {
        let mut scanner = Scanner::new(text.as_bytes(), 0);
        let mut keep = Vec::new();
        let mut found = Vec::new();
        while scanner.peek_token().unwrap().is_some() {
            let extent = scanner.value(&mut keep, bytes_max).unwrap();
            found.push((
                extent.start,
                extent.bytes,
                extent.whole,
                String::from_utf8(keep.clone()).unwrap(),
            ));
        }
        found
    }

    #[test]
    fn values_end_where_they_end() {
        let text = " {\"a\":[1,\"]}\\\"\"]} 12 \"x y\"[]true\n\u{1e}{}";
        let found: Vec<String> = all(text, 100).into_iter().map(|value| value.3).collect();
        assert_eq!(
            found,
            [
                "{\"a\":[1,\"]}\\\"\"]}",
                "12",
                "\"x y\"",
                "[]",
                "true",
                "{}"
            ]
        );
    }

    #[test]
    fn a_long_value_is_passed_over_and_only_its_beginning_kept() {
        let found = all("[1,2,3] 4", 3);
        assert_eq!(found[0], (0, 7, false, "[1,".into()));
        assert_eq!(found[1], (8, 1, true, "4".into()));
    }

    #[test]
    fn no_more_is_kept_than_was_asked_for() {
        let long = std::io::repeat(b'x').take(5_000_000);
        let mut scanner = Scanner::new((&b"\""[..]).chain(long).chain(&b"\" 7"[..]), 0);
        let mut keep = Vec::new();
        let extent = scanner.value(&mut keep, 1000).unwrap();
        assert_eq!(
            (extent.bytes, extent.whole, keep.len()),
            (5_000_002, false, 1000)
        );
        assert!(keep.capacity() <= 4096, "{}", keep.capacity());
        let mut name = Vec::new();
        let mut scanner = Scanner::new((&b"\""[..]).chain(std::io::repeat(b'n').take(1 << 20)), 0);
        let fault = scanner.next_member(&mut true, &mut name, 64).unwrap_err();
        assert!(matches!(fault, ScanFault::End { .. }) && name.capacity() <= 256);
        assert_eq!(
            scanner.value(&mut keep, 9).unwrap_err().to_string(),
            "the stream ends at byte 1048577"
        );
    }

    #[test]
    fn mismatched_and_deep_brackets_are_named_by_position() {
        let mut keep = Vec::new();
        let fault = Scanner::new(&b"{\"a\":[1}"[..], 0)
            .value(&mut keep, 99)
            .unwrap_err();
        assert!(
            matches!(
                fault,
                ScanFault::Syntax {
                    at: 7,
                    expected: "`]`"
                }
            ),
            "{fault}"
        );
        let deep = "[".repeat(1000);
        let fault = Scanner::new(deep.as_bytes(), 0)
            .value(&mut keep, 99)
            .unwrap_err();
        assert!(matches!(fault, ScanFault::Depth { at: 120 }), "{fault}");
        let fault = Scanner::new(&b"[1,"[..], 0)
            .value(&mut keep, 99)
            .unwrap_err();
        assert!(matches!(fault, ScanFault::End { at: 3 }), "{fault}");
    }
}
