//! Who may have what: members, strangers, the authority's log, grants and receipts.

use crate::world::*;
use cairn_replica::Holdings;
use cairn_sim::node::receipt_row;
use cairn_sim::programme::device;
use cairn_sim::{Node, Programme};
use cairn_store::{ModelDisk, SideObject, Store};
use cairn_wire::frame::CloseReason;
use cairn_wire::ids::ScopeId;

#[test]
fn an_unknown_device_is_told_one_word() {
    let Cast {
        mut programme,
        mut relay,
        ..
    } = cast();
    let stranger = device(9);
    programme.enrol(&stranger, cairn_keys::Role::Device, &[NORTH]);
    let mut newcomer = node(&programme, 9);
    write_many(&mut newcomer, records(NORTH), 4);
    // It knows more of the authority's log than the relay does, which learns it first.
    let outcome = meet(&mut newcomer, &mut relay);
    assert!(
        outcome.dialler.equal && outcome.acceptor.equal,
        "{:?}",
        outcome.acceptor.error
    );
    assert_eq!(relay.ids(records(NORTH)).len(), 4);

    let mut nobody = Node::open(device(10), cairn_store::ModelDisk::new(), 5).unwrap();
    nobody.learn(programme.entries()).unwrap();
    write_many(&mut relay, records(NORTH), 1);
    let outcome = meet(&mut nobody, &mut relay);
    assert_eq!(outcome.dialler.closed, Some(CloseReason::Unknown));
    assert_eq!(outcome.acceptor.closed, Some(CloseReason::Unknown));
    assert!(nobody.ids(records(NORTH)).is_empty());
}

#[test]
fn in_the_valley_only_common_scopes_pass() {
    let mut programme = Programme::new(&[NORTH, SOUTH]);
    programme.enrol(&device(2), cairn_keys::Role::Device, &[NORTH]);
    let old_entries = programme.entries().len();
    programme.enrol(&device(3), cairn_keys::Role::Device, &[NORTH, SOUTH]);
    let mut a = Node::open(device(2), cairn_store::ModelDisk::new(), 11).unwrap();
    a.learn(&programme.entries()[..old_entries]).unwrap();
    let mut b = node(&programme, 3);
    write_many(&mut a, records(NORTH), 7);
    write_many(&mut b, records(NORTH), 5);
    write_many(&mut b, urgent(SOUTH), 6);
    // a has never heard of b: it learns from b that b is a member.
    let outcome = meet(&mut a, &mut b);
    assert!(
        outcome.dialler.equal && outcome.acceptor.equal,
        "{:?}",
        outcome.dialler.closed
    );
    assert_same(&a, &b, records(NORTH));
    assert_eq!(a.ids(records(NORTH)).len(), 12);
    assert!(a.ids(urgent(SOUTH)).is_empty());
    assert_eq!(a.store.authority_head(), b.store.authority_head());
    write_many(&mut a, records(NORTH), 1);
    assert!(meet(&mut b, &mut a).dialler.equal);
    assert!(meet(&mut b, &mut a).bytes() <= 400);
}

#[test]
fn the_authoritys_log_reaches_who_is_behind() {
    let Cast {
        mut programme,
        mut relay,
        mut device,
        ..
    } = cast();
    programme.enrol(
        &cairn_sim::programme::device(5),
        cairn_keys::Role::Device,
        &[NORTH],
    );
    relay.learn(programme.entries()).unwrap();
    let mut other = node(&programme, 5);
    write_many(&mut other, records(NORTH), 3);
    meet(&mut other, &mut relay);
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.counters().entries_refused, 0);
    assert_eq!(device.ids(records(NORTH)).len(), 3);
    assert_eq!(device.store.authority_head(), relay.store.authority_head());
}

