//! The relay's configuration file, `relay.toml` in its folder.
//!
//! Flags go before the environment, the environment before the file, the file before defaults.
//! An unknown key is an error: a misspelt limit must not pass for a default.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the file in the relay's folder.
pub const FILE_NAME: &str = "relay.toml";

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            public: "localhost:7443".into(),
            centre: true,
            connections_max: 4096,
            cache_bytes: 32 * 1024 * 1024,
        }
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
}

impl Config {
    /// Reads and checks the file of the relay in `dir`.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        Self::load_file(&dir.join(FILE_NAME))
    }

    /// Reads and checks one file.
    pub fn load_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Invalid {
            path: path.to_path_buf(),
            message: error.to_string(),
        })?;
        config.check(path)?;
        Ok(config)
    }

    /// Checks what the types cannot say.
    pub fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key, message: String| {
            Err(ConfigError::Value {
                path: path.to_path_buf(),
                key,
                message,
            })
        };
        // Port 0 means the one that the system gives, so only where that is what is listened on.
        let fits = |port: u16| port != 0 || self.listen.port() == 0;
        let port = self
            .public
            .rsplit_once(':')
            .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(fits));
        if port != Some(true) {
            return wrong(
                "public",
                format!(
                    "{:?} is not HOST:PORT; devices could not find the relay",
                    self.public
                ),
            );
        }
        if self.connections_max == 0 {
            return wrong("connections_max", "0 would let nobody in".into());
        }
        if self.cache_bytes < 1024 * 1024 {
            return wrong(
                "cache_bytes",
                "less than 1048576 (1 MiB) is too little".into(),
            );
        }
        Ok(())
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
             cache_bytes = {}\n",
            self.listen, self.public, self.centre, self.connections_max, self.cache_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        Config::load_file(&path)
    }

    #[test]
    fn the_written_text_reads_back() {
        let config = Config {
            public: "relay.example:9000".into(),
            centre: false,
            ..Config::default()
        };
        assert_eq!(parse(&config.to_text()).unwrap(), config);
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = parse("lissten = \"127.0.0.1:1\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("lissten"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for text in [
            "public = \"nowhere\"",
            "public = \":80\"",
            "public = \"host:0\"",
            "connections_max = 0",
            "cache_bytes = 1",
            "listen = \"somewhere\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
