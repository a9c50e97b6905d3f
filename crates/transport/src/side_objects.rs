//! Grants and receipts as the store keeps them: what each is about, and which of two stays.

use cairn_keys::Membership;
use cairn_keys::grant::Grant;
use cairn_store::SideObject;
use std::sync::Arc;

/// Verifies a receipt against the membership and says where it belongs; `None` if it is not valid.
pub type ReadReceipt = Arc<dyn Fn(&[u8], &Membership) -> Option<SideObject> + Send + Sync>;

/// A sealed scope key as a side object.
#[must_use]
pub fn grant_object(grant: &Grant) -> SideObject {
    SideObject::of_grant(grant)
}

pub(crate) fn grant(bytes: &[u8]) -> Option<(Grant, SideObject)> {
    let grant = Grant::parse(bytes).ok()?;
    let object = grant_object(&grant);
    Some((grant, object))
}
