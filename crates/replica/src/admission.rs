//! Admission: which entries are stored and forwarded. Asked of every entry that comes from outside,
//! over a connection or on repair.
//!
//! It looks at bytes and at the authority's log only: never at keys, dependencies or rights of now.
//! Where an entry stands in its log is placement ([`crate::logs`]) and never a reason to refuse.

use cairn_keys::Membership;
use cairn_wire::Entry;
use cairn_wire::ids::{ProgrammeId, ScopeId};

/// Why an entry is neither stored nor forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another programme.
    #[error("it belongs to another programme")]
    OtherProgramme,
    /// It claims to stand in the authority's own scope, where no device writes.
    #[error("no device writes in the authority's scope")]
    AuthorityScope,
    /// Its author was at no time a member with its scope, as far as is known here.
    #[error("its author was never a member with this scope")]
    NeverMember,
    /// Its signature is not its author's.
    #[error("its signature is not its author's")]
    Signature,
    /// It came in a scope that this side and the sender do not share.
    #[error("the scope is not shared with the sender")]
    NotShared,
}

/// May the entry be stored and forwarded? (That it is well-formed and not too long, its type says.)
///
/// An entry that is held already was judged before: callers may leave it out, since its id covers
/// every byte.
pub fn admit(
    entry: &Entry,
    programme: &ProgrammeId,
    membership: &Membership,
) -> Result<(), Refusal> {
    let header = entry.header();
    if header.programme != *programme {
        return Err(Refusal::OtherProgramme);
    }
    if header.log.scope == ScopeId::AUTHORITY {
        return Err(Refusal::AuthorityScope);
    }
    if !membership.was_ever_member_of(&header.log.device, &header.log.scope) {
        return Err(Refusal::NeverMember);
    }
    cairn_keys::verify_entry(entry).map_err(|_| Refusal::Signature)
}
