//! Devices in real folders, a relay on loopback: joining, recording, syncing, copies, what goes wrong.

mod relay;

use cairn_device::records::{Envelope, input, schema};
use cairn_device::syncing::silent;
use cairn_device::{
    Device, DeviceError, DeviceOptions, Filter, ImportRow, Saved, Stage, SyncRequest, Synced,
};
use cairn_keys::Access;
use relay::Relay;
use std::path::Path;
use std::time::Duration;

fn options() -> DeviceOptions {
    DeviceOptions {
        lock_wait: Duration::from_millis(200),
        ..DeviceOptions::default()
    }
}

fn edits(texts: &[&str]) -> Vec<cairn_device::records::Edit> {
    let kind = schema::kind("hazardous_area").unwrap();
    texts
        .iter()
        .map(|text| input::set(kind, text).unwrap())
        .collect()
}

fn new_area(device: &Device, texts: &[&str]) -> Saved {
    let envelope = Envelope::default();
    device
        .new_record(None, "hazardous_area", envelope, edits(texts))
        .unwrap()
}

fn try_sync(device: &Device) -> Result<Synced, DeviceError> {
    device.sync_once(&SyncRequest::default(), &mut silent())
}

fn sync(device: &Device) -> Synced {
    let synced = try_sync(device).unwrap();
    assert!(synced.report.complete, "{synced:?}");
    synced
}

fn name(saved: &Saved) -> String {
    saved.id.to_string()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

#[test]
fn two_devices_join_record_and_agree() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let alpha = Device::create(&folders.path().join("a"), "T3 Alpha", &options()).unwrap();
    let refused = try_sync(&alpha).unwrap_err();
    assert_eq!((refused.exit_code(), refused.code()), (5, "not_joined"));
    let code = relay.code(Access::Write);
    let joined = alpha.join(&code, false).unwrap();
    assert_eq!(joined.scopes[0].name, "north/hazards");
    assert_eq!(
        alpha.join(&code, false).unwrap(),
        joined,
        "again is harmless"
    );
    let bravo = Device::create(&folders.path().join("b"), "T5 Bravo", &options()).unwrap();
    bravo.join(&relay.code(Access::Write), false).unwrap();

    let area = new_area(
        &alpha,
        &["local_id=HA-1", "slope=flat", "perimeter=44.0, 18.0"],
    );
    let edited = alpha.edit("HA-1", None, edits(&["slope=steep"])).unwrap();
    assert_eq!(edited.fields[0].reads, "steep");
    let status = alpha.status().unwrap();
    assert_eq!(
        (status.member.documents, status.member.unsent_changes),
        (1, 2)
    );
    assert!(!status.relays[0].delivered);

    let first = sync(&alpha);
    assert_eq!((first.changes_sent, first.report.entries_sent), (2, 1));
    let status = alpha.status().unwrap();
    assert_eq!(status.member.unsent_changes, 0);
    assert!(status.relays[0].delivered && status.relays[0].last_contact_s.is_some());
    let held = alpha.held().unwrap();
    let compared: Vec<_> = held.compared_s.keys().copied().collect();
    assert_eq!(compared, [held.scopes[0].scope], "equal in all it may see");
    assert_eq!(alpha.show("HA-1", None).unwrap().stage(), Stage::AtRelay);

    let taken = sync(&bravo);
    assert_eq!((taken.changes_received, taken.documents_changed), (2, 1));
    let seen = bravo.show(&area.short_code, None).unwrap();
    assert_eq!(seen.to_json()["fields"]["slope"]["reads"], "steep");
    assert_eq!(
        seen.to_json()["fields"]["slope"]["values"][0]["by"],
        "T3 Alpha"
    );
    bravo.edit("HA-1", None, edits(&["slope=gentle"])).unwrap();
    alpha.edit("HA-1", None, edits(&["slope=flat"])).unwrap();
    sync(&bravo);
    sync(&alpha);
    sync(&bravo);
    let open = alpha.open_questions().unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].record.conflicts(), 1);
    let filter = Filter {
        open_questions: true,
        ..Filter::default()
    };
    assert_eq!(bravo.list(filter).unwrap().len(), 1);
    assert_eq!(alpha.history("HA-1").unwrap().len(), 4);
    assert!(alpha.check(false).unwrap().ok());

    let idle = sync(&alpha);
    assert_eq!(idle.report.round_trips, 1);
    assert!(
        idle.report.app_bytes_sent + idle.report.app_bytes_received <= 400,
        "{idle:?}"
    );
}

