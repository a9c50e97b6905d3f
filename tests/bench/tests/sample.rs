//! The generator gives today what it gave when the sample was committed.

use std::collections::BTreeSet;

use cairn_bench::generate::{CORNERS, SAMPLE_AREAS, SAMPLE_SEED, areas, entropy, write_geojson};

#[test]
fn the_committed_sample_is_made_again_byte_for_byte() {
    let mut made = Vec::new();
    write_geojson(&mut made, areas(SAMPLE_SEED, SAMPLE_AREAS)).unwrap();
    assert_eq!(SAMPLE_AREAS, cairn_exchange::SAMPLE_AREAS);
    assert!(
        made == cairn_exchange::SAMPLE_GEOJSON,
        "run: cargo run -p cairn-bench --bin generate -- sample > crates/exchange/sample/areas.geojson"
    );
}

#[test]
fn areas_are_different_simple_and_in_the_open_sea() {
    let mut rings = BTreeSet::new();
    for area in areas(7, 500) {
        let shape = area.shape().unwrap();
        assert!(!shape.crosses_itself());
        assert_eq!(area.ring.len(), CORNERS);
        for (lat, lon) in &area.ring {
            assert!(
                (-490_000_000..-440_000_000).contains(lat),
                "latitude off Point Nemo"
            );
            assert!(
                (-1_240_000_000..-1_210_000_000).contains(lon),
                "longitude off Point Nemo"
            );
        }
        assert!(rings.insert(area.ring));
    }
}

#[test]
fn a_longer_series_begins_with_the_shorter() {
    let long: Vec<_> = areas(3, 20).take(5).collect();
    let short: Vec<_> = areas(3, 5).collect();
    assert_eq!(long, short);
    assert_ne!(short, areas(4, 5).collect::<Vec<_>>());
}

#[test]
fn areas_hold_as_much_as_is_said() {
    let entropy = entropy(1, 1000).unwrap();
    let each = entropy.zstd_bytes / entropy.areas;
    assert!((90..180).contains(&each), "{entropy}");
    assert!(
        entropy.corners_zstd_bytes / entropy.areas >= 50,
        "{entropy}"
    );
}
