//! The segment: a file of the store after rot, cuts, pieces that moved, and whoever held the disk.
//!
//! Promises: nothing panics; a store that opens says what is missing, gives only whole entries, and
//! opens again as it was; one that does not says why and is left as it is.
//!
//! An input is a whole segment file. The `format` file beside it is that of the golden store.

use crate::{Random, Target, mutate_bytes};
use cairn_store::disk::Disk;
use cairn_store::{Fresh, ModelDisk, OpenOptions, SegmentStore, Store};
use cairn_wire::Entry;
use cairn_wire::ids::DeviceKey;
use std::ops::Range;

/// The golden store's own device.
const DEVICE: DeviceKey = DeviceKey([0xd0; 32]);
const FORMAT: &[u8] = include_bytes!("../../../crates/store/tests/golden/format-1/format");
const SEGMENT: &[u8] =
    include_bytes!("../../../crates/store/tests/golden/format-1/segment-00000001");

/// As `crates/store/format.md` lays a segment out.
const SALT: Range<usize> = 25..41;
const SEGMENT_HEADER: usize = 45;
const FRAME_MAGIC: &[u8] = b"CFr1";
const FRAME_HEADER: usize = 25;
const CHECKSUM: usize = 4;

/// The target.
#[derive(Default)]
pub struct SegmentTarget;

/// Where whole frames lie, by their own lengths.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let mut at = SEGMENT_HEADER;
    while let Some(header) = bytes.get(at..at + FRAME_HEADER) {
        let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
        let end = at + FRAME_HEADER + length + CHECKSUM;
        if !header.starts_with(FRAME_MAGIC) || end > bytes.len() {
            break;
        }
        frames.push(at..end);
        at = end;
    }
    frames
}

/// The frame with the length and the checksum that it should have.
fn mended(salt: &[u8], mut frame: Vec<u8>) -> Vec<u8> {
    frame.truncate(frame.len().saturating_sub(CHECKSUM));
    if let Some(body) = frame.len().checked_sub(FRAME_HEADER) {
        frame[5..9].copy_from_slice(&(body as u32).to_be_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(salt), &frame);
    [frame, checksum.to_be_bytes().to_vec()].concat()
}

type Read = (Vec<Entry>, usize, u64, u64);

/// Everything that a store gives out.
fn read(store: &dyn Store) -> Read {
    let mut entries = Vec::new();
    for of in store.journals() {
        let end = store.journal_end(of).position;
        let mut position = 0;
        while position < end {
            let items = store
                .journal(of, position, 1 << 16)
                .expect("what is held reads");
            assert!(!items.is_empty(), "a journal ends before its end");
            position += items.len() as u64;
            entries.extend(items.into_iter().map(|item| item.entry));
        }
        let _ = (store.digest(of), store.leaves(of), store.detached(of));
    }
    for entry in &entries {
        assert_eq!(store.holds(&entry.id()).ok(), Some(true));
        assert_eq!(Entry::parse(entry.bytes().to_vec()).as_ref(), Ok(entry));
    }
    let outbox = store
        .outbox(0, usize::MAX)
        .expect("what is held reads")
        .len();
    (
        entries,
        outbox,
        store.authority_head().height,
        store.next_outbox_number(),
    )
}

impl Target for SegmentTarget {
    fn name(&self) -> &'static str {
        "segment"
    }

    fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let frames = frames(SEGMENT);
        let half = frames[frames.len() / 2].end;
        let without = [&SEGMENT[..frames[2].start], &SEGMENT[frames[2].end..]].concat();
        vec![
            ("every-kind".to_owned(), SEGMENT.to_vec()),
            ("half".to_owned(), SEGMENT[..half].to_vec()),
            ("torn".to_owned(), SEGMENT[..half - 7].to_vec()),
            ("one-missing".to_owned(), without),
            ("empty".to_owned(), SEGMENT[..SEGMENT_HEADER].to_vec()),
        ]
    }

    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        let whole = frames(input);
        if whole.is_empty() || random.below(4) == 0 {
            return mutate_bytes(input, other, random);
        }
        // Behind a checksum that is right: what a program with a fault could have written.
        let frame = random.pick(&whole).clone();
        let theirs = frames(other);
        let salt = &input[SALT];
        let new = match random.below(4) {
            0 => Vec::new(),
            1 if !theirs.is_empty() => other[random.pick(&theirs).clone()].to_vec(),
            _ => {
                let mut bytes = input[frame.clone()].to_vec();
                let at = FRAME_HEADER.min(bytes.len());
                let body = mutate_bytes(&bytes[at..], other, random);
                bytes.truncate(at);
                if random.below(3) == 0 {
                    let field = 4 + random.below(21) as usize;
                    bytes[field] = random.below(256) as u8;
                }
                bytes.extend(body);
                mended(salt, bytes)
            }
        };
        [&input[..frame.start], &new, &input[frame.end..]].concat()
    }

    fn run(&self, input: &[u8]) -> bool {
        let mut disk = ModelDisk::new();
        for (name, bytes) in [("format", FORMAT), ("segment-00000001", input)] {
            disk.create(name).expect("an empty disk");
            disk.append(name, bytes).expect("an empty disk");
        }
        disk.sync_dir().expect("an empty disk");
        let before = disk.content("segment-00000001");
        let open = |seed: u8| {
            let options = OpenOptions::new(DEVICE, Fresh([seed; 48]));
            SegmentStore::open_model(disk.clone(), &options)
        };
        let Ok((store, report)) = open(1) else {
            assert_eq!(
                disk.content("segment-00000001"),
                before,
                "a refused store was written to"
            );
            return false;
        };
        let first = read(&store);
        if report.lost_frames > 0 {
            assert!(
                report.new_epoch,
                "frames are gone and cursors still count: {report:?}"
            );
        }
        drop(store);
        let (again, report) = open(2).expect("what opened opens again");
        assert_eq!(report.lost_frames, 0, "a loss is told once: {report:?}");
        assert_eq!(read(&again), first, "opened again it reads otherwise");
        !first.0.is_empty()
    }
}
