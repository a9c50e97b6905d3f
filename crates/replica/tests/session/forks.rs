//! One log in two branches: the device's store was copied, and both copies write.

use crate::world::*;
use cairn_keys::Role as MemberRole;
use cairn_replica::Holdings;
use cairn_replica::session::Role;
use cairn_sim::Node;

/// Where a connection is lost says nothing about what became durable before it.
#[test]
fn a_cursor_is_never_ahead_of_a_branch_that_is_on_its_way() {
    let mut whole = false;
    for pieces_max in 0..120 {
        let mut programme = programme();
        programme.enrol(&cairn_sim::programme::device(5), MemberRole::Relay, &[]);
        let (mut relay, mut second, mut device) = (
            node(&programme, 1),
            node(&programme, 5),
            node(&programme, 2),
        );
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
        let mut a = Side::new(&mut device, Role::Dialler, &relay, meeting);
        let mut b = Side::new(&mut relay, Role::Acceptor, &device, meeting);
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
