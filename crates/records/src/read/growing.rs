//! Fields that only grow: safety assertions, sets and logs.

use super::{Facts, FieldReading, Flag, Reader, Record, Shown, is_perimeter};
use crate::geometry::Region;
use crate::layout::{Stored, typed_value};
use crate::perimeter::{Extent, Perimeter};
use crate::schema::{Class, Code, CodeList, Field, FieldType, Kind};
use crate::value::Value;
use cairn_wire::ids::ChangeHash;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Assertions in one safety field up to which each is weighed against each.
const SAID_MAX: usize = 512;

/// An assertion in a safety field, weighed.
struct Said {
    shown: Shown,
    weight: Weight,
    considered: Vec<ChangeHash>,
    /// A decision by a verified author who might decide.
    counts: bool,
}

/// How dangerous an assertion is.
enum Weight {
    /// Rank of its code.
    Code(u8),
    /// Land that it covers.
    Land(Perimeter, Region),
    /// Unreadable land: not drawn, and not forgotten until somebody decides.
    Unknown,
}

impl Weight {
    fn is_code(&self) -> bool {
        matches!(self, Self::Code(_))
    }

    /// Whether a later assertion of this weight makes nothing safer than the earlier one. That a
    /// drawn ring stands for the circle whose centre it holds is taken from verified authors
    /// only: from others the ring has to hold the whole circle.
    fn covers(&self, earlier: &Self, verified: bool) -> bool {
        match (self, earlier) {
            (Self::Code(mine), Self::Code(theirs)) => mine >= theirs,
            (Self::Land(_, region), Self::Land(_, theirs)) if !verified => region.contains(theirs),
            (Self::Land(mine, region), Self::Land(theirs, their_region)) => {
                mine.covers_with(region, theirs, their_region)
            }
            _ => false,
        }
    }
}

