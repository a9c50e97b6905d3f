//! What ops ask about records: the centre answers. And whether everything stored is whole.

use super::OpsError;
use crate::authority::{Authority, AuthorityFault};
use crate::daemon::Shared;
use crate::time::utc;
use cairn_centre::{Centre, CentreError, Counts, KnownPlace, WhoHas};
use cairn_keys::Standing;
use cairn_store::{Store, VerifyReport};
use cairn_wire::DeviceKey;
use serde_json::{Value, json};

/// Records that one answer lists at most.
const DOCS_MAX: usize = 100_000;

impl Shared {
    /// Asks the centre; says so where there is none.
    pub(super) async fn ask_centre<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Centre) -> Result<R, CentreError> + Send + 'static,
    ) -> Result<R, OpsError> {
        let Some(centre) = &self.centre else {
            return Err(OpsError::new(
                "no_centre",
                "this relay runs without a centre, so it cannot read records",
                "Ask where the centre runs, or set centre = true in relay.toml.",
            ));
        };
        Ok(centre.ask(question).await??)
    }

    /// Counts by the centre, if there is one.
    pub(super) async fn counts(&self) -> Result<Option<Counts>, OpsError> {
        match &self.centre {
            None => Ok(None),
            Some(_) => self.ask_centre(Centre::counts).await.map(Some),
        }
    }
}

pub(super) async fn docs(
    shared: &Shared,
    scope: Option<String>,
    limit: usize,
) -> Result<Value, OpsError> {
    let scope = match scope {
        None => None,
        Some(asked) => Some(
            shared
                .with_store(move |authority, store| authority.find_scope(store, &asked))
                .await??,
        ),
    };
    let limit = limit.min(DOCS_MAX);
    let listing = shared
        .ask_centre(move |centre| centre.documents(scope.as_ref(), limit))
        .await?;
    let creators: Vec<_> = listing.lines.iter().map(|(line, _)| line.creator).collect();
    let names = shared
        .with_store(move |authority, store| {
            let mut names = std::collections::BTreeMap::new();
            for device in creators {
                names
                    .entry(device)
                    .or_insert_with(|| authority.member_name(store, &device));
            }
            names
        })
        .await?;
    let documents: Vec<Value> = listing
        .lines
        .iter()
        .map(|(line, scope)| {
            let summary = &line.summary;
            json!({
                "id": line.id.to_string(),
                "short_code": line.short_code(),
                "kind": summary.kind,
                "local_id": summary.local_id,
                "scope": scope,
                "status": summary.status,
                "hazard_class": summary.hazard_class,
                "area_m2": summary.area_m2,
                "void": summary.void,
                "conflicts": summary.conflicts,
                "proposals": summary.proposals,
                "changes": line.changes,
                "held": line.held,
                "by": names.get(&line.creator),
                "device": line.creator.to_string(),
                "recorded_at": u64::try_from(line.recorded_at_s).ok().map(utc),
            })
        })
        .collect();
    Ok(json!({
        "schema": "cairn.ops.docs/1",
        "total": listing.total,
        "documents": documents,
    }))
}

pub(super) async fn doc(
    shared: &Shared,
    id: String,
    history: bool,
    entries: bool,
    who_has: bool,
) -> Result<Value, OpsError> {
    let (record, history, entries, who_has) = shared
        .ask_centre(move |centre| {
            let record = centre.document(&id, None)?;
            let history = history.then(|| centre.history(&id)).transpose()?;
            let known = match entries || who_has {
                true => Some(centre.who_has(&id)?),
                false => None,
            };
            let places = known.as_ref().map(|known| known.places.clone());
            let places = places.filter(|_| entries);
            Ok((record, history, places, known.filter(|_| who_has)))
        })
        .await?;
    let mut object = record.to_json();
    let Some(keys) = object.as_object_mut() else {
        return Ok(object);
    };
    // How far it has come from here says nothing: the centre has it.
    keys.remove("stage");
    keys.remove("unsent");
    if let Some(history) = history {
        keys.insert("history".into(), json!(history));
    }
    let of = shared.relay;
    let known = shared
        .with_store(move |authority, store| {
            let entries = entries.map(|places| entries_json(authority, store, &places));
            let who_has = who_has.map(|known| who_has_json(authority, store, of, &known));
            (entries, who_has)
        })
        .await?;
    if let (Some(entries), _) = &known {
        keys.insert("entries".into(), json!(entries));
    }
    if let (_, Some(Value::Object(who_has))) = known {
        keys.extend(who_has);
    }
    Ok(object)
}

