//! Laptops whose screens are looked at.

use super::screens::{golden, settled};
use super::shapes::Relay;
use super::{Said, program};
use unicode_width::UnicodeWidthStr as _;

pub(crate) const WIDTHS: [&str; 2] = ["80", "160"];

/// A laptop whose clock stands still.
pub(crate) struct Laptop(tempfile::TempDir);

/// Six o'clock of today, UTC: where the laptops' clocks stand.
pub(crate) fn clock_s() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() / 86_400 * 86_400 + 6 * 3_600
}

impl Laptop {
    /// A folder, and no device in it yet.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn joined(relay: &Relay, name: &str, scope: &str) -> Self {
        let laptop = Self::new();
        laptop.run(&["init", "--name", name, "--no-encryption"]);
        let new = [
            "enrol", "new", "--name", name, "--role", "device", "--scope", scope,
        ];
        let enrolment = relay.ops(&new).json(0);
        laptop.run(&["join", enrolment["code"].as_str().unwrap()]);
        laptop
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A path beside the device's folder, or of where both lie.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = match name {
            "" => self.0.path().to_owned(),
            name => self.0.path().join(name),
        };
        path.display().to_string()
    }

    /// As if another program had it open.
    pub(crate) fn held(&self) -> cairn_device::Device {
        let folder = self.0.path().join("data");
        cairn_device::Device::open(&folder, &Default::default()).unwrap()
    }

    pub(crate) fn said(&self, columns: &str, arguments: &[&str]) -> Said {
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        self.settings(&mut command);
        command.env("COLUMNS", columns).args(arguments);
        Said::of(command.output().unwrap())
    }

    /// All that a command is told beside what is typed.
    pub(crate) fn settings(&self, command: &mut std::process::Command) {
        command
            .env("CAIRN_CLOCK_S", clock_s().to_string())
            .env("LC_ALL", "C.UTF-8")
            .env("CAIRN_TZ", "UTC")
            .env("CAIRN_DATA_DIR", self.0.path().join("data"));
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let said = self.said("80", arguments);
        assert!(matches!(said.code, 0 | 3), "{arguments:?}: {said:#?}");
        said
    }

    /// Compares what a command shows with the file of that name, at both widths.
    pub(crate) fn screen(&self, name: &str, arguments: &[&str]) {
        let folder = self.0.path().display().to_string();
        for columns in WIDTHS {
            let said = self.said(columns, arguments);
            compare(name, columns, arguments, &said, &folder);
        }
    }
}

/// Compares what a command shows with the file of that name; nothing may be wider than the screen.
pub(crate) fn compare(name: &str, columns: &str, arguments: &[&str], said: &Said, folder: &str) {
    let typed = arguments.join(" ");
    let text = format!(
        "$ cairn {typed}\n{}---\n{}exit {}\n",
        said.out, said.words, said.code
    );
    let limit: usize = columns.parse().unwrap();
    for line in uncoloured(&text).lines().skip(1) {
        // Nobody breaks a path or a code.
        let one_word = !line.trim().contains(' ');
        assert!(
            line.width() <= limit || one_word,
            "{name} is wider than {columns} columns: {line}"
        );
    }
    let text = match folder {
        "" => text,
        folder => text.replace(folder, "FOLDER"),
    };
    let text = ordered(name, &settled(&text));
    golden(&format!("{name}-{columns}.txt"), &text);
}

/// Without colours.
pub(crate) fn uncoloured(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        plain + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

/// In an order that chance does not decide: ids are random, and rows and values stand in their order.
fn ordered(name: &str, text: &str) -> String {
    let (shown, words) = text.split_once("---\n").unwrap_or((text, ""));
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    let lettered = |line: &str| {
        line.strip_prefix("  ").is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_uppercase()) && rest.get(1..3) == Some("  ")
        })
    };
    let mut index = 0;
    while index < lines.len() {
        let count = lines[index..]
            .iter()
            .take_while(|line| lettered(line))
            .count();
        let mut values: Vec<String> = lines[index..index + count]
            .iter()
            .map(|line| line[3..].to_owned())
            .collect();
        values.sort();
        for (at, value) in values.into_iter().enumerate() {
            lines[index + at] = format!("  {}{value}", (b'A' + at as u8) as char);
        }
        index += count.max(1);
    }
    match name.trim_end_matches("-colour") {
        "list" | "list-conflicts" | "list-kinds" => {
            let mut rows: Vec<String> = Vec::new();
            // The command and the names of the columns stay where they are.
            for line in lines.split_off(lines.len().min(2)) {
                match rows.last_mut() {
                    // What did not fit stands further in, below its row.
                    Some(row) if line.starts_with("    ") => *row += &format!("\n{line}"),
                    _ => rows.push(line),
                }
            }
            rows.sort();
            lines.extend(rows);
        }
        "ops-docs" => {
            lines[2..].sort();
        }
        "ops-sessions" => {
            // How many there were, and who waited for whom, is chance.
            let figures = |line: &String| {
                let words = line.split(' ').map(|word| match word.parse::<u64>() {
                    Ok(_) => "N",
                    Err(_) => word,
                });
                words.collect::<Vec<_>>().join(" ")
            };
            lines = lines.iter().map(figures).collect();
            lines[2..].sort();
            lines.dedup();
        }
        "ops-conflicts" | "conflicts" => {
            let starts = |line: &String| line.contains("COD-E00") || line.contains("  xxxx");
            let mut blocks: Vec<Vec<String>> = Vec::new();
            for line in lines.split_off(1) {
                if starts(&line) || blocks.is_empty() {
                    blocks.push(Vec::new());
                }
                blocks.last_mut().unwrap().push(line);
            }
            blocks.sort();
            lines.extend(blocks.into_iter().flatten());
        }
        _ => {}
    }
    let shown: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{shown}---\n{words}")
}
