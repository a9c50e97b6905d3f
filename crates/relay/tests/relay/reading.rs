//! What the centre reads, and what ops are told.

use crate::support::{House, TestDevice};
use cairn_relay::ops::OpsRequest;
use serde_json::Value;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_documents_and_receipts_follow_what_devices_hand_in() {
    let mut house = House::started().await;
    let empty = house.status().await;
    assert_eq!(empty["schema"], "cairn.ops.status/1");
    assert_eq!(empty["healthy"], true, "{empty:#}");
    assert_eq!(empty["documents"], 0);

    let alpha = TestDevice::join(&house.code(&["north/hazards"], 1).await, "Alpha")
        .await
        .unwrap();
    let delta_code = house.code(&["north/hazards"], 1).await;
    let delta = TestDevice::join(&delta_code, "Delta").await.unwrap();
    let id = alpha.save("north/hazards", "HA-1").await;
    assert!(alpha.sync().await.unwrap().complete);
    // Both are called as the code says, so the key tells them apart.
    let key = alpha.secret.device().to_string();
    let of_alpha = |status: &Value| {
        let devices = status["devices"].as_array().unwrap();
        let found = devices.iter().find(|one| one["device"] == key.as_str());
        found.unwrap().clone()
    };
    let status = house
        .eventually(|status| status["documents"] == 1 && of_alpha(status)["unseen_entries"] == 0)
        .await;
    let device = of_alpha(&status);
    assert!(device["last_sync"].is_string(), "{device:#}");
    assert_eq!(device["backlog"], 0);

    // The receipt reaches whoever syncs next: only then it is seen by the centre.
    delta.sync().await.unwrap();
    alpha.sync().await.unwrap();
    let shown = id.clone();
    let seen = alpha
        .with(move |member, store| {
            let membership = store.membership().clone();
            let record = member.show(store, &membership, &shown, None).unwrap();
            record.stage()
        })
        .await;
    assert_eq!(seen, cairn_member::Stage::SeenByCentre);

    // Both edit without each other; the centre sees the conflict.
    alpha.edit(&id, "slope", "steep").await;
    delta.edit(&id, "slope", "flat").await;
    alpha.sync().await.unwrap();
    delta.sync().await.unwrap();
    house.eventually(|status| status["conflicts"] == 1).await;
    let conflicts = house.ask(OpsRequest::Conflicts {}).await;
    assert_eq!(conflicts["schema"], "cairn.conflicts/1");
    assert_eq!(conflicts["conflicts"][0]["field"], "slope");
    assert_eq!(
        conflicts["conflicts"][0]["values"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let docs = house.ask(docs()).await;
    assert_eq!(docs["documents"][0]["local_id"], "HA-1");
    assert_eq!(docs["documents"][0]["by"], "Team");
    let doc = house
        .ask(OpsRequest::Doc {
            id: "HA-1".into(),
            history: true,
            entries: true,
            who_has: true,
        })
        .await;
    assert_eq!(doc["schema"], "cairn.record/1");
    assert_eq!(doc["history"].as_array().unwrap().len(), 3);
    assert_eq!(doc["entries"].as_array().unwrap().len(), 3);
    let holders = doc["who_has"].as_array().unwrap();
    let whole = |device: &TestDevice| {
        let key = device.secret.device().to_string();
        holders
            .iter()
            .find(|one| one["device"] == key.as_str())
            .unwrap()["whole"]
            .clone()
    };
    assert_eq!(whole(&delta), true);
    assert_eq!(
        whole(&alpha),
        false,
        "Delta's edit has not reached Alpha: {doc:#}"
    );

    let sessions = house
        .ask(OpsRequest::Sessions {
            device: None,
            since_s: 60 * 60,
            limit: 100,
        })
        .await;
    assert!(sessions["sessions"].as_array().unwrap().len() >= 5);
    let verify = house
        .ask(OpsRequest::Verify {
            deep: true,
            progress: false,
        })
        .await;
    assert_eq!(verify["schema"], "cairn.verify/1");
    assert_eq!(verify["ok"], true, "{verify:#}");
    assert_eq!(verify["entries"], 3);
    assert_eq!(verify["changes"], 3);
    let logs = house.ask(logs()).await;
    assert_eq!(logs["logs"].as_array().unwrap().len(), 2);
    assert_eq!(logs["quarantine"].as_array().unwrap().len(), 0);
    house.stop().await;
}

fn docs() -> OpsRequest {
    OpsRequest::Docs {
        scope: Some("north/hazards".into()),
        limit: 10,
    }
}

fn logs() -> OpsRequest {
    OpsRequest::Logs {
        scope: None,
        device: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_forgets_nothing_and_a_lost_centre_is_filled_again() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    alpha.save("north/hazards", "HA-1").await;
    alpha.sync().await.unwrap();
    let before = house.eventually(|status| status["documents"] == 1).await;
    house.stop().await;

    house.start().await;
    let after = house.eventually(|status| status["documents"] == 1).await;
    assert_eq!(
        after["devices"][0]["last_sync"],
        before["devices"][0]["last_sync"]
    );
    house.stop().await;

    // Whatever the centre had read can be read again.
    std::fs::remove_dir_all(house.dir().join("centre/data")).unwrap();
    house.start().await;
    let status = house
        .eventually(|status| status["documents"] == 1 && status["centre_behind"] == 0)
        .await;
    assert_eq!(status["healthy"], true, "{status:#}");
    house.stop().await;

    // Noise where the index was: rebuilt, and said.
    for folder in ["data", "centre/data"] {
        overwrite(&house.dir().join(folder).join("index"));
    }
    house.start().await;
    assert!(
        house
            .relay()
            .found()
            .iter()
            .any(|word| word.contains("rebuilt")),
        "{:?}",
        house.relay().found()
    );
    house.eventually(|status| status["documents"] == 1).await;
    house.stop().await;
}

fn overwrite(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let length = std::fs::metadata(&path).unwrap().len();
            let noise: Vec<u8> = (0..length).map(|at| (at * 131 % 251) as u8).collect();
            std::fs::write(&path, noise).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_without_a_centre_says_so() {
    let (mut house, report) = House::made();
    let text = std::fs::read_to_string(&report.config_file).unwrap();
    std::fs::write(
        &report.config_file,
        text.replace("centre = true", "centre = false"),
    )
    .unwrap();
    house.start().await;
    let status = house.status().await;
    assert_eq!(status["healthy"], true);
    assert_eq!(status["documents"], Value::Null);
    let error = house.try_ask(OpsRequest::Conflicts {}).await.unwrap_err();
    assert_eq!(error.code, "no_centre");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_centres_folder_nothing_can_be_read() {
    let mut house = House::started().await;
    let answer = house
        .ask(crate::support::enrol_request(
            "Canaryteam",
            "device",
            &["canaryvalley/hazards"],
            1,
        ))
        .await;
    let code = answer["code"].as_str().unwrap();
    let alpha = TestDevice::join(code, "Canaryphone").await.unwrap();
    let id = alpha.save("canaryvalley/hazards", "CANARY-77").await;
    alpha
        .edit(&id, "description", "canarywords by the river")
        .await;
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 1).await;
    house.stop().await;
    let mut read = 0;
    let canaries = [
        "canaryteam",
        "canaryphone",
        "canaryvalley",
        "canary-77",
        "canarywords",
    ];
    let mut folders = vec![house.dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
            read += bytes.len();
            for canary in canaries {
                let shown = bytes
                    .windows(canary.len())
                    .any(|window| window == canary.as_bytes());
                assert!(!shown, "{canary} in {}", path.display());
            }
        }
    }
    assert!(read > 10_000, "the folder was not read");
}
