//! The relay's configuration: `relay.toml` in its folder, and what goes before it.
//!
//! Flags go before the environment, the environment before the file, the file before defaults; every
//! value remembers which of them it comes from ([`Settings`]). An unknown key is an error: a misspelt
//! limit must not pass for a default.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Name of the file in the relay's folder.
pub const FILE_NAME: &str = "relay.toml";
/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How alike a key must be to one that there is, to be named as what may have been meant.
const LIKENESS_LEAST: f64 = 0.75;

/// What can be set, as it is called in the file, and in the environment by the variable beside it.
pub const KEYS: [(&str, &str); 6] = [
    ("listen", "CAIRN_RELAY_LISTEN"),
    ("public", "CAIRN_RELAY_PUBLIC"),
    ("centre", "CAIRN_RELAY_CENTRE"),
    ("connections_max", "CAIRN_RELAY_CONNECTIONS_MAX"),
    ("cache_bytes", "CAIRN_RELAY_CACHE_BYTES"),
    ("health", "CAIRN_RELAY_HEALTH"),
];

/// What takes effect without a start.
pub(crate) const SWAPPED: [&str; 1] = ["public"];

/// What a relay is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// `HOST:PORT` under which devices reach the relay; goes into enrolment codes.
    pub public: String,
    /// Run the coordination centre's member in this process.
    pub centre: bool,
    /// Connections at a time.
    pub connections_max: u32,
    /// Memory for sled's cache, in bytes.
    pub cache_bytes: u64,
    /// Where health and metrics are answered.
    pub health: Health,
}

/// Where `/livez`, `/readyz` and `/metrics` are answered, over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Health {
    /// Nowhere: `off`.
    Off,
    /// At this address. Port 0: whichever the system gives, written into the folder's file `health`.
    At(SocketAddr),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl FromStr for Health {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| format!("{text:?} is neither ADDRESS:PORT nor \"off\"")),
        }
    }
}

impl TryFrom<String> for Health {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Health> for String {
    fn from(health: Health) -> Self {
        health.to_string()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            public: "localhost:7443".into(),
            centre: true,
            connections_max: 4096,
            cache_bytes: 32 * 1024 * 1024,
            // Several relays on one machine do not clash.
            health: Health::At(SocketAddr::from(([127, 0, 0, 1], 0))),
        }
    }
}

/// A value that goes before the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Which key, one of [`KEYS`].
    pub key: &'static str,
    /// Its value, as it was typed.
    pub value: String,
    /// The flag or the variable that says so.
    pub from: String,
}

impl Override {
    /// What the environment says, by a function that looks a variable up. An empty one says nothing.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Vec<Self> {
        KEYS.iter()
            .filter_map(|(key, name)| {
                let value = variable(name).filter(|value| !value.is_empty())?;
                let from = (*name).to_owned();
                Some(Self { key, value, from })
            })
            .collect()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag or a variable, by its name.
    Override(String),
    /// The file.
    File,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override(from) => f.write_str(from),
            Self::File => f.write_str(FILE_NAME),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A configuration, and where each value of it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is in force.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Settings {
    /// Reads and checks the file of the relay in `dir`, with what goes before it; of two overrides of one
    /// key the first counts.
    pub fn load(dir: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        Self::load_file(&dir.join(FILE_NAME), overrides)
    }

    /// The same with one file.
    pub fn load_file(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let (mut config, named) = read(path)?;
        let mut origins: BTreeMap<_, _> = KEYS
            .iter()
            .map(|(key, _)| match named.contains_key(*key) {
                true => (*key, Origin::File),
                false => (*key, Origin::Default),
            })
            .collect();
        for one in overrides.iter().rev() {
            config
                .set(one.key, &one.value)
                .map_err(|message| ConfigError::Override {
                    from: one.from.clone(),
                    message,
                })?;
            origins.insert(one.key, Origin::Override(one.from.clone()));
        }
        let settings = Self { config, origins };
        settings.config.wrong().map_or(Ok(()), |(key, message)| {
            Err(match settings.origin(key) {
                Origin::Override(from) => ConfigError::Override {
                    from: from.clone(),
                    message,
                },
                Origin::File | Origin::Default => ConfigError::Value {
                    path: path.to_owned(),
                    key,
                    message,
                },
            })
        })?;
        Ok(settings)
    }

    /// Takes over what can be swapped while the relay runs.
    pub(crate) fn swap(&mut self, new: Self) {
        for key in SWAPPED {
            self.origins.insert(key, new.origin(key).clone());
        }
        self.config.public = new.config.public;
    }

    /// Where a key's value comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

/// Why a configuration cannot be used: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, or names a key that does not exist.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        message: String,
    },
    /// A value that cannot work.
    #[error("{path}: {key}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A flag or a variable that cannot work.
    #[error("{from}: {message}")]
    Override {
        /// Its name.
        from: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads and checks the file of the relay in `dir`, and nothing that goes before it.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        Self::load_file(&dir.join(FILE_NAME))
    }

