//! What an authority entry can say, and its bytes.

use super::AuthorityKey;
use crate::canonical::{Malformed, Reader};
use crate::device::DevicePublic;
use crate::enrolment::CodeId;
use crate::name::SealedName;
use crate::sealing::KeyCommitment;
use cairn_wire::{
    ChangeHash, DeviceKey, DocumentId, EntryId, Incarnation, Lane, LogId, ScopeId, limits,
};
use std::fmt;
use std::str::FromStr;

/// What a member may do in a scope, from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Access {
    /// Read. Written `r`.
    Read = 1,
    /// Read and write. Written `rw`. Includes deciding where [`Body::RightsPolicy`] says so.
    Write = 2,
    /// Read, write and decide. Written `rw+decide`.
    Decide = 3,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// A survey team's phone, tablet or laptop.
    Device = 1,
    /// Reads only.
    Viewer = 2,
    /// Looks after sync with the command line.
    Ops = 3,
    /// A relay with an upstream relay.
    Hub = 4,
    /// The coordination centre's member replica.
    Centre = 5,
    /// A relay.
    Relay = 6,
}

/// A text that names no role or access.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}, got {got:?}")]
pub struct ParseWordError {
    /// The words there are.
    pub expected: &'static str,
    /// What was given (cut to 80 characters).
    pub got: String,
}

/// The end of a log of some device, as an authority entry names it: that entry and all that its
/// previous hashes reach are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    /// Scope of the log.
    pub scope: ScopeId,
    /// Lane of the log.
    pub lane: Lane,
    /// Incarnation of the log.
    pub incarnation: Incarnation,
    /// Number of the entry.
    pub number: u64,
    /// Its id.
    pub id: EntryId,
}

/// A member is made, or one that is there gets more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSet {
    /// Its keys.
    pub public: DevicePublic,
    /// What it is.
    pub role: Role,
    /// What it may do; joined with what it may already (the greater access counts).
    pub scopes: Vec<(ScopeId, Access)>,
    /// Its name, sealed under the programme key.
    pub name: SealedName,
    /// The joining code that it used.
    pub code: Option<CodeId>,
    /// [`crate::GrantHash::of_set`] of the grants that were sealed to it with this entry.
    pub grant_set: [u8; 32],
}

