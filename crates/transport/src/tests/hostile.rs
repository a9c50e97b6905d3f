//! Peers that break the protocol or waste our time, beside one that does neither.

use super::*;
use crate::connection::open_channels;
use crate::dial::dial;
use crate::link::LinkError;
use crate::registry::SessionState;
use cairn_wire::frame::{self, Channel, ControlFrame};
use cairn_wire::limits;

/// Waits for the relay to hang up.
pub(super) async fn closed(link: &crate::link::Link) -> Option<CloseReason> {
    match LinkError::from(link.connection.closed().await) {
        LinkError::Closed(reason) => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn garbage_costs_its_sender_the_connection_and_nobody_else_anything() {
    let (programme, relay, devices) = world(2);
    let [hostile, honest] = &devices[..] else {
        panic!()
    };
    let mut too_long = Vec::new();
    let mut length = limits::FRAME_BYTES_MAX + 1;
    while length >= 0x80 {
        too_long.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    too_long.push(length as u8);
    let twice = frame::write(&ControlFrame::Enrolled);
    let cases: [(Channel, Vec<u8>); 6] = [
        (Channel::Control, vec![0xff; 4096]),
        (Channel::Control, vec![0; 64]),
        (Channel::Control, too_long.clone()),
        (Channel::Control, twice),
        (Channel::Lane(Lane::Records), too_long),
        (Channel::Lane(Lane::Urgent), vec![0x80; 5]),
    ];
    for (channel, bytes) in cases {
        let mut dialled = dial(&hostile.identity, &relay.target(), &patient())
            .await
            .unwrap();
        if channel != Channel::Control {
            // A session begins with the first control frame; lanes are read from then on.
            let later = ControlFrame::Later { retry_after_s: 1 };
            dialled.control.sink.write_control(&later).await.unwrap();
        }
        match &mut dialled.lanes {
            crate::connection::Lanes::Open(lanes) => {
                let sink = match channel {
                    Channel::Control => &mut dialled.control.sink,
                    Channel::Lane(Lane::Urgent) => &mut lanes.0.sink,
                    Channel::Lane(Lane::Records) => &mut lanes.1.sink,
                };
                // The relay may hang up before it has read all of it.
                let _ = sink.write(&bytes).await;
            }
            crate::connection::Lanes::Awaited(_) => panic!("a dialler opens its lanes"),
        }
        assert_eq!(
            closed(&dialled.link).await,
            Some(CloseReason::Protocol),
            "{channel:?} {bytes:?}"
        );
    }
    programme
        .write(&honest.handle, &honest.secret, 3, 100)
        .await;
    assert!(honest.sync(&relay).await.unwrap().complete);
    assert_eq!(count(&relay.handle).await, 3);
}

#[tokio::test]
async fn more_streams_than_channels_are_refused() {
    let (_programme, relay, devices) = world(1);
    let dialled = dial(&devices[0].identity, &relay.target(), &patient())
        .await
        .unwrap();
    // A second set of channels, before and without any frame.
    let _second = open_channels(&dialled.link).await.unwrap();
    let mut control = dialled.control;
    let later = ControlFrame::Later { retry_after_s: 1 };
    control.sink.write_control(&later).await.unwrap();
    assert_eq!(closed(&dialled.link).await, Some(CloseReason::Protocol));
}

/// A relay that is quick to give up.
pub(super) fn impatient_relay() -> (Programme, Relay, Device) {
    let (programme, relay_secret) = members(1);
    let network = NetworkOptions {
        handshake: Duration::from_millis(200),
        stall: Duration::from_millis(300),
        ..network()
    };
    let handle = programme.replica(&relay_secret);
    let options = AcceptOptions::default();
    let relay = Relay::start_on(&relay_secret, handle, options, network, 0);
    let device = Device::new(&programme, secret(101));
    (programme, relay, device)
}

#[tokio::test]
async fn the_limit_of_the_first_frame_is_none_for_those_that_follow() {
    let (programme, relay, device) = impatient_relay();
    programme
        .write(&device.handle, &device.secret, 10, 8000)
        .await;
    // At this rate it takes four times as long.
    let slow = SyncOptions {
        bandwidth_bytes_per_second: Some(100_000),
        ..patient()
    };
    let report = device.sync_with(&relay, &slow).await.unwrap();
    assert!(report.complete);
    assert_eq!(report.connections, 1);
}

#[tokio::test]
async fn a_peer_without_a_first_frame_is_closed_soon() {
    let (_programme, relay, device) = impatient_relay();
    let mut dialled = dial(&device.identity, &relay.target(), &patient())
        .await
        .unwrap();
    // One byte of a frame, and then nothing.
    dialled.control.sink.write(&[40]).await.unwrap();
    assert_eq!(closed(&dialled.link).await, Some(CloseReason::Busy));
}

#[tokio::test]
async fn a_peer_that_never_reads_nor_says_a_word_more_is_given_up() {
    let (programme, relay, device) = impatient_relay();
    programme
        .write(&relay.handle, &secret(100), 100, 30_000)
        .await;
    // The device's first words are an honest session's; then it falls silent and reads nothing,
    // while its QUIC keeps the connection alive.
    let mut dialled = dial(&device.identity, &relay.target(), &patient())
        .await
        .unwrap();
    let open = first_words(&device).await;
    dialled.control.sink.write(&open).await.unwrap();
    let mut pulse = relay.handle.subscribe();
    while relay.handle.sessions().is_empty() {
        pulse.changed().await.unwrap();
    }
    let reason = closed(&dialled.link).await;
    assert_eq!(reason, Some(CloseReason::Busy));
    while !relay.handle.sessions().is_empty() {
        pulse.changed().await.unwrap();
    }
    let [info] = &relay.handle.history()[..] else {
        panic!("one session")
    };
    assert_eq!(info.state, SessionState::Ended(CloseReason::Busy));
    // What was sent into the void stays below the window.
    let most = (limits::WINDOW_FAST_BYTES + limits::FRAME_BYTES_MAX) as u64;
    assert!(info.app_bytes_sent <= most, "{} bytes", info.app_bytes_sent);
}

/// The control bytes with which a device's session begins.
pub(super) async fn first_words(device: &Device) -> Vec<u8> {
    use cairn_replica::session::{Output, Role, Session, SessionConfig};
    device
        .handle
        .call(|store| {
            let config = SessionConfig::new(Role::Dialler, secret(100).device(), [0; 8]);
            let mut session = Session::new(config, 0, &*store).unwrap();
            let mut words = Vec::new();
            while let Some(output) = session.poll_output() {
                if let Output::Send {
                    channel: Channel::Control,
                    bytes,
                } = output
                {
                    words.extend(bytes);
                }
            }
            words
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn crowds_that_never_read_or_never_finish_a_frame_end_with_a_reason_while_others_are_served()
{
    const EACH: u8 = 32;
    let (programme, relay_secret) = members(2 * EACH + 1);
    let network = NetworkOptions {
        handshake: Duration::from_secs(2),
        stall: Duration::from_secs(2),
        ..network()
    };
    let handle = programme.replica(&relay_secret);
    let options = AcceptOptions::default();
    let relay = Relay::start_on(&relay_secret, handle, options, network, 0);
    programme
        .write(&relay.handle, &secret(100), 100, 30_000)
        .await;
    let device = |at: u8| Device::new(&programme, secret(101 + at));
    let mut crowd = Vec::new();
    for at in 0..2 * EACH {
        let device = device(at);
        let mut dialled = dial(&device.identity, &relay.target(), &patient())
            .await
            .unwrap();
        // Half of them begin as an honest device does; of the others' first frame one byte comes.
        let words = match at % 2 {
            0 => first_words(&device).await,
            _ => vec![40],
        };
        dialled.control.sink.write(&words).await.unwrap();
        crowd.push((device, dialled));
    }
    let honest = device(2 * EACH);
    assert!(honest.sync(&relay).await.unwrap().complete);
    assert_eq!(count(&honest.handle).await, 100);
    for (_, dialled) in &crowd {
        assert_eq!(closed(&dialled.link).await, Some(CloseReason::Busy));
    }
    let mut pulse = relay.handle.subscribe();
    while !relay.handle.sessions().is_empty() {
        pulse.changed().await.unwrap();
    }
    let most = (limits::WINDOW_FAST_BYTES + limits::FRAME_BYTES_MAX) as u64;
    let history = relay.handle.history();
    let crowd: BTreeSet<_> = crowd
        .iter()
        .map(|(device, _)| device.secret.device())
        .collect();
    let told: Vec<_> = history
        .iter()
        .filter(|info| crowd.contains(&info.peer))
        .collect();
    assert_eq!(told.len(), crowd.len());
    for info in told {
        assert_eq!(info.state, SessionState::Ended(CloseReason::Busy));
        assert!(info.error.is_some());
        assert!(info.app_bytes_sent <= most, "{} bytes", info.app_bytes_sent);
    }
}

#[tokio::test]
async fn a_crowd_under_one_key_loses_its_oldest() {
    let (_programme, relay, devices) = world(1);
    let device = &devices[0];
    let open = first_words(device).await;
    let mut crowd = Vec::new();
    let mut pulse = relay.handle.subscribe();
    for size in 1..=limits::SESSIONS_PER_PEER_MAX + 1 {
        let mut dialled = dial(&device.identity, &relay.target(), &patient())
            .await
            .unwrap();
        dialled.control.sink.write(&open).await.unwrap();
        crowd.push(dialled);
        while relay.handle.sessions().len() < size.min(limits::SESSIONS_PER_PEER_MAX) {
            pulse.changed().await.unwrap();
        }
    }
    assert_eq!(closed(&crowd[0].link).await, Some(CloseReason::Busy));
}

#[tokio::test]
async fn strangers_under_load_must_prove_their_address_and_still_come_in() {
    let (programme, relay_secret) = members(1);
    let network = NetworkOptions {
        half_open_before_retry: 0,
        ..network()
    };
    let handle = programme.replica(&relay_secret);
    let options = AcceptOptions::default();
    let relay = Relay::start_on(&relay_secret, handle, options, network, 0);
    let device = Device::new(&programme, secret(101));
    programme
        .write(&device.handle, &device.secret, 3, 100)
        .await;
    assert!(device.sync(&relay).await.unwrap().complete);
    assert_eq!(count(&relay.handle).await, 3);
}