    /// Reads and checks one file.
    pub fn load_file(path: &Path) -> Result<Self, ConfigError> {
        Settings::load_file(path, &[]).map(|settings| settings.config)
    }

    /// Checks what the types cannot say.
    pub fn check(&self, path: &Path) -> Result<(), ConfigError> {
        self.wrong().map_or(Ok(()), |(key, message)| {
            Err(ConfigError::Value {
                path: path.to_owned(),
                key,
                message,
            })
        })
    }

    /// Every key with its value as text, in the order of [`KEYS`].
    #[must_use]
    pub fn values(&self) -> [(&'static str, String); 6] {
        [
            ("listen", self.listen.to_string()),
            ("public", self.public.clone()),
            ("centre", self.centre.to_string()),
            ("connections_max", self.connections_max.to_string()),
            ("cache_bytes", self.cache_bytes.to_string()),
            ("health", self.health.to_string()),
        ]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        fn parsed<T: FromStr>(text: &str, wanted: &str) -> Result<T, String> {
            text.parse()
                .map_err(|_| format!("{text:?} is not {wanted}"))
        }
        match key {
            "listen" => self.listen = parsed(text, "an ADDRESS:PORT")?,
            "public" => self.public = text.to_owned(),
            "centre" => self.centre = parsed(text, "true or false")?,
            "connections_max" => self.connections_max = parsed(text, "a number")?,
            "cache_bytes" => self.cache_bytes = parsed(text, "a number of bytes")?,
            "health" => self.health = text.parse()?,
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    /// The first value that cannot work, and why.
    fn wrong(&self) -> Option<(&'static str, String)> {
        // Port 0 means the one that the system gives, so only where that is what is listened on.
        let fits = |port: u16| port != 0 || self.listen.port() == 0;
        let port = self
            .public
            .rsplit_once(':')
            .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(fits));
        if port != Some(true) {
            let message = format!(
                "{:?} is not HOST:PORT; devices could not find the relay",
                self.public
            );
            return Some(("public", message));
        }
        if self.connections_max == 0 {
            return Some(("connections_max", "0 would let nobody in".into()));
        }
        if self.cache_bytes < 1024 * 1024 {
            let message = "less than 1048576 (1 MiB) is too little";
            return Some(("cache_bytes", message.into()));
        }
        None
    }

    /// The text of a file that says what `self` says.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "# The relay's configuration. `cairnd config check {FILE_NAME}` tests it.\n\n\
             # UDP address to listen on.\n\
             listen = \"{}\"\n\n\
             # Where devices reach this relay; goes into enrolment codes.\n\
             public = \"{}\"\n\n\
             # Run the coordination centre in this process.\n\
             centre = {}\n\n\
             # Connections at a time.\n\
             connections_max = {}\n\n\
             # Memory for the index's cache, in bytes.\n\
             cache_bytes = {}\n\n\
             # TCP address of /livez, /readyz and /metrics, or \"off\". Port 0: whichever is free; the file\n\
             # health in this folder then says which.\n\
             health = \"{}\"\n",
            self.listen,
            self.public,
            self.centre,
            self.connections_max,
            self.cache_bytes,
            self.health
        )
    }
}

