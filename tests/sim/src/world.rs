//! The simulated world: replicas, connections, and what befalls them.
//!
//! One seed decides everything; virtual time goes from event to event. While it lasts, people edit,
//! devices meet relays and each other, connections break, replicas lose power, are restored from
//! backups or cloned, relays' disks are set back, members are revoked or lose a scope. Then all of it
//! stops, everybody syncs three times, and whatever was promised must be everywhere.

mod acting;
mod healing;

use crate::dice::Dice;
use crate::ledger::{Ledger, Place};
use crate::node::Node;
use crate::programme::Programme;
use crate::surviving_index::Survivor;
use cairn_keys::{DeviceSecret, Role as MemberRole};
use cairn_replica::session::{Input, Notice, Output, Role, Session, SessionConfig};
use cairn_replica::{Holdings, PeerRecord};
use cairn_store::{ModelDisk, Store};
use cairn_wire::frame::{Channel, CloseReason, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId, ScopeId};
use std::collections::{BTreeMap, BTreeSet};

/// Bugs on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bugs {
    /// Those of the session.
    #[cfg(feature = "planted-bugs")]
    pub session: cairn_replica::session::Faults,
    /// A restored device goes on in its old incarnation.
    #[cfg(feature = "planted-bugs")]
    pub reuse_numbers: bool,
}

/// What a run came to, if all was well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Events that happened.
    pub events: u64,
    /// Virtual milliseconds.
    pub time_ms: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Entries written.
    pub written: u64,
    /// Power cuts and kills.
    pub crashes: u64,
    /// Devices restored from backups, relays set back.
    pub set_back: u64,
    /// Stores cloned.
    pub clones: u64,
    /// Members revoked.
    pub revoked: u64,
    /// Members that lost one of their scopes.
    pub narrowed: u64,
    /// Members enrolled while it ran.
    pub enrolled: u64,
    /// Promises in the ledger.
    pub promises: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Hash over all events: equal for equal seeds.
    pub trace: u64,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An entry that was promised is not there.
    #[error("replica {place} promised an entry that it does not hold ({when})")]
    Lost {
        /// Who promised.
        place: Place,
        /// When it was noticed.
        when: &'static str,
    },
    /// A promise does not stand on a member's replica in the end.
    #[error("replica {place} lacks {missing} promised entries after healing")]
    Missing {
        /// Who lacks them.
        place: Place,
        /// How many.
        missing: usize,
    },
    /// Two members hold different things in the end.
    #[error("replicas {0} and {1} differ after healing")]
    Differ(Place, Place),
    /// A log forked although nobody cloned its device.
    #[error("a log of replica {0} forked, and nobody cloned it")]
    Forked(Place),
    /// A session with an honest peer ended in an error.
    #[error("replica {place}: {error}")]
    Session {
        /// Whose session.
        place: Place,
        /// The error.
        error: String,
    },
    /// An honest author's entry was refused.
    #[error("replica {0} refused an honest entry")]
    Refused(Place),
    /// The store failed although its disk did not.
    #[error("replica {place}: the store failed: {error}")]
    Store {
        /// Whose store.
        place: Place,
        /// The error.
        error: String,
    },
    /// A session of the last round ended without the proof that both hold the same.
    #[error("replica {0} and the relay were not proven equal in the last round")]
    NotProven(Place),
    /// Something went on without end.
    #[error("no end in sight: {0}")]
    Endless(&'static str),
}

const SCOPES: [ScopeId; 3] = [
    ScopeId([0x10; 16]),
    ScopeId([0x20; 16]),
    ScopeId([0x30; 16]),
];
/// Place of the relay that everybody knows.
const RELAY: Place = 0;
/// Events in a run at most.
const EVENTS_MAX: u64 = 2_000_000;

/// One replica, running or not.
struct Replica {
    secret: DeviceSecret,
    role: MemberRole,
    scopes: Vec<ScopeId>,
    disk: ModelDisk,
    index: Survivor,
    node: Option<Node>,
    backup: Option<(ModelDisk, Survivor)>,
    revoked: bool,
    /// A scope that its device had once: it goes on writing there, hands in, and gets nothing.
    lost: Option<ScopeId>,
    cloned: bool,
    cut_off_until: u64,
    disk_may_fail: bool,
}

impl Replica {
    fn new(secret: DeviceSecret, role: MemberRole, scopes: Vec<ScopeId>) -> Self {
        Self {
            secret,
            role,
            scopes,
            disk: ModelDisk::new(),
            index: Survivor::default(),
            node: None,
            backup: None,
            revoked: false,
            lost: None,
            cloned: false,
            cut_off_until: 0,
            disk_may_fail: false,
        }
    }
}

