//! The screens of laptops and of operators.

use super::shapes::Relay;
use super::stage::{Laptop, WIDTHS, compare, uncoloured};
use super::{Said, program};

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

#[test]
fn screens_of_a_laptop_and_of_operators() {
    let relay = Relay::start();
    let alpha = Laptop::joined(&relay, "Team Alpha", "north/hazards:rw+decide");
    let delta = Laptop::joined(&relay, "Team Delta", "north/hazards:rw");
    alpha.screen("list-empty", &["list"]);
    recording(&alpha, &delta);
    until_all_is_seen(&relay, &alpha, &delta);
    reading(&alpha, &delta);
    near(&alpha);
    colours(&alpha);
    operators(&relay, &alpha, &delta);
    files(&alpha);
    deciding(&alpha, &delta);
    mistakes(&alpha);
    revoked(&relay, &alpha);
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
    // In colour they say the same, and none is coloured where nobody wants it.
    for (name, columns) in ["status", "docs", "conflicts"]
        .into_iter()
        .flat_map(|name| WIDTHS.map(|columns| (name, columns)))
    {
        let with = |color: &str| {
            let mut command = program(env!("CARGO_BIN_EXE_cairn"));
            command
                .env("CAIRN_RELAY_DIR", relay.dir())
                .env("COLUMNS", columns)
                .args(["--tz", "UTC", "--color", color, "ops", name]);
            Said::of(command.output().unwrap())
        };
        let (coloured, plain) = (with("always"), with("never"));
        assert!(!plain.out.contains('\x1b'), "{name}: {plain:#?}");
        assert_eq!(uncoloured(&coloured.out), plain.out, "{name}");
        compare(
            &format!("ops-{name}-colour"),
            columns,
            &["ops", name],
            &coloured,
            "",
        );
    }
}

fn near(alpha: &Laptop) {
    alpha.screen("near", &["near", "44.1010, 17.9010", "--within", "20km"]);
    alpha.screen("near-nothing", &["near", "10.5, 20.25", "--within", "500m"]);
}

/// Screens in colour say the same as without, and none is coloured where nobody wants it.
fn colours(alpha: &Laptop) {
    for (name, arguments) in [
        ("list", vec!["list"]),
        ("show-conflict", vec!["show", "HA-1"]),
        ("conflicts", vec!["conflicts"]),
        ("status", vec!["status"]),
        ("near", vec!["near", "44.1010, 17.9010", "--within", "20km"]),
        ("error", vec!["show", "HA-99"]),
    ] {
        for columns in WIDTHS {
            let with = |color: &str| {
                let all = [&["--color", color][..], &arguments].concat();
                alpha.said(columns, &all)
            };
            let (coloured, plain) = (with("always"), with("never"));
            let never = format!("{}{}", plain.out, plain.words);
            assert!(!never.contains('\x1b'), "{name}: {plain:#?}");
            assert_eq!(uncoloured(&coloured.out), plain.out, "{name}");
            assert_eq!(uncoloured(&coloured.words), plain.words, "{name}");
            let any = format!("{}{}", coloured.out, coloured.words).contains('\x1b');
            assert_eq!(any, name != "status", "{name}: {coloured:#?}");
            let name = format!("{name}-colour");
            compare(&name, columns, &arguments, &coloured, "");
        }
    }
}

fn files(alpha: &Laptop) {
    let areas = alpha.path("areas-out.geojson");
    alpha.screen("export", &["export", &areas, "hazardous_area"]);
    alpha.screen("check", &["check"]);
    alpha.screen("explain-kind", &["explain", "accident"]);
    alpha.screen("explain-code", &["explain", "split_18"]);
    alpha.screen("settings", &["config", "show"]);
    // A session and an accident beside the areas.
    alpha.run(&[
        "new",
        "eore_session",
        "--set",
        "local_id=EORE-1",
        "--set",
        "age_bands=split_18",
        "--set",
        "session_date=2026-11-20",
        "--set",
        "method=interactive_group_session",
        "--set",
        "reached/female/18_plus=34",
    ]);
    alpha.run(&[
        "new",
        "accident",
        "--set",
        "local_id=ACC-1",
        "--set",
        "record_type=accident",
        "--set",
        "date=2026-11-19",
        "--position",
        "44.1030, 17.9030",
        "--set",
        "casualties/injured/male/adult/civilian=1",
    ]);
    alpha.screen("list-kinds", &["list"]);
    alpha.screen("show-session", &["show", "EORE-1"]);
}

