//! The pre-flight: whether a change may reach Automerge at all.
//!
//! A pure function of the change's bytes, its ancestors and the rules version. It reads bytes on
//! its own, within bounds: Automerge sees only what has passed. [`read`] judges what the bytes
//! alone decide, [`Candidate::check`] what takes the ancestors.

use crate::chunk::{Actor, Chunk, check_kind};
use crate::history::{Ancestors, At, History, Known, Made, Spot, Summary};
use crate::operations::{Action, Body, Id, Key, Operation, Value};
use crate::{RULES_VERSION, Rule};
use cairn_wire::{ChangeHash, DeviceKey, DocumentId, ScopeId, limits};

/// Where a change says it belongs and who says so.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Scope of the entry it stands in.
    pub scope: ScopeId,
    /// Author of that entry.
    pub device: DeviceKey,
    /// Document it is for.
    pub document: DocumentId,
    /// Nonce of the command that made it.
    pub nonce: [u8; 8],
    /// Whether it is the document's first change.
    pub place: Place<'a>,
}

/// A document's first change, or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The first: it makes a document of that kind.
    Root(&'a str),
    /// Any other.
    Edit,
}

/// A change that passed.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(crate) summary: Summary,
    recorded_at_s: i64,
}

impl Checked {
    /// Its recomputed hash.
    #[must_use]
    pub fn hash(&self) -> ChangeHash {
        self.summary.hash
    }

    /// When its author's clock said it was made, in seconds since 1970; believed by nobody.
    #[must_use]
    pub fn recorded_at_s(&self) -> i64 {
        self.recorded_at_s
    }

    /// How many operations it has; 0 for a merge of heads.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.summary.operations.len()
    }
}

/// Both halves of the pre-flight: every rule of that rules version.
///
/// A version that is not known here breaks no rule: the batch that names it is not opened at all.
pub fn check(bytes: &[u8], origin: &Origin<'_>, history: &History) -> Result<Checked, Rule> {
    read(bytes, origin)?.check(history)
}

/// The first half: what the bytes and their origin decide alone.
pub fn read<'a>(bytes: &'a [u8], origin: &Origin<'_>) -> Result<Candidate<'a>, Rule> {
    let chunk = Chunk::split(bytes)?;
    let Origin {
        scope,
        device,
        document,
        nonce,
        place,
    } = origin;
    match place {
        Place::Root(kind) => {
            check_kind(kind)?;
            if !chunk.dependencies.is_empty() {
                return Err(Rule::RootWithDependencies);
            }
            if chunk.parts.document_id(scope, kind, device, nonce) != *document {
                return Err(Rule::DocumentId);
            }
        }
        Place::Edit => {
            if chunk.dependencies.is_empty() {
                return Err(Rule::EditWithoutDependencies);
            }
        }
    }
    if chunk.parts.actor(scope, document, device, nonce) != chunk.actor {
        return Err(Rule::Actor);
    }
    let body = Body::read(&chunk)?;
    Ok(Candidate { chunk, body })
}

/// A change that passed the first half.
pub struct Candidate<'a> {
    chunk: Chunk<'a>,
    body: Body<'a>,
}

impl Candidate<'_> {
    /// Its recomputed hash.
    #[must_use]
    pub fn hash(&self) -> ChangeHash {
        self.chunk.hash
    }

    /// What it rests on.
    #[must_use]
    pub fn dependencies(&self) -> &[ChangeHash] {
        &self.chunk.dependencies
    }

    /// The second half, against the changes that the document holds.
    pub fn check(&self, history: &History) -> Result<Checked, Rule> {
        Ok(Checked {
            summary: judge(&self.chunk, &self.body, history)?,
            recorded_at_s: self.body.recorded_at_s,
        })
    }
}

const _: () = assert!(RULES_VERSION == 1, "a new version brings rules of its own");

