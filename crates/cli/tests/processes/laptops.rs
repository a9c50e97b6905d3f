//! The screens of laptops and of operators.

use super::screens::{golden, settled, zero_width};
use super::shapes::Relay;
use super::{Said, program};

const WIDTHS: [&str; 2] = ["80", "160"];

const RING: &str = r#"{"type":"Polygon","coordinates":[[[17.9,44.1],[17.902,44.1],[17.902,44.102],[17.9,44.102],[17.9,44.1]]]}"#;
const NORTH: &str = r#"{"type":"Polygon","coordinates":[[[17.9,44.1],[17.902,44.1],[17.902,44.103],[17.9,44.103],[17.9,44.1]]]}"#;
const EAST: &str = r#"{"type":"Polygon","coordinates":[[[17.9,44.1],[17.903,44.1],[17.903,44.102],[17.9,44.102],[17.9,44.1]]]}"#;
/// One area, one without a place, one that crosses itself, one that is there twice.
const FILE: &str = r#"{"type":"FeatureCollection","features":[
{"type":"Feature","properties":{"ID":"HA-7","Name":"ثالريدور"},"geometry":{"type":"Polygon","coordinates":[[[17.7,44.1],[17.702,44.1],[17.702,44.102],[17.7,44.102],[17.7,44.1]]]}},
{"type":"Feature","properties":{"ID":"HA-8"},"geometry":null},
{"type":"Feature","properties":{"ID":"HA-9"},"geometry":{"type":"Polygon","coordinates":[[[17.8,44.1],[17.802,44.102],[17.802,44.1],[17.8,44.102],[17.8,44.1]]]}},
{"type":"Feature","properties":{"ID":"HA-7","Name":"ثالريدور"},"geometry":{"type":"Polygon","coordinates":[[[17.7,44.1],[17.702,44.1],[17.702,44.102],[17.7,44.102],[17.7,44.1]]]}}
]}"#;

/// A laptop whose clock stands still.
struct Laptop(tempfile::TempDir);

/// Six o'clock of today, UTC: where the laptops' clocks stand.
fn clock_s() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() / 86_400 * 86_400 + 6 * 3_600
}

