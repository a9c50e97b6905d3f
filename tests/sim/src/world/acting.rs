//! What befalls the world while faults last.

use super::{Event, RELAY, Replica, SCOPES, Violation, World};
use crate::ledger::Place;
use crate::surviving_index::Survivor;
use cairn_keys::Role as MemberRole;
use cairn_replica::Holdings;
use cairn_replica::session::Input;
use cairn_store::{Failure, Store, Unsynced};
use cairn_wire::frame::ScopeLane;
use cairn_wire::ids::{Epoch, Incarnation, Lane};

/// How long faults last.
const FAULTS_MS: u64 = 90_000;
const CLONES_MAX: u64 = 2;
const ENROLLED_MAX: u64 = 2;

impl World {
    pub(super) fn run_faults(&mut self) -> Result<(), Violation> {
        self.schedule(1, Event::Act);
        if self.report.seed % 5 == 1 {
            let at = self.dice.between(FAULTS_MS / 4, FAULTS_MS);
            self.schedule(at, Event::Narrow);
        }
        while self.step(FAULTS_MS)? {}
        Ok(())
    }

    pub(super) fn act(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let next = self.now + self.dice.between(20, 500);
        self.schedule(next, Event::Act);
        let kind = self.dice.below(100);
        self.note(kind);
        match kind {
            0..36 => self.edit(),
            36..62 => self.meet(),
            62..68 => self.break_connection(),
            68..74 => self.lose_power(),
            74..77 => self.kill(),
            77..81 => self.cut_off(),
            81..86 => self.back_up(),
            86..89 => self.restore(),
            89..91 => self.clone_device(),
            91..93 => self.set_relay_back(),
            93..94 => self.revoke(),
            94..95 => self.enrol(),
            95..98 => self.let_index_catch_up(),
            _ => self.arm_disk(),
        }
    }

    fn devices_up(&self) -> Vec<Place> {
        (0..self.replicas.len())
            .filter(|place| {
                let replica = &self.replicas[*place];
                replica.role == MemberRole::Device && replica.node.is_some()
            })
            .collect()
    }

    fn edit(&mut self) -> Result<(), Violation> {
        let Some(place) = self.dice.pick(&self.devices_up()) else {
            return Ok(());
        };
        for _ in 0..self.dice.between(1, 5) {
            let Some(scope) = self.dice.pick(&self.replicas[place].scopes) else {
                return Ok(());
            };
            let lane = if self.dice.percent(30) {
                Lane::Urgent
            } else {
                Lane::Records
            };
            let of = ScopeLane { scope, lane };
            let payload = vec![b'x'; self.dice.between(1, 400) as usize];
            let Some(node) = &mut self.replicas[place].node else {
                return Ok(());
            };
            match node.write(of, &payload) {
                Ok(id) => self.ledger.promise(place, of, id),
                Err(_) => return self.store_failed(place),
            }
            self.report.written += 1;
            self.tell_sessions(place, None, &Input::Grown)?;
        }
        Ok(())
    }

    fn meet(&mut self) -> Result<(), Violation> {
        let count = self.replicas.len() as u64;
        let dialler = self.dice.below(count) as Place;
        let relays: Vec<Place> = (0..self.replicas.len())
            .filter(|it| self.replicas[*it].role == MemberRole::Relay)
            .collect();
        let acceptor = if self.dice.percent(75) {
            self.dice.pick(&relays).unwrap_or(RELAY)
        } else {
            self.dice.below(count) as Place
        };
        let (a, b) = (&self.replicas[dialler], &self.replicas[acceptor]);
        let same = a.secret.device() == b.secret.device();
        if same || dialler == RELAY || a.cut_off_until.max(b.cut_off_until) > self.now {
            return Ok(());
        }
        let live = self.dice.percent(35);
        self.connect(dialler, acceptor, live)?;
        if self.dice.percent(8) {
            // The same session once more, beside the first.
            self.connect(dialler, acceptor, false)?;
        }
        Ok(())
    }

    fn break_connection(&mut self) -> Result<(), Violation> {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if let Some(id) = self.dice.pick(&ids) {
            self.connections.remove(&id);
        }
        Ok(())
    }

