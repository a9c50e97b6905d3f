//! Whether everything that is stored is whole. Read in slices, so that sessions go on in between.

use super::OpsError;
use super::lines::Lines;
use crate::daemon::Shared;
use cairn_store::{VerifyReport, Verifying};
use serde_json::{Value, json};

pub(super) async fn verify(
    shared: &Shared,
    deep: bool,
    lines: Option<&Lines>,
) -> Result<Value, OpsError> {
    let relay = of_relay(shared, deep, lines).await?;
    let mut problems = told("relay", &relay);
    let mut count = relay.problem_count;
    if shared.centre.is_some() {
        let centre = of_centre(shared, deep, lines).await?;
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

async fn of_relay(
    shared: &Shared,
    deep: bool,
    lines: Option<&Lines>,
) -> Result<VerifyReport, OpsError> {
    let mut verifying = Verifying::new(deep);
    while !verifying.is_done() {
        say(lines, "the relay", &verifying).await?;
        verifying = shared
            .with_store(move |_, store| {
                store.verify_some(&mut verifying)?;
                Ok::<_, cairn_store::StoreError>(verifying)
            })
            .await??;
    }
    Ok(verifying.into_report())
}

async fn of_centre(
    shared: &Shared,
    deep: bool,
    lines: Option<&Lines>,
) -> Result<VerifyReport, OpsError> {
    let mut verifying = Verifying::new(deep);
    while !verifying.is_done() {
        say(lines, "the centre", &verifying).await?;
        verifying = shared
            .ask_centre(move |centre| {
                centre.verify_some(&mut verifying)?;
                Ok(verifying)
            })
            .await?;
    }
    Ok(verifying.into_report())
}

/// Ends the work where nobody waits for it any more.
async fn say(lines: Option<&Lines>, doing: &str, verifying: &Verifying) -> Result<(), OpsError> {
    let Some(lines) = lines else {
        return Ok(());
    };
    let (done, of) = verifying.progress_bytes();
    let gone = |_| OpsError::new("gone", "nobody waits for the answer", "Ask again.");
    lines.progress(doing, done, of).await.map_err(gone)
}

fn told(which: &str, report: &VerifyReport) -> Vec<String> {
    let problems = report.problems.iter();
    problems
        .map(|problem| format!("{which}: {problem}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Relay, RunOptions};
    use crate::init::{InitOptions, init};
    use tokio::sync::mpsc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_get_their_turn_while_everything_is_looked_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("relay");
        let options = InitOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            public: None,
        };
        init(&dir, &options).unwrap();
        let relay = Relay::start(&dir, RunOptions::default()).await.unwrap();
        let shared = relay.shared();
        // Room for one line: the next slice waits until that is read.
        let (lines, mut read) = mpsc::channel(1);
        let lines = Lines::new(lines);
        let verifying = {
            let shared = std::sync::Arc::clone(&shared);
            tokio::spawn(async move { verify(&shared, true, Some(&lines)).await })
        };
        let first = read.recv().await.unwrap();
        let first: Value = serde_json::from_slice(&first).unwrap();
        assert_eq!(first["schema"], super::super::PROGRESS);
        assert_eq!(first["done_bytes"], 0);
        for _ in 0..20 {
            let written = shared.with_store(|_, store| store.put_state(b"test", b"a frame"));
            written.await.unwrap().unwrap();
        }
        assert!(!verifying.is_finished());
        while read.recv().await.is_some() {}
        let answer = verifying.await.unwrap().unwrap();
        assert_eq!(answer["ok"], true, "{answer:#}");
        drop(shared);
        relay.stop().await;
    }
}
