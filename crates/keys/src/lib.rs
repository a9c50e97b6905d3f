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
//! # From founding to reading
//!
//! ```
//! use cairn_keys::*;
//! use cairn_wire::{EntryHeader, EntryId, Incarnation, Lane, LogId, ScopeId};
//!
//! // The authority founds a programme with a scope. (Every secret is random bytes from outside.)
//! let authority = AuthoritySecret::from_bytes(&[1; 32]);
//! let recovery = AuthoritySecret::from_bytes(&[2; 32]);
//! let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[3; 32]);
//! let mut log = AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
//! let north = ScopeKey::new(ScopeId([4; 16]), 1, &[5; 32]);
//! let subject = Subject::Scope(north.scope());
//! let name = SealedName::seal(log.programme(), subject, &programme_key, "north/hazards");
//! let body = Body::ScopeCreated { scope: north.scope(), name, key: north.commitment() };
//! let bytes = log.sign(&authority, &body)?; // make it durable here, then:
//! log.append_verified(&bytes)?;
//!
//! // It makes a device a member and seals the scope's key to it.
//! let team = DeviceSecret::from_bytes(&[6; 64]);
//! let grant = Grant::seal(log.programme(), &north, &team.public(), &[7; 32]).expect("a key");
//! let subject = Subject::Member(team.device());
//! let member = MemberSet {
//!     public: team.public(),
//!     role: Role::Device,
//!     scopes: vec![(north.scope(), Access::Write)],
//!     name: SealedName::seal(log.programme(), subject, &programme_key, "T7 Delta"),
//!     code: None,
//!     grant_set: GrantHash::of_set(&[grant.hash()]),
//! };
//! let bytes = log.sign(&authority, &Body::MemberSet(member))?;
//! log.append_verified(&bytes)?;
//!
//! // The device opens the grant, and seals an entry.
//! let key = grant.open(&team, log.membership())?;
//! let header = EntryHeader {
//!     version: 1,
//!     programme: log.programme(),
//!     log: LogId {
//!         scope: key.scope(),
//!         lane: Lane::Urgent,
//!         device: team.device(),
//!         incarnation: Incarnation([8; 16]),
//!     },
//!     number: 1,
//!     previous: EntryId::NONE,
//!     authority: log.head(),
//!     key_number: 0,    // filled in by sealing
//!     payload_bytes: 0, // filled in by sealing
//! };
//! let entry = seal_entry(&team, &key, &header, b"a batch")?;
//!
//! // Anybody admits it; a member reads it; its word counts.
//! verify_entry(&entry)?;
//! assert_eq!(open_entry(&entry, &key)?.as_slice(), b"a batch");
//! assert!(log.membership().verified(&Position::of(&entry), &|_leaf| false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Encryption at rest
//!
//! It has its place here and is not here yet: passphrase → Argon2id → key-encryption key → store
//! key. Until then [`device::DeviceSecret::to_bytes`] and [`sealing::ScopeKey::to_bytes`] are what
//! a key file holds, and whoever writes that file says plainly that it is not encrypted. Outbox
//! frames name the number of the key that seals them ([`sealing::OutboxHeader`]); number 0
//! ([`sealing::BEFORE_GRANT`]) is the device's own, which the store key will wrap without a change of
//! format.

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
