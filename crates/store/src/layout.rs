//! Keys and values of the index, and bodies of the frames that are not entries.
//!
//! Bodies of frames are frozen in `format.md`. The index is not: it carries a version, and one of
//! another version is made anew.

use crate::port::{OutboxFrame, SideObject};
use crate::segments::Location;
use cairn_replica::Leaf;
use cairn_replica::logs::Link;
use cairn_wire::frame::{JournalMark, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId, Epoch, Incarnation, Lane, LogId, ProgrammeId, ScopeId};

/// Reads fixed parts off the front of bytes; `None` once they run out.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A big-endian number of 2 bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian number of 4 bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian number of 8 bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Scope and lane.
    pub fn scope_lane(&mut self) -> Option<ScopeLane> {
        Some(ScopeLane {
            scope: ScopeId(self.array()?),
            lane: Lane::from_byte(self.byte()?)?,
        })
    }

    /// A log.
    pub fn log(&mut self) -> Option<LogId> {
        let of = self.scope_lane()?;
        Some(LogId {
            scope: of.scope,
            lane: of.lane,
            device: DeviceKey(self.array()?),
            incarnation: Incarnation(self.array()?),
        })
    }

    /// A place in the segments.
    pub fn location(&mut self) -> Option<Location> {
        Some(Location {
            segment: self.u64()?,
            offset: self.u64()?,
            body_bytes: self.u32()?,
        })
    }

    /// `value`, if nothing is left.
    pub fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Key of a scope and lane: 17 bytes.
pub fn scope_lane_key(of: ScopeLane) -> Vec<u8> {
    let mut out = of.scope.0.to_vec();
    out.push(of.lane.as_byte());
    out
}

/// Key of a log: 65 bytes, those of its scope and lane first.
pub fn log_key(log: &LogId) -> Vec<u8> {
    let mut out = scope_lane_key(ScopeLane {
        scope: log.scope,
        lane: log.lane,
    });
    out.extend_from_slice(&log.device.0);
    out.extend_from_slice(&log.incarnation.0);
    out
}

/// Key of an entry in its log: 105 bytes.
pub fn log_entry_key(log: &LogId, number: u64, id: &EntryId) -> Vec<u8> {
    let mut out = log_key(log);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&id.0);
    out
}

/// The reverse of [`log_entry_key`].
pub fn parse_log_entry_key(key: &[u8]) -> Option<Leaf> {
    let mut reader = Reader(key);
    let leaf = Leaf {
        log: reader.log()?,
        number: reader.u64()?,
        id: EntryId(reader.array()?),
    };
    reader.end(leaf)
}

/// Key of a journal row: 25 bytes.
pub fn journal_key(of: ScopeLane, position: u64) -> Vec<u8> {
    let mut out = scope_lane_key(of);
    out.extend_from_slice(&position.to_be_bytes());
    out
}

fn put_location(location: &Location, out: &mut Vec<u8>) {
    out.extend_from_slice(&location.segment.to_be_bytes());
    out.extend_from_slice(&location.offset.to_be_bytes());
    out.extend_from_slice(&location.body_bytes.to_be_bytes());
}

/// Value of an outbox row.
pub fn location_value(location: &Location) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    put_location(location, &mut out);
    out
}

/// Value of an entry row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRow {
    pub location: Location,
    pub position: u64,
}

impl EntryRow {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = location_value(&self.location);
        out.extend_from_slice(&self.position.to_be_bytes());
        out
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let row = Self {
            location: reader.location()?,
            position: reader.u64()?,
        };
        reader.end(row)
    }
}

/// Value of a journal row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalRow {
    pub id: EntryId,
    pub hash_after: [u8; 8],
    /// Entry bytes up to and with this one.
    pub bytes_after: u64,
    pub location: Location,
}

impl JournalRow {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = self.id.0.to_vec();
        out.extend_from_slice(&self.hash_after);
        out.extend_from_slice(&self.bytes_after.to_be_bytes());
        put_location(&self.location, &mut out);
        out
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let row = Self {
            id: EntryId(reader.array()?),
            hash_after: reader.array()?,
            bytes_after: reader.u64()?,
            location: reader.location()?,
        };
        reader.end(row)
    }
}

/// End of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalEnd {
    pub mark: JournalMark,
    /// Entry bytes in it.
    pub bytes: u64,
}

impl JournalEnd {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = self.mark.position.to_be_bytes().to_vec();
        out.extend_from_slice(&self.mark.hash);
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let end = Self {
            mark: JournalMark {
                position: reader.u64()?,
                hash: reader.array()?,
            },
            bytes: reader.u64()?,
        };
        reader.end(end)
    }
}

/// Key of a detached entry.
pub fn detached_key(of: ScopeLane, id: &EntryId) -> Vec<u8> {
    let mut out = scope_lane_key(of);
    out.extend_from_slice(&id.0);
    out
}

