//! The corpus of changes, and a fixed number of mutations of it.

use cairn_fuzz::change::ChangeTarget;

/// Written anew with `CAIRN_BLESS=1`.
#[test]
fn changes() {
    let target = ChangeTarget::default();
    if std::env::var_os("CAIRN_BLESS").is_some() {
        cairn_fuzz::write_seeds(&target).unwrap();
    }
    let counts = cairn_fuzz::run(&target, 3_000);
    // Mutations that never pass would show nothing about what happens behind the pre-flight.
    assert!(counts.accepted * 50 > counts.mutations, "{counts:?}");
    assert!(counts.accepted < counts.mutations, "{counts:?}");
}
