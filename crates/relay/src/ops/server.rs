//! The socket on which ops ask.

use super::asker::Asker;
use super::lines::Lines;
use super::{
    OpsError, OpsRequest, audit, backup, days, deciding, devices, morning, records, sessions,
    set_aside, status, verifying,
};
use crate::accepting::serve_each;
use crate::daemon::Shared;
use crate::folder::SocketPath;
use cairn_wire::limits;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Requests that are worked on at a time.
const CONNECTIONS_MAX: usize = 64;
/// Lines of an answer that wait to be written.
const LINES_WAITING: usize = 4;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) struct OpsServer {
    path: PathBuf,
    accepting: JoinHandle<()>,
    days: JoinHandle<()>,
}

impl OpsServer {
    /// Listens. The folder's store is open, so no other daemon is here and an old socket is stale.
    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let path = shared.folder.socket();
        let socket = SocketPath::of(&shared.folder)?;
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(socket.path())?;
        // Until here the folder's own mode keeps others out.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let days = tokio::spawn(days::keep(Arc::clone(&shared)));
        let accepting = tokio::spawn(accept(listener, shared));
        Ok(Self {
            path,
            accepting,
            days,
        })
    }

    pub(crate) async fn stop(self) {
        self.accepting.abort();
        self.days.abort();
        // It was aborted, or had ended.
        let _ = self.accepting.await;
        // A socket that stays is removed at the next start.
        let _ = std::fs::remove_file(self.path);
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    serve_each(listener, CONNECTIONS_MAX, "ops", |stream| {
        let shared = Arc::clone(&shared);
        async move {
            if let Err(error) = serve(stream, &shared).await {
                tracing::debug!(%error, "a connection of ops broke");
            }
        }
    })
    .await;
}

