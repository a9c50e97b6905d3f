//! One bit of a relay's segments is another one: what a repair, or the daemon alone, puts right without any
//! backup, and what it leaves to the devices.

use crate::support::{House, TestDevice};
use cairn_keys::{Grant, Standing};
use cairn_relay::ops::OpsRequest;
use cairn_relay::repair;
use cairn_store::disk::real::RealDisk;
use cairn_store::segments::{Scanned, Segments, segment_name};
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store};
use cairn_wire::DeviceKey;
use cairn_wire::ids::{Incarnation, ScopeId};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A byte inside every frame of a store, and the frame's kind.
fn frames(data: &Path) -> Vec<(PathBuf, usize, u8)> {
    let text = std::fs::read_to_string(data.join("format")).unwrap();
    let salt: Incarnation = text
        .split_ascii_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap();
    let segments = Segments::open(RealDisk::new(data), salt.0, u64::MAX).unwrap();
    let mut scan = segments.scan_all();
    let mut found = Vec::new();
    while let Some(scanned) = scan.step().unwrap() {
        if let Scanned::Frame(location, header, _) = scanned {
            let file = data.join(segment_name(location.segment));
            let at = usize::try_from(location.end()).unwrap() - 6;
            found.push((file, at, header.kind));
        }
    }
    found
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 8;
    std::fs::write(file, bytes).unwrap();
}

