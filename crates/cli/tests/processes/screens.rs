//! Every screen that people meet, at 80 and at 160 columns, as files under `tests/screens`.
//!
//! What differs from run to run (ids, ports, bytes, durations, the relay's clock) is replaced by words.
//! Written anew with `CAIRN_BLESS=1`; look at the difference before it is committed.

use super::stage::uncoloured;
use super::{Said, program};
use std::path::{Path, PathBuf};
use unicode_width::UnicodeWidthStr as _;

pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/screens")
        .join(name);
    if std::env::var_os("CAIRN_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        text,
        "{} is not what is shown; where it should be, run this with CAIRN_BLESS=1",
        path.display()
    );
}

/// Without what differs from run to run. Where a word changes its length, columns close up.
pub(crate) fn settled(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut settled = Vec::new();
        let mut changed = false;
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1).copied().unwrap_or_default();
            let before = index.checked_sub(1).and_then(|index| words.get(index));
            let new = settled_word(word, next, before.copied().unwrap_or_default());
            changed |= new.len() != word.len();
            settled.push(new);
        }
        let line = settled.join(" ");
        if !changed {
            return line;
        }
        let start = line.len() - line.trim_start().len();
        let (indent, mut rest) = (line[..start].to_owned(), line[start..].to_owned());
        while rest.contains("   ") {
            rest = rest.replace("   ", "  ");
        }
        indent + &rest
    });
    lines.map(|line| line + "\n").collect()
}

fn settled_word(word: &str, next: &str, before: &str) -> String {
    let core = word.trim_matches(|c: char| ".,;:()\"".contains(c));
    let number = !core.is_empty() && core.chars().all(|c| c.is_ascii_digit() || c == '.');
    let unit = next.trim_matches(|c: char| ".,;:()".contains(c));
    let day = matches!(before, "today" | "yesterday");
    let hexadecimal =
        |length| core.len() >= length && core.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let code = core.len() == 7
        && core.as_bytes()[3] == b'-'
        && core
            .chars()
            .all(|c| c == '-' || c.is_ascii_digit() || c.is_ascii_uppercase());
    let new = if number && matches!(unit, "B" | "kB" | "MB" | "s") {
        "N"
    } else if matches!(core, "B" | "kB" | "MB") && before.starts_with(|c: char| c.is_ascii_digit())
    {
        "bytes"
    } else if core.starts_with("127.0.0.1:") {
        "127.0.0.1:PORT"
    } else if day && core != "06:00" && core.len() == 5 && core.as_bytes()[2] == b':' {
        "HH:MM"
    } else if hexadecimal(12) {
        &"x".repeat(core.len())
    } else if code {
        "COD-E00"
    } else {
        return word.to_owned();
    };
    word.replace(core, new)
}

#[test]
fn what_differs_from_run_to_run_is_replaced() {
    assert_eq!(settled_word("7QX-M2K,", "", ""), "COD-E00,");
    assert_eq!(settled_word("1.4", "kB,", ""), "N");
    assert_eq!(settled_word("17:31.", "", "today"), "HH:MM.");
    assert_eq!(settled_word("DEMO-HA-1", "", ""), "DEMO-HA-1");
    assert_eq!(settled("a  1.4 kB  b\n  c\n"), "a  N bytes  b\n  c\n");
}

#[test]
fn the_demo_tells_its_story_and_leaves_folders_to_go_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let said = demo(
        &folder.path().to_path_buf(),
        "80",
        &["--keep", "kept"],
        "C.UTF-8",
    );
    let text = said.out.clone();
    golden("demo-80.txt", &story(&text));
    // What it says to try works as it stands.
    let (_, next) = text.split_once("Where to go next").unwrap();
    let start = next.find(env!("CARGO_BIN_EXE_cairn")).unwrap();
    let (commands, _) = next[start..].split_once("\n\n").unwrap();
    assert_eq!(commands.matches("--data-dir").count(), 3, "{commands}");
    let mut shell = program("sh");
    shell.args(["-euc", commands]).current_dir(folder.path());
    let tried = Said::of(shell.output().unwrap());
    assert_eq!(tried.code, 0, "{tried:#?}");
    assert!(tried.out.contains("CONFLICT"), "{tried:#?}");
    assert!(tried.out.contains("walked the edge together"), "{tried:#?}");
    let mut conflicts = program(env!("CARGO_BIN_EXE_cairn"));
    conflicts
        .args(["--json", "--data-dir"])
        .arg(kept.join("team-alpha"));
    let open = Said::of(conflicts.arg("conflicts").output().unwrap()).json(0);
    assert_eq!(open["conflicts"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_demo_is_wide_coloured_and_plain_ascii_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let said = demo(
        &folder.path().to_path_buf(),
        "160",
        &["--color", "always"],
        "C",
    );
    golden("demo-160-ascii-colour.txt", &story(&said.out));
}

fn demo(folder: &PathBuf, columns: &str, arguments: &[&str], locale: &str) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_cairn"));
    command
        .current_dir(folder)
        .env("COLUMNS", columns)
        .env("LC_ALL", locale)
        .args(["--tz", "UTC", "demo"])
        .args(arguments);
    let said = Said::of(command.output().unwrap());
    assert_eq!(said.code, 0, "{said:#?}");
    let limit: usize = columns.parse().unwrap();
    let plain = uncoloured(&said.out);
    for line in plain.lines().filter(|line| !line.contains("--data-dir")) {
        assert!(line.width() <= limit, "wider than {columns}: {line}");
    }
    said
}

/// The story without what chance decides: of two sentences, and of two figures, which one is first.
fn story(text: &str) -> String {
    let text = settled(&text.replace(env!("CARGO_BIN_EXE_cairn"), "cairn"));
    let mut lines: Vec<&str> = text.lines().collect();
    let sentence = |line: &&str| line.contains("мосту") || line.contains("الجسر");
    let first = lines.iter().position(sentence).unwrap();
    lines[first..first + 2].sort_unstable();
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    let other = lines.iter().position(|line| line.contains("A  43"));
    if let Some(index) = other {
        let (before, delta) = lines[index].split_once("A  43").unwrap();
        let (indent, alpha) = lines[index + 1].split_once("B  34").unwrap();
        let (first, second) = (
            format!("{before}A  34{alpha}"),
            format!("{indent}B  43{delta}"),
        );
        (lines[index], lines[index + 1]) = (first, second);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
