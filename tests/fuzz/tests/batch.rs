//! The corpus of batches, and a fixed number of mutations of it.

use cairn_fuzz::batch::BatchTarget;

/// Written anew with `CAIRN_BLESS=1`.
#[test]
fn batches() {
    if std::env::var_os("CAIRN_BLESS").is_some() {
        cairn_fuzz::write_seeds(&BatchTarget).unwrap();
    }
    let counts = cairn_fuzz::run(&BatchTarget, 2_000);
    assert!(counts.accepted * 20 > counts.mutations, "{counts:?}");
    assert!(counts.accepted < counts.mutations, "{counts:?}");
}