/// Kinds of frames, as the store's format numbers them.
const ENTRY: u8 = 1;

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &target);
        } else if item.file_type().unwrap().is_file() {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Whose keys are sealed here, and how high the authority's log is.
type Held = (u64, BTreeSet<(DeviceKey, ScopeId, u32)>);

fn held(dir: &Path, relay: DeviceKey) -> Held {
    let mut bytes = [7; 48];
    getrandom::fill(&mut bytes).unwrap();
    let options = OpenOptions::new(relay, Fresh(bytes));
    let (store, _) = SegmentStore::open(&dir.join("data"), &options).unwrap();
    let store: Box<dyn Store> = Box::new(store);
    let mut grants = BTreeSet::new();
    let members = store.membership().members();
    // Nothing is sealed to who was revoked.
    for member in members.filter(|member| member.standing == Standing::Member) {
        for bytes in store.grants_for(&member.public.device).unwrap() {
            let grant = Grant::parse(&bytes).unwrap();
            grants.insert((grant.recipient(), grant.scope(), grant.key_number()));
        }
    }
    let height = store.authority_head().height;
    store.close().unwrap();
    (height, grants)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_frame_rots_a_repair_needs_no_backup() {
    let (mut house, made) = House::made();
    house.start().await;
    let code = house.code(&["north/hazards"], 2).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    let lost = TestDevice::join(&code, "Lost").await.unwrap();
    alpha.save("north/hazards", "HA-1").await;
    alpha.sync().await.unwrap();
    alpha.save("north/hazards", "HA-2").await;
    alpha.sync().await.unwrap();
    // Keys are rotated, so that there are several of each scope.
    let revoke = OpsRequest::Revoke {
        device: lost.secret.device().to_string(),
        reason: "lost".into(),
        dry_run: false,
    };
    house.ask(revoke).await;
    house.eventually(|status| status["documents"] == 2).await;
    alpha.sync().await.unwrap();
    house.stop().await;
    let whole = held(&house.dir(), made.relay);
    let copies = tempfile::tempdir().unwrap();
    let (mut rotted, mut by_daemon) = (0, 0);
    let all = frames(&house.dir().join("data"));
    for (number, (file, at, kind)) in all.iter().enumerate() {
        for with_index in [true, false] {
            let what = format!("frame {number} of kind {kind}, index kept: {with_index}");
            let dir = copies.path().join(format!("{number}-{with_index}"));
            copy_folder(&house.dir(), &dir);
            let inner = file.strip_prefix(house.dir()).unwrap();
            flip(&dir.join(inner), *at);
            if !with_index {
                std::fs::remove_dir_all(dir.join("data/index")).unwrap();
            }
            // Every third by a daemon that starts on it: it has no index to take things from.
            let started = !with_index && number % 3 == 0;
            if started {
                let relay = cairn_relay::Relay::start(&dir, house.options()).await;
                let relay = relay.unwrap_or_else(|error| panic!("{what}: {error}"));
                relay.stop().await;
                by_daemon += 1;
            }
            let repaired = repair(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(repaired.problems.is_empty(), "{what}: {repaired:?}");
            let waits = repaired.mended.as_ref().is_some_and(|mended| mended.waits);
            assert!(!waits, "{what}: {repaired:?}");
            if !started {
                assert!(!repaired.stores[0].problems.is_empty(), "{what}");
            }
            assert_eq!(held(&dir, made.relay), whole, "{what}: {repaired:?}");
            // Nothing is left to do.
            let again = repair(&dir).unwrap();
            assert!(
                again.stores.iter().all(|it| it.problems.is_empty()),
                "{what}: {again:?}"
            );
            assert_eq!(again.gaps, repaired.gaps, "{what}");
            if *kind == ENTRY {
                rotted += 1;
            } else {
                assert_eq!(repaired.gaps, [], "{what}");
            }
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    assert!(
        rotted >= 4 && by_daemon >= 5 && all.len() >= 20,
        "{rotted} {by_daemon}"
    );

    // An entry comes back from a device: here the first of two, so that the gap is seen.
    let (file, at, _) = all.iter().find(|(_, _, kind)| *kind == ENTRY).unwrap();
    flip(file, *at);
    let repaired = repair(&house.dir()).unwrap();
    let gap = &repaired.gaps[0];
    assert_eq!(
        (gap.device.as_str(), gap.scope.as_str(), gap.entries),
        ("Alpha", "north/hazards", 1)
    );
    house.start().await;
    assert_eq!(house.status().await["entries"], 1);
    alpha.relay_moved_to(house.relay().address());
    alpha.sync().await.unwrap();
    house
        .eventually(|status| status["entries"] == 2 && status["documents"] == 2)
        .await;
    house.stop().await;
    assert_eq!(repair(&house.dir()).unwrap().gaps, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_copy_is_left_the_authority_waits() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    let entries = alpha
        .with(|_, store| store.authority_entries(0, usize::MAX).unwrap())
        .await;
    house.stop().await;
    for store in ["data", "centre/data"] {
        let data = house.dir().join(store);
        std::fs::remove_dir_all(data.join("index")).unwrap();
        let segment = data.join("segment-00000001");
        let mut bytes = std::fs::read(&segment).unwrap();
        // Neither the first, nor the last.
        let entry = &entries[entries.len() - 2];
        let at = bytes
            .windows(entry.len())
            .position(|part| part == entry)
            .unwrap();
        bytes[at + 40] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    let repaired = repair(&house.dir()).unwrap();
    assert!(repaired.mended.unwrap().waits && !repaired.problems.is_empty());
    house.start().await;
    let refused = house
        .try_ask(OpsRequest::ScopeCreate {
            name: "south".into(),
        })
        .await;
    assert_eq!(refused.unwrap_err().code, "restored");
    alpha.relay_moved_to(house.relay().address());
    alpha.sync().await.unwrap();
    let whole = house
        .eventually(|status| {
            let acts = status["act_now"].as_array().unwrap();
            !acts.iter().any(|act| act["what"] == "restored")
        })
        .await;
    assert_eq!(whole["authority_height"], entries.len() as u64 - 1);
    house
        .ask(OpsRequest::ScopeCreate {
            name: "south".into(),
        })
        .await;
    house.stop().await;
}

/// Where a restore, or making a relay, was cut off at its very last step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_failed_at_its_last_step_can_be_repeated_until_a_daemon_has_run() {
    let (mut house, _) = House::made();
    house.start().await;
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (house.dir(), folder.path().join("backup"));
    let to = file.clone();
    tokio::task::spawn_blocking(move || cairn_relay::backup::create(&dir, &to))
        .await
        .unwrap()
        .unwrap();
    house.stop().await;
    let place = folder.path().join("restored");
    cairn_relay::backup::restore(&file, &place, false).unwrap();
    // As it is before the mark goes.
    let mark = place.join("init.unfinished");
    std::fs::write(&mark, b"").unwrap();
    cairn_relay::backup::restore(&file, &place, false).unwrap();
    assert!(place.join("unfinished-1/relay.toml").exists() && !mark.exists());

    std::fs::write(&mark, b"").unwrap();
    let relay = cairn_relay::Relay::start(&place, house.options())
        .await
        .unwrap();
    relay.stop().await;
    assert!(!mark.exists());
    let refused = cairn_relay::backup::restore(&file, &place, false).unwrap_err();
    assert_eq!(refused.code(), "folder_in_use");
}
