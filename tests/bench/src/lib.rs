//! What the benches measure with.

pub mod generate;