/// One end of a connection.
struct End {
    place: Place,
    session: Session,
    /// When the last bytes of each channel will have arrived at the other end.
    arrives: [u64; 3],
    closed: bool,
}

struct Connection {
    ends: [End; 2],
    latency_ms: u64,
    fsync_ms: u64,
}

enum Event {
    Deliver {
        connection: u64,
        to: usize,
        channel: Channel,
        bytes: Vec<u8>,
    },
    Store {
        connection: u64,
        end: usize,
        output: Output,
    },
    Timer {
        connection: u64,
        end: usize,
    },
    Lost {
        connection: u64,
    },
    Restart(Place),
    Narrow,
    Act,
}

struct World {
    dice: Dice,
    #[cfg_attr(
        not(feature = "planted-bugs"),
        expect(dead_code, reason = "there are none")
    )]
    bugs: Bugs,
    programme: Programme,
    replicas: Vec<Replica>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    now: u64,
    calm: bool,
    ledger: Ledger,
    /// How far each peer has acknowledged a replica's journals, as it was written into the ledger.
    acknowledged: BTreeMap<(Place, DeviceKey, ScopeLane), (cairn_wire::Epoch, u64)>,
    cloned: BTreeSet<DeviceKey>,
    openings: u64,
    /// Dialler and acceptor of a session after healing: was equality proven?
    proven: [bool; 2],
    report: Report,
}

/// Runs a seed.
pub fn simulate(seed: u64, bugs: Bugs) -> Result<Report, Violation> {
    let mut world = World::new(seed, bugs)?;
    world.run_faults()?;
    world.heal()?;
    world.report.events = world.next_event;
    world.report.time_ms = world.now;
    world.report.promises = world.ledger.len() as u64;
    Ok(world.report)
}

