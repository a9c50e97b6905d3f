//! Pushing, pulling, streaming, and what it costs.

use super::*;
use crate::dial::keep_synced;
use crate::registry::{Direction, SessionState};
use crate::side_objects::grant_object;
use cairn_keys::grant::Grant;
use cairn_store::Failure;
use tokio::sync::oneshot;

#[tokio::test]
async fn what_one_device_writes_reaches_the_other_through_the_relay() {
    let (programme, relay, devices) = world(2);
    let [one, two] = &devices[..] else { panic!() };
    programme.write(&one.handle, &one.secret, 25, 300).await;
    programme.write(&two.handle, &two.secret, 5, 300).await;

    let pushed = one.sync(&relay).await.unwrap();
    assert!(pushed.complete);
    assert_eq!((pushed.entries_sent, pushed.entries_received), (25, 0));
    assert_eq!(held(&relay.handle).await, held(&one.handle).await);

    let exchanged = two.sync(&relay).await.unwrap();
    assert!(exchanged.complete);
    assert_eq!(
        (exchanged.entries_sent, exchanged.entries_received),
        (5, 25)
    );
    assert!(one.sync(&relay).await.unwrap().complete);
    assert_eq!(held(&one.handle).await.len(), 30);
    assert_eq!(held(&one.handle).await, held(&two.handle).await);
    assert_eq!(held(&one.handle).await, held(&relay.handle).await);
}

#[tokio::test]
async fn to_reconnect_with_nothing_changed_costs_one_round_trip_and_next_to_nothing() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    programme
        .write(&device.handle, &device.secret, 40, 300)
        .await;
    assert!(device.sync(&relay).await.unwrap().complete);
    let again = device.sync(&relay).await.unwrap();
    assert!(again.complete);
    assert_eq!(again.round_trips, 1);
    assert_eq!((again.entries_sent, again.entries_received), (0, 0));
    let bytes = again.app_bytes_sent + again.app_bytes_received;
    assert!(bytes <= 400, "{bytes} application bytes");
    assert!(again.udp_bytes_sent > again.app_bytes_sent);
}

#[tokio::test]
async fn entries_of_twenty_sessions_become_durable_in_one_commit() {
    // A link that stays slow makes no other events than these.
    let slow = AcceptOptions {
        bandwidth_bytes_per_second: Some(100_000),
        ..AcceptOptions::default()
    };
    let (programme, relay, devices) = world_with(20, slow);
    for device in &devices {
        // Small enough to come in one datagram, and so in one event.
        programme
            .write(&device.handle, &device.secret, 1, 200)
            .await;
    }
    // The engine is held until the first flight of every device has come in.
    let (entered, entering) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let handle = relay.handle.clone();
    let holding = tokio::spawn(async move {
        handle
            .call(move |_| {
                entered.send(()).unwrap();
                released.recv().unwrap();
            })
            .await
    });
    entering.await.unwrap();
    let before = relay.handle.subscribe().borrow().commits;
    let target = relay.target();
    let syncs: Vec<_> = devices
        .into_iter()
        .map(|device| {
            let target = target.clone();
            tokio::spawn(async move {
                let options = patient();
                sync_once(
                    &device.handle,
                    &device.identity,
                    &target,
                    &options,
                    &mut |_| {},
                )
                .await
            })
        })
        .collect();
    // Per device: the session, its first frame, its entries.
    while relay.handle.queued() < 20 * 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    release.send(()).unwrap();
    holding.await.unwrap().unwrap();
    for sync in syncs {
        let report = sync.await.unwrap().unwrap();
        assert_eq!(report.entries_sent, 1);
    }
    assert_eq!(count(&relay.handle).await, 20);
    assert_eq!(relay.handle.subscribe().borrow().commits - before, 1);
}

