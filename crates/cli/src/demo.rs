//! The whole story on one machine: a relay and three teams, each a process of its own with a real
//! store, on loopback. What is told was answered by one of them; what does not hold ends the command
//! with an error.

mod map;
mod redraw;
mod screen;
mod stage;
mod story;

use crate::Ended;
use crate::arguments::Demo;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::count;
use screen::{Paint, Screen};
use serde_json::{Value as Json, json};
use stage::Stage;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) fn demo(arguments: &Demo, output: &Output) -> Result<Ended, Failure> {
    let began = Instant::now();
    let (folder, kept) = folder(arguments)?;
    let mut stage = Stage::set(&folder)?;
    let told = story::tell(&mut stage, output);
    drop(stage);
    let (mut facts, left) = told.map_err(|failure| match &arguments.keep {
        Some(_) => failure,
        None => failure.hint("Look into it with: cairn demo --keep DIR"),
    })?;
    facts.duration_s = began.elapsed().as_secs_f64();
    if let Some(folder) = kept {
        folder
            .close()
            .map_err(|error| Failure::new("cleanup", format!("cleaning up: {error}")))?;
    }
    let next = match arguments.keep {
        Some(_) => left.commands(&program()),
        None => Vec::new(),
    };
    let screen = Screen::new(output);
    if output.json {
        output.line(&facts.to_json(&next).to_string());
    } else {
        ending(&facts, &next, &screen);
    }
    if facts.converged && facts.lost == 0 {
        return Ok(Ended::Done);
    }
    Err(Failure::new(
        "not_converged",
        "the teams do not hold the same: this is a fault of Cairn",
    )
    .exit(8))
}

/// What came out, and where to go next.
fn ending(facts: &Facts, next: &[String], screen: &Screen) {
    let done = format!(
        "Done in {:.1} s: {}, {} lost, {} left for you.",
        facts.duration_s,
        count(facts.documents, "record"),
        facts.lost,
        count(facts.conflicts_open, "conflict"),
    );
    screen.title("Where to go next");
    if next.is_empty() {
        screen.say("Keep the teams' folders and go on with them yourself:");
        screen.lines(&[format!("  {} demo --keep try-cairn", program())]);
        screen.say("Or set up a relay and two devices of your own, in ten minutes: README.md");
    } else {
        screen.say("See what is open, settle it, see who drew what:");
        for command in next {
            screen.lines(
                &command
                    .lines()
                    .map(|line| format!("  {line}"))
                    .collect::<Vec<_>>(),
            );
        }
    }
    screen.lines(&[String::new(), screen.paint(&done, Paint::Good)]);
}

/// This program, as it was called.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    quoted(Path::new(if called.is_empty() { "cairn" } else { &called }))
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if path.chars().all(plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Where all happens, and what removes it afterwards.
fn folder(arguments: &Demo) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    match &arguments.keep {
        Some(folder) => {
            let wrong = |error| Failure::file("making", folder, &error);
            std::fs::create_dir_all(folder).map_err(wrong)?;
            if std::fs::read_dir(folder).map_err(wrong)?.next().is_some() {
                return Err(Failure::usage(format!("{} is not empty", folder.display())));
            }
            Ok((folder.clone(), None))
        }
        None => {
            let made = tempfile::Builder::new().prefix("cairn-demo-").tempdir();
            let made = made.map_err(|error| {
                Failure::file("making a folder in", &std::env::temp_dir(), &error)
            })?;
            Ok((made.path().to_owned(), Some(made)))
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
struct Facts {
    converged: bool,
    lost: u64,
    documents: u64,
    changes: u64,
    conflicts: u64,
    conflicts_open: u64,
    bytes_first_push: u64,
    bytes_nothing_new: u64,
    relay_kills: u64,
    duration_s: f64,
}

impl Facts {
    fn to_json(&self, next: &[String]) -> Json {
        json!({
            "schema": "cairn.demo/1",
            "converged": self.converged,
            "lost": self.lost,
            "documents": self.documents,
            "changes": self.changes,
            "conflicts": self.conflicts,
            "conflicts_open": self.conflicts_open,
            "bytes_first_push": self.bytes_first_push,
            "bytes_nothing_new": self.bytes_nothing_new,
            "relay_kills": self.relay_kills,
            "teams": 3,
            "duration_s": self.duration_s,
            "next": next,
        })
    }
}

/// What the teams' folders hold for whoever goes on with them.
#[derive(Debug)]
struct Left {
    area: String,
    session: String,
    field: String,
    alpha: PathBuf,
    delta: PathBuf,
}

impl Left {
    /// Three commands that work as they stand, in this order.
    fn commands(&self, program: &str) -> Vec<String> {
        let (alpha, delta) = (quoted(&self.alpha), quoted(&self.delta));
        let Self {
            area,
            session,
            field,
            ..
        } = self;
        vec![
            format!("{program} --data-dir {alpha} conflicts"),
            format!(
                "{program} --data-dir {alpha} decide {session} \\\n    --field {field} --take A --reason recounted"
            ),
            format!("{program} --data-dir {delta} show {area} --history"),
        ]
    }
}
