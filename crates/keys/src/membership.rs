//! What the authority's log means: who is a member, with which rights, and whose word counts.
//!
//! Three questions, never mixed:
//!
//! * *admission* asks [`Membership::was_ever_member_of`]: what is stored and passed on;
//! * *serving* asks [`Membership::standing`] and [`Membership::scopes_now`]: who gets what;
//! * *trust* asks [`Membership::verified`] and [`Membership::entitled_to_decide`]: how a value
//!   reads, and nothing else.
//!
//! # Cuts
//!
//! An authority entry that takes something away is a *cut* at its height: a revocation takes
//! everything; a narrowing, a change of role or of the programme's policy takes the right to write
//! or to decide in some scopes. It names leaves up to which the author's logs are accepted. An
//! entry *passes* a cut if it is, or is reached by previous hashes from, a leaf that counts there:
//! one that the cut itself names, one that a later [`Body::LeavesAccepted`] names, or, for a
//! revocation, one that a later revocation of the same device names.
//!
//! * An entry is **verified** if its author was allowed to write in its scope at some time and it
//!   passes every cut of that right; cuts at or below the authority entry that its header names
//!   are left out if that entry is held and the author was allowed to write there and then: such an
//!   entry was provably made after them. (A header naming an entry that is not held vouches for
//!   nothing.)
//! * A decision **counts** if the authority entry that its header names is held, its author was
//!   entitled there and then, and it passes every later cut of that right. Later grants revive
//!   nothing.
//!
//! An answer changes only when the authority's log or the author's log grows.

use crate::authority::{
    Access, AuthorityEntry, AuthorityEntryId, Body, Leaf, MemberSet, NO_AUTHORITY, Role,
};
use crate::device::DevicePublic;
use crate::enrolment::CodeId;
use crate::name::{NameError, SealedName, Subject};
use crate::sealing::{BEFORE_GRANT, KeyCommitment, Keyring, ScopeKey};
use cairn_wire::{
    AuthorityRef, ChangeHash, DeviceKey, DocumentId, Entry, EntryId, LogId, ProgrammeId, ScopeId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Whether somebody belongs to the programme now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never heard of.
    Unknown,
    /// A member.
    Member,
    /// Was one; may only hand in.
    Revoked,
}

/// A device that is or was a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its keys.
    pub public: DevicePublic,
    /// What it is.
    pub role: Role,
    /// Its name: [`Membership::member_name`] opens it.
    pub name: SealedName,
    /// The joining code that it used last.
    pub code: Option<CodeId>,
    /// Hash of the set of grants sealed to it with its newest [`MemberSet`].
    pub grant_set: [u8; 32],
    /// Height of its newest [`MemberSet`].
    pub set_at: u64,
    /// Member or revoked.
    pub standing: Standing,
    /// Why it was revoked.
    pub reason: Option<SealedName>,
}

/// A scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its id.
    pub id: ScopeId,
    /// Its name: [`Membership::scope_name`] opens it.
    pub name: SealedName,
    /// Number of its newest key that was announced.
    pub newest_key: u32,
}

/// Where an entry stands: all that trust asks about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Its log, and so its author and scope.
    pub log: LogId,
    /// Its number.
    pub number: u64,
    /// Its id.
    pub id: EntryId,
    /// The authority entry that its header names.
    pub authority: AuthorityRef,
}

impl Position {
    /// Where `entry` stands.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let header = entry.header();
        Self {
            log: header.log,
            number: header.number,
            id: entry.id(),
            authority: header.authority,
        }
    }
}

/// The fold of the authority's log up to some height. Cheap to clone.
#[derive(Clone)]
pub struct Membership(Arc<State>);

#[derive(Clone)]
struct State {
    programme: ProgrammeId,
    ids: Vec<AuthorityEntryId>,
    /// From which height on `rw` includes deciding or not. Before all of them it does.
    policies: Vec<(u64, bool)>,
    devices: BTreeMap<DeviceKey, Arc<Device>>,
    scopes: BTreeMap<ScopeId, Scope>,
    keys: BTreeMap<ScopeId, BTreeMap<u32, KeyCommitment>>,
    codes: BTreeMap<CodeId, BTreeSet<DeviceKey>>,
    singletons: BTreeMap<(ScopeId, DocumentId), ChangeHash>,
    not_understood: u64,
}

/// All that was ever said of one device.
#[derive(Clone, Default)]
struct Device {
    member: Option<Member>,
    /// In order of height.
    stages: Vec<Stage>,
    /// In order of height.
    cuts: Vec<Cut>,
    /// Leaves accepted after the fact, each with the height that names it.
    accepted: Vec<(u64, Leaf)>,
}

