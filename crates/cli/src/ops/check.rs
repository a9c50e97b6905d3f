//! Checks for monitoring: whether devices sync, and how much waits on them.

use super::lines::{array, text};
use super::relay::Relay;
use crate::Ended;
use crate::arguments::ops::CheckFormat;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{age, count};
use cairn_relay::ops::OpsRequest;
use serde_json::{Value as Json, json};

/// Where to begin to worry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) stale_crit_s: u64,
    pub(super) backlog_warn: u64,
}

/// How it stands, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Critical,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// What a check found.
#[derive(Debug)]
struct Found {
    level: Level,
    problems: Vec<String>,
    devices: usize,
    stale: usize,
    backlog: u64,
}

pub(super) fn sync(
    relay: &Relay,
    wanted: Wanted,
    format: CheckFormat,
    output: &Output,
) -> Result<Ended, Failure> {
    let asked = OpsRequest::Status {
        stale_s: wanted.stale_crit_s,
    };
    let status = match relay.ask(&asked) {
        Err(failure) if format == CheckFormat::Nagios && !output.json => {
            output.line(&format!("CAIRN UNKNOWN - {}", failure.message));
            return Ok(Ended::Code(3));
        }
        status => status?,
    };
    let found = look(&status, wanted);
    if output.json {
        output.line(&in_json(&found, wanted).to_string());
        return Ok(Ended::Code(u8::from(found.level != Level::Ok)));
    }
    Ok(match format {
        CheckFormat::Nagios => {
            output.line(&nagios(&found, wanted));
            Ended::Code(found.level as u8)
        }
        CheckFormat::Prometheus => {
            output.bytes(prometheus(&status, &found).as_bytes());
            Ended::Done
        }
        CheckFormat::Text => {
            let mut lines = found.problems.clone();
            lines.push(summary(&found));
            output.line(&lines.join("\n"));
            Ended::Code(u8::from(found.level != Level::Ok))
        }
    })
}

fn look(status: &Json, wanted: Wanted) -> Found {
    let mut found = Found {
        level: Level::Ok,
        problems: Vec::new(),
        devices: 0,
        stale: 0,
        backlog: 0,
    };
    if status.get("healthy") != Some(&Json::Bool(true)) {
        found.level = Level::Critical;
        found.problems.push(text(status, "health").to_owned());
    }
    for device in array(status, "devices") {
        found.devices += 1;
        let name = text(device, "name");
        if device.get("stale") == Some(&Json::Bool(true)) {
            found.stale += 1;
            found.level = Level::Critical;
            found.problems.push(match sync_age_s(device) {
                Some(age_s) => format!("{name} has not synced for {}", age(age_s)),
                None => format!("{name} has never synced"),
            });
        }
        let backlog = device.get("backlog").and_then(Json::as_u64).unwrap_or(0);
        found.backlog += backlog;
        if backlog > wanted.backlog_warn {
            found.level = found.level.max(Level::Warning);
            found
                .problems
                .push(format!("{} wait on {name}", count(backlog, "change")));
        }
    }
    found
}

fn sync_age_s(device: &Json) -> Option<u64> {
    let at: jiff::Timestamp = text(device, "last_sync").parse().ok()?;
    let since = jiff::Timestamp::now().as_second() - at.as_second();
    Some(u64::try_from(since).unwrap_or(0))
}

fn summary(found: &Found) -> String {
    format!(
        "{}: {}, {} silent, {} waiting on them",
        found.level.word(),
        count(found.devices as u64, "device"),
        found.stale,
        count(found.backlog, "change"),
    )
}

fn in_json(found: &Found, wanted: Wanted) -> Json {
    json!({
        "schema": "cairn.ops.check/1",
        "level": found.level.word(),
        "problems": found.problems,
        "devices": found.devices,
        "silent": found.stale,
        "backlog": found.backlog,
        "stale_crit_s": wanted.stale_crit_s,
        "backlog_warn": wanted.backlog_warn,
    })
}

/// A line of status and figures, as the guidelines for Nagios plugins want it: no `|` but the one.
fn nagios(found: &Found, wanted: Wanted) -> String {
    let what = match found.problems.as_slice() {
        [] => format!("{} in sync", count(found.devices as u64, "device")),
        problems => problems.join("; "),
    };
    let what = what.replace(['|', '\n', '\r'], " ");
    format!(
        "CAIRN {} - {what} | devices={};;;0 silent={};;0;0 backlog={};{};;0",
        found.level.word(),
        found.devices,
        found.stale,
        found.backlog,
        wanted.backlog_warn
    )
}

fn prometheus(status: &Json, found: &Found) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, u64)>| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let devices = array(status, "devices");
    let labels = |device: &Json| {
        format!(
            "{{device=\"{}\",name=\"{}\"}}",
            text(device, "device").chars().take(12).collect::<String>(),
            label(text(device, "name"))
        )
    };
    let each = |value: &dyn Fn(&Json) -> Option<u64>| -> Vec<(String, u64)> {
        let samples = devices.iter();
        samples
            .filter_map(|device| Some((labels(device), value(device)?)))
            .collect()
    };
    family(
        "cairn_sync_ok",
        "1 if no device is silent and none has too much waiting.",
        vec![(String::new(), u64::from(found.level == Level::Ok))],
    );
    family(
        "cairn_device_sync_age_seconds",
        "Since a device and the relay last held the same; left out where they never did.",
        each(&sync_age_s),
    );
    family(
        "cairn_device_backlog_changes",
        "Changes that a device said were waiting on it.",
        each(&|device| device.get("backlog").and_then(Json::as_u64)),
    );
    family(
        "cairn_device_silent",
        "1 if a device has been silent for too long.",
        each(&|device| Some(u64::from(device.get("stale") == Some(&Json::Bool(true))))),
    );
    out
}

/// A name inside quotes.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        stale_crit_s: 3600,
        backlog_warn: 10,
    };

    fn status(stale: bool, backlog: u64) -> Json {
        json!({ "healthy": true, "devices": [
            { "name": "A|\"x\"", "device": "00112233445566778899", "stale": stale,
              "last_sync": "2026-11-24T07:00:00Z", "backlog": backlog },
            { "name": "B", "device": "ff", "stale": false, "last_sync": null, "backlog": null },
        ]})
    }

    #[test]
    fn levels_follow_the_worst() {
        assert_eq!(look(&status(false, 10), WANTED).level, Level::Ok);
        assert_eq!(look(&status(false, 11), WANTED).level, Level::Warning);
        assert_eq!(look(&status(true, 11), WANTED).level, Level::Critical);
        let mut broken = status(false, 0);
        broken["healthy"] = json!(false);
        assert_eq!(look(&broken, WANTED).level, Level::Critical);
    }

    #[test]
    fn formats_are_as_their_readers_want_them() {
        let found = look(&status(true, 11), WANTED);
        let line = nagios(&found, WANTED);
        assert!(line.starts_with("CAIRN CRITICAL - A "), "{line}");
        assert_eq!(line.matches('|').count(), 1);
        assert!(line.ends_with("| devices=2;;;0 silent=1;;0;0 backlog=11;10;;0"));
        let text = prometheus(&status(true, 11), &found);
        assert!(text.contains(
            "cairn_device_backlog_changes{device=\"001122334455\",name=\"A|\\\"x\\\"\"} 11\n"
        ));
        assert!(!text.contains("backlog_changes{device=\"ff\""), "{text}");
        assert!(text.contains("cairn_sync_ok 0\n"));
    }
}
