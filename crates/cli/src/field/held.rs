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
                Some(at) => format!("same as relay {}", words::time(at, &output.zone)),
                None => "never fully synced".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_device::member::Totals;
    use cairn_wire::ids::ScopeId;

    fn scope(number: u8, name: &str, held: bool, documents: u64) -> HeldScope {
        HeldScope {
            scope: ScopeId([number; 16]),
            name: name.to_owned(),
            held,
            totals: Totals {
                documents,
                newest_s: 1_710_000_000, // 9 Mar 2024 16:00 UTC
                ..Totals::default()
            },
        }
    }

    fn compared(times: &[(u8, i64)]) -> Held {
        Held {
            scopes: vec![
                scope(1, "north", true, 2),
                scope(2, "south", true, 0),
                scope(3, "west", false, 0),
            ],
            last_contact_s: Some(1_710_020_000),
            compared_s: times
                .iter()
                .map(|(number, at)| (ScopeId([*number; 16]), *at))
                .collect(),
        }
    }

    #[test]
    fn one_time_says_how_old_all_is_where_it_is_one() {
        let (output, at) = (Output::plain(false), 1_710_013_000);
        let said = held_in_words(&compared(&[(1, at), (2, at)]), &output);
        let expected = "Held here: north (2 records, newest 9 Mar 2024 16:00) and south (no record), \
                        as of 9 Mar 2024 19:36. Not held, and nothing said of: west.";
        assert_eq!(said, expected);
    }

    #[test]
    fn areas_of_different_age_each_say_their_own_and_the_oldest_counts() {
        let output = Output::plain(false);
        let held = compared(&[(1, 1_710_013_000)]);
        let said = held_in_words(&held, &output);
        assert!(
            said.contains("north (2 records, newest 9 Mar 2024 16:00, as of 9 Mar 2024 19:36)")
        );
        assert!(
            said.contains("south (no record, never fully synced)"),
            "{said}"
        );
        let mut object = json!({});
        insert_held(&held, &mut object);
        assert_eq!(object["as_of"], Json::Null, "of one area nothing is known");
        assert_eq!(object["data"][0]["compared_at"], "2024-03-09T19:36:40Z");
        assert_eq!(object["data"][1]["newest_recorded_at"], Json::Null);
        assert_eq!(object["scopes_not_held"], json!(["west"]));
        let both = compared(&[(1, 1_710_013_000), (2, 1_710_000_000)]);
        insert_held(&both, &mut object);
        assert_eq!(object["as_of"], "2024-03-09T16:00:00Z");
    }

    #[test]
    fn a_relay_that_only_answered_makes_nothing_newer() {
        let (output, held) = (Output::plain(false), compared(&[]));
        assert_eq!(as_of_in_words(&held, &output), "never fully synced");
        assert_eq!(
            held_in_lines(&held, &output),
            "Areas of work held here:\n  \
             north  2 records  newest 9 Mar 2024 16:00  never fully synced\n  \
             south  no record                           never fully synced\n\
             Not held, and nothing said of: west."
        );
    }
}
