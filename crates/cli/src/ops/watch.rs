//! The morning screen, live. The terminal is given back as it was, however this ends.

use super::morning;
use super::relay::Relay;
use crate::Ended;
use crate::failure::Failure;
use crate::output::Output;
use crate::words;
use cairn_relay::ops::OpsRequest;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// The other screen of the terminal, without a cursor; what is too wide is cut off, not wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Narrower than this nothing is laid out.
const COLUMNS_MIN: usize = 40;
/// Exit code of whoever may not ask.
const NOT_PERMITTED: u8 = 5;
/// Faster helps nobody.
const EVERY_MIN: Duration = Duration::from_millis(200);

/// Gives the terminal back when it goes.
struct OtherScreen;

impl OtherScreen {
    fn enter() -> Self {
        write(ENTER);
        Self
    }

    /// Draws from the top what `text` says within so many columns, as the terminal is now; what stood
    /// below and to the right goes.
    fn draw(&self, text: impl FnOnce(usize) -> String) {
        let size = terminal_size::terminal_size();
        let (columns, rows) = size.map_or((80, 24), |(columns, rows)| {
            (usize::from(columns.0), usize::from(rows.0))
        });
        let mut frame = String::from("\x1b[H");
        let text = text(columns.max(COLUMNS_MIN));
        for line in text.lines().take(rows.saturating_sub(1)) {
            // Emptied first: behind a line that fills the row it would take its last character away.
            frame.push_str("\x1b[2K");
            frame.push_str(line);
            frame.push_str("\r\n");
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

pub(super) fn watch(relay: Relay, every: Duration, output: &Output) -> Result<Ended, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("system", format!("no timer: {error}")))?;
    let relay = Arc::new(relay);
    // The first answer comes before the screen changes: a relay that is not there is said as ever.
    let mut answer: Result<_, Failure> = Ok(relay.ask(&OpsRequest::Morning {})?);
    let full = !output.json && std::io::stdout().is_terminal();
    let screen = full.then(OtherScreen::enter);
    let ended = runtime.block_on(async {
        let stop = crate::field::interrupted();
        tokio::pin!(stop);
        let mut tick = tokio::time::interval(every.max(EVERY_MIN));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            match (&answer, &screen) {
                (Ok(answer), Some(screen)) => {
                    screen.draw(|columns| morning::lines_within(answer, output, columns));
                }
                (Ok(answer), None) => output.answer(answer, || morning::lines(answer, output)),
                // It will not be told another thing.
                (Err(failure), _) if failure.exit == NOT_PERMITTED => return Err(failure.clone()),
                (Err(failure), Some(screen)) => {
                    screen.draw(|columns| {
                        let message = words::wrapped(&failure.message, columns).join("\n");
                        format!("{message}\nIt is asked again.")
                    });
                }
                (Err(failure), None) => output.failure(failure),
            }
            let asked = Arc::clone(&relay);
            let asking = async {
                tick.tick().await;
                let asked = tokio::task::spawn_blocking(move || asked.ask(&OpsRequest::Morning {}));
                asked
                    .await
                    .unwrap_or_else(|error| Err(Failure::new("internal", error.to_string())))
            };
            // Nobody who wants to go waits for an answer.
            answer = tokio::select! {
                () = &mut stop => return Ok(()),
                answer = asking => answer,
            };
        }
    });
    drop(screen);
    runtime.shutdown_background();
    ended?;
    // Whoever read the lines may have gone.
    output.finish()?;
    Ok(Ended::Done)
}
