//! Text of a file as UTF-8, whichever of the encodings with a mark it was saved in.

use std::io::{self, Read};

/// Bytes asked of the file at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a file says that it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8, with or without its mark.
    Utf8,
    /// UTF-16, least significant byte first.
    Utf16Little,
    /// UTF-16, most significant byte first.
    Utf16Big,
}

impl Encoding {
    /// From the first bytes of a file, and how many of them are the mark.
    pub fn of(head: &[u8]) -> (Self, u64) {
        match head {
            [0xef, 0xbb, 0xbf, ..] => (Self::Utf8, 3),
            [0xff, 0xfe, ..] => (Self::Utf16Little, 2),
            [0xfe, 0xff, ..] => (Self::Utf16Big, 2),
            _ => (Self::Utf8, 0),
        }
    }
}

/// Reads a file as UTF-8. What is no text in UTF-16 fails as [`io::ErrorKind::InvalidData`];
/// whether UTF-8 is well-formed is for the reader of records to say, who knows the line.
pub(crate) struct Decoded<R> {
    input: R,
    encoding: Encoding,
    /// Bytes taken from the file.
    pub taken: u64,
    raw: Vec<u8>,
    /// Decoded text that was not yet asked for, and from where.
    text: Vec<u8>,
    given: usize,
    /// First half of a pair.
    high: Option<u16>,
}

impl<R: Read> Decoded<R> {
    /// `taken` is the length of the mark, which was read before.
    pub fn new(input: R, encoding: Encoding, taken: u64) -> Self {
        Self {
            input,
            encoding,
            taken,
            raw: Vec::new(),
            text: Vec::new(),
            given: 0,
            high: None,
        }
    }

    pub fn into_inner(self) -> R {
        self.input
    }

    /// Decodes the next bytes of the file; false at its end.
    fn refill(&mut self) -> io::Result<bool> {
        let before = self.raw.len();
        self.raw.resize(before + CHUNK_BYTES, 0);
        let space = self.raw.get_mut(before..).unwrap_or_default();
        let read = self.input.read(space)?;
        self.raw.truncate(before + read);
        self.taken += read as u64;
        if read == 0 {
            return match self.raw.is_empty() && self.high.is_none() {
                true => Ok(false),
                false => Err(no_text("it ends within a character")),
            };
        }
        self.text.clear();
        self.given = 0;
        let (pairs, _) = self.raw.as_chunks::<2>();
        let decoded = pairs.len() * 2;
        for pair in pairs {
            let unit = match self.encoding {
                Encoding::Utf16Big => u16::from_be_bytes(*pair),
                _ => u16::from_le_bytes(*pair),
            };
            let units = match (self.high.take(), unit) {
                (None, 0xd800..=0xdbff) => {
                    self.high = Some(unit);
                    continue;
                }
                (Some(high), _) => [high, unit],
                (None, _) => [unit, 0],
            };
            let pair = usize::from(matches!(units, [0xd800..=0xdbff, _])) + 1;
            let units = units.into_iter().take(pair);
            for c in char::decode_utf16(units) {
                let c = c.map_err(|_| no_text("half of a character is missing"))?;
                let mut bytes = [0; 4];
                self.text
                    .extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
            }
        }
        self.raw.drain(..decoded);
        Ok(true)
    }
}

fn no_text(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the file is no text in UTF-16: {what}"),
    )
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.encoding == Encoding::Utf8 {
            let read = self.input.read(buffer)?;
            self.taken += read as u64;
            return Ok(read);
        }
        while self.given == self.text.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let ready = self.text.get(self.given..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(ready) {
            *to = *from;
        }
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every boundary is met.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (Some((first, rest)), Some(to)) = (self.0.split_first(), buffer.first_mut()) else {
                return Ok(0);
            };
            *to = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn decode(bytes: &[u8], encoding: Encoding) -> io::Result<String> {
        let mut text = String::new();
        Decoded::new(Drip(bytes), encoding, 0).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn both_orders_of_utf16_are_read_whatever_the_boundaries() {
        let text = "id;موقع;🪨\r\n1;Сокаль;x\r\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode(&little, Encoding::Utf16Little).unwrap(), text);
        assert_eq!(decode(&big, Encoding::Utf16Big).unwrap(), text);
        assert_eq!(decode(text.as_bytes(), Encoding::Utf8).unwrap(), text);
        assert_eq!(decode(&[], Encoding::Utf16Big).unwrap(), "");
    }

    #[test]
    fn what_is_no_utf16_is_said() {
        for bytes in [
            &[0x3d, 0xd8][..],             // half a pair at the end
            &[0x3d, 0xd8, 0x41, 0x00][..], // half a pair before a letter
            &[0x41, 0xdc][..],             // the second half alone
            &[0x41][..],
        ] {
            let error = decode(bytes, Encoding::Utf16Little).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
