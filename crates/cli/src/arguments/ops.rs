//! What can be typed after `cairn ops`.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

/// `cairn ops`.
#[derive(Debug, Args)]
pub struct Ops {
    /// The relay's folder, by whose socket a running `cairnd` is asked
    #[arg(
        long,
        global = true,
        env = "CAIRN_RELAY_DIR",
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        help_heading = "Everywhere"
    )]
    pub dir: Option<PathBuf>,
    /// A relay elsewhere, asked as this device, which was let in with the role ops
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        help_heading = "Everywhere"
    )]
    pub relay: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: OpsCommand,
}

/// What operators can do.
#[derive(Debug, Subcommand)]
pub enum OpsCommand {
    /// A line of health, then every device: last sync, backlog, oldest unsent, conflicts
    #[command(after_help = "Example:\n  cairn ops status --stale 72h")]
    Status {
        /// Silent for longer than this is a thing to act on
        #[arg(long, value_name = "TIME", default_value = "72h", value_parser = super::duration)]
        stale: Duration,
    },
    /// The first screen of the day: what to act on, how each team stands, what came, the land
    #[command(after_help = "Example:\n  cairn ops morning")]
    Morning,
    /// The same, live, full screen; Ctrl-C ends it
    #[command(
        after_help = "Example:\n  cairn ops watch --every 5s\n\nWith --json an object a line."
    )]
    Watch {
        /// How often it is drawn anew
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = super::duration)]
        every: Duration,
    },
    /// Checks for monitoring
    Check {
        /// What to check.
        #[command(subcommand)]
        command: CheckCommand,
    },
    /// What operators did: list, verify, export
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// List devices
    #[command(after_help = "Example:\n  cairn ops devices")]
    Devices,
    /// Show one device: what it may do, what it has sent
    #[command(after_help = "Example:\n  cairn ops device \"Team Alpha\"")]
    Device {
        /// Its id, the beginning of it, or its name
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Shut a device out; what it handed in before is kept
    #[command(after_help = "Example:\n  cairn ops revoke 4f1c --reason \"phone lost\" --dry-run")]
    Revoke {
        /// Its id, the beginning of it, or its name
        #[arg(value_name = "ID")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only say whom it would shut out
        #[arg(long)]
        dry_run: bool,
    },
    /// Let devices in
    #[command(
        after_help = "Example:\n  cairn ops enrol new --name \"Team Alpha\" --role device --scope north/hazards:rw"
    )]
    Enrol {
        /// What to do.
        #[command(subcommand)]
        command: EnrolCommand,
    },
    /// List areas of work
    #[command(after_help = "Example:\n  cairn ops scopes")]
    Scopes,
    /// Make areas of work, and let devices into them
    #[command(after_help = "Example:\n  cairn ops scope create south/hazards")]
    Scope {
        /// What to do.
        #[command(subcommand)]
        command: ScopeCommand,
    },
    /// List sessions: those that run, and how each of the last ones ended
    #[command(
        after_help = "Example:\n  cairn ops sessions --device 4f1c --since 30d\n\n\
            The relay keeps them for a year, in at most 64 MiB: the oldest are counted by month. Who was \
            turned away (not a member, a joining code that is not good) stands here too."
    )]
    Sessions {
        /// Only of this device
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        /// Those that ended in this time
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = super::duration)]
        since: Duration,
        /// How many at most, newest first
        #[arg(long, value_name = "N", default_value_t = 200)]
        limit: usize,
    },
    /// List records as the centre reads them
    #[command(after_help = "Example:\n  cairn ops docs --scope north/hazards")]
    Docs {
        /// Only this area of work
        #[arg(long, value_name = "SCOPE")]
        scope: Option<String>,
    },
    /// Show one record as the centre reads it
    #[command(after_help = "Example:\n  cairn ops doc HA-1 --history")]
    Doc {
        /// Its number, short code, or the beginning of its id
        #[arg(value_name = "ID")]
        id: String,
        /// Every change: who, when, what
        #[arg(long)]
        history: bool,
        /// The sealed entries it stands in
        #[arg(long)]
        entries: bool,
        /// Who is known to have it
        #[arg(long)]
        who_has: bool,
    },
    /// List logs: heights, forks, what is set aside
    #[command(after_help = "Example:\n  cairn ops logs --device \"Team Alpha\"")]
    Logs {
        /// Only of this area of work
        #[arg(long, value_name = "SCOPE")]
        scope: Option<String>,
        /// Only of this device
        #[arg(long, value_name = "ID")]
        device: Option<String>,
    },
    /// What is set aside: kept, and no part of any record
    Quarantine {
        /// What to do.
        #[command(subcommand)]
        command: QuarantineCommand,
    },
    /// List what people disagree on
    #[command(after_help = "Example:\n  cairn ops conflicts")]
    Conflicts,
    /// Settle a field as the centre, in the name of a person
    #[command(
        visible_alias = "resolve",
        after_help = "Example:\n  cairn ops decide HA-1 --field perimeter --take A --as \"Amina K.\" --reason \"walked together\"\n\n\
            The letters are those of `cairn ops conflicts`. Done on the relay's own machine; a device with the \
            right to decide does it by itself: cairn decide."
    )]
    Decide(Decision),
    /// Look over everything that is stored
    #[command(after_help = "Example:\n  cairn ops verify --deep")]
    Verify {
        /// Open and read every record as well
        #[arg(long)]
        deep: bool,
    },
    /// Back the relay up, look a backup over, restore one
    #[command(after_help = "Example:\n  cairn ops --dir /var/lib/cairn backup create /mnt/backup")]
    Backup {
        /// What to do.
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Let a running relay read its configuration again
    #[command(after_help = "Example:\n  cairn ops reload")]
    Reload,
    /// Show the relay's settings
    #[command(after_help = "Example:\n  cairn ops config show")]
    Config {
        /// What to do.
        #[command(subcommand)]
        command: OpsConfigCommand,
    },
}