/// What a device may do from some height on.
#[derive(Clone)]
struct Stage {
    height: u64,
    rights: Rights,
}

#[derive(Clone, Default)]
struct Rights {
    /// `None`: no member.
    role: Option<Role>,
    scopes: BTreeMap<ScopeId, Access>,
}

#[derive(Clone)]
struct Cut {
    height: u64,
    revocation: bool,
    write: BTreeSet<ScopeId>,
    decide: BTreeSet<ScopeId>,
    leaves: Vec<Leaf>,
}

#[derive(Clone, Copy)]
enum Right {
    Write,
    Decide,
}

impl Membership {
    /// Of a programme of whose log nothing is held yet.
    #[must_use]
    pub fn new(programme: ProgrammeId) -> Self {
        Self(Arc::new(State {
            programme,
            ids: Vec::new(),
            policies: Vec::new(),
            devices: BTreeMap::new(),
            scopes: BTreeMap::new(),
            keys: BTreeMap::new(),
            codes: BTreeMap::new(),
            singletons: BTreeMap::new(),
            not_understood: 0,
        }))
    }

    /// The programme.
    #[must_use]
    pub fn programme(&self) -> ProgrammeId {
        self.0.programme
    }

    /// The newest authority entry that is in it; [`NO_AUTHORITY`] before any is.
    #[must_use]
    pub fn head(&self) -> AuthorityRef {
        match self.0.ids.last() {
            Some(id) => id.at(self.0.ids.len() as u64 - 1),
            None => NO_AUTHORITY,
        }
    }

    /// The id of the authority entry at `height`.
    #[must_use]
    pub fn id_at(&self, height: u64) -> Option<AuthorityEntryId> {
        self.0.ids.get(usize::try_from(height).ok()?).copied()
    }

    /// Whether the authority entry that a header names is held.
    #[must_use]
    pub fn knows(&self, authority: AuthorityRef) -> bool {
        self.id_at(authority.height)
            .is_some_and(|id| id.at(authority.height) == authority)
    }

    /// A device that is or was a member.
    #[must_use]
    pub fn member(&self, device: &DeviceKey) -> Option<&Member> {
        self.0.devices.get(device)?.member.as_ref()
    }

