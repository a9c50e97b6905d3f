//! What can be typed after `cairn` and `cairnd`. Help, completions and man pages come from here.

pub mod ops;
pub mod relay;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

/// Records of hazards, kept on this machine and brought together with those of others.
#[derive(Debug, Parser)]
#[command(
    name = "cairn",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  cairn demo                 the whole story on this machine, no network needed\n\n\
        Data goes to standard output, words and progress to standard error. With --json the last line \
        on standard output is one object with a \"schema\"; errors too (cairn.error/1).\n\
        Exit codes: 0 done, 1 failed, 2 usage, 3 partly done, 4 relay unreachable, 5 not enrolled, \
        revoked or not permitted, 6 store locked, 7 format too new, 8 integrity."
)]
pub struct Cairn {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The device's folder [env: CAIRN_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Everywhere")]
    pub data_dir: Option<PathBuf>,
    /// One of several devices on this machine, by name [env: CAIRN_PROFILE]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "data_dir",
        help_heading = "Everywhere"
    )]
    pub profile: Option<String>,
    /// Answer with one JSON object that has a "schema"
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Colour: auto (on a terminal), always or never [env: CAIRN_COLOR, NO_COLOR]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        hide_possible_values = true,
        help_heading = "Everywhere"
    )]
    pub color: Option<Color>,
    /// Show times in this time zone, such as Africa/Kampala [env: CAIRN_TZ, TZ]
    #[arg(long, global = true, value_name = "ZONE", help_heading = "Everywhere")]
    pub tz: Option<String>,
    /// Say more: hashes and logs; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,
    /// How logs look: text or json [env: CAIRN_LOG_FORMAT]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true,
        help_heading = "Everywhere"
    )]
    pub log_format: Option<LogFormat>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}

