//! A table of situations.

use crate::world::*;
use cairn_wire::frame::CloseReason;

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
    println!("10 edits: {} bytes", edits.bytes());
    let again = meet(&mut device, &mut relay);
    assert!(again.bytes() <= 400, "{} bytes", again.bytes());
}
