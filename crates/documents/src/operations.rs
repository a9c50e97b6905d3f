//! What stands in a change behind its actor: every operation decoded within bounds, and encoded
//! again to see that the bytes are the only ones that say so.

use crate::Rule;
use crate::chunk::{ACTOR_BYTES, Actor, Chunk};
use crate::columns::{
    Cell, Reader, claimed_cells, read_booleans, read_differences, read_runs, write_booleans,
    write_differences, write_runs,
};
use cairn_wire::limits;

/// Recorded times reach this far from 1970 either way.
pub const TIME_S_MAX: i64 = 1 << 40;

const OBJECT_ACTOR: u64 = 0x01;
const OBJECT_COUNTER: u64 = 0x02;
const KEY_ACTOR: u64 = 0x11;
const KEY_COUNTER: u64 = 0x13;
const KEY_STRING: u64 = 0x15;
const INSERT: u64 = 0x34;
const ACTION: u64 = 0x42;
const VALUE_META: u64 = 0x56;
const VALUE: u64 = 0x57;
const PREDECESSOR_COUNT: u64 = 0x70;
const PREDECESSOR_ACTOR: u64 = 0x71;
const PREDECESSOR_COUNTER: u64 = 0x73;
/// In this order they stand in a change.
const COLUMNS: [u64; 12] = [
    OBJECT_ACTOR,
    OBJECT_COUNTER,
    KEY_ACTOR,
    KEY_COUNTER,
    KEY_STRING,
    INSERT,
    ACTION,
    VALUE_META,
    VALUE,
    PREDECESSOR_COUNT,
    PREDECESSOR_ACTOR,
    PREDECESSOR_COUNTER,
];
const DEFLATED_BIT: u64 = 0x08;

/// An operation as a change names it: which actor of the change's table (0 is its own), which
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) actor: u32,
    pub(crate) counter: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Property(&'a str),
    Head,
    Element(Id),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    MakeMap,
    Put,
    MakeList,
    Delete,
    MakeText,
    Increment,
}

impl Action {
    fn from_number(number: u64) -> Result<Self, Rule> {
        match number {
            0 => Ok(Self::MakeMap),
            1 => Ok(Self::Put),
            2 => Ok(Self::MakeList),
            3 => Ok(Self::Delete),
            4 => Ok(Self::MakeText),
            5 => Ok(Self::Increment),
            _ => Err(Rule::Action),
        }
    }
}

/// The type of a scalar, and its bytes where a rule asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean,
    Unsigned,
    Integer,
    Float,
    Text(&'a str),
    Bytes,
    Counter,
    Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Operation<'a> {
    /// `None` is the document's root.
    pub(crate) object: Option<Id>,
    pub(crate) key: Key<'a>,
    pub(crate) insert: bool,
    pub(crate) action: Action,
    pub(crate) value: Value<'a>,
    pub(crate) predecessors: std::ops::Range<usize>,
}

/// The part of a change that stands behind its actor.
pub(crate) struct Body<'a> {
    pub(crate) start: u32,
    pub(crate) recorded_at_s: i64,
    /// Other actors that operations name: sorted, each used.
    pub(crate) others: Vec<Actor>,
    pub(crate) operations: Vec<Operation<'a>>,
    /// Predecessors of all operations, one after the other.
    pub(crate) predecessors: Vec<Id>,
}

impl<'a> Body<'a> {
    /// Decodes it and compares it, column by column, with the canonical encoding.
    pub(crate) fn read(chunk: &Chunk<'a>) -> Result<Self, Rule> {
        let mut reader = Reader::new(chunk.parts.after());
        if reader.unsigned()? != 1 {
            return Err(Rule::SequenceNumber);
        }
        let start = u32::try_from(reader.unsigned()?).map_err(|_| Rule::FirstOperation)?;
        let recorded_at_s = reader.signed()?;
        if recorded_at_s.unsigned_abs() > TIME_S_MAX.unsigned_abs() {
            return Err(Rule::Time);
        }
        if reader.length()? != 0 {
            return Err(Rule::Message);
        }
        let others = read_actors(&mut reader, &chunk.actor)?;
        let columns = Columns::read(&mut reader)?;
        let mut body = Self {
            start,
            recorded_at_s,
            others,
            operations: Vec::new(),
            predecessors: Vec::new(),
        };
        body.read_operations(&columns)?;
        body.check_actors_used()?;
        Ok(body)
    }