/// What `cairn` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell the whole story on this machine: a relay, three teams, no network needed
    #[command(after_help = "Example:\n  cairn demo")]
    Demo(Demo),
    /// Make a device: keys and a place for its records
    #[command(after_help = "Example:\n  cairn init --name \"Team Alpha\" --no-encryption")]
    Init(Init),
    /// Join a programme with a code from the coordination centre
    #[command(alias = "enrol", after_help = "Example:\n  cairn join CAIRN1-…")]
    Join(Join),
    /// Record something new; prints its id
    #[command(
        after_help = "Example:\n  cairn new hazardous_area --set local_id=HA-1 --set hazard_class=confirmed \\\n    \
            --position \"44.1000, 17.9000\" --set area_reported=400"
    )]
    New(New),
    /// Change a record
    #[command(
        after_help = "Example:\n  cairn edit HA-1 --set slope=steep --add eo_categories=ap_mine\n\n\
            A smaller boundary, a lower class, closing: these are proposals until somebody who may decide does so."
    )]
    Edit(Edit),
    /// Withdraw a record, for a reason; nothing is deleted
    #[command(
        alias = "void",
        after_help = "Example:\n  cairn withdraw HA-1 --reason \"recorded twice, see HA-7\""
    )]
    Withdraw(Withdraw),
    /// List records
    #[command(
        after_help = "Example:\n  cairn list hazardous_area --where hazard_class=confirmed --conflicts"
    )]
    List(List),
    /// Say which hazards and accidents are near a place or a way, and what is not held here
    #[command(
        after_help = "Example:\n  cairn near \"44.1000, 17.9000\" --within 500m\n  cairn near route.gpx\n\n\
            Distances are in metres to the nearest edge as the area reads now. That nothing is found says \
            only that nothing is recorded in the areas of work that are held here: it never means that \
            it is safe."
    )]
    Near(Near),
    /// Show a record: how every field reads, and what stands behind it
    #[command(after_help = "Example:\n  cairn show HA-1 --history")]
    Show(Show),
    /// Say what a question means and which answers there are
    #[command(after_help = "Example:\n  cairn explain hazard_class")]
    Explain(Explain),
    /// List what people disagree on and what waits for a decision
    #[command(after_help = "Example:\n  cairn conflicts")]
    Conflicts(Conflicts),
    /// Settle what is open in a record, for a reason
    #[command(
        alias = "resolve",
        after_help = "Example:\n  cairn decide HA-1 --field perimeter --take A --reason \"walked together\"\n\n\
            The letters are those of `cairn conflicts`. Without the right to decide it is saved as a proposal."
    )]
    Decide(Decide),
    /// Say what is not yet at the centre, and what to do next
    #[command(after_help = "Example:\n  cairn status")]
    Status,
    /// Send what is new here and fetch what is new there
    #[command(
        after_help = "Example:\n  cairn sync --deadline 25s --byte-budget 2MB\n\n\
            It may be interrupted at any time: what was acknowledged stays, the rest goes on next time."
    )]
    Sync(Sync),
    /// Make records of a file
    #[command(after_help = "Example:\n  \
            cairn import areas.geojson --kind hazardous_area --scope north/hazards \\\n    \
            --map local_id=ID\n  \
            cairn import kobo.csv --kind eore_session --key instanceID \\\n    \
            --set reporting=session --set age_bands=split_18 \\\n    \
            --map session_date=date --map reached/female/18_plus=women --dry-run\n  \
            cairn import accidents.csv --kind accident --set record_type=accident \\\n    \
            --map position=Y,X --crs EPSG:32633\n\n\
            Codes are taken as such or by their label in any language. Dates as 2026-11-24; 03/04/2026 needs \
            --date-order. A text in the table that begins with ' and then = + - or @ loses the ', which an \
            export puts there against formulas. With --key a second import changes what the file says anew; what \
            people changed since in Cairn, and blank cells, change nothing. After an interruption run it again: \
            what is there already is not taken twice.")]
    Import(Import),
    /// Write records into a file
    #[command(
        after_help = "Example:\n  cairn export areas.geojson hazardous_area\n  cairn export accidents.csv accident\n\n\
            A table has a row for each record, sorted by id, its fields as they read, and columns for what is in \
            conflict or proposed. A text that a spreadsheet would run as a formula gets a ' before it; importing takes \
            it off again. Excel, KML, GPX and GeoPackage files come later."
    )]
    Export(Export),
    /// Look over everything that is stored here, and say what is damaged
    #[command(
        after_help = "Example:\n  cairn check --repair\n\nA repair deletes nothing: what cannot be read is set aside."
    )]
    Check(Check),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  cairn completions bash > ~/.local/share/bash-completion/completions/cairn"
    )]
    Completions(Completions),
    /// Show settings
    #[command(after_help = "Example:\n  cairn config show --origin")]
    Config(Config),
    /// Look after a programme: for the coordination centre and its operators
    #[command(after_help = "Example:\n  cairn ops --dir /var/lib/cairn status")]
    Ops(ops::Ops),
    /// The relay daemon, as `cairnd` has it
    #[command(
        hide = true,
        after_help = "Example:\n  cairn relay-daemon run --dir /var/lib/cairn"
    )]
    RelayDaemon {
        /// What to do.
        #[command(subcommand)]
        command: relay::RelayCommand,
    },
}

/// `cairn demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the folders of the relay and of the devices here, to look around afterwards
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
}

/// `cairn init`.
#[derive(Debug, Args)]
pub struct Init {
    /// How others see this device; by default the machine's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Do not protect the device's folder with a passphrase (protection comes in a later version)
    #[arg(long)]
    pub no_encryption: bool,
}

/// `cairn join`.
#[derive(Debug, Args)]
pub struct Join {
    /// The code, as the coordination centre gave it, or `-` to read it from standard input
    #[arg(value_name = "CODE")]
    pub code: String,
    /// Take the code now and use it at the next sync: records can be made already
    #[arg(long)]
    pub defer: bool,
}

/// `cairn new`.
#[derive(Debug, Args)]
pub struct New {
    /// What kind of record
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The area of work; may be left out where there is only one
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// What it says.
    #[command(flatten)]
    pub values: Values,
}

