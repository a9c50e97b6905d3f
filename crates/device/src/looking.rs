//! Looking for records: lists that do not fit into memory, what is near, and how much is held.

use crate::error::DeviceError;
use crate::joining::joined;
use crate::syncing::{compared, relays};
use crate::{Device, Filter, Listed};
use cairn_member::{Asked, HeldScope, MemberError, Near, Totals};
use cairn_wire::ids::ScopeId;
use std::collections::BTreeMap;

/// Which areas of work are held here, and how old they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// All areas of work of the programme as far as it is known, by name.
    pub scopes: Vec<HeldScope>,
    /// When a relay last answered, seconds since 1970 by this device's clock.
    pub last_contact_s: Option<i64>,
    /// When a scope was last found to be the same here and at a relay, seconds since 1970 by this
    /// device's clock. Since then others may have handed in more.
    pub compared_s: BTreeMap<ScopeId, i64>,
}

impl Device {
    /// Which areas of work are held here, and how old they are.
    pub fn held(&self) -> Result<Held, DeviceError> {
        self.try_with(|member, store| {
            let mut scopes = member.scopes_held(store, store.membership())?;
            // Before it is a member it has the areas that its code names.
            for promised in joined(member, store)?.into_iter().flat_map(|it| it.scopes) {
                if !scopes.iter().any(|known| known.scope == promised.id) {
                    scopes.push(HeldScope {
                        scope: promised.id,
                        name: promised.name,
                        held: true,
                        totals: Totals::default(),
                    });
                }
            }
            let contacts = relays(member, store)?.into_iter();
            Ok(Held {
                scopes,
                last_contact_s: contacts.filter_map(|relay| relay.last_contact_s).max(),
                compared_s: compared(member, store)?,
            })
        })
    }

    /// Gives `visit` the newest `limit` of the records that fit a filter, or all of them, newest first; it
    /// answers whether to go on. Answers how many fit. Only what is visited is whole in memory.
    pub fn each_listed(
        &self,
        filter: Filter,
        limit: Option<usize>,
        mut visit: impl FnMut(Listed) -> bool + Send + 'static,
    ) -> Result<u64, DeviceError> {
        self.try_with(move |member, store| {
            let mut visit = |one| Ok::<bool, MemberError>(visit(one));
            member.each_listed(store, store.membership(), &filter, limit, &mut visit)
        })
    }

    /// The hazards and accidents that lie near a place or a way.
    pub fn near(&self, asked: Asked) -> Result<Near, DeviceError> {
        self.try_with(move |member, store| member.near(store, store.membership(), &asked))
    }
}
