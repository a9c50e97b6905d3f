//! Cairn under a simulated network, on simulated disks, in virtual time: real sessions over the real
//! store, everything decided by one seed.

pub mod node;
pub mod programme;

pub use node::Node;
pub use programme::Programme;
