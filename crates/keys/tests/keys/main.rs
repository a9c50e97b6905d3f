//! What keys, grants, the authority's log and joining codes promise, from outside the crate.

mod authority_log;
mod enrolment;
mod golden;
mod hostile;
mod programme;
mod sealing;
mod trust;
