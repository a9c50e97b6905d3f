//! The simulator finds each bug that was planted for it.

use cairn_replica::session::Faults;
use cairn_sim::world::Bugs;
use cairn_sim::{Violation, simulate};

/// Seeds within which each must be found.
const SEEDS: u64 = 20;

fn find(bugs: Bugs) -> (u64, Violation) {
    (1..=SEEDS)
        .find_map(|seed| simulate(seed, bugs).err().map(|it| (seed, it)))
        .unwrap_or_else(|| panic!("{bugs:?} was not found in {SEEDS} seeds"))
}

fn session(faults: Faults) -> Bugs {
    Bugs {
        session: faults,
        ..Bugs::default()
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let (seed, violation) = find(session(Faults {
        acknowledge_before_durable: true,
        ..Faults::default()
    }));
    assert!(
        matches!(violation, Violation::Lost { .. }),
        "{seed}: {violation}"
    );
}

#[test]
fn a_cursor_ahead_of_the_data_is_found() {
    let (seed, violation) = find(session(Faults {
        cursor_ahead_of_data: true,
        ..Faults::default()
    }));
    assert!(
        matches!(violation, Violation::Lost { .. }),
        "{seed}: {violation}"
    );
}

#[test]
fn a_number_used_again_after_a_restore_is_found() {
    let (seed, violation) = find(Bugs {
        reuse_numbers: true,
        ..Bugs::default()
    });
    // Seen as a fork, or before that: its peers spare it what it seems to have written itself.
    assert!(
        matches!(violation, Violation::Forked(_) | Violation::Lost { .. }),
        "{seed}: {violation}"
    );
}

#[test]
fn the_echo_rule_in_repair_is_found() {
    let (seed, violation) = find(session(Faults {
        echo_in_comparison: true,
        ..Faults::default()
    }));
    assert!(
        matches!(
            violation,
            Violation::Missing { .. }
                | Violation::Differ(..)
                | Violation::Lost { .. }
                | Violation::NotProven(_)
        ),
        "{seed}: {violation}"
    );
}
