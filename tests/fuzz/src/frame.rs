//! The frame: what comes on a channel before anything is known about who sends it.
//!
//! Promises: nothing panics; what is held back is one frame at most; a frame that reads is written and
//! read again as the same; how the bytes were cut on the way changes nothing; an entry that is lengthened
//! from its streamed form is well-formed and shortens to a form that lengthens to the same bytes.
//!
//! An input is one byte that chooses the channel (even: control, odd: lane), then the channel's bytes.

use crate::{Random, Target, mutate_bytes};
use cairn_wire::frame::{self, ControlFrame, FrameReader, LaneFrame, ScopeLane};
use cairn_wire::ids::{AuthorityRef, DeviceKey, Incarnation, Lane, ProgrammeId, ScopeId};
use cairn_wire::limits::FRAME_BYTES_MAX;
use cairn_wire::stream::{EntryForm, Speaker, StreamLogs};
use cairn_wire::{Entry, codec};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

const PROGRAMME: ProgrammeId = ProgrammeId([1; 32]);
const OF: ScopeLane = ScopeLane {
    scope: ScopeId([0x20; 16]),
    lane: Lane::Records,
};
/// The longest prefix of a frame.
const PREFIX_BYTES_MAX: usize = 5;

/// The target.
#[derive(Default)]
pub struct FrameTarget;

/// All frames up to the first that is none.
fn frames<T: for<'de> Deserialize<'de>>(bytes: &[u8], step: usize) -> Vec<T> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for part in bytes.chunks(step) {
        reader.push(part);
        loop {
            match reader.next_frame() {
                Ok(Some((frame, _))) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
        let held = reader.held_bytes();
        assert!(
            held < FRAME_BYTES_MAX + PREFIX_BYTES_MAX,
            "{held} bytes are held back"
        );
    }
    frames
}

fn read<T>(bytes: &[u8]) -> Vec<T>
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug,
{
    let whole: Vec<T> = frames(bytes, 1024);
    assert_eq!(whole, frames(bytes, 7), "cut otherwise it reads otherwise");
    for frame in &whole {
        let written = frame::write(frame);
        let again: Vec<T> = frames(&written, written.len());
        assert_eq!(again.as_slice(), std::slice::from_ref(frame));
    }
    whole
}

/// The entries that streamed forms stand for, up to the first that stands for none.
fn entries(forms: Vec<EntryForm>) -> Vec<Entry> {
    let speaker = Speaker {
        device: DeviceKey([2; 32]),
        incarnation: Incarnation([4; 16]),
        authority: AuthorityRef {
            height: 9,
            id: [5; 8],
        },
    };
    let mut logs = StreamLogs::default();
    logs.spoken_by(speaker);
    let entries: Vec<Entry> = forms
        .into_iter()
        .map_while(|form| logs.lengthen(form, PROGRAMME, OF).ok())
        .collect();

    let (mut sender, mut receiver) = (StreamLogs::default(), StreamLogs::default());
    sender.spoken_by(speaker);
    receiver.spoken_by(speaker);
    for entry in &entries {
        assert_eq!(Entry::parse(entry.bytes().to_vec()).as_ref(), Ok(entry));
        let again = receiver.lengthen(sender.shorten(entry), PROGRAMME, OF);
        assert_eq!(again.as_ref(), Ok(entry));
    }
    entries
}

impl Target for FrameTarget {
    fn name(&self) -> &'static str {
        "frame"
    }

    fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let golden = include_str!("../../../proto/vectors/frames.txt");
        let mut seeds = Vec::new();
        let mut all = [vec![0], vec![1]];
        for line in golden.lines() {
            let Some((name, digits)) = line.split_once(' ') else {
                continue;
            };
            let bytes = bytes_of(digits);
            let body = &bytes[bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1..];
            let lane = codec::decode::<ControlFrame>(body).is_err();
            all[usize::from(lane)].extend(&bytes);
            seeds.push((name.to_owned(), [&[u8::from(lane)], &bytes[..]].concat()));
        }
        let [control, lane] = all;
        seeds.push(("all-control".to_owned(), control));
        seeds.push(("all-lane".to_owned(), lane));
        seeds
    }

    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        mutate_bytes(input, other, random)
    }

    fn run(&self, input: &[u8]) -> bool {
        let Some((channel, bytes)) = input.split_first() else {
            return false;
        };
        if channel & 1 == 0 {
            return !read::<ControlFrame>(bytes).is_empty();
        }
        let frames = read::<LaneFrame>(bytes);
        let any = !frames.is_empty();
        let forms = frames.into_iter().filter_map(|frame| match frame {
            LaneFrame::Entry(form) => Some(form),
            _ => None,
        });
        entries(forms.collect());
        any
    }
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let digits = digits.trim();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("golden digits"))
        .collect()
}
