//! How far long work has come: a bar on a terminal, plain lines now and then elsewhere.

use crate::output::{Output, words_on_terminal};
use crate::words;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Below this there is nothing to tell in a plain line.
const PLAIN_FROM_BYTES: u64 = 10_000;

/// Seconds after which a pace says something.
const PACE_FROM_S: u64 = 10;

/// How far one piece of work has come, in bytes.
pub struct Progress<'a> {
    output: &'a Output,
    doing: &'static str,
    bar: Option<ProgressBar>,
    bytes_whole: Option<u64>,
    began: Instant,
    said: Instant,
}

impl<'a> Progress<'a> {
    /// Begins. The length may be unknown.
    pub fn begin(output: &'a Output, doing: &'static str, bytes_whole: Option<u64>) -> Self {
        let bar = (words_on_terminal() && !output.json).then(|| {
            let template = match bytes_whole {
                Some(_) => {
                    "{msg} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left"
                }
                None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}, {elapsed}",
            };
            let bar = match bytes_whole {
                Some(bytes) => ProgressBar::new(bytes),
                None => ProgressBar::new_spinner(),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.with_message(doing)
        });
        let now = Instant::now();
        Self {
            output,
            doing,
            bar,
            bytes_whole,
            began: now,
            said: now,
        }
    }

    /// So many bytes are done.
    pub fn at(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            return;
        }
        let little = bytes < PLAIN_FROM_BYTES;
        if self.output.json || little || self.said.elapsed() < PLAIN_EVERY {
            return;
        }
        self.said = Instant::now();
        let elapsed_s = self.began.elapsed().as_secs().max(1);
        let rate = bytes / elapsed_s;
        let done = words::bytes(bytes);
        let line = match self.bytes_whole {
            Some(whole) if rate > 0 => format!(
                "{}: {done} of {}, {}/s, {} left",
                self.doing,
                words::bytes(whole),
                words::bytes(rate),
                words::age(whole.saturating_sub(bytes) / rate)
            ),
            _ => format!("{}: {done}, {}/s", self.doing, words::bytes(rate)),
        };
        self.output.say(&line);
    }

    /// Seconds left, as soon as the work's pace says something.
    pub fn left_s(&self, bytes: u64) -> Option<u64> {
        let elapsed_s = self.began.elapsed().as_secs();
        let whole = self.bytes_whole?;
        let rate = bytes.checked_div(elapsed_s)?;
        (elapsed_s >= PACE_FROM_S && rate > 0).then(|| whole.saturating_sub(bytes) / rate)
    }

    /// Words in between.
    pub fn say(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(words)),
            None => self.output.say(words),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