#[test]
fn a_deferred_device_records_first_and_joins_with_its_first_sync() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T7", &options()).unwrap();
    let joined = device.join(&relay.code(Access::Write), true).unwrap();
    assert!(joined.deferred);
    let area = new_area(&device, &["slope=flat"]);
    assert!(device.status().unwrap().deferred);
    device.close().unwrap();

    let device = Device::open(&folder, &options()).unwrap();
    device
        .edit(&name(&area), None, edits(&["slope=steep"]))
        .unwrap();
    let synced = sync(&device);
    assert_eq!(synced.changes_sent, 2);
    let status = device.status().unwrap();
    assert!(status.joined && !status.deferred);
    assert_eq!(
        device.show(&name(&area), None).unwrap().stage(),
        Stage::AtRelay
    );
}

#[test]
fn what_was_saved_is_there_after_opening_again_and_one_process_has_it() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    let area = new_area(&device, &["slope=flat"]);
    let locked = Device::open(&folder, &options()).unwrap_err();
    assert_eq!((locked.exit_code(), locked.code()), (6, "locked"));
    assert!(locked.retryable());
    // As if killed: nothing is closed.
    drop(device);
    let again = Device::create(&folder, "T8", &options()).unwrap_err();
    assert_eq!(again.code(), "device_exists");
    let options = DeviceOptions::default();
    let device = Device::open(&folder, &options).unwrap();
    assert_eq!(device.name(), "T7");
    assert!(!device.opened().copied);
    let shown = device.show(&name(&area), None).unwrap();
    assert_eq!(shown.to_json()["fields"]["slope"]["reads"], "flat");
    device.close().unwrap();

    let missing = Device::open(&folders.path().join("nothing"), &options).unwrap_err();
    assert_eq!((missing.exit_code(), missing.code()), (5, "no_device"));
    assert!(missing.hint().is_some());
}

#[test]
fn records_whose_keys_are_gone_get_no_other_keys() {
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let key_file = folder.join("device.key");
    Device::create(&folder, "T7", &options())
        .unwrap()
        .close()
        .unwrap();
    let elsewhere = folders.path().join("device.key");
    std::fs::rename(&key_file, &elsewhere).unwrap();
    for refused in [
        Device::open(&folder, &options()).unwrap_err(),
        Device::create(&folder, "T8", &options()).unwrap_err(),
    ] {
        assert_eq!(
            (refused.exit_code(), refused.code()),
            (8, "key_file_missing")
        );
        assert!(refused.hint().is_some_and(|hint| hint.contains("backup")));
        assert!(!key_file.exists());
    }
    std::fs::rename(&elsewhere, &key_file).unwrap();
    assert_eq!(Device::open(&folder, &options()).unwrap().name(), "T7");
}