    /// Ends a replica's process and its connections.
    pub(super) fn crash(&mut self, place: Place) {
        if self.replicas[place].node.take().is_none() {
            return;
        }
        self.report.crashes += 1;
        self.connections
            .retain(|_, it| it.ends.iter().all(|end| end.place != place));
        let kind = self.dice.pick(&Unsynced::ALL).unwrap_or(Unsynced::Dropped);
        let seed = self.dice.number();
        let replica = &mut self.replicas[place];
        replica.disk = replica.disk.crash(kind, seed);
        replica.disk_may_fail = false;
        let at = self.now + self.dice.between(100, 6_000);
        self.schedule(at, Event::Restart(place));
    }

    fn any_up(&mut self) -> Option<Place> {
        let up: Vec<Place> = (0..self.replicas.len())
            .filter(|it| self.replicas[*it].node.is_some())
            .collect();
        self.dice.pick(&up)
    }

    fn lose_power(&mut self) -> Result<(), Violation> {
        if let Some(place) = self.any_up() {
            self.crash(place);
        }
        Ok(())
    }

    /// The process is killed: what it wrote is there.
    fn kill(&mut self) -> Result<(), Violation> {
        if let Some(place) = self.any_up() {
            let disk = self.replicas[place].disk.copy();
            self.crash(place);
            self.replicas[place].disk = disk;
        }
        Ok(())
    }

    fn cut_off(&mut self) -> Result<(), Violation> {
        let place = self.dice.below(self.replicas.len() as u64) as Place;
        self.replicas[place].cut_off_until = self.now + self.dice.between(1_000, 15_000);
        self.connections
            .retain(|_, it| it.ends.iter().all(|end| end.place != place));
        Ok(())
    }

    fn back_up(&mut self) -> Result<(), Violation> {
        if let Some(place) = self.any_up() {
            let replica = &mut self.replicas[place];
            replica.backup = Some((replica.disk.copy(), replica.index.copy()));
        }
        Ok(())
    }

    /// Puts an older disk in the place of a replica's; it runs afterwards.
    fn put_back(&mut self, place: Place) -> Result<bool, Violation> {
        let Some((disk, index)) = &self.replicas[place].backup else {
            return Ok(false);
        };
        let (disk, index) = (disk.copy(), index.copy());
        self.crash(place);
        self.report.set_back += 1;
        let key = self.replicas[place].secret.device();
        self.acknowledged.retain(|(_, peer, _), _| *peer != key);
        let replica = &mut self.replicas[place];
        replica.disk = disk;
        replica.index = index;
        // What the backup lacks is promised no more; the rest is looked for when it opens.
        self.openings += 1;
        let node = crate::node::Node::open_with(
            replica.secret.clone(),
            replica.disk.copy(),
            Survivor::default(),
            self.openings,
        )
        .map_err(|error| Violation::Store {
            place,
            error: error.to_string(),
        })?;
        self.ledger
            .set_back(place, |id| node.store.holds(id).unwrap_or(false));
        self.open(place)?;
        Ok(true)
    }

    fn restore(&mut self) -> Result<(), Violation> {
        let Some(place) = self.dice.pick(&self.devices_up()) else {
            return Ok(());
        };
        if !self.put_back(place)? {
            return Ok(());
        }
        #[cfg(feature = "planted-bugs")]
        let reuse_numbers = self.bugs.reuse_numbers;
        #[cfg(not(feature = "planted-bugs"))]
        let reuse_numbers = false;
        self.begin_new_life(place, !reuse_numbers)
    }

