//! The commands of operators: one request to a running relay, and its answer as an object or in lines.

mod audit;
mod backup;
mod check;
mod lines;
mod morning;
mod relay;
mod watch;

use crate::Ended;
use crate::arguments::ops::{
    AuditCommand, CheckCommand, Decision, EnrolCommand, Ops, OpsCommand, OpsConfigCommand,
    QuarantineCommand, Role, ScopeCommand,
};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::Settings;
use cairn_relay::ops::{Chosen, OpsRequest};
use relay::Relay;
use serde_json::Value as Json;
use std::path::Path;

/// Records that one list holds.
const DOCS_MAX: usize = 10_000;

pub(crate) fn ops(arguments: &Ops, settings: &Settings, output: &Output) -> Result<Ended, Failure> {
    if let OpsCommand::Backup { command } = &arguments.command {
        return backup::backup(arguments.dir.as_deref(), command, output);
    }
    let (dir, address) = (arguments.dir.as_deref(), arguments.relay.as_deref());
    let relay = Relay::find(dir, address, settings, output)?;
    if let OpsCommand::Watch { every } = &arguments.command {
        return watch::watch(relay, *every, output);
    }
    let relay = &relay;
    match &arguments.command {
        OpsCommand::Check {
            command:
                CheckCommand::Sync {
                    stale_crit,
                    backlog_warn,
                    format,
                },
        } => {
            let wanted = check::Wanted {
                stale_crit_s: stale_crit.as_secs(),
                backlog_warn: *backlog_warn,
            };
            return check::sync(relay, wanted, *format, output);
        }
        OpsCommand::Audit {
            command: AuditCommand::Export { file },
        } => return audit::export(relay, file, output),
        _ => {}
    }
    let request = request(&arguments.command)?;
    let answer = match &request {
        OpsRequest::Verify { .. } => with_progress(relay, &request, output)?,
        request => relay.ask(request)?,
    };
    output.answer(&answer, || {
        lines::lines(&arguments.command, &answer, output)
    });
    Ok(ended(&answer))
}

fn relay_folder(dir: Option<&Path>) -> Result<&Path, Failure> {
    dir.ok_or_else(|| {
        Failure::usage("which relay? --dir DIR names its folder").hint("Or set CAIRN_RELAY_DIR.")
    })
}

/// Asks, and shows how far it has come.
fn with_progress(relay: &Relay, request: &OpsRequest, output: &Output) -> Result<Json, Failure> {
    let mut progress: Option<Progress<'_>> = None;
    relay.ask_with_progress(request, &mut |line| {
        let bytes = |key: &str| line.get(key).and_then(Json::as_u64);
        progress
            .get_or_insert_with(|| Progress::begin(output, "Looking over", bytes("of_bytes")))
            .at(bytes("done_bytes").unwrap_or(0));
    })
}

/// What was asked for is sound and whole, or not.
fn ended(answer: &Json) -> Ended {
    let unsound = answer.get("schema").and_then(Json::as_str) == Some("cairn.verify/1")
        && answer.get("ok").and_then(Json::as_bool) == Some(false);
    if unsound { Ended::Unsound } else { Ended::Done }
}

