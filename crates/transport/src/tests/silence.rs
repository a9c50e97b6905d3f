//! A network that goes away in the middle, and comes back.

use super::*;
use cairn_store::Unsynced;
use cairn_wire::limits;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// Passes datagrams between one client at a time and a relay, unless it is told to swallow them.
struct Proxy {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    relay: watch::Sender<SocketAddr>,
}

impl Proxy {
    async fn start(relay: SocketAddr) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let swallow = Arc::clone(&silent);
        let (relay, to) = watch::channel(relay);
        tokio::spawn(async move {
            let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let (mut from_client, mut from_relay) = ([0; 2048], [0; 2048]);
            let mut client = None;
            loop {
                let passed = tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut from_client) => {
                        client = Some(from);
                        if swallow.load(Ordering::Relaxed) {
                            continue;
                        }
                        let relay = *to.borrow();
                        back.send_to(&from_client[..length], relay).await
                    }
                    Ok((length, _)) = back.recv_from(&mut from_relay) => {
                        let Some(client) = client else { continue };
                        if swallow.load(Ordering::Relaxed) {
                            continue;
                        }
                        front.send_to(&from_relay[..length], client).await
                    }
                };
                // A datagram that is lost is what QUIC is for.
                drop(passed);
            }
        });
        Self {
            address,
            silent,
            relay,
        }
    }
}

fn short() -> NetworkOptions {
    NetworkOptions {
        idle: Duration::from_millis(1200),
        keep_alive: Duration::from_millis(300),
        handshake: Duration::from_millis(300),
        ..network()
    }
}

#[tokio::test]
async fn silence_in_the_middle_costs_at_most_one_window_again() {
    let (programme, relay_secret) = members(1);
    let handle = programme.replica(&relay_secret);
    let options = AcceptOptions::default();
    let relay = Relay::start_on(&relay_secret, handle, options, short(), 0);
    let proxy = Proxy::start(relay.acceptor.local_addr()).await;
    let device = Device::new(&programme, secret(101));
    let (entries, bytes) = (150, 8000);
    programme
        .write(&device.handle, &device.secret, entries, bytes)
        .await;
    let payload: u64 = journal(&device.handle)
        .await
        .iter()
        .map(|entry| entry.bytes().len() as u64)
        .sum();

    let target = SyncTarget {
        addresses: vec![proxy.address.to_string()],
        relay: relay.key,
    };
    // 200 kB/s counts as a slow link: the window is 64 kB.
    let options = SyncOptions {
        network: short(),
        bandwidth_bytes_per_second: Some(200_000),
        ..patient()
    };
    let (broken, mut breaks) = tokio::sync::mpsc::unbounded_channel();
    let syncing = tokio::spawn({
        let (handle, identity) = (device.handle.clone(), device.identity.clone());
        async move {
            let mut on_event = |event| {
                if matches!(event, SyncEvent::Broken(_)) {
                    // The test has seen enough breaks.
                    let _ = broken.send(());
                }
            };
            sync_once(&handle, &identity, &target, &options, &mut on_event).await
        }
    });
    until(&relay.handle, 30).await;
    proxy.silent.store(true, Ordering::Relaxed);
    // The connection dies, and several attempts to dial meet silence.
    for _ in 0..3 {
        breaks.recv().await.unwrap();
    }
    let before = count(&relay.handle).await;
    assert!(before < entries as u64);
    proxy.silent.store(false, Ordering::Relaxed);

    let report = syncing.await.unwrap().unwrap();
    assert!(report.complete);
    assert!(report.connections >= 2);
    assert_eq!(held(&relay.handle).await, held(&device.handle).await);
    // One window, and the entry that overfills it; a machine under load may have broken more than once.
    let again = (limits::WINDOW_SLOW_BYTES + 8500) as u64 * (report.connections - 1);
    let frames = payload / 50 + 2000;
    assert!(
        report.app_bytes_sent <= payload + frames + again,
        "{} bytes on {} connections for {payload} of entries",
        report.app_bytes_sent,
        report.connections
    );
}

