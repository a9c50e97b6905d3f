//! One log in two branches: the device's store was copied, and both copies write.

use crate::world::*;
use cairn_replica::Holdings;
use cairn_sim::Node;
use cairn_store::Store;

/// Where a connection is lost says nothing about what became durable before it.
#[test]
fn a_cursor_is_never_ahead_of_a_branch_that_is_on_its_way() {
    let mut whole = false;
    for pieces_max in 0..120 {
        let mut cast = cast();
        let mut second = second_relay(&mut cast);
        let Cast {
            mut relay,
            mut device,
            ..
        } = cast;
        write_many(&mut device, records(NORTH), 3);
        let mut copy = Node::open(device.secret.clone(), device.store.disk().copy(), 78).unwrap();
        for at in 0..3 {
            copy.write(records(NORTH), format!("copy {at}").as_bytes())
                .unwrap();
        }
        meet(&mut copy, &mut relay);
        // The relay's leaf is the lower one: only the device sees that the branches part.
        write_many(&mut device, records(NORTH), 8);
        // Nothing goes unasked.
        meet(&mut device, &mut second);
        let meeting = Meeting {
            pieces_max,
            // The list arrives before the probe behind it.
            piece_bytes: 60,
            ..Meeting::default()
        };
        let (mut a, mut b) = connect(&mut device, &mut relay, meeting);
        run(&mut a, &mut device, &mut b, &mut relay, meeting);
        let record = device.store.peer(&relay.key()).unwrap();
        let cursor = record.lanes.get(&records(NORTH)).map(|it| it.cursor);
        let held = device.ids(records(NORTH));
        for item in relay
            .store
            .journal(records(NORTH), 0, usize::MAX)
            .unwrap()
            .iter()
            .take(cursor.unwrap_or_default().position as usize)
        {
            assert!(held.contains(&item.entry.id()), "after {pieces_max} pieces");
        }
        whole = a.equal && b.equal;
    }
    assert!(whole);
}

#[test]
fn clones_that_both_write_converge_and_strand_nobody() {
    let Cast {
        mut relay,
        mut device,
        other: mut third,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 9);
    meet(&mut device, &mut relay);
    let disk = device.store.disk().copy();
    let mut clone = Node::open(device.secret.clone(), disk, 77).unwrap();
    assert_eq!(clone.store.incarnation(), device.store.incarnation());
    write_many(&mut device, records(NORTH), 4);
    for at in 0..7 {
        clone
            .write(records(NORTH), format!("clone {at}").as_bytes())
            .unwrap();
    }
    meet(&mut device, &mut relay);
    meet(&mut third, &mut relay);
    write_many(&mut third, records(NORTH), 2);
    for _ in 0..3 {
        for node in [&mut clone, &mut device, &mut third] {
            let outcome = meet(node, &mut relay);
            assert!(outcome.dialler.error.is_none() && outcome.acceptor.error.is_none());
        }
    }
    for node in [&clone, &device, &third] {
        assert_same(node, &relay, records(NORTH));
    }
    assert_eq!(relay.ids(records(NORTH)).len(), 9 + 4 + 7 + 2);
    assert_eq!(relay.store.forked_logs(records(NORTH)).len(), 1);
    assert!(meet(&mut third, &mut relay).bytes() <= 400);
}

#[test]
fn deep_forks_meet_at_their_common_entry() {
    for (common, left, right) in [(100, 1, 1), (1, 60, 3), (0, 5, 5), (70, 2, 300), (3, 1, 0)] {
        let Cast {
            mut relay,
            mut device,
            ..
        } = cast();
        write_many(&mut device, records(NORTH), common);
        let mut clone = Node::open(device.secret.clone(), device.store.disk().copy(), 78).unwrap();
        if common > 0 {
            meet(&mut device, &mut relay);
        }
        write_many(&mut device, records(NORTH), left);
        for at in 0..right {
            clone
                .write(records(NORTH), format!("clone {at}").as_bytes())
                .unwrap();
        }
        meet(&mut clone, &mut relay);
        let outcome = meet(&mut device, &mut relay);
        assert!(
            outcome.dialler.equal,
            "{common} {left} {right}: {:?}",
            outcome.dialler.notices
        );
        assert_same(&device, &relay, records(NORTH));
        assert_eq!(relay.ids(records(NORTH)).len(), common + left + right);
        // Above the common entry only; probes name every second power below the fork.
        let sent = outcome.dialler.counters().entries_sent as usize;
        let received = outcome.dialler.counters().entries_received as usize;
        assert!(sent <= 2 * left + 1, "{common} {left} {right}: {sent} sent");
        assert!(
            received <= 2 * right + 1,
            "{common} {left} {right}: {received} received"
        );
    }
}
