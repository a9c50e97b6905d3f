//! Who may read, who wrote, and who says so: every secret and every signature of Cairn.
//!
//! | module | what it answers |
//! | --- | --- |
//! | [`device`] | who wrote this entry: a device's keys, signing and verifying |
//! | [`sealing`] | who can read it: scope keys, sealed payloads, sealed outbox frames, the keyring |
//! | [`grant`] | how a member comes by a scope key |
//! | [`authority`] | what the programme's authority has signed: a log that everybody carries |
//! | [`membership`] | what that log means: members, rights, revocations, trust |
//! | [`name`] | names of scopes and members, readable to members only |
//! | [`enrolment`] | how a device becomes a member: codes and requests |
//!
//! This crate does no I/O, reads no clock and draws no random number: all three come in as
//! arguments. Everything it signs, hashes or archives has one canonical encoding, written by hand;
//! `proto/membership.md` is the normative text and `proto/vectors/keys.json` its golden bytes.
//! Nothing here panics on bytes from outside, and no `Debug` or error shows a secret.
//!
//! # Encryption at rest
//!
//! It has its place here and is not here yet: passphrase → Argon2id → key-encryption key → store
//! key. Until then [`device::DeviceSecret::to_bytes`] and [`sealing::ScopeKey::to_bytes`] are what
//! a key file holds, and whoever writes that file says plainly that it is not encrypted. Outbox
//! frames name the number of the key that seals them ([`sealing::OutboxHeader`]), so frames under
//! the store key will take numbers of their own without a change of format.

mod canonical;

pub mod authority;
pub mod device;
pub mod enrolment;
pub mod grant;
pub mod membership;
pub mod name;
pub mod sealing;

pub use authority::{
    Access, Appended, AuthorityEntryId, AuthorityError, AuthorityKey, AuthorityLog,
    AuthoritySecret, Body, Leaf, MemberSet, NO_AUTHORITY, Role, SignError,
};
pub use canonical::Malformed;
pub use device::{DevicePublic, DeviceSecret, Domain, seal_entry, verify_entry};
pub use enrolment::{Code, CodeId, CodeSecret, IssuedCode, Request};
pub use grant::{Grant, GrantError, GrantHash};
pub use membership::{Member, Membership, Position, Standing};
pub use name::{SealedName, Subject};
pub use sealing::{KeyCommitment, Keyring, SEAL_OVERHEAD_BYTES, ScopeKey, open_entry};
