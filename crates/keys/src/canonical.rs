//! Canonical bytes by hand: big-endian integers, no padding, one encoding for one value.

/// Why bytes are not the object they should be. Always the fault of whoever gave the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the object does.
    #[error("it ends early")]
    Truncated,
    /// Bytes are left over after the object.
    #[error("it has {0} bytes too many")]
    Trailing(usize),
    /// It is longer than this kind of object may be.
    #[error("{0} bytes are over its limit")]
    TooLong(usize),
    /// Made by a version of Cairn that this one does not know.
    #[error("its version {0} is not known here; a newer Cairn reads it")]
    Version(u8),
    /// A field holds what it must not hold.
    #[error("its field “{0}” is not well-formed")]
    Field(&'static str),
    /// The checksum does not fit the bytes.
    #[error("its checksum does not fit")]
    Checksum,
}

/// Takes fields off the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// One byte that must be 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Field(field)),
        }
    }

    /// Text of UTF-8 after its length in one byte.
    pub(crate) fn text(&mut self, max: usize, field: &'static str) -> Result<String, Malformed> {
        let len = usize::from(self.u8()?);
        if len > max {
            return Err(Malformed::Field(field));
        }
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| Malformed::Field(field))?;
        Ok(text.to_owned())
    }

    pub(crate) fn version(&mut self, known: u8) -> Result<(), Malformed> {
        match self.u8()? {
            version if version == known => Ok(()),
            version => Err(Malformed::Version(version)),
        }
    }

    /// What has not been taken.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::Trailing(left)),
        }
    }
}

/// Appends text after its length in one byte, cut at a character's end where it is over `max`.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, max: usize) {
    let text = cut_text(text, max.min(usize::from(u8::MAX)));
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// The longest beginning of `text` that has at most `max` bytes and ends with a whole character.
pub(crate) fn cut_text(text: &str, max: usize) -> &str {
    let mut len = text.len().min(max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

/// Appends the first eight bytes of the hash of what `out` holds, against rot on a disk.
pub(crate) fn put_checksum(out: &mut Vec<u8>, context: &'static str) {
    let hash = cairn_wire::hash::derive(context, &[out]);
    out.extend_from_slice(&hash[..8]);
}

/// Takes the checksum off and compares it.
pub(crate) fn strip_checksum<'a>(
    bytes: &'a [u8],
    context: &'static str,
) -> Result<&'a [u8], Malformed> {
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(Malformed::Truncated)?;
    let hash = cairn_wire::hash::derive(context, &[body]);
    if hash[..8] == *checksum {
        Ok(body)
    } else {
        Err(Malformed::Checksum)
    }
}
