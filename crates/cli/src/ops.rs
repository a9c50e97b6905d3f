//! The commands of operators: one request to a running relay, and its answer as an object or in lines.

mod backup;
mod lines;

use crate::Ended;
use crate::arguments::ops::{EnrolCommand, Ops, OpsCommand, OpsConfigCommand, Role, ScopeCommand};
use crate::failure::Failure;
use crate::output::Output;
use cairn_relay::ops::OpsRequest;
use cairn_relay::ops::client::call;
use serde_json::Value as Json;
use std::path::Path;

/// Records that one list holds.
const DOCS_MAX: usize = 10_000;

pub(crate) fn ops(arguments: &Ops, output: &Output) -> Result<Ended, Failure> {
    if let OpsCommand::Backup { command } = &arguments.command {
        return backup::backup(arguments.dir.as_deref(), command, output);
    }
    let dir = relay_folder(arguments.dir.as_deref())?;
    let request = request(&arguments.command)?;
    let answer = call(dir, &request).map_err(|error| {
        let error = error.to_error();
        Failure::from_json(&error.to_json(), error.exit_code)
    })?;
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
        OpsCommand::Sessions { device } => OpsRequest::Sessions {
            device: device.clone(),
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
        OpsCommand::Conflicts => OpsRequest::Conflicts {},
        OpsCommand::Verify { deep } => OpsRequest::Verify { deep: *deep },
        OpsCommand::Backup { .. } => return Err(Failure::usage("a backup is made of files")),
        OpsCommand::Reload => OpsRequest::Reload {},
        OpsCommand::Config {
            command: OpsConfigCommand::Show,
        } => OpsRequest::ConfigShow {},
    })
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Device => "device",
        Role::Viewer => "viewer",
        Role::Ops => "ops",
    }
}
