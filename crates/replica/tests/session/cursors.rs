//! What is remembered of a peer and does not hold any more, or never did.

use crate::world::*;
use cairn_replica::Holdings;
use cairn_replica::holdings::PeerLane;
use cairn_replica::session::Notice;
use cairn_sim::Node;
use cairn_store::Store;
use cairn_wire::frame::CloseReason;

#[test]
fn a_new_epoch_voids_cursors_and_costs_a_comparison() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 40);
    meet(&mut device, &mut relay);
    relay.store.new_epoch(cairn_wire::Epoch([9; 8])).unwrap();
    write_many(&mut device, records(NORTH), 3);
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.counters().entries_sent, 3);
    assert_eq!(outcome.dialler.counters().entries_received, 0);
    device.store.new_epoch(cairn_wire::Epoch([8; 8])).unwrap();
    write_many(&mut device, records(NORTH), 3);
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_same(&device, &relay, records(NORTH));
    assert!(meet(&mut device, &mut relay).bytes() <= 400);
}

#[test]
fn a_cursor_that_lies_withholds_nothing() {
    let Cast {
        mut relay,
        mut device,
        mut other,
        ..
    } = cast();
    write_many(&mut other, records(NORTH), 30);
    meet(&mut other, &mut relay);
    write_many(&mut device, records(NORTH), 5);
    // The device claims to hold all of the relay's journal, by a cursor that is right.
    let mut record = device.store.peer(&relay.key()).unwrap();
    record.epoch = Some(relay.store.epoch());
    let lane = PeerLane {
        cursor: relay.store.journal_end(records(NORTH)),
        acknowledged: None,
    };
    record.lanes.insert(records(NORTH), lane);
    device.store.put_peer(&relay.key(), &record).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.counters().entries_received, 30);
    assert_same(&device, &relay, records(NORTH));

    // And by one that never was.
    let mut record = device.store.peer(&relay.key()).unwrap();
    write_many(&mut other, records(NORTH), 2);
    meet(&mut other, &mut relay);
    record.pair = None;
    if let Some(lane) = record.lanes.get_mut(&records(NORTH)) {
        lane.cursor.hash = [0xee; 8];
    }
    device.store.put_peer(&relay.key(), &record).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.counters().entries_received, 2);
    assert_same(&device, &relay, records(NORTH));
}

#[test]
fn a_restored_device_gets_its_own_log_back() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 12);
    meet(&mut device, &mut relay);
    let backup = device.store.disk().copy();
    write_many(&mut device, records(NORTH), 8);
    meet(&mut device, &mut relay);
    let mut restored = Node::open(device.secret.clone(), backup, 79).unwrap();
    restored.store.new_epoch(cairn_wire::Epoch([5; 8])).unwrap();
    let incarnation = cairn_wire::Incarnation([5; 16]);
    restored.store.set_incarnation(incarnation).unwrap();
    let outcome = meet(&mut restored, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.counters().entries_received, 8);
    write_many(&mut restored, records(NORTH), 3);
    let outcome = meet(&mut restored, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_same(&restored, &relay, records(NORTH));
    assert!(relay.store.forked_logs(records(NORTH)).is_empty());
    assert_eq!(relay.ids(records(NORTH)).len(), 23);
}

#[test]
fn a_relay_set_back_gets_it_all_again() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 12);
    meet(&mut device, &mut relay);
    let old = relay.store.disk().copy();
    write_many(&mut device, records(NORTH), 8);
    meet(&mut device, &mut relay);
    // Nobody noticed: the same epoch goes on.
    let mut relay = Node::open(relay.secret.clone(), old, 80).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_same(&device, &relay, records(NORTH));
    assert_eq!(relay.ids(records(NORTH)).len(), 20);
}

#[test]
fn a_lost_connection_resumes_where_it_was_durable() {
    for pieces_max in (1..60).step_by(7) {
        let Cast {
            mut relay,
            mut device,
            ..
        } = cast();
        write_many(&mut device, records(NORTH), 900);
        let meeting = Meeting {
            pieces_max,
            piece_bytes: 8 * 1024,
            ..Meeting::default()
        };
        let cut = meet_as(&mut device, &mut relay, meeting);
        let held = relay.ids(records(NORTH)).len() as u64;
        let rest = meet(&mut device, &mut relay);
        assert!(rest.dialler.equal && rest.acceptor.equal);
        assert_same(&device, &relay, records(NORTH));
        let again = rest.acceptor.counters().entries_received - (900 - held);
        let window = 64_000 / 270;
        assert!(
            again <= window,
            "{again} entries again after {pieces_max} pieces"
        );
        assert!(cut.dialler.error.is_none());
    }
}

#[test]
fn entries_above_a_gap_pass_too() {
    let Cast {
        mut relay,
        mut device,
        mut other,
        ..
    } = cast();
    let ids = write_many(&mut other, records(NORTH), 6);
    let entry = |at: usize| other.store.entry(&ids[at]).unwrap().unwrap();
    // The device holds 1, 2 and, above a gap, 5; the relay 1, 2 and 6.
    device.keep(vec![entry(0), entry(1), entry(4)]).unwrap();
    relay.keep(vec![entry(0), entry(1), entry(5)]).unwrap();
    for _ in 0..2 {
        let outcome = meet(&mut device, &mut relay);
        assert!(outcome.dialler.error.is_none() && outcome.acceptor.error.is_none());
    }
    assert_same(&device, &relay, records(NORTH));
    assert_eq!(
        device.store.detached(records(NORTH)),
        relay.store.detached(records(NORTH))
    );
    assert_eq!(relay.store.detached(records(NORTH)).len(), 2);
    meet(&mut other, &mut relay);
    meet(&mut device, &mut relay);
    assert_eq!(device.ids(records(NORTH)).len(), 6);
    assert!(device.store.detached(records(NORTH)).is_empty());
}

#[test]
fn a_refused_entry_blocks_nobody_and_holds_the_cursor() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 3);
    let good = device.seal(records(NORTH), b"forged").unwrap();
    let mut bytes = good.into_bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    // A damaged store or a rogue device: its own entry 4 has a bad signature.
    device
        .keep(vec![cairn_wire::Entry::parse(bytes).unwrap()])
        .unwrap();
    write_many(&mut device, records(NORTH), 3);
    let outcome = meet(&mut device, &mut relay);
    assert!(
        outcome.acceptor.error.is_none(),
        "{:?}",
        outcome.acceptor.error
    );
    assert_eq!(outcome.acceptor.counters().entries_new, 6);
    assert!(!outcome.acceptor.equal);
    let refused = outcome.acceptor.notices.iter();
    assert!(
        refused
            .clone()
            .any(|it| matches!(it, Notice::Refused { .. }))
    );
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Done));
    let record = relay.store.peer(&device.key()).unwrap();
    let cursor = record
        .lanes
        .get(&records(NORTH))
        .map(|it| it.cursor.position);
    assert!(cursor.unwrap_or(0) <= 3);
    assert!(record.pair.is_none());
}
