//! The relay daemon.

use crate::Ended;
use crate::arguments::relay::{RelayCommand, RelayConfigCommand};
use crate::failure::Failure;
use crate::output::Output;
use cairn_relay::{Config, ConfigError, InitOptions, RelayError, RunOptions};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

pub(crate) fn relay(command: &RelayCommand, output: &Output) -> Result<Ended, Failure> {
    match command {
        RelayCommand::Init {
            dir,
            listen,
            public,
        } => init(dir, *listen, public.as_deref(), output),
        RelayCommand::Run { dir } => run(dir, output),
        RelayCommand::Config {
            command: RelayConfigCommand::Check { file },
        } => check(file, output),
    }
}

fn init(
    dir: &Path,
    listen: SocketAddr,
    public: Option<&str>,
    output: &Output,
) -> Result<Ended, Failure> {
    let options = InitOptions {
        listen,
        public: public.map(str::to_owned),
    };
    let made = cairn_relay::init(dir, &options)?;
    output.answer(
        &json!({
            "schema": "cairn.relay/1",
            "programme": made.programme.to_string(),
            "relay": made.relay.to_string(),
            "centre": made.centre.to_string(),
            "config_file": made.config_file.display().to_string(),
            "recovery_key": made.recovery_key.display().to_string(),
            "warnings": made.warnings,
        }),
        || format!("programme {}\nrelay {}", made.programme, made.relay),
    );
    for warning in &made.warnings {
        output.warn(&format!("! {warning}"));
    }
    output.say(&format!("Next: cairnd run --dir {}", dir.display()));
    Ok(Ended::Done)
}

fn run(dir: &Path, output: &Output) -> Result<Ended, Failure> {
    let options = RunOptions {
        throttle_bytes_per_second: crate::settings::throttle()?,
        ..RunOptions::default()
    };
    cairn_relay::run(dir, options, &mut |words| output.warn(words))?;
    Ok(Ended::Done)
}

fn check(file: &Path, output: &Output) -> Result<Ended, Failure> {
    let config = Config::load_file(file).map_err(|error| Failure::from(RelayError::from(error)))?;
    output.answer(
        &json!({
            "schema": "cairn.relay_config/1",
            "ok": true,
            "listen": config.listen.to_string(),
            "public": config.public,
            "centre": config.centre,
            "connections_max": config.connections_max,
            "cache_bytes": config.cache_bytes,
        }),
        || {
            output.table(&[
                vec!["listen".to_owned(), config.listen.to_string()],
                vec!["public".to_owned(), config.public.clone()],
                vec!["centre".to_owned(), config.centre.to_string()],
                vec![
                    "connections_max".to_owned(),
                    config.connections_max.to_string(),
                ],
                vec!["cache_bytes".to_owned(), config.cache_bytes.to_string()],
            ])
        },
    );
    output.say("The file can be used.");
    Ok(Ended::Done)
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        let exit = match &error {
            // What was typed, not what is stored.
            RelayError::Config(ConfigError::Value { .. }) => 2,
            _ => error.exit_code(),
        };
        Self {
            retryable: error.retryable(),
            ..Self::new(error.code(), error.to_string())
                .hint(error.hint())
                .exit(exit)
        }
    }
}
