//! What can be typed after `cairnd`.

use super::{Color, Global, LogFormat};
use clap::{Args, Parser, Subcommand, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The relay: devices hand in and fetch what is sealed, the coordination centre reads it.
#[derive(Debug, Parser)]
#[command(
    name = "cairnd",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  cairnd init --dir /var/lib/cairn --public relay.example.org:7443\n  cairnd run --dir /var/lib/cairn"
)]
pub struct Cairnd {
    /// Answer with one JSON object that has a "schema"
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Colour in logs [env: CAIRN_COLOR, NO_COLOR]
    #[arg(long, global = true, value_name = "WHEN", help_heading = "Everywhere")]
    pub color: Option<Color>,
    /// Log more; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,
    /// How logs look [env: CAIRN_LOG_FORMAT]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        help_heading = "Everywhere"
    )]
    pub log_format: Option<LogFormat>,
    /// What to do.
    #[command(subcommand)]
    pub command: RelayCommand,
}

impl Cairnd {
    /// The same flags as `cairn` has them.
    #[must_use]
    pub fn global(&self) -> Global {
        Global {
            // A relay is no device: it must not fail where its account has no home.
            data_dir: Some(PathBuf::from("/nonexistent")),
            json: self.json,
            color: self.color,
            verbose: self.verbose,
            log_format: self.log_format,
            ..Global::default()
        }
    }
}

/// What the daemon can do.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Make a programme with its relay, authority and centre in a folder
    #[command(
        after_help = "Example:\n  cairnd init --dir /var/lib/cairn --listen 0.0.0.0:7443 --public relay.example.org:7443"
    )]
    Init {
        /// The relay's folder
        #[arg(long, env = "CAIRN_RELAY_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// UDP address to listen on
        #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7443")]
        listen: SocketAddr,
        /// Where devices reach the relay; goes into joining codes. If left out, as it listens
        #[arg(long, value_name = "HOST:PORT")]
        public: Option<String>,
    },
    /// Run the relay until it is told to stop (SIGTERM, SIGINT)
    #[command(after_help = "Example:\n  cairnd run --dir /var/lib/cairn\n\n\
            Each setting is taken from its flag, else from its variable (CAIRN_RELAY_LISTEN and so on), else \
            from relay.toml in the folder, else from its default. SIGHUP reads relay.toml again.")]
    Run(Run),
    /// Put right what can be in a relay's folder, and say what comes back from whom
    #[command(
        after_help = "Example:\n  systemctl stop cairnd\n  cairnd repair --dir /var/lib/cairn\n\n\
            The daemon must be stopped. Nothing is deleted: what does not read stays where it is or is set aside."
    )]
    Repair {
        /// The relay's folder
        #[arg(long, env = "CAIRN_RELAY_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Look over configuration files
    #[command(after_help = "Example:\n  cairnd config check /var/lib/cairn/relay.toml")]
    Config {
        /// What to do.
        #[command(subcommand)]
        command: RelayConfigCommand,
    },
}

/// `cairnd run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The relay's folder
    #[arg(long, env = "CAIRN_RELAY_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// UDP address to listen on
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Where devices reach the relay; goes into joining codes
    #[arg(long, value_name = "HOST:PORT")]
    pub public: Option<String>,
    /// Whether the coordination centre runs in this process
    #[arg(long, value_name = "true|false")]
    pub centre: Option<String>,
    /// Connections at a time
    #[arg(long, value_name = "N")]
    pub connections_max: Option<String>,
    /// Memory for the index's cache
    #[arg(long, value_name = "BYTES")]
    pub cache_bytes: Option<String>,
    /// TCP address of /livez, /readyz and /metrics, or off
    #[arg(long, value_name = "ADDR:PORT")]
    pub health: Option<String>,
}

/// What can be done with configuration files.
#[derive(Debug, Subcommand)]
pub enum RelayConfigCommand {
    /// Check a file, and say what is wrong with it
    #[command(after_help = "Example:\n  cairnd config check /var/lib/cairn/relay.toml")]
    Check {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}
