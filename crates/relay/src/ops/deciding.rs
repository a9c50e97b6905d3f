//! Deciding as the centre, in the name of a person.

use super::{Chosen, OpsError};
use crate::authority::random;
use crate::daemon::Shared;
use cairn_centre::{Centre, CentreError, Decision, Preview};
use cairn_member::{Moment, Pointed, Saved};
use cairn_wire::ids::{ChangeHash, Incarnation};
use cairn_wire::limits;
use serde_json::{Value, json};

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) field: Option<String>,
    pub(super) choice: Chosen,
    pub(super) reason: String,
    pub(super) by: String,
    pub(super) seen: Option<Vec<String>>,
}

pub(super) async fn decide(
    shared: &Shared,
    asked: Asked,
    dry_run: bool,
) -> Result<Value, OpsError> {
    let by = asked.by.trim().to_owned();
    if by.is_empty() || by.len() > limits::NAME_BYTES_MAX || by.chars().any(char::is_control) {
        return Err(usage(
            "a decision needs a person",
            "Say who decides: --as NAME",
        ));
    }
    if asked.reason.trim().is_empty() {
        return Err(usage("a decision needs a reason", "Say why: --reason TEXT"));
    }
    let seen = asked.seen.as_deref().map(heads).transpose()?;
    let now_s = i64::try_from(shared.authority.now_s()).unwrap_or(i64::MAX);
    let moment = Moment {
        now_s,
        nonce: random().map_err(no_random)?,
    };
    let fresh = Incarnation(random().map_err(no_random)?);
    let done = shared
        .ask_centre(move |centre| in_name_of(centre, &asked, &by, seen, &moment, fresh, dry_run))
        .await?;
    match done {
        Done::Would(preview) => Ok(preview_json(&preview)),
        Done::Saved(saved) => {
            // Names and reasons stand in the change; the audit has keys and ids.
            let what = json!({
                "document": saved.id.to_string(),
                "change": saved.change.to_string(),
                "fields": saved.fields.iter().map(|field| &field.field).collect::<Vec<_>>(),
            });
            shared
                .with_store(move |authority, store| authority.note("decide", what, store))
                .await??;
            Ok(saved_json(&saved))
        }
    }
}

enum Done {
    Would(Preview),
    Saved(Saved),
}

fn in_name_of(
    centre: &mut Centre,
    asked: &Asked,
    by: &str,
    seen: Option<Vec<ChangeHash>>,
    moment: &Moment,
    fresh: Incarnation,
    dry_run: bool,
) -> Result<Done, CentreError> {
    let reason = format!("{} (decided by {by})", asked.reason.trim());
    let decision = Decision {
        name: &asked.id,
        field: asked.field.as_deref(),
        choice: match &asked.choice {
            Chosen::Take(take) => Pointed::Take(take),
            Chosen::Value(value) => Pointed::Value(value),
            Chosen::TurnDown(letter) => Pointed::TurnDown(letter),
        },
        reason: &reason,
        seen: seen.as_deref(),
    };
    match dry_run {
        true => centre.preview(&decision).map(Done::Would),
        false => centre.decide(&decision, moment, fresh).map(Done::Saved),
    }
}

fn heads(texts: &[String]) -> Result<Vec<ChangeHash>, OpsError> {
    let heads: Result<Vec<ChangeHash>, _> = texts.iter().map(|text| text.parse()).collect();
    let hint = "Take them from `heads` of: cairn ops conflicts --json";
    heads.map_err(|_| usage("heads are changes of 64 digits", hint))
}

fn preview_json(preview: &Preview) -> Value {
    let considered = preview.considered.iter().map(ToString::to_string);
    json!({
        "schema": "cairn.saved/1",
        "id": preview.id.to_string(),
        "local_id": preview.local_id,
        "change": null,
        "dry_run": true,
        "field": preview.field,
        "reads": preview.reads,
        "names": considered.collect::<Vec<_>>(),
    })
}

fn saved_json(saved: &Saved) -> Value {
    let fields = saved.fields.iter().map(|field| {
        json!({
            "field": field.field,
            "reads": field.reads,
            "proposal": field.proposal,
            "conflict": field.conflict,
        })
    });
    json!({
        "schema": "cairn.saved/1",
        "id": saved.id.to_string(),
        "change": saved.change.to_string(),
        "kind": saved.kind,
        "local_id": saved.local_id,
        "short_code": saved.short_code,
        "heads": saved.heads.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fields": fields.collect::<Vec<_>>(),
        "proposal": saved.is_proposal(),
    })
}

fn usage(message: &str, hint: &str) -> OpsError {
    OpsError::new("usage", message, hint).exits(2)
}

fn no_random(error: getrandom::Error) -> OpsError {
    OpsError::new("system", error.to_string(), "Try again.").later()
}
