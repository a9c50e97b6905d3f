//! The morning screen, live. The terminal is given back as it was, however this ends.

use super::morning;
use crate::Ended;
use crate::failure::Failure;
use crate::output::Output;
use cairn_relay::ops::OpsRequest;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// The other screen of the terminal, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Faster helps nobody.
const EVERY_MIN: Duration = Duration::from_millis(200);

/// Gives the terminal back when it goes.
struct OtherScreen;

impl OtherScreen {
    fn enter() -> Self {
        write(ENTER);
        Self
    }

    /// Draws from the top; what stood below and to the right goes.
    fn draw(&self, text: &str) {
        let rows = terminal_size::terminal_size().map_or(24, |(_, rows)| usize::from(rows.0));
        let mut frame = String::from("\x1b[H");
        for line in text.lines().take(rows.saturating_sub(1)) {
            frame.push_str(line);
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        write(&frame);
    }
}

impl Drop for OtherScreen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone shows nothing any more.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(super) fn watch(dir: &Path, every: Duration, output: &Output) -> Result<Ended, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("system", format!("no timer: {error}")))?;
    // The first answer comes before the screen changes: a relay that is not there is said as ever.
    let mut answer = Ok(super::ask(dir, &OpsRequest::Morning {})?);
    let full = !output.json && std::io::stdout().is_terminal();
    let screen = full.then(OtherScreen::enter);
    runtime.block_on(async {
        let stop = crate::field::interrupted();
        tokio::pin!(stop);
        let mut tick = tokio::time::interval(every.max(EVERY_MIN));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            match (&answer, &screen) {
                (Ok(answer), Some(screen)) => screen.draw(&morning::lines(answer, output)),
                (Ok(answer), None) => output.answer(answer, || morning::lines(answer, output)),
                (Err(failure), Some(screen)) => {
                    let failure: &Failure = failure;
                    screen.draw(&format!("{}\nIt is asked again.", failure.message));
                }
                (Err(failure), None) => output.failure(failure),
            }
            tokio::select! {
                () = &mut stop => break,
                _ = tick.tick() => {}
            }
            answer = super::ask(dir, &OpsRequest::Morning {});
        }
    });
    drop(screen);
    // Whoever read the lines may have gone.
    output.finish()?;
    Ok(Ended::Done)
}
