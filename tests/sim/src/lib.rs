//! Cairn under a simulated network, on simulated disks, in virtual time: real sessions over the real
//! store, everything decided by one seed.

pub mod dice;
pub mod ledger;
pub mod node;
pub mod programme;
pub mod surviving_index;
pub mod world;

pub use node::Node;
pub use programme::Programme;
pub use world::{Report, Violation, simulate};