#[test]
fn a_folder_without_its_index_shows_the_same_and_a_check_repairs() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    let rows: Vec<ImportRow> = (1..=30u32)
        .map(|row| ImportRow {
            row: row.into(),
            envelope: Envelope::default(),
            edits: edits(&[&format!("local_id=HA-{row}"), "perimeter=44.0, 18.0"]),
            copy_of: None,
        })
        .collect();
    let (imported, outcomes) = device.import(None, "hazardous_area", rows.clone()).unwrap();
    assert_eq!((imported.taken, outcomes.len()), (30, 30));
    sync(&device);
    device.edit("HA-7", None, edits(&["slope=flat"])).unwrap();
    let before = device.list(Filter::default()).unwrap();
    device.close().unwrap();

    for item in std::fs::read_dir(folder.join("store")).unwrap() {
        let item = item.unwrap();
        if item.file_type().unwrap().is_dir() && item.file_name() != "segments" {
            std::fs::remove_dir_all(item.path()).unwrap();
        }
    }
    let device = Device::open(&folder, &options()).unwrap();
    assert!(
        device.opened().store.rebuilt.is_some(),
        "{:?}",
        device.opened()
    );
    let mut after = device.list(Filter::default()).unwrap();
    // Who acknowledged what is forgotten with the index: one comparison brings it back.
    assert!(after.iter().all(|listed| listed.unsent >= 1));
    sync(&device);
    after = device.list(Filter::default()).unwrap();
    assert!(after.iter().all(|listed| listed.unsent == 0));
    let plain = |listed: &[cairn_device::Listed]| -> Vec<_> {
        listed.iter().map(|listed| listed.line.clone()).collect()
    };
    assert_eq!(plain(&after), plain(&before));
    let (again, _) = device.import(None, "hazardous_area", rows).unwrap();
    assert_eq!((again.taken, again.duplicates), (0, 30));
    let checked = device.check(true).unwrap();
    assert!(checked.ok() && !checked.repaired, "{checked:?}");
    assert_eq!((checked.documents, checked.changes), (30, 31));
}

#[test]
fn a_copied_folder_writes_logs_of_its_own_and_nothing_is_lost() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let (one, two) = (folders.path().join("a"), folders.path().join("copy"));
    let device = Device::create(&one, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    sync(&device);
    new_area(&device, &["local_id=HA-2"]);
    device.close().unwrap();
    copy_folder(&one, &two);

    let device = Device::open(&one, &options()).unwrap();
    assert!(!device.opened().copied);
    let copy = Device::open(&two, &options()).unwrap();
    assert!(copy.opened().copied);
    assert_eq!(copy.device(), device.device());
    new_area(&device, &["local_id=HA-3"]);
    new_area(&copy, &["local_id=HA-4"]);
    sync(&device);
    sync(&copy);
    sync(&device);
    sync(&copy);
    for held in [&device, &copy] {
        let mut names: Vec<_> = held
            .list(Filter::default())
            .unwrap()
            .into_iter()
            .filter_map(|listed| listed.line.summary.local_id)
            .collect();
        names.sort();
        assert_eq!(names, ["HA-1", "HA-2", "HA-3", "HA-4"]);
        assert_eq!(held.status().unwrap().member.forked_logs, 0);
    }
    copy.close().unwrap();
    let copy = Device::open(&two, &options()).unwrap();
    assert!(!copy.opened().copied, "noticed once");
}

#[test]
fn a_store_set_back_to_a_backup_gets_everything_again_and_forks_nothing() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let (folder, backup) = (folders.path().join("a"), folders.path().join("backup"));
    let device = Device::create(&folder, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    sync(&device);
    device.close().unwrap();
    copy_folder(&folder.join("store"), &backup);
    let device = Device::open(&folder, &options()).unwrap();
    new_area(&device, &["local_id=HA-2"]);
    sync(&device);
    device.close().unwrap();

    std::fs::remove_dir_all(folder.join("store")).unwrap();
    copy_folder(&backup, &folder.join("store"));
    let device = Device::open(&folder, &options()).unwrap();
    assert!(device.opened().copied);
    assert!(device.find("HA-2").is_err());
    new_area(&device, &["local_id=HA-3"]);
    sync(&device);
    sync(&device);
    for name in ["HA-1", "HA-2", "HA-3"] {
        assert!(device.find(name).is_ok(), "{name}");
    }
    let status = device.status().unwrap();
    assert_eq!(
        (status.member.forked_logs, status.member.unsent_changes),
        (0, 0)
    );
}

