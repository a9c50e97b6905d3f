//! Data on standard output, words on standard error.

use crate::arguments::LogFormat;
use crate::failure::Failure;
use crate::settings::Settings;
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a command says what it has to say.
#[derive(Debug)]
pub struct Output {
    /// Answers are objects.
    pub json: bool,
    /// Hashes and their like are shown.
    pub verbose: bool,
    /// Words may be coloured.
    pub color: bool,
    /// Time zone in which times are shown.
    pub zone: TimeZone,
    /// The first thing that went wrong with standard output.
    fault: Mutex<Option<io::Error>>,
}

impl Output {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            json: settings.json,
            verbose: settings.verbose > 0,
            color: settings.color,
            zone: settings.zone.clone(),
            fault: Mutex::new(None),
        }
    }

    /// Before settings are known.
    #[must_use]
    pub fn plain(json: bool) -> Self {
        Self {
            json,
            verbose: false,
            color: false,
            zone: TimeZone::UTC,
            fault: Mutex::new(None),
        }
    }

    /// The answer: an object with `--json`, else lines for people.
    pub fn answer(&self, object: &Json, lines: impl FnOnce() -> String) {
        if self.json {
            self.line(&object.to_string());
        } else {
            self.line(lines().trim_end_matches('\n'));
        }
    }

    /// Data as it is.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut fault = self.fault();
        if fault.is_some() {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
            *fault = Some(error);
        }
    }

    fn fault(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of data.
    pub fn line(&self, line: &str) {
        if !line.is_empty() {
            self.bytes(format!("{line}\n").as_bytes());
        }
    }

    /// Words for people; left out with `--json`.
    pub fn say(&self, words: &str) {
        if !self.json {
            self.warn(words);
        }
    }

    /// Words that must be heard.
    pub fn warn(&self, words: &str) {
        // Where standard error is closed nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{words}");
    }

    /// What went wrong: on standard output with `--json`, where scripts read, else on standard error.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.line(&failure.to_json().to_string());
            return;
        }
        let (start, end) = if self.color {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let message = failure
            .message
            .strip_prefix("error: ")
            .unwrap_or(&failure.message);
        self.warn(&format!("{start}error:{end} {message}"));
        if let Some(hint) = &failure.hint {
            self.warn(&format!("  {hint}"));
        }
    }

    /// A closed pipe is no fault: whoever read has read enough. A full disk is one.
    pub fn finish(&self) -> Result<(), Failure> {
        match self.fault().take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                "output",
                format!("standard output cannot be written: {error}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether progress can be drawn.
#[must_use]
pub fn words_on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Logs on standard error, as far as `-v` or `CAIRN_LOG` ask for them.
pub fn start_logging(settings: &Settings) {
    let level = match settings.verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let asked = std::env::var("CAIRN_LOG").ok();
    let filter = tracing_subscriber::EnvFilter::try_new(asked.as_deref().unwrap_or(level))
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(settings.color)
        .with_target(settings.verbose > 1)
        .with_writer(io::stderr);
    // Another subscriber is there already only in tests.
    let _ = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
