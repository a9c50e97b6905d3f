//! What one action of the authority will say and seal, before any of it counts.

use super::{AuthorityFault, RequestFault, random};
use cairn_keys::{
    AuthorityLog, AuthoritySecret, Body, DevicePublic, Grant, GrantHash, Keyring, Membership,
    ScopeKey, SealedName, Subject,
};
use cairn_store::SideObject;
use cairn_transport::side_objects::grant_object;
use cairn_wire::ScopeId;

/// Entries and grants of one action, and the log as it will be with them.
pub(super) struct Draft<'a> {
    secret: &'a AuthoritySecret,
    log: AuthorityLog,
    keyring: Keyring,
    entries: Vec<Vec<u8>>,
    grants: Vec<SideObject>,
}

/// A draft that is ready to be made durable.
pub(super) struct Drafted {
    pub(super) log: AuthorityLog,
    pub(super) keyring: Keyring,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) grants: Vec<SideObject>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(secret: &'a AuthoritySecret, log: &AuthorityLog, keyring: &Keyring) -> Self {
        Self {
            secret,
            log: log.clone(),
            keyring: keyring.clone(),
            entries: Vec::new(),
            grants: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Drafted {
        Drafted {
            log: self.log,
            keyring: self.keyring,
            entries: self.entries,
            grants: self.grants,
        }
    }

    pub(super) fn membership(&self) -> &Membership {
        self.log.membership()
    }

    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Says something. The log that grows here is a copy: it replaces the true one only once the
    /// entries are durable, so nothing is ever signed twice at one height that anybody could have
    /// seen.
    pub(super) fn say(&mut self, body: &Body) -> Result<(), AuthorityFault> {
        let entry = self.log.sign(self.secret, body)?;
        self.log.append_verified(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// A new key: the first of a scope, or the next.
    pub(super) fn new_key(&mut self, scope: ScopeId) -> Result<ScopeKey, AuthorityFault> {
        let number = match self.membership().newest_key(&scope) {
            Some(newest) => newest.saturating_add(1),
            None => 1,
        };
        let key = ScopeKey::new(scope, number, &random()?);
        self.keyring
            .insert(key.clone())
            .map_err(|_| AuthorityFault::KeyMissing("newest key of a scope"))?;
        Ok(key)
    }

    /// Seals keys to a device; gives the hash of the set.
    pub(super) fn grant(
        &mut self,
        keys: &[ScopeKey],
        to: &DevicePublic,
    ) -> Result<[u8; 32], AuthorityFault> {
        let mut hashes = Vec::with_capacity(keys.len());
        for key in keys {
            let programme = self.log.programme();
            let grant =
                Grant::seal(programme, key, to, &random()?).ok_or_else(|| RequestFault::Text {
                    what: "the device's key",
                    why: "nothing can be sealed to it".into(),
                })?;
            hashes.push(grant.hash());
            self.grants.push(grant_object(&grant));
        }
        Ok(GrantHash::of_set(&hashes))
    }

    pub(super) fn seal_name(
        &self,
        subject: Subject,
        text: &str,
    ) -> Result<SealedName, AuthorityFault> {
        let key = self
            .keyring
            .newest(&ScopeId::AUTHORITY)
            .ok_or(AuthorityFault::KeyMissing("programme key"))?;
        Ok(SealedName::seal(self.log.programme(), subject, key, text))
    }
}