/// Proposals, decisions with and without the right to decide, and what is taken back.
fn deciding(alpha: &Laptop, delta: &Laptop) {
    // Each of these saves something, so each stands once, at a width of its own.
    let once = |laptop: &Laptop, name: &str, columns: &str, arguments: &[&str]| {
        let said = laptop.said(columns, arguments);
        compare(name, columns, arguments, &said, &laptop.path(""));
    };
    let new = [
        "new",
        "hazardous_area",
        "--set",
        "hazard_class=suspected",
        "--position",
        "44.2, 17.9",
    ];
    once(alpha, "new", "80", &new);
    once(alpha, "new", "160", &new);
    let closing = ["edit", "HA-9", "--set", "status=closed"];
    once(delta, "edit-proposal", "80", &closing);
    let lower = ["edit", "HA-9", "--set", "hazard_class=suspected"];
    once(delta, "edit-proposal", "160", &lower);
    let take = |field, letter| {
        let reason = ["--reason", "walked together"];
        [
            &["decide", "HA-1", "--field", field, "--take", letter][..],
            &reason,
        ]
        .concat()
    };
    once(alpha, "decide", "80", &take("perimeter", "B"));
    let seven = [
        "decide", "HA-7", "--field", "status", "--take", "reading", "--reason", "not yet",
    ];
    once(alpha, "decide", "160", &seven);
    alpha.screen("conflicts-after", &["conflicts", "HA-1"]);
    let withdraw = ["withdraw", "HA-9", "--reason", "recorded twice, see HA-7"];
    let dry: Vec<&str> = withdraw.into_iter().chain(["--dry-run"]).collect();
    alpha.screen("withdraw-dry-run", &dry);
    once(alpha, "withdraw", "80", &withdraw);
    alpha.screen("status-waiting", &["status"]);
}

/// What goes wrong, and what then is said to be done.
fn mistakes(alpha: &Laptop) {
    let area = ["new", "hazardous_area", "--set", "hazard_class=confirmed"];
    let elsewhere: Vec<&str> = area.into_iter().chain(["--scope", "south"]).collect();
    alpha.screen("error-unknown-scope", &elsewhere);
    alpha.screen(
        "error-unknown-kind",
        &["new", "minefeld", "--set", "local_id=X"],
    );
    alpha.screen(
        "error-unknown-code",
        &["edit", "HA-1", "--set", "hazard_class=certain"],
    );
    alpha.screen("error-place", &["near", "Ashvimere"]);
    // Nobody listens on a port that was free a moment ago.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = socket.local_addr().unwrap().to_string();
    drop(socket);
    let unreachable = ["sync", "--deadline", "2s", "--peer", &nobody];
    alpha.screen("error-unreachable", &unreachable);
    let busy = alpha.held();
    alpha.screen("error-locked", &["status"]);
    busy.close().unwrap();
}

/// What a device hands in after it was shut out is kept, and marked.
fn revoked(relay: &Relay, alpha: &Laptop) {
    alpha.run(&["sync"]);
    let echo = Laptop::joined(relay, "Team Echo", "north/hazards:rw");
    echo.run(&["sync"]);
    let lost = ["revoke", "Team Echo", "--reason", "laptop lost"];
    relay.ops(&lost).json(0);
    echo.run(&["edit", "HA-7", "--set", "slope=flat"]);
    echo.screen("error-revoked", &["sync"]);
    alpha.run(&["sync"]);
    alpha.screen("list-unverified", &["list", "--search", "HA-7"]);
    alpha.screen("show-unverified", &["show", "HA-7"]);
    alpha.screen("status-unverified", &["status"]);
}