async fn serve(stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(limits::OPS_REQUEST_BYTES_MAX as u64 + 1);
        let reading = limited.read_until(b'\n', &mut line);
        match tokio::time::timeout(SILENCE, reading).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        if line.is_empty() {
            return Ok(());
        }
        let (lines, mut to_write) = mpsc::channel::<Vec<u8>>(LINES_WAITING);
        let answering = async {
            let lines = Lines::new(lines);
            answer_line(shared, &Asker::Owner, &line, &lines).await;
        };
        let writing = async {
            while let Some(line) = to_write.recv().await {
                write.write_all(&line).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let ((), written) = tokio::join!(answering, writing);
        written?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

fn usage(message: &str) -> OpsError {
    OpsError::new("usage", message, "See: cairn ops help").exits(2)
}

/// Does what a line asks; the last of `lines` is the answer.
pub(super) async fn answer_line(shared: &Shared, asker: &Asker, line: &[u8], lines: &Lines) {
    let answered = match read(line) {
        Ok(request) => answer(shared, asker, request, lines).await,
        Err(error) => Err(error),
    };
    let answer = answered.unwrap_or_else(|error| error.to_json());
    // Whoever asked may be gone.
    let _ = lines.answer(&answer).await;
}

fn read(line: &[u8]) -> Result<OpsRequest, OpsError> {
    if line.len() > limits::OPS_REQUEST_BYTES_MAX {
        return Err(usage("the request is too long"));
    }
    if line.last() != Some(&b'\n') {
        return Err(usage("the request has no end"));
    }
    serde_json::from_slice(line).map_err(|error| usage(&error.to_string()))
}

/// Does what is asked.
async fn answer(
    shared: &Shared,
    asker: &Asker,
    request: OpsRequest,
    lines: &Lines,
) -> Result<Value, OpsError> {
    asker.may_ask(&request, &shared.public_address())?;
    match request {
        OpsRequest::Status { stale_s } => status::status(shared, stale_s).await,
        OpsRequest::Morning {} => morning::morning(shared, asker).await,
        OpsRequest::AuditList { limit } => audit::list(shared, limit).await,
        OpsRequest::AuditVerify {} => audit::verify(shared).await,
        OpsRequest::Devices {} => devices::devices(shared).await,
        OpsRequest::Device { device } => devices::device(shared, device).await,
        OpsRequest::Revoke {
            device,
            reason,
            dry_run,
        } => devices::revoke(shared, asker, device, reason, dry_run).await,
        OpsRequest::EnrolNew {
            name,
            role,
            scopes,
            uses,
            valid_s,
        } => devices::enrol_new(shared, name, &role, &scopes, uses, valid_s).await,
        OpsRequest::Scopes {} => devices::scopes(shared).await,
        OpsRequest::ScopeCreate { name } => devices::scope_create(shared, name).await,
        OpsRequest::ScopeGrant {
            scope,
            device,
            access,
        } => devices::scope_grant(shared, scope, device, &access).await,
        OpsRequest::Sessions {
            device,
            since_s,
            limit,
        } => sessions::sessions(shared, device, since_s, limit).await,
        OpsRequest::Docs { scope, limit } => records::docs(shared, asker, scope, limit).await,
        OpsRequest::Doc {
            id,
            history,
            entries,
            who_has,
        } => {
            let with = records::With {
                history,
                entries,
                who_has,
            };
            records::doc(shared, asker, id, with).await
        }
        OpsRequest::Conflicts {} => records::conflicts(shared, asker).await,
        OpsRequest::Decide {
            id,
            field,
            choice,
            reason,
            by,
            seen,
            dry_run,
        } => {
            let decision = deciding::Asked {
                id,
                field,
                choice,
                reason,
                by,
                seen,
            };
            deciding::decide(shared, decision, dry_run).await
        }
        OpsRequest::Logs { scope, device } => status::logs(shared, asker, scope, device).await,
        OpsRequest::QuarantineList { scope } => set_aside::list(shared, asker, scope).await,
        OpsRequest::QuarantineShow { id } => set_aside::show(shared, asker, id).await,
        OpsRequest::QuarantineKeepOut { id, reason, by } => {
            set_aside::keep_out(shared, id, reason, by).await
        }
        OpsRequest::Verify { deep, progress } => {
            let lines = progress.then_some(lines);
            verifying::verify(shared, deep, lines).await
        }
        OpsRequest::BackupPoint {} => backup::point(shared).await,
        OpsRequest::BackupDone {
            bytes,
            authority_height,
        } => backup::done(shared, bytes, authority_height).await,
        OpsRequest::BackupOverride { reason, dry_run } => {
            backup::override_restore(shared, reason, dry_run).await
        }
        OpsRequest::Reload {} => reload(shared),
        OpsRequest::ConfigShow {} => Ok(config_show(shared)),
    }
}

fn reload(shared: &Shared) -> Result<Value, OpsError> {
    let changes = shared.reload().map_err(|error| {
        let hint = "Mend relay.toml; what was in force is in force still.";
        OpsError::new("config", error.to_string(), hint)
    })?;
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            json!({
                "key": change.key,
                "from": change.from,
                "to": change.to,
                "in_force": change.now,
            })
        })
        .collect();
    Ok(json!({ "schema": "cairn.ops.reload/1", "changes": changes }))
}

fn config_show(shared: &Shared) -> Value {
    let settings = shared.settings();
    let config = &settings.config;
    let origins: serde_json::Map<_, _> = crate::config::KEYS
        .iter()
        .map(|(key, _)| ((*key).to_owned(), json!(settings.origin(key).to_string())))
        .collect();
    json!({
        "schema": "cairn.ops.config/1",
        "file": shared.folder.config().display().to_string(),
        "listen": config.listen.to_string(),
        "listening_on": shared.address.to_string(),
        "public": shared.public_address(),
        "centre": config.centre,
        "connections_max": config.connections_max,
        "cache_bytes": config.cache_bytes,
        "health": config.health.to_string(),
        "origins": origins,
    })
}