#[test]
fn a_machine_set_back_unnoticed_forks_once_and_loses_nothing() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let (folder, backup) = (folders.path().join("a"), folders.path().join("backup"));
    let store = folder.join("store");
    let device = Device::create(&folder, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    sync(&device);
    device.close().unwrap();
    copy_folder(&store, &backup);
    let device = Device::open(&folder, &options()).unwrap();
    new_area(&device, &["local_id=HA-2"]);
    sync(&device);
    device.close().unwrap();

    // As a virtual machine does it: the very files, with their old content.
    for item in std::fs::read_dir(&store).unwrap() {
        let path = item.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false if path.ends_with("format") => {}
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    copy_folder(&backup, &store);
    let device = Device::open(&folder, &options()).unwrap();
    assert!(!device.opened().copied, "nobody can notice");
    new_area(&device, &["local_id=HA-3"]);
    sync(&device);
    new_area(&device, &["local_id=HA-4"]);
    sync(&device);
    for name in ["HA-1", "HA-2", "HA-3", "HA-4"] {
        assert!(device.find(name).is_ok(), "{name}");
    }
    let forks = relay
        .handle
        .call_blocking(|store| {
            let journals = store.journals().into_iter();
            journals
                .map(|of| (store.forked_logs(of).len(), store.leaf_count(of)))
                .max()
        })
        .unwrap();
    assert_eq!(
        forks,
        Some((1, 3)),
        "two branches, and the log of the new incarnation"
    );
    assert_eq!(device.status().unwrap().member.unsent_changes, 0);
}

/// Areas whose notes do not compress, so that they fill entries soon.
fn many_areas(device: &Device, prefix: &str, count: u32) {
    let rows = (0..count).map(|number| {
        let mut bytes = [0; 256];
        getrandom::fill(&mut bytes).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("local_id={prefix}-{number}");
        let note = format!("access_notes={hex}");
        ImportRow {
            row: u64::from(number),
            envelope: Envelope::default(),
            edits: edits(&[id.as_str(), note.as_str()]),
            copy_of: None,
        }
    });
    let (imported, _) = device
        .import(None, "hazardous_area", rows.collect())
        .unwrap();
    assert_eq!(imported.taken, u64::from(count));
}

#[test]
fn every_visit_with_a_budget_moves_something_until_all_is_through() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let device = Device::create(&folders.path().join("a"), "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    many_areas(&device, "HA", 1_500);
    let request = SyncRequest {
        byte_budget: Some(100_000),
        ..SyncRequest::default()
    };
    let (mut visits, mut sent) = (0, 0);
    loop {
        let synced = device.sync_once(&request, &mut silent()).unwrap();
        let report = &synced.report;
        assert!(report.app_bytes_sent + report.app_bytes_received <= 100_000);
        assert!(synced.changes_sent > 0, "visit {visits}: {synced:?}");
        sent += synced.changes_sent;
        visits += 1;
        let unsent = device.status().unwrap().member.unsent_changes;
        assert_eq!(sent + unsent, 1_500);
        assert_eq!(report.complete, unsent == 0, "{synced:?}");
        if report.complete {
            break;
        }
    }
    assert!(visits > 3, "{visits} visits");
}

#[test]
fn a_deadline_that_leaves_no_time_seals_and_loses_nothing() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let device = Device::create(&folders.path().join("a"), "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    let request = SyncRequest {
        deadline: Some(Duration::ZERO),
        ..SyncRequest::default()
    };
    let failed = device.sync_once(&request, &mut silent()).unwrap_err();
    assert!(failed.retryable(), "{failed}");
    assert!(
        device
            .handle()
            .call_blocking(|store| store.outbox_len() == 1)
            .unwrap()
    );
    assert!(device.held().unwrap().compared_s.is_empty());
    assert_eq!(sync(&device).changes_sent, 1);
    assert_eq!(device.held().unwrap().compared_s.len(), 1);
}

