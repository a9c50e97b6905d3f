//! The centre's store fails alone: the relay goes on, ops are told, and the centre comes back by itself.

use crate::support::{House, TestDevice};
use cairn_relay::ops::OpsRequest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_centre_whose_store_fails_is_opened_again() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    alpha.save("north/hazards", "HA-1").await;
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 1).await;

    // The index of the centre's store cannot be synced any more, as on a disk that is full or gone.
    std::fs::remove_dir_all(house.dir().join("centre/data/index/blobs")).unwrap();
    alpha.save("north/hazards", "HA-2").await;
    assert!(alpha.sync().await.unwrap().complete);
    let status = house.eventually(|status| status["healthy"] == false).await;
    let health = status["health"].as_str().unwrap();
    assert!(health.contains("the centre cannot go on"), "{health}");
    assert_eq!(status["act_now"][0]["what"], "failure", "{status:#}");

    let status = house
        .eventually(|status| status["healthy"] == true && status["documents"] == 2)
        .await;
    assert_eq!(status["centre_behind"], 0, "{status:#}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_centre_that_cannot_start_starts_once_it_can() {
    let mut house = House::started().await;
    house.stop().await;
    let data = house.dir().join("centre/data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, b"in the way").unwrap();

    house.start().await;
    let found = house.relay().found().join("; ");
    assert!(found.contains("THE CENTRE DOES NOT START"), "{found}");
    assert_eq!(house.status().await["healthy"], false);
    let error = house.try_ask(OpsRequest::Conflicts {}).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("centre_stopped", true)
    );

    std::fs::remove_file(&data).unwrap();
    house.eventually(|status| status["healthy"] == true).await;
    house.ask(OpsRequest::Conflicts {}).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_told_until_every_device_has_synced_again() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let mut alpha = TestDevice::join(&code, "Alpha").await.unwrap();
    alpha.save("north/hazards", "HA-1").await;
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 1).await;
    alpha.save("north/hazards", "HA-2").await;
    alpha.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 2).await;
    let entry = alpha
        .with(|_, store| {
            let journals = store.journals();
            let items = store.journal(journals[0], 0, 1).unwrap();
            items[0].entry.payload().to_vec()
        })
        .await;
    house.stop().await;

    let segment = house.dir().join("data/segment-00000001");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes
        .windows(entry.len())
        .position(|window| window == entry)
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    std::fs::remove_dir_all(house.dir().join("data/index")).unwrap();
    let told = |status: &serde_json::Value| {
        let acts = status["act_now"].as_array().unwrap();
        acts.iter().any(|act| act["what"] == "lost")
    };
    for _ in 0..2 {
        house.start().await;
        let status = house.status().await;
        assert!(told(&status) && status["lost_frames"] == 1, "{status:#}");
        house.stop().await;
    }
    house.start().await;
    assert_eq!(house.status().await["entries"], 1);
    alpha.relay_moved_to(house.relay().address());
    // A sync in the second in which the loss was noticed does not count yet.
    let synced_later = async {
        loop {
            assert!(alpha.sync().await.unwrap().complete);
            let status = house.status().await;
            if !told(&status) {
                return status;
            }
        }
    };
    let patience = std::time::Duration::from_secs(30);
    let status = tokio::time::timeout(patience, synced_later).await.unwrap();
    assert_eq!(
        (&status["entries"], &status["lost_frames"]),
        (&2.into(), &1.into())
    );
    house.stop().await;
}
