//! What a device must remember and no peer can give back (enrolment, relays, drafts): durable states of
//! the store, sealed under the table key.

use crate::Member;
use crate::error::MemberError;
use cairn_store::Store;

/// Table byte of private states, for the key that seals them.
const PRIVATE_TABLE: u8 = 32;
const PREFIX: &[u8] = b"private/";

impl Member {
    /// Remembers `value` under `name`; durable when it returns. The name is not sealed.
    pub fn put_private(
        &self,
        store: &mut dyn Store,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), MemberError> {
        let place = self.table_key.hashed(PRIVATE_TABLE, name);
        let sealed = self.table_key.seal(&place, name, value);
        store.put_state(&state_key(name), &sealed)?;
        Ok(())
    }

    /// What was last remembered under `name`.
    pub fn private(&self, store: &dyn Store, name: &[u8]) -> Result<Option<Vec<u8>>, MemberError> {
        let Some(mut sealed) = store.state(&state_key(name))? else {
            return Ok(None);
        };
        let place = self.table_key.hashed(PRIVATE_TABLE, name);
        let (_, value) = self.table_key.open(&place, &mut sealed)?;
        Ok(Some(value.to_vec()))
    }
}

fn state_key(name: &[u8]) -> Vec<u8> {
    [PREFIX, name].concat()
}