impl<F: Facts> Reader<'_, F> {
    /// Reads a safety field whose values are codes. `open` are changes with evidence that stands
    /// as the assumed value.
    pub(super) fn haz(
        &self,
        field: &Field,
        mut open: BTreeSet<ChangeHash>,
        flags: &mut BTreeSet<Flag>,
    ) -> Option<FieldReading> {
        if is_perimeter(&field.field_type) {
            return None;
        }
        let list = field.codes()?;
        let assumed = list.assumed.as_deref()?;
        let weigh = |value: &Value| Weight::Code(list.danger(value.as_text()));
        let mut said = self.said(field, &weigh);
        if !said.iter().any(|said| said.shown.change == self.root) {
            open.insert(self.root);
        }
        let stated = !said.is_empty();
        said.extend(open.into_iter().map(|change| Said {
            shown: Shown {
                implied: true,
                ..self.shown(Value::from(assumed), change)
            },
            weight: weigh(&Value::from(assumed)),
            considered: Vec::new(),
            counts: false,
        }));
        let mut said = self.unsuperseded(said);
        if said.iter().any(|one| {
            one.shown
                .value
                .as_text()
                .is_none_or(|code| list.code(code).is_none())
        }) {
            flags.insert(Flag::Unrecognised);
        }
        let reads = reading(list, assumed, &said);
        let most = list.danger(Some(reads));
        for one in &mut said {
            one.shown.proposal = matches!(one.weight, Weight::Code(danger) if danger < most);
        }
        let conflict = self.conflict(&said);
        // Silence alone is no value that somebody could choose.
        let assumed_only = said.iter().all(|one| one.shown.implied);
        let values = if stated || !assumed_only {
            said.into_iter().map(|one| one.shown).collect()
        } else {
            Vec::new()
        };
        Some(FieldReading {
            class: Class::Haz,
            reads: Value::from(reads),
            region: None,
            values: self.lettered(values),
            conflict,
            assumed: assumed_only,
        })
    }

    /// Reads the perimeters, and says what is to be known about them.
    pub(super) fn extent(&self, record: &mut Record) {
        let fields = record.definition().into_iter().flat_map(Kind::fields);
        for field in fields.filter(|field| is_perimeter(&field.field_type)) {
            let least_m = record.area_reported_m2().map(Perimeter::radius_of_area_m);
            match self.perimeter(field, least_m, &mut record.flags) {
                Some(reading) => {
                    record.fields.insert(field.name.clone(), reading);
                }
                None => {
                    record.flags.insert(Flag::NoPlace);
                }
            }
        }
    }

    fn perimeter(
        &self,
        field: &Field,
        least_radius_m: Option<u32>,
        flags: &mut BTreeSet<Flag>,
    ) -> Option<FieldReading> {
        let said = self.said(field, &|value| match value {
            Value::Perimeter(perimeter) => {
                let perimeter = at_least(perimeter, least_radius_m);
                let region = perimeter.region();
                Weight::Land(perimeter, region)
            }
            _ => Weight::Unknown,
        });
        let mut said = self.unsuperseded(said);
        // Those that would shrink what stood before them.
        let standing: Vec<ChangeHash> = said.iter().map(|one| one.shown.change).collect();
        for one in &mut said {
            let before = |change: &ChangeHash| self.lineage.is_ancestor(change, &one.shown.change);
            one.shown.proposal = standing.iter().any(before);
        }
        let lands = || {
            said.iter().filter_map(|one| match &one.weight {
                Weight::Land(perimeter, region) => Some((perimeter, region)),
                _ => None,
            })
        };
        if said.iter().any(|one| matches!(one.weight, Weight::Unknown)) {
            flags.insert(Flag::Unrecognised);
        }
        for (perimeter, _) in lands() {
            match &perimeter.extent {
                Extent::Circle { .. } => flags.insert(Flag::ExtentNotSurveyed),
                Extent::Rings(shape) => shape.crosses_itself() && flags.insert(Flag::CrossesItself),
            };
        }
        let regions: Vec<Region> = lands().map(|(_, region)| region.clone()).collect();
        let region = Region::union(&regions);
        let mut different: Vec<&Perimeter> = Vec::new();
        for (perimeter, _) in lands() {
            if !different.contains(&perimeter) {
                different.push(perimeter);
            }
        }
        let reads = match different.as_slice() {
            [] => return self.unreadable(said),
            [one] => Value::Perimeter((*one).clone()),
            _ => Value::Perimeter(Perimeter::dissolved(&region)),
        };
        let conflict = self.conflict(&said);
        Some(FieldReading {
            class: Class::Haz,
            reads,
            region: Some(region),
            values: self.lettered(said.into_iter().map(|one| one.shown).collect()),
            conflict,
            assumed: false,
        })
    }

    /// A perimeter that only a newer version can read is shown as such.
    fn unreadable(&self, said: Vec<Said>) -> Option<FieldReading> {
        (!said.is_empty()).then(|| FieldReading {
            class: Class::Haz,
            reads: Value::Null,
            region: None,
            values: self.lettered(said.into_iter().map(|one| one.shown).collect()),
            conflict: false,
            assumed: false,
        })
    }

    fn said(&self, field: &Field, weigh: &dyn Fn(&Value) -> Weight) -> Vec<Said> {
        let stored = self.assertions(&field.name);
        stored
            .into_iter()
            .filter_map(|stored| self.said_by(stored, &field.field_type, weigh))
            .collect()
    }

    /// `None` for an assertion without a value, which says nothing in a safety field.
    fn said_by(
        &self,
        stored: Stored,
        field_type: &FieldType,
        weigh: &dyn Fn(&Value) -> Weight,
    ) -> Option<Said> {
        let Some(assertion) = stored.assertion else {
            let value = Value::Bytes(Vec::new());
            return Some(Said {
                weight: weigh(&value),
                shown: Shown {
                    key: Some(stored.key),
                    ..self.shown(value, stored.change)
                },
                considered: Vec::new(),
                counts: false,
            });
        };
        let value = typed_value(&assertion.value?, Some(field_type)).unwrap_or_else(|raw| raw);
        let facts = self.facts(&stored.change);
        Some(Said {
            weight: weigh(&value),
            shown: Shown {
                key: Some(stored.key),
                decision: assertion.decision,
                reason: assertion.reason,
                ..self.shown(value, stored.change)
            },
            considered: assertion.considered,
            counts: assertion.decision && facts.verified && facts.may_decide,
        })
    }

    /// In a field with more assertions than people ever make, those of one change are weighed as
    /// the most dangerous of them (perimeters: as their union): the reading is the same.
    fn bounded(&self, said: Vec<Said>) -> Vec<Said> {
        if said.len() <= SAID_MAX {
            return said;
        }
        let mut by_change: BTreeMap<ChangeHash, Vec<Said>> = BTreeMap::new();
        for one in said {
            by_change.entry(one.shown.change).or_default().push(one);
        }
        by_change.into_values().flat_map(most_dangerous).collect()
    }

    /// S supersedes E if E is an ancestor of S and S makes nothing safer, or if S is a decision
    /// that counts and names E's change.
    fn unsuperseded(&self, said: Vec<Said>) -> Vec<Said> {
        let said = self.bounded(said);
        // Beyond this many perimeters none is taken to hold another: larger, and bounded work.
        let weigh = said.len() <= SAID_MAX || said.iter().all(|one| one.weight.is_code());
        let superseded: Vec<bool> = said
            .iter()
            .map(|earlier| {
                said.iter().any(|later| {
                    let (before, after) = (&earlier.shown.change, &later.shown.change);
                    (later.counts && before != after && later.considered.contains(before))
                        || (weigh
                            && self.lineage.is_ancestor(before, after)
                            && later.weight.covers(&earlier.weight, later.shown.verified))
                })
            })
            .collect();
        said.into_iter()
            .zip(superseded)
            .filter(|(_, superseded)| !superseded)
            .map(|(one, _)| one)
            .collect()
    }

    /// Two different values, neither an ancestor of the other. What evidence implies disagrees
    /// with nothing that is as dangerous.
    fn conflict(&self, said: &[Said]) -> bool {
        said.iter().enumerate().any(|(index, one)| {
            said.iter().skip(index + 1).any(|other| {
                let (a, b) = (&one.shown, &other.shown);
                let apart = a.change == b.change || self.lineage.concurrent(&a.change, &b.change);
                let agree = (a.implied || b.implied)
                    && one.weight.covers(&other.weight, true)
                    && other.weight.covers(&one.weight, true);
                apart && a.value != b.value && !agree
            })
        })
    }

    /// Reads a set or a log.
    pub(super) fn collection(
        &self,
        name: &str,
        class: Class,
        safety: bool,
        field_type: Option<&FieldType>,
    ) -> Option<FieldReading> {
        let stored = self.assertions(name);
        let mut taken_back: HashSet<(ChangeHash, &str)> = HashSet::new();
        let mut proposed: Vec<(&Stored, &ChangeHash, &str)> = Vec::new();
        for one in &stored {
            let Some(assertion) = &one.assertion else {
                continue;
            };
            let facts = self.facts(&one.change);
            let entitled = !safety || (assertion.decision && facts.may_decide);
            for (change, key) in &assertion.withdraws {
                if facts.verified && entitled {
                    taken_back.insert((*change, key));
                } else {
                    proposed.push((one, change, key));
                }
            }
        }
        let mut values: Vec<Shown> = stored
            .iter()
            .filter(|one| !taken_back.contains(&(one.change, one.key.as_str())))
            .filter_map(|one| self.tick(one, field_type))
            .collect();
        let removals: Vec<Shown> = proposed
            .into_iter()
            .filter_map(|(by, change, key)| {
                let stands =
                    |shown: &&Shown| shown.change == *change && shown.key.as_deref() == Some(key);
                let tick = values.iter().find(stands)?;
                let kept = values.iter().any(|shown| {
                    shown.value == tick.value && self.lineage.is_ancestor(&by.change, &shown.change)
                });
                let assertion = by.assertion.as_ref()?;
                (!kept).then(|| Shown {
                    key: Some(by.key.clone()),
                    proposal: true,
                    removes: true,
                    decision: assertion.decision,
                    reason: assertion.reason.clone(),
                    ..self.shown(tick.value.clone(), by.change)
                })
            })
            .collect();
        for removal in removals {
            if !values.contains(&removal) {
                values.push(removal);
            }
        }
        let values = self.lettered(values);
        if values.is_empty() {
            return None;
        }
        Some(FieldReading {
            class,
            reads: Value::List(listed(class, &values)),
            region: None,
            values,
            conflict: false,
            assumed: false,
        })
    }

    fn tick(&self, stored: &Stored, field_type: Option<&FieldType>) -> Option<Shown> {
        let (value, decision, reason) = match &stored.assertion {
            Some(assertion) => {
                let value = typed_value(assertion.value.as_ref()?, field_type);
                let reason = assertion.reason.clone();
                (value.unwrap_or_else(|raw| raw), assertion.decision, reason)
            }
            None => (Value::Bytes(Vec::new()), false, None),
        };
        Some(Shown {
            key: Some(stored.key.clone()),
            decision,
            reason,
            ..self.shown(value, stored.change)
        })
    }
}

