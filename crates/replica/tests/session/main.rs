//! Whole sessions between two replicas over the real store: what they exchange and what it costs.

mod situations;
mod world;