    /// Every device that is or was a member, by key.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.0
            .devices
            .values()
            .filter_map(|device| device.member.as_ref())
    }

    /// Every scope, by id.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.scopes.values()
    }

    /// One scope.
    #[must_use]
    pub fn scope(&self, scope: &ScopeId) -> Option<&Scope> {
        self.0.scopes.get(scope)
    }

    /// Whether a device belongs to the programme now.
    #[must_use]
    pub fn standing(&self, device: &DeviceKey) -> Standing {
        match self.0.devices.get(device).and_then(|it| it.stages.last()) {
            None => Standing::Unknown,
            Some(stage) if stage.rights.role.is_some() => Standing::Member,
            Some(_) => Standing::Revoked,
        }
    }

    /// What a device may do now, by scope; nothing for one that is revoked or unknown.
    #[must_use]
    pub fn scopes_now(&self, device: &DeviceKey) -> Vec<(ScopeId, Access)> {
        self.rights_now(device)
            .map(|rights| rights.scopes.iter().map(|(k, v)| (*k, *v)).collect())
            .unwrap_or_default()
    }

    /// What a device may do now in one scope.
    #[must_use]
    pub fn access_now(&self, device: &DeviceKey, scope: &ScopeId) -> Option<Access> {
        self.rights_now(device)?.scopes.get(scope).copied()
    }

    /// Whether a device may decide in that scope now; for what a person is offered, not for trust.
    #[must_use]
    pub fn may_decide_now(&self, device: &DeviceKey, scope: &ScopeId) -> bool {
        self.rights_now(device)
            .is_some_and(|rights| rights.allow(Right::Decide, scope, self.0.policy_at(u64::MAX)))
    }

    /// Members that have a right in that scope now.
    pub fn members_of(&self, scope: &ScopeId) -> impl Iterator<Item = (&Member, Access)> {
        let scope = *scope;
        self.0.devices.values().filter_map(move |device| {
            let access = device.stages.last()?.rights.scopes.get(&scope)?;
            Some((device.member.as_ref()?, *access))
        })
    }

    /// Admission: whether a device was a member of that scope at some time.
    #[must_use]
    pub fn was_ever_member_of(&self, device: &DeviceKey, scope: &ScopeId) -> bool {
        self.0.devices.get(device).is_some_and(|device| {
            device
                .stages
                .iter()
                .any(|stage| stage.rights.scopes.contains_key(scope))
        })
    }

    /// Trust: whether what stands in that entry reads as its author's accepted word.
    ///
    /// `reaches` answers for a leaf of the entry's own log: is this entry the leaf, or reached from
    /// it by previous hashes? While the leaf itself is not held the answer is no.
    #[must_use]
    pub fn verified(&self, position: &Position, reaches: &dyn Fn(&Leaf) -> bool) -> bool {
        let Some(device) = self.0.devices.get(&position.log.device) else {
            return false;
        };
        let scope = &position.log.scope;
        let wrote = |stage: &Stage| stage.rights.allow(Right::Write, scope, true);
        if !device.stages.iter().any(wrote) {
            return false;
        }
        let made_after = self
            .knows(position.authority)
            .then_some(position.authority.height)
            .filter(|height| device.stage_at(*height).is_some_and(wrote));
        device.passes(Right::Write, made_after, position, reaches)
    }

    /// Trust: whether a decision that stands in that entry counts. `reaches` as for
    /// [`Self::verified`].
    #[must_use]
    pub fn entitled_to_decide(&self, position: &Position, reaches: &dyn Fn(&Leaf) -> bool) -> bool {
        let at = position.authority;
        let Some(device) = self.0.devices.get(&position.log.device) else {
            return false;
        };
        let entitled = self.knows(at)
            && device.stage_at(at.height).is_some_and(|stage| {
                let policy = self.0.policy_at(at.height);
                stage
                    .rights
                    .allow(Right::Decide, &position.log.scope, policy)
            });
        entitled
            && device.passes(Right::Decide, Some(at.height), position, reaches)
            && self.verified(position, reaches)
    }

    /// How many devices a joining code has made members.
    #[must_use]
    pub fn uses_of_code(&self, code: &CodeId) -> usize {
        self.0.codes.get(code).map_or(0, BTreeSet::len)
    }

    /// Whether that device became a member by that code.
    #[must_use]
    pub fn has_used_code(&self, code: &CodeId, device: &DeviceKey) -> bool {
        self.0
            .codes
            .get(code)
            .is_some_and(|devices| devices.contains(device))
    }

    /// Whether the authority announced exactly that key; `None` if it announced none of that number
    /// (yet, as far as its log is held).
    #[must_use]
    pub fn announces(&self, key: &ScopeKey) -> Option<bool> {
        let commitment = self.0.keys.get(&key.scope())?.get(&key.number())?;
        Some(*commitment == key.commitment())
    }

    /// Number of the newest key announced for a scope, or for the programme
    /// ([`ScopeId::AUTHORITY`]).
    #[must_use]
    pub fn newest_key(&self, scope: &ScopeId) -> Option<u32> {
        self.0.keys.get(scope)?.keys().next_back().copied()
    }

    /// The root change of a document of which the programme has one.
    #[must_use]
    pub fn singleton(&self, scope: &ScopeId, document: &DocumentId) -> Option<ChangeHash> {
        self.0.singletons.get(&(*scope, *document)).copied()
    }

    /// A member's name, for who holds the programme key. `None`: no such member.
    #[must_use]
    pub fn member_name(
        &self,
        device: &DeviceKey,
        keyring: &Keyring,
    ) -> Option<Result<String, NameError>> {
        let name = &self.member(device)?.name;
        Some(name.open(self.programme(), Subject::Member(*device), keyring))
    }

    /// A scope's name, for who holds the programme key. `None`: no such scope.
    #[must_use]
    pub fn scope_name(
        &self,
        scope: &ScopeId,
        keyring: &Keyring,
    ) -> Option<Result<String, NameError>> {
        let name = &self.scope(scope)?.name;
        Some(name.open(self.programme(), Subject::Scope(*scope), keyring))
    }

    /// How many entries of kinds unknown here the log holds: more than none means that a newer Cairn
    /// is in use and this one should be updated.
    #[must_use]
    pub fn not_understood(&self) -> u64 {
        self.0.not_understood
    }

    pub(crate) fn entry_ids(&self) -> &[AuthorityEntryId] {
        &self.0.ids
    }

    /// Folds the next entry in. It was verified; what makes no sense in it has no effect.
    pub(crate) fn apply(&mut self, entry: &AuthorityEntry) {
        let state = Arc::make_mut(&mut self.0);
        state.ids.push(entry.id);
        state.apply(entry.height, &entry.body);
    }

    fn rights_now(&self, device: &DeviceKey) -> Option<&Rights> {
        Some(&self.0.devices.get(device)?.stages.last()?.rights)
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Membership({:?} at {:?}, {} devices)",
            self.0.programme,
            self.head(),
            self.0.devices.len()
        )
    }
}

