//! What monitoring is told: a few series in the text of OpenMetrics 1.0, which Prometheus reads.
//!
//! They count. No series names a device, a person, a scope or a place.

use crate::daemon::Shared;
use crate::time::now_s;
use cairn_store::StoreError;
use cairn_transport::registry::COMMIT_BOUNDS_S;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Hours within which devices are counted as synced.
const SYNCED_WITHIN_H: [u64; 3] = [24, 72, 168];

/// The text, series by series.
struct Series(String);

impl Series {
    fn new() -> Self {
        Self(String::new())
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, help, u8::from(value));
    }

    /// A counter with the two values of one label.
    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (which, value) in values {
            self.sample(
                &format!("{name}_total"),
                &format!("{label}=\"{which}\""),
                value,
            );
        }
    }

    fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

/// Before there is a store.
pub(crate) fn starting_text() -> String {
    let mut series = Series::new();
    about(&mut series, false);
    series.end()
}

/// All of it. What the store alone knows is left out where it does not answer in time.
pub(crate) async fn text(shared: &Arc<Shared>, ready: bool, store_within: Duration) -> String {
    let mut series = Series::new();
    about(&mut series, ready);
    series.gauge(
        "cairn_start_time_seconds",
        "When the daemon started, since 1970.",
        shared.started_s,
    );
    sessions(&mut series, shared);
    commits(&mut series, shared);
    devices(&mut series, shared);
    disk(&mut series, shared.folder.path());
    if let Some(centre) = &shared.centre {
        series.gauge(
            "cairn_centre_behind_entries",
            "Entries that the centre has not read yet.",
            centre.behind(),
        );
        series.flag(
            "cairn_centre_failed",
            "1 while the centre cannot go on.",
            centre.failure().is_some(),
        );
    }
    series.flag(
        "cairn_restore_unsettled",
        "1 while the authority signs nothing, because it came out of a backup.",
        shared.authority.is_restored(),
    );
    let asked = shared.engine.call(|store| facts(store));
    let facts = tokio::time::timeout(store_within, asked).await;
    let answered = matches!(facts, Ok(Ok(Ok(_))));
    series.flag(
        "cairn_store_answers",
        "1 if the store answered in time.",
        answered,
    );
    if let Ok(Ok(Ok(facts))) = facts {
        store(&mut series, &facts);
    }
    series.end()
}

fn about(series: &mut Series, ready: bool) {
    series.family("cairn", "info", "What runs here.");
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    series.sample("cairn_info", &version, 1);
    series.flag(
        "cairn_ready",
        "1 while devices are served as they should be.",
        ready,
    );
}

fn sessions(series: &mut Series, shared: &Shared) {
    let totals = shared.engine.totals();
    series.gauge(
        "cairn_sessions",
        "Sessions that run.",
        shared.engine.sessions().len(),
    );
    series.counters(
        "cairn_sessions_ended",
        "Sessions that ended since the start.",
        "how",
        &[("well", totals.ended), ("failed", totals.failed)],
    );
    series.counters(
        "cairn_session_bytes",
        "Stream payload since the start.",
        "direction",
        &[
            ("sent", totals.app_bytes_sent),
            ("received", totals.app_bytes_received),
        ],
    );
    series.counters(
        "cairn_udp_bytes",
        "UDP payload since the start.",
        "direction",
        &[
            ("sent", totals.udp_bytes_sent),
            ("received", totals.udp_bytes_received),
        ],
    );
    series.counters(
        "cairn_session_entries",
        "Entries since the start; refused ones came too.",
        "what",
        &[
            ("sent", totals.entries_sent),
            ("received", totals.entries_received),
            ("refused", totals.entries_refused),
        ],
    );
}

fn commits(series: &mut Series, shared: &Shared) {
    let times = shared.engine.commit_times();
    let name = "cairn_commit_seconds";
    series.family(
        name,
        "histogram",
        "How long commits of received entries took: written, synced to disk, indexed.",
    );
    let bucket = format!("{name}_bucket");
    let mut within = 0;
    for (bound, count) in COMMIT_BOUNDS_S.iter().zip(times.counts) {
        within += count;
        series.sample(&bucket, &format!("le=\"{bound:?}\""), within);
    }
    let all: u64 = times.counts.iter().sum();
    series.sample(&bucket, "le=\"+Inf\"", all);
    series.sample(&format!("{name}_sum"), "", times.sum_s);
    series.sample(&format!("{name}_count"), "", all);
}

