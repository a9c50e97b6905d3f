//! Fuzzing without nightly: each target is a module, run over its committed corpus and over
//! mutations of it, by a seed, so that a failure replays.
//!
//! `cargo test -p cairn-fuzz` runs a fixed number of cases. `CAIRN_FUZZ_S` asks for as many as fit
//! into that many seconds a target, `CAIRN_FUZZ_SEED` for another seed; a soak gives both. An input on which a target fails
//! is written beside the corpus as `failed-…` and runs with it from then on.
//!
//! A new target: a module with a type that implements [`Target`], and a test in `tests/targets.rs`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub mod batch;
pub mod change;
pub mod entry;
pub mod frame;
mod random;
pub mod segment;

pub use random::Random;

/// Something that takes bytes from outside.
pub trait Target {
    /// Its name, and that of its folder of inputs.
    fn name(&self) -> &'static str;

    /// Inputs that reach deep, made by honest code; written to the corpus once.
    fn seeds(&self) -> Vec<(String, Vec<u8>)>;

    /// Takes the input. Panics where a promise is broken. Returns whether the input was accepted.
    fn run(&self, input: &[u8]) -> bool;

    /// Another input, from two.
    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        mutate_bytes(input, other, random)
    }
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Mutations of them.
    pub mutations: u64,
    /// Mutations that the target accepted.
    pub accepted: u64,
}

/// Runs the corpus, then mutations of it.
///
/// # Panics
/// If the target fails on an input, naming the file that the input was written to.
pub fn run(target: &impl Target, cases: u64) -> Counts {
    let until = from_environment("CAIRN_FUZZ_S").map(|s| Instant::now() + Duration::from_secs(s));
    let seed = from_environment("CAIRN_FUZZ_SEED").unwrap_or(1);
    let mut random = Random::new(seed);
    let mut inputs = corpus(target);
    let mut counts = Counts {
        corpus: inputs.len(),
        mutations: 0,
        accepted: 0,
    };
    for input in &inputs {
        guard(target, input);
    }
    while until.map_or(counts.mutations < cases, |until| Instant::now() < until) {
        counts.mutations += 1;
        let input = random.pick(&inputs).to_vec();
        let other = random.pick(&inputs).to_vec();
        let mut mutated = target.mutate(&input, &other, &mut random);
        if random.below(3) == 0 {
            mutated = target.mutate(&mutated, &other, &mut random);
        }
        if guard(target, &mutated) {
            counts.accepted += 1;
            // What was accepted is a starting point for more.
            if mutated != input && inputs.len() < 4 * counts.corpus {
                inputs.push(mutated);
            }
        }
    }
    counts
}

/// Writes a target's seeds into its corpus.
pub fn write_seeds(target: &impl Target) -> std::io::Result<()> {
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    for (name, input) in target.seeds() {
        fs::write(folder.join(name), input)?;
    }
    Ok(())
}

fn folder(target: &impl Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name())
}

fn corpus(target: &impl Target) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("the corpus {} cannot be read: {error}", folder.display()))
        .map(|entry| entry.expect("a name in the corpus").path())
        .collect();
    paths.sort();
    assert!(
        !paths.is_empty(),
        "the corpus {} is empty",
        folder.display()
    );
    paths
        .iter()
        .map(|path| fs::read(path).expect("an input of the corpus"))
        .collect()
}

fn guard(target: &impl Target, input: &[u8]) -> bool {
    match catch_unwind(AssertUnwindSafe(|| target.run(input))) {
        Ok(accepted) => accepted,
        Err(_) => {
            let name = format!("failed-{}", &blake3::hash(input).to_hex()[..16]);
            let path = folder(target).join(name);
            let written = fs::write(&path, input).map(|()| path.display().to_string());
            panic!("{} fails on {written:?}", target.name());
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One small change to bytes: numbers at their limits, pieces moved, cut, doubled, crossed over.
#[must_use]
pub fn mutate_bytes(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let at = random.below(bytes.len() as u64 + 1) as usize;
    let length = random.below(8) as usize + 1;
    let end = (at + length).min(bytes.len());
    match random.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => {
            bytes[at] = *random.pick(&[0, 1, 2, 0x3f, 0x40, 0x7e, 0x7f, 0x80, 0xff])
        }
        2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
        3 if at < bytes.len() => bytes[at] = bytes[at].wrapping_sub(1),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() as u64 + 1) as usize;
            bytes.splice(to..to, piece);
        }
        6 => {
            let piece: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            bytes.splice(at..end, piece);
        }
        7 => {
            let huge: &[&[u8]] = &[
                &[0x80, 0xad, 0xe2, 0x04],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f],
            ];
            bytes.splice(at..end, random.pick(huge).to_vec());
        }
        _ => {
            let from = random.below(other.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
    bytes
}