#[tokio::test]
async fn a_sync_that_is_killed_in_the_middle_goes_on_without_doubles() {
    let (programme, relay, devices) = world(1);
    let device = &devices[0];
    programme
        .write(&device.handle, &device.secret, 100, 8000)
        .await;
    for goal in [20, 50] {
        let slow = SyncOptions {
            bandwidth_bytes_per_second: Some(400_000),
            ..patient()
        };
        tokio::select! {
            done = device.sync_with(&relay, &slow) => panic!("not in the middle: {done:?}"),
            () = until(&relay.handle, goal) => {}
        }
    }
    let kept = count(&relay.handle).await;
    let rest = device.sync(&relay).await.unwrap();
    assert!(rest.complete);
    let again = rest.entries_sent + kept - 100;
    assert!(
        again <= limits::WINDOW_FAST_BYTES as u64 / 8000 + 1,
        "{again} entries again"
    );
    // `held` sees to it that nothing stands there twice.
    assert_eq!(held(&relay.handle).await, held(&device.handle).await);
    // The engine has let go of the sessions whose tasks were dropped.
    assert!(device.handle.sessions().is_empty());
}

#[tokio::test]
async fn a_relay_that_was_killed_and_is_back_tells_old_connections_at_once() {
    let (programme, relay_secret) = members(1);
    // Nobody's patience with silence ends before the test's.
    let network = NetworkOptions {
        idle: Duration::from_secs(3600),
        ..network()
    };
    let handle = programme.replica(&relay_secret);
    let start = || {
        let options = AcceptOptions::default();
        Relay::start_on(&relay_secret, handle.clone(), options, network.clone(), 0)
    };
    let (before, after) = (start(), start());
    let proxy = Proxy::start(before.acceptor.local_addr()).await;
    let device = Device::new(&programme, secret(101));
    programme
        .write(&device.handle, &device.secret, 60, 8000)
        .await;
    let target = SyncTarget {
        addresses: vec![proxy.address.to_string()],
        relay: relay_secret.device(),
    };
    let options = SyncOptions {
        network,
        bandwidth_bytes_per_second: Some(300_000),
        ..patient()
    };
    let (report, ()) = tokio::join!(device.sync_to(&target, &options), async {
        until(&handle, 20).await;
        // As if the first relay had been killed: what knows nothing of the connection answers.
        proxy.relay.send(after.acceptor.local_addr()).unwrap();
    });
    let report = report.unwrap();
    assert!(report.complete);
    assert_eq!(report.connections, 2);
    assert_eq!(held(&handle).await, held(&device.handle).await);
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_power_cut_at_the_relay_at_any_moment() {
    let (programme, relay_secret) = members(1);
    let disk = ModelDisk::new();
    let handle = programme.replica_on(&relay_secret, disk.clone());
    let relay = Relay::start(&relay_secret, handle, AcceptOptions::default());
    let device = Device::new(&programme, secret(101));
    programme
        .write(&device.handle, &device.secret, 60, 4000)
        .await;
    let slow = SyncOptions {
        bandwidth_bytes_per_second: Some(240_000),
        ..patient()
    };
    let relay_key = relay.key;
    let looking = async {
        let mut pulse = device.handle.subscribe();
        let mut looks = 0;
        loop {
            pulse.changed().await.unwrap();
            let acknowledged = device
                .handle
                .call(move |store| {
                    let peer = store.peer(&relay_key).unwrap();
                    let lane = peer.lanes.get(&OF)?;
                    Some(lane.acknowledged?.mark.position)
                })
                .await
                .unwrap()
                .unwrap_or(0);
            // First what is acknowledged, then the cut: nothing written since can help.
            let image = disk.crash(Unsynced::Dropped, looks);
            let kept = open(&relay_secret, image).journal_end(OF).position;
            assert!(
                acknowledged <= kept,
                "{acknowledged} acknowledged, {kept} kept"
            );
            looks += 1;
            if acknowledged == 60 {
                return looks;
            }
        }
    };
    let (report, looks) = tokio::join!(device.sync_with(&relay, &slow), looking);
    assert!(report.unwrap().complete);
    assert!(looks > 5, "{looks} looks");
}
