//! Sessions that ended, kept on disk for a year in bounded space.
//!
//! A line of JSON each, appended to files of [`FILE_BYTES_MAX`] under `sessions/`, the oldest of which
//! goes once there are [`FILES_MAX`] (64 MiB, about 190,000 sessions: five hundred devices that come
//! once a day fill it in a year). Before a file goes, its sessions are counted into `months.json`, a
//! row per month and device, which reaches back [`MONTHS_MAX`] months. Whoever was turned away before
//! it was known as a member stands in a small ring of its own, so that strangers push nothing out.
//!
//! A kill in the middle of a write costs the line that was being written: the torn end is cut off at
//! the next opening. Times are the relay's clock's and decide nothing; what goes first is the oldest
//! file, whatever the clock said.

use crate::folder;
use crate::time::since_1970_s;
use cairn_transport::{Direction, SessionInfo, SessionState};
use cairn_wire::frame::CloseReason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file that has reached this is followed by another one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files of members' sessions.
const FILES_MAX: usize = 64;
/// Files of those that were turned away.
const REFUSED_FILES_MAX: usize = 2;
/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 8 * 1024;
/// Characters of an error that are kept.
const ERROR_CHARACTERS_MAX: usize = 200;
/// Months that are counted …
const MONTHS_MAX: usize = 13;
/// … and devices in one of them; the others are counted together.
const DEVICES_PER_MONTH_MAX: usize = 20_000;
/// Lines that wait for a disk that takes none.
const PENDING_MAX: usize = 4096;
/// How a connection ended on which a device was enrolled and no more.
const JOINED: &str = "joined";
const MONTHS: &str = "months.json";
const MONTHS_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// A session that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// The device's key.
    pub(crate) device: String,
    /// Seconds since 1970.
    pub(crate) began_s: u64,
    /// Seconds since 1970.
    pub(crate) ended_s: u64,
    /// The device dialled.
    pub(crate) incoming: bool,
    pub(crate) address: String,
    pub(crate) app_bytes_sent: u64,
    pub(crate) app_bytes_received: u64,
    pub(crate) udp_bytes_sent: u64,
    pub(crate) udp_bytes_received: u64,
    pub(crate) round_trips: u64,
    pub(crate) entries_sent: u64,
    pub(crate) entries_received: u64,
    pub(crate) entries_refused: u64,
    /// How often both sides proved that they hold the same.
    pub(crate) equals: u64,
    /// Changes that the device said were waiting on it.
    pub(crate) backlog: Option<u64>,
    /// `done`, `lost` or the reason for which it was closed.
    pub(crate) end: String,
    /// What went wrong, if something did.
    pub(crate) error: Option<String>,
}

impl Finished {
    pub(crate) fn of(info: &SessionInfo, now_s: u64) -> Self {
        Self {
            device: info.peer.to_string(),
            began_s: since_1970_s(info.started),
            ended_s: info.ended.map_or(now_s, since_1970_s),
            incoming: info.direction == Direction::Incoming,
            address: info.remote.to_string(),
            app_bytes_sent: info.app_bytes_sent,
            app_bytes_received: info.app_bytes_received,
            udp_bytes_sent: info.udp_bytes_sent,
            udp_bytes_received: info.udp_bytes_received,
            round_trips: info.round_trips,
            entries_sent: info.entries_sent,
            entries_received: info.entries_received,
            entries_refused: info.entries_refused,
            equals: info.equals,
            backlog: info.backlog.as_ref().map(|backlog| backlog.changes),
            end: match info.joined {
                true => JOINED.to_owned(),
                false => state_word(info.state).to_owned(),
            },
            error: info.error.as_deref().map(bounded),
        }
    }

    /// It did what it was for: both sides held the same, or the device joined.
    pub(crate) fn is_complete(&self) -> bool {
        (self.end == "done" && self.equals > 0) || self.end == JOINED
    }

    /// It was told to go away: not a member, or not any more.
    pub(crate) fn was_refused(&self) -> bool {
        let refused = [
            "unknown",
            "revoked",
            "not permitted",
            "another programme",
            "version",
        ];
        refused.contains(&self.end.as_str())
    }

    /// How it ended, in words.
    pub(crate) fn in_words(&self) -> String {
        in_words(&self.end, self.equals > 0, self.error.as_deref())
    }
}

/// One word for where a session stands.
pub(crate) fn state_word(state: SessionState) -> &'static str {
    match state {
        SessionState::Syncing => "syncing",
        SessionState::Equal => "equal",
        SessionState::Lost => "lost",
        SessionState::Ended(reason) => match reason {
            CloseReason::Done => "done",
            CloseReason::Protocol => "protocol error",
            CloseReason::Unknown => "unknown",
            CloseReason::Revoked => "revoked",
            CloseReason::NotPermitted => "not permitted",
            CloseReason::Version => "version",
            CloseReason::ShuttingDown => "shutting down",
            CloseReason::Busy => "busy",
            CloseReason::StoreFailed => "store failed",
            CloseReason::OtherProgramme => "another programme",
            CloseReason::Budget => "budget reached",
        },
    }
}