impl State {
    fn apply(&mut self, height: u64, body: &Body) {
        match body {
            Body::Founded { programme_key, .. } => {
                self.announce(ScopeId::AUTHORITY, 1, *programme_key);
            }
            Body::ScopeCreated { scope, name, key } => self.create_scope(*scope, name, *key),
            Body::ScopeKeyRotated { scope, number, key } => self.announce(*scope, *number, *key),
            Body::MemberSet(set) => self.set_member(height, set),
            Body::Revoked {
                device,
                leaves,
                reason,
            } => {
                let policy = self.policy_at(height);
                let device = self.device(*device);
                device.change(height, Rights::default(), policy, leaves, true);
                if let Some(member) = &mut device.member {
                    member.standing = Standing::Revoked;
                    member.reason = Some(reason.clone());
                }
            }
            Body::Narrowed {
                device,
                scopes,
                leaves,
            } => self.narrow(height, device, scopes, leaves),
            Body::LeavesAccepted { device, leaves } => {
                let accepted = leaves.iter().map(|leaf| (height, *leaf));
                self.device(*device).accepted.extend(accepted);
            }
            Body::RightsPolicy {
                rw_includes_decide,
                leaves,
            } => self.set_policy(height, *rw_includes_decide, leaves),
            Body::SingletonFixed {
                scope,
                document,
                root,
            } => {
                self.singletons.entry((*scope, *document)).or_insert(*root);
            }
            Body::AuthorityReplaced { .. } => {}
            Body::Unknown { .. } => self.not_understood += 1,
        }
    }

    fn create_scope(&mut self, id: ScopeId, name: &SealedName, key: KeyCommitment) {
        if id == ScopeId::AUTHORITY {
            return;
        }
        self.scopes
            .entry(id)
            .and_modify(|scope| scope.name = name.clone())
            .or_insert_with(|| Scope {
                id,
                name: name.clone(),
                newest_key: 0,
            });
        self.announce(id, 1, key);
    }

    fn announce(&mut self, scope: ScopeId, number: u32, key: KeyCommitment) {
        if number == BEFORE_GRANT {
            return;
        }
        let keys = self.keys.entry(scope).or_default();
        keys.entry(number).or_insert(key);
        if let (Some(scope), Some((newest, _))) =
            (self.scopes.get_mut(&scope), keys.last_key_value())
        {
            scope.newest_key = *newest;
        }
    }

    fn set_member(&mut self, height: u64, set: &MemberSet) {
        let policy = self.policy_at(height);
        let key = set.public.device;
        if let Some(code) = set.code {
            self.codes.entry(code).or_default().insert(key);
        }
        let device = self.device(key);
        let mut rights = Rights {
            role: Some(set.role),
            scopes: device.rights().scopes.clone(),
        };
        for (scope, access) in &set.scopes {
            if *scope != ScopeId::AUTHORITY {
                let held = rights.scopes.entry(*scope).or_insert(*access);
                *held = (*held).max(*access);
            }
        }
        device.change(height, rights, policy, &[], false);
        device.member = Some(Member {
            public: set.public,
            role: set.role,
            name: set.name.clone(),
            code: set.code,
            grant_set: set.grant_set,
            set_at: height,
            standing: Standing::Member,
            reason: None,
        });
    }

    /// Never makes a member, and never gives more than there was.
    fn narrow(
        &mut self,
        height: u64,
        device: &DeviceKey,
        left: &[(ScopeId, Access)],
        leaves: &[Leaf],
    ) {
        let policy = self.policy_at(height);
        let device = self.device(*device);
        let before = device.rights();
        if before.role.is_none() {
            return;
        }
        let scopes = left
            .iter()
            .filter_map(|(scope, access)| {
                let held = before.scopes.get(scope)?;
                Some((*scope, (*access).min(*held)))
            })
            .collect();
        let rights = Rights {
            role: before.role,
            scopes,
        };
        device.change(height, rights, policy, leaves, false);
    }