/// What one change says, taken together. Decisions that count keep what they name.
fn most_dangerous(mut said: Vec<Said>) -> Vec<Said> {
    let considered: BTreeSet<ChangeHash> = said
        .iter()
        .filter(|one| one.counts)
        .flat_map(|one| one.considered.iter().copied())
        .collect();
    let lands: Vec<Region> = said
        .iter()
        .filter_map(|one| match &one.weight {
            Weight::Land(_, region) => Some(region.clone()),
            _ => None,
        })
        .collect();
    let rank = |one: &Said| match one.weight {
        Weight::Code(danger) => danger,
        Weight::Land(..) => 0,
        Weight::Unknown => u8::MAX,
    };
    said.sort_by(|a, b| {
        rank(b)
            .cmp(&rank(a))
            .then_with(|| a.shown.key.cmp(&b.shown.key))
    });
    let unknown = said.iter().any(|one| matches!(one.weight, Weight::Unknown));
    said.truncate(if unknown && !lands.is_empty() { 2 } else { 1 });
    if let (Some(last), false) = (said.last_mut(), lands.is_empty()) {
        let region = Region::union(&lands);
        let perimeter = Perimeter::dissolved(&region);
        last.shown.value = Value::Perimeter(perimeter.clone());
        last.weight = Weight::Land(perimeter, region);
    }
    for one in &mut said {
        one.counts = !considered.is_empty();
        one.considered = considered.iter().copied().collect();
    }
    said
}

