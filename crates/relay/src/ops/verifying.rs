//! Whether everything that is stored is whole.

use super::OpsError;
use super::lines::Lines;
use crate::authority::AuthorityFault;
use crate::daemon::Shared;
use cairn_store::VerifyReport;
use serde_json::{Value, json};

pub(super) async fn verify(
    shared: &Shared,
    deep: bool,
    _lines: Option<&Lines>,
) -> Result<Value, OpsError> {
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
