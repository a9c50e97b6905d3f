//! What lies in `deploy/`: the runbook's commands run as written, the unit is hardened, the sample is valid.

#![allow(clippy::print_stderr)] // Skipped tests must be heard.

use cairn_end_to_end::binaries;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What `systemd-analyze security` may say of the unit at most, 10 being the worst.
const EXPOSURE_MAX: f64 = 1.5;

fn deployed(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")).join(name)
}

fn free_ports() -> (u16, u16) {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    (
        udp.expect("a free port").port(),
        tcp.expect("a free port").port(),
    )
}

#[test]
fn the_runbook_runs_as_it_is_written() {
    let page = std::fs::read_to_string(deployed("README.md")).expect("the runbook is there");
    let blocks: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("a block ends"))
        .collect();
    let (first, rest) = blocks.split_first().expect("the runbook has commands");
    assert!(first.contains("cairnd init"), "{first}");
    // The unit starts it then; here the test does, and ends it by its id.
    let script = format!(
        "mkdir -m 0700 /var/backups/cairn\n{first}\n\
         cairnd run --dir /var/lib/cairn & relay=$!; trap 'kill $relay; wait $relay' EXIT\n\
         for i in $(seq 600); do [ -S /var/lib/cairn/cairnd.sock ] && break; sleep 0.1; done\n{}",
        rest.concat()
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path().to_str().expect("UTF-8");
    let (udp, tcp) = free_ports();
    let script = script
        .replace("/var/lib/cairn", &format!("{here}/relay"))
        .replace("/var/backups/cairn", &format!("{here}/backups"))
        .replace("0.0.0.0:7443", &format!("127.0.0.1:{udp}"))
        .replace("7480", &tcp.to_string());
    let path = format!(
        "{}:{}",
        binaries().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .env_remove("CAIRN_RELAY_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    if words.contains("curl: command not found") {
        eprintln!("SKIPPED the runbook: there is no curl here");
        return;
    }
    assert!(output.status.success(), "{script}\n{out}\n{words}");
    for shown in [
        "Relay OK",
        "ready\n",
        "cairn_ready 1",
        "Every hash, chain and signature is right",
    ] {
        assert!(out.contains(shown), "no {shown}: {out}\n{words}");
    }
    assert!(folder.path().join("relay-drill/relay.toml").exists());
}

#[test]
fn the_sample_configuration_is_valid_and_names_every_setting() {
    let sample = deployed("relay.sample.toml");
    let output = Command::new(binaries().join("cairnd"))
        .args(["--json", "config", "check"])
        .arg(&sample)
        .output()
        .expect("cairnd starts");
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = std::fs::read_to_string(&sample).expect("the sample is there");
    let keys = answer.as_object().expect("an object").keys();
    for key in keys.filter(|key| !["schema", "ok"].contains(&key.as_str())) {
        assert!(
            text.contains(&format!("\n{key} = ")),
            "{key} is not in the sample"
        );
    }
}

#[test]
fn the_unit_is_held_closely() {
    let analyzed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(deployed("cairnd.service"))
        .output();
    let Ok(analyzed) = analyzed else {
        eprintln!("SKIPPED the unit's exposure: there is no systemd-analyze here");
        return;
    };
    let text = String::from_utf8_lossy(&analyzed.stdout);
    let line = text
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let level = line.and_then(|line| {
        line.split(": ")
            .nth(1)?
            .split(' ')
            .next()?
            .parse::<f64>()
            .ok()
    });
    let Some(level) = level else {
        panic!("no exposure level: {analyzed:?}");
    };
    assert!(level <= EXPOSURE_MAX, "{level}: {text}");
}