/// The most dangerous code that stands; where several are as dangerous, one that somebody stated,
/// and of these the first of the list.
fn reading<'a>(list: &'a CodeList, assumed: &'a str, said: &[Said]) -> &'a str {
    let danger = |one: &Said| match one.weight {
        Weight::Code(danger) => danger,
        _ => 0,
    };
    let Some(most) = said.iter().map(danger).max() else {
        return assumed;
    };
    let stated = |code: &&Code| {
        let mut most_dangerous = said.iter().filter(|one| danger(one) == most);
        most_dangerous
            .any(|one| !one.shown.implied && one.shown.value.as_text() == Some(&code.code))
    };
    let known = list.codes.iter().find(stated);
    known.map_or(assumed, |code| code.code.as_str())
}

/// A circle grows with the reported area and never shrinks with it.
fn at_least(perimeter: &Perimeter, least_radius_m: Option<u32>) -> Perimeter {
    match (&perimeter.extent, least_radius_m) {
        (Extent::Circle { centre, radius_m }, Some(least_m)) => Perimeter {
            extent: Extent::Circle {
                centre: *centre,
                radius_m: least_m.max(*radius_m),
            },
            ..perimeter.clone()
        },
        _ => perimeter.clone(),
    }
}

/// Sets: each value once, sorted; logs: every entry in order.
fn listed(class: Class, values: &[Shown]) -> Vec<Value> {
    let standing = values.iter().filter(|shown| !shown.removes);
    let mut listed: Vec<Value> = standing.map(|shown| shown.value.clone()).collect();
    if class == Class::Set {
        listed.sort_by_key(crate::cbor::encode);
        listed.dedup();
    }
    listed
}
