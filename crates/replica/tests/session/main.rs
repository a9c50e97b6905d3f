//! Whole sessions between two replicas over the real store: what they exchange and what it costs.

mod forks;
mod handing_in;
mod hostile;
mod situations;
mod world;