    fn set_policy(&mut self, height: u64, policy: bool, leaves: &[(DeviceKey, Leaf)]) {
        let before = self.policy_at(height);
        self.policies.push((height, policy));
        for (key, device) in &mut self.devices {
            let rights = device.rights();
            let lost = rights.lost(Right::Decide, before, rights, policy);
            if lost.is_empty() {
                continue;
            }
            let leaves = leaves.iter().filter(|(of, _)| of == key);
            Arc::make_mut(device).cuts.push(Cut {
                height,
                revocation: false,
                write: BTreeSet::new(),
                decide: lost,
                leaves: leaves.map(|(_, leaf)| *leaf).collect(),
            });
        }
    }

    /// Whether `rw` included deciding at that height.
    fn policy_at(&self, height: u64) -> bool {
        let after = self.policies.partition_point(|(from, _)| *from <= height);
        after
            .checked_sub(1)
            .and_then(|at| self.policies.get(at))
            .is_none_or(|(_, policy)| *policy)
    }

    fn device(&mut self, device: DeviceKey) -> &mut Device {
        Arc::make_mut(self.devices.entry(device).or_default())
    }
}

impl Device {
    fn rights(&self) -> &Rights {
        static NONE: Rights = Rights {
            role: None,
            scopes: BTreeMap::new(),
        };
        self.stages.last().map_or(&NONE, |stage| &stage.rights)
    }

    fn stage_at(&self, height: u64) -> Option<&Stage> {
        let after = self.stages.partition_point(|stage| stage.height <= height);
        self.stages.get(after.checked_sub(1)?)
    }

    /// Begins a stage, and notes what it takes away.
    fn change(
        &mut self,
        height: u64,
        rights: Rights,
        policy: bool,
        leaves: &[Leaf],
        revocation: bool,
    ) {
        let before = self.rights();
        let cut = Cut {
            height,
            revocation,
            write: before.lost(Right::Write, policy, &rights, policy),
            decide: before.lost(Right::Decide, policy, &rights, policy),
            leaves: leaves.to_vec(),
        };
        if revocation || !cut.write.is_empty() || !cut.decide.is_empty() {
            self.cuts.push(cut);
        }
        self.stages.push(Stage { height, rights });
    }

    /// Whether an entry passes every cut of that right above the height after which it was made.
    fn passes(
        &self,
        right: Right,
        made_after: Option<u64>,
        position: &Position,
        reaches: &dyn Fn(&Leaf) -> bool,
    ) -> bool {
        self.cuts
            .iter()
            .filter(|cut| made_after.is_none_or(|height| cut.height > height))
            .filter(|cut| cut.takes(right, &position.log.scope))
            .all(|cut| {
                self.leaves_of(cut)
                    .any(|leaf| accepts(leaf, position, reaches))
            })
    }

    /// The leaves that count at a cut.
    fn leaves_of<'a>(&'a self, cut: &'a Cut) -> impl Iterator<Item = &'a Leaf> {
        let height = cut.height;
        let accepted = self
            .accepted
            .iter()
            .filter(move |(at, _)| *at > height)
            .map(|(_, leaf)| leaf);
        let revoked_again = self
            .cuts
            .iter()
            .filter(move |later| cut.revocation && later.revocation && later.height > height)
            .flat_map(|later| &later.leaves);
        cut.leaves.iter().chain(accepted).chain(revoked_again)
    }
}

impl Cut {
    fn takes(&self, right: Right, scope: &ScopeId) -> bool {
        let scopes = match right {
            Right::Write => &self.write,
            Right::Decide => &self.decide,
        };
        self.revocation || scopes.contains(scope)
    }
}

impl Rights {
    fn allow(&self, right: Right, scope: &ScopeId, policy: bool) -> bool {
        let (Some(role), Some(access)) = (self.role, self.scopes.get(scope)) else {
            return false;
        };
        match right {
            Right::Write => *access >= Access::Write,
            Right::Decide => role.may_decide(*access, policy),
        }
    }

    /// Scopes in which `after` lacks a right that `self` has.
    fn lost(
        &self,
        right: Right,
        policy: bool,
        after: &Self,
        policy_after: bool,
    ) -> BTreeSet<ScopeId> {
        self.scopes
            .keys()
            .filter(|scope| {
                self.allow(right, scope, policy) && !after.allow(right, scope, policy_after)
            })
            .copied()
            .collect()
    }
}

/// Whether a leaf stands in the entry's log, not below it, and reaches it.
fn accepts(leaf: &Leaf, position: &Position, reaches: &dyn Fn(&Leaf) -> bool) -> bool {
    if leaf.log(position.log.device) != position.log || leaf.number < position.number {
        return false;
    }
    if leaf.number == position.number {
        return leaf.id == position.id;
    }
    reaches(leaf)
}