#[tokio::test]
async fn a_live_session_streams_both_ways_and_survives_the_relay() {
    let (programme, relay_secret) = members(2);
    let devices = [101, 102].map(|seed| Device::new(&programme, secret(seed)));
    let mut relay = None;
    let disk = ModelDisk::new();
    let start = |port| {
        let handle = programme.replica_on(&relay_secret, disk.clone());
        let options = AcceptOptions::default();
        Relay::start_on(&relay_secret, handle, options, network(), port)
    };
    let running = relay.insert(start(0));
    let (port, target) = (running.acceptor.local_addr().port(), running.target());
    let mut keeping = Vec::new();
    for device in &devices {
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = device.handle.clone();
        let (identity, target) = (device.identity.clone(), target.clone());
        let kept = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap() };
            keep_synced(
                &handle,
                &identity,
                &target,
                &patient(),
                stopped,
                &mut |_| {},
            )
            .await
        });
        keeping.push((stop, kept));
    }
    let [one, two] = &devices;
    programme.write(&one.handle, &one.secret, 3, 100).await;
    until(&two.handle, 3).await;
    programme.write(&two.handle, &two.secret, 4, 100).await;
    until(&one.handle, 7).await;

    // The relay goes and comes back on the same disk and port.
    let gone = relay.take().unwrap();
    gone.handle.stop().await.unwrap();
    gone.acceptor.finish().await;
    // quinn's task lets go of the port a moment later.
    while std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
        tokio::task::yield_now().await;
    }
    programme.write(&one.handle, &one.secret, 2, 100).await;
    let back = relay.insert(start(port));
    until(&two.handle, 9).await;
    assert_eq!(held(&one.handle).await, held(&two.handle).await);

    for (stop, kept) in keeping {
        stop.send(()).unwrap();
        let report = kept.await.unwrap().unwrap();
        assert!(report.connections >= 2);
    }
    assert_eq!(held(&back.handle).await, held(&two.handle).await);
}

#[tokio::test]
async fn who_watches_is_told_each_time_that_all_is_equal() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    let (told, mut equals) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let keeping = async {
        let mut on_event = |event| {
            if matches!(event, SyncEvent::Equal) {
                // The test has seen enough.
                let _ = told.send(());
            }
        };
        let stopped = async { stopped.await.unwrap() };
        let (target, options) = (relay.target(), patient());
        let (handle, identity) = (&device.handle, &device.identity);
        keep_synced(handle, identity, &target, &options, stopped, &mut on_event).await
    };
    let writing = async {
        equals.recv().await.unwrap();
        let before = device.handle.subscribe().borrow().peers;
        programme
            .write(&device.handle, &device.secret, 1, 100)
            .await;
        equals.recv().await.unwrap();
        assert_eq!(count(&relay.handle).await, 1);
        assert!(device.handle.subscribe().borrow().peers > before);
        stop.send(()).unwrap();
    };
    let (kept, ()) = tokio::join!(keeping, writing);
    assert_eq!(kept.unwrap().entries_sent, 1);
}

#[tokio::test]
async fn a_live_member_gets_its_grants_at_once_and_hears_of_its_revocation() {
    let (mut programme, relay, devices) = world(1);
    let device = &devices[0];
    let (told, mut equals) = tokio::sync::mpsc::unbounded_channel();
    let keeping = async {
        let mut on_event = |event| {
            if matches!(event, SyncEvent::Equal) {
                // The test has seen enough.
                let _ = told.send(());
            }
        };
        let (target, options) = (relay.target(), patient());
        let (handle, identity) = (&device.handle, &device.identity);
        let never = std::future::pending();
        keep_synced(handle, identity, &target, &options, never, &mut on_event).await
    };
    let acting = async {
        equals.recv().await.unwrap();
        let grant = Grant::seal(
            programme.id(),
            &programme.scope_key,
            &device.secret.public(),
            &[5; 32],
        );
        let object = grant_object(&grant.unwrap());
        relay
            .handle
            .call(move |store| store.put_grants(vec![object]).unwrap())
            .await
            .unwrap();
        relay.handle.announce_side_objects().await.unwrap();
        let mut pulse = device.handle.subscribe();
        pulse
            .wait_for(|pulse| pulse.side_objects > 0)
            .await
            .unwrap();
        let me = device.secret.device();
        let grants = device
            .handle
            .call(move |store| store.grants_for(&me).unwrap());
        assert_eq!(grants.await.unwrap().len(), 1);

        let revocation = programme.revoke(&device.secret);
        relay
            .handle
            .call(move |store| store.append_authority(vec![revocation]).unwrap())
            .await
            .unwrap();
    };
    let (kept, ()) = tokio::join!(keeping, acting);
    assert_eq!(refusal(&kept), Some(CloseReason::Revoked));
}