/// A replica that lost part of the log has what stands before the hole, and nothing where entry 0 is lost.
#[test]
fn a_hole_anywhere_in_the_authoritys_log_is_filled_in_one_session() {
    let Cast {
        programme,
        mut relay,
        mut other,
        ..
    } = cast();
    write_many(&mut other, records(NORTH), 2);
    meet(&mut other, &mut relay);
    let entries = programme.entries();
    for (held, dials) in (0..entries.len()).flat_map(|held| [(held, true), (held, false)]) {
        let mut damaged = Node::open(device(2), ModelDisk::new(), 9 + held as u64).unwrap();
        damaged.store.set_programme(programme.id()).unwrap();
        damaged.learn(&entries[..held]).unwrap();
        let unsent = write_many(&mut damaged, records(NORTH), 3);
        let outcome = match dials {
            true => meet(&mut damaged, &mut relay),
            false => meet(&mut relay, &mut damaged),
        };
        let what = format!("{held} held, dials: {dials}");
        for side in [&outcome.dialler, &outcome.acceptor] {
            assert!(
                side.equal && side.error.is_none(),
                "{what}: {:?}",
                side.error
            );
            assert!(side.notices.is_empty(), "{what}: {:?}", side.notices);
        }
        assert_eq!(damaged.store.authority_head(), relay.store.authority_head());
        let at_relay = relay.ids(records(NORTH));
        assert!(unsent.iter().all(|id| at_relay.contains(id)), "{what}");
        assert_same(&damaged, &relay, records(NORTH));
    }
}

#[test]
fn grants_reach_their_recipient_once() {
    let Cast {
        mut relay,
        mut device,
        other,
        ..
    } = cast();
    let grant = |recipient: &Node, bytes: &[u8]| SideObject {
        key: [&recipient.key().0[..], bytes].concat(),
        counter: 1,
        bytes: bytes.to_vec(),
    };
    let grants = vec![
        grant(&device, b"a key"),
        grant(&device, b"another key"),
        grant(&other, b"a key for somebody else"),
    ];
    relay.store.put_grants(grants).unwrap();
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    let held = device.store.grants_for(&device.key()).unwrap();
    assert_eq!(held.len(), 2);
    assert!(device.store.grants_for(&other.key()).unwrap().is_empty());
    let again = meet(&mut device, &mut relay);
    assert!(again.bytes() <= 400, "{} bytes", again.bytes());
}

#[test]
fn one_moved_receipt_costs_one_row_and_other_scopes_rows_stay() {
    let Cast {
        programme,
        mut relay,
        mut device,
        ..
    } = cast();
    let receipt = |scope: ScopeId, log: u8, counter: u64| {
        let mut bytes = [&[9; 32][..], &scope.0, &[log; 8], &counter.to_be_bytes()].concat();
        bytes.resize(291, log);
        receipt_row(bytes).unwrap()
    };
    let elsewhere = ScopeId([0x70; 16]);
    let rows = (1..=40).map(|log| receipt(NORTH, log, 1));
    relay.store.put_receipts(rows.collect()).unwrap();
    let foreign = vec![receipt(elsewhere, 1, 1)];
    relay.store.put_receipts(foreign).unwrap();
    write_many(&mut device, records(NORTH), 3);
    meet(&mut device, &mut relay);
    assert_eq!(device.store.receipts().unwrap().len(), 40);
    let idle = meet(&mut device, &mut relay).bytes();
    assert!(idle <= 400, "{idle} bytes");
    for round in 2..6 {
        let moved = vec![receipt(NORTH, 7, round)];
        relay.store.put_receipts(moved.clone()).unwrap();
        let met = meet(&mut device, &mut relay).bytes();
        assert!(met <= idle + 400, "round {round}: {met} bytes after {idle}");
        let held = device.store.receipts().unwrap();
        assert_eq!(held.len(), 40);
        assert!(held.contains(&moved[0].bytes));
    }
    assert_eq!(meet(&mut device, &mut relay).bytes(), idle);

    // A peer that lost them without knowing is given all once more, and a second relay too.
    let mut fresh = node(&programme, 2);
    meet(&mut fresh, &mut relay);
    assert_eq!(fresh.store.receipts().unwrap().len(), 40);
    let mut hub = Node::open(cairn_sim::programme::device(1), ModelDisk::new(), 77).unwrap();
    hub.learn(programme.entries()).unwrap();
    meet(&mut device, &mut hub);
    assert_eq!(hub.store.receipts().unwrap().len(), 40);
}
