//! Who is known to have a record: devices, the relay, the centre.
//!
//! Nothing is guessed. A device has what it wrote, what it sent to the relay, and what it acknowledged;
//! of all else it is only not known. After a lost index, acknowledgements come back with the devices'
//! next visits.

use crate::relay_store::ask;
use crate::{Centre, CentreError};
use cairn_member::places::Place;
use cairn_replica::HoldingsError;
use cairn_store::Store;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{DeviceKey, EntryId, LogId};
use std::collections::BTreeSet;

/// A device, and how much of a record it is known to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Entries of the record that it wrote itself.
    pub wrote: usize,
    /// Entries that it sent to the relay.
    pub sent: usize,
    /// Entries that it acknowledged to the relay.
    pub acknowledged: usize,
    /// Entries that it has for any of these reasons.
    pub entries: usize,
}

/// An entry in which a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPlace {
    /// Where.
    pub place: Place,
    /// The relay holds it, looked up by its id.
    pub at_relay: bool,
    /// The centre has signed that it opened it, without exception.
    pub seen_by_centre: bool,
}

/// Who is known to have a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhoHas {
    /// The entries in which it stands.
    pub places: Vec<KnownPlace>,
    /// Members of its scope, and whoever else wrote in it; the centre is left out.
    pub holders: Vec<(DeviceKey, Holder)>,
}

impl Centre {
    /// Who is known to have the record that goes by a name.
    pub fn who_has(&self, name: &str) -> Result<WhoHas, CentreError> {
        let line = self.member.find(&*self.tables, name)?;
        let places = self.member.places(&*self.tables, &line.scope, &line.id)?;
        let members = self.membership.members_of(&line.scope);
        let devices: BTreeSet<DeviceKey> = members
            .map(|(member, _)| member.public.device)
            .chain(places.iter().map(|place| place.log.device))
            .filter(|device| *device != self.member.device())
            .collect();
        let mut known = ask(&*self.relay, move |store| look(store, &places, devices))??;
        for at in &mut known.places {
            at.seen_by_centre =
                self.has_signed_for(&at.place.log, at.place.number, &at.place.id)?;
        }
        Ok(known)
    }

    /// Whether a receipt of this centre speaks of that entry. In a log that forked only the last entry
    /// of a branch is sure to be meant.
    fn has_signed_for(&self, log: &LogId, number: u64, id: &EntryId) -> Result<bool, CentreError> {
        let rows: Vec<_> = self.receipts.of_log(log).collect();
        let alone = || {
            let (log, id) = (*log, *id);
            ask(&*self.relay, move |store| {
                Ok::<_, HoldingsError>(store.ids_at(&log, number)? == [id])
            })
        };
        for row in rows {
            if number > row.opened.number || row.exceptions.contains_key(id) {
                continue;
            }
            if row.opened.id == *id || alone()?? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn look(
    store: &dyn Store,
    places: &[Place],
    devices: BTreeSet<DeviceKey>,
) -> Result<WhoHas, HoldingsError> {
    let mut known = WhoHas::default();
    let mut senders: Vec<BTreeSet<DeviceKey>> = Vec::with_capacity(places.len());
    for place in places {
        let items = store.journal(lane_of(place), place.position, 1)?;
        let item = items.first().filter(|item| item.entry.id() == place.id);
        senders.push(item.map_or_else(BTreeSet::new, |item| {
            item.origins.iter().map(|origin| origin.peer).collect()
        }));
        known.places.push(KnownPlace {
            place: *place,
            at_relay: item.is_some(),
            seen_by_centre: false,
        });
    }
    for device in devices {
        let lanes = store.peer(&device)?.lanes;
        let acknowledged = |place: &Place| {
            let cursor = lanes
                .get(&lane_of(place))
                .and_then(|lane| lane.acknowledged)
                .filter(|cursor| cursor.epoch == store.epoch());
            cursor.is_some_and(|cursor| place.position < cursor.mark.position)
        };
        let mut holder = Holder::default();
        for (place, senders) in places.iter().zip(&senders) {
            let (wrote, sent, has) = (
                place.log.device == device,
                senders.contains(&device),
                acknowledged(place),
            );
            holder.wrote += usize::from(wrote);
            holder.sent += usize::from(sent);
            holder.acknowledged += usize::from(has);
            holder.entries += usize::from(wrote || sent || has);
        }
        known.holders.push((device, holder));
    }
    Ok(known)
}

fn lane_of(place: &Place) -> ScopeLane {
    ScopeLane {
        scope: place.log.scope,
        lane: place.log.lane,
    }
}
