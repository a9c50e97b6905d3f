//! Devices that have lost a right, or all of them: they hand in what they hold, and get nothing.

use crate::world::*;
use cairn_replica::session::Input;
use cairn_replica::{Holdings, PeerRecord};
use cairn_sim::Node;
use cairn_store::Store;
use cairn_wire::frame::{CloseReason, JournalMark};

/// What the peer is remembered to have acknowledged of this replica's journal.
fn acknowledged(node: &Node, peer: &Node) -> JournalMark {
    let record = node.store.peer(&peer.key()).unwrap();
    let lane = record.lanes.get(&records(NORTH));
    let acknowledged = lane.and_then(|it| it.acknowledged);
    acknowledged.map(|it| it.mark).unwrap_or_default()
}

#[test]
fn what_lies_below_an_unasked_flight_is_handed_in_too() {
    let mut cast = cast();
    let mut second = second_relay(&mut cast);
    let Cast {
        mut programme,
        mut relay,
        device: mut author,
        ..
    } = cast;
    write_many(&mut author, records(NORTH), 6);
    meet(&mut author, &mut relay);
    write_many(&mut author, records(NORTH), 4);
    programme.revoke(&author.secret);
    second.learn(programme.entries()).unwrap();
    // The second relay has nothing of it, and the flight begins where the first has acknowledged.
    let outcome = meet(&mut author, &mut second);
    assert_eq!(outcome.acceptor.counters().entries_new, 10);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Revoked));
    assert_eq!(outcome.acceptor.closed, Some(CloseReason::Revoked));
    assert_same(&author, &second, records(NORTH));
    let end = author.store.journal_end(records(NORTH));
    assert_eq!(acknowledged(&author, &second), end);
    let again = meet(&mut author, &mut second);
    assert_eq!(again.acceptor.counters().entries_received, 0);
}

#[test]
fn a_flight_that_ends_at_the_cursor_leaves_no_gap() {
    let mut cast = cast();
    let mut second = second_relay(&mut cast);
    let Cast {
        mut programme,
        mut relay,
        device: mut author,
        ..
    } = cast;
    write_many(&mut author, records(NORTH), 2);
    meet(&mut author, &mut relay);
    write_many(&mut author, records(NORTH), 4);
    meet(&mut author, &mut second);
    // It forgets how far the second relay is: the flight goes from 2 to 6, the stream from there on.
    author
        .store
        .put_peer(&second.key(), &PeerRecord::default())
        .unwrap();
    programme.revoke(&author.secret);
    second.learn(programme.entries()).unwrap();
    let outcome = meet(&mut author, &mut second);
    assert_eq!(outcome.acceptor.closed, Some(CloseReason::Revoked));
    let end = author.store.journal_end(records(NORTH));
    assert_eq!(acknowledged(&author, &second), end);
}

#[test]
fn two_revoked_copies_of_one_device_hand_in_what_each_has() {
    for (left, right) in [(2, 7), (7, 2), (3, 3), (0, 4), (4, 0)] {
        let Cast {
            mut programme,
            mut relay,
            mut device,
            ..
        } = cast();
        write_many(&mut device, records(NORTH), 5);
        meet(&mut device, &mut relay);
        let disk = device.store.disk().copy();
        let mut copy = Node::open(device.secret.clone(), disk, 78).unwrap();
        write_many(&mut device, records(NORTH), left);
        for at in 0..right {
            copy.write(records(NORTH), format!("copy {at}").as_bytes())
                .unwrap();
        }
        programme.revoke(&device.secret);
        relay.learn(programme.entries()).unwrap();
        for node in [&mut device, &mut copy] {
            let outcome = meet(node, &mut relay);
            assert_eq!(outcome.dialler.closed, Some(CloseReason::Revoked));
            assert_eq!(outcome.acceptor.closed, Some(CloseReason::Revoked));
            let held = relay.ids(records(NORTH));
            assert!(node.ids(records(NORTH)).is_subset(&held), "{left} {right}");
            let end = node.store.journal_end(records(NORTH));
            assert_eq!(acknowledged(node, &relay), end, "{left} {right}");
            let again = meet(node, &mut relay);
            assert_eq!(again.acceptor.counters().entries_received, 0);
        }
        assert_eq!(relay.ids(records(NORTH)).len(), 5 + left + right);
    }
}

#[test]
fn a_member_narrowed_while_comparing_hands_in_the_rest() {
    for (relay_compares, exchanges) in [true, false]
        .into_iter()
        .flat_map(|it| (0..6).map(move |exchanges| (it, exchanges)))
    {
        let Cast {
            mut programme,
            mut relay,
            mut device,
            mut other,
        } = cast();
        write_many(&mut device, records(SOUTH), 20);
        write_many(&mut other, records(SOUTH), 5);
        meet(&mut other, &mut relay);
        meet(&mut device, &mut relay);
        // The relay's cursor is void, so that the device compares; and the device's too.
        let forgotten = PeerRecord::default();
        relay.store.put_peer(&device.key(), &forgotten).unwrap();
        if relay_compares {
            device.store.put_peer(&relay.key(), &forgotten).unwrap();
        }
        write_many(&mut device, records(SOUTH), 3);
        write_many(&mut other, records(SOUTH), 2);
        meet(&mut other, &mut relay);
        let meeting = Meeting::default();
        let (mut a, mut b) = connect(&mut device, &mut relay, meeting);
        for at in 1..=exchanges {
            exchange_once(&mut a, &mut device, &mut b, &mut relay, at);
        }
        programme.narrow(&device.secret, &[NORTH]);
        relay.learn(programme.entries()).unwrap();
        b.feed(10, Input::AuthorityGrown, &mut relay, device.key());
        run(&mut a, &mut device, &mut b, &mut relay, meeting);
        let at = format!("{relay_compares} {exchanges}");
        assert_eq!(a.closed, Some(CloseReason::Done), "{at}");
        assert_eq!(b.closed, Some(CloseReason::Done), "{at}");
        let held = relay.ids(records(SOUTH));
        assert!(device.ids(records(SOUTH)).is_subset(&held), "{at}");
        assert_eq!(held.len(), 30, "{at}");
    }
}