#[tokio::test]
async fn two_devices_that_meet_need_no_relay() {
    let (programme, _relay, devices) = world(2);
    let [one, two] = &devices[..] else { panic!() };
    programme.write(&one.handle, &one.secret, 3, 100).await;
    programme.write(&two.handle, &two.secret, 2, 100).await;
    let serving = Relay::start(&one.secret, one.handle.clone(), AcceptOptions::default());
    let met = two.sync(&serving).await.unwrap();
    assert!(met.complete);
    assert_eq!((met.entries_sent, met.entries_received), (2, 3));
    assert_eq!(held(&one.handle).await, held(&two.handle).await);
}

#[tokio::test]
async fn who_may_not_in_is_told_one_word() {
    let (mut programme, relay, devices) = world(1);
    let revoked = &devices[0];
    programme
        .write(&revoked.handle, &revoked.secret, 4, 100)
        .await;

    let stranger = Device::new(&programme, secret(50));
    let refused = stranger.sync(&relay).await;
    assert_eq!(refusal(&refused), Some(CloseReason::Unknown));
    assert!(!refused.unwrap_err().retryable());

    let revocation = programme.revoke(&revoked.secret);
    relay
        .handle
        .call(move |store| store.append_authority(vec![revocation]).unwrap())
        .await
        .unwrap();
    let refused = revoked.sync(&relay).await;
    assert_eq!(refusal(&refused), Some(CloseReason::Revoked));
    // A lost phone may hold the only record of a mine: what it hands in is kept.
    assert_eq!(count(&relay.handle).await, 4);

    let mut other = Programme::founded_by(9);
    other.member(&secret(101), Role::Device);
    other.member(&secret(100), Role::Relay);
    let foreign = Device::new(&other, secret(101));
    let refused = foreign.sync(&relay).await.unwrap_err();
    assert!(matches!(refused, SyncError::OtherProgramme), "{refused:?}");
}

#[tokio::test]
async fn a_full_house_and_a_wrong_key_are_told_apart_from_nobody() {
    let (programme, relay) = members(1);
    let full = AcceptOptions {
        sessions_max: 0,
        ..AcceptOptions::default()
    };
    let relay = Relay::start(&relay, programme.replica(&relay), full);
    let device = Device::new(&programme, secret(101));
    let impatient = SyncOptions {
        patience: Duration::ZERO,
        ..patient()
    };
    let busy = device.sync_with(&relay, &impatient).await;
    assert_eq!(hindrance(&busy), Some(CloseReason::Busy));
    assert!(busy.unwrap_err().retryable());

    let mut wrong = relay.target();
    wrong.relay = secret(99).device();
    let sync = device.sync_to(&wrong, &patient()).await;
    assert!(matches!(sync, Err(SyncError::WrongKey)));

    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = SyncTarget {
        addresses: vec![silent.local_addr().unwrap().to_string()],
        relay: relay.key,
    };
    let mut options = patient();
    options.network.handshake = Duration::from_millis(100);
    let sync = device.sync_to(&nobody, &options).await;
    assert!(matches!(sync, Err(SyncError::Unreachable { .. })));
    options.deadline = Some(Duration::from_millis(20));
    let sync = device.sync_to(&nobody, &options).await;
    assert!(matches!(sync, Err(SyncError::Deadline)));
}

#[tokio::test]
async fn a_deadline_keeps_every_durable_step() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    programme
        .write(&device.handle, &device.secret, 60, 8000)
        .await;
    let hurried = SyncOptions {
        deadline: Some(Duration::from_millis(700)),
        bandwidth_bytes_per_second: Some(200_000),
        ..patient()
    };
    let part = device.sync_with(&relay, &hurried).await.unwrap();
    assert!(!part.complete);
    let kept = count(&relay.handle).await;
    assert!((1..60).contains(&kept), "{kept} kept");
    let rest = device.sync(&relay).await.unwrap();
    assert!(rest.complete);
    // What no mark had followed when the deadline came goes again: a slow window at most.
    let again = rest.entries_sent - (60 - kept);
    assert!(again <= 8, "{again} again");
    assert_eq!(held(&relay.handle).await, held(&device.handle).await);
}