/// Value of a detached entry.
pub fn link_value(link: &Link) -> Vec<u8> {
    let mut out = log_key(&link.log);
    out.extend_from_slice(&link.number.to_be_bytes());
    out.extend_from_slice(&link.previous.0);
    out
}

/// A row of detached entries.
pub fn parse_detached(key: &[u8], value: &[u8]) -> Option<(EntryId, Link)> {
    let id = EntryId(*key.last_chunk()?);
    let mut reader = Reader(value);
    let link = Link {
        log: reader.log()?,
        number: reader.u64()?,
        previous: EntryId(reader.array()?),
    };
    reader.end((id, link))
}

/// Body of an outbox frame.
pub fn outbox_body(frame: &OutboxFrame) -> Vec<u8> {
    let mut out = scope_lane_key(ScopeLane {
        scope: frame.scope,
        lane: frame.lane,
    });
    out.extend_from_slice(&frame.key_number.to_be_bytes());
    out.extend_from_slice(&frame.number.to_be_bytes());
    out.extend_from_slice(&frame.sealed);
    out
}

/// The reverse of [`outbox_body`].
pub fn parse_outbox(body: &[u8]) -> Option<OutboxFrame> {
    let mut reader = Reader(body);
    let of = reader.scope_lane()?;
    Some(OutboxFrame {
        scope: of.scope,
        lane: of.lane,
        key_number: reader.u32()?,
        number: reader.u64()?,
        sealed: reader.0.to_vec(),
    })
}

/// Body of a sealed mark.
pub fn sealed_body(numbers: &[u64], ids: &[EntryId]) -> Vec<u8> {
    let mut out = (numbers.len() as u32).to_be_bytes().to_vec();
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for id in ids {
        out.extend_from_slice(&id.0);
    }
    out
}

/// The reverse of [`sealed_body`].
pub fn parse_sealed(body: &[u8]) -> Option<(Vec<u64>, Vec<EntryId>)> {
    let mut reader = Reader(body);
    let count = reader.u32()? as usize;
    let numbers = reader.bytes(count.checked_mul(8)?)?;
    let (numbers, _) = numbers.as_chunks::<8>();
    let (ids, rest) = reader.0.as_chunks::<32>();
    let parsed = (
        numbers
            .iter()
            .map(|number| u64::from_be_bytes(*number))
            .collect(),
        ids.iter().map(|id| EntryId(*id)).collect(),
    );
    rest.is_empty().then_some(parsed)
}

/// Body of a state frame.
pub fn state_body(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = (key.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out
}

/// The reverse of [`state_body`].
pub fn parse_state(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(body);
    let length = reader.u16()?;
    let key = reader.bytes(length.into())?;
    Some((key, reader.0))
}

/// What a side object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideClass {
    Grant = 1,
    Receipt = 2,
}

/// Body of a side object's frame.
pub fn side_body(class: SideClass, object: &SideObject) -> Vec<u8> {
    let mut out = vec![class as u8];
    out.extend_from_slice(&object.counter.to_be_bytes());
    out.extend_from_slice(&state_body(&object.key, &object.bytes));
    out
}

/// The reverse of [`side_body`].
pub fn parse_side(body: &[u8]) -> Option<(SideClass, SideObject)> {
    let mut reader = Reader(body);
    let class = match reader.byte()? {
        1 => SideClass::Grant,
        2 => SideClass::Receipt,
        _ => return None,
    };
    let counter = reader.u64()?;
    let (key, bytes) = parse_state(reader.0)?;
    let object = SideObject {
        key: key.to_vec(),
        counter,
        bytes: bytes.to_vec(),
    };
    Some((class, object))
}

/// Value of a side object's row.
pub fn side_value(object: &SideObject) -> Vec<u8> {
    let mut out = object.counter.to_be_bytes().to_vec();
    out.extend_from_slice(&object.bytes);
    out
}

/// A new life of the journals, of own logs, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Life {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    /// Frames missing before this one, as far as was known when it was written.
    pub lost_frames: u64,
}

impl Life {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = self.epoch.0.to_vec();
        out.extend_from_slice(&self.incarnation.0);
        out.extend_from_slice(&self.lost_frames.to_be_bytes());
        out
    }

    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let life = Self {
            epoch: Epoch(reader.array()?),
            incarnation: Incarnation(reader.array()?),
            lost_frames: reader.u64()?,
        };
        reader.end(life)
    }
}

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub device: DeviceKey,
    /// Zeros while it is not known.
    pub programme: ProgrammeId,
}

impl Identity {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = self.device.0.to_vec();
        out.extend_from_slice(&self.programme.0);
        out
    }

    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let identity = Self {
            device: DeviceKey(reader.array()?),
            programme: ProgrammeId(reader.array()?),
        };
        reader.end(identity)
    }
}
