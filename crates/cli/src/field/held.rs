//! Which areas of work are held here, and how old they are: said wherever records are shown, for silence
//! is not safety.

use crate::output::Output;
use crate::words::{self, count, utc};
use cairn_device::{Held, HeldScope};
use serde_json::{Value as Json, json};

/// Keys of every answer that speaks of what is held here.
pub fn insert_held(held: &Held, object: &mut Json) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let names: Vec<&str> = of(held, true).map(|scope| scope.name.as_str()).collect();
    let others: Vec<&str> = of(held, false).map(|scope| scope.name.as_str()).collect();
    let data: Vec<Json> = of(held, true)
        .map(|scope| {
            json!({
                "scope": scope.name,
                "documents": scope.totals.documents,
                "newest_recorded_at": newest_s(scope).and_then(utc),
                "compared_at": compared_s(held, scope).and_then(utc),
            })
        })
        .collect();
    object.insert("scopes_held".into(), json!(names));
    object.insert("scopes_not_held".into(), json!(others));
    object.insert("data".into(), json!(data));
    object.insert("as_of".into(), json!(as_of_s(held).and_then(utc)));
}

/// Which areas of work are held here, how old they are, and which are not: a sentence or two.
pub fn held_in_words(held: &Held, output: &Output) -> String {
    let alike = alike(held);
    let scopes: Vec<String> = of(held, true)
        .map(|scope| {
            let as_of = match alike {
                true => String::new(),
                false => format!(", {}", compared_in_words(compared_s(held, scope), output)),
            };
            let (name, records) = (words::harmless(&scope.name), records_in_words(scope));
            match newest_s(scope) {
                None => format!("{name} ({records}{as_of})"),
                Some(at) => {
                    let newest = words::time(at, &output.zone);
                    format!("{name} ({records}, newest {newest}{as_of})")
                }
            }
        })
        .collect();
    if scopes.is_empty() {
        return "No area of work is held here.".to_owned();
    }
    let as_of = match alike {
        true => format!(", {}", as_of_in_words(held, output)),
        false => String::new(),
    };
    format!(
        "Held here: {}{as_of}. {}",
        words::listed(&scopes),
        others_in_words(held)
    )
}

/// A line for each area of work that is held here, and a sentence on the others.
pub fn held_in_lines(held: &Held, output: &Output) -> String {
    let rows: Vec<Vec<String>> = of(held, true)
        .map(|scope| {
            let newest = newest_s(scope).map_or_else(String::new, |at| {
                format!("newest {}", words::time(at, &output.zone))
            });
            let compared = match compared_s(held, scope) {
                Some(at) => format!("same as the relay {}", words::time(at, &output.zone)),
                None => "never compared with a relay".to_owned(),
            };
            vec![
                format!("  {}", scope.name),
                records_in_words(scope),
                newest,
                compared,
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No area of work is held here.".to_owned();
    }
    format!(
        "Areas of work held here:\n{}{}",
        output.table(&rows),
        others_in_words(held)
    )
}

/// How old what is held is: since then others may have found more.
pub fn as_of_in_words(held: &Held, output: &Output) -> String {
    compared_in_words(as_of_s(held), output)
}

fn compared_in_words(at: Option<i64>, output: &Output) -> String {
    match at {
        Some(at) => format!("as of {}", words::time(at, &output.zone)),
        None => "never fully synced".to_owned(),
    }
}

fn others_in_words(held: &Held) -> String {
    let others: Vec<String> = of(held, false)
        .map(|scope| words::harmless(&scope.name))
        .collect();
    match others.is_empty() {
        true => "About other areas of work this says nothing.".to_owned(),
        false => format!("Not held, and nothing said of: {}.", words::listed(&others)),
    }
}

fn records_in_words(scope: &HeldScope) -> String {
    match scope.totals.documents {
        0 => "no record".to_owned(),
        documents => count(documents, "record"),
    }
}

/// Those that are held here, or those that are not.
fn of(held: &Held, here: bool) -> impl Iterator<Item = &HeldScope> {
    held.scopes.iter().filter(move |scope| scope.held == here)
}

fn newest_s(scope: &HeldScope) -> Option<i64> {
    (scope.totals.documents > 0).then_some(scope.totals.newest_s)
}

/// When this device last held the same as a relay there.
fn compared_s(held: &Held, scope: &HeldScope) -> Option<i64> {
    held.compared_s.get(&scope.scope).copied()
}

/// As old as the oldest of what is held.
fn as_of_s(held: &Held) -> Option<i64> {
    let each: Option<Vec<i64>> = of(held, true)
        .map(|scope| compared_s(held, scope))
        .collect();
    each?.into_iter().min()
}

/// Whether one time says how old all is.
fn alike(held: &Held) -> bool {
    let mut times = of(held, true).map(|scope| compared_s(held, scope));
    let first = times.next();
    times.all(|time| Some(time) == first)
}
