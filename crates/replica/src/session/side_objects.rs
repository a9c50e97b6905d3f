//! Grants and receipts: what stands outside the logs and travels beside them.

use super::Session;
use super::opening::first_8;
use super::port::{PeerFault, SessionError};
use super::sharing::{carries, shared_now};
use crate::holdings::{Holdings, HoldingsError};
use cairn_keys::{Grant, Role, Standing};
use cairn_wire::codec::Bytes;
use cairn_wire::frame::ControlFrame;
use cairn_wire::ids::ScopeId;
use cairn_wire::{hash, limits};
use std::collections::BTreeSet;

/// Grants and receipts taken in one session.
const SIDE_OBJECTS_MAX: usize = 64 * 1024;
/// Grants and receipts that are remembered of a peer; of more than these all are sent when one moved.
const SIDE_REMEMBERED_MAX: usize = 4096;

impl Session {
    /// The hash over what this side holds of all that the peer would send it.
    pub(super) fn side_hash(
        &self,
        holdings: &dyn Holdings,
    ) -> Result<Option<[u8; 8]>, HoldingsError> {
        let held = self.side_objects(holdings, &self.me)?;
        Ok(hash_of_sorted(&held.hashes()))
    }

    /// Grants for a device, receipts about what both sides share, and the centres' sealed keys for that, as
    /// they are held here. The latter so that a relay which lost them, or came out of an older backup, gets
    /// them back from any device: nobody else has them.
    fn side_objects(
        &self,
        holdings: &dyn Holdings,
        device: &cairn_wire::DeviceKey,
    ) -> Result<SideObjects, HoldingsError> {
        let shared = shared_now(holdings, &self.config.peer);
        let mut grants = holdings.grants_for(device)?;
        if carries(holdings, &self.me) || carries(holdings, &self.config.peer) {
            grants.extend(centres_grants(holdings, device, &shared)?);
        }
        Ok(SideObjects {
            grants,
            receipts: holdings.receipts_of(&shared)?,
        })
    }

    pub(super) fn send_side_objects(
        &mut self,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if self.standing != Standing::Member || self.ending.bye_sent() {
            return Ok(());
        }
        let first = self.peer.as_mut().and_then(|peer| peer.side.take());
        if !std::mem::take(&mut self.side_changed) && first.is_none() {
            return Ok(());
        }
        let objects = self.side_objects(holdings, &self.config.peer)?;
        let all = objects.hashes();
        // A carrier holds receipts of others besides, so its hash is seldom that of what is remembered:
        // what it gave this device itself, or was proven to have, it is not given back in one epoch.
        let to_carrier = carries(holdings, &self.config.peer) && !carries(holdings, &self.me);
        let proven = first == Some(hash_of_sorted(&all));
        if proven {
            self.side_known.extend(&all);
        } else if to_carrier || first == Some(hash_of_sorted(&self.record.side)) {
            self.side_known.extend(&self.record.side);
        }
        if proven || !to_carrier {
            self.remember_side(all);
        }
        let grants = self.not_sent(objects.grants);
        for part in parts(grants, limits::GRANTS_MAX, limits::RECEIPTS_FRAME_BYTES_MAX) {
            self.say(&ControlFrame::Grants(part));
        }
        let receipts = self.not_sent(objects.receipts);
        for part in parts(
            receipts,
            limits::RECEIPTS_MAX,
            limits::RECEIPTS_FRAME_BYTES_MAX,
        ) {
            self.say(&ControlFrame::Receipts(part));
        }
        Ok(())
    }

    fn remember_side(&mut self, all: Vec<[u8; 8]>) {
        let side = if all.len() <= SIDE_REMEMBERED_MAX {
            all
        } else {
            Vec::new()
        };
        if self.record.side != side {
            self.record.side = side;
            self.record_changed = true;
        }
    }

    fn not_sent(&mut self, objects: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let known = &mut self.side_known;
        objects
            .into_iter()
            .filter(|it| known.insert(short_hash(it)))
            .collect()
    }

    pub(super) fn take_side(
        &mut self,
        objects: &[Bytes],
        count_max: usize,
        bytes_max: usize,
    ) -> Result<(), PeerFault> {
        self.side_received += objects.len();
        if objects.len() > count_max
            || self.side_received > SIDE_OBJECTS_MAX
            || objects.iter().any(|it| it.0.len() > bytes_max)
        {
            return Err(PeerFault::TooMany("grants or receipts"));
        }
        let hashes: Vec<_> = objects.iter().map(|it| short_hash(&it.0)).collect();
        self.side_known.extend(&hashes);
        let mut side = self.record.side.clone();
        side.extend(hashes);
        side.sort_unstable();
        side.dedup();
        self.remember_side(side);
        Ok(())
    }
}

/// Keys of shared scopes, and of the programme, sealed to centres other than the device.
fn centres_grants(
    holdings: &dyn Holdings,
    device: &cairn_wire::DeviceKey,
    shared: &BTreeSet<ScopeId>,
) -> Result<Vec<Vec<u8>>, HoldingsError> {
    let mut grants = Vec::new();
    for centre in holdings.membership().members() {
        if centre.role != Role::Centre || centre.public.device == *device {
            continue;
        }
        for bytes in holdings.grants_for(&centre.public.device)? {
            let scope = Grant::parse(&bytes).map(|grant| grant.scope());
            if scope.is_ok_and(|scope| scope == ScopeId::AUTHORITY || shared.contains(&scope)) {
                grants.push(bytes);
            }
        }
    }
    Ok(grants)
}

struct SideObjects {
    grants: Vec<Vec<u8>>,
    receipts: Vec<Vec<u8>>,
}

impl SideObjects {
    /// Their short hashes, sorted and without doubles.
    fn hashes(&self) -> Vec<[u8; 8]> {
        let all = self.grants.iter().chain(&self.receipts);
        let mut hashes: Vec<[u8; 8]> = all.map(|it| short_hash(it)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }
}

fn hash_of_sorted(hashes: &[[u8; 8]]) -> Option<[u8; 8]> {
    (!hashes.is_empty()).then(|| short_hash(&hashes.concat()))
}

fn short_hash(bytes: &[u8]) -> [u8; 8] {
    first_8(hash::derive(hash::SIDE_CONTEXT, &[bytes]))
}

/// Cuts objects into frames of bounded count and length.
fn parts(objects: Vec<Vec<u8>>, count_max: usize, bytes_max: usize) -> Vec<Vec<Bytes>> {
    let mut out: Vec<Vec<Bytes>> = Vec::new();
    let mut bytes = 0;
    for object in objects {
        let fits = out
            .last()
            .is_some_and(|part| part.len() < count_max && bytes + object.len() <= bytes_max);
        if !fits {
            out.push(Vec::new());
            bytes = 0;
        }
        bytes += object.len();
        if let Some(part) = out.last_mut() {
            part.push(Bytes(object));
        }
    }
    out
}
