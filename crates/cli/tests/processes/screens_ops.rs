//! The screens of those who look after a programme: the morning, who has a record, what was done.

use super::shapes::Relay;
use super::stage::{Laptop, WIDTHS, compare, uncoloured};
use super::{Said, program};

const SCOPE: &str = "north/hazards:rw";

#[test]
fn screens_of_a_morning() {
    let relay = Relay::start();
    let alpha = Laptop::joined(&relay, "Team Alpha", SCOPE);
    let delta = Laptop::joined(&relay, "Team Delta", SCOPE);
    let new = [
        "new",
        "hazardous_area",
        "--set",
        "local_id=HA-1",
        "--set",
        "hazard_class=confirmed",
        "--position",
        "44.1000, 17.9000",
        "--set",
        "area_reported=400",
    ];
    alpha.run(&new);
    alpha.run(&["sync"]);
    delta.run(&["sync"]);
    alpha.run(&["edit", "HA-1", "--set", "status=closed"]);
    delta.run(&[
        "edit",
        "HA-1",
        "--append",
        "direct_evidence={\"type\":\"detonation\"}",
    ]);
    for laptop in [&alpha, &delta, &alpha] {
        laptop.run(&["sync"]);
    }
    let seen = (0..600).any(|_| {
        alpha.run(&["sync"]);
        delta.run(&["sync"]);
        let who = relay.ops(&["doc", "HA-1", "--who-has"]).json(0);
        let whole = |of: &serde_json::Value| of["whole"] == true;
        let all_have = who["who_has"].as_array().unwrap().iter();
        let mut devices = all_have.filter(|holder| holder["role"] == "device");
        whole(&who["seen_by_centre"]) && devices.all(whole) && quiet(&relay)
    });
    assert!(seen, "the centre does not read what came");
    for (name, arguments) in [
        ("ops-morning", vec!["morning"]),
        ("ops-who-has", vec!["doc", "HA-1", "--who-has", "--entries"]),
        ("ops-quarantine", vec!["quarantine", "list"]),
        ("ops-audit", vec!["audit", "list"]),
        ("ops-audit-verify", vec!["audit", "verify"]),
        ("ops-check", vec!["check", "sync"]),
    ] {
        for columns in WIDTHS {
            let plain = calm(said(&relay, columns, &arguments));
            let typed = [&["ops"][..], &arguments].concat();
            compare(name, columns, &typed, &plain, "");
            // In colour the same is said; only screens with a mark differ.
            let colour = [&arguments[..], &["--color", "always"]].concat();
            let coloured = calm(said(&relay, columns, &colour));
            assert_eq!(uncoloured(&coloured.out), plain.out, "{name}");
            if coloured.out != plain.out {
                compare(&format!("{name}-colour"), columns, &typed, &coloured, "");
            }
        }
    }
}

fn quiet(relay: &Relay) -> bool {
    let status = relay.ops(&["status"]).json(0);
    let devices = status["devices"].as_array().unwrap().iter();
    devices
        .into_iter()
        .all(|it| it["connected"] != true && it["backlog"] == 0)
}

fn said(relay: &Relay, columns: &str, arguments: &[&str]) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_cairn"));
    command
        .env("CAIRN_RELAY_DIR", relay.dir())
        .env("COLUMNS", columns)
        .env("LC_ALL", "C.UTF-8")
        .env("USER", "ops")
        .args(["--tz", "UTC", "ops"])
        .args(arguments);
    Said::of(command.output().unwrap())
}

/// Without the day, and how full the disk of whoever runs this is.
fn calm(mut said: Said) -> Said {
    let lines = said.out.lines().map(|line| {
        let line = match line.starts_with("CAIRN ") {
            true => {
                let (start, at) = line.split_at(line.len() - "Tue 24 Nov 2026 07:05".len());
                assert!(at.contains(':'), "{line}");
                format!("{start}Tue 24 Nov 2026 07:05")
            }
            false => line.to_owned(),
        };
        let mut code = false;
        let words = line.split(' ').map(|word| {
            let is_code = std::mem::replace(&mut code, word == "code");
            match word.strip_suffix('%') {
                Some(number) if number.parse::<u64>().is_ok() => "N%",
                _ if is_code => "COD-E00,",
                _ => word,
            }
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    said.out = lines.collect();
    said
}
