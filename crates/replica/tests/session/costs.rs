//! What a session costs: each side gets what it lacks and no more.

use crate::world::*;
use cairn_sim::Node;
use cairn_store::Store;
use cairn_wire::frame::CloseReason;

#[test]
fn a_first_push_and_a_reconnect_with_nothing_changed() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 50);
    write_many(&mut device, urgent(SOUTH), 5);
    let first = meet(&mut device, &mut relay);
    assert!(first.dialler.equal && first.acceptor.equal);
    assert_eq!(first.dialler.closed, Some(CloseReason::Done));
    assert_eq!(first.acceptor.closed, Some(CloseReason::Done));
    assert_eq!(first.dialler.counters().entries_sent, 55);
    assert_eq!(first.acceptor.counters().entries_new, 55);
    assert_eq!(
        first.dialler.counters().entries_received,
        0,
        "nothing comes back"
    );
    assert_same(&device, &relay, records(NORTH));
    assert_same(&device, &relay, urgent(SOUTH));

    let again = meet(&mut device, &mut relay);
    assert!(again.dialler.equal && again.acceptor.equal);
    assert!(again.bytes() <= 400, "{} bytes", again.bytes());
    assert_eq!(again.dialler.round_trips_to_equal, 1);
    assert_eq!(again.dialler.closed, Some(CloseReason::Done));
}

#[test]
fn ten_edits_cost_one_round_trip() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 50);
    meet(&mut device, &mut relay);
    write_many(&mut device, records(NORTH), 10);
    let edits = meet(&mut device, &mut relay);
    assert!(edits.dialler.equal && edits.acceptor.equal);
    assert_eq!(edits.dialler.round_trips_to_equal, 1);
    assert_eq!(edits.dialler.counters().entries_sent, 10);
    assert_same(&device, &relay, records(NORTH));
    // Ten entries of about 170 bytes, and less than 400 bytes around them.
    assert!(edits.bytes() <= 2_000, "{} bytes", edits.bytes());
    let again = meet(&mut device, &mut relay);
    assert!(again.bytes() <= 400, "{} bytes", again.bytes());
}

#[test]
fn two_empty_replicas_are_equal_at_once() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.round_trips_to_equal, 1);
}

#[test]
fn each_side_gets_what_it_lacks_and_no_more() {
    for (at_device, at_relay) in [(0, 40), (40, 0), (30, 20), (1, 200), (300, 1)] {
        let Cast {
            mut relay,
            mut device,
            mut other,
            ..
        } = cast();
        // Something common first.
        write_many(&mut device, records(NORTH), 10);
        meet(&mut device, &mut relay);
        write_many(&mut other, records(NORTH), at_relay);
        meet(&mut other, &mut relay);
        write_many(&mut device, records(NORTH), at_device);
        let outcome = meet(&mut device, &mut relay);
        assert!(
            outcome.dialler.equal && outcome.acceptor.equal,
            "{at_device} {at_relay}"
        );
        assert_eq!(outcome.dialler.counters().entries_sent, at_device as u64);
        assert_eq!(outcome.dialler.counters().entries_received, at_relay as u64);
        assert_same(&device, &relay, records(NORTH));
        let again = meet(&mut device, &mut relay);
        assert!(again.bytes() <= 400, "{} bytes", again.bytes());
    }
}

#[test]
fn nothing_comes_back_through_a_relay() {
    let Cast {
        mut relay,
        device: mut a,
        other: mut b,
        ..
    } = cast();
    write_many(&mut a, records(NORTH), 20);
    write_many(&mut b, records(NORTH), 30);
    let mut moved = 0;
    for _ in 0..3 {
        for device in [&mut a, &mut b] {
            let outcome = meet(device, &mut relay);
            assert!(outcome.dialler.equal && outcome.acceptor.equal);
            moved += outcome.dialler.counters().entries_sent;
            moved += outcome.dialler.counters().entries_received;
        }
    }
    assert_eq!(
        moved,
        2 * 20 + 2 * 30,
        "each entry goes up once and down once"
    );
    assert_same(&a, &b, records(NORTH));
    // And directly: both have it all, and no cursor says so.
    let direct = meet(&mut a, &mut b);
    assert!(direct.dialler.equal && direct.acceptor.equal);
    assert_eq!(direct.dialler.counters().entries_sent, 0);
    assert_eq!(direct.dialler.counters().entries_received, 0);
}