    fn begin_new_life(&mut self, place: Place, incarnation: bool) -> Result<(), Violation> {
        let (epoch, drawn) = (self.dice.number(), self.dice.number());
        let Some(node) = &mut self.replicas[place].node else {
            return Ok(());
        };
        let mut begun = node.store.new_epoch(Epoch(epoch.to_be_bytes()));
        if incarnation {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&drawn.to_be_bytes());
            begun = begun.and_then(|()| node.store.set_incarnation(Incarnation(bytes)));
        }
        begun.map_err(|error| Violation::Store {
            place,
            error: error.to_string(),
        })
    }

    fn set_relay_back(&mut self) -> Result<(), Violation> {
        let relays: Vec<Place> = (0..self.replicas.len())
            .filter(|it| self.replicas[*it].role == MemberRole::Relay)
            .collect();
        let Some(place) = self.dice.pick(&relays) else {
            return Ok(());
        };
        // Half of the time nobody notices, and the old epoch goes on.
        if self.put_back(place)? && self.dice.percent(50) {
            self.begin_new_life(place, false)?;
        }
        Ok(())
    }

    fn clone_device(&mut self) -> Result<(), Violation> {
        if self.report.clones >= CLONES_MAX {
            return Ok(());
        }
        let Some(place) = self.dice.pick(&self.devices_up()) else {
            return Ok(());
        };
        if self.replicas[place].cloned {
            return Ok(());
        }
        self.report.clones += 1;
        let original = &mut self.replicas[place];
        original.cloned = true;
        self.cloned.insert(original.secret.device());
        let mut clone = Replica::new(
            original.secret.clone(),
            original.role,
            original.scopes.clone(),
        );
        clone.disk = original.disk.copy();
        clone.index = original.index.copy();
        clone.revoked = original.revoked;
        clone.lost = original.lost;
        clone.cloned = true;
        self.replicas.push(clone);
        let to = self.replicas.len() - 1;
        self.open(to)?;
        if let Some(node) = &self.replicas[to].node {
            self.ledger
                .copied(place, to, |id| node.store.holds(id).unwrap_or(false));
        }
        Ok(())
    }

    fn revoke(&mut self) -> Result<(), Violation> {
        let devices: Vec<Place> = (0..self.replicas.len())
            .filter(|it| self.replicas[*it].role == MemberRole::Device)
            .collect();
        let Some(place) = self.dice.pick(&devices) else {
            return Ok(());
        };
        if self.report.revoked > 0 {
            return Ok(());
        }
        self.report.revoked += 1;
        let secret = self.replicas[place].secret.clone();
        for replica in &mut self.replicas {
            replica.revoked |= replica.secret.device() == secret.device();
        }
        self.programme.revoke(&secret);
        self.authority_speaks()
    }

    /// A member loses one of its scopes, whoever of its peers has heard of it.
    pub(super) fn narrow(&mut self) -> Result<(), Violation> {
        let members: Vec<Place> = (0..self.replicas.len())
            .filter(|it| self.replicas[*it].role == MemberRole::Device)
            .filter(|it| !self.replicas[*it].revoked)
            .collect();
        let Some(place) = self.dice.pick(&members) else {
            return Ok(());
        };
        let secret = self.replicas[place].secret.clone();
        let lost = self.dice.pick(&self.replicas[place].scopes);
        let mut kept = self.replicas[place].scopes.clone();
        kept.retain(|scope| Some(*scope) != lost);
        for replica in &mut self.replicas {
            if replica.secret.device() == secret.device() {
                replica.lost = lost;
            }
        }
        self.report.narrowed += 1;
        self.programme.narrow(&secret, &kept);
        self.authority_speaks()
    }

    /// The relay beside which the authority lives hears what it has signed.
    fn authority_speaks(&mut self) -> Result<(), Violation> {
        let entries = self.programme.entries().to_vec();
        if let Some(node) = &mut self.replicas[RELAY].node {
            if node.learn(&entries).is_err() {
                return self.store_failed(RELAY);
            }
            self.tell_sessions(RELAY, None, &Input::AuthorityGrown)?;
        }
        Ok(())
    }

    /// A device that nobody but the authority has heard of.
    fn enrol(&mut self) -> Result<(), Violation> {
        if self.report.enrolled >= ENROLLED_MAX {
            return Ok(());
        }
        self.report.enrolled += 1;
        let secret = crate::programme::device(100 + self.report.enrolled as u8);
        let scopes = vec![SCOPES[self.dice.below(SCOPES.len() as u64) as usize]];
        self.programme.enrol(&secret, MemberRole::Device, &scopes);
        self.replicas
            .push(Replica::new(secret, MemberRole::Device, scopes));
        let place = self.replicas.len() - 1;
        self.open(place)?;
        self.learn_all(place)?;
        self.authority_speaks()
    }

    fn let_index_catch_up(&mut self) -> Result<(), Violation> {
        if let Some(place) = self.any_up()
            && let Some(node) = &mut self.replicas[place].node
            && node.store.sync_point().is_err()
        {
            return self.store_failed(place);
        }
        Ok(())
    }

    fn arm_disk(&mut self) -> Result<(), Violation> {
        if let Some(place) = self.any_up() {
            let after = self.dice.between(1, 30);
            let failure = if self.dice.percent(50) {
                Failure::Io
            } else {
                Failure::NoSpace
            };
            let replica = &mut self.replicas[place];
            replica.disk_may_fail = true;
            replica.disk.fail_after(after, failure);
        }
        Ok(())
    }
}