/// `cairn ops decide`.
#[derive(Debug, Args)]
pub struct Decision {
    /// The record: its number, short code, or the beginning of its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The field; may be left out where only one is open
    #[arg(long, value_name = "FIELD")]
    pub field: Option<String>,
    /// The choice: a letter, the change that wrote it, or `reading` for how the field reads now
    #[arg(
        long,
        value_name = "A|CHANGE",
        required_unless_present_any = ["value", "turn_down"],
        conflicts_with = "value"
    )]
    pub take: Option<String>,
    /// Do not take the suggestion of this letter
    #[arg(long, value_name = "A", conflicts_with_all = ["take", "value"])]
    pub turn_down: Option<String>,
    /// Another value, that nobody gave yet
    #[arg(
        long,
        value_name = "VALUE",
        requires = "field",
        allow_hyphen_values = true
    )]
    pub value: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who decides; stands beside the reason
    #[arg(long = "as", value_name = "NAME", env = "USER")]
    pub by: Option<String>,
    /// The state in which the choices were shown: `heads` of `cairn ops conflicts --json`, with commas between
    #[arg(long, value_name = "HEADS")]
    pub seen: Option<String>,
    /// Only say what it would name
    #[arg(long)]
    pub dry_run: bool,
}

/// `cairn ops enrol`.
#[derive(Debug, Subcommand)]
pub enum EnrolCommand {
    /// Make a joining code; prints it
    #[command(
        after_help = "Example:\n  cairn ops enrol new --name \"Team Alpha\" --role device --scope north/hazards:rw+decide"
    )]
    New {
        /// How the device is called
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it is
        #[arg(long, value_name = "ROLE", default_value = "device")]
        role: Role,
        /// An area of work and the right in it: r, rw (if left out) or rw+decide. Made if it is new
        #[arg(long, value_name = "SCOPE[:RIGHT]", required = true)]
        scope: Vec<String>,
        /// How many devices may use the code
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// How long the code is good
        #[arg(long, value_name = "TIME", default_value = "72h", value_parser = super::duration)]
        expires: Duration,
    },
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Records in the field.
    Device,
    /// Reads only.
    Viewer,
    /// Looks after the programme.
    Ops,
}

/// `cairn ops scope`.
#[derive(Debug, Subcommand)]
pub enum ScopeCommand {
    /// Make an area of work
    #[command(after_help = "Example:\n  cairn ops scope create south/hazards")]
    Create {
        /// Its name
        #[arg(value_name = "SCOPE")]
        name: String,
    },
    /// Let a device into an area of work, or change its right there
    #[command(after_help = "Example:\n  cairn ops scope grant \"Team Alpha\" south/hazards:rw")]
    Grant {
        /// The device: its id, the beginning of it, or its name
        #[arg(value_name = "DEVICE")]
        device: String,
        /// The area of work and the right in it: r, rw (if left out) or rw+decide
        #[arg(value_name = "SCOPE[:RIGHT]")]
        scope: String,
    },
}