#[test]
fn a_revoked_device_hands_in_and_is_told_one_word() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let device = Device::create(&folders.path().join("a"), "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    let before = relay
        .handle
        .call_blocking(|store| store.journals().len())
        .unwrap();
    new_area(&device, &["local_id=HA-1"]);
    relay.revoke(device.device());
    let refused = try_sync(&device).unwrap_err();
    assert_eq!((refused.exit_code(), refused.code()), (5, "revoked"));
    let after = relay
        .handle
        .call_blocking(|store| store.journals().len())
        .unwrap();
    assert_eq!((before, after), (0, 1), "what it knew is there");
}

#[test]
fn without_a_relay_everything_stays_and_says_why() {
    let folders = tempfile::tempdir().unwrap();
    let device = {
        let relay = Relay::start();
        let device = Device::create(&folders.path().join("a"), "T7", &options()).unwrap();
        device.join(&relay.code(Access::Write), false).unwrap();
        device
    };
    new_area(&device, &["local_id=HA-1"]);
    let request = SyncRequest {
        deadline: Some(Duration::from_secs(1)),
        ..SyncRequest::default()
    };
    let failed = device.sync_once(&request, &mut silent()).unwrap_err();
    assert_eq!(failed.exit_code(), 4);
    assert!(failed.retryable() && failed.hint().is_some());
    assert_eq!(device.status().unwrap().member.unsent_changes, 1);
    let mistyped = device.join("CAIRN1-OOPS", false).unwrap_err();
    assert_eq!((mistyped.exit_code(), mistyped.code()), (2, "code"));
    let which = device
        .new_record(Some("south"), "hazardous_area", Envelope::default(), vec![])
        .unwrap_err();
    assert_eq!(which.code(), "unknown_scope");
}

#[test]
fn what_is_recorded_while_a_session_is_open_goes_out_at_once() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let alpha = Device::create(&folders.path().join("a"), "T3", &options()).unwrap();
    alpha.join(&relay.code(Access::Write), false).unwrap();
    let bravo = Device::create(&folders.path().join("b"), "T5", &options()).unwrap();
    bravo.join(&relay.code(Access::Write), false).unwrap();
    let (equal, when_equal) = std::sync::mpsc::channel();
    let (taken, when_taken) = std::sync::mpsc::channel();
    let (stop_alpha, stopped_alpha) = tokio::sync::oneshot::channel::<()>();
    let (stop_bravo, stopped_bravo) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        let keep = |device, stopped: tokio::sync::oneshot::Receiver<()>| {
            let (equal, taken) = (equal.clone(), taken.clone());
            move || {
                let device: &Device = device;
                device
                    .keep_synced(
                        async {
                            let _ = stopped.await;
                        },
                        &mut |event| {
                            if matches!(event, cairn_device::transport::SyncEvent::Equal) {
                                equal.send(()).unwrap();
                            }
                        },
                        &mut |part| taken.send(part.changes_applied).unwrap(),
                    )
                    .unwrap()
            }
        };
        let one = scope.spawn(keep(&alpha, stopped_alpha));
        let other = scope.spawn(keep(&bravo, stopped_bravo));
        when_equal.recv().unwrap();
        when_equal.recv().unwrap();
        new_area(&alpha, &["local_id=HA-live"]);
        // Alpha takes its own entry in, bravo the change.
        while when_taken.recv().unwrap() == 0 {}
        stop_alpha.send(()).unwrap();
        stop_bravo.send(()).unwrap();
        assert_eq!(
            one.join().unwrap().changes_sent,
            0,
            "nothing waited when it ended"
        );
        assert_eq!(other.join().unwrap().changes_received, 1);
    });
    assert!(bravo.find("HA-live").is_ok());
}