    fn read_operations(&mut self, columns: &Columns<'a>) -> Result<(), Rule> {
        const MAX: usize = limits::CHANGE_OPERATIONS_MAX;
        let actions = runs::<u64>(columns.of(ACTION), MAX)?;
        let count = actions.len();
        let objects = Ids::read_objects(columns, count)?;
        let keys = Ids::read_differences(columns, KEY_ACTOR, KEY_COUNTER, count)?;
        let properties = runs::<&str>(columns.of(KEY_STRING), count)?;
        let inserts = booleans(columns.of(INSERT), count)?;
        let metas = runs::<u64>(columns.of(VALUE_META), count)?;
        let mut values = Reader::new(columns.of(VALUE));
        let counts = runs::<u64>(columns.of(PREDECESSOR_COUNT), count)?;
        let predecessors =
            Ids::read_differences(columns, PREDECESSOR_ACTOR, PREDECESSOR_COUNTER, MAX)?;
        let optional = [&objects, &keys]
            .into_iter()
            .flat_map(|ids| [ids.actors.len(), ids.counters.len()])
            .chain([properties.len()]);
        if optional
            .into_iter()
            .any(|cells| cells != 0 && cells != count)
        {
            return Err(Rule::NotCanonical);
        }

        let mut key_bytes = 0;
        for (at, action) in actions.into_iter().enumerate() {
            let property = properties.get(at).copied().flatten();
            if let Some(property) = property {
                key_bytes += property.len();
                if property.is_empty()
                    || property.len() > limits::CHANGE_KEY_BYTES_MAX
                    || key_bytes > limits::CHANGE_KEYS_BYTES_MAX
                {
                    return Err(Rule::Key);
                }
            }
            let first = self.predecessors.len();
            let named = cell(&counts, at)?;
            let named = usize::try_from(named).map_err(|_| Rule::TooManyOperations)?;
            if named > predecessors.counters.len() - first {
                return Err(Rule::Column);
            }
            for at in first..first + named {
                let id = self.id(predecessors.get(at))?.ok_or(Rule::Column)?;
                self.predecessors.push(id);
            }
            self.operations.push(Operation {
                object: self.id(objects.get(at))?,
                key: self.key(keys.get(at), property)?,
                insert: *inserts.get(at).ok_or(Rule::Column)?,
                action: Action::from_number(action.ok_or(Rule::Column)?)?,
                value: read_value(cell(&metas, at)?, &mut values)?,
                predecessors: first..self.predecessors.len(),
            });
        }
        if inserts.len() != count
            || metas.len() != count
            || counts.len() != count
            || predecessors.actors.len() != self.predecessors.len()
            || predecessors.counters.len() != self.predecessors.len()
            || !values.is_empty()
        {
            return Err(Rule::NotCanonical);
        }
        Ok(())
    }

    fn id(&self, cells: (Option<u64>, Option<u32>)) -> Result<Option<Id>, Rule> {
        match cells {
            (None, None) => Ok(None),
            (Some(actor), Some(counter)) if counter > 0 => {
                let actor = u32::try_from(actor).map_err(|_| Rule::ActorTable)?;
                if actor as usize > self.others.len() {
                    return Err(Rule::ActorTable);
                }
                Ok(Some(Id { actor, counter }))
            }
            _ => Err(Rule::Column),
        }
    }

