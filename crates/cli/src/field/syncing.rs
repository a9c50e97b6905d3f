//! Bringing this device and the relay together.

use crate::Ended;
use crate::arguments::Sync;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::words::{self, count};
use cairn_device::transport::{SyncEvent, SyncTarget};
use cairn_device::{Device, DeviceError, SyncRequest, Synced};
use serde_json::{Value as Json, json};
use std::time::Instant;

/// What the largest piece costs with all around it, where the other side has it and cannot say.
const LARGEST_ENTRY_BUDGET_BYTES: u64 = 70_000;

pub fn sync(arguments: &Sync, device: &Device, output: &Output) -> Result<Ended, Failure> {
    if arguments.watch {
        return watch(device, output);
    }
    let request = SyncRequest {
        deadline: arguments.deadline,
        byte_budget: arguments.byte_budget,
        target: target(arguments, device)?,
    };
    let began = Instant::now();
    let synced = {
        let mut progress = Progress::begin(output, "Syncing", None);
        device.sync_once(&request, &mut |event| match event {
            SyncEvent::Moved {
                app_bytes_sent,
                app_bytes_received,
            } => progress.at(app_bytes_sent + app_bytes_received),
            SyncEvent::Broken(why) => progress.say(&format!("Interrupted: {why}")),
            SyncEvent::Pause(pause) => progress.say(&format!(
                "Trying again in {}.",
                count(pause.as_secs().max(1), "second")
            )),
            SyncEvent::Dialling | SyncEvent::Connected(_) | SyncEvent::Equal => {}
        })
    };
    let mut synced = synced.map_err(with_what_was_done)?;
    // What the person waited: with sealing before and taking in after.
    synced.report.duration_s = began.elapsed().as_secs_f64();
    answer(&synced, output);
    let nothing_moved = synced.report.entries_sent + synced.report.entries_received == 0;
    if !synced.report.complete && arguments.byte_budget.is_some() && nothing_moved {
        let least = synced
            .report
            .byte_budget_wanted
            .unwrap_or(LARGEST_ENTRY_BUDGET_BYTES);
        output.warn(&format!(
            "Nothing fitted into that budget: records travel sealed, in pieces. Give at least {}kB.",
            least.div_ceil(1000) + 1
        ));
    }
    Ok(if synced.report.complete {
        Ended::Done
    } else {
        Ended::Partly
    })
}

/// Another address for the relay that is known.
fn target(arguments: &Sync, device: &Device) -> Result<Option<SyncTarget>, Failure> {
    let Some(address) = &arguments.peer else {
        return Ok(None);
    };
    let port = address
        .rsplit_once(':')
        .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    if port != Some(true) {
        return Err(Failure::usage(format!(
            "--peer {address:?} is not HOST:PORT"
        )));
    }
    let relays = device.status()?.relays;
    let relay = relays.first().ok_or(DeviceError::NotJoined)?;
    Ok(Some(SyncTarget {
        addresses: vec![address.clone()],
        relay: relay.relay,
    }))
}

fn with_what_was_done(error: DeviceError) -> Failure {
    let done = match &error {
        DeviceError::Sync(error) => error.report().map(|report| json!(report)),
        _ => None,
    };
    Failure {
        done: done.map(with_schema),
        ..Failure::from(error)
    }
}

fn with_schema(mut json: Json) -> Json {
    if let Some(object) = json.as_object_mut() {
        object.insert("schema".into(), json!("cairn.sync/1"));
    }
    json
}

fn answer(synced: &Synced, output: &Output) {
    let report = &synced.report;
    output.answer(&with_schema(json!(synced)), || {
        format!(
            "sent {}, received {}, {} changed, {} in {:.1} s",
            count(synced.changes_sent, "change"),
            count(synced.changes_received, "change"),
            count(synced.documents_changed, "record"),
            words::bytes(report.app_bytes_sent + report.app_bytes_received),
            report.duration_s
        )
    });
    if report.entries_refused > 0 {
        output.warn(&format!(
            "{} that came did not hold together and were not taken. The coordination centre should know.",
            count(report.entries_refused, "entry")
        ));
    }
    output.say(if report.complete {
        "This laptop and the relay hold the same now."
    } else {
        "Not everything is through yet; what is, stays. Next: cairn sync."
    });
}

/// Stays until it is interrupted; with `--json` a line for each thing that happens.
fn watch(device: &Device, output: &Output) -> Result<Ended, Failure> {
    let tell = |event: &str, more: Json, words: String| {
        let mut object = json!({ "schema": "cairn.sync.event/1", "event": event });
        if let (Some(object), Json::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        if output.json {
            output.answer(&object, String::new);
        } else {
            output.say(&words);
        }
    };
    output.say("Syncing as things come. Stop with Ctrl-C; nothing is lost by it.");
    let mut on_event = |event: SyncEvent| match event {
        SyncEvent::Dialling | SyncEvent::Moved { .. } => {}
        SyncEvent::Connected(_) => tell("connected", json!({}), "Connected.".to_owned()),
        SyncEvent::Equal => tell(
            "equal",
            json!({}),
            "This laptop and the relay hold the same now.".to_owned(),
        ),
        SyncEvent::Broken(why) => tell(
            "broken",
            json!({ "why": why }),
            format!("Interrupted: {why}"),
        ),
        SyncEvent::Pause(pause) => tell(
            "pause",
            json!({ "seconds": pause.as_secs_f64() }),
            format!(
                "Trying again in {}.",
                count(pause.as_secs().max(1), "second")
            ),
        ),
    };
    let kept = device.keep_synced(interrupted(), &mut on_event, &mut |taken| {
        let documents = taken.documents_changed.len() as u64;
        if documents > 0 {
            tell(
                "taken",
                json!({ "documents_changed": documents, "changes_received": taken.changes_applied }),
                format!("{} changed by others.", count(documents, "record")),
            );
        }
    });
    let synced = kept.map_err(with_what_was_done)?;
    answer(&synced, output);
    Ok(Ended::Done)
}

/// Until somebody wants this to end.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        done = tokio::signal::ctrl_c() => {
            if done.is_err() {
                std::future::pending::<()>().await;
            }
        }
        () = terminated => {}
    }
}
