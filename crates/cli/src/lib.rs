//! The command line: `cairn` for people in the field and for operators, `cairnd` for the relay.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`arguments`] | what can be typed; help and completions come from it |
//! | [`settings`] | flags, environment, configuration file, defaults, and which of them won |
//! | [`output`] | data on standard output, words on standard error, `--json` |
//! | [`failure`] | what went wrong, with exit code and what to do |
//! | `words`, `marks`, `progress` | times, ages, numbers in sentences; what must be seen; how far long work has come |
//! | `field` | the commands of a device |
//! | `ops` | the commands of operators |
//! | `relay` | the daemon |
//! | `demo` | the whole story on one machine |
//!
//! Promises: no command waits for an answer; with `--json` the last line on standard output is one
//! object with a schema, whether it went well or not; a closed pipe is no fault; exit codes are those
//! that `cairn --help` lists. Nothing here knows how records merge or how bytes travel.

pub mod arguments;
mod demo;
pub mod failure;
mod field;
mod marks;
mod ops;
pub mod output;
mod progress;
mod relay;
pub mod settings;
mod words;

use arguments::{Cairn, Command, Global};
use clap::Parser;
use failure::Failure;
use output::Output;
use settings::Settings;
use std::process::ExitCode;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All was done.
    Done,
    /// Some of it was done, the rest is named.
    Partly,
    /// What was looked over is not as it should be.
    Unsound,
    /// As whoever called it wants to be told.
    Code(u8),
}

impl Ended {
    fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partly => 3,
            Self::Unsound => 8,
            Self::Code(code) => code,
        }
    }
}

/// The program `cairn`.
#[must_use]
pub fn cairn() -> ExitCode {
    let arguments: Cairn = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    finish(&arguments.global, |settings, output| {
        match arguments.command {
            Command::Demo(arguments) => demo::demo(&arguments, output),
            Command::Ops(arguments) => ops::ops(&arguments, settings, output),
            Command::RelayDaemon { command } => relay::relay(&command, settings, output),
            Command::Completions(arguments) => completions(&arguments, output),
            command => field::field(command, settings, output),
        }
    })
}

/// The program `cairnd`.
#[must_use]
pub fn cairnd() -> ExitCode {
    let arguments: arguments::relay::Cairnd = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let mut global = arguments.global();
    // A daemon says what it does.
    global.verbose += 1;
    finish(&global, |settings, output| {
        relay::relay(&arguments.command, settings, output)
    })
}

fn parse<P: Parser>() -> Result<P, ExitCode> {
    let parsed = P::command()
        .color(help_in_color())
        .try_get_matches()
        .and_then(|mut matches| {
            P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut P::command()))
        });
    parsed.map_err(|error| {
        let wrong = error.use_stderr();
        let json = std::env::args_os().any(|argument| argument == "--json");
        if wrong && json {
            let failure = Failure::usage(error.render().to_string().trim_end().to_owned());
            Output::plain(true).failure(&failure);
            return ExitCode::from(failure.exit);
        }
        // A closed pipe is no fault of ours.
        let _ = error.print();
        ExitCode::from(if wrong { 2 } else { 0 })
    })
}

/// Whether help and mistakes of typing may be coloured: asked before anything is parsed.
fn help_in_color() -> clap::ColorChoice {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let mut arguments = arguments.skip_while(|argument| !argument.starts_with("--color"));
    let first = arguments.next().unwrap_or_default();
    let asked = match first.strip_prefix("--color=") {
        Some(value) => value.to_owned(),
        None => arguments.next().unwrap_or_default(),
    };
    match asked.as_str() {
        "never" => clap::ColorChoice::Never,
        "always" => clap::ColorChoice::Always,
        _ => clap::ColorChoice::Auto,
    }
}

fn finish(
    global: &Global,
    command: impl FnOnce(&Settings, &Output) -> Result<Ended, Failure>,
) -> ExitCode {
    let settings = match settings::set_clock().and_then(|()| Settings::find(global)) {
        Ok(settings) => settings,
        Err(failure) => {
            Output::plain(global.json).failure(&failure);
            return ExitCode::from(failure.exit);
        }
    };
    output::start_logging(&settings);
    let output = Output::new(&settings);
    let ended = command(&settings, &output).and_then(|ended| output.finish().map(|()| ended));
    match ended {
        Ok(ended) => ExitCode::from(ended.exit_code()),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

fn completions(arguments: &arguments::Completions, output: &Output) -> Result<Ended, Failure> {
    let mut command = <Cairn as clap::CommandFactory>::command();
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "cairn", &mut text);
    output.bytes(&text);
    Ok(Ended::Done)
}
