//! Whole sessions between two replicas over the real store: what they exchange and what it costs.

mod costs;
mod cursors;
mod forks;
mod handing_in;
mod hostile;
mod links;
mod membership;
mod world;
