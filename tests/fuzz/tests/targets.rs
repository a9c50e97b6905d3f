//! Each target's corpus, and mutations of it: a fixed number of them, or as many as `CAIRN_FUZZ_S`
//! seconds allow. Corpora are written anew with `CAIRN_BLESS=1`.

#![allow(clippy::print_stderr)] // How far a run came is a figure of tests/README.md.

use cairn_fuzz::batch::BatchTarget;
use cairn_fuzz::change::ChangeTarget;
use cairn_fuzz::entry::EntryTarget;
use cairn_fuzz::frame::FrameTarget;
use cairn_fuzz::segment::SegmentTarget;
use cairn_fuzz::{Target, run, write_seeds};

/// Runs a target, of whose mutations at least one in `of` has to be accepted: those that never pass
/// would show nothing about what happens behind the first check.
fn fuzz(target: &impl Target, cases: u64, of: u64) {
    if std::env::var_os("CAIRN_BLESS").is_some() {
        write_seeds(target).unwrap();
    }
    let counts = run(target, cases);
    eprintln!("{}: {counts:?}", target.name());
    assert!(counts.accepted * of > counts.mutations, "{counts:?}");
    assert!(counts.accepted < counts.mutations, "{counts:?}");
}

#[test]
fn frames() {
    fuzz(&FrameTarget, 4_000, 20);
}

#[test]
fn entries() {
    fuzz(&EntryTarget::default(), 4_000, 20);
}

#[test]
fn batches() {
    fuzz(&BatchTarget, 2_000, 20);
}

#[test]
fn changes() {
    fuzz(&ChangeTarget::default(), 3_000, 50);
}

#[test]
fn segments() {
    fuzz(&SegmentTarget, 1_500, 20);
}
