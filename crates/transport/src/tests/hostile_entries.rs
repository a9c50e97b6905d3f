//! A member that speaks the protocol and hands over entries that are not what they should be, over
//! real QUIC, among entries of others that are.

use super::hostile::{closed, first_words, impatient_relay};
use super::*;
use crate::connection::Lanes;
use crate::dial::{Dialled, dial};
use crate::link::FrameSink;
use crate::registry::SessionInfo;
use cairn_wire::codec::Bytes;
use cairn_wire::frame::{self, LaneFrame};
use cairn_wire::limits;
use cairn_wire::stream::{EntryForm, StreamLogs};
use cairn_wire::{AuthorityRef, LogId};

/// A session of a member that from here on says what it likes.
struct Rogue {
    dialled: Dialled,
    logs: StreamLogs,
}

impl Rogue {
    async fn meet(device: &Device, relay: &Relay) -> Self {
        let mut dialled = dial(&device.identity, &relay.target(), &patient())
            .await
            .unwrap();
        let open = first_words(device).await;
        dialled.control.sink.write(&open).await.unwrap();
        let mut rogue = Self {
            dialled,
            logs: StreamLogs::default(),
        };
        rogue.say(&LaneFrame::Compared { scope: SCOPE }).await;
        rogue
    }

    fn lane(&mut self) -> &mut FrameSink {
        match &mut self.dialled.lanes {
            Lanes::Open(lanes) => &mut lanes.1.sink,
            Lanes::Awaited(_) => panic!("a dialler opens its lanes"),
        }
    }

    async fn say(&mut self, frame: &LaneFrame) {
        // The relay may have hung up.
        let _ = self.lane().write(&frame::write(frame)).await;
    }

    async fn hand_over(&mut self, entry: &Entry) {
        let form = self.logs.shorten(entry);
        self.say(&LaneFrame::Entry(form)).await;
    }

    async fn closed(&self) -> Option<CloseReason> {
        closed(&self.dialled.link).await
    }
}

/// The beginning of a log that nobody's store keeps in order.
struct Forger<'a> {
    programme: &'a Programme,
    secret: DeviceSecret,
    log: LogId,
    authority: AuthorityRef,
}

impl<'a> Forger<'a> {
    async fn of(programme: &'a Programme, device: &Device) -> Self {
        let (log, authority) = device
            .handle
            .call(|store| (store.next_own(OF).unwrap().log, store.authority_head()))
            .await
            .unwrap();
        Self {
            programme,
            secret: device.secret.clone(),
            log,
            authority,
        }
    }

    fn header(&self, number: u64, previous: EntryId) -> EntryHeader {
        EntryHeader {
            version: FORMAT_VERSION,
            programme: self.programme.id(),
            log: self.log,
            number,
            previous,
            authority: self.authority,
            key_number: 0,
            payload_bytes: 0,
        }
    }

    fn seal(&self, header: &EntryHeader, plain: &[u8]) -> Entry {
        seal_entry(&self.secret, &self.programme.scope_key, header, plain).unwrap()
    }

    fn entry(&self, number: u64, previous: EntryId, plain: &[u8]) -> Entry {
        self.seal(&self.header(number, previous), plain)
    }
}

/// The entry with one bit of it another, at so many bytes from its end.
fn flipped(entry: &Entry, from_end: usize) -> Entry {
    let mut bytes = entry.bytes().to_vec();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    Entry::parse(bytes).unwrap()
}

