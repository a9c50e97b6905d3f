//! The relay daemon.

use crate::Ended;
use crate::arguments::LogFormat;
use crate::arguments::relay::{RelayCommand, RelayConfigCommand, Run};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;
use crate::words::count;
use cairn_relay::config::{KEYS, Override};
use cairn_relay::repair::{Mended, Repaired, RepairedStore};
use cairn_relay::{Config, InitOptions, RelayError, RunOptions};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;

pub(crate) fn relay(
    command: &RelayCommand,
    settings: &Settings,
    output: &Output,
) -> Result<Ended, Failure> {
    match command {
        RelayCommand::Init {
            dir,
            listen,
            public,
        } => init(dir, *listen, public.as_deref(), output),
        RelayCommand::Run(arguments) => run(arguments, settings, output),
        RelayCommand::Repair { dir } => repair(dir, output),
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

fn run(arguments: &Run, settings: &Settings, output: &Output) -> Result<Ended, Failure> {
    let mut overrides = flags(arguments);
    overrides.extend(Override::of_environment(|name| std::env::var(name).ok()));
    let options = RunOptions {
        throttle_bytes_per_second: crate::settings::throttle()?,
        overrides,
        ..RunOptions::default()
    };
    let mut words = |words: &str| match settings.log_format {
        LogFormat::Text => output.warn(words),
        // Every line is an object then.
        LogFormat::Json => cairn_relay::log(words),
    };
    cairn_relay::run(&arguments.dir, options, &mut words)?;
    Ok(Ended::Done)
}

fn flags(arguments: &Run) -> Vec<Override> {
    KEYS.iter()
        .filter_map(|(key, _)| {
            let value = match *key {
                "listen" => &arguments.listen,
                "public" => &arguments.public,
                "centre" => &arguments.centre,
                "connections_max" => &arguments.connections_max,
                "cache_bytes" => &arguments.cache_bytes,
                "health" => &arguments.health,
                _ => &None,
            };
            Some(Override {
                key,
                value: value.clone()?,
                from: format!("--{}", key.replace('_', "-")),
            })
        })
        .collect()
}

fn repair(dir: &Path, output: &Output) -> Result<Ended, Failure> {
    let repaired = cairn_relay::repair(dir)?;
    let ok = repaired.problems.is_empty();
    output.answer(&repaired_in_json(&repaired), || {
        let mut lines: Vec<String> = repaired.stores.iter().map(store_in_words).collect();
        lines.extend(repaired.mended.iter().flat_map(Mended::words));
        lines.extend(repaired.gaps.iter().map(|gap| {
            let (entries, device, scope) = (count(gap.entries, "entry"), &gap.device, &gap.scope);
            format!(
                "missing: {entries} of {device} in {scope}; a sync of {device}, or of anybody who has \
                 {scope}, brings them back"
            )
        }));
        lines.extend(repaired.problems.iter().map(|problem| format!("! {problem}")));
        lines.join("\n")
    });
    output.say(&format!("Next: cairnd run --dir {}", dir.display()));
    Ok(if ok { Ended::Done } else { Ended::Unsound })
}

fn store_in_words(store: &RepairedStore) -> String {
    let name = store.name;
    if let Some(aside) = &store.set_aside {
        let why = store.problems.join("; ");
        return format!(
            "{name} could not be repaired ({why}): it lies in {} now, and is made anew when the daemon runs",
            aside.display()
        );
    }
    if store.problems.is_empty() {
        return format!("{name} is sound");
    }
    let mut words = vec![format!("{name}: {}", store.problems.join("; "))];
    if store.rebuilt {
        words.push("its index was made anew".to_owned());
    }
    if store.carried_over > 0 {
        words.push(format!(
            "{} pieces that the index still held were written again",
            store.carried_over
        ));
    }
    if store.bad_stretches > 0 {
        words.push(format!(
            "{} stretches do not read and stay in their segments",
            store.bad_stretches
        ));
    }
    words.join("; ")
}

fn repaired_in_json(repaired: &Repaired) -> Json {
    let stores: Vec<Json> = repaired
        .stores
        .iter()
        .map(|store| {
            json!({
                "name": store.name,
                "problems": store.problems,
                "bad_stretches": store.bad_stretches,
                "lost_frames": store.lost_frames,
                "carried_over": store.carried_over,
                "rebuilt": store.rebuilt,
                "set_aside": store.set_aside.as_ref().map(|path| path.display().to_string()),
            })
        })
        .collect();
    let gaps: Vec<Json> = repaired
        .gaps
        .iter()
        .map(|gap| json!({ "device": gap.device, "scope": gap.scope, "entries": gap.entries }))
        .collect();
    let mended = repaired.mended.clone().unwrap_or_default();
    json!({
        "schema": "cairn.relay_repair/1",
        "ok": repaired.problems.is_empty(),
        "stores": stores,
        "given_back": {
            "authority_entries": mended.authority_entries,
            "keys": mended.grants,
        },
        "keys_granted_again": mended.granted_again,
        "authority_waits": mended.waits,
        "missing": gaps,
        "problems": repaired.problems,
    })
}

fn check(file: &Path, output: &Output) -> Result<Ended, Failure> {
    let config = Config::load_file(file).map_err(|error| Failure::from(RelayError::from(error)))?;
    let mut answer = json!({
        "schema": "cairn.relay_config/1",
        "ok": true,
        "centre": config.centre,
        "connections_max": config.connections_max,
        "cache_bytes": config.cache_bytes,
    });
    if let Some(answer) = answer.as_object_mut() {
        for (key, value) in config.values() {
            answer.entry(key).or_insert(Json::String(value));
        }
    }
    output.answer(&answer, || {
        let rows = config
            .values()
            .map(|(key, value)| vec![key.to_owned(), value]);
        output.table(&rows)
    });
    output.say("The file can be used.");
    Ok(Ended::Done)
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        Self {
            retryable: error.retryable(),
            ..Self::new(error.code(), error.to_string())
                .hint(error.hint())
                .exit(error.exit_code())
        }
    }
}
