//! What hostile bytes may cost, counted in bytes allocated at one time, not by a clock.
#![allow(unsafe_code)]

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ScalarValue};
use cairn_documents::batch::decode;
use cairn_documents::{ChangeParts, OpenedChange, RootPreimage, Rule, Verdict, author_root};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use world::{KIND, SCOPE, Shelf, author, device, entry};

/// The system's allocator, counted.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(
            NOW.fetch_add(layout.size(), Relaxed) + layout.size(),
            Relaxed,
        );
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const MIB: usize = 1024 * 1024;

/// The most that was allocated above what was there before.
fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = run();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}

/// A root that puts a null under "a" so many times, in 26 bytes behind its actor.
fn puts(count: u64) -> OpenedChange {
    let by = author(1, 1);
    let mut run = Vec::new();
    let mut rest = count;
    while rest > 0x3f {
        run.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    run.push(rest as u8);
    let mut columns = vec![
        (0x15, [&run[..], &[1, b'a']].concat()),
        (0x34, run.clone()),
        (0x42, [&run[..], &[1]].concat()),
        (0x56, [&run[..], &[0]].concat()),
        (0x70, [&run[..], &[0]].concat()),
    ];
    let mut after = vec![1, 1, 0, 0, 0, columns.len() as u8];
    for (spec, bytes) in &columns {
        after.extend([*spec, bytes.len() as u8]);
    }
    columns.drain(..).for_each(|(_, bytes)| after.extend(bytes));
    let parts = ChangeParts::new(&[], &after);
    let document = parts.document_id(&SCOPE, KIND, &by.device, &by.nonce);
    let actor = parts.actor(&SCOPE, &document, &by.device, &by.nonce);
    let (bytes, hash) = parts.assemble(&actor);
    OpenedChange {
        document,
        root: Some(RootPreimage {
            kind: KIND.to_owned(),
            nonce: by.nonce,
        }),
        nonce: by.nonce,
        bytes,
        hash,
    }
}

/// One test, so that no other allocates beside it.
#[test]
fn hostile_bytes_cost_little_memory() {
    let mut shelf = Shelf::default();
    let bomb = puts(10_000_000);
    let (ingested, bytes) = peak(|| shelf.take(&entry(1, 1), &[bomb]));
    let refused = Verdict::Quarantined(Rule::TooManyOperations);
    assert_eq!(ingested.outcomes[0].verdict, refused);
    assert!(bytes < MIB, "{bytes} B for ten million operations");

    // The most operations that pass, in some sixty bytes.
    let most = puts(cairn_wire::limits::CHANGE_OPERATIONS_MAX as u64);
    let (ingested, bytes) = peak(|| shelf.take(&entry(1, 2), &[most]));
    assert_eq!(ingested.outcomes[0].verdict, Verdict::Applied);
    assert!(bytes < 64 * MIB, "{bytes} B for the most operations");

    let list = author_root::<AutomergeError>(&author(1, 3), KIND, 0, |tx| {
        let list = tx.put_object(ROOT, "list", ObjType::List)?;
        tx.splice(&list, 0, 0, vec![ScalarValue::Null; 32_000])
    });
    let list: OpenedChange = (&list.unwrap()).into();
    let (ingested, bytes) = peak(|| shelf.take(&entry(1, 3), &[list]));
    assert_eq!(ingested.outcomes[0].verdict, Verdict::Applied);
    assert!(bytes < 64 * MIB, "{bytes} B for a list");

    // Ten thousand changes in one batch, that rest on what nobody made.
    let body = |from: u64| {
        let count = 10_000u64;
        let rests: Vec<Vec<u8>> = (from..from + count).map(waiting).collect();
        let mut body = Vec::new();
        leb(&mut body, count);
        body.extend(vec![0; 2 * count as usize]);
        body.extend(vec![1; count as usize]);
        body.extend(vec![0; count as usize]);
        rests
            .iter()
            .for_each(|rest| leb(&mut body, rest.len() as u64));
        rests.iter().for_each(|rest| body.extend(rest));
        zstd::bulk::compress(&body, 3).unwrap()
    };
    let tables = [&[1, 1, 1][..], &[5; 8], &[0, 1], &[6; 16], &[1], &[7; 32]].concat();
    for (number, from) in [(4, 0), (5, 20_000)] {
        let batch = [&tables[..], &body(from)].concat();
        let (_, bytes) = peak(|| {
            let opened = decode(&batch, &SCOPE, &device(1)).unwrap();
            let changes: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
            shelf.take(&entry(1, number), &changes)
        });
        assert!(bytes < 16 * MIB, "{bytes} B for changes that wait");
    }

    // 64 MiB of zeros in a frame of a few kilobytes.
    let frame = zstd::bulk::compress(&vec![0; 64 * MIB], 3).unwrap();
    let batch = [&[1, 1, 0, 0, 0, 0][..], &frame].concat();
    let (opened, bytes) = peak(|| decode(&batch, &SCOPE, &device(1)).map(|items| items.len()));
    assert!(opened.is_err());
    assert!(bytes < MIB, "{bytes} B for a frame that inflates");

    // Changes that each rest 64 times on one dependency in the table.
    let count = 7_000u64;
    let mut body = Vec::new();
    leb(&mut body, count);
    body.extend(vec![0; 2 * count as usize]);
    body.extend(vec![64; count as usize]);
    body.extend(vec![0; 64 * count as usize]);
    body.extend(vec![0; count as usize]);
    let frame = zstd::bulk::compress(&body, 3).unwrap();
    let tables = [&[1, 1, 1][..], &[5; 8], &[0, 1], &[6; 16], &[1], &[7; 32]].concat();
    let batch = [&tables[..], &frame].concat();
    let (opened, bytes) = peak(|| decode(&batch, &SCOPE, &device(1)).map(|items| items.len()));
    assert_eq!(opened, Ok(count as usize));
    assert!(
        bytes < 64 * MIB,
        "{bytes} B for dependencies out of a table"
    );
}

fn leb(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// An edit that puts a null under "a" at some time.
fn waiting(time: u64) -> Vec<u8> {
    let mut after = vec![1, 1];
    let mut rest = time;
    while rest > 0x3f {
        after.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    after.push(rest as u8);
    // No message, no other actors, five columns.
    after.extend([0, 0, 5, 0x15, 3, 0x34, 1, 0x42, 2, 0x56, 2, 0x70, 2]);
    after.extend([0x7f, 1, b'a', 1, 0x7f, 1, 0x7f, 0, 0x7f, 0]);
    after
}