/// What takes the ancestors: numbers, and every operation that an operation names.
pub(crate) fn judge(
    chunk: &Chunk<'_>,
    body: &Body<'_>,
    history: &History,
) -> Result<Summary, Rule> {
    let dependencies = chunk
        .dependencies
        .iter()
        .map(|hash| history.position(hash).ok_or(Rule::UnknownDependency))
        .collect::<Result<Vec<_>, _>>()?;
    if dependencies.is_empty() && !history.is_empty() {
        return Err(Rule::SecondRoot);
    }
    let last = dependencies
        .iter()
        .filter_map(|at| history.change(*at))
        .map(Summary::last)
        .max()
        .unwrap_or(0);
    if last.checked_add(1) != Some(body.start) {
        return Err(Rule::FirstOperation);
    }
    let count = u32::try_from(body.operations.len()).map_err(|_| Rule::TooManyOperations)?;
    if body.start.checked_add(count).is_none() {
        return Err(Rule::FirstOperation);
    }
    if count == 0 && dependencies.len() < 2 {
        return Err(Rule::Empty);
    }

    let mut judge = Judge {
        ancestors: history.ancestors(&dependencies),
        others: resolve_actors(body, history)?,
        history,
        body,
        own: Vec::with_capacity(body.operations.len()),
    };
    for operation in &body.operations {
        let known = judge.operation(operation)?;
        judge.own.push(known);
    }
    Ok(Summary {
        hash: chunk.hash,
        actor: chunk.actor,
        operations: judge.own,
        start: body.start,
        dependencies,
    })
}

/// The changes that the other actors made: each has its own actor.
fn resolve_actors(body: &Body<'_>, history: &History) -> Result<Vec<u32>, Rule> {
    body.others
        .iter()
        .map(|actor: &Actor| history.position_of_actor(actor).ok_or(Rule::NotAnAncestor))
        .collect()
}

/// Judges one operation after the other.
struct Judge<'a> {
    history: &'a History,
    body: &'a Body<'a>,
    ancestors: Ancestors,
    /// Positions of the changes by the other actors.
    others: Vec<u32>,
    /// The operations of the change itself that have been judged.
    own: Vec<Known>,
}

/// An object that an operation stands in.
struct Object {
    at: Option<At>,
    made: Made,
}

impl Judge<'_> {
    fn operation(&self, operation: &Operation<'_>) -> Result<Known, Rule> {
        let object = self.object(operation.object)?;
        let spot = self.spot(operation, &object)?;
        let made = made(operation, &object)?;
        self.predecessors(operation, &object, &spot)?;
        check_growing(operation, &object)?;
        Ok(Known {
            object: object.at,
            spot,
            insert: operation.insert,
            made,
        })
    }

    fn object(&self, id: Option<Id>) -> Result<Object, Rule> {
        let Some(id) = id else {
            return Ok(Object {
                at: None,
                made: Made::Map {
                    depth: 0,
                    grows: false,
                },
            });
        };
        let (at, known) = self.resolve(id)?;
        match known.made {
            Made::Map { .. } | Made::List { .. } | Made::Text { .. } => Ok(Object {
                at: Some(at),
                made: known.made,
            }),
            Made::Scalar | Made::Counter | Made::Nothing => Err(Rule::ObjectType),
        }
    }

    /// The operation that an id names: an ancestor's, or one before it in the change itself.
    fn resolve(&self, id: Id) -> Result<(At, &Known), Rule> {
        let own = self.own_position();
        let change = match id.actor.checked_sub(1) {
            None => own,
            Some(other) => *self.others.get(other as usize).ok_or(Rule::ActorTable)?,
        };
        let start = if change == own {
            self.body.start
        } else {
            if !self.ancestors.contain(change) {
                return Err(Rule::NotAnAncestor);
            }
            self.history
                .change(change)
                .ok_or(Rule::NotAnAncestor)?
                .start
        };
        let operation = id.counter.checked_sub(start).ok_or(Rule::NotAnAncestor)?;
        let at = At { change, operation };
        self.known(at)
            .map(|known| (at, known))
            .ok_or(Rule::NotAnAncestor)
    }

    /// The position the change itself will have.
    fn own_position(&self) -> u32 {
        u32::try_from(self.history.len()).unwrap_or(u32::MAX)
    }

    fn known(&self, at: At) -> Option<&Known> {
        if at.change == self.own_position() {
            self.own.get(at.operation as usize)
        } else {
            self.history.operation(at)
        }
    }

    /// Where in the object the operation stands; its type fits the object's.
    fn spot(&self, operation: &Operation<'_>, object: &Object) -> Result<Spot, Rule> {
        match (object.made, operation.key, operation.insert) {
            (Made::Map { .. }, Key::Property(property), false) => {
                Ok(Spot::Property(property.into()))
            }
            (Made::List { .. } | Made::Text { .. }, Key::Head, true) => {
                Ok(Spot::Element(self.next_own()))
            }
            (Made::List { .. } | Made::Text { .. }, Key::Element(id), insert) => {
                let (at, known) = self.resolve(id)?;
                if !known.insert || known.object != object.at {
                    return Err(Rule::Element);
                }
                Ok(Spot::Element(if insert { self.next_own() } else { at }))
            }
            (Made::List { .. } | Made::Text { .. }, Key::Head, false) => Err(Rule::Element),
            _ => Err(Rule::ObjectType),
        }
    }

    /// The operation that is being judged.
    fn next_own(&self) -> At {
        At {
            change: self.own_position(),
            operation: u32::try_from(self.own.len()).unwrap_or(u32::MAX),
        }
    }

    fn predecessors(
        &self,
        operation: &Operation<'_>,
        object: &Object,
        spot: &Spot,
    ) -> Result<(), Rule> {
        let ids = self
            .body
            .predecessors
            .get(operation.predecessors.clone())
            .unwrap_or(&[]);
        let needed = matches!(operation.action, Action::Delete | Action::Increment);
        if (needed && ids.is_empty()) || (operation.insert && !ids.is_empty()) {
            return Err(Rule::PredecessorCount);
        }
        // Sorted by number, then by the actor's bytes: other actors are sorted, and the change's
        // own numbers are above all others.
        let order = |id: &Id| (id.counter, id.actor);
        if !ids.is_sorted_by(|one, next| order(one) < order(next)) {
            return Err(Rule::Predecessor);
        }
        for id in ids {
            let (_, known) = self.resolve(*id)?;
            let stands_there = known.object == object.at && known.spot == *spot;
            let sets_a_value = match known.made {
                Made::Counter => true,
                Made::Map { .. } | Made::List { .. } | Made::Text { .. } | Made::Scalar => {
                    operation.action != Action::Increment
                }
                Made::Nothing => false,
            };
            if !stands_there || !sets_a_value {
                return Err(Rule::Predecessor);
            }
        }
        Ok(())
    }
}

