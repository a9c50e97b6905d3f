//! What ops ask about records: the centre answers. And whether everything stored is whole.

use super::OpsError;
use crate::authority::AuthorityFault;
use crate::daemon::Shared;
use crate::time::utc;
use cairn_centre::{Centre, CentreError, Counts};
use cairn_store::VerifyReport;
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
    let (record, history, entries, holders) = shared
        .ask_centre(move |centre| {
            let record = centre.document(&id, None)?;
            let history = history.then(|| centre.history(&id)).transpose()?;
            let entries = entries.then(|| centre.places(&id)).transpose()?;
            let holders = who_has.then(|| centre.who_has(&id)).transpose()?;
            Ok((record, history, entries, holders))
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
    if let Some(entries) = entries {
        let entries: Vec<_> = entries
            .iter()
            .map(|place| {
                json!({
                    "entry": place.id.to_string(),
                    "device": place.log.device.to_string(),
                    "lane": format!("{:?}", place.log.lane).to_lowercase(),
                    "number": place.number,
                    "position": place.position,
                })
            })
            .collect();
        keys.insert("entries".into(), json!(entries));
    }
    if let Some(holders) = holders {
        let holders = shared
            .with_store(move |authority, store| {
                let holders = holders.iter().map(|holder| {
                    json!({
                        "device": holder.device.to_string(),
                        "name": authority.member_name(store, &holder.device),
                        "whole": holder.entries == holder.of,
                        "entries": holder.entries,
                        "of": holder.of,
                    })
                });
                holders.collect::<Vec<_>>()
            })
            .await?;
        keys.insert("who_has".into(), json!(holders));
    }
    Ok(object)
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