/// The session of a relay that serves one peer, once `wanted` is true of it.
async fn session_once(relay: &Relay, wanted: impl Fn(&SessionInfo) -> bool) -> SessionInfo {
    let reached = async {
        loop {
            if let Some(info) = relay.handle.sessions().into_iter().find(&wanted) {
                return info;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached)
        .await
        .unwrap_or_else(|_| panic!("{:?}", relay.handle.sessions()))
}

#[tokio::test]
async fn what_is_refused_takes_nothing_of_others_with_it() {
    let (programme, relay, devices) = world(3);
    let [hostile, honest, reader] = &devices[..] else {
        panic!()
    };
    programme
        .write(&honest.handle, &honest.secret, 8, 200)
        .await;
    let others = journal(&honest.handle).await;
    let forger = Forger::of(&programme, hostile).await;
    let first = forger.entry(1, EntryId::NONE, b"an entry in good order");
    let stranger = Forger {
        secret: secret(99),
        log: LogId {
            device: secret(99).device(),
            ..forger.log
        },
        ..Forger::of(&programme, hostile).await
    };
    let refused = [
        flipped(&first, 1),
        flipped(&first, 64),
        flipped(&first, 70),
        flipped(&others[3], 66),
        stranger.entry(1, EntryId::NONE, b"of nobody"),
    ];
    let mut rogue = Rogue::meet(hostile, &relay).await;
    for (bad, good) in refused.iter().zip(&others) {
        rogue.hand_over(bad).await;
        rogue.hand_over(good).await;
    }
    for good in others.iter().skip(refused.len()).chain([&first]) {
        rogue.hand_over(good).await;
    }
    until(&relay.handle, others.len() as u64 + 1).await;
    let refusals = refused.len() as u64;
    session_once(&relay, |info| info.entries_refused == refusals).await;

    assert!(reader.sync(&relay).await.unwrap().complete);
    let wanted: BTreeSet<_> = others.iter().chain([&first]).map(Entry::id).collect();
    assert_eq!(held(&reader.handle).await, wanted);
}

#[tokio::test]
async fn what_is_odd_and_signed_is_kept_once_and_handed_on() {
    let (programme, relay, devices) = world(3);
    let [hostile, honest, reader] = &devices[..] else {
        panic!()
    };
    programme
        .write(&honest.handle, &honest.secret, 4, 200)
        .await;
    let others = journal(&honest.handle).await;
    let forger = Forger::of(&programme, hostile).await;
    let first = forger.entry(1, EntryId::NONE, b"one branch");
    let unknown_version = EntryHeader {
        version: 9,
        ..forger.header(2, first.id())
    };
    let unknown_authority = EntryHeader {
        authority: AuthorityRef {
            height: u64::MAX,
            id: [9; 8],
        },
        ..forger.header(2, first.id())
    };
    let odd = [
        first.clone(),
        forger.entry(1, EntryId::NONE, b"another branch"),
        forger.entry(2, first.id(), b"it goes on"),
        forger.entry(7, EntryId([7; 32]), b"after what nobody has"),
        forger.entry(u64::MAX, EntryId([8; 32]), b"the last of all numbers"),
        forger.seal(&unknown_version, b"of a format to come"),
        forger.seal(&unknown_authority, b"by an authority to come"),
        forger.entry(3, first.id(), b"a number left out"),
    ];
    let mut rogue = Rogue::meet(hostile, &relay).await;
    // Each three times, with others' entries between them.
    for good in others.iter().take(3) {
        for entry in &odd {
            rogue.hand_over(entry).await;
        }
        rogue.hand_over(good).await;
    }
    rogue.hand_over(&others[3]).await;
    let all = (odd.len() + others.len()) as u64;
    until(&relay.handle, all).await;
    let wanted: BTreeSet<_> = odd.iter().chain(&others).map(Entry::id).collect();
    assert_eq!(held(&relay.handle).await, wanted);
    // What came last is there, so all that came before was looked at.
    let info = session_once(&relay, |info| info.entries_received == all).await;
    assert_eq!(info.entries_refused, 0);

    assert!(reader.sync(&relay).await.unwrap().complete);
    assert_eq!(held(&reader.handle).await, wanted);
    let again = reader.sync(&relay).await.unwrap();
    assert_eq!((again.entries_sent, again.entries_received), (0, 0));
}

#[tokio::test]
async fn what_makes_no_entry_ends_its_session_and_no_other() {
    let (programme, relay, devices) = world(2);
    let [hostile, honest] = &devices[..] else {
        panic!()
    };
    let forger = Forger::of(&programme, hostile).await;
    let entry = forger.entry(1, EntryId::NONE, b"an entry in good order");
    let parts = |version, number, previous, payload: Vec<u8>, signature: usize| {
        let form = EntryForm::First {
            version,
            device: forger.log.device,
            incarnation: forger.log.incarnation,
            number,
            previous,
            authority: forger.authority,
            key_number: 1,
            payload: Bytes(payload),
            signature: Bytes(vec![0; signature]),
        };
        frame::write(&LaneFrame::Entry(form))
    };
    let whole = frame::write(&LaneFrame::Entry(StreamLogs::default().shorten(&entry)));
    let mut short = whole.clone();
    // The frame says less than its entry needs.
    short[0] -= 9;
    let mut long = whole.clone();
    long[0] += 1;
    long.push(0);
    let next = EntryForm::Next {
        log: 3,
        authority: None,
        key_number: None,
        payload: Bytes(vec![1]),
        signature: Bytes(vec![0; 64]),
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "a version that never was",
            parts(0, 1, EntryId::NONE, vec![1], 64),
        ),
        ("number 0", parts(1, 0, EntryId::NONE, vec![1], 64)),
        (
            "number 2 after nothing",
            parts(1, 2, EntryId::NONE, vec![1], 64),
        ),
        (
            "number 1 after something",
            parts(1, 1, EntryId([1; 32]), vec![1], 64),
        ),
        (
            "a payload over the limit",
            parts(
                1,
                1,
                EntryId::NONE,
                vec![1; limits::ENTRY_PAYLOAD_BYTES_MAX + 1],
                64,
            ),
        ),
        ("a short signature", parts(1, 1, EntryId::NONE, vec![1], 63)),
        ("a long signature", parts(1, 1, EntryId::NONE, vec![1], 65)),
        (
            "the next of an unknown log",
            frame::write(&LaneFrame::Entry(next)),
        ),
        ("an entry cut off", short),
        ("bytes behind an entry", long),
        ("a frame of no kind", vec![1, 200]),
        ("an empty frame", vec![0]),
    ];
    for (name, bytes) in cases {
        let mut rogue = Rogue::meet(hostile, &relay).await;
        let _ = rogue.lane().write(&bytes).await;
        programme
            .write(&honest.handle, &honest.secret, 1, 100)
            .await;
        let (reason, synced) = tokio::join!(rogue.closed(), honest.sync(&relay));
        assert_eq!(reason, Some(CloseReason::Protocol), "{name}");
        assert!(synced.unwrap().complete, "{name}");
    }
    assert_eq!(held(&relay.handle).await, held(&honest.handle).await);
    for info in relay.handle.history() {
        let by_rogue = info.peer == hostile.secret.device();
        assert_eq!(info.error.is_some(), by_rogue, "{info:?}");
    }
}

#[tokio::test]
async fn a_frame_that_never_ends_is_given_up_however_it_drips() {
    let (programme, relay, device) = impatient_relay();
    let forger = Forger::of(&programme, &device).await;
    let entry = forger.entry(1, EntryId::NONE, &[7; 60_000]);
    let whole = frame::write(&LaneFrame::Entry(StreamLogs::default().shorten(&entry)));
    let mut rogue = Rogue::meet(&device, &relay).await;
    session_once(&relay, |_| true).await;
    let connection = rogue.dialled.link.connection.clone();
    // Each byte shows that the peer lives: only the whole frame takes too long.
    let mut drip = tokio::time::interval(Duration::from_millis(5));
    for byte in whole.chunks(1) {
        tokio::select! {
            _ = drip.tick() => {}
            _ = connection.closed() => break,
        }
        let _ = rogue.lane().write(byte).await;
    }
    assert_eq!(rogue.closed().await, Some(CloseReason::Busy));
    assert_eq!(count(&relay.handle).await, 0);
}
