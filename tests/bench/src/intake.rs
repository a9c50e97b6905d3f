//! What a relay takes in: many teams at once, five hundred devices after a storm, an index made anew.
//!
//! The relay is a real `cairnd` with its centre and its disk. Teams that only press entries upon it
//! are real members on real QUIC whose own stores are in memory, for their disks are not what is
//! measured; they share the processors with it.

use crate::{Failure, Report, edits_of};
use cairn_bench::generate;
use cairn_device::member::{Member, Moment, SealLimits, TableKey};
use cairn_device::records::{Envelope, input, schema};
use cairn_device::transport::engine::{self, EngineOptions};
use cairn_device::transport::side_objects::grant_object;
use cairn_device::transport::{Handle, Identity, SyncOptions, SyncTarget, enrol, sync_once};
use cairn_device::{Device, DeviceOptions};
use cairn_end_to_end::{Centre, binaries};
use cairn_keys::enrolment::Code;
use cairn_keys::{DeviceSecret, Grant};
use cairn_store::{Fresh, ModelDisk, OpenOptions, SegmentStore, Store};
use cairn_wire::ids::Incarnation;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Teams that send at the same time, each from a district of its own.
const TEAMS: usize = 8;
/// Edits that follow each new record.
const EDITS_OF_A_RECORD: usize = 9;
/// Devices that come back after a storm …
const DEVICES: usize = 500;
/// … of districts that have an area of work each …
const DISTRICTS: usize = 50;
/// … within this time …
const WITHIN: Duration = Duration::from_secs(5);
/// … each with so many changes.
const CHANGES_OF_A_DEVICE: usize = 5;

/// How large the entries are that teams send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    /// As sealing makes them of all that waits.
    Days,
    /// One for each change.
    Edits,
}

/// A team with sealed entries that no relay has.
struct Team {
    handle: Handle,
    identity: Identity,
    target: SyncTarget,
    entries: u64,
    changes: u64,
}

/// Measures all of it; `quick` with fewer changes.
pub fn measure(report: &mut Report, quick: bool) -> Result<(), Failure> {
    let (days, edits) = if quick {
        (20_000, 8_000)
    } else {
        (100_000, 100_000)
    };
    intake(report, Entries::Days, days)?;
    let centre = intake(report, Entries::Edits, edits)?;
    rebuild(report, centre, edits)?;
    after_the_storm(report)
}