/// What an authority entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Entry 0: the programme begins.
    Founded {
        /// Signs all that follows.
        authority: AuthorityKey,
        /// Kept offline; the only one that may replace the authority.
        recovery: AuthorityKey,
        /// Programme key number 1.
        programme_key: KeyCommitment,
    },
    /// A scope is there. Said again of one that is there, it only renames it.
    ScopeCreated {
        /// Its id.
        scope: ScopeId,
        /// Its name, sealed under the programme key.
        name: SealedName,
        /// Its key number 1.
        key: KeyCommitment,
    },
    /// A scope (or the programme: [`ScopeId::AUTHORITY`]) has one more key.
    ScopeKeyRotated {
        /// The scope.
        scope: ScopeId,
        /// Number of the key. The first entry that names a number holds.
        number: u32,
        /// The key.
        key: KeyCommitment,
    },
    /// A member is made or widened.
    MemberSet(MemberSet),
    /// A member is none any more. Of its entries only those reached from the named leaves are
    /// verified.
    Revoked {
        /// The member.
        device: DeviceKey,
        /// Up to where its logs are accepted.
        leaves: Vec<Leaf>,
        /// Why, sealed under the programme key.
        reason: SealedName,
    },
    /// A member may do less. Where it loses the right to write, its entries beyond the leaves are
    /// unverified; where it loses the right to decide, its decisions beyond them do not count.
    Narrowed {
        /// The member.
        device: DeviceKey,
        /// What it may still do; never more than before.
        scopes: Vec<(ScopeId, Access)>,
        /// Up to where its logs are accepted.
        leaves: Vec<Leaf>,
    },
    /// What came in after a cut is accepted after all, decisions included.
    LeavesAccepted {
        /// Whose logs.
        device: DeviceKey,
        /// Up to where.
        leaves: Vec<Leaf>,
    },
    /// Whether [`Access::Write`] includes deciding, for roles device and ops. It does from the
    /// start. Withdrawing it cuts like [`Body::Narrowed`].
    RightsPolicy {
        /// Whether it does.
        rw_includes_decide: bool,
        /// Up to where whose decisions are accepted, when it is withdrawn.
        leaves: Vec<(DeviceKey, Leaf)>,
    },
    /// A document of which the programme has one, such as its codebook. The first entry holds.
    SingletonFixed {
        /// Its scope.
        scope: ScopeId,
        /// Its id.
        document: DocumentId,
        /// Its root change.
        root: ChangeHash,
    },
    /// Another key signs from the next entry on. Signed by the recovery key.
    AuthorityReplaced {
        /// The new authority.
        key: AuthorityKey,
    },
    /// A kind that this version does not know: kept, passed on, without effect.
    Unknown {
        /// The kind.
        kind: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl Leaf {
    /// The log that it ends, given its author.
    #[must_use]
    pub fn log(&self, device: DeviceKey) -> LogId {
        LogId {
            scope: self.scope,
            lane: self.lane,
            device,
            incarnation: self.incarnation,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.scope.0);
        out.push(self.lane.as_byte());
        out.extend_from_slice(&self.incarnation.0);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.id.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let leaf = Self {
            scope: ScopeId(reader.array()?),
            lane: Lane::from_byte(reader.u8()?).ok_or(Malformed::Field("lane"))?,
            incarnation: Incarnation(reader.array()?),
            number: reader.u64()?,
            id: EntryId(reader.array()?),
        };
        if leaf.number == 0 {
            return Err(Malformed::Field("leaf number"));
        }
        Ok(leaf)
    }
}

const FOUNDED: u8 = 1;
const SCOPE_CREATED: u8 = 2;
const SCOPE_KEY_ROTATED: u8 = 3;
const MEMBER_SET: u8 = 4;
const REVOKED: u8 = 5;
const NARROWED: u8 = 6;
const LEAVES_ACCEPTED: u8 = 7;
const RIGHTS_POLICY: u8 = 8;
const SINGLETON_FIXED: u8 = 9;
const AUTHORITY_REPLACED: u8 = 10;

impl Body {
    /// Appends kind and body. Lists are put in order and freed of doubles, so that one meaning has
    /// one form.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Founded {
                authority,
                recovery,
                programme_key,
            } => {
                out.push(FOUNDED);
                out.extend_from_slice(&authority.0);
                out.extend_from_slice(&recovery.0);
                out.extend_from_slice(&programme_key.0);
            }
            Self::ScopeCreated { scope, name, key } => {
                out.push(SCOPE_CREATED);
                out.extend_from_slice(&scope.0);
                name.put(out);
                out.extend_from_slice(&key.0);
            }
            Self::ScopeKeyRotated { scope, number, key } => {
                out.push(SCOPE_KEY_ROTATED);
                out.extend_from_slice(&scope.0);
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&key.0);
            }
            Self::MemberSet(member) => {
                out.push(MEMBER_SET);
                member.put(out);
            }
            Self::Revoked {
                device,
                leaves,
                reason,
            } => {
                out.push(REVOKED);
                out.extend_from_slice(&device.0);
                put_list(out, leaves, |leaf, out| leaf.put(out));
                reason.put(out);
            }
            Self::Narrowed {
                device,
                scopes,
                leaves,
            } => {
                out.push(NARROWED);
                out.extend_from_slice(&device.0);
                put_scopes(out, scopes);
                put_list(out, leaves, |leaf, out| leaf.put(out));
            }
            Self::LeavesAccepted { device, leaves } => {
                out.push(LEAVES_ACCEPTED);
                out.extend_from_slice(&device.0);
                put_list(out, leaves, |leaf, out| leaf.put(out));
            }
            Self::RightsPolicy {
                rw_includes_decide,
                leaves,
            } => {
                out.push(RIGHTS_POLICY);
                out.push(u8::from(*rw_includes_decide));
                put_list(out, leaves, |(device, leaf), out| {
                    out.extend_from_slice(&device.0);
                    leaf.put(out);
                });
            }
            Self::SingletonFixed {
                scope,
                document,
                root,
            } => {
                out.push(SINGLETON_FIXED);
                out.extend_from_slice(&scope.0);
                out.extend_from_slice(&document.0);
                out.extend_from_slice(&root.0);
            }
            Self::AuthorityReplaced { key } => {
                out.push(AUTHORITY_REPLACED);
                out.extend_from_slice(&key.0);
            }
            Self::Unknown { kind, bytes } => {
                out.push(*kind);
                out.extend_from_slice(bytes);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0 => return Err(Malformed::Field("kind")),
            FOUNDED => Self::Founded {
                authority: AuthorityKey(reader.array()?),
                recovery: AuthorityKey(reader.array()?),
                programme_key: KeyCommitment(reader.array()?),
            },
            SCOPE_CREATED => Self::ScopeCreated {
                scope: ScopeId(reader.array()?),
                name: SealedName::read(reader, limits::NAME_BYTES_MAX)?,
                key: KeyCommitment(reader.array()?),
            },
            SCOPE_KEY_ROTATED => Self::ScopeKeyRotated {
                scope: ScopeId(reader.array()?),
                number: reader.u32()?,
                key: KeyCommitment(reader.array()?),
            },
            MEMBER_SET => Self::MemberSet(MemberSet::read(reader)?),
            REVOKED => Self::Revoked {
                device: DeviceKey(reader.array()?),
                leaves: read_list(reader, "leaves", Leaf::read)?,
                reason: SealedName::read(reader, limits::REVOCATION_REASON_BYTES_MAX)?,
            },
            NARROWED => Self::Narrowed {
                device: DeviceKey(reader.array()?),
                scopes: read_scopes(reader)?,
                leaves: read_list(reader, "leaves", Leaf::read)?,
            },
            LEAVES_ACCEPTED => Self::LeavesAccepted {
                device: DeviceKey(reader.array()?),
                leaves: read_list(reader, "leaves", Leaf::read)?,
            },
            RIGHTS_POLICY => Self::RightsPolicy {
                rw_includes_decide: reader.flag("policy")?,
                leaves: read_list(reader, "leaves", |reader| {
                    Ok((DeviceKey(reader.array()?), Leaf::read(reader)?))
                })?,
            },
            SINGLETON_FIXED => Self::SingletonFixed {
                scope: ScopeId(reader.array()?),
                document: DocumentId(reader.array()?),
                root: ChangeHash(reader.array()?),
            },
            AUTHORITY_REPLACED => Self::AuthorityReplaced {
                key: AuthorityKey(reader.array()?),
            },
            kind => Self::Unknown {
                kind,
                bytes: reader.rest().to_vec(),
            },
        })
    }
}

