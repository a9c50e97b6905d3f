//! A relay out of a backup: what comes back, what is made anew, and that nothing stands still after it.

use crate::support::{House, TestDevice, ask, enrol_request};
use cairn_relay::backup;
use cairn_relay::ops::OpsRequest;
use std::path::PathBuf;
use tempfile::TempDir;

/// Backs a relay up that runs; gives the file.
async fn backed_up(house: &House) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (house.dir(), folder.path().join("backup"));
    let to = file.clone();
    let made = tokio::task::spawn_blocking(move || backup::create(&dir, &to)).await;
    assert!(made.unwrap().unwrap().while_running);
    (folder, file)
}

/// Loses the relay's folder, and starts what was restored.
async fn lose_and_restore(house: &mut House, file: &std::path::Path) {
    house.stop().await;
    std::fs::remove_dir_all(house.dir()).unwrap();
    backup::restore(file, &house.dir(), false).unwrap();
    house.start().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_seen_by_the_centre_after_a_restore_too() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    alpha.save("north/hazards", "HA-1").await;
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 1).await;
    let (_folder, file) = backed_up(&house).await;
    // Receipts go on, beyond what the backup knows of them, and the device has them.
    for number in 2..=5 {
        alpha.save("north/hazards", &format!("HA-{number}")).await;
        alpha.sync().await.unwrap();
        house
            .eventually(|status| status["devices"][0]["unseen_entries"] == 0)
            .await;
        alpha.sync().await.unwrap();
    }

    lose_and_restore(&mut house, &file).await;
    // Ops are told what the relay comes from, and that nobody killed it.
    let told = house
        .ask(OpsRequest::Sessions {
            device: None,
            since_s: 3600,
            limit: 10,
        })
        .await;
    assert_eq!(told["relay_starts"][0]["after_a_clean_stop"], true);
    let made = told["relay_restores"][0]["backup_made"].as_str().unwrap();
    house
        .eventually(|status| status["last_backup"] == made)
        .await;
    alpha.relay_moved_to(house.relay().address());
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 5).await;
    let id = alpha.save("north/hazards", "HA-6").await;
    alpha.sync().await.unwrap();
    house
        .eventually(|status| {
            status["documents"] == 6 && status["devices"][0]["unseen_entries"] == 0
        })
        .await;
    alpha.sync().await.unwrap();
    let stage = alpha
        .with(move |member, store| {
            let membership = store.membership().clone();
            let record = member.show(store, &membership, &id, None).unwrap();
            record.stage()
        })
        .await;
    assert_eq!(stage, cairn_member::Stage::SeenByCentre);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_nobody_gave_back_is_made_anew() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    let (_folder, file) = backed_up(&house).await;
    // A scope that the backup does not know, whose key no device has; the log that announces it, one has.
    let name = "south/hazards".to_owned();
    house.ask(OpsRequest::ScopeCreate { name }).await;
    alpha.sync().await.unwrap();

    lose_and_restore(&mut house, &file).await;
    alpha.relay_moved_to(house.relay().address());
    let error = ask(
        &house.dir(),
        enrol_request("Beta", "device", &["south/hazards"], 1),
    )
    .await;
    assert_eq!(error.unwrap_err().code, "restored");
    alpha.sync().await.unwrap();
    house
        .eventually(|status| {
            let acts = status["act_now"].as_array().unwrap();
            !acts.iter().any(|act| act["what"] == "restored")
        })
        .await;

    let code = house.code(&["south/hazards"], 1).await;
    let beta = TestDevice::join(&code, "Beta").await.unwrap();
    beta.save("south/hazards", "HA-1").await;
    beta.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 1).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_after_the_backup_that_nobody_heard_of_is_not_forgotten() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 2).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    let lost = TestDevice::join(&code, "Lost").await.unwrap();
    let (folder, file) = backed_up(&house).await;
    let revoke = OpsRequest::Revoke {
        device: lost.secret.device().to_string(),
        reason: "stolen".into(),
        dry_run: false,
    };
    house.ask(revoke).await;
    let height = house.status().await["authority_height"].clone();
    // The daemon writes it beside the backup in its own time; it has stopped writing once it is stopped.
    let beside = || {
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names = names.map(|item| item.unwrap().path());
        let file = names.find(|path| path.extension().is_some_and(|it| it == "authority"));
        file.map_or(0, |path| std::fs::metadata(path).unwrap().len())
    };
    let log = house.relay().engine().call(|store| {
        let entries = store.authority_entries(0, usize::MAX).unwrap();
        entries
            .iter()
            .map(|entry| 4 + entry.len() as u64)
            .sum::<u64>()
    });
    let log = log.await.unwrap();
    house.eventually(|_| beside() > log).await;

    lose_and_restore(&mut house, &file).await;
    let status = house.status().await;
    assert_eq!(status["authority_height"], height, "{status:#}");
    let devices = house.ask(OpsRequest::Devices {}).await;
    let devices = devices["devices"].as_array().unwrap().clone();
    let revoked = devices.iter().filter(|it| it["standing"] == "revoked");
    assert_eq!(revoked.count(), 1, "{devices:#?}");
    alpha.relay_moved_to(house.relay().address());
    alpha.sync().await.unwrap();
    house.stop().await;

    // A restored relay that knows less never takes its place.
    let size = beside();
    std::fs::remove_dir_all(house.dir()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let alone = elsewhere.path().join("backup");
    std::fs::copy(&file, &alone).unwrap();
    backup::restore(&alone, &house.dir(), false).unwrap();
    std::fs::write(house.dir().join("backups"), folder.path().to_str().unwrap()).unwrap();
    house.start().await;
    house.stop().await;
    assert_eq!(beside(), size);
}
