//! Links that cut bytes anywhere, change one, or stay.

use crate::world::*;
use cairn_replica::session::Input;
use cairn_wire::frame::CloseReason;

#[test]
fn bytes_may_be_cut_anywhere_and_channels_come_in_any_order() {
    for seed in 1..=12u64 {
        let Cast {
            mut relay,
            mut device,
            mut other,
            ..
        } = cast();
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
fn a_live_session_passes_growth_on_at_once() {
    let Cast {
        mut device,
        mut other,
        ..
    } = cast();
    let meeting = Meeting {
        live: true,
        ..Meeting::default()
    };
    let (mut a, mut b) = connect(&mut device, &mut other, meeting);
    run(&mut a, &mut device, &mut b, &mut other, meeting);
    assert!(a.equal && b.equal && a.closed.is_none());
    for round in 1..=5 {
        write_many(&mut device, records(NORTH), 2);
        write_many(&mut other, urgent(SOUTH), 1);
        a.feed(10, Input::Grown, &mut device, other.key());
        b.feed(10, Input::Grown, &mut other, device.key());
        run(&mut a, &mut device, &mut b, &mut other, meeting);
        assert_same(&device, &other, records(NORTH));
        assert_same(&device, &other, urgent(SOUTH));
        assert_eq!(a.counters().entries_sent, 2 * round);
        assert_eq!(b.counters().entries_sent, round);
    }
    a.feed(20, Input::Finish, &mut device, other.key());
    run(&mut a, &mut device, &mut b, &mut other, meeting);
    assert_eq!(a.closed, Some(CloseReason::Done));
    assert!(meet(&mut device, &mut other).bytes() <= 400);
}

#[test]
fn a_changed_byte_never_makes_a_session_panic() {
    for seed in 0..60u64 {
        let Cast {
            mut device,
            mut other,
            ..
        } = cast();
        write_many(&mut device, records(NORTH), 4);
        write_many(&mut other, records(NORTH), 4);
        let meeting = Meeting::default();
        let (mut a, mut b) = connect(&mut device, &mut other, meeting);
        run_with(
            &mut a,
            &mut device,
            &mut b,
            &mut other,
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
fn a_session_between_replicas_that_never_rest_ends() {
    let Cast {
        mut device,
        mut other,
        ..
    } = cast();
    write_many(&mut device, records(NORTH), 5);
    write_many(&mut other, records(NORTH), 5);
    let meeting = Meeting::default();
    let (mut a, mut b) = connect(&mut device, &mut other, meeting);
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
