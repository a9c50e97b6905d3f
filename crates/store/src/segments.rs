//! Segment files: append-only, checksummed, synced before a write is called done, never deleted.
//!
//! A write that fails poisons the segments: what is on the disk is then unknown, and every later
//! write is refused until the store is opened, and scanned, again.

use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_OVERHEAD_BYTES, FrameHeader, NewFrame, parse_frame,
    write_frame,
};
use crate::port::BadStretch;

/// What a segment file begins with.
pub const SEGMENT_MAGIC: [u8; 8] = *b"CAIRNSEG";
/// Bytes of a segment file before its first frame.
pub const SEGMENT_HEADER_BYTES: u64 = 45;
/// Layout of the header and the frames.
pub const SEGMENT_VERSION: u8 = 1;
const READ_BYTES: usize = 256 * 1024;

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Number of the segment file, from 1.
    pub segment: u64,
    /// Where the frame begins in it.
    pub offset: u64,
    /// Length of the frame's body.
    pub body_bytes: u32,
}

impl Location {
    /// Where the next frame begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + FRAME_OVERHEAD_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// Name of a segment file.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("segment-{number:08}")
}

/// Number of a segment file of that name.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?;
    let number = digits.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

fn segment_header(number: u64, first_frame: u64, salt: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.push(SEGMENT_VERSION);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&first_frame.to_be_bytes());
    out.extend_from_slice(salt);
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

/// All segments of a store.
#[derive(Debug)]
pub struct Segments<D> {
    disk: D,
    salt: [u8; 16],
    numbers: Vec<u64>,
    /// The file that is written, and its length.
    writing: Option<(u64, u64)>,
    next_frame: u64,
    roll_bytes: u64,
    poisoned: Option<String>,
}

impl<D: Disk> Segments<D> {
    /// Finds the segments on a disk. Whatever they hold is made durable first, so that nothing
    /// built on it can outlive it.
    pub fn open(mut disk: D, salt: [u8; 16], roll_bytes: u64) -> Result<Self, StoreError> {
        let names = disk.list().map_err(StoreError::disk("listing the store"))?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect();
        numbers.sort_unstable();
        if let Some(last) = numbers.last() {
            disk.sync_data(&segment_name(*last))
                .and_then(|()| disk.sync_dir())
                .map_err(StoreError::disk("syncing the last segment"))?;
        }
        Ok(Self {
            disk,
            salt,
            numbers,
            writing: None,
            next_frame: 1,
            roll_bytes,
            poisoned: None,
        })
    }

    /// Says where writing goes on: the number of the next frame, and, if the last file ends in a
    /// whole frame, that it may be continued. Otherwise a new file is begun, and what stands at the
    /// end of the old one stays as it is.
    pub fn continue_at(&mut self, next_frame: u64, whole_end: Option<(u64, u64)>) {
        self.next_frame = next_frame;
        self.writing = whole_end.filter(|(segment, _)| self.numbers.last() == Some(segment));
    }

    /// Leaves out numbers of frames that are known to have been there.
    pub fn skip_numbers(&mut self, next_frame: u64) {
        self.next_frame = self.next_frame.max(next_frame);
    }