#[test]
fn as_long_as_nobody_answers_changes_wait_for_one_entry() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let mut options = options();
    options.network.handshake = Duration::from_millis(20);
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T3 Alpha", &options).unwrap();
    let joined = {
        let patient = DeviceOptions::default();
        device.close().unwrap();
        let device = Device::open(&folder, &patient).unwrap();
        let joined = device.join(&relay.code(Access::Write), false).unwrap();
        device.close().unwrap();
        joined
    };
    let device = Device::open(&folder, &options).unwrap();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let request = SyncRequest {
        target: Some(cairn_device::transport::SyncTarget {
            addresses: vec![nobody.local_addr().unwrap().to_string()],
            relay: joined.relay,
        }),
        ..SyncRequest::default()
    };
    for number in 0..10 {
        new_area(&device, &[&format!("local_id=HA-{number}")]);
        let failed = device.sync_once(&request, &mut silent()).unwrap_err();
        assert_eq!(failed.exit_code(), 4, "{failed}");
    }
    device.close().unwrap();
    let device = Device::open(&folder, &DeviceOptions::default()).unwrap();
    let synced = sync(&device);
    assert_eq!((synced.changes_sent, synced.report.entries_sent), (10, 1));
}

#[test]
fn a_loss_is_told_until_a_sync_has_given_back_what_others_have() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T3 Alpha", &options()).unwrap();
    let code = relay.code(Access::Write);
    device.join(&code, false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    sync(&device);
    assert_eq!(device.status().unwrap().lost_pieces, 0);
    device.close().unwrap();

    // All that was ever written: the one segment there is.
    std::fs::remove_file(folder.join("store/segment-00000001")).unwrap();
    for opening in 0..3 {
        let device = Device::open(&folder, &options()).unwrap();
        let lost = device.status().unwrap().lost_pieces;
        assert!(lost > 3, "opening {opening}: {lost}");
        let checked = device.check(false).unwrap();
        assert!(checked.ok() && checked.lost_pieces == lost, "{checked:?}");
        device.close().unwrap();
    }
    let device = Device::open(&folder, &options()).unwrap();
    assert_eq!(try_sync(&device).unwrap_err().code(), "not_joined");
    device.join(&code, false).unwrap();
    assert!(device.status().unwrap().lost_pieces > 0);
    sync(&device);
    assert_eq!(device.status().unwrap().lost_pieces, 0);
    assert!(device.find("HA-1").is_ok());
    new_area(&device, &["local_id=HA-2"]);
    sync(&device);
    device.close().unwrap();
    let device = Device::open(&folder, &options()).unwrap();
    assert_eq!(device.status().unwrap().lost_pieces, 0);
}

#[test]
fn others_use_a_folder_that_is_kept_in_sync() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let watching = Device::create(&folder, "T3 Alpha", &options()).unwrap();
    watching.join(&relay.code(Access::Write), false).unwrap();
    let (equal, when_equal) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        let watching = &watching;
        let kept = scope.spawn(move || {
            let stopped = async {
                // Told to, or the test has failed.
                let _ = stopped.await;
            };
            let mut on_event = |event| {
                if matches!(event, cairn_device::transport::SyncEvent::Equal) {
                    equal.send(()).unwrap();
                }
            };
            watching.keep_synced(stopped, &mut on_event, &mut |_| {})
        });
        for number in 1..=3 {
            when_equal.recv().unwrap();
            // Another process, as far as locks can tell.
            let beside = Device::open(&folder, &options()).unwrap();
            new_area(&beside, &[&format!("local_id=HA-{number}")]);
            let second = beside.keep_synced(std::future::ready(()), &mut silent(), &mut |_| {});
            assert_eq!(second.unwrap_err().exit_code(), 6);
            beside.close().unwrap();
        }
        when_equal.recv().unwrap();
        stop.send(()).unwrap();
        assert_eq!(kept.join().unwrap().unwrap().report.entries_sent, 3);
    });
    assert_eq!(watching.show("HA-3", None).unwrap().stage(), Stage::AtRelay);
}