impl World {
    fn new(seed: u64, bugs: Bugs) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let mut programme = Programme::new(&SCOPES);
        let mut replicas = Vec::new();
        let relays = dice.between(1, 3);
        let devices = dice.between(3, 6);
        for number in 0..relays + devices {
            let secret = crate::programme::device(number as u8 + 1);
            let (role, scopes) = if number < relays {
                (MemberRole::Relay, Vec::new())
            } else {
                let mut scopes: Vec<ScopeId> =
                    SCOPES.into_iter().filter(|_| dice.percent(60)).collect();
                if scopes.is_empty() {
                    scopes.push(SCOPES[0]);
                }
                (MemberRole::Device, scopes)
            };
            programme.enrol(&secret, role, &scopes);
            replicas.push(Replica::new(secret, role, scopes));
        }
        let mut world = Self {
            dice,
            bugs,
            programme,
            replicas,
            connections: BTreeMap::new(),
            next_connection: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            now: 0,
            calm: false,
            ledger: Ledger::default(),
            acknowledged: BTreeMap::new(),
            cloned: BTreeSet::new(),
            openings: seed.wrapping_mul(1_000_003),
            proven: [false; 2],
            report: Report {
                seed,
                ..Report::default()
            },
        };
        for place in 0..world.replicas.len() {
            world.open(place)?;
            world.learn_all(place)?;
        }
        Ok(world)
    }

    /// Opens a replica's store; all that it promised must be there.
    fn open(&mut self, place: Place) -> Result<(), Violation> {
        self.openings += 1;
        let replica = &mut self.replicas[place];
        let node = Node::open_with(
            replica.secret.clone(),
            replica.disk.clone(),
            replica.index.clone(),
            self.openings,
        )
        .map_err(|error| Violation::Store {
            place,
            error: error.to_string(),
        })?;
        let holds = |id: &EntryId| node.store.holds(id).unwrap_or(false);
        if !self.ledger.promised_at(place).all(holds) {
            return Err(Violation::Lost {
                place,
                when: "after opening",
            });
        }
        self.replicas[place].node = Some(node);
        if place == RELAY {
            self.learn_all(place)?;
        }
        Ok(())
    }

    fn learn_all(&mut self, place: Place) -> Result<(), Violation> {
        let entries = self.programme.entries().to_vec();
        if let Some(node) = &mut self.replicas[place].node {
            node.learn(&entries).map_err(|error| Violation::Store {
                place,
                error: error.to_string(),
            })?;
        }
        Ok(())
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue
            .insert((at.max(self.now), self.next_event), event);
    }

    /// Takes the next event; false when there is none before `until`.
    fn step(&mut self, until: u64) -> Result<bool, Violation> {
        let Some(entry) = self.queue.first_entry() else {
            return Ok(false);
        };
        if entry.key().0 > until {
            return Ok(false);
        }
        let ((at, number), event) = entry.remove_entry();
        if number > EVENTS_MAX {
            return Err(Violation::Endless("events"));
        }
        self.now = at;
        self.note(at);
        match event {
            Event::Deliver {
                connection,
                to,
                channel,
                bytes,
            } => {
                self.note(bytes.len() as u64 * 8 + channel.as_byte() as u64);
                self.report.bytes += bytes.len() as u64;
                self.feed(connection, to, Input::Bytes { channel, bytes })?;
            }
            Event::Store {
                connection,
                end,
                output,
            } => self.store(connection, end, output)?,
            Event::Timer { connection, end } => self.feed(connection, end, Input::Tick)?,
            Event::Lost { connection } => {
                self.connections.remove(&connection);
            }
            Event::Restart(place) => {
                if self.replicas[place].node.is_none() {
                    self.open(place)?;
                }
            }
            Event::Narrow => self.narrow()?,
            Event::Act => self.act()?,
        }
        Ok(true)
    }

    fn note(&mut self, value: u64) {
        self.report.trace = (self.report.trace ^ value)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(17);
    }

    fn connect(&mut self, dialler: Place, acceptor: Place, live: bool) -> Result<(), Violation> {
        if self.replicas[dialler].node.is_none() || self.replicas[acceptor].node.is_none() {
            return Ok(());
        }
        let salt = self.dice.number().to_be_bytes();
        let rate = self.dice.pick(&[20_000, 1_000_000]);
        let budget = (!self.calm && self.dice.percent(10)).then(|| self.dice.between(600, 20_000));
        let open = |role, place: Place, peer: Place| {
            let mut config = SessionConfig::new(role, self.replicas[peer].secret.device(), salt);
            config.live = live;
            config.link_bytes_per_second = rate;
            if role == Role::Dialler {
                config.byte_budget = budget;
            }
            #[cfg(feature = "planted-bugs")]
            {
                config.faults = self.bugs.session;
            }
            let Some(node) = &self.replicas[place].node else {
                return Err(Violation::Endless("a replica that is not there"));
            };
            let session = Session::new(config, self.now, &node.store).map_err(|error| {
                Violation::Session {
                    place,
                    error: error.to_string(),
                }
            })?;
            Ok(End {
                place,
                session,
                arrives: [0; 3],
                closed: false,
            })
        };
        let ends = [
            open(Role::Dialler, dialler, acceptor)?,
            open(Role::Acceptor, acceptor, dialler)?,
        ];
        let connection = Connection {
            ends,
            latency_ms: self.dice.between(1, 300),
            fsync_ms: self.dice.between(1, 60),
        };
        self.report.sessions += 1;
        self.next_connection += 1;
        let id = self.next_connection;
        self.connections.insert(id, connection);
        self.drain(id, 0)
    }

    fn feed(&mut self, connection: u64, end: usize, input: Input) -> Result<(), Violation> {
        let now = self.now;
        let Some(held) = self.connections.get_mut(&connection) else {
            return Ok(());
        };
        let end_now = &mut held.ends[end];
        let place = end_now.place;
        let Some(node) = &self.replicas[place].node else {
            return Ok(());
        };
        if let Err(error) = end_now.session.handle(now, input, &node.store) {
            return Err(Violation::Session {
                place,
                error: error.to_string(),
            });
        }
        self.drain(connection, end)
    }

    /// Carries out what a session wants.
    fn drain(&mut self, id: u64, end: usize) -> Result<(), Violation> {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else {
                return Ok(());
            };
            let fsync_ms = connection.fsync_ms;
            let place = connection.ends[end].place;
            let peer = connection.ends[1 - end].place;
            let Some(output) = connection.ends[end].session.poll_output() else {
                break;
            };
            match output {
                Output::Send { channel, bytes } => self.send(id, end, channel, bytes),
                output @ (Output::Append { .. } | Output::AppendAuthority(_)) => {
                    let at = self.now + 1 + self.dice.below(fsync_ms);
                    self.schedule(
                        at,
                        Event::Store {
                            connection: id,
                            end,
                            output,
                        },
                    );
                }
                Output::SavePeer(record) => self.save_peer(place, peer, &record)?,
                Output::Notice(Notice::Refused { .. }) => return Err(Violation::Refused(place)),
                Output::Closed(_) => self.end_closed(id, end),
                Output::PutGrants(_)
                | Output::PutReceipts(_)
                | Output::Backlog(_)
                | Output::Notice(_) => {}
                Output::Equal => self.proven[end] = true,
            }
        }
        if let Some(connection) = self.connections.get(&id)
            && let Some(at) = connection.ends[end].session.poll_timeout()
        {
            self.schedule(
                at,
                Event::Timer {
                    connection: id,
                    end,
                },
            );
        }
        Ok(())
    }

    fn send(&mut self, id: u64, end: usize, channel: Channel, bytes: Vec<u8>) {
        let piece_bytes = self
            .dice
            .pick(&[40, 1200, usize::MAX])
            .unwrap_or(usize::MAX);
        for piece in bytes.chunks(piece_bytes.min(bytes.len().max(1))) {
            let Some(connection) = self.connections.get(&id) else {
                return;
            };
            let at = self.now + connection.latency_ms + self.dice.below(1 + connection.latency_ms);
            let lane = channel.as_byte() as usize;
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            let arrives = &mut connection.ends[end].arrives[lane];
            *arrives = at.max(*arrives);
            let at = *arrives;
            self.schedule(
                at,
                Event::Deliver {
                    connection: id,
                    to: 1 - end,
                    channel,
                    bytes: piece.to_vec(),
                },
            );
        }
    }

    /// One side is through: when what it said has arrived, the connection is gone.
    fn end_closed(&mut self, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.ends[end].closed = true;
        let arrived = connection.ends[end].arrives.into_iter().max().unwrap_or(0);
        let at = arrived.max(self.now) + 1;
        self.schedule(at, Event::Lost { connection: id });
    }

    fn store(&mut self, id: u64, end: usize, output: Output) -> Result<(), Violation> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let place = connection.ends[end].place;
        let peer = self.replicas[connection.ends[1 - end].place]
            .secret
            .device();
        let authority = matches!(output, Output::AppendAuthority(_));
        let Some(node) = &mut self.replicas[place].node else {
            return Ok(());
        };
        let answer = node.carry_out(&peer, output);
        if let Some(Input::Close(CloseReason::StoreFailed)) = answer {
            return self.store_failed(place);
        }
        if let Some(input) = answer {
            self.feed(id, end, input)?;
        }
        let grown = if authority {
            Input::AuthorityGrown
        } else {
            Input::Grown
        };
        self.tell_sessions(place, Some(id), &grown)
    }

    /// Tells every session of a replica but one.
    fn tell_sessions(
        &mut self,
        place: Place,
        but: Option<u64>,
        input: &Input,
    ) -> Result<(), Violation> {
        let others: Vec<(u64, usize)> = self
            .connections
            .iter()
            .filter(|(id, _)| Some(**id) != but)
            .flat_map(|(id, connection)| {
                let ends = (0..2).filter(|end| connection.ends[*end].place == place);
                ends.map(|end| (*id, end))
            })
            .collect();
        for (id, end) in others {
            self.feed(id, end, input.clone())?;
        }
        Ok(())
    }

    /// A session remembers something of its peer: what the peer acknowledged goes into the ledger.
    fn save_peer(
        &mut self,
        place: Place,
        peer: Place,
        record: &PeerRecord,
    ) -> Result<(), Violation> {
        let peer_key = self.replicas[peer].secret.device();
        let Some(node) = &mut self.replicas[place].node else {
            return Ok(());
        };
        if node.store.put_peer(&peer_key, record).is_err() {
            return self.store_failed(place);
        }
        let Some(node) = &self.replicas[place].node else {
            return Ok(());
        };
        let mut promised: Vec<(ScopeLane, EntryId)> = Vec::new();
        for (of, lane) in &record.lanes {
            let Some(acknowledged) = lane.acknowledged else {
                continue;
            };
            let epoch = node.store.epoch();
            if acknowledged.epoch != epoch {
                continue;
            }
            let key = (place, peer_key, *of);
            let known = self.acknowledged.get(&key).filter(|it| it.0 == epoch);
            let from = known.map_or(0, |it| it.1);
            let to = acknowledged.mark.position;
            if to <= from {
                continue;
            }
            let items = node
                .store
                .journal(*of, from, usize::MAX)
                .unwrap_or_default();
            // What the peer itself sent was skipped: its acknowledgement adds nothing to that.
            let items = items
                .iter()
                .take((to - from) as usize)
                .filter(|item| item.origins.iter().all(|origin| origin.peer != peer_key));
            promised.extend(items.map(|item| (*of, item.entry.id())));
            self.acknowledged.insert(key, (epoch, to));
        }
        for (of, id) in promised {
            // What a cloned device acknowledged, the one clone or the other has.
            if self.cloned.contains(&peer_key) {
                continue;
            }
            let held = match &self.replicas[peer].node {
                Some(node) => node.store.holds(&id).unwrap_or(false),
                None => true,
            };
            if !held {
                return Err(Violation::Lost {
                    place: peer,
                    when: "as it was acknowledged",
                });
            }
            self.ledger.promise(peer, of, id);
        }
        Ok(())
    }

    /// The disk failed under a store: nothing more is acknowledged, and the process ends.
    fn store_failed(&mut self, place: Place) -> Result<(), Violation> {
        if !self.replicas[place].disk_may_fail {
            return Err(Violation::Store {
                place,
                error: "without a fault of the disk".to_owned(),
            });
        }
        self.crash(place);
        Ok(())
    }
}
