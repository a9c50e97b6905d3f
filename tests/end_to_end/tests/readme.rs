//! The README's first ten minutes, run as it is written.

use cairn_end_to_end::binaries;
use std::process::{Command, Stdio};

#[test]
fn the_readme_brings_two_devices_together() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))
        .expect("the README is there");
    let (_, story) = readme
        .split_once("## From clone to two devices that converge")
        .expect("the README tells the story");
    let (story, _) = story.split_once("\n## ").expect("another heading follows");
    let script: String = story
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("a block ends"))
        .filter(|block| !block.contains("cargo build"))
        .collect();
    let port = std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port on loopback")
        .port();
    // The daemon is started in the background: wait until its socket is there, end it by its id.
    let script = script.replace("7443", &port.to_string()).replace(
        "cairnd run --dir try/centre &",
        "cairnd run --dir try/centre & relay=$!; trap 'kill $relay; wait $relay' EXIT\n\
             for i in $(seq 300); do [ -S try/centre/cairnd.sock ] && break; sleep 0.1; done",
    );
    assert!(script.contains("trap"), "the README starts the relay");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The README speaks from the project's root.
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    std::os::unix::fs::symlink(format!("{project}/crates"), folder.path().join("crates"))
        .expect("a link to the sample");
    let path = format!(
        "{}:{}",
        binaries().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let (out, words) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}\n{out}\n{words}");
    for shown in ["HA-1", "reached/female/18_plus", "DEMO-HA-"] {
        assert!(out.contains(shown), "no {shown}: {out}\n{words}");
    }
    assert!(words.contains("1 updated"), "{out}\n{words}");
}

#[test]
fn the_demo_converges_and_loses_nothing() {
    let output = Command::new(binaries().join("cairn"))
        .args(["demo", "--json"])
        .stdin(Stdio::null())
        .output()
        .expect("cairn starts");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let last: serde_json::Value =
        serde_json::from_str(out.lines().last().expect("an answer")).expect("JSON");
    assert_eq!(last["schema"], "cairn.demo/1");
    assert_eq!(last["converged"], true);
    assert_eq!(last["lost"], 0);
    assert!(last["documents"].as_u64().is_some_and(|count| count > 10));
}