    fn key(
        &self,
        cells: (Option<u64>, Option<u32>),
        property: Option<&'a str>,
    ) -> Result<Key<'a>, Rule> {
        match (cells, property) {
            ((None, None), Some(property)) => Ok(Key::Property(property)),
            ((None, Some(0)), None) => Ok(Key::Head),
            (cells, None) => self.id(cells)?.map(Key::Element).ok_or(Rule::Column),
            (_, Some(_)) => Err(Rule::Column),
        }
    }

    fn check_actors_used(&self) -> Result<(), Rule> {
        let mut used = vec![false; self.others.len() + 1];
        let named = self.operations.iter().flat_map(|operation| {
            let element = match operation.key {
                Key::Element(id) => Some(id),
                Key::Property(_) | Key::Head => None,
            };
            operation.object.into_iter().chain(element)
        });
        for id in named.chain(self.predecessors.iter().copied()) {
            if let Some(used) = used.get_mut(id.actor as usize) {
                *used = true;
            }
        }
        if used.iter().skip(1).all(|used| *used) {
            Ok(())
        } else {
            Err(Rule::ActorTable)
        }
    }
}

/// How many operations and predecessors the bytes behind an actor claim, without expanding any
/// run: what reading them would cost at most.
pub(crate) fn claimed(after: &[u8]) -> u64 {
    let mut reader = Reader::new(after);
    let Ok(columns) = skip_to_columns(&mut reader).and_then(|()| Columns::read(&mut reader)) else {
        return 0;
    };
    [ACTION, PREDECESSOR_ACTOR, PREDECESSOR_COUNTER]
        .into_iter()
        .map(|spec| claimed_cells(columns.of(spec)))
        .fold(0, u64::saturating_add)
}

fn skip_to_columns(reader: &mut Reader<'_>) -> Result<(), Rule> {
    reader.unsigned()?;
    reader.unsigned()?;
    reader.signed()?;
    let message = reader.length()?;
    reader.take(message)?;
    for _ in 0..reader.length()? {
        let actor = reader.length()?;
        reader.take(actor)?;
    }
    Ok(())
}

/// Other actors: each of the right length, sorted, none twice, none the change's own.
fn read_actors(reader: &mut Reader<'_>, own: &Actor) -> Result<Vec<Actor>, Rule> {
    let count = reader.length()?;
    // Each takes 17 bytes of what is left, so the claim bounds itself.
    if count > reader.rest().len() / (ACTOR_BYTES + 1) {
        return Err(Rule::Truncated);
    }
    let mut actors = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.length()? != ACTOR_BYTES {
            return Err(Rule::ActorLength);
        }
        actors.push(reader.array()?);
    }
    if !actors.is_sorted_by(|one, next| one < next) || actors.contains(own) {
        return Err(Rule::ActorTable);
    }
    Ok(actors)
}

/// The bytes of each column.
struct Columns<'a>([&'a [u8]; COLUMNS.len()]);

impl<'a> Columns<'a> {
    /// Only known columns, in order, none empty, nothing behind them.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Rule> {
        let count = reader.length()?;
        if count > COLUMNS.len() {
            return Err(Rule::UnknownColumn);
        }
        let mut lengths = [0; COLUMNS.len()];
        let mut next = 0;
        for _ in 0..count {
            let spec = reader.unsigned()?;
            if spec & DEFLATED_BIT != 0 {
                return Err(Rule::Compressed);
            }
            let at = COLUMNS
                .iter()
                .skip(next)
                .position(|known| *known == spec)
                .ok_or(Rule::UnknownColumn)?
                + next;
            let len = reader.length()?;
            if len == 0 {
                return Err(Rule::NotCanonical);
            }
            if let Some(length) = lengths.get_mut(at) {
                *length = len;
            }
            next = at + 1;
        }
        let mut columns = [&[][..]; COLUMNS.len()];
        for (column, len) in columns.iter_mut().zip(lengths) {
            *column = reader.take(len)?;
        }
        if !reader.is_empty() {
            return Err(Rule::ExtraBytes);
        }
        Ok(Self(columns))
    }

    fn of(&self, spec: u64) -> &'a [u8] {
        COLUMNS
            .iter()
            .zip(self.0)
            .find_map(|(known, bytes)| (*known == spec).then_some(bytes))
            .unwrap_or(&[])
    }
}