    /// Numbers of the files, ascending.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Number of the next frame.
    #[must_use]
    pub fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Why nothing is written any more.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Writes frames in order and waits until they are durable: one disk sync, unless a file is full.
    pub fn append(&mut self, frames: &[NewFrame<'_>]) -> Result<Vec<Location>, StoreError> {
        if let Some(why) = &self.poisoned {
            return Err(StoreError::Poisoned(why.clone()));
        }
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        self.append_or_fail(frames).inspect_err(|error| {
            self.poisoned = Some(error.to_string());
        })
    }

    fn append_or_fail(&mut self, frames: &[NewFrame<'_>]) -> Result<Vec<Location>, StoreError> {
        let mut locations = Vec::with_capacity(frames.len());
        let mut waiting = Vec::new();
        for frame in frames {
            let (segment, length) = match self.writing {
                Some((segment, length)) if length < self.roll_bytes => (segment, length),
                _ => {
                    self.write(&waiting)?;
                    waiting.clear();
                    self.begin_segment()?
                }
            };
            let location = Location {
                segment,
                offset: length,
                body_bytes: frame.body.len() as u32,
            };
            write_frame(frame, self.next_frame, &self.salt, &mut waiting);
            self.next_frame += 1;
            self.writing = Some((segment, location.end()));
            locations.push(location);
        }
        self.write(&waiting)?;
        self.sync()?;
        Ok(locations)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some((segment, _)) = self.writing.filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        self.disk
            .append(&segment_name(segment), bytes)
            .map_err(StoreError::disk("writing a segment"))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let Some((segment, _)) = self.writing else {
            return Ok(());
        };
        self.disk
            .sync_data(&segment_name(segment))
            .map_err(StoreError::disk("syncing a segment"))
    }

    /// The file before is durable first: nothing may be there whose predecessor is not.
    fn begin_segment(&mut self) -> Result<(u64, u64), StoreError> {
        self.sync()?;
        let number = self.numbers.last().map_or(1, |last| last + 1);
        let name = segment_name(number);
        let header = segment_header(number, self.next_frame, &self.salt);
        self.disk
            .create(&name)
            .and_then(|()| self.disk.append(&name, &header))
            .and_then(|()| self.disk.sync_data(&name))
            .and_then(|()| self.disk.sync_dir())
            .map_err(StoreError::disk("beginning a segment"))?;
        self.numbers.push(number);
        self.writing = Some((number, SEGMENT_HEADER_BYTES));
        Ok((number, SEGMENT_HEADER_BYTES))
    }

    /// The body of a frame, its checksum verified.
    pub fn read(&self, location: Location) -> Result<(FrameHeader, Vec<u8>), StoreError> {
        let mut bytes = vec![0; FRAME_OVERHEAD_BYTES + location.body_bytes as usize];
        let count = self
            .disk
            .read_at(&segment_name(location.segment), location.offset, &mut bytes)
            .map_err(StoreError::disk("reading a segment"))?;
        bytes.truncate(count);
        let damaged = || {
            StoreError::Damaged(format!(
                "segment {} has no whole frame at byte {}",
                location.segment, location.offset
            ))
        };
        let (header, body) = parse_frame(&bytes, &self.salt).ok_or_else(damaged)?;
        Ok((header, body.to_vec()))
    }

    /// Reads the frames from a place on; `expected` is the number that the first one should have.
    pub fn scan(&self, segment: u64, offset: u64, expected: u64) -> Scan<'_, D> {
        let at = self.numbers.partition_point(|number| *number < segment);
        let resumed = self.numbers.get(at) == Some(&segment) && offset >= SEGMENT_HEADER_BYTES;
        Scan {
            segments: self,
            next_file: at,
            file: None,
            resume: resumed.then_some(offset),
            expected,
            slack: 0,
            whole_end: None,
            tail: Tail::Whole,
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let lengths = self.numbers.iter().map(|number| {
            self.disk
                .len(&segment_name(*number))
                .map_err(StoreError::disk("reading a segment"))
        });
        lengths.sum()
    }

    /// Reads all frames.
    pub fn scan_all(&self) -> Scan<'_, D> {
        self.scan(0, 0, 1)
    }
}

/// One thing that a [`Scan`] met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// A frame with a right checksum.
    Frame(Location, FrameHeader, Vec<u8>),
    /// Bytes that hold none.
    Bad(BadStretch),
}

/// Reads segments in order, file by file, holding a few hundred kilobytes at a time. After damage it
/// goes on at the next whole frame.
pub struct Scan<'a, D> {
    segments: &'a Segments<D>,
    next_file: usize,
    file: Option<OpenFile>,
    resume: Option<u64>,
    expected: u64,
    /// Frames that may have stood in what was unreadable since the last whole frame.
    slack: u64,
    whole_end: Option<(u64, u64)>,
    tail: Tail,
}

/// How what was read last ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// In a whole frame, or a bare header.
    Whole,
    /// In a frame that is shorter than it says, or in fewer bytes than a frame has: a write that did not
    /// come to its end, and so was never reported.
    Cut,
    /// In bytes that may have been a whole frame.
    Rotten,
}

struct OpenFile {
    number: u64,
    length: u64,
    at: u64,
    held: Vec<u8>,
    held_from: u64,
}

