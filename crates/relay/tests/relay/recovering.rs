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