fn entries_json(authority: &Authority, store: &dyn Store, places: &[KnownPlace]) -> Vec<Value> {
    let mut places: Vec<&KnownPlace> = places.iter().collect();
    // As they came.
    places.sort_by_key(|known| (known.place.log.lane, known.place.position));
    let entries = places.into_iter().map(|known| {
        let place = &known.place;
        json!({
            "entry": place.id.to_string(),
            "device": place.log.device.to_string(),
            "by": authority.member_name(store, &place.log.device),
            "incarnation": place.log.incarnation.to_string(),
            "lane": format!("{:?}", place.log.lane).to_lowercase(),
            "number": place.number,
            "position": place.position,
            "at_relay": known.at_relay,
            "seen_by_centre": known.seen_by_centre,
        })
    });
    entries.collect()
}

/// The three states of a record: on which devices, at the relay, seen by the centre.
fn who_has_json(
    authority: &Authority,
    store: &dyn Store,
    relay: DeviceKey,
    known: &WhoHas,
) -> Value {
    let of = known.places.len();
    let count = |is: &dyn Fn(&KnownPlace) -> bool| known.places.iter().filter(|at| is(at)).count();
    let stage = |entries: usize| json!({ "entries": entries, "of": of, "whole": entries == of });
    let mut at_relay = stage(count(&|at| at.at_relay));
    at_relay["relay"] = json!(relay.to_string());
    let membership = store.membership();
    let holders = known.holders.iter().map(|(device, holder)| {
        let standing = match membership.standing(device) {
            Standing::Unknown => "unknown",
            Standing::Member => "member",
            Standing::Revoked => "revoked",
        };
        let role = membership.member(device).map(|member| member.role);
        let mut object = stage(holder.entries);
        object["device"] = json!(device.to_string());
        object["name"] = json!(authority.member_name(store, device));
        object["role"] = json!(role.map(|role| role.to_string()));
        object["standing"] = json!(standing);
        object["wrote"] = json!(holder.wrote);
        object["sent"] = json!(holder.sent);
        object["acknowledged"] = json!(holder.acknowledged);
        object
    });
    let mut holders: Vec<Value> = holders.collect();
    holders.sort_by_key(|holder| holder["name"].as_str().unwrap_or_default().to_owned());
    json!({
        "who_has": holders,
        "at_relay": at_relay,
        "seen_by_centre": stage(count(&|at| at.seen_by_centre)),
    })
}

pub(super) async fn conflicts(shared: &Shared) -> Result<Value, OpsError> {
    let conflicts = shared.ask_centre(|centre| centre.conflicts()).await?;
    Ok(json!({ "schema": "cairn.conflicts/1", "conflicts": conflicts }))
}

pub(super) async fn verify(shared: &Shared, deep: bool) -> Result<Value, OpsError> {
    let relay = shared
        .with_store(move |_, store| Ok::<_, AuthorityFault>(store.verify(deep)?))
        .await??;
    let mut problems = told("relay", &relay);
    let mut count = relay.problem_count;
    if shared.centre.is_some() {
        let centre = shared.ask_centre(move |centre| centre.verify(deep)).await?;
        problems.extend(told("centre", &centre));
        count += centre.problem_count;
    }
    let counts = shared.counts().await?;
    Ok(json!({
        "schema": "cairn.verify/1",
        "ok": count == 0,
        "deep": deep,
        "entries": relay.entries,
        "changes": counts.map(|counts| counts.changes),
        "lost_frames": relay.lost_frames,
        "problem_count": count,
        "problems": problems,
    }))
}

fn told(which: &str, report: &VerifyReport) -> Vec<String> {
    let problems = report.problems.iter();
    problems
        .map(|problem| format!("{which}: {problem}"))
        .collect()
}
