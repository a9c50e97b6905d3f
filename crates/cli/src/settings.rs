//! Flags go before the environment, the environment before the configuration file, the file before
//! defaults; every value remembers where it comes from.

use crate::arguments::{Color, Global, LogFormat};
use crate::failure::Failure;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Bytes of a configuration file that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a command runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The device's folder.
    pub folder: PathBuf,
    /// Answers are objects.
    pub json: bool,
    /// Words are coloured.
    pub color: bool,
    /// Data is coloured.
    pub color_data: bool,
    /// Time zone in which times are shown.
    pub zone: TimeZone,
    /// How much is said.
    pub verbose: u8,
    /// How logs look.
    pub log_format: LogFormat,
    /// Each setting as text, and where it comes from.
    pub origins: Vec<Origin>,
}

/// A setting and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name in the configuration file.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// A flag, a variable, a file, or `default`.
    pub from: String,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    profile: Option<String>,
    color: Option<Color>,
    tz: Option<String>,
    log_format: Option<LogFormat>,
}

/// Slows every link down, in bytes a second: for tests and demonstrations.
const THROTTLE: &str = "CAIRN_THROTTLE_BYTES_PER_S";

/// How slow links are made, if at all.
pub(crate) fn throttle() -> Result<Option<u64>, Failure> {
    let Some(rate) = variable(THROTTLE) else {
        return Ok(None);
    };
    let rate = rate.parse().ok().filter(|rate: &u64| *rate > 0);
    let wrong = || Failure::usage(format!("{THROTTLE} is no number above 0"));
    Ok(Some(rate.ok_or_else(wrong)?))
}

/// At which second since 1970 the device's clock stands still: for tests and demonstrations.
const CLOCK: &str = "CAIRN_CLOCK_S";

/// Sets the device's clock, if somebody wants it to be wrong.
pub(crate) fn set_clock() -> Result<(), Failure> {
    let Some(second) = variable(CLOCK) else {
        return Ok(());
    };
    let wrong = |_| Failure::usage(format!("{CLOCK} is no number of seconds"));
    cairn_device::stop_clock_at(second.parse().map_err(wrong)?);
    Ok(())
}

struct Found<T> {
    value: T,
    from: String,
}

impl Settings {
    /// Looks in all places.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let path = config_path();
        let file = match &path {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let named = path.map_or_else(String::new, |path| path.display().to_string());
        let folder = folder(global, &file, &named)?;
        let color = color(global, &file, &named)?;
        let zone = zone(global, &file, &named)?;
        let log_format = log_format(global, &file, &named)?;
        let origin = |key, value: String, from: &str| Origin {
            key,
            value,
            from: from.to_owned(),
        };
        Ok(Self {
            origins: vec![
                origin("data_dir", folder.value.display().to_string(), &folder.from),
                origin("color", word(color.value), &color.from),
                origin("tz", zone_name(&zone.value), &zone.from),
                origin("log_format", word(log_format.value), &log_format.from),
            ],
            folder: folder.value,
            json: global.json,
            color: colored(color.value, &std::io::stderr()),
            color_data: colored(color.value, &std::io::stdout()),
            zone: zone.value,
            verbose: global.verbose,
            log_format: log_format.value,
        })
    }
}

fn colored(color: Color, stream: &impl IsTerminal) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => stream.is_terminal(),
    }
}

fn word(value: impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("of this machine").to_owned()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn config_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CAIRN_CONFIG").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let path = directories::ProjectDirs::from("", "", "cairn")?
        .config_dir()
        .join("config.toml");
    path.exists().then_some(path)
}

fn read(path: &Path) -> Result<File, Failure> {
    let wrong = |message: String| {
        Failure::new("config", message)
            .hint("Mend the file, or name another one with CAIRN_CONFIG.")
            .exit(2)
    };
    let length = std::fs::metadata(path).map(|metadata| metadata.len());
    let text = match length {
        Ok(length) if length > FILE_BYTES_MAX => Err(wrong(format!(
            "{} is no configuration file: it is {length} bytes long",
            path.display()
        ))),
        _ => std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("reading {}: {error}", path.display()))),
    }?;
    toml::from_str(&text).map_err(|error| wrong(format!("{}: {error}", path.display())))
}