impl Laptop {
    fn joined(relay: &Relay, name: &str, scope: &str) -> Self {
        let laptop = Self(tempfile::tempdir().unwrap());
        laptop.run(&["init", "--name", name, "--no-encryption"]);
        let new = [
            "enrol", "new", "--name", name, "--role", "device", "--scope", scope,
        ];
        let enrolment = relay.ops(&new).json(0);
        laptop.run(&["join", enrolment["code"].as_str().unwrap()]);
        laptop
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn said(&self, columns: &str, arguments: &[&str]) -> Said {
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        command
            .env("CAIRN_CLOCK_S", clock_s().to_string())
            .env("COLUMNS", columns)
            .env("LC_ALL", "C.UTF-8")
            .args(["--tz", "UTC", "--data-dir"])
            .arg(self.0.path().join("data"))
            .args(arguments);
        Said::of(command.output().unwrap())
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        let said = self.said("80", arguments);
        assert!(matches!(said.code, 0 | 3), "{arguments:?}: {said:#?}");
        said
    }

    /// Compares what a command shows with the file of that name, at both widths.
    fn screen(&self, name: &str, arguments: &[&str]) {
        let folder = self.0.path().display().to_string();
        for columns in WIDTHS {
            let said = self.said(columns, arguments);
            compare(name, columns, arguments, &said, &folder);
        }
    }
}

#[test]
fn screens_of_a_laptop_and_of_operators() {
    let relay = Relay::start();
    let alpha = Laptop::joined(&relay, "Team Alpha", "north/hazards:rw+decide");
    let delta = Laptop::joined(&relay, "Team Delta", "north/hazards:rw");
    alpha.screen("list-empty", &["list"]);
    recording(&alpha, &delta);
    until_all_is_seen(&relay, &alpha, &delta);
    reading(&alpha, &delta);
    operators(&relay, &alpha, &delta);
    deciding(&alpha);
}

fn recording(alpha: &Laptop, delta: &Laptop) {
    let file = alpha.file("areas.geojson", FILE);
    let import = [
        "import",
        &file,
        "--kind",
        "hazardous_area",
        "--map",
        "local_id=ID",
        "--map",
        "location_name=Name",
    ];
    let dry: Vec<&str> = import.into_iter().chain(["--dry-run"]).collect();
    alpha.screen("import-dry-run", &dry);
    alpha.run(&import);
    alpha.screen("import-again", &import);
    let ring = alpha.file("ring.geojson", RING);
    let new = [
        "new",
        "hazardous_area",
        "--set",
        "local_id=HA-1",
        "--set",
        "hazard_class=confirmed",
        "--geojson",
        &ring,
    ];
    alpha.run(&new);
    alpha.screen("status-unsent", &["status"]);
    alpha.run(&["sync"]);
    delta.run(&["sync"]);
    let (north, east) = (
        alpha.file("north.geojson", NORTH),
        delta.file("east.geojson", EAST),
    );
    alpha.run(&["edit", "HA-1", "--geojson", &north, "--set", "slope=steep"]);
    delta.run(&["edit", "HA-1", "--geojson", &east]);
    // Sent by nobody before the other: in conflict, whichever comes first.
    delta.run(&["edit", "HA-7", "--set", "status=closed"]);
    for laptop in [alpha, delta, alpha] {
        laptop.run(&["sync"]);
    }
}

fn reading(alpha: &Laptop, delta: &Laptop) {
    alpha.screen("sync", &["sync"]);
    alpha.screen("list", &["list"]);
    alpha.screen("list-conflicts", &["list", "--conflicts"]);
    alpha.screen("show", &["show", "HA-7"]);
    delta.screen("show-conflict", &["show", "HA-1"]);
    alpha.screen("show-history", &["show", "HA-7", "--history"]);
    alpha.screen("conflicts", &["conflicts"]);
    alpha.screen("status", &["status"]);
    alpha.screen("explain", &["explain", "hazard_class"]);
    alpha.screen("help", &["--help"]);
    alpha.screen("error-unknown-record", &["show", "HA-99"]);
    alpha.screen("error-misspelt-field", &["list", "--where", "statsu=open"]);
}

/// Syncs until the centre has read all, both laptops know it, and nobody is connected.
fn until_all_is_seen(relay: &Relay, alpha: &Laptop, delta: &Laptop) {
    let seen = (0..600).any(|_| {
        let all_seen = |laptop: &&Laptop| {
            laptop.run(&["sync"]);
            let unsent = laptop.run(&["--json", "list", "--unsent"]).json(0);
            unsent["records"].as_array().is_some_and(Vec::is_empty)
        };
        let both = [alpha, delta].iter().all(all_seen);
        let status = relay.ops(&["status"]).json(0);
        let quiet = |device: &serde_json::Value| {
            device["connected"] != true && device["backlog"] == 0 && device["conflicts"] == 1
        };
        both && status["devices"].as_array().unwrap().iter().all(quiet)
    });
    assert!(seen, "the centre does not read what came");
}

/// The relay's answers, once the centre has read all and nobody is connected.
fn operators(relay: &Relay, alpha: &Laptop, delta: &Laptop) {
    until_all_is_seen(relay, alpha, delta);
    for (name, arguments) in [
        ("ops-status", vec!["status"]),
        ("ops-devices", vec!["devices"]),
        ("ops-sessions", vec!["sessions"]),
        ("ops-docs", vec!["docs"]),
        ("ops-scopes", vec!["scopes"]),
        ("ops-conflicts", vec!["conflicts"]),
    ] {
        for columns in WIDTHS {
            let mut command = program(env!("CARGO_BIN_EXE_cairn"));
            command
                .env("CAIRN_RELAY_DIR", relay.dir())
                .env("COLUMNS", columns)
                .args(["--tz", "UTC", "ops"])
                .args(&arguments);
            let said = Said::of(command.output().unwrap());
            let typed = [&["ops"][..], &arguments].concat();
            compare(name, columns, &typed, &said, "");
        }
    }
}

fn deciding(alpha: &Laptop) {
    let decide = |take: &str| -> Said {
        let reason = ["--reason", "walked together"];
        let arguments = [
            &["decide", "HA-1", "--field", "perimeter", "--take", take][..],
            &reason,
        ];
        alpha.run(&arguments.concat())
    };
    let said = decide("B");
    compare("decide", "80", &["decide", "HA-1", "…"], &said, "");
    alpha.screen("conflicts-after", &["conflicts", "HA-1"]);
}

fn compare(name: &str, columns: &str, arguments: &[&str], said: &Said, folder: &str) {
    let typed = arguments.join(" ");
    let text = format!(
        "$ cairn {typed}\n{}---\n{}exit {}\n",
        said.out, said.words, said.code
    );
    let limit: usize = columns.parse().unwrap();
    for line in text.lines().skip(1) {
        // Escapes take no place, and nobody breaks a path or a code.
        let one_word = !line.trim().contains(' ');
        assert!(
            line.chars().filter(|c| !zero_width(*c)).count() <= limit || one_word,
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
    match name {
        "list" | "list-conflicts" => lines[1..].sort(),
        "ops-docs" | "ops-sessions" => {
            let trips = |line: &String| match line.rsplit_once("  ") {
                Some((start, end)) if end.parse::<u64>().is_ok() => format!("{start}  N"),
                _ => line.clone(),
            };
            lines = lines.iter().map(trips).collect();
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