impl MemberSet {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.public.device.0);
        out.extend_from_slice(&self.public.x25519);
        out.push(self.role as u8);
        put_scopes(out, &self.scopes);
        self.name.put(out);
        match &self.code {
            None => out.push(0),
            Some(code) => {
                out.push(1);
                out.extend_from_slice(&code.0);
            }
        }
        out.extend_from_slice(&self.grant_set);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            public: DevicePublic {
                device: DeviceKey(reader.array()?),
                x25519: reader.array()?,
            },
            role: Role::read(reader)?,
            scopes: read_scopes(reader)?,
            name: SealedName::read(reader, limits::NAME_BYTES_MAX)?,
            code: match reader.flag("code")? {
                false => None,
                true => Some(CodeId(reader.array()?)),
            },
            grant_set: reader.array()?,
        })
    }
}

impl Access {
    /// Every access, from little to much.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Decide];

    /// How it is written: `r`, `rw`, `rw+decide`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "rw",
            Self::Decide => "rw+decide",
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let byte = reader.u8()?;
        Self::ALL
            .into_iter()
            .find(|access| *access as u8 == byte)
            .ok_or(Malformed::Field("access"))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Access {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, ParseWordError> {
        Self::ALL
            .into_iter()
            .find(|access| access.as_str() == text)
            .ok_or_else(|| unknown_word("r, rw, rw+decide", text))
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Device,
        Self::Viewer,
        Self::Ops,
        Self::Hub,
        Self::Centre,
        Self::Relay,
    ];

    /// How it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Viewer => "viewer",
            Self::Ops => "ops",
            Self::Hub => "hub",
            Self::Centre => "centre",
            Self::Relay => "relay",
        }
    }

    /// Whether a member of this role with that access may decide, `rw_includes_decide` being the
    /// programme's policy.
    #[must_use]
    pub const fn may_decide(self, access: Access, rw_includes_decide: bool) -> bool {
        match (self, access) {
            (Self::Viewer | Self::Hub | Self::Relay, _) | (_, Access::Read) => false,
            (_, Access::Decide) => true,
            (Self::Device | Self::Ops, Access::Write) => rw_includes_decide,
            (Self::Centre, Access::Write) => false,
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let byte = reader.u8()?;
        Self::ALL
            .into_iter()
            .find(|role| *role as u8 == byte)
            .ok_or(Malformed::Field("role"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, ParseWordError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| unknown_word("device, viewer, ops, hub, centre, relay", text))
    }
}

fn unknown_word(expected: &'static str, text: &str) -> ParseWordError {
    ParseWordError {
        expected,
        got: text.chars().take(80).collect(),
    }
}

/// Appends scopes with their access, in order; of a scope that is named twice the greater access.
pub(crate) fn put_scopes(out: &mut Vec<u8>, scopes: &[(ScopeId, Access)]) {
    let joined: std::collections::BTreeMap<ScopeId, Access> =
        scopes
            .iter()
            .fold(Default::default(), |mut joined, (scope, access)| {
                let held = joined.entry(*scope).or_insert(*access);
                *held = (*held).max(*access);
                joined
            });
    out.extend_from_slice(&count(joined.len()));
    for (scope, access) in joined {
        out.extend_from_slice(&scope.0);
        out.push(access as u8);
    }
}

pub(crate) fn read_scopes(reader: &mut Reader<'_>) -> Result<Vec<(ScopeId, Access)>, Malformed> {
    let scopes = read_list(reader, "scopes", |reader| {
        Ok((ScopeId(reader.array()?), Access::read(reader)?))
    })?;
    let doubled = scopes.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if doubled || scopes.len() > limits::MEMBER_SCOPES_MAX {
        return Err(Malformed::Field("scopes"));
    }
    Ok(scopes)
}

fn put_list<T: Ord + Copy>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&T, &mut Vec<u8>)) {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    out.extend_from_slice(&count(items.len()));
    for item in &items {
        put(item, out);
    }
}

/// A list that is in order and free of doubles.
fn read_list<T: Ord>(
    reader: &mut Reader<'_>,
    field: &'static str,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    // Grows as items are read: what a count claims is not allocated.
    let mut items = Vec::new();
    for _ in 0..reader.u16()? {
        let item = read(reader)?;
        if items.last().is_some_and(|last| *last >= item) {
            return Err(Malformed::Field(field));
        }
        items.push(item);
    }
    Ok(items)
}

/// A list too long for its count makes an entry over its limit, which is refused when signing.
fn count(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}