#[test]
fn an_acceptor_that_learns_of_it_before_it_answers_says_nothing_of_the_scope() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        mut other,
    } = cast();
    write_many(&mut other, records(SOUTH), 5);
    meet(&mut other, &mut relay);
    let meeting = Meeting::default();
    let (mut a, mut b) = connect(&mut device, &mut relay, meeting);
    programme.narrow(&device.secret, &[NORTH]);
    relay.learn(programme.entries()).unwrap();
    b.feed(1, Input::AuthorityGrown, &mut relay, device.key());
    let digest = relay.store.digest(records(SOUTH)).0;
    let mut said = Vec::new();
    run_with(
        &mut a,
        &mut device,
        &mut b,
        &mut relay,
        meeting,
        &mut |_, bytes| said.extend_from_slice(bytes),
    );
    assert!(!said.windows(16).any(|it| it == digest));
    assert_eq!(b.closed, Some(CloseReason::Done));
}

#[test]
fn an_empty_replica_hands_in_nothing_and_is_told_so() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        ..
    } = cast();
    programme.revoke(&device.secret);
    relay.learn(programme.entries()).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Revoked));
    assert!(outcome.bytes() <= 600, "{} bytes", outcome.bytes());
}

#[test]
fn a_revoked_device_hands_in_and_gets_nothing() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        mut other,
    } = cast();
    write_many(&mut other, records(NORTH), 10);
    meet(&mut other, &mut relay);
    write_many(&mut device, records(NORTH), 400);
    programme.revoke(&device.secret);
    relay.learn(programme.entries()).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Revoked));
    assert_eq!(outcome.acceptor.closed, Some(CloseReason::Revoked));
    assert_eq!(outcome.acceptor.counters().entries_new, 400);
    assert_eq!(outcome.dialler.counters().entries_received, 0);
    assert_eq!(
        device.store.authority_head().height + 1,
        relay.store.authority_head().height,
        "not even the authority's log"
    );
    // A second visit repeats nothing.
    write_many(&mut device, records(NORTH), 2);
    let outcome = meet(&mut device, &mut relay);
    assert_eq!(outcome.acceptor.counters().entries_received, 2);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Revoked));
    assert!(!outcome.dialler.equal);
}

#[test]
fn a_narrowed_device_hands_in_what_it_lost() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        mut other,
    } = cast();
    write_many(&mut device, records(SOUTH), 6);
    write_many(&mut device, records(NORTH), 1);
    write_many(&mut other, records(SOUTH), 5);
    meet(&mut other, &mut relay);
    programme.narrow(&device.secret, &[NORTH]);
    relay.learn(programme.entries()).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Done));
    assert_eq!(outcome.acceptor.counters().entries_new, 7);
    assert_eq!(outcome.dialler.counters().entries_received, 0);
    assert_eq!(relay.ids(records(SOUTH)).len(), 11);
}

#[test]
fn a_member_revoked_while_connected_gets_nothing_more() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        ..
    } = cast();
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    let (mut a, mut b) = connect(&mut device, &mut relay, meeting);
    run(&mut a, &mut device, &mut b, &mut relay, meeting);
    programme.revoke(&device.secret);
    relay.learn(programme.entries()).unwrap();
    b.feed(10, Input::AuthorityGrown, &mut relay, device.key());
    write_many(&mut relay, records(NORTH), 3);
    b.feed(11, Input::Grown, &mut relay, device.key());
    run(&mut a, &mut device, &mut b, &mut relay, meeting);
    assert_eq!(b.closed, Some(CloseReason::Revoked));
    assert_eq!(a.closed, Some(CloseReason::Revoked));
    assert!(device.ids(records(NORTH)).is_empty());
}

#[test]
fn a_revoked_device_that_wants_to_stay_hands_in_and_is_told() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 5);
    programme.revoke(&device.secret);
    relay.learn(programme.entries()).unwrap();
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    // With something to hand in, and with nothing.
    for handed_in in [5, 0] {
        let (mut a, mut b) = connect(&mut device, &mut relay, meeting);
        run(&mut a, &mut device, &mut b, &mut relay, meeting);
        assert_eq!(b.counters().entries_new, handed_in);
        assert_eq!(a.closed, Some(CloseReason::Revoked));
        assert_eq!(b.closed, Some(CloseReason::Revoked));
    }
}
