//! Data on standard output, words on standard error.

use crate::arguments::LogFormat;
use crate::failure::Failure;
use crate::marks;
use crate::settings::Settings;
use crate::words;
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much further in the later lines of a long line of data stand.
const FURTHER: usize = 4;
/// A narrower terminal is none.
const COLUMNS_LEAST: usize = 20;
/// However low a terminal is, so many lines are shown.
const LINES_LEAST: usize = 8;

/// Where a command says what it has to say.
#[derive(Debug)]
pub struct Output {
    /// Answers are objects.
    pub json: bool,
    /// Hashes and their like are shown.
    pub verbose: bool,
    /// Words may be coloured.
    pub color: bool,
    /// Data may be coloured.
    pub color_data: bool,
    /// Columns of the terminal that shows data, where there is one.
    pub columns: Option<usize>,
    /// Lines of the terminal that shows data. Never guessed: elsewhere nothing is cut.
    pub lines: Option<usize>,
    /// Columns of the terminal that shows words, where there is one.
    columns_words: Option<usize>,
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
            color_data: settings.color_data,
            columns: columns(&io::stdout()),
            lines: lines(&io::stdout()),
            columns_words: columns(&io::stderr()),
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
            color_data: false,
            columns: None,
            lines: None,
            columns_words: None,
            zone: TimeZone::UTC,
            fault: Mutex::new(None),
        }
    }

    /// The answer: an object with `--json`, else lines for people.
    pub fn answer(&self, object: &Json, lines: impl FnOnce() -> String) {
        if self.json {
            self.line(&object.to_string());
        } else {
            let text = lines();
            let text = text.trim_end_matches('\n');
            self.line(&self.marked(self.folded(text)));
        }
    }

    /// Lines of data as the terminal shows them.
    #[must_use]
    pub fn folded(&self, text: &str) -> String {
        match self.columns {
            Some(columns) => folded(text, columns, FURTHER),
            None => text.to_owned(),
        }
    }

    /// Text whose marks are coloured, where data may be.
    #[must_use]
    pub fn marked(&self, text: String) -> String {
        match self.color_data {
            true => marks::coloured(&text),
            false => text,
        }
    }

    /// Lines of data that a terminal shows together with these words below them; nothing where data goes
    /// elsewhere and is whole.
    #[must_use]
    pub fn lines_above(&self, words: &str) -> Option<usize> {
        let below = match self.columns_words {
            Some(columns) => folded(words, columns, 0).lines().count(),
            None => words.lines().count(),
        };
        // The command that was typed and the next prompt are to be seen too.
        let lines = self.lines?.saturating_sub(below + 2);
        Some(lines.max(LINES_LEAST))
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
        let text = match self.columns_words {
            Some(columns) => folded(words, columns, 0),
            None => words.to_owned(),
        };
        // Where standard error is closed nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Rows in columns, as wide as the terminal.
    #[must_use]
    pub fn table(&self, rows: &[Vec<String>]) -> String {
        words::table(rows, self.columns, &[])
    }

    /// The same; these columns are left out first where the terminal is narrow.
    #[must_use]
    pub fn table_sparing(&self, rows: &[Vec<String>], spared: &[usize]) -> String {
        words::table(rows, self.columns, spared)
    }

    /// The first of these rows, as many as stand in so many lines, one at least; and how many these are.
    #[must_use]
    pub fn table_fitting(
        &self,
        mut rows: Vec<Vec<String>>,
        spared: &[usize],
        lines_max: usize,
    ) -> (String, usize) {
        rows.truncate(lines_max.max(1));
        loop {
            let text = self.table_sparing(&rows, spared);
            if rows.len() <= 1 || text.lines().count() <= lines_max {
                return (text, rows.len());
            }
            rows.pop();
        }
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

/// Each line folded where it does not fit.
fn folded(text: &str, columns: usize, further: usize) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| words::folded(line, columns, further))
        .collect();
    lines.join("\n")
}

/// How wide a terminal is; `COLUMNS` says so where there is none.
fn columns(stream: &impl AsFd) -> Option<usize> {
    let asked = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    terminal_size::terminal_size_of(stream)
        .map(|(columns, _)| usize::from(columns.0))
        .or(asked)
        .filter(|columns| *columns >= COLUMNS_LEAST)
}

/// How many lines a terminal shows.
fn lines(stream: &impl AsFd) -> Option<usize> {
    let size = terminal_size::terminal_size_of(stream);
    size.map(|(_, lines)| usize::from(lines.0))
        .filter(|lines| *lines > 0)
}

/// Whether the terminal shows more than ASCII, as the locale says.
#[must_use]
pub fn shows_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
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
