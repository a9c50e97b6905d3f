//! What ops ask about records: the centre answers.

use super::OpsError;
use super::asker::Asker;
use crate::authority::Authority;
use crate::daemon::Shared;
use crate::time::utc;
use cairn_centre::{Centre, CentreError, Counts, KnownPlace, Listing, WhoHas};
use cairn_keys::Standing;
use cairn_member::RequestError;
use cairn_store::Store;
use cairn_wire::DeviceKey;
use cairn_wire::ids::ScopeId;
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

/// The scope that is asked for, if one is; none that may not be read.
pub(super) async fn scope_asked(
    shared: &Shared,
    asker: &Asker,
    scope: Option<String>,
) -> Result<Option<ScopeId>, OpsError> {
    let Some(asked) = scope else {
        return Ok(None);
    };
    let scope = shared
        .with_store(move |authority, store| authority.find_scope(store, &asked))
        .await??;
    match asker.may_read(&scope) {
        true => Ok(Some(scope)),
        false => Err(OpsError::new(
            "not_permitted",
            "this device may not read that area of work",
            "Ask whoever owns the relay's folder: cairn ops scope grant",
        )
        .exits(5)),
    }
}

pub(super) async fn docs(
    shared: &Shared,
    asker: &Asker,
    scope: Option<String>,
    limit: usize,
) -> Result<Value, OpsError> {
    let limit = limit.min(DOCS_MAX);
    let scopes: Option<Vec<ScopeId>> = match scope_asked(shared, asker, scope).await? {
        Some(scope) => Some(vec![scope]),
        None => asker.scopes().map(|reads| reads.keys().copied().collect()),
    };
    let listing = shared
        .ask_centre(move |centre| match scopes {
            None => centre.documents(None, limit),
            Some(scopes) => of_scopes(centre, &scopes, limit),
        })
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

fn of_scopes(
    centre: &mut Centre,
    scopes: &[ScopeId],
    limit: usize,
) -> Result<Listing, CentreError> {
    let mut all = Listing::default();
    for scope in scopes {
        let listing = centre.documents(Some(scope), limit)?;
        all.total += listing.total;
        all.lines.extend(listing.lines);
    }
    all.lines
        .sort_by_key(|(line, _)| (-line.recorded_at_s, line.id.0));
    all.lines.truncate(limit);
    Ok(all)
}

/// What is wanted beside a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct With {
    pub(super) history: bool,
    pub(super) entries: bool,
    pub(super) who_has: bool,
}

pub(super) async fn doc(
    shared: &Shared,
    asker: &Asker,
    id: String,
    with: With,
) -> Result<Value, OpsError> {
    let With {
        history,
        entries,
        who_has,
    } = with;
    let reads = asker.scopes().cloned();
    let (record, history, entries, who_has) = shared
        .ask_centre(move |centre| {
            let record = centre.document(&id, None)?;
            if reads.is_some_and(|reads| !reads.contains_key(&record.scope)) {
                // As if it were not there.
                return Err(CentreError::Member(RequestError::NotFound(id).into()));
            }
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

pub(super) async fn conflicts(shared: &Shared, asker: &Asker) -> Result<Value, OpsError> {
    let mut conflicts = shared.ask_centre(|centre| centre.conflicts()).await?;
    conflicts.retain(|one| asker.may_read_named(one["scope"].as_str().unwrap_or_default()));
    Ok(json!({ "schema": "cairn.conflicts/1", "conflicts": conflicts }))
}
