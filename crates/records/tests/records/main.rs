//! Records on real Automerge documents, with changes that people made without knowing of each
//! other.

mod convergence;
mod country;
mod merging;
mod programme;
mod safety;
mod texts;