impl<D: Disk> Scan<'_, D> {
    /// The next frame or bad stretch, `None` after the last.
    pub fn step(&mut self) -> Result<Option<Scanned>, StoreError> {
        loop {
            if self.file.is_none() {
                let Some(number) = self.segments.numbers.get(self.next_file).copied() else {
                    return Ok(None);
                };
                self.next_file += 1;
                if let Some(bad) = self.begin_file(number)? {
                    return Ok(Some(Scanned::Bad(bad)));
                }
            }
            let Some(mut file) = self.file.take() else {
                continue;
            };
            if file.at >= file.length {
                continue;
            }
            let at = file.at;
            let scanned = match self.frame_at(&mut file, at)? {
                Some((location, header, body)) => {
                    file.at = location.end();
                    self.expected = self.expected.max(header.number.saturating_add(1));
                    self.slack = 0;
                    self.whole_end = Some((file.number, file.at));
                    self.tail = Tail::Whole;
                    Scanned::Frame(location, header, body)
                }
                None => {
                    let from = at;
                    file.at = self.next_whole(&mut file)?;
                    self.slack = self.slack.saturating_add(frames_in(file.at - from));
                    self.whole_end = None;
                    self.tail = self.bad_tail(&mut file, from)?;
                    Scanned::Bad(BadStretch {
                        segment: file.number,
                        from,
                        to: file.at,
                    })
                }
            };
            self.file = Some(file);
            return Ok(Some(scanned));
        }
    }

    /// Where it goes on: segment and offset, for [`Segments::scan`].
    #[must_use]
    pub fn place(&self) -> Option<(u64, u64)> {
        self.file.as_ref().map(|file| (file.number, file.at))
    }

    /// Segment and length, if what was read last ended in a whole frame or a bare header: writing may go on there.
    #[must_use]
    pub fn whole_end(&self) -> Option<(u64, u64)> {
        self.whole_end
    }

    /// How what was read last ends.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    fn bad_tail(&self, file: &mut OpenFile, from: u64) -> Result<Tail, StoreError> {
        let left = file.length - from;
        let header = FrameHeader::parse(self.bytes(file, from, FRAME_HEADER_BYTES)?);
        let claims_more = header
            .filter(|header| header.number == self.expected)
            .is_some_and(|header| header.frame_bytes() as u64 > left);
        Ok(if claims_more || left < FRAME_OVERHEAD_BYTES as u64 {
            Tail::Cut
        } else {
            Tail::Rotten
        })
    }

    fn begin_file(&mut self, number: u64) -> Result<Option<BadStretch>, StoreError> {
        let disk = &self.segments.disk;
        let length = disk
            .len(&segment_name(number))
            .map_err(StoreError::disk("reading a segment"))?;
        let mut file = OpenFile {
            number,
            length,
            at: SEGMENT_HEADER_BYTES.min(length),
            held: Vec::new(),
            held_from: 0,
        };
        if let Some(offset) = self.resume.take() {
            file.at = offset.min(length);
            self.whole_end = Some((number, file.at));
            self.file = Some(file);
            return Ok(None);
        }
        let before = self.next_file.checked_sub(2);
        let before = before.and_then(|at| self.segments.numbers.get(at));
        if before.map_or(1, |before| before + 1) != number {
            // Files are missing: nobody knows how many frames they held.
            self.slack = u64::MAX / 2;
        }
        let header = self.bytes(&mut file, 0, SEGMENT_HEADER_BYTES as usize)?;
        let first_frame = parse_segment_header(header, number, &self.segments.salt);
        let bad = BadStretch {
            segment: number,
            from: 0,
            to: file.at,
        };
        self.file = Some(file);
        match first_frame {
            Some(first) => {
                self.expected = self.expected.max(first);
                self.whole_end = Some((number, SEGMENT_HEADER_BYTES));
                self.tail = Tail::Whole;
                Ok(None)
            }
            None => {
                self.whole_end = None;
                // A file gets its frames only once its header is durable.
                self.tail = Tail::Cut;
                Ok(Some(bad))
            }
        }
    }

    /// `count` bytes from `at` on, fewer at the file's end.
    fn bytes<'f>(
        &self,
        file: &'f mut OpenFile,
        at: u64,
        count: usize,
    ) -> Result<&'f [u8], StoreError> {
        let count = count.min(usize::try_from(file.length.saturating_sub(at)).unwrap_or(count));
        let held_to = file.held_from + file.held.len() as u64;
        if at < file.held_from || at + count as u64 > held_to {
            file.held.resize(count.max(READ_BYTES), 0);
            let read = self
                .segments
                .disk
                .read_at(&segment_name(file.number), at, &mut file.held)
                .map_err(StoreError::disk("reading a segment"))?;
            file.held.truncate(read);
            file.held_from = at;
        }
        let from = (at - file.held_from) as usize;
        let to = (from + count).min(file.held.len());
        Ok(file.held.get(from..to).unwrap_or_default())
    }

    fn frame_at(
        &self,
        file: &mut OpenFile,
        at: u64,
    ) -> Result<Option<(Location, FrameHeader, Vec<u8>)>, StoreError> {
        let Some(header) = FrameHeader::parse(self.bytes(file, at, FRAME_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let segment = file.number;
        let whole = self.bytes(file, at, header.frame_bytes())?;
        Ok(
            parse_frame(whole, &self.segments.salt).map(|(header, body)| {
                let location = Location {
                    segment,
                    offset: at,
                    body_bytes: header.body_bytes,
                };
                (location, header, body.to_vec())
            }),
        )
    }

    /// Where the next whole frame begins after a bad one, or the file ends. What a frame's own
    /// length says is tried first, so that the inside of a body is searched only where the length
    /// itself is damaged.
    fn next_whole(&self, file: &mut OpenFile) -> Result<u64, StoreError> {
        let bad = file.at;
        if let Some(header) = FrameHeader::parse(self.bytes(file, bad, FRAME_HEADER_BYTES)?) {
            let after = bad + header.frame_bytes() as u64;
            if after == file.length {
                return Ok(after);
            }
            if after < file.length && self.is_plausible(file, bad, after)? {
                return Ok(after);
            }
        }
        let mut at = bad + 1;
        while at < file.length {
            let window = self.bytes(file, at, READ_BYTES)?;
            let found = window
                .windows(FRAME_MAGIC.len())
                .position(|bytes| *bytes == FRAME_MAGIC);
            match found {
                Some(found) => {
                    at += found as u64;
                    if self.is_plausible(file, bad, at)? {
                        return Ok(at);
                    }
                    at += 1;
                }
                None if window.len() < FRAME_MAGIC.len() => break,
                None => at += (window.len() - FRAME_MAGIC.len() + 1) as u64,
            }
        }
        Ok(file.length)
    }

    /// Is there a frame whose number fits the place: not lower than expected, and no higher than
    /// the bytes in between could hold frames.
    fn is_plausible(&self, file: &mut OpenFile, bad: u64, at: u64) -> Result<bool, StoreError> {
        let most = self
            .expected
            .saturating_add(self.slack.saturating_add(frames_in(at - bad)));
        let expected = self.expected;
        Ok(self
            .frame_at(file, at)?
            .is_some_and(|(_, header, _)| (expected..=most).contains(&header.number)))
    }
}

/// How many frames may stand in so many bytes.
fn frames_in(bytes: u64) -> u64 {
    bytes / FRAME_OVERHEAD_BYTES as u64
}

/// Layout version and salt of a segment file's header that is whole.
#[must_use]
pub fn parse_salt(bytes: &[u8], number: u64) -> Option<(u8, [u8; 16])> {
    let rest = bytes.strip_prefix(&SEGMENT_MAGIC)?;
    let (version, rest) = rest.split_first()?;
    let (held_number, rest) = rest.split_first_chunk::<8>()?;
    let (_, rest) = rest.split_first_chunk::<8>()?;
    let (salt, rest) = rest.split_first_chunk::<16>()?;
    let checked = bytes.get(..SEGMENT_HEADER_BYTES as usize - 4)?;
    let whole = rest.first_chunk::<4>()? == &crc32c::crc32c(checked).to_be_bytes();
    (whole && u64::from_be_bytes(*held_number) == number).then_some((*version, *salt))
}

/// Number of the first frame, if the header is whole and of this file of this store.
fn parse_segment_header(bytes: &[u8], number: u64, salt: &[u8; 16]) -> Option<u64> {
    let (_, rest) = bytes.split_at_checked(SEGMENT_MAGIC.len() + 1 + 8)?;
    let first = u64::from_be_bytes(*rest.first_chunk()?);
    (bytes == segment_header(number, first, salt)).then_some(first)
}