/// What a record is to say.
#[derive(Debug, Args)]
pub struct Values {
    /// Give a field a value; an empty value empties a field that allows it
    #[arg(long, value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// Tick an answer where several may be ticked
    #[arg(long, value_name = "FIELD=CODE")]
    pub add: Vec<String>,
    /// Append an entry to a list that only grows, such as direct_evidence={"type":"detonation"}
    #[arg(long, value_name = "FIELD=JSON")]
    pub append: Vec<String>,
    /// Take a free text from a file, or from standard input
    #[arg(long, value_name = "FIELD=FILE|-")]
    pub text: Vec<String>,
    /// Where it is, in degrees: latitude, longitude
    #[arg(
        long,
        value_name = "LAT, LON",
        allow_hyphen_values = true,
        conflicts_with = "geojson"
    )]
    pub position: Option<String>,
    /// Take the boundary or place from a GeoJSON file with one feature, or from standard input (`-`)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub geojson: Option<PathBuf>,
}

/// `cairn edit`.
#[derive(Debug, Args)]
pub struct Edit {
    /// The record: its number, short code, or the beginning of its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// What it is to say.
    #[command(flatten)]
    pub values: Values,
    /// Take back a tick or an entry
    #[arg(long, value_name = "FIELD=CODE")]
    pub remove: Vec<String>,
    /// Suggest a value for another's record: it changes nothing until a member who may decide takes
    /// it. In safety fields it is an ordinary edit, which counts at once where it is no safer
    #[arg(long, value_name = "FIELD=VALUE", allow_hyphen_values = true)]
    pub suggest: Vec<String>,
    /// Why it is suggested
    #[arg(long, value_name = "TEXT", requires = "suggest")]
    pub comment: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The state that a form showed when it was opened: `heads` of `cairn show --json`, with commas between
    #[arg(long, value_name = "HEADS")]
    pub seen: Option<String>,
}

/// `cairn withdraw`.
#[derive(Debug, Args)]
pub struct Withdraw {
    /// The record: its number, short code, or the beginning of its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only say what would be withdrawn
    #[arg(long)]
    pub dry_run: bool,
}

/// `cairn list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only this kind
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Only this area of work
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Only where a field reads so; may be given several times
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub reads: Vec<String>,
    /// Only with conflicts or proposals
    #[arg(long)]
    pub conflicts: bool,
    /// Only with changes that are not at the centre yet
    #[arg(long)]
    pub unsent: bool,
    /// Only where all these words stand in the number, the kind, or the beginning of a text
    #[arg(long, value_name = "WORDS")]
    pub search: Option<String>,
    /// Only so many of the newest; without it a terminal shows as many as it has lines for
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<usize>,
    /// All, however many lines the terminal has
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// `cairn near`.
#[derive(Debug, Args)]
pub struct Near {
    /// A place in degrees, latitude and longitude, or a GPX file with a track or route
    #[arg(
        value_name = "LAT, LON|ROUTE.gpx",
        allow_hyphen_values = true,
        value_hint = ValueHint::FilePath
    )]
    pub place: String,
    /// How far to look, such as 500m or 2km
    #[arg(long, value_name = "DISTANCE", default_value = "2km", value_parser = metres)]
    pub within: f64,
    /// All, however many lines the terminal has
    #[arg(long)]
    pub all: bool,
}

/// `cairn show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The record: its number, short code, or the beginning of its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Every change: who, when, what
    #[arg(long)]
    pub history: bool,
    /// As it stood then, by the devices' clocks: a date, a time, or heads with commas between
    #[arg(long, value_name = "DATE|HEADS", conflicts_with = "history")]
    pub as_of: Option<String>,
}

/// `cairn explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A question (field), an answer (code), or a kind of record
    #[arg(value_name = "FIELD|CODE")]
    pub word: String,
    /// Language of the words: en, fr, ar, uk, es, pt
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub language: String,
}

/// `cairn conflicts`.
#[derive(Debug, Args)]
pub struct Conflicts {
    /// Only this record
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// All, however many lines the terminal has
    #[arg(long)]
    pub all: bool,
}

/// `cairn decide`.
#[derive(Debug, Args)]
pub struct Decide {
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
    /// The state in which the choices were shown: `heads` of `cairn show --json`, with commas between
    #[arg(long, value_name = "HEADS")]
    pub seen: Option<String>,
}