/// What a state means.
pub(crate) fn in_words(state: &str, equal: bool, error: Option<&str>) -> String {
    let words = match (state, equal) {
        ("syncing", _) => "still exchanging",
        ("equal", _) => "both sides hold the same; connected",
        (JOINED, _) => "joined the programme",
        ("done", true) => "complete: both sides held the same",
        ("done", false) => "ended by the device before both sides held the same",
        ("budget reached", _) => {
            "stopped at the device's deadline or byte budget; goes on next time"
        }
        ("unknown", _) => "refused: not a member of this programme",
        ("revoked", _) => "revoked: it may only hand in",
        ("not permitted", _) => "refused: its joining code is not good, or it has no such right",
        ("version", _) => "refused: it speaks another version of the protocol",
        ("another programme", _) => "refused: it belongs to another programme",
        ("protocol error", _) => "closed: what it sent breaks the protocol",
        ("busy", _) => "closed: too slow, or no room; it comes back",
        ("shutting down", _) => "the other side stopped; the device comes back",
        ("store failed", _) => "closed: a store failed",
        ("lost", _) => "the connection was lost",
        (other, _) => other,
    };
    match error.filter(|error| !error.is_empty()) {
        Some(error) => format!("{words} ({error})"),
        None => words.to_owned(),
    }
}

/// Whether it was turned away before it was known as a member.
fn is_stranger(finished: &Finished) -> bool {
    let refused = ["unknown", "not permitted", "another programme", "version"];
    let nothing = finished.entries_sent == 0 && finished.entries_received == 0;
    nothing
        && finished.end != JOINED
        && finished.equals == 0
        && (refused.contains(&finished.end.as_str()) || finished.backlog.is_none())
}

fn bounded(error: &str) -> String {
    let characters = error.chars().take(ERROR_CHARACTERS_MAX);
    characters
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Session(Finished),
    /// The daemon started; `clean` if the run before it ended in good order.
    Started {
        at_s: u64,
        clean: bool,
    },
    Stopped {
        at_s: u64,
    },
    /// The folder came out of a backup that was made at `made_s`.
    Restored {
        at_s: u64,
        made_s: u64,
    },
}

/// A start of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at_s: u64,
    /// The run before it ended in good order.
    pub(crate) clean: bool,
}

/// A restore of the relay from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restore {
    pub(crate) at_s: u64,
    /// When the backup was made: of sessions after it nothing is listed.
    pub(crate) made_s: u64,
}

/// What one device, or all together, did in one month whose sessions are no longer listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Month {
    pub(crate) sessions: u64,
    pub(crate) complete: u64,
    pub(crate) app_bytes_sent: u64,
    pub(crate) app_bytes_received: u64,
    pub(crate) entries_sent: u64,
    pub(crate) entries_received: u64,
}

impl Month {
    fn count(&mut self, finished: &Finished) {
        self.sessions += 1;
        self.complete += u64::from(finished.is_complete());
        self.app_bytes_sent += finished.app_bytes_sent;
        self.app_bytes_received += finished.app_bytes_received;
        self.entries_sent += finished.entries_sent;
        self.entries_received += finished.entries_received;
    }

    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.complete += other.complete;
        self.app_bytes_sent += other.app_bytes_sent;
        self.app_bytes_received += other.app_bytes_received;
        self.entries_sent += other.entries_sent;
        self.entries_received += other.entries_received;
    }
}

/// Months, and up to which file sessions are counted in them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Months {
    /// Files up to this number are counted, and gone.
    counted: u64,
    /// By `2026-11`, by device; an empty key stands for all that found no row.
    months: BTreeMap<String, BTreeMap<String, Month>>,
}

impl Months {
    fn count(&mut self, finished: &Finished) {
        let day = crate::time::utc(finished.began_s);
        let month = day.get(..7).unwrap_or("?").to_owned();
        let devices = self.months.entry(month).or_default();
        let key =
            match devices.len() < DEVICES_PER_MONTH_MAX || devices.contains_key(&finished.device) {
                true => finished.device.clone(),
                false => String::new(),
            };
        devices.entry(key).or_default().count(finished);
        while self.months.len() > MONTHS_MAX {
            self.months.pop_first();
        }
    }
}

/// What was asked of the history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Those that ended at or after it.
    pub(crate) since_s: u64,
    pub(crate) device: Option<String>,
    /// How many sessions at most.
    pub(crate) limit: usize,
}

