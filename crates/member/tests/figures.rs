//! What things cost: run by hand with optimisation, `cargo test -p cairn-member --test figures --
//! --ignored --nocapture` and `CARGO_PROFILE_DEV_OPT_LEVEL=2`. Times are printed, counts are asserted.

mod programme;

use cairn_keys::{Access, Role};
use cairn_member::{Filter, ImportRow, Importing, Moment};
use cairn_records::Envelope;
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store};
use programme::{Programme, SCOPE, kind, set};
use std::time::{Duration, Instant};

/// A clock, and where the system tells it this thread's time on a processor.
struct Watch(Instant, Duration);

impl Watch {
    fn begin() -> Self {
        Self(Instant::now(), on_processor())
    }

    fn read(&self) -> String {
        let on_processor = on_processor() - self.1;
        format!("{:?} ({on_processor:?} on a processor)", self.0.elapsed())
    }
}

fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

const AREAS: u32 = 8_000;

/// Twelve corners round a place, a number, a class and a note.
fn area(row: u32) -> ImportRow {
    let (lat, lon) = (
        44.0 + f64::from(row / 100) * 0.01,
        16.0 + f64::from(row % 100) * 0.01,
    );
    let corner = |at: u32| {
        let turn = f64::from(at % 12) * std::f64::consts::TAU / 12.0;
        let radius = 0.001 + f64::from((row * 7 + at % 12 * 13) % 11) * 0.0001;
        format!(
            "[{:.7},{:.7}]",
            lon + radius * turn.cos(),
            lat + radius * turn.sin()
        )
    };
    let ring: Vec<String> = (0..=12).map(corner).collect();
    let perimeter = format!(
        "perimeter={{\"type\":\"Polygon\",\"coordinates\":[[{}]]}}",
        ring.join(",")
    );
    ImportRow {
        row: row.into(),
        envelope: Envelope::default(),
        edits: set(&[
            &format!("local_id=HA-{row:05}"),
            "hazard_class=suspected",
            &format!(
                "description=Reported by the village, parcel {}",
                row * 7919 % 10_007
            ),
            &perimeter,
        ]),
        copy_of: None,
    }
}

#[test]
#[ignore = "measures; run by hand"]
#[allow(clippy::print_stdout, reason = "its purpose")]
fn eight_thousand_areas() {
    let mut programme = Programme::found();
    let mut alpha = programme.member("T3 Alpha", Role::Device, Access::Write);
    let bravo = programme.member("T5 Bravo", Role::Device, Access::Write);
    programme.tell(&mut alpha);
    let folder = tempfile::tempdir().unwrap();
    let open = |place: &str, device| {
        let mut options = OpenOptions::new(device, Fresh([place.len() as u8; 48]));
        options.programme = Some(programme.log.programme());
        let (store, _) = SegmentStore::open(&folder.path().join(place), &options).unwrap();
        let mut store: Box<dyn Store> = Box::new(store);
        let entries = programme.log.entries_from(0, usize::MAX);
        store
            .append_authority(entries.iter().map(|entry| entry.to_vec()).collect())
            .unwrap();
        store
    };
    let mut one = open("one", alpha.device());
    let mut other = open("other", bravo.device());

    let rows: Vec<ImportRow> = (0..AREAS).map(area).collect();
    let moment = alpha.moment();
    let watch = Watch::begin();
    let began = Instant::now();
    let imported = alpha
        .member
        .import_rows(
            &mut *one,
            &moment,
            &mut Importing::new(SCOPE, kind(), false),
            &mut rows.clone().into_iter(),
            &mut || began.elapsed().as_millis() as u64,
            &mut |_, _| {},
        )
        .unwrap();
    assert_eq!(imported.taken, u64::from(AREAS));
    println!(
        "import of {AREAS}: {}, {} frames",
        watch.read(),
        one.outbox_len()
    );

    let watch = Watch::begin();
    let status = alpha.member.status(&*one, one.membership()).unwrap();
    assert_eq!(status.unsent_changes, u64::from(AREAS));
    println!("status with all unsent: {}", watch.read());

    let began = Instant::now();
    let sealed = alpha
        .member
        .seal_outbox(&mut *one, None, cairn_wire::Incarnation([9; 16]))
        .unwrap();
    assert_eq!(sealed.changes, u64::from(AREAS));
    let bytes: usize = one
        .journal(programme::OF, 0, usize::MAX)
        .unwrap()
        .iter()
        .map(|item| item.entry.bytes().len())
        .sum();
    println!(
        "sealing: {:?}, {} entries, {} B an area",
        began.elapsed(),
        sealed.entries,
        bytes / AREAS as usize
    );
    let watch = Watch::begin();
    alpha.member.catch_up(&mut *one).unwrap();
    println!("own entries taken in: {}", watch.read());

    let items = one.journal(programme::OF, 0, usize::MAX).unwrap();
    let incoming = items
        .into_iter()
        .map(|item| cairn_store::Incoming {
            entry: item.entry,
            origins: vec![],
        })
        .collect();
    other.append(incoming).unwrap();
    let mut reader = bravo.member.clone();
    let watch = Watch::begin();
    let taken = reader.catch_up(&mut *other).unwrap();
    assert_eq!(taken.changes_applied, u64::from(AREAS));
    println!("pulled areas taken in: {}", watch.read());

    let mut saves = Vec::new();
    for row in 0..50 {
        let moment = Moment {
            now_s: 1_760_000_000,
            nonce: [row; 8],
        };
        let row = area(AREAS + u32::from(row));
        let began = Instant::now();
        let edits = &row.edits;
        reader
            .new_record(&mut *other, &moment, SCOPE, kind(), &row.envelope, edits)
            .unwrap();
        saves.push(began.elapsed());
    }
    saves.sort_unstable();
    println!(
        "save of a new record: median {:?}, worst {:?}",
        saves[25], saves[49]
    );

    let mut in_process = Vec::new();
    for row in 0..50 {
        let moment = alpha.moment();
        let row = area(2 * AREAS + row);
        let began = Instant::now();
        let edits = &row.edits;
        alpha
            .member
            .new_record(
                &mut *alpha.store,
                &moment,
                SCOPE,
                kind(),
                &row.envelope,
                edits,
            )
            .unwrap();
        in_process.push(began.elapsed());
    }
    in_process.sort_unstable();
    println!("… in process, without a disk: median {:?}", in_process[25]);

    let began = Instant::now();
    other.close().unwrap();
    println!("close: {:?}", began.elapsed());
    let mut options = OpenOptions::new(bravo.device(), Fresh([77; 48]));
    options.create = false;
    let began = Instant::now();
    let (store, _) = SegmentStore::open(&folder.path().join("other"), &options).unwrap();
    let mut other: Box<dyn Store> = Box::new(store);
    println!("store opened: {:?}", began.elapsed());
    let mut again = bravo.member.clone();
    let caught = again.catch_up(&mut *other).unwrap();
    assert_eq!(caught.entries, 0);
    println!("… caught up: {:?}", began.elapsed());
    let listed = again
        .list(&*other, other.membership(), &Filter::default())
        .unwrap();
    assert_eq!(listed.len(), AREAS as usize + 50);
    println!("… listed: {:?}", began.elapsed());
    let began = Instant::now();
    again
        .show(&*other, other.membership(), "HA-00042", None)
        .unwrap();
    println!("show by number: {:?}", began.elapsed());
}
