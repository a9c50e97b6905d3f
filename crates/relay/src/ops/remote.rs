//! Asks a relay from anywhere, as a device of ops.

use super::client::{CallError, answer, read};
use super::{OpsError, OpsRequest, PROGRESS};
use cairn_transport::{AskError, Identity, OpsLine, SyncError, SyncOptions, SyncTarget};
use cairn_wire::frame::CloseReason;
use serde_json::Value;

/// The way to a relay: dialled when something is asked, and again after it was lost.
pub struct Remote {
    identity: Identity,
    /// Where it is, and which key it must prove; one of several is enough.
    targets: Vec<SyncTarget>,
    options: SyncOptions,
    line: Option<OpsLine>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({:?})", self.targets)
    }
}

impl Remote {
    /// As the device of `identity`. At `address` answers one of the relays that it knows: which one, the
    /// key tells.
    #[must_use]
    pub fn new(
        identity: Identity,
        address: &str,
        known: Vec<SyncTarget>,
        options: SyncOptions,
    ) -> Self {
        let mut targets = known;
        let has_address = |target: &SyncTarget| target.addresses.iter().any(|it| it == address);
        targets.sort_by_key(|target| !has_address(target));
        for target in &mut targets {
            target.addresses = vec![address.to_owned()];
        }
        Self {
            identity,
            targets,
            options,
            line: None,
        }
    }

    /// Asks and waits for the answer; `on_progress` gets the lines that come before it.
    pub async fn call(
        &mut self,
        request: &OpsRequest,
        on_progress: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<Value, CallError> {
        let mut question =
            serde_json::to_vec(request).map_err(|error| CallError::Answer(error.to_string()))?;
        question.push(b'\n');
        // A line that lay still may have been closed; a new one may not.
        if let Some(line) = self.line.take() {
            match ask(&line, &question, on_progress).await {
                Err(AskError::Lost(_) | AskError::NotNow(CloseReason::Done)) if !acts(request) => {}
                asked => return self.finish(line, asked),
            }
        }
        let line = self.dial().await?;
        let asked = ask(&line, &question, on_progress).await;
        self.finish(line, asked)
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if let Some(line) = self.line.take() {
            line.close().await;
        }
    }

    fn finish(
        &mut self,
        line: OpsLine,
        asked: Result<Option<Result<Value, CallError>>, AskError>,
    ) -> Result<Value, CallError> {
        let last = asked.map_err(CallError::from_afar)?;
        self.line = Some(line);
        let last = last.ok_or_else(|| CallError::Answer("it is empty".into()))?;
        answer(last?)
    }

    async fn dial(&self) -> Result<OpsLine, CallError> {
        let mut failed = None;
        for target in &self.targets {
            match OpsLine::dial(&self.identity, target, &self.options).await {
                Ok(line) => return Ok(line),
                Err(error @ SyncError::WrongKey) => failed = Some(error),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let error = match failed {
            Some(SyncError::WrongKey) => OpsError::new(
                "wrong_key",
                "another relay answers there than those that this device knows",
                "Check the address; a device asks relays of the programme that it has joined.",
            ),
            Some(error) => OpsError::new(
                "unreachable",
                error.to_string(),
                "Is the relay running there?",
            )
            .later(),
            None => OpsError::new(
                "not_joined",
                "this device knows no relay",
                "Let it join with a code for ops: cairn join CODE",
            )
            .exits(5),
        };
        let exit_code = error.exit_code.max(4);
        Err(error.exits(exit_code).into())
    }
}

/// Not asked twice of itself.
fn acts(request: &OpsRequest) -> bool {
    matches!(request, OpsRequest::Revoke { dry_run: false, .. })
}

/// The last line of the answer.
async fn ask(
    line: &OpsLine,
    question: &[u8],
    on_progress: &mut (dyn FnMut(&Value) + Send),
) -> Result<Option<Result<Value, CallError>>, AskError> {
    let mut last = None;
    line.ask(question, &mut |bytes| match read(&bytes) {
        Ok(line) if line["schema"] == PROGRESS => on_progress(&line),
        line => last = Some(line),
    })
    .await?;
    Ok(last)
}

impl CallError {
    fn from_afar(error: AskError) -> Self {
        let message = error.to_string();
        let refused = match error {
            AskError::Refused(reason) => OpsError::new(
                word(reason),
                format!("this device may not ask there: {reason}"),
                "Only devices that were let in with --role ops ask from afar; see the coordination centre.",
            )
            .exits(5),
            AskError::NotUnderstood => OpsError::new(
                "version",
                "the relay is of an older version: it answers ops on its own machine only",
                "Ask there: cairn ops --dir DIR …; or update it.",
            )
            .exits(7),
            AskError::NotNow(_) => {
                OpsError::new("not_now", message, "Ask again a little later.").exits(4).later()
            }
            AskError::Lost(_) => {
                OpsError::new("connection_lost", message, "Ask again.").exits(4).later()
            }
            AskError::TooLong => OpsError::new("answer", message, "Ask for less at once."),
        };
        Self::Refused(refused)
    }
}

fn word(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Unknown => "unknown",
        CloseReason::Revoked => "revoked",
        _ => "not_permitted",
    }
}