#[test]
fn more_leaves_than_a_list_holds_go_by_buckets() {
    for (at_device, at_relay) in [(600, 700), (600, 3), (2, 600), (600, 0)] {
        let Cast {
            mut relay,
            mut device,
            mut other,
            ..
        } = cast();
        many_logs(&mut other, at_relay);
        let mut meeting = Meeting::default();
        if at_relay > 0 {
            meet(&mut other, &mut relay);
        }
        many_logs(&mut device, at_device);
        let outcome = meet_as(&mut device, &mut relay, meeting);
        assert!(
            outcome.dialler.equal && outcome.acceptor.equal,
            "{at_device} {at_relay}"
        );
        assert_same(&device, &relay, records(NORTH));
        // With all cursors void and one entry more on each side, only what differs is listed.
        relay.store.new_epoch(cairn_wire::Epoch([9; 8])).unwrap();
        device.store.new_epoch(cairn_wire::Epoch([8; 8])).unwrap();
        many_logs(&mut other, 1);
        meet(&mut other, &mut relay);
        many_logs(&mut device, 1);
        meeting.salt = 8;
        let outcome = meet_as(&mut device, &mut relay, meeting);
        assert!(outcome.dialler.equal && outcome.acceptor.equal);
        assert_eq!(outcome.dialler.counters().entries_sent, 1);
        assert_eq!(outcome.acceptor.counters().entries_sent, 1);
        assert_same(&device, &relay, records(NORTH));
    }
}

fn many_logs(node: &mut Node, count: usize) {
    for at in 0..count {
        let mut incarnation = [node.key().0[0]; 16];
        let drawn = node.ids(records(NORTH)).len() + at * 1_000_000;
        incarnation[..8].copy_from_slice(&(drawn as u64).to_be_bytes());
        node.store
            .set_incarnation(cairn_wire::Incarnation(incarnation))
            .unwrap();
        node.write(records(NORTH), b"the only one").unwrap();
    }
}

#[test]
fn a_budget_is_kept_and_what_became_durable_stays() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 200);
    write_many(&mut device, urgent(NORTH), 10);
    let mut visits = 0;
    loop {
        let meeting = Meeting {
            budget: Some(12_000),
            ..Meeting::default()
        };
        let outcome = meet_as(&mut device, &mut relay, meeting);
        visits += 1;
        assert!(outcome.bytes() <= 12_000, "{} bytes", outcome.bytes());
        assert_eq!(relay.ids(urgent(NORTH)).len(), 10, "urgent first");
        if outcome.dialler.equal {
            break;
        }
        assert_eq!(outcome.dialler.closed, Some(CloseReason::Budget));
        assert!(visits < 20);
    }
    assert!(visits > 2);
    assert_same(&device, &relay, records(NORTH));
}

#[test]
fn what_does_not_fit_a_budget_says_what_it_wants() {
    let Cast {
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 1);
    let visit = |device: &mut _, relay: &mut _, budget| {
        let meeting = Meeting {
            budget: Some(budget),
            ..Meeting::default()
        };
        meet_as(device, relay, meeting)
    };
    let outcome = visit(&mut device, &mut relay, 1_000);
    let counters = outcome.dialler.counters();
    assert_eq!(counters.entries_sent, 0);
    assert!(counters.budget_wanted_bytes > 1_000, "{counters:?}");
    let outcome = visit(&mut device, &mut relay, counters.budget_wanted_bytes);
    assert_eq!(outcome.dialler.counters().entries_sent, 1);
    assert!(outcome.bytes() <= counters.budget_wanted_bytes);
    assert_same(&device, &relay, records(NORTH));
}