#[tokio::test]
async fn a_byte_budget_ends_the_sync_and_the_next_goes_on() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    programme
        .write(&device.handle, &device.secret, 40, 8000)
        .await;
    let frugal = SyncOptions {
        byte_budget: Some(100_000),
        ..patient()
    };
    let part = device.sync_with(&relay, &frugal).await.unwrap();
    assert!(!part.complete);
    assert!(part.app_bytes_sent + part.app_bytes_received <= 100_000);
    assert!(count(&relay.handle).await > 0);
    assert!(device.sync(&relay).await.unwrap().complete);
    assert_eq!(held(&relay.handle).await, held(&device.handle).await);
}

#[tokio::test]
async fn a_store_that_fails_acknowledges_nothing_and_says_so() {
    let (programme, relay_secret) = members(1);
    let disk = ModelDisk::new();
    let handle = programme.replica_on(&relay_secret, disk.clone());
    let relay = Relay::start(&relay_secret, handle, AcceptOptions::default());
    let device = Device::new(&programme, secret(101));
    programme
        .write(&device.handle, &device.secret, 10, 500)
        .await;

    disk.fail_after(0, Failure::Io);
    let impatient = SyncOptions {
        patience: Duration::ZERO,
        ..patient()
    };
    let failed = device.sync_with(&relay, &impatient).await;
    assert_eq!(hindrance(&failed), Some(CloseReason::StoreFailed));
    assert!(relay.handle.failure().is_some());
    let call = relay.handle.call(|_| ()).await;
    assert!(matches!(call, Err(crate::EngineError::StoreFailed(_))));
    assert!(relay.handle.stop().await.is_err());
    drop(relay);

    let handle = programme.replica_on(&relay_secret, disk);
    let relay = Relay::start(&relay_secret, handle, AcceptOptions::default());
    assert!(device.sync(&relay).await.unwrap().complete);
    assert_eq!(held(&relay.handle).await, held(&device.handle).await);
}

#[tokio::test]
async fn a_failure_in_a_call_closes_the_sessions_too() {
    let (programme, _relay, devices) = world(1);
    let device = &devices[0];
    let disk = ModelDisk::new();
    let handle = programme.replica_on(&secret(102), disk.clone());
    disk.fail_after(0, Failure::Io);
    let put = handle
        .call(|store| {
            let mut writes = WriteSet::new();
            writes.put(TableName::Meta, *b"key", *b"value");
            store.apply(writes).unwrap();
            store.put_state(b"key", b"value").is_err()
        })
        .await
        .unwrap();
    assert!(put);
    let next = handle.call(|_| ()).await;
    assert!(matches!(next, Err(crate::EngineError::StoreFailed(_))));
    assert!(handle.failure().is_some());
    assert!(device.handle.failure().is_none());
}

#[tokio::test]
async fn sessions_are_told_of_while_they_run_and_after() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    programme
        .write(&device.handle, &device.secret, 3, 100)
        .await;
    device.sync(&relay).await.unwrap();
    let mut pulse = relay.handle.subscribe();
    while !relay.handle.sessions().is_empty() {
        pulse.changed().await.unwrap();
    }
    let [info] = &relay.handle.history()[..] else {
        panic!("one session")
    };
    assert_eq!(info.peer, device.secret.device());
    assert_eq!(info.direction, Direction::Incoming);
    assert_eq!(info.state, SessionState::Ended(CloseReason::Done));
    assert_eq!(info.entries_received, 3);
    assert!(info.backlog.is_some());
    assert!(info.ended.is_some() && info.error.is_none());
    assert!(info.app_bytes_received > 3 * 100);
    let [info] = &device.handle.history()[..] else {
        panic!("one session")
    };
    assert_eq!(info.direction, Direction::Outgoing);
    assert_eq!(info.entries_sent, 3);
}

#[test]
fn pauses_double_up_to_the_longest_and_are_spread() {
    let backoff = Backoff::default();
    let seconds = |failures, random| backoff.pause(failures, random).as_secs_f64();
    assert!((seconds(1, u32::MAX) - 1.0).abs() < 1e-6);
    assert!((seconds(1, 0) - 0.5).abs() < 1e-6);
    assert!((seconds(4, u32::MAX) - 8.0).abs() < 1e-6);
    assert!((seconds(1000, u32::MAX) - 60.0).abs() < 1e-6);
    assert!((seconds(1000, 0) - 30.0).abs() < 1e-6);
}
