//! Grants and receipts as the store keeps them: what each is about, and which of two stays.

use cairn_keys::Membership;
use cairn_keys::grant::Grant;
use cairn_store::SideObject;
use std::sync::Arc;

/// Verifies a receipt against the membership and says where it belongs; `None` if it is not valid.
pub type ReadReceipt = Arc<dyn Fn(&[u8], &Membership) -> Option<SideObject> + Send + Sync>;

/// A sealed scope key as a side object: keyed by recipient, scope, key number and the beginning of
/// its hash. So a forged grant never takes the place of the right one; both are kept, and only one opens.
#[must_use]
pub fn grant_object(grant: &Grant) -> SideObject {
    let mut key = Vec::with_capacity(32 + 16 + 4 + 8);
    key.extend_from_slice(&grant.recipient().0);
    key.extend_from_slice(&grant.scope().0);
    key.extend_from_slice(&grant.key_number().to_be_bytes());
    key.extend_from_slice(&grant.hash().0[..8]);
    SideObject {
        key,
        counter: 1,
        bytes: grant.to_bytes().to_vec(),
    }
}

pub(crate) fn grant(bytes: &[u8]) -> Option<(Grant, SideObject)> {
    let grant = Grant::parse(bytes).ok()?;
    let object = grant_object(&grant);
    Some((grant, object))
}
