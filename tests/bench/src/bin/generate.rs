//! Writes invented areas as GeoJSON, or says how much there is in them.
//!
//! `cargo run -p cairn-bench --bin generate -- sample > crates/exchange/sample/areas.geojson`

use std::io::{self, Write};

use cairn_bench::generate::{SAMPLE_AREAS, SAMPLE_SEED, areas, entropy, write_geojson};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match words.as_slice() {
        ["sample"] => write_geojson(&mut out, areas(SAMPLE_SEED, SAMPLE_AREAS))?,
        ["areas", seed, count] => write_geojson(&mut out, areas(seed.parse()?, count.parse()?))?,
        ["entropy", seed, count] => writeln!(out, "{}", entropy(seed.parse()?, count.parse()?)?)?,
        _ => return Err("usage: generate sample | areas SEED COUNT | entropy SEED COUNT".into()),
    }
    out.flush()?;
    Ok(())
}