/// What the operation leaves behind; its value fits its action.
fn made(operation: &Operation<'_>, object: &Object) -> Result<Made, Rule> {
    let (outer, in_text) = match object.made {
        Made::Map { depth, .. } | Made::List { depth } => (depth, false),
        Made::Text { depth } => (depth, true),
        Made::Scalar | Made::Counter | Made::Nothing => return Err(Rule::ObjectType),
    };
    let depth = outer.saturating_add(1);
    match (operation.action, operation.value) {
        (Action::MakeMap | Action::MakeList | Action::MakeText, Value::Null) => {
            if in_text {
                return Err(Rule::ObjectType);
            }
            if depth > limits::OBJECT_DEPTH_MAX {
                return Err(Rule::Depth);
            }
            Ok(match operation.action {
                Action::MakeMap => Made::Map {
                    depth,
                    grows: object.at.is_none() && is_growing(operation.key),
                },
                Action::MakeList => Made::List { depth },
                _ => Made::Text { depth },
            })
        }
        (Action::Put, Value::Text(text)) if in_text && !text.is_empty() => Ok(Made::Scalar),
        (Action::Put, _) if in_text => Err(Rule::Value),
        (Action::Put, Value::Counter) => Ok(Made::Counter),
        (Action::Put, _) => Ok(Made::Scalar),
        (Action::Delete, Value::Null) if !operation.insert => Ok(Made::Nothing),
        (Action::Increment, Value::Integer) if !operation.insert => Ok(Made::Nothing),
        _ => Err(Rule::Value),
    }
}

fn is_growing(key: Key<'_>) -> bool {
    matches!(key, Key::Property(property) if property.starts_with('+'))
}

/// Root keys that begin with `+` hold maps that only grow, under decimal keys, by bytes.
fn check_growing(operation: &Operation<'_>, object: &Object) -> Result<(), Rule> {
    if object.at.is_none() && is_growing(operation.key) {
        return if operation.action == Action::MakeMap && operation.predecessors.is_empty() {
            Ok(())
        } else {
            Err(Rule::GrowingKey)
        };
    }
    if !matches!(object.made, Made::Map { grows: true, .. }) {
        return Ok(());
    }
    let decimal = matches!(operation.key, Key::Property(key) if is_decimal(key));
    let bytes = operation.action == Action::Put && operation.value == Value::Bytes;
    if decimal && bytes && operation.predecessors.is_empty() {
        Ok(())
    } else {
        Err(Rule::GrowingMap)
    }
}

/// An unsigned number below 2^32 as one writes it: no sign, no leading zero.
fn is_decimal(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_digit())
        && (key == "0" || !key.starts_with('0'))
        && key.parse::<u32>().is_ok()
}
