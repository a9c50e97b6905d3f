//! Revocation: what was accepted stays, what comes after is taken in and marked, keys are new.

use crate::support::{House, TestDevice};
use cairn_relay::ops::OpsRequest;
use cairn_transport::SyncError;

fn revoke(device: &str, dry_run: bool) -> OpsRequest {
    OpsRequest::Revoke {
        device: device.into(),
        reason: "lost on the road".into(),
        dry_run,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_only_hands_in() {
    let mut house = House::started().await;
    let lost = TestDevice::join(&house.code(&["north/hazards"], 1).await, "Lost")
        .await
        .unwrap();
    let code = house.code(&["north/hazards"], 1).await;
    let kept = TestDevice::join(&code, "Kept").await.unwrap();
    let before = lost.save("north/hazards", "HA-1").await;
    lost.sync().await.unwrap();
    let after = lost.save("north/hazards", "HA-2").await;
    let tag = lost.secret.device().to_string();

    let dry = house.ask(revoke(&tag[..12], true)).await;
    assert_eq!(dry["dry_run"], true);
    assert!(lost.sync().await.is_ok(), "a dry run changes nothing");
    let done = house.ask(revoke(&tag[..12], false)).await;
    assert_eq!(done["already"], false);
    assert_eq!(done["leaves_accepted"], 1, "{done:#}");
    let again = house.ask(revoke(&tag[..12], false)).await;
    assert_eq!(again["already"], true);

    let late = lost.save("north/hazards", "HA-3").await;
    let refused = lost.sync().await.unwrap_err();
    assert!(matches!(refused, SyncError::Refused { .. }), "{refused:?}");
    house.eventually(|status| status["documents"] == 3).await;

    // Its word from before counts, its later word is there and does not.
    for (id, verified) in [(&before, true), (&after, true), (&late, false)] {
        let record = house
            .ask(OpsRequest::Doc {
                id: id.clone(),
                history: false,
                entries: false,
                who_has: false,
            })
            .await;
        let value = &record["fields"]["local_id"]["values"][0];
        assert_eq!(value["verified"], verified, "{value:#}");
    }

    // What is written now is sealed under a key that it has not got.
    kept.sync().await.unwrap();
    assert_eq!(kept.records().await, 3);
    kept.save("north/hazards", "HA-4").await;
    kept.sync().await.unwrap();
    house.eventually(|status| status["documents"] == 4).await;
    let scopes = house.ask(OpsRequest::Scopes {}).await;
    assert_eq!(scopes["scopes"][0]["key_number"], 2, "{scopes:#}");
    let status = house.status().await;
    assert_eq!(status["devices"].as_array().unwrap().len(), 1);
    let device = house.ask(OpsRequest::Device { device: tag }).await;
    assert_eq!(device["standing"], "revoked");
    assert_eq!(device["reason"], "lost on the road");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programmes_own_members_and_strangers_are_not_revoked() {
    let mut house = House::started().await;
    for own in ["Centre", "Relay"] {
        let error = house.try_ask(revoke(own, false)).await.unwrap_err();
        assert_eq!(error.exit_code, 5, "{error}");
    }
    let error = house.try_ask(revoke("Nobody", false)).await.unwrap_err();
    assert_eq!(error.code, "not_found");
    house.stop().await;
}