/// `cairn sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Stay, and send and fetch what is new as it comes, until interrupted
    #[arg(long, conflicts_with_all = ["deadline", "byte_budget"])]
    pub watch: bool,
    /// Stop after this time, such as 25s or 5m; what is durable stays
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub deadline: Option<Duration>,
    /// Stop after so many bytes in both directions together, such as 500kB or 2MB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub byte_budget: Option<u64>,
    /// Look for the relay at this address instead, as HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Option<String>,
}

/// `cairn import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file: GeoJSON, or a table as CSV (UTF-8 or UTF-16; comma, semicolon or tab)
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What kind of records
    #[arg(long, value_name = "KIND")]
    pub kind: String,
    /// The area of work; may be left out where there is only one
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Put a column or property of the file into a field; bare numbers in another unit as
    /// FIELD=COLUMN:ha, figures by their path as reached/female/18_plus=WOMEN, the place as
    /// position=LATITUDE,LONGITUDE. What bears a field's name goes there by itself
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// What every row says that says nothing else there
    #[arg(long, value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// The column that identifies a row in the system it comes from (for ODK and Kobo: instanceID):
    /// a second import updates by it
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// Reference system of the coordinates: EPSG:4326, or a UTM zone on WGS 84 (EPSG:32601 to 32660,
    /// EPSG:32701 to 32760), which is converted; others are refused with a reason
    #[arg(long, value_name = "EPSG:N")]
    pub crs: Option<String>,
    /// What stands first in dates such as 03/04/2026: dmy or mdy
    #[arg(long, value_name = "ORDER")]
    pub date_order: Option<String>,
    /// Read and check every row, save nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `cairn export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write, or `-` for standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Only this kind; a table holds one kind
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Only this area of work
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Format of the file, geojson or csv; without it, by the ending of its name
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub format: Option<Format>,
}

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// GeoJSON (RFC 7946).
    Geojson,
    /// A table with commas (RFC 4180).
    Csv,
}

/// `cairn check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Make indexes and lists anew from what was written
    #[arg(long)]
    pub repair: bool,
}

/// `cairn completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `cairn config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting
    #[command(after_help = "Example:\n  cairn config show --origin")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// `25s`, `5m`, `72h`, `3d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number
        .parse()
        .map_err(|_| "write a time as 25s, 5m, 72h or 3d".to_owned())?;
    let seconds = match unit.trim() {
        "" | "s" | "sec" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err("write a time as 25s, 5m, 72h or 3d".to_owned()),
    };
    let whole = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if whole > Duration::from_secs(100 * 366 * 86_400) {
        return Err("that is longer than a hundred years".to_owned());
    }
    Ok(whole)
}

/// `500m`, `2km`, `1.5 km`; a bare number is metres.
pub(crate) fn metres(text: &str) -> Result<f64, String> {
    const METRES_MAX: f64 = 500_000.0;
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let advice = || "write a distance as 500m or 2km".to_owned();
    let number: f64 = number.parse().map_err(|_| advice())?;
    let metres = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "m" => number,
        "km" => number * 1000.0,
        _ => return Err(advice()),
    };
    match metres {
        1.0..=METRES_MAX => Ok(metres),
        _ => Err("a distance is between 1 m and 500 km".to_owned()),
    }
}

/// `500kB`, `2MB`, `64KiB`; a bare number is bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let advice = || "write bytes as 500kB, 2MB or 64KiB".to_owned();
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(advice()),
    };
    number.checked_mul(factor).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_hold_together() {
        Cairn::command().debug_assert();
        relay::Cairnd::command().debug_assert();
    }

    #[test]
    fn times_and_bytes_are_read_as_people_write_them() {
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("72h"), Ok(Duration::from_secs(259_200)));
        for wrong in [
            "",
            "s",
            "-1s",
            "5 fortnights",
            "1e400s",
            "99999999999999d",
            "..s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(metres("500m"), Ok(500.0));
        assert_eq!(metres("1.5 km"), Ok(1500.0));
        for wrong in ["", "m", "-1", "0", "2 miles", "501km", "1e9"] {
            assert!(metres(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("2MB"), Ok(2_000_000));
        assert_eq!(bytes("64 KiB"), Ok(65_536));
        for wrong in [
            "",
            "MB",
            "-1",
            "2 XB",
            "99999999999999999999",
            "99999999999999GB",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