/// What the history tells.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Newest first.
    pub(crate) sessions: Vec<Finished>,
    /// How many there are, beyond the limit too.
    pub(crate) total: u64,
    /// How many of them did not end complete.
    pub(crate) failed: u64,
    /// Starts of the daemon, newest first.
    pub(crate) starts: Vec<Start>,
    /// Restores from a backup, newest first.
    pub(crate) restores: Vec<Restore>,
    /// Before it sessions are only counted by month.
    pub(crate) listed_since_s: Option<u64>,
    /// Months whose sessions are no longer listed, of the device or of all together.
    pub(crate) months: Vec<(String, Month)>,
}

/// Files of one kind of sessions.
#[derive(Debug)]
struct Ring {
    folder: PathBuf,
    files_max: usize,
    /// The file that is appended to, and its length, once something was.
    open: Option<(u64, File, u64)>,
}

/// The history of a relay.
#[derive(Debug)]
pub(crate) struct History {
    members: Ring,
    strangers: Ring,
    pending: Vec<Finished>,
}

impl History {
    /// The history in `folder`, which is made with the first line. Nothing is read yet.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let ring = |folder, files_max| Ring {
            folder,
            files_max,
            open: None,
        };
        Self {
            strangers: ring(folder.join("refused"), REFUSED_FILES_MAX),
            members: ring(folder, FILES_MAX),
            pending: Vec::new(),
        }
    }

    /// Says that the daemon has started; mends what a kill left behind.
    pub(crate) fn start(&mut self, now_s: u64) -> io::Result<()> {
        let last = self.members.last_line()?;
        let in_order = |last| matches!(last, Line::Stopped { .. } | Line::Restored { .. });
        let clean = last.is_none_or(in_order);
        self.members.append(&[Line::Started { at_s: now_s, clean }])
    }

    /// Says that the daemon stops in good order.
    pub(crate) fn stop(&mut self, now_s: u64) -> io::Result<()> {
        self.members.append(&[Line::Stopped { at_s: now_s }])
    }

    /// Says that the folder came out of a backup.
    pub(crate) fn restored(&mut self, at_s: u64, made_s: u64) -> io::Result<()> {
        self.members.append(&[Line::Restored { at_s, made_s }])
    }

    /// Keeps sessions; durable at return. What a disk does not take waits for the next call.
    pub(crate) fn append(&mut self, finished: Vec<Finished>) -> io::Result<()> {
        self.pending.extend(finished);
        let over = self.pending.len().saturating_sub(PENDING_MAX);
        self.pending.drain(..over);
        let (strangers, members): (Vec<_>, Vec<_>) =
            self.pending.iter().cloned().partition(is_stranger);
        let lines = |sessions: Vec<Finished>| -> Vec<Line> {
            sessions.into_iter().map(Line::Session).collect()
        };
        self.members.append(&lines(members))?;
        // What stands there does not come twice.
        self.pending = strangers.clone();
        self.strangers.append(&lines(strangers))?;
        self.pending.clear();
        Ok(())
    }
}

/// Reads what was asked for.
pub(crate) fn read(folder: &Path, asked: &Asked) -> io::Result<Told> {
    let mut told = Told::default();
    let mut sessions = Vec::new();
    for (folder, is_members) in [(folder, true), (&folder.join("refused"), false)] {
        let mut numbers = numbers(folder)?;
        numbers.reverse();
        for number in numbers {
            let mut older = false;
            // What was written last ended last, where the clock does not tell.
            for line in lines(&file(folder, number))?.into_iter().rev() {
                match line {
                    Line::Session(finished) => {
                        older |= finished.ended_s < asked.since_s;
                        if is_members {
                            let first = told.listed_since_s.unwrap_or(u64::MAX);
                            told.listed_since_s = Some(first.min(finished.ended_s));
                        }
                        let wanted = asked
                            .device
                            .as_ref()
                            .is_none_or(|it| *it == finished.device);
                        if wanted && finished.ended_s >= asked.since_s {
                            told.total += 1;
                            told.failed += u64::from(!finished.is_complete());
                            sessions.push(finished);
                        }
                    }
                    Line::Started { at_s, clean } => {
                        if at_s >= asked.since_s {
                            told.starts.push(Start { at_s, clean });
                        }
                    }
                    Line::Restored { at_s, made_s } => {
                        if at_s >= asked.since_s {
                            told.restores.push(Restore { at_s, made_s });
                        }
                    }
                    Line::Stopped { .. } => {}
                }
            }
            // Clocks step back: a file is read whole, and one more that only holds older ones ends it.
            keep_newest(&mut sessions, asked.limit);
            if older && is_members && asked.since_s > 0 {
                break;
            }
        }
    }
    keep_newest(&mut sessions, asked.limit);
    told.sessions = sessions;
    told.starts
        .sort_by_key(|start| std::cmp::Reverse(start.at_s));
    told.restores
        .sort_by_key(|restore| std::cmp::Reverse(restore.at_s));
    let first = told.listed_since_s.unwrap_or(u64::MAX);
    if asked.since_s < first {
        told.months = months_of(&read_months(folder)?, asked.device.as_deref());
    }
    Ok(told)
}