/// `cairn ops backup`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write the whole relay into one file, while it runs or not
    #[command(
        after_help = "Example:\n  cairn ops --dir /var/lib/cairn backup create /mnt/backup\n\n\
            The file is NOT ENCRYPTED and holds the programme's keys: whoever has it can read every \
            record and let devices in. Keep it as you keep the relay's disk."
    )]
    Create {
        /// A folder to put it in, or a file that is not there yet
        #[arg(value_name = "DEST", value_hint = ValueHint::AnyPath)]
        destination: PathBuf,
    },
    /// Check every hash, chain and signature in a backup
    #[command(
        after_help = "Example:\n  cairn ops backup verify /mnt/backup/cairn-1a2b3c4d-20261124T020000Z.backup"
    )]
    Verify {
        /// The backup
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a relay out of a backup, in an empty folder
    #[command(
        after_help = "Example:\n  cairn ops backup restore cairn-1a2b3c4d-20261124T020000Z.backup --into /var/lib/cairn\n\n\
            Devices give back what the relay lacks. The authority signs nothing until all have synced, or \
            until: cairn ops backup override --reason TEXT"
    )]
    Restore {
        /// The backup
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The relay's folder: empty, or not there yet
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        into: PathBuf,
        /// Only look the backup over
        #[arg(long)]
        dry_run: bool,
    },
    /// After a restore, let the authority sign before every device has synced
    #[command(
        after_help = "Example:\n  cairn ops backup override --reason \"T9's laptop burnt with the relay\" --dry-run\n\n\
            A device that was let in, or revoked, after the backup and has not synced since may be \
            forgotten by this. The reason is recorded."
    )]
    Override {
        /// Why whoever has not synced will not come
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only say for whom it would not wait
        #[arg(long)]
        dry_run: bool,
    },
}

/// `cairn ops check`.
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Whether devices sync, and how much waits on them
    #[command(
        after_help = "Example:\n  cairn ops check sync --stale-crit 72h --backlog-warn 500 --format nagios\n\n\
            With --format nagios the exit code is 0 (OK), 1 (warning), 2 (critical) or 3 (unknown, \
            such as a relay that does not answer); else 0, or 1 where something is not as it should be. \
            --format prometheus always ends with 0: it is for the textfile collector."
    )]
    Sync {
        /// A device that has not synced for so long is critical
        #[arg(long, value_name = "TIME", default_value = "72h", value_parser = super::duration)]
        stale_crit: Duration,
        /// More changes waiting on one device are a warning
        #[arg(long, value_name = "N", default_value_t = 500)]
        backlog_warn: u64,
        /// For whom it is
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: CheckFormat,
    },
}

/// For whom a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// A line with figures, and exit codes as Nagios and Icinga want them.
    Nagios,
    /// Series in Prometheus' text format.
    Prometheus,
    /// Lines for people.
    Text,
}

/// `cairn ops audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what operators did, newest first
    #[command(after_help = "Example:\n  cairn ops audit list --limit 20")]
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Check that no line was changed or taken out
    #[command(after_help = "Example:\n  cairn ops audit verify")]
    Verify,
    /// Write all of it into a file, an object a line, oldest first
    #[command(after_help = "Example:\n  cairn ops audit export audit-2026.jsonl")]
    Export {
        /// The file; it must not be there yet
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// `cairn ops quarantine`.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List what is set aside, the worst first
    #[command(after_help = "Example:\n  cairn ops quarantine list --scope north/hazards")]
    List {
        /// Only of this area of work
        #[arg(long, value_name = "SCOPE")]
        scope: Option<String>,
    },
    /// Show one thing: why it is set aside, by whom it was sent, and its record
    #[command(after_help = "Example:\n  cairn ops quarantine show 9f3a")]
    Show {
        /// The beginning of its id, as the list shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Say that it was looked at and stays out; it no longer calls for attention
    #[command(
        after_help = "Example:\n  cairn ops quarantine keep-out 9f3a --reason \"sent by a tablet with a broken build\"\n\n\
            Nothing can be let in by hand: whether a change is part of a record follows from its bytes alone, \
            so that every device and the centre read the same. What is missing is recorded anew. What \
            waits for another change is taken in by itself once that one comes."
    )]
    KeepOut {
        /// The beginning of its id
        #[arg(value_name = "ID")]
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who decides
        #[arg(long, value_name = "NAME", env = "USER")]
        by: Option<String>,
    },
}

/// `cairn ops config`.
#[derive(Debug, Subcommand)]
pub enum OpsConfigCommand {
    /// Show every setting of the relay
    #[command(after_help = "Example:\n  cairn ops config show")]
    Show,
}
