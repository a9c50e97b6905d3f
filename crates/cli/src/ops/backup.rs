//! `cairn ops backup`: on the files of a relay, whether it runs or not.

use crate::Ended;
use crate::arguments::ops::BackupCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::words;
use cairn_relay::backup::{BackupError, Verified, create, restore, verify};
use cairn_relay::ops::OpsRequest;
use cairn_relay::ops::client::call;
use serde_json::{Value as Json, json};
use std::path::Path;

pub(super) fn backup(
    dir: Option<&Path>,
    command: &BackupCommand,
    output: &Output,
) -> Result<Ended, Failure> {
    match command {
        BackupCommand::Create { destination } => {
            create_one(super::relay_folder(dir)?, destination, output)
        }
        BackupCommand::Verify { file } => verify_one(file, output),
        BackupCommand::Restore {
            file,
            into,
            dry_run,
        } => restore_one(file, into, *dry_run, output),
        BackupCommand::Override { reason, dry_run } => {
            override_restore(super::relay_folder(dir)?, reason, *dry_run, output)
        }
    }
}

fn create_one(dir: &Path, destination: &Path, output: &Output) -> Result<Ended, Failure> {
    let made = create(dir, destination)?;
    output.answer(
        &json!({
            "schema": "cairn.backup_created/1",
            "file": made.file.display().to_string(),
            "bytes": made.bytes,
            "files": made.files,
            "entries": made.entries,
            "authority_height": made.authority_height,
            "while_running": made.while_running,
        }),
        || {
            format!(
                "{}\n{} in {} files, {} entries",
                made.file.display(),
                words::bytes(made.bytes),
                made.files,
                words::grouped(made.entries)
            )
        },
    );
    output.warn(
        "! The file is not encrypted and holds the programme's keys. The recovery key is not in it.",
    );
    output.say(&format!(
        "Next: cairn ops backup verify {}",
        made.file.display()
    ));
    Ok(Ended::Done)
}

fn verify_one(file: &Path, output: &Output) -> Result<Ended, Failure> {
    let found = verify(file)?;
    let ok = found.problems.is_empty();
    output.answer(&verified(&found, ok), || {
        let mut lines = about(&found);
        lines.extend(found.problems.iter().map(|problem| format!("! {problem}")));
        if ok {
            lines.push("Every hash, chain and signature is right.".to_owned());
        }
        lines.join("\n")
    });
    Ok(if ok { Ended::Done } else { Ended::Unsound })
}

fn verified(found: &Verified, ok: bool) -> Json {
    json!({
        "schema": "cairn.verify/1",
        "ok": ok,
        "made": found.made,
        "programme": found.programme,
        "authority_height": found.authority_height,
        "files": found.files,
        "bytes": found.bytes,
        "entries": found.entries,
        // They are sealed; only a relay that runs with its centre can count them.
        "changes": null,
        "problems": found.problems,
    })
}

fn about(found: &Verified) -> Vec<String> {
    vec![
        format!("made {} by programme {}", found.made, found.programme),
        format!(
            "{} in {} files, {} entries, authority at height {}",
            words::bytes(found.bytes),
            found.files,
            words::grouped(found.entries),
            found.authority_height
        ),
    ]
}

fn restore_one(file: &Path, into: &Path, dry_run: bool, output: &Output) -> Result<Ended, Failure> {
    let restored = restore(file, into, dry_run)?;
    let ok = restored.backup.problems.is_empty();
    output.answer(
        &json!({
            "schema": "cairn.restored/1",
            "dry_run": dry_run,
            "into": into.display().to_string(),
            "backup": verified(&restored.backup, ok),
            "words": restored.words,
        }),
        || {
            let mut lines = about(&restored.backup);
            let problems = restored.backup.problems.iter();
            lines.extend(problems.map(|problem| format!("! {problem}")));
            lines.push(match dry_run {
                true => format!("It would be restored into {}.", into.display()),
                false => format!("Restored into {}.", into.display()),
            });
            lines.join("\n")
        },
    );
    for words in &restored.words {
        output.warn(&format!("! {words}"));
    }
    if !dry_run {
        output.say(&format!("Next: cairnd run --dir {}", into.display()));
    }
    Ok(if ok { Ended::Done } else { Ended::Unsound })
}

fn override_restore(
    dir: &Path,
    reason: &str,
    dry_run: bool,
    output: &Output,
) -> Result<Ended, Failure> {
    let request = OpsRequest::BackupOverride {
        reason: reason.to_owned(),
        dry_run,
    };
    let answer = call(dir, &request).map_err(|error| {
        let error = error.to_error();
        Failure::from_json(&error.to_json(), error.exit_code)
    })?;
    output.answer(&answer, || {
        let silent = answer["not_waited_for"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = silent
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        let whom = match names.as_slice() {
            [] => "nobody is missing".to_owned(),
            names => format!("not waited for: {}", names.join(", ")),
        };
        match dry_run {
            true => format!("{whom}. The authority would sign again."),
            false => format!("{whom}. The authority signs again."),
        }
    });
    Ok(Ended::Done)
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::new(error.code(), error.to_string())
            .hint(error.hint())
            .exit(error.exit_code())
    }
}
