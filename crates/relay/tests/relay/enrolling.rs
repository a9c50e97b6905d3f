//! Joining codes: uses, expiry, replay, forgery, and what survives a stop in between.

use crate::support::{House, TestDevice, enrol_request, random, sync_options};
use cairn_keys::{Code, CodeSecret, DeviceSecret};
use cairn_relay::ops::OpsRequest;
use cairn_transport::EnrolError;
use cairn_transport::enrol::enrol;
use cairn_wire::frame::CloseReason;

fn refusal(result: Result<TestDevice, EnrolError>) -> CloseReason {
    match result {
        Err(EnrolError::Refused(reason)) => reason,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_makes_its_number_of_members_and_repeating_is_harmless() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 2).await;
    let first = TestDevice::join(&code, "One").await.unwrap();
    assert!(first.scope("north/hazards").await.is_some());
    let secret = DeviceSecret::from_bytes(&random());
    TestDevice::join_as(secret.clone(), &code, "Two")
        .await
        .unwrap();

    // A daemon that is stopped and started counts on.
    house.stop().await;
    house.start().await;
    let port = house.relay().address().port();
    let moved = moved_to(&code, port);
    TestDevice::join_as(secret, &moved, "Two again")
        .await
        .unwrap();
    assert_eq!(
        refusal(TestDevice::join(&moved, "Three").await),
        CloseReason::NotPermitted
    );
    let status = house.status().await;
    let names: Vec<_> = status["devices"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2, "{status:#}");
    assert_eq!(names[0]["name"], "One");
    assert_eq!(names[1]["name"], "Two");
    assert_eq!(names[0]["role"], "device");
    house.stop().await;
}

/// The code as it is once the relay listens elsewhere.
fn moved_to(code: &str, port: u16) -> String {
    let mut code = Code::parse(code).unwrap();
    code.addresses = vec![format!("127.0.0.1:{port}")];
    code.to_text().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_for_one_use_has_one_winner() {
    let mut house = House::started().await;
    let code = house.code(&["north/hazards"], 1).await;
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..6 {
        let code = code.clone();
        racing.spawn(async move { TestDevice::join(&code, &format!("Racer {number}")).await });
    }
    let joined = racing.join_all().await;
    assert_eq!(joined.iter().filter(|joined| joined.is_ok()).count(), 1);
    drop(joined);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_code_and_a_forged_one_let_nobody_in() {
    let mut house = House::started().await;
    let text = house.code(&["north/hazards"], 5).await;
    let mut forged = Code::parse(&text).unwrap();
    forged.secret = CodeSecret::from_bytes(&[1; 16]);
    let forged = forged.to_text();
    assert_eq!(
        refusal(TestDevice::join(&forged, "Guesser").await),
        CloseReason::NotPermitted
    );

    let code = Code::parse(&text).unwrap();
    let secret = DeviceSecret::from_bytes(&random());
    TestDevice::join_as(secret.clone(), &text, "In time")
        .await
        .unwrap();
    house.let_pass(3601);
    assert_eq!(
        refusal(TestDevice::join(&text, "Late").await),
        CloseReason::NotPermitted
    );
    // Who is in already is told so, whatever the clock says.
    enrol(&code, &secret, "In time", &sync_options())
        .await
        .unwrap();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_on_is_told_to_wait_and_others_are_not() {
    let mut house = House::started().await;
    let guessed = house.code(&["north/hazards"], 5).await;
    let other = house.code(&["north/hazards"], 5).await;
    let mut forged = Code::parse(&guessed).unwrap();
    forged.secret = CodeSecret::from_bytes(&[1; 16]);
    let secret = DeviceSecret::from_bytes(&random());
    let mut waits = false;
    for _ in 0..40 {
        match enrol(&forged, &secret, "Guesser", &sync_options()).await {
            Err(EnrolError::Refused(_)) => {}
            Err(EnrolError::Later { .. }) => {
                waits = true;
                break;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(waits, "guessing is never limited");
    TestDevice::join(&other, "Honest").await.unwrap();
    house.let_pass(3600);
    let late = TestDevice::join(&guessed, "Late").await;
    assert_eq!(
        refusal(late),
        CloseReason::NotPermitted,
        "it expired, and is judged again"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_are_refused_with_words() {
    let mut house = House::started().await;
    for (role, scopes, uses) in [
        ("king", vec!["north"], 1),
        ("relay", vec!["north"], 1),
        ("hub", vec!["north"], 1),
        ("device", vec![], 1),
        ("device", vec!["north"], 0),
        ("device", vec!["north:everything"], 1),
        ("device", vec!["north", "north:r"], 1),
        ("viewer", vec!["north:rw"], 1),
        ("device", vec![" "], 1),
    ] {
        let request = enrol_request("X", role, &scopes, uses);
        let error = house.try_ask(request).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.exit_code),
            ("usage", 2),
            "{error}"
        );
        assert!(!error.hint.is_empty());
    }
    for name in ["", " ", "Team\u{1b}[31m"] {
        let request = enrol_request(name, "device", &["north"], 1);
        let error = house.try_ask(request).await.unwrap_err();
        assert_eq!(error.code, "usage", "{name:?}: {error}");
    }
    let scopes = house.ask(OpsRequest::Scopes {}).await;
    assert_eq!(scopes["scopes"].as_array().unwrap().len(), 0, "{scopes:#}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_given_later_comes_with_the_keys() {
    let mut house = House::started().await;
    let north = TestDevice::join(&house.code(&["north/hazards"], 1).await, "North")
        .await
        .unwrap();
    let south_code = house
        .ask(enrol_request("South", "device", &["south/hazards"], 1))
        .await;
    let south = TestDevice::join(south_code["code"].as_str().unwrap(), "South")
        .await
        .unwrap();
    north.save("north/hazards", "HA-1").await;
    assert!(north.sync().await.unwrap().complete);
    south.sync().await.unwrap();
    assert_eq!(south.records().await, 0);
    let grant = |access: &str| OpsRequest::ScopeGrant {
        scope: "north/hazards".into(),
        device: "South".into(),
        access: access.into(),
    };
    assert_eq!(house.try_ask(grant("x")).await.unwrap_err().exit_code, 2);
    house.ask(grant("r")).await;
    south.sync().await.unwrap();
    assert_eq!(south.records().await, 1);
    house.stop().await;
}