/// Only how many: who, `cairn ops status` says.
fn devices(series: &mut Series, shared: &Shared) {
    let now_s = now_s();
    let contacts = shared.contacts();
    let all = || contacts.all();
    let name = "cairn_devices_synced_within";
    series.family(name, "gauge", "Devices whose last sync is no older.");
    for hours in SYNCED_WITHIN_H {
        let fresh = |last_s: u64| now_s.saturating_sub(last_s) <= hours * 3600;
        let count = all()
            .filter(|one| one.last_sync_s.is_some_and(fresh))
            .count();
        series.sample(name, &format!("hours=\"{hours}\""), count);
    }
    let backlog = |one: &crate::contacts::Contact| one.backlog.unwrap_or(0);
    series.gauge(
        "cairn_devices_waiting",
        "Devices that said they hold changes which are not here.",
        all().filter(|one| backlog(one) > 0).count(),
    );
    series.gauge(
        "cairn_backlog_changes",
        "Changes that devices said they hold and which are not here.",
        all().map(backlog).sum::<u64>(),
    );
    let oldest = all().filter_map(|one| one.oldest_unsent_s(now_s)).max();
    series.gauge(
        "cairn_backlog_oldest_seconds",
        "Age of the oldest of them.",
        oldest.unwrap_or(0),
    );
}

fn disk(series: &mut Series, folder: &Path) {
    let Some(space) = disk_space(folder) else {
        return;
    };
    series.gauge(
        "cairn_disk_free_bytes",
        "What the daemon's account may still write where its folder lies.",
        space.free_bytes,
    );
    series.gauge(
        "cairn_disk_size_bytes",
        "The size of that disk.",
        space.size_bytes,
    );
}

/// A disk's size, and what is free on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub(crate) free_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// How it stands with the disk on which `path` lies.
pub(crate) fn disk_space(path: &Path) -> Option<DiskSpace> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(DiskSpace {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        size_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

struct StoreFacts {
    journals: usize,
    entries: u64,
    detached: usize,
    authority_height: u64,
    authority_forks: usize,
    members: usize,
    lost_frames: u64,
    last_backup_s: Option<u64>,
}

fn facts(store: &dyn cairn_store::Store) -> Result<StoreFacts, StoreError> {
    let journals = store.journals();
    Ok(StoreFacts {
        entries: journals
            .iter()
            .map(|of| store.journal_end(*of).position)
            .sum(),
        detached: journals.iter().map(|of| store.detached(*of).len()).sum(),
        journals: journals.len(),
        authority_height: store.authority_head().height,
        authority_forks: store.authority_forks()?.len(),
        members: store.membership().members().count(),
        lost_frames: store.lost_frames(),
        last_backup_s: crate::ops::backup::last(store)?.map(|(at_s, _)| at_s),
    })
}

fn store(series: &mut Series, facts: &StoreFacts) {
    let gauges = [
        (
            "cairn_journals",
            "Journals: one a scope and lane.",
            facts.journals as u64,
        ),
        (
            "cairn_journal_entries",
            "Entries in all journals.",
            facts.entries,
        ),
        (
            "cairn_detached_entries",
            "Entries that stand above a gap.",
            facts.detached as u64,
        ),
        (
            "cairn_authority_height",
            "Height of the authority's log.",
            facts.authority_height,
        ),
        (
            "cairn_authority_forks",
            "Contradictions in the authority's log.",
            facts.authority_forks as u64,
        ),
        (
            "cairn_members",
            "Members that ever were, relay and centre too.",
            facts.members as u64,
        ),
        (
            "cairn_lost_frames",
            "Frames of the store that were ever lost.",
            facts.lost_frames,
        ),
    ];
    for (name, help, value) in gauges {
        series.gauge(name, help, value);
    }
    if let Some(at_s) = facts.last_backup_s {
        series.gauge(
            "cairn_last_backup_timestamp_seconds",
            "When the last backup was made, since 1970.",
            at_s,
        );
    }
}