fn keep_newest(sessions: &mut Vec<Finished>, limit: usize) {
    sessions.sort_by_key(|one| std::cmp::Reverse(one.ended_s));
    sessions.truncate(limit);
}

fn months_of(months: &Months, device: Option<&str>) -> Vec<(String, Month)> {
    let rows = months.months.iter().map(|(month, devices)| {
        let mut sum = Month::default();
        for (of, row) in devices {
            if device.is_none_or(|device| device == of) {
                sum.add(row);
            }
        }
        (month.clone(), sum)
    });
    rows.filter(|(_, sum)| sum.sessions > 0).collect()
}

impl Ring {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let (_, file, length) = self.current()?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => *length += bytes.len() as u64,
            Err(error) => {
                // Whatever of it stands there comes again with the next call, after the torn end is cut.
                let _ = file.set_len(*length);
                self.open = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The file to append to; a full one is followed by another, and the oldest goes.
    fn current(&mut self) -> io::Result<&mut (u64, File, u64)> {
        let full = self
            .open
            .as_ref()
            .map(|(_, _, length)| *length >= FILE_BYTES_MAX);
        if full != Some(false) {
            folder::make_private(&self.folder)?;
            let newest = numbers(&self.folder)?.last().copied();
            let (number, cut) = match (full, newest) {
                (Some(true), Some(newest)) => (newest + 1, false),
                (_, newest) => (newest.unwrap_or(1), true),
            };
            let path = file(&self.folder, number);
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)?;
            if cut {
                cut_torn_end(&mut file)?;
            }
            folder::sync_folder_of(&path)?;
            let length = file.metadata()?.len();
            self.open = Some((number, file, length));
            self.let_oldest_go()?;
            if length >= FILE_BYTES_MAX {
                return self.current();
            }
        }
        self.open
            .as_mut()
            .ok_or_else(|| io::Error::other("no file of sessions is open"))
    }

    /// Counts the oldest files by month and takes them away, while there are too many.
    fn let_oldest_go(&self) -> io::Result<()> {
        let numbers = numbers(&self.folder)?;
        let over = numbers.len().saturating_sub(self.files_max);
        if over == 0 {
            return Ok(());
        }
        let mut months = read_months(&self.folder)?;
        for number in numbers.into_iter().take(over) {
            let path = file(&self.folder, number);
            // One that is counted was only not yet taken away when the daemon was killed.
            if number > months.counted {
                for line in lines(&path)? {
                    if let Line::Session(finished) = line {
                        months.count(&finished);
                    }
                }
                months.counted = number;
                let bytes = serde_json::to_vec(&months)?;
                folder::write_whole(&self.folder.join(MONTHS), &bytes)?;
            }
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn last_line(&self) -> io::Result<Option<Line>> {
        let Some(number) = numbers(&self.folder)?.last().copied() else {
            return Ok(None);
        };
        Ok(lines(&file(&self.folder, number))?.pop())
    }
}

fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

/// Numbers of the files that are there, ascending.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The lines of a file that read; a torn end and what is damaged are passed over.
fn lines(path: &Path) -> io::Result<Vec<Line>> {
    let file = match File::open(path) {
        // Another one took it away meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(lines);
        }
        if bytes.last() == Some(&b'\n') {
            lines.extend(serde_json::from_slice::<Line>(&bytes).ok());
        }
    }
}

/// Takes away what stands after the last line break.
fn cut_torn_end(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let tail = length.min(LINE_BYTES_MAX * 2);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    (&*file).take(tail).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let torn = bytes.len() - whole.map_or(0, |at| at + 1);
    if torn > 0 {
        file.set_len(length - torn as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

fn read_months(folder: &Path) -> io::Result<Months> {
    let path = folder.join(MONTHS);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Months::default()),
        Err(error) => return Err(error),
        Ok(about) if about.len() > MONTHS_BYTES_MAX => {
            return Err(io::Error::other("the counts by month are too large"));
        }
        Ok(_) => {}
    }
    let read = serde_json::from_slice(&std::fs::read(&path)?);
    Ok(read.unwrap_or_else(|error| {
        tracing::warn!(%error, "the counts of sessions by month do not read; they are begun anew");
        Months::default()
    }))
}

#[cfg(test)]
mod tests;
