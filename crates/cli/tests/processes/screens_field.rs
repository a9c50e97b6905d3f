//! Screens of one laptop alone: before it has joined, and on a real terminal of 80 columns and 24 lines.

use super::shapes::Relay;
use super::stage::{Laptop, compare, uncoloured};
use super::{Said, program};
use std::process::Command;

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../exchange/sample/areas.geojson"
);

#[test]
fn screens_of_a_laptop_before_and_after_it_joins() {
    let relay = Relay::start();
    let laptop = Laptop::new();
    laptop.screen("error-no-device", &["status"]);
    let once = |name: &str, columns: &str, arguments: &[&str]| {
        let said = laptop.said(columns, arguments);
        compare(name, columns, arguments, &said, &laptop.path(""));
    };
    once("init", "80", &["init", "--name", "Team Gamma"]);
    laptop.screen("error-device-exists", &["init", "--name", "Team Gamma"]);
    laptop.screen("error-not-joined", &["sync"]);
    laptop.screen("status-not-joined", &["status"]);
    laptop.screen("list-not-joined", &["list"]);
    laptop.screen("near-not-joined", &["near", "44.1, 17.9"]);
    laptop.screen("error-code", &["join", "CAIRN1-rubbish"]);
    let code = |scope: &str| {
        let name = ["--name", "Team Gamma", "--role", "device"];
        let new = [&["enrol", "new"][..], &name, &["--scope", scope]].concat();
        let enrolment = relay.ops(&new).json(0);
        enrolment["code"].as_str().unwrap().to_owned()
    };
    let mut month = program(env!("CARGO_BIN_EXE_cairn"));
    month
        .env("CAIRN_RELAY_DIR", relay.dir())
        .args(["ops", "enrol", "new", "--name", "Team Foxtrot"])
        .args(["--scope", "south/hazards", "--expires", "30d"]);
    let month = Said::of(month.output().unwrap()).words;
    assert!(
        month.contains("Good until") && !month.contains("clock"),
        "{month}"
    );
    let said = laptop.said("80", &["join", &code("south/hazards:rw"), "--defer"]);
    compare("join-defer", "80", &["join", "CODE", "--defer"], &said, "");
    laptop.screen("status-deferred", &["status"]);
    laptop.run(&["sync"]);
    // Somebody else's area of work is known by name, and not held.
    relay.ops(&["scope", "create", "east/hazards"]).json(0);
    laptop.run(&["sync"]);
    laptop.screen("status-nothing-yet", &["status"]);
    let other = Laptop::new();
    other.run(&["init", "--name", "Team Echo", "--no-encryption"]);
    let said = other.said("80", &["join", &code("south/hazards:rw+decide")]);
    compare("join", "80", &["join", "CODE"], &said, "");
    on_a_terminal(&laptop);
}

/// What a terminal of 24 lines shows of more than it can: the newest, how many more there are, and how to
/// see them.
#[allow(clippy::print_stderr)]
fn on_a_terminal(laptop: &Laptop) {
    laptop.run(&["import", SAMPLE, "--kind", "hazardous_area"]);
    let Some(list) = terminal(laptop, &["list"], &[]) else {
        eprintln!("SKIPPED: this machine has no `script`, so nothing ran on a terminal");
        return;
    };
    assert!(
        list.contains('\x1b'),
        "marks are coloured on a terminal: {list}"
    );
    let shown = lines_of_24(&list);
    let rows = shown
        .iter()
        .filter(|line| line.contains("DEMO-HA-"))
        .count();
    assert!((4..24).contains(&rows), "{list}");
    let more = format!("{rows} records, and {} more: --all", 60 - rows);
    assert!(uncoloured(&list).contains(&more), "no {more:?}: {list}");
    let all = terminal(laptop, &["list", "--all"], &[]).unwrap();
    let rows = all.lines().filter(|line| line.contains("DEMO-HA-"));
    assert_eq!(rows.count(), 60, "{all}");
    for plain in [
        terminal(laptop, &["list"], &[("NO_COLOR", "1")]),
        terminal(laptop, &["--color", "never", "list"], &[]),
        terminal(laptop, &["--color", "never", "show", "HA-99"], &[]),
        terminal(laptop, &["show", "HA-99"], &[("NO_COLOR", "1")]),
        terminal(laptop, &["--color", "never", "list", "--help"], &[]),
        terminal(laptop, &["--color=never", "list", "--nonsense"], &[]),
        terminal(laptop, &["list", "--help"], &[("NO_COLOR", "1")]),
        terminal(laptop, &["list", "--nonsense"], &[("NO_COLOR", "1")]),
    ] {
        let plain = plain.unwrap();
        assert!(!plain.contains('\x1b'), "{plain:?}");
    }
    let near = ["near", "-48.7, -121.8", "--within", "500km"];
    let nearest = terminal(laptop, &near, &[]).unwrap();
    let shown = lines_of_24(&nearest);
    let rows = shown
        .iter()
        .filter(|line| line.contains("DEMO-HA-"))
        .count();
    let more = format!("… and {} more: --all", 60 - rows);
    assert!(
        rows > 3 && nearest.contains(&more),
        "no {more:?}: {nearest}"
    );
    let all = terminal(laptop, &[&near[..], &["--all"]].concat(), &[]).unwrap();
    assert_eq!(numbers(&all).len(), 60, "{all}");
    assert!(
        numbers(&all).starts_with(&numbers(&nearest)),
        "nearest first: {all}"
    );
    // Eight proposals take more lines than there are.
    let listed = laptop.run(&["--json", "list", "--limit", "8"]).json(0);
    for record in listed["records"].as_array().unwrap() {
        laptop.run(&[
            "edit",
            record["id"].as_str().unwrap(),
            "--set",
            "status=closed",
        ]);
    }
    let conflicts = terminal(laptop, &["conflicts"], &[]).unwrap();
    let shown = lines_of_24(&conflicts);
    let blocks = shown
        .iter()
        .filter(|line| line.contains("DEMO-HA-"))
        .count();
    assert!((2..8).contains(&blocks), "{conflicts}");
    let more = format!("and {} more: cairn conflicts --all", 8 - blocks);
    assert!(conflicts.contains(&more), "no {more:?}: {conflicts}");
    let all = terminal(laptop, &["conflicts", "--all"], &[]).unwrap();
    let blocks = all.lines().filter(|line| line.contains("DEMO-HA-"));
    assert_eq!(blocks.count(), 8, "{all}");
}

/// The numbers of records, in the order in which they are shown.
fn numbers(text: &str) -> Vec<&str> {
    let words = text.split_whitespace();
    words.filter(|word| word.starts_with("DEMO-HA-")).collect()
}

/// The lines of a screen, which is to show them all together with the prompt.
fn lines_of_24(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() < 24, "{} lines: {text}", lines.len());
    lines
}

/// What a terminal is given of both streams, if there is one to be had.
fn terminal(laptop: &Laptop, arguments: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let there = Command::new("script").arg("--version").output();
    there.ok().filter(|output| output.status.success())?;
    let mut typed = format!(
        "stty rows 24 cols 80; exec '{}'",
        env!("CARGO_BIN_EXE_cairn")
    );
    for argument in arguments {
        typed.push_str(&format!(" '{argument}'"));
    }
    let mut command = program("script");
    laptop.settings(&mut command);
    command
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .args(["-qec", &typed, "/dev/null"]);
    let said = Said::of(command.output().unwrap());
    Some(said.out.replace('\r', ""))
}
