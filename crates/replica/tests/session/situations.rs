//! A table of situations.

use crate::world::*;
use cairn_replica::Holdings;
use cairn_replica::holdings::PeerLane;
use cairn_replica::session::{Input, Notice, Role};
use cairn_sim::node::receipt_row;
use cairn_sim::programme::device;
use cairn_sim::{Node, Programme};
use cairn_store::{ModelDisk, SideObject, Store};
use cairn_wire::frame::CloseReason;
use cairn_wire::ids::ScopeId;

#[test]
fn a_first_push_and_a_reconnect_with_nothing_changed() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
    let outcome = meet(&mut device, &mut relay);
    assert!(outcome.dialler.equal && outcome.acceptor.equal);
    assert_eq!(outcome.dialler.round_trips_to_equal, 1);
}

#[test]
fn each_side_gets_what_it_lacks_and_no_more() {
    for (at_device, at_relay) in [(0, 40), (40, 0), (30, 20), (1, 200), (300, 1)] {
        let programme = programme();
        let (mut relay, mut device, mut other) = (
            node(&programme, 1),
            node(&programme, 2),
            node(&programme, 3),
        );
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
    let programme = programme();
    let mut relay = node(&programme, 1);
    let (mut a, mut b) = (node(&programme, 2), node(&programme, 3));
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
fn a_new_epoch_voids_cursors_and_costs_a_comparison() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
    let programme = programme();
    let (mut relay, mut device, mut other) = (
        node(&programme, 1),
        node(&programme, 2),
        node(&programme, 3),
    );
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
fn clones_that_both_write_converge_and_strand_nobody() {
    let programme = programme();
    let (mut relay, mut device, mut third) = (
        node(&programme, 1),
        node(&programme, 2),
        node(&programme, 3),
    );
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
        let programme = programme();
        let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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

#[test]
fn a_restored_device_gets_its_own_log_back() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
fn a_revoked_device_hands_in_and_gets_nothing() {
    let mut programme = programme();
    let (mut relay, mut device, mut other) = (
        node(&programme, 1),
        node(&programme, 2),
        node(&programme, 3),
    );
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
    let mut programme = programme();
    let (mut relay, mut device, mut other) = (
        node(&programme, 1),
        node(&programme, 2),
        node(&programme, 3),
    );
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
fn an_unknown_device_is_told_one_word() {
    let mut programme = programme();
    let mut relay = node(&programme, 1);
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
fn bytes_may_be_cut_anywhere_and_channels_come_in_any_order() {
    for seed in 1..=12u64 {
        let programme = programme();
        let (mut relay, mut device, mut other) = (
            node(&programme, 1),
            node(&programme, 2),
            node(&programme, 3),
        );
        write_many(&mut other, records(NORTH), 25);
        write_many(&mut other, urgent(NORTH), 5);
        meet(&mut other, &mut relay);
        write_many(&mut device, records(NORTH), 15);
        write_many(&mut device, urgent(NORTH), 15);
        let meeting = Meeting {
            piece_bytes: (seed * seed % 97 + 1) as usize,
            order_seed: seed,
            salt: seed,
            ..Meeting::default()
        };
        let outcome = meet_as(&mut device, &mut relay, meeting);
        assert!(
            outcome.dialler.equal && outcome.acceptor.equal,
            "seed {seed}"
        );
        assert!(outcome.dialler.error.is_none() && outcome.acceptor.error.is_none());
        assert_same(&device, &relay, records(NORTH));
        assert_same(&device, &relay, urgent(NORTH));
    }
}

#[test]
fn a_lost_connection_resumes_where_it_was_durable() {
    for pieces_max in (1..60).step_by(7) {
        let programme = programme();
        let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
fn more_leaves_than_a_list_holds_go_by_buckets() {
    for (at_device, at_relay) in [(600, 700), (600, 3), (2, 600), (600, 0)] {
        let programme = programme();
        let (mut relay, mut device, mut other) = (
            node(&programme, 1),
            node(&programme, 2),
            node(&programme, 3),
        );
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
fn entries_above_a_gap_pass_too() {
    let programme = programme();
    let (mut relay, mut device, mut other) = (
        node(&programme, 1),
        node(&programme, 2),
        node(&programme, 3),
    );
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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

#[test]
fn a_budget_is_kept_and_what_became_durable_stays() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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

#[test]
fn a_live_session_passes_growth_on_at_once() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 3), node(&programme, 2));
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    let mut a = Side::new(&mut device, Role::Dialler, &relay, meeting);
    let mut b = Side::new(&mut relay, Role::Acceptor, &device, meeting);
    run(&mut a, &mut device, &mut b, &mut relay, meeting);
    assert!(a.equal && b.equal && a.closed.is_none());
    for round in 1..=5 {
        write_many(&mut device, records(NORTH), 2);
        write_many(&mut relay, urgent(SOUTH), 1);
        a.feed(10, Input::Grown, &mut device, relay.key());
        b.feed(10, Input::Grown, &mut relay, device.key());
        run(&mut a, &mut device, &mut b, &mut relay, meeting);
        assert_same(&device, &relay, records(NORTH));
        assert_same(&device, &relay, urgent(SOUTH));
        assert_eq!(a.counters().entries_sent, 2 * round);
        assert_eq!(b.counters().entries_sent, round);
    }
    a.feed(20, Input::Finish, &mut device, relay.key());
    run(&mut a, &mut device, &mut b, &mut relay, meeting);
    assert_eq!(a.closed, Some(CloseReason::Done));
    assert!(meet(&mut device, &mut relay).bytes() <= 400);
}

#[test]
fn a_member_revoked_while_connected_gets_nothing_more() {
    let mut programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    let mut a = Side::new(&mut device, Role::Dialler, &relay, meeting);
    let mut b = Side::new(&mut relay, Role::Acceptor, &device, meeting);
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
    let mut programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
    write_many(&mut device, records(NORTH), 5);
    programme.revoke(&device.secret);
    relay.learn(programme.entries()).unwrap();
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    // With something to hand in, and with nothing.
    for handed_in in [5, 0] {
        let mut a = Side::new(&mut device, Role::Dialler, &relay, meeting);
        let mut b = Side::new(&mut relay, Role::Acceptor, &device, meeting);
        run(&mut a, &mut device, &mut b, &mut relay, meeting);
        assert_eq!(b.counters().entries_new, handed_in);
        assert_eq!(a.closed, Some(CloseReason::Revoked));
        assert_eq!(b.closed, Some(CloseReason::Revoked));
    }
}

#[test]
fn the_authoritys_log_reaches_who_is_behind() {
    let mut programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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

#[test]
fn a_changed_byte_never_makes_a_session_panic() {
    let programme = programme();
    for seed in 0..60u64 {
        let (mut relay, mut device) = (node(&programme, 3), node(&programme, 2));
        write_many(&mut device, records(NORTH), 4);
        write_many(&mut relay, records(NORTH), 4);
        let meeting = Meeting::default();
        let mut a = Side::new(&mut device, Role::Dialler, &relay, meeting);
        let mut b = Side::new(&mut relay, Role::Acceptor, &device, meeting);
        run_with(
            &mut a,
            &mut device,
            &mut b,
            &mut relay,
            meeting,
            &mut |count, bytes| {
                if count == seed % 7 && !bytes.is_empty() {
                    let at = (seed as usize * 31) % bytes.len();
                    bytes[at] ^= 1 << (seed % 8);
                }
            },
        );
    }
}

#[test]
fn grants_reach_their_recipient_once() {
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
    let grant = |recipient: &Node, bytes: &[u8]| SideObject {
        key: [&recipient.key().0[..], bytes].concat(),
        counter: 1,
        bytes: bytes.to_vec(),
    };
    let other = node(&programme, 3);
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
    let programme = programme();
    let (mut relay, mut device) = (node(&programme, 1), node(&programme, 2));
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

#[test]
fn a_session_between_replicas_that_never_rest_ends() {
    let programme = programme();
    let (mut device, mut other) = (node(&programme, 2), node(&programme, 3));
    write_many(&mut device, records(NORTH), 5);
    write_many(&mut other, records(NORTH), 5);
    let meeting = Meeting::default();
    let mut a = Side::new(&mut device, Role::Dialler, &other, meeting);
    let mut b = Side::new(&mut other, Role::Acceptor, &device, meeting);
    // Both write before every exchange, so that no check is ever of now.
    let mut now = 0;
    while a.closed.is_none() {
        now += 100;
        assert!(now < 20_000, "it goes on");
        write_many(&mut device, records(NORTH), 1);
        write_many(&mut other, records(NORTH), 1);
        a.feed(now, Input::Grown, &mut device, other.key());
        b.feed(now, Input::Grown, &mut other, device.key());
        exchange_once(&mut a, &mut device, &mut b, &mut other, now);
    }
    assert_eq!(a.closed, Some(CloseReason::Done));
    assert!(!a.equal);
    assert!(device.ids(records(NORTH)).len() > 50);
    let after = meet(&mut device, &mut other);
    assert!(after.dialler.equal && after.acceptor.equal);
    assert_same(&device, &other, records(NORTH));
}