/// Two columns that name operations.
struct Ids {
    actors: Vec<Option<u64>>,
    counters: Vec<Option<u32>>,
}

impl Ids {
    fn read_objects(columns: &Columns<'_>, max: usize) -> Result<Self, Rule> {
        let counters = runs::<u64>(columns.of(OBJECT_COUNTER), max)?
            .into_iter()
            .map(|counter| {
                counter
                    .map(|counter| u32::try_from(counter).map_err(|_| Rule::Number))
                    .transpose()
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            actors: runs(columns.of(OBJECT_ACTOR), max)?,
            counters,
        })
    }

    fn read_differences(
        columns: &Columns<'_>,
        actors: u64,
        counters: u64,
        max: usize,
    ) -> Result<Self, Rule> {
        let bytes = columns.of(counters);
        let counters = read_differences(bytes, max)?;
        let mut again = Vec::with_capacity(bytes.len());
        write_differences(&mut again, &counters);
        if again != bytes {
            return Err(Rule::NotCanonical);
        }
        let actors = runs(columns.of(actors), max)?;
        Ok(Self { actors, counters })
    }

    fn get(&self, at: usize) -> (Option<u64>, Option<u32>) {
        (
            self.actors.get(at).copied().flatten(),
            self.counters.get(at).copied().flatten(),
        )
    }
}

/// A run-length encoded column that is written as its cells would be.
fn runs<'a, T: Cell<'a>>(bytes: &'a [u8], max: usize) -> Result<Vec<Option<T>>, Rule> {
    let cells = read_runs(bytes, max)?;
    let mut again = Vec::with_capacity(bytes.len());
    write_runs(&mut again, &cells);
    if again != bytes {
        return Err(Rule::NotCanonical);
    }
    Ok(cells)
}

fn booleans(bytes: &[u8], max: usize) -> Result<Vec<bool>, Rule> {
    let cells = read_booleans(bytes, max)?;
    let mut again = Vec::with_capacity(bytes.len());
    write_booleans(&mut again, &cells);
    if again != bytes {
        return Err(Rule::NotCanonical);
    }
    Ok(cells)
}

fn cell(cells: &[Option<u64>], at: usize) -> Result<u64, Rule> {
    cells.get(at).copied().flatten().ok_or(Rule::Column)
}

/// One scalar: its type stands in the low four bits of `meta`, its length above.
fn read_value<'a>(meta: u64, values: &mut Reader<'a>) -> Result<Value<'a>, Rule> {
    let len = usize::try_from(meta >> 4).map_err(|_| Rule::Number)?;
    let bytes = values.take(len)?;
    let mut reader = Reader::new(bytes);
    let value = match meta & 0x0f {
        0 => Value::Null,
        1 | 2 => Value::Boolean,
        3 => reader.unsigned().map(|_| Value::Unsigned)?,
        4 => reader.signed().map(|_| Value::Integer)?,
        5 => {
            if !f64::from_le_bytes(reader.array()?).is_finite() {
                return Err(Rule::Value);
            }
            Value::Float
        }
        6 => {
            let text = std::str::from_utf8(reader.take(len)?).map_err(|_| Rule::Value)?;
            Value::Text(text)
        }
        7 => reader.take(len).map(|_| Value::Bytes)?,
        8 => reader.signed().map(|_| Value::Counter)?,
        9 => reader.signed().map(|_| Value::Timestamp)?,
        _ => return Err(Rule::Value),
    };
    if reader.is_empty() {
        Ok(value)
    } else {
        Err(Rule::Value)
    }
}
