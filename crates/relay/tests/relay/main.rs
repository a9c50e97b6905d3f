//! A relay in this process, devices on loopback, ops on its socket.

mod crashing;
mod enrolling;
mod folder;
mod reading;
mod recovering;
mod repairing;
mod restoring;
mod revoking;
mod support;