fn intake(report: &mut Report, entries: Entries, changes: usize) -> Result<Centre, Failure> {
    let words = match entries {
        Entries::Days => "in day-sized entries",
        Entries::Edits => "one an entry",
    };
    eprintln!("intake of {changes} changes, {words}");
    let centre = Centre::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let codes: Vec<String> = (0..TEAMS)
        .map(|n| centre.code(&format!("Team {n}"), &[&format!("district-{n}/hazards:rw")]))
        .collect();
    let prepared: Result<Vec<Team>, Failure> = std::thread::scope(|threads| {
        let running: Vec<_> = codes
            .iter()
            .enumerate()
            .map(|(n, code)| {
                let runtime = &runtime;
                threads.spawn(move || team(runtime, code, n, entries, changes / TEAMS))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a team panicked")?)
            .collect()
    });
    let teams = prepared?;
    let sealed: u64 = teams.iter().map(|team| team.entries).sum();
    let changes: u64 = teams.iter().map(|team| team.changes).sum();

    let started = Instant::now();
    let sent: u64 = runtime.block_on(async {
        let syncs: Vec<_> = teams
            .iter()
            .map(|team| {
                let (handle, identity, target) = (
                    team.handle.clone(),
                    team.identity.clone(),
                    team.target.clone(),
                );
                tokio::spawn(async move {
                    let options = SyncOptions::default();
                    sync_once(&handle, &identity, &target, &options, &mut |_| {}).await
                })
            })
            .collect();
        let mut sent = 0;
        for sync in syncs {
            sent += sync.await??.entries_sent;
        }
        Ok::<u64, Failure>(sent)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(sent, sealed, "all that was sealed is acknowledged");
    let (rate, aim, kept) = match entries {
        Entries::Days => {
            let rate = changes as f64 / seconds;
            (
                format!("{rate:.0} changes/s"),
                "≥ 50,000 changes/s",
                rate >= 50_000.0,
            )
        }
        Entries::Edits => {
            let rate = sealed as f64 / seconds;
            (
                format!("{rate:.0} entries/s"),
                "≥ 3,000 entries/s",
                rate >= 3_000.0,
            )
        }
    };
    report.add(
        format!("durable intake at the relay, {TEAMS} teams at once, {changes} changes {words}"),
        aim,
        format!(
            "{rate}: {sealed} entries in {seconds:.2} s; relay's memory at most {:.0} MB",
            centre.peak_resident_bytes() as f64 / 1e6
        ),
        kept,
    );
    Ok(centre)
}

/// A new member that joined with `code` and has sealed so many changes.
fn team(
    runtime: &Runtime,
    code: &str,
    number: usize,
    entries: Entries,
    changes: usize,
) -> Result<Team, Failure> {
    let code = Code::parse(code)?;
    let secret = DeviceSecret::from_bytes(&random()?);
    let options = SyncOptions::default();
    let enrolled = runtime.block_on(enrol(&code, &secret, "a team", &options))?;
    let mut opening = OpenOptions::new(secret.device(), Fresh(random()?));
    opening.programme = Some(code.programme);
    let (mut store, _) = SegmentStore::open_model(ModelDisk::new(), &opening)?;
    store.append_authority(enrolled.authority)?;
    let grants = enrolled
        .grants
        .iter()
        .map(|bytes| Grant::parse(bytes).map(|grant| grant_object(&grant)))
        .collect::<Result<Vec<_>, _>>()?;
    store.put_grants(grants)?;
    runtime.block_on(async move { drop(enrolled.dialled) });

    let mut member = Member::new(secret.clone(), TableKey::from_bytes(&random()?));
    member.catch_up(&mut store)?;
    let scope = code.scopes.first().ok_or("a code names a scope")?.id;
    let kind = schema::kind("hazardous_area").ok_or("the kind is known")?;
    let records = changes / (1 + EDITS_OF_A_RECORD);
    for area in generate::areas(1_000 + number as u64, records) {
        let moment = Moment {
            now_s: 1_800_000_000,
            nonce: random()?,
        };
        let fields = edits_of(&area)?;
        let envelope = Envelope::default();
        let saved = member.new_record(&mut store, &moment, scope, kind, &envelope, &fields)?;
        for edit in 0..EDITS_OF_A_RECORD {
            let set = input::set(kind, &format!("local_id=HA-{number}-{edit}"))?;
            member.edit(&mut store, &moment, &saved.id.to_string(), None, &[set])?;
        }
    }
    let mut limits = SealLimits::all(None);
    if entries == Entries::Edits {
        limits.payload_bytes_max = 1;
    }
    let fresh = Incarnation(random()?);
    let sealed = member.seal_outbox_some(&mut store, fresh, limits, &mut |_| true)?;
    Ok(Team {
        handle: engine::start(Box::new(store), EngineOptions::default())?,
        identity: Identity::new(&secret)?,
        target: SyncTarget {
            addresses: code.addresses,
            relay: code.relay,
        },
        entries: sealed.entries,
        changes: sealed.changes,
    })
}

/// How long the relay takes until it listens again after its index was lost.
fn rebuild(report: &mut Report, mut centre: Centre, entries: usize) -> Result<(), Failure> {
    eprintln!("an index made anew");
    centre.kill();
    std::fs::remove_dir_all(centre.dir().join("data/index"))?;
    let started = Instant::now();
    centre.run();
    let seconds = started.elapsed().as_secs_f64();
    report.add(
        format!("relay listens again after its index was lost, {entries} entries"),
        "≤ 60 s",
        format!("{seconds:.2} s"),
        seconds <= 60.0,
    );
    Ok(())
}

/// Five hundred devices, each a process with a store of its own, reconnect within five seconds.
fn after_the_storm(report: &mut Report) -> Result<(), Failure> {
    eprintln!("{DEVICES} devices reconnect");
    let folder = tempfile::tempdir()?;
    let centre = Centre::start();
    let uses = (DEVICES / DISTRICTS).to_string();
    let codes: Vec<String> = (0..DISTRICTS)
        .map(|district| {
            let scope = format!("district-{district}/hazards:rw");
            let said = centre.ops(&[
                "enrol", "new", "--name", "Fleet", "--role", "device", "--scope", &scope, "--uses",
                &uses,
            ]);
            let code = said.expect(0).json();
            code["code"].as_str().expect("a code").to_owned()
        })
        .collect();
    let devices: Vec<(PathBuf, &str)> = (0..DEVICES)
        .map(|n| {
            (
                folder.path().join(n.to_string()),
                codes[n % DISTRICTS].as_str(),
            )
        })
        .collect();
    std::thread::scope(|threads| {
        let running: Vec<_> = devices
            .chunks(DEVICES.div_ceil(2))
            .map(|devices| {
                threads.spawn(move || devices.iter().try_for_each(|(at, code)| ready(at, code)))
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a device panicked")?)
    })?;

    let started = Instant::now();
    let mut syncs: Vec<(&Path, Child)> = Vec::with_capacity(DEVICES);
    for (n, (at, _)) in devices.iter().enumerate() {
        let due = WITHIN.mul_f64(n as f64 / DEVICES as f64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        syncs.push((at, sync(at)?));
    }
    let begun = started.elapsed().as_secs_f64();
    let mut again = 0;
    while let Some((at, syncing)) = syncs.pop() {
        let done = syncing.wait_with_output()?;
        match done.status.code() {
            Some(0) => {}
            // Not reached in time: whoever holds the device presses the button again.
            Some(4) => {
                again += 1;
                syncs.push((at, sync(at)?));
            }
            _ => panic!("a device is not served: {done:?}"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let all = DEVICES * CHANGES_OF_A_DEVICE;
    centre.eventually(&["status"], |status| status["documents"] == all);
    let memory = centre.peak_resident_bytes() as f64 / 1e6;
    report.add(
        format!("{DEVICES} devices reconnect, each with {CHANGES_OF_A_DEVICE} changes"),
        "≤ 30 s, relay ≤ 400 MB",
        format!(
            "all served in {seconds:.1} s, begun within {begun:.1} s, {again} times tried again; \
             relay at most {memory:.0} MB"
        ),
        seconds <= 30.0 && memory <= 400.0,
    );
    Ok(())
}

fn sync(at: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(binaries().join("cairn"));
    command.arg("--data-dir").arg(at).args(["--json", "sync"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// A device that joined and has saved what it will hand over.
fn ready(at: &Path, code: &str) -> Result<(), Failure> {
    let device = Device::create(at, "Fleet", &DeviceOptions::default())?;
    device.join(code, false)?;
    for area in generate::areas(7, CHANGES_OF_A_DEVICE) {
        let fields = edits_of(&area)?;
        device.new_record(None, "hazardous_area", Envelope::default(), fields)?;
    }
    device.close()?;
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
