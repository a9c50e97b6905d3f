//! A programme to test in: its authority, scopes and members.

use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, DeviceSecret, MemberSet, Role, ScopeKey,
    SealedName, Subject,
};
use cairn_wire::ids::{ProgrammeId, ScopeId};

/// The authority of a programme, and all it has signed.
pub struct Programme {
    authority: AuthoritySecret,
    programme_key: ScopeKey,
    log: AuthorityLog,
    entries: Vec<Vec<u8>>,
}

impl Programme {
    /// Founds one with these scopes.
    ///
    /// # Panics
    /// Never, for bodies made here.
    #[must_use]
    pub fn new(scopes: &[ScopeId]) -> Self {
        let authority = AuthoritySecret::from_bytes(&[0xa1; 32]);
        let recovery = AuthoritySecret::from_bytes(&[0xa2; 32]);
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[0xa3; 32]);
        let log = AuthorityLog::found(&authority, recovery.public(), programme_key.commitment());
        let entries = log
            .entries_from(0, usize::MAX)
            .iter()
            .map(|it| it.to_vec())
            .collect();
        let mut programme = Self {
            authority,
            programme_key,
            log,
            entries,
        };
        for scope in scopes {
            let name = programme.seal_name(Subject::Scope(*scope), "a scope");
            let key = scope_key(*scope).commitment();
            programme.say(&Body::ScopeCreated {
                scope: *scope,
                name,
                key,
            });
        }
        programme
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ProgrammeId {
        self.log.programme()
    }

    /// Every authority entry there is, or the first `count`.
    #[must_use]
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Makes or widens a member with the right to write in these scopes.
    pub fn enrol(&mut self, device: &DeviceSecret, role: Role, scopes: &[ScopeId]) {
        let set = MemberSet {
            public: device.public(),
            role,
            scopes: scopes.iter().map(|it| (*it, Access::Write)).collect(),
            name: self.seal_name(Subject::Member(device.device()), "a member"),
            code: None,
            grant_set: [0; 32],
        };
        self.say(&Body::MemberSet(set));
    }

    /// Takes a membership away.
    pub fn revoke(&mut self, device: &DeviceSecret) {
        let reason = self.seal_name(Subject::Reason(device.device()), "lost");
        self.say(&Body::Revoked {
            device: device.device(),
            leaves: Vec::new(),
            reason,
        });
    }

    /// Leaves a member only these scopes.
    pub fn narrow(&mut self, device: &DeviceSecret, scopes: &[ScopeId]) {
        self.say(&Body::Narrowed {
            device: device.device(),
            scopes: scopes.iter().map(|it| (*it, Access::Write)).collect(),
            leaves: Vec::new(),
        });
    }

    fn seal_name(&self, subject: Subject, text: &str) -> SealedName {
        SealedName::seal(self.log.programme(), subject, &self.programme_key, text)
    }

    fn say(&mut self, body: &Body) {
        let bytes = self
            .log
            .sign(&self.authority, body)
            .expect("a body that can be signed");
        self.log
            .append_verified(&bytes)
            .expect("an entry that was just signed");
        self.entries.push(bytes);
    }
}

/// The key of a scope, the same everywhere.
#[must_use]
pub fn scope_key(scope: ScopeId) -> ScopeKey {
    ScopeKey::new(scope, 1, &[scope.0[0]; 32])
}

/// The secret of a device by its number.
#[must_use]
pub fn device(number: u8) -> DeviceSecret {
    let mut bytes = [number; 64];
    bytes[32..].fill(number ^ 0xff);
    DeviceSecret::from_bytes(&bytes)
}