fn folder(global: &Global, file: &File, named: &str) -> Result<Found<PathBuf>, Failure> {
    let found = |value: PathBuf, from: &str| {
        Ok(Found {
            value,
            from: from.to_owned(),
        })
    };
    if let Some(folder) = &global.data_dir {
        return found(folder.clone(), "--data-dir");
    }
    if let Some(name) = &global.profile {
        return found(profile(name)?, "--profile");
    }
    if let Some(folder) = std::env::var_os("CAIRN_DATA_DIR").filter(|folder| !folder.is_empty()) {
        return found(folder.into(), "CAIRN_DATA_DIR");
    }
    if let Some(name) = variable("CAIRN_PROFILE") {
        return found(profile(&name)?, "CAIRN_PROFILE");
    }
    if let Some(folder) = &file.data_dir {
        return found(folder.clone(), named);
    }
    if let Some(name) = &file.profile {
        return found(profile(name)?, named);
    }
    found(profile("default")?, "default")
}

/// A device of this machine, by its name.
fn profile(name: &str) -> Result<PathBuf, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
        return Err(Failure::usage(format!(
            "{name:?} is no name for a profile: use letters, digits, - and _"
        )));
    }
    let folders = directories::ProjectDirs::from("", "", "cairn").ok_or_else(|| {
        Failure::new("no_home", "this machine names no folder for data")
            .hint("Name one with --data-dir.")
    })?;
    Ok(folders.data_dir().join(name))
}

fn chosen<T: clap::ValueEnum>(name: &str, value: &str) -> Result<T, Failure> {
    T::from_str(value, true).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

fn color(global: &Global, file: &File, named: &str) -> Result<Found<Color>, Failure> {
    let found = |value, from: &str| {
        Ok(Found {
            value,
            from: from.to_owned(),
        })
    };
    if let Some(color) = global.color {
        return found(color, "--color");
    }
    if let Some(color) = variable("CAIRN_COLOR") {
        return found(chosen("CAIRN_COLOR", &color)?, "CAIRN_COLOR");
    }
    if variable("NO_COLOR").is_some() {
        return found(Color::Never, "NO_COLOR");
    }
    match file.color {
        Some(color) => found(color, named),
        None => found(Color::Auto, "default"),
    }
}

fn zone(global: &Global, file: &File, named: &str) -> Result<Found<TimeZone>, Failure> {
    let asked = global.tz.clone().map(|zone| (zone, "--tz".to_owned()));
    let asked = asked
        .or_else(|| variable("CAIRN_TZ").map(|zone| (zone, "CAIRN_TZ".to_owned())))
        .or_else(|| file.tz.clone().map(|zone| (zone, named.to_owned())));
    let Some((name, from)) = asked else {
        return Ok(Found {
            value: TimeZone::system(),
            from: "default".to_owned(),
        });
    };
    let value = match name.to_ascii_uppercase().as_str() {
        "UTC" | "Z" => Ok(TimeZone::UTC),
        _ => TimeZone::get(&name),
    };
    let value = value.map_err(|_| {
        Failure::usage(format!(
            "{from}: {name:?} is no time zone that this machine knows"
        ))
        .hint("Write it as Africa/Kampala or UTC.")
    })?;
    Ok(Found { value, from })
}

fn log_format(global: &Global, file: &File, named: &str) -> Result<Found<LogFormat>, Failure> {
    let (value, from) = if let Some(format) = global.log_format {
        (format, "--log-format")
    } else if let Some(format) = variable("CAIRN_LOG_FORMAT") {
        (chosen("CAIRN_LOG_FORMAT", &format)?, "CAIRN_LOG_FORMAT")
    } else if let Some(format) = file.log_format {
        (format, named)
    } else {
        (LogFormat::Text, "default")
    };
    Ok(Found {
        value,
        from: from.to_owned(),
    })
}