fn request(command: &OpsCommand) -> Result<OpsRequest, Failure> {
    Ok(match command {
        OpsCommand::Status { stale } => OpsRequest::Status {
            stale_s: stale.as_secs(),
        },
        OpsCommand::Morning | OpsCommand::Watch { .. } => OpsRequest::Morning {},
        OpsCommand::Check {
            command: CheckCommand::Sync { stale_crit, .. },
        } => OpsRequest::Status {
            stale_s: stale_crit.as_secs(),
        },
        OpsCommand::Audit { command } => match command {
            AuditCommand::List { limit } => OpsRequest::AuditList { limit: *limit },
            AuditCommand::Verify => OpsRequest::AuditVerify {},
            AuditCommand::Export { .. } => OpsRequest::AuditList {
                limit: audit::LINES_MAX,
            },
        },
        OpsCommand::Devices => OpsRequest::Devices {},
        OpsCommand::Device { id } => OpsRequest::Device { device: id.clone() },
        OpsCommand::Revoke {
            id,
            reason,
            dry_run,
        } => OpsRequest::Revoke {
            device: id.clone(),
            reason: reason.clone(),
            dry_run: *dry_run,
        },
        OpsCommand::Enrol {
            command:
                EnrolCommand::New {
                    name,
                    role,
                    scope,
                    uses,
                    expires,
                },
        } => OpsRequest::EnrolNew {
            name: Some(name.clone()),
            role: role_word(*role).to_owned(),
            scopes: scope.clone(),
            uses: *uses,
            valid_s: expires.as_secs(),
        },
        OpsCommand::Scopes => OpsRequest::Scopes {},
        OpsCommand::Scope {
            command: ScopeCommand::Create { name },
        } => OpsRequest::ScopeCreate { name: name.clone() },
        OpsCommand::Scope {
            command: ScopeCommand::Grant { device, scope },
        } => {
            let (scope, access) = scope.rsplit_once(':').unwrap_or((scope, "rw"));
            OpsRequest::ScopeGrant {
                scope: scope.to_owned(),
                device: device.clone(),
                access: access.to_owned(),
            }
        }
        OpsCommand::Sessions {
            device,
            since,
            limit,
        } => OpsRequest::Sessions {
            device: device.clone(),
            since_s: since.as_secs(),
            limit: *limit,
        },
        OpsCommand::Docs { scope } => OpsRequest::Docs {
            scope: scope.clone(),
            limit: DOCS_MAX,
        },
        OpsCommand::Doc {
            id,
            history,
            entries,
            who_has,
        } => OpsRequest::Doc {
            id: id.clone(),
            history: *history,
            entries: *entries,
            who_has: *who_has,
        },
        OpsCommand::Logs { scope, device } => OpsRequest::Logs {
            scope: scope.clone(),
            device: device.clone(),
        },
        OpsCommand::Quarantine { command } => quarantine(command),
        OpsCommand::Conflicts => OpsRequest::Conflicts {},
        OpsCommand::Decide(decision) => decide(decision)?,
        OpsCommand::Verify { deep } => OpsRequest::Verify {
            deep: *deep,
            progress: true,
        },
        OpsCommand::Backup { .. } => return Err(Failure::usage("a backup is made of files")),
        OpsCommand::Reload => OpsRequest::Reload {},
        OpsCommand::Config {
            command: OpsConfigCommand::Show,
        } => OpsRequest::ConfigShow {},
    })
}

fn decide(decision: &Decision) -> Result<OpsRequest, Failure> {
    let by = decision.by.clone().unwrap_or_default();
    if by.trim().is_empty() {
        return Err(Failure::usage("who decides? --as NAME"));
    }
    let choice = match (&decision.take, &decision.value, &decision.turn_down) {
        (_, Some(value), _) => Chosen::Value(value.clone()),
        (_, None, Some(letter)) => Chosen::TurnDown(letter.clone()),
        (take, None, None) => Chosen::Take(take.clone().unwrap_or_default()),
    };
    let seen = decision.seen.as_deref().map(|text| {
        let heads = text.split(',').map(str::trim);
        heads
            .filter(|head| !head.is_empty())
            .map(str::to_owned)
            .collect()
    });
    Ok(OpsRequest::Decide {
        id: decision.id.clone(),
        field: decision.field.clone(),
        choice,
        reason: decision.reason.clone(),
        by,
        seen,
        dry_run: decision.dry_run,
    })
}

fn quarantine(command: &QuarantineCommand) -> OpsRequest {
    match command {
        QuarantineCommand::List { scope } => OpsRequest::QuarantineList {
            scope: scope.clone(),
        },
        QuarantineCommand::Show { id } => OpsRequest::QuarantineShow { id: id.clone() },
        QuarantineCommand::KeepOut { id, reason, by } => OpsRequest::QuarantineKeepOut {
            id: id.clone(),
            reason: reason.clone(),
            by: by.clone(),
        },
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Device => "device",
        Role::Viewer => "viewer",
        Role::Ops => "ops",
    }
}