#[test]
fn a_folder_shows_nothing_of_what_was_typed() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let folder = folders.path().join("a");
    let device = Device::create(&folder, "T7", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    let texts = [
        "local_id=KANARIENVOGEL-1",
        "access_notes=behind the mill",
        "perimeter=44.8765432, 16.1234567",
    ];
    new_area(&device, &texts);
    sync(&device);
    device
        .edit(
            "KANARIENVOGEL-1",
            None,
            edits(&["location_name=Kanarienvogel"]),
        )
        .unwrap();
    device.close().unwrap();
    let mut folders = vec![folder.join("store")];
    let mut files = 0;
    while let Some(next) = folders.pop() {
        for item in std::fs::read_dir(next).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let needles: [&[u8]; 8] = [
                b"KANARIENVOGEL",
                b"Kanarienvogel",
                b"behind the mill",
                b"north/hazards",
                b"hazardous_area",
                &448_765_432_i32.to_be_bytes(),
                &448_765_432_i32.to_le_bytes(),
                b"127.0.0.1",
            ];
            for needle in needles {
                let shows = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!shows, "{} shows {needle:?}", path.display());
            }
        }
    }
    assert!(files >= 3, "{files} files");
}

/// Flips a bit in an authority entry, wherever it stands, and takes the index away.
fn damage_authority(folder: &Path, entry: &[u8]) {
    let store = folder.join("store");
    std::fs::remove_dir_all(store.join("index")).unwrap();
    let mut found = 0;
    for item in std::fs::read_dir(&store).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        while let Some(at) = bytes.windows(entry.len()).position(|part| part == entry) {
            bytes[at + entry.len() / 2] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "no such entry");
}

#[test]
fn a_hole_in_the_membership_log_is_told_and_the_first_sync_fills_it_and_sends_what_waits() {
    let relay = Relay::start();
    let folders = tempfile::tempdir().unwrap();
    let whole = folders.path().join("whole");
    let device = Device::create(&whole, "T3", &options()).unwrap();
    device.join(&relay.code(Access::Write), false).unwrap();
    new_area(&device, &["local_id=HA-1"]);
    sync(&device);
    let log = |handle: &cairn_device::transport::Handle| {
        let entries = handle.call_blocking(|store| store.authority_entries(0, usize::MAX));
        entries.unwrap().unwrap()
    };
    let entries = log(&device.handle());
    assert!(entries.len() >= 4);
    device.close().unwrap();
    for (height, entry) in entries.iter().enumerate() {
        let device = Device::open(&whole, &options()).unwrap();
        new_area(&device, &[&format!("local_id=HA-1{height}")]);
        device.close().unwrap();
        damage_authority(&whole, entry);

        let device = Device::open(&whole, &options()).unwrap();
        assert!(device.opened().store.lost_frames > 0, "{height}");
        assert!(log(&device.handle()).len() <= height);
        let told = device.check(true).unwrap();
        let is_last = height + 1 == entries.len();
        let says_so = told
            .problems
            .iter()
            .any(|it| it.contains("list of members"));
        assert!(says_so || is_last, "{height}: {told:?}");
        let synced = sync(&device);
        // Who a relay is it may have forgotten too, and with that what the relay has.
        assert!(synced.changes_sent >= 1, "{height}: {synced:?}");
        assert_eq!(log(&device.handle()), entries, "{height}");
        assert!(device.check(false).unwrap().ok(), "{height}");
        assert_eq!(
            device.status().unwrap().member.unsent_changes,
            0,
            "{height}"
        );
        device.close().unwrap();
    }
    let other = Device::create(&folders.path().join("b"), "T5", &options()).unwrap();
    other.join(&relay.code(Access::Write), false).unwrap();
    sync(&other);
    let all = other.list(Filter::default()).unwrap();
    assert_eq!(all.len(), 1 + entries.len());
}
