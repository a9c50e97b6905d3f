//! Faults stop, everybody syncs three times, and what was promised must be everywhere.

use super::{Event, RELAY, SCOPES, Violation, World};
use crate::ledger::Place;
use cairn_keys::Role as MemberRole;
use cairn_replica::Holdings;
use cairn_store::Store;
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{EntryId, Lane};
use std::collections::BTreeSet;

/// Sessions that each replica needs at most.
const ROUNDS: usize = 3;
/// How long one session may take.
const SESSION_MS: u64 = 20 * 60 * 1000;

impl World {
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.connections.clear();
        self.queue.clear();
        for place in 0..self.replicas.len() {
            self.replicas[place].cut_off_until = 0;
            if self.replicas[place].disk_may_fail || self.replicas[place].node.is_none() {
                self.crash(place);
                self.queue.clear();
                self.open(place)?;
            }
        }
        for round in 1..=ROUNDS {
            for place in 0..self.replicas.len() {
                if place == RELAY {
                    continue;
                }
                self.proven = [false; 2];
                self.sync_to_the_end(place)?;
                // Who hands in says goodbye first, and the goodbye may overtake its last marks.
                let replica = &self.replicas[place];
                let proven = self.proven[0] && (self.proven[1] || replica.lost.is_some());
                if round == ROUNDS && !replica.revoked && !proven {
                    return Err(Violation::NotProven(place));
                }
            }
        }
        self.judge()
    }

    fn sync_to_the_end(&mut self, place: Place) -> Result<(), Violation> {
        self.connect(place, RELAY, false)?;
        let until = self.now + SESSION_MS;
        while !self.connections.is_empty() {
            if !self.step(until)? {
                return Err(Violation::Endless("a session"));
            }
        }
        self.queue
            .retain(|_, event| matches!(event, Event::Restart(_)));
        Ok(())
    }

    fn judge(&self) -> Result<(), Violation> {
        for scope in SCOPES {
            for lane in Lane::ALL {
                self.judge_lane(ScopeLane { scope, lane })?;
            }
        }
        Ok(())
    }

    fn judge_lane(&self, of: ScopeLane) -> Result<(), Violation> {
        let promised: BTreeSet<EntryId> = self
            .ledger
            .standing()
            .filter(|(_, item)| *item == of)
            .map(|(id, _)| *id)
            .collect();
        let mut first: Option<(Place, BTreeSet<EntryId>)> = None;
        for (place, replica) in self.replicas.iter().enumerate() {
            let carries = replica.role == MemberRole::Relay || replica.scopes.contains(&of.scope);
            let carries = carries && replica.lost != Some(of.scope);
            let Some(node) = replica
                .node
                .as_ref()
                .filter(|_| carries && !replica.revoked)
            else {
                continue;
            };
            let held = node.ids(of);
            let missing = promised.difference(&held).count();
            if missing > 0 {
                return Err(Violation::Missing { place, missing });
            }
            let author = node
                .store
                .forked_logs(of)
                .into_iter()
                .find(|log| !self.cloned.contains(&log.device));
            if let Some(log) = author {
                let whose = self
                    .replicas
                    .iter()
                    .position(|it| it.secret.device() == log.device);
                return Err(Violation::Forked(whose.unwrap_or(place)));
            }
            match &first {
                None => first = Some((place, held)),
                Some((other, common)) => {
                    let digest = self.replicas[*other]
                        .node
                        .as_ref()
                        .map(|it| it.store.digest(of));
                    if held != *common || digest != Some(node.store.digest(of)) {
                        return Err(Violation::Differ(*other, place));
                    }
                }
            }
        }
        Ok(())
    }
}
