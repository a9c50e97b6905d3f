//! Records on real Automerge documents, with changes that people made without knowing of each
//! other.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Figures, and what was skipped.

mod authored;
mod convergence;
mod counting;
mod country;
mod merging;
mod programme;
mod readings;
mod safety;
mod sessions;
mod suggesting;
mod texts;