/// A file's configuration, and the keys that it names.
fn read(path: &Path) -> Result<(Config, toml::Table), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let invalid = |message: String| ConfigError::Invalid {
        path: path.to_owned(),
        message,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(invalid(format!(
            "it is {length} bytes long, which no configuration is"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let named: toml::Table = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    let known = |key: &&String| !KEYS.iter().any(|(known, _)| known == key);
    if let Some(key) = named.keys().find(known) {
        let line = text.lines().position(|line| {
            line.trim_start()
                .trim_matches(['"', '['])
                .starts_with(key.as_str())
        });
        let line = line.map_or_else(String::new, |at| format!("line {}: ", at + 1));
        return Err(invalid(format!("{line}{}", unknown(key))));
    }
    let config = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    Ok((config, named))
}

/// That there is no such key, and which may have been meant.
fn unknown(key: &str) -> String {
    let likeness = |known: &str| strsim::jaro_winkler(known, key);
    let meant = KEYS
        .iter()
        .map(|(known, _)| *known)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .filter(|known| likeness(known) >= LIKENESS_LEAST);
    match meant {
        Some(meant) => format!("there is no key {key:?}; {meant:?} may be meant"),
        None => {
            let known: Vec<_> = KEYS.iter().map(|(known, _)| *known).collect();
            format!("there is no key {key:?}; there are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, overrides: &[Override]) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        Settings::load_file(&path, overrides)
    }

    fn over(key: &'static str, value: &str, from: &str) -> Override {
        Override {
            key,
            value: value.to_owned(),
            from: from.to_owned(),
        }
    }

    #[test]
    fn the_written_text_reads_back_and_names_every_key() {
        let config = Config {
            public: "relay.example:9000".into(),
            centre: false,
            health: Health::Off,
            ..Config::default()
        };
        let read = parse(&config.to_text(), &[]).unwrap();
        assert_eq!(read.config, config);
        for (key, _) in KEYS {
            assert_eq!(read.origin(key), &Origin::File, "{key}");
        }
        for ((key, _), (valued, _)) in KEYS.iter().zip(config.values()) {
            assert_eq!(*key, valued);
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_line_and_what_is_meant() {
        for (text, wanted) in [
            (
                "lissten = \"127.0.0.1:1\"\n",
                "line 1: there is no key \"lissten\"; \"listen\"",
            ),
            (
                "\n# x\nconection_max = 3\n",
                "line 3: there is no key \"conection_max\"; \"connections_max\"",
            ),
            ("[helth]\nport = 1\n", "\"health\" may be meant"),
            ("zzz = 1\n", "there are listen, public"),
        ] {
            let error = parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn flags_go_before_the_environment_that_before_the_file_and_that_before_defaults() {
        let environment = Override::of_environment(|name| match name {
            "CAIRN_RELAY_PUBLIC" => Some("by.environment:1".to_owned()),
            "CAIRN_RELAY_CENTRE" => Some("false".to_owned()),
            "CAIRN_RELAY_HEALTH" => Some(String::new()),
            _ => None,
        });
        let mut overrides = vec![over("public", "by.flag:1", "--public")];
        overrides.extend(environment);
        let text = "public = \"by.file:1\"\ncentre = true\nconnections_max = 7\n";
        let read = parse(text, &overrides).unwrap();
        let from = |key| read.origin(key).to_string();
        assert_eq!(
            (read.config.public.as_str(), from("public").as_str()),
            ("by.flag:1", "--public")
        );
        assert_eq!(
            (read.config.centre, from("centre").as_str()),
            (false, "CAIRN_RELAY_CENTRE")
        );
        assert_eq!(
            (
                read.config.connections_max,
                from("connections_max").as_str()
            ),
            (7, "relay.toml")
        );
        assert_eq!(
            (read.config.health, from("health").as_str()),
            (Config::default().health, "default")
        );
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_whoever_said_them() {
        for text in [
            "public = \"nowhere\"",
            "public = \":80\"",
            "public = \"host:0\"",
            "connections_max = 0",
            "cache_bytes = 1",
            "listen = \"somewhere\"",
            "health = \"7480\"",
            "health = true",
        ] {
            assert!(parse(text, &[]).is_err(), "{text}");
        }
        for (key, value) in [
            ("public", "nowhere"),
            ("connections_max", "many"),
            ("cache_bytes", "1"),
            ("centre", "yes"),
            ("listen", "here"),
            ("health", "on"),
        ] {
            let error = parse("", &[over(key, value, "THERE")]).unwrap_err();
            assert!(error.to_string().starts_with("THERE: "), "{error}");
        }
    }
}
