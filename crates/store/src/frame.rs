//! One frame of a segment: bytes to value and back. Frozen in `format.md`.

/// What every frame begins with.
pub const FRAME_MAGIC: [u8; 4] = *b"CFr1";
/// Bytes before the body.
pub const FRAME_HEADER_BYTES: usize = 25;
/// Bytes after the body.
pub const FRAME_TRAILER_BYTES: usize = 4;
/// Bytes of a frame beside its body.
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES;
/// Body at most.
pub const FRAME_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An entry, as its author sealed it.
    Entry = 1,
    /// An authority entry.
    Authority = 2,
    /// An outbox frame.
    Outbox = 3,
    /// These outbox frames are sealed, if these entries are held.
    Sealed = 4,
    /// A key and its value.
    State = 5,
    /// A grant or a receipt.
    Side = 6,
    /// A new life: epoch, incarnation, frames known to be missing.
    Life = 7,
    /// Whose store this is: device key, programme.
    Identity = 8,
}

impl Kind {
    /// From its byte; `None` for a kind that a later version wrote, which is passed over.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Authority,
            3 => Self::Outbox,
            4 => Self::Sealed,
            5 => Self::State,
            6 => Self::Side,
            7 => Self::Life,
            8 => Self::Identity,
            _ => return None,
        })
    }
}

/// A frame that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewFrame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Journal position of an entry, else 0.
    pub position: u64,
    /// The body.
    pub body: &'a [u8],
}

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it holds, as a byte: see [`Kind`].
    pub kind: u8,
    /// Length of the body.
    pub body_bytes: u32,
    /// Number of the frame in this store, from 1, over all segments.
    pub number: u64,
    /// Journal position of an entry, else 0.
    pub position: u64,
}

impl FrameHeader {
    /// Reads a header; `None` if it is none, or claims too much.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let (body_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (position, _) = rest.split_first_chunk::<8>()?;
        let header = Self {
            kind: *kind,
            body_bytes: u32::from_be_bytes(*body_bytes),
            number: u64::from_be_bytes(*number),
            position: u64::from_be_bytes(*position),
        };
        (*magic == FRAME_MAGIC && header.body_bytes as usize <= FRAME_BODY_BYTES_MAX)
            .then_some(header)
    }

    /// Length of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        FRAME_OVERHEAD_BYTES + self.body_bytes as usize
    }
}

/// Appends the bytes of a frame to `out`.
pub fn write_frame(frame: &NewFrame<'_>, number: u64, salt: &[u8; 16], out: &mut Vec<u8>) {
    assert!(
        frame.body.len() <= FRAME_BODY_BYTES_MAX,
        "a frame is over its limit"
    );
    let from = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.push(frame.kind as u8);
    out.extend_from_slice(&(frame.body.len() as u32).to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&frame.position.to_be_bytes());
    out.extend_from_slice(frame.body);
    let checksum = checksum(salt, out.get(from..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Header and body of a frame that fills `bytes` exactly and whose checksum is right.
#[must_use]
pub fn parse_frame<'a>(bytes: &'a [u8], salt: &[u8; 16]) -> Option<(FrameHeader, &'a [u8])> {
    let header = FrameHeader::parse(bytes)?;
    if bytes.len() != header.frame_bytes() {
        return None;
    }
    let (checked, trailer) = bytes.split_last_chunk::<FRAME_TRAILER_BYTES>()?;
    if checksum(salt, checked) != u32::from_be_bytes(*trailer) {
        return None;
    }
    Some((header, checked.get(FRAME_HEADER_BYTES..)?))
}

/// CRC32C over the store's salt and the bytes. The salt is secret, so that no payload that came
/// from outside can be taken for a frame when the scan looks for one after damage.
#[must_use]
pub fn checksum(salt: &[u8; 16], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [9; 16];

    #[test]
    fn the_bytes_are_frozen() {
        let mut out = Vec::new();
        let frame = NewFrame {
            kind: Kind::State,
            position: 0x0102,
            body: b"body",
        };
        write_frame(&frame, 7, &SALT, &mut out);
        let mut text = String::new();
        cairn_wire::ids::write_hex(&out, &mut text).unwrap();
        assert_eq!(text, GOLDEN);
        let (header, body) = parse_frame(&out, &SALT).unwrap();
        assert_eq!(
            (header.kind, header.number, header.position),
            (5, 7, 0x0102)
        );
        assert_eq!(body, b"body");
    }

    const GOLDEN: &str = "43467231050000000400000000000000070000000000000102626f64793754c90f";

    #[test]
    fn every_flipped_bit_and_another_salt_are_seen() {
        let mut out = Vec::new();
        let frame = NewFrame {
            kind: Kind::Entry,
            position: 3,
            body: &[5; 40],
        };
        write_frame(&frame, 7, &SALT, &mut out);
        assert!(parse_frame(&out, &[8; 16]).is_none());
        for at in 0..out.len() * 8 {
            let mut rotten = out.clone();
            rotten[at / 8] ^= 1 << (at % 8);
            assert!(parse_frame(&rotten, &SALT).is_none(), "bit {at}");
        }
        for length in 0..out.len() {
            assert!(parse_frame(&out[..length], &SALT).is_none());
        }
    }
}
